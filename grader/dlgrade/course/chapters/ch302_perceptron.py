"""Checks of chapter 302: the perceptron's rule, its training and its bound, and what to do where no line separates.

Data come in two kinds: drawn at random, where no score but that of the zero weights is exactly 0, and small whole
numbers with rates that are powers of two, where every sum is exact. So ">" and ">=" differ where they should and
nowhere else, however a right answer orders its sums.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from dlreference import perceptron as ref

from dlgrade.course.compare import holds, items, numbers, same
from dlgrade.course.kinds import Case, Rng, case_of, numeric, prop, unchanged
from dlgrade.course.spec import Chapter, Exercise, Mistake, Picture

Array = np.ndarray[Any, Any]


def f64(x: Any) -> Array:
    return np.asarray(x, dtype=np.float64)


XOR = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), np.array([0, 1, 1, 0])
AND = XOR[0], np.array([0, 0, 0, 1])


def xor(*rest: Any) -> Any:
    return lambda rng: (*XOR, *rest)


def logical_and(*rest: Any) -> Any:
    return lambda rng: (*AND, *rest)


def apart(rng: Rng, n: int, d: int, gap: float = 0.15) -> tuple[Array, Array, Array, float]:
    """Points at least `gap` from a random plane, both classes among them, and that plane: (X, y, w, b)."""
    w, b = rng.normal(size=d), float(rng.uniform(-0.3, 0.3))
    X = rng.normal(size=(60 * n, d))
    distance = (X @ w + b) / np.linalg.norm(w)
    sides = [X[distance > gap], X[distance < -gap]]
    X = rng.permutation(np.concatenate([sides[0][: n // 2], sides[1][: n - n // 2]]))
    return X, (X @ w + b > 0).astype(np.int64), w, b


def separable(n: int, d: int, *rest: Any) -> Any:
    return lambda rng: (*apart(rng, n, d)[:2], *rest)


def mixed(n: int, d: int, *rest: Any) -> Any:
    """Draws points whose label depends on a line and on chance, so that no line separates them."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        X = rng.normal(size=(n, d))
        y = (X @ np.resize([1.0, 2.0], d) + 0.8 * rng.normal(size=n) > 0).astype(np.int64)
        y[:2] = [0, 1]
        return X, y, *rest

    return draw


def flat(answer: Any) -> Array:
    parts = answer if isinstance(answer, tuple) else (answer,)
    return np.concatenate([np.ravel(f64(part)) for part in parts])


def telling(draw: Any, functions: Callable[[], list[Callable[..., Any]]]) -> Any:
    """Draws again until all these functions give different answers: each mistake shows, and as itself."""

    def drawn(rng: Rng) -> Any:
        while True:
            args = draw(rng)
            answers = [flat(function(*args)) for function in functions()]
            alike = (
                a.shape == b.shape and np.allclose(a, b, rtol=1e-6, atol=1e-6)
                for i, a in enumerate(answers)
                for b in answers[:i]
            )
            if not any(alike):
                return args

    return drawn


# --- the rule, and all the ways to get it wrong ----------------------------------------------------------------------


def predict_from_zero(X: Any, w: Any, b: Any) -> Array:
    """With >= for >."""
    return (f64(X) @ f64(w) + b >= 0).astype(np.int64)


def scored(n: int, d: int) -> Any:
    return lambda rng: (rng.normal(size=(n, d)), rng.normal(size=d), float(rng.normal()))


PREDICT = Exercise(
    name="perceptron_predict",
    title="What the unit says",
    functions=("perceptron_predict",),
    hints=(
        "One weighted sum for each point, then a comparison. What does the comparison say at exactly 0?",
        "X @ w + b are the scores of all points at once; > 0 makes True and False of them.",
        "Turn the comparison's truth values into whole numbers with .astype(int).",
    ),
    checks=(
        numeric(
            "1 above the line, 0 below",
            6,
            "perceptron_predict",
            ref.perceptron_predict,
            [
                Case("nine points, three numbers each", scored(9, 3)),
                Case("a single point", scored(1, 2)),
                Case(
                    "points close to the line",
                    lambda rng: (np.array([[1.25, 1.0], [1.0, 1.25], [-2.0, -2.25]]), np.array([1.0, -1.0]), 0.0),
                ),
                Case("all scores moved by the bias", lambda rng: (rng.normal(size=(6, 2)), rng.normal(size=2), 50.0)),
                Case(
                    "scores that are tiny, but not 0",
                    lambda rng: (np.array([[2.0**-40, 0.0], [0.0, 2.0**-40]]), np.array([1.0, -1.0]), 0.0),
                ),
            ],
        ),
        numeric(
            "exactly on the line: 0",
            4,
            "perceptron_predict",
            ref.perceptron_predict,
            [
                Case("zero weights, zero bias", lambda rng: (rng.normal(size=(5, 2)), np.zeros(2), 0.0)),
                Case(
                    "points on the line x = y among others",
                    lambda rng: (
                        np.array([[2.0, 2.0], [3.0, 1.0], [0.0, 0.0], [1.0, 3.0]]),
                        np.array([1.0, -1.0]),
                        0.0,
                    ),
                ),
                Case("the bias cancels the sum", lambda rng: (np.array([[1.0, 1.0]]), np.array([1.0, 1.0]), -2.0)),
            ],
        ),
        numeric(
            "lists are accepted",
            1,
            "perceptron_predict",
            ref.perceptron_predict,
            [Case("plain lists", lambda rng: ([[1, 2], [-1, 0]], [1.0, 0.5], -0.25))],
        ),
        unchanged(1, {"perceptron_predict": scored(4, 2)}),
    ),
    mistakes=(
        Mistake(
            name="one-at-zero",
            advice="The threshold is strict: a score of exactly 0 says 0, so it is > and not >=.",
            replaces={"perceptron_predict": predict_from_zero},
        ),
        Mistake(
            name="labels-of-both-signs",
            advice="The labels of this course are 0 and 1, not -1 and 1.",
            replaces={"perceptron_predict": lambda X, w, b: 2 * ref.perceptron_predict(X, w, b) - 1},
            variants=({"perceptron_predict": lambda X, w, b: np.sign(f64(X) @ f64(w) + b)},),
        ),
        Mistake(
            name="bias-left-out",
            advice="The bias moves the line off the origin: add b to every score.",
            replaces={"perceptron_predict": lambda X, w, b: ref.perceptron_predict(X, w, 0.0)},
        ),
        Mistake(
            name="scores-for-labels",
            advice="The score itself comes back; compare it with 0 to get the label.",
            replaces={"perceptron_predict": lambda X, w, b: f64(X) @ f64(w) + b},
        ),
        Mistake(
            name="threshold-at-one-half",
            advice="The score is compared with 0; one half is the threshold of a probability.",
            replaces={"perceptron_predict": lambda X, w, b: ref.perceptron_predict(X, w, b - 0.5)},
        ),
    ),
)


