"""Checks of chapter 330: log-probabilities, REINFORCE, baselines, advantages and PPO's clipped objective."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from dlreference import mlp
from dlreference import policy as ref
from dlreference.losses import log_softmax, one_hot, softmax

from dlgrade.course.compare import below, describe, holds, items, numbers, same
from dlgrade.course.kinds import (
    Case,
    GradientCase,
    Rng,
    case_of,
    gradient,
    loss_gradient,
    numeric,
    prop,
    statistical,
    unchanged,
)
from dlgrade.course.spec import Chapter, Exercise, Mistake, Picture

Array = np.ndarray[Any, Any]
Params = dict[str, Array]
Make = Callable[..., Any]
Draw = Callable[[Rng], tuple[Any, ...]]
# Logits this large leave a softmax as it is, and take the digits from finite differences.
FAR = 1e5


def floats(x: Any) -> Array:
    return np.asarray(x, dtype=np.float64)


def fresh(rng: Rng) -> Rng:
    return np.random.default_rng(int(rng.integers(1 << 62)))


def drawn_actions(rng: Rng, batch: int, n_actions: int) -> Array:
    """Every action, as evenly as can be."""
    return rng.permutation(np.arange(batch) % n_actions)


def signed(rng: Rng, count: int) -> Array:
    """Numbers of both signs, none of them near zero."""
    return rng.uniform(0.5, 2.0, size=count) * np.where(rng.permutation(count) % 2 == 0, 1.0, -1.0)


def logits_case(batch: int, n_actions: int, scale: float = 2.0, far: float = 0.0) -> Draw:
    return lambda rng: (
        far + scale * rng.normal(size=(batch, n_actions)),
        drawn_actions(rng, batch, n_actions),
    )


def weighted_case(batch: int, n_actions: int, far: float = 0.0) -> Draw:
    """Logits, actions, and a number for each."""
    return lambda rng: (*logits_case(batch, n_actions, far=far)(rng), signed(rng, batch))


HUGE = [[0.0, 1e4, -1e4], [1e4, 1e4 + 1.0, -1e4], [-1e4, -1e4, -1e4 - 2.0]]

# --- log-probabilities -----------------------------------------------------------------------------------------------


def log_prob_backward(dout: Array, logits: Array, actions: Array) -> Array:
    return floats(dout)[:, None] * ref.grad_log_prob(logits, actions)


def lp_with(change: Callable[[Array], Array]) -> dict[str, Make]:
    """A wrong table (B, K) to read log-probabilities from; the gradient stays right."""

    def wrong(logits: Array, actions: Array) -> Array:
        with np.errstate(all="ignore"):
            return change(floats(logits))[np.arange(len(logits)), np.asarray(actions)]

    return {"log_prob": wrong, "log_prob_backward": log_prob_backward}


def lp_unshifted(z: Array) -> Array:
    e = np.exp(z)
    return np.log(e / e.sum(axis=1, keepdims=True))


def lpb_with(change: Callable[[Array, Array, Array, Array], Array]) -> dict[str, Make]:
    """`change(dout, p, one_hot, logits)` with dout (B, 1)."""

    def wrong(dout: Array, logits: Array, actions: Array) -> Array:
        z = floats(logits)
        return change(floats(dout)[:, None], softmax(z), one_hot(actions, z.shape[1]), z)

    return {"log_prob_backward": wrong}


def lpb_inputs(batch: int, n_actions: int) -> Callable[[Rng], dict[str, Any]]:
    def draw(rng: Rng) -> dict[str, Any]:
        logits, actions, dout = weighted_case(batch, n_actions)(rng)
        return {"logits": logits, "actions": actions, "dout": dout}

    return draw


def lpb_check(name: str, points: int, cases: list[GradientCase]) -> Any:
    return gradient(
        name,
        points,
        ("log_prob", "log_prob_backward"),
        cases,
        value=lambda student, i: student.log_prob(i["logits"], i["actions"]),
        grads=lambda student, i: {"logits": student.log_prob_backward(i["dout"], i["logits"], i["actions"])},
        reference=lambda i: {"logits": log_prob_backward(i["dout"], i["logits"], i["actions"])},
    )


@prop("on average over the actions, the push is zero", 1, "log_prob_backward")
def no_push_on_average(student: Any, rng: Rng) -> None:
    """Why a baseline changes nothing on average: the score has mean zero."""
    logits = 2 * rng.normal(size=4)
    rows = np.tile(logits, (4, 1))
    got = numbers(student.log_prob_backward(softmax(logits), rows, np.arange(4)), (4, 4), "the gradient")
    same(got.sum(axis=0), np.zeros(4), "the sum over all actions of pi(a) times the gradient of log pi(a)")


LOG_PROB = Exercise(
    name="log_prob",
    title="Probabilities of actions, and their gradient",
    functions=("log_prob", "log_prob_backward"),
    hints=(
        "What is the logarithm of exp(a) / sum of exp, without computing the fraction first?",
        "Subtract each row's maximum, then log pi is the shifted logit minus the logarithm of the sum of exponentials. "
        "The gradient is one-hot minus the probabilities, times dout.",
        "Index the table of log pi with [np.arange(B), actions]. np.eye(K)[actions] are the one-hot rows, and dout[:, "
        "None] multiplies a row each.",
    ),
    checks=(
        numeric(
            "log-probabilities of the actions taken",
            3,
            "log_prob",
            ref.log_prob,
            [
                Case("five states, three actions", logits_case(5, 3)),
                Case("one state", logits_case(1, 4)),
                Case("as many states as actions", logits_case(4, 4)),
                Case("lists instead of arrays", lambda rng: ([[1.0, 2.0], [0.5, -1.0], [3, 3]], [1, 0, 1])),
            ],
        ),
        numeric(
            "huge logits", 2, "log_prob", ref.log_prob, [Case("logits of ten thousand", lambda rng: (HUGE, [0, 1, 2]))]
        ),
        lpb_check(
            "the gradient at the logits",
            3,
            [
                GradientCase("five states, three actions", lpb_inputs(5, 3)),
                GradientCase("one state", lpb_inputs(1, 4)),
                GradientCase("as many states as actions", lpb_inputs(3, 3)),
            ],
        ),
        numeric(
            "exact where differences lose digits",
            1,
            "log_prob_backward",
            log_prob_backward,
            [
                Case("logits near 100,000", lambda rng: (signed(rng, 4), *logits_case(4, 3, far=FAR)(rng))),
                Case("logits of plus and minus ten thousand", lambda rng: (signed(rng, 3), HUGE, [0, 1, 2])),
            ],
            result="the gradient",
        ),
        no_push_on_average,
        unchanged(
            1,
            {
                "log_prob": logits_case(3, 2),
                "log_prob_backward": lambda rng: (signed(rng, 3), *logits_case(3, 2)(rng)),
            },
        ),
    ),
    mistakes=(
        Mistake(
            name="logits-not-shifted",
            advice="Exponentials of large logits overflow: subtract each row's maximum, and never take the logarithm "
            "of a softmax.",
            replaces=lp_with(lp_unshifted),
        ),
        Mistake(
            name="small-number-inside-the-logarithm",
            advice="A number added inside the logarithm changes every result; with log pi from shifted logits none is "
            "needed.",
            replaces=lp_with(lambda z: np.log(softmax(z) + 1e-8)),
            variants=(lp_with(lambda z: np.log(softmax(z) + 1e-10)), lp_with(lambda z: np.log(softmax(z) + 1e-12))),
        ),
        Mistake(
            name="probability-instead-of-its-logarithm",
            advice="The LOGARITHM of the probability is asked for.",
            replaces=lp_with(softmax),
        ),
        Mistake(
            name="logarithm-to-base-two",
            advice="The natural logarithm is meant, not the one to base 2.",
            replaces=lp_with(lambda z: log_softmax(z) / np.log(2)),
        ),
        Mistake(
            name="normalised-over-the-batch",
            advice="The probabilities of one state's actions sum to 1: sum over axis 1.",
            replaces=lp_with(lambda z: log_softmax(z, axis=0)),
        ),
        Mistake(
            name="log-probabilities-of-all-actions",
            advice="One number for each state is asked for, that of the action taken: (B,), not (B, K).",
            replaces={
                "log_prob": lambda logits, actions: log_softmax(logits),
                "log_prob_backward": log_prob_backward,
            },
        ),
        Mistake(
            name="p-minus-one-hot",
            advice="This is the gradient of -log pi, as in a loss; that of log pi is one-hot MINUS p.",
            replaces=lpb_with(lambda dout, p, hot, z: dout * (p - hot)),
        ),
        Mistake(
            name="only-the-taken-action-pushed",
            advice="Every logit is part of the sum of exponentials: the other actions are pushed down by their "
            "probabilities.",
            replaces=lpb_with(lambda dout, p, hot, z: dout * hot * (1 - p)),
            variants=(lpb_with(lambda dout, p, hot, z: dout * hot),),
        ),
        Mistake(
            name="gradient-of-the-probability",
            advice="This is the gradient of pi(a) itself; dividing by pi(a) makes it that of the logarithm.",
            replaces=lpb_with(lambda dout, p, hot, z: dout * (p * hot).sum(axis=1, keepdims=True) * (hot - p)),
        ),
        Mistake(
            name="dout-left-out",
            advice="Each row is multiplied by its own dout.",
            replaces=lpb_with(lambda dout, p, hot, z: hot - p),
        ),
        Mistake(
            name="gradient-averaged",
            advice="The gradient of a SUM is asked for: do not divide by B here, the loss does.",
            replaces=lpb_with(lambda dout, p, hot, z: dout * (hot - p) / len(p)),
        ),
    ),
)

# --- choosing actions ------------------------------------------------------------------------------------------------


def sample_with(choose: Callable[[Array, Array], Array], one: bool = False) -> dict[str, Make]:
    """`choose(cumulative, u)` with cumulative (B, K) and u (B, 1)."""

    def wrong(logits: Array, rng: Any) -> Array:
        u = np.full(len(logits), rng.random()) if one else rng.random(len(logits))
        return choose(np.cumsum(softmax(logits), axis=1), u[:, None])

    return {"sample_actions": wrong}


def counted(cumulative: Array, u: Array) -> Array:
    return (cumulative[:, :-1] <= u).sum(axis=1)


def sample_unshifted(logits: Array, rng: Any) -> Array:
    with np.errstate(all="ignore"):
        e = np.exp(floats(logits))
        return counted(np.cumsum(e / e.sum(axis=1, keepdims=True), axis=1), rng.random(len(e))[:, None])


def sample_case(batch: int, n_actions: int) -> Draw:
    return lambda rng: (rng.normal(size=(batch, n_actions)), fresh(rng))


# No single draw picks the most probable action of all three rows.
UNEVEN = np.log([[0.3, 0.3, 0.4], [0.4, 0.3, 0.3], [0.35, 0.4, 0.25]])
ROWS = 6000
# Hoeffding: a share of n draws is off by t or more with a chance of at most 2 exp(-2 n t^2). Three states of four
# actions are twelve shares: 24 exp(-2 * 6000 * 0.05^2) = 24 exp(-30) = 2.2e-12.
SHARE_OFF = 0.05


@statistical("how often each action is chosen", 2, "sample_actions", false_alarm=24 * math.exp(-2 * ROWS * 0.05**2))
def shares(student: Any, rng: Rng) -> None:
    p = np.array([[0.5, 0.25, 0.17, 0.08], [0.08, 0.17, 0.25, 0.5], rng.permutation([0.5, 0.25, 0.17, 0.08])])
    got = numbers(student.sample_actions(np.repeat(np.log(p), ROWS, axis=0), fresh(rng)), (3 * ROWS,), "the actions")
    found = np.array([[np.mean(part == k) for k in range(4)] for part in got.reshape(3, ROWS)])
    with case_of(f"three states, each met {ROWS} times"):
        below(
            float(np.abs(found - p).max()),
            SHARE_OFF,
            "in each state the actions should be chosen as often as their probabilities say.",
            f"In the three states the probabilities are {p.tolist()}, the shares {np.round(found, 3).tolist()}.",
        )


SAMPLE = Exercise(
    name="sample_actions",
    title="Choosing actions",
    functions=("sample_actions",),
    hints=(
        "Cut the stretch from 0 to 1 into pieces as long as the probabilities, and throw a dart.",
        "The ends of the pieces are the cumulative probabilities; the action is the number of ends that the dart has "
        "passed.",
        "Compare np.cumsum(p, axis=1)[:, :-1] with u[:, None], and count the entries of each row that are at most u.",
    ),
    checks=(
        numeric(
            "actions from the stated draws",
            4,
            "sample_actions",
            ref.sample_actions,
            [
                Case("twelve states, three actions", sample_case(12, 3)),
                Case("one state", sample_case(1, 5)),
                Case("as many states as actions", sample_case(4, 4)),
            ],
        ),
        numeric(
            "huge logits",
            1,
            "sample_actions",
            ref.sample_actions,
            [
                Case(
                    "logits far above zero, and small ones",
                    lambda rng: (np.tile(np.array([[1e4], [1e4], [0.0]]) + UNEVEN, (10, 1)), fresh(rng)),
                ),
                Case(
                    "logits far below zero, and small ones",
                    lambda rng: (np.tile(np.array([[-1e4], [-1e4], [0.0]]) + UNEVEN, (10, 1)), fresh(rng)),
                ),
                Case(
                    "an action without hope",
                    lambda rng: (rng.normal(size=(20, 3)) - np.array([0.0, 2000.0, 0.0]), fresh(rng)),
                ),
            ],
        ),
        shares,
        unchanged(
            1, {"sample_actions": lambda rng: (rng.normal(size=(3, 2)), fresh(rng))}, "the logits are left alone"
        ),
    ),
    mistakes=(
        Mistake(
            name="most-probable-always-chosen",
            advice="Actions are drawn by their probabilities: a policy that always takes the best-looking one never "
            "finds a better.",
            replaces=sample_with(lambda c, u: np.diff(c, axis=1, prepend=0.0).argmax(axis=1)),
        ),
        Mistake(
            name="all-actions-equally-likely",
            advice="The actions have the probabilities softmax(logits), not all the same.",
            replaces=sample_with(lambda c, u: (u[:, 0] * c.shape[1]).astype(int)),
        ),
        Mistake(
            name="one-draw-for-all-states",
            advice="Each state needs a draw of its own: rng.random(B).",
            replaces=sample_with(counted, one=True),
        ),
        Mistake(
            name="pieces-in-reverse",
            advice="Count the cumulative probabilities that u has PASSED, those at most u.",
            replaces=sample_with(lambda c, u: (c[:, :-1] > u).sum(axis=1)),
        ),
        Mistake(
            name="one-action-too-far",
            advice="Of K actions only the first K - 1 cumulative probabilities are ends between pieces, and actions "
            "count from 0.",
            replaces=sample_with(lambda c, u: (c <= u).sum(axis=1) + 1),
        ),
        Mistake(
            name="overflow-while-drawing",
            advice="Exponentials of large logits overflow: subtract each row's maximum here too.",
            replaces={"sample_actions": sample_unshifted},
        ),
    ),
)

# --- all weights -----------------------------------------------------------------------------------------------------


def drawn_params(rng: Rng, d: int, hidden: int, n_actions: int, far: float = 0.0) -> Params:
    shapes: dict[str, tuple[int, ...]] = {
        "W1": (hidden, d),
        "b1": (hidden,),
        "W2": (n_actions, hidden),
        "b2": (n_actions,),
    }
    params = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    return {**params, "b2": params["b2"] + far}


def network_case(batch: int, d: int, hidden: int, n_actions: int, far: float = 0.0) -> Callable[[Rng], dict[str, Any]]:
    def draw(rng: Rng) -> dict[str, Any]:
        return {
            "params": drawn_params(rng, d, hidden, n_actions, far),
            "states": rng.normal(size=(batch, d)),
            "actions": drawn_actions(rng, batch, n_actions),
            "dout": signed(rng, batch),
        }

    return draw


def logits_of(params: Params, states: Array) -> Array:
    return mlp.forward(states, params, "tanh")[0]


def pl_with(
    hidden: Callable[[Array], Array] = np.tanh, out: Callable[[Array], Array] = floats, bias: float = 1.0
) -> Any:
    def wrong(params: Params, states: Array) -> Array:
        W1, b1, W2, b2 = (floats(params[name]) for name in ("W1", "b1", "W2", "b2"))
        return out(hidden(floats(states) @ W1.T + b1) @ W2.T + bias * b2)

    return {"policy_logits": wrong, "weight_gradients": ref.score_gradients}


def wg_with(kind: str) -> dict[str, Make]:
    def wrong(params: Params, states: Array, actions: Array, weights: Array) -> Params:
        W1, b1, W2 = (floats(params[name]) for name in ("W1", "b1", "W2"))
        states = floats(states)
        z = states @ W1.T + b1
        h = np.tanh(z)
        g = log_prob_backward(weights, h @ W2.T + floats(params["b2"]), actions)
        if kind == "unweighted":
            g = g / floats(weights)[:, None]
        if kind == "loss":
            g = -g
        slopes: dict[str, Any] = {"no-slope": 1.0, "slope-of-z": 1 - z**2, "relu-slope": z > 0}
        dz = (g @ W2) * slopes.get(kind, 1 - h**2)
        grads = {"W1": dz.T @ states, "b1": dz.sum(axis=0), "W2": g.T @ h, "b2": g.sum(axis=0)}
        if kind == "mean":
            grads = {name: grad / len(states) for name, grad in grads.items()}
        if kind == "last-layer":
            grads |= {"W1": 0 * grads["W1"], "b1": 0 * grads["b1"]}
        return grads

    return {"weight_gradients": wrong}


def has_keys(found: Any, what: str) -> None:
    holds(
        type(found) is dict and set(found) == {"W1", "b1", "W2", "b2"},
        f"{what} should be a dict with the keys W1, b1, W2 and b2, and no others.",
        f"Yours is {describe(found)}.",
    )


def network_call(i: dict[str, Any]) -> tuple[Any, ...]:
    return i["params"], i["states"], i["actions"], i["dout"]


def student_weight_gradients(student: Any, i: dict[str, Any]) -> dict[str, Any]:
    found = student.weight_gradients(*network_call(i))
    has_keys(found, "the gradients")
    return {f"params.{name}": grad for name, grad in found.items()}


def weights_check(name: str, points: int, cases: list[GradientCase]) -> Any:
    return gradient(
        name,
        points,
        ("policy_logits", "log_prob", "weight_gradients"),
        cases,
        value=lambda student, i: student.log_prob(
            numbers(student.policy_logits(i["params"], i["states"])), i["actions"]
        ),
        grads=student_weight_gradients,
        reference=lambda i: {f"params.{name}": g for name, g in ref.score_gradients(*network_call(i)).items()},
    )


WEIGHTS = Exercise(
    name="weight_gradients",
    title="The gradient at all weights",
    functions=("policy_logits", "weight_gradients"),
    hints=(
        "Where does the way to the weights begin? You have already written the gradient at the logits.",
        "W2 gets dlogits^T h and b2 the sum of dlogits. Go back through W2 and the tanh to find what W1 and b1 get.",
        "dz = (dlogits @ W2) * (1 - h**2), then dz.T @ states and the sum of dz over the batch.",
    ),
    checks=(
        numeric(
            "the network's logits",
            3,
            "policy_logits",
            logits_of,
            [
                Case(
                    "four numbers a state, three actions",
                    lambda rng: (drawn_params(rng, 4, 5, 3), rng.normal(size=(6, 4))),
                ),
                Case("one state", lambda rng: (drawn_params(rng, 3, 2, 2), rng.normal(size=(1, 3)))),
            ],
        ),
        weights_check(
            "gradients of all parameters",
            5,
            [
                GradientCase("six states, all sizes different", network_case(6, 4, 5, 3)),
                GradientCase("one state", network_case(1, 3, 4, 2)),
                GradientCase("all sizes equal", network_case(3, 3, 3, 3)),
            ],
        ),
        weights_check("exact here too", 1, [GradientCase("biases near 10,000", network_case(4, 3, 4, 2, 1e4))]),
        unchanged(
            1,
            {
                "policy_logits": lambda rng: network_call(network_case(3, 2, 4, 2)(rng))[:2],
                "weight_gradients": lambda rng: network_call(network_case(3, 2, 4, 2)(rng)),
            },
        ),
    ),
    mistakes=(
        Mistake(
            name="hidden-layer-without-tanh",
            advice="The hidden layer is tanh of states @ W1.T + b1.",
            replaces=pl_with(hidden=floats),
            variants=(pl_with(hidden=lambda z: np.maximum(z, 0.0)),),
        ),
        Mistake(
            name="tanh-on-the-logits",
            advice="The tanh belongs to the hidden layer only; logits may be any numbers.",
            replaces=pl_with(out=np.tanh),
        ),
        Mistake(
            name="probabilities-returned-as-logits",
            advice="Logits are asked for; the softmax comes later, in log_prob.",
            replaces=pl_with(out=softmax),
        ),
        Mistake(
            name="output-bias-forgotten",
            advice="The logits get b2 added.",
            replaces=pl_with(bias=0.0),
        ),
        Mistake(
            name="slope-of-tanh-forgotten",
            advice="On the way back through the tanh everything is multiplied by its slope, 1 - h**2.",
            replaces=wg_with("no-slope"),
        ),
        Mistake(
            name="slope-from-before-the-tanh",
            advice="The slope of the tanh is 1 - tanh(z)**2, which is 1 - h**2 and not 1 - z**2.",
            replaces=wg_with("slope-of-z"),
        ),
        Mistake(
            name="slope-of-another-function",
            advice="The hidden layer is a tanh, and its slope is 1 - h**2, not that of a ReLU.",
            replaces=wg_with("relu-slope"),
        ),
        Mistake(
            name="last-layer-only",
            advice="W1 and b1 learn too: go back through W2 and the tanh.",
            replaces=wg_with("last-layer"),
        ),
        Mistake(
            name="sum-over-the-batch-averaged",
            advice="The gradient of a sum is asked for; the averaging is left to the weights.",
            replaces=wg_with("mean"),
        ),
        Mistake(
            name="weights-left-out",
            advice="Each log-probability counts with its own weight.",
            replaces=wg_with("unweighted"),
        ),
        Mistake(
            name="gradient-of-minus-log-pi",
            advice="The sign is that of log pi here: the minus of a loss comes in with the weights.",
            replaces=wg_with("loss"),
        ),
    ),
)

# --- returns ---------------------------------------------------------------------------------------------------------


def episode_of(ends: Array) -> Array:
    """The number of the episode to which each step belongs."""
    return np.concatenate([[0], np.cumsum(np.asarray(ends, dtype=int))[:-1]])


def returns_by(weight: Callable[[Array, Array, float], Array], apart: bool = True) -> dict[str, Make]:
    """`weight(t, k, gamma)` is what the reward of step k counts in the return of step t of the same episode."""

    def wrong(rewards: Array, ends: Array, gamma: float) -> Array:
        steps, number = np.arange(len(rewards)), episode_of(ends)
        start = np.searchsorted(number, number) if apart else np.zeros(len(steps), dtype=int)
        w = weight((steps - start)[:, None], (steps[None, :] - start[:, None]), gamma)
        together = number[:, None] == number[None, :] if apart else np.full(w.shape, True)
        return np.where(together, w, 0.0) @ floats(rewards)

    return {"returns_to_go": wrong}


def ahead(t: Array, k: Array, gamma: float) -> Array:
    return np.where(k >= t, gamma ** np.maximum(k - t, 0), 0.0)


def rtg_early(rewards: Array, ends: Array, gamma: float) -> Array:
    """The cut made before the last step instead of after it."""
    early = [*np.asarray(ends, dtype=bool)[1:], True]
    return ref.returns_to_go(rewards, early, gamma)


def ends_at(steps: int, *places: int) -> list[bool]:
    return [t in places for t in range(steps)]


def returns_case(steps: int, gamma: float, *places: int) -> Draw:
    return lambda rng: (signed(rng, steps), np.array(ends_at(steps, *places)), gamma)


RETURNS = Exercise(
    name="returns_to_go",
    title="What came after",
    functions=("returns_to_go",),
    hints=(
        "Which step's return is known at once?",
        "Go backwards with one running number; in the last step of an episode forget what it holds.",
        "running = r_t if ends[t], else r_t + gamma * running; that is G_t.",
    ),
    checks=(
        numeric(
            "one episode",
            2,
            "returns_to_go",
            ref.returns_to_go,
            [
                Case("six steps", returns_case(6, 0.9, 5)),
                Case("one step", returns_case(1, 0.5, 0)),
                Case("nothing is discounted", returns_case(5, 1.0, 4)),
                Case("lists instead of arrays", lambda rng: ([0, 0, 1], [False, False, True], 0.5)),
            ],
        ),
        numeric(
            "several episodes one after another",
            4,
            "returns_to_go",
            ref.returns_to_go,
            [
                Case("three episodes of different length", returns_case(10, 0.8, 2, 6, 9)),
                Case("episodes of one step", returns_case(4, 0.9, 0, 1, 2, 3)),
                Case("the last one is not marked as ended", returns_case(8, 0.9, 3)),
            ],
        ),
        unchanged(1, {"returns_to_go": returns_case(5, 0.9, 2, 4)}),
    ),
    mistakes=(
        Mistake(
            name="returns-of-the-past",
            advice="A return counts what comes AFTER a step: go through the steps backwards.",
            replaces=returns_by(lambda t, k, gamma: np.where(k <= t, gamma ** np.maximum(t - k, 0), 0.0)),
            variants=(returns_by(lambda t, k, gamma: np.where(k <= t, gamma ** np.maximum(k, 0), 0.0)),),
        ),
        Mistake(
            name="whole-return-in-every-step",
            advice="An action cannot be thanked for what came before it: each step has the return from there on.",
            replaces=returns_by(lambda t, k, gamma: gamma ** np.maximum(k, 0) + 0.0 * t),
        ),
        Mistake(
            name="discounted-from-the-start",
            advice="The discount counts from the step itself: its own reward is worth all of it.",
            replaces=returns_by(lambda t, k, gamma: np.where(k >= t, gamma ** np.maximum(k, 0), 0.0)),
        ),
        Mistake(
            name="discount-forgotten",
            advice="What comes a step later is worth gamma times as much.",
            replaces=returns_by(lambda t, k, gamma: np.where(k >= t, 1.0, 0.0)),
        ),
        Mistake(
            name="episodes-run-together",
            advice="Another episode's rewards do not count: start anew at every end.",
            replaces=returns_by(ahead, apart=False),
        ),
        Mistake(
            name="cut-one-step-early",
            advice="ends[t] is True IN the last step of an episode, which belongs to it: what is forgotten there is "
            "the step after.",
            replaces={"returns_to_go": rtg_early},
        ),
    ),
)

# --- REINFORCE -------------------------------------------------------------------------------------------------------


def rl_with(loss: Callable[[float], float] = float, grad: Callable[[Array], Array] = floats) -> dict[str, Make]:
    """The loss and its gradient (B, K), changed; the step stays right."""

    def wrong(logits: Array, actions: Array, advantages: Array) -> Any:
        value, g = ref.reinforce_loss(logits, actions, advantages)
        return loss(value), grad(g)

    return {"reinforce_loss": wrong, "reinforce_step": reinforce_step}


def rl_summed(logits: Array, actions: Array, advantages: Array) -> Any:
    value, g = ref.reinforce_loss(logits, actions, advantages)
    return len(g) * value, len(g) * g


def rl_centred(logits: Array, actions: Array, advantages: Array) -> Any:
    return ref.reinforce_loss(logits, actions, floats(advantages) - np.mean(advantages))


def rl_probability(logits: Array, actions: Array, advantages: Array) -> Any:
    p = np.exp(ref.log_prob(logits, actions))
    weights = -floats(advantages) * p / len(p)
    return float(weights.sum()), log_prob_backward(weights, logits, actions)


def reinforce_step(params: Params, states: Array, actions: Array, advantages: Array, lr: float) -> Params:
    grads = ref.reinforce_gradients(params, states, actions, advantages)[1]
    return {name: floats(value) - lr * grads[name] for name, value in params.items()}


def rs_with(factor: Callable[[Array], Any]) -> dict[str, Make]:
    """params + lr * the gradient of the sum of factor(advantages) * log pi."""

    def wrong(params: Params, states: Array, actions: Array, advantages: Array, lr: float) -> Params:
        weights = np.broadcast_to(factor(floats(advantages)), len(states))
        grads = ref.score_gradients(params, states, actions, weights)
        return {name: floats(value) + lr * grads[name] for name, value in params.items()}

    return {"reinforce_step": wrong}


def step_case(batch: int, d: int, hidden: int, n_actions: int, lr: float, size: float = 1.0) -> Draw:
    """`size` is that of the advantages."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        params, states, actions, advantages = network_call(network_case(batch, d, hidden, n_actions)(rng))
        return params, states, actions, size * advantages, lr

    return draw


