"""Wrong: float32 inputs stay float32, and keep seven digits only."""
import math
import numpy as np


def sigmoid(z):
    z = np.asarray(z) if np.asarray(z).dtype.kind == "f" else np.array(z, float)
    s = np.exp(-np.logaddexp(np.float32(0), -z))
    return s, s - s * s


def tanh(z):
    t = np.tanh(np.array(z, float))
    return t, 1 - t * t


def relu(z):
    return leaky_relu(z, 0.0)


def leaky_relu(z, alpha=0.01):
    z = np.array(z, float)
    v, s = z.copy(), np.ones(z.shape)
    off = ~(z > 0)
    v[off] *= alpha
    s[off] = alpha
    return v, s


def elu(z, alpha=1.0):
    z = np.array(z, float)
    v, s = z.copy(), np.ones_like(z)
    m = z <= 0
    v[m] = alpha * np.expm1(z[m])
    s[m] = v[m] + alpha
    return v, s


def softplus(z):
    z = np.array(z, float)
    return np.logaddexp(z, 0.0), 0.5 + 0.5 * np.tanh(z / 2)


def swish(z):
    z = np.array(z, float)
    s, d = sigmoid(z)
    return z * s, s + z * d


def mish(z):
    z = np.array(z, float)
    w = np.exp(-np.abs(z))
    # tanh(log(1 + e^z)) = (e^2z + 2 e^z) / (e^2z + 2 e^z + 2)
    t = np.where(z >= 0, (1 + 2 * w) / (1 + 2 * w + 2 * w * w), (w * w + 2 * w) / (w * w + 2 * w + 2))
    return z * t, t + z * (1 - t**2) * sigmoid(z)[0]


def gelu(z, approximate="none"):
    z = np.array(z, float)
    if approximate == "none":
        P = np.array([0.5 * math.erfc(-v / 2**0.5) for v in z.flat]).reshape(z.shape)
        return z * P, P + z * np.exp(-0.5 * z * z) / (2 * np.pi) ** 0.5
    k = 2 * (2 / np.pi) ** 0.5
    s, d = sigmoid(k * (z + 0.044715 * z**3))
    return z * s, s + z * d * k * (1 + 3 * 0.044715 * z**2)


def steepest(activation, z):
    z = np.array(z, float)
    s = np.array(activation(z)[1])
    i = int(np.where(s == s.max())[0][0])
    return z[i], s[i]


def dead_units(z):
    dead = np.array(z, float).max(0) <= 0
    return dead, dead.sum() / dead.size


def chain_gradient(activation, x, w, b):
    a, factors = np.array(x, float), []
    for wi, bi in zip(w, b):
        a, s = (np.array(v, float) for v in activation(wi * a + bi))
        factors.append(wi * s)
    return a, np.prod(factors, axis=0)
