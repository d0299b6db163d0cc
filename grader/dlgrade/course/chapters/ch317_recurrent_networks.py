"""Checks of chapter 317: a recurrent network, back-propagation through time, why gradients fade, and a delay task."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from dlreference import rnn as ref
from dlreference.optim import clip_global_norm
from dlreference.recurrent import RECURRENT_KEYS

from dlgrade.course.compare import below, entry, holds, items, numbers, same
from dlgrade.course.kinds import Case, GradientCase, Rng, case_of, gradient, numeric, prop, training, unchanged
from dlgrade.course.spec import Chapter, Check, Exercise, Mistake, Picture

Array = np.ndarray[Any, Any]
Params = dict[str, Array]
Draw = Callable[[Rng], tuple[Any, ...]]

PARAM_KEYS = (*RECURRENT_KEYS, "W_hy", "b_hy")


def floats(*arrays: Any) -> tuple[Array, ...]:
    return tuple(np.asarray(a, dtype=np.float64) for a in arrays)


def as_params(params: dict[str, Any]) -> Params:
    return {name: np.asarray(value, dtype=np.float64) for name, value in params.items()}


def draw_params(rng: Rng, d: int, hidden: int, out: int, gain: float = 1.0) -> Params:
    """Parameters with no zero bias and no symmetric matrix; `gain` scales the recurrent matrix."""
    return {
        "W_ih": rng.normal(size=(hidden, d)) / np.sqrt(d),
        "W_hh": gain * rng.normal(size=(hidden, hidden)) / np.sqrt(hidden),
        "b_ih": 0.3 * rng.normal(size=hidden),
        "b_hh": 0.3 * rng.normal(size=hidden),
        "W_hy": rng.normal(size=(out, hidden)) / np.sqrt(hidden),
        "b_hy": 0.3 * rng.normal(size=out),
    }


# --- one step --------------------------------------------------------------------------------------------------------


def step_case(batch: int, d: int, hidden: int, scale: float = 1.0) -> Draw:
    return lambda rng: (
        scale * rng.normal(size=(batch, d)),
        rng.uniform(-1, 1, size=(batch, hidden)),
        draw_params(rng, d, hidden, 2),
    )


def listed(draw: Draw) -> Draw:
    """The same with lists for all arrays."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(item) for name, item in value.items()}
        return value.tolist() if isinstance(value, np.ndarray) else value

    return lambda rng: tuple(plain(value) for value in draw(rng))


def step_changed(**changes: Callable[[Array], Any]) -> Callable[..., Array]:
    """A step with some parameters changed first."""

    def step(x: Any, h: Any, params: Any) -> Array:
        new = as_params(params)
        return ref.rnn_step(x, h, new | {name: change(new[name]) for name, change in changes.items()})

    return step


def step_with(function: Callable[[Array], Array]) -> Callable[..., Array]:
    def step(x: Any, h: Any, params: Any) -> Array:
        p = as_params(params)
        x, h = floats(x, h)
        return function(x @ p["W_ih"].T + p["b_ih"] + h @ p["W_hh"].T + p["b_hh"])

    return step


def step_inside_only(x: Any, h: Any, params: Any) -> Array:
    p = as_params(params)
    x, h = floats(x, h)
    return np.tanh(x @ p["W_ih"].T + p["b_ih"]) + h @ p["W_hh"].T + p["b_hh"]


STEP = Exercise(
    name="rnn_step",
    title="One step of a recurrent network",
    functions=("rnn_step",),
    hints=(
        "Two linear layers meet in one sum: one reads the input, the other the old state.",
        "Weights are (out, in). Check the shapes of x @ W_ih.T and of h @ W_hh.T: both must be (B, H).",
        "Add the two products and both biases, and take the tanh of the whole sum once.",
    ),
    checks=(
        numeric(
            "the new state",
            5,
            "rnn_step",
            ref.rnn_step,
            [
                Case("five samples, three inputs, four units", step_case(5, 3, 4)),
                Case("as many inputs as units, where a transposed matrix fits", step_case(2, 3, 3)),
                Case("a batch of one, a single unit", step_case(1, 2, 1)),
            ],
        ),
        numeric(
            "large inputs, lists and float32",
            2,
            "rnn_step",
            ref.rnn_step,
            [
                Case("inputs of a thousand", step_case(3, 2, 4, 1e3)),
                Case(
                    "lists", lambda rng: (*(a.tolist() for a in step_case(2, 3, 2)(rng)[:2]), draw_params(rng, 3, 2, 1))
                ),
                Case(
                    "float32 arrays",
                    lambda rng: (
                        *(a.astype(np.float32) for a in step_case(2, 3, 2)(rng)[:2]),
                        draw_params(rng, 3, 2, 1),
                    ),
                ),
            ],
        ),
        unchanged(1, {"rnn_step": step_case(2, 3, 2)}),
    ),
    mistakes=(
        Mistake(
            name="second-bias-forgotten",
            advice="There are two biases, b_ih and b_hh, and both belong in the sum.",
            replaces={"rnn_step": step_changed(b_hh=np.zeros_like)},
            variants=({"rnn_step": step_changed(b_ih=np.zeros_like)},),
        ),
        Mistake(
            name="recurrent-matrix-not-transposed",
            advice="W_hh is (out, in) like every weight: h @ W_hh.T. It is square, so the other way round fits as well "
            "and is wrong.",
            replaces={"rnn_step": step_changed(W_hh=np.transpose)},
        ),
        Mistake(
            name="old-state-not-used",
            advice="Without h W_hh^T the network has no memory.",
            replaces={"rnn_step": step_changed(W_hh=np.zeros_like)},
        ),
        Mistake(
            name="tanh-missing",
            advice="The sum goes through a tanh; without it the states grow without limit.",
            replaces={"rnn_step": step_with(lambda a: a)},
        ),
        Mistake(
            name="sigmoid-instead-of-tanh",
            advice="The state runs from -1 to 1: the function is tanh, not the sigmoid.",
            replaces={"rnn_step": step_with(lambda a: 0.5 + 0.5 * np.tanh(0.5 * a))},
        ),
        Mistake(
            name="tanh-of-the-input-only",
            advice="The tanh is taken of the whole sum, input and old state together.",
            replaces={"rnn_step": step_inside_only},
        ),
    ),
)

# --- forward ---------------------------------------------------------------------------------------------------------


def forward_case(batch: int, steps: int, d: int, hidden: int, out: int, start: bool = False) -> Draw:
    def draw(rng: Rng) -> tuple[Any, ...]:
        args = (rng.normal(size=(batch, steps, d)), draw_params(rng, d, hidden, out))
        return (*args, rng.uniform(-1, 1, size=(batch, hidden))) if start else args

    return draw


