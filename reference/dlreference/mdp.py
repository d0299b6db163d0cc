"""Markov decision processes: returns, dynamic programming, tabular control, a grid world and a replay buffer.

A finite process is a pair of arrays: `transition (S, A, S)` with `transition[s, a, s']` the probability of reaching s',
and `reward (S, A)`, the expected reward. A terminal state is absorbing with reward 0, so its value is 0.
Source: Sutton and Barto, *Reinforcement Learning*, 2nd edition, chapters 3, 4 and 6.
"""

from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dlreference.arrays import Array, ArrayLike, Labels, as_float, as_labels

# Displacement (row, column) of the actions right, left, down, up.
ACTIONS: tuple[tuple[int, int], ...] = ((0, 1), (0, -1), (1, 0), (-1, 0))


def discounted_returns(rewards: ArrayLike, gamma: float, bootstrap: ArrayLike = 0.0) -> Array:
    """Return `G_t = r_t + gamma * G_{t+1}` for every step, computed backwards.

    `rewards` is (T,) or (T, N) for N episodes of equal length. `bootstrap` (a number or (N,)) stands for the value of
    the state after the last step: 0 when that state is terminal, V of it when a time limit cut the episode.
    """
    r = as_float(rewards)
    returns = np.empty_like(r)
    running = np.broadcast_to(as_float(bootstrap), r.shape[1:])
    for t in range(len(r) - 1, -1, -1):
        running = r[t] + gamma * running
        returns[t] = running
    return returns


def q_from_v(transition: ArrayLike, reward: ArrayLike, values: ArrayLike, gamma: float) -> Array:
    """Return the action values (S, A) `r(s, a) + gamma * sum_s' p(s' | s, a) v(s')` of state values (S,)."""
    return as_float(reward) + gamma * (as_float(transition) @ as_float(values))


def greedy_policy(q_values: ArrayLike) -> Labels:
    """Return the first best action (S,) for action values (S, A)."""
    return np.argmax(as_float(q_values), axis=-1)


def one_hot_policy(actions: ArrayLike, n_actions: int) -> Array:
    """Return the action probabilities (S, A) of a deterministic policy given as actions (S,)."""
    return np.eye(n_actions)[as_labels(actions)]


def bellman_residual(transition: ArrayLike, reward: ArrayLike, values: ArrayLike, gamma: float) -> float:
    """Return `max_s |max_a q(s, a) - v(s)|`, which is 0 exactly at the optimal values."""
    best = q_from_v(transition, reward, values, gamma).max(axis=1)
    return float(np.max(np.abs(best - as_float(values))))


def value_iteration(
    transition: ArrayLike, reward: ArrayLike, gamma: float, tolerance: float = 1e-12, max_sweeps: int = 100_000
) -> Array:
    """Return the optimal values (S,): sweep `v <- max_a q(s, a)` from 0 until no value moves more than `tolerance`.

    Raises `RuntimeError` when `max_sweeps` sweeps do not get there (gamma = 1 on a process that never ends).
    """
    values = np.zeros(np.shape(reward)[0])
    for _ in range(max_sweeps):
        improved = q_from_v(transition, reward, values, gamma).max(axis=1)
        change = np.max(np.abs(improved - values))
        values = improved
        if change <= tolerance:
            return values
    raise RuntimeError(f"value iteration still moves by {change:.3g} after {max_sweeps} sweeps")


def policy_evaluation(transition: ArrayLike, reward: ArrayLike, policy: ArrayLike, gamma: float) -> Array:
    """Return the values (S,) of a policy (S, A) by solving `(I - gamma * P_pi) v = r_pi`.

    Raises `numpy.linalg.LinAlgError` when the system is singular (gamma = 1 with an absorbing state).
    """
    pi = as_float(policy)
    p_pi = np.einsum("sa,sat->st", pi, as_float(transition))
    r_pi = (pi * as_float(reward)).sum(axis=1)
    return np.linalg.solve(np.eye(len(r_pi)) - gamma * p_pi, r_pi)


def policy_iteration(transition: ArrayLike, reward: ArrayLike, gamma: float) -> tuple[Labels, Array]:
    """Return the optimal policy (S,) and its values (S,), alternating exact evaluation and greedy improvement."""
    n_states, n_actions = np.shape(reward)
    states = np.arange(n_states)
    policy = np.zeros(n_states, dtype=np.int64)
    while True:
        values = policy_evaluation(transition, reward, one_hot_policy(policy, n_actions), gamma)
        q = q_from_v(transition, reward, values, gamma)
        # An action replaces the current one only when clearly better: ties broken by rounding would never settle.
        better = q.max(axis=1) > q[states, policy] + 1e-12 * (1.0 + np.abs(values))
        if not better.any():
            return policy, values
        policy = np.where(better, greedy_policy(q), policy)


