"""Wrong: the shards are put together, and one worker computes the gradients of all rows."""

import math
import struct

import numpy as np


def training_memory(n_params, devices=1, stage=0):
    if stage < 0 or stage > 3:
        raise ValueError(stage)
    weights = gradients = 2 * n_params
    optimizer = (4 + 4 + 4) * n_params
    if stage >= 1:
        optimizer = optimizer / devices
    if stage >= 2:
        gradients = gradients / devices
    if stage == 3:
        weights = weights / devices
    return {
        "total": weights + gradients + optimizer,
        "optimizer": optimizer,
        "gradients": gradients,
        "weights": weights,
    }


def activation_memory(layers, batch, length, d_model, heads):
    one = 0
    for _ in range(layers):
        one += 34 * batch * length * d_model
        one += 5 * batch * heads * length**2
    return one


def devices_needed(total_bytes, device_gb):
    devices = 0
    while devices * device_gb * 1e9 < total_bytes:
        devices += 1
    return devices


def combine_gradients(grads, sizes):
    rows = 0
    sums = {}
    for grad, size in zip(grads, sizes, strict=True):
        rows += size
        for key in grad:
            sums[key] = sums.get(key, 0.0) + size * np.asarray(grad[key], dtype=np.float64)
    return {key: sums[key] / rows for key in sums}


def data_parallel_step(gradients, params, shards, lr):
    X, y = (np.concatenate([np.asarray(shard[i]) for shard in shards]) for i in (0, 1))
    mean = gradients(params, X, y)
    new = {}
    for key in params:
        new[key] = np.array(params[key], dtype=np.float64)
        new[key] -= lr * mean[key]
    return new


def accumulated_gradients(gradients, params, X, y, micro_batch):
    total = None
    start = 0
    while start < len(X):
        stop = min(start + micro_batch, len(X))
        grads = gradients(params, X[start:stop], y[start:stop])
        part = {key: (stop - start) / len(X) * np.asarray(grads[key]) for key in grads}
        total = part if total is None else {key: total[key] + part[key] for key in part}
        start = stop
    return total


def _cut(n, workers):
    base, more = divmod(n, workers)
    spans, start = [], 0
    for k in range(workers):
        stop = start + base + (1 if k < more else 0)
        spans.append(range(start, stop))
        start = stop
    return spans


def _rounds(values, first, add):
    held = [[float(number) for number in row] for row in values]
    workers = len(held)
    spans = _cut(len(held[0]), workers)
    for r in range(workers - 1):
        letters = []
        for k in range(workers):
            chunk = (k + first - r) % workers
            letters.append((chunk, [held[k][i] for i in spans[chunk]]))
        for k in range(workers):
            chunk, letter = letters[k - 1]
            for i, number in zip(spans[chunk], letter, strict=True):
                held[k][i] = held[k][i] + number if add else number
    return held


def reduce_scatter(values):
    return _rounds(values, 0, True)


def all_gather(held):
    return _rounds(held, 1, False)


def ring_all_reduce(values):
    workers, n = len(values), len(values[0])
    lengths = [len(span) for span in _cut(n, workers)]
    # Every worker skips one chunk in each half: k + 1 in the first, k + 2 in the second.
    sent = [2 * n - lengths[(k + 1) % workers] - lengths[(k + 2) % workers] for k in range(workers)]
    return all_gather(reduce_scatter(values)), sent


def ring_traffic(size, workers):
    sent = 0.0
    for _ in range(2 * (workers - 1)):
        sent += size / workers
    return sent


def speed_up(compute_s, gradient_bytes, workers, bytes_per_s):
    return 1 / (1 / workers + ring_traffic(gradient_bytes, workers) / bytes_per_s / compute_s)


def _half(number):
    if abs(number) >= 65520:
        return math.copysign(math.inf, number)
    return struct.unpack("e", struct.pack("e", number))[0]


def to_half(x):
    if np.ndim(x) == 0:
        return _half(float(x))
    return [to_half(item) for item in x]


def update_scale(state, overflow, growth_interval=2000):
    new = dict(state)
    if overflow:
        new["scale"], new["good_steps"] = 0.5 * new["scale"], 0
    else:
        new["good_steps"] += 1
        if new["good_steps"] >= growth_interval:
            new["scale"], new["good_steps"] = 2.0 * new["scale"], 0
    return new


def scaled_step(params, scaled_grads, state, lr, max_norm=None, growth_interval=2000):
    new = {key: np.array(params[key], dtype=np.float64) for key in params}
    square = 0.0
    for key in scaled_grads:
        for number in np.ravel(scaled_grads[key]):
            if math.isnan(number) or math.isinf(number):
                return new, update_scale(state, True, growth_interval), True
            square += (float(number) / state["scale"]) ** 2
    shrink = 1.0
    if max_norm is not None and math.sqrt(square) > max_norm:
        shrink = max_norm / math.sqrt(square)
    for key in new:
        new[key] = new[key] - lr * shrink / state["scale"] * np.asarray(scaled_grads[key])
    return new, update_scale(state, False, growth_interval), False