def forward(x: Any, params: Any, h0: Any = None) -> Any:
    """The reference in the student's signature, with its arguments for a cache."""
    hs, _, _ = ref.rnn_forward(x, {name: params[name] for name in RECURRENT_KEYS}, h0)
    p = as_params(params)
    return hs @ p["W_hy"].T + p["b_hy"], hs, (np.array(x, dtype=np.float64), p, h0)


def with_outputs(states: Callable[..., Array], hs: Callable[..., Array] | None = None) -> Callable[..., Any]:
    """A forward whose outputs come from `states(x, params, h0)`, and whose states from `hs`, or the same."""

    def wrong(x: Any, params: Any, h0: Any = None) -> Any:
        p = as_params(params)
        used = states(np.asarray(x, dtype=np.float64), p, h0)
        y = used @ p["W_hy"].T + p["b_hy"]
        shown = used if hs is None else hs(np.asarray(x, dtype=np.float64), p, h0)
        return y, shown, forward(x, params, h0)[2]

    return wrong


def right_states(x: Array, p: Params, h0: Any) -> Array:
    return np.asarray(forward(x, p, h0)[1])


def states_with_start(x: Array, p: Params, h0: Any) -> Array:
    hs = right_states(x, p, h0)
    start = np.zeros_like(hs[:, 0]) if h0 is None else np.asarray(h0, dtype=np.float64)
    return np.concatenate([start[:, None], hs], axis=1)


def states_before(x: Array, p: Params, h0: Any) -> Array:
    return states_with_start(x, p, h0)[:, :-1]


def states_not_carried(x: Array, p: Params, h0: Any) -> Array:
    return np.stack([right_states(x[:, t : t + 1], p, h0)[:, 0] for t in range(x.shape[1])], axis=1)


def states_from_zero(x: Array, p: Params, h0: Any) -> Array:
    return right_states(x, p, None)


def states_along_batch(x: Array, p: Params, h0: Any) -> Array:
    return np.swapaxes(right_states(np.swapaxes(x, 0, 1), p, None), 0, 1)


def states_reversed(x: Array, p: Params, h0: Any) -> Array:
    return right_states(x[:, ::-1], p, h0)[:, ::-1]


def output_squashed(x: Any, params: Any, h0: Any = None) -> Any:
    y, hs, cache = forward(x, params, h0)
    return np.tanh(y), hs, cache


@prop("a sequence in two parts gives the same as in one", 1, "rnn_forward")
def in_two_parts(student: Any, rng: Rng) -> None:
    x, params = forward_case(2, 6, 3, 4, 2)(rng)
    names = ("y", "hs", "cache")
    y1, hs1, _ = items(student.call("rnn_forward", x[:, :2], params, keep=(2,)), names)
    last = numbers(hs1, (2, 2, 4), "hs")[:, -1]
    y2, _, _ = items(student.call("rnn_forward", x[:, 2:], params, last, keep=(2,)), names)
    both = np.concatenate([numbers(y1, (2, 2, 2), "y"), numbers(y2, (2, 4, 2), "y")], axis=1)
    same(
        both, forward(x, params)[0], "the outputs of the two parts, the second begun with the last state of the first,"
    )


FORWARD_CASES = [
    Case("three sequences of five steps", forward_case(3, 5, 2, 4, 6)),
    Case("as many samples as steps, as many inputs as units", forward_case(4, 4, 3, 3, 3)),
    Case("one sequence of one step", forward_case(1, 1, 2, 3, 1)),
]
START_CASES = [
    Case("a start state is given", forward_case(3, 4, 2, 5, 2, start=True)),
    Case("a start state and a single step", forward_case(2, 1, 3, 4, 2, start=True)),
]

FORWARD = Exercise(
    name="rnn_forward",
    title="A whole sequence, with outputs",
    functions=("rnn_forward",),
    hints=(
        "One loop over time. What goes from one turn of the loop to the next?",
        "x[:, t] is the input of step t for all samples. Keep every state, the one before the first step included: the "
        "way back needs them all.",
        "Make an array (B, T+1, H) with the start state in slot 0, fill slot t+1 by rnn_step of x[:, t] and "
        "slot t, and "
        "take the outputs of slots 1 to T in one product with W_hy.T.",
    ),
    checks=(
        numeric("the states", 4, "rnn_forward", forward, FORWARD_CASES, pick=1, result="the states", keep=(2,)),
        numeric("the outputs", 4, "rnn_forward", forward, FORWARD_CASES, pick=0, result="the outputs", keep=(2,)),
        numeric(
            "a start state, states", 1, "rnn_forward", forward, START_CASES, pick=1, result="the states", keep=(2,)
        ),
        numeric(
            "a start state, outputs", 1, "rnn_forward", forward, START_CASES, pick=0, result="the outputs", keep=(2,)
        ),
        in_two_parts,
        numeric(
            "lists and float32 are accepted",
            1,
            "rnn_forward",
            forward,
            [
                Case("lists of numbers", listed(forward_case(2, 3, 2, 3, 2, start=True))),
                Case(
                    "float32 inputs",
                    lambda rng: (rng.normal(size=(2, 4, 3)).astype(np.float32), draw_params(rng, 3, 2, 2)),
                ),
            ],
            pick=1,
            result="the states",
            keep=(2,),
        ),
        unchanged(1, {"rnn_forward": forward_case(2, 3, 2, 2, 1, start=True)}, keep=(2,)),
    ),
    mistakes=(
        Mistake(
            name="output-from-the-old-state",
            advice="The output y_t is made of the new state h_t, which has seen x_t; yours is one step behind.",
            replaces={"rnn_forward": with_outputs(states_before, right_states)},
        ),
        Mistake(
            name="states-one-behind",
            advice="hs holds h_1 ... h_T, the states AFTER each step; yours begins with the start state and "
            "ends one early.",
            replaces={"rnn_forward": with_outputs(right_states, states_before)},
        ),
        Mistake(
            name="start-state-in-hs",
            advice="hs has T states, h_1 to h_T: leave the start state out of what you return.",
            replaces={"rnn_forward": with_outputs(right_states, states_with_start)},
        ),
        Mistake(
            name="state-not-carried-on",
            advice="Every step began from the start state again: hand the new state on to the next step.",
            replaces={"rnn_forward": with_outputs(states_not_carried)},
        ),
        Mistake(
            name="start-state-not-used",
            advice="A given h0 is the state before the first step; zeros are meant for None only.",
            replaces={"rnn_forward": with_outputs(states_from_zero)},
        ),
        Mistake(
            name="batch-taken-for-time",
            advice="The first axis is the batch and the second is time: step t reads x[:, t], not x[t].",
            replaces={"rnn_forward": with_outputs(states_along_batch)},
        ),
        Mistake(
            name="read-from-the-end",
            advice="The sequence is read from the first step to the last; yours begins at the end.",
            replaces={"rnn_forward": with_outputs(states_reversed)},
        ),
        Mistake(
            name="output-squashed",
            advice="The output layer is linear: the tanh belongs to the state only.",
            replaces={"rnn_forward": output_squashed},
        ),
    ),
)

