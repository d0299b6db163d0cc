"""Chapter 339: Project: Reinforcement Learning — CartPole

A pole stands on a cart, and every fiftieth of a second the cart is pushed to the left or to the right. Nobody says how
to keep the pole up: there is a reward of 1 for every step that it lasts. You build the whole of it: the physics, many
copies of it that start afresh by themselves, a network that is policy and value function, all its gradients by formula,
advantages, PPO's update, the training run, and an honest evaluation. At the end the pole stands for 500 steps.

    states (B, 4) -> tanh layer -> tanh layer -> logits (B, 2)          which way to push
    states (B, 4) -> tanh layer -> tanh layer -> values (B,)            what the state is worth

(To be honest: no learning is needed here. Pushing to the right whenever theta + 0.3 * theta_dot > 0, and to the left
otherwise, balances the pole for all 500 steps. So the check of the training run does not tell which number is which:
the four numbers of a state come in another order, some with their sign reversed, and the two actions may be swapped.)

Conventions, here and in every chapter:
  - it is Gymnasium's CartPole-v1: a state is (x, x_dot, theta, theta_dot) in metres and radians, action 1 pushes to the
    right and action 0 to the left, every step pays 1, the last one too, and after 500 steps a TIME LIMIT cuts it off;
  - a TERMINAL state (the pole fell, the cart left the track) is worth 0. A time limit only stops watching: what would
    have come is still worth something;
  - `step` is always a function like `cartpole_step`: it takes states (N, 4) and actions (N,);
  - params is a dict with the policy's W1 (H, 4), b1 (H,), W2 (H, H), b2 (H,), W3 (2, H), b3 (2,) and the value
    function's V1 (H, 4), c1 (H,), V2 (H, H), c2 (H,), V3 (1, H), c3 (1,); weights are (out, in), used as x @ W.T;
  - losses are means over the batch; random numbers come from the rng that is handed in, in the order that is stated;
    functions work in float64 and never modify what they are given. A cache is whatever your own backward wants.

Run `dlgrade check ch339` as often as you like; `dlgrade hint ch339 rollout` helps you on. Every stage has its own
points: an unfinished training loop does not cost the physics. `python ch339_project_cartpole.py` trains it.
"""

import numpy as np

GRAVITY = 9.8  # m/s^2
CART_MASS, POLE_MASS = 1.0, 0.1  # kg
HALF_LENGTH = 0.5  # m, from the pole's foot to its centre
FORCE = 10.0  # N
TIME_STEP = 0.02  # s
X_LIMIT = 2.4  # m
ANGLE_LIMIT = 12 * np.pi / 180  # rad
START_RANGE = 0.05
LIMIT = 500  # steps


def start_states(n, rng):
    """Given: n fresh states (n, 4), by one draw."""
    return rng.uniform(-START_RANGE, START_RANGE, size=(n, 4))


def log_softmax(logits):
    """Given: the logarithms of the probabilities, (B, 2)."""
    shifted = logits - np.max(logits, axis=1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))


def sample_actions(logits, rng):
    """Given: an action in every row, drawn by its probability with u = rng.random(B): 1 where u >= pi(0)."""
    return (rng.random(len(logits)) >= np.exp(log_softmax(logits)[:, 0])).astype(np.int64)


def adam_step(params, grads, optimizer, lr):
    """Given: one step of Adam (chapter 312). optimizer is {} at first. Returns (params, optimizer), both new."""
    t, new, m, v = optimizer.get("t", 0) + 1, {}, {}, {}
    for name, value in params.items():
        m[name] = 0.9 * optimizer.get("m", {}).get(name, 0.0) + 0.1 * grads[name]
        v[name] = 0.999 * optimizer.get("v", {}).get(name, 0.0) + 0.001 * grads[name] ** 2
        new[name] = value - lr * (m[name] / (1.0 - 0.9**t)) / (np.sqrt(v[name] / (1.0 - 0.999**t)) + 1e-8)
    return new, {"t": t, "m": m, "v": v}


# --- Stage 1: the cart and the pole -----------------------------------------------------------------------------------


def cartpole_step(states, actions):
    """One step of many carts at once.

        force  = +10 for action 1, -10 for action 0
        push   = (force + m l theta_dot^2 sin theta) / M          m = POLE_MASS, l = HALF_LENGTH, M = both masses
        theta'' = (GRAVITY sin theta - push cos theta) / (l (4/3 - m cos^2 theta / M))
        x''     = push - m l theta'' cos theta / M

    All four numbers move by TIME_STEP times their rate of change, and every rate is that BEFORE the step (explicit
    Euler): x moves with the old x_dot, theta with the old theta_dot.

    A state is terminal if AFTER the step |x| > X_LIMIT or |theta| > ANGLE_LIMIT. The reward is 1, there too.

    states:  (N, 4).  actions: (N,), 0 or 1.
    Returns (next_states, rewards, terminated): arrays (N, 4), (N,) of ones, and (N,) of True and False.

    Example: from [[0.0, 1.0, 0.0, 0.0]] action 1 leads to x = 0.02, x_dot = 1.19512 and theta_dot = -0.29268 (to five
             digits), and theta is still 0.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("cartpole_step is still to do")


# --- Stage 2: the network ---------------------------------------------------------------------------------------------


def init_params(hidden, rng):
    """Parameters of a new network. Draws rng.normal(0.0, std, size=shape) for W1, W2, W3, V1, V2, V3 in this order,
    with std 1 / sqrt(number of inputs), but 0.01 / sqrt(H) for W3: at first both actions are almost equally likely.
    All biases are zeros.

    hidden: H, the width of all hidden layers, a whole number.
    Returns a dict with the 12 keys and shapes listed at the top.

    Example: init_params(8, rng)["V3"] has the shape (1, 8).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("init_params is still to do")


