"""Checks of chapter 303: a network for one vector, XOR by hand, what a hidden layer does, and why it needs a bend."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from dlreference import activations, mlp
from dlreference import perceptron as ref_perceptron

from dlgrade.course.compare import entry, holds, items, number_text, numbers, same
from dlgrade.course.kinds import Case, Rng, case_of, numeric, prop, unchanged
from dlgrade.course.spec import Chapter, Exercise, Mistake, Picture
from dlgrade.sandbox.session import Call

Array = np.ndarray[Any, Any]
Params = dict[str, Any]

CORNERS, XOR = ref_perceptron.xor_data()


def fixed(*args: Any) -> Any:
    """A case whose numbers are the same for everybody."""
    return lambda rng: tuple(np.array(a, dtype=np.float64) if isinstance(a, list) else a for a in args)


def draw_params(widths: Sequence[int], rng: Rng) -> Params:
    """Parameters for these widths: signals neither fade nor grow, and no bias is zero, so that forgetting one shows."""
    params = {}
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(widths), start=1):
        params[f"W{layer}"] = rng.normal(size=(fan_out, fan_in)) * np.sqrt(2.0 / fan_in)
        params[f"b{layer}"] = rng.uniform(0.2, 0.8, size=fan_out) * rng.choice([-1.0, 1.0], size=fan_out)
    return params


def shuffled(params: Params) -> Params:
    """The same dict with its keys in another order: never the order of the layers."""
    names = [name for name in params if name[0] == "b"][::-1] + [name for name in params if name[0] == "W"][::-1]
    return {name: params[name] for name in names}


def network(widths: Sequence[int], *rows: int, scale: float = 1.0) -> Any:
    """Draws (x, params): one input vector, or as many as `rows` says, and a network.

    The output layer's z has a negative entry: there a ReLU is told apart from no activation at all.
    """

    def draw(rng: Rng) -> tuple[Array, Params]:
        while True:
            x, params = scale * rng.normal(size=(*rows, widths[0])), draw_params(widths, rng)
            if mlp.forward(x, params, "relu")[0].min() < -0.2:
                return x, params

    return draw


def as_lists(x: Array, params: Params) -> tuple[Any, Params]:
    return x.tolist(), {name: value.tolist() for name, value in params.items()}


def rearranged(draw: Any, change: Callable[[Array, Params], Any]) -> Any:
    """The same network, handed over in another form."""
    return lambda rng: change(*draw(rng))


# --- sigmoid ---------------------------------------------------------------------------------------------------------


def sigmoid_first_form(z: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-np.asarray(z, dtype=np.float64)))


def sigmoid_second_form(z: Array) -> Array:
    e = np.exp(np.asarray(z, dtype=np.float64))
    return e / (1.0 + e)


def sigmoid_chosen_too_late(z: Array) -> Array:
    z = np.asarray(z, dtype=np.float64)
    return np.where(z >= 0, sigmoid_first_form(z), sigmoid_second_form(z))


def sigmoid_clipped(limit: float) -> Any:
    return lambda z: sigmoid_first_form(np.clip(np.asarray(z, dtype=np.float64), -limit, limit))


def sigmoid_by_tanh(z: Array) -> Array:
    return (1.0 + np.tanh(np.asarray(z, dtype=np.float64) / 2)) / 2


def sigmoid_by_complement(z: Array) -> Array:
    z = np.asarray(z, dtype=np.float64)
    large = 1.0 / (1.0 + np.exp(-np.abs(z)))
    return np.where(z >= 0, large, 1.0 - large)


def sigmoid_mirrored(z: Array) -> Array:
    return activations.sigmoid(-np.asarray(z, dtype=np.float64))


def sigmoid_bipolar(z: Array) -> Array:
    return 2.0 * activations.sigmoid(z) - 1.0


@prop("no warning at plus and minus ten thousand", 5, "sigmoid")
def sigmoid_is_quiet(student: Any, rng: Rng) -> None:
    for z in ([-1000.0, 1000.0], [1e4, 3.0, -1e4]):
        call = Call("sigmoid", (np.array(z),))
        answer = student.sigmoid(np.array(z))
        with case_of("huge inputs", call):
            holds(
                not student.warned,
                "the result may look right, but NumPy warned on the way: exp was taken of a large positive number.",
                "; ".join(student.warned),
            )
            same(answer, activations.sigmoid(z), "the sigmoid")


SIGMOID = Exercise(
    name="sigmoid",
    title="A sigmoid that never overflows",
    functions=("sigmoid",),
    hints=(
        "Which of the two forms is safe for positive z, and which for negative z? What would have to be true of the "
        "exponent in both?",
        "An exponent that is never positive cannot overflow. exp(-|z|) is exp(-z) on one side and exp(z) on the other.",
        "Compute e, the exponential of minus the absolute value, once. The denominator is 1 plus e on both sides; "
        "np.where chooses the numerator, 1 or e, by the sign of z.",
    ),
    checks=(
        numeric(
            "ordinary inputs",
            3,
            "sigmoid",
            activations.sigmoid,
            [
                Case("a vector with both signs", lambda rng: (2 * rng.normal(size=6),)),
                Case("a matrix", lambda rng: (3 * rng.normal(size=(2, 4)),)),
                Case("a single number", lambda rng: (float(rng.normal()),)),
                Case("a plain list with a zero in it", lambda rng: ([0.0, float(rng.normal()), 2.0],)),
            ],
        ),
        sigmoid_is_quiet,
        numeric(
            "small results keep their digits",
            3,
            "sigmoid",
            activations.sigmoid,
            [
                Case("inputs around -40", lambda rng: (rng.uniform(-45, -36, size=4),)),
                Case("inputs far below, still within the range of floats", fixed([-100.0, -550.0, -700.0])),
            ],
            # The results are as small as 1e-304: an absolute tolerance would accept 0 for them.
            atol=0.0,
        ),
        unchanged(1, {"sigmoid": lambda rng: (rng.normal(size=5),)}),
    ),
    mistakes=(
        Mistake(
            name="sigmoid-overflows",
            advice="exp of a large positive number overflows: with exp(-|z|) the exponent is never positive. np.where "
            "does not help on its own, because it computes both sides before it chooses.",
            replaces={"sigmoid": sigmoid_first_form},
            variants=({"sigmoid": sigmoid_second_form}, {"sigmoid": sigmoid_chosen_too_late}),
        ),
        Mistake(
            name="small-results-rounded-away",
            advice="Small results have lost their digits. A clip does that (every z beyond it gets the same answer), "
            "and so does a difference from 1; e / (1 + e) with e = exp(-|z|) keeps them.",
            replaces={"sigmoid": sigmoid_by_tanh},
            variants=(
                {"sigmoid": sigmoid_by_complement},
                *({"sigmoid": sigmoid_clipped(limit)} for limit in (50.0, 100.0, 500.0)),
            ),
        ),
        Mistake(
            name="sigmoid-mirrored",
            advice="The sigmoid rises: for large z it is near 1. Yours falls, so a sign in an exponent is the wrong "
            "way round.",
            replaces={"sigmoid": sigmoid_mirrored},
        ),
        Mistake(
            name="tanh-instead-of-sigmoid",
            advice="This goes from -1 to 1; the sigmoid goes from 0 to 1, and is 0.5 at z = 0.",
            replaces={"sigmoid": sigmoid_bipolar},
            variants=({"sigmoid": activations.tanh},),
        ),
    ),
)

# --- parameter count -------------------------------------------------------------------------------------------------


def weight_count(widths: Sequence[int]) -> int:
    return sum(a * b for a, b in itertools.pairwise(widths))


def count_biases_for_inputs(widths: Sequence[int]) -> int:
    return weight_count(widths) + sum(widths)


def count_one_bias_a_layer(widths: Sequence[int]) -> int:
    return weight_count(widths) + len(widths) - 1


def count_bias_for_each_input(widths: Sequence[int]) -> int:
    return weight_count(widths) + sum(widths[:-1])


def count_without_output_layer(widths: Sequence[int]) -> int:
    return mlp.parameter_count(widths[:-1])


def count_units(widths: Sequence[int]) -> int:
    return sum(widths)


@prop("as many as the arrays hold", 2, "parameter_count")
def count_is_what_arrays_hold(student: Any, rng: Rng) -> None:
    widths = [int(w) for w in rng.integers(2, 9, size=5)]
    held = sum(value.size for value in draw_params(widths, rng).values())
    same(student.parameter_count(widths), held, "the count, against the arrays of such a network counted one by one,")


PARAMETER_COUNT = Exercise(
    name="parameter_count",
    title="Count the parameters",
    functions=("parameter_count",),
    hints=(
        "Take one single unit: how many numbers does it learn?",
        "Go through neighbours in the list of widths: the left one is the number of inputs of a layer, the right one "
        "its number of units.",
        "Each layer has (inputs + 1) numbers a unit, the 1 for the bias. Add that up over the layers; the first width "
        "is never the right-hand neighbour of a pair, so the inputs count no biases.",
    ),
    checks=(
        numeric(
            "networks of different depths",
            5,
            "parameter_count",
            mlp.parameter_count,
            [
                Case("two hidden layers of ten", lambda rng: ([2, 10, 10, 1],)),
                Case("three hidden layers of four", lambda rng: ([2, 4, 4, 4, 1],)),
                Case("one wide hidden layer", lambda rng: ([2, 100, 1],)),
                Case("a digit classifier", lambda rng: ([784, 256, 128, 10],)),
                Case("one layer only", lambda rng: ([int(rng.integers(3, 9)), int(rng.integers(10, 20))],)),
            ],
        ),
        count_is_what_arrays_hold,
        numeric(
            "a large network, counted exactly",
            1,
            "parameter_count",
            mlp.parameter_count,
            # More than 32 bits hold, and more than the digits of a float32 tell apart.
            [Case("widths of many thousands, as a tuple", lambda rng: ((47_000, 47_001, 7, 5, 3),))],
            rtol=0.0,
            atol=0.01,
        ),
    ),
    mistakes=(
        Mistake(
            name="biases-not-counted",
            advice="Each unit has a bias besides its weights: nl more numbers for a layer of nl units.",
            replaces={"parameter_count": weight_count},
        ),
        Mistake(
            name="biases-counted-for-the-inputs",
            advice="The inputs are given, not computed: n0 is no layer and has no biases.",
            replaces={"parameter_count": count_biases_for_inputs},
        ),
        Mistake(
            name="one-bias-a-layer",
            advice="A layer has one bias for each of its units, not one for all of them.",
            replaces={"parameter_count": count_one_bias_a_layer},
        ),
        Mistake(
            name="biases-counted-by-inputs",
            advice="A layer has as many biases as it has units (the right-hand width), not as it has inputs.",
            replaces={"parameter_count": count_bias_for_each_input},
        ),
        Mistake(
            name="output-layer-not-counted",
            advice="The output layer learns weights and biases as well: the sum runs to l = L.",
            replaces={"parameter_count": count_without_output_layer},
        ),
        Mistake(
            name="units-counted-not-parameters",
            advice="This counts units; each of them holds one weight for every input, and a bias.",
            replaces={"parameter_count": count_units},
        ),
    ),
)

# --- forward ---------------------------------------------------------------------------------------------------------

Trace = list[tuple[Any, Any]]


def run(
    x: Array,
    params: Params,
    names: Callable[[int], list[str]],
    *,
    order: Callable[[list[str]], list[str]] | None = None,
    multiply: Callable[[Array, Array], Array] = np.matmul,
    add: Callable[[Array, Array], Array] = np.add,
) -> tuple[Array, Trace]:
    """A forward pass that may go wrong in one of its pieces; `names` says which activation each layer uses."""
    depth = mlp.depth(params)
    numbers_in_order = [str(layer) for layer in range(1, depth + 1)]
    if order is not None:
        numbers_in_order = [name[1:] for name in order([k for k in params if k[0] == "W"])]
    a = np.asarray(x, dtype=np.float64)
    layers: Trace = []
    for number, name in zip(numbers_in_order, names(depth), strict=True):
        W, b = (np.asarray(params[kind + number], dtype=np.float64) for kind in "Wb")
        z = add(multiply(W, a), b)
        a = activations.activation(name).value(z)
        layers.append((z, a))
    return a, layers


def usual(hidden: str, depth: int) -> list[str]:
    return [hidden] * (depth - 1) + ["sigmoid"]


def forward_right(x: Array, params: Params, hidden: str = "relu") -> tuple[Array, Trace]:
    out, cache = mlp.forward(x, params, usual(hidden, mlp.depth(params)))
    return out, [(layer.z, layer.a) for layer in cache.layers]


def forward_with(names: Callable[[str, int], list[str]] = usual, **pieces: Any) -> Any:
    """A forward with other activations, or with a piece of `run` replaced."""

    def wrong(x: Array, params: Params, hidden: str = "relu") -> tuple[Array, Trace]:
        return run(x, params, lambda depth: names(hidden, depth), **pieces)

    return wrong


def forward_traced(change: Callable[[Array, Trace], tuple[Any, Any]]) -> Any:
    """A right forward whose record is changed at the end."""

    def wrong(x: Array, params: Params, hidden: str = "relu") -> tuple[Any, Any]:
        return change(np.asarray(x, dtype=np.float64), forward_right(x, params, hidden)[1])

    return wrong


def output_squashed_twice(x: Array, layers: Trace) -> tuple[Any, Any]:
    z, a = layers[-1]
    out = activations.sigmoid(a)
    return out, [*layers[:-1], (z, out)]


def relu_in_place(x: Array, layers: Trace) -> tuple[Any, Any]:
    return layers[-1][1], [(a, a) for _, a in layers[:-1]] + layers[-1:]


def as_number(x: Array, layers: Trace) -> tuple[Any, Any]:
    out = layers[-1][1]
    return (float(out[0]) if out.size == 1 else out), layers


def layers_cut(change: Callable[[Array, Trace], Trace]) -> Any:
    return forward_traced(lambda x, layers: (layers[-1][1], change(x, layers)))


DEPTHS = [
    Case("two layers of different widths", network([3, 5, 2])),
    Case("three layers", network([4, 6, 3, 5])),
    Case("a single output, which is still an array", network([3, 4, 1])),
]

FORWARD = Exercise(
    name="forward",
    title="Forward, for one vector",
    functions=("forward",),
    hints=(
        "Only one thing changes from layer to layer: what comes in. Give it one name and overwrite it in a loop.",
        "Count the layers first, then build the keys from the number of the layer, f'W{layer}', instead of looping "
        "over the dict. The last layer is the one whose number equals the count, and its activation is the sigmoid.",
        "In the loop: z is the weights times what came in, plus the bias; a is the given `activate` of z, with the "
        "hidden activation or with 'sigmoid'; append the pair to a list. After the loop a is the output.",
    ),
    checks=(
        numeric("output of two and three layers", 7, "forward", forward_right, DEPTHS, pick=0, result="the output"),
        numeric(
            "the output layer is a sigmoid, the hidden layers are what `hidden` says",
            6,
            "forward",
            forward_right,
            [
                Case("hidden layers of tanh", network([3, 5, 4, 2]), {"hidden": "tanh"}),
                Case("hidden layers of sigmoids", network([3, 5, 4, 2]), {"hidden": "sigmoid"}),
                Case("hidden layers of ReLU and large inputs", network([3, 8, 4], scale=5.0), {"hidden": "relu"}),
                Case("hidden layers without a bend", network([3, 5, 4, 2]), {"hidden": "identity"}),
            ],
            pick=0,
            result="the output",
        ),
        numeric(
            "layers of equal width, where a transposed matrix still fits",
            3,
            "forward",
            forward_right,
            [
                Case("three layers of four", network([4, 4, 4, 4])),
                Case("one layer of three", network([3, 3]), {"hidden": "tanh"}),
            ],
            pick=0,
            result="the output",
        ),
        numeric(
            "z and a of every layer are recorded",
            8,
            "forward",
            forward_right,
            [
                Case("two layers of ReLU: z has negative entries, a has none", network([3, 6, 2])),
                Case("three layers of tanh", network([4, 5, 3, 2]), {"hidden": "tanh"}),
                Case("one layer, so one pair", network([4, 3])),
            ],
            pick=1,
            result="the list of layers",
        ),
        numeric(
            "any depth, and keys in any order",
            3,
            "forward",
            forward_right,
            [
                Case("eleven layers: W10 comes after W9, not after W1", network([2] * 12), {"hidden": "tanh"}),
                Case(
                    "the keys of params in another order",
                    rearranged(network([3] * 5), lambda x, params: (x, shuffled(params))),
                ),
            ],
            pick=0,
            result="the output",
        ),
        numeric(
            "lists are accepted",
            1,
            "forward",
            forward_right,
            [Case("the input and all parameters as nested lists", rearranged(network([2, 3, 2]), as_lists))],
        ),
        unchanged(1, {"forward": network([3, 4, 2])}),
    ),
    mistakes=(
        Mistake(
            name="hidden-activation-at-the-output",
            advice="The output layer has the sigmoid, whatever the hidden layers use: a ReLU there would give "
            "'probabilities' above 1.",
            replaces={"forward": forward_with(lambda hidden, depth: [hidden] * depth)},
        ),
        Mistake(
            name="output-not-activated",
            advice="zL is any number; the sigmoid of it is the output.",
            replaces={"forward": forward_with(lambda hidden, depth: [hidden] * (depth - 1) + ["identity"])},
        ),
        Mistake(
            name="output-activated-twice",
            advice="The sigmoid has been applied to the output twice: everything ends up between 0.5 and 0.73.",
            replaces={"forward": forward_traced(output_squashed_twice)},
        ),
        Mistake(
            name="hidden-layers-not-activated",
            advice="Each hidden z passes through the activation before the next layer gets it; without that all "
            "layers together are one.",
            replaces={"forward": forward_with(lambda hidden, depth: usual("identity", depth))},
        ),
        Mistake(
            name="hidden-argument-ignored",
            advice="The `hidden` argument says which activation the hidden layers use; yours always uses the same one.",
            replaces={"forward": forward_with(lambda hidden, depth: usual("relu", depth))},
            variants=({"forward": forward_with(lambda hidden, depth: usual("sigmoid", depth))},),
        ),
        Mistake(
            name="bias-as-a-column",
            advice="A bias of shape (out, 1) plus a vector of shape (out,) broadcasts to an (out, out) table: keep "
            "both one-dimensional.",
            replaces={"forward": forward_with(add=lambda z, b: z + b[:, None])},
        ),
        Mistake(
            name="forward-without-bias",
            advice="Each layer adds its bias: z = W @ a_prev + b.",
            replaces={"forward": forward_with(add=lambda z, b: z)},
        ),
        Mistake(
            name="weights-taken-as-in-by-out",
            advice="W is stored (out, in), one row of weights for each unit: the layer computes W @ a, and a @ W fits "
            "in a square layer only, with other numbers.",
            replaces={"forward": forward_with(multiply=lambda W, a: W.T @ a)},
            # The same product, for which NumPy words its complaint about a layer that is not square otherwise.
            variants=(
                {"forward": forward_with(multiply=lambda W, a: a @ W)},
                {"forward": forward_with(multiply=lambda W, a: np.dot(W.T, a))},
                {"forward": forward_with(multiply=lambda W, a: np.dot(a, W))},
            ),
        ),
        Mistake(
            name="layers-sorted-as-text",
            advice="As text, W10 sorts before W2: count the layers, and build the keys from the number of the layer.",
            replaces={"forward": forward_with(order=sorted)},
        ),
        Mistake(
            name="layers-in-the-order-of-the-dict",
            advice="The order of a dict's keys says nothing about the order of the layers: the number in the key does.",
            replaces={"forward": forward_with(order=list)},
        ),
        Mistake(
            name="z-overwritten-by-a",
            advice="The recorded z is the activation again: an activation computed in place, or one name for both, "
            "wipes z out.",
            replaces={"forward": forward_traced(relu_in_place)},
            variants=({"forward": layers_cut(lambda x, layers: [(a, a) for _, a in layers])},),
        ),
        Mistake(
            name="z-and-a-swapped",
            advice="Each pair is (z, a): what the layer computed first, what the activation made of it second.",
            replaces={"forward": layers_cut(lambda x, layers: [(a, z) for z, a in layers])},
        ),
        Mistake(
            name="input-instead-of-z-recorded",
            advice="The first item of a pair is the layer's own z, not what came into the layer.",
            replaces={
                "forward": layers_cut(
                    lambda x, layers: list(zip([x, *(a for _, a in layers)], [a for _, a in layers], strict=False))
                )
            },
        ),
        Mistake(
            name="output-layer-not-recorded",
            advice="The output layer is a layer like the others and gets its pair, too: L pairs for L layers.",
            replaces={"forward": layers_cut(lambda x, layers: layers[:-1])},
        ),
        Mistake(
            name="output-as-a-bare-number",
            advice="The output is an array of shape (nL,), with one entry where the network has one output.",
            replaces={"forward": forward_traced(as_number)},
        ),
    ),
)

# --- XOR by hand -----------------------------------------------------------------------------------------------------

SHAPES = {"W1": (2, 2), "b1": (2,), "W2": (1, 2), "b2": (1,)}
TRUTH_TABLES: dict[tuple[int, ...], str] = {
    (1, 0, 0, 1): "this is XNOR: every answer is the other way round",
    (0, 1, 1, 1): "this is OR: a second hidden unit must find (1, 1) and pull the output down there",
    (0, 0, 0, 1): "this is AND",
    (1, 1, 1, 0): "this is NAND: (0, 0) should be 0 as well",
    (0, 0, 0, 0): "it is below 0.5 everywhere",
    (1, 1, 1, 1): "it is above 0.5 everywhere",
}


def hand_set(student: Any) -> tuple[Params, str]:
    """The student's network, read and held to its shapes."""
    call = Call("xor_network", ())
    answer = student.xor_network()
    with case_of("", call):
        params, hidden = items(answer, ("params", "hidden"), "the result")
        read = {name: numbers(entry(params, name, "`params`"), shape, f"`{name}`") for name, shape in SHAPES.items()}
        extra = [repr(name) for name in params if name not in SHAPES]
        holds(not extra, f"`params` should hold W1, b1, W2 and b2 only, but has {', '.join(extra[:6])} too.")
        names = ("relu", "tanh", "sigmoid")
        holds(isinstance(hidden, str) and hidden in names, '`hidden` should be "relu", "tanh" or "sigmoid", as text.')
        for name, value in read.items():
            holds(bool(np.isfinite(value).all()), f"`{name}` should hold finite numbers.")
    return read, hidden


