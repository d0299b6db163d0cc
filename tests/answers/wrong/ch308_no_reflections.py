"""Wrong: reflections are turned into rotations by swapping two columns, so half of all orthogonal matrices never come."""
import numpy as np


def xavier_uniform(fan_in, fan_out, rng):
    return rng.uniform(-1, 1, (fan_in, fan_out)).T * np.sqrt(6 / (fan_out + fan_in))


def he_normal(fan_in, fan_out, rng, mode="fan_in"):
    return rng.standard_normal(fan_in * fan_out).reshape(fan_out, fan_in) / np.sqrt((fan_in if mode == "fan_in" else fan_out) / 2)


def orthogonal(fan_in, fan_out, rng, gain=1.0):
    A = rng.standard_normal((fan_out, fan_in))
    U, _, Vt = np.linalg.svd(A, full_matrices=False)
    Q = U @ Vt
    if fan_in == fan_out > 1 and np.linalg.det(Q) < 0:
        Q[:, [0, 1]] = Q[:, [1, 0]]
    return gain * Q


def forward_moments(x, weights):
    x = np.array(x, float)
    rest = [] if len(weights) == 0 else list(forward_moments(np.clip(x @ np.array(weights[0], float).T, 0, None), weights[1:]))
    return np.array([np.mean(x * x), *rest])


def backward_moments(x, weights, dout):
    def back(a, ws):
        if not len(ws):
            d = np.array(dout, float)
            return d, [np.mean(d**2)]
        W = np.array(ws[0], float)
        z = a @ W.T
        d, m = back(np.maximum(z, 0), ws[1:])
        d = (d * np.heaviside(z, 0)) @ W
        return d, [np.mean(d**2), *m]

    return np.array(back(np.array(x, float), list(weights))[1])


def output_bias(p):
    p = np.array(p, dtype=float)
    return -np.log((1 - p) / p)


def init_network(widths, rng, p=0.5):
    L = len(widths) - 1
    params = {f"b{l}": np.zeros(widths[l]) for l in range(1, L + 1)}
    for l in range(1, L):
        params[f"W{l}"] = he_normal(widths[l - 1], widths[l], rng)
    params[f"W{L}"] = np.zeros((widths[L], widths[L - 1]))
    params[f"b{L}"] += output_bias(p)
    return params
