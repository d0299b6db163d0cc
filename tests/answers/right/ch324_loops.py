"""Right, with a loop over rows, candidates and tokens; every cosine brings its own gradient."""

import math

import numpy as np


def normalize(z):
    return [[v / math.hypot(*row) for v in row] for row in np.asarray(z, float).tolist()]


def normalize_backward(dout, z):
    out = []
    for g, row in zip(np.asarray(dout, float), np.asarray(z, float), strict=True):
        length = math.sqrt(row @ row)
        # The derivative of a row over its length, as a matrix.
        out.append((np.eye(len(row)) / length - np.outer(row, row) / length**3) @ g)
    return out


def _cosine(a, b):
    """The cosine of two rows and its gradients."""
    la, lb = math.sqrt(a @ a), math.sqrt(b @ b)
    c = (a / la) @ (b / lb)
    return c, (b / lb - c * a / la) / la, (a / la - c * b / lb) / lb


def _cross_entropy(scores, right):
    top = max(scores)
    parts = [math.exp(s - top) for s in scores]
    total = math.fsum(parts)
    slope = [p / total for p in parts]
    slope[right] -= 1
    return math.log(total) + top - scores[right], slope


def info_nce(queries, keys, temperature):
    q, k = np.asarray(queries, float), np.asarray(keys, float)
    loss, dq, dk = 0.0, np.zeros_like(q), np.zeros_like(k)
    for i in range(len(q)):
        found = [_cosine(q[i], key) for key in k]
        one, slope = _cross_entropy([c / temperature for c, _, _ in found], i)
        loss += one / len(q)
        for j, (s, (_, da, db)) in enumerate(zip(slope, found, strict=True)):
            dq[i] += s * da / temperature / len(q)
            dk[j] += s * db / temperature / len(q)
    return loss, dq.tolist(), dk


def clip_loss(images, texts, temperature):
    a = info_nce(images, texts, temperature)
    b = info_nce(texts, images, temperature)
    return [0.5 * (a[0] + b[0]), 0.5 * np.add(a[1], b[2]), 0.5 * np.add(a[2], b[1])]


def nt_xent(z, temperature):
    z = np.asarray(z, float)
    if len(z) % 2:
        raise ValueError("odd")
    half = len(z) // 2
    loss, dz = 0.0, np.zeros_like(z)
    for i in range(len(z)):
        others = [j for j in range(len(z)) if j != i]
        found = [_cosine(z[i], z[j]) for j in others]
        right = others.index(i + half if i < half else i - half)
        one, slope = _cross_entropy([c / temperature for c, _, _ in found], right)
        loss += one / len(z)
        for j, s, (_, da, db) in zip(others, slope, found, strict=True):
            dz[i] += s * da / temperature / len(z)
            dz[j] += s * db / temperature / len(z)
    return loss, dz


def triplet_loss(anchor, positive, negative, margin):
    a, p, n = (np.asarray(x, float) for x in (anchor, positive, negative))
    loss, da, dp, dn = 0.0, np.zeros_like(a), np.zeros_like(p), np.zeros_like(n)
    for i in range(len(a)):
        good, ga, gp = _cosine(a[i], p[i])
        bad, ha, hn = _cosine(a[i], n[i])
        if margin + bad - good > 0:
            loss += (margin + bad - good) / len(a)
            da[i], dp[i], dn[i] = (ha - ga) / len(a), -gp / len(a), hn / len(a)
    return loss, da, dp, dn


def mask_tokens(tokens, vocab_size, mask_id, rng):
    shape = np.shape(tokens)
    first, second = rng.random(shape), rng.random(shape)
    other = rng.integers(vocab_size, size=shape)
    inputs, targets = [], []
    for b, row in enumerate(tokens):
        inputs.append([])
        targets.append([])
        for t, token in enumerate(row):
            asked = first[b, t] < 0.15
            shown = int(token)
            if asked and second[b, t] < 0.8:
                shown = mask_id
            elif asked and second[b, t] < 0.9:
                shown = int(other[b, t])
            inputs[-1].append(shown)
            targets[-1].append(int(token) if asked else -100)
    return inputs, targets


def masked_lm_loss(logits, targets):
    logits, targets = np.asarray(logits, float), np.asarray(targets)
    places = [place for place in np.ndindex(targets.shape) if targets[place] != -100]
    if not places:
        raise ValueError("nothing to learn from")
    loss, dlogits = 0.0, np.zeros(logits.shape)
    for place in places:
        one, slope = _cross_entropy(logits[place].tolist(), targets[place])
        loss += one / len(places)
        dlogits[place] = np.array(slope) / len(places)
    return loss, dlogits


def causal_lm_loss(logits, tokens):
    logits, tokens = np.asarray(logits, float), np.asarray(tokens)
    loss, slope = masked_lm_loss(logits[:, :-1], tokens[:, 1:])
    return loss, np.concatenate([slope, np.zeros((len(tokens), 1, logits.shape[2]))], axis=1)
