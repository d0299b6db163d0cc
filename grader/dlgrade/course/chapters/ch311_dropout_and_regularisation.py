"""Checks of chapter 311: dropout, penalties and their steps, early stopping, Monte Carlo dropout."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from dlreference import regularization as ref

from dlgrade.course.compare import Wrong, entry, holds, items, numbers, same
from dlgrade.course.kinds import Case, GradientCase, Rng, case_of, gradient, numeric, prop, statistical, unchanged
from dlgrade.course.spec import Chapter, Check, Exercise, Mistake, Picture
from dlgrade.sandbox.protocol import Callback, Function
from dlgrade.sandbox.session import Call

Array = np.ndarray[Any, Any]
Params = dict[str, Array]


def floats(value: Any) -> Array:
    return np.asarray(value, dtype=np.float64)


def generator(rng: Rng) -> Rng:
    """A generator of the case's own."""
    return np.random.default_rng(int(rng.integers(1 << 62)))


def refused(name: str, points: int, function: str, cases: dict[str, Callable[[Rng], tuple[Any, ...]]]) -> Check:
    """The function raises ValueError for each of these arguments; item 1 of an answer is not looked at."""

    @prop(name, points, function)
    def check(student: Any, rng: Rng) -> None:
        for reason, draw in cases.items():
            call = Call(function, draw(rng), keep=(1,))
            [reply] = student.batch([call])
            with case_of(reason, call):
                if reply.status == "error" and reply.detail.get("type") == "ValueError":
                    continue
                if reply.status == "ok":
                    raise Wrong(f"a ValueError is asked for here, but `{function}` returned an answer.")
                student.answer(call, reply)

    return check


# --- dropout, forward ------------------------------------------------------------------------------------------------

Dropped = tuple[Array, Any]


def dropout(x: Array, p: float, rng: Rng | None, training: bool = True) -> Dropped:
    """The reference; the generator of the case stays as it is, for it is still to be sent."""
    return ref.dropout_forward(x, p, copy.deepcopy(rng) if rng is not None else np.random.default_rng(0), training)


def masked_with(
    mask: Callable[[Array, float, Rng], Array], evaluation: Callable[[Array, float], Array] | None = None
) -> dict[str, Callable[..., Dropped]]:
    """A forward pass whose mask is another one."""

    def forward(x: Array, p: float, rng: Rng, training: bool = True) -> Dropped:
        x = floats(x)
        if not 0.0 <= p <= 1.0:
            raise ValueError("p is a probability")
        if not training:
            return (x.copy() if evaluation is None else evaluation(x, p)), np.ones(x.shape)
        made = mask(x, p, rng)
        return x * made, made

    return {"dropout_forward": forward, "dropout_backward": lambda dout, cache: floats(dout) * cache}


def inverse(p: float) -> float:
    return 1.0 / (1.0 - p) if p < 1.0 else 0.0


def uniform(rng: Rng, shape: Sequence[int]) -> Array:
    """Uniform numbers in [0, 1)."""
    return floats(rng.random(tuple(shape)))


def right_mask(x: Array, p: float, rng: Rng) -> Array:
    return (uniform(rng, x.shape) >= p) * inverse(p)


def mask_not_inverted(x: Array, p: float, rng: Rng) -> Array:
    return (uniform(rng, x.shape) >= p) * 1.0


def mask_p_kept(x: Array, p: float, rng: Rng) -> Array:
    return (uniform(rng, x.shape) < p) / p if p > 0 else np.zeros(x.shape)


def mask_kept_below_p(x: Array, p: float, rng: Rng) -> Array:
    return (uniform(rng, x.shape) < p) * inverse(p)


def mask_divided_by_p(x: Array, p: float, rng: Rng) -> Array:
    return (uniform(rng, x.shape) >= p) / p if p > 0 else np.ones(x.shape)


def mask_times_keep(x: Array, p: float, rng: Rng) -> Array:
    return (uniform(rng, x.shape) >= p) * (1.0 - p)


def mask_of_one_row(x: Array, p: float, rng: Rng) -> Array:
    return np.broadcast_to((uniform(rng, x.shape[1:]) >= p) * inverse(p), x.shape)


def mask_of_whole_rows(x: Array, p: float, rng: Rng) -> Array:
    return np.broadcast_to((uniform(rng, (len(x), *[1] * (x.ndim - 1))) >= p) * inverse(p), x.shape)


def mask_drawn_the_other_way(x: Array, p: float, rng: Rng) -> Array:
    return (uniform(rng, x.shape) < 1.0 - p) * inverse(p)


def mask_by_binomial(x: Array, p: float, rng: Rng) -> Array:
    return floats(rng.binomial(1, 1.0 - p, size=x.shape)) * inverse(p)


def mask_of_a_seed(x: Array, p: float, rng: Rng) -> Array:
    return right_mask(x, p, np.random.default_rng(0))


def mask_with_nan(x: Array, p: float, rng: Rng) -> Array:
    with np.errstate(all="ignore"):
        return (uniform(rng, x.shape) >= p) / np.float64(1.0 - p)


def scaled_down(x: Array, p: float) -> Array:
    return x * (1.0 - p)


def dropout_always(x: Array, p: float, rng: Rng | None, training: bool = True) -> Dropped:
    return dropout(x, p, rng, True)


def dropout_any_p(x: Array, p: float, rng: Rng | None, training: bool = True) -> Dropped:
    if 0.0 <= p <= 1.0:
        return dropout(x, p, rng, training)
    return floats(x).copy(), np.ones(np.shape(x))


def dropout_in_place(x: Array, p: float, rng: Rng | None, training: bool = True) -> Dropped:
    if not isinstance(x, np.ndarray) or x.dtype != np.float64:
        return dropout(x, p, rng, training)
    out, mask = dropout(x, p, rng, training)
    x[...] = out
    return x, mask


