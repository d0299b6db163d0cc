"""Right, in plain Python: one weight at a time, Gram-Schmidt for the orthogonal matrix, lists for arrays."""

import math


def xavier_uniform(fan_in, fan_out, rng):
    reach = math.sqrt(6) / math.sqrt(fan_in + fan_out)
    return [[(2 * rng.random() - 1) * reach for _ in range(fan_in)] for _ in range(fan_out)]


def he_normal(fan_in, fan_out, rng, mode="fan_in"):
    fan = {"fan_in": fan_in, "fan_out": fan_out}[mode]
    W = []
    for _ in range(fan_out):
        row = []
        for _ in range(fan_in):
            row.append(rng.standard_normal() * (2 / fan) ** 0.5)
        W.append(row)
    return W


def dot(u, v):
    return math.fsum(a * b for a, b in zip(u, v))


def orthogonal(fan_in, fan_out, rng, gain=1.0):
    few, many = sorted((fan_in, fan_out))
    lines = []
    while len(lines) < few:
        line = [rng.standard_normal() for _ in range(many)]
        # twice, for the rounding that the first pass leaves
        for _ in range(2):
            for other in lines:
                share = dot(line, other)
                line = [a - share * b for a, b in zip(line, other)]
        length = math.sqrt(dot(line, line))
        lines.append([a / length for a in line])
    if fan_out > fan_in:
        lines = [list(column) for column in zip(*lines)]
    return [[gain * a for a in line] for line in lines]


def mean_square(rows):
    entries = [float(a) ** 2 for row in rows for a in row]
    return math.fsum(entries) / len(entries)


def way_forward(x, weights):
    signals, zs = [[[float(a) for a in row] for row in x]], []
    for W in weights:
        z = [[sum(float(w) * a for w, a in zip(unit, sample)) for unit in W] for sample in signals[-1]]
        zs.append(z)
        signals.append([[a if a > 0 else 0.0 for a in row] for row in z])
    return signals, zs


def forward_moments(x, weights):
    return [mean_square(signal) for signal in way_forward(x, weights)[0]]


def backward_moments(x, weights, dout):
    _, zs = way_forward(x, weights)
    da = [[float(a) for a in row] for row in dout]
    found = [mean_square(da)]
    for layer in range(len(weights) - 1, -1, -1):
        W, below = weights[layer], []
        for sample in range(len(da)):
            gradient = [0.0] * len(W[0])
            for unit in range(len(W)):
                if zs[layer][sample][unit] > 0:
                    for k in range(len(gradient)):
                        gradient[k] += da[sample][unit] * float(W[unit][k])
            below.append(gradient)
        da = below
        found.insert(0, mean_square(da))
    return found


def output_bias(p):
    if hasattr(p, "__len__"):
        return [output_bias(one) for one in p]
    return math.log(p) - math.log1p(-p)


def init_network(widths, rng, p=0.5):
    params = {}
    for n in range(1, len(widths)):
        hidden = n < len(widths) - 1
        params[f"b{n}"] = [0.0 if hidden else output_bias(p)] * widths[n]
        params[f"W{n}"] = he_normal(widths[n - 1], widths[n], rng) if hidden else [[0] * widths[n - 1]] * widths[n]
    return params
