"""Checks of chapter 300: what the course takes for granted, and the two spirals with an honest baseline.

Every check of a prerequisite says which earlier chapters to revise when its answer is wrong. Their numbers are those
under which the earlier chapters really hold the topic.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from dlreference import linear, logistic, prerequisites, spirals, splits
from dlreference.activations import sigmoid as ref_sigmoid

from dlgrade.course.compare import Failure, Wrong, describe, holds, items, numbers, same
from dlgrade.course.kinds import Case, Rng, case_of, numeric, prop, statistical, unchanged
from dlgrade.course.spec import Chapter, Check, Exercise, Mistake, Picture
from dlgrade.sandbox.protocol import Callback, Function

Array = np.ndarray[Any, Any]

PRODUCTS = "matrix multiplication (ch154) and the transpose (ch155)"
CHAIN = "partial derivatives (ch210) and the chain rule (ch215)"
DESCENT = "gradient descent (ch212) and its landscapes (ch213)"
SQUASH = "the sigmoid and activation functions (ch064 and ch065)"
EXPECTATION = "probability distributions, expectation and variance (ch248 to ch250)"
ENTROPY = "entropy (ch288)"
DIVERGENCE = "KL divergence (ch289)"
VECTORS = "vectorised NumPy operations (ch147)"


def revising(topic: str, *checks: Check) -> tuple[Check, ...]:
    """The same checks; where an answer is wrong or the code raises, the report also says what to revise."""

    def directed(check: Check) -> Check:
        def run(student: Any, drawn: Any) -> None:
            try:
                check.run(student, drawn)
            except Failure as failure:
                if isinstance(failure, Wrong) or getattr(failure, "status", "") == "error":
                    failure.text += f" If this is unclear, revise {topic}."
                raise

        return msgspec.structs.replace(check, run=run)

    return tuple(directed(check) for check in checks)


def fixed(*args: Any) -> Any:
    """A case whose numbers are the same for everybody."""
    return lambda rng: tuple(np.array(a, dtype=np.float64) if isinstance(a, list) else a for a in args)


def f64(x: Any) -> Array:
    return np.asarray(x, dtype=np.float64)


# --- matrix products and shapes --------------------------------------------------------------------------------------


def layer(batch: int, inputs: int, outputs: int) -> Any:
    """Draws a batch of inputs, weights (outputs, inputs) and biases."""
    return lambda rng: (
        rng.normal(size=(batch, inputs)),
        rng.normal(size=(outputs, inputs)),
        rng.normal(size=outputs),
    )


def right_affine(X: Any, W: Any, b: Any) -> Array:
    return linear.linear_forward(X, W, b)[0]


AFFINE = Exercise(
    name="affine",
    title="Matrix products and shapes",
    functions=("affine",),
    hints=(
        "Write the shapes beside each other: X is (B, D), W is (H, D), the answer is (B, H). Which axis is summed "
        "over?",
        "A matrix product needs equal inner sizes: (B, D) times (D, H). Which of the two has to be transposed?",
        "Multiply X by the transpose of W with @, and add b: broadcasting adds its H entries to every row.",
    ),
    checks=revising(
        PRODUCTS,
        numeric(
            "weighted sums plus biases",
            3,
            "affine",
            right_affine,
            [
                Case("four points, three inputs, two outputs", layer(4, 3, 2)),
                Case("as many inputs as outputs", layer(4, 3, 3)),
                Case("a batch of one", layer(1, 2, 5)),
                Case("as many points as outputs", layer(3, 2, 3)),
            ],
        ),
        numeric(
            "lists and float32 are accepted, float64 comes back",
            1,
            "affine",
            right_affine,
            [
                Case("plain lists", lambda rng: tuple(a.tolist() for a in layer(2, 3, 2)(rng))),
                Case("float32 arrays", lambda rng: tuple(a.astype(np.float32) for a in layer(2, 3, 4)(rng))),
            ],
        ),
        unchanged(1, {"affine": layer(3, 2, 4)}),
    ),
    mistakes=(
        Mistake(
            name="weights-not-transposed",
            advice="W holds one row for each output, (out, in): transpose it, X @ W.T. Revise ch154 and ch155.",
            replaces={"affine": lambda X, W, b: f64(X) @ f64(W) + b},
        ),
        Mistake(
            name="weights-from-the-left",
            advice="W @ X.T has one column for each point; the batch is the first axis here, X @ W.T. Revise ch155.",
            replaces={"affine": lambda X, W, b: f64(W) @ f64(X).T + f64(b)[:, None]},
        ),
        Mistake(
            name="bias-forgotten",
            advice="The products are there, but b is not added: each output has its own bias. Revise ch154.",
            replaces={"affine": lambda X, W, b: f64(X) @ f64(W).T},
        ),
        Mistake(
            name="bias-to-rows",
            advice="b belongs to the outputs, which are the columns; yours adds b[i] to all of row i. Revise ch147.",
            replaces={"affine": lambda X, W, b: f64(X) @ f64(W).T + f64(b)[:, None]},
        ),
        Mistake(
            name="product-entry-by-entry",
            advice="The star multiplies entry by entry; weighted sums are a matrix product, @. Revise ch154.",
            replaces={"affine": lambda X, W, b: f64(X) * f64(W) + b},
        ),
    ),
)

# --- the chain rule --------------------------------------------------------------------------------------------------


def plane(n: int, scale: float = 1.0) -> Any:
    """Draws n points x, y, away from zero, of both signs."""
    return lambda rng: tuple(
        scale * rng.uniform(0.4, 1.6, size=n) * np.resize(signs, n) for signs in ([1.0, -1.0], [1.0, 1.0, -1.0])
    )


def chain_with(df_dx: Callable[..., Any], df_dy: Callable[..., Any]) -> Callable[..., Any]:
    """The function with other derivatives, both of (x, y, u) with u = x^2 y."""

    def wrong(x: Any, y: Any) -> Any:
        x, y = f64(x), f64(y)
        u = x**2 * y
        return np.sin(u), df_dx(x, y, u), df_dy(x, y, u)

    return wrong


def sine_slope_x(x: Array, y: Array, u: Array) -> Array:
    return np.cos(u) * 2 * x * y


def sine_slope_y(x: Array, y: Array, u: Array) -> Array:
    return np.cos(u) * x**2


CHAIN_RULE = Exercise(
    name="chain_rule",
    title="Chain rule and partial derivatives",
    functions=("chain_rule",),
    hints=(
        "Call the inside u = x^2 y. What is the derivative of sin(u) with respect to u, and that of u to x?",
        "Each partial derivative is a product: the outer derivative, taken at u, times the inner one, with the other "
        "variable held fixed.",
        "The outer derivative is the cosine of u in both. Multiply it by the derivative of x^2 y with respect to x for "
        "one, and with respect to y for the other.",
    ),
    checks=revising(
        CHAIN,
        numeric(
            "the function",
            1,
            "chain_rule",
            prerequisites.sine_of_product,
            [Case("six points", plane(6)), Case("plain lists", lambda rng: ([1.0, -2.0], [0.5, 0.25]))],
            pick=0,
        ),
        numeric(
            "the derivative with respect to x",
            2,
            "chain_rule",
            prerequisites.sine_of_product,
            [Case("six points", plane(6)), Case("a single point", plane(1))],
            pick=1,
            result="`df_dx`",
        ),
        numeric(
            "the derivative with respect to y",
            2,
            "chain_rule",
            prerequisites.sine_of_product,
            [Case("six points", plane(6)), Case("a single point", plane(1))],
            pick=2,
            result="`df_dy`",
        ),
        numeric(
            "formulas, not difference quotients",
            1,
            "chain_rule",
            prerequisites.sine_of_product,
            [Case("x and y around four, where the sine turns fast", plane(4, scale=4.0))],
        ),
    ),
    mistakes=(
        Mistake(
            name="inner-derivative-forgotten",
            advice="cos(x^2 y) is the outer derivative only: multiply by that of the inside, x^2 y. Revise ch215.",
            replaces={"chain_rule": chain_with(lambda x, y, u: np.cos(u), lambda x, y, u: np.cos(u))},
        ),
        Mistake(
            name="outer-not-differentiated",
            advice="The derivative of the sine is the cosine; yours multiplies the sine itself by the inner "
            "derivative. Revise ch215.",
            replaces={
                "chain_rule": chain_with(lambda x, y, u: np.sin(u) * 2 * x * y, lambda x, y, u: np.sin(u) * x**2)
            },
        ),
        Mistake(
            name="outer-derivative-at-x",
            advice="The outer derivative is taken at the inside: cos(x^2 y), not cos(x) or cos(y). Revise ch215.",
            replaces={
                "chain_rule": chain_with(lambda x, y, u: np.cos(x) * 2 * x * y, lambda x, y, u: np.cos(y) * x**2)
            },
        ),
        Mistake(
            name="other-variable-dropped",
            advice="With y held fixed, the derivative of x^2 y with respect to x is 2 x y: the factor y stays. Revise "
            "ch210.",
            replaces={"chain_rule": chain_with(lambda x, y, u: np.cos(u) * 2 * x, sine_slope_y)},
        ),
        Mistake(
            name="cosine-with-a-minus",
            advice="The derivative of the sine is plus the cosine; the minus belongs to the derivative of the cosine. "
            "Revise ch215.",
            replaces={
                "chain_rule": chain_with(lambda x, y, u: -sine_slope_x(x, y, u), lambda x, y, u: -sine_slope_y(x, y, u))
            },
        ),
        Mistake(
            name="partials-swapped",
            advice="Both derivatives are right and in each other's place: df_dx comes before df_dy. Revise ch210.",
            replaces={"chain_rule": chain_with(sine_slope_y, sine_slope_x)},
        ),
    ),
)

# --- gradient descent ------------------------------------------------------------------------------------------------


def bowl(rng: Rng, slope: float) -> tuple[Callable[[Any], Array], Array]:
    """The gradient of a lopsided bowl, times `slope`, and a point on its side."""
    centre, steepness = rng.normal(size=3), slope * rng.uniform(0.5, 2.0, size=3)
    return lambda w: steepness * ((f64(w) - centre) + 0.1 * (f64(w) - centre) ** 3), centre + rng.uniform(1, 2, size=3)


def descended(student: Any, reason: str, steps: int, rng: Rng, slope: float = 1.0) -> None:
    """One walk down a bowl; the steps are as long on a bowl that is almost flat, for the rate makes up for it."""
    grad, start = bowl(rng, slope)
    lr = float(rng.uniform(0.1, 0.2)) / slope
    asked: list[Array] = []

    def counted(w: Any) -> Array:
        asked.append(f64(w))
        return grad(w)

    got = student.gradient_descent(Callback(counted, "grad"), start, lr, steps)
    with case_of(reason, student.transcript[-1][0]):
        same(got, prerequisites.gradient_descent(grad, start, lr, steps), "the last point")
        holds(
            len(asked) == steps,
            f"the gradient was asked for {len(asked)} times for {steps} step{'s' * (steps != 1)}; once a step is "
            f"enough.",
        )
        holds(1 not in student.changed, "`gradient_descent` changed the start that it was given; work on a copy.")


@prop("a step against the gradient", 2, "gradient_descent")
def one_step(student: Any, rng: Rng) -> None:
    descended(student, "a single step", 1, rng)
    descended(student, "no step at all", 0, rng)


@prop("each step from where the last one ended", 3, "gradient_descent")
def many_steps(student: Any, rng: Rng) -> None:
    descended(student, "two steps", 2, rng)
    descended(student, "seven steps down a lopsided bowl", 7, rng)
    # Whoever stops where the gradient is small, and not after so many steps, stops here at once.
    descended(student, "three steps down a bowl that is almost flat, with a rate that is large", 3, rng, slope=1e-9)


def descent_stale(grad: Any, start: Any, lr: float, steps: int) -> Array:
    return f64(start) - lr * sum((f64(grad(start)) for _ in range(steps)), np.zeros(np.shape(start)))


def descent_in_place(grad: Any, start: Any, lr: float, steps: int) -> Array:
    for _ in range(steps):
        start -= lr * f64(grad(start))
    return start


GRADIENT_DESCENT = Exercise(
    name="gradient_descent",
    title="Gradient descent",
    functions=("gradient_descent",),
    hints=(
        "The gradient points uphill. Which way do you go, and where do you ask for the next gradient?",
        "A loop of `steps` rounds; in each, ask for the gradient at the current point and move.",
        "Begin with a copy of the start. In each round subtract lr times grad of the current point, and let the result "
        "be the current point. After the loop return it.",
    ),
    checks=revising(DESCENT, one_step, many_steps),
    mistakes=(
        Mistake(
            name="gradient-ascent",
            advice="The gradient points uphill: subtract it. Yours climbs. Revise ch212.",
            replaces={"gradient_descent": lambda g, w, lr, n: prerequisites.gradient_descent(g, w, -lr, n)},
        ),
        Mistake(
            name="gradient-of-the-start",
            advice="Every step of yours uses the gradient at the start; ask for it anew where you stand. Revise ch212.",
            replaces={"gradient_descent": descent_stale},
        ),
        Mistake(
            name="one-step-too-few",
            advice="One step is missing: range(steps) runs `steps` times, range(1, steps) one less. Revise ch212.",
            replaces={"gradient_descent": lambda g, w, lr, n: prerequisites.gradient_descent(g, w, lr, n - 1)},
        ),
        Mistake(
            name="one-step-too-many",
            advice="One step too many was taken; for steps = 0 the start comes back as it is. Revise ch212.",
            replaces={"gradient_descent": lambda g, w, lr, n: prerequisites.gradient_descent(g, w, lr, n + 1)},
        ),
        Mistake(
            name="learning-rate-forgotten",
            advice="The whole gradient is subtracted; lr says how much of it to take. Revise ch212.",
            replaces={"gradient_descent": lambda g, w, lr, n: prerequisites.gradient_descent(g, w, 1.0, n)},
        ),
        Mistake(
            name="start-modified",
            advice="w -= ... changes the caller's own array: copy the start first, or write w = w - .... Revise ch147.",
            replaces={"gradient_descent": descent_in_place},
        ),
    ),
)

# --- sigmoid ---------------------------------------------------------------------------------------------------------


def sigmoid_exp(z: Any) -> Array:
    return np.exp(f64(z)) / (1 + np.exp(f64(z)))


def sigmoid_exp_negative(z: Any) -> Array:
    return 1 - np.exp(-f64(z)) / (1 + np.exp(-f64(z)))


SIGMOID = Exercise(
    name="sigmoid",
    title="The sigmoid",
    functions=("sigmoid",),
    hints=(
        "What is exp(1000) in floating point? And infinity divided by infinity?",
        "One of the two forms is safe for positive z and the other for negative z. Choose entry by entry, or find an "
        "exponent that is never positive.",
        "Let e be exp of minus the absolute value of z. For z at or above 0 the answer is 1 over 1 + e, and below 0 it "
        "is e over 1 + e.",
    ),
    checks=revising(
        SQUASH,
        numeric(
            "values of any shape",
            2,
            "sigmoid",
            ref_sigmoid,
            [
                Case("six numbers of both signs", lambda rng: (3 * rng.normal(size=6),)),
                Case("a table", lambda rng: (rng.normal(size=(2, 3)),)),
                Case("zero, in a list", lambda rng: ([0.0, 1.0],)),
            ],
        ),
        numeric(
            "huge numbers",
            2,
            "sigmoid",
            ref_sigmoid,
            [Case("numbers of a thousand and more", fixed([1000.0, -1000.0, 1e4, -1e4, 0.0]))],
        ),
    ),
    mistakes=(
        Mistake(
            name="sigmoid-overflow",
            advice="exp(1000) is infinity, and infinity over infinity is nan: let the exponent never be positive. "
            "Revise ch064.",
            replaces={"sigmoid": sigmoid_exp},
            variants=({"sigmoid": sigmoid_exp_negative},),
        ),
        Mistake(
            name="sigmoid-sign",
            advice="Large z must give almost 1; yours gives almost 0: the exponent is -z. Revise ch064.",
            replaces={"sigmoid": lambda z: ref_sigmoid(-f64(z))},
        ),
        Mistake(
            name="tanh-for-sigmoid",
            advice="The values run from -1 to 1, as tanh does; a sigmoid runs from 0 to 1. Revise ch065.",
            replaces={"sigmoid": lambda z: np.tanh(f64(z))},
        ),
        Mistake(
            name="sigmoid-clipped",
            advice="Clipping z or the result keeps exp in bounds but changes the values: choose the safe form. Revise "
            "ch064.",
            replaces={"sigmoid": lambda z: np.clip(ref_sigmoid(z), 1e-7, 1 - 1e-7)},
            variants=({"sigmoid": lambda z: ref_sigmoid(np.clip(f64(z), -10, 10))},),
        ),
    ),
)

# --- expectation and variance ----------------------------------------------------------------------------------------


def outcomes(k: int, offset: float = 0.0) -> Any:
    """Draws k values around an offset, and their probabilities."""
    return lambda rng: (offset + rng.normal(size=k), rng.dirichlet(np.full(k, 2.0)))


def spread(values: Any, probs: Any) -> tuple[Array, Array, float, float]:
    v, p = f64(values), f64(probs)
    mean, variance = prerequisites.mean_and_variance(v, p)
    return v, p, mean, variance


def variance_by_subtraction(values: Any, probs: Any) -> Any:
    v, p, mean, _ = spread(values, probs)
    return mean, p @ v**2 - mean**2


def unweighted(values: Any, probs: Any) -> Any:
    return np.mean(f64(values)), np.var(f64(values))


def variance_unweighted(values: Any, probs: Any) -> Any:
    v, _, mean, _ = spread(values, probs)
    return mean, np.mean((v - mean) ** 2)


def standard_deviation(values: Any, probs: Any) -> Any:
    _, _, mean, variance = spread(values, probs)
    return mean, np.sqrt(variance)


def second_moment(values: Any, probs: Any) -> Any:
    v, p, mean, _ = spread(values, probs)
    return mean, p @ v**2


def divided_by_count(values: Any, probs: Any) -> Any:
    v, p, _, _ = spread(values, probs)
    mean = np.mean(p * v)
    return mean, np.mean(p * (v - mean) ** 2)


MEAN_AND_VARIANCE = Exercise(
    name="mean_and_variance",
    title="Expectation and variance",
    functions=("mean_and_variance",),
    hints=(
        "An expectation is a weighted sum: what are the weights here?",
        "The variance is an expectation too, of the squared distance from the mean: same weights, other numbers.",
        "Multiply values and probabilities entry by entry and sum: that is the mean. Then do the same with "
        "(values - mean)**2 in place of the values.",
    ),
    checks=revising(
        EXPECTATION,
        numeric(
            "the expectation",
            2,
            "mean_and_variance",
            prerequisites.mean_and_variance,
            [
                Case("five outcomes", outcomes(5)),
                Case("a sure thing", fixed([3.0, 7.0], [0.0, 1.0])),
                Case("plain lists", lambda rng: ([1.0, 2.0, 6.0], [0.5, 0.25, 0.25])),
            ],
            pick=0,
            result="the mean",
        ),
        numeric(
            "the variance",
            2,
            "mean_and_variance",
            prerequisites.mean_and_variance,
            [Case("five outcomes", outcomes(5)), Case("a single outcome, which cannot vary", fixed([4.0], [1.0]))],
            pick=1,
            result="the variance",
        ),
        numeric(
            "values around a million keep their digits",
            1,
            "mean_and_variance",
            prerequisites.mean_and_variance,
            [Case("five values around a million", outcomes(5, 1e6))],
            pick=1,
            result="the variance",
        ),
    ),
    mistakes=(
        Mistake(
            name="probabilities-ignored",
            advice="A plain mean takes all outcomes for equally likely: weigh each by its probability. Revise ch249.",
            replaces={"mean_and_variance": unweighted},
        ),
        Mistake(
            name="variance-not-weighted",
            advice="The squared deviations need their probabilities just as the values do. Revise ch250.",
            replaces={"mean_and_variance": variance_unweighted},
        ),
        Mistake(
            name="variance-by-subtraction",
            advice="E[V^2] - E[V]^2 subtracts two huge numbers and loses the digits: square the deviations. Revise "
            "ch250.",
            replaces={"mean_and_variance": variance_by_subtraction},
        ),
        Mistake(
            name="root-of-the-variance",
            advice="The second number is the standard deviation; the variance is its square. Revise ch250.",
            replaces={"mean_and_variance": standard_deviation},
        ),
        Mistake(
            name="mean-not-subtracted",
            advice="E[V^2] is not yet the variance: subtract the mean from the values before squaring. Revise ch250.",
            replaces={"mean_and_variance": second_moment},
        ),
        Mistake(
            name="weighted-and-averaged",
            advice="The probabilities already sum to 1: sum the products, do not average them. Revise ch249.",
            replaces={"mean_and_variance": divided_by_count},
        ),
    ),
)

# --- entropy and divergence ------------------------------------------------------------------------------------------


def simplex(k: int) -> Any:
    return lambda rng: (rng.dirichlet(np.full(k, 2.0)),)


def two_simplices(k: int) -> Any:
    return lambda rng: (rng.dirichlet(np.full(k, 2.0)), rng.dirichlet(np.full(k, 2.0)))


def summed(terms: Array) -> float:
    return float(np.sum(terms))


ENTROPY_OF = Exercise(
    name="entropy",
    title="Entropy",
    functions=("entropy",),
    hints=(
        "What is log 0 in floating point, and 0 times that? What should such an outcome add?",
        "Keep the outcomes with positive probability, and sum p log p over them. Mind the sign.",
        "Select p[p > 0], multiply it by its natural logarithm, sum, and put a minus in front.",
    ),
    checks=revising(
        ENTROPY,
        numeric(
            "in nats",
            2,
            "entropy",
            prerequisites.entropy,
            [
                Case("five outcomes", simplex(5)),
                Case("four equally likely outcomes: log 4", fixed([0.25] * 4)),
                Case("a list", lambda rng: ([0.75, 0.25],)),
                Case("an outcome that is rare, but possible", fixed([0.9999, 0.0001])),
            ],
        ),
        numeric(
            "impossible outcomes add nothing",
            2,
            "entropy",
            prerequisites.entropy,
            [
                Case("one outcome of three is impossible", fixed([0.5, 0.0, 0.5])),
                Case("no uncertainty at all", fixed([0.0, 1.0])),
            ],
            # The second is 0 exactly, and a constant inside the logarithm is all that keeps an answer from it.
            rtol=1e-13,
            atol=1e-16,
        ),
    ),
    mistakes=(
        Mistake(
            name="entropy-in-bits",
            advice="The logarithm to base 2 gives bits; the course measures in nats, with np.log. Revise ch288.",
            replaces={"entropy": lambda p: prerequisites.entropy(p) / np.log(2)},
        ),
        Mistake(
            name="entropy-of-zero",
            advice="0 * log 0 is nan in floating point; an impossible outcome adds 0, so leave it out. Revise ch288.",
            replaces={"entropy": lambda p: -summed(f64(p) * np.log(f64(p)))},
        ),
        Mistake(
            name="entropy-with-epsilon",
            advice="log(p + a small number) is off for every outcome; leave out the impossible ones. Revise ch288.",
            replaces={"entropy": lambda p: -summed(f64(p) * np.log(f64(p) + 1e-8))},
            variants=({"entropy": lambda p: -summed(f64(p) * np.log(f64(p) + 1e-12))},),
        ),
        Mistake(
            name="entropy-negative",
            advice="Logarithms of probabilities are negative: a minus in front makes the entropy positive. Revise "
            "ch288.",
            replaces={"entropy": lambda p: -prerequisites.entropy(p)},
        ),
    ),
)

KL = Exercise(
    name="kl_divergence",
    title="KL divergence",
    functions=("kl_divergence",),
    hints=(
        "By which of the two are the outcomes weighted? And what if one of them never happens, under p or under q?",
        "Only outcomes with p > 0 count. Among these, a single q of 0 makes the divergence infinite.",
        "Make a mask p > 0. If any q under the mask is 0, return np.inf. Otherwise sum p times the log of p over q "
        "under the mask.",
    ),
    checks=revising(
        DIVERGENCE,
        numeric(
            "p is measured against q",
            2,
            "kl_divergence",
            prerequisites.kl_divergence,
            [
                Case("five outcomes", two_simplices(5)),
                Case("two equal distributions: 0", fixed([0.2, 0.8], [0.2, 0.8])),
                Case("plain lists", lambda rng: ([0.75, 0.25], [0.5, 0.5])),
            ],
        ),
        numeric(
            "outcomes that p never has",
            2,
            "kl_divergence",
            prerequisites.kl_divergence,
            [
                Case("p is 0 for one of three outcomes", fixed([0.25, 0.0, 0.75], [0.5, 0.25, 0.25])),
                Case("both are 0 there", fixed([0.25, 0.0, 0.75], [0.5, 0.0, 0.5])),
            ],
        ),
        numeric(
            "outcomes that q holds for impossible",
            1,
            "kl_divergence",
            prerequisites.kl_divergence,
            [Case("q is 0 for an outcome that happens", fixed([0.25, 0.25, 0.5], [0.5, 0.0, 0.5]))],
            alone=False,
        ),
    ),
    mistakes=(
        Mistake(
            name="divergence-the-wrong-way-round",
            advice="KL is not symmetric: p weighs the outcomes and stands above in the fraction. Revise ch289.",
            replaces={"kl_divergence": lambda p, q: prerequisites.kl_divergence(q, p)},
        ),
        Mistake(
            name="divergence-of-zero",
            advice="0 * log 0 is nan; sum over the outcomes that p really has. Revise ch289.",
            replaces={"kl_divergence": lambda p, q: summed(f64(p) * np.log(f64(p) / f64(q)))},
            variants=({"kl_divergence": lambda p, q: summed(f64(p) * (np.log(f64(p)) - np.log(f64(q))))},),
        ),
        Mistake(
            name="divergence-with-epsilon",
            advice="Small constants make an infinite divergence finite and every other one inexact. Revise ch289.",
            replaces={"kl_divergence": lambda p, q: summed(f64(p) * np.log((f64(p) + 1e-8) / (f64(q) + 1e-8)))},
        ),
        Mistake(
            name="divergence-in-bits",
            advice="The logarithm to base 2 gives bits; the course measures in nats, with np.log. Revise ch289.",
            replaces={"kl_divergence": lambda p, q: prerequisites.kl_divergence(p, q) / np.log(2)},
        ),
        Mistake(
            name="cross-entropy-for-divergence",
            advice="That is the cross-entropy -sum p log q; the divergence subtracts the entropy of p. Revise ch289.",
            replaces={"kl_divergence": lambda p, q: prerequisites.kl_divergence(p, q) + prerequisites.entropy(p)},
        ),
    ),
)

# --- vectorised NumPy ------------------------------------------------------------------------------------------------


def two_clouds(n: int, m: int, d: int, offset: float = 0.0) -> Any:
    return lambda rng: (offset + rng.normal(size=(n, d)), offset + rng.normal(size=(m, d)))


def distances_expanded(A: Any, B: Any) -> Array:
    A, B = f64(A), f64(B)
    return (A**2).sum(axis=1)[:, None] + (B**2).sum(axis=1) - 2 * A @ B.T


def distances_signed(A: Any, B: Any) -> Array:
    return (f64(A)[:, None, :] - f64(B)).sum(axis=2) ** 2


SQUARED_DISTANCES = Exercise(
    name="squared_distances",
    title="All distances at once, by broadcasting",
    functions=("squared_distances",),
    hints=(
        "What is the shape of all differences, of every row of A from every row of B?",
        "An axis of length 1 repeats itself to fit: give A and B an extra axis, each in another place, so that their "
        "difference is (N, M, D).",
        "A[:, None, :] is (N, 1, D) and B[None, :, :] is (1, M, D). Subtract, square, and sum over the last axis.",
    ),
    checks=revising(
        VECTORS,
        numeric(
            "every pair of points",
            3,
            "squared_distances",
            prerequisites.squared_distances,
            [
                Case("four points and six points in the plane", two_clouds(4, 6, 2)),
                Case("a single point", two_clouds(1, 3, 2)),
                Case("as many points as others, in five dimensions", two_clouds(3, 3, 5)),
                Case("plain lists", lambda rng: ([[0, 0], [3, 4]], [[1, -1]])),
            ],
        ),
        numeric(
            "far from the origin",
            1,
            "squared_distances",
            prerequisites.squared_distances,
            [Case("points around a million", two_clouds(3, 4, 2, 1e6))],
        ),
        unchanged(1, {"squared_distances": two_clouds(2, 3, 2)}),
    ),
    mistakes=(
        Mistake(
            name="distances-by-expansion",
            advice="|a|^2 + |b|^2 - 2 a.b cancels far from the origin: subtract first, square then. Revise ch147.",
            replaces={"squared_distances": distances_expanded},
        ),
        Mistake(
            name="row-against-its-own-row",
            advice="A - B pairs row i with row i; every row meets every row after A[:, None, :] - B. Revise ch147.",
            replaces={"squared_distances": lambda A, B: ((f64(A) - f64(B)) ** 2).sum(axis=1)},
        ),
        Mistake(
            name="distances-transposed",
            advice="Rows of the answer belong to A and columns to B; yours are the other way round. Revise ch147.",
            replaces={"squared_distances": lambda A, B: prerequisites.squared_distances(B, A)},
        ),
        Mistake(
            name="root-of-the-distance",
            advice="The squared distance is asked for: leave the square root away. Revise ch147.",
            replaces={"squared_distances": lambda A, B: np.sqrt(prerequisites.squared_distances(A, B))},
        ),
        Mistake(
            name="square-of-the-sum",
            advice="Square each coordinate's difference, then sum; yours sums first, and signs cancel. Revise ch147.",
            replaces={"squared_distances": distances_signed},
        ),
    ),
)

# --- the curve -------------------------------------------------------------------------------------------------------

TURNS = spirals.THETA_MAX


def angles(n: int, arm: Any) -> Any:
    """Draws n values of theta, and an arm: 0, 1 or "both" mixed."""
    return lambda rng: (
        rng.uniform(0.0, TURNS, size=n),
        rng.permutation(np.arange(n) % 2) if arm == "both" else arm,
    )


@prop("arm 1 is arm 0 turned by half a turn, and stays away from it", 2, "spiral_curve")
def distinct_arms(student: Any, rng: Rng) -> None:
    theta = np.sort(rng.uniform(0.0, TURNS, size=80))
    arms = [numbers(student.spiral_curve(theta, arm), (80, 2), f"arm {arm}") for arm in (0, 1)]
    gap = np.sqrt(prerequisites.squared_distances(*arms).min())
    holds(
        gap > 0.1,
        "the two arms touch: points of arm 1 lie on arm 0, and nobody could tell whose they are.",
        f"The smallest distance between them is {gap:.3g}; it should be above 0.1.",
    )
    same(arms[1], -arms[0], "arm 1, compared with arm 0 turned by half a turn,")


def curve_with(radius: Callable[..., Any], angle: Callable[..., Any]) -> Callable[..., Any]:
    """A curve with another radius and another angle, both of (theta, arm)."""

    def wrong(theta: Any, arm: Any) -> Array:
        theta, arm = f64(theta), f64(arm)
        r, a = radius(theta, arm), angle(theta, arm)
        return np.stack([r * np.cos(a), r * np.sin(a)], axis=-1)

    return wrong


def radius(theta: Any, arm: Any) -> Any:
    return spirals.R0 + (1 - spirals.R0) * theta / TURNS


def half_turn(theta: Any, arm: Any) -> Any:
    return theta + np.pi * arm


one_curve = curve_with(lambda t, arm: radius(t + np.pi * arm, arm), half_turn)
one_curve_from_zero = curve_with(lambda t, arm: (t + np.pi * arm) / TURNS, half_turn)

SPIRAL_CURVE = Exercise(
    name="spiral_curve",
    title="Two arms that are really two",
    functions=("spiral_curve",),
    hints=(
        "Radius first: does it know anything about the arm? Then the angle.",
        "The radius is a straight line in theta, from 0.1 to 1. Only the angle gets pi more on arm 1.",
        "Compute r from theta alone, then angle = theta + pi times arm, and stack r cos(angle) and r sin(angle) as two "
        "columns.",
    ),
    checks=(
        numeric(
            "points of one arm",
            3,
            "spiral_curve",
            spirals.spiral_curve,
            [
                Case("arm 0, seven values of theta", angles(7, 0)),
                Case("arm 1, seven values of theta", angles(7, 1)),
                Case("both ends of arm 0, as a list", lambda rng: ([0.0, TURNS], 0)),
            ],
        ),
        numeric(
            "an arm for each theta",
            1,
            "spiral_curve",
            spirals.spiral_curve,
            [Case("eight values of theta, an array of arms", angles(8, "both"))],
        ),
        distinct_arms,
    ),
    mistakes=(
        Mistake(
            name="one-curve-for-both-arms",
            advice="The half turn has entered the radius: both arms lie on one curve, and no classifier can exceed "
            "62.5 %. Compute r from theta before you add pi.",
            replaces={"spiral_curve": one_curve},
            variants=({"spiral_curve": one_curve_from_zero},),
        ),
        Mistake(
            name="radius-from-zero",
            advice="The radius starts at 0.1, not at 0: in the centre the arms would run into each other.",
            replaces={"spiral_curve": curve_with(lambda t, arm: t / TURNS, half_turn)},
        ),
        Mistake(
            name="arms-not-turned",
            advice="Both arms are the same: arm 1 needs pi more in its angle, half a turn. (2 pi would be a full one.)",
            replaces={"spiral_curve": curve_with(radius, lambda t, arm: t + 0 * arm)},
            variants=({"spiral_curve": curve_with(radius, lambda t, arm: t + 2 * np.pi * arm)},),
        ),
        Mistake(
            name="turned-by-a-quarter",
            advice="pi / 2 is a quarter of a turn; arm 1 lies opposite arm 0, half a turn on.",
            replaces={"spiral_curve": curve_with(radius, lambda t, arm: t + np.pi / 2 * arm)},
        ),
        Mistake(
            name="sine-before-cosine",
            advice="The first coordinate is r cos(angle) and the second r sin(angle); yours are swapped.",
            replaces={"spiral_curve": lambda theta, arm: spirals.spiral_curve(theta, arm)[..., ::-1]},
        ),
    ),
)

# --- the data set ----------------------------------------------------------------------------------------------------


def right_spirals(n: int, noise: float, rng: Rng) -> tuple[Array, Array]:
    rng = copy.deepcopy(rng)  # the generator itself goes to the student as it is
    X, y = spirals.make_spirals(n, noise, rng=rng)
    order = rng.permutation(2 * n)
    return X[order], y[order]


def asked_points(student: Any, n: int, noise: float, seed: int) -> tuple[Array, Array]:
    """The student's points (2n, 2) and labels (2n,), which are 0 and 1, n of each."""
    X, y = items(student.make_spirals(n, noise, np.random.default_rng(seed)), ("X", "y"))
    X, y = numbers(X, (2 * n, 2), "`X`"), numbers(y, (2 * n,), "`y`")
    holds(
        set(y.tolist()) <= {0.0, 1.0} and int(y.sum()) == n,
        f"`y` should hold {n} zeros and {n} ones, one label for each point.",
    )
    return X, y


