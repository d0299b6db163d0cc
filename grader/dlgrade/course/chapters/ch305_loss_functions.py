"""Checks of chapter 305: losses and their gradients, exact at any logits."""

from __future__ import annotations

from typing import Any

import numpy as np
from dlreference import losses as ref

from dlgrade.course.compare import below, holds, numbers, same
from dlgrade.course.kinds import Case, Rng, case_of, loss_gradient, numeric, picked, prop, unchanged
from dlgrade.course.spec import Chapter, Exercise, Mistake, Picture
from dlgrade.sandbox.protocol import Callback

Array = np.ndarray[Any, Any]


def pair(*shape: int, scale: float = 1.0) -> Any:
    """Draws predictions and targets of this shape."""
    return lambda rng: (scale * rng.normal(size=shape), scale * rng.normal(size=shape))


def labelled(batch: int, classes: int, around: float = 0.0) -> Any:
    """Draws logits and integer labels."""
    return lambda rng: (around + rng.normal(size=(batch, classes)), rng.integers(classes, size=batch))


def one_hot(batch: int, classes: int) -> Any:
    """Draws logits and one-hot rows."""
    return lambda rng: (rng.normal(size=(batch, classes)), np.eye(classes)[rng.integers(classes, size=batch)])


def binary(*shape: int, scale: float = 1.0) -> Any:
    """Draws logits and targets 0 or 1 of this shape, both classes present where there is room."""

    def draw(rng: Rng) -> tuple[Array, Array]:
        size = int(np.prod(shape))
        y = rng.permutation(np.arange(size) % 2).astype(np.float64)
        return scale * rng.normal(size=shape), y.reshape(shape)

    return draw


def residuals(*sizes: float) -> Any:
    """Draws predictions whose errors have these sizes, with random signs, around random targets."""

    def draw(rng: Rng) -> tuple[Array, Array]:
        y = np.round(rng.normal(size=len(sizes)), 3)
        return y + np.array(sizes) * rng.choice([-1.0, 1.0], size=len(sizes)), y

    return draw


def uneven(rng: Rng) -> tuple[Array, Array]:
    """Draws predictions and targets of very different sizes."""
    sizes = np.array([1e4, 1.0, 1e2, 1e-2, 1e-4])
    return sizes * rng.normal(size=5), sizes * rng.normal(size=5)


def outlier(rng: Rng) -> tuple[Array, Array]:
    """Draws ordinary predictions and targets, and one target far away."""
    y_hat, y = rng.normal(size=6), rng.normal(size=6)
    y[rng.integers(6)] += rng.choice([-1e4, 1e4])
    return y_hat, y


# A gradient of a few millionths is exact by its formula, while differences of a loss of size one have lost it: with no
# absolute tolerance, it tells the two apart. Were it smaller, 1 - p would lose digits, too, and clipping would be felt.


def hardly_possible(batch: int, classes: int, around: float = 0.0) -> Any:
    """Draws logits and labels; the last class is nearly impossible, and never the right one."""

    def draw(rng: Rng) -> tuple[Array, Array]:
        logits = rng.uniform(-1.0, 1.0, size=(batch, classes))
        logits[:, -1] -= 12.0
        return around + logits, rng.integers(classes - 1, size=batch)

    return draw


def sure(rng: Rng) -> tuple[Array, Array]:
    """Draws logits that are sure and right (four), sure and wrong (two), and undecided (two)."""
    z = np.concatenate([rng.uniform(10.0, 11.5, size=4), rng.uniform(-14.0, -12.0, size=2), rng.normal(size=2)])
    y = rng.permutation(np.arange(8) % 2)
    order = rng.permutation(8)
    return (z * (2 * y - 1))[order], y[order].astype(np.float64)


def single(draw: Any) -> Any:
    """The same draw, its numbers with a fraction in float32."""
    return lambda rng: tuple(a.astype(np.float32) if a.dtype.kind == "f" else a for a in draw(rng))


def fixed(*args: Any) -> Any:
    """A case whose numbers are the same for everybody."""
    return lambda rng: tuple(np.array(a, dtype=np.float64) if isinstance(a, list) else a for a in args)


# --- MSE -------------------------------------------------------------------------------------------------------------


def mse_without_two(y_hat: Array, y: Array) -> Any:
    loss, grad = ref.mse(y_hat, y)
    return loss, grad / 2


def mse_of_rows(y_hat: Array, y: Array) -> Any:
    loss, grad = ref.mse(y_hat, y)
    columns = np.size(grad) / len(grad)
    return loss * columns, grad * columns


def mse_grad_not_averaged(y_hat: Array, y: Array) -> Any:
    loss, grad = ref.mse(y_hat, y)
    return loss, grad * np.size(grad)


def mse_sign(y_hat: Array, y: Array) -> Any:
    loss, grad = ref.mse(y_hat, y)
    return loss, -grad