# --- back-propagation through time -----------------------------------------------------------------------------------


def slope_now(before: Array, now: Array) -> Array:
    return 1 - now**2


def carry_right(dh: Array, da: Array, slope: Array, p: Params) -> Array:
    return da @ p["W_hh"]


def bptt(
    *,
    slope: Callable[[Array, Array], Array] = slope_now,
    carry: Callable[[Array, Array, Array, Params], Array] = carry_right,
    overwrite: tuple[str, ...] = (),
    pair_now: bool = False,
    first_only: bool = False,
    share: Callable[[int, int], float] = lambda batch, steps: 1.0,
    start_grad: str = "h0",
) -> dict[str, Callable[..., Any]]:
    """Forward and a backward with a flaw: another slope of the tanh, another way into the past, sums not summed."""

    def backward(dy: Any, cache: Any) -> Any:
        x, p, h0 = cache
        dy = np.asarray(dy, dtype=np.float64)
        states = states_with_start(x, p, h0)
        batch, steps, _ = x.shape
        grads = {name: np.zeros_like(value) for name, value in p.items()}
        dx = np.zeros_like(x)
        carried = np.zeros_like(states[:, 0])
        for t in reversed(range(steps)):
            before, now = states[:, t], states[:, t + 1]
            dh = dy[:, t] @ p["W_hy"] + carried
            s = slope(before, now)
            da = dh * s
            parts = {
                "W_ih": da.T @ x[:, t],
                "W_hh": da.T @ (now if pair_now else before),
                "b_ih": da.sum(axis=0),
                "b_hh": da.sum(axis=0),
                "W_hy": dy[:, t].T @ now,
                "b_hy": dy[:, t].sum(axis=0),
            }
            for name, part in parts.items():
                grads[name] = part if name in overwrite else grads[name] + part
            dx[:, t] = da @ p["W_ih"]
            carried = carry(dh, da, s, p)
        factor = share(batch, steps)
        return dx, (dh if start_grad == "h1" else carried), {name: factor * grad for name, grad in grads.items()}

    return {"rnn_forward": forward, "rnn_backward": backward}


def right_backward(dy: Any, x: Any, params: Any, h0: Any = None, truncate: int | None = None) -> Any:
    _, _, cache = ref.rnn_readout_forward(x, params, h0)
    return ref.rnn_readout_backward(dy, cache, truncate)


def backward_inputs(draw: Draw, scale: float = 1.0, gain: float = 1.0) -> Callable[[Rng], dict[str, Any]]:
    def inputs(rng: Rng) -> dict[str, Any]:
        x, params, *start = draw(rng)
        params = params | {"W_hh": gain * params["W_hh"]}
        dout = scale * rng.normal(size=(*x.shape[:2], len(params["b_hy"])))
        h0 = start[0] if start else np.zeros((len(x), len(params["b_hh"])))
        return {"x": x, "params": params, "h0": h0, "dout": dout}

    return inputs


# So small an input against so large weights is of ordinary size inside, but bends within any step of a difference.
STEEP = 3e3


def steep(draw: Draw) -> Callable[[Rng], dict[str, Any]]:
    def inputs(rng: Rng) -> dict[str, Any]:
        i = backward_inputs(draw)(rng)
        return {**i, "x": i["x"] / STEEP, "params": {**i["params"], "W_ih": STEEP * i["params"]["W_ih"]}}

    return inputs


def last_step_only(draw: Draw) -> Callable[[Rng], dict[str, Any]]:
    def inputs(rng: Rng) -> dict[str, Any]:
        drawn = backward_inputs(draw)(rng)
        drawn["dout"][:, :-1] = 0.0
        return drawn

    return inputs


FORWARD_NAMES = ("y", "hs", "cache")


def run_forward(student: Any, inputs: dict[str, Any]) -> tuple[Any, ...]:
    return items(student.call("rnn_forward", inputs["x"], inputs["params"], inputs["h0"], keep=(2,)), FORWARD_NAMES)


def named_grads(answer: Any) -> dict[str, Any]:
    dx, dh0, grads = items(answer, ("dx", "dh0", "grads"))
    return {"x": dx, "h0": dh0, **{f"params.{name}": entry(grads, name, "`grads`") for name in PARAM_KEYS}}


def backward_check(name: str, points: int, wanted: tuple[str, ...], cases: list[tuple[str, Any]]) -> Check:
    def reference(inputs: dict[str, Any]) -> dict[str, Any]:
        found = named_grads(right_backward(inputs["dout"], inputs["x"], inputs["params"], inputs["h0"]))
        return {key: found[key] for key in wanted}

    return gradient(
        name,
        points,
        ("rnn_forward", "rnn_backward"),
        [GradientCase(reason, draw) for reason, draw in cases],
        value=lambda student, inputs: run_forward(student, inputs)[0],
        grads=lambda student, inputs: named_grads(
            student.rnn_backward(inputs["dout"], run_forward(student, inputs)[2])
        ),
        reference=reference,
    )


BACKWARD_CASES = [
    ("three sequences of six steps, from a state that is not zero", backward_inputs(forward_case(3, 6, 2, 4, 5, True))),
    ("as many samples as steps, as many inputs as units", backward_inputs(forward_case(4, 4, 3, 3, 3))),
    ("one sequence", backward_inputs(forward_case(1, 5, 2, 3, 1, True))),
]
ALL_KEYS = tuple(f"params.{name}" for name in PARAM_KEYS)


@prop("a cache lasts, dy stays as it is, h0 may be left out", 2, "rnn_forward", "rnn_backward")
def own_cache(student: Any, rng: Rng) -> None:
    first, second = ({**backward_inputs(forward_case(2, 3, 2, 3, 2))(rng), "h0": None} for _ in range(2))
    cache = run_forward(student, first)[2]
    run_forward(student, second)
    right = named_grads(right_backward(first["dout"], first["x"], first["params"]))
    for when, dy in (
        ("the first cache, after another forward pass", first["dout"]),
        ("a cache that was used before", first["dout"]),
        ("dy given as a list", first["dout"].tolist()),
    ):
        with case_of(f"{when}, and no h0"):
            found = named_grads(student.rnn_backward(dy, cache))
            holds(0 not in student.changed, "`rnn_backward` modified its argument `dy` in place; work on a copy.")
            for key, want in right.items():
                same(found[key], want, f"the gradient of {key.split('.')[-1]}")


