"""Checks of chapter 331: gradients, integrated gradients, Shapley values, local lines, permutation importance."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from dlreference import interpret as ref

from dlgrade.course.compare import holds, items, numbers, same
from dlgrade.course.kinds import Case, GradientCase, Rng, case_of, gradient, numeric, prop, unchanged
from dlgrade.course.spec import Chapter, Check, Exercise, Mistake, Picture
from dlgrade.sandbox.protocol import Callback

Array = np.ndarray[Any, Any]
Params = dict[str, Any]
Model = Callable[[Array], Array]


def floats(*arrays: Any) -> tuple[Array, ...]:
    return tuple(np.asarray(a, dtype=np.float64) for a in arrays)


def net_params(rng: Rng, d: int, hidden: int) -> Params:
    return {
        "W1": rng.normal(size=(hidden, d)),
        "b1": rng.normal(size=hidden),
        "W2": rng.normal(size=hidden),
        "b2": float(rng.normal()),
    }


def net(params: Params) -> tuple[Model, Model]:
    """The chapter's network with these parameters, and its gradient, as functions of points (M, D)."""
    W1, b1, W2 = floats(params["W1"], params["b1"], params["W2"])

    def value(X: Array) -> Array:
        return np.tanh(np.asarray(X, dtype=np.float64) @ W1.T + b1) @ W2 + params["b2"]

    def slope(X: Array) -> Array:
        return (W2 * (1 - np.tanh(np.asarray(X, dtype=np.float64) @ W1.T + b1) ** 2)) @ W1

    return value, slope


def polynomial(c: Array) -> tuple[Model, Model]:
    """c0 x0^3 + c1 x0 x1 + c2 x2, whose gradient changes along any path, and which never uses input 3."""

    def value(X: Array) -> Array:
        X = np.asarray(X, dtype=np.float64)
        return c[0] * X[:, 0] ** 3 + c[1] * X[:, 0] * X[:, 1] + c[2] * X[:, 2]

    def slope(X: Array) -> Array:
        X = np.asarray(X, dtype=np.float64)
        columns = [3 * c[0] * X[:, 0] ** 2 + c[1] * X[:, 1], c[1] * X[:, 0], np.full(len(X), c[2]), np.zeros(len(X))]
        return np.stack(columns, axis=1)

    return value, slope


def drawn_models(rng: Rng) -> list[tuple[str, tuple[Model, Model], Array, Array]]:
    """Models of different kinds with a point and a baseline each: (what it is, (value, gradient), x, baseline)."""
    c, w = rng.normal(size=3) + 1.5, rng.normal(size=3)
    line = (lambda X: np.asarray(X) @ w + 1.0, lambda X: np.tile(w, (len(np.asarray(X)), 1)))
    return [
        ("a polynomial", polynomial(c), rng.normal(size=4) + 1, rng.normal(size=4)),
        ("a small network", net(net_params(rng, 3, 5)), rng.normal(size=3), rng.normal(size=3)),
        ("a straight line", line, rng.normal(size=3), np.zeros(3)),
        ("a single input", polynomial_of_one(), np.array([2.0]), np.array([0.5])),
    ]


def polynomial_of_one() -> tuple[Model, Model]:
    return (lambda X: np.asarray(X)[:, 0] ** 3, lambda X: 3 * np.asarray(X) ** 2)


# --- input gradient --------------------------------------------------------------------------------------------------


def right_input_gradient(X: Array, params: Params) -> Array:
    stacked = {**params, "W2": np.asarray(params["W2"])[None], "b2": np.array([params["b2"]])}
    return ref.input_gradient(stacked, X, activation="tanh")


def ig_of_loss(X: Array, params: Params) -> Array:
    p = 1 / (1 + np.exp(-net(params)[0](X)))
    return (p * (1 - p))[:, None] * right_input_gradient(X, params)


def ig_no_slope(X: Array, params: Params) -> Array:
    W1, W2 = floats(params["W1"], params["W2"])
    return np.tile(W2 @ W1, (len(np.asarray(X)), 1))


