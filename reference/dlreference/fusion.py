"""A classifier of a table and a token sequence: embedding, LSTM, attention pooling, and a normalised hidden layer.

Parameters: E (V, d); W_ih, W_hh, b_ih, b_hh of the LSTM; w_att (H,); W1 (N, H + D), gamma, beta (N,); W2 (K, N), b2
(K,). Token 0 is padding. Running statistics: a `BatchNormState` of N units.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from dlreference.activations import d_relu, relu
from dlreference.arrays import Array, ArrayLike, Labels, Params, as_float, as_labels, as_params
from dlreference.attention_pooling import PoolCache, attention_pool_backward, attention_pool_forward
from dlreference.embeddings import embedding_backward, embedding_forward
from dlreference.linear import LinearCache, linear_backward, linear_forward
from dlreference.lstm import LstmCache, lstm_backward, lstm_forward
from dlreference.norm import BatchNormCache, BatchNormState, batch_norm_backward, batch_norm_forward
from dlreference.recurrent import RECURRENT_KEYS
from dlreference.regularization import dropout_forward

PAD = 0


class HeadCache(NamedTuple):
    """Caches of the two linear maps and the normalisation, its output, and the dropout mask or None."""

    hidden: LinearCache
    norm: BatchNormCache
    normed: Array
    mask: Array | None
    output: LinearCache


class FusionCache(NamedTuple):
    """Tokens (B, T), the number of embeddings, and the caches of LSTM, pooling and head."""

    tokens: Labels
    vocab: int
    lstm: LstmCache
    pool: PoolCache
    head: HeadCache


def head_forward(
    f: ArrayLike, params: Mapping[str, ArrayLike], state: BatchNormState, training: bool, mask: ArrayLike | None = None
) -> tuple[Array, HeadCache, BatchNormState]:
    """Linear without bias, batch norm, ReLU, times the dropout mask, linear: f (B, F) -> logits (B, K)."""
    z, hidden = linear_forward(f, params["W1"])
    normed, norm, state = batch_norm_forward(z, params["gamma"], params["beta"], state, training)
    a, factor = relu(normed), None if mask is None else as_float(mask)
    logits, output = linear_forward(a if factor is None else a * factor, params["W2"], params["b2"])
    return logits, HeadCache(hidden, norm, normed, factor, output), state


def head_backward(dlogits: ArrayLike, cache: HeadCache) -> tuple[Array, Params]:
    """(df (B, F), dict of W1, gamma, beta, W2, b2) for dlogits (B, K), after training and after evaluation."""
    grads: Params = {}
    da, grads["W2"], grads["b2"] = linear_backward(dlogits, cache.output)
    du = da * d_relu(cache.normed) * (1.0 if cache.mask is None else cache.mask)
    dz, grads["gamma"], grads["beta"] = batch_norm_backward(du, cache.norm)
    df, grads["W1"], _ = linear_backward(dz, cache.hidden)
    return df, grads


def forward(
    x: ArrayLike,
    tokens: ArrayLike,
    params: Mapping[str, ArrayLike],
    state: BatchNormState,
    training: bool,
    rng: np.random.Generator | None = None,
    p: float = 0.0,
) -> tuple[Array, Array, FusionCache, BatchNormState]:
    """Logits (B, K), attention weights (B, T), the cache and the new state, for x (B, D) and tokens (B, T).

    In training with p > 0 one mask of the hidden units is drawn, `rng.random((B, N))`.
    """
    params, tokens = as_params(params), as_labels(tokens)
    recurrent = {name: params[name] for name in RECURRENT_KEYS}
    hs, _, lstm = lstm_forward(embedding_forward(tokens, params["E"]), recurrent)
    pooled, pool = attention_pool_forward(hs, params["w_att"], tokens != PAD)
    mask = None
    if training and p > 0 and rng is not None:
        _, mask = dropout_forward(np.zeros((len(tokens), len(params["W1"]))), p, rng)
    logits, head, state = head_forward(np.concatenate([pooled, as_float(x)], axis=1), params, state, training, mask)
    return logits, pool.weights, FusionCache(tokens, len(params["E"]), lstm, pool, head), state


def backward(dlogits: ArrayLike, cache: FusionCache) -> tuple[Params, Array]:
    """(dict of all parameter gradients, dx (B, D)) for dlogits (B, K)."""
    df, grads = head_backward(dlogits, cache.head)
    hidden = cache.pool.h.shape[2]
    dh, grads["w_att"] = attention_pool_backward(df[:, :hidden], cache.pool)
    demb, _, recurrent = lstm_backward(dh, cache.lstm)
    grads |= recurrent
    grads["E"] = embedding_backward(demb, cache.tokens, cache.vocab)
    return grads, df[:, hidden:]
