"""Wrong: the last three functions take arrays only, though plain lists are promised."""

import numpy as np


def sigmoid(z):
    z = np.array(z, float)
    out = np.empty_like(z)
    up = z >= 0
    out[up] = 1 / (1 + np.exp(-z[up]))
    small = np.exp(z[~up])
    out[~up] = small / (1 + small)
    return out if out.ndim else float(out)


ACTIVATIONS = {"relu": lambda z: z * (z > 0), "tanh": np.tanh, "sigmoid": sigmoid, "identity": lambda z: +z}


def parameter_count(widths):
    widths = np.array(widths, dtype=np.int64)
    return int(np.dot(widths[1:], widths[:-1]) + widths[1:].sum())


def stacked(params, n):
    """Weights and bias of layer n side by side: (out, in + 1)."""
    return np.column_stack([np.asarray(params["W%d" % n], float), np.asarray(params["b%d" % n], float)])


def forward(x, params, hidden="relu"):
    depth = sum(1 for name in params if name[0] == "b")
    names = [hidden] * (depth - 1) + ["sigmoid"]
    trace = ()
    a = np.asarray(x, float)
    for n, name in enumerate(names, 1):
        z = np.einsum("oi,i->o", stacked(params, n), np.append(a, 1.0))
        a = ACTIVATIONS[name](z)
        trace += ((z, a),)
    return a, trace


def xor_network():
    # tanh units switch at 0.5 and at 1.5; both are positive only for (1, 1), both negative only for (0, 0)
    W1 = 10.0 * np.ones((2, 2))
    return {"W1": W1, "b1": np.array([-5.0, -15.0]), "W2": np.array([[5.0, -5.0]]), "b2": np.array([-5.0])}, "tanh"


def hidden_points(X, params, hidden="relu"):
    return np.stack([forward(X[i, :], params, hidden)[1][-2][1] for i in range(X.shape[0])])


def separating_line(points, labels, epochs=1000):
    w, b = np.zeros(points.shape[1]), 0.0
    for _ in range(epochs):
        mistakes = 0
        for p, label in zip(points, labels):
            error = int(label) - int(p @ w + b > 0)
            w, b, mistakes = w + error * p, b + error, mistakes + abs(error)
        if mistakes == 0:
            return w, b
    return None


def collapse(params):
    W, b = params["W1"], params["b1"]
    for n in range(2, len(params) // 2 + 1):
        W, b = params["W%d" % n] @ W, params["W%d" % n] @ b + params["b%d" % n]
    return W, b
