"""The variational autoencoder against torch.distributions, autograd and a model whose evidence is known exactly."""

import math

import numpy as np
import pytest
import torch
from dlreference import mlp, optim, vae
from torch.distributions import Bernoulli, Normal, kl_divergence

TIGHT = {"rtol": 1e-10, "atol": 1e-12}


@pytest.fixture
def rng():
    return np.random.default_rng(325)


def close(ours, theirs):
    np.testing.assert_allclose(ours, np.asarray(theirs), **TIGHT)


def leaf(x):
    return torch.tensor(np.asarray(x, dtype=np.float64), requires_grad=True)


@pytest.mark.parametrize("shape", [(5, 8), (1, 3), (4, 1)])
def test_kl_value_and_both_gradients(rng, shape):
    mu, log_var = leaf(rng.normal(size=shape)), leaf(rng.normal(size=shape))
    expected = kl_divergence(Normal(mu, (log_var / 2).exp()), Normal(0.0, 1.0)).sum(dim=1).mean()
    expected.backward()
    kl, dmu, dlog_var = vae.kl_standard_normal(mu.detach(), log_var.detach())
    close(kl, expected.item())
    close(dmu, mu.grad)
    close(dlog_var, log_var.grad)


def test_kl_is_zero_at_the_prior_and_keeps_its_digits_near_it():
    assert vae.kl_standard_normal(np.zeros((2, 3)), np.zeros((2, 3)))[0] == 0.0
    # KL = lv^2 / 4 + O(lv^3)
    assert vae.kl_standard_normal([[0.0]], [[1e-6]])[0] == pytest.approx(2.5e-13, rel=1e-3)


def test_kl_log_var_is_the_logarithm_of_the_variance():
    """sigma = 3: KL = (9 - 1) / 2 - log 3."""
    assert vae.kl_standard_normal([[0.0]], [[2 * math.log(3)]])[0] == pytest.approx(4 - math.log(3), rel=1e-14)


def test_kl_per_dimension_and_active_dimensions(rng):
    mu, log_var = rng.normal(size=(6, 3)), rng.normal(size=(6, 3))
    mu[:, 1], log_var[:, 1] = 0.0, 0.0
    close(vae.kl_per_dimension(mu, log_var).sum(), vae.kl_standard_normal(mu, log_var)[0])
    np.testing.assert_array_equal(vae.active_dimensions(mu, log_var), [True, False, True])


def test_reparameterize_forward_and_backward(rng):
    mu, log_var, eps, dz = leaf(rng.normal(size=(4, 3))), leaf(rng.normal(size=(4, 3))), *rng.normal(size=(2, 4, 3))
    z = mu + (log_var / 2).exp() * torch.tensor(eps)
    z.backward(torch.tensor(dz))
    close(vae.reparameterize(mu.detach(), log_var.detach(), eps), z.detach())
    dmu, dlog_var = vae.reparameterize_backward(dz, log_var.detach(), eps)
    close(dmu, mu.grad)
    close(dlog_var, log_var.grad)


def test_sample_latent_moments_and_documented_draw():
    mu, log_var = np.tile([2.0, -1.0], (50_000, 1)), np.tile([2 * math.log(3), math.log(0.25)], (50_000, 1))
    z = vae.sample_latent(mu, log_var, np.random.default_rng(0))
    np.testing.assert_array_equal(
        z, vae.reparameterize(mu, log_var, np.random.default_rng(0).standard_normal((50_000, 2)))
    )
    sd = np.array([3.0, 0.5])
    assert np.all(np.abs(z.mean(axis=0) - mu[0]) < 6 * sd / 50_000**0.5)
    assert np.all(np.abs(z.var(axis=0) - sd**2) < 6 * sd**2 * (2 / 50_000) ** 0.5)


