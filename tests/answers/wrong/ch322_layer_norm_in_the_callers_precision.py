"""Wrong: float32 is normalised in float32."""

import math

import numpy as np

EPS = 1e-5


def gelu(z):
    z = np.asarray(z, dtype=np.float64)
    return 0.5 * z * (1.0 + np.vectorize(math.erf, otypes=[float])(z / math.sqrt(2.0)))


def gelu_slope(z):
    z = np.asarray(z, dtype=np.float64)
    cdf = 0.5 * (1.0 + np.vectorize(math.erf, otypes=[float])(z / math.sqrt(2.0)))
    return cdf + z * np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)


def multi_head(x, params, n_heads, mask=None):
    x = np.asarray(x, dtype=np.float64)
    W = {name: np.asarray(params[name], dtype=np.float64) for name in ("W_q", "W_k", "W_v", "W_o")}
    q, k, v = (_split(x @ W[name].T, n_heads) for name in ("W_q", "W_k", "W_v"))
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    if mask is not None:
        mask = np.asarray(mask, dtype=bool)
        scores = np.where(mask[:, None] if mask.ndim == 3 else mask, scores, -np.inf)
    peak = np.max(scores, axis=-1, keepdims=True)
    weights = np.exp(scores - np.where(np.isfinite(peak), peak, 0.0))
    total = np.sum(weights, axis=-1, keepdims=True)
    weights = weights / np.where(total == 0.0, 1.0, total)
    merged = _merge(weights @ v)
    return merged @ W["W_o"].T, (x, W, q, k, v, weights, merged)


def multi_head_backward(dout, cache):
    x, W, q, k, v, weights, merged = cache
    dout = np.asarray(dout, dtype=np.float64)
    dheads = _split(dout @ W["W_o"], q.shape[1])
    dweights = dheads @ np.swapaxes(v, -1, -2)
    dscores = weights * (dweights - np.sum(dweights * weights, axis=-1, keepdims=True)) / np.sqrt(q.shape[-1])
    parts = {
        "W_q": dscores @ k,
        "W_k": np.swapaxes(dscores, -1, -2) @ q,
        "W_v": np.swapaxes(weights, -1, -2) @ dheads,
    }
    grads = {"W_o": np.einsum("bto,bti->oi", dout, merged)}
    dx = np.zeros_like(x)
    for name, part in parts.items():
        grads[name] = np.einsum("bto,bti->oi", _merge(part), x)
        dx += _merge(part) @ W[name]
    return dx, grads


def _split(x, n_heads):
    batch, length, width = x.shape
    return x.reshape(batch, length, n_heads, width // n_heads).transpose(0, 2, 1, 3)


def _merge(x):
    batch, heads, length, width = x.shape
    return x.transpose(0, 2, 1, 3).reshape(batch, length, heads * width)


def adamw_step(params, grads, state, lr, weight_decay=0.01):
    t = state.get("t", 0) + 1
    new, m, v = {}, {}, {}
    for name, w in params.items():
        g = np.asarray(grads[name], dtype=np.float64)
        m[name] = 0.9 * state.get("m", {}).get(name, 0.0) + 0.1 * g
        v[name] = 0.999 * state.get("v", {}).get(name, 0.0) + 0.001 * g**2
        step = (m[name] / (1 - 0.9**t)) / (np.sqrt(v[name] / (1 - 0.999**t)) + 1e-8)
        new[name] = np.asarray(w, dtype=np.float64) * (1 - lr * weight_decay) - lr * step
    return new, {"t": t, "m": m, "v": v}


def layer_norm(x, gamma, beta):
    x = np.asarray(x)
    x_hat = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + EPS)
    return np.asarray(gamma) * x_hat + np.asarray(beta), (x.astype(float), np.asarray(gamma, float))


def layer_norm_backward(dout, cache):
    x, gamma = cache
    d = x.shape[-1]
    s = np.sqrt(x.var(-1) + EPS)[..., None]
    x_hat = (x - x.mean(-1, keepdims=True)) / s
    jacobian = np.eye(d) - 1 / d - np.einsum("...i,...j->...ij", x_hat, x_hat) / d
    dx = np.einsum("...i,...ij->...j", np.asarray(dout) * gamma, jacobian) / s
    flat = np.reshape(dout, (-1, d))
    return dx, (flat * x_hat.reshape(-1, d)).sum(0), flat.sum(0)


def feed_forward(x, params):
    z = np.tensordot(np.asarray(x, float), np.asarray(params["W1"], float), axes=(2, 1)) + params["b1"]
    return np.tensordot(gelu(z), params["W2"], axes=(2, 1)) + params["b2"], [np.array(x, float), dict(params)]


def feed_forward_backward(dout, cache):
    x, params = cache
    W1, W2 = np.asarray(params["W1"], float), np.asarray(params["W2"], float)
    rows, dz_rows = x.reshape(-1, x.shape[-1]), np.reshape(dout, (-1, x.shape[-1]))
    z = rows @ W1.T + params["b1"]
    dz = dz_rows @ W2 * gelu_slope(z)
    grads = {"b1": dz.sum(0), "b2": dz_rows.sum(0), "W1": dz.T @ rows, "W2": dz_rows.T @ gelu(z)}
    return (dz @ W1).reshape(x.shape), grads


def block(x, params, n_heads, mask=None):
    x = np.asarray(x, float)
    caches = []
    for norm, branch in (("1", lambda n: multi_head(n, params, n_heads, mask)), ("2", lambda n: feed_forward(n, params))):
        n, first = layer_norm(x, params["gamma" + norm], params["beta" + norm])
        out, second = branch(n)
        caches.append((norm, first, second))
        x = x + out
    return x, caches


def block_backward(dout, cache):
    d, grads = np.asarray(dout, float), {}
    for (norm, first, second), back in zip(reversed(cache), (feed_forward_backward, multi_head_backward)):
        inner, part = back(d, second)
        through, grads["gamma" + norm], grads["beta" + norm] = layer_norm_backward(inner, first)
        grads |= part
        d = d + through
    return d, grads


def attention_mask(lengths, n, causal):
    out = np.zeros((len(lengths), n, n), bool)
    for b, i, j in np.ndindex(out.shape):
        out[b, i, j] = j < lengths[b] and (not causal or j <= i)
    return out


def parameter_count(d_model, d_ff):
    shapes = [(d_model, d_model)] * 4 + [(d_model,)] * 4 + [(d_ff, d_model), (d_ff,), (d_model, d_ff), (d_model,)]
    return int(sum(np.prod(s) for s in shapes))


def estimated_parameters(n_layers, d_model):
    return n_layers * (4 * d_model * d_model + 2 * d_model * 4 * d_model)


def train(params, x, target, n_heads, mask, peak, warmup, steps):
    state, losses = {}, []
    while len(losses) < steps:
        out, cache = block(x, params, n_heads, mask)
        miss = out - np.asarray(target, float)
        losses.append(float((miss * miss).sum() / miss.size))
        lr = peak if len(losses) >= warmup else peak * len(losses) / warmup
        params, state = adamw_step(params, block_backward(miss * 2 / miss.size, cache)[1], state, lr)
    return params, losses
