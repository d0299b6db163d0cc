"""Checks of chapter 339: CartPole stage by stage, from the physics to a pole that stands for 475 steps and more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from dlreference import cartpole, mlp
from dlreference import policy as ref
from dlreference.losses import log_softmax, mse
from dlreference.optim import adam_step

from dlgrade.course.compare import below, holds, items, numbers, same
from dlgrade.course.kinds import (
    Case,
    GradientCase,
    Rng,
    case_of,
    gradient,
    loss_gradient,
    numeric,
    prop,
    training,
    unchanged,
)
from dlgrade.course.spec import Chapter, Check, Exercise, Mistake, Picture
from dlgrade.sandbox.protocol import Callback

Array = np.ndarray[Any, Any]
Params = dict[str, Array]
Data = dict[str, Array]
Make = Callable[..., Any]
Draw = Callable[[Rng], tuple[Any, ...]]
TARGET = 475
CALLS = 15_000
EPISODES = 100
ACTOR = {f"{kind}{layer}": f"{kind}{layer}" for layer in (1, 2, 3) for kind in ("W", "b")}
CRITIC = {f"{ours}{layer}": f"{kind}{layer}" for layer in (1, 2, 3) for ours, kind in (("V", "W"), ("c", "b"))}
COLUMNS = ("states", "actions", "log_probs", "rewards", "next_states", "terminated", "truncated")
# Adam divides a gradient by its own size, so the rounding of a small gradient grows: trained numbers agree to fewer
# digits than gradients do.
TRAINED: dict[str, float] = {"rtol": 1e-6, "atol": 1e-7}


def floats(x: Any) -> Array:
    return np.asarray(x, dtype=np.float64)


def fresh(rng: Rng) -> Rng:
    return np.random.default_rng(int(rng.integers(1 << 62)))


def signed(rng: Rng, count: int) -> Array:
    """Numbers of both signs, none of them near zero."""
    return rng.uniform(0.5, 2.0, size=count) * np.where(rng.permutation(count) % 2 == 0, 1.0, -1.0)


# --- environments ----------------------------------------------------------------------------------------------------


class Scrambled:
    """CartPole with the entries of a state in another order, some of them negated, and perhaps the actions swapped.

    The angle never stands in its own place, so a rule written for the plain state is of no use. As a function it takes
    observations (N, 4) and actions (N,).
    """

    def __init__(self, rng: Rng, limit: int = CALLS) -> None:
        self.order = rng.permutation(4)
        while self.order[2] == 2:
            self.order = rng.permutation(4)
        self.signs = rng.choice([-1.0, 1.0], size=4)
        self.swap = int(rng.integers(2))
        self.calls, self.limit = 0, limit

    def __call__(self, observations: Any, actions: Any) -> tuple[Array, Array, Array]:
        self.calls += 1
        if self.calls > self.limit:
            raise ValueError(f"this environment answers {self.limit:,} calls of one run, and no more")
        seen, chosen = floats(observations), np.asarray(actions)
        if seen.ndim != 2 or seen.shape[1] != 4 or chosen.shape != seen.shape[:1]:
            raise ValueError(
                f"states of shape {seen.shape} with actions of shape {chosen.shape}; (N, 4) and (N,) go in"
            )
        if not np.isin(chosen, (0, 1)).all():
            raise ValueError("an action is 0 or 1")
        states = np.empty_like(seen)
        states[:, self.order] = seen * self.signs
        after = cartpole.step(states, chosen.astype(int) ^ self.swap)
        return after.state[:, self.order] * self.signs, after.reward, after.terminated

    def starts(self, rng: Rng, n: int) -> Array:
        return cartpole.reset(rng, n)


class Recorded:
    """An environment that remembers how many copies took each step."""

    def __init__(self, inner: Make) -> None:
        self.inner, self.sizes = inner, list[int]()

    def __call__(self, states: Any, actions: Any) -> Any:
        self.sizes.append(len(states))
        return self.inner(states, actions)


def shaky(states: Any, actions: Any) -> tuple[Array, Array, Array]:
    """A world in which falling is quick: the angle grows fast, by an amount of its own in each state and action."""
    s, a = floats(states), floats(actions)
    after = np.stack(
        [s[:, 1], 0.9 * s[:, 0] + 0.3 * a - 0.1, 1.6 * s[:, 2] + 0.1 * a + 0.05, s[:, 3] - 0.2 * a], axis=1
    )
    return after, np.ones(len(s)), after[:, 2] > 0.6


def tilting(states: Any, actions: Any) -> tuple[Array, Array, Array]:
    """A world in which episodes have many different lengths, and each action leans to its own side."""
    s, a = floats(states), floats(actions)
    lean = 1.1 * s[:, 2] + 0.25 * (a - 0.5) + 0.1 * s[:, 0]
    after = np.stack([s[:, 1], s[:, 3], lean, -s[:, 0]], axis=1)
    return after, np.ones(len(s)), np.abs(lean) > 0.8


def calm(states: Any, actions: Any) -> tuple[Array, Array, Array]:
    """A world in which nothing ever falls."""
    s, a = floats(states), floats(actions)
    after = 0.8 * s[:, ::-1] + 0.5 * (a - 0.5)[:, None]
    return after, np.ones(len(s)), np.zeros(len(s), dtype=bool)


# --- stage 1: the cart and the pole ----------------------------------------------------------------------------------


def physics(states: Array, actions: Array) -> tuple[Array, Array, Array]:
    after = cartpole.step(states, actions)
    return after.state, after.reward, after.terminated


def physics_with(kind: str) -> dict[str, Make]:
    def wrong(states: Array, actions: Array) -> Any:
        s = floats(states)
        theta, theta_dot = s[:, 2], s[:, 3]
        mass, length = 1.1, 1.0 if kind == "whole-length" else 0.5
        total = 1.0 if kind == "cart-mass" else mass
        force = np.where(np.asarray(actions) == (0 if kind == "other-way" else 1), 10.0, -10.0)
        spin = 0.0 if kind == "no-spin" else 0.1 * length * theta_dot**2 * np.sin(theta)
        push = (force + spin) / total
        pull = 9.8 * np.sin(theta)
        acc = (pull - push * np.cos(theta)) / (length * (4 / 3 - 0.1 * np.cos(theta) ** 2 / total))
        x_acc = push - (0.0 if kind == "no-reaction" else 0.1 * length * acc * np.cos(theta) / total)
        rates = np.stack([s[:, 1], x_acc, theta_dot, acc], axis=1)
        after = s + 0.02 * rates
        if kind == "new-velocities":
            after[:, [0, 2]] = s[:, [0, 2]] + 0.02 * after[:, [1, 3]]
        return after, np.ones(len(s)), cartpole.is_terminal(after)

    return {"cartpole_step": wrong}


def ending_with(terminal: Callable[[Array, Array], Array], reward: float = 1.0) -> dict[str, Make]:
    """`terminal(before, after)`; `reward` is paid in terminal states."""

    def wrong(states: Array, actions: Array) -> Any:
        after = cartpole.step(states, actions).state
        over = terminal(floats(states), after)
        return after, np.where(over, reward, 1.0), over

    return {"cartpole_step": wrong}


def beyond(x_limit: float = 2.4, angle: float = cartpole.ANGLE_LIMIT, size: Callable[[Array], Array] = np.abs) -> Make:
    return lambda before, after: (size(after[:, 0]) > x_limit) | (size(after[:, 2]) > angle)


def states_case(n: int) -> Draw:
    return lambda rng: (
        rng.uniform(-1, 1, size=(n, 4)) * [2.0, 2.0, 0.2, 2.0],
        rng.permutation(np.arange(n) % 2),
    )


def edges_case(rng: Rng) -> tuple[Any, ...]:
    """Each limit from both sides, crossed outwards and inwards by this very step, and not crossed."""
    rows = []
    for sign in (1.0, -1.0):
        for place, limit in ((0, 2.4), (2, cartpole.ANGLE_LIMIT)):
            for start, speed in ((-0.01, 1.0), (0.01, -1.0), (-0.02, 0.2), (0.02, -0.2)):
                row = np.zeros(4)
                row[place], row[place + 1] = sign * (limit + start), sign * speed
                rows.append(row)
    rows += [np.array([0.0, 0.0, 0.3, 0.0]), np.array([-3.0, 0.0, 0.0, 0.0]), np.zeros(4)]
    states = np.array(rows) + rng.uniform(-1e-4, 1e-4, size=(len(rows), 4))
    # And so near that 0.2094 for the limit of the angle is not enough.
    close = np.zeros((8, 4))
    close[:4, 0] = 2.4 + np.array([-1e-5, 1e-5, -1e-5, 1e-5])
    close[4:, 2] = cartpole.ANGLE_LIMIT + np.array([-1e-5, 1e-5, -1e-5, 1e-5])
    close[2:6] *= -1
    states = np.concatenate([states, close])
    return states, rng.permutation(np.arange(len(states)) % 2)


PHYSICS = [
    Case("eleven states", states_case(11)),
    Case("one state", states_case(1)),
    Case("as many states as numbers in a state", states_case(4)),
    Case("lists", lambda rng: ([[0.0, 0.5, 0.1, -0.5], [1.0, -1.0, -0.1, 2.0]], [0, 1])),
]
EDGES = [Case("states near the limits", edges_case), Case("one state that stays", lambda rng: ([[0.0] * 4], [1]))]

STEP = Exercise(
    name="cartpole_step",
    title="Stage 1: the cart and the pole",
    functions=("cartpole_step",),
    hints=(
        "Which of the four numbers are velocities, and of what?",
        "Compute force, push and both accelerations from the OLD state. Then all four numbers move at once: the old "
        "state plus TIME_STEP times (x_dot, x'', theta_dot, theta'').",
        "np.where(actions == 1, FORCE, -FORCE); stack the four rates along axis 1; terminal is judged from the new x "
        "and the new theta, with np.abs, in radians.",
    ),
    checks=(
        numeric("where the carts are afterwards", 5, "cartpole_step", physics, PHYSICS, pick=0, result="next_states"),
        numeric("who has fallen", 3, "cartpole_step", physics, EDGES, pick=2, result="terminated"),
        numeric("every step pays 1, the last one too", 1, "cartpole_step", physics, EDGES, pick=1, result="rewards"),
        unchanged(1, {"cartpole_step": states_case(3)}),
    ),
    mistakes=(
        Mistake(
            name="moved-with-the-new-velocities",
            advice="Explicit Euler: positions move with the velocities from BEFORE the step.",
            replaces=physics_with("new-velocities"),
        ),
        Mistake(
            name="pushed-the-other-way",
            advice="Action 1 pushes to the right, with a positive force; action 0 to the left.",
            replaces=physics_with("other-way"),
        ),
        Mistake(
            name="whole-length-of-the-pole",
            advice="l is HALF_LENGTH, 0.5 m, from the foot of the pole to its centre.",
            replaces=physics_with("whole-length"),
        ),
        Mistake(
            name="pole-without-weight",
            advice="M is the mass of cart AND pole together, 1.1 kg.",
            replaces=physics_with("cart-mass"),
        ),
        Mistake(
            name="swing-forgotten",
            advice="A swinging pole pulls at the cart: the push contains m l theta_dot^2 sin theta.",
            replaces=physics_with("no-spin"),
        ),
        Mistake(
            name="reaction-forgotten",
            advice="The pole pushes back: x'' is push minus m l theta'' cos theta / M.",
            replaces=physics_with("no-reaction"),
        ),
        Mistake(
            name="radians-taken-for-degrees",
            advice="theta is in radians: the limit is ANGLE_LIMIT, about 0.21, and not 12.",
            replaces=ending_with(beyond(angle=12.0)),
        ),
        Mistake(
            name="one-side-only",
            advice="The pole can fall to both sides: compare the absolute values.",
            replaces=ending_with(beyond(size=floats)),
        ),
        Mistake(
            name="judged-before-the-step",
            advice="Whether it is over is judged from the state AFTER the step.",
            replaces=ending_with(lambda before, after: beyond()(before, before)),
        ),
        Mistake(
            name="track-without-end",
            advice="It is also over when the cart leaves the track, beyond 2.4 m on either side.",
            replaces=ending_with(beyond(x_limit=np.inf)),
        ),
        Mistake(
            name="last-step-not-paid",
            advice="The reward is 1 for every step taken, also for the one that ends it.",
            replaces=ending_with(beyond(), reward=0.0),
            variants=(ending_with(beyond(), reward=-1.0),),
        ),
    ),
)

# --- stage 2: the network --------------------------------------------------------------------------------------------


def init_with(first: float = 1.0, last: float = 0.01, value: float = 1.0, order: str = "WWWVVV", **kind: bool) -> Make:
    def made(hidden: int, rng: Any) -> Params:
        widths = {"W": (4, hidden, hidden, 2), "V": (4, hidden, hidden, 1)}
        layers = {"W": 0, "V": 0}
        params: Params = {}
        for letter in order:
            layers[letter] += 1
            layer = layers[letter]
            inputs, outputs = widths[letter][layer - 1 : layer + 1]
            small = {"W": last, "V": value}[letter] if layer == 3 else first
            std = small if kind.get("unit") else small / np.sqrt(outputs if kind.get("outputs") else inputs)
            weights = floats(rng.normal(0.0, std, size=(outputs, inputs)))
            params[f"{letter}{layer}"] = weights.T if kind.get("side") else weights
            params["bc"["WV".index(letter)] + str(layer)] = np.zeros(outputs)
        return params

    return made


init_params = init_with()


def run_forward(params: Params, states: Array) -> tuple[Array, Array, Any]:
    """Logits, values and what a backward needs, from the reference's perceptrons."""
    actor, actor_cache = mlp.forward(states, {kind: params[name] for name, kind in ACTOR.items()}, "tanh")
    critic, critic_cache = mlp.forward(states, {kind: params[name] for name, kind in CRITIC.items()}, "tanh")
    return actor, critic[:, 0], (params, actor_cache, critic_cache)


