"""Chapter 333: Training Infrastructure

A large model does not fit on one device, and would take years there. What follows is what makes its training possible,
and all of it is arithmetic that you can do on one machine: workers are the rows of an array or the items of a list, and
what they send to each other is what you copy from one to the other. You count bytes, split batches, sum gradients
around a ring, keep float16 from losing small numbers, forget activations and compute them again, and cut single layers
in two. The rule for every trick is the same: the result is that of one large device.

Conventions, here and in every chapter:
  - a byte is 8 bits, a GB is 1e9 bytes (and no GiB, which is 2**30);
  - K workers are numbered 0 .. K-1; where something is cut into K pieces that cannot be equal, the first pieces have
    one item more than the others, as np.array_split cuts;
  - weights are (out, in), used as x @ W.T + b; parameters are a dict W1, b1, W2, b2, ...; gradients are a dict with the
    same keys; a gradient is that of a MEAN over the batch;
  - functions accept any arrays or lists of numbers, work in float64, and never modify what they are given.

Run `dlgrade check ch333` as often as you like; `dlgrade hint ch333 training_memory` helps you on.
"""

import itertools
import math

import numpy as np


def training_memory(n_params, devices=1, stage=0):
    """How many bytes one device needs to train with Adam in mixed precision. Activations come on top.

    Every parameter costs 2 bytes for its weight and 2 for its gradient, both in half precision, and 12 for the
    optimizer, which works in single precision: a master copy of the weight, m and v, of 4 bytes each.
    Plain data parallelism keeps all that on every device. ZeRO shares it out instead:

        stage 0: nothing is shared out              stage 1: the optimizer is, each device has 1/devices of it
        stage 2: the gradients as well              stage 3: the weights as well

    n_params: number of parameters.
    devices:  how many devices train together.
    stage:    0, 1, 2 or 3; raise ValueError for any other.
    Returns a dict of four numbers, the bytes on ONE device: "weights", "gradients", "optimizer" and "total". Do not
    round.

    Example: training_memory(100.0) gives weights 200.0, gradients 200.0, optimizer 1200.0, total 1600.0;
    training_memory(100.0, 4, 1) the same with optimizer 300.0 and total 700.0.
    """
    ### BEGIN SOLUTION
    if stage not in (0, 1, 2, 3):
        raise ValueError(f"there are the stages 0, 1, 2 and 3, not {stage}")
    memory = {"weights": 2.0 * n_params, "gradients": 2.0 * n_params, "optimizer": 12.0 * n_params}
    # Each stage shares out one thing more: the largest first.
    for name in ("optimizer", "gradients", "weights")[:stage]:
        memory[name] /= devices
    memory["total"] = sum(memory.values())
    return memory
    ### END SOLUTION


def activation_memory(layers, batch, length, d_model, heads):
    """How many bytes of activations a Transformer keeps for its backward, in half precision, with nothing recomputed.

        layers * batch * length * (34 * d_model + 5 * heads * length)

    The first part is what all the matrix products keep, the second the attention weights, one table of length x length
    for each head: it grows with the square of the length (Korthikanti and others, 2022).

    layers, batch, length, d_model, heads: whole numbers.
    Returns one number, in bytes.

    Example: activation_memory(2, 1, 10, 4, 3) is 2 * 10 * (136 + 150) = 5720.0.
    """
    ### BEGIN SOLUTION
    return float(layers * batch * length * (34 * d_model + 5 * heads * length))
    ### END SOLUTION


def devices_needed(total_bytes, device_gb):
    """How many devices hold so many bytes together? Half a device cannot be had.

    total_bytes: a number of bytes.
    device_gb:   what one device holds, in GB of 1e9 bytes.
    Returns a whole number.

    Example: a model of 175e9 parameters needs 2.8e12 bytes at stage 0, and devices_needed(2.8e12, 80) is 35.
    """
    ### BEGIN SOLUTION
    return math.ceil(total_bytes / (device_gb * 1e9))
    ### END SOLUTION


