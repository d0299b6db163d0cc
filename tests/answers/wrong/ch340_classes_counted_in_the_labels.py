"""The training run builds a network for the classes that it has seen, whatever n_classes says."""

import numpy as np
PAD, RESTART = (0, 1)
VOCAB = 8
LENGTH = 14
EPS = 1e-05
MOMENTUM = 0.1


def make_records(n_machines, rng):
    n = 5 * n_machines
    machines = np.repeat(np.arange(n_machines), 5)
    part = rng.integers(0, 3, size=n)
    kind = 2 + 2 * part + rng.integers(0, 2, size=n)
    standard = rng.choice([-1.0, 1.0], size=(n, 3)) + rng.normal(0.0, 0.4, size=(n, 3))
    fails = rng.random(n) < 1.0 / (1.0 + np.exp(-6.0 * standard[np.arange(n), part]))
    age = rng.uniform(0.0, 20.0, size=n_machines)[machines]
    X = np.column_stack([standard * [12.0, 0.8, 0.6] + [70.0, 5.0, 2.5], age])
    logs = []
    for i in range(n):
        before = rng.integers(2, VOCAB, size=rng.integers(0, 8))
        count = int(rng.integers(3, 7))
        often = count // 2 + 1
        others = 2 + (kind[i] - 2 + rng.integers(1, 6, size=count - often)) % 6
        after = rng.permutation(np.concatenate([np.repeat(kind[i], often), others]))
        logs.append([*before.tolist(), RESTART, *after.tolist()])
    return (X, logs, np.where(fails, part + 1, 0), machines)


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
    found = []
    for row in np.asarray(tokens):
        restarts = np.flatnonzero(row == RESTART)
        recent = row[restarts[-1] + 1:] if len(restarts) else row
        counts = np.bincount(recent, minlength=VOCAB)
        counts[PAD] = 0
        found.append(np.argmax(counts))
    return np.array(found, dtype=np.int64)


def split_machines(machines, n_val, n_test, rng):
    machines = np.asarray(machines)
    order = rng.permutation(np.unique(machines))
    groups = (order[n_test + n_val:], order[n_test:n_test + n_val], order[:n_test])
    return tuple((np.flatnonzero(np.isin(machines, group)) for group in groups))


def pad_logs(logs, length):
    tokens = np.full((len(logs), length), PAD, dtype=np.int64)
    for row, log in zip(tokens, logs, strict=True):
        recent = list(log)[-length:]
        row[:len(recent)] = recent
    return tokens


def fit_scaler(X):
    X = np.asarray(X, dtype=np.float64)
    std = np.std(X, axis=0)
    return (np.mean(X, axis=0), np.where(std == 0, 1.0, std))


def apply_scaler(X, scaler):
    mean, std = (np.asarray(part, dtype=np.float64) for part in scaler)
    return (np.asarray(X, dtype=np.float64) - mean) / std


def attention_pool(h, w, mask):
    h, w, mask = (np.asarray(h, dtype=np.float64), np.asarray(w, dtype=np.float64), np.asarray(mask, dtype=bool))
    scores = np.where(mask, h @ w, -np.inf)
    largest = np.max(scores, axis=1, keepdims=True)
    exps = np.exp(scores - np.where(np.isinf(largest), 0.0, largest))
    total = np.sum(exps, axis=1, keepdims=True)
    weights = exps / np.where(total == 0, 1.0, total)
    pooled = np.sum(weights[:, :, None] * h, axis=1)
    return (pooled, weights, (h, w, weights))


def head_forward(f, params, state, training, mask=None):
    f = np.asarray(f, dtype=np.float64)
    W1, gamma, beta, W2, b2 = (np.asarray(params[n], dtype=np.float64) for n in ('W1', 'gamma', 'beta', 'W2', 'b2'))
    mean, var = (np.array(state['mean'], dtype=np.float64), np.array(state['var'], dtype=np.float64))
    z = f @ W1.T
    m, v = (mean, var)
    if training:
        m, v = (np.mean(z, axis=0), np.var(z, axis=0))
        mean = (1.0 - MOMENTUM) * mean + MOMENTUM * m
        var = (1.0 - MOMENTUM) * var + MOMENTUM * v * len(z) / (len(z) - 1)
    inverse_std = 1.0 / np.sqrt(v + EPS)
    z_hat = (z - m) * inverse_std
    u = gamma * z_hat + beta
    factor = 1.0 if mask is None else np.asarray(mask, dtype=np.float64)
    out = np.maximum(u, 0.0) * factor
    cache = (f, W1, gamma, W2, z_hat, inverse_std, u, factor, out, training)
    return (out @ W2.T + b2, cache, {'mean': mean, 'var': var})


