"""Checks of chapter 329: returns, a grid world, planning in a known world, and learning in an unknown one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from dlreference import mdp as ref

from dlgrade.course.compare import below, holds, items, numbers, same
from dlgrade.course.kinds import Case, Rng, case_of, numeric, prop, statistical, training, unchanged
from dlgrade.course.spec import Chapter, Exercise, Mistake, Picture
from dlgrade.sandbox.session import Call

Array = np.ndarray[Any, Any]
World = dict[str, Any]
Draw = Callable[[Rng], tuple[Any, ...]]


def floats(*arrays: Any) -> tuple[Array, ...]:
    return tuple(np.asarray(a, dtype=np.float64) for a in arrays)


def fresh(rng: Rng) -> Rng:
    return np.random.default_rng(int(rng.integers(1 << 62)))


# --- returns ---------------------------------------------------------------------------------------------------------


def returns_by(weight: Callable[[Array, Array, float], Array], ahead: bool = True) -> dict[str, Callable[..., Any]]:
    """Returns as weighted sums; `weight(t, k, gamma)` is what the reward of step k counts in the return of step t."""

    def returns(rewards: Array, gamma: float, bootstrap: float = 0.0) -> Array:
        (r,) = floats(rewards)
        if ahead:
            r = np.append(r, bootstrap)
        t, k = np.arange(len(rewards))[:, None], np.arange(len(r))[None, :]
        counted = (k >= t) if ahead else (k <= t)
        return np.where(counted, weight(t, k, gamma), 0.0) @ r

    return {"discounted_returns": returns}


def no_bootstrap(rewards: Array, gamma: float, bootstrap: float = 0.0) -> Array:
    return ref.discounted_returns(rewards, gamma)


def undiscounted_bootstrap(rewards: Array, gamma: float, bootstrap: float = 0.0) -> Array:
    return ref.discounted_returns(rewards, gamma) + bootstrap


def reward_discounted(rewards: Array, gamma: float, bootstrap: float = 0.0) -> Array:
    return gamma * ref.discounted_returns(rewards, gamma, bootstrap)


def total_everywhere(rewards: Array, gamma: float, bootstrap: float = 0.0) -> Array:
    return np.full(len(rewards), ref.discounted_returns(rewards, gamma, bootstrap)[0])


def rewards_case(steps: int, gamma: float, *bootstrap: float) -> Draw:
    return lambda rng: (rng.normal(size=steps), gamma, *bootstrap)


@prop("one step's return follows from the next", 2, "discounted_returns")
def recursion(student: Any, rng: Rng) -> None:
    rewards, gamma, after = rng.normal(size=12), float(rng.uniform(0.5, 0.95)), float(rng.normal())
    got = numbers(student.discounted_returns(rewards, gamma, after), (12,), "the returns")
    same(got, rewards + gamma * np.append(got[1:], after), "G_t, compared with r_t + gamma * G_(t+1),")


RETURNS = Exercise(
    name="discounted_returns",
    title="What a step was worth",
    functions=("discounted_returns",),
    hints=(
        "Which return is known before all others?",
        "Begin with the last step, and carry one running number backwards through the episode.",
        "running starts as the bootstrap; for t from the last step to the first, running = r_t + gamma * running, and "
        "that is G_t.",
    ),
    checks=(
        numeric(
            "returns of an episode",
            5,
            "discounted_returns",
            ref.discounted_returns,
            [
                Case("six steps", rewards_case(6, 0.9)),
                Case("one step", rewards_case(1, 0.5)),
                Case("only the last step pays", lambda rng: ([0, 0, 0, 1], 0.5)),
                Case("nothing is discounted", rewards_case(4, 1.0)),
                Case("nothing later counts", rewards_case(4, 0.0)),
                Case("a long episode, strongly discounted", rewards_case(3000, 0.2)),
            ],
        ),
        numeric(
            "an episode that a time limit cut",
            4,
            "discounted_returns",
            ref.discounted_returns,
            [
                Case("five steps, and a value of 7 after them", rewards_case(5, 0.8, 7.0)),
                Case("one step", rewards_case(1, 0.5, -3.0)),
            ],
        ),
        recursion,
        unchanged(1, {"discounted_returns": rewards_case(4, 0.9, 1.0)}),
    ),
    mistakes=(
        Mistake(
            name="returns-of-the-past",
            advice="A return counts what comes AFTER a step: go through the episode backwards.",
            replaces=returns_by(lambda t, k, gamma: gamma**k, ahead=False),
            variants=(returns_by(lambda t, k, gamma: gamma ** np.maximum(t - k, 0), ahead=False),),
        ),
        Mistake(
            name="discounted-from-the-start",
            advice="The discount counts from the step itself: its own reward is worth all of it.",
            replaces=returns_by(lambda t, k, gamma: gamma**k),
        ),
        Mistake(
            name="own-reward-discounted",
            advice="gamma stands before G_(t+1) only; the reward of the step itself is not discounted.",
            replaces={"discounted_returns": reward_discounted},
        ),
        Mistake(
            name="discount-forgotten",
            advice="What comes a step later is worth gamma times as much.",
            replaces=returns_by(lambda t, k, gamma: np.ones(k.shape)),
        ),
        Mistake(
            name="bootstrap-ignored",
            advice="After a time limit the rest is worth `bootstrap`: the running number starts there, not at 0.",
            replaces={"discounted_returns": no_bootstrap},
        ),
        Mistake(
            name="bootstrap-not-discounted",
            advice="The bootstrap comes after the last step, so it is discounted once for each step before it.",
            replaces={"discounted_returns": undiscounted_bootstrap},
        ),
        Mistake(
            name="one-return-for-all",
            advice="Each step has a return of its own, counted from that step on.",
            replaces={"discounted_returns": total_everywhere},
        ),
    ),
)

# --- grid world ------------------------------------------------------------------------------------------------------


def world(rows: int, columns: int, start: int, goal: int, hole: int, pays: tuple[float, float, float]) -> World:
    names = ("rows", "columns", "start", "goal", "hole", "step_reward", "goal_reward", "hole_reward")
    return dict(zip(names, (rows, columns, start, goal, hole, *pays), strict=True))


CLASSIC = world(5, 5, 0, 24, 12, (-0.01, 1.0, -1.0))


def drawn_world(rows: int, columns: int) -> Callable[[Rng], World]:
    """Goal, hole and start in different places, and three rewards that cannot be mixed up."""

    def draw(rng: Rng) -> World:
        start, goal, hole = (int(i) for i in rng.choice(rows * columns, 3, replace=False))
        pays = (float(-rng.uniform(0.01, 0.2)), float(rng.uniform(1, 2)), float(-rng.uniform(1, 2)))
        return world(rows, columns, start, goal, hole, pays)

    return draw


def grid(w: World) -> ref.GridWorld:
    start, goal, hole = (divmod(w[name], w["columns"]) for name in ("start", "goal", "hole"))
    pays = (w["step_reward"], w["goal_reward"], w["hole_reward"])
    return ref.GridWorld(w["rows"], w["columns"], start, goal, hole, *pays)


def step(w: World, state: int, action: int) -> tuple[int, float, bool]:
    return ref.grid_step(grid(w), int(state), int(action))


def process(w: World) -> tuple[Array, Array]:
    return ref.grid_process(grid(w))[:2]


def paid(w: World, state: int) -> tuple[int, float, bool]:
    if state == w["goal"]:
        return state, w["goal_reward"], True
    return (state, w["hole_reward"], True) if state == w["hole"] else (state, w["step_reward"], False)


def step_with(cell: Callable[[World, int, int, int, int], int]) -> dict[str, Callable[..., Any]]:
    """A step to another state: `cell(world, row, column, down, right)` is its number."""

    def other(w: World, state: int, action: int) -> Any:
        row, column = divmod(int(state), w["columns"])
        down, right = ref.ACTIONS[int(action)]
        return paid(w, cell(w, row, column, down, right))

    return {"grid_step": other}


def clipped(w: World, row: int, column: int, down: int, right: int) -> int:
    return min(max(row + down, 0), w["rows"] - 1) * w["columns"] + min(max(column + right, 0), w["columns"] - 1)


def plain_number(w: World, row: int, column: int, down: int, right: int) -> int:
    state = (row + down) * w["columns"] + column + right
    return min(max(state, 0), w["rows"] * w["columns"] - 1)


def wrapped(w: World, row: int, column: int, down: int, right: int) -> int:
    return (row + down) % w["rows"] * w["columns"] + (column + right) % w["columns"]


def stepped(change: Callable[[World, tuple[int, float, bool]], Any]) -> dict[str, Callable[..., Any]]:
    return {"grid_step": lambda w, state, action: change(w, step(w, state, action))}


def process_unending(w: World) -> tuple[Array, Array]:
    """Goal and hole as states like all others, which can be left."""
    P, R = process(w)
    P, R = P.copy(), R.copy()
    for state in (w["goal"], w["hole"]):
        for action, (down, right) in enumerate(ref.ACTIONS):
            row, column = divmod(state, w["columns"])
            target, R[state, action], _ = paid(w, clipped(w, row, column, down, right))
            P[state, action] = np.eye(len(P))[target]
    return P, R


def process_paying(w: World) -> tuple[Array, Array]:
    P, R = process(w)
    R = R.copy()
    R[w["goal"]], R[w["hole"]] = w["goal_reward"], w["hole_reward"]
    return P, R


def process_blank(w: World) -> tuple[Array, Array]:
    P, R = process(w)
    P = P.copy()
    P[[w["goal"], w["hole"]]] = 0.0
    return P, R


def all_steps(draw: Callable[[Rng], World]) -> Callable[[Rng], list[tuple[World, int, int]]]:
    def cases(rng: Rng) -> list[tuple[World, int, int]]:
        w = draw(rng)
        ends = (w["goal"], w["hole"])
        return [(w, s, a) for s in range(w["rows"] * w["columns"]) if s not in ends for a in range(4)]

    return cases


def step_check(name: str, points: int, worlds: list[tuple[str, Callable[[Rng], World]]]) -> Any:
    """Every step from every state of each world."""

    @prop(name, points, "grid_step")
    def check(student: Any, rng: Rng) -> None:
        for reason, draw in worlds:
            calls = [Call("grid_step", args) for args in all_steps(draw)(rng)]
            for call, reply in zip(calls, student.batch(calls), strict=True):
                with case_of(reason, call):
                    got = items(student.answer(call, reply), ("next_state", "reward", "terminated"))
                    want = step(*call.args)
                    for value, right, what in zip(got, want, ("next_state", "reward", "terminated"), strict=True):
                        same(value, right, what)

    return check


GRID = Exercise(
    name="grid_world",
    title="A small world",
    functions=("grid_step", "grid_process"),
    hints=(
        "State 4 of a 5 by 5 world is at the end of a row. Where does a step to the right lead, and where would 4 + 1?",
        "divmod(state, columns) gives row and column. Move one of them, keep both inside the grid, and only then make "
        "a number of them again.",
        "min(max(row + down, 0), rows - 1), and likewise for the column. For the arrays call grid_step for every state "
        "and action, except in goal and hole, where P[s, a, s] is 1 and R stays 0.",
    ),
    checks=(
        step_check(
            "every step of a small world",
            8,
            [
                ("three rows, four columns", drawn_world(3, 4)),
                ("four rows, two columns", drawn_world(4, 2)),
                ("a single row", drawn_world(1, 5)),
            ],
        ),
        numeric(
            "the world as arrays",
            7,
            "grid_process",
            process,
            [
                Case("three rows, four columns", lambda rng: (drawn_world(3, 4)(rng),)),
                Case("a single column", lambda rng: (drawn_world(4, 1)(rng),)),
                Case("five by five, the classic one", lambda rng: (CLASSIC,)),
            ],
        ),
        unchanged(1, {"grid_process": lambda rng: (dict(CLASSIC),)}),
    ),
    mistakes=(
        Mistake(
            name="through-the-wall",
            advice="The number after the end of a row is the beginning of the next one: check row and column, not the "
            "state number.",
            replaces=step_with(plain_number),
        ),
        Mistake(
            name="round-the-world",
            advice="Whoever walks into a wall stays where he is; yours comes in again on the other side.",
            replaces=step_with(wrapped),
        ),
        Mistake(
            name="up-and-down-swapped",
            advice="Action 2 is down, to the NEXT row; action 3 is up.",
            replaces=step_with(lambda w, row, column, down, right: clipped(w, row, column, -down, right)),
        ),
        Mistake(
            name="left-and-right-swapped",
            advice="Action 0 is right, to the next column; action 1 is left.",
            replaces=step_with(lambda w, row, column, down, right: clipped(w, row, column, down, -right)),
        ),
        Mistake(
            name="rows-and-columns-swapped",
            advice="Actions 0 and 1 change the column, actions 2 and 3 the row.",
            replaces=step_with(lambda w, row, column, down, right: clipped(w, row, column, right, down)),
        ),
        Mistake(
            name="rewards-added-up",
            advice="The goal and the hole pay INSTEAD of the ordinary step.",
            replaces=stepped(lambda w, s: (s[0], s[1] + (w["step_reward"] if s[2] else 0.0), s[2])),
        ),
        Mistake(
            name="hole-is-not-terminal",
            advice="Falling into the hole ends the episode too.",
            replaces=stepped(lambda w, s: (s[0], s[1], s[0] == w["goal"])),
        ),
        Mistake(
            name="always-the-step-reward",
            advice="Entering the goal or the hole pays a reward of its own.",
            replaces=stepped(lambda w, s: (s[0], w["step_reward"], s[2])),
        ),
        Mistake(
            name="life-after-the-end",
            advice="Goal and hole cannot be left: every action stays there, and pays nothing.",
            replaces={"grid_process": process_unending},
        ),
        Mistake(
            name="the-end-pays-for-ever",
            advice="The reward is paid for ENTERING goal or hole; staying there pays 0.",
            replaces={"grid_process": process_paying},
        ),
        Mistake(
            name="the-end-leads-nowhere",
            advice="The probabilities of every state and action sum to 1: a terminal state leads to itself.",
            replaces={"grid_process": process_blank},
        ),
    ),
)

# --- planning --------------------------------------------------------------------------------------------------------


def drawn_process(rng: Rng, states: int, actions: int) -> tuple[Array, Array]:
    P = rng.random((states, actions, states)) ** 3 + 1e-3
    return P / P.sum(axis=2, keepdims=True), rng.normal(size=(states, actions))


def process_case(states: int, actions: int, gamma: float) -> Draw:
    return lambda rng: (*drawn_process(rng, states, actions), gamma)


def values_case(states: int, actions: int, gamma: float) -> Draw:
    return lambda rng: (*drawn_process(rng, states, actions), rng.normal(size=states), gamma)


def av_with(
    reward: Callable[[Array, float], Array] = lambda R, gamma: R, way: str = "sat,t->sa", discount: bool = True
) -> dict[str, Callable[..., Any]]:
    def other(P: Array, R: Array, v: Array, gamma: float) -> Array:
        P, R, v = floats(P, R, v)
        return reward(R, gamma) + (gamma if discount else 1.0) * np.einsum(way, P, v)

    # Sweeps on wrong action values may never settle; these mistakes are about the action values alone.
    return {"action_values": other, "value_iteration": ref.value_iteration}


def vi_with(
    best: Callable[[Array], Array] = lambda q: q.max(axis=1), sweeps: int = 2000, gamma_on_reward: bool = False
) -> dict[str, Callable[..., Any]]:
    """At most so many sweeps, with something else than the best action's value."""

    def other(P: Array, R: Array, gamma: float, tolerance: float = 1e-12) -> Array:
        P, R = floats(P, R)
        v = np.zeros(len(R))
        for _ in range(sweeps):
            old, v = v, best((gamma if gamma_on_reward else 1.0) * R + gamma * P @ v)
            if np.abs(v - old).max() <= tolerance:
                break
        return v

    return {"value_iteration": other}


