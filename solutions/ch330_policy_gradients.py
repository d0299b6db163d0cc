"""Chapter 330: Policy Gradients

Why learn what actions are worth, if one can learn directly which to choose? A policy is a network that gives every
action a probability, and its weights follow the gradient of what it earns. You write that gradient and everything that
tames it: returns-to-go, baselines, the advantage and its estimator, and PPO's clipped objective.

Conventions, here and in every chapter:
  - a policy gives logits (B, K), and takes action k with the probability softmax(logits)_k; actions are (B,), whole
    numbers from 0 to K - 1;
  - what is MINIMISED is called a loss: it is minus what we want to grow, so descending it ascends the reward. It is a
    mean over the batch, and its gradient carries the 1/B;
  - returns, advantages, baselines and old log-probabilities are numbers that were measured: no gradient flows into
    them, even where a network had a part in them;
  - a TERMINAL state is worth 0; a TIME LIMIT only stops watching, and what would have come is still worth something;
  - params is a dict W1 (H, D), b1 (H,), W2 (K, H), b2 (K,), weights (out, in); gradients are a dict with the same keys;
  - functions accept any arrays or lists of numbers, work in float64, and never modify what they are given. Logits of
    10,000 must not give nan: subtract each row's maximum before the exponential.

The names, often confused: V(s), what a state is worth, is the usual BASELINE; the ADVANTAGE is what is left when the
baseline is subtracted from the return.

Run `dlgrade check ch330` as often as you like; `dlgrade hint ch330 ppo` helps you on.
"""

import numpy as np


def log_prob(logits, actions):
    """log pi(a | s): the logarithm of the probability of each action that was taken.

        log pi(a) = logit_a - log of the sum over k of exp(logit_k)

    logits: (B, K).  actions: (B,).
    Returns an array (B,).

    Example: log_prob([[0.0, 0.0], [0.0, 1e4]], [1, 1]) gives [-log 2, 0].
    """
    ### BEGIN SOLUTION
    logits, actions = np.asarray(logits, dtype=np.float64), np.asarray(actions)
    shifted = logits - np.max(logits, axis=1, keepdims=True)
    # The logarithm of a softmax that underflowed would be -inf; this form never takes the logarithm of zero.
    log_p = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    return log_p[np.arange(len(logits)), actions]
    ### END SOLUTION


def log_prob_backward(dout, logits, actions):
    """The gradient of the sum over b of dout_b * log pi(a_b | s_b), at the logits.

        d log pi(a) / d logit_k = (1 if k is a, else 0) - pi(k)

    The action that was taken is pushed up, all others down, and a sure thing hardly at all.

    dout:    (B,), one number for each log-probability.
    logits:  (B, K).  actions: (B,).
    Returns an array (B, K).

    Example: log_prob_backward([2.0], [[0.0, 0.0]], [1]) gives [[-1.0, 1.0]].
    """
    ### BEGIN SOLUTION
    dout = np.asarray(dout, dtype=np.float64)
    n_actions = np.shape(logits)[1]
    one_hot = np.eye(n_actions)[np.asarray(actions)]
    p = np.stack([np.exp(log_prob(logits, np.full(len(dout), k))) for k in range(n_actions)], axis=1)
    return dout[:, None] * (one_hot - p)
    ### END SOLUTION


def sample_actions(logits, rng):
    """Choose an action in every state, each with its probability.

    With the cumulative probabilities c_k = pi(0) + ... + pi(k), the action is the number of c_0, ..., c_(K-2) that are
    at most u: the intervals between them are as long as the probabilities.

    logits: (B, K).
    rng:    draws u = rng.random(B), once: one number for each state.
    Returns whole numbers (B,).

    Example: for logits [[0.0, 0.0, 0.0]] and u = [0.4] the action is 1: of 1/3 and 2/3 one is at most 0.4.
    """
    ### BEGIN SOLUTION
    logits = np.asarray(logits, dtype=np.float64)
    p = np.exp(logits - np.max(logits, axis=1, keepdims=True))
    cumulative = np.cumsum(p / np.sum(p, axis=1, keepdims=True), axis=1)
    u = rng.random(len(logits))
    # The last sum is 1, or a rounding error below it: leaving it out keeps the action below K whatever u is.
    return np.sum(cumulative[:, :-1] <= u[:, None], axis=1)
    ### END SOLUTION