def update_with(
    error: Callable[..., float] = lambda y, y_hat: y - y_hat,
    bias: Callable[..., float] = lambda b, e, lr: b + lr * e,
    says: Callable[..., int] = lambda x, w, b: int(f64(x) @ f64(w) + b > 0),
    step: Callable[..., Array] = lambda x, e, lr: lr * e * x,
) -> Callable[..., Any]:
    """An update with one of its parts replaced."""

    def wrong(w: Any, b: Any, x: Any, y: Any, lr: float = 1.0) -> Any:
        w, x = f64(w), f64(x)
        e = error(int(y), says(x, w, b))
        return w + step(x, e, lr), bias(b, e, lr)

    return wrong


def update_at_zero_too(w: Any, b: Any, x: Any, y: Any, lr: float = 1.0) -> Any:
    """A point is wrong where s (w.x + b) <= 0, with s of -1 and 1."""
    w, x, s = f64(w), f64(x), 2 * int(y) - 1
    return (w + lr * s * x, b + lr * s) if s * (w @ x + b) <= 0 else (w, b)


def update_in_place(w: Any, b: Any, x: Any, y: Any, lr: float = 1.0) -> Any:
    e = int(y) - int(f64(x) @ f64(w) + b > 0)
    if isinstance(w, np.ndarray):
        w += lr * e * f64(x)
        return w, b + lr * e
    return f64(w) + lr * e * f64(x), b + lr * e


