"""Wrong: Adam keeps the learning rate of its first step in the state, and is deaf to any other."""

import numpy as np


def as_floats(arrays):
    return {name: np.asarray(array, dtype=np.float64) for name, array in arrays.items()}


def rosenbrock(point):
    x, y = np.asarray(point, dtype=np.float64)
    return (1.0 - x) ** 2 + 100.0 * (y - x**2) ** 2


def rosenbrock_grad(point):
    x, y = np.asarray(point, dtype=np.float64)
    return np.array([-2.0 * (1.0 - x) - 400.0 * x * (y - x**2), 200.0 * (y - x**2)])


def noisy(grad, scale, rng):

    def noisy_grad(point):
        exact = np.asarray(grad(point), dtype=np.float64)
        return exact + rng.normal(scale=scale, size=exact.shape)

    return noisy_grad


def momentum_step(params, grads, state, lr, momentum=0.9):
    params, grads = (as_floats(params), as_floats(grads))
    old = state.get("velocity", dict.fromkeys(params, 0.0))
    velocity = {name: momentum * old[name] + grads[name] for name in params}
    stepped = {name: params[name] - lr * velocity[name] for name in params}
    return (stepped, {"velocity": velocity})


def adagrad_step(params, grads, state, lr, eps=1e-10):
    params, grads = (as_floats(params), as_floats(grads))
    old = state.get("sum_of_squares", dict.fromkeys(params, 0.0))
    sums = {name: old[name] + grads[name] ** 2 for name in params}
    stepped = {name: params[name] - lr * grads[name] / (np.sqrt(sums[name]) + eps) for name in params}
    return (stepped, {"sum_of_squares": sums})


def rmsprop_step(params, grads, state, lr, rho=0.99, eps=1e-08):
    params, grads = (as_floats(params), as_floats(grads))
    old = state.get("mean_square", dict.fromkeys(params, 0.0))
    means = {name: rho * old[name] + (1.0 - rho) * grads[name] ** 2 for name in params}
    stepped = {name: params[name] - lr * grads[name] / (np.sqrt(means[name]) + eps) for name in params}
    return (stepped, {"mean_square": means})


def adam_step(params, grads, state, lr, beta1=0.9, beta2=0.999, eps=1e-08):
    params, grads = (as_floats(params), as_floats(grads))
    zeros = dict.fromkeys(params, 0.0)
    t = state.get("t", 0) + 1
    old_m, old_v = (state.get("m", zeros), state.get("v", zeros))
    m = {name: beta1 * old_m[name] + (1.0 - beta1) * grads[name] for name in params}
    v = {name: beta2 * old_v[name] + (1.0 - beta2) * grads[name] ** 2 for name in params}
    lr = state.get("lr", lr)
    stepped = {}
    for name in params:
        m_hat = m[name] / (1.0 - beta1**t)
        v_hat = v[name] / (1.0 - beta2**t)
        stepped[name] = params[name] - lr * m_hat / (np.sqrt(v_hat) + eps)
    return (stepped, {"t": t, "m": m, "v": v, "lr": lr})


def adamw_step(params, grads, state, lr, beta1=0.9, beta2=0.999, eps=1e-08, weight_decay=0.01):
    shrunk = {name: w * (1.0 - lr * weight_decay) for name, w in as_floats(params).items()}
    return adam_step(shrunk, grads, state, lr, beta1, beta2, eps)


def minimize(step, grad, start, n_steps, **options):
    point = np.array(start, dtype=np.float64)
    history = [point]
    state = {}
    for _ in range(n_steps):
        params, state = step({"point": point}, {"point": grad(point)}, state, **options)
        point = np.asarray(params["point"], dtype=np.float64)
        history.append(point)
    return np.array(history)


def sweep(step, loss, grad, start, n_steps, lrs):
    losses = []
    for lr in lrs:
        last = float(loss(minimize(step, grad, start, n_steps, lr=lr)[-1]))
        losses.append(last if np.isfinite(last) else np.inf)
    return (lrs[int(np.argmin(losses))], losses)
