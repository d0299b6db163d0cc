"""Right, with loops, lists and plain Python numbers."""

import math

import numpy as np


def _log_softmax(row):
    top = max(float(z) for z in row)
    total = math.log(sum(math.exp(float(z) - top) for z in row))
    return [float(z) - top - total for z in row]


def log_prob(logits, actions):
    return [_log_softmax(row)[int(a)] for row, a in zip(logits, actions, strict=True)]


def log_prob_backward(dout, logits, actions):
    answer = []
    for weight, row, a in zip(dout, logits, actions, strict=True):
        p = [math.exp(x) for x in _log_softmax(row)]
        answer.append([float(weight) * ((k == int(a)) - p[k]) for k in range(len(p))])
    return answer


def sample_actions(logits, rng):
    chosen = []
    for row, u in zip(logits, rng.random(len(logits)), strict=True):
        action, passed = 0, 0.0
        for x in _log_softmax(row)[:-1]:
            passed += math.exp(x)
            action += int(passed <= u)
        chosen.append(action)
    return chosen


def _hidden(params, state):
    return [
        math.tanh(sum(float(w) * float(s) for w, s in zip(row, state, strict=True)) + float(b))
        for row, b in zip(params["W1"], params["b1"], strict=True)
    ]


def policy_logits(params, states):
    answer = []
    for state in states:
        h = _hidden(params, state)
        pairs = zip(params["W2"], params["b2"], strict=True)
        answer.append([sum(float(w) * x for w, x in zip(row, h, strict=True)) + float(b) for row, b in pairs])
    return answer


def weight_gradients(params, states, actions, weights):
    grads = {name: np.zeros(np.shape(value)) for name, value in params.items()}
    for state, action, weight in zip(states, actions, weights, strict=True):
        h = _hidden(params, state)
        [g] = log_prob_backward([weight], policy_logits(params, [state]), [action])
        for k, push in enumerate(g):
            grads["b2"][k] += push
            for j, x in enumerate(h):
                grads["W2"][k, j] += push * x
        for j, x in enumerate(h):
            back = sum(push * float(params["W2"][k][j]) for k, push in enumerate(g)) * (1 - x) * (1 + x)
            grads["b1"][j] += back
            for i, s in enumerate(state):
                grads["W1"][j, i] += back * float(s)
    return grads


def returns_to_go(rewards, ends, gamma):
    answer = []
    for t in range(len(rewards)):
        total, weight, k = 0.0, 1.0, t
        while True:
            total += weight * float(rewards[k])
            if ends[k] or k + 1 == len(rewards):
                break
            weight, k = weight * gamma, k + 1
        answer.append(total)
    return answer


def reinforce_loss(logits, actions, advantages):
    n = len(advantages)
    loss = 0.0
    for a, lp in zip(advantages, log_prob(logits, actions), strict=True):
        loss -= float(a) * lp / n
    return [loss, log_prob_backward([-float(a) / n for a in advantages], logits, actions)]


def reinforce_step(params, states, actions, advantages, lr):
    objective = weight_gradients(params, states, actions, [float(a) / len(advantages) for a in advantages])
    return {name: np.array(params[name], dtype=float) + lr * objective[name] for name in objective}


def gradient_moments(logits, rewards, baseline):
    p = [math.exp(x) for x in _log_softmax(logits)]
    n = len(p)
    samples = [[(float(rewards[a]) - baseline) * ((a == k) - p[k]) for k in range(n)] for a in range(n)]
    mean = [sum(p[a] * samples[a][k] for a in range(n)) for k in range(n)]
    variance = sum(p[a] * sum((samples[a][k] - mean[k]) ** 2 for k in range(n)) for a in range(n))
    return mean, variance


def best_baseline(logits, rewards):
    p = [math.exp(x) for x in _log_softmax(logits)]
    above = below = 0.0
    for a in range(len(p)):
        weight = p[a] * sum(((a == k) - p[k]) ** 2 for k in range(len(p)))
        above, below = above + weight * float(rewards[a]), below + weight
    return above / below


def sampled_gradient(logits, rewards, baseline, n, rng):
    actions = sample_actions([list(logits)] * n, rng)
    p = [math.exp(x) for x in _log_softmax(logits)]
    total = [0.0] * len(p)
    for a in actions:
        for k in range(len(p)):
            total[k] += (float(rewards[a]) - baseline) * ((a == k) - p[k]) / n
    return total


def leave_one_out(returns):
    answer = []
    for i in range(len(returns)):
        others = [float(g) for j, g in enumerate(returns) if j != i]
        answer.append(sum(others) / len(others) if others else 0.0)
    return answer


def actor_critic_loss(logits, values, actions, returns):
    advantages = [float(g) - float(v) for v, g in zip(values, returns, strict=True)]
    loss, dlogits = reinforce_loss(logits, actions, advantages)
    n = len(advantages)
    return loss + sum(a * a for a in advantages) / (2 * n), dlogits, [-a / n for a in advantages]


def gae(rewards, values, next_values, terminated, truncated, gamma, gae_lambda):
    if np.ndim(rewards) == 2:
        arrays = [np.asarray(x) for x in (rewards, values, next_values, terminated, truncated)]
        alone = [gae(*(x[:, n] for x in arrays), gamma, gae_lambda) for n in range(arrays[0].shape[1])]
        return np.array(alone).T
    answer, later = [], 0.0
    for t in range(len(rewards) - 1, -1, -1):
        if terminated[t]:
            later = rewards[t] - values[t]
        elif truncated[t]:
            later = rewards[t] + gamma * next_values[t] - values[t]
        else:
            later = rewards[t] + gamma * next_values[t] - values[t] + gamma * gae_lambda * later
        answer.insert(0, float(later))
    return answer


def normalize_advantages(advantages):
    n = len(advantages)
    mean = sum(float(a) for a in advantages) / n
    spread = math.sqrt(sum((float(a) - mean) ** 2 for a in advantages) / n)
    return [(float(a) - mean) / (spread + 1e-8) for a in advantages]


def entropy_bonus(logits):
    total, grad = 0.0, []
    for row in logits:
        log_p = _log_softmax(row)
        h = -sum(math.exp(x) * x for x in log_p)
        total += h / len(logits)
        grad.append([-math.exp(x) * (x + h) / len(logits) for x in log_p])
    return total, grad


def ppo_clip(log_probs, old_log_probs, advantages, clip_eps=0.2):
    loss, grad, n = 0.0, [], len(advantages)
    for lp, old, a in zip(log_probs, old_log_probs, advantages, strict=True):
        ratio = math.exp(float(lp) - float(old))
        too_far = ratio > 1 + clip_eps if a > 0 else ratio < 1 - clip_eps
        held = (1 + clip_eps if a > 0 else 1 - clip_eps) if too_far else ratio
        loss -= held * float(a) / n
        grad.append(0.0 if too_far else -ratio * float(a) / n)
    return loss, grad


def ppo_loss(logits, actions, old_log_probs, advantages, clip_eps=0.2, entropy_coef=0.01):
    loss, dlog_probs = ppo_clip(log_prob(logits, actions), old_log_probs, advantages, clip_eps)
    entropy, dentropy = entropy_bonus(logits)
    dlogits = np.array(log_prob_backward(dlog_probs, logits, actions)) - entropy_coef * np.array(dentropy)
    return loss - entropy_coef * entropy, dlogits.tolist()