def run_backward(dlogits: Array, dvalues: Array, cache: Any) -> Params:
    params, actor_cache, critic_cache = cache
    grads: Params = {}
    for names, part, dout in ((ACTOR, actor_cache, dlogits), (CRITIC, critic_cache, floats(dvalues)[:, None])):
        found = mlp.backward(dout, part, {kind: params[name] for name, kind in names.items()})[0]
        grads |= {name: found[kind] for name, kind in names.items()}
    return grads


def drawn_params(rng: Rng, hidden: int, far: float = 0.0) -> Params:
    """Parameters none of which is zero; `far` lifts all outputs, which leaves the gradients of a net as they are."""
    params = {
        name: value + 0.5 * rng.normal(size=value.shape) for name, value in init_with(last=1.5)(hidden, rng).items()
    }
    return {**params, "b3": params["b3"] + far, "c3": params["c3"] + far}


def forward_with(kind: str) -> dict[str, Make]:
    def act(z: Array) -> Array:
        return np.maximum(z, 0.0) if kind == "relu" else np.tanh(z)

    def wrong(params: Params, states: Array) -> Any:
        p = {name: floats(value) for name, value in params.items()}
        if kind == "no-biases":
            p = {name: value if name[0] in "WV" else 0 * value for name, value in p.items()}
        x, outputs, shared = floats(states), [], None
        for w, b in (("W", "b"), ("V", "c")):
            h1 = act(x @ p[f"{w}1"].T + p[f"{b}1"])
            h = act(h1 @ p[f"{w}2"].T + p[f"{b}2"])
            h = h1 if kind == "one-layer" else h
            shared = h if shared is None else shared
            out = (shared if kind == "shared" else h) @ p[f"{w}3"].T + p[f"{b}3"]
            outputs.append(np.tanh(out) if kind == "tanh-on-top" else out)
        values = outputs[1] if kind == "column" else outputs[1][:, 0]
        return outputs[0], values, run_forward(params, states)[2]

    return {"forward": wrong, "backward": run_backward}


def net_case(batch: int, hidden: int) -> Draw:
    return lambda rng: (drawn_params(rng, hidden), rng.normal(size=(batch, 4)))


NETS = [
    Case("seven states, five hidden units", net_case(7, 5)),
    Case("one state", net_case(1, 3)),
    Case("as many hidden units as inputs", net_case(4, 4)),
]

INIT = Exercise(
    name="init_params",
    title="Stage 2: a new network",
    functions=("init_params",),
    hints=(
        "Go through the list from the top. Which shapes have the six matrices?",
        "The standard deviation is one over the root of the number of INPUTS, the last axis; W3 alone is a hundred "
        "times smaller.",
        "Draw W1 (H, 4), W2 (H, H), W3 (2, H), then V1, V2 and V3 (1, H). Biases have the length of the first axis.",
    ),
    checks=(
        numeric(
            "all parameters",
            5,
            "init_params",
            init_params,
            [Case("five hidden units", lambda rng: (5, rng)), Case("one hidden unit", lambda rng: (1, rng))],
        ),
    ),
    mistakes=(
        Mistake(
            name="policy-sure-from-the-start",
            advice="W3 is a hundred times smaller than the others: a new policy should be undecided.",
            replaces={"init_params": init_with(last=1.0)},
        ),
        Mistake(
            name="values-small-too",
            advice="Only W3 is made small, not V3.",
            replaces={"init_params": init_with(value=0.01)},
        ),
        Mistake(
            name="inputs-and-outputs-confused",
            advice="Divide by the root of the number of inputs, the last axis of a weight.",
            replaces={"init_params": init_with(outputs=True)},
        ),
        Mistake(
            name="weights-of-size-one",
            advice="Weights are scaled by the number of their inputs.",
            replaces={"init_params": init_with(unit=True)},
        ),
        Mistake(
            name="weights-lying-on-their-side",
            advice="Weights are (out, in): W1 is (H, 4), W3 is (2, H).",
            replaces={"init_params": init_with(side=True)},
        ),
        Mistake(
            name="drawn-in-another-order",
            advice="First the three matrices of the policy are drawn, then the three of the value function.",
            replaces={"init_params": init_with(order="WVWVWV")},
            variants=({"init_params": init_with(order="VVVWWW")},),
        ),
    ),
)

