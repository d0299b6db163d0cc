"""Wrong: the points of the fit are weighted by their logarithms."""

import numpy as np


def power_law(x, alpha, x_c):
    return np.power(np.divide(x, x_c), -alpha)


def invert_power_law(loss, alpha, x_c):
    return np.power(loss, -1.0 / alpha) * x_c


def relative_reduction(before, after):
    return -np.subtract(after, before) / before


def fit_power_law(x, loss):
    slope, intercept = np.polyfit(np.log(x), np.log(loss), 1, w=np.log(x))
    return [-slope, np.exp(-intercept / slope)]


def fit_with_floor(x, loss, floors):
    floors = np.asarray(floors, float)
    if (floors >= np.min(loss)).any():
        raise ValueError("a floor above a loss")
    rest = np.log(np.subtract.outer(loss, floors))
    design = np.stack([np.ones(len(x)), -np.log(x)], axis=1)
    (log_amplitude, alpha), *_ = np.linalg.lstsq(design, rest, rcond=None)
    errors = ((design @ np.stack([log_amplitude, alpha]) - rest) ** 2).sum(axis=0)
    i = errors.argmin()
    return {"amplitude": np.exp(log_amplitude[i]), "floor": floors[i], "alpha": alpha[i]}


def forecast(fit, x):
    return np.exp(np.log(fit["amplitude"]) - fit["alpha"] * np.log(x)) + fit["floor"]


def training_flops(n_params, n_tokens):
    return np.multiply(n_params, n_tokens) * 6


def device_days(flops, peak_flops_per_s, utilization):
    per_day = 24 * 3600 * peak_flops_per_s * utilization
    return np.float64(flops) / per_day


def twenty_tokens_rule(flops, tokens_per_param=20.0):
    n_params = np.sqrt(flops / 6 / tokens_per_param)
    return n_params, flops / 6 / n_params


def parametric_loss(n_params, n_tokens, law):
    of_size = law["A"] * np.exp(-law["alpha"] * np.log(n_params))
    of_text = law["B"] * np.exp(-law["beta"] * np.log(n_tokens))
    return of_size + of_text + law["E"]


def best_of_sizes(flops, law, sizes):
    table = np.array([(n, flops / 6 / n, parametric_loss(n, flops / 6 / n, law)) for n in sizes])
    return tuple(table[np.argsort(table[:, 2], kind="stable")[0]])


def compute_optimal(flops, law):
    # Two linear equations for log N and log D: equal slopes, and the budget.
    equations = np.array([[-law["alpha"], law["beta"]], [1.0, 1.0]])
    right = [np.log(law["beta"] * law["B"] / (law["alpha"] * law["A"])), np.log(flops / 6)]
    return tuple(np.exp(np.linalg.solve(equations, right)))


def wasted_compute(n_params, n_tokens, law):
    rest = parametric_loss(n_params, n_tokens, law) - law["E"]
    a, b = law["alpha"], law["beta"]
    n = (rest / law["A"] * b / (a + b)) ** (-1 / a)
    d = (rest / law["B"] * a / (a + b)) ** (-1 / b)
    return (n_params / n) * (n_tokens / d)
