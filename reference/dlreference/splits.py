"""Splits of a data set by index: stratified folds, train/validation/test, and accuracy across folds."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from dlreference.arrays import Array, ArrayLike, Labels, as_float, as_labels

Indices = NDArray[np.int64]
Predictor = Callable[[Array], Labels]


def stratified_folds(y: ArrayLike, k: int, rng: np.random.Generator) -> list[tuple[Indices, Indices]]:
    """k pairs (train, test) of ascending indices; the test sets partition 0..N-1 and hold each class evenly.

    For each class in ascending order, one draw `rng.permutation` of its indices, of which fold j takes every k-th from
    the j-th on: a class's numbers in two folds differ by at most one. Raises ValueError for k < 2 or a class with fewer
    than k members.
    """
    y = as_labels(y)
    classes, counts = np.unique(y, return_counts=True)
    if k < 2 or counts.min() < k:
        raise ValueError(f"need 2 <= k <= the size of the smallest class ({counts.min()}), got {k}")
    shuffled = [rng.permutation(np.flatnonzero(y == label)) for label in classes]
    tests = [np.sort(np.concatenate([members[fold::k] for members in shuffled])) for fold in range(k)]
    return [(np.setdiff1d(np.arange(len(y)), test), test) for test in tests]


def train_val_test_split(
    y: ArrayLike, val_fraction: float, test_fraction: float, rng: np.random.Generator
) -> tuple[Indices, Indices, Indices]:
    """Stratified indices (train, val, test), each ascending, together 0..N-1.

    For each class in ascending order, one draw `rng.permutation` of its n indices: the first round(n test_fraction) are
    test, the next round(n val_fraction) validation, the rest training.
    """
    y = as_labels(y)
    parts: tuple[list[Indices], ...] = ([], [], [])
    for label in np.unique(y):
        members = rng.permutation(np.flatnonzero(y == label))
        test_end = round(len(members) * test_fraction)
        val_end = test_end + round(len(members) * val_fraction)
        for part, piece in zip(parts, (members[val_end:], members[test_end:val_end], members[:test_end]), strict=True):
            part.append(piece)
    train, val, test = (np.sort(np.concatenate(part)) for part in parts)
    return train, val, test


def accuracy(predicted: ArrayLike, y: ArrayLike) -> float:
    """Share of equal labels, (B,) against (B,). Raises ValueError for unequal shapes."""
    predicted, y = np.asarray(predicted), np.asarray(y)
    if predicted.shape != y.shape:
        raise ValueError(f"shapes must be equal, got {predicted.shape} and {y.shape}")
    return float(np.mean(predicted == y))


def cross_val_accuracy(
    fit: Callable[[Array, Labels], Predictor],
    X: ArrayLike,
    y: ArrayLike,
    folds: Sequence[tuple[Indices, Indices]],
) -> Array:
    """Held-out accuracy of each fold (k,). fit(X_train, y_train) returns a function from points to labels."""
    X, y = as_float(X), as_labels(y)
    return np.array([accuracy(fit(X[train], y[train])(X[test]), y[test]) for train, test in folds])
