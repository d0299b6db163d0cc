"""Wrong: half a validation point is rounded up, where Python rounds to the even number."""

import numpy as np
from numpy.polynomial import polynomial as P


def wave(x):
    return np.sin(x) + 0.3 * np.cos(3 * np.asarray(x))


def empirical_risk(model, loss, X, y):
    return float(np.sum(loss(model(np.array(X, float)), np.array(y, float)))) / len(y)


def design_matrix(x, degree):
    return np.vander(np.asarray(x, float), degree + 1, increasing=True)


def polynomial_fit(x, y, degree):
    return np.polyfit(x, y, degree)[::-1]


def polynomial_predict(coefficients, x):
    return P.polyval(np.asarray(x, float), np.asarray(coefficients, float))


def train_and_true_error(x, y, truth, degree):
    fit = P.Polynomial.fit(np.asarray(x, float), np.asarray(y, float), degree)
    t = np.arange(200) / 199
    grid = min(x) * (1 - t) + max(x) * t
    return [
        np.linalg.norm(fit(np.asarray(x)) - y) / np.sqrt(len(x)),
        np.linalg.norm(fit(grid) - truth(grid)) / np.sqrt(200),
    ]


def select_degree(x, y, degrees, val_fraction, rng):
    x, y = np.array(x, float), np.array(y, float)
    order = rng.permutation(x.size)
    held = np.zeros(x.size, bool)
    held[order[: int(x.size * val_fraction + 0.5)]] = True
    errors = {}
    for degree in degrees:
        c = polynomial_fit(x[~held], y[~held], degree)
        errors[degree] = np.sqrt(np.square(P.polyval(x[held], c) - y[held]).mean())
    return min(errors, key=errors.get), [errors[d] for d in degrees]


def layer_shapes(sizes):
    return tuple(((m, n), (m,)) for n, m in zip(sizes, sizes[1:]))


def count_parameters(sizes):
    sizes = np.asarray(sizes)
    return np.dot(sizes[1:], sizes[:-1] + 1)


def compose_linear(W1, b1, W2, b2):
    both = lambda X: (X @ np.transpose(W1) + b1) @ np.transpose(W2) + b2
    W = np.einsum("km,md->kd", W2, W1)
    return W, both(np.zeros((1, np.shape(W1)[1])))[0]
