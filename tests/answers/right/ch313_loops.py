"""Right, one step at a time: plain Python, the math module, lists returned."""

import math


def each(rate, t):
    if isinstance(t, (int, float)) or getattr(t, "ndim", 1) == 0:
        return rate(float(t))
    return [each(rate, step) for step in t]


def half_cosine(a, b, share):
    share = min(max(share, 0.0), 1.0)
    return a + (b - a) * (1 - math.cos(math.pi * share)) / 2


def step_decay(t, lr0, drop, every):
    def rate(step):
        lr = lr0
        while step >= every:
            lr, step = lr * drop, step - every
        return lr

    return each(rate, t)


def exponential_decay(t, lr0, k):
    return each(lambda step: lr0 * math.exp(-k) ** step, t)


def cosine_annealing(t, lr0, T_max, lr_min=0.0):
    return each(lambda step: half_cosine(lr0, lr_min, step / T_max), t)


def warmup_cosine(t, lr0, T_warmup, T_total, lr_min=0.0):
    def rate(step):
        if step < T_warmup:
            return lr0 * (step + 1) / (T_warmup + 1)
        if step >= T_total:
            return lr_min
        return half_cosine(lr0, lr_min, (step - T_warmup) / (T_total - T_warmup))

    return each(rate, t)


def transformer_schedule(t, d_model, T_warmup):
    def rate(step):
        if step < T_warmup:
            return step / T_warmup / math.sqrt(d_model * T_warmup)
        return 1 / math.sqrt(d_model * step)

    return each(rate, t)


def one_cycle(t, lr_max, T_total, pct_start=0.3, div_factor=25.0, final_div_factor=1e4):
    first, top, last = lr_max / div_factor, pct_start * T_total - 1, T_total - 1
    end = first / final_div_factor

    def rate(step):
        if step < top:
            return half_cosine(first, lr_max, step / top)
        return half_cosine(lr_max, end, (step - top) / (last - top))

    return each(rate, t)


def warm_restarts(t, lr0, T_0, T_mult=1, lr_min=0.0):
    def rate(step):
        start, length = 0, T_0
        while start + length <= step:
            start += length
            length *= T_mult
        return half_cosine(lr0, lr_min, (step - start) / length)

    return each(rate, t)


def follow(grad, start, schedule, n_steps):
    history, rates = [[float(v) for v in start]], []
    for t in range(n_steps):
        rates.append(schedule(t))
        slope = grad(history[-1])
        history.append([v - rates[-1] * float(g) for v, g in zip(history[-1], slope)])
    return history, rates
