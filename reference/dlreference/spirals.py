"""The two-spiral task: points, densities, the best accuracy anyone can reach, and the feature that makes it linear.

The arms are r = r0 + (1 - r0) theta / (4 pi) for theta in [0, 4 pi]; arm 1 is arm 0 turned by pi. The radius comes from
theta before the turn: with the turn inside the radius both arms would lie on one curve. Points get isotropic normal
noise, `noise` being its standard deviation per coordinate.
"""

import math
from collections.abc import Callable

import numpy as np

from dlreference.activations import sigmoid
from dlreference.arrays import Array, ArrayLike, Labels, as_float
from dlreference.losses import logsumexp

THETA_MAX = 4.0 * math.pi
R0 = 0.1
NOISE = 0.03


def spiral_curve(theta: ArrayLike, arm: ArrayLike, r0: float = R0) -> Array:
    """The noiseless curve: theta (N,) in [0, 4 pi] and arm (0, 1, or (N,) of them) -> points (N, 2)."""
    theta = as_float(theta)
    radius = r0 + (1.0 - r0) * theta / THETA_MAX
    angle = theta + math.pi * as_float(arm)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)


def make_spirals(
    n: int = 250, noise: float = NOISE, *, rng: np.random.Generator, r0: float = R0
) -> tuple[Array, Labels]:
    """The data set: X (2n, 2) and y (2n,) in {0, 1}, the n points of arm 0 first, each arm from the centre outwards.

    theta runs evenly over [0, 4 pi], ends included; one draw, `rng.normal(0, noise, size=(2n, 2))`.
    """
    theta = np.tile(np.linspace(0.0, THETA_MAX, n), 2)
    y = np.repeat(np.array([0, 1], dtype=np.int64), n)
    return spiral_curve(theta, y, r0) + rng.normal(0.0, noise, size=(2 * n, 2)), y


def sample_spirals(n: int, noise: float, rng: np.random.Generator, r0: float = R0) -> tuple[Array, Labels]:
    """n independent points, X (n, 2) and y (n,): a fair arm, theta uniform on [0, 4 pi], noise."""
    y = rng.integers(0, 2, size=n)
    theta = rng.uniform(0.0, THETA_MAX, size=n)
    return spiral_curve(theta, y, r0) + rng.normal(0.0, noise, size=(n, 2)), y


def arm_log_density(X: ArrayLike, arm: int, noise: float, r0: float = R0, count: int | None = None) -> Array:
    """Log-density of one noisy arm at the points X (B, 2) -> (B,).

    The density is the normal density around the curve, averaged over theta; the average is a midpoint sum over `count`
    angles, by default so many that the points lie at most a quarter of `noise` apart. Memory: B times 200 / noise
    floats, about.
    """
    X = as_float(X)
    if count is None:
        # The curve's speed is largest at the rim, where it is sqrt(1 + ((1 - r0) / 4 pi)^2) < 1.01.
        count = math.ceil(1.01 * THETA_MAX / (noise / 4.0))
    centres = spiral_curve((np.arange(count) + 0.5) * THETA_MAX / count, arm, r0)
    squared = (X**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1) - 2.0 * X @ centres.T
    return logsumexp(-0.5 * squared / noise**2) - math.log(count) - math.log(2.0 * math.pi * noise**2)


def bayes_posterior(X: ArrayLike, noise: float, r0: float = R0) -> Array:
    """P(y = 1 | x) at the points X (B, 2) -> (B,), for arms of equal weight and theta uniform."""
    return sigmoid(arm_log_density(X, 1, noise, r0) - arm_log_density(X, 0, noise, r0))


def bayes_accuracy(noise: float, n: int, rng: np.random.Generator, r0: float = R0) -> float:
    """The accuracy of the best possible classifier, by Monte Carlo over n points of `sample_spirals`.

    It is the mean of max(P, 1 - P); counting how often the likelier arm is the true one has the same mean but a larger
    variance.
    """
    X, _ = sample_spirals(n, noise, rng, r0)
    posterior = bayes_posterior(X, noise, r0)
    return float(np.mean(np.maximum(posterior, 1.0 - posterior)))


def polar_feature(X: ArrayLike, r0: float = R0) -> Array:
    """cos(angle - theta(r)) at X (B, 2) -> (B,): how far the point's angle is from that of arm 0 at its radius.

    1 on arm 0 and -1 on arm 1, so the sign alone separates them: theta(r) = 4 pi (r - r0) / (1 - r0).
    """
    X = as_float(X)
    theta = THETA_MAX * (np.hypot(X[:, 0], X[:, 1]) - r0) / (1.0 - r0)
    return np.cos(np.arctan2(X[:, 1], X[:, 0]) - theta)


def decision_grid(score: Callable[[Array], Array], low: float, high: float, resolution: int) -> tuple[Array, Array]:
    """Values of a function of points on a square grid: (axis (R,), values (R, R)), values[i, j] at (axis[j], axis[i]).

    score maps points (R * R, 2) to (R * R,); the axis runs evenly from low to high.
    """
    axis = np.linspace(low, high, resolution)
    xs, ys = np.meshgrid(axis, axis)
    return axis, as_float(score(np.stack([xs.ravel(), ys.ravel()], axis=1))).reshape(resolution, resolution)