def outputs(net: tuple[Params, str], X: Array) -> Array:
    """What a network says to each row."""
    params, hidden = net
    with np.errstate(all="ignore"):
        return np.asarray(mlp.forward(X, params, [hidden, "sigmoid"])[0][:, 0])


def table(said: Array) -> str:
    cells = [
        f"({x[0]:.0f}, {x[1]:.0f}) -> {number_text(o)}, should be {t}"
        for x, o, t in zip(CORNERS, said, XOR, strict=True)
    ]
    return "; ".join(cells) + "."


@prop("two inputs, two hidden units, one output", 2, "xor_network")
def xor_shapes(student: Any, rng: Rng) -> None:
    hand_set(student)


@prop("all four answers on the right side of 0.5", 5, "xor_network")
def xor_right(student: Any, rng: Rng) -> None:
    said = outputs(hand_set(student), CORNERS)
    decided = tuple(int(o) for o in said > 0.5)
    kind = TRUTH_TABLES.get(decided, "some answers are on the wrong side of 0.5")
    holds(decided == tuple(XOR), f"the network does not compute XOR: {kind}.", table(said))


@prop("at least 0.95 or at most 0.05", 3, "xor_network", needs=(xor_right.name,))
def xor_sure(student: Any, rng: Rng) -> None:
    said = outputs(hand_set(student), CORNERS)
    holds(
        float(np.abs(said - XOR).max()) <= 0.05,
        "the network computes XOR, but is not sure enough: larger weights and bias in the output layer push its z "
        "further out on the sigmoid.",
        table(said),
    )