@pytest.mark.parametrize("variance", [1.0, 0.05])
@pytest.mark.parametrize("shape", [(5, 4), (1, 3)])
def test_gaussian_reconstruction_value_and_gradient(rng, shape, variance):
    x_hat, x = leaf(rng.normal(size=shape)), rng.normal(size=shape)
    expected = -Normal(x_hat, math.sqrt(variance)).log_prob(torch.tensor(x)).sum(dim=1).mean()
    expected.backward()
    loss, grad = vae.gaussian_reconstruction(x_hat.detach(), x, variance)
    close(loss + vae.gaussian_constant(shape[1], variance), expected.item())
    close(grad, x_hat.grad)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_bernoulli_reconstruction_value_and_gradient(rng, scale):
    logits, x = leaf(scale * rng.normal(size=(5, 4))), rng.integers(0, 2, size=(5, 4)).astype(float)
    expected = -Bernoulli(logits=logits).log_prob(torch.tensor(x)).sum(dim=1).mean()
    expected.backward()
    loss, grad = vae.bernoulli_reconstruction(logits.detach(), x)
    close(loss, expected.item())
    close(grad, logits.grad)


def test_bernoulli_reconstruction_of_grey_values(rng):
    logits, x = rng.normal(size=(3, 4)), rng.random((3, 4))
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor(logits), torch.tensor(x), reduction="sum"
    )
    close(vae.bernoulli_reconstruction(logits, x)[0], expected.item() / 3)


def test_unknown_decoders_are_refused():
    with pytest.raises(ValueError, match="decoder"):
        vae.reconstruction([[0.0]], [[0.0]], "laplace")
    with pytest.raises(ValueError, match="likelihood"):
        vae.log_likelihood([[0.0]], [[0.0]], "laplace")


def nets(rng, features=5, hidden=7, latent=3):
    encoder = mlp.init_mlp((features, hidden, 2 * latent), rng, "xavier_normal")
    decoder = mlp.init_mlp((latent, hidden, 6, features), rng, "xavier_normal")
    return (
        {k: v + 0.1 * rng.normal(size=v.shape) for k, v in encoder.items()},
        {k: v + 0.1 * rng.normal(size=v.shape) for k, v in decoder.items()},
    )


def torch_mlp(params, h):
    layers = len(params) // 2
    for layer in range(1, layers + 1):
        h = h @ params[f"W{layer}"].T + params[f"b{layer}"]
        h = torch.tanh(h) if layer < layers else h
    return h


@pytest.mark.parametrize("batch", [4, 1])
@pytest.mark.parametrize(
    ("likelihood", "variance", "beta"), [("gaussian", 1.0, 1.0), ("gaussian", 0.1, 4.0), ("bernoulli", 1.0, 0.3)]
)
def test_vae_forward_and_backward_with_fixed_noise(rng, batch, likelihood, variance, beta):
    encoder, decoder = nets(rng)
    x, eps = rng.random((batch, 5)), rng.normal(size=(batch, 3))
    te, td, tx = {k: leaf(v) for k, v in encoder.items()}, {k: leaf(v) for k, v in decoder.items()}, leaf(x)
    mu, log_var = torch_mlp(te, tx).split(3, dim=1)
    out = torch_mlp(td, mu + (log_var / 2).exp() * torch.tensor(eps))
    # the target is a constant: only the path through the encoder reaches dx
    target = torch.tensor(x)
    if likelihood == "gaussian":
        recon = ((out - target) ** 2).sum(dim=1).mean() / (2 * variance)
    else:
        recon = -Bernoulli(logits=out, validate_args=False).log_prob(target).sum(dim=1).mean()
    kl = kl_divergence(Normal(mu, (log_var / 2).exp()), Normal(0.0, 1.0)).sum(dim=1).mean()
    (recon + beta * kl).backward()
    elbo, cache = vae.vae_forward(x, encoder, decoder, eps, likelihood, variance, beta)
    close(elbo, [(recon + beta * kl).item(), recon.item(), kl.item()])
    encoder_grads, decoder_grads, dx = vae.vae_backward(cache, encoder, decoder)
    for grads, leaves in ((encoder_grads, te), (decoder_grads, td)):
        assert list(grads) == list(leaves)
        for name, theirs in leaves.items():
            close(grads[name], theirs.grad)
    close(dx, tx.grad)


