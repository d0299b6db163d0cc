"""Checks of chapter 332: power laws, their fits with and without a floor, and what a budget is best spent on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from dlreference import scaling as ref

from dlgrade.course.compare import Wrong, holds, items, numbers, same
from dlgrade.course.kinds import Case, Rng, case_of, numeric, prop, unchanged
from dlgrade.course.spec import Chapter, Exercise, Mistake, Picture
from dlgrade.sandbox.session import Call

Array = np.ndarray[Any, Any]
Law = dict[str, float]

HOFFMANN: Law = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
EVEN: Law = {"E": 1.0, "A": 8.0, "B": 8.0, "alpha": 0.5, "beta": 0.5}
CHINCHILLA_FLOPS = 5.88e23


def floats(value: Any) -> Array:
    return np.asarray(value, dtype=np.float64)


def typed(law: Law) -> ref.ParametricLoss:
    return ref.ParametricLoss(law["E"], law["A"], law["B"], law["alpha"], law["beta"])


def drawn_law(rng: Rng) -> Law:
    """A law whose two exponents and two amplitudes differ clearly."""
    return {
        "E": float(rng.uniform(1.0, 2.0)),
        "A": float(rng.uniform(50, 100)),
        "B": float(rng.uniform(300, 600)),
        "alpha": float(rng.uniform(0.38, 0.5)),
        "beta": float(rng.uniform(0.22, 0.3)),
    }


def drawn_flops(rng: Rng) -> float:
    return float(10 ** rng.uniform(18, 22))


# --- power law -------------------------------------------------------------------------------------------------------


def sizes(*shape: int) -> Callable[[Rng], tuple[Any, ...]]:
    return lambda rng: (10 ** rng.uniform(3, 6, size=shape), float(rng.uniform(0.2, 0.6)), float(rng.uniform(1e7, 1e8)))


def losses(*shape: int) -> Callable[[Rng], tuple[Any, ...]]:
    return lambda rng: (rng.uniform(1.5, 6, size=shape), float(rng.uniform(0.2, 0.6)), float(rng.uniform(1e7, 1e8)))


def before_after(*shape: int) -> Callable[[Rng], tuple[Any, ...]]:
    return lambda rng: (rng.uniform(2, 4, size=shape), rng.uniform(1, 3, size=shape))


@prop("back and forth", 2, "power_law", "invert_power_law")
def round_trip(student: Any, rng: Rng) -> None:
    x, alpha, x_c = sizes(4)(rng)
    loss = numbers(student.power_law(x, alpha, x_c), (4,), "the losses")
    back = numbers(student.invert_power_law(loss, alpha, x_c), (4,), "the sizes")
    same(back, x, "the sizes found from the losses of sizes")
    double = numbers(student.power_law(2 * x, alpha, x_c), (4,), "the losses")
    same(double / loss, np.full(4, 2.0**-alpha), "the loss of twice the size, divided by the loss,")


POWER_LAW = Exercise(
    name="power_law",
    title="A straight line on logarithmic paper",
    functions=("power_law", "invert_power_law", "relative_reduction"),
    hints=(
        "Should the loss rise or fall when x grows? And which root undoes a power?",
        "The size is below the line: (x_c / x). To solve for x, take the root of order alpha of the loss first.",
        "loss ** (1 / alpha) is x_c / x, so x is x_c divided by that. A reduction is measured by what there was "
        "before.",
    ),
    checks=(
        numeric(
            "the loss of a size",
            5,
            "power_law",
            ref.power_law,
            [
                Case("five sizes", sizes(5)),
                Case("a table of sizes", sizes(2, 3)),
                Case("one, two and ten billion parameters", lambda rng: ([1e9, 2e9, 1e10], 0.076, 8.8e13)),
                Case("a single number", lambda rng: (4.0, 0.5, 16.0)),
            ],
        ),
        numeric(
            "the size for a loss",
            4,
            "invert_power_law",
            ref.invert_power_law,
            [
                Case("five losses", losses(5)),
                Case("losses below one", lambda rng: (rng.uniform(0.3, 0.9, size=3), 0.4, 1e6)),
                Case("a small exponent", lambda rng: ([2.4, 2.0], 0.076, 8.8e13)),
            ],
        ),
        numeric(
            "a share of the old loss",
            3,
            "relative_reduction",
            ref.relative_reduction,
            [
                Case("four pairs", before_after(4)),
                Case("a loss that rose", lambda rng: (2.0, 3.0)),
                Case("from one to ten billion parameters", lambda rng: ([2.3756, 2.2537], [1.9943, 1.9943])),
            ],
        ),
        round_trip,
    ),
    mistakes=(
        Mistake(
            name="loss-rises-with-size",
            advice="Larger models have a smaller loss: x stands below the line, (x_c / x).",
            replaces={"power_law": lambda x, alpha, x_c: (floats(x) / x_c) ** alpha},
        ),
        Mistake(
            name="power-as-factor",
            advice="alpha is an exponent, not a factor.",
            replaces={"power_law": lambda x, alpha, x_c: alpha * x_c / floats(x)},
        ),
        Mistake(
            name="power-of-the-size-only",
            advice="The power is of the whole quotient x_c / x, not of x alone.",
            replaces={"power_law": lambda x, alpha, x_c: x_c / floats(x) ** alpha},
        ),
        Mistake(
            name="power-instead-of-root",
            advice="To undo a power of alpha, take the power 1 / alpha.",
            replaces={"invert_power_law": lambda loss, alpha, x_c: x_c / floats(loss) ** alpha},
        ),
        Mistake(
            name="root-on-the-wrong-side",
            advice="A smaller loss needs a LARGER model: x_c is divided by loss ** (1 / alpha), not multiplied.",
            replaces={"invert_power_law": lambda loss, alpha, x_c: x_c * floats(loss) ** (1 / alpha)},
        ),
        Mistake(
            name="share-of-the-new-loss",
            advice="A reduction is a share of the OLD loss: divide by `before`. From 2.376 to 2.254 it is 5.1 percent, "
            "not 5.4.",
            replaces={"relative_reduction": lambda before, after: floats(before) / floats(after) - 1},
        ),
        Mistake(
            name="reduction-negative",
            advice="A loss that fell has a positive reduction: before minus after.",
            replaces={"relative_reduction": lambda before, after: floats(after) / floats(before) - 1},
        ),
        Mistake(
            name="reduction-in-percent",
            advice="A share is asked for, 0.25 and not 25.",
            replaces={"relative_reduction": lambda before, after: 100 * ref.relative_reduction(before, after)},
        ),
    ),
)

# --- fit -------------------------------------------------------------------------------------------------------------


def measured(n: int, noise: float) -> Callable[[Rng], tuple[Any, ...]]:
    """Sizes over four orders of magnitude, their losses with noise on the logarithm; in no order."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        x = 10 ** (rng.permutation(np.linspace(2, 6, n)) + rng.uniform(-0.3, 0.3, size=n))
        loss = ref.power_law(x, float(rng.uniform(0.2, 0.5)), float(rng.uniform(1e7, 1e8)))
        return x, loss * np.exp(noise * rng.normal(size=n))

    return draw


