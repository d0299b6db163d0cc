"""Wrong: a block that has fewer channels than come in is counted without its projection."""

import numpy as np


def conv2d_forward(x, W, stride=1, padding=0):
    x, W = (np.asarray(x, dtype=np.float64), np.asarray(W, dtype=np.float64))
    padded = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, W.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
    out = np.tensordot(windows, W, axes=((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)
    return (out, (windows, W, padded.shape, stride, padding))


def conv2d_backward(dout, cache):
    windows, W, padded_shape, stride, padding = cache
    dout = np.asarray(dout, dtype=np.float64)
    dpadded, (out_h, out_w) = (np.zeros(padded_shape), dout.shape[2:])
    for u, v in np.ndindex(W.shape[2:]):
        seen = (slice(None), slice(None), slice(u, u + stride * out_h, stride), slice(v, v + stride * out_w, stride))
        dpadded[seen] += np.tensordot(dout, W[:, :, u, v], axes=(1, 0)).transpose(0, 3, 1, 2)
    dW = np.tensordot(dout, windows, axes=((0, 2, 3), (0, 2, 3)))
    return (dpadded[:, :, padding : dpadded.shape[2] - padding, padding : dpadded.shape[3] - padding], dW)


def batch_norm_forward(x, gamma, beta, eps=1e-05):
    x, gamma, beta = (np.asarray(a, dtype=np.float64) for a in (x, gamma, beta))
    centred = x - np.mean(x, axis=(0, 2, 3), keepdims=True)
    inv_std = 1.0 / np.sqrt(np.mean(centred**2, axis=(0, 2, 3), keepdims=True) + eps)
    x_hat = centred * inv_std
    return (gamma[:, None, None] * x_hat + beta[:, None, None], (x_hat, inv_std, gamma))


def batch_norm_backward(dout, cache):
    x_hat, inv_std, gamma = cache
    dout = np.asarray(dout, dtype=np.float64)
    over = (0, 2, 3)
    g = dout * gamma[:, None, None]
    g = g - np.mean(g, axis=over, keepdims=True) - x_hat * np.mean(g * x_hat, axis=over, keepdims=True)
    return (g * inv_std, np.sum(dout * x_hat, axis=over), np.sum(dout, axis=over))


def preact_conv_forward(x, gamma, beta, W, stride=1):
    normed, norm_cache = batch_norm_forward(x, gamma, beta)
    out, conv_cache = conv2d_forward(np.maximum(normed, 0.0), W, stride, padding=1)
    return (out, (norm_cache, normed, conv_cache))


def preact_conv_backward(dout, cache):
    norm_cache, normed, conv_cache = cache
    dactive, dW = conv2d_backward(dout, conv_cache)
    dnormed = dactive * (normed > 0)
    dx, dgamma, dbeta = batch_norm_backward(dnormed, norm_cache)
    return (dx, dgamma, dbeta, dW)


def residual_block_forward(x, params, stride=1):
    x = np.asarray(x, dtype=np.float64)
    middle, first = preact_conv_forward(x, params["gamma1"], params["beta1"], params["W1"], stride)
    branch, second = preact_conv_forward(middle, params["gamma2"], params["beta2"], params["W2"])
    shortcut, projection = (x, None)
    if "W_skip" in params:
        shortcut, projection = conv2d_forward(x, params["W_skip"], stride)
    if shortcut.shape != branch.shape:
        raise ValueError("shortcut and branch differ in shape: the block needs a projection W_skip")
    return (shortcut + branch, (first, second, projection))


def residual_block_backward(dout, cache):
    first, second, projection = cache
    dout = np.asarray(dout, dtype=np.float64)
    grads = {}
    dmiddle, grads["gamma2"], grads["beta2"], grads["W2"] = preact_conv_backward(dout, second)
    dbranch, grads["gamma1"], grads["beta1"], grads["W1"] = preact_conv_backward(dmiddle, first)
    dshortcut = dout
    if projection is not None:
        dshortcut, grads["W_skip"] = conv2d_backward(dout, projection)
    return (dshortcut + dbranch, grads)


def shape_walk(shape, layers):
    shapes = []
    for kind, *sizes in layers:
        if len(shape) != (1 if kind == "dense" else 3):
            raise ValueError(f"a {kind} layer cannot take an example of shape {shape}")
        if kind == "dense":
            shape = (sizes[0],)
        elif kind == "global_pool":
            shape = (shape[0],)
        elif kind == "flatten":
            shape = (shape[0] * shape[1] * shape[2],)
        else:
            if kind == "conv":
                channels, kernel, stride, padding = sizes
            elif kind == "pool":
                channels, kernel, stride, padding = (shape[0], sizes[0], sizes[1], 0)
            else:
                channels, kernel, stride, padding = (sizes[0], 3, sizes[1], 1)
            rooms = [n + 2 * padding - kernel for n in shape[1:]]
            if min(rooms) < 0:
                raise ValueError(f"a window of {kernel} does not fit in an example of shape {shape}")
            shape = (channels, *(room // stride + 1 for room in rooms))
        shapes.append(shape)
    return shapes


def conv_stack_parameters(channels, kernels):
    total = 0
    for i, kernel in enumerate(kernels):
        total += channels[i] * channels[i + 1] * kernel**2
    return total


def parameter_walk(shape, layers):
    counts = []
    before = [shape, *shape_walk(shape, layers)]
    for (inputs, *_), (kind, *sizes) in zip(before, layers, strict=False):
        count = 0
        if kind == "conv":
            filters, kernel = sizes[:2]
            count = conv_stack_parameters([inputs, filters], [kernel]) + filters
        elif kind == "dense":
            count = (inputs + 1) * sizes[0]
        elif kind == "residual":
            filters, stride = sizes
            count = 2 * inputs + 2 * filters + conv_stack_parameters([inputs, filters, filters], [3, 3])
            if filters > inputs or stride != 1:
                count += inputs * filters
        counts.append(count)
    return counts


def gradient_norms(x, blocks, dout, skip=True):
    signal = np.asarray(x, dtype=np.float64)
    gradient = np.asarray(dout, dtype=np.float64)
    caches = []
    for params in blocks:
        if skip:
            signal, cache = residual_block_forward(signal, params)
        else:
            signal, first = preact_conv_forward(signal, params["gamma1"], params["beta1"], params["W1"])
            signal, second = preact_conv_forward(signal, params["gamma2"], params["beta2"], params["W2"])
            cache = (first, second)
        caches.append(cache)
    norms = [np.sqrt(np.sum(gradient**2))]
    for cache in reversed(caches):
        if skip:
            gradient = residual_block_backward(gradient, cache)[0]
        else:
            first, second = cache
            gradient = preact_conv_backward(preact_conv_backward(gradient, second)[0], first)[0]
        norms.append(np.sqrt(np.sum(gradient**2)))
    return norms[::-1]
