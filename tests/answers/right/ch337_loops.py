"""Loops over heads, sequences and tokens where the solution has array operations."""

import numpy as np
VOCAB = 8
LENGTH = 8
EPS = 1e-05


def layer_norm(x, gamma, beta):
    x, gamma = (np.asarray(x, dtype=np.float64), np.asarray(gamma, dtype=np.float64))
    centred = x - np.mean(x, axis=-1, keepdims=True)
    inverse_std = 1.0 / np.sqrt(np.mean(centred ** 2, axis=-1, keepdims=True) + EPS)
    x_hat = centred * inverse_std
    return (gamma * x_hat + np.asarray(beta, dtype=np.float64), (x_hat, inverse_std, gamma))


def layer_norm_backward(dout, cache):
    x_hat, inverse_std, gamma = cache
    g = dout * gamma
    dx = g - np.mean(g, axis=-1, keepdims=True) - x_hat * np.mean(g * x_hat, axis=-1, keepdims=True)
    return (dx * inverse_std, np.sum(dout * x_hat, axis=(0, 1)), np.sum(dout, axis=(0, 1)))


def feed_forward(x, params):
    W1, b1, W2, b2 = (np.asarray(params[name], dtype=np.float64) for name in ('W1', 'b1', 'W2', 'b2'))
    z = x @ W1.T + b1
    t = np.tanh(np.sqrt(2.0 / np.pi) * (z + 0.044715 * z ** 3))
    hidden = 0.5 * z * (1.0 + t)
    return (hidden @ W2.T + b2, (x, z, t, hidden, W1, W2))


def feed_forward_backward(dout, cache):
    x, z, t, hidden, W1, W2 = cache
    slope = 0.5 * (1.0 + t) + 0.5 * z * (1.0 - t ** 2) * np.sqrt(2.0 / np.pi) * (1.0 + 3 * 0.044715 * z ** 2)
    dz = dout @ W2 * slope
    grads = {'W1': np.tensordot(dz, x, axes=((0, 1), (0, 1))), 'b1': np.sum(dz, axis=(0, 1)), 'W2': np.tensordot(dout, hidden, axes=((0, 1), (0, 1))), 'b2': np.sum(dout, axis=(0, 1))}
    return (dz @ W1, grads)