FORWARD = Exercise(
    name="forward",
    title="Stage 2: policy and values",
    functions=("forward",),
    hints=(
        "How many layers has each of the two networks, and which of them have a tanh?",
        "Both take the states themselves: the value function has hidden layers of its own.",
        "tanh, tanh, linear, once with W and b and once with V and c. Take [:, 0] of the second output.",
    ),
    checks=(
        numeric("the logits", 3, "forward", run_forward, NETS, pick=0, result="the table of logits", keep=(2,)),
        numeric("the values", 3, "forward", run_forward, NETS, pick=1, result="the array of values", keep=(2,)),
        unchanged(1, {"forward": net_case(3, 2)}, keep=(2,)),
    ),
    mistakes=(
        Mistake(
            name="relu-for-tanh",
            advice="The hidden layers are tanh.",
            replaces=forward_with("relu"),
        ),
        Mistake(
            name="tanh-on-the-outputs",
            advice="Logits and values may be any numbers: no tanh after the last layer.",
            replaces=forward_with("tanh-on-top"),
        ),
        Mistake(
            name="values-from-the-policys-layers",
            advice="The value function has hidden layers of its own, V1 and V2.",
            replaces=forward_with("shared"),
        ),
        Mistake(
            name="second-layer-skipped",
            advice="There are two hidden layers; yours goes from the first one to the output.",
            replaces=forward_with("one-layer"),
        ),
        Mistake(
            name="biases-forgotten",
            advice="Every layer adds its bias.",
            replaces=forward_with("no-biases"),
        ),
        Mistake(
            name="values-in-a-column",
            advice="The values are (B,): take off the axis of length 1, or differences from (B,) become (B, B).",
            replaces=forward_with("column"),
        ),
    ),
)


def backward_inputs(batch: int, hidden: int, far: float = 0.0) -> Callable[[Rng], dict[str, Any]]:
    def draw(rng: Rng) -> dict[str, Any]:
        # The cotangents of the logits, row after row, and then those of the values.
        return {
            "params": drawn_params(rng, hidden, far),
            "states": rng.normal(size=(batch, 4)),
            "dout": rng.normal(size=3 * batch),
        }

    return draw


def cotangents(i: dict[str, Any]) -> tuple[Array, Array]:
    batch = len(i["states"])
    return i["dout"][: 2 * batch].reshape(batch, 2), i["dout"][2 * batch :]


def both_outputs(student: Any, i: dict[str, Any]) -> Array:
    logits, values, _ = items(
        student.call("forward", i["params"], i["states"], keep=(2,)), ("logits", "values", "cache")
    )
    return np.concatenate([numbers(logits).ravel(), numbers(values).ravel()])


def student_grads(student: Any, i: dict[str, Any]) -> dict[str, Any]:
    answer = student.call("forward", i["params"], i["states"], keep=(2,))
    grads = student.backward(*cotangents(i), items(answer, ("logits", "values", "cache"))[2])
    holds(type(grads) is dict, "`backward` should return a dict of gradients.")
    holds(
        set(grads) == set(i["params"]),
        "the gradients should have exactly the keys of params.",
        f"Expected {sorted(i['params'])}, got {sorted(map(str, grads))}.",
    )
    return {f"params.{name}": grad for name, grad in grads.items()}


def right_grads(i: dict[str, Any]) -> dict[str, Any]:
    cache = run_forward(i["params"], i["states"])[2]
    return {f"params.{name}": grad for name, grad in run_backward(*cotangents(i), cache).items()}


def backward_check(name: str, points: int, cases: list[GradientCase]) -> Check:
    return gradient(
        name, points, ("forward", "backward"), cases, value=both_outputs, grads=student_grads, reference=right_grads
    )


@prop("the cache can be used again, and what comes in stays as it is", 1, "forward", "backward")
def cache_kept(student: Any, rng: Rng) -> None:
    i = backward_inputs(3, 4)(rng)
    want = right_grads(i)
    cache = items(student.call("forward", i["params"], i["states"], keep=(2,)), ("logits", "values", "cache"))[2]
    for turn in ("first", "second"):
        grads = student.backward(*cotangents(i), cache)
        with case_of(f"the {turn} use of one cache", student.transcript[-1][0]):
            holds(
                not {0, 1} & set(student.changed),
                "`backward` modified dlogits or dvalues in place; work on a copy or a new array.",
            )
            holds(type(grads) is dict, "`backward` should return a dict of gradients.")
            for key, right in want.items():
                name = key.removeprefix("params.")
                same(grads.get(name), right, f"the gradient of {name}")


def backward_with(kind: str) -> dict[str, Make]:
    def wrong(dlogits: Array, dvalues: Array, cache: Any) -> Params:
        params, actor_cache, critic_cache = cache
        grads: Params = {}
        for w, b, part, dz in (
            ("W", "b", actor_cache, floats(dlogits)),
            ("V", "c", critic_cache, floats(dvalues)[:, None]),
        ):
            x, h1, h2 = (layer.a_prev for layer in part.layers)
            for layer, inputs in ((3, h2), (2, h1), (1, x)):
                grads[f"{w}{layer}"], grads[f"{b}{layer}"] = dz.T @ inputs, dz.sum(axis=0)
                slope = {"no-slope": 1.0 + 0 * inputs, "h-times": inputs * (1 - inputs)}.get(kind, 1 - inputs**2)
                if kind == "one-slope" and layer == 2:
                    slope = 1.0 + 0 * inputs
                dz = (dz @ floats(params[f"{w}{layer}"])) * slope
        return changed(kind, grads, len(floats(dlogits)))

    return {"forward": run_forward, "backward": wrong}


def changed(kind: str, grads: Params, batch: int) -> Params:
    if kind == "averaged":
        return {name: grad / batch for name, grad in grads.items()}
    if kind == "sign":
        return {name: -grad for name, grad in grads.items()}
    if kind == "sampled":
        return {name: np.where(np.arange(g.size).reshape(g.shape) % 11 == 0, g, 0.0) for name, g in grads.items()}
    if kind == "critic":
        return {name: 0 * grad if name[0] in "Vc" else grad for name, grad in grads.items()}
    if kind == "renamed":
        return {f"d{name}": grad for name, grad in grads.items()}
    return grads


BACKWARD = Exercise(
    name="backward",
    title="Stage 2: all gradients",
    functions=("backward",),
    hints=(
        "The two networks share nothing but the states: their gradients do not meet.",
        "From the last layer to the first: the weight gets dz^T times the layer's input, the bias the sum of dz, and "
        "dz moves on through the weight and the slope of the tanh.",
        "dz = dlogits, or dvalues[:, None]; grads W3 = dz.T @ h2; dz = (dz @ W3) * (1 - h2**2); and so on.",
    ),
    checks=(
        backward_check(
            "the whole network's gradients, every entry",
            8,
            [
                GradientCase("seven states, five hidden units", backward_inputs(7, 5)),
                GradientCase("one state", backward_inputs(1, 3)),
                GradientCase("all sizes four", backward_inputs(4, 4)),
            ],
        ),
        backward_check("exact, not nearly", 3, [GradientCase("output biases near 10,000", backward_inputs(3, 4, 1e4))]),
        cache_kept,
    ),
    mistakes=(
        Mistake(
            name="slope-forgotten",
            advice="On the way back through a tanh everything is multiplied by its slope, 1 - h**2.",
            replaces=backward_with("no-slope"),
        ),
        Mistake(
            name="one-slope-of-two",
            advice="There are two tanh layers on the way back, and each multiplies by its own slope.",
            replaces=backward_with("one-slope"),
        ),
        Mistake(
            name="slope-of-a-sigmoid",
            advice="h * (1 - h) is the slope of a sigmoid; that of a tanh is 1 - h**2.",
            replaces=backward_with("h-times"),
        ),
        Mistake(
            name="gradients-averaged",
            advice="Gradients are sums over the batch: the 1/B is already in dlogits and dvalues.",
            replaces=backward_with("averaged"),
        ),
        Mistake(
            name="gradients-of-sampled-entries",
            advice="Most entries of your gradients are zero: every entry of every parameter needs its gradient, or "
            "most of the network never learns.",
            replaces=backward_with("sampled"),
        ),
        Mistake(
            name="critic-without-gradients",
            advice="The value function learns too: dvalues goes back through V3, V2 and V1.",
            replaces=backward_with("critic"),
        ),
        Mistake(
            name="sign-reversed",
            advice="These are the gradients with their sign reversed; Adam subtracts them by itself.",
            replaces=backward_with("sign"),
        ),
        Mistake(
            name="gradients-renamed",
            advice="A gradient has its parameter's name, W1 and not dW1: Adam pairs them by name.",
            replaces=backward_with("renamed"),
        ),
    ),
)

# --- stage 3: experience ---------------------------------------------------------------------------------------------


