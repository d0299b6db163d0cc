"""Checks of chapter 319: data, loss, model and gradients of an encoder-decoder, its search, its training, attention."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
from dlreference import attention as att
from dlreference import lstm
from dlreference import seq2seq as ref
from dlreference.embeddings import embedding_backward, embedding_forward
from dlreference.linear import linear_backward, linear_forward
from dlreference.losses import log_softmax, softmax, softmax_backward
from dlreference.optim import adam_step
from dlreference.recurrent import RECURRENT_KEYS, init_recurrent

from dlgrade.course.compare import below, entry, holds, items, numbers, same
from dlgrade.course.kinds import (
    Case,
    GradientCase,
    Rng,
    case_of,
    gradient,
    loss_gradient,
    numeric,
    prop,
    training,
    unchanged,
)
from dlgrade.course.spec import Chapter, Check, Exercise, Mistake, Picture
from dlgrade.sandbox.protocol import Callback

Array = np.ndarray[Any, Any]
Params = dict[str, Array]
Draw = Callable[[Rng], tuple[Any, ...]]
Step = Callable[[Any, Any], tuple[Array, Array]]

BOS, EOS, PAD = 0, 1, 2
MODEL_KEYS = ("E", *(f"{side}_{name}" for side in ("enc", "dec") for name in RECURRENT_KEYS), "W_out", "b_out")


def as_params(params: Any) -> Params:
    return {name: np.asarray(value, dtype=np.float64) for name, value in params.items()}


def sentences(*lengths: int, low: int = 3, high: int = 9) -> Callable[[Rng], list[list[int]]]:
    """Draws lists of ids of these lengths."""
    return lambda rng: [rng.integers(low, high, size=length).tolist() for length in lengths]


# --- padding ---------------------------------------------------------------------------------------------------------


def padded(sequences: Any, pad: int) -> Any:
    ids, lengths = ref.pad_sequences(sequences, pad)
    return ids, np.arange(ids.shape[1]) < lengths[:, None]


def padded_left(sequences: Any, pad: int) -> Any:
    ids, mask = padded([list(s)[::-1] for s in sequences], pad)
    return ids[:, ::-1], mask[:, ::-1]


def padded_by_id(sequences: Any, pad: int) -> Any:
    ids, _ = padded(sequences, pad)
    return ids, ids != pad


def padded_cut(sequences: Any, pad: int) -> Any:
    shortest = min(len(s) for s in sequences)
    return padded([list(s)[:shortest] for s in sequences], pad)


def padded_one_more(sequences: Any, pad: int) -> Any:
    ids, mask = padded(sequences, pad)
    return np.pad(ids, ((0, 0), (0, 1)), constant_values=pad), np.pad(mask, ((0, 0), (0, 1)))


PAD_SEQUENCES = Exercise(
    name="pad_sequences",
    title="A rectangle of unequal sequences",
    functions=("pad_sequences",),
    hints=(
        "How wide must the rectangle be, and what stands in it before the first sequence is written?",
        "Make one array full of pad and one full of False; then write each sequence into the front of its row.",
        "np.full((B, longest), pad) for the ids; ids[row, :n] = sequence and mask[row, :n] = True, with n its length.",
    ),
    checks=(
        numeric(
            "ids and mask",
            3,
            "pad_sequences",
            padded,
            [
                Case("four sequences, the longest in the middle", lambda rng: (sentences(2, 5, 1, 3)(rng), 2)),
                Case("all of one length", lambda rng: (sentences(3, 3)(rng), 0)),
                Case("one sequence", lambda rng: (sentences(4)(rng), 7)),
            ],
        ),
        numeric(
            "a real token with the id of pad",
            2,
            "pad_sequences",
            padded,
            [Case("the id 2 stands in a sequence and is the padding", lambda rng: ([[5, 2, 6], [2], [4, 2]], 2))],
        ),
    ),
    mistakes=(
        Mistake(
            name="padded-at-the-front",
            advice="Padding goes to the end of a sequence, so that every sequence begins at step 0.",
            replaces={"pad_sequences": padded_left},
        ),
        Mistake(
            name="mask-from-ids",
            advice="A real token may have the id `pad`: make the mask from the lengths, not by comparing ids.",
            replaces={"pad_sequences": padded_by_id},
        ),
        Mistake(
            name="mask-marks-padding",
            advice="The mask is True on the real tokens; yours marks the padding.",
            replaces={"pad_sequences": lambda sequences, pad: (padded(sequences, pad)[0], ~padded(sequences, pad)[1])},
        ),
        Mistake(
            name="cut-to-the-shortest",
            advice="Nothing is cut off: the width is the length of the longest sequence.",
            replaces={"pad_sequences": padded_cut},
        ),
        Mistake(
            name="one-column-too-many",
            advice="The width is exactly the length of the longest sequence.",
            replaces={"pad_sequences": padded_one_more},
        ),
    ),
)

# --- decoder pairs ---------------------------------------------------------------------------------------------------


def pairs_of(
    inputs: Callable[[list[int], int, int], list[int]],
    targets: Callable[[list[int], int, int], list[int]],
    less: int = 0,
) -> Callable[..., Any]:
    """Pairs made otherwise; `less` shortens the mask of every row."""

    def wrong(sequences: Any, bos: int, eos: int, pad: int) -> Any:
        fed, mask = padded([inputs(list(s), bos, eos) for s in sequences], pad)
        said, _ = padded([targets(list(s), bos, eos) for s in sequences], pad)
        if less:
            mask = mask & np.pad(mask[:, 1:], ((0, 0), (0, 1)))
        return fed, said, mask

    return wrong


def shifted_in(s: list[int], bos: int, eos: int) -> list[int]:
    return [bos, *s]


def with_end(s: list[int], bos: int, eos: int) -> list[int]:
    return [*s, eos]


def pairs_all_true(sequences: Any, bos: int, eos: int, pad: int) -> Any:
    inputs, targets, mask = ref.decoder_pairs(sequences, bos, eos, pad)
    return inputs, targets, np.ones_like(mask)


def pairs_end_column(sequences: Any, bos: int, eos: int, pad: int) -> Any:
    """EOS behind the padding."""
    inputs, _, mask = ref.decoder_pairs(sequences, bos, eos, pad)
    targets = np.concatenate([padded(sequences, pad)[0], np.full((len(mask), 1), eos)], axis=1)
    return inputs, targets, mask


def pairs_swapped(sequences: Any, bos: int, eos: int, pad: int) -> Any:
    inputs, targets, mask = ref.decoder_pairs(sequences, bos, eos, pad)
    return targets, inputs, mask


PAIR_CASES = [
    Case("three answers of unequal length", lambda rng: (sentences(2, 4, 3)(rng), 0, 1, 2)),
    Case("other ids for the special tokens", lambda rng: (sentences(3, 1, low=0, high=5)(rng), 7, 8, 9)),
    Case("one answer of one token", lambda rng: (sentences(1)(rng), 0, 1, 2)),
    Case("an empty answer among others", lambda rng: ([[], *sentences(2)(rng)], 0, 1, 2)),
]


@prop("no step is fed what it must say", 2, "decoder_pairs")
def shifted(student: Any, rng: Rng) -> None:
    # Tokens that are all different: then a target can stand in the inputs one step later only.
    answer = (3 + rng.permutation(9)[:6]).tolist()
    inputs, targets, _ = items(student.decoder_pairs([answer], 0, 1, 2), ("inputs", "targets", "mask"))
    inputs, targets = numbers(inputs, (1, 7), "inputs")[0], numbers(targets, (1, 7), "targets")[0]
    holds(not (inputs == targets).any(), "at some step the decoder is fed the token it has to say.")
    same(inputs[1:], targets[:-1], "each input after the first, which should be the target of the step before,")
    same(inputs[0], 0.0, "the first input, which should be BOS,")
    same(targets[-1], 1.0, "the last target, which should be EOS,")


DECODER_PAIRS = Exercise(
    name="decoder_pairs",
    title="What the decoder sees, and what it must say",
    functions=("decoder_pairs",),
    hints=(
        "Write an answer of two tokens on paper, what is fed above it and what is said below. They are shifted by one.",
        "Both rows have one token more than the answer: one begins with BOS, the other ends with EOS. Pad them "
        "after that.",
        "Call pad_sequences twice, with bos in front of each sequence and with eos behind each; either mask will do.",
    ),
    checks=(
        numeric("inputs", 3, "decoder_pairs", ref.decoder_pairs, PAIR_CASES, pick=0, result="the inputs"),
        numeric("targets", 3, "decoder_pairs", ref.decoder_pairs, PAIR_CASES, pick=1, result="the targets"),
        numeric("mask", 2, "decoder_pairs", ref.decoder_pairs, PAIR_CASES, pick=2, result="the mask"),
        shifted,
        unchanged(1, {"decoder_pairs": lambda rng: (sentences(2, 3)(rng), 0, 1, 2)}),
    ),
    mistakes=(
        Mistake(
            name="inputs-not-shifted",
            advice="The decoder is fed the token it has to say: it learns to copy, the loss falls to 0, and at "
            "decoding it "
            "is lost. Put BOS in front of the inputs.",
            replaces={"decoder_pairs": pairs_of(with_end, with_end)},
        ),
        Mistake(
            name="end-missing-from-targets",
            advice="EOS is a target like any other: without it the decoder never learns to stop.",
            replaces={"decoder_pairs": pairs_of(shifted_in, lambda s, bos, eos: s)},
        ),
        Mistake(
            name="start-among-the-targets",
            advice="BOS is fed, never said: the targets begin with the first token of the answer.",
            replaces={"decoder_pairs": pairs_of(shifted_in, lambda s, bos, eos: [bos, *s])},
        ),
        Mistake(
            name="start-missing-from-inputs",
            advice="The first input is BOS: when the decoder says its first token, nothing has been said yet.",
            replaces={"decoder_pairs": pairs_of(lambda s, bos, eos: s, with_end)},
        ),
        Mistake(
            name="end-fed-as-well",
            advice="EOS is said, never fed: nothing comes after it.",
            replaces={
                "decoder_pairs": pairs_of(lambda s, bos, eos: [bos, *s, eos], lambda s, bos, eos: [bos, *s, eos]),
            },
            variants=({"decoder_pairs": pairs_of(lambda s, bos, eos: [bos, *s, eos], with_end)},),
        ),
        Mistake(
            name="end-not-counted",
            advice="The mask is True on EOS too: saying it at the right place is part of the task.",
            replaces={"decoder_pairs": pairs_of(shifted_in, with_end, less=1)},
        ),
        Mistake(
            name="padding-counted",
            advice="The mask is False on the padding: it is nobody's answer.",
            replaces={"decoder_pairs": pairs_all_true},
        ),
        Mistake(
            name="end-behind-the-padding",
            advice="EOS follows the last token of each answer directly; the padding comes after it.",
            replaces={"decoder_pairs": pairs_end_column},
        ),
        Mistake(
            name="inputs-and-targets-swapped",
            advice="Return (inputs, targets, mask): the inputs begin with BOS, the targets end with EOS.",
            replaces={"decoder_pairs": pairs_swapped},
        ),
    ),
)

# --- masked cross-entropy --------------------------------------------------------------------------------------------


def loss_case(*lengths: int, steps: int, vocab: int, scale: float = 1.0, under: int | None = None) -> Draw:
    """Draws logits, targets and the mask of rows of these lengths; `under` stands in the targets that do not count."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        mask = np.arange(steps) < np.array(lengths)[:, None]
        targets = rng.integers(vocab, size=mask.shape)
        targets = targets if under is None else np.where(mask, targets, under)
        return scale * rng.normal(size=(*mask.shape, vocab)), targets, mask

    return draw


