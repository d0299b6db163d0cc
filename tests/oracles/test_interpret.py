"""Attribution methods against autograd, closed forms, axioms, scikit-learn's ridge and brute force."""

import itertools
import math

import numpy as np
import pytest
import torch
from dlreference import interpret, mlp
from sklearn.linear_model import Ridge

TIGHT = {"rtol": 1e-10, "atol": 1e-12}


@pytest.fixture
def rng():
    return np.random.default_rng(331)


@pytest.fixture
def params(rng):
    return {k: v + 0.3 * rng.normal(size=v.shape) for k, v in mlp.init_mlp((6, 8, 5, 3), rng).items()}


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("output", [0, 2])
def test_input_gradient_of_one_output(rng, params, activation, output):
    x = torch.tensor(rng.normal(size=(4, 6)), requires_grad=True)
    h = x
    for layer in (1, 2, 3):
        h = h @ torch.tensor(params[f"W{layer}"]).T + torch.tensor(params[f"b{layer}"])
        h = getattr(torch, activation)(h) if layer < 3 else h
    h[:, output].sum().backward()
    np.testing.assert_allclose(interpret.input_gradient(params, x.detach(), output, activation), x.grad, **TIGHT)


def test_input_gradient_through_a_sigmoid_output(rng, params):
    x = rng.normal(size=(4, 6))
    names = ("relu", "relu", "sigmoid")
    logit, slope = mlp.forward(x, params)[0][:, 1], interpret.input_gradient(params, x, 1)
    p = 1 / (1 + np.exp(-logit))
    np.testing.assert_allclose(interpret.input_gradient(params, x, 1, names), (p * (1 - p))[:, None] * slope, **TIGHT)


def test_integrated_gradients_are_complete(rng, params):
    f, gradient = interpret.mlp_output(params, 1, "tanh")
    x, baseline = rng.normal(size=(5, 6)), rng.normal(size=6)
    gaps = [
        np.abs(
            interpret.completeness_gap(f, interpret.integrated_gradients(gradient, x, baseline, n), x, baseline)
        ).max()
        for n in (25, 50, 100, 1600)
    ]
    assert gaps[-1] < 1e-5
    # second order: halving the step divides the gap by four
    assert gaps[0] / gaps[1] == pytest.approx(4, rel=0.1)
    assert gaps[1] / gaps[2] == pytest.approx(4, rel=0.1)


def test_integrated_gradients_of_a_polynomial_are_exact():
    """f = x0^2 + x0 x1: the gradient is linear along the path, so one midpoint is exact."""
    gradient = lambda x: np.stack([2 * x[:, 0] + x[:, 1], x[:, 0]], axis=1)
    x, b = np.array([[2.0, -3.0]]), np.array([0.5, 1.0])
    middle = (x + b) / 2
    np.testing.assert_allclose(interpret.integrated_gradients(gradient, x, b, 1), (x - b) * gradient(middle), **TIGHT)
    np.testing.assert_allclose(
        interpret.integrated_gradients(gradient, x, b, 7), interpret.integrated_gradients(gradient, x, b, 1), **TIGHT
    )


def test_integrated_gradients_see_through_a_saturated_sigmoid():
    f = lambda x: 1 / (1 + np.exp(-10 * x[:, 0]))
    gradient = lambda x: (10 * f(x) * (1 - f(x)))[:, None]
    x = np.array([[4.0]])
    assert interpret.gradient_times_input(gradient, x)[0, 0] < 1e-14
    assert interpret.integrated_gradients(gradient, x, 0.0, 4000)[0, 0] == pytest.approx(0.5, abs=1e-6)


def test_integrated_gradients_baseline_per_sample_and_at_the_point(rng, params):
    _, gradient = interpret.mlp_output(params)
    x, baselines = rng.normal(size=(2, 3, 6))
    together = interpret.integrated_gradients(gradient, x, baselines)
    for k in range(3):
        np.testing.assert_allclose(
            interpret.integrated_gradients(gradient, x[k : k + 1], baselines[k])[0], together[k], **TIGHT
        )
    np.testing.assert_array_equal(interpret.integrated_gradients(gradient, x, x), 0.0)


def test_linear_model_all_methods_agree(rng):
    w, x, baseline = rng.normal(size=5), rng.normal(size=(3, 5)), rng.normal(size=5)
    f, gradient = lambda x: x @ w + 2.0, lambda x: np.tile(w, (len(x), 1))
    expected = (x - baseline) * w
    np.testing.assert_allclose(interpret.gradient_times_input(gradient, x, baseline), expected, **TIGHT)
    np.testing.assert_allclose(interpret.integrated_gradients(gradient, x, baseline, 3), expected, **TIGHT)
    for k in range(3):
        np.testing.assert_allclose(interpret.shapley_attributions(f, x[k], baseline), expected[k], **TIGHT)