def gp_last(q: Array) -> Array:
    (q,) = floats(q)
    return q.shape[1] - 1 - np.argmax(q[:, ::-1], axis=1)


@prop("the classic world: eight steps to the goal", 2, "value_iteration")
def classic(student: Any, rng: Rng) -> None:
    v = numbers(student.value_iteration(*process(CLASSIC), 0.99), (25,), "v")
    start = sum(-0.01 * 0.99**k for k in range(7)) + 0.99**7
    with case_of("five by five, goal 24, hole 12, gamma 0.99"):
        same(v[0], start, "the value of the start, which is seven steps of -0.01 and then 1, discounted,")
        same(v[[12, 24]], np.zeros(2), "the value of the hole and the goal, after which nothing comes,")


@prop("the sweeps end at the tolerance that is asked for", 1, "value_iteration")
def stops_in_time(student: Any, rng: Rng) -> None:
    """Every state stays where it is, and one of ten pays: its value moves by pay, pay / 2, pay / 4, and so on."""
    P = np.tile(np.eye(10)[:, None], (1, 2, 1))
    R, here, pay = np.zeros((10, 2)), int(rng.integers(10)), float(rng.uniform(1, 2))
    R[here] = pay
    v = numbers(student.value_iteration(P, R, 0.5, 0.3 * pay), (10,), "v")
    with case_of("ten states that stay as they are", student.transcript[-1][0]):
        # One sweep fewer or more is a matter of what is returned after the last comparison.
        holds(
            1.4 * pay < v[here] < 1.9 * pay,
            "the sweeps should go on until NO value moves by more than `tolerance`, and no further. The value of the "
            f"state that pays moves by {pay:.4g}, {pay / 2:.4g} and {pay / 4:.4g} in the first three sweeps; the third "
            f"is the first that moves it by no more than {0.3 * pay:.4g}.",
            f"Expected {1.75 * pay:.6g}, got {v[here]:.6g}.",
        )


