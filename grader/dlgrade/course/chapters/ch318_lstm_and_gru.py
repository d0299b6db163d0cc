"""Checks of chapter 318: one step of an LSTM and of a GRU, the way back through their gates, and whole sequences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from dlreference import gru, lstm, rnn
from dlreference.recurrent import RECURRENT_KEYS, gate, init_recurrent, recurrent_parameter_count

from dlgrade.course.compare import entry, holds, items, numbers, same
from dlgrade.course.kinds import Case, GradientCase, Rng, case_of, gradient, numeric, prop, unchanged
from dlgrade.course.spec import Chapter, Check, Exercise, Mistake, Picture

Array = np.ndarray[Any, Any]
Params = dict[str, Array]
Draw = Callable[[Rng], tuple[Any, ...]]
Inputs = Callable[[Rng], dict[str, Any]]
Replaces = dict[str, Callable[..., Any]]

GATES = {"rnn": 1, "gru": 3, "lstm": 4}


def as_params(params: Any) -> Params:
    return {name: np.asarray(value, dtype=np.float64) for name, value in params.items()}


def draw_params(rng: Rng, gates: int, d: int, hidden: int) -> Params:
    """Parameters with no zero bias, and the two biases different, so that neither can stand for the other."""
    return {
        "W_ih": rng.normal(size=(gates * hidden, d)) / np.sqrt(d),
        "W_hh": rng.normal(size=(gates * hidden, hidden)) / np.sqrt(hidden),
        "b_ih": 0.5 * rng.normal(size=gates * hidden),
        "b_hh": 0.5 * rng.normal(size=gates * hidden),
    }


def converted(draw: Draw, form: Callable[[Array], Any]) -> Draw:
    """The same with all arrays, also those in tuples and dicts, in another form."""

    def change(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: change(item) for name, item in value.items()}
        if isinstance(value, tuple):
            return tuple(change(item) for item in value)
        return form(value) if isinstance(value, np.ndarray) else value

    return lambda rng: tuple(change(value) for value in draw(rng))


def lists(draw: Draw) -> Draw:
    return converted(draw, lambda array: array.tolist())


def float32(draw: Draw) -> Draw:
    return converted(draw, lambda array: array.astype(np.float32))


def blocks(order: Sequence[int]) -> Callable[[Any], Params]:
    """Parameters whose gate blocks are read in another order."""

    def reorder(params: Any) -> Params:
        split = {name: np.split(value, len(order)) for name, value in as_params(params).items()}
        return {name: np.concatenate([parts[k] for k in order]) for name, parts in split.items()}

    return reorder


def one_bias(dropped: str) -> Callable[[Any], Params]:
    return lambda params: as_params(params) | {dropped: np.zeros_like(as_params(params)[dropped])}


# --- parameter counts ------------------------------------------------------------------------------------------------


def count_right(kind: str, d: int, hidden: int) -> int:
    return recurrent_parameter_count(GATES[kind], d, hidden)


def count_sizes(kind: str, low: int, high: int) -> Draw:
    return lambda rng: (kind, int(rng.integers(low, high)), int(rng.integers(high, 2 * high)))


COUNT = Exercise(
    name="parameter_count",
    title="How much a layer learns",
    functions=("parameter_count",),
    hints=(
        "List the arrays of the plain layer with their shapes. How many sets of them have the other two?",
        "One set: H times D, H times H, and H twice.",
        "Look up 1, 3 or 4 by the kind, and multiply by H and by the sum of D, H and 2.",
    ),
    checks=(
        numeric(
            "the three kinds",
            4,
            "parameter_count",
            count_right,
            [
                *(Case(f"kind {kind!r}", count_sizes(kind, 2, 20)) for kind in GATES),
                Case("a single input and a single unit", lambda rng: ("lstm", 1, 1)),
            ],
        ),
    ),
    mistakes=(
        Mistake(
            name="one-bias-counted",
            advice="Each gate has two biases here, b_ih and b_hh, as in PyTorch.",
            replaces={"parameter_count": lambda kind, d, h: recurrent_parameter_count(GATES[kind], d, h, 1)},
        ),
        Mistake(
            name="biases-not-counted",
            advice="The biases are learned as well: two of H numbers for each gate.",
            replaces={"parameter_count": lambda kind, d, h: recurrent_parameter_count(GATES[kind], d, h, 0)},
        ),
        Mistake(
            name="gates-miscounted",
            advice="The GRU has three sets (r, z, n) and the LSTM four (i, f, g, o): the candidates n and g count too.",
            replaces={
                "parameter_count": lambda kind, d, h: recurrent_parameter_count(
                    {"rnn": 1, "gru": 2, "lstm": 3}[kind], d, h
                )
            },
        ),
        Mistake(
            name="sizes-swapped",
            advice="The recurrent matrix is H by H: the square belongs to the hidden size, not to the input size.",
            replaces={"parameter_count": lambda kind, d, h: recurrent_parameter_count(GATES[kind], h, d)},
        ),
    ),
)

# --- the forget bias -------------------------------------------------------------------------------------------------


def bias_with(slot: int, both: bool = False, keep_second: bool = False, add: bool = False) -> Callable[..., Params]:
    """Sets another block, sets both biases, leaves b_hh alone, or adds."""

    def wrong(params: Any, value: float = 1.0) -> Params:
        new = {name: array.copy() for name, array in as_params(params).items()}
        h = new["W_hh"].shape[1]
        rows = slice(slot * h, (slot + 1) * h)
        new["b_ih"][rows] = value + (new["b_ih"][rows] if add else 0.0)
        if not keep_second and not add:
            new["b_hh"][rows] = value if both else 0.0
        return new

    return wrong


def bias_everywhere(params: Any, value: float = 1.0) -> Params:
    new = as_params(params)
    return new | {"b_ih": np.full_like(new["b_ih"], value), "b_hh": np.zeros_like(new["b_hh"])}


def whole_params(rng: Rng) -> tuple[Any, ...]:
    """Parameters of two units in whole numbers, and a value that is none."""
    return {name: np.rint(4 * array).astype(np.int64) for name, array in draw_params(rng, 4, 3, 2).items()}, 0.5


FORGET_BIAS = Exercise(
    name="set_forget_bias",
    title="Start out remembering",
    functions=("set_forget_bias",),
    hints=(
        "The blocks are i, f, g, o, of H rows each. Which rows belong to f?",
        "H is the number of columns of W_hh. Copy all arrays first, so that the caller's stay as they are.",
        "In the copies, rows H to 2H of b_ih become value, and the same rows of b_hh become 0.",
    ),
    checks=(
        numeric(
            "the second block of both biases",
            4,
            "set_forget_bias",
            lstm.set_forget_bias,
            [
                Case("three units, a bias of two", lambda rng: (draw_params(rng, 4, 2, 3), 2.0)),
                Case("no value given: it is 1", lambda rng: (draw_params(rng, 4, 3, 2),)),
                Case("a single unit, a negative bias", lambda rng: (draw_params(rng, 4, 2, 1), -3.0)),
            ],
        ),
        numeric(
            "lists and whole numbers are accepted",
            1,
            "set_forget_bias",
            lstm.set_forget_bias,
            [
                Case("lists of numbers", lists(whole_params)),
                Case("arrays of whole numbers, a bias of a half", whole_params),
            ],
        ),
        unchanged(1, {"set_forget_bias": lambda rng: (draw_params(rng, 4, 2, 2), 2.0)}),
    ),
    mistakes=(
        Mistake(
            name="bias-of-another-gate",
            advice="The order is i, f, g, o: the forget gate owns rows H to 2H.",
            replaces={"set_forget_bias": bias_with(0)},
            variants=({"set_forget_bias": bias_with(2)}, {"set_forget_bias": bias_with(3)}),
        ),
        Mistake(
            name="both-biases-raised",
            advice="The two biases are added: with value in both the gate starts from twice the value.",
            replaces={"set_forget_bias": bias_with(1, both=True)},
        ),
        Mistake(
            name="second-bias-left",
            advice="What stands in b_hh is added to your value: set the forget gate's rows there to 0.",
            replaces={"set_forget_bias": bias_with(1, keep_second=True)},
        ),
        Mistake(
            name="value-added-to-the-old-bias",
            advice="The bias is set to the value, not raised by it.",
            replaces={"set_forget_bias": bias_with(1, add=True)},
        ),
        Mistake(
            name="bias-of-all-gates",
            advice="Only the forget gate starts open; raising all the biases changes every gate.",
            replaces={"set_forget_bias": bias_everywhere},
        ),
    ),
)

# --- one step of the LSTM --------------------------------------------------------------------------------------------


def lstm_case(batch: int, d: int, hidden: int, scale: float = 1.0) -> Draw:
    return lambda rng: (
        scale * rng.normal(size=(batch, d)),
        (rng.uniform(-1, 1, size=(batch, hidden)), 2 * rng.normal(size=(batch, hidden))),
        draw_params(rng, 4, d, hidden),
    )


def lstm_gates(x: Any, state: Any, params: Any) -> tuple[Array, ...]:
    """(a, h, c): the sums before the gates (B, 4, H) and the old state."""
    p = as_params(params)
    h, c = (np.asarray(part, dtype=np.float64) for part in state)
    a = np.asarray(x, dtype=np.float64) @ p["W_ih"].T + p["b_ih"] + h @ p["W_hh"].T + p["b_hh"]
    return a.reshape(len(a), 4, -1), h, c


def cell(
    squash: dict[int, Callable[[Array], Array]] | None = None,
    update: Callable[..., Array] = lambda i, f, g, c: f * c + i * g,
    show: Callable[..., Array] = lambda o, new, old: o * np.tanh(new),
) -> Callable[..., Any]:
    """A step whose gates 0 to 3 have other functions, or whose cell or state is made otherwise."""
    usual: dict[int, Callable[[Array], Array]] = {0: gate, 1: gate, 2: np.tanh, 3: gate}
    functions = usual | (squash or {})

    def step(x: Any, state: Any, params: Any) -> Any:
        a, _, c = lstm_gates(x, state, params)
        i, f, g, o = (functions[k](a[:, k]) for k in range(4))
        new = update(i, f, g, c)
        return (show(o, new, c), new), (x, state, params)

    return step


def lstm_step(x: Any, state: Any, params: Any) -> Any:
    """The reference in the student's signature, with its arguments for a cache."""
    return lstm.lstm_step_forward(x, state, params)[0], (x, state, params)


