"""Wrong: points are cut in their sorted order, also between two that lie at the same place."""

import numpy as np


def folded(X):
    X = np.asarray(X, float)
    return np.c_[X, np.ones(len(X))]


def perceptron_predict(X, w, b):
    return np.heaviside(np.einsum("nd,d->n", folded(X), np.append(np.asarray(w, float), b)), 0.0)


def perceptron_update(w, b, x, y, lr=1.0):
    v, z = np.append(np.asarray(w, float), b), np.append(np.asarray(x, float), 1.0)
    v = v + lr * z * (int(y) - (1 if v @ z > 0 else 0))
    return v[:-1], v[-1]


def walk(X, y, n_epochs, lr):
    v = np.zeros(np.shape(X)[1] + 1)
    for epoch in range(n_epochs):
        for z, label in zip(folded(X), y):
            wrong = (v @ z > 0) != (label == 1)
            if wrong:
                v = v + lr * z * (2 * int(label) - 1)
            yield epoch, bool(wrong), v


def perceptron_fit(X, y, n_epochs, lr=1.0):
    counts = np.zeros(n_epochs, int)
    v, seen = None, 0
    for epoch, wrong, v in walk(X, y, n_epochs, lr):
        counts[epoch] += wrong
        seen += 1
        if seen % len(X) == 0 and counts[epoch] == 0:
            break
    return v[:-1], v[-1], counts[: epoch + 1]


def margin(X, y, w, b):
    v = np.append(np.asarray(w, float), b)
    distances = folded(X) @ (v / np.linalg.norm(v))
    return np.where(np.asarray(y) == 1, distances, -distances).min()


def mistake_bound(X, y, w, b):
    room = margin(X, y, w, b)
    return float("inf") if room <= 0 else np.linalg.norm(folded(X), axis=1).max() ** 2 / room**2


def best_linear_accuracy(X, y, n_angles=180):
    angles = np.pi * (np.arange(n_angles) + 0.5) / n_angles
    p = np.asarray(X, float) @ np.array([np.cos(angles), np.sin(angles)])
    labels = np.asarray(y)[np.argsort(p, axis=0, kind="stable")]
    zeros_below = np.vstack([np.zeros(n_angles), np.cumsum(1 - labels, axis=0)])
    ones_above = labels.sum(axis=0) - np.vstack([np.zeros(n_angles), np.cumsum(labels, axis=0)])
    right = zeros_below + ones_above
    return max(right.max(), len(labels) - right.min()) / len(labels)


def averaged_perceptron(X, y, n_epochs, lr=1.0):
    mean = np.mean([v for _, _, v in walk(X, y, n_epochs, lr)], axis=0)
    return mean[:-1], mean[-1]


def pocket_perceptron(X, y, n_epochs, lr=1.0):
    y = np.asarray(y)
    states = [np.zeros(np.shape(X)[1] + 1)] + [v for _, wrong, v in walk(X, y, n_epochs, lr) if wrong]
    shares = [np.mean((folded(X) @ v > 0) == (y == 1)) for v in states]
    best = int(np.argmax(shares))
    return states[best][:-1], states[best][-1], shares[best]
