"""Index splits of the reference: partition, stratification, reproducibility."""

import numpy as np
import pytest
from dlreference import splits

Y = np.array([0] * 11 + [2] * 7 + [1] * 5)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_stratified_folds_partition_and_stratify(k):
    folds = splits.stratified_folds(Y, k, np.random.default_rng(0))
    assert len(folds) == k
    np.testing.assert_array_equal(np.sort(np.concatenate([test for _, test in folds])), np.arange(len(Y)))
    for train, test in folds:
        np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(len(Y)))
        np.testing.assert_array_equal(test, np.sort(test))
    for label in np.unique(Y):
        sizes = [int(np.sum(Y[test] == label)) for _, test in folds]
        assert max(sizes) - min(sizes) <= 1


def test_stratified_folds_shuffle_within_classes_and_repeat_with_the_seed():
    first, second, other = (splits.stratified_folds(Y, 3, np.random.default_rng(seed)) for seed in (0, 0, 1))
    for (train_a, test_a), (train_b, test_b) in zip(first, second, strict=True):
        np.testing.assert_array_equal(test_a, test_b)
        np.testing.assert_array_equal(train_a, train_b)
    assert not np.array_equal(first[0][1], other[0][1])


@pytest.mark.parametrize("k", [1, 6])
def test_stratified_folds_refuse(k):
    with pytest.raises(ValueError, match="smallest class"):
        splits.stratified_folds(Y, k, np.random.default_rng(0))


def test_train_val_test_split_partitions_by_class():
    train, val, test = splits.train_val_test_split(Y, 0.2, 0.4, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(np.concatenate([train, val, test])), np.arange(len(Y)))
    for label, n in zip(*np.unique(Y, return_counts=True), strict=True):
        assert np.sum(Y[test] == label) == round(0.4 * n)
        assert np.sum(Y[val] == label) == round(0.2 * n)


def test_accuracy_refuses_broadcasting():
    assert splits.accuracy([1, 0, 1, 1], [1, 1, 1, 0]) == 0.5
    with pytest.raises(ValueError, match="equal"):
        splits.accuracy(np.zeros((3, 1)), np.zeros(3))


def test_cross_val_accuracy_fits_on_the_training_part_only():
    X = np.arange(len(Y), dtype=float)[:, None]
    seen = []

    def fit(X_train, y_train):
        seen.append(set(X_train[:, 0].astype(int)))
        most_common = np.bincount(y_train).argmax()
        return lambda points: np.full(len(points), most_common)

    folds = splits.stratified_folds(Y, 3, np.random.default_rng(0))
    scores = splits.cross_val_accuracy(fit, X, Y, folds)
    np.testing.assert_allclose(scores, [np.mean(Y[test] == 0) for _, test in folds])
    assert seen == [set(train.tolist()) for train, _ in folds]
