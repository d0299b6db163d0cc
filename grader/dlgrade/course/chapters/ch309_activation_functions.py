"""Checks of chapter 309: ten activations with their exact slopes, and three tools that look at them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from dlreference import activations as ref
from dlreference import special

from dlgrade.course.compare import holds, items, numbers, same
from dlgrade.course.kinds import Case, GradientCase, Rng, case_of, gradient, numeric, picked, prop, unchanged
from dlgrade.course.spec import Chapter, Check, Exercise, Mistake, Picture
from dlgrade.sandbox.protocol import Callback, Function

Array = np.ndarray[Any, Any]
Pair = Callable[..., Any]


def pair(name: str) -> Pair:
    """The reference's activation in this chapter's form, a function to (value, slope)."""
    found = ref.activation(name)
    return lambda z, *options: (found.value(z, *options), found.derivative(z, *options))


def right_gelu(z: Any, approximate: Any = "none") -> Any:
    return ref.gelu(z, approximate), ref.d_gelu(z, approximate)


RIGHT: dict[str, Pair] = {
    name: pair(name) for name in ("sigmoid", "tanh", "relu", "leaky_relu", "elu", "softplus", "swish", "mish")
} | {"gelu": right_gelu}


# --- checks that all activations share -------------------------------------------------------------------------------


def drawn(*shape: int, scale: float = 2.5, options: tuple[Any, ...] = ()) -> Callable[[Rng], tuple[Any, ...]]:
    return lambda rng: (scale * rng.normal(size=shape), *options)


def fixed(values: Sequence[float], *options: Any) -> Callable[[Rng], tuple[Any, ...]]:
    return lambda rng: (rng.permutation(np.array(values, dtype=np.float64)), *options)


SHAPES = [
    Case("a matrix with both signs", drawn(4, 3)),
    Case("an array with a single number", drawn(1)),
    Case("three axes", drawn(2, 3, 2)),
    Case("z from -16 to 16", lambda rng: (np.linspace(-15, 15, 12) + rng.uniform(-1, 1, size=12),)),
]
# Where the value is large, the digits of its differences are gone.
FAR = Case("z in the thousands", drawn(6, scale=3000.0))


def value(points: int, function: str, cases: Sequence[Case], name: str = "value") -> Check:
    return numeric(f"{name} of {function}", points, function, RIGHT[function], cases, pick=0, result="the value")


def slope(points: int, function: str, cases: Sequence[Case], name: str = "slope", **tolerance: float) -> Check:
    """The slope, entry by entry: what the value's own entry changes by is told apart from what is right."""

    def of(item: int) -> Callable[[Any, dict[str, Any]], Any]:
        return lambda student, inputs: picked(
            student.call(function, inputs["z"], *inputs["options"]), item, ("the value", "the slope")[item]
        )

    def inputs(case: Case) -> Callable[[Rng], dict[str, Any]]:
        def draw(rng: Rng) -> dict[str, Any]:
            z, *options = case.draw(rng)
            return {"z": z, "options": options}

        return draw

    return gradient(
        f"{name} of {function}",
        points,
        (function,),
        [GradientCase(case.reason, inputs(case)) for case in cases],
        value=of(0),
        grads=lambda student, given: {"z": of(1)(student, given)},
        reference=lambda given: {"z": RIGHT[function](given["z"], *given["options"])[1]},
        names={"z": "the slope"},
        **tolerance,
    )


def exact_slope(points: int, function: str) -> Check:
    """For slopes between 0.01 and 1: the formula is right to 15 digits, a difference of values to 11 at best."""
    cases = [Case("twelve digits are asked for", drawn(8, scale=1.0))]
    return slope(points, function, cases, name="every digit of the slope", rtol=1e-12, atol=1e-13)


def extremes(points: int, *functions: str) -> Check:
    """Values and slopes are right from -10,000 to 10,000, and NumPy had nothing to warn of but underflow."""

    @prop("from -10,000 to 10,000, without a warning", points, *functions)
    def check(student: Any, rng: Rng) -> None:
        far = rng.uniform(1000.0, 9000.0, size=2)
        z = np.concatenate([[-1e4, -750.0, -100.0, 0.0, 100.0, 750.0, 1e4], far, -far])
        for function in functions:
            for options in [(), ("tanh",)] if function == "gelu" else [()]:
                answer = student.call(function, z, *options)
                with case_of("z from -10,000 to 10,000", student.transcript[-1][0]):
                    got, want = items(answer, ("value", "slope")), RIGHT[function](z, *options)
                    same(got[0], want[0], "the value")
                    same(got[1], want[1], "the slope")
                    warned = [text for text in student.warned if "underflow" not in text]
                    holds(
                        not warned,
                        "the numbers are right, but NumPy gave a warning on the way: something overflowed, or was no "
                        "number.",
                        f"It said: {warned[0][:100]}." if warned else "",
                    )

    return check


def any_numbers(points: int, *functions: str) -> Check:
    """Lists, whole numbers and float32 go in, and float64 comes out."""
    single = np.array([-1.7, -0.3, 0.6, 1.9], dtype=np.float32)
    given = (("a plain list of whole numbers", [-3, -1, 1, 2]), ("a float32 array", single))

    @prop("lists and float32 are accepted, float64 comes back", points, *functions)
    def check(student: Any, rng: Rng) -> None:
        for function in functions:
            for reason, z in given:
                answer = student.call(function, z)
                with case_of(reason, student.transcript[-1][0]):
                    got, want = items(answer, ("value", "slope")), RIGHT[function](z)
                    same(got[0], want[0], "the value")
                    same(got[1], want[1], "the slope")

    return check


def left_alone(*functions: str) -> Check:
    return unchanged(1, {function: drawn(2, 3) for function in functions})


# --- mistakes that all activations share -----------------------------------------------------------------------------


def floats(z: Any) -> Array:
    return np.asarray(z, dtype=np.float64)


def with_slope(function: str, wrong: Callable[..., Any]) -> Pair:
    return lambda z, *options: (RIGHT[function](z, *options)[0], wrong(floats(z), *options))


def with_value(function: str, wrong: Callable[..., Any]) -> Pair:
    return lambda z, *options: (wrong(floats(z), *options), RIGHT[function](z, *options)[1])


def slope_at_value(function: str) -> Pair:
    return with_slope(function, lambda z, *o: RIGHT[function](RIGHT[function](z, *o)[0], *o)[1])


def by_differences(function: str, h: float = 1e-5) -> Pair:
    return with_slope(function, lambda z, *o: (RIGHT[function](z + h, *o)[0] - RIGHT[function](z - h, *o)[0]) / (2 * h))


def swapped(function: str) -> Pair:
    return lambda z, *options: RIGHT[function](z, *options)[::-1]


def differences(prefix: str, *functions: str) -> Mistake:
    return Mistake(
        name=f"{prefix}-slope-by-differences",
        advice="The slope comes from differences of values: close, but its last digits are wrong. Differentiate on "
        "paper.",
        replaces={function: by_differences(function) for function in functions},
    )


def at_value(prefix: str, advice: str, *functions: str) -> Mistake:
    return Mistake(
        name=f"{prefix}-slope-at-the-value",
        advice=advice,
        replaces={function: slope_at_value(function) for function in functions},
    )