def in_float32(logits: Array, targets: Array, mask: Array) -> tuple[Array, ...]:
    return logits.astype(np.float32), targets, mask


def all_wrong(draw: Draw) -> Draw:
    """The least probable token is the target everywhere: no position, not even padding, has a loss of 0 by chance."""

    def drawn(rng: Rng) -> tuple[Any, ...]:
        logits, _, mask = draw(rng)
        return logits, logits.argmin(axis=-1), mask

    return drawn


def hopeless(draw: Draw) -> Draw:
    """The first token's target is so improbable that its loss covers the digits of all others."""

    def drawn(rng: Rng) -> tuple[Any, ...]:
        logits, targets, mask = draw(rng)
        logits[0, 0, targets[0, 0]] -= 1e8
        return logits, targets, mask

    return drawn


def per_token(logits: Any, targets: Any, mask: Any) -> tuple[Array, Array, Array]:
    """(losses (B, T), gradients of their sum, mask), all positions counted."""
    mask = np.asarray(mask, dtype=bool)
    log_p = log_softmax(logits)
    hot = np.arange(log_p.shape[-1]) == np.where(mask, targets, np.maximum(targets, 0))[..., None]
    return -(log_p * hot).sum(axis=-1), np.exp(log_p) - hot, mask


def loss_weighted(
    weights: Callable[[Array], Array], grad_weights: Callable[[Array], Array] | None = None
) -> Callable[..., Any]:
    """A loss and a gradient with other weights of the positions, functions of the mask."""

    def wrong(logits: Any, targets: Any, mask: Any) -> Any:
        losses, grads, real = per_token(logits, targets, mask)
        w = weights(real)
        return float((losses * w).sum()), grads * (w if grad_weights is None else grad_weights(real))[..., None]

    return wrong


def right_weights(mask: Array) -> Array:
    return mask / mask.sum()


def over_all(mask: Array) -> Array:
    return np.full(mask.shape, 1.0 / mask.size)


def over_rectangle(mask: Array) -> Array:
    return mask / mask.size


def over_batch(mask: Array) -> Array:
    return mask / len(mask)


def by_sentence(mask: Array) -> Array:
    return mask / mask.sum(axis=1, keepdims=True) / len(mask)


def summed(mask: Array) -> Array:
    return mask * 1.0


def grad_all(mask: Array) -> Array:
    return np.full(mask.shape, 1.0 / mask.sum())


def loss_no_shift(logits: Any, targets: Any, mask: Any) -> Any:
    mask = np.asarray(mask, dtype=bool)
    with np.errstate(all="ignore"):
        e = np.exp(np.asarray(logits, dtype=np.float64))
        p = e / e.sum(axis=-1, keepdims=True)
        hot = np.arange(p.shape[-1]) == np.where(mask, targets, 0)[..., None]
        loss = -float(np.log((p * hot).sum(axis=-1))[mask].mean())
        return loss, (p - hot) * right_weights(mask)[..., None]


LOSS_CASES = [
    Case("three rows of unequal length", loss_case(2, 4, 1, steps=4, vocab=5)),
    Case("no padding at all", loss_case(3, 3, steps=3, vocab=4)),
    Case("a batch of one with one token that counts", loss_case(1, steps=3, vocab=6)),
]

LOSS = Exercise(
    name="masked_cross_entropy",
    title="A loss that does not see padding",
    functions=("masked_cross_entropy",),
    hints=(
        "How many tokens count? That number stands below the fraction, in the loss and in the gradient.",
        "Make log-probabilities of all positions, pick the target's at each, and sum only where the mask is True. The "
        "gradient is softmax minus one-hot, masked likewise.",
        "Replace the targets under a False by 0 before you use them as indices. Subtract each position's "
        "maximum from its "
        "logits; divide sum and gradient by mask.sum().",
    ),
    checks=(
        numeric(
            "the mean over real tokens",
            3,
            "masked_cross_entropy",
            ref.masked_cross_entropy,
            LOSS_CASES,
            pick=0,
            result="the loss",
        ),
        loss_gradient(
            "its gradient",
            4,
            "masked_cross_entropy",
            ref.masked_cross_entropy,
            [
                *LOSS_CASES,
                Case("a loss of millions, where differences lose digits", hopeless(loss_case(2, 3, steps=3, vocab=4))),
            ],
        ),
        numeric(
            "any number may stand under the padding",
            3,
            "masked_cross_entropy",
            ref.masked_cross_entropy,
            [
                Case("targets of -1 where nothing counts", loss_case(2, 3, steps=4, vocab=5, under=-1)),
                Case(
                    "targets larger than the vocabulary where nothing counts",
                    loss_case(1, 3, steps=3, vocab=4, under=99),
                ),
            ],
        ),
        numeric(
            "huge logits",
            2,
            "masked_cross_entropy",
            ref.masked_cross_entropy,
            [Case("logits of ten thousand", all_wrong(loss_case(2, 3, steps=3, vocab=4, scale=1e4)))],
        ),
        numeric(
            "lists and float32 are accepted, float64 comes back",
            1,
            "masked_cross_entropy",
            ref.masked_cross_entropy,
            [
                Case("lists", lambda rng: tuple(a.tolist() for a in loss_case(2, 3, steps=3, vocab=4)(rng))),
                Case("float32 logits", lambda rng: in_float32(*loss_case(2, 3, steps=3, vocab=4)(rng))),
            ],
        ),
        unchanged(1, {"masked_cross_entropy": loss_case(1, 2, steps=2, vocab=3)}),
    ),
    mistakes=(
        Mistake(
            name="padding-in-the-mean",
            advice="The padding counts as if it were text: leave it out of the sum and of the number of tokens.",
            replaces={"masked_cross_entropy": loss_weighted(over_all)},
        ),
        Mistake(
            name="divided-by-the-rectangle",
            advice="Divide by the number of real tokens, mask.sum(), and not by B times T: else padding lowers "
            "the loss.",
            replaces={"masked_cross_entropy": loss_weighted(over_rectangle)},
        ),
        Mistake(
            name="divided-by-the-batch",
            advice="The mean is over real tokens; yours divides by the number of sequences.",
            replaces={"masked_cross_entropy": loss_weighted(over_batch)},
        ),
        Mistake(
            name="mean-of-means",
            advice="All real tokens of the batch count alike; a mean for each sequence first favours the short ones.",
            replaces={"masked_cross_entropy": loss_weighted(by_sentence)},
        ),
        Mistake(
            name="loss-not-averaged",
            advice="The loss is a mean: divide the sum by the number of real tokens.",
            replaces={"masked_cross_entropy": loss_weighted(summed)},
        ),
        Mistake(
            name="gradient-at-the-padding",
            advice="Padding is not part of the loss, so its gradient is exactly zero: mask the gradient too.",
            replaces={"masked_cross_entropy": loss_weighted(right_weights, grad_all)},
        ),
        Mistake(
            name="gradient-not-averaged",
            advice="The loss is a mean over the real tokens, so the gradient carries one over their number.",
            replaces={"masked_cross_entropy": loss_weighted(right_weights, summed)},
        ),
        Mistake(
            name="logits-not-shifted",
            advice="exp of a large logit overflows: subtract each position's maximum first.",
            replaces={"masked_cross_entropy": loss_no_shift},
        ),
    ),
)