def ig_slope_of_z(X: Array, params: Params) -> Array:
    X, W1, b1, W2 = floats(X, params["W1"], params["b1"], params["W2"])
    return (W2 * (1 - (X @ W1.T + b1) ** 2)) @ W1


def input_gradient_draw(rng: Rng, m: int, d: int, h: int, far: float = 0.0) -> dict[str, Any]:
    params = net_params(rng, d, h)
    return {"X": rng.normal(size=(m, d)), "params": {**params, "b2": params["b2"] + far}, "dout": rng.normal(size=m)}


def scaled_gradient(student: Any, i: dict[str, Any]) -> dict[str, Any]:
    found = numbers(student.input_gradient(i["X"], i["params"]), i["X"].shape, "the gradient")
    return {"X": found * i["dout"][:, None]}


INPUT_GRADIENT = Exercise(
    name="input_gradient",
    title="The gradient of the output",
    functions=("input_gradient",),
    hints=(
        "Which way does a small change of input d travel to the output? Through every hidden unit.",
        "Each hidden unit contributes its W2, times its slope 1 - tanh squared, times its weight from input d.",
        "hidden = tanh(X @ W1.T + b1) is (M, H); W2 * (1 - hidden**2) is (M, H) too, and @ W1 makes it (M, D).",
    ),
    checks=(
        gradient(
            "the gradient at several points",
            11,
            ("input_gradient",),
            [
                GradientCase(
                    "three points, four inputs, six hidden units", lambda rng: input_gradient_draw(rng, 3, 4, 6)
                ),
                GradientCase("a single point", lambda rng: input_gradient_draw(rng, 1, 3, 3)),
                GradientCase("an output far from zero", lambda rng: input_gradient_draw(rng, 2, 3, 4, 1e6)),
            ],
            value=lambda student, i: net(i["params"])[0](i["X"]),
            grads=scaled_gradient,
            reference=lambda i: {"X": right_input_gradient(i["X"], i["params"]) * i["dout"][:, None]},
            names={"X": "the gradient, weighted point by point,"},
        ),
        unchanged(1, {"input_gradient": lambda rng: (rng.normal(size=(2, 3)), net_params(rng, 3, 4))}),
    ),
    mistakes=(
        Mistake(
            name="gradient-of-a-probability",
            advice="The gradient of the output itself is asked for; yours goes on through a sigmoid or a loss.",
            replaces={"input_gradient": ig_of_loss},
        ),
        Mistake(
            name="hidden-slopes-missing",
            advice="Between W2 and W1 lies the tanh: multiply by 1 - tanh squared of each hidden unit.",
            replaces={"input_gradient": ig_no_slope},
        ),
        Mistake(
            name="slope-from-before-the-tanh",
            advice="The slope is 1 - tanh(z) squared; yours has z itself where tanh(z) belongs.",
            replaces={"input_gradient": ig_slope_of_z},
        ),
        Mistake(
            name="signs-lost",
            advice="An input that pushes the output down has a negative gradient: take no absolute values.",
            replaces={"input_gradient": lambda X, params: np.abs(right_input_gradient(X, params))},
        ),
    ),
)


# --- attributions by gradients ---------------------------------------------------------------------------------------


def attribution_check(
    name: str, points: int, function: str, right: Callable[..., Array], which: int, *args: Any
) -> Check:
    """The student's attributions equal the reference's on drawn models, given the value (0) or the gradient (1)."""

    @prop(name, points, function)
    def check(student: Any, rng: Rng) -> None:
        for kind, pair, x, baseline in drawn_models(rng):
            call_name = "f" if which == 0 else "gradient"
            got = student.call(function, Callback(pair[which], call_name), x, baseline, *args)
            with case_of(kind, student.transcript[-1][0]):
                same(got, right(pair[which], x, baseline, *args), "the array of attributions")

    return check


