"""Right, one sample and one unit at a time, with dicts for caches and lists for answers."""

import math

import numpy as np

KEYS = ("W_ih", "W_hh", "b_ih", "b_hh")


def sigmoid(x):
    return 0.5 + 0.5 * math.tanh(0.5 * x)


def parameter_count(kind, input_size, hidden_size):
    one = hidden_size * input_size + hidden_size * hidden_size + hidden_size + hidden_size
    if kind == "rnn":
        return one
    return 3 * one if kind == "gru" else 4 * one


def set_forget_bias(params, value=1.0):
    new = {name: np.array(params[name], dtype=float).tolist() for name in KEYS}
    H = len(new["W_hh"][0])
    for row in range(H, 2 * H):
        new["b_ih"][row] = value
        new["b_hh"][row] = 0.0
    return new


def plain(params):
    return {name: np.array(params[name], dtype=float).tolist() for name in KEYS}


def row_of(W, bias, vector, row):
    return bias[row] + sum(w * v for w, v in zip(W[row], vector, strict=True))


def lstm_step(x, state, params):
    p = plain(params)
    x = np.array(x, dtype=float).tolist()
    h, c = (np.array(part, dtype=float).tolist() for part in state)
    H = len(h[0])
    new_h, new_c, gates = [], [], []
    for b in range(len(x)):
        a = [row_of(p["W_ih"], p["b_ih"], x[b], k) + row_of(p["W_hh"], p["b_hh"], h[b], k) for k in range(4 * H)]
        i = [sigmoid(v) for v in a[:H]]
        f = [sigmoid(v) for v in a[H : 2 * H]]
        g = [math.tanh(v) for v in a[2 * H : 3 * H]]
        o = [sigmoid(v) for v in a[3 * H :]]
        new_c.append([f[k] * c[b][k] + i[k] * g[k] for k in range(H)])
        new_h.append([o[k] * math.tanh(new_c[b][k]) for k in range(H)])
        gates.append((i, f, g, o))
    return (new_h, new_c), {"x": x, "h": h, "c": c, "gates": gates, "new": new_c, "p": p}


def linear_back(da, x, W):
    """Gradients of x, W and the bias, for rows da."""
    dx = [[sum(row[k] * W[k][d] for k in range(len(W))) for d in range(len(W[0]))] for row in da]
    dW = [[sum(da[b][k] * x[b][d] for b in range(len(da))) for d in range(len(W[0]))] for k in range(len(W))]
    return dx, dW, [sum(row[k] for row in da) for k in range(len(W))]


def lstm_step_backward(dh, dc, cache):
    dh, dc = np.array(dh, dtype=float).tolist(), np.array(dc, dtype=float).tolist()
    da, dc_prev = [], []
    for b, (i, f, g, o) in enumerate(cache["gates"]):
        H = len(i)
        t = [math.tanh(v) for v in cache["new"][b]]
        at = [dc[b][k] + dh[b][k] * o[k] * (1 - t[k] ** 2) for k in range(H)]
        row = [at[k] * g[k] * i[k] * (1 - i[k]) for k in range(H)]
        row += [at[k] * cache["c"][b][k] * f[k] * (1 - f[k]) for k in range(H)]
        row += [at[k] * i[k] * (1 - g[k] ** 2) for k in range(H)]
        row += [dh[b][k] * t[k] * o[k] * (1 - o[k]) for k in range(H)]
        da.append(row)
        dc_prev.append([at[k] * f[k] for k in range(H)])
    dx, dW_ih, db = linear_back(da, cache["x"], cache["p"]["W_ih"])
    dh_prev, dW_hh, _ = linear_back(da, cache["h"], cache["p"]["W_hh"])
    return dx, dh_prev, dc_prev, {"W_hh": dW_hh, "W_ih": dW_ih, "b_hh": db, "b_ih": db}


def added(total, grads):
    grads = {name: np.array(grad) for name, grad in grads.items()}
    return grads if total is None else {name: total[name] + grads[name] for name in total}


