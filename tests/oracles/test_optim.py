"""Optimiser steps of the reference against torch.optim over several steps in float64."""

import itertools

import numpy as np
import pytest
import torch
from dlreference import gradcheck, mlp, optim

STEPS = 8
CASES = {
    "sgd": (optim.sgd_step, {}, torch.optim.SGD, {}),
    "sgd with decay": (optim.sgd_step, {"weight_decay": 0.1}, torch.optim.SGD, {"weight_decay": 0.1}),
    "momentum": (optim.momentum_step, {}, torch.optim.SGD, {"momentum": 0.9}),
    "momentum 0.5": (optim.momentum_step, {"momentum": 0.5}, torch.optim.SGD, {"momentum": 0.5}),
    "nesterov": (optim.nesterov_step, {}, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "adagrad": (optim.adagrad_step, {}, torch.optim.Adagrad, {}),
    "adagrad eps": (optim.adagrad_step, {"eps": 1e-2}, torch.optim.Adagrad, {"eps": 1e-2}),
    "rmsprop": (optim.rmsprop_step, {}, torch.optim.RMSprop, {}),
    "rmsprop eps": (optim.rmsprop_step, {"rho": 0.7, "eps": 1e-2}, torch.optim.RMSprop, {"alpha": 0.7, "eps": 1e-2}),
    "adam": (optim.adam_step, {}, torch.optim.Adam, {}),
    "adam constants": (
        optim.adam_step,
        {"beta1": 0.6, "beta2": 0.8, "eps": 1e-2},
        torch.optim.Adam,
        {"betas": (0.6, 0.8), "eps": 1e-2},
    ),
    "adam with L2": (optim.adam_step, {"weight_decay": 0.1}, torch.optim.Adam, {"weight_decay": 0.1}),
    "adamw": (optim.adamw_step, {}, torch.optim.AdamW, {}),
    "adamw decay": (optim.adamw_step, {"weight_decay": 0.3}, torch.optim.AdamW, {"weight_decay": 0.3}),
}


@pytest.fixture
def rng():
    return np.random.default_rng(312)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_step_follows_torch(rng, case, scale):
    step, ours, optimizer_class, theirs = CASES[case]
    shapes = {"W1": (3, 2), "b1": (3,), "W2": (1, 3)}
    params = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    torch_params = {name: torch.tensor(value, requires_grad=True) for name, value in params.items()}
    optimizer = optimizer_class(torch_params.values(), lr=0.05, **theirs)
    state = {}
    for index in range(STEPS):
        # The rate changes on the way: the two common forms of momentum differ only then.
        lr = 0.05 if index < 4 else 0.02
        grads = {name: scale * rng.normal(size=shape) for name, shape in shapes.items()}
        params, state = step(params, grads, state, lr=lr, **ours)
        optimizer.param_groups[0]["lr"] = lr
        for name, tensor in torch_params.items():
            tensor.grad = torch.tensor(grads[name])
        optimizer.step()
        for name in shapes:
            np.testing.assert_allclose(
                params[name], torch_params[name].detach(), rtol=1e-12, atol=1e-14, err_msg=f"{case} {name} {index}"
            )


@pytest.mark.parametrize("case", CASES)
def test_step_changes_nothing_in_place(rng, case):
    step, ours, _, _ = CASES[case]
    params, grads = {"w": rng.normal(size=3)}, {"w": rng.normal(size=3)}
    first, state = step(params, grads, {}, lr=0.1, **ours)
    kept = {"w": params["w"].copy()}, {"w": grads["w"].copy()}, {"w": first["w"].copy()}
    slots = {name: slot["w"].copy() for name, slot in state.items() if name != "t"}
    step(first, grads, state, lr=0.1, **ours)
    np.testing.assert_array_equal(params["w"], kept[0]["w"])
    np.testing.assert_array_equal(grads["w"], kept[1]["w"])
    np.testing.assert_array_equal(first["w"], kept[2]["w"])
    for name, slot in slots.items():
        np.testing.assert_array_equal(state[name]["w"], slot)


@pytest.mark.parametrize("step", [optim.sgd_step, optim.momentum_step, optim.adam_step, optim.adamw_step])
def test_step_refuses_other_gradient_keys(step):
    with pytest.raises(ValueError, match="keys"):
        step({"W1": np.zeros(2)}, {"dW1": np.zeros(2)}, {}, lr=0.1)


def test_adam_first_step_is_lr_for_every_gradient_scale():
    params = {"a": np.zeros(3), "b": np.zeros(1)}
    grads = {"a": np.array([1e-3, -5.0, 1e4]), "b": np.array([-2.0])}
    stepped, state = optim.adam_step(params, grads, {}, lr=0.1)
    np.testing.assert_allclose(stepped["a"], [-0.1, 0.1, -0.1], rtol=2e-5)
    np.testing.assert_allclose(stepped["b"], [0.1], rtol=1e-7)
    assert state["t"] == 1


def test_adamw_and_adam_with_l2_differ(rng):
    params, grads = {"w": rng.normal(size=4)}, {"w": 0.01 * rng.normal(size=4)}
    with_l2, _ = optim.adam_step(params, grads, {}, lr=0.1, weight_decay=0.1)
    decoupled, _ = optim.adamw_step(params, grads, {}, lr=0.1, weight_decay=0.1)
    assert np.abs(with_l2["w"] - decoupled["w"]).max() > 1e-3


def test_momentum_equals_the_form_with_lr_inside_the_velocity_when_lr_is_fixed(rng):
    w, u = rng.normal(size=3), np.zeros(3)
    params, state = {"w": w.copy()}, {}
    for _ in range(5):
        g = rng.normal(size=3)
        u = 0.9 * u - 0.1 * g
        w = w + u
        params, state = optim.momentum_step(params, {"w": g}, state, lr=0.1)
    np.testing.assert_allclose(params["w"], w, rtol=1e-13)
    np.testing.assert_allclose(-0.1 * state["velocity"]["w"], u, rtol=1e-13)


@pytest.mark.parametrize("max_norm", [0.5, 3.0])
def test_clip_global_norm_against_torch(rng, max_norm):
    grads = {"W1": rng.normal(size=(3, 2)), "b1": rng.normal(size=3)}
    tensors = [torch.zeros(g.shape, dtype=torch.float64, requires_grad=True) for g in grads.values()]
    for tensor, g in zip(tensors, grads.values(), strict=True):
        tensor.grad = torch.tensor(g)
    torch_norm = torch.nn.utils.clip_grad_norm_(tensors, max_norm)
    clipped, norm = optim.clip_global_norm(grads, max_norm)
    assert norm == pytest.approx(torch_norm.item(), rel=1e-13)
    assert norm > max_norm / 1.5
    for tensor, g in zip(tensors, clipped.values(), strict=True):
        # torch divides by norm + 1e-6
        np.testing.assert_allclose(g, tensor.grad * ((norm + 1e-6) / norm if norm > max_norm else 1.0), rtol=1e-12)


def test_clip_global_norm_never_scales_up_and_keeps_zero():
    small = {"w": np.array([0.3, -0.4])}
    np.testing.assert_array_equal(optim.clip_global_norm(small, 5.0)[0]["w"], small["w"])
    clipped, norm = optim.clip_global_norm({"w": np.zeros(2)}, 1.0)
    assert norm == 0.0
    np.testing.assert_array_equal(clipped["w"], [0.0, 0.0])
    clipped, _ = optim.clip_global_norm({"a": np.array([30.0]), "b": np.array([-40.0])}, 1.0)
    np.testing.assert_allclose([clipped["a"][0], clipped["b"][0]], [0.6, -0.8], rtol=1e-15)


@pytest.mark.parametrize(("n", "size", "count"), [(10, 3, 4), (9, 3, 3), (2, 5, 1), (5, 1, 5)])
def test_minibatches_hold_every_index_once(n, size, count):
    batches = optim.minibatches(n, size, np.random.default_rng(0))
    assert len(batches) == count
    assert [len(batch) for batch in batches[:-1]] == [size] * (count - 1)
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(n))
    again = optim.minibatches(n, size, np.random.default_rng(0))
    np.testing.assert_array_equal(np.concatenate(batches), np.concatenate(again))


