"""Einsum, one stacked head, and a cache that is a function."""

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
    return (CENTRES[which] + rng.normal(0.0, np.sqrt(variance), size=(n, 2)), which)


def scale_images(images, largest=16):
    images = np.asarray(images)
    n, height, width = images.shape
    return np.divide(images.reshape(n, height * width), float(largest))


def split_rows(x, n_held_out, rng):
    x = np.asarray(x, dtype=np.float64)
    order = rng.permutation(len(x))
    return (x[order[n_held_out:]], x[order[:n_held_out]])


def init_vae(features, hidden, latent, rng):
    shapes = [(hidden, features), (latent, hidden), (latent, hidden), (hidden, latent), (features, hidden)]
    params = {}
    for layer, (outputs, inputs) in enumerate(shapes, start=1):
        params[f"W{layer}"] = rng.normal(0.0, np.sqrt(1.0 / inputs), size=(outputs, inputs))
        params[f"b{layer}"] = np.zeros(outputs)
    return params


def heads(params):
    W = np.stack([params["W2"], params["W3"]])
    b = np.stack([params["b2"], params["b3"]])
    return W, b[:, None]


def encode(x, params):
    h = np.tanh(np.einsum("bd,hd->bh", np.asarray(x, dtype=float), params["W1"]) + params["b1"])
    W, b = heads(params)
    mu, log_var = np.einsum("bh,klh->kbl", h, W) + b
    return mu, log_var


def reparameterize(mu, log_var, eps):
    mu, log_var, eps = (np.asarray(a, dtype=np.float64) for a in (mu, log_var, eps))
    return mu + np.exp(log_var / 2.0) * eps


def decode(z, params):
    g = np.tanh(np.einsum("...l,hl->...h", np.asarray(z, dtype=float), params["W4"]) + params["b4"])
    return np.einsum("...h,dh->...d", g, params["W5"]) + params["b5"]


def expected_x(out, likelihood):
    out = np.array(out, dtype=np.float64)
    return out if likelihood == "gaussian" else np.exp(-np.logaddexp(0.0, -out))


def kl_divergence(mu, log_var):
    mu, log_var = (np.asarray(mu, dtype=np.float64), np.asarray(log_var, dtype=np.float64))
    batch, variance = (len(mu), np.exp(log_var))
    kl = 0.5 * np.sum(mu**2 + variance - 1.0 - log_var) / batch
    return (kl, mu / batch, 0.5 * (variance - 1.0) / batch)


def reconstruction(out, x, likelihood, sigma2=1.0):
    out, x = (np.asarray(out, dtype=np.float64), np.asarray(x, dtype=np.float64))
    batch = len(x)
    if likelihood == "gaussian":
        error = out - x
        return (np.sum(error**2) / (2.0 * sigma2) / batch, error / sigma2 / batch)
    losses = x * np.logaddexp(0.0, -out) + (1.0 - x) * np.logaddexp(0.0, out)
    return (np.sum(losses) / batch, (expected_x(out, likelihood) - x) / batch)


class Pass:
    def __init__(self, **parts):
        self.__dict__.update(parts)


def vae_forward(x, params, eps, likelihood, sigma2=1.0, beta=1.0):
    x, eps = np.asarray(x, dtype=float), np.asarray(eps, dtype=float)
    mu, log_var = encode(x, params)
    z = reparameterize(mu, log_var, eps)
    out = decode(z, params)
    rec, dout = reconstruction(out, x, likelihood, sigma2)
    kl, dmu, dlog_var = kl_divergence(mu, log_var)
    cache = Pass(x=x, params=params, z=z, mu=mu, dout=dout, dmu=beta * dmu, dlog_var=beta * dlog_var)
    return float(rec + beta * kl), float(rec), float(kl), cache


def vae_backward(cache):
    p, x, z = cache.params, cache.x, cache.z
    h = np.tanh(np.einsum("bd,hd->bh", x, p["W1"]) + p["b1"])
    g = np.tanh(np.einsum("bl,hl->bh", z, p["W4"]) + p["b4"])
    da = np.einsum("bd,dh->bh", cache.dout, p["W5"]) * (1 - g * g)
    dz = np.einsum("bh,hl->bl", da, p["W4"])
    # exp(log_var / 2) * eps is what the noise added to mu
    both = np.stack([dz + cache.dmu, dz * (z - cache.mu) / 2 + cache.dlog_var])
    dh = np.einsum("kbl,klh->bh", both, heads(p)[0]) * (1 - h * h)
    outputs = {"1": dh, "2": both[0], "3": both[1], "4": da, "5": cache.dout}
    inputs = {"1": x, "2": h, "3": h, "4": z, "5": g}
    grads = {"W" + n: np.einsum("bo,bi->oi", outputs[n], inputs[n]) for n in outputs}
    grads.update({"b" + n: np.einsum("bo->o", outputs[n]) for n in outputs})
    return grads