def kaplan(rng: Rng) -> tuple[Any, ...]:
    x = 10 ** np.linspace(6, 10, 9)
    return x, ref.power_law(x, 0.076, 8.8e13)


def line_fit(
    result: Callable[[float, float], tuple[float, float]],
    of_x: Callable[[Array], Array] = np.log,
    of_loss: Callable[[Array], Array] = np.log,
) -> Callable[..., tuple[float, float]]:
    """A fit that makes something else of the slope and intercept of its line, or draws another line."""
    return lambda x, loss: result(*ref.fit_line(of_x(floats(x)), of_loss(floats(loss))))


def from_line(slope: float, intercept: float) -> tuple[float, float]:
    return -slope, float(np.exp(-intercept / slope))


def fp_ends(x: Any, loss: Any) -> tuple[float, float]:
    log_x, log_loss = np.log(floats(x)), np.log(floats(loss))
    slope = (log_loss[-1] - log_loss[0]) / (log_x[-1] - log_x[0])
    return from_line(float(slope), float(log_loss[0] - slope * log_x[0]))


def fp_axes(x: Any, loss: Any) -> tuple[float, float]:
    slope, intercept = ref.fit_line(np.log(floats(loss)), np.log(floats(x)))
    return -1 / slope, float(np.exp(intercept))


def fp_origin(x: Any, loss: Any) -> tuple[float, float]:
    log_x, log_loss = np.log(floats(x)), np.log(floats(loss))
    return -float(log_x @ log_loss / (log_x @ log_x)), 1.0


@prop("other units change x_c only", 3, "fit_power_law")
def units(student: Any, rng: Rng) -> None:
    x, loss = measured(8, 0.05)(rng)
    found = []
    for scale in (1.0, 1e-6):
        alpha, x_c = items(student.fit_power_law(scale * x, loss), ("alpha", "x_c"))
        found.append((float(numbers(alpha, (), "alpha")), float(numbers(x_c, (), "x_c"))))
    want = ref.fit_power_law(x, loss)
    same(found[0][0], want[0], "alpha")
    same(found[1][0], want[0], "alpha, with x counted in millions,")
    same(found[1][1], want[1] * 1e-6, "x_c, with x counted in millions,")


FIT = Exercise(
    name="fit_power_law",
    title="Fitting the line",
    functions=("fit_power_law",),
    hints=(
        "What do you have to plot against what, so that a power law becomes a straight line?",
        "Fit log loss against log x by least squares (np.polyfit of degree 1 will do, or the formula with centred "
        "values). Then translate: the slope is -alpha. What is the intercept?",
        "alpha is minus the slope. The intercept is alpha log x_c, so x_c is np.exp(intercept / alpha).",
    ),
    checks=(
        numeric(
            "exact points",
            5,
            "fit_power_law",
            ref.fit_power_law,
            [
                Case("seven points on a power law", measured(7, 0.0)),
                Case("the law of Kaplan and others for parameters", kaplan),
                Case("two points", measured(2, 0.0)),
            ],
            result="the pair (alpha, x_c)",
        ),
        numeric(
            "noisy points",
            9,
            "fit_power_law",
            ref.fit_power_law,
            [
                Case("twenty points, each off by some percent", measured(20, 0.05)),
                Case("five points, far off", measured(5, 0.3)),
                Case("lists of whole numbers", lambda rng: ([100, 1000, 20000], [9, 4, 2])),
                Case("losses that rise", lambda rng: ([10.0, 100.0, 1000.0], [1.5, 1.6 + 0.2 * rng.random(), 2.5])),
            ],
            result="the pair (alpha, x_c)",
        ),
        units,
    ),
    mistakes=(
        Mistake(
            name="slope-sign-kept",
            advice="The slope of a falling line is negative, and alpha is minus the slope.",
            replaces={"fit_power_law": line_fit(lambda a, b: (a, float(np.exp(-b / a))))},
            variants=({"fit_power_law": line_fit(lambda a, b: (a, float(np.exp(b / a))))},),
        ),
        Mistake(
            name="logarithms-of-two-bases",
            advice="Use one logarithm for both axes; with log10 on one and the natural one on the other the "
            "slope is off "
            "by a factor 2.303.",
            replaces={"fit_power_law": line_fit(from_line, np.log10)},
            variants=({"fit_power_law": line_fit(from_line, np.log, np.log10)},),
        ),
        Mistake(
            name="undone-with-another-base",
            advice="np.exp undoes the natural logarithm; after log10 or log2 it takes a power of 10 or 2.",
            replaces={"fit_power_law": line_fit(from_line, np.log10, np.log10)},
            variants=({"fit_power_law": line_fit(from_line, np.log2, np.log2)},),
        ),
        Mistake(
            name="fitted-without-logarithms",
            advice="A power law is a straight line only on logarithmic axes: take the logarithm of x AND of the loss.",
            replaces={"fit_power_law": line_fit(lambda a, b: (-a, b), floats, floats)},
            variants=(
                {"fit_power_law": line_fit(lambda a, b: (-a, b), np.log, floats)},
                {"fit_power_law": line_fit(lambda a, b: (-a, float(np.exp(b))), floats, np.log)},
            ),
        ),
        Mistake(
            name="intercept-not-divided",
            advice="The intercept is alpha log x_c: divide by alpha before you take np.exp.",
            replaces={"fit_power_law": line_fit(lambda a, b: (-a, float(np.exp(b))))},
        ),
        Mistake(
            name="logarithm-of-x-c",
            advice="intercept / alpha is log x_c: np.exp makes x_c of it.",
            replaces={"fit_power_law": line_fit(lambda a, b: (-a, -b / a))},
        ),
        Mistake(
            name="line-through-the-ends",
            advice="Least squares uses all points; a line through the first and the last follows their noise.",
            replaces={"fit_power_law": fp_ends},
        ),
        Mistake(
            name="axes-exchanged",
            advice="The loss is what was measured with errors: fit log loss against log x, not log x against log loss.",
            replaces={"fit_power_law": fp_axes},
        ),
        Mistake(
            name="line-through-the-origin",
            advice="The line has an intercept, from which x_c comes; yours is forced through the origin.",
            replaces={"fit_power_law": fp_origin},
        ),
    ),
)