def lstm_reordered(order: Sequence[int]) -> Callable[..., Any]:
    read = blocks(order)
    return lambda x, state, params: lstm_step(x, state, read(params))


def lstm_without(bias: str) -> Callable[..., Any]:
    return lambda x, state, params: lstm_step(x, state, one_bias(bias)(params))


def lstm_swapped_state(x: Any, state: Any, params: Any) -> Any:
    (h, c), cache = lstm_step(x, state, params)
    return (c, h), cache


STATE_CASES = [
    Case("five samples, three inputs, four units", lstm_case(5, 3, 4)),
    Case("as many inputs as units and samples", lstm_case(3, 3, 3)),
    Case("a batch of one, a single unit", lstm_case(1, 2, 1)),
]

LSTM_STEP = Exercise(
    name="lstm_step",
    title="One step of an LSTM",
    functions=("lstm_step",),
    hints=(
        "Three gates say how much, from 0 to 1; one candidate says what, from -1 to 1.",
        "One sum gives all four blocks, (B, 4H). Cut it into four along the last axis, in the order i, f, g, "
        "o; only the "
        "third goes through a tanh.",
        "The new cell is the old cell times f plus the candidate times i. The new state is the tanh of the NEW "
        "cell times "
        "o. Return the pair (h', c') first, then the cache.",
    ),
    checks=(
        numeric(
            "the new state and cell", 8, "lstm_step", lstm_step, STATE_CASES, pick=0, result="the state", keep=(1,)
        ),
        numeric(
            "large cells, large inputs, lists and float32",
            3,
            "lstm_step",
            lstm_step,
            [
                Case("inputs of a thousand", lstm_case(3, 2, 4, 1e3)),
                Case("lists of numbers", lists(lstm_case(2, 3, 2))),
                Case("float32 arrays", float32(lstm_case(2, 3, 2))),
                Case(
                    "a cell of a million",
                    lambda rng: (
                        rng.normal(size=(2, 3)),
                        (rng.normal(size=(2, 2)), np.full((2, 2), 1e6)),
                        draw_params(rng, 4, 3, 2),
                    ),
                ),
            ],
            pick=0,
            result="the state",
            keep=(1,),
        ),
        unchanged(1, {"lstm_step": lstm_case(2, 3, 2)}, keep=(1,)),
    ),
    mistakes=(
        Mistake(
            name="lstm-gates-in-another-order",
            advice="The blocks stand in the order i, f, g, o: input, forget, candidate, output.",
            replaces={"lstm_step": lstm_reordered((0, 1, 3, 2))},
            variants=(
                {"lstm_step": lstm_reordered((1, 0, 2, 3))},
                {"lstm_step": lstm_reordered((1, 0, 3, 2))},
                {"lstm_step": lstm_reordered((2, 1, 0, 3))},
            ),
        ),
        Mistake(
            name="tanh-on-a-gate",
            advice="i, f and o are shares between 0 and 1 and go through the sigmoid; a tanh could make them negative.",
            replaces={"lstm_step": cell({0: np.tanh})},
            variants=(
                {"lstm_step": cell({1: np.tanh})},
                {"lstm_step": cell({3: np.tanh})},
                {"lstm_step": cell({0: np.tanh, 1: np.tanh, 3: np.tanh})},
            ),
        ),
        Mistake(
            name="sigmoid-on-the-candidate",
            advice="The candidate g must be able to lower the cell: it goes through a tanh, not a sigmoid.",
            replaces={"lstm_step": cell({2: gate})},
        ),
        Mistake(
            name="state-without-tanh",
            advice="The cell may grow large; what is shown of it is o times tanh(c'), not o times c'.",
            replaces={"lstm_step": cell(show=lambda o, new, old: o * new)},
        ),
        Mistake(
            name="state-from-the-old-cell",
            advice="The new state shows the NEW cell: update c first.",
            replaces={"lstm_step": cell(show=lambda o, new, old: o * np.tanh(old))},
        ),
        Mistake(
            name="input-gate-not-used",
            advice="The candidate is written only as far as the input gate allows: i * g.",
            replaces={"lstm_step": cell(update=lambda i, f, g, c: f * c + g)},
        ),
        Mistake(
            name="nothing-is-forgotten",
            advice="The old cell is kept only as far as the forget gate allows: f * c.",
            replaces={"lstm_step": cell(update=lambda i, f, g, c: c + i * g)},
        ),
        Mistake(
            name="one-gate-for-both",
            advice="An LSTM has a forget gate and an input gate of their own; (1 - f) in place of i is another "
            "network.",
            replaces={"lstm_step": cell(update=lambda i, f, g, c: f * c + (1 - f) * g)},
            variants=({"lstm_step": cell(update=lambda i, f, g, c: (1 - i) * c + i * g)},),
        ),
        Mistake(
            name="lstm-bias-forgotten",
            advice="There are two biases, b_ih and b_hh, and both belong in the sum.",
            replaces={"lstm_step": lstm_without("b_hh")},
            variants=({"lstm_step": lstm_without("b_ih")},),
        ),
        Mistake(
            name="cell-before-state",
            advice="The state is the tuple (h, c), in this order.",
            replaces={"lstm_step": lstm_swapped_state},
        ),
    ),
)

# --- gradient checks of all layers -----------------------------------------------------------------------------------

GRAD_KEYS = tuple(f"params.{name}" for name in RECURRENT_KEYS)


def with_grads(found: dict[str, Any], grads: Any) -> dict[str, Any]:
    """All gradients by key, also those of `grads` that nobody asked for."""
    named = {f"params.{name}": entry(grads, name, "`grads`") for name in RECURRENT_KEYS}
    return found | named | {f"params.{name}": grad for name, grad in grads.items()}


