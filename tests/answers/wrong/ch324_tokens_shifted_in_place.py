"""Wrong: the next-word loss shifts the tokens it is given."""

import numpy as np


def _lse(s):
    return np.logaddexp.reduce(s, axis=-1, keepdims=True)


def normalize(z):
    return (
        z * np.einsum("nd,nd->n", z, z)[:, None] ** -0.5 if isinstance(z, np.ndarray) else normalize(np.array(z, float))
    )


def normalize_backward(dout, z):
    u = normalize(z)
    length = np.einsum("nd,nd->n", u, z)[:, None]
    return np.asarray(dout) / length - np.einsum("nd,ne,ne->nd", u, u, dout) / length


def info_nce(queries, keys, temperature):
    q, k = normalize(queries), normalize(keys)
    s = np.einsum("id,jd->ij", q, k) / temperature
    one_hot = np.identity(len(q))
    loss = np.mean(_lse(s)[:, 0] - np.einsum("ii->i", s))
    slope = (np.exp(s - _lse(s)) - one_hot) / (temperature * len(q))
    back = [np.einsum("ij,jd->id", slope, k), np.einsum("ij,id->jd", slope, q)]
    return loss, normalize_backward(back[0], queries), normalize_backward(back[1], keys)


def clip_loss(images, texts, temperature):
    u, v = normalize(images), normalize(texts)
    n = len(u)
    s = u @ v.T / temperature
    loss = (_lse(s).mean() + _lse(s.T).mean()) / 2 - np.trace(s) / n
    slope = (np.exp(s - _lse(s)) + np.exp(s.T - _lse(s.T)).T - 2 * np.eye(n)) / (2 * n * temperature)
    return loss, normalize_backward(slope @ v, images), normalize_backward(slope.T @ u, texts)


def nt_xent(z, temperature):
    z = np.asarray(z)
    n = len(z)
    if n % 2 != 0:
        raise ValueError(f"{n} rows")
    u = normalize(z)
    s = u @ u.T / temperature
    off = ~np.eye(n, dtype=bool)
    cut = s[off].reshape(n, n - 1)
    one_hot = np.roll(np.eye(n), n // 2, axis=1)
    loss = np.mean(_lse(cut)[:, 0] - np.sum(s * one_hot, axis=1))
    slope = np.zeros((n, n))
    slope[off] = np.exp(cut - _lse(cut)).ravel()
    slope -= one_hot
    both = (slope + slope.T) / (n * temperature)
    return loss, normalize_backward(np.einsum("ij,jd->id", both, u), z)


def triplet_loss(anchor, positive, negative, margin):
    a, p, n = map(normalize, (anchor, positive, negative))
    gap = np.einsum("bd,bd->b", a, n - p) + margin
    w = np.heaviside(gap, 0.0) / len(gap)
    loss = gap @ w
    slopes = np.einsum("b,kbd->kbd", w, np.array([n - p, -a, a]))
    back = [normalize_backward(g, z) for g, z in zip(slopes, (anchor, positive, negative), strict=True)]
    return loss, back[0], back[1], back[2]


def mask_tokens(tokens, vocab_size, mask_id, rng):
    inputs = np.array(tokens)
    asked = rng.random(inputs.shape) < 0.15
    kind = rng.random(inputs.shape)
    other = rng.integers(0, vocab_size, inputs.shape)
    targets = np.full_like(inputs, -100)
    targets[asked] = inputs[asked]
    inputs[asked & (kind < 0.8)] = mask_id
    swap = asked & (kind >= 0.8) & (kind < 0.9)
    inputs[swap] = other[swap]
    return inputs, targets


def masked_lm_loss(logits, targets):
    logits, targets = np.asarray(logits, float), np.asarray(targets)
    asked = (targets != -100).astype(float)
    count = asked.sum()
    if count == 0:
        raise ValueError("no targets")
    one_hot = (targets[..., None] == np.arange(logits.shape[-1])).astype(float)
    log_p = logits - _lse(logits)
    loss = -np.einsum("btv,btv->", one_hot, log_p) / count
    return loss, (np.exp(log_p) * asked[..., None] - one_hot) / count


def causal_lm_loss(logits, tokens):
    tokens = np.asarray(tokens)
    tokens[:, :-1] = tokens[:, 1:].copy()
    tokens[:, -1] = -100
    return masked_lm_loss(logits, tokens)
