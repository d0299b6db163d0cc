"""Wrong: a small number is added to the norm that the change is divided by."""

import numpy as np


def shift_images(x, down, right):
    x = np.asarray(x, dtype=np.float64)
    height, width = x.shape[-2:]
    moved = np.zeros_like(x)
    for i in range(height):
        for j in range(width):
            if 0 <= i - down < height and 0 <= j - right < width:
                moved[..., i, j] = x[..., i - down, j - right]
    return moved


def pool_windows(x, size, stride=None):
    x = np.asarray(x, dtype=np.float64)
    stride = size if stride is None else stride
    out_h = (x.shape[2] - size) // stride + 1
    out_w = (x.shape[3] - size) // stride + 1
    entries = [
        x[:, :, u : u + stride * out_h : stride, v : v + stride * out_w : stride]
        for u in range(size)
        for v in range(size)
    ]
    return np.stack(entries, axis=-1)


def max_pool_forward(x, size, stride=None):
    x = np.asarray(x, dtype=np.float64)
    stride = size if stride is None else stride
    windows = pool_windows(x, size, stride)
    winner = np.argmax(windows, axis=-1)
    return (np.max(windows, axis=-1), (winner, x.shape, size, stride))


def max_pool_backward(dout, cache):
    winner, image_shape, size, stride = cache
    dout = np.asarray(dout, dtype=np.float64)
    out_h, out_w = dout.shape[2:]
    dx = np.zeros(image_shape)
    for u in range(size):
        for v in range(size):
            share = np.where(winner == u * size + v, dout, 0.0)
            dx[:, :, u : u + stride * out_h : stride, v : v + stride * out_w : stride] += share
    return dx


def avg_pool_forward(x, size, stride=None):
    x = np.asarray(x, dtype=np.float64)
    stride = size if stride is None else stride
    return (np.mean(pool_windows(x, size, stride), axis=-1), (x.shape, size, stride))


def avg_pool_backward(dout, cache):
    image_shape, size, stride = cache
    share = np.asarray(dout, dtype=np.float64) / size**2
    out_h, out_w = share.shape[2:]
    dx = np.zeros(image_shape)
    for u in range(size):
        for v in range(size):
            dx[:, :, u : u + stride * out_h : stride, v : v + stride * out_w : stride] += share
    return dx


def global_avg_pool_forward(x):
    x = np.asarray(x, dtype=np.float64)
    return (np.mean(x, axis=(2, 3)), x.shape)


def global_avg_pool_backward(dout, cache):
    height, width = cache[2:]
    share = np.asarray(dout, dtype=np.float64) / (height * width)
    return share[:, :, None, None] * np.ones((height, width))


def receptive_fields(layers):
    field, jump = (1, 1)
    seen = []
    for kernel, stride, *more in layers:
        dilation = more[0] if more else 1
        field += dilation * (kernel - 1) * jump
        jump *= stride
        seen.append((field, jump))
    return seen


def shift_change(features, x, down, right):
    before = np.asarray(features(np.asarray(x, dtype=np.float64)), dtype=np.float64)
    after = np.asarray(features(shift_images(x, down, right)), dtype=np.float64)
    return np.sqrt(np.sum((after - before) ** 2)) / (np.sqrt(np.sum(before**2)) + 1e-08)
