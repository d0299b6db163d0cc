"""The CartPole project's solution: its loss and gradients against autograd, its trained policy in Gymnasium."""

import importlib.util
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch.distributions import Categorical

PATH = Path(__file__).parents[2] / "solutions" / "ch339_project_cartpole.py"


@pytest.fixture(scope="module")
def project():
    spec = importlib.util.spec_from_file_location(PATH.stem, PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def rng():
    return np.random.default_rng(339)


def leaves_of(params):
    return {name: torch.tensor(value, requires_grad=True) for name, value in params.items()}


def torch_outputs(leaves, states):
    x = torch.tensor(states)
    outputs = []
    for w, b in (("W", "b"), ("V", "c")):
        h = torch.tanh(x @ leaves[f"{w}1"].T + leaves[f"{b}1"])
        h = torch.tanh(h @ leaves[f"{w}2"].T + leaves[f"{b}2"])
        outputs.append(h @ leaves[f"{w}3"].T + leaves[f"{b}3"])
    return outputs[0], outputs[1][:, 0]


@pytest.mark.parametrize("batch", [1, 40])
def test_loss_and_gradients_at_all_parameters_equal_autograd(project, rng, batch):
    params = {k: v + 0.3 * rng.normal(size=v.shape) for k, v in project.init_params(6, rng).items()}
    states, actions = rng.normal(size=(batch, 4)), rng.integers(2, size=batch)
    advantages, targets = rng.normal(size=(2, batch))
    leaves = leaves_of(params)
    logits, values = torch_outputs(leaves, states)
    pi, a = Categorical(logits=logits), torch.tensor(advantages)
    old = pi.log_prob(torch.tensor(actions)).detach().numpy() + 0.3 * rng.normal(size=batch)
    ratio = (pi.log_prob(torch.tensor(actions)) - torch.tensor(old)).exp()
    expected = -torch.min(ratio * a, ratio.clamp(0.8, 1.2) * a).mean()
    expected = expected + 0.5 * ((values - torch.tensor(targets)) ** 2).mean() - 0.01 * pi.entropy().mean()
    expected.backward()
    ours, our_values, cache = project.forward(params, states)
    loss, dlogits, dvalues = project.ppo_loss(ours, our_values, actions, old, advantages, targets)
    grads = project.backward(dlogits, dvalues, cache)
    assert loss == pytest.approx(expected.item(), rel=1e-10)
    assert grads.keys() == params.keys()
    for name in params:
        np.testing.assert_allclose(grads[name], leaves[name].grad, rtol=1e-9, atol=1e-12)


def test_steps_are_gymnasiums(project, rng):
    env = gym.make("CartPole-v1")
    env.reset(seed=0)
    for _ in range(300):
        before, action = np.array(env.unwrapped.state), int(rng.integers(2))
        _, reward, terminated, truncated, _ = env.step(action)
        after, rewards, ended = project.cartpole_step(before[None], [action])
        np.testing.assert_allclose(after[0], env.unwrapped.state, rtol=1e-13, atol=1e-15)
        assert (rewards[0], ended[0]) == (reward, terminated)
        if terminated or truncated:
            env.reset()


def test_the_rule_by_hand_lasts_500_steps(project, rng):
    states = project.start_states(200, rng)
    for _ in range(project.LIMIT):
        states, _, terminated = project.cartpole_step(states, states[:, 2] + 0.3 * states[:, 3] > 0)
        assert not terminated.any()


@pytest.mark.slow
def test_a_trained_policy_balances_in_gymnasium(project):
    params, _ = project.train(project.cartpole_step, np.random.default_rng(0))
    env = gym.make("CartPole-v1")
    lengths = []
    for seed in range(5):
        observation, _ = env.reset(seed=seed)
        done, total = False, 0.0
        while not done:
            action = int(project.greedy_actions(params, observation[None])[0])
            observation, reward, terminated, truncated, _ = env.step(action)
            done, total = terminated or truncated, total + reward
        lengths.append(total)
    assert np.mean(lengths) >= 475, lengths