def looked_at(says: int, y: int, lr: float) -> Any:
    """Draws weights and a point about which the unit says `says`, while its label is `y`."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        w, b, x = rng.normal(size=3), float(rng.normal()), rng.normal(size=3)
        if (w @ x + b > 0) != (says == 1):
            w, b = -w, -b
        return w, b, x, y, lr

    return draw


UPDATE = Exercise(
    name="perceptron_update",
    title="One look at one point",
    functions=("perceptron_update",),
    hints=(
        "First ask what the unit says. How many different values can y minus y_hat have?",
        "When it is right, y - y_hat is 0, and the formulas leave everything where it is. No if is needed.",
        "error = y - y_hat with both 0 or 1; the weights move by lr * error * x and the bias by lr * error. Build new "
        "arrays instead of changing w.",
    ),
    checks=(
        numeric(
            "it said 0 and should have said 1",
            5,
            "perceptron_update",
            ref.perceptron_update,
            [Case("a rate of 1", looked_at(0, 1, 1.0)), Case("a rate of 0.3", looked_at(0, 1, 0.3))],
        ),
        numeric(
            "it said 1 and should have said 0",
            5,
            "perceptron_update",
            ref.perceptron_update,
            [Case("a rate of 1", looked_at(1, 0, 1.0)), Case("a rate of 0.3", looked_at(1, 0, 0.3))],
        ),
        numeric(
            "nothing moves when it is right",
            3,
            "perceptron_update",
            ref.perceptron_update,
            [Case("it says 1, the label is 1", looked_at(1, 1, 0.5)), Case("both are 0", looked_at(0, 0, 0.5))],
        ),
        numeric(
            "zero weights say 0",
            3,
            "perceptron_update",
            ref.perceptron_update,
            [
                Case("the first point, label 1", lambda rng: (np.zeros(2), 0.0, rng.normal(size=2), 1)),
                Case("the first point, label 0", lambda rng: (np.zeros(2), 0.0, rng.normal(size=2), 0)),
                Case("lists", lambda rng: ([1.0, -1.0], 0.0, [2.0, 2.0], 1, 0.5)),
                Case("the same point once more, after its correction", lambda rng: ([2.0, 1.0], 1.0, [2.0, 1.0], 1)),
                Case("a point far below the line, label 0", lambda rng: ([1.0, -1.0], -2.0, [1.0, 1.0], 0)),
            ],
        ),
        unchanged(2, {"perceptron_update": looked_at(0, 1, 1.0)}),
    ),
    mistakes=(
        Mistake(
            name="update-without-a-mistake",
            advice="The weights move although the unit was right; y - y_hat is 0 then, and nothing may happen.",
            replaces={"perceptron_update": update_with(error=lambda y, y_hat: 2 * y - 1)},
            variants=({"perceptron_update": update_with(error=lambda y, y_hat: y)},),
        ),
        Mistake(
            name="update-sign-flipped",
            advice="It is y minus y_hat: a point that should be 1 must gain score; yours loses it.",
            replaces={"perceptron_update": update_with(error=lambda y, y_hat: y_hat - y)},
        ),
        Mistake(
            name="bias-never-updated",
            advice="The bias is a weight whose input is always 1: it moves by lr * (y - y_hat) too.",
            replaces={"perceptron_update": update_with(bias=lambda b, e, lr: b)},
        ),
        Mistake(
            name="bias-without-the-rate",
            advice="The bias moves by lr times the error, like the weights; the rate is missing.",
            replaces={"perceptron_update": update_with(bias=lambda b, e, lr: b + e)},
        ),
        Mistake(
            name="weights-without-the-rate",
            advice="The weights move by lr * (y - y_hat) * x; the rate is missing.",
            replaces={"perceptron_update": update_with(step=lambda x, e, lr: e * x)},
        ),
        Mistake(
            name="every-point-at-zero-corrected",
            advice="At a score of exactly 0 the unit says 0, which is right for the label 0. The test "
            "s (w.x + b) <= 0 with s = -1 or 1 corrects such a point, too.",
            replaces={"perceptron_update": update_at_zero_too},
        ),
        Mistake(
            name="labels-of-two-kinds-mixed",
            advice="Labels of -1 and 1 have crept in: a wrong 1 is corrected by -2 instead of -1. Keep both y and "
            "y_hat 0 or 1.",
            replaces={"perceptron_update": update_with(error=lambda y, y_hat: (2 * y - 1) - y_hat)},
            variants=({"perceptron_update": update_with(error=lambda y, y_hat: 2 * (y - y_hat))},),
        ),
        Mistake(
            name="update-says-one-at-zero",
            advice="A score of exactly 0 says 0: with zero weights a point with label 1 is a mistake, one with 0 is "
            "not.",
            replaces={"perceptron_update": update_with(says=lambda x, w, b: int(f64(x) @ f64(w) + b >= 0))},
        ),
        Mistake(
            name="correction-without-the-point",
            advice="The weights move along the point: the correction is multiplied by x.",
            replaces={"perceptron_update": update_with(step=lambda x, e, lr: lr * e * np.ones_like(x))},
        ),
        Mistake(
            name="weights-modified-in-place",
            advice="w += ... changes the caller's own array: return w + ... instead.",
            replaces={"perceptron_update": update_in_place},
        ),
    ),
)

# --- training --------------------------------------------------------------------------------------------------------


def right_fit(X: Any, y: Any, n_epochs: int, lr: float = 1.0) -> tuple[Array, float, list[int]]:
    fit = ref.perceptron_fit(X, y, n_epochs, lr)
    return fit.w, fit.b, fit.mistakes


def fit_with(
    *,
    stale: bool = False,
    stops: bool = True,
    stop_one_later: bool = False,
    records_clean: bool = True,
    start: Callable[[int], Array] = np.zeros,
    counted: Callable[[list[int]], Any] = lambda mistakes: mistakes,
    order: Callable[[int, int], Any] = lambda n, epoch: range(n),
    judged_after: bool = False,
    counted_at: str = "each point",
) -> Callable[..., Any]:
    """Training with one of its parts replaced."""

    def wrong(X: Any, y: Any, n_epochs: int, lr: float = 1.0) -> Any:
        X, y = f64(X), np.asarray(y)
        w, b = start(X.shape[1]), 0.0
        mistakes: list[int] = []
        clean = 0
        for epoch in range(n_epochs):
            said = ref.perceptron_predict(X, w, b)
            count = 0
            for i in order(len(X), epoch):
                y_hat = int(said[i]) if stale else int(ref.perceptron_predict(X[i], w, b))
                error = int(y[i]) - y_hat
                w, b = w + lr * error * X[i], b + lr * error
                if judged_after:
                    y_hat = int(ref.perceptron_predict(X[i], w, b))
                count += int(y_hat != y[i])
            if counted_at == "the end":
                said = ref.perceptron_predict(X, w, b)
            if counted_at in ("the start", "the end"):
                count = int(np.sum(said != y))
            clean += count == 0
            if count or records_clean:
                mistakes.append(count)
            if stops and clean > stop_one_later:
                break
        return w, b, counted(mistakes)

    return wrong


def total_to_the_end(mistakes: list[int]) -> list[int]:
    return np.cumsum(mistakes).tolist()


FITS = {
    "stale-predictions": fit_with(stale=True),
    "judged-after-the-update": fit_with(judged_after=True),
    "counted after each epoch": fit_with(counted_at="the end"),
    "counted before each epoch": fit_with(counted_at="the start"),
    "start-not-at-zero": fit_with(start=np.ones),
    "every-epoch-backwards": fit_with(order=lambda n, epoch: range(n - 1, -1, -1)),
}


def all_counts() -> list[Callable[..., Any]]:
    """The right list of mistakes, and that of every mistake of the training."""
    return [lambda *args, f=f: f(*args)[2] for f in (right_fit, *FITS.values())]


def telling_fit(*shape: Any) -> Any:
    """Points on which every mistake of the training shows in the weights, and in the counts."""
    # Those that only count otherwise move as the right one does.
    moves = [f for name, f in FITS.items() if not name.startswith(("judged", "counted"))]
    weights = [lambda *args, f=f: f(*args)[:2] for f in (right_fit, *moves)]
    return telling(telling(mixed(*shape), all_counts), lambda: weights)


@prop("the mistakes stay below the bound", 3, "perceptron_fit")
def bound_holds(student: Any, rng: Rng) -> None:
    X, y, w, b = apart(rng, 16, 2, gap=0.3)
    bound = ref.mistake_bound(X, y, w, b)
    _, _, mistakes = items(student.perceptron_fit(X, y, 2000), ("w", "b", "mistakes"))
    mistakes = numbers(mistakes, None, "`mistakes`")
    with case_of("16 points that a line separates", student.transcript[-1][0]):
        holds(
            mistakes.ndim == 1 and mistakes.size > 0 and float(mistakes[-1]) == 0,
            "a line separates these points, so the training must end with an epoch without a mistake.",
        )
        total = float(mistakes.sum())
        holds(
            total <= bound,
            "the training made more mistakes than Novikoff's bound allows.",
            f"It made {total:g} in all, and {bound:.1f} is the bound.",
        )


@prop("from zero weights the rate changes nothing but the scale", 2, "perceptron_fit")
def rate_is_scale(student: Any, rng: Rng) -> None:
    X, y, _ = telling(separable(20, 3, 400), all_counts)(rng)
    # Powers of two scale every number exactly, so that no rounding can turn a mistake into none.
    slow, fast = (items(student.perceptron_fit(X, y, 400, lr), ("w", "b", "mistakes")) for lr in (0.25, 4.0))
    with case_of("20 points, with the rates 0.25 and 4", student.transcript[-1][0]):
        same(slow[2], f64(right_fit(X, y, 400)[2]), "the list of mistakes with the rate 0.25")
        same(fast[2], f64(right_fit(X, y, 400)[2]), "the list of mistakes with the rate 4")
        same(fast[0], 16 * numbers(slow[0], (3,), "`w`"), "`w` with the rate 4, compared with 16 times w with 0.25,")


FIT = Exercise(
    name="perceptron_fit",
    title="Training until an epoch is clean",
    functions=("perceptron_fit",),
    hints=(
        "Two loops: epochs outside, points inside. What is counted, and when does the outer loop end?",
        "At each point: ask what the current weights say, count it if it is wrong, then update. After the points: "
        "append the count, and stop if it is 0.",
        "Start with zeros, an empty list, and for each epoch a counter at 0. The comparison with the label comes "
        "before perceptron_update in the inner loop; break out of the outer one after appending a 0.",
    ),
    checks=(
        numeric(
            "mistakes, epoch by epoch",
            5,
            "perceptron_fit",
            right_fit,
            [
                Case("30 points that a line separates", separable(30, 2, 200)),
                Case("15 points in five dimensions", separable(15, 5, 200)),
                Case("points that no line separates, six epochs", telling_fit(20, 2, 6)),
            ],
            pick=2,
            result="the list of mistakes",
        ),
        numeric(
            "the weights where it ends",
            5,
            "perceptron_fit",
            right_fit,
            [
                Case("30 points that a line separates", separable(30, 2, 200)),
                Case("points that no line separates, six epochs", telling_fit(20, 2, 6)),
                Case("a rate of 0.1", mixed(12, 3, 3, 0.1)),
                Case("a single epoch", separable(10, 2, 1)),
            ],
        ),
        numeric(
            "logical and: found; exclusive or: never",
            3,
            "perceptron_fit",
            right_fit,
            [
                Case("the four points of the logical and", logical_and(50)),
                Case("the same in plain lists", lambda rng: (AND[0].tolist(), AND[1].tolist(), 50)),
                Case("the four points of the exclusive or, twenty epochs", xor(20)),
            ],
            pick=2,
            result="the list of mistakes",
        ),
        rate_is_scale,
        bound_holds,
        unchanged(2, {"perceptron_fit": separable(8, 2, 5)}),
    ),
    mistakes=(
        Mistake(
            name="stale-predictions",
            advice="All points were judged by the weights at the start of the epoch; judge each by those it meets.",
            replaces={"perceptron_fit": FITS["stale-predictions"]},
        ),
        Mistake(
            name="does-not-stop",
            advice="After an epoch without a mistake nothing can change any more: stop there.",
            replaces={"perceptron_fit": fit_with(stops=False)},
            variants=({"perceptron_fit": fit_with(stop_one_later=True)},),
        ),
        Mistake(
            name="clean-epoch-not-recorded",
            advice="The clean epoch was run too: its 0 belongs at the end of the list, as the sign that it came to "
            "rest.",
            replaces={"perceptron_fit": fit_with(records_clean=False)},
        ),
        Mistake(
            name="judged-after-the-update",
            advice="The point is judged by the weights that it has just corrected: count the mistake before the "
            "update.",
            replaces={"perceptron_fit": FITS["judged-after-the-update"]},
        ),
        Mistake(
            name="all-points-counted-at-once",
            advice="A mistake is counted when its point is met, by the weights of that moment; yours judges all points "
            "by the weights that an epoch ends with, or begins with.",
            replaces={"perceptron_fit": FITS["counted after each epoch"]},
            variants=({"perceptron_fit": FITS["counted before each epoch"]},),
        ),
        Mistake(
            name="mistakes-added-up",
            advice="Each epoch counts from 0 again; yours carries the mistakes of earlier epochs on.",
            replaces={"perceptron_fit": fit_with(counted=total_to_the_end)},
        ),
        Mistake(
            name="one-total",
            advice="One number for each epoch is asked for, in a list, not their total.",
            replaces={"perceptron_fit": fit_with(counted=sum)},
        ),
        Mistake(
            name="share-of-mistakes",
            advice="The list holds how many mistakes there were in each epoch, not whether or where.",
            replaces={"perceptron_fit": fit_with(counted=lambda mistakes: [float(m > 0) for m in mistakes])},
        ),
        Mistake(
            name="start-not-at-zero",
            advice="The training starts from w = 0 and b = 0; ones or random numbers give other mistakes.",
            replaces={"perceptron_fit": FITS["start-not-at-zero"]},
        ),
        Mistake(
            name="every-epoch-backwards",
            advice="The points come in their own order in every epoch.",
            replaces={"perceptron_fit": FITS["every-epoch-backwards"]},
        ),
    ),
)

# --- margin and bound ------------------------------------------------------------------------------------------------


def judged(n: int, d: int, length: float = 1.0) -> Any:
    """Draws points, labels and the plane that separates them, its weights that many times as long."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        X, y, w, b = apart(rng, n, d)
        return X, y, length * w, length * b

    return draw


