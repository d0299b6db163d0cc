"""Attention pooling: one learned query turns a sequence of states into a single vector, forward and backward.

The pooling layer of hierarchical attention networks (Yang et al. 2016), with the plain score h_t . w.
"""

from typing import NamedTuple

import numpy as np

from dlreference.arrays import Array, ArrayLike, as_float
from dlreference.attention import masked_softmax
from dlreference.losses import softmax_backward


class PoolCache(NamedTuple):
    """States h (B, T, H), query w (H,) and weights (B, T)."""

    h: Array
    w: Array
    weights: Array


def attention_pool_forward(h: ArrayLike, w: ArrayLike, mask: ArrayLike | None = None) -> tuple[Array, PoolCache]:
    """pooled = sum over t of a_t h_t with a = softmax over t of h_t . w.

    h (B, T, H), w (H,), mask (B, T), True where a position counts, or None -> pooled (B, H) and the cache, whose
    `weights` are (B, T). A sequence of which nothing counts has zero weights and is pooled to zeros.
    """
    h, w = as_float(h), as_float(w)
    weights = masked_softmax(h @ w, mask)
    return np.einsum("bt,bth->bh", weights, h), PoolCache(h, w, weights)


def attention_pool_backward(dpooled: ArrayLike, cache: PoolCache) -> tuple[Array, Array]:
    """Gradients (dh, dw) with the shapes of h and w, for dpooled (B, H).

    A state counts twice, by its content and by its score: dh_t = a_t dpooled + ds_t w, where ds is the gradient at the
    scores.
    """
    dpooled = as_float(dpooled)
    h, w, weights = cache
    dscores = softmax_backward(np.einsum("bth,bh->bt", h, dpooled), weights)
    dh = weights[..., None] * dpooled[:, None] + dscores[..., None] * w
    return dh, np.einsum("bt,bth->h", dscores, h)
