"""Wrong: a training without momentum falls back to 0.9, because 0.0 counts as not given."""
import math
import numpy as np


def linear_gradient(params, X, y):
    error = X @ params["w"] + params["b"] - y
    return np.mean(error**2), {"w": 2.0 * X.T @ error / len(y), "b": 2.0 * np.mean(error)}


def minibatches(X, y, batch_size, rng):
    order = [int(i) for i in rng.permutation(len(X))]
    out = []
    while order:
        head, order = order[:batch_size], order[batch_size:]
        out.append([np.array([X[i] for i in head]), np.array([y[i] for i in head])])
    return out


def _deep(f, *a):
    if isinstance(a[0], (list, tuple)):
        return [_deep(f, *t) for t in zip(*a)]
    return f(*a)


def _plain(v):
    return v.tolist() if hasattr(v, "tolist") else v


def accumulate(gradient, params, batches):
    answers = [(gradient(params, X, y), len(X)) for X, y in batches]
    n = sum(k for _, k in answers)
    loss = math.fsum(float(l) * k for (l, _), k in answers) / n
    grads = {}
    for name in params:
        total = None
        for (_, g), k in answers:
            part = _deep(lambda v: v * k / n, _plain(g[name]))
            total = part if total is None else _deep(lambda a, b: a + b, total, part)
        grads[name] = total
    return loss, grads


def gradient_noise(sample_grads, batch_size):
    g = [[float(v) for v in row] for row in _plain(sample_grads)]
    n = len(g)
    total = 0.0
    for col in zip(*g):
        m = math.fsum(col) / n
        total += math.fsum((v - m) ** 2 for v in col)
    return total / n / batch_size * (n - batch_size) / (n - 1)


def momentum_step(params, grads, velocity, lr, momentum=0.9):
    p2, v2 = {}, {}
    for k in params:
        w, g = _plain(params[k]), _plain(grads[k])
        v = _plain(velocity[k]) if k in velocity else _deep(lambda t: 0.0, w)
        v2[k] = _deep(lambda a, b: momentum * a + b, v, g)
        p2[k] = _deep(lambda a, b: a - lr * b, w, v2[k])
    return p2, v2


def nesterov_step(params, grads, velocity, lr, momentum=0.9):
    _, v2 = momentum_step(params, grads, velocity, lr, momentum)
    ahead, _ = momentum_step(params, grads, v2, lr, momentum)
    return ahead, v2


def rosenbrock(p):
    x, y = (float(v) for v in p)
    return (x - 1) ** 2 + 100 * (x * x - y) ** 2, [2 * (x - 1) + 400 * x * (x * x - y), -200 * (x * x - y)]


def descend(step, start, lr, n_steps, momentum=0.9):
    params, velocity = {"p": np.array(start, dtype=np.float64)}, {}
    history = [params["p"]]
    for _ in range(n_steps):
        params, velocity = step(params, {"p": rosenbrock(params["p"])[1]}, velocity, lr, momentum)
        history.append(params["p"])
    return np.array(history)


def clip_by_norm(grads, max_norm):
    norm = math.sqrt(math.fsum(v * v for g in grads.values() for v in np.ravel(g).tolist()))
    if norm <= max_norm:
        return {k: _deep(float, _plain(g)) for k, g in grads.items()}, norm
    return {k: _deep(lambda v: v * max_norm / norm, _plain(g)) for k, g in grads.items()}, norm


def sgd(gradient, params, X, y, lr, batch_size, epochs, rng, momentum=0.9, max_norm=None):
    current = {k: np.array(v, float) for k, v in params.items()}
    velocity, losses = {}, []
    for _ in range(epochs):
        total = count = 0
        for xb, yb in minibatches(X, y, batch_size, rng):
            l, g = gradient(current, xb, yb)
            g = g if max_norm is None else clip_by_norm(g, max_norm)[0]
            current, velocity = momentum_step(current, g, velocity, lr, momentum or 0.9)
            current = {k: np.array(v) for k, v in current.items()}
            total, count = total + l * len(yb), count + len(yb)
        losses.append(total / count)
    return current, losses