def by_place(X: Array) -> Array:
    """The points sorted by distance from the centre, then by the side they lie on."""
    return X[np.lexsort((X[:, 0], np.round(np.hypot(X[:, 0], X[:, 1]), 9)))]


ON_CURVES, REPEATS = "the points lie evenly on the two curves", "one seed, one data set"


@prop(ON_CURVES, 4, "make_spirals")
def on_the_curves(student: Any, rng: Rng) -> None:
    with case_of("twelve points an arm, no noise"):
        X, _ = asked_points(student, 12, 0.0, int(rng.integers(1 << 30)))
        theta = np.linspace(0.0, TURNS, 12)
        want = np.concatenate([spirals.spiral_curve(theta, arm) for arm in (0, 1)])
        farthest = float(np.hypot(*X.T).max())
        holds(
            farthest < 1 + 1e-6,
            "points lie farther out than 1, where both arms end: is the half turn of arm 1 in its radius, too? Then "
            "both arms lie on one curve.",
            f"The farthest is at a distance of {farthest:.4g}.",
        )
        same(by_place(X), by_place(want), "X, sorted by distance from the centre,")


@prop("every label belongs to its point", 3, "make_spirals", needs=(ON_CURVES,))
def labels_belong(student: Any, rng: Rng) -> None:
    with case_of("forty points an arm, no noise"):
        X, y = asked_points(student, 40, 0.0, int(rng.integers(1 << 30)))
        wrong = int(np.sum((spirals.polar_feature(X) < 0) != y))
        holds(
            wrong == 0,
            "some points carry the label of the other arm: shuffle points and labels by the same order.",
            f"{wrong} of 80 points lie on the arm that their label does not name.",
        )


