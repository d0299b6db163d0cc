"""Where a token stands: sinusoidal and learned encodings, rotary embedding (RoPE) and linear biases (ALiBi)."""

import math

import numpy as np

from dlreference.arrays import Array, ArrayLike, as_float


def pair_frequencies(d_model: int, base: float = 10000.0) -> Array:
    """base^(-2 i / d) for the column pairs (2i, 2i + 1), in radians per position: (ceil(d / 2),)."""
    return base ** (-np.arange(0, d_model, 2) / d_model)


def sinusoidal_encoding(n_positions: int, d_model: int, base: float = 10000.0) -> Array:
    """Sine on even and cosine on odd columns of position times the pair's frequency (Vaswani et al. 2017).

    Returns (T, d), positions from 0; an odd d ends with a sine of its own.
    """
    angles = np.arange(n_positions)[:, None] * pair_frequencies(d_model, base)
    encoding = np.empty((n_positions, d_model))
    encoding[:, 0::2] = np.sin(angles)
    encoding[:, 1::2] = np.cos(angles[:, : d_model // 2])
    return encoding


def shift_matrix(offset: float, d_model: int, base: float = 10000.0) -> Array:
    """R_k (d, d) with encoding(position + k) = R_k encoding(position), for every position.

    Block diagonal with [[cos, sin], [-sin, cos]] of k times the pair's frequency. Raises ValueError for odd d.
    """
    _require_even(d_model)
    angles = offset * pair_frequencies(d_model, base)
    even = np.arange(0, d_model, 2)
    shift = np.zeros((d_model, d_model))
    shift[even, even] = shift[even + 1, even + 1] = np.cos(angles)
    shift[even, even + 1] = np.sin(angles)
    shift[even + 1, even] = -np.sin(angles)
    return shift


def learned_positions_forward(x: ArrayLike, table: ArrayLike) -> Array:
    """x (B, T, d) + the first T rows of table (T_max, d). Raises ValueError when T > T_max."""
    x, table = as_float(x), as_float(table)
    if x.shape[1] > len(table):
        raise ValueError(f"{x.shape[1]} positions, but the table has {len(table)}")
    return x + table[: x.shape[1]]


def learned_positions_backward(dout: ArrayLike, n_rows: int) -> tuple[Array, Array]:
    """(dx (B, T, d), dtable (T_max, d)) for dout (B, T, d): a row sums over the batch, unused rows get zero."""
    dout = as_float(dout)
    dtable = np.zeros((n_rows, dout.shape[2]))
    dtable[: dout.shape[1]] = dout.sum(axis=0)
    return dout, dtable


def rope_forward(x: ArrayLike, positions: ArrayLike | None = None, base: float = 10000.0) -> Array:
    """Turn each column pair (2i, 2i + 1) by position times its frequency (Su et al. 2021).

    x (..., T, d), positions (T,), 0 ... T - 1 unless given -> same shape as x. Meant for queries and keys, not values.
    Raises ValueError for odd d.
    """
    return _turn(as_float(x), positions, base, direction=1.0)


def rope_backward(dout: ArrayLike, positions: ArrayLike | None = None, base: float = 10000.0) -> Array:
    """dx for dout (..., T, d): the same turn backwards, for a rotation's transpose is its inverse."""
    return _turn(as_float(dout), positions, base, direction=-1.0)


def _turn(x: Array, positions: ArrayLike | None, base: float, direction: float) -> Array:
    length, d_model = x.shape[-2:]
    _require_even(d_model)
    places = np.arange(length) if positions is None else as_float(positions)
    angles = direction * places[:, None] * pair_frequencies(d_model, base)
    cos, sin = np.cos(angles), np.sin(angles)
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = np.empty_like(x)
    turned[..., 0::2] = even * cos - odd * sin
    turned[..., 1::2] = even * sin + odd * cos
    return turned


def _require_even(d_model: int) -> None:
    if d_model % 2:
        raise ValueError(f"pairs need an even d, got {d_model}")


def alibi_slopes(n_heads: int) -> Array:
    """(n_heads,): 2^(-8 h / n) for h = 1 ... n when n is a power of two (Press et al. 2022).

    For other n: the slopes of the power of two below, then every second one, from the first, of the power of two above.
    """
    below = 2 ** int(math.log2(n_heads))
    slopes = 2.0 ** (-8.0 * np.arange(1, below + 1) / below)
    between = 2.0 ** (-4.0 * np.arange(1, 2 * below, 2) / below)
    return np.concatenate([slopes, between])[:n_heads]


def alibi_bias(n_heads: int, length: int, causal: bool = True) -> Array:
    """(n_heads, T, T) to add to the scaled scores: minus slope times the distance |query - key|.

    causal: minus infinity where the key comes after the query.
    """
    distance = np.arange(length)[:, None] - np.arange(length)
    bias = -alibi_slopes(n_heads)[:, None, None] * np.abs(distance)
    return np.where(distance < 0, -np.inf, bias) if causal else bias
