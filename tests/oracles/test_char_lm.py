"""The character model of the reference: gradients against PyTorch, counts against a direct reading of the formula."""

from collections import Counter

import numpy as np
import pytest
import torch
from dlreference.char_lm import (
    char_lm_bits,
    char_lm_gradients,
    char_lm_logits,
    char_lm_sample,
    ngram_bits,
    ngram_probs,
)

V, H = 5, 4


@pytest.fixture
def rng():
    return np.random.default_rng(336)


def draw_params(rng):
    shapes = {
        "W_ih": (3 * H, V),
        "W_hh": (3 * H, H),
        "b_ih": (3 * H,),
        "b_hh": (3 * H,),
        "W_out": (V, H),
        "b_out": (V,),
    }
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def torch_model(params):
    """The same model in torch, and its parameters by our names."""
    layer, head = torch.nn.GRU(V, H, batch_first=True, dtype=torch.float64), torch.nn.Linear(H, V, dtype=torch.float64)
    theirs = {"W_ih": layer.weight_ih_l0, "W_hh": layer.weight_hh_l0, "b_ih": layer.bias_ih_l0}
    theirs |= {"b_hh": layer.bias_hh_l0, "W_out": head.weight, "b_out": head.bias}
    with torch.no_grad():
        for name, tensor in theirs.items():
            tensor.copy_(torch.tensor(params[name]))
    return layer, head, theirs


@pytest.mark.parametrize(("batch", "steps"), [(3, 6), (1, 4), (2, 1)])
def test_loss_and_gradients_with_a_carried_state(rng, batch, steps):
    params, h0 = draw_params(rng), rng.normal(size=(batch, H))
    inputs, targets = rng.integers(0, V, size=(2, batch, steps))
    loss, grads, last, dh0 = char_lm_gradients(params, inputs, targets, h0)
    layer, head, theirs = torch_model(params)
    state = torch.tensor(h0[None], requires_grad=True)
    one_hot = torch.nn.functional.one_hot(torch.tensor(inputs), V).to(torch.float64)
    hs, h_last = layer(one_hot, state)
    their_loss = torch.nn.functional.cross_entropy(head(hs).reshape(-1, V), torch.tensor(targets).reshape(-1))
    their_loss.backward()
    np.testing.assert_allclose(loss, their_loss.item(), rtol=1e-12)
    np.testing.assert_allclose(last, h_last[0].detach().numpy(), rtol=1e-11)
    np.testing.assert_allclose(dh0, state.grad[0].numpy(), rtol=1e-9, atol=1e-12)
    assert grads.keys() == theirs.keys()
    for name, tensor in theirs.items():
        np.testing.assert_allclose(grads[name], tensor.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_reading_in_two_windows_is_reading_in_one(rng):
    params, ids = draw_params(rng), rng.integers(0, V, size=(2, 9))
    whole, end = char_lm_logits(ids, None, params)
    first, state = char_lm_logits(ids[:, :4], None, params)
    second, last = char_lm_logits(ids[:, 4:], state, params)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, rtol=1e-12)
    np.testing.assert_allclose(last, end, rtol=1e-12)


def test_bits_are_the_mean_cross_entropy_after_the_warm_up(rng):
    params, ids = draw_params(rng), rng.integers(0, V, size=40)
    logits, _ = char_lm_logits(ids[None, :-1], None, params)
    theirs = torch.nn.functional.cross_entropy(torch.tensor(logits[0, 6:]), torch.tensor(ids[7:])).item() / np.log(2)
    for chunk in (1, 6, 1000):
        np.testing.assert_allclose(char_lm_bits(ids, params, 7, chunk), theirs, rtol=1e-12)


def witten_bell(ids, context, symbol):
    """The formula read directly, for one context (a tuple) and symbol."""
    shorter = 1 / V if not context else witten_bell(ids, context[1:], symbol)
    k = len(context)
    followers = Counter(ids[i + k] for i in range(len(ids) - k) if tuple(ids[i : i + k]) == context)
    if not followers:
        return shorter
    return (followers[symbol] + len(followers) * shorter) / (followers.total() + len(followers))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_counts_with_smoothing(rng, n):
    ids = np.minimum(rng.integers(0, V, size=30), rng.integers(0, V, size=30))
    probs = ngram_probs(ids, n, V)
    assert probs.shape == (V,) * n
    np.testing.assert_allclose(probs.sum(axis=-1), 1.0, rtol=1e-12)
    for index in np.ndindex(probs.shape):
        assert probs[index] == pytest.approx(witten_bell(ids.tolist(), index[:-1], index[-1]), rel=1e-12)
    tail = rng.integers(0, V, size=20)
    wanted = [-np.log2(probs[tuple(tail[i - n + 1 : i + 1])]) for i in range(4, 20)]
    assert ngram_bits(probs, tail, 4) == pytest.approx(np.mean(wanted), rel=1e-12)


def test_no_order_below_one():
    with pytest.raises(ValueError, match="at least 1"):
        ngram_probs([0, 1], 0, 2)


def test_samples_follow_the_probabilities(rng):
    params = draw_params(rng)
    logits = char_lm_logits([[1, 2]], None, params)[0][0, -1]
    p = torch.softmax(torch.tensor(logits / 0.7), dim=0).numpy()
    first = [char_lm_sample([1, 2], 1, 0.7, params, rng)[0] for _ in range(4000)]
    # Six standard deviations of a share of 4,000.
    np.testing.assert_allclose(np.bincount(first, minlength=V) / 4000, p, atol=6 * 0.5 / np.sqrt(4000))


def test_temperature_zero_takes_the_largest_and_draws_nothing(rng):
    params = draw_params(rng)
    before = rng.bit_generator.state
    written = char_lm_sample([3], 6, 0.0, params, rng)
    assert rng.bit_generator.state == before
    ids = np.concatenate([[3], written])
    logits, _ = char_lm_logits(ids[None, :-1], None, params)
    np.testing.assert_array_equal(written, logits[0].argmax(axis=1))