LOSSES = [
    Case("six states, three actions", weighted_case(6, 3)),
    Case("one state", weighted_case(1, 2)),
    Case("as many states as actions", weighted_case(3, 3)),
]


@prop("what paid becomes more probable", 2, "reinforce_step", "policy_logits", "log_prob")
def what_paid(student: Any, rng: Rng) -> None:
    """One state, one action: a small step must move log pi in the direction of the advantage."""
    params, states = drawn_params(rng, 3, 4, 3), rng.normal(size=(1, 3))
    action = [int(rng.integers(3))]
    before = ref.log_prob(logits_of(params, states), action)[0]
    for advantage, word in ((1.0, "grow"), (-1.0, "fall")):
        new = student.reinforce_step(params, states, action, [advantage], 1e-3)
        with case_of(f"an advantage of {advantage:g}", student.transcript[-1][0]):
            has_keys(new, "what comes back")
            moved = {name: numbers(new[name], value.shape, f"the new {name}") for name, value in params.items()}
            after = ref.log_prob(logits_of(moved, states), action)[0]
            holds(
                bool(advantage * (after - before) > 0),
                f"with an advantage of {advantage:g} the probability of the action should {word}.",
                f"log pi was {before:.6f} before the step and is {after:.6f} after it.",
            )


REINFORCE = Exercise(
    name="reinforce",
    title="REINFORCE",
    functions=("reinforce_loss", "reinforce_step"),
    hints=(
        "Optimisers go downhill, and reward is to be climbed. Where does the minus come in?",
        "The loss is minus the mean of advantage times log pi. Its gradient is log_prob_backward of -advantages / B.",
        "For the step take weight_gradients with the weights -advantages / B, and subtract lr times each from a new "
        "copy of the parameter.",
    ),
    checks=(
        numeric("the loss", 2, "reinforce_loss", ref.reinforce_loss, LOSSES, pick=0, result="the loss"),
        loss_gradient("its gradient at the logits", 3, "reinforce_loss", ref.reinforce_loss, LOSSES),
        numeric(
            "exact with logits far from zero",
            1,
            "reinforce_loss",
            ref.reinforce_loss,
            [Case("logits near 100,000", weighted_case(4, 3, FAR))],
            pick=1,
            result="the gradient",
        ),
        numeric(
            "one step of descent",
            3,
            "reinforce_step",
            reinforce_step,
            [
                Case("seven states", step_case(7, 4, 5, 3, 0.3)),
                Case("one state", step_case(1, 2, 3, 2, 1.5)),
                Case("advantages of a hundred", step_case(4, 3, 4, 2, 0.01, 100.0)),
            ],
        ),
        what_paid,
        unchanged(1, {"reinforce_step": step_case(3, 2, 4, 2, 0.1), "reinforce_loss": weighted_case(3, 2)}),
    ),
    mistakes=(
        Mistake(
            name="loss-without-the-minus",
            advice="A loss is made SMALLER: without the minus the policy unlearns what paid.",
            replaces=rl_with(lambda loss: -loss, lambda g: -g),
        ),
        Mistake(
            name="gradient-of-the-objective",
            advice="The gradient must fit the loss beside it: it is that of the loss, minus sign included.",
            replaces=rl_with(grad=lambda g: -g),
        ),
        Mistake(
            name="summed-over-the-batch",
            advice="The loss is a mean over the batch, not a sum.",
            replaces={"reinforce_loss": rl_summed, "reinforce_step": reinforce_step},
        ),
        Mistake(
            name="gradient-not-divided",
            advice="The loss is a mean, so its gradient carries 1/B.",
            replaces=rl_with(grad=lambda g: len(g) * g),
        ),
        Mistake(
            name="advantages-centred",
            advice="The advantages count as they are given: subtracting their mean is another estimator.",
            replaces={"reinforce_loss": rl_centred, "reinforce_step": reinforce_step},
        ),
        Mistake(
            name="probability-in-place-of-log",
            advice="It is the LOGARITHM of the probability that is weighted with the advantage.",
            replaces={"reinforce_loss": rl_probability, "reinforce_step": reinforce_step},
        ),
        Mistake(
            name="step-the-wrong-way",
            advice="Descend the LOSS, which is minus the objective: yours makes what paid less probable.",
            replaces=rs_with(lambda a: -a / len(a)),
        ),
        Mistake(
            name="step-of-the-sum",
            advice="The step is that of the mean over the batch: divide by B.",
            replaces=rs_with(lambda a: a),
        ),
        Mistake(
            name="step-without-advantages",
            advice="Each action is pushed as far as it paid: weight log pi with the advantages.",
            replaces=rs_with(lambda a: 1.0 / len(a)),
        ),
    ),
)

