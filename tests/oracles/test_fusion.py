"""The fusion classifier against the same model in PyTorch: logits, statistics, and every gradient."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dlreference import fusion
from dlreference.lstm import init_lstm

CLOSE = {"rtol": 1e-9, "atol": 1e-11}


def model(rng, vocab=6, d=3, hidden=4, table=2, width=5, classes=3):
    params = {"E": rng.normal(size=(vocab, d)), "w_att": rng.normal(size=hidden), **init_lstm(rng, d, hidden)}
    params |= {"W1": rng.normal(size=(width, hidden + table)), "W2": rng.normal(size=(classes, width))}
    params |= {"gamma": rng.uniform(0.5, 1.5, width), "beta": rng.normal(size=width), "b2": rng.normal(size=classes)}
    return params, {"running_mean": rng.normal(size=width), "running_var": rng.uniform(0.5, 2, width)}


def in_torch(x, tokens, p, state, training, mask):
    batch, hidden = len(tokens), p["w_att"].shape[0]
    lstm = torch.nn.LSTM(p["E"].shape[1], hidden, batch_first=True).double()
    named = {f"{name}_l0": p[f"{short}"] for name, short in zip(
        ("weight_ih", "weight_hh", "bias_ih", "bias_hh"), ("W_ih", "W_hh", "b_ih", "b_hh"), strict=True)}  # fmt: skip
    hs, _ = torch.func.functional_call(lstm, named, (p["E"][tokens], None))
    scores = (hs @ p["w_att"]).masked_fill(tokens == 0, -torch.inf)
    weights = torch.softmax(scores, dim=1)
    f = torch.cat([(weights[..., None] * hs).sum(dim=1), x], dim=1)
    mean, var = torch.tensor(state["running_mean"]).clone(), torch.tensor(state["running_var"]).clone()
    u = F.batch_norm(f @ p["W1"].T, mean, var, p["gamma"], p["beta"], training)
    a = F.relu(u) * (1.0 if mask is None else torch.tensor(mask))
    assert a.shape[0] == batch
    return a @ p["W2"].T + p["b2"], weights, mean, var


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("p_drop", [0.0, 0.4])
def test_against_torch(training, p_drop):
    rng = np.random.default_rng(340)
    params, state = model(rng)
    lengths = np.array([5, 2, 1, 4, 5, 3])
    tokens = np.where(np.arange(5) < lengths[:, None], rng.integers(1, 6, size=(6, 5)), 0)
    x, dlogits = rng.normal(size=(6, 2)), rng.normal(size=(6, 3))
    logits, weights, cache, new = fusion.forward(x, tokens, params, state, training, np.random.default_rng(7), p_drop)
    grads, dx = fusion.backward(dlogits, cache)
    mask = None
    if training and p_drop:
        mask = (np.random.default_rng(7).random((6, 5)) >= p_drop) / (1 - p_drop)
    leaves = {name: torch.tensor(value, requires_grad=True) for name, value in params.items()}
    tx = torch.tensor(x, requires_grad=True)
    expected, attention, mean, var = in_torch(tx, torch.tensor(tokens), leaves, state, training, mask)
    expected.backward(torch.tensor(dlogits))
    np.testing.assert_allclose(logits, expected.detach(), **CLOSE)
    np.testing.assert_allclose(weights, attention.detach(), **CLOSE)
    np.testing.assert_allclose(new["running_mean"], mean, **CLOSE)
    np.testing.assert_allclose(new["running_var"], var, **CLOSE)
    np.testing.assert_allclose(dx, tx.grad, **CLOSE)
    assert grads.keys() == params.keys()
    for name, leaf in leaves.items():
        np.testing.assert_allclose(grads[name], leaf.grad, err_msg=name, **CLOSE)


def test_more_padding_changes_nothing():
    rng = np.random.default_rng(341)
    params, state = model(rng)
    x, tokens = rng.normal(size=(3, 2)), rng.integers(1, 6, size=(3, 4))
    longer = np.concatenate([tokens, np.zeros((3, 3), dtype=int)], axis=1)
    one, two = (fusion.forward(x, t, params, state, False) for t in (tokens, longer))
    np.testing.assert_allclose(one[0], two[0], rtol=1e-13)
    dlogits = rng.normal(size=(3, 3))
    (short, _), (long, _) = fusion.backward(dlogits, one[2]), fusion.backward(dlogits, two[2])
    for name in params:
        np.testing.assert_allclose(short[name], long[name], rtol=1e-10, atol=1e-13, err_msg=name)
    assert not long["E"][0].any()
