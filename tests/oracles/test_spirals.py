"""The two spirals of the reference: geometry, densities against quadrature, and the promises of the course."""

import numpy as np
import pytest
import torch
from dlreference import logistic, mlp, mlp_norm, optim, schedules, spirals, splits, training
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier


@pytest.fixture
def rng():
    return np.random.default_rng(300)


def test_arms_without_noise_are_each_other_turned_by_pi(rng):
    X, y = spirals.make_spirals(100, 0.0, rng=rng)
    assert X.shape == (200, 2)
    assert y.dtype == np.int64
    np.testing.assert_array_equal(y, np.repeat([0, 1], 100))
    np.testing.assert_allclose(X[y == 1], -X[y == 0], atol=1e-14)


def test_radius_comes_from_the_angle_before_the_turn(rng):
    X, _ = spirals.make_spirals(9, 0.0, rng=rng)
    np.testing.assert_allclose(np.hypot(*X.T), np.tile(np.linspace(0.1, 1.0, 9), 2), rtol=1e-13)


def test_arms_keep_their_distance(rng):
    X, y = spirals.make_spirals(1000, 0.0, rng=rng)
    gaps = np.linalg.norm(X[y == 0][:, None] - X[y == 1], axis=2)
    assert gaps.min() > 0.15


def test_noise_is_the_standard_deviation():
    noisy, _ = spirals.make_spirals(20000, 0.05, rng=np.random.default_rng(1))
    clean, _ = spirals.make_spirals(20000, 0.0, rng=np.random.default_rng(1))
    assert (noisy - clean).std() == pytest.approx(0.05, rel=5 / np.sqrt(2 * noisy.size))


def test_same_seed_same_points():
    first, second = (spirals.make_spirals(rng=np.random.default_rng(7))[0] for _ in range(2))
    assert first.shape == (500, 2)
    np.testing.assert_array_equal(first, second)


def test_arm_density_integrates_to_one_and_sums_its_parts():
    axis = np.linspace(-1.6, 1.6, 161)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    for arm in (0, 1):
        density = np.concatenate(
            [np.exp(spirals.arm_log_density(part, arm, 0.08)) for part in np.array_split(points, 10)]
        )
        assert density.sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1.0, abs=1e-6)


def test_arm_density_is_converged_in_theta(rng):
    X, _ = spirals.sample_spirals(50, 0.03, rng)
    theta = (np.arange(40000) + 0.5) * spirals.THETA_MAX / 40000
    distance = np.linalg.norm(X[:, None] - spirals.spiral_curve(theta, 1), axis=2)
    fine = np.mean(np.exp(-0.5 * (distance / 0.03) ** 2), axis=1) / (2 * np.pi * 0.03**2)
    near = fine > 1e-3
    ours = np.exp(spirals.arm_log_density(X, 1, 0.03))
    np.testing.assert_allclose(ours[near], fine[near], rtol=1e-4)


def test_arm_density_with_a_given_count(rng):
    X, _ = spirals.sample_spirals(20, 0.1, rng)
    centres = spirals.spiral_curve((np.arange(30) + 0.5) * spirals.THETA_MAX / 30, 0)
    normal = torch.distributions.MultivariateNormal(torch.tensor(centres), 0.01 * torch.eye(2, dtype=torch.float64))
    expected = normal.log_prob(torch.tensor(X)[:, None]).exp().mean(dim=1)
    np.testing.assert_allclose(np.exp(spirals.arm_log_density(X, 0, 0.1, count=30)), expected, rtol=1e-10)
    default = spirals.arm_log_density(X, 0, 0.1)
    np.testing.assert_allclose(spirals.arm_log_density(X, 0, 0.1, count=5000), default, atol=1e-3)


@pytest.mark.parametrize(
    ("r0", "noise", "expected"),
    [(0.1, 0.03, 0.9998), (0.1, 0.04, 0.995), (0.1, 0.05, 0.977), (0.0, 0.04, 0.978), (0.0, 0.08, 0.862)],
)
def test_bayes_accuracy_at_the_measured_settings(r0, noise, expected):
    ours = spirals.bayes_accuracy(noise, 3000, np.random.default_rng(0), r0)
    assert ours == pytest.approx(expected, abs=0.006)


def test_bayes_accuracy_of_the_course_is_above_99_9_percent():
    assert spirals.bayes_accuracy(spirals.NOISE, 4000, np.random.default_rng(0)) > 0.999