def combine_gradients(grads, sizes):
    """The gradient of a whole batch from the gradients of its parts.

    Each part reports the gradient of the mean over ITS rows. A part of 30 rows says more about the batch than one of
    10: it counts three times as much. The result is the gradient of the mean over all rows.

    grads: a list of dicts with the same keys, the gradients of the parts; arrays of any shapes.
    sizes: a list of whole numbers, how many rows each part had.
    Returns a dict with these keys.

    Example: combine_gradients([{"W1": [1.0, 2.0]}, {"W1": [5.0, 2.0]}], [3, 1]) gives {"W1": [2.0, 2.0]}.
    """
    ### BEGIN SOLUTION
    combined = {name: np.zeros(np.shape(grad)) for name, grad in grads[0].items()}
    for part, size in zip(grads, sizes, strict=True):
        for name in combined:
            combined[name] += size / sum(sizes) * np.asarray(part[name], dtype=np.float64)
    return combined
    ### END SOLUTION


def data_parallel_step(gradients, params, shards, lr):
    """One step of gradient descent by several workers, each with its own shard of the batch.

    All workers hold the same parameters. Each computes the gradients of its shard; these are combined as in
    `combine_gradients`; and all workers take the same step, params - lr * gradient. It is the step of one worker with
    the whole batch, also when the shards are of different sizes.

    gradients: a function: gradients(params, X, y) returns the gradients of the mean loss over the rows of X, a dict.
               Call it once for each shard.
    params:    a dict of arrays.
    shards:    a list of pairs (X, y), X (B_k, D) and y (B_k, ...), one pair for each worker.
    lr:        the learning rate, a number.
    Returns the new parameters, a dict.

    Example: if the gradients are {"w": the mean of X}, data_parallel_step(gradients, {"w": 1.0},
    [([[1.0], [2.0], [3.0]], [0, 0, 0]), ([[6.0]], [0])], 0.5) gives {"w": -0.5}: the mean of all rows is 3.
    """
    ### BEGIN SOLUTION
    # All gradients are taken at the old parameters: the workers compute at the same time.
    grads = [gradients(params, X, y) for X, y in shards]
    mean = combine_gradients(grads, [len(X) for X, _ in shards])
    return {name: np.asarray(value, dtype=np.float64) - lr * mean[name] for name, value in params.items()}
    ### END SOLUTION


def accumulated_gradients(gradients, params, X, y, micro_batch):
    """The gradients of a batch that is too large for the memory, from pieces of it, one after the other.

    Take micro_batch rows at a time, in order; the last piece is shorter if they do not come out even, and it counts by
    its rows, as in `combine_gradients`.

    gradients:   as for `data_parallel_step`. Never give it more than micro_batch rows.
    params:      a dict of arrays.
    X, y:        (B, D) and (B, ...).
    micro_batch: a whole number, at least 1.
    Returns the gradients of the mean loss over all B rows, a dict.

    Example: with five rows and micro_batch = 2 the pieces have 2, 2 and 1 rows.
    """
    ### BEGIN SOLUTION
    grads, sizes = [], []
    for start in range(0, len(X), micro_batch):
        rows = slice(start, start + micro_batch)
        grads.append(gradients(params, X[rows], y[rows]))
        sizes.append(len(X[rows]))
    return combine_gradients(grads, sizes)
    ### END SOLUTION


