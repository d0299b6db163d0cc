"""Wrong: the training explores with decay ** episode, whatever the floor."""

import numpy as np


def discounted_returns(rewards, gamma, bootstrap=0.0):
    g = np.append(np.asarray(rewards, float), bootstrap)
    for t in range(len(g) - 2, -1, -1):
        g[t] += gamma * g[t + 1]
    return g[:-1]


def _targets(world):
    rows, columns = world["rows"], world["columns"]
    cells = np.arange(rows * columns).reshape(rows, columns)
    padded = np.pad(cells, 1, mode="edge")
    # A border that repeats its neighbour is a wall: the state behind it is the state itself.
    ways = (padded[1:-1, 2:], padded[1:-1, :-2], padded[2:, 1:-1], padded[:-2, 1:-1])
    return np.stack([way.ravel() for way in ways], axis=1)


def grid_step(world, state, action):
    new = int(_targets(world)[state, action])
    pays = {world["goal"]: world["goal_reward"], world["hole"]: world["hole_reward"]}
    return new, pays.get(new, world["step_reward"]), new in pays


def grid_process(world):
    new = _targets(world)
    R = np.full(new.shape, world["step_reward"])
    for name in ("goal", "hole"):
        R[new == world[name]] = world[name + "_reward"]
    ends = [world["goal"], world["hole"]]
    new[ends], R[ends] = np.array(ends)[:, None], 0.0
    return np.eye(len(new))[new], R


def action_values(P, R, v, gamma):
    return np.asarray(R, float) + gamma * np.einsum("ijk,k->ij", np.asarray(P, float), np.asarray(v, float))


def greedy_policy(q):
    return np.argsort(-np.asarray(q, float), axis=1, kind="stable")[:, 0]


def value_iteration(P, R, gamma, tolerance=1e-12):
    v, moved = np.zeros(len(R)), np.inf
    while moved > tolerance:
        old, v = v, action_values(P, R, v, gamma).max(axis=1)
        moved = abs(v - old).max()
    return v


def policy_evaluation(P, R, policy, gamma):
    policy = np.asarray(policy, float)
    among = np.einsum("sa,sat->st", policy, P)
    return np.linalg.solve(np.identity(len(among)) - gamma * among, np.einsum("sa,sa->s", policy, R))


def _towards(Q, place, target, lr):
    Q = np.asarray(Q, float)
    here = np.zeros(Q.shape)
    here[place] = lr
    return Q + here * (target - Q)


def q_update(Q, state, action, reward, next_state, terminated, lr, gamma):
    future = 0.0 if terminated else np.max(Q, axis=1)[next_state]
    return _towards(Q, (state, action), reward + gamma * future, lr)


def sarsa_update(Q, state, action, reward, next_state, next_action, terminated, lr, gamma):
    future = 0.0 if terminated else np.asarray(Q)[next_state, next_action]
    return _towards(Q, (state, action), reward + gamma * future, lr)


def epsilon_greedy(q, epsilon, rng):
    explore = rng.random() < epsilon
    allowed = np.nonzero(np.asarray(q) >= (-np.inf if explore else np.max(q)))[0]
    if explore or allowed.size > 1:
        return allowed[rng.integers(allowed.size)]
    return allowed[0]


def decayed_epsilon(episode, decay, floor):
    return np.maximum(decay**episode, floor)


def train_q_learning(world, episodes, max_steps, lr, gamma, decay, floor, rng):
    Q = np.zeros((world["rows"] * world["columns"], 4))
    returns = []
    for k in range(episodes):
        s, rewards, epsilon = world["start"], [], decay**k
        while len(rewards) < max_steps:
            a = epsilon_greedy(Q[s], epsilon, rng)
            new, reward, over = grid_step(world, s, a)
            Q[s, a] += lr * (reward + gamma * (0.0 if over else Q[new].max()) - Q[s, a])
            rewards.append(reward)
            s = new
            if over:
                break
        returns.append(sum(rewards))
    return Q, np.array(returns)


def replay_add(buffer, transition, capacity):
    return (list(buffer) + [transition])[-capacity:]


def replay_sample(buffer, batch_size, rng):
    table = np.array(buffer, dtype=object)[rng.choice(len(buffer), batch_size, replace=False)]
    return tuple(table[:, i].astype(kind) for i, kind in enumerate((int, int, float, int, bool)))
