"""Right, in plain Python: loops and nested lists; the caches are dicts of lists."""

import math


def new_state(features):
    return {"running_mean": [0.0] * features, "running_var": [1.0] * features}


def mean_of(values):
    return sum(values) / len(values)


def variance_of(values):
    centre = mean_of(values)
    return sum((v - centre) ** 2 for v in values) / len(values)


def columns(x):
    return [[float(row[d]) for row in x] for d in range(len(x[0]))]


def batch_statistics(x):
    return [mean_of(c) for c in columns(x)], [variance_of(c) for c in columns(x)]


def update_running(state, mean, var, count, momentum=0.1):
    if count <= 1:
        raise ValueError("too few values")
    later = {"running_mean": [], "running_var": []}
    for d in range(len(mean)):
        old_mean, old_var = float(state["running_mean"][d]), float(state["running_var"][d])
        later["running_mean"].append(old_mean + momentum * (float(mean[d]) - old_mean))
        later["running_var"].append(old_var + momentum * (float(var[d]) * count / (count - 1) - old_var))
    return later


def batch_norm_forward(x, gamma, beta, state, training, momentum=0.1, eps=1e-5):
    if training:
        mean, var = batch_statistics(x)
        state = update_running(state, mean, var, len(x), momentum)
    else:
        mean, var = ([float(v) for v in state[key]] for key in ("running_mean", "running_var"))
        state = {"running_mean": mean, "running_var": var}
    std = [math.sqrt(v + eps) for v in var]
    features = range(len(mean))
    x_hat = [[(float(row[d]) - mean[d]) / std[d] for d in features] for row in x]
    out = [[float(gamma[d]) * row[d] + float(beta[d]) for d in features] for row in x_hat]
    cache = {"x_hat": x_hat, "std": std, "gamma": [float(g) for g in gamma], "training": training}
    return [out, cache, state]


def batch_norm_backward(dout, cache):
    x_hat, std, gamma = cache["x_hat"], cache["std"], cache["gamma"]
    rows, features = range(len(x_hat)), range(len(std))
    dx = [[0.0 for _ in features] for _ in rows]
    dgamma, dbeta = [], []
    for d in features:
        dgamma.append(sum(float(dout[b][d]) * x_hat[b][d] for b in rows))
        dbeta.append(sum(float(dout[b][d]) for b in rows))
        for b in rows:
            slope = float(dout[b][d])
            if cache["training"]:
                slope -= (dbeta[d] + x_hat[b][d] * dgamma[d]) / len(x_hat)
            dx[b][d] = slope * gamma[d] / std[d]
    return [dx, dgamma, dbeta]


def to_rows(x):
    pixels = [(b, h, w) for b in range(len(x)) for h in range(len(x[0][0])) for w in range(len(x[0][0][0]))]
    return [[float(x[b][c][h][w]) for c in range(len(x[0]))] for b, h, w in pixels]


def to_images(rows, like):
    batch, channels, height, width = len(like), len(like[0]), len(like[0][0]), len(like[0][0][0])
    return [
        [
            [[rows[(b * height + h) * width + w][c] for w in range(width)] for h in range(height)]
            for c in range(channels)
        ]
        for b in range(batch)
    ]


def batch_norm_images_forward(x, gamma, beta, state, training, momentum=0.1, eps=1e-5):
    out, cache, state = batch_norm_forward(to_rows(x), gamma, beta, state, training, momentum, eps)
    return to_images(out, x), cache, state


def batch_norm_images_backward(dout, cache):
    dx, dgamma, dbeta = batch_norm_backward(to_rows(dout), cache)
    return to_images(dx, dout), dgamma, dbeta


def fold_batch_norm(W, b, gamma, beta, state, eps=1e-5):
    W_new, b_new = [], []
    for i, row in enumerate(W):
        s = float(gamma[i]) / math.sqrt(float(state["running_var"][i]) + eps)
        W_new.append([s * float(w) for w in row])
        b_new.append(s * float(b[i]) - s * float(state["running_mean"][i]) + float(beta[i]))
    return W_new, b_new


def is_vector(x):
    return not hasattr(x[0], "__len__")


def normalize(x, gamma, beta, eps):
    if not is_vector(x):
        parts = [normalize(part, gamma, beta, eps) for part in x]
        return [out for out, _ in parts], [cache for _, cache in parts]
    x = [float(v) for v in x]
    centre, std = mean_of(x), math.sqrt(variance_of(x) + eps)
    x_hat = [(v - centre) / std for v in x]
    return [float(g) * v + float(b) for g, v, b in zip(gamma, x_hat, beta)], (x_hat, std)


def layer_norm_forward(x, gamma, beta, eps=1e-5):
    out, cache = normalize(x, gamma, beta, eps)
    return out, {"vectors": cache, "gamma": [float(g) for g in gamma]}


def back_through(dout, cache, gamma, dgamma, dbeta):
    if not is_vector(dout):
        return [back_through(part, kept, gamma, dgamma, dbeta) for part, kept in zip(dout, cache)]
    x_hat, std = cache
    dout = [float(v) for v in dout]
    for d, (slope, value) in enumerate(zip(dout, x_hat)):
        dgamma[d] += slope * value
        dbeta[d] += slope
    g = [slope * scale for slope, scale in zip(dout, gamma)]
    through_mean = mean_of(g)
    through_var = mean_of([a * b for a, b in zip(g, x_hat)])
    return [(a - through_mean - b * through_var) / std for a, b in zip(g, x_hat)]


def layer_norm_backward(dout, cache):
    gamma = cache["gamma"]
    dgamma, dbeta = [0.0] * len(gamma), [0.0] * len(gamma)
    dx = back_through(dout, cache["vectors"], gamma, dgamma, dbeta)
    return dx, dgamma, dbeta
