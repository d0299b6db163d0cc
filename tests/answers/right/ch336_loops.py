"""Loops and lists: one character, one step, one entry at a time; caches are lists of dicts."""

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
    found = []
    for c in text:
        if c not in found:
            found.append(c)
    found.sort(key=ord)
    out = ''
    for c in found:
        out += c
    return out


def encode(text, symbols):
    return [symbols.index(c) for c in text]


def decode(ids, symbols):
    out = ''
    for i in ids:
        out += symbols[i]
    return out


def split_tail(ids, n_tail):
    train_part, tail = ([], [])
    for i in range(len(ids)):
        (tail if i >= len(ids) - n_tail else train_part).append(int(ids[i]))
    return (train_part, tail)


def stream_batches(ids, batch_size, length):
    K = (len(ids) - 1) // (batch_size * length)
    inputs = [[[int(ids[b * K * length + k * length + t]) for t in range(length)] for b in range(batch_size)] for k in range(K)]
    targets = [[[int(ids[b * K * length + k * length + t + 1]) for t in range(length)] for b in range(batch_size)] for k in range(K)]
    return (inputs, targets)


def ngram_probs(ids, n, vocab_size):
    ids = [int(i) for i in ids]
    followers = {}
    for k in range(1, n + 1):
        for i in range(k - 1, len(ids)):
            here = followers.setdefault(tuple(ids[i - k + 1:i]), {})
            here[ids[i]] = here.get(ids[i], 0) + 1

    def p(context, c):
        shorter = p(context[1:], c) if context else 1.0 / vocab_size
        here = followers.get(context)
        if here is None:
            return shorter
        return (here.get(c, 0) + len(here) * shorter) / (sum(here.values()) + len(here))
    out = np.zeros((vocab_size,) * n)
    for index in np.ndindex(out.shape):
        out[index] = p(index[:-1], index[-1])
    return out


def ngram_bits(probs, ids, warm_up):
    probs = np.asarray(probs)
    n, total = (probs.ndim, 0.0)
    for i in range(warm_up, len(ids)):
        entry = probs
        for back in range(n - 1, -1, -1):
            entry = entry[int(ids[i - back])]
        total -= np.log(entry) / np.log(2)
    return total / (len(ids) - warm_up)


def init_params(vocab_size, hidden, rng):
    s = 1.0 / np.sqrt(hidden)
    return {'W_ih': rng.uniform(-5.0 * s, 5.0 * s, size=(3 * hidden, vocab_size)), 'W_hh': rng.uniform(-s, s, size=(3 * hidden, hidden)), 'W_out': rng.uniform(-s, s, size=(vocab_size, hidden)), 'b_ih': np.zeros(3 * hidden), 'b_hh': np.zeros(3 * hidden), 'b_out': np.zeros(vocab_size)}


def gru_forward(ids, h0, params):
    ids = np.array(ids)
    h = np.array(h0, dtype=float)
    W_ih, W_hh = (np.array(params['W_ih']), np.array(params['W_hh']))
    H, V = (W_hh.shape[1], W_ih.shape[1])
    hs, cache = ([], [])
    for t in range(ids.shape[1]):
        x = np.zeros((len(ids), V))
        for b in range(len(ids)):
            x[b, ids[b, t]] = 1.0
        u = x @ W_ih.T + params['b_ih']
        v = h @ W_hh.T + params['b_hh']
        r = 1 / (1 + np.exp(-(u[:, :H] + v[:, :H])))
        z = 1 / (1 + np.exp(-(u[:, H:2 * H] + v[:, H:2 * H])))
        n = np.tanh(u[:, 2 * H:] + r * v[:, 2 * H:])
        cache.append({'x': x, 'h': h, 'r': r, 'z': z, 'n': n, 'v_n': v[:, 2 * H:], 'W_ih': W_ih, 'W_hh': W_hh})
        h = n + z * (h - n)
        hs.append(h)
    return (np.stack(hs, axis=1), cache)


