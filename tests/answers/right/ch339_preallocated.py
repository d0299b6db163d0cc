"""Right, with preallocated arrays, einsum, recursion through the layers, and triangular systems for the advantages."""

import numpy as np

LIMIT = 500
NETS = {"W": "b", "V": "c"}


def start_states(n, rng):
    return rng.uniform(-0.05, 0.05, size=(n, 4))


def adam_step(params, grads, optimizer, lr):
    t = optimizer.get("t", 0) + 1
    m = {k: 0.9 * optimizer["m"][k] + 0.1 * grads[k] if t > 1 else 0.1 * grads[k] for k in params}
    v = {k: 0.999 * optimizer["v"][k] + 0.001 * grads[k] ** 2 if t > 1 else 0.001 * grads[k] ** 2 for k in params}
    rate = {k: lr / (1 - 0.9**t) / (np.sqrt(v[k] / (1 - 0.999**t)) + 1e-8) for k in params}
    return {k: params[k] - rate[k] * m[k] for k in params}, {"t": t, "m": m, "v": v}


def cartpole_step(states, actions):
    x, v, angle, spin = np.array(states, dtype=np.float64).T
    s, c = np.sin(angle), np.cos(angle)
    push = (20.0 * np.asarray(actions) - 10.0 + 0.05 * s * spin**2) / 1.1
    turn = (9.8 * s - c * push) / (2.0 / 3.0 - 0.05 * c**2 / 1.1)
    after = np.column_stack([x + v / 50, v + (push - 0.05 * c * turn / 1.1) / 50, angle + spin / 50, spin + turn / 50])
    inside = (abs(after[:, 0]) <= 2.4) & (abs(after[:, 2]) <= np.radians(12))
    return after, np.ones_like(x), np.logical_not(inside)


def init_params(hidden, rng):
    params = {}
    for w, b in NETS.items():
        shapes = [(hidden, 4), (hidden, hidden), (2 if w == "W" else 1, hidden)]
        for number, shape in enumerate(shapes, start=1):
            params[w + str(number)] = rng.normal(0.0, 1.0 / np.sqrt(shape[1]), size=shape)
            params[b + str(number)] = np.zeros(shape[0])
    return {**params, "W3": params["W3"] / 100}


def _layers(params, states, w):
    inputs = [np.array(states, dtype=np.float64)]
    for number in "123":
        z = np.einsum("bi,oi->bo", inputs[-1], params[w + number]) + params[NETS[w] + number]
        inputs.append(z if number == "3" else np.tanh(z))
    return inputs


def forward(params, states):
    inputs = {w: _layers(params, states, w) for w in NETS}
    return inputs["W"][3], np.squeeze(inputs["V"][3], axis=1), (params, inputs)


def _back(params, inputs, w, number, dz, grads):
    if number == 0:
        return grads
    below = inputs[number - 1]
    grads[f"{w}{number}"] = np.einsum("bo,bi->oi", dz, below)
    grads[f"{NETS[w]}{number}"] = np.einsum("bo->o", dz)
    return _back(params, inputs, w, number - 1, dz @ params[f"{w}{number}"] * (1 - below * below), grads)


def backward(dlogits, dvalues, cache):
    params, inputs = cache
    grads = _back(params, inputs["W"], "W", 3, np.asarray(dlogits, float), {})
    return _back(params, inputs["V"], "V", 3, np.reshape(dvalues, (-1, 1)), grads)


def _log_p(logits):
    return np.asarray(logits, float) - np.logaddexp.reduce(np.asarray(logits, float), axis=1, keepdims=True)


def _drawn(logits, rng):
    return np.where(rng.random(len(logits)) < np.exp(_log_p(logits))[:, 0], 0, 1)


def rollout(step, params, states, counts, n_steps, rng, limit=LIMIT):
    s, lasted = np.array(states, float), np.array(counts, dtype=int)
    n = len(s)
    data = {name: np.zeros((n_steps, n, 4)) for name in ("states", "next_states")}
    data |= {name: np.zeros((n_steps, n)) for name in ("log_probs", "rewards")}
    data |= {name: np.zeros((n_steps, n), dtype=bool) for name in ("terminated", "truncated")}
    data["actions"] = np.zeros((n_steps, n), dtype=int)
    for t in range(n_steps):
        logits = forward(params, s)[0]
        a = _drawn(logits, rng)
        data["states"][t], data["actions"][t] = s, a
        data["log_probs"][t] = np.take_along_axis(_log_p(logits), a[:, None], axis=1)[:, 0]
        data["next_states"][t], data["rewards"][t], data["terminated"][t] = step(s, a)
        lasted += 1
        data["truncated"][t] = lasted > limit - 1
        over = np.flatnonzero(data["terminated"][t] + data["truncated"][t])
        s = data["next_states"][t].copy()
        s[over], lasted[over] = start_states(over.size, rng), 0
    return data, s, lasted


