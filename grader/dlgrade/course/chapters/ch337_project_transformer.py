"""Checks of chapter 337: a Transformer classifier stage by stage, from the data to 97 % on sequences never seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from dlreference import attention as ref_attention
from dlreference.embeddings import embedding_backward, embedding_forward
from dlreference.linear import linear_backward, linear_forward
from dlreference.losses import cross_entropy, softmax
from dlreference.norm import layer_norm_backward, layer_norm_forward
from dlreference.optim import adam_step, clip_global_norm
from dlreference.positions import sinusoidal_encoding
from dlreference.transformer import (
    feed_forward_backward,
    feed_forward_forward,
    transformer_block_backward,
    transformer_block_forward,
)

from dlgrade.course.compare import below, entry, holds, items, numbers, same
from dlgrade.course.kinds import Case, GradientCase, Rng, case_of, gradient, numeric, prop, training, unchanged
from dlgrade.course.spec import Chapter, Check, Exercise, Mistake, Picture

Array = np.ndarray[Any, Any]
Params = dict[str, Array]
Make = Callable[..., Any]
MATRICES = ("W_q", "W_k", "W_v", "W_o")
ATTENTION = ("gamma1", "beta1", *MATRICES)
BLOCK = (*ATTENTION, "gamma2", "beta2", "W1", "b1", "W2", "b2")
TARGET = 0.97
# Adam divides a gradient by its own size, so the rounding of a small gradient grows: trained numbers agree to fewer
# digits than gradients do.
TRAINED: dict[str, float] = {"rtol": 1e-6, "atol": 1e-7}


def floats(x: Any) -> Array:
    return np.asarray(x, dtype=np.float64)


def as_floats(params: Params) -> Params:
    return {name: floats(value) for name, value in params.items()}


def draw_params(rng: Rng, vocab: int, d: int, d_ff: int, classes: int) -> Params:
    """Parameters none of which is a default."""
    shapes: dict[str, tuple[int, ...]] = {
        "E": (vocab, d),
        **dict.fromkeys(MATRICES, (d, d)),
        "W1": (d_ff, d),
        "W2": (d, d_ff),
        "W_out": (classes, d),
        **dict.fromkeys(("gamma1", "beta1", "gamma2", "beta2", "b2"), (d,)),
        "b1": (d_ff,),
        "b_out": (classes,),
    }
    params = {name: 1.5 * rng.normal(size=shape) / np.sqrt(shape[-1]) for name, shape in shapes.items()}
    return {**params, "E": rng.normal(size=(vocab, d)), "gamma1": 1 + params["gamma1"], "gamma2": 1 + params["gamma2"]}


# --- the model, right and with things wrong --------------------------------------------------------------------------


def attention(x: Array, params: Params, n_heads: int) -> Any:
    out, cache = ref_attention.self_attention_forward(x, {name: params[name] for name in MATRICES}, n_heads)
    return out, cache.attention.weights, cache


def block(x: Array, params: Params, n_heads: int, attention_on: bool = True) -> Any:
    """The reference's block; attention is left out by an output matrix of zeros."""
    used = {name: floats(params[name]) for name in BLOCK}
    if not attention_on:
        used["W_o"] = np.zeros_like(used["W_o"])
    out, cache = transformer_block_forward(x, used, n_heads, approximate="tanh")
    weights = cache.attention.attention.weights
    return out, weights if attention_on else np.zeros_like(weights), (cache, attention_on)


def block_backward(dout: Array, cache: Any) -> Any:
    kept, attention_on = cache
    dx, grads = transformer_block_backward(dout, kept)
    return dx, {name: grad if attention_on or name not in ATTENTION else 0 * grad for name, grad in grads.items()}


def embed(tokens: Array, E: Array, positions_on: bool = True) -> Array:
    x = embedding_forward(tokens, E)
    return x + sinusoidal_encoding(*x.shape[1:]) if positions_on else x


def mean_of_positions(h: Array) -> Array:
    return floats(h.mean(axis=1))


def forward_with(
    part: Make = block, pool: Callable[[Array], Array] = mean_of_positions, table: Make = embed, bias: bool = True
) -> Make:
    def forward(
        tokens: Array, params: Params, n_heads: int, attention_on: bool = True, positions_on: bool = True
    ) -> Any:
        h, weights, cache = part(table(tokens, params["E"], positions_on), params, n_heads, attention_on)
        pooled = pool(h)
        W = floats(params["W_out"])
        logits, head = linear_forward(pooled, W, floats(params["b_out"]) if bias else None)
        return logits, weights, (np.asarray(tokens), h.shape, cache, head, len(floats(params["E"])))

    return forward


forward = forward_with()


def backward(dlogits: Array, cache: Any) -> Params:
    tokens, shape, block_cache, head, vocab = cache
    dpooled, dW, db = linear_backward(dlogits, head)
    dx, grads = block_backward(np.broadcast_to(dpooled[:, None] / shape[1], shape), block_cache)
    return {**grads, "W_out": dW, "b_out": db, "E": embedding_backward(dx, tokens, vocab)}


# --- stage 1: data ---------------------------------------------------------------------------------------------------


def counts_of(tokens: Array, vocab: int) -> Array:
    return (np.asarray(tokens)[:, :, None] == np.arange(vocab)).sum(axis=1)


def majority(tokens: Array, vocab: int) -> Array:
    return counts_of(tokens, vocab).argmax(axis=1)


def majority_first_seen(tokens: Array, vocab: int) -> Array:
    counts = counts_of(tokens, vocab)
    return np.array([row[np.argmax(count[row])] for row, count in zip(np.asarray(tokens), counts, strict=True)])


def majority_last(tokens: Array, vocab: int) -> Array:
    return vocab - 1 - counts_of(tokens, vocab)[:, ::-1].argmax(axis=1)


TIED = np.array([[2, 1, 1, 2], [3, 0, 2, 1], [2, 2, 2, 0], [0, 3, 3, 1], [3, 3, 1, 1], [1, 2, 0, 3]])

MAJORITY = Exercise(
    name="majority_labels",
    title="Stage 1: labels with a rule for ties",
    functions=("majority_labels",),
    hints=(
        "How often does each token occur in each sequence? Make a table of it.",
        "A table (B, vocab) of counts; the label of a row is the column of its maximum.",
        "np.argmax along axis 1 returns the first of equal maxima, and that is the lowest token.",
    ),
    checks=(
        numeric(
            "the most frequent, the lowest of equals",
            3,
            "majority_labels",
            majority,
            [
                Case("sequences with ties", lambda rng: (TIED, 4)),
                Case("drawn sequences", lambda rng: (rng.integers(0, 3, size=(9, 7)), 3)),
            ],
        ),
    ),
    mistakes=(
        Mistake(
            name="tie-to-the-first-seen",
            advice="Of equally frequent tokens the LOWEST is the label, not the one that comes first in the sequence.",
            replaces={"majority_labels": majority_first_seen},
        ),
        Mistake(
            name="tie-to-the-highest",
            advice="Of equally frequent tokens the lowest is the label, not the highest.",
            replaces={"majority_labels": majority_last},
        ),
        Mistake(
            name="count-instead-of-token",
            advice="The label is the token itself, not how often it occurs.",
            replaces={"majority_labels": lambda tokens, vocab: counts_of(tokens, vocab).max(axis=1)},
        ),
        Mistake(
            name="rarest-token",
            advice="The MOST frequent token is asked for.",
            replaces={"majority_labels": lambda tokens, vocab: counts_of(tokens, vocab).argmin(axis=1)},
        ),
    ),
)


def data_with(lowest: int = 1, keep_label: bool = True, earliest: int = 1, modulo: bool = True, flip: int = 0) -> Make:
    def made(n: int, length: int, vocab: int, rng: Any) -> Any:
        first = rng.integers(0, vocab, size=n)
        steps = rng.integers(lowest, vocab, size=(n, length - 1))
        labels, place = rng.integers(0, 2, size=n), rng.integers(earliest, length, size=n)
        others = (first[:, None] + steps) % vocab if modulo else steps
        tokens = np.concatenate([first[:, None], others], axis=1)
        rows = np.flatnonzero(labels) if keep_label else np.arange(n)
        tokens[rows, place[rows]] = first[rows]
        return tokens, labels ^ flip

    return made


make_data = data_with()


@prop("a label is 1 exactly where the first token appears again", 3, "make_data")
def labels_true(student: Any, rng: Rng) -> None:
    got = items(student.make_data(60, 6, 5, rng), ("tokens", "labels"))
    tokens, labels = numbers(got[0], (60, 6), "tokens"), numbers(got[1], (60,), "labels")
    again = (tokens[:, 1:] == tokens[:, :1]).any(axis=1)
    holds(bool(np.isin(tokens, np.arange(5)).all()), "with a vocabulary of 5 all tokens are 0, 1, 2, 3 or 4.")
    wrong = np.flatnonzero(again != (labels > 0.5))
    holds(
        not len(wrong),
        "a sequence has the label 1 although its first token does not come again, or 0 although it does.",
        f"For example {tokens[wrong[0]].astype(int).tolist()} with label {labels[wrong[0]]:g}." if len(wrong) else "",
    )


