"""What RNN, LSTM and GRU share: parameters, the input's share of the gates, and the gradients of the two matrices.

A network with G gates of H units keeps W_ih (G H, D), W_hh (G H, H), b_ih (G H,) and b_hh (G H,), as PyTorch does.
Inside a sequence time is the first axis, so that one step is one contiguous slice.
"""

import math

import numpy as np

from dlreference.arrays import Array, ArrayLike, Params, as_float

RECURRENT_KEYS = ("W_ih", "W_hh", "b_ih", "b_hh")


def init_recurrent(rng: np.random.Generator, input_size: int, hidden_size: int, gates: int = 1) -> Params:
    """Parameters of a layer, each uniform in +-1/sqrt(hidden_size), drawn in the order W_ih, W_hh, b_ih, b_hh."""
    rows, bound = gates * hidden_size, 1.0 / math.sqrt(hidden_size)
    shapes = ((rows, input_size), (rows, hidden_size), (rows,), (rows,))
    return {key: rng.uniform(-bound, bound, shape) for key, shape in zip(RECURRENT_KEYS, shapes, strict=True)}


def recurrent_parameter_count(gates: int, input_size: int, hidden_size: int, biases: int = 2) -> int:
    """gates H (D + H + biases): 1 gate for the RNN, 3 for the GRU, 4 for the LSTM; textbooks often count one bias."""
    return gates * hidden_size * (input_size + hidden_size + biases)


def swap_time(x: Array) -> Array:
    """(B, T, ...) -> (T, B, ...) and back, as a contiguous array."""
    return np.ascontiguousarray(np.swapaxes(x, 0, 1))


def start_state(state: ArrayLike | None, batch: int, hidden_size: int) -> Array:
    """The given state (B, H), or zeros."""
    return np.zeros((batch, hidden_size)) if state is None else as_float(state)


def input_drive(x_by_time: Array, params: Params) -> Array:
    """x W_ih^T + b_ih of all steps in one product: (T, B, D) -> (T, B, G H)."""
    steps, batch, features = x_by_time.shape
    return (x_by_time.reshape(-1, features) @ params["W_ih"].T + params["b_ih"]).reshape(steps, batch, -1)


def input_gradients(dgates: Array, x_by_time: Array, params: Params) -> tuple[Array, Params]:
    """Gradients through `input_drive`: dgates (T, B, G H) -> dx (B, T, D), and the dict of W_ih and b_ih."""
    flat = dgates.reshape(-1, dgates.shape[-1])
    dx = (flat @ params["W_ih"]).reshape(x_by_time.shape)
    return swap_time(dx), {"W_ih": flat.T @ x_by_time.reshape(len(flat), -1), "b_ih": flat.sum(axis=0)}


def state_gradients(dgates: Array, h_before: Array) -> Params:
    """Gradients of W_hh and b_hh, summed over time: dgates (T, B, G H), h_before (T, B, H) the states entering."""
    flat = dgates.reshape(-1, dgates.shape[-1])
    return {"W_hh": flat.T @ h_before.reshape(len(flat), -1), "b_hh": flat.sum(axis=0)}


def gate(z: Array) -> Array:
    """The logistic sigmoid as (1 + tanh(z / 2)) / 2.

    One call instead of a case distinction by sign, which a loop over time would feel; the absolute error is a
    rounding.
    """
    return 0.5 + 0.5 * np.tanh(0.5 * z)
