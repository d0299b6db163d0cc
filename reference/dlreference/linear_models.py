"""Learning as minimising a mean loss: empirical risk, polynomials by least squares, the degree by validation."""

from collections.abc import Callable, Sequence

import numpy as np

from dlreference.arrays import Array, ArrayLike, as_float, require_same_shape


def empirical_risk(
    model: Callable[[Array], ArrayLike], loss: Callable[[Array, Array], ArrayLike], X: ArrayLike, y: ArrayLike
) -> float:
    """Mean over the samples of loss(model(X), y); X (N, ...), y (N, ...), loss returns one number a sample (N,)."""
    per_sample = as_float(loss(as_float(model(as_float(X))), as_float(y)))
    return float(per_sample.mean())


def squared_error(y_hat: ArrayLike, y: ArrayLike) -> Array:
    """(y_hat - y)^2, sample by sample; (N,) and (N,) -> (N,). Raises ValueError for unequal shapes."""
    y_hat, y = as_float(y_hat), as_float(y)
    require_same_shape(y_hat, y)
    return (y_hat - y) ** 2


def rmse(y_hat: ArrayLike, y: ArrayLike) -> float:
    """Root of the mean squared error; (N,) and (N,). Raises ValueError for unequal shapes."""
    return float(np.sqrt(squared_error(y_hat, y).mean()))


def design_matrix(x: ArrayLike, degree: int) -> Array:
    """Powers of x: (N,) -> (N, degree + 1), column j is x^j."""
    return as_float(x)[:, None] ** np.arange(degree + 1)


def polynomial_fit(x: ArrayLike, y: ArrayLike, degree: int) -> Array:
    """Least-squares coefficients (degree + 1,), constant first, for x (N,), y (N,).

    Solved by the singular value decomposition of the design matrix, not by the normal equations, which square its
    condition number.
    """
    return as_float(np.linalg.lstsq(design_matrix(x, degree), as_float(y), rcond=None)[0])


def polynomial_predict(coefficients: ArrayLike, x: ArrayLike) -> Array:
    """Values (N,) of the polynomial with these coefficients (degree + 1,), constant first, at x (N,)."""
    coefficients = as_float(coefficients)
    return design_matrix(x, len(coefficients) - 1) @ coefficients


def validation_errors(
    x_train: ArrayLike, y_train: ArrayLike, x_val: ArrayLike, y_val: ArrayLike, degrees: Sequence[int]
) -> Array:
    """RMSE on the validation points of the fit to the training points, for each degree: (len(degrees),)."""
    fits = [polynomial_fit(x_train, y_train, degree) for degree in degrees]
    return np.array([rmse(polynomial_predict(fit, x_val), as_float(y_val)) for fit in fits])


def select_degree(
    x: ArrayLike, y: ArrayLike, degrees: Sequence[int], val_fraction: float, rng: np.random.Generator
) -> tuple[int, Array]:
    """The degree with the least validation error, the first one on a tie, and all the errors (len(degrees),).

    One draw, `rng.permutation(N)`: its first round(N val_fraction) indices are the validation points.
    """
    x, y = as_float(x), as_float(y)
    order = rng.permutation(len(x))
    cut = round(len(x) * val_fraction)
    val, train = order[:cut], order[cut:]
    errors = validation_errors(x[train], y[train], x[val], y[val], degrees)
    return degrees[int(np.argmin(errors))], errors
