"""Batch and layer normalisation of the reference against PyTorch in float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dlreference import gradcheck, norm

RTOL, ATOL = 1e-10, 1e-12
SHAPES = [(7, 3), (2, 5), (4, 3, 5, 6), (1, 2, 3, 4), (2, 5, 1, 1)]


def close(ours, theirs) -> None:
    np.testing.assert_allclose(ours, np.asarray(theirs), rtol=RTOL, atol=ATOL)


def draw(rng, shape):
    """Inputs off centre, scale and shift of mixed signs, running statistics of their own, an upstream gradient."""
    channels = shape[1]
    state = {"running_mean": rng.normal(size=channels), "running_var": rng.uniform(0.5, 2.0, size=channels)}
    x = 5.0 + 3.0 * rng.normal(size=shape)
    return x, rng.normal(size=channels), rng.normal(size=channels), state, rng.normal(size=shape)


def torch_batch_norm(x, gamma, beta, state, training, dout, **options):
    tensors = [torch.tensor(v, requires_grad=True) for v in (x, gamma, beta)]
    mean, var = torch.tensor(state["running_mean"]), torch.tensor(state["running_var"])
    out = F.batch_norm(tensors[0], mean, var, tensors[1], tensors[2], training, **options)
    out.backward(torch.tensor(dout))
    return out.detach(), [t.grad for t in tensors], mean, var


@pytest.fixture
def rng():
    return np.random.default_rng(310)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_forward_backward_and_running_statistics(rng, shape, training):
    x, gamma, beta, state, dout = draw(rng, shape)
    before = {name: value.copy() for name, value in state.items()}
    out, cache, new_state = norm.batch_norm_forward(x, gamma, beta, state, training)
    grads = norm.batch_norm_backward(dout, cache)
    torch_out, torch_grads, mean, var = torch_batch_norm(x, gamma, beta, state, training, dout)
    close(out, torch_out)
    for ours, theirs in zip(grads, torch_grads, strict=True):
        close(ours, theirs)
    close(new_state["running_mean"], mean)
    close(new_state["running_var"], var)
    for name, value in before.items():
        np.testing.assert_array_equal(state[name], value)


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_momentum_and_eps(rng, training):
    x, gamma, beta, state, dout = draw(rng, (6, 3))
    out, _, new_state = norm.batch_norm_forward(x, gamma, beta, state, training, momentum=0.3, eps=0.5)
    torch_out, _, mean, var = torch_batch_norm(x, gamma, beta, state, training, dout, momentum=0.3, eps=0.5)
    close(out, torch_out)
    close(new_state["running_mean"], mean)
    close(new_state["running_var"], var)


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2, 5)])
def test_batch_norm_training_statistics_of_the_output(rng, shape):
    x = draw(rng, shape)[0]
    out, _, _ = norm.batch_norm_forward(x, np.ones(3), np.zeros(3), norm.batch_norm_init(3), True)
    axes = (0, *range(2, len(shape)))
    var = x.var(axis=axes)
    np.testing.assert_allclose(out.mean(axis=axes), 0.0, atol=1e-13)
    np.testing.assert_allclose(out.var(axis=axes), var / (var + 1e-5), rtol=1e-12)


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2, 5)])
def test_batch_norm_input_gradient_sums_to_zero_over_the_batch(rng, shape):
    x, gamma, beta, state, dout = draw(rng, shape)
    _, cache, _ = norm.batch_norm_forward(x, gamma, beta, state, True)
    dx, _, _ = norm.batch_norm_backward(dout, cache)
    np.testing.assert_allclose(dx.sum(axis=(0, *range(2, len(shape)))), 0.0, atol=1e-12)
    assert np.abs(dx).max() > 1e-2


def test_batch_norm_backward_matches_central_differences(rng):
    x, gamma, beta, state, dout = draw(rng, (5, 3))
    _, cache, _ = norm.batch_norm_forward(x, gamma, beta, state, True)
    numeric = gradcheck.numerical_vjp(lambda v: norm.batch_norm_forward(v, gamma, beta, state, True)[0], x, dout)
    np.testing.assert_allclose(norm.batch_norm_backward(dout, cache)[0], numeric, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1)])
def test_batch_norm_of_one_value_per_channel(rng, shape):
    x, gamma, beta, state, _ = draw(rng, shape)
    with pytest.raises(ValueError, match="more than one value"):
        norm.batch_norm_forward(x, gamma, beta, state, True)
    out, _, _ = norm.batch_norm_forward(x, gamma, beta, state, False)
    close(out, F.batch_norm(*(torch.tensor(v) for v in (x, state["running_mean"], state["running_var"], gamma, beta))))


def test_running_statistics_after_several_batches_in_closed_form(rng):
    module = torch.nn.BatchNorm1d(3, dtype=torch.float64)
    state, means, variances = norm.batch_norm_init(3), [], []
    for size in (4, 9, 2, 5):
        x = 2.0 + rng.normal(size=(size, 3))
        _, _, state = norm.batch_norm_forward(x, np.ones(3), np.zeros(3), state, True)
        module(torch.tensor(x))
        means.append(x.mean(axis=0))
        variances.append(x.var(axis=0, ddof=1))
    close(state["running_mean"], module.running_mean)
    close(state["running_var"], module.running_var)
    close(state["running_mean"], norm.running_average(np.array(means), np.zeros(3)))
    close(state["running_var"], norm.running_average(np.array(variances), np.ones(3)))


def test_fold_batch_norm_into_a_linear_layer(rng):
    x, gamma, beta, state, _ = draw(rng, (1, 4))
    W, b, x = rng.normal(size=(4, 3)), rng.normal(size=4), rng.normal(size=(6, 3))
    expected, _, _ = norm.batch_norm_forward(x @ W.T + b, gamma, beta, state, False)
    folded_W, folded_b = norm.fold_batch_norm(W, b, gamma, beta, state)
    close(x @ folded_W.T + folded_b, expected)


def test_fold_batch_norm_into_a_convolution(rng):
    _, gamma, beta, state, _ = draw(rng, (1, 4))
    W, b = rng.normal(size=(4, 2, 3, 3)), rng.normal(size=4)
    x = torch.tensor(rng.normal(size=(2, 2, 6, 5)))
    convolved = F.conv2d(x, torch.tensor(W), torch.tensor(b)).numpy()
    expected, _, _ = norm.batch_norm_forward(convolved, gamma, beta, state, False)
    folded_W, folded_b = norm.fold_batch_norm(W, b, gamma, beta, state)
    close(F.conv2d(x, torch.tensor(folded_W), torch.tensor(folded_b)), expected)


@pytest.mark.parametrize("shape", [(5,), (7, 3), (1, 4), (2, 3, 5), (2, 1, 3, 4)])
def test_layer_norm_forward_backward(rng, shape):
    x, dout = 5.0 + 3.0 * rng.normal(size=shape), rng.normal(size=shape)
    gamma, beta = rng.normal(size=shape[-1]), rng.normal(size=shape[-1])
    out, cache = norm.layer_norm_forward(x, gamma, beta)
    grads = norm.layer_norm_backward(dout, cache)
    tensors = [torch.tensor(v, requires_grad=True) for v in (x, gamma, beta)]
    torch_out = F.layer_norm(tensors[0], shape[-1:], tensors[1], tensors[2], eps=1e-5)
    torch_out.backward(torch.tensor(dout))
    close(out, torch_out.detach())
    for ours, tensor in zip(grads, tensors, strict=True):
        close(ours, tensor.grad)
    np.testing.assert_allclose(grads[0].sum(axis=-1), 0.0, atol=1e-12)


def test_layer_norm_eps_and_rows_of_one_value(rng):
    x = np.full((2, 3), 4.0)
    out, cache = norm.layer_norm_forward(x, np.ones(3), np.array([1.0, -2.0, 0.5]), eps=0.1)
    close(out, np.tile([1.0, -2.0, 0.5], (2, 1)))
    dout = rng.normal(size=(2, 3))
    close(norm.layer_norm_backward(dout, cache)[0], (dout - dout.mean(axis=1, keepdims=True)) / np.sqrt(0.1))
