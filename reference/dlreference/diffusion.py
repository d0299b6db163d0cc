"""Denoising diffusion: schedules, forward noising, conversions, reverse steps, samplers and an exact noise oracle.

Times run over 0..T-1 and `alpha_bar[0] = 1 - beta[0]`: x_0 of the literature is here the clean sample `x0`, and time t
means that t + 1 noising steps have been taken. A time argument is one integer or one per sample (B,).
Sources: Ho et al. 2020 (DDPM), Nichol and Dhariwal 2021 (cosine schedule), Song et al. 2021 (DDIM).
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from dlreference.arrays import Array, ArrayLike, as_float, as_labels
from dlreference.losses import logsumexp, mse, softmax

NoiseModel = Callable[[Array, int], ArrayLike]
Variance = Literal["beta", "posterior"]


class Schedule(NamedTuple):
    """Arrays (T,): beta, alpha = 1 - beta, alpha_bar = product of alpha up to t, alpha_bar_prev (1 at t = 0)."""

    beta: Array
    alpha: Array
    alpha_bar: Array
    alpha_bar_prev: Array


def linear_betas(steps: int, first: float = 1e-4, last: float = 0.02) -> Array:
    """`steps` noise variances evenly spaced from `first` to `last`."""
    return np.linspace(first, last, steps)


def cosine_betas(steps: int, offset: float = 0.008, largest: float = 0.999) -> Array:
    """beta_t = min(1 - f(t + 1) / f(t), largest) with f(t) = cos^2(pi/2 (t / T + offset) / (1 + offset))."""
    f = np.cos(0.5 * np.pi * (np.arange(steps + 1) / steps + offset) / (1.0 + offset)) ** 2
    return np.minimum(1.0 - f[1:] / f[:-1], largest)


def make_schedule(betas: ArrayLike) -> Schedule:
    """The schedule of noise variances betas (T,), each in (0, 1)."""
    beta = as_float(betas)
    alpha = 1.0 - beta
    alpha_bar = as_float(np.cumprod(alpha))
    return Schedule(beta, alpha, alpha_bar, np.concatenate([[1.0], alpha_bar[:-1]]))


def signal_to_noise(schedule: Schedule) -> Array:
    """alpha_bar / (1 - alpha_bar) at each time (T,), falling."""
    return schedule.alpha_bar / (1.0 - schedule.alpha_bar)


def _at(values: Array, t: ArrayLike, x: Array) -> Array:
    """values[t], shaped to multiply x (B, ...) sample by sample, or x of any shape when t is one integer."""
    picked = values[as_labels(t)]
    return picked.reshape(picked.shape + (1,) * (x.ndim - picked.ndim)) if picked.ndim else picked


def q_sample(x0: ArrayLike, t: ArrayLike, eps: ArrayLike, schedule: Schedule) -> Array:
    """x_t = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) eps, for x0 and eps (B, ...)."""
    x0 = as_float(x0)
    alpha_bar = _at(schedule.alpha_bar, t, x0)
    return np.sqrt(alpha_bar) * x0 + np.sqrt(1.0 - alpha_bar) * as_float(eps)


def q_moments(x0: ArrayLike, t: ArrayLike, schedule: Schedule) -> tuple[Array, Array]:
    """Mean sqrt(alpha_bar_t) x0 and variance 1 - alpha_bar_t of x_t given x0; both in the shape of x0."""
    x0 = as_float(x0)
    alpha_bar = _at(schedule.alpha_bar, t, x0)
    return np.sqrt(alpha_bar) * x0, np.broadcast_to(1.0 - alpha_bar, x0.shape).copy()


def q_step(x_prev: ArrayLike, t: ArrayLike, eps: ArrayLike, schedule: Schedule) -> Array:
    """One noising step: x_t = sqrt(alpha_t) x_prev + sqrt(beta_t) eps, with x_prev = x0 when t = 0."""
    x_prev = as_float(x_prev)
    return np.sqrt(_at(schedule.alpha, t, x_prev)) * x_prev + np.sqrt(_at(schedule.beta, t, x_prev)) * as_float(eps)


def merged_noise(eps: ArrayLike, schedule: Schedule) -> Array:
    """The one eps with which `q_sample` at t = n - 1 equals n single steps with eps[0], ..., eps[n - 1].

    eps (n, ...) -> (...): the weight of eps[s] is sqrt(beta_s alpha_bar_t / alpha_bar_s / (1 - alpha_bar_t)); the
    squares of the weights sum to one, so independent standard normals merge to a standard normal.
    """
    eps = as_float(eps)
    n = len(eps)
    last = schedule.alpha_bar[n - 1]
    weights = np.sqrt(schedule.beta[:n] * last / schedule.alpha_bar[:n] / (1.0 - last))
    return np.tensordot(weights, eps, axes=1)


def predict_x0(x_t: ArrayLike, t: ArrayLike, eps: ArrayLike, schedule: Schedule) -> Array:
    """The clean sample that x_t and its noise imply: (x_t - sqrt(1 - alpha_bar_t) eps) / sqrt(alpha_bar_t)."""
    x_t = as_float(x_t)
    alpha_bar = _at(schedule.alpha_bar, t, x_t)
    return (x_t - np.sqrt(1.0 - alpha_bar) * as_float(eps)) / np.sqrt(alpha_bar)


def predict_eps(x_t: ArrayLike, t: ArrayLike, x0: ArrayLike, schedule: Schedule) -> Array:
    """The noise that x_t and the clean sample imply: (x_t - sqrt(alpha_bar_t) x0) / sqrt(1 - alpha_bar_t)."""
    x_t = as_float(x_t)
    alpha_bar = _at(schedule.alpha_bar, t, x_t)
    return (x_t - np.sqrt(alpha_bar) * as_float(x0)) / np.sqrt(1.0 - alpha_bar)


def posterior_variance(schedule: Schedule) -> Array:
    """Variance of x_{t-1} given x_t and x0 at each time (T,): beta (1 - alpha_bar_prev) / (1 - alpha_bar)."""
    return schedule.beta * (1.0 - schedule.alpha_bar_prev) / (1.0 - schedule.alpha_bar)


def posterior(x_t: ArrayLike, x0: ArrayLike, t: ArrayLike, schedule: Schedule) -> tuple[Array, Array]:
    """Mean and variance of q(x_{t-1} | x_t, x0), both in the shape of x_t (Ho et al. 2020, equations 6 and 7).

    mean = (sqrt(alpha_bar_prev) beta x0 + sqrt(alpha) (1 - alpha_bar_prev) x_t) / (1 - alpha_bar); at t = 0 it is x0
    itself, with variance 0.
    """
    x_t, x0 = as_float(x_t), as_float(x0)
    noise = 1.0 - schedule.alpha_bar
    of_x0 = _at(np.sqrt(schedule.alpha_bar_prev) * schedule.beta / noise, t, x_t)
    of_x_t = _at(np.sqrt(schedule.alpha) * (1.0 - schedule.alpha_bar_prev) / noise, t, x_t)
    variance = np.broadcast_to(_at(posterior_variance(schedule), t, x_t), x_t.shape).copy()
    return of_x0 * x0 + of_x_t * x_t, variance


def ancestral_mean(x_t: ArrayLike, t: ArrayLike, eps: ArrayLike, schedule: Schedule) -> Array:
    """Mean of the reverse step: (x_t - beta_t / sqrt(1 - alpha_bar_t) eps) / sqrt(alpha_t), shaped as x_t."""
    x_t = as_float(x_t)
    beta, alpha_bar = _at(schedule.beta, t, x_t), _at(schedule.alpha_bar, t, x_t)
    return (x_t - beta / np.sqrt(1.0 - alpha_bar) * as_float(eps)) / np.sqrt(_at(schedule.alpha, t, x_t))


def ancestral_step(
    x_t: ArrayLike,
    t: ArrayLike,
    eps: ArrayLike,
    noise: ArrayLike,
    schedule: Schedule,
    variance: Variance = "beta",
) -> Array:
    """x_{t-1} = mean + sigma_t noise, with sigma_t^2 = beta_t or the posterior variance, and no noise at t = 0.

    x_t, eps (predicted) and noise (standard normal) have one shape (B, ...). Raises ValueError for another variance.
    """
    if variance not in ("beta", "posterior"):
        raise ValueError(f'variance must be "beta" or "posterior", got {variance!r}')
    x_t = as_float(x_t)
    chosen = schedule.beta if variance == "beta" else posterior_variance(schedule)
    sigma = np.sqrt(np.where(np.arange(len(chosen)) > 0, chosen, 0.0))
    return ancestral_mean(x_t, t, eps, schedule) + _at(sigma, t, x_t) * as_float(noise)


def ddim_step(
    x_t: ArrayLike,
    t: int,
    t_prev: int,
    eps: ArrayLike,
    schedule: Schedule,
    eta: float = 0.0,
    noise: ArrayLike | None = None,
) -> Array:
    """One DDIM step from time t to an earlier t_prev (-1: the clean sample), deterministic when eta = 0.

    x_prev = sqrt(a_prev) x0_hat + sqrt(1 - a_prev - sigma^2) eps + sigma noise, with a = alpha_bar (1 at -1) and
    sigma = eta sqrt((1 - a_prev) / (1 - a)) sqrt(1 - a / a_prev) (Song et al. 2021, equations 12 and 16).
    Raises ValueError when eta > 0 and no noise is given.
    """
    now = schedule.alpha_bar[t]
    before = 1.0 if t_prev < 0 else schedule.alpha_bar[t_prev]
    sigma = eta * np.sqrt((1.0 - before) / (1.0 - now) * (1.0 - now / before))
    mean = np.sqrt(before) * predict_x0(x_t, t, eps, schedule) + np.sqrt(1.0 - before - sigma**2) * as_float(eps)
    if eta == 0.0:
        return mean
    if noise is None:
        raise ValueError("a stochastic step (eta > 0) needs noise")
    return mean + sigma * as_float(noise)


def sample_ancestral(
    model: NoiseModel,
    shape: tuple[int, ...],
    schedule: Schedule,
    rng: np.random.Generator,
    variance: Variance = "beta",
) -> Array:
    """Samples of the given shape (B, ...) by T ancestral steps with predicted noise model(x_t, t).

    Draws: `rng.standard_normal(shape)` for x_{T-1}, then one more for each t = T-1, ..., 1; none at t = 0.
    """
    x = rng.standard_normal(shape)
    for t in range(len(schedule.beta) - 1, -1, -1):
        noise = rng.standard_normal(shape) if t > 0 else np.zeros(shape)
        x = ancestral_step(x, t, model(x, t), noise, schedule, variance)
    return x


def sample_ddim(model: NoiseModel, x_last: ArrayLike, schedule: Schedule, times: Sequence[int] | None = None) -> Array:
    """The clean samples (B, ...) that deterministic DDIM reaches from x_last at the first of `times`.

    `times` falls and ends anywhere; a last step to the clean sample is always added. Default: every time, T-1 to 0.
    """
    x = as_float(x_last)
    visited = list(range(len(schedule.beta) - 1, -1, -1)) if times is None else list(times)
    for t, t_prev in zip(visited, [*visited[1:], -1], strict=True):
        x = ddim_step(x, t, t_prev, model(x, t), schedule)
    return x


def noise_prediction_loss(eps_hat: ArrayLike, eps: ArrayLike) -> tuple[float, Array]:
    """The simple DDPM loss: mean squared error of the predicted *noise* over all elements, and its gradient."""
    return mse(eps_hat, eps)


class GaussianMixture(NamedTuple):
    """Weights (K,) that sum to one, means (K, D) and variances (K,) of isotropic components."""

    weights: Array
    means: Array
    variances: Array


def gaussian_mixture(weights: ArrayLike, means: ArrayLike, variances: ArrayLike) -> GaussianMixture:
    """The mixture with these parameters; means (K, D)."""
    return GaussianMixture(as_float(weights), as_float(means), as_float(variances))


def noised_mixture(mixture: GaussianMixture, t: int, schedule: Schedule) -> GaussianMixture:
    """The law of x_t when x0 follows the mixture: means sqrt(a) mu_k, variances a v_k + 1 - a, with a = alpha_bar_t."""
    a = schedule.alpha_bar[t]
    return GaussianMixture(mixture.weights, np.sqrt(a) * mixture.means, a * mixture.variances + 1.0 - a)


def _component_log_densities(x: Array, mixture: GaussianMixture) -> tuple[Array, Array]:
    """log(weight_k N(x; mu_k, v_k I)) as (B, K), and mu_k - x as (B, K, D)."""
    away = mixture.means - x[:, None, :]
    v = mixture.variances
    normalizer = 0.5 * x.shape[1] * np.log(2.0 * np.pi * v)
    return np.log(mixture.weights) - 0.5 * (away**2).sum(axis=2) / v - normalizer, away


def mixture_log_density(x: ArrayLike, mixture: GaussianMixture) -> Array:
    """log p(x) at points x (B, D) -> (B,)."""
    return logsumexp(_component_log_densities(as_float(x), mixture)[0], axis=1)


def mixture_score(x: ArrayLike, mixture: GaussianMixture) -> Array:
    """Gradient of log p at points x (B, D) -> (B, D): sum_k r_k(x) (mu_k - x) / v_k, r_k the posterior weight of k."""
    log_parts, away = _component_log_densities(as_float(x), mixture)
    return np.einsum("bk,bkd->bd", softmax(log_parts) / mixture.variances, away)


def mixture_sample(mixture: GaussianMixture, n: int, rng: np.random.Generator) -> Array:
    """n points (n, D). Draws: `rng.choice(K, size=n, p=weights)`, then `rng.standard_normal((n, D))`."""
    component = rng.choice(len(mixture.weights), size=n, p=mixture.weights)
    spread = np.sqrt(mixture.variances[component])[:, None]
    return mixture.means[component] + spread * rng.standard_normal((n, mixture.means.shape[1]))


def exact_eps(x_t: ArrayLike, t: int, mixture: GaussianMixture, schedule: Schedule) -> Array:
    """The best noise prediction E[eps | x_t] for x0 from the mixture: -sqrt(1 - alpha_bar_t) times the score of x_t.

    x_t (B, D) -> (B, D). `lambda x, t: exact_eps(x, t, mixture, schedule)` drives the samplers without training.
    """
    return -np.sqrt(1.0 - schedule.alpha_bar[t]) * mixture_score(x_t, noised_mixture(mixture, t, schedule))
