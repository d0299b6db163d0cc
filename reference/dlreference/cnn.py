"""Convolutional architectures: residual blocks forward and backward, a walk through a network's shapes, and counts."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dlreference.activations import d_relu, relu
from dlreference.arrays import Array, ArrayLike, Params, as_float, as_params
from dlreference.conv import (
    ConvCache,
    Size,
    conv2d_backward,
    conv2d_forward,
    conv_parameter_count,
    dense_parameter_count,
    geometry,
)
from dlreference.linear import LinearCache, linear_backward, linear_forward
from dlreference.norm import (
    BatchNormCache,
    BatchNormState,
    LayerNormCache,
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_init,
    layer_norm_backward,
    layer_norm_forward,
)


class ConvHalf(NamedTuple):
    """Cache of norm, ReLU and convolution; `normed` is what ReLU was given."""

    norm: BatchNormCache
    normed: Array
    conv: ConvCache


class ResidualCache(NamedTuple):
    """Caches of the branch's two halves and of the projection, if there is one."""

    first: ConvHalf
    second: ConvHalf
    projection: ConvCache | None


def residual_block_init_state(in_channels: int, filters: int) -> list[BatchNormState]:
    """The running statistics of the two batch norms before the first batch."""
    return [batch_norm_init(in_channels), batch_norm_init(filters)]


def residual_block_forward(
    x: ArrayLike,
    params: Mapping[str, ArrayLike],
    state: Sequence[BatchNormState],
    training: bool,
    stride: int = 1,
) -> tuple[Array, ResidualCache, list[BatchNormState]]:
    """Pre-activation residual block (He et al. 2016): shortcut(x) + branch(x), nothing after the sum.

    The branch is BN, ReLU, 3x3 convolution with `stride`, BN, ReLU, 3x3 convolution, both padded by 1. The shortcut is
    x itself, or its 1x1 projection W_skip (F, C, 1, 1) with `stride` when that key is present (needed when C != F or
    stride > 1). x (B, C, H, W); gamma1, beta1 (C,), W1 (F, C, 3, 3), gamma2, beta2 (F,), W2 (F, F, 3, 3), no biases.
    Returns out (B, F, Ho, Wo), the cache, and the new running statistics.
    Raises ValueError when the shortcut and the branch differ in shape.
    """
    x, params = as_float(x), as_params(params)
    middle, first, running1 = _conv_half_forward(x, params, "1", state[0], training, stride)
    branch, second, running2 = _conv_half_forward(middle, params, "2", state[1], training, 1)
    shortcut, projection = x, None
    if "W_skip" in params:
        shortcut, projection = conv2d_forward(x, params["W_skip"], stride=stride)
    _require_addable(shortcut, branch)
    return shortcut + branch, ResidualCache(first, second, projection), [running1, running2]


def residual_block_backward(dout: ArrayLike, cache: ResidualCache) -> tuple[Array, Params]:
    """(dx, dict of parameter gradients) for dout (B, F, Ho, Wo): the shortcut's share plus the branch's."""
    dout = as_float(dout)
    dmiddle, second = _conv_half_backward(dout, cache.second, "2")
    dbranch, first = _conv_half_backward(dmiddle, cache.first, "1")
    if cache.projection is None:
        return dout + dbranch, first | second
    dshortcut, d_w_skip, _ = conv2d_backward(dout, cache.projection)
    return dshortcut + dbranch, first | second | {"W_skip": d_w_skip}


def _conv_half_forward(
    x: Array, params: Params, half: str, running: BatchNormState, training: bool, stride: int
) -> tuple[Array, ConvHalf, BatchNormState]:
    normed, norm, running = batch_norm_forward(x, params["gamma" + half], params["beta" + half], running, training)
    out, conv = conv2d_forward(relu(normed), params["W" + half], stride=stride, padding=1)
    return out, ConvHalf(norm, normed, conv), running


