"""The pre-LN block of the reference against torch.nn.TransformerEncoderLayer(norm_first=True) in float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dlreference import attention, transformer

RTOL, ATOL = 1e-10, 1e-11

# Our names of each of torch's parameters; its input projection stacks three of ours.
PACKED = {
    "self_attn.in_proj_weight": ("W_q", "W_k", "W_v"),
    "self_attn.in_proj_bias": ("b_q", "b_k", "b_v"),
    "self_attn.out_proj.weight": ("W_o",),
    "self_attn.out_proj.bias": ("b_o",),
    "linear1.weight": ("W1",),
    "linear1.bias": ("b1",),
    "linear2.weight": ("W2",),
    "linear2.bias": ("b2",),
    "norm1.weight": ("gamma1",),
    "norm1.bias": ("beta1",),
    "norm2.weight": ("gamma2",),
    "norm2.bias": ("beta2",),
}


@pytest.fixture
def rng():
    return np.random.default_rng(322)


def draw(rng, *shape):
    """Standard normal numbers that refuse to be written to."""
    x = rng.normal(size=shape)
    x.flags.writeable = False
    return x


def close(ours, theirs) -> None:
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=RTOL, atol=ATOL)


def leaf(x):
    return torch.tensor(x, dtype=torch.float64, requires_grad=True)


def draw_params(rng, d_model, d_ff):
    shapes = {f"W_{part}": (d_model, d_model) for part in "qkvo"} | {f"b_{part}": (d_model,) for part in "qkvo"}
    shapes |= {"W1": (d_ff, d_model), "b1": (d_ff,), "W2": (d_model, d_ff), "b2": (d_model,)}
    shapes |= dict.fromkeys(("gamma1", "beta1", "gamma2", "beta2"), (d_model,))
    return {name: 0.5 * draw(rng, *shape) for name, shape in shapes.items()}


def torch_block(params, n_heads, activation):
    d_ff, d_model = params["W1"].shape
    layer = torch.nn.TransformerEncoderLayer(
        d_model, n_heads, d_ff, 0.0, activation, batch_first=True, norm_first=True, dtype=torch.float64
    )
    tensors = dict(layer.named_parameters())
    with torch.no_grad():
        for name, parts in PACKED.items():
            tensors[name].copy_(torch.tensor(np.concatenate([params[part] for part in parts])))
    return layer, [tensors[name] for name in PACKED]


CASES = {
    "open": (None, {}),
    "causal": (attention.causal_mask(5), {"src_mask": torch.tensor(~attention.causal_mask(5))}),
    "padding": (
        attention.padding_mask([5, 2, 3], 5),
        {"src_key_padding_mask": torch.tensor(~attention.padding_mask([5, 2, 3], 5)[:, 0])},
    ),
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
tanh_gelu = lambda z: F.gelu(z, approximate="tanh")
gelus = pytest.mark.parametrize(("approximate", "activation"), [("none", "gelu"), ("tanh", tanh_gelu)])


@gelus
@cases
def test_transformer_block_forward(rng, case, approximate, activation):
    mask, torch_masks = case
    params, x = draw_params(rng, 6, 7), draw(rng, 3, 5, 6)
    layer, _ = torch_block(params, 2, activation)
    out, _ = transformer.transformer_block_forward(x, params, 2, mask, approximate)
    close(out, layer(leaf(x), **torch_masks))


@gelus
@cases
def test_transformer_block_backward(rng, case, approximate, activation):
    mask, torch_masks = case
    params, x, dout = draw_params(rng, 6, 7), draw(rng, 3, 5, 6), draw(rng, 3, 5, 6)
    layer, tensors = torch_block(params, 2, activation)
    x_tensor = leaf(x)
    theirs = torch.autograd.grad(layer(x_tensor, **torch_masks), [x_tensor, *tensors], torch.tensor(dout))
    _, cache = transformer.transformer_block_forward(x, params, 2, mask, approximate)
    dx, grads = transformer.transformer_block_backward(dout, cache)
    close(dx, theirs[0])
    for parts, whole in zip(PACKED.values(), theirs[1:], strict=True):
        for part, other in zip(parts, whole.chunk(len(parts)), strict=True):
            close(grads[part], other)
    assert set(grads) == set(params)


@pytest.mark.parametrize(("shape", "n_heads"), [((1, 1, 4), 1), ((1, 6, 4), 4), ((4, 1, 6), 3)])
def test_transformer_block_forward_and_backward_small(rng, shape, n_heads):
    params, x, dout = draw_params(rng, shape[2], 9), draw(rng, *shape), draw(rng, *shape)
    layer, _ = torch_block(params, n_heads, "gelu")
    x_tensor = leaf(x)
    theirs = layer(x_tensor)
    out, cache = transformer.transformer_block_forward(x, params, n_heads)
    close(out, theirs)
    dx, _ = transformer.transformer_block_backward(dout, cache)
    close(dx, torch.autograd.grad(theirs, x_tensor, torch.tensor(dout))[0])


@pytest.mark.parametrize("shape", [(2, 5, 4), (3, 4), (4,)])
def test_feed_forward_forward_and_backward(rng, shape):
    params = {"W1": draw(rng, 7, 4), "b1": draw(rng, 7), "W2": draw(rng, 4, 7), "b2": draw(rng, 4)}
    x, dout = draw(rng, *shape), draw(rng, *shape)
    inputs = [leaf(x), *(leaf(value) for value in params.values())]
    expected = F.linear(F.gelu(F.linear(*inputs[:3])), *inputs[3:])
    out, cache = transformer.feed_forward_forward(x, params)
    close(out, expected)
    dx, grads = transformer.feed_forward_backward(dout, cache)
    theirs = torch.autograd.grad(expected, inputs, torch.tensor(dout))
    for mine, other in zip([dx, *(grads[name] for name in params)], theirs, strict=True):
        close(mine, other)


def test_transformer_block_is_the_identity_when_both_sublayers_end_in_zeros(rng):
    params = draw_params(rng, 6, 7)
    params |= {name: np.zeros_like(params[name]) for name in ("W_o", "b_o", "W2", "b2")}
    x = draw(rng, 3, 5, 6)
    np.testing.assert_array_equal(transformer.transformer_block_forward(x, params, 2)[0], x)


def test_transformer_block_without_attention_biases(rng):
    params = draw_params(rng, 6, 7)
    zeroed = params | {f"b_{part}": np.zeros(6) for part in "qkvo"}
    bare = {name: value for name, value in params.items() if name not in {"b_q", "b_k", "b_v", "b_o"}}
    x, dout = draw(rng, 3, 5, 6), draw(rng, 3, 5, 6)
    out, cache = transformer.transformer_block_forward(x, bare, 2)
    expected, expected_cache = transformer.transformer_block_forward(x, zeroed, 2)
    np.testing.assert_allclose(out, expected, rtol=1e-13)
    _, grads = transformer.transformer_block_backward(dout, cache)
    _, expected_grads = transformer.transformer_block_backward(dout, expected_cache)
    assert set(grads) == set(bare)
    for name in bare:
        np.testing.assert_allclose(grads[name], expected_grads[name], rtol=1e-12, atol=1e-13)


def test_causal_transformer_block_ignores_the_future_exactly(rng):
    params, x = draw_params(rng, 6, 7), draw(rng, 3, 5, 6)
    changed = x.copy()
    changed[:, 3:] += 1.0
    run = lambda tokens: transformer.transformer_block_forward(tokens, params, 2, attention.causal_mask(5))[0]
    np.testing.assert_array_equal(run(changed)[:, :3], run(x)[:, :3])


@pytest.mark.parametrize(("d_model", "d_ff"), [(64, 256), (6, 7)])
def test_transformer_block_parameter_count(d_model, d_ff):
    layer = torch.nn.TransformerEncoderLayer(d_model, 2, d_ff)
    theirs = sum(p.numel() for p in layer.parameters())
    assert transformer.transformer_block_parameter_count(d_model, d_ff) == theirs
    assert transformer.transformer_block_parameter_count(d_model, d_ff, attention_bias=False) == theirs - 4 * d_model


def test_approximate_parameter_count_of_gpt3():
    assert transformer.approximate_parameter_count(96, 12288) == 173_946_175_488
    exact = 96 * transformer.transformer_block_parameter_count(12288, 4 * 12288)
    assert exact / transformer.approximate_parameter_count(96, 12288) == pytest.approx(1.0, abs=2e-4)
