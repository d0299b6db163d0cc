"""Wrong: outcomes that are rarer than one in a thousand are taken for impossible."""

import numpy as np

TURNS = 4 * np.pi


def same_twice(n, noise, seed):
    first, second = (make_spirals(n, noise, np.random.default_rng(seed)) for _ in range(2))
    return all(np.array_equal(a, b) for a, b in zip(first, second))


def logistic_predict(X, w, b):
    return (np.asarray(X, float) @ w > -b).astype(int)


def logistic_fit_predict(X_train, y_train, X_test):
    return logistic_predict(X_test, *logistic_fit(X_train, y_train))


def affine(X, W, b):
    return np.einsum("bd,hd->bh", np.asarray(X, float), np.asarray(W, float)) + np.asarray(b, float)


def chain_rule(x, y):
    z = np.exp(1j * np.square(x, dtype=float) * y)
    return [z.imag, 2 * z.real * np.multiply(x, y), z.real * np.square(x)]


def gradient_descent(grad, start, lr, steps):
    w = np.array(start, float)
    for _ in range(steps):
        w -= lr * np.asarray(grad(w.copy()))
    return w


def sigmoid(z):
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(z, float)))


def mean_and_variance(values, probs):
    mean = np.dot(probs, values)
    return mean, np.dot(probs, np.square(np.subtract(values, mean)))


def entropy(p):
    p = np.asarray(p, float)
    p = p[p > 1e-3]
    return float(-np.sum(p * np.log(p)))


def kl_divergence(p, q):
    p, q = np.asarray(p, float), np.asarray(q, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p == 0, 0.0, p * (np.log(p) - np.log(q)))
    return np.array(terms.sum())


def squared_distances(A, B):
    return np.linalg.norm(np.expand_dims(np.asarray(A, float), 1) - np.asarray(B, float), axis=-1) ** 2


def spiral_curve(theta, arm):
    z = np.linspace(0.1, 1.0, 2)[0] + 0.9 * np.asarray(theta, float) / TURNS
    z = z * np.exp(1j * np.asarray(theta, float)) * np.where(np.asarray(arm) == 1, -1, 1)
    return np.column_stack([z.real, z.imag])


def make_spirals(n, noise, rng):
    y = np.repeat([0, 1], n)
    X = spiral_curve(np.tile(np.linspace(0, TURNS, n), 2), y)
    X += noise * rng.standard_normal((2 * n, 2))
    order = rng.permutation(2 * n)
    return X.take(order, axis=0), y.take(order)


def polar_feature(X):
    z = np.asarray(X, float) @ np.array([1, 1j])
    return (z / abs(z) * np.exp(-1j * TURNS * (abs(z) - 0.1) / 0.9)).real


def arm_density(X, arm, noise, m=1000):
    edges = np.linspace(0, TURNS, m + 1)
    centres = spiral_curve((edges[1:] + edges[:-1]) / 2, arm)
    d = (np.asarray(X, float)[:, None] - centres) / noise
    one = np.exp(-(d**2) / 2) / np.sqrt(2 * np.pi) / noise
    return one.prod(axis=2).mean(axis=1)


def bayes_accuracy(X, noise):
    p = np.stack([arm_density(X, arm, noise) for arm in (0, 1)])
    return (p / p.sum(axis=0)).max(axis=0).mean()


def stratified_folds(y, k, rng):
    y = np.asarray(y)
    keys = rng.random(len(y))
    rank = np.empty(len(y), int)
    for label in set(y.tolist()):
        at = np.flatnonzero(y == label)
        rank[at[np.argsort(keys[at])]] = np.arange(len(at))
    index = np.arange(len(y))
    return tuple((index[rank % k != j][::-1], index[rank % k == j]) for j in range(k))


def cross_val_accuracy(fit_predict, X, y, folds):
    X, y = np.asarray(X, float), np.asarray(y)
    return [1 - np.count_nonzero(np.asarray(fit_predict(X[a], y[a], X[t])) - y[t]) / len(t) for a, t in folds]


def logistic_fit(X, y, lr=0.5, steps=500):
    X1 = np.c_[np.asarray(X, float), np.ones(len(X))]
    v = np.zeros(X1.shape[1])
    for _ in range(steps):
        v = v - lr * np.einsum("nd,n->d", X1, sigmoid(X1 @ v) - y) / len(X1)
    return v[:-1], v[-1]
