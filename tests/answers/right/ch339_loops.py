"""Right, with lists and loops over copies, layers written out, and one step at a time."""

import math

import numpy as np

LIMIT = 500


def start_states(n, rng):
    return rng.uniform(-0.05, 0.05, size=(n, 4))


def adam_step(params, grads, optimizer, lr):
    t = optimizer["t"] + 1 if optimizer else 1
    new, memory = {}, {"t": t}
    for name in params:
        m, v = optimizer.get(name, (0.0, 0.0))
        m, v = 0.9 * m + 0.1 * grads[name], 0.999 * v + 0.001 * grads[name] * grads[name]
        memory[name] = (m, v)
        new[name] = params[name] - lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return new, memory


def cartpole_step(states, actions):
    after, over = [], []
    for (x, x_dot, theta, theta_dot), action in zip(states, actions, strict=True):
        force = 10.0 if action == 1 else -10.0
        push = (force + 0.05 * theta_dot * theta_dot * math.sin(theta)) / 1.1
        turn = (9.8 * math.sin(theta) - math.cos(theta) * push) / (0.5 * (4 / 3 - 0.1 * math.cos(theta) ** 2 / 1.1))
        drive = push - 0.05 * turn * math.cos(theta) / 1.1
        after.append([x + 0.02 * x_dot, x_dot + 0.02 * drive, theta + 0.02 * theta_dot, theta_dot + 0.02 * turn])
        over.append(not (-2.4 <= after[-1][0] <= 2.4 and -math.pi / 15 <= after[-1][2] <= math.pi / 15))
    return after, [1.0] * len(after), over


def init_params(hidden, rng):
    params = {}
    params["W1"] = rng.normal(0, 0.5, size=(hidden, 4))
    params["W2"] = rng.normal(0, hidden**-0.5, size=(hidden, hidden))
    params["W3"] = rng.normal(0, 0.01 * hidden**-0.5, size=(2, hidden))
    params["V1"] = rng.normal(0, 0.5, size=(hidden, 4))
    params["V2"] = rng.normal(0, hidden**-0.5, size=(hidden, hidden))
    params["V3"] = rng.normal(0, hidden**-0.5, size=(1, hidden))
    for name in ("b1", "b2", "c1", "c2"):
        params[name] = np.zeros(hidden)
    params["b3"], params["c3"] = np.zeros(2), np.zeros(1)
    return params


def forward(params, states):
    x = np.array(states, dtype=float)
    a1 = np.tanh(np.dot(x, np.transpose(params["W1"])) + params["b1"])
    a2 = np.tanh(np.dot(a1, np.transpose(params["W2"])) + params["b2"])
    e1 = np.tanh(np.dot(x, np.transpose(params["V1"])) + params["c1"])
    e2 = np.tanh(np.dot(e1, np.transpose(params["V2"])) + params["c2"])
    logits = np.dot(a2, np.transpose(params["W3"])) + params["b3"]
    values = np.dot(e2, params["V3"][0]) + params["c3"][0]
    return logits, values, {"x": x, "a1": a1, "a2": a2, "e1": e1, "e2": e2, "params": params}


def backward(dlogits, dvalues, cache):
    p, x = cache["params"], cache["x"]
    dlogits, dvalues = np.array(dlogits, dtype=float), np.array(dvalues, dtype=float)
    d2 = np.dot(dlogits, p["W3"]) * (1 - cache["a2"] ** 2)
    d1 = np.dot(d2, p["W2"]) * (1 - cache["a1"] ** 2)
    g2 = np.outer(dvalues, p["V3"][0]) * (1 - cache["e2"] ** 2)
    g1 = np.dot(g2, p["V2"]) * (1 - cache["e1"] ** 2)
    return {
        "c3": np.array([dvalues.sum()]),
        "c2": g2.sum(axis=0),
        "c1": g1.sum(axis=0),
        "V3": np.dot(dvalues, cache["e2"])[None],
        "V2": np.dot(g2.T, cache["e1"]),
        "V1": np.dot(g1.T, x),
        "b3": dlogits.sum(axis=0),
        "b2": d2.sum(axis=0),
        "b1": d1.sum(axis=0),
        "W3": np.dot(dlogits.T, cache["a2"]),
        "W2": np.dot(d2.T, cache["a1"]),
        "W1": np.dot(d1.T, x),
    }


def _log_two(logits):
    top = np.maximum(logits[:, 0], logits[:, 1])
    total = top + np.log(np.exp(logits[:, 0] - top) + np.exp(logits[:, 1] - top))
    return logits - total[:, None]


def _draw(logits, rng):
    u = rng.random(len(logits))
    first = np.exp(_log_two(logits)[:, 0])
    return np.array([1 if u[i] >= first[i] else 0 for i in range(len(u))])


