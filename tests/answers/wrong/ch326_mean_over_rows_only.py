"""Wrong: the slopes at the logits are divided by the number of rows, not of logits."""

import numpy as np
from numpy import einsum


def _f(a):
    return np.asarray(a, dtype=float)


def _pay(logits, real):
    """Mean of -log of the chance given to what is true, and its gradient."""
    sign = 1.0 if real else -1.0
    x = sign * _f(logits)
    tail = np.log1p(np.exp(-np.abs(x)))
    wrong = np.where(x < 0, 1.0, np.exp(-np.abs(x))) / (1 + np.exp(-np.abs(x)))
    return float((np.maximum(-x, 0) + tail).mean()), -sign * wrong / len(x)


def discriminator_loss(real_logits, fake_logits):
    (a, da), (b, db) = _pay(real_logits, True), _pay(fake_logits, False)
    return [a + b, da, db]


def generator_loss(fake_logits, saturating=False):
    loss, slope = _pay(fake_logits, not saturating)
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
    return cache.back(_f(dout))


def discriminator_gradients(D, G, real, z):
    both = np.concatenate([_f(real), Tape(z, G).out])
    tape = Tape(both, D)
    loss, dreal, dfake = discriminator_loss(tape.out[: len(real)], tape.out[len(real) :])
    return loss, tape.back(np.concatenate([dreal, dfake]))[0]


def generator_gradients(D, G, z):
    forger = Tape(z, G)
    detective = Tape(forger.out, D)
    loss, slope = _pay(detective.out, True)
    return loss, forger.back(detective.back(slope)[1])[0]


def adam_step(params, grads, state, lr, beta1=0.5, beta2=0.9, eps=1e-8):
    old = state if state else {"t": 0, "m": dict.fromkeys(params, 0.0), "v": dict.fromkeys(params, 0.0)}
    t = old["t"] + 1
    m = {k: beta1 * old["m"][k] + (1 - beta1) * grads[k] for k in params}
    v = {k: beta2 * old["v"][k] + (1 - beta2) * grads[k] ** 2 for k in params}
    step = {k: m[k] / (1 - beta1**t) / (np.sqrt(v[k] / (1 - beta2**t)) + eps) for k in params}
    return {k: params[k] - lr * step[k] for k in params}, {"t": t, "m": m, "v": v}


def discriminator_step(model, real, z, lr):
    loss, grads = discriminator_gradients(model["D"], model["G"], real, z)
    new = dict(model)
    new["D"], new["D_state"] = adam_step(model["D"], grads, model["D_state"], lr)
    return new, loss


def generator_step(model, z, lr):
    loss, grads = generator_gradients(model["D"], model["G"], z)
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
    x, W, b, w = _f(x), _f(params["W1"]), _f(params["b1"]), _f(params["W2"])[0]
    h = np.tanh(einsum("bd,hd->bh", x, W) + b)
    gate = (1 - h) * (1 + h)
    v = einsum("bh,h,hd->bd", gate, w, W)
    n = np.linalg.norm(v, axis=1)
    # d penalty / d v, without a direction where there is no slope.
    pull = np.divide(2 * strength * (n - 1), n * len(x), out=np.zeros_like(n), where=n > 0)
    dv = pull[:, None] * v
    reach = einsum("bd,hd->bh", dv, W)
    dz = -2 * h * gate * reach * w
    return strength * np.mean((n - 1) ** 2), {
        "b2": np.zeros(1),
        "W2": einsum("bh,bh->h", gate, reach)[None],
        "b1": einsum("bh->h", dz),
        "W1": einsum("bh,h,bd->hd", gate, w, dv) + einsum("bh,bd->hd", dz, x),
    }


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
