"""Right, in plain Python: loops, lists and the math module; the cache is a dict of lists."""

import math


def value(z, name):
    if name == "relu":
        return z if z > 0 else 0.0
    if name == "tanh":
        return math.tanh(z)
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


def slope(z, name):
    if name == "relu":
        return 1.0 if z > 0 else 0.0
    if name == "tanh":
        return 1 - math.tanh(z) ** 2
    return value(z, "sigmoid") * value(-z, "sigmoid")


def each(function, z):
    if hasattr(z, "__len__"):
        return [each(function, part) for part in z]
    return function(float(z))


def activation_slope(z, name):
    return each(lambda one: slope(one, name), z)


def layer_backward(dz, a_prev, W):
    dz, a_prev, W = (each(float, m) for m in (dz, a_prev, W))
    samples, outs, ins = range(len(dz)), range(len(W)), range(len(W[0]))
    dW = [[sum(dz[b][i] * a_prev[b][j] for b in samples) for j in ins] for i in outs]
    db = [sum(dz[b][i] for b in samples) for i in outs]
    da = [[sum(dz[b][i] * W[i][j] for i in outs) for j in ins] for b in samples]
    return [da, dW, db]


def forward(X, params, hidden="relu"):
    depth = max(int(key[1:]) for key in params)
    cache = {"hidden": hidden, "depth": depth, "a0": each(float, X)}
    for l in range(1, depth + 1):
        W, b = each(float, params[f"W{l}"]), each(float, params[f"b{l}"])
        z = [[sum(w * x for w, x in zip(row, sample)) + c for row, c in zip(W, b)] for sample in cache[f"a{l - 1}"]]
        cache[f"W{l}"], cache[f"z{l}"] = W, z
        cache[f"a{l}"] = each(lambda one: value(one, hidden), z) if l < depth else z
    return cache[f"a{depth}"], cache


def backward(dout, cache):
    grads, dz = {}, each(float, dout)
    for l in range(cache["depth"], 0, -1):
        da, grads[f"W{l}"], grads[f"b{l}"] = layer_backward(dz, cache[f"a{l - 1}"], cache[f"W{l}"])
        if l > 1:
            z = cache[f"z{l - 1}"]
            dz = [[d * slope(v, cache["hidden"]) for d, v in zip(*rows)] for rows in zip(da, z)]
    return grads, da


def softplus(z):
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))


def output_loss(logits, y, head):
    B, loss, dout = len(logits), 0.0, []
    for row, target in zip(logits, y):
        row = [float(v) for v in row]
        if head == "bce":
            t = float(target[0]) if hasattr(target, "__len__") else float(target)
            loss += t * softplus(-row[0]) + (1 - t) * softplus(row[0])
            dout.append([(value(row[0], "sigmoid") - t) / B])
        else:
            top = max(row)
            total = sum(math.exp(v - top) for v in row)
            loss -= row[int(target)] - top - math.log(total)
            dout.append([(math.exp(v - top) / total - (k == int(target))) / B for k, v in enumerate(row)])
    return loss / B, dout


def numerical_gradient(f, x, h=1e-5):
    def slopes(part, rebuild):
        if hasattr(part, "__len__"):
            parts = list(part)
            return [
                slopes(inner, lambda new, i=i: rebuild(parts[:i] + [new] + parts[i + 1 :])) for i, inner in enumerate(parts)
            ]
        return (f(rebuild(part + h)) - f(rebuild(part - h))) / (2 * h)

    return slopes(each(float, x), lambda whole: whole)


def train(params, X, y, lr, steps, hidden="relu", head="ce"):
    params = {key: each(float, given) for key, given in params.items()}
    losses = []
    for _ in range(steps):
        logits, cache = forward(X, params, hidden)
        loss, dout = output_loss(logits, y, head)
        losses.append(loss)
        grads, _ = backward(dout, cache)
        for key, given in params.items():
            if key[0] == "b":
                params[key] = [v - lr * g for v, g in zip(given, grads[key])]
            else:
                params[key] = [[v - lr * g for v, g in zip(*rows)] for rows in zip(given, grads[key])]
    return params, losses
