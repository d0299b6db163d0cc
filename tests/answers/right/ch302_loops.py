"""Right, in plain Python: loops over lists, points with a 1 appended, thresholds between sorted neighbours."""

import math


def score(w, b, x):
    total = 0.0
    for a, c in zip(w, x):
        total += float(a) * float(c)
    return total + float(b)


def perceptron_predict(X, w, b):
    return [1 if score(w, b, x) > 0 else 0 for x in X]


def perceptron_update(w, b, x, y, lr=1.0):
    w = [float(a) for a in w]
    says_one = score(w, b, x) > 0
    if says_one and y == 0:
        return [a - lr * c for a, c in zip(w, x)], b - lr
    if not says_one and y == 1:
        return [a + lr * c for a, c in zip(w, x)], b + lr
    return w, b


def perceptron_fit(X, y, n_epochs, lr=1.0):
    w, b, mistakes = [0.0] * len(X[0]), 0.0, []
    while len(mistakes) < n_epochs and 0 not in mistakes:
        mistakes.append(0)
        for x, label in zip(X, y):
            if perceptron_predict([x], w, b)[0] != int(label):
                mistakes[-1] += 1
                w, b = perceptron_update(w, b, x, label, lr)
    return w, b, mistakes


def margin(X, y, w, b):
    length = math.sqrt(sum(float(a) ** 2 for a in w) + float(b) ** 2)
    return min((score(w, b, x) if label else -score(w, b, x)) / length for x, label in zip(X, y))


def mistake_bound(X, y, w, b):
    room = margin(X, y, w, b)
    if not room > 0:
        return math.inf
    return (max(math.sqrt(1 + sum(float(c) ** 2 for c in x)) for x in X) / room) ** 2


def best_linear_accuracy(X, y, n_angles=180):
    n, most = len(X), 0
    for k in range(n_angles):
        a = (k + 0.5) * math.pi / n_angles
        order = sorted((float(x[0]) * math.cos(a) + float(x[1]) * math.sin(a), int(label)) for x, label in zip(X, y))
        right = sum(label for _, label in order)
        most = max(most, right, n - right)
        for i, (_, label) in enumerate(order):
            right += 1 if label == 0 else -1
            if i + 1 == n or order[i + 1][0] > order[i][0]:
                most = max(most, right, n - right)
    return most / n


def averaged_perceptron(X, y, n_epochs, lr=1.0):
    w, b = [0.0] * len(X[0]), 0.0
    sums, count = [0.0] * (len(w) + 1), 0
    for _ in range(n_epochs):
        for x, label in zip(X, y):
            w, b = perceptron_update(w, b, x, label, lr)
            sums = [s + v for s, v in zip(sums, [*w, b])]
            count += 1
    return [s / count for s in sums[:-1]], sums[-1] / count


def pocket_perceptron(X, y, n_epochs, lr=1.0):
    def right(w, b):
        return sum(int(a == int(c)) for a, c in zip(perceptron_predict(X, w, b), y))

    w, b = [0.0] * len(X[0]), 0.0
    pocket = (right(w, b), w, b)
    for _ in range(n_epochs):
        for x, label in zip(X, y):
            w, b = perceptron_update(w, b, x, label, lr)
            if right(w, b) > pocket[0]:
                pocket = (right(w, b), w, b)
    return [pocket[1], pocket[2], pocket[0] / len(X)]
