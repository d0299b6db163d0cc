"""Tabular reinforcement learning against closed forms, direct sums and enumerated processes."""

import numpy as np
import pytest
from dlreference import mdp

TIGHT = {"rtol": 1e-12, "atol": 1e-12}


def random_process(seed, n_states=7, n_actions=3):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(n_states), size=(n_states, n_actions)), rng.normal(size=(n_states, n_actions))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.99, 1.0])
def test_discounted_returns_equal_the_direct_sum(gamma):
    rewards = np.random.default_rng(0).normal(size=11)
    expected = [sum(gamma ** (k - t) * rewards[k] for k in range(t, 11)) for t in range(11)]
    np.testing.assert_allclose(mdp.discounted_returns(rewards, gamma), expected, **TIGHT)


def test_discounted_returns_of_a_last_reward_only():
    np.testing.assert_allclose(mdp.discounted_returns([0, 0, 0, 1], 0.5), [0.125, 0.25, 0.5, 1.0], **TIGHT)


def test_discounted_returns_bootstrap_per_episode():
    rewards = np.random.default_rng(1).normal(size=(5, 3))
    bootstrap = np.array([0.0, 2.0, -1.0])
    expected = mdp.discounted_returns(np.vstack([rewards, bootstrap]), 0.9)[:-1]
    np.testing.assert_allclose(mdp.discounted_returns(rewards, 0.9, bootstrap), expected, **TIGHT)


def test_discounted_returns_single_step():
    np.testing.assert_allclose(mdp.discounted_returns([-3.0], 0.9, 10.0), [6.0], **TIGHT)


def test_grid_world_optimal_start_value():
    transition, reward, _ = mdp.grid_process(mdp.GridWorld())
    values = mdp.value_iteration(transition, reward, 0.99)
    assert values[0] == pytest.approx(-0.01 * sum(0.99**k for k in range(7)) + 0.99**7, abs=1e-12)
    assert round(values[0], 6) == 0.864131


def test_grid_world_values_equal_the_distance_formula_everywhere():
    """The hole never lengthens a shortest path on the 5 x 5 grid, so V* depends on the distance to the goal only."""
    world = mdp.GridWorld()
    values = mdp.value_iteration(*mdp.grid_process(world)[:2], 0.99).reshape(5, 5)
    distance = 8 - np.add.outer(np.arange(5), np.arange(5))
    expected = np.where(distance == 0, 0.0, 0.99 ** (distance - 1) - (1 - 0.99 ** (distance - 1)))
    expected[2, 2] = 0.0
    np.testing.assert_allclose(values, expected, atol=1e-11)


def test_grid_world_process_agrees_with_grid_step():
    world = mdp.GridWorld(rows=3, columns=4, goal=(2, 3), hole=(1, 1))
    transition, reward, terminal = mdp.grid_process(world)
    for state in np.flatnonzero(~terminal):
        for action in range(4):
            next_state, pay, terminated = mdp.grid_step(world, int(state), action)
            assert transition[state, action, next_state] == 1.0
            assert reward[state, action] == pay
            assert terminal[next_state] == terminated
    np.testing.assert_allclose(transition.sum(axis=2), 1.0)


def test_grid_world_walls_and_finished_episodes():
    world = mdp.GridWorld()
    assert mdp.grid_step(world, 0, 1) == (0, -0.01, False)
    assert mdp.grid_step(world, 0, 3) == (0, -0.01, False)
    assert mdp.grid_step(world, 4, 0) == (4, -0.01, False)
    assert mdp.grid_step(world, 11, 0) == (12, -1.0, True)
    with pytest.raises(ValueError, match="terminal"):
        mdp.grid_step(world, 24, 0)


@pytest.mark.parametrize("gamma", [0.0, 0.6, 0.95])
def test_value_iteration_equals_policy_iteration(gamma):
    transition, reward = random_process(2)
    policy, values = mdp.policy_iteration(transition, reward, gamma)
    np.testing.assert_allclose(mdp.value_iteration(transition, reward, gamma, 1e-13), values, atol=1e-10)
    assert mdp.bellman_residual(transition, reward, values, gamma) < 1e-12
    np.testing.assert_array_equal(mdp.greedy_policy(mdp.q_from_v(transition, reward, values, gamma)), policy)


def test_policy_iteration_best_of_every_enumerated_policy():
    transition, reward = random_process(3, n_states=4, n_actions=2)
    every = [
        mdp.policy_evaluation(transition, reward, mdp.one_hot_policy(a, 2), 0.9)
        for a in np.ndindex(2, 2, 2, 2)  # all 16 deterministic policies
    ]
    np.testing.assert_allclose(mdp.policy_iteration(transition, reward, 0.9)[1], np.max(every, axis=0), atol=1e-12)


def test_policy_iteration_settles_when_actions_tie():
    transition, reward, _ = mdp.grid_process(mdp.GridWorld())
    _, values = mdp.policy_iteration(transition, reward, 0.99)
    assert values[0] == pytest.approx(0.8641306956, abs=1e-9)