MSE = Exercise(
    name="mse",
    title="Mean squared error and its gradient",
    functions=("mse",),
    hints=(
        "Write the loss for two numbers on paper and differentiate it with respect to the first prediction.",
        "Three things meet in the gradient: the error itself, a factor from the square, and the number of entries.",
        "Compute error = y_hat - y once. The loss is the mean of its square; the gradient is error times a constant "
        "that you get by differentiating error**2 / N.",
    ),
    checks=(
        numeric(
            "loss is the mean over all entries",
            3,
            "mse",
            ref.mse,
            [
                Case("a vector of six predictions", pair(6)),
                Case("a batch of rows, where all entries count", pair(4, 3)),
                Case("a single prediction", pair(1)),
            ],
            pick=0,
            result="the loss",
        ),
        loss_gradient(
            "gradient of that mean",
            4,
            "mse",
            ref.mse,
            [
                Case("a vector of six predictions", pair(6)),
                Case("a batch of rows", pair(4, 3)),
                Case("a single prediction", pair(1)),
                Case("an outlier, a target ten thousand away", outlier),
            ],
        ),
        loss_gradient(
            "gradient is a formula, exact at any scale",
            2,
            "mse",
            ref.mse,
            [Case("values in the millions", pair(5, scale=1e6)), Case("values of very different sizes", uneven)],
        ),
        numeric(
            "lists and float32 are accepted, float64 comes back",
            2,
            "mse",
            ref.mse,
            [
                Case("plain lists", lambda rng: (rng.normal(size=3).tolist(), rng.normal(size=3).tolist())),
                Case("float32 arrays", single(pair(2, 3))),
            ],
        ),
        unchanged(1, {"mse": pair(3)}),
    ),
    mistakes=(
        Mistake(
            name="mse-gradient-without-2",
            advice="Differentiating error**2 gives 2 * error: the factor 2 is missing from the gradient.",
            replaces={"mse": mse_without_two},
        ),
        Mistake(
            name="mse-averaged-over-rows-only",
            advice="The mean is over all entries, B times D of them; dividing by the number of rows is too little.",
            replaces={"mse": mse_of_rows},
        ),
        Mistake(
            name="mse-gradient-not-averaged",
            advice="The loss is a mean, so its gradient carries the same 1/N; yours is the gradient of the sum.",
            replaces={"mse": mse_grad_not_averaged},
        ),
        Mistake(
            name="mse-gradient-sign",
            advice="The gradient points towards larger loss: it is prediction minus target, not target minus "
            "prediction.",
            replaces={"mse": mse_sign},
        ),
    ),
)

# --- softmax ---------------------------------------------------------------------------------------------------------


def softmax_first_axis(x: Array, axis: int = -1) -> Array:
    return ref.softmax(x, axis=0)


def softmax_last_axis_only(x: Array, axis: int = -1) -> Array:
    return ref.softmax(x, axis=-1)


def softmax_whole_array(x: Array, axis: int = -1) -> Array:
    x = np.asarray(x, dtype=np.float64)
    e = np.exp(x - np.max(x))
    return e / e.sum()


def softmax_no_shift(x: Array, axis: int = -1) -> Array:
    e = np.exp(np.asarray(x, dtype=np.float64))
    return e / e.sum(axis=axis, keepdims=True)


def softmax_clipped(x: Array, axis: int = -1) -> Array:
    e = np.exp(np.clip(np.asarray(x, dtype=np.float64), -500, 500))
    return e / e.sum(axis=axis, keepdims=True)


@prop("every slice sums to one, whatever is added to the logits", 3, "softmax")
def sums_to_one(student: Any, rng: Rng) -> None:
    x = 3 * rng.normal(size=(5, 3))
    p = numbers(student.softmax(x), (5, 3))
    same(p.sum(axis=-1), np.ones(5), "the sum of each row")
    shifted = numbers(student.softmax(x + 100.0), (5, 3))
    same(shifted, p, "softmax(x + 100), compared with softmax(x),", rtol=1e-9)


SOFTMAX = Exercise(
    name="softmax",
    title="Stable softmax along any axis",
    functions=("softmax",),
    hints=(
        "What is exp(10000)? What could you subtract from every logit of a row without changing the probabilities?",
        "Three steps: shift each slice by its own maximum, exponentiate, divide by the slice's sum. NumPy's keepdims "
        "makes maxima and sums line up with x.",
        "For a (B, K) array the maxima of the rows have shape (B, 1) with keepdims=True, and x - maxima works "
        "row by row. "
        "Pass `axis` on to both np.max and np.sum instead of a fixed number.",
    ),
    checks=(
        numeric(
            "probabilities of each row",
            4,
            "softmax",
            ref.softmax,
            [
                Case("a batch of five rows and three classes", lambda rng: (rng.normal(size=(5, 3)),)),
                Case("a batch of one", lambda rng: (rng.normal(size=(1, 4)),)),
                Case("one vector", lambda rng: (rng.normal(size=6),)),
                Case("a three-dimensional array", lambda rng: (rng.normal(size=(2, 3, 4)),)),
            ],
        ),
        numeric(
            "any axis",
            3,
            "softmax",
            ref.softmax,
            [
                Case("axis 0 of a matrix", lambda rng: (rng.normal(size=(4, 3)),), {"axis": 0}),
                Case("the middle axis of three", lambda rng: (rng.normal(size=(2, 5, 3)),), {"axis": 1}),
            ],
        ),
        numeric(
            "huge logits",
            4,
            "softmax",
            ref.softmax,
            [
                Case("logits of ten thousand", fixed([[1e4, 1e4, 0.0], [-1e4, 0.0, -1e4]])),
                Case(
                    "rows of very different size",
                    lambda rng: (rng.normal(size=(3, 4)) + np.array([[1e4], [0], [-1e4]]),),
                ),
            ],
        ),
        sums_to_one,
        numeric(
            "lists and float32 are accepted, float64 comes back",
            1,
            "softmax",
            ref.softmax,
            [
                Case("nested lists", lambda rng: (rng.normal(size=(2, 3)).tolist(),)),
                Case("a float32 array", lambda rng: (rng.normal(size=(3, 2)).astype(np.float32),)),
            ],
        ),
        unchanged(1, {"softmax": lambda rng: (rng.normal(size=(2, 3)),)}),
    ),
    mistakes=(
        Mistake(
            name="softmax-wrong-axis",
            advice="The classes are on the last axis, so each row must sum to one; yours sums down the columns.",
            replaces={"softmax": softmax_first_axis},
        ),
        Mistake(
            name="softmax-axis-ignored",
            advice="The `axis` argument is not used: maximum and sum must both be taken along it.",
            replaces={"softmax": softmax_last_axis_only},
        ),
        Mistake(
            name="softmax-over-everything",
            advice="Without axis= the sum runs over the whole array, and all rows together sum to one instead of each.",
            replaces={"softmax": softmax_whole_array},
        ),
        Mistake(
            name="no-max-shift",
            advice="exp of a large logit overflows to infinity, and infinity over infinity is nan: subtract each "
            "slice's maximum first.",
            replaces={"softmax": softmax_no_shift},
        ),
        Mistake(
            name="softmax-clipped-logits",
            advice="Clipping the logits avoids the overflow but changes the answer; subtracting the maximum does not.",
            replaces={"softmax": softmax_clipped},
        ),
    ),
)