@prop("still right when the inputs are off by 0.1", 4, "xor_network", needs=(xor_right.name,))
def xor_robust(student: Any, rng: Rng) -> None:
    net = hand_set(student)
    shifts = np.array(list(itertools.product((-0.1, 0.0, 0.1), repeat=2)))
    X = (CORNERS[:, None, :] + shifts).reshape(-1, 2)
    said = outputs(net, X)
    wrong = (said > 0.5) != np.repeat(XOR, len(shifts)).astype(bool)
    first = int(np.argmax(wrong))
    holds(
        not wrong.any(),
        "with inputs a little off the corners some answers change sides: the hidden units switch too close to a "
        "corner; let them switch half-way between.",
        f"For instance the input ({X[first][0]:.1f}, {X[first][1]:.1f}) gives {number_text(said[first])}.",
    )


def xor_net(
    W1: Sequence[Sequence[float]], b1: Sequence[float], W2: Sequence[float], b2: float, hidden: str
) -> Callable[[], Any]:
    return lambda: (
        {"W1": np.array(W1, float), "b1": np.array(b1, float), "W2": np.array([W2], float), "b2": np.array([b2])},
        hidden,
    )


def xor_nets(*nets: tuple[Any, Any, Any, Any, str]) -> dict[str, Any]:
    made = [{"xor_network": xor_net(*net)} for net in nets]
    return {"replaces": made[0], "variants": tuple(made[1:])}


