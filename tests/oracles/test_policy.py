"""Policy gradients against torch.distributions and autograd, enumerated bandits and direct sums."""

import itertools

import numpy as np
import pytest
import torch
from dlreference import cartpole, mdp, mlp, optim, policy
from torch.distributions import Categorical

TIGHT = {"rtol": 1e-10, "atol": 1e-12}


@pytest.fixture
def rng():
    return np.random.default_rng(330)


def close(ours, theirs):
    np.testing.assert_allclose(ours, np.asarray(theirs), **TIGHT)


def leaf(x):
    return torch.tensor(np.asarray(x, dtype=np.float64), requires_grad=True)


@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("batch", [1, 6])
def test_log_prob_and_its_gradient(rng, batch, scale):
    z, actions = leaf(scale * rng.normal(size=(batch, 3))), rng.integers(3, size=batch)
    expected = Categorical(logits=z).log_prob(torch.tensor(actions))
    expected.sum().backward()
    close(policy.log_prob(z.detach(), actions), expected.detach())
    close(policy.grad_log_prob(z.detach(), actions), z.grad)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_entropy_and_mean_entropy_gradient(rng, scale):
    z = leaf(scale * rng.normal(size=(5, 4)))
    expected = Categorical(logits=z).entropy()
    expected.mean().backward()
    close(policy.entropy(z.detach()), expected.detach())
    value, grad = policy.mean_entropy(z.detach())
    close(value, expected.mean().item())
    close(grad, z.grad)


def torch_mlp(params, states):
    h = torch.tensor(states)
    layers = len(params) // 2
    for layer in range(1, layers + 1):
        h = h @ params[f"W{layer}"].T + params[f"b{layer}"]
        h = torch.tanh(h) if layer < layers else h
    return h


