"""Checks of chapter 308: distributions of weights, and what they do to a signal and to its gradient.

What is random is checked by statistics. Each rests on bounds that hold for right weights with a computed probability;
`ALARM` is the chance that one bound is broken by a right answer, and a check's false-alarm rate is the sum over its
bounds. Mistakes are far outside: a bound lies 7 to 12 standard deviations away, a variance wrong by a third 30 or more.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from dlreference import activations, init, mlp
from dlreference.special import normal_cdf

from dlgrade.course.compare import entry, holds, number_text, numbers, same
from dlgrade.course.kinds import Case, Rng, case_of, numeric, prop, statistical, unchanged
from dlgrade.course.spec import Chapter, Check, Exercise, Mistake, Picture
from dlgrade.sandbox.session import Call

Array = np.ndarray[Any, Any]
Draw = Callable[..., Array]

ALARM = 2e-11

# --- statistics ------------------------------------------------------------------------------------------------------


def second_moment_is(W: Array, variance: float, slack: float, formula: str) -> None:
    """Raise `Wrong` unless the mean square of the entries is within this relative slack of the variance."""
    ratio = float(np.mean(W**2)) / variance
    holds(
        abs(ratio - 1) <= slack,
        f"the variance of the weights should be {formula}, and is not.",
        f"Expected about {number_text(variance)}, got {number_text(ratio * variance)}: {number_text(ratio)} times "
        f"that.",
    )


def normal_slack(count: int) -> float:
    """How far the mean square of `count` normal numbers of variance 1 strays from 1, but for a chance of ALARM.

    Their sum of squares is chi-square with n = count degrees of freedom, and (Laurent & Massart 2000, lemma 1)
    P(chi2 > n + 2 sqrt(n t) + 2 t) <= exp(-t) and P(chi2 < n - 2 sqrt(n t)) <= exp(-t), so t = log(2 / ALARM).
    """
    t = math.log(2 / ALARM)
    return 2 * math.sqrt(t / count) + 2 * t / count


def uniform_slack(count: int) -> float:
    """The same, relative, for uniform numbers on -b to b.

    Squares over b^2 lie in 0..1 with mean 1/3, so by Hoeffding P(|mean - 1/3| > s) <= 2 exp(-2 n s^2); times 3.
    """
    return 3 * math.sqrt(math.log(2 / ALARM) / (2 * count))


def spread_like(W: Array, cdf: Callable[[Array], Array], kind: str) -> None:
    """Raise `Wrong` if the entries' distribution function is too far from `cdf`.

    Dvoretzky, Kiefer, Wolfowitz, Massart: P(sup |F_n - F| > s) <= 2 exp(-2 n s^2) for n independent numbers, so
    s = sqrt(log(2 / ALARM) / (2 n)). Shifts of the mean show here as well.
    """
    values = np.sort(W.ravel())
    n = values.size
    expected = cdf(values)
    steps = np.arange(n + 1) / n
    distance = max(float(np.max(expected - steps[:-1])), float(np.max(steps[1:] - expected)))
    holds(
        distance <= math.sqrt(math.log(2 / ALARM) / (2 * n)),
        f"the weights are not spread like independent {kind}.",
        f"Their mean is {number_text(values.mean())}, the smallest is {number_text(values[0])}, the largest "
        f"{number_text(values[-1])}.",
    )


def uniform_up_to(bound: float) -> Callable[[Array], Array]:
    return lambda w: np.clip((w + bound) / (2 * bound), 0.0, 1.0)


def normal_with(std: float) -> Callable[[Array], Array]:
    return lambda w: np.asarray(normal_cdf(w / std))


def all_different(W: Array, what: str = "W") -> None:
    """Raise `Wrong` for weights that are repeated; of continuous numbers hardly ever two are equal."""
    holds(
        float(np.ptp(W)) > 0,
        f"all entries of {what} are equal, so all units compute the same, get the same gradient, and stay equal for "
        "ever.",
        f"Every entry is {number_text(W.flat[0])}.",
    )
    found, counts = np.unique(W, return_counts=True)
    holds(
        found.size > 0.99 * W.size,
        f"the same numbers come again and again in {what}; entries that are drawn one by one hardly ever repeat.",
        f"{number_text(found[counts.argmax()])} comes {counts.max()} times.",
    )


def matrices(student: Any, calls: Sequence[Call]) -> list[Array]:
    """The answers of calls with the arguments (fan_in, fan_out, rng, ...), held to their shapes."""
    found = []
    for call, reply in zip(calls, student.batch(calls), strict=True):
        with case_of("", call):
            fan_in, fan_out = call.args[:2]
            found.append(numbers(student.answer(call, reply), (fan_out, fan_in), "W"))
    return found


def drawing(function: str, fan_in: int, fan_out: int, rng: Rng, **kwargs: Any) -> Call:
    """A call that draws weights, from a generator of its own."""
    return Call(function, (fan_in, fan_out, np.random.default_rng(int(rng.integers(1 << 62)))), kwargs)


def shapes(function: str, points: int) -> Check:
    @prop("shape (fan_out, fan_in)", points, function)
    def check(student: Any, rng: Rng) -> None:
        fans = [(5, 3), (2, 6), (1, 4), (7, 1)]
        for W in matrices(student, [drawing(function, *pair, rng) for pair in fans]):
            holds(bool(np.isfinite(W).all()), "the weights should be finite numbers.")

    return check


def seeded(function: str, points: int) -> Check:
    # Two different streams give the same dozen 53-bit numbers with a chance of 2^-636 or so.
    @prop("drawn from rng and from nothing else", points, function)
    def check(student: Any, rng: Rng) -> None:
        seeds = [int(seed) for seed in rng.integers(1 << 62, size=2)]
        calls = [Call(function, (4, 3, np.random.default_rng(seed))) for seed in (seeds[0], seeds[0], seeds[1])]
        first, again, other = matrices(student, calls)
        holds(
            bool(np.array_equal(first, again)),
            "the same generator gave different weights: draw from the argument rng only.",
        )
        holds(
            not np.allclose(first, other, rtol=1e-12, atol=0.0),
            "two different generators gave the same weights: draw from the argument rng, not from one of your own.",
        )

    return check


# --- Xavier ----------------------------------------------------------------------------------------------------------


def uniform_on(bound: Callable[[int, int], float]) -> Draw:
    return lambda fan_in, fan_out, rng: rng.uniform(-bound(fan_in, fan_out), bound(fan_in, fan_out), (fan_out, fan_in))


def normal_of(std: Callable[[int, int], float]) -> Draw:
    return lambda fan_in, fan_out, rng: rng.normal(0.0, std(fan_in, fan_out), size=(fan_out, fan_in))


XAVIER_FANS = ((200, 100), (50, 300))


@statistical(
    "uniform between the bounds, with their variance", 7, "xavier_uniform", false_alarm=2 * len(XAVIER_FANS) * ALARM
)
def xavier_spread(student: Any, rng: Rng) -> None:
    calls = [drawing("xavier_uniform", *fans, rng) for fans in XAVIER_FANS]
    for call, W in zip(calls, matrices(student, calls), strict=True):
        with case_of(f"{call.args[0]} inputs and {call.args[1]} units", call):
            all_different(W)
            bound = init.xavier_bound(*call.args[:2])
            # Two bounds a matrix, on the mean square and on the distribution function.
            second_moment_is(W, bound**2 / 3, uniform_slack(W.size), "2 / (fan_in + fan_out)")
            spread_like(W, uniform_up_to(bound), "uniform numbers on -bound to bound")


# The largest of n uniform |w| is below (1 - d) b with the chance (1 - d)^n, which is ALARM for 1 - d = ALARM^(1/n).
@statistical("never beyond the bound, but close to it", 4, "xavier_uniform", false_alarm=3 * ALARM)
def xavier_bounded(student: Any, rng: Rng) -> None:
    # In a small layer a fan that is off by one shows; it takes many small matrices for enough numbers.
    for (fan_in, fan_out), times in (((90, 60), 1), ((20, 300), 1), ((2, 1), 150)):
        calls = [drawing("xavier_uniform", fan_in, fan_out, rng) for _ in range(times)]
        W = np.concatenate([W.ravel() for W in matrices(student, calls)])
        several = f", {times} times" if times > 1 else ""
        with case_of(f"{fan_in} inputs and {fan_out} unit{'s' * (fan_out > 1)}{several}", calls[0]):
            bound, largest = init.xavier_bound(fan_in, fan_out), float(np.abs(W).max())
            quoted = f"The largest absolute weight is {number_text(largest)}, the bound {number_text(bound)}."
            holds(largest <= bound * (1 + 1e-12), "some weights lie beyond sqrt(6 / (fan_in + fan_out)).", quoted)
            holds(largest >= bound * ALARM ** (1 / W.size), "no weight comes near the bound.", quoted)


XAVIER_UNIFORM = Exercise(
    name="xavier_uniform",
    title="Xavier, uniform",
    functions=("xavier_uniform",),
    hints=(
        "Which number does the generator's uniform method want, and which does the formula give?",
        "rng.uniform takes the lower end, the upper end, and size=, a tuple. W is stored (out, in).",
        "The bound is the square root of 6 over the sum of both fans. Draw once, from minus bound to bound, with the "
        "size (fan_out, fan_in).",
    ),
    checks=(shapes("xavier_uniform", 2), xavier_bounded, xavier_spread, seeded("xavier_uniform", 3)),
    mistakes=(
        Mistake(
            name="xavier-shape-in-by-out",
            advice="W is stored (out, in): the number of units comes first.",
            replaces={"xavier_uniform": lambda fan_in, fan_out, rng: init.xavier_uniform(fan_out, fan_in, rng)},
        ),
        Mistake(
            name="xavier-root-forgotten",
            advice="6 / (fan_in + fan_out) is the square of the bound: take its root.",
            replaces={"xavier_uniform": uniform_on(lambda i, o: 6 / (i + o))},
        ),
        Mistake(
            name="standard-deviation-as-bound",
            advice="sqrt(2 / (fan_in + fan_out)) is the standard deviation; a uniform distribution reaches sqrt(3) "
            "times as far, to sqrt(6 / (fan_in + fan_out)).",
            replaces={"xavier_uniform": uniform_on(init.xavier_std)},
        ),
        Mistake(
            name="bound-as-standard-deviation",
            advice="This is a normal distribution with the uniform bound for its standard deviation: its variance is 3 "
            "times too large.",
            replaces={"xavier_uniform": normal_of(init.xavier_bound)},
        ),
        Mistake(
            name="xavier-normal-instead-of-uniform",
            advice="The variance is right, but the uniform version is asked for, which knows no weight beyond the "
            "bound.",
            replaces={"xavier_uniform": normal_of(init.xavier_std)},
        ),
        Mistake(
            name="xavier-with-one-fan-only",
            advice="Xavier's compromise takes the sum of both fans; with one of them alone it is another scheme.",
            replaces={"xavier_uniform": uniform_on(lambda i, o: math.sqrt(6 / i))},
            variants=(
                {"xavier_uniform": uniform_on(lambda i, o: math.sqrt(3 / i))},
                {"xavier_uniform": uniform_on(lambda i, o: math.sqrt(1 / i))},
                {"xavier_uniform": uniform_on(lambda i, o: math.sqrt(6 / o))},
            ),
        ),
        Mistake(
            name="weights-of-one-sign",
            advice="Weights of both signs are needed: the distribution goes from MINUS bound to bound.",
            replaces={
                "xavier_uniform": lambda fan_in, fan_out, rng: rng.uniform(
                    0, init.xavier_bound(fan_in, fan_out), (fan_out, fan_in)
                )
            },
        ),
        Mistake(
            name="xavier-all-zero",
            advice="With all weights zero every unit of a layer computes the same and gets the same gradient: they "
            "stay equal for ever, and one unit would do.",
            replaces={"xavier_uniform": init.zeros},
        ),
        Mistake(
            name="one-row-for-all-units",
            advice="One row was drawn and repeated: then all units are equal and stay equal. Draw every entry.",
            replaces={
                "xavier_uniform": lambda fan_in, fan_out, rng: np.tile(
                    rng.uniform(-init.xavier_bound(fan_in, fan_out), init.xavier_bound(fan_in, fan_out), fan_in),
                    (fan_out, 1),
                )
            },
        ),
    ),
)

# --- He --------------------------------------------------------------------------------------------------------------


def he_with(std: Callable[[int], float]) -> Draw:
    """Normal weights of another standard deviation, computed from the right fan."""

    def wrong(fan_in: int, fan_out: int, rng: Rng, mode: str = "fan_in") -> Array:
        return rng.normal(0.0, std(fan_in if mode == "fan_in" else fan_out), size=(fan_out, fan_in))

    return wrong


def he_other_fan(fan_in: int, fan_out: int, rng: Rng, mode: str = "fan_in") -> Array:
    return init.he_normal(fan_in, fan_out, rng, "fan_out" if mode == "fan_in" else "fan_in")


def he_mode_ignored(fan_in: int, fan_out: int, rng: Rng, mode: str = "fan_in") -> Array:
    return init.he_normal(fan_in, fan_out, rng)


def he_in_by_out(fan_in: int, fan_out: int, rng: Rng, mode: str = "fan_in") -> Array:
    std = init.he_std(fan_in, fan_out, "fan_out" if mode == "fan_out" else "fan_in")
    return rng.normal(0.0, std, size=(fan_in, fan_out))


def he_xavier(fan_in: int, fan_out: int, rng: Rng, mode: str = "fan_in") -> Array:
    return init.xavier_normal(fan_in, fan_out, rng)


def he_uniform(fan_in: int, fan_out: int, rng: Rng, mode: str = "fan_in") -> Array:
    return init.he_uniform(fan_in, fan_out, rng, "fan_out" if mode == "fan_out" else "fan_in")


def he_zero(fan_in: int, fan_out: int, rng: Rng, mode: str = "fan_in") -> Array:
    return np.zeros((fan_out, fan_in))


def he_positive(fan_in: int, fan_out: int, rng: Rng, mode: str = "fan_in") -> Array:
    return np.abs(init.he_normal(fan_in, fan_out, rng, "fan_out" if mode == "fan_out" else "fan_in"))


def he_small(fan_in: int, fan_out: int, rng: Rng, mode: str = "fan_in") -> Array:
    return init.small_normal(fan_in, fan_out, rng)


# With one input, or one unit, a fan that is off by one shows.
HE_FANS = ((200, 100), (50, 300), (1, 4000), (4000, 1))


def he_spread(name: str, points: int, modes: Sequence[str | None]) -> Check:
    """A check of the spread in these modes; None stands for the default."""

    # Two bounds a matrix, on the mean square and on the distribution function.
    @statistical(name, points, "he_normal", false_alarm=2 * len(HE_FANS) * len(modes) * ALARM)
    def check(student: Any, rng: Rng) -> None:
        calls = [
            drawing("he_normal", fan_in, fan_out, rng, **({"mode": mode} if mode else {}))
            for mode, (fan_in, fan_out) in itertools.product(modes, HE_FANS)
        ]
        for call, W in zip(calls, matrices(student, calls), strict=True):
            fan_in, fan_out = call.args[:2]
            plural = ["" if fan == 1 else "s" for fan in (fan_in, fan_out)]
            with case_of(f"{fan_in} input{plural[0]} and {fan_out} unit{plural[1]}", call):
                all_different(W)
                fan = call.kwargs.get("mode", "fan_in")
                std = init.he_std(call.args[0], call.args[1], fan)
                second_moment_is(W, std**2, normal_slack(W.size), f"2 / {fan}")
                spread_like(W, normal_with(std), "normal numbers with mean 0 and that variance")

    return check


WIDTH, LAYERS = 100, 20
LOWEST, HIGHEST = -9.0, 7.0


def drift_alarm() -> float:
    """The chance that right He weights change the mean square of one input by less than e^LOWEST or more than e^HIGHEST
    over LAYERS layers of WIDTH units.

    Whatever comes into a layer, and from however many inputs, its z are independent normal numbers of variance 2 times
    the incoming mean square. So layer by layer the mean square is multiplied by independent R = (2/n) S, n = WIDTH,
    where S is the sum of the squares of those of n standard normal numbers that are positive: chi-square with K degrees
    of freedom, K binomial (n, 1/2). From E[chi2_k^s] = 2^s Gamma(k/2 + s) / Gamma(k/2) follows M(s) = E[R^s], and by
    Chernoff P(sum of log R > t) <= exp(-s t) M(s)^LAYERS for s > 0, and for s < 0 the same with "<". For s < 0 layers
    with so few positive numbers that the power has no finite mean are counted apart, by their own probability.
    """
    n = WIDTH
    weight = [math.log(math.comb(n, k)) - n * math.log(2) for k in range(n + 1)]

    def bound(s: float, t: float, fewest: int) -> float:
        terms = [
            weight[k] + s * math.log(4 / n) + math.lgamma(k / 2 + s) - math.lgamma(k / 2) for k in range(fewest, n + 1)
        ]
        return math.exp(-s * t + LAYERS * float(np.logaddexp.reduce(terms)))

    # These s are near the best ones. At 6.5 all k below 14 are left out.
    few = LAYERS * math.fsum(math.exp(w) for w in weight[:14])
    none = LAYERS * math.exp(weight[0])
    return bound(9.0, HIGHEST, 1) + none + bound(-6.5, LOWEST, 14) + few


@statistical("twenty ReLU layers keep the mean square", 4, "he_normal", false_alarm=drift_alarm())
def he_through_layers(student: Any, rng: Rng) -> None:
    inputs = [60] + [WIDTH] * (LAYERS - 1)
    weights = matrices(student, [drawing("he_normal", fan_in, WIDTH, rng) for fan_in in inputs])
    moments = init.forward_second_moments(rng.normal(size=(1, inputs[0])), weights)
    change = float(np.log(max(moments[-1], 1e-300) / moments[0]))
    quoted = f"It is multiplied by {number_text(math.exp(change))}; by chance it may change up to a thousandfold or so."
    holds(
        change >= LOWEST,
        f"the mean square of a signal has all but vanished behind {LAYERS} ReLU layers of {WIDTH} units.",
        quoted,
    )
    holds(
        change <= HIGHEST,
        f"the mean square of a signal has exploded behind {LAYERS} ReLU layers of {WIDTH} units.",
        quoted,
    )


HE_NORMAL = Exercise(
    name="he_normal",
    title="He, normal",
    functions=("he_normal",),
    hints=(
        "Does the generator ask for a variance or for a standard deviation?",
        "Decide first which number is the fan: fan_in, unless mode says otherwise. The shape is (fan_out, fan_in) in "
        "both modes.",
        "The standard deviation is the square root of 2 over the fan; rng.normal takes the mean, the standard "
        "deviation and size=.",
    ),
    checks=(
        shapes("he_normal", 2),
        he_spread("normal with variance 2 / fan_in", 7, [None]),
        he_spread("both modes", 4, ["fan_out", "fan_in"]),
        he_through_layers,
        seeded("he_normal", 3),
    ),
    mistakes=(
        Mistake(
            name="variance-as-standard-deviation",
            advice="2 / fan is the VARIANCE; the generator wants the standard deviation, which is its root.",
            replaces={"he_normal": he_with(lambda fan: 2.0 / fan)},
        ),
        Mistake(
            name="fans-swapped",
            advice="fan_in is the number of inputs, the columns of W; yours uses the number of units.",
            replaces={"he_normal": he_other_fan},
        ),
        Mistake(
            name="mode-ignored",
            advice='With mode="fan_out" the variance is 2 / fan_out; yours is 2 / fan_in in both modes.',
            replaces={"he_normal": he_mode_ignored},
        ),
        Mistake(
            name="he-without-the-2",
            advice="sqrt(1 / fan) is for layers without a ReLU; the ReLU removes half of the mean square, and the 2 "
            "makes up for it.",
            replaces={"he_normal": he_with(lambda fan: math.sqrt(1.0 / fan))},
        ),
        Mistake(
            name="uniform-limit-as-standard-deviation",
            advice="sqrt(6 / fan) is how far the uniform version reaches; the standard deviation is sqrt(2 / fan).",
            replaces={"he_normal": he_with(lambda fan: math.sqrt(6.0 / fan))},
        ),
        Mistake(
            name="he-shape-in-by-out",
            advice="W is stored (out, in): the number of units comes first.",
            replaces={"he_normal": he_in_by_out},
        ),
        Mistake(
            name="xavier-instead-of-he",
            advice="This is Xavier's variance, 2 / (fan_in + fan_out); behind ReLUs it loses half of the mean square "
            "in every layer of equal width.",
            replaces={"he_normal": he_xavier},
        ),
        Mistake(
            name="he-uniform-instead-of-normal",
            advice="The variance is right, but a normal distribution is asked for.",
            replaces={"he_normal": he_uniform},
        ),
        Mistake(
            name="he-all-zero",
            advice="With all weights zero every unit of a layer computes the same and gets the same gradient, for "
            "ever.",
            replaces={"he_normal": he_zero},
        ),
        Mistake(
            name="he-absolute-values",
            advice="All weights are positive: then the sums grow with the number of inputs, and the signal explodes.",
            replaces={"he_normal": he_positive},
        ),
        Mistake(
            name="weights-of-size-0-01",
            advice="A standard deviation of 0.01 takes no notice of the fan: in a deep network the signal dies.",
            replaces={"he_normal": he_small},
        ),
    ),
)

# --- orthogonal ------------------------------------------------------------------------------------------------------


def qr_of(fan_in: int, fan_out: int, rng: Rng) -> tuple[Array, Array]:
    q, r = np.linalg.qr(rng.normal(size=(max(fan_in, fan_out), min(fan_in, fan_out))))
    return q, r


def orthogonal_signs_left(fan_in: int, fan_out: int, rng: Rng, gain: float = 1.0) -> Array:
    q, _ = qr_of(fan_in, fan_out, rng)
    return gain * (q.T if fan_out < fan_in else q)


def orthogonal_never_transposed(fan_in: int, fan_out: int, rng: Rng, gain: float = 1.0) -> Array:
    q, r = qr_of(fan_in, fan_out, rng)
    return gain * q * np.sign(np.diag(r))


def orthogonal_from_wide(fan_in: int, fan_out: int, rng: Rng, gain: float = 1.0) -> Array:
    q, r = np.linalg.qr(rng.normal(size=(fan_out, fan_in)))
    return gain * q * np.sign(np.diag(r))


def orthogonal_from_wide_turned(fan_in: int, fan_out: int, rng: Rng, gain: float = 1.0) -> Array:
    q = orthogonal_from_wide(fan_in, fan_out, rng, gain)
    return q.T if fan_out < fan_in else q


def orthogonal_normalised_only(fan_in: int, fan_out: int, rng: Rng, gain: float = 1.0) -> Array:
    a = rng.normal(size=(fan_out, fan_in))
    return gain * a / np.linalg.norm(a, axis=1, keepdims=True)


def orthogonal_without_gain(fan_in: int, fan_out: int, rng: Rng, gain: float = 1.0) -> Array:
    return init.orthogonal(fan_in, fan_out, rng)


def orthogonal_root_of_gain(fan_in: int, fan_out: int, rng: Rng, gain: float = 1.0) -> Array:
    return init.orthogonal(fan_in, fan_out, rng, math.sqrt(gain))


def orthogonal_just_normal(fan_in: int, fan_out: int, rng: Rng, gain: float = 1.0) -> Array:
    return gain * rng.normal(size=(fan_out, fan_in)) / math.sqrt(fan_in)


def orthogonal_identity(fan_in: int, fan_out: int, rng: Rng, gain: float = 1.0) -> Array:
    return gain * np.eye(fan_out, fan_in)


def gram_is(W: Array, gain: float) -> None:
    """Raise `Wrong` unless rows or columns, whichever are fewer, are orthogonal and of length gain."""
    rows = W.shape[0] <= W.shape[1]
    gram = W @ W.T if rows else W.T @ W
    lines, product = ("rows", "W @ W.T") if rows else ("columns", "W.T @ W")
    lengths = np.sqrt(np.diagonal(gram))
    same(lengths, np.full(len(gram), gain), f"the lengths of the {lines} of W", rtol=1e-9, atol=0.0)
    same(gram, gain**2 * np.eye(len(gram)), f"{product}, the products of its {lines} with each other,")


def gram_check(name: str, points: int, fans: Sequence[tuple[int, int]], gains: Sequence[float]) -> Check:
    @prop(name, points, "orthogonal")
    def check(student: Any, rng: Rng) -> None:
        calls = [
            drawing("orthogonal", pair[0], pair[1], rng, **({} if gain == 1 else {"gain": gain}))
            for pair, gain in itertools.product(fans, gains)
        ]
        for call, W in zip(calls, matrices(student, calls), strict=True):
            with case_of(f"{call.args[0]} inputs and {call.args[1]} units", call):
                gram_is(W, call.kwargs.get("gain", 1.0))

    return check


# If all directions are equally likely, an entry of W is positive or negative with the chance 1/2 each, and so is its
# determinant: 40 matrices have the same sign of one of these with the chance 2 / 2^40.
DIAGONAL = ((0, 0), (1, 1), (2, 2))


@statistical("every direction can come", 3, "orthogonal", false_alarm=(len(DIAGONAL) + 1) * 2.0**-39)
def every_direction(student: Any, rng: Rng) -> None:
    drawn = matrices(student, [drawing("orthogonal", 3, 3, rng) for _ in range(40)])
    holds(
        not all(np.array_equal(W, drawn[0]) for W in drawn),
        f"{len(drawn)} different generators gave one and the same matrix: draw from the argument rng.",
    )
    for place in DIAGONAL:
        positive = sum(W[place] > 0 for W in drawn)
        holds(
            0 < positive < len(drawn),
            "the same entry of W has the same sign every time: some directions never come. Multiply each column of Q "
            "by the sign of R's diagonal entry.",
            f"W[{place[0]}, {place[1]}] is positive in {positive} of {len(drawn)} matrices.",
        )
    rotations = sum(float(np.linalg.det(W)) > 0 for W in drawn)
    holds(
        0 < rotations < len(drawn),
        f"all square matrices that came are {'rotations' if rotations else 'reflections'}; both kinds should come.",
    )


ORTHOGONAL = Exercise(
    name="orthogonal",
    title="Orthogonal weights, square or not",
    functions=("orthogonal",),
    hints=(
        "A QR factorisation needs a matrix that is at least as high as it is wide. When is W not like that, and what "
        "can you do about it?",
        "Draw a tall matrix, max of the fans by min of the fans; its Q has orthonormal columns. If there are fewer "
        "units than inputs, Q.T is what you want.",
        "np.linalg.qr returns q and r. Multiply q by the signs of r's diagonal, which scales its columns; transpose if "
        "fan_out is smaller than fan_in; multiply by gain.",
    ),
    checks=(
        gram_check("square: rows and columns orthonormal", 4, [(4, 4), (1, 1), (7, 7)], [1.0]),
        gram_check("rectangular: the fewer are orthonormal", 5, [(6, 3), (3, 6), (5, 1), (1, 4)], [1.0]),
        gram_check("gain multiplies every length", 2, [(4, 4), (5, 3), (2, 5)], [2.0, 0.3]),
        every_direction,
        seeded("orthogonal", 2),
    ),
    mistakes=(
        Mistake(
            name="signs-of-r-not-used",
            advice="QR as it is computed prefers some directions: multiply each column of Q by the sign of R's "
            "diagonal entry, and all are equally likely.",
            replaces={"orthogonal": orthogonal_signs_left},
        ),
        Mistake(
            name="orthogonal-never-transposed",
            advice="With fewer units than inputs W is wider than high: transpose Q then, so that the ROWS are "
            "orthonormal.",
            replaces={"orthogonal": orthogonal_never_transposed},
        ),
        Mistake(
            name="qr-of-a-wide-matrix",
            advice="The Q of a wide matrix is square, and too small: factorise a tall matrix and transpose.",
            replaces={"orthogonal": orthogonal_from_wide},
            variants=({"orthogonal": orthogonal_from_wide_turned},),
        ),
        Mistake(
            name="normalised-but-not-orthogonal",
            advice="The rows have length 1, but are not orthogonal to each other: use the QR factorisation.",
            replaces={"orthogonal": orthogonal_normalised_only},
        ),
        Mistake(
            name="normal-instead-of-orthogonal",
            advice="Random normal rows are orthogonal only roughly, and of length 1 only on average.",
            replaces={"orthogonal": orthogonal_just_normal},
        ),
        Mistake(
            name="identity-instead-of-random",
            advice="The identity is orthogonal, but not random: all directions should be equally likely.",
            replaces={"orthogonal": orthogonal_identity},
        ),
        Mistake(
            name="gain-ignored",
            advice="The `gain` argument is not used: W is gain times a matrix with orthonormal rows or columns.",
            replaces={"orthogonal": orthogonal_without_gain},
        ),
        Mistake(
            name="root-of-gain",
            advice="W itself is multiplied by gain; it is W W^T that carries gain squared.",
            replaces={"orthogonal": orthogonal_root_of_gain},
        ),
    ),
)

# --- moments on the way forward --------------------------------------------------------------------------------------


def stack(widths: Sequence[int], batch: int, scale: float = 1.0) -> Any:
    """Draws (x, weights) of a stack of ReLU layers."""
    return lambda rng: (
        scale * rng.normal(size=(batch, widths[0])),
        [init.he_normal(fan_in, fan_out, rng) for fan_in, fan_out in itertools.pairwise(widths)],
    )


def as_float32(array: Array) -> Array:
    return array.astype(np.float32)


def as_given(draw: Any, form: Callable[[Array], Any]) -> Any:
    """The same draw, with every array, also in a list, in another form."""
    return lambda rng: tuple([form(a) for a in part] if isinstance(part, list) else form(part) for part in draw(rng))


def forward_with(
    measure: Callable[[Array], Any] = lambda a: np.mean(a**2),
    *,
    bend: Callable[[Array], Array] = activations.relu,
    before: bool = False,
    multiply: Callable[[Array, Array], Array] = lambda a, W: a @ W.T,
    first: bool = True,
) -> Any:
    """The moments with one piece changed; `before` measures z instead of a."""

    def wrong(x: Any, weights: Sequence[Any]) -> Array:
        a = np.asarray(x, dtype=np.float64)
        found = [measure(a)] if first else []
        for W in weights:
            z = multiply(a, np.asarray(W, dtype=np.float64))
            a = bend(z)
            found.append(measure(z if before else a))
        return np.array(found)

    return wrong


def forward_from_the_input(x: Any, weights: Sequence[Any]) -> Array:
    x = np.asarray(x, dtype=np.float64)
    return np.array([np.mean(x**2), *(np.mean(activations.relu(x @ np.asarray(W).T) ** 2) for W in weights)])


FORWARD_MOMENTS = Exercise(
    name="forward_moments",
    title="Does the signal survive?",
    functions=("forward_moments",),
    hints=(
        "It is the forward pass of chapter 304 without biases; what do you note down on the way?",
        "One number for x before the loop, and one for every layer in it, behind the ReLU.",
        "In the loop: a becomes the maximum of 0 and a times W transposed; append the mean of its squares, over all "
        "samples and units.",
    ),
    checks=(
        numeric(
            "layers of different widths",
            5,
            "forward_moments",
            init.forward_second_moments,
            [
                Case("three layers", stack([4, 7, 5, 3], 6)),
                Case("one layer", stack([3, 5], 4)),
                Case("a batch of one", stack([5, 4, 3], 1)),
            ],
        ),
        numeric(
            "layers of equal width, where a transposed matrix still fits",
            3,
            "forward_moments",
            init.forward_second_moments,
            [Case("three layers of five", stack([5, 5, 5, 5], 4)), Case("twenty layers of ten", stack([10] * 21, 3))],
        ),
        numeric(
            "no layers, lists and float32",
            1,
            "forward_moments",
            init.forward_second_moments,
            [
                Case("an empty list of weights: the moment of x alone", lambda rng: (rng.normal(size=(3, 4)), [])),
                Case("nested lists", as_given(stack([3, 3, 5], 2), np.ndarray.tolist)),
                Case("float32 arrays", as_given(stack([3, 3, 5], 2), as_float32)),
            ],
        ),
        numeric(
            "signals that vanish and signals that explode",
            2,
            "forward_moments",
            init.forward_second_moments,
            [
                Case(
                    "weights a hundred times too small",
                    lambda rng: (rng.normal(size=(4, 6)), [0.01 * rng.normal(size=(6, 6)) for _ in range(12)]),
                ),
                Case(
                    "weights ten times too large",
                    lambda rng: (rng.normal(size=(4, 6)), [5.0 * rng.normal(size=(6, 6)) for _ in range(12)]),
                ),
            ],
            # Twelve small layers leave moments near 1e-40: an absolute tolerance would accept 0 for them.
            atol=0.0,
        ),
        unchanged(2, {"forward_moments": stack([3, 3, 3], 5)}),
    ),
    mistakes=(
        Mistake(
            name="variance-instead-of-mean-square",
            advice="Behind a ReLU the mean is not 0, so the variance is less than the mean square; what He's weights "
            "keep is the mean of the squares.",
            replaces={"forward_moments": forward_with(np.var)},
            variants=({"forward_moments": forward_with(np.std)},),
        ),
        Mistake(
            name="root-of-the-mean-square",
            advice="The mean square is asked for, without a root.",
            replaces={"forward_moments": forward_with(lambda a: np.sqrt(np.mean(a**2)))},
        ),
        Mistake(
            name="sum-instead-of-mean",
            advice="A sum of squares grows with the batch and the width: take the mean over all entries.",
            replaces={"forward_moments": forward_with(lambda a: np.sum(a**2))},
            variants=({"forward_moments": forward_with(lambda a: np.sum(a**2) / len(a))},),
        ),
        Mistake(
            name="relu-forgotten",
            advice="Between the layers stands a ReLU; without it the mean square doubles where it should stay.",
            replaces={"forward_moments": forward_with(bend=activations.identity)},
        ),
        Mistake(
            name="measured-before-the-relu",
            advice="The moment is that of a, behind the ReLU; this is z's, about twice as much.",
            replaces={"forward_moments": forward_with(before=True)},
        ),
        Mistake(
            name="moment-of-x-left-out",
            advice="The first entry belongs to x itself: L + 1 moments for L layers.",
            replaces={"forward_moments": forward_with(first=False)},
        ),
        Mistake(
            name="forward-without-transpose",
            advice="W is stored (out, in), so a layer computes a @ W.T; in a square layer W fits too, and is wrong.",
            replaces={"forward_moments": forward_with(multiply=lambda a, W: a @ W)},
            variants=({"forward_moments": forward_with(multiply=np.dot)},),
        ),
        Mistake(
            name="every-layer-reads-x",
            advice="Each layer gets what the layer before gave, not x again.",
            replaces={"forward_moments": forward_from_the_input},
        ),
    ),
)

# --- moments on the way back -----------------------------------------------------------------------------------------


def stack_and_gradient(widths: Sequence[int], batch: int) -> Any:
    """Draws (x, weights, dout)."""
    return lambda rng: (*stack(widths, batch)(rng), rng.normal(size=(batch, widths[-1])))


def corners(rng: Rng) -> tuple[Any, ...]:
    """Whole numbers, with units whose z is exactly 0 for some samples."""
    x = np.array([[1.0, 2.0], [2.0, 1.0], [-1.0, 1.0]])
    weights = [np.array([[1.0, -2.0], [2.0, -1.0], [1.0, 1.0]]), np.array([[1.0, 1.0, 2.0], [2.0, -1.0, 1.0]])]
    return x, weights, rng.normal(size=(3, 2))


Gate = Callable[[Array, Array, Array], Array]


def backward_with(
    gate: Gate,
    *,
    late: bool = False,
    measure_z: bool = False,
    turned: bool = True,
    bend: Callable[[Array], Array] = activations.relu,
    multiply: Callable[[Array, Array], Array] = np.matmul,
    total: bool = False,
) -> Any:
    """The gradient's moments with a piece changed. `gate(da, z, a_prev)` is 1 where the gradient passes the ReLU."""

    def wrong(x: Any, weights: Sequence[Any], dout: Any) -> Array:
        a = np.asarray(x, dtype=np.float64)
        layers = []
        for given in weights:
            W = np.asarray(given, dtype=np.float64)
            z = a @ W.T
            layers.append((W, z, a))
            a = bend(z)
        da = np.asarray(dout, dtype=np.float64)
        found = [np.mean(da**2)]
        for W, z, a_prev in reversed(layers):
            dz = da if late else da * gate(da, z, a_prev)
            da = multiply(dz, W)
            if late:
                da = da * gate(da, z, a_prev)
            found.append(np.mean((dz if measure_z else da) ** 2))
        if total:
            found = [moment * len(da) for moment in found]
        return np.array(found[::-1] if turned else found)

    return wrong


