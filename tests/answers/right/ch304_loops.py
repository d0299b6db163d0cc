"""Right, in plain Python: one sample, one unit at a time, lists for arrays."""

import math

import numpy as np


def one(z, name):
    if name == "relu":
        return z if z > 0 else 0.0
    if name == "tanh":
        return math.tanh(z)
    if name == "sigmoid":
        if z >= 0:
            return 1 / (1 + math.exp(-z))
        return math.exp(z) / (1 + math.exp(z))
    return z


def activate(z, name):
    if np.ndim(z) == 0:
        return one(float(z), name)
    return [activate(row, name) for row in z]


def layer_forward(a_prev, W, b):
    result = []
    for sample in a_prev:
        row = []
        for weights, bias in zip(W, b):
            total = float(bias)
            for weight, value in zip(weights, sample):
                total = total + float(weight) * float(value)
            row.append(total)
        result.append(row)
    return result


def forward(X, params, activations):
    a = [[float(value) for value in row] for row in X]
    cache = []
    number = 0
    for name in activations:
        number += 1
        z = layer_forward(a, params["W" + str(number)], params["b" + str(number)])
        new = activate(z, name)
        cache.append([a, z, new])
        a = new
    return a, cache


def batch_gap(batched, single, X):
    worst = 0.0
    together = batched(X)
    for i in range(len(X)):
        alone = single(X[i])
        for j in range(len(alone)):
            worst = max(worst, abs(float(together[i][j]) - float(alone[j])))
    return worst


def shapes(widths, batch):
    named = [("X", [batch, widths[0]])]
    for l, (n_in, n_out) in enumerate(zip(widths, widths[1:]), 1):
        named += [(f"a{l}", [batch, n_out]), (f"b{l}", [n_out]), (f"W{l}", [n_out, n_in]), (f"z{l}", [batch, n_out])]
    return dict(named)


def cache_floats(widths, batch):
    count = 0
    for key, shape in shapes(widths, batch).items():
        if key[0] in "Xza":
            count += shape[0] * shape[1]
    return count


def layer_statistics(X, params, activations):
    means, stds = [], []
    for _, _, a in forward(X, params, activations)[1]:
        entries = [value for row in a for value in row]
        mean = math.fsum(entries) / len(entries)
        means.append(mean)
        stds.append(math.sqrt(math.fsum((value - mean) ** 2 for value in entries) / len(entries)))
    return means, stds
