"""Time is the first axis inside, a cell is a class, the products are einsums, and all draws are made at once."""

import numpy as np


class Cell:

    def __init__(self, params):
        self.W_ih, self.W_hh = (np.array(params['W_ih'], dtype=float), np.array(params['W_hh'], dtype=float))
        self.b_ih, self.b_hh = (np.array(params['b_ih'], dtype=float), np.array(params['b_hh'], dtype=float))
        self.H = self.W_hh.shape[1]

    def step(self, ids, h):
        u = np.take(self.W_ih, ids, axis=1).T + self.b_ih
        v = np.einsum('bh,gh->bg', h, self.W_hh, optimize=True) + self.b_hh
        r, z = np.split(sigmoid((u + v)[:, :2 * self.H]), 2, axis=1)
        v_n = v[:, 2 * self.H:]
        n = np.tanh(u[:, 2 * self.H:] + r * v_n)
        return ((1 - z) * n + z * h, (ids, h, r, z, n, v_n))

    def back(self, dh, kept, grads):
        ids, h, r, z, n, v_n = kept
        da_n = dh * (1 - z) * (1 - n * n)
        shared = np.concatenate([da_n * v_n * r * (1 - r), dh * (h - n) * z * (1 - z)], axis=1)
        du, dv = (np.concatenate([shared, da_n], axis=1), np.concatenate([shared, r * da_n], axis=1))
        np.add.at(grads['W_ih'].T, ids, du)
        grads['W_hh'] += np.einsum('bg,bh->gh', dv, h, optimize=True)
        grads['b_ih'] += np.einsum('bg->g', du)
        grads['b_hh'] += np.einsum('bg->g', dv)
        return dh * z + np.einsum('bg,gh->bh', dv, self.W_hh, optimize=True)


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
    return ''.join((chr(code) for code in np.unique([ord(c) for c in text])))


def encode(text, symbols):
    codes = np.array([ord(c) for c in symbols])
    order = np.argsort(codes)
    return order[np.searchsorted(codes[order], [ord(c) for c in text])]


def decode(ids, symbols):
    return ''.join((symbols[int(i)] for i in ids))


def split_tail(ids, n_tail):
    ids = np.asarray(ids)
    cut = len(ids) - n_tail
    return (ids[:cut], ids[cut:])


def stream_batches(ids, batch_size, length):
    ids = np.asarray(ids)
    K = (len(ids) - 1) // (batch_size * length)
    place = (np.arange(batch_size) * K * length)[None, :, None] + (np.arange(K) * length)[:, None, None] + np.arange(length)
    return (ids[place], ids[place + 1])


def ngram_probs(ids, n, vocab_size):
    ids = np.asarray(ids)
    if n == 0:
        return np.full((), 1.0) * np.ones(vocab_size) / vocab_size
    lower = ngram_probs(ids, n - 1, vocab_size)
    windows = np.lib.stride_tricks.sliding_window_view(ids, n)
    counts = np.histogramdd(windows, bins=[np.arange(vocab_size + 1) - 0.5] * n)[0]
    kinds = np.sign(counts).sum(-1)[..., None]
    total = counts.sum(-1)[..., None]
    kinds = np.where(total == 0, 1, kinds)
    return (counts + kinds * lower) / (total + kinds)


def ngram_bits(probs, ids, warm_up):
    n = np.ndim(probs)
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(ids), n)[warm_up - n + 1:]
    flat = np.ravel_multi_index(tuple(windows.T), np.shape(probs))
    return -np.log2(np.ravel(probs)[flat]).sum() / len(flat)


def init_params(vocab_size, hidden, rng):
    s = 1.0 / np.sqrt(hidden)
    return {'W_ih': rng.uniform(-5.0 * s, 5.0 * s, size=(3 * hidden, vocab_size)), 'W_hh': rng.uniform(-s, s, size=(3 * hidden, hidden)), 'W_out': rng.uniform(-s, s, size=(vocab_size, hidden)), 'b_ih': np.zeros(3 * hidden), 'b_hh': np.zeros(3 * hidden), 'b_out': np.zeros(vocab_size)}


def gru_forward(ids, h0, params):
    cell, h = (Cell(params), np.array(h0, dtype=float))
    hs, kept = ([], [])
    for column in np.asarray(ids).T:
        h, memory = cell.step(column, h)
        hs.append(h)
        kept.append(memory)
    return (np.moveaxis(np.array(hs), 0, 1), (cell, kept))