def lstm_forward(x, params, state=None):
    x = np.array(x, dtype=float)
    H = np.shape(params["W_hh"])[1]
    if state is None:
        state = ([[0.0] * H for _ in x], [[0.0] * H for _ in x])
    hs, caches = np.zeros((*x.shape[:2], H)), {}
    for t in range(x.shape[1]):
        state, caches[t] = lstm_step(x[:, t], state, params)
        hs[:, t] = state[0]
    return hs, state, caches


def lstm_backward(dhs, cache, dlast=None):
    dhs = np.array(dhs, dtype=float)
    dh = dc = np.zeros(dhs[:, 0].shape)
    if dlast is not None:
        dh, dc = np.array(dlast[0], dtype=float), np.array(dlast[1], dtype=float)
    dx, total = [], None
    for t in range(dhs.shape[1] - 1, -1, -1):
        dx_t, dh, dc, grads = lstm_step_backward(dhs[:, t] + dh, dc, cache[t])
        dx.insert(0, dx_t)
        total = added(total, grads)
    return np.array(dx).transpose(1, 0, 2), [dh, dc], total


def gru_step(x, h, params):
    p = plain(params)
    x, h = np.array(x, dtype=float).tolist(), np.array(h, dtype=float).tolist()
    H = len(h[0])
    new, inner = [], []
    for b in range(len(x)):
        u = [row_of(p["W_ih"], p["b_ih"], x[b], k) for k in range(3 * H)]
        v = [row_of(p["W_hh"], p["b_hh"], h[b], k) for k in range(3 * H)]
        r = [sigmoid(u[k] + v[k]) for k in range(H)]
        z = [sigmoid(u[H + k] + v[H + k]) for k in range(H)]
        n = [math.tanh(u[2 * H + k] + r[k] * v[2 * H + k]) for k in range(H)]
        new.append([(1 - z[k]) * n[k] + z[k] * h[b][k] for k in range(H)])
        inner.append((r, z, n, v[2 * H :]))
    return new, {"x": x, "h": h, "inner": inner, "p": p}


def gru_step_backward(dh, cache):
    dh = np.array(dh, dtype=float).tolist()
    du, dv, straight = [], [], []
    for b, (r, z, n, v) in enumerate(cache["inner"]):
        H = len(r)
        h = cache["h"][b]
        dn = [dh[b][k] * (1 - z[k]) * (1 - n[k] ** 2) for k in range(H)]
        dz = [dh[b][k] * (h[k] - n[k]) * z[k] * (1 - z[k]) for k in range(H)]
        dr = [dn[k] * v[k] * r[k] * (1 - r[k]) for k in range(H)]
        du.append(dr + dz + dn)
        dv.append(dr + dz + [r[k] * dn[k] for k in range(H)])
        straight.append([dh[b][k] * z[k] for k in range(H)])
    dx, dW_ih, db_ih = linear_back(du, cache["x"], cache["p"]["W_ih"])
    dh_prev, dW_hh, db_hh = linear_back(dv, cache["h"], cache["p"]["W_hh"])
    grads = {"W_ih": dW_ih, "W_hh": dW_hh, "b_ih": db_ih, "b_hh": db_hh}
    return dx, np.array(dh_prev) + np.array(straight), grads


def gru_forward(x, params, h0=None):
    x = np.array(x, dtype=float)
    h = [[0.0] * np.shape(params["W_hh"])[1] for _ in x] if h0 is None else h0
    hs, caches = [], []
    for t in range(x.shape[1]):
        h, cache = gru_step(x[:, t], h, params)
        hs.append(h)
        caches.append(cache)
    return [[hs[t][b] for t in range(x.shape[1])] for b in range(len(x))], caches


def gru_backward(dhs, cache):
    dhs = np.array(dhs, dtype=float)
    dh, dx, total = 0.0, [], None
    for t in range(dhs.shape[1] - 1, -1, -1):
        dx_t, dh, grads = gru_step_backward(dhs[:, t] + dh, cache[t])
        dx.insert(0, dx_t)
        total = added(total, grads)
    return np.array(dx).transpose(1, 0, 2), dh, total
