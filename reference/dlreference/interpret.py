"""Attributions: input gradients, integrated gradients, exact Shapley values, LIME and permutation importance.

Models enter as functions. A scalar model f maps points (M, D) to values (M,); its gradient maps (M, D) to (M, D).
Sources: Sundararajan et al. 2017 (integrated gradients), Shapley 1953, Lundberg and Lee 2017, Ribeiro et al. 2016
(LIME), Breiman 2001 (permutation importance).
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dlreference import mlp
from dlreference.arrays import Array, ArrayLike, as_float

Model = Callable[[Array], ArrayLike]
Gradient = Callable[[Array], ArrayLike]


def input_gradient(
    params: Mapping[str, ArrayLike], x: ArrayLike, output: int = 0, activation: str | Sequence[str] = "relu"
) -> Array:
    """Gradient of one *output* of an MLP (not of a loss) at each of its inputs: x (B, D) -> (B, D), signs kept."""
    out, cache = mlp.forward(x, params, activation)
    dout = np.zeros_like(out)
    dout[..., output] = 1.0
    return mlp.backward(dout, cache, params)[1]


def mlp_output(
    params: Mapping[str, ArrayLike], output: int = 0, activation: str | Sequence[str] = "relu"
) -> tuple[Model, Gradient]:
    """One output of an MLP as a scalar model and its gradient, for the functions below."""
    return (
        lambda x: mlp.forward(x, params, activation)[0][..., output],
        lambda x: input_gradient(params, x, output, activation),
    )


def gradient_times_input(gradient: Gradient, x: ArrayLike, baseline: ArrayLike = 0.0) -> Array:
    """(x - baseline) times the gradient at x: (B, D) -> (B, D). For a linear model these are integrated gradients."""
    x = as_float(x)
    return (x - as_float(baseline)) * as_float(gradient(x))


def integrated_gradients(gradient: Gradient, x: ArrayLike, baseline: ArrayLike = 0.0, steps: int = 50) -> Array:
    """(x - baseline) times the mean gradient along the straight path from baseline to x, by the midpoint rule.

    x (B, D), baseline a number, (D,) or (B, D) -> (B, D). The gradient is taken at shares (k + 1/2) / steps,
    k = 0..steps - 1; the error of the rule falls as 1 / steps^2.
    """
    x = as_float(x)
    away = x - as_float(baseline)
    shares = (np.arange(steps) + 0.5) / steps
    points = x - (1.0 - shares)[:, None, None] * away
    gradients = as_float(gradient(points.reshape(-1, x.shape[1]))).reshape(points.shape)
    return away * gradients.mean(axis=0)


def completeness_gap(model: Model, attributions: ArrayLike, x: ArrayLike, baseline: ArrayLike = 0.0) -> Array:
    """sum of attributions - (f(x) - f(baseline)) for each sample (B,): zero for an exact method."""
    x = as_float(x)
    start = np.broadcast_to(as_float(baseline), x.shape)
    return as_float(attributions).sum(axis=1) - (as_float(model(x)) - as_float(model(start)))


def coalitions(players: int) -> np.ndarray:
    """All subsets of 0..d-1 as booleans (2^d, d); row s holds the binary digits of s, player 0 the lowest."""
    return (np.arange(2**players)[:, None] >> np.arange(players)) & 1 == 1


def shapley_values(worth: ArrayLike) -> Array:
    """Exact Shapley values (d,) from the worth (2^d,) of every coalition, in the order of `coalitions`.

    phi_i = sum over S without i of |S|! (d - |S| - 1)! / d! (worth(S + i) - worth(S)). They sum to
    worth(all) - worth(none). Raises ValueError when the number of values is not a power of two.
    """
    worth = as_float(worth)
    players = len(worth).bit_length() - 1
    if len(worth) != 2**players:
        raise ValueError(f"every coalition needs a worth: 2^d values, got {len(worth)}")
    members = coalitions(players)
    sizes = members.sum(axis=1)
    weights = np.array([1.0 / (players * math.comb(players - 1, size)) for size in range(players)])
    subsets = np.arange(len(worth))
    values = np.empty(players)
    for i in range(players):
        without = subsets[~members[:, i]]
        values[i] = weights[sizes[without]] @ (worth[without | (1 << i)] - worth[without])
    return values


def shapley_attributions(model: Model, x: ArrayLike, baseline: ArrayLike = 0.0) -> Array:
    """Exact Shapley values (D,) of the features of one point x (D,), absent features taking the baseline's value.

    Evaluates the model at all 2^D mixtures of x and baseline (a number or (D,)).
    """
    x = as_float(x)
    mixtures = np.where(coalitions(len(x)), x, as_float(baseline))
    return shapley_values(model(mixtures))


def weighted_ridge(X: ArrayLike, y: ArrayLike, weights: ArrayLike, penalty: float = 0.0) -> tuple[Array, float]:
    """Coefficients (D,) and intercept minimising sum_i w_i (y_i - X_i c - b)^2 + penalty |c|^2; b is not penalised.

    X (n, D), y (n,), weights (n,) not negative.
    """
    X, y, w = as_float(X), as_float(y), as_float(weights)
    share = w / w.sum()
    # Centring by the weighted means takes the intercept out of the problem.
    x_mean, y_mean = share @ X, float(share @ y)
    centred = X - x_mean
    gram = (centred * w[:, None]).T @ centred + penalty * np.eye(X.shape[1])
    coefficients = np.linalg.solve(gram, centred.T @ (w * (y - y_mean)))
    return coefficients, float(y_mean - x_mean @ coefficients)


def proximity(points: ArrayLike, x: ArrayLike, kernel_width: float) -> Array:
    """LIME's weights exp(-|point - x|^2 / kernel_width^2) of points (n, D) around x (D,): (n,)."""
    return np.exp(-((as_float(points) - as_float(x)) ** 2).sum(axis=1) / kernel_width**2)


def lime(
    model: Model,
    x: ArrayLike,
    rng: np.random.Generator,
    samples: int = 500,
    spread: float = 1.0,
    kernel_width: float = 0.75,
    penalty: float = 1e-3,
) -> tuple[Array, float]:
    """A local linear explanation of the model at x (D,): coefficients (D,) and intercept, in the units of the inputs.

    One draw: points x + spread `rng.standard_normal((samples, D))`, weighted by `proximity` and fitted by
    `weighted_ridge`.
    """
    x = as_float(x)
    points = x + spread * rng.standard_normal((samples, len(x)))
    return weighted_ridge(points, model(points), proximity(points, x, kernel_width), penalty)


def permutation_importance(
    score: Callable[[Array], float], X: ArrayLike, rng: np.random.Generator, repeats: int = 5
) -> Array:
    """How much `score(X)` falls when one column is shuffled: X (n, D) -> drops (D, repeats); average over axis 1.

    Draws `rng.permutation(n)` for every repeat of column 0, then of column 1, and so on. A positive drop says that the
    model used the column. `score` holds the targets itself; X is not changed.
    """
    X = as_float(X)
    whole = float(score(X))
    drops = np.empty((X.shape[1], repeats))
    for column in range(X.shape[1]):
        for repeat in range(repeats):
            shuffled = X.copy()
            shuffled[:, column] = X[rng.permutation(len(X)), column]
            drops[column, repeat] = whole - float(score(shuffled))
    return drops
