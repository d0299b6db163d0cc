"""Right, in plain Python: loops, lists and the math module."""

import math


def linear_gradient(params, X, y):
    w, b = [float(v) for v in params["w"]], float(params["b"])
    loss, dw, db = 0.0, [0.0] * len(w), 0.0
    for row, target in zip(X, y):
        error = sum(a * c for a, c in zip(row, w)) + b - target
        loss += error**2 / len(y)
        db += 2 * error / len(y)
        for j, a in enumerate(row):
            dw[j] += 2 * error * a / len(y)
    return loss, {"w": dw, "b": db}


def minibatches(X, y, batch_size, rng):
    batches, xs, ys = [], [], []
    for n in rng.permutation(len(X)):
        xs.append(X[n])
        ys.append(y[n])
        if len(xs) == batch_size:
            batches.append((_plain(xs), _plain(ys)))
            xs, ys = [], []
    if xs:
        batches.append((_plain(xs), _plain(ys)))
    return batches


def accumulate(gradient, params, batches):
    answers = [(len(y), *gradient(params, X, y)) for X, y in batches]
    total = sum(size for size, _, _ in answers)
    loss = math.fsum(size * loss for size, loss, _ in answers) / total
    grads = {}
    for name in params:
        grads[name] = _zip(lambda *g: sum(s * v for (s, _, _), v in zip(answers, g)) / total, *[a[2][name] for a in answers])
    return loss, grads


def gradient_noise(sample_grads, batch_size):
    rows = [[float(v) for v in row] for row in sample_grads]
    n, spread = len(rows), 0.0
    for column in zip(*rows):
        mean = math.fsum(column) / n
        spread += math.fsum((v - mean) ** 2 for v in column) / n
    return spread * (n - batch_size) / (batch_size * (n - 1))


def momentum_step(params, grads, velocity, lr, momentum=0.9):
    v = {}
    for name in params:
        old = velocity[name] if name in velocity else _zip(lambda w: 0.0, params[name])
        v[name] = _zip(lambda a, g: momentum * a + g, old, grads[name])
    return {name: _zip(lambda w, a: w - lr * a, params[name], v[name]) for name in params}, v


def nesterov_step(params, grads, velocity, lr, momentum=0.9):
    v = momentum_step(params, grads, velocity, lr, momentum)[1]
    return {name: _zip(lambda w, g, a: w - lr * (g + momentum * a), params[name], grads[name], v[name]) for name in params}, v


def rosenbrock(p):
    x, y = float(p[0]), float(p[1])
    u = y - x * x
    return (1 - x) ** 2 + 100 * u * u, [2 * (x - 1) - 400 * x * u, 200 * u]


def descend(step, start, lr, n_steps, momentum=0.9):
    params, velocity = {"p": [float(v) for v in start]}, {}
    history = [params["p"]]
    for _ in range(n_steps):
        params, velocity = step(params, {"p": rosenbrock(params["p"])[1]}, velocity, lr, momentum)
        history.append(params["p"])
    return history


def clip_by_norm(grads, max_norm):
    norm = math.sqrt(math.fsum(v * v for g in grads.values() for v in _flat(g)))
    if norm <= max_norm:
        return {name: _zip(lambda v: v, g) for name, g in grads.items()}, norm
    return {name: _zip(lambda v: v * max_norm / norm, g) for name, g in grads.items()}, norm


def sgd(gradient, params, X, y, lr, batch_size, epochs, rng, momentum=0.9, max_norm=None):
    velocity, losses = {}, []
    for _ in range(epochs):
        total = 0.0
        for xs, ys in minibatches(X, y, batch_size, rng):
            loss, grads = gradient(params, xs, ys)
            total += float(loss) * len(ys)
            if max_norm is not None:
                grads = clip_by_norm(grads, max_norm)[0]
            params, velocity = momentum_step(params, grads, velocity, lr, momentum)
        losses.append(total / len(X))
    return params, losses


def _plain(values):
    return [_zip(lambda v: v, value) for value in values]


def _is_number(value):
    return isinstance(value, (int, float)) or getattr(value, "ndim", 1) == 0


def _flat(value):
    return [float(value)] if _is_number(value) else [v for part in value for v in _flat(part)]


def _zip(function, *values):
    if _is_number(values[0]):
        return function(*[float(v) for v in values])
    return [_zip(function, *parts) for parts in zip(*values)]
