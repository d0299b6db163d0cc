"""RNN, LSTM and GRU of the reference against torch.nn in float64, weights copied over, forward and backward."""

import numpy as np
import pytest
import torch
from dlreference import gru, lstm, rnn
from dlreference.recurrent import RECURRENT_KEYS, init_recurrent, recurrent_parameter_count

RTOL, ATOL = 1e-10, 1e-12

# B, T, D, H
SIZES = {
    "all_different": (3, 5, 4, 6),
    "batch_of_one": (1, 7, 3, 2),
    "one_step": (4, 1, 2, 5),
    "one_unit": (2, 3, 4, 1),
    "one_feature": (2, 6, 1, 3),
}
sizes = pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())


@pytest.fixture
def rng():
    return np.random.default_rng(317)


def draw(rng, *shape):
    """Standard normal numbers that refuse to be written to."""
    x = rng.normal(size=shape)
    x.flags.writeable = False
    return x


def draw_params(rng, gates, size):
    _, _, features, hidden = size
    params = init_recurrent(rng, features, hidden, gates)
    return {name: draw(rng, *value.shape) for name, value in params.items()}


def close(ours, theirs) -> None:
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=RTOL, atol=ATOL)


def leaf(x):
    return torch.tensor(x, dtype=torch.float64, requires_grad=True)


def torch_layer(kind, params):
    """A torch layer of the same sizes, and its parameters in our order, holding our numbers."""
    hidden, features = params["W_hh"].shape[1], params["W_ih"].shape[1]
    layer = kind(features, hidden, batch_first=True, dtype=torch.float64)
    theirs = [layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0]
    with torch.no_grad():
        for tensor, name in zip(theirs, RECURRENT_KEYS, strict=True):
            tensor.copy_(torch.tensor(params[name]))
    return layer, theirs


def check_gradients(dx, dstates, grads, theirs) -> None:
    ours = [dx, *dstates, *(grads[name] for name in RECURRENT_KEYS)]
    for mine, expected in zip(ours, theirs, strict=True):
        close(mine, expected)
    assert set(grads) == set(RECURRENT_KEYS)


@sizes
def test_rnn_forward(rng, size):
    batch, steps, features, hidden = size
    params, x, h0 = draw_params(rng, 1, size), draw(rng, batch, steps, features), draw(rng, batch, hidden)
    layer, _ = torch_layer(torch.nn.RNN, params)
    hs, h_last, _ = rnn.rnn_forward(x, params, h0)
    theirs, their_last = layer(torch.tensor(x), torch.tensor(h0)[None])
    close(hs, theirs)
    close(h_last, their_last[0])


@sizes
def test_rnn_backward(rng, size):
    batch, steps, features, hidden = size
    params, x, h0 = draw_params(rng, 1, size), draw(rng, batch, steps, features), draw(rng, batch, hidden)
    dhs, dh_last = draw(rng, batch, steps, hidden), draw(rng, batch, hidden)
    layer, tensors = torch_layer(torch.nn.RNN, params)
    inputs = [leaf(x), leaf(h0), *tensors]
    out, last = layer(inputs[0], inputs[1][None])
    theirs = torch.autograd.grad((out, last[0]), inputs, (torch.tensor(dhs), torch.tensor(dh_last)))
    dx, dh0, grads = rnn.rnn_backward(dhs, rnn.rnn_forward(x, params, h0)[2], dh_last)
    check_gradients(dx, [dh0], grads, theirs)