PLANNING = Exercise(
    name="value_iteration",
    title="Planning: the best there is",
    functions=("action_values", "greedy_policy", "value_iteration"),
    hints=(
        "If you knew what every state is worth, how would you know what an action is worth?",
        "P @ v sums over the last axis, the state that is reached. Bellman's equation is then: v is the largest entry "
        "of each row of the action values.",
        "Start with zeros; in a loop take action_values(P, R, v, gamma).max(axis=1), and stop when its largest "
        "absolute difference from v is at most the tolerance. np.argmax takes the first of equal values.",
    ),
    checks=(
        numeric(
            "what actions are worth",
            5,
            "action_values",
            ref.q_from_v,
            [
                Case("four states, three actions", values_case(4, 3, 0.9)),
                Case("as many actions as states", values_case(3, 3, 0.5)),
                Case("a single state", values_case(1, 2, 0.9)),
                Case("without discount", values_case(3, 2, 1.0)),
            ],
        ),
        numeric(
            "the first best action",
            3,
            "greedy_policy",
            ref.greedy_policy,
            [
                Case("five states, three actions", lambda rng: (rng.normal(size=(5, 3)),)),
                Case("equally good ones", lambda rng: ([[1.0, 3.0, 3.0], [0.0, 0.0, 0.0], [2.0, 1.0, 2.0]],)),
                Case("all negative", lambda rng: (-1 - rng.random((3, 4)),)),
            ],
        ),
        numeric(
            "the best possible values",
            6,
            "value_iteration",
            ref.value_iteration,
            [
                Case("four states, three actions", process_case(4, 3, 0.9)),
                Case("as many actions as states", process_case(3, 3, 0.6)),
                Case("a single state", process_case(1, 3, 0.8)),
                Case("only costs, no gains", lambda rng: (drawn_process(rng, 4, 2)[0], -1 - rng.random((4, 2)), 0.8)),
                Case("three rows, four columns", lambda rng: (*process(drawn_world(3, 4)(rng)), 0.95)),
                Case("gamma = 1, where every way ends", lambda rng: (*process(drawn_world(4, 3)(rng)), 1.0)),
            ],
        ),
        classic,
        stops_in_time,
        unchanged(1, {"action_values": values_case(3, 2, 0.9), "value_iteration": process_case(3, 2, 0.5)}),
    ),
    mistakes=(
        Mistake(
            name="discount-on-the-reward",
            advice="The reward comes now and counts in full; gamma belongs to what comes after.",
            replaces=av_with(reward=lambda R, gamma: gamma * R),
        ),
        Mistake(
            name="values-not-discounted",
            advice="The next state is one step later: its value counts gamma times.",
            replaces=av_with(discount=False),
        ),
        Mistake(
            name="value-of-the-same-state",
            advice="The value that counts is that of the state REACHED: sum over the last axis of P.",
            replaces=av_with(way="sat,s->sa"),
        ),
        Mistake(
            name="transitions-backwards",
            advice="P[s, a, s2] leads from s to s2: sum over s2, the last axis, not over the first.",
            replaces=av_with(way="tas,t->sa"),
        ),
        Mistake(
            name="last-of-equal-actions",
            advice="Of equally good actions the first is taken, as np.argmax does.",
            replaces={"greedy_policy": gp_last},
        ),
        Mistake(
            name="worst-action",
            advice="The policy takes the action with the LARGEST value.",
            replaces={"greedy_policy": lambda q: np.argmin(floats(q)[0], axis=1)},
        ),
        Mistake(
            name="average-action",
            advice="The best values take the best action of each state, not the average over all of them.",
            replaces=vi_with(best=lambda q: q.mean(axis=1)),
        ),
        Mistake(
            name="one-sweep-only",
            advice="One sweep looks a single step ahead; go on until no value moves any more.",
            replaces=vi_with(sweeps=1),
            variants=(vi_with(sweeps=2), vi_with(sweeps=10)),
        ),
        Mistake(
            name="values-never-negative",
            advice="Values may be negative: where every action costs, the best one costs as well.",
            replaces=vi_with(best=lambda q: np.maximum(q.max(axis=1), 0.0)),
        ),
        Mistake(
            name="reward-discounted-in-sweeps",
            advice="In Bellman's equation the reward counts in full, and gamma stands before the next values.",
            replaces=vi_with(gamma_on_reward=True),
        ),
        Mistake(
            name="tolerance-ignored",
            advice="How close to come is up to the caller: compare with `tolerance`, not with a number of your own.",
            replaces={"value_iteration": lambda P, R, gamma, tolerance=1e-12: ref.value_iteration(P, R, gamma)},
        ),
    ),
)