def right_gate(da: Array, z: Array, a_prev: Array) -> Array:
    return activations.d_relu(z)


BACKWARD_MOMENTS = Exercise(
    name="backward_moments",
    title="Does the gradient survive?",
    functions=("backward_moments",),
    hints=(
        "What has to be remembered from the way forward, so that the way back knows which units were closed?",
        "Keep for every layer where its z is positive. On the way back, each layer takes two steps: through its ReLU, "
        "then through its weights.",
        "Start with da = dout and its mean square. For each layer, from the last: set da to 0 where z was not "
        "positive, multiply by W (no transpose), append the mean square. Turn the list round at the end.",
    ),
    checks=(
        numeric(
            "layers of different widths",
            6,
            "backward_moments",
            init.backward_second_moments,
            [
                Case("three layers", stack_and_gradient([4, 7, 5, 3], 6)),
                Case("one layer", stack_and_gradient([3, 5], 4)),
                Case("a batch of one", stack_and_gradient([5, 8, 7], 1)),
            ],
        ),
        numeric(
            "layers of equal width, where the wrong arrays fit too",
            4,
            "backward_moments",
            init.backward_second_moments,
            [
                Case("three layers of five, five samples", stack_and_gradient([5, 5, 5, 5], 5)),
                Case("twenty layers of ten", stack_and_gradient([10] * 21, 3)),
            ],
        ),
        numeric(
            "units at exactly zero pass nothing on",
            1,
            "backward_moments",
            init.backward_second_moments,
            [Case("hidden units whose z is exactly 0", corners)],
        ),
        numeric(
            "no layers, lists and float32",
            1,
            "backward_moments",
            init.backward_second_moments,
            [
                Case("an empty list of weights: the moment of dout alone", stack_and_gradient([4], 3)),
                Case("nested lists", as_given(stack_and_gradient([3, 3, 5], 2), np.ndarray.tolist)),
                Case("float32 arrays", as_given(stack_and_gradient([3, 3, 5], 2), as_float32)),
            ],
        ),
        unchanged(2, {"backward_moments": stack_and_gradient([3, 4, 2], 5)}),
    ),
    mistakes=(
        Mistake(
            name="closed-units-let-the-gradient-through",
            advice="Where z is not positive the ReLU's slope is 0: the gradient stops there.",
            replaces={"backward_moments": backward_with(lambda da, z, a_prev: np.ones_like(z))},
        ),
        Mistake(
            name="gate-of-the-layer-below",
            advice="First through this layer's ReLU, at its own z, and then through its weights: yours closes the "
            "units of the layer below instead.",
            replaces={"backward_moments": backward_with(lambda da, z, a_prev: activations.d_relu(a_prev), late=True)},
        ),
        Mistake(
            name="gate-by-the-gradient",
            advice="Whether a unit is open is decided by its z on the way forward, not by the sign of the gradient.",
            replaces={"backward_moments": backward_with(lambda da, z, a_prev: activations.d_relu(da))},
        ),
        Mistake(
            name="open-at-zero",
            advice="At z exactly 0 the slope counts as 0: compare with > and not with >=.",
            replaces={"backward_moments": backward_with(lambda da, z, a_prev: np.where(z >= 0, 1.0, 0.0))},
        ),
        Mistake(
            name="multiplied-by-a-not-by-the-slope",
            advice="The gradient is multiplied by the ReLU's slope, 0 or 1, not by its value.",
            replaces={"backward_moments": backward_with(lambda da, z, a_prev: activations.relu(z))},
        ),
        Mistake(
            name="gradient-before-the-weights",
            advice="This is the mean square of dz; the gradient at the layer's input, behind the product with W, is "
            "asked for.",
            replaces={"backward_moments": backward_with(right_gate, measure_z=True)},
        ),
        Mistake(
            name="moments-from-the-last-to-the-first",
            advice="The gradients are found from the last layer to the first, but returned from the first to the last.",
            replaces={"backward_moments": backward_with(right_gate, turned=False)},
        ),
        Mistake(
            name="back-through-the-transpose",
            advice="Forward multiplies by W.T, so backward multiplies by W.",
            replaces={"backward_moments": backward_with(right_gate, multiply=lambda dz, W: dz @ W.T)},
            variants=({"backward_moments": backward_with(right_gate, multiply=lambda dz, W: np.dot(dz, W.T))},),
        ),
        Mistake(
            name="forward-pass-without-relu",
            advice="The forward pass that decides which units are open has its ReLUs, too.",
            replaces={"backward_moments": backward_with(right_gate, bend=activations.identity)},
        ),
        Mistake(
            name="gradient-moments-summed-over-the-batch",
            advice="A mean over all entries is asked for, samples and units.",
            replaces={"backward_moments": backward_with(right_gate, total=True)},
        ),
    ),
)

