"""Wrong: the search gives up after a hundred passes, however many are allowed."""

from functools import reduce

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
    return np.stack([forward(x, params, hidden)[1][-2][1] for x in np.asarray(X, float)])


def separating_line(points, labels, epochs=1000):
    P = np.column_stack([np.asarray(points, float), np.ones(len(points))])
    theta = np.zeros(P.shape[1])
    for _ in range(100):
        mistakes = 0
        for p, label in zip(P, labels):
            error = int(label) - int(p @ theta > 0)
            theta, mistakes = theta + error * p, mistakes + abs(error)
        if mistakes == 0:
            return theta[:-1], theta[-1]
    return None


def collapse(params):
    depth = len(params) // 2
    maps = []
    for n in range(1, depth + 1):
        top = stacked(params, n)
        maps.append(np.vstack([top, np.eye(top.shape[1])[-1]]))
    whole = reduce(lambda below, above: above @ below, maps)
    return whole[:-1, :-1], whole[:-1, -1]
