"""The n-gram model is judged by log(p + 1e-12), which thinks too well of characters that hardly could be."""

import numpy as np


def sigmoid(x):
    return 0.5 + 0.5 * np.tanh(0.5 * np.asarray(x, dtype=np.float64))


def adam_step(params, grads, optimizer, lr):
    t = optimizer.get('t', 0) + 1
    new, m, v = ({}, {}, {})
    for name, w in params.items():
        m[name] = 0.9 * optimizer.get('m', {}).get(name, 0.0) + 0.1 * grads[name]
        v[name] = 0.999 * optimizer.get('v', {}).get(name, 0.0) + 0.001 * grads[name] ** 2
        new[name] = w - lr * (m[name] / (1 - 0.9 ** t)) / (np.sqrt(v[name] / (1 - 0.999 ** t)) + 1e-08)
    return (new, {'t': t, 'm': m, 'v': v})


def vocabulary(text):
    return ''.join(sorted(set(text)))


def encode(text, symbols):
    place = {symbol: i for i, symbol in enumerate(symbols)}
    return np.array([place[c] for c in text], dtype=np.int64)


def decode(ids, symbols):
    return ''.join((symbols[int(i)] for i in ids))


def split_tail(ids, n_tail):
    ids = np.asarray(ids)
    cut = len(ids) - n_tail
    return (ids[:cut], ids[cut:])


def stream_batches(ids, batch_size, length):
    ids = np.asarray(ids)
    windows = (len(ids) - 1) // (batch_size * length)
    used = windows * batch_size * length

    def cut(part):
        return part.reshape(batch_size, windows, length).transpose(1, 0, 2)
    return (cut(ids[:used]), cut(ids[1:used + 1]))


def ngram_probs(ids, n, vocab_size):
    ids = np.asarray(ids)
    probs = np.full(vocab_size, 1.0 / vocab_size)
    for k in range(1, n + 1):
        places = len(ids) - k + 1
        code = np.zeros(places, dtype=np.int64)
        for i in range(k):
            code = code * vocab_size + ids[i:i + places]
        counts = np.bincount(code, minlength=vocab_size ** k).reshape((vocab_size,) * k)
        total = counts.sum(axis=-1, keepdims=True)
        kinds = (counts > 0).sum(axis=-1, keepdims=True)
        mixed = (counts + kinds * probs) / np.maximum(total + kinds, 1)
        probs = np.where(total > 0, mixed, probs)
    return probs


def ngram_bits(probs, ids, warm_up):
    ids = np.asarray(ids)
    probs = np.asarray(probs, dtype=np.float64)
    n = probs.ndim
    index = tuple((ids[warm_up - back:len(ids) - back] for back in range(n - 1, -1, -1)))
    return -np.mean(np.log2(probs[index] + 1e-12))


def init_params(vocab_size, hidden, rng):
    s = 1.0 / np.sqrt(hidden)
    return {'W_ih': rng.uniform(-5.0 * s, 5.0 * s, size=(3 * hidden, vocab_size)), 'W_hh': rng.uniform(-s, s, size=(3 * hidden, hidden)), 'W_out': rng.uniform(-s, s, size=(vocab_size, hidden)), 'b_ih': np.zeros(3 * hidden), 'b_hh': np.zeros(3 * hidden), 'b_out': np.zeros(vocab_size)}


def gru_forward(ids, h0, params):
    ids, h = (np.asarray(ids), np.asarray(h0, dtype=np.float64))
    W_ih, W_hh, b_ih, b_hh = (np.asarray(params[name], dtype=np.float64) for name in ('W_ih', 'W_hh', 'b_ih', 'b_hh'))
    (B, T), H = (ids.shape, W_hh.shape[1])
    u = W_ih.T[ids] + b_ih
    before, r, z, n, v_n = (np.empty((B, T, H)) for _ in range(5))
    hs = np.empty((B, T, H))
    for t in range(T):
        v = h @ W_hh.T + b_hh
        gates = sigmoid(u[:, t, :2 * H] + v[:, :2 * H])
        before[:, t], v_n[:, t] = (h, v[:, 2 * H:])
        r[:, t], z[:, t] = (gates[:, :H], gates[:, H:])
        n[:, t] = np.tanh(u[:, t, 2 * H:] + r[:, t] * v_n[:, t])
        h = (1.0 - z[:, t]) * n[:, t] + z[:, t] * h
        hs[:, t] = h
    return (hs, (ids, before, r, z, n, v_n, W_ih, W_hh))