def forward(params, states):
    """Policy and value function: two networks side by side, each with two tanh layers and a linear one.

        h1 = tanh(states @ W1.T + b1)      h2 = tanh(h1 @ W2.T + b2)      logits = h2 @ W3.T + b3

    and likewise the values, with V1, c1, V2, c2, V3, c3, and the last axis of length 1 taken off.

    params: the dict.  states: (B, 4).
    Returns (logits, values, cache): arrays (B, 2) and (B,), and the cache.

    Example: with W3 and V3 zero the logits are b3 and the values c3 in every state.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("forward is still to do")


def backward(dlogits, dvalues, cache):
    """The gradient of sum(logits * dlogits) + sum(values * dvalues), at all parameters. tanh' = 1 - tanh^2.

    dlogits: (B, 2).  dvalues: (B,).  cache: what `forward` returned third; it can be used again.
    Returns grads: a dict with exactly the keys and shapes of params.

    Example: the gradient of b3 is the sum of dlogits over the batch, (2,), and that of c3 the sum of dvalues, (1,).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("backward is still to do")


# --- Stage 3: experience ----------------------------------------------------------------------------------------------


def rollout(step, params, states, counts, n_steps, rng, limit=LIMIT):
    """Let N copies play for n_steps steps, and write everything down. A copy that has finished starts afresh.

    Each step: logits from `forward`; actions from `sample_actions` (one call for all copies); then `step`. An episode
    is truncated if it has now lasted `limit` steps; terminated and truncated may both be True. Where one of them is,
    the copy gets a fresh state: one call start_states(k, rng) for the k copies that finished, the first row for the
    first of them, and no call if none has.

    step:   a function like `cartpole_step`.  params: the dict.
    states: (N, 4), where the copies are.  counts: (N,), for how many steps each one's episode has lasted.
    n_steps, limit: whole numbers.
    Returns (data, states, counts): where the copies are afterwards, (N, 4) and (N,), and a dict of arrays, one row a
    step:
        "states" (n_steps, N, 4), "actions" (n_steps, N), "log_probs" (n_steps, N) of the actions taken, "rewards"
        (n_steps, N), "next_states" (n_steps, N, 4), the state that was REACHED, before any fresh start,
        "terminated" and "truncated" (n_steps, N), of True and False.

    Example: with limit=2, two copies that never fall, counts [0, 1] and n_steps=3, truncated is [[False, True],
             [True, False], [False, True]] and the counts afterwards are [1, 0].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("rollout is still to do")


def advantages_and_targets(rewards, values, next_values, terminated, truncated, gamma=0.99, gae_lambda=0.95):
    """Generalised advantage estimates, and what the value function should have said.

        delta_t  = r_t + gamma * next_values_t - values_t          without next_values, if the state reached is terminal
        A_t      = delta_t + gamma * gae_lambda * A_(t+1)          A_t = delta_t, if the episode ended in step t
        target_t = A_t + values_t

    An episode ends by a terminal state or by a time limit. A time limit is not terminal: delta keeps next_values there.
    After the last row A_(t+1) counts as 0.

    All arrays: (T, N), one column a copy.  gamma, gae_lambda: numbers.
    Returns (advantages, targets), two arrays (T, N).

    Example: with T = N = 1, rewards 1, values 0.5, next_values 10 and gamma 0.9, the advantage is 0.5 if the state is
             terminal, and 9.5 if a time limit cut the episode.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("advantages_and_targets is still to do")


# --- Stage 4: learning ------------------------------------------------------------------------------------------------


