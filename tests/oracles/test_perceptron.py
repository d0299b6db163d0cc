"""The perceptron of the reference against scikit-learn's, Novikoff's bound and brute force."""

import numpy as np
import pytest
from dlreference import mlp
from dlreference.perceptron import (
    averaged_perceptron_fit,
    best_linear_accuracy,
    margin,
    mistake_bound,
    perceptron_fit,
    perceptron_predict,
    perceptron_update,
    pocket_perceptron_fit,
    searched_linear_accuracy,
    xor_data,
)
from sklearn.linear_model import Perceptron


@pytest.fixture
def rng():
    return np.random.default_rng(302)


def separable(rng, n=40, d=3, gap=0.2):
    """Points at least `gap` from a plane, their labels, and that plane."""
    w, b = rng.normal(size=d), 0.3
    X = rng.normal(size=(20 * n, d))
    distance = (X @ w + b) / np.linalg.norm(w)
    X = X[np.abs(distance) > gap][:n]
    return X, (X @ w + b > 0).astype(int), w, b


def overlapping(rng, n=60):
    X = rng.normal(size=(n, 2))
    return X, (X @ [1.0, 2.0] + rng.normal(size=n) > 0).astype(int)


def test_predict_is_strict_at_zero():
    np.testing.assert_array_equal(perceptron_predict([[0.0, 0.0], [1.0, -1.0], [1.0, 0.0]], [1.0, 1.0], 0.0), [0, 0, 1])
    assert perceptron_predict([0.0, 0.0], [1.0, 1.0], 0.0) == 0


@pytest.mark.parametrize(("x", "y", "moved"), [([1.0, 2.0], 1, 0), ([1.0, 2.0], 0, -1), ([-3.0, 0.0], 1, 1)])
def test_update_moves_on_mistakes_only(x, y, moved):
    w, b = perceptron_update([1.0, 0.5], 0.5, x, y, lr=0.1)
    np.testing.assert_allclose(w, np.array([1.0, 0.5]) + moved * 0.1 * np.array(x), rtol=1e-15)
    assert b == pytest.approx(0.5 + moved * 0.1)


def test_fit_against_scikit_learn(rng):
    X, y, _, _ = separable(rng)
    ours = perceptron_fit(X, y, 1000)
    theirs = Perceptron(shuffle=False, tol=None, max_iter=len(ours.mistakes)).fit(X, y)
    # scikit-learn counts a score of exactly 0 as a mistake of either class, which happens only at the zero start.
    assert perceptron_predict(X, ours.w, ours.b).tolist() == theirs.predict(X).tolist() == y.tolist()


@pytest.mark.parametrize("y_first", [1])
def test_fit_takes_the_steps_of_scikit_learn_from_a_positive_first_point(rng, y_first):
    X, y, _, _ = separable(rng)
    first = int(np.flatnonzero(y == y_first)[0])
    X, y = np.roll(X, -first, axis=0), np.roll(y, -first)
    for epochs in (1, 2, 3):
        theirs = Perceptron(shuffle=False, tol=None, max_iter=epochs).fit(X, y)
        ours = perceptron_fit(X, y, epochs)
        np.testing.assert_allclose(ours.w, theirs.coef_[0], rtol=1e-12)
        assert ours.b == pytest.approx(theirs.intercept_[0])


def test_fit_stops_at_the_first_clean_epoch(rng):
    X, y, _, _ = separable(rng)
    result = perceptron_fit(X, y, 1000)
    assert result.mistakes[-1] == 0
    assert all(result.mistakes[:-1])
    assert len(perceptron_fit(X, y, 1).mistakes) == 1
    again = perceptron_fit(X, y, 1000, w0=result.w, b0=result.b)
    assert again.mistakes == [0]
    np.testing.assert_array_equal(again.w, result.w)


def test_learning_rate_changes_nothing_from_zero_weights(rng):
    X, y, _, _ = separable(rng)
    slow, fast = perceptron_fit(X, y, 1000, lr=0.25), perceptron_fit(X, y, 1000, lr=4.0)
    assert slow.mistakes == fast.mistakes
    np.testing.assert_allclose(16 * slow.w, fast.w, rtol=1e-12)