def rollout_with(kind: str = "") -> Make:
    def rollout(
        step: Any, params: Params, states: Array, counts: Array, n_steps: int, rng: Any, limit: int = 500
    ) -> Any:
        s, c = floats(states).copy(), np.zeros_like(counts) if kind == "counts-dropped" else np.array(counts)
        rows: list[tuple[Any, ...]] = []
        for _ in range(n_steps):
            logits = run_forward(params, s)[0]
            actions = logits.argmax(axis=1) if kind == "greedy" else ref.sample_actions(logits, rng)
            table = np.exp(log_softmax(logits)) if kind == "probabilities" else log_softmax(logits)
            asked = 1 - actions if kind == "other-action" else actions
            noted = table[np.arange(len(s)), asked]
            after, rewards, terminated = (np.asarray(part) for part in step(s, actions))
            c = c + 1
            truncated = c > limit if kind == "one-late" else c >= limit
            over = terminated | truncated
            if kind == "only-falls":
                over = terminated
            now = floats(after).copy()
            again = np.full(len(s), bool(over.any())) if kind == "all-afresh" else over
            if kind == "draws-for-all":
                now[again] = cartpole.reset(rng, len(s))[again]
            elif kind != "never-afresh":
                now[again] = cartpole.reset(rng, int(again.sum()))
            ended = terminated | truncated if kind == "limit-is-terminal" else terminated
            cut = truncated & ~terminated if kind == "either-or" else truncated
            reached = now if kind == "fresh-noted" else after
            rows.append((s, actions, noted, rewards, reached, ended, cut))
            s, c = now, c if kind == "counts-go-on" else np.where(again, 0, c)
        return dict(zip(COLUMNS, (np.stack(column) for column in zip(*rows, strict=True)), strict=True)), s, c

    return rollout


rollout = rollout_with()
Setting = tuple[str, Make, int, int, int]
SETTINGS: dict[str, Setting] = {
    "falls": ("three copies that fall often", shaky, 3, 14, 100),
    "limits": ("three copies that never fall, with a limit of 4", calm, 3, 11, 4),
    "both": ("four copies, some of which fall at the limit of 3", shaky, 4, 12, 3),
    "one": ("one copy on a cart", physics, 1, 6, 500),
}


def rollout_args(rng: Rng, copies: int, limit: int) -> tuple[Any, ...]:
    counts = np.arange(copies) % 3 if limit < 10 else 7 * np.arange(copies)
    return drawn_params(rng, 4), cartpole.reset(rng, copies), counts


def rollout_check(name: str, points: int, settings: tuple[str, ...], entries: tuple[str, ...]) -> Check:
    @prop(name, points, "rollout")
    def check(student: Any, rng: Rng) -> None:
        for reason, world, copies, n_steps, limit in (SETTINGS[s] for s in settings):
            while True:
                args, seed = rollout_args(rng, copies, limit), int(rng.integers(1 << 62))
                want = rollout(world, *args, n_steps, np.random.default_rng(seed), limit)
                fell, cut = want[0]["terminated"], want[0]["truncated"]
                if world is not shaky or ((fell & cut).any() if limit < 10 else fell.any()):
                    break
            asked = (n_steps, np.random.default_rng(seed), limit)
            answer = student.rollout(Callback(world, "step"), *args, *asked)
            with case_of(reason, student.transcript[-1][0]):
                got = items(answer, ("data", "states", "counts"))
                holds(
                    type(got[0]) is dict and set(got[0]) == set(COLUMNS),
                    f"data should be a dict with the keys {', '.join(COLUMNS)}, and no others.",
                )
                for entry in entries:
                    if entry in COLUMNS:
                        same(got[0][entry], want[0][entry], f'data["{entry}"]')
                    else:
                        at = ("data", "states", "counts").index(entry.removeprefix("final "))
                        same(got[at], want[at], f"{entry.removeprefix('final ')}, as they are afterwards,")

    return check


@prop("every copy takes every step, and nothing is changed", 2, "rollout")
def copies_step(student: Any, rng: Rng) -> None:
    world = Recorded(shaky)
    args = rollout_args(rng, 3, 100)
    student.rollout(Callback(world, "step"), *args, 9, fresh(rng), 100)
    with case_of("three copies, nine steps", student.transcript[-1][0]):
        changed = student.changed
        holds(not {1, 2, 3} & set(changed), "rollout changed the params, states or counts that it was given.")
        holds(
            world.sizes == [3] * 9,
            "step should be called once a step, with all copies together.",
            f"It was called {len(world.sizes)} times, with {world.sizes[:12]} copies.",
        )


ROLLOUT = Exercise(
    name="rollout",
    title="Stage 3: experience",
    functions=("rollout",),
    hints=(
        "When a copy falls, which two states are there at the same time, and who needs which?",
        "Write down what was reached, and let the copy go on from a fresh state: two arrays, so make a copy before you "
        "overwrite rows. A count belongs to an episode and starts anew with it.",
        "finished = terminated | truncated, with truncated = counts >= limit after counting this step. states = a copy "
        "of next_states; states[finished] = start_states(k, rng); counts[finished] = 0.",
    ),
    checks=(
        rollout_check("what was seen and done", 3, ("falls", "one"), ("states", "actions", "log_probs")),
        rollout_check("what came of it", 3, ("falls", "one"), ("rewards", "next_states", "terminated")),
        rollout_check("time limits", 3, ("limits", "both"), ("truncated", "terminated", "next_states")),
        rollout_check("where the copies are afterwards", 3, ("falls", "limits"), ("final states", "final counts")),
        copies_step,
    ),
    mistakes=(
        Mistake(
            name="fresh-state-noted-as-reached",
            advice="next_states holds the state that was REACHED; the fresh one belongs to the next episode. Make a "
            "copy before you overwrite it.",
            replaces={"rollout": rollout_with("fresh-noted")},
        ),
        Mistake(
            name="time-limit-noted-as-terminal",
            advice="A time limit is truncated, not terminated: the state that was reached is still worth something.",
            replaces={"rollout": rollout_with("limit-is-terminal")},
        ),
        Mistake(
            name="fall-hides-the-limit",
            advice="An episode that falls in its last allowed step is both terminated and truncated.",
            replaces={"rollout": rollout_with("either-or")},
        ),
        Mistake(
            name="limit-one-step-late",
            advice="The step that makes an episode `limit` steps long is the last one: counts >= limit, after counting "
            "it.",
            replaces={"rollout": rollout_with("one-late")},
        ),
        Mistake(
            name="no-fresh-start-after-a-limit",
            advice="A copy whose time is up starts afresh too, not only one that fell.",
            replaces={"rollout": rollout_with("only-falls")},
        ),
        Mistake(
            name="counts-never-start-anew",
            advice="With a fresh state the episode's count starts at 0.",
            replaces={"rollout": rollout_with("counts-go-on")},
        ),
        Mistake(
            name="counts-dropped",
            advice="The copies come in the middle of their episodes: go on counting from the counts handed in.",
            replaces={"rollout": rollout_with("counts-dropped")},
        ),
        Mistake(
            name="all-copies-afresh",
            advice="Only the copies that finished get a fresh state.",
            replaces={"rollout": rollout_with("all-afresh")},
        ),
        Mistake(
            name="never-afresh",
            advice="A copy that has finished gets a fresh state, or it lies on the ground for ever.",
            replaces={"rollout": rollout_with("never-afresh")},
        ),
        Mistake(
            name="fresh-states-drawn-for-all",
            advice="Draw fresh states for the k copies that finished only, and none if none has: start_states(k, rng).",
            replaces={"rollout": rollout_with("draws-for-all")},
        ),
        Mistake(
            name="no-exploring",
            advice="While learning, actions are DRAWN with sample_actions; the best-looking one alone teaches nothing "
            "about the other.",
            replaces={"rollout": rollout_with("greedy")},
        ),
        Mistake(
            name="probabilities-noted",
            advice="log_probs holds logarithms of probabilities.",
            replaces={"rollout": rollout_with("probabilities")},
        ),
        Mistake(
            name="log-probability-of-the-other-action",
            advice="log_probs belongs to the action that was taken.",
            replaces={"rollout": rollout_with("other-action")},
        ),
    ),
)


def advantages_and_targets(
    rewards: Array,
    values: Array,
    next_values: Array,
    terminated: Array,
    truncated: Array,
    gamma: float = 0.99,
    gae_lambda: float = 0.95,
) -> tuple[Array, Array]:
    found = ref.gae(rewards, values, next_values, terminated, truncated, gamma, gae_lambda)
    return found, found + floats(values)


def gae_with(kind: str) -> dict[str, Make]:
    def wrong(
        rewards: Array,
        values: Array,
        next_values: Array,
        terminated: Array,
        truncated: Array,
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
    ) -> Any:
        r, v, after = floats(rewards), floats(values), floats(next_values)
        ended, cut = np.asarray(terminated, dtype=bool), np.asarray(truncated, dtype=bool)
        none = np.zeros(r.shape, dtype=bool)
        if kind == "next-row":
            after = np.concatenate([v[1:], after[-1:]])
        dead = {"terminal-bootstraps": none, "limit-is-terminal": ended | cut}.get(kind, ended)
        over = {"runs-on": none, "runs-on-after-limits": ended}.get(kind, ended | cut)
        deltas = r + gamma * np.where(dead, 0.0, after) - (0.0 if kind == "no-value" else v)
        fade = {"no-lambda": gamma, "no-gamma": gae_lambda}.get(kind, gamma * gae_lambda)
        answer, running = np.zeros(r.shape), np.zeros(r.shape[1:])
        for t in range(len(r)) if kind == "forward" else reversed(range(len(r))):
            running = deltas[t] + fade * (~over[max(t - 1, 0)] if kind == "forward" else ~over[t]) * running
            answer[t] = running
        targets = {"returns": ref.gae(r, v, after, ended, cut, gamma, 1.0) + v, "minus": answer - v, "plain": answer}
        return answer, targets.get(kind, answer + v)

    return {"advantages_and_targets": wrong}


