"""Attention of the reference against PyTorch in float64: every layer forward and backward, masks of every shape."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dlreference import attention, positions

RTOL, ATOL = 1e-10, 1e-12

# leading axes, Tq, Tk, dk, dv
SIZES = {
    "self": ((2, 3), 5, 5, 4, 6),
    "cross": ((3,), 4, 7, 5, 2),
    "one_query": ((2, 1), 1, 6, 3, 4),
    "one_key": ((1,), 5, 1, 2, 3),
    "no_batch": ((), 3, 4, 2, 5),
}
sizes = pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())


@pytest.fixture
def rng():
    return np.random.default_rng(321)


def draw(rng, *shape):
    """Standard normal numbers that refuse to be written to."""
    x = rng.normal(size=shape)
    x.flags.writeable = False
    return x


def draw_qkv(rng, size):
    lead, n_queries, n_keys, d_key, d_value = size
    return draw(rng, *lead, n_queries, d_key), draw(rng, *lead, n_keys, d_key), draw(rng, *lead, n_keys, d_value)


def close(ours, theirs) -> None:
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=RTOL, atol=ATOL)


def leaf(x):
    return torch.tensor(x, dtype=torch.float64, requires_grad=True)


def check_attention(rng, qkv, mask=None, bias=None) -> None:
    """Output and gradients against scaled_dot_product_attention; its mask has the same polarity."""
    inputs = [leaf(x) for x in qkv]
    given = mask if bias is None else bias if mask is None else np.where(mask, bias, -np.inf)
    expected = F.scaled_dot_product_attention(*inputs, None if given is None else torch.tensor(given))
    dout = draw(rng, *expected.shape)
    out, cache = attention.attention_forward(*qkv, mask=mask, bias=bias)
    close(out, expected)
    theirs = torch.autograd.grad(expected, inputs, torch.tensor(dout))
    for mine, other in zip(attention.attention_backward(dout, cache), theirs, strict=True):
        close(mine, other)


@sizes
def test_attention_forward_and_backward(rng, size):
    check_attention(rng, draw_qkv(rng, size))


@sizes
def test_attention_forward_and_backward_masked(rng, size):
    lead, n_queries, n_keys, *_ = size
    mask = rng.random((*lead, n_queries, n_keys)) < 0.6
    mask[..., 0] = True
    check_attention(rng, draw_qkv(rng, size), mask=mask)


def test_attention_forward_and_backward_causal(rng):
    check_attention(rng, draw_qkv(rng, SIZES["self"]), mask=attention.causal_mask(5))


def test_attention_forward_and_backward_with_bias_and_mask(rng):
    qkv = draw_qkv(rng, ((2, 3), 5, 5, 4, 6))
    check_attention(rng, qkv, bias=positions.alibi_bias(3, 5, causal=False))
    check_attention(rng, qkv, bias=positions.alibi_bias(3, 5, causal=True))
    check_attention(rng, qkv, mask=attention.causal_mask(5), bias=draw(rng, 3, 5, 5))


def test_attention_weights(rng):
    q, k, v = draw_qkv(rng, SIZES["cross"])
    out, weights = attention.scaled_dot_product_attention(q, k, v)
    close(weights, torch.softmax(torch.tensor(q) @ torch.tensor(k).transpose(-1, -2) / 5**0.5, dim=-1))
    np.testing.assert_allclose(weights.sum(axis=-1), 1.0, rtol=0, atol=1e-15)
    close(out, F.scaled_dot_product_attention(*map(torch.tensor, (q, k, v))))


def test_attention_forward_and_backward_of_a_fully_masked_row(rng):
    """A query with nothing to look at answers zero and sends no gradient; the others are as if it were not there."""
    q, k, v = draw_qkv(rng, SIZES["cross"])
    mask = np.ones((3, 4, 7), dtype=bool)
    mask[1, 2] = False
    out, cache = attention.attention_forward(q, k, v, mask)
    assert not out[1, 2].any()
    assert not cache.weights[1, 2].any()
    dout = draw(rng, *out.shape)
    dq, _, _ = attention.attention_backward(dout, cache)
    assert not dq[1, 2].any()
    check_attention(rng, (q, k, v), mask=mask)


def test_attention_survives_scores_of_1e4(rng):
    q, k, v = (1e2 * x for x in draw_qkv(rng, SIZES["self"]))
    with np.errstate(all="raise", under="ignore"):
        attention.attention_forward(q, k, v, attention.causal_mask(5))
    check_attention(rng, (q, k, v))


def test_attention_forward_ignores_the_future_exactly(rng):
    q, k, v = draw_qkv(rng, SIZES["self"])
    changed_k, changed_v = k.copy(), v.copy()
    changed_k[..., 3:, :] += 5.0
    changed_v[..., 3:, :] -= 5.0
    out, weights = attention.scaled_dot_product_attention(q, k, v, attention.causal_mask(5))
    changed, _ = attention.scaled_dot_product_attention(q, changed_k, changed_v, attention.causal_mask(5))
    np.testing.assert_array_equal(changed[..., :3, :], out[..., :3, :])
    assert not np.triu(weights, 1).any()


def test_causal_mask():
    np.testing.assert_array_equal(attention.causal_mask(3), [[1, 0, 0], [1, 1, 0], [1, 1, 1]])
    np.testing.assert_array_equal(attention.causal_mask(2, 4), np.tril(np.ones((2, 4), dtype=bool)))
    np.testing.assert_array_equal(attention.causal_mask(2, 4, offset=2), [[1, 1, 1, 0], [1, 1, 1, 1]])


def test_padding_mask():
    np.testing.assert_array_equal(attention.padding_mask([2, 0, 3], 3), [[[1, 1, 0]], [[0, 0, 0]], [[1, 1, 1]]])


def test_split_and_merge_heads(rng):
    x = draw(rng, 2, 5, 12)
    heads = attention.split_heads(x, 3)
    for h in range(3):
        np.testing.assert_array_equal(heads[:, h], x[:, :, 4 * h : 4 * h + 4])
    np.testing.assert_array_equal(attention.merge_heads(heads), x)
    with pytest.raises(ValueError, match="not a multiple"):
        attention.split_heads(x, 5)


MHA_NAMES = ("W_q", "W_k", "W_v", "W_o", "b_q", "b_k", "b_v", "b_o")


def draw_multi_head_params(rng, d_model, bias=True):
    shapes = [(d_model, d_model)] * 4 + [(d_model,)] * 4
    drawn = {name: 0.5 * draw(rng, *shape) for name, shape in zip(MHA_NAMES, shapes, strict=True)}
    return drawn if bias else {name: value for name, value in drawn.items() if name.startswith("W")}


def torch_multi_head(params, n_heads):
    """torch's layer holding our numbers, and a function that cuts its packed gradients into ours."""
    d_model, bias = len(params["W_q"]), "b_q" in params
    layer = torch.nn.MultiheadAttention(d_model, n_heads, bias=bias, batch_first=True, dtype=torch.float64)
    packed = {"in_proj_weight": ("W_q", "W_k", "W_v"), "out_proj.weight": ("W_o",)}
    if bias:
        packed |= {"in_proj_bias": ("b_q", "b_k", "b_v"), "out_proj.bias": ("b_o",)}
    tensors = dict(layer.named_parameters())
    with torch.no_grad():
        for name, parts in packed.items():
            tensors[name].copy_(torch.tensor(np.concatenate([params[part] for part in parts])))

    def unpack(grads):
        return {
            part: grad
            for parts, whole in zip(packed.values(), grads, strict=True)
            for part, grad in zip(parts, whole.chunk(len(parts)), strict=True)
        }

    return layer, [tensors[name] for name in packed], unpack