# --- baselines -------------------------------------------------------------------------------------------------------


def bandit_case(n_actions: int, baseline: float, shift: float = 0.0, far: float = 0.0) -> Draw:
    """Rewards two of which lie far apart, so that a baseline matters."""
    return lambda rng: (far + rng.normal(size=n_actions), shift + 2 * signed(rng, n_actions), baseline)


BANDITS = [
    Case("four actions, a baseline of 0.7", bandit_case(4, 0.7)),
    Case("two actions, no baseline", bandit_case(2, 0.0)),
    Case("rewards near 50, and so the baseline", bandit_case(3, 50.0, 50.0)),
    Case("a baseline that is far off", bandit_case(3, -20.0)),
    Case("logits near ten thousand", bandit_case(3, 0.5, far=1e4)),
]


def gm_with(kind: str) -> dict[str, Make]:
    def wrong(logits: Array, rewards: Array, baseline: float) -> Any:
        p, r = softmax(logits), floats(rewards)
        if kind == "objective":
            r = r * p
        earned = r + baseline if kind == "added" else r - (0.0 if kind == "ignored" else baseline)
        samples = earned[:, None] * (np.eye(len(p)) - p)
        weights = np.full(len(p), 1 / len(p)) if kind == "uniform" else p
        mean = weights @ samples
        centre = 0.0 if kind == "second-moment" else mean
        spread = weights @ ((samples - centre) ** 2)
        if kind == "deviation":
            return mean, float(np.sqrt(spread.sum()))
        return mean, float(spread.mean() if kind == "entry" else spread.sum())

    return {"gradient_moments": wrong}


