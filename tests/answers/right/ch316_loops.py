"""Right, with plain Python loops over images, channels and pixels."""

import math

import numpy as np


def positions(height, width, out, kernel, stride, padding):
    for i in range(out[0]):
        for j in range(out[1]):
            for u in range(kernel):
                for v in range(kernel):
                    row, column = i * stride + u - padding, j * stride + v - padding
                    if 0 <= row < height and 0 <= column < width:
                        yield i, j, u, v, row, column


def convolve(x, W, stride, padding):
    x, W = np.array(x, float), np.array(W, float)
    B, C, height, width = x.shape
    F, k = len(W), W.shape[2]
    size = [(n + 2 * padding - k) // stride + 1 for n in (height, width)]
    out = np.zeros((B, F, *size))
    for i, j, u, v, row, column in positions(height, width, size, k, stride, padding):
        for n in range(B):
            for f in range(F):
                for c in range(C):
                    out[n, f, i, j] += W[f, c, u, v] * x[n, c, row, column]
    return out


def convolve_back(dout, x, W, stride, padding):
    dout, W = np.array(dout, float), np.array(W, float)
    dx, dW = np.zeros(x.shape), np.zeros(W.shape)
    for i, j, u, v, row, column in positions(*x.shape[2:], dout.shape[2:], W.shape[2], stride, padding):
        for n in range(len(x)):
            for f in range(len(W)):
                for c in range(x.shape[1]):
                    dx[n, c, row, column] += W[f, c, u, v] * dout[n, f, i, j]
                    dW[f, c, u, v] += x[n, c, row, column] * dout[n, f, i, j]
    return dx, dW


def preact_conv_forward(x, gamma, beta, W, stride=1):
    x = np.array(x, float)
    x_hat, std, active = np.zeros(x.shape), [], np.zeros(x.shape)
    for c in range(x.shape[1]):
        values = x[:, c].ravel().tolist()
        mean = math.fsum(values) / len(values)
        std.append(math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values) + 1e-5))
        x_hat[:, c] = (x[:, c] - mean) / std[c]
        for place, value in np.ndenumerate(x_hat[:, c]):
            active[place[0], c, place[1], place[2]] = max(0.0, gamma[c] * value + beta[c])
    cache = {"x_hat": x_hat, "std": std, "active": active, "gamma": list(gamma), "W": np.array(W), "stride": stride}
    return convolve(active, W, stride, 1), cache


def preact_conv_backward(dout, cache):
    dactive, dW = convolve_back(dout, cache["active"], cache["W"], cache["stride"], 1)
    x_hat, dx = cache["x_hat"], np.zeros(dactive.shape)
    dgamma, dbeta = [], []
    for c, gamma in enumerate(cache["gamma"]):
        d, h = np.where(cache["active"][:, c] > 0, dactive[:, c], 0.0), x_hat[:, c]
        dbeta.append(float(d.sum()))
        dgamma.append(float((d * h).sum()))
        dx[:, c] = gamma * (d - dbeta[c] / d.size - h * dgamma[c] / d.size) / cache["std"][c]
    return [dx, dgamma, dbeta, dW]


def residual_block_forward(x, params, stride=1):
    h, one = preact_conv_forward(x, params["gamma1"], params["beta1"], params["W1"], stride)
    h, two = preact_conv_forward(h, params["gamma2"], params["beta2"], params["W2"], 1)
    way = np.array(x, float)
    if "W_skip" in params:
        way = convolve(x, params["W_skip"], stride, 0)
    for a, b in zip(way.shape, h.shape, strict=True):
        if a != b:
            raise ValueError("no way to add these")
    return h + way, (one, two, np.array(x, float), params.get("W_skip"), stride)


def residual_block_backward(dout, cache):
    one, two, x, W_skip, stride = cache
    d, gamma2, beta2, W2 = preact_conv_backward(dout, two)
    d, gamma1, beta1, W1 = preact_conv_backward(d, one)
    grads = {"W1": W1, "W2": W2, "beta1": beta1, "beta2": beta2, "gamma1": gamma1, "gamma2": gamma2}
    if W_skip is None:
        return d + dout, grads
    way, grads["W_skip"] = convolve_back(dout, x, W_skip, stride, 0)
    return d + way, grads


def windows(n, kernel, stride, padding):
    count = 0
    while count * stride + kernel <= n + 2 * padding:
        count += 1
    if count == 0:
        raise ValueError("too small")
    return count


def shape_walk(shape, layers):
    shape, found = list(shape), []
    for layer in layers:
        if layer[0] == "dense":
            (_,) = shape
            shape = [layer[1]]
        else:
            c, h, w = shape
            if layer[0] == "flatten":
                shape = [c * h * w]
            elif layer[0] == "global_pool":
                shape = [c]
            elif layer[0] == "conv":
                shape = [layer[1], windows(h, *layer[2:]), windows(w, *layer[2:])]
            elif layer[0] == "pool":
                shape = [c, windows(h, *layer[1:], 0), windows(w, *layer[1:], 0)]
            elif layer[0] == "residual":
                shape = [layer[1], windows(h, 3, layer[2], 1), windows(w, 3, layer[2], 1)]
        found.append(shape)
    return found


def conv_stack_parameters(channels, kernels):
    return sum(a * b * k * k for a, b, k in zip(channels, channels[1:], kernels, strict=False))


def parameter_walk(shape, layers):
    counts = []
    for layer in layers:
        c = shape[0]
        (after,) = shape_walk(shape, [layer])
        if layer[0] == "conv":
            counts.append(layer[1] * (c * layer[2] * layer[2] + 1))
        elif layer[0] == "dense":
            counts.append(layer[1] * (c + 1))
        elif layer[0] == "residual":
            f = layer[1]
            counts.append(2 * c + 9 * c * f + 2 * f + 9 * f * f + (0 if (c == f and layer[2] == 1) else c * f))
        else:
            counts.append(0)
        shape = after
    return counts


def gradient_norms(x, blocks, dout, skip=True):
    def length(a):
        return math.sqrt(math.fsum(v * v for v in np.ravel(a).tolist()))

    def down(x, blocks):
        """(gradient at x, norms from x up), by recursion."""
        if not blocks:
            return np.array(dout), [length(dout)]
        p = blocks[0]
        h, one = preact_conv_forward(x, p["gamma1"], p["beta1"], p["W1"])
        h, two = preact_conv_forward(h, p["gamma2"], p["beta2"], p["W2"])
        above, norms = down(h + x if skip else h, blocks[1:])
        here = preact_conv_backward(preact_conv_backward(above, two)[0], one)[0] + (above if skip else 0)
        return here, [length(here), *norms]

    return down(np.array(x, float), list(blocks))[1]
