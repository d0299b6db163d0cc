"""The table of the trained model has as many rows as the data need, not as many as vocab says."""

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
    tokens = np.asarray(tokens)
    counts = np.stack([np.sum(tokens == token, axis=1) for token in range(vocab)], axis=1)
    return np.argmax(counts, axis=1)


def make_data(n, length, vocab, rng):
    first = rng.integers(0, vocab, size=n)
    steps = rng.integers(1, vocab, size=(n, length - 1))
    labels = rng.integers(0, 2, size=n)
    place = rng.integers(1, length, size=n)
    tokens = np.concatenate([first[:, None], (first[:, None] + steps) % vocab], axis=1)
    rows = np.flatnonzero(labels == 1)
    tokens[rows, place[rows]] = first[rows]
    return (tokens, labels)


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
    dout = np.asarray(dout, dtype=np.float64)
    dE = np.zeros((vocab, dout.shape[-1]))
    np.add.at(dE, np.asarray(tokens), dout)
    return dE


def attention(x, params, n_heads):
    x = np.asarray(x, dtype=np.float64)
    batch, length, d = x.shape
    W = {name: np.asarray(params[name], dtype=np.float64) for name in ('W_q', 'W_k', 'W_v', 'W_o')}

    def heads(a):
        return a.reshape(batch, length, n_heads, d // n_heads).transpose(0, 2, 1, 3)
    q, k, v = (heads(x @ W[name].T) for name in ('W_q', 'W_k', 'W_v'))
    scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(d // n_heads)
    weights = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
    weights = weights / np.sum(weights, axis=-1, keepdims=True)
    merged = (weights @ v).transpose(0, 2, 1, 3).reshape(batch, length, d)
    return (merged @ W['W_o'].T, weights, (x, W, q, k, v, weights, merged))


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
    x, W, q, k, v, weights, merged = cache
    dout = np.asarray(dout, dtype=np.float64)
    batch, length, d = x.shape
    n_heads = q.shape[1]

    def merge(a):
        return a.transpose(0, 2, 1, 3).reshape(batch, length, d)
    both = ((0, 1), (0, 1))
    grads = {'W_o': np.tensordot(dout, merged, axes=both)}
    dheads = (dout @ W['W_o']).reshape(batch, length, n_heads, d // n_heads).transpose(0, 2, 1, 3)
    dweights = dheads @ v.transpose(0, 1, 3, 2)
    dscores = weights * (dweights - np.sum(dweights * weights, axis=-1, keepdims=True)) / np.sqrt(d // n_heads)
    dq, dk = (merge(dscores @ k), merge(dscores.transpose(0, 1, 3, 2) @ q))
    dv = merge(weights.transpose(0, 1, 3, 2) @ dheads)
    dx = np.zeros_like(x)
    for name, part in (('W_q', dq), ('W_k', dk), ('W_v', dv)):
        grads[name] = np.tensordot(part, x, axes=both)
        dx += part @ W[name]
    return (dx, grads)


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
    logits, labels = (np.asarray(logits, dtype=np.float64), np.asarray(labels))
    rows = np.arange(len(logits))
    shifted = logits - np.max(logits, axis=1, keepdims=True)
    log_p = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    dlogits = np.exp(log_p)
    dlogits[rows, labels] -= 1.0
    return (-np.mean(log_p[rows, labels]), dlogits / len(logits))


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
    params = init_params(int(np.max(tokens)) + 1, d, d_ff, 2, rng)
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
    return np.argmax(forward(tokens, params, n_heads, attention_on)[0], axis=1)


def held_out_accuracy(predicted, labels, tokens, seen):
    known = {tuple(row) for row in np.asarray(seen).tolist()}
    fresh = np.array([tuple(row) not in known for row in np.asarray(tokens).tolist()])
    return float(np.mean((np.asarray(predicted) == np.asarray(labels))[fresh]))