def gae_case(length: int, copies: int, ended: Any = (), cut: Any = (), *rates: float) -> Draw:
    """`ended` and `cut` list the places [t, n] where the flags are True."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        flags = np.zeros((2, length, copies), dtype=bool)
        for flag, places in zip(flags, (ended, cut), strict=True):
            for place in places:
                flag[place] = True
        values = rng.normal(size=(length, copies)) + 3
        after = np.concatenate([values[1:], rng.normal(size=(1, copies)) + 3])
        after = np.where(flags.any(axis=0), rng.normal(size=after.shape) + 6, after)
        return np.ones((length, copies)), values, after, flags[0], flags[1], *rates

    return draw


STRETCHES = [
    Case("six steps of three copies", gae_case(6, 3, (), (), 0.9, 0.8)),
    Case("one step of one copy", gae_case(1, 1, (), (), 0.9, 0.5)),
    Case("the defaults, gamma 0.99 and gae_lambda 0.95", gae_case(4, 2)),
]
ENDINGS = [
    Case("falls and limits", gae_case(7, 3, [(2, 0), (6, 1)], [(3, 2), (4, 1), (6, 0)], 0.9, 0.7)),
    Case("a fall at the very limit", gae_case(5, 2, [(2, 0)], [(2, 0), (1, 1)], 0.8, 0.9)),
]

ADVANTAGES = Exercise(
    name="advantages_and_targets",
    title="Stage 3: what was better than expected",
    functions=("advantages_and_targets",),
    hints=(
        "Two different questions: is the state that was reached worth something, and does the next row belong to the "
        "same episode?",
        "All deltas at once, with 0 for the value of terminal states only. Then backwards with one running number for "
        "each copy.",
        "np.where(terminated, 0, next_values); in the loop running = delta + gamma * gae_lambda * running, where the "
        "running number counts only if neither flag is True.",
    ),
    checks=(
        numeric(
            "advantages within an episode",
            3,
            "advantages_and_targets",
            advantages_and_targets,
            STRETCHES,
            pick=0,
            result="the table of advantages",
        ),
        numeric(
            "advantages where episodes end",
            3,
            "advantages_and_targets",
            advantages_and_targets,
            ENDINGS,
            pick=0,
            result="the table of advantages",
        ),
        numeric(
            "targets of the value function",
            2,
            "advantages_and_targets",
            advantages_and_targets,
            ENDINGS,
            pick=1,
            result="the table of targets",
        ),
        unchanged(1, {"advantages_and_targets": gae_case(4, 2, [(1, 0)], [(2, 1)])}),
    ),
    mistakes=(
        Mistake(
            name="terminal-state-bootstraps",
            advice="A terminal state is worth 0, whatever next_values says about it.",
            replaces=gae_with("terminal-bootstraps"),
        ),
        Mistake(
            name="time-limit-taken-for-the-end",
            advice="A time limit only stops watching: delta keeps the value of the state that was reached.",
            replaces=gae_with("limit-is-terminal"),
        ),
        Mistake(
            name="advantages-run-into-the-next-episode",
            advice="Behind an end, by a fall or by a limit, the next row is another episode: A_(t+1) does not count.",
            replaces=gae_with("runs-on"),
            variants=(gae_with("runs-on-after-limits"),),
        ),
        Mistake(
            name="value-of-the-next-row",
            advice="Take next_values: behind an end the next row's state is a fresh one.",
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
            name="targets-are-not-the-sum",
            advice="A target is advantage + value: what the value function should have said.",
            replaces=gae_with("minus"),
            variants=(gae_with("plain"), gae_with("returns")),
        ),
    ),
)

# --- stage 4: learning -----------------------------------------------------------------------------------------------

RATIOS = np.array([0.4, 0.7, 0.9, 1.1, 1.3, 2.0])


def ppo_loss(
    logits: Array,
    values: Array,
    actions: Array,
    old_log_probs: Array,
    advantages: Array,
    targets: Array,
    clip_eps: float = 0.2,
    value_coef: float = 0.5,
    entropy_coef: float = 0.01,
) -> tuple[float, Array, Array]:
    loss, dlogits = ref.ppo_loss(logits, actions, old_log_probs, advantages, clip_eps, entropy_coef)
    error, dvalues = mse(values, targets)
    return loss + value_coef * error, dlogits, value_coef * dvalues


def loss_with(kind: str) -> dict[str, Make]:
    def wrong(
        logits: Array,
        values: Array,
        actions: Array,
        old_log_probs: Array,
        advantages: Array,
        targets: Array,
        clip_eps: float = 0.2,
        value_coef: float = 0.5,
        entropy_coef: float = 0.01,
    ) -> Any:
        A, eps = floats(advantages), clip_eps
        d = ref.log_prob(logits, actions) - floats(old_log_probs)
        r = {"no-exp": d, "upside-down": np.exp(-d)}.get(kind, np.exp(d))
        slope = {"no-exp": np.ones_like(d), "upside-down": -r, "no-ratio": np.ones_like(d)}.get(kind, r)
        gain, clipped = r * A, np.clip(r, 1 - eps, 1 + eps) * A
        objective, moves = np.minimum(gain, clipped), gain <= clipped
        if kind == "clip-only":
            objective, moves = clipped, (r > 1 - eps) & (r < 1 + eps)
        if kind == "upper-only":
            objective, moves = np.minimum(r, 1 + eps) * A, r < 1 + eps
        if kind == "never-flat":
            moves = np.full(r.shape, True)
        sign = -1.0 if kind == "objective" else 1.0
        weights = -sign * np.where(moves, slope * A, 0.0) / len(A)
        bonus, dbonus = ref.mean_entropy(logits)
        coef = {"entropy-added": -entropy_coef, "no-entropy": 0.0}.get(kind, entropy_coef)
        error, dvalues = mse(values, targets)
        factor = {"half": 0.5, "no-coef": 1 / value_coef}.get(kind, 1.0)
        score = ref.grad_log_prob(logits, actions) * (-1.0 if kind == "p-minus" else 1.0)
        dlogits = weights[:, None] * score - (0.0 if kind == "entropy-still" else coef) * dbonus
        loss = -sign * float(objective.mean()) + factor * value_coef * error - coef * bonus
        dvalues = factor * value_coef * dvalues
        if kind == "value-half-way":
            dvalues = dvalues / 2
        if kind == "not-detached":
            dvalues = dvalues + np.where(moves, r, 0.0) / len(A)
        scale = len(A) if kind == "summed" else 1
        return scale * loss, scale * dlogits, scale * dvalues

    return {"ppo_loss": wrong}


def loss_case(batch: int, *settings: float, far: float = 0.0) -> Draw:
    """Old log-probabilities such that the ratios are those of `RATIOS`, advantages of both signs."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        logits, actions = far + rng.normal(size=(batch, 2)), rng.permutation(np.arange(batch) % 2)
        ratios = rng.permutation(np.resize(RATIOS, batch)) * rng.uniform(0.97, 1.03, size=batch)
        targets = rng.normal(size=batch)
        old = ref.log_prob(logits, actions) - np.log(ratios)
        return logits, targets + signed(rng, batch), actions, old, signed(rng, batch), targets, *settings

    return draw


LOSSES = [
    Case("twenty-four steps, with the defaults", loss_case(24)),
    Case("other coefficients", loss_case(18, 0.35, 0.7, 0.2)),
    Case("one step", loss_case(1, 0.2, 0.5, 0.1)),
]

