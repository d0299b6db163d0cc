"""The gated recurrent unit (Cho et al. 2014) in PyTorch's form: the reset gate acts after the recurrent product."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from dlreference.arrays import Array, ArrayLike, Params, as_float, as_params
from dlreference.recurrent import (
    gate,
    input_drive,
    input_gradients,
    recurrent_parameter_count,
    start_state,
    state_gradients,
    swap_time,
)


class GruCache(NamedTuple):
    """Inputs (T, B, D); r, z, n and the recurrent part of n before the reset (T, B, H); states h (T + 1, B, H)."""

    x: Array
    r: Array
    z: Array
    n: Array
    recurrent_n: Array
    h: Array
    params: Params


def gru_parameter_count(input_size: int, hidden_size: int, biases: int = 2) -> int:
    """3 H (D + H + biases)."""
    return recurrent_parameter_count(3, input_size, hidden_size, biases)


def gru_forward(
    x: ArrayLike, params: Mapping[str, ArrayLike], h0: ArrayLike | None = None
) -> tuple[Array, Array, GruCache]:
    """With u = x W_ih^T + b_ih and v = h W_hh^T + b_hh, each cut into thirds r, z, n:

    r = sigmoid(u_r + v_r), z = sigmoid(u_z + v_z), n = tanh(u_n + r v_n), h' = (1 - z) n + z h.
    x (B, T, D), W_ih (3H, D), W_hh (3H, H), b_ih and b_hh (3H,), h0 (B, H), zeros unless given.
    Returns all states (B, T, H), the last one (B, H), and the cache.
    """
    params = as_params(params)
    x_by_time = swap_time(as_float(x))
    drive = input_drive(x_by_time, params)
    steps, batch, hidden = drive.shape[0], drive.shape[1], params["W_hh"].shape[1]
    r, z, n, recurrent_n, h = (np.empty((count, batch, hidden)) for count in (steps, steps, steps, steps, steps + 1))
    h[0] = start_state(h0, batch, hidden)
    for t in range(steps):
        recurrent = h[t] @ params["W_hh"].T + params["b_hh"]
        r_and_z = gate(drive[t, :, : 2 * hidden] + recurrent[:, : 2 * hidden])
        r[t], z[t] = r_and_z[:, :hidden], r_and_z[:, hidden:]
        recurrent_n[t] = recurrent[:, 2 * hidden :]
        np.tanh(drive[t, :, 2 * hidden :] + r[t] * recurrent_n[t], out=n[t])
        h[t + 1] = n[t] + z[t] * (h[t] - n[t])
    return swap_time(h[1:]), h[-1].copy(), GruCache(x_by_time, r, z, n, recurrent_n, h, params)


def gru_backward(dhs: ArrayLike, cache: GruCache, dh_last: ArrayLike | None = None) -> tuple[Array, Array, Params]:
    """Back-propagation through time: dhs (B, T, H) at every state, dh_last (B, H) a further one at the last.

    Returns dx (B, T, D), dh0 (B, H) and the dict of parameter gradients.
    """
    x_by_time, r, z, n, recurrent_n, h, params = cache
    dh_by_time = swap_time(as_float(dhs))
    steps, batch, hidden = dh_by_time.shape
    # Gradients before each gate's function: these factors times dh for z and n, times dn for r; known before the loop.
    z_per_dh = (h[:-1] - n) * z * (1.0 - z)
    n_per_dh = (1.0 - z) * (1.0 - n**2)
    r_per_dn = recurrent_n * r * (1.0 - r)
    by_input, by_state = np.empty((2, steps, batch, 3, hidden))
    carried = start_state(dh_last, batch, hidden)
    for t in reversed(range(steps)):
        dh = dh_by_time[t] + carried
        dn = dh * n_per_dh[t]
        by_state[t, :, 0] = dn * r_per_dn[t]
        by_state[t, :, 1] = dh * z_per_dh[t]
        by_state[t, :, 2] = dn * r[t]
        by_input[t, :, 2] = dn
        carried = dh * z[t] + by_state[t].reshape(batch, -1) @ params["W_hh"]
    by_input[:, :, :2] = by_state[:, :, :2]
    dx, grads = input_gradients(by_input.reshape(steps, batch, -1), x_by_time, params)
    return dx, carried, grads | state_gradients(by_state.reshape(steps, batch, -1), h[:-1])


def gru_step_forward(x: ArrayLike, h: ArrayLike, params: Mapping[str, ArrayLike]) -> tuple[Array, GruCache]:
    """One step: x (B, D), h (B, H) -> the next state (B, H), and the cache."""
    _, h_next, cache = gru_forward(as_float(x)[:, None], params, h)
    return h_next, cache


def gru_step_backward(dh: ArrayLike, cache: GruCache) -> tuple[Array, Array, Params]:
    """Gradients of one step for dh (B, H): dx (B, D), the previous state's (B, H), the parameters'."""
    dh = as_float(dh)
    dx, dprevious, grads = gru_backward(dh[:, None], cache)
    return dx[:, 0], dprevious, grads
