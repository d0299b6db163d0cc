"""Elementwise activations and their derivatives with respect to the pre-activation z.

Each `f(z)` has a partner `d_f(z)`; both take z of any shape and return that shape, and neither overflows for |z| of
1e4 and far beyond. `ACTIVATIONS` finds a pair by name. A backward pass is `dz = dout * d_f(z)`.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dlreference.arrays import Array, ArrayLike, as_float
from dlreference.special import normal_cdf, normal_pdf

Approximate = Literal["none", "tanh"]

_GELU_SCALE = math.sqrt(2.0 / math.pi)
_GELU_CUBIC = 0.044715


def identity(z: ArrayLike) -> Array:
    """z itself, as a new array."""
    return as_float(z).copy()


def d_identity(z: ArrayLike) -> Array:
    """1 everywhere."""
    return np.ones_like(as_float(z))


def sigmoid(z: ArrayLike) -> Array:
    """1 / (1 + exp(-z)); exp only ever sees -|z|, and small values keep their relative precision."""
    z = as_float(z)
    decay = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, decay) / (1.0 + decay)


def d_sigmoid(z: ArrayLike) -> Array:
    """s(z) s(-z) = s (1 - s), at most 1/4 (at z = 0); the product form does not cancel for large z."""
    z = as_float(z)
    return sigmoid(z) * sigmoid(-z)


def tanh(z: ArrayLike) -> Array:
    """Hyperbolic tangent."""
    return np.tanh(as_float(z))


def d_tanh(z: ArrayLike) -> Array:
    """1 - tanh(z)^2 = 4 s'(2z), at most 1 (at z = 0)."""
    return 4.0 * d_sigmoid(2.0 * as_float(z))


def relu(z: ArrayLike) -> Array:
    """max(z, 0)."""
    return np.maximum(as_float(z), 0.0)


def d_relu(z: ArrayLike) -> Array:
    """1 where z > 0, else 0; 0 at 0."""
    return np.where(as_float(z) > 0, 1.0, 0.0)


def leaky_relu(z: ArrayLike, alpha: float = 0.01) -> Array:
    """z where z > 0, else alpha z; right for every alpha, also above 1."""
    z = as_float(z)
    return np.where(z > 0, z, alpha * z)


def d_leaky_relu(z: ArrayLike, alpha: float = 0.01) -> Array:
    """1 where z > 0, else alpha; alpha at 0."""
    return np.where(as_float(z) > 0, 1.0, alpha)


def elu(z: ArrayLike, alpha: float = 1.0) -> Array:
    """z where z > 0, else alpha (exp(z) - 1) (Clevert et al. 2016)."""
    z = as_float(z)
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0.0)))


def d_elu(z: ArrayLike, alpha: float = 1.0) -> Array:
    """1 where z > 0, else alpha exp(z); alpha at 0."""
    z = as_float(z)
    return np.where(z > 0, 1.0, alpha * np.exp(np.minimum(z, 0.0)))


def softplus(z: ArrayLike) -> Array:
    """log(1 + exp(z)), as max(z, 0) + log1p(exp(-|z|))."""
    z = as_float(z)
    return np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z)))


def d_softplus(z: ArrayLike) -> Array:
    """sigmoid(z)."""
    return sigmoid(z)


def swish(z: ArrayLike) -> Array:
    """z sigmoid(z), also called SiLU (Ramachandran et al. 2017, with beta = 1)."""
    z = as_float(z)
    return z * sigmoid(z)


def d_swish(z: ArrayLike) -> Array:
    """s + z s (1 - s), with s = sigmoid(z)."""
    z = as_float(z)
    return sigmoid(z) + z * d_sigmoid(z)


def mish(z: ArrayLike) -> Array:
    """z tanh(softplus(z)) (Misra 2020)."""
    z = as_float(z)
    return z * np.tanh(softplus(z))


def d_mish(z: ArrayLike) -> Array:
    """t + z t' s, with t = tanh and t' = tanh' at softplus(z), and s = sigmoid(z)."""
    z = as_float(z)
    inner = softplus(z)
    return np.tanh(inner) + z * d_tanh(inner) * sigmoid(z)


