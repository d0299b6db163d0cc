"""Dropout, penalties, early stopping and Monte Carlo dropout of the reference against PyTorch and closed forms."""

import numpy as np
import pytest
import torch
from dlreference import gradcheck, optim, regularization


@pytest.fixture
def rng():
    return np.random.default_rng(311)


@pytest.mark.parametrize("p", [0.0, 0.2, 0.7])
def test_dropout_keeps_the_mean_and_drops_the_share_p(p):
    out, mask = regularization.dropout_forward(np.ones((400, 500)), p, np.random.default_rng(0))
    # 200,000 Bernoulli draws: five standard deviations of the share and of the mean
    spread = 5 * np.sqrt(p * (1 - p) / out.size)
    assert abs((out == 0).mean() - p) <= spread
    assert abs(out.mean() - 1.0) <= spread / (1 - p)
    np.testing.assert_allclose(out[out != 0], 1 / (1 - p), rtol=1e-15)
    np.testing.assert_array_equal(mask, out)


def test_dropout_draws_one_uniform_per_element(rng):
    x = rng.normal(size=(3, 4))
    out, _ = regularization.dropout_forward(x, 0.4, np.random.default_rng(5))
    kept = np.random.default_rng(5).random((3, 4)) >= 0.4
    np.testing.assert_allclose(out, x * kept / 0.6, rtol=1e-15)


def test_dropout_backward_against_autograd(rng):
    x, dout = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    _, mask = regularization.dropout_forward(x, 0.5, rng)
    torch_x = torch.tensor(x, requires_grad=True)
    (torch_x * torch.tensor(mask)).backward(torch.tensor(dout))
    np.testing.assert_allclose(regularization.dropout_backward(dout, mask), torch_x.grad, rtol=1e-15)


def test_dropout_is_the_identity_in_evaluation_and_draws_nothing(rng):
    x = rng.normal(size=(5, 3))
    state = rng.bit_generator.state
    out, mask = regularization.dropout_forward(x, 0.5, rng, training=False)
    assert mask is None
    assert rng.bit_generator.state == state
    np.testing.assert_array_equal(out, x)
    np.testing.assert_array_equal(regularization.dropout_backward(x, None), x)


def test_dropout_at_the_ends_of_p(rng):
    x = rng.normal(size=(5, 3))
    np.testing.assert_array_equal(regularization.dropout_forward(x, 1.0, rng)[0], np.zeros((5, 3)))
    np.testing.assert_array_equal(regularization.dropout_forward(x, 0.0, rng)[0], x)
    for p in (-0.1, 1.1):
        with pytest.raises(ValueError, match="lie in"):
            regularization.dropout_forward(x, p, rng)


@pytest.mark.parametrize("penalty", [regularization.l2_penalty, regularization.l1_penalty])
def test_penalty_gradient_matches_central_differences_and_spares_biases(rng, penalty):
    params = {"W1": rng.normal(size=(3, 2)), "b1": rng.normal(size=3), "gamma1": rng.normal(size=3)}
    _, grads = penalty(params, 0.3)
    numeric = gradcheck.numerical_gradients(lambda p: penalty(p, 0.3)[0], params)
    assert list(grads) == list(params)
    for name in params:
        np.testing.assert_allclose(grads[name], numeric[name], rtol=1e-8, atol=1e-9)
    assert not grads["b1"].any()
    assert not grads["gamma1"].any()


def test_penalty_values(rng):
    params = {"W1": np.array([[3.0, -4.0]]), "b1": np.array([100.0])}
    assert regularization.l2_penalty(params, 0.1)[0] == pytest.approx(0.05 * 25, rel=1e-15)
    assert regularization.l1_penalty(params, 0.1)[0] == pytest.approx(0.7, rel=1e-15)
    np.testing.assert_array_equal(regularization.l1_penalty({"W1": np.zeros(2)}, 0.1)[1]["W1"], [0.0, 0.0])


def test_soft_threshold_against_torch(rng):
    w = 2 * rng.normal(size=(4, 5))
    expected = torch.nn.functional.softshrink(torch.tensor(w), 0.5)
    np.testing.assert_allclose(regularization.soft_threshold(w, 0.5), expected, rtol=1e-15)


