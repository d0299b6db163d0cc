"""Einsum and small helpers, other caches and intermediate shapes, Newton's method for the temperature."""

import numpy as np

PAD, RESTART = (0, 1)

VOCAB = 8

LENGTH = 14

EPS = 1e-05

MOMENTUM = 0.1

def softmax_rows(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)

def init_params(sizes, n_table, n_classes, rng):
    d, hidden, width = sizes
    joined = hidden + n_table
    bound = 1.0 / np.sqrt(hidden)
    params = {'E': rng.normal(0.0, 0.5, size=(VOCAB, d))}
    for name, shape in (('W_ih', (4 * hidden, d)), ('W_hh', (4 * hidden, hidden))):
        params[name] = rng.uniform(-bound, bound, size=shape)
    params['b_ih'], params['b_hh'] = (np.zeros(4 * hidden), np.zeros(4 * hidden))
    params['b_ih'][hidden:2 * hidden] = 1.0
    params['w_att'] = rng.normal(0.0, bound, size=hidden)
    params['W1'] = rng.normal(0.0, np.sqrt(2.0 / joined), size=(width, joined))
    params['gamma'], params['beta'] = (np.ones(width), np.zeros(width))
    params['W2'] = rng.normal(0.0, np.sqrt(1.0 / width), size=(n_classes, width))
    params['b2'] = np.zeros(n_classes)
    return (params, {'mean': np.zeros(width), 'var': np.ones(width)})

def lstm_forward(x, params):
    W_ih, W_hh, b_ih, b_hh = (np.asarray(params[n], dtype=np.float64) for n in ('W_ih', 'W_hh', 'b_ih', 'b_hh'))
    batch, steps, hidden = (len(x), x.shape[1], W_hh.shape[1])
    a = x @ W_ih.T + (b_ih + b_hh)
    h, c = (np.zeros((steps + 1, batch, hidden)), np.zeros((steps + 1, batch, hidden)))
    gates, tanh_c = (np.empty((steps, 4, batch, hidden)), np.empty((steps, batch, hidden)))
    for t in range(steps):
        i, f, g, o = np.split(a[:, t] + h[t] @ W_hh.T, 4, axis=1)
        i, f, o = (0.5 + 0.5 * np.tanh(0.5 * z) for z in (i, f, o))
        g = np.tanh(g)
        gates[t] = (i, f, g, o)
        c[t + 1] = f * c[t] + i * g
        tanh_c[t] = np.tanh(c[t + 1])
        h[t + 1] = o * tanh_c[t]
    return (h[1:].transpose(1, 0, 2), (x, W_ih, W_hh, h, c, gates, tanh_c))

def lstm_backward(dhs, cache):
    x, W_ih, W_hh, h, c, gates, tanh_c = cache
    batch, steps, hidden = dhs.shape
    da = np.empty((steps, batch, 4 * hidden))
    dh, dc = (np.zeros((batch, hidden)), np.zeros((batch, hidden)))
    for t in reversed(range(steps)):
        i, f, g, o = gates[t]
        dh = dh + dhs[:, t]
        dc = dc + dh * o * (1.0 - tanh_c[t] ** 2)
        parts = (dc * g * i * (1 - i), dc * c[t] * f * (1 - f), dc * i * (1 - g ** 2), dh * tanh_c[t] * o * (1 - o))
        da[t] = np.concatenate(parts, axis=1)
        dc, dh = (dc * f, da[t] @ W_hh)
    flat, bias = (da.reshape(-1, 4 * hidden), da.sum(axis=(0, 1)))
    grads = {'b_ih': bias, 'b_hh': bias.copy(), 'W_hh': flat.T @ h[:-1].reshape(-1, hidden)}
    grads['W_ih'] = flat.T @ x.transpose(1, 0, 2).reshape(steps * batch, -1)
    return ((flat @ W_ih).reshape(steps, batch, -1).transpose(1, 0, 2), grads)