# --- sigmoid and tanh ------------------------------------------------------------------------------------------------


def sigmoid_overflows(z: Any) -> Any:
    s = 1.0 / (1.0 + np.exp(-floats(z)))
    return s, s * (1.0 - s)


def sigmoid_where_overflows(z: Any) -> Any:
    z = floats(z)
    s = np.where(z >= 0, 1.0 / (1.0 + np.exp(-z)), np.exp(z) / (1.0 + np.exp(z)))
    return s, s * (1.0 - s)


def sigmoid_quotient(z: Any) -> Any:
    s = np.exp(floats(z)) / (1.0 + np.exp(floats(z)))
    return s, s * (1.0 - s)


def tanh_by_exponentials(z: Any) -> Any:
    up, down = np.exp(floats(z)), np.exp(-floats(z))
    t = (up - down) / (up + down)
    return t, 1.0 - t**2


def sigmoid_sign(z: Any) -> Any:
    return ref.sigmoid(-floats(z)), ref.d_sigmoid(z)


SIGMOID = Exercise(
    name="sigmoid",
    title="Sigmoid and tanh, which saturate",
    functions=("sigmoid", "tanh"),
    hints=(
        "Both slopes can be written with the value that you have just computed. No second exponential is needed.",
        "exp(-|z|) lies between 0 and 1 for every z. Multiply numerator and denominator of 1 / (1 + exp(-z)) by "
        "exp(z), and look at negative z again.",
        "Let u = exp(-|z|). Where z is at least 0 the sigmoid is 1 / (1 + u), elsewhere u / (1 + u). Its slope is s "
        "times (1 - s), that of tanh is 1 minus t squared, with s and t as they are.",
    ),
    checks=(
        value(2, "sigmoid", [*SHAPES]),
        slope(2, "sigmoid", [*SHAPES]),
        exact_slope(1, "sigmoid"),
        extremes(3, "sigmoid"),
        value(1, "tanh", [*SHAPES]),
        slope(2, "tanh", SHAPES),
        exact_slope(1, "tanh"),
        numeric(
            "tanh from -10,000 to 10,000",
            1,
            "tanh",
            RIGHT["tanh"],
            [Case("z from -10,000 to 10,000", fixed([-1e4, -800.0, -20.0, 0.0, 20.0, 800.0, 1e4]))],
        ),
        any_numbers(1, "sigmoid", "tanh"),
        left_alone("sigmoid", "tanh"),
    ),
    mistakes=(
        Mistake(
            name="sigmoid-overflows",
            advice="exp(-z) overflows for very negative z. The result happens to be right, the warning is not: let exp "
            "see nothing but -|z|.",
            replaces={"sigmoid": sigmoid_overflows},
            variants=({"sigmoid": sigmoid_where_overflows},),
        ),
        Mistake(
            name="exponential-over-exponential",
            advice="Where the exponential overflows, infinity over infinity is nan: choose a form whose exponent is "
            "never positive; for tanh there is np.tanh.",
            replaces={"sigmoid": sigmoid_quotient, "tanh": tanh_by_exponentials},
        ),
        at_value(
            "saturating",
            "s (1 - s) takes the value s itself: do not send s through the sigmoid again. For tanh the same.",
            "sigmoid",
            "tanh",
        ),
        Mistake(
            name="saturating-half-a-slope",
            advice="A factor is missing: the sigmoid's slope is s times (1 - s), and that of tanh has a square, 1 - "
            "t**2.",
            replaces={
                "sigmoid": with_slope("sigmoid", lambda z: 1.0 - ref.sigmoid(z)),
                "tanh": with_slope("tanh", lambda z: 1.0 - ref.tanh(z)),
            },
        ),
        Mistake(
            name="slopes-of-the-other",
            advice="s (1 - s) belongs to the sigmoid, 1 - t**2 to tanh; yours are exchanged.",
            replaces={
                "sigmoid": with_slope("sigmoid", lambda z: 1.0 - ref.sigmoid(z) ** 2),
                "tanh": with_slope("tanh", lambda z: ref.tanh(z) * (1.0 - ref.tanh(z))),
            },
        ),
        Mistake(
            name="sigmoid-sign",
            advice="The exponent is -z: the sigmoid is near 1 for large z; yours is near 0.",
            replaces={"sigmoid": sigmoid_sign},
        ),
        Mistake(
            name="slope-before-value",
            advice="The tuple is (value, slope), in this order.",
            replaces={"sigmoid": swapped("sigmoid"), "tanh": swapped("tanh")},
        ),
        differences("saturating", "sigmoid", "tanh"),
    ),
)

# --- ReLU and leaky ReLU ---------------------------------------------------------------------------------------------


def leaky_maximum(z: Any, alpha: float = 0.01) -> Any:
    return np.maximum(alpha * floats(z), floats(z)), ref.d_leaky_relu(z, alpha)


def leaky_maximum_both(z: Any, alpha: float = 0.01) -> Any:
    z = floats(z)
    return np.maximum(alpha * z, z), np.where(z > alpha * z, 1.0, alpha)


def leaky_other_side(z: Any, alpha: float = 0.01) -> Any:
    z = floats(z)
    slopes = np.where(z > 0, alpha, 1.0)
    return slopes * z, slopes


def zeros_among_others(rng: Rng) -> tuple[Array]:
    far = np.array([3e3, 3e3, 3e3, -3e3]) * rng.uniform(0.5, 2.0, size=4)
    return (rng.permutation(np.append(np.zeros(2), far)),)


ZERO = Case("z exactly 0, among others", zeros_among_others)

STEEP = [
    Case("alpha 0.2", drawn(3, 2, options=(0.2,))),
    Case("alpha 0, which makes it a ReLU", drawn(3, 2, options=(0.0,))),
    Case("alpha 3, steeper than the other side", drawn(3, 2, options=(3.0,))),
    Case("alpha -0.5", drawn(3, 2, options=(-0.5,))),
]

