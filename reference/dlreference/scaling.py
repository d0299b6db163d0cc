"""Scaling laws: power laws, their fits, and how to split a compute budget between parameters and tokens.

Sources: Kaplan et al. (2020), arXiv:2001.08361; Hoffmann et al. (2022), arXiv:2203.15556.
`N` counts (non-embedding) parameters, `D` training tokens, `C` floating-point operations.
"""

from typing import NamedTuple

import numpy as np

from dlreference.arrays import Array, ArrayLike, as_float

FLOPS_PER_PARAMETER_AND_TOKEN = 6.0


def power_law(x: ArrayLike, alpha: float, x_c: float) -> Array:
    """Return the loss `(x_c / x) ** alpha`, elementwise."""
    return (x_c / as_float(x)) ** alpha


def invert_power_law(loss: ArrayLike, alpha: float, x_c: float) -> Array:
    """Return the x at which `power_law` has this loss: `x_c * loss ** (-1 / alpha)`, elementwise."""
    return x_c * as_float(loss) ** (-1.0 / alpha)


def relative_reduction(before: ArrayLike, after: ArrayLike) -> Array:
    """Return `(before - after) / before`: the share of the *old* loss that is gone."""
    old = as_float(before)
    return (old - as_float(after)) / old


def fit_line(x: ArrayLike, y: ArrayLike) -> tuple[float, float]:
    """Return slope and intercept of the least-squares line through points x (n,), y (n,)."""
    u, v = as_float(x), as_float(y)
    centred = u - u.mean()
    slope = float(centred @ (v - v.mean()) / (centred @ centred))
    return slope, float(v.mean() - slope * u.mean())


def fit_power_law(x: ArrayLike, loss: ArrayLike) -> tuple[float, float]:
    """Return `(alpha, x_c)` by regressing `log loss = alpha log x_c - alpha log x` on points x (n,), loss (n,)."""
    slope, intercept = fit_line(np.log(as_float(x)), np.log(as_float(loss)))
    return -slope, float(np.exp(-intercept / slope))


class OffsetFit(NamedTuple):
    """`loss = irreducible + amplitude * x ** -alpha`; the `x_c` of its power law is `amplitude ** (1 / alpha)`."""

    irreducible: float
    amplitude: float
    alpha: float


def offset_power_law(x: ArrayLike, fit: OffsetFit) -> Array:
    """Return `irreducible + amplitude * x ** -alpha`, elementwise."""
    return fit.irreducible + fit.amplitude * as_float(x) ** -fit.alpha


def fit_offset_by_grid(x: ArrayLike, loss: ArrayLike, candidates: ArrayLike) -> OffsetFit:
    """Try each irreducible loss of `candidates` (m,), all below `min(loss)`, with a log-log line through the rest.

    The candidate with the least sum of squared residuals in `log(loss - candidate)` wins.
    Raises `ValueError` when a candidate leaves nothing to take the logarithm of.
    """
    log_x, y = np.log(as_float(x)), as_float(loss)
    offsets = as_float(candidates)
    if offsets.max() >= y.min():
        raise ValueError("every candidate irreducible loss must lie below the smallest observed loss")
    log_rest = np.log(y - offsets[:, None])
    centred = log_x - log_x.mean()
    slope = log_rest @ centred / (centred @ centred)
    residual = log_rest - log_rest.mean(axis=1, keepdims=True) - slope[:, None] * centred
    best = int(np.argmin((residual**2).sum(axis=1)))
    amplitude = np.exp(log_rest[best].mean() - slope[best] * log_x.mean())
    return OffsetFit(float(offsets[best]), float(amplitude), -float(slope[best]))


def fit_offset_least_squares(
    x: ArrayLike, loss: ArrayLike, alpha_range: tuple[float, float] = (0.01, 2.0)
) -> OffsetFit:
    """Fit by least squares in the loss itself.

    For a given alpha the model is linear in the other two numbers, so one dimension is left: the best alpha of a grid
    over `alpha_range`, sharpened by Gauss-Newton steps on all three numbers.
    """
    u, y = as_float(x), as_float(loss)
    # Measured in units of its geometric mean, x ** -alpha stays near 1 and the design is well conditioned.
    unit = float(np.exp(np.log(u).mean()))
    log_u = np.log(u / unit)

    def linear_part(alpha: float) -> tuple[Array, float]:
        design = np.stack([np.ones_like(u), np.exp(-alpha * log_u)], axis=1)
        coefficients = np.linalg.lstsq(design, y, rcond=None)[0]
        return coefficients, float(((design @ coefficients - y) ** 2).sum())

    grid = np.linspace(*alpha_range, 400)
    alpha = float(grid[int(np.argmin([linear_part(a)[1] for a in grid]))])
    irreducible, amplitude = linear_part(alpha)[0]
    for _ in range(50):
        decay = np.exp(-alpha * log_u)
        jacobian = np.stack([np.ones_like(u), decay, -amplitude * log_u * decay], axis=1)
        move = np.linalg.lstsq(jacobian, y - irreducible - amplitude * decay, rcond=None)[0]
        irreducible, amplitude, alpha = irreducible + move[0], amplitude + move[1], alpha + float(move[2])
    return OffsetFit(float(irreducible), float(amplitude * unit**alpha), alpha)