def adamw_step(params, grads, optimizer, lr, weight_decay=0.01):
    t = optimizer.get('t', 0) + 1
    new, m, v = ({}, {}, {})
    for name, w in params.items():
        m[name] = 0.9 * optimizer.get('m', {}).get(name, 0.0) + 0.1 * grads[name]
        v[name] = 0.999 * optimizer.get('v', {}).get(name, 0.0) + 0.001 * grads[name] ** 2
        decayed = w * (1.0 - lr * weight_decay) if np.ndim(w) == 2 else w
        new[name] = decayed - lr * (m[name] / (1 - 0.9 ** t)) / (np.sqrt(v[name] / (1 - 0.999 ** t)) + 1e-08)
    return (new, {'t': t, 'm': m, 'v': v})

def dominant_events(tokens):
    tokens = np.asarray(tokens)
    later = np.flip(np.cumsum(np.flip(tokens == 1, axis=1), axis=1), axis=1)
    recent = np.where((later == 0) & (tokens > 1), tokens, 0)
    counts = (recent[:, :, None] == np.arange(2, 8)).sum(axis=1)
    return np.where(counts.any(axis=1), counts.argmax(axis=1) + 2, 0)

def split_machines(machines, n_val, n_test, rng):
    names, which = np.unique(np.asarray(machines), return_inverse=True)
    order = rng.permutation(names)
    role = np.zeros(len(names), dtype=int)
    place = {int(name): i for i, name in enumerate(names)}
    for k, name in enumerate(order):
        role[place[int(name)]] = 2 if k < n_test else 1 if k < n_test + n_val else 0
    return tuple((np.where(role[which] == r)[0] for r in range(3)))

def pad_logs(logs, length):
    tokens = np.full((len(logs), length), PAD, dtype=np.int64)
    for row, log in zip(tokens, logs, strict=True):
        recent = list(log)[-length:]
        row[:len(recent)] = recent
    return tokens

def fit_scaler(X):
    X = np.array(X, dtype=float)
    std = np.sqrt(((X - X.mean(0)) ** 2).mean(0))
    std[std == 0] = 1
    return (X.mean(0), std)

def apply_scaler(X, scaler):
    mean, std = (np.asarray(part, dtype=np.float64) for part in scaler)
    return (np.asarray(X, dtype=np.float64) - mean) / std

def attention_pool(h, w, mask):
    h, w = (np.asarray(h, dtype=np.float64), np.asarray(w, dtype=np.float64))
    keep = np.asarray(mask, dtype=float)
    scores = np.einsum('bth,h->bt', h, w)
    lowest = scores.min(axis=1, keepdims=True)
    top = np.max(np.where(keep > 0, scores, lowest), axis=1, keepdims=True)
    e = keep * np.exp(np.minimum(scores - top, 0))
    a = e / np.maximum(e.sum(axis=1, keepdims=True), 1e-300)
    return (np.einsum('bt,bth->bh', a, h), a, [a, w, h])

def head_forward(f, params, state, training, mask=None):
    f = np.asarray(f, dtype=np.float64)
    p = {k: np.asarray(params[k], dtype=np.float64) for k in ('W1', 'gamma', 'beta', 'W2', 'b2')}
    z = np.einsum('bi,ni->bn', f, p['W1'])
    new = {k: np.array(state[k], dtype=np.float64) for k in ('mean', 'var')}
    if training:
        mean = z.sum(0) / len(z)
        var = ((z - mean) ** 2).sum(0)
        new = {'mean': 0.9 * new['mean'] + 0.1 * mean, 'var': 0.9 * new['var'] + 0.1 * var / (len(z) - 1)}
        var = var / len(z)
    else:
        mean, var = (new['mean'], new['var'])
    root = np.sqrt(var + 1e-05)
    hat = (z - mean) / root
    u = hat * p['gamma'] + p['beta']
    gate = (u > 0) * (np.ones_like(u) if mask is None else np.asarray(mask))
    out = u * gate
    return (out @ p['W2'].T + p['b2'], dict(f=f, p=p, root=root, hat=hat, gate=gate, out=out, training=training), new)