def misjudged(n: int, d: int) -> Any:
    """Draws points and weights that have nothing to do with their labels."""
    return lambda rng: (rng.normal(size=(n, d)), np.arange(n) % 2, rng.normal(size=d), float(rng.normal()))


def margin_with(
    length: Callable[..., Any] = lambda w, b: np.hypot(np.linalg.norm(w), b),
    sign: Callable[[Array], Array] = lambda y: 2.0 * y - 1.0,
    gather: Callable[[Array], Any] = np.min,
    bias: float = 1.0,
) -> Callable[..., Any]:
    """A margin with one of its parts replaced."""

    def wrong(X: Any, y: Any, w: Any, b: Any) -> float:
        X, y, w = f64(X), f64(y), f64(w)
        return float(gather(sign(y) * (X @ w + bias * b)) / length(w, b))

    return wrong


MARGIN = Exercise(
    name="margin",
    title="How much room a line leaves",
    functions=("margin",),
    hints=(
        "What sign must w.x + b have for a point of class 1? And of class 0? Make both positive.",
        "2 y - 1 turns labels 0 and 1 into signs. The smallest of the signed scores decides; then divide by a length.",
        "Take the minimum of (2 y - 1) * (X @ w + b), and divide by the square root of the sum of all w squared plus b "
        "squared.",
    ),
    checks=(
        numeric(
            "weights that separate",
            3,
            "margin",
            ref.margin,
            [
                Case("twelve points in the plane", judged(12, 2)),
                Case("nine points in four dimensions", judged(9, 4)),
            ],
        ),
        numeric(
            "negative where a point is on the wrong side",
            2,
            "margin",
            ref.margin,
            [
                Case("random weights, ten points", misjudged(10, 3)),
                Case(
                    "a single point on the wrong side", lambda rng: (rng.normal(size=(1, 2)) + 3, [0], np.ones(2), 2.0)
                ),
            ],
        ),
        numeric(
            "lengths of any size, and lists",
            2,
            "margin",
            ref.margin,
            [
                Case("weights a thousand times as long", judged(8, 2, length=1000.0)),
                Case("weights a millionth as long", judged(8, 2, length=1e-6)),
                Case("lists", lambda rng: ([[2.0, 0.0], [-1.0, 0.0]], [1, 0], [3.0, 0.0], 4.0)),
            ],
        ),
        unchanged(1, {"margin": judged(5, 2)}),
    ),
    mistakes=(
        Mistake(
            name="margin-not-divided",
            advice="The scores grow with w and b; divide by |(w, b)| to get a distance.",
            replaces={"margin": margin_with(length=lambda w, b: 1.0)},
        ),
        Mistake(
            name="margin-without-the-bias-in-the-length",
            advice="The bias is folded in: the length is that of (w, b), with b squared under the root as well.",
            replaces={"margin": margin_with(length=lambda w, b: np.linalg.norm(w))},
        ),
        Mistake(
            name="margin-without-signs",
            advice="A point of class 0 belongs below the line: multiply its score by -1, its label is not enough.",
            replaces={"margin": margin_with(sign=lambda y: np.ones_like(y))},
            variants=({"margin": margin_with(sign=lambda y: y)},),
        ),
        Mistake(
            name="margin-of-absolute-scores",
            advice="A point on the wrong side has a negative distance; absolute values hide it.",
            replaces={"margin": margin_with(gather=lambda signed: np.abs(signed).min())},
        ),
        Mistake(
            name="margin-on-average",
            advice="The margin is the room of the point with the least of it: the minimum, not the mean.",
            replaces={"margin": margin_with(gather=np.mean)},
        ),
        Mistake(
            name="margin-without-the-bias-in-the-score",
            advice="The score of a point is w.x + b; the bias is missing.",
            replaces={"margin": margin_with(bias=0.0)},
        ),
    ),
)