# --- output bias -----------------------------------------------------------------------------------------------------


def bias_as(formula: Callable[[Array], Any]) -> Any:
    return lambda p: formula(np.asarray(p, dtype=np.float64))


@prop("the sigmoid of it is p", 2, "output_bias")
def bias_inverts_sigmoid(student: Any, rng: Rng) -> None:
    p = rng.uniform(0.02, 0.98, size=5)
    bias = numbers(student.output_bias(p), (5,), "the bias")
    same(activations.sigmoid(bias), p, "the sigmoid of the bias")


OUTPUT_BIAS = Exercise(
    name="output_bias",
    title="Start at the right probability",
    functions=("output_bias",),
    hints=(
        "Solve p = 1 / (1 + exp(-b)) for b.",
        "1/p = 1 + exp(-b), so exp(-b) = (1 - p) / p. Take the logarithm of both sides.",
        "It is the natural logarithm of p over 1 - p; make p an array of floats first, so that lists work too.",
    ),
    checks=(
        numeric(
            "one probability",
            3,
            "output_bias",
            init.output_bias,
            [
                Case("one half: no bias", lambda rng: (0.5,)),
                Case("one in a hundred", lambda rng: (0.01,)),
                Case("a probability above one half", lambda rng: (float(rng.uniform(0.6, 0.95)),)),
            ],
        ),
        numeric(
            "arrays and rare events",
            2,
            "output_bias",
            init.output_bias,
            [
                Case("a matrix", lambda rng: (rng.uniform(0.05, 0.95, size=(2, 3)),)),
                Case("a very rare case and an almost certain one", lambda rng: (np.array([1e-9, 1e-3, 1 - 1e-6]),)),
            ],
        ),
        numeric(
            "lists are accepted",
            1,
            "output_bias",
            init.output_bias,
            [Case("a plain list", lambda rng: ([0.2, 0.8],))],
        ),
        bias_inverts_sigmoid,
    ),
    mistakes=(
        Mistake(
            name="probability-as-bias",
            advice="The bias goes through the sigmoid: with b = p the output starts at sigmoid(p), which is above one "
            "half for every p.",
            replaces={"output_bias": bias_as(lambda p: p)},
            variants=({"output_bias": bias_as(activations.sigmoid)},),
        ),
        Mistake(
            name="logarithm-of-p-only",
            advice="log p is the bias for rare events only; in general it is log p minus log(1 - p).",
            replaces={"output_bias": bias_as(np.log)},
        ),
        Mistake(
            name="bias-of-the-other-class",
            advice="The sign is the other way round: a rare positive class needs a negative bias.",
            replaces={"output_bias": bias_as(lambda p: -init.output_bias(p))},
        ),
        Mistake(
            name="odds-without-logarithm",
            advice="p / (1 - p) are the odds; the bias is their logarithm.",
            replaces={"output_bias": bias_as(lambda p: p / (1 - p))},
        ),
        Mistake(
            name="logarithm-to-base-ten",
            advice="The exponential in the sigmoid is to the base e, and so is the logarithm: np.log, not np.log10.",
            replaces={"output_bias": bias_as(lambda p: init.output_bias(p) / np.log(10))},
            variants=({"output_bias": bias_as(lambda p: init.output_bias(p) / np.log(2))},),
        ),
    ),
)

