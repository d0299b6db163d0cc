"""Wrong: every gradient is measured by central differences."""

import numpy as np
from numpy import einsum


def _f(a):
    return np.asarray(a, dtype=float)


def _slope(f, x):
    x = _f(x)
    grad = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        step = np.zeros(x.shape)
        step[place] = 1e-5
        grad[place] = (f(x + step) - f(x - step)) / 2e-5
    return grad


def _slopes(f, params):
    return {k: _slope(lambda v, k=k: f({**params, k: v}), params[k]) for k in params}


def _pay(logits, real):
    """Mean of -log of the chance given to what is true, and its gradient."""
    sign = 1.0 if real else -1.0
    x = sign * _f(logits)
    tail = np.log1p(np.exp(-np.abs(x)))
    wrong = np.where(x < 0, 1.0, np.exp(-np.abs(x))) / (1 + np.exp(-np.abs(x)))
    return float((np.maximum(-x, 0) + tail).mean()), -sign * wrong / x.size


def discriminator_loss(real_logits, fake_logits):
    a, b = _pay(real_logits, True)[0], _pay(fake_logits, False)[0]
    da = _slope(lambda x: _pay(x, True)[0], real_logits)
    return [a + b, da, _slope(lambda x: _pay(x, False)[0], fake_logits)]


def generator_loss(fake_logits, saturating=False):
    loss, slope = _pay(fake_logits, not saturating)
    slope = _slope(lambda x: _pay(x, not saturating)[0], fake_logits)
    return (-loss, -slope) if saturating else (loss, slope)


def optimal_discriminator(p, q):
    p, q = _f(p), _f(q)
    out = np.full_like(p, 0.5)
    return np.divide(p, p + q, out=out, where=(p + q) > 0)


def _xlogy(x, y):
    out = np.zeros_like(x)
    np.log(y, out=out, where=x > 0)
    return einsum("k,k->", x, out)


def game_value(p, q, d):
    return _xlogy(_f(p), _f(d)) + _xlogy(_f(q), 1 - _f(d))


def _entropy(p):
    return -_xlogy(p, p)


def jensen_shannon(p, q):
    p, q = _f(p), _f(q)
    return _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2


class Tape:
    """What happened in a forward pass, and how to undo it."""

    def __init__(self, x, params):
        self.names = [(f"W{i}", f"b{i}") for i in range(1, len(params) // 2 + 1)]
        self.params = {k: _f(v) for k, v in params.items()}
        self.inputs = []
        for W, b in self.names:
            self.inputs.append(_f(x))
            x = einsum("bi,oi->bo", self.inputs[-1], self.params[W]) + self.params[b]
            if W != self.names[-1][0]:
                x = np.tanh(x)
        self.out = x

    def back(self, signal):
        grads = {}
        for (W, b), x in list(zip(self.names, self.inputs))[::-1]:
            grads[b], grads[W] = einsum("bo->o", signal), einsum("bo,bi->oi", signal, x)
            signal = einsum("bo,oi->bi", signal, self.params[W])
            if W != "W1":
                signal = signal * (1 - x) * (1 + x)
        return grads, signal


def net_forward(x, params):
    tape = Tape(x, params)
    return tape.out, tape


def net_backward(dout, cache):
    def value(params, x):
        return float(np.sum(_f(dout) * Tape(x, params).out))

    x = cache.inputs[0]
    return _slopes(lambda p: value(p, x), cache.params), _slope(lambda v: value(cache.params, v), x)


def discriminator_gradients(D, G, real, z):
    fake = Tape(z, G).out

    def value(D):
        return _pay(Tape(real, D).out, True)[0] + _pay(Tape(fake, D).out, False)[0]

    return value(D), _slopes(value, D)


def generator_gradients(D, G, z):
    def value(G):
        return _pay(Tape(Tape(z, G).out, D).out, True)[0]

    return value(G), _slopes(value, G)


def adam_step(params, grads, state, lr, beta1=0.5, beta2=0.9, eps=1e-8):
    old = state if state else {"t": 0, "m": dict.fromkeys(params, 0.0), "v": dict.fromkeys(params, 0.0)}
    t = old["t"] + 1
    m = {k: beta1 * old["m"][k] + (1 - beta1) * grads[k] for k in params}
    v = {k: beta2 * old["v"][k] + (1 - beta2) * grads[k] ** 2 for k in params}
    step = {k: m[k] / (1 - beta1**t) / (np.sqrt(v[k] / (1 - beta2**t)) + eps) for k in params}
    return {k: params[k] - lr * step[k] for k in params}, {"t": t, "m": m, "v": v}


def _exact(model, real, z):
    """The steps are right: training by differences would take minutes."""
    forger = Tape(z, model["G"])
    detective, other = Tape(forger.out, model["D"]), Tape(real, model["D"])
    (a, da), (b, db), (c, dc) = _pay(other.out, True), _pay(detective.out, False), _pay(detective.out, True)
    of_real, of_fake = other.back(da)[0], detective.back(db)[0]
    grads = {k: of_real[k] + of_fake[k] for k in of_real}
    return (a + b, grads), (c, forger.back(detective.back(dc)[1])[0])


def discriminator_step(model, real, z, lr):
    loss, grads = _exact(model, real, z)[0]
    new = dict(model)
    new["D"], new["D_state"] = adam_step(model["D"], grads, model["D_state"], lr)
    return new, loss


def generator_step(model, z, lr):
    loss, grads = _exact(model, np.zeros((1, len(model["G"][f"b{len(model['G']) // 2}"]))), z)[1]
    new = dict(model)
    new["G"], new["G_state"] = adam_step(model["G"], grads, model["G_state"], lr)
    return new, loss


def critic_loss(real_scores, fake_scores):
    real, fake = _f(real_scores), _f(fake_scores)
    return fake.mean() - real.mean(), 0 * real - 1 / real.size, 0 * fake + 1 / fake.size


def clip_weights(params, limit):
    return {k: np.minimum(limit, np.maximum(-limit, _f(v))) for k, v in params.items()}


def mix_samples(real, fake, u):
    return _f(fake) + einsum("b,bd->bd", _f(u), _f(real) - _f(fake))


def gradient_penalty(x, params, strength):
    x = _f(x)

    def value(p):
        gate = 1 - np.tanh(einsum("bd,hd->bh", x, _f(p["W1"])) + p["b1"]) ** 2
        v = einsum("bh,h,hd->bd", gate, _f(p["W2"])[0], _f(p["W1"]))
        return strength * np.mean((np.linalg.norm(v, axis=1) - 1) ** 2)

    return value(params), _slopes(value, params)


def generate(G, n, rng):
    return Tape(rng.standard_normal((n, _f(G["W1"]).shape[-1])), G).out


def train_gan(model, data, steps, batch, lr_d, lr_g, rng):
    data, history = _f(data), []
    noise = (batch, _f(model["G"]["W1"]).shape[-1])
    while len(history) < steps:
        rows = rng.integers(0, len(data), batch)
        model, d = discriminator_step(model, data[rows], rng.normal(size=noise), lr_d)
        model, g = generator_step(model, rng.normal(size=noise), lr_g)
        history.append((d, g))
    return model, np.array(history).reshape(-1, 2)


def mode_shares(samples, centres, radius):
    gap = _f(samples)[:, None] - _f(centres)
    squared = einsum("nkd,nkd->nk", gap, gap)
    owner = np.where(squared.min(axis=1) <= radius**2, squared.argmin(axis=1), -1)
    shares = np.array([(owner == k).mean() for k in range(len(centres))])
    return shares, np.count_nonzero(shares * len(shares) >= 0.1)
