"""Right, in another style: the memory is an object, all parameters are one long vector, Adam in its shorter formula."""

import numpy as np


class Memory:
    """Moments as flat vectors; never changed after it is made."""

    def __init__(self, first=0.0, second=0.0, count=0):
        self.first, self.second, self.count = first, second, count


def flat(arrays, names):
    return np.concatenate([np.ravel(np.array(arrays[name], dtype=float)) for name in names])


def shaped(vector, like):
    sizes = [np.size(value) for value in like.values()]
    pieces = np.split(vector, np.cumsum(sizes)[:-1])
    return {name: piece.reshape(np.shape(like[name])) for name, piece in zip(like, pieces)}


def stepper(update):
    """Makes a step on dicts of a rule on vectors: update(gradient, memory, lr, ...) -> (direction, memory)."""

    def step(params, grads, state, lr, *args, **kwargs):
        memory = state if isinstance(state, Memory) else Memory()
        direction, memory = update(flat(grads, params), memory, *args, **kwargs)
        return shaped(flat(params, params) - lr * direction, params), memory

    return step


@stepper
def momentum_step(g, memory, momentum=0.9):
    v = momentum * memory.first + g
    return v, Memory(v)


@stepper
def adagrad_step(g, memory, eps=1e-10):
    s = memory.second + np.square(g)
    return g / (s**0.5 + eps), Memory(0, s)


@stepper
def rmsprop_step(g, memory, rho=0.99, eps=1e-8):
    s = np.average([memory.second + 0 * g, g**2], axis=0, weights=[rho, 1 - rho])
    return g / (s**0.5 + eps), Memory(0, s)


@stepper
def adam_step(g, memory, beta1=0.9, beta2=0.999, eps=1e-8):
    t = memory.count + 1
    m = memory.first + (1 - beta1) * (g - memory.first)
    v = memory.second + (1 - beta2) * (g**2 - memory.second)
    # The factor of the root is taken out of it, and so out of eps as well.
    late = np.sqrt(1 - beta2**t)
    return late / (1 - beta1**t) * m / (np.sqrt(v) + late * eps), Memory(m, v, t)


def adamw_step(params, grads, state, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01):
    zero = {name: np.zeros(np.shape(value)) for name, value in params.items()}
    moves, state = adam_step(zero, grads, state, lr, beta1, beta2, eps)
    return {name: np.float64(params[name]) * (1 - lr * weight_decay) + moves[name] for name in params}, state


def rosenbrock(point):
    return (1 - point[0]) ** 2 + 100 * (point[1] - point[0] ** 2) ** 2


def rosenbrock_grad(point):
    x, y = point
    return np.array([2 * (x - 1) + 400 * x * (x * x - y), 200 * (y - x * x)])


def minimize(step, grad, start, n_steps, **options):
    history = np.empty((n_steps + 1, len(start)))
    history[0] = start
    state = {}
    for i in range(n_steps):
        new, state = step({"p": history[i].copy()}, {"p": grad(history[i].copy())}, state, **options)
        history[i + 1] = new["p"]
    return history


def sweep(step, loss, grad, start, n_steps, lrs):
    losses = np.array([loss(minimize(step, grad, start, n_steps, lr=lr)[-1]) for lr in lrs], dtype=float)
    losses = np.where(np.isfinite(losses), losses, np.inf)
    return float(np.array(lrs)[losses == losses.min()][0]), losses