SUMS = [[1.0, 1.0], [1.0, 1.0]]

XOR_NETWORK = Exercise(
    name="xor_network",
    title="XOR by hand",
    functions=("xor_network",),
    hints=(
        "XOR is 'at least one of them, but not both'. Give each half of that sentence a hidden unit.",
        "Let both hidden units look at the sum of the inputs, with different biases, so that one reacts from a sum of "
        "1 on and the other only at 2. The output adds the first and subtracts the second, more strongly.",
        "With ReLU: weights of 1 everywhere in the first layer, biases 0 and -1, and h1 - 2 h2 is 0, 1, 0 for sums of "
        "0, 1, 2. What is left to choose is the output layer: a multiple of that, and a bias of minus half of the "
        "multiple, so large that the sigmoid of it is beyond 0.95.",
    ),
    checks=(xor_shapes, xor_right, xor_sure, xor_robust),
    mistakes=(
        Mistake(
            name="output-left-as-0-and-1",
            advice="The hidden layer is right, and the output layer's z is 0 or 1; but then comes a sigmoid, which "
            "makes 0.5 and 0.73 of that. Scale z up, and shift it so that 0.5 lies in the middle.",
            **xor_nets(
                (SUMS, [0, -1], [1, -2], 0.0, "relu"),
                (SUMS, [0, -1], [1, -2], -0.5, "relu"),
                (SUMS, [0, -1], [2, -4], -1.0, "relu"),
            ),
        ),
        Mistake(
            name="threshold-weights-in-a-soft-unit",
            advice="These weights are made for units that switch from 0 to 1 at once; a sigmoid with weights of 1 is "
            "almost a straight line. Multiply each layer's weights and biases by 20 or so.",
            **xor_nets(
                (SUMS, [-0.5, -1.5], [1, -1], -0.5, "sigmoid"),
                (SUMS, [-0.5, -1.5], [1, -2], -0.5, "sigmoid"),
                ([[1, 1], [-1, -1]], [-0.5, 1.5], [1, 1], -1.5, "sigmoid"),
            ),
        ),
        Mistake(
            name="same-answer-for-both-ones",
            advice="With this output layer, (1, 1) gets what (0, 1) gets: the unit that finds 'both' must be "
            "subtracted twice as strongly, or more, than the other is added.",
            **xor_nets((SUMS, [0, -1], [12, -12], -6.0, "relu"), (SUMS, [0, -1], [10, -10], -5.0, "relu")),
        ),
    ),
)