def train_scaled(scaled_gradients, params, state, lr, steps, growth_interval=2000):
    scales = []
    while len(scales) < steps:
        scales.append(state["scale"])
        params, state, _ = scaled_step(
            params, scaled_gradients(params, state["scale"]), state, lr, growth_interval=growth_interval
        )
    return params, scales


def checkpointed_gradients(forward, backward, params, X, dout, segment):
    depth = len(params) // 2
    grads = {}

    def down(start, a):
        """The gradient at `a`, the input of layer start + 1, by recursion over the segments."""
        stop = min(start + segment, depth)
        if stop < depth:
            out = a
            for n in range(start + 1, stop + 1):
                out = forward(out, params[f"W{n}"], params[f"b{n}"])
            signal = down(stop, out)
        else:
            signal = dout
        return inside(start + 1, stop, a, signal)

    def inside(n, stop, a, signal):
        if n > stop:
            return signal
        W, b = params[f"W{n}"], params[f"b{n}"]
        out = forward(a, W, b)
        signal = inside(n + 1, stop, out, signal)
        signal, grads[f"W{n}"], grads[f"b{n}"] = backward(signal, a, out, W, b)
        return signal

    return down(0, X), grads


def checkpoint_peak(widths, batch, segment):
    counts = []
    depth = len(widths) - 1
    for start in range(0, depth, segment):
        count = 0
        for kept in range(0, start + 1, segment):
            count += widths[kept]
        for layer in range(start + 1, min(start + segment, depth) + 1):
            count += widths[layer]
        counts.append(count * batch)
    return max(counts)


def best_segment(widths):
    best = 1
    for segment in range(2, len(widths)):
        if checkpoint_peak(widths, 1, segment) < checkpoint_peak(widths, 1, best):
            best = segment
    return best


def split_columns(W, b, workers):
    return [([list(W[i]) for i in span], [b[i] for i in span]) for span in _cut(len(b), workers)]


def split_rows(W, workers):
    return [[[row[i] for i in span] for row in W] for span in _cut(len(W[0]), workers)]


def column_forward(x, parts):
    outs = []
    for W, b in parts:
        outs.append(
            [
                [sum(u * v for u, v in zip(row, line, strict=True)) + c for line, c in zip(W, b, strict=True)]
                for row in x
            ]
        )
    return outs


def column_backward(douts, x, parts):
    x = np.asarray(x, dtype=np.float64)
    dx, grads = 0.0, []
    for k, (W, _) in enumerate(parts):
        d = np.asarray(douts[k], dtype=np.float64)
        dx = dx + np.dot(d, W)
        grads.append([sum(np.outer(d[r], x[r]) for r in range(len(x))), d.sum(0)])
    return dx, grads


def row_forward(xs, parts, b):
    out = np.zeros((len(xs[0]), len(b))) + b
    for x, W in zip(xs, parts, strict=True):
        out = out + np.dot(x, np.transpose(W))
    return out


def row_backward(dout, xs, parts):
    dxs, dWs = [], []
    for x, W in zip(xs, parts, strict=True):
        dxs.append(np.dot(dout, W))
        dWs.append(np.dot(np.transpose(dout), x))
    return tuple(dxs), tuple(dWs), np.asarray(dout).sum(axis=0).tolist()


class _Worker:
    def __init__(self, W1, b1, W2):
        self.W1, self.b1, self.W2 = (np.asarray(array, dtype=np.float64) for array in (W1, b1, W2))

    def there(self, x):
        self.x = np.asarray(x, dtype=np.float64)
        self.z = np.dot(self.x, self.W1.T) + self.b1
        return np.dot(np.where(self.z > 0, self.z, 0.0), self.W2.T)

    def back(self, dout):
        dz = np.where(self.z > 0, np.dot(dout, self.W2), 0.0)
        self.dW1, self.db1 = np.dot(dz.T, self.x), dz.sum(axis=0)
        self.dW2 = np.dot(np.transpose(dout), np.where(self.z > 0, self.z, 0.0))
        return np.dot(dz, self.W1)


def parallel_mlp(x, params, workers, all_reduce):
    firsts = split_columns(params["W1"], params["b1"], workers)
    seconds = split_rows(params["W2"], workers)
    team = [_Worker(W1, b1, W2) for (W1, b1), W2 in zip(firsts, seconds, strict=True)]
    return all_reduce([worker.there(x) for worker in team]) + params["b2"], team


def parallel_mlp_backward(dout, cache, all_reduce):
    dx = all_reduce([worker.back(dout) for worker in cache])
    grads = {
        "b2": np.asarray(dout).sum(axis=0),
        "W2": np.hstack([worker.dW2 for worker in cache]),
        "b1": np.hstack([worker.db1 for worker in cache]),
        "W1": np.vstack([worker.dW1 for worker in cache]),
    }
    return dx, grads