def test_policy_evaluation_satisfies_its_bellman_equation():
    transition, reward = random_process(4)
    policy = np.random.default_rng(5).dirichlet(np.ones(3), size=7)
    values = mdp.policy_evaluation(transition, reward, policy, 0.9)
    iterated = np.zeros(7)
    for _ in range(600):
        iterated = (policy * mdp.q_from_v(transition, reward, iterated, 0.9)).sum(axis=1)
    np.testing.assert_allclose(values, iterated, atol=1e-12)


def test_value_iteration_that_never_ends_is_reported():
    with pytest.raises(RuntimeError, match="after 50 sweeps"):
        mdp.value_iteration(np.ones((1, 1, 1)), np.ones((1, 1)), 1.0, max_sweeps=50)


def test_td_targets_and_terminal_states():
    q_next = np.array([[1.0, -2.0, 5.0], [4.0, 0.0, -1.0]])
    np.testing.assert_allclose(mdp.q_learning_target([1, 1], q_next, 0.5, [False, True]), [3.5, 1.0], **TIGHT)
    np.testing.assert_allclose(mdp.sarsa_target([1, 1], q_next, [1, 0], 0.5, [False, False]), [0.0, 3.0], **TIGHT)
    policy = np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(
        mdp.expected_sarsa_target([0, 0], q_next, policy, 1.0, [False, False]), [-0.5, -1.0], **TIGHT
    )


def test_terminal_target_ignores_an_infinite_next_value():
    assert mdp.q_learning_target(2.0, [np.inf, 0.0], 0.9, True) == 2.0


def test_q_learning_and_sarsa_updates_touch_one_entry_of_a_copy():
    table = np.arange(12.0).reshape(4, 3)
    before = table.copy()
    moved = mdp.q_learning_update(table, 1, 2, 1.0, 3, False, 0.1, 0.9)
    expected = before.copy()
    expected[1, 2] += 0.1 * (1.0 + 0.9 * 11.0 - 5.0)
    np.testing.assert_allclose(moved, expected, **TIGHT)
    expected[1, 2] = 5.0 + 0.1 * (1.0 + 0.9 * 9.0 - 5.0)
    np.testing.assert_allclose(mdp.sarsa_update(table, 1, 2, 1.0, 3, 0, False, 0.1, 0.9), expected, **TIGHT)
    expected[1, 2] = 5.0 + 0.1 * (1.0 - 5.0)
    np.testing.assert_allclose(mdp.sarsa_update(table, 1, 2, 1.0, 3, 0, True, 0.1, 0.9), expected, **TIGHT)
    np.testing.assert_array_equal(table, before)


def test_q_learning_finds_the_optimal_values():
    q, returns = mdp.train_q_learning(mdp.GridWorld(), 800, np.random.default_rng(0))
    assert q[0].max() == pytest.approx(0.864131, abs=5e-4)
    assert returns[-50:].max() == pytest.approx(0.93)


def test_epsilon_greedy_probabilities_share_ties():
    q = [[1.0, 3.0, 3.0, 0.0], [2.0, 1.0, 0.0, -1.0]]
    expected = [[0.05, 0.45, 0.45, 0.05], [0.85, 0.05, 0.05, 0.05]]
    np.testing.assert_allclose(mdp.epsilon_greedy_probabilities(q, 0.2), expected, **TIGHT)


def test_epsilon_greedy_draw_order():
    q = np.array([0.0, 2.0, 2.0, 1.0])
    for seed in range(40):
        rng, mirror = np.random.default_rng(seed), np.random.default_rng(seed)
        chosen = mdp.epsilon_greedy(q, 0.3, rng)
        if mirror.random() < 0.3:
            assert chosen == mirror.integers(4)
        else:
            assert chosen == [1, 2][mirror.integers(2)]
        assert rng.random() == mirror.random()


def test_epsilon_greedy_frequencies_follow_the_probabilities():
    q, rng = np.array([0.0, 2.0, 2.0, 1.0]), np.random.default_rng(7)
    counts = np.bincount([mdp.epsilon_greedy(q, 0.3, rng) for _ in range(20_000)], minlength=4)
    # six standard deviations of a binomial share
    np.testing.assert_allclose(counts / 20_000, mdp.epsilon_greedy_probabilities(q, 0.3), atol=6 * 0.5 / 20_000**0.5)


def test_decayed_epsilon_reaches_its_floor():
    assert mdp.decayed_epsilon(0) == 1.0
    assert mdp.decayed_epsilon(3) == pytest.approx(0.995**3, abs=1e-15)
    assert mdp.decayed_epsilon(10_000) == 0.05


def test_replay_buffer_drops_the_oldest_and_documents_its_draw():
    buffer = mdp.ReplayBuffer(4)
    state = np.zeros(2)
    for k in range(6):
        state[:] = k
        buffer.add(state, k, -k, state + 1, k == 5)
    assert len(buffer) == 4
    batch = buffer.sample(3, np.random.default_rng(3))
    chosen = np.random.default_rng(3).choice(4, size=3, replace=False) + 2
    np.testing.assert_array_equal(batch.actions, chosen)
    np.testing.assert_array_equal(batch.states, np.repeat(chosen[:, None], 2, axis=1))
    np.testing.assert_array_equal(batch.next_states, batch.states + 1)
    np.testing.assert_array_equal(batch.rewards, -chosen)
    np.testing.assert_array_equal(batch.terminated, chosen == 5)
    with pytest.raises(ValueError):
        buffer.sample(5, np.random.default_rng(0))
