"""The affine map x W^T + b over the last axis, its backward, and the composition of two of them."""

from dlreference.arrays import Array, ArrayLike, as_float

LinearCache = tuple[Array, Array]


def linear_forward(x: ArrayLike, W: ArrayLike, b: ArrayLike | None = None) -> tuple[Array, LinearCache]:
    """Affine map of the last axis.

    x (..., in), W (out, in), b (out,) or None -> out (..., out) = x @ W.T + b, and the cache (x, W).
    """
    x, W = as_float(x), as_float(W)
    # One product of two matrices: with more axes NumPy would take a small product for each leading index.
    out = x.reshape(-1, x.shape[-1]) @ W.T
    if b is not None:
        out += as_float(b)
    return out.reshape(*x.shape[:-1], W.shape[0]), (x, W)


def linear_backward(dout: ArrayLike, cache: LinearCache) -> tuple[Array, Array, Array]:
    """Gradients (dx, dW, db) with the shapes of x, W, b, for dout (..., out).

    dx = dout W, dW = dout^T x, db = sum of dout: sums over every leading axis, for dout already carries the
    1/B of a mean loss.
    """
    dout = as_float(dout)
    x, W = cache
    flat_dout = dout.reshape(-1, W.shape[0])
    return (flat_dout @ W).reshape(x.shape), flat_dout.T @ x.reshape(-1, W.shape[1]), flat_dout.sum(axis=0)


def compose_linear(W1: ArrayLike, b1: ArrayLike, W2: ArrayLike, b2: ArrayLike) -> tuple[Array, Array]:
    """The one affine map that equals (W1, b1) followed by (W2, b2).

    W1 (m, n), b1 (m,), W2 (k, m), b2 (k,) -> (W2 W1 (k, n), W2 b1 + b2 (k,)).
    """
    W1, b1, W2, b2 = as_float(W1), as_float(b1), as_float(W2), as_float(b2)
    return W2 @ W1, W2 @ b1 + b2
