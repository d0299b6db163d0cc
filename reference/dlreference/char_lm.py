"""A character-level language model: smoothed n-gram counts to compare with, and a GRU with a linear layer over symbols.

Symbols are ids 0..V-1. params of the network: W_ih (3H, V), W_hh (3H, H), b_ih, b_hh (3H,), W_out (V, H), b_out (V,).
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dlreference.arrays import Array, ArrayLike, Params, as_float
from dlreference.gru import GruCache, gru_backward, gru_forward
from dlreference.linear import linear_backward, linear_forward
from dlreference.losses import cross_entropy, log_softmax, softmax
from dlreference.recurrent import RECURRENT_KEYS

Arrays = Mapping[str, ArrayLike]


def ngram_probs(ids: ArrayLike, n: int, vocab_size: int) -> Array:
    """p(c | n - 1 symbols before), an array of n axes of length V, the predicted symbol last.

    Witten and Bell's interpolation (1991, method C): with T(h) different symbols after a context h seen N(h) times,
    p = (N(hc) + T(h) q) / (N(h) + T(h)), where q is the estimate for h without its oldest symbol, and 1 / V without
    any context. A context that was never seen leaves q. Raises ValueError for n < 1.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    ids = np.asarray(ids)
    shorter = ngram_probs(ids, n - 1, vocab_size) if n > 1 else np.full(vocab_size, 1.0 / vocab_size)
    counts = np.zeros((vocab_size,) * n)
    np.add.at(counts, tuple(ids[i : len(ids) - n + 1 + i] for i in range(n)), 1.0)
    seen, kinds = counts.sum(axis=-1, keepdims=True), np.count_nonzero(counts, axis=-1, keepdims=True)
    trust = seen / np.maximum(seen + kinds, 1)
    return trust * counts / np.maximum(seen, 1) + (1.0 - trust) * shorter


def ngram_bits(probs: Array, ids: ArrayLike, warm_up: int) -> float:
    """Mean of -log2 p(ids[i] | context) over i >= warm_up, for the array of `ngram_probs` and ids (N,)."""
    ids = np.asarray(ids)
    windows = np.lib.stride_tricks.sliding_window_view(ids, probs.ndim)[warm_up - probs.ndim + 1 :]
    return float(-np.log2(probs[tuple(windows.T)]).mean())


def read(ids: ArrayLike, h0: ArrayLike | None, params: Arrays) -> tuple[Array, GruCache]:
    """The GRU over symbols ids (B, T), given to it as one-hot vectors: all states (B, T, H), and the cache."""
    layer = {name: as_float(params[name]) for name in RECURRENT_KEYS}
    hs, _, cache = gru_forward(np.eye(layer["W_ih"].shape[1])[np.asarray(ids)], layer, h0)
    return hs, cache


def char_lm_logits(ids: ArrayLike, h0: ArrayLike | None, params: Arrays) -> tuple[Array, Array]:
    """Logits (B, T, V) of what follows each symbol of ids (B, T), and the last state (B, H)."""
    hs, _ = read(ids, h0, params)
    return linear_forward(hs, params["W_out"], params["b_out"])[0], hs[:, -1]


def char_lm_gradients(
    params: Arrays, inputs: ArrayLike, targets: ArrayLike, h0: ArrayLike | None = None
) -> tuple[float, Params, Array, Array]:
    """The mean cross-entropy in nats over all of targets (B, T), its gradients, the last state, and h0's gradient.

    Parameter gradients treat h0 (B, H) as given: truncated back-propagation through time (Williams and Peng 1990).
    """
    hs, cache = read(inputs, h0, params)
    batch, steps, hidden = hs.shape
    logits, head = linear_forward(hs.reshape(-1, hidden), params["W_out"], params["b_out"])
    loss, dlogits = cross_entropy(logits, np.asarray(targets).reshape(-1))
    dhs, dW, db = linear_backward(dlogits, head)
    _, dh0, grads = gru_backward(dhs.reshape(batch, steps, hidden), cache)
    return loss, {**grads, "W_out": dW, "b_out": db}, hs[:, -1], dh0


def char_lm_bits(ids: ArrayLike, params: Arrays, warm_up: int, chunk: int = 1000) -> float:
    """Mean of -log2 p(ids[i] | all before) over i >= warm_up >= 1, reading ids (N,) as one stream from zeros."""
    ids = np.asarray(ids)
    state: Array | None = None
    log_p = np.empty(len(ids) - 1)
    for start in range(0, len(log_p), chunk):
        part = ids[start : start + chunk + 1]
        logits, state = char_lm_logits(part[None, :-1], state, params)
        log_p[start : start + chunk] = log_softmax(logits[0])[np.arange(len(part) - 1), part[1:]]
    return float(-log_p[warm_up - 1 :].mean() / np.log(2.0))


def char_lm_sample(
    prompt: ArrayLike, n: int, temperature: float, params: Arrays, rng: np.random.Generator
) -> NDArray[np.int64]:
    """n ids after a prompt (P,), P >= 1: each the first whose cumulated softmax(logits / temperature) exceeds a draw.

    One rng.random() an id; at temperature 0 the first largest logit and no draw.
    """
    written = np.empty(n, dtype=np.int64)
    logits, state = char_lm_logits(np.asarray(prompt)[None], None, params)
    for i in range(n):
        last = logits[0, -1]
        if temperature > 0:
            reached = np.cumsum(softmax(last / temperature)) > rng.random()
            written[i] = np.argmax(reached) if reached.any() else len(last) - 1
        else:
            written[i] = np.argmax(last)
        logits, state = char_lm_logits(written[None, i : i + 1], state, params)
    return written