def bb_with(weight: Callable[[Array], Array]) -> dict[str, Make]:
    def wrong(logits: Array, rewards: Array) -> float:
        w = weight(softmax(logits))
        return float(w @ floats(rewards) / w.sum())

    return {"best_baseline": wrong}


def push_size(p: Array) -> Array:
    return ((np.eye(len(p)) - p) ** 2).sum(axis=1)


def sg_with(kind: str) -> dict[str, Make]:
    def wrong(logits: Array, rewards: Array, baseline: float, n: int, rng: Any) -> Array:
        rows, r = np.tile(floats(logits), (n, 1)), floats(rewards)
        actions = ref.sample_actions(0 * rows if kind == "uniform" else rows, rng)
        earned = r[actions] - (0.0 if kind == "ignored" else baseline)
        if kind == "own-mean":
            earned = r[actions] - r[actions].mean()
        pushed = earned[:, None] * ref.grad_log_prob(rows, actions)
        if kind == "expected":
            return ref.bandit_gradient_moments(logits, rewards, baseline)[0]
        return pushed.sum(axis=0) if kind == "sum" else pushed.mean(axis=0)

    return {"sampled_gradient": wrong}


def loo_with(change: Callable[[Array], Array]) -> dict[str, Make]:
    def wrong(returns: Array) -> Array:
        with np.errstate(all="ignore"):
            return change(floats(returns))

    return {"leave_one_out": wrong}


DRAWS = 20000
# Hoeffding: the mean of n numbers within a range R is off by t R or more with a chance of at most 2 exp(-2 n t^2). With
# t = 0.026, for three entries of the gradient: 6 exp(-2 * 20000 * 0.026^2) = 6 exp(-27.04) = 1.1e-11.
MEAN_OFF = 0.026


@statistical(
    "the sampled gradient is right on average", 2, "sampled_gradient", false_alarm=6 * math.exp(-2 * DRAWS * 0.026**2)
)
def unbiased(student: Any, rng: Rng) -> None:
    logits, rewards = rng.permutation([1.0, 0.0, -0.7]), rng.permutation([4.0, 1.0, -2.0])
    baseline = float(rng.uniform(0.5, 1.5))
    got = numbers(student.sampled_gradient(logits, rewards, baseline, DRAWS, fresh(rng)), (3,), "the gradient")
    samples = (rewards - baseline)[:, None] * (np.eye(3) - softmax(logits))
    right = ref.bandit_gradient_moments(logits, rewards, baseline)[0]
    with case_of(f"{DRAWS} draws", student.transcript[-1][0]):
        off = np.abs(got - right) / np.ptp(samples, axis=0)
        below(
            float(off.max()),
            MEAN_OFF,
            "with many draws the sampled gradient should come close to the exact one.",
            f"The exact one is {np.round(right, 4).tolist()}, the sampled one {np.round(got, 4).tolist()}.",
        )


@prop("the mean gradient stays exact", 1, "leave_one_out", alone=False)
def all_pairs(student: Any, rng: Rng) -> None:
    """All nine outcomes of two draws from three actions, each with its probability."""
    logits, rewards = rng.normal(size=3), signed(rng, 3)
    p, scores = softmax(logits), np.eye(3) - softmax(logits)
    mean = np.zeros(3)
    for pair in itertools.product(range(3), repeat=2):
        chosen = list(pair)
        earned = rewards[chosen]
        b = numbers(student.leave_one_out(earned), (2,), "the baselines")
        mean = mean + p[chosen].prod() * (earned - b) @ scores[chosen] / 2
    same(
        mean,
        ref.bandit_gradient_moments(logits, rewards)[0],
        "the mean gradient over all pairs of two draws, with your baselines subtracted,",
    )


