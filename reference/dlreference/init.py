"""Initial weights: functions `(fan_in, fan_out, rng) -> W (fan_out, fan_in)`, and what they do to a signal.

Each function makes one draw of the whole matrix, so the same generator state gives the same weights.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from dlreference.activations import d_relu, relu
from dlreference.arrays import Array, ArrayLike, as_float

Scheme = Callable[[int, int, np.random.Generator], Array]
Fan = Literal["fan_in", "fan_out"]


def xavier_bound(fan_in: int, fan_out: int) -> float:
    """sqrt(6 / (fan_in + fan_out)): the uniform distribution on +-bound has variance 2 / (fan_in + fan_out)."""
    return math.sqrt(6.0 / (fan_in + fan_out))


def xavier_std(fan_in: int, fan_out: int) -> float:
    """sqrt(2 / (fan_in + fan_out))."""
    return math.sqrt(2.0 / (fan_in + fan_out))


def he_std(fan_in: int, fan_out: int, mode: Fan = "fan_in") -> float:
    """sqrt(2 / fan_in) keeps the forward second moment of a ReLU net, sqrt(2 / fan_out) the backward one."""
    return math.sqrt(2.0 / (fan_in if mode == "fan_in" else fan_out))


def xavier_uniform(fan_in: int, fan_out: int, rng: np.random.Generator) -> Array:
    """Uniform on +-sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010); draws `rng.uniform(-bound, bound, size)`."""
    bound = xavier_bound(fan_in, fan_out)
    return rng.uniform(-bound, bound, size=(fan_out, fan_in))


def xavier_normal(fan_in: int, fan_out: int, rng: np.random.Generator) -> Array:
    """Normal with standard deviation sqrt(2 / (fan_in + fan_out)); draws `rng.normal(0, std, size)`."""
    return rng.normal(0.0, xavier_std(fan_in, fan_out), size=(fan_out, fan_in))


def he_normal(fan_in: int, fan_out: int, rng: np.random.Generator, mode: Fan = "fan_in") -> Array:
    """Normal with standard deviation sqrt(2 / fan) (He et al. 2015); draws `rng.normal(0, std, size)`."""
    return rng.normal(0.0, he_std(fan_in, fan_out, mode), size=(fan_out, fan_in))


def he_uniform(fan_in: int, fan_out: int, rng: np.random.Generator, mode: Fan = "fan_in") -> Array:
    """Uniform on +-sqrt(6 / fan), the same variance as `he_normal`; draws `rng.uniform(-bound, bound, size)`."""
    bound = math.sqrt(3.0) * he_std(fan_in, fan_out, mode)
    return rng.uniform(-bound, bound, size=(fan_out, fan_in))


def small_normal(fan_in: int, fan_out: int, rng: np.random.Generator) -> Array:
    """Normal with standard deviation 0.01 whatever the widths: the signal dies in a deep net."""
    return rng.normal(0.0, 0.01, size=(fan_out, fan_in))


def zeros(fan_in: int, fan_out: int, rng: np.random.Generator) -> Array:
    """All zero: every hidden unit stays equal to its neighbours. Draws nothing."""
    return np.zeros((fan_out, fan_in))


def orthogonal(fan_in: int, fan_out: int, rng: np.random.Generator, gain: float = 1.0) -> Array:
    """gain times a random matrix with orthonormal rows (fan_out <= fan_in) or columns (Saxe et al. 2014).

    Draws `rng.normal(size=(max, min))` of the two fans, takes Q of its QR factorisation with R's diagonal made positive
    (without that the matrix is not uniformly distributed), and transposes Q when fan_out < fan_in.
    """
    q, r = np.linalg.qr(rng.normal(size=(max(fan_in, fan_out), min(fan_in, fan_out))))
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return gain * (q.T if fan_out < fan_in else q)


SCHEMES: dict[str, Scheme] = {
    "xavier_uniform": xavier_uniform,
    "xavier_normal": xavier_normal,
    "he_normal": he_normal,
    "he_uniform": he_uniform,
    "he_normal_fan_out": lambda fan_in, fan_out, rng: he_normal(fan_in, fan_out, rng, "fan_out"),
    "orthogonal": orthogonal,
    "small_normal": small_normal,
    "zeros": zeros,
}


def scheme(name: str) -> Scheme:
    """The initialisation called `name`. Raises ValueError, listing the names, for an unknown one."""
    try:
        return SCHEMES[name]
    except KeyError:
        raise ValueError(f"unknown initialisation {name!r}; known: {', '.join(sorted(SCHEMES))}") from None


def output_bias(p: ArrayLike) -> Array:
    """logit(p) = log(p / (1 - p)), elementwise: the bias with which a sigmoid output starts at p, 0 < p < 1."""
    p = as_float(p)
    return np.log(p) - np.log1p(-p)


def forward_second_moments(x: ArrayLike, weights: Sequence[ArrayLike]) -> Array:
    """Mean square of the signal x (B, n0), then of each layer's output in the ReLU net without biases: (L + 1,).

    weights: L matrices (n_l, n_(l-1)). With He weights the second moment stays, with Xavier in equal widths it halves.
    """
    a = as_float(x)
    moments = [np.mean(a**2)]
    for W in weights:
        a = relu(a @ as_float(W).T)
        moments.append(np.mean(a**2))
    return np.array(moments)


def backward_second_moments(x: ArrayLike, weights: Sequence[ArrayLike], dout: ArrayLike) -> Array:
    """Mean square of the gradient at each layer's input and, last, at the output, in the same net: (L + 1,).

    x (B, n0), weights: L matrices (n_l, n_(l-1)), dout (B, n_L) the gradient at the last layer's output. Entry l is the
    gradient at the output of layer l, entry 0 that at x. Weights of variance 2 / fan_out keep it.
    """
    a = as_float(x)
    slopes = []
    for W in weights:
        z = a @ as_float(W).T
        slopes.append(d_relu(z))
        a = relu(z)
    da = as_float(dout)
    moments = [np.mean(da**2)]
    for W, slope in zip(reversed(weights), reversed(slopes), strict=True):
        da = (da * slope) @ as_float(W)
        moments.append(np.mean(da**2))
    return np.array(moments[::-1])
