"""Central differences of the reference against derivatives known in closed form."""

import numpy as np
import pytest
from dlreference import gradcheck
from dlreference.losses import softmax, softmax_backward


@pytest.fixture
def rng():
    return np.random.default_rng(306)


@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 3), (2, 1, 3)])
def test_numerical_gradient_of_a_smooth_function(rng, shape):
    x = rng.normal(size=shape)
    grad = gradcheck.numerical_gradient(lambda v: float(np.sum(np.sin(v) * v)), x)
    assert grad.shape == shape
    np.testing.assert_allclose(grad, np.cos(x) * x + np.sin(x), rtol=1e-8, atol=1e-9)


def test_numerical_gradient_step_follows_the_scale():
    x = np.array([1e6, -3e4, 1e-3])
    grad = gradcheck.numerical_gradient(lambda v: float(np.sum(v**2)), x)
    np.testing.assert_allclose(grad[:2], 2 * x[:2], rtol=1e-8)


def test_numerical_gradient_leaves_x_and_its_own_copy_as_they_were(rng):
    x = rng.normal(size=(3, 2))
    before = x.copy()
    seen = []

    def f(v):
        seen.append(v)
        return float(np.sum(v**3))

    gradcheck.numerical_gradient(f, x)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(seen[-1], before)
    assert len(seen) == 2 * x.size


def test_numerical_gradients_of_a_dict(rng):
    params = {"W1": rng.normal(size=(2, 3)), "b1": rng.normal(size=2)}
    before = {name: value.copy() for name, value in params.items()}
    grads = gradcheck.numerical_gradients(lambda p: float(np.sum(p["W1"].sum(axis=1) * p["b1"] ** 2)), params)
    assert list(grads) == ["W1", "b1"]
    np.testing.assert_allclose(grads["W1"], np.repeat(params["b1"][:, None] ** 2, 3, axis=1), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(grads["b1"], 2 * params["b1"] * params["W1"].sum(axis=1), rtol=1e-8, atol=1e-9)
    for name in params:
        np.testing.assert_array_equal(params[name], before[name])


def test_numerical_vjp_sees_softmax(rng):
    z, dout = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    analytic = softmax_backward(dout, softmax(z))
    numeric = gradcheck.numerical_vjp(softmax, z, dout)
    np.testing.assert_allclose(numeric, analytic, rtol=1e-7, atol=1e-10)
    assert np.abs(numeric).max() > 0.05


def test_directional_derivative(rng):
    x, v = rng.normal(size=(3, 2)), rng.normal(size=(3, 2))
    slope = gradcheck.directional_derivative(lambda p: float(np.sum(np.exp(p))), x, v)
    assert slope == pytest.approx(float(np.sum(np.exp(x) * v)), rel=1e-8)


def test_central_beats_one_sided_by_orders():
    x = np.array([0.7])
    central = gradcheck.numerical_gradient(lambda v: float(np.exp(v[0])), x)
    one_sided = (np.exp(x + 1e-5) - np.exp(x)) / 1e-5
    assert gradcheck.relative_error(central, np.exp(x)) < 1e-9
    assert gradcheck.relative_error(one_sided, np.exp(x)) > 1e-6


def test_relative_error():
    assert gradcheck.relative_error([1.0, -2.0], [1.0, -2.0]) == 0.0
    assert gradcheck.relative_error([1.0, 2.0], [1.0, 1.0]) == 0.5
    assert gradcheck.relative_error([1e-12], [-1e-12]) == pytest.approx(2e-4)
    assert gradcheck.relative_error([], []) == 0.0