RELU = Exercise(
    name="relu",
    title="ReLU and leaky ReLU",
    functions=("relu", "leaky_relu"),
    hints=(
        "Two straight lines that meet at 0. Which condition tells the two sides apart, and what becomes of 0 itself?",
        "The slope is decided by z > 0, strictly. np.where(z > 0, a, b) chooses entry by entry.",
        "For the leaky one compute the slope first: 1.0 where z > 0, alpha elsewhere. The value is slope times z. The "
        "ReLU is the same with alpha = 0.",
    ),
    checks=(
        value(1, "relu", [*SHAPES, FAR]),
        slope(2, "relu", [*SHAPES, FAR]),
        slope(2, "relu", [ZERO], name="zero counts as off: slope"),
        value(1, "leaky_relu", [*SHAPES, FAR]),
        slope(1, "leaky_relu", [*SHAPES, FAR, ZERO]),
        value(2, "leaky_relu", STEEP, name="other alphas: value"),
        slope(1, "leaky_relu", STEEP, name="other alphas: slope"),
        any_numbers(1, "relu", "leaky_relu"),
        left_alone("relu", "leaky_relu"),
    ),
    mistakes=(
        Mistake(
            name="slope-one-at-zero",
            advice="At z = 0 the slope is that of the negative side: the condition is z > 0, not z >= 0.",
            replaces={
                "relu": with_slope("relu", lambda z: np.where(z >= 0, 1.0, 0.0)),
                "leaky_relu": with_slope("leaky_relu", lambda z, alpha=0.01: np.where(z >= 0, 1.0, alpha)),
            },
        ),
        Mistake(
            name="slope-half-at-zero",
            advice="One half is a fair guess at the corner, but the convention here, as in PyTorch, is the slope of "
            "the negative side.",
            replaces={
                "relu": with_slope("relu", lambda z: (np.sign(z) + 1) / 2),
                "leaky_relu": with_slope(
                    "leaky_relu", lambda z, alpha=0.01: np.where(z == 0, (1 + alpha) / 2, ref.d_leaky_relu(z, alpha))
                ),
            },
        ),
        Mistake(
            name="value-as-slope",
            advice="The slope of the positive side is 1, not z: it says how much the value changes, not how large it "
            "is.",
            replaces={"relu": with_slope("relu", ref.relu), "leaky_relu": with_slope("leaky_relu", ref.leaky_relu)},
        ),
        Mistake(
            name="maximum-of-two-lines",
            advice="max(z, alpha z) is the leaky ReLU for alpha between 0 and 1 only; choose by the sign of z.",
            replaces={"leaky_relu": leaky_maximum},
            variants=({"leaky_relu": leaky_maximum_both},),
        ),
        Mistake(
            name="leaks-on-the-positive-side",
            advice="alpha belongs to the negative side; positive z pass as they are.",
            replaces={"leaky_relu": leaky_other_side},
        ),
        Mistake(
            name="leaky-alpha-ignored",
            advice="The `alpha` argument is not used: 0.01 is only its default.",
            replaces={"leaky_relu": lambda z, alpha=0.01: RIGHT["leaky_relu"](z)},
        ),
        Mistake(
            name="leak-not-in-the-slope",
            advice="The value leaks on the negative side, and so does the slope: it is alpha there, not 0.",
            replaces={"leaky_relu": with_slope("leaky_relu", lambda z, alpha=0.01: ref.d_relu(z))},
        ),
        Mistake(
            name="straight-slope-by-differences",
            advice="The slope comes from differences of values, which lose digits where z is large: it is 1 or alpha "
            "exactly.",
            replaces={"relu": by_differences("relu"), "leaky_relu": by_differences("leaky_relu")},
        ),
    ),
)

# --- ELU -------------------------------------------------------------------------------------------------------------


def elu_overflows(z: Any, alpha: float = 1.0) -> Any:
    z = floats(z)
    return np.where(z > 0, z, alpha * np.expm1(z)), np.where(z > 0, 1.0, alpha * np.exp(z))


def elu_overflows_in_value(z: Any, alpha: float = 1.0) -> Any:
    z = floats(z)
    return np.where(z > 0, z, alpha * np.expm1(z)), ref.d_elu(z, alpha)


def elu_with(piece: Callable[[Array, float], Array]) -> Pair:
    """ELU with another value on the negative side."""
    return with_value("elu", lambda z, alpha=1.0: np.where(z > 0, z, piece(np.minimum(z, 0.0), alpha)))


def elu_slope_with(piece: Callable[[Array, float], Any]) -> Pair:
    """ELU with another slope on the negative side."""
    return with_slope("elu", lambda z, alpha=1.0: np.where(z > 0, 1.0, piece(np.minimum(z, 0.0), alpha)))


ALPHAS = [Case("alpha 2", drawn(4, 2, options=(2.0,))), Case("alpha 0.3", drawn(3, options=(0.3,)))]

ELU = Exercise(
    name="elu",
    title="ELU, and what np.where computes",
    functions=("elu",),
    hints=(
        "np.where has no laziness: both pieces are computed for every entry, and then one of them is thrown away.",
        "Put np.minimum(z, 0) where the exponential gets its argument. On the negative side that changes nothing, on "
        "the positive side it makes the exponential harmless.",
        "With m = np.minimum(z, 0): the negative side of the value is alpha times expm1(m), that of the slope alpha "
        "times exp(m). On the positive side they are z and 1.",
    ),
    checks=(
        value(2, "elu", [*SHAPES]),
        slope(2, "elu", [*SHAPES, FAR]),
        value(1, "elu", ALPHAS, name="other alphas: value"),
        slope(1, "elu", [*ALPHAS, Case("z = 0, alpha 0.5", fixed([0.0, -1.0, 1.0], 0.5))], name="other alphas: slope"),
        extremes(2, "elu"),
        numeric(
            "tiny negative z, with all digits",
            2,
            "elu",
            RIGHT["elu"],
            [Case("z around -1e-10", lambda rng: (-(10.0 ** rng.uniform(-12, -8, size=5)),))],
            pick=0,
            result="the value",
            # The value is as tiny as z, so that only its relative error counts.
            atol=1e-30,
        ),
        any_numbers(1, "elu"),
        left_alone("elu"),
    ),
    mistakes=(
        Mistake(
            name="elu-overflows-in-where",
            advice="np.where computes the exponential for positive z too, where it overflows: give it np.minimum(z, "
            "0).",
            replaces={"elu": elu_overflows},
            variants=({"elu": elu_overflows_in_value},),
        ),
        Mistake(
            name="exponential-minus-one",
            advice="For tiny z, exp(z) is 1 and a few digits, and subtracting 1 leaves only those few: np.expm1 has "
            "all.",
            replaces={"elu": elu_with(lambda m, alpha: alpha * (np.exp(m) - 1))},
        ),
        Mistake(
            name="alpha-before-minus-one",
            advice="alpha multiplies all of exp(z) - 1, so that the curve meets 0 at z = 0.",
            replaces={"elu": elu_with(lambda m, alpha: alpha * np.expm1(m) + (alpha - 1))},
        ),
        Mistake(
            name="elu-alpha-ignored",
            advice="The `alpha` argument is not used: 1 is only its default.",
            replaces={"elu": lambda z, alpha=1.0: RIGHT["elu"](z)},
        ),
        Mistake(
            name="alpha-not-in-elu-slope",
            advice="The slope of alpha (exp(z) - 1) is alpha exp(z); alpha stays.",
            replaces={"elu": elu_slope_with(lambda m, alpha: np.exp(m))},
        ),
        Mistake(
            name="elu-value-as-slope",
            advice="The 1 in exp(z) - 1 is a constant and has no slope: the slope is alpha exp(z).",
            replaces={"elu": elu_slope_with(lambda m, alpha: alpha * np.expm1(m))},
        ),
        at_value(
            "elu",
            "The slope is alpha exp(z), at z itself; yours takes the exponential of the value.",
            "elu",
        ),
        Mistake(
            name="elu-slope-zero-below",
            advice="ELU has a slope on the negative side, alpha exp(z): that is why it was invented.",
            replaces={"elu": elu_slope_with(lambda m, alpha: 0.0)},
        ),
        differences("elu", "elu"),
    ),
)

# --- softplus --------------------------------------------------------------------------------------------------------

