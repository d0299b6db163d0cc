"""Policy gradients for discrete actions: log-probabilities, REINFORCE, baselines, GAE and PPO's clipped objective.

A policy gives logits (B, K) and picks action k with probability softmax(logits)_k. Losses are minimised, so each is
minus the objective that the literature maximises. Advantages, returns and old log-probabilities are constants: no
gradient flows into them.
Sources: Williams 1992, Sutton et al. 2000, Schulman et al. 2016 (GAE), Schulman et al. 2017 (PPO).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from dlreference import mlp
from dlreference.arrays import Array, ArrayLike, Labels, Params, as_float, as_labels, require_same_shape
from dlreference.losses import log_softmax, one_hot, softmax
from dlreference.mdp import discounted_returns


def log_prob(logits: ArrayLike, actions: ArrayLike) -> Array:
    """log pi(a | s) of the actions taken: logits (..., K), actions (...) -> (...)."""
    return np.take_along_axis(log_softmax(logits), as_labels(actions)[..., None], axis=-1)[..., 0]


def grad_log_prob(logits: ArrayLike, actions: ArrayLike) -> Array:
    """Gradient of each sample's log pi(a | s) at its own logits: onehot(a) - softmax(logits), (B, K)."""
    logits = as_float(logits)
    return one_hot(actions, logits.shape[-1]) - softmax(logits)


def score_gradients(
    params: Mapping[str, ArrayLike],
    states: ArrayLike,
    actions: ArrayLike,
    weights: ArrayLike,
    activation: str | Sequence[str] = "tanh",
) -> Params:
    """Gradient of sum_b weights_b log pi(a_b | s_b) at all weights of an MLP policy; a dict with the keys of params.

    states (B, D), actions (B,), weights (B,); `activation` as in `mlp.forward`.
    """
    logits, cache = mlp.forward(states, params, activation)
    dlogits = as_float(weights)[:, None] * grad_log_prob(logits, actions)
    return mlp.backward(dlogits, cache, params)[0]


def sample_actions(logits: ArrayLike, rng: np.random.Generator) -> Labels:
    """One action per row of logits (B, K) by inverting the distribution function; (B,).

    One draw `u = rng.random(B)`; the action is the number of cumulative probabilities c_0, ..., c_{K-2} that are <= u.
    """
    # The last cumulative probability is 1 up to rounding and must never be passed.
    cumulative = np.cumsum(softmax(logits), axis=-1)[:, :-1]
    return (cumulative <= rng.random(len(cumulative))[:, None]).sum(axis=-1)


def entropy(logits: ArrayLike) -> Array:
    """Entropy -sum_k p_k log p_k in nats of each row: logits (..., K) -> (...)."""
    log_p = log_softmax(logits)
    return -(np.exp(log_p) * log_p).sum(axis=-1)


def mean_entropy(logits: ArrayLike) -> tuple[float, Array]:
    """Mean entropy over the batch and its gradient -p (log p + H) / B; logits (B, K)."""
    log_p, h = log_softmax(logits), entropy(logits)
    return float(h.mean()), -np.exp(log_p) * (log_p + h[..., None]) / h.size


def reinforce_loss(logits: ArrayLike, actions: ArrayLike, advantages: ArrayLike) -> tuple[float, Array]:
    """REINFORCE: loss -mean(advantage log pi(a | s)) and its gradient advantage (softmax - onehot) / B at the logits.

    logits (B, K), actions (B,), advantages (B,): returns-to-go, minus a baseline if there is one. Descending this loss
    ascends the expected return.
    """
    log_probs, advantages = log_prob(logits, actions), as_float(advantages)
    require_same_shape(log_probs, advantages)
    gradient = -advantages[:, None] * grad_log_prob(logits, actions) / len(advantages)
    return float(-(advantages * log_probs).mean()), gradient


