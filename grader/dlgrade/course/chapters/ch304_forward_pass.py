"""Checks of chapter 304: a batch through a network, what is kept of it, its shapes, its memory and its statistics."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from dlreference import activations as ref
from dlreference import mlp
from dlreference.linear import linear_forward

from dlgrade.course.compare import entry, holds, items, numbers, same
from dlgrade.course.kinds import Case, Rng, case_of, numeric, prop, unchanged
from dlgrade.course.spec import Chapter, Check, Exercise, Mistake, Picture
from dlgrade.sandbox.protocol import Callback
from dlgrade.sandbox.session import Call

Array = np.ndarray[Any, Any]
Params = dict[str, Any]


def variants(function: str, *wrong: Any) -> tuple[dict[str, Any], ...]:
    """Other implementations of a mistake in one function."""
    return tuple({function: made} for made in wrong)


# --- activations -----------------------------------------------------------------------------------------------------


def value(z: Any, name: str) -> Array:
    return ref.activation(name).value(z)


def with_activation(name: str, wrong: Callable[[Array], Any]) -> Any:
    """All activations right but the one called `name`."""
    return lambda z, asked: wrong(np.asarray(z, dtype=np.float64)) if asked == name else value(z, asked)


def relu_in_place(z: Any) -> Any:
    z = np.asarray(z, dtype=np.float64)
    return np.maximum(z, 0.0, out=z)


def activate_relu_in_place(z: Any, name: str) -> Any:
    return relu_in_place(z) if name == "relu" else value(z, name)


def first_form(z: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-z))


def second_form(z: Array) -> Array:
    return np.exp(z) / (1.0 + np.exp(z))


def chosen_too_late(z: Array) -> Array:
    return np.where(z >= 0, first_form(z), second_form(z))


def drawn(name: str, *shape: int) -> Any:
    """Draws entries of both signs for one activation."""
    return lambda rng: (2 * rng.normal(size=shape), name)


@prop("huge inputs: no nan and no warning", 4, "activate")
def activate_is_quiet(student: Any, rng: Rng) -> None:
    for name in ("sigmoid", "tanh", "relu"):
        z = np.array([-1e4, 1e4, -800.0, 1000.0, 2.5])
        answer = student.activate(z, name)
        with case_of(f"huge inputs to {name}", Call("activate", (z, name))):
            same(answer, value(z, name), f"the {name}")
            holds(
                not student.warned, "the result may be right, but NumPy warned on the way.", "; ".join(student.warned)
            )


@prop("z is left as it was", 3, "activate", alone=False)
def z_is_left(student: Any, rng: Rng) -> None:
    for name in ("relu", "tanh", "sigmoid", "identity"):
        z, _ = drawn(name, 3, 4)(rng)
        answer = student.activate(z, name)
        with case_of(f"{name}, entries of both signs", Call("activate", (z, name))):
            holds(answer is not None, "`activate` returned nothing.")
            holds(not student.changed, "`activate` modified its argument `z` in place; work on a copy or a new array.")


ACTIVATE = Exercise(
    name="activate",
    title="Activations that leave z alone",
    functions=("activate",),
    hints=(
        "Which of the four could go wrong for large numbers, and which could spoil its own input?",
        "np.maximum and np.tanh make new arrays. For the sigmoid the exponent must never be positive: compute "
        "exp(-|z|) once and build both forms from it.",
        "Sigmoid: with e the exponential of minus the absolute value, the denominator is 1 + e everywhere, and the "
        "numerator is 1 where z is at least 0 and e elsewhere; np.where chooses.",
    ),
    checks=(
        numeric(
            "identity, ReLU, tanh and sigmoid",
            6,
            "activate",
            value,
            [Case(f"{name}, entries of both signs", drawn(name, 3, 4)) for name in ("identity", "relu", "tanh")]
            + [
                Case("sigmoid, entries of both signs", drawn("sigmoid", 2, 5)),
                Case(
                    "relu, entries close to zero", lambda rng: (np.array([-1e-3, 1e-3, 0.0, -1e-300, 1e-300]), "relu")
                ),
            ],
        ),
        activate_is_quiet,
        numeric(
            "lists and float32 are accepted, float64 comes back",
            2,
            "activate",
            value,
            [
                Case("a nested list, relu", lambda rng: (rng.normal(size=(2, 3)).tolist(), "relu")),
                Case("a list of whole numbers, identity", lambda rng: ([1, -2, 3], "identity")),
                Case("float32, sigmoid", lambda rng: (rng.normal(size=4).astype(np.float32), "sigmoid")),
            ],
        ),
        z_is_left,
    ),
    mistakes=(
        Mistake(
            name="relu-in-place",
            advice="This ReLU writes into z, and the backward pass needs z as it was: make a new array with "
            "np.maximum(z, 0).",
            replaces={"activate": activate_relu_in_place},
        ),
        Mistake(
            name="sigmoid-overflows",
            advice="exp of a large positive number overflows: with exp(-|z|) the exponent is never positive. np.where "
            "does not help on its own, because it computes both sides before it chooses.",
            replaces={"activate": with_activation("sigmoid", first_form)},
            variants=variants(
                "activate", with_activation("sigmoid", second_form), with_activation("sigmoid", chosen_too_late)
            ),
        ),
        Mistake(
            name="relu-takes-the-absolute-value",
            advice="The ReLU gives 0 for negative z; the absolute value would make them positive.",
            replaces={"activate": with_activation("relu", np.abs)},
        ),
        Mistake(
            name="relu-leaks",
            advice="The plain ReLU is exactly 0 below zero; a small slope there makes it the leaky ReLU.",
            replaces={"activate": with_activation("relu", ref.leaky_relu)},
        ),
        Mistake(
            name="relu-as-a-step",
            advice="The ReLU lets positive z through as they are; yours only says whether z is positive.",
            replaces={"activate": with_activation("relu", ref.d_relu)},
        ),
        Mistake(
            name="sigmoid-mirrored",
            advice="The sigmoid rises: for large z it is near 1. A sign in an exponent is the wrong way round.",
            replaces={"activate": with_activation("sigmoid", lambda z: ref.sigmoid(-z))},
        ),
    ),
)

# --- one layer -------------------------------------------------------------------------------------------------------


def layer_right(a_prev: Any, W: Any, b: Any) -> Array:
    return linear_forward(a_prev, W, b)[0]


def layer_with(combine: Callable[[Array, Array, Array], Any]) -> Any:
    return lambda a_prev, W, b: combine(*(np.asarray(given, dtype=np.float64) for given in (a_prev, W, b)))


layer_bias_down_the_batch = layer_with(lambda a, W, b: a @ W.T + b[:, None])
layer_features_first = layer_with(lambda a, W, b: W @ a.T + b[:, None])
layer_features_first_half = layer_with(lambda a, W, b: W @ a.T + b)
layer_features_expected = layer_with(lambda a, W, b: W @ a + b[:, None])
layer_not_transposed = layer_with(lambda a, W, b: a @ W + b)
layer_not_transposed_dot = layer_with(lambda a, W, b: np.dot(a, W) + b)
layer_without_bias = layer_with(lambda a, W, b: a @ W.T)
layer_bias_summed = layer_with(lambda a, W, b: a @ W.T + b.sum())
layer_bias_subtracted = layer_with(lambda a, W, b: a @ W.T - b)


def one_layer(batch: int, fan_in: int, fan_out: int, scale: float = 1.0) -> Any:
    """Draws (a_prev, W, b) of one layer."""
    return lambda rng: (
        scale * rng.normal(size=(batch, fan_in)),
        rng.normal(size=(fan_out, fan_in)),
        scale * rng.normal(size=fan_out),
    )


LAYER_FORWARD = Exercise(
    name="layer_forward",
    title="One layer, a whole batch",
    functions=("layer_forward",),
    hints=(
        "Write the three shapes next to each other, and the shape that you want. Which product of two of them gives "
        "it?",
        "A (B, in) matrix can be multiplied by an (in, out) one, and W is stored (out, in). The bias needs no "
        "reshaping: NumPy lines shapes up from the right.",
        "The product of a_prev and the transpose of W, plus b as it is. If you had to give b another axis to make it "
        "fit, the product has its axes the wrong way round.",
    ),
    checks=(
        numeric(
            "layers of different shapes",
            6,
            "layer_forward",
            layer_right,
            [
                Case("six samples, four inputs, three units", one_layer(6, 4, 3)),
                Case("two samples, three inputs, five units", one_layer(2, 3, 5)),
                Case("a single unit", one_layer(5, 3, 1)),
            ],
        ),
        numeric(
            "as many samples as units, where a wrong bias fits too",
            5,
            "layer_forward",
            layer_right,
            [
                Case("four samples, five inputs, four units", one_layer(4, 5, 4)),
                Case("three samples, three inputs, three units", one_layer(3, 3, 3)),
            ],
        ),
        numeric(
            "a batch of one",
            3,
            "layer_forward",
            layer_right,
            [
                Case("one sample, three inputs, four units", one_layer(1, 3, 4)),
                Case("one sample, four inputs, one unit", one_layer(1, 4, 1)),
            ],
        ),
        numeric(
            "lists and large numbers",
            2,
            "layer_forward",
            layer_right,
            [
                Case("nested lists", lambda rng: tuple(given.tolist() for given in one_layer(2, 3, 4)(rng))),
                Case("inputs and biases in the millions", one_layer(5, 4, 3, scale=1e6)),
            ],
        ),
        unchanged(1, {"layer_forward": one_layer(3, 2, 4)}),
    ),
    mistakes=(
        Mistake(
            name="bias-down-the-batch",
            advice="b belongs to the units, so it is added along the columns; with a new axis, b[:, None], each sample "
            "gets a bias of its own. It only fits when the batch is as large as the layer, and is wrong then.",
            replaces={"layer_forward": layer_bias_down_the_batch},
        ),
        Mistake(
            name="batch-in-the-columns",
            advice="This is the layout with one sample a column; here a sample is a row: a_prev @ W.T, with the shape "
            "(B, out).",
            replaces={"layer_forward": layer_features_first},
            variants=variants("layer_forward", layer_features_first_half, layer_features_expected),
        ),
        Mistake(
            name="weights-not-transposed",
            advice="W is stored (out, in), so the layer multiplies by W.T; in a square layer W fits too, and is wrong.",
            replaces={"layer_forward": layer_not_transposed},
            variants=variants("layer_forward", layer_not_transposed_dot),
        ),
        Mistake(
            name="layer-without-bias",
            advice="The bias is missing: each unit adds its own b[j].",
            replaces={"layer_forward": layer_without_bias},
        ),
        Mistake(
            name="biases-summed",
            advice="Each unit adds its own bias, not the sum of all of them.",
            replaces={"layer_forward": layer_bias_summed},
        ),
        Mistake(
            name="bias-subtracted",
            advice="The bias is added to the product, not subtracted from it.",
            replaces={"layer_forward": layer_bias_subtracted},
        ),
    ),
)

# --- all layers ------------------------------------------------------------------------------------------------------

Cache = list[tuple[Any, ...]]


def draw_params(widths: Sequence[int], rng: Rng) -> Params:
    """Parameters for these widths: signals neither fade nor grow, and no bias is zero, so that forgetting one shows."""
    params = {}
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(widths), start=1):
        params[f"W{layer}"] = rng.normal(size=(fan_out, fan_in)) * np.sqrt(2.0 / fan_in)
        params[f"b{layer}"] = rng.uniform(0.2, 0.8, size=fan_out) * rng.choice([-1.0, 1.0], size=fan_out)
    return params


def network(widths: Sequence[int], batch: int, names: str | Sequence[str]) -> Any:
    """Draws (X, params, activations); one name stands for all layers. Every layer's z has entries of both signs."""
    activations = [names] * (len(widths) - 1) if isinstance(names, str) else list(names)

    def draw(rng: Rng) -> tuple[Array, Params, list[str]]:
        while True:
            X, params = rng.normal(size=(batch, widths[0])), draw_params(widths, rng)
            _, cache = mlp.forward(X, params, activations)
            if all(layer.z.min() < -0.1 and layer.z.max() > 0.1 for layer in cache.layers):
                return X, params, activations

    return draw


