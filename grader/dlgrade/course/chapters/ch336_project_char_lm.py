"""Checks of chapter 336: a character-level language model, from the text to 0.15 bits below counting triples."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from dlreference.char_lm import (
    char_lm_bits,
    char_lm_gradients,
    char_lm_logits,
    char_lm_sample,
    ngram_bits,
    ngram_probs,
    read,
)
from dlreference.gru import gru_backward as ref_gru_backward
from dlreference.losses import cross_entropy as ref_cross_entropy
from dlreference.losses import log_softmax, softmax
from dlreference.optim import adam_step, clip_global_norm
from dlreference.recurrent import gate

from dlgrade.course.compare import below, entry, holds, items, numbers, same
from dlgrade.course.data.text import hamlet
from dlgrade.course.kinds import Case, GradientCase, Rng, case_of, gradient, numeric, prop, training, unchanged
from dlgrade.course.spec import Chapter, Check, Exercise, Mistake, Picture

Array = np.ndarray[Any, Any]
Params = dict[str, Array]
Make = Callable[..., Any]
GRU = ("W_ih", "W_hh", "b_ih", "b_hh")
KEYS = (*GRU, "W_out", "b_out")
# The trained model must need this many bits per character less than the trigram. docs/projects.md has the 20 seeds.
GAIN = 0.15
WARM_UP = 50
# Adam divides a gradient by its own size, so the rounding of a small gradient grows: trained numbers agree to fewer
# digits than gradients do.
TRAINED: dict[str, float] = {"rtol": 1e-6, "atol": 1e-7}


def floats(x: Any) -> Array:
    return np.asarray(x, dtype=np.float64)


def draw_params(rng: Rng, vocab: int, hidden: int) -> Params:
    """Parameters none of which is a default."""
    shapes: dict[str, tuple[int, ...]] = {
        "W_ih": (3 * hidden, vocab),
        "W_hh": (3 * hidden, hidden),
        "b_ih": (3 * hidden,),
        "b_hh": (3 * hidden,),
        "W_out": (vocab, hidden),
        "b_out": (vocab,),
    }
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


# --- stage 1: from text to windows -----------------------------------------------------------------------------------

LETTERS = "abcdefghijKLMNOP .,;\n"


def draw_text(rng: Rng, kinds: int, length: int) -> tuple[str, str]:
    """A text, and its symbols in an order that is not the sorted one."""
    symbols = "".join(LETTERS[i] for i in rng.permutation(len(LETTERS))[:kinds])
    if list(symbols) == sorted(symbols):
        symbols = symbols[::-1]
    # Every symbol occurs; the first two letters come in the wrong order for sorting by appearance.
    filler = "".join(symbols[i] for i in rng.integers(0, kinds, size=length - kinds))
    return symbols + filler, symbols


def encode(text: str, symbols: str) -> Array:
    return np.array([symbols.index(c) for c in text])


@prop("text to ids and back", 1, "vocabulary", "encode", "decode")
def round_trip(student: Any, rng: Rng) -> None:
    text, _ = draw_text(rng, 8, 60)
    symbols = student.vocabulary(text)
    holds(type(symbols) is str, "`vocabulary` should return a string.")
    ids = numbers(student.encode(text, symbols), (len(text),), "the ids")
    same(student.decode(ids.astype(np.int64), symbols), text, "the decoded text")


VOCABULARY = Exercise(
    name="vocabulary",
    title="Stage 1: characters and their numbers",
    functions=("vocabulary", "encode", "decode"),
    hints=(
        "Which of Python's types keeps everything only once?",
        "sorted(set(text)) is a list of the different characters in order. A dict from character to place makes "
        "encoding quick.",
        "Join the sorted set with ''.join. Encode with {c: i for i, c in enumerate(symbols)}; decode by joining "
        "symbols[i] for every id.",
    ),
    checks=(
        numeric(
            "the different characters, sorted",
            2,
            "vocabulary",
            lambda text: "".join(sorted(set(text))),
            [
                Case("capitals, commas and line ends", lambda rng: (draw_text(rng, 12, 40)[0],)),
                Case("one character, many times", lambda rng: ("aaaa",)),
            ],
            result="the string of characters",
        ),
        numeric(
            "characters to ids",
            2,
            "encode",
            encode,
            [
                Case("symbols in any order", lambda rng: draw_text(rng, 9, 30)),
                Case("a text of one character", lambda rng: ("b", "cab")),
            ],
            result="the array of ids",
        ),
        numeric(
            "ids to characters",
            1,
            "decode",
            lambda ids, symbols: "".join(symbols[i] for i in ids),
            [
                Case("symbols in any order", lambda rng: (rng.integers(0, 7, size=25), draw_text(rng, 7, 10)[1])),
                Case("a list of ids", lambda rng: ([2, 0, 0, 1], "xyz")),
                Case("no ids at all", lambda rng: ([], "xyz")),
            ],
            result="the decoded text",
        ),
        round_trip,
    ),
    mistakes=(
        Mistake(
            name="characters-by-appearance",
            advice="The characters stand in sorted order, not in the order in which the text brings them.",
            replaces={"vocabulary": lambda text: "".join(dict.fromkeys(text))},
        ),
        Mistake(
            name="characters-by-frequency",
            advice="The characters stand in sorted order, not the frequent ones first.",
            replaces={"vocabulary": lambda text: "".join(c for c, _ in Counter(sorted(text)).most_common())},
        ),
        Mistake(
            name="capitals-thrown-away",
            advice="A capital is a character of its own: do not change the text to lower case.",
            replaces={"vocabulary": lambda text: "".join(sorted(set(text.lower())))},
        ),
        Mistake(
            name="ids-counted-from-one",
            advice="The first symbol has the id 0.",
            replaces={"encode": lambda text, symbols: encode(text, symbols) + 1},
        ),
        Mistake(
            name="character-codes-for-ids",
            advice="ord gives a character's code in the computer; its id is its place in symbols.",
            replaces={"encode": lambda text, symbols: np.array([ord(c) for c in text])},
        ),
        Mistake(
            name="symbols-sorted-again",
            advice="The ids follow the order of the symbols as they are given, sorted or not.",
            replaces={"encode": lambda text, symbols: encode(text, "".join(sorted(symbols)))},
        ),
    ),
)


def split_tail(ids: Array, n_tail: int) -> Any:
    ids = np.asarray(ids)
    return ids[:-n_tail], ids[-n_tail:]


def split_shuffled(ids: Array, n_tail: int) -> Any:
    return split_tail(np.random.default_rng(0).permutation(np.asarray(ids)), n_tail)


SPLIT = Exercise(
    name="split_tail",
    title="Stage 1: a tail that nobody learns from",
    functions=("split_tail",),
    hints=(
        "Where in the text does the tail begin?",
        "It begins at index N - n_tail: what is before is for training.",
        "Two slices at cut = len(ids) - n_tail: up to the cut, and from the cut on.",
    ),
    checks=(
        numeric(
            "two parts, in order",
            3,
            "split_tail",
            split_tail,
            [
                Case("a tail of five", lambda rng: (rng.integers(0, 9, size=24), 5)),
                Case("a tail of one", lambda rng: (rng.integers(0, 9, size=7), 1)),
                Case("all but one in the tail", lambda rng: (rng.integers(0, 9, size=6), 5)),
            ],
            result="the pair (train, tail)",
        ),
    ),
    mistakes=(
        Mistake(
            name="tail-learned-as-well",
            advice="The held-out tail must not be in the training part, or it proves memory only.",
            replaces={"split_tail": lambda ids, n_tail: (np.asarray(ids), split_tail(ids, n_tail)[1])},
        ),
        Mistake(
            name="head-held-out",
            advice="The LAST n_tail characters are held out, not the first.",
            replaces={"split_tail": lambda ids, n_tail: (np.asarray(ids)[n_tail:], np.asarray(ids)[:n_tail])},
        ),
        Mistake(
            name="characters-shuffled",
            advice="A text is cut in one place and stays in order: single characters drawn at random are no text.",
            replaces={"split_tail": split_shuffled},
        ),
        Mistake(
            name="parts-exchanged",
            advice="The training part comes first, the tail second.",
            replaces={"split_tail": lambda ids, n_tail: split_tail(ids, n_tail)[::-1]},
        ),
    ),
)


def windows_with(kind: str = "right") -> Make:
    def batches(ids: Any, batch_size: int, length: int) -> Any:
        ids = np.asarray(ids)
        count = (len(ids) - 1) // (batch_size * length)
        k, b, t = np.ogrid[:count, :batch_size, :length]
        place = b * count * length + k * length + t
        if kind == "interleaved":
            place = k * batch_size * length + b * length + t
        if kind == "overlapping":
            place = b * count * length + k * (length - 1) + t
        if kind == "streams-first":
            place = place.transpose(1, 0, 2)
        targets = ids[place] if kind == "unshifted" else ids[place + 1]
        if kind == "turned":
            targets = np.roll(ids[place], -1, axis=2)
        if kind == "two-ahead":
            targets = ids[(place + 2) % len(ids)]
        return ids[place], targets

    return batches


stream_batches = windows_with()


def stream_case(size: int, batch: int, length: int) -> Any:
    # Different numbers everywhere: a wrong place is a wrong number.
    return lambda rng: (rng.permutation(size), batch, length)


STREAMS = Exercise(
    name="stream_batches",
    title="Stage 1: streams of windows",
    functions=("stream_batches",),
    hints=(
        "Draw the text as one line and cut it into batch_size pieces. Which characters are the second window of the "
        "second piece?",
        "Reshape the used part to (batch_size, K, length): a row is a stream. Which axis must come first in the end?",
        "K = (N - 1) // (batch_size * length); take that many characters from index 0 for the inputs and from index 1 "
        "for the targets; reshape as above and swap the first two axes.",
    ),
    checks=(
        numeric(
            "the inputs",
            3,
            "stream_batches",
            stream_batches,
            [
                Case("three streams of five windows", stream_case(64, 3, 4)),
                Case("one stream", stream_case(10, 1, 3)),
                Case("windows of one character", stream_case(9, 2, 1)),
            ],
            pick=0,
            result="the array of inputs",
        ),
        numeric(
            "the targets",
            3,
            "stream_batches",
            stream_batches,
            [
                Case("three streams of five windows", stream_case(64, 3, 4)),
                Case("a list of ids", lambda rng: (rng.permutation(30).tolist(), 2, 5)),
            ],
            pick=1,
            result="the array of targets",
        ),
        numeric(
            "the end of the text",
            1,
            "stream_batches",
            stream_batches,
            [
                Case("the last character is only a target", stream_case(25, 2, 4)),
                Case("one character too few for another window", stream_case(24, 2, 4)),
            ],
        ),
    ),
    mistakes=(
        Mistake(
            name="targets-not-shifted",
            advice="The target is the NEXT character; a network that shall say what it was just told learns to copy.",
            replaces={"stream_batches": windows_with("unshifted")},
        ),
        Mistake(
            name="targets-two-ahead",
            advice="The target is the very next character, one place further, not two.",
            replaces={"stream_batches": windows_with("two-ahead")},
        ),
        Mistake(
            name="targets-turned-inside-the-window",
            advice="After a window's last character comes the first one of the next window, not that of its own.",
            replaces={"stream_batches": windows_with("turned")},
        ),
        Mistake(
            name="streams-not-contiguous",
            advice="Stream b must go on in window k + 1 where it stopped in window k; your windows lie side by side in "
            "the text, and a carried state would belong to another place.",
            replaces={"stream_batches": windows_with("interleaved")},
        ),
        Mistake(
            name="windows-overlap",
            advice="The next window begins one character after the last one of this window: none is read twice.",
            replaces={"stream_batches": windows_with("overlapping")},
        ),
        Mistake(
            name="streams-before-windows",
            advice="The windows are the first axis and the streams the second: inputs[k] is one batch.",
            replaces={"stream_batches": windows_with("streams-first")},
        ),
    ),
)

# --- stage 2: counting -----------------------------------------------------------------------------------------------


def draw_ids(rng: Rng, size: int, vocab: int) -> Array:
    """Ids of which the low ones are frequent, and the last one never comes."""
    return np.minimum(rng.integers(0, vocab - 1, size=size), rng.integers(0, vocab - 1, size=size))


def ngram_with(kind: str) -> Make:
    def probs_of(ids: Any, n: int, vocab_size: int) -> Array:
        ids = np.asarray(ids)
        probs = floats(np.full(vocab_size, 1.0 / vocab_size))
        uniform = probs
        for k in range(1, n + 1):
            counts = np.zeros((vocab_size,) * k)
            np.add.at(counts, tuple(ids[i : len(ids) - k + 1 + i] for i in range(k)), 1.0)
            total, kinds = counts.sum(axis=-1, keepdims=True), (counts > 0).sum(axis=-1, keepdims=True)
            shorter = probs
            if kind == "wrong-end" and k == 3:
                shorter = probs[:, None, :]
            if kind == "unsmoothed":
                shorter = 0 * probs
            if kind == "uniform-below":
                shorter = uniform
            weight: Any = vocab_size if kind == "all-kinds" else 1.0 if kind == "one-kind" else kinds
            if kind == "add-one":
                weight, shorter = vocab_size, uniform
            mixed = (counts + weight * shorter) / np.maximum(total + weight, 1)
            if kind == "unsmoothed":
                mixed = counts / np.maximum(total, 1)
            probs = np.where(total > 0, mixed, uniform if kind == "unseen-uniform" else shorter)
        return probs.transpose(*range(1, n), 0) if kind == "symbol-first" else probs

    return probs_of


def count_case(n: int, size: int = 60, vocab: int = 5) -> Any:
    return lambda rng: (draw_ids(rng, size, vocab), n, vocab)


@prop("probabilities sum to one, seen or not", 1, "ngram_probs")
def rows_sum(student: Any, rng: Rng) -> None:
    for n in (1, 2, 3):
        probs = numbers(student.ngram_probs(draw_ids(rng, 30, 5), n, 5), (5,) * n, "the probabilities")
        same(probs.sum(axis=-1), np.ones((5,) * (n - 1)), f"for n = {n}, the sum over the characters in every context")
        holds(bool((probs > 0).all()), "a character that has not been seen still has a probability above zero.")


NGRAM_PROBS = Exercise(
    name="ngram_probs",
    title="Stage 2: counting pairs and triples",
    functions=("ngram_probs",),
    hints=(
        "Write the case n = 1 first. What are total and kinds there?",
        "The counts of k characters in a row are an array with k axes; total and kinds are sums along the last one, "
        "of the counts and of (counts > 0).",
        "p_(k-1) has one axis less, the first: broadcasting supplies it. Where total is 0, np.where takes p_(k-1).",
    ),
    checks=(
        numeric(
            "characters alone",
            2,
            "ngram_probs",
            ngram_probs,
            [
                Case("one character never comes", count_case(1)),
                Case("a single character", lambda rng: ([2], 1, 4)),
            ],
            result="the array of probabilities",
        ),
        numeric(
            "pairs",
            2,
            "ngram_probs",
            ngram_probs,
            [
                Case("one context was never seen", count_case(2)),
                Case("the last character is followed by nothing", lambda rng: ([0, 0, 1, 0, 1, 2], 2, 3)),
            ],
            result="the table of probabilities",
        ),
        numeric(
            "triples",
            3,
            "ngram_probs",
            ngram_probs,
            [
                Case("a short text, many contexts never seen", count_case(3, 25)),
                Case("a longer text", count_case(3, 400, 6)),
            ],
            result="the array of probabilities",
        ),
        rows_sum,
    ),
    mistakes=(
        Mistake(
            name="counts-not-smoothed",
            advice="What was never seen is not impossible: mix in kinds(h) times the shorter context's probability.",
            replaces={"ngram_probs": ngram_with("unsmoothed")},
        ),
        Mistake(
            name="vocabulary-size-for-kinds",
            advice="kinds(h) is how many DIFFERENT characters followed h, not the size of the vocabulary. (Adding one "
            "to every count is another smoothing, and a worse one.)",
            replaces={"ngram_probs": ngram_with("all-kinds")},
            variants=({"ngram_probs": ngram_with("add-one")},),
        ),
        Mistake(
            name="kinds-left-out",
            advice="The shorter context enters kinds(h) times, not once.",
            replaces={"ngram_probs": ngram_with("one-kind")},
        ),
        Mistake(
            name="always-mixed-with-uniform",
            advice="p_k is mixed with p_(k-1), the estimate from the shorter context; 1 / V is only the beginning.",
            replaces={"ngram_probs": ngram_with("uniform-below")},
        ),
        Mistake(
            name="unseen-context-uniform",
            advice="After a context that was never seen, the shorter context decides, not 1 / V.",
            replaces={"ngram_probs": ngram_with("unseen-uniform")},
        ),
        Mistake(
            name="wrong-end-of-the-context-dropped",
            advice="The shorter context loses its FIRST character, the oldest; the one just before c matters most.",
            replaces={"ngram_probs": ngram_with("wrong-end")},
        ),
        Mistake(
            name="character-on-the-first-axis",
            advice="The predicted character is the last axis; the context comes before it, the oldest first.",
            replaces={"ngram_probs": ngram_with("symbol-first")},
        ),
    ),
)


def judged_case(n: int, warm_up: int, vocab: int = 4, size: int = 30) -> Any:
    return lambda rng: (
        softmax(rng.normal(size=(vocab,) * n)),
        rng.integers(0, vocab, size=size),
        warm_up,
    )


def ngram_bits_with(kind: str) -> Make:
    def bits(probs: Any, ids: Any, warm_up: int) -> float:
        probs, ids = floats(probs), np.asarray(ids)
        n = probs.ndim
        start = {"all-counted": n - 1, "one-later": warm_up + 1}.get(kind, warm_up)
        index = [ids[start - back : len(ids) - back] for back in range(n - 1, -1, -1)]
        if kind == "reversed":
            index = index[::-1]
        losses = -np.log2(probs[tuple(index)])
        if kind == "nats":
            losses = losses * np.log(2)
        if kind == "probabilities-averaged":
            return float(-np.log2(np.mean(2.0**-losses)))
        return float(losses.sum() if kind == "sum" else losses.mean())

    return bits


def rare_case(rng: Rng) -> tuple[Any, ...]:
    return np.array([0.4, 1e-11, 0.6 - 1e-11]), rng.permutation([0, 0, 1, 2, 2, 2]), 0


NGRAM_BITS = Exercise(
    name="ngram_bits",
    title="Stage 2: bits per character",
    functions=("ngram_bits",),
    hints=(
        "For one character of a text: which entry of probs is its probability?",
        "For n = 3 it is probs[ids[i - 2], ids[i - 1], ids[i]]. Arrays as indices look all of them up at once.",
        "For every i from warm_up on take that entry; the mean of -np.log2 of them is the answer.",
    ),
    checks=(
        numeric(
            "pairs and triples",
            3,
            "ngram_bits",
            ngram_bits,
            [
                Case("triples, a long warm-up", judged_case(3, 7)),
                Case("pairs", judged_case(2, 3)),
                Case("the shortest warm-up for triples", judged_case(3, 2)),
                Case("the last character only", judged_case(2, 29)),
            ],
        ),
        numeric(
            "characters alone",
            1,
            "ngram_bits",
            ngram_bits,
            [
                Case("no context", judged_case(1, 4)),
                Case("no warm-up", judged_case(1, 0)),
                Case("a character that was thought almost impossible", rare_case),
            ],
        ),
    ),
    mistakes=(
        Mistake(
            name="n-gram-nats",
            advice="Bits are asked for: take the logarithm to base 2.",
            replaces={"ngram_bits": ngram_bits_with("nats")},
        ),
        Mistake(
            name="n-gram-sum",
            advice="Bits per CHARACTER is the mean over the characters, not the sum.",
            replaces={"ngram_bits": ngram_bits_with("sum")},
        ),
        Mistake(
            name="context-read-backwards",
            advice="The context comes first, the oldest character on the first axis; the predicted one is the last "
            "index.",
            replaces={"ngram_bits": ngram_bits_with("reversed")},
        ),
        Mistake(
            name="n-gram-warm-up-counted",
            advice="The first warm_up characters are only read: counting begins at ids[warm_up].",
            replaces={"ngram_bits": ngram_bits_with("all-counted")},
        ),
        Mistake(
            name="probabilities-averaged",
            advice="Take the mean of the logarithms, not the logarithm of the mean.",
            replaces={"ngram_bits": ngram_bits_with("probabilities-averaged")},
        ),
    ),
)

# --- stage 3: the network and its gradients --------------------------------------------------------------------------


def init_with(
    wide: float = 5.0, wide_state: float = 1.0, low: float = -1.0, normal: bool = False, scale: float = -0.5,
    state_first: bool = False, drawn_bias: bool = False,
) -> Make:  # fmt: skip
    def made(vocab_size: int, hidden: int, rng: Any) -> Params:
        s = float(hidden) ** scale

        def drawn(factor: float, *shape: int) -> Array:
            if normal:
                return floats(rng.normal(0.0, factor * s, size=shape))
            return floats(rng.uniform(low * factor * s, factor * s, size=shape))

        params = {"W_hh": drawn(wide_state, 3 * hidden, hidden)} if state_first else {}
        params["W_ih"] = drawn(wide, 3 * hidden, vocab_size)
        if not state_first:
            params["W_hh"] = drawn(wide_state, 3 * hidden, hidden)
        params["W_out"] = drawn(1.0, vocab_size, hidden)
        for name, width in (("b_ih", 3 * hidden), ("b_hh", 3 * hidden), ("b_out", vocab_size)):
            params[name] = drawn(1.0, width) if drawn_bias else np.zeros(width)
        return params

    return made


init_params = init_with()

INIT = Exercise(
    name="init_params",
    title="Stage 3: a new model",
    functions=("init_params",),
    hints=(
        "Three draws. Which shape and which bound has each?",
        "s is one over the root of hidden; W_ih is drawn between -5 s and 5 s, the two others between -s and s.",
        "Draw W_ih, W_hh and W_out in this order with rng.uniform(-a, a, size=shape), and add zeros for the three "
        "biases.",
    ),
    checks=(
        numeric(
            "all parameters",
            4,
            "init_params",
            init_params,
            [
                Case("seven characters, four units", lambda rng: (7, 4, rng)),
                Case("as many characters as units", lambda rng: (6, 6, rng)),
                Case("sizes of one", lambda rng: (1, 1, rng)),
            ],
            result="the dict of parameters",
        ),
    ),
    mistakes=(
        Mistake(
            name="input-weights-too-small",
            advice="W_ih is drawn five times as wide: only one of its columns speaks in each step.",
            replaces={"init_params": init_with(wide=1.0)},
        ),
        Mistake(
            name="state-weights-too-wide",
            advice="Only W_ih is five times as wide: a state is full of numbers that add up.",
            replaces={"init_params": init_with(wide_state=5.0)},
        ),
        Mistake(
            name="weights-all-positive",
            advice="The draws lie between -a and a, not between 0 and a.",
            replaces={"init_params": init_with(low=0.0)},
        ),
        Mistake(
            name="normal-draws",
            advice="The weights are drawn with rng.uniform, not with rng.normal.",
            replaces={"init_params": init_with(normal=True)},
        ),
        Mistake(
            name="root-of-hidden-forgotten",
            advice="s is one over the ROOT of hidden.",
            replaces={"init_params": init_with(scale=-1.0)},
        ),
        Mistake(
            name="state-weights-drawn-first",
            advice="The draws come in the order W_ih, W_hh, W_out.",
            replaces={"init_params": init_with(state_first=True)},
        ),
        Mistake(
            name="biases-drawn",
            advice="The biases begin at zero; nothing is drawn for them.",
            replaces={"init_params": init_with(drawn_bias=True)},
        ),
    ),
)


def gru_with(kind: str) -> Make:
    """The states of a GRU with something wrong; there is no cache."""

    def wrong(ids: Any, h0: Any, params: Params) -> Any:
        ids = np.asarray(ids)
        W_ih, W_hh, b_ih, b_hh = (floats(params[name]) for name in GRU)
        h, hidden = floats(h0), W_hh.shape[1]
        if kind == "start-ignored":
            h = np.zeros_like(h)
        hs = []
        for t in range(ids.shape[1]):
            if kind == "forgets":
                h = floats(h0)
            u, v = W_ih.T[ids[:, t]] + b_ih, h @ W_hh.T + b_hh
            if kind == "one-bias":
                v = v - b_hh
            gates = gate(u[:, : 2 * hidden] + v[:, : 2 * hidden])
            r, z = gates[:, :hidden], gates[:, hidden:]
            if kind == "gates-exchanged":
                r, z = z, r
            recurrent = v[:, 2 * hidden :]
            if kind == "reset-first":
                a = u[:, 2 * hidden :] + (r * h) @ W_hh[2 * hidden :].T + b_hh[2 * hidden :]
            elif kind == "bias-outside":
                a = u[:, 2 * hidden :] + r * (recurrent - b_hh[2 * hidden :]) + b_hh[2 * hidden :]
            elif kind == "no-reset":
                a = u[:, 2 * hidden :] + recurrent
            else:
                a = u[:, 2 * hidden :] + r * recurrent
            n = gate(a) if kind == "sigmoid" else np.tanh(a)
            h = z * n + (1 - z) * h if kind == "update-reversed" else (1 - z) * n + z * h
            hs.append(h)
        return np.stack(hs, axis=1), None

    return wrong


def read_case(batch: int, length: int, vocab: int = 6, hidden: int = 4, lists: bool = False) -> Any:
    def draw(rng: Rng) -> tuple[Any, ...]:
        ids, h0 = rng.integers(0, vocab, size=(batch, length)), rng.normal(size=(batch, hidden))
        params = draw_params(rng, vocab, hidden)
        return (ids.tolist(), h0.tolist(), params) if lists else (ids, h0, params)

    return draw


@prop("a text in two windows, the state carried", 2, "gru_forward")
def read_in_two(student: Any, rng: Rng) -> None:
    ids, h0, params = read_case(2, 7)(rng)
    want = read(ids, h0, params)[0]
    answer = student.call("gru_forward", ids[:, :3], h0, params, keep=(1,))
    first = numbers(items(answer, ("hs", "cache"))[0], (2, 3, 4), "the states of the first window")
    answer = student.call("gru_forward", ids[:, 3:], first[:, -1], params, keep=(1,))
    with case_of("the second window goes on from the first one's last state", student.transcript[-1][0]):
        same(items(answer, ("hs", "cache"))[0], want[:, 3:], "the states of the second window")


GRU_FORWARD = Exercise(
    name="gru_forward",
    title="Stage 3: a network with a memory",
    functions=("gru_forward",),
    hints=(
        "What is a matrix times a one-hot vector? No product is needed for the input at all.",
        "W_ih.T[ids] is (B, T, 3H), for all steps at once. Then a loop over t, in which h is replaced in each step.",
        "In the loop: v from h; the first two blocks of u + v through the sigmoid; tanh of u_n plus r times v_n; the "
        "new h; remember h, r, z, n and v_n of every step for the way back.",
    ),
    checks=(
        numeric(
            "the states",
            5,
            "gru_forward",
            read,
            [
                Case("three streams of five characters", read_case(3, 5)),
                Case("as many streams as characters", read_case(4, 4, 4, 4)),
                Case("one character of one stream", read_case(1, 1)),
                Case("lists", read_case(2, 3, lists=True)),
            ],
            pick=0,
            result="the array of states",
            keep=(1,),
        ),
        read_in_two,
        unchanged(1, {"gru_forward": read_case(2, 3)}, keep=(1,)),
    ),
    mistakes=(
        Mistake(
            name="start-state-ignored",
            advice="The first step begins with h0, the state carried over from the window before, not with zeros.",
            replaces={"gru_forward": gru_with("start-ignored")},
        ),
        Mistake(
            name="state-forgotten-at-each-step",
            advice="Each step starts from the state that the step before it made; yours starts from h0 again.",
            replaces={"gru_forward": gru_with("forgets")},
        ),
        Mistake(
            name="update-gate-reversed",
            advice="z near 1 keeps the OLD state: (1 - z) * n + z * h.",
            replaces={"gru_forward": gru_with("update-reversed")},
        ),
        Mistake(
            name="reset-and-update-exchanged",
            advice="The first block of H rows is r (reset), the second z (update).",
            replaces={"gru_forward": gru_with("gates-exchanged")},
        ),
        Mistake(
            name="reset-before-the-product",
            advice="r multiplies v_n, which is h times its matrix plus bias; yours multiplies h before the product.",
            replaces={"gru_forward": gru_with("reset-first")},
        ),
        Mistake(
            name="bias-outside-of-the-reset",
            advice="v_n includes its bias, and r multiplies all of it.",
            replaces={"gru_forward": gru_with("bias-outside")},
        ),
        Mistake(
            name="reset-gate-unused",
            advice="The new content is tanh(u_n + r * v_n): the reset gate is missing.",
            replaces={"gru_forward": gru_with("no-reset")},
        ),
        Mistake(
            name="sigmoid-for-the-new-content",
            advice="r and z are sigmoids, but n is a tanh.",
            replaces={"gru_forward": gru_with("sigmoid")},
        ),
        Mistake(
            name="second-bias-forgotten",
            advice="There are two biases: b_ih in u and b_hh in v.",
            replaces={"gru_forward": gru_with("one-bias")},
        ),
    ),
)


def gru_backward(dhs: Array, cache: Any) -> Any:
    _, dh0, grads = ref_gru_backward(dhs, cache)
    return grads, dh0


def gru_backward_with(kind: str) -> dict[str, Make]:
    def wrong(dhs: Any, cache: Any) -> Any:
        x, r, z, n, v_n, h, params = cache
        dhs = floats(dhs).swapaxes(0, 1)
        steps, batch, hidden = dhs.shape
        by_input, by_state = np.empty((2, steps, batch, 3, hidden))
        dh_next = np.zeros((batch, hidden))
        for t in reversed(range(steps)):
            dh = dh_next + (dhs[t] if kind != "last-only" or t == steps - 1 else 0.0)
            da_n = dh * (1 - z[t]) * (1.0 if kind == "no-slope" else 1 - n[t] ** 2)
            difference = n[t] - h[t] if kind == "sign" else -n[t] if kind == "old-state-missing" else h[t] - n[t]
            da_z = dh * difference * z[t] * (1 - z[t])
            da_r = da_n * v_n[t] * r[t] * (1 - r[t])
            by_input[t] = np.stack([da_r, da_z, da_n], axis=1)
            by_state[t] = np.stack([da_r, da_z, da_n if kind == "no-reset" else r[t] * da_n], axis=1)
            through = by_state[t].reshape(batch, -1) @ params["W_hh"]
            dh_next = through if kind == "no-skip" else dh * z[t] if kind == "skip-only" else dh * z[t] + through
            if kind == "cut":
                dh_next = 0 * dh_next
        du, dv = by_input.reshape(steps * batch, -1), by_state.reshape(steps * batch, -1)
        one_hot = x.reshape(steps * batch, -1)
        dW = du.T @ one_hot
        if kind == "overwritten":
            dW = np.zeros_like(dW)
            dW[:, one_hot.argmax(axis=1)] = du.T
        before = h[1:] if kind == "states-after" else h[:-1]
        grads = {"W_ih": dW, "W_hh": dv.T @ before.reshape(-1, hidden), "b_ih": du.sum(axis=0), "b_hh": dv.sum(axis=0)}
        if kind == "averaged":
            grads = {name: grad / (steps * batch) for name, grad in grads.items()}
        return grads, dh_next

    return {"gru_forward": read, "gru_backward": wrong}


def read_inputs(batch: int, length: int, vocab: int = 6, hidden: int = 4, scale: float = 1.0, far: float = 0.0) -> Any:
    """Inputs of a gradient; with `far`, a start state of that size, and weights so small that the gates stay open."""

    def draw(rng: Rng) -> dict[str, Any]:
        ids, h0, params = read_case(batch, length, vocab, hidden)(rng)
        if far:
            h0, params["W_hh"] = far * rng.uniform(1, 2, size=h0.shape), params["W_hh"] / far
        dout = scale * rng.normal(size=(batch, length, hidden))
        return {"ids": ids, "h0": h0, "params": {name: params[name] for name in GRU}, "dout": dout}

    return draw


def student_gru_grads(student: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    answer = student.call("gru_forward", inputs["ids"], inputs["h0"], inputs["params"], keep=(1,))
    back = student.gru_backward(inputs["dout"], items(answer, ("hs", "cache"))[1])
    found, dh0 = items(back, ("grads", "dh0"))
    return {"h0": dh0, **{f"params.{name}": entry(found, name, "the dict of gradients") for name in GRU}}


def right_gru_grads(inputs: dict[str, Any]) -> dict[str, Any]:
    grads, dh0 = gru_backward(inputs["dout"], read(inputs["ids"], inputs["h0"], inputs["params"])[1])
    return {"h0": dh0, **{f"params.{name}": grads[name] for name in GRU}}


def gru_gradient(name: str, points: int, cases: list[GradientCase]) -> Check:
    return gradient(
        name,
        points,
        ("gru_forward", "gru_backward"),
        cases,
        value=lambda student, i: student.call("gru_forward", i["ids"], i["h0"], i["params"], keep=(1,))[0],
        grads=student_gru_grads,
        reference=right_gru_grads,
        names={"h0": "the gradient of the start state h0"},
    )


@prop("a cache serves twice, and dhs stays as it is", 1, "gru_forward", "gru_backward")
def cache_serves_twice(student: Any, rng: Rng) -> None:
    ids, h0, params = read_case(2, 4)(rng)
    cache = items(student.call("gru_forward", ids, h0, params, keep=(1,)), ("hs", "cache"))[1]
    _, right = read(ids, h0, params)
    for turn in ("first", "second"):
        dhs = rng.normal(size=(2, 4, 4))
        found = items(student.gru_backward(dhs, cache), ("grads", "dh0"))
        with case_of(f"the {turn} use of one cache", student.transcript[-1][0]):
            holds(0 not in student.changed, "`gru_backward` modified dhs in place; work on a copy or a new array.")
            same(found, gru_backward(dhs, right), "the pair (grads, dh0)")


GRU_BACKWARD = Exercise(
    name="gru_backward",
    title="Stage 3: back through time",
    functions=("gru_backward",),
    hints=(
        "A state is used twice: by whatever reads it at its own step, and by the step after it. What is its whole "
        "gradient?",
        "Loop over t from the last to the first with a variable for what the later step sent back. At each step: "
        "da_n, da_z, da_r by the formulas, then du and dv.",
        "dh_next = dh * z + dv @ W_hh. After the loop W_hh gets dv^T times the states BEFORE the steps, the biases get "
        "sums, and W_ih gets du^T times the one-hot rows of the ids.",
    ),
    checks=(
        gru_gradient(
            "gradients through time",
            7,
            [
                GradientCase("three streams of five characters", read_inputs(3, 5)),
                GradientCase("as many streams as characters", read_inputs(4, 4, 4, 4)),
                GradientCase("one character of one stream", read_inputs(1, 1)),
                GradientCase("one character again and again", read_inputs(2, 6, 1, 3)),
            ],
        ),
        gru_gradient(
            "exact, not nearly",
            3,
            [
                GradientCase("a large dhs", read_inputs(2, 4, scale=1e6)),
                GradientCase("a large start state", read_inputs(2, 3, far=1e4)),
            ],
        ),
        cache_serves_twice,
    ),
    mistakes=(
        Mistake(
            name="no-gradient-through-time",
            advice="A step's state is also the next step's input: add what the next step sends back to dhs[:, t].",
            replaces=gru_backward_with("cut"),
        ),
        Mistake(
            name="last-step-only",
            advice="There is a gradient from outside at every step, dhs[:, t], not only at the last.",
            replaces=gru_backward_with("last-only"),
        ),
        Mistake(
            name="straight-way-forgotten",
            advice="h also goes straight on, times z: the state before gets dh * z plus what comes through v.",
            replaces=gru_backward_with("no-skip"),
        ),
        Mistake(
            name="only-the-straight-way",
            advice="h also feeds the gates: the state before gets what comes through v, too.",
            replaces=gru_backward_with("skip-only"),
        ),
        Mistake(
            name="reset-gate-skipped-on-the-way-back",
            advice="v_n went through the reset gate: v's last block gets r * da_n.",
            replaces=gru_backward_with("no-reset"),
        ),
        Mistake(
            name="slope-of-tanh-forgotten",
            advice="n is a tanh: its gradient carries 1 - n^2.",
            replaces=gru_backward_with("no-slope"),
        ),
        Mistake(
            name="update-gradient-sign",
            advice="More z means more h and less n: the factor is h - n.",
            replaces=gru_backward_with("sign"),
        ),
        Mistake(
            name="old-state-missing-in-z",
            advice="z multiplies h as well as it takes from n: the factor is h - n, not -n.",
            replaces=gru_backward_with("old-state-missing"),
        ),
        Mistake(
            name="repeated-characters-overwritten",
            advice="A character that comes twice uses one column twice: its gradients are added, not overwritten.",
            replaces=gru_backward_with("overwritten"),
        ),
        Mistake(
            name="states-after-the-step",
            advice="W_hh was multiplied with the state BEFORE each step.",
            replaces=gru_backward_with("states-after"),
        ),
        Mistake(
            name="averaged-in-the-layer",
            advice="Gradients are sums over batch and time here: the 1 / (B T) is in what comes from the loss.",
            replaces=gru_backward_with("averaged"),
        ),
    ),
)


def forward_with(start: bool = True, bias: bool = True, last: Callable[[Array], Array] = lambda hs: hs[:, -1]) -> Make:
    def forward(ids: Any, h0: Any, params: Params) -> Any:
        hs, _ = read(ids, floats(h0) if start else None, params)
        logits = hs @ floats(params["W_out"]).T + (floats(params["b_out"]) if bias else 0.0)
        return logits, last(hs)

    return forward


FORWARD = Exercise(
    name="forward",
    title="Stage 3: logits for the next character",
    functions=("forward",),
    hints=(
        "The GRU gives (B, T, H). What turns H numbers into one for each character?",
        "The output layer is the same at every step, so one product does for the whole array hs.",
        "hs @ W_out.T + b_out are the logits; hs[:, -1] is the state to go on with.",
    ),
    checks=(
        numeric(
            "the logits",
            2,
            "forward",
            char_lm_logits,
            [
                Case("three streams of five characters", read_case(3, 5)),
                Case("as many units as characters", read_case(2, 3, 4, 4)),
                Case("one character of one stream", read_case(1, 1)),
            ],
            pick=0,
            result="the array of logits",
        ),
        numeric(
            "the last state",
            1,
            "forward",
            char_lm_logits,
            [Case("two streams", read_case(2, 4)), Case("one character", read_case(1, 1))],
            pick=1,
            result="the last state",
        ),
        unchanged(1, {"forward": read_case(2, 3)}),
    ),
    mistakes=(
        Mistake(
            name="every-window-from-zeros",
            advice="Hand h0 on to the GRU: it is what the model remembers of the text before.",
            replaces={"forward": forward_with(start=False)},
        ),
        Mistake(
            name="output-bias-forgotten",
            advice="The logits get b_out added.",
            replaces={"forward": forward_with(bias=False)},
        ),
        Mistake(
            name="first-state-returned",
            advice="The next window goes on from the state after the LAST character, hs[:, -1].",
            replaces={"forward": forward_with(last=lambda hs: hs[:, 0])},
        ),
        Mistake(
            name="all-states-returned",
            advice="Only the state after the last character is asked for, (B, H).",
            replaces={"forward": forward_with(last=lambda hs: hs)},
        ),
    ),
)


def cross_entropy(logits: Any, targets: Any) -> Any:
    logits = floats(logits)
    loss, dlogits = ref_cross_entropy(logits.reshape(-1, logits.shape[-1]), np.asarray(targets).reshape(-1))
    return loss, dlogits.reshape(logits.shape)


def ce_case(batch: int, length: int, vocab: int, scale: float = 2.0) -> Any:
    """Logits well apart from each other, so that huge ones leave one probability near 1, and targets not always it."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        spread = np.linspace(-1, 1, vocab) + rng.uniform(0, 0.5 / vocab, size=(batch, length, vocab))
        return scale * rng.permuted(spread, axis=-1), rng.integers(0, vocab, size=(batch, length))

    return draw


