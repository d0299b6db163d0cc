"""Wrong: the exponential decay never goes below 1e-8."""

import numpy as np


def step_decay(t, lr0, drop, every):
    t = np.asarray(t, dtype=np.float64)
    return lr0 * drop ** (t // every)


def exponential_decay(t, lr0, k):
    t = np.asarray(t, dtype=np.float64)
    return np.maximum(lr0 * np.exp(-k * t), 1e-08)


def cosine_annealing(t, lr0, T_max, lr_min=0.0):
    t = np.asarray(t, dtype=np.float64)
    progress = np.minimum(t / T_max, 1.0)
    return lr_min + (lr0 - lr_min) * (1.0 + np.cos(np.pi * progress)) / 2.0


def warmup_cosine(t, lr0, T_warmup, T_total, lr_min=0.0):
    t = np.asarray(t, dtype=np.float64)
    ramp = lr0 * (t + 1.0) / (T_warmup + 1.0)
    descent = cosine_annealing(t - T_warmup, lr0, max(T_total - T_warmup, 1), lr_min)
    rates = np.where(t < T_warmup, ramp, descent)
    return np.where(t >= T_total, lr_min, rates)[()]


def transformer_schedule(t, d_model, T_warmup):
    t = np.asarray(t, dtype=np.float64)
    return d_model ** (-0.5) * np.minimum(t ** (-0.5), t * T_warmup ** (-1.5))


def one_cycle(t, lr_max, T_total, pct_start=0.3, div_factor=25.0, final_div_factor=10000.0):
    t = np.asarray(t, dtype=np.float64)
    start = lr_max / div_factor
    end = start / final_div_factor
    peak = pct_start * T_total - 1.0
    up = cosine_annealing(t, start, peak, lr_max)
    down = cosine_annealing(t - peak, lr_max, T_total - 1.0 - peak, end)
    return np.where(t <= peak, up, down)[()]


def warm_restarts(t, lr0, T_0, T_mult=1, lr_min=0.0):

    def rate(step):
        length = T_0
        while step >= length:
            step -= length
            length *= T_mult
        return cosine_annealing(step, lr0, length, lr_min)

    return np.vectorize(rate, otypes=[np.float64])(t)[()]


def follow(grad, start, schedule, n_steps):
    x = np.array(start, dtype=np.float64)
    history = [x]
    rates = np.zeros(n_steps)
    for t in range(n_steps):
        rates[t] = schedule(t)
        x = x - rates[t] * np.asarray(grad(x), dtype=np.float64)
        history.append(x)
    return (np.array(history), rates)