# --- the model -------------------------------------------------------------------------------------------------------


def model(rng: Rng, vocab: int, e: int, hidden: int, scale: float = 1.0) -> Params:
    """A model with no zero bias."""
    params = {"E": scale * rng.normal(size=(vocab, e))}
    for side in ("enc", "dec"):
        drawn = init_recurrent(rng, e, hidden, gates=4)
        params |= {f"{side}_{name}": 2 * value for name, value in drawn.items()}
    return params | {"W_out": rng.normal(size=(vocab, hidden)), "b_out": rng.normal(size=vocab)}


def model_case(*lengths: int, steps: int, vocab: int = 6, e: int = 3, hidden: int = 4) -> Draw:
    """Sources of these lengths and decoder inputs of `steps` steps; few tokens, so that ids repeat."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        source, mask = padded(sentences(*lengths, low=0, high=vocab)(rng), int(rng.integers(vocab)))
        return source, mask, rng.integers(vocab, size=(len(lengths), steps)), model(rng, vocab, e, hidden)

    return draw


def lengths_of(mask: Any) -> Array:
    return np.asarray(mask, dtype=bool).sum(axis=1)


def part(params: Params, side: str) -> Params:
    return {name: params[f"{side}_{name}"] for name in RECURRENT_KEYS}


def forward(source: Any, source_mask: Any, inputs: Any, params: Any) -> Any:
    """The reference in the student's signature, with its arguments for a cache."""
    logits, _ = ref.seq2seq_forward(source, lengths_of(source_mask), inputs, as_params(params))
    return logits, (source, source_mask, inputs, params)


def forward_with(context: Callable[[Array, Array], Any]) -> Callable[..., Any]:
    """A forward whose decoder starts from something else."""

    def wrong(source: Any, source_mask: Any, inputs: Any, params: Any) -> Any:
        p = as_params(params)
        state, _ = ref.encode(source, lengths_of(source_mask), p)
        hs, _, _ = lstm.lstm_forward(embedding_forward(inputs, p["E"]), part(p, "dec"), context(*state))
        return linear_forward(hs, p["W_out"], p["b_out"])[0], (source, source_mask, inputs, params)

    return wrong


def forward_changed(change: Callable[[Any, Any, Any, Params], tuple[Any, Any, Any, Params]]) -> Callable[..., Any]:
    """A forward whose arguments are changed first."""

    def wrong(source: Any, source_mask: Any, inputs: Any, params: Any) -> Any:
        logits, _ = forward(*change(np.asarray(source), np.asarray(source_mask), np.asarray(inputs), as_params(params)))
        return logits, (source, source_mask, inputs, params)

    return wrong


def own_words(source: Any, source_mask: Any, inputs: Any, params: Any) -> Any:
    """Feeds the decoder its own choices instead of the right tokens."""
    p = as_params(params)
    state, _ = ref.encode(source, lengths_of(source_mask), p)
    token, said = np.asarray(inputs)[:, 0], []
    for _ in range(np.shape(inputs)[1]):
        logits, state = ref.decoder_step(token, state, p)
        token = logits.argmax(axis=-1)
        said.append(logits)
    return np.stack(said, axis=1), (source, source_mask, inputs, params)


def encoder_for_both(source: Any, mask: Any, inputs: Any, p: Params) -> Any:
    return source, mask, inputs, p | {f"dec_{name}": p[f"enc_{name}"] for name in RECURRENT_KEYS}


@prop("padding in the source changes nothing", 2, "seq2seq_forward")
def padding_unseen(student: Any, rng: Rng) -> None:
    source, mask, inputs, params = model_case(3, 2, steps=4)(rng)
    right = forward(source, mask, inputs, params)[0]
    longer = np.concatenate([source, rng.integers(6, size=(2, 3))], axis=1)
    longer_mask = np.concatenate([mask, np.zeros((2, 3), dtype=bool)], axis=1)
    answer = student.call("seq2seq_forward", longer, longer_mask, inputs, params, keep=(1,))
    with case_of("three more columns of padding, of any ids"):
        same(items(answer, ("logits", "cache"))[0], right, "the logits")


@prop("the answer depends on the source, and each step on earlier inputs only", 2, "seq2seq_forward")
def depends(student: Any, rng: Rng) -> None:
    source, mask, inputs, params = model_case(3, 3, steps=5)(rng)
    names = ("logits", "cache")

    def logits(source: Array, inputs: Array) -> Array:
        answer = items(student.call("seq2seq_forward", source, mask, inputs, params, keep=(1,)), names)[0]
        return numbers(answer, (2, 5, 6), "the logits")

    first = logits(source, inputs)
    other = logits((source + 1) % 6, inputs)
    apart = float(np.abs(first - other).max(axis=2).min())
    holds(apart > 1e-9, "with another source some logits stay the same: the context does not reach the decoder.")
    later = inputs.copy()
    later[:, 3:] = (later[:, 3:] + 1) % 6
    same(
        logits(source, later)[:, :3],
        first[:, :3],
        "the logits of the first three steps, when only later inputs change,",
    )


MODEL_CASES = [
    Case("three sources of unequal length", model_case(2, 5, 3, steps=4)),
    Case("as many steps as source tokens, no padding", model_case(3, 3, steps=3, e=4, hidden=4)),
    Case("one source of one token, one step", model_case(1, steps=1)),
]

FORWARD = Exercise(
    name="seq2seq_forward",
    title="Encoder, context, decoder",
    functions=("seq2seq_forward",),
    hints=(
        "Two LSTMs, one table of vectors, one output layer. What is handed from the first LSTM to the second?",
        "E[source] looks up all vectors at once. lstm_forward returns (hs, (h, c), cache): of the encoder you need the "
        "pair, of the decoder the states.",
        "Encoder: lstm_forward(E[source], lstm_part(params, 'enc'), mask=source_mask). Decoder: the same with "
        "E[inputs], "
        "'dec' and the encoder's pair as its state. Keep both caches.",
    ),
    checks=(
        numeric("the logits", 8, "seq2seq_forward", forward, MODEL_CASES, pick=0, result="the logits", keep=(1,)),
        padding_unseen,
        depends,
        unchanged(1, {"seq2seq_forward": model_case(2, 3, steps=2)}, keep=(1,)),
    ),
    mistakes=(
        Mistake(
            name="decoder-starts-from-zeros",
            advice="The decoder knows nothing of the source: start it from the encoder's last state, not from zeros.",
            replaces={"seq2seq_forward": forward_with(lambda h, c: None)},
        ),
        Mistake(
            name="only-h-handed-on",
            advice="The context is the pair (h, c): hand the cell on too, it is what the LSTM remembers with.",
            replaces={"seq2seq_forward": forward_with(lambda h, c: (h, 0 * c))},
        ),
        Mistake(
            name="only-c-handed-on",
            advice="The context is the pair (h, c): hand both on.",
            replaces={"seq2seq_forward": forward_with(lambda h, c: (0 * h, c))},
        ),
        Mistake(
            name="context-swapped",
            advice="A state is the pair (h, c), in this order; yours is handed on the other way round.",
            replaces={"seq2seq_forward": forward_with(lambda h, c: (c, h))},
        ),
        Mistake(
            name="padding-is-read",
            advice="The encoder read the padding as if it were text: hand source_mask to lstm_forward.",
            replaces={"seq2seq_forward": forward_changed(lambda s, m, i, p: (s, np.ones_like(m), i, p))},
        ),
        Mistake(
            name="one-lstm-for-both-sides",
            advice="Encoder and decoder have weights of their own: enc_... and dec_....",
            replaces={"seq2seq_forward": forward_changed(encoder_for_both)},
        ),
        Mistake(
            name="own-words-fed",
            advice="Teacher forcing feeds the RIGHT token of the step before, whatever the model would have said.",
            replaces={"seq2seq_forward": own_words},
        ),
        Mistake(
            name="output-bias-missing",
            advice="The output layer has a bias: add b_out.",
            replaces={
                "seq2seq_forward": forward_changed(
                    lambda s, m, i, p: (s, m, i, p | {"b_out": np.zeros_like(p["b_out"])})
                )
            },
        ),
    ),
)

# --- backward --------------------------------------------------------------------------------------------------------


