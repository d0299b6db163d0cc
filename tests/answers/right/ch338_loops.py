"""Loops over layers, dimensions and images; lists returned where arrays are asked for."""

import numpy as np

CENTRES = np.array([[-2.0, -2.0], [-2.0, 2.0], [2.0, -2.0], [2.0, 2.0]])


def adam_step(params, grads, optimizer, lr):
    t = optimizer.get("t", 0) + 1
    new, m, v = ({}, {}, {})
    for name, w in params.items():
        m[name] = 0.9 * optimizer.get("m", {}).get(name, 0.0) + 0.1 * grads[name]
        v[name] = 0.999 * optimizer.get("v", {}).get(name, 0.0) + 0.001 * grads[name] ** 2
        new[name] = w - lr * (m[name] / (1 - 0.9**t)) / (np.sqrt(v[name] / (1 - 0.999**t)) + 1e-08)
    return (new, {"t": t, "m": m, "v": v})


def make_clusters(n, variance, rng):
    which = rng.integers(0, 4, size=n)
    offsets = rng.normal(0.0, variance**0.5, size=(n, 2))
    x = []
    for row, offset in zip(which, offsets, strict=True):
        x.append([CENTRES[row][0] + offset[0], CENTRES[row][1] + offset[1]])
    return x, which.tolist()


def scale_images(images, largest=16):
    return [[float(pixel) / largest for row in image for pixel in row] for image in images]


def split_rows(x, n_held_out, rng):
    x = np.asarray(x, dtype=np.float64)
    train, held_out = [], []
    for place, row in enumerate(rng.permutation(len(x))):
        (held_out if place < n_held_out else train).append(x[row])
    empty = np.zeros((0, x.shape[1]))
    return np.array(train) if train else empty, np.array(held_out) if held_out else empty


def init_vae(features, hidden, latent, rng):
    params = {}
    params["W1"] = rng.normal(0.0, features**-0.5, size=(hidden, features))
    params["W2"] = rng.normal(0.0, hidden**-0.5, size=(latent, hidden))
    params["W3"] = rng.normal(0.0, hidden**-0.5, size=(latent, hidden))
    params["W4"] = rng.normal(0.0, latent**-0.5, size=(hidden, latent))
    params["W5"] = rng.normal(0.0, hidden**-0.5, size=(features, hidden))
    for layer in range(1, 6):
        params[f"b{layer}"] = np.zeros(len(params[f"W{layer}"]))
    return params


def encode(x, params):
    h = np.tanh(np.asarray(x, dtype=np.float64) @ params["W1"].T + params["b1"])
    return (h @ params["W2"].T + params["b2"], h @ params["W3"].T + params["b3"])


def reparameterize(mu, log_var, eps):
    sigma = np.sqrt(np.exp(np.array(log_var, dtype=float)))
    return np.array(mu, dtype=float) + sigma * np.array(eps, dtype=float)


def decode(z, params):
    g = np.tanh(np.asarray(z, dtype=np.float64) @ params["W4"].T + params["b4"])
    return g @ params["W5"].T + params["b5"]


def expected_x(out, likelihood):
    out = np.array(out, dtype=float)
    if likelihood == "gaussian":
        return out
    small = np.exp(-np.abs(out))
    return np.where(out >= 0, 1.0 / (1.0 + small), small / (1.0 + small))


def kl_divergence(mu, log_var):
    mu, log_var = np.array(mu, dtype=float), np.array(log_var, dtype=float)
    kl = 0.0
    for dimension in range(mu.shape[1]):
        m, v = mu[:, dimension], log_var[:, dimension]
        kl += np.mean(m * m + np.exp(v) - v - 1.0) / 2.0
    return float(kl), mu / len(mu), (np.exp(log_var) - 1.0) / (2 * len(mu))


def reconstruction(out, x, likelihood, sigma2=1.0):
    out, x = np.array(out, dtype=float), np.array(x, dtype=float)
    if likelihood == "gaussian":
        per_sample = ((x - out) ** 2).sum(axis=1) / (2 * sigma2)
        dout = (out - x) / (sigma2 * len(x))
    else:
        # max(a, 0) - a x + log(1 + exp(-|a|)) is the cross-entropy with a logit
        per_sample = (np.maximum(out, 0) - out * x + np.log1p(np.exp(-np.abs(out)))).sum(axis=1)
        dout = (expected_x(out, likelihood) - x) / len(x)
    return float(per_sample.mean()), dout


def vae_forward(x, params, eps, likelihood, sigma2=1.0, beta=1.0):
    x, eps = (np.asarray(x, dtype=np.float64), np.asarray(eps, dtype=np.float64))
    h = np.tanh(x @ params["W1"].T + params["b1"])
    mu, log_var = (h @ params["W2"].T + params["b2"], h @ params["W3"].T + params["b3"])
    z = reparameterize(mu, log_var, eps)
    g = np.tanh(z @ params["W4"].T + params["b4"])
    rec, dout = reconstruction(g @ params["W5"].T + params["b5"], x, likelihood, sigma2)
    kl, dmu, dlog_var = kl_divergence(mu, log_var)
    cache = (x, params, eps, h, log_var, z, g, dout, beta * dmu, beta * dlog_var)
    return (rec + beta * kl, rec, kl, cache)