# --- floor -----------------------------------------------------------------------------------------------------------


def floored(n: int, noise: float) -> Callable[[Rng], tuple[Any, ...]]:
    """Losses above a floor of 1.5, with noise on the rest, and floors to try."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        x = 10 ** (rng.permutation(np.linspace(1, 4, n)) + rng.uniform(-0.2, 0.2, size=n))
        rest = float(rng.uniform(6, 10)) * x ** -float(rng.uniform(0.25, 0.35)) * np.exp(noise * rng.normal(size=n))
        # Not in order: the best is to be found, not the last or the largest.
        floors = np.array([1.2, 0.0, 1.5, 0.75, 1.55, 0.3])
        return x, 1.5 + rest, floors[floors < 1.5 + 0.9 * rest.min()]

    return draw


def undecided(rng: Rng) -> tuple[Any, ...]:
    """Four rough points: squared residuals of the logarithms choose the floor 0, squared residuals of the losses 1.2.

    The sums of the logarithms' are 0.034, 0.030 and 0.034, those of the losses' 0.11, 0.36 and 0.25; the sums of
    absolute residuals of the logarithms 0.298, 0.326 and 0.332. Another unit of the loss changes none of the choices.
    """
    unit = rng.uniform(0.5, 2)
    return floats([10, 100, 1000, 10000]), unit * floats([6.6, 4.0, 2.5, 2.1]), unit * floats([1.2, 0.0, 0.6])


def far_off_once(rng: Rng) -> tuple[Any, ...]:
    """Five rough points: squared residuals choose the floor 1.2, the largest residual alone chooses 0.6.

    The sums of squares are 0.0040, 0.0029 and 0.0076, the largest residuals 0.034, 0.047 and 0.049.
    """
    unit = rng.uniform(0.5, 2)
    return 10.0 ** np.arange(1, 6), unit * floats([7.9, 5.2, 3.8, 2.7, 2.1]), unit * floats([0.6, 1.2, 0.0])


def right_floor(x: Any, loss: Any, floors: Any) -> Law:
    fit = ref.fit_offset_by_grid(x, loss, floors)
    return {"floor": fit.irreducible, "amplitude": fit.amplitude, "alpha": fit.alpha}


def one_floor(x: Any, loss: Any, floor: float) -> Law:
    return right_floor(x, loss, [floor])


def allowed(loss: Any, floors: Any) -> Array:
    if np.max(floors) >= np.min(loss):
        raise ValueError("a floor above a loss")
    return floats(floors)


def ff_choose(score: Callable[[Array, Array, Law, float], float]) -> Callable[..., Law]:
    """A fit that keeps the floor with the smallest score of (x, loss, fit, sum of squared residuals)."""

    def fit_with_floor(x: Any, loss: Any, floors: Any) -> Law:
        x, loss = floats(x), floats(loss)
        fits = [one_floor(x, loss, float(floor)) for floor in allowed(loss, floors)]
        return min(fits, key=lambda fit: score(x, loss, fit, log_error(x, loss, fit)))

    return fit_with_floor


def log_error(x: Array, loss: Array, fit: Law) -> float:
    line = np.log(fit["amplitude"]) - fit["alpha"] * np.log(x)
    return float(np.sum((np.log(loss - fit["floor"]) - line) ** 2))


def ff_after(change: Callable[[Law], Law]) -> Callable[..., Law]:
    return lambda x, loss, floors: change(right_floor(x, loss, floors))


def ff_ignored(x: Any, loss: Any, floors: Any) -> Law:
    allowed(loss, floors)
    return one_floor(x, loss, 0.0)


def ff_unchecked(x: Any, loss: Any, floors: Any) -> Law:
    fits = floats(floors)
    return right_floor(x, loss, fits[fits < np.min(loss)])


def fit_case(*shape: int) -> Callable[[Rng], tuple[Any, ...]]:
    def draw(rng: Rng) -> tuple[Any, ...]:
        fit = {k: float(rng.uniform(a, b)) for k, a, b in (("floor", 1, 2), ("amplitude", 5, 9), ("alpha", 0.2, 0.6))}
        return fit, 10 ** rng.uniform(1, 4, size=shape)

    return draw


def right_forecast(fit: Law, x: Any) -> Array:
    return ref.offset_power_law(x, ref.OffsetFit(fit["floor"], fit["amplitude"], fit["alpha"]))


@prop("a floor that no loss can have is refused", 2, "fit_with_floor")
def refuses(student: Any, rng: Rng) -> None:
    x, loss, floors = floored(6, 0.02)(rng)
    for reason, extra in (("a floor above the smallest loss", 0.3), ("a floor equal to the smallest loss", 0.0)):
        call = Call("fit_with_floor", (x, loss, np.append(floors, loss.min() + extra)))
        [reply] = student.batch([call])
        with case_of(reason, call):
            if reply.status == "error" and reply.detail.get("type") == "ValueError":
                continue
            if reply.status == "ok":
                raise Wrong("a ValueError is asked for here, but `fit_with_floor` returned an answer.")
            student.answer(call, reply)


FLOOR = Exercise(
    name="floor",
    title="What no model gets below",
    functions=("fit_with_floor", "forecast"),
    hints=(
        "If someone told you the floor, how would you turn the losses into a power law without one?",
        "Subtract the floor, take logarithms, fit a line, and measure how far the points are from it. Do that "
        "for every "
        "floor, and remember the best.",
        "The amplitude is np.exp(intercept), alpha minus the slope. Compare sums of (log(loss - floor) - line) ** 2 "
        "with a plain <, starting from infinity. Check the floors before the loop.",
    ),
    checks=(
        numeric(
            "finds the floor that made the points",
            7,
            "fit_with_floor",
            right_floor,
            [
                Case("eight exact points", floored(8, 0.0)),
                Case("three exact points", floored(3, 0.0)),
                Case("points without a floor", lambda rng: (*measured(7, 0.0)(rng), [0.1, 0.0, 0.05])),
            ],
            result="the fit",
        ),
        numeric(
            "noisy points",
            7,
            "fit_with_floor",
            right_floor,
            [
                Case("twelve points, the rest off by some percent", floored(12, 0.03)),
                Case("six points, farther off", floored(6, 0.15)),
                Case("eight points, hardly off", floored(8, 1e-3)),
                Case("four points that no floor fits well", undecided),
                Case("five points that no floor fits well", far_off_once),
                Case("a single floor to try", lambda rng: (*floored(6, 0.05)(rng)[:2], [0.4])),
            ],
            result="the fit",
        ),
        refuses,
        numeric(
            "what to expect of other sizes",
            4,
            "forecast",
            right_forecast,
            [
                Case("four sizes", fit_case(4)),
                Case("a table of sizes", fit_case(2, 3)),
                Case("one size", lambda rng: (fit_case(1)(rng)[0], 1e9)),
            ],
        ),
    ),
    mistakes=(
        Mistake(
            name="floor-ignored",
            advice="The floors are there to be tried: a fit without one takes the bend of the points for a small "
            "alpha.",
            replaces={"fit_with_floor": ff_ignored},
        ),
        Mistake(
            name="residuals-of-the-loss",
            advice="Compare the residuals of the logarithms, which the line was fitted to, not those of the losses.",
            replaces={
                "fit_with_floor": ff_choose(
                    lambda x, loss, fit, error: float(np.sum((loss - right_forecast(fit, x)) ** 2))
                )
            },
        ),
        Mistake(
            name="largest-error-kept",
            advice="The best line is the one with the SMALLEST sum of squared residuals.",
            replaces={"fit_with_floor": ff_choose(lambda x, loss, fit, error: -error)},
        ),
        Mistake(
            name="last-floor-kept",
            advice="All floors are tried, and the best is kept; yours keeps the last.",
            replaces={"fit_with_floor": lambda x, loss, floors: one_floor(x, loss, float(allowed(loss, floors)[-1]))},
        ),
        Mistake(
            name="largest-floor-kept",
            advice="The best floor is the one whose line fits, which need not be the largest.",
            replaces={"fit_with_floor": ff_choose(lambda x, loss, fit, error: -fit["floor"])},
        ),
        Mistake(
            name="amplitude-still-a-logarithm",
            advice="The intercept is the logarithm of the amplitude: np.exp makes the amplitude of it.",
            replaces={"fit_with_floor": ff_after(lambda fit: {**fit, "amplitude": float(np.log(fit["amplitude"]))})},
        ),
        Mistake(
            name="floor-fit-slope-sign-kept",
            advice="alpha is minus the slope of the line.",
            replaces={"fit_with_floor": ff_after(lambda fit: {**fit, "alpha": -fit["alpha"]})},
        ),
        Mistake(
            name="impossible-floors-skipped",
            advice="A floor that is not below the smallest loss is an error in the call: raise ValueError, do "
            "not skip it.",
            replaces={"fit_with_floor": ff_unchecked},
        ),
        Mistake(
            name="forecast-without-floor",
            advice="The floor is part of the loss: add it.",
            replaces={"forecast": lambda fit, x: right_forecast({**fit, "floor": 0.0}, x)},
        ),
        Mistake(
            name="forecast-rises",
            advice="The exponent is -alpha: the part above the floor falls with size.",
            replaces={"forecast": lambda fit, x: right_forecast({**fit, "alpha": -fit["alpha"]}, x)},
        ),
        Mistake(
            name="forecast-power-of-both",
            advice="The amplitude stands in front of the power: it is not raised with x.",
            replaces={
                "forecast": lambda fit, x: right_forecast({**fit, "amplitude": fit["amplitude"] ** fit["alpha"]}, x)
            },
        ),
    ),
)

# --- compute ---------------------------------------------------------------------------------------------------------


def right_days(flops: float, peak: float, utilization: float) -> float:
    return ref.device_days(flops, peak, utilization)


def tt_with(
    size: Callable[[float, float], float], tokens: Callable[[float, float, float], float]
) -> Callable[..., Any]:
    """A rule of thumb with other formulas for N(C, ratio) and D(C, N, ratio)."""

    def rule(flops: float, tokens_per_param: float = 20.0) -> tuple[float, float]:
        n = size(flops, tokens_per_param)
        return n, tokens(flops, n, tokens_per_param)

    return rule


def right_size(flops: float, ratio: float) -> float:
    return ref.tokens_per_parameter_rule(flops, ratio)[0]


COMPUTE = Exercise(
    name="compute",
    title="What a training costs",
    functions=("training_flops", "device_days", "twenty_tokens_rule"),
    hints=(
        "How often is each parameter used for one token, forwards and backwards? And how many seconds has a day?",
        "What a device really does in a second is its peak times the utilization. For the rule, put D = 20 N into "
        "6 N D = C: what is left is an equation for N alone.",
        "6 N * 20 N = C, so N is the root of C / 120, and D is 20 N. With another number of tokens, 120 becomes "
        "6 times "
        "that.",
    ),
    checks=(
        numeric(
            "six operations a parameter and token",
            4,
            "training_flops",
            ref.training_flops,
            [
                Case("the training of Chinchilla", lambda rng: (70e9, 1.4e12)),
                Case("three trainings", lambda rng: (rng.uniform(1e6, 1e9, size=3), rng.uniform(1e9, 1e11, size=3))),
            ],
        ),
        numeric(
            "days on a device",
            4,
            "device_days",
            right_days,
            [
                Case("GPT-3, at full use", lambda rng: (3.14e23, 3.12e14, 1.0)),
                Case("GPT-3, at a use of 0.4", lambda rng: (3.14e23, 3.12e14, 0.4)),
                Case("another one", lambda rng: (drawn_flops(rng), 1e14, float(rng.uniform(0.2, 0.8)))),
            ],
            result="the number of days",
        ),
        numeric(
            "twenty tokens a parameter",
            5,
            "twenty_tokens_rule",
            ref.tokens_per_parameter_rule,
            [
                Case("the budget of Chinchilla", lambda rng: (CHINCHILLA_FLOPS,)),
                Case("another budget", lambda rng: (drawn_flops(rng),)),
            ],
            result="the pair (N, D)",
        ),
        numeric(
            "another number of tokens",
            2,
            "twenty_tokens_rule",
            ref.tokens_per_parameter_rule,
            [Case("five tokens a parameter", lambda rng: (drawn_flops(rng), 5.0))],
            result="the pair (N, D)",
        ),
    ),
    mistakes=(
        Mistake(
            name="flops-without-six",
            advice="Every parameter costs six operations a token: C = 6 N D.",
            replaces={"training_flops": lambda n, d: floats(n) * floats(d)},
        ),
        Mistake(
            name="forward-only",
            advice="Two operations are for the way forwards only; the way back costs four more.",
            replaces={"training_flops": lambda n, d: 2 * floats(n) * floats(d)},
        ),
        Mistake(
            name="backward-only",
            advice="Four operations are for the way back only; the way forwards costs two more.",
            replaces={"training_flops": lambda n, d: 4 * floats(n) * floats(d)},
        ),
        Mistake(
            name="utilization-multiplies",
            advice="A device that is used worse needs MORE days: the utilization belongs to the speed, below the line.",
            replaces={"device_days": lambda flops, peak, use: right_days(flops * use, peak, 1.0)},
        ),
        Mistake(
            name="utilization-ignored",
            advice="A device reaches only a share of its peak: multiply the peak by the utilization.",
            replaces={"device_days": lambda flops, peak, use: right_days(flops, peak, 1.0)},
        ),
        Mistake(
            name="seconds-instead-of-days",
            advice="flops / speed are seconds; a day has 86,400 of them.",
            replaces={"device_days": lambda flops, peak, use: 86_400 * right_days(flops, peak, use)},
        ),
        Mistake(
            name="hours-instead-of-days",
            advice="Divided by 3,600 these are hours; a day has 24 of them.",
            replaces={"device_days": lambda flops, peak, use: 24 * right_days(flops, peak, use)},
        ),
        Mistake(
            name="rule-without-six",
            advice="The budget is 6 N D, not N D: N is the root of C / 120.",
            replaces={"twenty_tokens_rule": tt_with(lambda c, r: (c / r) ** 0.5, lambda c, n, r: r * n)},
        ),
        Mistake(
            name="as-many-tokens-as-parameters",
            advice="sqrt(C / 6) is the size at which N and D are equal; with twenty tokens a parameter N is "
            "sqrt(C / 120).",
            replaces={"twenty_tokens_rule": tt_with(lambda c, r: (c / 6) ** 0.5, lambda c, n, r: c / (6 * n))},
            variants=({"twenty_tokens_rule": tt_with(lambda c, r: (c / 6) ** 0.5, lambda c, n, r: r * n)},),
        ),
        Mistake(
            name="tokens-beyond-the-budget",
            advice="What the budget leaves for tokens is C / (6 N), which is 20 N; yours is C / N.",
            replaces={"twenty_tokens_rule": tt_with(right_size, lambda c, n, r: c / n)},
        ),
        Mistake(
            name="root-forgotten",
            advice="6 N * 20 N = C is an equation for the SQUARE of N: take the root.",
            replaces={"twenty_tokens_rule": tt_with(lambda c, r: c / (6 * r), lambda c, n, r: r * n)},
        ),
        Mistake(
            name="always-twenty",
            advice="`tokens_per_param` may be another number than 20: use it in both formulas.",
            replaces={"twenty_tokens_rule": tt_with(lambda c, r: right_size(c, 20.0), lambda c, n, r: 20.0 * n)},
        ),
    ),
)

# --- the law of size and text ----------------------------------------------------------------------------------------


def right_loss(n: Any, d: Any, law: Law) -> Array:
    return ref.parametric_loss(n, d, typed(law))


def pair_case(*shape: int) -> Callable[[Rng], tuple[Any, ...]]:
    return lambda rng: (10 ** rng.uniform(5, 9, size=shape), 10 ** rng.uniform(7, 11, size=shape), drawn_law(rng))


def bos_with(
    tokens: Callable[[float, Array], Array] = lambda c, n: c / (6 * n),
    choose: Callable[[Array], Any] = np.argmin,
    size: Callable[[Array, Any], Any] = lambda n, best: n[best],
) -> Callable[..., Any]:
    """A search with other tokens for each size, or another choice."""

    def best_of_sizes(flops: float, law: Law, sizes: Any) -> Any:
        n = floats(sizes)
        d = tokens(flops, n)
        loss = right_loss(n, d, law)
        best = choose(loss)
        return float(size(n, best)), float(d[best]), float(loss[best])

    return best_of_sizes


def search_case(n_sizes: int) -> Callable[[Rng], tuple[Any, ...]]:
    """Sizes around the best one, in no order; the best is neither the first nor the last."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        law, flops = drawn_law(rng), drawn_flops(rng)
        best = ref.compute_optimal(flops, typed(law))[0]
        factors = np.concatenate([[30.0], rng.permutation(10 ** np.linspace(-1, 1, n_sizes)), [0.02]])
        return flops, law, best * factors * rng.uniform(0.9, 1.1, size=len(factors))

    return draw