def _conv_half_backward(dout: Array, cache: ConvHalf, half: str) -> tuple[Array, Params]:
    dactive, d_w, _ = conv2d_backward(dout, cache.conv)
    dx, d_gamma, d_beta = batch_norm_backward(dactive * d_relu(cache.normed), cache.norm)
    return dx, {"gamma" + half: d_gamma, "beta" + half: d_beta, "W" + half: d_w}


class DenseHalf(NamedTuple):
    """Cache of norm, ReLU and matrix; `normed` is what ReLU was given."""

    norm: LayerNormCache
    normed: Array
    linear: LinearCache


class DenseResidualCache(NamedTuple):
    """Caches of the branch's two halves and of the projection; `skip` tells whether there was a shortcut at all."""

    first: DenseHalf
    second: DenseHalf
    projection: LinearCache | None
    skip: bool


def dense_residual_forward(
    x: ArrayLike, params: Mapping[str, ArrayLike], skip: bool = True
) -> tuple[Array, DenseResidualCache]:
    """The same block for vectors: shortcut(x) + W2 relu(LN2(W1 relu(LN1(x)))), without biases.

    x (B, D); gamma1, beta1 (D,), W1 (M, D), gamma2, beta2 (M,), W2 (E, M); the shortcut is x, or x W_skip^T with
    W_skip (E, D) when that key is present. skip=False leaves the shortcut out, for comparison.
    Returns out (B, E) and the cache. Raises ValueError when the shortcut and the branch differ in shape.
    """
    x, params = as_float(x), as_params(params)
    middle, first = _dense_half_forward(x, params, "1")
    branch, second = _dense_half_forward(middle, params, "2")
    if not skip:
        return branch, DenseResidualCache(first, second, None, skip)
    shortcut, projection = x, None
    if "W_skip" in params:
        shortcut, projection = linear_forward(x, params["W_skip"])
    _require_addable(shortcut, branch)
    return shortcut + branch, DenseResidualCache(first, second, projection, skip)


def dense_residual_backward(dout: ArrayLike, cache: DenseResidualCache) -> tuple[Array, Params]:
    """(dx, dict of parameter gradients) for dout (B, E)."""
    dout = as_float(dout)
    dmiddle, second = _dense_half_backward(dout, cache.second, "2")
    dbranch, first = _dense_half_backward(dmiddle, cache.first, "1")
    if not cache.skip:
        return dbranch, first | second
    if cache.projection is None:
        return dout + dbranch, first | second
    dshortcut, d_w_skip, _ = linear_backward(dout, cache.projection)
    return dshortcut + dbranch, first | second | {"W_skip": d_w_skip}


def _dense_half_forward(x: Array, params: Params, half: str) -> tuple[Array, DenseHalf]:
    normed, norm = layer_norm_forward(x, params["gamma" + half], params["beta" + half])
    out, linear = linear_forward(relu(normed), params["W" + half])
    return out, DenseHalf(norm, normed, linear)


def _dense_half_backward(dout: Array, cache: DenseHalf, half: str) -> tuple[Array, Params]:
    dactive, d_w, _ = linear_backward(dout, cache.linear)
    dx, d_gamma, d_beta = layer_norm_backward(dactive * d_relu(cache.normed), cache.norm)
    return dx, {"gamma" + half: d_gamma, "beta" + half: d_beta, "W" + half: d_w}


def _require_addable(shortcut: Array, branch: Array) -> None:
    if shortcut.shape != branch.shape:
        raise ValueError(f"shortcut {shortcut.shape} and branch {branch.shape} differ: a projection W_skip is needed")


def stack_gradient_norms(
    x: ArrayLike, blocks: Sequence[Mapping[str, ArrayLike]], dout: ArrayLike, skip: bool = True
) -> list[float]:
    """How a gradient fares on its way down a stack of dense blocks, with shortcuts or without.

    x (B, D) goes through `dense_residual_forward` of every block; dout (B, E) is the gradient at the top. Returns the
    Frobenius norm of the gradient at the input of every block, first block first, and at the top: len(blocks) + 1.
    """
    signal, gradient = as_float(x), as_float(dout)
    caches = []
    for params in blocks:
        signal, cache = dense_residual_forward(signal, params, skip)
        caches.append(cache)
    norms = [float(np.linalg.norm(gradient))]
    for cache in reversed(caches):
        gradient, _ = dense_residual_backward(gradient, cache)
        norms.append(float(np.linalg.norm(gradient)))
    return norms[::-1]


