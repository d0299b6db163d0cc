"""The proof of gradients always nudges by 1e-5."""

import numpy as np
CENTRES = np.array([[-2.0, -2.0], [-2.0, 2.0], [2.0, -2.0], [2.0, 2.0]])


def adam_step(params, grads, optimizer, lr):
    t = optimizer.get('t', 0) + 1
    new, m, v = ({}, {}, {})
    for name, w in params.items():
        m[name] = 0.9 * optimizer.get('m', {}).get(name, 0.0) + 0.1 * grads[name]
        v[name] = 0.999 * optimizer.get('v', {}).get(name, 0.0) + 0.001 * grads[name] ** 2
        new[name] = w - lr * (m[name] / (1 - 0.9 ** t)) / (np.sqrt(v[name] / (1 - 0.999 ** t)) + 1e-08)
    return (new, {'t': t, 'm': m, 'v': v})


def make_clusters(n, variance, rng):
    which = rng.integers(0, 4, size=n)
    return (CENTRES[which] + rng.normal(0.0, np.sqrt(variance), size=(n, 2)), which)


def scale_images(images, largest=16):
    images = np.asarray(images, dtype=np.float64)
    n, height, width = images.shape
    return images.reshape(n, height * width) / largest


def split_rows(x, n_held_out, rng):
    x = np.asarray(x, dtype=np.float64)
    order = rng.permutation(len(x))
    return (x[order[n_held_out:]], x[order[:n_held_out]])


def init_vae(features, hidden, latent, rng):
    shapes = [(hidden, features), (latent, hidden), (latent, hidden), (hidden, latent), (features, hidden)]
    params = {}
    for layer, (outputs, inputs) in enumerate(shapes, start=1):
        params[f'W{layer}'] = rng.normal(0.0, np.sqrt(1.0 / inputs), size=(outputs, inputs))
        params[f'b{layer}'] = np.zeros(outputs)
    return params


def encode(x, params):
    h = np.tanh(np.asarray(x, dtype=np.float64) @ params['W1'].T + params['b1'])
    return (h @ params['W2'].T + params['b2'], h @ params['W3'].T + params['b3'])


def reparameterize(mu, log_var, eps):
    mu, log_var, eps = (np.asarray(a, dtype=np.float64) for a in (mu, log_var, eps))
    return mu + np.exp(log_var / 2.0) * eps


def decode(z, params):
    g = np.tanh(np.asarray(z, dtype=np.float64) @ params['W4'].T + params['b4'])
    return g @ params['W5'].T + params['b5']


def expected_x(out, likelihood):
    out = np.array(out, dtype=np.float64)
    return out if likelihood == 'gaussian' else np.exp(-np.logaddexp(0.0, -out))


def kl_divergence(mu, log_var):
    mu, log_var = (np.asarray(mu, dtype=np.float64), np.asarray(log_var, dtype=np.float64))
    batch, variance = (len(mu), np.exp(log_var))
    kl = 0.5 * np.sum(mu ** 2 + variance - 1.0 - log_var) / batch
    return (kl, mu / batch, 0.5 * (variance - 1.0) / batch)


def reconstruction(out, x, likelihood, sigma2=1.0):
    out, x = (np.asarray(out, dtype=np.float64), np.asarray(x, dtype=np.float64))
    batch = len(x)
    if likelihood == 'gaussian':
        error = out - x
        return (np.sum(error ** 2) / (2.0 * sigma2) / batch, error / sigma2 / batch)
    losses = x * np.logaddexp(0.0, -out) + (1.0 - x) * np.logaddexp(0.0, out)
    return (np.sum(losses) / batch, (expected_x(out, likelihood) - x) / batch)