PARAMETRIC = Exercise(
    name="size_and_text",
    title="A law of size and text",
    functions=("parametric_loss", "best_of_sizes"),
    hints=(
        "A large model sees little text, if the budget is fixed, and a small one much. Which tokens belong to "
        "which size?",
        "The tokens of each size are C / (6 N). With those, one call of your parametric_loss gives the losses of "
        "all sizes.",
        "np.argmin of the losses is the place of the best; return the size, the tokens and the loss at that place.",
    ),
    checks=(
        numeric(
            "three parts",
            4,
            "parametric_loss",
            right_loss,
            [
                Case("five models", pair_case(5)),
                Case("one model", pair_case()),
                Case("Chinchilla", lambda rng: (70e9, 1.4e12, HOFFMANN)),
                Case(
                    "every size with every amount of text",
                    lambda rng: (10 ** rng.uniform(5, 8, (3, 1)), 10 ** rng.uniform(7, 9, 4), drawn_law(rng)),
                ),
            ],
        ),
        numeric(
            "the best of some sizes",
            7,
            "best_of_sizes",
            bos_with(),
            [
                Case("nine sizes", search_case(7)),
                Case("forty-two sizes", search_case(40)),
                Case("a single size", lambda rng: (drawn_flops(rng), drawn_law(rng), [1e7])),
                # Powers of 4 have exact roots: 4 and 64 have the same loss to the last bit.
                Case("two equally good sizes", lambda rng: (1536.0, EVEN, [256.0, 64.0, 4.0])),
                Case(
                    "two sizes, for the budget of Chinchilla", lambda rng: (CHINCHILLA_FLOPS, HOFFMANN, [70e9, 313e9])
                ),
            ],
            result="the triple (N, D, loss)",
        ),
        unchanged(2, {"parametric_loss": pair_case(4), "best_of_sizes": search_case(5)}),
    ),
    mistakes=(
        Mistake(
            name="loss-without-floor",
            advice="E, what no model gets below, is part of the loss.",
            replaces={"parametric_loss": lambda n, d, law: right_loss(n, d, {**law, "E": 0.0})},
        ),
        Mistake(
            name="exponents-exchanged",
            advice="alpha is the exponent of N, and beta that of D.",
            replaces={
                "parametric_loss": lambda n, d, law: right_loss(
                    n, d, {**law, "alpha": law["beta"], "beta": law["alpha"]}
                )
            },
        ),
        Mistake(
            name="amplitudes-exchanged",
            advice="A belongs to N, and B to D.",
            replaces={"parametric_loss": lambda n, d, law: right_loss(n, d, {**law, "A": law["B"], "B": law["A"]})},
        ),
        Mistake(
            name="parts-grow",
            advice="Both parts fall when the model or its text grows: divide by the powers.",
            replaces={
                "parametric_loss": lambda n, d, law: right_loss(
                    n, d, {**law, "alpha": -law["alpha"], "beta": -law["beta"]}
                )
            },
        ),
        Mistake(
            name="amplitude-inside-the-power",
            advice="The power is of N and D alone: A / N^alpha, not (A / N)^alpha.",
            replaces={
                "parametric_loss": lambda n, d, law: right_loss(
                    n, d, {**law, "A": law["A"] ** law["alpha"], "B": law["B"] ** law["beta"]}
                )
            },
        ),
        Mistake(
            name="six-forgotten-in-the-tokens",
            advice="The budget is 6 N D, so it leaves C / (6 N) tokens.",
            replaces={"best_of_sizes": bos_with(tokens=lambda c, n: c / n)},
        ),
        Mistake(
            name="same-text-for-all-sizes",
            advice="A larger model leaves less of the budget for text: every size has its own number of tokens.",
            replaces={"best_of_sizes": bos_with(tokens=lambda c, n: np.full(n.shape, c / (6 * n[0])))},
        ),
        Mistake(
            name="twenty-tokens-for-all",
            advice="Here the tokens are what the budget leaves, C / (6 N), and not twenty a parameter.",
            replaces={"best_of_sizes": bos_with(tokens=lambda c, n: 20 * n)},
        ),
        Mistake(
            name="worst-size-chosen",
            advice="The best model has the SMALLEST loss.",
            replaces={"best_of_sizes": bos_with(choose=np.argmax)},
        ),
        Mistake(
            name="place-instead-of-size",
            advice="np.argmin says where the best size stands in the list; return the size that stands there.",
            replaces={"best_of_sizes": bos_with(size=lambda n, best: best)},
        ),
    ),
)

