"""Checks of chapter 306: all gradients of a network of any depth, a checker that proves them, and training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from dlreference import activations, mlp
from dlreference.linear import linear_backward

from dlgrade.course.compare import below, describe, entry, holds, items, numbers, same
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


def draw_params(widths: Sequence[int], rng: Rng) -> dict[str, Array]:
    """Parameters for these widths: signals neither fade nor grow, and no bias is zero, so that forgetting one shows."""
    params = {}
    for layer in range(1, len(widths)):
        fan_in, fan_out = widths[layer - 1 : layer + 1]
        params[f"W{layer}"] = rng.normal(size=(fan_out, fan_in)) * np.sqrt(2.0 / fan_in)
        params[f"b{layer}"] = 0.5 * rng.normal(size=fan_out)
    return params


def inputs_and_params(widths: Sequence[int], batch: int, *, backwards: bool = False) -> Any:
    """Draws the arguments (X, params) of a forward pass, the keys from last to first if `backwards`."""

    def draw(rng: Rng) -> tuple[Array, dict[str, Array]]:
        params = draw_params(widths, rng)
        X = rng.normal(size=(batch, widths[0]))
        return X, dict(reversed(params.items())) if backwards else params

    return draw


def single(draw: Any) -> Any:
    """The same draw, its arrays in float32."""

    def shorter(part: Any) -> Any:
        if isinstance(part, dict):
            return {name: shorter(given) for name, given in part.items()}
        return part.astype(np.float32) if isinstance(part, np.ndarray) and part.dtype.kind == "f" else part

    return lambda rng: tuple(shorter(part) for part in draw(rng))


# --- slopes of the activations ---------------------------------------------------------------------------------------


def slope(z: Array, name: str) -> Array:
    return activations.activation(name).derivative(z)


def value(z: Array, name: str) -> Array:
    return activations.activation(name).value(z)


def slope_one_at_zero(z: Array, name: str) -> Array:
    return np.where(np.asarray(z) >= 0, 1.0, 0.0) if name == "relu" else slope(z, name)


def slope_half_at_zero(z: Array, name: str) -> Array:
    return np.heaviside(np.asarray(z, dtype=np.float64), 0.5) if name == "relu" else slope(z, name)


def slope_of_z_itself(z: Array, name: str) -> Array:
    z = np.asarray(z, dtype=np.float64)
    return {"relu": slope(z, "relu"), "sigmoid": z * (1 - z), "tanh": 1 - z**2}[name]


def slope_not_squared(z: Array, name: str) -> Array:
    return 1 - np.tanh(np.asarray(z, dtype=np.float64)) if name == "tanh" else slope(z, name)


def slope_overflowing(z: Array, name: str) -> Array:
    if name != "sigmoid":
        return slope(z, name)
    e = np.exp(-np.asarray(z, dtype=np.float64))
    return e / (1 + e) ** 2


def slope_by_differences(h: float) -> Any:
    def wrong(z: Array, name: str) -> Array:
        z = np.asarray(z, dtype=np.float64)
        slopes = (value(z + h, name) - value(z - h, name)) / (2 * h)
        # Of a ReLU at zero they make one half, and that has a name of its own.
        return np.where(z == 0, 0.0, slopes) if name == "relu" else slopes

    return wrong


def z_for(name: str, *shape: int) -> Any:
    """Draws pre-activations of both signs, and names the activation."""
    return lambda rng: (2 * rng.normal(size=shape), name)


def saturated(low: float, high: float, name: str) -> Any:
    """Draws pre-activations so large that the slope is small."""
    return lambda rng: (rng.uniform(low, high, size=8), name)


ACTIVATION_SLOPE = Exercise(
    name="activation_slope",
    title="Slopes of ReLU, sigmoid and tanh",
    functions=("activation_slope",),
    hints=(
        "How much does a = f(z) change when z is nudged? Sketch each curve and read off where it is steep and where "
        "flat.",
        "For sigmoid and tanh the slope can be written with the value of the function itself, so compute that first; "
        "for the ReLU all that matters is the sign of z.",
        "Call the given `activate` once and name the result a. Sigmoid: a times one minus a. Tanh: one minus a "
        "squared. ReLU: a comparison of z with zero, strict, turned into floats.",
    ),
    checks=(
        numeric(
            "slope of the ReLU",
            2,
            "activation_slope",
            slope,
            [
                Case("inputs of both signs", z_for("relu", 4, 3)),
                Case("inputs just beside zero", lambda rng: (np.array([-1e-9, 1e-9, -1e-300, 1e-300]), "relu")),
            ],
        ),
        numeric(
            "slope of the ReLU at exactly zero",
            2,
            "activation_slope",
            slope,
            [Case("zeros among other inputs", lambda rng: (np.array([0.0, -0.0, 1.0, 0.0, -1.0]), "relu"))],
        ),
        # Where the slope is small, differences of the values have lost digits that the formulas still have. With no
        # absolute tolerance the small slopes count like the others.
        numeric(
            "slope of the sigmoid",
            2,
            "activation_slope",
            slope,
            [
                Case("inputs of both signs", z_for("sigmoid", 4, 3)),
                Case("a plain list", lambda rng: (rng.normal(size=5).tolist(), "sigmoid")),
                Case("inputs where the slope is a few millionths", saturated(11.0, 12.5, "sigmoid")),
            ],
            atol=0.0,
        ),
        numeric(
            "slope of the tanh",
            2,
            "activation_slope",
            slope,
            [
                Case("inputs of both signs", lambda rng: (rng.uniform(-5.0, 5.0, size=(3, 4)), "tanh")),
                Case("a float32 array", lambda rng: (rng.normal(size=5).astype(np.float32), "tanh")),
                Case("inputs where the slope is a few hundred-thousandths", saturated(5.5, 6.5, "tanh")),
            ],
            atol=0.0,
        ),
        # Farther out, 1 - t^2 and s (1 - s) subtract nearly equal numbers and keep 7 digits of the tiny slope; a slope
        # by differences keeps 2. Hence 4 digits are asked for.
        numeric(
            "tiny slopes are computed, not approximated",
            1,
            "activation_slope",
            slope,
            [
                Case("a saturated tanh", saturated(10.0, 12.0, "tanh")),
                Case("a saturated sigmoid", saturated(18.0, 21.0, "sigmoid")),
            ],
            rtol=1e-4,
            atol=0.0,
        ),
        numeric(
            "huge inputs give no nan",
            2,
            "activation_slope",
            slope,
            [
                Case(
                    "a sigmoid of plus and minus ten thousand",
                    lambda rng: (np.array([-1e4, 1e4, -800.0, 800.0]), "sigmoid"),
                ),
                Case(
                    "a tanh of plus and minus ten thousand", lambda rng: (np.array([-1e4, 1e4, -800.0, 800.0]), "tanh")
                ),
            ],
        ),
        unchanged(1, {"activation_slope": z_for("tanh", 2, 3)}),
    ),
    mistakes=(
        Mistake(
            name="relu-slope-one-at-zero",
            advice="At exactly z = 0 the ReLU's slope is 0 by convention: compare with > and not with >=.",
            replaces={"activation_slope": slope_one_at_zero},
        ),
        Mistake(
            name="relu-slope-half-at-zero",
            advice="At exactly z = 0 the ReLU's slope is 0 by convention, not the mean of the slopes on both sides.",
            replaces={"activation_slope": slope_half_at_zero},
        ),
        Mistake(
            name="slope-formula-fed-with-z",
            advice="In s (1 - s) and 1 - t^2 the letters stand for sigmoid(z) and tanh(z), not for z: apply the "
            "activation first.",
            replaces={"activation_slope": slope_of_z_itself},
        ),
        Mistake(
            name="tanh-slope-not-squared",
            advice="The slope of tanh is 1 minus the SQUARE of tanh(z).",
            replaces={"activation_slope": slope_not_squared},
        ),
        Mistake(
            name="activation-instead-of-slope",
            advice="This is the activation's value; the chain rule needs its derivative at the same z.",
            replaces={"activation_slope": value},
        ),
        Mistake(
            name="sigmoid-slope-overflows",
            advice="exp(-z) overflows for very negative z, and infinity over infinity is nan; s (1 - s) with the "
            "given `activate` never does.",
            replaces={"activation_slope": slope_overflowing},
        ),
        Mistake(
            name="slope-by-differences",
            advice="A difference of two values is an approximation that loses its digits where the slope is tiny: use "
            "the formula.",
            replaces={"activation_slope": slope_by_differences(1e-5)},
            variants=tuple({"activation_slope": slope_by_differences(h)} for h in (1e-4, 1e-6, 1e-7)),
        ),
    ),
)

# --- one layer -------------------------------------------------------------------------------------------------------

LayerGradients = tuple[Array, Array, Any]


def layer_right(dz: Array, a_prev: Array, W: Array) -> LayerGradients:
    return linear_backward(dz, (np.asarray(a_prev, dtype=np.float64), np.asarray(W, dtype=np.float64)))


def layer_divided(dz: Array, a_prev: Array, W: Array) -> LayerGradients:
    da, dW, db = layer_right(dz, a_prev, W)
    return da, dW / len(dz), db / len(dz)


def layer_weights_divided(dz: Array, a_prev: Array, W: Array) -> LayerGradients:
    da, dW, db = layer_right(dz, a_prev, W)
    return da, dW / len(dz), db


def layer_all_divided(dz: Array, a_prev: Array, W: Array) -> LayerGradients:
    da, dW, db = layer_right(dz, a_prev, W)
    return da / len(dz), dW / len(dz), db / len(dz)


def layer_bias_averaged(dz: Array, a_prev: Array, W: Array) -> LayerGradients:
    da, dW, _ = layer_right(dz, a_prev, W)
    return da, dW, np.mean(dz, axis=0, dtype=np.float64)


def layer_bias_not_summed(dz: Array, a_prev: Array, W: Array) -> LayerGradients:
    da, dW, _ = layer_right(dz, a_prev, W)
    return da, dW, np.array(dz, dtype=np.float64)


def layer_bias_over_units(dz: Array, a_prev: Array, W: Array) -> LayerGradients:
    da, dW, _ = layer_right(dz, a_prev, W)
    return da, dW, np.sum(dz, axis=1, dtype=np.float64)


def layer_bias_one_number(dz: Array, a_prev: Array, W: Array) -> LayerGradients:
    da, dW, _ = layer_right(dz, a_prev, W)
    return da, dW, np.sum(dz, dtype=np.float64)


def layer_through_transpose(dz: Array, a_prev: Array, W: Array) -> LayerGradients:
    _, dW, db = layer_right(dz, a_prev, W)
    return np.asarray(dz, dtype=np.float64) @ np.asarray(W, dtype=np.float64).T, dW, db


def layer_weight_gradient_transposed(dz: Array, a_prev: Array, W: Array) -> LayerGradients:
    da, dW, db = layer_right(dz, a_prev, W)
    return da, dW.T, db


def layer_other_order(dz: Array, a_prev: Array, W: Array) -> LayerGradients:
    da, dW, db = layer_right(dz, a_prev, W)
    return dW, db, da


def one_layer(batch: int, fan_in: int, fan_out: int, sizes: Sequence[float] = (1.0,)) -> Any:
    """Draws (dz, a_prev, W) of one layer, its inputs of these sizes."""
    return lambda rng: (
        rng.normal(size=(batch, fan_out)),
        rng.normal(size=(batch, fan_in)) * np.array(sizes),
        rng.normal(size=(fan_out, fan_in)),
    )


# The square layer comes in every list: there a transposed matrix still fits, and only its numbers are wrong.
LAYERS = [
    Case("five inputs, three outputs, a batch of six", one_layer(6, 5, 3)),
    Case("a square layer and as many samples, where everything fits everywhere", one_layer(4, 4, 4)),
    Case("a batch of one", one_layer(1, 3, 5)),
    Case("a batch of one, with inputs of very different sizes", one_layer(1, 3, 5, sizes=(1.0, 1e8, 1e-2))),
    Case("a single output", one_layer(7, 4, 1)),
]

LAYER_BACKWARD = Exercise(
    name="layer_backward",
    title="Backward through one layer",
    functions=("layer_backward",),
    hints=(
        "Write down the three shapes you must return and the three you are given. Which products can have those "
        "shapes?",
        "A weight W[i, j] multiplies a_prev[b, j] into z[b, i], for every sample b. So its gradient adds up dz[b, i] "
        "* a_prev[b, j] over b: that sum is a matrix product.",
        "The weight gradient is dz, transposed, times a_prev. The bias gradient adds dz up along the batch axis only. "
        "What goes on to the layer below is dz times W, without a transpose.",
    ),
    checks=(
        numeric("gradient of the weights", 5, "layer_backward", layer_right, LAYERS, pick=1, result="`dW`"),
        numeric("gradient of the biases", 3, "layer_backward", layer_right, LAYERS, pick=2, result="`db`"),
        numeric(
            "gradient passed on to the layer below",
            4,
            "layer_backward",
            layer_right,
            LAYERS,
            pick=0,
            result="`da_prev`",
        ),
        numeric(
            "lists and float32 are accepted, float64 comes back",
            1,
            "layer_backward",
            layer_right,
            [
                Case("nested lists", lambda rng: tuple(a.tolist() for a in one_layer(3, 2, 4)(rng))),
                Case("float32 arrays", lambda rng: tuple(a.astype(np.float32) for a in one_layer(3, 4, 2)(rng))),
            ],
        ),
        unchanged(1, {"layer_backward": one_layer(3, 2, 4)}),
    ),
    mistakes=(
        Mistake(
            name="divided-by-batch-again",
            advice="dz is the gradient of a mean and carries the 1/B already; dividing here shrinks the gradients by "
            "B once too often.",
            replaces={"layer_backward": layer_divided},
            variants=({"layer_backward": layer_weights_divided}, {"layer_backward": layer_all_divided}),
        ),
        Mistake(
            name="bias-gradient-averaged",
            advice="The bias gradient is the SUM of dz over the batch: the 1/B of the mean is inside dz already.",
            replaces={"layer_backward": layer_bias_averaged},
        ),
        Mistake(
            name="bias-gradient-not-summed",
            advice="One bias serves all samples, so its gradient adds up the rows of dz: shape (out,), not (B, out).",
            replaces={"layer_backward": layer_bias_not_summed},
        ),
        Mistake(
            name="bias-gradient-over-the-units",
            advice="The batch is axis 0: sum dz down the rows, one number for each unit, not across the units.",
            replaces={"layer_backward": layer_bias_over_units},
        ),
        Mistake(
            name="bias-gradient-one-number",
            advice="np.sum without an axis adds up everything; each unit has its own bias and its own gradient.",
            replaces={"layer_backward": layer_bias_one_number},
        ),
        Mistake(
            name="backward-through-transposed-weights",
            advice="Forward multiplies by W.T, so backward multiplies by W: with W.T the shapes fit in a square layer "
            "only, and the numbers are wrong there too.",
            replaces={"layer_backward": layer_through_transpose},
        ),
        Mistake(
            name="weight-gradient-transposed",
            advice="A gradient has the shape of its parameter, (out, in): dz comes first, transposed, and a_prev "
            "second.",
            replaces={"layer_backward": layer_weight_gradient_transposed},
        ),
        Mistake(
            name="layer-gradients-in-another-order",
            advice="The three gradients are right, but their order is not: da_prev comes first, then dW, then db.",
            replaces={"layer_backward": layer_other_order},
        ),
    ),
)

# --- forward ---------------------------------------------------------------------------------------------------------

Forward = tuple[Array, Any]


def forward_right(X: Array, params: dict[str, Any], hidden: str = "relu") -> Forward:
    """The reference's forward, its cache made complete: what a mistake's backward needs is all in it."""
    out, cache = mlp.forward(X, params, hidden)
    weights = {name: np.asarray(given, dtype=np.float64) for name, given in params.items()}
    return out, [list(cache.layers), weights, hidden]


def forward_activated_output(X: Array, params: dict[str, Any], hidden: str = "relu") -> Forward:
    out, cache = forward_right(X, params, hidden)
    return value(out, hidden), cache


def forward_linear(X: Array, params: dict[str, Any], hidden: str = "relu") -> Forward:
    return forward_right(X, params, "identity")


def forward_always_relu(X: Array, params: dict[str, Any], hidden: str = "relu") -> Forward:
    return forward_right(X, params, "relu")


def forward_without_bias(X: Array, params: dict[str, Any], hidden: str = "relu") -> Forward:
    return forward_right(X, {k: 0.0 * np.asarray(v) if k[0] == "b" else v for k, v in params.items()}, hidden)


def forward_not_transposed(X: Array, params: dict[str, Any], hidden: str = "relu") -> Forward:
    return forward_right(X, {k: np.transpose(v) for k, v in params.items()}, hidden)


def forward_in_order(order: Callable[[list[str]], list[str]]) -> Any:
    """The layers taken in the order that the names of the weights have."""

    def wrong(X: Array, params: dict[str, Any], hidden: str = "relu") -> Forward:
        numbers_in_order = [name[1:] for name in order([k for k in params if k[0] == "W"])]
        renamed: dict[str, Any] = {}
        for layer, number in enumerate(numbers_in_order, 1):
            renamed |= {f"W{layer}": params[f"W{number}"], f"b{layer}": params[f"b{number}"]}
        return forward_right(X, renamed, hidden)

    return wrong


SQUARE = Case("layers of equal width, where a transposed matrix still fits", inputs_and_params([4, 4, 4], 4))

FORWARD = Exercise(
    name="forward",
    title="Forward through any number of layers",
    functions=("forward",),
    hints=(
        "Only one thing changes from layer to layer: what goes in. Give it one name and overwrite it in a loop.",
        "Count the layers first, then build the keys from the number of the layer, f'W{layer}', instead of looping "
        "over the dict. The last layer is the one whose number equals the count.",
        "In the loop: z from a, W and b; note down what backward will ask for (the layer's input, its weights, z); "
        "then a is the activation of z, or z itself in the last layer. The notes, in a list, are a good cache.",
    ),
    checks=(
        numeric(
            "logits of two and three layers",
            3,
            "forward",
            forward_right,
            [
                Case("two layers of different widths", inputs_and_params([3, 5, 2], 6)),
                SQUARE,
                Case("three layers", inputs_and_params([4, 6, 3, 5], 7)),
                Case("a batch of one", inputs_and_params([3, 4, 2], 1)),
            ],
            pick=0,
            result="the logits",
            keep=(1,),
        ),
        numeric(
            "every activation",
            2,
            "forward",
            forward_right,
            [
                Case("hidden layers of tanh", inputs_and_params([3, 5, 4, 2], 6), {"hidden": "tanh"}),
                Case("hidden layers of sigmoids", inputs_and_params([3, 5, 4, 2], 6), {"hidden": "sigmoid"}),
            ],
            pick=0,
            result="the logits",
            keep=(1,),
        ),
        numeric(
            "one layer alone is linear",
            2,
            "forward",
            forward_right,
            [
                Case("one layer, which is the last one", inputs_and_params([4, 3], 6)),
                Case("one layer, one sample", inputs_and_params([2, 3], 1), {"hidden": "tanh"}),
            ],
            pick=0,
            result="the logits",
            keep=(1,),
        ),
        numeric(
            "any depth, and keys in any order",
            2,
            "forward",
            forward_right,
            [
                Case(
                    "eleven layers: W10 comes after W9, not after W1",
                    inputs_and_params([2] * 12, 3),
                    {"hidden": "tanh"},
                ),
                Case("the keys of params from last to first", inputs_and_params([3, 3, 3, 3, 3], 4, backwards=True)),
            ],
            pick=0,
            result="the logits",
            keep=(1,),
        ),
        numeric(
            "lists and float32 are accepted, float64 comes back",
            1,
            "forward",
            forward_right,
            [
                Case(
                    "inputs and parameters as nested lists",
                    lambda rng: (
                        [[0.5, -1.0], [2.0, 1.0]],
                        {k: v.tolist() for k, v in draw_params([2, 3, 2], rng).items()},
                    ),
                ),
                Case("inputs and parameters in float32", single(inputs_and_params([3, 4, 2], 5))),
            ],
            pick=0,
            result="the logits",
            keep=(1,),
        ),
        unchanged(1, {"forward": inputs_and_params([3, 4, 2], 5)}, keep=(1,)),
    ),
    mistakes=(
        Mistake(
            name="output-layer-activated",
            advice="The last layer has no activation: its z are the logits, and the loss takes it from there.",
            replaces={"forward": forward_activated_output},
        ),
        Mistake(
            name="hidden-layers-not-activated",
            advice="Without an activation between them, all layers together are one linear layer: apply it to every "
            "hidden z.",
            replaces={"forward": forward_linear},
        ),
        Mistake(
            name="hidden-argument-ignored",
            advice="The `hidden` argument says which activation the hidden layers use; yours always uses the ReLU.",
            replaces={"forward": forward_always_relu},
        ),
        Mistake(
            name="forward-without-bias",
            advice="Each layer adds its bias: z = a_prev @ W.T + b.",
            replaces={"forward": forward_without_bias},
        ),
        Mistake(
            name="forward-weights-not-transposed",
            advice="W is stored (out, in), so the layer multiplies by W.T; in a square layer W fits too, and is wrong.",
            replaces={"forward": forward_not_transposed},
        ),
        Mistake(
            name="layers-sorted-as-text",
            advice="As text, W10 sorts before W2: count the layers, and build the keys from the number of the layer.",
            replaces={"forward": forward_in_order(sorted)},
        ),
        Mistake(
            name="layers-in-the-order-of-the-dict",
            advice="The order of a dict's keys says nothing about the order of the layers: the number in the key does.",
            replaces={"forward": forward_in_order(list)},
        ),
    ),
)

# --- backward --------------------------------------------------------------------------------------------------------


def network(widths: Sequence[int], batch: int, hidden: str) -> Any:
    """Draws the named inputs of a gradient: a net, a batch, and a random cotangent at the logits."""

    def draw(rng: Rng) -> dict[str, Any]:
        X, params = inputs_and_params(widths, batch)(rng)
        return {"X": X, "params": params, "hidden": hidden, "dout": rng.normal(size=(batch, widths[-1]))}

    return draw


def corner(rng: Rng) -> dict[str, Any]:
    """A net of whole numbers, in which some hidden units are at exactly zero for some samples."""
    inputs = network([2, 4, 3], 3, "relu")(rng)
    inputs["X"] = np.array([[1.0, 2.0], [3.0, -1.0], [2.0, 2.0]])
    inputs["params"]["W1"] = np.array([[2.0, -1.0], [1.0, 1.0], [1.0, -1.0], [-1.0, -2.0]])
    inputs["params"]["b1"] = np.array([0.0, -2.0, 0.0, 1.0])
    return inputs


def uneven(rng: Rng) -> dict[str, Any]:
    """A cotangent of very different sizes, so that differences of the whole sum lose the small ones."""
    inputs = network([3, 5, 4], 6, "tanh")(rng)
    inputs["dout"] = inputs["dout"] * np.array([1.0, 1e4, 1.0, 1e4])
    return inputs


def far_off(widths: Sequence[int], batch: int, hidden: str) -> Any:
    """Like `network`, with so large biases in the last layer that differences of the logits have few digits left.

    No gradient depends on these biases. It comes last in a list of cases, for what differences tell of a wrong
    gradient is blurred here.
    """

    def draw(rng: Rng) -> dict[str, Any]:
        inputs = network(widths, batch, hidden)(rng)
        inputs["params"][f"b{len(widths) - 1}"] += rng.choice([-1e6, 1e6], size=widths[-1])
        return inputs

    return draw


def passed_forward(student: Any, X: Array, params: dict[str, Array], hidden: str) -> tuple[Any, Any]:
    answer = student.call("forward", X, params, hidden, keep=(1,))
    with case_of("", student.transcript[-1][0]):
        logits, cache = items(answer, ("logits", "cache"), "the result of forward")
    return logits, cache


def passed_backward(student: Any, dout: Array, cache: Any, wanted: Iterable[str]) -> dict[str, Any]:
    """The wanted gradients, by the name of what they belong to: "W1", "b1", ..., "X"."""
    answer = student.call("backward", dout, cache)
    with case_of("", student.transcript[-1][0]):
        grads, dX = items(answer, ("grads", "dX"), "the result of backward")
        holds(type(grads) is dict, f"`grads` should be a dict, but is {describe(grads)}.")
        return {name: dX if name == "X" else entry(grads, name, "`grads`") for name in wanted}


def network_value(student: Any, inputs: dict[str, Any]) -> Any:
    return passed_forward(student, inputs["X"], inputs["params"], inputs["hidden"])[0]


def right_grads(inputs: dict[str, Any]) -> dict[str, Array]:
    _, cache = mlp.forward(inputs["X"], inputs["params"], inputs["hidden"])
    grads, dX = mlp.backward(inputs["dout"], cache, inputs["params"])
    return {**grads, "X": dX}


def place(name: str) -> str:
    """Where an array is found among the named inputs of a network."""
    return name if name == "X" else f"params.{name}"


def network_gradient(
    name: str, points: int, wanted: str, cases: Sequence[GradientCase], value: Callable[..., Any] | None = network_value
) -> Check:
    """A gradient check of those gradients whose kind ("W", "b" or "X") is in `wanted`."""

    def reference(inputs: dict[str, Any]) -> dict[str, Any]:
        return {place(key): grad for key, grad in right_grads(inputs).items() if key[0] in wanted}

    def grads(student: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        _, cache = passed_forward(student, inputs["X"], inputs["params"], inputs["hidden"])
        asked = [key for key in (*inputs["params"], "X") if key[0] in wanted]
        return {place(key): grad for key, grad in passed_backward(student, inputs["dout"], cache, asked).items()}

    return gradient(
        name,
        points,
        ("forward", "backward"),
        cases,
        value=value,
        grads=grads,
        reference=reference,
        names={"X": "`dX`, the gradient of the inputs,"},
    )


EVERY_DEPTH = [
    GradientCase("one layer, no activation", network([4, 3], 6, "relu")),
    GradientCase("two layers of ReLU", network([3, 6, 2], 7, "relu")),
    GradientCase("three layers of tanh", network([4, 6, 3, 5], 7, "tanh")),
    GradientCase("five layers of sigmoids", network([3, 5, 4, 6, 2, 4], 8, "sigmoid")),
    GradientCase("five layers of ReLU", network([3, 8, 7, 6, 5, 4], 9, "relu")),
    GradientCase("entries of dout of very different sizes", uneven),
    GradientCase("logits far from zero, by biases that no gradient depends on", far_off([3, 5, 4], 6, "tanh")),
]

ToDz = Callable[[Array, list[Any], int, str], Array]


def right_dz(da: Array, layers: list[Any], i: int, hidden: str) -> Array:
    return da if i == len(layers) - 1 else da * slope(layers[i].z, hidden)


def sweep(
    to_dz: ToDz, dout: Array, cache: list[Any], *, weights_meet: str = "a_prev", stop_early: bool = False
) -> tuple[dict[str, Array], Array]:
    """A backward pass that may go wrong in how da becomes dz, in what dW is made with, or in where it stops."""
    layers, params, hidden = cache
    grads: dict[str, Array] = {}
    da = np.asarray(dout, dtype=np.float64)
    for i in range(len(layers) - 1, -1, -1):
        dz = to_dz(da, layers, i, hidden)
        grads |= {f"W{i + 1}": dz.T @ getattr(layers[i], weights_meet), f"b{i + 1}": dz.sum(axis=0)}
        da = dz @ params[f"W{i + 1}"]
    return grads, dz if stop_early else da


def backward_with(to_dz: ToDz, **changes: Any) -> dict[str, Any]:
    return {"forward": forward_right, "backward": lambda dout, cache: sweep(to_dz, dout, cache, **changes)}


def dz_without_slope(da: Array, layers: list[Any], i: int, hidden: str) -> Array:
    return da


def dz_slope_at_output_too(da: Array, layers: list[Any], i: int, hidden: str) -> Array:
    return da * slope(layers[i].z, hidden)


def dz_slope_of_output(da: Array, layers: list[Any], i: int, hidden: str) -> Array:
    return da if i == len(layers) - 1 else da * slope(layers[i].a, hidden)


def dz_slope_of_input(da: Array, layers: list[Any], i: int, hidden: str) -> Array:
    return da if i == len(layers) - 1 else da * slope(layers[i].a_prev, hidden)


def dz_slope_of_next(da: Array, layers: list[Any], i: int, hidden: str) -> Array:
    return da if i == len(layers) - 1 else da * slope(layers[i + 1].z, hidden)


def dz_slope_of_previous(da: Array, layers: list[Any], i: int, hidden: str) -> Array:
    return da if i == len(layers) - 1 else da * slope(layers[max(i - 1, 0)].z, hidden)


def dz_times_activation(da: Array, layers: list[Any], i: int, hidden: str) -> Array:
    return da if i == len(layers) - 1 else da * layers[i].a


def backward_using_up(dout: Array, cache: list[Any]) -> tuple[dict[str, Array], Array]:
    layers = [cache[0].pop() for name in cache[1] if name[0] == "W"]
    return sweep(right_dz, dout, [layers[::-1], *cache[1:]])


_LAST: list[Any] = []


def forward_noting(X: Array, params: dict[str, Any], hidden: str = "relu") -> Forward:
    out, cache = forward_right(X, params, hidden)
    _LAST[:] = cache
    return out, cache


def backward_of_last(dout: Array, cache: list[Any]) -> tuple[dict[str, Array], Array]:
    return sweep(right_dz, dout, _LAST)


@prop("a cache can be used again, after other passes", 2, "forward", "backward")
def cache_serves(student: Any, rng: Rng) -> None:
    one, other = far_off([3, 5, 4], 6, "tanh")(rng), far_off([3, 5, 4], 6, "tanh")(rng)
    _, cache = passed_forward(student, one["X"], one["params"], "tanh")
    _, later = passed_forward(student, other["X"], other["params"], "tanh")
    rounds = (
        ("after another forward pass", one, cache, one["dout"]),
        ("on the later pass", other, later, other["dout"]),
        ("used a second time, with another dout", one, cache, other["dout"]),
    )
    for reason, inputs, kept, dout in rounds:
        with case_of(f"a cache {reason}"):
            right = right_grads({**inputs, "dout": dout})
            for name, got in passed_backward(student, dout, kept, right).items():
                same(got, right[name], f"the gradient of {name}")


@prop("grads has the keys and the shapes of params", 1, "forward", "backward")
def keys_and_shapes(student: Any, rng: Rng) -> None:
    inputs = network([3, 4, 5, 2], 6, "tanh")(rng)
    _, cache = passed_forward(student, inputs["X"], inputs["params"], "tanh")
    answer = student.call("backward", inputs["dout"], cache)
    with case_of("three layers", student.transcript[-1][0]):
        grads, dX = items(answer, ("grads", "dX"), "the result of backward")
        first = numbers(entry(grads, "W1", "`grads`"), inputs["params"]["W1"].shape, "`grads['W1']`")
        for name, param in inputs["params"].items():
            numbers(entry(grads, name, "`grads`"), param.shape, f"`grads[{name!r}]`")
        extra = [repr(name) for name in grads if name not in inputs["params"]]
        holds(not extra, f"`grads` should have the keys of params only, but has {', '.join(extra[:6])} too.")
        numbers(dX, inputs["X"].shape, "`dX`")
    with case_of("the same `dout` as nested lists"):
        again = passed_backward(student, inputs["dout"].tolist(), cache, ["W1"])
        same(again["W1"], first, "the gradient of W1, compared with what the array gave,")


@prop("the gradient at the logits is left as it was", 1, "forward", "backward", alone=False)
def dout_untouched(student: Any, rng: Rng) -> None:
    inputs = network([3, 4, 2], 5, "relu")(rng)
    _, cache = passed_forward(student, inputs["X"], inputs["params"], "relu")
    student.call("backward", inputs["dout"], cache)
    holds(0 not in student.changed, "backward modified its argument `dout` in place; work on a copy or a new array.")


BACKWARD = Exercise(
    name="backward",
    title="Backward through any number of layers",
    functions=("backward",),
    hints=(
        "Do one layer on paper, then see that the next one down asks the same question, with another gradient coming "
        "in.",
        "Go through the layers from the last to the first, and carry one array with you: the gradient at the output "
        "of the layer you are at. Two steps each: through the activation (none in the last layer), then through the "
        "layer.",
        "Start with da = dout. For each layer, from the last: dz is da, times the slope at this layer's own z if it "
        "is a hidden layer; `layer_backward` with dz, this layer's input and its weights gives the new da and two "
        "gradients for the dict. After layer 1, da is the gradient of the inputs.",
    ),
    checks=(
        network_gradient("gradients of the weights, at any depth", 5, "W", EVERY_DEPTH),
        network_gradient("gradients of the biases, at any depth", 4, "b", EVERY_DEPTH),
        network_gradient("gradient of the inputs, at any depth", 4, "X", EVERY_DEPTH),
        network_gradient(
            "layers of equal width, where the wrong arrays fit too",
            3,
            "WbX",
            [
                GradientCase("four layers of width four, four samples, ReLU", network([4, 4, 4, 4, 4], 4, "relu")),
                GradientCase("four layers of width four, four samples, tanh", network([4, 4, 4, 4, 4], 4, "tanh")),
                GradientCase("three layers of width four, logits far from zero", far_off([4, 4, 4, 4], 4, "tanh")),
            ],
        ),
        network_gradient(
            "a batch of one",
            2,
            "WbX",
            [
                GradientCase("one sample, three layers of tanh", network([3, 5, 4, 2], 1, "tanh")),
                GradientCase("one sample, two layers of ReLU", network([4, 8, 3], 1, "relu")),
                GradientCase("one sample, logits far from zero", far_off([3, 5, 4], 1, "tanh")),
            ],
        ),
        network_gradient(
            "units at exactly zero pass nothing on",
            1,
            "WbX",
            [GradientCase("hidden units whose z is exactly 0", corner)],
            value=None,  # central differences would call half a slope right
        ),
        network_gradient(
            "gradients are computed, not approximated",
            2,
            "WbX",
            [
                GradientCase("entries of dout of very different sizes", uneven),
                GradientCase("logits far from zero, two layers of ReLU", far_off([3, 6, 4], 5, "relu")),
            ],
        ),
        keys_and_shapes,
        cache_serves,
        dout_untouched,
    ),
    mistakes=(
        Mistake(
            name="slope-forgotten",
            advice="Between two layers stands an activation: multiply by its slope before you go through the layer "
            "below.",
            replaces=backward_with(dz_without_slope),
        ),
        Mistake(
            name="slope-at-the-output-too",
            advice="The last layer has no activation, so its dz is dout itself: the slope belongs to the hidden "
            "layers only.",
            replaces=backward_with(dz_slope_at_output_too),
        ),
        Mistake(
            name="slope-at-a-instead-of-z",
            advice="The slope is taken at what went INTO the activation, z; yours is taken at a = f(z), which the "
            "ReLU hides and tanh and sigmoid do not.",
            replaces=backward_with(dz_slope_of_output),
        ),
        Mistake(
            name="slope-of-the-wrong-layer",
            advice="The slope must be taken at the z of the very layer that da comes out of: yours belongs to a "
            "neighbour.",
            replaces=backward_with(dz_slope_of_input),
            variants=(backward_with(dz_slope_of_next), backward_with(dz_slope_of_previous)),
        ),
        Mistake(
            name="multiplied-by-the-activation",
            advice="The chain rule multiplies by the activation's slope f'(z), not by its value f(z).",
            replaces=backward_with(dz_times_activation),
        ),
        Mistake(
            name="weight-gradient-from-the-output",
            advice="The weights multiplied what came INTO the layer, so dW is made with the layer's input, not its "
            "output.",
            replaces=backward_with(right_dz, weights_meet="a"),
        ),
        Mistake(
            name="input-gradient-stops-early",
            advice="This is the gradient at z1; one more product with W1 takes it to the inputs.",
            replaces=backward_with(right_dz, stop_early=True),
        ),
        Mistake(
            name="cache-used-up",
            advice="Taking things out of the cache leaves nothing for a second call: read it, and leave it whole.",
            replaces={"forward": forward_right, "backward": backward_using_up},
        ),
        Mistake(
            name="cache-in-a-global",
            advice="backward answers for the last forward pass whatever cache it is given: everything must come from "
            "its argument `cache`, and nothing from a global variable.",
            replaces={"forward": forward_noting, "backward": backward_of_last},
        ),
    ),
)

# --- heads -----------------------------------------------------------------------------------------------------------

LossAndGrad = tuple[float, Array]


def loss_right(logits: Array, y: Array, head: Any) -> LossAndGrad:
    return mlp.head_loss(logits, y, head)


def probabilities(logits: Array, head: str) -> Array:
    return activations.sigmoid(logits) if head == "bce" else mlp.softmax(logits)


def loss_not_averaged(logits: Array, y: Array, head: str) -> LossAndGrad:
    loss, dout = loss_right(logits, y, head)
    return loss, dout * len(dout)


def loss_averaged_twice(logits: Array, y: Array, head: str) -> LossAndGrad:
    loss, dout = loss_right(logits, y, head)
    return loss, dout / len(dout)


def loss_summed(logits: Array, y: Array, head: str) -> LossAndGrad:
    loss, dout = loss_right(logits, y, head)
    return loss * len(dout), dout * len(dout)


def loss_slope_again(logits: Array, y: Array, head: str) -> LossAndGrad:
    loss, dout = loss_right(logits, y, head)
    p = probabilities(logits, head)
    return loss, dout * p * (1 - p)


def loss_sign(logits: Array, y: Array, head: str) -> LossAndGrad:
    loss, dout = loss_right(logits, y, head)
    return loss, -dout


def loss_broadcast(logits: Array, y: Array, head: str) -> LossAndGrad:
    if head != "bce":
        return loss_right(logits, y, head)
    z, t = np.asarray(logits, dtype=np.float64), np.asarray(y, dtype=np.float64)
    table = t * np.logaddexp(0, -z) + (1 - t) * np.logaddexp(0, z)
    return float(np.mean(table)), (activations.sigmoid(z) - t) / len(z)


def loss_of_probability(logits: Array, y: Array, head: str) -> LossAndGrad:
    _, dout = loss_right(logits, y, head)
    z = np.asarray(logits, dtype=np.float64)
    if head == "bce":
        p, t = 1 / (1 + np.exp(-z)), np.reshape(y, z.shape)
        return float(-np.mean(t * np.log(p) + (1 - t) * np.log(1 - p))), dout
    p = mlp.softmax(z)
    return float(-np.mean(np.log(p[np.arange(len(z)), y]))), dout


def loss_no_max_shift(logits: Array, y: Array, head: str) -> LossAndGrad:
    if head == "bce":
        return loss_right(logits, y, head)
    z = np.asarray(logits, dtype=np.float64)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    rows = np.arange(len(z))
    loss = -np.mean(np.log(p[rows, y]))
    p[rows, y] -= 1
    return float(loss), p / len(z)


def loss_sigmoid_for_classes(logits: Array, y: Array, head: str) -> LossAndGrad:
    if head == "bce":
        return loss_right(logits, y, head)
    z = np.asarray(logits, dtype=np.float64)
    hot = np.eye(z.shape[1])[y]
    return float(np.sum(hot * np.logaddexp(0, -z)) / len(z)), (activations.sigmoid(z) - hot) / len(z)


def loss_mean_over_classes(logits: Array, y: Array, head: str) -> LossAndGrad:
    loss, dout = loss_right(logits, y, head)
    return loss / dout.shape[1], dout / dout.shape[1]


def binary(batch: int, *, flat: bool = True) -> Any:
    """Draws one logit a sample and targets 0 and 1, both present where there is room."""

    def draw(rng: Rng) -> tuple[Array, Array, str]:
        y = rng.permutation(np.arange(batch) % 2).astype(np.float64)
        return 2 * rng.normal(size=(batch, 1)), y if flat else y[:, None], "bce"

    return draw


def classes(batch: int, count: int) -> Any:
    """Draws logits and labels of `count` classes."""
    return lambda rng: (rng.uniform(-4.0, 4.0, size=(batch, count)), rng.integers(count, size=batch), "ce")


# As in chapter 305: a gradient of a few millionths is exact by its formula, while differences of a loss of size one
# have lost it, and with no absolute tolerance it tells the two apart.


def hardly_possible(batch: int, count: int) -> Any:
    """Like `classes`; the last class is nearly impossible, and never the right one."""

    def draw(rng: Rng) -> tuple[Array, Array, str]:
        logits = rng.uniform(-1.0, 1.0, size=(batch, count))
        logits[:, -1] -= 12.0
        return logits, rng.integers(count - 1, size=batch), "ce"

    return draw


def sure(rng: Rng) -> tuple[Array, Array, str]:
    """Draws logits that are sure and right (four), sure and wrong (two), and undecided (two)."""
    z = np.concatenate([rng.uniform(10.0, 11.5, size=4), rng.uniform(-14.0, -12.0, size=2), rng.normal(size=2)])
    y = rng.permutation(np.arange(8) % 2)
    order = rng.permutation(8)
    return (z * (2 * y - 1))[order, None], y[order].astype(np.float64), "bce"


HUGE = [
    Case(
        "one logit a sample, right and wrong by ten thousand",
        lambda rng: (np.array([[1e4], [-1e4], [1e4], [40.0]]), np.array([1.0, 1.0, 0.0, 0.0]), "bce"),
    ),
    Case(
        "classes, with a logit of ten thousand",
        lambda rng: (np.array([[1e4, 0.0, -1e4], [1e4, 1e4, 0.0], [0.0, 40.0, 0.0]]), np.array([1, 0, 2]), "ce"),
    ),
]

OUTPUT_LOSS = Exercise(
    name="output_loss",
    title="Loss and gradient at the logits, for two heads",
    functions=("output_loss",),
    hints=(
        "In both heads the gradient at the logits compares the probabilities with the targets. Where does the B go?",
        'The number of samples is the number of rows. Give y the shape of the logits for "bce"; for "ce" pick one '
        "log-probability a row, and subtract 1 from one probability a row.",
        "bce: weigh np.logaddexp(0, -z) by y and np.logaddexp(0, z) by 1 - y; the gradient is sigmoid minus y, over "
        "B. ce: subtract each row's maximum, subtract the logarithm of the row's sum of exponentials; that is log p.",
    ),
    checks=(
        numeric(
            "loss of the sigmoid head",
            2,
            "output_loss",
            loss_right,
            [Case("seven samples", binary(7)), Case("a batch of one", binary(1))],
            pick=0,
            result="the loss",
        ),
        loss_gradient(
            "gradient of the sigmoid head",
            3,
            "output_loss",
            loss_right,
            [
                Case("seven samples", binary(7)),
                Case("a batch of one", binary(1)),
                Case("sure logits, the right ones with a small gradient that counts", sure),
            ],
            atol=0.0,
        ),
        numeric(
            "targets as a column or flat",
            1,
            "output_loss",
            loss_right,
            [Case("targets of shape (5, 1)", binary(5, flat=False)), Case("targets of shape (5,)", binary(5))],
        ),
        numeric(
            "lists and float32 are accepted, float64 comes back",
            1,
            "output_loss",
            loss_right,
            [
                Case(
                    "one logit a sample, all as lists", lambda rng: (rng.normal(size=(3, 1)).tolist(), [1, 0, 1], "bce")
                ),
                Case("classes, all as lists", lambda rng: (rng.normal(size=(2, 3)).tolist(), [2, 0], "ce")),
                Case("one logit a sample, in float32", single(binary(3))),
                Case("classes, in float32", single(classes(3, 4))),
            ],
        ),
        numeric(
            "loss of the softmax head",
            2,
            "output_loss",
            loss_right,
            [
                Case("six samples, four classes", classes(6, 4)),
                Case("a batch of one", classes(1, 3)),
                Case("more classes than samples", classes(2, 5)),
            ],
            pick=0,
            result="the loss",
        ),
        loss_gradient(
            "gradient of the softmax head",
            3,
            "output_loss",
            loss_right,
            [
                Case("six samples, four classes", classes(6, 4)),
                Case("a batch of one", classes(1, 3)),
                Case("more classes than samples", classes(2, 5)),
                Case("a class that is nearly impossible, whose small gradient counts", hardly_possible(5, 4)),
            ],
            atol=0.0,
        ),
        numeric("huge logits", 2, "output_loss", loss_right, HUGE),
        unchanged(1, {"output_loss": classes(4, 3)}),
    ),
    mistakes=(
        Mistake(
            name="mean-missing-in-the-gradient",
            advice="The loss is a mean over the batch, so its gradient carries 1/B: this is the one place where it "
            "enters.",
            replaces={"output_loss": loss_not_averaged},
        ),
        Mistake(
            name="mean-taken-twice-in-the-gradient",
            advice="The gradient shrinks with the square of the batch size: divide by B once, here, and nowhere else.",
            replaces={"output_loss": loss_averaged_twice},
        ),
        Mistake(
            name="loss-summed-over-the-batch",
            advice="The loss is the mean over the batch; yours is the sum, and grows with the number of samples.",
            replaces={"output_loss": loss_summed},
        ),
        Mistake(
            name="output-slope-again",
            advice="p minus target is already the gradient at the logits: the sigmoid's slope p (1 - p) has "
            "cancelled, and multiplying by it again shrinks the gradient to nothing where the net is sure and wrong.",
            replaces={"output_loss": loss_slope_again},
        ),
        Mistake(
            name="output-gradient-sign",
            advice="The gradient is probability minus target; the other way round, descent would climb.",
            replaces={"output_loss": loss_sign},
        ),
        Mistake(
            name="output-targets-broadcast",
            advice="Logits (B, 1) against targets (B,) broadcast to a (B, B) table of all pairs: reshape y to the "
            "logits' shape.",
            replaces={"output_loss": loss_broadcast},
        ),
        Mistake(
            name="logarithm-of-a-probability",
            advice="A probability rounds to exactly 0 or 1 when the logit is large, and its logarithm is infinite: "
            "compute the loss from the logits.",
            replaces={"output_loss": loss_of_probability},
        ),
        Mistake(
            name="output-softmax-overflows",
            advice="exp of a large logit is infinite: subtract each row's maximum before the softmax.",
            replaces={"output_loss": loss_no_max_shift},
        ),
        Mistake(
            name="sigmoid-for-classes",
            advice="For classes that exclude each other the probabilities of a row must sum to one: softmax, not a "
            "sigmoid for each class.",
            replaces={"output_loss": loss_sigmoid_for_classes},
        ),
        Mistake(
            name="loss-averaged-over-classes",
            advice="np.mean over the (B, K) table divides by K as well: the mean is over the B samples only.",
            replaces={"output_loss": loss_mean_over_classes},
        ),
    ),
)

# --- central differences ---------------------------------------------------------------------------------------------

# Central differences of a smooth function of size one are right to about 1e-10; one-sided ones to 1e-5.
FD_TOLERANCE = 1e-7


def quadratic(shape: tuple[int, ...], rng: Rng) -> tuple[Callable[[Any], float], Callable[[Array], Array]]:
    """A quadratic function of arrays of this shape, every entry of which matters to every slope, and its gradient."""
    size = int(np.prod(shape))
    A, c = rng.normal(size=(size, size)), rng.normal(size=size)
    A = A + A.T

    def f(x: Any) -> float:
        v = np.asarray(x, dtype=np.float64).reshape(shape).ravel()
        return float(0.5 * v @ A @ v + c @ v)

    return f, lambda x: (A @ np.ravel(x) + c).reshape(shape)


def differences(
    f: Any, x: Array, h: float, *, up: float = 1.0, down: float = 1.0, over: float = 2.0, undone: bool = True
) -> Array:
    """Slopes from f at x + up h and at x - down h, one entry at a time, divided by `over` h."""
    moved = np.array(x, dtype=np.float64)
    grad = np.zeros_like(moved)
    for index in np.ndindex(moved.shape):
        before = moved[index]
        moved[index] = before + up * h
        high = f(moved)
        moved[index] = before - down * h
        grad[index] = (high - f(moved)) / (over * h)
        if undone:
            moved[index] = before
    return grad


def one_sided(f: Any, x: Array, h: float = 1e-5) -> Array:
    return differences(f, x, h, down=0.0, over=1.0)


def one_sided_below(f: Any, x: Array, h: float = 1e-5) -> Array:
    return differences(f, x, h, up=0.0, over=1.0)


def over_h_only(f: Any, x: Array, h: float = 1e-5) -> Array:
    return differences(f, x, h, over=1.0)


def never_undone(f: Any, x: Array, h: float = 1e-5) -> Array:
    return differences(f, x, h, undone=False)


def undone_by_adding(f: Any, x: Array, h: float = 1e-5) -> Array:
    x = np.asarray(x, dtype=np.float64)
    grad = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        x[index] += h
        high = f(x)
        x[index] -= 2 * h
        grad[index] = (high - f(x)) / (2 * h)
        x[index] += h
    return grad


def left_nudged(f: Any, x: Array, h: float = 1e-5) -> Array:
    grad = differences(f, x, h, undone=False)
    if isinstance(x, np.ndarray) and x.dtype == np.float64:
        x -= h
    return grad


def all_at_once(f: Any, x: Array, h: float = 1e-5) -> Array:
    x = np.asarray(x, dtype=np.float64)
    return np.full(x.shape, (f(x + h) - f(x - h)) / (2 * h))


def whole_numbers_kept(f: Any, x: Array, h: float = 1e-5) -> Array:
    x = np.array(x)
    grad = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] = x[index] + h
        down[index] = x[index] - h
        grad[index] = (f(up) - f(down)) / (2 * h)
    return grad


@prop("a function whose gradient is known", 3, "numerical_gradient")
def known_gradient(student: Any, rng: Rng) -> None:
    for shape in ((4,), (2, 3), (2, 2, 2)):
        f, grad = quadratic(shape, rng)
        x = rng.normal(size=shape)
        with case_of(f"an array of shape {shape}"):
            answer = student.numerical_gradient(Callback(f, "f"), x)
            same(answer, grad(x), "the gradient", rtol=FD_TOLERANCE, atol=FD_TOLERANCE)


@prop("central, with the given step", 2, "numerical_gradient")
def central(student: Any, rng: Rng) -> None:
    x, c, h = 2 * rng.normal(size=(3, 4)), rng.normal(size=(3, 4)), 0.125

    def f(moved: Any) -> float:
        return float(np.sum(c * np.asarray(moved, dtype=np.float64).reshape(3, 4) ** 3))

    # (x + h)^3 - (x - h)^3 = 2h (3 x^2 + h^2): with a large h the formula itself shows, not only its limit.
    answer = student.numerical_gradient(Callback(f, "f"), x, h)
    with case_of("a sum of cubes and a large step h", student.transcript[-1][0]):
        same(answer, c * (3 * x**2 + h**2), "the central difference")


@prop("x comes back exactly, and one entry moves at a time", 3, "numerical_gradient")
def x_restored(student: Any, rng: Rng) -> None:
    x = rng.normal(size=(6, 4))
    f, _ = quadratic((6, 4), rng)
    seen = []

    def spy(moved: Any) -> float:
        seen.append(np.array(moved, dtype=np.float64))
        return f(moved)

    student.numerical_gradient(Callback(spy, "f"), x)
    with case_of("", student.transcript[-1][0]):
        moved = [int(np.sum(np.abs(s - x) > 1e-9)) if s.shape == x.shape else x.size for s in seen]
        holds(bool(seen), "f was never called: the gradient comes from its values.")
        holds(
            max(moved, default=0) <= 1,
            "more than one entry was off when f was called: undo each nudge before the next.",
        )
        holds(
            1 not in student.changed,
            "x did not come back exactly as it was: nudge a copy, or put the old value itself back (adding and "
            "subtracting h leaves rounding behind).",
        )


@prop("whole numbers and lists", 1, "numerical_gradient")
def whole_numbers(student: Any, rng: Rng) -> None:
    f, grad = quadratic((3,), rng)
    x = rng.integers(-4, 5, size=3)
    for reason, given in (("an array of whole numbers", x), ("a list", x.tolist())):
        with case_of(reason):
            answer = student.numerical_gradient(Callback(f, "f"), given)
            same(answer, grad(x), "the gradient", rtol=FD_TOLERANCE, atol=FD_TOLERANCE)


@prop("it confirms the gradient of a real network", 2, "numerical_gradient")
def confirms_network(student: Any, rng: Rng) -> None:
    X, params = inputs_and_params([3, 4, 3], 5)(rng)
    y = rng.integers(3, size=5)
    _, grads = mlp.loss_and_gradients(params, X, y, "tanh", "ce")

    def loss(W: Any) -> float:
        moved = {**params, "W1": np.asarray(W, dtype=np.float64).reshape(4, 3)}
        return mlp.loss_and_gradients(moved, X, y, "tanh", "ce")[0]

    answer = student.numerical_gradient(Callback(loss, "loss"), params["W1"], 1e-5)
    with case_of("the loss of a network, as a function of its first weights", student.transcript[-1][0]):
        same(answer, grads["W1"], "the gradient", rtol=FD_TOLERANCE, atol=FD_TOLERANCE)


NUMERICAL_GRADIENT = Exercise(
    name="numerical_gradient",
    title="A gradient checker by central differences",
    functions=("numerical_gradient",),
    hints=(
        "Change one entry of x, ask f, and put the entry back before you touch the next one.",
        "np.ndindex(x.shape) visits every index, whatever the shape. Copy x into an array of floats first: then the "
        "caller's x cannot suffer, and whole numbers do not swallow the nudge.",
        "For each index: remember the old value; set old + h and call f; set old - h and call f; set old again. The "
        "slope is the difference of the two answers over 2h.",
    ),
    checks=(known_gradient, central, x_restored, whole_numbers, confirms_network),
    mistakes=(
        Mistake(
            name="differences-one-sided",
            advice="A one-sided difference is right to about h only, too little to prove a gradient: go up AND down, "
            "and the error falls to h squared.",
            replaces={"numerical_gradient": one_sided},
            variants=({"numerical_gradient": one_sided_below},),
        ),
        Mistake(
            name="differences-over-h",
            advice="From minus h to plus h is a distance of 2h: divide by that.",
            replaces={"numerical_gradient": over_h_only},
        ),
        Mistake(
            name="nudge-not-undone",
            advice="Entries nudged earlier are still off when the next slope is taken: put each one back first.",
            replaces={"numerical_gradient": never_undone},
            variants=({"numerical_gradient": left_nudged},),
        ),
        Mistake(
            name="nudge-undone-by-adding",
            advice="Adding h, subtracting 2h and adding h again does not give the old number back to the last digit: "
            "remember it and put it back, or nudge a copy.",
            replaces={"numerical_gradient": undone_by_adding},
        ),
        Mistake(
            name="all-entries-nudged-at-once",
            advice="Nudging all entries together gives the sum of all slopes: nudge one at a time.",
            replaces={"numerical_gradient": all_at_once},
        ),
        Mistake(
            name="nudge-lost-in-whole-numbers",
            advice="An array of whole numbers cannot hold x + h, and the nudge is rounded away: make x floats first.",
            replaces={"numerical_gradient": whole_numbers_kept},
        ),
    ),
)

# --- training --------------------------------------------------------------------------------------------------------

Trained = tuple[dict[str, Array], Array]
Step = Callable[[dict[str, Array], dict[str, Array], float], dict[str, Array]]


def train_right(
    params: dict[str, Any], X: Array, y: Array, lr: float, steps: int, hidden: str = "relu", head: Any = "ce"
) -> Trained:
    trained, losses = mlp.gradient_descent(params, X, y, lr, steps, hidden, head)
    return trained, losses[:-1]


def descend(params: dict[str, Array], grads: dict[str, Array], lr: float) -> dict[str, Array]:
    return {name: given - lr * grads[name] for name, given in params.items()}


def climb(params: dict[str, Array], grads: dict[str, Array], lr: float) -> dict[str, Array]:
    return descend(params, grads, -lr)


def weights_only(params: dict[str, Array], grads: dict[str, Array], lr: float) -> dict[str, Array]:
    return {name: given - lr * grads[name] * (name[0] == "W") for name, given in params.items()}


def train_with(
    step: Step = descend, *, fresh: bool = True, adding: bool = False, after: bool = False, in_place: bool = False
) -> Any:
    """A training loop like the right one, but for the step, or for what happens around it."""

    def wrong(
        params: dict[str, Any], X: Array, y: Array, lr: float, steps: int, hidden: str = "relu", head: Any = "ce"
    ) -> Trained:
        current = {name: np.asarray(given, dtype=np.float64) for name, given in params.items()}
        losses, first = [], mlp.loss_and_gradients(current, X, y, hidden, head)
        total = {name: np.zeros_like(given) for name, given in current.items()}
        for _ in range(steps):
            loss, grads = mlp.loss_and_gradients(current, X, y, hidden, head) if fresh else first
            total = {name: total[name] * adding + grads[name] for name in grads}
            moved = step(current, total, lr)
            if in_place:
                for name, given in current.items():
                    given[...] = moved[name]
            else:
                current = moved
            losses.append(mlp.loss_and_gradients(current, X, y, hidden, head)[0] if after else loss)
        return current, np.array(losses)

    return {"train": wrong}


def train_too_early(
    params: dict[str, Any], X: Array, y: Array, lr: float, steps: int, hidden: str = "relu", head: Any = "ce"
) -> Trained:
    current = {name: np.array(given, dtype=np.float64) for name, given in params.items()}
    losses = []
    for _ in range(steps):
        out, (layers, _, _) = forward_right(X, current, hidden)
        loss, da = mlp.head_loss(out, y, head)
        losses.append(loss)
        for i in range(len(layers) - 1, -1, -1):
            dz = right_dz(da, layers, i, hidden)
            W, b = f"W{i + 1}", f"b{i + 1}"
            current[W] = current[W] - lr * dz.T @ layers[i].a_prev
            current[b] = current[b] - lr * dz.sum(axis=0)
            da = dz @ current[W]
    return current, np.array(losses)


def task(widths: Sequence[int], batch: int, lr: float, steps: int, head: str) -> Any:
    """Draws (params, X, y, lr, steps) of a training run."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        X, params = inputs_and_params(widths, batch)(rng)
        y = rng.integers(2 if head == "bce" else widths[-1], size=batch)
        return params, X, y.astype(np.float64) if head == "bce" else y, lr, steps

    return draw


