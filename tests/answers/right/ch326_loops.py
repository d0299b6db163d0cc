"""Right, with loops over samples, units and outcomes, and lists handed back."""

import math

import numpy as np


def _softplus(x):
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _sigmoid(x):
    if x >= 0:
        return 1 / (1 + math.exp(-x))
    return math.exp(x) / (1 + math.exp(x))


def _mapped(f, x):
    x = np.array(x, float)
    return np.array([f(v) for v in x.flat]).reshape(x.shape)


def discriminator_loss(real_logits, fake_logits):
    real, fake = list(np.array(real_logits, float).flat), list(np.array(fake_logits, float).flat)
    loss = sum(_softplus(-r) for r in real) / len(real)
    loss += sum(_softplus(f) for f in fake) / len(fake)
    dreal = _mapped(lambda r: -_sigmoid(-r) / len(real), real_logits)
    dfake = _mapped(lambda f: _sigmoid(f) / len(fake), fake_logits)
    return loss, dreal.tolist(), dfake.tolist()


def generator_loss(fake_logits, saturating=False):
    flat = list(np.array(fake_logits, float).flat)
    n = len(flat)
    if not saturating:
        return sum(_softplus(-f) for f in flat) / n, _mapped(lambda f: -_sigmoid(-f) / n, fake_logits)
    return -sum(_softplus(f) for f in flat) / n, _mapped(lambda f: -_sigmoid(f) / n, fake_logits)


def optimal_discriminator(p, q):
    p, q = np.array(p, float), np.array(q, float)
    best = np.full(p.shape, 0.5)
    for place in np.ndindex(p.shape):
        if p[place] > 0 or q[place] > 0:
            best[place] = p[place] / (p[place] + q[place])
    return best


def game_value(p, q, d):
    value = 0.0
    for a, b, chance in zip(p, q, d):
        if a > 0:
            value += a * math.log(chance)
        if b > 0:
            value += b * math.log(1 - chance)
    return value


def jensen_shannon(p, q):
    total = 0.0
    for a, b in zip(p, q):
        m = (a + b) / 2
        total += a * math.log(a / m) / 2 if a > 0 else 0.0
        total += b * math.log(b / m) / 2 if b > 0 else 0.0
    return total


def net_forward(x, params):
    rows, depth = np.array(x, float), len(params) // 2
    trace = [rows]
    for layer in range(1, depth + 1):
        W, b = np.array(params["W%d" % layer]), np.array(params["b%d" % layer])
        new = np.zeros((len(rows), len(W)))
        for n, row in enumerate(rows):
            for k in range(len(W)):
                z = b[k] + sum(w * v for w, v in zip(W[k], row))
                new[n, k] = z if layer == depth else math.tanh(z)
        rows = new
        trace.append(rows)
    return rows.tolist(), {"trace": trace, "params": params}


def net_backward(dout, cache):
    trace, params = cache["trace"], cache["params"]
    signal, grads = np.array(dout, float), {}
    for layer in reversed(range(1, len(trace))):
        if layer + 1 < len(trace):
            signal = signal - signal * trace[layer] * trace[layer]
        W = np.array(params["W%d" % layer])
        dW, db = np.zeros(W.shape), np.zeros(len(W))
        for k in range(len(W)):
            dW[k] = signal[:, k] @ trace[layer - 1]
            db[k] = sum(signal[:, k])
        grads["W%d" % layer], grads["b%d" % layer] = dW, db
        signal = np.array([signal @ column for column in W.T]).T
    return grads, signal


def discriminator_gradients(D, G, real, z):
    fake = net_forward(z, G)[0]
    on_real, on_fake = net_forward(real, D), net_forward(fake, D)
    loss, dreal, dfake = discriminator_loss(on_real[0], on_fake[0])
    a, b = net_backward(dreal, on_real[1])[0], net_backward(dfake, on_fake[1])[0]
    return loss, {k: (a[k] + b[k]).tolist() for k in sorted(a)}


def generator_gradients(D, G, z):
    fake, back_g = net_forward(z, G)
    logits, back_d = net_forward(fake, D)
    loss, slope = generator_loss(logits)
    return loss, net_backward(net_backward(slope, back_d)[1], back_g)[0]


