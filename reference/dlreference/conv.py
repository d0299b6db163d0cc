"""Two-dimensional convolution: windows of an image as a strided view, and one matrix product over all of them.

As everywhere in deep learning "convolution" means cross-correlation: the kernel is not flipped. A `Size` is one number
for both directions, or a pair (vertical, horizontal).
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from dlreference.arrays import Array, ArrayLike, as_float

Size = int | tuple[int, int]


def pair(size: Size) -> tuple[int, int]:
    """(vertical, horizontal) of a `Size`."""
    if isinstance(size, tuple):
        return size
    return size, size


def conv_output_size(size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """Windows that fit along one axis: floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1.

    All in pixels. Raises ValueError when a number is out of range or not even one window fits.
    """
    if min(size, kernel, stride, dilation) < 1 or padding < 0:
        raise ValueError("size, kernel, stride and dilation must be at least 1 and padding at least 0")
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    if room < 0:
        raise ValueError(f"kernel {kernel} (dilation {dilation}) does not fit in {size} + 2 * {padding} pixels")
    return room // stride + 1


class Geometry(NamedTuple):
    """How a window walks over an image; each field is (vertical, horizontal)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """(Ho, Wo), as `conv_output_size` per axis."""
        numbers = zip(self.kernel, self.stride, self.padding, self.dilation, strict=True)
        vertical, horizontal = (conv_output_size(n, *rest) for n, rest in zip((height, width), numbers, strict=True))
        return vertical, horizontal


def geometry(kernel: Size, stride: Size = 1, padding: Size = 0, dilation: Size = 1) -> Geometry:
    """The four sizes as pairs."""
    return Geometry(pair(kernel), pair(stride), pair(padding), pair(dilation))


def windows(x: ArrayLike, walk: Geometry, fill: float = 0.0) -> Array:
    """Every window of every image, as a read-only view of the padded images.

    x (B, C, H, W) -> (B, C, Ho, Wo, kH, kW); padding pixels hold `fill`. Raises ValueError when no window fits.
    """
    x = as_float(x)
    walk.output_size(*x.shape[2:])
    (pad_h, pad_w), (step_h, step_w), (dilate_h, dilate_w) = walk.padding, walk.stride, walk.dilation
    if pad_h or pad_w:
        x = _pad(x, pad_h, pad_w, fill)
    reach = tuple(d * (k - 1) + 1 for k, d in zip(walk.kernel, walk.dilation, strict=True))
    dense = sliding_window_view(x, reach, axis=(2, 3))
    return dense[:, :, ::step_h, ::step_w, ::dilate_h, ::dilate_w]


def _pad(x: Array, pad_h: int, pad_w: int, fill: float) -> Array:
    batch, channels, height, width = x.shape
    padded = np.full((batch, channels, height + 2 * pad_h, width + 2 * pad_w), fill)
    padded[:, :, pad_h : pad_h + height, pad_w : pad_w + width] = x
    return padded


def add_windows(values: ArrayLike, image_size: tuple[int, int], walk: Geometry) -> Array:
    """The adjoint of `windows`: every entry is added to the pixel it was taken from.

    values (B, C, Ho, Wo, kH, kW), image_size (H, W) -> (B, C, H, W); what falls on the padding is dropped.
    """
    values = as_float(values)
    (height, width), (pad_h, pad_w), (step_h, step_w) = image_size, walk.padding, walk.stride
    batch, channels, out_h, out_w, *_ = values.shape
    padded = np.zeros((batch, channels, height + 2 * pad_h, width + 2 * pad_w))
    # One addition per kernel cell: for one cell no two windows share a pixel, so += on a strided slice loses nothing.
    for i, top in enumerate(range(0, walk.kernel[0] * walk.dilation[0], walk.dilation[0])):
        rows = slice(top, top + step_h * (out_h - 1) + 1, step_h)
        for j, left in enumerate(range(0, walk.kernel[1] * walk.dilation[1], walk.dilation[1])):
            columns = slice(left, left + step_w * (out_w - 1) + 1, step_w)
            padded[:, :, rows, columns] += values[..., i, j]
    return padded[:, :, pad_h : pad_h + height, pad_w : pad_w + width]