def ppo_loss(
    logits, values, actions, old_log_probs, advantages, targets, clip_eps=0.2, value_coef=0.5, entropy_coef=0.01
):
    """The loss of actor and critic together, and its gradients.

        ratio = exp(log pi(a) - old_log_probs)
        loss  = - mean of min(ratio * A, clip(ratio, 1 - clip_eps, 1 + clip_eps) * A)
                + value_coef * mean of (values - targets)^2
                - entropy_coef * mean of H,      H = -sum over k of pi_k log pi_k

    A, old_log_probs and targets are constants. The first term's gradient at log pi(a) is -ratio * A / B, and 0 where
    the clipped product is the smaller one. At the logits, log pi(a) has the gradient onehot(a) - pi, and H has
    -pi_k (log pi_k + H). Logits of 10,000 are no trouble for the log_softmax that is given.

    logits: (B, 2).  values, actions, old_log_probs, advantages, targets: (B,).  the others: numbers.
    Returns (loss, dlogits, dvalues): a number, and arrays (B, 2) and (B,).

    Example: for logits [[0, 0]], value 1, action 1, old_log_probs log 0.5, A = 2, target 3, value_coef 0.5 and
             entropy_coef 0 the loss is -2 + 2 = 0, dlogits [[1, -1]] and dvalues [-2].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("ppo_loss is still to do")


def ppo_update(params, optimizer, data, rng, lr, epochs=6, batch_size=256, gamma=0.99, gae_lambda=0.95):
    """Learn from one rollout, several times over.

      - First, ONCE: the values of data's states and next_states, by `forward` with the params that come in, and from
        them advantages and targets, by `advantages_and_targets`. What is learned below must not change them.
      - Then the T * N steps are put one after another, row by row: entry [t, n] gets the number t * N + n.
      - Each epoch: order = rng.permutation(T * N), cut into pieces of batch_size; the last one may be shorter.
      - Each piece: its advantages, normalised as (A - mean) / (std + 1e-8) WITHIN the piece; `forward`; `ppo_loss` with
        its defaults; `backward`; `adam_step` with lr.

    params: the dict.  optimizer: {} at first, then what your last call returned.
    data:   what `rollout` returned first, with arrays (T, N) and (T, N, 4).  the others: numbers.
    Returns (params, optimizer), both new.

    Example: with lr = 0.0 the parameters stay as they are.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("ppo_update is still to do")


# --- Stage 5: evaluation ----------------------------------------------------------------------------------------------


def greedy_actions(params, states):
    """The more probable action in every state; action 0 if both logits are equal.

    params: the dict.  states: (B, 4), also B = 1.
    Returns whole numbers (B,).

    Example: with W3 zero and b3 = [0, 1] it is always 1.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("greedy_actions is still to do")


def evaluate(step, params, starts, limit=LIMIT, rng=None):
    """Play one episode from every start to its end, and count its steps. That is also its return.

    Without rng the actions are those of `greedy_actions`; with rng they are drawn, by one call of `sample_actions` a
    step for the copies that are still playing, in their order. (The two differ: exploring costs some steps.) Only those
    that are still playing take steps, and it ends when none is, or after `limit` steps.

    step:   a function like `cartpole_step`.  params: the dict.
    starts: (N, 4).  limit: a whole number.  rng: None, or a generator.
    Returns whole numbers (N,), from 1 to limit.

    Example: where a single start is terminal after three steps it gives [3]; with limit=2 it gives [2].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("evaluate is still to do")


# --- Stage 6: training ------------------------------------------------------------------------------------------------


def train(
    step, rng, updates=80, copies=32, n_steps=32, hidden=64, lr=0.002, check_every=10, check_episodes=20, limit=LIMIT
):
    """The training run. First init_params(hidden, rng); then start_states(copies, rng), with counts of zero. Then for
    u = 0, 1, ..., updates - 1:

      - `rollout` for n_steps steps, going on where the last one stopped, and `ppo_update` with the rate
        lr * (1 - u / updates) and one optimizer for the whole run;
      - if u + 1 is a multiple of check_every: `evaluate` without rng from start_states(check_episodes, rng), and write
        down the mean length. Stop if the last three means are all equal to limit: PPO's greedy policy may be perfect
        once and fall again, so check more than once.

    step:  a function like `cartpole_step`.  the others: numbers; limit is handed to rollout and evaluate.
    Returns (params, means): the parameters at the check with the largest mean, the LATEST of equals, and the means of
    all checks, an array. Without any check, the last parameters and an empty array, of shape (0,).

    Example: with updates=2 and check_every=1 there are two means.

    With the defaults the parameters must keep the pole up for at least 475 steps on average, with greedy actions, from
    100 fresh starts, within 40 seconds of CPU time. You may choose other sizes and rates. The check hands in a `step`
    of its own, with a state scrambled as the top of the file says. It answers at most 15,000 calls, and takes its time
    for each: better many copies at once than many calls.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("train is still to do")


def main():
    """Given: the whole project in one run."""
    rng = np.random.default_rng(339)
    params, means = train(cartpole_step, rng)
    for number, mean in enumerate(means, start=1):
        print(f"check {number:2}: greedy episodes last {mean:5.1f} steps on average")
    starts = start_states(100, rng)
    print(f"100 fresh episodes, greedy: {np.mean(evaluate(cartpole_step, params, starts)):.1f} steps")
    print(f"the same, actions drawn:    {np.mean(evaluate(cartpole_step, params, starts, rng=rng)):.1f} steps")


if __name__ == "__main__":
    main()