# --- log-softmax -----------------------------------------------------------------------------------------------------


def log_of_softmax(x: Array, axis: int = -1) -> Array:
    return np.log(ref.softmax(x, axis=axis))


def log_of_naive_softmax(x: Array, axis: int = -1) -> Array:
    return np.log(softmax_no_shift(x, axis))


def log_of_softmax_eps(x: Array, axis: int = -1) -> Array:
    return np.log(ref.softmax(x, axis=axis) + 1e-12)


def log_softmax_no_shift(x: Array, axis: int = -1) -> Array:
    x = np.asarray(x, dtype=np.float64)
    return x - np.log(np.exp(x).sum(axis=axis, keepdims=True))


def log_softmax_first_axis(x: Array, axis: int = -1) -> Array:
    return ref.log_softmax(x, axis=0)


def log_softmax_maximum_lost(x: Array, axis: int = -1) -> Array:
    x = np.asarray(x, dtype=np.float64)
    return x - np.log(np.exp(x - x.max(axis=axis, keepdims=True)).sum(axis=axis, keepdims=True))


LOG_SOFTMAX = Exercise(
    name="log_softmax",
    title="Log-softmax by log-sum-exp",
    functions=("log_softmax",),
    hints=(
        "What becomes of log(softmax(x)) when a probability is so small that it rounds to zero?",
        "Take the logarithm of the fraction on paper: log of a quotient is a difference, and log(exp(x)) is just x.",
        "After subtracting the maximum, the answer is the shifted logit minus the logarithm of the sum of the "
        "exponentials of the shifted logits. No division, no small constant.",
    ),
    checks=(
        numeric(
            "log-probabilities of each row",
            3,
            "log_softmax",
            ref.log_softmax,
            [
                Case("a batch of four rows and three classes", lambda rng: (rng.normal(size=(4, 3)),)),
                Case("a batch of one", lambda rng: (rng.normal(size=(1, 5)),)),
                Case("one vector", lambda rng: (rng.normal(size=4),)),
            ],
        ),
        numeric(
            "any axis",
            2,
            "log_softmax",
            ref.log_softmax,
            [
                Case("axis 0 of a matrix", lambda rng: (rng.normal(size=(4, 3)),), {"axis": 0}),
                Case("the middle axis of three", lambda rng: (rng.normal(size=(2, 5, 3)),), {"axis": 1}),
            ],
        ),
        numeric(
            "huge logits",
            4,
            "log_softmax",
            ref.log_softmax,
            [
                Case("a class that is all but impossible", fixed([[1e4, 0.0], [0.0, 1e4]])),
                Case("a probability of e**-40", fixed([[40.0, 0.0, 0.0]])),
                Case("logits around a million", lambda rng: (1e6 + rng.normal(size=(2, 3)),)),
            ],
        ),
        numeric(
            "lists and float32 are accepted, float64 comes back",
            1,
            "log_softmax",
            ref.log_softmax,
            [
                Case("nested lists", lambda rng: (rng.normal(size=(2, 3)).tolist(),)),
                Case("a float32 array", lambda rng: (rng.normal(size=(3, 2)).astype(np.float32),)),
            ],
        ),
        unchanged(1, {"log_softmax": lambda rng: (rng.normal(size=(2, 3)),)}),
    ),
    mistakes=(
        Mistake(
            name="log-of-zero",
            advice="A tiny probability rounds to 0 and its logarithm is -inf: subtract log-sum-exp from the "
            "logits instead.",
            replaces={"log_softmax": log_of_softmax},
            variants=({"log_softmax": log_of_naive_softmax},),
        ),
        Mistake(
            name="log-plus-epsilon",
            advice="log(p + 1e-12) can never be below -27.6, however wrong the prediction is; log-sum-exp needs "
            "no such constant.",
            replaces={"log_softmax": log_of_softmax_eps},
        ),
        Mistake(
            name="log-softmax-no-max-shift",
            advice="exp of a large logit overflows; subtract the maximum inside and outside the logarithm.",
            replaces={"log_softmax": log_softmax_no_shift},
        ),
        Mistake(
            name="log-softmax-wrong-axis",
            advice="The classes are on the axis that is asked for, the last one by default; yours normalises "
            "down the columns.",
            replaces={"log_softmax": log_softmax_first_axis},
        ),
        Mistake(
            name="maximum-not-added-back",
            advice="If the sum uses shifted logits, the logit in front must be shifted too, or the maximum added back.",
            replaces={"log_softmax": log_softmax_maximum_lost},
        ),
    ),
)

# --- cross-entropy ---------------------------------------------------------------------------------------------------