# A right answer fails when a mean of 1000 squared standard normals is below 0.7 or above 1.35. By Chernoff's bound for
# chi-squared, P(mean beyond 1 + e) <= exp(-500 (e - ln(1 + e))): 3e-13 for e = -0.3 and 2e-11 for e = 0.35.
@statistical("noise is the standard deviation", 2, "make_spirals", false_alarm=3e-11, needs=(REPEATS,))
def noise_size(student: Any, rng: Rng) -> None:
    noise, seed = float(rng.uniform(0.02, 0.08)), int(rng.integers(1 << 30))
    with case_of("the same draw with a noise and with twice that noise"):
        X, _ = asked_points(student, 250, noise, seed)
        doubled, _ = asked_points(student, 250, 2 * noise, seed)
        found = float(np.sqrt(np.mean((doubled - X) ** 2)))
        holds(
            0.7 < (found / noise) ** 2 < 1.35,
            "the spread of the points around their curve is not the standard deviation that `noise` asks for.",
            f"Asked for {noise:.4f}, found about {found:.4f}.",
        )


@prop("the points come in random order", 1, "make_spirals")
def shuffled(student: Any, rng: Rng) -> None:
    # Fewer than 15 changes of label among 199 neighbours in a random order of 200: about 12 standard deviations off.
    with case_of("a hundred points an arm"):
        _, y = asked_points(student, 100, 0.03, int(rng.integers(1 << 30)))
        changes = int(np.count_nonzero(np.diff(y)))
        holds(changes >= 15, "the points are not shuffled: long runs of one label follow each other.")
        holds(changes <= 185, "the points are not shuffled: the labels take turns.")