# --- hidden points ---------------------------------------------------------------------------------------------------


def points_of(pick: Callable[[Trace], Any], change: Callable[[Array], Array] = lambda rows: rows) -> Any:
    """Picks something out of each row's trace."""

    def wrong(X: Array, params: Params, hidden: str = "relu") -> Array:
        rows = [pick(forward_right(x, params, hidden)[1]) for x in np.asarray(X, dtype=np.float64)]
        return change(np.array(rows))

    return wrong


def hidden_right(X: Array, params: Params, hidden: str = "relu") -> Array:
    _, cache = mlp.forward(X, params, usual(hidden, mlp.depth(params)))
    return cache.layers[-1].a_prev


HIDDEN_POINTS = Exercise(
    name="hidden_points",
    title="What the output layer sees",
    functions=("hidden_points",),
    hints=(
        "Your forward already records everything that you need; it only takes one vector at a time.",
        "For each row of X call forward and look into the list it returns second: the last pair belongs to the output "
        "layer, the one before it to the last hidden layer.",
        "Collect item 1 (the a) of the second-to-last pair for each row, in a list, and make one array of the list: "
        "one row for each input.",
    ),
    checks=(
        numeric(
            "one hidden layer",
            4,
            "hidden_points",
            hidden_right,
            [
                Case("six inputs, five hidden units", network([3, 5, 2], 6)),
                Case("hidden units of tanh", network([3, 4, 1], 5), {"hidden": "tanh"}),
                Case("as many inputs as hidden units", network([2, 4, 3], 4)),
            ],
        ),
        numeric(
            "several hidden layers: the last one counts",
            3,
            "hidden_points",
            hidden_right,
            [
                Case("two hidden layers", network([3, 5, 4, 2], 6)),
                Case("three hidden layers of sigmoids", network([2, 6, 5, 3, 1], 4), {"hidden": "sigmoid"}),
            ],
        ),
        numeric(
            "a single row, and lists",
            1,
            "hidden_points",
            hidden_right,
            [
                Case("one input: the result is still two-dimensional", network([3, 4, 2], 1)),
                Case("the inputs and all parameters as nested lists", rearranged(network([2, 3, 2], 4), as_lists)),
            ],
        ),
        unchanged(1, {"hidden_points": network([3, 4, 2], 5)}),
    ),
    mistakes=(
        Mistake(
            name="hidden-points-before-activation",
            advice="These are the z of the hidden layer; the output layer sees what the activation makes of them.",
            replaces={"hidden_points": points_of(lambda layers: layers[-2][0])},
        ),
        Mistake(
            name="outputs-instead-of-hidden-points",
            advice="The last pair of the list belongs to the output layer; the hidden layer's is the one before it.",
            replaces={"hidden_points": points_of(lambda layers: layers[-1][1])},
        ),
        Mistake(
            name="first-hidden-layer-instead-of-last",
            advice="With several hidden layers, the output layer sees the last of them, not the first.",
            replaces={"hidden_points": points_of(lambda layers: layers[0][1])},
        ),
        Mistake(
            name="hidden-points-in-columns",
            advice="One row for each input, one column for each hidden unit; yours is transposed.",
            replaces={"hidden_points": points_of(lambda layers: layers[-2][1], np.transpose)},
        ),
    ),
)

# --- a line between two classes --------------------------------------------------------------------------------------