def reinforce_gradients(
    params: Mapping[str, ArrayLike],
    states: ArrayLike,
    actions: ArrayLike,
    advantages: ArrayLike,
    activation: str | Sequence[str] = "tanh",
) -> tuple[float, Params]:
    """REINFORCE loss of an MLP policy and its gradients, a dict with the keys of params; states (B, D)."""
    logits, cache = mlp.forward(states, params, activation)
    loss, dlogits = reinforce_loss(logits, actions, advantages)
    return loss, mlp.backward(dlogits, cache, params)[0]


def normalize_advantages(advantages: ArrayLike, eps: float = 1e-8) -> Array:
    """(A - mean) / (std + eps) over all entries, with the biased std; equal advantages become zeros, not NaN."""
    a = as_float(advantages)
    return (a - a.mean()) / (a.std() + eps)


def bandit_gradient_moments(logits: ArrayLike, rewards: ArrayLike, baseline: float = 0.0) -> tuple[Array, float]:
    """Exact mean (K,) and total variance of the one-sample gradient (r_a - baseline) grad log pi(a) on a bandit.

    logits (K,), rewards (K,): every action is enumerated. The mean does not depend on the baseline; the variance, the
    sum over the K entries of the gradient, does.
    """
    logits = as_float(logits)
    probs = softmax(logits)
    samples = (as_float(rewards) - baseline)[:, None] * (np.eye(len(probs)) - probs)
    mean = probs @ samples
    return mean, float(probs @ ((samples - mean) ** 2).sum(axis=1))


def optimal_baseline(logits: ArrayLike, rewards: ArrayLike) -> float:
    """The constant of least variance: E[r |grad log pi|^2] / E[|grad log pi|^2], for logits (K,), rewards (K,)."""
    probs = softmax(logits)
    weight = probs * ((np.eye(len(probs)) - probs) ** 2).sum(axis=1)
    return float(weight @ as_float(rewards) / weight.sum())


def sampled_bandit_gradient(
    logits: ArrayLike, rewards: ArrayLike, baseline: float, n: int, rng: np.random.Generator
) -> Array:
    """Mean of n samples (r_a - baseline) grad log pi(a), (K,); one call of `sample_actions` on n equal rows draws all.

    logits (K,), rewards (K,). Its expectation and n times its variance are those of `bandit_gradient_moments`.
    """
    rows = np.broadcast_to(as_float(logits), (n, len(as_float(logits))))
    actions = sample_actions(rows, rng)
    return ((as_float(rewards)[actions] - baseline)[:, None] * grad_log_prob(rows, actions)).mean(axis=0)


def leave_one_out_baseline(returns: ArrayLike) -> Array:
    """For n samples of one state, the mean return of the n - 1 others: returns (n,) -> (n,); zero when n is 1.

    Source: Kool, van Hoof and Welling 2019. It does not depend on the sample's own action, as a mean over all n does.
    """
    g = as_float(returns)
    return (g.sum() - g) / (len(g) - 1) if len(g) > 1 else np.zeros(1)


def returns_to_go(rewards: ArrayLike, ends: ArrayLike, gamma: float) -> Array:
    """G_t = r_t + gamma G_{t+1} within episodes laid one after another: rewards (T,), ends (T,) True at last steps.

    The last step of all ends an episode whether `ends` says so or not.
    """
    r = as_float(rewards)
    last = np.flatnonzero(np.asarray(ends, dtype=bool)) + 1
    return np.concatenate([discounted_returns(part, gamma) for part in np.split(r, last[last < len(r)])])


def actor_critic_loss(
    logits: ArrayLike, values: ArrayLike, actions: ArrayLike, returns: ArrayLike
) -> tuple[float, Array, Array]:
    """REINFORCE with the critic's values as baseline, plus half the critic's mean squared error.

    logits (B, K), values, actions and returns (B,). The advantage returns - values is a constant in the first term, so
    the gradient at the values is (values - returns) / B. Returns (loss, dlogits, dvalues).
    """
    error = as_float(values) - as_float(returns)
    loss, dlogits = reinforce_loss(logits, actions, -error)
    return loss + float(0.5 * (error**2).mean()), dlogits, error / error.size