def rollout(step, params, states, counts, n_steps, rng, limit=LIMIT):
    names = ["states", "actions", "log_probs", "rewards", "next_states", "terminated", "truncated"]
    data = {name: [] for name in names}
    states, counts = [list(row) for row in states], [int(c) for c in counts]
    for _ in range(n_steps):
        logits = forward(params, states)[0]
        actions = _draw(logits, rng)
        after, rewards, over = step(np.array(states), actions)
        counts = [c + 1 for c in counts]
        late = [c >= limit for c in counts]
        log_p = _log_two(logits)
        noted = [log_p[i, a] for i, a in enumerate(actions)]
        for name, row in zip(names, (states, actions, noted, rewards, after, over, late), strict=True):
            data[name].append(np.array(row))
        ended = [i for i in range(len(states)) if over[i] or late[i]]
        states = [list(row) for row in after]
        if ended:
            for i, row in zip(ended, start_states(len(ended), rng), strict=True):
                states[i], counts[i] = list(row), 0
    return {name: np.array(rows) for name, rows in data.items()}, np.array(states), np.array(counts)


def advantages_and_targets(rewards, values, next_values, terminated, truncated, gamma=0.99, gae_lambda=0.95):
    steps, copies = np.shape(rewards)
    a = np.zeros((steps, copies))
    for n in range(copies):
        later = 0.0
        for t in range(steps - 1, -1, -1):
            worth = 0.0 if terminated[t][n] else next_values[t][n]
            if terminated[t][n] or truncated[t][n]:
                later = 0.0
            later = rewards[t][n] + gamma * worth - values[t][n] + gamma * gae_lambda * later
            a[t, n] = later
    return a, a + np.array(values)


def ppo_loss(
    logits, values, actions, old_log_probs, advantages, targets, clip_eps=0.2, value_coef=0.5, entropy_coef=0.01
):
    n = len(actions)
    log_p = _log_two(np.array(logits, dtype=float))
    loss, dlogits, dvalues = 0.0, np.zeros((n, 2)), np.zeros(n)
    for i in range(n):
        a, p = int(actions[i]), np.exp(log_p[i])
        ratio = math.exp(log_p[i, a] - old_log_probs[i])
        good = advantages[i] > 0
        held = min(ratio, 1 + clip_eps) if good else max(ratio, 1 - clip_eps)
        entropy = -float(p @ log_p[i])
        loss += (-held * advantages[i] + value_coef * (values[i] - targets[i]) ** 2 - entropy_coef * entropy) / n
        push = -ratio * advantages[i] / n if held == ratio else 0.0
        for k in range(2):
            dlogits[i, k] = push * ((k == a) - p[k]) + entropy_coef * p[k] * (log_p[i, k] + entropy) / n
        dvalues[i] = 2 * value_coef * (values[i] - targets[i]) / n
    return loss, dlogits, dvalues


def ppo_update(params, optimizer, data, rng, lr, epochs=6, batch_size=256, gamma=0.99, gae_lambda=0.95):
    steps, copies = np.shape(data["rewards"])
    values = np.array([forward(params, data["states"][t])[1] for t in range(steps)])
    after = np.array([forward(params, data["next_states"][t])[1] for t in range(steps)])
    ends = data["terminated"], data["truncated"]
    a, targets = advantages_and_targets(data["rewards"], values, after, *ends, gamma, gae_lambda)
    for _ in range(epochs):
        order = rng.permutation(steps * copies)
        while len(order):
            rows, columns = np.divmod(order[:batch_size], copies)
            order = order[batch_size:]
            mine = a[rows, columns]
            mine = (mine - mine.mean()) / (math.sqrt(np.mean((mine - mine.mean()) ** 2)) + 1e-8)
            logits, now, cache = forward(params, data["states"][rows, columns])
            _, dlogits, dvalues = ppo_loss(
                logits,
                now,
                data["actions"][rows, columns],
                data["log_probs"][rows, columns],
                mine,
                targets[rows, columns],
            )
            params, optimizer = adam_step(params, backward(dlogits, dvalues, cache), optimizer, lr)
    return params, optimizer


def greedy_actions(params, states):
    return [int(second > first) for first, second in forward(params, states)[0]]


def evaluate(step, params, starts, limit=LIMIT, rng=None):
    places = {i: list(start) for i, start in enumerate(starts)}
    lengths = [0] * len(places)
    while places and max(lengths) < limit:
        here = np.array(list(places.values()))
        actions = greedy_actions(params, here) if rng is None else _draw(forward(params, here)[0], rng)
        after, _, over = step(here, np.array(actions))
        still = {}
        for i, row, fallen in zip(places, after, over, strict=True):
            lengths[i] += 1
            if not fallen:
                still[i] = row
        places = still
    return lengths


def train(
    step, rng, updates=80, copies=32, n_steps=32, hidden=64, lr=0.002, check_every=10, check_episodes=20, limit=LIMIT
):
    params, optimizer = init_params(hidden, rng), {}
    states, counts = start_states(copies, rng), [0] * copies
    best, top, means = None, -1.0, []
    for u in range(1, updates + 1):
        data, states, counts = rollout(step, params, states, counts, n_steps, rng, limit)
        params, optimizer = ppo_update(params, optimizer, data, rng, lr * (updates + 1 - u) / updates)
        if u % check_every:
            continue
        mean = float(np.mean(evaluate(step, params, start_states(check_episodes, rng), limit)))
        means.append(mean)
        if mean >= top:
            best, top = params, mean
        if means[-3:] == [limit] * 3:
            break
    return (best or params), np.array(means)