def ce_unstable(logits: Any, targets: Any) -> Any:
    logits, targets = floats(logits), np.asarray(targets)
    with np.errstate(all="ignore"):
        p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        chosen = np.take_along_axis(p, targets[:, :, None], axis=-1)
        return -np.mean(np.log(chosen)), (p - np.eye(p.shape[-1])[targets]) / targets.size


def ce_scaled(loss: Callable[[Array], float], grad: Callable[[Array], float]) -> Make:
    def scaled(logits: Any, targets: Any) -> Any:
        value, dlogits = cross_entropy(logits, targets)
        return value * loss(np.asarray(targets)), dlogits * grad(np.asarray(targets))

    return scaled


CES = [
    Case("three streams of four characters", ce_case(3, 4, 5)),
    Case("as many characters as steps", ce_case(2, 4, 4)),
    Case("one prediction", ce_case(1, 1, 3)),
]

CROSS_ENTROPY = Exercise(
    name="cross_entropy",
    title="Stage 3: the loss of all predictions",
    functions=("cross_entropy",),
    hints=(
        "It is chapter 305's cross-entropy, for B * T predictions at once.",
        "log p is the shifted logit minus the logarithm of the sum of the shifted exponentials, all along the last "
        "axis.",
        "np.take_along_axis with targets[:, :, None] picks each target's log p. The gradient is exp(log p), minus 1 at "
        "the targets, divided by the number of targets.",
    ),
    checks=(
        numeric("the loss", 2, "cross_entropy", cross_entropy, CES, pick=0, result="the loss"),
        numeric("its gradient", 1, "cross_entropy", cross_entropy, CES, pick=1, result="the gradient"),
        numeric(
            "huge logits",
            1,
            "cross_entropy",
            cross_entropy,
            [Case("logits of ten thousand", ce_case(2, 3, 4, 1e4))],
            result="the pair (loss, dlogits)",
        ),
        unchanged(1, {"cross_entropy": ce_case(2, 3, 4)}),
    ),
    mistakes=(
        Mistake(
            name="logits-not-shifted",
            advice="exp overflows: subtract the maximum first, and work with log p directly.",
            replaces={"cross_entropy": ce_unstable},
        ),
        Mistake(
            name="loss-summed",
            advice="The loss is the mean over all B * T predictions, not their sum.",
            replaces={"cross_entropy": ce_scaled(lambda y: y.size, lambda y: y.size)},
        ),
        Mistake(
            name="summed-over-time",
            advice="The mean runs over the batch AND over time; yours is divided by B only.",
            replaces={"cross_entropy": ce_scaled(lambda y: y.shape[1], lambda y: y.shape[1])},
        ),
        Mistake(
            name="gradient-not-divided",
            advice="The loss is a mean over B * T predictions, so its gradient carries 1 / (B T).",
            replaces={"cross_entropy": ce_scaled(lambda y: 1.0, lambda y: y.size)},
            variants=({"cross_entropy": ce_scaled(lambda y: 1.0, lambda y: y.shape[1])},),
        ),
        Mistake(
            name="loss-in-bits",
            advice="The loss that is trained is in nats, with the natural logarithm; bits come in the evaluation.",
            replaces={"cross_entropy": ce_scaled(lambda y: 1 / np.log(2), lambda y: 1.0)},
            variants=({"cross_entropy": ce_scaled(lambda y: 1 / np.log(2), lambda y: 1 / np.log(2))},),
        ),
        Mistake(
            name="one-hot-not-subtracted",
            advice="The gradient is p minus one-hot: subtract 1 at the target.",
            replaces={
                "cross_entropy": lambda z, y: (cross_entropy(z, y)[0], softmax(floats(z)) / np.size(y)),
            },
        ),
    ),
)


