"""Self-supervised objectives against PyTorch autograd in float64."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dlreference import contrastive
from dlreference.embeddings import cosine_similarity


def close(ours, theirs, rtol=1e-10, atol=1e-12):
    np.testing.assert_allclose(ours, np.asarray(theirs), rtol=rtol, atol=atol)


def with_gradients(loss, *inputs):
    """Value of a scalar torch function and its gradients at each input."""
    tensors = [torch.tensor(np.asarray(x, dtype=np.float64), requires_grad=True) for x in inputs]
    value = loss(*tensors)
    value.backward()
    return [value.item(), *(t.grad.numpy() for t in tensors)]


def check(ours, loss, *inputs, **tolerance):
    for mine, theirs in zip(ours, with_gradients(loss, *inputs), strict=True):
        close(mine, theirs, **tolerance)


@pytest.fixture
def rng():
    return np.random.default_rng(324)


def torch_nt_xent(z, temperature):
    n = len(z) // 2
    z = F.normalize(z)
    logits = (z @ z.T / temperature).masked_fill(torch.eye(2 * n, dtype=torch.bool), -torch.inf)
    return F.cross_entropy(logits, torch.arange(2 * n).roll(n))


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.07, 0.001])
def test_nt_xent_value_and_gradient(rng, n, temperature):
    z = 3.0 * rng.normal(size=(2 * n, 4))
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        ours = contrastive.nt_xent(z, temperature)
    # one ulp of a cosine is 1e-16 / temperature in a logit
    check(ours, lambda t: torch_nt_xent(t, temperature), z, rtol=1e-9, atol=1e-13 / temperature)


def test_nt_xent_of_one_pair_is_zero():
    loss, grad = contrastive.nt_xent([[1.0, 2.0], [-3.0, 1.0]], 0.5)
    assert loss == 0.0
    close(grad, np.zeros((2, 2)))


def test_nt_xent_of_identical_embeddings_is_the_logarithm_of_the_others():
    assert contrastive.nt_xent(np.ones((8, 3)), 0.1)[0] == pytest.approx(math.log(7), rel=1e-14)


def test_nt_xent_does_not_see_the_scale_of_an_embedding(rng):
    z = rng.normal(size=(6, 5))
    scale = rng.uniform(0.1, 9.0, size=(6, 1))
    loss, grad = contrastive.nt_xent(z)
    scaled_loss, scaled_grad = contrastive.nt_xent(scale * z)
    close(scaled_loss, loss)
    close(scaled_grad, grad / scale)
    close((grad * z).sum(axis=1), np.zeros(6))


def test_nt_xent_refuses_an_odd_number_of_rows():
    with pytest.raises(ValueError, match="even number"):
        contrastive.nt_xent(np.ones((3, 2)))


def torch_info_nce(q, k, temperature):
    return F.cross_entropy(F.normalize(q) @ F.normalize(k).T / temperature, torch.arange(len(q)))


@pytest.mark.parametrize("n", [1, 6])
@pytest.mark.parametrize("temperature", [0.5, 0.07, 0.001])
def test_info_nce_value_and_both_gradients(rng, n, temperature):
    q, k = rng.normal(size=(2, n, 3))
    check(
        contrastive.info_nce(q, k, temperature),
        lambda a, b: torch_info_nce(a, b, temperature),
        q,
        k,
        rtol=1e-9,
        atol=1e-13 / temperature,
    )


def test_clip_loss_value_and_both_gradients(rng):
    images, texts = rng.normal(size=(2, 7, 4))
    check(
        contrastive.clip_loss(images, texts, 0.2),
        lambda a, b: 0.5 * (torch_info_nce(a, b, 0.2) + torch_info_nce(b, a, 0.2)),
        images,
        texts,
    )


def test_clip_log_scale_gradient(rng):
    images, texts = rng.normal(size=(2, 5, 4))

    def loss(log_scale):
        temperature = torch.exp(-log_scale)
        a, b = torch.tensor(images), torch.tensor(texts)
        return 0.5 * (torch_info_nce(a, b, temperature) + torch_info_nce(b, a, temperature))

    value, gradient = with_gradients(loss, math.log(1 / 0.3))
    close(contrastive.clip_loss(images, texts, 0.3)[0], value)
    close(contrastive.clip_log_scale_gradient(images, texts, math.log(1 / 0.3)), gradient)


def test_info_nce_refuses_unequal_shapes():
    with pytest.raises(ValueError, match="shapes must be equal"):
        contrastive.info_nce(np.ones((3, 2)), np.ones((4, 2)))


def torch_triplet(margin):
    return lambda a, p, n: F.triplet_margin_with_distance_loss(
        a, p, n, distance_function=lambda x, y: 1 - F.cosine_similarity(x, y, dim=-1), margin=margin
    )


@pytest.mark.parametrize(("batch", "margin"), [(9, 0.2), (1, 3.0), (9, 3.0)])
def test_triplet_loss_value_and_three_gradients(rng, batch, margin):
    a, p, n = rng.normal(size=(3, batch, 5))
    check(contrastive.triplet_loss(a, p, n, margin), torch_triplet(margin), a, p, n)


def test_triplet_loss_mixes_active_and_satisfied_triplets(rng):
    a, p, n = rng.normal(size=(3, 9, 5))
    _, da, _, _ = contrastive.triplet_loss(a, p, n, 0.2)
    active = cosine_similarity(a, n) + 0.2 > cosine_similarity(a, p)
    assert 0 < active.sum() < 9
    np.testing.assert_array_equal(np.any(da != 0, axis=1), active)


def test_triplet_loss_at_the_margin_has_no_gradient():
    loss, *grads = contrastive.triplet_loss([[1.0, 0.0]], [[0.0, 1.0]], [[0.0, -1.0]], 0.0)
    assert loss == 0.0
    assert not np.any(grads)


def test_normalize_rows_forward_and_backward_with_a_zero_row(rng):
    x, dout = rng.normal(size=(2, 3, 4))
    x[1] = 0.0
    tensor = torch.tensor(x, requires_grad=True)
    expected = F.normalize(tensor)
    expected.backward(torch.tensor(dout))
    unit, norm = contrastive.normalize_rows(x)
    close(unit, expected.detach())
    close(contrastive.normalize_rows_backward(dout, unit, norm), tensor.grad)


def test_mask_tokens_documented_draws():
    tokens = np.random.default_rng(0).integers(2, 50, size=(40, 30))
    result = contrastive.mask_tokens(tokens, 50, 1, np.random.default_rng(9))
    mirror = np.random.default_rng(9)
    selected = mirror.random((40, 30)) < 0.15
    kind = mirror.random((40, 30))
    random_tokens = mirror.integers(50, size=(40, 30))
    np.testing.assert_array_equal(result.selected, selected)
    np.testing.assert_array_equal(result.inputs[~selected], tokens[~selected])
    np.testing.assert_array_equal(result.targets[selected], tokens[selected])
    assert np.all(result.targets[~selected] == -100)
    assert np.all(result.inputs[selected & (kind < 0.8)] == 1)
    swapped = selected & (kind >= 0.8) & (kind < 0.9)
    np.testing.assert_array_equal(result.inputs[swapped], random_tokens[swapped])
    kept = selected & (kind >= 0.9)
    np.testing.assert_array_equal(result.inputs[kept], tokens[kept])
    assert swapped.any()
    assert kept.any()


def test_mask_tokens_shares_within_six_standard_deviations():
    tokens = np.full((200, 200), 7)
    result = contrastive.mask_tokens(tokens, 1000, 1, np.random.default_rng(3))
    n, chosen = tokens.size, result.selected.sum()
    assert abs(chosen - 0.15 * n) < 6 * math.sqrt(n * 0.15 * 0.85)
    masked = (result.inputs == 1).sum()
    # 1 in 1000 random tokens is the mask itself
    assert abs(masked - 0.8001 * chosen) < 6 * math.sqrt(chosen * 0.8 * 0.2)


def test_mask_tokens_never_selects_special_tokens():
    tokens = np.tile([2, 3, 9, 4], (5, 6))
    result = contrastive.mask_tokens(tokens, 20, 1, np.random.default_rng(0), rate=1.0, special_ids=(2, 4))
    np.testing.assert_array_equal(result.selected, ~np.isin(tokens, [2, 4]))


def test_masked_lm_loss_counts_selected_positions_only(rng):
    logits = rng.normal(size=(3, 5, 7))
    targets = rng.integers(7, size=(3, 5))
    targets[rng.random((3, 5)) < 0.6] = -100
    labels = torch.tensor(targets)
    check(
        contrastive.masked_lm_loss(logits, targets),
        lambda z: F.cross_entropy(z.reshape(-1, 7), labels.reshape(-1), ignore_index=-100),
        logits,
    )


def test_masked_lm_loss_without_a_target_is_an_error():
    with pytest.raises(ValueError, match="no position"):
        contrastive.masked_lm_loss(np.zeros((1, 2, 3)), [[-100, -100]])


def test_causal_shift():
    inputs, targets = contrastive.causal_shift([[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(inputs, [[1, 2], [4, 5]])
    np.testing.assert_array_equal(targets, [[2, 3], [5, 6]])


@pytest.mark.parametrize("shape", [(3, 6, 5), (1, 2, 4)])
def test_causal_lm_loss_value_and_gradient(rng, shape):
    logits = rng.normal(size=shape)
    tokens = rng.integers(shape[2], size=shape[:2])
    nexts = torch.tensor(tokens[:, 1:])
    check(
        contrastive.causal_lm_loss(logits, tokens),
        lambda z: F.cross_entropy(z[:, :-1].flatten(0, 1), nexts.flatten()),
        logits,
    )
