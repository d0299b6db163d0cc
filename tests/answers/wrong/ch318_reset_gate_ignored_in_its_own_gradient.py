"""Wrong: the reset gate gets no gradient, as if it were a constant."""

import numpy as np


def sigmoid(x):
    return np.exp(-np.logaddexp(0.0, -np.asarray(x, float)))


def parameter_count(kind, input_size, hidden_size):
    return {"r": 1, "g": 3, "l": 4}[kind[0]] * (hidden_size * (input_size + hidden_size) + 2 * hidden_size)


def set_forget_bias(params, value=1.0):
    H = np.shape(params["W_hh"])[1]
    forget = np.arange(4 * H) // H == 1
    return {
        **{name: np.array(params[name], float) for name in ("W_ih", "W_hh")},
        "b_ih": np.where(forget, value, params["b_ih"]),
        "b_hh": np.where(forget, 0.0, params["b_hh"]),
    }


def by_gate(params, gates):
    """Every parameter with an axis for the gates in front."""
    return {name: np.array(v, float).reshape(gates, -1, *np.shape(v)[1:]) for name, v in params.items()}


def flat_sums(du, dv, x, h):
    """Gradients for du, dv (T, B, G, H) with inputs and states (T, B, ...)."""
    rows = du.shape[2] * du.shape[3]
    return {
        "W_ih": np.einsum("tbgh,tbd->ghd", du, x).reshape(rows, -1),
        "W_hh": np.einsum("tbgh,tbk->ghk", dv, h).reshape(rows, -1),
        "b_ih": du.sum(axis=(0, 1)).ravel(),
        "b_hh": dv.sum(axis=(0, 1)).ravel(),
    }


def lstm_forward(x, params, state=None):
    x = np.moveaxis(np.array(x, float), 1, 0)
    p = by_gate(params, 4)
    H = p["W_hh"].shape[-1]
    h, c = np.zeros((2, x.shape[1], H)) if state is None else (np.array(s, float) for s in state)
    drive = np.einsum("tbd,ghd->tgbh", x, p["W_ih"]) + (p["b_ih"] + p["b_hh"])[:, None]
    hs, cs, gates = [h], [c], []
    for a in drive:
        a = a + np.einsum("bk,ghk->gbh", h, p["W_hh"])
        s = sigmoid(a)
        s[2] = np.tanh(a[2])
        c = s[1] * c + s[0] * s[2]
        h = s[3] * np.tanh(c)
        hs.append(h)
        cs.append(c)
        gates.append(s)
    hs, cs = np.array(hs), np.array(cs)
    return np.moveaxis(hs[1:], 0, 1), (h, c), (x, hs, cs, np.array(gates), p)


def lstm_backward(dhs, cache, dlast=None):
    x, hs, cs, gates, p = cache
    dhs = np.moveaxis(np.array(dhs, float), 1, 0)
    dh, dc = np.zeros((2, *dhs.shape[1:])) if dlast is None else (np.array(d, float) for d in dlast)
    da = np.zeros((len(dhs), dhs.shape[1], 4, dhs.shape[2]))
    for t in range(len(dhs) - 1, -1, -1):
        i, f, g, o = gates[t]
        dh = dh + dhs[t]
        tanh_c = np.tanh(cs[t + 1])
        dc = dc + dh * o / np.cosh(np.clip(cs[t + 1], -300, 300)) ** 2
        da[t, :, 0] = dc * g * i * (1 - i)
        da[t, :, 1] = dc * cs[t] * f * (1 - f)
        da[t, :, 2] = dc * i * (1 - g) * (1 + g)
        da[t, :, 3] = dh * tanh_c * o * (1 - o)
        dh = np.einsum("bgh,ghk->bk", da[t], p["W_hh"])
        dc = dc * f
    return np.einsum("tbgh,ghd->btd", da, p["W_ih"]), (dh, dc), flat_sums(da, da, x, hs[:-1])


def lstm_step(x, state, params):
    _, state, cache = lstm_forward(np.array(x, float)[:, None], params, state)
    return state, cache


def lstm_step_backward(dh, dc, cache):
    dx, (dh_prev, dc_prev), grads = lstm_backward(np.array(dh, float)[:, None], cache, (0.0 * np.array(dh), dc))
    return dx[:, 0], dh_prev, dc_prev, grads


def gru_forward(x, params, h0=None):
    x = np.moveaxis(np.array(x, float), 1, 0)
    p = by_gate(params, 3)
    h = np.zeros((x.shape[1], p["W_hh"].shape[-1])) if h0 is None else np.array(h0, float)
    hs, kept = [h], []
    for now in x:
        u = np.einsum("bd,ghd->gbh", now, p["W_ih"]) + p["b_ih"][:, None]
        v = np.einsum("bk,ghk->gbh", h, p["W_hh"]) + p["b_hh"][:, None]
        r, z = sigmoid(u[:2] + v[:2])
        n = np.tanh(u[2] + r * v[2])
        h = n + z * (h - n)
        hs.append(h)
        kept.append((r, z, n, v[2]))
    return np.stack(hs[1:], axis=1), {"x": x, "hs": hs, "kept": kept, "p": p}


def gru_backward(dhs, cache):
    x, hs, p = cache["x"], np.array(cache["hs"]), cache["p"]
    dhs = np.moveaxis(np.array(dhs, float), 1, 0)
    du = np.zeros((len(dhs), dhs.shape[1], 3, dhs.shape[2]))
    dv = du.copy()
    dh = np.zeros_like(dhs[0])
    for t in range(len(dhs) - 1, -1, -1):
        r, z, n, _ = cache["kept"][t]
        dh = dh + dhs[t]
        dn = dh * (1 - z) * (1 - n**2)
        du[t, :, 0] = dv[t, :, 0] = 0.0
        du[t, :, 1] = dv[t, :, 1] = dh * (hs[t] - n) * z * (1 - z)
        du[t, :, 2], dv[t, :, 2] = dn, r * dn
        dh = dh * z + np.einsum("bgh,ghk->bk", dv[t], p["W_hh"])
    return np.einsum("tbgh,ghd->btd", du, p["W_ih"]), dh, flat_sums(du, dv, x, hs[:-1])


def gru_step(x, h, params):
    hs, cache = gru_forward(np.array(x, float)[:, None], params, h)
    return hs[:, 0], cache


def gru_step_backward(dh, cache):
    dx, dh_prev, grads = gru_backward(np.array(dh, float)[:, None], cache)
    return dx[:, 0], dh_prev, grads