SOFTPLUS = Exercise(
    name="softplus",
    title="Softplus, by log1p",
    functions=("softplus",),
    hints=(
        "For large z, log(1 + exp(z)) is almost z itself. How far is it off?",
        "Take z out of the logarithm for positive z: log(1 + exp(z)) = z + log(1 + exp(-z)). For negative z nothing "
        "has to be taken out. max(z, 0) is z in one case and 0 in the other.",
        "The value is np.maximum(z, 0) plus np.log1p of exp(-|z|). The slope is the sigmoid: you have it, it is the "
        "first item of what your sigmoid returns.",
    ),
    checks=(
        value(2, "softplus", [*SHAPES]),
        slope(2, "softplus", [*SHAPES, FAR]),
        extremes(2, "softplus"),
        numeric(
            "very negative z, with all digits",
            2,
            "softplus",
            RIGHT["softplus"],
            [Case("values between 1e-40 and 1e-8", lambda rng: (rng.uniform(-90.0, -20.0, size=5),))],
            pick=0,
            result="the value",
            # The values are tiny, so that only their relative errors count.
            atol=1e-60,
        ),
        any_numbers(1, "softplus"),
        left_alone("softplus"),
    ),
    mistakes=(
        Mistake(
            name="softplus-overflows",
            advice="exp of a large z is infinite: take max(z, 0) out of the logarithm first.",
            replaces={"softplus": with_value("softplus", lambda z: np.log1p(np.exp(z)))},
        ),
        Mistake(
            name="logarithm-of-one-plus",
            advice="1 + exp(z) rounds to 1 for very negative z, and its logarithm is 0: np.log1p keeps the digits.",
            replaces={
                "softplus": with_value("softplus", lambda z: np.maximum(z, 0) + np.log(1.0 + np.exp(-np.abs(z))))
            },
        ),
        Mistake(
            name="softplus-clipped",
            advice="Clipping z at 20 avoids the overflow and stops the curve there: softplus(10000) is 10000, not 20.",
            replaces={"softplus": with_value("softplus", lambda z: np.log1p(np.exp(np.minimum(z, 20.0))))},
        ),
        Mistake(
            name="maximum-forgotten",
            advice="log(1 + exp(-|z|)) is only what is left after max(z, 0) was taken out; add it back.",
            replaces={"softplus": with_value("softplus", lambda z: np.log1p(np.exp(-np.abs(z))))},
        ),
        Mistake(
            name="softplus-sign",
            advice="log(1 + exp(-z)) falls as z grows; softplus has exp(z).",
            replaces={"softplus": with_value("softplus", lambda z: ref.softplus(-z))},
        ),
        Mistake(
            name="slope-of-the-slope",
            advice="The slope of softplus is the sigmoid, not the sigmoid's slope: take the first item of what sigmoid "
            "returns.",
            replaces={"softplus": with_slope("softplus", ref.d_sigmoid)},
        ),
        Mistake(
            name="softplus-slope-of-relu",
            advice="1 or 0 is the slope of the ReLU; the rounded corner has everything between, the sigmoid.",
            replaces={"softplus": with_slope("softplus", ref.d_relu)},
        ),
        at_value("softplus", "The slope is the sigmoid of z, not of the value.", "softplus"),
        differences("softplus", "softplus"),
    ),
)

# --- swish -----------------------------------------------------------------------------------------------------------

SWISH = Exercise(
    name="swish",
    title="Swish, by the product rule",
    functions=("swish",),
    hints=(
        "A product of two factors that both depend on z. What is the derivative of such a product?",
        "Call your sigmoid: it gives s and its slope s (1 - s), both of which you need.",
        "First factor differentiated, second as it is: s. First as it is, second differentiated: z times s (1 - s). "
        "Add them.",
    ),
    checks=(
        value(2, "swish", [*SHAPES]),
        slope(3, "swish", [*SHAPES, FAR]),
        extremes(2, "swish"),
        any_numbers(1, "swish"),
        left_alone("swish"),
    ),
    mistakes=(
        Mistake(
            name="swish-second-term-missing",
            advice="z is also inside the sigmoid: the product rule adds z s (1 - s) to s.",
            replaces={"swish": with_slope("swish", ref.sigmoid)},
        ),
        Mistake(
            name="swish-first-term-missing",
            advice="The product rule has two terms: the derivative of z is 1, which leaves s.",
            replaces={"swish": with_slope("swish", lambda z: z * ref.d_sigmoid(z))},
        ),
        Mistake(
            name="swish-second-term-without-z",
            advice="The second term is z times the sigmoid's slope; z is missing.",
            replaces={"swish": with_slope("swish", lambda z: ref.sigmoid(z) + ref.d_sigmoid(z))},
        ),
        Mistake(
            name="swish-second-term-incomplete",
            advice="The sigmoid's slope is s (1 - s); yours has only one of the two factors.",
            replaces={"swish": with_slope("swish", lambda z: ref.sigmoid(z) + z * ref.sigmoid(-z))},
            variants=({"swish": with_slope("swish", lambda z: ref.sigmoid(z) + z * ref.sigmoid(z))},),
        ),
        at_value("swish", "s is the sigmoid of z; yours takes it of the value.", "swish"),
        Mistake(
            name="swish-overflows",
            advice="exp(-z) overflows for very negative z; call your sigmoid, which does not.",
            replaces={"swish": lambda z: (floats(z) / (1 + np.exp(-floats(z))), ref.d_swish(z))},
        ),
        differences("swish", "swish"),
    ),
)

# --- mish ------------------------------------------------------------------------------------------------------------


def mish_clipped(z: Any) -> Any:
    z = floats(z)
    p = np.log1p(np.exp(np.minimum(z, 20.0)))
    return z * np.tanh(p), np.tanh(p) + z * (1 - np.tanh(p) ** 2) * ref.sigmoid(z)


def mish_overflows(z: Any) -> Any:
    z = floats(z)
    t = np.tanh(np.log(1 + np.exp(z)))
    return z * t, t + z * (1 - t**2) * ref.sigmoid(z)


def mish_slope_with(second: Callable[[Array, Array], Array]) -> Pair:
    """Mish with another second term, made from z and t."""

    def wrong(z: Array) -> Array:
        t = np.tanh(ref.softplus(z))
        return t + second(z, t)

    return with_slope("mish", wrong)


