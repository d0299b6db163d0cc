"""Training on many devices, simulated: memory, data and tensor parallelism, all-reduce, loss scaling, checkpoints.

Bytes are bytes, a GB is 1e9 of them and a GiB 2^30. Workers are the first axis of an array or the items of a list.
Sources: Rajbhandari et al. 2020 (ZeRO), Patarasuk and Yuan 2009 (ring all-reduce), Micikevicius et al. 2018 (mixed
precision), Chen et al. 2016 (checkpointing), Shoeybi et al. 2019 (tensor parallelism).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dlreference import mlp
from dlreference.activations import activation as find_activation
from dlreference.arrays import Array, ArrayLike, Params, as_float
from dlreference.linear import linear_backward, linear_forward
from dlreference.optim import clip_global_norm, weighted_mean

BYTES_HALF = 2
BYTES_SINGLE = 4
BYTES_PER_GB = 1e9
BYTES_PER_GIB = 2.0**30

LossAndGradients = Callable[[Mapping[str, ArrayLike], Array, Array], tuple[float, Params]]


# Memory


class MemoryBudget(NamedTuple):
    """Bytes on one device: half-precision weights and gradients, and the optimizer's single-precision states."""

    weights: float
    gradients: float
    optimizer: float

    @property
    def total(self) -> float:
        """All three together."""
        return self.weights + self.gradients + self.optimizer


def memory_budget(parameters: float, devices: int = 1, zero_stage: int = 0) -> MemoryBudget:
    """Bytes a device needs to train with Adam in mixed precision, activations not counted.

    2 + 2 bytes a parameter for weights and gradients and 12 for the optimizer (master copy, m and v, 4 each). Stage 1
    of ZeRO splits the optimizer over the devices, stage 2 also the gradients, stage 3 also the weights.
    Raises ValueError for another stage.
    """
    if zero_stage not in (0, 1, 2, 3):
        raise ValueError(f"the ZeRO stage must be 0, 1, 2 or 3, got {zero_stage}")
    return MemoryBudget(
        weights=BYTES_HALF * parameters / (devices if zero_stage >= 3 else 1),
        gradients=BYTES_HALF * parameters / (devices if zero_stage >= 2 else 1),
        optimizer=3 * BYTES_SINGLE * parameters / (devices if zero_stage >= 1 else 1),
    )


def devices_needed(total_bytes: float, device_bytes: float) -> int:
    """How many devices of `device_bytes` hold `total_bytes` together: the quotient rounded up."""
    return math.ceil(total_bytes / device_bytes)


def activation_bytes(layers: int, batch: int, length: int, d_model: int, heads: int) -> float:
    """Bytes of activations that a Transformer keeps for its backward in half precision, nothing recomputed.

    layers * length * batch * d_model * (34 + 5 heads length / d_model) (Korthikanti et al. 2022, equation 2).
    """
    return float(layers * length * batch * d_model * (34 + 5 * heads * length / d_model))


# Data parallelism


def data_parallel_gradients(
    gradients: LossAndGradients, params: Mapping[str, ArrayLike], shards: Sequence[tuple[ArrayLike, ArrayLike]]
) -> tuple[float, Params]:
    """Loss and gradients of the whole batch from workers that each see one shard (X_k, y_k).

    `gradients(params, X, y)` gives a *mean* loss and its gradients, so workers count by the size of their shard; the
    plain mean of unequal shards would be wrong.
    """
    pairs = [gradients(params, as_float(X), np.asarray(y)) for X, y in shards]
    sizes = [len(as_float(X)) for X, _ in shards]
    loss = sum(size * value for (value, _), size in zip(pairs, sizes, strict=True)) / sum(sizes)
    return float(loss), weighted_mean([grads for _, grads in pairs], sizes)


def accumulated_gradients(
    gradients: LossAndGradients, params: Mapping[str, ArrayLike], X: ArrayLike, y: ArrayLike, micro_batch: int
) -> tuple[float, Params]:
    """Loss and gradients of the whole batch from micro-batches of that many rows in turn; the last may be shorter.

    The same arithmetic as data parallelism, in time instead of space.
    """
    X, y = as_float(X), np.asarray(y)
    cuts = range(micro_batch, len(X), micro_batch)
    return data_parallel_gradients(gradients, params, list(zip(np.split(X, cuts), np.split(y, cuts), strict=True)))