def _targets(logits: Array, targets: Array) -> Array:
    targets = np.asarray(targets)
    return np.eye(np.shape(logits)[-1])[targets] if targets.ndim == 1 else targets


def ce_epsilon(logits: Array, targets: Array) -> Any:
    t, p = _targets(logits, targets), ref.softmax(logits)
    return -np.sum(t * np.log(p + 1e-12)) / len(p), (p - t) / len(p)


def ce_log_of_zero(logits: Array, targets: Array) -> Any:
    t, p = _targets(logits, targets), ref.softmax(logits)
    return -np.mean(np.log(p[t == 1])), (p - t) / len(p)


def ce_log_of_naive_softmax(logits: Array, targets: Array) -> Any:
    t, p = _targets(logits, targets), softmax_no_shift(logits)
    return -np.mean(np.log(p[t == 1])), (p - t) / len(p)


def ce_not_averaged(logits: Array, targets: Array) -> Any:
    loss, grad = ref.cross_entropy(logits, targets)
    return loss, grad * len(grad)


def ce_averaged_twice(logits: Array, targets: Array) -> Any:
    loss, grad = ref.cross_entropy(logits, targets)
    return loss, grad / len(grad)


def ce_mean_over_classes(logits: Array, targets: Array) -> Any:
    loss, grad = ref.cross_entropy(logits, targets)
    classes = grad.shape[1]
    return loss / classes, grad / classes


def ce_sum(logits: Array, targets: Array) -> Any:
    loss, grad = ref.cross_entropy(logits, targets)
    return loss * len(grad), grad * len(grad)


def ce_columns(logits: Array, targets: Array) -> Any:
    t, log_p = _targets(logits, targets), ref.log_softmax(logits, axis=0)
    return -np.sum(t * log_p) / len(t), (np.exp(log_p) - t) / len(t)


def ce_sign(logits: Array, targets: Array) -> Any:
    loss, grad = ref.cross_entropy(logits, targets)
    return loss, -grad


def ce_labels_only(logits: Array, targets: Array) -> Any:
    labels = np.asarray(targets).astype(int).ravel()[: len(logits)]
    return ref.cross_entropy(logits, labels)


@prop("labels and one-hot rows agree", 3, "cross_entropy")
def labels_and_one_hot(student: Any, rng: Rng) -> None:
    logits, labels = rng.normal(size=(4, 3)), np.array([2, 0, 1, 2])
    by_label = student.cross_entropy(logits, labels)
    by_row = student.cross_entropy(logits, np.eye(3)[labels])
    same(by_label, ref.cross_entropy(logits, labels), "with integer labels, the result")
    same(by_row, ref.cross_entropy(logits, labels), "with the same labels as one-hot rows, the result")


CROSS_ENTROPY = Exercise(
    name="cross_entropy",
    title="Softmax cross-entropy and its gradient",
    functions=("cross_entropy",),
    hints=(
        "You already have log_softmax. What does a row of the loss pick out of it?",
        "The loss is minus the mean, over the rows, of the log-probability of the right class. The gradient compares "
        "the probabilities with a row that has a one at the right class.",
        "Turn integer labels into one-hot rows first: zeros of shape (B, K) and a one at [row, label], with "
        "np.arange(B) for the rows. Then both formulas of the docstring are one line each, with B the number of rows.",
    ),
    checks=(
        numeric(
            "loss is the mean over the rows",
            4,
            "cross_entropy",
            ref.cross_entropy,
            [
                Case("six rows and five classes", labelled(6, 5)),
                Case("a batch of one", labelled(1, 4)),
                Case("more classes than rows", labelled(2, 7)),
            ],
            pick=0,
            result="the loss",
        ),
        loss_gradient(
            "gradient of that mean",
            6,
            "cross_entropy",
            ref.cross_entropy,
            [
                Case("eight rows and three classes", labelled(8, 3)),
                Case("a batch of one", labelled(1, 4)),
                Case("more classes than rows", labelled(2, 7)),
                Case("a class that is nearly impossible, whose small gradient counts", hardly_possible(5, 4)),
            ],
            atol=0.0,
        ),
        labels_and_one_hot,
        numeric(
            "huge logits: the loss is exact",
            4,
            "cross_entropy",
            ref.cross_entropy,
            [
                Case("a confident wrong prediction", lambda rng: (np.array([[1e4, 0.0]]), np.array([1]))),
                Case("a loss of exactly 40", lambda rng: (np.array([[40.0, 0.0, -5.0]]), np.array([1]))),
                Case(
                    "a confident right prediction", lambda rng: (np.array([[1e4, 0.0], [0.0, 900.0]]), np.array([0, 1]))
                ),
            ],
            pick=0,
            result="the loss",
        ),
        loss_gradient(
            "huge logits: the gradient is exact",
            2,
            "cross_entropy",
            ref.cross_entropy,
            [
                Case("logits around ten thousand", labelled(3, 4, around=1e4)),
                Case("a confident wrong prediction", lambda rng: (np.array([[1e4, 0.0]]), np.array([1]))),
                Case("logits around ten thousand, with a nearly impossible class", hardly_possible(5, 4, around=1e4)),
            ],
            atol=0.0,
        ),
        numeric(
            "lists and float32 are accepted, float64 comes back",
            1,
            "cross_entropy",
            ref.cross_entropy,
            [
                Case("nested lists and a list of labels", lambda rng: (rng.normal(size=(2, 3)).tolist(), [2, 0])),
                Case(
                    "one-hot rows as lists of whole numbers",
                    lambda rng: (rng.normal(size=(2, 3)).tolist(), [[0, 0, 1], [0, 1, 0]]),
                ),
                Case("float32 logits", single(labelled(3, 4))),
            ],
        ),
        unchanged(1, {"cross_entropy": one_hot(3, 4)}),
    ),
    mistakes=(
        Mistake(
            name="cross-entropy-log-plus-epsilon",
            advice="log(p + 1e-12) caps the loss at 27.6 however wrong the prediction is: use log_softmax of the "
            "logits.",
            replaces={"cross_entropy": ce_epsilon},
        ),
        Mistake(
            name="cross-entropy-log-of-zero",
            advice="The probability of the right class can round to 0, and the logarithm of 0 is -inf: use "
            "log_softmax of the logits.",
            replaces={"cross_entropy": ce_log_of_zero},
            variants=({"cross_entropy": ce_log_of_naive_softmax},),
        ),
        Mistake(
            name="gradient-not-divided-by-batch",
            advice="p - t is the gradient for one row; the loss is the mean over B rows, so divide by B.",
            replaces={"cross_entropy": ce_not_averaged},
        ),
        Mistake(
            name="gradient-divided-by-batch-twice",
            advice="The gradient shrinks with the square of the batch size: divide by B once only.",
            replaces={"cross_entropy": ce_averaged_twice},
        ),
        Mistake(
            name="mean-over-classes-too",
            advice="np.mean over the whole (B, K) table divides by B * K; the mean is over the B rows only.",
            replaces={"cross_entropy": ce_mean_over_classes},
        ),
        Mistake(
            name="cross-entropy-summed",
            advice="The loss is a mean over the rows, and yours is their sum: it grows with the batch.",
            replaces={"cross_entropy": ce_sum},
        ),
        Mistake(
            name="cross-entropy-wrong-axis",
            advice="The probabilities of a row must sum to one: normalise along the last axis, the classes.",
            replaces={"cross_entropy": ce_columns},
        ),
        Mistake(
            name="cross-entropy-gradient-sign",
            advice="The gradient is probabilities minus targets; yours is the other way round and would climb "
            "the loss.",
            replaces={"cross_entropy": ce_sign},
        ),
        Mistake(
            name="one-hot-read-as-labels",
            advice="A (B, K) target is one-hot rows, not labels: tell the two apart by the number of axes.",
            replaces={"cross_entropy": ce_labels_only},
        ),
    ),
)