# --- compute-optimal -------------------------------------------------------------------------------------------------


def right_optimal(flops: float, law: Law) -> tuple[float, float]:
    return ref.compute_optimal(flops, typed(law))


def co_with(
    g: Callable[[Law], float] = lambda law: (law["alpha"] * law["A"] / (law["beta"] * law["B"])) ** exponent(law, 1.0),
    budget: Callable[[float], float] = lambda c: c / 6,
    of_n: Callable[[Law], float] = lambda law: exponent(law, law["beta"]),
) -> Callable[..., tuple[float, float]]:
    """A formula with another G, budget N D or exponent of N; D is what that budget leaves."""

    def compute_optimal(flops: float, law: Law) -> tuple[float, float]:
        n = g(law) * budget(flops) ** of_n(law)
        return n, budget(flops) / n

    return compute_optimal


def exponent(law: Law, above: float) -> float:
    return above / (law["alpha"] + law["beta"])


def optimal_case(rng: Rng) -> tuple[Any, ...]:
    return drawn_flops(rng), drawn_law(rng)


@prop("spends the budget, and nothing near is better", 4, "compute_optimal")
def best(student: Any, rng: Rng) -> None:
    flops, law = optimal_case(rng)
    n, d = items(student.compute_optimal(flops, law), ("N", "D"))
    n, d = float(numbers(n, (), "N")), float(numbers(d, (), "D"))
    holds(n > 0 and d > 0, "N and D are positive.", f"Got N = {n:.4g} and D = {d:.4g}.")
    same(6 * n * d, flops, "6 N D")
    here = float(right_loss(n, d, law))
    for factor in (0.8, 1.25):
        there = float(right_loss(factor * n, d / factor, law))
        holds(
            here <= there,
            f"for the same budget, a model {factor:g} times the size of yours has a smaller loss.",
            f"Yours has {here:.6g}, the other {there:.6g}.",
        )