def cache_check(
    layer: tuple[str, str],
    draw: Inputs,
    forward: Callable[[Any, dict[str, Any]], Any],
    backward: Callable[[Any, Any, bool], dict[str, Any]],
    reference: Callable[[dict[str, Any]], dict[str, Any]],
) -> Check:
    """A cache serves its own forward pass, as often as it is asked, and upstream gradients are not written over.

    `forward(student, inputs)` returns the cache, `backward(student, (inputs, cache), listed)` all gradients by key.
    """

    @prop("a cache lasts, what is given stays as it is, the keys are right", 1, *layer)
    def check(student: Any, rng: Rng) -> None:
        first, second = draw(rng), draw(rng)
        cache = forward(student, first)
        forward(student, second)
        right = reference(first)
        for when, listed in (
            ("the first cache, after another forward pass", False),
            ("a cache that was used before", False),
            ("upstream gradients given as lists", True),
        ):
            with case_of(when):
                found = backward(student, (first, cache), listed)
                call, reply = student.transcript[-1]
                changed = [student.argument_name(call, n) for n in reply.changed]
                holds(not changed, f"`{layer[1]}` modified {', '.join(changed)} in place; leave it as it was.")
                extra = [key.removeprefix("params.")[:40] for key in found if key not in right]
                holds(not extra, f"`grads` has the keys of the parameters only; yours also has {', '.join(extra[:6])}.")
                for key, want in right.items():
                    same(found[key], want, f"the gradient of {key.split('.')[-1]}")

    return check


def as_lists(value: Any, listed: bool) -> Any:
    """Arrays, also those in a tuple, as lists where that is asked."""
    if isinstance(value, tuple):
        return tuple(as_lists(part, listed) for part in value)
    return value.tolist() if listed and isinstance(value, np.ndarray) else value


# So small an input against so large weights is of ordinary size inside, but bends within any step of a difference.
STEEP = 3e3


def steep(draw: Inputs) -> Inputs:
    """The same inputs divided by that number, and their weights multiplied by it."""

    def inputs(rng: Rng) -> dict[str, Any]:
        i = draw(rng)
        return {**i, "x": i["x"] / STEEP, "params": {**i["params"], "W_ih": STEEP * i["params"]["W_ih"]}}

    return inputs


def gradient_check(
    name: str,
    points: int,
    layer: tuple[str, str],
    wanted: Sequence[str],
    cases: Sequence[tuple[str, Inputs]],
    functions: tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]],
) -> Check:
    """`functions` are value(student, inputs), grads(student, inputs) and reference(inputs), all gradients by key."""
    value, grads, reference = functions
    return gradient(
        name,
        points,
        layer,
        [GradientCase(reason, draw) for reason, draw in cases],
        value=value,
        grads=grads,
        reference=lambda inputs: {key: reference(inputs)[key] for key in wanted},
        names={"h": "the gradient of h", "c": "the gradient of c"},
    )


# --- backward through one step of the LSTM ---------------------------------------------------------------------------


def lstm_step_inputs(draw: Draw, scale: float = 1.0, only: int | None = None) -> Inputs:
    """`only` leaves the upstream gradient at h (0) or at c (1) as the only one."""

    def inputs(rng: Rng) -> dict[str, Any]:
        x, (h, c), params = draw(rng)
        dout = scale * rng.normal(size=(2, *h.shape))
        if only is not None:
            dout[1 - only] = 0.0
        return {"x": x, "h": h, "c": c, "params": params, "dout": dout}

    return inputs


def lstm_step_of(student: Any, i: dict[str, Any]) -> tuple[Any, Any]:
    state, cache = items(
        student.call("lstm_step", i["x"], (i["h"], i["c"]), i["params"], keep=(1,)), ("state", "cache")
    )
    return state, cache


def lstm_step_went_back(student: Any, walk: Any, listed: bool = False) -> dict[str, Any]:
    i, cache = walk
    answer = student.lstm_step_backward(*as_lists((i["dout"][0], i["dout"][1]), listed), cache)
    dx, dh, dc, grads = items(answer, ("dx", "dh_prev", "dc_prev", "grads"))
    return with_grads({"x": dx, "h": dh, "c": dc}, grads)


def lstm_step_grads(student: Any, i: dict[str, Any]) -> dict[str, Any]:
    return lstm_step_went_back(student, (i, lstm_step_of(student, i)[1]))


def lstm_step_back(dh: Any, dc: Any, cache: Any) -> Any:
    x, state, params = cache
    dx, (dh_prev, dc_prev), grads = lstm.lstm_step_backward((dh, dc), lstm.lstm_step_forward(x, state, params)[1])
    return dx, dh_prev, dc_prev, grads


def lstm_step_reference(i: dict[str, Any]) -> dict[str, Any]:
    dx, dh, dc, grads = lstm_step_back(i["dout"][0], i["dout"][1], (i["x"], (i["h"], i["c"]), i["params"]))
    return with_grads({"x": dx, "h": dh, "c": dc}, grads)


LSTM_STEP_FUNCTIONS = (
    lambda student, i: np.stack([np.asarray(part, dtype=np.float64) for part in lstm_step_of(student, i)[0]]),
    lstm_step_grads,
    lstm_step_reference,
)


def lstm_back(
    total: Callable[..., Array] = lambda dh, dc, o, t: dc + dh * o * (1 - t**2),
    carry: Callable[..., Array] = lambda total, dc, f: total * f,
    slope: Callable[[Array], Array] = lambda s: s * (1 - s),
    bend: Callable[[Array], Array] = lambda g: 1 - g**2,
    kept: Callable[..., Array] = lambda old, new: old,
    shown: Callable[..., Array] = lambda t, new: t,
    order: Sequence[int] = (0, 1, 2, 3),
    share: Callable[[int], float] = lambda batch: 1.0,
) -> Replaces:
    """A step and a backward with a flaw in one of its lines."""

    def backward(dh: Any, dc: Any, cache: Any) -> Any:
        x, state, params = cache
        p = as_params(params)
        dh, dc = np.asarray(dh, dtype=np.float64), np.asarray(dc, dtype=np.float64)
        a, h, c = lstm_gates(x, state, params)
        i, f, g, o = gate(a[:, 0]), gate(a[:, 1]), np.tanh(a[:, 2]), gate(a[:, 3])
        new = f * c + i * g
        t = np.tanh(new)
        at = total(dh, dc, o, t)
        parts = [
            at * g * slope(i),
            at * kept(c, new) * slope(f),
            at * i * bend(g),
            dh * shown(t, new) * slope(o),
        ]
        da = np.concatenate([parts[k] for k in order], axis=1)
        grads = {
            "W_ih": da.T @ np.asarray(x, dtype=np.float64),
            "W_hh": da.T @ h,
            "b_ih": da.sum(axis=0),
            "b_hh": da.sum(axis=0),
        }
        factor = share(len(dh))
        scaled = {name: factor * grad for name, grad in grads.items()}
        return da @ p["W_ih"], da @ p["W_hh"], carry(at, dc, f), scaled

    return {"lstm_step": lstm_step, "lstm_step_backward": backward}


LSTM_BACK_CASES = [
    ("five samples, three inputs, four units", lstm_step_inputs(lstm_case(5, 3, 4))),
    ("as many inputs as units and samples", lstm_step_inputs(lstm_case(3, 3, 3))),
    ("a batch of one", lstm_step_inputs(lstm_case(1, 2, 3))),
]
ONE_SIDED = [
    ("a gradient at h' only", lstm_step_inputs(lstm_case(3, 2, 4), only=0)),
    ("a gradient at c' only", lstm_step_inputs(lstm_case(3, 2, 4), only=1)),
]
LSTM_LAYER = ("lstm_step", "lstm_step_backward")