# --- a whole network -------------------------------------------------------------------------------------------------

Params = dict[str, Array]


def network_with(
    hidden: Draw = init.he_normal,
    *,
    output: Draw = init.zeros,
    bias: Callable[[float], Any] = init.output_bias,
    everywhere: bool = False,
    again: bool = False,
) -> Any:
    """An initialisation with a piece changed. `again` starts every layer from the same state of the generator."""

    def wrong(widths: Sequence[int], rng: Rng, p: float = 0.5) -> Params:
        params = {}
        last = len(widths) - 1
        for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(widths), start=1):
            draw = output if layer == last else hidden
            params[f"W{layer}"] = draw(fan_in, fan_out, copy.deepcopy(rng) if again else rng)
            params[f"b{layer}"] = np.full(fan_out, bias(p) if layer == last or everywhere else 0.0)
        return params

    return wrong


def network_shape_in_by_out(widths: Sequence[int], rng: Rng, p: float = 0.5) -> Params:
    return {name: value.T for name, value in network_with()(widths, rng, p).items()}


def constant(value: float) -> Draw:
    return lambda fan_in, fan_out, rng: np.full((fan_out, fan_in), value)


def network_of(student: Any, widths: Sequence[int], rng: Rng, *p: float) -> Params:
    """The student's parameters, held to their keys and shapes."""
    args = (list(widths), np.random.default_rng(int(rng.integers(1 << 62))), *p)
    answer = student.init_network(*args)
    with case_of("", Call("init_network", args)):
        wanted = mlp.parameter_shapes(widths)
        params = {name: numbers(entry(answer, name, "the dict"), shape, name) for name, shape in wanted.items()}
        extra = [repr(name) for name in answer if name not in wanted]
        holds(not extra, f"the dict has {', '.join(extra[:6])} too, which belong to no layer.")
        for name, value in params.items():
            holds(bool(np.isfinite(value).all()), f"{name} should hold finite numbers.")
    return params