def policy_logits(params, states):
    """A small policy network:   h = tanh(states @ W1.T + b1)          logits = h @ W2.T + b2

    params: the dict described on top.  states: (B, D).
    Returns an array (B, K).

    Example: with W2 zero the logits are b2 in every state.
    """
    ### BEGIN SOLUTION
    W1, b1, W2, b2 = (np.asarray(params[name], dtype=np.float64) for name in ("W1", "b1", "W2", "b2"))
    return np.tanh(np.asarray(states, dtype=np.float64) @ W1.T + b1) @ W2.T + b2
    ### END SOLUTION


def weight_gradients(params, states, actions, weights):
    """The gradient of the sum over b of weights_b * log pi(a_b | s_b), at all parameters of `policy_logits`.

    From the logits (`log_prob_backward`) back through both layers; tanh' = 1 - tanh^2. It is a SUM over the batch: what
    is to be averaged is up to the weights.

    params: the dict described on top.  states: (B, D).  actions: (B,).  weights: (B,).
    Returns a dict with the keys and shapes of params.

    Example: the gradient of b2 is the sum over the batch of what log_prob_backward gives, (K,).
    """
    ### BEGIN SOLUTION
    W1, b1, W2 = (np.asarray(params[name], dtype=np.float64) for name in ("W1", "b1", "W2"))
    states = np.asarray(states, dtype=np.float64)
    h = np.tanh(states @ W1.T + b1)
    dlogits = log_prob_backward(weights, policy_logits(params, states), actions)
    dz = (dlogits @ W2) * (1.0 - h**2)
    return {"W1": dz.T @ states, "b1": np.sum(dz, axis=0), "W2": dlogits.T @ h, "b2": np.sum(dlogits, axis=0)}
    ### END SOLUTION


def returns_to_go(rewards, ends, gamma):
    """What came AFTER each step, in its own episode; what came before an action cannot be its merit.

        G_t = r_t + gamma * G_(t+1)          and G_t = r_t in the last step of an episode

    rewards: (T,), the steps of several episodes one after another.
    ends:    (T,), True in the last step of each episode. The last step of all ends an episode in any case.
    gamma:   the discount.
    Returns an array (T,).

    Example: returns_to_go([1.0, 2.0, 4.0, 8.0], [False, True, False, True], 0.5) gives [2.0, 2.0, 8.0, 8.0].
    """
    ### BEGIN SOLUTION
    rewards = np.asarray(rewards, dtype=np.float64)
    returns, running = np.zeros(len(rewards)), 0.0
    for t in reversed(range(len(rewards))):
        # Going backwards, an end is where the next episode must be forgotten.
        running = rewards[t] + (0.0 if ends[t] else gamma * running)
        returns[t] = running
    return returns
    ### END SOLUTION


def reinforce_loss(logits, actions, advantages):
    """REINFORCE (Williams, 1992) as a loss, and its gradient at the logits.

        loss = -mean over b of advantages_b * log pi(a_b | s_b)

    logits:     (B, K).  actions: (B,).
    advantages: (B,), constants: returns-to-go, or returns-to-go minus a baseline.
    Returns (loss, dlogits): a number, and an array (B, K).

    Example: reinforce_loss([[0.0, 0.0]], [1], [2.0]) gives (2 log 2, [[1.0, -1.0]]): a step against the gradient raises
             the logit of action 1, which paid.
    """
    ### BEGIN SOLUTION
    advantages = np.asarray(advantages, dtype=np.float64)
    loss = -np.mean(advantages * log_prob(logits, actions))
    return loss, log_prob_backward(-advantages / len(advantages), logits, actions)
    ### END SOLUTION


def reinforce_step(params, states, actions, advantages, lr):
    """One step of plain gradient descent on the loss of `reinforce_loss`, with the logits of `policy_logits`.

    params: the dict described on top.  states: (B, D).  actions, advantages: (B,).  lr: a number.
    Returns a new dict of parameters, with the keys and shapes of params.

    Example: after a step with a small lr and a positive advantage the action is more probable than before.
    """
    ### BEGIN SOLUTION
    weights = -np.asarray(advantages, dtype=np.float64) / len(advantages)
    grads = weight_gradients(params, states, actions, weights)
    return {name: np.asarray(value, dtype=np.float64) - lr * grads[name] for name, value in params.items()}
    ### END SOLUTION


