"""Wrong: the slopes are made in place from the activations, which nobody can use again."""

import numpy as np
GRAVITY = 9.8
CART_MASS, POLE_MASS = (1.0, 0.1)
HALF_LENGTH = 0.5
FORCE = 10.0
TIME_STEP = 0.02
X_LIMIT = 2.4
ANGLE_LIMIT = 12 * np.pi / 180
START_RANGE = 0.05
LIMIT = 500


def start_states(n, rng):
    return rng.uniform(-START_RANGE, START_RANGE, size=(n, 4))


def log_softmax(logits):
    shifted = logits - np.max(logits, axis=1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))


def sample_actions(logits, rng):
    return (rng.random(len(logits)) >= np.exp(log_softmax(logits)[:, 0])).astype(np.int64)


def adam_step(params, grads, optimizer, lr):
    t, new, m, v = (optimizer.get('t', 0) + 1, {}, {}, {})
    for name, value in params.items():
        m[name] = 0.9 * optimizer.get('m', {}).get(name, 0.0) + 0.1 * grads[name]
        v[name] = 0.999 * optimizer.get('v', {}).get(name, 0.0) + 0.001 * grads[name] ** 2
        new[name] = value - lr * (m[name] / (1.0 - 0.9 ** t)) / (np.sqrt(v[name] / (1.0 - 0.999 ** t)) + 1e-08)
    return (new, {'t': t, 'm': m, 'v': v})


def cartpole_step(states, actions):
    states = np.asarray(states, dtype=np.float64)
    x_dot, theta, theta_dot = (states[:, 1], states[:, 2], states[:, 3])
    mass, moment = (CART_MASS + POLE_MASS, POLE_MASS * HALF_LENGTH)
    force = np.where(np.asarray(actions) == 1, FORCE, -FORCE)
    sine, cosine = (np.sin(theta), np.cos(theta))
    push = (force + moment * theta_dot ** 2 * sine) / mass
    theta_acc = (GRAVITY * sine - push * cosine) / (HALF_LENGTH * (4.0 / 3.0 - POLE_MASS * cosine ** 2 / mass))
    x_acc = push - moment * theta_acc * cosine / mass
    next_states = states + TIME_STEP * np.stack([x_dot, x_acc, theta_dot, theta_acc], axis=1)
    terminated = (np.abs(next_states[:, 0]) > X_LIMIT) | (np.abs(next_states[:, 2]) > ANGLE_LIMIT)
    return (next_states, np.ones(len(states)), terminated)


def init_params(hidden, rng):
    params = {}
    for weights, biases, outputs in (('W', 'b', 2), ('V', 'c', 1)):
        widths = [4, hidden, hidden, outputs]
        for layer in (1, 2, 3):
            inputs, outputs = widths[layer - 1:layer + 1]
            std = (0.01 if weights == 'W' and layer == 3 else 1.0) / np.sqrt(inputs)
            params[f'{weights}{layer}'] = rng.normal(0.0, std, size=(outputs, inputs))
            params[f'{biases}{layer}'] = np.zeros(outputs)
    return params


def forward(params, states):
    p = {name: np.asarray(value, dtype=np.float64) for name, value in params.items()}
    x = np.asarray(states, dtype=np.float64)
    outputs, hidden = ([], {})
    for weights, biases in (('W', 'b'), ('V', 'c')):
        h1 = np.tanh(x @ p[f'{weights}1'].T + p[f'{biases}1'])
        h2 = np.tanh(h1 @ p[f'{weights}2'].T + p[f'{biases}2'])
        outputs.append(h2 @ p[f'{weights}3'].T + p[f'{biases}3'])
        hidden[weights] = (h1, h2)
    return (outputs[0], outputs[1][:, 0], (x, p, hidden))


def backward(dlogits, dvalues, cache):
    x, p, hidden = cache
    grads = {}
    heads = (('W', 'b', np.asarray(dlogits, dtype=np.float64)), ('V', 'c', np.asarray(dvalues, dtype=np.float64)[:, None]))
    for weights, biases, dz in heads:
        h1, h2 = hidden[weights]
        for layer, inputs in ((3, h2), (2, h1), (1, x)):
            grads[f'{weights}{layer}'] = dz.T @ inputs
            grads[f'{biases}{layer}'] = np.sum(dz, axis=0)
            if layer > 1:
                inputs *= inputs
                dz = dz @ p[f'{weights}{layer}'] * (1.0 - inputs)
    return grads


def rollout(step, params, states, counts, n_steps, rng, limit=LIMIT):
    states, counts = (np.array(states, dtype=np.float64), np.array(counts))
    names = ('states', 'actions', 'log_probs', 'rewards', 'next_states', 'terminated', 'truncated')
    rows = {name: [] for name in names}
    for _ in range(n_steps):
        logits, _, _ = forward(params, states)
        actions = sample_actions(logits, rng)
        log_probs = log_softmax(logits)[np.arange(len(actions)), actions]
        next_states, rewards, terminated = step(states, actions)
        counts = counts + 1
        truncated = counts >= limit
        found = (states, actions, log_probs, rewards, next_states, np.asarray(terminated, dtype=bool), truncated)
        for name, value in zip(names, found, strict=True):
            rows[name].append(value)
        finished = found[5] | truncated
        states = np.array(next_states, dtype=np.float64)
        if np.any(finished):
            states[finished] = start_states(np.sum(finished), rng)
        counts = np.where(finished, 0, counts)
    return ({name: np.stack(values) for name, values in rows.items()}, states, counts)