MISH = Exercise(
    name="mish",
    title="Mish, by the chain rule",
    functions=("mish",),
    hints=(
        "Product rule outside, chain rule inside. You have all the parts, with their slopes.",
        "Call softplus at z, then tanh at what softplus returned. Each call gives a value and a slope.",
        "The value is z times t. The slope is t, plus z times the slope that tanh returned, times the slope that "
        "softplus returned.",
    ),
    checks=(
        value(2, "mish", [*SHAPES]),
        slope(3, "mish", [*SHAPES, FAR]),
        extremes(2, "mish"),
        any_numbers(1, "mish"),
        left_alone("mish"),
    ),
    mistakes=(
        Mistake(
            name="mish-second-term-missing",
            advice="t depends on z too: the product rule adds z times the slope of t.",
            replaces={"mish": mish_slope_with(lambda z, t: np.zeros_like(z))},
        ),
        Mistake(
            name="mish-inner-slope-missing",
            advice="The chain rule ends with the slope of softplus at z, the sigmoid: it is missing.",
            replaces={"mish": mish_slope_with(lambda z, t: z * (1 - t**2))},
        ),
        Mistake(
            name="mish-outer-slope-missing",
            advice="The chain rule begins with the slope of tanh at the softplus, 1 - t**2: it is missing.",
            replaces={"mish": mish_slope_with(lambda z, t: z * ref.sigmoid(z))},
        ),
        Mistake(
            name="mish-tanh-slope-at-z",
            advice="The slope of tanh is taken where tanh was taken, at the softplus of z, not at z.",
            replaces={"mish": mish_slope_with(lambda z, t: z * ref.d_tanh(z) * ref.sigmoid(z))},
        ),
        Mistake(
            name="mish-second-term-without-z",
            advice="The second term has z as a factor: first factor as it is, second differentiated.",
            replaces={"mish": mish_slope_with(lambda z, t: (1 - t**2) * ref.sigmoid(z))},
        ),
        Mistake(
            name="mish-without-softplus",
            advice="Between z and tanh there is a softplus; yours is z tanh(z).",
            replaces={"mish": lambda z: (floats(z) * np.tanh(z), np.tanh(z) + z * ref.d_tanh(z))},
        ),
        Mistake(
            name="mish-overflows",
            advice="exp of a large z overflows: call your softplus, which does not.",
            replaces={"mish": mish_overflows},
        ),
        differences("mish", "mish"),
    ),
)

# --- GELU ------------------------------------------------------------------------------------------------------------

SCALE, CUBIC = math.sqrt(2 / math.pi), 0.044715


def gelu_exact_with(below: Callable[[Array], Array], density: Callable[[Array], Array]) -> Pair:
    """The exact form with another probability or density; the tanh form is right."""

    def wrong(z: Any, approximate: str = "none") -> Any:
        if approximate == "tanh":
            return right_gelu(z, "tanh")
        z = floats(z)
        return z * below(z), below(z) + density(z)

    return wrong


def gelu_tanh_with(inner: Callable[[Array], Array], d_inner: Callable[[Array], Any]) -> Pair:
    """The tanh form with another u or u'; the exact form is right."""

    def wrong(z: Any, approximate: str = "none") -> Any:
        if approximate == "none":
            return right_gelu(z)
        z = floats(z)
        t = np.tanh(inner(z))
        return z * (1 + t) / 2, (1 + t) / 2 + z * (1 - t**2) * d_inner(z) / 2

    return wrong


def usual_inner(z: Array) -> Array:
    return SCALE * (z + CUBIC * z**3)


def usual_d_inner(z: Array) -> Array:
    return SCALE * (1 + 3 * CUBIC * z**2)


def gelu_one_slope(z: Any, approximate: str = "none") -> Any:
    return ref.gelu(z, "tanh" if approximate == "tanh" else "none"), ref.d_gelu(z)


def gelu_swish(z: Any, approximate: str = "none") -> Any:
    z = floats(z)
    if approximate == "tanh":
        return right_gelu(z, "tanh")
    return z * ref.sigmoid(1.702 * z), ref.sigmoid(1.702 * z) + 1.702 * z * ref.d_sigmoid(1.702 * z)


gelu_no_root = gelu_exact_with(lambda z: special.normal_cdf(z * math.sqrt(2)), lambda z: z * special.normal_pdf(z))
gelu_no_product_rule = gelu_exact_with(special.normal_cdf, np.zeros_like)
gelu_density_without_z = gelu_exact_with(special.normal_cdf, special.normal_pdf)
gelu_density_unscaled = gelu_exact_with(special.normal_cdf, lambda z: z * np.exp(-(z**2) / 2))
gelu_density_of_erf = gelu_exact_with(special.normal_cdf, lambda z: z * np.exp(-(z**2)) / math.sqrt(math.pi))
gelu_not_halved = gelu_exact_with(lambda z: 2 * special.normal_cdf(z), lambda z: 2 * z * special.normal_pdf(z))
gelu_square = gelu_tanh_with(lambda z: SCALE * (z + CUBIC * z**2), lambda z: SCALE * (1 + 2 * CUBIC * z))
gelu_inner_forgotten = gelu_tanh_with(usual_inner, lambda z: 1.0)
gelu_inner_scale_only = gelu_tanh_with(usual_inner, lambda z: SCALE)
gelu_inner_without_3 = gelu_tanh_with(usual_inner, lambda z: SCALE * (1 + CUBIC * z**2))
gelu_scale_outside = gelu_tanh_with(lambda z: z + CUBIC * z**3, lambda z: 1 + 3 * CUBIC * z**2)


def tanh_form(case: Case) -> Case:
    return Case(case.reason, lambda rng: (*case.draw(rng), "tanh"))


@prop("two forms, two functions", 1, "gelu")
def two_forms(student: Any, rng: Rng) -> None:
    z = np.linspace(-5, 5, 101)
    exact, tanh = (picked(student.gelu(z, name), 0, "the value") for name in ("none", "tanh"))
    gap = np.abs(numbers(exact, (101,), "the exact value") - numbers(tanh, (101,), "the tanh form's value"))
    holds(
        bool(0.0004 < gap.max() < 0.0005),
        "the two forms should differ by about 0.00047 where they differ most, near 2.7 and -2.7.",
        f"The largest difference is {gap.max():.3g}, at z = {z[gap.argmax()]:.2g}.",
    )


