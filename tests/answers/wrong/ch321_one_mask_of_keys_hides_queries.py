"""Wrong: a mask (T,) of the keys is laid along the queries in multi-head attention."""

import numpy as np


def masked_softmax(scores, mask=None):
    s = np.asarray(scores, float)
    if mask is not None:
        s = np.where(mask, s, -np.inf)
    with np.errstate(invalid="ignore"):
        lse = np.logaddexp.reduce(s, axis=-1, keepdims=True)
        return np.nan_to_num(np.exp(s - lse), nan=0.0)


def causal_mask(n):
    return ~np.triu(np.ones((n, n), bool), 1)


def attention(q, k, v, mask=None):
    q = np.asarray(q, float)
    w = masked_softmax(np.einsum("...id,...jd->...ij", q, np.asarray(k, float)) * q.shape[-1] ** -0.5, mask)
    return np.einsum("...ij,...jd->...id", w, np.asarray(v, float)), w


def attention_backward(dout, q, k, v, weights):
    dout, q, k, v, w = (np.asarray(a, float) for a in (dout, q, k, v, weights))
    dw = np.einsum("...id,...jd->...ij", dout, v)
    ds = w * dw - w * np.einsum("...ij,...ij->...i", w, dw)[..., None]
    ds = ds * q.shape[-1] ** -0.5
    return (
        np.einsum("...ij,...jd->...id", ds, k),
        np.einsum("...ij,...id->...jd", ds, q),
        np.einsum("...ij,...id->...jd", w, dout),
    )


def split_heads(x, n_heads):
    return np.stack(np.split(np.asarray(x, float), n_heads, axis=-1), axis=1)


def merge_heads(x):
    return np.concatenate(list(np.moveaxis(np.asarray(x, float), 1, 0)), axis=-1)


def _heads(x, params, n_heads):
    return [split_heads(np.einsum("bti,oi->bto", x, np.asarray(params[n], float)), n_heads) for n in ("W_q", "W_k", "W_v")]


def _mask(mask):
    mask = None if mask is None else np.asarray(mask)
    if mask is not None and mask.ndim == 1:
        return mask[:, None]
    return mask[:, None] if mask is not None and mask.ndim > 2 else mask


def multi_head(x, params, n_heads, mask=None):
    x = np.asarray(x, float)
    out, _ = attention(*_heads(x, params, n_heads), _mask(mask))
    return merge_heads(out) @ np.transpose(params["W_o"]), (x, dict(params), n_heads, mask)


def multi_head_backward(dout, cache):
    x, params, n_heads, mask = cache
    heads = _heads(x, params, n_heads)
    out, w = attention(*heads, _mask(mask))
    dmerged = np.asarray(dout, float) @ np.asarray(params["W_o"], float)
    parts = [merge_heads(g) for g in attention_backward(split_heads(dmerged, n_heads), *heads, w)]
    grads = {n: np.tensordot(g, x, axes=((0, 1), (0, 1))) for n, g in zip(("W_q", "W_k", "W_v"), parts)}
    grads["W_o"] = np.tensordot(np.asarray(dout, float), merge_heads(out), axes=((0, 1), (0, 1)))
    return sum(g @ np.asarray(params[n], float) for n, g in zip(("W_q", "W_k", "W_v"), parts)), grads


def _hidden(query, keys, params):
    a = np.einsum("bid,ad->bia", query, params["W_q"])
    c = np.einsum("bjd,ad->bja", keys, params["W_k"])
    return np.tanh(np.expand_dims(a, 2) + np.expand_dims(c, 1))


def additive_scores(query, keys, params):
    return np.einsum("bija,a->bij", _hidden(query, keys, params), params["v"])


def additive_backward(dscores, query, keys, params):
    h = _hidden(query, keys, params)
    g = np.einsum("bij,a,bija->bija", dscores, params["v"], 1 - h**2)
    return (
        np.einsum("bija,ad->bid", g, params["W_q"]),
        np.einsum("bija,ad->bjd", g, params["W_k"]),
        {
            "v": np.einsum("bij,bija->a", dscores, h),
            "W_k": np.einsum("bija,bjd->ad", g, keys),
            "W_q": np.einsum("bija,bid->ad", g, query),
        },
    )
