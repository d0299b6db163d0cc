"""Right, with loops over positions and one rotation matrix for everything."""

import math

import numpy as np


def positional_encoding(n_positions, d_model):
    rows = []
    for p in range(n_positions):
        row = []
        for c in range(d_model):
            angle = p / 10000 ** ((c - c % 2) / d_model)
            row.append(math.cos(angle) if c % 2 else math.sin(angle))
        rows.append(row)
    return rows


def shift_matrix(k, d_model):
    m = np.zeros((d_model, d_model))
    for c in range(0, d_model, 2):
        a = k / 10000 ** (c / d_model)
        m[c, c] = m[c + 1, c + 1] = math.cos(a)
        m[c, c + 1], m[c + 1, c] = math.sin(a), -math.sin(a)
    return m


def add_positions(x, table):
    x = np.array(x, float)
    for t in range(x.shape[1]):
        x[:, t] += table[t]
    return x


def add_positions_backward(dout, table):
    dtable = np.zeros(np.shape(table))
    for sequence in np.array(dout, float):
        for t, row in enumerate(sequence):
            dtable[t] += row
    return dout, dtable


def rope(x, positions):
    x = np.array(x, float)
    return np.stack([x[..., t, :] @ shift_matrix(p, x.shape[-1]) for t, p in enumerate(positions)], axis=-2)


def rope_backward(dout, positions):
    dout = np.array(dout, float)
    return np.stack([dout[..., t, :] @ shift_matrix(p, dout.shape[-1]).T for t, p in enumerate(positions)], axis=-2)


def rotate_attention_inputs(q, k, v):
    return rope(q, list(range(len(q[0])))), rope(k, list(range(len(k[0])))), np.array(v, float)


def alibi_bias(n_heads, length):
    i, j = np.indices((length, length))
    back = np.where(i >= j, (i - j).astype(float), np.inf)
    return np.stack([-back * 2 ** (-8 * h / n_heads) for h in range(1, n_heads + 1)])


def order_sensitivity(f, x, order):
    x = np.array(x, float)
    worst = 0.0
    whole, shuffled = f(x), f(np.array([x[o] for o in order]))
    for place, o in enumerate(order):
        worst = max(worst, max(abs(a - b) for a, b in zip(shuffled[place], whole[o])))
    return worst
