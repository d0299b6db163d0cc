"""Embeddings and skip-gram of the reference against PyTorch in float64, and against counting by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dlreference import embeddings
from dlreference.losses import one_hot

RTOL, ATOL = 1e-12, 1e-13


@pytest.fixture
def rng():
    return np.random.default_rng(320)


def draw(rng, *shape):
    """Standard normal numbers that refuse to be written to."""
    x = rng.normal(size=shape)
    x.flags.writeable = False
    return x


def close(ours, theirs) -> None:
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=RTOL, atol=ATOL)


def leaf(x):
    return torch.tensor(x, dtype=torch.float64, requires_grad=True)


ids_shapes = pytest.mark.parametrize("shape", [(7,), (2, 9), (1,), (3, 1, 2)])


@ids_shapes
def test_embedding_forward(rng, shape):
    table, ids = draw(rng, 4, 5), rng.integers(4, size=shape)
    out = embeddings.embedding_forward(ids, table)
    close(out, F.embedding(torch.tensor(ids), torch.tensor(table)))
    np.testing.assert_array_equal(out, one_hot(ids, 4) @ table)


@ids_shapes
def test_embedding_backward_with_repeated_ids(rng, shape):
    ids, dout, table = rng.integers(4, size=shape), draw(rng, *shape, 5), leaf(np.zeros((4, 5)))
    theirs = torch.autograd.grad(F.embedding(torch.tensor(ids), table), table, torch.tensor(dout))[0]
    close(embeddings.embedding_backward(dout, ids, 4), theirs)


def test_embedding_refuses_ids_off_the_table():
    with pytest.raises(IndexError):
        embeddings.embedding_forward([3], np.zeros((3, 2)))
    with pytest.raises(ValueError, match="negative"):
        embeddings.embedding_forward([-1], np.zeros((3, 2)))


def test_cosine_similarity(rng):
    a, b = draw(rng, 3, 1, 5), draw(rng, 4, 5)
    close(embeddings.cosine_similarity(a, b), F.cosine_similarity(torch.tensor(a), torch.tensor(b), dim=-1))
    assert embeddings.cosine_similarity(np.zeros(3), np.ones(3)) == 0.0


def test_nearest_neighbours(rng):
    table = np.array([[1.0, 0.0], [5.0, 5.0], [0.0, 2.0], [-1.0, 0.0], [2.0, 0.0]])
    assert embeddings.nearest_neighbours(table, [3.0, 0.1], 5).tolist() == [0, 4, 1, 2, 3]
    assert embeddings.nearest_neighbours(table, [3.0, 0.1], 2, exclude=[0]).tolist() == [4, 1]
    assert embeddings.nearest_neighbours(table, [3.0, 0.1], 9, exclude=[0, 3]).tolist() == [4, 1, 2]


def test_analogy_never_answers_with_a_query_word():
    # man, woman, king, queen, and a word far off; woman - man + king lies nearer to king than to queen.
    table = np.array([[1.0, 0.0, 0.2], [1.0, 0.3, 0.2], [1.0, 0.0, 2.0], [1.0, 0.7, 2.0], [-1.0, 1.0, 0.0]])
    target = table[1] - table[0] + table[2]
    assert embeddings.nearest_neighbours(table, target).tolist() == [2]
    assert embeddings.analogy(table, 0, 1, 2).tolist() == [3]
    assert embeddings.analogy(table, 0, 1, 2, k=5).tolist() == [3, 4]


@pytest.mark.parametrize("window", [1, 2, 10])
@pytest.mark.parametrize("tokens", [[3, 1, 4, 1, 5, 9], [7], []])
def test_skipgram_pairs(tokens, window):
    expected = [
        [centre, tokens[j]]
        for i, centre in enumerate(tokens)
        for j in range(max(0, i - window), min(len(tokens), i + window + 1))
        if j != i
    ]
    pairs = embeddings.skipgram_pairs(np.array(tokens, dtype=np.int64), window)
    assert pairs.tolist() == expected
    assert pairs.shape == (len(expected), 2)


def test_negative_sampling_distribution():
    probabilities = embeddings.negative_sampling_distribution([16, 1, 0, 81])
    np.testing.assert_allclose(probabilities, np.array([8, 1, 0, 27]) / 36, rtol=1e-15)


def draw_skipgram(rng, pairs):
    params = {"W_in": draw(rng, 5, 3), "W_out": draw(rng, 5, 3)}
    return params, rng.integers(5, size=pairs), rng.integers(5, size=pairs), {k: leaf(v) for k, v in params.items()}


def check_loss(ours, loss, tensors) -> None:
    value, grads = ours
    close(value, loss)
    theirs = torch.autograd.grad(loss, list(tensors.values()))
    for name, other in zip(tensors, theirs, strict=True):
        close(grads[name], other)
    assert set(grads) == set(tensors)


@pytest.mark.parametrize("pairs", [1, 8])
def test_skipgram_softmax_loss_and_gradients(rng, pairs):
    params, centers, contexts, tensors = draw_skipgram(rng, pairs)
    scores = tensors["W_in"][torch.tensor(centers)] @ tensors["W_out"].T
    ours = embeddings.skipgram_softmax(centers, contexts, params)
    check_loss(ours, F.cross_entropy(scores, torch.tensor(contexts)), tensors)


@pytest.mark.parametrize(("pairs", "negatives"), [(1, 4), (8, 1), (6, 5)])
def test_skipgram_negative_sampling_loss_and_gradients(rng, pairs, negatives):
    params, centers, contexts, tensors = draw_skipgram(rng, pairs)
    drawn = rng.integers(5, size=(pairs, negatives))
    v = tensors["W_in"][torch.tensor(centers)]
    positive = (tensors["W_out"][torch.tensor(contexts)] * v).sum(-1)
    negative = (tensors["W_out"][torch.tensor(drawn)] * v[:, None]).sum(-1)
    loss = -(F.logsigmoid(positive) + F.logsigmoid(-negative).sum(-1)).mean()
    check_loss(embeddings.skipgram_negative_sampling(centers, contexts, drawn, params), loss, tensors)


def test_skipgram_negative_sampling_survives_scores_of_1e4():
    params = {"W_in": np.array([[100.0], [-100.0]]), "W_out": np.array([[100.0], [-100.0]])}
    with np.errstate(all="raise", under="ignore"):
        loss, _ = embeddings.skipgram_negative_sampling([0], [1], [[0, 1]], params)
    assert loss == pytest.approx(2e4)