def im2col(x: ArrayLike, kernel: Size, stride: Size = 1, padding: Size = 0, dilation: Size = 1) -> Array:
    """The windows of all images as the rows of one matrix.

    x (B, C, H, W) -> (B Ho Wo, C kH kW): rows in the order (image, row, column), columns in the order (channel, kernel
    row, kernel column), the order of `weights.reshape(F, -1)`. Raises ValueError when no window fits.
    """
    view = windows(x, geometry(kernel, stride, padding, dilation))
    # Kernel cells first in memory: the copy then runs along image rows, far faster than along kernel rows.
    cells_first = view.transpose(1, 4, 5, 0, 2, 3)
    return cells_first.reshape(math.prod(cells_first.shape[:3]), -1).T


def col2im(
    cols: ArrayLike,
    image_shape: tuple[int, int, int, int],
    kernel: Size,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
) -> Array:
    """The adjoint of `im2col`: overlapping windows add up.

    cols (B Ho Wo, C kH kW), image_shape (B, C, H, W) -> (B, C, H, W).
    """
    batch, channels, height, width = image_shape
    walk = geometry(kernel, stride, padding, dilation)
    out_size = walk.output_size(height, width)
    cells_first = as_float(cols).T.reshape(channels, *walk.kernel, batch, *out_size)
    return add_windows(cells_first.transpose(3, 0, 4, 5, 1, 2), (height, width), walk)


class ConvCache(NamedTuple):
    """What `conv2d_backward` needs."""

    cols: Array
    w: Array
    image_shape: tuple[int, int, int, int]
    walk: Geometry


def conv2d_forward(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
) -> tuple[Array, ConvCache]:
    """Cross-correlation of every image with every filter.

    x (B, C, H, W), w (F, C, kH, kW), b (F,) or None -> out (B, F, Ho, Wo) and the cache, with zero padding and
    out[n, f, i, j] = b[f] + sum over c, p, q of w[f, c, p, q] x[n, c, i s + p d, j s + q d] in padded coordinates.
    Raises ValueError when no window fits or the channels differ.
    """
    x, w = as_float(x), as_float(w)
    batch, _, height, width = x.shape
    filters, _, *kernel = w.shape
    walk = geometry((kernel[0], kernel[1]), stride, padding, dilation)
    cols = im2col(x, *walk)
    out = w.reshape(filters, -1) @ cols.T
    if b is not None:
        out += as_float(b)[:, None]
    by_filter = out.reshape(filters, batch, *walk.output_size(height, width))
    image_shape = (batch, x.shape[1], height, width)
    return np.ascontiguousarray(by_filter.transpose(1, 0, 2, 3)), ConvCache(cols, w, image_shape, walk)


def conv2d_backward(dout: ArrayLike, cache: ConvCache) -> tuple[Array, Array, Array]:
    """Gradients (dx, dw, db) with the shapes of x, w and b, for dout (B, F, Ho, Wo).

    dw = dout^T cols; the columns receive dout w and go back to the pixels by addition; db sums over images and
    positions.
    """
    dout = as_float(dout)
    filters = cache.w.shape[0]
    by_filter = np.ascontiguousarray(dout.transpose(1, 0, 2, 3)).reshape(filters, -1)
    dw = (by_filter @ cache.cols).reshape(cache.w.shape)
    dcols = cache.w.reshape(filters, -1).T @ by_filter
    return col2im(dcols.T, cache.image_shape, *cache.walk), dw, by_filter.sum(axis=1)


def conv_parameter_count(in_channels: int, filters: int, kernel: Size, bias: bool = True) -> int:
    """Numbers learned by a convolution: filters (in_channels kH kW + 1), without the 1 when there is no bias."""
    kernel_h, kernel_w = pair(kernel)
    return filters * (in_channels * kernel_h * kernel_w + bias)


def dense_parameter_count(inputs: int, outputs: int, bias: bool = True) -> int:
    """Numbers learned by a fully connected layer: outputs (inputs + 1), without the 1 when there is no bias."""
    return outputs * (inputs + bias)


def translate(x: ArrayLike, down: int, right: int) -> Array:
    """Images (..., H, W) moved by whole pixels; what enters is zero, what leaves is lost, negative moves up or left."""
    x = as_float(x)
    moved = np.zeros_like(x)
    height, width = x.shape[-2:]
    if abs(down) < height and abs(right) < width:
        target = (slice(max(down, 0), height + min(down, 0)), slice(max(right, 0), width + min(right, 0)))
        source = (slice(max(-down, 0), height + min(-down, 0)), slice(max(-right, 0), width + min(-right, 0)))
        moved[..., target[0], target[1]] = x[..., source[0], source[1]]
    return moved