def right_bound(X: Any, y: Any, w: Any, b: Any) -> float:
    return ref.mistake_bound(X, y, w, b) if ref.margin(X, y, w, b) > 0 else np.inf


def bound_with(
    radius_squared: Callable[[Array], Any] = lambda X: np.max((X**2).sum(axis=1) + 1.0),
    ratio: Callable[..., Any] = lambda r2, gap: r2 / gap**2,
    no_bound: Callable[..., Any] = lambda r2, gap: np.inf,
) -> Callable[..., Any]:
    """A bound with one of its parts replaced."""

    def wrong(X: Any, y: Any, w: Any, b: Any) -> float:
        r2, gap = float(radius_squared(f64(X))), ref.margin(X, y, w, b)
        return float(ratio(r2, gap) if gap > 0 else no_bound(r2, gap))

    return wrong


BOUND = Exercise(
    name="mistake_bound",
    title="How many mistakes there can be",
    functions=("mistake_bound",),
    hints=(
        "You have the margin. What is the largest distance of a point (x, 1) from the origin?",
        "R squared is the largest sum of squares of a point, plus 1 for the folded bias. No root is needed, as the "
        "ratio is squared anyway.",
        "If the margin is 0 or less return np.inf. Otherwise the largest of sum(x**2) + 1, divided by the margin "
        "squared.",
    ),
    checks=(
        numeric(
            "(R / margin) squared",
            5,
            "mistake_bound",
            right_bound,
            [
                Case("twelve points in the plane", judged(12, 2)),
                Case("nine points in four dimensions", judged(9, 4)),
                Case("lists", lambda rng: ([[2.0, 0.0], [-1.0, 0.0]], [1, 0], [1.0, 0.0], 0.0)),
                Case(
                    "weights that separate, but only just",
                    lambda rng: (np.array([[1.0, 0.0], [-(2.0**-15), 2.0]]), [1, 0], np.array([1.0, 0.0]), 0.0),
                ),
            ],
        ),
        numeric(
            "no bound where the weights do not separate",
            3,
            "mistake_bound",
            right_bound,
            [
                Case("random weights", misjudged(10, 3)),
                Case(
                    "a point exactly on the line",
                    lambda rng: (np.array([[1.0, 0.0], [0.0, 2.0]]), [1, 0], np.array([1.0, 0.0]), 0.0),
                ),
                Case(
                    "a point that is only just on the wrong side",
                    lambda rng: (np.array([[1.0, 0.0], [0.25, 2.0]]), [1, 0], np.array([1.0, 0.0]), 0.0),
                ),
            ],
            alone=False,
        ),
        unchanged(1, {"mistake_bound": judged(5, 2)}),
    ),
    mistakes=(
        Mistake(
            name="bound-not-squared",
            advice="The bound is the square of R / margin; yours is the ratio itself.",
            replaces={"mistake_bound": bound_with(ratio=lambda r2, gap: np.sqrt(r2) / gap)},
        ),
        Mistake(
            name="radius-without-the-bias",
            advice="The bias is folded in: every point has a 1 as its last coordinate, and R counts it.",
            replaces={"mistake_bound": bound_with(radius_squared=lambda X: np.max((X**2).sum(axis=1)))},
        ),
        Mistake(
            name="radius-of-the-average-point",
            advice="R is the length of the longest point, not of an average one.",
            replaces={"mistake_bound": bound_with(radius_squared=lambda X: np.mean((X**2).sum(axis=1) + 1.0))},
        ),
        Mistake(
            name="radius-of-the-largest-number",
            advice="R is the length of a whole point: sum the squares of its coordinates before taking the maximum.",
            replaces={"mistake_bound": bound_with(radius_squared=lambda X: np.max(X**2) + 1.0)},
        ),
        Mistake(
            name="bound-without-a-separator",
            advice="A margin of 0 or less means that the weights do not separate: then there is no bound, np.inf.",
            replaces={"mistake_bound": bound_with(no_bound=lambda r2, gap: r2 / gap**2 if gap else np.nan)},
        ),
        Mistake(
            name="only-the-radius-squared",
            advice="The whole ratio is squared, the margin too.",
            replaces={"mistake_bound": bound_with(ratio=lambda r2, gap: r2 / gap)},
        ),
    ),
)

# --- the best line ---------------------------------------------------------------------------------------------------


def searched_with(
    angles: Callable[[int], Array] = lambda n: (np.arange(n) + 0.5) * np.pi / n,
    thresholds: Callable[[Array], Array] = lambda along: np.pad(along, ((0, 0), (1, 0)), constant_values=-np.inf),
    both: bool = True,
    gather: Callable[[Array], Any] = np.max,
    count: bool = False,
) -> Callable[..., Any]:
    """A search with one of its parts replaced; `thresholds` gives some for each direction."""

    def wrong(X: Any, y: Any, n_angles: int = 180) -> float:
        X, y = f64(X), np.asarray(y)
        a = angles(n_angles)
        along = np.stack([np.cos(a), np.sin(a)], axis=1) @ X.T
        shares = ((along[:, None, :] > thresholds(along)[:, :, None]) == (y == 1)).mean(axis=2)
        return float(gather(np.maximum(shares, 1 - shares) if both else shares)) * (len(y) if count else 1)

    return wrong


SEARCHES = {
    "one-side-only": searched_with(both=False),
    "lines-through-the-origin": searched_with(thresholds=lambda along: np.zeros((len(along), 1))),
    "directions-of-the-axes-only": searched_with(angles=lambda n: np.array([0.0, np.pi / 2])),
    "quarter-circle-only": searched_with(angles=lambda n: (np.arange(n) + 0.5) * np.pi / 2 / n),
}


def coarse(n: int, n_angles: int) -> Any:
    """Draws points with random labels, which a line may get half right."""
    return lambda rng: (rng.normal(size=(n, 2)) + 0.5, rng.permutation(np.arange(n) % 2), n_angles)


