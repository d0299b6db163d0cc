"""Checks of chapter 321: attention with masks, several heads, and the whole way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from dlreference import attention as ref
from dlreference.losses import softmax, softmax_backward

from dlgrade.course.compare import entry, holds, items, numbers, same
from dlgrade.course.kinds import Case, GradientCase, Rng, case_of, gradient, numeric, prop, unchanged
from dlgrade.course.spec import Chapter, Exercise, Mistake, Picture

Array = np.ndarray[Any, Any]
Draw = Callable[[Rng], tuple[Any, ...]]


def floats(*arrays: Any) -> tuple[Array, ...]:
    return tuple(np.asarray(a, dtype=np.float64) for a in arrays)


def swap(x: Array) -> Array:
    return np.swapaxes(x, -1, -2)


def qkv(batch: int, tq: int, tk: int, dk: int, dv: int, scale: float = 1.0) -> Draw:
    """Draws queries, keys and values."""
    return lambda rng: (
        scale * rng.normal(size=(batch, tq, dk)),
        rng.normal(size=(batch, tk, dk)),
        rng.normal(size=(batch, tk, dv)),
    )


def with_mask(draw: Draw, mask: Callable[[Rng], Array]) -> Draw:
    return lambda rng: (*draw(rng), mask(rng))


def random_mask(*shape: int) -> Callable[[Rng], Array]:
    """Draws a mask that allows about two thirds, and something in every row."""

    def draw(rng: Rng) -> Array:
        mask = rng.random(shape) < 0.66
        mask[..., 1] = True
        mask[..., 0, 2] = False
        return mask

    return draw


def mha_params(rng: Rng, d: int) -> dict[str, Array]:
    return {name: rng.normal(size=(d, d)) / np.sqrt(d) for name in ("W_q", "W_k", "W_v", "W_o")}


# --- masked softmax --------------------------------------------------------------------------------------------------


def as_mask(scores: Array, mask: Any) -> Array:
    shape = np.shape(scores)
    return np.ones(shape, dtype=bool) if mask is None else np.broadcast_to(np.asarray(mask, dtype=bool), shape)


def ms_queries_axis(scores: Array, mask: Any = None) -> Array:
    return swap(ref.masked_softmax(swap(np.asarray(scores)), swap(as_mask(scores, mask))))


def ms_after(scores: Array, mask: Any = None) -> Array:
    return np.where(as_mask(scores, mask), softmax(scores), 0.0)


def ms_inverted(scores: Array, mask: Any = None) -> Array:
    return ref.masked_softmax(scores, None if mask is None else ~as_mask(scores, mask))


def ms_minus_1e9(scores: Array, mask: Any = None) -> Array:
    return softmax(np.where(as_mask(scores, mask), scores, -1e9))


def ms_nan(scores: Array, mask: Any = None) -> Array:
    s = np.where(as_mask(scores, mask), scores, -np.inf)
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def ms_no_shift(scores: Array, mask: Any = None) -> Array:
    e = np.where(as_mask(scores, mask), np.exp(np.asarray(scores, dtype=np.float64)), 0.0)
    total = e.sum(axis=-1, keepdims=True)
    return e / np.where(total == 0, 1.0, total)


def ms_peak_of_all(scores: Array, mask: Any = None) -> Array:
    s = np.asarray(scores, dtype=np.float64)
    e = np.where(as_mask(s, mask), np.exp(s - s.max(axis=-1, keepdims=True)), 0.0)
    total = e.sum(axis=-1, keepdims=True)
    return e / np.where(total == 0, 1.0, total)


def ms_times_mask(scores: Array, mask: Any = None) -> Array:
    return softmax(np.asarray(scores) * as_mask(scores, mask))


MASKED_SOFTMAX = Exercise(
    name="masked_softmax",
    title="Softmax of the allowed scores",
    functions=("masked_softmax",),
    hints=(
        "What must a score be, before the exponential, so that its weight comes out as exactly zero?",
        "Take the maximum of the allowed scores only, subtract, exponentiate, put zeros where it is not "
        "allowed, divide by "
        "the sum. Two of these steps go wrong in a row with nothing allowed: which?",
        "np.where(mask, ..., ...) makes every choice. In an empty row replace the maximum, which is -inf, by "
        "0, and the "
        "sum, which is 0, by 1: then all its weights are 0 and no nan appears.",
    ),
    checks=(
        numeric(
            "without a mask, a stable softmax of each row",
            3,
            "masked_softmax",
            ref.masked_softmax,
            [
                Case("a batch of score tables", lambda rng: (rng.normal(size=(2, 3, 4)),)),
                Case("one row", lambda rng: (rng.normal(size=5),)),
                Case("scores of ten thousand", lambda rng: (1e4 * rng.normal(size=(2, 4)),)),
            ],
        ),
        numeric(
            "forbidden entries get zero, the others share the one",
            4,
            "masked_softmax",
            ref.masked_softmax,
            [
                Case("a mask of the full shape", lambda rng: (rng.normal(size=(2, 3, 4)), random_mask(2, 3, 4)(rng))),
                Case("one mask for the whole batch", lambda rng: (rng.normal(size=(2, 4, 4)), random_mask(4, 4)(rng))),
                Case(
                    "a mask of the keys only",
                    lambda rng: (rng.normal(size=(2, 3, 4)), np.array([[[1, 1, 0, 1]], [[0, 1, 1, 0]]], dtype=bool)),
                ),
            ],
        ),
        numeric(
            "a row with nothing allowed is all zeros",
            3,
            "masked_softmax",
            ref.masked_softmax,
            [
                Case(
                    "one empty row among others",
                    lambda rng: (
                        rng.normal(size=(3, 4)),
                        np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 1, 1, 1]], dtype=bool),
                    ),
                )
            ],
        ),
        numeric(
            "a forbidden score may be huge",
            2,
            "masked_softmax",
            ref.masked_softmax,
            [
                Case(
                    "the largest score is forbidden",
                    lambda rng: (
                        # In the last row it is larger by 30, and the others' weights have not yet vanished beside it.
                        np.array([[1e4, 0.3, -0.2], [-1e4, -1e4 + 1, 5.0], [0.3, 30.0, -0.2]]),
                        np.array([[0, 1, 1], [1, 1, 0], [1, 0, 1]], dtype=bool),
                    ),
                ),
            ],
        ),
        numeric(
            "whole numbers and float32 are accepted, float64 comes back",
            1,
            "masked_softmax",
            ref.masked_softmax,
            [
                Case("scores that are whole numbers", lambda rng: (rng.integers(-3, 4, size=(3, 4)), np.tri(3, 4) > 0)),
                Case("float32 scores", lambda rng: (rng.normal(size=(2, 4)).astype(np.float32),)),
            ],
        ),
        unchanged(1, {"masked_softmax": lambda rng: (rng.normal(size=(2, 3)), np.ones((2, 3), dtype=bool))}),
    ),
    mistakes=(
        Mistake(
            name="softmax-over-queries",
            advice="The keys stand on the last axis, and each query's weights sum to one: normalise rows, not columns.",
            replaces={"masked_softmax": ms_queries_axis},
        ),
        Mistake(
            name="mask-after-softmax",
            advice="Zeros put in after the softmax leave a row that sums to less than one: mask the scores before it.",
            replaces={"masked_softmax": ms_after},
        ),
        Mistake(
            name="mask-inverted",
            advice="True means allowed here; yours forbids where the mask is True.",
            replaces={"masked_softmax": ms_inverted},
        ),
        Mistake(
            name="minus-a-billion",
            advice="With -1e9 instead of minus infinity a row with nothing allowed becomes uniform, and scores "
            "below it win.",
            replaces={"masked_softmax": ms_minus_1e9},
        ),
        Mistake(
            name="empty-row-is-nan",
            advice="In a row with nothing allowed the maximum is -inf and the sum 0: handle both, or the row "
            "becomes nan.",
            replaces={"masked_softmax": ms_nan},
        ),
        Mistake(
            name="scores-not-shifted",
            advice="exp of a large score overflows: subtract the largest allowed score of each row first.",
            replaces={"masked_softmax": ms_no_shift},
        ),
        Mistake(
            name="peak-of-forbidden-scores",
            advice="Subtract the maximum of the ALLOWED scores: beside a huge forbidden one they would all become 0.",
            replaces={"masked_softmax": ms_peak_of_all},
        ),
        Mistake(
            name="mask-multiplied",
            advice="A score times False is 0, an ordinary score with a weight of its own; forbidden must mean "
            "minus infinity.",
            replaces={"masked_softmax": ms_times_mask},
        ),
    ),
)

# --- causal mask -----------------------------------------------------------------------------------------------------


@prop("no query sees a later key", 2, "causal_mask")
def no_future(student: Any, rng: Rng) -> None:
    mask = numbers(student.causal_mask(6), (6, 6), "the mask")
    for i in range(6):
        holds(not mask[i, i + 1 :].any(), f"position {i} may look at a later position, which it must not.")
        holds(bool(mask[i, i]), f"position {i} may not look at itself, which it must.")


CAUSAL_MASK = Exercise(
    name="causal_mask",
    title="The mask that hides the future",
    functions=("causal_mask",),
    hints=(
        "Draw the table for three positions: queries down the side, keys along the top. Who may look at whom?",
        "It is a triangle, with the diagonal, for everybody sees himself.",
        "Compare a row of positions with a column of positions: key position <= query position.",
    ),
    checks=(
        numeric(
            "the lower triangle with its diagonal",
            2,
            "causal_mask",
            lambda n: ref.causal_mask(n),
            [Case("five positions", lambda rng: (5,)), Case("a single position", lambda rng: (1,))],
        ),
        no_future,
    ),
    mistakes=(
        Mistake(
            name="self-forbidden",
            advice="Every position may look at itself; without the diagonal the first one has nothing to look at.",
            replaces={"causal_mask": lambda n: np.tri(n, k=-1, dtype=bool)},
        ),
        Mistake(
            name="past-forbidden",
            advice="The triangle is upside down: queries are the rows, and the keys before them stand to the left.",
            replaces={"causal_mask": lambda n: np.tri(n, dtype=bool).T},
        ),
        Mistake(
            name="true-means-blocked",
            advice="True means allowed here; yours marks the future with True.",
            replaces={"causal_mask": lambda n: ~np.tri(n, dtype=bool)},
        ),
    ),
)

# --- scaled dot-product attention ------------------------------------------------------------------------------------


def attend(q: Array, k: Array, v: Array, mask: Any, scale: float) -> Any:
    weights = ref.masked_softmax(scale * (q @ swap(k)), mask)
    return weights @ v, weights


def scaled_by(factor: Callable[[int], float]) -> Callable[..., Any]:
    def attention(q: Array, k: Array, v: Array, mask: Any = None) -> Any:
        q, k, v = floats(q, k, v)
        return attend(q, k, v, mask, factor(q.shape[-1]))

    return attention


def at_columns(q: Array, k: Array, v: Array, mask: Any = None) -> Any:
    q, k, v = floats(q, k, v)
    scores = q @ swap(k) / np.sqrt(q.shape[-1])
    weights = ms_queries_axis(scores, mask)
    return weights @ v, weights


def at_mask_dropped(q: Array, k: Array, v: Array, mask: Any = None) -> Any:
    return ref.scaled_dot_product_attention(q, k, v)


def at_mask_inverted(q: Array, k: Array, v: Array, mask: Any = None) -> Any:
    return ref.scaled_dot_product_attention(q, k, v, None if mask is None else ~np.asarray(mask, dtype=bool))


def at_weights_transposed(q: Array, k: Array, v: Array, mask: Any = None) -> Any:
    out, weights = ref.scaled_dot_product_attention(q, k, v, mask)
    return out, swap(weights)


def at_scores_returned(q: Array, k: Array, v: Array, mask: Any = None) -> Any:
    q, k, v = floats(q, k, v)
    out, _ = ref.scaled_dot_product_attention(q, k, v, mask)
    return out, q @ swap(k) / np.sqrt(q.shape[-1])


@prop("without a mask, shuffled keys change nothing", 2, "attention")
def order_free(student: Any, rng: Rng) -> None:
    q, k, v = qkv(2, 3, 5, 4, 2)(rng)
    order = rng.permutation(5)
    out, _ = items(student.attention(q, k, v), ("out", "weights"))
    shuffled, _ = items(student.attention(q, k[:, order], v[:, order]), ("out", "weights"))
    right = ref.scaled_dot_product_attention(q, k, v)[0]
    same(out, right, "out")
    same(shuffled, right, "out, with keys and values shuffled together,")


@prop("a causal prefix does not feel the future", 3, "attention")
def prefix(student: Any, rng: Rng) -> None:
    q, k, v = qkv(1, 5, 5, 3, 2)(rng)
    mask = ref.causal_mask(5)
    later_k, later_v = k.copy(), v.copy()
    later_k[:, 3:] += 5 * rng.normal(size=(1, 2, 3))
    later_v[:, 3:] += 5.0
    before, _ = items(student.attention(q, k, v, mask), ("out", "weights"))
    after, weights = items(student.attention(q, later_k, later_v, mask), ("out", "weights"))
    before, after = numbers(before, (1, 5, 2), "out"), numbers(after, (1, 5, 2), "out")
    same(after[:, :3], before[:, :3], "out at the first three positions, when only later keys and values change,")
    same(before, ref.scaled_dot_product_attention(q, k, v, mask)[0], "out")
    future = numbers(weights, (1, 5, 5), "the weights")[0][np.triu_indices(5, 1)]
    holds(not future.any(), "the weights on later keys should be exactly zero.")


ATTENTION_CASES = [
    Case("more keys than queries", qkv(2, 3, 5, 4, 2)),
    Case("a batch of one, one query", qkv(1, 1, 4, 3, 3)),
    Case("as many keys as queries, square heads", qkv(2, 4, 4, 4, 4)),
    Case("wide heads, where the scale decides", qkv(1, 3, 4, 64, 2)),
]
MASKED_CASES = [
    Case("a mask for each sequence", with_mask(qkv(2, 3, 5, 4, 2), random_mask(2, 3, 5))),
    Case("one mask for the batch", with_mask(qkv(3, 4, 4, 2, 3), random_mask(4, 4))),
    Case(
        "a query that may look at nothing",
        with_mask(qkv(1, 2, 3, 2, 2), lambda rng: np.array([[0, 0, 0], [1, 0, 1]], dtype=bool)),
    ),
]

ATTENTION = Exercise(
    name="attention",
    title="Scaled dot-product attention",
    functions=("attention",),
    hints=(
        "Three lines: compare, normalise, average. Write down the shape after each.",
        "The comparison of every query with every key is one matrix product; the keys must be transposed in their last "
        "two axes only. You have masked_softmax for the second line.",
        "scores is q @ np.swapaxes(k, -1, -2) divided by the root of the last axis of q; weights is "
        "masked_softmax of it "
        "with the mask; out is weights @ v.",
    ),
    checks=(
        numeric(
            "the weights",
            3,
            "attention",
            ref.scaled_dot_product_attention,
            ATTENTION_CASES,
            pick=1,
            result="the weights",
        ),
        numeric("the output", 3, "attention", ref.scaled_dot_product_attention, ATTENTION_CASES, pick=0, result="out"),
        numeric("masks", 4, "attention", ref.scaled_dot_product_attention, MASKED_CASES),
        order_free,
        prefix,
        unchanged(1, {"attention": with_mask(qkv(1, 2, 3, 2, 2), random_mask(2, 3))}),
    ),
    mistakes=(
        Mistake(
            name="scores-not-scaled",
            advice="Divide the scores by sqrt(dk): their variance grows with dk, and the softmax puts all "
            "weight on one key.",
            replaces={"attention": scaled_by(lambda d: 1.0)},
        ),
        Mistake(
            name="scaled-by-dk",
            advice="The scores are divided by the square root of dk; divided by dk itself the weights become too flat.",
            replaces={"attention": scaled_by(lambda d: 1.0 / d)},
        ),
        Mistake(
            name="scaled-up",
            advice="The scores are divided by sqrt(dk), and yours are multiplied by it.",
            replaces={"attention": scaled_by(lambda d: float(np.sqrt(d)))},
        ),
        Mistake(
            name="weights-sum-over-queries",
            advice="Each query's weights sum to one over the keys, the last axis; yours sum to one over the queries.",
            replaces={"attention": at_columns},
        ),
        Mistake(
            name="mask-not-used",
            advice="The mask has no effect: hand it to masked_softmax.",
            replaces={"attention": at_mask_dropped},
        ),
        Mistake(
            name="attention-mask-inverted",
            advice="True means that a query may look at a key; yours looks exactly where it may not.",
            replaces={"attention": at_mask_inverted},
        ),
        Mistake(
            name="weights-transposed",
            advice="The weights are (B, Tq, Tk), queries in the rows; yours come back transposed.",
            replaces={"attention": at_weights_transposed},
        ),
        Mistake(
            name="scores-returned",
            advice="The second thing to return is the weights after the softmax, not the scores before it.",
            replaces={"attention": at_scores_returned},
        ),
    ),
)

# --- attention backward ----------------------------------------------------------------------------------------------


def right_backward(dout: Array, q: Array, k: Array, v: Array, weights: Array) -> Any:
    dout, q, k, v, weights = floats(dout, q, k, v, weights)
    return ref.attention_backward(dout, ref.AttentionCache(q, k, v, weights, 1 / np.sqrt(q.shape[-1])))


def backward_with(
    jacobian: Callable[[Array, Array], Array] = softmax_backward, scale: Callable[[int], float] | None = None
) -> Callable[..., Any]:
    """A backward whose softmax Jacobian, a function of (dweights, weights), or whose scale is another."""

    def backward(dout: Array, q: Array, k: Array, v: Array, weights: Array) -> Any:
        dout, q, k, v, weights = floats(dout, q, k, v, weights)
        factor = 1 / np.sqrt(q.shape[-1]) if scale is None else scale(q.shape[-1])
        dscores = factor * jacobian(dout @ swap(v), weights)
        return dscores @ k, swap(dscores) @ q, swap(weights) @ dout

    return backward


def ab_diagonal(dweights: Array, weights: Array) -> Array:
    return dweights * weights * (1 - weights)


def ab_no_average(dweights: Array, weights: Array) -> Array:
    return dweights * weights


def ab_columns(dweights: Array, weights: Array) -> Array:
    return weights * (dweights - (dweights * weights).sum(axis=-2, keepdims=True))


def ab_plain_average(dweights: Array, weights: Array) -> Array:
    return weights * (dweights - dweights.mean(axis=-1, keepdims=True))


def ab_skipped(dweights: Array, weights: Array) -> Array:
    return dweights


def ab_swapped(dout: Array, q: Array, k: Array, v: Array, weights: Array) -> Any:
    dq, dk, dv = right_backward(dout, q, k, v, weights)
    return dk, dq, dv


def ab_values_untransposed(dout: Array, q: Array, k: Array, v: Array, weights: Array) -> Any:
    dq, dk, dv = right_backward(dout, q, k, v, weights)
    weights, dout = floats(weights, dout)
    return dq, dk, (weights @ dout if weights.shape[-1] == weights.shape[-2] else dv * 0)


def ab_keys_untransposed(dout: Array, q: Array, k: Array, v: Array, weights: Array) -> Any:
    dq, dk, dv = right_backward(dout, q, k, v, weights)
    dout, q, v, weights = floats(dout, q, v, weights)
    dscores = softmax_backward(dout @ swap(v), weights) / np.sqrt(q.shape[-1])
    return dq, (dscores @ q if weights.shape[-1] == weights.shape[-2] else dk * 0), dv


# So small an input against so large weights is of ordinary size inside, but bends within any step of a difference.
STEEP = 3e3


def backward_draw(draw: Draw, far: float = 0.0, steep: float = 1.0) -> Callable[[Rng], dict[str, Any]]:
    def inputs(rng: Rng) -> dict[str, Any]:
        q, k, v, *mask = draw(rng)
        q, k, v = q / steep, k * steep, v + far
        out, weights = ref.scaled_dot_product_attention(q, k, v, *mask)
        dout = rng.normal(size=out.shape)
        return {"q": q, "k": k, "v": v, "mask": mask[0] if mask else None, "weights": weights, "dout": dout}

    return inputs


def attention_value(student: Any, inputs: dict[str, Any]) -> Any:
    return items(student.attention(inputs["q"], inputs["k"], inputs["v"], inputs["mask"]), ("out", "weights"))[0]


def attention_grads(student: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    answer = student.attention_backward(inputs["dout"], inputs["q"], inputs["k"], inputs["v"], inputs["weights"])
    return dict(zip(("q", "k", "v"), items(answer, ("dq", "dk", "dv")), strict=True))


def attention_reference(*wanted: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def reference(inputs: dict[str, Any]) -> dict[str, Any]:
        grads = right_backward(inputs["dout"], inputs["q"], inputs["k"], inputs["v"], inputs["weights"])
        return {name: grad for name, grad in zip(("q", "k", "v"), grads, strict=True) if name in wanted}

    return reference


def backward_check(name: str, points: int, wanted: tuple[str, ...], cases: list[tuple[str, Any]]) -> Any:
    return gradient(
        name,
        points,
        ("attention_backward",),
        [GradientCase(reason, draw) for reason, draw in cases],
        value=attention_value,
        grads=attention_grads,
        reference=attention_reference(*wanted),
    )


def backward_arguments(draw: Draw) -> Draw:
    """Draws the arguments of `attention_backward`."""

    def arguments(rng: Rng) -> tuple[Any, ...]:
        inputs = backward_draw(draw)(rng)
        return tuple(inputs[name] for name in ("dout", "q", "k", "v", "weights"))

    return arguments


BACKWARD_CASES = [
    ("more keys than queries", backward_draw(qkv(2, 3, 5, 4, 2))),
    ("as many keys as queries, square heads", backward_draw(qkv(2, 4, 4, 4, 4))),
    ("a batch of one, one query", backward_draw(qkv(1, 1, 4, 3, 2))),
]

ATTENTION_BACKWARD = Exercise(
    name="attention_backward",
    title="Backward through attention",
    functions=("attention_backward",),
    hints=(
        "Go back through the three lines of attention, last line first. Each matrix product gives two gradients.",
        "out = P v gives dv and dP with a transpose each. The softmax is the only step that is not a product: "
        "each row of "
        "dP loses its average, weighted by P, and is then multiplied by P.",
        "dS = P * (dP - np.sum(dP * P, axis=-1, keepdims=True)). Then dq = dS @ k and dk = dS transposed @ q, "
        "both divided "
        "by sqrt(dk), because the scores were.",
    ),
    checks=(
        backward_check("gradient of the values", 4, ("v",), BACKWARD_CASES),
        backward_check("gradient of the queries, through the softmax", 5, ("q",), BACKWARD_CASES),
        backward_check("gradient of the keys, through the softmax", 6, ("k",), BACKWARD_CASES),
        backward_check(
            "masked attention, and a query that looks at nothing",
            3,
            ("q", "k", "v"),
            [
                ("a mask for each sequence", backward_draw(with_mask(qkv(2, 3, 5, 4, 2), random_mask(2, 3, 5)))),
                ("a query that may look at nothing", backward_draw(MASKED_CASES[2].draw)),
            ],
        ),
        backward_check(
            "gradients are computed, not approximated",
            2,
            ("q", "k", "v"),
            [
                ("values far from zero, where differences lose digits", backward_draw(qkv(1, 2, 3, 2, 2), far=1e4)),
                ("tiny queries and huge keys", backward_draw(qkv(1, 2, 3, 2, 2), steep=STEEP)),
            ],
        ),
        unchanged(1, {"attention_backward": backward_arguments(qkv(2, 3, 4, 3, 2))}),
    ),
    mistakes=(
        Mistake(
            name="softmax-diagonal-only",
            advice="Every weight of a row depends on every score of it: P * (1 - P) is only the diagonal of "
            "the Jacobian.",
            replaces={"attention_backward": backward_with(ab_diagonal)},
        ),
        Mistake(
            name="row-average-not-subtracted",
            advice="The weights of a row sum to one: subtract the row's sum of dP * P before multiplying by P.",
            replaces={"attention_backward": backward_with(ab_no_average)},
        ),
        Mistake(
            name="averaged-over-queries",
            advice="The softmax ran over the keys, so the average is taken over the last axis, and yours over "
            "the queries.",
            replaces={"attention_backward": backward_with(ab_columns)},
        ),
        Mistake(
            name="average-not-weighted",
            advice="The average of dP that is subtracted is weighted by P; a plain mean treats all keys alike.",
            replaces={"attention_backward": backward_with(ab_plain_average)},
        ),
        Mistake(
            name="softmax-skipped",
            advice="Between dP and dS lies the softmax: its Jacobian is missing.",
            replaces={"attention_backward": backward_with(ab_skipped)},
        ),
        Mistake(
            name="scale-missing-in-backward",
            advice="The scores were divided by sqrt(dk), so the gradients of queries and keys are too.",
            replaces={"attention_backward": backward_with(scale=lambda d: 1.0)},
        ),
        Mistake(
            name="scale-squared-in-backward",
            advice="The factor 1/sqrt(dk) comes back once; yours divides by dk.",
            replaces={"attention_backward": backward_with(scale=lambda d: 1.0 / d)},
        ),
        Mistake(
            name="dq-and-dk-swapped",
            advice="dS times the keys is the gradient of the queries, and the other way round; return (dq, dk, dv).",
            replaces={"attention_backward": ab_swapped},
        ),
        Mistake(
            name="dv-without-transpose",
            advice="A key's value went to all queries: dv is P transposed times dout, and sums over the queries.",
            replaces={"attention_backward": ab_values_untransposed},
        ),
        Mistake(
            name="dk-without-transpose",
            advice="A key met all queries: dk is dS transposed times q, and sums over the queries.",
            replaces={"attention_backward": ab_keys_untransposed},
        ),
    ),
)

# --- heads -----------------------------------------------------------------------------------------------------------


def sh_reshape_only(x: Array, n_heads: int) -> Array:
    (x,) = floats(x)
    return x.reshape(x.shape[0], n_heads, x.shape[1], -1)


def sh_interleaved(x: Array, n_heads: int) -> Array:
    (x,) = floats(x)
    return x.reshape(*x.shape[:2], -1, n_heads).transpose(0, 3, 1, 2)


def sh_not_moved(x: Array, n_heads: int) -> Array:
    (x,) = floats(x)
    return x.reshape(*x.shape[:2], n_heads, -1)


def mh_reshape_only(x: Array) -> Array:
    (x,) = floats(x)
    return x.reshape(x.shape[0], x.shape[2], -1)


def mh_interleaved(x: Array) -> Array:
    (x,) = floats(x)
    return x.transpose(0, 2, 3, 1).reshape(x.shape[0], x.shape[2], -1)


@prop("merging undoes splitting", 1, "split_heads", "merge_heads")
def round_trip(student: Any, rng: Rng) -> None:
    x = rng.normal(size=(2, 3, 8))
    heads = numbers(student.split_heads(x, 4), (2, 4, 3, 2), "split_heads(x, 4)")
    same(heads, ref.split_heads(x, 4), "split_heads(x, 4)")
    same(student.merge_heads(heads), x, "merge_heads(split_heads(x, 4))")


HEADS = Exercise(
    name="heads",
    title="Split into heads, and merge again",
    functions=("split_heads", "merge_heads"),
    hints=(
        "A head is a block of neighbouring columns. Which columns does head 1 of 2 own, when d is 4?",
        "Reshape can only cut an axis in two where it stands; to bring the heads before the positions, transpose.",
        "Reshape to (B, T, H, d/H), then transpose to (0, 2, 1, 3). To merge, transpose with the same order "
        "and reshape.",
    ),
    checks=(
        numeric(
            "head h owns its block of columns",
            4,
            "split_heads",
            ref.split_heads,
            [
                Case("two heads, three positions", lambda rng: (rng.normal(size=(2, 3, 8)), 2)),
                Case("as many heads as positions", lambda rng: (rng.normal(size=(2, 4, 8)), 4)),
                Case("one head", lambda rng: (rng.normal(size=(1, 3, 5)), 1)),
            ],
        ),
        numeric(
            "heads side by side again",
            3,
            "merge_heads",
            ref.merge_heads,
            [
                Case("two heads, three positions", lambda rng: (rng.normal(size=(2, 2, 3, 4)),)),
                Case("as many heads as positions", lambda rng: (rng.normal(size=(2, 4, 4, 2)),)),
            ],
        ),
        round_trip,
    ),
    mistakes=(
        Mistake(
            name="split-without-transpose",
            advice="reshape(B, H, T, d/H) fills the heads with whole positions: cut the last axis first, then "
            "transpose.",
            replaces={"split_heads": sh_reshape_only},
        ),
        Mistake(
            name="heads-interleaved",
            advice="A head owns neighbouring columns; yours takes every H-th one.",
            replaces={"split_heads": sh_interleaved},
        ),
        Mistake(
            name="heads-behind-positions",
            advice="The heads come before the positions, (B, H, T, d/H), so that each head is a batch entry of "
            "its own.",
            replaces={"split_heads": sh_not_moved},
        ),
        Mistake(
            name="merge-without-transpose",
            advice="Bring the heads back next to their columns with a transpose before the reshape.",
            replaces={"merge_heads": mh_reshape_only},
        ),
        Mistake(
            name="merged-interleaved",
            advice="The heads stand side by side as blocks; yours are shuffled column by column.",
            replaces={"merge_heads": mh_interleaved},
        ),
    ),
)

# --- multi-head ------------------------------------------------------------------------------------------------------


def mha(x: Array, params: dict[str, Array], n_heads: int, mask: Any = None) -> Any:
    return ref.self_attention_forward(x, params, n_heads, mask)


def mha_scaled_by_model(x: Array, params: dict[str, Array], n_heads: int, mask: Any = None) -> Any:
    return mha(x, {**params, "W_q": np.asarray(params["W_q"]) / np.sqrt(n_heads)}, n_heads, mask)


def mha_untransposed(x: Array, params: dict[str, Array], n_heads: int, mask: Any = None) -> Any:
    return mha(x, {name: np.asarray(W).T for name, W in params.items()}, n_heads, mask)


def mha_no_output(x: Array, params: dict[str, Array], n_heads: int, mask: Any = None) -> Any:
    return mha(x, {**params, "W_o": np.eye(np.shape(x)[-1])}, n_heads, mask)


def mha_one_head(x: Array, params: dict[str, Array], n_heads: int, mask: Any = None) -> Any:
    return mha(x, params, 1, mask)


def mha_mask_dropped(x: Array, params: dict[str, Array], n_heads: int, mask: Any = None) -> Any:
    return mha(x, params, n_heads)


def mha_keys_are_values(x: Array, params: dict[str, Array], n_heads: int, mask: Any = None) -> Any:
    return mha(x, {**params, "W_v": params["W_k"]}, n_heads, mask)


def mha_bad_split(split: Any, merge: Any) -> Callable[..., Any]:
    def multi_head(x: Array, params: dict[str, Array], n_heads: int, mask: Any = None) -> Any:
        (x,) = floats(x)
        W = {name: np.asarray(w, dtype=np.float64) for name, w in params.items()}
        q, k, v = (split(x @ W[name].T, n_heads) for name in ("W_q", "W_k", "W_v"))
        allowed = None if mask is None else np.asarray(mask, dtype=bool)
        if allowed is not None and allowed.ndim == 3:
            allowed = allowed[:, None]
        heads, _ = attend(q, k, v, allowed, 1 / np.sqrt(q.shape[-1]))
        return merge(heads) @ W["W_o"].T, None

    return multi_head


def mha_case(batch: int, length: int, d: int, n_heads: int, mask: Any = None) -> Draw:
    def draw(rng: Rng) -> tuple[Any, ...]:
        args = (rng.normal(size=(batch, length, d)), mha_params(rng, d), n_heads)
        return args if mask is None else (*args, mask(rng))

    return draw


@prop("without a mask, shuffled positions give shuffled outputs", 2, "multi_head")
def equivariant(student: Any, rng: Rng) -> None:
    x, params, heads = mha_case(2, 5, 6, 3)(rng)
    order = rng.permutation(5)
    shuffled = items(student.call("multi_head", x[:, order], params, heads, keep=(1,)), ("out", "cache"))[0]
    same(shuffled, mha(x, params, heads)[0][:, order], "out for shuffled positions")


MULTI_HEAD = Exercise(
    name="multi_head",
    title="Multi-head self-attention",
    functions=("multi_head",),
    hints=(
        "Heads are one more batch axis: once they are split off, `attention` does not notice them.",
        "Project x three times, split each, attend, merge, project once more. Weights are (out, in), so x @ W.T.",
        "A mask of shape (B, T, T) must get an axis of length one where the heads stand, or its batch axis would meet "
        "them. Keep in the cache what the way back needs: x, the projections by head, the weights, the merged heads.",
    ),
    checks=(
        numeric(
            "several heads",
            5,
            "multi_head",
            mha,
            [
                Case("two heads of three features", mha_case(2, 4, 6, 2)),
                Case("four heads, as many as positions", mha_case(2, 4, 8, 4)),
                Case("one head", mha_case(1, 3, 4, 1)),
                Case("a batch of one, one position", mha_case(1, 1, 4, 2)),
            ],
            pick=0,
            result="out",
            keep=(1,),
        ),
        numeric(
            "masks hold for every head",
            4,
            "multi_head",
            mha,
            [
                Case("a causal mask", mha_case(2, 4, 6, 2, lambda rng: ref.causal_mask(4))),
                Case("a padding mask (B, 1, T)", mha_case(3, 4, 6, 2, lambda rng: ref.padding_mask([4, 2, 3], 4))),
                Case("as many heads as sequences", mha_case(2, 4, 6, 2, random_mask(2, 4, 4))),
                Case("one mask of the keys for all, (T,)", mha_case(2, 4, 6, 2, lambda rng: rng.permutation(4) < 3)),
            ],
            pick=0,
            result="out",
            keep=(1,),
        ),
        equivariant,
        unchanged(1, {"multi_head": mha_case(1, 3, 4, 2)}, keep=(1,)),
    ),
    mistakes=(
        Mistake(
            name="scaled-by-d-model",
            advice="Each head has d / H features: its scores are divided by the root of that, not of d.",
            replaces={"multi_head": mha_scaled_by_model},
        ),
        Mistake(
            name="weights-used-untransposed",
            advice="Weights are (out, in) and are used as x @ W.T; yours are used as x @ W.",
            replaces={"multi_head": mha_untransposed},
        ),
        Mistake(
            name="output-projection-missing",
            advice="The merged heads go through W_o at the end: without it the heads never mix.",
            replaces={"multi_head": mha_no_output},
        ),
        Mistake(
            name="heads-not-separate",
            advice="Each head attends by itself with its own columns; yours attends once with all of them.",
            replaces={"multi_head": mha_one_head},
        ),
        Mistake(
            name="multi-head-mask-not-used",
            advice="The mask has no effect: hand it to attention, with an axis for the heads.",
            replaces={"multi_head": mha_mask_dropped},
        ),
        Mistake(
            name="values-from-keys",
            advice="The values have a projection of their own, W_v; yours are made with W_k.",
            replaces={"multi_head": mha_keys_are_values},
        ),
        Mistake(
            name="split-by-reshape-alone",
            advice="reshape(B, H, T, d/H) does not cut out heads but mixes positions: cut the last axis, then "
            "transpose.",
            replaces={"multi_head": mha_bad_split(sh_reshape_only, ref.merge_heads)},
        ),
        Mistake(
            name="merge-by-reshape-alone",
            advice="The heads must change places with the positions again before they are reshaped side by side.",
            replaces={"multi_head": mha_bad_split(ref.split_heads, mh_reshape_only)},
        ),
    ),
)

# --- multi-head backward ---------------------------------------------------------------------------------------------


def mha_inputs(draw: Draw, dout_scale: float = 1.0, steep: float = 1.0) -> Callable[[Rng], dict[str, Any]]:
    def inputs(rng: Rng) -> dict[str, Any]:
        x, params, n_heads, *mask = draw(rng)
        x, params = x / steep, {name: W if name == "W_o" else steep * W for name, W in params.items()}
        dout = dout_scale * rng.normal(size=x.shape)
        return {"x": x, "params": params, "n_heads": n_heads, "mask": mask[0] if mask else None, "dout": dout}

    return inputs


def mha_value(student: Any, inputs: dict[str, Any]) -> Any:
    answer = student.call("multi_head", inputs["x"], inputs["params"], inputs["n_heads"], inputs["mask"], keep=(1,))
    return items(answer, ("out", "cache"))[0]


def mha_passed(student: Any, inputs: dict[str, Any]) -> Any:
    """The cache of a forward pass."""
    answer = student.call("multi_head", inputs["x"], inputs["params"], inputs["n_heads"], inputs["mask"], keep=(1,))
    return items(answer, ("out", "cache"))[1]


def mha_back(student: Any, inputs: dict[str, Any], cache: Any) -> dict[str, Any]:
    dx, grads = items(student.multi_head_backward(inputs["dout"], cache), ("dx", "grads"))
    return {"x": dx, **{f"params.{name}": entry(grads, name, "`grads`") for name in inputs["params"]}}


def mha_grads(student: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return mha_back(student, inputs, mha_passed(student, inputs))


@prop("a cache serves its own pass, twice, and dout is left as it was", 1, "multi_head", "multi_head_backward")
def mha_cache_serves(student: Any, rng: Rng) -> None:
    first, other = (mha_inputs(mha_case(2, 3, 4, 2))(rng) for _ in range(2))
    cache = mha_passed(student, first)
    mha_passed(student, other)
    again = {**first, "dout": other["dout"]}
    for reason, inputs in (("after another forward pass", first), ("a second time, with another dout", again)):
        with case_of(f"a cache used {reason}"):
            got = mha_back(student, inputs, cache)
            holds(
                0 not in student.changed, "`multi_head_backward` modified its argument `dout` in place; work on a copy."
            )
            for key, right in mha_right(*got)(inputs).items():
                same(got[key], right, f"the gradient of {key.split('.')[-1]}")


def mha_right(*wanted: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def reference(inputs: dict[str, Any]) -> dict[str, Any]:
        _, cache = mha(inputs["x"], inputs["params"], inputs["n_heads"], inputs["mask"])
        dx, grads = ref.self_attention_backward(inputs["dout"], cache)
        found = {"x": dx, **{f"params.{name}": grad for name, grad in grads.items()}}
        return {name: found[name] for name in wanted}

    return reference


def mha_check(name: str, points: int, wanted: tuple[str, ...], cases: list[tuple[str, Any]]) -> Any:
    return gradient(
        name,
        points,
        ("multi_head", "multi_head_backward"),
        [GradientCase(reason, draw) for reason, draw in cases],
        value=mha_value,
        grads=mha_grads,
        reference=mha_right(*wanted),
        names={"x": "the gradient of x"},
    )


def mha_cached(x: Array, params: dict[str, Array], n_heads: int, mask: Any = None) -> Any:
    """The reference with a plain cache, which the wrong backwards below take apart again."""
    out, _ = mha(x, params, n_heads, mask)
    return out, (x, params, n_heads, mask)


def mha_backward_with(
    change: Callable[[Array, dict[str, Array], Any], tuple[Array, dict[str, Array]]],
) -> dict[str, Callable[..., Any]]:
    """multi_head with a backward whose right (dx, grads) are changed; the third argument is (dout, x, params, ...)."""

    def backward(dout: Array, cache: Any) -> Any:
        x, params, n_heads, mask = cache
        _, inner = mha(x, params, n_heads, mask)
        dx, grads = ref.self_attention_backward(dout, inner)
        return change(dx, grads, (np.asarray(dout, dtype=np.float64), x, params, n_heads, mask))

    return {"multi_head": mha_cached, "multi_head_backward": backward}


def one_way(which: int) -> Callable[..., Any]:
    """The gradient of x through the queries only, or the keys, or the values."""

    def change(dx: Array, grads: dict[str, Array], given: Any) -> Any:
        dout, x, params, n_heads, mask = given
        _, inner = mha(x, params, n_heads, mask)
        return ref.multi_head_attention_backward(dout, inner)[which], grads

    return change


def mean_of_ways(dx: Array, grads: dict[str, Array], given: Any) -> Any:
    return dx / 3, grads


def transposed_grads(dx: Array, grads: dict[str, Array], given: Any) -> Any:
    return dx, {name: grad.T for name, grad in grads.items()}


def averaged_grads(dx: Array, grads: dict[str, Array], given: Any) -> Any:
    return dx, {name: grad / len(dx) for name, grad in grads.items()}


def output_projection_skipped(dx: Array, grads: dict[str, Array], given: Any) -> Any:
    dout, x, params, n_heads, mask = given
    _, inner = mha(x, {**params, "W_o": np.eye(x.shape[-1])}, n_heads, mask)
    wrong_dx, wrong = ref.self_attention_backward(dout, inner)
    return wrong_dx, {**wrong, "W_o": grads["W_o"]}


def output_grad_of_input(dx: Array, grads: dict[str, Array], given: Any) -> Any:
    dout, x, *_ = given
    return dx, {**grads, "W_o": np.einsum("bto,bti->oi", dout, np.asarray(x, dtype=np.float64))}


MHA_CASES = [
    ("two heads of three features", mha_inputs(mha_case(2, 4, 6, 2))),
    ("four heads, as many as positions", mha_inputs(mha_case(2, 4, 8, 4))),
    ("a batch of one, one head", mha_inputs(mha_case(1, 3, 4, 1))),
]

MULTI_HEAD_BACKWARD = Exercise(
    name="multi_head_backward",
    title="Backward through all heads",
    functions=("multi_head", "multi_head_backward"),
    hints=(
        "Go through multi_head line by line, last line first. Splitting and merging only move numbers about.",
        "The gradient at the merged heads is dout @ W_o. Split it, and attention_backward gives the gradients at the "
        "queries, keys and values of every head; merge each of them again.",
        "With g a merged gradient at x @ W.T: the gradient of W is the sum over batch and positions of g times "
        "x, shaped "
        "(out, in), and x gets g @ W. Three of these g came from x, and their contributions add up.",
    ),
    checks=(
        mha_check("gradient of the output projection", 3, ("params.W_o",), MHA_CASES),
        mha_check("gradients of the other projections", 5, ("params.W_q", "params.W_k", "params.W_v"), MHA_CASES),
        mha_check("gradient of the inputs, on all three ways", 4, ("x",), MHA_CASES),
        mha_check(
            "masked, and at any scale",
            2,
            ("x", "params.W_q", "params.W_k", "params.W_v", "params.W_o"),
            [
                ("a causal mask", mha_inputs(mha_case(2, 4, 6, 2, lambda rng: ref.causal_mask(4)))),
                ("an upstream gradient in the millions", mha_inputs(mha_case(1, 3, 4, 2), dout_scale=1e7)),
                ("tiny inputs and huge weights", mha_inputs(mha_case(1, 3, 4, 2), steep=STEEP)),
            ],
        ),
        mha_cache_serves,
    ),
    mistakes=(
        Mistake(
            name="only-the-queries-way",
            advice="x was made into queries, keys and values: add what comes back on all three ways, not on "
            "the first only.",
            replaces=mha_backward_with(one_way(0)),
            variants=(mha_backward_with(one_way(1)), mha_backward_with(one_way(2))),
        ),
        Mistake(
            name="ways-averaged",
            advice="The three contributions to the gradient of x are added, not averaged.",
            replaces=mha_backward_with(mean_of_ways),
        ),
        Mistake(
            name="weight-gradients-transposed",
            advice="A weight is (out, in), and so is its gradient; yours are (in, out).",
            replaces=mha_backward_with(transposed_grads),
        ),
        Mistake(
            name="weight-gradients-averaged",
            advice="Whoever computed dout has divided by the batch already: gradients of weights are sums over "
            "batch and positions.",
            replaces=mha_backward_with(averaged_grads),
        ),
        Mistake(
            name="output-projection-skipped",
            advice="On the way back the first step is through W_o: what reaches the heads is dout @ W_o, not dout.",
            replaces=mha_backward_with(output_projection_skipped),
        ),
        Mistake(
            name="output-gradient-of-inputs",
            advice="W_o was given the merged heads, so its gradient pairs dout with those, not with x.",
            replaces=mha_backward_with(output_grad_of_input),
        ),
    ),
)

# --- additive attention ----------------------------------------------------------------------------------------------


def additive(query: Array, keys: Array, params: dict[str, Array]) -> Array:
    query, keys = floats(query, keys)
    W_q, W_k, v = floats(params["W_q"], params["W_k"], params["v"])
    return np.tanh((query @ W_q.T)[:, :, None] + (keys @ W_k.T)[:, None]) @ v


def additive_right(dscores: Array, query: Array, keys: Array, params: dict[str, Array]) -> Any:
    dscores, query, keys = floats(dscores, query, keys)
    W_q, W_k, v = floats(params["W_q"], params["W_k"], params["v"])
    hidden = np.tanh((query @ W_q.T)[:, :, None] + (keys @ W_k.T)[:, None])
    dsum = dscores[..., None] * v * (1 - hidden**2)
    dq, dk = dsum.sum(axis=2), dsum.sum(axis=1)
    grads = {
        "W_q": np.tensordot(dq, query, axes=((0, 1), (0, 1))),
        "W_k": np.tensordot(dk, keys, axes=((0, 1), (0, 1))),
        "v": np.tensordot(dscores, hidden, axes=3),
    }
    return dq @ W_q, dk @ W_k, grads


def additive_draw(batch: int, tq: int, tk: int, dq: int, dk: int, width: int) -> Draw:
    def draw(rng: Rng) -> tuple[Any, ...]:
        params = {
            "W_q": rng.normal(size=(width, dq)),
            "W_k": rng.normal(size=(width, dk)),
            "v": rng.normal(size=width),
        }
        return rng.normal(size=(batch, tq, dq)), rng.normal(size=(batch, tk, dk)), params

    return draw


def additive_inputs(draw: Draw, scale: float = 1.0, steep: float = 1.0) -> Callable[[Rng], dict[str, Any]]:
    def inputs(rng: Rng) -> dict[str, Any]:
        query, keys, params = draw(rng)
        query, keys = query / steep, keys / steep
        params = {**params, "W_q": steep * params["W_q"], "W_k": steep * params["W_k"]}
        dout = scale * rng.normal(size=(len(query), query.shape[1], keys.shape[1]))
        return {"query": query, "keys": keys, "params": params, "dout": dout}

    return inputs


def additive_grads(student: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    answer = student.additive_backward(inputs["dout"], inputs["query"], inputs["keys"], inputs["params"])
    dquery, dkeys, grads = items(answer, ("dquery", "dkeys", "grads"))
    named = {f"params.{name}": entry(grads, name, "`grads`") for name in inputs["params"]}
    return {"query": dquery, "keys": dkeys, **named}


def additive_reference(inputs: dict[str, Any]) -> dict[str, Any]:
    dquery, dkeys, grads = additive_right(inputs["dout"], inputs["query"], inputs["keys"], inputs["params"])
    return {"query": dquery, "keys": dkeys, **{f"params.{name}": grad for name, grad in grads.items()}}


def additive_with(hidden: Callable[[Array], Array], scale: bool = False) -> Callable[..., Array]:
    def scores(query: Array, keys: Array, params: dict[str, Array]) -> Array:
        query, keys = floats(query, keys)
        W_q, W_k, v = floats(params["W_q"], params["W_k"], params["v"])
        found = hidden((query @ W_q.T)[:, :, None] + (keys @ W_k.T)[:, None]) @ v
        return found / np.sqrt(len(v)) if scale else found

    return scores


def additive_transposed(query: Array, keys: Array, params: dict[str, Array]) -> Array:
    return swap(additive(query, keys, params))


def backward_no_tanh(dscores: Array, query: Array, keys: Array, params: dict[str, Array]) -> Any:
    dscores, query, keys = floats(dscores, query, keys)
    W_q, W_k, v = floats(params["W_q"], params["W_k"], params["v"])
    dsum = dscores[..., None] * v * np.ones_like(v)
    dq, dk = dsum.sum(axis=2), dsum.sum(axis=1)
    _, _, grads = additive_right(dscores, query, keys, params)
    wrong = {"W_q": np.einsum("bta,btd->ad", dq, query), "W_k": np.einsum("bta,btd->ad", dk, keys), "v": grads["v"]}
    return dq @ W_q, dk @ W_k, wrong


def backward_mean(dscores: Array, query: Array, keys: Array, params: dict[str, Array]) -> Any:
    dquery, dkeys, grads = additive_right(dscores, query, keys, params)
    return dquery / np.shape(keys)[1], dkeys / np.shape(query)[1], grads


def backward_v_of_sum(dscores: Array, query: Array, keys: Array, params: dict[str, Array]) -> Any:
    dquery, dkeys, grads = additive_right(dscores, query, keys, params)
    dscores, query, keys = floats(dscores, query, keys)
    W_q, W_k = floats(params["W_q"], params["W_k"])
    inside = (query @ W_q.T)[:, :, None] + (keys @ W_k.T)[:, None]
    return dquery, dkeys, {**grads, "v": np.tensordot(dscores, inside, axes=3)}


ADDITIVE = Exercise(
    name="additive_scores",
    title="Additive attention, there and back",
    functions=("additive_scores", "additive_backward"),
    hints=(
        "Every query meets every key: the sum inside the tanh has one axis more than either of the two.",
        "Project both, put a new axis where the other one's positions go, and let them broadcast to (B, Tq, "
        "Tk, A). The "
        "product with v removes the last axis.",
        "On the way back the gradient inside the tanh is dscores with a new last axis, times v, times one "
        "minus the square "
        "of the tanh. Summed over the keys it belongs to the queries, summed over the queries to the keys.",
    ),
    checks=(
        numeric(
            "the scores",
            4,
            "additive_scores",
            additive,
            [
                Case("two queries, four keys, all widths different", additive_draw(3, 2, 4, 5, 6, 7)),
                Case("as many queries as keys", additive_draw(2, 3, 3, 4, 4, 4)),
                Case("a batch of one, one query, one key", additive_draw(1, 1, 1, 2, 3, 4)),
            ],
        ),
        gradient(
            "its gradients",
            5,
            ("additive_backward",),
            [
                GradientCase("all widths different", additive_inputs(additive_draw(3, 2, 4, 5, 6, 7))),
                GradientCase("as many queries as keys", additive_inputs(additive_draw(2, 3, 3, 4, 4, 4))),
                GradientCase("gradients in the millions", additive_inputs(additive_draw(1, 2, 3, 2, 2, 2), 1e7)),
                GradientCase(
                    "tiny inputs and huge weights", additive_inputs(additive_draw(1, 2, 3, 2, 2, 2), steep=STEEP)
                ),
            ],
            value=lambda student, i: student.additive_scores(i["query"], i["keys"], i["params"]),
            grads=additive_grads,
            reference=additive_reference,
        ),
        unchanged(
            1,
            {
                "additive_scores": additive_draw(2, 2, 3, 3, 4, 2),
                "additive_backward": lambda rng: (rng.normal(size=(2, 2, 3)), *additive_draw(2, 2, 3, 3, 4, 2)(rng)),
            },
        ),
    ),
    mistakes=(
        Mistake(
            name="tanh-missing",
            advice="Without the tanh the score is a sum of a term of the query and one of the key, and the "
            "softmax forgets the query.",
            replaces={"additive_scores": additive_with(lambda s: s)},
        ),
        Mistake(
            name="additive-scores-scaled",
            advice="Additive scores are not divided by a root; that belongs to dot products.",
            replaces={"additive_scores": additive_with(np.tanh, scale=True)},
        ),
        Mistake(
            name="relu-instead-of-tanh",
            advice="The activation inside is tanh; yours is another.",
            replaces={"additive_scores": additive_with(lambda s: np.maximum(s, 0))},
        ),
        Mistake(
            name="additive-scores-transposed",
            advice="The scores are (B, Tq, Tk), queries in the rows; yours are the other way round.",
            replaces={"additive_scores": additive_transposed},
        ),
        Mistake(
            name="tanh-slope-missing",
            advice="On the way back through the tanh the gradient is multiplied by 1 - tanh**2.",
            replaces={"additive_backward": backward_no_tanh},
        ),
        Mistake(
            name="met-positions-averaged",
            advice="A query's gradient is the sum over the keys that it met, not their mean; a key's likewise.",
            replaces={"additive_backward": backward_mean},
        ),
        Mistake(
            name="v-gradient-before-tanh",
            advice="v is multiplied with the tanh, so its gradient pairs dscores with the tanh, not with what "
            "went into it.",
            replaces={"additive_backward": backward_v_of_sum},
        ),
    ),
)


def draw_picture(student: Any, figure: Any) -> None:
    """What causal attention looks at, and what the scale is for, by the student's own functions."""
    left, right = figure.subplots(1, 2)
    words = ["the", "cat", "sat", "on", "the", "mat", "and", "the", "dog"]
    rng = np.random.default_rng(3)
    vectors = {word: rng.normal(size=12) for word in dict.fromkeys(words)}
    x = np.array([[vectors[word] for word in words]])
    mask = student.causal_mask(len(words))
    _, weights = student.attention(x, x, x, mask)
    image = left.imshow(np.asarray(weights)[0], cmap="Blues", vmin=0, vmax=1)
    left.set_xticks(range(len(words)), words, rotation=60)
    left.set_yticks(range(len(words)), words)
    left.set_xlabel("key: looked at")
    left.set_ylabel("query: looking")
    left.set_title("Causal self-attention: equal words find each other")
    figure.colorbar(image, ax=left, shrink=0.8, label="weight")
    widths = [1, 2, 4, 8, 16, 32, 64, 128, 256]
    found: dict[str, list[float]] = {"divided by sqrt(dk)": [], "not divided": []}
    for width in widths:
        q, k = rng.normal(size=(1, 200, width)), rng.normal(size=(1, 6, width))
        scaled = np.asarray(student.attention(q, k, k)[1])
        plain = np.asarray(student.attention(q * np.sqrt(width), k, k)[1])
        found["divided by sqrt(dk)"].append(float(scaled.max(axis=-1).mean()))
        found["not divided"].append(float(plain.max(axis=-1).mean()))
    for name, values in found.items():
        right.plot(widths, values, "o-", label=name)
    right.axhline(1 / 6, color="0.6", lw=0.8, ls=":", label="all six keys alike")
    right.set_xscale("log", base=2)
    right.set_ylim(0, 1)
    right.set_xlabel("width of queries and keys, dk")
    right.set_ylabel("mean of the largest of 6 weights")
    right.set_title("Why the scores are divided")
    right.legend(frameon=False, fontsize=8)


CHAPTER = Chapter(
    id="ch321",
    slug="attention",
    title="Attention Mechanism",
    part="Architectures",
    summary="Attention with masks and several heads, forward and all the way back.",
    builds_on=("ch305", "ch319", "ch320"),
    exercises=(
        MASKED_SOFTMAX,
        CAUSAL_MASK,
        ATTENTION,
        ATTENTION_BACKWARD,
        HEADS,
        MULTI_HEAD,
        MULTI_HEAD_BACKWARD,
        ADDITIVE,
    ),
    picture=Picture(title="What attention looks at", draw=draw_picture),
)