def _gelu_inner(z: Array) -> Array:
    return _GELU_SCALE * (z + _GELU_CUBIC * z * z * z)


def gelu(z: ArrayLike, approximate: Approximate = "none") -> Array:
    """z Phi(z) with the normal distribution function, or the tanh form (Hendrycks & Gimpel 2016).

    approximate="tanh": z/2 (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3))). Raises ValueError for any other name.
    """
    z = as_float(z)
    if approximate == "none":
        return z * normal_cdf(z)
    if approximate == "tanh":
        # (1 + tanh u) / 2 = sigmoid(2u), which does not cancel for very negative u
        return z * sigmoid(2.0 * _gelu_inner(z))
    raise ValueError(f'approximate must be "none" or "tanh", got {approximate!r}')


def d_gelu(z: ArrayLike, approximate: Approximate = "none") -> Array:
    """Phi(z) + z phi(z), or the derivative of the tanh form. Raises ValueError for any other name."""
    z = as_float(z)
    if approximate == "none":
        return normal_cdf(z) + z * normal_pdf(z)
    if approximate == "tanh":
        twice = 2.0 * _gelu_inner(z)
        d_twice = 2.0 * _GELU_SCALE * (1.0 + 3.0 * _GELU_CUBIC * z**2)
        return sigmoid(twice) + z * d_sigmoid(twice) * d_twice
    raise ValueError(f'approximate must be "none" or "tanh", got {approximate!r}')


class Activation(NamedTuple):
    """An elementwise function and its derivative, both functions of the pre-activation."""

    value: Callable[[ArrayLike], Array]
    derivative: Callable[[ArrayLike], Array]


ACTIVATIONS: dict[str, Activation] = {
    "identity": Activation(identity, d_identity),
    "sigmoid": Activation(sigmoid, d_sigmoid),
    "tanh": Activation(tanh, d_tanh),
    "relu": Activation(relu, d_relu),
    "leaky_relu": Activation(leaky_relu, d_leaky_relu),
    "elu": Activation(elu, d_elu),
    "softplus": Activation(softplus, d_softplus),
    "swish": Activation(swish, d_swish),
    "mish": Activation(mish, d_mish),
    "gelu": Activation(gelu, d_gelu),
    "gelu_tanh": Activation(lambda z: gelu(z, "tanh"), lambda z: d_gelu(z, "tanh")),
}


def activation(name: str) -> Activation:
    """The pair called `name`. Raises ValueError, listing the names, for an unknown one."""
    try:
        return ACTIVATIONS[name]
    except KeyError:
        raise ValueError(f"unknown activation {name!r}; known: {', '.join(sorted(ACTIVATIONS))}") from None


def derivative_peak(name: str, z: ArrayLike) -> tuple[float, float]:
    """Where on the grid z (N,) the derivative is largest, and its value there: (z at the peak, peak)."""
    z = as_float(z)
    slope = activation(name).derivative(z)
    best = int(np.argmax(slope))
    return float(z[best]), float(slope[best])


def gelu_gap(z: ArrayLike) -> tuple[float, float]:
    """Largest |exact - tanh form| of GELU on the grid z (N,), and the z where it occurs: (gap, z)."""
    z = as_float(z)
    gap = np.abs(gelu(z) - gelu(z, "tanh"))
    worst = int(np.argmax(gap))
    return float(gap[worst]), float(z[worst])


def dead_units(z: ArrayLike) -> NDArray[np.bool_]:
    """Which ReLU units never fire on this batch: z (B, D) -> booleans (D,), True where z <= 0 for every sample."""
    return np.all(as_float(z) <= 0, axis=0)


def dead_fraction(z: ArrayLike) -> float:
    """The share of dead units of z (B, D), between 0 and 1."""
    return float(dead_units(z).mean())


def gradient_product(name: str, z: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """The factor a gradient meets on its way through L layers of scalar units, a_l = f(z_l), z_l = w_l a_(l-1) + b_l.

    z (L, ...) pre-activations, weights (L, ...) or None (all one) -> (...), the product over l of w_l f'(z_l).
    """
    z = as_float(z)
    factors = activation(name).derivative(z)
    if weights is not None:
        factors = factors * as_float(weights)
    return np.prod(factors, axis=0)
