"""Right, in plain Python: loops, lists and the math module."""

import math


def same_twice(n, noise, seed):
    import numpy as np

    X1, y1 = make_spirals(n, noise, np.random.default_rng(seed))
    X2, y2 = make_spirals(n, noise, np.random.default_rng(seed))
    return X1 == X2 and y1 == y2


def logistic_predict(X, w, b):
    return [1 if sum(a * c for a, c in zip(x, w)) + b > 0 else 0 for x in X]


def logistic_fit_predict(X_train, y_train, X_test):
    w, b = logistic_fit(X_train, y_train)
    return logistic_predict(X_test, w, b)


def affine(X, W, b):
    return [[sum(float(a) * float(c) for a, c in zip(x, w)) + float(bias) for w, bias in zip(W, b)] for x in X]


def chain_rule(x, y):
    f, fx, fy = [], [], []
    for a, b in zip(x, y):
        u = a * a * b
        f.append(math.sin(u))
        fx.append(math.cos(u) * b * a * 2)
        fy.append(math.cos(u) * a * a)
    return f, fx, fy


def gradient_descent(grad, start, lr, steps):
    point = [float(v) for v in start]
    while steps > 0:
        slope = grad(list(point))
        point = [p - lr * s for p, s in zip(point, slope)]
        steps -= 1
    return point


def sigmoid(z):
    try:
        return [sigmoid(v) for v in z]
    except TypeError:
        return 1 / (1 + math.exp(-z)) if z > 0 else math.exp(z) / (1 + math.exp(z))


def mean_and_variance(values, probs):
    mean = math.fsum(p * v for p, v in zip(probs, values))
    return mean, math.fsum(p * (v - mean) ** 2 for p, v in zip(probs, values))


def entropy(p):
    return sum(-v * math.log(v) for v in p if v > 0)


def kl_divergence(p, q):
    total = 0.0
    for a, b in zip(p, q):
        if a == 0:
            continue
        if b == 0:
            return math.inf
        total += a * (math.log(a) - math.log(b))
    return total


def squared_distances(A, B):
    return [[sum((float(a) - float(b)) ** 2 for a, b in zip(row, other)) for other in B] for row in A]


def spiral_curve(theta, arm):
    try:
        arms = [float(a) for a in arm]
    except TypeError:
        arms = [float(arm)] * len(theta)
    points = []
    for t, a in zip(theta, arms):
        r = 0.1 + 0.9 * t / (4 * math.pi)
        sign = -1.0 if a else 1.0
        points.append([sign * r * math.cos(t), sign * r * math.sin(t)])
    return points


def make_spirals(n, noise, rng):
    theta = [4 * math.pi * i / max(n - 1, 1) for i in range(n)]
    X = spiral_curve(theta, 0) + spiral_curve(theta, 1)
    y = [0] * n + [1] * n
    X = [[x + dx, z + dz] for (x, z), (dx, dz) in zip(X, rng.normal(0.0, noise, size=(2 * n, 2)).tolist())]
    order = rng.permutation(2 * n).tolist()
    return [X[i] for i in order], [y[i] for i in order]


def polar_feature(X):
    out = []
    for x, y in X:
        r = math.sqrt(x * x + y * y)
        out.append(math.cos(4 * math.pi * (r - 0.1) / 0.9 - math.atan2(y, x)))
    return out


def arm_density(X, arm, noise, m=1000):
    centres = spiral_curve([(i + 0.5) * 4 * math.pi / m for i in range(m)], arm)
    scale = 1 / (2 * math.pi * noise * noise) / m
    return [
        scale * sum(math.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * noise * noise)) for cx, cy in centres)
        for x, y in X
    ]


def bayes_accuracy(X, noise):
    total = 0.0
    for a, b in zip(arm_density(X, 0, noise), arm_density(X, 1, noise)):
        p = b / (a + b)
        total += p if p > 0.5 else 1 - p
    return total / len(X)


def stratified_folds(y, k, rng):
    tests = [[] for _ in range(k)]
    for label in sorted(set(int(v) for v in y)):
        members = [i for i, v in enumerate(y) if v == label]
        rng.shuffle(members)
        for place, i in enumerate(members):
            tests[place % k].append(i)
    return [([i for i in range(len(y)) if i not in test], test) for test in tests]


def cross_val_accuracy(fit_predict, X, y, folds):
    scores = []
    for train, test in folds:
        said = fit_predict([X[i] for i in train], [y[i] for i in train], [X[i] for i in test])
        scores.append(sum(int(a == y[i]) for a, i in zip(said, test)) / len(test))
    return scores


def logistic_fit(X, y, lr=0.5, steps=500):
    X = [[float(v) for v in x] for x in X]
    w, b = [0.0] * len(X[0]), 0.0
    for _ in range(steps):
        dw, db = [0.0] * len(w), 0.0
        for x, label in zip(X, y):
            z = b
            for a, c in zip(x, w):
                z += a * c
            e = (1 / (1 + math.exp(-z)) if z > 0 else 1 - 1 / (1 + math.exp(z))) - int(label)
            db += e
            for j, a in enumerate(x):
                dw[j] += e * a
        w = [c - lr * d / len(X) for c, d in zip(w, dw)]
        b -= lr * db / len(X)
    return w, b