LOSS = Exercise(
    name="ppo_loss",
    title="Stage 4: the loss of actor and critic",
    functions=("ppo_loss",),
    hints=(
        "Three terms: which of them move the logits, and which the values?",
        "Both products for all samples, then np.minimum; its gradient at log pi is zero exactly where the clipped "
        "product is the smaller one. The critic hears of the squared error only.",
        "dlog_prob = np.where(gain <= clipped, -gain, 0) / B; dlogits = dlog_prob times (onehot - p), plus "
        "entropy_coef * p * (log p + H) / B; dvalues = 2 * value_coef * (values - targets) / B.",
    ),
    checks=(
        numeric("the loss", 3, "ppo_loss", ppo_loss, LOSSES, pick=0, result="the loss"),
        loss_gradient("the actor's gradient", 5, "ppo_loss", ppo_loss, LOSSES),
        numeric("the critic's gradient", 2, "ppo_loss", ppo_loss, LOSSES, pick=2, result="dvalues"),
        numeric(
            "exact where differences lose digits",
            2,
            "ppo_loss",
            ppo_loss,
            [Case("logits near 100,000", loss_case(12, far=1e5))],
            pick=1,
            result="dlogits",
        ),
        unchanged(1, {"ppo_loss": loss_case(6)}),
    ),
    mistakes=(
        Mistake(
            name="gradient-of-log-pi-reversed",
            advice="log pi(a) has the gradient onehot(a) - p at the logits; the minus of the loss is in dlog_prob.",
            replaces=loss_with("p-minus"),
        ),
        Mistake(
            name="advantage-not-detached",
            advice="The advantages are constants: the critic learns from the squared error, not to please the actor.",
            replaces=loss_with("not-detached"),
        ),
        Mistake(
            name="clipped-without-the-minimum",
            advice="Clipping alone forgives what was lost: the smaller one of both products counts.",
            replaces=loss_with("clip-only"),
        ),
        Mistake(
            name="clipped-from-above-only",
            advice="The minimum is taken of the two PRODUCTS: for a negative advantage the lower limit is the one that "
            "counts.",
            replaces=loss_with("upper-only"),
        ),
        Mistake(
            name="gradient-never-zero",
            advice="Where the clipped product is the smaller one, the loss does not move: the gradient is 0 there.",
            replaces=loss_with("never-flat"),
        ),
        Mistake(
            name="difference-taken-for-the-ratio",
            advice="The difference of the logarithms is the LOGARITHM of the ratio: take its exponential.",
            replaces=loss_with("no-exp"),
        ),
        Mistake(
            name="ratio-upside-down",
            advice="The ratio is new over old: exp(log pi - old_log_probs).",
            replaces=loss_with("upside-down"),
        ),
        Mistake(
            name="gradient-without-the-ratio",
            advice="d ratio / d log pi is the ratio itself: the gradient at log pi is -ratio * A / B.",
            replaces=loss_with("no-ratio"),
        ),
        Mistake(
            name="objective-instead-of-loss",
            advice="A loss is made smaller: the clipped objective enters with a minus.",
            replaces=loss_with("objective"),
        ),
        Mistake(
            name="entropy-made-smaller",
            advice="The entropy is a bonus: it is SUBTRACTED from the loss.",
            replaces=loss_with("entropy-added"),
        ),
        Mistake(
            name="entropy-left-out",
            advice="The loss contains -entropy_coef times the mean entropy, and dlogits its gradient.",
            replaces=loss_with("no-entropy"),
            variants=(loss_with("entropy-still"),),
        ),
        Mistake(
            name="critic-off-by-a-factor",
            advice="value_coef stands before the plain mean of squares, whose gradient is 2 (values - targets) / B.",
            replaces=loss_with("half"),
            variants=(loss_with("no-coef"), loss_with("value-half-way")),
        ),
        Mistake(
            name="summed-over-the-batch",
            advice="All three terms are means over the batch.",
            replaces=loss_with("summed"),
        ),
    ),
)


def update_with(kind: str = "") -> Make:
    def update(
        params: Params,
        optimizer: Any,
        data: Data,
        rng: Any,
        lr: float,
        epochs: int = 6,
        batch_size: int = 256,
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
    ) -> Any:
        data = {name: np.asarray(value) for name, value in data.items()}
        length, copies = data["rewards"].shape
        total = length * copies
        axes = (1, 0) if kind == "copies-first" else (0, 1)
        flat = {
            name: value.transpose(*axes, *range(2, value.ndim)).reshape(total, *value.shape[2:])
            for name, value in data.items()
        }

        def judged(now: Params) -> tuple[Array, Array]:
            values, after = (
                run_forward(now, data[name].reshape(total, 4))[1].reshape(length, copies)
                for name in ("states", "next_states")
            )
            ended, cut = data["terminated"], data["truncated"]
            if kind == "limit-is-terminal":
                ended = ended | cut
            if kind == "next-row":
                after = np.concatenate([values[1:], after[-1:]])
            found = advantages_and_targets(data["rewards"], values, after, ended, cut, gamma, gae_lambda)
            return found[0].transpose(axes).ravel(), found[1].transpose(axes).ravel()

        memory: Any = {} if kind == "fresh-adam" else optimizer
        advantages, targets = judged(params)
        old = flat["log_probs"]
        if kind == "normalised-once":
            advantages = ref.normalize_advantages(advantages)
        for _ in range(epochs):
            order = np.arange(total) if kind == "not-shuffled" else rng.permutation(total)
            stop = total - total % batch_size if kind == "last-dropped" else total
            for start in range(0, stop, batch_size):
                batch = order[start : start + batch_size]
                if kind == "renewed":
                    advantages, targets = judged(params)
                a = advantages[batch]
                with np.errstate(all="ignore"):
                    normal = (a - a.mean()) / a.std() if kind == "no-eps" else ref.normalize_advantages(a)
                if kind in ("raw", "normalised-once"):
                    normal = a
                logits, values, cache = run_forward(params, flat["states"][batch])
                noted = ref.log_prob(logits, flat["actions"][batch]) if kind == "old-forgotten" else old[batch]
                _, dlogits, dvalues = ppo_loss(logits, values, flat["actions"][batch], noted, normal, targets[batch])
                params, memory = adam_step(params, run_backward(dlogits, dvalues, cache), memory, lr)
        return params, memory

    return update


ppo_update = update_with()


def drawn_data(rng: Rng, length: int, copies: int, limit: int) -> tuple[Params, Data]:
    """A rollout of a policy, and the parameters of another one not far away: ratios on both sides of the limits."""
    old = drawn_params(rng, 4)
    data, _, _ = rollout(shaky, old, cartpole.reset(rng, copies) * 3, np.zeros(copies, dtype=int), length, rng, limit)
    return {name: value + 0.3 * rng.normal(size=value.shape) for name, value in old.items()}, data


def update_args(rng: Rng) -> tuple[Any, ...]:
    params, data = drawn_data(rng, 4, 2, 3)
    return params, {}, data, fresh(rng), 0.01


def update_check(name: str, points: int, reason: str, sizes: tuple[int, int, int], **options: Any) -> Check:
    @prop(name, points, "ppo_update")
    def check(student: Any, rng: Rng) -> None:
        length, copies, limit = sizes
        params, data = drawn_data(rng, length, copies, limit)
        want, memory = params, dict[str, Any]()
        state: Any = {}
        for number in (1, 2):
            seed = int(rng.integers(1 << 62))
            want, memory = ppo_update(want, memory, data, np.random.default_rng(seed), 0.02, **options)
            answer = student.call(
                "ppo_update", params, state, data, np.random.default_rng(seed), 0.02, keep=(1,), **options
            )
            with case_of(f"{reason}, call {number}", student.transcript[-1][0]):
                params, state = items(answer, ("params", "optimizer"))
                same(params, want, "params", **TRAINED)

    return check


UPDATE = Exercise(
    name="ppo_update",
    title="Stage 4: learning from a rollout",
    functions=("ppo_update",),
    hints=(
        "What is computed once, what once an epoch, and what for every piece?",
        "Once: values, advantages, targets. Once an epoch: an order. For every piece: normalised advantages, forward, "
        "loss, backward, Adam.",
        "Reshape states to (T * N, 4) for forward and its values back to (T, N). Keep data's log_probs as the old ones "
        "for all epochs, and hand Adam's memory from piece to piece.",
    ),
    checks=(
        update_check("one epoch, one piece", 3, "six steps of three copies", (6, 3, 100), epochs=1, batch_size=18),
        update_check(
            "epochs, orders and pieces",
            4,
            "three epochs, pieces of 5, the last one shorter",
            (6, 2, 4),
            epochs=3,
            batch_size=5,
        ),
        update_check(
            "a piece of one step, another gamma and lambda",
            2,
            "pieces of 7 and of 1, gamma 0.9, gae_lambda 0.7",
            (4, 2, 3),
            epochs=2,
            batch_size=7,
            gamma=0.9,
            gae_lambda=0.7,
        ),
        unchanged(
            1,
            {"ppo_update": update_args},
            keep=(1,),
        ),
    ),
    mistakes=(
        Mistake(
            name="advantages-renewed-while-learning",
            advice="Advantages and targets are computed ONCE, from the value function that came in: renewed in every "
            "piece they chase a critic that has already seen them.",
            replaces={"ppo_update": update_with("renewed")},
        ),
        Mistake(
            name="old-policy-forgotten",
            advice="The ratio compares with the log_probs that the rollout wrote down; recomputed ones make it 1 "
            "always, and nothing is ever clipped.",
            replaces={"ppo_update": update_with("old-forgotten")},
        ),
        Mistake(
            name="advantages-not-normalised",
            advice="Each piece's advantages are normalised to mean 0 and standard deviation 1.",
            replaces={"ppo_update": update_with("raw")},
        ),
        Mistake(
            name="normalised-all-at-once",
            advice="Advantages are normalised within each piece, not over the whole rollout.",
            replaces={"ppo_update": update_with("normalised-once")},
        ),
        Mistake(
            name="spread-of-one-step",
            advice="A piece of one step has a standard deviation of 0: the 1e-8 keeps nan away.",
            replaces={"ppo_update": update_with("no-eps")},
        ),
        Mistake(
            name="time-limit-ends-the-future",
            advice="Hand terminated and truncated on as they are: a time limit is not terminal.",
            replaces={"ppo_update": update_with("limit-is-terminal")},
        ),
        Mistake(
            name="next-rows-value-in-the-update",
            advice="next_values are the values of data's next_states; the next row's state may be a fresh one.",
            replaces={"ppo_update": update_with("next-row")},
        ),
        Mistake(
            name="order-not-drawn",
            advice="Each epoch draws a new order with rng.permutation.",
            replaces={"ppo_update": update_with("not-shuffled")},
        ),
        Mistake(
            name="short-piece-dropped",
            advice="The last piece of an epoch may be shorter, and is learned from all the same.",
            replaces={"ppo_update": update_with("last-dropped")},
        ),
        Mistake(
            name="numbered-copy-by-copy",
            advice="The steps are numbered row by row, t * N + n: reshape (T, N) without transposing.",
            replaces={"ppo_update": update_with("copies-first")},
        ),
        Mistake(
            name="adam-starts-anew",
            advice="Adam's memory goes on from call to call: use the optimizer that was handed in.",
            replaces={"ppo_update": update_with("fresh-adam")},
        ),
    ),
)