def gradient_moments(logits, rewards, baseline):
    """What a baseline does, computed exactly: a bandit has one state, so all its actions can be enumerated.

    Action a pays rewards_a, and one sample of the gradient is   g_a = (rewards_a - baseline) * grad log pi(a),   where
    grad log pi(a) is onehot(a) - pi, a vector (K,).

        mean     = sum over a of pi(a) g_a, a vector: the gradient of the expected reward, WHATEVER the baseline is
        variance = sum over a of pi(a) |g_a - mean|^2, a number: it depends on the baseline

    logits:   (K,).  rewards: (K,).
    baseline: a number.
    Returns (mean, variance): an array (K,) and a number.

    Example: gradient_moments([0.0, 0.0], [1.0, 3.0], 0.0) gives ([-0.5, 0.5], 2.0); with the baseline 2.0 it gives
             ([-0.5, 0.5], 0.0).
    """
    ### BEGIN SOLUTION
    logits, rewards = np.asarray(logits, dtype=np.float64), np.asarray(rewards, dtype=np.float64)
    n_actions = len(logits)
    every = np.tile(logits, (n_actions, 1))
    p = np.exp(log_prob(every, np.arange(n_actions)))
    # Row a is the sample that action a gives.
    samples = log_prob_backward(rewards - baseline, every, np.arange(n_actions))
    mean = p @ samples
    return mean, p @ np.sum((samples - mean) ** 2, axis=1)
    ### END SOLUTION


def best_baseline(logits, rewards):
    """The number that makes the variance of `gradient_moments` smallest.

        baseline = sum of pi(a) |grad log pi(a)|^2 rewards_a / sum of pi(a) |grad log pi(a)|^2

    It is a mean of the rewards, weighted by how hard each action pushes. The plain mean, V = sum of pi(a) rewards_a, is
    the usual choice: not the best, but easy to learn, and far better than none if all rewards are large.

    logits: (K,), with at least two possible actions.  rewards: (K,).
    Returns a number.

    Example: best_baseline([0.0, 0.0], [1.0, 3.0]) is 2.0.
    """
    ### BEGIN SOLUTION
    logits, rewards = np.asarray(logits, dtype=np.float64), np.asarray(rewards, dtype=np.float64)
    n_actions = len(logits)
    every = np.tile(logits, (n_actions, 1))
    p = np.exp(log_prob(every, np.arange(n_actions)))
    pushes = p * np.sum(log_prob_backward(np.ones(n_actions), every, np.arange(n_actions)) ** 2, axis=1)
    return np.sum(pushes * rewards) / np.sum(pushes)
    ### END SOLUTION


def sampled_gradient(logits, rewards, baseline, n, rng):
    """The gradient of `gradient_moments` as a learner sees it: the mean over n actions that were really drawn.

    logits:   (K,).  rewards: (K,).
    baseline: a number.
    n:        how many actions are drawn.
    rng:      every draw is made by one call of `sample_actions`, on n rows of the same logits.
    Returns an array (K,).

    Example: with all rewards equal to the baseline it is zero.
    """
    ### BEGIN SOLUTION
    every = np.tile(np.asarray(logits, dtype=np.float64), (n, 1))
    actions = sample_actions(every, rng)
    earned = np.asarray(rewards, dtype=np.float64)[actions] - baseline
    return np.mean(log_prob_backward(earned, every, actions), axis=0)
    ### END SOLUTION


def leave_one_out(returns):
    """A baseline for when nobody knows V: what the OTHER samples of the same state earned, on average.

    The mean over all samples is not the same: it contains the sample's own return, and thus depends on its action.
    Subtracting it would shrink the mean gradient, by the factor 1 - 1/n.

    returns: (n,), of n independent samples from one state.
    Returns the baseline of each sample, (n,); for a single sample, which has no others, [0.0].

    Example: leave_one_out([1.0, 2.0, 6.0]) gives [4.0, 3.5, 1.5].
    """
    ### BEGIN SOLUTION
    returns = np.asarray(returns, dtype=np.float64)
    n = len(returns)
    if n == 1:
        return np.zeros(1)
    return (np.sum(returns) - returns) / (n - 1)
    ### END SOLUTION