BACKWARD = Exercise(
    name="rnn_backward",
    title="Back-propagation through time",
    functions=("rnn_forward", "rnn_backward"),
    hints=(
        "Draw three steps and all arrows. How many arrows leave a state in the middle? Each of them brings a gradient "
        "back.",
        "Walk from the last step to the first and carry one array: what the next state sends back to this one. Add the "
        "output's share, pass the tanh, and collect: inputs, weights, biases, and the array to carry on.",
        "In each turn: dh is dy[:, t] @ W_hy plus what is carried; da is dh times one minus the square of the "
        "NEW state. "
        "Then da meets x[:, t], the OLD state, and itself for the sums; da @ W_ih goes to x, da @ W_hh is carried on.",
    ),
    checks=(
        backward_check("gradients of the output layer", 4, ("params.W_hy", "params.b_hy"), BACKWARD_CASES),
        backward_check("gradient of the recurrent matrix", 8, ("params.W_hh",), BACKWARD_CASES),
        backward_check(
            "gradients of the input matrix and the biases",
            6,
            ("params.W_ih", "params.b_ih", "params.b_hh"),
            BACKWARD_CASES,
        ),
        backward_check("gradient of the inputs", 4, ("x",), BACKWARD_CASES),
        backward_check(
            "gradient of the start state, through all steps",
            4,
            ("h0",),
            [*BACKWARD_CASES, ("only the last output counts", last_step_only(forward_case(2, 5, 2, 3, 2, True)))],
        ),
        backward_check(
            "a single step, and saturated states",
            2,
            ("x", "h0", *ALL_KEYS),
            [
                ("one step", backward_inputs(forward_case(2, 1, 3, 4, 2, True))),
                ("a large recurrent matrix", backward_inputs(forward_case(2, 4, 2, 3, 2, True), gain=4.0)),
            ],
        ),
        backward_check(
            "gradients are computed, not approximated",
            2,
            ("x", "h0", *ALL_KEYS),
            [
                ("an upstream gradient in the millions", backward_inputs(forward_case(2, 3, 2, 2, 1, True), scale=1e7)),
                ("tiny inputs and huge weights", steep(forward_case(2, 3, 2, 2, 1, True))),
            ],
        ),
        own_cache,
    ),
    mistakes=(
        Mistake(
            name="slope-of-the-old-state",
            advice="Step t made h_t, so its slope is 1 - h_t^2; yours takes the state before the step.",
            replaces=bptt(slope=lambda before, now: 1 - before**2),
        ),
        Mistake(
            name="tanh-taken-again",
            advice="h_t is a tanh already: its slope is 1 - h_t^2, not 1 - tanh(h_t)^2.",
            replaces=bptt(slope=lambda before, now: 1 - np.tanh(now) ** 2),
        ),
        Mistake(
            name="slope-not-squared",
            advice="The slope of the tanh is 1 minus the SQUARE of its value.",
            replaces=bptt(slope=lambda before, now: 1 - now),
        ),
        Mistake(
            name="slope-left-out",
            advice="The gradient at h_t must pass the tanh, a factor 1 - h_t^2, before it reaches the weights.",
            replaces=bptt(slope=lambda before, now: np.ones_like(now)),
        ),
        Mistake(
            name="matrix-the-wrong-way-back",
            advice="Forward it was h @ W_hh.T, so backward it is da @ W_hh, without a transpose: the matrix is square, "
            "and only the numbers show it.",
            replaces=bptt(carry=lambda dh, da, s, p: da @ p["W_hh"].T),
        ),
        Mistake(
            name="matrix-before-slope",
            advice="Going back, a gradient meets the tanh of step t first and W_hh second: (g * slope) @ W_hh, not "
            "(g @ W_hh) * slope.",
            replaces=bptt(carry=lambda dh, da, s, p: (dh @ p["W_hh"]) * s),
        ),
        Mistake(
            name="future-skips-the-slope",
            advice="What goes on into the past is da, which has passed the tanh of this step, and not dh.",
            replaces=bptt(carry=lambda dh, da, s, p: dh @ p["W_hh"]),
        ),
        Mistake(
            name="no-gradient-from-the-future",
            advice="A state also feeds the next state: add what that one sends back to what the output sends.",
            replaces=bptt(carry=lambda dh, da, s, p: np.zeros_like(da)),
        ),
        Mistake(
            name="gradient-overwritten",
            advice="Every step uses the same weights: add up the shares of all steps with +=, or only one of "
            "them is left.",
            replaces=bptt(overwrite=PARAM_KEYS),
            variants=(
                bptt(overwrite=RECURRENT_KEYS),
                bptt(overwrite=("W_ih", "W_hh")),
                bptt(overwrite=("W_hh",)),
            ),
        ),
        Mistake(
            name="states-off-by-one",
            advice="W_hh multiplied the state BEFORE the step: its gradient pairs the gradient of step t with h_{t-1}.",
            replaces=bptt(pair_now=True),
        ),
        Mistake(
            name="bptt-divided-by-batch",
            advice="Whoever computed dy has taken the mean already: the gradients here are plain sums over "
            "samples and steps.",
            replaces=bptt(share=lambda batch, steps: 1 / batch),
            variants=(
                bptt(share=lambda batch, steps: 1 / steps),
                bptt(share=lambda batch, steps: 1 / (batch * steps)),
            ),
        ),
        Mistake(
            name="start-gradient-stops-at-the-first-state",
            advice="That is the gradient at h_1; the tanh and W_hh of the first step still lie between it and h_0.",
            replaces=bptt(start_grad="h1"),
        ),
    ),
)

# --- truncation ------------------------------------------------------------------------------------------------------


def truncated(x: Any, dy: Any, params: Any, k: int, h0: Any = None) -> Any:
    return forward(x, params, h0)[0], right_backward(dy, x, params, h0, k)[2]


def in_pieces(
    starts: Callable[[int, int], list[int]],
    carry: bool = True,
    keep: Callable[[list[Any]], Any] = lambda parts: sum(parts),
) -> Callable[..., Any]:
    """Truncation with other cuts, without carrying the state, or with other sums over the pieces."""

    def wrong(x: Any, dy: Any, params: Any, k: int, h0: Any = None) -> Any:
        x, dy = floats(x, dy)
        edges = [*starts(x.shape[1], k), x.shape[1]]
        outputs, parts, state = [], [], h0
        for a, b in pairwise(edges):
            y, hs, _ = forward(x[:, a:b], params, state)
            parts.append(right_backward(dy[:, a:b], x[:, a:b], params, state)[2])
            state = hs[:, -1] if carry else h0
            outputs.append(y)
        return np.concatenate(outputs, axis=1), {name: keep([part[name] for part in parts]) for name in parts[0]}

    return wrong