def advantages_and_targets(rewards, values, next_values, terminated, truncated, gamma=0.99, gae_lambda=0.95):
    rewards, values, next_values = (np.asarray(a, float) for a in (rewards, values, next_values))
    ended, cut = np.asarray(terminated, bool), np.asarray(truncated, bool)
    delta = rewards - values + gamma * next_values * ~ended
    links = gamma * gae_lambda * ~(ended | cut)
    steps, copies = delta.shape
    found = np.zeros((copies, steps))
    for n in range(copies):
        found[n] = np.linalg.solve(np.eye(steps) - np.diag(links[:-1, n], k=1), delta[:, n])
    return found.T, found.T + values


def ppo_loss(
    logits, values, actions, old_log_probs, advantages, targets, clip_eps=0.2, value_coef=0.5, entropy_coef=0.01
):
    A, error = np.asarray(advantages, float), np.subtract(values, targets)
    hot = np.eye(2)[np.asarray(actions)]
    log_p = np.asarray(logits, float) - np.max(logits, axis=1, keepdims=True)
    log_p = log_p - np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    p = np.exp(log_p)
    ratio = np.exp((log_p * hot).sum(axis=1) - np.asarray(old_log_probs, float))
    held = np.where(A > 0, np.minimum(ratio, 1 + clip_eps), np.maximum(ratio, 1 - clip_eps))
    plogp = p * log_p
    loss = value_coef * (error @ error) - held @ A + entropy_coef * plogp.sum()
    pull = np.where(held == ratio, ratio * A, 0)[:, None] * (p - hot)
    doubt = entropy_coef * (plogp - p * plogp.sum(axis=1, keepdims=True))
    n = len(A)
    return loss / n, (pull + doubt) / n, 2 * value_coef / n * error


def ppo_update(params, optimizer, data, rng, lr, epochs=6, batch_size=256, gamma=0.99, gae_lambda=0.95):
    shape = data["rewards"].shape
    worth = [forward(params, data[name].reshape(-1, 4))[1].reshape(shape) for name in ("states", "next_states")]
    a, goal = advantages_and_targets(
        data["rewards"], worth[0], worth[1], data["terminated"], data["truncated"], gamma, gae_lambda
    )
    for _ in range(epochs):
        order = rng.permutation(data["rewards"].size)
        for part in np.split(order, range(batch_size, order.size, batch_size)):
            mine = a.ravel()[part] - a.ravel()[part].mean()
            mine = mine / (1e-8 + mine.std())
            logits, now, cache = forward(params, data["states"].reshape(-1, 4)[part])
            olds = data["actions"].ravel()[part], data["log_probs"].ravel()[part]
            slopes = ppo_loss(logits, now, *olds, mine, goal.ravel()[part])[1:]
            params, optimizer = adam_step(params, backward(*slopes, cache), optimizer, lr)
    return params, optimizer


def greedy_actions(params, states):
    logits = forward(params, states)[0]
    return np.int64(logits[:, 0] < logits[:, 1])


def evaluate(step, params, starts, limit=LIMIT, rng=None):
    s = np.array(starts, dtype=np.float64)
    up, lengths = np.ones(len(s), dtype=bool), np.zeros(len(s), dtype=int)
    for _ in range(limit):
        a = greedy_actions(params, s[up]) if rng is None else _drawn(forward(params, s[up])[0], rng)
        after, _, over = step(s[up], a)
        s[up] = after
        lengths[up] += 1
        up[up] = ~np.asarray(over, dtype=bool)
        if not up.any():
            return lengths
    return lengths


def train(
    step, rng, updates=80, copies=32, n_steps=32, hidden=64, lr=0.002, check_every=10, check_episodes=20, limit=LIMIT
):
    params, optimizer, found = init_params(hidden, rng), {}, []
    where = start_states(copies, rng), np.zeros(copies, dtype=int)
    for u in range(updates):
        data, *where = rollout(step, params, *where, n_steps, rng, limit)
        params, optimizer = ppo_update(params, optimizer, data, rng, (updates - u) * lr / updates)
        if (u + 1) % check_every == 0:
            found.append((evaluate(step, params, start_states(check_episodes, rng), limit).mean(), len(found), params))
            if [mean for mean, _, _ in found[-3:]] == [limit, limit, limit]:
                break
    best = max(found, key=lambda one: one[:2])[2] if found else params
    return best, [float(mean) for mean, _, _ in found]
