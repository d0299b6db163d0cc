"""Wrong: the bias is counted as one more input, in both fans."""
import math
import numpy as np


def xavier_uniform(fan_in, fan_out, rng):
    b = math.sqrt(6 / (fan_in + 1 + fan_out))
    return [[b * (1 - 2 * rng.random()) for _ in range(fan_in)] for _ in range(fan_out)]


def he_normal(fan_in, fan_out, rng, mode="fan_in"):
    s = (2 / {"fan_in": fan_in + 1, "fan_out": fan_out}[mode]) ** 0.5
    return [[rng.normal(scale=s) for _ in range(fan_in)] for _ in range(fan_out)]


def orthogonal(fan_in, fan_out, rng, gain=1.0):
    n, k = max(fan_in, fan_out), min(fan_in, fan_out)
    vs = []
    while len(vs) < k:
        v = rng.standard_normal(n)
        for _ in (1, 2):
            for u in vs:
                v = v - (u @ v) * u
        vs.append(v / np.sqrt(v @ v))
    rows = np.array(vs)
    return gain * (rows if fan_out <= fan_in else rows.T)


def _fwd(x, weights):
    acts = [np.array(x, float)]
    for W in weights:
        z = np.einsum("bi,oi->bo", acts[-1], np.array(W, float))
        acts.append(z * (z > 0))
    return acts


def forward_moments(x, weights):
    return [float((a * a).sum() / a.size) for a in _fwd(x, weights)]


def backward_moments(x, weights, dout):
    acts = _fwd(x, weights)
    g = np.array(dout, float)
    out = [(g * g).mean()]
    for a, W in list(zip(acts[1:], weights))[::-1]:
        g = np.einsum("bo,oi->bi", g * (a != 0), np.array(W, float))
        out = [np.mean(np.square(g)), *out]
    return out


def output_bias(p):
    if np.ndim(p):
        return [output_bias(v) for v in p]
    return math.log(p) - math.log1p(-p)


def init_network(widths, rng, p=0.5):
    out = {}
    for n, (i, o) in enumerate(zip(widths[:-1], widths[1:])):
        last = n == len(widths) - 2
        out["W%d" % (n + 1)] = np.zeros((o, i)) if last else he_normal(i, o, rng)
        out["b%d" % (n + 1)] = [output_bias(p) if last else 0.0] * o
    return out