# --- policy evaluation -----------------------------------------------------------------------------------------------


def drawn_policy(rng: Rng, states: int, actions: int) -> Array:
    policy = rng.random((states, actions)) + 0.05
    return policy / policy.sum(axis=1, keepdims=True)


def policy_case(states: int, actions: int, gamma: float) -> Draw:
    return lambda rng: (*drawn_process(rng, states, actions), drawn_policy(rng, states, actions), gamma)


def pe_with(change: Callable[[Array, Array, Array], tuple[Array, Array, Array]]) -> dict[str, Callable[..., Any]]:
    """The right evaluation of another process or policy."""

    def other(P: Array, R: Array, policy: Array, gamma: float) -> Array:
        return ref.policy_evaluation(*change(*floats(P, R, policy)), gamma)

    return {"policy_evaluation": other}


def pe_system(
    matrix: Callable[[Array, float], Array], reward: Callable[[Array, Array], Array] = lambda policy, R: policy * R
) -> dict[str, Callable[..., Any]]:
    def other(P: Array, R: Array, policy: Array, gamma: float) -> Array:
        P, R, policy = floats(P, R, policy)
        among = np.einsum("sa,sat->st", policy, P)
        return np.linalg.solve(matrix(among, gamma), reward(policy, R).sum(axis=1))

    return {"policy_evaluation": other}


def pe_sweeps(sweeps: int) -> dict[str, Callable[..., Any]]:
    def other(P: Array, R: Array, policy: Array, gamma: float) -> Array:
        P, R, policy = floats(P, R, policy)
        v = np.zeros(len(R))
        for _ in range(sweeps):
            v = (policy * (R + gamma * P @ v)).sum(axis=1)
        return v

    return {"policy_evaluation": other}


@prop("nobody beats the best policy, and it solves Bellman's equation", 3, "policy_evaluation")
def bellman(student: Any, rng: Rng) -> None:
    P, R = drawn_process(rng, 4, 3)
    actions, best = ref.policy_iteration(P, R, 0.9)
    v = numbers(student.policy_evaluation(P, R, ref.one_hot_policy(actions, 3), 0.9), (4,), "v")
    same(v, best, "the value of the best policy")
    other = numbers(student.policy_evaluation(P, R, drawn_policy(rng, 4, 3), 0.9), (4,), "v")
    holds(bool(np.all(other <= best + 1e-9)), "a policy came out better than the best one.")


EVALUATION = Exercise(
    name="policy_evaluation",
    title="What a policy is worth",
    functions=("policy_evaluation",),
    hints=(
        "With the policy fixed there is nothing left to choose: what does the world look like then?",
        "Average rewards and transitions over the actions with the policy's probabilities. v = r + gamma P v is a "
        "system of S equations with S unknowns.",
        "P_pi is the sum over axis 1 of policy[:, :, None] * P, and r_pi the row sums of policy * R. Then "
        "np.linalg.solve(identity - gamma * P_pi, r_pi).",
    ),
    checks=(
        numeric(
            "a random policy",
            6,
            "policy_evaluation",
            ref.policy_evaluation,
            [
                Case("four states, three actions", policy_case(4, 3, 0.9)),
                Case("as many actions as states", policy_case(3, 3, 0.5)),
                Case("a single state", policy_case(1, 3, 0.8)),
                Case("no future", policy_case(3, 2, 0.0)),
            ],
        ),
        numeric(
            "exact where sweeps are slow",
            3,
            "policy_evaluation",
            ref.policy_evaluation,
            # Solving loses as many digits as the system's condition, about 2 / (1 - gamma) = 2e5, takes: 1e-11 at most.
            [Case("gamma = 0.99999", policy_case(3, 2, 0.99999))],
        ),
        bellman,
    ),
    mistakes=(
        Mistake(
            name="policy-not-used",
            advice="Weigh actions with the policy's probabilities; yours treats all of them alike.",
            replaces=pe_with(lambda P, R, policy: (P, R, np.full(R.shape, 1 / R.shape[1]))),
        ),
        Mistake(
            name="likeliest-action-only",
            advice="Every action counts with its probability, not only the likeliest one.",
            replaces=pe_with(lambda P, R, policy: (P, R, np.eye(R.shape[1])[policy.argmax(axis=1)])),
        ),
        Mistake(
            name="system-transposed",
            advice="Row s of the matrix is about leaving state s: use P_pi, not its transpose.",
            replaces=pe_system(lambda among, gamma: np.eye(len(among)) - gamma * among.T),
        ),
        Mistake(
            name="system-sign",
            advice="Bring gamma P v to the left side: it is the identity MINUS gamma P_pi.",
            replaces=pe_system(lambda among, gamma: np.eye(len(among)) + gamma * among),
        ),
        Mistake(
            name="rewards-not-weighted",
            advice="The reward, too, is an average over actions with the policy's probabilities.",
            replaces=pe_system(
                lambda among, gamma: np.eye(len(among)) - gamma * among,
                lambda policy, R: R / R.shape[1],
            ),
            variants=(pe_system(lambda among, gamma: np.eye(len(among)) - gamma * among, lambda policy, R: R),),
        ),
        Mistake(
            name="sweeps-stopped-early",
            advice="With gamma close to 1 a hundred thousand sweeps would not do: solve the system.",
            replaces=pe_sweeps(100),
            variants=(pe_sweeps(1000),),
        ),
    ),
)