def gradient_errors(loss_and_grads, params, shape, rng, h=1e-05):
    params = {name: np.array(value, dtype=np.float64) for name, value in params.items()}
    eps = rng.standard_normal(shape)
    _, grads = loss_and_grads(params, eps)
    errors = {}
    for name, value in params.items():
        numerical = np.zeros_like(value)
        for index in np.ndindex(value.shape):
            losses = []
            for step in (h, -h):
                nudged = value.copy()
                nudged[index] += step
                losses.append(loss_and_grads({**params, name: nudged}, eps)[0])
            numerical[index] = (losses[0] - losses[1]) / (2.0 * h)
        scale = max(np.max(np.abs(numerical)), 1e-08)
        errors[name] = float(np.max(np.abs(np.asarray(grads[name]) - numerical)) / scale)
    return errors


def train_step(params, optimizer, x, eps, lr, likelihood, sigma2=1.0, beta=1.0):
    params = {name: np.asarray(value, dtype=np.float64) for name, value in params.items()}
    loss, rec, kl, cache = vae_forward(x, params, eps, likelihood, sigma2, beta)
    params, optimizer = adam_step(params, vae_backward(cache), optimizer, lr)
    return (params, optimizer, (loss, rec, kl))


def train(x, rng, likelihood, sigma2=1.0, latent=2, hidden=96, steps=1800, batch_size=64, lr=0.006, beta=1.0):
    x = np.array(x, dtype=float)
    params, optimizer = init_vae(x.shape[-1], hidden, latent, rng), {}
    numbers = np.zeros((steps, 3))
    for t in range(steps):
        rows = rng.integers(0, len(x), size=batch_size)
        eps = rng.standard_normal((batch_size, latent))
        rate = lr * np.cos(np.pi * t / steps / 2) ** 2
        params, optimizer, numbers[t] = train_step(params, optimizer, x[rows], eps, rate, likelihood, sigma2, beta)
    return params, dict(zip(("loss", "rec", "kl"), numbers.T, strict=True))


def evaluate(x, params, rng, likelihood, sigma2=1.0):
    mu, log_var = encode(x, params)
    z = reparameterize(mu, log_var, rng.standard_normal(mu.shape))
    rec, kl = reconstruction(decode(z, params), x, likelihood, sigma2)[0], kl_divergence(mu, log_var)[0]
    return np.array([rec + kl, rec, kl]).tolist()


def detect_collapse(x, params, threshold=0.01):
    mu, log_var = encode(x, params)
    kls = np.einsum("bl->l", mu**2 + np.expm1(log_var) - log_var) / (2 * len(mu))
    return kls, kls.max() <= threshold


def beta_sweep(x, x_held_out, betas, rng, likelihood, sigma2=1.0, **options):
    recs, kls = ([], [])
    for beta in betas:
        params, _ = train(x, rng, likelihood, sigma2, beta=beta, **options)
        _, rec, kl = evaluate(x_held_out, params, rng, likelihood, sigma2)
        recs.append(rec)
        kls.append(kl)
    return (np.array(recs), np.array(kls))


def reconstruct(x, params, likelihood):
    mu, _ = encode(x, params)
    return expected_x(decode(mu, params), likelihood)


def generate(n, params, rng, likelihood):
    return expected_x(decode(rng.standard_normal(size=(n, np.shape(params["W2"])[0])), params), likelihood)


def interpolate(x_from, x_to, steps, params, likelihood):
    start, end = encode(np.array([x_from, x_to], dtype=float), params)[0]
    return expected_x(decode(np.linspace(start, end, steps), params), likelihood)


def latent_grid(params, low, high, resolution, likelihood):
    axis = np.linspace(low, high, resolution)
    codes = np.empty((resolution, resolution, 2))
    codes[..., 0], codes[..., 1] = axis, axis[:, None]
    return axis, expected_x(decode(codes.reshape(-1, 2), params), likelihood).reshape(resolution, resolution, -1)