@prop("keys and shapes", 2, "init_network")
def network_shapes(student: Any, rng: Rng) -> None:
    for widths in ([3, 5, 2], [4, 6, 3, 5, 1]):
        network_of(student, widths, rng)


# Two bounds for each of the three hidden layers.
@statistical("hidden weights by He, layer by layer", 3, "init_network", false_alarm=6 * ALARM)
def network_hidden(student: Any, rng: Rng) -> None:
    params = network_of(student, [150, 80, 80, 80, 1], rng, 0.3)
    for layer in (1, 2, 3):
        W = params[f"W{layer}"]
        all_different(W, f"W{layer}")
        std = init.he_std(W.shape[1], W.shape[0])
        second_moment_is(W, std**2, normal_slack(W.size), f"2 / fan_in in W{layer}, as in every hidden layer")
        spread_like(W, normal_with(std), f"normal numbers with mean 0 and that variance, in W{layer}")
    holds(
        not np.allclose(params["W2"], params["W3"]),
        "W2 and W3 are equal: use one generator for all layers, one after the other, so that it moves on.",
    )


@prop("biases: zero inside, and p at the output", 4, "init_network")
def network_says_p(student: Any, rng: Rng) -> None:
    for p, outputs in ((0.2, 1), (0.9, 3)):
        params = network_of(student, [4, 7, 5, outputs], rng, p)
        for layer in (1, 2):
            same(params[f"b{layer}"], np.zeros(len(params[f"b{layer}"])), f"the bias b{layer} of a hidden layer")
        said, _ = mlp.forward(rng.normal(size=(6, 4)), params, ["relu", "relu", "sigmoid"])
        same(said, np.full((6, outputs), p), f"what the network says to six random inputs, with p = {p:g},")