def actor_critic_loss(logits, values, actions, returns):
    """Policy and value function learn together: the critic's values are the actor's baseline.

        loss = -mean(A * log pi(a | s)) + 0.5 * mean((values - returns)^2)          A = returns - values

    A is a CONSTANT in the first term: the critic learns from its own error only, and must not be bent to please the
    actor. (Nor is the mean return of an episode a baseline: returns-to-go fall as the end comes nearer, and it would
    praise every early action and blame every late one.)

    logits:  (B, K).  actions: (B,).
    values:  (B,), what the critic says of each state.
    returns: (B,), returns-to-go.
    Returns (loss, dlogits, dvalues): a number, and arrays (B, K) and (B,).

    Example: actor_critic_loss([[0.0, 0.0]], [1.0], [1], [3.0]) gives (2 log 2 + 2, [[1.0, -1.0]], [-2.0]).
    """
    ### BEGIN SOLUTION
    values, returns = np.asarray(values, dtype=np.float64), np.asarray(returns, dtype=np.float64)
    policy_loss, dlogits = reinforce_loss(logits, actions, returns - values)
    error = values - returns
    return policy_loss + 0.5 * np.mean(error**2), dlogits, error / len(error)
    ### END SOLUTION


def gae(rewards, values, next_values, terminated, truncated, gamma, gae_lambda):
    """Generalised advantage estimation (Schulman et al., 2016): between one step's surprise and the whole return.

        delta_t = r_t + gamma * V(next state) - V(state)          without the middle term, if the next state is terminal
        A_t     = delta_t + gamma * gae_lambda * A_(t+1)          A_t = delta_t in the last step of an episode

    gae_lambda 0 trusts the critic (little variance, its errors stay), 1 trusts the return (no bias, much variance).

    rewards:     (T,) or (T, N), N environments side by side, and so for all arrays and the result.
    values:      V of the state in which each step was taken.
    next_values: V of the state that the step led to, BEFORE any reset: behind an end it is not the next row's state.
    terminated:  True where that state is terminal: it is worth 0, whatever next_values says.
    truncated:   True where a time limit cut the episode. delta_t keeps its bootstrap there, yet A_(t+1) belongs to
                 another episode and does not count. If both are True the state is terminal.
    gamma, gae_lambda: numbers. After the last row nothing is known: A_(t+1) counts as 0 there.
    Returns an array of the shape of rewards. (A + values is what the critic should have said.)

    Example: gae([1.0, 1.0], [0.5, 2.0], [2.0, 9.0], [False, True], [False, False], 0.5, 0.5) gives [1.25, -1.0]. With
             truncated instead of terminated in the second step it gives [2.375, 3.5].
    """
    ### BEGIN SOLUTION
    rewards, values = np.asarray(rewards, dtype=np.float64), np.asarray(values, dtype=np.float64)
    next_values = np.asarray(next_values, dtype=np.float64)
    terminated, truncated = np.asarray(terminated, dtype=bool), np.asarray(truncated, dtype=bool)
    # Two different questions: has the next state a value, and does the next row belong to this episode?
    deltas = rewards + gamma * np.where(terminated, 0.0, next_values) - values
    goes_on = ~(terminated | truncated)
    advantages = np.zeros(rewards.shape)
    running = np.zeros(rewards.shape[1:])
    for t in reversed(range(len(rewards))):
        running = deltas[t] + gamma * gae_lambda * goes_on[t] * running
        advantages[t] = running
    return advantages
    ### END SOLUTION


def normalize_advantages(advantages):
    """Advantages of a comfortable size:   (A - mean) / (std + 1e-8),   std with 1/B (biased).

    The 1e-8 is for advantages that are all equal: they become zeros, and not nan.

    advantages: (B,), also B = 1.
    Returns an array (B,).

    Example: normalize_advantages([1.0, 3.0]) gives [-1, 1] (to eight digits), normalize_advantages([4.0]) gives [0].
    """
    ### BEGIN SOLUTION
    advantages = np.asarray(advantages, dtype=np.float64)
    return (advantages - np.mean(advantages)) / (np.std(advantages) + 1e-8)
    ### END SOLUTION