LSTM_STEP_BACKWARD = Exercise(
    name="lstm_step_backward",
    title="Backward through the gates of an LSTM",
    functions=LSTM_LAYER,
    hints=(
        "Draw c' and every arrow that leaves it. Two gradients meet there.",
        "First the whole gradient at c'. Then one line for each of i, f, g and o: what it was multiplied with, "
        "times the "
        "slope of its own function. The rest is a linear layer that you know.",
        "The whole gradient at c' is dc plus dh times o times one minus tanh(c') squared. i was multiplied "
        "with g, f with "
        "the OLD c, g with i, and o with tanh(c'). Join the four blocks along the last axis.",
    ),
    checks=(
        gradient_check("gradient of the old cell", 4, LSTM_LAYER, ("c",), LSTM_BACK_CASES, LSTM_STEP_FUNCTIONS),
        gradient_check(
            "gradients of x and of the old state", 4, LSTM_LAYER, ("x", "h"), LSTM_BACK_CASES, LSTM_STEP_FUNCTIONS
        ),
        gradient_check(
            "gradients of the matrices",
            5,
            LSTM_LAYER,
            ("params.W_ih", "params.W_hh"),
            LSTM_BACK_CASES,
            LSTM_STEP_FUNCTIONS,
        ),
        gradient_check(
            "gradients of the biases",
            3,
            LSTM_LAYER,
            ("params.b_ih", "params.b_hh"),
            LSTM_BACK_CASES,
            LSTM_STEP_FUNCTIONS,
        ),
        gradient_check(
            "the state's way and the cell's way, one by one",
            3,
            LSTM_LAYER,
            ("x", "h", "c", *GRAD_KEYS),
            ONE_SIDED,
            LSTM_STEP_FUNCTIONS,
        ),
        gradient_check(
            "gradients are computed, not approximated",
            2,
            LSTM_LAYER,
            ("x", "h", "c", *GRAD_KEYS),
            [
                ("upstream gradients in the millions", lstm_step_inputs(lstm_case(2, 3, 2), scale=1e7)),
                ("tiny inputs and huge weights", steep(lstm_step_inputs(lstm_case(2, 3, 2)))),
            ],
            LSTM_STEP_FUNCTIONS,
        ),
        cache_check(
            LSTM_LAYER,
            lstm_step_inputs(lstm_case(2, 3, 2)),
            lambda student, i: lstm_step_of(student, i)[1],
            lstm_step_went_back,
            lstm_step_reference,
        ),
    ),
    mistakes=(
        Mistake(
            name="state-path-missing",
            advice="c' also makes h': add dh * o * (1 - tanh(c')^2) to the gradient at c'.",
            replaces=lstm_back(total=lambda dh, dc, o, t: dc),
        ),
        Mistake(
            name="cell-path-missing",
            advice="c' is handed on to the next step as well: the gradient dc that comes from there must be added.",
            replaces=lstm_back(total=lambda dh, dc, o, t: dh * o * (1 - t**2)),
        ),
        Mistake(
            name="state-path-without-slope",
            advice="h' shows tanh(c'): on the way back that costs a factor 1 - tanh(c')^2.",
            replaces=lstm_back(total=lambda dh, dc, o, t: dc + dh * o),
        ),
        Mistake(
            name="state-path-without-output-gate",
            advice="h' is o times tanh(c'): what comes back to c' is multiplied by o.",
            replaces=lstm_back(total=lambda dh, dc, o, t: dc + dh * (1 - t**2)),
        ),
        Mistake(
            name="old-cell-skips-the-forget-gate",
            advice="c' holds f * c: the gradient of the old cell is multiplied by f.",
            replaces=lstm_back(carry=lambda total, dc, f: total),
        ),
        Mistake(
            name="old-cell-from-dc-alone",
            advice="The old cell gets f times the WHOLE gradient at c', the share through h' included.",
            replaces=lstm_back(carry=lambda total, dc, f: dc * f),
        ),
        Mistake(
            name="gate-slopes-missing",
            advice="Each gate passes its own function: multiply by s (1 - s) for the sigmoids.",
            replaces=lstm_back(slope=lambda s: np.ones_like(s)),
        ),
        Mistake(
            name="candidate-slope-of-a-sigmoid",
            advice="g is a tanh: its slope is 1 - g^2, not g (1 - g).",
            replaces=lstm_back(bend=lambda g: g * (1 - g)),
            variants=(lstm_back(bend=lambda g: np.ones_like(g)), lstm_back(bend=lambda g: 1 - g)),
        ),
        Mistake(
            name="forget-gate-meets-the-new-cell",
            advice="f multiplied the OLD cell: its gradient is made with c, not with c'.",
            replaces=lstm_back(kept=lambda old, new: new),
        ),
        Mistake(
            name="output-gate-meets-the-bare-cell",
            advice="o multiplied tanh(c'): its gradient is made with that, not with c'.",
            replaces=lstm_back(shown=lambda t, new: new),
        ),
        Mistake(
            name="gate-gradients-in-another-order",
            advice="Put the four blocks side by side in the order of the parameters: i, f, g, o.",
            replaces=lstm_back(order=(0, 1, 3, 2)),
            variants=(lstm_back(order=(1, 0, 2, 3)), lstm_back(order=(1, 0, 3, 2))),
        ),
        Mistake(
            name="lstm-gradients-averaged",
            advice="Gradients of the parameters are plain sums over the batch; the mean is part of dh and dc already.",
            replaces=lstm_back(share=lambda batch: 1 / batch),
        ),
    ),
)

# --- LSTM over sequences ---------------------------------------------------------------------------------------------


def sequence_case(gates: int, batch: int, steps: int, d: int, hidden: int, start: bool = False) -> Draw:
    def draw(rng: Rng) -> tuple[Any, ...]:
        args = (rng.normal(size=(batch, steps, d)), draw_params(rng, gates, d, hidden))
        h0 = rng.uniform(-1, 1, size=(batch, hidden))
        return (*args, (h0, rng.normal(size=(batch, hidden))) if gates == 4 else h0) if start else args

    return draw


def lstm_forward(x: Any, params: Any, state: Any = None) -> Any:
    """The reference in the student's signature, with its arguments for a cache."""
    hs, last, _ = lstm.lstm_forward(x, params, state)
    return hs, last, (x, params, state)


def lstm_run(
    hand_on: Callable[[Any, Any], Any] = lambda state, start: state,
    collect: Callable[[Any], Array] = lambda state: state[0],
    use_start: bool = True,
) -> Callable[..., Any]:
    """A forward that hands on, collects or starts from something else."""

    def forward(x: Any, params: Any, state: Any = None) -> Any:
        x = np.asarray(x, dtype=np.float64)
        zeros = np.zeros((len(x), as_params(params)["W_hh"].shape[1]))
        state = (zeros, zeros) if state is None or not use_start else state
        start, hs = state, []
        for t in range(x.shape[1]):
            state = lstm_step(x[:, t], hand_on(state, start) if t else state, params)[0]
            hs.append(collect(state))
        return np.stack(hs, axis=1), state, (x, params, start)

    return forward


def along_batch(x: Any, params: Any, state: Any = None) -> Any:
    hs, (h, c), cache = lstm_forward(np.swapaxes(np.asarray(x, dtype=np.float64), 0, 1), params)
    return np.swapaxes(hs, 0, 1), (h, c), cache


@prop("a cell with an open forget gate and a shut input gate keeps its value", 2, "lstm_forward")
def constant_carry(student: Any, rng: Rng) -> None:
    hidden = 3
    params = draw_params(rng, 4, 2, hidden)
    params = {name: 0.1 * value for name, value in params.items()}
    # sigmoid(-60) is 1e-26: the candidate adds nothing, and sigmoid(60) rounds to exactly 1.
    params["b_ih"][:hidden], params["b_ih"][hidden : 2 * hidden] = -60.0, 60.0
    c = rng.normal(size=(2, hidden))
    x = rng.normal(size=(2, 100, 2))
    answer = student.call("lstm_forward", x, params, (np.zeros((2, hidden)), c), keep=(2,))
    _, last, _ = items(answer, ("hs", "last", "cache"))
    with case_of("a hundred steps of any input"):
        same(items(last, ("h", "c"), "last")[1], c, "the last cell")


LSTM_SEQUENCES = [
    Case("three sequences of five steps", sequence_case(4, 3, 5, 2, 4)),
    Case("as many samples as steps, a start state", sequence_case(4, 4, 4, 3, 3, start=True)),
    Case("one sequence of one step, a start state", sequence_case(4, 1, 1, 2, 3, start=True)),
]

LSTM_FORWARD = Exercise(
    name="lstm_forward",
    title="An LSTM over a sequence",
    functions=("lstm_forward",),
    hints=(
        "One loop over time; the pair (h, c) goes from turn to turn.",
        "Let lstm_step do the work. Keep every h for the answer, and every cache for the way back.",
        "Start with the given pair or with two arrays of zeros. In each turn call lstm_step with x[:, t]; np.stack the "
        "collected h along axis 1; the pair after the last turn is `last`.",
    ),
    checks=(
        numeric("all states", 2, "lstm_forward", lstm_forward, LSTM_SEQUENCES, pick=0, result="the states", keep=(2,)),
        numeric(
            "the last state and cell",
            3,
            "lstm_forward",
            lstm_forward,
            LSTM_SEQUENCES,
            pick=1,
            result="`last`",
            keep=(2,),
        ),
        numeric(
            "lists are accepted",
            1,
            "lstm_forward",
            lstm_forward,
            [Case("lists of numbers, a start state", lists(sequence_case(4, 2, 3, 3, 2, start=True)))],
            pick=0,
            result="the states",
            keep=(2,),
        ),
        constant_carry,
        unchanged(1, {"lstm_forward": sequence_case(4, 2, 3, 2, 2, start=True)}, keep=(2,)),
    ),
    mistakes=(
        Mistake(
            name="cell-not-carried",
            advice="Both h and c go on to the next step; yours begins every step with the first cell.",
            replaces={"lstm_forward": lstm_run(lambda state, start: (state[0], start[1]))},
            variants=({"lstm_forward": lstm_run(lambda state, start: (state[0], 0 * state[1]))},),
        ),
        Mistake(
            name="state-not-carried",
            advice="Both h and c go on to the next step; yours begins every step with the first h.",
            replaces={"lstm_forward": lstm_run(lambda state, start: (start[0], state[1]))},
        ),
        Mistake(
            name="cells-collected",
            advice="hs holds the states h; yours holds the cells c.",
            replaces={"lstm_forward": lstm_run(collect=lambda state: state[1])},
        ),
        Mistake(
            name="given-state-not-used",
            advice="A given state is the one before the first step; zeros are meant for None only.",
            replaces={"lstm_forward": lstm_run(use_start=False)},
        ),
        Mistake(
            name="lstm-batch-taken-for-time",
            advice="The first axis is the batch and the second is time: step t reads x[:, t], not x[t].",
            replaces={"lstm_forward": along_batch},
        ),
    ),
)