def forward(X, tokens, params, state, training, rng=None, p=0.0):
    X, tokens = (np.asarray(X, dtype=np.float64), np.asarray(tokens))
    one_hot = np.eye(len(params['E']))[tokens]
    h, lstm_cache = lstm_forward(one_hot @ np.asarray(params['E'], dtype=np.float64), params)
    pooled, a, pool_cache = attention_pool(h, params['w_att'], tokens > 0)
    mask = None
    if training and p > 0:
        u = rng.random((X.shape[0], np.shape(params['W1'])[0]))
        mask = np.where(u < p, 0.0, 1 / (1 - p))
    logits, head_cache, new = head_forward(np.hstack([pooled, X]), params, state, training, mask)
    return (logits, a, (one_hot, lstm_cache, pool_cache, head_cache, X.shape[1]), new)

def attention_pool_backward(dpooled, cache):
    a, w, h = cache
    dpooled = np.asarray(dpooled, dtype=np.float64)
    pooled = np.einsum('bt,bth->bh', a, h)
    ds = a * np.einsum('bth,bh->bt', h - pooled[:, None], dpooled)
    return (np.einsum('bt,bh->bth', a, dpooled) + np.einsum('bt,h->bth', ds, w), np.einsum('bt,bth->h', ds, h))

def head_backward(dlogits, cache):
    dlogits = np.asarray(dlogits, dtype=np.float64)
    p, hat, f = (cache['p'], cache['hat'], cache['f'])
    du = dlogits @ p['W2'] * cache['gate']
    dhat = du * p['gamma']
    if cache['training']:
        n = len(f)
        dz = (n * dhat - dhat.sum(0) - hat * (dhat * hat).sum(0)) / (n * cache['root'])
    else:
        dz = dhat / cache['root']
    grads = {'b2': dlogits.sum(0), 'W2': np.einsum('bk,bn->kn', dlogits, cache['out']), 'beta': du.sum(0)}
    grads.update(gamma=(du * hat).sum(0), W1=np.einsum('bn,bi->ni', dz, f))
    return (np.einsum('bn,ni->bi', dz, p['W1']), grads)

def backward(dlogits, cache):
    one_hot, lstm_cache, pool_cache, head_cache, table = cache
    df, grads = head_backward(dlogits, head_cache)
    dh, w_att = attention_pool_backward(df[:, :-table], pool_cache)
    dx, recurrent = lstm_backward(dh, lstm_cache)
    return ({**grads, **recurrent, 'w_att': w_att, 'E': np.einsum('btv,btd->vd', one_hot, dx)}, df[:, -table:])

def cross_entropy(logits, labels):
    logits = np.asarray(logits, dtype=np.float64)
    rows = np.arange(len(logits))
    shifted = logits - np.max(logits, axis=1, keepdims=True)
    log_probs = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    dlogits = np.exp(log_probs)
    dlogits[rows, labels] -= 1.0
    return (-np.mean(log_probs[rows, labels]), dlogits / len(logits))

def learning_rate(t, lr, warmup, total):
    if t >= warmup:
        return lr * np.cos(0.5 * np.pi * (t - warmup) / (total - warmup)) ** 2
    return np.linspace(0, lr, warmup + 2)[t + 1]

def early_stopping(val_losses, patience):
    best = int(np.argmin(val_losses))
    return (best, len(val_losses) - 1 - best >= patience)

def train_step(params, state, optimizer, X, tokens, labels, lr, rng=None, p=0.0, weight_decay=0.01):
    params = {name: np.asarray(value, dtype=np.float64) for name, value in params.items()}
    logits, _, cache, state = forward(X, tokens, params, state, True, rng, p)
    loss, dlogits = cross_entropy(logits, labels)
    grads, _ = backward(dlogits, cache)
    params, optimizer = adamw_step(params, grads, optimizer, lr, weight_decay)
    return (params, state, optimizer, loss)

