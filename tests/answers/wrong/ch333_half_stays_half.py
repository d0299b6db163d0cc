"""Wrong: what was rounded to float16 is handed back as float16."""

import numpy as np


def training_memory(n_params, devices=1, stage=0):
    if stage not in range(4):
        raise ValueError("stage")
    each = np.array([2.0, 2.0, 12.0]) * n_params
    shared = each / np.where(np.arange(3) >= 3 - stage, devices, 1)
    return dict(zip(("weights", "gradients", "optimizer", "total"), (*shared, shared.sum()), strict=True))


def activation_memory(layers, batch, length, d_model, heads):
    return layers * length * batch * d_model * (34 + 5 * heads * length / d_model)


def devices_needed(total_bytes, device_gb):
    return -int(-total_bytes // (device_gb * 10**9))


def combine_gradients(grads, sizes):
    share = np.asarray(sizes, float) / np.sum(sizes)
    return {k: np.tensordot(share, np.array([g[k] for g in grads], float), axes=1) for k in grads[0]}


def data_parallel_step(gradients, params, shards, lr):
    mean = combine_gradients([gradients(params, *shard) for shard in shards], [len(s[0]) for s in shards])
    return {k: np.subtract(params[k], lr * mean[k]) for k in params}


def accumulated_gradients(gradients, params, X, y, micro_batch):
    cuts = np.arange(micro_batch, len(X), micro_batch)
    pieces = list(zip(np.split(np.asarray(X), cuts), np.split(np.asarray(y), cuts), strict=True))
    return combine_gradients([gradients(params, *piece) for piece in pieces], [len(p[1]) for p in pieces])


def _owner(n, workers):
    """Of each number, the chunk that it is in."""
    sizes = np.full(workers, n // workers) + (np.arange(workers) < n % workers)
    return np.repeat(np.arange(workers), sizes)


def reduce_scatter(values):
    values = np.array(values, float)
    workers, n = values.shape
    chunk, held = _owner(n, workers), values.copy()
    for k in range(workers):
        # Chunk c set out at worker c, and has passed all workers up to this one.
        for steps in range(1, workers):
            held[k] += np.where((k - chunk) % workers >= steps, values[k - steps], 0.0)
    return held


def all_gather(held):
    held = np.asarray(held, float)
    workers, n = held.shape
    final = held[(_owner(n, workers) - 1) % workers, np.arange(n)]
    return np.repeat(final[None], workers, axis=0)


def ring_all_reduce(values):
    workers, n = np.shape(values)
    sizes = np.bincount(_owner(n, workers), minlength=workers)
    k = np.arange(workers)
    return all_gather(reduce_scatter(values)), 2 * n - sizes[(k + 1) % workers] - sizes[(k + 2) % workers]


def ring_traffic(size, workers):
    return 2 * size * (1 - 1 / workers)


def speed_up(compute_s, gradient_bytes, workers, bytes_per_s):
    return workers / (1 + 2 * gradient_bytes * (workers - 1) / bytes_per_s / compute_s)


def to_half(x):
    with np.errstate(all="ignore"):
        return np.asarray(x, dtype=np.float64).astype(np.float16)


def update_scale(state, overflow, growth_interval=2000):
    good = 0 if overflow else state["good_steps"] + 1
    grown = good == growth_interval
    return {"good_steps": 0 if grown else good, "scale": state["scale"] * (0.5 if overflow else 1 + grown)}


def scaled_step(params, scaled_grads, state, lr, max_norm=None, growth_interval=2000):
    flat = np.concatenate([np.ravel(scaled_grads[k]) for k in params]).astype(float)
    skipped = bool(np.isnan(flat - flat).any())
    state_after = update_scale(state, skipped, growth_interval)
    flat /= state["scale"]
    if skipped:
        flat[:] = 0.0
    elif max_norm is not None:
        flat *= min(1.0, max_norm / max(np.linalg.norm(flat), 1e-300))
    new, start = {}, 0
    for k, value in params.items():
        size = np.size(value)
        new[k] = np.asarray(value, float) - lr * flat[start : start + size].reshape(np.shape(value))
        start += size
    return new, state_after, skipped


def train_scaled(scaled_gradients, params, state, lr, steps, growth_interval=2000):
    used = np.empty(steps)
    for i in range(steps):
        used[i] = state["scale"]
        grads = scaled_gradients(params, used[i])
        params, state, _ = scaled_step(params, grads, state, lr, None, growth_interval)
    return params, used


def checkpointed_gradients(forward, backward, params, X, dout, segment):
    layers = [(f"W{n}", f"b{n}") for n in range(1, len(params) // 2 + 1)]
    parts = [layers[i : i + segment] for i in range(0, len(layers), segment)]
    run = lambda a, W, b: forward(a, params[W], params[b])
    inputs = [X]
    for part in parts[:-1]:
        a = inputs[-1]
        for names in part:
            a = run(a, *names)
        inputs.append(a)
    grads = {}
    while parts:
        part, chain = parts.pop(), [inputs.pop()]
        for names in part:
            chain.append(run(chain[-1], *names))
        for i in range(len(part) - 1, -1, -1):
            W, b = part[i]
            dout, grads[W], grads[b] = backward(dout, chain[i], chain[i + 1], params[W], params[b])
    return dout, grads


def checkpoint_peak(widths, batch, segment):
    total = np.concatenate([[0], np.cumsum(widths)])
    starts = np.arange(0, len(widths) - 1, segment)
    stops = np.minimum(starts + segment, len(widths) - 1)
    kept = np.cumsum(np.take(widths, starts))
    return batch * (kept + total[stops + 1] - total[starts + 1]).max()


def best_segment(widths):
    return 1 + np.argmin([checkpoint_peak(widths, 1, s) for s in range(1, len(widths))])


def split_columns(W, b, workers):
    both = np.hstack([W, np.reshape(b, (-1, 1))]).astype(float)
    return [(piece[:, :-1], piece[:, -1]) for piece in np.array_split(both, workers)]


def split_rows(W, workers):
    return [piece.T for piece in np.array_split(np.asarray(W, float).T, workers)]


def column_forward(x, parts):
    return [np.einsum("bi,oi->bo", x, W) + b for W, b in parts]


def column_backward(douts, x, parts):
    dx = sum(np.einsum("bo,oi->bi", d, W) for d, (W, _) in zip(douts, parts, strict=True))
    return dx, [(np.einsum("bo,bi->oi", d, x), np.einsum("bo->o", d)) for d in douts]


def row_forward(xs, parts, b):
    return np.einsum("bi,oi->bo", np.hstack(xs), np.hstack(parts)) + b


def row_backward(dout, xs, parts):
    return (
        [np.einsum("bo,oi->bi", dout, W) for W in parts],
        [np.einsum("bo,bi->oi", dout, x) for x in xs],
        np.einsum("bo->o", dout),
    )


def parallel_mlp(x, params, workers, all_reduce):
    parts = [
        (W, b, V)
        for (W, b), V in zip(
            split_columns(params["W1"], params["b1"], workers), split_rows(params["W2"], workers), strict=True
        )
    ]
    h = [np.maximum(np.einsum("bi,oi->bo", x, W) + b, 0) for W, b, _ in parts]
    out = np.add(
        all_reduce([np.einsum("bi,oi->bo", a, V) for a, (_, _, V) in zip(h, parts, strict=True)]), params["b2"]
    )
    return out, {"x": x, "h": h, "parts": parts}


def parallel_mlp_backward(dout, cache, all_reduce):
    h, parts = cache["h"], cache["parts"]
    dz = [np.einsum("bo,oi->bi", dout, V) * np.sign(a) for a, (_, _, V) in zip(h, parts, strict=True)]
    dx = all_reduce([d @ W for d, (W, _, _) in zip(dz, parts, strict=True)])
    dz = np.hstack(dz)
    return dx, {
        "W1": np.einsum("bo,bi->oi", dz, cache["x"]),
        "b1": dz.sum(axis=0),
        "W2": np.einsum("bo,bi->oi", dout, np.hstack(h)),
        "b2": np.sum(dout, axis=0),
    }