def td_target(reward: ArrayLike, next_value: ArrayLike, gamma: float, terminated: ArrayLike) -> Array:
    """Return `r + gamma * next_value`, or `r` alone where the next state is terminal; all arguments (B,) or scalars."""
    bootstrap = np.where(np.asarray(terminated, dtype=bool), 0.0, gamma * as_float(next_value))
    return as_float(reward) + bootstrap


def q_learning_target(reward: ArrayLike, q_next: ArrayLike, gamma: float, terminated: ArrayLike) -> Array:
    """Return `r + gamma * max_a q_next[a]` (off-policy); `q_next` is (A,) or (B, A), a time limit is *not* terminal."""
    return td_target(reward, as_float(q_next).max(axis=-1), gamma, terminated)


def sarsa_target(
    reward: ArrayLike, q_next: ArrayLike, next_action: ArrayLike, gamma: float, terminated: ArrayLike
) -> Array:
    """Return `r + gamma * q_next[next_action]` (on-policy); `q_next` is (A,) or (B, A), `next_action` () or (B,)."""
    q = as_float(q_next)
    chosen = np.take_along_axis(q, as_labels(next_action)[..., None], axis=-1)[..., 0]
    return td_target(reward, chosen, gamma, terminated)


def expected_sarsa_target(
    reward: ArrayLike, q_next: ArrayLike, policy_next: ArrayLike, gamma: float, terminated: ArrayLike
) -> Array:
    """Return `r + gamma * sum_a pi(a) q_next[a]`; `q_next` and `policy_next` are (A,) or (B, A)."""
    expected = (as_float(policy_next) * as_float(q_next)).sum(axis=-1)
    return td_target(reward, expected, gamma, terminated)


def _moved_towards(q_table: ArrayLike, state: int, action: int, target: Array, learning_rate: float) -> Array:
    q = np.array(q_table, dtype=np.float64)
    q[state, action] += learning_rate * (float(target) - q[state, action])
    return q


def q_learning_update(
    q_table: ArrayLike,
    state: int,
    action: int,
    reward: float,
    next_state: int,
    terminated: bool,
    learning_rate: float,
    gamma: float,
) -> Array:
    """Return a new table (S, A) with `q[s, a]` moved by `learning_rate` towards the Q-learning target."""
    q_next = as_float(q_table)[next_state]
    return _moved_towards(q_table, state, action, q_learning_target(reward, q_next, gamma, terminated), learning_rate)


def sarsa_update(
    q_table: ArrayLike,
    state: int,
    action: int,
    reward: float,
    next_state: int,
    next_action: int,
    terminated: bool,
    learning_rate: float,
    gamma: float,
) -> Array:
    """Return a new table (S, A) with `q[s, a]` moved by `learning_rate` towards the SARSA target."""
    q_next = as_float(q_table)[next_state]
    target = sarsa_target(reward, q_next, next_action, gamma, terminated)
    return _moved_towards(q_table, state, action, target, learning_rate)


def epsilon_greedy_probabilities(q_values: ArrayLike, epsilon: float) -> Array:
    """Return the probabilities of an epsilon-greedy choice: epsilon spread over all actions, the rest over the best.

    `q_values` is (A,) or (S, A); equal best actions share `1 - epsilon` evenly.
    """
    q = as_float(q_values)
    best = q == q.max(axis=-1, keepdims=True)
    return epsilon / q.shape[-1] + (1.0 - epsilon) * best / best.sum(axis=-1, keepdims=True)


def epsilon_greedy(q_values: ArrayLike, epsilon: float, rng: np.random.Generator) -> int:
    """Return one action for action values (A,).

    Draws: first `rng.random()`; below epsilon, `rng.integers(A)` is the action. Otherwise the best action is taken, and
    only when k > 1 actions tie for best does `rng.integers(k)` pick among them in ascending order.
    """
    q = as_float(q_values)
    if rng.random() < epsilon:
        return int(rng.integers(len(q)))
    best = np.flatnonzero(q == q.max())
    return int(best[0] if len(best) == 1 else best[rng.integers(len(best))])


def decayed_epsilon(episode: int, start: float = 1.0, decay: float = 0.995, floor: float = 0.05) -> float:
    """Return `max(floor, start * decay ** episode)`; the count is of finished episodes, not of steps."""
    return max(floor, start * decay**episode)


class GridWorld(NamedTuple):
    """A grid with one goal and one hole, both terminal; states count row by row, actions are right, left, down, up.

    Entering the goal or the hole pays that reward *instead of* `step_reward`; walking into a wall stays in place.
    """

    rows: int = 5
    columns: int = 5
    start: tuple[int, int] = (0, 0)
    goal: tuple[int, int] = (4, 4)
    hole: tuple[int, int] = (2, 2)
    step_reward: float = -0.01
    goal_reward: float = 1.0
    hole_reward: float = -1.0