def backward_with(
    context: Callable[[Array, Array], tuple[Array, Array]] = lambda dh, dc: (dh, dc),
    encoder: bool = True,
    tables: tuple[bool, bool] = (True, True),
    add: bool = True,
    share: Callable[[Array], float] = lambda dlogits: 1.0,
    bias: Callable[[Array], Array] = lambda dlogits: dlogits.sum(axis=(0, 1)),
    through_output: bool = True,
) -> dict[str, Callable[..., Any]]:
    """Forward and a backward that loses something on the way; `tables` says which side's share E gets."""

    def look_up_back(dout: Array, ids: Array, rows: int) -> Array:
        if add:
            return embedding_backward(dout, ids, rows)
        table = np.zeros((rows, dout.shape[-1]))
        table[ids] += dout
        return table

    def backward(dlogits: Any, cache: Any) -> Any:
        source, source_mask, inputs, params = cache
        p, dlogits = as_params(params), np.asarray(dlogits, dtype=np.float64)
        _, c = ref.seq2seq_forward(source, lengths_of(source_mask), inputs, p)
        dhs, d_w_out, _ = linear_backward(dlogits, c.output)
        d_inputs, state, decoder = lstm.lstm_backward(dhs, c.decoder)
        dh, dc = context(*state)
        batch, length = c.source.shape
        at_h, at_c = np.zeros((2, batch, length, dh.shape[1]))
        rows = np.arange(batch)
        at_h[rows, c.last], at_c[rows, c.last] = dh, dc
        d_source, _, encoder_grads = lstm.lstm_backward(at_h * encoder, c.encoder, dcs=at_c * encoder)
        vocab = len(p["E"])
        dE = tables[0] * look_up_back(d_source, c.source, vocab) + tables[1] * look_up_back(d_inputs, c.inputs, vocab)
        grads = {"E": dE, "W_out": d_w_out, "b_out": bias(dlogits)}
        grads |= {f"dec_{name}": grad for name, grad in decoder.items()}
        grads |= {f"enc_{name}": grad for name, grad in encoder_grads.items()}
        factor = share(dlogits)
        return {name: factor * grad for name, grad in grads.items()}

    return {"seq2seq_forward": forward, "seq2seq_backward": backward}


# So small an input against so large weights is of ordinary size inside, but bends within any step of a difference.
STEEP = 3e3


def model_inputs(draw: Draw, scale: float = 1.0, steep: float = 1.0) -> Callable[[Rng], dict[str, Any]]:
    def inputs(rng: Rng) -> dict[str, Any]:
        source, mask, fed, params = draw(rng)
        large = {name: steep * params[name] for name in ("enc_W_ih", "dec_W_ih")}
        params = {**params, "E": params["E"] / steep, **large}
        dout = scale * rng.normal(size=(*fed.shape, len(params["E"])))
        return {"source": source, "mask": mask, "inputs": fed, "params": params, "dout": dout}

    return inputs


def run_model(student: Any, i: dict[str, Any]) -> tuple[Any, ...]:
    answer = student.call("seq2seq_forward", i["source"], i["mask"], i["inputs"], i["params"], keep=(1,))
    return items(answer, ("logits", "cache"))


def model_back(student: Any, i: dict[str, Any], cache: Any) -> dict[str, Any]:
    grads = student.seq2seq_backward(i["dout"], cache)
    return {f"params.{name}": entry(grads, name, "the dict of gradients") for name in MODEL_KEYS}


def model_grads(student: Any, i: dict[str, Any]) -> dict[str, Any]:
    return model_back(student, i, run_model(student, i)[1])


