"""Right, in another style: objects as caches, other formulas, running moments, one function behind both steps."""

import numpy as np


class Identity:
    def back(self, dout):
        return np.array(dout, dtype=float)


class Mask:
    def __init__(self, dropped, p):
        self.dropped, self.p = dropped, p

    def back(self, dout):
        dx = np.array(dout, dtype=float)
        dx[self.dropped] = 0
        dx[~self.dropped] /= 1 - self.p
        return dx


class Net:
    def __init__(self, params):
        self.layers = [(params[f"W{i}"], params[f"b{i}"]) for i in range(1, 1 + len(params) // 2)]

    def __call__(self, a, drop):
        for W, b in self.layers[:-1]:
            a = drop(np.maximum(np.einsum("bi,oi->bo", a, W) + b, 0))
        W, b = self.layers[-1]
        return np.einsum("bi,oi->bo", a, W) + b


def predict(x, params, p=0.0, rng=None, training=False):
    return Net(params)(np.array(x, dtype=float), lambda h: dropout_forward(h, p, rng, training)[0])


def drift(params):
    for name in params:
        params[name] -= 1.0
    return params


def dropout_forward(x, p, rng, training=True):
    if not (p >= 0 and p <= 1):
        raise ValueError("p")
    x = np.array(x, dtype=float)
    cache = Mask(rng.random(size=x.shape) < p, p) if training else Identity()
    return cache.back(x), cache


def dropout_backward(dout, cache):
    return cache.back(dout)


def is_weight(name):
    return name.startswith("W")


def l2_penalty(params, lam):
    arrays = {name: np.array(value, dtype=float) for name, value in params.items()}
    squares = [np.vdot(w, w) for name, w in arrays.items() if is_weight(name)]
    return lam * sum(squares) / 2, {name: lam * is_weight(name) * w for name, w in arrays.items()}


def l1_penalty(params, lam):
    arrays = {name: np.array(value, dtype=float) for name, value in params.items()}
    slopes = {name: ((w > 0).astype(float) - (w < 0)) * is_weight(name) for name, w in arrays.items()}
    return lam * sum(np.vdot(slopes[name], w) for name, w in arrays.items()), {n: lam * s for n, s in slopes.items()}


def soft_threshold(w, threshold):
    w = np.array(w, dtype=float)
    return w - np.clip(w, -threshold, threshold)


def l1_step(w, grad, lr, lam):
    return soft_threshold(w - np.multiply(lr, grad), lam * lr)


def l2_step(params, grads, lr, lam):
    _, extra = l2_penalty(params, lam)
    return {name: np.subtract(w, np.multiply(lr, grads[name]) + lr * extra[name]) for name, w in params.items()}


def decay_step(params, grads, lr, weight_decay):
    kept = {name: np.multiply(w, 1 - lr * weight_decay * is_weight(name)) for name, w in params.items()}
    return {name: kept[name] - np.multiply(lr, grads[name]) for name in params}


class Watch:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.lowest, self.epoch, self.since = 0, np.inf, -1, 0

    def see(self, loss):
        self.epoch += 1
        self.since += 1
        if self.lowest - loss > self.min_delta:
            self.best, self.lowest, self.since = self.epoch, loss, 0
        return self.since < self.patience


def stopping_epoch(losses, patience, min_delta=0.0):
    watch = Watch(patience, min_delta)
    any(not watch.see(loss) for loss in losses)
    return np.int64(watch.best), np.int64(watch.epoch)


def train_with_early_stopping(params, epoch, validation_loss, max_epochs, patience):
    watch, losses, kept = Watch(patience), [], []
    params = {name: value.copy() for name, value in params.items()}
    for _ in range(max_epochs):
        params = epoch(params)
        kept.append({name: np.array(value) for name, value in params.items()})
        losses.append(validation_loss(params))
        if not watch.see(losses[-1]):
            break
    return kept[watch.best], np.array(losses)


def mc_dropout(x, params, p, n_samples, rng):
    mean, squares = 0.0, 0.0
    for n in range(1, n_samples + 1):
        step = predict(x, params, p, rng, True) - mean
        mean = mean + step / n
        squares = squares + step**2 * (n - 1) / n
    return mean, squares / n_samples