def advantages_and_targets(rewards, values, next_values, terminated, truncated, gamma=0.99, gae_lambda=0.95):
    rewards, values = (np.asarray(rewards, dtype=np.float64), np.asarray(values, dtype=np.float64))
    terminated, truncated = (np.asarray(terminated, dtype=bool), np.asarray(truncated, dtype=bool))
    deltas = rewards + gamma * np.where(terminated, 0.0, next_values) - values
    goes_on = ~(terminated | truncated)
    advantages, running = (np.zeros(rewards.shape), np.zeros(rewards.shape[1]))
    for t in reversed(range(len(rewards))):
        running = deltas[t] + gamma * gae_lambda * goes_on[t] * running
        advantages[t] = running
    return (advantages, advantages + values)


def ppo_loss(logits, values, actions, old_log_probs, advantages, targets, clip_eps=0.2, value_coef=0.5, entropy_coef=0.01):
    values, targets = (np.asarray(values, dtype=np.float64), np.asarray(targets, dtype=np.float64))
    actions, advantages = (np.asarray(actions), np.asarray(advantages, dtype=np.float64))
    batch = len(actions)
    log_p = log_softmax(np.asarray(logits, dtype=np.float64))
    p = np.exp(log_p)
    ratio = np.exp(log_p[np.arange(batch), actions] - np.asarray(old_log_probs, dtype=np.float64))
    gain = ratio * advantages
    clipped = np.clip(ratio, 1.0 - clip_eps, 1.0 + clip_eps) * advantages
    entropies = -np.sum(p * log_p, axis=1)
    error = values - targets
    loss = -np.mean(np.minimum(gain, clipped)) + value_coef * np.mean(error ** 2) - entropy_coef * np.mean(entropies)
    dlog_prob = np.where(gain <= clipped, -gain, 0.0) / batch
    dlogits = dlog_prob[:, None] * (np.eye(2)[actions] - p)
    dlogits += entropy_coef * p * (log_p + entropies[:, None]) / batch
    return (loss, dlogits, 2.0 * value_coef * error / batch)


def ppo_update(params, optimizer, data, rng, lr, epochs=6, batch_size=256, gamma=0.99, gae_lambda=0.95):
    length, copies = np.shape(data['rewards'])
    flat = {name: np.reshape(data[name], (length * copies, *np.shape(data[name])[2:])) for name in data}
    values = forward(params, flat['states'])[1].reshape(length, copies)
    next_values = forward(params, flat['next_states'])[1].reshape(length, copies)
    advantages, targets = advantages_and_targets(data['rewards'], values, next_values, data['terminated'], data['truncated'], gamma, gae_lambda)
    advantages, targets = (advantages.ravel(), targets.ravel())
    for _ in range(epochs):
        order = rng.permutation(length * copies)
        for start in range(0, length * copies, batch_size):
            batch = order[start:start + batch_size]
            a = advantages[batch]
            normal = (a - np.mean(a)) / (np.std(a) + 1e-08)
            logits, now, cache = forward(params, flat['states'][batch])
            _, dlogits, dvalues = ppo_loss(logits, now, flat['actions'][batch], flat['log_probs'][batch], normal, targets[batch])
            params, optimizer = adam_step(params, backward(dlogits, dvalues, cache), optimizer, lr)
    return (params, optimizer)


def greedy_actions(params, states):
    return np.argmax(forward(params, states)[0], axis=1)


def evaluate(step, params, starts, limit=LIMIT, rng=None):
    states = np.array(starts, dtype=np.float64)
    lengths = np.zeros(len(states), dtype=np.int64)
    playing = np.arange(len(states))
    for _ in range(limit):
        here = states[playing]
        actions = greedy_actions(params, here) if rng is None else sample_actions(forward(params, here)[0], rng)
        next_states, _, terminated = step(here, actions)
        states[playing] = next_states
        lengths[playing] += 1
        playing = playing[~np.asarray(terminated, dtype=bool)]
        if len(playing) == 0:
            break
    return lengths


def train(step, rng, updates=80, copies=32, n_steps=32, hidden=64, lr=0.002, check_every=10, check_episodes=20, limit=LIMIT):
    params, optimizer = (init_params(hidden, rng), {})
    states, counts = (start_states(copies, rng), np.zeros(copies, dtype=np.int64))
    best, means = (None, [])
    for u in range(updates):
        data, states, counts = rollout(step, params, states, counts, n_steps, rng, limit)
        params, optimizer = ppo_update(params, optimizer, data, rng, lr * (1.0 - u / updates))
        if (u + 1) % check_every == 0:
            means.append(np.mean(evaluate(step, params, start_states(check_episodes, rng), limit)))
            if means[-1] >= max(means):
                best = params
            if len(means) >= 3 and min(means[-3:]) == limit:
                break
    return (params if best is None else best, np.array(means))
