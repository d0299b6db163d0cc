"""Right, one sample, one unit and one step at a time, and lists for answers."""

import math

import numpy as np


def rnn_step(x, h, params):
    out = []
    for xb, hb in zip(x, h, strict=True):
        row = []
        for i in range(len(params["b_ih"])):
            total = float(params["b_ih"][i]) + float(params["b_hh"][i])
            for j, value in enumerate(xb):
                total += float(params["W_ih"][i][j]) * float(value)
            for j, value in enumerate(hb):
                total += float(params["W_hh"][i][j]) * float(value)
            row.append(math.tanh(total))
        out.append(row)
    return out


def rnn_forward(x, params, h0=None):
    params = {name: np.array(value, dtype=float).tolist() for name, value in params.items()}
    x = np.array(x, dtype=float).tolist()
    H = len(params["b_hh"])
    ys, hs, starts = [], [], []
    state = [[0.0] * H for _ in x] if h0 is None else np.array(h0, dtype=float).tolist()
    starts = state
    by_time = []
    for t in range(len(x[0])):
        state = rnn_step([row[t] for row in x], state, params)
        by_time.append(state)
    for b in range(len(x)):
        hs.append([by_time[t][b] for t in range(len(x[0]))])
        ys.append([])
        for h in hs[b]:
            ys[b].append(
                [
                    sum(w * v for w, v in zip(row, h, strict=True)) + bias
                    for row, bias in zip(params["W_hy"], params["b_hy"], strict=True)
                ]
            )
    return ys, hs, {"x": x, "starts": starts, "hs": hs, "params": params}


def rnn_backward(dy, cache):
    x, hs, p = cache["x"], cache["hs"], cache["params"]
    dy = np.array(dy, dtype=float).tolist()
    B, T, D, H, O = len(x), len(x[0]), len(x[0][0]), len(p["b_hh"]), len(p["b_hy"])
    g = {
        "W_ih": [[0.0] * D for _ in range(H)],
        "W_hh": [[0.0] * H for _ in range(H)],
        "b_ih": [0.0] * H,
        "b_hh": [0.0] * H,
        "W_hy": [[0.0] * H for _ in range(O)],
        "b_hy": [0.0] * O,
    }
    dx = [[[0.0] * D for _ in range(T)] for _ in range(B)]
    dh0 = []
    for b in range(B):
        carried = [0.0] * H
        for t in range(T - 1, -1, -1):
            h = hs[b][t]
            before = hs[b][t - 1] if t else cache["starts"][b]
            dh = list(carried)
            for o in range(O):
                g["b_hy"][o] += dy[b][t][o]
                for i in range(H):
                    g["W_hy"][o][i] += dy[b][t][o] * h[i]
                    dh[i] += dy[b][t][o] * p["W_hy"][o][i]
            carried = [0.0] * H
            for i in range(H):
                da = dh[i] * (1.0 - h[i] * h[i])
                g["b_ih"][i] += da
                g["b_hh"][i] += da
                for d in range(D):
                    g["W_ih"][i][d] += da * x[b][t][d]
                    dx[b][t][d] += da * p["W_ih"][i][d]
                for j in range(H):
                    g["W_hh"][i][j] += da * before[j]
                    carried[j] += da * p["W_hh"][i][j]
        dh0.append(carried)
    return dx, dh0, g


def truncated_gradients(x, dy, params, k, h0=None):
    x, dy = np.array(x, float), np.array(dy, float)
    ys, total, state, t = [], None, h0, 0
    while t < x.shape[1]:
        y, hs, cache = rnn_forward(x[:, t : t + k], params, state)
        ys.append(y)
        state = [rows[-1] for rows in hs]
        g = {name: np.array(value) for name, value in rnn_backward(dy[:, t : t + k], cache)[2].items()}
        total = g if total is None else {name: total[name] + g[name] for name in g}
        t += k
    return np.concatenate([np.array(y) for y in ys], axis=1), total


def state_jacobians(hs, W_hh):
    hs, W = np.array(hs, float), np.array(W_hh, float)
    out = np.zeros((*hs.shape, hs.shape[2]))
    for b in range(hs.shape[0]):
        J = np.eye(hs.shape[2])
        for t in range(hs.shape[1]):
            J = np.diag(1 - hs[b, t] ** 2) @ W @ J
            out[b, t] = J
    return out


def jacobian_norms(hs, W_hh):
    return [[math.sqrt(max(np.linalg.eigvalsh(J.T @ J))) for J in sample] for sample in state_jacobians(hs, W_hh)]


def clip_gradients(grads, max_norm):
    square = 0.0
    for grad in grads.values():
        for value in np.ravel(grad):
            square += float(value) ** 2
    norm = math.sqrt(square)
    if norm <= max_norm:
        return {name: np.array(grad, float) for name, grad in grads.items()}, norm
    return {name: np.array(grad, float) * (max_norm / norm) for name, grad in grads.items()}, norm


def delay_loss(y, target, delay):
    difference = np.array(y, dtype=np.float64) - np.asarray(target, dtype=np.float64)
    difference[:, :delay] = 0.0
    count = difference[:, delay:].size
    return float(np.sum(difference**2) / count), 2.0 * difference / count


def train(params, x, target, delay, lr, n_steps, max_norm):
    params = {name: np.array(value, float) for name, value in params.items()}
    losses = []
    for _ in range(n_steps):
        y, _, cache = rnn_forward(x, params)
        loss, dy = delay_loss(y, target, delay)
        grads, _ = clip_gradients(rnn_backward(dy, cache)[2], max_norm)
        for name in params:
            params[name] = params[name] - lr * grads[name]
        losses.append(loss)
    return params, losses
