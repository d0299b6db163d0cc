"""Convolution of the reference against PyTorch in float64: values, all three gradients, and the window matrices."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dlreference import conv

RTOL, ATOL = 1e-11, 1e-12

# x shape, w shape, stride, padding, dilation
CASES = {
    "plain": ((2, 3, 7, 9), (4, 3, 3, 3), 1, 0, 1),
    "stride2_padding1_nonsquare": ((3, 2, 8, 11), (5, 2, 3, 2), 2, 1, 1),
    "dilation": ((2, 3, 11, 9), (4, 3, 2, 3), (1, 2), (2, 1), (2, 3)),
    "batch_of_one_1x1_kernel": ((1, 5, 4, 3), (2, 5, 1, 1), 1, 0, 1),
    "1x1_kernel_stride2": ((2, 3, 5, 6), (4, 3, 1, 1), 2, 0, 1),
    "kernel_as_large_as_image": ((2, 3, 4, 5), (6, 3, 4, 5), 1, 0, 1),
    "stride_beyond_kernel": ((2, 1, 9, 8), (3, 1, 2, 2), (4, 3), 0, 1),
    "padding_beyond_kernel": ((1, 2, 3, 2), (3, 2, 2, 2), 1, (3, 2), 1),
    "one_filter_one_channel": ((4, 1, 6, 5), (1, 1, 3, 3), 1, 1, 1),
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@pytest.fixture
def rng():
    return np.random.default_rng(314)


def draw(rng, *shape):
    """Standard normal numbers that refuse to be written to."""
    x = rng.normal(size=shape)
    x.flags.writeable = False
    return x


def close(ours, theirs) -> None:
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=RTOL, atol=ATOL)
    assert ours.dtype == np.float64


def leaf(x):
    return torch.tensor(x, dtype=torch.float64, requires_grad=True)


@cases
def test_conv2d_forward(rng, case):
    x_shape, w_shape, stride, padding, dilation = case
    x, w, b = draw(rng, *x_shape), draw(rng, *w_shape), draw(rng, w_shape[0])
    out, _ = conv.conv2d_forward(x, w, b, stride, padding, dilation)
    close(out, F.conv2d(leaf(x), leaf(w), leaf(b), stride, padding, dilation))


@cases
def test_conv2d_backward(rng, case):
    x_shape, w_shape, stride, padding, dilation = case
    x, w, b = draw(rng, *x_shape), draw(rng, *w_shape), draw(rng, w_shape[0])
    tensors = leaf(x), leaf(w), leaf(b)
    theirs = F.conv2d(*tensors, stride, padding, dilation)
    dout = draw(rng, *theirs.shape)
    out, cache = conv.conv2d_forward(x, w, b, stride, padding, dilation)
    for ours, expected in zip(
        conv.conv2d_backward(dout, cache), torch.autograd.grad(theirs, tensors, torch.tensor(dout)), strict=True
    ):
        close(ours, expected)
    assert out.shape == theirs.shape


def test_conv2d_forward_without_bias(rng):
    x, w = draw(rng, 2, 3, 6, 5), draw(rng, 4, 3, 3, 2)
    close(conv.conv2d_forward(x, w)[0], F.conv2d(leaf(x), leaf(w)))


def test_conv2d_accepts_integer_lists():
    out, _ = conv.conv2d_forward([[[[1, 2], [3, 4]]]], [[[[10, 1], [0, -1]]]], [5])
    assert out.tolist() == [[[[10 * 1 + 2 - 4 + 5]]]]
    assert out.dtype == np.float64


@cases
def test_im2col(rng, case):
    x_shape, w_shape, stride, padding, dilation = case
    x = draw(rng, *x_shape)
    unfolded = F.unfold(leaf(x), w_shape[2:], dilation, padding, stride)
    close(conv.im2col(x, w_shape[2:], stride, padding, dilation), unfolded.transpose(1, 2).flatten(0, 1))


@cases
def test_col2im(rng, case):
    x_shape, w_shape, stride, padding, dilation = case
    cols = draw(rng, *conv.im2col(np.zeros(x_shape), w_shape[2:], stride, padding, dilation).shape)
    blocks = torch.tensor(cols).reshape(x_shape[0], -1, cols.shape[1]).transpose(1, 2)
    folded = F.fold(blocks, x_shape[2:], w_shape[2:], dilation, padding, stride)
    close(conv.col2im(cols, x_shape, w_shape[2:], stride, padding, dilation), folded)


@cases
def test_conv_output_size(case):
    x_shape, w_shape, stride, padding, dilation = case
    theirs = F.conv2d(torch.zeros(x_shape), torch.zeros(w_shape), None, stride, padding, dilation)
    assert conv.geometry(w_shape[2:], stride, padding, dilation).output_size(*x_shape[2:]) == theirs.shape[2:]


@pytest.mark.parametrize(
    ("numbers", "expected"), [((32, 3, 1, 1, 1), 32), ((7, 3, 2, 0, 1), 3), ((8, 3, 2, 0, 1), 3), ((9, 3, 1, 0, 4), 1)]
)
def test_conv_output_size_by_hand(numbers, expected):
    assert conv.conv_output_size(*numbers) == expected


@pytest.mark.parametrize("numbers", [(2, 3, 1, 0, 1), (5, 3, 1, 0, 3), (5, 3, 0, 0, 1), (5, 3, 1, -1, 1), (5, 0)])
def test_conv_output_size_refuses(numbers):
    with pytest.raises(ValueError):
        conv.conv_output_size(*numbers)


def test_conv2d_refuses_a_kernel_larger_than_the_image():
    with pytest.raises(ValueError, match="does not fit"):
        conv.conv2d_forward(np.zeros((1, 1, 3, 2)), np.zeros((1, 1, 2, 3)))


@pytest.mark.parametrize("bias", [True, False])
def test_parameter_counts(bias):
    layer = torch.nn.Conv2d(3, 16, (5, 2), bias=bias)
    assert conv.conv_parameter_count(3, 16, (5, 2), bias) == sum(p.numel() for p in layer.parameters())
    dense = torch.nn.Linear(7, 4, bias=bias)
    assert conv.dense_parameter_count(7, 4, bias) == sum(p.numel() for p in dense.parameters())


@pytest.mark.parametrize(("down", "right"), [(0, 0), (1, -2), (-3, 0), (2, 2), (0, 9), (-9, 1)])
def test_translate(rng, down, right):
    x = draw(rng, 2, 3, 5, 6)
    moved = conv.translate(x, down, right)
    for i in range(5):
        for j in range(6):
            inside = 0 <= i - down < 5 and 0 <= j - right < 6
            expected = x[..., i - down, j - right] if inside else 0.0
            np.testing.assert_array_equal(moved[..., i, j], np.broadcast_to(expected, (2, 3)))


def test_conv2d_is_translation_equivariant_away_from_the_border(rng):
    x = np.zeros((2, 3, 12, 13))
    x[..., 4:8, 4:8] = rng.normal(size=(2, 3, 4, 4))
    w = draw(rng, 4, 3, 3, 3)
    then_moved = conv.translate(conv.conv2d_forward(x, w, padding=1)[0], 2, -1)
    moved_first = conv.conv2d_forward(conv.translate(x, 2, -1), w, padding=1)[0]
    np.testing.assert_allclose(moved_first, then_moved, rtol=RTOL, atol=ATOL)