def vae_backward(cache):
    x, params, eps, h, log_var, z, g, dout, dmu_kl, dlog_var_kl = cache
    da = dout @ params["W5"] * (1.0 - g**2)
    dz = da @ params["W4"]
    dmu = dz + dmu_kl
    dlog_var = dz * eps * np.exp(log_var / 2.0) / 2.0 + dlog_var_kl
    dh = (dmu @ params["W2"] + dlog_var @ params["W3"]) * (1.0 - h**2)
    grads = {}
    for layer, signal, layer_input in ((1, dh, x), (2, dmu, h), (3, dlog_var, h), (4, da, z), (5, dout, g)):
        grads[f"W{layer}"] = signal.T @ layer_input
        grads[f"b{layer}"] = np.sum(signal, axis=0)
    return grads


def gradient_errors(loss_and_grads, params, shape, rng, h=1e-5):
    eps = rng.standard_normal(shape)
    work = {name: np.array(value, dtype=float) for name, value in params.items()}
    grads = {name: np.array(grad, dtype=float) for name, grad in loss_and_grads(work, eps)[1].items()}
    errors = {}
    for name, value in work.items():
        largest_gap, largest_slope = 0.0, 1e-8
        flat, grad = value.reshape(-1), grads[name].reshape(-1)
        for i in range(flat.size):
            centre = flat[i]
            flat[i] = centre + h
            up = loss_and_grads(work, eps)[0]
            flat[i] = centre - h
            down = loss_and_grads(work, eps)[0]
            flat[i] = centre
            slope = (up - down) / (2 * h)
            largest_gap = max(largest_gap, abs(grad[i] - slope))
            largest_slope = max(largest_slope, abs(slope))
        errors[name] = largest_gap / largest_slope
    return errors


def train_step(params, optimizer, x, eps, lr, likelihood, sigma2=1.0, beta=1.0):
    params = {name: np.asarray(value, dtype=np.float64) for name, value in params.items()}
    loss, rec, kl, cache = vae_forward(x, params, eps, likelihood, sigma2, beta)
    params, optimizer = adam_step(params, vae_backward(cache), optimizer, lr)
    return (params, optimizer, (loss, rec, kl))


def train(x, rng, likelihood, sigma2=1.0, latent=2, hidden=64, steps=2000, batch_size=64, lr=0.005, beta=1.0):
    x = np.asarray(x, dtype=np.float64)
    params, optimizer = (init_vae(x.shape[1], hidden, latent, rng), {})
    history = {"loss": [], "rec": [], "kl": []}
    for t in range(steps):
        batch = x[rng.integers(0, len(x), size=batch_size)]
        eps = rng.standard_normal((batch_size, latent))
        rate = lr * (1.0 + np.cos(np.pi * t / steps)) / 2.0
        params, optimizer, parts = train_step(params, optimizer, batch, eps, rate, likelihood, sigma2, beta)
        for name, value in zip(("loss", "rec", "kl"), parts, strict=True):
            history[name].append(float(value))
    return (params, history)


def evaluate(x, params, rng, likelihood, sigma2=1.0):
    eps = rng.standard_normal((len(x), len(params["W2"])))
    loss, rec, kl, _ = vae_forward(x, params, eps, likelihood, sigma2, beta=1.0)
    return (loss, rec, kl)


def detect_collapse(x, params, threshold=0.01):
    mu, log_var = encode(x, params)
    kls = []
    for dimension in range(mu.shape[1]):
        kls.append(kl_divergence(mu[:, [dimension]], log_var[:, [dimension]])[0])
    return kls, all(kl <= threshold for kl in kls)


def beta_sweep(x, x_held_out, betas, rng, likelihood, sigma2=1.0, **options):
    table = []
    for beta in betas:
        params = train(x, rng, likelihood, sigma2, beta=beta, **options)[0]
        table.append(evaluate(x_held_out, params, rng, likelihood, sigma2))
    return [row[1] for row in table], [row[2] for row in table]


def reconstruct(x, params, likelihood):
    mu, _ = encode(x, params)
    return expected_x(decode(mu, params), likelihood)


def generate(n, params, rng, likelihood):
    z = rng.standard_normal((n, params["W4"].shape[1]))
    return expected_x(decode(z, params), likelihood)


def interpolate(x_from, x_to, steps, params, likelihood):
    (start,), _ = encode([x_from], params)
    (end,), _ = encode([x_to], params)
    way = []
    for k in range(steps):
        share = k / (steps - 1)
        way.append(expected_x(decode((1 - share) * start + share * end, params), likelihood))
    return way


def latent_grid(params, low, high, resolution, likelihood):
    axis = [low + (high - low) * k / (resolution - 1) for k in range(resolution)]
    values = [[expected_x(decode([first, second], params), likelihood) for first in axis] for second in axis]
    return axis, np.array(values)
