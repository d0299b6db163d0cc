"""Residual blocks of the reference against torch.nn in float64; shapes and counts against torch modules."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dlreference import cnn

RTOL, ATOL = 1e-10, 1e-11


@pytest.fixture
def rng():
    return np.random.default_rng(316)


def draw(rng, *shape):
    """Standard normal numbers that refuse to be written to."""
    x = rng.normal(size=shape)
    x.flags.writeable = False
    return x


def close(ours, theirs) -> None:
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=RTOL, atol=ATOL)


def leaf(x):
    return torch.tensor(x, dtype=torch.float64, requires_grad=True)


def draw_block(rng, channels, filters, projection):
    shapes = {
        "gamma1": (channels,),
        "beta1": (channels,),
        "W1": (filters, channels, 3, 3),
        "gamma2": (filters,),
        "beta2": (filters,),
        "W2": (filters, filters, 3, 3),
    }
    if projection:
        shapes["W_skip"] = (filters, channels, 1, 1)
    return {name: draw(rng, *shape) for name, shape in shapes.items()}


def torch_block(x, p, state, training, stride):
    """x and the parameters are tensors; the running statistics in `state` are updated in place."""
    branch = x
    for half, step in (("1", stride), ("2", 1)):
        running = state[int(half) - 1]
        normed = F.batch_norm(
            branch, running["running_mean"], running["running_var"], p["gamma" + half], p["beta" + half], training
        )
        branch = F.conv2d(F.relu(normed), p["W" + half], stride=step, padding=1)
    return branch + (F.conv2d(x, p["W_skip"], stride=stride) if "W_skip" in p else x)


# x shape, filters, projection, stride
BLOCKS = {
    "identity": ((3, 4, 5, 6), 4, False, 1),
    "projection": ((2, 3, 5, 4), 6, True, 1),
    "downsampling": ((2, 3, 7, 6), 5, True, 2),
    "batch_of_one": ((1, 2, 4, 3), 2, False, 1),
}
blocks = pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS.keys())
modes = pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])


def run_both(rng, block, training):
    x_shape, filters, projection, stride = block
    x, params = draw(rng, *x_shape), draw_block(rng, x_shape[1], filters, projection)
    state = [{"running_mean": draw(rng, n), "running_var": np.exp(draw(rng, n))} for n in (x_shape[1], filters)]
    their_state = [{name: torch.tensor(value) for name, value in part.items()} for part in state]
    tensors = {"x": leaf(x)} | {name: leaf(value) for name, value in params.items()}
    theirs = torch_block(tensors["x"], tensors, their_state, training, stride)
    return cnn.residual_block_forward(x, params, state, training, stride), theirs, their_state, tensors


@modes
@blocks
def test_residual_block_forward(rng, block, training):
    (out, _, new_state), theirs, their_state, _ = run_both(rng, block, training)
    close(out, theirs)
    for ours, expected in zip(new_state, their_state, strict=True):
        for name in ("running_mean", "running_var"):
            close(ours[name], expected[name])


@modes
@blocks
def test_residual_block_backward(rng, block, training):
    (out, cache, _), theirs, _, tensors = run_both(rng, block, training)
    dout = draw(rng, *out.shape)
    dx, grads = cnn.residual_block_backward(dout, cache)
    expected = torch.autograd.grad(theirs, list(tensors.values()), torch.tensor(dout))
    for name, other in zip(tensors, expected, strict=True):
        close(({"x": dx} | grads)[name], other)
    assert {"x", *grads} == set(tensors)


def test_residual_block_is_the_identity_when_the_branch_ends_in_zeros(rng):
    x, params = draw(rng, 2, 4, 5, 3), draw_block(rng, 4, 4, False)
    params["W2"] = np.zeros_like(params["W2"])
    out, cache, _ = cnn.residual_block_forward(x, params, cnn.residual_block_init_state(4, 4), training=True)
    np.testing.assert_array_equal(out, x)
    dout = draw(rng, *x.shape)
    np.testing.assert_array_equal(cnn.residual_block_backward(dout, cache)[0], dout)


def test_residual_block_refuses_shapes_that_need_a_projection(rng):
    for channels, filters, stride in ((3, 5, 1), (4, 4, 2)):
        state = cnn.residual_block_init_state(channels, filters)
        params = draw_block(rng, channels, filters, False)
        with pytest.raises(ValueError, match="W_skip"):
            cnn.residual_block_forward(draw(rng, 2, channels, 4, 4), params, state, True, stride)


def draw_dense_block(rng, inputs, hidden, outputs, scale=1.0):
    shapes = {
        "gamma1": (inputs,),
        "beta1": (inputs,),
        "W1": (hidden, inputs),
        "gamma2": (hidden,),
        "beta2": (hidden,),
        "W2": (outputs, hidden),
    }
    if inputs != outputs:
        shapes["W_skip"] = (outputs, inputs)
    return {name: scale * draw(rng, *shape) for name, shape in shapes.items()}


def torch_dense_block(x, p, skip):
    branch = x
    for half in "12":
        normed = F.layer_norm(branch, branch.shape[-1:], p["gamma" + half], p["beta" + half])
        branch = F.relu(normed) @ p["W" + half].T
    if not skip:
        return branch
    return branch + (x @ p["W_skip"].T if "W_skip" in p else x)


@pytest.mark.parametrize("skip", [True, False], ids=["residual", "plain"])
@pytest.mark.parametrize("sizes", [(4, 6, 4), (4, 3, 7)], ids=["identity", "projection"])
@pytest.mark.parametrize("batch", [5, 1])
def test_dense_residual_forward_and_backward(rng, batch, sizes, skip):
    params = draw_dense_block(rng, *sizes)
    if not skip:
        params.pop("W_skip", None)
    x, dout = draw(rng, batch, sizes[0]), draw(rng, batch, sizes[2])
    tensors = {"x": leaf(x)} | {name: leaf(value) for name, value in params.items()}
    theirs = torch_dense_block(tensors["x"], tensors, skip)
    out, cache = cnn.dense_residual_forward(x, params, skip)
    close(out, theirs)
    dx, grads = cnn.dense_residual_backward(dout, cache)
    expected = torch.autograd.grad(theirs, list(tensors.values()), torch.tensor(dout))
    for name, other in zip(tensors, expected, strict=True):
        close(({"x": dx} | grads)[name], other)
    assert {"x", *grads} == set(tensors)


@pytest.mark.parametrize("skip", [True, False], ids=["residual", "plain"])
def test_stack_gradient_norms(rng, skip):
    stack = [draw_dense_block(rng, 4, 6, 4) for _ in range(3)]
    x, dout = draw(rng, 5, 4), draw(rng, 5, 4)
    signals = [leaf(x)]
    for params in stack:
        signals.append(torch_dense_block(signals[-1], {name: leaf(value) for name, value in params.items()}, skip))
    theirs = torch.autograd.grad(signals[-1], signals, torch.tensor(dout))
    norms = cnn.stack_gradient_norms(x, stack, dout, skip)
    np.testing.assert_allclose(norms, [float(g.norm()) for g in theirs], rtol=RTOL)


def test_shortcuts_keep_the_gradient_of_a_deep_stack_with_small_weights(rng):
    stack = [draw_dense_block(rng, 8, 8, 8, scale=0.05) for _ in range(20)]
    x, dout = draw(rng, 6, 8), draw(rng, 6, 8)
    plain, residual = (cnn.stack_gradient_norms(x, stack, dout, skip)[0] for skip in (False, True))
    assert plain < 1e-6
    assert 0.5 < residual / np.linalg.norm(dout) < 2.0


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def test_shape_walk_of_a_small_vgg():
    layers = [
        cnn.Conv(8, 3, padding=1),
        cnn.Conv(8, (3, 5), stride=(1, 2), padding=(1, 2), bias=False),
        cnn.Pool(2),
        cnn.Conv(16, 3, stride=2),
        cnn.Pool(3, stride=1),
        cnn.Flatten(),
        cnn.Dense(10),
        cnn.Dense(4, bias=False),
    ]
    modules = [
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.Conv2d(8, 8, (3, 5), stride=(1, 2), padding=(1, 2), bias=False),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(8, 16, 3, stride=2),
        torch.nn.MaxPool2d(3, stride=1),
        torch.nn.Flatten(),
        torch.nn.Linear(16 * 5 * 3, 10),
        torch.nn.Linear(10, 4, bias=False),
    ]
    out = torch.zeros(1, 3, 30, 45)
    for summary, module in zip(cnn.shape_walk((3, 30, 45), layers), modules, strict=True):
        out = module(out)
        assert summary.shape == tuple(out.shape[1:])
        assert summary.parameters == count(module)


def test_shape_walk_of_a_small_resnet():
    layers = [cnn.Conv(16, 3, padding=1), cnn.Residual(16), cnn.Residual(32, stride=2), cnn.GlobalPool(), cnn.Dense(10)]
    walk = cnn.shape_walk((3, 31, 28), layers)
    assert [summary.shape for summary in walk] == [(16, 31, 28), (16, 31, 28), (32, 16, 14), (32,), (10,)]
    norm, conv = torch.nn.BatchNorm2d, lambda *sizes: torch.nn.Conv2d(*sizes, bias=False)
    assert walk[1].parameters == count(norm(16), conv(16, 16, 3), norm(16), conv(16, 16, 3))
    assert walk[2].parameters == count(norm(16), conv(16, 32, 3), norm(32), conv(32, 32, 3), conv(16, 32, 1))


@pytest.mark.parametrize(
    ("shape", "layer"),
    [((12,), cnn.Conv(3, 3)), ((3, 4, 4), cnn.Dense(2)), ((7,), cnn.GlobalPool()), ((3, 2, 2), cnn.Pool(3))],
)
def test_shape_walk_refuses(shape, layer):
    with pytest.raises(ValueError):
        cnn.shape_walk(shape, [layer])


def test_two_3x3_are_cheaper_than_5x5_and_three_than_7x7():
    per_pair = 64 * 64
    assert cnn.conv_stack_parameter_count([64, 64, 64], [3, 3]) == 18 * per_pair
    assert cnn.conv_stack_parameter_count([64, 64], [5]) == 25 * per_pair
    assert cnn.conv_stack_parameter_count([64] * 4, [3, 3, 3], bias=True) == 27 * per_pair + 3 * 64
    assert cnn.conv_stack_parameter_count([64, 64], [7]) == 49 * per_pair


def test_bottleneck_parameter_count():
    convs = [torch.nn.Conv2d(256, 64, 1, bias=False), torch.nn.Conv2d(64, 64, 3, bias=False)]
    convs.append(torch.nn.Conv2d(64, 256, 1, bias=False))
    assert cnn.bottleneck_parameter_count(256, 64) == count(*convs) == 69_632
