"""Wrong: Each step uses the gradient of the point before."""

import numpy as np


def rosenbrock(point):
    x, y = np.asarray(point, dtype=float)
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def rosenbrock_grad(point):
    x, y = np.asarray(point, dtype=float)
    return np.array([2 * (x - 1) - 400 * x * (y - x**2), 200 * (y - x**2)])


def array(x):
    return np.asarray(x, dtype=float)


def momentum_step(params, grads, state, lr, momentum=0.9):
    v = {k: momentum * state.get(k, 0.0) + array(grads[k]) for k in params}
    return {k: array(params[k]) - lr * v[k] for k in params}, v


def adagrad_step(params, grads, state, lr, eps=1e-10):
    s = {k: state.get(k, 0.0) + array(grads[k]) ** 2 for k in params}
    return {k: array(params[k]) - lr * array(grads[k]) / (np.sqrt(s[k]) + eps) for k in params}, s


def rmsprop_step(params, grads, state, lr, rho=0.99, eps=1e-8):
    s = {k: rho * state.get(k, 0.0) + (1 - rho) * array(grads[k]) ** 2 for k in params}
    return {k: array(params[k]) - lr * array(grads[k]) / (np.sqrt(s[k]) + eps) for k in params}, s


def adam_step(params, grads, state, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    t, new, memory = state.get("t", 0) + 1, {}, {}
    for k in params:
        m, v = state.get(k, (0.0, 0.0))
        m = beta1 * m + (1 - beta1) * array(grads[k])
        v = beta2 * v + (1 - beta2) * array(grads[k]) ** 2
        new[k] = array(params[k]) - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
        memory[k] = (m, v)
    return new, {"t": t, **memory}


def adamw_step(params, grads, state, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01):
    new, state = adam_step(params, grads, state, lr, beta1, beta2, eps)
    return {k: new[k] - lr * weight_decay * array(params[k]) for k in params}, state


def minimize(step, grad, start, n_steps, **options):
    history, state = [np.array(start, dtype=float)], {}
    slope = grad(history[0]) if n_steps else None
    for _ in range(n_steps):
        before, slope = slope, grad(history[-1]) if len(history) > 1 else slope
        params, state = step({"w": history[-1]}, {"w": before}, state, **options)
        history.append(params["w"])
    return np.array(history)


def sweep(step, loss, grad, start, n_steps, lrs):
    losses = [float(loss(minimize(step, grad, start, n_steps, lr=lr)[-1])) for lr in lrs]
    losses = [x if np.isfinite(x) else np.inf for x in losses]
    return lrs[int(np.argmin(losses))], losses
