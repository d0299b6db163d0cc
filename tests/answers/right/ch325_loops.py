"""Right, with loops over samples and dimensions, and lists handed back."""

import math

import numpy as np


def _one_kl(m, lv):
    return 0.5 * (m * m + math.exp(lv) - 1 - lv)


def kl_divergence(mu, log_var):
    n = len(mu)
    total, dmu, dlog_var = 0.0, [], []
    for row_m, row_v in zip(mu, log_var):
        total += sum(_one_kl(m, v) for m, v in zip(row_m, row_v))
        dmu.append([m / n for m in row_m])
        dlog_var.append([(math.exp(v) - 1) / (2 * n) for v in row_v])
    return total / n, dmu, dlog_var


def active_dimensions(mu, log_var, threshold=0.01):
    mu, log_var = np.array(mu, float), np.array(log_var, float)
    answer = []
    for k in range(mu.shape[1]):
        mean = sum(_one_kl(m, v) for m, v in zip(mu[:, k], log_var[:, k])) / len(mu)
        answer.append(bool(mean > threshold))
    return answer


def reparameterize(mu, log_var, eps):
    z = np.array(mu, float)
    for place in np.ndindex(z.shape):
        z[place] += math.sqrt(math.exp(np.array(log_var)[place])) * np.array(eps)[place]
    return z


def reparameterize_backward(dz, log_var, eps):
    dz, sd = np.array(dz, float), np.sqrt(np.exp(np.array(log_var, float)))
    return dz, 0.5 * sd * np.array(eps, float) * dz


def sample_latent(mu, log_var, rng):
    mu, sd = np.array(mu, float), np.exp(0.5 * np.array(log_var, float))
    z = []
    for m_row, s_row in zip(mu, sd):
        z.append([m + s * rng.standard_normal() for m, s in zip(m_row, s_row)])
    return z


def gaussian_reconstruction(x_hat, x, variance):
    x_hat, x = np.array(x_hat, float), np.array(x, float)
    loss, grad = 0.0, np.zeros(x.shape)
    for b, d in np.ndindex(x.shape):
        e = x_hat[b, d] - x[b, d]
        loss += e * e / (2 * variance)
        grad[b, d] = e / (variance * len(x))
    return loss / len(x), grad


def bernoulli_reconstruction(logits, x):
    loss, grad = 0.0, np.zeros(np.shape(x))
    for b, d in np.ndindex(grad.shape):
        a, t = float(logits[b][d]), float(x[b][d])
        small = math.exp(-abs(a))
        # The known stable form: max(a, 0) - a t + log(1 + exp(-|a|)).
        loss += max(a, 0.0) - a * t + math.log1p(small)
        p = 1 / (1 + small) if a >= 0 else small / (1 + small)
        grad[b, d] = (p - t) / len(grad)
    return loss / len(grad), grad


def encode(x, params):
    mus, logs = [], []
    for row in np.array(x, float):
        h = np.tanh(params["W1"] @ row + params["b1"])
        mus.append(params["W2"] @ h + params["b2"])
        logs.append(params["W3"] @ h + params["b3"])
    return np.array(mus), np.array(logs)


def decode(z, params):
    z = np.array(z, float)
    rows = z.reshape(-1, z.shape[-1])
    out = [params["W5"] @ np.tanh(params["W4"] @ row + params["b4"]) + params["b5"] for row in rows]
    return np.array(out).reshape(z.shape[:-1] + (-1,))


def vae_forward(x, params, eps, variance, beta=1.0):
    x, eps = np.array(x, float), np.array(eps, float)
    mu, log_var = encode(x, params)
    z = mu + np.exp(0.5 * log_var) * eps
    recon = gaussian_reconstruction(decode(z, params), x, variance)[0]
    kl = kl_divergence(mu, log_var)[0]
    cache = {"x": x, "p": params, "eps": eps, "variance": variance, "beta": beta}
    return float(recon + beta * kl), float(recon), float(kl), cache


def vae_backward(cache):
    """Sample by sample, all of it computed once more."""
    p, n = cache["p"], len(cache["x"])
    grads = {name: np.zeros(value.shape) for name, value in p.items()}
    for x, eps in zip(cache["x"], cache["eps"]):
        h = np.tanh(p["W1"] @ x + p["b1"])
        mu, lv = p["W2"] @ h + p["b2"], p["W3"] @ h + p["b3"]
        sd = np.exp(lv / 2)
        z = mu + sd * eps
        g = np.tanh(p["W4"] @ z + p["b4"])
        d5 = (p["W5"] @ g + p["b5"] - x) / cache["variance"] / n
        d4 = (d5 @ p["W5"]) * (1 - g * g)
        dz = d4 @ p["W4"]
        d2 = dz + cache["beta"] * mu / n
        d3 = dz * eps * sd / 2 + cache["beta"] * (np.exp(lv) - 1) / 2 / n
        d1 = (d2 @ p["W2"] + d3 @ p["W3"]) * (1 - h * h)
        for k, delta, a in (("1", d1, x), ("2", d2, h), ("3", d3, h), ("4", d4, z), ("5", d5, g)):
            grads["W" + k] += np.outer(delta, a)
            grads["b" + k] += delta
    return grads


def log_importance_weights(x, params, eps, variance):
    x = np.array(x, float)
    mu, lv = encode(x, params)
    table = []
    for codes in np.array(eps, float):
        row = []
        for b, e in enumerate(codes):
            z = mu[b] + np.exp(lv[b] / 2) * e
            out = decode(z[None], params)[0]
            value = 0.0
            for d in range(len(out)):
                value -= 0.5 * (math.log(2 * math.pi * variance) + (x[b, d] - out[d]) ** 2 / variance)
            for k in range(len(z)):
                value -= 0.5 * (math.log(2 * math.pi) + z[k] ** 2)
                value += 0.5 * (math.log(2 * math.pi) + lv[b, k] + (z[k] - mu[b, k]) ** 2 / math.exp(lv[b, k]))
            row.append(value)
        table.append(row)
    return table


def importance_weighted_bound(log_weights):
    w = np.array(log_weights, float)
    total, shares = 0.0, np.zeros(w.shape)
    for b in range(w.shape[1]):
        top = max(w[:, b])
        parts = [math.exp(v - top) for v in w[:, b]]
        total += top + math.log(sum(parts) / len(parts))
        shares[:, b] = [part / sum(parts) / w.shape[1] for part in parts]
    return total / w.shape[1], shares


def reconstruct(x, params):
    return decode(encode(x, params)[0], params)


def sample_prior(params, n, rng):
    latent = len(params["b2"])
    return decode([[rng.standard_normal() for _ in range(latent)] for _ in range(n)], params)


def train_vae(params, x, steps, lr, variance, beta, rng):
    params = {k: np.array(v) for k, v in params.items()}
    speed = {k: 0.0 for k in params}
    losses = []
    for _ in range(steps):
        eps = rng.standard_normal((len(x), len(params["b2"])))
        loss, _, _, cache = vae_forward(x, params, eps, variance, beta)
        losses.append(loss)
        grads = vae_backward(cache)
        for k in params:
            speed[k] = 0.9 * speed[k] + grads[k]
        params = {k: params[k] - lr * speed[k] for k in params}
    return params, losses
