"""The multilayer perceptron of the reference against PyTorch's autograd in float64."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dlreference import gradcheck, mlp

RTOL, ATOL = 1e-10, 1e-12
TORCH_ACTIVATIONS = {
    "identity": lambda z: z,
    "relu": F.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
}
WIDTHS = [[3, 2], [4, 5, 1], [3, 7, 5, 2], [2, 6, 5, 4, 3]]


def draw_params(widths, rng):
    return {name: rng.normal(size=shape) for name, shape in mlp.parameter_shapes(widths).items()}


def torch_params(params):
    return {name: torch.tensor(value, requires_grad=True) for name, value in params.items()}


def torch_forward(x, params, names):
    for layer, name in enumerate(names, start=1):
        x = TORCH_ACTIVATIONS[name](F.linear(x, params[f"W{layer}"], params[f"b{layer}"]))
    return x


@pytest.fixture
def rng():
    return np.random.default_rng(304)


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("batch", [1, 6])
@pytest.mark.parametrize("hidden", ["relu", "tanh", "sigmoid", "gelu"])
def test_forward_and_backward_at_any_depth(rng, widths, batch, hidden):
    params, X = draw_params(widths, rng), rng.normal(size=(batch, widths[0]))
    out, cache = mlp.forward(X, params, hidden)
    dout = rng.normal(size=out.shape)
    grads, dX = mlp.backward(dout, cache, params)
    theirs, torch_X = torch_params(params), torch.tensor(X, requires_grad=True)
    torch_out = torch_forward(torch_X, theirs, [hidden] * (len(widths) - 2) + ["identity"])
    torch_out.backward(torch.tensor(dout))
    np.testing.assert_allclose(out, torch_out.detach(), rtol=RTOL, atol=ATOL)
    np.testing.assert_allclose(dX, torch_X.grad, rtol=RTOL, atol=ATOL)
    assert list(grads) == list(params)
    for name in params:
        np.testing.assert_allclose(grads[name], theirs[name].grad, rtol=RTOL, atol=ATOL, err_msg=name)


def test_forward_and_backward_with_one_activation_per_layer(rng):
    names = ["tanh", "relu", "sigmoid"]
    params, X = draw_params([3, 5, 4, 2], rng), rng.normal(size=(6, 3))
    out, cache = mlp.forward(X, params, names)
    dout = rng.normal(size=out.shape)
    grads, dX = mlp.backward(dout, cache, params)
    theirs, torch_X = torch_params(params), torch.tensor(X, requires_grad=True)
    torch_out = torch_forward(torch_X, theirs, names)
    torch_out.backward(torch.tensor(dout))
    np.testing.assert_allclose(out, torch_out.detach(), rtol=RTOL, atol=ATOL)
    np.testing.assert_allclose(dX, torch_X.grad, rtol=RTOL, atol=ATOL)
    for name in params:
        np.testing.assert_allclose(grads[name], theirs[name].grad, rtol=RTOL, atol=ATOL, err_msg=name)


def test_forward_of_one_vector_equals_the_batch_row(rng):
    params, X = draw_params([3, 5, 2], rng), rng.normal(size=(4, 3))
    batched, _ = mlp.forward(X, params, "tanh")
    for row, expected in zip(X, batched, strict=True):
        out, cache = mlp.forward(row, params, "tanh")
        assert out.shape == (2,)
        np.testing.assert_allclose(out, expected, rtol=1e-13)
        grads, dx = mlp.backward(np.ones(2), cache, params)
        assert dx.shape == (3,)
        assert {name: g.shape for name, g in grads.items()} == mlp.parameter_shapes([3, 5, 2])


def test_cache_holds_input_preactivation_and_output_unaliased(rng):
    params, X = draw_params([3, 5, 2], rng), rng.normal(size=(6, 3))
    out, cache = mlp.forward(X, params, "relu")
    np.testing.assert_array_equal(cache.layers[0].a_prev, X)
    np.testing.assert_array_equal(cache.layers[1].a_prev, cache.layers[0].a)
    np.testing.assert_array_equal(cache.layers[1].a, out)
    assert cache.layers[0].z.min() < 0 <= cache.layers[0].a.min()


def test_forward_refuses_a_wrong_number_of_activations(rng):
    with pytest.raises(ValueError, match="2 activations"):
        mlp.forward(np.zeros((1, 3)), draw_params([3, 5, 2], rng), ["relu"])


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("head", ["bce", "ce", "mse"])
def test_heads_loss_and_gradients(rng, batch, head):
    widths = {"bce": [3, 6, 1], "ce": [3, 6, 4], "mse": [3, 6, 2]}[head]
    params, X = draw_params(widths, rng), rng.normal(size=(batch, 3))
    y = {
        "bce": rng.integers(0, 2, size=batch),
        "ce": rng.integers(0, 4, size=batch),
        "mse": rng.normal(size=(batch, 2)),
    }[head]
    loss, grads = mlp.loss_and_gradients(params, X, y, "tanh", head)
    theirs = torch_params(params)
    out = torch_forward(torch.tensor(X), theirs, ["tanh", "identity"])
    torch_loss = {
        "bce": lambda: F.binary_cross_entropy_with_logits(out[:, 0], torch.tensor(y, dtype=torch.float64)),
        "ce": lambda: F.cross_entropy(out, torch.tensor(y)),
        "mse": lambda: F.mse_loss(out, torch.tensor(y)),
    }[head]()
    torch_loss.backward()
    assert loss == pytest.approx(torch_loss.item(), rel=RTOL)
    for name in params:
        np.testing.assert_allclose(grads[name], theirs[name].grad, rtol=RTOL, atol=ATOL, err_msg=name)


def test_mse_head_takes_a_vector_of_targets_for_one_output(rng):
    params, X, y = draw_params([3, 6, 1], rng), rng.normal(size=(5, 3)), rng.normal(size=5)
    out, _ = mlp.forward(X, params)
    assert mlp.head_loss(out, y, "mse")[0] == pytest.approx(np.mean((out[:, 0] - y) ** 2), rel=1e-14)


def test_unknown_heads_are_refused(rng):
    params = draw_params([3, 2], rng)
    with pytest.raises(ValueError, match="head"):
        mlp.head_loss(np.zeros((1, 2)), [0], "hinge")
    with pytest.raises(ValueError, match="no probabilities"):
        mlp.predict_proba(np.zeros((1, 3)), params, head="mse")


def test_gradients_match_central_differences(rng):
    params, X, y = draw_params([3, 5, 4], rng), rng.normal(size=(6, 3)), rng.integers(0, 4, size=6)
    _, grads = mlp.loss_and_gradients(params, X, y, "tanh")
    numeric = gradcheck.numerical_gradients(lambda p: mlp.loss_and_gradients(p, X, y, "tanh")[0], params)
    for name in params:
        assert gradcheck.relative_error(grads[name], numeric[name], floor=1e-4) < 1e-6


@pytest.mark.parametrize("head", ["bce", "ce"])
def test_gradient_descent_matches_torch_sgd(rng, head):
    widths = [2, 5, 1 if head == "bce" else 3]
    params, X = draw_params(widths, rng), rng.normal(size=(20, 2))
    y = rng.integers(0, 2 if head == "bce" else 3, size=20)
    before = {name: value.copy() for name, value in params.items()}
    ours, losses = mlp.gradient_descent(params, X, y, 0.3, 12, "tanh", head)
    theirs = torch_params(params)
    optimizer = torch.optim.SGD(theirs.values(), lr=0.3)
    torch_losses = []
    for step in range(13):
        out = torch_forward(torch.tensor(X), theirs, ["tanh", "identity"])
        loss = (
            F.binary_cross_entropy_with_logits(out[:, 0], torch.tensor(y, dtype=torch.float64))
            if head == "bce"
            else F.cross_entropy(out, torch.tensor(y))
        )
        torch_losses.append(loss.item())
        if step < 12:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    np.testing.assert_allclose(losses, torch_losses, rtol=RTOL)
    for name in params:
        np.testing.assert_allclose(ours[name], theirs[name].detach(), rtol=RTOL, atol=ATOL)
        np.testing.assert_array_equal(params[name], before[name])


def test_predictions_follow_the_probabilities(rng):
    X = rng.normal(size=(9, 3))
    params = draw_params([3, 5, 4], rng)
    probs = mlp.predict_proba(X, params)
    np.testing.assert_allclose(probs.sum(axis=1), 1.0, rtol=1e-14)
    np.testing.assert_array_equal(mlp.predict(X, params), probs.argmax(axis=1))
    params = draw_params([3, 5, 1], rng)
    probs = mlp.predict_proba(X, params, head="bce")
    assert probs.shape == (9,)
    np.testing.assert_array_equal(mlp.predict(X, params, head="bce"), (probs > 0.5).astype(int))
    assert mlp.predict(X, params, head="bce").dtype == np.int64


@pytest.mark.parametrize(
    ("widths", "count"), [([2, 3, 1], 13), ([2, 10, 10, 1], 151), ([2, 4, 4, 4, 1], 57), ([2, 100, 1], 401)]
)
def test_parameter_count_and_shapes(widths, count):
    assert mlp.parameter_count(widths) == count
    modules = [torch.nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
    assert sum(p.numel() for module in modules for p in module.parameters()) == count
    shapes = [tuple(p.shape) for module in modules for p in module.parameters()]
    assert list(mlp.parameter_shapes(widths).values()) == shapes


def test_cache_floats_counts_the_distinct_arrays_of_a_real_cache(rng):
    widths = [3, 5, 4, 2]
    X = rng.normal(size=(6, 3))
    _, cache = mlp.forward(X, draw_params(widths, rng), "relu")
    arrays = {id(array): array.size for layer in cache.layers for array in layer}
    assert mlp.cache_floats(widths, 6) == sum(arrays.values())
    assert mlp.activation_shapes(widths, 6) == [X.shape] + [layer.a.shape for layer in cache.layers]


def test_init_mlp_shapes_zero_biases_and_reproducibility():
    first, second = (mlp.init_mlp([3, 5, 2], np.random.default_rng(1)) for _ in range(2))
    assert {name: value.shape for name, value in first.items()} == mlp.parameter_shapes([3, 5, 2])
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    assert not first["b1"].any()
    assert not first["b2"].any()
    assert mlp.depth(first) == 2


def test_layer_statistics_under_he_initialisation():
    rng = np.random.default_rng(3)
    widths = [400, 400, 400, 10]
    mean, std = mlp.layer_statistics(rng.normal(size=(500, 400)), mlp.init_mlp(widths, rng))
    # For a half-normal of second moment 1: mean 1/sqrt(pi), standard deviation sqrt(1 - 1/pi).
    np.testing.assert_allclose(mean[0], 1 / np.sqrt(np.pi), rtol=0.05)
    np.testing.assert_allclose(std[0], np.sqrt(1 - 1 / np.pi), rtol=0.05)
    assert mean.shape == std.shape == (3,)


def test_collapse_of_a_net_of_identities(rng):
    params, X = draw_params([3, 5, 4, 2], rng), rng.normal(size=(6, 3))
    W, b = mlp.collapse(params)
    np.testing.assert_allclose(X @ W.T + b, mlp.forward(X, params, "identity")[0], rtol=1e-11)


def test_xor_network():
    X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    logits, cache = mlp.forward(X, mlp.xor_network(), "relu")
    np.testing.assert_allclose(logits[:, 0], [-5.0, 5.0, 5.0, -5.0])
    assert np.linalg.matrix_rank(np.diff(cache.layers[0].a, axis=0)) == 2
