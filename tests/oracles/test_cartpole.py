"""CartPole against Gymnasium's CartPole-v1: every transition must agree to the last bit."""

import gymnasium as gym
import numpy as np
import pytest
from dlreference import cartpole
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv


def hand_rule(state):
    """Balances for ever: push towards the side to which the pole falls."""
    return (state[..., 2] + 0.3 * state[..., 3] > 0).astype(np.int64)


def test_cartpole_random_actions_are_bit_identical_to_gymnasium():
    env = gym.make("CartPole-v1")
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    steps = falls = 0
    for _ in range(3000):
        before = env.unwrapped.state.copy()
        action = int(rng.integers(2))
        observation, reward, terminated, truncated, _ = env.step(action)
        result = cartpole.step(before, action, steps)
        np.testing.assert_array_equal(result.state, env.unwrapped.state)
        np.testing.assert_array_equal(result.state.astype(np.float32), observation)
        assert (result.reward, result.terminated, result.truncated) == (reward, terminated, truncated)
        steps = int(result.steps)
        if terminated or truncated:
            falls += 1
            steps = 0
            env.reset()
    assert falls > 100


def test_cartpole_a_balanced_episode_ends_by_the_time_limit_only():
    env = gym.make("CartPole-v1")
    env.reset(seed=3)
    state, steps = env.unwrapped.state.copy(), 0
    for k in range(1, 501):
        action = int(hand_rule(state))
        _, reward, terminated, truncated, _ = env.step(action)
        result = cartpole.step(state, action, steps)
        np.testing.assert_array_equal(result.state, env.unwrapped.state)
        assert (result.reward, result.terminated, result.truncated) == (reward, terminated, truncated)
        assert result.truncated == (k == 500)
        state, steps = result.state, result.steps


def test_cartpole_step_500_can_terminate_and_truncate_at_once():
    result = cartpole.step([2.39, 3.0, 0.0, 0.0], 1, 499)
    assert result.terminated
    assert result.truncated
    assert result.reward == 1.0


def test_cartpole_rows_of_a_batch_equal_single_steps():
    """NumPy may compute a long row with other instructions than a single number; the answers must not depend on it."""
    rng = np.random.default_rng(1)
    states = rng.uniform(-1, 1, size=(101, 4)) * [3.0, 3.0, 0.3, 3.0]
    actions = rng.integers(2, size=101)
    batch = cartpole.step(states, actions, np.arange(450, 551))
    for k in range(101):
        one = cartpole.step(states[k], actions[k], 450 + k)
        np.testing.assert_array_equal(batch.state[k], one.state)
        assert batch.terminated[k] == one.terminated
        assert batch.truncated[k] == one.truncated
    np.testing.assert_array_equal(batch.truncated, np.arange(451, 552) >= 500)


def test_cartpole_vectorised_steps_equal_gymnasium_vector_env():
    """Gymnasium's vector environment resets a finished copy on the *next* step, so those rows are not compared."""
    env = CartPoleVectorEnv(num_envs=6)
    env.reset(seed=4)
    rng = np.random.default_rng(5)
    finished = np.zeros(6, dtype=bool)
    compared = 0
    for _ in range(300):
        before, steps, actions = env.state.T.copy(), env.steps.copy(), rng.integers(2, size=6)
        observation, reward, terminated, truncated, _ = env.step(actions)
        result = cartpole.step(before, actions, steps)
        live = ~finished
        np.testing.assert_array_equal(result.state[live].astype(np.float32), observation[live])
        np.testing.assert_array_equal(result.reward[live], reward[live])
        np.testing.assert_array_equal(result.terminated[live], terminated[live])
        np.testing.assert_array_equal(result.truncated[live], truncated[live])
        finished = terminated | truncated
        compared += live.sum()
    assert compared > 1000


def test_cartpole_limits_are_gymnasiums_and_belong_to_the_track():
    env = gym.make("CartPole-v1")
    assert env.unwrapped.theta_threshold_radians == cartpole.ANGLE_LIMIT
    assert env.unwrapped.x_threshold == cartpole.X_LIMIT
    assert env.spec.max_episode_steps == cartpole.MAX_STEPS
    angle, position = cartpole.ANGLE_LIMIT, cartpole.X_LIMIT
    edge = [[0, 0, angle, 0], [0, 0, -angle, 0], [position, 0, 0, 0], [-position, 0, 0, 0]]
    np.testing.assert_array_equal(cartpole.is_terminal(edge), False)
    np.testing.assert_array_equal(cartpole.is_terminal(np.nextafter(edge, np.sign(edge) * 9)), True)


def test_cartpole_reset_draws_like_gymnasium():
    env = gym.make("CartPole-v1")
    env.reset(seed=11)
    np.testing.assert_array_equal(cartpole.reset(np.random.Generator(np.random.PCG64(11))), env.unwrapped.state)


def test_cartpole_reset_of_many_fills_row_after_row():
    many = cartpole.reset(np.random.default_rng(2), 3)
    rng = np.random.default_rng(2)
    np.testing.assert_array_equal(many, [cartpole.reset(rng) for _ in range(3)])
    assert np.all(np.abs(many) <= 0.05)


def test_cartpole_positions_move_with_the_old_velocities():
    state = np.array([0.1, -0.7, 0.05, 1.3])
    after = cartpole.dynamics(state, 1)
    assert after[0] == 0.1 + 0.02 * -0.7
    assert after[2] == 0.05 + 0.02 * 1.3


def test_cartpole_inputs_are_not_changed():
    states = np.zeros((2, 4))
    cartpole.step(states, [0, 1])
    np.testing.assert_array_equal(states, 0.0)


def test_cartpole_restart_finished_draws_only_for_finished_rows():
    states = np.array([[0, 0, 0, 0], [2.5, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0.3, 0]], dtype=float)
    transition = cartpole.step(states, [0, 0, 0, 0], [3, 7, 499, 2])
    state, steps, finished = cartpole.restart_finished(transition, np.random.default_rng(6))
    np.testing.assert_array_equal(finished, [False, True, True, True])
    np.testing.assert_array_equal(steps, [4, 0, 0, 0])
    np.testing.assert_array_equal(state[1:], cartpole.reset(np.random.default_rng(6), 3))
    np.testing.assert_array_equal(state[0], transition.state[0])


@pytest.mark.parametrize(("rule", "solved"), [(hand_rule, True), (lambda s: (s[:, 2] > 0).astype(int), False)])
def test_cartpole_episode_lengths_equal_gymnasium_episodes(rule, solved):
    starts = cartpole.reset(np.random.default_rng(8), 5)
    lengths = cartpole.episode_lengths(rule, starts)
    env = gym.make("CartPole-v1")
    for start, length in zip(starts, lengths, strict=True):
        env.reset(seed=0)
        env.unwrapped.state = start.copy()
        count, done = 0, False
        while not done:
            _, _, terminated, truncated, _ = env.step(int(rule(env.unwrapped.state[None])[0]))
            count, done = count + 1, terminated or truncated
        assert count == length
    assert np.all(lengths == 500) == solved
