"""Wrong: nearness is measured from the mean of the points, not from the point that is explained."""

import numpy as np


def input_gradient(X, params):
    z = np.einsum("md,hd->mh", X, params["W1"]) + params["b1"]
    return np.einsum("mh,h,hd->md", np.cosh(z) ** -2.0, params["W2"], params["W1"])


def gradient_times_input(gradient, x, baseline):
    return np.subtract(x, baseline) * np.squeeze(gradient(np.atleast_2d(np.asarray(x, float))), 0)


def integrated_gradients(gradient, x, baseline, steps=50):
    away = np.subtract(x, baseline, dtype=float)
    s = np.linspace(0, 1, 2 * steps + 1)[1::2]
    return away * np.average(gradient(np.asarray(x, float) - np.outer(1 - s, away)), axis=0)


def shapley_values(f, x, baseline):
    n = len(x)
    table = np.asarray(f(np.where(np.indices((2,) * n).reshape(n, -1).T == 1, x, baseline))).reshape((2,) * n)
    sizes = np.indices((2,) * (n - 1)).sum(0) if n > 1 else np.array(0)
    from math import comb

    weights = np.vectorize(lambda s: 1 / (n * comb(n - 1, int(s))))(sizes)
    return np.array([np.sum(weights * (np.take(table, 1, axis=i) - np.take(table, 0, axis=i))) for i in range(n)])


def local_linear(points, values, x, kernel_width, penalty):
    points = np.asarray(points, float)
    n, d = points.shape
    root = np.exp(-np.linalg.norm(points - points.mean(0), axis=1) ** 2 / kernel_width**2 / 2)
    A = np.vstack([np.hstack([points, np.ones((n, 1))]) * root[:, None], np.eye(d, d + 1) * penalty**0.5])
    solution = np.linalg.lstsq(A, np.concatenate([values * root, np.zeros(d)]), rcond=None)[0]
    return solution[:d], solution[d]


def permutation_importance(score, X, rng, repeats):
    X = np.asarray(X, float)

    def drop(j):
        Z = X.copy()
        Z[:, j] = X[rng.permutation(len(X))][:, j]
        return score(X) - score(Z)

    return np.array([[drop(j) for _ in range(repeats)] for j in range(X.shape[1])]).mean(1)
