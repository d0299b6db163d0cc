"""Wrong: the rows of each batch are sorted back into their old order."""

import numpy as np


def f(x):
    return np.array(x, float)


def linear_gradient(params, X, y):
    r = X @ params["w"] + params["b"] - y
    return (r @ r) / r.size, {"b": 2 * r.mean(), "w": np.einsum("b,bd->d", r, X) * 2 / r.size}


def minibatches(X, y, batch_size, rng):
    X, y = np.asarray(X), np.asarray(y)
    pieces = np.split(rng.permutation(y.shape[0]), range(batch_size, y.shape[0], batch_size))
    return [(X.take(np.sort(i), axis=0), y.take(np.sort(i), axis=0)) for i in pieces]


def accumulate(gradient, params, batches):
    n = sum(len(y) for _, y in batches)
    loss, grads = 0, dict.fromkeys(params, 0)
    for X, y in batches:
        value, g = gradient(params, X, y)
        share = len(y) / n
        loss += share * value
        for k in grads:
            grads[k] = grads[k] + share * f(g[k])
    return np.array(loss), grads


def gradient_noise(sample_grads, batch_size):
    g = f(sample_grads)
    return (1 / batch_size - 1 / len(g)) * g.var(axis=0, ddof=1).sum()


def _velocity(grads, velocity, momentum):
    return {k: f(g) + (momentum * f(velocity[k]) if velocity else 0) for k, g in grads.items()}


def momentum_step(params, grads, velocity, lr, momentum=0.9):
    v = _velocity(grads, velocity, momentum)
    return {k: f(params[k]) - lr * v[k] for k in v}, v


def nesterov_step(params, grads, velocity, lr, momentum=0.9):
    stepped, v = momentum_step(params, grads, velocity, lr, momentum)
    again = _velocity(grads, v, momentum)
    return {k: stepped[k] + lr * (v[k] - again[k]) for k in v}, v


def rosenbrock(p):
    p = f(p)
    u = p[1] - p[0] ** 2
    residuals = np.array([1 - p[0], 10 * u])
    jacobian = np.array([[-1, 0], [-20 * p[0], 10]])
    return residuals @ residuals, 2 * residuals @ jacobian


def descend(step, start, lr, n_steps, momentum=0.9):
    params, velocity = {"p": f(start)}, {}
    history = [params["p"]]
    for _ in range(n_steps):
        params, velocity = step(params, {"p": rosenbrock(params["p"])[1]}, velocity, lr, momentum)
        history.append(params["p"])
    return np.array(history)


def clip_by_norm(grads, max_norm):
    norm = np.linalg.norm(np.concatenate([np.ravel(g) for g in grads.values()]).astype(float))
    return {k: f(g) / max(1.0, norm / max_norm) for k, g in grads.items()}, norm


def sgd(gradient, params, X, y, lr, batch_size, epochs, rng, momentum=0.9, max_norm=None):
    w, v, losses = {k: f(p) for k, p in params.items()}, {}, np.empty(0)
    for _ in range(epochs):
        found = []
        for batch in minibatches(X, y, batch_size, rng):
            loss, g = gradient(w, *batch)
            found += [loss] * len(batch[1])
            w, v = momentum_step(w, clip_by_norm(g, np.inf if max_norm is None else max_norm)[0], v, lr, momentum)
        losses = np.append(losses, np.mean(found))
    return w, losses
