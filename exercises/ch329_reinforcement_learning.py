"""Chapter 329: Reinforcement Learning Foundations

Nobody tells the learner what is right; the world only pays, and often late. You write what all of reinforcement
learning stands on: returns, a small world as arrays, the values of states computed when the world is known, and the
same values learned by trial and error when it is not.

Conventions, here and in every chapter:
  - states and actions are whole numbers from 0; a known world is a pair of arrays: P (S, A, S) with P[s, a, s2] the
    probability of coming from s to s2 by action a, and R (S, A), the expected reward;
  - a TERMINAL state ends the episode: nothing comes after it, and its value is 0. A TIME LIMIT only stops watching:
    what would have come is still worth something, so learning goes on as if the episode did;
  - gamma, between 0 and 1, is what a reward is worth one step later;
  - a grid world is a dict of numbers: "rows", "columns", "start", "goal", "hole" (state numbers), "step_reward",
    "goal_reward", "hole_reward"; states count row by row, state = row * columns + column;
  - the actions in it are 0 right, 1 left, 2 down (to the next row), 3 up;
  - functions accept any arrays or lists of numbers, work in float64, and never modify what they are given.

Q-learning finds the best values with certainty only if every action is tried in every state without end, and if the
learning rate shrinks neither too fast nor too slowly. In a world without chance, like ours, a fixed rate is enough.

Run `dlgrade check ch329` as often as you like; `dlgrade hint ch329 q_update` helps you on.
"""

import numpy as np


def discounted_returns(rewards, gamma, bootstrap=0.0):
    """What each step of an episode was worth in the end.

        G_t = r_t + gamma * G_(t+1)                computed backwards; after the last step, G is `bootstrap`

    rewards:   (T,), the reward of each step, T at least 1.
    gamma:     the discount.
    bootstrap: 0 if the episode ended in a terminal state; the value of the state that was reached, if a time limit cut
               the episode off.
    Returns an array (T,).

    Example: discounted_returns([1.0, 0.0, 2.0], 0.5) gives [1.5, 1.0, 2.0].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("discounted_returns is still to do")


def grid_step(world, state, action):
    """One step in a grid world. Whoever walks into a wall stays where he is.

    Entering the goal pays "goal_reward" and entering the hole "hole_reward", INSTEAD of "step_reward"; both are
    terminal. Every other step pays "step_reward", against a wall as well.

    world:  a dict, as described on top.
    state:  where to start from, neither the goal nor the hole.
    action: 0 right, 1 left, 2 down, 3 up.
    Returns (next_state, reward, terminated): a whole number, a number, and True or False.

    Example: with 5 rows and 5 columns, state 4 is the end of the first row: action 0 (right) leads to 4 again, action 2
    (down) to 9.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("grid_step is still to do")


