"""Central differences: the gradient of any function, from its values alone, to hold an analytic gradient against.

The error of (f(x+h) - f(x-h)) / 2h is of order h^2 from the curvature and of order 1e-16 |f| / h from rounding; with
h = 1e-5 both stay near 1e-10 for values near one. A function with a kink within h of x has no such gradient.
"""

from collections.abc import Callable, Mapping

import numpy as np

from dlreference.arrays import Array, ArrayLike, Params, as_float

DEFAULT_STEP = 1e-5


def numerical_gradient(f: Callable[[Array], float], x: ArrayLike, h: float = DEFAULT_STEP) -> Array:
    """Gradient of the scalar function f at x, entry by entry.

    x any shape -> the same shape. The step of an entry is h max(1, |x_i|). f receives a private copy, one entry of
    which is moved and put back exactly; x itself never changes. Two calls of f an entry.
    """
    moved = as_float(x).copy()
    grad = np.zeros_like(moved)
    for index in np.ndindex(moved.shape):
        centre = float(moved[index])
        step = h * max(1.0, abs(centre))
        above, below = centre + step, centre - step
        moved[index] = above
        f_above = float(f(moved))
        moved[index] = below
        f_below = float(f(moved))
        moved[index] = centre
        # The distance as rounded, not 2 step: for large centres they differ.
        grad[index] = (f_above - f_below) / (above - below)
    return grad


def numerical_gradients(
    f: Callable[[Params], float], params: Mapping[str, ArrayLike], h: float = DEFAULT_STEP
) -> Params:
    """Gradient of the scalar function f of a dict of arrays: a dict with the same keys and shapes."""
    fixed = {name: as_float(value) for name, value in params.items()}

    def of_one(name: str) -> Callable[[Array], float]:
        return lambda value: f({**fixed, name: value})

    return {name: numerical_gradient(of_one(name), value, h) for name, value in fixed.items()}


def numerical_vjp(f: Callable[[Array], Array], x: ArrayLike, dout: ArrayLike, h: float = DEFAULT_STEP) -> Array:
    """What a backward pass of f should return for the upstream gradient dout: the gradient of sum(f(x) dout) at x.

    x any shape, dout shaped as f(x) -> shape of x. A random dout sees what the plain sum of f cannot: softmax and the
    norms have a constant sum, so for them every gradient of the sum is zero.
    """
    dout = as_float(dout)
    return numerical_gradient(lambda moved: float(np.sum(as_float(f(moved)) * dout)), x, h)


def directional_derivative(
    f: Callable[[Array], float], x: ArrayLike, direction: ArrayLike, h: float = DEFAULT_STEP
) -> float:
    """Slope of the scalar function f at x along `direction` (shape of x): sum(gradient * direction), in two calls."""
    x, direction = as_float(x), as_float(direction)
    return (float(f(x + h * direction)) - float(f(x - h * direction))) / (2.0 * h)


def relative_error(a: ArrayLike, b: ArrayLike, floor: float = 1e-8) -> float:
    """Largest |a - b| / max(|a|, |b|, floor) over the entries of two arrays of one shape; 0 for empty arrays.

    Below `floor` the error is absolute in units of it: two gradients of rounding size do not count as different.
    """
    a, b = as_float(a), as_float(b)
    if a.size == 0:
        return 0.0
    return float(np.max(np.abs(a - b) / np.maximum(np.maximum(np.abs(a), np.abs(b)), floor)))
