"""Wrong: only W1, W2 and so on count as weights, not W_out."""

import numpy as np


def noisy_sine(count, rng):
    x = rng.uniform(-np.pi, np.pi, size=(count, 1))
    return (x, np.sin(x) + rng.normal(scale=0.5, size=(count, 1)))


def predict(x, params, p=0.0, rng=None, training=False):
    return _forward(x, params, p, rng, training)[0]


def _forward(x, params, p, rng, training):
    a, caches = (np.asarray(x, dtype=np.float64), [])
    for layer in range(1, len(params) // 2 + 1):
        z = a @ np.asarray(params[f"W{layer}"]).T + np.asarray(params[f"b{layer}"])
        if layer == len(params) // 2:
            return (z, [*caches, (a, None, None)])
        out, cache = dropout_forward(np.maximum(z, 0.0), p, rng, training)
        caches.append((a, z, cache))
        a = np.asarray(out)


def train_net(x, y, lr, steps, p, weight_decay, rng, widths=(1, 64, 64, 1)):
    params = {}
    for layer in range(1, len(widths)):
        n_in, n_out = widths[layer - 1 : layer + 1]
        params[f"W{layer}"] = rng.normal(scale=np.sqrt(2.0 / n_in), size=(n_out, n_in))
        params[f"b{layer}"] = np.zeros(n_out)
    for _ in range(steps):
        out, caches = _forward(x, params, p, rng, True)
        d, grads = (2.0 * (out - y) / np.size(y), {})
        for layer in range(len(caches), 0, -1):
            a, z, cache = caches[layer - 1]
            if z is not None:
                d = np.asarray(dropout_backward(d, cache)) * (z > 0)
            grads[f"W{layer}"], grads[f"b{layer}"] = (d.T @ a, d.sum(axis=0))
            d = d @ params[f"W{layer}"]
        params = decay_step(params, grads, lr, weight_decay)
    return params


def drift(params):
    for value in params.values():
        value -= 1.0
    return params


def dropout_forward(x, p, rng, training=True):
    if not 0.0 <= p <= 1.0:
        raise ValueError("p is a probability: from 0 to 1")
    x = np.asarray(x, dtype=np.float64)
    if not training:
        return (x.copy(), np.ones(x.shape))
    kept = rng.random(x.shape) >= p
    scale = 1.0 / (1.0 - p) if p < 1.0 else 0.0
    mask = kept * scale
    return (x * mask, mask)


def dropout_backward(dout, cache):
    return np.asarray(dout, dtype=np.float64) * cache


def l2_penalty(params, lam):
    value, grads = (0.0, {})
    for name, param in params.items():
        w = np.asarray(param, dtype=np.float64)
        if name[0] == "W" and name[1:].isdigit():
            value += 0.5 * lam * np.sum(w**2)
            grads[name] = lam * w
        else:
            grads[name] = np.zeros(w.shape)
    return (value, grads)


def l1_penalty(params, lam):
    value, grads = (0.0, {})
    for name, param in params.items():
        w = np.asarray(param, dtype=np.float64)
        if name[0] == "W" and name[1:].isdigit():
            value += lam * np.sum(np.abs(w))
            grads[name] = lam * np.sign(w)
        else:
            grads[name] = np.zeros(w.shape)
    return (value, grads)


def soft_threshold(w, threshold):
    w = np.asarray(w, dtype=np.float64)
    return np.sign(w) * np.maximum(np.abs(w) - threshold, 0.0)


def l1_step(w, grad, lr, lam):
    u = np.asarray(w, dtype=np.float64) - lr * np.asarray(grad, dtype=np.float64)
    return soft_threshold(u, lr * lam)


def l2_step(params, grads, lr, lam):
    _, penalty = l2_penalty(params, lam)
    stepped = {}
    for name, value in params.items():
        g = np.asarray(grads[name], dtype=np.float64) + penalty[name]
        stepped[name] = np.asarray(value, dtype=np.float64) - lr * g
    return stepped


def decay_step(params, grads, lr, weight_decay):
    stepped = {}
    for name, value in params.items():
        keep = 1.0 - lr * weight_decay if name.startswith("W") else 1.0
        stepped[name] = keep * np.asarray(value, dtype=np.float64) - lr * np.asarray(grads[name], dtype=np.float64)
    return stepped


def stopping_epoch(losses, patience, min_delta=0.0):
    best, lowest, waited = (0, np.inf, 0)
    for epoch, loss in enumerate(losses):
        if loss < lowest - min_delta:
            best, lowest, waited = (epoch, loss, 0)
        else:
            waited += 1
        if waited == patience:
            return (best, epoch)
    return (best, len(losses) - 1)


def train_with_early_stopping(params, epoch, validation_loss, max_epochs, patience):
    params = {name: np.array(value, dtype=np.float64) for name, value in params.items()}
    losses = []
    for _ in range(max_epochs):
        params = epoch(params)
        losses.append(float(validation_loss(params)))
        best, last = stopping_epoch([*losses, np.inf], patience)
        if best == len(losses) - 1:
            best_params = {name: np.array(value, dtype=np.float64) for name, value in params.items()}
        if last < len(losses):
            break
    return (best_params, losses)


def mc_dropout(x, params, p, n_samples, rng):
    answers = np.array([predict(x, params, p, rng, True) for _ in range(n_samples)])
    mean = np.mean(answers, axis=0)
    return (mean, np.mean((answers - mean) ** 2, axis=0))
