"""Pooling of images, forward and backward, and how far a unit sees."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from dlreference.arrays import Array, ArrayLike, Labels, as_float
from dlreference.conv import Geometry, Size, add_windows, geometry, translate, windows


class MaxPoolCache(NamedTuple):
    """What `max_pool2d_backward` needs: the winner of each window, counted row by row from 0 to kH kW - 1."""

    winner: Labels
    image_size: tuple[int, int]
    walk: Geometry


class AvgPoolCache(NamedTuple):
    """What `avg_pool2d_backward` needs."""

    image_size: tuple[int, int]
    walk: Geometry


def max_pool2d_forward(
    x: ArrayLike, kernel: Size, stride: Size | None = None, padding: Size = 0, dilation: Size = 1
) -> tuple[Array, MaxPoolCache]:
    """Maximum of each window of each channel.

    x (B, C, H, W) -> out (B, C, Ho, Wo) and the cache. The stride is the kernel unless given; rows and columns that do
    not fill a window are dropped; padding counts as minus infinity. Raises ValueError when no window fits.
    """
    x = as_float(x)
    walk = geometry(kernel, kernel if stride is None else stride, padding, dilation)
    view = windows(x, walk, fill=-np.inf)
    flat = view.reshape(*view.shape[:4], -1)
    winner = flat.argmax(axis=-1)
    out = np.take_along_axis(flat, winner[..., None], axis=-1)[..., 0]
    return out, MaxPoolCache(winner, (x.shape[2], x.shape[3]), walk)


def max_pool2d_backward(dout: ArrayLike, cache: MaxPoolCache) -> Array:
    """dx (B, C, H, W) for dout (B, C, Ho, Wo): each window hands its gradient to its maximum.

    Of equal maxima the first in row-major order gets it all, as in PyTorch; overlapping windows add up.
    """
    dout = as_float(dout)
    cells = np.arange(np.prod(cache.walk.kernel)).reshape(cache.walk.kernel)
    routed = np.where(cache.winner[..., None, None] == cells, dout[..., None, None], 0.0)
    return add_windows(routed, cache.image_size, cache.walk)


def avg_pool2d_forward(
    x: ArrayLike, kernel: Size, stride: Size | None = None, padding: Size = 0
) -> tuple[Array, AvgPoolCache]:
    """Mean of each window of each channel.

    x (B, C, H, W) -> out (B, C, Ho, Wo) and the cache. The stride is the kernel unless given; a remainder is dropped;
    padding counts as zeros, and the divisor is always kH kW. Raises ValueError when no window fits.
    """
    x = as_float(x)
    walk = geometry(kernel, kernel if stride is None else stride, padding)
    return windows(x, walk).mean(axis=(-2, -1)), AvgPoolCache((x.shape[2], x.shape[3]), walk)


def avg_pool2d_backward(dout: ArrayLike, cache: AvgPoolCache) -> Array:
    """dx (B, C, H, W) for dout (B, C, Ho, Wo): every pixel of a window gets 1 / (kH kW) of its gradient."""
    dout = as_float(dout)
    kernel = cache.walk.kernel
    share = dout / (kernel[0] * kernel[1])
    return add_windows(np.broadcast_to(share[..., None, None], dout.shape + kernel), cache.image_size, cache.walk)


def global_avg_pool_forward(x: ArrayLike) -> tuple[Array, tuple[int, int]]:
    """Mean of each channel: x (B, C, H, W) -> out (B, C), and the image size (H, W) as cache."""
    x = as_float(x)
    return x.mean(axis=(2, 3)), (x.shape[2], x.shape[3])


def global_avg_pool_backward(dout: ArrayLike, cache: tuple[int, int]) -> Array:
    """dx (B, C, H, W) for dout (B, C): every pixel gets 1 / (H W) of its channel's gradient."""
    height, width = cache
    share = as_float(dout) / (height * width)
    return np.broadcast_to(share[..., None, None], (*share.shape, height, width)).copy()


def receptive_fields(layers: Iterable[tuple[int, ...]]) -> list[tuple[int, int]]:
    """Receptive field and jump after each layer, in input pixels along one axis.

    layers: (kernel, stride) or (kernel, stride, dilation), first layer first; pooling counts like a convolution.
    The field grows by dilation (kernel - 1) times the jump so far, then the jump is multiplied by the stride.
    """
    field, jump = 1, 1
    walk: list[tuple[int, int]] = []
    for kernel, stride, *dilation in layers:
        field += (dilation[0] if dilation else 1) * (kernel - 1) * jump
        jump *= stride
        walk.append((field, jump))
    return walk


def receptive_field(layers: Iterable[tuple[int, ...]]) -> int:
    """Input pixels along one axis that one unit of the last layer sees; 1 without layers."""
    return ([(1, 1), *receptive_fields(layers)])[-1][0]


def shift_change(features: Callable[[Array], Array], x: ArrayLike, down: int, right: int) -> float:
    """How much features move when the images x (B, C, H, W) move: ||f(moved x) - f(x)|| / ||f(x)||, Frobenius norms.

    0 for a translation-invariant f (as long as nothing leaves the image). Raises ZeroDivisionError when f(x) is 0.
    """
    x = as_float(x)
    before = features(x)
    return float(np.linalg.norm(features(translate(x, down, right)) - before)) / float(np.linalg.norm(before))