def random_policy(rng):
    shapes = {"W1": (5, 4), "b1": (5,), "W2": (3, 5), "b2": (3,)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def test_score_gradients_at_all_weights(rng):
    params, states = random_policy(rng), rng.normal(size=(7, 4))
    actions, weights = rng.integers(3, size=7), rng.normal(size=7)
    leaves = {k: leaf(v) for k, v in params.items()}
    log_probs = Categorical(logits=torch_mlp(leaves, states)).log_prob(torch.tensor(actions))
    (torch.tensor(weights) * log_probs).sum().backward()
    grads = policy.score_gradients(params, states, actions, weights)
    assert list(grads) == list(params)
    for name in params:
        close(grads[name], leaves[name].grad)


@pytest.mark.parametrize("batch", [1, 7])
def test_reinforce_loss_and_gradient_at_logits(rng, batch):
    z, actions, advantages = leaf(rng.normal(size=(batch, 3))), rng.integers(3, size=batch), rng.normal(size=batch)
    expected = -(torch.tensor(advantages) * Categorical(logits=z).log_prob(torch.tensor(actions))).mean()
    expected.backward()
    loss, grad = policy.reinforce_loss(z.detach(), actions, advantages)
    close(loss, expected.item())
    close(grad, z.grad)


def test_reinforce_gradients_at_all_weights(rng):
    params, states = random_policy(rng), rng.normal(size=(6, 4))
    actions, advantages = rng.integers(3, size=6), rng.normal(size=6)
    leaves = {k: leaf(v) for k, v in params.items()}
    log_probs = Categorical(logits=torch_mlp(leaves, states)).log_prob(torch.tensor(actions))
    expected = -(torch.tensor(advantages) * log_probs).mean()
    expected.backward()
    loss, grads = policy.reinforce_gradients(params, states, actions, advantages)
    close(loss, expected.item())
    for name in params:
        close(grads[name], leaves[name].grad)


def test_reinforce_refuses_advantages_of_another_shape(rng):
    with pytest.raises(ValueError, match="shapes must be equal"):
        policy.reinforce_loss(rng.normal(size=(4, 2)), [0, 1, 0, 1], np.ones((4, 1)))


def test_sample_actions_documented_draw_and_frequencies(rng):
    logits = np.tile(rng.normal(size=4), (40_000, 1))
    actions = policy.sample_actions(logits, np.random.default_rng(0))
    u = np.random.default_rng(0).random(40_000)
    probs = torch.softmax(torch.tensor(logits[0]), 0).numpy()
    np.testing.assert_array_equal(actions, np.searchsorted(np.cumsum(probs)[:-1], u, side="right"))
    frequencies = np.bincount(actions, minlength=4) / 40_000
    np.testing.assert_allclose(frequencies, probs, atol=6 * 0.5 / 40_000**0.5)


def test_sample_actions_never_picks_an_impossible_action():
    actions = policy.sample_actions(np.tile([-1e4, 0.0, -1e4], (500, 1)), np.random.default_rng(0))
    np.testing.assert_array_equal(actions, 1)


def test_normalize_advantages(rng):
    a = rng.normal(size=50) * 3 + 2
    normal = policy.normalize_advantages(a)
    assert normal.mean() == pytest.approx(0.0, abs=1e-14)
    assert normal.std() == pytest.approx(1.0, abs=1e-7)
    np.testing.assert_array_equal(policy.normalize_advantages([4.0, 4.0, 4.0]), 0.0)
    np.testing.assert_array_equal(policy.normalize_advantages([4.0]), 0.0)


def test_bandit_mean_gradient_is_that_of_the_expected_reward_for_any_baseline(rng):
    z, rewards = leaf(rng.normal(size=5)), rng.normal(size=5)
    (torch.softmax(z, 0) * torch.tensor(rewards)).sum().backward()
    for baseline in (0.0, 1.0, -30.0):
        close(policy.bandit_gradient_moments(z.detach(), rewards, baseline)[0], z.grad)


def test_bandit_variance_equals_the_sample_variance(rng):
    logits, rewards = rng.normal(size=4), rng.normal(size=4)
    actions = policy.sample_actions(np.tile(logits, (200_000, 1)), np.random.default_rng(1))
    samples = (rewards[actions] - 0.4)[:, None] * policy.grad_log_prob(np.tile(logits, (200_000, 1)), actions)
    mean, variance = policy.bandit_gradient_moments(logits, rewards, 0.4)
    assert variance == pytest.approx(samples.var(axis=0).sum(), rel=0.02)
    np.testing.assert_allclose(samples.mean(axis=0), mean, atol=6 * np.sqrt(variance / 200_000))


def test_optimal_baseline_has_the_least_variance(rng):
    logits, rewards = rng.normal(size=4), rng.normal(size=4) + 5
    best = policy.optimal_baseline(logits, rewards)

    def variance(b):
        return policy.bandit_gradient_moments(logits, rewards, b)[1]

    # the variance is a parabola in the baseline, so three values give its exact minimum
    left, middle, right = variance(-1.0), variance(0.0), variance(1.0)
    assert best == pytest.approx((left - right) / (2 * (left - 2 * middle + right)), rel=1e-9)
    assert variance(best) < variance(0.0)


def test_sampled_bandit_gradient_draws_once_and_averages(rng):
    logits, rewards = rng.normal(size=4), rng.normal(size=4)
    z = leaf(np.tile(logits, (50, 1)))
    actions = policy.sample_actions(z.detach(), np.random.default_rng(2))
    log_probs = Categorical(logits=z).log_prob(torch.tensor(actions))
    (torch.tensor(rewards[actions] - 0.3) * log_probs).sum().backward()
    close(policy.sampled_bandit_gradient(logits, rewards, 0.3, 50, np.random.default_rng(2)), z.grad.mean(axis=0))


@pytest.mark.parametrize("n", [2, 3])
def test_leave_one_out_baseline_keeps_the_mean_gradient_and_the_full_mean_shrinks_it(rng, n):
    """All K^n outcomes of n draws are enumerated."""
    logits, rewards = rng.normal(size=3), rng.normal(size=3)
    right = policy.bandit_gradient_moments(logits, rewards)[0]
    probs = torch.softmax(torch.tensor(logits), 0).numpy()
    left_out, full = np.zeros(3), np.zeros(3)
    for actions in itertools.product(range(3), repeat=n):
        chosen = list(actions)
        scores = policy.grad_log_prob(np.tile(logits, (n, 1)), chosen)
        earned = rewards[chosen]
        left_out += probs[chosen].prod() * (earned - policy.leave_one_out_baseline(earned)) @ scores / n
        full += probs[chosen].prod() * (earned - earned.mean()) @ scores / n
    close(left_out, right)
    close(full, (1 - 1 / n) * right)
    np.testing.assert_array_equal(policy.leave_one_out_baseline([7.0]), [0.0])


@pytest.mark.parametrize("marked", [True, False])
def test_returns_to_go_of_episodes_one_after_another(rng, marked):
    rewards, ends = rng.normal(size=9), np.zeros(9, dtype=bool)
    ends[[0, 4]], ends[8] = True, marked
    parts = [mdp.discounted_returns(part, 0.9) for part in (rewards[:1], rewards[1:5], rewards[5:])]
    close(policy.returns_to_go(rewards, ends, 0.9), np.concatenate(parts))


@pytest.mark.parametrize("batch", [1, 6])
def test_actor_critic_loss_detaches_the_advantage(rng, batch):
    z, v = leaf(rng.normal(size=(batch, 3))), leaf(rng.normal(size=batch))
    actions, returns = rng.integers(3, size=batch), torch.tensor(rng.normal(size=batch))
    advantages = (returns - v).detach()
    expected = -(advantages * Categorical(logits=z).log_prob(torch.tensor(actions))).mean()
    expected = expected + 0.5 * ((v - returns) ** 2).mean()
    expected.backward()
    loss, dlogits, dvalues = policy.actor_critic_loss(z.detach(), v.detach(), actions, returns)
    close(loss, expected.item())
    close(dlogits, z.grad)
    close(dvalues, v.grad)


def test_ppo_loss_with_entropy_bonus(rng):
    z, actions, advantages = leaf(rng.normal(size=(30, 3))), rng.integers(3, size=30), rng.normal(size=30)
    old = policy.log_prob(z.detach().numpy() + 0.3 * rng.normal(size=(30, 3)), actions)
    a, pi = torch.tensor(advantages), Categorical(logits=z)
    ratio = (pi.log_prob(torch.tensor(actions)) - torch.tensor(old)).exp()
    expected = -torch.min(ratio * a, ratio.clamp(0.7, 1.3) * a).mean() - 0.05 * pi.entropy().mean()
    expected.backward()
    loss, grad = policy.ppo_loss(z.detach(), actions, old, advantages, 0.3, 0.05)
    close(loss, expected.item())
    close(grad, z.grad)


def gae_by_definition(rewards, values, next_values, terminated, truncated, gamma, gae_lambda):
    """Sum over l of (gamma lambda)^l delta_{t+l}, stopping after the step that ends the episode."""
    delta = rewards + gamma * next_values * (1 - terminated) - values
    advantages = np.zeros_like(delta)
    for t in range(len(delta)):
        weight = 1.0
        for k in range(t, len(delta)):
            advantages[t] += weight * delta[k]
            weight *= gamma * gae_lambda
            if terminated[k] or truncated[k]:
                break
    return advantages


@pytest.mark.parametrize("gae_lambda", [0.0, 0.9, 1.0])
def test_gae_equals_its_definition_over_several_episodes(rng, gae_lambda):
    rewards, values, next_values = rng.normal(size=(3, 12))
    terminated, truncated = np.zeros((2, 12), dtype=bool)
    terminated[3], truncated[7] = True, True
    got = policy.gae(rewards, values, next_values, terminated, truncated, 0.97, gae_lambda)
    close(got, gae_by_definition(rewards, values, next_values, terminated, truncated, 0.97, gae_lambda))


def test_gae_of_parallel_environments_equals_each_alone(rng):
    rewards, values, next_values = rng.normal(size=(3, 9, 4))
    terminated, truncated = rng.random((2, 9, 4)) < 0.2
    together = policy.gae(rewards, values, next_values, terminated, truncated)
    for n in range(4):
        alone = policy.gae(rewards[:, n], values[:, n], next_values[:, n], terminated[:, n], truncated[:, n])
        close(together[:, n], alone)


def test_gae_with_lambda_one_is_the_return_minus_the_value(rng):
    rewards, values = rng.normal(size=6), rng.normal(size=7)
    ends = np.arange(6) == 5
    none = np.zeros(6, dtype=bool)
    terminal = policy.gae(rewards, values[:-1], values[1:], ends, none, 0.9, 1.0)
    close(terminal, mdp.discounted_returns(rewards, 0.9) - values[:-1])
    cut = policy.gae(rewards, values[:-1], values[1:], none, ends, 0.9, 1.0)
    close(cut, mdp.discounted_returns(rewards, 0.9, values[-1]) - values[:-1])


def test_gae_terminal_state_does_not_bootstrap_and_a_time_limit_does():
    assert policy.gae([1.0], [0.5], [10.0], [True], [False], 0.9, 0.95)[0] == pytest.approx(0.5)
    assert policy.gae([1.0], [0.5], [10.0], [False], [True], 0.9, 0.95)[0] == pytest.approx(9.5)
    assert policy.gae([1.0], [0.5], [10.0], [True], [True], 0.9, 0.95)[0] == pytest.approx(0.5)
    assert np.isfinite(policy.gae([1.0], [0.5], [np.nan], [True], [False]))


RATIOS = np.array([0.5, 0.79, 0.81, 1.0, 1.19, 1.21, 3.0])


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_ppo_clip_loss_and_gradient_for_one_sign_of_advantage(rng, sign):
    old = rng.normal(size=7) - 2
    new = leaf(old + np.log(RATIOS))
    advantages = sign * rng.uniform(0.5, 2.0, size=7)
    a = torch.tensor(advantages)
    ratio = (new - torch.tensor(old)).exp()
    expected = -torch.min(ratio * a, ratio.clamp(0.8, 1.2) * a).mean()
    expected.backward()
    loss, grad = policy.ppo_clip_loss(new.detach(), old, advantages)
    close(loss, expected.item())
    close(grad, new.grad)
    clipped = RATIOS > 1.2 if sign > 0 else RATIOS < 0.8
    np.testing.assert_array_equal(grad == 0.0, clipped)


def test_ppo_gradient_at_ratio_one_is_the_reinforce_gradient(rng):
    logits, actions, advantages = rng.normal(size=(5, 3)), rng.integers(3, size=5), rng.normal(size=5)
    old = policy.log_prob(logits, actions)
    close(
        policy.ppo_policy_loss(logits, actions, old, advantages)[1],
        policy.reinforce_loss(logits, actions, advantages)[1],
    )


@pytest.mark.parametrize("clip_eps", [0.1, 0.2])
def test_ppo_policy_loss_and_gradient_at_logits(rng, clip_eps):
    z, actions, advantages = leaf(rng.normal(size=(40, 3))), rng.integers(3, size=40), rng.normal(size=40)
    old = policy.log_prob(z.detach().numpy() + 0.3 * rng.normal(size=(40, 3)), actions)
    a = torch.tensor(advantages)
    ratio = (Categorical(logits=z).log_prob(torch.tensor(actions)) - torch.tensor(old)).exp()
    expected = -torch.min(ratio * a, ratio.clamp(1 - clip_eps, 1 + clip_eps) * a).mean()
    expected.backward()
    loss, grad = policy.ppo_policy_loss(z.detach(), actions, old, advantages, clip_eps)
    close(loss, expected.item())
    close(grad, z.grad)


def test_value_net_regression_is_the_mlp_with_its_mse_head(rng):
    """The critic of an actor-critic needs no function of its own."""
    params = {"W1": rng.normal(size=(5, 4)), "b1": rng.normal(size=5)}
    params |= {"W2": rng.normal(size=(1, 5)), "b2": rng.normal(size=1)}
    states, returns = rng.normal(size=(6, 4)), rng.normal(size=6)
    leaves = {k: leaf(v) for k, v in params.items()}
    expected = ((torch_mlp(leaves, states)[:, 0] - torch.tensor(returns)) ** 2).mean()
    expected.backward()
    loss, grads = mlp.loss_and_gradients(params, states, returns, "tanh", "mse")
    close(loss, expected.item())
    for name in params:
        close(grads[name], leaves[name].grad)


@pytest.mark.slow
def test_ppo_composed_of_the_parts_solves_cartpole():
    """The vectorised environment, sampling, GAE with time limits, the clipped loss, entropy, MLPs and Adam together."""
    rng = np.random.default_rng(0)
    actor, critic = mlp.init_mlp((4, 32, 32, 2), rng, "xavier_normal"), mlp.init_mlp((4, 32, 32, 1), rng)
    actor["W3"] *= 0.01
    actor_state: optim.State = {}
    critic_state: optim.State = {}
    state, steps = cartpole.reset(rng, 8), np.zeros(8, dtype=np.int64)

    def value(states):
        return mlp.forward(states, critic, "tanh")[0][..., 0]

    def greedy(states):
        return mlp.forward(states, actor, "tanh")[0].argmax(axis=-1)

    for _ in range(60):
        rows = []
        for _ in range(128):
            logits = mlp.forward(state, actor, "tanh")[0]
            actions = policy.sample_actions(logits, rng)
            result = cartpole.step(state, actions, steps)
            rows.append((state, actions, policy.log_prob(logits, actions), *result[:4]))
            state, steps, _ = cartpole.restart_finished(result, rng)
        columns = [np.stack(column) for column in zip(*rows, strict=True)]
        states, actions, old, next_states, rewards, terminated, truncated = columns
        values = value(states)
        advantages = policy.gae(rewards, values, value(next_states), terminated, truncated)
        targets = (advantages + values).ravel()
        states, actions, old = states.reshape(-1, 4), actions.ravel(), old.ravel()
        for _ in range(6):
            for batch in optim.minibatches(1024, 256, rng):
                logits, cache = mlp.forward(states[batch], actor, "tanh")
                normal = policy.normalize_advantages(advantages.ravel()[batch])
                _, dlogits = policy.ppo_policy_loss(logits, actions[batch], old[batch], normal)
                dlogits = dlogits - 0.01 * policy.mean_entropy(logits)[1]
                actor, actor_state = optim.adam_step(
                    actor, mlp.backward(dlogits, cache, actor)[0], actor_state, lr=2e-3
                )
                _, grads = mlp.loss_and_gradients(critic, states[batch], targets[batch], "tanh", "mse")
                critic, critic_state = optim.adam_step(critic, grads, critic_state, lr=2e-3)
        if cartpole.episode_lengths(greedy, cartpole.reset(np.random.default_rng(99), 20)).min() == 500:
            break
    assert cartpole.episode_lengths(greedy, cartpole.reset(np.random.default_rng(100), 50)).mean() >= 475
