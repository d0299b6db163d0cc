"""CartPole as in Gymnasium's `CartPole-v1`, vectorised over any leading axes.

A state is (..., 4): cart position (m), cart velocity (m/s), pole angle (rad), pole angular velocity (rad/s).
Actions: 0 pushes left, 1 pushes right. Dynamics: Barto, Sutton and Anderson (1983), corrected by Florian (2007),
integrated by explicit Euler with a step of 0.02 s. The order of the arithmetic follows Gymnasium so that every
transition agrees to the last bit.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dlreference.arrays import Array, ArrayLike, Labels, as_float, as_labels

GRAVITY = 9.8
CART_MASS = 1.0
POLE_MASS = 0.1
TOTAL_MASS = POLE_MASS + CART_MASS
HALF_LENGTH = 0.5
POLE_MOMENT = POLE_MASS * HALF_LENGTH
FORCE = 10.0
TIME_STEP = 0.02
X_LIMIT = 2.4
ANGLE_LIMIT = 12 * 2 * math.pi / 360
MAX_STEPS = 500
START_RANGE = 0.05


class Transition(NamedTuple):
    """What one step returns: state (..., 4), reward (...,), terminated, truncated and the steps taken so far (...,)."""

    state: Array
    reward: Array
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    steps: Labels


def reset(rng: np.random.Generator, n: int | None = None) -> Array:
    """Return a fresh state (4,), or (n, 4), by one draw `rng.uniform(-0.05, 0.05, size)` that fills row after row."""
    return rng.uniform(-START_RANGE, START_RANGE, size=(4,) if n is None else (n, 4))


def is_terminal(state: ArrayLike) -> NDArray[np.bool_]:
    """Return whether the cart is beyond 2.4 m or the pole beyond 12 degrees (0.2094 rad), for states (..., 4)."""
    s = as_float(state)
    return np.asarray((np.abs(s[..., 0]) > X_LIMIT) | (np.abs(s[..., 2]) > ANGLE_LIMIT))


def accelerations(state: ArrayLike, action: ArrayLike) -> tuple[Array, Array]:
    """Return the cart's acceleration (m/s²) and the pole's angular acceleration (rad/s²) under an action."""
    s = as_float(state)
    theta, theta_dot = s[..., 2], s[..., 3]
    force = np.where(np.asarray(action) == 1, FORCE, -FORCE)
    cosine, sine = np.cos(theta), np.sin(theta)
    push = (force + POLE_MOMENT * np.square(theta_dot) * sine) / TOTAL_MASS
    theta_acc = (GRAVITY * sine - cosine * push) / (
        HALF_LENGTH * (4.0 / 3.0 - POLE_MASS * np.square(cosine) / TOTAL_MASS)
    )
    x_acc = push - POLE_MOMENT * theta_acc * cosine / TOTAL_MASS
    return x_acc, theta_acc


def dynamics(state: ArrayLike, action: ArrayLike) -> Array:
    """Return the next state (..., 4): explicit Euler, so positions move with the *old* velocities."""
    s = as_float(state)
    x_acc, theta_acc = accelerations(s, action)
    derivative = np.stack([s[..., 1], x_acc, s[..., 3], theta_acc], axis=-1)
    return s + TIME_STEP * derivative


def step(state: ArrayLike, action: ArrayLike, steps: ArrayLike = 0) -> Transition:
    """Take one action (...,) in states (..., 4) of which `steps` (...,) steps have already been taken.

    The reward is 1 on every step, the last one included. `terminated` says that the pole fell or the cart left the
    track, `truncated` that this was step 500; both can hold at once, as in Gymnasium. Finished episodes must be reset
    by the caller (`restart_finished`).
    """
    next_state = dynamics(state, action)
    taken = np.broadcast_to(as_labels(steps) + 1, next_state.shape[:-1])
    return Transition(
        next_state, np.ones(next_state.shape[:-1]), is_terminal(next_state), np.asarray(taken >= MAX_STEPS), taken
    )


def restart_finished(transition: Transition, rng: np.random.Generator) -> tuple[Array, Labels, NDArray[np.bool_]]:
    """Return states (N, 4) and step counts (N,) to go on with, and which rows (N,) were finished and start afresh.

    One draw `reset(rng, number_finished)`, its rows given to the finished copies in ascending order.
    The last state of a cut episode, needed to bootstrap, stays in `transition.state`.
    """
    finished = transition.terminated | transition.truncated
    state = transition.state.copy()
    state[finished] = reset(rng, int(finished.sum()))
    return state, np.where(finished, 0, transition.steps), finished


def episode_lengths(choose: Callable[[Array], ArrayLike], start: ArrayLike) -> Labels:
    """Play one episode from every start state (N, 4) and return its length (N,), which is also its return.

    `choose` maps states (M, 4) of the episodes still running, in order, to actions (M,).
    """
    state = np.array(start, dtype=np.float64)
    lengths = np.zeros(len(state), dtype=np.int64)
    running = np.arange(len(state))
    while len(running):
        result = step(state[running], choose(state[running]), lengths[running])
        state[running], lengths[running] = result.state, result.steps
        running = running[~(result.terminated | result.truncated)]
    return lengths
