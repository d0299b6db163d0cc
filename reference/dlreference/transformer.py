"""The pre-LN Transformer block, forward and backward, and how many numbers it learns."""

from collections.abc import Mapping
from typing import NamedTuple

from dlreference.activations import Approximate, d_gelu, gelu
from dlreference.arrays import Array, ArrayLike, Params, as_float, as_params
from dlreference.attention import MultiHeadCache, self_attention_backward, self_attention_forward
from dlreference.linear import LinearCache, linear_backward, linear_forward
from dlreference.norm import LayerNormCache, layer_norm_backward, layer_norm_forward


class FeedForwardCache(NamedTuple):
    """What `feed_forward_backward` needs."""

    first: LinearCache
    z: Array
    second: LinearCache
    approximate: Approximate


def feed_forward_forward(
    x: ArrayLike, params: Mapping[str, ArrayLike], approximate: Approximate = "none"
) -> tuple[Array, FeedForwardCache]:
    """gelu(x W1^T + b1) W2^T + b2 at every position on its own.

    x (..., d), W1 (d_ff, d), b1 (d_ff,), W2 (d, d_ff), b2 (d,) -> out (..., d) and the cache.
    """
    z, first = linear_forward(x, params["W1"], params["b1"])
    out, second = linear_forward(gelu(z, approximate), params["W2"], params["b2"])
    return out, FeedForwardCache(first, z, second, approximate)


def feed_forward_backward(dout: ArrayLike, cache: FeedForwardCache) -> tuple[Array, Params]:
    """(dx, dict of W1, b1, W2, b2) for dout (..., d)."""
    dactive, d_w2, d_b2 = linear_backward(dout, cache.second)
    dx, d_w1, d_b1 = linear_backward(dactive * d_gelu(cache.z, cache.approximate), cache.first)
    return dx, {"W1": d_w1, "b1": d_b1, "W2": d_w2, "b2": d_b2}


class BlockCache(NamedTuple):
    """Caches of the four parts of a block, in order."""

    norm1: LayerNormCache
    attention: MultiHeadCache
    norm2: LayerNormCache
    feed_forward: FeedForwardCache


def transformer_block_forward(
    x: ArrayLike,
    params: Mapping[str, ArrayLike],
    n_heads: int,
    mask: ArrayLike | None = None,
    approximate: Approximate = "none",
) -> tuple[Array, BlockCache]:
    """y = x + MHA(LN1(x)); out = y + FFN(LN2(y)): the pre-LN block (Xiong et al. 2020), without dropout.

    x (B, T, d); gamma1, beta1, gamma2, beta2 (d,); W_q, W_k, W_v, W_o (d, d) with optional biases b_q ... (d,);
    W1 (d_ff, d), b1, W2 (d, d_ff), b2; mask as in `multi_head_attention_forward`. Returns out (B, T, d) and the cache.
    """
    x, params = as_float(x), as_params(params)
    normed, norm1 = layer_norm_forward(x, params["gamma1"], params["beta1"])
    attention_params = {name: params[name] for name in _ATTENTION_NAMES if name in params}
    attended, attention = self_attention_forward(normed, attention_params, n_heads, mask)
    y = x + attended
    normed, norm2 = layer_norm_forward(y, params["gamma2"], params["beta2"])
    fed, feed_forward = feed_forward_forward(normed, params, approximate)
    return y + fed, BlockCache(norm1, attention, norm2, feed_forward)


def transformer_block_backward(dout: ArrayLike, cache: BlockCache) -> tuple[Array, Params]:
    """(dx, dict of parameter gradients) for dout (B, T, d)."""
    dout = as_float(dout)
    dnormed, grads = feed_forward_backward(dout, cache.feed_forward)
    through_norm, d_gamma2, d_beta2 = layer_norm_backward(dnormed, cache.norm2)
    dy = dout + through_norm
    dnormed, attention_grads = self_attention_backward(dy, cache.attention)
    through_norm, d_gamma1, d_beta1 = layer_norm_backward(dnormed, cache.norm1)
    norm_grads = {"gamma1": d_gamma1, "beta1": d_beta1, "gamma2": d_gamma2, "beta2": d_beta2}
    return dy + through_norm, norm_grads | attention_grads | grads


_ATTENTION_NAMES = tuple(f"{kind}_{part}" for part in "qkvo" for kind in "Wb")


def transformer_block_parameter_count(d_model: int, d_ff: int, attention_bias: bool = True) -> int:
    """4 d^2 (+ 4 d biases) for attention, 2 d d_ff + d_ff + d for the feed-forward part, 4 d for two LayerNorms."""
    attention = 4 * d_model * d_model + 4 * d_model * attention_bias
    feed_forward = 2 * d_model * d_ff + d_ff + d_model
    return attention + feed_forward + 4 * d_model


def approximate_parameter_count(n_layers: int, d_model: int) -> int:
    """12 L d^2: the matrices of L blocks with d_ff = 4 d; biases, norms and embeddings are left out."""
    return 12 * n_layers * d_model * d_model