# --- updates ---------------------------------------------------------------------------------------------------------


def update_with(
    target: Callable[..., float], sarsa: bool, move: Callable[[float, float, float], float] | None = None
) -> Any:
    """An update towards `target(Q, state, action, reward, next_state, next_action, terminated, gamma)`."""

    def change(Q: Array, s: int, a: int, r: float, s2: int, a2: int, end: bool, lr: float, gamma: float) -> Array:
        table = np.array(Q, dtype=np.float64)
        goal = target(table, s, a, r, s2, a2, end, gamma)
        table[s, a] = move(table[s, a], goal, lr) if move else table[s, a] + lr * (goal - table[s, a])
        return table

    if sarsa:
        return {"sarsa_update": change}
    return {"q_update": lambda Q, s, a, r, s2, end, lr, gamma: change(Q, s, a, r, s2, a, end, lr, gamma)}


def q_target(Q: Array, s: int, a: int, r: float, s2: int, a2: int, end: bool, gamma: float) -> float:
    return float(r if end else r + gamma * Q[s2].max())


def sarsa_target(Q: Array, s: int, a: int, r: float, s2: int, a2: int, end: bool, gamma: float) -> float:
    return float(r if end else r + gamma * Q[s2, a2])


def in_place(Q: Any, s: int, a: int, r: float, s2: int, end: bool, lr: float, gamma: float) -> Any:
    new = ref.q_learning_update(Q, s, a, r, s2, end, lr, gamma)
    if isinstance(Q, np.ndarray):
        Q[...] = new
        return Q
    return new


def update_case(sarsa: bool, terminated: bool = False, lr: float = 0.3, shift: float = 0.0, stay: bool = False) -> Draw:
    """A step between two of five states; neither the action taken next nor the action taken is the best one there."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        Q = rng.normal(size=(5, 4)) + shift
        s, s2 = (int(i) for i in rng.choice(5, 2, replace=False))
        s2 = s if stay else s2
        a, a2, best = (int(i) for i in rng.choice(4, 3, replace=False))
        Q[s2, best] = Q[s2].max() + 1.0 + rng.random()
        then = (s2, a2) if sarsa else (s2,)
        return (Q, s, a, float(rng.normal()), *then, terminated, lr, 0.8)

    return draw


def whole_case(sarsa: bool) -> Draw:
    """A table of whole numbers in lists: what moves must not be cut off again."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        table = rng.integers(-9, 10, size=(3, 2)).tolist()
        return (table, 0, 1, 2, 2, *((0,) if sarsa else ()), False, 0.25, 0.3)

    return draw


def update_check(name: str, points: int, sarsa: bool, **kind: Any) -> Any:
    function, reference = ("sarsa_update", ref.sarsa_update) if sarsa else ("q_update", ref.q_learning_update)
    cases = (
        [Case("terminated", update_case(sarsa, True))]
        if kind.get("terminated")
        else [
            Case("five states, four actions", update_case(sarsa)),
            Case("all values negative", update_case(sarsa, shift=-9.0)),
            Case("the step leads to the same state", update_case(sarsa, stay=True)),
            Case("a learning rate of 1", update_case(sarsa, lr=1.0)),
            Case("a learning rate of 0", update_case(sarsa, lr=0.0)),
            Case("a table of whole numbers, as lists", whole_case(sarsa)),
        ]
    )
    return numeric(name, points, function, reference, cases)


UPDATES = Exercise(
    name="updates",
    title="Learning from one step",
    functions=("q_update", "sarsa_update"),
    hints=(
        "What do you know after one step that you did not know before? The reward, and where you are now.",
        "Both updates move one entry of the table, by lr times the distance to a target. They differ in what they take "
        "for the future: the best entry of the next state's row, or the entry of the action really taken.",
        "target is the reward if terminated; else reward + gamma * Q[next_state].max(), or with SARSA reward + gamma * "
        "Q[next_state, next_action]. Copy the table first.",
    ),
    checks=(
        update_check("Q-learning: towards the best", 5, False),
        update_check("Q-learning: nothing after the end", 3, False, terminated=True),
        update_check("SARSA: towards what is really done", 4, True),
        update_check("SARSA: nothing after the end", 2, True, terminated=True),
        unchanged(
            2, {"q_update": update_case(False), "sarsa_update": update_case(True)}, "the old table is left as it was"
        ),
    ),
    mistakes=(
        Mistake(
            name="q-bootstraps-through-the-end",
            advice="A terminal state has no future: the target is the reward alone.",
            replaces=update_with(lambda Q, s, a, r, s2, a2, end, g: r + g * Q[s2].max(), False),
        ),
        Mistake(
            name="best-of-the-old-state",
            advice="The maximum is over the actions of the state that was REACHED.",
            replaces=update_with(lambda Q, s, a, r, s2, a2, end, g: q_target(Q, s, a, r, s, a2, end, g), False),
        ),
        Mistake(
            name="q-discounts-the-reward",
            advice="gamma stands before the future only; the reward was paid already.",
            replaces=update_with(lambda Q, s, a, r, s2, a2, end, g: g * r if end else g * (r + Q[s2].max()), False),
        ),
        Mistake(
            name="q-follows-the-same-action",
            advice="Q-learning takes the best action of the next state, whatever was done before.",
            replaces=update_with(sarsa_target, False),
        ),
        Mistake(
            name="q-averages-actions",
            advice="The target takes the maximum over the next actions, not their mean.",
            replaces=update_with(lambda Q, s, a, r, s2, a2, end, g: r if end else r + g * Q[s2].mean(), False),
        ),
        Mistake(
            name="entry-replaced",
            advice="Move the entry by lr times the distance; one step is not the whole truth.",
            replaces=update_with(q_target, False, lambda old, goal, lr: goal),
            variants=(update_with(q_target, False, lambda old, goal, lr: lr * goal),),
        ),
        Mistake(
            name="target-added-without-subtracting",
            advice="What is added is lr times (target MINUS the old entry); else the entry grows without end.",
            replaces=update_with(q_target, False, lambda old, goal, lr: old + lr * goal),
        ),
        Mistake(
            name="table-updated-in-place",
            advice="Return a new table and leave the old one as it was: copy it first.",
            replaces={"q_update": in_place},
        ),
        Mistake(
            name="sarsa-takes-the-best",
            advice="That is Q-learning's target: SARSA uses the action that is really taken next.",
            replaces=update_with(q_target, True),
        ),
        Mistake(
            name="sarsa-bootstraps-through-the-end",
            advice="With SARSA, too, nothing comes after a terminal state.",
            replaces=update_with(lambda Q, s, a, r, s2, a2, end, g: r + g * Q[s2, a2], True),
        ),
        Mistake(
            name="sarsa-next-action-in-the-old-state",
            advice="The next action is taken in the next state: Q[next_state, next_action].",
            replaces=update_with(lambda Q, s, a, r, s2, a2, end, g: r if end else r + g * Q[s, a2], True),
        ),
        Mistake(
            name="sarsa-discounts-the-reward",
            advice="In SARSA's target gamma stands before Q[next_state, next_action] only.",
            replaces=update_with(lambda Q, s, a, r, s2, a2, end, g: g * r if end else g * (r + Q[s2, a2]), True),
        ),
    ),
)

