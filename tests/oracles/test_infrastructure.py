"""Simulated training infrastructure against single-process results, PyTorch's gradient scaler and published figures."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dlreference import infrastructure as infra
from dlreference import mlp
from dlreference.optim import global_norm

TIGHT = {"rtol": 1e-11, "atol": 1e-13}


@pytest.fixture
def rng():
    return np.random.default_rng(333)


def random_net(rng, widths):
    return {k: v + 0.2 * rng.normal(size=v.shape) for k, v in mlp.init_mlp(widths, rng).items()}


def test_memory_budget_of_a_large_model():
    budget = infra.memory_budget(175e9)
    assert budget == (350e9, 350e9, 2100e9)
    assert budget.total / infra.BYTES_PER_GB == 2800
    assert infra.devices_needed(budget.total, 80e9) == 35


@pytest.mark.parametrize(("stage", "gigabytes"), [(0, 120.0), (1, 31.4), (2, 16.6), (3, 1.9)])
def test_memory_budget_zero_stages_published_figures(stage, gigabytes):
    """7.5 billion parameters on 64 devices, figure 1 of the ZeRO paper."""
    assert infra.memory_budget(7.5e9, 64, stage).total / 1e9 == pytest.approx(gigabytes, abs=0.05)


def test_memory_budget_on_one_device_does_not_depend_on_the_stage():
    assert len({infra.memory_budget(1e6, 1, stage) for stage in range(4)}) == 1
    with pytest.raises(ValueError, match="stage"):
        infra.memory_budget(1e6, 1, 4)


def test_devices_needed_rounds_up():
    assert [infra.devices_needed(x, 80) for x in (79.0, 80.0, 81.0)] == [1, 1, 2]


def test_gigabytes_are_not_gibibytes():
    assert pytest.approx(1.0737, abs=1e-4) == infra.BYTES_PER_GIB / infra.BYTES_PER_GB


def test_activation_bytes_published_formula():
    """One layer, sequence 2048, width 12288, 96 heads: 34 sbh + 5 a s^2 b."""
    sbh = 2048 * 12288
    assert infra.activation_bytes(1, 1, 2048, 12288, 96) == pytest.approx(34 * sbh + 5 * 96 * 2048**2, rel=1e-14)
    assert infra.activation_bytes(96, 2, 2048, 12288, 96) == 192 * infra.activation_bytes(1, 1, 2048, 12288, 96)


@pytest.mark.parametrize("sizes", [(5, 5), (7, 1, 2), (10,)])
def test_data_parallel_gradients_equal_the_single_process(rng, sizes):
    params, X, y = random_net(rng, (4, 6, 3)), rng.normal(size=(10, 4)), rng.integers(3, size=10)
    cuts = np.cumsum(sizes)[:-1]
    shards = list(zip(np.split(X, cuts), np.split(y, cuts), strict=True))
    loss, grads = infra.data_parallel_gradients(mlp.loss_and_gradients, params, shards)
    whole_loss, whole = mlp.loss_and_gradients(params, X, y)
    assert loss == pytest.approx(whole_loss, rel=1e-13)
    for name in params:
        np.testing.assert_allclose(grads[name], whole[name], **TIGHT)


@pytest.mark.parametrize("micro_batch", [1, 3, 10, 64])
def test_accumulated_gradients_equal_the_big_batch(rng, micro_batch):
    params, X, y = random_net(rng, (4, 6, 3)), rng.normal(size=(10, 4)), rng.integers(3, size=10)
    loss, grads = infra.accumulated_gradients(mlp.loss_and_gradients, params, X, y, micro_batch)
    whole_loss, whole = mlp.loss_and_gradients(params, X, y)
    assert loss == pytest.approx(whole_loss, rel=1e-13)
    for name in params:
        np.testing.assert_allclose(grads[name], whole[name], **TIGHT)


@pytest.mark.parametrize(("workers", "n"), [(1, 5), (2, 6), (3, 7), (4, 12), (5, 3)])
def test_ring_all_reduce_gives_everyone_the_sum(rng, workers, n):
    values = rng.normal(size=(workers, n))
    before = values.copy()
    result = infra.ring_all_reduce(values)
    np.testing.assert_allclose(result.values, np.tile(values.sum(axis=0), (workers, 1)), **TIGHT)
    # a finished chunk is copied, so all workers agree to the last bit
    assert np.ptp(result.values, axis=0).max() == 0.0
    np.testing.assert_array_equal(values, before)


def test_ring_all_reduce_traffic(rng):
    for workers in (1, 2, 3, 4, 6):
        sent = infra.ring_all_reduce(rng.normal(size=(workers, 12))).sent
        np.testing.assert_array_equal(sent, infra.ring_traffic(12, workers))
    uneven = infra.ring_all_reduce(rng.normal(size=(5, 13))).sent
    assert uneven.mean() == pytest.approx(infra.ring_traffic(13, 5), rel=1e-14)


@pytest.mark.parametrize(("workers", "n"), [(1, 5), (2, 6), (3, 7), (5, 3)])
def test_reduce_scatter_leaves_sums_of_the_workers_passed(rng, workers, n):
    values = rng.normal(size=(workers, n))
    held = infra.reduce_scatter(values).values
    for k in range(workers):
        for c, span in enumerate(np.array_split(np.arange(n), workers)):
            passed = [(c + i) % workers for i in range((k - c) % workers + 1)]
            np.testing.assert_allclose(held[k, span], values[passed][:, span].sum(axis=0), **TIGHT)
    gathered = infra.all_gather(held).values
    np.testing.assert_allclose(gathered, np.tile(values.sum(axis=0), (workers, 1)), **TIGHT)


def test_speed_up_stays_below_the_number_of_workers():
    assert infra.data_parallel_speed_up(8.0, 1e9, 1, 1e9) == 1.0
    assert infra.data_parallel_speed_up(8.0, 1e9, 4, 1e9) == pytest.approx(8 / 3.5, rel=1e-14)
    # with ever more workers the time of the traffic remains
    assert infra.data_parallel_speed_up(8.0, 1e9, 10**9, 1e9) == pytest.approx(4.0, rel=1e-6)


def test_to_half_underflow_overflow_and_rounding():
    x = np.array([1e-8, 2.9e-8, 3.1e-8, 65504.0, 65519.0, 65520.0, -1e9, 1.0 + 2**-12, 0.1])
    np.testing.assert_array_equal(infra.to_half(x), torch.tensor(x).half().double())
    assert infra.to_half(1e-8) == 0.0
    assert np.isinf(infra.to_half(65520.0))


def test_loss_scaling_saves_small_gradients_in_half_precision():
    gradient = 1e-8
    assert infra.to_half(gradient) == 0.0
    assert infra.to_half(65536 * gradient) / 65536 == pytest.approx(gradient, rel=1e-3)


def test_scaled_steps_follow_pytorchs_gradient_scaler(rng):
    weight = rng.normal(size=(2, 3))
    theirs = torch.nn.Parameter(torch.tensor(weight))
    optimizer = torch.optim.SGD([theirs], lr=0.1)
    grad_scaler = torch.amp.GradScaler("cpu", init_scale=256.0, growth_interval=3)
    grad_scaler.scale(torch.zeros(1))  # it allocates its state on first use
    params, scaler = {"W1": weight}, infra.LossScaler(256.0)
    skips = []
    for step in range(12):
        gradient = rng.normal(size=(2, 3))
        if step in (4, 5, 9):
            gradient[0, step % 3] = np.inf if step != 5 else np.nan
        scaled = gradient * scaler.scale
        theirs.grad = torch.tensor(scaled)
        grad_scaler.step(optimizer)
        grad_scaler.update()
        params, scaler, skipped = infra.scaled_sgd_step(params, {"W1": scaled}, scaler, 0.1, growth_interval=3)
        skips.append(skipped)
        assert scaler.scale == grad_scaler.get_scale()
        np.testing.assert_allclose(params["W1"], theirs.detach(), rtol=1e-12)
    assert [k for k, skipped in enumerate(skips) if skipped] == [4, 5, 9]


def test_scaled_step_clips_the_unscaled_gradients(rng):
    params, grads = {"W1": rng.normal(size=(2, 3))}, {"W1": 5 * rng.normal(size=(2, 3))}
    new, _, _ = infra.scaled_sgd_step(params, {"W1": 1024.0 * grads["W1"]}, infra.LossScaler(1024.0), 1.0, max_norm=1.0)
    np.testing.assert_allclose(params["W1"] - new["W1"], grads["W1"] / global_norm(grads.values()), rtol=1e-11)
    small = {"W1": 1024.0 * 0.01 * grads["W1"] / global_norm(grads.values())}
    new, _, _ = infra.scaled_sgd_step(params, small, infra.LossScaler(1024.0), 1.0, max_norm=1.0)
    np.testing.assert_allclose(params["W1"] - new["W1"], small["W1"] / 1024.0, rtol=1e-11)


@pytest.mark.parametrize("segment", [1, 2, 3, 4, 7, 20])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_checkpointed_gradients_are_bit_identical(rng, segment, activation):
    widths = (4, 6, 5, 8, 3, 7, 5, 2)
    params, X, dout = random_net(rng, widths), rng.normal(size=(9, 4)), rng.normal(size=(9, 2))
    _, cache = mlp.forward(X, params, activation)
    grads, dx = mlp.backward(dout, cache, params)
    run = infra.checkpointed_gradients(params, X, dout, segment, activation)
    np.testing.assert_array_equal(run.dx, dx)
    assert list(run.grads) == list(params)
    for name in params:
        np.testing.assert_array_equal(run.grads[name], grads[name])


def test_checkpointed_peak_and_recomputation(rng):
    widths, batch = (8,) * 17, 3
    params, X, dout = random_net(rng, widths), rng.normal(size=(batch, 8)), rng.normal(size=(batch, 8))
    runs = {s: infra.checkpointed_gradients(params, X, dout, s) for s in (1, 2, 4, 8, 16)}
    assert runs[16].peak_floats == mlp.cache_floats(widths, batch)
    # 4 segments of 4 layers: 4 kept inputs, and z and a of 4 layers
    assert runs[4].peak_floats == batch * 8 * (4 + 2 * 4)
    assert min(runs, key=lambda s: runs[s].peak_floats) in (2, 4)
    assert runs[4].layers_run == 12 + 16


def held_by_hand(widths, segment):
    """Arrays kept and dropped one by one, as the backward goes from segment to segment."""
    depth = len(widths) - 1
    starts = list(range(0, depth, segment))
    kept = [widths[start] for start in starts]
    peak = 0
    while kept:
        start = starts.pop()
        outputs = [widths[layer + 1] for layer in range(start, min(start + segment, depth))]
        peak = max(peak, sum(kept) + sum(outputs))
        kept.pop()
    return peak


@pytest.mark.parametrize("segment", [1, 2, 3, 5, 7, 20])
def test_checkpoint_peak_counts_what_is_held(rng, segment):
    for widths in ([4] * 17, [3, 9, 2, 8, 1], rng.integers(1, 30, size=11).tolist(), [5, 2]):
        assert infra.checkpoint_peak(widths, 1, segment) == held_by_hand(widths, segment)
        assert infra.checkpoint_peak(widths, 6, segment) == 6 * held_by_hand(widths, segment)


@pytest.mark.parametrize("layers", [1, 4, 16, 64, 100])
def test_best_segment_is_near_the_square_root(layers):
    widths = [3] * (layers + 1)
    best = infra.best_segment(widths)
    assert infra.checkpoint_peak(widths, 1, best) == 3 * 2 * layers**0.5
    assert infra.checkpoint_peak(widths, 1, round(layers**0.5)) == infra.checkpoint_peak(widths, 1, best)


def whole_layer(rng, batch):
    x, W, b = rng.normal(size=(batch, 5)), rng.normal(size=(7, 5)), rng.normal(size=7)
    dout = rng.normal(size=(batch, 7))
    tensors = [torch.tensor(t, requires_grad=True) for t in (x, W, b)]
    out = F.linear(*tensors)
    out.backward(torch.tensor(dout))
    return x, W, b, dout, out.detach().numpy(), [t.grad.numpy() for t in tensors]


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 4])
def test_column_parallel_layer_forward_and_backward(rng, workers, batch):
    x, W, b, dout, out, (dx, dW, db) = whole_layer(rng, batch)
    parts = infra.split_columns(W, b, workers)
    slices = infra.column_parallel_forward(x, parts)
    np.testing.assert_allclose(np.concatenate(slices, axis=1), out, **TIGHT)
    douts = np.split(dout, np.cumsum([s.shape[1] for s in slices])[:-1], axis=1)
    got_dx, grads = infra.column_parallel_backward(douts, x, parts)
    np.testing.assert_allclose(got_dx, dx, **TIGHT)
    np.testing.assert_allclose(np.concatenate([g for g, _ in grads]), dW, **TIGHT)
    np.testing.assert_allclose(np.concatenate([g for _, g in grads]), db, **TIGHT)


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 4])
def test_row_parallel_layer_forward_and_backward(rng, workers, batch):
    x, W, b, dout, out, (dx, dW, db) = whole_layer(rng, batch)
    parts = infra.split_rows(W, workers)
    xs = np.split(x, np.cumsum([p.shape[1] for p in parts])[:-1], axis=1)
    np.testing.assert_allclose(infra.row_parallel_forward(xs, parts, b), out, **TIGHT)
    dxs, dWs, got_db = infra.row_parallel_backward(dout, xs, parts)
    np.testing.assert_allclose(np.concatenate(dxs, axis=1), dx, **TIGHT)
    np.testing.assert_allclose(np.concatenate(dWs, axis=1), dW, **TIGHT)
    np.testing.assert_allclose(got_db, db, **TIGHT)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_parallel_mlp_equals_the_whole_net(rng, workers):
    params, x = random_net(rng, (5, 8, 3)), rng.normal(size=(4, 5))
    np.testing.assert_allclose(infra.parallel_mlp(x, params, workers), mlp.forward(x, params, "gelu")[0], **TIGHT)
    np.testing.assert_allclose(
        infra.parallel_mlp(x, params, workers, "tanh"), mlp.forward(x, params, "tanh")[0], **TIGHT
    )


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_parallel_mlp_gradients_equal_pytorchs(rng, workers, activation):
    params, x, dout = random_net(rng, (5, 8, 3)), rng.normal(size=(4, 5)), rng.normal(size=(4, 3))
    tensors = {name: torch.tensor(value, requires_grad=True) for name, value in {**params, "x": x}.items()}
    hidden = getattr(torch, activation)(F.linear(tensors["x"], tensors["W1"], tensors["b1"]))
    F.linear(hidden, tensors["W2"], tensors["b2"]).backward(torch.tensor(dout))
    dx, grads = infra.parallel_mlp_backward(dout, x, params, workers, activation)
    for name, grad in {**grads, "x": dx}.items():
        np.testing.assert_allclose(grad, tensors[name].grad, **TIGHT)