MAKE_DATA = Exercise(
    name="make_data",
    title="Stage 1: does the first token appear again?",
    functions=("make_data",),
    hints=(
        "How can one draw a token that is surely not the first one?",
        "A step of 1 to vocab - 1 around the circle of tokens never comes back to the first. Then put the first token "
        "back in, in the sequences with label 1.",
        "Make the four draws first. Join first as a column with (first + steps) % vocab; with rows = the indices whose "
        "label is 1, set tokens[rows, place[rows]] to first[rows].",
    ),
    checks=(
        numeric(
            "tokens and labels from the four draws",
            4,
            "make_data",
            make_data,
            [
                Case("twelve sequences", lambda rng: (12, 6, 5, rng)),
                Case("two tokens, length two", lambda rng: (8, 2, 2, rng)),
            ],
        ),
        labels_true,
    ),
    mistakes=(
        Mistake(
            name="others-may-equal-the-first",
            advice="Steps begin at 1: a step of 0 puts the first token into a sequence whose label says it is not "
            "there.",
            replaces={"make_data": data_with(lowest=0)},
        ),
        Mistake(
            name="first-token-always-put-back",
            advice="Only the sequences with label 1 get their first token a second time.",
            replaces={"make_data": data_with(keep_label=False)},
        ),
        Mistake(
            name="put-back-onto-itself",
            advice="The repetition stands at position 1 or later; at position 0 the first token replaces itself.",
            replaces={"make_data": data_with(earliest=0)},
        ),
        Mistake(
            name="steps-taken-for-tokens",
            advice="The other tokens are first + step, modulo vocab; the steps alone know nothing of the first token.",
            replaces={"make_data": data_with(modulo=False)},
        ),
        Mistake(
            name="labels-reversed",
            advice="Label 1 means that the first token DOES appear again.",
            replaces={"make_data": data_with(flip=1)},
        ),
    ),
)

# --- stage 2: forward ------------------------------------------------------------------------------------------------


def init_with(
    table: float = 1.0, gamma: float = 1.0, fan_out: bool = False, transposed: bool = False, unit: bool = False
) -> Make:
    def made(vocab: int, d: int, d_ff: int, n_classes: int, rng: Any) -> Params:
        def drawn(width: int, fan_in: int) -> Array:
            std = 1.0 if unit else 1 / np.sqrt(width if fan_out else fan_in)
            weights = floats(rng.normal(0.0, std, size=(width, fan_in)))
            return weights.T if transposed else weights

        params = {"E": floats(rng.normal(0.0, table, size=(vocab, d)))}
        params |= {name: drawn(d, d) for name in MATRICES}
        params |= {"W1": drawn(d_ff, d), "W2": drawn(d, d_ff), "W_out": drawn(n_classes, d)}
        params |= {name: np.zeros(d) for name in ("beta1", "beta2", "b2")}
        params |= {"b1": np.zeros(d_ff), "b_out": np.zeros(n_classes)}
        return {**params, "gamma1": np.full(d, gamma), "gamma2": np.full(d, gamma)}

    return made


init_params = init_with()

INIT = Exercise(
    name="init_params",
    title="Stage 2: a new model",
    functions=("init_params",),
    hints=(
        "Go through the list from the top. Which number stands under the root, and which are the shapes?",
        "Weights are (out, in), and the standard deviation is one over the root of the number of INPUTS, the last "
        "axis.",
        "E first, then the four attention matrices, W1, W2, W_out; gammas are ones, everything else is zeros.",
    ),
    checks=(
        numeric(
            "all parameters",
            4,
            "init_params",
            init_params,
            [
                Case("all sizes different", lambda rng: (5, 4, 6, 3, rng)),
                Case("sizes of one", lambda rng: (1, 1, 1, 1, rng)),
            ],
        ),
    ),
    mistakes=(
        Mistake(
            name="tokens-too-small",
            advice="The table has the standard deviation 1: with 0.02 the positions drown the tokens.",
            replaces={"init_params": init_with(table=0.02)},
        ),
        Mistake(
            name="gammas-zero",
            advice="The gammas begin at ones; with zeros a normalisation lets nothing through.",
            replaces={"init_params": init_with(gamma=0.0)},
        ),
        Mistake(
            name="inputs-and-outputs-confused",
            advice="Divide by the root of the number of inputs, the last axis of a weight.",
            replaces={"init_params": init_with(fan_out=True)},
        ),
        Mistake(
            name="weights-of-size-one",
            advice="Only E has the standard deviation 1; the weights are scaled by the number of their inputs.",
            replaces={"init_params": init_with(unit=True)},
        ),
        Mistake(
            name="weights-lying-on-their-side",
            advice="Weights are (out, in): W1 is (d_ff, d), W2 is (d, d_ff).",
            replaces={"init_params": init_with(transposed=True)},
        ),
    ),
)


def embed_case(batch: int, length: int, vocab: int, d: int, *flags: bool) -> Any:
    return lambda rng: (rng.integers(0, vocab, size=(batch, length)), rng.normal(size=(vocab, d)), *flags)


def table_case(batch: int, length: int, vocab: int, d: int) -> Any:
    return lambda rng: (rng.normal(size=(batch, length, d)), rng.integers(0, vocab, size=(batch, length)), vocab)


def eb_overwritten(dout: Array, tokens: Array, vocab: int) -> Array:
    dE = np.zeros((vocab, np.shape(dout)[-1]))
    dE[np.asarray(tokens)] += floats(dout)
    return dE


def eb_mean(dout: Array, tokens: Array, vocab: int) -> Array:
    counts = np.bincount(np.asarray(tokens).ravel(), minlength=vocab)
    return embedding_backward(dout, tokens, vocab) / np.maximum(counts, 1)[:, None]


EMBED = Exercise(
    name="embed",
    title="Stage 2: tokens and positions",
    functions=("embed", "embed_backward"),
    hints=(
        "What does E[tokens] give, for a table (V, d) and indices (B, T)?",
        "The table of positions (T, d) lines up with (B, T, d) by itself. Backwards, two places with the same token "
        "share one row: what must happen to their gradients?",
        "Forward: E[tokens] plus positional_encoding(T, d). Backward: zeros of (vocab, d), then np.add.at, which adds "
        "every contribution even if an index comes twice.",
    ),
    checks=(
        numeric(
            "rows of the table plus positions",
            2,
            "embed",
            embed,
            [
                Case("two sequences", embed_case(2, 5, 6, 4)),
                Case("as many sequences as positions", embed_case(4, 4, 3, 5)),
                Case("one token", embed_case(1, 1, 3, 3)),
            ],
        ),
        numeric("without positions", 1, "embed", embed, [Case("positions off", embed_case(2, 5, 6, 4, False))]),
        numeric(
            "the gradient of the table",
            2,
            "embed_backward",
            lambda dout, tokens, vocab: embedding_backward(dout, tokens, vocab),
            [
                Case("tokens that come again", table_case(3, 5, 4, 2)),
                Case("tokens that never occur", table_case(1, 2, 9, 3)),
            ],
        ),
        unchanged(1, {"embed": embed_case(2, 3, 4, 2), "embed_backward": table_case(2, 3, 4, 2)}),
    ),
    mistakes=(
        Mistake(
            name="positions-left-out",
            advice="Add the encoding of the positions: without it the model cannot know which token is the first.",
            replaces={"embed": lambda tokens, E, positions_on=True: embed(tokens, E, False)},
        ),
        Mistake(
            name="positions-always-on",
            advice="With positions_on False nothing is added.",
            replaces={"embed": lambda tokens, E, positions_on=True: embed(tokens, E)},
        ),
        Mistake(
            name="positions-from-one",
            advice="Positions count from 0.",
            replaces={
                "embed": lambda tokens, E, positions_on=True: (
                    embed(tokens, E, False)
                    + positions_on * sinusoidal_encoding(np.shape(tokens)[1] + 1, np.shape(E)[1])[1:]
                )
            },
        ),
        Mistake(
            name="repeated-tokens-overwritten",
            advice="dE[tokens] += dout keeps only one contribution of a token that comes twice; np.add.at adds all.",
            replaces={"embed_backward": eb_overwritten},
        ),
        Mistake(
            name="table-gradient-averaged",
            advice="A row's gradient is the sum over the places of its token, not their mean.",
            replaces={"embed_backward": eb_mean},
        ),
    ),
)