OPTIMAL = Exercise(
    name="compute_optimal",
    title="The best size for a budget",
    functions=("compute_optimal",),
    hints=(
        "Two conditions for two unknowns: neither part is worth more of the budget than the other, and 6 N D = C.",
        "Compute G first, then N with the exponent beta / (alpha + beta). D is what the budget leaves.",
        "G is (alpha A / (beta B)) to the power 1 / (alpha + beta); N is G times (C / 6) to the power beta / "
        "(alpha + beta); "
        "D is C / (6 N).",
    ),
    checks=(
        numeric(
            "the formula",
            8,
            "compute_optimal",
            right_optimal,
            [
                Case("a law whose exponents differ", optimal_case),
                Case("the law of Hoffmann and others, and the budget of Chinchilla", lambda rng: (5.88e23, HOFFMANN)),
                Case(
                    "equal exponents",
                    lambda rng: (drawn_flops(rng), {**drawn_law(rng), "alpha": 0.3, "beta": 0.3}),
                ),
            ],
            result="the pair (N, D)",
        ),
        best,
    ),
    mistakes=(
        Mistake(
            name="budget-exponents-exchanged",
            advice="N grows with the exponent beta / (alpha + beta), and D with alpha / (alpha + beta): what "
            "falls slower "
            "gets more.",
            replaces={"compute_optimal": co_with(of_n=lambda law: exponent(law, law["alpha"]))},
        ),
        Mistake(
            name="optimum-without-six",
            advice="The budget is 6 N D: C / 6 stands in the formula, not C.",
            replaces={"compute_optimal": co_with(budget=lambda c: c)},
        ),
        Mistake(
            name="g-upside-down",
            advice="G has alpha A above the line and beta B below: a large A asks for a larger model.",
            replaces={
                "compute_optimal": co_with(
                    g=lambda law: (law["beta"] * law["B"] / (law["alpha"] * law["A"])) ** exponent(law, 1.0)
                )
            },
        ),
        Mistake(
            name="parts-made-equal",
            advice="It is the SLOPES of the two parts that are equal, alpha A / N^alpha and beta B / D^beta, not "
            "the parts.",
            replaces={"compute_optimal": co_with(g=lambda law: (law["A"] / law["B"]) ** exponent(law, 1.0))},
        ),
        Mistake(
            name="g-without-its-power",
            advice="G is the quotient to the power 1 / (alpha + beta).",
            replaces={"compute_optimal": co_with(g=lambda law: law["alpha"] * law["A"] / (law["beta"] * law["B"]))},
        ),
        Mistake(
            name="root-of-the-budget",
            advice="N grows as the root of the budget only if alpha and beta are equal.",
            replaces={"compute_optimal": co_with(of_n=lambda law: 0.5)},
        ),
        Mistake(
            name="twenty-tokens-rule-used",
            advice="Twenty tokens a parameter is a rule of thumb; the best size for a given law depends on its "
            "numbers.",
            replaces={"compute_optimal": lambda flops, law: ref.tokens_per_parameter_rule(flops)},
        ),
        Mistake(
            name="tokens-and-size-exchanged",
            advice="Return N first and D second.",
            replaces={"compute_optimal": lambda flops, law: right_optimal(flops, law)[::-1]},
        ),
    ),
)