def listed(draw: Any) -> Any:
    """The same draw, with lists for arrays."""

    def plain(part: Any) -> Any:
        if isinstance(part, dict):
            return {name: plain(given) for name, given in part.items()}
        return part.tolist() if isinstance(part, np.ndarray) else part

    return lambda rng: tuple(plain(part) for part in draw(rng))


TASKS: tuple[tuple[str, list[int], int, dict[str, str]], ...] = (
    ("classes, ReLU, as the defaults are", [3, 5, 4], 6, {}),
    ("one logit, tanh", [2, 4, 1], 5, {"hidden": "tanh", "head": "bce"}),
    ("three layers of sigmoids", [3, 4, 5, 2], 7, {"hidden": "sigmoid", "head": "ce"}),
    ("a batch of one", [3, 4, 2], 1, {"hidden": "tanh", "head": "ce"}),
)


def runs(steps: int) -> list[Case]:
    """A run of so many steps on each task, the rate large enough for a step out of turn to show."""
    return [
        Case(reason, task(widths, batch, 0.5, steps, str(kwargs.get("head", "ce"))), dict(kwargs))
        for reason, widths, batch, kwargs in TASKS
    ]


def ring(count: int, rng: Rng) -> tuple[Array, Array]:
    """A disc (label 1) and a ring around it (label 0), which no straight line tells apart; points at all angles."""
    y = np.arange(count) % 2
    radius = np.where(y == 1, rng.uniform(0.2, 0.8, count), rng.uniform(1.6, 2.2, count))
    angle = 2 * np.pi * (np.arange(count) + rng.uniform(size=count)) / count
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), y.astype(np.float64)


