"""Diffusion formulas against iterated noising, Bayes' rule for Gaussians, PyTorch densities and exact sampling."""

import numpy as np
import pytest
import torch
from dlreference import diffusion
from dlreference.gradcheck import numerical_gradient

TIGHT = {"rtol": 1e-10, "atol": 1e-12}


@pytest.fixture
def rng():
    return np.random.default_rng(327)


@pytest.fixture
def schedule():
    return diffusion.make_schedule(diffusion.linear_betas(200))


BIMODAL = diffusion.gaussian_mixture([0.5, 0.5], [[-2.0], [2.0]], [0.09, 0.09])


def test_schedule_arrays(schedule):
    assert schedule.beta[0] == 1e-4
    assert schedule.beta[-1] == 0.02
    assert schedule.alpha_bar[0] == 1 - schedule.beta[0]
    np.testing.assert_allclose(schedule.alpha_bar, np.exp(np.cumsum(np.log1p(-schedule.beta))), rtol=1e-13)
    np.testing.assert_array_equal(schedule.alpha_bar_prev[1:], schedule.alpha_bar[:-1])
    assert schedule.alpha_bar_prev[0] == 1.0


@pytest.mark.parametrize(("steps", "left"), [(100, 0.364), (200, 0.132), (1000, 4e-5)])
def test_schedule_measured_signal_that_is_left(steps, left):
    alpha_bar = diffusion.make_schedule(diffusion.linear_betas(steps)).alpha_bar
    assert alpha_bar[-1] == pytest.approx(left, rel=0.02)


def test_schedule_of_one_step():
    schedule = diffusion.make_schedule([0.3])
    assert schedule.alpha_bar[0] == pytest.approx(0.7)
    np.testing.assert_array_equal(diffusion.posterior_variance(schedule), [0.0])


def test_cosine_betas_have_the_cosine_alpha_bar():
    schedule = diffusion.make_schedule(diffusion.cosine_betas(50))
    f = np.cos(np.pi / 2 * (np.arange(51) / 50 + 0.008) / 1.008) ** 2
    np.testing.assert_allclose(schedule.alpha_bar[:-1], f[1:-1] / f[0], rtol=1e-12)
    assert schedule.beta[-1] == 0.999


def test_signal_to_noise_falls(schedule):
    assert np.all(np.diff(diffusion.signal_to_noise(schedule)) < 0)


def test_q_sample_time_per_sample_equals_one_time_each(rng, schedule):
    x0, eps = rng.normal(size=(2, 3, 4, 5))
    times = np.array([0, 199, 7])
    together = diffusion.q_sample(x0, times, eps, schedule)
    for k, t in enumerate(times):
        np.testing.assert_allclose(together[k], diffusion.q_sample(x0[k], t, eps[k], schedule), **TIGHT)


def test_q_sample_equals_iterated_single_steps(rng, schedule):
    x0, eps = rng.normal(size=(4, 3)), rng.normal(size=(60, 4, 3))
    x = x0
    for t in range(60):
        x = diffusion.q_step(x, t, eps[t], schedule)
    np.testing.assert_allclose(diffusion.q_sample(x0, 59, diffusion.merged_noise(eps, schedule), schedule), x, **TIGHT)


def test_q_moments_equal_the_recursion_of_single_steps(schedule):
    mean, variance = 1.7, 0.0
    for t in range(31):
        mean = np.sqrt(schedule.alpha[t]) * mean
        variance = schedule.alpha[t] * variance + schedule.beta[t]
    got = diffusion.q_moments(np.full((2, 3), 1.7), 30, schedule)
    np.testing.assert_allclose(got, np.broadcast_to(np.array([mean, variance])[:, None, None], (2, 2, 3)), **TIGHT)


def test_q_sample_empirical_variance(schedule):
    eps = np.random.default_rng(0).standard_normal((40_000, 1))
    x = diffusion.q_sample(np.full((40_000, 1), 3.0), 150, eps, schedule)
    mean, variance = diffusion.q_moments([3.0], 150, schedule)
    assert abs(x.mean() - mean[0]) < 6 * np.sqrt(variance[0] / 40_000)
    assert abs(x.var() - variance[0]) < 6 * variance[0] * np.sqrt(2 / 40_000)