def from_left(steps: int, k: int) -> list[int]:
    return list(range(0, steps, k))


def from_right(steps: int, k: int) -> list[int]:
    return sorted({0, *range(steps - k, 0, -k)})


def one_longer(steps: int, k: int) -> list[int]:
    return list(range(0, steps, k + 1))


def one_piece(steps: int, k: int) -> list[int]:
    return [0]


def truncated_case(batch: int, steps: int, k: int, start: bool = False) -> Draw:
    def draw(rng: Rng) -> tuple[Any, ...]:
        x, params, *h0 = forward_case(batch, steps, 2, 4, 3, start)(rng)
        return (x, rng.normal(size=(batch, steps, 3)), params, k, *h0)

    return draw


TRUNCATED_CASES = [
    Case("six steps in pieces of two", truncated_case(3, 6, 2)),
    Case("seven steps in pieces of three, the last one short", truncated_case(2, 7, 3)),
    Case("pieces of one step", truncated_case(2, 4, 1)),
]

TRUNCATED = Exercise(
    name="truncated_gradients",
    title="Truncated back-propagation through time",
    functions=("truncated_gradients",),
    hints=(
        "What is cut, and what is not? The network still reads the whole sequence; only the way back is short.",
        "You need nothing new: rnn_forward and rnn_backward, piece by piece, from left to right.",
        "range(0, T, k) gives the starts. Each piece begins from the last state of the piece before it, hs[:, "
        "-1]. Add the "
        "pieces' gradients name by name, throw dh0 away, and join the outputs along time.",
    ),
    checks=(
        numeric(
            "outputs as without cuts",
            3,
            "truncated_gradients",
            truncated,
            TRUNCATED_CASES,
            pick=0,
            result="the outputs",
        ),
        numeric(
            "gradients stop at the cuts", 6, "truncated_gradients", truncated, TRUNCATED_CASES, pick=1, result="`grads`"
        ),
        numeric(
            "a start state, and pieces longer than the sequence",
            2,
            "truncated_gradients",
            truncated,
            [
                Case("a start state", truncated_case(2, 5, 2, start=True)),
                Case("a piece as long as the sequence", truncated_case(2, 4, 4, start=True)),
                Case("a piece longer than the sequence", truncated_case(1, 3, 10)),
            ],
        ),
        numeric(
            "lists are accepted",
            1,
            "truncated_gradients",
            truncated,
            [Case("lists of numbers", listed(truncated_case(2, 6, 2, start=True)))],
        ),
        unchanged(1, {"truncated_gradients": truncated_case(2, 4, 2, start=True)}),
    ),
    mistakes=(
        Mistake(
            name="state-reset-at-the-cut",
            advice="Only the gradient stops at a cut; the state goes on, or the network forgets everything "
            "every k steps.",
            replaces={"truncated_gradients": in_pieces(from_left, carry=False)},
        ),
        Mistake(
            name="nothing-truncated",
            advice="These are the full gradients: no gradient may flow from a piece into the one before it.",
            replaces={"truncated_gradients": in_pieces(one_piece)},
        ),
        Mistake(
            name="cuts-counted-from-the-right",
            advice="The pieces are counted from the left: the short one, if any, is the last.",
            replaces={"truncated_gradients": in_pieces(from_right)},
        ),
        Mistake(
            name="pieces-one-step-too-long",
            advice="Each piece holds k steps; yours hold k + 1.",
            replaces={"truncated_gradients": in_pieces(one_longer)},
        ),
        Mistake(
            name="last-piece-only",
            advice="Every piece contributes: add the gradients of all of them.",
            replaces={"truncated_gradients": in_pieces(from_left, keep=lambda parts: parts[-1])},
        ),
        Mistake(
            name="pieces-averaged",
            advice="The gradients of the pieces are added, not averaged.",
            replaces={"truncated_gradients": in_pieces(from_left, keep=lambda parts: sum(parts) / len(parts))},
        ),
    ),
)

# --- Jacobians -------------------------------------------------------------------------------------------------------


def hs_case(batch: int, steps: int, hidden: int) -> Draw:
    return lambda rng: (rng.uniform(-0.9, 0.9, size=(batch, steps, hidden)), rng.normal(size=(hidden, hidden)))


def products(
    step: Callable[[Array, Array], Array], newest_left: bool = True, shift: bool = False
) -> Callable[..., Array]:
    """State Jacobians of other factors, multiplied in the other order, or one step late."""

    def wrong(hs: Any, W_hh: Any) -> Array:
        hs, W = floats(hs, W_hh)
        if shift:
            hs = np.concatenate([np.zeros_like(hs[:, :1]), hs[:, :-1]], axis=1)
        found = step(1 - hs**2, W).copy()
        for t in range(1, found.shape[1]):
            now, old = found[:, t].copy(), found[:, t - 1]
            found[:, t] = now @ old if newest_left else old @ now
        return found

    return wrong


def rows(slope: Array, W: Array) -> Array:
    return slope[..., None] * W


def one_step_each(hs: Any, W_hh: Any) -> Array:
    return ref.step_jacobians(hs, W_hh)


def counted_from_the_end(hs: Any, W_hh: Any) -> Array:
    """dh_T / dh_t instead of dh_t / dh_0."""
    found = ref.step_jacobians(hs, W_hh).copy()
    for t in reversed(range(found.shape[1] - 1)):
        found[:, t] = found[:, t + 1] @ found[:, t]
    return found


@prop("they say how your own network moves", 3, "rnn_forward", "state_jacobians")
def moves_network(student: Any, rng: Rng) -> None:
    x, params, h0 = forward_case(1, 4, 2, 3, 1, start=True)(rng)
    hs = items(student.call("rnn_forward", x, params, h0, keep=(2,)), FORWARD_NAMES)[1]
    hs = numbers(hs, (1, 4, 3), "hs")
    found = numbers(student.state_jacobians(hs, params["W_hh"]), (1, 4, 3, 3), "the Jacobians")
    step = 1e-5
    for j in range(3):
        ends = []
        for sign in (1, -1):
            nudged = h0.copy()
            nudged[0, j] += sign * step
            answer = items(student.call("rnn_forward", x, params, nudged, keep=(2,)), FORWARD_NAMES)
            ends.append(numbers(answer[1], (1, 4, 3), "hs"))
        # Central differences of functions of size one are right to about 1e-10 of their curvature.
        slope = (ends[0] - ends[1]) / (2 * step)
        with case_of(f"entry {j} of the start state is nudged"):
            same(found[0, :, :, j], slope[0], f"column {j} of the Jacobians", rtol=1e-6, atol=1e-6)