# --- stage 5: evaluation ---------------------------------------------------------------------------------------------


def greedy_actions(params: Params, states: Array) -> Array:
    return run_forward(params, states)[0].argmax(axis=1)


def evaluate_with(kind: str = "") -> Make:
    def evaluate(step: Any, params: Params, starts: Array, limit: int = 500, rng: Any = None) -> Array:
        states = floats(starts).copy()
        lengths, playing = np.zeros(len(states), dtype=np.int64), np.arange(len(states))
        fallen = np.zeros(len(states), dtype=bool)
        for _ in range(limit + (kind == "one-more")):
            here = states[playing]
            drawn = rng is not None and kind != "always-greedy"
            actions = ref.sample_actions(run_forward(params, here)[0], rng) if drawn else greedy_actions(params, here)
            after, _, over = (np.asarray(part) for part in step(here, actions))
            states[playing] = after
            if kind == "last-not-counted":
                lengths[playing] += ~over
            else:
                lengths[playing] += 1
            if kind == "all-go-on":
                fallen |= over
            else:
                playing = playing[~over]
            if kind == "first-fall-ends" and over.any():
                break
            if not len(playing) or fallen.all():
                break
        return lengths

    return evaluate


evaluate = evaluate_with()


HORIZON = 15


def unequal(rng: Rng, drawn: bool, copies: int = 24) -> tuple[Params, Array, int]:
    """A policy, starts and a seed for which the episodes differ in length, some reach the limit, and chance matters."""
    while True:
        params, starts, seed = drawn_params(rng, 4), 10 * cartpole.reset(rng, copies), int(rng.integers(1 << 62))
        lengths = evaluate(tilting, params, starts, HORIZON, np.random.default_rng(seed) if drawn else None)
        other = evaluate(tilting, params, starts, HORIZON, None if drawn else np.random.default_rng(seed))
        opposite = evaluate(tilting, {**params, "W3": -params["W3"], "b3": -params["b3"]}, starts, HORIZON)
        spread = min(len(set(found.tolist())) for found in (lengths, opposite)) > 4 and (lengths == HORIZON).any()
        if (copies == 1 or spread) and (lengths != other).any():
            return params, starts, seed


def evaluate_check(name: str, points: int, drawn: bool) -> Check:
    @prop(name, points, "evaluate")
    def check(student: Any, rng: Rng) -> None:
        for copies, reason in ((24, "24 episodes"), (1, "one episode")):
            params, starts, seed = unequal(rng, drawn, copies)
            chance = {"rng": np.random.default_rng(seed)} if drawn else {}
            want = evaluate(tilting, params, starts, HORIZON, np.random.default_rng(seed) if drawn else None)
            got = student.evaluate(Callback(tilting, "step"), params, starts, HORIZON, **chance)
            with case_of(reason, student.transcript[-1][0]):
                same(got, want, "the lengths")

    return check


@prop("who has fallen takes no more steps", 1, "evaluate")
def fallen_rest(student: Any, rng: Rng) -> None:
    params, starts, _ = unequal(rng, False)
    right, world = Recorded(tilting), Recorded(tilting)
    evaluate(right, params, starts, HORIZON)
    student.evaluate(Callback(world, "step"), params, starts, HORIZON)
    with case_of("24 episodes of different length", student.transcript[-1][0]):
        holds(not {1, 2} & set(student.changed), "evaluate changed the params or the starts that it was given.")
        holds(
            world.sizes == right.sizes,
            "step should be called with the copies that are still playing, until none is left.",
            f"Expected calls with {right.sizes} copies, got {world.sizes[:12]}.",
        )