def test_eps_and_x0_conversions_invert_each_other(rng, schedule):
    x0, eps = rng.normal(size=(2, 6, 3))
    times = np.array([0, 1, 50, 120, 198, 199])
    x_t = diffusion.q_sample(x0, times, eps, schedule)
    # at t = 0 the noise has weight 0.01, so rounding comes back a hundred times larger
    np.testing.assert_allclose(diffusion.predict_eps(x_t, times, x0, schedule), eps, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(diffusion.predict_x0(x_t, times, eps, schedule), x0, **TIGHT)


@pytest.mark.parametrize("t", [1, 2, 77, 199])
def test_posterior_equals_bayes_rule_for_gaussians(rng, schedule, t):
    """prior x_{t-1} | x0 times likelihood x_t | x_{t-1}: precisions add."""
    x0, x_t = rng.normal(size=(2, 5, 2))
    prior_mean, prior_variance = diffusion.q_moments(x0, t - 1, schedule)
    precision = 1 / prior_variance + schedule.alpha[t] / schedule.beta[t]
    mean = (prior_mean / prior_variance + np.sqrt(schedule.alpha[t]) * x_t / schedule.beta[t]) / precision
    got_mean, got_variance = diffusion.posterior(x_t, x0, t, schedule)
    np.testing.assert_allclose(got_mean, mean, **TIGHT)
    np.testing.assert_allclose(got_variance, 1 / precision, **TIGHT)


def test_posterior_at_time_zero_is_the_clean_sample(rng, schedule):
    x0, x_t = rng.normal(size=(2, 5, 2))
    mean, variance = diffusion.posterior(x_t, x0, 0, schedule)
    np.testing.assert_allclose(mean, x0, rtol=1e-11)
    np.testing.assert_array_equal(variance, np.zeros((5, 2)))


def test_posterior_mean_of_predicted_x0_is_the_ancestral_mean(rng, schedule):
    x_t, eps = rng.normal(size=(2, 4, 3))
    times = np.array([0, 3, 90, 199])
    x0 = diffusion.predict_x0(x_t, times, eps, schedule)
    np.testing.assert_allclose(
        diffusion.ancestral_mean(x_t, times, eps, schedule),
        diffusion.posterior(x_t, x0, times, schedule)[0],
        rtol=1e-9,
        atol=1e-11,
    )


def test_ancestral_step_adds_no_noise_at_time_zero(rng, schedule):
    x_t, eps, noise = rng.normal(size=(3, 2, 3))
    for variance in ("beta", "posterior"):
        moved = diffusion.ancestral_step(x_t, [0, 5], eps, noise, schedule, variance)
        mean = diffusion.ancestral_mean(x_t, [0, 5], eps, schedule)
        np.testing.assert_array_equal(moved[0], mean[0])
        sigma = np.sqrt(schedule.beta if variance == "beta" else diffusion.posterior_variance(schedule))[5]
        np.testing.assert_allclose(moved[1] - mean[1], sigma * noise[1], **TIGHT)
    with pytest.raises(ValueError, match="variance"):
        diffusion.ancestral_step(x_t, 3, eps, noise, schedule, "learned")


def test_ddim_with_eta_one_is_the_ancestral_step_with_posterior_variance(rng, schedule):
    x_t, eps, noise = rng.normal(size=(3, 4, 2))
    for t in (1, 60, 199):
        np.testing.assert_allclose(
            diffusion.ddim_step(x_t, t, t - 1, eps, schedule, 1.0, noise),
            diffusion.ancestral_step(x_t, t, eps, noise, schedule, "posterior"),
            rtol=1e-9,
            atol=1e-11,
        )


def test_ddim_with_the_true_noise_moves_along_the_noising_path(rng, schedule):
    x0, eps = rng.normal(size=(2, 4, 2))
    x_t = diffusion.q_sample(x0, 180, eps, schedule)
    np.testing.assert_allclose(
        diffusion.ddim_step(x_t, 180, 40, eps, schedule), diffusion.q_sample(x0, 40, eps, schedule), **TIGHT
    )
    np.testing.assert_allclose(diffusion.ddim_step(x_t, 180, -1, eps, schedule), x0, **TIGHT)


def test_stochastic_ddim_step_needs_noise(schedule):
    with pytest.raises(ValueError, match="noise"):
        diffusion.ddim_step([1.0], 5, 4, [0.0], schedule, eta=0.5)


def torch_mixture(mixture):
    spread = torch.tensor(mixture.variances).sqrt()[:, None].expand(mixture.means.shape)
    component = torch.distributions.Independent(torch.distributions.Normal(torch.tensor(mixture.means), spread), 1)
    return torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.tensor(mixture.weights)), component
    )


THREE = diffusion.gaussian_mixture([0.2, 0.5, 0.3], [[1.0, -1.0], [0.0, 2.0], [-3.0, 0.5]], [0.3, 1.5, 0.05])


@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_mixture_log_density_and_score(rng, scale):
    x = torch.tensor(scale * rng.normal(size=(6, 2)), requires_grad=True)
    log_density = torch_mixture(THREE).log_prob(x)
    log_density.sum().backward()
    np.testing.assert_allclose(
        diffusion.mixture_log_density(x.detach(), THREE), log_density.detach(), rtol=1e-11, atol=1e-12
    )
    np.testing.assert_allclose(diffusion.mixture_score(x.detach(), THREE), x.grad, rtol=1e-10, atol=1e-12)