def loss_and_grads(params: Params, inputs: Any, targets: Any, h0: Any) -> Any:
    return char_lm_gradients(params, inputs, targets, h0)[:3]


def window_inputs(batch: int, length: int, vocab: int = 6, hidden: int = 4, offset: float = 0.0) -> Any:
    def draw(rng: Rng) -> dict[str, Any]:
        inputs, targets = rng.integers(0, vocab, size=(2, batch, length))
        params = draw_params(rng, vocab, hidden)
        params["b_out"] = params["b_out"] + offset
        return {"params": params, "inputs": inputs, "targets": targets, "h0": rng.normal(size=(batch, hidden))}

    return draw


def window_call(student: Any, i: dict[str, Any]) -> tuple[Any, ...]:
    answer = student.loss_and_grads(i["params"], i["inputs"], i["targets"], i["h0"])
    return items(answer, ("loss", "grads", "h_last"))


def student_window_grads(student: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    grads = window_call(student, inputs)[1]
    holds(type(grads) is dict, "the second item of what `loss_and_grads` returns should be a dict.")
    holds(
        set(grads) == set(KEYS),
        "the gradients should have exactly the keys of params.",
        f"Expected {sorted(KEYS)}, got {sorted(map(str, grads))}.",
    )
    return {f"params.{name}": grads[name] for name in KEYS}


def right_window_grads(i: dict[str, Any]) -> dict[str, Any]:
    grads = loss_and_grads(i["params"], i["inputs"], i["targets"], i["h0"])[1]
    return {f"params.{name}": grads[name] for name in KEYS}


def window_gradient(name: str, points: int, cases: list[GradientCase]) -> Check:
    return gradient(
        name,
        points,
        ("loss_and_grads",),
        cases,
        value=lambda student, inputs: window_call(student, inputs)[0],
        grads=student_window_grads,
        reference=right_window_grads,
    )


@prop("two windows in a row, the state handed on", 2, "loss_and_grads")
def two_windows(student: Any, rng: Rng) -> None:
    drawn = window_inputs(3, 8)(rng)
    state = ours = drawn["h0"]
    for number, part in (("first", slice(0, 5)), ("second", slice(5, 8))):
        window = {**drawn, "inputs": drawn["inputs"][:, part], "targets": drawn["targets"][:, part], "h0": state}
        loss, grads, state = window_call(student, window)
        with case_of(f"the {number} window", student.transcript[-1][0]):
            right_loss, right_grads, ours = loss_and_grads(
                drawn["params"], window["inputs"], window["targets"], floats(ours)
            )
            same(loss, right_loss, "the loss")
            same(state, ours, "the state to go on with")
            same(grads, right_grads, "the dict of gradients")


def window_with(
    start: bool = True,
    copies: bool = False,
    stale: bool = False,
    change: Callable[[Params, Array], Params] = lambda grads, inputs: grads,
) -> Make:
    def wrong(params: Params, inputs: Any, targets: Any, h0: Any) -> Any:
        loss, grads, h_last = loss_and_grads(params, inputs, inputs if copies else targets, h0 if start else None)
        return loss, change(grads, np.asarray(inputs)), h0 if stale else h_last

    return wrong


def head_of_last_step(params: Params, inputs: Any, targets: Any, h0: Any) -> Any:
    loss, grads, h_last = loss_and_grads(params, inputs, targets, h0)
    logits, _ = char_lm_logits(inputs, h0, params)
    dlogits = cross_entropy(logits, targets)[1][:, -1]
    return loss, {**grads, "W_out": dlogits.T @ h_last, "b_out": dlogits.sum(axis=0)}, h_last


LOSS_AND_GRADS = Exercise(
    name="loss_and_grads",
    title="Stage 3: the whole network, there and back",
    functions=("loss_and_grads",),
    hints=(
        "Which of your functions lie on the way from the inputs to the loss?",
        "gru_forward, the output layer, cross_entropy. On the way back: dlogits @ W_out is the gradient at the states.",
        "W_out gets the sum over batch and time of dlogits times the states, b_out the sum of dlogits; gru_backward "
        "gives the other four. The last state is hs[:, -1].",
    ),
    checks=(
        window_gradient(
            "all gradients, with a carried state",
            4,
            [
                GradientCase("three streams of five characters", window_inputs(3, 5)),
                GradientCase("as many streams as characters", window_inputs(4, 4, 4, 4)),
                GradientCase("one character of one stream", window_inputs(1, 1)),
            ],
        ),
        two_windows,
        window_gradient(
            "exact here too", 2, [GradientCase("logits far from zero", window_inputs(2, 4, offset=20000.0))]
        ),
    ),
    mistakes=(
        Mistake(
            name="carried-state-ignored",
            advice="The window begins with h0, what was read before; yours begins with zeros.",
            replaces={"loss_and_grads": window_with(start=False)},
        ),
        Mistake(
            name="learns-to-copy",
            advice="The loss compares with the TARGETS; yours asks for the character that was just read.",
            replaces={"loss_and_grads": window_with(copies=True)},
        ),
        Mistake(
            name="old-state-returned",
            advice="The next window goes on from the state after this window's last character; yours hands back h0.",
            replaces={"loss_and_grads": window_with(stale=True)},
        ),
        Mistake(
            name="output-layer-learns-from-the-last-step",
            advice="The output layer served at every step: its gradients are sums over the batch and over time.",
            replaces={"loss_and_grads": head_of_last_step},
        ),
        Mistake(
            name="divided-again",
            advice="The 1 / (B T) of the mean is in dlogits already; do not divide a second time.",
            replaces={
                "loss_and_grads": window_with(change=lambda grads, x: {name: g / x.size for name, g in grads.items()})
            },
            variants=(
                {
                    "loss_and_grads": window_with(
                        change=lambda grads, x: {name: g / len(x) for name, g in grads.items()}
                    )
                },
            ),
        ),
        Mistake(
            name="sampled-entries-only",
            advice="Most entries of your gradients are zero: every entry of every parameter needs its gradient.",
            replaces={
                "loss_and_grads": window_with(
                    change=lambda grads, x: {
                        name: np.where(np.arange(g.size).reshape(g.shape) % 30 == 0, g, 0.0)
                        for name, g in grads.items()
                    }
                )
            },
        ),
        Mistake(
            name="gradients-renamed",
            advice="A gradient has its parameter's name, W_hh and not dW_hh: Adam pairs them by name.",
            replaces={
                "loss_and_grads": window_with(change=lambda grads, x: {f"d{name}": g for name, g in grads.items()})
            },
        ),
    ),
)

# --- stage 4: training -----------------------------------------------------------------------------------------------


def clip_case(norm: float, max_norm: float) -> Any:
    """Three arrays whose norm together is given; each by itself is longer than half of max_norm where norm is large."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        grads = {"W": rng.normal(size=(2, 3)), "b": rng.normal(size=3), "W_out": rng.normal(size=(4, 2))}
        length = np.sqrt(sum((grad**2).sum() for grad in grads.values()))
        return {name: grad * norm / length for name, grad in grads.items()}, max_norm

    return draw


def clip_with(kind: str) -> Make:
    def wrong(grads: Params, max_norm: float) -> Any:
        grads = {name: floats(grad) for name, grad in grads.items()}
        lengths = {name: np.sqrt((grad**2).sum()) for name, grad in grads.items()}
        norm = np.sqrt(sum(length**2 for length in lengths.values()))
        if kind == "each":
            return {name: g * min(1.0, max_norm / max(lengths[name], 1e-300)) for name, g in grads.items()}, norm
        if kind == "entries":
            return {name: np.clip(g, -max_norm, max_norm) for name, g in grads.items()}, norm
        if kind == "squared":
            norm = norm**2
        if kind == "lengths-added":
            norm = sum(lengths.values())
        factor = max_norm / norm if norm > max_norm or (kind == "lengthened" and norm) else 1.0
        return {name: g * factor for name, g in grads.items()}, norm * factor if kind == "after" else norm

    return wrong


CLIP = Exercise(
    name="clip_gradients",
    title="Stage 4: gradients that are not too long",
    functions=("clip_gradients",),
    hints=(
        "How long is a vector that is made of all entries of all arrays?",
        "One norm and one factor for all arrays, so that the direction stays.",
        "norm is the root of the sum of all squared entries; the factor is max_norm / norm if norm is above max_norm, "
        "else 1.",
    ),
    checks=(
        numeric(
            "long, short and zero",
            3,
            "clip_gradients",
            clip_global_norm,
            [
                Case("five times too long", clip_case(10.0, 2.0)),
                Case("short enough", clip_case(0.5, 2.0)),
                Case("each is short, all together are too long", clip_case(1.2, 1.0)),
                Case("all zero", clip_case(0.0, 1.0)),
            ],
            result="the pair (clipped, norm)",
        ),
        unchanged(1, {"clip_gradients": clip_case(3.0, 1.0)}),
    ),
    mistakes=(
        Mistake(
            name="each-array-by-itself",
            advice="There is one norm of all arrays together: clipped one by one they change their proportions.",
            replaces={"clip_gradients": clip_with("each")},
        ),
        Mistake(
            name="entries-cut-off",
            advice="All entries are multiplied by one factor; cutting large entries off changes the direction.",
            replaces={"clip_gradients": clip_with("entries")},
        ),
        Mistake(
            name="short-gradients-lengthened",
            advice="A gradient that is short enough stays as it is.",
            replaces={"clip_gradients": clip_with("lengthened")},
        ),
        Mistake(
            name="root-forgotten",
            advice="The norm is the ROOT of the sum of squares.",
            replaces={"clip_gradients": clip_with("squared")},
        ),
        Mistake(
            name="lengths-added",
            advice="Add the SQUARES of all entries and take one root; lengths of single arrays do not simply add up.",
            replaces={"clip_gradients": clip_with("lengths-added")},
        ),
        Mistake(
            name="norm-after-clipping",
            advice="The norm BEFORE clipping is asked for: it tells when training gets wild.",
            replaces={"clip_gradients": clip_with("after")},
        ),
    ),
)


def step_with(
    clipped: bool = True,
    sign: float = 1.0,
    fresh: bool = False,
    stale: bool = False,
    late: str = "",
    descent: bool = False,
) -> Make:
    def step(
        params: Params, optimizer: Any, inputs: Any, targets: Any, h: Any, lr: float, max_norm: float = 1.0
    ) -> Any:
        loss, grads, h_last = loss_and_grads(params, inputs, targets, h)
        if clipped:
            grads = clip_global_norm(grads, max_norm)[0]
        grads = {name: sign * grad for name, grad in grads.items()}
        new, memory = adam_step(params, grads, {} if fresh else optimizer, lr)
        if descent:
            new = {name: floats(value) - lr * grads[name] for name, value in params.items()}
        after = loss_and_grads(new, inputs, targets, h)
        if late == "loss":
            loss = after[0]
        if late == "state":
            h_last = after[2]
        return new, memory, h if stale else h_last, loss

    return step


train_step = step_with()


def follow_steps(student: Any, rng: Rng, max_norm: float, steps: int) -> None:
    drawn = window_inputs(2, 4, 5, 3)(rng)
    params = ours = drawn["params"]
    state = our_state = drawn["h0"]
    memory, our_memory = dict[str, Any](), dict[str, Any]()
    for number in range(1, steps + 1):
        inputs, targets = rng.integers(0, 5, size=(2, 2, 4))
        # The first step takes max_norm as it is by default.
        more = () if max_norm == 1.0 else (max_norm,)
        answer = student.call("train_step", params, memory, inputs, targets, state, 0.05, *more, keep=(1,))
        ours, our_memory, our_state, right = train_step(ours, our_memory, inputs, targets, our_state, 0.05, max_norm)
        with case_of(f"step {number}", student.transcript[-1][0]):
            params, memory, state, loss = items(answer, ("params", "optimizer", "h_last", "loss"))
            same(loss, right, "the loss", **TRAINED)
            same(state, our_state, "the state", **TRAINED)
            same(params, ours, "params", **TRAINED)


@prop("four steps in a row", 3, "train_step")
def steps_in_a_row(student: Any, rng: Rng) -> None:
    follow_steps(student, rng, 0.3, 4)


@prop("long gradients are clipped to 1 by default", 1, "train_step")
def clipped_by_default(student: Any, rng: Rng) -> None:
    # Two steps: in the first one Adam's step does not depend on the gradients' length.
    drawn = window_inputs(2, 3, 5, 3)(rng)
    drawn["params"]["W_out"] = 40.0 * drawn["params"]["W_out"]
    params = ours = drawn["params"]
    memory, our_memory = dict[str, Any](), dict[str, Any]()
    for number in (1, 2):
        inputs, targets = rng.integers(0, 5, size=(2, 2, 3))
        answer = student.call("train_step", params, memory, inputs, targets, drawn["h0"], 0.5, keep=(1,))
        ours, our_memory, _, _ = train_step(ours, our_memory, inputs, targets, drawn["h0"], 0.5)
        with case_of(f"step {number}, with gradients far above 1", student.transcript[-1][0]):
            params, memory, _, _ = items(answer, ("params", "optimizer", "h_last", "loss"))
            same(params, ours, "params", **TRAINED)


TRAIN_STEP = Exercise(
    name="train_step",
    title="Stage 4: one step",
    functions=("train_step",),
    hints=(
        "Three functions, one after the other. What does each hand to the next?",
        "The loss and the state come out of loss_and_grads, before anything moves.",
        "loss_and_grads, clip_gradients with max_norm, adam_step with the clipped gradients and the optimizer that was "
        "handed in; return its two results, then the state and the loss.",
    ),
    checks=(steps_in_a_row, clipped_by_default),
    mistakes=(
        Mistake(
            name="step-not-clipped",
            advice="Clip the gradients to max_norm before Adam gets them.",
            replaces={"train_step": step_with(clipped=False)},
        ),
        Mistake(
            name="step-uphill",
            advice="Adam subtracts by itself: hand it the gradients, not their negatives.",
            replaces={"train_step": step_with(sign=-1.0)},
        ),
        Mistake(
            name="memory-thrown-away",
            advice="Hand Adam the optimizer that came in; with an empty one it forgets every step.",
            replaces={"train_step": step_with(fresh=True)},
        ),
        Mistake(
            name="state-not-handed-on",
            advice="The state to return is the one AFTER the window.",
            replaces={"train_step": step_with(stale=True)},
        ),
        Mistake(
            name="state-of-the-new-parameters",
            advice="The state is computed with the old parameters, in the same pass as the loss.",
            replaces={"train_step": step_with(late="state")},
        ),
        Mistake(
            name="loss-after-the-step",
            advice="The loss is the one before the parameters move.",
            replaces={"train_step": step_with(late="loss")},
        ),
        Mistake(
            name="plain-descent",
            advice="The step is Adam's, not lr times the gradient.",
            replaces={"train_step": step_with(descent=True)},
        ),
    ),
)


def train_with(
    carried: bool = True,
    reset: bool = True,
    rate: Callable[[int, int], float] = lambda step, steps: 1 - step / steps,
    step: Make = train_step,
    batches: Make = stream_batches,
    drawn_windows: bool = False,
    bits: bool = False,
    one_window: bool = False,
) -> Make:
    def train(
        ids: Any, vocab_size: int, rng: Any, hidden: int = 128, batch_size: int = 16, length: int = 25,
        steps: int = 800, lr: float = 0.01,
    ) -> Any:  # fmt: skip
        params = init_params(vocab_size, hidden, rng)
        inputs, targets = batches(ids, batch_size, length)
        memory: Any = {}
        losses = np.zeros(steps)
        zeros = h = np.zeros((batch_size, hidden))
        for number in range(steps):
            window = int(rng.integers(len(inputs))) if drawn_windows else 0 if one_window else number % len(inputs)
            if not carried or (window == 0 and reset):
                h = zeros
            params, memory, h, losses[number] = step(
                params, memory, inputs[window], targets[window], h, lr * rate(number, steps)
            )
        return params, losses / np.log(2) if bits else losses

    return train


TRAIN_RIGHT = train_with()


def follow_train(student: Any, reason: str, ids: Array, steps: int, lr: float) -> None:
    batch, length = 2, 4
    want, right = TRAIN_RIGHT(ids, 6, np.random.default_rng(4), 5, batch, length, steps, lr)
    answer = student.train(
        ids, 6, np.random.default_rng(4), hidden=5, batch_size=batch, length=length, steps=steps, lr=lr
    )
    with case_of(reason, student.transcript[-1][0]):
        params, losses = items(answer, ("params", "losses"))
        same(losses, right, "the array of losses", **TRAINED)
        same(params, want, "the dict of parameters", **TRAINED)


@prop("a short run", 3, "train")
def short_run(student: Any, rng: Rng) -> None:
    # Two streams of eleven windows. Each repeats one character, until the network is sure of it, and then surprises:
    # that makes long gradients.
    ids = draw_ids(rng, 90, 6)
    ids[:20], ids[44:64] = 5, 5
    follow_train(student, "ten of eleven windows", ids, 10, 0.2)


@prop("past the end of the text", 2, "train")
def past_the_end(student: Any, rng: Rng) -> None:
    # Three windows, so the streams begin anew twice.
    follow_train(student, "a text of three windows, eight steps", draw_ids(rng, 25, 6), 8, 0.04)


@cache
def hamlet_ids() -> tuple[Array, int]:
    text = hamlet()
    symbols = sorted(set(text))
    place = {symbol: i for i, symbol in enumerate(symbols)}
    return np.array([place[c] for c in text]), len(symbols)


def hidden_text(rng: Rng) -> tuple[Array, Array, int]:
    """Hamlet with its characters numbered in a random order and beginning anywhere: what is trained on, what is not."""
    ids, vocab = hamlet_ids()
    # Numbers learned before, or a text found elsewhere, are of no help against characters that have changed places.
    ids = np.roll(rng.permutation(vocab)[ids], -int(rng.integers(len(ids))))
    train, tail = split_tail(ids, len(ids) // 10)
    return train, tail, vocab


def read_params(answer: Any, vocab: int) -> Params:
    """The trained parameters as the reference can use them, or a sentence."""
    params, _ = items(answer, ("params", "losses"))
    W_out = numbers(entry(params, "W_out", "the dict of parameters"), what="W_out")
    holds(W_out.ndim == 2 and W_out.shape[1] > 0, "W_out should be a table (V, H).")
    hidden = W_out.shape[1]
    shapes = {
        "W_ih": (3 * hidden, vocab),
        "W_hh": (3 * hidden, hidden),
        "b_ih": (3 * hidden,),
        "b_hh": (3 * hidden,),
        "W_out": (vocab, hidden),
        "b_out": (vocab,),
    }
    return {name: numbers(entry(params, name, "the dict of parameters"), shape, name) for name, shape in shapes.items()}


@training("0.15 bits per character below the trigram", 5, "train", cpu_s=120.0)
def reaches_target(student: Any, rng: Rng) -> None:
    # The parameters are judged by our own network: no code of the student's sees the held-out part. Measured gains on
    # 20 seeds: docs/projects.md.
    ids, tail, vocab = hidden_text(rng)
    params = read_params(student.train(ids, vocab, rng), vocab)
    trigram = ngram_bits(ngram_probs(ids, 3, vocab), tail, WARM_UP)
    with np.errstate(all="ignore"):
        bits = char_lm_bits(tail, params, WARM_UP)
    below(
        1 - (trigram - bits),
        1 - GAIN,
        "on a tenth of Hamlet that was not trained on, the trained network should need at least 0.15 bits per "
        "character less than the trigram.",
        f"It needs {bits:.3f} bits, the trigram {trigram:.3f}.",
    )


TRAIN = Exercise(
    name="train",
    title="Stage 4: the training run",
    functions=("train",),
    hints=(
        "What comes out of one step and goes into the next?",
        "Three things go on: parameters, Adam's memory, and the state. The state begins anew when the streams do.",
        "window = s modulo K; if it is 0, h is zeros; then one train_step with the rate lr * (1 - s / steps), and "
        "write down its loss.",
    ),
    checks=(short_run, past_the_end, reaches_target),
    mistakes=(
        Mistake(
            name="state-not-carried",
            advice="Hand the state on from window to window; yours begins with zeros each time and never learns from "
            "more than one window's past.",
            replaces={"train": train_with(carried=False)},
        ),
        Mistake(
            name="state-kept-across-the-seam",
            advice="At window 0 the streams jump back to their beginning, so the state must be zeros again.",
            replaces={"train": train_with(reset=False)},
        ),
        Mistake(
            name="rate-does-not-fall",
            advice="The learning rate falls along a line, lr * (1 - s / steps); yours stays at lr.",
            replaces={"train": train_with(rate=lambda step, steps: 1.0)},
        ),
        Mistake(
            name="rate-one-step-ahead",
            advice="The first step has the full rate: s counts from 0.",
            replaces={"train": train_with(rate=lambda step, steps: 1 - (step + 1) / steps)},
        ),
        Mistake(
            name="adam-begins-anew",
            advice="One memory of Adam serves the whole run; yours begins anew in each step.",
            replaces={"train": train_with(step=step_with(fresh=True))},
        ),
        Mistake(
            name="run-not-clipped",
            advice="Every step clips its gradients to the norm 1.0.",
            replaces={"train": train_with(step=step_with(clipped=False))},
        ),
        Mistake(
            name="windows-drawn-at-random",
            advice="The windows come in order, s modulo K: only then does the carried state fit.",
            replaces={"train": train_with(drawn_windows=True)},
        ),
        Mistake(
            name="one-window-again-and-again",
            advice="Step s trains on window s modulo K; yours always takes the first window.",
            replaces={"train": train_with(one_window=True)},
        ),
        Mistake(
            name="trained-to-copy",
            advice="The targets lie one character further than the inputs.",
            replaces={"train": train_with(batches=windows_with("unshifted"))},
        ),
        Mistake(
            name="losses-in-bits",
            advice="The losses are in nats, as `train_step` returns them.",
            replaces={"train": train_with(bits=True)},
        ),
    ),
)

# --- stage 5: judging and writing ------------------------------------------------------------------------------------


def bits_with(kind: str) -> Make:
    def bits_of(ids: Any, params: Params, warm_up: int = 50, chunk: int = 500) -> float:
        ids = np.asarray(ids)
        state: Any = None
        losses, counted = [], []
        for start in range(0, len(ids) - 1, chunk):
            part = ids[start : start + chunk + 1]
            if kind == "reset":
                state = None
            logits, state = char_lm_logits(part[None, :-1], state, params)
            wanted = part[:-1] if kind == "peeks" else part[1:]
            losses.append(-log_softmax(logits[0])[np.arange(len(wanted)), wanted] / np.log(2))
            first = 0 if kind == "all-counted" else warm_up if kind == "one-late" else warm_up - 1
            counted.append(losses[-1][max(first - start, 0) :])
        if kind == "chunk-means":
            return float(np.mean([part.mean() for part in counted if len(part)]))
        values = np.concatenate(counted)
        if kind == "nats":
            values = values * np.log(2)
        if kind == "unread":
            read_on = np.concatenate([ids[:1], ids[warm_up:]])
            return char_lm_bits(read_on, params, 1)
        return float(values.sum() if kind == "sum" else values.mean())

    return bits_of


def bits_case(size: int, warm_up: int, chunk: int, loud: float = 1.0) -> Any:
    def draw(rng: Rng) -> tuple[Any, ...]:
        params = draw_params(rng, 5, 4)
        # A network that remembers: a state that is lost shows.
        params["b_ih"][4:8] += 2.0
        params["b_out"] = params["b_out"] + loud * np.arange(5) if loud > 1 else params["b_out"]
        return rng.integers(0, 5, size=size), params, warm_up, chunk

    return draw


BITS = Exercise(
    name="bits_per_char",
    title="Stage 5: judged on what it has not read",
    functions=("bits_per_char", "perplexity"),
    hints=(
        "What has the model read when it predicts ids[i]?",
        "Inputs are all ids but the last, targets all but the first. A loop over chunks hands the state on.",
        "Collect -log p of every target, from log-softmax of the logits; drop the first warm_up - 1 of them; their "
        "mean, divided by log 2.",
    ),
    checks=(
        numeric(
            "the mean over the counted characters",
            3,
            "bits_per_char",
            char_lm_bits,
            [
                Case("one chunk", bits_case(40, 10, 500)),
                Case("a warm-up of one", bits_case(12, 1, 500)),
                Case("the last character only", bits_case(12, 11, 500)),
                Case("logits in the thousands", bits_case(12, 2, 500, loud=1000.0)),
            ],
        ),
        numeric(
            "the same for every chunk size",
            2,
            "bits_per_char",
            char_lm_bits,
            [
                Case("chunks of seven", bits_case(40, 10, 7)),
                Case("chunks of one", bits_case(15, 4, 1)),
                Case("a warm-up that ends inside a chunk", bits_case(30, 11, 6)),
            ],
        ),
        numeric(
            "fifty characters of warm-up by default",
            1,
            "bits_per_char",
            lambda ids, params: char_lm_bits(ids, params, WARM_UP),
            [Case("no more arguments", lambda rng: bits_case(75, 0, 0)(rng)[:2])],
        ),
        numeric(
            "perplexity",
            1,
            "perplexity",
            lambda bits: float(np.exp2(bits)),
            [Case("two and a half bits", lambda rng: (2.5,)), Case("no bits", lambda rng: (0.0,))],
        ),
    ),
    mistakes=(
        Mistake(
            name="state-lost-between-chunks",
            advice="The state is carried from chunk to chunk: they are one text.",
            replaces={"bits_per_char": bits_with("reset")},
        ),
        Mistake(
            name="nats-for-bits",
            advice="Divide by log 2: bits are asked for, not nats.",
            replaces={"bits_per_char": bits_with("nats")},
        ),
        Mistake(
            name="warm-up-counted",
            advice="The first warm_up characters are read and not counted.",
            replaces={"bits_per_char": bits_with("all-counted")},
        ),
        Mistake(
            name="warm-up-one-too-long",
            advice="ids[warm_up] is the first character that counts. The first prediction is that of ids[1], so drop "
            "warm_up - 1 predictions.",
            replaces={"bits_per_char": bits_with("one-late")},
        ),
        Mistake(
            name="warm-up-not-read",
            advice="The warm-up is not counted, but it is READ: it fills the memory.",
            replaces={"bits_per_char": bits_with("unread")},
        ),
        Mistake(
            name="model-sees-the-answer",
            advice="Compare each prediction with the NEXT character; yours with the one the model has just read.",
            replaces={"bits_per_char": bits_with("peeks")},
        ),
        Mistake(
            name="bits-summed",
            advice="Bits per CHARACTER is the mean, not the sum.",
            replaces={"bits_per_char": bits_with("sum")},
        ),
        Mistake(
            name="mean-of-chunk-means",
            advice="Chunks are not equally long, and some hold warm-up: take one mean over all counted characters.",
            replaces={"bits_per_char": bits_with("chunk-means")},
        ),
        Mistake(
            name="perplexity-with-e",
            advice="The bits are to base 2, so the perplexity is 2 to the power of the bits.",
            replaces={"perplexity": lambda bits: float(np.exp(bits))},
        ),
    ),
)


def sample_with(kind: str) -> Make:
    def write(prompt: Any, n: int, temperature: float, params: Params, rng: Any) -> Array:
        prompt = np.asarray(prompt)
        if kind == "multiplied":
            temperature = 1 / temperature if temperature else 0.0
        if kind == "ignored":
            temperature = 1.0 if temperature else 0.0
        if kind == "argmax":
            temperature = 0.0
        if kind == "twice":
            prompt = np.concatenate([prompt, prompt[-1:]])
        if kind == "last-only":
            prompt = prompt[-1:]
        if kind in ("nan-first", "nan-last") and temperature == 0:
            # What a search for the draw among sums that are nan ends in.
            return np.full(n, 0 if kind == "nan-first" else len(params["b_out"]) - 1)
        if kind == "tempered-probabilities" and temperature:
            return _tempered(prompt, n, temperature, params, rng)
        if kind == "forgets":
            written: list[int] = []
            for _ in range(n):
                read_now = prompt if not written else np.array(written[-1:])
                written.append(int(char_lm_sample(read_now, 1, temperature, params, rng)[0]))
            return np.array(written)
        new = char_lm_sample(prompt, n, temperature, params, rng)
        return np.concatenate([prompt, new]) if kind == "with-prompt" else new

    return write


def _tempered(prompt: Array, n: int, temperature: float, params: Params, rng: Any) -> Array:
    """Probabilities divided by the temperature after the softmax."""
    written: list[int] = []
    logits, state = char_lm_logits(prompt[None], None, params)
    for _ in range(n):
        p = softmax(logits[0, -1]) / temperature
        reached = np.cumsum(p) > rng.random()
        written.append(int(reached.argmax()) if reached.any() else len(p) - 1)
        logits, state = char_lm_logits([[written[-1]]], state, params)
    return np.array(written)


def write_case(prompt: int, n: int, temperature: float, strength: float = 1.0, bias: float = 1.0) -> Any:
    def draw(rng: Rng) -> tuple[Any, ...]:
        params = draw_params(rng, 6, 5)
        params["b_ih"][5:10] += 1.0
        params["W_out"], params["b_out"] = strength * params["W_out"], bias * params["b_out"]
        return rng.integers(0, 6, size=prompt), n, temperature, params, np.random.default_rng(rng.integers(1 << 32))

    return draw


def tie_case(rng: Rng) -> tuple[Any, ...]:
    """Two symbols with the same, largest logit at every step."""
    params = draw_params(rng, 5, 3)
    params["W_out"] = np.zeros((5, 3))
    params["b_out"] = np.array([-1.0, 2.0, 0.0, 2.0, 1.0])
    return [0, 2], 4, 0, params, rng


SAMPLE = Exercise(
    name="sample",
    title="Stage 5: let it write",
    functions=("sample",),
    hints=(
        "Where do the probabilities of the first new character come from, when the prompt has been read?",
        "From the logits after the prompt's last character. After that every new character is read once, with the "
        "state carried.",
        "Read the prompt in one call of forward; then in a loop: choose from the last logits (np.cumsum and "
        "np.searchsorted with side='right', or argmax at temperature 0), and call forward on that one id.",
    ),
    checks=(
        numeric(
            "thirty characters, each with one draw",
            3,
            "sample",
            char_lm_sample,
            [
                Case("temperature 1", write_case(5, 30, 1.0)),
                Case("a prompt of one character", write_case(1, 30, 1.0)),
                Case("one character to write", write_case(4, 1, 1.0)),
            ],
            result="the array of ids",
        ),
        numeric(
            "cool and hot",
            2,
            "sample",
            char_lm_sample,
            [
                Case("temperature 0.5", write_case(3, 40, 0.5)),
                Case("temperature 2", write_case(3, 40, 2.0)),
                Case("temperature 0.01 and large weights", write_case(3, 10, 0.01, 50.0)),
                Case("temperature 0.0001 and logits that differ as little", write_case(3, 10, 1e-4, 1e-4, 1e-4)),
            ],
            result="the array of ids",
        ),
        numeric(
            "temperature 0",
            2,
            "sample",
            char_lm_sample,
            [
                Case("the largest logit", write_case(4, 20, 0.0, 2.0)),
                Case("the lowest of equals", tie_case),
            ],
            result="the array of ids",
        ),
    ),
    mistakes=(
        Mistake(
            name="logits-multiplied-by-temperature",
            advice="Divide the logits by the temperature: a high one makes all characters more alike.",
            replaces={"sample": sample_with("multiplied")},
        ),
        Mistake(
            name="temperature-ignored",
            advice="Divide the logits by the temperature before the softmax.",
            replaces={"sample": sample_with("ignored")},
        ),
        Mistake(
            name="probabilities-divided-by-temperature",
            advice="The temperature divides the LOGITS; divided probabilities do not sum to one.",
            replaces={"sample": sample_with("tempered-probabilities")},
        ),
        Mistake(
            name="always-the-likeliest",
            advice="Above temperature 0 the character is drawn; always taking the likeliest writes in circles.",
            replaces={"sample": sample_with("argmax")},
        ),
        Mistake(
            name="last-prompt-character-read-twice",
            advice="The prompt's last character has been read with the prompt; its logits choose the first new one.",
            replaces={"sample": sample_with("twice")},
        ),
        Mistake(
            name="prompt-not-read",
            advice="The whole prompt is read, so that the state remembers it; yours reads its last character only.",
            replaces={"sample": sample_with("last-only")},
        ),
        Mistake(
            name="memory-lost-while-writing",
            advice="Carry the state on: yours begins with zeros at every new character.",
            replaces={"sample": sample_with("forgets")},
        ),
        Mistake(
            name="divided-by-temperature-zero",
            advice="Temperature 0 means the largest logit; treat it before you divide.",
            replaces={"sample": sample_with("nan-first")},
            variants=({"sample": sample_with("nan-last")},),
        ),
        Mistake(
            name="prompt-returned-too",
            advice="Only the new ids are asked for, without the prompt.",
            replaces={"sample": sample_with("with-prompt")},
        ),
    ),
)

# --- the picture -----------------------------------------------------------------------------------------------------


def draw_picture(student: Any, figure: Any) -> None:
    """The student's training losses against what counting reaches, and what the trained model writes."""
    left, right = figure.subplots(1, 2)
    text = hamlet()
    symbols = "".join(sorted(set(text)))
    ids, tail = split_tail(encode(text, symbols), len(text) // 10)
    student.cpu_s = 120.0
    params, losses = items(student.train(ids, len(symbols), np.random.default_rng(336)), ("params", "losses"))
    losses = numbers(losses, what="losses") / np.log(2)
    steps = np.arange(len(losses))
    left.plot(steps, losses, color="C7", lw=0.4, alpha=0.6)
    width = min(25, len(losses))
    smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
    left.plot(steps[width - 1 :], smooth, color="C0", label=f"training, mean of {width} steps")
    for n, name in ((1, "characters alone"), (2, "pairs"), (3, "triples")):
        bits = float(student.ngram_bits(student.ngram_probs(ids, n, len(symbols)), tail, WARM_UP))
        left.axhline(bits, color="k", lw=0.8, ls=":")
        left.text(len(losses), bits + 0.02, f"{name}: {bits:.2f}", ha="right", va="bottom", fontsize=8)
    bits = float(student.bits_per_char(tail, params))
    left.plot([len(losses)], [bits], "o", color="C3", label=f"held-out tenth: {bits:.2f}")
    left.set(xlabel="step", ylabel="bits per character", title="Your network against counting", ylim=(2.2, 6.1))
    left.legend(fontsize=8, loc="upper right")
    right.axis("off")
    right.set_title("What it writes after “Ham.”, by temperature")
    shown = []
    for temperature in (0.0, 0.5, 1.0, 1.5):
        new = student.sample(encode("\nHam.\n", symbols), 160, temperature, params, np.random.default_rng(5))
        said = str(student.decode(numbers(new, (160,), "the ids").astype(np.int64), symbols))
        lines = [part for line in said.split("\n") if line.strip() for part in textwrap.wrap(line, 50)]
        shown += [f"temperature {temperature:g}", *(f"   {line}" for line in lines[:7]), ""]
    right.text(
        *(0.0, 1.0, "\n".join(shown)), transform=right.transAxes, va="top", family="monospace", fontsize=7.5,
        linespacing=1.25, parse_math=False,
    )  # fmt: skip


CHAPTER = Chapter(
    id="ch336",
    slug="project_char_lm",
    title="Project: Character-Level Language Model",
    part="Projects",
    summary="A recurrent network that reads Hamlet: streams of text, n-grams to compare with, a GRU and its gradients "
    "through time, training with a carried state, bits per character on a part never read, and sampling.",
    builds_on=("ch305", "ch312", "ch317", "ch318"),
    exercises=(
        VOCABULARY,
        SPLIT,
        STREAMS,
        NGRAM_PROBS,
        NGRAM_BITS,
        INIT,
        GRU_FORWARD,
        GRU_BACKWARD,
        FORWARD,
        CROSS_ENTROPY,
        LOSS_AND_GRADS,
        CLIP,
        TRAIN_STEP,
        TRAIN,
        BITS,
        SAMPLE,
    ),
    picture=Picture(title="What your network learned of Hamlet", draw=draw_picture),
)