def forward(X, tokens, params, state, training, rng=None, p=0.0):
    X, tokens = (np.asarray(X, dtype=np.float64), np.asarray(tokens))
    E = np.asarray(params['E'], dtype=np.float64)
    h, lstm_cache = lstm_forward(E[tokens], params)
    pooled, weights, pool_cache = attention_pool(h, params['w_att'], tokens != PAD)
    mask = None
    if training and p > 0:
        mask = (rng.random((len(X), len(params['W1']))) >= p) / (1.0 - p)
    logits, head_cache, state = head_forward(np.concatenate([pooled, X], axis=1), params, state, training, mask)
    return (logits, weights, (tokens, E.shape, lstm_cache, pool_cache, head_cache), state)


def attention_pool_backward(dpooled, cache):
    h, w, weights = cache
    dpooled = np.asarray(dpooled, dtype=np.float64)
    da = np.sum(h * dpooled[:, None, :], axis=2)
    ds = weights * (da - np.sum(weights * da, axis=1, keepdims=True))
    dh = weights[:, :, None] * dpooled[:, None, :] + ds[:, :, None] * w
    return (dh, np.sum(ds[:, :, None] * h, axis=(0, 1)))


def head_backward(dlogits, cache):
    f, W1, gamma, W2, z_hat, inverse_std, u, factor, out, training = cache
    dlogits = np.asarray(dlogits, dtype=np.float64)
    du = dlogits @ W2 * factor * (u > 0)
    g = du * gamma
    if training:
        g = g - np.mean(g, axis=0) - z_hat * np.mean(g * z_hat, axis=0)
    dz = g * inverse_std
    grads = {'W1': dz.T @ f, 'gamma': np.sum(du * z_hat, axis=0), 'beta': np.sum(du, axis=0), 'W2': dlogits.T @ out, 'b2': np.sum(dlogits, axis=0)}
    return (dz @ W1, grads)


def backward(dlogits, cache):
    tokens, table_shape, lstm_cache, pool_cache, head_cache = cache
    df, grads = head_backward(dlogits, head_cache)
    hidden = len(pool_cache[1])
    dh, grads['w_att'] = attention_pool_backward(df[:, :hidden], pool_cache)
    dx, lstm_grads = lstm_backward(dh, lstm_cache)
    grads.update(lstm_grads)
    grads['E'] = np.zeros(table_shape)
    np.add.at(grads['E'], tokens, dx)
    return (grads, df[:, hidden:])


def cross_entropy(logits, labels):
    logits = np.asarray(logits, dtype=np.float64)
    rows = np.arange(len(logits))
    shifted = logits - np.max(logits, axis=1, keepdims=True)
    log_probs = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    dlogits = np.exp(log_probs)
    dlogits[rows, labels] -= 1.0
    return (-np.mean(log_probs[rows, labels]), dlogits / len(logits))


def learning_rate(t, lr, warmup, total):
    if t < warmup:
        return lr * (t + 1) / (warmup + 1)
    return lr * (1.0 + np.cos(np.pi * (t - warmup) / (total - warmup))) / 2.0


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
    params, state = init_params(sizes, X.shape[1], int(np.max(y)) + 1, rng)
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
    logits, labels = (np.asarray(logits, dtype=np.float64), np.asarray(labels))
    said = np.argmax(logits, axis=1)
    frequent = np.argmax(np.bincount(train_labels))
    confusion = np.zeros((logits.shape[1], logits.shape[1]))
    np.add.at(confusion, (labels, said), 1)
    return {'accuracy': np.mean(said == labels), 'majority': np.mean(labels == frequent), 'confusion': confusion}


def reliability(probs, labels, n_bins=10):
    probs, labels = (np.asarray(probs, dtype=np.float64), np.asarray(labels))
    confidence = np.max(probs, axis=1)
    right = np.argmax(probs, axis=1) == labels
    place = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    counts, mean_confidence, accuracy = (np.zeros(n_bins), np.zeros(n_bins), np.zeros(n_bins))
    for k in range(n_bins):
        inside = place == k
        if np.any(inside):
            counts[k] = np.sum(inside)
            mean_confidence[k], accuracy[k] = (np.mean(confidence[inside]), np.mean(right[inside]))
    return (counts, mean_confidence, accuracy)


def calibration_error(probs, labels, n_bins=10):
    counts, confidence, accuracy = reliability(probs, labels, n_bins)
    return np.sum(counts * np.abs(accuracy - confidence)) / np.sum(counts)


def fit_temperature(logits, labels):
    logits = np.asarray(logits, dtype=np.float64)
    z = logits - logits[np.arange(len(logits)), labels][:, None]
    z_max = np.max(z, axis=1, keepdims=True)

    def slope(s):
        p = np.exp(s * (z - z_max))
        return np.mean(np.sum(p * z, axis=1) / np.sum(p, axis=1))
    low, high = (1.0 / 20.0, 1.0 / 0.05)
    if slope(low) >= 0:
        return 1.0 / low
    if slope(high) <= 0:
        return 1.0 / high
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 2.0 / (low + high)


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
    scaled = forward(X, tokens, system['params'], system['state'], False)[0] / system['temperature']
    exps = np.exp(scaled - np.max(scaled, axis=1, keepdims=True))
    return exps / np.sum(exps, axis=1, keepdims=True)