# --- binary cross-entropy --------------------------------------------------------------------------------------------


def bce(logits: Array, y: Array) -> Any:
    """The reference, with the targets paired to the logits as the exercise asks."""
    return ref.bce_with_logits(logits, np.reshape(y, np.shape(logits)))


def bce_broadcast(logits: Array, y: Array) -> Any:
    z, y = np.asarray(logits, dtype=np.float64), np.asarray(y, dtype=np.float64)
    table = np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))
    return np.mean(table), (1 / (1 + np.exp(-z)) - y) / z.size


def bce_clipped(logits: Array, y: Array) -> Any:
    _, grad = bce(logits, y)
    z = np.asarray(logits, dtype=np.float64)
    y = np.reshape(y, z.shape)
    p = np.clip(y + grad * z.size, 1e-12, 1 - 1e-12)
    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)), (p - y) / z.size


def bce_naive(logits: Array, y: Array) -> Any:
    z = np.asarray(logits, dtype=np.float64)
    y = np.reshape(np.asarray(y, dtype=np.float64), z.shape)
    p = 1 / (1 + np.exp(-z))
    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)), (p - y) / z.size


def bce_sigmoid_slope(logits: Array, y: Array) -> Any:
    loss, grad = bce(logits, y)
    y = np.reshape(y, np.shape(grad))
    p = y + grad * grad.size
    return loss, grad * p * (1 - p)


def bce_not_averaged(logits: Array, y: Array) -> Any:
    loss, grad = bce(logits, y)
    return loss, grad * grad.size


def bce_targets_swapped(logits: Array, y: Array) -> Any:
    return bce(logits, 1 - np.asarray(y))


def flat_targets(rng: Rng) -> tuple[Array, Array]:
    return rng.normal(size=(5, 1)), np.array([1.0, 0.0, 0.0, 1.0, 1.0])