# As in `seeded`.
@prop("the network is drawn from rng and from nothing else", 2, "init_network")
def network_seeded(student: Any, rng: Rng) -> None:
    seeds = [int(seed) for seed in rng.integers(1 << 62, size=2)]
    drawn = []
    for seed in (seeds[0], seeds[0], seeds[1]):
        # The same state for `network_of` to draw a seed from is the same generator for the student.
        params = network_of(student, [4, 3, 5, 2], np.random.default_rng(seed))
        drawn.append(np.concatenate([params["W1"].ravel(), params["W2"].ravel()]))
    holds(
        bool(np.array_equal(drawn[0], drawn[1])),
        "the same generator gave different weights: draw from the argument rng only.",
    )
    holds(
        not np.allclose(drawn[0], drawn[2], rtol=1e-12, atol=0.0),
        "two different generators gave the same weights: draw from the argument rng, not from one of your own.",
    )


@prop("after some training the hidden units differ", 2, "init_network")
def units_differ(student: Any, rng: Rng) -> None:
    params = network_of(student, [3, 6, 4, 1], rng, 0.4)
    X = rng.normal(size=(12, 3))
    trained, _ = mlp.gradient_descent(params, X, (X[:, 0] > 0).astype(float), 0.5, 5, "relu", "bce")
    for layer in (1, 2):
        W = trained[f"W{layer}"]
        kinds = len(np.unique(np.round(W, 12), axis=0))
        holds(
            kinds == len(W),
            f"after five steps of gradient descent, hidden units of layer {layer} are still equal to each other: they "
            "started equal, and nothing can tell them apart.",
            f"Of {len(W)} units {kinds} {'is' if kinds == 1 else 'are'} different.",
        )


