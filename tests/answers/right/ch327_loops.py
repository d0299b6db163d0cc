"""Right, with loops over times and entries and with lists; steps back are made through the predicted clean sample."""

import math

import numpy as np


def linear_betas(n_steps, first=1e-4, last=0.02):
    if n_steps == 1:
        return [first]
    return [first + i * (last - first) / (n_steps - 1) for i in range(n_steps)]


def cosine_betas(n_steps, offset=0.008, largest=0.999):
    def f(s):
        return math.cos(math.pi / 2 * (s / n_steps + offset) / (1 + offset)) ** 2

    return [min(largest, 1 - f(t + 1) / f(t)) for t in range(n_steps)]


def make_schedule(betas):
    made = {"alpha_bar_prev": [], "alpha_bar": [], "alpha": [], "beta": []}
    kept = 1.0
    for b in betas:
        made["beta"].append(float(b))
        made["alpha"].append(1 - float(b))
        made["alpha_bar_prev"].append(kept)
        kept *= 1 - float(b)
        made["alpha_bar"].append(kept)
    return made


def _mix(x, y, a, b):
    return a * np.array(x, dtype=float) + b * np.array(y, dtype=float)


def q_step(x_prev, t, eps, schedule):
    return _mix(x_prev, eps, schedule["alpha"][t] ** 0.5, schedule["beta"][t] ** 0.5)


def _each(x, t):
    times = [int(t)] * len(x) if np.ndim(t) == 0 else [int(s) for s in t]
    return zip(x, times, strict=True)


def q_sample(x0, t, eps, schedule):
    out = []
    for (x, s), e in zip(_each(x0, t), eps, strict=True):
        bar = schedule["alpha_bar"][s]
        out.append(_mix(x, e, math.sqrt(bar), math.sqrt(1 - bar)).tolist())
    return out


def merge_noise(eps, schedule):
    x = np.zeros(np.shape(eps)[1:])
    for t, e in enumerate(eps):
        x = q_step(x, t, e, schedule)
    return x / math.sqrt(1 - schedule["alpha_bar"][len(eps) - 1])


def predict_x0(x_t, t, eps, schedule):
    out = []
    for (x, s), e in zip(_each(x_t, t), eps, strict=True):
        bar = schedule["alpha_bar"][s]
        out.append(_mix(x, e, 1 / math.sqrt(bar), -math.sqrt(1 / bar - 1)))
    return np.array(out)


def predict_eps(x_t, t, x0, schedule):
    out = []
    for (x, s), c in zip(_each(x_t, t), x0, strict=True):
        bar = schedule["alpha_bar"][s]
        out.append(_mix(x, c, 1, -math.sqrt(bar)) / math.sqrt(1 - bar))
    return np.array(out)


def denoising_loss(model, x0, t, eps, schedule):
    said = np.ravel(model(np.array(q_sample(x0, t, eps, schedule)), t)).tolist()
    wanted = np.ravel(eps).tolist()
    loss, slopes = 0.0, []
    for p, e in zip(said, wanted, strict=True):
        loss += (p - e) ** 2 / len(said)
        slopes.append(2 * (p - e) / len(said))
    return loss, np.reshape(slopes, np.shape(x0))


def posterior(x_t, x0, t, schedule):
    b, a = schedule["beta"][t], schedule["alpha"][t]
    before = 1.0 if t == 0 else schedule["alpha_bar"][t - 1]
    if t == 0:
        return np.array(x0, dtype=float), 0.0
    # Product of two normal laws: precisions add up.
    precision = a / b + 1 / (1 - before)
    mean = (
        np.array(x_t, dtype=float) * math.sqrt(a) / b + np.array(x0, dtype=float) * math.sqrt(before) / (1 - before)
    ) / (precision)
    return mean, 1 / precision


def ancestral_step(x_t, t, eps, noise, schedule):
    mean, _ = posterior(x_t, predict_x0(x_t, t, eps, schedule), t, schedule)
    return mean if t == 0 else _mix(mean, noise, 1, schedule["beta"][t] ** 0.5)


def sample_ancestral(model, shape, schedule, rng):
    x = rng.standard_normal(shape)
    t = len(schedule["beta"]) - 1
    while t > 0:
        eps = model(x, t)
        x = ancestral_step(x, t, eps, rng.standard_normal(shape), schedule)
        t -= 1
    return ancestral_step(x, 0, model(x, 0), None, schedule)


def mixture_eps(x_t, t, weights, means, variances, schedule):
    bar = schedule["alpha_bar"][t]
    out = []
    for x in np.array(x_t, dtype=float):
        logs, pulls = [], []
        for w, m, v in zip(weights, np.array(means, dtype=float), variances, strict=True):
            v = bar * v + 1 - bar
            d = x - math.sqrt(bar) * m
            logs.append(math.log(w) - d @ d / 2 / v - len(x) / 2 * math.log(v))
            pulls.append(d / v)
        top = max(logs)
        parts = [math.exp(log - top) for log in logs]
        out.append(math.sqrt(1 - bar) * sum(p * q for p, q in zip(parts, pulls, strict=True)) / sum(parts))
    return out


def ddim_step(x_t, t, t_prev, eps, schedule):
    clean = predict_x0(x_t, t, eps, schedule)
    return clean if t_prev < 0 else np.array(q_sample(clean, t_prev, eps, schedule))


def sample_ddim(model, x_last, times, schedule):
    times, x = list(times), np.array(x_last, dtype=float)
    while times:
        t = times.pop(0)
        x = ddim_step(x, t, times[0] if times else -1, model(x, t), schedule)
    return x
