"""Wrong: variances above 0.99 are cut in the schedule."""

import numpy as np


def linear_betas(n_steps, first=1e-4, last=0.02):
    share = np.arange(n_steps) / max(n_steps - 1, 1)
    return (1 - share) * first + share * last


def cosine_betas(n_steps, offset=0.008, largest=0.999):
    # cos^2 is (1 + cos of the double angle) / 2.
    f = 0.5 + 0.5 * np.cos(np.pi * (np.arange(n_steps + 1) / n_steps + offset) / (1 + offset))
    return np.clip((f[:-1] - f[1:]) / f[:-1], None, largest)


def make_schedule(betas):
    beta = np.minimum(np.asarray(betas, float), 0.99)
    logs = np.log1p(-beta)
    total = np.cumsum(logs)
    return {"beta": beta, "alpha": 1 - beta, "alpha_bar": np.exp(total), "alpha_bar_prev": np.exp(total - logs)}


def _bar(schedule, t, x):
    bar = np.take(schedule["alpha_bar"], t)
    return np.broadcast_to(np.reshape(bar, np.shape(bar) + (1,) * (np.ndim(x) - np.ndim(bar))), np.shape(x))


def _rotation(schedule, t, x):
    """Signal and noise weights are the cosine and the sine of one angle."""
    angle = np.arccos(np.sqrt(_bar(schedule, t, x)))
    return np.cos(angle), np.sin(angle)


def q_step(x_prev, t, eps, schedule):
    b = schedule["beta"][t]
    return np.einsum("i,i...->...", [np.sqrt(1 - b), np.sqrt(b)], np.stack([x_prev, eps]))


def q_sample(x0, t, eps, schedule):
    c, s = _rotation(schedule, t, x0)
    return c * x0 + s * eps


def merge_noise(eps, schedule):
    n = len(eps)
    weights = [
        np.sqrt(schedule["beta"][s] * np.prod(schedule["alpha"][s + 1 : n]) / (1 - np.prod(schedule["alpha"][:n])))
        for s in range(n)
    ]
    return np.einsum("s,s...->...", weights, eps)


def predict_x0(x_t, t, eps, schedule):
    c, s = _rotation(schedule, t, x_t)
    return x_t / c - eps * (s / c)


def predict_eps(x_t, t, x0, schedule):
    c, s = _rotation(schedule, t, x_t)
    return x_t / s - x0 * (c / s)


def denoising_loss(model, x0, t, eps, schedule):
    gap = np.asarray(eps) - model(q_sample(x0, t, eps, schedule), t)
    return np.vdot(gap, gap) / gap.size, gap * (-2 / gap.size)


def posterior(x_t, x0, t, schedule):
    b, bar, prev = (schedule[k][t] for k in ("beta", "alpha_bar", "alpha_bar_prev"))
    share = (1 - prev) / (1 - bar)
    # The mean of the time before, moved by what x_t is off from where noising takes x0.
    off = np.asarray(x_t) - np.sqrt(bar) * np.asarray(x0)
    return np.sqrt(prev) * np.asarray(x0) + np.sqrt(1 - b) * share * off, b * share


def ancestral_step(x_t, t, eps, noise, schedule):
    b = schedule["beta"][t]
    x = np.asarray(x_t) - b * np.asarray(eps) / (1 - schedule["alpha_bar"][t]) ** 0.5
    return x / (1 - b) ** 0.5 + (t > 0) * b**0.5 * np.asarray(noise)


def sample_ancestral(model, shape, schedule, rng):
    x = rng.standard_normal(shape)
    for t in np.arange(len(schedule["beta"]))[::-1]:
        x = ancestral_step(x, t, model(x, int(t)), rng.standard_normal(shape), schedule)
    return x


def mixture_eps(x_t, t, weights, means, variances, schedule):
    bar = schedule["alpha_bar"][t]
    v = 1 + bar * (np.asarray(variances) - 1)
    m = np.sqrt(bar) * np.asarray(means)
    x = np.asarray(x_t)
    squares = ((x[:, None] - m[None]) ** 2).sum(-1)
    logs = np.log(weights) - squares / 2 / v - x.shape[1] / 2 * np.log(v)
    r = np.exp(logs - np.logaddexp.reduce(logs, axis=1, keepdims=True)) / v
    return np.sqrt(1 - bar) * (x * r.sum(1, keepdims=True) - np.einsum("bk,kd->bd", r, m))


def ddim_step(x_t, t, t_prev, eps, schedule):
    now, then = schedule["alpha_bar"][t], ([*schedule["alpha_bar"], 1.0])[t_prev]
    ratio = np.sqrt(then / now)
    return ratio * np.asarray(x_t) + (np.sqrt(1 - then) - ratio * np.sqrt(1 - now)) * np.asarray(eps)


def sample_ddim(model, x_last, times, schedule):
    if len(times) == 0:
        return x_last
    ends = times[1] if len(times) > 1 else -1
    return sample_ddim(model, ddim_step(x_last, times[0], ends, model(x_last, times[0]), schedule), times[1:], schedule)