INIT_NETWORK = Exercise(
    name="init_network",
    title="A network, ready to be trained",
    functions=("init_network",),
    hints=(
        "Which layer is treated differently from the others, and how do you recognise it in the loop?",
        "Neighbours in widths are the fans of a layer. For all layers but the last call your he_normal with them; hand "
        "the same rng on each time.",
        "In a loop over layers from 1: he_normal and zeros for the hidden ones; for the last one zeros of the shape "
        "(out, in), and an array of nL entries that are all output_bias(p).",
    ),
    checks=(network_shapes, network_hidden, network_seeded, network_says_p, units_differ),
    mistakes=(
        Mistake(
            name="hidden-weights-all-equal",
            advice="If all weights of a hidden layer are equal, be it 0 or another number, its units compute the same, "
            "get the same gradient and stay equal for ever: hidden weights must be random.",
            replaces={"init_network": network_with(init.zeros)},
            variants=tuple({"init_network": network_with(constant(value))} for value in (1.0, 0.1, 0.01, 0.5)),
        ),
        Mistake(
            name="output-bias-left-at-zero",
            advice="With a zero bias the network starts at one half, whatever p is.",
            replaces={"init_network": network_with(bias=lambda p: 0.0)},
        ),
        Mistake(
            name="probability-as-output-bias",
            advice="The bias goes through the sigmoid first: it is output_bias(p), not p.",
            replaces={"init_network": network_with(bias=lambda p: p)},
        ),
        Mistake(
            name="output-bias-in-every-layer",
            advice="Only the output layer's bias stands for p; hidden biases start at zero.",
            replaces={"init_network": network_with(everywhere=True)},
        ),
        Mistake(
            name="output-weights-drawn",
            advice="With random output weights the network starts at p for no single input: the output layer starts at "
            "zero weights, which is harmless there.",
            replaces={"init_network": network_with(output=init.he_normal)},
            variants=tuple(
                {"init_network": network_with(output=draw)} for draw in (init.xavier_uniform, init.small_normal)
            ),
        ),
        Mistake(
            name="generator-started-again",
            advice="Each layer started from the same state of the generator, so layers of one shape are equal: draw "
            "from one generator, layer after layer.",
            replaces={"init_network": network_with(again=True)},
        ),
        Mistake(
            name="network-with-fan-out",
            advice="The hidden layers are asked for with fan_in, which keeps the signal on its way forward.",
            replaces={"init_network": network_with(lambda i, o, rng: init.he_normal(i, o, rng, "fan_out"))},
        ),
        Mistake(
            name="network-of-small-weights",
            advice="Weights of size 0.01 take no notice of the fan, and the signal dies on its way: use he_normal.",
            replaces={"init_network": network_with(init.small_normal)},
        ),
        Mistake(
            name="network-weights-in-by-out",
            advice="Wl is stored (out, in): (nl, n(l-1)).",
            replaces={"init_network": network_shape_in_by_out},
        ),
    ),
)