def balanced_net(batch: int) -> Draw:
    """A policy that finds each action the better one in about half of the states."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        while True:
            params, states = net_case(batch, 5)(rng)
            if batch == 1:
                return params, states
            lead = np.sort(np.diff(run_forward(params, states)[0], axis=1)[:, 0])
            below, above = lead[batch // 2 - 1 : batch // 2 + 1]
            # Well between two states: where both logits were equal but for rounding, either action would be right.
            if above - below > 1e-3:
                return {**params, "b3": params["b3"] - [0.0, (below + above) / 2]}, states

    return draw


EVALUATE = Exercise(
    name="evaluate",
    title="Stage 5: an honest evaluation",
    functions=("greedy_actions", "evaluate"),
    hints=(
        "Which copies may still take a step, and how do you find their places again?",
        "Keep the indices of those that are playing: states[playing] go into step, and what comes back is written to "
        "the same places.",
        "lengths[playing] += 1, then playing = playing[~terminated]; stop when it is empty or after `limit` steps. The "
        "greedy action is np.argmax of the logits along axis 1.",
    ),
    checks=(
        numeric(
            "the more probable action",
            2,
            "greedy_actions",
            greedy_actions,
            [
                Case("nine states", balanced_net(9)),
                Case("one state", balanced_net(1)),
                Case(
                    "equal logits",
                    lambda rng: (
                        {**drawn_params(rng, 3), "W3": np.zeros((2, 3)), "b3": np.ones(2)},
                        rng.normal(size=(3, 4)),
                    ),
                ),
            ],
        ),
        evaluate_check("greedy episodes", 3, False),
        evaluate_check("episodes with drawn actions", 2, True),
        fallen_rest,
    ),
    mistakes=(
        Mistake(
            name="less-probable-action",
            advice="The action with the LARGER logit is the greedy one.",
            replaces={"greedy_actions": lambda params, states: run_forward(params, states)[0].argmin(axis=1)},
        ),
        Mistake(
            name="best-state-of-each-action",
            advice="Take the argmax over the actions, axis 1, for each state.",
            replaces={"greedy_actions": lambda params, states: run_forward(params, states)[0].argmax(axis=0)},
        ),
        Mistake(
            name="last-of-equals",
            advice="If both logits are equal, it is action 0.",
            replaces={
                "greedy_actions": lambda params, states: (lambda z: z[:, 1] >= z[:, 0])(
                    run_forward(params, states)[0]
                ).astype(int)
            },
        ),
        Mistake(
            name="rng-not-used",
            advice="With an rng the actions are drawn with sample_actions.",
            replaces={"evaluate": evaluate_with("always-greedy")},
        ),
        Mistake(
            name="last-step-not-counted",
            advice="The step in which the pole falls was taken too, and counts.",
            replaces={"evaluate": evaluate_with("last-not-counted")},
        ),
        Mistake(
            name="one-step-beyond-the-limit",
            advice="After `limit` steps it is over.",
            replaces={"evaluate": evaluate_with("one-more")},
        ),
        Mistake(
            name="stopped-at-the-first-fall",
            advice="Each episode has its own end: the others play on when one falls.",
            replaces={"evaluate": evaluate_with("first-fall-ends")},
        ),
        Mistake(
            name="fallen-copies-play-on",
            advice="A copy that has fallen is out: it takes no further steps, and its length stays.",
            replaces={"evaluate": evaluate_with("all-go-on")},
        ),
    ),
)

# --- stage 6: training -----------------------------------------------------------------------------------------------


def train_with(kind: str = "") -> Make:
    def train(
        step: Any,
        rng: Any,
        updates: int = 80,
        copies: int = 32,
        n_steps: int = 32,
        hidden: int = 64,
        lr: float = 0.002,
        check_every: int = 10,
        check_episodes: int = 20,
        limit: int = 500,
    ) -> Any:
        params, memory = init_params(hidden, rng), dict[str, Any]()
        states, counts = cartpole.reset(rng, copies), np.zeros(copies, dtype=np.int64)
        best, means = params, list[float]()
        for u in range(updates):
            if kind == "starts-anew" and u:
                states, counts = cartpole.reset(rng, copies), np.zeros(copies, dtype=np.int64)
            data, states, counts = rollout(step, params, states, counts, n_steps, rng, limit)
            rate = lr if kind == "constant" else lr * (1 - u / updates)
            params, memory = ppo_update(params, {} if kind == "fresh-adam" else memory, data, rng, rate)
            if (u + 1) % check_every == 0:
                chance = rng if kind == "drawn-checks" else None
                means.append(float(evaluate(step, params, cartpole.reset(rng, check_episodes), limit, chance).mean()))
                better = means[-1] > max([0.0, *means[:-1]]) if kind == "first-best" else means[-1] >= max(means)
                if better or kind == "last":
                    best = params
                needed = 1 if kind == "one-check" else 3
                if kind != "no-stop" and len(means) >= needed and min(means[-needed:]) == limit:
                    break
        return best if means else params, np.array(means)

    return train


SHORT: dict[str, Any] = {"copies": 3, "n_steps": 6, "hidden": 4, "lr": 0.05, "check_episodes": 3}


def short_run(student: Any, rng: Rng, reason: str, wanted: Callable[[Array], bool], **options: Any) -> None:
    """A short run whose means are of the kind that is wanted."""
    while True:
        world, seed = Scrambled(rng), int(rng.integers(1 << 62))
        want = train_with()(world, np.random.default_rng(seed), **SHORT, **options)
        if wanted(want[1]):
            break
    world.calls = 0
    answer = student.train(Callback(world, "step"), np.random.default_rng(seed), **SHORT, **options)
    with case_of(reason, student.transcript[-1][0]):
        params, means = items(answer, ("params", "means"))
        same(means, want[1], "means", **TRAINED)
        same(params, want[0], "params", **TRAINED)


@prop("the best of several checks", 3, "train")
def best_kept(student: Any, rng: Rng) -> None:
    def best_in_the_middle(means: Array) -> bool:
        return bool(np.max(means) > means[-1])

    short_run(
        student, rng, "six updates, a check after every second", best_in_the_middle, updates=6, check_every=2, limit=60
    )


@prop("three perfect checks are enough, the last one counts", 2, "train")
def stops_early(student: Any, rng: Rng) -> None:
    short_run(
        student, rng, "a limit that nobody misses", lambda means: len(means) == 3, updates=5, check_every=1, limit=4
    )


@prop("no check at all", 1, "train")
def no_check(student: Any, rng: Rng) -> None:
    short_run(
        student, rng, "two updates, checks after every third", lambda means: True, updates=2, check_every=3, limit=30
    )


def judged(student: Any, rng: Rng) -> float:
    """The mean length of 100 greedy episodes from fresh starts, counted here, in the world the student trained in."""
    world = Scrambled(rng)
    answer = student.call("train", Callback(world, "step"), fresh(rng), keep=(0,))
    params = items(answer, ("params", "means"))[0]
    states, playing, steps = world.starts(rng, EPISODES), np.arange(EPISODES), 0
    world.calls = 0
    for _ in range(cartpole.MAX_STEPS):
        actions = numbers(student.greedy_actions(params, states[playing]), playing.shape, "the greedy actions")
        holds(bool(np.isin(actions, (0, 1)).all()), "`greedy_actions` should return nothing but 0 and 1.")
        states[playing], _, over = world(states[playing], actions)
        steps += len(playing)
        playing = playing[~over]
        if not len(playing):
            break
    return steps / EPISODES


@training("at least 475 steps on average, from fresh starts", 6, "train", "greedy_actions", cpu_s=40.0)
def reaches_target(student: Any, rng: Rng) -> None:
    # docs/projects.md has the 20 seeds.
    mean = judged(student, rng)
    below(
        cartpole.MAX_STEPS - mean,
        cartpole.MAX_STEPS - TARGET,
        f"the trained policy should keep the pole up for at least {TARGET} steps on average, of {cartpole.MAX_STEPS}.",
        f"Over {EPISODES} greedy episodes from fresh starts it lasts {mean:.1f} steps on average.",
    )


TRAIN = Exercise(
    name="train",
    title="Stage 6: the training run",
    functions=("train",),
    hints=(
        "Everything is there: rollout, update, and now and then a check. What must go on from one round to the next?",
        "States, counts, parameters and Adam's memory all go on. Only the learning rate falls, and the checks begin "
        "from fresh starts.",
        "After a check: if its mean is at least as large as all before, keep these parameters; if the last three means "
        "are all the limit, stop.",
    ),
    checks=(best_kept, stops_early, no_check, reaches_target),
    mistakes=(
        Mistake(
            name="rate-does-not-fall",
            advice="The rate of update u is lr * (1 - u / updates).",
            replaces={"train": train_with("constant")},
        ),
        Mistake(
            name="adam-without-memory",
            advice="One optimizer serves the whole run: hand on what the last update returned.",
            replaces={"train": train_with("fresh-adam")},
        ),
        Mistake(
            name="episodes-cut-off-between-updates",
            advice="A rollout goes on where the last one stopped: keep states and counts.",
            replaces={"train": train_with("starts-anew")},
        ),
        Mistake(
            name="last-instead-of-best",
            advice="PPO dips on its way: return the parameters of the best check, not the last ones.",
            replaces={"train": train_with("last")},
        ),
        Mistake(
            name="first-of-equally-good-checks",
            advice="Of equally good checks the LATEST counts.",
            replaces={"train": train_with("first-best")},
        ),
        Mistake(
            name="one-perfect-check-is-enough",
            advice="One perfect check may be luck: stop after three in a row.",
            replaces={"train": train_with("one-check")},
        ),
        Mistake(
            name="never-stopped",
            advice="After three perfect checks in a row the run is over.",
            replaces={"train": train_with("no-stop")},
        ),
        Mistake(
            name="checked-with-drawn-actions",
            advice="The checks are greedy: no rng for evaluate.",
            replaces={"train": train_with("drawn-checks")},
        ),
    ),
)

# --- the picture -----------------------------------------------------------------------------------------------------


def draw_picture(student: Any, figure: Any) -> None:
    """How the checks went, which way the policy pushes, and one episode of it."""
    left, middle, right = figure.subplots(1, 3)
    student.cpu_s = 40.0
    params, means = items(student.train(Callback(physics, "step"), np.random.default_rng(339)), ("params", "means"))
    means = numbers(means)
    left.plot(10 * np.arange(1, len(means) + 1), means, "o-", label="mean of 20 greedy episodes")
    left.axhline(TARGET, color="k", lw=0.8, ls="--", label=f"the target, {TARGET}")
    left.axhline(22, color="0.5", lw=0.8, ls=":", label="pushing at random, 22")
    left.set(title="Training", xlabel="update (1,024 steps each)", ylabel="length of an episode (steps)", ylim=(0, 520))
    left.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1.0, 0.06))
    angles, speeds = np.meshgrid(np.linspace(-12, 12, 49), np.linspace(-2, 2, 49))
    grid = np.zeros((angles.size, 4))
    grid[:, 2], grid[:, 3] = np.radians(angles.ravel()), speeds.ravel()
    answer = student.call("forward", params, grid, keep=(2,))
    logits = numbers(items(answer, ("logits", "values", "cache"))[0], (len(grid), 2), "logits")
    chance = np.exp(log_softmax(logits))[:, 1].reshape(angles.shape)
    image = middle.pcolormesh(angles, speeds, chance, cmap="coolwarm", vmin=0, vmax=1, shading="nearest")
    line = np.linspace(-12, 12, 2)
    middle.plot(line, -np.radians(line) / 0.3, "k--", lw=1.2, label="the rule by hand:\ntheta + 0.3 theta_dot = 0")
    middle.set(
        title="Which way it pushes",
        xlabel="angle (degrees), cart at rest",
        ylabel="angular velocity (rad/s)",
        ylim=(-2, 2),
    )
    middle.legend(fontsize=8, loc="upper right")
    figure.colorbar(image, ax=middle, label="probability of pushing right", shrink=0.8)
    state, track = np.array([[0.03, 0.0, 0.04, 0.0]]), []
    for _ in range(cartpole.MAX_STEPS):
        track.append(state[0])
        state, _, over = physics(state, numbers(student.greedy_actions(params, state), (1,), "the greedy action"))
        if over[0]:
            break
    seconds, walked = 0.02 * np.arange(len(track)), np.array(track)
    right.plot(seconds, np.degrees(walked[:, 2]), lw=1.2, label="angle of the pole (degrees)")
    right.plot(seconds, 10 * walked[:, 0], lw=1.2, label="place of the cart (decimetres)")
    right.axhline(0, color="k", lw=0.6)
    right.set(title=f"One episode: {len(track)} steps", xlabel="time (s)", ylabel="degrees; decimetres")
    right.legend(fontsize=8)


CHAPTER = Chapter(
    id="ch339",
    slug="project_cartpole",
    title="Project: Reinforcement Learning — CartPole",
    part="Projects",
    summary="CartPole from the physics to evaluation: parallel copies, policy and value networks with every gradient "
    "by formula, generalised advantages, PPO, and a pole that stands for 475 steps and more.",
    builds_on=("ch306", "ch312", "ch329", "ch330"),
    exercises=(STEP, INIT, FORWARD, BACKWARD, ROLLOUT, ADVANTAGES, LOSS, UPDATE, EVALUATE, TRAIN),
    picture=Picture(title="A pole that stands", draw=draw_picture),
)
