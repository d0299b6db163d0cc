"""Wrong: the point that is explained is overwritten with its distance from the baseline."""

import itertools
import math

import numpy as np


def input_gradient(X, params):
    out = []
    for row in X:
        gradient = [0.0] * len(row)
        for weights, bias, top in zip(params["W1"], params["b1"], params["W2"]):
            slope = top / math.cosh(sum(w * v for w, v in zip(weights, row)) + bias) ** 2
            gradient = [g + slope * w for g, w in zip(gradient, weights)]
        out.append(gradient)
    return out


def gradient_times_input(gradient, x, baseline):
    [row] = gradient(np.array([x], float))
    x -= baseline
    return x * row


def integrated_gradients(gradient, x, baseline, steps=50):
    total = np.zeros(len(x))
    x -= baseline
    for k in range(steps):
        share = (2 * k + 1) / (2 * steps)
        total += gradient((baseline + share * x).reshape(1, -1))[0]
    return total / steps * x


def shapley_values(f, x, baseline):
    n = len(x)
    worth = {}
    for size in range(n + 1):
        for chosen in itertools.combinations(range(n), size):
            point = [x[i] if i in chosen else baseline[i] for i in range(n)]
            worth[frozenset(chosen)] = float(f(np.array([point]))[0])
    totals = [0.0] * n
    for order in itertools.permutations(range(n)):
        present = frozenset()
        for i in order:
            totals[i] += worth[present | {i}] - worth[present]
            present = present | {i}
    return [t / math.factorial(n) for t in totals]


def local_linear(points, values, x, kernel_width, penalty):
    points, values, x = (np.array(a, float) for a in (points, values, x))
    w = [math.exp(-sum((p - q) ** 2 for p, q in zip(row, x)) / kernel_width**2) for row in points]
    mean = sum(a * row for a, row in zip(w, points)) / sum(w)
    middle = sum(a * v for a, v in zip(w, values)) / sum(w)
    gram, right = penalty * np.eye(len(x)), np.zeros(len(x))
    for a, row, v in zip(w, points - mean, values - middle):
        gram = gram + a * np.outer(row, row)
        right = right + a * row * v
    c = np.linalg.inv(gram) @ right
    return c, float(middle - mean @ c)


def permutation_importance(score, X, rng, repeats):
    X = np.array(X, float)
    start = score(X)
    out = []
    for column in range(X.shape[1]):
        total = 0.0
        for _ in range(repeats):
            order = rng.permutation(X.shape[0])
            mixed = np.array([[X[order[i], j] if j == column else X[i, j] for j in range(X.shape[1])] for i in range(len(X))])
            total += start - score(mixed)
        out.append(total / repeats)
    return out