def test_proximal_l1_step_minimises_its_objective(rng):
    w, grad = rng.normal(size=6), rng.normal(size=6)
    stepped = regularization.proximal_l1_step(w, grad, 0.3, 0.8)
    grid = np.linspace(-4, 4, 80001)[:, None]
    objective = (grid - (w - 0.3 * grad)) ** 2 / 2 + 0.3 * 0.8 * np.abs(grid)
    np.testing.assert_allclose(stepped, grid[objective.argmin(axis=0), 0], atol=1.01e-4)
    assert (stepped == 0.0).any()


def test_l2_in_the_gradient_equals_weight_decay_for_sgd_but_not_for_adam(rng):
    w, grad = rng.normal(size=(3, 2)), rng.normal(size=(3, 2))
    coupled = regularization.l2_gradient_step(w, grad, 0.1, 0.05)
    np.testing.assert_allclose(coupled, regularization.weight_decay_step(w, grad, 0.1, 0.05), rtol=1e-13)
    stepped, _ = optim.sgd_step({"w": w}, {"w": grad}, {}, 0.1, weight_decay=0.05)
    np.testing.assert_array_equal(coupled, stepped["w"])
    _, l2_grad = regularization.l2_penalty({"W1": w}, 0.05)
    np.testing.assert_allclose(coupled, w - 0.1 * (grad + l2_grad["W1"]), rtol=1e-15)


@pytest.mark.parametrize(
    ("losses", "patience", "min_delta", "expected"),
    [
        ([5, 4, 3, 2, 1], 2, 0.0, (4, 4)),
        ([5, 3, 4, 4, 4, 1], 3, 0.0, (1, 4)),
        ([5, 3, 4, 4, 2, 3, 3], 3, 0.0, (4, 6)),
        ([5, 3, 3, 3], 2, 0.0, (1, 3)),
        ([5, 4.95, 4.9, 4.7], 2, 0.2, (0, 2)),
        ([5, float("nan"), float("nan"), 1], 2, 0.0, (0, 2)),
        ([float("nan"), float("nan"), 1], 2, 0.0, (0, 1)),
        ([float("nan"), 3, 4, 2], 2, 0.0, (3, 3)),
        ([1], 1, 0.0, (0, 0)),
    ],
)
def test_early_stopping(losses, patience, min_delta, expected):
    assert regularization.early_stopping(losses, patience, min_delta) == expected


def test_early_stopping_refuses_nothing_to_look_at():
    with pytest.raises(ValueError, match="at least"):
        regularization.early_stopping([], 2)
    with pytest.raises(ValueError, match="at least"):
        regularization.early_stopping([1.0], 0)
    with pytest.raises(ValueError, match="max_epochs"):
        regularization.train_with_early_stopping({}, dict, lambda p: 0.0, 0, 1)


def test_train_with_early_stopping_restores_the_best_weights():
    best, losses = regularization.train_with_early_stopping(
        {"w": np.array([5.0])},
        epoch=lambda p: {"w": p["w"] - 1.0},
        validation_loss=lambda p: float(np.abs(p["w"][0] - 2.0)),
        max_epochs=50,
        patience=3,
    )
    np.testing.assert_array_equal(best["w"], [2.0])
    assert losses == [2.0, 1.0, 0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize(("patience", "epochs"), [(1, 1), (3, 3), (9, 5)])
def test_train_with_early_stopping_ends_a_training_that_is_nan_from_the_start(patience, epochs):
    best, losses = regularization.train_with_early_stopping(
        {"w": np.array([5.0])}, lambda p: {"w": p["w"] - 1.0}, lambda p: float("nan"), 5, patience
    )
    assert len(losses) == epochs
    np.testing.assert_array_equal(best["w"], [4.0])


def test_mc_dropout_moments_of_a_linear_model(rng):
    w, x, p = rng.normal(size=6), rng.normal(size=6), 0.3

    def predict(generator):
        return regularization.dropout_forward(x, p, generator)[0] @ w

    mean, var = regularization.mc_dropout(predict, 20000, np.random.default_rng(1))
    exact_var = p / (1 - p) * np.sum((w * x) ** 2)
    assert abs(mean - w @ x) < 5 * np.sqrt(exact_var / 20000)
    assert var == pytest.approx(exact_var, rel=0.1)
    again = regularization.mc_dropout(predict, 20000, np.random.default_rng(1))
    assert (mean, var) == again