def gru_backward(dhs, cache):
    cell, kept = cache
    grads = {name: np.zeros_like(getattr(cell, name)) for name in ('W_ih', 'W_hh', 'b_ih', 'b_hh')}
    dh = 0.0
    for now, memory in zip(np.moveaxis(np.asarray(dhs, dtype=float), 1, 0)[::-1], kept[::-1]):
        dh = cell.back(now + dh, memory, grads)
    return (grads, dh)


def forward(ids, h0, params):
    hs, _ = gru_forward(ids, h0, params)
    logits = hs @ np.asarray(params['W_out'], dtype=np.float64).T + np.asarray(params['b_out'], dtype=np.float64)
    return (logits, hs[:, -1].copy())


def cross_entropy(logits, targets):
    logits = np.asarray(logits, dtype=float)
    flat, y = (logits.reshape(-1, logits.shape[-1]), np.ravel(targets))
    log_p = flat - np.logaddexp.reduce(flat, axis=1, keepdims=True)
    hot = np.eye(flat.shape[1])[y]
    return (-(log_p * hot).sum() / len(y), ((np.exp(log_p) - hot) / len(y)).reshape(logits.shape))


def loss_and_grads(params, inputs, targets, h0):
    hs, cache = gru_forward(inputs, h0, params)
    loss, d = cross_entropy(np.einsum('bth,vh->btv', hs, params['W_out'], optimize=True) + params['b_out'], targets)
    grads, _ = gru_backward(np.einsum('btv,vh->bth', d, params['W_out'], optimize=True), cache)
    grads['W_out'] = np.einsum('btv,bth->vh', d, hs, optimize=True)
    grads['b_out'] = np.einsum('btv->v', d)
    return (loss, grads, hs[:, -1])


def clip_gradients(grads, max_norm):
    norm = np.linalg.norm(np.concatenate([np.ravel(g) for g in grads.values()]))
    return ({k: np.asarray(g) * (1.0 if norm <= max_norm else max_norm / norm) for k, g in grads.items()}, norm)


def train_step(params, optimizer, inputs, targets, h, lr, max_norm=1.0):
    loss, grads, h_last = loss_and_grads(params, inputs, targets, h)
    grads, _ = clip_gradients(grads, max_norm)
    params, optimizer = adam_step(params, grads, optimizer, lr)
    return (params, optimizer, h_last, loss)


def train(ids, vocab_size, rng, hidden=96, batch_size=20, length=16, steps=800, lr=0.012):
    params = init_params(vocab_size, hidden, rng)
    inputs, targets = stream_batches(ids, batch_size, length)
    memory, losses, h = ({}, [], np.zeros((batch_size, hidden)))
    for s in range(steps):
        k = s % len(inputs)
        params, memory, h, loss = train_step(params, memory, inputs[k], targets[k], h, lr - lr * s / steps)
        losses.append(loss)
        if k == len(inputs) - 1:
            h = np.zeros((batch_size, hidden))
    return (params, np.array(losses))


def bits_per_char(ids, params, warm_up=50, chunk=500):
    h, cell = (np.zeros((1, len(params['W_hh'][0]))), Cell(params))
    states = []
    for c in np.asarray(ids)[:-1]:
        h, _ = cell.step(np.array([c]), h)
        states.append(h[0])
    logits = np.array(states) @ np.asarray(params['W_out']).T + params['b_out']
    log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return -log_p[np.arange(len(log_p)), np.asarray(ids)[1:]][warm_up - 1:].mean() * np.log2(np.e)


def perplexity(bits):
    return 2.0 ** bits


def sample(prompt, n, temperature, params, rng):
    cell, h = (Cell(params), np.zeros((1, len(params['W_hh'][0]))))
    draws = rng.random(n) if temperature > 0 else [None] * n
    for c in prompt[:-1]:
        h, _ = cell.step(np.array([c]), h)
    c, out = (prompt[-1], [])
    for u in draws:
        h, _ = cell.step(np.array([c]), h)
        scores = np.asarray(params['W_out']) @ h[0] + params['b_out']
        if u is None:
            c = scores.argmax()
        else:
            scores = scores / temperature
            c = (np.exp(scores - np.logaddexp.reduce(scores)).cumsum() > u).argmax()
        out.append(int(c))
    return np.array(out)