# --- exploration -----------------------------------------------------------------------------------------------------


def choose_with(explore: Callable[[float, float], bool], ties: str = "random", spare_best: bool = False) -> Any:
    """epsilon_greedy with another test for exploring, other ties, or the best action left out."""

    def choose(q: Array, epsilon: float, rng: Rng) -> int:
        (q,) = floats(q)
        best = np.flatnonzero(q == q.max())
        if explore(rng.random(), epsilon):
            if spare_best:
                others = np.flatnonzero(np.arange(len(q)) != best[0])
                return int(others[rng.integers(len(others))])
            return int(rng.integers(len(q)))
        if ties == "first" or len(best) == 1:
            return int(best[0])
        return int(best[-1] if ties == "last" else best[rng.integers(len(best))])

    return {"epsilon_greedy": choose}


def one_choice(kind: str, reason: str) -> Case:
    """Plain values, or three equally good ones; never exploring, or always."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        q = rng.normal(size=5) - 3.0
        if kind == "ties":
            q[rng.choice(5, 3, replace=False)] = 1.0
        return q, {"never": 0.0, "always": 1.0, "ties": 0.2}.get(kind, 0.5), fresh(rng)

    return Case(reason, draw)


def choice_check(name: str, points: int, kinds: dict[str, str]) -> Any:
    """Sixteen choices of each kind, in one check: on a few, two mistakes may choose alike."""
    cases = [one_choice(kind, reason) for kind, reason in kinds.items() for _ in range(16)]
    return numeric(name, points, "epsilon_greedy", ref.epsilon_greedy, cases)


CHOICES = 400
# With epsilon = 0.2 and five actions the best is chosen with probability 0.84. By Hoeffding its share in 400 choices
# leaves 0.84 by 0.18 or more, to either side, with probability at most 2 exp(-2 * 400 * 0.18^2) = 1.1e-11; it cannot be
# above 1, so only the limit below 0.66 is used.
STRAY = math.exp(-2 * CHOICES * 0.18**2)


@statistical("explores about as often as it should", 2, "epsilon_greedy", false_alarm=STRAY)
def frequency(student: Any, rng: Rng) -> None:
    q = np.array([0.0, 1.0, 5.0, 2.0, -1.0])
    calls = [Call("epsilon_greedy", (q, 0.2, fresh(rng))) for _ in range(CHOICES)]
    got = [
        float(numbers(student.answer(call, reply), (), "the action"))
        for call, reply in zip(calls, student.batch(calls), strict=True)
    ]
    with case_of("400 choices with epsilon = 0.2"):
        share = float(np.mean(np.array(got) == 2))
        holds(share > 0.66, "the best of five actions should be chosen about 84 times of 100.", f"It was {share:.0%}.")


EXPLORATION = Exercise(
    name="exploration",
    title="Trying things out",
    functions=("epsilon_greedy", "decayed_epsilon"),
    hints=(
        "How many random numbers does a choice need? It depends on how the first one falls.",
        "Exploring means ANY action, the best included. Otherwise collect all actions whose value equals the largest; "
        "only if there are several is chance asked again.",
        "np.flatnonzero(q == q.max()) are the best actions. decayed_epsilon is the larger one of the floor and decay "
        "to the power of the episode.",
    ),
    checks=(
        choice_check(
            "sometimes any action, mostly the best",
            5,
            {
                "plain": "epsilon = 0.5, all values different",
                "always": "epsilon = 1, pure chance",
                "never": "epsilon = 0, no exploring",
            },
        ),
        choice_check("equally good actions take turns", 2, {"ties": "three best actions of five"}),
        frequency,
        numeric(
            "less and less, down to a floor",
            3,
            "decayed_epsilon",
            lambda episode, decay, floor: ref.decayed_epsilon(episode, 1.0, decay, floor),
            [
                Case("the first episode", lambda rng: (0, 0.9, 0.05)),
                Case("the second", lambda rng: (1, 0.9, 0.05)),
                Case("after twenty", lambda rng: (20, float(rng.uniform(0.9, 0.99)), 0.05)),
                Case("at the floor", lambda rng: (500, 0.9, float(rng.uniform(0.1, 0.2)))),
                Case("without a floor", lambda rng: (40, 0.9, 0.0)),
            ],
        ),
    ),
    mistakes=(
        Mistake(
            name="epsilon-the-wrong-way-round",
            advice="Below epsilon ANY action is tried; above it the best one is taken.",
            replaces=choose_with(lambda u, e: u >= e),
        ),
        Mistake(
            name="never-explores",
            advice="With probability epsilon an action is chosen at random.",
            replaces=choose_with(lambda u, e: False),
        ),
        Mistake(
            name="best-left-out",
            advice="Exploring chooses among ALL actions, the best one included.",
            replaces=choose_with(lambda u, e: u < e, spare_best=True),
        ),
        Mistake(
            name="first-of-the-best",
            advice="If several actions are equally best, chance decides among them; at the beginning that is all of "
            "them.",
            replaces=choose_with(lambda u, e: u < e, ties="first"),
            variants=(choose_with(lambda u, e: u < e, ties="last"),),
        ),
        Mistake(
            name="no-floor",
            advice="Epsilon never falls below the floor: who stops trying stops learning.",
            replaces={"decayed_epsilon": lambda episode, decay, floor: decay**episode},
        ),
        Mistake(
            name="smaller-of-the-two",
            advice="It is the LARGER of the floor and the decayed number.",
            replaces={"decayed_epsilon": lambda episode, decay, floor: min(floor, decay**episode)},
        ),
        Mistake(
            name="decayed-before-the-first",
            advice="Episode 0 explores with epsilon 1: the power is the number of episodes FINISHED.",
            replaces={"decayed_epsilon": lambda episode, decay, floor: max(floor, decay ** (episode + 1))},
        ),
        Mistake(
            name="multiplied-instead-of-powered",
            advice="Every episode multiplies by decay once more: decay to the power of the episode.",
            replaces={"decayed_epsilon": lambda episode, decay, floor: max(floor, 1 - (1 - decay) * episode)},
        ),
    ),
)

# --- learning --------------------------------------------------------------------------------------------------------


def trained(
    w: World,
    episodes: int,
    max_steps: int,
    lr: float,
    gamma: float,
    decay: float,
    floor: float,
    rng: Rng,
    *,
    limit_ends: bool = False,
    decay_steps: bool = False,
    forget: bool = False,
    discounted: bool = False,
    explore: bool = True,
    go_on: bool = False,
) -> tuple[Array, Array]:
    """Q-learning on the reference's parts; the keywords are ways to get it wrong."""
    Q, returns, steps = np.zeros((w["rows"] * w["columns"], 4)), np.zeros(episodes), 0
    state = w["start"]
    for episode in range(episodes):
        if forget:
            Q = np.zeros_like(Q)
        if not (go_on and state not in (w["goal"], w["hole"])):
            state = w["start"]
        for t in range(max_steps):
            epsilon = max(floor, decay ** (steps if decay_steps else episode)) if explore else 0.0
            action = ref.epsilon_greedy(Q[state], epsilon, rng)
            after, reward, end = step(w, state, action)
            cut = end or (limit_ends and t == max_steps - 1)
            Q = ref.q_learning_update(Q, state, action, reward, after, cut, lr, gamma)
            returns[episode] += reward * (gamma**t if discounted else 1.0)
            state, steps = after, steps + 1
            if end:
                break
    return Q, returns


