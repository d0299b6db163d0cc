"""Attention pooling against PyTorch in float64, with padding and with sequences that are nothing but padding."""

import numpy as np
import pytest
import torch
from dlreference.attention_pooling import attention_pool_backward, attention_pool_forward

RTOL, ATOL = 1e-10, 1e-12


@pytest.fixture
def rng():
    return np.random.default_rng(340)


def mask_of(lengths, steps):
    return None if lengths is None else np.arange(steps) < np.asarray(lengths)[:, None]


@pytest.mark.parametrize(
    ("shape", "lengths"),
    [((3, 5, 4), None), ((3, 5, 4), (5, 2, 1)), ((2, 4, 4), (3, 4)), ((1, 1, 3), (1,)), ((4, 3, 2), (3, 3, 1, 2))],
)
@pytest.mark.parametrize("scale", [1.0, 200.0])
def test_against_autograd(rng, shape, lengths, scale):
    h, w, dpooled = rng.normal(size=shape), scale * rng.normal(size=shape[2]), rng.normal(size=(shape[0], shape[2]))
    mask = mask_of(lengths, shape[1])
    th, tw = (torch.tensor(a, requires_grad=True) for a in (h, w))
    scores = th @ tw
    if mask is not None:
        scores = scores.masked_fill(~torch.tensor(mask), -torch.inf)
    weights = torch.softmax(scores, dim=1)
    pooled = (weights[..., None] * th).sum(dim=1)
    pooled.backward(torch.tensor(dpooled))
    ours, cache = attention_pool_forward(h, w, mask)
    np.testing.assert_allclose(ours, pooled.detach(), rtol=RTOL, atol=ATOL)
    np.testing.assert_allclose(cache.weights, weights.detach(), rtol=RTOL, atol=ATOL)
    dh, dw = attention_pool_backward(dpooled, cache)
    np.testing.assert_allclose(dh, th.grad, rtol=RTOL, atol=scale * ATOL)
    np.testing.assert_allclose(dw, tw.grad, rtol=RTOL, atol=ATOL)


def test_a_sequence_of_padding_is_silent(rng):
    h, w = rng.normal(size=(2, 3, 4)), rng.normal(size=4)
    pooled, cache = attention_pool_forward(h, w, np.array([[0, 0, 0], [1, 0, 1]], dtype=bool))
    assert not pooled[0].any()
    assert not cache.weights[0].any()
    dh, dw = attention_pool_backward(rng.normal(size=(2, 4)), cache)
    assert not dh[0].any()
    assert np.isfinite(dw).all()
    alone = attention_pool_forward(h[1:], w, np.array([[1, 0, 1]], dtype=bool))
    np.testing.assert_allclose(pooled[1:], alone[0], rtol=RTOL)


def test_what_padding_holds_does_not_matter(rng):
    h, w, dpooled = rng.normal(size=(2, 5, 3)), rng.normal(size=3), rng.normal(size=(2, 3))
    mask = mask_of((3, 2), 5)
    other = np.where(mask[..., None], h, 1e3)
    (one, a), (two, b) = attention_pool_forward(h, w, mask), attention_pool_forward(other, w, mask)
    np.testing.assert_array_equal(one, two)
    dh, _ = attention_pool_backward(dpooled, a)
    assert not dh[~mask].any()
    np.testing.assert_array_equal(dh, attention_pool_backward(dpooled, b)[0])


def test_a_zero_query_takes_the_mean(rng):
    h = rng.normal(size=(2, 5, 3))
    np.testing.assert_allclose(attention_pool_forward(h, np.zeros(3))[0], h.mean(axis=1), rtol=RTOL)