class Conv(NamedTuple):
    """A convolution with `filters` filters."""

    filters: int
    kernel: Size
    stride: Size = 1
    padding: Size = 0
    bias: bool = True


class Pool(NamedTuple):
    """Max or average pooling; the stride is the kernel unless given."""

    kernel: Size
    stride: Size | None = None


class Residual(NamedTuple):
    """The block of `residual_block_forward`, with a projection when channels or size change."""

    filters: int
    stride: int = 1


class GlobalPool(NamedTuple):
    """Mean over each channel: (C, H, W) -> (C,)."""


class Flatten(NamedTuple):
    """(C, H, W) -> (C H W,)."""


class Dense(NamedTuple):
    """A fully connected layer."""

    outputs: int
    bias: bool = True


Layer = Conv | Pool | Residual | GlobalPool | Flatten | Dense


class LayerSummary(NamedTuple):
    """Shape of one example after a layer, (C, H, W) or (D,), and how many numbers the layer learns."""

    shape: tuple[int, ...]
    parameters: int


def shape_walk(shape: tuple[int, ...], layers: Sequence[Layer]) -> list[LayerSummary]:
    """Follow one example of `shape` through the layers: a summary per layer.

    Raises ValueError when a window does not fit or a layer meets a shape that it cannot take.
    """
    walk = []
    for layer in layers:
        summary = _after(shape, layer)
        shape = summary.shape
        walk.append(summary)
    return walk


def _after(shape: tuple[int, ...], layer: Layer) -> LayerSummary:
    match layer, shape:
        case Conv(filters, kernel, stride, padding, bias), (channels, height, width):
            size = geometry(kernel, stride, padding).output_size(height, width)
            return LayerSummary((filters, *size), conv_parameter_count(channels, filters, kernel, bias))
        case Pool(kernel, stride), (channels, height, width):
            size = geometry(kernel, kernel if stride is None else stride).output_size(height, width)
            return LayerSummary((channels, *size), 0)
        case Residual(filters, stride), (channels, height, width):
            size = geometry(3, stride, 1).output_size(height, width)
            return LayerSummary((filters, *size), residual_block_parameter_count(channels, filters, stride))
        case GlobalPool(), (channels, _, _):
            return LayerSummary((channels,), 0)
        case Flatten(), _:
            return LayerSummary((math.prod(shape),), 0)
        case Dense(outputs, bias), (inputs,):
            return LayerSummary((outputs,), dense_parameter_count(inputs, outputs, bias))
    raise ValueError(f"{layer} cannot take an example of shape {shape}")


def residual_block_parameter_count(in_channels: int, filters: int, stride: int = 1) -> int:
    """Two batch norms, two 3x3 convolutions without bias, and a 1x1 projection when C != F or stride > 1."""
    projection = in_channels * filters if in_channels != filters or stride > 1 else 0
    norms = 2 * in_channels + 2 * filters
    return norms + conv_stack_parameter_count([in_channels, filters, filters], [3, 3]) + projection


def conv_stack_parameter_count(channels: Sequence[int], kernels: Sequence[Size], bias: bool = False) -> int:
    """Numbers learned by convolutions in a row: channels (n + 1 of them, the input's first), kernels (n of them).

    Raises ValueError when the lengths do not fit.
    """
    steps = zip(channels[:-1], channels[1:], kernels, strict=True)
    return sum(conv_parameter_count(before, after, kernel, bias) for before, after, kernel in steps)


def bottleneck_parameter_count(channels: int, reduced: int, bias: bool = False) -> int:
    """1x1 down to `reduced` channels, 3x3 there, 1x1 back up (He et al. 2015); the norms are not counted."""
    return conv_stack_parameter_count([channels, reduced, reduced, channels], [1, 3, 1], bias)