def explained(which: int, *args: Any) -> Callable[[Rng], tuple[Any, ...]]:
    """What an attribution is given: a polynomial's value (0) or gradient (1), a point, a baseline."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        pair = polynomial(rng.normal(size=3))
        callback = Callback(pair[which], "f" if which == 0 else "gradient")
        return callback, rng.normal(size=4), rng.normal(size=4), *args

    return draw


def gti(slope: Model, x: Array, baseline: Array) -> Array:
    x, baseline = floats(x, baseline)
    return ref.gradient_times_input(slope, x[None], baseline)[0]


def gti_no_baseline(slope: Model, x: Array, baseline: Array) -> Array:
    return gti(slope, x, np.zeros_like(x))


def gti_only_gradient(slope: Model, x: Array, baseline: Array) -> Array:
    return np.asarray(slope(np.asarray(x)[None]))[0]


def gti_at_baseline(slope: Model, x: Array, baseline: Array) -> Array:
    x, baseline = floats(x, baseline)
    return (x - baseline) * np.asarray(slope(baseline[None]))[0]


GRADIENT_TIMES_INPUT = Exercise(
    name="gradient_times_input",
    title="Gradient times input",
    functions=("gradient_times_input",),
    hints=(
        "How far did each input move from its baseline, and what is each unit of that worth?",
        "One call of gradient, at x; it wants points (M, D), so give it x with a new first axis.",
        "(x - baseline) times the first row of gradient(x[None]).",
    ),
    checks=(
        attribution_check("distance times slope, input by input", 9, "gradient_times_input", gti, 1),
        unchanged(1, {"gradient_times_input": explained(1)}),
    ),
    mistakes=(
        Mistake(
            name="baseline-not-subtracted",
            advice="What counts is how far the input is from its baseline: x - baseline, not x.",
            replaces={"gradient_times_input": gti_no_baseline},
        ),
        Mistake(
            name="gradient-alone",
            advice="A gradient is a sensitivity; times x - baseline it becomes a contribution.",
            replaces={"gradient_times_input": gti_only_gradient},
        ),
        Mistake(
            name="gradient-at-the-baseline",
            advice="The gradient is taken at x, the point that is explained.",
            replaces={"gradient_times_input": gti_at_baseline},
        ),
        Mistake(
            name="attribution-without-sign",
            advice="A contribution can be negative: take no absolute values.",
            replaces={"gradient_times_input": lambda slope, x, baseline: np.abs(gti(slope, x, baseline))},
        ),
    ),
)


def ig(slope: Model, x: Array, baseline: Array, steps: int = 50) -> Array:
    x, baseline = floats(x, baseline)
    return ref.integrated_gradients(slope, x[None], baseline, steps)[0]


def ig_with(shares: Callable[[int], Array], far: bool = True) -> Callable[..., Array]:
    """Integrated gradients at other shares of the way, or without the factor x - baseline."""

    def attributions(slope: Model, x: Array, baseline: Array, steps: int = 50) -> Array:
        x, baseline = floats(x, baseline)
        points = baseline + shares(steps)[:, None] * (x - baseline)
        mean = np.asarray(slope(points)).mean(axis=0)
        return mean * (x - baseline) if far else mean

    return attributions


def middle(steps: int) -> Array:
    return (np.arange(steps) + 0.5) / steps


@prop("attributions add up to f(x) - f(baseline)", 5, "integrated_gradients")
def complete(student: Any, rng: Rng) -> None:
    for kind, (value, slope), x, baseline in drawn_models(rng):
        got = numbers(
            student.integrated_gradients(Callback(slope, "gradient"), x, baseline, 400), x.shape, "the result"
        )
        gap = float(value(x[None])[0] - value(baseline[None])[0])
        # The midpoint rule is off by the path's third derivative over 24 steps^2, at most 1e-3 for these models.
        with case_of(kind, student.transcript[-1][0]):
            same(got.sum(), gap, "the sum of the attributions", rtol=1e-3, atol=1e-3)


@prop("two steps, and a single one in the middle of the way", 3, "integrated_gradients")
def few_steps(student: Any, rng: Rng) -> None:
    for kind, (_, slope), x, baseline in drawn_models(rng):
        for steps in (2, 1):
            got = student.integrated_gradients(Callback(slope, "gradient"), x, baseline, steps)
            with case_of(kind, student.transcript[-1][0]):
                same(got, ig(slope, x, baseline, steps), "the array of attributions")


INTEGRATED_GRADIENTS = Exercise(
    name="integrated_gradients",
    title="Integrated gradients",
    functions=("integrated_gradients",),
    hints=(
        "Walk from the baseline to x in small steps, and ask for the gradient in the middle of each.",
        "All points at once: shares of the way as a column, times x - baseline as a row, plus the baseline.",
        "shares = (0.5, 1.5, ...) / steps. The mean of the gradients over the points, times (x - baseline).",
    ),
    checks=(
        attribution_check("the mean of the gradients at the midpoints", 10, "integrated_gradients", ig, 1, 7),
        few_steps,
        attribution_check("fifty steps unless told otherwise", 3, "integrated_gradients", ig, 1),
        complete,
        unchanged(1, {"integrated_gradients": explained(1, 5)}),
    ),
    mistakes=(
        Mistake(
            name="left-ends-of-the-steps",
            advice="Take the gradient in the middle of each step, (k + 1/2) / steps; yours takes its beginning.",
            replaces={"integrated_gradients": ig_with(lambda n: np.arange(n) / n)},
        ),
        Mistake(
            name="right-ends-of-the-steps",
            advice="Take the gradient in the middle of each step, (k + 1/2) / steps; yours takes its end.",
            replaces={"integrated_gradients": ig_with(lambda n: (np.arange(n) + 1) / n)},
        ),
        Mistake(
            name="both-ends-counted-fully",
            advice="linspace from 0 to 1 gives both ends the weight of a whole step: use the midpoints.",
            replaces={"integrated_gradients": ig_with(lambda n: np.linspace(0, 1, n))},
        ),
        Mistake(
            name="distance-factor-missing",
            advice="The mean gradient must be multiplied by x - baseline, or the attributions do not add up.",
            replaces={"integrated_gradients": ig_with(middle, far=False)},
        ),
        Mistake(
            name="gradient-only-at-x",
            advice="Where a unit is saturated its gradient at x is zero: average over the way from the baseline.",
            replaces={"integrated_gradients": ig_with(lambda n: np.ones(n))},
        ),
        Mistake(
            name="baseline-ignored",
            advice="The way begins at the baseline that is given, not at zero.",
            replaces={"integrated_gradients": lambda s, x, b, steps=50: ig(s, x, np.zeros_like(x), steps)},
        ),
        Mistake(
            name="gradients-summed-not-averaged",
            advice="The mean of the gradients is asked for; a sum grows with the number of steps.",
            replaces={"integrated_gradients": lambda s, x, b, steps=50: steps * ig(s, x, b, steps)},
        ),
    ),
)

# --- Shapley ---------------------------------------------------------------------------------------------------------


def shapley(f: Model, x: Array, baseline: Array) -> Array:
    return ref.shapley_attributions(f, x, baseline)


def shapley_weighted(weight: Callable[[int, int], float]) -> Callable[..., Array]:
    """Sums of what an input adds to each subset of the others, with another weight for a subset of that size."""

    def values(f: Model, x: Array, baseline: Array) -> Array:
        x, baseline = floats(x, baseline)
        n = len(x)
        members = ref.coalitions(n)
        worth = np.asarray(f(np.where(members, x, baseline)))
        out = np.zeros(n)
        for i in range(n):
            for s in np.flatnonzero(~members[:, i]):
                out[i] += weight(n, int(members[s].sum())) * (worth[s | 1 << i] - worth[s])
        return out

    return values


def shapley_alone(f: Model, x: Array, baseline: Array) -> Array:
    x, baseline = floats(x, baseline)
    only = np.where(np.eye(len(x), dtype=bool), x, baseline)
    return np.asarray(f(only)) - np.asarray(f(baseline[None]))[0]


def shapley_left_out(f: Model, x: Array, baseline: Array) -> Array:
    x, baseline = floats(x, baseline)
    without = np.where(np.eye(len(x), dtype=bool), baseline, x)
    return np.asarray(f(x[None]))[0] - np.asarray(f(without))


def shapley_one_order(f: Model, x: Array, baseline: Array) -> Array:
    x, baseline = floats(x, baseline)
    path = np.where(np.tri(len(x) + 1, len(x), k=-1, dtype=bool), x, baseline)
    return np.diff(np.asarray(f(path)))


@prop("they add up, and an unused input gets nothing", 5, "shapley_values")
def efficient(student: Any, rng: Rng) -> None:
    value, _ = polynomial(rng.normal(size=3) + 1)
    x, baseline = rng.normal(size=4), rng.normal(size=4)
    got = numbers(student.shapley_values(Callback(value, "f"), x, baseline), (4,), "the values")
    gap = float(value(x[None])[0] - value(baseline[None])[0])
    with case_of("a function that never uses input 3", student.transcript[-1][0]):
        same(got.sum(), gap, "the sum of the values, compared with f(x) - f(baseline),")
        same(got[3], 0.0, "the value of input 3, which f never uses,")


@prop("six inputs that only count together", 3, "shapley_values")
def unanimity(student: Any, rng: Rng) -> None:
    x = rng.uniform(0.5, 1.5, size=6)
    got = student.shapley_values(Callback(lambda X: np.prod(np.asarray(X), axis=1), "f"), x, np.zeros(6))
    with case_of("a product of six inputs", student.transcript[-1][0]):
        same(got, np.full(6, np.prod(x) / 6), "the array of values, which should all be a sixth of the product,")


SHAPLEY = Exercise(
    name="shapley_values",
    title="Exact Shapley values",
    functions=("shapley_values",),
    hints=(
        "With three inputs there are eight subsets. For each input, four of them are without it: list them.",
        "Evaluate f for every subset once, absent inputs at their baseline, and look the values up; numbers "
        "whose bits say "
        "who is present make good names for subsets.",
        "For input i and each subset S without it: the weight is |S|! (D - |S| - 1)! / D!, and s | (1 << i) is "
        "the number "
        "of the subset with i added.",
    ),
    checks=(
        attribution_check("what each input adds, over all orders", 13, "shapley_values", shapley, 0),
        efficient,
        unanimity,
        unchanged(1, {"shapley_values": explained(0)}),
    ),
    mistakes=(
        Mistake(
            name="subsets-weighted-alike",
            advice="Subsets of different size stand for different numbers of orders: the weight is |S|! (D - "
            "|S| - 1)! / D!.",
            replaces={"shapley_values": shapley_weighted(lambda n, s: 1 / 2 ** (n - 1))},
        ),
        Mistake(
            name="weights-not-divided",
            advice="The weights of one input add up to one: divide by D!.",
            replaces={"shapley_values": shapley_weighted(lambda n, s: math.factorial(s) * math.factorial(n - s - 1))},
        ),
        Mistake(
            name="weights-off-by-one",
            advice="There are D - |S| - 1 inputs still to come after S and i: mind the minus one.",
            replaces={
                "shapley_values": shapley_weighted(
                    lambda n, s: math.factorial(s) * math.factorial(n - s) / math.factorial(n)
                )
            },
        ),
        Mistake(
            name="each-input-alone",
            advice="What an input adds depends on who is there already: average over all subsets, not only the "
            "empty one.",
            replaces={"shapley_values": shapley_alone},
        ),
        Mistake(
            name="each-input-left-out",
            advice="Leaving an input out of the full set is one comparison of many: average over all subsets.",
            replaces={"shapley_values": shapley_left_out},
        ),
        Mistake(
            name="one-order-only",
            advice="Joining in one fixed order favours some inputs: average over all orders.",
            replaces={"shapley_values": shapley_one_order},
        ),
        Mistake(
            name="absent-means-zero",
            advice="An absent input has its baseline's value, which need not be zero.",
            replaces={"shapley_values": lambda f, x, baseline: shapley(f, x, np.zeros_like(x))},
        ),
    ),
)

# --- LIME ------------------------------------------------------------------------------------------------------------


def lime(points: Array, values: Array, x: Array, kernel_width: float, penalty: float) -> Any:
    return ref.weighted_ridge(points, values, ref.proximity(points, x, kernel_width), penalty)


def lime_with(
    weights: Callable[[Array, float], Array] = lambda d2, width: np.exp(-d2 / width**2),
    all_penalised: bool = False,
    intercept: bool = True,
    ridge: bool = True,
) -> Callable[..., Any]:
    """A local line with other weights (from squared distances), penalty or intercept."""

    def fit(points: Array, values: Array, x: Array, kernel_width: float, penalty: float) -> Any:
        points, values, x = floats(points, values, x)
        w = weights(((points - x) ** 2).sum(axis=1), kernel_width)
        design = np.column_stack([points, np.ones(len(points))]) if intercept else points
        extra = penalty * ridge * np.eye(design.shape[1])
        if intercept and not all_penalised:
            extra[-1, -1] = 0.0
        found = np.linalg.solve(design.T @ (w[:, None] * design) + extra, design.T @ (w * values))
        return (found[:-1], found[-1]) if intercept else (found, 0.0)

    return fit


def lime_draw(m: int, d: int, width: float, penalty: float) -> Callable[[Rng], tuple[Any, ...]]:
    def draw(rng: Rng) -> tuple[Any, ...]:
        x = rng.normal(size=d)
        points = x + rng.normal(size=(m, d))
        return points, net(net_params(rng, d, 4))[0](points) + 2.0, x, width, penalty

    return draw


def lime_line(rng: Rng) -> tuple[Any, ...]:
    x, c = rng.normal(size=3), rng.normal(size=3)
    points = x + rng.normal(size=(12, 3))
    return points, points @ c + 5.0, x, 1.5, 0.0


LIME = Exercise(
    name="local_linear",
    title="A straight line nearby",
    functions=("local_linear",),
    hints=(
        "It is a least-squares line in which near points count more, plus a price on large coefficients.",
        "Add a column of ones for the intercept. The normal equations are (A^T w A + penalty) solution = A^T w "
        "values, with "
        "the weights on each row.",
        "The penalty is a diagonal matrix whose last entry, the intercept's, is zero. np.linalg.solve gives "
        "coefficients "
        "and intercept in one vector.",
    ),
    checks=(
        numeric(
            "weighted by nearness, penalised",
            12,
            "local_linear",
            lime,
            [
                Case("a small network, sixteen points", lime_draw(16, 3, 1.2, 0.5)),
                Case("a narrow kernel", lime_draw(20, 2, 0.6, 0.1)),
                Case("one input", lime_draw(8, 1, 2.0, 0.3)),
            ],
        ),
        numeric("a straight line is found exactly", 4, "local_linear", lime, [Case("no penalty", lime_line)]),
        unchanged(1, {"local_linear": lime_draw(6, 2, 1.0, 0.1)}),
    ),
    mistakes=(
        Mistake(
            name="all-points-alike",
            advice="Points near x count more: each row is weighted by exp(-distance squared / width squared).",
            replaces={"local_linear": lime_with(weights=lambda d2, width: np.ones_like(d2))},
        ),
        Mistake(
            name="kernel-width-not-squared",
            advice="The squared distance is divided by the squared width.",
            replaces={"local_linear": lime_with(weights=lambda d2, width: np.exp(-d2 / width))},
        ),
        Mistake(
            name="kernel-with-a-half",
            advice="There is no factor 1/2 in the exponent here: exp(-distance squared / width squared).",
            replaces={"local_linear": lime_with(weights=lambda d2, width: np.exp(-d2 / (2 * width**2)))},
        ),
        Mistake(
            name="distance-not-squared",
            advice="The exponent has the squared distance.",
            replaces={"local_linear": lime_with(weights=lambda d2, width: np.exp(-np.sqrt(d2) / width**2))},
        ),
        Mistake(
            name="weights-squared",
            advice="The squared errors are weighted by w; weighting rows by w on both sides squares it.",
            replaces={"local_linear": lime_with(weights=lambda d2, width: np.exp(-2 * d2 / width**2))},
        ),
        Mistake(
            name="intercept-penalised",
            advice="The penalty is on the coefficients only: the intercept's entry is zero.",
            replaces={"local_linear": lime_with(all_penalised=True)},
        ),
        Mistake(
            name="intercept-missing",
            advice="The line need not go through zero: fit an intercept, with a column of ones.",
            replaces={"local_linear": lime_with(intercept=False)},
        ),
        Mistake(
            name="penalty-not-used",
            advice="Add the penalty to the diagonal of the normal equations.",
            replaces={"local_linear": lime_with(ridge=False)},
        ),
    ),
)

# --- permutation importance ------------------------------------------------------------------------------------------


def importance(score: Callable[[Array], float], X: Array, rng: Rng, repeats: int) -> Array:
    return ref.permutation_importance(score, X, rng, repeats).mean(axis=1)


def importance_with(
    keep_shuffled: bool = False, rows: bool = False, sign: float = 1.0, total: bool = False, once: bool = False
) -> Callable[..., Array]:
    """Importance that keeps columns shuffled, shuffles whole rows, turns the sign, sums, or draws one order for all."""

    def drops(score: Callable[[Array], float], X: Array, rng: Rng, repeats: int) -> Array:
        (X,) = floats(X)
        whole, out, current = score(X), np.zeros((X.shape[1], repeats)), X.copy()
        order = rng.permutation(len(X)) if once else None
        for column in range(X.shape[1]):
            for repeat in range(repeats):
                chosen = rng.permutation(len(X)) if order is None else order
                shuffled = current if keep_shuffled else X.copy()
                if rows:
                    shuffled = X[chosen]
                else:
                    shuffled[:, column] = X[chosen, column]
                out[column, repeat] = sign * (whole - score(shuffled))
        return out.sum(axis=1) if total else out.mean(axis=1)

    return drops


def importance_signless(change: Callable[[Array], Array]) -> Callable[..., Array]:
    return lambda score, X, rng, repeats: change(importance(score, X, rng, repeats))


def importance_setup(rng: Rng) -> tuple[Callable[[Array], float], Array]:
    """A score that misses column 1 and takes column 3 the wrong way round: shuffling that one makes it better."""
    X = rng.normal(size=(30, 4))
    y = 2 * X[:, 0] - X[:, 2] - 0.6 * X[:, 3]

    def score(data: Array) -> float:
        data = np.asarray(data, dtype=np.float64)
        return -float(np.mean((2 * data[:, 0] - data[:, 2] + 0.3 * data[:, 3] - y) ** 2))

    return score, X


def importance_check(name: str, points: int, repeats: int) -> Check:
    @prop(name, points, "permutation_importance")
    def check(student: Any, rng: Rng) -> None:
        score, X = importance_setup(rng)
        draws = np.random.Generator(np.random.PCG64(int(rng.integers(1 << 31))))
        got = student.permutation_importance(Callback(score, "score"), X, draws, repeats)
        holds(1 not in student.changed, "permutation_importance shuffled the X that it was given; shuffle a copy.")
        right = importance(score, X, copy.deepcopy(draws), repeats)
        with case_of("30 rows, 4 columns", student.transcript[-1][0]):
            same(got, right, "the array of importances")

    return check


@prop("an unused column has none, a used one has some", 4, "permutation_importance")
def sensible(student: Any, rng: Rng) -> None:
    score, X = importance_setup(rng)
    got = student.permutation_importance(Callback(score, "score"), X, np.random.default_rng(5), 3)
    found = numbers(got, (4,), "the importances")
    same(found[1], 0.0, "the importance of a column that score does not look at")
    holds(bool(found[0] > found[2] > 0), "the column with the largest effect should have the largest importance.")


PERMUTATION = Exercise(
    name="permutation_importance",
    title="Permutation importance",
    functions=("permutation_importance",),
    hints=(
        "If a column does not matter, does it hurt to mix it up?",
        "Two loops, columns outside and repeats inside; a fresh copy of X for each, with one column shuffled.",
        "order = rng.permutation(N); copy[:, column] = X[order, column]; the drop is score(X) minus "
        "score(copy). At the end "
        "the mean over the repeats.",
    ),
    checks=(
        importance_check("one shuffle a column, in the order of the draws", 6, 1),
        importance_check("several shuffles, averaged", 7, 4),
        sensible,
    ),
    mistakes=(
        Mistake(
            name="columns-stay-shuffled",
            advice="Only one column may be shuffled at a time: start each time from a fresh copy of X.",
            replaces={"permutation_importance": importance_with(keep_shuffled=True)},
        ),
        Mistake(
            name="whole-rows-shuffled",
            advice="Shuffle one column against the others; whole rows in another order are no other inputs.",
            replaces={"permutation_importance": importance_with(rows=True)},
        ),
        Mistake(
            name="importance-sign",
            advice="Importance is the drop, score before minus score after; yours is the other way round.",
            replaces={"permutation_importance": importance_with(sign=-1.0)},
        ),
        Mistake(
            name="importance-never-negative",
            advice="A column that the model uses wrongly has a negative importance, for it does better without: keep "
            "the sign.",
            replaces={"permutation_importance": importance_signless(np.abs)},
            variants=({"permutation_importance": importance_signless(lambda mean: np.maximum(mean, 0.0))},),
        ),
        Mistake(
            name="repeats-summed",
            advice="The mean over the repeats is asked for, not their sum.",
            replaces={"permutation_importance": importance_with(total=True)},
        ),
        Mistake(
            name="one-order-for-all",
            advice="Each shuffle draws an order of its own from rng.",
            replaces={"permutation_importance": importance_with(once=True)},
        ),
    ),
)


def draw_picture(student: Any, figure: Any) -> None:
    """Five answers to one question, by the student's own functions, and how completeness is reached."""
    left, right = figure.subplots(1, 2)
    rng = np.random.default_rng(4)
    params = net_params(rng, 5, 6)
    value, slope = net(params)
    x, baseline = np.array([1.2, -0.8, 0.5, 1.5, -1.0]), np.zeros(5)
    points = x + 0.5 * rng.normal(size=(200, 5))
    coefficients, _ = items(student.local_linear(points, value(points), x, 1.0, 0.01), ("c", "b"))
    answers = {
        "gradient": np.asarray(student.input_gradient(x[None], params))[0],
        "gradient x input": student.gradient_times_input(Callback(slope, "gradient"), x, baseline),
        "integrated gradients": student.integrated_gradients(Callback(slope, "gradient"), x, baseline, 100),
        "Shapley values": student.shapley_values(Callback(value, "f"), x, baseline),
        "local line x input": np.asarray(coefficients) * x,
    }
    width = 0.16
    for k, (name, attribution) in enumerate(answers.items()):
        left.bar(np.arange(5) + (k - 2) * width, np.asarray(attribution), width, label=name)
    left.axhline(0, color="0.3", lw=0.8)
    left.set_xticks(range(5), [f"input {i}" for i in range(5)])
    left.set_ylabel("attribution")
    left.set_title("Five answers to one question")
    left.legend(frameon=False, fontsize=8)
    steps = [1, 2, 3, 5, 8, 12, 20, 32, 50, 80]
    gap = float(value(x[None])[0] - value(baseline[None])[0])
    missing = []
    for n in steps:
        found = np.asarray(student.integrated_gradients(Callback(slope, "gradient"), x, baseline, n))
        missing.append(abs(float(found.sum()) - gap))
    right.loglog(steps, missing, "o-", label="your integrated gradients")
    right.loglog(steps, [missing[0] / n**2 for n in steps], ":", color="0.5", label="falls with 1 / steps squared")
    right.set_xlabel("steps")
    right.set_ylabel("|sum of attributions - (f(x) - f(baseline))|")
    right.set_title("Completeness")
    right.legend(frameon=False)


CHAPTER = Chapter(
    id="ch331",
    slug="interpretability",
    title="Model Interpretability",
    part="Systems",
    summary="Which input did it? Gradients, Shapley values, local lines and permutations, held against each other.",
    builds_on=("ch306",),
    exercises=(INPUT_GRADIENT, GRADIENT_TIMES_INPUT, INTEGRATED_GRADIENTS, SHAPLEY, LIME, PERMUTATION),
    picture=Picture(title="Which input did it?", draw=draw_picture),
)
