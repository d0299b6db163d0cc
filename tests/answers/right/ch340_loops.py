"""Row by row and number by number wherever it can be afforded, with lists and plain numbers returned."""

import numpy as np

PAD, RESTART = (0, 1)

VOCAB = 8

LENGTH = 14

EPS = 1e-05

MOMENTUM = 0.1

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
    answer = []
    for row in tokens:
        counts = {}
        for token in row:
            token = int(token)
            if token == 1:
                counts = {}
            elif token != 0:
                counts[token] = counts.get(token, 0) + 1
        answer.append(min(counts, key=lambda kind: (-counts[kind], kind)) if counts else 0)
    return answer

def split_machines(machines, n_val, n_test, rng):
    order = [int(m) for m in rng.permutation(sorted(set((int(m) for m in machines))))]
    test, val = (set(order[:n_test]), set(order[n_test:n_test + n_val]))
    sets = ([], [], [])
    for i, machine in enumerate(machines):
        sets[2 if int(machine) in test else 1 if int(machine) in val else 0].append(i)
    return sets

def pad_logs(logs, length):
    rows = []
    for log in logs:
        row = [int(event) for event in log]
        while len(row) > length:
            row.pop(0)
        while len(row) < length:
            row.append(0)
        rows.append(row)
    return np.array(rows).reshape(len(rows), length)

def fit_scaler(X):
    X = [[float(x) for x in row] for row in X]
    mean, std = ([], [])
    for column in zip(*X):
        m = sum(column) / len(column)
        s = (sum(((x - m) ** 2 for x in column)) / len(column)) ** 0.5
        mean.append(m)
        std.append(s if s > 0 else 1.0)
    return (mean, std)

def apply_scaler(X, scaler):
    mean, std = scaler
    return np.array([[(x - m) / s for x, m, s in zip(row, mean, std)] for row in X])

def attention_pool(h, w, mask):
    h, w = (np.asarray(h, dtype=np.float64), np.asarray(w, dtype=np.float64))
    weights = np.zeros(h.shape[:2])
    pooled = np.zeros((len(h), h.shape[2]))
    for b in range(len(h)):
        places = [t for t in range(h.shape[1]) if mask[b][t]]
        if places:
            scores = h[b, places] @ w
            e = np.exp(scores - scores.max())
            weights[b, places] = e / e.sum()
            pooled[b] = weights[b] @ h[b]
    return (pooled, weights, {'h': h, 'w': w, 'a': weights})

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
    h, w, a = (cache['h'], cache['w'], cache['a'])
    dpooled = np.asarray(dpooled, dtype=np.float64)
    dh, dw = (np.zeros_like(h), np.zeros_like(w))
    for b in range(len(h)):
        jacobian = np.diag(a[b]) - np.outer(a[b], a[b])
        ds = jacobian @ (h[b] @ dpooled[b])
        dh[b] = np.outer(a[b], dpooled[b]) + np.outer(ds, w)
        dw += ds @ h[b]
    return (dh, dw)

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
    hidden = len(pool_cache['w'])
    dh, dw = attention_pool_backward(df[:, :hidden], pool_cache)
    dx, more = lstm_backward(dh, lstm_cache)
    dE = np.zeros(table_shape)
    for token in range(table_shape[0]):
        dE[token] = dx[tokens == token].sum(axis=0)
    return ({**more, **grads, 'w_att': dw, 'E': dE}, df[:, hidden:])

def cross_entropy(logits, labels):
    loss, rows = (0.0, [])
    for row, label in zip(np.asarray(logits, dtype=np.float64), labels):
        top = row.max()
        total = top + np.log(np.exp(row - top).sum())
        loss += total - row[label]
        grad = np.exp(row - total)
        grad[label] -= 1
        rows.append(grad / len(logits))
    return (float(loss / len(logits)), np.array(rows))

def learning_rate(t, lr, warmup, total):
    if t < warmup:
        return lr * (t + 1) / (warmup + 1)
    return lr * (1.0 + np.cos(np.pi * (t - warmup) / (total - warmup))) / 2.0

def early_stopping(val_losses, patience):
    best = 0
    for epoch, loss in enumerate(val_losses):
        if loss < val_losses[best]:
            best = epoch
    return (best, bool(len(val_losses) > best + patience))

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
    train_labels = [int(y) for y in train_labels]
    frequent = max(sorted(set(train_labels)), key=train_labels.count)
    k = len(logits[0])
    confusion = [[0] * k for _ in range(k)]
    right = 0
    for row, label in zip(logits, labels):
        said = max(range(k), key=lambda j: (row[j], -j))
        confusion[int(label)][said] += 1
        right += said == label
    share = sum((int(y) == frequent for y in labels)) / len(labels)
    return {'confusion': confusion, 'accuracy': right / len(labels), 'majority': share}

def reliability(probs, labels, n_bins=10):
    held = [[] for _ in range(n_bins)]
    for row, label in zip(np.asarray(probs), labels):
        k = 0
        while k < n_bins - 1 and row.max() >= (k + 1) / n_bins:
            k += 1
        held[k].append((float(row.max()), float(np.argmax(row) == label)))
    counts = [len(inside) for inside in held]
    confidence = [sum((c for c, _ in inside)) / len(inside) if inside else 0.0 for inside in held]
    accuracy = [sum((a for _, a in inside)) / len(inside) if inside else 0.0 for inside in held]
    return (counts, confidence, accuracy)

def calibration_error(probs, labels, n_bins=10):
    n = 0
    total = 0.0
    for count, c, a in zip(*reliability(probs, labels, n_bins)):
        n += count
        total += count * abs(a - c)
    return total / n

def fit_temperature(logits, labels):
    logits = np.asarray(logits, dtype=np.float64)

    def loss(u):
        return cross_entropy(logits / np.exp(u), labels)[0]
    low, high = (np.log(0.05), np.log(20.0))
    low0, high0 = (low, high)
    ratio = (5 ** 0.5 - 1) / 2
    for _ in range(90):
        a, b = (high - ratio * (high - low), low + ratio * (high - low))
        if loss(a) <= loss(b):
            high = b
        else:
            low = a
    u = (low + high) / 2

    def slope(u):
        s = np.exp(-u)
        z = logits - logits[np.arange(len(logits)), labels][:, None]
        p = np.exp(s * z - np.max(s * z, axis=1, keepdims=True))
        return np.mean((p * z).sum(axis=1) / p.sum(axis=1))
    a, b = (max(low0, u - 0.01), min(high0, u + 0.01))
    for _ in range(60):
        m = (a + b) / 2
        if slope(m) > 0:
            a = m
        else:
            b = m
    return float(np.exp((a + b) / 2))

def integrated_gradients(X, tokens, classes, params, state, steps=32):
    rows = []
    for x, log, label in zip(np.asarray(X, dtype=np.float64), np.asarray(tokens), classes):
        points = np.outer((np.arange(steps) + 0.5) / steps, x)
        logits, _, cache, _ = forward(points, np.tile(log, (steps, 1)), params, state, False)
        ones = np.zeros(logits.shape)
        ones[:, label] = 1
        rows.append(x * np.mean(backward(ones, cache)[1], axis=0))
    return rows

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
