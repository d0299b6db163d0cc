"""Attention: masks, scaled dot-product and additive attention, several heads, each forward and backward.

A boolean mask is True where a query may look at a key. A query that may look at nothing gets zero weights and output.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dlreference.arrays import Array, ArrayLike, Params, as_float, as_params
from dlreference.linear import LinearCache, linear_backward, linear_forward
from dlreference.losses import softmax_backward

Mask = NDArray[np.bool_]


def causal_mask(n_queries: int, n_keys: int | None = None, offset: int = 0) -> Mask:
    """(Tq, Tk), True where key <= query + offset: nobody looks ahead. Tk is Tq unless given.

    With `offset` keys already seen, query 0 stands at position `offset` (decoding with a cache).
    """
    return np.tri(n_queries, n_keys, k=offset, dtype=bool)


def padding_mask(lengths: ArrayLike, n_keys: int) -> Mask:
    """lengths (B,) -> (B, 1, Tk), True on the first `length` keys of each row; the middle axis is for the queries."""
    return (np.arange(n_keys) < np.asarray(lengths)[:, None])[:, None, :]


def masked_softmax(scores: ArrayLike, mask: ArrayLike | None = None) -> Array:
    """Softmax over the last axis, of the allowed entries; the others are exactly zero.

    scores (..., Tk), mask broadcastable to it or None. A score of minus infinity counts as not allowed. A row with
    nothing allowed is zero altogether.
    """
    scores = as_float(scores)
    allowed = scores if mask is None else np.where(np.asarray(mask, dtype=bool), scores, -np.inf)
    peak = allowed.max(axis=-1, keepdims=True)
    weights = allowed - np.where(np.isneginf(peak), 0.0, peak)
    np.exp(weights, out=weights)
    total = weights.sum(axis=-1, keepdims=True)
    weights /= np.where(total == 0.0, 1.0, total)
    return weights


class AttentionCache(NamedTuple):
    """Inputs and weights (..., Tq, Tk) of `attention_forward`."""

    q: Array
    k: Array
    v: Array
    weights: Array
    scale: float


def attention_forward(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    mask: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    scale: float | None = None,
) -> tuple[Array, AttentionCache]:
    """softmax(scale q k^T + bias) v (Vaswani et al. 2017), scale 1/sqrt(dk) unless given.

    q (..., Tq, dk), k (..., Tk, dk), v (..., Tk, dv) with equal leading axes; mask and bias broadcastable to
    (..., Tq, Tk). Returns out (..., Tq, dv) and the cache, whose `weights` has shape (..., Tq, Tk).
    """
    q, k, v = as_float(q), as_float(k), as_float(v)
    scale = 1.0 / math.sqrt(q.shape[-1]) if scale is None else scale
    scores = (scale * q) @ np.swapaxes(k, -1, -2)
    if bias is not None:
        scores = scores + as_float(bias)
    weights = masked_softmax(scores, mask)
    return weights @ v, AttentionCache(q, k, v, weights, scale)


def attention_backward(dout: ArrayLike, cache: AttentionCache) -> tuple[Array, Array, Array]:
    """Gradients (dq, dk, dv) for dout (..., Tq, dv)."""
    dout = as_float(dout)
    q, k, v, weights, scale = cache
    # A masked weight is 0, and so is its gradient: the mask needs no second look.
    dscores = softmax_backward(dout @ np.swapaxes(v, -1, -2), weights)
    dv = np.swapaxes(weights, -1, -2) @ dout
    return scale * (dscores @ k), np.swapaxes(dscores, -1, -2) @ (scale * q), dv


def scaled_dot_product_attention(
    q: ArrayLike, k: ArrayLike, v: ArrayLike, mask: ArrayLike | None = None
) -> tuple[Array, Array]:
    """`attention_forward` without a backward: (out (..., Tq, dv), weights (..., Tq, Tk))."""
    out, cache = attention_forward(q, k, v, mask)
    return out, cache.weights


def split_heads(x: ArrayLike, n_heads: int) -> Array:
    """(B, T, d) -> (B, n_heads, T, d / n_heads), a view: head h owns columns h d/n_heads and on.

    Raises ValueError unless d is a multiple of n_heads.
    """
    x = as_float(x)
    batch, length, d_model = x.shape
    if d_model % n_heads:
        raise ValueError(f"d_model {d_model} is not a multiple of n_heads {n_heads}")
    return x.reshape(batch, length, n_heads, -1).transpose(0, 2, 1, 3)


def merge_heads(x: ArrayLike) -> Array:
    """(B, n_heads, T, dk) -> (B, T, n_heads dk), undoing `split_heads`."""
    x = as_float(x)
    batch, n_heads, length, d_head = x.shape
    return x.transpose(0, 2, 1, 3).reshape(batch, length, n_heads * d_head)


class MultiHeadCache(NamedTuple):
    """Caches of the projections of query, key, value and output, and of the attention between them."""

    projections: dict[str, LinearCache]
    attention: AttentionCache
    names: frozenset[str]


def multi_head_attention_forward(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    params: Mapping[str, ArrayLike],
    n_heads: int,
    mask: ArrayLike | None = None,
    bias: ArrayLike | None = None,
) -> tuple[Array, MultiHeadCache]:
    """Project, split into heads, attend in each, merge, project (Vaswani et al. 2017).

    query (B, Tq, d), key and value (B, Tk, d); W_q, W_k, W_v, W_o (d, d) and, if present, b_q, b_k, b_v, b_o (d,).
    mask (Tq, Tk), (B, Tq, Tk) for all heads alike, or (B, n_heads, Tq, Tk), each axis possibly 1; bias, added to the
    scores, broadcastable to (B, n_heads, Tq, Tk). Scores are scaled by 1/sqrt(d / n_heads).
    Returns out (B, Tq, d) and the cache; `cache.attention.weights` is (B, n_heads, Tq, Tk).
    Raises ValueError unless d is a multiple of n_heads.
    """
    params = as_params(params)
    projections: dict[str, LinearCache] = {}
    heads = []
    for name, x in (("q", query), ("k", key), ("v", value)):
        projected, projections[name] = linear_forward(x, params[f"W_{name}"], params.get(f"b_{name}"))
        heads.append(split_heads(projected, n_heads))
    q, k, v = heads
    attended, attention = attention_forward(q, k, v, mask=_mask_for_heads(mask), bias=bias)
    out, projections["o"] = linear_forward(merge_heads(attended), params["W_o"], params.get("b_o"))
    return out, MultiHeadCache(projections, attention, frozenset(params))


def multi_head_attention_backward(dout: ArrayLike, cache: MultiHeadCache) -> tuple[Array, Array, Array, Params]:
    """Gradients (dquery, dkey, dvalue, dict of parameter gradients) for dout (B, Tq, d)."""
    projections, attention, names = cache
    n_heads = attention.q.shape[1]
    grads: Params = {}
    dmerged, grads["W_o"], grads["b_o"] = linear_backward(dout, projections["o"])
    dinputs = []
    for name, dhead in zip("qkv", attention_backward(split_heads(dmerged, n_heads), attention), strict=True):
        dx, grads[f"W_{name}"], grads[f"b_{name}"] = linear_backward(merge_heads(dhead), projections[name])
        dinputs.append(dx)
    dquery, dkey, dvalue = dinputs
    return dquery, dkey, dvalue, {name: grad for name, grad in grads.items() if name in names}


def self_attention_forward(
    x: ArrayLike,
    params: Mapping[str, ArrayLike],
    n_heads: int,
    mask: ArrayLike | None = None,
    bias: ArrayLike | None = None,
) -> tuple[Array, MultiHeadCache]:
    """`multi_head_attention_forward` of x (B, T, d) with itself."""
    return multi_head_attention_forward(x, x, x, params, n_heads, mask, bias)


def self_attention_backward(dout: ArrayLike, cache: MultiHeadCache) -> tuple[Array, Params]:
    """(dx, dict of parameter gradients) for dout (B, T, d): x was query, key and value at once."""
    dquery, dkey, dvalue, grads = multi_head_attention_backward(dout, cache)
    return dquery + dkey + dvalue, grads


def _mask_for_heads(mask: ArrayLike | None) -> Mask | None:
    if mask is None:
        return None
    allowed = np.asarray(mask, dtype=bool)
    return allowed[:, None] if allowed.ndim == 3 else allowed


class AdditiveCache(NamedTuple):
    """What `additive_attention_backward` needs; `weights` is (B, Tq, Tk), `hidden` the tanh (B, Tq, Tk, A)."""

    query_cache: LinearCache
    key_cache: LinearCache
    values: Array
    hidden: Array
    v: Array
    weights: Array


def additive_attention_forward(
    query: ArrayLike,
    keys: ArrayLike,
    values: ArrayLike,
    params: Mapping[str, ArrayLike],
    mask: ArrayLike | None = None,
) -> tuple[Array, AdditiveCache]:
    """Attention with the score v . tanh(W_q q + W_k k) (Bahdanau et al. 2015), not scaled.

    query (B, Tq, Dq), keys (B, Tk, Dk), values (B, Tk, Dv); W_q (A, Dq), W_k (A, Dk), v (A,); mask broadcastable to
    (B, Tq, Tk). Returns the contexts (B, Tq, Dv) and the cache.
    """
    params = as_params(params)
    from_query, query_cache = linear_forward(query, params["W_q"])
    from_key, key_cache = linear_forward(keys, params["W_k"])
    hidden = np.tanh(from_query[:, :, None] + from_key[:, None])
    weights = masked_softmax(hidden @ params["v"], mask)
    values = as_float(values)
    return weights @ values, AdditiveCache(query_cache, key_cache, values, hidden, params["v"], weights)


def additive_attention_backward(dout: ArrayLike, cache: AdditiveCache) -> tuple[Array, Array, Array, Params]:
    """Gradients (dquery, dkeys, dvalues, dict of W_q, W_k and v) for dout (B, Tq, Dv)."""
    dout = as_float(dout)
    weights, hidden = cache.weights, cache.hidden
    dvalues = np.swapaxes(weights, -1, -2) @ dout
    dscores = softmax_backward(dout @ np.swapaxes(cache.values, -1, -2), weights)
    dv = np.tensordot(dscores, hidden, axes=3)
    dsum = dscores[..., None] * cache.v * (1.0 - hidden**2)
    dquery, d_w_q, _ = linear_backward(dsum.sum(axis=2), cache.query_cache)
    dkeys, d_w_k, _ = linear_backward(dsum.sum(axis=1), cache.key_cache)
    return dquery, dkeys, dvalues, {"W_q": d_w_q, "W_k": d_w_k, "v": dv}