BASELINE = Exercise(
    name="baselines",
    title="What a baseline changes, and what not",
    functions=("gradient_moments", "best_baseline", "sampled_gradient", "leave_one_out"),
    hints=(
        "With one state and K actions, how many different samples of the gradient are there?",
        "K rows: log_prob_backward with rewards - baseline, on K equal rows of logits and the actions 0 to K - 1. Mean "
        "and variance weight the rows with pi.",
        "mean = p @ samples; the variance is p @ the row sums of (samples - mean)**2. Leaving one out: "
        "(sum - own) / (n - 1).",
    ),
    checks=(
        numeric(
            "the mean gradient",
            2,
            "gradient_moments",
            ref.bandit_gradient_moments,
            BANDITS,
            pick=0,
            result="the mean",
        ),
        numeric(
            "its variance",
            2,
            "gradient_moments",
            ref.bandit_gradient_moments,
            BANDITS,
            pick=1,
            result="the variance",
        ),
        numeric(
            "the best baseline",
            2,
            "best_baseline",
            ref.optimal_baseline,
            [
                Case("four actions", lambda rng: bandit_case(4, 0.0)(rng)[:2]),
                Case("three actions, rewards near 50", lambda rng: bandit_case(3, 0.0, 50.0)(rng)[:2]),
                Case("logits near ten thousand", lambda rng: bandit_case(3, 0.0, far=1e4)(rng)[:2]),
            ],
        ),
        numeric(
            "the gradient from the stated draws",
            2,
            "sampled_gradient",
            ref.sampled_bandit_gradient,
            [
                Case("thirty draws", lambda rng: (*bandit_case(3, 0.4)(rng), 30, fresh(rng))),
                Case("one draw", lambda rng: (*bandit_case(4, -1.0)(rng), 1, fresh(rng))),
            ],
        ),
        unbiased,
        numeric(
            "what the others earned",
            1,
            "leave_one_out",
            ref.leave_one_out_baseline,
            [
                Case("five samples", lambda rng: (signed(rng, 5),)),
                Case("two samples", lambda rng: ([3.0, -1.0],)),
                Case("a single one", lambda rng: ([2.5],)),
            ],
        ),
        all_pairs,
        unchanged(
            1,
            {
                "gradient_moments": bandit_case(3, 0.5),
                "best_baseline": lambda rng: bandit_case(3, 0.0)(rng)[:2],
                "leave_one_out": lambda rng: (signed(rng, 4),),
            },
        ),
    ),
    mistakes=(
        Mistake(
            name="actions-not-weighted",
            advice="An action counts as often as it is chosen: weight its sample with its probability.",
            replaces=gm_with("uniform"),
        ),
        Mistake(
            name="baseline-added",
            advice="The baseline is subtracted from the reward.",
            replaces=gm_with("added"),
        ),
        Mistake(
            name="baseline-ignored",
            advice="The baseline is subtracted before a sample is formed: the mean will not notice, the variance will.",
            replaces=gm_with("ignored"),
        ),
        Mistake(
            name="rewards-weighted-twice",
            advice="The probability enters once, when the samples are averaged; a sample itself has the plain reward.",
            replaces=gm_with("objective"),
        ),
        Mistake(
            name="mean-not-subtracted-in-the-variance",
            advice="The variance is measured from the mean: subtract it before squaring.",
            replaces=gm_with("second-moment"),
        ),
        Mistake(
            name="standard-deviation-for-variance",
            advice="The variance is asked for, without a root.",
            replaces=gm_with("deviation"),
        ),
        Mistake(
            name="variance-averaged-over-entries",
            advice="The variance is the SUM over the K entries of the gradient: the mean squared length of the error.",
            replaces=gm_with("entry"),
        ),
        Mistake(
            name="plain-value-for-best",
            advice="V, the plain mean, is not quite the best: weight also with the squared length of grad log pi.",
            replaces=bb_with(lambda p: p),
        ),
        Mistake(
            name="length-not-squared",
            advice="The weight is the SQUARED length of grad log pi.",
            replaces=bb_with(lambda p: p * np.sqrt(push_size(p))),
        ),
        Mistake(
            name="probabilities-left-out",
            advice="Both sums are weighted with the probabilities of the actions.",
            replaces=bb_with(push_size),
        ),
        Mistake(
            name="draws-summed",
            advice="The mean over the draws is asked for.",
            replaces=sg_with("sum"),
        ),
        Mistake(
            name="draws-without-baseline",
            advice="Subtract the baseline from every reward.",
            replaces=sg_with("ignored"),
        ),
        Mistake(
            name="actions-drawn-evenly",
            advice="Draw the actions from the policy, with sample_actions.",
            replaces=sg_with("uniform"),
        ),
        Mistake(
            name="nothing-drawn",
            advice="This is the exact mean; a learner only sees the actions that were drawn.",
            replaces=sg_with("expected"),
        ),
        Mistake(
            name="mean-of-the-draws-as-baseline",
            advice="The baseline is the number that is handed in. The mean of the drawn rewards depends on the draws.",
            replaces=sg_with("own-mean"),
        ),
        Mistake(
            name="own-return-included",
            advice="A sample's own return must not be in its baseline: it would take back part of its own merit.",
            replaces=loo_with(lambda g: np.full(len(g), g.mean()) if len(g) > 1 else np.zeros(1)),
            variants=(loo_with(lambda g: np.full(len(g), g.mean())),),
        ),
        Mistake(
            name="divided-by-all",
            advice="The others are n - 1: divide by their number.",
            replaces=loo_with(lambda g: (g.sum() - g) / len(g)),
        ),
        Mistake(
            name="single-sample-divided-by-zero",
            advice="A single sample has no others: its baseline is 0, not nan.",
            replaces=loo_with(lambda g: (g.sum() - g) / np.float64(len(g) - 1)),
        ),
    ),
)

# --- actor and critic ------------------------------------------------------------------------------------------------


def ac_with(
    advantage: Callable[[Array, Array], Array] = lambda v, g: g - v,
    half: float = 0.5,
    dvalues: Callable[[Array, Array, Array], Array] = lambda v, g, lp: (v - g) / len(v),
) -> dict[str, Make]:
    """`advantage(values, returns)` and `dvalues(values, returns, log_probs)`."""

    def wrong(logits: Array, values: Array, actions: Array, returns: Array) -> Any:
        v, g = floats(values), floats(returns)
        loss, dlogits = ref.reinforce_loss(logits, actions, advantage(v, g))
        return loss + half * float(np.mean((v - g) ** 2)), dlogits, dvalues(v, g, ref.log_prob(logits, actions))

    return {"actor_critic_loss": wrong}


def critic_case(batch: int, n_actions: int, far: float = 0.0) -> Draw:
    def draw(rng: Rng) -> tuple[Any, ...]:
        logits, actions = logits_case(batch, n_actions)(rng)
        returns = far + 2 * rng.normal(size=batch) + 1.5
        return logits, returns - signed(rng, batch), actions, returns

    return draw


CRITICS = [
    Case("six states, three actions", critic_case(6, 3)),
    Case("one state", critic_case(1, 2)),
    Case("returns near 10,000", critic_case(4, 3, 1e4)),
]

ACTOR_CRITIC = Exercise(
    name="actor_critic_loss",
    title="Actor and critic",
    functions=("actor_critic_loss",),
    hints=(
        "Who learns from which of the two terms?",
        "The actor's part is reinforce_loss with the advantages returns - values. The critic's gradient comes from the "
        "squared error alone.",
        "Add 0.5 * mean((values - returns)**2) to the loss of reinforce_loss; dvalues is (values - returns) / B and "
        "nothing else.",
    ),
    checks=(
        numeric("the loss", 2, "actor_critic_loss", ref.actor_critic_loss, CRITICS, pick=0, result="the loss"),
        numeric(
            "the actor's gradient", 2, "actor_critic_loss", ref.actor_critic_loss, CRITICS, pick=1, result="dlogits"
        ),
        numeric(
            "the critic's gradient", 3, "actor_critic_loss", ref.actor_critic_loss, CRITICS, pick=2, result="dvalues"
        ),
        unchanged(1, {"actor_critic_loss": critic_case(3, 2)}),
    ),
    mistakes=(
        Mistake(
            name="advantage-not-detached",
            advice="The advantage is a constant in the actor's term: no gradient of that term flows into the critic.",
            replaces=ac_with(dvalues=lambda v, g, lp: (v - g + lp) / len(v)),
            variants=(ac_with(dvalues=lambda v, g, lp: lp / len(v)),),
        ),
        Mistake(
            name="advantage-upside-down",
            advice="The advantage is returns - values: better than expected is positive.",
            replaces=ac_with(advantage=lambda v, g: v - g),
        ),
        Mistake(
            name="mean-of-the-episode-as-baseline",
            advice="The baseline is the critic's value of each state, not one mean for all: that would praise early "
            "actions for being early.",
            replaces=ac_with(advantage=lambda v, g: g - g.mean()),
        ),
        Mistake(
            name="no-baseline",
            advice="The actor learns from the advantage, returns - values, not from the returns themselves.",
            replaces=ac_with(advantage=lambda v, g: g),
        ),
        Mistake(
            name="half-forgotten",
            advice="The critic's term is one HALF of the mean squared error, and its gradient (values - returns) / B.",
            replaces=ac_with(half=1.0, dvalues=lambda v, g, lp: 2 * (v - g) / len(v)),
        ),
        Mistake(
            name="critic-the-wrong-way",
            advice="The critic's gradient is (values - returns) / B; with the other sign it learns to be wrong.",
            replaces=ac_with(dvalues=lambda v, g, lp: (g - v) / len(v)),
        ),
        Mistake(
            name="critic-not-averaged",
            advice="The squared error is a mean over the batch: its gradient carries 1/B.",
            replaces=ac_with(dvalues=lambda v, g, lp: v - g),
        ),
    ),
)

# --- generalised advantage estimation --------------------------------------------------------------------------------


