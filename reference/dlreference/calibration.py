"""Calibration of a classifier: reliability bins, expected calibration error, temperature scaling.

Source: Guo et al. 2017, "On Calibration of Modern Neural Networks". A prediction is the most probable class (the lowest
of several), its confidence that probability.
"""

from typing import NamedTuple

import numpy as np

from dlreference.arrays import Array, ArrayLike, as_float, as_labels
from dlreference.losses import cross_entropy, softmax


class Reliability(NamedTuple):
    """For each bin (n_bins,): how many predictions, their mean confidence, their accuracy; zeros for an empty bin."""

    counts: Array
    confidence: Array
    accuracy: Array


def reliability(probs: ArrayLike, labels: ArrayLike, n_bins: int = 10) -> Reliability:
    """Predictions sorted by confidence into bins of equal width.

    probs (N, K), labels (N,). Bin k holds confidences from k / n_bins on to below (k + 1) / n_bins; the last one holds
    1 as well.
    """
    probs, labels = as_float(probs), as_labels(labels)
    confidence = probs.max(axis=1)
    right = (probs.argmax(axis=1) == labels).astype(np.float64)
    bins = np.minimum((confidence * n_bins).astype(np.int64), n_bins - 1)
    counts, confident, correct = (np.bincount(bins, weights, n_bins) for weights in (None, confidence, right))
    divisor = np.maximum(counts, 1)
    return Reliability(counts.astype(np.float64), confident / divisor, correct / divisor)


def expected_calibration_error(probs: ArrayLike, labels: ArrayLike, n_bins: int = 10) -> float:
    """sum over the bins of (share of predictions in it) |accuracy - mean confidence|, from 0 to 1."""
    counts, confidence, accuracy = reliability(probs, labels, n_bins)
    return float(counts @ np.abs(accuracy - confidence) / counts.sum())


def log_loss_slope(logits: ArrayLike, labels: ArrayLike, inverse: float) -> float:
    """Derivative of the mean cross-entropy of softmax(inverse * logits) with respect to `inverse`.

    It is the mean of sum_k p_k z_k - z_label, and never falls as `inverse` grows: the loss is convex in it. With z
    shifted so that z_label is 0 nothing cancels.
    """
    logits, labels = as_float(logits), as_labels(labels)
    shifted = logits - logits[np.arange(len(labels)), labels][:, None]
    return float(np.mean(np.sum(softmax(inverse * shifted) * shifted, axis=1)))


def fit_temperature(logits: ArrayLike, labels: ArrayLike, low: float = 0.05, high: float = 20.0) -> float:
    """The temperature in [low, high] with the least mean cross-entropy of softmax(logits / temperature).

    logits (N, K), labels (N,). By bisection of 1 / temperature, to the last digit. At a bound when the least lies
    outside; low when every temperature is as good.
    """
    below, above = 1.0 / high, 1.0 / low
    if log_loss_slope(logits, labels, above) <= 0.0:
        return low
    if log_loss_slope(logits, labels, below) >= 0.0:
        return high
    for _ in range(80):
        middle = 0.5 * (below + above)
        if log_loss_slope(logits, labels, middle) < 0.0:
            below = middle
        else:
            above = middle
    return 2.0 / (below + above)


def scaled_loss(logits: ArrayLike, labels: ArrayLike, temperature: float) -> float:
    """Mean cross-entropy of softmax(logits / temperature): logits (N, K), labels (N,)."""
    return cross_entropy(as_float(logits) / temperature, as_labels(labels))[0]
