"""Pooling of the reference against PyTorch in float64, ties included; receptive fields against gradients."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dlreference import pooling

RTOL, ATOL = 1e-12, 1e-13

# x shape, kernel, stride, padding
CASES = {
    "2x2": ((2, 3, 6, 8), 2, None, 0),
    "remainder_dropped": ((2, 3, 7, 5), 2, None, 0),
    "overlapping_nonsquare": ((3, 2, 8, 7), (3, 2), (2, 1), 0),
    "padding": ((2, 3, 6, 5), 3, 2, 1),
    "stride_beyond_kernel": ((1, 2, 9, 11), 2, (3, 4), 0),
    "whole_image_batch_of_one": ((1, 4, 3, 5), (3, 5), None, 0),
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@pytest.fixture
def rng():
    return np.random.default_rng(315)


def draw(rng, *shape, ties=False):
    """Normal numbers (or a few integers, so that many are equal) that refuse to be written to."""
    x = rng.integers(-1, 2, size=shape).astype(np.float64) if ties else rng.normal(size=shape)
    x.flags.writeable = False
    return x


def close(ours, theirs) -> None:
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=RTOL, atol=ATOL)


def leaf(x):
    return torch.tensor(x, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@cases
def test_max_pool2d_forward(rng, case, ties):
    x_shape, *sizes = case
    x = draw(rng, *x_shape, ties=ties)
    close(pooling.max_pool2d_forward(x, *sizes)[0], F.max_pool2d(leaf(x), *sizes))


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@cases
def test_max_pool2d_backward(rng, case, ties):
    x_shape, *sizes = case
    x = draw(rng, *x_shape, ties=ties)
    tensor = leaf(x)
    theirs = F.max_pool2d(tensor, *sizes)
    dout = draw(rng, *theirs.shape)
    _, cache = pooling.max_pool2d_forward(x, *sizes)
    close(pooling.max_pool2d_backward(dout, cache), torch.autograd.grad(theirs, tensor, torch.tensor(dout))[0])


def test_max_pool2d_forward_and_backward_dilated(rng):
    x = draw(rng, 2, 3, 9, 8)
    tensor = leaf(x)
    theirs = F.max_pool2d(tensor, 2, 1, 1, dilation=(3, 2))
    dout = draw(rng, *theirs.shape)
    out, cache = pooling.max_pool2d_forward(x, 2, 1, 1, dilation=(3, 2))
    close(out, theirs)
    close(pooling.max_pool2d_backward(dout, cache), torch.autograd.grad(theirs, tensor, torch.tensor(dout))[0])


def test_max_pool2d_backward_gives_a_tie_to_the_first_in_row_major_order():
    _, cache = pooling.max_pool2d_forward(np.array([[[[0.0, 5.0], [5.0, 5.0]]]]), 2)
    assert pooling.max_pool2d_backward([[[[3.0]]]], cache).tolist() == [[[[0.0, 3.0], [0.0, 0.0]]]]


@cases
def test_avg_pool2d_forward(rng, case):
    x_shape, *sizes = case
    x = draw(rng, *x_shape)
    close(pooling.avg_pool2d_forward(x, *sizes)[0], F.avg_pool2d(leaf(x), *sizes))


@cases
def test_avg_pool2d_backward(rng, case):
    x_shape, *sizes = case
    x = draw(rng, *x_shape)
    tensor = leaf(x)
    theirs = F.avg_pool2d(tensor, *sizes)
    dout = draw(rng, *theirs.shape)
    _, cache = pooling.avg_pool2d_forward(x, *sizes)
    close(pooling.avg_pool2d_backward(dout, cache), torch.autograd.grad(theirs, tensor, torch.tensor(dout))[0])


@pytest.mark.parametrize("shape", [(3, 4, 5, 2), (1, 1, 1, 1)])
def test_global_avg_pool_forward(rng, shape):
    x = draw(rng, *shape)
    close(pooling.global_avg_pool_forward(x)[0], F.adaptive_avg_pool2d(leaf(x), 1)[..., 0, 0])


@pytest.mark.parametrize("shape", [(3, 4, 5, 2), (1, 1, 1, 1)])
def test_global_avg_pool_backward(rng, shape):
    x, dout = draw(rng, *shape), draw(rng, *shape[:2])
    tensor = leaf(x)
    theirs = torch.autograd.grad(F.adaptive_avg_pool2d(tensor, 1)[..., 0, 0], tensor, torch.tensor(dout))[0]
    close(pooling.global_avg_pool_backward(dout, pooling.global_avg_pool_forward(x)[1]), theirs)


def test_receptive_fields_of_the_textbook_stack():
    layers = [(3, 1), (2, 2), (3, 1), (2, 2), (3, 1)]
    assert pooling.receptive_fields(layers) == [(3, 1), (4, 2), (8, 2), (10, 4), (18, 4)]
    assert pooling.receptive_field(layers) == 18
    assert pooling.receptive_field([]) == 1


@pytest.mark.parametrize(
    "layers", [[(3, 1), (2, 2), (3, 1)], [(3, 2), (3, 2), (2, 1)], [(3, 1, 2), (3, 2, 1), (2, 1, 3)]]
)
def test_receptive_field_and_jump_are_where_gradients_reach(layers):
    """The pixels with a gradient are the field of one unit; those of its neighbour start one jump further."""
    x = torch.zeros(1, 1, 80, requires_grad=True, dtype=torch.float64)
    out = x
    for kernel, stride, *dilation in layers:
        ones = torch.ones(1, 1, kernel, dtype=torch.float64)
        out = F.conv1d(out, ones, stride=stride, dilation=dilation[0] if dilation else 1)
    field, jump = pooling.receptive_fields(layers)[-1]
    reached = [torch.autograd.grad(out[0, 0, i], x, retain_graph=True)[0].nonzero()[:, 2] for i in (0, 1)]
    assert int(reached[0].max() - reached[0].min()) + 1 == field
    assert int(reached[1].min() - reached[0].min()) == jump


def test_shift_change(rng):
    x = np.zeros((2, 3, 9, 9))
    x[..., 3:6, 3:6] = rng.normal(size=(2, 3, 3, 3))
    assert pooling.shift_change(lambda images: pooling.global_avg_pool_forward(images)[0], x, 1, 2) < 1e-14
    assert pooling.shift_change(lambda images: images, x, 1, 0) == pytest.approx(
        np.linalg.norm(np.roll(x, 1, axis=2) - x) / np.linalg.norm(x)
    )