def trained(answer: Any, start: dict[str, Array], steps: int) -> tuple[dict[str, Array], Array]:
    """The answer of a training run, as arrays of the right shapes."""
    params, losses = items(answer, ("params", "losses"), "the result of train")
    shaped = {
        name: numbers(entry(params, name, "`params`"), given.shape, f"`params[{name!r}]`")
        for name, given in start.items()
    }
    return shaped, numbers(losses, (steps,), "`losses`")


@prop("every sample twice changes nothing", 1, "train")
def doubled(student: Any, rng: Rng) -> None:
    params, X, y, lr, steps = task([3, 5, 3], 4, 0.5, 4, "ce")(rng)
    once, _ = trained(student.train(params, X, y, lr, steps, "tanh", "ce"), params, steps)
    answer = student.train(params, np.concatenate([X, X]), np.concatenate([y, y]), lr, steps, "tanh", "ce")
    with case_of("the same batch with every sample twice, whose mean loss is the same", student.transcript[-1][0]):
        twice, _ = trained(answer, params, steps)
        for name in params:
            same(twice[name], once[name], f"the trained {name}, compared with the run on the batch itself,")


@prop("the loss falls at every step", 1, "train")
def falls(student: Any, rng: Rng) -> None:
    X, y = ring(20, rng)
    start = draw_params([2, 5, 1], rng)
    answer = student.train(start, X, y, 0.1, 25, hidden="tanh", head="bce")
    with case_of("a small learning rate and a smooth network", student.transcript[-1][0]):
        _, losses = trained(answer, start, 25)
        risen = np.flatnonzero(np.diff(losses) >= 0)
        first = int(risen[0]) + 1 if len(risen) else 0
        holds(not first, f"the loss should fall at every step, but rises or stands still after step {first}.")


