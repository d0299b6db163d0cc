"""Wrong: of equally good sizes the smallest is taken, not the first."""

import math


def _each(f, x):
    if hasattr(x, "__len__"):
        return [_each(f, item) for item in x]
    return f(float(x))


def power_law(x, alpha, x_c):
    return _each(lambda value: math.exp(alpha * (math.log(x_c) - math.log(value))), x)


def invert_power_law(loss, alpha, x_c):
    return _each(lambda value: math.exp(math.log(x_c) - math.log(value) / alpha), loss)


def relative_reduction(before, after):
    if hasattr(before, "__len__"):
        return [relative_reduction(b, a) for b, a in zip(before, after, strict=True)]
    return 1 - float(after) / float(before)


def _line(u, v):
    n = len(u)
    mean_u, mean_v = math.fsum(u) / n, math.fsum(v) / n
    above = below = 0.0
    for a, b in zip(u, v, strict=True):
        above += (a - mean_u) * b
        below += (a - mean_u) * a
    slope = above / below
    return slope, mean_v - slope * mean_u


def fit_power_law(x, loss):
    slope, intercept = _line([math.log2(v) for v in x], [math.log2(v) for v in loss])
    return -slope, 2 ** (-intercept / slope)


def fit_with_floor(x, loss, floors):
    tried = []
    u = [math.log10(v) for v in x]
    for i, floor in enumerate(floors):
        v = []
        for value in loss:
            if value <= floor:
                raise ValueError("no room for this floor")
            v.append(math.log10(value - floor))
        slope, intercept = _line(u, v)
        error = sum((b - intercept - slope * a) ** 2 for a, b in zip(u, v, strict=True))
        tried.append((error, i, {"alpha": -slope, "amplitude": 10**intercept, "floor": floor}))
    return min(tried, key=lambda t: t[:2])[2]


def forecast(fit, x):
    return _each(lambda value: fit["floor"] + fit["amplitude"] / value ** fit["alpha"], x)


def training_flops(n_params, n_tokens):
    if hasattr(n_params, "__len__"):
        return [training_flops(n, d) for n, d in zip(n_params, n_tokens, strict=True)]
    forwards = 2 * n_params * n_tokens
    return float(forwards + 2 * forwards)


def device_days(flops, peak_flops_per_s, utilization):
    seconds = flops / peak_flops_per_s / utilization
    return seconds / 60 / 60 / 24


def twenty_tokens_rule(flops, tokens_per_param=20.0):
    tokens = math.sqrt(flops * tokens_per_param / 6)
    return [tokens / tokens_per_param, tokens]


def parametric_loss(n_params, n_tokens, law):
    return law["E"] + law["A"] * n_params ** -law["alpha"] + law["B"] * n_tokens ** -law["beta"]


def best_of_sizes(flops, law, sizes):
    found = None
    for n in sorted(sizes):
        d = flops / n / 6
        loss = parametric_loss(n, d, law)
        if found is None or loss < found[2]:
            found = (n, d, loss)
    return found


def compute_optimal(flops, law):
    a, b = law["alpha"], law["beta"]
    low, high = 0.0, math.log(flops / 6)
    for _ in range(200):
        middle = (low + high) / 2
        of_n = math.log(a * law["A"]) - a * middle
        of_d = math.log(b * law["B"]) - b * (math.log(flops / 6) - middle)
        if of_n > of_d:
            low = middle
        else:
            high = middle
    return math.exp(low), flops / 6 / math.exp(low)


def wasted_compute(n_params, n_tokens, law):
    goal = parametric_loss(n_params, n_tokens, {**law, "E": 0.0})
    low, high = 0.0, math.log(6 * n_params * n_tokens) + 1
    for _ in range(200):
        middle = (low + high) / 2
        if parametric_loss(*compute_optimal(math.exp(middle), law), {**law, "E": 0.0}) > goal:
            low = middle
        else:
            high = middle
    return 6 * n_params * n_tokens / math.exp(low)