def test_negative_elbo_from_the_decoder_output_equals_the_whole_net(rng):
    encoder, decoder = nets(rng)
    x, eps = rng.normal(size=(4, 5)), rng.normal(size=(4, 3))
    mu, log_var, _ = vae.encode(x, encoder)
    out, _ = mlp.forward(vae.reparameterize(mu, log_var, eps), decoder, "tanh")
    whole, _ = vae.vae_forward(x, encoder, decoder, eps, variance=0.3, beta=2.0)
    close(vae.negative_elbo(x, out, mu, log_var, variance=0.3, beta=2.0), whole)


def test_encode_needs_an_even_width(rng):
    with pytest.raises(ValueError, match="one size"):
        vae.encode(np.ones((2, 3)), {"W1": np.ones((5, 3)), "b1": np.zeros(5)})


def test_reconstruct_mean_is_the_forward_without_noise(rng):
    encoder, decoder = nets(rng)
    x = rng.normal(size=(4, 5))
    elbo, _ = vae.vae_forward(x, encoder, decoder, np.zeros((4, 3)))
    close(0.5 * ((vae.reconstruct_mean(x, encoder, decoder) - x) ** 2).sum(axis=1).mean(), elbo.reconstruction)


def test_sample_prior_documented_draw(rng):
    _, decoder = nets(rng)
    z = np.random.default_rng(4).standard_normal((6, 3))
    close(vae.sample_prior(decoder, 6, np.random.default_rng(4)), mlp.forward(z, decoder, "tanh")[0])


def test_interpolate_is_linear_with_exact_ends(rng):
    a, b = rng.normal(size=(2, 3))
    line = vae.interpolate(a, b, 7)
    np.testing.assert_array_equal(line[0], a)
    np.testing.assert_array_equal(line[-1], b)
    close(np.diff(line, axis=0), np.broadcast_to((b - a) / 6, (6, 3)))


def test_log_importance_weights_equal_torch_densities(rng):
    encoder, decoder = nets(rng)
    x, eps = rng.random((4, 5)), rng.normal(size=(6, 4, 3))
    te = {k: torch.tensor(v) for k, v in encoder.items()}
    td = {k: torch.tensor(v) for k, v in decoder.items()}
    mu, log_var = torch_mlp(te, torch.tensor(x)).split(3, dim=1)
    posterior = Normal(mu, (log_var / 2).exp())
    z = mu + (log_var / 2).exp() * torch.tensor(eps)
    rest = (Normal(0.0, 1.0).log_prob(z) - posterior.log_prob(z)).sum(dim=2)
    out = torch_mlp(td, z)
    gaussian = Normal(out, math.sqrt(0.2)).log_prob(torch.tensor(x)).sum(dim=2)
    close(vae.log_importance_weights(x, encoder, decoder, eps, "gaussian", 0.2), gaussian + rest)
    bernoulli = Bernoulli(logits=out, validate_args=False).log_prob(torch.tensor(x)).sum(dim=2)
    close(vae.log_importance_weights(x, encoder, decoder, eps, "bernoulli"), bernoulli + rest)


def linear_model(rng):
    """p(z) = N(0, I), p(x | z) = N(A z + c, v I): linear nets, so evidence and posterior are known exactly."""
    A, c, v = rng.normal(size=(4, 2)), rng.normal(size=4), 0.3
    # decorrelate the columns so that the exact posterior is diagonal
    A = np.linalg.qr(A)[0] * [1.5, 0.6]
    posterior_variance = 1 / (1 + (A**2).sum(axis=0) / v)
    gain = posterior_variance[:, None] * A.T / v
    encoder = {
        "W1": np.vstack([gain, np.zeros((2, 4))]),
        "b1": np.concatenate([-gain @ c, np.log(posterior_variance)]),
    }
    x = rng.normal(size=(6, 2)) @ A.T + c + math.sqrt(v) * rng.normal(size=(6, 4))
    evidence = torch.distributions.MultivariateNormal(torch.tensor(c), torch.tensor(A @ A.T + v * np.eye(4))).log_prob(
        torch.tensor(x)
    )
    return x, encoder, {"W1": A, "b1": c}, v, evidence.numpy()