def gae_with(kind: str) -> dict[str, Make]:
    def wrong(
        rewards: Array,
        values: Array,
        next_values: Array,
        terminated: Array,
        truncated: Array,
        gamma: float,
        gae_lambda: float,
    ) -> Array:
        r, v, after = floats(rewards), floats(values), floats(next_values)
        ended, cut = np.asarray(terminated, dtype=bool), np.asarray(truncated, dtype=bool)
        if kind == "next-row":
            after = np.concatenate([v[1:], after[-1:]])
        dead = {"terminal-bootstraps": 0 * ended, "limit-is-terminal": ended | cut}.get(kind, ended)
        over = {"runs-on": 0 * ended, "runs-on-after-limits": ended, "only-limits": cut}.get(kind, ended | cut)
        deltas = r + gamma * np.where(dead, 0.0, after) - (0.0 if kind == "no-value" else v)
        fade = {"no-lambda": gamma, "no-gamma": gae_lambda}.get(kind, gamma * gae_lambda)
        answer, running = np.zeros(r.shape), np.zeros(r.shape[1:])
        order = range(len(r)) if kind == "forward" else reversed(range(len(r)))
        for t in order:
            goes_on = ~np.asarray(over[t], dtype=bool)
            if kind == "forward":
                running = deltas[t] + fade * running
                answer[t] = running
                running = running * goes_on
            else:
                running = deltas[t] + fade * goes_on * running
                answer[t] = running
        return answer + v if kind == "targets" else answer

    return {"gae": wrong}


def gae_case(shape: tuple[int, ...], gamma: float, gae_lambda: float, ended: Any = (), cut: Any = ()) -> Draw:
    """`ended` and `cut` list the places where the flags are True; values do not fit the next row behind an end."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        rewards, values = rng.normal(size=shape), rng.normal(size=shape) + 2
        flags = np.zeros((2, *shape), dtype=bool)
        for flag, places in zip(flags, (ended, cut), strict=True):
            for place in places:
                flag[place] = True
        after = np.concatenate([values[1:], rng.normal(size=(1, *shape[1:])) + 2])
        after = np.where(flags.any(axis=0), rng.normal(size=shape) + 3, after)
        return rewards, values, after, flags[0], flags[1], gamma, gae_lambda

    return draw


@prop("lambda 1 is the return minus the value, lambda 0 one step's surprise", 1, "gae")
def extremes(student: Any, rng: Rng) -> None:
    rewards, values, after, ended, cut, gamma, _ = gae_case((6,), 0.9, 0.0, ended=[5])(rng)
    answers = [student.gae(rewards, values, after, ended, cut, gamma, gae_lambda) for gae_lambda in (0.0, 1.0)]
    short, long = (numbers(answer, (6,), "the advantages") for answer in answers)
    same(short, rewards + gamma * after * ~ended - values, "with gae_lambda = 0 the advantages")
    same(long, ref.returns_to_go(rewards, ended, gamma) - values, "with gae_lambda = 1 the advantages of an episode")


GAE = Exercise(
    name="gae",
    title="Generalised advantage estimation",
    functions=("gae",),
    hints=(
        "Two different questions are asked of the end of a step: is the next state worth something, and does the next "
        "row belong to the same episode?",
        "First all deltas at once, with 0 for the value of terminal states. Then backwards, as with returns, with "
        "gamma * gae_lambda in the place of gamma.",
        "np.where(terminated, 0, next_values) in delta; in the loop multiply what comes from later by 0 where "
        "terminated or truncated is True.",
    ),
    checks=(
        numeric(
            "one stretch of an episode",
            2,
            "gae",
            ref.gae,
            [
                Case("seven steps", gae_case((7,), 0.9, 0.8)),
                Case("one step", gae_case((1,), 0.9, 0.5)),
                Case("lists", lambda rng: ([1, 1, 1], [0.5, 1, 2], [1, 2, 4], [False] * 3, [False] * 3, 0.5, 0.5)),
            ],
        ),
        numeric(
            "terminal states",
            2,
            "gae",
            ref.gae,
            [Case("an end in the middle and one at the end", gae_case((8,), 0.9, 0.7, ended=[3, 7]))],
        ),
        numeric(
            "time limits",
            2,
            "gae",
            ref.gae,
            [
                Case("a cut in the middle and one at the end", gae_case((8,), 0.95, 0.6, cut=[2, 7])),
                Case("terminal at the very time limit", gae_case((6,), 0.8, 0.9, ended=[2], cut=[2, 4])),
            ],
        ),
        numeric(
            "environments side by side",
            1,
            "gae",
            ref.gae,
            [Case("five steps in three of them", gae_case((5, 3), 0.95, 0.7, ended=[(1, 0), (4, 2)], cut=[(2, 1)]))],
        ),
        extremes,
        unchanged(1, {"gae": gae_case((5,), 0.9, 0.9, ended=[2], cut=[4])}),
    ),
    mistakes=(
        Mistake(
            name="terminal-state-bootstraps",
            advice="A terminal state is worth 0, whatever next_values says about it.",
            replaces=gae_with("terminal-bootstraps"),
        ),
        Mistake(
            name="time-limit-taken-for-the-end",
            advice="A time limit only stops watching: the state that was reached keeps its value in delta.",
            replaces=gae_with("limit-is-terminal"),
        ),
        Mistake(
            name="advantages-run-into-the-next-episode",
            advice="Behind an end, by a terminal state or a time limit, the next row is another episode: A_(t+1) does "
            "not count.",
            replaces=gae_with("runs-on"),
            variants=(gae_with("runs-on-after-limits"), gae_with("only-limits")),
        ),
        Mistake(
            name="value-of-the-next-row",
            advice="Take next_values: behind an end the next row's state is another episode's beginning.",
            replaces=gae_with("next-row"),
        ),
        Mistake(
            name="lambda-forgotten",
            advice="What comes later fades by gamma * gae_lambda a step, not by gamma alone.",
            replaces=gae_with("no-lambda"),
        ),
        Mistake(
            name="gamma-forgotten-in-the-sum",
            advice="What comes later fades by gamma * gae_lambda a step, not by gae_lambda alone.",
            replaces=gae_with("no-gamma"),
        ),
        Mistake(
            name="summed-forward",
            advice="A_t counts what comes AFTER step t: go backwards.",
            replaces=gae_with("forward"),
        ),
        Mistake(
            name="value-not-subtracted",
            advice="delta is what was better than EXPECTED: subtract values.",
            replaces=gae_with("no-value"),
        ),
        Mistake(
            name="critic-targets-returned",
            advice="The advantages themselves are asked for; A + values is what the critic learns.",
            replaces=gae_with("targets"),
        ),
    ),
)

# --- normalising, entropy --------------------------------------------------------------------------------------------


def na_with(change: Callable[[Array], Array]) -> dict[str, Make]:
    def wrong(advantages: Array) -> Array:
        with np.errstate(all="ignore"):
            return change(floats(advantages))

    return {"normalize_advantages": wrong}


def eb_with(loss: Callable[[float, Array], float], grad: Callable[[Array, Array, Array], Array]) -> dict[str, Make]:
    """`loss(entropy, logits)` and `grad(p, log_p, H)` with H (B, 1)."""

    def wrong(logits: Array) -> Any:
        z = floats(logits)
        log_p, h = log_softmax(z), ref.entropy(z)[:, None]
        return loss(float(h.mean()), z), grad(np.exp(log_p), log_p, h)

    return {"entropy_bonus": wrong}


def eb_right(p: Array, log_p: Array, h: Array) -> Array:
    return -p * (log_p + h) / len(p)


def eb_unsafe(logits: Array) -> Any:
    with np.errstate(all="ignore"):
        p = softmax(logits)
        log_p = np.log(p)
        h = -(p * log_p).sum(axis=1, keepdims=True)
        return float(h.mean()), -p * (log_p + h) / len(p)


ENTROPIES = [
    Case("five states, three actions", lambda rng: (rng.normal(size=(5, 3)),)),
    Case("one state", lambda rng: (rng.normal(size=(1, 4)),)),
    Case("as many states as actions", lambda rng: (rng.normal(size=(3, 3)),)),
]

ENTROPY = Exercise(
    name="entropy",
    title="Comfortable advantages, and doubts that pay",
    functions=("normalize_advantages", "entropy_bonus"),
    hints=(
        "What is 0 times minus infinity in floating point, and what should pi log pi be for pi = 0?",
        "Take log pi from the shifted logits: it may be -20,000, but never infinite. The gradient uses each row's own "
        "entropy H.",
        "p = exp(log_p); H = -sum of p * log_p over each row; the gradient is -p * (log_p + H) / B.",
    ),
    checks=(
        numeric(
            "mean 0 and standard deviation 1",
            1,
            "normalize_advantages",
            ref.normalize_advantages,
            [
                Case("very small ones, where 1e-8 counts", lambda rng: (1e-7 * signed(rng, 6),)),
                Case("seven advantages", lambda rng: (3 * rng.normal(size=7) + 5,)),
            ],
        ),
        numeric(
            "advantages that are all equal",
            1,
            "normalize_advantages",
            ref.normalize_advantages,
            [Case("four times 3", lambda rng: ([3.0] * 4,)), Case("a single one", lambda rng: ([-2.0],))],
        ),
        numeric("the entropy", 1, "entropy_bonus", ref.mean_entropy, ENTROPIES, pick=0, result="the entropy"),
        loss_gradient("the entropy's gradient", 2, "entropy_bonus", ref.mean_entropy, ENTROPIES),
        numeric(
            "huge logits",
            1,
            "entropy_bonus",
            ref.mean_entropy,
            [Case("logits of ten thousand", lambda rng: (HUGE,))],
        ),
        numeric(
            "exact where differences are not",
            1,
            "entropy_bonus",
            ref.mean_entropy,
            [Case("logits near 100,000", lambda rng: (FAR + rng.normal(size=(4, 3)),))],
            pick=1,
            result="the gradient",
        ),
        unchanged(
            1,
            {
                "normalize_advantages": lambda rng: (signed(rng, 4),),
                "entropy_bonus": lambda rng: (rng.normal(size=(3, 2)),),
            },
        ),
    ),
    mistakes=(
        Mistake(
            name="divided-by-a-spread-of-zero",
            advice="Add 1e-8 to the standard deviation, whatever it is: equal advantages have no spread, and nearly "
            "equal ones hardly any.",
            replaces=na_with(lambda a: (a - a.mean()) / a.std()),
        ),
        Mistake(
            name="unbiased-spread",
            advice="The standard deviation is the biased one, with 1/B; the other one is nan for a single advantage.",
            replaces=na_with(lambda a: (a - a.mean()) / (a.std(ddof=1) + 1e-8)),
        ),
        Mistake(
            name="divided-by-the-variance",
            advice="Divide by the standard deviation, the root of the variance.",
            replaces=na_with(lambda a: (a - a.mean()) / (a.var() + 1e-8)),
            variants=(na_with(lambda a: (a - a.mean()) / np.sqrt(a.var() + 1e-8)),),
        ),
        Mistake(
            name="mean-not-subtracted",
            advice="Subtract the mean before dividing.",
            replaces=na_with(lambda a: a / (a.std() + 1e-8)),
        ),
        Mistake(
            name="zero-times-minus-infinity",
            advice="log(0) is minus infinity, and 0 times it is nan: take log pi from the shifted logits.",
            replaces={"entropy_bonus": eb_unsafe},
        ),
        Mistake(
            name="entropy-negative",
            advice="An entropy is never negative: it is MINUS the sum of pi log pi.",
            replaces=eb_with(lambda e, z: -e, lambda p, log_p, h: -eb_right(p, log_p, h)),
        ),
        Mistake(
            name="entropy-in-bits",
            advice="The entropy is measured in nats, with the natural logarithm.",
            replaces=eb_with(lambda e, z: e / np.log(2), lambda p, log_p, h: eb_right(p, log_p, h) / np.log(2)),
        ),
        Mistake(
            name="entropy-summed-over-the-batch",
            advice="The entropy is a mean over the batch.",
            replaces=eb_with(lambda e, z: len(z) * e, lambda p, log_p, h: len(p) * eb_right(p, log_p, h)),
        ),
        Mistake(
            name="entropy-gradient-without-h",
            advice="A common push on all logits changes nothing: the gradient contains log pi + H, so that each row "
            "sums to zero.",
            replaces=eb_with(lambda e, z: e, lambda p, log_p, h: -p * (log_p + 1) / len(p)),
            variants=(eb_with(lambda e, z: e, lambda p, log_p, h: -p * log_p / len(p)),),
        ),
        Mistake(
            name="entropy-gradient-reversed",
            advice="The gradient of the entropy has the other sign: descending -entropy is what makes it grow.",
            replaces=eb_with(lambda e, z: e, lambda p, log_p, h: -eb_right(p, log_p, h)),
        ),
    ),
)

# --- PPO -------------------------------------------------------------------------------------------------------------

RATIOS = np.array([0.4, 0.7, 0.9, 1.1, 1.3, 4.0])


def clip_case(sign: float, at: float = -1.0, eps: float = 0.2) -> Draw:
    """Ratios on both sides of both limits and between them, none at an edge; advantages of one sign, or of both."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        ratios = np.tile(RATIOS, 2) * rng.uniform(0.97, 1.03, size=12)
        advantages = rng.uniform(0.5, 2.0, size=12) * (sign or np.repeat([1.0, -1.0], 6))
        old = at - rng.uniform(0, 1, size=12)
        order = rng.permutation(12)
        return (old + np.log(ratios))[order], old[order], advantages[order], eps

    return draw


