"""Right, in plain Python: loops, lists and the math module."""

import math


def mse(y_hat, y):
    flat_hat, shape = _flat(y_hat)
    flat, _ = _flat(y)
    n = len(flat)
    loss = sum((a - b) ** 2 for a, b in zip(flat_hat, flat)) / n
    return loss, _shaped([2 * (a - b) / n for a, b in zip(flat_hat, flat)], shape)


def softmax(x, axis=-1):
    return _along(x, axis, lambda row: [math.exp(v) for v in _log_probabilities(row)])


def log_softmax(x, axis=-1):
    return _along(x, axis, _log_probabilities)


def cross_entropy(logits, targets):
    rows = [[float(v) for v in row] for row in logits]
    loss, grad = 0.0, []
    for row, target in zip(rows, targets):
        try:
            t = [float(v) for v in target]
        except TypeError:
            t = [1.0 if k == int(target) else 0.0 for k in range(len(row))]
        logs = _log_probabilities(row)
        loss -= sum(a * b for a, b in zip(t, logs))
        grad.append([(math.exp(l) - a) / len(rows) for l, a in zip(logs, t)])
    return loss / len(rows), grad


def bce_with_logits(logits, y):
    z, shape = _flat(logits)
    t, _ = _flat(y)
    loss, grad = 0.0, []
    for a, b in zip(z, t):
        tail = math.log1p(math.exp(-abs(a)))
        loss += (max(-a, 0.0) + tail) if b == 1.0 else (max(a, 0.0) + tail)
        p = 1 / (1 + math.exp(-a)) if a >= 0 else math.exp(a) / (1 + math.exp(a))
        grad.append((p - b) / len(z))
    return loss / len(z), _shaped(grad, shape)


def huber(y_hat, y, delta=1.0):
    a, shape = _flat(y_hat)
    b, _ = _flat(y)
    loss, grad = 0.0, []
    for r in (p - q for p, q in zip(a, b)):
        if abs(r) < delta:
            loss += r * r / 2
            grad.append(r / len(a))
        else:
            loss += delta * (abs(r) - delta / 2)
            grad.append(math.copysign(delta, r) / len(a))
    return loss / len(a), _shaped(grad, shape)


def gradient_error(loss, prediction, target, h=1e-5):
    flat, shape = _flat(prediction)
    _, grad = loss(_shaped(flat, shape), target)
    worst = 0.0
    for i, g in enumerate(_flat(grad)[0]):
        up, down = list(flat), list(flat)
        up[i] += h
        down[i] -= h
        slope = (loss(_shaped(up, shape), target)[0] - loss(_shaped(down, shape), target)[0]) / (2 * h)
        worst = max(worst, abs(slope - g))
    return worst


def _log_probabilities(row):
    top = max(row)
    total = math.log(sum(math.exp(v - top) for v in row))
    return [v - top - total for v in row]


def _flat(values):
    if isinstance(values, (int, float)) or getattr(values, "ndim", 1) == 0:
        return [float(values)], ()
    parts = [_flat(v) for v in values]
    return [v for flat, _ in parts for v in flat], (len(parts), *parts[0][1])


def _shaped(flat, shape):
    if not shape:
        return flat[0]
    step = len(flat) // shape[0]
    return [_shaped(flat[i * step : (i + 1) * step], shape[1:]) for i in range(shape[0])]


def _along(x, axis, function):
    flat, shape = _flat(x)
    axis %= len(shape)
    inner = 1
    for n in shape[axis + 1 :]:
        inner *= n
    out = [0.0] * len(flat)
    for start in range(len(flat)):
        if start // inner % shape[axis] == 0:
            places = [start + k * inner for k in range(shape[axis])]
            for place, value in zip(places, function([flat[p] for p in places])):
                out[place] = value
    return _shaped(out, shape)