@prop(REPEATS, 2, "same_twice", "make_spirals", alone=False)
def repeatable(student: Any, rng: Rng) -> None:
    with case_of("two generators with the same seed"):
        again = student.same_twice(20, 0.03, int(rng.integers(1 << 30)))
        holds(
            bool(numbers(again, (), "what same_twice returns")),
            "`make_spirals` gave two different data sets for the same seed: some draw does not come from `rng`. "
            "np.random.normal, np.random.permutation and np.random.default_rng() have seeds of their own.",
        )


def spirals_with(
    curve: Callable[..., Any] = spirals.spiral_curve,
    scatter: Callable[..., Any] = lambda rng, noise, n: rng.normal(0.0, noise, size=(2 * n, 2)),
    arrange: Callable[..., Any] = lambda rng, size: (lambda order: (order, order))(rng.permutation(size)),
    steps: Callable[..., Any] = lambda n: np.linspace(0.0, TURNS, n),
    source: Callable[[Any], Any] = lambda rng: rng,
) -> Callable[..., Any]:
    """A generator with one of its parts replaced; `arrange` gives the order of the points and that of the labels."""

    def wrong(n: int, noise: float, rng: Any) -> Any:
        rng = source(rng)
        theta, y = np.tile(steps(n), 2), np.repeat([0, 1], n)
        X = curve(theta, y) + scatter(rng, noise, n)
        points, labels = arrange(rng, 2 * n)
        return X[points], y[labels]

    return wrong


