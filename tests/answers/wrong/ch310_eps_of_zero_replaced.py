"""Wrong: an eps of 0 counts as none given, and 1e-5 is taken."""

import numpy as np


def new_state(features):
    return {"running_mean": np.zeros(features), "running_var": np.ones(features)}


def batch_statistics(x):
    x = np.asarray(x, dtype=np.float64)
    mean = np.mean(x, axis=0)
    var = np.mean((x - mean) ** 2, axis=0)
    return (mean, var)


def update_running(state, mean, var, count, momentum=0.1):
    if count < 2:
        raise ValueError("a variance can only be estimated from two values or more")
    unbiased = np.asarray(var, dtype=np.float64) * count / (count - 1)
    old_mean = np.asarray(state["running_mean"], dtype=np.float64)
    old_var = np.asarray(state["running_var"], dtype=np.float64)
    return {
        "running_mean": (1.0 - momentum) * old_mean + momentum * np.asarray(mean, dtype=np.float64),
        "running_var": (1.0 - momentum) * old_var + momentum * unbiased,
    }


def batch_norm_forward(x, gamma, beta, state, training, momentum=0.1, eps=1e-05):
    x = np.asarray(x, dtype=np.float64)
    gamma = np.asarray(gamma, dtype=np.float64)
    if training:
        mean, var = batch_statistics(x)
        state = update_running(state, mean, var, len(x), momentum)
    else:
        mean = np.asarray(state["running_mean"], dtype=np.float64)
        var = np.asarray(state["running_var"], dtype=np.float64)
        state = {"running_mean": mean.copy(), "running_var": var.copy()}
    inv_std = 1.0 / np.sqrt(var + (eps or 1e-05))
    x_hat = (x - mean) * inv_std
    out = gamma * x_hat + np.asarray(beta, dtype=np.float64)
    return (out, (x_hat, inv_std, gamma, training), state)


def batch_norm_backward(dout, cache):
    x_hat, inv_std, gamma, training = cache
    dout = np.asarray(dout, dtype=np.float64)
    dgamma = np.sum(dout * x_hat, axis=0)
    dbeta = np.sum(dout, axis=0)
    g = dout * gamma
    if training:
        g = g - np.mean(g, axis=0) - x_hat * np.mean(g * x_hat, axis=0)
    return (g * inv_std, dgamma, dbeta)


def batch_norm_images_forward(x, gamma, beta, state, training, momentum=0.1, eps=1e-05):
    x = np.asarray(x, dtype=np.float64)
    batch, channels, height, width = x.shape
    rows = x.transpose(0, 2, 3, 1).reshape(-1, channels)
    out, cache, state = batch_norm_forward(rows, gamma, beta, state, training, momentum, eps)
    return (out.reshape(batch, height, width, channels).transpose(0, 3, 1, 2), cache, state)


def batch_norm_images_backward(dout, cache):
    dout = np.asarray(dout, dtype=np.float64)
    batch, channels, height, width = dout.shape
    rows = dout.transpose(0, 2, 3, 1).reshape(-1, channels)
    dx, dgamma, dbeta = batch_norm_backward(rows, cache)
    return (dx.reshape(batch, height, width, channels).transpose(0, 3, 1, 2), dgamma, dbeta)


def fold_batch_norm(W, b, gamma, beta, state, eps=1e-05):
    W = np.asarray(W, dtype=np.float64)
    b = np.asarray(b, dtype=np.float64)
    mean = np.asarray(state["running_mean"], dtype=np.float64)
    var = np.asarray(state["running_var"], dtype=np.float64)
    scale = np.asarray(gamma, dtype=np.float64) / np.sqrt(var + eps)
    return (scale[:, None] * W, scale * (b - mean) + np.asarray(beta, dtype=np.float64))


def layer_norm_forward(x, gamma, beta, eps=1e-05):
    x = np.asarray(x, dtype=np.float64)
    gamma = np.asarray(gamma, dtype=np.float64)
    centred = x - np.mean(x, axis=-1, keepdims=True)
    inv_std = 1.0 / np.sqrt(np.mean(centred**2, axis=-1, keepdims=True) + eps)
    x_hat = centred * inv_std
    return (gamma * x_hat + np.asarray(beta, dtype=np.float64), (x_hat, inv_std, gamma))


def layer_norm_backward(dout, cache):
    x_hat, inv_std, gamma = cache
    dout = np.asarray(dout, dtype=np.float64)
    everything_else = tuple(range(dout.ndim - 1))
    dgamma = np.sum(dout * x_hat, axis=everything_else)
    dbeta = np.sum(dout, axis=everything_else)
    g = dout * gamma
    mean_g = np.mean(g, axis=-1, keepdims=True)
    mean_gx = np.mean(g * x_hat, axis=-1, keepdims=True)
    return ((g - mean_g - x_hat * mean_gx) * inv_std, dgamma, dbeta)