def lstm_backward(dhs: Any, cache: Any, dlast: Any = None) -> Any:
    x, params, state = cache
    return lstm.lstm_backward(dhs, lstm.lstm_forward(x, params, state)[2], dlast)


def lstm_walk(
    carry: Callable[[Array, Array], tuple[Array, Array]] = lambda dh, dc: (dh, dc),
    outside: Callable[[Array, int, int], Array] = lambda dh, t, steps: dh,
    use_last: bool = True,
    add: bool = True,
    direction: int = -1,
) -> Replaces:
    """Forward and a backward that loses something on its walk through time."""

    def backward(dhs: Any, cache: Any, dlast: Any = None) -> Any:
        x, params, state = cache
        x, dhs = np.asarray(x, dtype=np.float64), np.asarray(dhs, dtype=np.float64)
        zeros = np.zeros_like(dhs[:, 0])
        now = (zeros, zeros) if state is None else state
        caches = []
        for t in range(x.shape[1]):
            caches.append((x[:, t], now, params))
            now = lstm_step(x[:, t], now, params)[0]
        dh, dc = (zeros, zeros) if dlast is None or not use_last else dlast
        dx, total = np.zeros_like(x), None
        for t in range(len(caches))[::direction]:
            dx[:, t], dh, dc, grads = lstm_step_back(outside(dhs[:, t], t, len(caches)) + dh, dc, caches[t])
            dh_start, dc_start = dh, dc
            dh, dc = carry(dh, dc)
            total = {name: total[name] + grads[name] for name in grads} if total and add else grads
        return dx, (dh_start, dc_start), total

    return {"lstm_forward": lstm_forward, "lstm_backward": backward}


def lstm_sequence_inputs(draw: Draw, scale: float = 1.0, last: bool = True, only_last: bool = False) -> Inputs:
    """The upstream gradient holds those at h_1 ... h_T, then those at the last h and c."""

    def inputs(rng: Rng) -> dict[str, Any]:
        x, params, (h, c) = draw(rng)
        dout = scale * rng.normal(size=(len(x), x.shape[1] + 2, h.shape[1]))
        if not last:
            dout[:, -2:] = 0.0
        if only_last:
            dout[:, :-2] = 0.0
        return {"x": x, "params": params, "h": h, "c": c, "dout": dout, "last": last}

    return inputs


def lstm_forward_of(student: Any, i: dict[str, Any]) -> tuple[Any, ...]:
    answer = student.call("lstm_forward", i["x"], i["params"], (i["h"], i["c"]), keep=(2,))
    return items(answer, ("hs", "last", "cache"))


def lstm_value(student: Any, i: dict[str, Any]) -> Array:
    hs, (h, c), _ = lstm_forward_of(student, i)
    return np.concatenate([hs, np.stack([h, c], axis=1)], axis=1)


def dlast_of(i: dict[str, Any]) -> Any:
    return (i["dout"][:, -2], i["dout"][:, -1]) if i["last"] else None


def lstm_went_back(student: Any, walk: Any, listed: bool = False) -> dict[str, Any]:
    i, cache = walk
    arguments = (i["dout"][:, :-2], cache, *([dlast_of(i)] if i["last"] else []))
    dx, dstate, grads = items(student.call("lstm_backward", *as_lists(arguments, listed)), ("dx", "dstate", "grads"))
    dh, dc = items(dstate, ("dh_0", "dc_0"), "dstate")
    return with_grads({"x": dx, "h": dh, "c": dc}, grads)


def lstm_sequence_grads(student: Any, i: dict[str, Any]) -> dict[str, Any]:
    return lstm_went_back(student, (i, lstm_forward_of(student, i)[2]))


def lstm_from_zeros(student: Any, i: dict[str, Any]) -> Any:
    """The cache of a forward pass that is given no state; `i` has zeros for it."""
    return items(student.call("lstm_forward", i["x"], i["params"], keep=(2,)), ("hs", "last", "cache"))[2]


def no_state(draw: Inputs) -> Inputs:
    """The same inputs with zeros for the start state."""

    def inputs(rng: Rng) -> dict[str, Any]:
        i = draw(rng)
        return i | {name: np.zeros_like(i[name]) for name in ("h", "c") if name in i}

    return inputs


def lstm_sequence_reference(i: dict[str, Any]) -> dict[str, Any]:
    cache = (i["x"], i["params"], (i["h"], i["c"]))
    dx, (dh, dc), grads = lstm_backward(i["dout"][:, :-2], cache, dlast_of(i))
    return with_grads({"x": dx, "h": dh, "c": dc}, grads)


LSTM_SEQUENCE_FUNCTIONS = (lstm_value, lstm_sequence_grads, lstm_sequence_reference)
LSTM_PAIR = ("lstm_forward", "lstm_backward")
LSTM_WALKS = [
    ("three sequences of five steps", lstm_sequence_inputs(sequence_case(4, 3, 5, 2, 4, True), last=False)),
    ("as many samples as steps", lstm_sequence_inputs(sequence_case(4, 4, 4, 3, 3, True), last=False)),
]
LAST_WALKS = [
    ("gradients at all states and at the last one", lstm_sequence_inputs(sequence_case(4, 2, 4, 3, 2, True))),
    (
        "gradients at the last state and cell only",
        lstm_sequence_inputs(sequence_case(4, 2, 5, 2, 3, True), only_last=True),
    ),
    ("one step", lstm_sequence_inputs(sequence_case(4, 1, 1, 2, 3, True))),
    ("tiny inputs and huge weights", steep(lstm_sequence_inputs(sequence_case(4, 1, 2, 2, 2, True)))),
]

LSTM_BACKWARD = Exercise(
    name="lstm_backward",
    title="Back-propagation through time, with two states",
    functions=LSTM_PAIR,
    hints=(
        "Walk from the last step to the first and carry two arrays. What does each of them meet on the way?",
        "lstm_step_backward does the work of one step; what it returns for the old h and the old c belongs to the step "
        "before. Add dhs[:, t] to the carried dh before each call.",
        "Start from dlast, or two arrays of zeros. Collect dx in reverse and turn it round at the end; add the "
        "gradients "
        "name by name; what is carried after step 0 is dstate.",
    ),
    checks=(
        gradient_check("gradients of the parameters", 5, LSTM_PAIR, GRAD_KEYS, LSTM_WALKS, LSTM_SEQUENCE_FUNCTIONS),
        gradient_check(
            "gradients of the inputs and of the start state",
            4,
            LSTM_PAIR,
            ("x", "h", "c"),
            LSTM_WALKS,
            LSTM_SEQUENCE_FUNCTIONS,
        ),
        gradient_check(
            "further gradients at the last state",
            4,
            LSTM_PAIR,
            ("x", "h", "c", *GRAD_KEYS),
            LAST_WALKS,
            LSTM_SEQUENCE_FUNCTIONS,
        ),
        cache_check(
            LSTM_PAIR,
            no_state(lstm_sequence_inputs(sequence_case(4, 2, 3, 3, 2, True))),
            lstm_from_zeros,
            lstm_went_back,
            lstm_sequence_reference,
        ),
    ),
    mistakes=(
        Mistake(
            name="state-gradient-not-carried",
            advice="h_t also entered the next step: add what that step sends back for it to dhs[:, t].",
            replaces=lstm_walk(lambda dh, dc: (0 * dh, dc)),
        ),
        Mistake(
            name="cell-gradient-not-carried",
            advice="The gradient of the cell travels back from step to step: hand it on, it is the LSTM's long memory.",
            replaces=lstm_walk(lambda dh, dc: (dh, 0 * dc)),
        ),
        Mistake(
            name="no-step-talks-to-the-one-before",
            advice="Each step was treated by itself: carry dh and dc back through time.",
            replaces=lstm_walk(lambda dh, dc: (0 * dh, 0 * dc)),
        ),
        Mistake(
            name="lstm-gradient-overwritten",
            advice="Every step uses the same weights: add up the gradients of all steps.",
            replaces=lstm_walk(add=False),
        ),
        Mistake(
            name="last-gradients-ignored",
            advice="dlast is what comes back to the last h and c from outside: begin the walk with it, not with zeros.",
            replaces=lstm_walk(use_last=False),
        ),
        Mistake(
            name="last-step-only",
            advice="dhs has a gradient for every step: add dhs[:, t] at each of them, not at the last one only.",
            replaces=lstm_walk(outside=lambda dh, t, steps: dh if t == steps - 1 else 0 * dh),
        ),
        Mistake(
            name="walked-forwards",
            advice="Gradients come from the future: walk from the last step to the first.",
            replaces=lstm_walk(direction=1),
        ),
    ),
)