class RingResult(NamedTuple):
    """What every worker holds afterwards (K, n), and how many numbers each worker sent (K,)."""

    values: Array
    sent: np.ndarray


def reduce_scatter(values: ArrayLike) -> RingResult:
    """The first half of the ring all-reduce of values (K, n), in K - 1 rounds.

    In round r worker k sends chunk k - r to worker k + 1 (all modulo K), which adds it to its own. Worker k ends with
    the full sum of chunk k + 1, and with the sum over workers c, c + 1, ..., k of any chunk c. The vectors are cut into
    K chunks by `numpy.array_split`; K need not divide n.
    """
    return _ring_rounds(values, first_chunk=0, add=True)


def all_gather(held: ArrayLike) -> RingResult:
    """The second half, held (K, n): in round r worker k sends chunk k + 1 - r, which replaces the receiver's."""
    return _ring_rounds(held, first_chunk=1, add=False)


def _ring_rounds(values: ArrayLike, first_chunk: int, add: bool) -> RingResult:
    held = as_float(values).copy()
    workers, n = held.shape
    bounds = np.cumsum([0, *(len(part) for part in np.array_split(np.arange(n), workers))])
    sent = np.zeros(workers, dtype=np.int64)
    for r in range(workers - 1):
        before = held.copy()
        for worker in range(workers):
            chunk = (worker + first_chunk - r) % workers
            span = slice(bounds[chunk], bounds[chunk + 1])
            receiver = (worker + 1) % workers
            held[receiver, span] = before[worker, span] + (before[receiver, span] if add else 0.0)
            sent[worker] += bounds[chunk + 1] - bounds[chunk]
    return RingResult(held, sent)


def ring_all_reduce(values: ArrayLike) -> RingResult:
    """Sum the vectors of K workers, values (K, n), over a ring: `reduce_scatter`, then `all_gather`."""
    scattered = reduce_scatter(values)
    gathered = all_gather(scattered.values)
    return RingResult(gathered.values, scattered.sent + gathered.sent)


def ring_traffic(size: float, workers: int) -> float:
    """What each worker sends in a ring all-reduce of `size` numbers or bytes: 2 (K - 1) / K size, almost free of K."""
    return 2.0 * (workers - 1) / workers * size


def data_parallel_speed_up(compute_s: float, gradient_bytes: float, workers: int, bytes_per_s: float) -> float:
    """Time of a step on one worker over that on K, which share the computing and then all-reduce the gradients."""
    return compute_s / (compute_s / workers + ring_traffic(gradient_bytes, workers) / bytes_per_s)


# Loss scaling


def to_half(x: ArrayLike) -> Array:
    """x rounded to half precision and back: above 65504 infinite (from 65520), below about 3e-8 zero."""
    with np.errstate(over="ignore"):
        return as_float(as_float(x).astype(np.float16))


class LossScaler(NamedTuple):
    """The factor on the loss, and how many steps in a row have passed without an overflow."""

    scale: float = 65536.0
    good_steps: int = 0


def update_scaler(
    scaler: LossScaler, overflow: bool, growth: float = 2.0, backoff: float = 0.5, growth_interval: int = 2000
) -> LossScaler:
    """The scaler after a step: scale * backoff and a fresh count when it overflowed; otherwise one good step more.

    After `growth_interval` good steps in a row the scale is multiplied by `growth` and the count starts afresh.
    """
    if overflow:
        return LossScaler(scaler.scale * backoff, 0)
    if scaler.good_steps + 1 == growth_interval:
        return LossScaler(scaler.scale * growth, 0)
    return LossScaler(scaler.scale, scaler.good_steps + 1)


def unscale(scaled_grads: Mapping[str, ArrayLike], scale: float) -> tuple[Params, bool]:
    """The gradients divided by the scale, and whether any entry of them is infinite or NaN."""
    grads = {name: as_float(grad) / scale for name, grad in scaled_grads.items()}
    return grads, not all(np.isfinite(grad).all() for grad in grads.values())


