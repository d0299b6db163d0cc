"""The prerequisites of the reference against PyTorch: derivatives, distributions, distances."""

import numpy as np
import pytest
import torch
from dlreference import prerequisites as pre


@pytest.fixture
def rng():
    return np.random.default_rng(300)


def test_sine_of_product_against_autograd(rng):
    x, y = 3 * rng.normal(size=7), rng.normal(size=7)
    tx, ty = torch.tensor(x, requires_grad=True), torch.tensor(y, requires_grad=True)
    f = torch.sin(tx**2 * ty)
    f.sum().backward()
    for ours, theirs in zip(pre.sine_of_product(x, y), (f.detach(), tx.grad, ty.grad), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_gradient_descent_against_sgd(rng):
    A, start = rng.normal(size=(3, 3)), rng.normal(size=3)
    w = torch.tensor(start.copy(), requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.05)
    for _ in range(6):
        optimizer.zero_grad()
        (torch.tensor(A) @ w).square().sum().backward()
        optimizer.step()
    ours = pre.gradient_descent(lambda p: 2 * A.T @ (A @ p), start, 0.05, 6)
    np.testing.assert_allclose(ours, w.detach(), rtol=1e-12)
    np.testing.assert_array_equal(pre.gradient_descent(lambda p: 2 * p, start, 0.05, 0), start)


def test_mean_and_variance_of_a_uniform_variable(rng):
    values = rng.normal(size=6)
    mean, variance = pre.mean_and_variance(values, np.full(6, 1 / 6))
    assert mean == pytest.approx(values.mean(), rel=1e-13)
    assert variance == pytest.approx(float(torch.tensor(values).var(correction=0)), rel=1e-13)


def test_entropy_and_divergence_against_torch_distributions(rng):
    p, q = rng.dirichlet(np.ones(5)), rng.dirichlet(np.ones(5))
    tp, tq = (torch.distributions.Categorical(probs=torch.tensor(v)) for v in (p, q))
    assert pre.entropy(p) == pytest.approx(float(tp.entropy()), rel=1e-12)
    assert pre.kl_divergence(p, q) == pytest.approx(float(torch.distributions.kl_divergence(tp, tq)), rel=1e-10)


def test_impossible_outcomes():
    assert pre.entropy([0.0, 1.0]) == 0.0
    assert pre.kl_divergence([0.0, 1.0], [0.5, 0.5]) == pytest.approx(np.log(2), rel=1e-15)
    assert pre.kl_divergence([0.5, 0.5], [0.0, 1.0]) == np.inf
    assert pre.kl_divergence([0.0, 1.0], [0.0, 1.0]) == 0.0


def test_squared_distances_against_cdist(rng):
    A, B = rng.normal(size=(4, 3)), rng.normal(size=(6, 3))
    theirs = torch.cdist(torch.tensor(A), torch.tensor(B), compute_mode="donot_use_mm_for_euclid_dist") ** 2
    np.testing.assert_allclose(pre.squared_distances(A, B), theirs, rtol=1e-12)
    np.testing.assert_allclose(pre.squared_distances(A + 1e6, B + 1e6), theirs, rtol=1e-8)