def check_multi_head(rng, n_heads, d_model, shapes, bias=True, mask=None, **torch_masks) -> None:
    params = draw_multi_head_params(rng, d_model, bias)
    qkv = [draw(rng, *shape) for shape in shapes]
    layer, tensors, unpack = torch_multi_head(params, n_heads)
    inputs = [leaf(x) for x in qkv]
    expected, weights = layer(*inputs, average_attn_weights=False, **torch_masks)
    out, cache = attention.multi_head_attention_forward(*qkv, params, n_heads, mask)
    close(out, expected)
    close(cache.attention.weights, weights)
    dout = draw(rng, *out.shape)
    theirs = torch.autograd.grad(expected, inputs + tensors, torch.tensor(dout))
    *dinputs, grads = attention.multi_head_attention_backward(dout, cache)
    for mine, other in zip(dinputs, theirs[:3], strict=True):
        close(mine, other)
    their_grads = unpack(theirs[3:])
    assert set(grads) == set(params)
    for name in params:
        close(grads[name], their_grads[name])


@pytest.mark.parametrize("n_heads", [1, 2, 6])
def test_multi_head_attention_forward_and_backward(rng, n_heads):
    check_multi_head(rng, n_heads, 6, [(2, 4, 6)] * 3)


def test_multi_head_attention_forward_and_backward_cross(rng):
    check_multi_head(rng, 3, 12, [(2, 4, 12), (2, 7, 12), (2, 7, 12)])


