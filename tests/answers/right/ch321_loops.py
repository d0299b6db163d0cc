"""Right, one query, one head and one sequence at a time."""

import math

import numpy as np


def masked_softmax(scores, mask=None):
    scores = np.array(scores, dtype=float)
    allowed = np.broadcast_to(True if mask is None else np.array(mask, dtype=bool), scores.shape)
    out = np.zeros(scores.shape)
    for index in np.ndindex(scores.shape[:-1]):
        seen = [j for j in range(scores.shape[-1]) if allowed[index][j]]
        if not seen:
            continue
        top = max(scores[index][j] for j in seen)
        exps = {j: math.exp(scores[index][j] - top) for j in seen}
        for j in seen:
            out[index + (j,)] = exps[j] / sum(exps.values())
    return out


def causal_mask(n):
    return [[j <= i for j in range(n)] for i in range(n)]


def attention(q, k, v, mask=None):
    q, k, v = np.array(q, float), np.array(k, float), np.array(v, float)
    shape = (*q.shape[:-1], k.shape[-2])
    mask = None if mask is None else np.broadcast_to(mask, shape)
    scores = np.zeros(shape)
    for *b, i, j in np.ndindex(shape):
        scores[(*b, i, j)] = sum(x * y for x, y in zip(q[(*b, i)], k[(*b, j)])) / math.sqrt(q.shape[-1])
    weights = masked_softmax(scores, mask)
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for *b, i, j in np.ndindex(shape):
        out[(*b, i)] += weights[(*b, i, j)] * v[(*b, j)]
    return out, weights


def attention_backward(dout, q, k, v, weights):
    dout, q, k, v, P = (np.array(x, float) for x in (dout, q, k, v, weights))
    dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    root = math.sqrt(q.shape[-1])
    for *b, i in np.ndindex(q.shape[:-1]):
        dP = [float(dout[(*b, i)] @ v[(*b, j)]) for j in range(k.shape[-2])]
        row = P[(*b, i)]
        jacobian = np.diag(row) - np.outer(row, row)
        dS = jacobian @ np.array(dP)
        for j in range(k.shape[-2]):
            dv[(*b, j)] += row[j] * dout[(*b, i)]
            dq[(*b, i)] += dS[j] * k[(*b, j)] / root
            dk[(*b, j)] += dS[j] * q[(*b, i)] / root
    return [dq, dk, dv]


def split_heads(x, n_heads):
    x = np.array(x, float)
    step = x.shape[-1] // n_heads
    return np.array([[s[:, h * step : (h + 1) * step] for h in range(n_heads)] for s in x])


def merge_heads(x):
    return [np.concatenate(list(np.array(s, float)), axis=-1).tolist() for s in x]


def multi_head(x, params, n_heads, mask=None):
    x = np.array(x, float)
    P = {n: np.array(w, float) for n, w in params.items()}
    full = None if mask is None else np.broadcast_to(mask, (len(x), x.shape[1], x.shape[1]))
    step = x.shape[-1] // n_heads
    out, kept = np.zeros_like(x), []
    for b, s in enumerate(x):
        merged = np.zeros_like(s)
        for h in range(n_heads):
            rows = slice(h * step, (h + 1) * step)
            q, k, v = (s @ P[n][rows].T for n in ("W_q", "W_k", "W_v"))
            head, w = attention(q[None], k[None], v[None], None if full is None else full[b][None])
            merged[:, rows] = head[0]
            kept.append((b, rows, q, k, v, w[0]))
        out[b] = merged @ P["W_o"].T
        kept.append((b, None, merged))
    return out, {"x": x, "P": P, "kept": kept}


def multi_head_backward(dout, cache):
    x, P = cache["x"], cache["P"]
    dout = np.array(dout, float)
    dx = np.zeros_like(x)
    grads = {n: np.zeros_like(w) for n, w in P.items()}
    for b, rows, *rest in cache["kept"]:
        if rows is None:
            grads["W_o"] += dout[b].T @ rest[0]
            continue
        q, k, v, w = rest
        parts = attention_backward((dout[b] @ P["W_o"][:, rows])[None], q[None], k[None], v[None], w[None])
        for name, g in zip(("W_q", "W_k", "W_v"), parts):
            grads[name][rows] += g[0].T @ x[b]
            dx[b] += g[0] @ P[name][rows]
    return dx, grads


def additive_scores(query, keys, params):
    W_q, W_k, v = (np.array(params[n], float) for n in ("W_q", "W_k", "v"))
    return [
        [[float(v @ np.tanh(W_q @ np.array(q, float) + W_k @ np.array(k, float))) for k in ks] for q in qs]
        for qs, ks in zip(query, keys)
    ]


def additive_backward(dscores, query, keys, params):
    query, keys = np.array(query, float), np.array(keys, float)
    W_q, W_k, v = (np.array(params[n], float) for n in ("W_q", "W_k", "v"))
    dq, dk = np.zeros_like(query), np.zeros_like(keys)
    grads = {n: np.zeros(np.shape(w)) for n, w in params.items()}
    for (b, i, j), g in np.ndenumerate(np.array(dscores, float)):
        h = np.tanh(W_q @ query[b, i] + W_k @ keys[b, j])
        inside = g * v * (1 - h * h)
        grads["v"] += g * h
        grads["W_q"] += np.outer(inside, query[b, i])
        grads["W_k"] += np.outer(inside, keys[b, j])
        dq[b, i] += inside @ W_q
        dk[b, j] += inside @ W_k
    return dq, dk, grads
