"""Chapter 323: Positional Encoding

Attention sees a set, not a sequence: shuffle the tokens and its answers are shuffled, nothing more. Where a token
stands has to be told. You write the three ways that matter: a pattern of sines added to the embeddings, a rotation of
queries and keys, and a bias on the scores; and a test that shows what each of them does to the order.

Conventions, here and in every chapter:
  - sequences are (B, T, d), batch first; positions count from 0;
  - column pair (2i, 2i + 1) has one frequency, f_i = 10000^(-2i/d) radians per position, sine on the even column and
    cosine on the odd one;
  - functions accept any arrays of numbers, work in float64, and never modify what they are given.

Run `dlgrade check ch323` as often as you like; `dlgrade hint ch323 rope` helps you on.
"""

import numpy as np


def positional_encoding(n_positions, d_model):
    """The sinusoidal encoding of positions 0, 1, ..., n_positions - 1.

        column 2i:      sin(position * f_i)          f_i = 10000^(-2i/d), the same for both columns of a pair
        column 2i + 1:  cos(position * f_i)

    The first pair turns by one radian a position, the last ones hardly at all: a clock with many hands. An odd d ends
    with a sine whose cosine is left out.

    n_positions: T, a whole number.
    d_model:     d, a whole number.
    Returns an array (T, d).

    Example: positional_encoding(2, 4) gives [[0, 1, 0, 1], [sin 1, cos 1, sin 0.01, cos 0.01]].
    """
    ### BEGIN SOLUTION
    # One frequency a pair, so the exponent counts in steps of two columns.
    frequencies = 10000.0 ** (-np.arange(0, d_model, 2) / d_model)
    angles = np.arange(n_positions)[:, None] * frequencies
    encoding = np.zeros((n_positions, d_model))
    encoding[:, 0::2] = np.sin(angles)
    # For an odd d there is one cosine less than there are sines.
    encoding[:, 1::2] = np.cos(angles[:, : d_model // 2])
    return encoding
    ### END SOLUTION


def shift_matrix(k, d_model):
    """The matrix that moves an encoding by k positions, from wherever it stands.

        encoding(position + k) = R_k @ encoding(position)      for every position

    By the addition theorems each pair is turned by the angle k f_i: R_k has, on its diagonal, one block a pair,

        [[ cos(k f_i), sin(k f_i)],
         [-sin(k f_i), cos(k f_i)]]

    A linear layer can therefore look "three to the left" without knowing where it is.

    k:       a whole number, negative to look back.
    d_model: d, an even number.
    Returns an array (d, d).

    Example: shift_matrix(1, 2) gives [[cos 1, sin 1], [-sin 1, cos 1]], and shift_matrix(0, 4) the identity.
    """
    ### BEGIN SOLUTION
    frequencies = 10000.0 ** (-np.arange(0, d_model, 2) / d_model)
    matrix = np.zeros((d_model, d_model))
    for pair, angle in enumerate(k * frequencies):
        even, odd = 2 * pair, 2 * pair + 1
        # sin(a + b) = sin a cos b + cos a sin b, and cos(a + b) = cos a cos b - sin a sin b.
        matrix[even, even] = matrix[odd, odd] = np.cos(angle)
        matrix[even, odd] = np.sin(angle)
        matrix[odd, even] = -np.sin(angle)
    return matrix
    ### END SOLUTION


def add_positions(x, table):
    """Add the encoding of its position to every token: the same for every sequence of the batch.

    x:     embeddings (B, T, d).
    table: encodings of positions (T_max, d), sinusoidal or learned, T_max at least T; the first T rows are used.
    Returns an array (B, T, d).

    Example: add_positions([[[1.0], [1.0]]], [[0.5], [0.25], [9.0]]) gives [[[1.5], [1.25]]].
    """
    ### BEGIN SOLUTION
    x = np.asarray(x, dtype=np.float64)
    table = np.asarray(table, dtype=np.float64)
    # (T, d) lines up with the last two axes of (B, T, d), and is repeated over the batch.
    return x + table[: x.shape[1]]
    ### END SOLUTION


def add_positions_backward(dout, table):
    """Backward through `add_positions`, for a table that is learned.

    Each used row of the table was added in every sequence, so its gradient sums over the batch; rows beyond T were not
    used.

    dout:  gradient at the output, (B, T, d).
    table: as for `add_positions`, (T_max, d).
    Returns (dx, dtable): arrays (B, T, d) and (T_max, d).

    Example: for dout = [[[1.0]], [[2.0]]] and a table of two rows, dx is [[[1.0]], [[2.0]]] and dtable [[3.0], [0.0]].
    """
    ### BEGIN SOLUTION
    dout = np.asarray(dout, dtype=np.float64)
    dtable = np.zeros(np.shape(table))
    dtable[: dout.shape[1]] = np.sum(dout, axis=0)
    return dout.copy(), dtable
    ### END SOLUTION


def rope(x, positions):
    """Rotary position embedding: turn every column pair by an angle that grows with the position.

        even column:  x_even cos(p f_i) - x_odd sin(p f_i)          p the position, f_i the frequency of the pair
        odd column:   x_even sin(p f_i) + x_odd cos(p f_i)

    Lengths stay as they are. And the product of a query turned by m with a key turned by n depends on m - n only: what
    counts is how far apart two tokens are.

    x:         (..., T, d), d even; for example queries (B, T, d) or heads (B, H, T, d).
    positions: (T,), the position of each row, any numbers.
    Returns an array of the shape of x.

    Example: rope([[1.0, 0.0], [1.0, 0.0]], [0, 2]) gives [[1, 0], [cos 2, sin 2]].
    """
    ### BEGIN SOLUTION
    x = np.asarray(x, dtype=np.float64)
    d_model = x.shape[-1]
    frequencies = 10000.0 ** (-np.arange(0, d_model, 2) / d_model)
    angles = np.asarray(positions, dtype=np.float64)[:, None] * frequencies
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = np.zeros_like(x)
    turned[..., 0::2] = even * np.cos(angles) - odd * np.sin(angles)
    turned[..., 1::2] = even * np.sin(angles) + odd * np.cos(angles)
    return turned
    ### END SOLUTION


def rope_backward(dout, positions):
    """Backward through `rope`.

    A rotation is a matrix whose transpose turns back. The gradient at x is therefore dout, turned the other way.

    dout:      gradient at the output, (..., T, d).
    positions: as for `rope`, (T,).
    Returns an array of the shape of dout.

    Example: rope_backward([[0.0, 1.0]], [2]) gives [[sin 2, cos 2]].
    """
    ### BEGIN SOLUTION
    return rope(dout, -np.asarray(positions, dtype=np.float64))
    ### END SOLUTION


def rotate_attention_inputs(q, k, v):
    """Prepare queries, keys and values for rotary attention, at positions 0, 1, 2, ...

    Only what is compared must know where it stands. The values are what is handed over once the comparison is made,
    and they stay as they are.

    q: queries (B, Tq, d), k: keys (B, Tk, d), v: values (B, Tk, dv); d even.
    Returns (q, k, v), with the same shapes.

    Example: a single query, key and value stand at position 0 and come back unchanged.
    """
    ### BEGIN SOLUTION
    q, k, v = (np.asarray(x, dtype=np.float64) for x in (q, k, v))
    return rope(q, np.arange(q.shape[1])), rope(k, np.arange(k.shape[1])), v.copy()
    ### END SOLUTION


def alibi_bias(n_heads, length):
    """ALiBi (attention with linear biases): what to add to the scaled scores, instead of any encoding.

        bias of head h, query i, key j:   -slope_h * (i - j)     for j <= i          -inf   for j > i (causal)

    with slope_h = 2^(-8h/H) for the heads h = 1, ..., H. A key costs the more the farther it lies back, and the heads
    differ in how much.

    n_heads: H, a power of two.
    length:  T.
    Returns an array (H, T, T).

    Example: alibi_bias(1, 3) gives 1/256 times [[[0, -inf, -inf], [-1, 0, -inf], [-2, -1, 0]]].
    """
    ### BEGIN SOLUTION
    slopes = 2.0 ** (-8.0 * np.arange(1, n_heads + 1) / n_heads)
    positions = np.arange(length)
    back = positions[:, None] - positions[None, :]
    bias = -slopes[:, None, None] * back
    return np.where(back >= 0, bias, -np.inf)
    ### END SOLUTION


def order_sensitivity(f, x, order):
    """Does a function of a sequence notice the order of its tokens?

    If it does not, shuffling before or after makes no difference: f(x[order]) equals f(x)[order]. Attention without
    positions is like that, exactly.

    f:     a function from a sequence (T, d) to a sequence (T, m).
    x:     a sequence (T, d).
    order: a permutation of 0, ..., T - 1, whole numbers (T,).
    Returns one number: the largest absolute difference between f(x[order]) and f(x)[order].

    Example: for f = lambda s: 2 * s it is 0.0; for f = np.cumsum along the sequence it is not.
    """
    ### BEGIN SOLUTION
    x, order = np.asarray(x, dtype=np.float64), np.asarray(order, dtype=int)
    before, after = np.asarray(f(x[order])), np.asarray(f(x))[order]
    return np.max(np.abs(before - after))
    ### END SOLUTION
