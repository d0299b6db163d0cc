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
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("log_prob is still to do")


def log_prob_backward(dout, logits, actions):
    """The gradient of the sum over b of dout_b * log pi(a_b | s_b), at the logits.

        d log pi(a) / d logit_k = (1 if k is a, else 0) - pi(k)

    The action that was taken is pushed up, all others down, and a sure thing hardly at all.

    dout:    (B,), one number for each log-probability.
    logits:  (B, K).  actions: (B,).
    Returns an array (B, K).

    Example: log_prob_backward([2.0], [[0.0, 0.0]], [1]) gives [[-1.0, 1.0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("log_prob_backward is still to do")


def sample_actions(logits, rng):
    """Choose an action in every state, each with its probability.

    With the cumulative probabilities c_k = pi(0) + ... + pi(k), the action is the number of c_0, ..., c_(K-2) that are
    at most u: the intervals between them are as long as the probabilities.

    logits: (B, K).
    rng:    draws u = rng.random(B), once: one number for each state.
    Returns whole numbers (B,).

    Example: for logits [[0.0, 0.0, 0.0]] and u = [0.4] the action is 1: of 1/3 and 2/3 one is at most 0.4.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("sample_actions is still to do")


def policy_logits(params, states):
    """A small policy network:   h = tanh(states @ W1.T + b1)          logits = h @ W2.T + b2

    params: the dict described on top.  states: (B, D).
    Returns an array (B, K).

    Example: with W2 zero the logits are b2 in every state.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("policy_logits is still to do")


def weight_gradients(params, states, actions, weights):
    """The gradient of the sum over b of weights_b * log pi(a_b | s_b), at all parameters of `policy_logits`.

    From the logits (`log_prob_backward`) back through both layers; tanh' = 1 - tanh^2. It is a SUM over the batch: what
    is to be averaged is up to the weights.

    params: the dict described on top.  states: (B, D).  actions: (B,).  weights: (B,).
    Returns a dict with the keys and shapes of params.

    Example: the gradient of b2 is the sum over the batch of what log_prob_backward gives, (K,).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("weight_gradients is still to do")


def returns_to_go(rewards, ends, gamma):
    """What came AFTER each step, in its own episode; what came before an action cannot be its merit.

        G_t = r_t + gamma * G_(t+1)          and G_t = r_t in the last step of an episode

    rewards: (T,), the steps of several episodes one after another.
    ends:    (T,), True in the last step of each episode. The last step of all ends an episode in any case.
    gamma:   the discount.
    Returns an array (T,).

    Example: returns_to_go([1.0, 2.0, 4.0, 8.0], [False, True, False, True], 0.5) gives [2.0, 2.0, 8.0, 8.0].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("returns_to_go is still to do")


def reinforce_loss(logits, actions, advantages):
    """REINFORCE (Williams, 1992) as a loss, and its gradient at the logits.

        loss = -mean over b of advantages_b * log pi(a_b | s_b)

    logits:     (B, K).  actions: (B,).
    advantages: (B,), constants: returns-to-go, or returns-to-go minus a baseline.
    Returns (loss, dlogits): a number, and an array (B, K).

    Example: reinforce_loss([[0.0, 0.0]], [1], [2.0]) gives (2 log 2, [[1.0, -1.0]]): a step against the gradient raises
             the logit of action 1, which paid.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("reinforce_loss is still to do")


def reinforce_step(params, states, actions, advantages, lr):
    """One step of plain gradient descent on the loss of `reinforce_loss`, with the logits of `policy_logits`.

    params: the dict described on top.  states: (B, D).  actions, advantages: (B,).  lr: a number.
    Returns a new dict of parameters, with the keys and shapes of params.

    Example: after a step with a small lr and a positive advantage the action is more probable than before.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("reinforce_step is still to do")


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
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("gradient_moments is still to do")


def best_baseline(logits, rewards):
    """The number that makes the variance of `gradient_moments` smallest.

        baseline = sum of pi(a) |grad log pi(a)|^2 rewards_a / sum of pi(a) |grad log pi(a)|^2

    It is a mean of the rewards, weighted by how hard each action pushes. The plain mean, V = sum of pi(a) rewards_a, is
    the usual choice: not the best, but easy to learn, and far better than none if all rewards are large.

    logits: (K,), with at least two possible actions.  rewards: (K,).
    Returns a number.

    Example: best_baseline([0.0, 0.0], [1.0, 3.0]) is 2.0.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("best_baseline is still to do")


def sampled_gradient(logits, rewards, baseline, n, rng):
    """The gradient of `gradient_moments` as a learner sees it: the mean over n actions that were really drawn.

    logits:   (K,).  rewards: (K,).
    baseline: a number.
    n:        how many actions are drawn.
    rng:      every draw is made by one call of `sample_actions`, on n rows of the same logits.
    Returns an array (K,).

    Example: with all rewards equal to the baseline it is zero.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("sampled_gradient is still to do")


def leave_one_out(returns):
    """A baseline for when nobody knows V: what the OTHER samples of the same state earned, on average.

    The mean over all samples is not the same: it contains the sample's own return, and thus depends on its action.
    Subtracting it would shrink the mean gradient, by the factor 1 - 1/n.

    returns: (n,), of n independent samples from one state.
    Returns the baseline of each sample, (n,); for a single sample, which has no others, [0.0].

    Example: leave_one_out([1.0, 2.0, 6.0]) gives [4.0, 3.5, 1.5].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("leave_one_out is still to do")


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
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("actor_critic_loss is still to do")


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
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("gae is still to do")


def normalize_advantages(advantages):
    """Advantages of a comfortable size:   (A - mean) / (std + 1e-8),   std with 1/B (biased).

    The 1e-8 is for advantages that are all equal: they become zeros, and not nan.

    advantages: (B,), also B = 1.
    Returns an array (B,).

    Example: normalize_advantages([1.0, 3.0]) gives [-1, 1] (to eight digits), normalize_advantages([4.0]) gives [0].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("normalize_advantages is still to do")


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
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("entropy_bonus is still to do")


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
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("ppo_clip is still to do")


def ppo_loss(logits, actions, old_log_probs, advantages, clip_eps=0.2, entropy_coef=0.01):
    """What PPO's actor minimises:   loss of `ppo_clip` - entropy_coef * entropy of `entropy_bonus`

    logits: (B, K).  actions, old_log_probs, advantages: (B,).  clip_eps, entropy_coef: numbers.
    Returns (loss, dlogits): a number, and an array (B, K).

    Example: where the ratio is 1, and with entropy_coef 0, the gradient is that of reinforce_loss.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("ppo_loss is still to do")
