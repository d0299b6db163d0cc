"""The error function and the normal distribution's two functions, accurate to the last digits, without SciPy."""

import math

import numpy as np

from dlreference.arrays import Array, ArrayLike, as_float

_erf = np.vectorize(math.erf, otypes=[np.float64])
_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def erf(x: ArrayLike) -> Array:
    """Error function 2/sqrt(pi) * integral of exp(-t^2) from 0 to x, elementwise; any shape in, the same out."""
    return as_float(_erf(as_float(x)))


def erfc(x: ArrayLike) -> Array:
    """1 - erf(x), elementwise, without the cancellation for large x."""
    return as_float(_erfc(as_float(x)))


def normal_cdf(x: ArrayLike) -> Array:
    """Standard normal distribution function, elementwise; erfc keeps the relative precision of the left tail."""
    return 0.5 * erfc(-as_float(x) / math.sqrt(2.0))


def normal_pdf(x: ArrayLike) -> Array:
    """Standard normal density exp(-x^2/2) / sqrt(2 pi), elementwise."""
    return np.exp(-0.5 * as_float(x) ** 2) / math.sqrt(2.0 * math.pi)