@pytest.mark.parametrize("k", [1, 2, 3, 7, 20])
def test_rnn_backward_truncated(rng, k):
    """PyTorch's way: run piece by piece, the state carried on and detached."""
    size = batch, steps, features, hidden = (3, 7, 2, 4)
    params, x, h0 = draw_params(rng, 1, size), draw(rng, batch, steps, features), draw(rng, batch, hidden)
    dhs = draw(rng, batch, steps, hidden)
    layer, tensors = torch_layer(torch.nn.RNN, params)
    inputs = [leaf(x), leaf(h0), *tensors]
    state, outs = inputs[1][None], []
    for start in range(0, steps, k):
        out, state = layer(inputs[0][:, start : start + k], state)
        state = state.detach()
        outs.append(out)
    theirs = torch.autograd.grad(torch.cat(outs, dim=1), inputs, torch.tensor(dhs))
    dx, dh0, grads = rnn.rnn_backward(dhs, rnn.rnn_forward(x, params, h0)[2], truncate=k)
    check_gradients(dx, [dh0], grads, theirs)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_rnn_readout_forward_and_backward(rng, size):
    batch, steps, features, hidden = size
    params, x = draw_params(rng, 1, size), draw(rng, batch, steps, features)
    params |= {"W_hy": draw(rng, 3, hidden), "b_hy": draw(rng, 3)}
    dy = draw(rng, batch, steps, 3)
    layer, tensors = torch_layer(torch.nn.RNN, params)
    inputs = [leaf(x), *tensors, leaf(params["W_hy"]), leaf(params["b_hy"])]
    expected = layer(inputs[0])[0] @ inputs[-2].T + inputs[-1]
    y, _, cache = rnn.rnn_readout_forward(x, params)
    close(y, expected)
    dx, _, grads = rnn.rnn_readout_backward(dy, cache)
    for mine, theirs in zip(
        [dx, *(grads[name] for name in params)],
        torch.autograd.grad(expected, inputs, torch.tensor(dy)),
        strict=True,
    ):
        close(mine, theirs)
    assert set(grads) == set(params)


def test_rnn_step_equals_one_step_of_a_cell(rng):
    size = batch, _, features, hidden = (3, 1, 4, 5)
    params, x, h = draw_params(rng, 1, size), draw(rng, batch, features), draw(rng, batch, hidden)
    cell = torch.nn.RNNCell(features, hidden, dtype=torch.float64)
    with torch.no_grad():
        for name in RECURRENT_KEYS:
            getattr(cell, name.replace("W", "weight").replace("b_", "bias_")).copy_(torch.tensor(params[name]))
    close(rnn.rnn_step(x, h, params), cell(torch.tensor(x), torch.tensor(h)))


def test_rnn_jacobians(rng):
    size = batch, steps, features, hidden = (2, 5, 3, 4)
    params, x, h0 = draw_params(rng, 1, size), draw(rng, batch, steps, features), draw(rng, batch, hidden)
    layer, _ = torch_layer(torch.nn.RNN, params)
    hs, _, _ = rnn.rnn_forward(x, params, h0)
    products = rnn.state_jacobians(hs, params["W_hh"])
    for row in range(batch):
        run = lambda h, row=row: layer(torch.tensor(x[row : row + 1]), h[None, None])[0][0]
        theirs = torch.autograd.functional.jacobian(run, torch.tensor(h0[row]))
        close(products[row], theirs)
        close(rnn.state_jacobian_norms(hs, params["W_hh"])[row], torch.linalg.matrix_norm(theirs, ord=2))
        close(rnn.step_jacobians(hs, params["W_hh"])[row, 0], theirs[0])


@sizes
def test_lstm_forward(rng, size):
    batch, steps, features, hidden = size
    params, x = draw_params(rng, 4, size), draw(rng, batch, steps, features)
    h0, c0 = draw(rng, batch, hidden), draw(rng, batch, hidden)
    layer, _ = torch_layer(torch.nn.LSTM, params)
    hs, (h_last, c_last), _ = lstm.lstm_forward(x, params, (h0, c0))
    theirs, (their_h, their_c) = layer(torch.tensor(x), (torch.tensor(h0)[None], torch.tensor(c0)[None]))
    close(hs, theirs)
    close(h_last, their_h[0])
    close(c_last, their_c[0])