def attention_with(
    scale: str = "head", axis: int = -1, reshape: bool = False, untransposed: bool = False, stable: bool = True,
    causal: bool = False, output: bool = True,
) -> Make:  # fmt: skip
    def wrong(x: Array, params: Params, n_heads: int) -> Any:
        x = floats(x)
        batch, length, d = x.shape
        W = {name: floats(params[name]).T for name in MATRICES}
        if untransposed:
            W = {name: w.T for name, w in W.items()}

        def heads(a: Array) -> Array:
            if reshape:
                return a.reshape(batch, n_heads, length, d // n_heads)
            return ref_attention.split_heads(a, n_heads)

        q, k, v = (heads(x @ W[name]) for name in ("W_q", "W_k", "W_v"))
        size = {"head": d // n_heads, "model": d, "none": 1}[scale]
        scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(size)
        if causal:
            scores = np.where(np.tri(length, dtype=bool), scores, -np.inf)
        with np.errstate(all="ignore"):
            weights = softmax(scores, axis=axis) if stable else np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        mixed = weights @ v
        merged = mixed.reshape(batch, length, d) if reshape else ref_attention.merge_heads(mixed)
        return merged @ W["W_o"] if output else merged, weights, None

    return wrong


def attention_case(batch: int, length: int, d: int, n_heads: int, scale: float = 1.0) -> Any:
    def draw(rng: Rng) -> tuple[Any, ...]:
        params = {name: scale * rng.normal(size=(d, d)) / np.sqrt(d) for name in MATRICES}
        return rng.normal(size=(batch, length, d)), params, n_heads

    return draw


ATTENTIONS = [
    Case("two heads", attention_case(2, 5, 6, 2)),
    Case("as many positions as columns, three heads", attention_case(2, 6, 6, 3)),
    Case("one head", attention_case(1, 3, 4, 1)),
    Case("one position", attention_case(2, 1, 4, 2)),
]


@prop("every query's weights sum to one", 2, "attention")
def rows_sum(student: Any, rng: Rng) -> None:
    answer = student.call("attention", *attention_case(3, 5, 6, 2)(rng), keep=(2,))
    weights = numbers(items(answer, ("out", "weights", "cache"))[1], (3, 2, 5, 5), "weights")
    same(weights.sum(axis=-1), np.ones((3, 2, 5)), "the sum of each query's weights")
    holds(bool((weights >= 0).all()), "a weight is below zero.")


ATTENTION_FORWARD = Exercise(
    name="attention",
    title="Stage 2: attention with several heads",
    functions=("attention",),
    hints=(
        "What does one head do? Then: which columns of q, k and v belong to it?",
        "Reshape the last axis to (n_heads, dk), and move the heads to axis 1. Then @ works on all heads at once.",
        "scores = q @ k with its last two axes swapped, over the root of d / n_heads; softmax along the last axis; "
        "weights @ v; heads back beside their positions, reshape to (B, T, d), and W_o transposed.",
    ),
    checks=(
        numeric("the output", 5, "attention", attention, ATTENTIONS, pick=0, result="the output", keep=(2,)),
        numeric("the weights", 3, "attention", attention, ATTENTIONS, pick=1, result="the table of weights", keep=(2,)),
        rows_sum,
        numeric(
            "scores of thousands",
            1,
            "attention",
            attention,
            [Case("large weights", attention_case(2, 4, 6, 2, 60.0))],
            pick=1,
            result="the table of weights",
            keep=(2,),
        ),
        unchanged(1, {"attention": attention_case(2, 3, 4, 2)}, keep=(2,)),
    ),
    mistakes=(
        Mistake(
            name="scaled-by-the-whole-width",
            advice="Divide by the root of a HEAD's width, d / n_heads: that is how many products are summed.",
            replaces={"attention": attention_with(scale="model")},
        ),
        Mistake(
            name="scores-not-scaled",
            advice="Divide the scores by sqrt(d / n_heads), or the softmax saturates.",
            replaces={"attention": attention_with(scale="none")},
        ),
        Mistake(
            name="softmax-over-queries",
            advice="The weights of one query sum to one: the softmax runs over the keys, the last axis.",
            replaces={"attention": attention_with(axis=-2)},
        ),
        Mistake(
            name="heads-by-reshape-alone",
            advice="Reshape to (B, T, n_heads, dk) and then swap axes; a direct reshape gives a head other positions "
            "instead of its columns.",
            replaces={"attention": attention_with(reshape=True)},
        ),
        Mistake(
            name="weights-not-transposed",
            advice="Weights are (out, in): x @ W.T.",
            replaces={"attention": attention_with(untransposed=True)},
        ),
        Mistake(
            name="maximum-not-subtracted",
            advice="exp overflows for scores above 709: subtract each row's maximum first.",
            replaces={"attention": attention_with(stable=False)},
        ),
        Mistake(
            name="looks-back-only",
            advice="Here every position may look at every other, later ones too: there is no mask.",
            replaces={"attention": attention_with(causal=True)},
        ),
        Mistake(
            name="output-matrix-forgotten",
            advice="The merged heads still go through W_o.",
            replaces={"attention": attention_with(output=False)},
        ),
    ),
)


def block_with(kind: str) -> Make:
    def wrong(x: Array, params: Params, n_heads: int, attention_on: bool = True) -> Any:
        x, p = floats(x), as_floats(params)

        def norm(a: Array, number: int) -> Array:
            return layer_norm_forward(a, p[f"gamma{number}"], p[f"beta{number}"])[0]

        def think(a: Array) -> Array:
            return feed_forward_forward(a, p, "tanh")[0]

        normed = norm(x, 1)
        attended, weights, _ = attention(x if kind == "post" else normed, p, n_heads)
        attended = attended if attention_on or kind == "never-off" else 0 * attended
        weights = weights if attention_on or kind == "never-off" else 0 * weights
        if kind == "post":
            y = norm(x + attended, 1)
            return norm(y + think(y), 2), weights, None
        y = attended if kind == "no-residual" else normed + attended if kind == "normed-residual" else x + attended
        thought = think(norm(y, 1 if kind == "one-norm" else 2)) if kind != "no-second-norm" else think(y)
        if kind == "parallel":
            thought = think(norm(x, 2))
        return y + thought, weights, None

    return wrong


def block_case(batch: int, length: int, d: int, n_heads: int, *flags: bool) -> Any:
    def draw(rng: Rng) -> tuple[Any, ...]:
        params = draw_params(rng, 3, d, 5, 2)
        return (rng.normal(size=(batch, length, d)), {n: params[n] for n in BLOCK}, n_heads, *flags)

    return draw


BLOCK_FORWARD = Exercise(
    name="block",
    title="Stage 2: the pre-LN block",
    functions=("block",),
    hints=(
        "Draw the two branches. What goes into each, and to what is its outcome added?",
        "First branch: normalise x, attend, add to x. Second: normalise the sum with the OTHER gamma and beta, think, "
        "add to the sum.",
        "With attention off skip the first branch: y is x, and the weights are zeros of shape (B, n_heads, T, T).",
    ),
    checks=(
        numeric(
            "the output",
            3,
            "block",
            block,
            [Case("two heads", block_case(2, 5, 6, 2)), Case("one position", block_case(3, 1, 4, 2))],
            pick=0,
            result="the output",
            keep=(2,),
        ),
        numeric(
            "attention switched off: the output",
            2,
            "block",
            block,
            [Case("attention off", block_case(2, 5, 6, 2, False))],
            pick=0,
            result="the output",
            keep=(2,),
        ),
        numeric(
            "the weights, on and off",
            2,
            "block",
            block,
            [Case("on", block_case(2, 4, 6, 3)), Case("off", block_case(2, 4, 6, 3, False))],
            pick=1,
            result="the table of weights",
            keep=(2,),
        ),
        unchanged(1, {"block": block_case(2, 3, 4, 2)}, keep=(2,)),
    ),
    mistakes=(
        Mistake(
            name="normalised-after-the-sum",
            advice="Pre-LN: the normalisation stands inside the branch, before attention and network, not after the "
            "sum.",
            replaces={"block": block_with("post")},
        ),
        Mistake(
            name="first-residual-missing",
            advice="x itself is added to what attention says; yours goes on with the attention alone.",
            replaces={"block": block_with("no-residual")},
        ),
        Mistake(
            name="residual-of-the-normalised",
            advice="Add x as it came, not its normalised form: the residual path stays untouched.",
            replaces={"block": block_with("normed-residual")},
        ),
        Mistake(
            name="one-normalisation-used-twice",
            advice="The second normalisation has a gamma and a beta of its own.",
            replaces={"block": block_with("one-norm")},
        ),
        Mistake(
            name="second-normalisation-missing",
            advice="The feed-forward network gets the normalised y.",
            replaces={"block": block_with("no-second-norm")},
        ),
        Mistake(
            name="branches-side-by-side",
            advice="The second branch starts from y, which has heard the attention, not from x.",
            replaces={"block": block_with("parallel")},
        ),
        Mistake(
            name="attention-never-off",
            advice="With attention_on False the first branch is left out: y = x.",
            replaces={"block": block_with("never-off")},
        ),
    ),
)


def model_case(batch: int, length: int, d: int, n_heads: int, classes: int = 3, *flags: bool) -> Any:
    def draw(rng: Rng) -> tuple[Any, ...]:
        return (rng.integers(0, 5, size=(batch, length)), draw_params(rng, 5, d, 7, classes), n_heads, *flags)

    return draw


MODELS = [
    Case("three classes", model_case(3, 5, 6, 2)),
    Case("as many positions as columns", model_case(2, 6, 6, 3, 2)),
    Case("one sequence of one token", model_case(1, 1, 4, 2, 2)),
]


@prop("without positions the order does not matter, with them it does", 2, "forward")
def order_matters(student: Any, rng: Rng) -> None:
    tokens, params, n_heads = model_case(4, 6, 6, 2)(rng)
    tokens[:, 0] = (tokens[:, 1] + 1) % 5
    turned = tokens[:, [1, 0, 3, 2, 5, 4]]
    for positions in (False, True):
        logits = []
        for sequence in (tokens, turned):
            answer = student.call("forward", sequence, params, n_heads, True, positions, keep=(2,))
            logits.append(numbers(items(answer, ("logits", "weights", "cache"))[0], (4, 3), "logits"))
        if positions:
            holds(
                bool(np.abs(logits[0] - logits[1]).max() > 1e-6),
                "with positions, sequences of the same tokens in another order should give other logits.",
            )
        else:
            same(logits[1], logits[0], "without positions, the logits of the same tokens in another order")


FORWARD = Exercise(
    name="forward",
    title="Stage 2: the whole model, forward",
    functions=("forward",),
    hints=(
        "Write down the shape after each of the five stations.",
        "The mean runs over the positions, axis 1: (B, T, d) becomes (B, d).",
        "embed, block with attention_on, np.mean along axis 1, then pooled @ W_out.T + b_out; the weights come "
        "from the block.",
    ),
    checks=(
        numeric("the logits", 2, "forward", forward, MODELS, pick=0, result="the table of logits", keep=(2,)),
        numeric("the weights", 1, "forward", forward, MODELS, pick=1, result="the table of weights", keep=(2,)),
        numeric(
            "attention or positions switched off",
            1,
            "forward",
            forward,
            [
                Case("attention off", model_case(3, 4, 6, 2, 3, False)),
                Case("positions off", model_case(3, 4, 6, 2, 3, True, False)),
            ],
            pick=0,
            result="logits",
            keep=(2,),
        ),
        order_matters,
        unchanged(1, {"forward": model_case(2, 3, 4, 2)}, keep=(2,)),
    ),
    mistakes=(
        Mistake(
            name="mean-over-the-features",
            advice="The mean runs over the positions, axis 1, and leaves d numbers for each sequence.",
            replaces={"forward": forward_with(pool=lambda h: h.mean(axis=2))},
        ),
        Mistake(
            name="sum-over-positions",
            advice="The positions are averaged, not summed.",
            replaces={"forward": forward_with(pool=lambda h: h.sum(axis=1))},
        ),
        Mistake(
            name="first-position-only",
            advice="All positions are averaged; yours reads the first one only.",
            replaces={"forward": forward_with(pool=lambda h: h[:, 0])},
        ),
        Mistake(
            name="last-position-only",
            advice="All positions are averaged; yours reads the last one only.",
            replaces={"forward": forward_with(pool=lambda h: h[:, -1])},
        ),
        Mistake(
            name="switches-not-handed-on",
            advice="Hand attention_on to the block and positions_on to embed.",
            replaces={
                "forward": lambda tokens, params, n_heads, attention_on=True, positions_on=True: forward(
                    tokens, params, n_heads
                )
            },
        ),
        Mistake(
            name="output-bias-forgotten",
            advice="The logits get b_out added.",
            replaces={"forward": forward_with(bias=False)},
        ),
    ),
)

# --- stage 3: backward -----------------------------------------------------------------------------------------------


def attention_inputs(batch: int, length: int, d: int, n_heads: int, scale: float = 1.0) -> Any:
    def draw(rng: Rng) -> dict[str, Any]:
        x, params, _ = attention_case(batch, length, d, n_heads)(rng)
        return {"x": x, "params": params, "heads": n_heads, "dout": scale * rng.normal(size=x.shape)}

    return draw


def layer_gradient(
    name: str, points: int, function: str, right: tuple[Make, Make], keys: tuple[str, ...], cases: list[GradientCase]
) -> Check:
    """The gradients of a layer of (x, params, n_heads) that returns its cache third: of x, and of the named params."""

    def grads(student: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        answer = student.call(function, inputs["x"], inputs["params"], inputs["heads"], keep=(2,))
        cache = items(answer, ("out", "weights", "cache"))[2]
        dx, found = items(student.call(f"{function}_backward", inputs["dout"], cache), ("dx", "grads"))
        holds(type(found) is dict, f"the second item of what `{function}_backward` returns should be a dict.")
        return {"x": dx, **{f"params.{key}": grad for key, grad in found.items()}}

    def reference(inputs: dict[str, Any]) -> dict[str, Any]:
        dx, found = right[1](inputs["dout"], right[0](inputs["x"], inputs["params"], inputs["heads"])[2])
        return {"x": dx, **{f"params.{key}": found[key] for key in keys}}

    return gradient(
        name,
        points,
        (function, f"{function}_backward"),
        cases,
        value=lambda student, i: student.call(function, i["x"], i["params"], i["heads"], keep=(2,))[0],
        grads=grads,
        reference=reference,
    )


def attention_backward(dout: Array, cache: Any) -> Any:
    return ref_attention.self_attention_backward(dout, cache)


ATTENTION_PAIR = (attention, attention_backward)


def attention_backward_with(kind: str) -> dict[str, Make]:
    def wrong(dout: Array, cache: Any) -> Any:
        projections, (q, k, v, weights, scale), _ = cache
        n_heads = q.shape[1]
        dmerged, dW_o, _ = linear_backward(dout, projections["o"])
        dheads = ref_attention.split_heads(dmerged, n_heads)
        dw = dheads @ np.swapaxes(v, -1, -2)
        inner = 0.0 if kind == "diagonal" else (dw * weights).sum(axis=-1, keepdims=True)
        dscores = weights * (dw - inner) * (1.0 if kind == "unscaled" else scale)
        if kind == "no-softmax":
            dscores = dw * scale
        dk = dscores @ q if kind == "untransposed" else np.swapaxes(dscores, -1, -2) @ q
        parts = {"q": dscores @ k, "k": dk, "v": np.swapaxes(weights, -1, -2) @ dheads}
        dx, grads = 0.0 * floats(dout), {"W_o": dW_o}
        for name, part in parts.items():
            through, grads[f"W_{name}"], _ = linear_backward(ref_attention.merge_heads(part), projections[name])
            dx = dx if kind == "value-only" and name != "v" else dx + through
        if kind == "averaged":
            grads = {name: grad / len(dx) for name, grad in grads.items()}
        return dx, grads

    return {"attention": attention, "attention_backward": wrong}


ATTENTION_BACKWARD = Exercise(
    name="attention_backward",
    title="Stage 3: backward through attention",
    functions=("attention_backward",),
    hints=(
        "Go back from out to x in the steps of the way in. Where does the way split in three?",
        "dout @ W_o, cut into heads, is the gradient at weights @ v. A product's gradients: at the weights it is that "
        "times v transposed, at v the weights transposed times it.",
        "dscores by the formula; at q it is dscores @ k, at k its transpose @ q. Merge the heads; each part gives its "
        "matrix the gradient part^T x, summed over batch and positions, and x gets part @ W.",
    ),
    checks=(
        layer_gradient(
            "gradients of input and matrices",
            8,
            "attention",
            ATTENTION_PAIR,
            MATRICES,
            [
                GradientCase("two heads", attention_inputs(2, 5, 6, 2)),
                GradientCase("as many positions as columns", attention_inputs(2, 4, 4, 2)),
                GradientCase("one position, one sequence", attention_inputs(1, 1, 4, 2)),
            ],
        ),
        layer_gradient(
            "exact, not nearly",
            4,
            "attention",
            ATTENTION_PAIR,
            MATRICES,
            [GradientCase("a large dout", attention_inputs(2, 3, 6, 3, 1e6))],
        ),
    ),
    mistakes=(
        Mistake(
            name="softmax-gradient-without-the-sum",
            advice="Weights of a row depend on each other: subtract the sum of dw * weights before multiplying.",
            replaces=attention_backward_with("diagonal"),
        ),
        Mistake(
            name="scale-forgotten-on-the-way-back",
            advice="The scores were divided by sqrt(dk), so their gradient is too.",
            replaces=attention_backward_with("unscaled"),
        ),
        Mistake(
            name="softmax-skipped-on-the-way-back",
            advice="Between weights and scores lies the softmax: its gradient must be applied.",
            replaces=attention_backward_with("no-softmax"),
        ),
        Mistake(
            name="key-gradient-not-transposed",
            advice="A key hears from all queries: use dscores with its last two axes swapped.",
            replaces=attention_backward_with("untransposed"),
        ),
        Mistake(
            name="input-as-value-only",
            advice="x was query, key and value at once: its gradient is the sum of three.",
            replaces=attention_backward_with("value-only"),
        ),
        Mistake(
            name="matrix-gradients-averaged",
            advice="Gradients of weights are sums over batch and positions: the 1/B is in dout.",
            replaces=attention_backward_with("averaged"),
        ),
    ),
)


def block_inputs(batch: int, length: int, d: int, n_heads: int, scale: float = 1.0) -> Any:
    def draw(rng: Rng) -> dict[str, Any]:
        x, params, _ = block_case(batch, length, d, n_heads)(rng)
        return {"x": x, "params": params, "heads": n_heads, "dout": scale * rng.normal(size=x.shape)}

    return draw


BLOCK_PAIR = (block, block_backward)


def block_backward_with(kind: str) -> dict[str, Make]:
    def wrong(dout: Array, cache: Any) -> Any:
        (norm1, attended, norm2, fed), _ = cache
        dout = floats(dout)
        dnormed, grads = feed_forward_backward(dout, fed)
        through, dgamma2, dbeta2 = layer_norm_backward(dnormed, norm2)
        dy = through if kind == "second-lost" else dout + (dnormed if kind == "norm2-skipped" else through)
        dnormed, part = ref_attention.self_attention_backward(dout if kind == "dout-again" else dy, attended)
        through, dgamma1, dbeta1 = layer_norm_backward(dnormed, norm1)
        dx = through if kind == "first-lost" else dy + (dnormed if kind == "norm1-skipped" else through)
        norms = {"gamma1": dgamma1, "beta1": dbeta1, "gamma2": dgamma2, "beta2": dbeta2}
        if kind == "norms-swapped":
            norms = {"gamma1": dgamma2, "beta1": dbeta2, "gamma2": dgamma1, "beta2": dbeta1}
        return dx, {**grads, **part, **norms}

    return {"block": block, "block_backward": wrong}


BLOCK_BACKWARD = Exercise(
    name="block_backward",
    title="Stage 3: backward through the block",
    functions=("block_backward",),
    hints=(
        "out = y + branch(y). How does y's gradient come about from dout?",
        "Second branch first: network, normalisation, and what comes out is added to dout. With that sum, the same for "
        "the first branch.",
        "feed_forward_backward, layer_norm_backward, dy = dout + that; attention_backward of dy, layer_norm_backward, "
        "dx = dy + that. Collect all twelve gradients on the way.",
    ),
    checks=(
        layer_gradient(
            "gradients of input and parameters",
            6,
            "block",
            BLOCK_PAIR,
            BLOCK,
            [
                GradientCase("two heads", block_inputs(2, 5, 6, 2)),
                GradientCase("one sequence", block_inputs(1, 3, 4, 2)),
            ],
        ),
        layer_gradient(
            "exact here too",
            3,
            "block",
            BLOCK_PAIR,
            BLOCK,
            [GradientCase("a large dout", block_inputs(2, 3, 6, 3, 1e6))],
        ),
    ),
    mistakes=(
        Mistake(
            name="second-residual-lost",
            advice="y goes past the network as well: its gradient is dout PLUS what comes through the branch.",
            replaces=block_backward_with("second-lost"),
        ),
        Mistake(
            name="first-residual-lost",
            advice="x goes past the attention as well: its gradient is dy PLUS what comes through the branch.",
            replaces=block_backward_with("first-lost"),
        ),
        Mistake(
            name="attention-gets-dout",
            advice="The attention's outcome is part of y: its gradient is dy, not dout.",
            replaces=block_backward_with("dout-again"),
        ),
        Mistake(
            name="normalisation-passed-over",
            advice="Each branch begins with a normalisation: the way back must go through it.",
            replaces=block_backward_with("norm2-skipped"),
            variants=(block_backward_with("norm1-skipped"),),
        ),
        Mistake(
            name="normalisations-confused",
            advice="gamma1 and beta1 belong to the normalisation before the attention, gamma2 and beta2 to the other.",
            replaces=block_backward_with("norms-swapped"),
        ),
    ),
)


def model_inputs(batch: int, length: int, d: int, n_heads: int, attention_on: bool = True) -> Any:
    def draw(rng: Rng) -> dict[str, Any]:
        tokens, params, _ = model_case(batch, length, d, n_heads)(rng)
        dout = rng.normal(size=(batch, 3))
        return {"tokens": tokens, "params": params, "heads": n_heads, "on": attention_on, "dout": dout}

    return draw


def student_model_grads(student: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    answer = student.call("forward", inputs["tokens"], inputs["params"], inputs["heads"], inputs["on"], keep=(2,))
    grads = student.backward(inputs["dout"], items(answer, ("logits", "weights", "cache"))[2])
    holds(type(grads) is dict, "`backward` should return a dict of gradients.")
    holds(
        set(grads) == set(inputs["params"]),
        "the gradients should have exactly the keys of params.",
        f"Expected {sorted(inputs['params'])}, got {sorted(map(str, grads))}.",
    )
    return {f"params.{name}": grad for name, grad in grads.items()}


def right_model_grads(inputs: dict[str, Any]) -> dict[str, Any]:
    cache = forward(inputs["tokens"], inputs["params"], inputs["heads"], inputs["on"])[2]
    return {f"params.{name}": grad for name, grad in backward(inputs["dout"], cache).items()}


def model_gradient(name: str, points: int, cases: list[GradientCase]) -> Check:
    return gradient(
        name,
        points,
        ("forward", "backward"),
        cases,
        value=lambda student, i: student.call("forward", i["tokens"], i["params"], i["heads"], i["on"], keep=(2,))[0],
        grads=student_model_grads,
        reference=right_model_grads,
    )


@prop("the cache can be used again, and dlogits stays as it is", 1, "forward", "backward")
def cache_kept(student: Any, rng: Rng) -> None:
    tokens, params, n_heads = model_case(2, 4, 6, 2)(rng)
    cache = items(student.call("forward", tokens, params, n_heads, keep=(2,)), ("logits", "weights", "cache"))[2]
    dout = rng.normal(size=(2, 3))
    want = backward(dout, forward(tokens, params, n_heads)[2])
    for turn in ("first", "second"):
        grads = student.backward(dout, cache)
        with case_of(f"the {turn} use of one cache", student.transcript[-1][0]):
            holds(0 not in student.changed, "`backward` modified dlogits in place; work on a copy or a new array.")
            for name in params:
                same(entry(grads, name, "the dict of gradients"), want[name], f"the gradient of {name}")


def backward_with(change: Callable[[Params, Array, Any], Params]) -> dict[str, Make]:
    return {
        "forward": forward,
        "backward": lambda dlogits, cache: change(backward(dlogits, cache), floats(dlogits), cache),
    }


def every_thirtieth(grads: Params, dout: Array, cache: Any) -> Params:
    return {name: np.where(np.arange(g.size).reshape(g.shape) % 30 == 0, g, 0.0) for name, g in grads.items()}


def times_length(grads: Params, dout: Array, cache: Any) -> Params:
    return {name: g if name in ("W_out", "b_out") else g * cache[1][1] for name, g in grads.items()}


def divided_again(grads: Params, dout: Array, cache: Any) -> Params:
    return {name: g / len(dout) for name, g in grads.items()}


BACKWARD = Exercise(
    name="backward",
    title="Stage 3: all gradients of the model",
    functions=("backward",),
    hints=(
        "Which stations did the forward pass have, and what is each one's gradient?",
        "Head: like any linear layer. Mean: every position gets 1/T of the gradient. Then block_backward, then "
        "embed_backward.",
        "Divide dlogits @ W_out by T and repeat it for every position, as (B, T, d). If the block left attention out, "
        "put zeros of the right shape for its parameters.",
    ),
    checks=(
        model_gradient(
            "the whole model's gradients, every entry",
            5,
            [
                GradientCase("three sequences", model_inputs(3, 5, 6, 2)),
                GradientCase("one sequence", model_inputs(1, 4, 4, 2)),
            ],
        ),
        model_gradient("with attention off", 2, [GradientCase("attention off", model_inputs(3, 4, 6, 2, False))]),
        cache_kept,
    ),
    mistakes=(
        Mistake(
            name="gradient-of-sampled-entries",
            advice="Most entries of your gradients are zero: every entry of every parameter needs its gradient, or "
            "most of the model never learns.",
            replaces=backward_with(every_thirtieth),
        ),
        Mistake(
            name="mean-treated-as-a-sum",
            advice="Each position gave 1/T of the mean, and gets 1/T of its gradient.",
            replaces=backward_with(times_length),
        ),
        Mistake(
            name="divided-by-the-batch-again",
            advice="The 1/B of the mean loss is in dlogits already; do not divide by B again.",
            replaces=backward_with(divided_again),
        ),
        Mistake(
            name="table-not-learned",
            advice="The table E learns too: its gradient comes from embed_backward.",
            replaces=backward_with(lambda grads, dout, cache: {**grads, "E": 0 * grads["E"]}),
        ),
        Mistake(
            name="gradients-renamed",
            advice="A gradient has its parameter's name, E and not dE: Adam pairs them by name.",
            replaces=backward_with(lambda grads, dout, cache: {f"d{name}": g for name, g in grads.items()}),
        ),
        Mistake(
            name="sign-reversed",
            advice="These are the gradients with their sign reversed; Adam subtracts them by itself.",
            replaces=backward_with(lambda grads, dout, cache: {name: -g for name, g in grads.items()}),
        ),
    ),
)


def ce_case(batch: int, classes: int, scale: float = 2.0) -> Any:
    return lambda rng: (
        scale
        * rng.permuted(np.tile(np.linspace(-1, 1, classes), (batch, 1)), axis=1)
        * rng.uniform(0.5, 1, (batch, 1)),
        rng.integers(0, classes, size=batch),
    )


def ce_unstable(logits: Array, labels: Array) -> Any:
    with np.errstate(all="ignore"):
        e = np.exp(floats(logits))
        p = e / e.sum(axis=1, keepdims=True)
        chosen = p[np.arange(len(p)), labels]
        return -np.mean(np.log(chosen)), (p - np.eye(p.shape[1])[labels]) / len(p)


CES = [Case("three classes", ce_case(5, 3)), Case("a batch of one", ce_case(1, 4))]

CROSS_ENTROPY = Exercise(
    name="cross_entropy",
    title="Stage 3: the loss",
    functions=("cross_entropy",),
    hints=(
        "Which probability matters for a sequence's loss, and what is its logarithm in terms of the logits?",
        "log p is the shifted logit minus the logarithm of the sum of the shifted exponentials.",
        "Take log p at (row, label) for the loss. For the gradient take p, subtract 1 at those places, divide by B.",
    ),
    checks=(
        numeric("the loss", 1, "cross_entropy", cross_entropy, CES, pick=0, result="the loss"),
        numeric("the gradient", 1, "cross_entropy", cross_entropy, CES, pick=1, result="the gradient"),
        numeric(
            "huge logits",
            1,
            "cross_entropy",
            cross_entropy,
            [Case("logits of ten thousand", ce_case(4, 3, 1e4))],
            result="the pair (loss, dlogits)",
        ),
        unchanged(1, {"cross_entropy": ce_case(3, 4)}),
    ),
    mistakes=(
        Mistake(
            name="logits-not-shifted",
            advice="exp overflows: subtract each row's maximum first, and work with log p directly.",
            replaces={"cross_entropy": ce_unstable},
        ),
        Mistake(
            name="loss-gradient-not-divided",
            advice="The loss is a mean over the batch, so its gradient carries 1/B.",
            replaces={
                "cross_entropy": lambda z, y: (cross_entropy(z, y)[0], len(z) * cross_entropy(z, y)[1]),
            },
        ),
        Mistake(
            name="loss-summed-over-the-batch",
            advice="The loss is the mean over the batch, not the sum.",
            replaces={"cross_entropy": lambda z, y: (len(z) * cross_entropy(z, y)[0], cross_entropy(z, y)[1])},
        ),
        Mistake(
            name="loss-in-bits",
            advice="The natural logarithm is meant, not the one to base 2.",
            replaces={"cross_entropy": lambda z, y: (cross_entropy(z, y)[0] / np.log(2), cross_entropy(z, y)[1])},
        ),
        Mistake(
            name="one-hot-not-subtracted",
            advice="The gradient is p minus one-hot: subtract 1 at the right class.",
            replaces={"cross_entropy": lambda z, y: (cross_entropy(z, y)[0], softmax(z) / len(z))},
        ),
    ),
)

# --- stage 4: training -----------------------------------------------------------------------------------------------


def adam_with(kind: str = "right") -> Make:
    def step(params: Params, grads: Params, optimizer: Any, lr: float) -> Any:
        count, new, m, v = optimizer.get("t", 0), {}, {}, {}
        if kind != "per-parameter":
            count += 1
        for name, value in params.items():
            g = floats(grads[name])
            if kind == "per-parameter":
                count += 1
            m[name] = 0.9 * optimizer.get("m", {}).get(name, 0.0) + (1.0 if kind == "plain-sum" else 0.1) * g
            v[name] = 0.999 * optimizer.get("v", {}).get(name, 0.0) + 0.001 * g**2
            first, second = (1.0, 1.0) if kind == "uncorrected" else (1 - 0.9**count, 1 - 0.999**count)
            if kind == "swapped":
                first, second = second, first
            m_hat, v_hat = m[name] / first, v[name] / second
            size = np.sqrt(v_hat + 1e-8) if kind == "eps-inside" else np.sqrt(v_hat) + 1e-8
            new[name] = floats(value) - lr * m_hat / (v_hat + 1e-8 if kind == "no-root" else size)
        return new, {"t": count, "m": m, "v": v}

    return step


def adam_run(student: Any, rng: Rng, scale: float, steps: int) -> None:
    shapes: dict[str, tuple[int, ...]] = {"W": (2, 3), "b": (3,), "E": (4, 2)}
    params: Any = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    ours, memory, our_memory = params, dict[str, Any](), dict[str, Any]()
    for number in range(1, steps + 1):
        grads = {name: scale * rng.normal(size=shape) for name, shape in shapes.items()}
        ours, our_memory = adam_step(ours, grads, our_memory, 0.1)
        answer = student.call("adam_step", params, grads, memory, 0.1, keep=(1,))
        with case_of(f"step {number}", student.transcript[-1][0]):
            params, memory = items(answer, ("params", "optimizer"))
            same(params, ours, "params")


@prop("several steps", 2, "adam_step")
def adam_steps(student: Any, rng: Rng) -> None:
    adam_run(student, rng, 1.0, 4)


@prop("gradients as small as eps", 1, "adam_step")
def adam_small(student: Any, rng: Rng) -> None:
    adam_run(student, rng, 1e-7, 2)


@prop("the arguments are left as they were, the memory too", 1, "adam_step", alone=False)
def adam_untouched(student: Any, rng: Rng) -> None:
    memory: Any = {}
    for _ in range(2):
        params, grads = ({"W": rng.normal(size=(2, 2))} for _ in range(2))
        answer = student.call("adam_step", params, grads, memory, 0.1, keep=(1,))
        holds(
            not student.changed,
            "`adam_step` modified the params, the gradients or the memory that it was given; make new arrays.",
        )
        memory = items(answer, ("params", "optimizer"))[1]


ADAM = Exercise(
    name="adam_step",
    title="Stage 4: Adam",
    functions=("adam_step",),
    hints=(
        "How many counters does Adam have, for fifteen parameters?",
        "One t, raised once at the top. Each parameter has an m and a v, kept uncorrected.",
        "In the loop over the names: m and v from the old ones (0 if there are none), divided by 1 minus the power of "
        "t for this step only; the root of v_hat plus 1e-8 divides.",
    ),
    checks=(
        adam_steps,
        adam_small,
        adam_untouched,
    ),
    mistakes=(
        Mistake(
            name="t-counts-parameters",
            advice="t counts steps: raise it once a step, outside of the loop over the parameters.",
            replaces={"adam_step": adam_with("per-parameter")},
        ),
        Mistake(
            name="means-not-corrected",
            advice="m and v start at zero and are too small at first: divide by 1 - 0.9^t and 1 - 0.999^t.",
            replaces={"adam_step": adam_with("uncorrected")},
        ),
        Mistake(
            name="corrections-swapped",
            advice="m is corrected with 0.9, v with 0.999.",
            replaces={"adam_step": adam_with("swapped")},
        ),
        Mistake(
            name="eps-inside-the-root",
            advice="eps stands outside of the root, where it matters for small gradients.",
            replaces={"adam_step": adam_with("eps-inside")},
        ),
        Mistake(
            name="root-forgotten",
            advice="Divide by the root of v_hat.",
            replaces={"adam_step": adam_with("no-root")},
        ),
        Mistake(
            name="gradient-not-weighted",
            advice="m is a mean: the new gradient enters with weight 0.1.",
            replaces={"adam_step": adam_with("plain-sum")},
        ),
    ),
)


def train_with(
    clipped: bool = True,
    constant: bool = False,
    fresh_adam: bool = False,
    late_loss: bool = False,
    same_batch: bool = False,
    always_on: bool = False,
    descent: bool = False,
    epoch_like: bool = False,
) -> Make:
    def train(
        tokens: Any, labels: Any, rng: Any, vocab: int = 8, n_heads: int = 4, d: int = 32, d_ff: int = 64,
        steps: int = 1200, batch_size: int = 64, lr: float = 0.006, attention_on: bool = True,
    ) -> Any:  # fmt: skip
        tokens, labels = np.asarray(tokens), np.asarray(labels)
        on = attention_on or always_on
        params, losses = init_params(vocab, d, d_ff, 2, rng), np.zeros(steps)
        memory: Any = {}
        batch = np.arange(0)
        for step in range(steps):
            if not (same_batch and step):
                batch = rng.integers(0, len(tokens), size=batch_size)
            if epoch_like:
                batch = np.arange(step * batch_size, (step + 1) * batch_size) % len(tokens)
            logits, _, cache = forward(tokens[batch], params, n_heads, on)
            losses[step], dlogits = cross_entropy(logits, labels[batch])
            grads = backward(dlogits, cache)
            if clipped:
                grads = clip_global_norm(grads, 1.0)[0]
            rate = lr if constant else lr * (1 + np.cos(np.pi * step / steps)) / 2
            if descent:
                params = {name: value - rate * grads[name] for name, value in params.items()}
            else:
                params, memory = adam_step(params, grads, {} if fresh_adam else memory, rate)
            if late_loss:
                losses[step] = cross_entropy(forward(tokens[batch], params, n_heads, on)[0], labels[batch])[0]
        return params, losses

    return train


train = train_with()


def short_run(student: Any, rng: Rng, attention_on: bool) -> None:
    tokens, labels = make_data(20, 5, 4, rng)
    # One token more than there are in the data.
    options: dict[str, Any] = {"vocab": 5, "n_heads": 2, "d": 4, "d_ff": 5, "steps": 5, "batch_size": 7, "lr": 0.05}
    want: Any = None
    gap = 0.0
    while gap < 1e-3:
        # A run in which clipping makes a difference: some gradient is longer than 1, and not all of them alike.
        seed = int(rng.integers(1 << 30))
        want, loose = (
            run(tokens, labels, np.random.default_rng(seed), **options, attention_on=attention_on)
            for run in (train, train_with(clipped=False))
        )
        gap = max(float(np.abs(want[0][name] - loose[0][name]).max()) for name in ("W1", "W_out"))
    answer = student.train(tokens, labels, np.random.default_rng(seed), **options, attention_on=attention_on)
    with case_of("five steps of a small model", student.transcript[-1][0]):
        params, losses = items(answer, ("params", "losses"))
        same(losses, want[1], "losses", **TRAINED)
        same(params, want[0], "params", **TRAINED)


@prop("batches, rates, clipping and losses of a short run", 2, "train")
def short_on(student: Any, rng: Rng) -> None:
    short_run(student, rng, True)


@prop("a short run with attention off", 1, "train")
def short_off(student: Any, rng: Rng) -> None:
    short_run(student, rng, False)


def hidden_task(rng: Rng, n: int, place: int, flip: int) -> tuple[Array, Array]:
    """The task with position `place` in the role of the first, and perhaps the labels reversed."""
    tokens, labels = make_data(n, 8, 8, rng)
    order = np.arange(8)
    order[[0, place]] = place, 0
    return tokens[:, order], labels ^ flip


def judged(student: Any, rng: Rng, attention_on: bool) -> float:
    """The share of 2,000 fresh sequences that the student's own trained model gets right."""
    # What to learn only the data tell: a rule written by hand is no help.
    place, flip = 7 * int(rng.integers(2)), int(rng.integers(2))
    tokens, labels = hidden_task(rng, 4000, place, flip)
    fresh, answers = hidden_task(rng, 2200, place, flip)
    seen = {row.tobytes() for row in tokens}
    new = np.array([row.tobytes() not in seen for row in fresh])
    fresh, answers = fresh[new][:2000], answers[new][:2000]
    options: dict[str, Any] = {} if attention_on else {"attention_on": False}
    params, _ = items(student.train(tokens, labels, rng, **options), ("params", "losses"))
    holds(type(params) is dict, "the first item of what `train` returns should be the dict of parameters.")
    said = numbers(student.predict(fresh, params, **options), answers.shape, "the predicted labels")
    return float(np.mean(said == answers))


@training("at least 97 % on sequences it has never seen", 5, "train", "predict", cpu_s=30.0)
def reaches_target(student: Any, rng: Rng) -> None:
    # docs/projects.md has the 20 seeds.
    right = judged(student, rng, True)
    below(
        1 - right,
        1 - TARGET + 1e-9,
        "on fresh sequences the trained model should be right at least 97 times in 100.",
        f"It is right {100 * right:.2f} times in 100.",
    )


@training("with attention off it stays near one half", 2, "train", "predict", cpu_s=30.0)
def stays_at_half(student: Any, rng: Rng) -> None:
    # 2,000 balanced answers by luck: a standard deviation of 1.1 %, so 60 % lies nine of them away.
    right = judged(student, rng, False)
    below(
        abs(right - 0.5),
        0.1,
        "with attention off no position can compare itself with another, and the model should stay near one half.",
        f"It is right {100 * right:.2f} times in 100.",
    )


TRAIN = Exercise(
    name="train",
    title="Stage 4: the training run",
    functions=("train",),
    hints=(
        "One step is: draw rows, forward, loss, backward, clip, Adam.",
        "Parameters and Adam's memory come out of one step and go into the next; the learning rate falls along half a "
        "cosine, from lr to almost zero.",
        "Draw the batch with rng.integers, write down the loss before the step, clip all gradients together to 1.0, "
        "and give adam_step the rate of this step. Hand attention_on to forward.",
    ),
    checks=(short_on, short_off, reaches_target, stays_at_half),
    mistakes=(
        Mistake(
            name="gradients-not-clipped",
            advice="Clip the gradients, all of them together, to the norm 1.0 before Adam's step.",
            replaces={"train": train_with(clipped=False)},
        ),
        Mistake(
            name="rate-does-not-fall",
            advice="The learning rate falls along half a cosine; yours stays at lr.",
            replaces={"train": train_with(constant=True)},
        ),
        Mistake(
            name="adam-without-memory",
            advice="Adam gets an empty memory in every step; hand on what the last step returned.",
            replaces={"train": train_with(fresh_adam=True)},
        ),
        Mistake(
            name="losses-after-the-steps",
            advice="The loss of a step is that BEFORE the parameters move.",
            replaces={"train": train_with(late_loss=True)},
        ),
        Mistake(
            name="one-batch-for-all-steps",
            advice="Draw new rows in every step; yours trains on one batch only.",
            replaces={"train": train_with(same_batch=True)},
        ),
        Mistake(
            name="attention-cannot-be-switched-off",
            advice="Hand attention_on to forward, or the comparison without attention is none.",
            replaces={"train": train_with(always_on=True)},
        ),
        Mistake(
            name="plain-descent-instead-of-adam",
            advice="The step is Adam's; plain gradient descent is far too slow here.",
            replaces={"train": train_with(descent=True)},
        ),
        Mistake(
            name="rows-in-order",
            advice="The rows of a batch are drawn, with rng.integers(0, N, size=batch_size).",
            replaces={"train": train_with(epoch_like=True)},
        ),
    ),
)

# --- stage 5: evaluation ---------------------------------------------------------------------------------------------


def predict(tokens: Array, params: Params, n_heads: int = 4, attention_on: bool = True) -> Array:
    return forward(tokens, params, n_heads, attention_on)[0].argmax(axis=1)


def predict_case(batch: int, *flags: bool) -> Any:
    """Sequences on which two classes are about equally frequent answers, and attention matters."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        while True:
            tokens, params, n_heads = model_case(batch, 5, 4, 2, 2)(rng)
            logits = forward(tokens, params, n_heads)[0]
            if batch > 1:
                params = {**params, "b_out": params["b_out"] - np.median(logits, axis=0)}
            on, off = (predict(tokens, params, n_heads, flag) for flag in (True, False))
            if batch == 1 or ((on != off).any() and 0 < on.mean() < 1 and 0 < off.mean() < 1):
                return (tokens, params, n_heads, *flags)

    return draw


def tied_case(rng: Rng) -> tuple[Any, ...]:
    tokens, params, n_heads = model_case(3, 5, 4, 2, 2)(rng)
    return tokens, {**params, "W_out": np.zeros((2, 4)), "b_out": np.ones(2)}, n_heads


PREDICT = Exercise(
    name="predict",
    title="Stage 5: predictions",
    functions=("predict",),
    hints=(
        "Which class has the larger logit?",
        "Along which axis of (B, K) do the classes lie?",
        "np.argmax of the logits along axis 1; hand n_heads and attention_on to forward.",
    ),
    checks=(
        numeric(
            "the class of the larger logit",
            2,
            "predict",
            predict,
            [
                Case("sixteen sequences", predict_case(16)),
                Case("one sequence", predict_case(1)),
                Case("attention off", predict_case(16, False)),
                Case("of equal logits the lower class", tied_case),
            ],
        ),
    ),
    mistakes=(
        Mistake(
            name="smaller-logit-wins",
            advice="The class with the LARGER logit is the answer.",
            replaces={
                "predict": lambda tokens, params, n_heads=4, attention_on=True: forward(
                    tokens, params, n_heads, attention_on
                )[0].argmin(axis=1)
            },
        ),
        Mistake(
            name="best-sequence-of-each-class",
            advice="Take the argmax over the classes, axis 1, for each sequence.",
            replaces={
                "predict": lambda tokens, params, n_heads=4, attention_on=True: forward(
                    tokens, params, n_heads, attention_on
                )[0].argmax(axis=0)
            },
        ),
        Mistake(
            name="logits-returned",
            advice="Labels are asked for, (B,), not logits.",
            replaces={
                "predict": lambda tokens, params, n_heads=4, attention_on=True: forward(
                    tokens, params, n_heads, attention_on
                )[0]
            },
        ),
        Mistake(
            name="attention-always-on-in-predictions",
            advice="Hand attention_on to forward: a model trained without attention is also used without.",
            replaces={"predict": lambda tokens, params, n_heads=4, attention_on=True: predict(tokens, params, n_heads)},
        ),
    ),
)


def held_out_with(
    which: Callable[[Array, Array], Array] | None = None, count: bool = False, wrong: bool = False
) -> Make:
    def accuracy(predicted: Any, labels: Any, tokens: Any, seen: Any) -> float:
        tokens, seen = np.asarray(tokens), np.asarray(seen)
        known = (tokens[:, None] == seen[None]).all(axis=2).any(axis=1)
        use = ~known if which is None else which(tokens, seen)
        right = (np.asarray(predicted) == np.asarray(labels))[use] ^ wrong
        return float(right.sum() if count else right.mean())

    return accuracy


def known_rows(tokens: Array, seen: Array) -> Array:
    return (tokens[:, None] == seen[None]).all(axis=2).any(axis=1)


def overlap_case(rng: Rng) -> tuple[Any, ...]:
    """Ten sequences of which four were seen; three of the four, and two of the six others, are answered right."""
    seen = 1 + rng.integers(0, 4, size=(7, 4))
    fresh = np.concatenate([np.zeros((6, 1), dtype=int), rng.integers(0, 5, size=(6, 3))], axis=1)
    # One of the fresh ones has the tokens of a seen one in another order, and one its first token only.
    seen[0], fresh[0] = [1, 2, 3, 4], [4, 3, 2, 1]
    fresh[1] = [1, 0, 0, 0]
    tokens = np.concatenate([seen[[0, 2, 3, 5]], fresh])
    right = np.array([1, 1, 1, 0, 0, 1, 1, 0, 0, 0])
    order = rng.permutation(10)
    labels = rng.integers(0, 2, size=10)
    return (labels ^ (1 - right))[order], labels[order], tokens[order], seen


HELD_OUT = Exercise(
    name="held_out_accuracy",
    title="Stage 5: judged on what it has not seen",
    functions=("held_out_accuracy",),
    hints=(
        "Which of the sequences may be counted?",
        "A set of tuples tells quickly whether a row was among the training sequences.",
        "Make a True for every row whose tuple is not in the set, and take the mean of right answers at those places.",
    ),
    checks=(
        numeric(
            "only sequences that were not trained on",
            3,
            "held_out_accuracy",
            held_out_with(),
            [Case("four of ten sequences were seen", overlap_case)],
        ),
        numeric(
            "nothing was seen",
            1,
            "held_out_accuracy",
            held_out_with(),
            [
                Case(
                    "no overlap",
                    lambda rng: ([1, 0, 1, 1], [1, 1, 0, 1], rng.integers(0, 3, (4, 3)), 5 + np.eye(3, dtype=int)),
                )
            ],
        ),
    ),
    mistakes=(
        Mistake(
            name="training-sequences-counted",
            advice="Sequences of the training set prove memory only: leave them out.",
            replaces={"held_out_accuracy": held_out_with(lambda tokens, seen: np.full(len(tokens), True))},
        ),
        Mistake(
            name="judged-on-the-training-set",
            advice="This is the accuracy on the sequences that WERE trained on; the others are asked for.",
            replaces={
                "held_out_accuracy": held_out_with(
                    lambda tokens, seen: known_rows(tokens, seen) | ~known_rows(tokens, seen).any()
                )
            },
        ),
        Mistake(
            name="same-tokens-taken-for-same-sequence",
            advice="A sequence was seen if it is the same token for token, in the same order.",
            replaces={
                "held_out_accuracy": held_out_with(
                    lambda tokens, seen: ~known_rows(np.sort(tokens, axis=1), np.sort(seen, axis=1))
                )
            },
        ),
        Mistake(
            name="right-answers-counted",
            advice="The share of right answers is asked for, not their number.",
            replaces={"held_out_accuracy": held_out_with(count=True)},
        ),
        Mistake(
            name="share-of-wrong-answers",
            advice="The share of RIGHT answers is asked for.",
            replaces={"held_out_accuracy": held_out_with(wrong=True)},
        ),
    ),
)

# --- the picture -----------------------------------------------------------------------------------------------------


def draw_picture(student: Any, figure: Any) -> None:
    """The losses of the student's runs with attention and without, and what the trained model looks at."""
    left, right = figure.subplots(1, 2)
    rng = np.random.default_rng(337)
    tokens, labels = items(student.make_data(4000, 8, 8, rng), ("tokens", "labels"))
    fresh, answers = make_data(1000, 8, 8, rng)
    student.cpu_s = 30.0
    window = np.ones(20) / 20
    shown = None
    for on, color, name in ((True, "C0", "attention on"), (False, "C3", "attention off")):
        run = student.train(tokens, labels, np.random.default_rng(0), attention_on=on)
        params, losses = items(run, ("params", "losses"))
        share = np.mean(numbers(student.predict(fresh, params, attention_on=on), (1000,)) == answers)
        smooth = np.convolve(numbers(losses), window, mode="valid")
        left.plot(smooth, color=color, label=f"{name}: {100 * share:.1f} % right")
        shown = params if on else shown
    left.axhline(np.log(2), color="k", lw=0.8, ls=":", label="guessing: log 2")
    left.set(
        xlabel="step",
        ylabel="cross-entropy (nats), mean of 20 steps",
        title="Trained twice: share of fresh sequences right",
    )
    left.legend(fontsize=8, loc="center right")
    sequence = fresh[np.flatnonzero(answers == 1)[:1]]
    answer = student.call("forward", sequence, shown, 4, keep=(2,))
    weights = numbers(items(answer, ("logits", "weights", "cache"))[1], (1, 4, 8, 8), "weights")[0]
    wide = np.full((17, 17), np.nan)
    for head in range(4):
        row, column = divmod(head, 2)
        wide[9 * row : 9 * row + 8, 9 * column : 9 * column + 8] = weights[head]
    image = right.imshow(wide, cmap="viridis", vmin=0, vmax=1)
    ticks = [*range(8), *range(9, 17)]
    text = [str(token) for token in sequence[0]] * 2
    right.set_xticks(ticks, text, fontsize=8)
    right.set_yticks(ticks, text, fontsize=8)
    right.set(xlabel="key (its token)", ylabel="query (its token)", title="The four heads' weights on one sequence")
    figure.colorbar(image, ax=right, label="weight", shrink=0.8)


CHAPTER = Chapter(
    id="ch337",
    slug="project_transformer",
    title="Project: Transformer Block from Scratch",
    part="Projects",
    summary="A Transformer classifier from data to evaluation: embedding, attention, the pre-LN block, every gradient "
    "by formula, Adam, 97 % on fresh sequences, and one half with attention off.",
    builds_on=("ch312", "ch321", "ch322", "ch323"),
    exercises=(
        MAJORITY,
        MAKE_DATA,
        INIT,
        EMBED,
        ATTENTION_FORWARD,
        BLOCK_FORWARD,
        FORWARD,
        ATTENTION_BACKWARD,
        BLOCK_BACKWARD,
        BACKWARD,
        CROSS_ENTROPY,
        ADAM,
        TRAIN,
        PREDICT,
        HELD_OUT,
    ),
    picture=Picture(title="What your Transformer learned", draw=draw_picture),
)