def entropy_bonus(logits):
    """How undecided the policy is, on average, and the gradient of that at the logits. A policy too sure too early
    stops trying; paying it a little for its doubts keeps it learning.

        H_b     = -sum over k of pi_k log pi_k                    0 where pi_k is 0
        entropy = mean over b of H_b
        d entropy / d logit_bk = -pi_k (log pi_k + H_b) / B

    logits: (B, K); logits of 10,000 are no trouble, if log pi comes from the shifted logits.
    Returns (entropy, dlogits): a number in nats, and an array (B, K).

    Example: entropy_bonus([[0.0, 0.0]]) gives (log 2, [[0.0, 0.0]]): the most undecided there is.
    """
    ### BEGIN SOLUTION
    logits = np.asarray(logits, dtype=np.float64)
    batch, n_actions = logits.shape
    log_p = np.stack([log_prob(logits, np.full(batch, k)) for k in range(n_actions)], axis=1)
    p = np.exp(log_p)
    entropies = -np.sum(p * log_p, axis=1, keepdims=True)
    return np.mean(entropies), -p * (log_p + entropies) / batch
    ### END SOLUTION


def ppo_clip(log_probs, old_log_probs, advantages, clip_eps=0.2):
    """PPO's clipped objective (Schulman et al., 2017) as a loss, and its gradient at the log-probabilities.

        ratio = exp(log_probs - old_log_probs)          how much more probable the action is now than when it was taken
        loss  = -mean of min(ratio * A, clip(ratio, 1 - clip_eps, 1 + clip_eps) * A)

    The minimum is the pessimist's choice. What is gained by moving further away than clip_eps does not count: the
    gradient is 0 there. What is LOST counts in full, however far away: for A > 0 only ratios above 1 + clip_eps are
    clipped, for A < 0 only those below 1 - clip_eps. Elsewhere, with d ratio / d log_prob = ratio, the gradient is
    -ratio * A / B.

    log_probs:     (B,), under the policy that learns.
    old_log_probs: (B,), under the policy that took the actions: constants. Both may be as low as -10,000, so take the
                   exponential of the DIFFERENCE.
    advantages:    (B,), constants of both signs.
    Returns (loss, dlog_probs): a number, and an array (B,). (A ratio exactly at an edge is never tested.)

    Example: with ratios 1.5, 1.5, 0.5, 0.5 and advantages 1, -1, 1, -1 the minimum is 1.2, -1.5, 0.5, -0.8, the loss
             0.15, and the gradient [0, 0.375, -0.125, 0].
    """
    ### BEGIN SOLUTION
    advantages = np.asarray(advantages, dtype=np.float64)
    ratio = np.exp(np.asarray(log_probs, dtype=np.float64) - np.asarray(old_log_probs, dtype=np.float64))
    gain = ratio * advantages
    clipped = np.clip(ratio, 1.0 - clip_eps, 1.0 + clip_eps) * advantages
    # Within the limits both are equal, and the gradient is that of the first.
    dlog_probs = np.where(gain <= clipped, -gain, 0.0) / len(advantages)
    return -np.mean(np.minimum(gain, clipped)), dlog_probs
    ### END SOLUTION


def ppo_loss(logits, actions, old_log_probs, advantages, clip_eps=0.2, entropy_coef=0.01):
    """What PPO's actor minimises:   loss of `ppo_clip` - entropy_coef * entropy of `entropy_bonus`

    logits: (B, K).  actions, old_log_probs, advantages: (B,).  clip_eps, entropy_coef: numbers.
    Returns (loss, dlogits): a number, and an array (B, K).

    Example: where the ratio is 1, and with entropy_coef 0, the gradient is that of reinforce_loss.
    """
    ### BEGIN SOLUTION
    loss, dlog_probs = ppo_clip(log_prob(logits, actions), old_log_probs, advantages, clip_eps)
    entropy, dentropy = entropy_bonus(logits)
    return loss - entropy_coef * entropy, log_prob_backward(dlog_probs, logits, actions) - entropy_coef * dentropy
    ### END SOLUTION
