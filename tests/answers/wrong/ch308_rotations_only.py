"""Wrong: mirror images are turned into rotations by flipping the first column, so half of all matrices never come."""

import numpy as np


def xavier_uniform(fan_in, fan_out, rng):
    limit = (6 / (fan_in + fan_out)) ** 0.5
    return rng.uniform(-limit, limit, (fan_out, fan_in))


def he_normal(fan_in, fan_out, rng, mode="fan_in"):
    fan = fan_in if mode == "fan_in" else fan_out
    return rng.standard_normal((fan_out, fan_in)) * np.sqrt(2 / fan)


def orthogonal(fan_in, fan_out, rng, gain=1.0):
    if fan_out < fan_in:
        return orthogonal(fan_out, fan_in, rng, gain).T
    q, r = np.linalg.qr(rng.standard_normal((fan_out, fan_in)))
    q = q * np.sign(np.diag(r))
    q[:, 0] *= np.sign(q[0, 0])
    return gain * q


def forward_moments(x, weights):
    a = np.asarray(x, float)
    out = [(a**2).mean()]
    for W in weights:
        a = np.maximum(a @ np.transpose(W), 0)
        out.append((a**2).mean())
    return np.array(out)


def backward_moments(x, weights, dout):
    a, masks = np.asarray(x, float), []
    for W in weights:
        a = np.maximum(a @ np.transpose(W), 0)
        masks.append(a > 0)
    g = np.asarray(dout, float)
    out = [(g**2).mean()]
    for W, mask in zip(weights[::-1], masks[::-1]):
        g = (g * mask) @ W
        out.insert(0, (g**2).mean())
    return np.array(out)


def output_bias(p):
    p = np.asarray(p, float)
    return np.log(p) - np.log(1 - p)


def init_network(widths, rng, p=0.5):
    params = {}
    L = len(widths) - 1
    for l in range(1, L):
        params[f"W{l}"] = he_normal(widths[l - 1], widths[l], rng)
        params[f"b{l}"] = np.zeros(widths[l])
    params[f"W{L}"] = np.zeros((widths[L], widths[L - 1]))
    params[f"b{L}"] = np.full(widths[L], output_bias(p))
    return params
