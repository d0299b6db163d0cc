"""Right, with einsum, and with caches that are the backward functions themselves."""

import numpy as np


def conv(x, W, stride, padding):
    """Sum over kernel cells of a product over channels; returns out and the way back."""
    W = np.asarray(W, float)
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    h, w = ((n - W.shape[2]) // stride + 1 for n in padded.shape[2:])
    cells = {
        (u, v): (..., slice(u, u + stride * (h - 1) + 1, stride), slice(v, v + stride * (w - 1) + 1, stride))
        for u in range(W.shape[2])
        for v in range(W.shape[3])
    }
    out = sum(np.einsum("bcij,fc->bfij", padded[cell], W[:, :, u, v]) for (u, v), cell in cells.items())

    def back(dout):
        dpadded, dW = np.zeros_like(padded), np.zeros_like(W)
        for (u, v), cell in cells.items():
            dpadded[cell] += np.einsum("bfij,fc->bcij", dout, W[:, :, u, v])
            dW[:, :, u, v] = np.einsum("bfij,bcij->fc", dout, padded[cell])
        inner = slice(padding, -padding or None)
        return dpadded[..., inner, inner], dW

    return out, back


def rows(x):
    return np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])


def preact_conv_forward(x, gamma, beta, W, stride=1):
    x = np.asarray(x, float)
    flat = rows(x)
    std = np.sqrt(flat.var(axis=0) + 1e-5)
    hat = (flat - flat.mean(axis=0)) / std
    normed = hat * np.asarray(gamma) + np.asarray(beta)
    gate = normed > 0

    def images(a):
        return np.moveaxis(a.reshape(len(x), *x.shape[2:], -1), -1, 1)

    out, conv_back = conv(images(normed * gate), W, stride, 1)

    def back(dout):
        dactive, dW = conv_back(np.asarray(dout, float))
        d = rows(dactive) * gate
        dhat = d * np.asarray(gamma)
        dvar = (dhat * hat).sum(axis=0) * -0.5 / std**2
        dx = dhat / std + 2 * dvar * hat * std / len(flat)
        dx = dx - dhat.sum(axis=0) / std / len(flat)
        return images(dx), (d * hat).sum(axis=0), d.sum(axis=0), dW

    return out, back


def preact_conv_backward(dout, cache):
    return cache(dout)


def residual_block_forward(x, params, stride=1):
    x = np.asarray(x, float)
    backs, branch = [], x
    for half, s in (("1", stride), ("2", 1)):
        branch, back = preact_conv_forward(branch, params["gamma" + half], params["beta" + half], params["W" + half], s)
        backs.append(back)
    shortcut, skip_back = conv(x, params["W_skip"], stride, 0) if "W_skip" in params else (x, None)
    if np.shape(shortcut) != np.shape(branch):
        raise ValueError(f"{shortcut.shape} and {branch.shape}")

    def whole(dout):
        grads, d = {}, np.asarray(dout, float)
        for half in (1, 0):
            d, *three = backs[half](d)
            grads.update({f"{name}{half + 1}": g for name, g in zip(("gamma", "beta", "W"), three, strict=True)})
        if skip_back is None:
            return np.add(d, dout), grads
        back_x, grads["W_skip"] = skip_back(np.asarray(dout, float))
        return d + back_x, grads

    return np.add(shortcut, branch), whole


def residual_block_backward(dout, cache):
    return cache(dout)


def step(shape, layer):
    """(shape after, parameters)"""
    match layer, tuple(shape):
        case ("conv", f, k, s, p), (c, *size):
            after, count = (f, *((n + 2 * p - k) / s for n in size)), f * c * k * k + f
        case ("pool", k, s), (c, *size):
            after, count = (c, *((n - k) / s for n in size)), 0
        case ("residual", f, s), (c, *size):
            project = (c, s) != (f, 1)
            after, count = (f, *((n - 1) / s for n in size)), 2 * (c + f) + 9 * f * (c + f) + project * c * f
        case ("dense", n), (d,):
            return (n,), d * n + n
        case ("global_pool",), (c, _, _):
            return (c,), 0
        case ("flatten",), (c, h, w):
            return (c * h * w,), 0
        case _:
            raise ValueError(layer)
    if len(after) != 3 or min(after[1:]) < 0:
        raise ValueError(layer)
    return (after[0], *(int(n) + 1 for n in after[1:])), count


def walk(shape, layers):
    for layer in layers:
        shape, count = step(shape, layer)
        yield shape, count


def shape_walk(shape, layers):
    return [np.array(after) for after, _ in walk(shape, layers)]


def parameter_walk(shape, layers):
    return np.array([count for _, count in walk(shape, layers)], dtype=float)


def conv_stack_parameters(channels, kernels):
    channels, kernels = np.array(channels), np.array(kernels, dtype=int)
    return (channels[:-1] * channels[1:] * kernels**2).sum()


def gradient_norms(x, blocks, dout, skip=True):
    x, g, backs = np.asarray(x, float), np.asarray(dout, float), []
    for p in blocks:
        out, back = residual_block_forward(x, p)
        if not skip:
            middle, one = preact_conv_forward(x, p["gamma1"], p["beta1"], p["W1"])
            out, two = preact_conv_forward(middle, p["gamma2"], p["beta2"], p["W2"])
            back = lambda d, one=one, two=two: one(two(d)[0])
        x = out
        backs.append(back)
    norms = [np.linalg.norm(g)]
    while backs:
        g = backs.pop()(g)[0]
        norms.insert(0, np.linalg.norm(g))
    return np.array(norms)
