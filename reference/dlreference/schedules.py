"""Learning-rate schedules: the rate at step t, counted from 0 (the Transformer schedule from 1).

t is a number or an array; the result has its shape. Past the end of a schedule the last rate stays.
"""

import math

import numpy as np

from dlreference.arrays import Array, ArrayLike, as_float


def _cosine(start: float | Array, end: float | Array, progress: ArrayLike) -> Array:
    """Half a cosine from start (progress 0) to end (progress 1), clamped outside."""
    fraction = np.clip(as_float(progress), 0.0, 1.0)
    return as_float(end + (start - end) * 0.5 * (1.0 + np.cos(math.pi * fraction)))


def step_decay(t: ArrayLike, lr0: float, drop: float, every: int) -> Array:
    """lr0 drop^floor(t / every): a factor `drop` after each `every` steps."""
    return lr0 * drop ** np.floor_divide(as_float(t), every)


def exponential_decay(t: ArrayLike, lr0: float, k: float) -> Array:
    """lr0 exp(-k t)."""
    return lr0 * np.exp(-k * as_float(t))


def cosine_annealing(t: ArrayLike, lr0: float, T_max: float, lr_min: float = 0.0) -> Array:
    """Half a cosine from lr0 at t = 0 to lr_min at t = T_max, and lr_min from there on (Loshchilov & Hutter 2017)."""
    return _cosine(lr0, lr_min, as_float(t) / T_max)


def warmup_cosine(t: ArrayLike, lr0: float, T_warmup: int, T_total: int, lr_min: float = 0.0) -> Array:
    """Linear warm-up, then half a cosine to lr_min at T_total.

    For t < T_warmup the rate is lr0 (t + 1) / (T_warmup + 1): never 0, and on one line with the peak, exactly lr0 at
    t = T_warmup. From there the cosine takes T_total - T_warmup steps. T_warmup = 0 is allowed; with
    T_warmup = T_total the rate falls from the ramp straight to lr_min.
    """
    t = as_float(t)
    ramp = lr0 * (t + 1.0) / (T_warmup + 1.0)
    descent = _cosine(lr0, lr_min, (t - T_warmup) / max(T_total - T_warmup, 1))
    return np.where(t < T_warmup, ramp, np.where(t >= T_total, lr_min, descent))[()]


def transformer(t: ArrayLike, d_model: int, T_warmup: int) -> Array:
    """d_model^-0.5 min(t^-0.5, t T_warmup^-1.5) for t = 1, 2, ... (Vaswani et al. 2017).

    The peak is at t = T_warmup.
    """
    t = as_float(t)
    return d_model**-0.5 * np.minimum(t**-0.5, t * float(T_warmup) ** -1.5)


def one_cycle(
    t: ArrayLike,
    lr_max: float,
    T_total: int,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> Array:
    """Up from lr_max / div_factor to lr_max, and down to the start rate / final_div_factor, each half a cosine.

    The T_total steps are t = 0..T_total - 1, the last of them at the final rate; the peak lies at
    pct_start T_total - 1, which need not be a whole step: the rate never exceeds lr_max (Smith & Topin 2018, in the
    two-phase form of torch's OneCycleLR).
    """
    t = as_float(t)
    start = lr_max / div_factor
    peak, last = pct_start * T_total - 1.0, T_total - 1.0
    rise = _cosine(start, lr_max, t / peak) if peak > 0 else np.full(t.shape, lr_max)
    fall = _cosine(lr_max, start / final_div_factor, (t - peak) / (last - peak))
    return np.where(t <= peak, rise, fall)[()]


def warm_restarts(t: ArrayLike, lr0: float, T_0: int, T_mult: int = 1, lr_min: float = 0.0) -> Array:
    """SGDR (Loshchilov & Hutter 2017): cosines from lr0 towards lr_min, of length T_0, T_0 T_mult, T_0 T_mult^2, ...

    At the first step of each cycle the rate is lr0 again; lr_min itself is never taken. Whole t >= 0 and T_mult >= 1.
    """
    t = as_float(t)
    length, begin = np.full(t.shape, float(T_0)), np.zeros(t.shape)
    while np.any(over := t >= begin + length):
        begin = np.where(over, begin + length, begin)
        length = np.where(over, length * T_mult, length)
    return _cosine(lr0, lr_min, (t - begin) / length)