def scaled_sgd_step(
    params: Mapping[str, ArrayLike],
    scaled_grads: Mapping[str, ArrayLike],
    scaler: LossScaler,
    lr: float,
    max_norm: float | None = None,
    growth_interval: int = 2000,
) -> tuple[Params, LossScaler, bool]:
    """One step on gradients of scale * loss: unscale, look for overflow, clip the *unscaled* gradients, descend.

    Returns new parameters, the new scaler and whether the step was skipped, in which case the parameters are copies.
    """
    grads, overflow = unscale(scaled_grads, scaler.scale)
    updated = update_scaler(scaler, overflow, growth_interval=growth_interval)
    if overflow:
        return {name: as_float(value).copy() for name, value in params.items()}, updated, True
    if max_norm is not None:
        grads, _ = clip_global_norm(grads, max_norm)
    return {name: as_float(value) - lr * grads[name] for name, value in params.items()}, updated, False


# Activation checkpointing


class CheckpointedRun(NamedTuple):
    """Gradients of the parameters and the input, the most numbers held at once, and how many layers ran forward."""

    grads: Params
    dx: Array
    peak_floats: int
    layers_run: int


def _layers(params: Mapping[str, ArrayLike], start: int, stop: int) -> Params:
    """The layers start + 1 .. stop of a net, renumbered from 1."""
    return {
        f"{kind}{layer - start}": as_float(params[f"{kind}{layer}"])
        for layer in range(start + 1, stop + 1)
        for kind in "Wb"
    }


def checkpointed_gradients(
    params: Mapping[str, ArrayLike], X: ArrayLike, dout: ArrayLike, segment: int, activation: str = "relu"
) -> CheckpointedRun:
    """Backward of an MLP that keeps only the input of every `segment`-th layer and recomputes the rest.

    X (B, n_0), dout (B, n_L). Forward: the inputs of the segments are kept. Backward, last segment first: its layers
    run forward once more, now with caches, then backward. Gradients are those of `mlp.backward`, bit for bit; the
    numbers held at once are the kept inputs and the z and a of one segment, instead of the z and a of all layers.
    """
    depth = mlp.depth(params)
    names = (activation,) * (depth - 1) + ("identity",)
    starts = list(range(0, depth, segment))
    stops = [*starts[1:], depth]
    kept = [as_float(X)]
    for start, stop in zip(starts[:-1], stops[:-1], strict=True):
        kept.append(mlp.forward(kept[-1], _layers(params, start, stop), names[start:stop])[0])

    grads: Params = {}
    signal = as_float(dout)
    peak = 0
    while kept:
        start, stop = starts[len(kept) - 1], stops[len(kept) - 1]
        part = _layers(params, start, stop)
        _, cache = mlp.forward(kept[-1], part, names[start:stop])
        held = sum(x.size for x in kept) + sum(layer.z.size + layer.a.size for layer in cache.layers)
        peak = max(peak, held)
        part_grads, signal = mlp.backward(signal, cache, part)
        grads |= {f"{name[0]}{int(name[1:]) + start}": grad for name, grad in part_grads.items()}
        kept.pop()
    return CheckpointedRun({name: grads[name] for name in params}, signal, peak, starts[-1] + depth)


def checkpoint_peak(widths: Sequence[int], batch: int, segment: int) -> int:
    """Numbers held at the peak of a checkpointed backward that keeps one array a layer, for the widths (n_0, ..., n_L).

    Segment by segment: its kept input and those of all earlier ones, and the outputs of its layers. For L equal layers
    of width n that is at most (ceil(L / segment) + segment) n, which is least near segment = sqrt(L).
    """
    sizes = np.asarray(widths)
    starts = np.arange(0, len(sizes) - 1, segment)
    kept = np.cumsum(sizes[starts])
    outputs = np.add.reduceat(sizes[1:], starts)
    return int(batch * (kept + outputs).max())


def best_segment(widths: Sequence[int]) -> int:
    """The segment length with the smallest peak, the shortest of equals: about sqrt(L) for L equal layers."""
    return min(range(1, len(widths)), key=lambda segment: checkpoint_peak(widths, 1, segment))


# Tensor parallelism


