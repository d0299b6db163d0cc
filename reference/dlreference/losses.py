"""Losses from logits or predictions, each returning `(loss, grad)`: a float and the gradient of that very number.

Every loss is a mean, so its gradient already carries the 1/B; nothing downstream divides again. Values and gradients
are exact for logits of 1e4 and beyond: the maximum is subtracted and logarithms are taken of sums, never of
probabilities.
"""

import numpy as np

from dlreference.activations import sigmoid, softplus
from dlreference.arrays import Array, ArrayLike, as_float, as_labels, require_same_shape


def logsumexp(z: ArrayLike, axis: int = -1, keepdims: bool = False) -> Array:
    """log of the sum of exp(z) along `axis`; z (..., K, ...) -> that axis removed, or of length 1 with keepdims."""
    z = as_float(z)
    peak = z.max(axis=axis, keepdims=True)
    total = peak + np.log(np.exp(z - peak).sum(axis=axis, keepdims=True))
    return total if keepdims else np.squeeze(total, axis=axis)


def log_softmax(z: ArrayLike, axis: int = -1) -> Array:
    """z - logsumexp(z) along `axis`; same shape as z. The maximum leaves first: 1e4 + log 2 would lose digits."""
    z = as_float(z)
    shifted = z - z.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def softmax(z: ArrayLike, axis: int = -1) -> Array:
    """exp(z) / sum of exp(z) along `axis`; same shape as z, each slice sums to one, unchanged by a common shift."""
    z = as_float(z)
    weights = np.exp(z - z.max(axis=axis, keepdims=True))
    return weights / weights.sum(axis=axis, keepdims=True)


def softmax_backward(dout: ArrayLike, probs: ArrayLike, axis: int = -1) -> Array:
    """Gradient at the logits for dout at probs = softmax(z): p (dout - sum of dout p along `axis`); same shape."""
    dout, probs = as_float(dout), as_float(probs)
    return probs * (dout - (dout * probs).sum(axis=axis, keepdims=True))


def log_softmax_backward(dout: ArrayLike, log_probs: ArrayLike, axis: int = -1) -> Array:
    """Gradient at the logits for dout at log_probs = log_softmax(z): dout - p sum of dout along `axis`; same shape."""
    dout = as_float(dout)
    return dout - np.exp(as_float(log_probs)) * dout.sum(axis=axis, keepdims=True)


def one_hot(labels: ArrayLike, num_classes: int) -> Array:
    """Labels (...) in 0..K-1 -> (..., K) of zeros and ones. Raises ValueError for a label out of range."""
    labels = as_labels(labels)
    if labels.size and (labels.min() < 0 or labels.max() >= num_classes):
        raise ValueError(f"labels must lie in 0..{num_classes - 1}, got {labels.min()}..{labels.max()}")
    return np.eye(num_classes)[labels]


def mse(y_hat: ArrayLike, y: ArrayLike) -> tuple[float, Array]:
    """Mean squared error over all N elements: sum (y_hat - y)^2 / N, gradient 2 (y_hat - y) / N.

    y_hat and y have the same shape, any; grad has it too. Raises ValueError for unequal shapes.
    """
    y_hat, y = as_float(y_hat), as_float(y)
    require_same_shape(y_hat, y)
    residual = y_hat - y
    return float(np.mean(residual**2)), 2.0 * residual / residual.size


def bce_with_logits(logits: ArrayLike, y: ArrayLike) -> tuple[float, Array]:
    """Binary cross-entropy of sigmoid(z) over all N elements, from the logits z.

    Per element softplus(z) - y z, which is the sum of y softplus(-z) and (1 - y) softplus(z); gradient
    (sigmoid(z) - y) / N. Same shape in (any) and out; y in [0, 1]. Raises ValueError for unequal shapes.
    """
    logits, y = as_float(logits), as_float(y)
    require_same_shape(logits, y)
    # This form and not softplus(z) - y z, whose two large terms cancel for a confident right answer.
    per_element = y * softplus(-logits) + (1.0 - y) * softplus(logits)
    return float(np.mean(per_element)), (sigmoid(logits) - y) / logits.size


def cross_entropy(logits: ArrayLike, targets: ArrayLike, mask: ArrayLike | None = None) -> tuple[float, Array]:
    """Cross-entropy of softmax(logits), averaged over the positions.

    logits (B, K), or (..., K) with any leading axes. targets: integer labels (...) in 0..K-1, or weights (..., K) such
    as one-hot or smoothed labels. mask (...) of booleans or None: positions that count. The loss of a position is
    -sum_k t_k log p_k, its gradient p sum(t) - t; the mean runs over the counted positions and the gradient, shaped
    as logits, is zero elsewhere. Raises ValueError for shapes that do not fit, labels out of range or an empty mask.
    """
    logits = as_float(logits)
    target_weights = _target_weights(targets, logits.shape)
    counted = np.ones(logits.shape[:-1]) if mask is None else as_float(np.asarray(mask, dtype=bool))
    if counted.shape != logits.shape[:-1]:
        raise ValueError(f"mask must have shape {logits.shape[:-1]}, got {counted.shape}")
    total = counted.sum()
    if total == 0:
        raise ValueError("no position counts: the mean is undefined")
    log_probs = log_softmax(logits)
    # 0 * -inf is never met: a finite logit has a finite log-probability.
    per_position = -(target_weights * log_probs).sum(axis=-1)
    grad = np.exp(log_probs) * target_weights.sum(axis=-1, keepdims=True) - target_weights
    return float((per_position * counted).sum() / total), grad * (counted / total)[..., None]


def _target_weights(targets: ArrayLike, shape: tuple[int, ...]) -> Array:
    given = np.asarray(targets)
    if given.shape == shape:
        return as_float(given)
    if given.shape == shape[:-1]:
        return one_hot(given, shape[-1])
    raise ValueError(f"targets must have shape {shape[:-1]} (labels) or {shape} (weights), got {given.shape}")


def huber(y_hat: ArrayLike, y: ArrayLike, delta: float = 1.0) -> tuple[float, Array]:
    """Huber loss over all N elements (Huber 1964), with r = y_hat - y.

    Per element r^2 / 2 where |r| <= delta, else delta (|r| - delta / 2); gradient clip(r, -delta, delta) / N. Same
    shape in (any) and out. Raises ValueError for unequal shapes or delta <= 0.
    """
    y_hat, y = as_float(y_hat), as_float(y)
    require_same_shape(y_hat, y)
    if delta <= 0:
        raise ValueError(f"delta must be positive, got {delta}")
    residual = y_hat - y
    clipped = np.clip(residual, -delta, delta)
    return float(np.mean(clipped * (residual - 0.5 * clipped))), clipped / residual.size