def perceptron(
    points: Array,
    labels: Array,
    epochs: int,
    *,
    sign: float = 1.0,
    with_bias: bool = True,
    prove: bool = True,
    at_zero: int = 0,
) -> Any:
    """The perceptron test, with one of its pieces changed."""
    points = np.asarray(points, dtype=np.float64)
    w, b = np.zeros(points.shape[1]), 0.0
    for _ in range(epochs):
        clean = True
        for point, label in zip(points, labels, strict=True):
            score = float(point @ w + b)
            error = sign * (int(label) - (int(score > 0) if score else at_zero))
            if error:
                clean = False
                w, b = w + error * point, b + error * with_bias
        if clean:
            return w, b
    return None if prove else (w, b)


def line_without_bias(points: Array, labels: Array, epochs: int = 1000) -> Any:
    return perceptron(points, labels, epochs, with_bias=False)


def line_uphill(points: Array, labels: Array, epochs: int = 1000) -> Any:
    return perceptron(points, labels, epochs, sign=-1.0)


def line_unproved(points: Array, labels: Array, epochs: int = 1000) -> Any:
    return perceptron(points, labels, epochs, prove=False)


def line_after_one_pass(points: Array, labels: Array, epochs: int = 1000) -> Any:
    return perceptron(points, labels, 1, prove=False)


def line_stopped_by_one_right_point(points: Array, labels: Array, epochs: int = 1000) -> Any:
    points = np.asarray(points, dtype=np.float64)
    w, b = np.zeros(points.shape[1]), 0.0
    for _ in range(epochs):
        for point, label in zip(points, labels, strict=True):
            error = int(label) - int(point @ w + b > 0)
            w, b = w + error * point, b + error
        if error == 0:
            return w, b
    return None


def separable(count: int, dims: int, through_origin: bool = False) -> Any:
    """Draws (points, labels) of two classes with a gap of 0.6 between them, far from the origin unless told."""

    def draw(rng: Rng) -> tuple[Array, Array]:
        normal = rng.normal(size=dims)
        normal /= np.linalg.norm(normal)
        points = rng.normal(size=(count, dims))
        labels = rng.permutation(np.arange(count) % 2)
        # Each point is moved along the normal to its own side, between 0.3 and 1.5 from the line.
        wanted = (2 * labels - 1) * rng.uniform(0.3, 1.5, size=count)
        points += np.outer(wanted - points @ normal, normal)
        return points + (0.0 if through_origin else 2.5 * normal), labels

    return draw


def holds_line(answer: Any, points: Array, labels: Array) -> None:
    """Raise `Wrong` unless the answer is a line with these points on their sides."""
    holds(answer is not None, "a line exists between these points, but None came back.")
    w, b = items(answer, ("w", "b"), "the result")
    w, b = numbers(w, (points.shape[1],), "`w`"), numbers(b, (), "`b`")
    scores = points @ w + b
    # A score that is 0 for the student's arithmetic may be off by rounding in ours.
    limit = 1e-12 * max(1.0, float(np.abs(scores).max()))
    wrong = np.where(labels == 1, ~(scores > 0), ~(scores <= limit))
    first = int(np.argmax(wrong))
    holds(
        not wrong.any(),
        f"the line does not separate: {int(wrong.sum())} of {len(labels)} points are on the wrong side of it.",
        f"For instance points[{first}] has the label {int(labels[first])} and points[{first}] @ w + b = "
        f"{number_text(scores[first])}.",
    )


def lines_found(student: Any, rng: Rng, sets: dict[str, Any]) -> None:
    drawn = {reason: draw(rng) for reason, draw in sets.items()}
    calls = [Call("separating_line", args) for args in drawn.values()]
    for (reason, args), call, reply in zip(drawn.items(), calls, student.batch(calls), strict=True):
        with case_of(reason, call):
            holds_line(student.answer(call, reply), *map(np.asarray, args[:2]))


@prop("a line is found where there is one", 4, "separating_line")
def line_found(student: Any, rng: Rng) -> None:
    lines_found(
        student,
        rng,
        {
            "twelve points, a line through the origin": separable(12, 2, through_origin=True),
            "AND of two inputs, in lists": lambda rng: (CORNERS.tolist(), [0, 0, 0, 1]),
            "ten points in three dimensions": separable(10, 3),
        },
    )


def on_axis(first: float, far: float, *epochs: int) -> Any:
    """Four points on one axis, one apart, and one far off; the first two are of class 1.

    The same for everybody, and in quarters, so that every sum is exact: how many passes the perceptron needs for such
    points hangs on the smallest change of them.
    """
    points = np.array([[first], [first + 1], [first + 2], [first + 3], [far]])
    return lambda rng: (points, np.array([1, 1, 0, 0, 0]), *epochs)


@prop("a line away from the origin", 2, "separating_line")
def line_with_bias(student: Any, rng: Rng) -> None:
    lines_found(
        student,
        rng,
        {
            "eight points, a line through the origin": separable(8, 2, through_origin=True),
            "eight points, a line that does not pass through the origin": separable(8, 2),
            "points on one axis": lambda rng: (np.array([[4.0], [1.0], [3.0], [2.0]]), np.array([0, 1, 0, 1])),
            # The perceptron needs 238 passes for the first of these and 1834 for the second. The line that comes
            # closest to the labels as numbers separates neither.
            "a narrow gap far from the origin": on_axis(15.25, 90.25),
            "a gap farther out, and ten thousand passes for it": on_axis(39.25, 90.25, 10_000),
        },
    )


@prop("None where there is no line", 5, "separating_line", alone=False)
def no_line(student: Any, rng: Rng) -> None:
    triangle = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0], [1.0, 1.0]])
    sets = {
        "XOR": (CORNERS, XOR),
        "XOR in another order": (CORNERS[[1, 3, 0, 2]], XOR[[1, 3, 0, 2]]),
        "one class inside the other": (triangle + rng.normal(size=2), np.array([1, 1, 1, 0])),
    }
    calls = [Call("separating_line", (*args, 100)) for args in sets.values()]
    for reason, call, reply in zip(sets, calls, student.batch(calls), strict=True):
        with case_of(reason, call):
            answer = student.answer(call, reply)
            holds(answer is None, "no line separates these points, so None is right; but something came back.")


@prop("the hidden layer makes XOR separable", 2, "xor_network", "hidden_points", "separating_line")
def xor_unfolded(student: Any, rng: Rng) -> None:
    params, hidden = hand_set(student)
    # Nothing to do with XOR, but a None here and a None there are two mistakes.
    pair = np.array([[0.0, 1.0], [1.0, 0.0]])
    with case_of("two points, one of each class"):
        holds_line(student.separating_line(pair, np.array([0, 1])), pair, np.array([0, 1]))
    seen = numbers(student.hidden_points(CORNERS, params, hidden), (4, 2), "the hidden points")
    with case_of("the four corners as your own XOR network's hidden layer shows them"):
        holds_line(student.separating_line(seen, XOR, 5000), seen, XOR)