def training_flops(parameters: ArrayLike, tokens: ArrayLike) -> Array:
    """Return `C = 6 N D`: two operations a weight and token forward, four backward."""
    n, d = as_float(parameters), as_float(tokens)
    return FLOPS_PER_PARAMETER_AND_TOKEN * n * d


def device_days(flops: float, peak_flops_per_second: float, utilization: float = 1.0) -> float:
    """Return how many days one device needs for `flops` at this share of its peak."""
    return flops / (peak_flops_per_second * utilization) / 86_400.0


class ParametricLoss(NamedTuple):
    """`L(N, D) = irreducible + a / N ** alpha + b / D ** beta`; the defaults are the fit of Hoffmann et al."""

    irreducible: float = 1.69
    a: float = 406.4
    b: float = 410.7
    alpha: float = 0.34
    beta: float = 0.28


def parametric_loss(parameters: ArrayLike, tokens: ArrayLike, law: ParametricLoss) -> Array:
    """Return `L(N, D)`, elementwise."""
    n, d = as_float(parameters), as_float(tokens)
    return law.irreducible + law.a / n**law.alpha + law.b / d**law.beta


def compute_optimal(flops: float, law: ParametricLoss) -> tuple[float, float]:
    """Return `(N, D)` of least loss on `6 N D = C`, in closed form.

    With `G = (alpha a / (beta b)) ** (1 / (alpha + beta))`: `N = G (C / 6) ** (beta / (alpha + beta))` and
    `D = (C / 6) ** (alpha / (alpha + beta)) / G` (Hoffmann et al., equation 4).
    """
    budget = flops / FLOPS_PER_PARAMETER_AND_TOKEN
    total = law.alpha + law.beta
    g = (law.alpha * law.a / (law.beta * law.b)) ** (1.0 / total)
    return float(g * budget ** (law.beta / total)), float(budget ** (law.alpha / total) / g)


def compute_optimal_numeric(
    flops: float, law: ParametricLoss, log_n_range: tuple[float, float] = (0.0, 70.0), iterations: int = 200
) -> tuple[float, float]:
    """Return `(N, D)` of least loss on `6 N D = C` by bisection on the sign of the slope `dL / d log N`.

    `log_n_range` bounds `ln N`; along the constraint L is convex in `ln N`, so its slope changes sign once.
    """
    log_budget = np.log(flops / FLOPS_PER_PARAMETER_AND_TOKEN)
    low, high = log_n_range
    for _ in range(iterations):
        middle = 0.5 * (low + high)
        slope = law.beta * law.b * np.exp(-law.beta * (log_budget - middle)) - law.alpha * law.a * np.exp(
            -law.alpha * middle
        )
        low, high = (low, middle) if slope > 0 else (middle, high)
    log_n = 0.5 * (low + high)
    return float(np.exp(log_n)), float(np.exp(log_budget - log_n))


def excess_compute(parameters: float, tokens: float, law: ParametricLoss) -> float:
    """Return `6 N D` over the least budget that reaches `L(N, D)`: 1 for a compute-optimal training, else above 1.

    Along the optimum the reducible loss is `K (C / 6) ** -(alpha beta / (alpha + beta))`, K being its value at C = 6.
    """
    n, d = compute_optimal(FLOPS_PER_PARAMETER_AND_TOKEN, law)
    at_unit_budget = law.a / n**law.alpha + law.b / d**law.beta
    reducible = law.a / parameters**law.alpha + law.b / tokens**law.beta
    least = (at_unit_budget / reducible) ** ((law.alpha + law.beta) / (law.alpha * law.beta))
    return float(parameters * tokens / least)


def tokens_per_parameter_rule(flops: float, tokens_per_parameter: float = 20.0) -> tuple[float, float]:
    """Return `(N, D)` with `D = 20 N` and `6 N D = C`: `N = sqrt(C / 120)`."""
    n = (flops / (FLOPS_PER_PARAMETER_AND_TOKEN * tokens_per_parameter)) ** 0.5
    return float(n), float(tokens_per_parameter * n)