# --- one step of the GRU ---------------------------------------------------------------------------------------------


def gru_case(batch: int, d: int, hidden: int, scale: float = 1.0) -> Draw:
    return lambda rng: (
        scale * rng.normal(size=(batch, d)),
        rng.uniform(-1, 1, size=(batch, hidden)),
        draw_params(rng, 3, d, hidden),
    )


def gru_sums(x: Any, h: Any, params: Any) -> tuple[Array, Array, Array, Params]:
    """(u, v, h, params): the shares of input and state, each (B, 3, H)."""
    p = as_params(params)
    x, h = np.asarray(x, dtype=np.float64), np.asarray(h, dtype=np.float64)
    u, v = x @ p["W_ih"].T + p["b_ih"], h @ p["W_hh"].T + p["b_hh"]
    return u.reshape(len(x), 3, -1), v.reshape(len(x), 3, -1), h, p


def gru_cell(
    new: Callable[..., Array] = lambda r, u, v, h, p: np.tanh(u + r * v),
    mix: Callable[..., Array] = lambda z, n, h: (1 - z) * n + z * h,
    squash: Callable[[Array], Array] = gate,
) -> Callable[..., Any]:
    def step(x: Any, h: Any, params: Any) -> Any:
        u, v, h, p = gru_sums(x, h, params)
        r, z = squash(u[:, 0] + v[:, 0]), squash(u[:, 1] + v[:, 1])
        return mix(z, new(r, u[:, 2], v[:, 2], h, p), h), (x, h, params)

    return step


def gru_step(x: Any, h: Any, params: Any) -> Any:
    return gru.gru_step_forward(x, h, params)[0], (x, h, params)


def gru_reordered(order: Sequence[int]) -> Callable[..., Any]:
    return lambda x, h, params: gru_step(x, h, blocks(order)(params))


def reset_first(r: Array, u: Array, v: Array, h: Array, p: Params) -> Array:
    hidden = h.shape[1]
    return np.tanh(u + (r * h) @ p["W_hh"][2 * hidden :].T + p["b_hh"][2 * hidden :])


def bias_outside_reset(r: Array, u: Array, v: Array, h: Array, p: Params) -> Array:
    b = p["b_hh"][2 * h.shape[1] :]
    return np.tanh(u + r * (v - b) + b)


GRU_CASES = [
    Case("five samples, three inputs, four units", gru_case(5, 3, 4)),
    Case("as many inputs as units and samples", gru_case(3, 3, 3)),
    Case("a batch of one, a single unit", gru_case(1, 2, 1)),
]

GRU_STEP = Exercise(
    name="gru_step",
    title="One step of a GRU",
    functions=("gru_step",),
    hints=(
        "Keep the share of the input and the share of the state apart: the reset gate touches only one of them.",
        "Cut both u and v into three. r and z add their blocks and take a sigmoid; n adds the reset gate's share of v.",
        "n is the tanh of u_n plus r times v_n, where v_n has its bias already. The new state is n weighted by "
        "1 - z plus "
        "the old state weighted by z.",
    ),
    checks=(
        numeric("the new state", 7, "gru_step", gru_step, GRU_CASES, pick=0, result="the new state", keep=(1,)),
        numeric(
            "large inputs, lists and float32",
            2,
            "gru_step",
            gru_step,
            [
                Case("inputs of a thousand", gru_case(3, 2, 4, 1e3)),
                Case("lists of numbers", lists(gru_case(2, 3, 2))),
                Case("float32 arrays", float32(gru_case(2, 3, 2))),
            ],
            pick=0,
            result="the new state",
            keep=(1,),
        ),
        unchanged(1, {"gru_step": gru_case(2, 3, 2)}, keep=(1,)),
    ),
    mistakes=(
        Mistake(
            name="update-gate-the-other-way",
            advice="h' = (1 - z) n + z h: a z near 1 keeps the old state. Yours has the two exchanged.",
            replaces={"gru_step": gru_cell(mix=lambda z, n, h: z * n + (1 - z) * h)},
        ),
        Mistake(
            name="reset-before-the-product",
            advice="The reset gate multiplies h W_hh^T + b_hh after the product (PyTorch's form), not h before it.",
            replaces={"gru_step": gru_cell(new=reset_first)},
        ),
        Mistake(
            name="bias-outside-the-reset",
            advice="The reset gate multiplies v_n as a whole, its bias b_hh included.",
            replaces={"gru_step": gru_cell(new=bias_outside_reset)},
        ),
        Mistake(
            name="input-reset-as-well",
            advice="The reset gate weighs the share of the state only; the share of the input, u_n, comes in full.",
            replaces={"gru_step": gru_cell(new=lambda r, u, v, h, p: np.tanh(r * (u + v)))},
        ),
        Mistake(
            name="reset-gate-not-used",
            advice="Without r * v_n the network cannot drop its past for a fresh start.",
            replaces={"gru_step": gru_cell(new=lambda r, u, v, h, p: np.tanh(u + v))},
        ),
        Mistake(
            name="gru-gates-in-another-order",
            advice="The blocks stand in the order r, z, n: reset, update, new.",
            replaces={"gru_step": gru_reordered((1, 0, 2))},
            variants=({"gru_step": gru_reordered((1, 2, 0))}, {"gru_step": gru_reordered((2, 1, 0))}),
        ),
        Mistake(
            name="gru-tanh-on-the-gates",
            advice="r and z are shares between 0 and 1 and go through the sigmoid.",
            replaces={"gru_step": gru_cell(squash=np.tanh)},
        ),
        Mistake(
            name="gru-sigmoid-on-the-candidate",
            advice="n is a candidate for the state, between -1 and 1: it goes through a tanh.",
            replaces={"gru_step": gru_cell(new=lambda r, u, v, h, p: gate(u + r * v))},
        ),
    ),
)


def gru_step_inputs(draw: Draw, scale: float = 1.0) -> Inputs:
    def inputs(rng: Rng) -> dict[str, Any]:
        x, h, params = draw(rng)
        return {"x": x, "h": h, "params": params, "dout": scale * rng.normal(size=h.shape)}

    return inputs


def gru_step_of(student: Any, i: dict[str, Any]) -> tuple[Any, ...]:
    return items(student.call("gru_step", i["x"], i["h"], i["params"], keep=(1,)), ("h", "cache"))


def gru_step_went_back(student: Any, walk: Any, listed: bool = False) -> dict[str, Any]:
    i, cache = walk
    answer = student.gru_step_backward(as_lists(i["dout"], listed), cache)
    dx, dh, grads = items(answer, ("dx", "dh_prev", "grads"))
    return with_grads({"x": dx, "h": dh}, grads)


def gru_step_grads(student: Any, i: dict[str, Any]) -> dict[str, Any]:
    return gru_step_went_back(student, (i, gru_step_of(student, i)[1]))


def gru_step_back(dh: Any, cache: Any) -> Any:
    return gru.gru_step_backward(dh, gru.gru_step_forward(*cache)[1])