def to_drop(*shape: int, p: float, training: bool = True) -> Any:
    """Draws the arguments of a forward pass; no entry of x is near 0."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        x = rng.uniform(0.5, 2.0, size=shape) * rng.choice([-1.0, 1.0], size=shape)
        return x, p, generator(rng), training

    return draw


def without_generator(draw: Any) -> Any:
    def drawn(rng: Rng) -> tuple[Any, ...]:
        x, p, _, training = draw(rng)
        return x, p, None, training

    return drawn


# A single event of each kind below has a chance of at most MISS, by Hoeffding's inequality: the mean of n independent
# terms that lie in intervals of widths r_i is off by t or more with a chance of at most 2 exp(-2 (n t)^2 / sum r_i^2).
MISS = 1e-12


def band(widths: Array, miss: float = MISS) -> float:
    """The t that the mean of independent terms in intervals of these widths exceeds with a chance of at most `miss`."""
    return float(np.sqrt(np.sum(widths**2) * math.log(2 / miss) / 2)) / len(widths)


def dropped_out(student: Any, x: Array, p: float, rng: Rng) -> Array:
    answer = student.call("dropout_forward", x, p, generator(rng), keep=(1,))
    return numbers(items(answer, ("out", "cache"))[0], x.shape, "`out`")


# Three probabilities, and for each the share and the mean: six events.
@statistical("the share p is dropped, and the mean stays", 5, "dropout_forward", false_alarm=6 * MISS)
def share_and_mean(student: Any, rng: Rng) -> None:
    for p in (0.1, 0.35, 0.8):
        x = rng.uniform(0.5, 1.5, size=(80, 125))
        out = dropped_out(student, x, p, rng)
        with case_of(f"ten thousand entries, with p = {p}", student.transcript[-1][0]):
            share = float((out == 0).mean())
            holds(
                abs(share - p) <= band(np.ones(x.size)),
                f"a share of about {p} of the entries should be dropped, that is, be 0.",
                f"Of yours, {share:.3f} are 0.",
            )
            # An entry of out is 0 or x / (1 - p).
            gap = abs(float(out.mean() - x.mean()))
            holds(
                gap <= band(x.ravel() / (1 - p)),
                "the mean of out should be about the mean of x: what is kept makes up for what is dropped.",
                f"The mean of x is {x.mean():.3f}, that of your out {out.mean():.3f}.",
            )


ROWS, COLUMNS = 120, 100


# The share of zeros in each of 120 rows and 100 columns: 220 events.
@statistical("every entry is dropped by itself", 3, "dropout_forward", false_alarm=(ROWS + COLUMNS) * MISS)
def entries_alone(student: Any, rng: Rng) -> None:
    zeros = dropped_out(student, np.ones((ROWS, COLUMNS)), 0.5, rng) == 0
    for axis, what, count in ((0, "column", ROWS), (1, "row", COLUMNS)):
        furthest = float(np.abs(zeros.mean(axis=axis) - 0.5).max())
        holds(
            furthest <= band(np.ones(count)),
            f"about half of each {what} should be dropped with p = 0.5, but one {what} is far from it: every entry "
            "needs a draw of its own.",
            f"Its share of zeros is off by {furthest:.2f}.",
        )


DROPOUT_FORWARD = Exercise(
    name="dropout_forward",
    title="Inverted dropout",
    functions=("dropout_forward",),
    hints=(
        "Think of a mask: an array like x that holds, for every entry, the number which x is to be multiplied by.",
        "Compare rng.random(x.shape) with p: True means kept. True counts as 1 and False as 0 when you multiply. Then "
        "scale what is kept, so that the expected value stays.",
        "The mask is (rng.random(x.shape) >= p) divided by 1 - p, or all zeros if p is 1; in evaluation, all ones. out "
        "is x times the mask, and the mask is a fine cache. Check p before all that.",
    ),
    checks=(
        numeric(
            "drawn as the docstring says",
            6,
            "dropout_forward",
            dropout,
            [
                Case("a batch (6, 4), p = 0.3", to_drop(6, 4, p=0.3)),
                Case("a batch (4, 4), p = 0.5", to_drop(4, 4, p=0.5)),
                Case("sequences (2, 3, 5), p = 0.8", to_drop(2, 3, 5, p=0.8)),
                Case("one vector, p = 0.4", to_drop(8, p=0.4)),
            ],
            pick=0,
            result="`out`",
            keep=(1,),
        ),
        share_and_mean,
        entries_alone,
        numeric(
            "in evaluation out is x",
            3,
            "dropout_forward",
            dropout,
            [
                Case("in evaluation, p = 0.5", to_drop(4, 3, p=0.5, training=False)),
                Case("in evaluation, p = 1", to_drop(2, 3, p=1.0, training=False)),
                Case("in evaluation, without an rng", without_generator(to_drop(3, 2, p=0.3, training=False))),
            ],
            pick=0,
            result="`out`",
            keep=(1,),
        ),
        numeric(
            "nothing and everything dropped",
            2,
            "dropout_forward",
            dropout,
            [
                Case("p = 0 in training, which drops nothing", to_drop(4, 3, p=0.0)),
                Case("p = 1 in training, which leaves nothing", to_drop(4, 3, p=1.0)),
            ],
            pick=0,
            result="`out`",
            keep=(1,),
        ),
        refused(
            "p must be a probability",
            1,
            "dropout_forward",
            {
                "p = 1.5": to_drop(2, 3, p=1.5),
                "p = -0.1": to_drop(2, 3, p=-0.1),
                "p = 2 in evaluation": to_drop(2, 3, p=2.0, training=False),
            },
        ),
        numeric(
            "lists and float32 are accepted, float64 comes back",
            1,
            "dropout_forward",
            dropout,
            [
                Case("nested lists", lambda rng: ([[0.5, -1.5, 2.0], [1.0, 3.0, -0.5]], 0.3, generator(rng))),
                Case("a float32 array", lambda rng: (rng.normal(size=(3, 4)).astype(np.float32), 0.3, generator(rng))),
            ],
            pick=0,
            result="`out`",
            keep=(1,),
        ),
        unchanged(1, {"dropout_forward": to_drop(4, 3, p=0.4)}, keep=(1,)),
    ),
    mistakes=(
        Mistake(
            name="not-inverted",
            advice="With a share p dropped, the sum that the next layer sees shrinks by 1 - p: divide what is kept by "
            "1 - p.",
            replaces=masked_with(mask_not_inverted),
        ),
        Mistake(
            name="scaled-in-evaluation",
            advice="Inverted dropout makes up for the dropped units in training: in evaluation out is x, without any "
            "factor.",
            replaces=masked_with(right_mask, scaled_down),
        ),
        Mistake(
            name="p-taken-for-the-probability-of-keeping",
            advice="p is the probability of DROPPING: with p = 0.1, nine entries of ten are kept.",
            replaces=masked_with(mask_p_kept),
        ),
        Mistake(
            name="kept-and-dropped-swapped",
            advice="An entry is kept where its draw is at least p; yours keeps those below p, but scales as if they "
            "were the others.",
            replaces=masked_with(mask_kept_below_p),
        ),
        Mistake(
            name="divided-by-p",
            advice="What is kept, a share of 1 - p, is divided by that share: by 1 - p and not by p.",
            replaces=masked_with(mask_divided_by_p),
        ),
        Mistake(
            name="multiplied-by-the-share-kept",
            advice="To make up for what is missing, divide by 1 - p; multiplying by it makes things worse.",
            replaces=masked_with(mask_times_keep),
        ),
        Mistake(
            name="active-in-evaluation",
            advice="In evaluation nothing is dropped: look at the `training` argument.",
            replaces={"dropout_forward": dropout_always},
        ),
        Mistake(
            name="one-mask-for-the-whole-batch",
            advice="Every entry needs a draw of its own; yours drops the same units for all rows of the batch.",
            replaces=masked_with(mask_of_one_row),
        ),
        Mistake(
            name="whole-rows-dropped",
            advice="Every entry needs a draw of its own; yours keeps or drops a row as a whole.",
            replaces=masked_with(mask_of_whole_rows),
        ),
        Mistake(
            name="drawn-in-another-way",
            advice="The chances are right, but the draw is not the one asked for: an entry is kept where "
            "rng.random(x.shape) >= p.",
            replaces=masked_with(mask_drawn_the_other_way),
            variants=(masked_with(mask_by_binomial),),
        ),
        Mistake(
            name="rng-not-used",
            advice="The randomness must come from the `rng` argument; yours starts a generator of its own, with the "
            "same mask in every call.",
            replaces=masked_with(mask_of_a_seed),
        ),
        Mistake(
            name="nan-when-everything-is-dropped",
            advice="With p = 1 the factor 1 / (1 - p) is infinite, and 0 times infinity is nan: return zeros there.",
            replaces=masked_with(mask_with_nan),
        ),
        Mistake(
            name="any-p-accepted",
            advice="A p below 0 or above 1 is no probability: raise ValueError.",
            replaces={"dropout_forward": dropout_any_p},
        ),
        Mistake(
            name="dropped-in-place",
            advice="`x *= mask` changes the caller's array; compute a new one.",
            replaces={"dropout_forward": dropout_in_place},
        ),
    ),
)

# --- dropout, backward -----------------------------------------------------------------------------------------------

BOTH = ("dropout_forward", "dropout_backward")


def passed(student: Any, x: Array, p: float, rng: Rng | None, training: bool = True) -> tuple[Array, Any]:
    """The student's out, and the handle of its cache."""
    answer = student.call("dropout_forward", x, p, rng, training, keep=(1,))
    with case_of("", student.transcript[-1][0]):
        out, cache = items(answer, ("out", "cache"), "the result of dropout_forward")
        return numbers(out, x.shape, "`out`"), cache


def back(student: Any, dout: Array, cache: Any) -> Array:
    dx = student.call("dropout_backward", dout, cache)
    with case_of("", student.transcript[-1][0]):
        return numbers(dx, dout.shape, "`dx`")


@prop("through the mask of the forward pass", 6, *BOTH)
def same_mask(student: Any, rng: Rng) -> None:
    for p, shape in ((0.3, (6, 4)), (0.5, (5, 5)), (0.8, (2, 3, 5))):
        x, _, own, _ = to_drop(*shape, p=p)(rng)
        dout = rng.normal(size=shape)
        out, cache = passed(student, x, p, own)
        dx = back(student, dout, cache)
        with case_of(f"p = {p}", student.transcript[-1][0]):
            leaks = int(((out == 0) & (dx != 0)).sum())
            holds(
                leaks == 0,
                "dx should be 0 wherever your forward pass dropped the entry, and it is not.",
                f"{leaks} dropped entries get a gradient.",
            )
            # x is never 0, so out / x is what the student's own forward multiplied by.
            same(dx, dout * (out / x), "`dx`, compared with dout times your own out / x,")


@prop("after evaluation, with p of 0 and 1, and with a dout of lists", 3, *BOTH)
def special_masks(student: Any, rng: Rng) -> None:
    cases = {
        "in evaluation dx is dout": (0.5, generator(rng), False, 1.0),
        "in evaluation, without an rng": (0.5, None, False, 1.0),
        "p = 0 in training: dx is dout": (0.0, generator(rng), True, 1.0),
        "p = 1 in training: dx is 0": (1.0, generator(rng), True, 0.0),
    }
    for reason, (p, own, training, factor) in cases.items():
        x, dout = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
        with case_of(reason):
            _, cache = passed(student, x, p, own, training)
            same(back(student, dout, cache), factor * dout, "`dx`")
    x, dout = to_drop(3, 4, p=0.5)(rng)[0], rng.normal(size=(3, 4))
    out, cache = passed(student, x, 0.5, generator(rng))
    dx = student.dropout_backward(dout.tolist(), cache)
    with case_of("dout as nested lists", student.transcript[-1][0]):
        same(dx, dout * (out / x), "`dx`")


@prop("a cache can be used again, after other passes", 2, *BOTH)
def cache_serves(student: Any, rng: Rng) -> None:
    x = to_drop(5, 6, p=0.5)(rng)[0]
    douts = rng.normal(size=(2, 5, 6))
    first, cache = passed(student, x, 0.5, generator(rng))
    second, later = passed(student, x, 0.5, generator(rng))
    for reason, out, kept, dout in (
        ("a cache after another forward pass", first, cache, douts[0]),
        ("a cache of the later pass", second, later, douts[0]),
        ("a cache used a second time, with another dout", first, cache, douts[1]),
    ):
        with case_of(reason):
            same(back(student, dout, kept), dout * (out / x), "`dx`")


@prop("dout is left as it was", 1, *BOTH, alone=False)
def dout_untouched(student: Any, rng: Rng) -> None:
    x, dout = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    _, cache = passed(student, x, 0.5, generator(rng))
    back(student, dout, cache)
    holds(0 not in student.changed, "`dropout_backward` modified its argument `dout`; work on a copy or a new array.")


def forward_noting(note: Callable[..., Any]) -> Callable[..., Dropped]:
    """The right forward pass with another cache: `note(x, p, rng, out, mask)`, the rng as it is afterwards."""

    def forward(x: Array, p: float, rng: Rng | None, training: bool = True) -> Dropped:
        used = copy.deepcopy(rng)
        out, mask = ref.dropout_forward(x, p, used or np.random.default_rng(0), training)
        mask = np.ones(np.shape(x)) if mask is None else mask
        return out, note(floats(x), p if training else 0.0, used, out, mask)

    return forward


def pair(backward: Callable[[Array, Any], Any], note: Callable[..., Any] | None = None) -> dict[str, Any]:
    """A forward pass with this cache, the mask if nothing is said, and a backward pass."""
    return dict(zip(BOTH, (forward_noting(note or (lambda x, p, rng, out, mask: mask)), backward), strict=True))


def back_new_mask(dout: Array, cache: Any) -> Array:
    p, rng = cache
    return floats(dout) * right_mask(floats(dout), p, copy.deepcopy(rng) or np.random.default_rng(1))


def back_in_place(dout: Array, cache: Any) -> Array:
    dout *= cache
    return dout


_LAST: list[Any] = []


def note_globally(x: Array, p: float, rng: Rng, out: Array, mask: Array) -> Any:
    _LAST[:] = [mask]
    return mask