def rearranged(draw: Any, change: Callable[[Array, Params, list[str]], Any]) -> Any:
    """The same network, handed over in another form."""
    return lambda rng: change(*draw(rng))


def keys_backwards(X: Array, params: Params, names: list[str]) -> Any:
    return X, dict(reversed(params.items())), names


def as_lists(X: Array, params: Params, names: list[str]) -> Any:
    return X.tolist(), {name: given.tolist() for name, given in params.items()}, names


def forward_right(X: Any, params: Params, activations: Sequence[str]) -> tuple[Array, Cache]:
    out, cache = mlp.forward(X, params, activations)
    return out, [tuple(layer) for layer in cache.layers]


def forward_kept(change: Callable[[Array, Cache], Cache]) -> Any:
    """A right forward whose cache is changed at the end."""

    def wrong(X: Any, params: Params, activations: Sequence[str]) -> tuple[Array, Cache]:
        out, cache = forward_right(X, params, activations)
        return out, change(np.asarray(X, dtype=np.float64), cache)

    return wrong


def forward_named(change: Callable[[list[str]], list[str]]) -> Any:
    """A forward that reads the list of activations wrongly."""
    return lambda X, params, activations: forward_right(X, params, change(list(activations)))


def forward_in_order(order: Callable[[list[str]], list[str]]) -> Any:
    """The layers taken in the order that the names of the weights have."""

    def wrong(X: Any, params: Params, activations: Sequence[str]) -> tuple[Array, Cache]:
        renamed: Params = {}
        for layer, name in enumerate(order([k for k in params if k[0] == "W"]), start=1):
            renamed |= {f"W{layer}": params[name], f"b{layer}": params[f"b{name[1:]}"]}
        return forward_right(X, renamed, activations)

    return wrong


