"""Right, in plain Python: loops and nested lists; the cache of dropout is a nested list of factors."""

import copy
import math

import numpy as np


def noisy_sine(count, rng):
    x = rng.uniform(-np.pi, np.pi, size=(count, 1))
    return x, np.sin(x) + rng.normal(scale=0.5, size=(count, 1))


def predict(x, params, p=0.0, rng=None, training=False):
    a, depth = np.asarray(x, dtype=np.float64), len(params) // 2
    for layer in range(1, depth + 1):
        a = a @ np.asarray(params[f"W{layer}"]).T + np.asarray(params[f"b{layer}"])
        if layer < depth:
            a = np.asarray(dropout_forward(np.maximum(a, 0.0), p, rng, training)[0])
    return a


def drift(params):
    for value in params.values():
        value -= 1.0
    return params


def nested(function, *trees):
    if hasattr(trees[0], "__len__"):
        return [nested(function, *parts) for parts in zip(*trees)]
    return function(*(float(tree) for tree in trees))


def leaves(tree):
    if hasattr(tree, "__len__"):
        return [leaf for part in tree for leaf in leaves(part)]
    return [float(tree)]


def dropout_forward(x, p, rng, training=True):
    if p < 0 or p > 1:
        raise ValueError(f"{p} is no probability")
    if not training or p == 0:
        factors = nested(lambda v: 1.0, x)
    else:
        factors = nested(lambda u: 1 / (1 - p) if u >= p and p < 1 else 0.0, rng.random(np.shape(x)))
    return nested(lambda v, m: v * m, x, factors), factors


def dropout_backward(dout, cache):
    return nested(lambda d, m: d * m, dout, cache)


def penalty(params, weigh, slope):
    value, grads = 0.0, {}
    for name in params:
        pays = name[:1] == "W"
        value += sum(weigh(w) for w in leaves(params[name])) if pays else 0.0
        grads[name] = nested(slope if pays else lambda w: 0.0, params[name])
    return value, grads


def l2_penalty(params, lam):
    return penalty(params, lambda w: lam * w * w / 2, lambda w: lam * w)


def l1_penalty(params, lam):
    return penalty(params, lambda w: lam * abs(w), lambda w: math.copysign(lam, w) if w else 0.0)


def shrink(w, threshold):
    if abs(w) <= threshold:
        return 0.0
    return w - threshold if w > 0 else w + threshold


def soft_threshold(w, threshold):
    return nested(lambda v: shrink(v, threshold), w)


def l1_step(w, grad, lr, lam):
    return nested(lambda v, g: shrink(v - lr * g, lr * lam), w, grad)


def l2_step(params, grads, lr, lam):
    return {n: nested(lambda w, g: w - lr * (g + lam * w * (n[0] == "W")), params[n], grads[n]) for n in params}


def decay_step(params, grads, lr, weight_decay):
    return l2_step(params, grads, lr, weight_decay)


def stopping_epoch(losses, patience, min_delta=0.0):
    best, lowest, epoch, counted_from = 0, math.inf, -1, -1
    for epoch, loss in enumerate(losses):
        if loss < lowest - min_delta:
            best, lowest, counted_from = epoch, loss, epoch
        if epoch - counted_from == patience:
            break
    return best, epoch


def train_with_early_stopping(params, epoch, validation_loss, max_epochs, patience):
    now, lowest, waited = copy.deepcopy(params), math.inf, 0
    best, losses = None, []
    while len(losses) < max_epochs and waited < patience:
        now = epoch(now)
        losses.append(float(validation_loss(now)))
        waited += 1
        if losses[-1] < lowest:
            lowest, waited = losses[-1], 0
        if best is None or waited == 0:
            best = copy.deepcopy(now)
    return best, losses


def mc_dropout(x, params, p, n_samples, rng):
    answers = []
    while len(answers) < n_samples:
        answers.append(predict(x, params, p, rng, training=True).tolist())
    mean = nested(lambda *vs: sum(vs) / n_samples, *answers)
    variance = nested(lambda m, *vs: sum((v - m) ** 2 for v in vs) / n_samples, mean, *answers)
    return mean, variance