def split_columns(W: ArrayLike, b: ArrayLike, workers: int) -> list[tuple[Array, Array]]:
    """Column parallelism: each worker gets some *outputs*, rows of W (out, in) and entries of b (out,).

    The name is that of the (in, out) layout, where an output is a column.
    """
    return list(zip(np.array_split(as_float(W), workers, axis=0), np.array_split(as_float(b), workers), strict=True))


def split_rows(W: ArrayLike, workers: int) -> list[Array]:
    """Row parallelism: each worker gets some *inputs*, columns of W (out, in)."""
    return np.array_split(as_float(W), workers, axis=1)


def column_parallel_forward(x: ArrayLike, parts: Sequence[tuple[Array, Array]]) -> list[Array]:
    """Each worker's slice of the output, x (B, in) whole on every worker -> K arrays (B, out_k).

    Concatenating them (an all-gather) gives the whole layer; no sum is needed.
    """
    return [linear_forward(x, W, b)[0] for W, b in parts]


def column_parallel_backward(
    douts: Sequence[ArrayLike], x: ArrayLike, parts: Sequence[tuple[Array, Array]]
) -> tuple[Array, list[tuple[Array, Array]]]:
    """dx (B, in), the all-reduced sum of the workers' dx, and each worker's (dW, db), for slices dout_k (B, out_k)."""
    results = [linear_backward(dout, (as_float(x), W)) for dout, (W, _) in zip(douts, parts, strict=True)]
    return np.sum([dx for dx, _, _ in results], axis=0), [(dW, db) for _, dW, db in results]


def row_parallel_forward(xs: Sequence[ArrayLike], parts: Sequence[Array], b: ArrayLike) -> Array:
    """The whole output (B, out) from slices x_k (B, in_k): the sum of x_k W_k^T (an all-reduce), then b, *once*."""
    return np.sum([linear_forward(x, W)[0] for x, W in zip(xs, parts, strict=True)], axis=0) + as_float(b)


def row_parallel_backward(
    dout: ArrayLike, xs: Sequence[ArrayLike], parts: Sequence[Array]
) -> tuple[list[Array], list[Array], Array]:
    """Each worker's dx_k (B, in_k) and dW_k (out, in_k), and db (out,), for dout (B, out) whole on every worker."""
    results = [linear_backward(dout, (as_float(x), W)) for x, W in zip(xs, parts, strict=True)]
    return [dx for dx, _, _ in results], [dW for _, dW, _ in results], results[0][2]


def parallel_mlp(x: ArrayLike, params: Mapping[str, ArrayLike], workers: int, activation: str = "gelu") -> Array:
    """A two-layer net with the first layer split by columns and the second by rows: one all-reduce in all.

    x (B, n_0), params W1, b1, W2, b2 -> (B, n_2). The activation is elementwise, so each worker applies it to its own
    slice and hands it straight to its part of the second layer.
    """
    hidden = column_parallel_forward(x, split_columns(params["W1"], params["b1"], workers))
    activate = find_activation(activation).value
    return row_parallel_forward([activate(h) for h in hidden], split_rows(params["W2"], workers), params["b2"])


def parallel_mlp_backward(
    dout: ArrayLike, x: ArrayLike, params: Mapping[str, ArrayLike], workers: int, activation: str = "gelu"
) -> tuple[Array, Params]:
    """Gradients (dx, grads) of `parallel_mlp` for dout (B, n_2), put together to the shapes of the whole layers.

    The only all-reduce is that of dx, at the end of the column-parallel layer's backward.
    """
    firsts = split_columns(params["W1"], params["b1"], workers)
    chosen = find_activation(activation)
    zs = column_parallel_forward(x, firsts)
    dhidden, dW2, db2 = row_parallel_backward(dout, [chosen.value(z) for z in zs], split_rows(params["W2"], workers))
    dzs = [dh * chosen.derivative(z) for dh, z in zip(dhidden, zs, strict=True)]
    dx, first_grads = column_parallel_backward(dzs, x, firsts)
    dW1, db1 = (np.concatenate(pieces) for pieces in zip(*first_grads, strict=True))
    return dx, {"W1": dW1, "b1": db1, "W2": np.concatenate(dW2, axis=1), "b2": db2}