BCE = Exercise(
    name="bce_with_logits",
    title="Binary cross-entropy from logits",
    functions=("bce_with_logits",),
    hints=(
        "Do not compute the probability first: a logit of 10,000 turns it into exactly 1, and log(1 - 1) is lost.",
        "Write -log(sigmoid(z)) and -log(1 - sigmoid(z)) with softplus, and softplus in the form that never overflows.",
        "With tail = log1p(exp(-|z|)): softplus(z) is max(z, 0) + tail and softplus(-z) is max(-z, 0) + tail. "
        "Weigh the "
        "two by the targets, and give y the shape of the logits before you subtract anything.",
    ),
    checks=(
        numeric(
            "loss is the mean over all entries",
            3,
            "bce_with_logits",
            bce,
            [
                Case("seven logits", binary(7)),
                Case("a single logit", binary(1)),
                Case("a column of logits and a column of targets", binary(4, 1)),
            ],
            pick=0,
            result="the loss",
        ),
        loss_gradient(
            "gradient of that mean",
            6,
            "bce_with_logits",
            bce,
            [
                Case("seven logits", binary(7)),
                Case("a single logit", binary(1)),
                Case("a column of logits", binary(4, 1)),
                Case("sure logits, the right ones with a small gradient that counts", sure),
            ],
            atol=0.0,
        ),
        numeric(
            "flat targets for a column of logits",
            3,
            "bce_with_logits",
            bce,
            [Case("logits (5, 1) and targets (5,)", flat_targets)],
        ),
        numeric(
            "huge logits: the loss is exact",
            4,
            "bce_with_logits",
            bce,
            [
                Case("a confident wrong prediction", fixed([-1e4, 1e4], [1.0, 0.0])),
                Case("a loss of 40 and one of almost 0", fixed([40.0, 40.0], [0.0, 1.0])),
                Case("confident right predictions", fixed([1e4, -1e4], [1.0, 0.0])),
            ],
            pick=0,
            result="the loss",
        ),
        loss_gradient(
            "huge logits: the gradient is exact",
            1,
            "bce_with_logits",
            bce,
            [
                Case("logits of ten thousand", fixed([1e4, -1e4, 1e4, -1e4], [1.0, 0.0, 0.0, 1.0])),
                Case("one huge logit among small ones", lambda rng: (np.append(rng.normal(size=3), 1e6), np.zeros(4))),
            ],
        ),
        numeric(
            "lists and float32 are accepted, float64 comes back",
            1,
            "bce_with_logits",
            bce,
            [
                Case("plain lists, targets as whole numbers", lambda rng: (rng.normal(size=3).tolist(), [1, 0, 1])),
                Case("float32 arrays", single(binary(5))),
            ],
        ),
        unchanged(1, {"bce_with_logits": binary(4)}),
    ),
    mistakes=(
        Mistake(
            name="targets-broadcast",
            advice="Logits (N, 1) against targets (N,) broadcast to an (N, N) table of all pairs: reshape y to "
            "the logits' shape.",
            replaces={"bce_with_logits": bce_broadcast},
        ),
        Mistake(
            name="bce-clipped-probability",
            advice="Clipping the probability caps the loss at 27.6; softplus of the logits is exact and needs no "
            "clipping.",
            replaces={"bce_with_logits": bce_clipped},
        ),
        Mistake(
            name="bce-through-probability",
            advice="A logit of 10,000 makes the probability exactly 0 or 1, and its logarithm infinite: stay "
            "with the logits.",
            replaces={"bce_with_logits": bce_naive},
        ),
        Mistake(
            name="sigmoid-slope-again",
            advice="The sigmoid's slope p (1 - p) cancels against the logarithm's: with respect to the logits "
            "the gradient is just p - y.",
            replaces={"bce_with_logits": bce_sigmoid_slope},
        ),
        Mistake(
            name="bce-gradient-not-averaged",
            advice="p - y is the gradient of the sum; the loss is a mean over N entries, so divide by N.",
            replaces={"bce_with_logits": bce_not_averaged},
        ),
        Mistake(
            name="bce-targets-swapped",
            advice="log p belongs to the targets that are 1, log(1 - p) to those that are 0; yours has them the "
            "other way round.",
            replaces={"bce_with_logits": bce_targets_swapped},
        ),
    ),
)

# --- Huber -----------------------------------------------------------------------------------------------------------


def huber_without_half(y_hat: Array, y: Array, delta: float = 1.0) -> Any:
    r = np.asarray(y_hat) - np.asarray(y)
    small = np.abs(r) <= delta
    loss = np.mean(np.where(small, r**2, delta * (2 * np.abs(r) - delta)))
    return loss, 2 * np.clip(r, -delta, delta) / r.size


def huber_jump(y_hat: Array, y: Array, delta: float = 1.0) -> Any:
    r = np.asarray(y_hat) - np.asarray(y)
    loss = np.mean(np.where(np.abs(r) <= delta, 0.5 * r**2, delta * np.abs(r)))
    return loss, np.clip(r, -delta, delta) / r.size


def huber_delta_is_one(y_hat: Array, y: Array, delta: float = 1.0) -> Any:
    return ref.huber(y_hat, y, delta=1.0)


def huber_gradient_unclipped(y_hat: Array, y: Array, delta: float = 1.0) -> Any:
    loss, _ = ref.huber(y_hat, y, delta)
    r = np.asarray(y_hat) - np.asarray(y)
    return loss, r / r.size


def huber_sign_only(y_hat: Array, y: Array, delta: float = 1.0) -> Any:
    loss, _ = ref.huber(y_hat, y, delta)
    r = np.asarray(y_hat) - np.asarray(y)
    return loss, np.where(np.abs(r) <= delta, r, np.sign(r)) / r.size


@prop("no jump where the pieces meet", 2, "huber", alone=False)
def continuous(student: Any, rng: Rng) -> None:
    delta = float(rng.uniform(0.5, 2.0))
    just = 1e-9
    losses = [picked(student.huber([delta + side], [0.0], delta), 0, "the loss") for side in (-just, just)]
    inside, outside = (numbers(loss, (), "the loss") for loss in losses)
    below(
        abs(float(outside - inside)),
        1e-7,
        "the loss jumps where |error| passes delta: both pieces must give delta**2 / 2 there.",
        f"Just inside it is {inside:.6g}, just outside {outside:.6g}, with delta = {delta:.4g}.",
    )
    holds(float(outside) > 0, "the loss at |error| = delta should be positive.")