GELU = Exercise(
    name="gelu",
    title="GELU, exact and by tanh",
    functions=("gelu",),
    hints=(
        "Two functions in one: an if on `approximate`, and a formula with its own slope in each branch.",
        "Exact: P from erf, its derivative is the density q, and the product rule gives P + z q. By tanh: give u a "
        "name, and u' too; the chain rule multiplies the slope of tanh by u'.",
        "np.vectorize(math.erf) works on arrays. P is half of 1 plus erf of z over the root of 2. In the tanh form "
        "your own tanh gives t and 1 - t**2 at once, if you call it at u.",
    ),
    checks=(
        value(3, "gelu", [*SHAPES], name="exact form: value"),
        slope(3, "gelu", [*SHAPES, FAR], name="exact form: slope"),
        value(2, "gelu", [tanh_form(case) for case in SHAPES], name="tanh form: value"),
        slope(2, "gelu", [tanh_form(case) for case in [*SHAPES, FAR]], name="tanh form: slope"),
        two_forms,
        extremes(1, "gelu"),
        any_numbers(1, "gelu"),
        left_alone("gelu"),
    ),
    mistakes=(
        Mistake(
            name="always-the-tanh-form",
            advice="The tanh form is an approximation: without approximate='tanh' the exact one, with erf, is asked "
            "for.",
            replaces={"gelu": lambda z, approximate="none": right_gelu(z, "tanh")},
        ),
        Mistake(
            name="always-the-exact-form",
            advice="With approximate='tanh' the tanh formula is asked for, with its own slope.",
            replaces={"gelu": lambda z, approximate="none": right_gelu(z)},
        ),
        Mistake(
            name="one-slope-for-both-forms",
            advice="The tanh form is another function, and has another slope: differentiate it, too.",
            replaces={"gelu": gelu_one_slope},
        ),
        Mistake(
            name="gelu-by-sigmoid",
            advice="z sigmoid(1.702 z) is a third, coarser approximation; here the exact form has erf.",
            replaces={"gelu": gelu_swish},
        ),
        Mistake(
            name="erf-without-root-of-two",
            advice="The probability below z is (1 + erf(z / sqrt(2))) / 2: the root of 2 is missing.",
            replaces={"gelu": gelu_no_root},
        ),
        Mistake(
            name="gelu-not-halved",
            advice="1 + erf runs from 0 to 2, a probability from 0 to 1: divide by 2.",
            replaces={"gelu": gelu_not_halved},
        ),
        Mistake(
            name="gelu-second-term-missing",
            advice="The probability depends on z too: the product rule adds z times the density.",
            replaces={"gelu": gelu_no_product_rule},
        ),
        Mistake(
            name="density-without-z",
            advice="The second term is z times the density; z is missing.",
            replaces={"gelu": gelu_density_without_z},
        ),
        Mistake(
            name="density-not-normalised",
            advice="The density of the standard normal is exp(-z**2 / 2) / sqrt(2 pi); yours has another factor or "
            "exponent.",
            replaces={"gelu": gelu_density_unscaled},
            variants=({"gelu": gelu_density_of_erf},),
        ),
        Mistake(
            name="square-for-cube",
            advice="Inside the tanh is z + 0.044715 z**3, with the third power.",
            replaces={"gelu": gelu_square},
        ),
        Mistake(
            name="scale-not-in-tanh",
            advice="The factor sqrt(2 / pi) stands before both z and its cube.",
            replaces={"gelu": gelu_scale_outside},
        ),
        Mistake(
            name="inner-slope-missing",
            advice="The chain rule multiplies by u' = sqrt(2 / pi) (1 + 3 * 0.044715 z**2); all or part of it is "
            "missing.",
            replaces={"gelu": gelu_inner_forgotten},
            variants=({"gelu": gelu_inner_scale_only}, {"gelu": gelu_inner_without_3}),
        ),
        differences("gelu", "gelu"),
    ),
)

# --- the steepest point ----------------------------------------------------------------------------------------------


def right_steepest(activation: Pair, z: Any) -> Any:
    slopes = floats(activation(floats(z))[1])
    best = int(np.argmax(slopes))
    return floats(z)[best], slopes[best]


def steepest_with(score: Callable[[Array, Array, Array], Array]) -> Pair:
    """The point where score(z, value, slope) is largest."""

    def wrong(activation: Pair, z: Any) -> Any:
        z = floats(z)
        values, slopes = (floats(part) for part in activation(z))
        best = int(np.argmax(score(z, values, slopes)))
        return z[best], slopes[best]

    return wrong


def steepest_index(activation: Pair, z: Any) -> Any:
    slopes = floats(activation(floats(z))[1])
    return int(np.argmax(slopes)), slopes.max()


def steepest_last(activation: Pair, z: Any) -> Any:
    slopes = floats(activation(floats(z))[1])
    best = len(slopes) - 1 - int(np.argmax(slopes[::-1]))
    return floats(z)[best], slopes[best]


def steepest_value(activation: Pair, z: Any) -> Any:
    values, slopes = (floats(part) for part in activation(floats(z)))
    best = int(np.argmax(slopes))
    return floats(z)[best], values[best]


def hills(steep_down: bool) -> Pair:
    """Largest value, largest slope and smallest slope at three places; the steepest of all goes down or up."""
    tilt = 0.5 if steep_down else -0.5
    return lambda z: (3 * np.cos(floats(z)), -3 * np.sin(floats(z)) * (1 + tilt * np.sin(floats(z))))


def at_steepest(student: Any, reason: str, activation: Pair, shown: Any, z: Array) -> None:
    want = right_steepest(activation, z)
    answer = student.steepest(shown, z)
    with case_of(reason, student.transcript[-1][0]):
        where, height = items(answer, ("where", "slope"))
        same(where, want[0], "the point")
        same(height, want[1], "the slope there")


@prop("the point with the largest slope", 3, "steepest")
def largest_slope(student: Any, rng: Rng) -> None:
    z = rng.permutation(np.linspace(-3.0, 3.0, 31))
    for reason, steep_down in (
        ("a wavy function, points in any order", False),
        ("another, with a steep descent", True),
    ):
        wavy = hills(steep_down)
        at_steepest(student, reason, wavy, Callback(wavy, "activation"), z)
    elu = RIGHT["elu"]
    at_steepest(student, "one point", elu, Callback(elu, "activation"), np.array([-1.5]))
    relu = RIGHT["relu"]
    at_steepest(student, "several equally steep: the first", relu, Callback(relu, "activation"), z[:9] + 0.01)


@prop("of your own activations", 2, "steepest", "sigmoid", "tanh", "swish", "mish", "gelu")
def of_your_own(student: Any, rng: Rng) -> None:
    z = np.linspace(-5.0, 4.0, 901)
    for name in ("sigmoid", "tanh", "swish", "mish", "gelu"):
        at_steepest(student, f"{name} from -5 to 4", RIGHT[name], Function(name), z)


STEEPEST = Exercise(
    name="steepest",
    title="Where the gradient passes best",
    functions=("steepest",),
    hints=(
        "The activation gives two arrays. Which of them do you search, and what do you read off at the place found?",
        "np.argmax gives the place of the first largest entry; z at that place is asked for, not the place itself.",
        "Take item 1 of activation(z), find its argmax, and return z there and the slope there.",
    ),
    checks=(largest_slope, of_your_own),
    mistakes=(
        Mistake(
            name="largest-value",
            advice="The point with the largest slope is asked for; yours has the largest value.",
            replaces={"steepest": steepest_with(lambda z, values, slopes: values)},
        ),
        Mistake(
            name="largest-size-of-slope",
            advice="A slope of -3 is not larger than one of 2: no absolute values.",
            replaces={"steepest": steepest_with(lambda z, values, slopes: np.abs(slopes))},
        ),
        Mistake(
            name="flattest",
            advice="This is the point with the smallest slope.",
            replaces={"steepest": steepest_with(lambda z, values, slopes: -slopes)},
        ),
        Mistake(
            name="place-instead-of-point",
            advice="np.argmax gives a place in the array; the point is z at that place.",
            replaces={"steepest": steepest_index},
        ),
        Mistake(
            name="last-of-equals",
            advice="Of several equally steep points the first counts, as np.argmax finds it.",
            replaces={"steepest": steepest_last},
        ),
        Mistake(
            name="value-at-the-steepest",
            advice="The second number is the slope at that point; yours is the value there.",
            replaces={"steepest": steepest_value},
        ),
    ),
)

# --- dead units ------------------------------------------------------------------------------------------------------


def dead_with(mask: Callable[[Array], Array]) -> Pair:
    return lambda z: (mask(floats(z)), float(np.mean(mask(floats(z)))))