def train_with(**changes: Any) -> dict[str, Callable[..., Any]]:
    return {"train_q_learning": lambda *args: trained(*args, **changes)}


def train_case(
    rows: int, columns: int, start: int, goal: int, hole: int, decay: float = 0.75, floor: float = 0.25
) -> Draw:
    """Binary fractions everywhere: twenty updates are exact in float64, so that no rounding breaks or makes a tie."""
    w = world(rows, columns, start, goal, hole, (2.0, 8.0, -4.0))
    return lambda rng: (w, 5, 4, 0.5, 0.5, decay, floor, fresh(rng))


TRAIN_CASES = [
    Case("two rows, three columns, five episodes of at most four steps", train_case(2, 3, 0, 5, 2)),
    Case("three rows, two columns", train_case(3, 2, 2, 1, 5)),
    Case("a single row", train_case(1, 4, 1, 3, 0)),
    Case("one more time", train_case(3, 3, 4, 8, 0)),
    Case("epsilon soon at a high floor", train_case(3, 3, 3, 2, 8, 0.5, 0.75)),
    Case("the same with other draws", train_case(2, 4, 5, 3, 4, 0.5, 0.75)),
]


@training("finds the way through the classic world", 2, "train_q_learning", cpu_s=30.0)
def finds_the_way(student: Any, rng: Rng) -> None:
    """Of 150 runs of the solution all reached the goal, in ten steps at most."""
    answer = student.train_q_learning(CLASSIC, 100, 100, 0.5, 0.99, 0.97, 0.05, fresh(rng))
    with case_of("five by five, 100 episodes, lr = 0.5, gamma = 0.99", student.transcript[-1][0]):
        Q = numbers(items(answer, ("Q", "returns"))[0], (25, 4), "Q")
        state, steps, end = 0, 0, False
        while not end and steps < 50:
            state, _, end = step(CLASSIC, state, int(np.argmax(Q[state])))
            steps += 1
        holds(state == 24, "whoever always takes the best action of the learned table should reach the goal.")
        below(steps, 20, "the way to the goal should take at most 20 steps (8 is the shortest).", f"It takes {steps}.")


def drawn_buffer(rng: Rng, count: int) -> list[tuple[int, int, float, int, bool]]:
    return [
        (
            int(rng.integers(9)),
            int(rng.integers(4)),
            float(rng.normal()),
            int(rng.integers(9)),
            bool(rng.random() < 0.3),
        )
        for _ in range(count)
    ]


def add_case(count: int, capacity: int) -> Draw:
    return lambda rng: (drawn_buffer(rng, count), drawn_buffer(rng, 1)[0], capacity)


@prop("the old memory is left as it was", 1, "replay_add", alone=False)
def memory_unchanged(student: Any, rng: Rng) -> None:
    for reason, count in (("full", 3), ("room left", 2)):
        answer = student.replay_add(*add_case(count, 3)(rng))
        with case_of(reason, student.transcript[-1][0]):
            holds(answer is not None, "`replay_add` returned nothing.")
            holds(
                not student.changed,
                "`replay_add` modified its argument `buffer` in place; work on a copy or a new list.",
            )


def sample_case(count: int, batch: int) -> Draw:
    return lambda rng: (drawn_buffer(rng, count), batch, fresh(rng))


def added(buffer: list[Any], transition: Any, capacity: int) -> list[Any]:
    return [*buffer, transition][-capacity:]


def sampled(buffer: list[Any], batch: int, rng: Rng) -> tuple[Array, ...]:
    memory = ref.ReplayBuffer(len(buffer))
    for transition in buffer:
        memory.add(*transition)
    return tuple(memory.sample(batch, rng))


def sample_at(places: Callable[[int, int, Rng], Any]) -> dict[str, Callable[..., Any]]:
    def other(buffer: list[Any], batch: int, rng: Rng) -> Any:
        chosen = [buffer[int(i)] for i in places(len(buffer), batch, rng)]
        return tuple(np.array(column) for column in zip(*chosen, strict=True))

    return {"replay_sample": other}


