"""Batch normalisation and layer normalisation, forward and backward, running statistics and folding.

Both normalise with the biased variance and eps inside the square root: x_hat = (x - mean) / sqrt(var + eps).
"""

from typing import NamedTuple

import numpy as np

from dlreference.arrays import Array, ArrayLike, as_float

EPS = 1e-5
BatchNormState = dict[str, Array]


class BatchNormCache(NamedTuple):
    """x_hat, and broadcastable to it 1 / sqrt(var + eps) and gamma; `training`: were these the batch's statistics?"""

    x_hat: Array
    inv_std: Array
    gamma: Array
    training: bool


class LayerNormCache(NamedTuple):
    """x_hat (..., D), 1 / sqrt(var + eps) (..., 1) and gamma (D,)."""

    x_hat: Array
    inv_std: Array
    gamma: Array


def _normalize_backward(g: Array, x_hat: Array, inv_std: Array, axes: tuple[int, ...]) -> Array:
    """Gradient at x of x_hat = (x - mean) inv_std, for g at x_hat, with mean and variance taken over `axes`:

    dx = (g - mean(g) - x_hat mean(g x_hat)) inv_std; the two means are what passes through the mean and the variance.
    """
    mean_g = g.mean(axis=axes, keepdims=True)
    mean_gx = (g * x_hat).mean(axis=axes, keepdims=True)
    return (g - mean_g - x_hat * mean_gx) * inv_std


def _channel_axes(ndim: int) -> tuple[int, ...]:
    """All axes but the channel axis 1: (0,) for (B, D), (0, 2, 3) for images (B, C, H, W)."""
    return (0, *range(2, ndim))


def _per_channel(values: ArrayLike, ndim: int) -> Array:
    """(C,) as (1, C, 1, ...), to broadcast along axis 1 of an array with `ndim` axes."""
    return as_float(values).reshape(1, -1, *([1] * (ndim - 2)))


def batch_norm_init(channels: int) -> BatchNormState:
    """State before the first batch: running_mean zeros (C,), running_var ones (C,)."""
    return {"running_mean": np.zeros(channels), "running_var": np.ones(channels)}


def batch_norm_forward(
    x: ArrayLike,
    gamma: ArrayLike,
    beta: ArrayLike,
    state: BatchNormState,
    training: bool,
    momentum: float = 0.1,
    eps: float = EPS,
) -> tuple[Array, BatchNormCache, BatchNormState]:
    """Batch normalisation (Ioffe & Szegedy 2015): out = gamma x_hat + beta, the cache, the new state.

    x (B, D), or (B, C, H, W) with statistics per channel over B, H and W; gamma, beta (D,) or (C,).
    Training: batch statistics normalise, and running = (1 - momentum) running + momentum batch, where the batch
    variance that enters running_var is the unbiased one. Evaluation: the running statistics normalise and the state
    stays. Raises ValueError in training with a single value per channel, which has no unbiased variance.
    """
    x = as_float(x)
    axes = _channel_axes(x.ndim)
    new_state = {"running_mean": as_float(state["running_mean"]), "running_var": as_float(state["running_var"])}
    if training:
        count = x.size // x.shape[1]
        if count < 2:
            raise ValueError("training needs more than one value per channel")
        mean, var = x.mean(axis=axes), x.var(axis=axes)
        new_state = {
            "running_mean": (1.0 - momentum) * new_state["running_mean"] + momentum * mean,
            "running_var": (1.0 - momentum) * new_state["running_var"] + momentum * var * count / (count - 1),
        }
    else:
        mean, var = new_state["running_mean"], new_state["running_var"]
    inv_std = _per_channel(1.0 / np.sqrt(var + eps), x.ndim)
    x_hat = (x - _per_channel(mean, x.ndim)) * inv_std
    scale = _per_channel(gamma, x.ndim)
    out = scale * x_hat + _per_channel(beta, x.ndim)
    return out, BatchNormCache(x_hat, inv_std, scale, training), new_state


def batch_norm_backward(dout: ArrayLike, cache: BatchNormCache) -> tuple[Array, Array, Array]:
    """Gradients (dx, dgamma, dbeta) with the shapes of x, gamma, beta, for dout shaped as x.

    After a training forward the batch's mean and variance depend on x, and dx sums to 0 over the batch; after an
    evaluation forward they are constants.
    """
    dout = as_float(dout)
    axes = _channel_axes(dout.ndim)
    g = dout * cache.gamma
    dx = _normalize_backward(g, cache.x_hat, cache.inv_std, axes) if cache.training else g * cache.inv_std
    return dx, (dout * cache.x_hat).sum(axis=axes), dout.sum(axis=axes)


def layer_norm_forward(
    x: ArrayLike, gamma: ArrayLike, beta: ArrayLike, eps: float = EPS
) -> tuple[Array, LayerNormCache]:
    """Layer normalisation over the last axis (Ba et al. 2016): out = gamma x_hat + beta, and the cache.

    x (..., D), gamma and beta (D,) -> out (..., D). Each row uses its own mean and variance, in evaluation too.
    """
    x, gamma = as_float(x), as_float(gamma)
    inv_std = 1.0 / np.sqrt(x.var(axis=-1, keepdims=True) + eps)
    x_hat = (x - x.mean(axis=-1, keepdims=True)) * inv_std
    return gamma * x_hat + as_float(beta), LayerNormCache(x_hat, inv_std, gamma)


def layer_norm_backward(dout: ArrayLike, cache: LayerNormCache) -> tuple[Array, Array, Array]:
    """Gradients (dx, dgamma, dbeta) with the shapes of x, gamma, beta, for dout (..., D); each row of dx sums to 0."""
    dout = as_float(dout)
    leading = tuple(range(dout.ndim - 1))
    dx = _normalize_backward(dout * cache.gamma, cache.x_hat, cache.inv_std, (-1,))
    return dx, (dout * cache.x_hat).sum(axis=leading), dout.sum(axis=leading)


def running_average(values: ArrayLike, initial: ArrayLike, momentum: float = 0.1) -> Array:
    """The running statistic after k batches, in closed form.

    values (k, ...) the statistic of each batch in order (for variances the unbiased ones), initial (...) -> (...):
    (1 - momentum)^k initial + sum_i momentum (1 - momentum)^(k - 1 - i) values_i.
    """
    values = as_float(values)
    k = values.shape[0]
    weights = momentum * (1.0 - momentum) ** np.arange(k - 1, -1, -1)
    return (1.0 - momentum) ** k * as_float(initial) + np.tensordot(weights, values, axes=1)


def fold_batch_norm(
    W: ArrayLike, b: ArrayLike, gamma: ArrayLike, beta: ArrayLike, state: BatchNormState, eps: float = EPS
) -> tuple[Array, Array]:
    """(W', b') of the one layer that equals a linear or convolution layer followed by batch norm in evaluation.

    W (out, in) or (F, C, kH, kW), everything else (out,) or (F,). With s = gamma / sqrt(running_var + eps), per output:
    W' = s W, b' = s (b - running_mean) + beta.
    """
    W = as_float(W)
    scale = as_float(gamma) / np.sqrt(as_float(state["running_var"]) + eps)
    folded = W * scale.reshape(-1, *([1] * (W.ndim - 1)))
    return folded, scale * (as_float(b) - as_float(state["running_mean"])) + as_float(beta)