MAKE_SPIRALS = Exercise(
    name="make_spirals",
    title="The data set",
    functions=("make_spirals",),
    hints=(
        "Build it in the order of the text: curve, labels, noise, shuffle. Which of these belong together in the end?",
        "np.linspace includes both ends. Put the arms under each other with np.concatenate, and draw one order for "
        "points and labels alike.",
        "After adding rng.normal(0.0, noise, size=(2 * n, 2)), draw order = rng.permutation(2 * n) once and return "
        "X[order] and y[order].",
    ),
    checks=(
        on_the_curves,
        labels_belong,
        shuffled,
        repeatable,
        noise_size,
        numeric(
            "the draws are made as described",
            2,
            "make_spirals",
            right_spirals,
            [
                Case("ten points an arm", lambda rng: (10, 0.05, np.random.default_rng(int(rng.integers(1 << 30))))),
                Case("one point an arm", lambda rng: (1, 0.05, np.random.default_rng(int(rng.integers(1 << 30))))),
            ],
        ),
    ),
    mistakes=(
        Mistake(
            name="labels-shuffled-apart",
            advice="Points and labels got different orders: draw one permutation and apply it to both.",
            replaces={
                "make_spirals": spirals_with(arrange=lambda rng, size: (rng.permutation(size), rng.permutation(size)))
            },
            variants=(
                {"make_spirals": spirals_with(arrange=lambda rng, size: (rng.permutation(size), np.arange(size)))},
            ),
        ),
        Mistake(
            name="a-tenth-of-the-noise",
            advice="noise is the standard deviation itself; yours multiplies it by 0.1 first.",
            replaces={"make_spirals": lambda n, noise, rng: right_spirals(n, 0.1 * noise, rng)},
        ),
        Mistake(
            name="noise-taken-for-a-variance",
            advice="rng.normal takes the standard deviation, and so does `noise`: neither square it nor take its root.",
            replaces={"make_spirals": lambda n, noise, rng: right_spirals(n, noise**0.5, rng)},
            variants=({"make_spirals": lambda n, noise, rng: right_spirals(n, noise**2, rng)},),
        ),
        Mistake(
            name="one-noise-for-both-coordinates",
            advice="Each coordinate gets its own draw; yours moves all points along one diagonal.",
            replaces={
                "make_spirals": spirals_with(scatter=lambda rng, noise, n: rng.normal(0.0, noise, size=(2 * n, 1)))
            },
        ),
        Mistake(
            name="data-not-shuffled",
            advice="All of arm 0 comes first: whoever takes the last fifth for testing would test on one class only. "
            "Shuffle.",
            replaces={"make_spirals": lambda n, noise, rng: spirals.make_spirals(n, noise, rng=rng)},
        ),
        Mistake(
            name="end-of-the-arm-left-out",
            advice="theta runs from 0 to THETA_MAX with both ends: np.linspace includes its end, np.arange does not.",
            replaces={"make_spirals": spirals_with(steps=lambda n: np.arange(n) * TURNS / n)},
        ),
        Mistake(
            name="randomness-not-from-rng",
            advice="np.random.normal and np.random.permutation draw from a global generator: same seed, other data. "
            "Use rng.",
            replaces={"make_spirals": spirals_with(source=lambda rng: np.random)},
            variants=(
                {"make_spirals": spirals_with(source=lambda rng: np.random.default_rng(42))},
                {"make_spirals": spirals_with(source=lambda rng: np.random.default_rng(0))},
                {
                    "make_spirals": spirals_with(
                        arrange=lambda rng, size: (lambda order: (order, order))(np.random.permutation(size))
                    )
                },
            ),
        ),
    ),
)

# --- the feature that a person could find ----------------------------------------------------------------------------


def places(n: int, reach: float = 1.2) -> Any:
    """Draws places in all directions, at least 0.05 from the centre."""

    def draw(rng: Rng) -> tuple[Array]:
        angle = rng.uniform(-np.pi, np.pi, size=n)
        r = rng.uniform(0.05, reach, size=n)
        return (np.stack([r * np.cos(angle), r * np.sin(angle)], axis=1),)

    return draw


def feature_with(angle: Callable[..., Any], theta: Callable[..., Any], compare: Callable[..., Any]) -> Any:
    """A feature with another angle (of x, y), another theta (of r) and another comparison of the two."""

    def wrong(X: Any) -> Array:
        X = f64(X)
        return compare(angle(X[:, 0], X[:, 1]), theta(np.hypot(X[:, 0], X[:, 1])))

    return wrong


def true_angle(x: Array, y: Array) -> Array:
    return np.arctan2(y, x)


def true_theta(r: Array) -> Array:
    return TURNS * (r - spirals.R0) / (1 - spirals.R0)


def cosine_of_difference(a: Array, t: Array) -> Array:
    return np.cos(a - t)


@prop("one on arm 0, minus one on arm 1", 2, "polar_feature")
def feature_on_the_arms(student: Any, rng: Rng) -> None:
    theta, arm = rng.uniform(0, TURNS, size=30), rng.permutation(np.arange(30) % 2)
    with case_of("thirty points on the curves, no noise"):
        same(student.polar_feature(spirals.spiral_curve(theta, arm)), 1.0 - 2.0 * arm, "the feature")


POLAR_FEATURE = Exercise(
    name="polar_feature",
    title="The feature that a person could find",
    functions=("polar_feature",),
    hints=(
        "Which two numbers describe a point in polar coordinates? Which of them tells how far along the arm it is?",
        "np.hypot gives r, np.arctan2(y, x) the angle in all four quadrants. From r follows the theta of arm 0.",
        "Compute r, angle and theta as in the text, and return the cosine of angle minus theta.",
    ),
    checks=(
        feature_on_the_arms,
        numeric(
            "anywhere in the plane",
            4,
            "polar_feature",
            spirals.polar_feature,
            [
                Case("twenty places in all directions", places(20)),
                Case("a single place", places(1)),
                Case(
                    "places on the axes, as a list", lambda rng: ([[0.5, 0.0], [0.0, 0.5], [-0.5, 0.0], [0.0, -0.5]],)
                ),
            ],
        ),
        unchanged(1, {"polar_feature": places(3)}),
    ),
    mistakes=(
        Mistake(
            name="quadrant-lost",
            advice="arctan(y / x) is the same for opposite points, which are the two arms: use np.arctan2(y, x).",
            replaces={"polar_feature": feature_with(lambda x, y: np.arctan(y / x), true_theta, cosine_of_difference)},
        ),
        Mistake(
            name="arctan2-arguments-swapped",
            advice="np.arctan2 takes y first, then x.",
            replaces={"polar_feature": feature_with(lambda x, y: np.arctan2(x, y), true_theta, cosine_of_difference)},
        ),
        Mistake(
            name="start-of-the-radius-forgotten",
            advice="The radius starts at 0.1: solve r = 0.1 + 0.9 theta / (4 pi) for theta, not r = theta / (4 pi).",
            replaces={"polar_feature": feature_with(true_angle, lambda r: TURNS * r, cosine_of_difference)},
        ),
        Mistake(
            name="range-of-the-radius-forgotten",
            advice="r - 0.1 runs from 0 to 0.9 only: divide it by 0.9 before you multiply by 4 pi.",
            replaces={
                "polar_feature": feature_with(true_angle, lambda r: TURNS * (r - spirals.R0), cosine_of_difference)
            },
        ),
        Mistake(
            name="two-turns-taken-for-one",
            advice="The arms make two turns: theta runs to 4 pi, not to 2 pi.",
            replaces={"polar_feature": feature_with(true_angle, lambda r: true_theta(r) / 2, cosine_of_difference)},
        ),
        Mistake(
            name="angles-added",
            advice="Compare the two angles by their difference, angle minus theta; their sum means nothing.",
            replaces={"polar_feature": feature_with(true_angle, true_theta, lambda a, t: np.cos(a + t))},
        ),
        Mistake(
            name="sine-for-cosine",
            advice="The sine is 0 on both arms; the cosine is 1 where the angles agree and -1 opposite.",
            replaces={"polar_feature": feature_with(true_angle, true_theta, lambda a, t: np.sin(a - t))},
        ),
    ),
)

# --- how well anybody could do ---------------------------------------------------------------------------------------


def right_density(X: Any, arm: int, noise: float, m: int = 1000) -> Array:
    return np.exp(spirals.arm_log_density(X, arm, noise, count=m))


def seen(n: int, arm: int, noise: float, m: int) -> Any:
    """Draws places near both arms, to be looked at from one."""
    return lambda rng: (spirals.sample_spirals(n, noise, rng)[0], arm, noise, m)


def told_apart(rng: Rng) -> tuple[Array, int, float]:
    """Places on the outer turn of arm 0, with so little noise that the density is a chain of separate bells there.

    So it is another one with more or fewer than a thousand of them.
    """
    return spirals.spiral_curve(rng.uniform(TURNS / 2, TURNS, size=5), 0), 0, 0.004


@prop("it integrates to one", 2, "arm_density")
def integrates(student: Any, rng: Rng) -> None:
    # The sum over a grid is exact here: a normal of standard deviation 0.25 is smooth at steps of 0.2, and gone at 2.8.
    noise, m = 0.25, 20
    axis = np.arange(-14, 15) * 0.2 + float(rng.uniform(-0.1, 0.1))
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    with case_of("a grid over the whole plane, summed up"):
        density = numbers(student.arm_density(grid, int(rng.integers(2)), noise, m), (len(grid),), "the density")
        same(density.sum() * 0.04, 1.0, "the integral over the plane", rtol=1e-5)


def density_with(
    bell: Callable[..., Any] = lambda squared, noise: np.exp(-squared / (2 * noise**2)) / (2 * np.pi * noise**2),
    midpoints: Callable[[int], Array] = lambda m: (np.arange(m) + 0.5) * TURNS / m,
    gather: Callable[[Array], Array] = lambda values: values.mean(axis=1),
    chosen: Callable[[int], int] = lambda arm: arm,
) -> Callable[..., Any]:
    """A density with one of its parts replaced."""

    def wrong(X: Any, arm: int, noise: float, m: int = 1000) -> Array:
        centres = spirals.spiral_curve(midpoints(m), chosen(arm))
        return gather(bell(prerequisites.squared_distances(X, centres), noise))

    return wrong


