"""The perceptron with batch normalisation and dropout against PyTorch's autograd in float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dlreference import gradcheck, mlp_norm

WIDTHS = [3, 6, 5, 2]


def torch_net(x, params, state, training, masks):
    for layer in (1, 2):
        x = F.linear(x, params[f"W{layer}"], params[f"b{layer}"])
        mean, var = state[f"running_mean{layer}"], state[f"running_var{layer}"]
        x = F.relu(F.batch_norm(x, mean, var, params[f"gamma{layer}"], params[f"beta{layer}"], training))
        if masks is not None:
            x = x * torch.tensor(masks[layer - 1])
    return F.linear(x, params["W3"], params["b3"])


def draw(rng, batch):
    params, state = mlp_norm.init_net(WIDTHS, rng)
    params = {name: rng.normal(size=value.shape) for name, value in params.items()}
    state = {name: rng.uniform(0.5, 1.5, size=value.shape) for name, value in state.items()}
    return params, state, rng.normal(size=(batch, 3))


@pytest.fixture
def rng():
    return np.random.default_rng(334)


@pytest.mark.parametrize(("training", "p"), [(True, 0.0), (True, 0.4), (False, 0.0), (False, 0.4)])
@pytest.mark.parametrize("batch", [2, 7])
def test_forward_backward_and_running_statistics(rng, training, p, batch):
    params, state, X = draw(rng, batch)
    logits, cache, new_state = mlp_norm.forward(X, params, state, training, rng, p)
    dout = rng.normal(size=logits.shape)
    grads, dX = mlp_norm.backward(dout, cache)
    theirs = {name: torch.tensor(value, requires_grad=True) for name, value in params.items()}
    stats = {name: torch.tensor(value) for name, value in state.items()}
    torch_X = torch.tensor(X, requires_grad=True)
    masks = [block.mask for block in cache.blocks] if training and p else None
    out = torch_net(torch_X, theirs, stats, training, masks)
    out.backward(torch.tensor(dout))
    np.testing.assert_allclose(logits, out.detach(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(dX, torch_X.grad, rtol=1e-9, atol=1e-11)
    assert list(grads) == list(params)
    for name in params:
        np.testing.assert_allclose(grads[name], theirs[name].grad, rtol=1e-9, atol=1e-11, err_msg=name)
    assert list(new_state) == list(state)
    for name in state:
        np.testing.assert_allclose(new_state[name], stats[name], rtol=1e-12, err_msg=name)


def test_gradients_match_central_differences_with_dropout(rng):
    params, state, X = draw(rng, 6)
    y = rng.integers(0, 2, size=6)

    def loss(p):
        return mlp_norm.loss_and_gradients(p, state, X, y, "ce", np.random.default_rng(5), 0.3)[0]

    _, grads, _ = mlp_norm.loss_and_gradients(params, state, X, y, "ce", np.random.default_rng(5), 0.3)
    numeric = gradcheck.numerical_gradients(loss, params, 1e-6)
    for name in params:
        np.testing.assert_allclose(grads[name], numeric[name], rtol=1e-5, atol=1e-8, err_msg=name)


def test_hidden_biases_have_no_gradient_in_training(rng):
    params, state, X = draw(rng, 6)
    _, grads, _ = mlp_norm.loss_and_gradients(params, state, X, rng.integers(0, 2, size=6), "ce")
    np.testing.assert_allclose(grads["b1"], 0.0, atol=1e-14)
    np.testing.assert_allclose(grads["b2"], 0.0, atol=1e-14)
    assert np.abs(grads["b3"]).max() > 1e-3


def test_evaluation_is_deterministic_and_row_by_row(rng):
    params, state, X = draw(rng, 6)
    together = mlp_norm.scores(X, params, state)
    alone = np.concatenate([mlp_norm.scores(row[None], params, state) for row in X])
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    np.testing.assert_array_equal(together, mlp_norm.scores(X, params, state))


def test_dropout_needs_a_generator_in_training(rng):
    params, state, X = draw(rng, 4)
    with pytest.raises(ValueError, match="generator"):
        mlp_norm.forward(X, params, state, True, p=0.5)


def test_init_net_starts_the_norms_as_identities():
    params, state = mlp_norm.init_net(WIDTHS, np.random.default_rng(0))
    assert list(params) == ["W1", "b1", "gamma1", "beta1", "W2", "b2", "gamma2", "beta2", "W3", "b3"]
    assert list(state) == ["running_mean1", "running_var1", "running_mean2", "running_var2"]
    np.testing.assert_array_equal(params["gamma2"], np.ones(5))
    np.testing.assert_array_equal(state["running_var1"], np.ones(6))