# --- waste -----------------------------------------------------------------------------------------------------------


def right_waste(n: float, d: float, law: Law) -> float:
    return ref.excess_compute(n, d, typed(law))


def wc_with(
    share_of_n: Callable[[Law], float] = lambda law: exponent(law, law["beta"]),
    floor: float = 0.0,
    result: Callable[[float, float], float] = lambda n_ratio, d_ratio: n_ratio * d_ratio,
) -> Callable[..., float]:
    """Waste with another share of the loss for N's part, a part of E in the loss, or another result."""

    def wasted_compute(n: float, d: float, law: Law) -> float:
        rest = float(right_loss(n, d, {**law, "E": floor * law["E"]}))
        best_n = (law["A"] / (rest * share_of_n(law))) ** (1 / law["alpha"])
        best_d = (law["B"] / (rest * (1 - share_of_n(law)))) ** (1 / law["beta"])
        return result(n / best_n, d / best_d)

    return wasted_compute


def wc_loss_ratio(n: float, d: float, law: Law) -> float:
    at_best = right_optimal(6 * n * d, law)
    return float(right_loss(n, d, law) / right_loss(*at_best, law))


def training_case(factor: float) -> Callable[[Rng], tuple[Any, ...]]:
    """A model this many times the best size for its budget."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        flops, law = optimal_case(rng)
        n, d = right_optimal(flops, law)
        return factor * n, d / factor, law

    return draw


@prop("only the best size wastes nothing", 2, "wasted_compute")
def no_less(student: Any, rng: Rng) -> None:
    for factor in (1.0, 0.2, 5.0):
        n, d, law = training_case(factor)(rng)
        found = float(numbers(student.wasted_compute(n, d, law), (), "the waste"))
        if factor == 1.0:
            same(found, 1.0, "the waste of a compute-optimal training")
        else:
            same(found, right_waste(n, d, law), f"the waste of a model {factor:g} times the best size")


WASTE = Exercise(
    name="wasted_compute",
    title="Too large, and too little read",
    functions=("wasted_compute",),
    hints=(
        "The same loss can be had cheaper: with which size, and which text?",
        "The part of the loss above E is divided between the two parts in a fixed ratio at the best size. Each "
        "of the two "
        "then gives its N or D by a root.",
        "With R = A / N^alpha + B / D^beta, the best N is (A (alpha + beta) / (R beta)) ** (1 / alpha), the best "
        "D likewise "
        "with B, alpha below the line and 1 / beta. Divide N D by their product; the sixes cancel.",
    ),
    checks=(
        numeric(
            "times more than was needed",
            7,
            "wasted_compute",
            right_waste,
            [
                Case("a model too large", training_case(8.0)),
                Case("a model too small", training_case(0.1)),
                Case("GPT-3 under the law of Hoffmann and others", lambda rng: (175e9, 300e9, HOFFMANN)),
            ],
            result="the waste",
        ),
        no_less,
    ),
    mistakes=(
        Mistake(
            name="loss-split-in-halves",
            advice="At the best size the two parts are equal only if alpha and beta are: the part of N is "
            "beta / (alpha + beta) of the rest.",
            replaces={"wasted_compute": wc_with(share_of_n=lambda law: 0.5)},
        ),
        Mistake(
            name="shares-exchanged",
            advice="The part of N is R beta / (alpha + beta), and that of D R alpha / (alpha + beta); yours are "
            "exchanged.",
            replaces={"wasted_compute": wc_with(share_of_n=lambda law: exponent(law, law["alpha"]))},
        ),
        Mistake(
            name="floor-shared-out",
            advice="E cannot be bought down: take it off the loss before you share the rest out.",
            replaces={"wasted_compute": wc_with(floor=1.0)},
        ),
        Mistake(
            name="waste-upside-down",
            advice="What was spent, divided by what was needed: at least 1.",
            replaces={"wasted_compute": lambda n, d, law: 1 / right_waste(n, d, law)},
        ),
        Mistake(
            name="sizes-compared",
            advice="Compare operations, 6 N D, not the sizes of the models.",
            replaces={"wasted_compute": wc_with(result=lambda n_ratio, d_ratio: n_ratio)},
        ),
        Mistake(
            name="texts-compared",
            advice="Compare operations, 6 N D, not the amounts of text.",
            replaces={"wasted_compute": wc_with(result=lambda n_ratio, d_ratio: d_ratio)},
        ),
        Mistake(
            name="losses-compared",
            advice="The budgets for one loss are compared, not the losses for one budget.",
            replaces={"wasted_compute": wc_loss_ratio},
        ),
    ),
)


def draw_picture(student: Any, figure: Any) -> None:
    """Losses along a budget with the best size of each, fits with and without a floor, and best sizes by budget."""
    left, middle, right = figure.subplots(1, 3)
    budgets = 10.0 ** np.arange(19, 25)
    optima = [student.compute_optimal(float(c), HOFFMANN) for c in budgets]
    for i, c in enumerate(budgets):
        n = optima[i][0] * 10 ** np.linspace(-1.2, 1.2, 60)
        loss = np.asarray(student.parametric_loss(n, c / np.asarray(student.training_flops(n, 1.0)), HOFFMANN))
        left.semilogx(n, loss, color=f"C{i}", label=f"C = 1e{19 + i}")
        left.plot(optima[i][0], student.parametric_loss(*optima[i], HOFFMANN), "o", color=f"C{i}", ms=5)
    left.set_xlabel("parameters N")
    left.set_ylabel("loss")
    left.set_title("One budget, many sizes")
    left.legend(frameon=False, fontsize=7)
    rng = np.random.default_rng(332)
    x = 10 ** np.linspace(4, 8, 13)
    loss = 1.7 + 60 * x**-0.34 * np.exp(0.04 * rng.normal(size=13))
    fit = student.fit_with_floor(x, loss, np.linspace(0, 0.99 * loss.min(), 100))
    alpha, x_c = student.fit_power_law(x, loss)
    grid = 10 ** np.linspace(4, 11, 80)
    middle.loglog(x, loss, "k.", label="measured")
    middle.loglog(grid, student.power_law(grid, alpha, x_c), "C1--", label=f"no floor, alpha = {alpha:.2f}")
    label = f"floor {fit['floor']:.2f}, alpha = {fit['alpha']:.2f}"
    middle.loglog(grid, student.forecast(fit, grid), "C0", label=label)
    middle.axhline(1.7, color="0.6", lw=1, ls=":", label="true floor 1.7")
    ticks = [1, 2, 3, 4]
    middle.set_yticks(ticks, [str(tick) for tick in ticks])
    middle.set_yticks([], minor=True)
    middle.set_xlabel("size x")
    middle.set_ylabel("loss")
    middle.set_title("Fits go apart beyond the data")
    middle.legend(frameon=False, fontsize=7)
    rule = np.array([student.twenty_tokens_rule(float(c)) for c in budgets])
    best = np.array(optima)
    for column, name in enumerate(("N", "D")):
        right.loglog(budgets, best[:, column], f"C{column}", label=f"{name}, law of Hoffmann et al.")
        right.loglog(budgets, rule[:, column], f"C{column}--", label=f"{name}, 20 tokens a parameter")
    for name, n, d in (("GPT-3", 175e9, 300e9), ("Chinchilla", 70e9, 1.4e12)):
        right.plot(
            float(student.training_flops(n, d)), n, "k^" if name == "GPT-3" else "ks", ms=5, label=f"N of {name}"
        )
    right.set_xlabel("budget C (operations)")
    right.set_ylabel("parameters or tokens")
    right.set_title("Best size and text")
    right.legend(frameon=False, fontsize=7)


CHAPTER = Chapter(
    id="ch332",
    slug="scaling_laws",
    title="Scaling Laws",
    part="Systems",
    summary="Power laws of the loss, fits with a floor, and the best size for a compute budget.",
    builds_on=("ch322",),
    exercises=(POWER_LAW, FIT, FLOOR, COMPUTE, PARAMETRIC, OPTIMAL, WASTE),
    picture=Picture(title="How the loss falls", draw=draw_picture),
)