def layer(rng: Rng, batch: int, units: int, dead: Sequence[int], at_zero: Sequence[int] = ()) -> Array:
    """Pre-activations in which these units are dead, those of `at_zero` with nothing but zeros.

    Each of the others is on for one sample: the last, the first, any. By turns it has a positive mean, a z of 0.1, and
    one that is as good as zero.
    """
    z = -0.01 - np.abs(rng.normal(size=(batch, units)))
    alive = [unit for unit in range(units) if unit not in dead]
    rows = [batch - 1, 0, *rng.integers(batch, size=units)]
    for n, unit in enumerate(alive):
        z[rows[n], unit] = (20.0 * batch, 0.1, 1e-9)[n % 3]
    z[:, list(at_zero)] = 0.0
    return z


def found_dead(student: Any, reason: str, z: Any) -> None:
    answer = student.dead_units(z)
    with case_of(reason, student.transcript[-1][0]):
        dead, share = items(answer, ("dead", "share"))
        same(dead, ref.dead_units(z), "dead")
        same(share, ref.dead_fraction(z), "the share")


@prop("units that are off for every sample", 3, "dead_units")
def off_for_all(student: Any, rng: Rng) -> None:
    found_dead(student, "7 samples, 6 units, two of them dead", layer(rng, 7, 6, [1, 4]))
    found_dead(student, "no dead unit", layer(rng, 6, 4, []))
    found_dead(student, "a batch of one", np.array([[-1.0, 2.0, 0.0, -3.0, 0.5]]))
    found_dead(student, "all dead", layer(rng, 3, 4, range(4)))


@prop("exactly zero counts as off", 1, "dead_units")
def zero_is_off(student: Any, rng: Rng) -> None:
    found_dead(student, "two units whose z is 0 for every sample", layer(rng, 5, 6, [0, 2, 3], [0, 3]))


@prop("lists are accepted", 1, "dead_units")
def dead_of_lists(student: Any, rng: Rng) -> None:
    found_dead(student, "nested lists of whole numbers", [[-1, 2, 0, -3], [-2, -1, 0, 1]])


DEAD = Exercise(
    name="dead_units",
    title="Find dead ReLU units",
    functions=("dead_units",),
    hints=(
        "The question is asked of each unit: is it off for every sample? Which axis is that?",
        "z <= 0 says for each sample and unit whether it is off. np.all with an axis asks whether all are.",
        "np.all(z <= 0, axis=0) has one answer a unit; the mean of True and False is the share of True.",
    ),
    checks=(
        off_for_all,
        zero_is_off,
        dead_of_lists,
        left_alone("dead_units"),
    ),
    mistakes=(
        Mistake(
            name="off-once-is-dead",
            advice="A unit that is off for some samples is at work; dead is off for all of them: np.all, not np.any.",
            replaces={"dead_units": dead_with(lambda z: np.any(z <= 0, axis=0))},
        ),
        Mistake(
            name="dead-samples",
            advice="The units are the columns: ask along axis 0, over the samples.",
            replaces={"dead_units": dead_with(lambda z: np.all(z <= 0, axis=1))},
        ),
        Mistake(
            name="zero-counts-as-on",
            advice="At z = 0 the ReLU's slope is 0 and nothing is learnt: the condition is z <= 0.",
            replaces={"dead_units": dead_with(lambda z: np.all(z < 0, axis=0))},
        ),
        Mistake(
            name="share-of-entries",
            advice="The share counts dead units; yours counts all entries that are off, also of units that live.",
            replaces={"dead_units": lambda z: (ref.dead_units(z), float(np.mean(floats(z) <= 0)))},
        ),
        Mistake(
            name="alive-for-dead",
            advice="These are the units that fire at least once; the dead ones are the others.",
            replaces={"dead_units": dead_with(lambda z: np.any(z > 0, axis=0))},
        ),
        Mistake(
            name="mean-decides",
            advice="A mean below 0 says nothing about every sample: one large z is enough to keep a unit alive.",
            replaces={"dead_units": dead_with(lambda z: z.mean(axis=0) <= 0)},
        ),
        Mistake(
            name="dead-counted-not-shared",
            advice="The share is the number of dead units divided by the number of all units.",
            replaces={"dead_units": lambda z: (ref.dead_units(z), float(ref.dead_units(z).sum()))},
        ),
    ),
)

# --- a chain of layers -----------------------------------------------------------------------------------------------


def chain_with(
    factor: Callable[[Any, Array, Array, Any], Any] = lambda w, z, a, f: w * f(z)[1],
    join: Callable[[Any, Any], Any] = lambda grad, factor: grad * factor,
    first: Callable[[Array, Pair], Any] = lambda x, f: x,
    bias: float = 1.0,
    skip: int = 0,
) -> Pair:
    """The chain with another factor(w, z, a, f) for each layer, another way to join them, another a0."""

    def wrong(activation: Pair, x: Any, w: Any, b: Any) -> Any:
        x, w, b = floats(x), floats(w), floats(b)
        a, grad = floats(first(x, activation)), np.ones_like(x)
        for i in range(len(w)):
            z = w[i] * a + bias * b[i]
            a = floats(activation(z)[0])
            if i >= skip:
                grad = join(grad, floats(factor(w[i], z, a, activation)))
        return a, grad

    return wrong


right_chain = chain_with()


def chain_by_differences(activation: Pair, x: Any, w: Any, b: Any) -> Any:
    x = floats(x)
    up, down = (right_chain(activation, x + h, w, b)[0] for h in (1e-5, -1e-5))
    return right_chain(activation, x, w, b)[0], (up - down) / 2e-5


chain_no_weights = chain_with(lambda w, z, a, f: f(z)[1])
chain_at_value = chain_with(lambda w, z, a, f: w * f(a)[1])
chain_sum = chain_with(join=lambda grad, factor: grad + factor)
chain_last_only = chain_with(join=lambda grad, factor: factor)
chain_first_missing = chain_with(skip=1)
chain_no_bias = chain_with(bias=0.0)
chain_input_activated = chain_with(first=lambda x, f: f(x)[0])
chain_values = chain_with(lambda w, z, a, f: w * a)
chain_no_slopes = chain_with(lambda w, z, a, f: w * np.ones_like(z))


def chained(student: Any, reason: str, name: str, shown: Any, x: Any, w: Any, b: Any, *, digits: bool = False) -> None:
    want = right_chain(RIGHT[name], x, w, b)
    answer = student.chain_gradient(shown, x, w, b)
    with case_of(reason, student.transcript[-1][0]):
        a, grad = items(answer, ("a", "grad"))
        same(a, want[0], "the output a")
        # A vanished gradient is all but zero, and only its relative error tells a right one from a wrong one.
        same(grad, want[1], "the gradient", atol=1e-300 if digits else 1e-10)


def asked(name: str) -> Callback:
    return Callback(RIGHT[name], "activation")


@prop("a few layers, with weights and biases", 3, "chain_gradient")
def few_layers(student: Any, rng: Rng) -> None:
    for depth, name, shape in ((1, "sigmoid", (3,)), (2, "tanh", (4,)), (5, "swish", (2, 3))):
        x, b = rng.normal(size=shape), rng.normal(size=depth)
        w = rng.uniform(0.5, 1.5, size=depth) * (-1.0) ** np.arange(1, depth + 1)
        chained(student, f"{depth} layer{'s' * (depth > 1)} of {name}", name, asked(name), x, w, b)


