"""The LSTM (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000), forward and backward."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from dlreference.arrays import Array, ArrayLike, Params, as_float, as_params
from dlreference.recurrent import (
    init_recurrent,
    input_drive,
    input_gradients,
    recurrent_parameter_count,
    start_state,
    state_gradients,
    swap_time,
)

State = tuple[Array, Array]


class LstmCache(NamedTuple):
    """Inputs (T, B, D), gates (T, B, 4, H) after their functions, states h and c (T + 1, B, H), tanh(c) (T, B, H)."""

    x: Array
    gates: Array
    h: Array
    c: Array
    tanh_c: Array
    params: Params


def init_lstm(rng: np.random.Generator, input_size: int, hidden_size: int, forget_bias: float = 1.0) -> Params:
    """Parameters uniform in +-1/sqrt(H), then `set_forget_bias`."""
    return set_forget_bias(init_recurrent(rng, input_size, hidden_size, gates=4), forget_bias)


def set_forget_bias(params: Mapping[str, ArrayLike], value: float = 1.0) -> Params:
    """A copy whose forget gate has the bias `value` in all: b_ih[H:2H] = value and b_hh[H:2H] = 0."""
    changed = {name: array.copy() for name, array in as_params(params).items()}
    hidden = changed["W_hh"].shape[1]
    changed["b_ih"][hidden : 2 * hidden] = value
    changed["b_hh"][hidden : 2 * hidden] = 0.0
    return changed


def lstm_parameter_count(input_size: int, hidden_size: int, biases: int = 2) -> int:
    """4 H (D + H + biases)."""
    return recurrent_parameter_count(4, input_size, hidden_size, biases)


def lstm_forward(
    x: ArrayLike, params: Mapping[str, ArrayLike], state: tuple[ArrayLike, ArrayLike] | None = None
) -> tuple[Array, State, LstmCache]:
    """i, f, o = sigmoid and g = tanh of x W_ih^T + b_ih + h W_hh^T + b_hh; then c' = f c + i g and h' = o tanh(c').

    x (B, T, D), W_ih (4H, D), W_hh (4H, H), b_ih and b_hh (4H,), rows in the order i, f, g, o; state (h, c), each
    (B, H), zeros unless given. Returns all h (B, T, H), the last state (h, c), and the cache.
    """
    params = as_params(params)
    x_by_time = swap_time(as_float(x))
    gates = input_drive(x_by_time, params) + params["b_hh"]
    steps, batch, hidden = gates.shape[0], gates.shape[1], params["W_hh"].shape[1]
    h, c, tanh_c = (np.empty((n, batch, hidden)) for n in (steps + 1, steps + 1, steps))
    h_start, c_start = (None, None) if state is None else state
    h[0], c[0] = start_state(h_start, batch, hidden), start_state(c_start, batch, hidden)
    # sigmoid(z) = (1 + tanh(z / 2)) / 2: with half a scale and half an offset one tanh serves all four gates.
    scale = np.repeat([0.5, 0.5, 1.0, 0.5], hidden)
    offset = 1.0 - scale
    for t in range(steps):
        z = gates[t]
        z += h[t] @ params["W_hh"].T
        z *= scale
        np.tanh(z, out=z)
        z *= scale
        z += offset
        i, f, g, o = z.reshape(batch, 4, hidden).swapaxes(0, 1)
        c[t + 1] = f * c[t] + i * g
        np.tanh(c[t + 1], out=tanh_c[t])
        np.multiply(o, tanh_c[t], out=h[t + 1])
    cache = LstmCache(x_by_time, gates.reshape(steps, batch, 4, hidden), h, c, tanh_c, params)
    return swap_time(h[1:]), (h[-1].copy(), c[-1].copy()), cache


def lstm_backward(
    dhs: ArrayLike,
    cache: LstmCache,
    dstate: tuple[ArrayLike, ArrayLike] | None = None,
    dcs: ArrayLike | None = None,
) -> tuple[Array, State, Params]:
    """Back-propagation through time.

    dhs (B, T, H): gradient at every h from outside; dstate (dh, dc), each (B, H): a further one at the last state;
    dcs (B, T, H): gradient at every c from outside (both zeros unless given).
    Returns dx (B, T, D), the gradient of the start state (dh0, dc0), and the dict of parameter gradients.
    """
    x_by_time, gates, h, c, tanh_c, params = cache
    dh_by_time = swap_time(as_float(dhs))
    dc_by_time = None if dcs is None else swap_time(as_float(dcs))
    steps, batch, hidden = dh_by_time.shape
    i, f, g, o = np.moveaxis(gates, 2, 0)
    # d(before the gate's function) = slope * dc for i, f and g, and slope * dh for o: all known before the loop.
    slope = np.empty_like(gates)
    slope[:, :, 0] = g * i * (1.0 - i)
    slope[:, :, 1] = c[:-1] * f * (1.0 - f)
    slope[:, :, 2] = i * (1.0 - g**2)
    slope[:, :, 3] = tanh_c * o * (1.0 - o)
    dc_per_dh = o * (1.0 - tanh_c**2)
    dgates = np.empty_like(gates)
    dh_start, dc_start = (None, None) if dstate is None else dstate
    dh_carried, dc_carried = start_state(dh_start, batch, hidden), start_state(dc_start, batch, hidden)
    for t in reversed(range(steps)):
        dh = dh_by_time[t] + dh_carried
        dc = dc_carried + dh * dc_per_dh[t]
        if dc_by_time is not None:
            dc += dc_by_time[t]
        np.multiply(slope[t, :, :3], dc[:, None], out=dgates[t, :, :3])
        np.multiply(slope[t, :, 3], dh, out=dgates[t, :, 3])
        dc_carried = dc * f[t]
        dh_carried = dgates[t].reshape(batch, -1) @ params["W_hh"]
    flat = dgates.reshape(steps, batch, -1)
    dx, grads = input_gradients(flat, x_by_time, params)
    return dx, (dh_carried, dc_carried), grads | state_gradients(flat, h[:-1])


def lstm_step_forward(
    x: ArrayLike, state: tuple[ArrayLike, ArrayLike], params: Mapping[str, ArrayLike]
) -> tuple[State, LstmCache]:
    """One step: x (B, D) and the state (h, c), each (B, H) -> the next state, and the cache."""
    _, next_state, cache = lstm_forward(as_float(x)[:, None], params, state)
    return next_state, cache


def lstm_step_backward(dstate: tuple[ArrayLike, ArrayLike], cache: LstmCache) -> tuple[Array, State, Params]:
    """Gradients of one step for dstate = (dh, dc), each (B, H): dx (B, D), the previous state's, the parameters'."""
    dx, dprevious, grads = lstm_backward(np.zeros_like(swap_time(cache.h[1:])), cache, dstate)
    return dx[:, 0], dprevious, grads