HUBER = Exercise(
    name="huber",
    title="Huber loss and its gradient",
    functions=("huber",),
    hints=(
        "Compute both pieces for every error and choose between them; np.where takes a condition and two arrays.",
        "The pieces must meet at |r| = delta with the same value. Put r = delta into both and compare.",
        "The gradient of the parabola is r, that of the lines is plus or minus delta: that is r clipped to "
        "[-delta, delta]. Then remember that the loss is a mean.",
    ),
    checks=(
        numeric(
            "loss on small and large errors",
            3,
            "huber",
            ref.huber,
            [
                Case("errors inside delta", residuals(0.1, 0.5, 0.9)),
                Case("errors outside delta", residuals(1.5, 3.0, 20.0)),
                Case("a batch of rows with both", lambda rng: (3 * rng.normal(size=(4, 3)), rng.normal(size=(4, 3)))),
            ],
            pick=0,
            result="the loss",
        ),
        numeric(
            "another delta",
            2,
            "huber",
            ref.huber,
            [
                Case("delta of 2.5", residuals(0.4, 2.0, 2.75, 8.0), {"delta": 2.5}),
                Case("delta of 0.3", residuals(0.1, 0.2, 0.5, 4.0), {"delta": 0.3}),
            ],
            pick=0,
            result="the loss",
        ),
        continuous,
        loss_gradient(
            "gradient is the clipped error over N",
            4,
            "huber",
            ref.huber,
            [
                Case("errors on both sides of delta", residuals(0.2, 0.7, 1.4, 6.0)),
                Case(
                    "delta of 2.5, in rows",
                    lambda rng: (4 * rng.normal(size=(3, 2)), rng.normal(size=(3, 2))),
                    {"delta": 2.5},
                ),
                Case("errors in the millions", residuals(1e6, 3e6, 0.5), {"delta": 2e6}),
            ],
        ),
        numeric(
            "lists and float32 are accepted, float64 comes back",
            1,
            "huber",
            ref.huber,
            [
                Case("plain lists of whole numbers", lambda rng: ([0, 3, -5], [0, 1, 1])),
                Case("float32 arrays", single(pair(2, 3))),
            ],
        ),
        unchanged(1, {"huber": pair(3)}),
    ),
    mistakes=(
        Mistake(
            name="huber-without-half",
            advice="The parabola is r**2 / 2: without the half every value and slope is twice what it should be.",
            replaces={"huber": huber_without_half},
        ),
        Mistake(
            name="huber-jump-at-delta",
            advice="At |r| = delta the parabola gives delta**2 / 2; the line must be delta * (|r| - delta / 2) "
            "to meet it there.",
            replaces={"huber": huber_jump},
        ),
        Mistake(
            name="huber-delta-ignored",
            advice="The `delta` argument is not used: the pieces meet at |r| = delta, not always at 1.",
            replaces={"huber": huber_delta_is_one},
        ),
        Mistake(
            name="huber-gradient-not-clipped",
            advice="Outside delta the loss is a straight line with slope delta; the gradient must stop growing there.",
            replaces={"huber": huber_gradient_unclipped},
        ),
        Mistake(
            name="huber-slope-one",
            advice="On the straight pieces the slope is plus or minus delta, not plus or minus one.",
            replaces={"huber": huber_sign_only},
        ),
    ),
)

# --- gradient error --------------------------------------------------------------------------------------------------


def cubic(prediction: Array, target: Array) -> Any:
    """A loss whose right gradient is known and whose curvature tells one-sided from central differences."""
    p, t = np.asarray(prediction, dtype=np.float64), np.asarray(target, dtype=np.float64)
    return float(np.sum((p - t) ** 3)), 3 * (p - t) ** 2


def cubic_off(offset: Array) -> Any:
    def loss(prediction: Array, target: Array) -> Any:
        value, grad = cubic(prediction, target)
        return value, grad + offset

    return loss


def error_one_sided(loss: Any, prediction: Array, target: Array, h: float = 1e-5) -> float:
    x = np.asarray(prediction, dtype=np.float64)
    base, grad = loss(x, target)
    slopes = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        up = x.copy()
        up[i] += h
        slopes[i] = (loss(up, target)[0] - base) / h
    return float(np.max(np.abs(slopes - grad)))


def _slopes(loss: Any, x: Array, target: Array, h: float) -> Array:
    slopes = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[i] += h
        down[i] -= h
        slopes[i] = (loss(up, target)[0] - loss(down, target)[0]) / (2 * h)
    return slopes


def error_mean(loss: Any, prediction: Array, target: Array, h: float = 1e-5) -> float:
    x = np.asarray(prediction, dtype=np.float64)
    return float(np.mean(np.abs(_slopes(loss, x, target, h) - loss(x, target)[1])))


def error_signed(loss: Any, prediction: Array, target: Array, h: float = 1e-5) -> float:
    x = np.asarray(prediction, dtype=np.float64)
    return float(np.max(_slopes(loss, x, target, h) - loss(x, target)[1]))


def error_h_not_doubled(loss: Any, prediction: Array, target: Array, h: float = 1e-5) -> float:
    x = np.asarray(prediction, dtype=np.float64)
    return float(np.max(np.abs(2 * _slopes(loss, x, target, h) - loss(x, target)[1])))


@prop("a right gradient has no error", 2, "gradient_error", alone=False)
def right_gradient(student: Any, rng: Rng) -> None:
    x, t = rng.normal(size=(3, 2)), rng.normal(size=(3, 2))
    error = numbers(student.gradient_error(Callback(cubic, "loss"), x, t), (), "the error")
    below(
        float(error) if error >= 0 else np.inf,
        1e-7,
        "the gradient of this loss is exact, so the error should be almost zero, far below the size of h.",
        f"Got {float(error):.3g}.",
    )


