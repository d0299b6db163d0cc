"""Wrong: the perceptron says 1 at a score of exactly 0 too, so the line may pass through a point."""

import numpy as np


def sigmoid(z):
    z = np.asarray(z, float)
    e = np.exp(-abs(z))
    return np.where(z < 0, e, 1) / (1 + e)


def activate(z, name):
    return {"relu": np.maximum(z, 0), "tanh": np.tanh(z), "sigmoid": sigmoid(z), "identity": z}[name]


def parameter_count(widths):
    return sum(m * n + m for n, m in zip(widths[:-1], widths[1:]))


def forward(x, params, hidden="relu"):
    a = np.asarray(x, float)
    layers = []
    L = len(params) // 2
    for l in range(1, L + 1):
        z = np.dot(params[f"W{l}"], a) + np.asarray(params[f"b{l}"], float)
        a = activate(z, "sigmoid" if l == L else hidden)
        layers.append((z, a))
    return a, layers


def xor_network():
    return {
        "W1": [[20, 20], [20, 20]],
        "b1": [-10, -30],
        "W2": [[20, -20]],
        "b2": [-10],
    }, "sigmoid"


def hidden_points(X, params, hidden="relu"):
    return np.array([forward(x, params, hidden)[1][-2][1] for x in X])


def separating_line(points, labels, epochs=1000):
    points = np.asarray(points, float)
    w, b = np.zeros(points.shape[1]), 0.0
    for _ in range(epochs):
        errors = 0
        for p, y in zip(points, labels):
            y_hat = 1 if p @ w + b >= 0 else 0
            if y_hat != y:
                w, b = w + (y - y_hat) * p, b + (y - y_hat)
                errors += 1
        if errors == 0:
            return w, float(b)
    return None


def collapse(params):
    W, b = np.array(params["W1"], float), np.array(params["b1"], float)
    for l in range(2, len(params) // 2 + 1):
        W, b = params[f"W{l}"] @ W, params[f"W{l}"] @ b + params[f"b{l}"]
    return W, b