def forward_features_first(X: Any, params: Params, activations: Sequence[str]) -> tuple[Array, Cache]:
    out, cache = forward_right(X, params, activations)
    return out.T, [tuple(part.T for part in layer) for layer in cache]


def forward_from_input(X: Any, params: Params, activations: Sequence[str]) -> tuple[Array, Cache]:
    X = np.asarray(X, dtype=np.float64)
    cache: Cache = []
    for layer, name in enumerate(activations, start=1):
        z = layer_right(X, params[f"W{layer}"], params[f"b{layer}"])
        cache.append((X, z, value(z, name)))
    return cache[-1][2], cache


def forward_on_z(X: Any, params: Params, activations: Sequence[str]) -> tuple[Array, Cache]:
    """The z of a layer, not its a, goes on to the next."""
    a_prev = np.asarray(X, dtype=np.float64)
    cache: Cache = []
    for layer, name in enumerate(activations, start=1):
        z = layer_right(a_prev, params[f"W{layer}"], params[f"b{layer}"])
        cache.append((a_prev, z, value(z, name)))
        a_prev = z
    return cache[-1][2], cache


def forward_with_parts(X: Any, params: Params, activations: Sequence[str]) -> tuple[Array, Any]:
    out, cache = forward_right(X, params, activations)
    return out, {f"{part}{n}": layer[i] for n, layer in enumerate(cache, 1) for i, part in enumerate(("a", "z", "out"))}


PARTS = {"a_prev": "item 0 (a_prev)", "z": "item 1 (z)", "a": "item 2 (a)"}
FORWARD_DEPTHS = [
    Case("two layers of different widths", network([3, 5, 2], 6, ["relu", "identity"])),
    Case("three layers", network([4, 6, 3, 5], 7, ["tanh", "relu", "sigmoid"])),
    Case("one layer", network([4, 3], 5, ["sigmoid"])),
]
KEPT = [
    ("two layers, ReLU first", network([3, 6, 2], 4, ["relu", "identity"])),
    ("four layers, a batch as large as they are wide", network([4, 4, 4, 4, 4], 4, "relu")),
    ("three layers, a batch of one", network([3, 6, 5, 4], 1, ["relu", "sigmoid", "tanh"])),
]


def cached(name: str, points: int, part: str) -> Check:
    """A check of one part of every tuple in the cache."""

    @prop(name, points, "forward")
    def check(student: Any, rng: Rng) -> None:
        for reason, draw in KEPT:
            args = draw(rng)
            answer = student.forward(*args)
            with case_of(reason, Call("forward", args)):
                _, cache = items(answer, ("out", "cache"), "the result")
                right = forward_right(*args)[1]
                holds(
                    type(cache) in (list, tuple) and len(cache) == len(right),
                    f"the cache should be a list with one tuple (a_prev, z, a) for each of the {len(right)} layers.",
                )
                for number, (got, want) in enumerate(zip(cache, right, strict=True), start=1):
                    found = dict(zip(PARTS, items(got, tuple(PARTS), f"the cache of layer {number}"), strict=True))
                    same(found[part], want[list(PARTS).index(part)], f"{PARTS[part]} in the cache of layer {number}")

    return check


