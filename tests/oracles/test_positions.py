"""Positional encodings of the reference against closed forms, PyTorch's autograd and complex rotation."""

import math

import numpy as np
import pytest
import torch
from dlreference import attention, positions

RTOL, ATOL = 1e-12, 1e-13


@pytest.fixture
def rng():
    return np.random.default_rng(323)


def draw(rng, *shape):
    """Standard normal numbers that refuse to be written to."""
    x = rng.normal(size=shape)
    x.flags.writeable = False
    return x


@pytest.mark.parametrize(("length", "d_model"), [(5, 6), (7, 5), (1, 4), (3, 1), (200, 128)])
def test_sinusoidal_encoding_entry_by_entry(length, d_model):
    encoding = positions.sinusoidal_encoding(length, d_model)
    for place in range(length):
        for column in range(d_model):
            angle = place / 10000 ** ((column - column % 2) / d_model)
            expected = math.cos(angle) if column % 2 else math.sin(angle)
            assert encoding[place, column] == pytest.approx(expected, rel=RTOL, abs=ATOL)


def test_sinusoidal_encoding_rows_have_norm_sqrt_half_d():
    np.testing.assert_allclose(np.linalg.norm(positions.sinusoidal_encoding(50, 128), axis=1), 8.0, rtol=1e-13)


@pytest.mark.parametrize("offset", [0, 1, -3, 17, 2.5])
def test_shift_matrix_moves_every_position(offset):
    turn = positions.shift_matrix(offset, 6)
    places = np.arange(4, 30)
    frequencies = 10000.0 ** (-np.array([0, 2, 4]) / 6)
    encode = lambda at: np.stack([np.sin(at * frequencies), np.cos(at * frequencies)], axis=-1).ravel()
    for place in places:
        np.testing.assert_allclose(turn @ encode(place), encode(place + offset), rtol=0, atol=1e-13)
    np.testing.assert_allclose(turn @ turn.T, np.eye(6), rtol=0, atol=1e-15)


def test_shift_matrix_belongs_to_the_encoding():
    encoding = positions.sinusoidal_encoding(20, 10)
    np.testing.assert_allclose(encoding[:-7] @ positions.shift_matrix(7, 10).T, encoding[7:], rtol=0, atol=1e-14)


def test_odd_widths_are_refused_where_pairs_are_needed():
    with pytest.raises(ValueError, match="even d"):
        positions.shift_matrix(1, 5)
    with pytest.raises(ValueError, match="even d"):
        positions.rope_forward(np.zeros((2, 3)))


def test_learned_positions_forward_and_backward(rng):
    x, table, dout = draw(rng, 2, 3, 4), draw(rng, 5, 4), draw(rng, 2, 3, 4)
    inputs = torch.tensor(x, requires_grad=True), torch.tensor(table, requires_grad=True)
    expected = inputs[0] + torch.nn.functional.embedding(torch.arange(3), inputs[1])
    np.testing.assert_array_equal(positions.learned_positions_forward(x, table), expected.detach().numpy())
    theirs = torch.autograd.grad(expected, inputs, torch.tensor(dout))
    for mine, other in zip(positions.learned_positions_backward(dout, 5), theirs, strict=True):
        np.testing.assert_allclose(mine, other.numpy(), rtol=RTOL, atol=ATOL)


def test_learned_positions_refuse_a_sequence_longer_than_the_table():
    with pytest.raises(ValueError, match="table has 2"):
        positions.learned_positions_forward(np.zeros((1, 3, 4)), np.zeros((2, 4)))


def torch_rope(x, places):
    """Each pair as a complex number, times exp(i position frequency)."""
    d_model = x.shape[-1]
    frequencies = 10000.0 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    turn = torch.polar(torch.ones(len(places), d_model // 2, dtype=torch.float64), places[:, None] * frequencies)
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turn).flatten(-2)


rope_cases = pytest.mark.parametrize(
    ("shape", "places"),
    [((2, 3, 5, 4), None), ((1, 1, 6), None), ((4, 2), None), ((2, 3, 8), [7, 0, 2.5])],
    ids=["heads", "one_position", "no_batch", "given_positions"],
)


@rope_cases
def test_rope_forward(rng, shape, places):
    x = draw(rng, *shape)
    at = torch.arange(shape[-2], dtype=torch.float64) if places is None else torch.tensor(places)
    np.testing.assert_allclose(
        positions.rope_forward(x, places), torch_rope(torch.tensor(x), at).numpy(), rtol=RTOL, atol=ATOL
    )


@rope_cases
def test_rope_backward(rng, shape, places):
    x, dout = torch.tensor(draw(rng, *shape), requires_grad=True), draw(rng, *shape)
    at = torch.arange(shape[-2], dtype=torch.float64) if places is None else torch.tensor(places)
    theirs = torch.autograd.grad(torch_rope(x, at), x, torch.tensor(dout))[0]
    np.testing.assert_allclose(positions.rope_backward(dout, places), theirs.numpy(), rtol=RTOL, atol=ATOL)


def test_rope_products_depend_on_the_distance_only_and_norms_stay(rng):
    q, k = np.tile(draw(rng, 1, 8), (6, 1)), np.tile(draw(rng, 1, 8), (6, 1))
    scores = positions.rope_forward(q) @ positions.rope_forward(k).T
    far = positions.rope_forward(q, np.arange(6) + 40) @ positions.rope_forward(k, np.arange(6) + 40).T
    np.testing.assert_allclose(far, scores, rtol=0, atol=1e-12)
    for offset in range(-5, 6):
        np.testing.assert_allclose(np.diff(np.diagonal(scores, offset)), 0.0, rtol=0, atol=1e-13)
    np.testing.assert_allclose(
        np.linalg.norm(positions.rope_forward(q), axis=-1), np.linalg.norm(q, axis=-1), rtol=1e-14
    )


def test_alibi_slopes():
    np.testing.assert_allclose(positions.alibi_slopes(8), [2.0**-h for h in range(1, 9)], rtol=0)
    np.testing.assert_allclose(positions.alibi_slopes(2), [2.0**-4, 2.0**-8], rtol=0)
    np.testing.assert_allclose(positions.alibi_slopes(1), [2.0**-8], rtol=0)
    # Three heads: those of two, then the first of four; twelve: those of eight, then every second one of sixteen.
    np.testing.assert_allclose(positions.alibi_slopes(3), [2.0**-4, 2.0**-8, 2.0**-2], rtol=0)
    np.testing.assert_allclose(positions.alibi_slopes(12)[8:], [2.0 ** -(h + 0.5) for h in range(4)], rtol=1e-15)


@pytest.mark.parametrize("causal", [True, False])
def test_alibi_bias(causal):
    bias = positions.alibi_bias(4, 5, causal)
    for head, slope in enumerate([0.25, 0.0625, 2.0**-6, 2.0**-8]):
        for query in range(5):
            for key in range(5):
                expected = -math.inf if causal and key > query else -slope * abs(query - key)
                assert bias[head, query, key] == expected


def test_positions_break_permutation_equivariance(rng):
    x, order = draw(rng, 6, 4), rng.permutation(6)
    attend = lambda tokens: attention.scaled_dot_product_attention(tokens, tokens, tokens)[0]
    encoding = positions.sinusoidal_encoding(6, 4)
    np.testing.assert_allclose(attend(x[order]), attend(x)[order], rtol=1e-12)
    assert np.abs(attend(x[order] + encoding) - attend(x + encoding)[order]).max() > 0.1