@training("a network learns to tell a disc from a ring", 2, "train", cpu_s=20.0)
def learns_ring(student: Any, rng: Rng) -> None:
    # Right answers on 400 seeds: held-out accuracy at least 0.986, last loss at most 0.071.
    X, y = ring(40, rng)
    X_new, y_new = ring(300, rng)
    start = mlp.init_mlp([2, 8, 1], rng)
    learned, losses = trained(student.train(start, X, y, 1.0, 150, hidden="tanh", head="bce"), start, 150)
    below(float(losses[-1]), 0.15, "after 150 steps the loss should be below 0.15.", f"It is {losses[-1]:.3g}.")
    accuracy = float(np.mean(mlp.predict(X_new, learned, "tanh", "bce") == y_new))
    below(
        1 - accuracy,
        0.06,
        "on new points of the same kind the trained network should be right at least 94 times in 100.",
        f"It is right {100 * accuracy:.1f} times in 100.",
    )


TRAIN = Exercise(
    name="train",
    title="Train a network with your gradients",
    functions=("train",),
    hints=(
        "You have written every part. One step is: forward, loss, backward, update; in this order, again and again.",
        "Copy the parameters first, so that the caller keeps its own. In each step note down the loss before you "
        "change anything, and get all gradients before you change anything.",
        "In the loop: forward gives logits and cache; output_loss gives the loss for your list and dout; backward "
        "gives the gradients; then build a new dict in which each parameter is the old one minus lr times its "
        "gradient.",
    ),
    checks=(
        numeric("one step moves every parameter", 3, "train", train_right, runs(1), pick=0, result="`params`"),
        numeric("five steps follow the gradients", 2, "train", train_right, runs(5), pick=0, result="`params`"),
        numeric("the loss before each step", 1, "train", train_right, runs(6), pick=1, result="`losses`"),
        numeric(
            "lists are accepted",
            1,
            "train",
            train_right,
            [
                Case("one logit, all as lists", listed(task([2, 3, 1], 4, 0.5, 2, "bce")), {"head": "bce"}),
                Case("classes, all as lists", listed(task([2, 3, 3], 4, 0.5, 2, "ce"))),
            ],
        ),
        doubled,
        falls,
        learns_ring,
        unchanged(1, {"train": task([3, 4, 2], 5, 0.5, 3, "ce")}),
    ),
    mistakes=(
        Mistake(
            name="weights-updated-too-early",
            advice="A layer's weights were changed before the gradient went through them to the layer below: get all "
            "gradients first, then change all parameters.",
            replaces={"train": train_too_early},
        ),
        Mistake(
            name="training-climbs",
            advice="The gradient points uphill: subtract lr times the gradient.",
            replaces=train_with(climb),
        ),
        Mistake(
            name="biases-not-trained",
            advice="The biases are parameters too: update b1, b2, ... like the weights.",
            replaces=train_with(weights_only),
        ),
        Mistake(
            name="gradients-from-the-start-only",
            advice="The gradients belong to the parameters they were computed with: run forward and backward again in "
            "every step.",
            replaces=train_with(fresh=False),
        ),
        Mistake(
            name="gradients-add-up-over-steps",
            advice="Each step uses the gradient of that step alone; yours adds up those of all steps before.",
            replaces=train_with(adding=True),
        ),
        Mistake(
            name="loss-after-the-step",
            advice="Entry i of the losses is the loss before step i: note it down before the parameters change.",
            replaces=train_with(after=True),
        ),
        Mistake(
            name="start-parameters-overwritten",
            advice="`params[name] -= ...` changes the caller's own arrays: copy them at the start, or build new ones.",
            replaces=train_with(in_place=True),
        ),
    ),
)