def gru_step_reference(i: dict[str, Any]) -> dict[str, Any]:
    dx, dh, grads = gru_step_back(i["dout"], (i["x"], i["h"], i["params"]))
    return with_grads({"x": dx, "h": dh}, grads)


GRU_STEP_FUNCTIONS = (lambda student, i: gru_step_of(student, i)[0], gru_step_grads, gru_step_reference)
GRU_LAYER = ("gru_step", "gru_step_backward")
GRU_BACK_CASES = [
    ("five samples, three inputs, four units", gru_step_inputs(gru_case(5, 3, 4))),
    ("as many inputs as units and samples", gru_step_inputs(gru_case(3, 3, 3))),
    ("a batch of one, a single unit", gru_step_inputs(gru_case(1, 2, 1))),
]


def gru_back(
    straight: Callable[..., Array] = lambda dh, z: dh * z,
    dn: Callable[..., Array] = lambda dh, z: dh * (1 - z),
    dz: Callable[..., Array] = lambda dh, h, n: dh * (h - n),
    met: Callable[..., Array] = lambda v, h: v,
    slope: Callable[[Array], Array] = lambda s: s * (1 - s),
    bend: Callable[[Array], Array] = lambda n: 1 - n**2,
    to_state: Callable[..., Array] = lambda da, r: r * da,
    to_input: Callable[..., Array] = lambda da, r: da,
) -> Replaces:
    """A step and a backward with a flaw in one of its lines."""

    def backward(dh: Any, cache: Any) -> Any:
        u, v, h, p = gru_sums(*cache)
        dh = np.asarray(dh, dtype=np.float64)
        r, z = gate(u[:, 0] + v[:, 0]), gate(u[:, 1] + v[:, 1])
        n = np.tanh(u[:, 2] + r * v[:, 2])
        da_n = dn(dh, z) * bend(n)
        da_z = dz(dh, h, n) * slope(z)
        da_r = da_n * met(v[:, 2], h) * slope(r)
        du = np.concatenate([da_r, da_z, to_input(da_n, r)], axis=1)
        dv = np.concatenate([da_r, da_z, to_state(da_n, r)], axis=1)
        x = np.asarray(cache[0], dtype=np.float64)
        grads = {"W_ih": du.T @ x, "W_hh": dv.T @ h, "b_ih": du.sum(axis=0), "b_hh": dv.sum(axis=0)}
        return du @ p["W_ih"], dv @ p["W_hh"] + straight(dh, z), grads

    return {"gru_step": gru_step, "gru_step_backward": backward}


GRU_STEP_BACKWARD = Exercise(
    name="gru_step_backward",
    title="Backward through the gates of a GRU",
    functions=GRU_LAYER,
    hints=(
        "The old state enters in two places: through W_hh into all three blocks, and straight into the mixture.",
        "Go back line by line: the mixture gives n, z and a share of h; n gives the reset gate and v_n. Each gate then "
        "passes the slope of its own function.",
        "Input and state have the same gradients in the blocks r and z. In the block n the state's is r times the "
        "input's. Add dh * z to what comes back through W_hh.",
    ),
    checks=(
        gradient_check("gradient of the inputs", 3, GRU_LAYER, ("x",), GRU_BACK_CASES, GRU_STEP_FUNCTIONS),
        gradient_check(
            "gradient of the old state, on both ways", 4, GRU_LAYER, ("h",), GRU_BACK_CASES, GRU_STEP_FUNCTIONS
        ),
        gradient_check("gradients of the parameters", 3, GRU_LAYER, GRAD_KEYS, GRU_BACK_CASES, GRU_STEP_FUNCTIONS),
        gradient_check(
            "gradients are computed, not approximated",
            2,
            GRU_LAYER,
            ("x", "h", *GRAD_KEYS),
            [
                ("an upstream gradient in the millions", gru_step_inputs(gru_case(2, 3, 2), scale=1e7)),
                ("tiny inputs and huge weights", steep(gru_step_inputs(gru_case(2, 3, 2)))),
            ],
            GRU_STEP_FUNCTIONS,
        ),
        cache_check(
            GRU_LAYER,
            gru_step_inputs(gru_case(2, 3, 2)),
            lambda student, i: gru_step_of(student, i)[1],
            gru_step_went_back,
            gru_step_reference,
        ),
    ),
    mistakes=(
        Mistake(
            name="straight-way-missing",
            advice="z * h takes the old state straight into the new one: its gradient gets dh * z besides.",
            replaces=gru_back(straight=lambda dh, z: 0 * dh),
            variants=(gru_back(straight=lambda dh, z: dh),),
        ),
        Mistake(
            name="mixture-weights-swapped",
            advice="n is weighted by 1 - z and h by z: dn is dh * (1 - z), and h gets dh * z.",
            replaces=gru_back(straight=lambda dh, z: dh * (1 - z), dn=lambda dh, z: dh * z),
            variants=(gru_back(dn=lambda dh, z: dh * z), gru_back(straight=lambda dh, z: dh * (1 - z))),
        ),
        Mistake(
            name="update-gate-sign",
            advice="A larger z means more of h and less of n: dz is dh * (h - n).",
            replaces=gru_back(dz=lambda dh, h, n: dh * (n - h)),
        ),
        Mistake(
            name="update-gate-meets-the-old-state-only",
            advice="z stands in both terms of the mixture: dz is dh * (h - n), not dh * h.",
            replaces=gru_back(dz=lambda dh, h, n: dh * h),
        ),
        Mistake(
            name="reset-gate-meets-h",
            advice="r multiplied v_n, the product with its bias: its gradient is made with v_n, not with h.",
            replaces=gru_back(met=lambda v, h: h),
        ),
        Mistake(
            name="reset-missing-on-the-way-back",
            advice="v_n went through the reset gate, so its gradient is r times that of u_n; W_hh and b_hh need it.",
            replaces=gru_back(to_state=lambda da, r: da),
        ),
        Mistake(
            name="reset-on-the-input-gradient",
            advice="u_n did not go through the reset gate: its gradient is da_n itself.",
            replaces=gru_back(to_input=lambda da, r: r * da),
        ),
        Mistake(
            name="gru-gate-slopes-missing",
            advice="Each gate passes its own function: multiply by s (1 - s) for the sigmoids.",
            replaces=gru_back(slope=lambda s: np.ones_like(s)),
        ),
        Mistake(
            name="gru-candidate-slope",
            advice="n is a tanh: its slope is 1 - n^2.",
            replaces=gru_back(bend=lambda n: np.ones_like(n)),
            variants=(gru_back(bend=lambda n: n * (1 - n)), gru_back(bend=lambda n: 1 - n)),
        ),
    ),
)

# --- GRU over sequences ----------------------------------------------------------------------------------------------


def gru_forward(x: Any, params: Any, h0: Any = None) -> Any:
    return gru.gru_forward(x, params, h0)[0], (x, params, h0)


def gru_from_zero(x: Any, params: Any, h0: Any = None) -> Any:
    return gru_forward(x, params)


def gru_not_carried(x: Any, params: Any, h0: Any = None) -> Any:
    x = np.asarray(x, dtype=np.float64)
    each = [gru_forward(x[:, t : t + 1], params, h0)[0] for t in range(x.shape[1])]
    return np.concatenate(each, axis=1), (x, params, h0)


def gru_backward(dhs: Any, cache: Any) -> Any:
    return gru.gru_backward(dhs, gru.gru_forward(*cache)[2])


def gru_walk(carried: float = 1.0, add: bool = True, last_only: bool = False) -> Replaces:
    def backward(dhs: Any, cache: Any) -> Any:
        x, params, h0 = cache
        x, dhs = np.asarray(x, dtype=np.float64), np.array(dhs, dtype=np.float64)
        start = np.zeros_like(dhs[:, 0]) if h0 is None else np.asarray(h0, dtype=np.float64)
        befores = [start, *np.swapaxes(gru_forward(x, params, h0)[0], 0, 1)]
        if last_only:
            dhs[:, :-1] = 0.0
        dh, dx, total = np.zeros_like(start), np.zeros_like(x), None
        for t in reversed(range(x.shape[1])):
            dx[:, t], dh, grads = gru_step_back(dhs[:, t] + carried * dh, (x[:, t], befores[t], params))
            total = {name: total[name] + grads[name] for name in grads} if total and add else grads
        return dx, dh, total

    return {"gru_forward": gru_forward, "gru_backward": backward}