@prop("a sample's output does not depend on its neighbours", 3, "forward")
def rows_are_alone(student: Any, rng: Rng) -> None:
    X, params, names = network([3, 6, 4], 5, ["relu", "sigmoid"])(rng)
    out, _ = items(student.forward(X, params, names), ("out", "cache"), "the result")
    out = numbers(out, (5, 4), "the output")
    for i in range(5):
        alone, _ = items(student.forward(X[i : i + 1], params, names), ("out", "cache"), "the result")
        with case_of(f"sample {i} in a batch of five, and in a batch of its own"):
            # Two orders of the same few sums of numbers near 1 differ by some 1e-16.
            same(numbers(alone, (1, 4), "the output")[0], out[i], "its output", rtol=1e-12, atol=1e-12)


FORWARD = Exercise(
    name="forward",
    title="Forward with a cache",
    functions=("forward",),
    hints=(
        "Each turn of the loop has three arrays: what came in, z, and a. Which of them is what came in the next time?",
        "Give the incoming array its own name before you overwrite anything. The number of layers is the length of "
        "activations, and the keys are built from the number of the layer.",
        "In the loop: a_prev is the present a; z comes from `layer_forward`, the new a from `activate`; append the "
        "three as a tuple, in that order. After the loop, the last a and the list are the answer.",
    ),
    checks=(
        numeric(
            "output of one, two and three layers",
            7,
            "forward",
            forward_right,
            FORWARD_DEPTHS,
            pick=0,
            result="the output",
        ),
        numeric(
            "every layer has its own activation",
            3,
            "forward",
            forward_right,
            [
                Case("all different", network([3, 4, 5, 6, 2], 5, ["relu", "tanh", "sigmoid", "identity"])),
                Case("a ReLU at the output, the identity inside", network([4, 3, 2], 6, ["identity", "relu"])),
            ],
            pick=0,
            result="the output",
        ),
        numeric(
            "any depth, and keys in any order",
            3,
            "forward",
            forward_right,
            [
                Case("eleven layers: W10 comes after W9, not after W1", network([3] * 12, 5, "tanh")),
                Case(
                    "the keys of params in another order",
                    rearranged(network([3, 3, 3, 3], 5, ["relu", "tanh", "identity"]), keys_backwards),
                ),
            ],
            pick=0,
            result="the output",
        ),
        cached("the cache holds what came into each layer", 5, "a_prev"),
        cached("the cache holds each z, negative entries and all", 5, "z"),
        cached("the cache holds each a", 3, "a"),
        rows_are_alone,
        numeric(
            "lists are accepted",
            1,
            "forward",
            forward_right,
            [Case("inputs and parameters as nested lists", rearranged(network([2, 3, 2], 4, "tanh"), as_lists))],
            pick=0,
            result="the output",
        ),
        unchanged(1, {"forward": network([3, 4, 2], 5, "relu")}),
    ),
    mistakes=(
        Mistake(
            name="output-cached-as-input",
            advice="The first item is what CAME INTO the layer; by the time you stored it, the name already stood for "
            "what goes out. Keep a_prev before a is overwritten.",
            replaces={"forward": forward_kept(lambda X, cache: [(a, z, a) for _, z, a in cache])},
        ),
        Mistake(
            name="z-overwritten-by-a",
            advice="Item 1 must be z from before the activation, negative entries and all: an activation computed in "
            "place, or one name for both, wipes it out.",
            replaces={"forward": forward_kept(lambda X, cache: [(a_prev, a, a) for a_prev, _, a in cache])},
        ),
        Mistake(
            name="z-stored-for-a",
            advice="Item 2 is a, what the activation made of z; yours is z once more.",
            replaces={"forward": forward_kept(lambda X, cache: [(a_prev, z, z) for a_prev, z, _ in cache])},
        ),
        Mistake(
            name="cache-in-another-order",
            advice="Each tuple is (a_prev, z, a), in the order in which they arise.",
            replaces={"forward": forward_kept(lambda X, cache: [(z, a, a_prev) for a_prev, z, a in cache])},
            variants=variants(
                "forward",
                forward_kept(lambda X, cache: [(a_prev, a, z) for a_prev, z, a in cache]),
                forward_kept(lambda X, cache: [(a, z, a_prev) for a_prev, z, a in cache]),
                forward_kept(lambda X, cache: [(z, a_prev, a) for a_prev, z, a in cache]),
            ),
        ),
        Mistake(
            name="input-cached-for-every-layer",
            advice="Only the first layer gets X; what comes into the others is the a of the layer before.",
            replaces={"forward": forward_kept(lambda X, cache: [(X, z, a) for _, z, a in cache])},
        ),
        Mistake(
            name="cache-from-the-last-layer-to-the-first",
            advice="The cache starts with the first layer; the backward pass will turn it round itself.",
            replaces={"forward": forward_kept(lambda X, cache: cache[::-1])},
        ),
        Mistake(
            name="last-layer-not-cached",
            advice="The output layer needs its tuple like every other: L tuples for L layers.",
            replaces={"forward": forward_kept(lambda X, cache: cache[:-1])},
        ),
        Mistake(
            name="activations-off-by-one",
            advice="Layers are counted from 1 and lists from 0: layer l uses activations[l - 1].",
            replaces={"forward": forward_named(lambda names: [*names[1:], names[0]])},
            variants=variants("forward", forward_named(lambda names: [names[-1], *names[:-1]])),
        ),
        Mistake(
            name="one-activation-for-all-layers",
            advice="`activations` has a name for every layer; yours uses one of them everywhere.",
            replaces={"forward": forward_named(lambda names: [names[0]] * len(names))},
            variants=variants("forward", forward_named(lambda names: [names[-1]] * len(names))),
        ),
        Mistake(
            name="output-layer-not-activated",
            advice="The last layer's activation is in the list, too; only if it is 'identity' nothing happens there.",
            replaces={"forward": forward_named(lambda names: [*names[:-1], "identity"])},
        ),
        Mistake(
            name="z-passed-on-instead-of-a",
            advice="The next layer gets a, what the activation made of z, and not z itself.",
            replaces={"forward": forward_on_z},
        ),
        Mistake(
            name="every-layer-reads-the-input",
            advice="Each layer reads the a of the layer before; yours gives X to all of them.",
            replaces={"forward": forward_from_input},
        ),
        Mistake(
            name="samples-in-columns",
            advice="One sample a row, from the input to the output and in the cache: yours is transposed.",
            replaces={"forward": forward_features_first},
        ),
        Mistake(
            name="layers-sorted-as-text",
            advice="As text, W10 sorts before W2: build the keys from the number of the layer.",
            replaces={"forward": forward_in_order(sorted)},
        ),
        Mistake(
            name="layers-in-the-order-of-the-dict",
            advice="The order of a dict's keys says nothing about the order of the layers: the number in the key does.",
            replaces={"forward": forward_in_order(list)},
        ),
    ),
)