JACOBIAN_CASES = [
    Case("two sequences of five steps", hs_case(2, 5, 3)),
    Case("as many samples as steps and units", hs_case(3, 3, 3)),
    Case("one step", hs_case(1, 1, 4)),
    Case("a single unit", hs_case(2, 4, 1)),
]

JACOBIANS = Exercise(
    name="state_jacobians",
    title="How far a state reaches",
    functions=("state_jacobians",),
    hints=(
        "Nudge the state before one step. Each unit of the new state answers with its row of W_hh, damped by its own "
        "slope.",
        "diag(v) W scales the ROWS of W: v[:, None] * W. Start from the identity and multiply once for each step.",
        "For each t: make (1 - hs[:, t]**2)[:, :, None] * W_hh, multiply it from the LEFT onto the product so far, and "
        "store the new product.",
    ),
    checks=(
        numeric("products of one factor a step", 5, "state_jacobians", ref.state_jacobians, JACOBIAN_CASES),
        numeric(
            "lists are accepted",
            1,
            "state_jacobians",
            ref.state_jacobians,
            [Case("lists of numbers", listed(hs_case(2, 3, 2)))],
        ),
        moves_network,
        unchanged(1, {"state_jacobians": hs_case(1, 2, 2)}),
    ),
    mistakes=(
        Mistake(
            name="factors-in-the-other-order",
            advice="Matrices do not commute: the newest factor stands on the left, J_t ... J_1.",
            replaces={"state_jacobians": products(rows, newest_left=False)},
        ),
        Mistake(
            name="slopes-on-columns",
            advice="The slope belongs to the NEW state, so it scales the rows of W_hh, not its columns.",
            replaces={"state_jacobians": products(lambda slope, W: slope[..., None, :] * W)},
        ),
        Mistake(
            name="jacobian-without-slopes",
            advice="Each factor is diag(1 - h_t^2) W_hh; without the slopes this is only a power of W_hh.",
            replaces={
                "state_jacobians": products(lambda slope, W: np.broadcast_to(W, (*slope.shape, slope.shape[-1])))
            },
        ),
        Mistake(
            name="slopes-one-step-late",
            advice="The factor of step t has the slope of h_t, the state that this step made; yours is a step late.",
            replaces={"state_jacobians": products(rows, shift=True)},
        ),
        Mistake(
            name="jacobian-transposed",
            advice="Entry [i, j] is d h_t[i] / d h_0[j]; yours is transposed.",
            replaces={"state_jacobians": lambda hs, W_hh: np.swapaxes(ref.state_jacobians(hs, W_hh), -1, -2)},
        ),
        Mistake(
            name="single-steps-only",
            advice="These are the Jacobians of single steps; dh_t / dh_0 is the product of all steps up to t.",
            replaces={"state_jacobians": one_step_each},
        ),
        Mistake(
            name="counted-from-the-end",
            advice="At t stands dh_t / dh_0, seen from the start; yours says how the LAST state depends on "
            "earlier ones.",
            replaces={"state_jacobians": counted_from_the_end},
        ),
    ),
)


def norms_with(norm: Callable[[Array], Array]) -> Callable[..., Array]:
    return lambda hs, W_hh: norm(ref.state_jacobians(hs, W_hh))


NORMS = Exercise(
    name="jacobian_norms",
    title="Vanishing and exploding, measured",
    functions=("jacobian_norms",),
    hints=(
        "Which direction is stretched most, and by how much? That is the largest singular value.",
        "np.linalg.norm knows this norm, and it works on whole stacks of matrices.",
        "np.linalg.norm of state_jacobians, with ord=2 and axis=(-2, -1).",
    ),
    checks=(
        numeric("the largest singular value", 4, "jacobian_norms", ref.state_jacobian_norms, JACOBIAN_CASES),
        # A power of a shear: its eigenvalues are 1 and its norm grows, which only a norm sees.
        numeric(
            "a matrix whose eigenvalues hide its stretch",
            1,
            "jacobian_norms",
            ref.state_jacobian_norms,
            [
                Case(
                    "a shear, with states near zero",
                    lambda rng: (
                        0.01 * rng.normal(size=(1, 4, 2)),
                        np.array([[1.0, float(rng.uniform(2, 3))], [0.0, 1.0]]),
                    ),
                )
            ],
        ),
    ),
    mistakes=(
        Mistake(
            name="frobenius-norm",
            advice="Without ord=2 np.linalg.norm gives the root of the sum of all squares, not the largest stretch.",
            replaces={"jacobian_norms": norms_with(lambda J: np.linalg.norm(J, axis=(-2, -1)))},
        ),
        Mistake(
            name="largest-eigenvalue",
            advice="The largest eigenvalue says what happens after very many steps; the stretch of this product is its "
            "largest singular value.",
            replaces={"jacobian_norms": norms_with(lambda J: np.abs(np.linalg.eigvals(J)).max(axis=-1))},
        ),
        Mistake(
            name="norms-of-single-steps",
            advice="The norm is wanted of the whole product from step 1 to t, not of each step by itself.",
            replaces={
                "jacobian_norms": lambda hs, W_hh: np.linalg.norm(ref.step_jacobians(hs, W_hh), ord=2, axis=(-2, -1))
            },
        ),
        Mistake(
            name="norms-multiplied",
            advice="The product of the norms is only an upper bound: take the norm of the product.",
            replaces={
                "jacobian_norms": lambda hs, W_hh: np.cumprod(
                    np.linalg.norm(ref.step_jacobians(hs, W_hh), ord=2, axis=(-2, -1)), axis=1
                )
            },
        ),
        Mistake(
            name="norm-of-the-matrix-only",
            advice="Powers of the norm of W_hh leave out the slopes 1 - h^2, which is what makes gradients "
            "fade in practice.",
            replaces={
                "jacobian_norms": lambda hs, W_hh: np.broadcast_to(
                    np.linalg.norm(np.asarray(W_hh, dtype=np.float64), ord=2) ** np.arange(1.0, np.shape(hs)[1] + 1),
                    np.shape(hs)[:2],
                ).copy()
            },
        ),
    ),
)

# --- clipping --------------------------------------------------------------------------------------------------------


def clip_each(grads: Any, max_norm: float) -> Any:
    clipped = {name: clip_global_norm({name: grad}, max_norm)[0][name] for name, grad in grads.items()}
    return clipped, clip_global_norm(grads, max_norm)[1]


def clip_entries(grads: Any, max_norm: float) -> Any:
    limited = {name: np.clip(np.asarray(grad, dtype=np.float64), -max_norm, max_norm) for name, grad in grads.items()}
    return limited, clip_global_norm(grads, max_norm)[1]


