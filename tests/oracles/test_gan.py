"""Adversarial losses and gradients, the double backward of the gradient penalty included, against autograd."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dlreference import gan, mlp

TIGHT = {"rtol": 1e-10, "atol": 1e-12}


@pytest.fixture
def rng():
    return np.random.default_rng(326)


def close(ours, theirs):
    np.testing.assert_allclose(ours, np.asarray(theirs), **TIGHT)


def leaf(x):
    return torch.tensor(np.asarray(x, dtype=np.float64), requires_grad=True)


def leaves(params):
    return {name: leaf(value) for name, value in params.items()}


def close_gradients(grads, expected):
    assert list(grads) == list(expected)
    for name, theirs in expected.items():
        close(grads[name], np.zeros(theirs.shape) if theirs.grad is None else theirs.grad)


ACTIVATE = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "leaky_relu": F.leaky_relu,
    "identity": lambda h: h,
}


def torch_mlp(params, h, activation="relu"):
    layers = len(params) // 2
    for layer in range(1, layers + 1):
        h = h @ params[f"W{layer}"].T + params[f"b{layer}"]
        h = ACTIVATE[activation](h) if layer < layers else h
    return h


def random_net(rng, widths):
    return {k: v + 0.2 * rng.normal(size=v.shape) for k, v in mlp.init_mlp(widths, rng).items()}


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_discriminator_loss_and_both_gradients(rng, scale):
    real, fake = leaf(scale * rng.normal(size=(5, 1))), leaf(scale * rng.normal(size=(3, 1)))
    expected = -F.logsigmoid(real).mean() - F.logsigmoid(-fake).mean()
    expected.backward()
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        loss, dreal, dfake = gan.discriminator_loss(real.detach(), fake.detach())
    close(loss, expected.item())
    close(dreal, real.grad)
    close(dfake, fake.grad)


def test_discriminator_loss_at_one_half_is_twice_log_two():
    assert gan.discriminator_loss(np.zeros(4), np.zeros(7))[0] == pytest.approx(2 * math.log(2), rel=1e-15)


@pytest.mark.parametrize("kind", ["non_saturating", "saturating"])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_generator_loss_and_gradient(rng, kind, scale):
    fake = leaf(scale * rng.normal(size=(5, 1)))
    expected = -F.logsigmoid(fake).mean() if kind == "non_saturating" else F.logsigmoid(-fake).mean()
    expected.backward()
    loss, grad = gan.generator_loss(fake.detach(), kind)
    close(loss, expected.item())
    close(grad, fake.grad)


def test_generator_gradients_where_the_discriminator_is_sure():
    """At D = 1e-3 the non-saturating gradient is 999 times the saturating one."""
    logit = [math.log(1e-3 / (1 - 1e-3))]
    assert gan.generator_loss(logit, "non_saturating")[1][0] == pytest.approx(-0.999, rel=1e-12)
    assert gan.generator_loss(logit, "saturating")[1][0] == pytest.approx(-0.001, rel=1e-12)


def test_generator_loss_refuses_other_kinds():
    with pytest.raises(ValueError, match="kind"):
        gan.generator_loss([0.0], "hinge")


def test_optimal_discriminator_and_its_value():
    p, q = np.array([0.5, 0.5, 0.0, 0.0]), np.array([0.25, 0.0, 0.75, 0.0])
    close(gan.optimal_discriminator(p, q), [2 / 3, 1.0, 0.0, 0.5])
    assert gan.game_value(p, p) == pytest.approx(-math.log(4), rel=1e-15)
    assert gan.game_value(p, q) == pytest.approx(-math.log(4) + 2 * gan.jensen_shannon(p, q), rel=1e-14)


def test_optimal_discriminator_beats_every_other(rng):
    p, q = rng.dirichlet(np.ones(6), size=2)
    best = gan.game_value(p, q)
    for _ in range(50):
        assert gan.game_value(p, q, rng.uniform(0.01, 0.99, size=6)) < best
    nudged = gan.optimal_discriminator(p, q) + 1e-4
    assert gan.game_value(p, q, nudged) < best


def test_jensen_shannon_of_disjoint_distributions_is_log_two():
    assert gan.jensen_shannon([1.0, 0.0], [0.0, 1.0]) == pytest.approx(math.log(2), rel=1e-15)
    assert gan.jensen_shannon([0.3, 0.7], [0.3, 0.7]) == 0.0


def test_optimal_gaussian_logit_is_the_log_density_ratio(rng):
    constant, linear, quadratic = gan.optimal_gaussian_logit(3.0, 0.5, -1.0, 2.0)
    x = torch.tensor(rng.normal(size=9))
    normal = torch.distributions.Normal
    expected = normal(torch.tensor(3.0).double(), 0.5).log_prob(x) - normal(torch.tensor(-1.0).double(), 2.0).log_prob(
        x
    )
    close(constant + linear * x + quadratic * x**2, expected)


@pytest.mark.parametrize("batch", [6, 1])
@pytest.mark.parametrize(("d_widths", "activation"), [((2, 5, 1), "relu"), ((2, 5, 4, 1), "tanh")])
def test_discriminator_gradients_leave_the_generator_out(rng, batch, d_widths, activation):
    d, g = random_net(rng, d_widths), random_net(rng, (3, 4, 2))
    real, z = rng.normal(size=(batch, 2)), rng.normal(size=(batch + 1, 3))
    td, tg = leaves(d), leaves(g)
    fake = torch_mlp(tg, torch.tensor(z), activation).detach()
    expected = -F.logsigmoid(torch_mlp(td, torch.tensor(real), activation)).mean()
    expected = expected - F.logsigmoid(-torch_mlp(td, fake, activation)).mean()
    expected.backward()
    loss, grads = gan.discriminator_gradients(d, g, real, z, activation)
    close(loss, expected.item())
    close_gradients(grads, td)


@pytest.mark.parametrize("kind", ["non_saturating", "saturating"])
@pytest.mark.parametrize(("d_widths", "activation"), [((2, 5, 1), "relu"), ((2, 5, 4, 1), "tanh")])
def test_generator_gradients_pass_through_the_discriminator(rng, kind, d_widths, activation):
    d, g = random_net(rng, d_widths), random_net(rng, (3, 4, 2))
    z = rng.normal(size=(6, 3))
    tg = leaves(g)
    fake = torch_mlp(tg, torch.tensor(z), activation)
    logits = torch_mlp({k: torch.tensor(v) for k, v in d.items()}, fake, activation)
    expected = -F.logsigmoid(logits).mean() if kind == "non_saturating" else F.logsigmoid(-logits).mean()
    expected.backward()
    loss, grads = gan.generator_gradients(d, g, z, kind, activation)
    close(loss, expected.item())
    close_gradients(grads, tg)


def test_steps_move_their_own_parameters_only(rng):
    d, g = random_net(rng, (2, 5, 1)), random_net(rng, (3, 4, 2))
    before_d, before_g = {k: v.copy() for k, v in d.items()}, {k: v.copy() for k, v in g.items()}
    real, z = rng.normal(size=(6, 2)), rng.normal(size=(6, 3))
    new_d, d_loss = gan.discriminator_step(d, g, real, z, 0.1)
    new_g, g_loss = gan.generator_step(d, g, z, 0.1)
    assert gan.discriminator_gradients(new_d, g, real, z)[0] < d_loss
    assert gan.generator_gradients(d, new_g, z)[0] < g_loss
    for name in d:
        np.testing.assert_array_equal(d[name], before_d[name])
    for name in g:
        np.testing.assert_array_equal(g[name], before_g[name])


def test_train_step_documented_draws_and_fresh_discriminator(rng):
    d, g, real = random_net(rng, (2, 5, 1)), random_net(rng, (3, 4, 2)), rng.normal(size=(6, 2))
    new_d, new_g, d_loss, g_loss = gan.train_step(d, g, real, 0.1, 0.2, np.random.default_rng(8))
    mirror = np.random.default_rng(8)
    expected_d, expected_d_loss = gan.discriminator_step(d, g, real, mirror.standard_normal((6, 3)), 0.1)
    expected_g, expected_g_loss = gan.generator_step(expected_d, g, mirror.standard_normal((6, 3)), 0.2)
    assert (d_loss, g_loss) == (expected_d_loss, expected_g_loss)
    for got, wanted in ((new_d, expected_d), (new_g, expected_g)):
        for name in wanted:
            np.testing.assert_array_equal(got[name], wanted[name])


def test_critic_and_wgan_generator_losses(rng):
    real, fake = leaf(rng.normal(size=(5, 1))), leaf(rng.normal(size=(3, 1)))
    (fake.mean() - real.mean()).backward()
    loss, dreal, dfake = gan.critic_loss(real.detach(), fake.detach())
    close(loss, (fake.mean() - real.mean()).item())
    close(dreal, real.grad)
    close(dfake, fake.grad)
    loss, grad = gan.wgan_generator_loss(fake.detach())
    close(loss, -fake.mean().item())
    close(grad, -fake.grad)


def test_clip_weights_limits_every_parameter_of_a_copy(rng):
    params = {"W1": rng.normal(size=(3, 2)), "b1": np.array([5.0, -5.0, 0.001])}
    clipped = gan.clip_weights(params, 0.01)
    assert all(np.abs(v).max() <= 0.01 for v in clipped.values())
    np.testing.assert_array_equal(clipped["b1"], [0.01, -0.01, 0.001])
    assert params["b1"][0] == 5.0


@pytest.mark.parametrize("activation", ["tanh", "relu", "leaky_relu", "softplus", "sigmoid", "identity"])
@pytest.mark.parametrize("widths", [(3, 1), (3, 5, 1), (2, 6, 4, 5, 1)])
def test_gradient_penalty_value_and_gradient_by_double_backward(rng, activation, widths):
    critic, x = random_net(rng, widths), rng.normal(size=(7, widths[0]))
    tc, tx = leaves(critic), leaf(x)
    (slope,) = torch.autograd.grad(torch_mlp(tc, tx, activation).sum(), tx, create_graph=True)
    expected = 10 * ((slope.norm(dim=1) - 1) ** 2).mean()
    expected.backward()
    penalty, grads = gan.gradient_penalty(critic, x, 10.0, activation)
    close(penalty, expected.item())
    close_gradients(grads, tc)


def test_gradient_penalty_of_a_linear_critic_in_closed_form():
    """score = w x: penalty strength (|w| - 1)^2, gradient 2 strength (|w| - 1) w / |w|, none for the bias."""
    penalty, grads = gan.gradient_penalty({"W1": [[3.0, 4.0]], "b1": [7.0]}, [[0.1, 0.2], [5.0, -3.0]])
    assert penalty == pytest.approx(160.0, rel=1e-14)
    close(grads["W1"], [[48.0, 64.0]])
    np.testing.assert_array_equal(grads["b1"], [0.0])


def test_gradient_penalty_of_a_flat_critic_is_finite():
    penalty, grads = gan.gradient_penalty({"W1": [[0.0, 0.0]], "b1": [1.0]}, [[0.1, 0.2]], 10.0)
    assert penalty == 10.0
    np.testing.assert_array_equal(grads["W1"], [[0.0, 0.0]])


def test_gradient_penalty_refuses_activations_without_second_derivative():
    with pytest.raises(ValueError, match="second derivative"):
        gan.gradient_penalty({"W1": [[1.0]], "b1": [0.0], "W2": [[1.0]], "b2": [0.0]}, [[0.5]], 1.0, "mish")


def test_critic_gradients_with_penalty(rng):
    critic, g = random_net(rng, (2, 5, 4, 1)), random_net(rng, (3, 4, 2))
    real, z, u = rng.normal(size=(6, 2)), rng.normal(size=(6, 3)), rng.random((6, 1))
    tc = leaves(critic)
    treal = torch.tensor(real)
    fake = torch_mlp({k: torch.tensor(v) for k, v in g.items()}, torch.tensor(z), "tanh")
    mixed = (torch.tensor(u) * treal + (1 - torch.tensor(u)) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(torch_mlp(tc, mixed, "tanh").sum(), mixed, create_graph=True)
    expected = (torch_mlp(tc, fake, "tanh") - torch_mlp(tc, treal, "tanh")).mean()
    expected = expected + 3 * ((slope.norm(dim=1) - 1) ** 2).mean()
    expected.backward()
    loss, grads = gan.critic_gradients(critic, g, real, z, u, 3.0)
    close(loss, expected.item())
    close_gradients(grads, tc)


def test_mix_samples_lies_on_the_segment(rng):
    real, fake = rng.normal(size=(2, 4, 3))
    np.testing.assert_array_equal(gan.mix_samples(real, fake, np.ones((4, 1))), real)
    np.testing.assert_array_equal(gan.mix_samples(real, fake, np.zeros((4, 1))), fake)


def test_quadratic_features_backward(rng):
    x, dout = leaf(rng.normal(size=(5, 1))), rng.normal(size=(5, 2))
    torch.cat([x, x**2], dim=1).backward(torch.tensor(dout))
    close(gan.quadratic_features(x.detach())[:, 1:], x.detach() ** 2)
    close(gan.quadratic_features_backward(dout, x.detach()), x.grad)


@pytest.mark.parametrize(("mean", "std"), [(3.0, 0.5), (-2.0, 4.0)])
def test_linear_gan_matches_mean_and_standard_deviation(mean, std):
    data = mean + std * np.random.default_rng(0).standard_normal((2000, 1))
    result = gan.train_linear_gan(data, 400, np.random.default_rng(1))
    assert result.means[-100:].mean() == pytest.approx(data.mean(), abs=0.05 * std)
    assert result.stds[-100:].mean() == pytest.approx(data.std(), rel=0.05)
    assert result.generator["b1"][0] == pytest.approx(result.means[-1], rel=1e-12)
    assert abs(result.generator["W1"][0, 0]) == pytest.approx(result.stds[-1], rel=1e-12)