def test_coalitions_are_all_subsets_in_binary_order():
    np.testing.assert_array_equal(interpret.coalitions(2), [[False, False], [True, False], [False, True], [True, True]])


@pytest.mark.parametrize("players", [1, 2, 5])
def test_shapley_values_equal_the_mean_over_all_orders(rng, players):
    worth = rng.normal(size=2**players)
    expected = np.zeros(players)
    for order in itertools.permutations(range(players)):
        present = 0
        for i in order:
            expected[i] += worth[present | 1 << i] - worth[present]
            present |= 1 << i
    np.testing.assert_allclose(interpret.shapley_values(worth), expected / math.factorial(players), **TIGHT)


def test_shapley_axioms_efficiency_dummy_symmetry(rng):
    f = lambda x: np.sin(x[:, 0]) * x[:, 1] + x[:, 2] * x[:, 3] + 0.0 * x[:, 4]
    x = np.array([0.7, -1.0, 1.5, 1.5, 9.0, 0.3, 0.1, -2.0])
    phi = interpret.shapley_attributions(f, x)
    assert phi.sum() == pytest.approx(f(x[None])[0] - f(np.zeros((1, 8)))[0], rel=1e-12)
    np.testing.assert_allclose(phi[4:], 0.0, atol=1e-15)
    assert phi[2] == pytest.approx(phi[3], rel=1e-12)


def test_shapley_values_need_a_worth_for_every_coalition():
    with pytest.raises(ValueError, match="2\\^d"):
        interpret.shapley_values([0.0, 1.0, 2.0])


@pytest.mark.parametrize("penalty", [0.0, 2.5])
def test_weighted_ridge_equals_sklearn(rng, penalty):
    X, y, weights = rng.normal(size=(30, 4)), rng.normal(size=30), rng.random(30)
    expected = Ridge(alpha=penalty).fit(X, y, sample_weight=weights)
    coefficients, intercept = interpret.weighted_ridge(X, y, weights, penalty)
    np.testing.assert_allclose(coefficients, expected.coef_, rtol=1e-9)
    assert intercept == pytest.approx(expected.intercept_, rel=1e-9)


def test_lime_recovers_a_linear_function(rng):
    w, x = rng.normal(size=4), rng.normal(size=4)
    coefficients, intercept = interpret.lime(lambda p: p @ w - 3.0, x, rng, penalty=0.0)
    np.testing.assert_allclose(coefficients, w, rtol=1e-9)
    assert intercept == pytest.approx(-3.0, rel=1e-9)


def test_lime_with_small_steps_finds_the_gradient(rng):
    f = lambda p: np.sin(p[:, 0]) + p[:, 1] ** 2
    x = np.array([0.4, -1.2])
    coefficients, _ = interpret.lime(f, x, rng, 2000, spread=1e-3, kernel_width=1e-2, penalty=0.0)
    np.testing.assert_allclose(coefficients, [np.cos(0.4), -2.4], atol=1e-3)


def test_lime_documented_draw(rng):
    f = lambda p: np.exp(p[:, 0]) * p[:, 1]
    x = np.array([0.1, 0.9])
    got = interpret.lime(f, x, np.random.default_rng(2), 40, 0.5, 0.8, 0.1)
    points = x + 0.5 * np.random.default_rng(2).standard_normal((40, 2))
    weights = np.exp(-((points - x) ** 2).sum(axis=1) / 0.64)
    expected = Ridge(alpha=0.1).fit(points, f(points), sample_weight=weights)
    np.testing.assert_allclose(got[0], expected.coef_, rtol=1e-9)


def test_permutation_importance_finds_the_used_columns(rng):
    X = rng.normal(size=(300, 4))
    y = X[:, 0] + 2 * X[:, 2]
    before = X.copy()
    drops = interpret.permutation_importance(
        lambda Z: -np.mean((Z[:, 0] + 2 * Z[:, 2] - y) ** 2), X, np.random.default_rng(0), 8
    )
    assert drops.shape == (4, 8)
    np.testing.assert_array_equal(drops[[1, 3]], 0.0)
    # shuffling column j costs 2 w_j^2 var(x_j) on average
    np.testing.assert_allclose(drops.mean(axis=1)[[0, 2]], [2.0, 8.0], rtol=0.2)
    np.testing.assert_array_equal(X, before)


def test_permutation_importance_documented_draws(rng):
    X, w = rng.normal(size=(7, 2)), rng.normal(size=7)
    score = lambda Z: float(w @ (Z[:, 0] - Z[:, 1] ** 2))
    drops = interpret.permutation_importance(score, X, np.random.default_rng(5), 2)
    mirror = np.random.default_rng(5)
    for column in range(2):
        for repeat in range(2):
            Z = X.copy()
            Z[:, column] = X[mirror.permutation(7), column]
            assert drops[column, repeat] == score(X) - score(Z)