def test_noised_mixture_of_one_gaussian(schedule):
    one = diffusion.gaussian_mixture([1.0], [[2.0, -1.0]], [0.5])
    noised = diffusion.noised_mixture(one, 120, schedule)
    a = schedule.alpha_bar[120]
    np.testing.assert_allclose(noised.means, np.sqrt(a) * one.means, **TIGHT)
    np.testing.assert_allclose(noised.variances, [0.5 * a + 1 - a], **TIGHT)


def test_exact_eps_of_a_single_gaussian_is_its_regression_line(rng, schedule):
    """For a Gaussian x0 the pair (eps, x_t) is jointly Gaussian, so E[eps | x_t] is linear."""
    one = diffusion.gaussian_mixture([1.0], [[2.0]], [0.5])
    a = schedule.alpha_bar[80]
    x = rng.normal(size=(5, 1))
    expected = np.sqrt(1 - a) / (0.5 * a + 1 - a) * (x - np.sqrt(a) * 2.0)
    np.testing.assert_allclose(diffusion.exact_eps(x, 80, one, schedule), expected, **TIGHT)


def test_exact_eps_minimises_the_noise_prediction_loss(schedule):
    """E[eps | x_t] by numerical integration over x0 on a fine grid."""
    t, x_t = 100, 0.7
    a = schedule.alpha_bar[t]
    x0 = np.linspace(-6, 6, 200_001)
    eps = (x_t - np.sqrt(a) * x0) / np.sqrt(1 - a)
    weight = np.exp(diffusion.mixture_log_density(x0[:, None], BIMODAL) - 0.5 * eps**2)
    expected = (weight * eps).sum() / weight.sum()
    assert diffusion.exact_eps([[x_t]], t, BIMODAL, schedule)[0, 0] == pytest.approx(expected, rel=1e-9)


def test_noise_prediction_loss_gradient(rng):
    eps_hat, eps = rng.normal(size=(2, 4, 3))
    loss, grad = diffusion.noise_prediction_loss(eps_hat, eps)
    assert loss == pytest.approx(((eps_hat - eps) ** 2).mean(), rel=1e-14)
    np.testing.assert_allclose(
        grad, numerical_gradient(lambda e: diffusion.noise_prediction_loss(e, eps)[0], eps_hat), atol=1e-9
    )


def test_mixture_sample_documented_draws():
    got = diffusion.mixture_sample(THREE, 5, np.random.default_rng(1))
    mirror = np.random.default_rng(1)
    k = mirror.choice(3, size=5, p=THREE.weights)
    z = mirror.standard_normal((5, 2))
    np.testing.assert_allclose(got, THREE.means[k] + np.sqrt(THREE.variances[k])[:, None] * z, **TIGHT)


def test_ancestral_sampler_recovers_the_modes(schedule):
    samples = diffusion.sample_ancestral(
        lambda x, t: diffusion.exact_eps(x, t, BIMODAL, schedule), (4000, 1), schedule, np.random.default_rng(0)
    )
    assert np.abs(samples).mean() == pytest.approx(1.986, abs=0.02)
    assert np.abs(samples).std() == pytest.approx(0.302, abs=0.02)
    assert abs((samples > 0).mean() - 0.5) < 6 * 0.5 / 4000**0.5


def test_ancestral_sampler_documented_draws(schedule):
    short = diffusion.make_schedule(diffusion.linear_betas(3, 0.1, 0.4))
    got = diffusion.sample_ancestral(lambda x, t: 0.1 * x + t, (2, 3), short, np.random.default_rng(5))
    mirror = np.random.default_rng(5)
    x = mirror.standard_normal((2, 3))
    for t in (2, 1):
        x = diffusion.ancestral_step(x, t, 0.1 * x + t, mirror.standard_normal((2, 3)), short)
    np.testing.assert_array_equal(got, diffusion.ancestral_mean(x, 0, 0.1 * x, short))


def test_ddim_sampler_transports_a_gaussian_to_its_law():
    """For a Gaussian the exact flow is affine: a standard normal start maps to mean + sd * start as steps shrink."""
    schedule = diffusion.make_schedule(diffusion.linear_betas(1000))
    one = diffusion.gaussian_mixture([1.0], [[2.0]], [0.25])
    start = np.linspace(-2, 2, 9)[:, None]
    samples = diffusion.sample_ddim(lambda x, t: diffusion.exact_eps(x, t, one, schedule), start, schedule)
    np.testing.assert_allclose(samples, 2.0 + 0.5 * start, atol=0.02)


def test_ddim_sampler_of_chosen_times_is_its_steps(rng, schedule):
    x = rng.normal(size=(3, 1))
    model = lambda x, t: diffusion.exact_eps(x, t, BIMODAL, schedule)
    got = diffusion.sample_ddim(model, x, schedule, [150, 60])
    middle = diffusion.ddim_step(x, 150, 60, model(x, 150), schedule)
    np.testing.assert_array_equal(got, diffusion.ddim_step(middle, 60, -1, model(middle, 60), schedule))