def needle(rng: Rng) -> tuple[Array, Array]:
    """Draws two classes on the two sides of a line that only one of 180 directions separates, in a narrow gap.

    That direction has the normal of the line; the next ones on both sides are a degree away. At a quarter of a degree,
    where the nearest of 360, of 90 or of shifted directions are, the points farthest out are on the wrong side already.
    """
    angle = (int(rng.integers(10, 80)) + 90 * int(rng.integers(2)) + 0.5) * np.pi / 180
    along, y = np.linspace(-1.0, 1.0, 12), np.arange(12) % 2
    across = (2 * y - 1) * np.tan(np.pi / 180 * 0.15)
    X = np.outer(along, [-np.sin(angle), np.cos(angle)]) + np.outer(across, [np.cos(angle), np.sin(angle)])
    return X, y


def telling_search(n: int, n_angles: int) -> Any:
    return telling(coarse(n, n_angles), lambda: [ref.searched_linear_accuracy, *SEARCHES.values()])


BEST_LINE = Exercise(
    name="best_linear_accuracy",
    title="The best that a line can do",
    functions=("best_linear_accuracy",),
    hints=(
        "For one direction: how many really different thresholds are there, and what does each get right?",
        "X @ (cos a, sin a) are the projections. Comparing them with each of them gives all cuts but one. If a cut "
        "gets a share p right, calling the other side 1 gets 1 - p.",
        "Loop over directions; in each loop over the projections and minus infinity as thresholds; take the share "
        "where (projection > threshold) agrees with (y == 1), and the larger of it and 1 minus it; keep the largest of "
        "all.",
    ),
    checks=(
        numeric(
            "the exclusive or: three of four",
            4,
            "best_linear_accuracy",
            ref.searched_linear_accuracy,
            [
                Case("the four points of the exclusive or", xor()),
                Case("as lists", lambda rng: (XOR[0].tolist(), [0, 1, 1, 0])),
            ],
        ),
        numeric(
            "points that a line separates, or almost",
            3,
            "best_linear_accuracy",
            ref.searched_linear_accuracy,
            [
                Case("the logical and", logical_and()),
                Case("class 1 on the left", lambda rng: ([[0.0, 0.0], [1.0, 0.1], [3.0, 0.2]], [1, 1, 0])),
                Case("class 1 below", lambda rng: ([[0.0, 3.0], [0.1, 1.0], [0.2, 0.0]], [0, 1, 1])),
                Case("class 1 on the right", lambda rng: ([[0.0, 0.0], [1.0, 0.1], [3.0, 0.2]], [0, 0, 1])),
                Case(
                    "a point of each class at the same place, which no line separates",
                    lambda rng: ([[0.0, 0.0], [0.0, 0.0], [1.0, 2.0], [2.0, 1.0]], [0, 1, 1, 0]),
                ),
                Case("points of one class only", lambda rng: (rng.normal(size=(4, 2)), np.ones(4, dtype=np.int64))),
                Case(
                    "points of the other class only", lambda rng: (rng.normal(size=(4, 2)), np.zeros(4, dtype=np.int64))
                ),
            ],
            alone=False,
        ),
        numeric(
            "every direction and every threshold, and no more of them",
            3,
            "best_linear_accuracy",
            ref.searched_linear_accuracy,
            [
                Case("180 directions unless told otherwise, of which one finds the gap", needle),
                Case("30 points, twelve directions", telling_search(30, 12)),
                Case("seven points, two directions", coarse(7, 2)),
                Case("seven points, a single direction", coarse(7, 1)),
            ],
        ),
        unchanged(1, {"best_linear_accuracy": coarse(4, 5)}),
    ),
    mistakes=(
        Mistake(
            name="one-side-only",
            advice="Either side of the line may be called 1: a cut that gets a share p right gets 1 - p the other way.",
            replaces={"best_linear_accuracy": SEARCHES["one-side-only"]},
        ),
        Mistake(
            name="lines-through-the-origin",
            advice="A line need not pass through the origin: try every threshold, not 0 alone.",
            replaces={"best_linear_accuracy": SEARCHES["lines-through-the-origin"]},
        ),
        Mistake(
            name="directions-of-the-axes-only",
            advice="Upright and level lines are not enough: try all the directions.",
            replaces={"best_linear_accuracy": SEARCHES["directions-of-the-axes-only"]},
        ),
        Mistake(
            name="average-line",
            advice="The best of all lines is asked for, not the average one.",
            replaces={"best_linear_accuracy": searched_with(gather=np.mean)},
        ),
        Mistake(
            name="points-counted",
            advice="The share of points is asked for: divide the number of right ones by how many there are.",
            replaces={"best_linear_accuracy": searched_with(count=True)},
        ),
        Mistake(
            name="quarter-circle-only",
            advice="The directions cover half a circle, angles from 0 to pi; a quarter misses the lines that lean "
            "back.",
            replaces={"best_linear_accuracy": SEARCHES["quarter-circle-only"]},
        ),
        Mistake(
            name="one-class-beyond-all-points-missing",
            advice="A threshold below all points calls them all 1, which can be the best: try it as well.",
            replaces={"best_linear_accuracy": searched_with(thresholds=lambda along: np.sort(along)[:, :-1])},
        ),
    ),
)

# --- where no line separates -----------------------------------------------------------------------------------------


def averaged_with(
    taken: str = "after each point",
    shrink: Callable[..., float] = lambda n, epochs: 1.0 / (n * epochs),
    stops: bool = False,
) -> Callable[..., Any]:
    """An average over other states than those after each point, or divided by something else."""

    def wrong(X: Any, y: Any, n_epochs: int, lr: float = 1.0) -> Any:
        X, y = f64(X), np.asarray(y)
        w, b = np.zeros(X.shape[1]), 0.0
        states: list[Array] = []
        for _ in range(n_epochs):
            moved = False
            for x, label in zip(X, y, strict=True):
                before = np.append(w, b)
                w, b = ref.perceptron_update(w, b, x, label, lr)
                after = np.append(w, b)
                changed = bool(np.any(after != before))
                moved = moved or changed
                if taken == "before each point":
                    states.append(before)
                elif taken == "after each point" or (taken == "after each update" and changed):
                    states.append(after)
            if taken == "after each epoch":
                states.append(np.append(w, b))
            if stops and not moved:
                break
        if taken == "the last":
            states = [np.append(w, b)]
        if not states:
            return w, b
        total = np.sum(states, axis=0)
        mean = total * shrink(len(X), n_epochs) if taken == "after each point" and not stops else total / len(states)
        return mean[:-1], float(mean[-1])

    return wrong


AVERAGES = {
    "averaged-over-epochs": averaged_with("after each epoch"),
    "averaged-over-updates": averaged_with("after each update"),
    "averaged-before-the-update": averaged_with("before each point"),
    "last-weights-returned": averaged_with("the last"),
}