def td_errors(
    rewards: ArrayLike, values: ArrayLike, next_values: ArrayLike, terminated: ArrayLike, gamma: float
) -> Array:
    """delta_t = r_t + gamma V(s_{t+1}) - V(s_t), without the bootstrap where s_{t+1} is terminal; all of one shape."""
    live = ~np.asarray(terminated, dtype=bool)
    return as_float(rewards) + gamma * np.where(live, as_float(next_values), 0.0) - as_float(values)


def gae(
    rewards: ArrayLike,
    values: ArrayLike,
    next_values: ArrayLike,
    terminated: ArrayLike,
    truncated: ArrayLike,
    gamma: float = 0.99,
    gae_lambda: float = 0.95,
) -> Array:
    """Generalised advantage estimates A_t = delta_t + gamma lambda A_{t+1}, cut at the end of every episode.

    All inputs are (T,) or (T, N) for N parallel environments; the result too. next_values[t] is V of the state that
    step t led to, *before* any reset, so a cut by a time limit (truncated) still bootstraps and a terminal state does
    not. The last row bootstraps like a cut. A + values are the targets of the value function.
    """
    deltas = td_errors(rewards, values, next_values, terminated, gamma)
    goes_on = ~(np.asarray(terminated, dtype=bool) | np.asarray(truncated, dtype=bool))
    advantages = np.empty_like(deltas)
    running = np.zeros(deltas.shape[1:])
    for t in range(len(deltas) - 1, -1, -1):
        running = deltas[t] + gamma * gae_lambda * np.where(goes_on[t], running, 0.0)
        advantages[t] = running
    return advantages


def probability_ratio(log_probs: ArrayLike, old_log_probs: ArrayLike) -> Array:
    """pi(a | s) / pi_old(a | s) = exp(log pi - log pi_old), elementwise."""
    return np.exp(as_float(log_probs) - as_float(old_log_probs))


def ppo_clip_loss(
    log_probs: ArrayLike, old_log_probs: ArrayLike, advantages: ArrayLike, clip_eps: float = 0.2
) -> tuple[float, Array]:
    """PPO's loss -mean(min(r A, clip(r, 1 - eps, 1 + eps) A)) and its gradient at log_probs; all inputs (B,).

    The gradient of a sample is -r A / B, and 0 where the clipped term is the smaller one: A > 0 with r > 1 + eps, or
    A < 0 with r < 1 - eps. A ratio that has moved the wrong way is never clipped.
    """
    advantages, ratio = as_float(advantages), probability_ratio(log_probs, old_log_probs)
    require_same_shape(ratio, advantages)
    surrogate = ratio * advantages
    clipped = np.clip(ratio, 1.0 - clip_eps, 1.0 + clip_eps) * advantages
    gradient = np.where(clipped < surrogate, 0.0, -surrogate) / ratio.size
    return float(-np.minimum(surrogate, clipped).mean()), gradient


def ppo_policy_loss(
    logits: ArrayLike, actions: ArrayLike, old_log_probs: ArrayLike, advantages: ArrayLike, clip_eps: float = 0.2
) -> tuple[float, Array]:
    """PPO's clipped loss of a categorical policy and its gradient at the logits (B, K); the other inputs are (B,)."""
    loss, dlog_probs = ppo_clip_loss(log_prob(logits, actions), old_log_probs, advantages, clip_eps)
    return loss, dlog_probs[:, None] * grad_log_prob(logits, actions)


def ppo_loss(
    logits: ArrayLike,
    actions: ArrayLike,
    old_log_probs: ArrayLike,
    advantages: ArrayLike,
    clip_eps: float = 0.2,
    entropy_coef: float = 0.01,
) -> tuple[float, Array]:
    """`ppo_policy_loss` minus entropy_coef times `mean_entropy`, and its gradient at the logits (B, K)."""
    loss, gradient = ppo_policy_loss(logits, actions, old_log_probs, advantages, clip_eps)
    bonus, dbonus = mean_entropy(logits)
    return loss - entropy_coef * bonus, gradient - entropy_coef * dbonus
