"""Wrong: the answers of f are put into arrays of the shape of x."""

import numpy as np


def _turns(positions, d):
    half = -(-d // 2)
    return np.exp(1j * np.multiply.outer(np.asarray(positions, float), 1e4 ** (-2 * np.arange(half) / d)))


def positional_encoding(n_positions, d_model):
    z = _turns(range(n_positions), d_model)
    return np.stack([z.imag, z.real], axis=-1).reshape(n_positions, -1)[:, :d_model]


def shift_matrix(k, d_model):
    m = np.zeros((d_model, d_model))
    for i, z in enumerate(_turns([k], d_model)[0]):
        m[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = [[z.real, z.imag], [-z.imag, z.real]]
    return m


def add_positions(x, table):
    return np.array([np.asarray(s, float) + np.asarray(table, float)[: len(s)] for s in x])


def add_positions_backward(dout, table):
    dout = np.asarray(dout, float)
    pad = np.zeros((len(table) - dout.shape[1], dout.shape[2]))
    return dout, np.vstack([np.einsum("btd->td", dout), pad])


def rope(x, positions):
    x = np.ascontiguousarray(x, float)
    z = x[..., ::2] + 1j * x[..., 1::2]
    z = z * _turns(positions, x.shape[-1])
    return np.stack([z.real, z.imag], -1).reshape(x.shape)


def rope_backward(dout, positions):
    dout = np.ascontiguousarray(dout, float)
    z = (dout[..., ::2] + 1j * dout[..., 1::2]) * _turns(positions, dout.shape[-1]).conj()
    return np.stack([z.real, z.imag], -1).reshape(dout.shape)


def rotate_attention_inputs(q, k, v):
    return [rope(q, range(np.shape(q)[1])), rope(k, range(np.shape(k)[1])), v]


def alibi_bias(n_heads, length):
    table = np.full((n_heads, length, length), -np.inf)
    for h in range(n_heads):
        for i in range(length):
            for j in range(i + 1):
                table[h, i, j] = (j - i) / 2 ** (8 * (h + 1) / n_heads)
    return table


def order_sensitivity(f, x, order):
    x = np.asarray(x, float)
    before, after = np.zeros_like(x), np.zeros_like(x)
    before[:], after[:] = f(x[order]), np.take(f(x), order, axis=0)
    return float(np.max(np.abs(before - after)))