# --- picture ---------------------------------------------------------------------------------------------------------

WIDTHS = (2, 16, 16, 3)
ARM = 40
STEPS = 1000


def pinwheel(count: int, rng: Rng) -> tuple[Array, Array]:
    """Three bent arms of `count` points each, one class an arm."""
    label = np.repeat(np.arange(3), count)
    radius = np.tile(np.linspace(0.15, 2.0, count), 3)
    angle = 2 * np.pi * label / 3 + 2.4 * radius + 0.12 * rng.normal(size=3 * count)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), label


def differences_from_backward(student: Any, params: dict[str, Array], X: Array, y: Array) -> dict[str, float]:
    """The largest difference between the student's two gradients of a network's loss, for each parameter and X.

    Relative to the largest entry of the gradient. The loss that is differentiated is ours, everything else theirs.
    """
    logits, cache = passed_forward(student, X, params, "tanh")
    _, dout = items(student.output_loss(logits, y, "ce"), ("loss", "dout"), "the result of output_loss")
    given = {**params, "X": X}
    errors = {}
    for name, backward in passed_backward(student, dout, cache, given).items():

        def loss(moved: Any, name: str = name) -> float:
            inputs = {**given, name: np.asarray(moved, dtype=np.float64)}
            return mlp.loss_and_gradients(inputs, inputs.pop("X"), y, "tanh", "ce")[0]

        want = given[name].shape
        slopes = numbers(student.numerical_gradient(Callback(loss, "loss"), given[name]), want, f"the slopes of {name}")
        gap = np.abs(numbers(backward, want, f"the gradient of {name}") - slopes).max()
        errors[name] = float(gap / max(np.abs(slopes).max(), 1e-12))
    return errors