@sizes
def test_lstm_backward(rng, size):
    batch, steps, features, hidden = size
    params, x = draw_params(rng, 4, size), draw(rng, batch, steps, features)
    h0, c0, dh, dc = (draw(rng, batch, hidden) for _ in range(4))
    dhs = draw(rng, batch, steps, hidden)
    layer, tensors = torch_layer(torch.nn.LSTM, params)
    inputs = [leaf(x), leaf(h0), leaf(c0), *tensors]
    out, (h_last, c_last) = layer(inputs[0], (inputs[1][None], inputs[2][None]))
    upstream = torch.tensor(dhs), torch.tensor(dh), torch.tensor(dc)
    theirs = torch.autograd.grad((out, h_last[0], c_last[0]), inputs, upstream)
    dx, dstart, grads = lstm.lstm_backward(dhs, lstm.lstm_forward(x, params, (h0, c0))[2], (dh, dc))
    check_gradients(dx, dstart, grads, theirs)


def test_lstm_forward_and_backward_from_the_zero_state(rng):
    size = batch, steps, features, hidden = (2, 4, 3, 5)
    params, x, dhs = draw_params(rng, 4, size), draw(rng, batch, steps, features), draw(rng, batch, steps, hidden)
    layer, tensors = torch_layer(torch.nn.LSTM, params)
    inputs = [leaf(x), *tensors]
    out, _ = layer(inputs[0])
    hs, _, cache = lstm.lstm_forward(x, params)
    close(hs, out)
    dx, _, grads = lstm.lstm_backward(dhs, cache)
    check_gradients(dx, [], grads, torch.autograd.grad(out, inputs, torch.tensor(dhs)))


def test_lstm_backward_with_gradients_at_every_cell_state(rng):
    size = batch, steps, features, hidden = (3, 5, 2, 4)
    params, x = draw_params(rng, 4, size), draw(rng, batch, steps, features)
    dhs, dcs = draw(rng, batch, steps, hidden), draw(rng, batch, steps, hidden)
    tensors = [leaf(params[name]) for name in RECURRENT_KEYS]
    inputs = [leaf(x), *tensors]
    h = c = torch.zeros(batch, hidden, dtype=torch.float64)
    hs, cs = [], []
    for t in range(steps):
        h, c = torch.lstm_cell(inputs[0][:, t], (h, c), *tensors)
        hs.append(h)
        cs.append(c)
    upstream = torch.tensor(dhs), torch.tensor(dcs)
    theirs = torch.autograd.grad((torch.stack(hs, 1), torch.stack(cs, 1)), inputs, upstream)
    dx, _, grads = lstm.lstm_backward(dhs, lstm.lstm_forward(x, params)[2], dcs=dcs)
    check_gradients(dx, [], grads, theirs)


def test_lstm_step_forward_and_backward(rng):
    size = batch, _, features, hidden = (3, 1, 4, 5)
    params, x = draw_params(rng, 4, size), draw(rng, batch, features)
    h, c, dh, dc = (draw(rng, batch, hidden) for _ in range(4))
    inputs = [leaf(x), leaf(h), leaf(c), *(leaf(params[name]) for name in RECURRENT_KEYS)]
    expected = torch.lstm_cell(inputs[0], inputs[1:3], *inputs[3:])
    state, cache = lstm.lstm_step_forward(x, (h, c), params)
    close(state[0], expected[0])
    close(state[1], expected[1])
    dx, dprevious, grads = lstm.lstm_step_backward((dh, dc), cache)
    theirs = torch.autograd.grad(expected, inputs, (torch.tensor(dh), torch.tensor(dc)))
    check_gradients(dx, dprevious, grads, theirs)


def test_lstm_carries_its_cell_when_the_forget_gate_is_open_and_the_input_gate_shut(rng):
    size = batch, steps, features, hidden = (2, 100, 3, 4)
    params = {name: np.zeros_like(value) for name, value in draw_params(rng, 4, size).items()}
    params["b_ih"][:hidden], params["b_ih"][hidden : 2 * hidden] = -800.0, 800.0
    c0 = draw(rng, batch, hidden)
    _, (_, c_last), _ = lstm.lstm_forward(draw(rng, batch, steps, features), params, (np.zeros_like(c0), c0))
    np.testing.assert_array_equal(c_last, c0)