def clip_always(grads: Any, max_norm: float) -> Any:
    norm = clip_global_norm(grads, max_norm)[1]
    factor = max_norm / norm if norm else 1.0
    return {name: factor * np.asarray(grad, dtype=np.float64) for name, grad in grads.items()}, norm


def clip_squared(grads: Any, max_norm: float) -> Any:
    square = clip_global_norm(grads, max_norm)[1] ** 2
    factor = max_norm / square if square > max_norm else 1.0
    return {name: factor * np.asarray(grad, dtype=np.float64) for name, grad in grads.items()}, square


def clip_to_one(grads: Any, max_norm: float) -> Any:
    norm = clip_global_norm(grads, max_norm)[1]
    factor = 1 / norm if norm > max_norm else 1.0
    return {name: factor * np.asarray(grad, dtype=np.float64) for name, grad in grads.items()}, norm


def clip_new_norm(grads: Any, max_norm: float) -> Any:
    clipped, norm = clip_global_norm(grads, max_norm)
    return clipped, min(norm, max_norm)


def clip_case(scale: float, max_norm: float) -> Draw:
    return lambda rng: (
        {"W": scale * rng.normal(size=(2, 3)), "b": scale * rng.normal(size=4), "g": scale * rng.normal(size=(1,))},
        max_norm,
    )


CLIP = Exercise(
    name="clip_gradients",
    title="Clip the gradients together",
    functions=("clip_gradients",),
    hints=(
        "Think of all gradients as one long vector. How long is it?",
        "The squares of all entries of all arrays go into one sum; the root of it is the norm.",
        "If the norm is larger than max_norm, multiply every array by max_norm / norm; otherwise by one. "
        "Return the norm "
        "from before.",
    ),
    checks=(
        numeric(
            "long gradients are shortened together",
            3,
            "clip_gradients",
            clip_global_norm,
            [Case("three arrays, too long", clip_case(10.0, 2.5)), Case("too long by far", clip_case(1e6, 0.5))],
        ),
        numeric(
            "short gradients stay",
            2,
            "clip_gradients",
            clip_global_norm,
            [
                Case("shorter than max_norm", clip_case(0.1, 7.0)),
                Case("all zeros", lambda rng: ({"W": np.zeros((2, 2)), "b": np.zeros(2)}, 1.5)),
            ],
        ),
        numeric(
            "lists are accepted",
            1,
            "clip_gradients",
            clip_global_norm,
            [Case("lists of numbers", listed(clip_case(10.0, 2.5)))],
        ),
        unchanged(1, {"clip_gradients": clip_case(10.0, 2.0)}),
    ),
    mistakes=(
        Mistake(
            name="each-array-clipped-alone",
            advice="Clipping each array by itself turns the direction of the step: use one norm and one factor "
            "for all.",
            replaces={"clip_gradients": clip_each},
        ),
        Mistake(
            name="entries-clipped",
            advice="Limiting single entries turns the direction of the step: scale all of them by one factor.",
            replaces={"clip_gradients": clip_entries},
        ),
        Mistake(
            name="short-gradients-stretched",
            advice="Gradients that are short enough come back as they are; yours are stretched to max_norm.",
            replaces={"clip_gradients": clip_always},
        ),
        Mistake(
            name="norm-without-root",
            advice="The norm is the ROOT of the sum of squares.",
            replaces={"clip_gradients": clip_squared},
        ),
        Mistake(
            name="shortened-to-one",
            advice="Too long a gradient is shortened to max_norm, not to length one.",
            replaces={"clip_gradients": clip_to_one},
        ),
        Mistake(
            name="norm-after-clipping",
            advice="Return the norm from before the clipping: it shows how wild the gradients were.",
            replaces={"clip_gradients": clip_new_norm},
        ),
    ),
)

# --- training --------------------------------------------------------------------------------------------------------


def delay_loss(y: Array, target: Array, delay: int) -> tuple[float, Array]:
    difference = np.array(y - np.asarray(target, dtype=np.float64))
    difference[:, :delay] = 0.0
    count = difference[:, delay:].size
    return float((difference**2).sum() / count), 2 * difference / count


def trainer(
    *,
    clip: Callable[[Any, float], Any] = clip_global_norm,
    sign: float = -1.0,
    late_loss: bool = False,
    first_grads: bool = False,
    delay_used: Callable[[int], int] = lambda delay: delay,
    keep_state: bool = False,
) -> Callable[..., Any]:
    """Training on the delay task, as asked for or with a flaw."""

    def train(
        params: Any, x: Any, target: Any, delay: int, lr: float, n_steps: int, max_norm: float
    ) -> tuple[Params, list[float]]:
        p = as_params(params)
        losses, state, kept = [], None, None
        for _ in range(n_steps):
            y, h_last, cache = ref.rnn_readout_forward(x, p, state)
            loss, dy = delay_loss(y, target, delay_used(delay))
            if keep_state:
                state = h_last
            grads = clip(ref.rnn_readout_backward(dy, cache)[2], max_norm)[0]
            kept = kept or grads
            if first_grads:
                grads = kept
            p = {name: p[name] + sign * lr * grads[name] for name in p}
            if late_loss:
                loss, _ = delay_loss(ref.rnn_readout_forward(x, p)[0], target, delay)
            losses.append(loss)
        return p, losses

    return train


def delay_task(rng: Rng, batch: int, steps: int, delay: int) -> tuple[Array, Array]:
    """Signs to hear, and what should be said: the same signs `delay` steps later."""
    x = rng.choice([-1.0, 1.0], size=(batch, steps, 1))
    target = np.zeros_like(x)
    target[:, delay:] = x[:, : steps - delay]
    return x, target


def start_params(rng: Rng, hidden: int) -> Params:
    """A start that remembers: a rotation, a little damped."""
    return {
        "W_ih": 0.5 * rng.normal(size=(hidden, 1)),
        "W_hh": 0.9 * np.linalg.qr(rng.normal(size=(hidden, hidden)))[0],
        "b_ih": np.zeros(hidden),
        "b_hh": np.zeros(hidden),
        "W_hy": rng.normal(size=(1, hidden)) / np.sqrt(hidden),
        "b_hy": np.zeros(1),
    }


def train_case(delay: int, lr: float, n_steps: int, max_norm: float) -> Draw:
    def draw(rng: Rng) -> tuple[Any, ...]:
        x, target = delay_task(rng, 4, 6, delay)
        return (draw_params(rng, 1, 3, 1), x, target, delay, lr, n_steps, max_norm)

    return draw