# --- batch against loop ----------------------------------------------------------------------------------------------


def both(batched: Any, single: Any, X: Any) -> tuple[Array, Array]:
    X = np.asarray(X, dtype=np.float64)
    return np.asarray(batched(X), dtype=np.float64), np.array([single(x) for x in X], dtype=np.float64)


def gap_with(measure: Callable[[Array, Array], Any]) -> Any:
    return lambda batched, single, X: float(measure(*both(batched, single, X)))


def gap_of_first(batched: Any, single: Any, X: Any) -> float:
    X = np.asarray(X, dtype=np.float64)
    return float(np.max(np.abs(np.asarray(batched(X))[0] - np.asarray(single(X[0])))))


def gap_one_by_one(batched: Any, single: Any, X: Any) -> float:
    X = np.asarray(X, dtype=np.float64)
    return float(max(np.max(np.abs(np.asarray(batched(x[None]))[0] - np.asarray(single(x)))) for x in X))


Errors = dict[tuple[int, int], float]


class Pair:
    """A function of a batch and one of a vector, which agree but for planted errors, and what they were called with.

    `errors` shows in batches of two and more only, as a bias added down the batch would; `lonely` in a batch of one.
    """

    def __init__(self, rng: Rng, batch: int, errors: Errors, lonely: Errors) -> None:
        self.X, self.W = rng.normal(size=(batch, 4)), rng.normal(size=(3, 4))
        self.errors, self.lonely = errors, lonely
        self.given: Any = self.X
        self.batches: list[tuple[int, ...]] = []
        self.vectors: list[tuple[int, ...]] = []

    def batched(self, X: Any) -> Array:
        X = np.asarray(X, dtype=np.float64)
        self.batches.append(X.shape)
        result = np.tanh(np.atleast_2d(X) @ self.W.T)
        for place, error in (self.errors if len(result) > 1 else self.lonely).items():
            result[place] += error
        return result

    def single(self, x: Any) -> Array:
        x = np.asarray(x, dtype=np.float64)
        self.vectors.append(x.shape)
        return np.tanh(x @ self.W.T)

    def call(self) -> Call:
        return Call("batch_gap", (Callback(self.batched, "batched"), Callback(self.single, "single"), self.given))


def gaps_are(student: Any, cases: dict[str, tuple[Pair, float]]) -> None:
    calls = [pair.call() for pair, _ in cases.values()]
    for (reason, (_, want)), call, reply in zip(cases.items(), calls, student.batch(calls), strict=True):
        with case_of(reason):
            # The planted errors are exact; the rest is rounding of numbers near 1.
            same(student.answer(call, reply), want, "the gap", rtol=1e-9, atol=1e-12)


@prop("a planted error is found, wherever it is", 5, "batch_gap")
def gap_found(student: Any, rng: Rng) -> None:
    gaps_are(
        student,
        {
            f"an error of {0.25 * sign:g} in one entry, and smaller ones elsewhere": (
                Pair(rng, 6, {(0, 1): 0.01, (3, 2): 0.25 * sign, (4, 0): -0.125 * sign}, {}),
                0.25,
            )
            for sign in (1.0, -1.0)
        },
    )


@prop("a batch of one, no error at all, and lists", 2, "batch_gap")
def gap_of_one(student: Any, rng: Rng) -> None:
    # The errors here and below are such that no two ways to overlook some of them give the same number.
    listed = Pair(rng, 3, {(0, 1): 0.0625, (1, 1): 0.25, (2, 2): -0.03125}, {(0, 0): 0.015625})
    listed.given = listed.X.tolist()
    gaps_are(
        student,
        {
            "a batch of one": (Pair(rng, 1, {}, {(0, 0): -0.5, (0, 1): 0.125, (0, 2): -0.25}), 0.5),
            "functions that agree": (Pair(rng, 4, {}, {}), 0.0),
            "X as a nested list": (listed, 0.25),
        },
    )


@prop("the whole batch goes in at once, the vectors one by one", 3, "batch_gap")
def gap_called_right(student: Any, rng: Rng) -> None:
    pair = Pair(rng, 5, {(0, 1): 0.03125, (1, 1): -0.375, (2, 1): 0.5, (3, 2): 0.28125, (4, 0): 0.046875}, {})
    gaps_are(student, {"five samples": (pair, 0.5)})
    holds((5, 4) in pair.batches, "`batched` should be called with the whole of X, all its rows together.")
    holds(
        pair.vectors.count((4,)) >= 5,
        "`single` should be called with every row of X, as a vector of shape (4,) when X is (5, 4).",
    )


