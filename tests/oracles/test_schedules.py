"""Learning-rate schedules of the reference against torch.optim.lr_scheduler, and their end points."""

import math

import numpy as np
import pytest
import torch
from dlreference import schedules
from torch.optim import lr_scheduler


def torch_rates(make_scheduler, steps, lr=0.4):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = make_scheduler(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(rates)


def test_step_decay_against_torch():
    expected = torch_rates(lambda o: lr_scheduler.StepLR(o, step_size=3, gamma=0.5), 14)
    np.testing.assert_allclose(schedules.step_decay(np.arange(14), 0.4, 0.5, 3), expected, rtol=1e-12)


def test_exponential_decay_against_torch():
    expected = torch_rates(lambda o: lr_scheduler.ExponentialLR(o, gamma=0.9), 14)
    np.testing.assert_allclose(schedules.exponential_decay(np.arange(14), 0.4, -math.log(0.9)), expected, rtol=1e-12)


@pytest.mark.parametrize("T_max", [1, 7, 10])
def test_cosine_annealing_against_torch(T_max):
    expected = torch_rates(lambda o: lr_scheduler.CosineAnnealingLR(o, T_max, eta_min=0.05), T_max + 1)
    np.testing.assert_allclose(schedules.cosine_annealing(np.arange(T_max + 1), 0.4, T_max, 0.05), expected, rtol=1e-12)


def test_cosine_annealing_stays_at_the_end():
    np.testing.assert_allclose(schedules.cosine_annealing([10, 11, 20, 1000], 0.4, 10, 0.05), 0.05, rtol=1e-15)


@pytest.mark.parametrize(("T_warmup", "T_total"), [(5, 20), (1, 3), (0, 4), (99, 100)])
def test_warmup_cosine_against_its_two_parts(T_warmup, T_total):
    t = np.arange(T_total + 5)
    rates = schedules.warmup_cosine(t, 0.4, T_warmup, T_total, 0.01)
    expected = torch_rates(
        lambda o: lr_scheduler.CosineAnnealingLR(o, T_total - T_warmup, eta_min=0.01), T_total - T_warmup + 1
    )
    np.testing.assert_allclose(rates[T_warmup : T_total + 1], expected, rtol=1e-12)
    np.testing.assert_allclose(rates[T_total:], 0.01, rtol=1e-15)
    assert rates[T_warmup] == rates.max() == 0.4
    assert rates.min() > 0
    # one straight line up to and including the peak
    np.testing.assert_allclose(np.diff(rates[: T_warmup + 1]), 0.4 / (T_warmup + 1), rtol=1e-12)
    np.testing.assert_allclose(rates[0], 0.4 / (T_warmup + 1), rtol=1e-12)


def test_warmup_cosine_with_nothing_but_warmup():
    np.testing.assert_allclose(schedules.warmup_cosine(np.arange(6), 1.0, 4, 4, 0.1), [0.2, 0.4, 0.6, 0.8, 0.1, 0.1])


def test_transformer_schedule_peaks_at_the_end_of_the_warmup():
    t = np.arange(1, 200)
    rates = schedules.transformer(t, 512, 40)
    assert t[rates.argmax()] == 40
    assert rates.max() == pytest.approx(1 / math.sqrt(512 * 40), rel=1e-14)
    np.testing.assert_allclose(rates[:40], rates[0] * t[:40], rtol=1e-13)
    np.testing.assert_allclose(rates[39:], rates[39] * np.sqrt(40 / t[39:]), rtol=1e-13)


@pytest.mark.parametrize("T_total", [5, 20, 33, 100])
@pytest.mark.parametrize("pct_start", [0.3, 0.45])
def test_one_cycle_against_torch(T_total, pct_start):
    def make(optimizer):
        return lr_scheduler.OneCycleLR(
            optimizer, max_lr=0.4, total_steps=T_total, pct_start=pct_start, cycle_momentum=False
        )

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = make(optimizer)
    expected = [optimizer.param_groups[0]["lr"]]
    for _ in range(T_total - 1):
        optimizer.step()
        scheduler.step()
        expected.append(optimizer.param_groups[0]["lr"])
    rates = schedules.one_cycle(np.arange(T_total), 0.4, T_total, pct_start)
    np.testing.assert_allclose(rates, expected, rtol=1e-11, atol=1e-16)
    assert rates.max() <= 0.4
    assert schedules.one_cycle(T_total + 7, 0.4, T_total, pct_start) == rates[-1]
    assert rates[-1] == pytest.approx(0.4 / 25 / 1e4, rel=1e-9)


def test_one_cycle_without_a_rise_starts_at_the_peak():
    assert schedules.one_cycle(0, 0.4, 2, 0.5) == 0.4
    assert schedules.one_cycle(1, 0.4, 2, 0.5) == pytest.approx(0.4 / 25 / 1e4, rel=1e-9)


@pytest.mark.parametrize(("T_0", "T_mult"), [(4, 1), (3, 2), (1, 3), (5, 2)])
def test_warm_restarts_against_torch(T_0, T_mult):
    expected = torch_rates(lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0, T_mult, eta_min=0.05), 50)
    np.testing.assert_allclose(schedules.warm_restarts(np.arange(50), 0.4, T_0, T_mult, 0.05), expected, rtol=1e-12)


@pytest.mark.parametrize(
    "rate",
    [
        lambda t: schedules.step_decay(t, 0.4, 0.5, 3),
        lambda t: schedules.exponential_decay(t, 0.4, 0.1),
        lambda t: schedules.cosine_annealing(t, 0.4, 8),
        lambda t: schedules.warmup_cosine(t, 0.4, 3, 8),
        lambda t: schedules.transformer(t, 64, 3),
        lambda t: schedules.one_cycle(t, 0.4, 8),
        lambda t: schedules.warm_restarts(t, 0.4, 3, 2),
    ],
)
def test_a_number_gives_a_number(rate):
    many = rate(np.arange(1, 9))
    for t, expected in zip(range(1, 9), many, strict=True):
        single = rate(t)
        assert np.ndim(single) == 0
        assert float(single) == expected
