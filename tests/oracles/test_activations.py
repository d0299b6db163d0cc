"""Activations and derivatives of the reference against PyTorch and its autograd, in float64."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dlreference import activations, special
from dlreference.activations import ACTIVATIONS

TORCH = {
    "identity": lambda z: z * 1.0,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "softplus": F.softplus,
    "swish": F.silu,
    "mish": F.mish,
    "gelu": F.gelu,
    "gelu_tanh": lambda z: F.gelu(z, approximate="tanh"),
}


def torch_value_and_slope(function, z):
    z = torch.tensor(np.asarray(z, dtype=np.float64), requires_grad=True)
    value = function(z)
    value.sum().backward()
    return value.detach().numpy(), z.grad.numpy()


def test_every_activation_has_an_oracle():
    assert set(TORCH) == set(ACTIVATIONS)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_value_and_derivative_on_a_dense_grid(name):
    # The grid stops where PyTorch's softplus and GELU begin to lose digits that ours keeps.
    z = np.concatenate([np.linspace(-15.0, 15.0, 3001), [-1e-300, 1e-300]]).reshape(1, -1)
    value, slope = torch_value_and_slope(TORCH[name], z)
    np.testing.assert_allclose(ACTIVATIONS[name].value(z), value, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(ACTIVATIONS[name].derivative(z), slope, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_huge_inputs_give_no_warning_and_the_limits(name):
    z = np.array([-1e4, -800.0, -40.0, 0.0, 40.0, 800.0, 1e4])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        ours = ACTIVATIONS[name].value(z), ACTIVATIONS[name].derivative(z)
    value, slope = torch_value_and_slope(TORCH[name], z)
    np.testing.assert_allclose(ours[0], value, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(ours[1], slope, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("alpha", [0.2, 1.7])
def test_leaky_relu_slope_also_above_one(alpha):
    z = np.linspace(-3.0, 3.0, 13)
    value, slope = torch_value_and_slope(lambda t: F.leaky_relu(t, alpha), z)
    np.testing.assert_allclose(activations.leaky_relu(z, alpha), value, rtol=1e-15)
    np.testing.assert_allclose(activations.d_leaky_relu(z, alpha), slope, rtol=1e-15)


@pytest.mark.parametrize("alpha", [0.2, 1.7])
def test_elu_alpha(alpha):
    z = np.linspace(-3.0, 3.0, 13)
    value, slope = torch_value_and_slope(lambda t: F.elu(t, alpha), z)
    np.testing.assert_allclose(activations.elu(z, alpha), value, rtol=1e-14)
    np.testing.assert_allclose(activations.d_elu(z, alpha), slope, rtol=1e-14)


def test_relu_derivative_is_zero_at_zero():
    np.testing.assert_array_equal(activations.d_relu([-1.0, -0.0, 0.0, 1.0]), [0.0, 0.0, 0.0, 1.0])


@pytest.mark.parametrize("name", ["sigmoid", "softplus", "gelu", "gelu_tanh", "swish", "mish"])
def test_left_tail_keeps_relative_precision(name):
    exact = {
        "sigmoid": math.exp(-30.0),
        "softplus": math.exp(-30.0),
        "swish": -30.0 * math.exp(-30.0),
        "mish": -30.0 * math.exp(-30.0),
        "gelu": -30.0 * 0.5 * math.erfc(30.0 / math.sqrt(2.0)),
        "gelu_tanh": -30.0 * math.exp(-2.0 * math.sqrt(2.0 / math.pi) * (30.0 + 0.044715 * 27000.0)),
    }
    assert float(ACTIVATIONS[name].value(-30.0)) == pytest.approx(exact[name], rel=1e-12)


def test_gelu_refuses_another_approximation():
    with pytest.raises(ValueError, match="approximate"):
        activations.gelu(1.0, "erf")
    with pytest.raises(ValueError, match="approximate"):
        activations.d_gelu(1.0, "erf")


def test_gelu_gap_between_exact_and_tanh_form():
    gap, at = activations.gelu_gap(np.linspace(-6.0, 6.0, 120001))
    assert gap == pytest.approx(4.7e-4, abs=0.05e-4)
    assert abs(at) == pytest.approx(2.70, abs=0.01)


@pytest.mark.parametrize(("name", "peak"), [("sigmoid", 0.25), ("tanh", 1.0)])
def test_derivative_peak(name, peak):
    at, value = activations.derivative_peak(name, np.linspace(-5.0, 5.0, 1001))
    assert at == pytest.approx(0.0, abs=1e-12)
    assert value == pytest.approx(peak, rel=1e-15)


def test_dead_units_and_their_fraction():
    z = np.array([[-1.0, 2.0, 0.0, -3.0], [-2.0, -1.0, 0.0, 4.0]])
    np.testing.assert_array_equal(activations.dead_units(z), [True, False, True, False])
    assert activations.dead_fraction(z) == 0.5


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "gelu"])
def test_gradient_product_is_the_gradient_through_a_chain(name):
    rng = np.random.default_rng(309)
    weights, biases = 1.5 * rng.normal(size=(6, 4)), rng.normal(size=(6, 4))
    x = torch.tensor(rng.normal(size=4), requires_grad=True)
    a, zs = x, []
    for w, b in zip(torch.tensor(weights), torch.tensor(biases), strict=True):
        zs.append(w * a + b)
        a = TORCH[name](zs[-1])
    a.sum().backward()
    z = torch.stack(zs).detach().numpy()
    np.testing.assert_allclose(activations.gradient_product(name, z, weights), x.grad.numpy(), rtol=1e-11, atol=1e-15)
    unweighted = np.prod([ACTIVATIONS[name].derivative(row) for row in z], axis=0)
    np.testing.assert_allclose(activations.gradient_product(name, z), unweighted, rtol=1e-14)


def test_activation_names_the_known_ones():
    with pytest.raises(ValueError, match="relu"):
        activations.activation("rely")


def test_erf_and_normal_distribution():
    x = np.linspace(-6.0, 6.0, 243).reshape(3, -1)
    np.testing.assert_allclose(special.erf(x), torch.erf(torch.tensor(x)).numpy(), rtol=1e-15, atol=1e-15)
    np.testing.assert_allclose(special.erfc(x), torch.erfc(torch.tensor(x)).numpy(), rtol=1e-13)
    normal = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), 1.0)
    np.testing.assert_allclose(special.normal_cdf(x), normal.cdf(torch.tensor(x)).numpy(), rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(special.normal_pdf(x), normal.log_prob(torch.tensor(x)).exp().numpy(), rtol=1e-13)


def test_activations_leave_their_input_alone():
    z = np.linspace(-2.0, 2.0, 9)
    before = z.copy()
    for pair in ACTIVATIONS.values():
        pair.value(z)[...] = 7.0
        pair.derivative(z)[...] = 7.0
    np.testing.assert_array_equal(z, before)
