"""Rosenblatt's perceptron for labels {0, 1}: rule, training, mistake bound, and what to do without separability.

The unit says 1 where w.x + b > 0, strictly. The update, on a mistake only, is w += lr (y - y_hat) x,
b += lr (y - y_hat).
"""

from typing import NamedTuple

import numpy as np

from dlreference.arrays import Array, ArrayLike, Labels, as_float, as_labels


class PerceptronFit(NamedTuple):
    """Weights w (D,), bias b, and the number of mistakes of each epoch run."""

    w: Array
    b: float
    mistakes: list[int]


def xor_data() -> tuple[Array, Labels]:
    """The four points (0, 0), (0, 1), (1, 0), (1, 1) and their exclusive or: X (4, 2), y (4,)."""
    return np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), np.array([0, 1, 1, 0], dtype=np.int64)


def perceptron_predict(X: ArrayLike, w: ArrayLike, b: float) -> Labels:
    """Labels of X (B, D), or of one x (D,): 1 where X w + b > 0, else 0, also at exactly 0."""
    return np.asarray(as_float(X) @ as_float(w) + b > 0).astype(np.int64)


def perceptron_update(w: ArrayLike, b: float, x: ArrayLike, y: int, lr: float = 1.0) -> tuple[Array, float]:
    """(w, b) after seeing x (D,) with label y: moved by lr (y - y_hat) (x, 1), which is nothing when y_hat = y."""
    w, x = as_float(w), as_float(x)
    error = int(y) - int(perceptron_predict(x, w, b))
    return w + lr * error * x, b + lr * error


def _start(X: Array, w0: ArrayLike | None, b0: float) -> tuple[Array, float]:
    return (np.zeros(X.shape[1]) if w0 is None else as_float(w0).copy()), float(b0)


def perceptron_fit(
    X: ArrayLike, y: ArrayLike, n_epochs: int, lr: float = 1.0, w0: ArrayLike | None = None, b0: float = 0.0
) -> PerceptronFit:
    """Online training in data order, from zeros unless w0 (D,) is given, until the first epoch without a mistake.

    X (N, D), y (N,) in {0, 1}. `mistakes` has at most n_epochs entries; a last entry 0 says that every point is right.
    """
    X, y = as_float(X), as_labels(y)
    w, b = _start(X, w0, b0)
    mistakes: list[int] = []
    while len(mistakes) < n_epochs and (not mistakes or mistakes[-1] > 0):
        wrong = 0
        for x, label in zip(X, y, strict=True):
            wrong += int(perceptron_predict(x, w, b) != label)
            w, b = perceptron_update(w, b, x, label, lr)
        mistakes.append(wrong)
    return PerceptronFit(w, b, mistakes)


def margin(X: ArrayLike, y: ArrayLike, w: ArrayLike, b: float) -> float:
    """Least signed distance of the points (x, 1) from the plane through the origin with normal (w, b).

    X (N, D), y (N,) in {0, 1}. The bias is folded in: the distance is (2y - 1) (w.x + b) / |(w, b)|. Positive when
    every point is on its side.
    """
    X, w = as_float(X), as_float(w)
    signs = 2.0 * as_labels(y) - 1.0
    return float(np.min(signs * (X @ w + b)) / np.hypot(np.linalg.norm(w), b))


def mistake_bound(X: ArrayLike, y: ArrayLike, w: ArrayLike, b: float) -> float:
    """(R / margin)^2 with R the largest |(x, 1)|: no run from zeros makes more mistakes in all (Novikoff 1962).

    (w, b) is any separator. Raises ValueError if it does not separate.
    """
    gap = margin(X, y, w, b)
    if gap <= 0:
        raise ValueError("the given weights do not separate the points")
    largest_squared = float(np.max((as_float(X) ** 2).sum(axis=1) + 1.0))
    return largest_squared / gap**2