def _adam(params, grads, state, lr):
    """One counter, and a pair of moments for each name: laid out in another way than the given one."""
    t = state.get("count", state.get("t", 0)) + 1
    new, moments = {}, {}
    for k in params:
        if "moments" in state:
            m, v = state["moments"][k]
        elif "m" in state:
            m, v = state["m"][k], state["v"][k]
        else:
            m, v = 0.0, 0.0
        g = np.array(grads[k], float)
        m, v = 0.5 * np.array(m) + 0.5 * g, 0.9 * np.array(v) + 0.1 * g * g
        moments[k] = [m, v]
        new[k] = np.array(params[k], float) - lr * m / (1 - 0.5**t) / (np.sqrt(v / (1 - 0.9**t)) + 1e-8)
    return new, {"count": t, "moments": moments}


def discriminator_step(model, real, z, lr):
    loss, grads = discriminator_gradients(model["D"], model["G"], real, z)
    D, state = _adam(model["D"], grads, model["D_state"], lr)
    return {"G_state": model["G_state"], "G": model["G"], "D_state": state, "D": D}, loss


def generator_step(model, z, lr):
    loss, grads = generator_gradients(model["D"], model["G"], z)
    G, state = _adam(model["G"], grads, model["G_state"], lr)
    return {"D": model["D"], "D_state": model["D_state"], "G": G, "G_state": state}, loss


def critic_loss(real_scores, fake_scores):
    real, fake = np.array(real_scores, float), np.array(fake_scores, float)
    loss = sum(fake.flat) / fake.size - sum(real.flat) / real.size
    return loss, _mapped(lambda s: -1 / real.size, real), _mapped(lambda s: 1 / fake.size, fake)


def clip_weights(params, limit):
    return {k: _mapped(lambda w: max(-limit, min(limit, w)), v).tolist() for k, v in params.items()}


def mix_samples(real, fake, u):
    return [[s * a + (1 - s) * b for a, b in zip(r, f)] for r, f, s in zip(real, fake, u)]


def gradient_penalty(x, params, strength):
    W1, b1, w = np.array(params["W1"]), np.array(params["b1"]), np.array(params["W2"])[0]
    x = np.array(x, float)
    penalty, dW1, db1, dw = 0.0, np.zeros(W1.shape), np.zeros(b1.shape), np.zeros(w.shape)
    for row in x:
        h = np.tanh(W1 @ row + b1)
        s = 1 - h * h
        v = W1.T @ (s * w)
        n = math.sqrt(v @ v)
        penalty += strength * (n - 1) ** 2 / len(x)
        if n == 0:
            continue
        dv = 2 * strength * (n - 1) / n * v / len(x)
        for k in range(len(w)):
            slope = W1[k] @ dv
            dw[k] += s[k] * slope
            bend = -2 * h[k] * s[k] * w[k] * slope
            dW1[k] += s[k] * w[k] * dv + bend * row
            db1[k] += bend
    return penalty, {"W1": dW1, "b1": db1, "W2": [dw], "b2": [0.0]}


def generate(G, n, rng):
    width = len(G["W1"][0])
    return net_forward([[rng.standard_normal() for _ in range(width)] for _ in range(n)], G)[0]


def _fast(x, params):
    """The loops above would be slow in training."""
    values, depth = [np.array(x, float)], len(params) // 2
    for layer in range(1, depth + 1):
        z = values[-1] @ np.array(params["W%d" % layer]).T + params["b%d" % layer]
        values.append(z if layer == depth else np.tanh(z))
    return values[-1], {"trace": values, "params": params}


def train_gan(model, data, steps, batch, lr_d, lr_g, rng):
    global net_forward
    slow, net_forward = net_forward, _fast
    losses = []
    for _ in range(steps):
        real = [data[i] for i in rng.integers(len(data), size=batch)]
        width = len(model["G"]["W1"][0])
        model, d = discriminator_step(model, real, rng.standard_normal((batch, width)), lr_d)
        model, g = generator_step(model, rng.standard_normal((batch, width)), lr_g)
        losses.append([d, g])
    net_forward = slow
    return model, np.array(losses).reshape(steps, 2)


def mode_shares(samples, centres, radius):
    counts = [0] * len(centres)
    for x in samples:
        distances = [math.dist(x, c) for c in centres]
        if min(distances) <= radius:
            counts[distances.index(min(distances))] += 1
    shares = [c / len(samples) for c in counts]
    return shares, sum(share >= 0.1 / len(centres) for share in shares)
