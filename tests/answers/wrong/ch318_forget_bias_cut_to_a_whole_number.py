"""Wrong: a bias of a half is written into an array of whole numbers."""

import numpy as np


def sigmoid(x):
    return 0.5 + 0.5 * np.tanh(0.5 * np.asarray(x, dtype=np.float64))


def parameter_count(kind, input_size, hidden_size):
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[kind]
    return gates * hidden_size * (input_size + hidden_size + 2)


def set_forget_bias(params, value=1.0):
    new = {name: np.array(array) for name, array in params.items()}
    hidden = new["W_hh"].shape[1]
    new["b_ih"][hidden : 2 * hidden] = value
    new["b_hh"][hidden : 2 * hidden] = 0.0
    return new


def lstm_step(x, state, params):
    x = np.asarray(x, dtype=np.float64)
    h, c = (np.asarray(part, dtype=np.float64) for part in state)
    params = {name: np.asarray(array, dtype=np.float64) for name, array in params.items()}
    a = x @ params["W_ih"].T + params["b_ih"] + h @ params["W_hh"].T + params["b_hh"]
    a_i, a_f, a_g, a_o = np.split(a, 4, axis=1)
    i, f, g, o = (sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o))
    c_new = f * c + i * g
    tanh_c = np.tanh(c_new)
    return ((o * tanh_c, c_new), (x, h, c, i, f, g, o, tanh_c, params))


def lstm_step_backward(dh, dc, cache):
    x, h, c, i, f, g, o, tanh_c, params = cache
    dh, dc = (np.asarray(dh, dtype=np.float64), np.asarray(dc, dtype=np.float64))
    dc_total = dc + dh * o * (1.0 - tanh_c**2)
    da = np.concatenate(
        [
            dc_total * g * i * (1.0 - i),
            dc_total * c * f * (1.0 - f),
            dc_total * i * (1.0 - g**2),
            dh * tanh_c * o * (1.0 - o),
        ],
        axis=1,
    )
    bias = da.sum(axis=0)
    grads = {"W_ih": da.T @ x, "W_hh": da.T @ h, "b_ih": bias, "b_hh": bias.copy()}
    return (da @ params["W_ih"], da @ params["W_hh"], dc_total * f, grads)


def lstm_forward(x, params, state=None):
    x = np.asarray(x, dtype=np.float64)
    if state is None:
        hidden = np.shape(params["W_hh"])[1]
        state = (np.zeros((len(x), hidden)), np.zeros((len(x), hidden)))
    hs, caches = ([], [])
    for t in range(x.shape[1]):
        state, cache = lstm_step(x[:, t], state, params)
        hs.append(state[0])
        caches.append(cache)
    return (np.stack(hs, axis=1), state, caches)


def lstm_backward(dhs, cache, dlast=None):
    dhs = np.asarray(dhs, dtype=np.float64)
    dh, dc = (np.zeros_like(dhs[:, 0]),) * 2 if dlast is None else dlast
    dx, total = ([], None)
    for t in reversed(range(dhs.shape[1])):
        dx_t, dh, dc, grads = lstm_step_backward(dhs[:, t] + dh, dc, cache[t])
        dx.append(dx_t)
        total = grads if total is None else {name: total[name] + grads[name] for name in total}
    return (np.stack(dx[::-1], axis=1), (dh, dc), total)


def gru_step(x, h, params):
    x, h = (np.asarray(x, dtype=np.float64), np.asarray(h, dtype=np.float64))
    params = {name: np.asarray(array, dtype=np.float64) for name, array in params.items()}
    u_r, u_z, u_n = np.split(x @ params["W_ih"].T + params["b_ih"], 3, axis=1)
    v_r, v_z, v_n = np.split(h @ params["W_hh"].T + params["b_hh"], 3, axis=1)
    r, z = (sigmoid(u_r + v_r), sigmoid(u_z + v_z))
    n = np.tanh(u_n + r * v_n)
    return ((1.0 - z) * n + z * h, (x, h, r, z, n, v_n, params))


def gru_step_backward(dh, cache):
    x, h, r, z, n, v_n, params = cache
    dh = np.asarray(dh, dtype=np.float64)
    da_n = dh * (1.0 - z) * (1.0 - n**2)
    da_z = dh * (h - n) * z * (1.0 - z)
    da_r = da_n * v_n * r * (1.0 - r)
    du = np.concatenate([da_r, da_z, da_n], axis=1)
    dv = np.concatenate([da_r, da_z, r * da_n], axis=1)
    grads = {"W_ih": du.T @ x, "W_hh": dv.T @ h, "b_ih": du.sum(axis=0), "b_hh": dv.sum(axis=0)}
    return (du @ params["W_ih"], dv @ params["W_hh"] + dh * z, grads)


def gru_forward(x, params, h0=None):
    x = np.asarray(x, dtype=np.float64)
    h = np.zeros((len(x), np.shape(params["W_hh"])[1])) if h0 is None else h0
    hs, caches = ([], [])
    for t in range(x.shape[1]):
        h, cache = gru_step(x[:, t], h, params)
        hs.append(h)
        caches.append(cache)
    return (np.stack(hs, axis=1), caches)


def gru_backward(dhs, cache):
    dhs = np.asarray(dhs, dtype=np.float64)
    from_future = np.zeros_like(dhs[:, 0])
    dx, total = ([], None)
    for t in reversed(range(dhs.shape[1])):
        dx_t, from_future, grads = gru_step_backward(dhs[:, t] + from_future, cache[t])
        dx.append(dx_t)
        total = grads if total is None else {name: total[name] + grads[name] for name in total}
    return (np.stack(dx[::-1], axis=1), from_future, total)