def far_ratios(rng: Rng) -> tuple[Any, ...]:
    """Ratios of e^25 and e^-25, for both signs of the advantage."""
    old, moved = np.array([-30.0, -30.0, -1.0, -1.0]), np.array([25.0, 25.0, -25.0, -25.0])
    old = old - rng.uniform(0, 1, size=4)
    return old + moved, old, rng.uniform(0.5, 2.0, size=4) * [1.0, -1.0, 1.0, -1.0]


def pc_with(
    ratio: Callable[[Array], Array] = np.exp,
    slope: Callable[[Array, Array], Array] = lambda d, r: r,
    clip: Callable[[Array, Array, float], tuple[Array, Array]] | None = None,
    sign: float = 1.0,
    count: Callable[[int], float] = float,
) -> dict[str, Make]:
    """Ratios of differences, their slope, what is clipped (objective, and where it moves), and how it is averaged."""

    def wrong(log_probs: Array, old_log_probs: Array, advantages: Array, clip_eps: float = 0.2) -> Any:
        d, A = floats(log_probs) - floats(old_log_probs), floats(advantages)
        r = ratio(d)
        gain, clipped = r * A, np.clip(r, 1 - clip_eps, 1 + clip_eps) * A
        objective, moves = clip(r, A, clip_eps) if clip else (np.minimum(gain, clipped), gain <= clipped)
        n = count(len(A))
        return -sign * float(objective.sum()) / n, np.where(moves, -sign * slope(d, r) * A, 0.0) / n

    return {"ppo_clip": wrong, "ppo_loss": ppo_loss}


def no_minimum(r: Array, A: Array, eps: float) -> tuple[Array, Array]:
    return np.clip(r, 1 - eps, 1 + eps) * A, (r > 1 - eps) & (r < 1 + eps)


def upper_only(r: Array, A: Array, eps: float) -> tuple[Array, Array]:
    return np.minimum(r, 1 + eps) * A, r < 1 + eps


def optimist(r: Array, A: Array, eps: float) -> tuple[Array, Array]:
    gain, clipped = r * A, np.clip(r, 1 - eps, 1 + eps) * A
    return np.maximum(gain, clipped), gain >= clipped


def never_flat(r: Array, A: Array, eps: float) -> tuple[Array, Array]:
    return np.minimum(r * A, np.clip(r, 1 - eps, 1 + eps) * A), np.full(r.shape, True)


def not_clipped(r: Array, A: Array, eps: float) -> tuple[Array, Array]:
    return r * A, np.full(r.shape, True)


def pc_underflow(log_probs: Array, old_log_probs: Array, advantages: Array, clip_eps: float = 0.2) -> Any:
    with np.errstate(all="ignore"):
        r, A = np.exp(floats(log_probs)) / np.exp(floats(old_log_probs)), floats(advantages)
        gain, clipped = r * A, np.clip(r, 1 - clip_eps, 1 + clip_eps) * A
        return -float(np.minimum(gain, clipped).mean()), np.where(gain <= clipped, -gain, 0.0) / len(A)


ppo_loss = ref.ppo_loss


def ppo_case(batch: int, n_actions: int, eps: float = 0.2, coef: float = 0.05, far: float = 0.0) -> Draw:
    """Old log-probabilities such that the ratios are those of `RATIOS`, each with both signs of the advantage."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        logits, actions = logits_case(batch, n_actions, 1.0, far)(rng)
        ratios = rng.permutation(np.resize(RATIOS, batch)) * rng.uniform(0.97, 1.03, size=batch)
        return logits, actions, ref.log_prob(logits, actions) - np.log(ratios), signed(rng, batch), eps, coef

    return draw


def pl_mixed(clip: float, entropy: float, dentropy: float) -> dict[str, Make]:
    """The clipped loss plus a multiple of the entropy, whose gradient may be another multiple."""

    def wrong(
        logits: Array, actions: Array, old: Array, advantages: Array, clip_eps: float = 0.2, entropy_coef: float = 0.01
    ) -> Any:
        loss, g = ref.ppo_policy_loss(logits, actions, old, advantages, clip_eps)
        bonus, dbonus = ref.mean_entropy(logits)
        return clip * loss + entropy * entropy_coef * bonus, clip * g + dentropy * entropy_coef * dbonus

    return {"ppo_loss": wrong}


def pl_all_actions(
    logits: Array, actions: Array, old: Array, advantages: Array, clip_eps: float = 0.2, entropy_coef: float = 0.01
) -> Any:
    """The gradient given to the taken action's logit only."""
    loss, dlp = ref.ppo_clip_loss(ref.log_prob(logits, actions), old, advantages, clip_eps)
    bonus, dbonus = ref.mean_entropy(logits)
    g = dlp[:, None] * one_hot(actions, dbonus.shape[1])
    return loss - entropy_coef * bonus, g - entropy_coef * dbonus


def pl_fixed(
    logits: Array, actions: Array, old: Array, advantages: Array, clip_eps: float = 0.2, entropy_coef: float = 0.01
) -> Any:
    return ref.ppo_loss(logits, actions, old, advantages)


POSITIVE = Case("advantages above zero", clip_case(1.0))
NEGATIVE = Case("advantages below zero", clip_case(-1.0))
BOTH = Case("both signs, and another clip_eps", clip_case(0.0, eps=0.15))
DEFAULT = Case("clip_eps is left out", lambda rng: clip_case(0.0)(rng)[:3])
UNLIKELY = [
    Case("log-probabilities near -10,000", clip_case(0.0, at=-1e4)),
    Case("ratios very far from 1", far_ratios),
]
WHOLE = [Case("twelve states, three actions", ppo_case(12, 3)), Case("another clip_eps", ppo_case(12, 2, 0.35, 0.3))]
WHOLE_DEFAULT = Case("clip_eps and entropy_coef are left out", lambda rng: ppo_case(12, 3)(rng)[:4])


@prop("in the first pass it is REINFORCE", 1, "ppo_loss")
def first_pass(student: Any, rng: Rng) -> None:
    """Before the first step the ratio is 1 everywhere, and nothing is clipped."""
    logits, actions, advantages = weighted_case(5, 3)(rng)
    answer = student.ppo_loss(logits, actions, ref.log_prob(logits, actions), advantages, 0.2, 0.0)
    got = numbers(items(answer, ("loss", "dlogits"))[1], (5, 3), "dlogits")
    want = ref.reinforce_loss(logits, actions, advantages)[1]
    same(got, want, "where all ratios are 1 and entropy_coef is 0, the gradient, which is that of REINFORCE,")


