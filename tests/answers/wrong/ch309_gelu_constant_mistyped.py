"""Wrong: a digit is missing in the constant of the tanh form."""

from math import erf, pi

import numpy as np


def array(z):
    return np.array(z, dtype=float, ndmin=0)


def sigmoid(z):
    z = array(z)
    return np.exp(-np.logaddexp(0, -z)), np.exp(-np.logaddexp(0, -z) - np.logaddexp(0, z))


def tanh(z):
    t = np.tanh(array(z))
    return t, (1 + t) * (1 - t)


def relu(z):
    return leaky_relu(z, 0)


def leaky_relu(z, alpha=0.01):
    z = array(z)
    on = z > 0
    return on * z + alpha * ~on * z, on + alpha * ~on


def elu(z, alpha=1.0):
    z = array(z)
    off = z <= 0
    value, slope = z.copy(), np.ones(z.shape)
    value[off] = alpha * np.expm1(z[off])
    slope[off] = alpha * np.exp(z[off])
    return value, slope


def softplus(z):
    z = array(z)
    return np.logaddexp(0, z), sigmoid(z)[0]


def swish(z):
    s = sigmoid(z)[0]
    value = array(z) * s
    return value, value + s * (1 - value)


def mish(z):
    z = array(z)
    s = np.exp(-np.abs(z))
    # tanh(log(1 + e^z)) is n / (n + 2) with n = e^(2z) + 2 e^z; all of it is multiplied by e^(-2z) where z > 0.
    n = np.where(z > 0, 1 + 2 * s, s * s + 2 * s)
    d = np.where(z > 0, n + 2 * s * s, n + 2)
    t = n / d
    return z * t, t + z * (1 - t) * (1 + t) * sigmoid(z)[0]


def gelu(z, approximate="none"):
    z = array(z)
    if approximate == "tanh":
        inner, d_inner = np.polyval([0.04715, 0, 1, 0], z), np.polyval([3 * 0.04715, 0, 1], z)
        s, ds = sigmoid(np.sqrt(8 / pi) * inner)
        return z * s, s + z * ds * d_inner * np.sqrt(8 / pi)
    below = np.reshape([0.5 + 0.5 * erf(v / 2**0.5) for v in z.ravel()], z.shape)
    return z * below, below + z * np.exp(-0.5 * z * z) * (2 * pi) ** -0.5


def steepest(activation, z):
    value, slope = activation(z)
    order = np.argsort(-np.asarray(slope), kind="stable")
    return np.asarray(z)[order[0]], np.asarray(slope)[order[0]]


def dead_units(z):
    dead = np.max(z, axis=0) <= 0
    return dead.astype(int), np.count_nonzero(dead) / dead.size


def chain_gradient(activation, x, w, b):
    if len(w) == 0:
        return array(x), np.ones(np.shape(x))
    value, slope = activation(w[0] * array(x) + b[0])
    a, grad = chain_gradient(activation, value, w[1:], b[1:])
    return a, grad * np.asarray(slope) * w[0]
