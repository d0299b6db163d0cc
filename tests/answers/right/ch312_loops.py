"""Right, in plain Python: loops over names and entries, nested lists, the math module."""

import math

import numpy as np


def rosenbrock(point):
    x, y = point
    return (1.0 - x) ** 2 + 100.0 * (y - x * x) ** 2


def rosenbrock_grad(point):
    x, y = point
    return [-2.0 * (1.0 - x) - 400.0 * x * (y - x * x), 200.0 * (y - x * x)]


def momentum_step(params, grads, state, lr, momentum=0.9):
    new, memory = {}, {}
    for name in params:
        old = state[name] if state else zeros(params[name])
        memory[name] = entrywise(lambda v, g: momentum * v + g, old, grads[name])
        new[name] = entrywise(lambda w, v: w - lr * v, params[name], memory[name])
    return new, memory


def adagrad_step(params, grads, state, lr, eps=1e-10):
    new, memory = {}, {}
    for name in params:
        old = state[name] if state else zeros(params[name])
        memory[name] = entrywise(lambda s, g: s + g * g, old, grads[name])
        new[name] = entrywise(lambda w, g, s: w - lr * g / (math.sqrt(s) + eps), params[name], grads[name], memory[name])
    return new, memory


def rmsprop_step(params, grads, state, lr, rho=0.99, eps=1e-8):
    new, memory = {}, {}
    for name in params:
        old = state[name] if state else zeros(params[name])
        memory[name] = entrywise(lambda s, g: s + (1 - rho) * (g * g - s), old, grads[name])
        new[name] = entrywise(lambda w, g, s: w - lr * g / (math.sqrt(s) + eps), params[name], grads[name], memory[name])
    return new, memory


def adam_step(params, grads, state, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    steps, first, second = state.get("all", (0, {}, {}))
    steps += 1
    new, m, v = {}, {}, {}
    for name in params:
        m[name] = entrywise(lambda a, g: beta1 * a + (1 - beta1) * g, first.get(name, zeros(params[name])), grads[name])
        v[name] = entrywise(lambda a, g: beta2 * a + (1 - beta2) * g * g, second.get(name, zeros(params[name])), grads[name])

        def moved(w, a, b):
            a_hat = a / (1 - beta1**steps)
            b_hat = b / (1 - beta2**steps)
            return w - lr * a_hat / (math.sqrt(b_hat) + eps)

        new[name] = entrywise(moved, params[name], m[name], v[name])
    return new, {"all": (steps, m, v)}


def adamw_step(params, grads, state, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01):
    adam, state = adam_step(params, grads, state, lr, beta1, beta2, eps)
    return {name: entrywise(lambda w, a: a - lr * weight_decay * w, params[name], adam[name]) for name in params}, state


def minimize(step, grad, start, n_steps, **options):
    history = [[float(x) for x in start]]
    state = {}
    for _ in range(n_steps):
        here = history[-1]
        params, state = step({"x": here}, {"x": [float(g) for g in grad(here)]}, state, **options)
        history.append([float(x) for x in params["x"]])
    return history


def sweep(step, loss, grad, start, n_steps, lrs):
    losses = []
    best = None
    for lr in lrs:
        last = float(loss(minimize(step, grad, start, n_steps, lr=lr)[-1]))
        if not math.isfinite(last):
            last = math.inf
        if best is None or last < losses[best]:
            best = len(losses)
        losses.append(last)
    return lrs[best], losses


def zeros(array):
    return entrywise(lambda x: 0.0, array)


def entrywise(function, *arrays):
    arrays = [a.tolist() if isinstance(a, (np.ndarray, np.generic)) else a for a in arrays]
    if not isinstance(arrays[0], (list, tuple)):
        return function(*[float(a) for a in arrays])
    return [entrywise(function, *items) for items in zip(*arrays)]
