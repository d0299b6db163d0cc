"""Right, in plain Python: lists and loops, no array products; OR and NAND by steep sigmoids."""

import math

import numpy as np


def sigmoid(z):
    if isinstance(z, (list, tuple)) or (isinstance(z, np.ndarray) and z.ndim > 0):
        return [sigmoid(one) for one in z]
    z = float(z)
    if z < 0:
        return math.exp(z) / (1 + math.exp(z))
    return 1 / (1 + math.exp(-z))


def activate_one(z, name):
    if name == "relu":
        return z if z > 0 else 0.0
    if name == "tanh":
        return math.tanh(z)
    if name == "sigmoid":
        return sigmoid(z)
    return z


def parameter_count(widths):
    return sum((inputs + 1) * units for inputs, units in zip(list(widths)[:-1], list(widths)[1:]))


def layer_numbers(params):
    return sorted(int(name[1:]) for name in params if name.startswith("W"))


def forward(x, params, hidden="relu"):
    a = [float(v) for v in x]
    layers = []
    last = layer_numbers(params)[-1]
    for n in layer_numbers(params):
        z = []
        for row, bias in zip(params[f"W{n}"], params[f"b{n}"]):
            total = float(bias)
            for weight, value in zip(row, a):
                total += float(weight) * value
            z.append(total)
        a = [activate_one(v, "sigmoid" if n == last else hidden) for v in z]
        layers.append([z, a])
    return a, layers


def xor_network():
    params = {
        "b2": [-30],
        "W2": [[20, 20]],
        "W1": [[20, 20], [-20, -20]],
        "b1": [-10, 30],
    }
    return [params, "sigmoid"]


def hidden_points(X, params, hidden="relu"):
    return [forward(x, params, hidden)[1][-2][1] for x in X]


def separating_line(points, labels, epochs=1000):
    weights = [0.0] * (len(points[0]) + 1)
    for _ in range(epochs):
        wrong = False
        for point, label in zip(points, labels):
            extended = [*map(float, point), 1.0]
            says = sum(w * p for w, p in zip(weights, extended)) > 0
            if says != bool(label):
                wrong = True
                step = 1 if label else -1
                weights = [w + step * p for w, p in zip(weights, extended)]
        if not wrong:
            return weights[:-1], weights[-1]


def collapse(params):
    inputs = len(params["W1"][0])

    def net(x):
        for n in layer_numbers(params):
            rows = zip(params[f"W{n}"], params[f"b{n}"])
            x = [sum(float(w) * v for w, v in zip(row, x)) + float(bias) for row, bias in rows]
        return x

    bias = net([0.0] * inputs)
    columns = []
    for i in range(inputs):
        W_only = {k: (np.zeros(len(v)) if k[0] == "b" else v) for k, v in params.items()}
        column = [1.0 if j == i else 0.0 for j in range(inputs)]
        for n in layer_numbers(W_only):
            column = [sum(float(w) * v for w, v in zip(row, column)) for row in W_only[f"W{n}"]]
        columns.append(column)
    return [list(row) for row in zip(*columns)], bias