def best_linear_accuracy(X: ArrayLike, y: ArrayLike) -> float:
    """The best accuracy of any line on points of the plane, exactly: X (N, 2), y (N,) in {0, 1}.

    The order of the points along a direction changes only where the direction is perpendicular to the difference of two
    of them. One direction between each two such angles, with every threshold between distinct projections and both
    labellings of the sides, tries every way a line can cut the points. Memory: of order N^3 floats.
    """
    X, y = as_float(X), as_labels(y)
    n = len(y)
    first, second = np.triu_indices(n, 1)
    differences = X[second] - X[first]
    differences = differences[np.any(differences != 0, axis=1)]
    critical = np.unique((np.arctan2(differences[:, 1], differences[:, 0]) + np.pi / 2) % np.pi)
    if critical.size == 0:
        critical = np.zeros(1)
    angles = (critical + np.append(critical[1:], critical[0] + np.pi)) / 2
    projections = np.stack([np.cos(angles), np.sin(angles)], axis=1) @ X.T
    order = np.argsort(projections, axis=1)
    values, labels = np.take_along_axis(projections, order, axis=1), y[order]
    # right[:, k]: points right when the k lowest are called 0 and the others 1
    zeros_below = np.pad(np.cumsum(1 - labels, axis=1), ((0, 0), (1, 0)))
    ones_above = labels.sum(axis=1, keepdims=True) - np.pad(np.cumsum(labels, axis=1), ((0, 0), (1, 0)))
    right = zeros_below + ones_above
    possible = np.pad(np.diff(values, axis=1) > 0, ((0, 0), (1, 1)), constant_values=True)
    return float(np.max(np.where(possible, np.maximum(right, n - right), 0)) / n)


def searched_linear_accuracy(X: ArrayLike, y: ArrayLike, n_angles: int = 180) -> float:
    """The best accuracy among lines in n_angles evenly spaced directions: X (N, 2), y (N,) in {0, 1}.

    The normals of the lines have the angles (k + 1/2) pi / n_angles. Each is tried with every threshold between two
    points and outside all of them, and with both labellings of the sides; so the result is at most that of
    `best_linear_accuracy`, and at least the share of the larger class.
    """
    X, y = as_float(X), as_labels(y)
    angles = (np.arange(n_angles) + 0.5) * np.pi / n_angles
    projections = np.stack([np.cos(angles), np.sin(angles)], axis=1) @ X.T
    # called_one[a, t, i]: point i lies beyond the t-th point along direction a; beyond none of them is a class alone.
    called_one = projections[:, None, :] > projections[:, :, None]
    right = (called_one == y).mean(axis=2)
    alone = float(np.mean(y))
    return float(max(right.max(), 1.0 - right.min(), alone, 1.0 - alone))


def averaged_perceptron_fit(X: ArrayLike, y: ArrayLike, n_epochs: int, lr: float = 1.0) -> tuple[Array, float]:
    """Mean of (w, b) over all N n_epochs states, one after each sample seen, from zeros (Freund & Schapire 1999)."""
    X, y = as_float(X), as_labels(y)
    w, b = _start(X, None, 0.0)
    w_sum, b_sum = np.zeros_like(w), 0.0
    for _ in range(n_epochs):
        for x, label in zip(X, y, strict=True):
            w, b = perceptron_update(w, b, x, label, lr)
            w_sum, b_sum = w_sum + w, b_sum + b
    seen = n_epochs * len(y)
    return w_sum / seen, b_sum / seen


def pocket_perceptron_fit(X: ArrayLike, y: ArrayLike, n_epochs: int, lr: float = 1.0) -> tuple[Array, float, float]:
    """The best (w, b) that ordinary training passes through, and its training accuracy (after Gallant 1990).

    After every update all points are counted; the pocket, which starts with the zero weights, takes the new ones only
    when they are strictly better.
    """
    X, y = as_float(X), as_labels(y)
    w, b = _start(X, None, 0.0)
    best = (w, b, float(np.mean(perceptron_predict(X, w, b) == y)))
    for _ in range(n_epochs):
        for x, label in zip(X, y, strict=True):
            if perceptron_predict(x, w, b) == label:
                continue
            w, b = perceptron_update(w, b, x, label, lr)
            right = float(np.mean(perceptron_predict(X, w, b) == y))
            if right > best[2]:
                best = (w, b, right)
    return best
