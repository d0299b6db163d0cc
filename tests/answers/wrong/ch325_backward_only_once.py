"""Wrong: backward can be called only once: it uses the cached gradient of the codes up."""

import numpy as np


def _f(a):
    return np.asarray(a, dtype=float)


def _kl_table(mu, log_var):
    mu, log_var = _f(mu), _f(log_var)
    return (mu**2 + np.expm1(log_var) - log_var) / 2


def kl_divergence(mu, log_var):
    table = _kl_table(mu, log_var)
    share = 1 / table.shape[0]
    return np.einsum("bl->", table) * share, _f(mu) * share, np.expm1(_f(log_var)) * share / 2


def active_dimensions(mu, log_var, threshold=0.01):
    return np.greater(np.einsum("bl->l", _kl_table(mu, log_var)) / len(mu), threshold)


def reparameterize(mu, log_var, eps):
    return _f(mu) + _f(eps) * np.exp(_f(log_var)) ** 0.5


def reparameterize_backward(dz, log_var, eps):
    dz = _f(dz)
    # With z at mu = 0, which is eps times the deviation, the slope is half of it.
    return dz, dz * reparameterize(np.zeros_like(dz), log_var, eps) / 2


def sample_latent(mu, log_var, rng):
    return rng.normal(size=_f(mu).shape) * np.exp(_f(log_var) / 2) + _f(mu)


def gaussian_reconstruction(x_hat, x, variance):
    error = _f(x_hat) - _f(x)
    grad = error / (variance * error.shape[0])
    return np.einsum("bd,bd->", error, grad) / 2, grad


def bernoulli_reconstruction(logits, x):
    logits, x = _f(logits), _f(x)
    softplus = np.maximum(logits, 0) + np.log1p(np.exp(-np.abs(logits)))
    p = 0.5 * (1 + np.tanh(logits / 2))
    return np.mean(np.sum(softplus - x * logits, axis=1)), (p - x) / logits.shape[0]


def _layer(a, params, n):
    return np.einsum("...i,oi->...o", _f(a), params[f"W{n}"]) + params[f"b{n}"]


def encode(x, params):
    h = np.tanh(_layer(x, params, 1))
    return [_layer(h, params, 2), _layer(h, params, 3)]


def decode(z, params):
    return _layer(np.tanh(_layer(z, params, 4)), params, 5)


def vae_forward(x, params, eps, variance, beta=1.0):
    x, eps = _f(x), _f(eps)
    h = np.tanh(_layer(x, params, 1))
    mu, log_var = _layer(h, params, 2), _layer(h, params, 3)
    z = reparameterize(mu, log_var, eps)
    g = np.tanh(_layer(z, params, 4))
    recon, d5 = gaussian_reconstruction(_layer(g, params, 5), x, variance)
    kl, dmu, dlog_var = kl_divergence(mu, log_var)

    def back():
        grads = {}

        def through(n, delta, a):
            grads[f"b{n}"] = np.einsum("bo->o", delta)
            grads[f"W{n}"] = np.einsum("bo,bi->oi", delta, a)
            return np.einsum("bo,oi->bi", delta, params[f"W{n}"])

        dz = through(4, through(5, d5, g) * (1 - g**2), z)
        d5[:] = 0
        of_mu, of_log_var = reparameterize_backward(dz, log_var, eps)
        dh = through(2, of_mu + beta * dmu, h) + through(3, of_log_var + beta * dlog_var, h)
        through(1, dh * (1 - h**2), x)
        return grads

    return recon + kl * beta, recon, kl, back


def vae_backward(cache):
    return cache()


def _log_normal(a, mean, log_var):
    return np.sum(-(np.log(2 * np.pi) + log_var) / 2 - (a - mean) ** 2 / (2 * np.exp(log_var)), axis=-1)


def log_importance_weights(x, params, eps, variance):
    x = _f(x)
    mu, log_var = encode(x, params)
    z = reparameterize(mu[None], log_var[None], eps)
    likelihood = _log_normal(x, decode(z, params), np.log(variance))
    return likelihood + _log_normal(z, 0.0, 0.0) - _log_normal(z, mu, log_var)


def importance_weighted_bound(log_weights):
    w = _f(log_weights).T
    total = np.logaddexp.reduce(w, axis=1)
    return np.mean(total) - np.log(w.shape[1]), np.exp(w - total[:, None]).T / len(w)


def reconstruct(x, params):
    return decode(encode(x, params)[0], params)


def sample_prior(params, n, rng):
    return decode(rng.normal(size=(n, params["b3"].size)), params)


def train_vae(params, x, steps, lr, variance, beta, rng):
    names = list(params)
    values = [_f(params[name]) for name in names]
    moves = [0 * value for value in values]
    losses = np.empty(steps)
    for step in range(steps):
        now = dict(zip(names, values))
        losses[step], _, _, back = vae_forward(x, now, rng.normal(size=(len(x), now["b2"].size)), variance, beta)
        grads = back()
        moves = [0.9 * move - lr * grads[name] for name, move in zip(names, moves)]
        values = [value + move for value, move in zip(values, moves)]
    return dict(zip(names, values)), losses