@prop("twenty sigmoids: the gradient vanishes, and is still right", 3, "chain_gradient")
def vanishing(student: Any, rng: Rng) -> None:
    x, b = rng.normal(size=3), rng.normal(size=20)
    for depth in (8, 20):
        reason = f"{depth} layers of sigmoid, weights 1"
        chained(student, reason, "sigmoid", asked("sigmoid"), x, np.ones(depth), b[:depth], digits=True)
    w = rng.uniform(-8, -4, size=12)
    chained(student, "12 saturated layers of tanh", "tanh", asked("tanh"), x, w, np.zeros(12), digits=True)


@prop("with your own activations, and with lists", 1, "chain_gradient", "relu", "gelu")
def own_chain(student: Any, rng: Rng) -> None:
    x, w, b = rng.normal(size=4), rng.uniform(1, 2, size=3), rng.uniform(0, 1, size=3)
    chained(student, "3 layers of your gelu", "gelu", Function("gelu"), x, w, b)
    chained(student, "2 layers of your relu, all as lists", "relu", Function("relu"), [1, -1, 3], [2, 3], [0, 1])


@prop("the arguments are left as they were", 1, "chain_gradient", alone=False)
def chain_untouched(student: Any, rng: Rng) -> None:
    items(student.chain_gradient(asked("tanh"), rng.normal(size=3), np.ones(2), np.zeros(2)), ("a", "grad"))
    holds(not student.changed, "chain_gradient modified what it was given; make new arrays.")


CHAIN = Exercise(
    name="chain_gradient",
    title="A gradient on its way through many layers",
    functions=("chain_gradient",),
    hints=(
        "One loop over the layers is enough: the forward pass meets every factor of the gradient on its way.",
        "In each layer: z from a, one call of activation at z, which gives the new a and the slope. What does the "
        "layer multiply the gradient by?",
        "Start with grad = 1 (in the shape of x) and a = x. In each layer grad is multiplied by the weight and by the "
        "slope at z, and a becomes the value.",
    ),
    checks=(few_layers, vanishing, own_chain, chain_untouched),
    mistakes=(
        Mistake(
            name="chain-without-weights",
            advice="z = w a + b changes by w when a changes by 1: each layer's factor is w times the slope.",
            replaces={"chain_gradient": chain_no_weights},
        ),
        Mistake(
            name="chain-without-slopes",
            advice="The product of the weights is the gradient of a linear chain; each layer also multiplies by its "
            "slope.",
            replaces={"chain_gradient": chain_no_slopes},
        ),
        Mistake(
            name="chain-slope-at-the-output",
            advice="The slope is taken at z, at what went into the activation, not at the a that came out.",
            replaces={"chain_gradient": chain_at_value},
        ),
        Mistake(
            name="chain-value-for-slope",
            advice="The activation returns (value, slope); the factor is made with the slope, yours with the value.",
            replaces={"chain_gradient": chain_values},
        ),
        Mistake(
            name="factors-added",
            advice="The chain rule multiplies: one factor for each layer, all of them multiplied.",
            replaces={"chain_gradient": chain_sum},
        ),
        Mistake(
            name="last-layer-only",
            advice="Each layer's factor replaced the one before it; multiply them.",
            replaces={"chain_gradient": chain_last_only},
        ),
        Mistake(
            name="first-layer-missing",
            advice="The derivative is by x, so the first layer's factor belongs to it, too.",
            replaces={"chain_gradient": chain_first_missing},
        ),
        Mistake(
            name="chain-without-biases",
            advice="Each layer adds its bias before the activation: z = w a + b.",
            replaces={"chain_gradient": chain_no_bias},
        ),
        Mistake(
            name="chain-by-differences",
            advice="A gradient of 1e-12 is far below what differences can see: multiply the exact factors.",
            replaces={"chain_gradient": chain_by_differences},
        ),
        Mistake(
            name="input-activated",
            advice="a0 is x itself: the first activation comes after the first weight.",
            replaces={"chain_gradient": chain_input_activated},
        ),
    ),
)

# --- the picture -----------------------------------------------------------------------------------------------------

SHOWN = (
    ("sigmoid", "C0", "--"),
    ("tanh", "C1", "--"),
    ("relu", "0.3", "-"),
    ("elu", "C2", "-"),
    ("softplus", "C3", "-"),
    ("swish", "C4", "-"),
    ("mish", "C5", "-"),
    ("gelu", "C6", "-"),
)


def draw_picture(student: Any, figure: Any) -> None:
    """Values, slopes, and what twenty layers leave of a gradient, all by the student's functions."""
    first, second, third = figure.subplots(1, 3)
    z = np.linspace(-4, 4, 401)
    for name, color, style in SHOWN:
        answer = items(student.call(name, z), ("value", "slope"), name)
        heights, slopes = (numbers(part, z.shape, name) for part in answer)
        first.plot(z, heights, style, color=color, lw=1.4, label=name)
        second.plot(z, slopes, style, color=color, lw=1.4)
    first.set(xlabel="z", ylabel="value", ylim=(-1.4, 3), title="Values")
    first.legend(frameon=False, fontsize=8, loc="upper left")
    second.set(xlabel="z", ylabel="slope", ylim=(-0.25, 1.25), title="Slopes")
    second.axhline(0, color="0.7", lw=0.8, zorder=0)

    rng = np.random.default_rng(309)
    depths = np.arange(1, 21)
    x, w, b = rng.normal(size=200), np.ones(20), np.zeros(20)
    for name, color, style in (
        ("sigmoid", "C0", "--"),
        ("tanh", "C1", "--"),
        ("gelu", "C6", "-"),
        ("relu", "0.3", "-"),
    ):
        left = []
        for depth in depths:
            answer = student.chain_gradient(Function(name), x, w[:depth], b[:depth])
            grad = numbers(items(answer, ("a", "grad"))[1], x.shape, "the gradient")
            left.append(float(np.sqrt(np.mean(grad**2))))
        third.semilogy(depths, left, style, color=color, marker=".", lw=1.2, label=name)
    third.semilogy(depths, 0.25**depths, ":", color="C0", lw=1, label="0.25 to the power of L")
    third.set(
        xlabel="layers L, weights 1, biases 0",
        ylabel="d a / d x, root mean square over 200 inputs",
        title="Gradient after L layers",
        xticks=[1, 5, 10, 15, 20],
    )
    third.legend(frameon=False, fontsize=8, loc="lower left")


CHAPTER = Chapter(
    id="ch309",
    slug="activation_functions",
    title="Activation Functions Deep Dive",
    part="Foundations",
    summary="Ten activations with exact slopes, safe at any z; dead units, steepest points and vanishing gradients.",
    builds_on=("ch308",),
    exercises=(SIGMOID, RELU, ELU, SOFTPLUS, SWISH, MISH, GELU, STEEPEST, DEAD, CHAIN),
    picture=Picture(title="What your activations do to values and to gradients", draw=draw_picture),
)