@prop("a wrong gradient is measured by its worst entry", 3, "gradient_error")
def wrong_gradient(student: Any, rng: Rng) -> None:
    x, t = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    for sign in (1.0, -1.0):
        offset = np.zeros((2, 3))
        offset[1, 2] = sign * 0.5
        error = student.gradient_error(Callback(cubic_off(offset), "loss"), x, t)
        same(error, 0.5, "the error of a gradient with one entry off by 0.5", rtol=1e-6, atol=1e-7)
    offset = np.array([[0.2, -0.3, 0.1], [0.4, 0.2, -0.1]])
    error = student.gradient_error(Callback(cubic_off(offset), "loss"), x, t)
    same(error, 0.4, "the error of a gradient whose entries are off by 0.1 to 0.4", rtol=1e-6, atol=1e-7)


@prop("lists, and targets as they are", 1, "gradient_error")
def lists_and_labels(student: Any, rng: Rng) -> None:
    offset, kinds = np.array([0.0, -0.25, 0.0]), set()

    def loss(prediction: Array, target: Array) -> Any:
        kinds.add(np.asarray(target).dtype.kind)
        return cubic_off(offset)(prediction, target)

    error = student.gradient_error(Callback(loss, "loss"), [1, -2, 0], np.array([2, 0, 1]))
    with case_of("a list of whole numbers", student.transcript[-1][0]):
        same(error, 0.25, "the error of a gradient with one entry off by 0.25", rtol=1e-6, atol=1e-7)
        holds(kinds == {"i"}, "the target is whole numbers, such as class labels, and should reach the loss as such.")


@prop("the prediction is left as it was", 2, "gradient_error", alone=False)
def prediction_untouched(student: Any, rng: Rng) -> None:
    x, t = rng.normal(size=4), rng.normal(size=4)
    seen = []

    def loss(prediction: Array, target: Array) -> Any:
        seen.append(np.array(prediction, dtype=np.float64))
        return cubic(prediction, target)

    student.gradient_error(Callback(loss, "loss"), x, t, 1e-3)
    holds(1 not in student.changed, "gradient_error changed the prediction that it was given; nudge a copy.")
    nudged = [int(np.sum(np.abs(s - x) > 1e-9)) if s.shape == x.shape else 99 for s in seen]
    holds(
        max(nudged, default=99) <= 1,
        "more than one entry was off when the loss was called: undo each nudge before the next.",
    )
    farthest = max(float(np.abs(s - x).max()) for s in seen)
    same(farthest, 1e-3, "the size of the nudge", rtol=1e-6)


GRADIENT_ERROR = Exercise(
    name="gradient_error",
    title="Check a gradient by central differences",
    functions=("gradient_error",),
    hints=(
        "Change one entry only, ask the loss twice, and undo the change before you go to the next entry.",
        "Visit every entry, whatever the shape: np.ndindex(x.shape) runs through all indices.",
        "Copy the prediction, add h at one index, call the loss and take item 0; the same with minus h; the difference "
        "over 2h is the slope there. At the end compare all slopes with the gradient, which is item 1 of one call.",
    ),
    checks=(right_gradient, wrong_gradient, lists_and_labels, prediction_untouched),
    mistakes=(
        Mistake(
            name="one-sided-difference",
            advice="A one-sided difference is only right to about h; the central one, up and down, is right to h "
            "squared.",
            replaces={"gradient_error": error_one_sided},
        ),
        Mistake(
            name="error-averaged",
            advice="The mean hides one bad entry among many good ones: report the largest difference.",
            replaces={"gradient_error": error_mean},
        ),
        Mistake(
            name="error-without-absolute-value",
            advice="A gradient can be off in either direction: take absolute values before the maximum.",
            replaces={"gradient_error": error_signed},
        ),
        Mistake(
            name="divided-by-h-not-2h",
            advice="From minus h to plus h is a distance of 2h: divide by that.",
            replaces={"gradient_error": error_h_not_doubled},
        ),
    ),
)


def draw_picture(student: Any, figure: Any) -> None:
    """The four losses and their gradients, as the student's own functions compute them."""
    left, right = figure.subplots(1, 2)
    z = np.linspace(-4, 4, 161)
    error_curves = {
        "squared error": lambda r: student.mse([r], [0.0]),
        "Huber, delta 1": lambda r: student.huber([r], [0.0]),
    }
    logit_curves = {
        "binary cross-entropy, target 1": lambda x: student.bce_with_logits([x], [1.0]),
        "cross-entropy of two classes": lambda x: student.cross_entropy([[x, 0.0]], [0]),
    }
    for axes, curves, label in (
        (left, error_curves, "error (prediction minus target)"),
        (right, logit_curves, "logit of the right class"),
    ):
        for i, (name, curve) in enumerate(curves.items()):
            answers = [curve(float(x)) for x in z]
            axes.plot(
                z, [float(a[0]) for a in answers], color=f"C{i}", label=name, lw=2 if i == 0 else 3.5, alpha=1 - 0.4 * i
            )
            axes.plot(z, [float(np.ravel(a[1])[0]) for a in answers], "--", color=f"C{i}", label="its gradient", lw=1.2)
        axes.axhline(0, color="0.7", lw=0.8, zorder=0)
        axes.set_xlabel(label)
        axes.set_ylabel("loss and gradient")
        axes.set_ylim(-2.2, 6)
        axes.legend(frameon=False, fontsize=8)
    left.set_title("Losses of an error")
    right.set_title("Losses of a logit")


CHAPTER = Chapter(
    id="ch305",
    slug="loss_functions",
    title="Loss Functions",
    part="Foundations",
    summary="Four losses with their gradients, exact where the textbook formulas overflow.",
    builds_on=("ch304",),
    exercises=(MSE, SOFTMAX, LOG_SOFTMAX, CROSS_ENTROPY, BCE, HUBER, GRADIENT_ERROR),
    picture=Picture(title="What your losses and their gradients look like", draw=draw_picture),
)