def gru_backward(dhs, cache):
    dhs = np.array(dhs, dtype=float)
    grads, later = ({}, 0.0)
    for t in range(len(cache) - 1, -1, -1):
        c = cache[t]
        dh = dhs[:, t] + later
        da_n = dh * (1 - c['z']) * (1 - c['n'] ** 2)
        da_z = dh * (c['h'] - c['n']) * c['z'] * (1 - c['z'])
        da_r = da_n * c['v_n'] * c['r'] * (1 - c['r'])
        du = np.hstack([da_r, da_z, da_n])
        dv = np.hstack([da_r, da_z, da_n * c['r']])
        now = {'W_ih': du.T @ c['x'], 'W_hh': dv.T @ c['h'], 'b_ih': du.sum(0), 'b_hh': dv.sum(0)}
        for name in now:
            grads[name] = grads.get(name, 0.0) + now[name]
        later = dh * c['z'] + dv @ c['W_hh']
    return (grads, later)


def forward(ids, h0, params):
    hs, _ = gru_forward(ids, h0, params)
    logits = [[params['W_out'] @ hs[b, t] + params['b_out'] for t in range(hs.shape[1])] for b in range(hs.shape[0])]
    return (np.array(logits), hs[:, -1])


def cross_entropy(logits, targets):
    logits = np.array(logits, dtype=float)
    B, T, V = logits.shape
    loss, dlogits = (0.0, np.zeros(logits.shape))
    for b in range(B):
        for t in range(T):
            e = np.exp(logits[b, t] - logits[b, t].max())
            y = int(targets[b][t])
            loss -= logits[b, t, y] - logits[b, t].max() - np.log(e.sum())
            dlogits[b, t] = e / e.sum()
            dlogits[b, t, y] -= 1
    return (loss / (B * T), dlogits / (B * T))


def loss_and_grads(params, inputs, targets, h0):
    hs, cache = gru_forward(inputs, h0, params)
    logits = hs @ np.array(params['W_out']).T + params['b_out']
    loss, dlogits = cross_entropy(logits, targets)
    grads, _ = gru_backward(dlogits @ np.array(params['W_out']), cache)
    grads['W_out'], grads['b_out'] = (0.0, 0.0)
    for t in range(hs.shape[1]):
        grads['W_out'] = grads['W_out'] + dlogits[:, t].T @ hs[:, t]
        grads['b_out'] = grads['b_out'] + dlogits[:, t].sum(0)
    return (float(loss), grads, hs[:, -1])


def clip_gradients(grads, max_norm):
    total = 0.0
    for grad in grads.values():
        for g in np.ravel(grad).tolist():
            total += g * g
    norm = total ** 0.5
    factor = min(1.0, max_norm / norm) if norm else 1.0
    return ({name: np.array(grad) * factor for name, grad in grads.items()}, norm)


def train_step(params, optimizer, inputs, targets, h, lr, max_norm=1.0):
    loss, grads, h_last = loss_and_grads(params, inputs, targets, h)
    grads, _ = clip_gradients(grads, max_norm)
    params, optimizer = adam_step(params, grads, optimizer, lr)
    return (params, optimizer, h_last, loss)


def train(ids, vocab_size, rng, hidden=64, batch_size=12, length=25, steps=900, lr=0.015):
    params = init_params(vocab_size, hidden, rng)
    inputs, targets = stream_batches(ids, batch_size, length)
    optimizer, losses, h = ({}, [], None)
    for s in range(steps):
        k = s % len(inputs)
        if k == 0:
            h = np.zeros((batch_size, hidden))
        rate = lr * (steps - s) / steps
        params, optimizer, h, loss = train_step(params, optimizer, inputs[k], targets[k], h, rate)
        losses.append(loss)
    return (params, losses)


def bits_per_char(ids, params, warm_up=50, chunk=500):
    h = np.zeros((1, len(params['W_hh'][0])))
    bits = []
    for i in range(1, len(ids)):
        logits, h = forward([[int(ids[i - 1])]], h, params)
        if i >= warm_up:
            bits.append(cross_entropy(logits, [[int(ids[i])]])[0] / np.log(2))
    return sum(bits) / len(bits)


def perplexity(bits):
    return float(np.exp(bits * np.log(2)))


def sample(prompt, n, temperature, params, rng):
    h = np.zeros((1, len(params['W_hh'][0])))
    for c in prompt:
        logits, h = forward([[int(c)]], h, params)
    out = []
    while len(out) < n:
        scores = logits[0, 0]
        if temperature == 0:
            c = [i for i in range(len(scores)) if scores[i] == max(scores)][0]
        else:
            p = np.exp((scores - scores.max()) / temperature)
            c = int(rng.choice(len(p), p=p / p.sum()))
        out.append(c)
        logits, h = forward([[c]], h, params)
    return out