BATCH_GAP = Exercise(
    name="batch_gap",
    title="Does the batch equal the loop?",
    functions=("batch_gap",),
    hints=(
        "One call gives all answers of the batched function. How do you get those of the other, in the same shape?",
        "Loop over the rows of X, call single on each, and put the results together as rows of one array.",
        "With both results as (B, m) arrays, take the absolute value of their difference and the maximum over all of "
        "it.",
    ),
    checks=(gap_found, gap_of_one, gap_called_right),
    mistakes=(
        Mistake(
            name="gap-averaged",
            advice="A mean hides one wrong sample among many right ones: report the largest difference.",
            replaces={"batch_gap": gap_with(lambda a, b: np.mean(np.abs(a - b)))},
        ),
        Mistake(
            name="gap-without-absolute-value",
            advice="A difference may be negative: take absolute values before the maximum.",
            replaces={"batch_gap": gap_with(lambda a, b: np.max(a - b))},
            variants=variants("batch_gap", gap_with(lambda a, b: np.max(b - a))),
        ),
        Mistake(
            name="gap-of-sums",
            advice="Errors of opposite sign cancel in a sum: compare entry by entry.",
            replaces={"batch_gap": gap_with(lambda a, b: abs(np.sum(a) - np.sum(b)))},
            variants=variants("batch_gap", gap_with(lambda a, b: abs(np.sum(a - b)))),
        ),
        Mistake(
            name="gap-squared",
            advice="The gap is the largest absolute difference; yours is squared.",
            replaces={"batch_gap": gap_with(lambda a, b: np.max((a - b) ** 2))},
        ),
        Mistake(
            name="only-the-first-sample-compared",
            advice="An error may sit in any sample: compare all rows, not the first one.",
            replaces={"batch_gap": gap_of_first},
        ),
        Mistake(
            name="batches-of-one-compared",
            advice="Called with one row at a time, `batched` never sees a batch, and errors that only a batch shows "
            "(a bias down the batch, say) stay hidden.",
            replaces={"batch_gap": gap_one_by_one},
        ),
    ),
)

# --- shapes ----------------------------------------------------------------------------------------------------------


def shapes_right(widths: Sequence[int], batch: int) -> dict[str, tuple[int, ...]]:
    """The shapes of X, W1, b1, z1, a1, ... from the reference's two lists."""
    parameters, activations = mlp.parameter_shapes(widths), mlp.activation_shapes(widths, batch)
    found: dict[str, tuple[int, ...]] = {"X": activations[0]}
    for layer, shape in enumerate(activations[1:], start=1):
        found |= {name: parameters[name] for name in (f"W{layer}", f"b{layer}")}
        found |= {f"z{layer}": shape, f"a{layer}": shape}
    return found


def shapes_with(change: Callable[[str, tuple[int, ...]], tuple[int, ...] | None]) -> Any:
    """The right shapes, some changed or left out."""

    def wrong(widths: Sequence[int], batch: int) -> dict[str, tuple[int, ...]]:
        changed = {name: change(name, shape) for name, shape in shapes_right(widths, batch).items()}
        return {name: shape for name, shape in changed.items() if shape is not None}

    return wrong