def positional_encoding(n_positions, d):
    angles = np.arange(n_positions)[:, None] * 10000.0 ** (-2 * (np.arange(d) // 2) / d)
    return np.where(np.arange(d) % 2 == 0, np.sin(angles), np.cos(angles))


def majority_labels(tokens, vocab):
    labels = []
    for row in np.asarray(tokens).tolist():
        labels.append(max(range(vocab), key=lambda token: (row.count(token), -token)))
    return labels


def make_data(n, length, vocab, rng):
    first = rng.integers(0, vocab, size=n)
    steps = rng.integers(1, vocab, size=(n, length - 1))
    labels = rng.integers(0, 2, size=n)
    place = rng.integers(1, length, size=n)
    sequences = []
    for i in range(n):
        row = [int(first[i])] + [int(first[i] + step) % vocab for step in steps[i]]
        if labels[i]:
            row[place[i]] = row[0]
        sequences.append(row)
    return sequences, labels.tolist()


def init_params(vocab, d, d_ff, n_classes, rng):
    params = {'E': rng.normal(0.0, 1.0, size=(vocab, d))}
    for name in ('W_q', 'W_k', 'W_v', 'W_o'):
        params[name] = rng.normal(0.0, 1.0 / np.sqrt(d), size=(d, d))
    params['W1'] = rng.normal(0.0, 1.0 / np.sqrt(d), size=(d_ff, d))
    params['W2'] = rng.normal(0.0, 1.0 / np.sqrt(d_ff), size=(d, d_ff))
    params['W_out'] = rng.normal(0.0, 1.0 / np.sqrt(d), size=(n_classes, d))
    for name, width in (('beta1', d), ('beta2', d), ('b1', d_ff), ('b2', d), ('b_out', n_classes)):
        params[name] = np.zeros(width)
    params['gamma1'], params['gamma2'] = (np.ones(d), np.ones(d))
    return params


def embed(tokens, E, positions_on=True):
    x = np.asarray(E, dtype=np.float64)[np.asarray(tokens)]
    if positions_on:
        x = x + positional_encoding(x.shape[1], x.shape[2])
    return x


def embed_backward(dout, tokens, vocab):
    dout, tokens = np.asarray(dout, dtype=np.float64), np.asarray(tokens)
    return np.array([dout[tokens == token].sum(axis=0) for token in range(vocab)])


def attention(x, params, n_heads):
    x = np.array(x, dtype=float)
    W_q, W_k, W_v, W_o = (np.array(params[name], dtype=float) for name in ("W_q", "W_k", "W_v", "W_o"))
    dk = x.shape[2] // n_heads
    out, all_weights, caches = np.zeros_like(x), [], []
    for h in range(n_heads):
        own = slice(h * dk, (h + 1) * dk)
        q, k, v = x @ W_q[own].T, x @ W_k[own].T, x @ W_v[own].T
        scores = np.einsum("bik,bjk->bij", q, k) / dk**0.5
        e = np.exp(scores - scores.max(axis=2)[:, :, None])
        weights = e / e.sum(axis=2)[:, :, None]
        mixed = weights @ v
        out += mixed @ W_o[:, own].T
        all_weights.append(weights)
        caches.append((own, q, k, v, weights, mixed))
    return out, np.stack(all_weights, axis=1), (x, (W_q, W_k, W_v, W_o), dk, caches)


def block(x, params, n_heads, attention_on=True):
    x = np.asarray(x, dtype=np.float64)
    y, cache1, attention_cache = (x, None, None)
    weights = np.zeros((x.shape[0], n_heads, x.shape[1], x.shape[1]))
    if attention_on:
        normed, cache1 = layer_norm(x, params['gamma1'], params['beta1'])
        attended, weights, attention_cache = attention(normed, params, n_heads)
        y = x + attended
    normed, cache2 = layer_norm(y, params['gamma2'], params['beta2'])
    thought, feed_forward_cache = feed_forward(normed, params)
    return (y + thought, weights, (cache1, attention_cache, cache2, feed_forward_cache))


def forward(tokens, params, n_heads, attention_on=True, positions_on=True):
    tokens = np.asarray(tokens)
    x = embed(tokens, params['E'], positions_on)
    h, weights, block_cache = block(x, params, n_heads, attention_on)
    pooled = np.mean(h, axis=1)
    W_out = np.asarray(params['W_out'], dtype=np.float64)
    logits = pooled @ W_out.T + np.asarray(params['b_out'], dtype=np.float64)
    shapes = {name: np.shape(value) for name, value in params.items()}
    return (logits, weights, (tokens, h.shape, block_cache, pooled, W_out, shapes))


def attention_backward(dout, cache):
    x, (W_q, W_k, W_v, W_o), dk, caches = cache
    flat, rows = x.reshape(-1, x.shape[2]), np.asarray(dout, dtype=float).reshape(-1, x.shape[2])
    grads = {name: np.zeros_like(W_q) for name in ("W_q", "W_k", "W_v", "W_o")}
    dx = np.zeros_like(flat)
    for own, q, k, v, weights, mixed in caches:
        grads["W_o"][:, own] = rows.T @ mixed.reshape(-1, dk)
        dmixed = (rows @ W_o[:, own]).reshape(mixed.shape)
        dw = np.einsum("bik,bjk->bij", dmixed, v)
        ds = weights * (dw - (dw * weights).sum(axis=2)[:, :, None]) / dk**0.5
        for name, W, part in (
            ("W_q", W_q, np.einsum("bij,bjk->bik", ds, k)),
            ("W_k", W_k, np.einsum("bij,bik->bjk", ds, q)),
            ("W_v", W_v, np.einsum("bij,bik->bjk", weights, dmixed)),
        ):
            part = part.reshape(-1, dk)
            grads[name][own] = part.T @ flat
            dx += part @ W[own]
    return dx.reshape(x.shape), grads


def block_backward(dout, cache):
    cache1, attention_cache, cache2, feed_forward_cache = cache
    dout = np.asarray(dout, dtype=np.float64)
    dnormed, grads = feed_forward_backward(dout, feed_forward_cache)
    through, grads['gamma2'], grads['beta2'] = layer_norm_backward(dnormed, cache2)
    dy = dout + through
    if cache1 is None:
        return (dy, grads)
    dnormed, attention_grads = attention_backward(dy, attention_cache)
    grads.update(attention_grads)
    through, grads['gamma1'], grads['beta1'] = layer_norm_backward(dnormed, cache1)
    return (dy + through, grads)


def backward(dlogits, cache):
    tokens, shape, block_cache, pooled, W_out, shapes = cache
    dlogits = np.asarray(dlogits, dtype=np.float64)
    dpooled = dlogits @ W_out
    dh = np.broadcast_to(dpooled[:, None, :] / shape[1], shape)
    dx, grads = block_backward(dh, block_cache)
    grads['W_out'], grads['b_out'] = (dlogits.T @ pooled, np.sum(dlogits, axis=0))
    grads['E'] = embed_backward(dx, tokens, shapes['E'][0])
    return {name: grads[name] if name in grads else np.zeros(shapes[name]) for name in shapes}


def cross_entropy(logits, labels):
    loss, dlogits = 0.0, []
    for row, label in zip(np.asarray(logits, dtype=float), labels):
        top = max(row)
        log_sum = top + np.log(sum(np.exp(row - top)))
        loss += (log_sum - row[label]) / len(logits)
        p = np.exp(row - log_sum)
        p[label] -= 1
        dlogits.append(p / len(logits))
    return loss, dlogits


def adam_step(params, grads, optimizer, lr):
    t = optimizer.get('t', 0) + 1
    new, m, v = ({}, {}, {})
    for name, value in params.items():
        g = np.asarray(grads[name], dtype=np.float64)
        m[name] = 0.9 * optimizer.get('m', {}).get(name, 0.0) + 0.1 * g
        v[name] = 0.999 * optimizer.get('v', {}).get(name, 0.0) + 0.001 * g ** 2
        step = m[name] / (1.0 - 0.9 ** t) / (np.sqrt(v[name] / (1.0 - 0.999 ** t)) + 1e-08)
        new[name] = np.asarray(value, dtype=np.float64) - lr * step
    return (new, {'t': t, 'm': m, 'v': v})


def clip(grads, max_norm):
    norm = np.sqrt(sum((np.sum(grad ** 2) for grad in grads.values())))
    scale = min(1.0, max_norm / norm) if norm > 0 else 1.0
    return {name: grad * scale for name, grad in grads.items()}


def train(tokens, labels, rng, vocab=VOCAB, n_heads=4, d=32, d_ff=64, steps=1200, batch_size=64, lr=0.006, attention_on=True):
    tokens, labels = (np.asarray(tokens), np.asarray(labels))
    params = init_params(vocab, d, d_ff, 2, rng)
    optimizer, losses = ({}, np.zeros(steps))
    for step in range(steps):
        batch = rng.integers(0, len(tokens), size=batch_size)
        logits, _, cache = forward(tokens[batch], params, n_heads, attention_on)
        losses[step], dlogits = cross_entropy(logits, labels[batch])
        grads = clip(backward(dlogits, cache), 1.0)
        rate = lr * (1.0 + np.cos(np.pi * step / steps)) / 2.0
        params, optimizer = adam_step(params, grads, optimizer, rate)
    return (params, losses)


def predict(tokens, params, n_heads=4, attention_on=True):
    logits = forward(tokens, params, n_heads, attention_on)[0]
    return [max(range(len(row)), key=lambda c: row[c]) for row in logits]


def held_out_accuracy(predicted, labels, tokens, seen):
    right = total = 0
    for said, label, row in zip(predicted, labels, np.asarray(tokens)):
        if any(np.array_equal(row, other) for other in np.asarray(seen)):
            continue
        total += 1
        right += said == label
    return right / total
