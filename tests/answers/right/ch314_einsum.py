"""Right, with strided views and einsum, and backward as np.add.at and a convolution of the gradient."""

import numpy as np

SOBEL_X = np.outer([1.0, 2.0, 1.0], [-1.0, 0.0, 1.0])


def conv_output_size(size, kernel, stride=1, padding=0, dilation=1):
    n = len(range(0, size + 2 * padding - dilation * (kernel - 1), stride))
    if n < 1:
        raise ValueError
    return n


def pad_images(x, padding):
    x = np.array(x, float)
    out = np.zeros((*x.shape[:-2], x.shape[-2] + 2 * padding, x.shape[-1] + 2 * padding))
    out[..., padding : padding + x.shape[-2], padding : padding + x.shape[-1]] = x
    return out


def indices(height, width, kh, kw, stride, padding, dilation):
    i = stride * np.arange(conv_output_size(height, kh, stride, padding, dilation))
    j = stride * np.arange(conv_output_size(width, kw, stride, padding, dilation))
    u, v = dilation * np.arange(kh), dilation * np.arange(kw)
    return (i[:, None] + u)[:, None, :, None], (j[:, None] + v)[None, :, None, :]


def gather(x, kh, kw, stride, padding, dilation):
    x = np.asarray(x, float)
    rows, columns = indices(*x.shape[-2:], kh, kw, stride, padding, dilation)
    return pad_images(x, padding)[..., rows, columns]  # (..., Ho, Wo, kH, kW)


def conv2d_naive(image, W, b, stride=1, padding=0, dilation=1):
    W = np.asarray(W, float)
    seen = gather(image, *W.shape[2:], stride, padding, dilation)
    return np.einsum("cijuv,fcuv->fij", seen, W) + np.asarray(b, float).reshape(-1, 1, 1)


def im2col(x, kernel_h, kernel_w, stride=1, padding=0, dilation=1):
    seen = gather(x, kernel_h, kernel_w, stride, padding, dilation)
    return np.moveaxis(seen, 1, 3).reshape(-1, seen.shape[1] * kernel_h * kernel_w)


class Cache:
    def __init__(self, seen, W, shape, sizes):
        self.seen, self.W, self.shape, self.sizes = seen, W, shape, sizes


def conv2d_forward(x, W, b, stride=1, padding=0, dilation=1):
    W = np.asarray(W, float)
    seen = gather(x, *W.shape[2:], stride, padding, dilation)
    out = np.tensordot(seen, W, axes=((1, 4, 5), (1, 2, 3))) + np.asarray(b, float)
    return np.moveaxis(out, -1, 1), Cache(seen, W, np.shape(x), (stride, padding, dilation))


def scatter(seen, shape, stride, padding, dilation):
    kh, kw = seen.shape[-2:]
    rows, columns = indices(*shape[-2:], kh, kw, stride, padding, dilation)
    out = np.zeros((*shape[:2], shape[2] + 2 * padding, shape[3] + 2 * padding))
    np.add.at(out, (slice(None), slice(None), rows, columns), seen)
    return out[..., padding : padding + shape[2], padding : padding + shape[3]]


def col2im(cols, image_shape, kernel_h, kernel_w, stride=1, padding=0, dilation=1):
    B, C, H, _ = image_shape
    Ho = conv_output_size(H, kernel_h, stride, padding, dilation)
    seen = np.asarray(cols, float).reshape(B, Ho, -1, C, kernel_h, kernel_w)
    return scatter(np.moveaxis(seen, 3, 1), image_shape, stride, padding, dilation)


def conv2d_backward(dout, cache):
    dout = np.asarray(dout, float)
    dseen = np.einsum("bfij,fcuv->bcijuv", dout, cache.W)
    dW = np.einsum("bfij,bcijuv->fcuv", dout, cache.seen)
    return scatter(dseen, cache.shape, *cache.sizes), dW, np.einsum("bfij->f", dout)


def edge_strength(image):
    image = np.asarray(image, float)
    smooth_down = image[:-2] + 2 * image[1:-1] + image[2:]
    smooth_across = image[:, :-2] + 2 * image[:, 1:-1] + image[:, 2:]
    return np.abs(smooth_down[:, 2:] - smooth_down[:, :-2] + 1j * (smooth_across[2:] - smooth_across[:-2]))


def move(x, down, right):
    x = np.roll(x, (down, right), axis=(-2, -1))
    x[..., : max(down, 0), :] = 0
    x[..., x.shape[-2] + min(down, 0) :, :] = 0
    x[..., : max(right, 0)] = 0
    x[..., x.shape[-1] + min(right, 0) :] = 0
    return x


def equivariance_error(layer, x, down, right, margin):
    gap = np.abs(layer(move(x, down, right)) - move(layer(x), down, right))
    gap[..., :margin, :] = gap[..., :margin] = 0
    if margin:
        gap[..., -margin:, :] = gap[..., -margin:] = 0
    return gap.max()


def parameter_counts(image_shape, filters, kernel_h, kernel_w, stride=1, padding=0):
    C, *size = image_shape
    positions = np.prod(
        [conv_output_size(n, k, stride, padding) for n, k in zip(size, (kernel_h, kernel_w), strict=True)]
    )
    out = int(filters * positions)
    return filters + filters * C * kernel_h * kernel_w, out * int(np.prod(image_shape)) + out