ARM_DENSITY = Exercise(
    name="arm_density",
    title="The density of an arm",
    functions=("arm_density",),
    hints=(
        "You have a function for the curve, and one for all squared distances between two sets of points.",
        "The m centres are spiral_curve of the m midpoints. The bell curve of every place around every centre is a "
        "table (B, m); the density is the mean of each of its rows.",
        "squared_distances(X, centres) is the table; exp of minus it over 2 noise**2, divided by 2 pi noise**2, and "
        "the mean over the last axis.",
    ),
    checks=(
        numeric(
            "both arms, seen from points of both",
            3,
            "arm_density",
            right_density,
            [
                Case("arm 0, twelve places", seen(12, 0, 0.1, 60)),
                Case("arm 1, twelve places", seen(12, 1, 0.15, 50)),
                Case("a single place", seen(1, 0, 0.2, 30)),
            ],
        ),
        numeric(
            "few midpoints, and very many",
            2,
            "arm_density",
            right_density,
            [
                Case("three midpoints", seen(5, 1, 0.5, 3)),
                Case("a thousand unless told otherwise", told_apart),
            ],
        ),
        integrates,
    ),
    mistakes=(
        Mistake(
            name="density-of-a-line",
            advice="In the plane the normal density is divided by 2 pi noise^2; its root belongs to a single "
            "coordinate.",
            replaces={
                "arm_density": density_with(
                    lambda squared, noise: np.exp(-squared / (2 * noise**2)) / (np.sqrt(2 * np.pi) * noise)
                )
            },
        ),
        Mistake(
            name="density-not-normalised",
            advice="Without the division by 2 pi noise^2 it is no density: it would not integrate to 1.",
            replaces={"arm_density": density_with(lambda squared, noise: np.exp(-squared / (2 * noise**2)))},
        ),
        Mistake(
            name="two-missing-in-the-exponent",
            advice="The exponent of the normal density is -distance^2 / (2 noise^2): the 2 is missing.",
            replaces={
                "arm_density": density_with(lambda squared, noise: np.exp(-squared / noise**2) / (2 * np.pi * noise**2))
            },
        ),
        Mistake(
            name="density-summed",
            advice="Each theta has the probability 1/m: the density is the mean over the midpoints, not their sum.",
            replaces={"arm_density": density_with(gather=lambda values: values.sum(axis=1))},
        ),
        Mistake(
            name="ends-for-midpoints",
            advice="The midpoints are (i + 1/2) THETA_MAX / m; yours sit on the edges of the pieces, not in their "
            "middle.",
            replaces={"arm_density": density_with(midpoints=lambda m: np.linspace(0, TURNS, m))},
            variants=({"arm_density": density_with(midpoints=lambda m: np.arange(m) * TURNS / m)},),
        ),
        Mistake(
            name="nearest-point-only",
            advice="The nearest point of the curve is not all: average over every theta that could have made the "
            "point.",
            replaces={"arm_density": density_with(gather=lambda values: values.max(axis=1))},
        ),
        Mistake(
            name="always-arm-0",
            advice="The `arm` argument is not used: both densities are that of arm 0.",
            replaces={"arm_density": density_with(chosen=lambda arm: 0)},
        ),
    ),
)


def right_bayes(X: Any, noise: float) -> float:
    first, second = (spirals.arm_log_density(X, arm, noise, count=1000) for arm in (0, 1))
    return float(np.mean(ref_sigmoid(np.abs(first - second))))


def drawn_points(n: int, noise: float) -> Any:
    return lambda rng: (spirals.sample_spirals(n, noise, rng)[0], noise)


def points_of(n: int, arm: int, noise: float) -> Any:
    return lambda rng: (
        spirals.spiral_curve(rng.uniform(0, TURNS, size=n), arm) + rng.normal(0, noise, size=(n, 2)),
        noise,
    )


def bayes_with(summary: Callable[[Array, Array], Any]) -> Callable[..., Any]:
    """A summary of the two densities at the points."""
    return lambda X, noise: float(summary(*(right_density(X, arm, noise) for arm in (0, 1))))


BAYES_ACCURACY = Exercise(
    name="bayes_accuracy",
    title="The best that anybody could do",
    functions=("bayes_accuracy",),
    hints=(
        "At one place: with which probability is the best guess right? Then take the average.",
        "Ask arm_density twice for all points, and turn the two densities into the probability of each arm.",
        "The larger of the two densities, divided by their sum, is the probability that the best guess is right. Take "
        "the mean of that over the points.",
    ),
    checks=(
        numeric(
            "average certainty of the best guess",
            4,
            "bayes_accuracy",
            right_bayes,
            [
                Case("points with the noise of the course, 0.03", drawn_points(40, 0.03)),
                Case("points with a noise of 0.06", drawn_points(40, 0.06)),
                Case("a noise of 0.3, where the arms drown", drawn_points(40, 0.3)),
                Case("points of arm 0 only", points_of(20, 0, 0.1)),
                Case("points of arm 1 only", points_of(20, 1, 0.1)),
            ],
        ),
        numeric(
            "single places",
            2,
            "bayes_accuracy",
            right_bayes,
            [
                Case("the centre, where it is a coin toss", fixed([[0.0, 0.0]], 0.05)),
                Case("a place of arm 1", fixed([[-0.55, 0.0]], 0.1)),
                Case("a place of arm 0", fixed([[0.55, 0.02]], 0.1)),
                Case("a place far out, where both densities are small", fixed([[2.5, 0.5]], 0.3)),
            ],
        ),
    ),
    mistakes=(
        Mistake(
            name="error-for-accuracy",
            advice="The smaller share is the probability that the best guess is wrong; the larger one is asked for.",
            replaces={"bayes_accuracy": bayes_with(lambda p, q: np.mean(np.minimum(p, q) / (p + q)))},
        ),
        Mistake(
            name="densities-for-probabilities",
            advice="A density is no probability: divide by the sum of both densities first.",
            replaces={"bayes_accuracy": bayes_with(lambda p, q: np.mean(np.maximum(p, q)))},
        ),
        Mistake(
            name="probability-of-one-arm",
            advice="The best guess is arm 1 at some places and arm 0 at others: take the larger probability at each.",
            replaces={"bayes_accuracy": bayes_with(lambda p, q: np.mean(q / (p + q)))},
            variants=({"bayes_accuracy": bayes_with(lambda p, q: np.mean(p / (p + q)))},),
        ),
        Mistake(
            name="averaged-before-the-maximum",
            advice="Choose the likelier arm at each place and then average; yours averages first and chooses once.",
            replaces={"bayes_accuracy": bayes_with(lambda p, q: max(np.mean(p / (p + q)), np.mean(q / (p + q))))},
            variants=({"bayes_accuracy": bayes_with(lambda p, q: max(p.mean(), q.mean()) / (p.mean() + q.mean()))},),
        ),
        Mistake(
            name="certainty-rounded-up",
            advice="Counting every place as right where one arm is likelier says 100 %: count its probability.",
            replaces={"bayes_accuracy": bayes_with(lambda p, q: np.mean(p != q))},
        ),
    ),
)

# --- folds -----------------------------------------------------------------------------------------------------------


def asked_folds(student: Any, y: Any, k: int, seed: int) -> list[tuple[Array, Array]]:
    """The student's folds: k pairs of whole indices within 0..N-1, each sorted."""
    answer = student.stratified_folds(y, k, np.random.default_rng(seed))
    holds(
        type(answer) in (list, tuple) and len(answer) == k,
        f"a list of {k} pairs (train, test) is asked for; what came back is {describe(answer)}.",
    )
    folds = []
    for j, pair in enumerate(answer):
        parts = []
        for name, part in zip(("train", "test"), items(pair, ("train", "test"), f"fold {j}"), strict=True):
            what = f"{name} of fold {j}"
            holds(
                not isinstance(part, np.ndarray) or part.dtype != bool,
                f"{what} is a mask of truth values; np.flatnonzero makes indices of it.",
            )
            part = numbers(part, None, what)
            holds(part.ndim == 1, f"{what} should be a list of indices, one after the other.")
            inside = bool(np.all((part == np.round(part)) & (part >= 0) & (part < len(y))))
            holds(inside, f"{what} should hold indices, whole numbers from 0 to N - 1.")
            parts.append(np.sort(part.astype(np.int64)))
        folds.append((parts[0], parts[1]))
    return folds


LABELS = np.array([0] * 11 + [2] * 7 + [1] * 5)


@prop("every point is tested once, and never trained on at that time", 3, "stratified_folds")
def partition(student: Any, rng: Rng) -> None:
    for reason, y, k in (
        ("ten points, two classes, five folds", np.arange(10) % 2, 5),
        ("23 points, three classes, four folds", rng.permutation(LABELS), 4),
        ("the labels of eight points in a list", [0, 1, 1, 0, 0, 1, 0, 1], 2),
    ):
        folds = asked_folds(student, y, k, int(rng.integers(1 << 30)))
        with case_of(reason, student.transcript[-1][0]):
            tests = np.sort(np.concatenate([test for _, test in folds]))
            holds(
                np.array_equal(tests, np.arange(len(y))),
                "the test parts of all folds together should hold every index exactly once.",
            )
            for j, (train, test) in enumerate(folds):
                holds(not np.isin(train, test).any(), f"fold {j} trains on points that it is tested on.")
                holds(
                    np.array_equal(train, np.setdiff1d(np.arange(len(y)), test)),
                    f"fold {j} should train on all points that are not in its test part.",
                )


@prop("every fold has its share of every class", 3, "stratified_folds")
def fair_shares(student: Any, rng: Rng) -> None:
    for reason, y, k in (
        ("labels in order, all zeros first", np.repeat([0, 1], 12), 4),
        ("three classes of 11, 5 and 7", rng.permutation(LABELS), 3),
    ):
        folds = asked_folds(student, y, k, int(rng.integers(1 << 30)))
        with case_of(reason, student.transcript[-1][0]):
            for label in np.unique(y):
                counts = [int(np.sum(y[test] == label)) for _, test in folds]
                holds(
                    max(counts) - min(counts) <= 1,
                    f"class {label} is dealt out unevenly: the test parts should differ by one at most.",
                    f"They hold {', '.join(map(str, counts))} of it.",
                )


# Two seeds deal 20 points of each of two classes to four folds of five. A class can be dealt in 20! / 5!^4 = 1.17e10
# ways, so both classes agree by chance with probability 8e-21.
@statistical("shuffled by the generator, and by it alone", 2, "stratified_folds", false_alarm=1e-20)
def dealt_at_random(student: Any, rng: Rng) -> None:
    y, seed = np.arange(40) % 2, int(rng.integers(1 << 30))
    first, again, other = (asked_folds(student, y, 4, s) for s in (seed, seed, seed + 1))
    tests = [[test.tolist() for _, test in folds] for folds in (first, again, other)]
    with case_of("forty points, four folds"):
        holds(tests[0] == tests[1], "the same seed gave two different splits: some draw does not come from `rng`.")
        holds(tests[0] != tests[2], "two different seeds gave the same split: shuffle with `rng`.")