def test_minibatches_shuffle_and_refuse_empty_batches():
    rng = np.random.default_rng(0)
    first, second = (np.concatenate(optim.minibatches(50, 8, rng)) for _ in range(2))
    assert not np.array_equal(first, np.arange(50))
    assert not np.array_equal(first, second)
    with pytest.raises(ValueError, match="batch_size"):
        optim.minibatches(5, 0, rng)


def test_weighted_mean_of_batch_gradients_is_the_full_gradient(rng):
    X, y = rng.normal(size=(10, 3)), rng.integers(0, 2, size=10)
    params = mlp.init_mlp([3, 4, 2], rng)
    batches = optim.minibatches(10, 4, rng)
    grads = [mlp.loss_and_gradients(params, X[batch], y[batch])[1] for batch in batches]
    mean = optim.weighted_mean(grads, [len(batch) for batch in batches])
    _, full = mlp.loss_and_gradients(params, X, y)
    assert list(mean) == list(full)
    for name in full:
        np.testing.assert_allclose(mean[name], full[name], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6])
def test_minibatch_noise_is_the_mean_over_all_batches(rng, size):
    rows = 5.0 + rng.normal(size=(6, 3))
    batches = [rows[list(batch)].mean(axis=0) for batch in itertools.combinations(range(6), size)]
    distances = [np.sum((batch - rows.mean(axis=0)) ** 2) for batch in batches]
    assert optim.minibatch_noise(rows, size) == pytest.approx(np.mean(distances), rel=1e-13, abs=1e-15)


def test_rosenbrock_gradient(rng):
    assert optim.rosenbrock([1.0, 1.0]) == 0.0
    np.testing.assert_array_equal(optim.rosenbrock_grad([1.0, 1.0]), [0.0, 0.0])
    for p in rng.normal(size=(5, 2)):
        torch_p = torch.tensor(p, requires_grad=True)
        value = (1 - torch_p[0]) ** 2 + 100 * (torch_p[1] - torch_p[0] ** 2) ** 2
        value.backward()
        assert optim.rosenbrock(p) == pytest.approx(value.item(), rel=1e-14)
        np.testing.assert_allclose(optim.rosenbrock_grad(p), torch_p.grad, rtol=1e-13, atol=1e-13)
        numeric = gradcheck.numerical_gradient(optim.rosenbrock, p)
        np.testing.assert_allclose(optim.rosenbrock_grad(p), numeric, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("step", "options", "threshold"),
    [
        (optim.momentum_step, {"lr": 1e-3}, 1e-3),
        (optim.nesterov_step, {"lr": 1e-3}, 1e-3),
        (optim.adam_step, {"lr": 2e-2}, 1e-3),
    ],
)
def test_minimize_reaches_the_end_of_the_valley(step, options, threshold):
    history = optim.minimize(step, optim.rosenbrock_grad, [-1.5, 2.0], 2000, **options)
    assert history.shape == (2001, 2)
    np.testing.assert_array_equal(history[0], [-1.5, 2.0])
    assert optim.rosenbrock(history[-1]) < threshold
