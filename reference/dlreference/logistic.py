"""Logistic regression by full-batch gradient descent: the linear baseline."""

import numpy as np

from dlreference.arrays import Array, ArrayLike, Labels, as_float
from dlreference.losses import bce_with_logits


def logistic_loss(
    w: ArrayLike, b: float, X: ArrayLike, y: ArrayLike, weight_decay: float = 0.0
) -> tuple[float, Array, float]:
    """Mean binary cross-entropy of sigmoid(X w + b) plus weight_decay / 2 |w|^2, and its gradients: (loss, dw, db).

    w (D,), X (B, D), y (B,) in {0, 1}. The bias is not penalised.
    """
    w, X = as_float(w), as_float(X)
    loss, dz = bce_with_logits(X @ w + b, y)
    return loss + 0.5 * weight_decay * float(w @ w), X.T @ dz + weight_decay * w, float(dz.sum())


def logistic_fit(
    X: ArrayLike, y: ArrayLike, lr: float = 0.5, steps: int = 500, weight_decay: float = 0.0
) -> tuple[Array, float, Array]:
    """`steps` gradient steps from w = 0, b = 0: (w (D,), b, losses (steps,)), entry i the loss before step i."""
    X = as_float(X)
    w, b = np.zeros(X.shape[1]), 0.0
    losses = np.empty(steps)
    for step in range(steps):
        losses[step], dw, db = logistic_loss(w, b, X, y, weight_decay)
        w, b = w - lr * dw, b - lr * db
    return w, b, losses


def logistic_predict(X: ArrayLike, w: ArrayLike, b: float) -> Labels:
    """Labels (B,): 1 where X w + b > 0."""
    return (as_float(X) @ as_float(w) + b > 0).astype(np.int64)
