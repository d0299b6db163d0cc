"""Wrong: state_jacobians asks lists for their shape."""

import numpy as np


def rnn_step(x, h, params):
    x, h = (np.asarray(x, dtype=np.float64), np.asarray(h, dtype=np.float64))
    W_ih, W_hh, b_ih, b_hh = (np.asarray(params[k], dtype=np.float64) for k in ("W_ih", "W_hh", "b_ih", "b_hh"))
    return np.tanh(x @ W_ih.T + b_ih + h @ W_hh.T + b_hh)


def rnn_forward(x, params, h0=None):
    x = np.asarray(x, dtype=np.float64)
    params = {name: np.asarray(value, dtype=np.float64) for name, value in params.items()}
    batch, steps, _ = x.shape
    hidden = params["W_hh"].shape[0]
    states = np.zeros((batch, steps + 1, hidden))
    if h0 is not None:
        states[:, 0] = h0
    for t in range(steps):
        states[:, t + 1] = rnn_step(x[:, t], states[:, t], params)
    hs = states[:, 1:].copy()
    y = hs @ params["W_hy"].T + params["b_hy"]
    return (y, hs, (x, states, params))


def rnn_backward(dy, cache):
    x, states, params = cache
    dy = np.asarray(dy, dtype=np.float64)
    batch, steps, _ = x.shape
    grads = {name: np.zeros_like(value) for name, value in params.items()}
    dx = np.zeros_like(x)
    from_future = np.zeros((batch, states.shape[2]))
    for t in reversed(range(steps)):
        h_before, h = (states[:, t], states[:, t + 1])
        grads["W_hy"] += dy[:, t].T @ h
        grads["b_hy"] += dy[:, t].sum(axis=0)
        dh = dy[:, t] @ params["W_hy"] + from_future
        da = dh * (1.0 - h**2)
        grads["W_ih"] += da.T @ x[:, t]
        grads["W_hh"] += da.T @ h_before
        grads["b_ih"] += da.sum(axis=0)
        grads["b_hh"] += da.sum(axis=0)
        dx[:, t] = da @ params["W_ih"]
        from_future = da @ params["W_hh"]
    return (dx, from_future, grads)


def truncated_gradients(x, dy, params, k, h0=None):
    x, dy = (np.asarray(x, dtype=np.float64), np.asarray(dy, dtype=np.float64))
    outputs = []
    grads = {name: np.zeros(np.shape(value)) for name, value in params.items()}
    state = h0
    for start in range(0, x.shape[1], k):
        piece = slice(start, start + k)
        y, hs, cache = rnn_forward(x[:, piece], params, state)
        state = hs[:, -1]
        _, _, piece_grads = rnn_backward(dy[:, piece], cache)
        for name in grads:
            grads[name] += piece_grads[name]
        outputs.append(y)
    return (np.concatenate(outputs, axis=1), grads)


def state_jacobians(hs, W_hh):
    batch, steps, hidden = hs.shape
    jacobians = np.zeros((batch, steps, hidden, hidden))
    product = np.broadcast_to(np.eye(hidden), (batch, hidden, hidden))
    for t in range(steps):
        step = (1.0 - hs[:, t] ** 2)[:, :, None] * W_hh
        product = step @ product
        jacobians[:, t] = product
    return jacobians


def jacobian_norms(hs, W_hh):
    return np.linalg.norm(state_jacobians(hs, W_hh), ord=2, axis=(-2, -1))


def clip_gradients(grads, max_norm):
    grads = {name: np.array(grad, dtype=np.float64) for name, grad in grads.items()}
    norm = float(np.sqrt(sum(np.sum(grad**2) for grad in grads.values())))
    factor = max_norm / norm if norm > max_norm else 1.0
    return ({name: factor * grad for name, grad in grads.items()}, norm)


def delay_loss(y, target, delay):
    difference = np.array(y, dtype=np.float64) - np.asarray(target, dtype=np.float64)
    difference[:, :delay] = 0.0
    count = difference[:, delay:].size
    return (float(np.sum(difference**2) / count), 2.0 * difference / count)


def train(params, x, target, delay, lr, n_steps, max_norm):
    params = {name: np.array(value, dtype=np.float64) for name, value in params.items()}
    losses = []
    for _ in range(n_steps):
        y, _, cache = rnn_forward(x, params)
        loss, dy = delay_loss(y, target, delay)
        losses.append(loss)
        _, _, grads = rnn_backward(dy, cache)
        clipped, _ = clip_gradients(grads, max_norm)
        params = {name: params[name] - lr * clipped[name] for name in params}
    return (params, losses)
