"""Wrong: the cosine is squared once too often, so the rate falls too early."""

import numpy as np


def between(high, low, share):
    return low + (high - low) * np.cos(np.pi / 2 * np.clip(share, 0, 1)) ** 4


def step_decay(t, lr0, drop, every):
    return lr0 * np.power(float(drop), np.floor_divide(t, every))


def exponential_decay(t, lr0, k):
    return np.exp(np.log(lr0) - np.multiply(k, t))


def cosine_annealing(t, lr0, T_max, lr_min=0.0):
    return between(lr0, lr_min, np.true_divide(t, T_max))


def warmup_cosine(t, lr0, T_warmup, T_total, lr_min=0.0):
    t = np.array(t, dtype=float)
    out = np.full(t.shape, float(lr_min))
    ramp, fall = t < T_warmup, (t >= T_warmup) & (t < T_total)
    out[ramp] = np.interp(t[ramp], [-1, T_warmup], [0, lr0])
    if fall.any():
        out[fall] = between(lr0, lr_min, (t[fall] - T_warmup) / (T_total - T_warmup))
    return out


def transformer_schedule(t, d_model, T_warmup):
    t = np.asarray(t, dtype=float)
    return np.where(t < T_warmup, t / T_warmup**1.5, 1 / np.sqrt(t)) / np.sqrt(d_model)


def one_cycle(t, lr_max, T_total, pct_start=0.3, div_factor=25.0, final_div_factor=1e4):
    t = np.asarray(t, dtype=float)
    peak = pct_start * T_total - 1
    early = between(lr_max, lr_max / div_factor, 1 - t / peak)
    late = between(lr_max, lr_max / div_factor / final_div_factor, (t - peak) / (T_total - 1 - peak))
    return np.minimum(np.where(t < peak, early, lr_max), np.where(t < peak, lr_max, late))


def warm_restarts(t, lr0, T_0, T_mult=1, lr_min=0.0):
    t = np.asarray(t, dtype=int)
    # Enough cycles for the largest t; searchsorted finds the one that each step lies in.
    lengths = [T_0]
    while sum(lengths) <= t.max():
        lengths.append(lengths[-1] * T_mult)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    n = np.searchsorted(starts, t, side="right") - 1
    return between(lr0, lr_min, (t - starts[n]) / np.array(lengths)[n])


def follow(grad, start, schedule, n_steps):
    history = np.empty((n_steps + 1, len(start)))
    history[0] = start
    rates = []
    for t, x in enumerate(history[:-1]):
        rates += [float(schedule(t))]
        history[t + 1] = x - rates[t] * np.asarray(grad(x.copy()))
    return history, np.asarray(rates)
