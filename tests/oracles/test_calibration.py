"""Reliability bins and ECE against a count by hand, temperature scaling against PyTorch and closed forms."""

import math

import numpy as np
import pytest
import torch
from dlreference import calibration
from dlreference.losses import softmax


@pytest.fixture
def rng():
    return np.random.default_rng(340)


@pytest.mark.parametrize(("classes", "bins"), [(2, 10), (5, 10), (3, 4), (4, 1)])
def test_bins_counted_one_by_one(rng, classes, bins):
    probs, labels = softmax(3 * rng.normal(size=(300, classes))), rng.integers(0, classes, size=300)
    held = [[] for _ in range(bins)]
    for row, label in zip(probs, labels, strict=True):
        place = next(k for k in range(bins) if max(row) < (k + 1) / bins or k == bins - 1)
        held[place].append((max(row), float(np.argmax(row) == label)))
    counts, confidence, accuracy = calibration.reliability(probs, labels, bins)
    assert counts.tolist() == [len(inside) for inside in held]
    ece = 0.0
    for k, inside in enumerate(held):
        means = np.mean(inside, axis=0) if inside else (0.0, 0.0)
        assert (confidence[k], accuracy[k]) == pytest.approx(tuple(means), rel=1e-12)
        ece += len(inside) / 300 * abs(means[1] - means[0])
    assert calibration.expected_calibration_error(probs, labels, bins) == pytest.approx(ece, rel=1e-12)


def test_a_certain_prediction_belongs_to_the_last_bin():
    counts, confidence, accuracy = calibration.reliability([[1.0, 0.0], [0.5, 0.5], [0.25, 0.75]], [0, 0, 0], 4)
    assert counts.tolist() == [0, 0, 1, 2]
    assert confidence.tolist() == [0, 0, 0.5, 0.875]
    assert accuracy.tolist() == [0, 0, 1, 0.5]


def test_always_certain_and_right_half_of_the_time():
    probs, labels = np.tile([1.0, 0.0], (8, 1)), np.arange(8) % 2
    assert calibration.expected_calibration_error(probs, labels) == 0.5


@pytest.mark.parametrize("scale", [0.3, 1.0, 8.0])
def test_temperature_against_torch(rng, scale):
    logits = scale * 2 * rng.normal(size=(400, 4))
    labels = np.array([rng.choice(4, p=p) for p in softmax(logits / scale)])
    log_t = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    tight = {"tolerance_grad": 1e-14, "tolerance_change": 1e-16}
    optimiser = torch.optim.LBFGS([log_t], max_iter=200, line_search_fn="strong_wolfe", **tight)

    def loss():
        optimiser.zero_grad()
        value = torch.nn.functional.cross_entropy(torch.tensor(logits) / log_t.exp(), torch.tensor(labels))
        value.backward()
        return value

    optimiser.step(loss)
    ours = calibration.fit_temperature(logits, labels)
    assert ours == pytest.approx(float(log_t.detach().exp()), rel=1e-6)
    assert calibration.scaled_loss(logits, labels, ours) == pytest.approx(float(loss().detach()), rel=1e-9)
    # The labels were drawn at the temperature `scale`.
    assert ours == pytest.approx(scale, rel=0.25)


def test_slope_against_autograd(rng):
    logits, labels = 5 * rng.normal(size=(20, 3)), rng.integers(0, 3, size=20)
    inverse = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    torch.nn.functional.cross_entropy(inverse * torch.tensor(logits), torch.tensor(labels)).backward()
    assert calibration.log_loss_slope(logits, labels, 0.7) == pytest.approx(float(inverse.grad), rel=1e-12)


def test_closed_form_of_two_classes():
    # Three of four are right, each by the same logit difference: sigmoid(difference / T) must be 3/4.
    logits, labels = np.tile([4.0, 0.0], (4, 1)), np.array([0, 0, 1, 0])
    assert calibration.fit_temperature(logits, labels) == pytest.approx(4 / math.log(3), rel=1e-12)


def test_bounds(rng):
    logits = rng.normal(size=(30, 3))
    assert calibration.fit_temperature(logits, logits.argmax(axis=1)) == 0.05
    assert calibration.fit_temperature(logits, logits.argmin(axis=1)) == 20.0
    assert calibration.fit_temperature(np.ones((4, 2)), [0, 1, 0, 1]) == 0.05


def test_temperature_leaves_the_predictions(rng):
    logits = rng.normal(size=(30, 4))
    for temperature in (0.05, 20.0):
        np.testing.assert_array_equal(softmax(logits / temperature).argmax(axis=1), logits.argmax(axis=1))
