"""The vanilla recurrent network: forward, back-propagation through time (whole or truncated), and its Jacobians."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from dlreference.arrays import Array, ArrayLike, Params, as_float, as_params
from dlreference.linear import LinearCache, linear_backward, linear_forward
from dlreference.recurrent import input_drive, input_gradients, start_state, state_gradients, swap_time


class RnnCache(NamedTuple):
    """Inputs (T, B, D), states h_0 ... h_T (T + 1, B, H) and the parameters."""

    x: Array
    h: Array
    params: Params


def rnn_forward(
    x: ArrayLike, params: Mapping[str, ArrayLike], h0: ArrayLike | None = None
) -> tuple[Array, Array, RnnCache]:
    """h_t = tanh(x_t W_ih^T + b_ih + h_{t-1} W_hh^T + b_hh) for t = 1 ... T (Elman 1990).

    x (B, T, D), W_ih (H, D), W_hh (H, H), b_ih and b_hh (H,), h0 (B, H), zeros unless given.
    Returns all states h_1 ... h_T (B, T, H), the last one (B, H), and the cache.
    """
    params = as_params(params)
    x_by_time = swap_time(as_float(x))
    drive = input_drive(x_by_time, params) + params["b_hh"]
    steps, batch, hidden = drive.shape
    h = np.empty((steps + 1, batch, hidden))
    h[0] = start_state(h0, batch, hidden)
    for t in range(steps):
        np.tanh(drive[t] + h[t] @ params["W_hh"].T, out=h[t + 1])
    return swap_time(h[1:]), h[-1].copy(), RnnCache(x_by_time, h, params)


def rnn_backward(
    dhs: ArrayLike, cache: RnnCache, dh_last: ArrayLike | None = None, truncate: int | None = None
) -> tuple[Array, Array, Params]:
    """Back-propagation through time (Werbos 1990).

    With g_t the whole gradient at h_t: g_t = dhs_t + W_hh^T a_{t+1} and a_t = (1 - h_t^2) g_t; the gradients of W_ih
    and W_hh are the sums over t of a_t x_t^T and a_t h_{t-1}^T.
    dhs (B, T, H) is the gradient at every state from outside, dh_last (B, H) a further one at h_T (zeros unless given).
    truncate=k cuts the sequence into pieces of k steps from the left: states are carried on, gradients stop at a cut.
    Returns dx (B, T, D), dh0 (B, H; zeros when a cut lies behind it) and the dict of parameter gradients.
    """
    x_by_time, h, params = cache
    dh_by_time = swap_time(as_float(dhs))
    steps, batch, hidden = dh_by_time.shape
    slope = 1.0 - h[1:] ** 2
    da = np.empty_like(dh_by_time)
    carried = start_state(dh_last, batch, hidden)
    for t in reversed(range(steps)):
        da[t] = slope[t] * (dh_by_time[t] + carried)
        carried = da[t] @ params["W_hh"]
        if truncate is not None and t > 0 and t % truncate == 0:
            carried = np.zeros_like(carried)
    dx, grads = input_gradients(da, x_by_time, params)
    return dx, carried, grads | state_gradients(da, h[:-1])


def rnn_step(x: ArrayLike, h: ArrayLike, params: Mapping[str, ArrayLike]) -> Array:
    """One step: x (B, D), h (B, H) -> the next state (B, H)."""
    return rnn_forward(as_float(x)[:, None], params, h)[1]


def rnn_readout_forward(
    x: ArrayLike, params: Mapping[str, ArrayLike], h0: ArrayLike | None = None
) -> tuple[Array, Array, tuple[RnnCache, LinearCache]]:
    """An RNN with a linear output at every step, y_t = h_t W_hy^T + b_hy.

    Parameters of `rnn_forward` and W_hy (O, H), b_hy (O,). Returns y (B, T, O), the last state (B, H) and the cache.
    """
    hs, h_last, rnn_cache = rnn_forward(x, params, h0)
    y, readout_cache = linear_forward(hs, params["W_hy"], params["b_hy"])
    return y, h_last, (rnn_cache, readout_cache)


def rnn_readout_backward(
    dy: ArrayLike, cache: tuple[RnnCache, LinearCache], truncate: int | None = None
) -> tuple[Array, Array, Params]:
    """Gradients (dx, dh0, dict of all six parameters) for dy (B, T, O); truncate as in `rnn_backward`."""
    rnn_cache, readout_cache = cache
    dhs, d_w_hy, d_b_hy = linear_backward(dy, readout_cache)
    dx, dh0, grads = rnn_backward(dhs, rnn_cache, truncate=truncate)
    return dx, dh0, grads | {"W_hy": d_w_hy, "b_hy": d_b_hy}


def step_jacobians(hs: ArrayLike, w_hh: ArrayLike) -> Array:
    """dh_t / dh_{t-1} = diag(1 - h_t^2) W_hh of every step: hs (B, T, H) = h_1 ... h_T -> (B, T, H, H)."""
    return (1.0 - as_float(hs) ** 2)[..., None] * as_float(w_hh)


def state_jacobians(hs: ArrayLike, w_hh: ArrayLike) -> Array:
    """dh_t / dh_0 for t = 1 ... T, the products J_t ... J_1, newest factor on the left: (B, T, H) -> (B, T, H, H)."""
    products = step_jacobians(hs, w_hh).copy()
    for t in range(1, products.shape[1]):
        products[:, t] = products[:, t] @ products[:, t - 1]
    return products


def state_jacobian_norms(hs: ArrayLike, w_hh: ArrayLike) -> Array:
    """Spectral norm of dh_t / dh_0 for t = 1 ... T: hs (B, T, H) -> (B, T)."""
    return np.linalg.norm(state_jacobians(hs, w_hh), ord=2, axis=(-2, -1))
