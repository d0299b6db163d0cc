"""Right, written another way: every step of the chain rule by itself, one function for all layouts, einsum, a class."""

import numpy as np


def new_state(features):
    return {"running_mean": np.zeros(features), "running_var": np.ones(features)}


class Normalizer:
    """Keeps what a backward pass needs; `axes` are those that the statistics run over."""

    def __init__(self, x, mean, var, eps, axes, fixed):
        self.centred, self.root, self.axes, self.fixed = x - mean, np.sqrt(var + eps), axes, fixed
        self.count = np.prod([x.shape[axis] for axis in axes])

    @property
    def x_hat(self):
        return self.centred / self.root

    def back(self, dx_hat):
        through = dx_hat / self.root
        if self.fixed:
            return through
        dvar = np.sum(dx_hat * self.centred, axis=self.axes, keepdims=True) * -0.5 / self.root**3
        dcentred = through + 2 * dvar * self.centred / self.count
        return dcentred - np.sum(dcentred, axis=self.axes, keepdims=True) / self.count


def batch_statistics(x):
    x = np.array(x, dtype=float)
    return np.average(x, axis=0), x.var(0)


def update_running(state, mean, var, count, momentum=0.1):
    if count < 2:
        raise ValueError
    news = {"running_var": np.multiply(var, count) / (count - 1), "running_mean": np.array(mean, dtype=float)}
    return {key: np.array(state[key], dtype=float) * (1 - momentum) + momentum * new for key, new in news.items()}


def general_forward(x, gamma, beta, state, training, momentum, eps):
    x = np.array(x, dtype=float)
    axes = tuple(axis for axis in range(x.ndim) if axis != 1)
    wide = (1, -1) + (1,) * (x.ndim - 2)
    if training:
        mean, var = x.mean(axes), x.var(axes)
        state = update_running(state, mean, var, x.size // x.shape[1], momentum)
    else:
        state = {key: np.array(value, dtype=float) for key, value in state.items()}
        mean, var = state["running_mean"], state["running_var"]
    norm = Normalizer(x, mean.reshape(wide), var.reshape(wide), eps, axes, not training)
    gamma, beta = (np.array(a, dtype=float).reshape(wide) for a in (gamma, beta))
    return norm.x_hat * gamma + beta, (norm, gamma), state


def by_channel(a, b=1.0):
    table = np.moveaxis(a * b, 1, 0).reshape(a.shape[1], -1)
    return np.einsum("cn->c", table)


def general_backward(dout, cache):
    norm, gamma = cache
    dout = np.array(dout, dtype=float)
    return norm.back(dout * gamma), by_channel(dout, norm.x_hat), by_channel(dout)


def batch_norm_forward(x, gamma, beta, state, training, momentum=0.1, eps=1e-5):
    return general_forward(x, gamma, beta, state, training, momentum, eps)


def batch_norm_backward(dout, cache):
    return general_backward(dout, cache)


def batch_norm_images_forward(x, gamma, beta, state, training, momentum=0.1, eps=1e-5):
    return general_forward(x, gamma, beta, state, training, momentum, eps)


def batch_norm_images_backward(dout, cache):
    return general_backward(dout, cache)


def fold_batch_norm(W, b, gamma, beta, state, eps=1e-5):
    gamma, beta, mean, var = (np.array(a) for a in (gamma, beta, state["running_mean"], state["running_var"]))
    D = np.diag(gamma * (var + eps) ** -0.5)
    return D @ W, D @ (b - mean) + beta


def layer_norm_forward(x, gamma, beta, eps=1e-5):
    x = np.array(x, dtype=float)
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    norm = Normalizer(x, mean, var, eps, (-1,), False)
    return norm.x_hat * gamma + beta, {"norm": norm, "gamma": np.array(gamma)}


def flat(a):
    return a.reshape(-1, a.shape[-1])


def layer_norm_backward(dout, cache):
    norm = cache["norm"]
    dx = norm.back(dout * cache["gamma"])
    return dx, flat(dout * norm.x_hat).sum(0), flat(dout).sum(0)