def test_bayes_accuracy_agrees_with_counting(rng):
    X, y = spirals.sample_spirals(4000, 0.06, rng)
    counted = np.mean((spirals.bayes_posterior(X, 0.06) > 0.5) == y)
    assert spirals.bayes_accuracy(0.06, 4000, rng) == pytest.approx(counted, abs=5 * 0.23 / np.sqrt(4000))


def test_polar_feature_linearises_the_task(rng):
    clean, y = spirals.make_spirals(200, 0.0, rng=rng)
    np.testing.assert_allclose(spirals.polar_feature(clean), 1.0 - 2.0 * y, atol=1e-12)
    X, y = spirals.sample_spirals(4000, 0.03, rng)
    assert np.mean((spirals.polar_feature(X) < 0) == y) > 0.998


def test_no_line_but_neighbours_solve_it(rng):
    X, y = spirals.make_spirals(rng=rng)
    test_X, test_y = spirals.sample_spirals(2000, spirals.NOISE, rng)
    assert LogisticRegression().fit(X, y).score(test_X, test_y) < 0.65
    assert KNeighborsClassifier(5).fit(X, y).score(test_X, test_y) > 0.98


def test_logistic_baseline_is_near_chance_as_in_scikit_learn(rng):
    X, y = spirals.make_spirals(rng=rng)
    w, b, _ = logistic.logistic_fit(X, y, lr=2.0, steps=2000)
    theirs = LogisticRegression(C=np.inf, tol=1e-12, solver="newton-cholesky").fit(X, y)
    np.testing.assert_allclose([*w, b], [*theirs.coef_[0], theirs.intercept_[0]], rtol=1e-6, atol=1e-8)

    def fit(X_train, y_train):
        w, b, _ = logistic.logistic_fit(X_train, y_train)
        return lambda points: logistic.logistic_predict(points, w, b)

    folds = splits.stratified_folds(y, 5, rng)
    assert 0.4 < splits.cross_val_accuracy(fit, X, y, folds).mean() < 0.6
    feature = spirals.polar_feature(X)[:, None]
    assert splits.cross_val_accuracy(fit, feature, y, folds).mean() > 0.99


def test_decision_grid_layout():
    axis, values = spirals.decision_grid(lambda points: 10 * points[:, 0] + points[:, 1], -1.0, 1.0, 5)
    assert values.shape == (5, 5)
    assert values[1, 4] == 10 * axis[4] + axis[1]


def test_network_with_batch_norm_keeps_the_promise(rng):
    X, y = spirals.make_spirals(rng=rng)
    params, state = mlp_norm.init_net([2, 64, 64, 1], rng)
    train_idx, val_idx, test_idx = splits.train_val_test_split(y, 0.1, 0.2, rng)
    before = {name: value.copy() for name, value in (params | state).items()}

    def gradient(params, state, batch):
        chosen = train_idx[batch]
        return mlp_norm.loss_and_gradients(params, state, X[chosen], y[chosen])

    trained, stats, losses = training.train(
        gradient,
        params,
        state,
        len(train_idx),
        epochs=300,
        batch_size=50,
        lr=lambda t: float(schedules.cosine_annealing(t, 1e-2, 300 * 7)),
        rng=rng,
    )
    # Small batches keep the loss of the training mode high: their statistics are noise. The evaluation is what counts.
    assert losses[-1] < 0.5 * losses[0]
    held_out = np.concatenate([val_idx, test_idx])
    predicted = mlp_norm.scores(X[held_out], trained, stats)[:, 0] > 0
    assert splits.accuracy(predicted, y[held_out] == 1) > 0.97
    fresh_X, fresh_y = spirals.sample_spirals(2000, spirals.NOISE, rng)
    assert splits.accuracy(mlp_norm.scores(fresh_X, trained, stats)[:, 0] > 0, fresh_y == 1) > 0.97
    for name, value in before.items():
        np.testing.assert_array_equal((params | state)[name], value)


@pytest.mark.slow
def test_plain_network_keeps_the_promise(rng):
    X, y = spirals.make_spirals(rng=rng)

    def gradient(params, state, batch):
        return *mlp.loss_and_gradients(params, X[batch], y[batch]), state

    params, _, _ = training.train(
        gradient,
        mlp.init_mlp([2, 64, 64, 2], rng),
        {},
        500,
        epochs=1000,
        batch_size=50,
        lr=lambda t: float(schedules.cosine_annealing(t, 1e-2, 10_000)),
        rng=rng,
        step=optim.adam_step,
    )
    fresh_X, fresh_y = spirals.sample_spirals(2000, spirals.NOISE, rng)
    assert splits.accuracy(mlp.predict(fresh_X, params), fresh_y) > 0.97