def folds_of(assign: Callable[..., Any]) -> Callable[..., Any]:
    """Folds from a function of (y, k, rng) that gives each point the number of its fold."""

    def wrong(y: Any, k: int, rng: Any) -> Any:
        y = np.asarray(y)
        of = assign(y, k, rng)
        return [(np.flatnonzero(of != j), np.flatnonzero(of == j)) for j in range(k)]

    return wrong


def dealt_by_class(y: Array, k: int, members_of: Callable[[Array], Array]) -> Array:
    of = np.zeros(len(y), dtype=np.int64)
    for label in np.unique(y):
        members = members_of(np.flatnonzero(y == label))
        of[members] = np.arange(len(members)) % k
    return of


def in_blocks(y: Array, k: int, order: Array) -> Array:
    of = np.zeros(len(y), dtype=np.int64)
    for j, part in enumerate(np.array_split(order, k)):
        of[part] = j
    return of


def folds_changed(change: Callable[[Array, Array], Any]) -> Callable[..., Any]:
    return lambda y, k, rng: [change(train, test) for train, test in splits.stratified_folds(y, k, rng)]


def remainder_dropped(y: Any, k: int, rng: Any) -> Any:
    y = np.asarray(y)
    parts = [rng.permutation(np.flatnonzero(y == label)) for label in np.unique(y)]
    tests = [np.concatenate([p[j * (len(p) // k) : (j + 1) * (len(p) // k)] for p in parts]) for j in range(k)]
    return [(np.setdiff1d(np.arange(len(y)), test), test) for test in tests]


STRATIFIED_FOLDS = Exercise(
    name="stratified_folds",
    title="Stratified folds",
    functions=("stratified_folds",),
    hints=(
        "Think of dealing cards: one class at a time, shuffled, one card to each fold in turn.",
        "np.flatnonzero(y == label) are the indices of a class. Give each of them, after the shuffle, the number of "
        "its fold: 0, 1, ..., k - 1, 0, 1, ...",
        "Keep an array fold_of with one entry for each point. For every class set fold_of[shuffled members] to "
        "np.arange(count) % k. Then fold j tests where fold_of is j and trains where it is not.",
    ),
    checks=(partition, fair_shares, dealt_at_random),
    mistakes=(
        Mistake(
            name="folds-in-data-order",
            advice="Cutting the data into blocks in their own order puts one class into a fold: shuffle, class by "
            "class.",
            replaces={"stratified_folds": folds_of(lambda y, k, rng: in_blocks(y, k, np.arange(len(y))))},
        ),
        Mistake(
            name="folds-not-stratified",
            advice="One shuffle of all points leaves the classes to chance: deal out each class by itself.",
            replaces={"stratified_folds": folds_of(lambda y, k, rng: in_blocks(y, k, rng.permutation(len(y))))},
            variants=({"stratified_folds": folds_of(lambda y, k, rng: rng.permutation(len(y)) % k)},),
        ),
        Mistake(
            name="classes-not-shuffled",
            advice="Each class is dealt out in its old order, so every seed gives the same folds: shuffle it with rng.",
            replaces={"stratified_folds": folds_of(lambda y, k, rng: dealt_by_class(y, k, lambda members: members))},
        ),
        Mistake(
            name="trained-on-everything",
            advice="The training part holds the test points too; leave them out, or the accuracy measures memory.",
            replaces={"stratified_folds": folds_changed(lambda train, test: (np.union1d(train, test), test))},
        ),
        Mistake(
            name="train-and-test-swapped",
            advice="Each pair is (train, test), the large part first; yours are the other way round.",
            replaces={"stratified_folds": folds_changed(lambda train, test: (test, train))},
        ),
        Mistake(
            name="remainder-never-tested",
            advice="Where k does not divide a class, the last few points are in no fold: deal them out too.",
            replaces={"stratified_folds": remainder_dropped},
        ),
        Mistake(
            name="folds-ignore-rng",
            advice="A generator made inside always shuffles alike: draw from the `rng` that you are given.",
            replaces={"stratified_folds": lambda y, k, rng: splits.stratified_folds(y, k, np.random.default_rng(0))},
            variants=(
                {"stratified_folds": lambda y, k, rng: splits.stratified_folds(y, k, np.random.default_rng(42))},
            ),
        ),
    ),
)

# --- cross-validation ------------------------------------------------------------------------------------------------


def nearest_mean(X_train: Any, y_train: Any, X_test: Any) -> Array:
    """A small model: the class whose mean is nearest."""
    X_train, y_train = f64(X_train), np.asarray(y_train)
    classes = np.unique(y_train)
    means = np.array([X_train[y_train == label].mean(axis=0) for label in classes])
    return classes[prerequisites.squared_distances(f64(X_test), means).argmin(axis=1)]


class Study(msgspec.Struct, frozen=True):
    """Points, labels and folds of unequal size."""

    X: Array
    y: Array
    folds: list[tuple[Array, Array]]

    def scores(self, fit_predict: Callable[..., Array] = nearest_mean) -> Array:
        def fit(X: Array, y: Array) -> Any:
            return lambda points: fit_predict(X, y, points)

        return splits.cross_val_accuracy(fit, self.X, self.y, self.folds)


def draw_study(rng: Rng) -> Study:
    """A study on which learning from the wrong part, or being asked about it, changes the accuracies."""
    while True:
        X, y, order = rng.normal(size=(24, 2)), rng.permutation(np.arange(24) % 3), rng.permutation(24)
        tests = [np.sort(part) for part in (order[:9], order[9:17], order[17:])]
        study = Study(X, y, [(np.setdiff1d(order, test), test) for test in tests])
        found = [study.scores().tolist()]
        found += [wrong(nearest_mean, X, y, study.folds).tolist() for wrong in OTHER_PARTS]
        if all(found.count(scores) == 1 for scores in found):
            return study


def cross_val_with(
    train_of: Callable[..., Any] = lambda train, test: train,
    test_of: Callable[..., Any] = lambda train, test: test,
    score: Callable[..., Any] = lambda predicted, truth: np.mean(predicted == truth),
    gather: Callable[..., Any] = np.array,
) -> Callable[..., Any]:
    """Cross-validation with one of its parts replaced."""

    def wrong(fit_predict: Any, X: Any, y: Any, folds: Any) -> Any:
        X, y, scores = f64(X), np.asarray(y), []
        for train, test in folds:
            learn, ask = train_of(train, test), test_of(train, test)
            scores.append(score(np.asarray(fit_predict(X[learn], y[learn], X[ask])), y[ask]))
        return gather(scores)

    return wrong


cross_val_asked_again = cross_val_with(test_of=lambda train, test: train)
cross_val_knows_all = cross_val_with(train_of=lambda train, test: np.union1d(train, test))
cross_val_swapped = cross_val_with(lambda train, test: test, lambda train, test: train)
OTHER_PARTS = (cross_val_asked_again, cross_val_knows_all, cross_val_swapped)


@prop("the share of right labels, fold by fold", 3, "cross_val_accuracy")
def held_out_accuracy(student: Any, rng: Rng) -> None:
    for reason, model in (
        ("a model that says which class has the nearest mean", nearest_mean),
        ("a model that always says 1", lambda X_train, y_train, X_test: np.ones(len(X_test), dtype=np.int64)),
    ):
        study = draw_study(rng)
        got = student.cross_val_accuracy(Callback(model, "fit_predict"), study.X, study.y, study.folds)
        with case_of(reason, student.transcript[-1][0]):
            same(got, study.scores(model), "the list of accuracies")
    study = draw_study(rng)
    listed = study.X.tolist(), study.y.tolist(), [(train.tolist(), test.tolist()) for train, test in study.folds]
    got = student.cross_val_accuracy(Callback(nearest_mean, "fit_predict"), *listed)
    with case_of("points, labels and folds in plain lists", student.transcript[-1][0]):
        same(got, study.scores(), "the list of accuracies")


@prop("the model learns from the training part and is asked about the test part", 3, "cross_val_accuracy")
def right_parts(student: Any, rng: Rng) -> None:
    study, asked = draw_study(rng), list[tuple[Any, ...]]()

    def recorded(X_train: Any, y_train: Any, X_test: Any) -> Array:
        asked.append((np.asarray(X_train), np.asarray(y_train), np.asarray(X_test)))
        return nearest_mean(X_train, y_train, X_test)

    student.cross_val_accuracy(Callback(recorded, "fit_predict"), study.X, study.y, study.folds)
    with case_of("three folds of nine, eight and seven points", student.transcript[-1][0]):
        holds(
            len(asked) == 3,
            f"`fit_predict` was called {len(asked)} times for 3 folds; call it once for each fold.",
        )
        for j, ((train, test), given) in enumerate(zip(study.folds, asked, strict=True)):
            want = (study.X[train], study.y[train], study.X[test])
            for part, got, right in zip(("X_train", "y_train", "X_test"), given, want, strict=True):
                same(got, right, f"{part}, as fit_predict got it for fold {j},")


CROSS_VAL = Exercise(
    name="cross_val_accuracy",
    title="Accuracy on points that were held out",
    functions=("cross_val_accuracy",),
    hints=(
        "Which labels may the model see, and which only you, afterwards?",
        "An index array picks rows: X[train] and y[train] go to fit_predict, with X[test]. Compare what comes back "
        "with y[test].",
        "Loop over the pairs of folds; append np.mean(predicted == y[test]) to a list; return the list as an array.",
    ),
    checks=(held_out_accuracy, right_parts),
    mistakes=(
        Mistake(
            name="scored-on-training-points",
            advice="The model is asked about the points it has learned from; a good memory would look perfect. Hold "
            "out.",
            replaces={"cross_val_accuracy": cross_val_asked_again},
        ),
        Mistake(
            name="fitted-on-all-points",
            advice="The model has seen the test points while learning; give it the training part only.",
            replaces={"cross_val_accuracy": cross_val_knows_all},
        ),
        Mistake(
            name="trained-on-the-test-part",
            advice="Train and test are swapped: each pair of folds is (train, test).",
            replaces={"cross_val_accuracy": cross_val_swapped},
        ),
        Mistake(
            name="mean-of-the-folds",
            advice="One accuracy for each fold is asked for; their mean hides how much they differ.",
            replaces={"cross_val_accuracy": cross_val_with(gather=np.mean)},
        ),
        Mistake(
            name="errors-counted",
            advice="The share of wrong labels is the error; the accuracy is the share of right ones.",
            replaces={"cross_val_accuracy": cross_val_with(score=lambda p, truth: np.mean(p != truth))},
        ),
        Mistake(
            name="hits-not-divided",
            advice="The number of right labels grows with the fold: divide by how many there are.",
            replaces={"cross_val_accuracy": cross_val_with(score=lambda p, truth: np.sum(p == truth))},
        ),
    ),
)

# --- logistic regression ---------------------------------------------------------------------------------------------


def right_logistic(X: Any, y: Any, lr: float = 0.5, steps: int = 500) -> tuple[Array, float]:
    w, b, _ = logistic.logistic_fit(X, y, lr, steps)
    return w, b


def classed(n: int, d: int, lr: float, steps: int) -> Any:
    """Draws points whose label depends on them, with exceptions; both classes are there."""

    def draw(rng: Rng) -> tuple[Array, Array, float, int]:
        X = rng.normal(size=(n, d)) + 0.5
        y = (X @ np.resize([1.0, -2.0], d) + rng.normal(size=n) > 0).astype(np.int64)
        y[:2] = [0, 1]
        return X, y, lr, steps

    return draw


def parted(rng: Rng) -> tuple[Array, Array]:
    """Points on two sides of 0: their weight never comes to rest, so that it tells how many steps were taken."""
    y = rng.permutation(np.arange(8) % 2)
    return ((2 * y - 1) * rng.uniform(0.3, 1.5, size=8))[:, None], y


@prop(
    "near chance on the spirals, at home with the feature",
    2,
    "logistic_fit",
    "cross_val_accuracy",
    "logistic_fit_predict",
)
def baseline(student: Any, rng: Rng) -> None:
    X, y = right_spirals(60, spirals.NOISE, rng)
    folds = splits.stratified_folds(y, 5, rng)
    model = Function("logistic_fit_predict")
    # On 300 drawn data sets the right answer stays within 0.40 and 0.55, and with the feature above 0.97.
    with case_of("the two spirals, five folds"):
        scores = numbers(student.cross_val_accuracy(model, X, y, folds), (5,), "the accuracies")
        mean = float(scores.mean())
        holds(
            0.35 < mean < 0.65,
            "a line through the two spirals should be right on about half of the held-out points.",
            f"It is right on {mean:.1%} of them.",
        )
    with case_of("the polar feature as the only input, five folds"):
        feature = spirals.polar_feature(X)[:, None]
        scores = numbers(student.cross_val_accuracy(model, feature, y, folds), (5,), "the accuracies")
        holds(
            float(scores.mean()) > 0.9,
            "with the polar feature for an input, almost every held-out point should be right.",
            f"It is right on {float(scores.mean()):.1%} of them.",
        )


def logistic_with(
    error: Callable[..., Any] = lambda z, y: ref_sigmoid(z) - y,
    share: Callable[[int], float] = lambda n: 1.0 / n,
    bias: Callable[..., Any] = lambda b, db, lr: b - lr * db,
    fresh_bias: bool = False,
    extra: int = 0,
) -> Callable[..., Any]:
    """Gradient descent with one of its parts replaced."""

    def wrong(X: Any, y: Any, lr: float = 0.5, steps: int = 500) -> Any:
        X, y = f64(X), f64(y)
        w, b = np.zeros(X.shape[1]), 0.0
        for _ in range(steps + extra):
            e = error(X @ w + b, y)
            w = w - lr * X.T @ e * share(len(y))
            if fresh_bias:
                e = error(X @ w + b, y)
            b = bias(b, float(e.sum()) * share(len(y)), lr)
        return w, b

    return wrong


LOGISTIC_FIT = Exercise(
    name="logistic_fit",
    title="The linear baseline",
    functions=("logistic_fit",),
    hints=(
        "It is gradient descent on two parameters at once, w and b; both gradients need the same p - y.",
        "X @ w + b are all scores, sigmoid makes them probabilities, minus y gives the errors. Both gradients are "
        "means over the points, weighted by X for w.",
        "In each step: error = sigmoid(X @ w + b) - y; dw is X.T @ error over N, db the mean of error; then w and b "
        "move by lr times these.",
    ),
    checks=(
        numeric(
            "a few steps",
            3,
            "logistic_fit",
            right_logistic,
            [
                Case("one step from zero", classed(7, 3, 0.7, 1)),
                Case("three steps, two inputs", classed(9, 2, 0.5, 3)),
                Case("a single input", classed(5, 1, 1.0, 2)),
            ],
        ),
        numeric(
            "many steps, and none",
            1,
            "logistic_fit",
            right_logistic,
            [
                Case("forty steps", classed(12, 2, 0.5, 40)),
                Case("no step: still zero", classed(6, 2, 0.5, 0)),
                Case("plain lists", lambda rng: ([[1, 2], [-1, 0], [0, 1]], [1, 0, 0], 0.5, 2)),
                Case("the rate and the steps left as they are", parted),
            ],
        ),
        baseline,
        unchanged(1, {"logistic_fit": classed(6, 2, 0.5, 3)}),
    ),
    mistakes=(
        Mistake(
            name="logistic-gradient-summed",
            advice="The loss is a mean over the points, and so are its gradients: divide both by N.",
            replaces={"logistic_fit": logistic_with(share=lambda n: 1.0)},
        ),
        Mistake(
            name="logistic-climbs",
            advice="The error is p - y and the gradient is subtracted; yours moves away from the labels.",
            replaces={"logistic_fit": logistic_with(error=lambda z, y: y - ref_sigmoid(z))},
        ),
        Mistake(
            name="logistic-without-bias",
            advice="b never moves: it has a gradient too, the mean of p - y.",
            replaces={"logistic_fit": logistic_with(bias=lambda b, db, lr: b)},
        ),
        Mistake(
            name="logistic-without-sigmoid",
            advice="Without the sigmoid this is a straight-line fit to the labels; p is a probability.",
            replaces={"logistic_fit": logistic_with(error=lambda z, y: z - y)},
        ),
        Mistake(
            name="bias-rate-forgotten",
            advice="The step of b is lr times its gradient, as for w.",
            replaces={"logistic_fit": logistic_with(bias=lambda b, db, lr: b - db)},
        ),
        Mistake(
            name="bias-after-the-weights-moved",
            advice="The gradient of b was taken at the new w: compute both gradients before anything moves.",
            replaces={"logistic_fit": logistic_with(fresh_bias=True)},
        ),
        Mistake(
            name="labels-of-plus-and-minus-one",
            advice="The labels are 0 and 1 here; turning them into -1 and 1 needs another formula for the gradient.",
            replaces={"logistic_fit": logistic_with(error=lambda z, y: ref_sigmoid(z) - (2 * y - 1))},
        ),
        Mistake(
            name="logistic-one-step-less",
            advice="One step is missing: the loop should run `steps` times.",
            replaces={"logistic_fit": logistic_with(extra=-1)},
        ),
    ),
)


# --- the picture -----------------------------------------------------------------------------------------------------


def draw_picture(student: Any, figure: Any) -> None:
    """The two spirals with the probability of the linear model, and the same points in the feature found by hand."""
    left, right = figure.subplots(1, 2)
    noise, colors = 0.03, ("#c0392b", "#2471a3")
    X, y = items(student.make_spirals(250, noise, np.random.default_rng(300)), ("X", "y"))
    X, y = numbers(X, (500, 2), "X"), numbers(y, (500,), "y").astype(np.int64)
    folds = splits.stratified_folds(y, 5, np.random.default_rng(5))
    model = Function("logistic_fit_predict")
    feature = numbers(student.polar_feature(X), (500,), "the feature")
    lines, by_hand = (
        float(np.mean(numbers(student.cross_val_accuracy(model, inputs, y, folds), (5,))))
        for inputs in (X, feature[:, None])
    )
    best = float(numbers(student.bayes_accuracy(X, noise), (), "the accuracy"))
    w, b = items(student.logistic_fit(X, y), ("w", "b"))
    axis = np.linspace(-1.15, 1.15, 60)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    p = numbers(student.sigmoid(grid @ numbers(w, (2,), "w") + float(numbers(b, (), "b"))), (3600,), "the probability")
    shown = left.pcolormesh(axis, axis, p.reshape(60, 60), cmap="RdBu", vmin=0.3, vmax=0.7, alpha=0.5, rasterized=True)
    figure.colorbar(shown, ax=left, label="logistic regression: probability of arm 1", shrink=0.8)
    for arm in (0, 1):
        at = y == arm
        left.scatter(*X[at].T, s=9, color=colors[arm], label=f"arm {arm}")
        right.scatter(np.hypot(*X[at].T), feature[at], s=9, color=colors[arm], label=f"arm {arm}")
    left.set(xlabel="x", ylabel="y", aspect="equal", title=f"A line: {lines:.1%} of held-out points right")
    right.axhline(0, color="0.5", lw=0.8)
    right.set(
        xlabel="distance from the centre",
        ylabel="polar feature cos(angle - theta)",
        ylim=(-1.15, 1.15),
        title=f"One feature found by hand: {by_hand:.1%}\n(best possible on average: {best:.2%})",
    )
    right.legend(frameon=True, fontsize=8, loc="center left")


CHAPTER = Chapter(
    id="ch300",
    slug="two_spirals",
    title="Deep Learning: The Two-Spiral Problem",
    part="Foundations",
    summary="What the course takes for granted, the two spirals that no line separates, how well anybody could do on "
    "them, and a baseline measured honestly.",
    exercises=(
        AFFINE,
        CHAIN_RULE,
        GRADIENT_DESCENT,
        SIGMOID,
        MEAN_AND_VARIANCE,
        ENTROPY_OF,
        KL,
        SQUARED_DISTANCES,
        SPIRAL_CURVE,
        MAKE_SPIRALS,
        POLAR_FEATURE,
        ARM_DENSITY,
        BAYES_ACCURACY,
        STRATIFIED_FOLDS,
        CROSS_VAL,
        LOGISTIC_FIT,
    ),
    picture=Picture(title="The problem of the course, and what a line makes of it", draw=draw_picture),
)