def grid_state(world: GridWorld, cell: tuple[int, int]) -> int:
    """Return the state number `row * columns + column` of a cell."""
    return cell[0] * world.columns + cell[1]


def grid_step(world: GridWorld, state: int, action: int) -> tuple[int, float, bool]:
    """Return `(next_state, reward, terminated)`. Raises `ValueError` when `state` is already terminal."""
    row, column = divmod(state, world.columns)
    if (row, column) in (world.goal, world.hole):
        raise ValueError(f"state {state} is terminal: reset before the next step")
    down, right = ACTIONS[action]
    cell = (min(max(row + down, 0), world.rows - 1), min(max(column + right, 0), world.columns - 1))
    if cell == world.goal:
        return grid_state(world, cell), world.goal_reward, True
    if cell == world.hole:
        return grid_state(world, cell), world.hole_reward, True
    return grid_state(world, cell), world.step_reward, False


def grid_process(world: GridWorld) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Return `transition (S, A, S)`, `reward (S, A)` and the mask `terminal (S,)` of a grid world."""
    n_states = world.rows * world.columns
    row, column = np.divmod(np.arange(n_states), world.columns)
    moves = np.array(ACTIONS)
    next_row = np.clip(row[:, None] + moves[:, 0], 0, world.rows - 1)
    next_column = np.clip(column[:, None] + moves[:, 1], 0, world.columns - 1)
    goal, hole = grid_state(world, world.goal), grid_state(world, world.hole)
    terminal = np.isin(np.arange(n_states), [goal, hole])
    target = np.where(terminal[:, None], np.arange(n_states)[:, None], next_row * world.columns + next_column)
    reward = np.where(target == goal, world.goal_reward, np.where(target == hole, world.hole_reward, world.step_reward))
    return np.eye(n_states)[target], np.where(terminal[:, None], 0.0, reward), terminal


def train_q_learning(
    world: GridWorld,
    episodes: int,
    rng: np.random.Generator,
    learning_rate: float = 0.1,
    gamma: float = 0.99,
    max_steps: int = 100,
    start: float = 1.0,
    decay: float = 0.995,
    floor: float = 0.05,
) -> tuple[Array, Array]:
    """Learn a table (S, A) from zeros by Q-learning; return it and the undiscounted episode returns (episodes,).

    Episode k explores with `decayed_epsilon(k)`; the only draws are those of `epsilon_greedy`, one choice a step.
    A cut at `max_steps` is not terminal, so the last update of a cut episode still bootstraps.
    """
    q = np.zeros((world.rows * world.columns, len(ACTIONS)))
    returns = np.zeros(episodes)
    for episode in range(episodes):
        epsilon = decayed_epsilon(episode, start, decay, floor)
        state = grid_state(world, world.start)
        for _ in range(max_steps):
            action = epsilon_greedy(q[state], epsilon, rng)
            next_state, reward, terminated = grid_step(world, state, action)
            q = q_learning_update(q, state, action, reward, next_state, terminated, learning_rate, gamma)
            returns[episode] += reward
            state = next_state
            if terminated:
                break
    return q, returns


class Batch(NamedTuple):
    """Stacked transitions: states (B, ...), actions (B,), rewards (B,), next_states (B, ...), terminated (B,)."""

    states: Array
    actions: Labels
    rewards: Array
    next_states: Array
    terminated: NDArray[np.bool_]


class ReplayBuffer:
    """The last `capacity` transitions, oldest first; adding to a full buffer drops the oldest.

    This is a class because the growing memory is itself what is being taught.
    """

    def __init__(self, capacity: int) -> None:
        self._items: deque[tuple[Array, int, float, Array, bool]] = deque(maxlen=capacity)

    def __len__(self) -> int:
        return len(self._items)

    def add(self, state: ArrayLike, action: int, reward: float, next_state: ArrayLike, terminated: bool) -> None:
        """Append a copy of one transition."""
        self._items.append(
            (
                np.array(state, dtype=np.float64),
                int(action),
                float(reward),
                np.array(next_state, dtype=np.float64),
                bool(terminated),
            )
        )

    def sample(self, batch_size: int, rng: np.random.Generator) -> Batch:
        """Return `batch_size` different transitions, chosen by one `rng.choice(len(self), batch_size, replace=False)`.

        Index 0 is the oldest transition. Raises `ValueError` when fewer than `batch_size` are stored.
        """
        chosen = [self._items[i] for i in rng.choice(len(self._items), size=batch_size, replace=False)]
        states, actions, rewards, next_states, terminated = zip(*chosen, strict=True)
        return Batch(
            np.stack(states),
            np.array(actions, dtype=np.int64),
            np.array(rewards, dtype=np.float64),
            np.stack(next_states),
            np.array(terminated, dtype=bool),
        )