SEPARATING_LINE = Exercise(
    name="separating_line",
    title="Is there a line between them?",
    functions=("separating_line",),
    hints=(
        "The perceptron cannot know that there is no line. What can it know, and when?",
        "Two loops: passes outside, points inside. Count the mistakes of a pass; a pass with none ends the search with "
        "the line, and running out of passes ends it with None.",
        "Inside: error is the label minus the unit's answer, which is 1 where the score is above 0. If error is not "
        "0, add error times the point to w, add error to b, and note that this pass was not clean.",
    ),
    checks=(
        line_found,
        line_with_bias,
        no_line,
        xor_unfolded,
        unchanged(1, {"separating_line": separable(6, 2, through_origin=True)}),
    ),
    mistakes=(
        Mistake(
            name="line-without-proof",
            advice="After the last pass nothing is proved: return a line only after a pass without a mistake, and "
            "None otherwise.",
            replaces={"separating_line": line_unproved},
        ),
        Mistake(
            name="line-after-one-pass",
            advice="One pass is rarely enough: repeat until a pass makes no mistake.",
            replaces={"separating_line": line_after_one_pass},
        ),
        Mistake(
            name="line-through-the-origin-only",
            advice="The bias is never moved, so only lines through the origin are tried: b changes by y - y_hat on "
            "every mistake.",
            replaces={"separating_line": line_without_bias},
        ),
        Mistake(
            name="line-moved-the-wrong-way",
            advice="On a mistake move by label minus answer; answer minus label makes every mistake worse.",
            replaces={"separating_line": line_uphill},
        ),
        Mistake(
            name="stopped-by-one-right-point",
            advice="Only the last point of the pass was looked at: a clean pass has no mistake on any of them.",
            replaces={"separating_line": line_stopped_by_one_right_point},
        ),
    ),
)

# --- collapse --------------------------------------------------------------------------------------------------------


def weights_of(params: Params) -> list[tuple[Array, Array]]:
    depth = mlp.depth(params)
    return [
        (np.asarray(params[f"W{n}"], dtype=np.float64), np.asarray(params[f"b{n}"], dtype=np.float64))
        for n in range(1, depth + 1)
    ]


def collapse_biases_added(params: Params) -> Any:
    total: Any = 0.0
    for _, b in weights_of(params):
        total = total + b
    return mlp.collapse(params)[0], total


def collapse_last_bias(params: Params) -> Any:
    return mlp.collapse(params)[0], weights_of(params)[-1][1]


def collapse_without_bias(params: Params) -> Any:
    W, b = mlp.collapse(params)
    return W, np.zeros_like(b)


def collapse_other_order(params: Params) -> Any:
    W, b = weights_of(params)[0]
    for W_next, b_next in weights_of(params)[1:]:
        W, b = W @ W_next, W_next @ b + b_next
    return W, b


def collapse_two_layers(params: Params) -> Any:
    return mlp.collapse({name: value for name, value in params.items() if name[1:] in ("1", "2")})


def collapse_transposed(params: Params) -> Any:
    W, b = mlp.collapse(params)
    return W.T, b


def collapse_bias_after_product(params: Params) -> Any:
    """Every bias is taken through the whole product instead of the layers above it."""
    (W, b), *rest = weights_of(params)
    for W_next, b_next in rest:
        W, b = W_next @ W, W_next @ (b + b_next) if len(b_next) == len(b) else W_next @ b + b_next
    return W, b


def only_lists(x: Array, params: Params) -> tuple[Params]:
    return (as_lists(x, params)[1],)


def collapse_in_order(order: Callable[[list[str]], list[str]]) -> Any:
    """The layers taken in the order that the names of the weights have."""

    def wrong(params: Params) -> Any:
        renamed: Params = {}
        for layer, name in enumerate(order([k for k in params if k[0] == "W"]), start=1):
            renamed |= {f"W{layer}": params[name], f"b{layer}": params[f"b{name[1:]}"]}
        return mlp.collapse(renamed)

    return wrong


def params_only(widths: Sequence[int], scale: float = 1.0) -> Any:
    return lambda rng: ({name: scale * value for name, value in draw_params(widths, rng).items()},)


@prop("equals your forward with the identity", 2, "collapse", "forward")
def collapse_is_forward(student: Any, rng: Rng) -> None:
    params = draw_params([4, 6, 5, 3], rng)
    W, b = items(student.collapse(params), ("W", "b"), "the result")
    W, b = numbers(W, (3, 4), "`W`"), numbers(b, (3,), "`b`")
    for _ in range(2):
        x = rng.normal(size=4)
        answer = student.forward(x, params, "identity")
        _, layers = items(answer, ("output", "layers"), "the result of forward")
        holds(
            type(layers) in (list, tuple) and len(layers) == 3,
            "`forward` should return a list of three pairs for three layers as its second item.",
        )
        z, _ = items(layers[-1], ("z", "a"), "the last pair of forward")
        z = numbers(z, (3,), "the z of the last layer in forward")
        same(W @ x + b, z, "W x + b, held against the last z of your own forward with the identity,")