def test_multi_head_attention_forward_and_backward_batch_of_one_single_token(rng):
    check_multi_head(rng, 2, 4, [(1, 1, 4)] * 3)


def test_multi_head_attention_forward_and_backward_without_bias(rng):
    check_multi_head(rng, 2, 6, [(3, 5, 6)] * 3, bias=False)


def test_multi_head_attention_forward_and_backward_causal(rng):
    mask = attention.causal_mask(5)
    # torch's layer, unlike its function, wants True where attention is blocked.
    check_multi_head(rng, 2, 6, [(3, 5, 6)] * 3, mask=mask, attn_mask=torch.tensor(~mask))


def test_multi_head_attention_forward_and_backward_padding(rng):
    mask = attention.padding_mask([5, 2, 4], 5)
    check_multi_head(rng, 2, 6, [(3, 5, 6)] * 3, mask=mask, key_padding_mask=torch.tensor(~mask[:, 0]))


def test_multi_head_attention_forward_and_backward_mask_per_head(rng):
    mask = rng.random((3, 2, 5, 5)) < 0.6
    mask[..., 0] = True
    check_multi_head(rng, 2, 6, [(3, 5, 6)] * 3, mask=mask, attn_mask=torch.tensor(~mask).flatten(0, 1))


def test_self_attention_forward_and_backward(rng):
    params, x, dout = draw_multi_head_params(rng, 6), draw(rng, 3, 5, 6), draw(rng, 3, 5, 6)
    layer, tensors, unpack = torch_multi_head(params, 3)
    x_tensor = leaf(x)
    expected, _ = layer(x_tensor, x_tensor, x_tensor)
    out, cache = attention.self_attention_forward(x, params, 3)
    close(out, expected)
    theirs = torch.autograd.grad(expected, [x_tensor, *tensors], torch.tensor(dout))
    dx, grads = attention.self_attention_backward(dout, cache)
    close(dx, theirs[0])
    for name, grad in unpack(theirs[1:]).items():
        close(grads[name], grad)


def test_self_attention_is_permutation_equivariant(rng):
    params, x, order = draw_multi_head_params(rng, 6), draw(rng, 2, 5, 6), rng.permutation(5)
    out, _ = attention.self_attention_forward(x, params, 2)
    permuted, _ = attention.self_attention_forward(x[:, order], params, 2)
    np.testing.assert_allclose(permuted, out[:, order], rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize("size", [(2, 3, 5), (1, 1, 4), (3, 2, 1)], ids=["cross", "one_query", "one_key"])
@pytest.mark.parametrize("masked", [False, True], ids=["open", "masked"])
def test_additive_attention_forward_and_backward(rng, size, masked):
    batch, n_queries, n_keys = size
    shapes = {"W_q": (7, 4), "W_k": (7, 3), "v": (7,)}
    params = {name: draw(rng, *shape) for name, shape in shapes.items()}
    given = draw(rng, batch, n_queries, 4), draw(rng, batch, n_keys, 3), draw(rng, batch, n_keys, 6)
    mask = (np.arange(n_keys) <= np.arange(batch)[:, None])[:, None] if masked else None
    query, keys, values, w_q, w_k, v = inputs = [leaf(x) for x in (*given, *params.values())]
    scores = torch.tanh((query @ w_q.T)[:, :, None] + (keys @ w_k.T)[:, None]) @ v
    if masked:
        scores = scores.masked_fill(torch.tensor(~mask), -torch.inf)
    expected = torch.softmax(scores, dim=-1) @ values
    out, cache = attention.additive_attention_forward(*given, params, mask)
    close(out, expected)
    close(cache.weights, torch.softmax(scores, dim=-1))
    dout = draw(rng, *out.shape)
    *dinputs, grads = attention.additive_attention_backward(dout, cache)
    theirs = torch.autograd.grad(expected, inputs, torch.tensor(dout))
    for mine, other in zip([*dinputs, *(grads[name] for name in params)], theirs, strict=True):
        close(mine, other)


def test_additive_attention_of_a_fully_masked_row_is_zero(rng):
    params = {"W_q": draw(rng, 3, 2), "W_k": draw(rng, 3, 2), "v": draw(rng, 3)}
    out, cache = attention.additive_attention_forward(
        draw(rng, 1, 2, 2), draw(rng, 1, 4, 2), draw(rng, 1, 4, 5), params, np.array([[True] * 4, [False] * 4])
    )
    assert not out[0, 1].any()
    dquery, *_ = attention.additive_attention_backward(draw(rng, 1, 2, 5), cache)
    assert not dquery[0, 1].any()
    assert dquery[0, 0].any()
