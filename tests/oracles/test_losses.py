"""The losses of the reference against PyTorch in float64, and against closed forms where logits are huge."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dlreference import losses

RTOL, ATOL = 1e-12, 1e-13


def close(ours, theirs) -> None:
    np.testing.assert_allclose(ours, np.asarray(theirs), rtol=RTOL, atol=ATOL)


def torch_value_and_grad(loss, x, *args, **kwargs):
    x = torch.tensor(np.asarray(x, dtype=np.float64), requires_grad=True)
    value = loss(x, *args, **kwargs)
    value.backward()
    return value.item(), x.grad.numpy()


def check_against_torch(ours, loss, x, *args, **kwargs) -> None:
    value, grad = torch_value_and_grad(loss, x, *args, **kwargs)
    close(ours[0], value)
    close(ours[1], grad)
    assert isinstance(ours[0], float)
    assert ours[1].shape == np.shape(x)
    assert ours[1].dtype == np.float64


@pytest.fixture
def rng():
    return np.random.default_rng(305)


@pytest.mark.parametrize("shape", [(7,), (1,), (5, 3), (1, 4), (2, 3, 5)])
def test_mse_value_and_gradient(rng, shape):
    y_hat, y = rng.normal(size=shape), rng.normal(size=shape)
    check_against_torch(losses.mse(y_hat, y), F.mse_loss, y_hat, torch.tensor(y))


def test_mse_refuses_broadcasting():
    with pytest.raises(ValueError, match="shapes must be equal"):
        losses.mse(np.zeros((4, 1)), np.zeros(4))


@pytest.mark.parametrize("shape", [(7,), (1,), (5, 3), (2, 3, 5)])
@pytest.mark.parametrize("scale", [1.0, 30.0, 1e4])
def test_bce_with_logits_value_and_gradient(rng, shape, scale):
    z, y = scale * rng.normal(size=shape), rng.integers(0, 2, size=shape).astype(float)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        ours = losses.bce_with_logits(z, y)
    check_against_torch(ours, F.binary_cross_entropy_with_logits, z, torch.tensor(y))


def test_bce_with_logits_soft_targets(rng):
    z, y = rng.normal(size=(6, 2)), rng.random(size=(6, 2))
    check_against_torch(losses.bce_with_logits(z, y), F.binary_cross_entropy_with_logits, z, torch.tensor(y))


def test_bce_with_logits_is_exact_for_huge_logits():
    loss, grad = losses.bce_with_logits([1e4, -1e4], [0.0, 1.0])
    assert loss == 1e4
    close(grad, [0.5, -0.5])
    loss, grad = losses.bce_with_logits([1e4, -1e4], [1.0, 0.0])
    assert loss == 0.0
    close(grad, [0.0, 0.0])


def test_bce_with_logits_keeps_the_digits_of_a_confident_right_answer():
    loss, _ = losses.bce_with_logits([40.0], [1.0])
    assert loss == pytest.approx(math.exp(-40.0), rel=1e-12)


def test_bce_with_logits_refuses_broadcasting():
    with pytest.raises(ValueError, match="shapes must be equal"):
        losses.bce_with_logits(np.zeros((4, 1)), np.zeros(4))


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_softmax_family_forward(rng, axis, scale):
    z = scale * rng.normal(size=(4, 7, 3))
    torch_z = torch.tensor(z)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        close(losses.softmax(z, axis), torch.softmax(torch_z, axis))
        close(losses.log_softmax(z, axis), torch.log_softmax(torch_z, axis))
        close(losses.logsumexp(z, axis), torch.logsumexp(torch_z, axis))
        assert losses.logsumexp(z, axis, keepdims=True).shape == torch.logsumexp(torch_z, axis, keepdim=True).shape


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_backward(rng, axis):
    z, dout = rng.normal(size=(4, 7, 3)), rng.normal(size=(4, 7, 3))
    torch_z = torch.tensor(z, requires_grad=True)
    torch.softmax(torch_z, axis).backward(torch.tensor(dout))
    close(losses.softmax_backward(dout, losses.softmax(z, axis), axis), torch_z.grad)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_log_softmax_backward(rng, axis):
    z, dout = rng.normal(size=(4, 7, 3)), rng.normal(size=(4, 7, 3))
    torch_z = torch.tensor(z, requires_grad=True)
    torch.log_softmax(torch_z, axis).backward(torch.tensor(dout))
    close(losses.log_softmax_backward(dout, losses.log_softmax(z, axis), axis), torch_z.grad)


def test_softmax_of_one_column_is_one():
    close(losses.softmax([[1e4], [-1e4]]), [[1.0], [1.0]])


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_cross_entropy_integer_labels(rng, batch, classes, scale):
    z, y = scale * rng.normal(size=(batch, classes)), rng.integers(0, classes, size=batch)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        ours = losses.cross_entropy(z, y)
    check_against_torch(ours, F.cross_entropy, z, torch.tensor(y))


def test_cross_entropy_soft_targets(rng):
    z, targets = rng.normal(size=(6, 4)), losses.softmax(rng.normal(size=(6, 4)))
    check_against_torch(losses.cross_entropy(z, targets), F.cross_entropy, z, torch.tensor(targets))


def test_cross_entropy_label_smoothing_as_soft_targets(rng):
    z, y = rng.normal(size=(6, 4)), rng.integers(0, 4, size=6)
    smoothed = 0.9 * losses.one_hot(y, 4) + 0.1 / 4
    check_against_torch(losses.cross_entropy(z, smoothed), F.cross_entropy, z, torch.tensor(y), label_smoothing=0.1)


def test_cross_entropy_targets_that_do_not_sum_to_one(rng):
    z, targets = rng.normal(size=(6, 4)), rng.random(size=(6, 4))
    check_against_torch(losses.cross_entropy(z, targets), F.cross_entropy, z, torch.tensor(targets))


def test_cross_entropy_labels_and_one_hot_agree(rng):
    z, y = rng.normal(size=(6, 4)), rng.integers(0, 4, size=6)
    from_labels, from_one_hot = losses.cross_entropy(z, y), losses.cross_entropy(z, losses.one_hot(y, 4))
    assert from_labels[0] == from_one_hot[0]
    np.testing.assert_array_equal(from_labels[1], from_one_hot[1])


def test_cross_entropy_over_a_sequence_with_a_mask(rng):
    z, y = rng.normal(size=(3, 5, 4)), rng.integers(0, 4, size=(3, 5))
    mask = rng.random(size=(3, 5)) < 0.6
    ignored = torch.tensor(np.where(mask, y, -100))
    check_against_torch(
        losses.cross_entropy(z, y, mask),
        lambda x: F.cross_entropy(x.reshape(-1, 4), ignored.reshape(-1), ignore_index=-100),
        z,
    )


def test_cross_entropy_is_exact_for_huge_logits():
    loss, grad = losses.cross_entropy([[1e4, 0.0], [1e4, 0.0]], [1, 0])
    assert loss == 5e3
    close(grad, [[0.5, -0.5], [0.0, 0.0]])


@pytest.mark.parametrize(
    ("logits", "targets", "mask", "reason"),
    [
        (np.zeros((3, 4)), np.array([0, 1, 4]), None, "labels must lie in"),
        (np.zeros((3, 4)), np.array([0, 1, -1]), None, "labels must lie in"),
        (np.zeros((3, 4)), np.array([0, 1]), None, "targets must have shape"),
        (np.zeros((3, 4)), np.array([0, 1, 2]), np.ones((3, 4), bool), "mask must have shape"),
        (np.zeros((3, 4)), np.array([0, 1, 2]), np.zeros(3, bool), "no position counts"),
    ],
)
def test_cross_entropy_refuses(logits, targets, mask, reason):
    with pytest.raises(ValueError, match=reason):
        losses.cross_entropy(logits, targets, mask)


def test_one_hot_refuses_floats():
    with pytest.raises(TypeError, match="integers"):
        losses.one_hot([0.5], 2)


@pytest.mark.parametrize("shape", [(9,), (1,), (5, 3)])
@pytest.mark.parametrize("delta", [0.3, 1.0, 2.5])
def test_huber_value_and_gradient(rng, shape, delta):
    y_hat, y = 2 * rng.normal(size=shape), rng.normal(size=shape)
    check_against_torch(losses.huber(y_hat, y, delta), F.huber_loss, y_hat, torch.tensor(y), delta=delta)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_huber_is_continuous_at_delta(sign):
    below, at, above = (losses.huber([sign * r], [0.0], 1.5) for r in (1.5 - 1e-9, 1.5, 1.5 + 1e-9))
    assert at[0] == pytest.approx(1.5**2 / 2, rel=1e-15)
    assert above[0] - below[0] == pytest.approx(2e-9 * 1.5, rel=1e-5)
    np.testing.assert_allclose([below[1], above[1]], sign * 1.5, rtol=1e-8)


def test_huber_refuses_a_delta_that_is_not_positive():
    with pytest.raises(ValueError, match="positive"):
        losses.huber([1.0], [0.0], 0.0)


def test_losses_leave_their_inputs_alone(rng):
    z, y = rng.normal(size=(4, 3)), rng.integers(0, 3, size=4)
    targets = losses.one_hot(y, 3)
    before = z.copy(), targets.copy()
    losses.cross_entropy(z, targets)
    losses.mse(z, targets)
    losses.bce_with_logits(z, targets)
    losses.huber(z, targets)
    np.testing.assert_array_equal(z, before[0])
    np.testing.assert_array_equal(targets, before[1])