def chunks_of(n, workers):
    """Given: the slices that cut n numbers into one chunk for each worker, the first ones longer by one if need be."""
    ends = np.cumsum([len(part) for part in np.array_split(np.arange(n), workers)]).tolist()
    return [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def reduce_scatter(values):
    """The first half of a ring all-reduce: afterwards every worker has the full sum of one chunk.

    K workers stand in a ring, and each has a vector of n numbers, cut into K chunks (`chunks_of`, which is given).
    There are K - 1 rounds, r = 0 .. K-2. In each, all workers at the same time:

        worker k sends its chunk k - r to worker k + 1, which ADDS it to its own numbers of that chunk

    Numbers of workers and of chunks are modulo K. What is sent is what the worker had at the beginning of the round. At
    the end worker k has the sum over all workers in chunk k + 1, and sums of some of them in the other chunks.

    values: (K, n), row k the vector of worker k; n may be smaller than K.
    Returns what all workers hold after the last round, an array (K, n).

    Example: reduce_scatter([[1.0, 2.0], [10.0, 20.0]]) gives [[1.0, 22.0], [11.0, 20.0]].
    """
    ### BEGIN SOLUTION
    held = np.array(values, dtype=np.float64)
    workers, n = held.shape
    chunks = chunks_of(n, workers)
    for r in range(workers - 1):
        for k in range(workers):
            # Nobody receives the chunk that it sends in the same round, so one worker may come after the other.
            chunk = chunks[(k - r) % workers]
            held[(k + 1) % workers, chunk] += held[k, chunk]
    return held
    ### END SOLUTION


def all_gather(held):
    """The second half: the finished chunks travel on around the ring, until everybody has all of them.

    Again K - 1 rounds, r = 0 .. K-2, in each of which

        worker k sends its chunk k + 1 - r to worker k + 1, which REPLACES its own numbers of that chunk

    held: (K, n); what worker k has in chunk k + 1 is final, the rest is not.
    Returns what all workers hold after the last round, an array (K, n): K equal rows.

    Example: all_gather([[1.0, 22.0], [11.0, 20.0]]) gives [[11.0, 22.0], [11.0, 22.0]].
    """
    ### BEGIN SOLUTION
    held = np.array(held, dtype=np.float64)
    workers, n = held.shape
    chunks = chunks_of(n, workers)
    for r in range(workers - 1):
        for k in range(workers):
            chunk = chunks[(k + 1 - r) % workers]
            held[(k + 1) % workers, chunk] = held[k, chunk]
    return held
    ### END SOLUTION


def ring_all_reduce(values):
    """Everybody gets the sum of everybody's numbers: `reduce_scatter`, then `all_gather`. And who sent how much?

    values: (K, n).
    Returns (sums, sent): an array (K, n) of K equal rows, and K whole numbers, how many numbers each worker sent in
    both halves together. Chunks can be of different lengths, so the workers' counts can differ a little.

    Example: ring_all_reduce([[1.0, 2.0], [10.0, 20.0]]) gives ([[11.0, 22.0], [11.0, 22.0]], [2, 2]).
    """
    ### BEGIN SOLUTION
    workers, n = np.shape(values)
    lengths = [chunk.stop - chunk.start for chunk in chunks_of(n, workers)]
    sent = [0] * workers
    for k in range(workers):
        for r in range(workers - 1):
            sent[k] += lengths[(k - r) % workers] + lengths[(k + 1 - r) % workers]
    return all_gather(reduce_scatter(values)), sent
    ### END SOLUTION


def ring_traffic(size, workers):
    """What a worker sends in a ring all-reduce of `size` bytes, for chunks of equal length.

    2 (K - 1) rounds, with a chunk of size / K each: 2 (K - 1) / K * size. With many workers that hardly grows any more.

    size:    a number, of bytes or of anything else.
    workers: K, a whole number; one worker sends nothing.
    Returns one number.

    Example: ring_traffic(100.0, 4) is 150.0, and ring_traffic(100.0, 1000) is 199.8.
    """
    ### BEGIN SOLUTION
    return 2 * (workers - 1) / workers * size
    ### END SOLUTION


def speed_up(compute_s, gradient_bytes, workers, bytes_per_s):
    """How many times faster is a step with K workers than with one? Less than K times.

    One worker needs compute_s seconds for a batch. K workers share the batch, and need a K-th of that; then they sum
    their gradients around the ring (`ring_traffic`), all sending at the same time, and nothing is computed meanwhile.

    compute_s:      seconds that one worker computes for the whole batch.
    gradient_bytes: the bytes of all gradients.
    workers:        K.
    bytes_per_s:    how many bytes a worker can send in a second.
    Returns one number: the time with one worker divided by the time with K.

    Example: speed_up(8.0, 1e9, 4, 1e9) is 8 / (2 + 1.5), about 2.286.
    """
    ### BEGIN SOLUTION
    seconds = compute_s / workers + ring_traffic(gradient_bytes, workers) / bytes_per_s
    return compute_s / seconds
    ### END SOLUTION


def to_half(x):
    """What is left of numbers that were stored in half precision: round to float16, and back to float64.

    float16 ends at 65504: from 65520 on a number becomes infinite. Below about 3e-8 there is nothing but zero, up to
    6e-5 there are few digits, and above 11 binary ones. Do not clip: an infinite number is how an overflow shows.

    x: any shape, or a single number.
    Returns a float64 array of that shape, or a single number.

    Example: to_half([1e-8, 0.1, 70000.0]) gives [0.0, 0.0999755859375, inf].
    """
    ### BEGIN SOLUTION
    with np.errstate(over="ignore"):  # an overflow is expected here, and no reason for a warning
        return np.asarray(x, dtype=np.float64).astype(np.float16).astype(np.float64)
    ### END SOLUTION


def update_scale(state, overflow, growth_interval=2000):
    """What becomes of the loss scale after a step.

    Gradients too small for float16 are saved by making the loss larger before the backward: with a loss of scale * loss
    all gradients are scale times as large. The best scale is found by trying:

        after an overflow:                              half the scale, and the count of good steps starts again at 0
        after a step without one:                       one good step more; and if that makes growth_interval of them,
                                                        twice the scale, and the count starts again at 0

    state:           {"scale": a number, "good_steps": how many steps in a row went well}.
    overflow:        True or False.
    growth_interval: a whole number.
    Returns the new state, a dict with the same keys.

    Example: update_scale({"scale": 8.0, "good_steps": 4}, False, 5) gives {"scale": 16.0, "good_steps": 0}, and with
    True instead {"scale": 4.0, "good_steps": 0}.
    """
    ### BEGIN SOLUTION
    if overflow:
        return {"scale": state["scale"] / 2, "good_steps": 0}
    good_steps = state["good_steps"] + 1
    if good_steps == growth_interval:
        return {"scale": state["scale"] * 2, "good_steps": 0}
    return {"scale": state["scale"], "good_steps": good_steps}
    ### END SOLUTION


def scaled_step(params, scaled_grads, state, lr, max_norm=None, growth_interval=2000):
    """One step of gradient descent with the gradients of scale * loss.

        1. Divide all gradients by the scale.
        2. If any entry of any of them is infinite or nan: skip the step. The parameters stay what they are.
        3. Otherwise, if max_norm is given: clip. The norm is the root of the sum of the squares of ALL entries of all
           gradients; if it is larger than max_norm, multiply all gradients by max_norm / norm.
        4. Descend: params - lr * gradient.
        5. Update the scale, with `update_scale`, in either case.

    params, scaled_grads: dicts of arrays with the same keys.
    state:                as for `update_scale`.
    lr:                   the learning rate.
    max_norm:             a positive number, or None for no clipping.
    growth_interval:      as for `update_scale`.
    Returns (params, state, skipped): the new parameters, the new state, and True if the step was skipped, else False.

    Example: scaled_step({"w": [1.0]}, {"w": [8.0]}, {"scale": 4.0, "good_steps": 0}, 0.25) gives ({"w": [0.5]},
    {"scale": 4.0, "good_steps": 1}, False).
    """
    ### BEGIN SOLUTION
    params = {name: np.array(value, dtype=np.float64) for name, value in params.items()}
    grads = {name: np.asarray(grad, dtype=np.float64) / state["scale"] for name, grad in scaled_grads.items()}
    overflow = not all(np.all(np.isfinite(grad)) for grad in grads.values())
    state = update_scale(state, overflow, growth_interval)
    if overflow:
        return params, state, True
    if max_norm is not None:
        # The true gradients are clipped: max_norm knows nothing of the scale.
        norm = np.sqrt(sum(np.sum(grad**2) for grad in grads.values()))
        if norm > max_norm:
            grads = {name: grad * (max_norm / norm) for name, grad in grads.items()}
    return {name: value - lr * grads[name] for name, value in params.items()}, state, False
    ### END SOLUTION


def train_scaled(scaled_gradients, params, state, lr, steps, growth_interval=2000):
    """Train with dynamic loss scaling.

    In every step ask for the gradients at the current parameters and the current scale, and take a `scaled_step`
    without clipping. A skipped step counts as one of the steps.

    scaled_gradients: a function: scaled_gradients(params, scale) returns the gradients of scale * loss in half
                      precision, a dict. Call it once a step.
    params, state, lr, growth_interval: as for `scaled_step`.
    steps:            a whole number.
    Returns (params, scales): the parameters after the last step, and the scale that was USED in each step, (steps,).

    Example: if every step overflows, train_scaled(f, params, {"scale": 8.0, "good_steps": 0}, 0.1, 3) gives the params
    back, and the scales [8.0, 4.0, 2.0].
    """
    ### BEGIN SOLUTION
    scales = []
    for _ in range(steps):
        scales.append(state["scale"])
        grads = scaled_gradients(params, state["scale"])
        params, state, _ = scaled_step(params, grads, state, lr, growth_interval=growth_interval)
    return params, np.array(scales)
    ### END SOLUTION


def checkpointed_gradients(forward, backward, params, X, dout, segment):
    """Backward through a deep network that remembers only few of its activations, and computes the others again.

    The layers 1 .. L are cut into segments of `segment` layers, the last of which may be shorter.

        Forward:   run the layers, and keep only the INPUT of every segment. The last segment need not be run yet.
        Backward:  from the last segment to the first: run its layers from the kept input, this time keeping all
                   their outputs; then go backward through its layers; then forget them.

    So every layer but those of the last segment runs forward twice, and those of the last segment once. The gradients
    are those of an ordinary backward to the last bit.

    forward:  a function: forward(a, W, b) returns the output of one layer for its input a.
    backward: a function: backward(da, a_in, a_out, W, b) returns (da_in, dW, db), the gradients of one layer, for the
              gradient da at its output a_out and its input a_in. Call it once for each layer.
    params:   a dict W1, b1, ..., WL, bL.
    X:        the input (B, n_0).
    dout:     the gradient at the output of the last layer, (B, n_L).
    segment:  a whole number, at least 1; it may be larger than L.
    Returns (dX, grads): the gradient at X, and a dict with the keys of params.

    Example: for L = 5 and segment = 2 the segments are the layers 1-2, 3-4 and 5; `forward` is called for the layers
    1, 2, 3, 4, 5, 3, 4, 1, 2.
    """
    ### BEGIN SOLUTION
    depth = sum(name.startswith("W") for name in params)
    starts = list(range(1, depth + 1, segment))
    kept = [X]
    for start, following in itertools.pairwise(starts):
        a = kept[-1]
        for layer in range(start, following):
            a = forward(a, params[f"W{layer}"], params[f"b{layer}"])
        kept.append(a)
    grads = {}
    for start, a in zip(reversed(starts), reversed(kept), strict=True):
        layers = range(start, min(start + segment, depth + 1))
        outputs = [a]
        for layer in layers:
            outputs.append(forward(outputs[-1], params[f"W{layer}"], params[f"b{layer}"]))
        for layer in reversed(layers):
            W, b = params[f"W{layer}"], params[f"b{layer}"]
            a_out = outputs.pop()
            dout, grads[f"W{layer}"], grads[f"b{layer}"] = backward(dout, outputs[-1], a_out, W, b)
    return dout, grads
    ### END SOLUTION


def checkpoint_peak(widths, batch, segment):
    """The most numbers that `checkpointed_gradients` holds at once for its backward.

    While a segment is worked on there are: its own kept input and those of all EARLIER segments (the later ones are
    done with), and the outputs of all layers of this one segment. Count them for every segment, and take the largest
    count. Gradients and parameters are not counted.

    widths:  a list (n_0, n_1, ..., n_L): layer l has the input width n_(l-1) and the output width n_l.
    batch:   B: every activation has B rows.
    segment: a whole number, at least 1; it may be larger than L.
    Returns a whole number.

    Example: checkpoint_peak([3, 3, 3, 3, 3], 1, 2) is 12: at the second segment two kept inputs and two outputs.
    With segment = 4, that is with nothing computed twice, it is 15.
    """
    ### BEGIN SOLUTION
    depth = len(widths) - 1
    peak = kept = 0
    for start in range(0, depth, segment):
        kept += widths[start]
        peak = max(peak, kept + sum(widths[start + 1 : start + 1 + segment]))
    return batch * peak
    ### END SOLUTION


def best_segment(widths):
    """Which segment length has the smallest peak? For L layers of equal width it is near the root of L.

    widths: as for `checkpoint_peak`.
    Returns a whole number from 1 to L; of equally good ones the smallest.

    Example: best_segment([5] * 17), of 16 equal layers, is 3, and best_segment([5, 5]) is 1.
    """
    ### BEGIN SOLUTION
    # min keeps the first of equals.
    return min(range(1, len(widths)), key=lambda segment: checkpoint_peak(widths, 1, segment))
    ### END SOLUTION


def split_columns(W, b, workers):
    """Column parallelism: every worker gets some of the OUTPUTS of a layer.

    The name is from texts that write x @ W, where an output is a column of W. Ours are (out, in), used as x @ W.T + b:
    an output is a ROW of W and an entry of b.

    W, b:    (out, in) and (out,).
    workers: K, at most out.
    Returns a list of K pairs (W_k, b_k), of shapes (out_k, in) and (out_k,), in order.

    Example: split_columns([[1.0], [2.0], [3.0]], [4.0, 5.0, 6.0], 2) gives
    [([[1.0], [2.0]], [4.0, 5.0]), ([[3.0]], [6.0])].
    """
    ### BEGIN SOLUTION
    W, b = np.asarray(W, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return list(zip(np.array_split(W, workers), np.array_split(b, workers), strict=True))
    ### END SOLUTION


def split_rows(W, workers):
    """Row parallelism: every worker gets some of the INPUTS of a layer, which are columns of our W (out, in).

    W:       (out, in).
    workers: K, at most in.
    Returns a list of K arrays (out, in_k), in order. The bias is not split: it belongs to outputs.

    Example: split_rows([[1.0, 2.0, 3.0]], 2) gives [[[1.0, 2.0]], [[3.0]]].
    """
    ### BEGIN SOLUTION
    return np.array_split(np.asarray(W, dtype=np.float64), workers, axis=1)
    ### END SOLUTION


def column_forward(x, parts):
    """Every worker's piece of the output. Side by side they are the whole output (an all-gather); nothing is summed.

    x:     (B, in), the whole of it on every worker.
    parts: a list of K pairs (W_k, b_k), as `split_columns` returns it.
    Returns a list of K arrays (B, out_k).

    Example: column_forward([[2.0]], [([[1.0], [2.0]], [4.0, 5.0]), ([[3.0]], [6.0])]) gives [[[6.0, 9.0]], [[12.0]]].
    """
    ### BEGIN SOLUTION
    x = np.asarray(x, dtype=np.float64)
    return [x @ np.asarray(W).T + np.asarray(b) for W, b in parts]
    ### END SOLUTION


def column_backward(douts, x, parts):
    """Backward through `column_forward`.

    Every worker used the same x. Each therefore has a gradient for it, and the gradient at x is their sum: this is the
    all-reduce of column parallelism, and it happens in the backward.

    douts:    a list of K arrays (B, out_k).
    x, parts: what `column_forward` was given.
    Returns (dx, grads): an array (B, in), and a list of K pairs (dW_k, db_k).

    Example: column_backward([[[1.0, 1.0]], [[2.0]]], [[2.0]], [([[1.0], [2.0]], [4.0, 5.0]), ([[3.0]], [6.0])]) gives
    dx = [[9.0]] and grads = [([[2.0], [2.0]], [1.0, 1.0]), ([[4.0]], [2.0])].
    """
    ### BEGIN SOLUTION
    x = np.asarray(x, dtype=np.float64)
    dx, grads = np.zeros(x.shape), []
    for dout, (W, _) in zip(douts, parts, strict=True):
        dout = np.asarray(dout, dtype=np.float64)
        dx += dout @ np.asarray(W)
        grads.append((dout.T @ x, np.sum(dout, axis=0)))
    return dx, grads
    ### END SOLUTION


def row_forward(xs, parts, b):
    """The whole output, from workers that each have some of the inputs.

    Every worker has one part of every output's sum: the output is the SUM of what the workers compute (an all-reduce,
    in the forward), plus the bias, once.

    xs:    a list of K arrays (B, in_k): worker k's piece of the input.
    parts: a list of K arrays W_k (out, in_k), as `split_rows` returns it.
    b:     (out,).
    Returns an array (B, out).

    Example: row_forward([[[1.0, 1.0]], [[2.0]]], [[[1.0, 2.0]], [[3.0]]], [0.5]) gives [[9.5]].
    """
    ### BEGIN SOLUTION
    total = sum(np.asarray(x, dtype=np.float64) @ np.asarray(W).T for x, W in zip(xs, parts, strict=True))
    # The bias is added after the sum: if every worker added it, it would count K times.
    return total + np.asarray(b, dtype=np.float64)
    ### END SOLUTION


def row_backward(dout, xs, parts):
    """Backward through `row_forward`. Every worker has the whole dout; nothing is summed over workers.

    dout:      (B, out).
    xs, parts: what `row_forward` was given.
    Returns (dxs, dWs, db): a list of K arrays (B, in_k), a list of K arrays (out, in_k), and an array (out,).

    Example: row_backward([[2.0]], [[[1.0, 1.0]], [[2.0]]], [[[1.0, 2.0]], [[3.0]]]) gives
    dxs = [[[2.0, 4.0]], [[6.0]]], dWs = [[[2.0, 2.0]], [[4.0]]] and db = [2.0].
    """
    ### BEGIN SOLUTION
    dout = np.asarray(dout, dtype=np.float64)
    dxs = [dout @ np.asarray(W) for W in parts]
    dWs = [dout.T @ np.asarray(x, dtype=np.float64) for x in xs]
    return dxs, dWs, np.sum(dout, axis=0)
    ### END SOLUTION


def parallel_mlp(x, params, workers, all_reduce):
    """A network of two layers with a ReLU between them, split over workers so that they talk only once.

        out = relu(x @ W1.T + b1) @ W2.T + b2

    Split the first layer by columns: every worker gets some of the hidden numbers. The ReLU needs no other numbers than
    its own. Split the second layer by rows: it wants exactly those hidden numbers that the worker already has. What is
    left is one all-reduce, of the workers' outputs without the bias.

    x:          (B, n_0).
    params:     a dict W1 (n_1, n_0), b1 (n_1,), W2 (n_2, n_1), b2 (n_2,).
    workers:    K, at most n_1.
    all_reduce: a function: all_reduce(list of K arrays of one shape) returns their sum. Call it exactly once.
    Returns (out, cache): an array (B, n_2), and whatever your `parallel_mlp_backward` wants to find again.

    Example: with W1 = [[1.0], [-1.0]], W2 = [[2.0, 3.0]] and biases of zero, x = [[5.0]] and two workers, the workers
    hand 10.0 and 0.0 to all_reduce, and out is [[10.0]].
    """
    ### BEGIN SOLUTION
    firsts = split_columns(params["W1"], params["b1"], workers)
    seconds = split_rows(params["W2"], workers)
    hidden = [np.maximum(z, 0.0) for z in column_forward(x, firsts)]
    total = all_reduce([h @ W.T for h, W in zip(hidden, seconds, strict=True)])
    return np.asarray(total) + np.asarray(params["b2"], dtype=np.float64), (x, firsts, seconds, hidden)
    ### END SOLUTION


def parallel_mlp_backward(dout, cache, all_reduce):
    """Backward through `parallel_mlp`, with one all-reduce as well: of the workers' gradients at x.

    dout:       (B, n_2), on every worker.
    cache:      what `parallel_mlp` returned second.
    all_reduce: as for `parallel_mlp`. Call it exactly once.
    Returns (dx, grads): an array (B, n_0), and a dict with the keys W1, b1, W2, b2 and the shapes of the WHOLE layers:
    the workers' pieces put together again. (The ReLU has the derivative 0 at 0.)

    Example: for the example of parallel_mlp and dout = [[1.0]] the workers hand [[2.0]] and [[0.0]] to all_reduce; dx
    is [[2.0]], and grads is W1 [[10.0], [0.0]], b1 [2.0, 0.0], W2 [[5.0, 0.0]], b2 [1.0].
    """
    ### BEGIN SOLUTION
    x, firsts, seconds, hidden = cache
    x = np.asarray(x, dtype=np.float64)
    dhidden, dW2, db2 = row_backward(dout, hidden, seconds)
    dz = [dh * (h > 0) for dh, h in zip(dhidden, hidden, strict=True)]
    dx = all_reduce([d @ W for d, (W, _) in zip(dz, firsts, strict=True)])
    grads = {
        "W1": np.concatenate([d.T @ x for d in dz]),
        "b1": np.concatenate([np.sum(d, axis=0) for d in dz]),
        "W2": np.concatenate(dW2, axis=1),
        "b2": db2,
    }
    return np.asarray(dx), grads
    ### END SOLUTION