# --- the picture -----------------------------------------------------------------------------------------------------


def draw_picture(student: Any, figure: Any) -> None:
    """Signal and gradient through fifteen ReLU layers that get narrower, under four initialisations."""
    left, right = figure.subplots(1, 2)
    widths = [int(w) for w in np.round(np.geomspace(300, 60, 16))]
    layers = np.arange(len(widths))
    rng = np.random.default_rng(308)
    x, dout = rng.normal(size=(40, widths[0])), rng.normal(size=(40, widths[-1]))

    def small(fan_in: int, fan_out: int) -> Array:
        return np.asarray(rng.normal(0.0, 0.01, size=(fan_out, fan_in)))

    def next_rng() -> Rng:
        # A generator travels as a copy, so each call gets one of its own.
        return np.random.default_rng(int(rng.integers(1 << 62)))

    schemes: dict[str, Callable[[int, int], Any]] = {
        "He, fan_in": lambda i, o: student.he_normal(i, o, next_rng()),
        "He, fan_out": lambda i, o: student.he_normal(i, o, next_rng(), mode="fan_out"),
        "Xavier": lambda i, o: student.xavier_uniform(i, o, next_rng()),
        "standard deviation 0.01": small,
    }
    for i, (name, draw) in enumerate(schemes.items()):
        # One network alone wanders about; this is the geometric mean of a few.
        ways: list[tuple[Array, Array]] = []
        for _ in range(3):
            weights = [numbers(draw(*fans), fans[::-1], "W") for fans in itertools.pairwise(widths)]
            ways.append(
                (
                    numbers(student.forward_moments(x, weights), layers.shape, "the moments"),
                    numbers(student.backward_moments(x, weights, dout), layers.shape, "the moments"),
                )
            )
        for axes, part in ((left, 0), (right, 1)):
            mean = np.mean([np.log10(np.maximum(way[part], 1e-300)) for way in ways], axis=0)
            axes.semilogy(layers, 10**mean, "o-", color=f"C{i}", ms=3.5, label=name)
    for axes in (left, right):
        axes.axhline(1.0, color="0.6", lw=0.8, ls="--", zorder=0)
        axes.set(xlabel="layer l (0 is the input)", ylim=(1e-9, 1e3))
        axes.legend(frameon=False, fontsize=8, loc="upper left", ncols=2)
    left.set(ylabel="mean square of $a_l$", title="Signal, on its way forward")
    right.set(ylabel="mean square of the gradient at $a_l$", title="Gradient, on its way back")


CHAPTER = Chapter(
    id="ch308",
    slug="initialisation",
    title="Initialisation Strategies",
    part="Foundations",
    summary="Xavier, He and orthogonal weights, and two measurements that show which of them keep signal and gradient "
    "alive.",
    builds_on=("ch304", "ch306"),
    exercises=(XAVIER_UNIFORM, HE_NORMAL, ORTHOGONAL, FORWARD_MOMENTS, BACKWARD_MOMENTS, OUTPUT_BIAS, INIT_NETWORK),
    picture=Picture(title="Fifteen ReLU layers, from 300 units down to 60", draw=draw_picture),
)
