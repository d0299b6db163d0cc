"""What the course takes for granted: gradient descent, expectation, entropy, divergence, distances, a chain rule."""

from collections.abc import Callable

import numpy as np

from dlreference.arrays import Array, ArrayLike, as_float, require_same_shape


def sine_of_product(x: ArrayLike, y: ArrayLike) -> tuple[Array, Array, Array]:
    """f = sin(x^2 y) and its partial derivatives: (f, df/dx, df/dy), each of the common shape of x and y."""
    x, y = as_float(x), as_float(y)
    inner = x**2 * y
    outer = np.cos(inner)
    return np.sin(inner), outer * 2.0 * x * y, outer * x**2


def gradient_descent(grad: Callable[[Array], ArrayLike], start: ArrayLike, lr: float, steps: int) -> Array:
    """The point (D,) after `steps` steps w - lr grad(w) from start (D,)."""
    w = as_float(start).copy()
    for _ in range(steps):
        w = w - lr * as_float(grad(w))
    return w


def mean_and_variance(values: ArrayLike, probs: ArrayLike) -> tuple[float, float]:
    """E[V] and E[(V - E[V])^2] of a variable that takes values (K,) with probabilities (K,)."""
    values, probs = as_float(values), as_float(probs)
    require_same_shape(values, probs)
    mean = float(probs @ values)
    return mean, float(probs @ (values - mean) ** 2)


def entropy(p: ArrayLike) -> float:
    """-sum p log p in nats for probabilities (K,); an impossible outcome adds 0."""
    p = as_float(p)
    possible = p[p > 0]
    return float(-(possible @ np.log(possible)))


def kl_divergence(p: ArrayLike, q: ArrayLike) -> float:
    """D(p || q) = sum p log(p / q) in nats, (K,) and (K,); infinite where p is positive and q is 0."""
    p, q = as_float(p), as_float(q)
    require_same_shape(p, q)
    possible = p > 0
    if np.any(q[possible] == 0):
        return float("inf")
    return float(p[possible] @ (np.log(p[possible]) - np.log(q[possible])))


def squared_distances(A: ArrayLike, B: ArrayLike) -> Array:
    """|a - b|^2 for every row a of A (N, D) and b of B (M, D): (N, M).

    Differences are taken before they are squared: |a|^2 + |b|^2 - 2 a.b cancels for points far from the origin.
    """
    return ((as_float(A)[:, None, :] - as_float(B)[None, :, :]) ** 2).sum(axis=2)