def grid_process(world):
    """The whole grid world as a pair of arrays.

    In the goal and in the hole it is over: every action stays there for ever and pays 0.

    world: a dict, as described on top; S = rows * columns states, A = 4 actions.
    Returns (P, R), arrays (S, 4, S) and (S, 4).

    Example: with 1 row, 3 columns, goal 2 and hole 0, P[1, 0] is [0, 0, 1], P[2, 0] is [0, 0, 1], R[1] is [goal_reward,
    hole_reward, step_reward, step_reward], and R[2] is all zero.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("grid_process is still to do")


def action_values(P, R, v, gamma):
    """What every action is worth in every state, if v is what the states are worth afterwards.

        q(s, a) = R(s, a) + gamma * the sum over s2 of P(s, a, s2) v(s2)

    P: (S, A, S), R: (S, A), v: (S,), gamma: a number.
    Returns an array (S, A).

    Example: action_values([[[0.5, 0.5]], [[0, 1]]], [[1.0], [0.0]], [2.0, 4.0], 0.5) gives [[2.5], [2.0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("action_values is still to do")


def greedy_policy(q):
    """The best action of every state; of several equally good ones, the first.

    q: (S, A).
    Returns an array of whole numbers (S,).

    Example: greedy_policy([[1.0, 3.0, 2.0], [0.0, 0.0, 0.0]]) gives [1, 0].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("greedy_policy is still to do")


def value_iteration(P, R, gamma, tolerance=1e-12):
    """The best possible values of all states, V*, by Bellman's equation, which they alone satisfy:

        v(s) = max over a of q(s, a)               with q from `action_values`

    Start with zeros, and put the right-hand side in the place of v again and again, until no value moves by more than
    `tolerance` in a whole sweep.

    P: (S, A, S), R: (S, A).
    gamma: the discount, below 1 (or 1, if every way ends).
    Returns v, an array (S,).

    Example: a single state that pays 1 for ever, value_iteration([[[1.0]]], [[1.0]], 0.5), is worth 2.0 (to 12 digits).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("value_iteration is still to do")


def policy_evaluation(P, R, policy, gamma):
    """What the states are worth to somebody who acts by a given policy: exactly, by one system of linear equations.

        P_pi(s, s2) = the sum over a of policy(s, a) P(s, a, s2)
        r_pi(s)     = the sum over a of policy(s, a) R(s, a)
        v = r_pi + gamma P_pi v          so          (I - gamma P_pi) v = r_pi

    P: (S, A, S), R: (S, A).
    policy: (S, A), the probability of each action in each state; rows sum to 1.
    gamma:  the discount, below 1.
    Returns v, an array (S,).

    Example: policy_evaluation([[[1.0], [1.0]]], [[1.0, 3.0]], [[0.5, 0.5]], 0.5) gives [4.0]: 2 a step, for ever.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("policy_evaluation is still to do")


def q_update(Q, state, action, reward, next_state, terminated, lr, gamma):
    """Q-learning: learn from one step, as if from now on the best were done.

        target = reward + gamma * max over a of Q[next_state, a]          target = reward, if terminated
        Q[state, action] moves by lr * (target - Q[state, action])

    It is OFF-policy: what the learner really does next plays no part. `terminated` is False after a time limit.

    Q: (S, A), a table; it is not modified.
    state, action, next_state: whole numbers; reward, lr, gamma: numbers; terminated: True or False.
    Returns a new table (S, A), in which one entry has moved.

    Example: q_update([[0.0, 0.0], [2.0, 4.0]], 0, 1, 1.0, 1, False, 0.5, 0.5) gives [[0.0, 1.5], [2.0, 4.0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("q_update is still to do")


def sarsa_update(Q, state, action, reward, next_state, next_action, terminated, lr, gamma):
    """SARSA: learn from one step and from the action that is REALLY taken next.

        target = reward + gamma * Q[next_state, next_action]          target = reward, if terminated
        Q[state, action] moves by lr * (target - Q[state, action])

    It is ON-policy: near a cliff it learns to keep away, for it knows that it stumbles now and then.

    Q: (S, A), a table; it is not modified. The others are as for `q_update`; next_action is a whole number.
    Returns a new table (S, A), in which one entry has moved.

    Example: sarsa_update([[0.0, 0.0], [2.0, 4.0]], 0, 1, 1.0, 1, 0, False, 0.5, 0.5) gives [[0.0, 1.0], [2.0, 4.0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("sarsa_update is still to do")


def epsilon_greedy(q, epsilon, rng):
    """Choose an action: mostly the best one known, sometimes any, for who never tries learns nothing.

    q:       (A,), the action values of one state.
    epsilon: the probability of choosing any action, the best one included.
    rng:     draws rng.random() first. If that is below epsilon, rng.integers(A) is the action. If not, the best action
             is; and only if k > 1 actions are equally best, rng.integers(k) chooses among them, in ascending order.
    Returns a whole number.

    Example: epsilon_greedy([0.0, 2.0, 1.0], 0.0, rng) is 1. epsilon_greedy([5.0, 1.0, 5.0], 0.0, rng) is 0 or 2.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("epsilon_greedy is still to do")


def decayed_epsilon(episode, decay, floor):
    """How much to explore in an episode: less and less, but never less than the floor.

        epsilon = max(floor, decay^episode)

    episode: how many episodes have been FINISHED, from 0; steps do not count.
    Returns a number.

    Example: decayed_epsilon(2, 0.5, 0.1) is 0.25, and decayed_epsilon(9, 0.5, 0.1) is 0.1.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("decayed_epsilon is still to do")


def train_q_learning(world, episodes, max_steps, lr, gamma, decay, floor, rng):
    """Q-learning in a grid world, from a table of zeros.

    Each episode begins at "start", and ends when a step terminates or after max_steps steps. Episode k (from 0)
    explores with decayed_epsilon(k, decay, floor). Every step chooses with `epsilon_greedy`, goes with `grid_step`, and
    learns with `q_update`. The time limit is NOT terminal: the last step before it learns like any other.

    world: a dict, as described on top. episodes, max_steps: whole numbers. lr, gamma, decay, floor: numbers.
    rng:   every draw is made by `epsilon_greedy`, one call a step.
    Returns (Q, returns): the table (rows * columns, 4), and the undiscounted sum of rewards of each episode,
    (episodes,).

    Example: with 1 row, 3 columns, start 1, goal 2, goal_reward 1, hole 0, hole_reward 1, one episode of at most one
    step and lr = 0.5, one entry of Q[1] is 0.5 if that step went right or left.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("train_q_learning is still to do")


def replay_add(buffer, transition, capacity):
    """Remember one more step; if the memory is full, forget the oldest.

    buffer:     a list of transitions, oldest first; it is not modified.
    transition: a tuple (state, action, reward, next_state, terminated).
    capacity:   how many fit, at least 1.
    Returns a new list, oldest first, of at most `capacity` transitions.

    Example: with capacity 2, adding c to [a, b] gives [b, c].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("replay_add is still to do")


def replay_sample(buffer, batch_size, rng):
    """A batch of different steps out of the memory. Neighbours in time are alike; a mixed batch teaches more.

    buffer:     a list of tuples (state, action, reward, next_state, terminated), oldest first.
    batch_size: B, at most as many as there are.
    rng:        draws rng.choice(len(buffer), batch_size, replace=False), once: the places, in this order.
    Returns (states, actions, rewards, next_states, terminated), five arrays (B,).

    Example: with buffer = [(3, 1, 0.5, 4, False)] and batch_size = 1 it is ([3], [1], [0.5], [4], [False]).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("replay_sample is still to do")