def test_set_forget_bias_changes_the_second_slice_and_nothing_else(rng):
    params = draw_params(rng, 4, (1, 1, 3, 5))
    changed = lstm.set_forget_bias(params, 1.5)
    forget = np.arange(20) // 5 == 1
    np.testing.assert_array_equal((changed["b_ih"] + changed["b_hh"])[forget], 1.5)
    for name, value in params.items():
        rest = slice(None) if name.startswith("W") else ~forget
        np.testing.assert_array_equal(changed[name][rest], value[rest])
    assert lstm.init_lstm(rng, 3, 5)["b_ih"][5:10].tolist() == [1.0] * 5


@sizes
def test_gru_forward(rng, size):
    batch, steps, features, hidden = size
    params, x, h0 = draw_params(rng, 3, size), draw(rng, batch, steps, features), draw(rng, batch, hidden)
    layer, _ = torch_layer(torch.nn.GRU, params)
    hs, h_last, _ = gru.gru_forward(x, params, h0)
    theirs, their_last = layer(torch.tensor(x), torch.tensor(h0)[None])
    close(hs, theirs)
    close(h_last, their_last[0])


@sizes
def test_gru_backward(rng, size):
    batch, steps, features, hidden = size
    params, x, h0 = draw_params(rng, 3, size), draw(rng, batch, steps, features), draw(rng, batch, hidden)
    dhs, dh_last = draw(rng, batch, steps, hidden), draw(rng, batch, hidden)
    layer, tensors = torch_layer(torch.nn.GRU, params)
    inputs = [leaf(x), leaf(h0), *tensors]
    out, last = layer(inputs[0], inputs[1][None])
    theirs = torch.autograd.grad((out, last[0]), inputs, (torch.tensor(dhs), torch.tensor(dh_last)))
    dx, dh0, grads = gru.gru_backward(dhs, gru.gru_forward(x, params, h0)[2], dh_last)
    check_gradients(dx, [dh0], grads, theirs)


def test_gru_step_forward_and_backward(rng):
    size = batch, _, features, hidden = (3, 1, 4, 5)
    params, x = draw_params(rng, 3, size), draw(rng, batch, features)
    h, dh = draw(rng, batch, hidden), draw(rng, batch, hidden)
    inputs = [leaf(x), leaf(h), *(leaf(params[name]) for name in RECURRENT_KEYS)]
    expected = torch.gru_cell(*inputs)
    h_next, cache = gru.gru_step_forward(x, h, params)
    close(h_next, expected)
    dx, dprevious, grads = gru.gru_step_backward(dh, cache)
    check_gradients(dx, [dprevious], grads, torch.autograd.grad(expected, inputs, torch.tensor(dh)))


def test_init_recurrent_is_reproducible_and_bounded():
    first, second = (init_recurrent(np.random.default_rng(5), 3, 16, 4) for _ in range(2))
    for name in RECURRENT_KEYS:
        np.testing.assert_array_equal(first[name], second[name])
        assert np.abs(first[name]).max() <= 0.25


@pytest.mark.parametrize(("kind", "gates"), [(torch.nn.RNN, 1), (torch.nn.GRU, 3), (torch.nn.LSTM, 4)])
def test_parameter_counts(kind, gates):
    assert recurrent_parameter_count(gates, 4, 32) == sum(p.numel() for p in kind(4, 32).parameters())


def test_parameter_counts_with_one_bias():
    assert lstm.lstm_parameter_count(4, 32, biases=1) == 4736
    assert gru.gru_parameter_count(4, 32, biases=1) == 3552


@pytest.mark.parametrize("forward", [rnn.rnn_forward, lstm.lstm_forward, gru.gru_forward])
def test_states_and_inputs_of_huge_size_do_not_overflow(rng, forward):
    gates = {rnn.rnn_forward: 1, lstm.lstm_forward: 4, gru.gru_forward: 3}[forward]
    params = draw_params(rng, gates, (2, 3, 4, 5))
    with np.errstate(all="raise", under="ignore"):
        hs, _, _ = forward(1e4 * draw(rng, 2, 3, 4), params)
    assert np.isfinite(hs).all()