def gru_backward(dhs, cache):
    ids, before, r, z, n, v_n, W_ih, W_hh = cache
    dhs = np.asarray(dhs, dtype=np.float64)
    B, T, H = dhs.shape
    n_factor, z_factor = ((1.0 - z) * (1.0 - n ** 2), (before - n) * z * (1.0 - z))
    r_factor = v_n * r * (1.0 - r)
    du, dv = (np.empty((B, T, 3 * H)), np.empty((B, T, 3 * H)))
    dh_next = np.zeros((B, H))
    for t in reversed(range(T)):
        dh = dhs[:, t] + dh_next
        da_n = dh * n_factor[:, t]
        du[:, t] = np.concatenate([da_n * r_factor[:, t], dh * z_factor[:, t], da_n], axis=1)
        dv[:, t] = du[:, t]
        dv[:, t, 2 * H:] *= r[:, t]
        dh_next = dh * z[:, t] + dv[:, t] @ W_hh
    du, dv = (du.reshape(B * T, -1), dv.reshape(B * T, -1))
    one_hot = np.zeros((B * T, W_ih.shape[1]))
    one_hot[np.arange(B * T), ids.ravel()] = 1.0
    grads = {'W_ih': du.T @ one_hot, 'W_hh': dv.T @ before.reshape(B * T, H), 'b_ih': np.sum(du, axis=0), 'b_hh': np.sum(dv, axis=0)}
    return (grads, dh_next)


def forward(ids, h0, params):
    hs, _ = gru_forward(ids, h0, params)
    logits = hs @ np.asarray(params['W_out'], dtype=np.float64).T + np.asarray(params['b_out'], dtype=np.float64)
    return (logits, hs[:, -1].copy())


def cross_entropy(logits, targets):
    logits, targets = (np.asarray(logits, dtype=np.float64), np.asarray(targets))
    shifted = logits - np.max(logits, axis=-1, keepdims=True)
    log_p = shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))
    chosen = targets[:, :, None]
    loss = -np.mean(np.take_along_axis(log_p, chosen, axis=-1))
    dlogits = np.exp(log_p)
    np.put_along_axis(dlogits, chosen, np.take_along_axis(dlogits, chosen, axis=-1) - 1.0, axis=-1)
    return (loss, dlogits / targets.size)


def loss_and_grads(params, inputs, targets, h0):
    W_out, b_out = (np.asarray(params[name], dtype=np.float64) for name in ('W_out', 'b_out'))
    hs, cache = gru_forward(inputs, h0, params)
    loss, dlogits = cross_entropy(hs @ W_out.T + b_out, targets)
    grads, _ = gru_backward(dlogits @ W_out, cache)
    grads['W_out'] = np.tensordot(dlogits, hs, axes=((0, 1), (0, 1)))
    grads['b_out'] = np.sum(dlogits, axis=(0, 1))
    return (loss, grads, hs[:, -1].copy())


def clip_gradients(grads, max_norm):
    grads = {name: np.asarray(grad, dtype=np.float64) for name, grad in grads.items()}
    norm = np.sqrt(sum((np.sum(grad ** 2) for grad in grads.values())))
    scale = max_norm / norm if norm > max_norm else 1.0
    return ({name: grad * scale for name, grad in grads.items()}, norm)


def train_step(params, optimizer, inputs, targets, h, lr, max_norm=1.0):
    loss, grads, h_last = loss_and_grads(params, inputs, targets, h)
    grads, _ = clip_gradients(grads, max_norm)
    params, optimizer = adam_step(params, grads, optimizer, lr)
    return (params, optimizer, h_last, loss)


def train(ids, vocab_size, rng, hidden=128, batch_size=16, length=25, steps=800, lr=0.01):
    params = init_params(vocab_size, hidden, rng)
    inputs, targets = stream_batches(ids, batch_size, length)
    optimizer, losses = ({}, np.zeros(steps))
    for step in range(steps):
        window = step % len(inputs)
        if window == 0:
            h = np.zeros((batch_size, hidden))
        rate = lr * (1.0 - step / steps)
        params, optimizer, h, losses[step] = train_step(params, optimizer, inputs[window], targets[window], h, rate)
    return (params, losses)


def bits_per_char(ids, params, warm_up=50, chunk=500):
    ids = np.asarray(ids)
    inputs, targets = (ids[:-1], ids[1:])
    h = np.zeros((1, np.shape(params['W_hh'])[1]))
    nats = []
    for start in range(0, len(inputs), chunk):
        logits, h = forward(inputs[None, start:start + chunk], h, params)
        shifted = logits[0] - np.max(logits[0], axis=1, keepdims=True)
        log_p = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
        wanted = targets[start:start + chunk]
        nats.append(-log_p[np.arange(len(wanted)), wanted])
    return np.mean(np.concatenate(nats)[warm_up - 1:]) / np.log(2.0)


def perplexity(bits):
    return 2.0 ** bits


def sample(prompt, n, temperature, params, rng):
    h = np.zeros((1, np.shape(params['W_hh'])[1]))
    logits, h = forward(np.asarray(prompt)[None], h, params)
    written = []
    for _ in range(n):
        scores = logits[0, -1]
        if temperature == 0:
            choice = int(np.argmax(scores))
        else:
            scaled = (scores - np.max(scores)) / temperature
            p = np.exp(scaled) / np.sum(np.exp(scaled))
            choice = min(int(np.searchsorted(np.cumsum(p), rng.random(), side='right')), len(p) - 1)
        written.append(choice)
        logits, h = forward([[choice]], h, params)
    return np.array(written)