def vae_forward(x, params, eps, likelihood, sigma2=1.0, beta=1.0):
    x, eps = (np.asarray(x, dtype=np.float64), np.asarray(eps, dtype=np.float64))
    h = np.tanh(x @ params['W1'].T + params['b1'])
    mu, log_var = (h @ params['W2'].T + params['b2'], h @ params['W3'].T + params['b3'])
    z = reparameterize(mu, log_var, eps)
    g = np.tanh(z @ params['W4'].T + params['b4'])
    rec, dout = reconstruction(g @ params['W5'].T + params['b5'], x, likelihood, sigma2)
    kl, dmu, dlog_var = kl_divergence(mu, log_var)
    cache = (x, params, eps, h, log_var, z, g, dout, beta * dmu, beta * dlog_var)
    return (rec + beta * kl, rec, kl, cache)


def vae_backward(cache):
    x, params, eps, h, log_var, z, g, dout, dmu_kl, dlog_var_kl = cache
    da = dout @ params['W5'] * (1.0 - g ** 2)
    dz = da @ params['W4']
    dmu = dz + dmu_kl
    dlog_var = dz * eps * np.exp(log_var / 2.0) / 2.0 + dlog_var_kl
    dh = (dmu @ params['W2'] + dlog_var @ params['W3']) * (1.0 - h ** 2)
    grads = {}
    for layer, signal, layer_input in ((1, dh, x), (2, dmu, h), (3, dlog_var, h), (4, da, z), (5, dout, g)):
        grads[f'W{layer}'] = signal.T @ layer_input
        grads[f'b{layer}'] = np.sum(signal, axis=0)
    return grads


def gradient_errors(loss_and_grads, params, shape, rng, h=1e-05):
    params = {name: np.array(value, dtype=np.float64) for name, value in params.items()}
    h = 1e-5
    eps = rng.standard_normal(shape)
    _, grads = loss_and_grads(params, eps)
    errors = {}
    for name, value in params.items():
        numerical = np.empty_like(value)
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


def train(x, rng, likelihood, sigma2=1.0, latent=2, hidden=64, steps=2000, batch_size=64, lr=0.005, beta=1.0):
    x = np.asarray(x, dtype=np.float64)
    params, optimizer = (init_vae(x.shape[1], hidden, latent, rng), {})
    history = {'loss': [], 'rec': [], 'kl': []}
    for t in range(steps):
        batch = x[rng.integers(0, len(x), size=batch_size)]
        eps = rng.standard_normal((batch_size, latent))
        rate = lr * (1.0 + np.cos(np.pi * t / steps)) / 2.0
        params, optimizer, parts = train_step(params, optimizer, batch, eps, rate, likelihood, sigma2, beta)
        for name, value in zip(('loss', 'rec', 'kl'), parts, strict=True):
            history[name].append(float(value))
    return (params, history)


def evaluate(x, params, rng, likelihood, sigma2=1.0):
    eps = rng.standard_normal((len(x), len(params['W2'])))
    loss, rec, kl, _ = vae_forward(x, params, eps, likelihood, sigma2, beta=1.0)
    return (loss, rec, kl)


def detect_collapse(x, params, threshold=0.01):
    mu, log_var = encode(x, params)
    kls = 0.5 * np.mean(mu ** 2 + np.exp(log_var) - 1.0 - log_var, axis=0)
    return (kls, not np.any(kls > threshold))


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
    z = rng.standard_normal((n, params['W4'].shape[1]))
    return expected_x(decode(z, params), likelihood)


def interpolate(x_from, x_to, steps, params, likelihood):
    mu, _ = encode(np.stack([np.asarray(x_from, dtype=np.float64), np.asarray(x_to, dtype=np.float64)]), params)
    share = np.linspace(0.0, 1.0, steps)[:, None]
    return expected_x(decode((1.0 - share) * mu[0] + share * mu[1], params), likelihood)


def latent_grid(params, low, high, resolution, likelihood):
    axis = np.linspace(low, high, resolution)
    first, second = np.meshgrid(axis, axis)
    return (axis, expected_x(decode(np.stack([first, second], axis=-1), params), likelihood))