LEARNING = Exercise(
    name="learning",
    title="Learning by trial and error",
    functions=("train_q_learning", "replay_add", "replay_sample"),
    hints=(
        "All parts are there: choose, step, update. What must be set anew in each episode, and what must be kept?",
        "The table lives through all episodes; the state begins at the start in each. An episode that was cut by the "
        "time limit did not terminate, so q_update is told False.",
        "Two loops. Inside: action from epsilon_greedy, step from grid_step, the new table from q_update with the "
        "terminated that grid_step returned, add the reward, state = next_state, and leave the loop if terminated.",
    ),
    checks=(
        numeric("a few short episodes: the table", 4, "train_q_learning", trained, TRAIN_CASES, pick=0, result="Q"),
        numeric(
            "a few short episodes: what they paid",
            2,
            "train_q_learning",
            trained,
            TRAIN_CASES,
            pick=1,
            result="returns",
        ),
        finds_the_way,
        numeric(
            "the memory forgets the oldest",
            2,
            "replay_add",
            added,
            [
                Case("full", add_case(4, 4)),
                Case("room left", add_case(2, 5)),
                Case("empty", add_case(0, 3)),
                Case("room for one", add_case(1, 1)),
            ],
        ),
        numeric(
            "a mixed batch, column by column",
            3,
            "replay_sample",
            sampled,
            [
                Case("five of nine", sample_case(9, 5)),
                Case("one of six", sample_case(6, 1)),
                Case("all of four", sample_case(4, 4)),
                Case("six of twenty", sample_case(20, 6)),
            ],
        ),
        memory_unchanged,
    ),
    mistakes=(
        Mistake(
            name="time-limit-taken-for-the-end",
            advice="The time limit is not terminal: the state that was reached still has a future, so bootstrap.",
            replaces=train_with(limit_ends=True),
        ),
        Mistake(
            name="epsilon-decayed-per-step",
            advice="Epsilon falls once an episode, not at every step.",
            replaces=train_with(decay_steps=True),
        ),
        Mistake(
            name="table-forgotten",
            advice="The table is what has been learned: make it once, before the first episode.",
            replaces=train_with(forget=True),
        ),
        Mistake(
            name="always-greedy",
            advice="Choose with epsilon_greedy and the episode's epsilon: without exploring the way is never found.",
            replaces=train_with(explore=False),
        ),
        Mistake(
            name="not-back-at-the-start",
            advice='Every episode begins at world["start"], after a time limit as well.',
            replaces=train_with(go_on=True),
        ),
        Mistake(
            name="returns-discounted",
            advice="The returns that are reported are plain sums of rewards.",
            replaces=train_with(discounted=True),
        ),
        Mistake(
            name="newest-dropped",
            advice="A full memory forgets the OLDEST transition, the first of the list, and keeps the new one.",
            replaces={"replay_add": lambda buffer, transition, capacity: [*buffer, transition][:capacity]},
        ),
        Mistake(
            name="memory-without-limit",
            advice="The memory holds `capacity` transitions: drop the oldest when there are more.",
            replaces={"replay_add": lambda buffer, transition, capacity: [*buffer, transition]},
        ),
        Mistake(
            name="drawn-with-replacement",
            advice="A batch holds different transitions: draw without replacement.",
            replaces=sample_at(lambda n, batch, rng: rng.choice(n, batch)),
            variants=(sample_at(lambda n, batch, rng: rng.integers(n, size=batch)),),
        ),
        Mistake(
            name="newest-instead-of-mixed",
            advice="The batch is drawn by chance from the whole memory, not taken from its end.",
            replaces=sample_at(lambda n, batch, rng: range(n - batch, n)),
            variants=(sample_at(lambda n, batch, rng: range(batch)),),
        ),
    ),
)


def draw_picture(student: Any, figure: Any) -> None:
    """The best values and the way they point, what was learned of them, and how the episodes went."""
    left, middle, right = figure.subplots(1, 3)
    P, R = (np.asarray(a) for a in items(student.grid_process(CLASSIC), ("P", "R")))
    best = np.asarray(student.value_iteration(P, R, 0.99))
    plans = np.asarray(student.greedy_policy(student.action_values(P, R, best, 0.99)))
    runs = []
    for seed in range(8):
        args = (CLASSIC, 150, 100, 0.5, 0.99, 0.97, 0.05, np.random.default_rng(seed))
        runs.append(items(student.train_q_learning(*args), ("Q", "returns")))
    Q = np.asarray(runs[0][0])
    learned = np.asarray(student.greedy_policy(Q))
    for axes, values, actions, title in (
        (left, best, plans, "Planned: V*"),
        (middle, Q.max(axis=1), learned, "Learned: max of Q"),
    ):
        shown = values.reshape(5, 5).copy()
        shown[2, 2] = shown[4, 4] = np.nan
        image = axes.imshow(shown, cmap="viridis", vmin=0.0, vmax=1.0)
        for state in range(25):
            row, column = divmod(state, 5)
            if state in (12, 24):
                axes.text(column, row, "hole" if state == 12 else "goal", ha="center", va="center", fontsize=9)
                continue
            down, across = ref.ACTIONS[int(actions[state])]
            axes.annotate(
                "",
                (column + 0.3 * across, row + 0.3 * down),
                (column - 0.3 * across, row - 0.3 * down),
                arrowprops={"arrowstyle": "->", "color": "w"},
            )
        axes.set_title(title)
        axes.set_xlabel("column")
        axes.set_ylabel("row")
        figure.colorbar(image, ax=axes, shrink=0.6, label="value")
    returns = np.array([np.asarray(r) for _, r in runs])
    smooth = np.array([np.convolve(r, np.ones(10) / 10, "valid") for r in returns])
    right.plot(np.arange(10, 151), smooth.T, color="C0", lw=0.6, alpha=0.5)
    right.plot(np.arange(10, 151), smooth.mean(axis=0), color="C0", lw=2, label="mean of 8 runs")
    right.axhline(0.93, color="k", ls="--", lw=1, label="the shortest way, 0.93")
    right.set_title("Learning")
    right.set_xlabel("episode")
    right.set_ylabel("return, mean of the last 10 episodes")
    right.legend(frameon=False, fontsize=8)


CHAPTER = Chapter(
    id="ch329",
    slug="reinforcement_learning",
    title="Reinforcement Learning Foundations",
    part="Advanced models",
    summary="Returns, Bellman's equation, exact values in a known world, Q-learning and SARSA in an unknown one.",
    builds_on=("ch301",),
    exercises=(RETURNS, GRID, PLANNING, EVALUATION, UPDATES, EXPLORATION, LEARNING),
    picture=Picture(title="A small world", draw=draw_picture),
)