PPO = Exercise(
    name="ppo",
    title="PPO: not too far at once",
    functions=("ppo_clip", "ppo_loss"),
    hints=(
        "For a negative advantage, which of ratio * A and clipped * A is the smaller one, if the ratio is 2? And if it "
        "is a half?",
        "Compute both products for all samples and take np.minimum; the sign of the advantage takes care of itself. "
        "The gradient is 0 exactly where the clipped product is the smaller one.",
        "gain = ratio * A; clipped = np.clip(ratio, 1 - eps, 1 + eps) * A; the gradient is np.where(gain <= clipped, "
        "-gain, 0) / B. ppo_loss hands it to log_prob_backward and subtracts entropy_coef times the entropy's.",
    ),
    checks=(
        numeric(
            "the clipped loss",
            2,
            "ppo_clip",
            ref.ppo_clip_loss,
            [POSITIVE, NEGATIVE, BOTH, DEFAULT],
            pick=0,
            result="the loss",
        ),
        loss_gradient("the gradient for positive advantages", 2, "ppo_clip", ref.ppo_clip_loss, [POSITIVE]),
        loss_gradient("the gradient for advantages of both signs", 3, "ppo_clip", ref.ppo_clip_loss, [BOTH]),
        numeric("very unlikely actions", 1, "ppo_clip", ref.ppo_clip_loss, UNLIKELY, pick=1, result="the gradient"),
        numeric("the whole loss", 1, "ppo_loss", ref.ppo_loss, [*WHOLE, WHOLE_DEFAULT], pick=0, result="the loss"),
        loss_gradient("the whole gradient at the logits", 2, "ppo_loss", ref.ppo_loss, WHOLE),
        numeric(
            "exact far from zero",
            1,
            "ppo_loss",
            ref.ppo_loss,
            [Case("logits near 100,000", ppo_case(12, 3, far=FAR))],
            pick=1,
            result="the gradient",
        ),
        first_pass,
        unchanged(1, {"ppo_clip": clip_case(0.0), "ppo_loss": ppo_case(6, 3)}),
    ),
    mistakes=(
        Mistake(
            name="clipped-without-the-minimum",
            advice="Clipping alone forgives what was lost: take the smaller one of the clipped and the unclipped "
            "product.",
            replaces=pc_with(clip=no_minimum),
        ),
        Mistake(
            name="clipped-from-above-only",
            advice="The minimum is taken of the two PRODUCTS with the advantage. For a negative one it is the LOWER "
            "limit that counts, and a ratio that grew is not forgiven.",
            replaces=pc_with(clip=upper_only),
        ),
        Mistake(
            name="maximum-instead-of-minimum",
            advice="The pessimist takes the SMALLER product; with the larger one nothing holds the policy back.",
            replaces=pc_with(clip=optimist),
        ),
        Mistake(
            name="not-clipped-at-all",
            advice="The ratio is clipped to 1 - clip_eps and 1 + clip_eps, and the smaller product counts.",
            replaces=pc_with(clip=not_clipped),
        ),
        Mistake(
            name="gradient-never-zero",
            advice="Where the clipped product is the smaller one, the loss does not move: the gradient is 0 there.",
            replaces=pc_with(clip=never_flat),
        ),
        Mistake(
            name="difference-taken-for-the-ratio",
            advice="The difference of the logarithms is the LOGARITHM of the ratio: take its exponential.",
            replaces=pc_with(ratio=lambda d: d, slope=lambda d, r: np.ones_like(d)),
            variants=(pc_with(ratio=lambda d: d), pc_with(ratio=lambda d: 1 + d, slope=lambda d, r: np.ones_like(d))),
        ),
        Mistake(
            name="ratio-upside-down",
            advice="The ratio is new over old: exp(log_probs - old_log_probs).",
            replaces=pc_with(ratio=lambda d: np.exp(-d), slope=lambda d, r: -r),
            variants=(pc_with(ratio=lambda d: np.exp(-d)),),
        ),
        Mistake(
            name="gradient-without-the-ratio",
            advice="d ratio / d log_prob is the ratio itself: the gradient is -ratio * A / B.",
            replaces=pc_with(slope=lambda d, r: np.ones_like(r)),
        ),
        Mistake(
            name="objective-instead-of-loss",
            advice="A loss is minus what should grow: the minus is missing.",
            replaces=pc_with(sign=-1.0),
        ),
        Mistake(
            name="clipped-loss-summed",
            advice="The loss is a mean over the batch.",
            replaces=pc_with(count=lambda n: 1.0),
        ),
        Mistake(
            name="quotient-of-probabilities-that-underflow",
            advice="Probabilities may be too small to be numbers: subtract the logarithms, then take the exponential.",
            replaces={"ppo_clip": pc_underflow, "ppo_loss": ppo_loss},
        ),
        Mistake(
            name="entropy-made-smaller",
            advice="The entropy is a bonus: it is SUBTRACTED from the loss.",
            replaces=pl_mixed(1.0, 1.0, 1.0),
        ),
        Mistake(
            name="entropy-left-out",
            advice="The loss contains -entropy_coef times the entropy, and the gradient its gradient.",
            replaces=pl_mixed(1.0, 0.0, 0.0),
            variants=(pl_mixed(1.0, -1.0, 0.0),),
        ),
        Mistake(
            name="gradient-at-the-taken-action-only",
            advice="log pi depends on all logits: pass the gradient through log_prob_backward.",
            replaces={"ppo_loss": pl_all_actions},
        ),
        Mistake(
            name="arguments-not-handed-on",
            advice="Use the clip_eps and the entropy_coef that are handed in.",
            replaces={"ppo_loss": pl_fixed},
        ),
    ),
)

# --- the picture -----------------------------------------------------------------------------------------------------


def learning_curve(student: Any, seed: int, baseline: str, steps: int) -> list[float]:
    """Expected reward while a three-armed bandit with rewards near 10 is learned from 5 draws a step."""
    rng, logits, rewards, earned = np.random.default_rng(seed), np.zeros(3), np.array([9.0, 10.0, 11.0]), []
    for _ in range(steps):
        p = softmax(logits)
        earned.append(float(p @ rewards))
        b = 0.0 if baseline == "none" else float(p @ rewards)
        logits = logits + 0.15 * numbers(student.sampled_gradient(logits, rewards, b, 5, rng), (3,), "the gradient")
    return earned


def draw_picture(student: Any, figure: Any) -> None:
    """PPO's objective for both signs, what a baseline does to the variance, and what that does to learning."""
    left, middle, right = figure.subplots(1, 3)
    ratios = np.linspace(0.3, 1.9, 161) + 1e-4
    for advantage, color in ((1.0, "C0"), (-1.0, "C3")):
        answers = [items(student.ppo_clip([np.log(r)], [0.0], [advantage], 0.2), ("loss", "gradient")) for r in ratios]
        left.plot(
            ratios, [-float(loss) for loss, _ in answers], color=color, lw=2, label=f"objective, A = {advantage:+g}"
        )
        slopes = np.array([-float(numbers(g, (1,))[0]) for _, g in answers])
        left.plot(ratios, slopes, color=color, ls=":", lw=1.4, label="its slope at log pi")
    for edge in (0.8, 1.2):
        left.axvline(edge, color="0.6", lw=0.8, ls="--")
    left.set(
        title="PPO: gains are clipped,\nlosses are not",
        xlabel="new / old probability (limits dashed)",
        ylabel="objective, and its slope",
    )
    left.legend(framealpha=0.9, fontsize=8, loc="center right", bbox_to_anchor=(1.0, 0.42))
    logits, rewards = np.array([1.2, 0.0, -0.6]), np.array([11.0, 10.0, 9.0])
    grid = np.linspace(8.5, 12.5, 81)
    moments = [items(student.gradient_moments(logits, rewards, float(b)), ("mean", "variance")) for b in grid]
    middle.plot(grid, [float(v) for _, v in moments], lw=2, label="variance of one sample")
    means = np.array([numbers(m, (3,)) for m, _ in moments])
    middle.plot(grid, np.linalg.norm(means, axis=1), color="C2", lw=1.4, label="length of the mean gradient")
    value, best = float(softmax(logits) @ rewards), float(numbers(student.best_baseline(logits, rewards), ()))
    middle.axvline(value, color="k", lw=1, ls="--", label="V, the mean reward")
    middle.axvline(best, color="k", lw=1, ls=":", label="the best baseline")
    middle.set(
        title="A baseline moves the variance,\nnot the mean",
        xlabel="baseline (reward)",
        ylabel="variance; length of the gradient",
    )
    middle.legend(framealpha=0.9, fontsize=8)
    for name, color, label in (("none", "C3", "no baseline"), ("value", "C0", "baseline V")):
        curves = np.array([learning_curve(student, seed, name, 150) for seed in range(12)])
        right.plot(curves.T, color=color, lw=0.5, alpha=0.5)
        right.plot(curves.mean(axis=0), color=color, lw=2.2, label=f"{label}: mean of 12 runs")
    right.axhline(11.0, color="k", lw=0.8, ls="--", label="the best action")
    right.set(
        title="Learning a bandit\nthat pays 9, 10 or 11",
        xlabel="step (5 draws each)",
        ylabel="expected reward of the policy",
    )
    right.legend(frameon=False, fontsize=8, loc="lower right")


CHAPTER = Chapter(
    id="ch330",
    slug="policy_gradients",
    title="Policy Gradients",
    part="Advanced models",
    summary="Log-probabilities and their gradient, REINFORCE, baselines, generalised advantages, PPO's clipped "
    "objective.",
    builds_on=("ch306", "ch329"),
    exercises=(LOG_PROB, SAMPLE, WEIGHTS, RETURNS, REINFORCE, BASELINE, ACTOR_CRITIC, GAE, ENTROPY, PPO),
    picture=Picture(title="Following the reward", draw=draw_picture),
)