def test_importance_weights_of_the_exact_posterior_are_the_evidence(rng):
    x, encoder, decoder, v, evidence = linear_model(rng)
    weights = vae.log_importance_weights(x, encoder, decoder, rng.normal(size=(3, 6, 2)), variance=v)
    close(weights, np.tile(evidence, (3, 1)))
    close(vae.importance_weighted_bound(weights), evidence.mean())


def test_importance_weighted_bound_lies_between_elbo_and_evidence(rng):
    x, encoder, decoder, v, evidence = linear_model(rng)
    wrong = {**encoder, "b1": encoder["b1"] + 0.5}
    weights = vae.log_importance_weights(x, wrong, decoder, rng.normal(size=(4096, 6, 2)), variance=v)
    bounds = [
        np.mean([vae.importance_weighted_bound(chunk) for chunk in np.split(weights, 4096 // k)]) for k in (1, 8, 64)
    ]
    assert bounds[0] == pytest.approx(weights.mean(), rel=1e-12)
    assert bounds[0] < bounds[1] < bounds[2] < evidence.mean()


def test_elbo_with_all_constants_is_the_mean_log_weight_in_expectation(rng):
    """KL in closed form against its one-sample estimate: they agree on average over the noise."""
    x, encoder, decoder, v, _ = linear_model(rng)
    wrong = {**encoder, "b1": encoder["b1"] + 0.5}
    eps = rng.normal(size=(20_000, 6, 2))
    weights = vae.log_importance_weights(x, wrong, decoder, eps, variance=v)
    elbos = [vae.vae_forward(x, wrong, decoder, e, variance=v)[0].loss for e in eps[:2000]]
    constant = vae.gaussian_constant(4, v)
    spread = np.std(elbos) / 2000**0.5 + weights.mean(axis=1).std() / 20_000**0.5
    assert abs(-(np.mean(elbos) + constant) - weights.mean()) < 6 * spread


def test_importance_weighted_bound_of_huge_log_weights():
    assert vae.importance_weighted_bound([[-1e4], [-1e4]]) == pytest.approx(-1e4, rel=1e-14)


def test_vae_trained_on_four_clusters_keeps_both_latent_dimensions():
    """Four clusters at (+-2, +-2) with variance 0.3, decoder variance 0.3: measured reconstruction 1.0, KL 2.1."""
    rng = np.random.default_rng(0)
    corners = 2.0 * rng.choice([-1.0, 1.0], size=(600, 2))
    x = corners + np.sqrt(0.3) * rng.standard_normal((600, 2))
    encoder, decoder = mlp.init_mlp((2, 32, 4), rng, "xavier_normal"), mlp.init_mlp((2, 32, 2), rng, "xavier_normal")
    states: list[optim.State] = [{}, {}]
    for _ in range(100):
        for batch in optim.minibatches(600, 50, rng):
            _, cache = vae.vae_forward(x[batch], encoder, decoder, rng.standard_normal((50, 2)), variance=0.3)
            of_encoder, of_decoder, _ = vae.vae_backward(cache, encoder, decoder)
            encoder, states[0] = optim.adam_step(encoder, of_encoder, states[0], lr=5e-3)
            decoder, states[1] = optim.adam_step(decoder, of_decoder, states[1], lr=5e-3)
    held_out = 2.0 * rng.choice([-1.0, 1.0], size=(600, 2)) + np.sqrt(0.3) * rng.standard_normal((600, 2))
    elbo, _ = vae.vae_forward(held_out, encoder, decoder, rng.standard_normal((600, 2)), variance=0.3)
    assert 0.8 < elbo.reconstruction < 1.4
    assert 1.8 < elbo.kl < 2.4
    mu, log_var, _ = vae.encode(held_out, encoder)
    assert vae.active_dimensions(mu, log_var).all()
    made = vae.sample_prior(decoder, 400, rng)
    quadrant = 2 * (made[:, 0] > 0) + (made[:, 1] > 0)
    assert np.bincount(quadrant, minlength=4).min() > 60