def shapes_of_weights_flipped(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[::-1] if name[0] == "W" else shape


def shapes_of_batch_last(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[::-1] if name[0] in "Xza" else shape


def shapes_of_bias_columns(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape, 1) if name[0] == "b" else shape


def shapes_of_bias_rows(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    return (1, *shape) if name[0] == "b" else shape


def shapes_without_batch(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[1:] if name[0] in "Xza" else shape


def shapes_shifted(widths: Sequence[int], batch: int) -> dict[str, tuple[int, ...]]:
    found = shapes_right(widths, batch)
    return {k if k == "X" else f"{k[0]}{int(k[1:]) - 1}": shape for k, shape in found.items()}


def bias_per_sample(widths: Sequence[int], batch: int) -> dict[str, tuple[int, ...]]:
    return {k: ((batch, *s) if k[0] == "b" else s) for k, s in shapes_right(widths, batch).items()}


SHAPES = Exercise(
    name="shapes",
    title="The shapes of everything",
    functions=("shapes",),
    hints=(
        "Which arrays know how many samples there are, and which know how many inputs their layer has?",
        "Go through the layers with two widths in hand, the one before and its own. A key is a letter and the number "
        "of the layer.",
        "For layer l: W is (own width, width before), b is (own width,), z and a are (batch, own width). X is the one "
        "array that belongs to no layer: (batch, first width).",
    ),
    checks=(
        numeric(
            "two and three layers",
            4,
            "shapes",
            shapes_right,
            [
                Case("three layers", lambda rng: ([5, 7, 3, 2], int(rng.integers(8, 20)))),
                Case("two layers", lambda rng: ([int(n) for n in rng.permutation([3, 4, 6])], 5)),
            ],
        ),
        numeric("one layer", 2, "shapes", shapes_right, [Case("one layer", lambda rng: ([4, 3], 6))]),
        numeric("a batch of one", 1, "shapes", shapes_right, [Case("a batch of one", lambda rng: ([4, 3, 2], 1))]),
        numeric(
            "eleven layers",
            2,
            "shapes",
            shapes_right,
            [Case("eleven layers", lambda rng: ([int(n) for n in rng.integers(2, 9, size=12)], 10))],
        ),
    ),
    mistakes=(
        Mistake(
            name="weight-shapes-in-by-out",
            advice="Weights are stored (out, in): the layer's own width comes first.",
            replaces={"shapes": shapes_with(shapes_of_weights_flipped)},
        ),
        Mistake(
            name="batch-axis-last",
            advice="The batch is the FIRST axis of X and of every z and a.",
            replaces={"shapes": shapes_with(shapes_of_batch_last)},
        ),
        Mistake(
            name="bias-shape-two-dimensional",
            advice="A bias is a plain vector, (out,): one number a unit, no axis for anything else.",
            replaces={"shapes": shapes_with(shapes_of_bias_columns)},
            variants=variants("shapes", shapes_with(shapes_of_bias_rows), bias_per_sample),
        ),
        Mistake(
            name="activations-without-batch-axis",
            advice="In a batch every sample has its own z and a: their first axis is B.",
            replaces={"shapes": shapes_with(shapes_without_batch)},
        ),
        Mistake(
            name="input-left-out",
            advice="X is an array of the forward pass like the others, and the first one.",
            replaces={"shapes": shapes_with(lambda name, shape: None if name == "X" else shape)},
        ),
        Mistake(
            name="layers-counted-from-0",
            advice="Layers are counted from 1: the first one has W1, b1, z1 and a1.",
            replaces={"shapes": shapes_shifted},
        ),
    ),
)

# --- memory ----------------------------------------------------------------------------------------------------------


def floats_with(per_sample: Callable[[Sequence[int]], int], extra: Callable[[Sequence[int]], int] = lambda w: 0) -> Any:
    return lambda widths, batch: batch * per_sample(widths) + extra(widths)


CACHE_FLOATS = Exercise(
    name="cache_floats",
    title="What the cache costs",
    functions=("cache_floats",),
    hints=(
        "Draw the tuples of a net of two layers and connect those entries that are one and the same array.",
        "Everything in the cache has B rows, so count the columns of one sample first.",
        "X has n0 columns. Every layer adds two arrays of its width, z and a; its a_prev has been counted already. "
        "Multiply by B at the end.",
    ),
    checks=(
        numeric(
            "networks of different depths",
            5,
            "cache_floats",
            mlp.cache_floats,
            [
                Case("a digit classifier, a batch of 256", lambda rng: ([784, 256, 128, 10], 256)),
                Case("one layer", lambda rng: ([int(rng.integers(3, 9)), int(rng.integers(10, 20))], 7)),
                Case("six layers", lambda rng: ([int(n) for n in rng.integers(2, 60, size=7)], 32)),
            ],
        ),
        numeric(
            "a batch of one",
            2,
            "cache_floats",
            mlp.cache_floats,
            [Case("a batch of one", lambda rng: ([int(n) for n in rng.integers(2, 60, size=4)], 1))],
        ),
    ),
    mistakes=(
        Mistake(
            name="inputs-of-layers-counted-again",
            advice="The a_prev of a layer is the very array that was counted as the a of the layer before: no copy, no "
            "second count.",
            replaces={"cache_floats": floats_with(lambda w: sum(w[:-1]) + 2 * sum(w[1:]))},
        ),
        Mistake(
            name="input-not-counted",
            advice="X is in the cache too, as the a_prev of the first layer.",
            replaces={"cache_floats": floats_with(lambda w: 2 * sum(w[1:]))},
        ),
        Mistake(
            name="only-one-array-a-layer",
            advice="A layer leaves two new arrays of its width: z, and a.",
            replaces={"cache_floats": floats_with(sum)},
        ),
        Mistake(
            name="input-counted-twice",
            advice="The input is one array, X; only layers have both z and a.",
            replaces={"cache_floats": floats_with(lambda w: 2 * sum(w))},
        ),
        Mistake(
            name="parameters-counted-as-cache",
            advice="Parameters are there whether or not anything is cached; the cache holds X and every z and a.",
            replaces={"cache_floats": floats_with(lambda w: w[0] + 2 * sum(w[1:]), mlp.parameter_count)},
        ),
        Mistake(
            name="bytes-instead-of-floats",
            advice="Count numbers, not bytes: the factor 8 is too much.",
            replaces={"cache_floats": floats_with(lambda w: 8 * (w[0] + 2 * sum(w[1:])))},
        ),
    ),
)

# --- statistics ------------------------------------------------------------------------------------------------------


def he_network(widths: Sequence[int], batch: int, names: str | Sequence[str]) -> Any:
    """Draws (X, params, activations) with He weights and zero biases."""
    activations = [names] * (len(widths) - 1) if isinstance(names, str) else list(names)
    return lambda rng: (rng.normal(size=(batch, widths[0])), mlp.init_mlp(widths, rng), activations)


def far_off(rng: Rng) -> tuple[Array, Params, list[str]]:
    """One layer without a bend, and biases that lift its outputs to a hundred thousand.

    The mean of the squares minus the square of the mean has lost its digits there.
    """
    X, params, names = network([3, 5], 6, "identity")(rng)
    return X, params | {"b1": params["b1"] + 1e5}, names


def statistics_with(
    measure: Callable[[Array], float], part: int = 2, *, means: Callable[[Array], float] = np.mean
) -> Any:
    """Means and another measure of spread, of one part of each layer."""

    def wrong(X: Any, params: Params, activations: Sequence[str]) -> tuple[Array, Array]:
        layers = [layer[part] for layer in forward_right(X, params, activations)[1]]
        return np.array([means(a) for a in layers]), np.array([measure(a) for a in layers])

    return wrong


def statistics_with_input(X: Any, params: Params, activations: Sequence[str]) -> tuple[Array, Array]:
    means, stds = mlp.layer_statistics(X, params, activations)
    X = np.asarray(X, dtype=np.float64)
    return np.append(X.mean(), means), np.append(X.std(), stds)


def statistics_of_each_unit(X: Any, params: Params, activations: Sequence[str]) -> Any:
    layers = [layer[2] for layer in forward_right(X, params, activations)[1]]
    return [a.mean(axis=0) for a in layers], [a.std(axis=0) for a in layers]


def statistics_averaged(X: Any, params: Params, activations: Sequence[str]) -> tuple[Array, Array]:
    """The standard deviation of each unit over the batch, averaged over the units."""
    layers = [layer[2] for layer in forward_right(X, params, activations)[1]]
    return np.array([a.mean() for a in layers]), np.array([a.std(axis=0).mean() for a in layers])


LAYER_STATISTICS = Exercise(
    name="layer_statistics",
    title="How large is the signal?",
    functions=("layer_statistics",),
    hints=(
        "Your forward already keeps everything that is needed; which of the three items of a tuple is meant?",
        "np.mean and np.std over a whole (B, n) array take all its entries together, which is what is asked for.",
        "Call forward, go through the cache, and take mean and standard deviation of the last item of every tuple; "
        "return both lists as arrays, in a tuple.",
    ),
    checks=(
        numeric(
            "mean and standard deviation of each layer",
            6,
            "layer_statistics",
            mlp.layer_statistics,
            [
                Case("three layers of different kinds", network([3, 5, 4, 6], 7, ["tanh", "relu", "sigmoid"])),
                Case("one layer", network([4, 3], 5, ["relu"])),
                Case("a batch of one", network([3, 6, 4], 1, "tanh")),
                Case("inputs and parameters as nested lists", rearranged(network([2, 3, 2], 4, "tanh"), as_lists)),
                Case("a layer whose activations are all far from 0, and close together", far_off),
            ],
        ),
        numeric(
            "a deep network with He weights",
            4,
            "layer_statistics",
            mlp.layer_statistics,
            [
                Case("eight layers of ReLU", he_network([20] * 9, 12, "relu")),
                Case("five layers of sigmoids", he_network([16] * 6, 10, "sigmoid")),
            ],
        ),
        unchanged(1, {"layer_statistics": network([3, 4, 2], 5, "relu")}),
    ),
    mistakes=(
        Mistake(
            name="statistics-of-z",
            advice="These are the statistics of z; the signal that goes on is a, what the activation made of it.",
            replaces={"layer_statistics": statistics_with(np.std, part=1)},
        ),
        Mistake(
            name="statistics-of-what-came-in",
            advice="These are the statistics of a_prev, so they are one layer late: use the a of each layer.",
            replaces={"layer_statistics": statistics_with(np.std, part=0)},
        ),
        Mistake(
            name="variance-instead-of-standard-deviation",
            advice="The standard deviation is the square root of the variance.",
            replaces={"layer_statistics": statistics_with(np.var)},
        ),
        Mistake(
            name="root-mean-square-instead-of-deviation",
            advice="The standard deviation is taken around the mean; the root of the mean square is larger wherever "
            "the mean is not zero, as behind a ReLU.",
            replaces={"layer_statistics": statistics_with(lambda a: float(np.sqrt(np.mean(a**2))))},
        ),
        Mistake(
            name="divided-by-one-less",
            advice="Divide by the number of entries (np.std does), not by one less.",
            replaces={"layer_statistics": statistics_with(lambda a: float(np.std(a, ddof=1)))},
        ),
        Mistake(
            name="statistics-of-each-unit",
            advice="One mean and one standard deviation for each layer are asked for, over samples and units together: "
            "no axis.",
            replaces={"layer_statistics": statistics_of_each_unit},
        ),
        Mistake(
            name="deviations-averaged-over-units",
            advice="Take all entries of a layer together: an average of the units' own deviations leaves out how far "
            "the units are apart.",
            replaces={"layer_statistics": statistics_averaged},
        ),
        Mistake(
            name="input-among-the-layers",
            advice="X is no layer: the first entry belongs to a1.",
            replaces={"layer_statistics": statistics_with_input},
        ),
    ),
)

# --- the picture -----------------------------------------------------------------------------------------------------


def draw_picture(student: Any, figure: Any) -> None:
    """The size of the signal in ten layers under He weights, and what a batch costs in memory."""
    left, right = figure.subplots(1, 2)
    rng = np.random.default_rng(304)
    # One network of this width wanders off by chance; several show where it wanders about.
    depth, width, networks = 10, 100, 6
    X = rng.normal(size=(60, width))
    params = [mlp.init_mlp([width] * (depth + 1), rng) for _ in range(networks)]
    layers = np.arange(1, depth + 1)
    for i, name in enumerate(("relu", "tanh", "sigmoid")):
        answers = [items(student.layer_statistics(X, net, [name] * depth), ("means", "stds")) for net in params]
        means, stds = (
            np.mean([numbers(answer[part], (depth,), "the statistics") for answer in answers], axis=0)
            for part in (0, 1)
        )
        left.plot(layers, stds, "o-", color=f"C{i}", ms=4, label=f"{name}: standard deviation")
        left.plot(layers, means, "s:", color=f"C{i}", ms=4, mfc="white", label=f"{name}: mean")
    theory = float(np.sqrt(1 - 1 / np.pi))
    left.axhline(theory, color="0.4", lw=0.8, ls="--", label=f"relu in theory: {theory:.2f}")
    left.set(
        xlabel="layer", ylabel="activations a", ylim=(-0.1, 1.5), title="Ten layers with He weights, mean of 6 networks"
    )
    left.legend(frameon=False, fontsize=7, ncols=2, loc="upper center")
    widths, batches = [784, 256, 128, 10], [2**k for k in range(0, 13)]
    megabytes = [8e-6 * float(numbers(student.cache_floats(widths, b), (), "the count")) for b in batches]
    shapes = student.shapes(widths, 1)
    held = sum(int(np.prod(numbers(entry(shapes, f"{kind}{n}")))) for n in (1, 2, 3) for kind in "Wb")
    right.loglog(batches, megabytes, "o-", color="C3", ms=4, label="cache of the forward pass")
    right.axhline(8e-6 * held, color="0.3", lw=1.2, ls="--", label="parameters")
    right.set(xlabel="batch size B", ylabel="memory (MB)", title="Memory of a 784-256-128-10 network")
    right.legend(frameon=False, fontsize=8)


CHAPTER = Chapter(
    id="ch304",
    slug="forward_pass",
    title="Forward Pass",
    part="Foundations",
    summary="A batch through any number of layers, with the cache that the backward pass needs, its shapes, memory and "
    "statistics.",
    builds_on=("ch303",),
    exercises=(ACTIVATE, LAYER_FORWARD, FORWARD, BATCH_GAP, SHAPES, CACHE_FLOATS, LAYER_STATISTICS),
    picture=Picture(title="What a forward pass carries, and what it costs", draw=draw_picture),
)
