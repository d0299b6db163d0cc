"""Right, in plain Python: one number at a time with the math module, lists returned."""

import math


def each(function, z):
    if isinstance(z, (int, float)) or getattr(z, "ndim", 1) == 0:
        return function(float(z))
    pairs = [each(function, v) for v in z]
    return [value for value, _ in pairs], [slope for _, slope in pairs]


def _sigmoid(z):
    if z >= 0:
        return 1 / (1 + math.exp(-z))
    return math.exp(z) / (1 + math.exp(z))


def _softplus(z):
    return z + math.log1p(math.exp(-z)) if z > 0 else math.log1p(math.exp(z))


def sigmoid(z):
    return each(lambda v: (_sigmoid(v), _sigmoid(v) * _sigmoid(-v)), z)


def tanh(z):
    return each(lambda v: (math.tanh(v), (1 - math.tanh(v)) * (1 + math.tanh(v))), z)


def relu(z):
    return each(lambda v: (v, 1) if v > 0 else (0, 0), z)


def leaky_relu(z, alpha=0.01):
    return each(lambda v: (v, 1) if v > 0 else (alpha * v, alpha), z)


def elu(z, alpha=1.0):
    return each(lambda v: (v, 1.0) if v > 0 else (alpha * math.expm1(v), alpha * math.exp(v)), z)


def softplus(z):
    return each(lambda v: (_softplus(v), _sigmoid(v)), z)


def swish(z):
    def one(v):
        s = _sigmoid(v)
        return v * s, s * (1 + v * _sigmoid(-v))

    return each(one, z)


def mish(z):
    def one(v):
        t = math.tanh(_softplus(v))
        return v * t, t + v * (1 - t * t) * _sigmoid(v)

    return each(one, z)


def gelu(z, approximate="none"):
    def exact(v):
        below = math.erfc(-v / math.sqrt(2)) / 2
        return v * below, below + v * math.exp(-v * v / 2) / math.sqrt(2 * math.pi)

    def by_tanh(v):
        c = math.sqrt(2 / math.pi)
        t = math.tanh(c * (v + 0.044715 * v**3))
        return 0.5 * v * (1 + t), 0.5 * (1 + t) + 0.5 * v * (1 - t * t) * c * (1 + 0.134145 * v * v)

    return each(exact if approximate == "none" else by_tanh, z)


def steepest(activation, z):
    slopes = [float(v) for v in activation(z)[1]]
    best = slopes.index(max(slopes))
    return float(z[best]), slopes[best]


def dead_units(z):
    dead = [not any(v > 0 for v in column) for column in zip(*z)]
    return dead, sum(dead) / len(dead)


def chain_gradient(activation, x, w, b):
    def through(v):
        grad = 1.0
        for weight, bias in zip(w, b):
            value, slope = activation(float(weight * v + bias))
            v, grad = float(value), grad * float(weight) * float(slope)
        return v, grad

    return each(through, x)
