"""Wrong: the logarithm of the ratio is kept between -10 and 10."""

import numpy as np


def _f(x):
    return np.array(x, dtype=np.float64)


def _table(logits):
    z = _f(logits)
    z -= z.max(axis=-1, keepdims=True)
    return z - np.logaddexp.reduce(z, axis=-1, keepdims=True)


def _hot(actions, k):
    return (np.asarray(actions)[:, None] == np.arange(k)).astype(float)


def log_prob(logits, actions):
    return np.einsum("bk,bk->b", _table(logits), _hot(actions, np.shape(logits)[1]))


def log_prob_backward(dout, logits, actions):
    hot = _hot(actions, np.shape(logits)[1])
    return np.einsum("b,bk->bk", _f(dout), hot - np.exp(_table(logits)))


def sample_actions(logits, rng):
    p = np.exp(_table(logits))
    u = rng.random(len(p))
    return np.array([np.searchsorted(np.cumsum(row)[:-1], x, side="right") for row, x in zip(p, u, strict=True)])


def _layers(params, states):
    h = np.tanh(np.einsum("bd,hd->bh", _f(states), _f(params["W1"])) + _f(params["b1"]))
    return h, np.einsum("bh,kh->bk", h, _f(params["W2"])) + _f(params["b2"])


def policy_logits(params, states):
    return _layers(params, states)[1]


def weight_gradients(params, states, actions, weights):
    h, logits = _layers(params, states)
    g = log_prob_backward(weights, logits, actions)
    back = np.einsum("bk,kh,bh->bh", g, _f(params["W2"]), 1 - h * h)
    return {
        "b2": g.sum(0),
        "W2": np.einsum("bk,bh->kh", g, h),
        "b1": back.sum(0),
        "W1": np.einsum("bh,bd->hd", back, _f(states)),
    }


def returns_to_go(rewards, ends, gamma):
    r = _f(rewards)
    links = np.where(np.asarray(ends, dtype=bool)[:-1], 0.0, gamma)
    return np.linalg.solve(np.eye(len(r)) - np.diag(links, 1), r)


def reinforce_loss(logits, actions, advantages):
    w = -_f(advantages) / np.size(advantages)
    return w @ log_prob(logits, actions), log_prob_backward(w, logits, actions)


def reinforce_step(params, states, actions, advantages, lr):
    grads = weight_gradients(params, states, actions, _f(advantages) * lr / len(states))
    return {k: _f(v) + grads[k] for k, v in params.items()}


def gradient_moments(logits, rewards, baseline):
    p = np.exp(_table(logits))
    earned = _f(rewards) - baseline
    mean = p * (earned - p @ earned)
    # |one_hot(a) - p|^2 is 1 - 2 p_a + |p|^2; the variance is the second moment minus the squared length of the mean.
    lengths = 1 - 2 * p + p @ p
    return mean, p @ (earned**2 * lengths) - mean @ mean


def best_baseline(logits, rewards):
    p = np.exp(_table(logits))
    return np.average(_f(rewards), weights=p * (1 - 2 * p + p @ p))


def sampled_gradient(logits, rewards, baseline, n, rng):
    p = np.exp(_table(logits))
    actions = sample_actions(np.broadcast_to(_f(logits), (n, len(p))), rng)
    counts = np.bincount(actions, minlength=len(p)) / n
    earned = (_f(rewards) - baseline) * counts
    return earned - earned.sum() * p


def leave_one_out(returns):
    g = _f(returns)
    others = 1 - np.eye(len(g))
    return others @ g / max(len(g) - 1, 1)


def actor_critic_loss(logits, values, actions, returns):
    error = _f(values) - _f(returns)
    loss, dlogits = reinforce_loss(logits, actions, -error)
    return loss + error @ error / (2 * error.size), dlogits, error / error.size


def gae(rewards, values, next_values, terminated, truncated, gamma, gae_lambda):
    ended, cut = np.asarray(terminated, dtype=bool), np.asarray(truncated, dtype=bool)
    delta = _f(rewards) - _f(values) + gamma * _f(next_values) * (1 - ended)
    flat = delta.reshape(len(delta), -1)
    links = gamma * gae_lambda * (1 - (ended | cut)).reshape(flat.shape)
    columns = [np.linalg.solve(np.eye(len(flat)) - np.diag(links[:-1, n], 1), flat[:, n]) for n in range(flat.shape[1])]
    return np.stack(columns, axis=1).reshape(delta.shape)


def normalize_advantages(advantages):
    a = _f(advantages)
    a -= np.average(a)
    return a / (np.sqrt(a @ a / a.size) + 1e-8)


def entropy_bonus(logits):
    log_p = _table(logits)
    p = np.exp(log_p)
    h = -np.einsum("bk,bk->b", p, log_p)
    return np.float64(h.mean()), np.einsum("bk,bk->bk", p, -log_p - h[:, None]) / len(p)


def ppo_clip(log_probs, old_log_probs, advantages, clip_eps=0.2):
    a = _f(advantages)
    ratio = np.exp(np.clip(_f(log_probs) - _f(old_log_probs), -10, 10))
    limit = np.where(a > 0, 1 + clip_eps, 1 - clip_eps)
    over = np.sign(a) * (ratio - limit) > 0
    return -np.dot(np.where(over, limit, ratio), a) / a.size, np.where(over, 0, -ratio * a) / a.size


def ppo_loss(logits, actions, old_log_probs, advantages, clip_eps=0.2, entropy_coef=0.01):
    loss, back = ppo_clip(log_prob(logits, actions), old_log_probs, advantages, clip_eps)
    entropy, push = entropy_bonus(logits)
    return loss - entropy_coef * entropy, log_prob_backward(back, logits, actions) - entropy_coef * push
