"""Wrong: gradient_error adds up the squares of all differences instead of taking the largest."""
import numpy as np


def mse(y_hat, y):
    y_hat, y = np.array(y_hat, dtype=float), np.array(y, dtype=float)
    n = y.size
    return np.einsum("...,...->", y_hat - y, y_hat - y) / n if y.ndim == 0 else float(np.sum(np.square(y - y_hat)) / n), y_hat * (2 / n) - y * (2 / n)


def softmax(x, axis=-1):
    x = np.array(x, float)
    x = np.swapaxes(x, axis, -1)
    e = np.exp(x - np.amax(x, -1)[..., None])
    return np.swapaxes(e / e.sum(-1)[..., None], axis, -1)


def log_softmax(x, axis=-1):
    x = np.array(x, float)
    m = np.expand_dims(x.max(axis), axis)
    return x - m - np.expand_dims(np.log(np.exp(x - m).sum(axis)), axis)


def cross_entropy(logits, targets):
    z = np.array(logits, float)
    t = np.array(targets)
    B, K = z.shape
    if t.ndim == 1:
        t = (t[:, None] == np.arange(K)) * 1.0
    lp = log_softmax(z)
    loss = -np.tensordot(t.astype(float), lp, 2) / B
    # d lp_j / d z_k = [j == k] - p_k
    p = np.exp(lp)
    J = np.eye(K)[None] - p[:, None, :]
    return loss, -np.einsum("bj,bjk->bk", t, J) / B


def bce_with_logits(logits, y):
    z = np.array(logits, float)
    y = np.array(y, float)
    y = y[:, None] if y.ndim < z.ndim else y
    loss = (np.logaddexp(0, z) * (1 - y) + np.logaddexp(0, -z) * y).sum() / z.size
    return loss, (0.5 * (1 + np.tanh(0.5 * z)) - y) / z.size


def huber(y_hat, y, delta=1.0):
    r = np.array(y_hat, float) - np.array(y, float)
    out = np.empty_like(r)
    g = np.empty_like(r)
    inner = np.abs(r) < delta
    out[inner] = r[inner] ** 2 / 2
    g[inner] = r[inner]
    out[~inner] = delta * np.abs(r[~inner]) - delta**2 / 2
    g[~inner] = delta * np.sign(r[~inner])
    return out.mean(), g / g.size


def gradient_error(loss, prediction, target, h=1e-5):
    p = np.array(prediction, float)
    steps = np.eye(p.size).reshape(p.size, *p.shape) * h
    diff = [(loss(p + s, target)[0] - loss(p - s, target)[0]) / (h + h) for s in steps]
    return np.sqrt(np.sum((np.array(diff) - np.ravel(loss(p, target)[1])) ** 2))