COLLAPSE = Exercise(
    name="collapse",
    title="Many layers without a bend are one",
    functions=("collapse",),
    hints=(
        "Write out two layers with letters, multiply the bracket out, and sort what multiplies x from what does not.",
        "Start with W1 and b1. Taking in one more layer multiplies BOTH by its weights, from the left, and then adds "
        "its bias to b.",
        "In a loop from layer 2 on: the new W is that layer's weights times the old W; the new b is that layer's "
        "weights times the old b, plus that layer's bias. Use the old b for that, not one that is changed already.",
    ),
    checks=(
        numeric(
            "two layers",
            4,
            "collapse",
            mlp.collapse,
            [
                Case("two layers of different widths", params_only([3, 5, 2])),
                Case("two layers of equal width, where any order of the product fits", params_only([3, 3, 3])),
            ],
        ),
        numeric(
            "any number of layers",
            5,
            "collapse",
            mlp.collapse,
            [
                Case("three layers of equal width", params_only([4, 4, 4, 4])),
                Case("four layers of different widths", params_only([4, 6, 3, 5, 2])),
                Case("eleven layers of two", params_only([2] * 12)),
                Case("the keys of params in another order", lambda rng: (shuffled(draw_params([3] * 5, rng)),)),
            ],
        ),
        numeric(
            "a single layer is itself, and lists are accepted",
            1,
            "collapse",
            mlp.collapse,
            [
                Case("one layer", params_only([4, 3])),
                Case("one layer with one output", params_only([2, 1])),
                Case("two layers, all parameters as nested lists", rearranged(network([3, 4, 2]), only_lists)),
            ],
        ),
        numeric(
            "exact for large and small weights",
            1,
            "collapse",
            mlp.collapse,
            [Case("weights and biases in the thousands", params_only([3, 4, 5, 2], scale=1e3))],
        ),
        collapse_is_forward,
        unchanged(1, {"collapse": params_only([3, 4, 2])}),
    ),
    mistakes=(
        Mistake(
            name="biases-added-up",
            advice="An early bias passes through all later layers: it must be multiplied by their weights, not just "
            "added.",
            replaces={"collapse": collapse_biases_added},
            variants=({"collapse": collapse_bias_after_product},),
        ),
        Mistake(
            name="last-bias-only",
            advice="The biases of the earlier layers do not vanish: multiplied by the later weights they add to b.",
            replaces={"collapse": collapse_last_bias},
        ),
        Mistake(
            name="collapse-without-bias",
            advice="The single layer has a bias as well: W2 b1 + b2 for two layers.",
            replaces={"collapse": collapse_without_bias},
        ),
        Mistake(
            name="product-in-the-wrong-order",
            advice="The first layer acts on x first, so its matrix stands furthest right: W2 @ W1, not W1 @ W2.",
            replaces={"collapse": collapse_other_order},
        ),
        Mistake(
            name="collapse-of-two-layers-only",
            advice="The number of layers is not always two: read it off params, and take the layers in one by one.",
            replaces={"collapse": collapse_two_layers},
        ),
        Mistake(
            name="collapse-sorted-as-text",
            advice="As text, W10 sorts before W2: count the layers, and build the keys from the number of the layer.",
            replaces={"collapse": collapse_in_order(sorted)},
        ),
        Mistake(
            name="collapse-in-the-order-of-the-dict",
            advice="The order of a dict's keys says nothing about the order of the layers: the number in the key does.",
            replaces={"collapse": collapse_in_order(list)},
        ),
        Mistake(
            name="collapsed-weights-transposed",
            advice="W has the shape (out, in) like every weight matrix: the number of outputs comes first.",
            replaces={"collapse": collapse_transposed},
        ),
    ),
)

# --- the picture -----------------------------------------------------------------------------------------------------


def draw_picture(student: Any, figure: Any) -> None:
    """XOR as the student's network decides it, and the same four points as its hidden layer shows them."""
    left, right = figure.subplots(1, 2)
    params, hidden = hand_set(student)
    grid = np.linspace(-0.4, 1.4, 25)
    calls = [Call("forward", (np.array([x, y]), params, hidden)) for y in grid for x in grid]
    answers = [student.answer(call, reply) for call, reply in zip(calls, student.batch(calls), strict=True)]
    said = np.array([float(np.ravel(answer[0])[0]) for answer in answers]).reshape(len(grid), len(grid))
    shown = left.contourf(grid, grid, said, levels=np.linspace(0, 1, 11), cmap="RdBu_r", alpha=0.7)
    left.contour(grid, grid, said, levels=[0.5], colors="0.2", linewidths=1.5)
    figure.colorbar(shown, ax=left, label="output of the network")
    seen = numbers(student.hidden_points(CORNERS, params, hidden), (4, 2), "the hidden points")
    for axes, points in ((left, CORNERS), (right, seen)):
        for label, marker, color in ((0, "o", "#2166ac"), (1, "s", "#b2182b")):
            axes.plot(*points[label == XOR].T, marker, color=color, mec="k", ms=9, ls="", label=f"XOR = {label}")
        # Corners that the hidden layer puts on one point share one text.
        places: dict[tuple[float, float], list[str]] = {}
        for corner, (x, y) in zip(CORNERS, points, strict=True):
            places.setdefault((round(float(x), 3), round(float(y), 3)), []).append(
                f"({corner[0]:.0f}, {corner[1]:.0f})"
            )
        for place, names in places.items():
            axes.annotate(" and ".join(names), place, (8, 7), textcoords="offset points", fontsize=8)
    # The sides of the square of inputs, as the hidden layer bends them.
    ring = [np.linspace(CORNERS[i], CORNERS[j], 21) for i, j in ((0, 1), (1, 3), (3, 2), (2, 0))]
    bent = numbers(student.hidden_points(np.concatenate(ring), params, hidden), (84, 2), "the hidden points")
    left.plot(*np.concatenate(ring).T, color="0.35", lw=0.8, ls=":")
    right.plot(*bent.T, color="0.35", lw=0.8, ls=":", label="sides of the square of inputs")
    room = 0.25 * max(float(np.ptp(bent[:, 0])), float(np.ptp(bent[:, 1])), 0.1)
    low, high = bent.min(axis=0) - room, bent.max(axis=0) + room
    # The network's own line: where the output layer's z is 0.
    (u, v), c = params["W2"][0], params["b2"][0]
    ends = np.array([low[0], high[0]])
    if abs(v) > 1e-9 * abs(u):
        right.plot(ends, -(c + u * ends) / v, color="0.2", lw=1.5, label="where the output is 0.5")
    right.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    left.set(xlabel="input x1", ylabel="input x2", title="Among the inputs: no line will do")
    right.set(xlabel="hidden unit h1", ylabel="hidden unit h2", title=f"Behind the hidden layer ({hidden})")
    left.set_aspect("equal")
    right.legend(frameon=False, fontsize=8, loc="upper left")


CHAPTER = Chapter(
    id="ch303",
    slug="multilayer_networks",
    title="Multilayer Networks",
    part="Foundations",
    summary="A network for one vector, XOR by hand, and why layers without a bend between them are one.",
    builds_on=("ch301", "ch302"),
    exercises=(SIGMOID, PARAMETER_COUNT, FORWARD, XOR_NETWORK, HIDDEN_POINTS, SEPARATING_LINE, COLLAPSE),
    picture=Picture(title="What a hidden layer does to XOR", draw=draw_picture),
)
