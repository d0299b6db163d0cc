"""Wrong: a table of whole numbers is updated as one, and what moves is cut off."""

import numpy as np


def discounted_returns(rewards, gamma, bootstrap=0.0):
    answer, later = [], bootstrap
    for r in list(rewards)[::-1]:
        later = float(r) + gamma * later
        answer.insert(0, later)
    return answer


def grid_step(world, state, action):
    row, column = state // world["columns"], state % world["columns"]
    if action == 0 and column + 1 < world["columns"]:
        column += 1
    elif action == 1 and column > 0:
        column -= 1
    elif action == 2 and row + 1 < world["rows"]:
        row += 1
    elif action == 3 and row > 0:
        row -= 1
    new = row * world["columns"] + column
    if new == world["goal"]:
        return [new, world["goal_reward"], True]
    if new == world["hole"]:
        return [new, world["hole_reward"], True]
    return [new, world["step_reward"], False]


def grid_process(world):
    n = world["rows"] * world["columns"]
    P = [[[0.0] * n for _ in range(4)] for _ in range(n)]
    R = [[0.0] * 4 for _ in range(n)]
    for s in range(n):
        over = s == world["goal"] or s == world["hole"]
        for a in range(4):
            if over:
                P[s][a][s] = 1.0
            else:
                new, R[s][a], _ = grid_step(world, s, a)
                P[s][a][new] = 1.0
    return P, R


def _worth(P, R, v, gamma, s, a):
    return R[s][a] + gamma * sum(p * x for p, x in zip(P[s][a], v, strict=True))


def action_values(P, R, v, gamma):
    return [[_worth(P, R, v, gamma, s, a) for a in range(len(R[0]))] for s in range(len(R))]


def greedy_policy(q):
    return [list(row).index(max(row)) for row in q]


def value_iteration(P, R, gamma, tolerance=1e-12):
    v = [0.0] * len(R)
    moved = tolerance + 1
    while moved > tolerance:
        moved = 0.0
        for s in range(len(v)):
            best = max(_worth(P, R, v, gamma, s, a) for a in range(len(R[s])))
            moved = max(moved, abs(best - v[s]))
            v[s] = best
    return v


def policy_evaluation(P, R, policy, gamma):
    n = len(R)
    A, r = np.eye(n), np.zeros(n)
    for s in range(n):
        for a, share in enumerate(policy[s]):
            r[s] += share * R[s][a]
            for t in range(n):
                A[s, t] -= gamma * share * P[s][a][t]
    return np.linalg.solve(A, r)


def _moved(Q, s, a, target, lr):
    Q = np.array(Q)
    Q[s, a] = (1 - lr) * Q[s, a] + lr * target
    return Q


def q_update(Q, state, action, reward, next_state, terminated, lr, gamma):
    return _moved(Q, state, action, reward + gamma * (not terminated) * max(Q[next_state]), lr)


def sarsa_update(Q, state, action, reward, next_state, next_action, terminated, lr, gamma):
    return _moved(Q, state, action, reward + gamma * (1 - terminated) * Q[next_state][next_action], lr)


def epsilon_greedy(q, epsilon, rng):
    if rng.random() < epsilon:
        return rng.integers(len(q))
    best = [a for a in range(len(q)) if q[a] == max(q)]
    return best[0] if len(best) == 1 else best[rng.integers(len(best))]


def decayed_epsilon(episode, decay, floor):
    epsilon = 1.0
    for _ in range(episode):
        epsilon *= decay
    return floor if epsilon < floor else epsilon


def train_q_learning(world, episodes, max_steps, lr, gamma, decay, floor, rng):
    Q = [[0.0] * 4 for _ in range(world["rows"] * world["columns"])]
    returns = []
    for k in range(episodes):
        s, total, t, over = world["start"], 0.0, 0, False
        while t < max_steps and not over:
            a = int(epsilon_greedy(Q[s], decayed_epsilon(k, decay, floor), rng))
            new, r, over = grid_step(world, s, a)
            Q = q_update(Q, s, a, r, new, over, lr, gamma)
            s, total, t = new, total + r, t + 1
        returns.append(total)
    return Q, returns


def replay_add(buffer, transition, capacity):
    new = list(buffer)
    new.append(transition)
    while len(new) > capacity:
        new.pop(0)
    return new


def replay_sample(buffer, batch_size, rng):
    columns = [[], [], [], [], []]
    for place in rng.choice(len(buffer), batch_size, replace=False):
        for column, value in zip(columns, buffer[place], strict=True):
            column.append(value)
    return columns