def gru_sequence_inputs(draw: Draw) -> Inputs:
    def inputs(rng: Rng) -> dict[str, Any]:
        x, params, h = draw(rng)
        return {"x": x, "params": params, "h": h, "dout": rng.normal(size=(*x.shape[:2], h.shape[1]))}

    return inputs


def gru_forward_of(student: Any, i: dict[str, Any]) -> tuple[Any, ...]:
    return items(student.call("gru_forward", i["x"], i["params"], i["h"], keep=(1,)), ("hs", "cache"))


def gru_went_back(student: Any, walk: Any, listed: bool = False) -> dict[str, Any]:
    i, cache = walk
    answer = student.gru_backward(as_lists(i["dout"], listed), cache)
    dx, dh, grads = items(answer, ("dx", "dh0", "grads"))
    return with_grads({"x": dx, "h": dh}, grads)


def gru_sequence_grads(student: Any, i: dict[str, Any]) -> dict[str, Any]:
    return gru_went_back(student, (i, gru_forward_of(student, i)[1]))


def gru_from_zeros(student: Any, i: dict[str, Any]) -> Any:
    """The cache of a forward pass that is given no state; `i` has zeros for it."""
    return items(student.call("gru_forward", i["x"], i["params"], keep=(1,)), ("hs", "cache"))[1]


def gru_sequence_reference(i: dict[str, Any]) -> dict[str, Any]:
    dx, dh, grads = gru_backward(i["dout"], (i["x"], i["params"], i["h"]))
    return with_grads({"x": dx, "h": dh}, grads)


GRU_PAIR = ("gru_forward", "gru_backward")

GRU_SEQUENCE = Exercise(
    name="gru_sequence",
    title="A GRU over a sequence, there and back",
    functions=GRU_PAIR,
    hints=(
        "It is the LSTM's loop with one state instead of two.",
        "Forward: gru_step in a loop, keeping each state and each cache. Backward: gru_step_backward from the "
        "last step "
        "to the first.",
        "Add what is carried to dhs[:, t] before each step back, add up the gradients name by name, and turn the "
        "collected dx round at the end.",
    ),
    checks=(
        numeric(
            "all states",
            2,
            "gru_forward",
            gru_forward,
            [
                Case("three sequences of five steps", sequence_case(3, 3, 5, 2, 4)),
                Case("as many samples as steps, a start state", sequence_case(3, 4, 4, 3, 3, start=True)),
                Case("one sequence of one step, a start state", sequence_case(3, 1, 1, 2, 3, start=True)),
            ],
            pick=0,
            result="the states",
            keep=(1,),
        ),
        numeric(
            "lists are accepted",
            1,
            "gru_forward",
            gru_forward,
            [Case("lists of numbers, a start state", lists(sequence_case(3, 2, 3, 3, 2, start=True)))],
            pick=0,
            result="the states",
            keep=(1,),
        ),
        gradient_check(
            "all gradients, through time",
            5,
            GRU_PAIR,
            ("x", "h", *GRAD_KEYS),
            [
                ("three sequences of five steps", gru_sequence_inputs(sequence_case(3, 3, 5, 2, 4, True))),
                ("as many samples as steps", gru_sequence_inputs(sequence_case(3, 4, 4, 3, 3, True))),
                ("one step", gru_sequence_inputs(sequence_case(3, 2, 1, 2, 3, True))),
                ("tiny inputs and huge weights", steep(gru_sequence_inputs(sequence_case(3, 1, 2, 2, 2, True)))),
            ],
            (lambda student, i: gru_forward_of(student, i)[0], gru_sequence_grads, gru_sequence_reference),
        ),
        cache_check(
            GRU_PAIR,
            no_state(gru_sequence_inputs(sequence_case(3, 2, 3, 3, 2, True))),
            gru_from_zeros,
            gru_went_back,
            gru_sequence_reference,
        ),
        unchanged(1, {"gru_forward": sequence_case(3, 2, 3, 2, 2, start=True)}, keep=(1,)),
    ),
    mistakes=(
        Mistake(
            name="gru-start-state-not-used",
            advice="A given h0 is the state before the first step; zeros are meant for None only.",
            replaces={"gru_forward": gru_from_zero, "gru_backward": gru_backward},
        ),
        Mistake(
            name="gru-state-not-carried",
            advice="Each step begins with the state the step before it made, not with the first one.",
            replaces={"gru_forward": gru_not_carried, "gru_backward": gru_backward},
        ),
        Mistake(
            name="gru-gradient-not-carried",
            advice="A state enters the next step: add what that step sends back to dhs[:, t].",
            replaces=gru_walk(carried=0.0),
        ),
        Mistake(
            name="gru-gradient-overwritten",
            advice="Every step uses the same weights: add up the gradients of all steps.",
            replaces=gru_walk(add=False),
        ),
        Mistake(
            name="gru-last-step-only",
            advice="dhs has a gradient for every step: add dhs[:, t] at each of them.",
            replaces=gru_walk(last_only=True),
        ),
    ),
)

# --- the picture -----------------------------------------------------------------------------------------------------


def draw_picture(student: Any, figure: Any) -> None:
    """How much of the last state's gradient reaches earlier inputs, and how long a cell keeps what it was given."""
    left, right = figure.subplots(1, 2)
    rng = np.random.default_rng(318)
    batch, steps, d, hidden = 16, 60, 4, 16
    x = rng.normal(size=(batch, steps, d))
    dhs = np.zeros((batch, steps, hidden))
    dhs[:, -1] = rng.normal(size=(batch, hidden))
    ago = np.arange(steps)[::-1]

    def plot(dx: Any, label: str, **style: Any) -> None:
        norms = np.linalg.norm(numbers(dx, (batch, steps, d), "dx"), axis=(0, 2))
        left.semilogy(ago, norms / norms[-1], label=label, **style)

    plain = init_recurrent(rng, d, hidden)
    plot(rnn.rnn_backward(dhs, rnn.rnn_forward(x, plain)[2])[0], "plain RNN, for comparison", color="0.5", ls="--")
    gru_params = init_recurrent(rng, d, hidden, gates=3)
    _, cache = items(student.call("gru_forward", x, gru_params, keep=(1,)), ("hs", "cache"))
    plot(items(student.gru_backward(dhs, cache), ("dx", "dh0", "grads"))[0], "GRU", color="C2")
    lstm_params = init_recurrent(rng, d, hidden, gates=4)
    for bias, color in ((0.0, "C1"), (1.0, "C0"), (3.0, "C3")):
        params = student.set_forget_bias(lstm_params, bias)
        _, _, cache = items(student.call("lstm_forward", x, params, keep=(2,)), ("hs", "last", "cache"))
        dx = items(student.lstm_backward(dhs, cache), ("dx", "dstate", "grads"))[0]
        plot(dx, f"LSTM, forget bias {bias:g}", color=color)
    left.set(xlabel="steps before the last", ylabel="gradient at the input, relative to the last step's")
    left.set_title("How far back the last state's gradient reaches")
    left.set_ylim(1e-16, 10)
    left.legend(frameon=False, fontsize=8)
    for bias, color in ((0.0, "C1"), (1.0, "C0"), (3.0, "C3"), (6.0, "C4")):
        params = {name: np.zeros_like(value) for name, value in lstm_params.items()}
        params = student.set_forget_bias(params, bias)
        cells, state = [1.0], (np.zeros((1, hidden)), np.ones((1, hidden)))
        for t in range(steps):
            state = items(student.call("lstm_step", x[:1, t], state, params, keep=(1,)), ("state", "cache"))[0]
            cells.append(float(numbers(state[1], (1, hidden), "c")[0, 0]))
        right.plot(cells, color=color, label=f"forget bias {bias:g}: f = {float(gate(np.array(bias))):.3f}")
    right.set(xlabel="step", ylabel="what is left of a cell of 1", title="An open forget gate keeps the cell")
    right.legend(frameon=False, fontsize=8)


CHAPTER = Chapter(
    id="ch318",
    slug="lstm_and_gru",
    title="LSTM and GRU",
    part="Architectures",
    summary="One step of an LSTM and of a GRU, the way back through every gate, and both over whole sequences.",
    builds_on=("ch317", "ch309"),
    exercises=(
        COUNT,
        FORGET_BIAS,
        LSTM_STEP,
        LSTM_STEP_BACKWARD,
        LSTM_FORWARD,
        LSTM_BACKWARD,
        GRU_STEP,
        GRU_STEP_BACKWARD,
        GRU_SEQUENCE,
    ),
    picture=Picture(title="Gates that remember", draw=draw_picture),
)