@training("it learns to repeat what it heard two steps ago", 5, "train", cpu_s=30.0)
def learns_delay(student: Any, rng: Rng) -> None:
    # Right answers on 200 seeds: no wrong sign among 1200 held-out ones, last loss at most 0.004.
    start, (x, target) = start_params(rng, 12), delay_task(rng, 24, 8, 2)
    params, losses = items(student.train(start, x, target, 2, 0.2, 200, 1.0), ("params", "losses"))
    losses = numbers(losses, (200,), "the list of losses")
    below(float(losses[-1]), 0.1, "after 200 steps the loss should be below 0.1.", f"It is {losses[-1]:.3g}.")
    learned = {name: numbers(entry(params, name, "params"), value.shape, name) for name, value in start.items()}
    x_new, target_new = delay_task(rng, 200, 8, 2)
    said = forward(x_new, learned)[0][:, 2:]
    wrong = float(np.mean(np.sign(said) != target_new[:, 2:]))
    below(
        wrong,
        0.03,
        "on new sequences the trained network should repeat at least 97 signs in 100.",
        f"It repeats {100 * (1 - wrong):.1f} in 100.",
    )


TRAIN = Exercise(
    name="train",
    title="Learn to remember",
    functions=("train",),
    hints=(
        "All parts are there: rnn_forward, delay_loss, rnn_backward, clip_gradients, and a step downhill.",
        "Note the loss before the step. Make new arrays for the new parameters, so that the caller keeps its own.",
        "In each turn: y and cache from rnn_forward(x, params); loss and dy from delay_loss; grads from "
        "rnn_backward; the "
        "clipped ones from clip_gradients; then each parameter minus lr times its clipped gradient.",
    ),
    checks=(
        numeric(
            "losses, step by step",
            3,
            "train",
            trainer(),
            [
                Case("three steps, gradients short enough", train_case(1, 0.1, 3, 100.0)),
                Case("a delay of two, gradients clipped", train_case(2, 0.5, 4, 0.05)),
                Case("no step at all", train_case(1, 0.1, 0, 1.0)),
            ],
            pick=1,
            result="the list of losses",
        ),
        numeric(
            "the parameters afterwards",
            3,
            "train",
            trainer(),
            [
                Case("one step, gradients short enough", train_case(1, 0.1, 1, 100.0)),
                Case("four steps, gradients clipped", train_case(2, 0.5, 4, 0.05)),
            ],
            pick=0,
            result="`params`",
        ),
        learns_delay,
        unchanged(1, {"train": train_case(1, 0.1, 2, 1.0)}),
    ),
    mistakes=(
        Mistake(
            name="gradients-not-clipped",
            advice="The step uses the gradients as they come: put clip_gradients in between.",
            replaces={"train": trainer(clip=lambda grads, max_norm: (grads, 0.0))},
        ),
        Mistake(
            name="uphill",
            advice="Subtract the gradient: it points to where the loss grows.",
            replaces={"train": trainer(sign=1.0)},
        ),
        Mistake(
            name="loss-after-the-step",
            advice="Each loss is the one before its step, from the same forward pass as the gradient.",
            replaces={"train": trainer(late_loss=True)},
        ),
        Mistake(
            name="gradients-of-the-start",
            advice="The gradients must be computed anew in every step, with the parameters as they are then.",
            replaces={"train": trainer(first_grads=True)},
        ),
        Mistake(
            name="first-steps-judged",
            advice="The first `delay` steps cannot be known and do not count: hand delay on to delay_loss.",
            replaces={"train": trainer(delay_used=lambda delay: 0)},
        ),
        Mistake(
            name="state-kept-between-steps",
            advice="Every training step begins from a state of zeros; yours goes on from the end of the last pass.",
            replaces={"train": trainer(keep_state=True)},
        ),
        Mistake(
            name="training-clips-each-array",
            advice="One norm for all gradients together: clip the whole dict, not array by array.",
            replaces={"train": trainer(clip=clip_each)},
        ),
    ),
)

# --- the picture -----------------------------------------------------------------------------------------------------


def draw_picture(student: Any, figure: Any) -> None:
    """How the reach of a state fades or grows with the recurrent matrix, and how training makes a memory of it."""
    left, right = figure.subplots(1, 2)
    rng = np.random.default_rng(317)
    hidden, steps = 24, 40
    params = draw_params(rng, 3, hidden, 1)
    x = 0.5 * rng.normal(size=(16, steps, 3))
    for gain, color in ((0.5, "C0"), (1.0, "C2"), (2.0, "C3")):
        W = gain * params["W_hh"]
        hs = items(student.call("rnn_forward", x, params | {"W_hh": W}, keep=(2,)), FORWARD_NAMES)[1]
        norms = numbers(student.jacobian_norms(hs, W), (16, steps), "the norms")
        label = f"norm of W_hh {np.linalg.norm(W, ord=2):.2f}"
        left.semilogy(np.arange(1, steps + 1), np.exp(np.log(norms).mean(axis=0)), color=color, label=label)
        linear = [np.linalg.norm(np.linalg.matrix_power(W, t), ord=2) for t in range(1, steps + 1)]
        left.semilogy(np.arange(1, steps + 1), linear, color=color, lw=0.8, ls=":")
    left.plot([], [], color="0.4", lw=0.8, ls=":", label="the same without the tanh")
    left.set(xlabel="step t", ylabel="spectral norm of dh_t / dh_0", title="The slopes of the tanh damp every memory")
    left.set_ylim(1e-10, 1e10)
    left.legend(frameon=False, fontsize=8, loc="lower left")
    for delay in (1, 2, 4):
        draws = np.random.default_rng(delay)
        x_delay, target = delay_task(draws, 24, 10, delay)
        _, losses = items(
            student.train(start_params(draws, 12), x_delay, target, delay, 0.2, 200, 1.0), ("params", "losses")
        )
        right.semilogy(numbers(losses, (200,), "the losses"), label=f"delay {delay}")
    right.axhline(1.0, color="0.6", lw=0.8, ls=":", label="always saying 0")
    right.set(xlabel="training step", ylabel="mean squared error", title="Repeat what was heard some steps ago")
    right.legend(frameon=False, fontsize=8)


CHAPTER = Chapter(
    id="ch317",
    slug="recurrent_networks",
    title="Recurrent Neural Networks",
    part="Architectures",
    summary="A recurrent network, back-propagation through time whole and truncated, why gradients fade, and a memory "
    "learned.",
    builds_on=("ch305", "ch306", "ch307"),
    exercises=(STEP, FORWARD, BACKWARD, TRUNCATED, JACOBIANS, NORMS, CLIP, TRAIN),
    picture=Picture(title="How far a recurrent network remembers", draw=draw_picture),
)
