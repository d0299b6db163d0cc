"""Right, in plain Python: loops, lists, and a least-squares fit by orthogonalising the columns."""

import math


def wave(x):
    return [math.sin(v) + 0.3 * math.cos(3 * v) for v in x]


def empirical_risk(model, loss, X, y):
    total = 0.0
    for point, target in zip(X, y):
        total += float(loss(model([list(point)]), [float(target)])[0])
    return total / len(y)


def design_matrix(x, degree):
    rows = []
    for v in x:
        row = [1.0]
        for _ in range(degree):
            row.append(row[-1] * float(v))
        rows.append(row)
    return rows


def polynomial_fit(x, y, degree):
    rows = design_matrix(x, degree)
    columns = [[row[j] for row in rows] for j in range(degree + 1)]
    basis, upper = [], [[0.0] * (degree + 1) for _ in range(degree + 1)]
    for j, column in enumerate(columns):
        rest = list(column)
        for _ in range(2):
            for i, q in enumerate(basis):
                share = math.fsum(a * b for a, b in zip(q, rest))
                upper[i][j] += share
                rest = [r - share * a for r, a in zip(rest, q)]
        upper[j][j] = math.sqrt(math.fsum(r * r for r in rest))
        basis.append([r / upper[j][j] for r in rest])
    right = [math.fsum(a * float(b) for a, b in zip(q, y)) for q in basis]
    c = [0.0] * (degree + 1)
    for i in range(degree, -1, -1):
        c[i] = (right[i] - sum(upper[i][j] * c[j] for j in range(i + 1, degree + 1))) / upper[i][i]
    return c


def polynomial_predict(coefficients, x):
    values = []
    for v in x:
        value = 0.0
        for c in reversed(list(coefficients)):
            value = value * float(v) + float(c)
        values.append(value)
    return values


def rmse(a, b):
    return math.sqrt(sum((float(p) - float(q)) ** 2 for p, q in zip(a, b)) / len(a))


def train_and_true_error(x, y, truth, degree):
    c = polynomial_fit(x, y, degree)
    low, high = min(x), max(x)
    grid = [low + (high - low) * i / 199 for i in range(200)]
    return rmse(polynomial_predict(c, x), y), rmse(polynomial_predict(c, grid), truth(grid))


def select_degree(x, y, degrees, val_fraction, rng):
    order = rng.permutation(len(x)).tolist()
    cut = round(len(x) * val_fraction)
    errors, best = [], None
    for degree in degrees:
        c = polynomial_fit([x[i] for i in order[cut:]], [y[i] for i in order[cut:]], degree)
        errors.append(rmse(polynomial_predict(c, [x[i] for i in order[:cut]]), [y[i] for i in order[:cut]]))
        if best is None or errors[-1] < min(errors[:-1]):
            best = degree
    return best, errors


def layer_shapes(sizes):
    shapes = []
    for i in range(len(sizes) - 1):
        shapes.append([[sizes[i + 1], sizes[i]], [sizes[i + 1]]])
    return shapes


def count_parameters(sizes):
    total, before = 0, sizes[0]
    for n in sizes[1:]:
        total += n * (before + 1)
        before = n
    return total


def compose_linear(W1, b1, W2, b2):
    W = [[sum(a * W1[j][d] for j, a in enumerate(row)) for d in range(len(W1[0]))] for row in W2]
    b = [sum(a * c for a, c in zip(row, b1)) + bias for row, bias in zip(W2, b2)]
    return W, b
