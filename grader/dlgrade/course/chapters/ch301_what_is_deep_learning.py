"""Checks of chapter 301: risk, polynomial fits, a degree chosen honestly, and the first facts about networks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from dlreference import linear, mlp
from dlreference import linear_models as ref

from dlgrade.course.compare import below, holds, items, numbers, same
from dlgrade.course.kinds import Case, Rng, case_of, numeric, prop, unchanged
from dlgrade.course.spec import Chapter, Exercise, Mistake, Picture
from dlgrade.sandbox.protocol import Callback, Function

Array = np.ndarray[Any, Any]


def f64(x: Any) -> Array:
    return np.asarray(x, dtype=np.float64)


def wave(x: Any) -> Array:
    return np.sin(f64(x)) + 0.3 * np.cos(3 * f64(x))


def noisy_wave(n: int, rng: Rng) -> tuple[Array, Array]:
    x = rng.uniform(-3.0, 3.0, size=n)
    return x, wave(x) + rng.normal(0.0, 0.15, size=n)


# --- empirical risk --------------------------------------------------------------------------------------------------


def pinball(y_hat: Any, y: Any) -> Array:
    """A loss that is not symmetric: predicting too much costs three times as much as predicting too little."""
    miss = f64(y_hat) - f64(y)
    return np.maximum(3 * miss, -miss)


LOSSES = {
    "squared error": lambda y_hat, y: (f64(y_hat) - f64(y)) ** 2,
    "a loss that punishes predicting too much": pinball,
}


def linear_model(rng: Rng, d: int) -> Callable[[Any], Array]:
    w = rng.normal(size=d)
    return lambda X: f64(X) @ w


@prop("the mean of the losses of all points", 6, "empirical_risk")
def mean_of_losses(student: Any, rng: Rng) -> None:
    for n, (name, loss) in zip((7, 4), LOSSES.items(), strict=True):
        model, X, y = linear_model(rng, 3), rng.normal(size=(n, 3)), 2 * rng.normal(size=n)
        got = student.empirical_risk(Callback(model, "model"), Callback(loss, "loss"), X, y)
        with case_of(f"{n} points and {name}", student.transcript[-1][0]):
            same(got, ref.empirical_risk(model, loss, X, y), "the risk")


@prop("every point twice, the same risk", 3, "empirical_risk", alone=False)
def doubled_data(student: Any, rng: Rng) -> None:
    model, X, y = linear_model(rng, 2), rng.normal(size=(5, 2)), rng.normal(size=5)
    pair = Callback(model, "model"), Callback(pinball, "loss")
    once = numbers(student.empirical_risk(*pair, X, y), (), "the risk")
    twice = numbers(student.empirical_risk(*pair, np.tile(X, (2, 1)), np.tile(y, 2)), (), "the risk")
    with case_of("five points, and the same five points twice", student.transcript[-1][0]):
        same(twice, once, "the risk of the doubled data")


@prop("a single point, and lists", 2, "empirical_risk")
def single_point(student: Any, rng: Rng) -> None:
    model = linear_model(rng, 2)
    for reason, X, y in (
        ("a single point", rng.normal(size=(1, 2)), rng.normal(size=1)),
        ("plain lists", rng.normal(size=(3, 2)).tolist(), rng.normal(size=3).tolist()),
    ):
        got = student.empirical_risk(Callback(model, "model"), Callback(pinball, "loss"), X, y)
        with case_of(reason, student.transcript[-1][0]):
            same(got, ref.empirical_risk(model, pinball, X, y), "the risk")
            holds(not student.changed, "`empirical_risk` changed the data that it was given; work on a copy.")


def risk_with(gather: Callable[[Array], Any], losses: Callable[..., Any] = lambda m, l, X, y: l(m(X), y)) -> Any:
    return lambda model, loss, X, y: float(gather(f64(losses(model, loss, f64(X), f64(y)))))


EMPIRICAL_RISK = Exercise(
    name="empirical_risk",
    title="The mean loss on the data",
    functions=("empirical_risk",),
    hints=(
        "Three steps: predict, compare, average. Which function does which?",
        "model takes all points at once and returns all predictions; loss takes predictions and targets and returns "
        "one number for each point.",
        "Call model on X, hand its answer and y to loss in this order, and take the mean of what comes back.",
    ),
    checks=(mean_of_losses, doubled_data, single_point),
    mistakes=(
        Mistake(
            name="risk-summed",
            advice="A sum grows with the number of points; the risk is the mean: the same data twice, the same risk.",
            replaces={"empirical_risk": risk_with(np.sum)},
        ),
        Mistake(
            name="targets-before-predictions",
            advice="The loss takes the prediction first and the target second; for many losses the order matters.",
            replaces={"empirical_risk": risk_with(np.mean, lambda m, l, X, y: l(y, m(X)))},
        ),
        Mistake(
            name="own-loss-for-the-given-one",
            advice="The squared error is built in; use the `loss` that you are given.",
            replaces={"empirical_risk": risk_with(np.mean, lambda m, l, X, y: (f64(m(X)) - y) ** 2)},
        ),
        Mistake(
            name="worst-point-only",
            advice="The risk is the mean over the points, not the largest of their losses.",
            replaces={"empirical_risk": risk_with(np.max)},
        ),
        Mistake(
            name="root-of-the-risk",
            advice="The mean of the losses is asked for; a square root belongs to the RMSE of a squared error only.",
            replaces={"empirical_risk": risk_with(lambda losses: np.sqrt(np.mean(losses)))},
        ),
    ),
)

# --- the design matrix and predictions -------------------------------------------------------------------------------


def at(n: int, degree: int) -> Any:
    """Draws n numbers between -2 and 2, of both signs."""
    return lambda rng: (rng.uniform(-2, 2, size=n), degree)


DESIGN_MATRIX = Exercise(
    name="design_matrix",
    title="Powers side by side",
    functions=("design_matrix",),
    hints=(
        "Which column does the constant of the polynomial need? How many columns are there for degree 3?",
        "Make x a column, (N, 1), and raise it to the powers 0 to degree, (degree + 1,): broadcasting does the rest.",
        "x[:, None] ** np.arange(degree + 1), after x has become a float64 array.",
    ),
    checks=(
        numeric(
            "all powers from 0 to the degree",
            5,
            "design_matrix",
            ref.design_matrix,
            [
                Case("six numbers, degree 3", at(6, 3)),
                Case("as many numbers as columns", at(4, 3)),
                Case("a single number", at(1, 4)),
            ],
        ),
        numeric(
            "degree 0, and x = 0",
            2,
            "design_matrix",
            ref.design_matrix,
            [
                Case("degree 0: a column of ones", at(3, 0)),
                Case("zero among the numbers", lambda rng: (np.array([0.0, 2.0, -1.0]), 2)),
            ],
        ),
        numeric(
            "lists of whole numbers are accepted",
            1,
            "design_matrix",
            ref.design_matrix,
            # 30^13 is beyond 64-bit whole numbers, which overflow without a word.
            [Case("a list of whole numbers, one with large powers", lambda rng: ([1, 2, 30], 13))],
        ),
        unchanged(1, {"design_matrix": at(4, 2)}),
    ),
    mistakes=(
        Mistake(
            name="highest-power-first",
            advice="The constant comes first: column j holds x to the j. np.vander has them the other way round.",
            replaces={"design_matrix": lambda x, degree: ref.design_matrix(x, degree)[:, ::-1]},
        ),
        Mistake(
            name="column-of-ones-missing",
            advice="A polynomial has a constant term too: the first column is x to the 0, all ones.",
            replaces={"design_matrix": lambda x, degree: ref.design_matrix(x, degree)[:, 1:]},
        ),
        Mistake(
            name="highest-power-missing",
            advice="Degree d has d + 1 powers, 0 to d: np.arange(degree) stops one short.",
            replaces={"design_matrix": lambda x, degree: ref.design_matrix(x, degree - 1)},
        ),
        Mistake(
            name="rows-for-powers",
            advice="Each row belongs to one point and each column to one power; yours is transposed.",
            replaces={"design_matrix": lambda x, degree: ref.design_matrix(x, degree).T},
        ),
        Mistake(
            name="multiples-for-powers",
            advice="Column j holds x to the power j, not j times x.",
            replaces={"design_matrix": lambda x, degree: f64(x)[:, None] * np.arange(degree + 1)},
        ),
    ),
)


def curve(n: int, degree: int) -> Any:
    return lambda rng: (rng.normal(size=degree + 1), rng.uniform(-2, 2, size=n))


POLYNOMIAL_PREDICT = Exercise(
    name="polynomial_predict",
    title="Values of a polynomial",
    functions=("polynomial_predict",),
    hints=(
        "With the powers side by side in a matrix, what is the value of the polynomial at each point?",
        "The degree is one less than the number of coefficients.",
        "Multiply the design matrix of x by the coefficients, with @.",
    ),
    checks=(
        numeric(
            "the constant first",
            4,
            "polynomial_predict",
            ref.polynomial_predict,
            [
                Case("a cubic at six points", curve(6, 3)),
                Case("as many points as coefficients", curve(3, 2)),
                Case("a single point", curve(1, 4)),
                Case("a constant", curve(3, 0)),
            ],
        ),
        numeric(
            "lists are accepted",
            1,
            "polynomial_predict",
            ref.polynomial_predict,
            [Case("lists of whole numbers", lambda rng: ([1, 0, -2], [3, -1]))],
        ),
        unchanged(1, {"polynomial_predict": curve(3, 2)}),
    ),
    mistakes=(
        Mistake(
            name="coefficients-read-backwards",
            advice="The first coefficient is the constant; np.polyval expects the highest power first.",
            replaces={"polynomial_predict": lambda c, x: np.polyval(f64(c), f64(x))},
        ),
        Mistake(
            name="powers-off-by-one",
            advice="Coefficient j belongs to x to the j, from 0 on; yours multiplies one power too many.",
            replaces={"polynomial_predict": lambda c, x: f64(x) * ref.polynomial_predict(c, x)},
        ),
        Mistake(
            name="constant-dropped",
            advice="The first coefficient is added at every x, also at 0; yours leaves it out.",
            replaces={"polynomial_predict": lambda c, x: ref.polynomial_predict(c, x) - c[0]},
        ),
    ),
)

# --- the fit ---------------------------------------------------------------------------------------------------------


def scattered(n: int, degree: int) -> Any:
    """Draws n points at well spaced x between -1.5 and 1.5, with random y."""
    return lambda rng: (
        np.linspace(-1.5, 1.5, n) + rng.uniform(-0.2, 0.2, size=n) / n,
        rng.normal(size=n),
        degree,
    )


@prop("powers that look alike", 3, "polynomial_fit")
def hard_fit(student: Any, rng: Rng) -> None:
    x = rng.uniform(5.0, 7.0, size=20)
    y = ref.design_matrix(x / 7, 5) @ rng.normal(size=6)
    coefficients = numbers(student.polynomial_fit(x, y, 5), (6,), "the coefficients")
    with case_of("20 points of a polynomial of degree 5, x between 5 and 7"):
        # lstsq misses by 2e-12 at most, a normal equation solved without inversion by 2e-8; the inverse by 3e-5 at
        # least.
        miss = float(np.abs(ref.polynomial_predict(coefficients, x) - y).max())
        below(
            miss,
            1e-6,
            "the points lie on a polynomial of this degree, so the fit should go through them. If it misses by little, "
            "digits were lost: are you inverting A^T A?",
            f"It misses one of them by {miss:.2g}.",
        )


def fit_by_inverse(x: Any, y: Any, degree: int) -> Array:
    A = ref.design_matrix(x, degree)
    return np.linalg.inv(A.T @ A) @ A.T @ f64(y)


def fit_ridge(x: Any, y: Any, degree: int) -> Array:
    A = ref.design_matrix(x, degree)
    return np.linalg.solve(A.T @ A + 1e-3 * np.eye(degree + 1), A.T @ f64(y))


def fit_through_origin(x: Any, y: Any, degree: int) -> Array:
    A = ref.design_matrix(x, degree)[:, 1:]
    return np.append(0.0, np.linalg.lstsq(A, f64(y), rcond=None)[0])


def fit_one_degree_less(x: Any, y: Any, degree: int) -> Array:
    return ref.polynomial_fit(x, y, degree - 1) if degree else np.zeros(0)


POLYNOMIAL_FIT = Exercise(
    name="polynomial_fit",
    title="Training in one step: least squares",
    functions=("polynomial_fit",),
    hints=(
        "With the design matrix A, the predictions are A @ c. Which c makes them closest to y?",
        "np.linalg.lstsq takes the matrix and the targets. What it returns has four parts; the solution is the first.",
        "np.linalg.lstsq(design_matrix(x, degree), y, rcond=None), and of that the item 0.",
    ),
    checks=(
        numeric(
            "the coefficients, the constant first",
            7,
            "polynomial_fit",
            ref.polynomial_fit,
            [
                Case("twelve points, degree 3", scattered(12, 3)),
                Case("a straight line", scattered(6, 1)),
                Case("degree 0: the mean", scattered(5, 0)),
            ],
        ),
        numeric(
            "as many points as coefficients",
            2,
            "polynomial_fit",
            ref.polynomial_fit,
            [
                Case("four points, degree 3", scattered(4, 3)),
                Case("a single point", lambda rng: (np.array([2.0]), np.array([3.0]), 0)),
            ],
        ),
        hard_fit,
        numeric(
            "lists are accepted",
            1,
            "polynomial_fit",
            ref.polynomial_fit,
            [Case("lists of whole numbers", lambda rng: ([0, 1, 2, 3], [1, 3, 2, 5], 1))],
        ),
        unchanged(1, {"polynomial_fit": scattered(5, 2)}),
    ),
    mistakes=(
        Mistake(
            name="coefficients-reversed",
            advice="The constant comes first here; np.polyfit returns the highest power first.",
            replaces={"polynomial_fit": lambda x, y, degree: ref.polynomial_fit(x, y, degree)[::-1]},
        ),
        Mistake(
            name="inverse-of-the-normal-matrix",
            advice="Inverting A^T A squares the trouble with almost equal columns: let np.linalg.lstsq work on A.",
            replaces={"polynomial_fit": fit_by_inverse},
        ),
        Mistake(
            name="fit-with-a-penalty",
            advice="Something was added to the diagonal to keep the matrix invertible; that changes the answer.",
            replaces={"polynomial_fit": fit_ridge},
        ),
        Mistake(
            name="fit-without-a-constant",
            advice="The fit is forced through the origin: the column of ones is missing, and with it the constant.",
            replaces={"polynomial_fit": fit_through_origin},
        ),
        Mistake(
            name="one-degree-too-low",
            advice="Degree d has d + 1 coefficients; yours fits one power less.",
            replaces={"polynomial_fit": fit_one_degree_less},
        ),
        Mistake(
            name="x-and-y-swapped-in-the-fit",
            advice="y is a function of x here: the powers are those of x, and y is what they should come close to.",
            replaces={"polynomial_fit": lambda x, y, degree: ref.polynomial_fit(y, x, degree)},
        ),
    ),
)

# --- train error and true error --------------------------------------------------------------------------------------


def errors_with(
    grid: Callable[[Array], Array] = lambda x: np.linspace(x.min(), x.max(), 200),
    on_train: Callable[..., Any] = lambda fit, x, y, truth: fit(x) - y,
    on_truth: Callable[..., Any] = lambda fit, grid, truth, x, y: fit(grid) - f64(truth(grid)),
    norm: Callable[[Array], Any] = lambda miss: np.sqrt(np.mean(miss**2)),
) -> Callable[..., Any]:
    """Both errors, with one of the parts replaced."""

    def measured(x: Any, y: Any, truth: Any, degree: int) -> Any:
        x, y = f64(x), f64(y)
        coefficients = ref.polynomial_fit(x, y, degree)

        def fit(points: Array) -> Array:
            return ref.polynomial_predict(coefficients, points)

        return float(norm(on_train(fit, x, y, truth))), float(norm(on_truth(fit, grid(x), truth, x, y)))

    return measured


right_errors = errors_with()


def measured_errors(student: Any, reason: str, x: Any, y: Any, truth: Any, degree: int, which: int) -> None:
    got = student.train_and_true_error(x, y, Callback(truth, "truth"), degree)
    with case_of(reason, student.transcript[-1][0]):
        pair = items(got, ("train_error", "true_error"))
        same(pair[which], right_errors(x, y, truth, degree)[which], ("the train error", "the true error")[which])


@prop("the train error", 5, "train_and_true_error")
def train_error(student: Any, rng: Rng) -> None:
    measured_errors(student, "20 points of the wave, degree 3", *noisy_wave(20, rng), wave, 3, 0)
    measured_errors(student, "8 points, a constant", *noisy_wave(8, rng), np.cos, 0, 0)


@prop("the true error, where there are points", 8, "train_and_true_error")
def true_error(student: Any, rng: Rng) -> None:
    measured_errors(student, "20 points of the wave, degree 3", *noisy_wave(20, rng), wave, 3, 1)
    x = rng.uniform(4.0, 5.0, size=9)
    measured_errors(student, "9 points between 4 and 5, degree 2", x, wave(x), wave, 2, 1)
    x = rng.uniform(-1.0, 0.5, size=4)
    measured_errors(student, "four points, degree 3, which meets them all", x, rng.normal(size=4), np.cos, 3, 1)


@prop("lists are accepted, and nothing is changed", 2, "train_and_true_error")
def errors_of_lists(student: Any, rng: Rng) -> None:
    x, y = noisy_wave(6, rng)
    got = student.train_and_true_error(x.tolist(), y.tolist(), Callback(wave, "truth"), 2)
    with case_of("six points in lists", student.transcript[-1][0]):
        same(items(got, ("train_error", "true_error")), right_errors(x, y, wave, 2), "the result")
    student.train_and_true_error(x, y, Callback(wave, "truth"), 2)
    holds(not student.changed, "`train_and_true_error` changed the points that it was given; work on copies.")


TRAIN_AND_TRUE_ERROR = Exercise(
    name="train_and_true_error",
    title="Train error and true error",
    functions=("train_and_true_error",),
    hints=(
        "Which of the two errors knows about the noise, and which about the truth?",
        "Fit once. Predict at x for the one, and on np.linspace from the smallest to the largest x for the other.",
        "The train error compares predictions at x with y; the true error compares predictions on the grid of 200 "
        "points with truth(grid). Of both differences: square, mean, root.",
    ),
    checks=(train_error, true_error, errors_of_lists),
    mistakes=(
        Mistake(
            name="judged-beyond-the-points",
            advice="The grid reaches beyond the outermost points: that measures extrapolation. Stay within min and max "
            "of x.",
            replaces={"train_and_true_error": errors_with(grid=lambda x: np.linspace(-3.0, 3.0, 200))},
            variants=(
                {"train_and_true_error": errors_with(grid=lambda x: np.linspace(x.min() - 1, x.max() + 1, 200))},
                {"train_and_true_error": errors_with(grid=lambda x: np.linspace(-np.pi, np.pi, 200))},
            ),
        ),
        Mistake(
            name="true-error-at-the-training-points",
            advice="Between the points is where a wild fit shows: take the true error on the grid, not at x.",
            replaces={"train_and_true_error": errors_with(grid=lambda x: x)},
        ),
        Mistake(
            name="true-error-against-the-noise",
            advice="The second error compares with the truth; yours compares with the noisy y again.",
            replaces={"train_and_true_error": errors_with(on_truth=lambda fit, grid, truth, x, y: fit(x) - y)},
        ),
        Mistake(
            name="train-error-against-the-truth",
            advice="The train error is what the fit sees: compare with y, noise and all.",
            replaces={"train_and_true_error": errors_with(on_train=lambda fit, x, y, truth: fit(x) - f64(truth(x)))},
        ),
        Mistake(
            name="root-forgotten",
            advice="A root mean squared error ends with a square root; yours is the mean squared error.",
            replaces={"train_and_true_error": errors_with(norm=lambda miss: np.mean(miss**2))},
        ),
        Mistake(
            name="mean-absolute-error",
            advice="The RMSE squares the differences before the mean; yours takes their absolute values.",
            replaces={"train_and_true_error": errors_with(norm=lambda miss: np.mean(np.abs(miss)))},
        ),
        Mistake(
            name="root-of-the-sum",
            advice="Take the mean of the squares, not their sum: otherwise the error grows with the number of points.",
            replaces={"train_and_true_error": errors_with(norm=lambda miss: np.sqrt(np.sum(miss**2)))},
        ),
        Mistake(
            name="errors-swapped",
            advice="The train error comes first and the true error second.",
            replaces={"train_and_true_error": lambda x, y, truth, degree: right_errors(x, y, truth, degree)[::-1]},
        ),
    ),
)

# --- choosing the degree ---------------------------------------------------------------------------------------------


def right_choice(x: Any, y: Any, degrees: Any, val_fraction: float, rng: Rng) -> tuple[int, Array]:
    return ref.select_degree(x, y, degrees, val_fraction, copy.deepcopy(rng))


def a_choice(n: int, degrees: list[int], fraction: float) -> Any:
    """Draws points of the wave, and a generator for the split."""
    return lambda rng: (*noisy_wave(n, rng), degrees, fraction, np.random.default_rng(int(rng.integers(1 << 30))))


def listed_choice(rng: Rng) -> Any:
    x, y, *rest = a_choice(8, [1, 2], 0.25)(rng)
    return x.tolist(), y.tolist(), *rest


def choice_with(
    split: Callable[..., Any] = lambda order, cut: (order[cut:], order[:cut]),
    size: Callable[[float], int] = round,
    order_of: Callable[..., Array] = lambda rng, n: rng.permutation(n),
    norm: Callable[[Array], Any] = lambda miss: np.sqrt(np.mean(miss**2)),
    pick: Callable[..., Any] = lambda degrees, errors: degrees[int(np.argmin(errors))],
) -> Callable[..., Any]:
    """Choosing a degree, with one of the parts replaced; `split` gives the points to learn from and to be judged by."""

    def wrong(x: Any, y: Any, degrees: Any, val_fraction: float, rng: Any) -> Any:
        x, y = f64(x), f64(y)
        train, val = split(order_of(rng, len(x)), size(len(x) * val_fraction))
        errors = []
        for degree in degrees:
            fit = ref.polynomial_fit(x[train], y[train], degree)
            errors.append(float(norm(ref.polynomial_predict(fit, x[val]) - y[val])))
        return pick(list(degrees), errors), np.array(errors)

    return wrong


def last_of_equals(degrees: list[int], errors: list[float]) -> int:
    return min(zip(errors, range(0, -len(errors), -1), degrees, strict=True))[2]


@prop("of equally good degrees the first wins", 2, "select_degree")
def first_of_equals(student: Any, rng: Rng) -> None:
    # Where every y is 0, every degree fits exactly. The first degree is not the smallest, nor the place of a winner.
    x = np.linspace(-1, 1, 8) + 0.01 * rng.normal(size=8)
    for degrees in ([3, 1, 2], [2, 1, 3]):
        got = student.select_degree(x, np.zeros(8), degrees, 0.25, np.random.default_rng(int(rng.integers(1 << 30))))
        with case_of("points that every degree meets exactly", student.transcript[-1][0]):
            best, errors = items(got, ("best", "errors"))
            same(errors, np.zeros(3), "the list of errors")
            same(best, degrees[0], "the best degree")


SELECT_DEGREE = Exercise(
    name="select_degree",
    title="Choose the degree on points held out",
    functions=("select_degree",),
    hints=(
        "Split once, before the loop. Inside the loop, which points does the fit see, and which ones judge it?",
        "order = rng.permutation(N); cut it at round(N * val_fraction). x[val] and x[train] pick the points.",
        "For each degree append the RMSE on the validation points to a list. Then degrees[np.argmin(errors)] is the "
        "best, and the first of equals.",
    ),
    checks=(
        numeric(
            "the validation error of every degree",
            7,
            "select_degree",
            right_choice,
            [
                Case("30 points, a third held out", a_choice(30, [1, 2, 3, 4, 5], 1 / 3)),
                Case("20 points, a fifth held out", a_choice(20, [0, 3], 0.2)),
                Case("degrees in no order", a_choice(24, [5, 1, 3], 0.25)),
            ],
            pick=1,
            result="the list of errors",
        ),
        numeric(
            "the degree with the smallest of them",
            6,
            "select_degree",
            right_choice,
            [
                Case("30 points, a third held out", a_choice(30, [1, 2, 3, 4, 5], 1 / 3)),
                Case("degrees in no order", a_choice(24, [7, 1, 3], 0.25)),
                Case("the largest degree first", a_choice(16, [9, 4, 1], 0.25)),
            ],
            pick=0,
            result="the best degree",
        ),
        numeric(
            "how many points are held out",
            2,
            "select_degree",
            right_choice,
            [
                Case("a quarter of 15 points: 3.75, rounded to 4", a_choice(15, [1, 2], 0.25)),
                Case("0.3 of 11 points: 3.3, rounded to 3", a_choice(11, [1, 2], 0.3)),
                Case("a quarter of 10 points: 2.5, which Python rounds to 2", a_choice(10, [0, 2], 0.25)),
                Case("a single validation point", a_choice(10, [0, 2], 0.1)),
                Case("points in plain lists", listed_choice),
            ],
            pick=1,
            result="the list of errors",
        ),
        first_of_equals,
        unchanged(1, {"select_degree": a_choice(9, [1, 2], 0.3)}),
    ),
    mistakes=(
        Mistake(
            name="chosen-by-training-error",
            advice="The training error falls with every degree, so the largest always wins: judge by the held-out "
            "points.",
            replaces={"select_degree": choice_with(lambda order, cut: (order[cut:], order[cut:]))},
            variants=({"select_degree": choice_with(lambda order, cut: (order, order))},),
        ),
        Mistake(
            name="fit-has-seen-the-validation-points",
            advice="The fit was made on all points, the held-out ones included: fit on the training part only.",
            replaces={"select_degree": choice_with(lambda order, cut: (order, order[:cut]))},
        ),
        Mistake(
            name="split-the-wrong-way-round",
            advice="The first part of the order is for validation; yours trains on it and validates on the rest.",
            replaces={"select_degree": choice_with(lambda order, cut: (order[:cut], order[cut:]))},
        ),
        Mistake(
            name="validation-from-the-end",
            advice="The first indices of the order are the validation points; yours takes the last ones.",
            replaces={
                "select_degree": choice_with(lambda order, cut: (order[: len(order) - cut], order[len(order) - cut :]))
            },
        ),
        Mistake(
            name="split-not-shuffled",
            advice="The split takes the points as they come; if they are sorted, a whole end is held out. Use "
            "rng.permutation.",
            replaces={"select_degree": choice_with(order_of=lambda rng, n: np.arange(n))},
        ),
        Mistake(
            name="split-ignores-rng",
            advice="A generator made inside splits the same way every time: draw from the `rng` that you are given.",
            replaces={"select_degree": choice_with(order_of=lambda rng, n: np.random.default_rng(0).permutation(n))},
            variants=(
                {"select_degree": choice_with(order_of=lambda rng, n: np.random.default_rng(42).permutation(n))},
            ),
        ),
        Mistake(
            name="share-cut-off",
            advice="int() cuts 3.75 down to 3; round() makes it 4.",
            replaces={"select_degree": choice_with(size=int)},
        ),
        Mistake(
            name="place-for-degree",
            advice="np.argmin gives a place in the list; the degree that stands there is asked for.",
            replaces={"select_degree": choice_with(pick=lambda degrees, errors: int(np.argmin(errors)))},
        ),
        Mistake(
            name="worst-degree-wins",
            advice="The smallest validation error wins; yours takes the largest.",
            replaces={"select_degree": choice_with(pick=lambda degrees, errors: degrees[int(np.argmax(errors))])},
        ),
        Mistake(
            name="last-of-equals-wins",
            advice="Of equally good degrees the first in the list wins: replace the best only by one that is strictly "
            "better.",
            replaces={"select_degree": choice_with(pick=last_of_equals)},
        ),
        Mistake(
            name="squared-validation-error",
            advice="The errors are RMSEs: take the square root of the mean square.",
            replaces={"select_degree": choice_with(norm=lambda miss: np.mean(miss**2))},
        ),
    ),
)

# --- networks: shapes, parameters, layers without activation ---------------------------------------------------------


def right_shapes(sizes: Any) -> list[Any]:
    shapes = mlp.parameter_shapes(sizes)
    return [(shapes[f"W{layer}"], shapes[f"b{layer}"]) for layer in range(1, len(sizes))]


def given(sizes: list[int]) -> Case:
    return Case(f"the widths {sizes}", lambda rng: (sizes,))


SOME_WIDTHS = Case("five random widths", lambda rng: (rng.permutation(np.arange(2, 9))[:5].tolist(),))


LAYER_SHAPES = Exercise(
    name="layer_shapes",
    title="Shapes of a network",
    functions=("layer_shapes",),
    hints=(
        "How many layers has a network with three widths? Which two widths does each of them join?",
        "For each pair of neighbours n, m in the list: W is (m, n) and b is (m,).",
        "zip(sizes[:-1], sizes[1:]) gives the pairs of neighbours; collect ((m, n), (m,)) for each of them.",
    ),
    checks=(
        numeric(
            "weights (out, in) and biases (out,)",
            5,
            "layer_shapes",
            right_shapes,
            [given([2, 3, 1]), given([4, 7]), given([5, 5, 2]), SOME_WIDTHS],
        ),
        unchanged(1, {"layer_shapes": lambda rng: ([3, 4, 2],)}),
    ),
    mistakes=(
        Mistake(
            name="shape-in-out",
            advice="Weights are (out, in) in this course, one row for each output; yours are (in, out).",
            replaces={"layer_shapes": lambda sizes: [((w[1], w[0]), b) for w, b in right_shapes(sizes)]},
        ),
        Mistake(
            name="bias-of-the-inputs",
            advice="Each output has a bias, not each input: b has as many entries as W has rows.",
            replaces={"layer_shapes": lambda sizes: [(w, (w[1],)) for w, b in right_shapes(sizes)]},
        ),
        Mistake(
            name="bias-as-a-column",
            advice="A bias is (out,), so that it is added to every row of the batch; (out, 1) would not fit.",
            replaces={"layer_shapes": lambda sizes: [(w, (w[0], 1)) for w, b in right_shapes(sizes)]},
        ),
        Mistake(
            name="last-layer-forgotten",
            advice="L + 1 widths make L layers: the one that leads to the outputs is missing.",
            replaces={"layer_shapes": lambda sizes: right_shapes(sizes)[:-1]},
        ),
    ),
)


def right_count(sizes: Any) -> int:
    return mlp.parameter_count(sizes)


COUNT_PARAMETERS = Exercise(
    name="count_parameters",
    title="How many numbers are learned",
    functions=("count_parameters",),
    hints=(
        "How many entries has a matrix of shape (3, 2)? And what else does a layer learn?",
        "layer_shapes tells you all shapes: multiply out the weights, add the biases, and sum over the layers.",
        "For each layer from n to m units, m times n weights and m biases; add them all up.",
    ),
    checks=(
        numeric(
            "weights and biases of all layers",
            7,
            "count_parameters",
            right_count,
            [given([2, 3, 1]), given([2, 10, 10, 1]), given([2, 4, 4, 4, 1]), given([2, 100, 1]), SOME_WIDTHS],
        ),
        numeric(
            "as large as a classifier of images",
            2,
            "count_parameters",
            right_count,
            [
                Case("784 inputs, 128 hidden units and ten outputs", lambda rng: ([784, 128, 10],)),
                Case("784 inputs and ten outputs, nothing between", lambda rng: ([784, 10],)),
            ],
        ),
    ),
    mistakes=(
        Mistake(
            name="biases-not-counted",
            advice="Biases are learned too: one for each unit that is not an input. [2, 3, 1] has 13 parameters, not "
            "9.",
            replaces={"count_parameters": lambda sizes: right_count(sizes) - sum(sizes[1:])},
        ),
        Mistake(
            name="biases-of-the-inputs-counted",
            advice="Inputs are given, they have no bias: count biases from the first layer's outputs on.",
            replaces={"count_parameters": lambda sizes: right_count(sizes) + sizes[0]},
        ),
        Mistake(
            name="one-bias-a-layer",
            advice="Each unit has its own bias, not each layer.",
            replaces={"count_parameters": lambda sizes: right_count(sizes) - sum(sizes[1:]) + len(sizes) - 1},
        ),
        Mistake(
            name="last-layer-not-counted",
            advice="The layer that leads to the outputs has weights and biases as well.",
            replaces={"count_parameters": lambda sizes: right_count(sizes[:-1])},
        ),
        Mistake(
            name="hidden-biases-only",
            advice="The outputs have biases too, not only the hidden units.",
            replaces={"count_parameters": lambda sizes: right_count(sizes) - sizes[-1]},
        ),
    ),
)


def two_layers(d: int, m: int, k: int) -> Any:
    """Draws a layer from d to m and one from m to k."""
    return lambda rng: (rng.normal(size=(m, d)), rng.normal(size=m), rng.normal(size=(k, m)), rng.normal(size=k))


@prop("one layer does what the two did", 3, "compose_linear")
def does_the_same(student: Any, rng: Rng) -> None:
    W1, b1, W2, b2 = two_layers(3, 3, 3)(rng)
    X = rng.normal(size=(5, 3))
    W, b = items(student.compose_linear(W1, b1, W2, b2), ("W", "b"))
    with case_of("three square layers' worth of random points", student.transcript[-1][0]):
        one = X @ numbers(W, (3, 3), "W").T + numbers(b, (3,), "b")
        same(one, (X @ W1.T + b1) @ W2.T + b2, "x @ W.T + b, compared with one layer after the other,")


COMPOSE_LINEAR = Exercise(
    name="compose_linear",
    title="Two linear layers are one",
    functions=("compose_linear",),
    hints=(
        "Put the first layer into the second on paper and multiply out.",
        "For a column x, W2 (W1 x + b1) + b2. What multiplies x, and what is left without it?",
        "W is the product of W2 and W1, in this order; b is W2 times b1, plus b2.",
    ),
    checks=(
        numeric(
            "weights of the product",
            5,
            "compose_linear",
            linear.compose_linear,
            [
                Case("three inputs, four between, two outputs", two_layers(3, 4, 2)),
                Case("square layers", two_layers(3, 3, 3)),
                Case("one input, one output", two_layers(1, 3, 1)),
            ],
            pick=0,
            result="W",
        ),
        numeric(
            "bias of the product",
            3,
            "compose_linear",
            linear.compose_linear,
            [
                Case("three inputs, four between, two outputs", two_layers(3, 4, 2)),
                Case("square layers", two_layers(3, 3, 3)),
                Case("plain lists", lambda rng: ([[1, 2], [0, 1]], [1, -1], [[3, 4]], [5])),
            ],
            pick=1,
            result="b",
        ),
        does_the_same,
        unchanged(1, {"compose_linear": two_layers(2, 3, 2)}),
    ),
    mistakes=(
        Mistake(
            name="product-in-the-wrong-order",
            advice="The layer that acts first stands on the right: W2 W1. W1 W2 fits only where the widths happen to.",
            replaces={
                "compose_linear": lambda W1, b1, W2, b2: (f64(W1) @ f64(W2), linear.compose_linear(W1, b1, W2, b2)[1])
            },
            variants=({"compose_linear": lambda W1, b1, W2, b2: linear.compose_linear(W2, b2, W1, b1)},),
        ),
        Mistake(
            name="biases-just-added",
            advice="The first bias goes through the second layer: W2 b1 + b2, not b1 + b2.",
            replaces={"compose_linear": lambda W1, b1, W2, b2: (f64(W2) @ f64(W1), f64(b1) + f64(b2))},
        ),
        Mistake(
            name="first-bias-lost",
            advice="The first bias is passed on by the second layer: W2 b1 is missing from b.",
            replaces={"compose_linear": lambda W1, b1, W2, b2: (f64(W2) @ f64(W1), f64(b2))},
        ),
        Mistake(
            name="second-bias-lost",
            advice="The second layer's own bias is missing: b = W2 b1 + b2.",
            replaces={"compose_linear": lambda W1, b1, W2, b2: (f64(W2) @ f64(W1), f64(W2) @ f64(b1))},
        ),
        Mistake(
            name="product-transposed",
            advice="W must be (out, in) like every weight matrix: W2 W1, not its transpose.",
            replaces={
                "compose_linear": lambda W1, b1, W2, b2: (
                    (f64(W2) @ f64(W1)).T,
                    linear.compose_linear(W1, b1, W2, b2)[1],
                )
            },
        ),
    ),
)

# --- the picture -----------------------------------------------------------------------------------------------------


def draw_picture(student: Any, figure: Any) -> None:
    """Three of the student's fits to one draw, and their errors by degree over many draws."""
    left, right = figure.subplots(1, 2)
    x, y = noisy_wave(30, np.random.default_rng(301))
    grid = np.linspace(x.min(), x.max(), 200)
    left.plot(grid, wave(grid), color="0.6", lw=4, alpha=0.6, label="the truth")
    left.plot(x, y, "k.", ms=5, label="30 noisy points")
    for i, degree in enumerate((1, 4, 12)):
        fit = student.polynomial_fit(x, y, degree)
        values = numbers(student.polynomial_predict(fit, grid), (200,), "the values")
        left.plot(grid, values, color=f"C{i}", lw=1.4, label=f"degree {degree}")
    left.set(xlabel="x", ylabel="y", ylim=(-2.2, 2.2), title="Three fits to one draw")
    left.legend(frameon=False, fontsize=8, loc="upper left")
    degrees = list(range(1, 13))
    draws = [noisy_wave(15, np.random.default_rng(seed)) for seed in range(15)]
    pairs = [
        [items(student.train_and_true_error(*draw, Function("wave"), degree), ("train", "true")) for degree in degrees]
        for draw in draws
    ]
    chosen = [
        items(
            student.select_degree(*draw, degrees[:8], 1 / 3, np.random.default_rng(seed)),
            ("best", "errors"),
        )[1]
        for seed, draw in enumerate(draws)
    ]
    medians = np.median([[[float(v) for v in pair] for pair in row] for row in pairs], axis=0)
    right.semilogy(degrees, medians[:, 0], "o-", color="C0", ms=4, label="train error")
    validation = np.median([numbers(errors, (8,), "the errors") for errors in chosen], axis=0)
    right.semilogy(degrees[:8], validation, "s--", color="C2", ms=4, label="validation error (a third held out)")
    right.semilogy(degrees, medians[:, 1], "o-", color="C3", ms=4, label="true error")
    right.axhline(0.15, color="0.6", lw=0.8, ls=":", label="the noise")
    right.set(xlabel="degree of the polynomial", ylabel="RMSE", title="15 points: medians over 15 draws")
    right.set_ylim(top=100)  # room for the legend
    right.legend(frameon=False, fontsize=8, loc="upper left")


CHAPTER = Chapter(
    id="ch301",
    slug="what_is_deep_learning",
    title="What is Deep Learning?",
    part="Foundations",
    summary="Learning as choosing the member of a family with the smallest loss: risk, fits, a degree chosen on "
    "held-out points, and what a network's layers hold.",
    builds_on=("ch300",),
    exercises=(
        EMPIRICAL_RISK,
        DESIGN_MATRIX,
        POLYNOMIAL_FIT,
        POLYNOMIAL_PREDICT,
        TRAIN_AND_TRUE_ERROR,
        SELECT_DEGREE,
        LAYER_SHAPES,
        COUNT_PARAMETERS,
        COMPOSE_LINEAR,
    ),
    picture=Picture(title="What a fit has seen, and what is true", draw=draw_picture),
)
