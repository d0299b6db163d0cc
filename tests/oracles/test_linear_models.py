"""Linear maps, polynomials and logistic regression of the reference against PyTorch, NumPy and scikit-learn."""

import numpy as np
import pytest
import torch
from dlreference import gradcheck, linear, linear_models, logistic
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import PolynomialFeatures


@pytest.fixture
def rng():
    return np.random.default_rng(301)


@pytest.mark.parametrize("leading", [(), (1,), (7,), (2, 5), (2, 1, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_forward_backward(rng, leading, bias):
    x, W, b = rng.normal(size=(*leading, 3)), rng.normal(size=(4, 3)), rng.normal(size=4)
    out, cache = linear.linear_forward(x, W, b if bias else None)
    dout = rng.normal(size=out.shape)
    dx, dW, db = linear.linear_backward(dout, cache)
    tensors = [torch.tensor(v, requires_grad=True) for v in (x, W, b)]
    torch_out = torch.nn.functional.linear(tensors[0], tensors[1], tensors[2] if bias else None)
    torch_out.backward(torch.tensor(dout))
    np.testing.assert_allclose(out, torch_out.detach(), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(dx, tensors[0].grad, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(dW, tensors[1].grad, rtol=1e-13, atol=1e-13)
    if bias:
        np.testing.assert_allclose(db, tensors[2].grad, rtol=1e-13, atol=1e-13)


def test_compose_linear_is_the_second_after_the_first(rng):
    W1, b1, W2, b2 = rng.normal(size=(4, 3)), rng.normal(size=4), rng.normal(size=(2, 4)), rng.normal(size=2)
    x = rng.normal(size=(6, 3))
    W, b = linear.compose_linear(W1, b1, W2, b2)
    assert W.shape == (2, 3)
    np.testing.assert_allclose(x @ W.T + b, (x @ W1.T + b1) @ W2.T + b2, rtol=1e-12)


def test_empirical_risk_is_a_mean(rng):
    X, y = rng.normal(size=(9, 3)), rng.normal(size=9)
    w = rng.normal(size=3)
    risk = linear_models.empirical_risk(lambda x: x @ w, linear_models.squared_error, X, y)
    assert risk == pytest.approx(float(np.mean((X @ w - y) ** 2)), rel=1e-14)
    doubled = linear_models.empirical_risk(
        lambda x: x @ w, linear_models.squared_error, np.tile(X, (2, 1)), np.tile(y, 2)
    )
    assert doubled == pytest.approx(risk, rel=1e-14)
    with pytest.raises(ValueError, match="equal"):
        linear_models.squared_error(np.zeros((4, 1)), np.zeros(4))


def test_design_matrix_against_scikit_learn(rng):
    x = rng.normal(size=8)
    expected = PolynomialFeatures(4).fit_transform(x[:, None])
    np.testing.assert_allclose(linear_models.design_matrix(x, 4), expected, rtol=1e-14)


@pytest.mark.parametrize("degree", [0, 1, 4, 8, 12])
def test_polynomial_fit_against_numpy(rng, degree):
    x = rng.uniform(-3, 3, size=40)
    y = np.sin(x) + 0.3 * np.cos(3 * x) + rng.normal(0, 0.15, size=40)
    coefficients = linear_models.polynomial_fit(x, y, degree)
    expected = np.polynomial.Polynomial.fit(x, y, degree)
    grid = np.linspace(x.min(), x.max(), 101)
    np.testing.assert_allclose(linear_models.polynomial_predict(coefficients, grid), expected(grid), atol=1e-8)


def test_polynomial_fit_recovers_a_polynomial(rng):
    x, coefficients = rng.normal(size=12), np.array([0.5, -1.0, 2.0, 0.25])
    y = linear_models.polynomial_predict(coefficients, x)
    np.testing.assert_allclose(linear_models.polynomial_fit(x, y, 3), coefficients, rtol=1e-10)
    assert linear_models.rmse(y, y + 0.5) == pytest.approx(0.5, rel=1e-14)


def test_select_degree_avoids_both_ends():
    rng = np.random.default_rng(3)
    x = rng.uniform(-1, 1, size=60)
    y = 4 * x**3 - 3 * x + rng.normal(0, 0.1, size=60)
    degree, errors = linear_models.select_degree(x, y, range(13), 1 / 3, np.random.default_rng(0))
    assert errors.shape == (13,)
    assert degree == int(np.argmin(errors))
    assert 3 <= degree <= 8
    order = np.random.default_rng(0).permutation(60)
    fit = np.polynomial.Polynomial.fit(x[order[20:]], y[order[20:]], 3)
    assert errors[3] == pytest.approx(linear_models.rmse(fit(x[order[:20]]), y[order[:20]]), rel=1e-9)


def test_logistic_loss_gradient_matches_central_differences(rng):
    X, y, w = rng.normal(size=(9, 3)), rng.integers(0, 2, size=9), rng.normal(size=3)
    _, dw, db = logistic.logistic_loss(w, 0.4, X, y, 0.2)
    numeric = gradcheck.numerical_gradient(lambda v: logistic.logistic_loss(v[:3], v[3], X, y, 0.2)[0], [*w, 0.4])
    np.testing.assert_allclose([*dw, db], numeric, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_logistic_fit_against_scikit_learn(rng, weight_decay):
    X = rng.normal(size=(80, 3))
    y = (X @ [1.0, -2.0, 0.5] + 0.3 + rng.logistic(size=80) > 0).astype(int)
    w, b, losses = logistic.logistic_fit(X, y, lr=1.0, steps=3000, weight_decay=weight_decay)
    C = 1 / (weight_decay * len(y)) if weight_decay else np.inf
    expected = LogisticRegression(C=C, tol=1e-12, max_iter=1000, solver="newton-cholesky").fit(X, y)
    np.testing.assert_allclose(w, expected.coef_[0], rtol=1e-8)
    np.testing.assert_allclose(b, expected.intercept_[0], rtol=1e-8)
    assert losses[0] == pytest.approx(np.log(2), rel=1e-14)
    assert np.all(np.diff(losses) <= 1e-15)
    np.testing.assert_array_equal(logistic.logistic_predict(X, w, b), expected.predict(X))