def draw_picture(student: Any, figure: Any) -> None:
    """The student's gradients against central differences, the loss as it falls, and what the network has learned."""
    rng = np.random.default_rng(306)
    X, y = pinwheel(ARM, rng)
    start = mlp.init_mlp(WIDTHS, rng)
    errors = differences_from_backward(student, start, X[::8], y[::8])
    learned, losses = student.train(start, X, y, 0.3, STEPS, hidden="tanh", head="ce")
    check, curve, regions = figure.subplots(1, 3, width_ratios=(0.8, 1, 1.55))

    names = list(errors)
    check.axvspan(1e-14, 1e-6, color="C2", alpha=0.12, lw=0)
    check.axvspan(1e-4, 1e1, color="C3", alpha=0.12, lw=0)
    check.plot(np.maximum(list(errors.values()), 1e-14), range(len(names)), "o", color="C0")
    check.set_xscale("log")
    check.set_xlim(1e-14, 1e1)
    check.set_yticks(range(len(names)), names)
    check.invert_yaxis()
    check.set_xlabel("relative difference")
    check.set_xticks((1e-12, 1e-8, 1e-4, 1e0))
    check.set_title("Your backward against\nyour central differences", fontsize=10)
    check.text(1e-10, len(names) - 0.55, "right", color="C2", ha="center", fontsize=8)
    check.text(10**-1.5, len(names) - 0.55, "wrong", color="C3", ha="center", fontsize=8)
    check.set_ylim(len(names) - 0.4, -0.6)

    curve.plot(np.arange(len(losses)), losses, color="C0")
    curve.set_yscale("log")
    curve.set_xlabel("step")
    curve.set_ylabel("mean cross-entropy (nats)")
    curve.set_title(f"Gradient descent\non {len(X)} points", fontsize=10)

    side = np.linspace(-2.4, 2.4, 241)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    logits = np.asarray(student.call("forward", grid, learned, "tanh", keep=(1,))[0])
    map_of_classes = logits.argmax(axis=1).reshape(len(side), len(side))
    colours = ("C0", "C1", "C2")
    regions.contourf(side, side, map_of_classes, levels=(-0.5, 0.5, 1.5, 2.5), colors=colours, alpha=0.22)
    for label, (colour, mark) in enumerate(zip(colours, "os^", strict=True)):
        regions.scatter(*X[y == label].T, s=9, color=colour, marker=mark, label=f"class {label}", lw=0)
    regions.set_aspect("equal")
    regions.set_xlabel("first input")
    regions.set_ylabel("second input")
    regions.legend(frameon=False, fontsize=7, loc="upper right", handletextpad=0.1)
    regions.set_title("What the network\nhas learned", fontsize=10)


CHAPTER = Chapter(
    id="ch306",
    slug="backpropagation",
    title="Backpropagation from Scratch",
    part="Foundations",
    summary="Gradients of a network of any depth, proved right by central differences, and training with them.",
    builds_on=("ch304", "ch305"),
    exercises=(ACTIVATION_SLOPE, LAYER_BACKWARD, FORWARD, BACKWARD, OUTPUT_LOSS, NUMERICAL_GRADIENT, TRAIN),
    picture=Picture(title="Your gradients, proved and put to work", draw=draw_picture),
)