def telling_average(*shape: Any) -> Any:
    return telling(mixed(*shape), lambda: [ref.averaged_perceptron_fit, *AVERAGES.values()])


AVERAGED = Exercise(
    name="averaged_perceptron",
    title="Repair one: average over the way",
    functions=("averaged_perceptron",),
    hints=(
        "The training itself stays as it was. What else has to be remembered while it runs?",
        "Two sums, one for w and one for b, both zero at first. Add to them after every point, also where nothing "
        "moved.",
        "After the inner update add w to w_sum and b to b_sum. In the end divide both by N * n_epochs. No early stop.",
    ),
    checks=(
        numeric(
            "the mean over all points and epochs",
            5,
            "averaged_perceptron",
            ref.averaged_perceptron_fit,
            [
                Case("20 points that no line separates, four epochs", telling_average(20, 2, 4)),
                Case("twelve points in three dimensions, three epochs", mixed(12, 3, 3)),
                Case("a single epoch", mixed(9, 2, 1)),
            ],
        ),
        numeric(
            "no early stop",
            3,
            "averaged_perceptron",
            ref.averaged_perceptron_fit,
            [
                Case("points that a line separates, long before the last epoch", separable(12, 2, 40)),
                Case("the logical and, twenty epochs", logical_and(20)),
            ],
        ),
        numeric(
            "other rates, lists, and nothing to learn",
            2,
            "averaged_perceptron",
            ref.averaged_perceptron_fit,
            [
                Case("a rate of 0.2", telling_average(10, 2, 2, 0.2)),
                Case("plain lists", lambda rng: ([[1, 2], [-1, 1], [0, -2]], [1, 0, 1], 2, 0.5)),
                Case("labels that are all 0", lambda rng: (rng.normal(size=(4, 2)), np.zeros(4, dtype=np.int64), 3)),
            ],
        ),
        unchanged(1, {"averaged_perceptron": mixed(6, 2, 2)}),
    ),
    mistakes=(
        Mistake(
            name="averaged-over-epochs",
            advice="The sum grows after every point, not once an epoch: within an epoch the weights wander a lot.",
            replaces={"averaged_perceptron": AVERAGES["averaged-over-epochs"]},
        ),
        Mistake(
            name="averaged-over-updates",
            advice="Weights that are right about many points in a row must count for each of them: add after every "
            "point.",
            replaces={"averaged_perceptron": AVERAGES["averaged-over-updates"]},
        ),
        Mistake(
            name="averaged-before-the-update",
            advice="Add the weights after each point's update; yours adds those before it, the zero start included.",
            replaces={"averaged_perceptron": AVERAGES["averaged-before-the-update"]},
        ),
        Mistake(
            name="last-weights-returned",
            advice="The last weights are what the average should replace: return the sums divided by N * n_epochs.",
            replaces={"averaged_perceptron": AVERAGES["last-weights-returned"]},
        ),
        Mistake(
            name="sum-not-divided",
            advice="An average is a sum divided by how many were added, N * n_epochs.",
            replaces={"averaged_perceptron": averaged_with(shrink=lambda n, epochs: 1.0)},
        ),
        Mistake(
            name="divided-by-the-points-only",
            advice="N * n_epochs states were added; yours divides by N alone.",
            replaces={"averaged_perceptron": averaged_with(shrink=lambda n, epochs: 1.0 / n)},
        ),
        Mistake(
            name="average-stops-early",
            advice="The average runs through all epochs: stopping at a clean one gives the wandering start more "
            "weight.",
            replaces={"averaged_perceptron": averaged_with(stops=True)},
        ),
    ),
)


def pocket_with(
    better: Callable[[float, float], bool] = lambda new, old: new > old,
    each: str = "update",
    returned: str = "pocket",
    first: Callable[[float], float] = lambda accuracy: accuracy,
    judge: str = "all points",
) -> Callable[..., Any]:
    """A pocket with other rules: when it is opened, what goes in, and what comes out."""

    def wrong(X: Any, y: Any, n_epochs: int, lr: float = 1.0) -> Any:
        X, y = f64(X), np.asarray(y)
        w, b = np.zeros(X.shape[1]), 0.0

        def share(w: Array, b: float) -> float:
            return float(np.mean(ref.perceptron_predict(X, w, b) == y))

        best = (w, b, first(share(w, b)))
        run = longest = 0
        for _ in range(n_epochs):
            for x, label in zip(X, y, strict=True):
                right = int(ref.perceptron_predict(x, w, b)) == label
                if judge == "longest run":
                    run = run + 1 if right else 0
                    if right and run > longest:
                        longest, best = run, (w, b, share(w, b))
                w, b = ref.perceptron_update(w, b, x, label, lr)
                if judge == "all points" and each == "update" and not right and better(share(w, b), best[2]):
                    best = (w, b, share(w, b))
            if judge == "all points" and each == "epoch" and better(share(w, b), best[2]):
                best = (w, b, share(w, b))
        if returned == "last":
            return w, b, share(w, b)
        if returned == "last weights":
            return w, b, best[2]
        if returned == "count":
            return best[0], best[1], best[2] * len(X)
        return best

    return wrong


POCKETS = {
    "pocket-takes-equals": pocket_with(better=lambda new, old: new >= old),
    "pocket-opened-once-an-epoch": pocket_with(each="epoch"),
    "pocket-not-returned": pocket_with(returned="last"),
    "best accuracy, last weights": pocket_with(returned="last weights"),
    "worst-in-the-pocket": pocket_with(better=lambda new, old: new < old),
    "pocket-counts-points": pocket_with(returned="count"),
    "longest-run-in-the-pocket": pocket_with(judge="longest run"),
}


def telling_pocket(n: int, d: int, epochs: int) -> Any:
    return telling(mixed(n, d, epochs), lambda: [ref.pocket_perceptron_fit, *POCKETS.values()])


@prop("the accuracy is that of the weights that come with it", 2, "pocket_perceptron")
def pocket_is_honest(student: Any, rng: Rng) -> None:
    X, y = mixed(24, 2)(rng)
    w, b, accuracy = items(student.pocket_perceptron(X, y, 5), ("w", "b", "accuracy"))
    with case_of("24 points that no line separates", student.transcript[-1][0]):
        said = ref.perceptron_predict(X, numbers(w, (2,), "`w`"), float(numbers(b, (), "`b`")))
        same(accuracy, float(np.mean(said == y)), "the accuracy, compared with that of the returned w and b,")


