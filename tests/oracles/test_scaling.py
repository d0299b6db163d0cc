"""Scaling laws against scikit-learn, SciPy's optimisers, published figures and exact inversions."""

import numpy as np
import pytest
from dlreference import scaling
from scipy.optimize import curve_fit, minimize_scalar
from sklearn.linear_model import LinearRegression


def test_power_law_published_values():
    losses = scaling.power_law([1e9, 2e9, 1e10], 0.076, 8.8e13)
    np.testing.assert_allclose(losses, [2.3756, 2.2537, 1.9943], atol=1e-4)
    assert scaling.power_law(8.8e13, 0.076, 8.8e13) == 1.0


def test_power_law_inversion():
    sizes = np.logspace(6, 13, 9)
    np.testing.assert_allclose(
        scaling.invert_power_law(scaling.power_law(sizes, 0.095, 5.4e13), 0.095, 5.4e13), sizes, rtol=1e-12
    )


def test_relative_reduction_is_relative_to_the_old_loss():
    losses = scaling.power_law([1e9, 2e9, 1e10], 0.076, 8.8e13)
    np.testing.assert_allclose(scaling.relative_reduction(losses[0], losses[1:]), [0.0513, 0.1605], atol=1e-4)


def test_fit_power_law_recovers_exact_points():
    sizes = np.logspace(6, 10, 7)
    alpha, x_c = scaling.fit_power_law(sizes, scaling.power_law(sizes, 0.076, 8.8e13))
    assert alpha == pytest.approx(0.076, rel=1e-11)
    assert x_c == pytest.approx(8.8e13, rel=1e-9)


def test_fit_power_law_noisy_points_equal_sklearn_regression():
    rng = np.random.default_rng(0)
    sizes = np.logspace(5, 11, 23)
    losses = scaling.power_law(sizes, 0.1, 1e12) * np.exp(0.05 * rng.normal(size=23))
    line = LinearRegression().fit(np.log(sizes)[:, None], np.log(losses))
    alpha, x_c = scaling.fit_power_law(sizes, losses)
    assert alpha == pytest.approx(-line.coef_[0], rel=1e-10)
    assert x_c == pytest.approx(np.exp(line.intercept_ / alpha), rel=1e-9)


def test_log_log_fit_that_ignores_the_irreducible_loss_is_too_flat():
    sizes = np.logspace(6, 10, 9)
    alpha, _ = scaling.fit_power_law(sizes, scaling.offset_power_law(sizes, scaling.OffsetFit(1.7, 400.0, 0.34)))
    assert alpha < 0.2


def test_fit_offset_least_squares_recovers_exact_points():
    truth = scaling.OffsetFit(1.69, 406.4, 0.34)
    sizes = np.logspace(6, 11, 12)
    np.testing.assert_allclose(
        scaling.fit_offset_least_squares(sizes, scaling.offset_power_law(sizes, truth)), truth, rtol=1e-9
    )


def test_fit_offset_least_squares_noisy_points_equal_scipy_curve_fit():
    rng = np.random.default_rng(1)
    sizes = np.logspace(2, 6, 40)
    losses = scaling.offset_power_law(sizes, scaling.OffsetFit(0.8, 20.0, 0.45)) + 0.01 * rng.normal(size=40)
    expected, _ = curve_fit(
        lambda x, e, a, p: e + a * x**-p, sizes, losses, p0=(0.8, 20.0, 0.45), ftol=1e-15, xtol=1e-15, gtol=1e-15
    )
    np.testing.assert_allclose(scaling.fit_offset_least_squares(sizes, losses), expected, rtol=1e-6)


def test_fit_offset_by_grid_recovers_a_candidate():
    truth = scaling.OffsetFit(1.5, 30.0, 0.3)
    sizes = np.logspace(3, 9, 15)
    losses = scaling.offset_power_law(sizes, truth)
    fit = scaling.fit_offset_by_grid(sizes, losses, np.linspace(0.0, 1.55, 32))
    np.testing.assert_allclose(fit, truth, rtol=1e-9)
    with pytest.raises(ValueError, match="below"):
        scaling.fit_offset_by_grid(sizes, losses, [0.0, losses.min()])


def test_fit_offset_by_grid_of_one_zero_candidate_is_the_log_log_fit():
    rng = np.random.default_rng(2)
    sizes, losses = np.logspace(3, 9, 15), rng.uniform(1, 2, size=15)
    alpha, x_c = scaling.fit_power_law(sizes, losses)
    fit = scaling.fit_offset_by_grid(sizes, losses, [0.0])
    assert fit.alpha == pytest.approx(alpha, rel=1e-12)
    assert fit.amplitude == pytest.approx(x_c**alpha, rel=1e-10)


@pytest.mark.parametrize("flops", [1e18, 5.88e23])
def test_compute_optimal_closed_form_equals_scipy_minimisation_and_bisection(flops):
    law = scaling.ParametricLoss()
    n, d = scaling.compute_optimal(flops, law)
    assert scaling.training_flops(n, d) == pytest.approx(flops, rel=1e-12)
    found = minimize_scalar(
        lambda log_n: float(scaling.parametric_loss(np.exp(log_n), flops / 6 / np.exp(log_n), law)),
        bracket=(15.0, 30.0),
    )
    # a minimum is flat: its place is known to about the square root of the rounding error
    assert np.log(n) == pytest.approx(found.x, abs=1e-5)
    np.testing.assert_allclose(scaling.compute_optimal_numeric(flops, law), (n, d), rtol=1e-11)


def test_compute_optimal_exponents_are_not_swapped():
    law = scaling.ParametricLoss(alpha=0.5, beta=0.25)
    small, large = scaling.compute_optimal(1e20, law), scaling.compute_optimal(1e23, law)
    assert np.log10(large[0] / small[0]) == pytest.approx(3 * 0.25 / 0.75, rel=1e-10)
    assert np.log10(large[1] / small[1]) == pytest.approx(3 * 0.5 / 0.75, rel=1e-10)


def test_twenty_tokens_a_parameter_gives_the_published_model():
    n, d = scaling.tokens_per_parameter_rule(5.88e23)
    assert n == pytest.approx(70e9, rel=1e-9)
    assert d == pytest.approx(1.4e12, rel=1e-9)


def test_device_days_of_a_published_training_run():
    assert scaling.device_days(3.14e23, 312e12) == pytest.approx(11_648, abs=1)
    assert scaling.device_days(3.14e23, 312e12, 0.4) == pytest.approx(29_120, abs=2)


def test_excess_compute_against_the_budget_that_bisection_finds():
    law = scaling.ParametricLoss(1.69, 406.4, 410.7, 0.34, 0.28)
    n, d = 175e9, 300e9
    loss = scaling.parametric_loss(n, d, law)
    excess = scaling.excess_compute(n, d, law)
    needed = scaling.training_flops(n, d) / excess
    best = scaling.compute_optimal_numeric(float(needed), law)
    assert excess > 1.0
    np.testing.assert_allclose(scaling.parametric_loss(*best, law), loss, rtol=1e-12)
    np.testing.assert_allclose(scaling.excess_compute(*best, law), 1.0, rtol=1e-9)