DROPOUT_BACKWARD = Exercise(
    name="dropout_backward",
    title="Dropout, backward",
    functions=("dropout_backward",),
    hints=(
        "out is x times a mask, entry by entry, and the mask does not depend on x. What is the derivative of m x?",
        "dx is dout times the mask, the factor 1 / (1 - p) included. So the mask must be in the cache.",
        "Let dropout_forward return as its cache the very array that it multiplied x by, in evaluation an array of "
        "ones. Then backward is one product.",
    ),
    checks=(same_mask, special_masks, cache_serves, dout_untouched),
    mistakes=(
        Mistake(
            name="new-mask-in-backward",
            advice="A new mask sends gradients into units that were dropped: keep the mask of the forward pass in the "
            "cache.",
            replaces=pair(back_new_mask, lambda x, p, rng, out, mask: (p, rng)),
        ),
        Mistake(
            name="scale-forgotten-in-backward",
            advice="What was kept was multiplied by 1 / (1 - p) on the way in, and so is its gradient on the way back.",
            replaces=pair(lambda dout, cache: floats(dout) * (cache > 0)),
        ),
        Mistake(
            name="scaled-twice-in-backward",
            advice="The mask holds the factor 1 / (1 - p) already; yours comes out with its square.",
            replaces=pair(lambda dout, cache: floats(dout) * cache**2),
        ),
        Mistake(
            name="backward-without-mask",
            advice="The gradient goes through the mask like the values did: where an entry was dropped, nothing "
            "passes.",
            replaces=pair(lambda dout, cache: floats(dout).copy()),
        ),
        Mistake(
            name="multiplied-by-the-output",
            advice="out is x times the mask; its derivative is the mask alone.",
            replaces=pair(lambda dout, cache: floats(dout) * cache, lambda x, p, rng, out, mask: out),
        ),
        Mistake(
            name="mask-guessed-from-the-output",
            advice="An output of 0 may be a dropped entry or an x of 0, and its size says nothing: keep the mask "
            "itself.",
            replaces=pair(lambda dout, cache: floats(dout) * (cache > 0), lambda x, p, rng, out, mask: out),
        ),
        Mistake(
            name="no-mask-after-evaluation",
            advice="After a forward pass in evaluation the cache is None here, and a product with None fails: use a "
            "mask of ones.",
            replaces={
                "dropout_forward": lambda x, p, rng, training=True: dropout(x, p, rng, training),
                "dropout_backward": lambda dout, cache: floats(dout) * cache,
            },
        ),
        Mistake(
            name="dropout-cache-in-a-global",
            advice="Every forward pass has its own cache; a global remembers the last pass only.",
            replaces=pair(lambda dout, cache: floats(dout) * _LAST[0], note_globally),
        ),
        Mistake(
            name="dout-changed-in-place",
            advice="`dout *= mask` changes the caller's array; compute a new one.",
            replaces=pair(back_in_place),
        ),
    ),
)

# --- penalties -------------------------------------------------------------------------------------------------------

Penalty = tuple[Any, Params]

SHAPES = {"W1": (4, 3), "b1": (4,), "gamma1": (4,), "beta1": (4,), "W2": (2, 4), "b2": (2,)}
# The name says what is a weight, not the number of axes; and it is how the name begins, not what follows.
NAMES_COUNT = {"W1": (5,), "gamma1": (2, 3), "W2": (2, 2, 3), "W_out": (2,), "scaleW": (3,), "wide": (2,)}


def drawn_params(rng: Rng, shapes: dict[str, tuple[int, ...]] = SHAPES) -> Params:
    """Parameters without an entry near 0."""
    return {
        name: rng.uniform(0.3, 2.0, size=shape) * rng.choice([-1.0, 1.0], size=shape) for name, shape in shapes.items()
    }


def with_strength(lam: float, shapes: dict[str, tuple[int, ...]] = SHAPES) -> Any:
    """Draws the arguments (params, lam) of a penalty."""
    return lambda rng: (drawn_params(rng, shapes), lam)


def uneven(rng: Rng) -> tuple[Any, ...]:
    """Weights from a hundredth to a million: differences of the whole sum lose the small ones."""
    return {"W1": rng.permutation([0.01, 1.0, 1e3, 1e6]).reshape(2, 2), "b1": np.array([5.0, -7.0])}, 0.3


def some_zero(rng: Rng) -> tuple[Any, ...]:
    params = drawn_params(rng)
    params["W1"][rng.random((4, 3)) < 0.5] = 0.0
    params["W1"][0] = [0.0, -0.0, 1.5]
    return params, 0.4


def every_key(penalty: Callable[[Params, float], Penalty]) -> Callable[[Params, float], Penalty]:
    """The penalty on all parameters, as if all were weights."""

    def named(params: Params, lam: float) -> Penalty:
        value, grads = penalty({f"W{name}": param for name, param in params.items()}, lam)
        return value, dict(zip(params, grads.values(), strict=True))

    return named


def all_but_b(penalty: Callable[[Params, float], Penalty]) -> Callable[[Params, float], Penalty]:
    """The penalty on everything that is not called b1, b2, ...: the norm's scales and shifts pay."""

    def named(params: Params, lam: float) -> Penalty:
        pays = {name: not (name[0] == "b" and name[1:].isdigit()) for name in params}
        value, grads = penalty({f"W{n}" if pays[n] else f"b{n}": v for n, v in params.items()}, lam)
        return value, dict(zip(params, grads.values(), strict=True))

    return named


def penalty_changed(
    penalty: Callable[[Params, float], Penalty], value: float = 1.0, grad: float = 1.0
) -> Callable[[Params, float], Penalty]:
    """Value and gradient multiplied by these numbers."""

    def changed(params: Params, lam: float) -> Penalty:
        right, grads = penalty(params, lam)
        return value * right, {name: grad * g for name, g in grads.items()}

    return changed


def weights_only(penalty: Callable[[Params, float], Penalty]) -> Callable[[Params, float], Penalty]:
    def without(params: Params, lam: float) -> Penalty:
        value, grads = penalty(params, lam)
        return value, {name: grad for name, grad in grads.items() if name.startswith("W")}

    return without


def averaged(penalty: Callable[[Params, float], Penalty]) -> Callable[[Params, float], Penalty]:
    """Each parameter's mean in place of its sum."""

    def mean(params: Params, lam: float) -> Penalty:
        total, grads = 0.0, {}
        for name, param in params.items():
            value, one = penalty({name: param}, lam)
            total += value / np.size(param)
            grads[name] = one[name] / np.size(param)
        return total, grads

    return mean


def l2_of_norm(params: Params, lam: float) -> Penalty:
    total, grads = 0.0, {}
    for name, param in params.items():
        w = floats(param)
        norm = float(np.linalg.norm(w)) if name.startswith("W") else 0.0
        total += 0.5 * lam * norm
        grads[name] = 0.5 * lam * w / norm if norm else np.zeros(w.shape)
    return total, grads


def l2_value_of_norm(params: Params, lam: float) -> Penalty:
    return l2_of_norm(params, lam)[0], ref.l2_penalty(params, lam)[1]


def l1_signed_sum(params: Params, lam: float) -> Penalty:
    _, grads = ref.l1_penalty(params, lam)
    return lam * sum(float(np.sum(v)) for n, v in params.items() if n.startswith("W")), grads


def l1_gradient_of_l2(params: Params, lam: float) -> Penalty:
    return ref.l1_penalty(params, lam)[0], ref.l2_penalty(params, lam)[1]


def l1_gradient_without_sign(params: Params, lam: float) -> Penalty:
    value, grads = ref.l1_penalty(params, lam)
    return value, {name: np.where(np.abs(grad) > 0, lam, 0.0) for name, grad in grads.items()}


def l1_gradient_without_lam(params: Params, lam: float) -> Penalty:
    value, grads = ref.l1_penalty(params, lam)
    return value, {name: np.sign(grad) for name, grad in grads.items()}


def l1_zero_is_positive(params: Params, lam: float) -> Penalty:
    value, grads = ref.l1_penalty(params, lam)
    for name in grads:
        if name.startswith("W"):
            grads[name] = np.where(floats(params[name]) >= 0, lam, -lam)
    return value, grads


def l1_by_division(params: Params, lam: float) -> Penalty:
    value, grads = ref.l1_penalty(params, lam)
    with np.errstate(all="ignore"):
        for name in grads:
            if name.startswith("W"):
                w = floats(params[name])
                grads[name] = lam * w / np.abs(w)
    return value, grads