POCKET = Exercise(
    name="pocket_perceptron",
    title="Repair two: keep the best on the way",
    functions=("pocket_perceptron",),
    hints=(
        "Training goes on with the current weights, whatever is in the pocket. What is compared, and when?",
        "Put the zero weights and their accuracy into the pocket first. After each update that moved something, "
        "predict all points and compare the share of right ones with the pocket's.",
        "Keep a tuple best = (w, b, accuracy). Replace it when the new accuracy is greater, not when it is equal. "
        "Return best after all epochs.",
    ),
    checks=(
        numeric(
            "the best weights on the way",
            5,
            "pocket_perceptron",
            ref.pocket_perceptron_fit,
            [
                Case("24 points that no line separates, five epochs", telling_pocket(24, 2, 5)),
                Case("15 points in three dimensions, four epochs", mixed(15, 3, 4)),
                Case("points that a line separates", separable(14, 2, 30)),
                Case("a single epoch", lambda rng: ([[1.0, 3.0], [-1.0, 2.0]], [1, 0], 1)),
            ],
        ),
        numeric(
            "the exclusive or, and nothing to learn",
            3,
            "pocket_perceptron",
            ref.pocket_perceptron_fit,
            [
                Case("the exclusive or, where the zero weights are never beaten", xor(20)),
                Case("16 points that no line separates, three epochs", telling_pocket(16, 2, 3)),
                Case("labels that are all 0", lambda rng: (rng.normal(size=(4, 2)), np.zeros(4, dtype=np.int64), 3)),
                Case("plain lists, a rate of 0.5", lambda rng: ([[1, 2], [-1, 1], [0, -2]], [1, 0, 1], 2, 0.5)),
            ],
        ),
        pocket_is_honest,
        unchanged(1, {"pocket_perceptron": mixed(6, 2, 2)}),
    ),
    mistakes=(
        Mistake(
            name="pocket-takes-equals",
            advice="Only strictly better weights go into the pocket: of equally good ones the first stays.",
            replaces={"pocket_perceptron": POCKETS["pocket-takes-equals"]},
        ),
        Mistake(
            name="pocket-opened-once-an-epoch",
            advice="The best weights may come and go within an epoch: compare after every update.",
            replaces={"pocket_perceptron": POCKETS["pocket-opened-once-an-epoch"]},
        ),
        Mistake(
            name="pocket-not-returned",
            advice="The last weights come back; the pocket was there to be returned.",
            replaces={"pocket_perceptron": POCKETS["pocket-not-returned"]},
            variants=({"pocket_perceptron": POCKETS["best accuracy, last weights"]},),
        ),
        Mistake(
            name="worst-in-the-pocket",
            advice="The weights with more right points are the better ones; yours keeps those with fewer.",
            replaces={"pocket_perceptron": POCKETS["worst-in-the-pocket"]},
        ),
        Mistake(
            name="pocket-empty-at-the-start",
            advice="The pocket starts with the zero weights and their accuracy, which the first update has to beat.",
            replaces={"pocket_perceptron": pocket_with(first=lambda accuracy: 0.0)},
        ),
        Mistake(
            name="pocket-counts-points",
            advice="The accuracy is a share: the number of right points divided by all of them.",
            replaces={"pocket_perceptron": POCKETS["pocket-counts-points"]},
        ),
        Mistake(
            name="longest-run-in-the-pocket",
            advice="A long run of right answers only hints at good weights: count on all points, as the text asks.",
            replaces={"pocket_perceptron": POCKETS["longest-run-in-the-pocket"]},
        ),
    ),
)

# --- the picture -----------------------------------------------------------------------------------------------------


def draw_line(axes: Any, w: Any, b: Any, label: str, **style: Any) -> None:
    w, b = numbers(w, (2,), "`w`"), float(numbers(b, (), "`b`"))
    ends = np.array([-4.0, 4.0])
    if abs(w[1]) > 1e-9:
        axes.plot(ends, -(w[0] * ends + b) / w[1], label=label, **style)


def draw_picture(student: Any, figure: Any) -> None:
    """The student's three lines through classes that overlap, and how many mistakes every epoch made."""
    left, right = figure.subplots(1, 2)
    rng = np.random.default_rng(310)
    epochs = 25
    X, y = mixed(60, 2)(rng)
    w, b, mixed_mistakes = items(student.perceptron_fit(X, y, epochs), ("w", "b", "mistakes"))
    lines = {
        "the last weights": (w, b),
        "the average": items(student.averaged_perceptron(X, y, epochs), ("w", "b")),
        "the pocket": items(student.pocket_perceptron(X, y, epochs), ("w", "b", "accuracy"))[:2],
    }
    for label, marker, color in ((0, "o", "#c0392b"), (1, "^", "#2471a3")):
        left.scatter(*X[y == label].T, s=16, marker=marker, color=color, label=f"class {label}")
    for i, (name, (w, b)) in enumerate(lines.items()):
        said = numbers(student.perceptron_predict(X, w, b), (60,), "the predictions")
        draw_line(left, w, b, f"{name}: {np.mean(said == y):.0%} right", color=f"C{i + 1}", ls=("-", "--", "-.")[i])
    best = float(numbers(student.best_linear_accuracy(X, y), (), "the accuracy"))
    left.set(xlim=(-3.2, 3.2), ylim=(-4.6, 3.6), xlabel="first input", ylabel="second input")
    left.set_title(f"Classes that overlap (the best line: {best:.0%})")
    left.legend(fontsize=7, loc="lower left", framealpha=1.0)
    apart_X, apart_y, *_ = apart(rng, 60, 2, gap=0.05)
    runs = {
        "60 points, a line separates them": items(student.perceptron_fit(apart_X, apart_y, epochs), ("w", "b", "m"))[2],
        "60 points, the classes overlap": mixed_mistakes,
        "exclusive or, four points": items(student.perceptron_fit(*XOR, epochs), ("w", "b", "m"))[2],
    }
    for i, (name, mistakes) in enumerate(runs.items()):
        counts = numbers(mistakes, None, "`mistakes`")
        right.plot(np.arange(1, len(counts) + 1), counts, "o-", ms=3, lw=1.2, color=f"C{i}", label=name)
    right.set(xlabel="epoch", ylabel="mistakes in the epoch", ylim=(-0.5, None), title="Coming to rest, or not")
    right.legend(frameon=False, fontsize=8)


CHAPTER = Chapter(
    id="ch302",
    slug="perceptron",
    title="The Perceptron",
    part="Foundations",
    summary="One unit that learns from its mistakes, the bound on how many it can make, and two repairs for classes "
    "that no line separates.",
    builds_on=("ch301",),
    exercises=(PREDICT, UPDATE, FIT, MARGIN, BOUND, BEST_LINE, AVERAGED, POCKET),
    picture=Picture(title="What a single unit can learn", draw=draw_picture),
)