def test_mistakes_stay_below_the_bound():
    for seed in range(10):
        X, y, w, b = separable(np.random.default_rng(seed))
        total = sum(perceptron_fit(X, y, 10_000).mistakes)
        assert 0 < total <= mistake_bound(X, y, w, b)


def test_margin_with_the_bias_folded_in():
    X, y = np.array([[2.0, 0.0], [-1.0, 0.0]]), np.array([1, 0])
    assert margin(X, y, [3.0, 0.0], 4.0) == pytest.approx(-1 / 5)
    assert margin(X, y, [1.0, 0.0], 0.0) == 1.0
    assert mistake_bound(X, y, [1.0, 0.0], 0.0) == 5.0
    with pytest.raises(ValueError, match="separate"):
        mistake_bound(X, y, [3.0, 0.0], 4.0)


def test_xor_is_never_learned_and_three_of_four_is_the_best_line():
    X, y = xor_data()
    result = perceptron_fit(X, y, 200)
    assert len(result.mistakes) == 200
    assert min(result.mistakes) > 0
    assert best_linear_accuracy(X, y) == 0.75


def test_hidden_layer_of_the_xor_network_is_separable():
    X, y = xor_data()
    _, cache = mlp.forward(X, mlp.xor_network())
    assert perceptron_fit(cache.layers[0].a, y, 1000).mistakes[-1] == 0


def test_best_linear_accuracy_against_a_dense_search(rng):
    for n in (2, 3, 7, 12):
        X, y = rng.normal(size=(n, 2)), rng.integers(0, 2, size=n)
        angles = np.linspace(0, np.pi, 4001)
        projections = X @ np.stack([np.cos(angles), np.sin(angles)])
        called_one = projections.T[:, None, :] > projections.T[:, :, None]
        agree = (called_one == y).mean(axis=2)
        dense = max(agree.max(), 1 - agree.min(), y.mean(), 1 - y.mean())
        assert best_linear_accuracy(X, y) == pytest.approx(dense)


def test_search_over_directions_comes_close_to_the_best(rng):
    for n in (3, 8, 20):
        X, y = rng.normal(size=(n, 2)), rng.integers(0, 2, size=n)
        best = best_linear_accuracy(X, y)
        assert searched_linear_accuracy(X, y, 20) <= searched_linear_accuracy(X, y, 20 * 81) <= best + 1e-12
        assert searched_linear_accuracy(X, y, 5000) == pytest.approx(best)
    assert searched_linear_accuracy(*xor_data()) == 0.75
    assert searched_linear_accuracy(X, np.ones(20, dtype=int)) == 1.0


def test_best_linear_accuracy_of_repeated_points():
    X = np.array([[0.0, 0.0]] * 3 + [[1.0, 0.0]] * 2)
    assert best_linear_accuracy(X, [0, 0, 1, 1, 1]) == 0.8
    assert best_linear_accuracy(X[:3], [0, 0, 1]) == pytest.approx(2 / 3)


def test_averaged_perceptron_is_the_mean_of_the_path(rng):
    X, y = overlapping(rng)
    path, w, b = [], np.zeros(2), 0.0
    for _ in range(3):
        for x, label in zip(X, y, strict=True):
            if int(x @ w + b > 0) != label:
                w, b = w + (2 * label - 1) * x, b + (2 * label - 1)
            path.append([*w, b])
    mean = np.mean(path, axis=0)
    averaged_w, averaged_b = averaged_perceptron_fit(X, y, 3)
    np.testing.assert_allclose([*averaged_w, averaged_b], mean, rtol=1e-12)


def test_pocket_holds_the_best_weights_of_the_path(rng):
    X, y = overlapping(rng)
    best, w, b = np.mean(y == 0), np.zeros(2), 0.0
    for _ in range(4):
        for x, label in zip(X, y, strict=True):
            if int(x @ w + b > 0) != label:
                w, b = w + (2 * label - 1) * x, b + (2 * label - 1)
                best = max(best, np.mean((X @ w + b > 0) == y))
    pocket_w, pocket_b, accuracy = pocket_perceptron_fit(X, y, 4)
    assert accuracy == best
    assert np.mean(perceptron_predict(X, pocket_w, pocket_b) == y) == accuracy
    assert accuracy <= best_linear_accuracy(X, y)