def penalty_gradient(
    name: str, points: int, function: str, right: Callable[[Params, float], Penalty], cases: dict[str, Any]
) -> Check:
    """A gradient check of every entry of the gradients' dict, and no others in it."""

    def value(student: Any, inputs: dict[str, Any]) -> Any:
        return items(student.call(function, inputs["params"], inputs["lam"]), ("value", "grads"))[0]

    def grads(student: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        answer = student.call(function, inputs["params"], inputs["lam"])
        with case_of("", student.transcript[-1][0]):
            found = items(answer, ("value", "grads"))[1]
            got = {f"params.{key}": entry(found, key, "`grads`") for key in inputs["params"]}
            extra = [repr(key) for key in found if key not in inputs["params"]]
            holds(not extra, f"`grads` should have the keys of params only, but has {', '.join(extra[:4])} too.")
            return got

    def reference(inputs: dict[str, Any]) -> dict[str, Any]:
        return {f"params.{key}": grad for key, grad in right(inputs["params"], inputs["lam"])[1].items()}

    def named(draw: Any) -> Any:
        return lambda rng: dict(zip(("params", "lam"), draw(rng), strict=True))

    return gradient(
        name,
        points,
        (function,),
        [GradientCase(reason, named(draw)) for reason, draw in cases.items()],
        value=value,
        grads=grads,
        reference=reference,
    )


def penalty_value(points: int, function: str, right: Callable[[Params, float], Penalty]) -> Check:
    return numeric(
        "value of the penalty",
        points,
        function,
        right,
        [
            Case("two layers, with biases and a normalisation layer", with_strength(0.3)),
            Case("one square matrix", with_strength(2.0, {"W1": (3, 3)})),
            Case("a vector of weights, and a matrix of another name", with_strength(0.6, NAMES_COUNT)),
            Case("no weights at all", with_strength(0.5, {"b1": (3,), "gamma1": (2,)})),
            Case("a strength of 0", with_strength(0.0)),
        ],
        pick=0,
        result="the value",
    )


PENALISED: dict[str, Any] = {
    "two layers, with biases and a normalisation layer": with_strength(0.3),
    "one square matrix": with_strength(2.0, {"W1": (3, 3)}),
    "a vector of weights, and a matrix of another name": with_strength(0.6, NAMES_COUNT),
}


def listed(rng: Rng) -> tuple[Any, ...]:
    return {name: value.tolist() for name, value in drawn_params(rng).items()}, 0.7


L2 = Exercise(
    name="l2_penalty",
    title="The L2 penalty and its gradient",
    functions=("l2_penalty",),
    hints=(
        "Differentiate (lam / 2) w^2 for one weight on paper: where does the half go?",
        "Go through params by name. A name that begins with W adds to the value and gets a gradient; any other adds "
        "nothing and gets zeros of its shape.",
        "For a weight matrix: half of lam times the sum of its squares goes into the value, and lam times the matrix "
        "is its gradient. name.startswith('W') tells you which names pay.",
    ),
    checks=(
        penalty_value(4, "l2_penalty", ref.l2_penalty),
        penalty_gradient("gradient of the penalty", 4, "l2_penalty", ref.l2_penalty, PENALISED),
        penalty_gradient(
            "computed, not approximated",
            1,
            "l2_penalty",
            ref.l2_penalty,
            {"weights from a hundredth to a million": uneven, "parameters as nested lists": listed},
        ),
        unchanged(1, {"l2_penalty": with_strength(0.3)}),
    ),
    mistakes=(
        Mistake(
            name="l2-half-forgotten-in-the-value",
            advice="The value is (lam / 2) times the sum of squares: only with the half is its gradient lam w.",
            replaces={"l2_penalty": penalty_changed(ref.l2_penalty, value=2.0)},
        ),
        Mistake(
            name="l2-gradient-with-factor-2",
            advice="The square brings a factor 2, and the half in front of the sum takes it away: the gradient is lam "
            "w.",
            replaces={"l2_penalty": penalty_changed(ref.l2_penalty, grad=2.0)},
        ),
        Mistake(
            name="l2-without-the-half",
            advice="This is the penalty lam sum(w^2) with the gradient 2 lam w; here it is (lam / 2) sum(w^2) with lam "
            "w.",
            replaces={"l2_penalty": penalty_changed(ref.l2_penalty, value=2.0, grad=2.0)},
        ),
        Mistake(
            name="l2-gradient-halved",
            advice="The half belongs to the value; in the gradient the 2 of the square has used it up.",
            replaces={"l2_penalty": penalty_changed(ref.l2_penalty, grad=0.5)},
        ),
        Mistake(
            name="l2-biases-pay-too",
            advice="Only names that begin with W are penalised: biases and the scales and shifts of normalisation "
            "layers go free.",
            replaces={"l2_penalty": every_key(ref.l2_penalty)},
            variants=({"l2_penalty": all_but_b(ref.l2_penalty)},),
        ),
        Mistake(
            name="l2-of-the-norm",
            advice="The penalty adds up the squares; the root of that sum, the norm, is another penalty.",
            replaces={"l2_penalty": l2_of_norm},
            variants=({"l2_penalty": l2_value_of_norm},),
        ),
        Mistake(
            name="l2-averaged",
            advice="The penalty is a sum over all weights, not a mean: a larger network pays more.",
            replaces={"l2_penalty": averaged(ref.l2_penalty)},
        ),
        Mistake(
            name="l2-gradients-missing",
            advice="The dict of gradients needs all keys of params: where nothing is penalised, an array of zeros.",
            replaces={"l2_penalty": weights_only(ref.l2_penalty)},
        ),
    ),
)

L1 = Exercise(
    name="l1_penalty",
    title="The L1 penalty and its subgradient",
    functions=("l1_penalty",),
    hints=(
        "The plan is that of l2_penalty. Only two formulas change.",
        "The slope of |w| is 1 to the right of zero and -1 to the left of it; NumPy has a function that gives just "
        "that, and 0 at 0.",
        "For a weight matrix: lam times the sum of np.abs goes into the value, and lam times np.sign is the gradient.",
    ),
    checks=(
        penalty_value(3, "l1_penalty", ref.l1_penalty),
        penalty_gradient("gradient away from zero", 3, "l1_penalty", ref.l1_penalty, PENALISED),
        numeric(
            "the gradient is 0 where a weight is 0",
            1,
            "l1_penalty",
            ref.l1_penalty,
            [Case("weights of which some are exactly 0", some_zero), Case("parameters as nested lists", listed)],
        ),
        unchanged(1, {"l1_penalty": with_strength(0.3)}),
    ),
    mistakes=(
        Mistake(
            name="l1-without-absolute-value",
            advice="The value adds up absolute values; without them positive and negative weights cancel.",
            replaces={"l1_penalty": l1_signed_sum},
        ),
        Mistake(
            name="l1-with-the-gradient-of-l2",
            advice="The slope of |w| is its sign: the pull does not depend on how large the weight is.",
            replaces={"l1_penalty": l1_gradient_of_l2},
        ),
        Mistake(
            name="l1-gradient-without-sign",
            advice="A negative weight is pulled up, a positive one down: the gradient has the sign of the weight.",
            replaces={"l1_penalty": l1_gradient_without_sign},
        ),
        Mistake(
            name="l1-gradient-without-lam",
            advice="The penalty is lam times a sum, and so is its gradient: multiply the signs by lam.",
            replaces={"l1_penalty": l1_gradient_without_lam},
        ),
        Mistake(
            name="l1-zero-counted-as-positive",
            advice="At w = 0 the gradient is 0 by custom: a weight that has reached 0 should be left there.",
            replaces={"l1_penalty": l1_zero_is_positive},
        ),
        Mistake(
            name="l1-sign-by-division",
            advice="w / |w| is 0 / 0 at a weight of 0, which is nan; np.sign gives 0 there.",
            replaces={"l1_penalty": l1_by_division},
        ),
        Mistake(
            name="l1-biases-pay-too",
            advice="Only names that begin with W are penalised: biases and the scales and shifts of normalisation "
            "layers go free.",
            replaces={"l1_penalty": every_key(ref.l1_penalty)},
            variants=({"l1_penalty": all_but_b(ref.l1_penalty)},),
        ),
        Mistake(
            name="l1-averaged",
            advice="The penalty is a sum over all weights, not a mean.",
            replaces={"l1_penalty": averaged(ref.l1_penalty)},
        ),
        Mistake(
            name="l1-with-a-half",
            advice="Only the L2 penalty has a half in front; here the value is lam times the sum.",
            replaces={"l1_penalty": penalty_changed(ref.l1_penalty, value=0.5)},
            variants=({"l1_penalty": penalty_changed(ref.l1_penalty, value=0.5, grad=0.5)},),
        ),
    ),
)

# --- soft threshold --------------------------------------------------------------------------------------------------


def soft_hard(w: Array, threshold: float) -> Array:
    w = floats(w)
    return np.where(np.abs(w) > threshold, w, 0.0)


def soft_without_sign(w: Array, threshold: float) -> Array:
    return np.maximum(np.abs(floats(w)) - threshold, 0.0)


def soft_positive_only(w: Array, threshold: float) -> Array:
    return np.maximum(floats(w) - threshold, 0.0)


def soft_overshooting(w: Array, threshold: float) -> Array:
    w = floats(w)
    return w - threshold * np.sign(w)


def soft_growing(w: Array, threshold: float) -> Array:
    w = floats(w)
    return np.where(np.abs(w) <= threshold, 0.0, w + threshold * np.sign(w))


def proximal(change: Callable[[Array, Array, float, float], Array]) -> dict[str, Any]:
    return {"l1_step": lambda w, grad, lr, lam: change(floats(w), floats(grad), lr, lam)}


def l1_arguments(*shape: int, lr: float, lam: float) -> Any:
    return lambda rng: (rng.normal(size=shape), 2 * rng.normal(size=shape), lr, lam)


@prop("a weight at 0 stays exactly 0 while its gradient is below lam", 2, "l1_step")
def stays_zero(student: Any, rng: Rng) -> None:
    lam = float(rng.uniform(0.5, 1.5))
    weights = np.array([0.0, 0.0, 0.0, 0.02, -0.02, 0.0, 0.0])
    grad = lam * np.array([0.9, -0.5, 0.0, -0.4, -0.3, 1.6, -2.0])
    got = numbers(student.l1_step(weights, grad, 0.1, lam), (7,))
    with case_of("weights at and near 0, all but two with a gradient below lam"):
        holds(not got[:3].any(), "the first three should stay at exactly 0: the penalty is stronger than the loss.")
        holds(not got[3:5].any(), "the two weights of size 0.02 should become exactly 0.")
        holds(bool((got[5:] != 0).all()), "the last two, whose gradient is above lam, should leave 0.")


SOFT = Exercise(
    name="l1_step",
    title="Soft threshold, and steps that make zeros",
    functions=("soft_threshold", "l1_step"),
    hints=(
        "Draw the function of w that the three cases describe: it is flat around 0, and a line of slope 1 on both "
        "sides.",
        "Take the size |w|, lower it by the threshold, not below 0, and give it its sign back. For l1_step: first the "
        "step for the loss, then the threshold, and mind how long the step was.",
        "soft_threshold is np.sign(w) times np.maximum(|w| - threshold, 0). l1_step calls it with w - lr * grad and "
        "the threshold lr * lam.",
    ),
    checks=(
        numeric(
            "soft threshold",
            4,
            "soft_threshold",
            ref.soft_threshold,
            [
                Case("weights on both sides of the threshold", lambda rng: (2 * rng.normal(size=(4, 5)), 0.8)),
                Case("weights exactly at the threshold", lambda rng: (np.array([0.5, -0.5, 0.75, -0.75, 0.0]), 0.5)),
                Case("a threshold of 0, which changes nothing", lambda rng: (rng.normal(size=4), 0.0)),
                Case("a plain list", lambda rng: ([3.0, -3.0, 0.1, -0.1], 1.0)),
            ],
        ),
        numeric(
            "one step",
            4,
            "l1_step",
            ref.proximal_l1_step,
            [
                Case("a matrix of weights", l1_arguments(4, 3, lr=0.3, lam=0.8)),
                Case(
                    "weights that the loss takes across 0",
                    lambda rng: (0.5 * np.ones(3), rng.uniform(5, 9, size=3), 0.5, 1.0),
                ),
                Case("a small learning rate", l1_arguments(6, lr=0.01, lam=5.0)),
                Case("no penalty", l1_arguments(5, lr=0.2, lam=0.0)),
                Case("no gradient", lambda rng: (rng.normal(size=6), np.zeros(6), 0.5, 0.6)),
                Case("plain lists", lambda rng: ([1.0, 0.1, -1.0], [2.0, 0.0, 0.5], 0.1, 3.0)),
            ],
            result="the new weights",
        ),
        stays_zero,
        unchanged(
            2,
            {
                "soft_threshold": lambda rng: (rng.normal(size=4), 0.5),
                "l1_step": l1_arguments(4, lr=0.1, lam=0.5),
            },
        ),
    ),
    mistakes=(
        Mistake(
            name="hard-threshold",
            advice="Entries beyond the threshold move towards 0 as well, by the threshold; yours leaves them where "
            "they are.",
            replaces={"soft_threshold": soft_hard},
        ),
        Mistake(
            name="sign-lost-in-the-threshold",
            advice="|w| - threshold is the new size; the sign of w must be put back.",
            replaces={"soft_threshold": soft_without_sign},
        ),
        Mistake(
            name="only-positive-weights-kept",
            advice="Negative weights are treated like positive ones, mirrored: w + threshold where w is below "
            "-threshold.",
            replaces={"soft_threshold": soft_positive_only},
        ),
        Mistake(
            name="moved-past-zero",
            advice="An entry smaller than the threshold stops at 0; yours comes out on the other side.",
            replaces={"soft_threshold": soft_overshooting},
        ),
        Mistake(
            name="moved-away-from-zero",
            advice="The threshold makes weights smaller: subtract it from their size.",
            replaces={"soft_threshold": soft_growing},
        ),
        Mistake(
            name="threshold-without-lr",
            advice="The penalty pulls for as long as the step is: the threshold is lr * lam.",
            replaces=proximal(lambda w, grad, lr, lam: ref.soft_threshold(w - lr * grad, lam)),
        ),
        Mistake(
            name="threshold-before-the-step",
            advice="First the step for the loss, then the threshold; in the other order no weight ends at exactly 0.",
            replaces=proximal(lambda w, grad, lr, lam: ref.soft_threshold(w, lr * lam) - lr * grad),
        ),
        Mistake(
            name="subgradient-step-instead",
            advice="A step along lam * sign(w) jumps across 0 and never stops there: use soft_threshold.",
            replaces=proximal(lambda w, grad, lr, lam: w - lr * (grad + lam * np.sign(w))),
        ),
        Mistake(
            name="l1-step-climbs",
            advice="The gradient points uphill: the step for the loss is w - lr * grad.",
            replaces=proximal(lambda w, grad, lr, lam: ref.soft_threshold(w + lr * grad, lr * lam)),
        ),
    ),
)

# --- L2 in the gradient, and weight decay ----------------------------------------------------------------------------

Step = Callable[[Params, Params, float, float], Params]


def stepping(weights: Callable[..., Array], others: Callable[..., Array]) -> Step:
    """A step with these rules (w, g, lr, strength) for weights and for everything else."""

    def step(params: Params, grads: Params, lr: float, strength: float) -> Params:
        return {
            name: (weights if name.startswith("W") else others)(floats(value), floats(grads[name]), lr, strength)
            for name, value in params.items()
        }

    return step


def plain(w: Array, g: Array, lr: float, strength: float) -> Array:
    return w - lr * g


RIGHT_L2 = stepping(ref.l2_gradient_step, plain)
RIGHT_DECAY = stepping(ref.weight_decay_step, plain)


def in_place(step: Step) -> Step:
    def changing(params: Params, grads: Params, lr: float, strength: float) -> Params:
        for name, value in step(params, grads, lr, strength).items():
            params[name][...] = value
        return params

    return changing


def by_position(step: Step) -> Step:
    """Pairs parameters and gradients by their order."""

    def paired(params: Params, grads: Params, lr: float, strength: float) -> Params:
        return step(params, dict(zip(params, grads.values(), strict=True)), lr, strength)

    return paired


def step_arguments(lr: float, strength: float, shapes: dict[str, tuple[int, ...]] = SHAPES) -> Any:
    def draw(rng: Rng) -> tuple[Any, ...]:
        grads = {name: rng.normal(size=shape) for name, shape in shapes.items()}
        return drawn_params(rng, shapes), grads, lr, strength

    return draw


def shuffled(rng: Rng) -> tuple[Any, ...]:
    """Parameters of one shape, and their gradients in another order."""
    params, grads, lr, strength = step_arguments(0.2, 0.5, dict.fromkeys(("W1", "W2", "b1", "b2"), (3,)))(rng)
    return params, dict(reversed(grads.items())), lr, strength


def listed_step(rng: Rng) -> tuple[Any, ...]:
    *dicts, lr, strength = step_arguments(0.2, 0.4)(rng)
    params, grads = ({name: value.tolist() for name, value in entries.items()} for entries in dicts)
    return params, grads, lr, strength


def step_check(name: str, points: int, function: str, right: Step) -> Check:
    return numeric(
        name,
        points,
        function,
        right,
        [
            Case("two layers, with biases and a normalisation layer", step_arguments(0.2, 0.3)),
            Case("a strong pull", step_arguments(0.5, 1.5)),
            Case("a vector of weights, and a matrix of another name", step_arguments(0.2, 0.6, NAMES_COUNT)),
            Case("a strength of 0: plain gradient descent", step_arguments(0.1, 0.0)),
            Case("parameters and gradients as nested lists", listed_step),
        ],
        result="the new parameters",
    )


@prop("both steps are one and the same", 2, "l2_step", "decay_step", alone=False)
def equal_steps(student: Any, rng: Rng) -> None:
    arguments = step_arguments(0.2, 0.4)(rng)
    by_gradient, by_decay = student.l2_step(*arguments), student.decay_step(*arguments)
    with case_of("the same parameters and gradients to both"):
        for name, value in arguments[0].items():
            one = numbers(entry(by_gradient, name, "the result of l2_step"), value.shape, f"l2_step's {name}")
            other = entry(by_decay, name, "the result of decay_step")
            same(other, one, f"decay_step's {name}, compared with l2_step's,")


@prop("gradients are paired by name", 1, "l2_step", "decay_step")
def paired_by_name(student: Any, rng: Rng) -> None:
    for function, right in (("decay_step", RIGHT_DECAY), ("l2_step", RIGHT_L2)):
        arguments = shuffled(rng)
        got = student.call(function, *arguments)
        with case_of("the gradients in another order", student.transcript[-1][0]):
            same(got, right(*arguments), "the new parameters")


def either(**wrong: Step) -> dict[str, Any]:
    return dict(wrong)


STEPS = Exercise(
    name="decay_step",
    title="L2 in the gradient, and weight decay",
    functions=("l2_step", "decay_step"),
    hints=(
        "l2_step needs nothing new: the gradient of a sum of two losses is the sum of their gradients.",
        "l2_penalty hands you zeros for what goes free, so l2_step can add its gradients to all of them. decay_step "
        "has two rules, and the name decides which.",
        "l2_step: w minus lr times (gradient plus the penalty's gradient), for every name. decay_step: multiply a "
        "weight by (1 - lr * weight_decay), anything else by 1, and subtract lr times the gradient. Build a new dict.",
    ),
    checks=(
        step_check("l2_step", 3, "l2_step", RIGHT_L2),
        step_check("decay_step", 3, "decay_step", RIGHT_DECAY),
        equal_steps,
        paired_by_name,
        unchanged(1, {"l2_step": step_arguments(0.2, 0.3), "decay_step": step_arguments(0.2, 0.3)}),
    ),
    mistakes=(
        Mistake(
            name="decay-without-lr",
            advice="A weight shrinks by the share lr * weight_decay in a step; yours leaves lr out.",
            replaces=either(decay_step=stepping(lambda w, g, lr, s: (1 - s) * w - lr * g, plain)),
        ),
        Mistake(
            name="decay-after-the-step",
            advice="The old weight shrinks, not the new one: lr * g is not multiplied by (1 - lr * weight_decay).",
            replaces=either(decay_step=stepping(lambda w, g, lr, s: (1 - lr * s) * (w - lr * g), plain)),
        ),
        Mistake(
            name="weights-grow",
            advice="Decay makes weights smaller: the factor is 1 - lr * weight_decay.",
            replaces=either(decay_step=stepping(lambda w, g, lr, s: (1 + lr * s) * w - lr * g, plain)),
            variants=(either(l2_step=stepping(lambda w, g, lr, s: w - lr * (g - s * w), plain)),),
        ),
        Mistake(
            name="decay-forgotten",
            advice="This is plain gradient descent: the weights must shrink besides.",
            replaces=either(l2_step=stepping(plain, plain), decay_step=stepping(plain, plain)),
            variants=(either(decay_step=stepping(plain, plain)), either(l2_step=stepping(plain, plain))),
        ),
        Mistake(
            name="gradient-of-the-loss-forgotten",
            advice="The step follows the loss and the penalty together; yours follows the penalty alone.",
            replaces=either(
                l2_step=stepping(lambda w, g, lr, s: w - lr * s * w, lambda w, g, lr, s: w),
                decay_step=stepping(lambda w, g, lr, s: (1 - lr * s) * w, lambda w, g, lr, s: w),
            ),
            variants=(
                either(l2_step=stepping(lambda w, g, lr, s: w - lr * s * w, lambda w, g, lr, s: w)),
                either(decay_step=stepping(lambda w, g, lr, s: (1 - lr * s) * w, lambda w, g, lr, s: w)),
            ),
        ),
        Mistake(
            name="penalty-counted-twice",
            advice="The penalty's gradient is lam w: no factor 2 in the step either.",
            replaces=either(l2_step=stepping(lambda w, g, lr, s: w - lr * (g + 2 * s * w), plain)),
            variants=(
                either(decay_step=stepping(lambda w, g, lr, s: (1 - 2 * lr * s) * w - lr * g, plain)),
                either(
                    l2_step=stepping(lambda w, g, lr, s: w - lr * (g + 2 * s * w), plain),
                    decay_step=stepping(lambda w, g, lr, s: (1 - 2 * lr * s) * w - lr * g, plain),
                ),
            ),
        ),
        Mistake(
            name="penalty-value-added",
            advice="It is the penalty's GRADIENT that joins the loss's gradient, not its value.",
            replaces=either(
                l2_step=lambda params, grads, lr, lam: {
                    name: floats(value)
                    - lr * (floats(grads[name]) + ref.l2_penalty(params, lam)[0] * name.startswith("W"))
                    for name, value in params.items()
                }
            ),
        ),
        Mistake(
            name="biases-decay-too",
            advice="Only weights decay, the names that begin with W; a bias takes the plain step.",
            replaces=either(
                l2_step=stepping(ref.l2_gradient_step, ref.l2_gradient_step),
                decay_step=stepping(ref.weight_decay_step, ref.weight_decay_step),
            ),
            variants=(
                either(decay_step=stepping(ref.weight_decay_step, ref.weight_decay_step)),
                either(l2_step=stepping(ref.l2_gradient_step, ref.l2_gradient_step)),
            ),
        ),
        Mistake(
            name="biases-not-moved",
            advice="Biases do not decay, but they still take their step: b - lr * g.",
            replaces=either(decay_step=stepping(ref.weight_decay_step, lambda w, g, lr, s: w)),
        ),
        Mistake(
            name="paired-by-order",
            advice="The order of a dict says nothing: take the gradient by the parameter's name.",
            replaces=either(l2_step=by_position(RIGHT_L2), decay_step=by_position(RIGHT_DECAY)),
            variants=(either(decay_step=by_position(RIGHT_DECAY)), either(l2_step=by_position(RIGHT_L2))),
        ),
        Mistake(
            name="parameters-changed-in-place",
            advice="`params[name] -= ...` changes the caller's arrays; build new ones in a new dict.",
            replaces=either(l2_step=in_place(RIGHT_L2), decay_step=in_place(RIGHT_DECAY)),
            variants=(either(decay_step=in_place(RIGHT_DECAY)), either(l2_step=in_place(RIGHT_L2))),
        ),
    ),
)

# --- early stopping --------------------------------------------------------------------------------------------------

NAN = float("nan")


def stops(losses: Sequence[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    return ref.early_stopping([float(v) for v in np.ravel(losses)], patience, min_delta)


def watching(
    improves: Callable[[float, float, float, float], bool] = lambda loss, lowest, previous, delta: (
        loss < lowest - delta
    ),
    *,
    spare: int = 0,
    resets: bool = True,
    gives: Callable[[int, int, int], tuple[int, int]] = lambda best, last, after: (best, last),
) -> dict[str, Any]:
    """Early stopping with another idea of what improves, of patience, or of what is returned."""

    def stopping(losses: Sequence[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
        best, lowest, waited, previous = 0, math.inf, 0, math.inf
        values = [float(v) for v in np.ravel(losses)]
        for epoch, loss in enumerate(values):
            if improves(loss, lowest, previous, min_delta):
                best, lowest, waited = epoch, loss, 0 if resets else waited
            else:
                waited += 1
            previous = loss
            if waited >= patience + spare:
                return gives(best, epoch, epoch - waited)
        return gives(best, len(values) - 1, len(values) - 1 - waited)

    return {"stopping_epoch": stopping}


def best_of_all(losses: Sequence[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    return int(np.nanargmin(losses)) if not np.isnan(losses).all() else 0, stops(losses, patience, min_delta)[1]


def argmin_of_seen(losses: Sequence[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    _, last = stops(losses, patience, min_delta)
    return int(np.argmin(np.ravel(losses)[: last + 1])), last


def course(length: int, patience: int, min_delta: float = 0.0) -> Any:
    """Draws losses that fall, and rise again with bumps on the way."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        epochs = np.arange(length)
        losses = 1.0 + 0.02 * (epochs - 0.4 * length) ** 2 + 0.1 * rng.normal(size=length)
        return losses, patience, min_delta

    return draw


def fixed(*args: Any) -> Any:
    return lambda rng: args


STOPPING = Exercise(
    name="stopping_epoch",
    title="When to stop, and which epoch was best",
    functions=("stopping_epoch",),
    hints=(
        "Play it with a pencil: which three things do you write down, and change, as the losses come in one by one?",
        "The best epoch, its loss, and how many epochs have passed without improvement. A better loss changes all "
        "three; any other only raises the count.",
        "Start with best 0, lowest infinity, waited 0. If loss < lowest - min_delta, note epoch and loss and reset the "
        "count, else add one to it; return (best, epoch) once the count is patience. After the loop, the last epoch is "
        "len(losses) - 1.",
    ),
    checks=(
        numeric(
            "best and last epoch",
            3,
            "stopping_epoch",
            stops,
            [
                Case("losses that fall and rise again", course(20, 4)),
                Case(
                    "losses with a bump that patience survives", fixed([5.0, 3.0, 4.0, 4.5, 2.0, 3.0, 3.5, 4.0, 1.0], 3)
                ),
                Case("losses that keep falling to the end", fixed([5.0, 4.0, 3.0, 2.0], 2)),
                Case("a rise that is followed by small falls", fixed([2.0, 5.0, 4.0, 3.5, 3.0, 1.0], 3)),
            ],
            result="(best, last)",
        ),
        numeric(
            "the shortest patience, and the longest",
            2,
            "stopping_epoch",
            stops,
            [
                Case("a patience of 1", fixed([4.0, 3.0, 3.5, 1.0], 1)),
                Case("a patience longer than the training", fixed([4.0, 3.0, 3.5, 5.0, 6.0], 10)),
                Case("a single loss", fixed([2.0], 1)),
                Case("two bumps, each shorter than the patience", fixed([5.0, 6.0, 6.0, 4.0, 6.0, 6.0, 3.0, 7.0], 3)),
            ],
            result="(best, last)",
        ),
        numeric(
            "an equal loss is no improvement",
            1,
            "stopping_epoch",
            stops,
            [Case("the best loss again and again", fixed([5.0, 3.0, 3.0, 3.0, 3.0], 2))],
            result="(best, last)",
        ),
        numeric(
            "improvements below min_delta do not count",
            1,
            "stopping_epoch",
            stops,
            [
                Case("a fall that follows a rise", fixed([5.0, 6.0, 5.5, 5.625, 5.75], 3, 0.25)),
                Case("a rise below min_delta is no improvement either", fixed([5.0, 5.125, 5.1875, 4.0], 2, 0.25)),
                Case("falls that are too small", fixed([5.0, 4.95, 4.875, 4.0, 3.0], 2, 0.25)),
                Case("small falls that add up to a large one", fixed([5.0, 4.75, 4.5, 4.25, 4.125], 3, 0.625)),
            ],
            result="(best, last)",
        ),
        numeric(
            "nan is no improvement",
            1,
            "stopping_epoch",
            stops,
            [
                Case("a training that breaks down", fixed([5.0, 4.0, NAN, NAN, NAN, 1.0], 3)),
                Case("nan in the first epoch", fixed([NAN, 4.0, 3.0, 5.0], 2)),
                Case("nothing but nan", fixed([NAN, NAN, NAN, NAN], 3)),
            ],
            result="(best, last)",
        ),
    ),
    mistakes=(
        Mistake(
            name="one-epoch-too-patient",
            advice="Training ends after the patience-th epoch without improvement, not one later.",
            replaces=watching(spare=1),
        ),
        Mistake(
            name="patience-never-renewed",
            advice="An improvement sets the count back to 0: only epochs in a row count.",
            replaces=watching(resets=False),
        ),
        Mistake(
            name="compared-with-the-previous-loss",
            advice="A loss must be below the BEST so far; being below the previous one is not enough.",
            replaces=watching(lambda loss, lowest, previous, delta: loss < previous - delta),
        ),
        Mistake(
            name="equal-counts-as-improvement",
            advice="A loss equal to the best is no improvement: compare with < and not with <=.",
            replaces=watching(lambda loss, lowest, previous, delta: loss <= lowest - delta),
        ),
        Mistake(
            name="min-delta-ignored",
            advice="An improvement must be larger than min_delta: compare the loss with (best loss - min_delta).",
            replaces=watching(lambda loss, lowest, previous, delta: loss < lowest),
        ),
        Mistake(
            name="min-delta-the-wrong-way",
            advice="min_delta makes improving harder: the loss must be below (best loss MINUS min_delta).",
            replaces=watching(lambda loss, lowest, previous, delta: loss < lowest + delta),
        ),
        Mistake(
            name="nan-counts-as-improvement",
            advice="Every comparison with nan is false, also `loss >= ...`: ask whether the loss IS below, not whether "
            "it is not above.",
            replaces=watching(lambda loss, lowest, previous, delta: not loss >= lowest - delta),
        ),
        Mistake(
            name="best-by-argmin",
            advice="The lowest loss seen need not be the best epoch: nan, and falls within min_delta, do not count.",
            replaces={"stopping_epoch": argmin_of_seen},
        ),
        Mistake(
            name="looked-into-the-future",
            advice="When training ends, the later losses are never computed: the best is the best of those before.",
            replaces={"stopping_epoch": best_of_all},
        ),
        Mistake(
            name="epochs-counted-from-one",
            advice="Epochs are counted from 0.",
            replaces=watching(gives=lambda best, last, after: (best + 1, last + 1)),
        ),
        Mistake(
            name="best-and-last-swapped",
            advice="Both numbers are right, but their order is not: the best epoch comes first.",
            replaces=watching(gives=lambda best, last, after: (last, best)),
        ),
    ),
)


class Run(msgspec.Struct, frozen=True):
    """A training that is known in advance: epoch k makes every parameter k larger, and has validation loss k - 1 of
    `losses`, or the last of them."""

    losses: list[float]
    asked: list[float] = []

    def epoch(self, params: Any) -> Params:
        return {name: floats(value) + 1.0 for name, value in params.items()}

    def loss_of(self, params: Any) -> float:
        k = float(np.ravel(params["count"])[0])
        return self.losses[min(max(int(k) - 1, 0), len(self.losses) - 1)] if k == k else NAN

    def loss(self, params: Any) -> float:
        self.asked.append(float(np.ravel(params["count"])[0]))
        return self.loss_of(params)


def started(rng: Rng) -> Params:
    return {"W1": rng.normal(size=(2, 3)), "count": np.zeros(1)}


def trained(student: Any, start: Params, run: Run, epochs: int, patience: int, *, drifts: bool = False) -> None:
    """The student's best parameters and losses are those of the reference on this run."""
    want, losses = ref.train_with_early_stopping(start, run.epoch, run.loss_of, epochs, patience)
    epoch = Function("drift") if drifts else Callback(run.epoch, "epoch")
    call = Call("train_with_early_stopping", (start, epoch, Callback(run.loss, "validation_loss"), epochs, patience))
    [reply] = student.batch([call])
    got, found = items(student.answer(call, reply), ("best_params", "losses"))
    with case_of("", call):
        same(found, np.array(losses), "`losses`")
        holds(type(got) is dict, "`best_params` should be a dict of arrays.")
        for name, value in want.items():
            same(entry(got, name, "`best_params`"), value, f"`best_params[{name!r}]`")


@prop("the best weights come back", 4, "train_with_early_stopping")
def best_come_back(student: Any, rng: Rng) -> None:
    for reason, losses, epochs, patience in (
        ("losses that fall and rise again", [5.0, 3.0, 2.0, 2.5, 3.0, 1.0], 20, 2),
        ("a bump that patience survives", [5.0, 3.0, 4.0, 4.5, 2.0, 3.0, 3.5, 4.0, 1.0], 20, 3),
        ("max_epochs reached while it still improves", [5.0, 4.0, 3.0, 2.0, 1.0, 0.5], 4, 2),
        ("max_epochs reached while it waits", [5.0, 2.0, 3.0, 4.0, 1.0], 4, 5),
        ("the first epoch is the best", [1.0, 2.0, 3.0, 0.5], 10, 2),
        ("a single epoch", [3.0, 1.0], 1, 3),
        ("a patience of 1", [4.0, 3.0, 3.5, 1.0], 10, 1),
        ("nan after the best", [5.0, 3.0, NAN, 4.0, 1.0], 10, 2),
        ("nothing but nan", [NAN] * 6, 6, 3),
    ):
        with case_of(reason):
            trained(student, started(rng), Run(losses, []), epochs, patience)


@prop("each epoch is validated once, after it", 2, "train_with_early_stopping")
def validated_once(student: Any, rng: Rng) -> None:
    run = Run([5.0, 3.0, 4.0, 3.5, 1.0], [])
    student.train_with_early_stopping(
        started(rng), Callback(run.epoch, "epoch"), Callback(run.loss, "validation_loss"), 10, 2
    )
    with case_of("four epochs until patience 2 runs out", student.transcript[-1][0]):
        same(
            np.array(run.asked),
            np.arange(1.0, 5.0),
            "the number of epochs done when validation_loss was called, in order,",
        )


class Drift(msgspec.Struct, frozen=True):
    """The given `drift`, as a run: it takes 1 off every entry."""

    losses: list[float]

    def epoch(self, params: Any) -> Params:
        return {name: floats(value) - 1.0 for name, value in params.items()}

    def loss_of(self, params: Any) -> float:
        k = -float(np.ravel(params["count"])[0])
        return self.losses[min(max(int(k) - 1, 0), len(self.losses) - 1)] if k == k else NAN

    loss = loss_of


@prop("an epoch that works in place does not spoil the best", 4, "train_with_early_stopping")
def in_place_epochs(student: Any, rng: Rng) -> None:
    for losses, epochs, patience in (([5.0, 3.0, 2.0, 2.5, 3.0, 1.0], 20, 2), ([5.0, 2.0, 3.0, 4.0, 1.0], 4, 5)):
        # First with new arrays in every epoch: who gives back the last weights does so there too.
        with case_of("an epoch that makes new arrays"):
            trained(student, started(rng), Run(losses, []), epochs, patience)
        with case_of("`drift` as the epoch"):
            run: Any = Drift(losses)
            trained(student, started(rng), run, epochs, patience, drifts=True)
            holds(
                0 not in student.transcript[-1][1].changed,
                "the caller's params have changed: hand epoch a copy of them.",
            )


def training_with(
    *,
    keeps: Callable[[Params], Params] = copy.deepcopy,
    copies_start: bool = True,
    returns_last: bool = False,
    validates_first: bool = False,
    extra: int = 0,
    stops_early: bool = True,
    late: int = 0,
    start_counts: bool = False,
) -> dict[str, Any]:
    """The training loop, with one thing done another way."""

    def train(params: Params, epoch: Any, validation_loss: Any, max_epochs: int, patience: int) -> Any:
        params = copy.deepcopy(params) if copies_start else params
        best, lowest, waited, losses = None, math.inf, 0, []
        if start_counts:
            best, lowest = keeps(params), float(validation_loss(params))
        for _ in range(max_epochs + extra):
            if validates_first:
                loss = float(validation_loss(params))
                params = epoch(params)
            else:
                params = epoch(params)
                loss = float(validation_loss(params))
            losses.append(loss)
            improved = loss < lowest
            if improved or best is None:
                best = keeps(params)
            lowest, waited = (loss, 0) if improved else (lowest, waited + 1)
            if stops_early and waited >= patience + late:
                break
        return (params if returns_last else best), losses

    return {"train_with_early_stopping": train}


EARLY = Exercise(
    name="train_with_early_stopping",
    title="Training that gives back its best weights",
    functions=("train_with_early_stopping",),
    hints=(
        "After each epoch you know all losses so far. Who can tell you, from those, whether this epoch is the best, "
        "and whether to go on?",
        "Call stopping_epoch with the losses so far. If its best epoch is the one just done, copy the weights. To "
        "learn whether training is over, ask it again with one more loss, an infinite one: would it look at that?",
        "Copy params first, array by array. In the loop: params = epoch(params), append the loss, and ask "
        "stopping_epoch for (best, last) of these losses and np.inf. If best is the epoch just done, keep "
        "np.array(value) of every entry in a new dict. If last is not the index of that infinite loss, break.",
    ),
    checks=(best_come_back, validated_once, in_place_epochs),
    mistakes=(
        Mistake(
            name="last-weights-returned",
            advice="These are the weights of the last epoch; keep those of the best one and return them.",
            replaces=training_with(returns_last=True),
        ),
        Mistake(
            name="best-weights-not-copied",
            advice="Your best weights are the very arrays that later epochs change: make a copy of each array.",
            replaces=training_with(keeps=lambda params: params),
            variants=(training_with(keeps=dict),),
        ),
        Mistake(
            name="start-weights-not-copied",
            advice="epoch worked on the caller's own arrays: copy them before the first epoch.",
            replaces=training_with(copies_start=False),
        ),
        Mistake(
            name="validated-before-the-epoch",
            advice="The validation loss belongs to the weights after the epoch: train first, then validate.",
            replaces=training_with(validates_first=True),
        ),
        Mistake(
            name="never-stops-early",
            advice="Patience is not used: all epochs are run, and the losses after the end are in the list.",
            replaces=training_with(stops_early=False),
        ),
        Mistake(
            name="stops-one-epoch-late",
            advice="Training ends after the patience-th epoch without improvement, not one later.",
            replaces=training_with(late=1),
        ),
        Mistake(
            name="one-epoch-too-many",
            advice="At most max_epochs epochs are run; yours runs one more.",
            replaces=training_with(extra=1),
        ),
        Mistake(
            name="start-counted-as-a-candidate",
            advice="The starting weights are not validated: the first epoch's weights are the first candidate.",
            replaces=training_with(start_counts=True),
        ),
    ),
)

# --- Monte Carlo dropout ---------------------------------------------------------------------------------------------

Spread = tuple[Array, Array]


def answers(x: Array, params: Params, p: float, n_samples: int, rng: Rng, training: bool = True) -> Array:
    """All samples (S, B, nL) of the given network, drawn as the exercise says."""
    depth = len(params) // 2

    def one(generator: Rng) -> Array:
        a = floats(x)
        for layer in range(1, depth):
            a = np.maximum(a @ floats(params[f"W{layer}"]).T + floats(params[f"b{layer}"]), 0.0)
            a, _ = ref.dropout_forward(a, p, generator, training)
        return a @ floats(params[f"W{depth}"]).T + floats(params[f"b{depth}"])

    drawn = copy.deepcopy(rng)
    return np.array([one(drawn) for _ in range(n_samples)])


def spread(x: Array, params: Params, p: float, n_samples: int, rng: Rng) -> Spread:
    """The reference: its own sampling of this network."""
    drawn = copy.deepcopy(rng)
    one = iter(answers(x, params, p, n_samples, drawn))
    return ref.mc_dropout(lambda generator: next(one), n_samples, drawn)


def spread_with(
    summary: Callable[[Array], Any], *, training: bool = True, samples: Callable[..., Array] = answers
) -> Any:
    def mc(x: Array, params: Params, p: float, n_samples: int, rng: Rng) -> Any:
        return summary(samples(x, params, p, n_samples, rng, training))

    return {"mc_dropout": mc}


def mean_and_variance(a: Array) -> Spread:
    return a.mean(axis=0), a.var(axis=0)


def one_mask_again(x: Array, params: Params, p: float, n_samples: int, rng: Rng, training: bool) -> Array:
    return np.repeat(answers(x, params, p, 1, rng, training), n_samples, axis=0)


def one_too_few(x: Array, params: Params, p: float, n_samples: int, rng: Rng, training: bool) -> Array:
    return answers(x, params, p, max(n_samples - 1, 1), rng, training)


def unbiased(a: Array) -> Spread:
    with np.errstate(all="ignore"):
        return a.mean(axis=0), ((a - a.mean(axis=0)) ** 2).sum(axis=0) / np.float64(len(a) - 1)


def a_network(widths: Sequence[int], batch: int, p: float, samples: int) -> Any:
    """Draws the arguments of mc_dropout."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        params: Params = {}
        for layer in range(1, len(widths)):
            params[f"W{layer}"] = rng.normal(size=widths[layer - 1 : layer + 1][::-1])
            params[f"b{layer}"] = 0.5 + rng.normal(size=widths[layer])
        return rng.normal(size=(batch, widths[0])), params, p, samples, generator(rng)

    return draw


MC_ROWS, MC_SAMPLES = 3000, 4


# One event for the mean, one for the variance.
@statistical("the mean and the variance that theory gives", 3, "mc_dropout", false_alarm=2 * MISS)
def theory(student: Any, rng: Rng) -> None:
    """One input, in 3,000 rows of a batch with masks of their own, through two hidden units that are always on.

    An answer is the sum of a_j m_j / (1 - p) with a_j = W2_j h_j and independent m_j in {0, 1}: its mean is sum a_j,
    its variance p / (1 - p) sum a_j^2. It lies in an interval of width R = sum a_j / (1 - p), for all a_j are positive.
    The biased variance of S samples has (S - 1) / S of that on average, and lies between 0 and R^2 / 4.
    """
    p, x = 0.4, float(rng.uniform(0.8, 1.2))
    params = {
        "W1": rng.uniform(0.9, 1.1, size=(2, 1)),
        "b1": np.full(2, 0.2),
        "W2": rng.uniform(0.9, 1.1, size=(1, 2)),
        "b2": np.full(1, -0.7),
    }
    a = params["W2"][0] * (params["W1"][:, 0] * x + params["b1"])
    width = float(a.sum() / (1 - p))
    arguments = (np.full((MC_ROWS, 1), x), params, p, MC_SAMPLES, generator(rng))
    mean, variance = items(student.mc_dropout(*arguments), ("mean", "variance"))
    with case_of(f"one input in {MC_ROWS} rows, {MC_SAMPLES} samples"):
        mean = numbers(mean, (MC_ROWS, 1), "the mean")
        variance = numbers(variance, (MC_ROWS, 1), "the variance")
        gap = abs(float(mean.mean()) - float(a.sum() - 0.7))
        holds(
            gap <= band(np.full(MC_ROWS * MC_SAMPLES, width)),
            "over all rows, the mean should be about what the network says without dropout.",
            f"Expected about {a.sum() - 0.7:.3f}, got {mean.mean():.3f}.",
        )
        want = (MC_SAMPLES - 1) / MC_SAMPLES * p / (1 - p) * float((a**2).sum())
        holds(
            abs(float(variance.mean()) - want) <= band(np.full(MC_ROWS, width**2 / 4)),
            "over all rows, the variance is not what dropout with this p must give.",
            f"Expected about {want:.3f}, got {variance.mean():.3f}.",
        )


NETWORKS = [
    Case("three inputs, two outputs, five samples", a_network((2, 6, 2), 3, 0.4, 5)),
    Case("two hidden layers", a_network((3, 5, 4, 1), 4, 0.3, 7)),
    Case("as many samples as inputs", a_network((2, 5, 3), 3, 0.5, 3)),
    Case("one sample: the variance is 0", a_network((2, 4, 2), 3, 0.5, 1)),
]

MC = Exercise(
    name="mc_dropout",
    title="Monte Carlo dropout",
    functions=("mc_dropout",),
    hints=(
        "All the work is done by `predict`, which is given. What must you say to it so that it drops units?",
        "Collect n_samples answers in a list, make one array of it, and summarise along the axis of the samples.",
        "np.array of the answers has shape (S, B, outputs). The mean is np.mean with axis=0; the variance is the mean, "
        "with axis=0, of the squared distances from it. Pass training=True to predict.",
    ),
    checks=(
        numeric("mean of the samples", 2, "mc_dropout", spread, NETWORKS, pick=0, result="the mean"),
        numeric("variance of the samples", 2, "mc_dropout", spread, NETWORKS, pick=1, result="the variance"),
        theory,
        unchanged(1, {"mc_dropout": a_network((2, 4, 2), 3, 0.4, 3)}),
    ),
    mistakes=(
        Mistake(
            name="sampled-in-evaluation",
            advice="In evaluation nothing is dropped and all answers are equal: call predict with training=True.",
            replaces=spread_with(mean_and_variance, training=False),
        ),
        Mistake(
            name="one-mask-for-all-samples",
            advice="All samples are the same: call predict anew for each, so that the rng draws new masks.",
            replaces=spread_with(mean_and_variance, samples=one_mask_again),
        ),
        Mistake(
            name="variance-over-s-minus-one",
            advice="The variance divides by S, not by S - 1 (ddof=1); with one sample it is 0.",
            replaces=spread_with(unbiased),
        ),
        Mistake(
            name="standard-deviation-returned",
            advice="The variance is asked for; this is its square root.",
            replaces=spread_with(lambda a: (a.mean(axis=0), a.std(axis=0))),
        ),
        Mistake(
            name="summarised-over-the-batch",
            advice="The samples are the first axis of the stacked answers; yours mixes the inputs of the batch.",
            replaces=spread_with(lambda a: (a.mean(axis=1), a.var(axis=1))),
        ),
        Mistake(
            name="summarised-over-everything",
            advice="Every input and every output has its own mean and variance: give axis=0.",
            replaces=spread_with(lambda a: (a.mean(), a.var())),
        ),
        Mistake(
            name="mean-square-for-variance",
            advice="The variance is taken around the mean: subtract it before squaring.",
            replaces=spread_with(lambda a: (a.mean(axis=0), (a**2).mean(axis=0))),
        ),
        Mistake(
            name="one-sample-too-few",
            advice="Ask the network n_samples times; yours asks once less.",
            replaces=spread_with(mean_and_variance, samples=one_too_few),
        ),
    ),
)


# --- picture ---------------------------------------------------------------------------------------------------------


def draw_picture(student: Any, figure: Any) -> None:
    """What dropout does to the sine, what it says of its own doubts, and which weights each penalty spares."""
    rng = np.random.default_rng(311)
    fits, doubts, sparse = figure.subplots(1, 3)
    x, y = (floats(a) for a in student.noisy_sine(100, np.random.default_rng(1)))
    grid = np.linspace(-np.pi, np.pi, 200)[:, None]
    truth = np.sin(grid)

    nets = {p: student.train_net(x, y, 0.01, 500, p, 0.0, np.random.default_rng(2)) for p in (0.0, 0.3)}
    fits.plot(x, y, ".", color="0.75", ms=4, label="100 points")
    fits.plot(grid, truth, color="0.3", lw=1, label="sine")
    for i, (p, params) in enumerate(nets.items()):
        curve = floats(student.predict(grid, params))
        error = float(np.mean((curve - truth) ** 2))
        fits.plot(grid, curve, color=f"C{i}", label=f"p = {p:g}: error {error:.3f}")
    fits.set_title("500 steps of training,\nwith and without dropout", fontsize=10)
    fits.set_ylabel("y")

    wide = np.linspace(-2 * np.pi, 2 * np.pi, 160)[:, None]
    mean, variance = (floats(a)[:, 0] for a in student.mc_dropout(wide, nets[0.3], 0.3, 100, rng))
    band_width = 2 * np.sqrt(variance)
    doubts.axvspan(-np.pi, np.pi, color="0.9", lw=0, label="where the data were")
    doubts.plot(wide, np.sin(wide), color="0.3", lw=1, label="sine")
    doubts.plot(wide, mean, color="C1", label="mean of 100 samples")
    doubts.fill_between(
        wide[:, 0], mean - band_width, mean + band_width, color="C1", alpha=0.25, label="2 std either way"
    )
    doubts.set_ylim(-4, 4)
    doubts.set_title("Monte Carlo dropout\nof the net with p = 0.3", fontsize=10)
    doubts.set_ylabel("y")

    features = rng.normal(size=(40, 20))
    true = np.zeros(20)
    true[:4] = [2.0, -1.5, 1.0, -0.7]
    target = features @ true + 0.5 * rng.normal(size=40)
    by_l1, by_decay = np.zeros(20), {"W1": np.zeros(20)}
    for _ in range(300):
        by_l1 = floats(student.l1_step(by_l1, features.T @ (features @ by_l1 - target) / 40, 0.1, 0.25))
        grad = {"W1": features.T @ (features @ floats(by_decay["W1"]) - target) / 40}
        by_decay = student.decay_step(by_decay, grad, 0.1, 0.25)
    places = np.arange(20)
    sparse.bar(places - 0.2, by_l1, 0.4, color="C0", label=f"L1: {int((by_l1 == 0).sum())} zeros")
    decayed = floats(by_decay["W1"])
    sparse.bar(places + 0.2, decayed, 0.4, color="C3", label=f"weight decay: {int((decayed == 0).sum())} zeros")
    sparse.plot(places, true, "_", color="0.2", ms=9, label="true weights: 16 zeros")
    sparse.set_xlabel("weight")
    sparse.set_ylabel("value")
    sparse.set_title("20 weights from 40 examples,\nlam = weight_decay = 0.25", fontsize=10)
    for axes in (fits, doubts):
        axes.set_xlabel("x")
    for axes in (fits, doubts, sparse):
        axes.legend(frameon=False, fontsize=7)


CHAPTER = Chapter(
    id="ch311",
    slug="dropout_and_regularisation",
    title="Dropout and Regularisation",
    part="Training engineering",
    summary="Dropout, L1, L2 and weight decay, early stopping with the best weights, and a network's own doubts.",
    builds_on=("ch306", "ch307"),
    exercises=(DROPOUT_FORWARD, DROPOUT_BACKWARD, L2, L1, SOFT, STEPS, STOPPING, EARLY, MC),
    picture=Picture(title="Your regularisation at work", draw=draw_picture),
)
