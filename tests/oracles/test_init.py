"""Initialisation of the reference against PyTorch's distributions and the theory of signal propagation."""

import itertools

import numpy as np
import pytest
import torch
from dlreference import init, mlp

FAN_IN, FAN_OUT = 300, 700
TORCH = {
    "xavier_uniform": torch.nn.init.xavier_uniform_,
    "xavier_normal": torch.nn.init.xavier_normal_,
    "he_normal": lambda w: torch.nn.init.kaiming_normal_(w, nonlinearity="relu"),
    "he_uniform": lambda w: torch.nn.init.kaiming_uniform_(w, nonlinearity="relu"),
    "he_normal_fan_out": lambda w: torch.nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"),
}
VARIANCE = {
    "xavier_uniform": 2 / (FAN_IN + FAN_OUT),
    "xavier_normal": 2 / (FAN_IN + FAN_OUT),
    "he_normal": 2 / FAN_IN,
    "he_uniform": 2 / FAN_IN,
    "he_normal_fan_out": 2 / FAN_OUT,
    "small_normal": 1e-4,
}


@pytest.mark.parametrize("name", sorted(VARIANCE))
def test_scheme_shape_mean_and_variance(name):
    W = init.scheme(name)(FAN_IN, FAN_OUT, np.random.default_rng(0))
    assert W.shape == (FAN_OUT, FAN_IN)
    # five standard deviations of a mean of 210,000 draws; the variance of a normal's square is 2 sigma^4
    assert abs(W.mean()) < 5 * np.sqrt(VARIANCE[name] / W.size)
    assert np.mean(W**2) == pytest.approx(VARIANCE[name], rel=5 * np.sqrt(2 / W.size))


@pytest.mark.parametrize("name", sorted(TORCH))
def test_scheme_has_the_variance_of_torch(name):
    torch.manual_seed(0)
    theirs = TORCH[name](torch.empty(FAN_OUT, FAN_IN, dtype=torch.float64)).numpy()
    ours = init.scheme(name)(FAN_IN, FAN_OUT, np.random.default_rng(0))
    assert ours.var() == pytest.approx(theirs.var(), rel=10 * np.sqrt(2 / ours.size))
    if name.endswith("uniform"):
        assert np.abs(ours).max() == pytest.approx(np.abs(theirs).max(), rel=1e-3)


def test_xavier_uniform_fills_its_bound_and_no_more():
    W = init.xavier_uniform(FAN_IN, FAN_OUT, np.random.default_rng(0))
    bound = init.xavier_bound(FAN_IN, FAN_OUT)
    assert bound == np.sqrt(6 / 1000)
    assert 0.999 * bound < np.abs(W).max() <= bound


@pytest.mark.parametrize(("fan_in", "fan_out"), [(5, 5), (3, 7), (7, 3), (1, 4)])
@pytest.mark.parametrize("gain", [1.0, 1.5])
def test_orthogonal_rows_or_columns(fan_in, fan_out, gain):
    W = init.orthogonal(fan_in, fan_out, np.random.default_rng(0), gain)
    assert W.shape == (fan_out, fan_in)
    gram = W @ W.T if fan_out <= fan_in else W.T @ W
    np.testing.assert_allclose(gram, gain**2 * np.eye(min(fan_in, fan_out)), atol=1e-13)


def test_orthogonal_matrices_are_spread_evenly():
    rng = np.random.default_rng(0)
    traces = [np.trace(init.orthogonal(4, 4, rng)) for _ in range(2000)]
    # the trace of a uniformly distributed orthogonal matrix has mean 0 and variance 1
    assert abs(np.mean(traces)) < 5 / np.sqrt(2000)
    assert np.var(traces) == pytest.approx(1.0, rel=0.2)


def test_same_generator_state_gives_the_same_weights():
    for draw in init.SCHEMES.values():
        np.testing.assert_array_equal(draw(3, 4, np.random.default_rng(9)), draw(3, 4, np.random.default_rng(9)))


def test_scheme_names_the_known_ones():
    with pytest.raises(ValueError, match="he_normal"):
        init.scheme("kaiming")


def draw_net(name, widths, rng):
    return [init.scheme(name)(a, b, rng) for a, b in itertools.pairwise(widths)]


@pytest.mark.parametrize(("name", "per_layer"), [("he_normal", 1.0), ("xavier_normal", 0.5)])
def test_forward_second_moment_through_twenty_relu_layers(name, per_layer):
    rng = np.random.default_rng(1)
    factors = []
    for _ in range(5):
        moments = init.forward_second_moments(rng.normal(size=(100, 256)), draw_net(name, [256] * 21, rng))
        assert moments.shape == (21,)
        factors.append((moments[-1] / moments[0]) ** (1 / 20))
    # A layer's log-moment has a standard deviation near sqrt(5 / 256) = 0.14; over 20 layers and 5 nets 0.014 a layer.
    assert np.mean(factors) == pytest.approx(per_layer, rel=0.07)


@pytest.mark.parametrize(("name", "per_layer"), [("he_normal_fan_out", 1.0), ("he_normal", 0.75)])
def test_backward_second_moment_follows_fan_out(name, per_layer):
    rng = np.random.default_rng(2)
    widths = [400, 300] * 6
    if name == "he_normal":
        widths = [1600, 1200, 900]
    x, weights = rng.normal(size=(50, widths[0])), draw_net(name, widths, rng)
    moments = init.backward_second_moments(x, weights, rng.normal(size=(50, widths[-1])))
    assert moments.shape == (len(widths),)
    assert (moments[0] / moments[-1]) ** (1 / (len(widths) - 1)) == pytest.approx(per_layer, rel=0.1)


def test_moments_are_those_of_the_multilayer_perceptron():
    rng = np.random.default_rng(3)
    params = mlp.init_mlp([4, 6, 5, 3], rng)
    x, dout = rng.normal(size=(7, 4)), rng.normal(size=(7, 3))
    _, cache = mlp.forward(x, params, ["relu"] * 3)
    _, signals = mlp.backward_signals(dout, cache, params)
    weights = [params[name] for name in ("W1", "W2", "W3")]
    forward = [np.mean(x**2)] + [np.mean(layer.a**2) for layer in cache.layers]
    np.testing.assert_allclose(init.forward_second_moments(x, weights), forward, rtol=1e-13)
    backward = [np.mean(signal**2) for signal in signals]
    np.testing.assert_allclose(init.backward_second_moments(x, weights, dout), backward, rtol=1e-13)


def test_output_bias_starts_a_sigmoid_at_p():
    p = np.array([0.01, 0.3, 0.5, 0.99])
    np.testing.assert_allclose(torch.sigmoid(torch.tensor(init.output_bias(p))), p, rtol=1e-14)


def test_zero_weights_keep_hidden_units_identical():
    rng = np.random.default_rng(4)
    params = mlp.init_mlp([3, 4, 2], rng, "zeros")
    trained, _ = mlp.gradient_descent(params, rng.normal(size=(10, 3)), rng.integers(0, 2, 10), 0.5, 20, "sigmoid")
    assert np.ptp(trained["W1"], axis=0).max() == 0.0
    assert np.ptp(trained["W2"], axis=1).max() == 0.0