def model_reference(*wanted: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def reference(i: dict[str, Any]) -> dict[str, Any]:
        _, cache = ref.seq2seq_forward(i["source"], lengths_of(i["mask"]), i["inputs"], i["params"])
        grads = ref.seq2seq_backward(i["dout"], cache)
        return {f"params.{key}": grads[key] for key in wanted}

    return reference


def cache_serves(
    points: int,
    functions: tuple[str, str],
    draw: Callable[[Rng], dict[str, Any]],
    passed: Callable[[Any, dict[str, Any]], Any],
    back: Callable[[Any, dict[str, Any], Any], dict[str, Any]],
    reference: Callable[[dict[str, Any]], dict[str, Any]],
) -> Check:
    """A backward depends on its arguments alone and leaves them alone.

    `passed` gives the answer of a forward pass, with the cache last, and `back` the gradients by name.
    """

    @prop("a cache serves its own pass, twice, and its gradient is left as it was", points, *functions)
    def check(student: Any, rng: Rng) -> None:
        first, other = draw(rng), draw(rng)
        cache = passed(student, first)[-1]
        passed(student, other)
        again = {**first, "dout": other["dout"]}
        for reason, inputs in (("after another forward pass", first), ("a second time, with another gradient", again)):
            with case_of(f"a cache used {reason}"):
                got = back(student, inputs, cache)
                message = f"`{functions[1]}` modified its first argument in place; work on a copy or a new array."
                holds(0 not in student.changed, message)
                for key, right in reference(inputs).items():
                    same(got[key], right, f"the gradient of {key.split('.')[-1]}")

    return check


def model_check(name: str, points: int, wanted: tuple[str, ...], cases: list[tuple[str, Any]]) -> Check:
    return gradient(
        name,
        points,
        ("seq2seq_forward", "seq2seq_backward"),
        [GradientCase(reason, draw) for reason, draw in cases],
        value=lambda student, i: run_model(student, i)[0],
        grads=model_grads,
        reference=model_reference(*wanted),
    )


def side_keys(side: str) -> tuple[str, ...]:
    return tuple(f"{side}_{name}" for name in RECURRENT_KEYS)


BACKWARD_CASES = [
    ("three sources of unequal length", model_inputs(model_case(2, 5, 3, steps=4))),
    ("as many steps as source tokens, no padding", model_inputs(model_case(3, 3, steps=3, e=4, hidden=4))),
    ("one source", model_inputs(model_case(4, steps=2))),
]

BACKWARD = Exercise(
    name="seq2seq_backward",
    title="From the loss back to the first token read",
    functions=("seq2seq_forward", "seq2seq_backward"),
    hints=(
        "Go through seq2seq_forward line by line, last line first. What did the decoder get from the encoder?",
        "lstm_backward of the decoder returns the gradients of its inputs AND of its start state. The second "
        "is what the "
        "encoder's lstm_backward wants as dlast; its dhs is None.",
        "dlogits @ W_out goes into the decoder. Both sides return the gradients of their inputs: np.add.at "
        "adds them to "
        "the rows of E, once with the ids of inputs and once with those of source.",
    ),
    checks=(
        model_check("gradients of the output layer", 2, ("W_out", "b_out"), BACKWARD_CASES),
        model_check("gradients of the decoder", 3, side_keys("dec"), BACKWARD_CASES),
        model_check("gradients of the encoder, through the context", 4, side_keys("enc"), BACKWARD_CASES),
        model_check("gradient of the token vectors, from both sides", 4, ("E",), BACKWARD_CASES),
        model_check(
            "gradients are computed, not approximated",
            2,
            MODEL_KEYS,
            [
                (
                    "an upstream gradient in the millions",
                    model_inputs(model_case(2, 1, steps=2, vocab=4, e=2, hidden=2), 1e7),
                ),
                (
                    "tiny token vectors and huge weights",
                    model_inputs(model_case(2, 1, steps=2, vocab=4, e=2, hidden=2), steep=STEEP),
                ),
            ],
        ),
        cache_serves(
            1,
            ("seq2seq_forward", "seq2seq_backward"),
            model_inputs(model_case(2, 3, steps=2, e=2, hidden=3)),
            run_model,
            model_back,
            model_reference(*MODEL_KEYS),
        ),
    ),
    mistakes=(
        Mistake(
            name="encoder-not-trained",
            advice="The gradient of the decoder's start state belongs to the encoder: hand it on, or the "
            "encoder never learns.",
            replaces=backward_with(encoder=False),
        ),
        Mistake(
            name="cell-gradient-dropped",
            advice="The context was the pair (h, c), so dlast is the pair of both gradients; dc is missing.",
            replaces=backward_with(context=lambda dh, dc: (dh, 0 * dc)),
        ),
        Mistake(
            name="state-gradient-dropped",
            advice="The context was the pair (h, c), so dlast is the pair of both gradients; dh is missing.",
            replaces=backward_with(context=lambda dh, dc: (0 * dh, dc)),
        ),
        Mistake(
            name="repeated-ids-lost",
            advice="E[ids] += d adds a repeated id only once: use np.add.at(E, ids, d).",
            replaces=backward_with(add=False),
        ),
        Mistake(
            name="table-from-the-decoder-only",
            advice="The encoder looked its tokens up in E as well: add the share of source.",
            replaces=backward_with(tables=(False, True)),
        ),
        Mistake(
            name="table-from-the-encoder-only",
            advice="The decoder looked its tokens up in E as well: add the share of inputs.",
            replaces=backward_with(tables=(True, False)),
        ),
        Mistake(
            name="model-gradients-averaged",
            advice="The mean is in dlogits already: gradients are plain sums over batch and time.",
            replaces=backward_with(share=lambda dlogits: 1 / len(dlogits)),
            variants=(backward_with(share=lambda dlogits: 1 / (len(dlogits) * dlogits.shape[1])),),
        ),
        Mistake(
            name="output-bias-averaged",
            advice="b_out was added at every step of every sequence: its gradient is the sum over both.",
            replaces=backward_with(bias=lambda dlogits: dlogits.mean(axis=(0, 1))),
            variants=(backward_with(bias=lambda dlogits: dlogits[:, -1].sum(axis=0)),),
        ),
    ),
)

# --- searching -------------------------------------------------------------------------------------------------------

START = np.array([0.3, -0.2, 0.5])


def speaker(rng: Rng, vocab: int) -> Step:
    """A small recurrent speaker: what it says depends on all it has heard."""
    A, table, W = rng.normal(size=(3, 3)), rng.normal(size=(vocab, 3)), 1.5 * rng.normal(size=(vocab, 3))
    bias = 2 * rng.normal(size=vocab)

    def step(token: Any, state: Any) -> tuple[Array, Array]:
        new = np.tanh(A @ np.asarray(state, dtype=np.float64) + table[int(token)])
        return W @ new + bias, new

    return step


def greedy(step: Step, state: Any, bos: int, eos: int, max_len: int) -> list[int]:
    return ref.greedy_decode(step, state, bos, eos, max_len)


def greedy_with(
    feed_start: bool = False,
    keep_state: bool = False,
    end: bool = False,
    start: bool = False,
    ends: bool = True,
    limit: Callable[[int], int] = lambda n: n,
    pick: Callable[[Array], int] = lambda logits: int(np.argmax(logits)),
) -> Callable[..., list[int]]:
    def wrong(step: Step, state: Any, bos: int, eos: int, max_len: int) -> list[int]:
        answer, token = ([bos] if start else []), bos
        for _ in range(limit(max_len)):
            logits, after = step(bos if feed_start else token, state)
            state = state if keep_state else after
            token = pick(np.asarray(logits, dtype=np.float64))
            if token == eos and ends:
                return [*answer, token] if end else answer
            answer.append(token)
        return answer

    return wrong


def last_of_equals(logits: Array) -> int:
    return len(logits) - 1 - int(np.argmax(logits[::-1]))


GREEDY_WRONG = {
    "feed": greedy_with(feed_start=True),
    "state": greedy_with(keep_state=True),
    "end": greedy_with(end=True),
    "start": greedy_with(start=True),
    "lasts": greedy_with(ends=False),
    "short": greedy_with(limit=lambda n: n - 1),
    # A loop without a limit, cut after forty steps so that it ends here.
    "endless": greedy_with(limit=lambda n: 40),
    "least": greedy_with(pick=lambda logits: int(np.argmin(logits))),
    "tie": greedy_with(pick=last_of_equals),
}


def telling(
    rng: Rng, vocab: int, args: tuple[int, int, int], wrong: tuple[str, ...], wish: Callable[[list[int]], bool]
) -> Step:
    """A speaker whose greedy answer is as wished, and which tells these mistakes from it and from each other."""
    while True:
        step = speaker(rng, vocab)
        right = greedy(step, START, *args)
        found = [right, *(GREEDY_WRONG[name](step, START, *args) for name in wrong)]
        if wish(right) and all(a != b for a, b in combinations(found, 2)):
            return step


def asked(student: Any, function: str, step: Step, *args: Any) -> tuple[Any, int]:
    """The student's answer, and how often it called step."""
    calls = []

    def counted(token: Any, state: Any) -> tuple[Array, Array]:
        calls.append(token)
        return step(token, state)

    return student.call(function, Callback(counted, "step"), START, *args), len(calls)


def says(student: Any, step: Step, *args: int) -> None:
    answer, count = asked(student, "greedy_decode", step, *args)
    right = greedy(step, START, *args)
    with case_of("", student.transcript[-1][0]):
        same(answer, np.array(right), "the answer")
        holds(
            count <= len(right) + 1, f"step was called {count} times for an answer of {len(right)} tokens: stop at eos."
        )


@prop("answers that end with eos", 4, "greedy_decode")
def greedy_ends(student: Any, rng: Rng) -> None:
    for args in ((0, 1, 9), (4, 3, 8)):
        step = telling(rng, 5, args, ("feed", "state", "end", "start", "lasts", "least"), lambda a: 2 <= len(a) < 7)
        with case_of("an answer of several tokens"):
            says(student, step, *args)


@prop("answers cut off by max_len", 2, "greedy_decode")
def greedy_cut(student: Any, rng: Rng) -> None:
    step = telling(rng, 5, (0, 1, 6), ("feed", "state", "short", "endless", "least"), lambda a: len(a) == 6)
    with case_of("a step that does not say eos in time"):
        says(student, step, 0, 1, 6)
    _, count = asked(student, "greedy_decode", step, 0, 1, 6)
    holds(count == 6, f"step was called {count} times, and max_len is 6.")


@prop("eos at once, and equal logits", 2, "greedy_decode")
def greedy_edges(student: Any, rng: Rng) -> None:
    def stops(token: Any, state: Any) -> tuple[Array, Any]:
        return np.array([0.0, 3.0, 1.0]), state

    def undecided(token: Any, state: Any) -> tuple[Array, Any]:
        return np.array([0.0, 0.0, 1.0, 1.0]), state

    with case_of("eos is said at once"):
        says(student, stops, 0, 1, 4)
    with case_of("of two equal logits the lower id wins"):
        says(student, undecided, 0, 1, 3)


GREEDY = Exercise(
    name="greedy_decode",
    title="Always the most probable word",
    functions=("greedy_decode",),
    hints=(
        "Two things go from step to step: the token that was chosen, and the state.",
        "A for loop of max_len turns cannot run for ever; leave it when eos is chosen.",
        "token starts as bos. In each turn: logits and the new state from step(token, state); token is "
        "np.argmax of the "
        "logits; if it is eos stop, else append it.",
    ),
    checks=(greedy_ends, greedy_cut, greedy_edges),
    mistakes=(
        Mistake(
            name="start-fed-every-time",
            advice="bos is fed at the first step only; after that each step is fed the token that was chosen before.",
            replaces={"greedy_decode": GREEDY_WRONG["feed"]},
        ),
        Mistake(
            name="decoder-state-not-handed-on",
            advice="step returns a new state: hand it to the next step, or the decoder forgets what it has said.",
            replaces={"greedy_decode": GREEDY_WRONG["state"]},
        ),
        Mistake(
            name="eos-in-the-answer",
            advice="eos ends the answer and is not part of it: test for it before you append.",
            replaces={"greedy_decode": GREEDY_WRONG["end"]},
        ),
        Mistake(
            name="bos-in-the-answer",
            advice="The bos that was fed first is not part of the answer.",
            replaces={"greedy_decode": GREEDY_WRONG["start"]},
        ),
        Mistake(
            name="eos-does-not-stop",
            advice="Stop when eos is chosen; what comes after it means nothing.",
            replaces={"greedy_decode": GREEDY_WRONG["lasts"]},
        ),
        Mistake(
            name="one-token-too-few",
            advice="max_len steps are allowed; yours makes one less.",
            replaces={"greedy_decode": GREEDY_WRONG["short"]},
        ),
        Mistake(
            name="max-len-not-kept",
            advice="A model may never say eos: stop after max_len steps in any case.",
            replaces={"greedy_decode": GREEDY_WRONG["endless"]},
        ),
        Mistake(
            name="least-probable-token",
            advice="The largest logit is wanted: argmax, not argmin.",
            replaces={"greedy_decode": GREEDY_WRONG["least"]},
        ),
        Mistake(
            name="last-of-equals",
            advice="Of equal logits the lower id wins, as with np.argmax.",
            replaces={"greedy_decode": GREEDY_WRONG["tie"]},
        ),
    ),
)

Answers = list[tuple[list[int], float]]


def beam(step: Step, state: Any, bos: int, eos: int, max_len: int, width: int) -> Answers:
    return [(list(h.tokens), h.log_prob) for h in ref.beam_search(step, state, bos, eos, max_len, width)]


def beam_with(
    scores: Callable[[Array], Array] = log_softmax,
    drop_finished: bool = False,
    extend_finished: bool = False,
    keep_eos: bool = False,
    free_eos: bool = False,
    shared_state: bool = False,
    per_length: bool = False,
    stop_early: bool = False,
    ascending: bool = False,
    local: bool = False,
    report: Callable[[float], float] = lambda s: s,
) -> Callable[..., Answers]:
    def wrong(step: Step, state: Any, bos: int, eos: int, max_len: int, width: int) -> Answers:
        hypotheses: list[Any] = [([], 0.0, state, False)]
        done: list[Any] = []

        def rank(h: Any) -> float:
            return -h[1] / max(len(h[0]) + h[3], 1) if per_length else -h[1]

        for _ in range(max_len):
            if all(h[3] for h in hypotheses) or (stop_early and any(h[3] for h in hypotheses)):
                break
            grown: list[Any] = []
            latest = None
            for tokens, score, before, finished in hypotheses:
                if finished and not extend_finished:
                    grown.append((tokens, score, before, True))
                    continue
                used = latest if shared_state and latest is not None else before
                logits, after = step(tokens[-1] if tokens else bos, used)
                latest = after
                each = scores(np.asarray(logits, dtype=np.float64))
                new = []
                for token, value in enumerate(each):
                    ends = token == eos
                    longer = [*tokens, token] if not ends or keep_eos else tokens
                    new.append((longer, score + (0.0 if ends and free_eos else float(value)), after, ends))
                grown += sorted(new, key=rank)[:1] if local and len(hypotheses) >= width else new
            hypotheses = sorted(grown, key=rank)[:width]
            if drop_finished:
                done += [h for h in hypotheses if h[3]]
                hypotheses = [h for h in hypotheses if not h[3]] or done[-1:]
        found = hypotheses[::-1] if ascending else hypotheses
        return [(list(tokens), report(score)) for tokens, score, _, _ in found]

    return wrong


BEAM_WRONG = {
    "logits": beam_with(scores=lambda z: z),
    "probabilities": beam_with(scores=softmax),
    "reported": beam_with(report=lambda s: float(np.exp(s))),
    "dropped": beam_with(drop_finished=True),
    "extended": beam_with(extend_finished=True),
    "eos": beam_with(keep_eos=True),
    "free": beam_with(free_eos=True),
    "shared": beam_with(shared_state=True),
    "length": beam_with(per_length=True),
    "early": beam_with(stop_early=True),
    "worst": beam_with(ascending=True),
    "local": beam_with(local=True),
}


def alike(a: Answers, b: Answers) -> bool:
    return [t for t, _ in a] == [t for t, _ in b] and all(
        abs(x - y) < 1e-3 for (_, x), (_, y) in zip(a, b, strict=True)
    )


def loud_speaker(rng: Rng, vocab: int) -> Step:
    """A speaker of huge logits that never says the last word."""
    step, loud = speaker(rng, vocab), np.append(np.full(vocab - 1, 4096.0), 0.0)

    def louder(token: Any, state: Any) -> tuple[Array, Array]:
        logits, after = step(token, state)
        return logits + loud, after

    return louder


def telling_beam(
    rng: Rng,
    vocab: int,
    args: tuple[int, ...],
    wrong: tuple[str, ...],
    lengths: int = 2,
    made: Callable[[Rng, int], Step] = speaker,
) -> Step:
    """A speaker whose answers are of several lengths and never nearly equal in score.

    All these mistakes show in its answers, and no two mistakes that show have the same answers.
    """
    while True:
        step = made(rng, vocab)
        right = beam(step, START, *args)
        scores = [score for _, score in right]
        if len({len(tokens) for tokens, _ in right}) < lengths or min(-np.diff(scores), default=1.0) < 1e-3:
            continue
        answers = {name: mistaken(step, START, *args) for name, mistaken in BEAM_WRONG.items()}
        shown = {name: answer for name, answer in answers.items() if not alike(answer, right)}
        if shown.keys() >= set(wrong) and not any(alike(a, b) for a, b in combinations(shown.values(), 2)):
            return step


def searches(student: Any, step: Step, *args: int) -> None:
    found, _ = asked(student, "beam_search", step, *args)
    right = beam(step, START, *args)
    with case_of("", student.transcript[-1][0]):
        holds(type(found) in (list, tuple), "a list of tuples (tokens, log_prob) is asked for.")
        holds(len(found) == len(right), f"{len(right)} answers are asked for, and {len(found)} came back.")
        for place, (got, (tokens, score)) in enumerate(zip(found, right, strict=True)):
            got_tokens, got_score = items(got, ("tokens", "log_prob"), f"answer {place}")
            same(got_score, score, f"the log-probability of answer {place}")
            same(got_tokens, np.array(tokens), f"the tokens of answer {place}")


@prop("the most probable answers, best first", 7, "beam_search")
def beam_best(student: Any, rng: Rng) -> None:
    for vocab, args in ((5, (0, 1, 5, 3)), (4, (2, 0, 4, 4))):
        with case_of(f"a width of {args[3]}"):
            searches(student, telling_beam(rng, vocab, args, tuple(BEAM_WRONG)), *args)


@prop("width one is greedy decoding", 1, "beam_search")
def beam_of_one(student: Any, rng: Rng) -> None:
    step = telling_beam(rng, 5, (0, 1, 7, 1), ("logits", "eos"), lengths=1)
    with case_of("a width of one"):
        searches(student, step, 0, 1, 7, 1)


@prop("logits of thousands", 1, "beam_search")
def beam_of_huge_logits(student: Any, rng: Rng) -> None:
    args = (0, 1, 4, 2)
    with case_of("logits near 4096, and one near 0"):
        searches(student, telling_beam(rng, 5, args, ("logits",), made=loud_speaker), *args)
    args = (0, 1, 2, 50)
    with case_of("the same, and a beam so wide that even the least probable answers are kept"):
        searches(student, telling_beam(rng, 3, args, (), made=loud_speaker), *args)


@prop("it finds what greedy decoding misses", 3, "beam_search")
def beam_beats_greedy(student: Any, rng: Rng) -> None:
    args = (0, 1, 4, 3)
    while True:
        step = telling_beam(rng, 5, args, tuple(BEAM_WRONG))
        if beam(step, START, *args)[0][0] != beam(step, START, 0, 1, 4, 1)[0][0]:
            break
    with case_of("the best answer does not begin with the best word"):
        searches(student, step, *args)


@prop("a width larger than the number of answers", 1, "beam_search")
def beam_wide(student: Any, rng: Rng) -> None:
    with case_of("a vocabulary of three, two steps, a width of fifty"):
        searches(student, telling_beam(rng, 3, (0, 1, 2, 50), ()), 0, 1, 2, 50)


BEAM = Exercise(
    name="beam_search",
    title="Several answers at once",
    functions=("beam_search",),
    hints=(
        "What must you know of a hypothesis to go on with it later? Four things, one of them its own state.",
        "One round: collect all candidates in a list (finished ones as they are, and V continuations of each "
        "other one), "
        "sort by log-probability, keep the first `width`.",
        "Add the log-softmax of the logits to the score, for eos too. sorted(candidates, key=...) with minus "
        "the score as "
        "the key puts the best first. Stop early when all that were kept are finished.",
    ),
    checks=(beam_best, beam_of_one, beam_of_huge_logits, beam_beats_greedy, beam_wide),
    mistakes=(
        Mistake(
            name="logits-added-up",
            advice="Logits of different steps cannot be added: make log-probabilities of them first, with log-softmax.",
            replaces={"beam_search": BEAM_WRONG["logits"]},
        ),
        Mistake(
            name="probabilities-added-up",
            advice="Probabilities multiply along an answer; their LOGARITHMS are what is added.",
            replaces={"beam_search": BEAM_WRONG["probabilities"]},
        ),
        Mistake(
            name="probability-returned",
            advice="The second item is the log-probability, a sum of logarithms, not its exponential.",
            replaces={"beam_search": BEAM_WRONG["reported"]},
        ),
        Mistake(
            name="finished-answers-lost",
            advice="A finished answer stays in the beam and competes with the others.",
            replaces={"beam_search": BEAM_WRONG["dropped"]},
        ),
        Mistake(
            name="finished-answers-continued",
            advice="After eos an answer is finished: it stays as it is, nothing follows.",
            replaces={"beam_search": BEAM_WRONG["extended"]},
        ),
        Mistake(
            name="beam-keeps-eos",
            advice="eos finishes an answer and is not part of its tokens.",
            replaces={"beam_search": BEAM_WRONG["eos"]},
        ),
        Mistake(
            name="eos-costs-nothing",
            advice="Ending is a choice like any other: the log-probability of eos is added too.",
            replaces={"beam_search": BEAM_WRONG["free"]},
        ),
        Mistake(
            name="one-state-for-all",
            advice="Each hypothesis has said something else and so has a state of its own: keep it with its tokens.",
            replaces={"beam_search": BEAM_WRONG["shared"]},
        ),
        Mistake(
            name="score-per-token",
            advice="Scores are plain sums here: do not divide by the length.",
            replaces={"beam_search": BEAM_WRONG["length"]},
        ),
        Mistake(
            name="stopped-at-the-first-end",
            advice="Another answer may still overtake: go on until ALL that are kept are finished.",
            replaces={"beam_search": BEAM_WRONG["early"]},
        ),
        Mistake(
            name="worst-first",
            advice="The best answer stands first: sort by falling log-probability.",
            replaces={"beam_search": BEAM_WRONG["worst"]},
        ),
        Mistake(
            name="one-child-each",
            advice="All continuations of all hypotheses compete: one hypothesis may have several children in "
            "the beam, another "
            "none.",
            replaces={"beam_search": BEAM_WRONG["local"]},
        ),
    ),
)

# --- attention -------------------------------------------------------------------------------------------------------


def context_case(*lengths: int, steps: int, h: int, k: int, a: int, scale: float = 1.0) -> Draw:
    def draw(rng: Rng) -> tuple[Any, ...]:
        params = {"W_q": rng.normal(size=(a, h)), "W_k": rng.normal(size=(a, k)), "v": scale * rng.normal(size=a)}
        mask = np.arange(steps) < np.array(lengths)[:, None]
        return rng.normal(size=(len(lengths), h)), rng.normal(size=(len(lengths), steps, k)), mask, params

    return draw


def context(query: Any, keys: Any, mask: Any, params: Any) -> Any:
    """The reference in the student's signature, with its arguments for a cache."""
    q, real = np.asarray(query, dtype=np.float64)[:, None], np.asarray(mask, dtype=bool)[:, None]
    out, cache = att.additive_attention_forward(q, keys, keys, params, real)
    return out[:, 0], cache.weights[:, 0], (query, keys, mask, params)


def context_with(
    weights: Callable[[Array, Array], Array], hidden: Callable[[Array], Array] = np.tanh
) -> Callable[..., Any]:
    """A context whose weights, made of scores and mask, or whose hidden layer is another."""

    def wrong(query: Any, keys: Any, mask: Any, params: Any) -> Any:
        p, keys = as_params(params), np.asarray(keys, dtype=np.float64)
        q = np.asarray(query, dtype=np.float64)
        scores = hidden((q @ p["W_q"].T)[:, None] + keys @ p["W_k"].T) @ p["v"]
        found = weights(scores, np.asarray(mask, dtype=bool))
        return (found[:, :, None] * keys).sum(axis=1), found, (query, keys, mask, params)

    return wrong


def masked_rows(scores: Array, mask: Array) -> Array:
    return att.masked_softmax(scores, mask)


def weights_no_shift(scores: Array, mask: Array) -> Array:
    with np.errstate(all="ignore"):
        e = np.where(mask, np.exp(scores), 0.0)
        return e / e.sum(axis=1, keepdims=True)


def context_back(
    jacobian: Callable[[Array, Array], Array] = softmax_backward,
    averaged: float = 1.0,
    scored: float = 1.0,
    slope: Callable[[Array], Array] = lambda hidden: 1 - hidden**2,
) -> dict[str, Callable[..., Any]]:
    """Forward and a backward with a flaw; the two numbers weigh the two ways to the keys."""

    def backward(dcontext: Any, cache: Any) -> Any:
        query, keys, mask, params = cache
        p, keys, q = as_params(params), np.asarray(keys, dtype=np.float64), np.asarray(query, dtype=np.float64)
        dcontext = np.asarray(dcontext, dtype=np.float64)
        hidden = np.tanh((q @ p["W_q"].T)[:, None] + keys @ p["W_k"].T)
        weights = att.masked_softmax(hidden @ p["v"], mask)
        dscores = jacobian((keys * dcontext[:, None]).sum(axis=-1), weights)
        dsum = dscores[..., None] * p["v"] * slope(hidden)
        grads = {
            "W_q": dsum.sum(axis=1).T @ q,
            "W_k": np.tensordot(dsum, keys, axes=((0, 1), (0, 1))),
            "v": np.tensordot(dscores, hidden, axes=2),
        }
        dkeys = averaged * weights[..., None] * dcontext[:, None] + scored * (dsum @ p["W_k"])
        return dsum.sum(axis=1) @ p["W_q"], dkeys, grads

    return {"attention_context": context, "attention_context_backward": backward}


def context_inputs(draw: Draw, scale: float = 1.0, steep: float = 1.0) -> Callable[[Rng], dict[str, Any]]:
    def inputs(rng: Rng) -> dict[str, Any]:
        query, keys, mask, params = draw(rng)
        query, params = query / steep, {**params, "W_q": steep * params["W_q"]}
        dout = scale * rng.normal(size=(len(keys), keys.shape[2]))
        return {"query": query, "keys": keys, "mask": mask, "params": params, "dout": dout}

    return inputs


def run_context(student: Any, i: dict[str, Any]) -> tuple[Any, ...]:
    answer = student.call("attention_context", i["query"], i["keys"], i["mask"], i["params"], keep=(2,))
    return items(answer, ("context", "weights", "cache"))


def context_grads(student: Any, i: dict[str, Any]) -> dict[str, Any]:
    return context_go_back(student, i, run_context(student, i)[2])


def context_go_back(student: Any, i: dict[str, Any], cache: Any) -> dict[str, Any]:
    answer = student.attention_context_backward(i["dout"], cache)
    dquery, dkeys, grads = items(answer, ("dquery", "dkeys", "grads"))
    return {"query": dquery, "keys": dkeys, **{f"params.{n}": entry(grads, n, "`grads`") for n in ("W_q", "W_k", "v")}}


def context_reference(i: dict[str, Any]) -> dict[str, Any]:
    _, cache = att.additive_attention_forward(
        i["query"][:, None], i["keys"], i["keys"], i["params"], i["mask"][:, None]
    )
    dquery, dkeys, dvalues, grads = att.additive_attention_backward(i["dout"][:, None], cache)
    return {"query": dquery[:, 0], "keys": dkeys + dvalues, **{f"params.{n}": grad for n, grad in grads.items()}}


CONTEXT_DRAWS = [
    ("three sources of unequal length", context_case(2, 5, 3, steps=5, h=4, k=6, a=7)),
    ("all sizes alike, no padding", context_case(3, 3, 3, steps=3, h=3, k=3, a=3)),
    ("a single real token", context_case(1, steps=3, h=2, k=3, a=4)),
]

CONTEXT = Exercise(
    name="attention_context",
    title="Looking back at the source",
    functions=("attention_context", "attention_context_backward"),
    hints=(
        "One number for each source token says how well it fits the query; a softmax makes weights of these numbers.",
        "The query needs a new axis where the source tokens stand. Padding gets the score minus infinity, and "
        "the maximum "
        "is subtracted before the exponential.",
        "Backward: the weights get dcontext times the keys, summed over K; then the softmax, then v and the "
        "tanh. The keys "
        "get two shares: weights times dcontext, and the gradient inside the tanh times W_k.",
    ),
    checks=(
        numeric(
            "the weights",
            2,
            "attention_context",
            context,
            [Case(reason, draw) for reason, draw in CONTEXT_DRAWS]
            + [Case("scores of thousands", context_case(2, 3, steps=3, h=2, k=2, a=3, scale=3e3))],
            pick=1,
            result="the weights",
            keep=(2,),
        ),
        numeric(
            "the context",
            2,
            "attention_context",
            context,
            [Case(reason, draw) for reason, draw in CONTEXT_DRAWS],
            pick=0,
            result="the context",
            keep=(2,),
        ),
        gradient(
            "all gradients",
            5,
            ("attention_context", "attention_context_backward"),
            [
                *(GradientCase(reason, context_inputs(draw)) for reason, draw in CONTEXT_DRAWS),
                GradientCase(
                    "gradients in the millions", context_inputs(context_case(2, 3, steps=3, h=2, k=2, a=2), 1e7)
                ),
                GradientCase(
                    "a tiny query and huge weights",
                    context_inputs(context_case(2, 3, steps=3, h=2, k=2, a=2), steep=STEEP),
                ),
            ],
            value=lambda student, i: run_context(student, i)[0],
            grads=context_grads,
            reference=context_reference,
        ),
        cache_serves(
            1,
            ("attention_context", "attention_context_backward"),
            context_inputs(context_case(2, 3, steps=3, h=4, k=2, a=3)),
            run_context,
            context_go_back,
            context_reference,
        ),
        unchanged(1, {"attention_context": context_case(2, 1, steps=3, h=2, k=3, a=2)}, keep=(2,)),
    ),
    mistakes=(
        Mistake(
            name="padding-is-attended",
            advice="Padding has no meaning and must get a weight of exactly 0: give it the score minus infinity.",
            replaces={"attention_context": context_with(lambda s, m: softmax(s))},
        ),
        Mistake(
            name="padding-zeroed-after-softmax",
            advice="Zeros put in after the softmax leave weights that sum to less than one: mask the scores before it.",
            replaces={"attention_context": context_with(lambda s, m: np.where(m, softmax(s), 0.0))},
        ),
        Mistake(
            name="attention-scores-not-shifted",
            advice="exp of a large score overflows: subtract the largest real score of each row first.",
            replaces={"attention_context": context_with(weights_no_shift)},
        ),
        Mistake(
            name="attention-without-tanh",
            advice="The score is v . tanh(...): without the tanh the query would drop out of the softmax altogether.",
            replaces={"attention_context": context_with(masked_rows, hidden=lambda s: s)},
        ),
        Mistake(
            name="plain-average",
            advice="The real keys are weighted by the softmax of their scores, not averaged alike.",
            replaces={"attention_context": context_with(lambda s, m: m / m.sum(axis=1, keepdims=True))},
        ),
        Mistake(
            name="keys-through-the-scores-only",
            advice="The keys are also what is averaged: add weights times dcontext to their gradient.",
            replaces=context_back(averaged=0.0),
        ),
        Mistake(
            name="keys-through-the-average-only",
            advice="The keys also made the scores: add the gradient inside the tanh times W_k.",
            replaces=context_back(scored=0.0),
        ),
        Mistake(
            name="attention-softmax-diagonal",
            advice="Every weight depends on every score of its row: subtract the row's weighted mean of dp.",
            replaces=context_back(jacobian=lambda d, w: d * w * (1 - w)),
            variants=(context_back(jacobian=lambda d, w: d * w),),
        ),
        Mistake(
            name="attention-tanh-slope-missing",
            advice="Between the score and the two products lies a tanh: its slope is 1 - hidden^2.",
            replaces=context_back(slope=np.ones_like),
        ),
    ),
)

# --- training --------------------------------------------------------------------------------------------------------


def draw_sequences(rng: Rng, batch: int, n_digits: int, longest: int) -> list[list[int]]:
    lengths = rng.integers(2, longest + 1, size=batch)
    return [rng.integers(3, 3 + n_digits, size=length).tolist() for length in lengths]


def trainer(
    *,
    turn: Callable[[list[int]], list[int]] = lambda s: s[::-1],
    keep: bool = True,
    falling: bool = True,
    same_batch: bool = False,
    ones: bool = False,
    late: bool = False,
) -> Callable[..., Any]:
    """Training on reversal, as asked for or with a flaw."""

    def train(params: Any, rng: Any, n_steps: int, batch: int, n_digits: int, longest: int, lr: float) -> Any:
        p = as_params(params)
        losses: list[float] = []
        state: dict[str, Any] = {}
        sequences: list[list[int]] = []
        for i in range(n_steps):
            if not (same_batch and sequences):
                sequences = draw_sequences(rng, batch, n_digits, longest)
            source, lengths = ref.pad_sequences(sequences, PAD)
            inputs, targets, mask = ref.decoder_pairs([turn(s) for s in sequences], BOS, EOS, PAD)
            mask = np.ones_like(mask) if ones else mask
            logits, cache = ref.seq2seq_forward(source, lengths, inputs, p)
            loss, dlogits = ref.masked_cross_entropy(logits, targets, mask)
            rate = lr * min(1.0, 2.0 * (1.0 - i / n_steps)) if falling else lr
            p, state = adam_step(p, ref.seq2seq_backward(dlogits, cache), state if keep else {}, rate)
            if late:
                logits, _ = ref.seq2seq_forward(source, lengths, inputs, p)
                loss, _ = ref.masked_cross_entropy(logits, targets, mask)
            losses.append(loss)
        return p, losses

    return train


def start_model(rng: Rng, vocab: int, e: int, hidden: int) -> Params:
    params = {"E": 0.5 * rng.normal(size=(vocab, e))}
    for side in ("enc", "dec"):
        params |= {f"{side}_{name}": value for name, value in lstm.init_lstm(rng, e, hidden).items()}
    return params | {"W_out": rng.normal(size=(vocab, hidden)) / np.sqrt(hidden), "b_out": np.zeros(vocab)}


def train_case(n_steps: int, lr: float = 0.02) -> Draw:
    def draw(rng: Rng) -> tuple[Any, ...]:
        return model(rng, 7, 3, 4), np.random.default_rng(int(rng.integers(1 << 40))), n_steps, 3, 4, 4, lr

    return draw


def reference_losses(params: Any, rng: Any, *args: Any) -> Any:
    """The reference must not use up the generator that goes to the student."""
    copy = np.random.default_rng()
    copy.bit_generator.state = rng.bit_generator.state
    return trainer()(params, copy, *args)


@prop("the caller's model is left as it was", 1, "train", alone=False)
def model_kept(student: Any, rng: Rng) -> None:
    items(student.train(*train_case(2)(rng)), ("params", "losses"))
    message = "`train` modified the params that it was given; begin with a copy, or make a new dict in every step."
    holds(0 not in student.changed, message)


@training("it learns to reverse sequences it has never seen", 4, "train", cpu_s=60.0)
def learns_reversal(student: Any, rng: Rng) -> None:
    # Right answers on 40 seeds: at least 99.6 % of new sequences reversed exactly.
    start = start_model(rng, 8, 8, 24)
    seed = np.random.default_rng(int(rng.integers(1 << 40)))
    params, losses = items(student.train(start, seed, 300, 32, 5, 4, 0.015), ("params", "losses"))
    numbers(losses, (300,), "the list of losses")
    learned = {name: numbers(entry(params, name, "the model"), value.shape, name) for name, value in start.items()}
    for name, value in learned.items():
        holds(bool(np.isfinite(value).all()), f"{name} holds numbers that are not finite.")
    asked_for = draw_sequences(rng, 300, 5, 4)
    answers = ref.seq2seq_decode(*ref.pad_sequences(asked_for, PAD), learned, BOS, EOS, 6)
    missed = float(np.mean([answer != s[::-1] for answer, s in zip(answers, asked_for, strict=True)]))
    below(
        missed,
        0.05,
        "at least 95 of 100 new sequences should be reversed exactly, token by token.",
        f"Reversed exactly are {100 * (1 - missed):.1f} of 100.",
    )


TRAIN = Exercise(
    name="train",
    title="Learn to reverse",
    functions=("train",),
    hints=(
        "All parts are there. Write down the order in which one batch goes through them.",
        "The source is padded as it was drawn; only the answers are reversed. Keep Adam's state from step to step.",
        "In each turn: draw, pad_sequences, decoder_pairs of the reversed lists, seq2seq_forward, "
        "masked_cross_entropy, "
        "seq2seq_backward, adam_step with the rate of this step.",
    ),
    checks=(
        numeric(
            "losses, step by step",
            2,
            "train",
            reference_losses,
            [Case("four steps", train_case(4)), Case("one step", train_case(1)), Case("no step at all", train_case(0))],
            pick=1,
            result="the list of losses",
        ),
        numeric(
            "the model afterwards",
            2,
            "train",
            reference_losses,
            [Case("three steps", train_case(3))],
            pick=0,
            result="the model",
        ),
        learns_reversal,
        model_kept,
    ),
    mistakes=(
        Mistake(
            name="answers-not-reversed",
            advice="The right answer is the sequence reversed: turn each list round before decoder_pairs pads it.",
            replaces={"train": trainer(turn=lambda s: s)},
        ),
        Mistake(
            name="adam-forgets",
            advice="Adam's state is handed from step to step; an empty one each time makes every step a first step.",
            replaces={"train": trainer(keep=False)},
        ),
        Mistake(
            name="rate-does-not-fall",
            advice="In the second half the rate falls: lr * min(1, 2 * (1 - i / n_steps)).",
            replaces={"train": trainer(falling=False)},
        ),
        Mistake(
            name="one-batch-for-ever",
            advice="Draw a new batch in every step: with one batch the model learns it by heart.",
            replaces={"train": trainer(same_batch=True)},
        ),
        Mistake(
            name="padding-trained",
            advice="Hand the mask of decoder_pairs to the loss: the model must not learn to say padding.",
            replaces={"train": trainer(ones=True)},
        ),
        Mistake(
            name="loss-noted-too-late",
            advice="Each loss is the one before its step, from the same forward pass as the gradient.",
            replaces={"train": trainer(late=True)},
        ),
    ),
)

# --- the picture -----------------------------------------------------------------------------------------------------


def draw_picture(student: Any, figure: Any) -> None:
    """The loss and the share of sequences reversed exactly, as the student's training goes on."""
    left, right = figure.subplots(1, 2)
    steps = (25, 50, 75, 100, 150, 200, 300)
    rng = np.random.default_rng(319)
    start = start_model(rng, 8, 8, 24)
    asked_for = draw_sequences(rng, 300, 5, 4)
    exact: dict[int, list[float]] = {length: [] for length in (2, 3, 4)}
    for n in steps:
        params, losses = items(student.train(start, np.random.default_rng(4), n, 32, 5, 4, 0.015), ("params", "losses"))
        model_now = {name: numbers(entry(params, name, "the model"), None, name) for name in start}
        answers = ref.seq2seq_decode(*ref.pad_sequences(asked_for, PAD), model_now, BOS, EOS, 6)
        hits = [(len(s), answer == s[::-1]) for answer, s in zip(answers, asked_for, strict=True)]
        for length, shares in exact.items():
            shares.append(float(np.mean([hit for size, hit in hits if size == length])))
    left.semilogy(np.arange(1, steps[-1] + 1), numbers(losses, (steps[-1],), "the losses"), color="C0")
    left.axhline(np.log(8), color="0.6", ls=":", lw=0.8, label="all 8 tokens alike")
    left.set(xlabel="training step", ylabel="cross-entropy a token", title="The loss of the longest training")
    left.legend(frameon=False, fontsize=8)
    for length, shares in exact.items():
        right.plot(steps, shares, "o-", label=f"{length} digits")
    right.axhline(0.95, color="0.6", ls=":", lw=0.8, label="asked for")
    right.set(xlabel="steps trained", ylabel="share reversed exactly", title="New sequences, reversed token by token")
    right.set_ylim(-0.03, 1.03)
    right.legend(frameon=False, fontsize=8)


CHAPTER = Chapter(
    id="ch319",
    slug="seq2seq",
    title="Sequence-to-Sequence Models",
    part="Architectures",
    summary="An encoder-decoder with all its gradients, greedy and beam search, attention, and a model that learns to "
    "reverse.",
    builds_on=("ch305", "ch312", "ch318"),
    exercises=(PAD_SEQUENCES, DECODER_PAIRS, LOSS, FORWARD, BACKWARD, GREEDY, BEAM, CONTEXT, TRAIN),
    picture=Picture(title="Learning to reverse", draw=draw_picture),
)