def train(X, tokens, y, X_val, tokens_val, y_val, n_classes, rng, epochs=20, batch_size=64, lr=0.005, warmup=50, p=0.1, weight_decay=0.01, patience=5, sizes=(8, 24, 48)):
    X, tokens, y = (np.asarray(X, dtype=np.float64), np.asarray(tokens), np.asarray(y))
    params, state = init_params(sizes, X.shape[1], n_classes, rng)
    best_params, best_state = (params, state)
    optimizer, t, n = ({}, 0, len(X))
    total = epochs * -(-n // batch_size)
    history = {'train_loss': [], 'val_loss': [], 'best_epoch': 0}
    for epoch in range(epochs):
        order = rng.permutation(n)
        summed = 0.0
        for start in range(0, n, batch_size):
            rows = order[start:start + batch_size]
            rate = learning_rate(t, lr, warmup, total)
            params, state, optimizer, loss = train_step(params, state, optimizer, X[rows], tokens[rows], y[rows], rate, rng, p, weight_decay)
            summed += loss * len(rows)
            t += 1
        history['train_loss'].append(float(summed / n))
        val_logits = forward(X_val, tokens_val, params, state, False)[0]
        history['val_loss'].append(float(cross_entropy(val_logits, y_val)[0]))
        history['best_epoch'], stop = early_stopping(history['val_loss'], patience)
        if history['best_epoch'] == epoch:
            best_params, best_state = (params, state)
        if stop:
            break
    return (best_params, best_state, history)

def evaluate(logits, labels, train_labels):
    said = np.asarray(logits).argmax(1)
    k = np.shape(logits)[1]
    confusion = np.bincount(k * np.asarray(labels) + said, minlength=k * k).reshape(k, k)
    values, counts = np.unique(train_labels, return_counts=True)
    lazy = np.full(len(labels), values[counts.argmax()])
    return dict(accuracy=np.trace(confusion) / confusion.sum(), majority=(lazy == labels).mean(), confusion=confusion)

def reliability(probs, labels, n_bins=10):
    probs = np.asarray(probs)
    top, right = (probs.max(1), probs.argmax(1) == np.asarray(labels))
    inner = np.arange(1, n_bins) / n_bins
    inside = np.eye(n_bins)[np.digitize(top, inner)]
    n = inside.sum(0)
    with np.errstate(invalid='ignore'):
        means = [np.where(n > 0, inside.T @ x / np.maximum(n, 1), 0) for x in (top, right)]
    return (n, means[0], means[1])

def calibration_error(probs, labels, n_bins=10):
    n, c, a = reliability(probs, labels, n_bins)
    return np.average(np.abs(a - c), weights=n)

def fit_temperature(logits, labels):
    z = np.asarray(logits, dtype=np.float64)
    z = z - z[np.arange(len(z)), labels][:, None]
    low, high = (0.05, 20.0)
    s = 1.0
    for _ in range(200):
        p = softmax_rows(s * z)
        mean = (p * z).sum(1)
        slope, bend = (mean.mean(), ((p * z * z).sum(1) - mean ** 2).mean())
        low, high = (low, s) if slope > 0 else (s, high)
        step = s - slope / bend if bend > 0 else np.nan
        s = step if low < step < high else (low + high) / 2
    return np.clip(1 / s, 0.05, 20.0)

def integrated_gradients(X, tokens, classes, params, state, steps=32):
    X = np.asarray(X, dtype=np.float64)
    total = np.zeros_like(X)
    for k in range(steps):
        logits, _, cache, _ = forward((k + 0.5) / steps * X, tokens, params, state, False)
        dlogits = np.zeros_like(logits)
        dlogits[np.arange(len(X)), classes] = 1.0
        total += backward(dlogits, cache)[1]
    return X * total / steps

def fit_system(X, logs, y, X_val, logs_val, y_val, n_classes, rng, **options):
    scaler = fit_scaler(X)
    X, X_val = (apply_scaler(X, scaler), apply_scaler(X_val, scaler))
    tokens, tokens_val = (pad_logs(logs, LENGTH), pad_logs(logs_val, LENGTH))
    params, state, history = train(X, tokens, y, X_val, tokens_val, y_val, n_classes, rng, **options)
    temperature = fit_temperature(forward(X_val, tokens_val, params, state, False)[0], y_val)
    return {'scaler': scaler, 'params': params, 'state': state, 'temperature': temperature, 'history': history}

def predict(system, X, logs):
    X, tokens = (apply_scaler(X, system['scaler']), pad_logs(logs, LENGTH))
    logits = forward(X, tokens, system['params'], system['state'], False)[0]
    return softmax_rows(logits / system['temperature'])
