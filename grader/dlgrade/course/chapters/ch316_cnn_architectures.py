"""Checks of chapter 316: residual blocks there and back, shapes and counts of networks, gradients in deep stacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from dlreference import cnn, conv, norm
from dlreference.activations import relu

from dlgrade.course.compare import entry, holds, items, same
from dlgrade.course.kinds import Case, GradientCase, Rng, case_of, gradient, numeric, prop, unchanged
from dlgrade.course.spec import Chapter, Check, Exercise, Mistake, Picture
from dlgrade.sandbox.session import Call

Array = np.ndarray[Any, Any]
Params = dict[str, Array]
Draw = Callable[[Rng], tuple[Any, ...]]


def floats(x: Any) -> Array:
    return np.asarray(x, dtype=np.float64)


# --- the steps, from the reference -----------------------------------------------------------------------------------


def normed_of(x: Any, gamma: Any, beta: Any) -> tuple[Array, Any]:
    """(normed, cache) with the statistics of the batch."""
    x = floats(x)
    normed, cache, _ = norm.batch_norm_forward(x, floats(gamma), floats(beta), norm.batch_norm_init(x.shape[1]), True)
    return normed, cache


def half(x: Any, gamma: Any, beta: Any, W: Any, stride: int = 1) -> Any:
    """(out, cache) of normalisation, ReLU and convolution."""
    normed, norm_cache = normed_of(x, gamma, beta)
    out, conv_cache = conv.conv2d_forward(relu(normed), W, stride=stride, padding=1)
    return out, (floats(x), norm_cache, normed, conv_cache)


def half_back(dout: Any, cache: Any, passes: Callable[[Array, Array, Array], Array] | None = None) -> Any:
    """(dx, dgamma, dbeta, dW); `passes(x, normed, dactive)` is where the ReLU lets the gradient pass."""
    x, norm_cache, normed, conv_cache = cache
    dactive, dW, _ = conv.conv2d_backward(dout, conv_cache)
    open_gate = normed > 0 if passes is None else passes(x, normed, dactive)
    return *norm.batch_norm_backward(dactive * open_gate, norm_cache), dW


def block(x: Any, params: Params, stride: int = 1) -> Any:
    """(out, cache) of the right residual block."""
    x = floats(x)
    channels, filters = x.shape[1], len(params["gamma2"])
    out, cache, _ = cnn.residual_block_forward(
        x, params, cnn.residual_block_init_state(channels, filters), True, stride
    )
    return out, cache


def branch_of(x: Any, params: Params, stride: int = 1, second_stride: int = 1) -> Array:
    middle, _ = half(x, params["gamma1"], params["beta1"], params["W1"], stride)
    return half(middle, params["gamma2"], params["beta2"], params["W2"], second_stride)[0]


def shortcut_of(x: Any, params: Params, stride: int = 1) -> Array:
    if "W_skip" not in params:
        return floats(x)
    return conv.conv2d_forward(x, params["W_skip"], stride=stride)[0]


# --- draws -----------------------------------------------------------------------------------------------------------


def scales(rng: Rng, channels: int) -> tuple[Array, Array]:
    """gamma of both signs and away from 0, beta that opens and closes some gates."""
    return rng.uniform(0.5, 1.5, channels) * rng.choice([-1.0, 1.0], channels), 0.5 * rng.normal(size=channels)


def off_centre(rng: Rng, shape: Sequence[int], offset: float = 0.0) -> Array:
    """Images whose channels have centres and spreads of their own."""
    per_channel = (1, shape[1], 1, 1)
    spread = rng.uniform(0.5, 2.0, per_channel)
    return floats(offset + rng.normal(size=per_channel) + spread * rng.normal(size=shape))


def half_arguments(shape: tuple[int, ...], filters: int, *stride: int, offset: float = 0.0) -> Draw:
    def draw(rng: Rng) -> tuple[Any, ...]:
        x = off_centre(rng, shape, offset)
        return x, *scales(rng, shape[1]), rng.normal(size=(filters, shape[1], 3, 3)) / 3, *stride

    return draw


def faint(draw: Draw) -> Draw:
    """The same with images of so little contrast that their norm bends within any step of a difference."""

    def drawn(rng: Rng) -> tuple[Any, ...]:
        x, *more = draw(rng)
        return x * 2e-3, *more

    return drawn


def lifted(draw: Draw, amount: float) -> Draw:
    """The same with so much more beta, which opens all gates and makes the output large."""

    def drawn(rng: Rng) -> tuple[Any, ...]:
        x, gamma, beta, *more = draw(rng)
        return x, gamma, beta + amount, *more

    return drawn


def drawn_params(rng: Rng, channels: int, filters: int, *, skip: bool = False, scale: float = 1 / 3) -> Params:
    params: Params = {}
    params["gamma1"], params["beta1"] = scales(rng, channels)
    params["W1"] = scale * rng.normal(size=(filters, channels, 3, 3))
    params["gamma2"], params["beta2"] = scales(rng, filters)
    params["W2"] = scale * rng.normal(size=(filters, filters, 3, 3))
    if skip:
        params["W_skip"] = rng.normal(size=(filters, channels, 1, 1))
    return params


def block_arguments(
    shape: tuple[int, ...], filters: int, *stride: int, skip: bool = False, offset: float = 0.0
) -> Draw:
    """Draws (x, params), and stride if it is given."""
    return lambda rng: (
        off_centre(rng, shape, offset),
        drawn_params(rng, shape[1], filters, skip=skip),
        *stride,
    )


def with_zero(draw: Draw, name: str) -> Draw:
    """The same with one parameter all zeros."""

    def drawn(rng: Rng) -> tuple[Any, ...]:
        x, params, *more = draw(rng)
        return x, {**params, name: np.zeros_like(params[name])}, *more

    return drawn


# --- refusals --------------------------------------------------------------------------------------------------------


def refused(name: str, points: int, function: str, cases: dict[str, Draw], keep: tuple[int, ...] = ()) -> Check:
    """The function raises ValueError for each of these arguments."""

    @prop(name, points, function)
    def check(student: Any, rng: Rng) -> None:
        for reason, draw in cases.items():
            call = Call(function, draw(rng), keep=keep)
            [reply] = student.batch([call])
            with case_of(reason, call):
                if reply.status == "error" and reply.detail.get("type") == "ValueError":
                    continue
                holds(reply.status != "ok", f"a ValueError is asked for here, but `{function}` returned an answer.")
                student.answer(call, reply)

    return check


# --- half a branch ---------------------------------------------------------------------------------------------------


def relu_first(x: Any, gamma: Any, beta: Any, W: Any, stride: int = 1) -> Any:
    normed, _ = normed_of(relu(floats(x)), gamma, beta)
    return conv.conv2d_forward(normed, W, stride=stride, padding=1)[0], None


def relu_after_convolution(x: Any, gamma: Any, beta: Any, W: Any, stride: int = 1) -> Any:
    return relu(conv.conv2d_forward(normed_of(x, gamma, beta)[0], W, stride=stride, padding=1)[0]), None


def no_relu(x: Any, gamma: Any, beta: Any, W: Any, stride: int = 1) -> Any:
    return conv.conv2d_forward(normed_of(x, gamma, beta)[0], W, stride=stride, padding=1)[0], None


def no_norm(x: Any, gamma: Any, beta: Any, W: Any, stride: int = 1) -> Any:
    return conv.conv2d_forward(relu(floats(x)), W, stride=stride, padding=1)[0], None


def no_scale(x: Any, gamma: Any, beta: Any, W: Any, stride: int = 1) -> Any:
    return half(x, np.ones_like(floats(gamma)), np.zeros_like(floats(beta)), W, stride)[0], None


def no_padding(x: Any, gamma: Any, beta: Any, W: Any, stride: int = 1) -> Any:
    return conv.conv2d_forward(relu(normed_of(x, gamma, beta)[0]), W, stride=stride)[0], None


def no_stride(x: Any, gamma: Any, beta: Any, W: Any, stride: int = 1) -> Any:
    return half(x, gamma, beta, W)[0], None


def convolution_first(x: Any, gamma: Any, beta: Any, W: Any, stride: int = 1) -> Any:
    """Convolution, normalisation, ReLU: possible only where F equals C."""
    out, _ = conv.conv2d_forward(x, W, stride=stride, padding=1)
    if out.shape[1] != len(gamma):
        raise ValueError("gamma belongs to the channels of x")
    return relu(normed_of(out, gamma, beta)[0]), None


HALF = Exercise(
    name="preact_conv_forward",
    title="Normalise, rectify, convolve",
    functions=("preact_conv_forward",),
    hints=(
        "Three steps, and the order is in the name: what stands before the convolution is pre-activation.",
        "All parts are given above. The convolution gets what the ReLU lets through, with its stride and a padding of "
        "1.",
        "batch_norm_forward of x, np.maximum with 0, conv2d_forward with W, stride and padding=1. Keep both caches and "
        "what the ReLU was given.",
    ),
    checks=(
        numeric(
            "the three steps in order",
            5,
            "preact_conv_forward",
            half,
            [
                Case("as many filters as channels", half_arguments((2, 3, 4, 5), 3)),
                Case("more filters than channels, a batch of one", half_arguments((1, 2, 3, 4), 4)),
                Case("far from zero", half_arguments((2, 2, 3, 4), 3, offset=20.0)),
            ],
            pick=0,
            result="out",
            keep=(1,),
        ),
        numeric(
            "a stride",
            4,
            "preact_conv_forward",
            half,
            [
                Case("stride 2, odd and even sides", half_arguments((2, 3, 5, 4), 2, 2)),
                Case("stride 3", half_arguments((2, 2, 7, 6), 3, 3)),
            ],
            pick=0,
            result="out",
            keep=(1,),
        ),
        unchanged(1, {"preact_conv_forward": half_arguments((1, 2, 3, 3), 2)}, keep=(1,)),
    ),
    mistakes=(
        Mistake(
            name="relu-before-norm",
            advice="Normalise first, rectify afterwards: a ReLU in front throws away all that is below zero before it "
            "is centred.",
            replaces={"preact_conv_forward": relu_first},
        ),
        Mistake(
            name="relu-after-convolution",
            advice="In a pre-activated block the ReLU stands between normalisation and convolution, not behind the "
            "convolution.",
            replaces={"preact_conv_forward": relu_after_convolution},
        ),
        Mistake(
            name="convolution-before-norm",
            advice="In a pre-activated block the convolution comes last; yours has the old order, convolution, "
            "normalisation, ReLU.",
            replaces={"preact_conv_forward": convolution_first},
        ),
        Mistake(
            name="relu-missing",
            advice="Between normalisation and convolution stands a ReLU: without it the block is nearly linear.",
            replaces={"preact_conv_forward": no_relu},
        ),
        Mistake(
            name="norm-missing",
            advice="x is normalised before anything else; yours goes into the ReLU as it is.",
            replaces={"preact_conv_forward": no_norm},
        ),
        Mistake(
            name="gamma-and-beta-unused",
            advice="After the normalisation each channel is scaled by gamma and shifted by beta.",
            replaces={"preact_conv_forward": no_scale},
        ),
        Mistake(
            name="padding-missing",
            advice="The convolution is padded by 1, so that a stride of 1 keeps the size.",
            replaces={"preact_conv_forward": no_padding},
        ),
        Mistake(
            name="half-stride-ignored",
            advice="The stride belongs to the convolution: hand it on.",
            replaces={"preact_conv_forward": no_stride},
        ),
    ),
)

# --- backward through half a branch ----------------------------------------------------------------------------------


def half_inputs(draw: Draw, scale: float = 1.0) -> Callable[[Rng], dict[str, Any]]:
    def inputs(rng: Rng) -> dict[str, Any]:
        x, gamma, beta, W, *stride = draw(rng)
        dout = scale * rng.normal(size=half(x, gamma, beta, W, *stride)[0].shape)
        return {"x": x, "gamma": gamma, "beta": beta, "W": W, "stride": stride, "dout": dout}

    return inputs


def half_passed(student: Any, inputs: dict[str, Any]) -> tuple[Any, ...]:
    arguments = (inputs["x"], inputs["gamma"], inputs["beta"], inputs["W"], *inputs["stride"])
    return items(student.call("preact_conv_forward", *arguments, keep=(1,)), ("out", "cache"))


HALF_NAMES = ("x", "gamma", "beta", "W")


def half_grads(student: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    answer = student.preact_conv_backward(inputs["dout"], half_passed(student, inputs)[1])
    return dict(zip(HALF_NAMES, items(answer, ("dx", "dgamma", "dbeta", "dW")), strict=True))


def half_right(inputs: dict[str, Any]) -> dict[str, Any]:
    _, cache = half(inputs["x"], inputs["gamma"], inputs["beta"], inputs["W"], *inputs["stride"])
    return dict(zip(HALF_NAMES, half_back(inputs["dout"], cache), strict=True))


def half_check(name: str, points: int, wanted: tuple[str, ...], cases: Sequence[tuple[str, Any]]) -> Check:
    return gradient(
        name,
        points,
        ("preact_conv_forward", "preact_conv_backward"),
        [GradientCase(reason, draw) for reason, draw in cases],
        value=lambda student, inputs: half_passed(student, inputs)[0],
        grads=half_grads,
        reference=lambda inputs: {key: grad for key, grad in half_right(inputs).items() if key in wanted},
    )


def half_pair(backward: Callable[[Array, Any], Any]) -> dict[str, Callable[..., Any]]:
    return {"preact_conv_forward": half, "preact_conv_backward": lambda dout, cache: backward(floats(dout), cache)}


def gated(passes: Callable[[Array, Array, Array], Array]) -> dict[str, Callable[..., Any]]:
    return half_pair(lambda dout, cache: half_back(dout, cache, passes))


def statistics_constant(dout: Array, cache: Any) -> Any:
    x, norm_cache, normed, conv_cache = cache
    _, dgamma, dbeta, dW = half_back(dout, cache)
    dnormed = conv.conv2d_backward(dout, conv_cache)[0] * (normed > 0)
    gamma, spread = norm_cache.gamma, np.sqrt(x.var(axis=(0, 2, 3)) + 1e-5)
    return dnormed * (gamma / spread)[:, None, None], dgamma, dbeta, dW


def norm_skipped(dout: Array, cache: Any) -> Any:
    _, _, normed, conv_cache = cache
    return conv.conv2d_backward(dout, conv_cache)[0] * (normed > 0), *half_back(dout, cache)[1:]


def gamma_and_beta_swapped(dout: Array, cache: Any) -> Any:
    dx, dgamma, dbeta, dW = half_back(dout, cache)
    return dx, dbeta, dgamma, dW


def weights_of_unrectified(dout: Array, cache: Any) -> Any:
    _, _, normed, conv_cache = cache
    stride = conv_cache.walk.stride
    _, linear = conv.conv2d_forward(normed, conv_cache.w, stride=stride, padding=1)
    return *half_back(dout, cache)[:3], conv.conv2d_backward(dout, linear)[1]


HALF_CASES = [
    ("as many filters as channels", half_inputs(half_arguments((2, 3, 4, 5), 3))),
    ("more filters than channels, a batch of one", half_inputs(half_arguments((1, 2, 3, 4), 4))),
    ("stride 2, odd and even sides", half_inputs(half_arguments((2, 3, 5, 4), 2, 2))),
]

HALF_BACKWARD = Exercise(
    name="preact_conv_backward",
    title="The three steps backwards",
    functions=("preact_conv_forward", "preact_conv_backward"),
    hints=(
        "Walk through the three steps of forward in the opposite order. Two of them have a backward above already.",
        "conv2d_backward gives the gradient at what the ReLU let through, and dW. A ReLU hands on the gradient where "
        "its input was positive. batch_norm_backward gives the rest.",
        "The gradient at normed is the gradient of the convolution's input times (normed > 0). For that, normed must "
        "be in the cache.",
    ),
    checks=(
        half_check("gradient of the weights", 4, ("W",), HALF_CASES),
        half_check("gradients of gamma and beta", 4, ("gamma", "beta"), HALF_CASES),
        half_check("gradient of the images", 5, ("x",), HALF_CASES),
        half_check(
            "gradients are computed, not approximated",
            1,
            HALF_NAMES,
            [
                ("an upstream gradient in the millions", half_inputs(half_arguments((2, 2, 3, 3), 2), scale=1e7)),
                ("shifts of ten thousand", half_inputs(lifted(half_arguments((2, 2, 3, 3), 2), 1e4))),
                ("images of hardly any contrast", half_inputs(faint(half_arguments((2, 2, 3, 3), 2)))),
            ],
        ),
    ),
    mistakes=(
        Mistake(
            name="relu-not-walked-back",
            advice="Where the ReLU let nothing pass, nothing comes back: multiply by (normed > 0).",
            replaces=gated(lambda x, normed, dactive: np.ones_like(normed)),
        ),
        Mistake(
            name="gate-of-x",
            advice="The ReLU was given the normalised images: its gate is normed > 0, not x > 0.",
            replaces=gated(lambda x, normed, dactive: floats(x > 0)),
        ),
        Mistake(
            name="gradient-rectified",
            advice="Backward through a ReLU asks whether its INPUT was positive, not whether the gradient is.",
            replaces=gated(lambda x, normed, dactive: floats(dactive > 0)),
        ),
        Mistake(
            name="norm-not-walked-back",
            advice="Between x and the ReLU lies the normalisation: send the gradient through batch_norm_backward.",
            replaces=half_pair(norm_skipped),
        ),
        Mistake(
            name="statistics-as-constants",
            advice="Mean and variance come from this batch and move with x; yours treats them as constants.",
            replaces=half_pair(statistics_constant),
        ),
        Mistake(
            name="dgamma-and-dbeta-swapped",
            advice="The order to return is (dx, dgamma, dbeta, dW); your dgamma and dbeta are swapped.",
            replaces=half_pair(gamma_and_beta_swapped),
        ),
        Mistake(
            name="weights-saw-unrectified",
            advice="The convolution was given what the ReLU let through: dW pairs dout with that, not with normed.",
            replaces=half_pair(weights_of_unrectified),
        ),
    ),
)

# --- residual block --------------------------------------------------------------------------------------------------


def made_of(combine: Callable[[Array, Params, int], Array]) -> dict[str, Callable[..., Any]]:
    """A block whose output is `combine(x, params, stride)`."""

    def residual_block_forward(x: Any, params: Params, stride: int = 1) -> Any:
        return combine(floats(x), params, stride), None

    return {"residual_block_forward": residual_block_forward}


def fitting(shortcut: Array, branch: Array) -> Array:
    """The sum; raises ValueError where the shapes differ, as the right block does."""
    if shortcut.shape != branch.shape:
        raise ValueError("shortcut and branch differ in shape")
    return shortcut + branch


def normed_input_added(x: Array, params: Params, stride: int) -> Array:
    normed, _ = normed_of(x, params["gamma1"], params["beta1"])
    return fitting(shortcut_of(normed, params, stride), branch_of(x, params, stride))


def active_input_added(x: Array, params: Params, stride: int) -> Array:
    normed, _ = normed_of(x, params["gamma1"], params["beta1"])
    return fitting(shortcut_of(relu(normed), params, stride), branch_of(x, params, stride))


def projection_unused(x: Array, params: Params, stride: int) -> Array:
    branch = branch_of(x, params, stride)
    return x + branch if x.shape == branch.shape else fitting(shortcut_of(x, params, stride), branch)


def patched(x: Array, params: Params, stride: int) -> Array:
    """Without a projection: every stride-th pixel, and channels of zeros or fewer channels."""
    branch = branch_of(x, params, stride)
    shortcut = shortcut_of(x, params, stride)
    if shortcut.shape != branch.shape:
        cut = np.zeros_like(branch)
        seen = x[:, : branch.shape[1], ::stride, ::stride]
        cut[:, : seen.shape[1]] = seen
        shortcut = cut
    return shortcut + branch


def broadcast(x: Array, params: Params, stride: int) -> Array:
    return shortcut_of(x, params, stride) + branch_of(x, params, stride)


def second_strided(x: Array, params: Params, stride: int) -> Array:
    return fitting(shortcut_of(x, params, stride), branch_of(x, params, 1, stride))


def both_strided(x: Array, params: Params, stride: int) -> Array:
    return fitting(shortcut_of(x, params, stride), branch_of(x, params, stride, stride))


def projection_of_the_corner(x: Array, params: Params, stride: int) -> Array:
    branch = branch_of(x, params, stride)
    return fitting(shortcut_of(x, params, 1)[:, :, : branch.shape[2], : branch.shape[3]], branch)


def projection_of_neighbours(x: Array, params: Params, stride: int) -> Array:
    """The projection sees the mean of each window of `stride` by `stride` pixels (fewer at the end)."""
    branch = branch_of(x, params, stride)
    if stride == 1:
        return fitting(shortcut_of(x, params), branch)
    means = [
        x[:, :, i * stride : (i + 1) * stride, j * stride : (j + 1) * stride].mean(axis=(2, 3))
        for i in range(branch.shape[2])
        for j in range(branch.shape[3])
    ]
    pooled = np.stack(means, axis=-1).reshape(*x.shape[:2], *branch.shape[2:])
    return fitting(shortcut_of(pooled, params), branch)


DOWN = "stride 2, odd and even sides"

BLOCK = Exercise(
    name="residual_block_forward",
    title="Shortcut plus branch",
    functions=("residual_block_forward",),
    hints=(
        "What should come out when the branch gives nothing but zeros?",
        "Compute the branch from two halves; only the first one has the stride. The shortcut is x, or conv2d_forward "
        "of x with W_skip if that key is there. Compare the shapes before you add.",
        "The projection has a kernel of 1, the block's stride and no padding. If shortcut.shape is not branch.shape, "
        "raise ValueError; otherwise return their sum as it is, with all three caches.",
    ),
    checks=(
        numeric(
            "x plus the branch",
            4,
            "residual_block_forward",
            block,
            [
                Case("three channels, no projection", block_arguments((2, 3, 4, 5), 3)),
                Case("a batch of one, a single channel", block_arguments((1, 1, 4, 3), 1)),
                Case("images around 20", block_arguments((2, 2, 3, 4), 2, offset=20.0)),
            ],
            pick=0,
            result="out",
            keep=(1,),
        ),
        numeric(
            "a branch of zeros changes nothing",
            3,
            "residual_block_forward",
            block,
            [Case("a block whose W2 is zero", with_zero(block_arguments((2, 3, 3, 4), 3), "W2"))],
            pick=0,
            result="out",
            keep=(1,),
        ),
        numeric(
            "a projection where there is one",
            4,
            "residual_block_forward",
            block,
            [
                Case("as many filters as channels, and W_skip", block_arguments((2, 3, 4, 3), 3, skip=True)),
                Case("more filters than channels", block_arguments((2, 2, 3, 4), 5, skip=True)),
            ],
            pick=0,
            result="out",
            keep=(1,),
        ),
        numeric(
            "a block that makes the images smaller",
            4,
            "residual_block_forward",
            block,
            [
                Case(DOWN, block_arguments((2, 3, 5, 6), 4, 2, skip=True)),
                Case("stride 2, as many filters as channels", block_arguments((2, 2, 6, 5), 2, 2, skip=True)),
            ],
            pick=0,
            result="out",
            keep=(1,),
        ),
        refused(
            "shapes that cannot be added: ValueError",
            2,
            "residual_block_forward",
            {
                "more filters than channels, and no W_skip": block_arguments((2, 3, 4, 4), 5),
                "stride 2, and no W_skip": block_arguments((2, 3, 4, 4), 3, 2),
                "images of one pixel and one channel, which NumPy would stretch": block_arguments((3, 1, 1, 1), 4),
            },
            keep=(1,),
        ),
        unchanged(1, {"residual_block_forward": block_arguments((1, 2, 3, 3), 2)}, keep=(1,)),
    ),
    mistakes=(
        Mistake(
            name="normalised-input-added",
            advice="The shortcut carries x as it came, not the normalised x: otherwise no block can do nothing.",
            replaces=made_of(normed_input_added),
            variants=(made_of(active_input_added),),
        ),
        Mistake(
            name="relu-after-the-sum",
            advice="Nothing stands after the sum: a ReLU there would cut off what the shortcut brings below zero.",
            replaces=made_of(lambda x, params, stride: relu(block(x, params, stride)[0])),
        ),
        Mistake(
            name="shortcut-missing",
            advice="The output is shortcut plus branch; yours is the branch alone.",
            replaces=made_of(lambda x, params, stride: branch_of(x, params, stride)),
        ),
        Mistake(
            name="sum-halved",
            advice="Shortcut and branch are added, not averaged: halved in every block, x would soon be gone.",
            replaces=made_of(lambda x, params, stride: 0.5 * block(x, params, stride)[0]),
        ),
        Mistake(
            name="projection-unused",
            advice="When params has W_skip the shortcut goes through it, even where x would fit without.",
            replaces=made_of(projection_unused),
        ),
        Mistake(
            name="projection-missing",
            advice="Without a projection these shapes cannot be added: raise ValueError instead of cutting or "
            "stretching x.",
            replaces=made_of(patched),
        ),
        Mistake(
            name="shapes-left-to-broadcasting",
            advice="NumPy stretches an axis of length one without a word: compare the shapes yourself and raise "
            "ValueError.",
            replaces=made_of(broadcast),
        ),
        Mistake(
            name="stride-in-the-second-convolution",
            advice="The stride belongs to the first convolution; the second one sees the smaller images.",
            replaces=made_of(second_strided),
        ),
        Mistake(
            name="stride-in-both-convolutions",
            advice="The stride is used once, in the first convolution; used twice it makes the branch too small.",
            replaces=made_of(both_strided),
        ),
        Mistake(
            name="projection-of-the-corner",
            advice="The projection takes every stride-th pixel; yours takes a corner of the image without a stride.",
            replaces=made_of(projection_of_the_corner),
        ),
        Mistake(
            name="projection-of-averages",
            advice="The projection sees every stride-th pixel alone, not the mean of a little window.",
            replaces=made_of(projection_of_neighbours),
        ),
    ),
)

# --- residual block backward -----------------------------------------------------------------------------------------

Grads = tuple[Array, Params]


def block_inputs(draw: Draw, scale: float = 1.0) -> Callable[[Rng], dict[str, Any]]:
    def inputs(rng: Rng) -> dict[str, Any]:
        x, params, *stride = draw(rng)
        dout = scale * rng.normal(size=block(x, params, *stride)[0].shape)
        return {"x": x, "params": params, "stride": stride, "dout": dout}

    return inputs


def block_passed(student: Any, inputs: dict[str, Any]) -> tuple[Any, ...]:
    answer = student.call("residual_block_forward", inputs["x"], inputs["params"], *inputs["stride"], keep=(1,))
    return items(answer, ("out", "cache"))


def named(dx: Any, grads: Any, params: Params) -> dict[str, Any]:
    return {"x": dx, **{f"params.{name}": entry(grads, name, "`grads`") for name in params}}


def block_grads(student: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    answer = student.residual_block_backward(inputs["dout"], block_passed(student, inputs)[1])
    dx, grads = items(answer, ("dx", "grads"))
    found = named(dx, grads, inputs["params"])
    extra = sorted(set(map(str, grads)) - set(inputs["params"]))
    holds(not extra, f"`grads` has the keys of params and no other; yours also has {', '.join(extra)}.")
    return found


def block_right(inputs: dict[str, Any]) -> dict[str, Any]:
    _, cache = block(inputs["x"], inputs["params"], *inputs["stride"])
    return named(*cnn.residual_block_backward(inputs["dout"], cache), inputs["params"])


def block_check(name: str, points: int, wanted: Callable[[str], bool], cases: Sequence[tuple[str, Any]]) -> Check:
    return gradient(
        name,
        points,
        ("residual_block_forward", "residual_block_backward"),
        [GradientCase(reason, draw) for reason, draw in cases],
        value=lambda student, inputs: block_passed(student, inputs)[0],
        grads=block_grads,
        reference=lambda inputs: {key: grad for key, grad in block_right(inputs).items() if wanted(key)},
        names={"x": "the gradient of x"},
    )


def block_pair(change: Callable[[Array, cnn.ResidualCache, Grads], Any]) -> dict[str, Callable[..., Any]]:
    """A right block, and a backward whose right answer is changed: `change(dout, cache, (dx, grads))`."""

    def residual_block_backward(dout: Any, cache: Any) -> Any:
        dout = floats(dout)
        return change(dout, cache, cnn.residual_block_backward(dout, cache))

    return {"residual_block_forward": block, "residual_block_backward": residual_block_backward}


def through_shortcut(dout: Array, cache: cnn.ResidualCache) -> Array:
    return dout if cache.projection is None else conv.conv2d_backward(dout, cache.projection)[0]


def skip_dropped(dout: Array, cache: cnn.ResidualCache, right: Grads) -> Any:
    return right[0] - through_shortcut(dout, cache), right[1]


def branch_dropped(dout: Array, cache: cnn.ResidualCache, right: Grads) -> Any:
    return through_shortcut(dout, cache), right[1]


def projection_walked_past(dout: Array, cache: cnn.ResidualCache, right: Grads) -> Any:
    return right[0] - through_shortcut(dout, cache) + dout, right[1]


def projection_not_learned(dout: Array, cache: cnn.ResidualCache, right: Grads) -> Any:
    return right[0], {name: grad for name, grad in right[1].items() if name != "W_skip"}


def projection_always_there(dout: Array, cache: cnn.ResidualCache, right: Grads) -> Any:
    return right[0], {"W_skip": np.zeros((1, 1, 1, 1)), **right[1]}


def first_half(dout: Array, cache: cnn.ResidualCache) -> Any:
    """Backward through the first half of a block, from a gradient at its output."""
    part = cache.first
    dactive, dW, _ = conv.conv2d_backward(dout, part.conv)
    return *norm.batch_norm_backward(dactive * (part.normed > 0), part.norm), dW


def halves_not_chained(dout: Array, cache: cnn.ResidualCache, right: Grads) -> Any:
    dx, dgamma, dbeta, dW = first_half(dout, cache)
    return dx + through_shortcut(dout, cache), {**right[1], "gamma1": dgamma, "beta1": dbeta, "W1": dW}


def halves_swapped(dout: Array, cache: cnn.ResidualCache, right: Grads) -> Any:
    grads = {name: right[1][name.translate(str.maketrans("12", "21"))] for name in right[1]}
    return right[0], grads


def averaged(dout: Array, cache: cnn.ResidualCache, right: Grads) -> Any:
    return right[0], {name: grad / len(dout) for name, grad in right[1].items()}


IDENTITY_CASES = [
    ("three channels, no projection", block_inputs(block_arguments((2, 3, 4, 5), 3))),
    ("a batch of one, a single channel", block_inputs(block_arguments((1, 1, 4, 3), 1))),
]
PROJECTED_CASES = [
    ("as many filters as channels, and W_skip", block_inputs(block_arguments((2, 3, 3, 4), 3, skip=True))),
    ("more filters than channels", block_inputs(block_arguments((3, 2, 3, 4), 4, skip=True))),
    (DOWN, block_inputs(block_arguments((2, 3, 5, 4), 2, 2, skip=True))),
]


@prop("two passes have two caches, dout stays as it is", 1, "residual_block_forward", "residual_block_backward")
def two_caches(student: Any, rng: Rng) -> None:
    first, second = (block_inputs(block_arguments((2, 2, 3, 4), 2))(rng) for _ in range(2))
    _, cache = block_passed(student, first)
    block_passed(student, second)
    want = block_right(first)
    for turn in ("after another forward pass", "asked a second time with the same cache"):
        dx, grads = items(student.residual_block_backward(first["dout"], cache), ("dx", "grads"))
        holds(0 not in student.changed, "`residual_block_backward` modified its argument `dout`; work on a copy.")
        for key, got in named(dx, grads, first["params"]).items():
            same(got, want[key], f"the gradient of {key.split('.')[-1]}, {turn},")


BLOCK_BACKWARD = Exercise(
    name="residual_block_backward",
    title="Two roads back",
    functions=("residual_block_forward", "residual_block_backward"),
    hints=(
        "If c = a + b, and the gradient at c is known: what is it at a, and at b?",
        "Send dout through the second half, and what comes out through the first half: that is the branch's share of "
        "dx. Send dout through the projection, if there is one: that is the shortcut's share. Add them.",
        "dmiddle comes first out of preact_conv_backward(dout, second half's cache) and goes into the first half. "
        "Without a projection dx is dout plus what the first half gives; with one, the first item of conv2d_backward "
        "takes the place of dout, and the second is the gradient of W_skip.",
    ),
    checks=(
        block_check("gradient of x, on both roads", 5, lambda key: key == "x", IDENTITY_CASES),
        block_check(
            "through a branch of zeros the gradient passes unchanged",
            2,
            lambda key: key == "x",
            [("a block whose W2 is zero", block_inputs(with_zero(block_arguments((2, 3, 3, 4), 3), "W2")))],
        ),
        block_check("gradients of the branch's parameters", 4, lambda key: key != "x", IDENTITY_CASES),
        block_check("all gradients with a projection", 5, lambda key: True, PROJECTED_CASES),
        block_check(
            "gradients are computed, not approximated",
            1,
            lambda key: True,
            [
                ("images around a thousand", block_inputs(block_arguments((2, 2, 3, 3), 2, offset=1e3))),
                ("an upstream gradient in the millions", block_inputs(block_arguments((2, 2, 3, 3), 2), scale=1e7)),
                ("images of hardly any contrast", block_inputs(faint(block_arguments((2, 2, 3, 3), 2)))),
            ],
        ),
        two_caches,
    ),
    mistakes=(
        Mistake(
            name="skip-gradient-dropped",
            advice="x reached the sum on two roads: add what comes back on the shortcut. It is the very thing that "
            "keeps deep networks learning.",
            replaces=block_pair(skip_dropped),
        ),
        Mistake(
            name="branch-gradient-dropped",
            advice="x reached the sum on two roads: add what comes back through the branch to the shortcut's share.",
            replaces=block_pair(branch_dropped),
        ),
        Mistake(
            name="roads-averaged",
            advice="A sum hands its whole gradient to both of its terms: add the two roads, do not average them.",
            replaces=block_pair(lambda dout, cache, right: (right[0] / 2, right[1])),
        ),
        Mistake(
            name="projection-walked-past",
            advice="The shortcut led through W_skip, and so does its gradient: use conv2d_backward there too.",
            replaces=block_pair(projection_walked_past),
        ),
        Mistake(
            name="projection-not-learned",
            advice="W_skip is a parameter like the others: its gradient belongs into the dict.",
            replaces=block_pair(projection_not_learned),
        ),
        Mistake(
            name="projection-always-listed",
            advice="The dict has W_skip only when params had it: a block without projection has no such parameter.",
            replaces=block_pair(projection_always_there),
        ),
        Mistake(
            name="halves-not-chained",
            advice="The first half gets what comes back out of the second, not dout itself.",
            replaces=block_pair(halves_not_chained),
        ),
        Mistake(
            name="halves-swapped",
            advice="The gradients of the first half are under gamma1, beta1 and W1; yours are under those of the "
            "second.",
            replaces=block_pair(halves_swapped),
        ),
        Mistake(
            name="block-gradients-averaged",
            advice="Whoever computed dout has divided by the batch already: the gradients of parameters are sums over "
            "the images.",
            replaces=block_pair(averaged),
        ),
    ),
)

# --- shapes ----------------------------------------------------------------------------------------------------------

Layers = list[tuple[Any, ...]]
Shape = tuple[int, ...]


def as_reference(layers: Layers) -> list[cnn.Layer]:
    makers: dict[str, Callable[..., cnn.Layer]] = {
        "conv": cnn.Conv,
        "pool": cnn.Pool,
        "residual": cnn.Residual,
        "global_pool": cnn.GlobalPool,
        "flatten": cnn.Flatten,
        "dense": cnn.Dense,
    }
    return [makers[kind](*sizes) for kind, *sizes in layers]


def walked(shape: Shape, layers: Layers) -> list[Shape]:
    """The right shapes; raises ValueError like the reference, and where a flat example is flattened again."""
    shapes = [tuple(shape)]
    for layer, made in zip(layers, as_reference(layers), strict=True):
        if layer[0] == "flatten" and len(shapes[-1]) != 3:
            raise ValueError("an example that is flat already")
        shapes.append(cnn.shape_walk(shapes[-1], [made])[0].shape)
    return shapes[1:]


def shapes_wanted(shape: Shape, layers: Layers) -> list[Array]:
    """As arrays, so that tuples and lists will both do."""
    return [np.array(found) for found in walked(shape, layers)]


def counted(shape: Shape, layers: Layers) -> Array:
    walked(shape, layers)
    return np.array([summary.parameters for summary in cnn.shape_walk(tuple(shape), as_reference(layers))])


def vgg(rng: Rng) -> tuple[Any, ...]:
    """Pairs of convolutions with pooling between them, and two dense layers; an image not square."""
    width = int(rng.integers(3, 7))
    layers = [
        ("conv", width, 3, 1, 1),
        ("conv", width + 1, 3, 1, 1),
        ("pool", 2, 2),
        ("conv", 2 * width, 3, 1, 1),
        ("pool", 2, 2),
        ("flatten",),
        ("dense", int(rng.integers(20, 40))),
        ("dense", 10),
    ]
    return (3, int(rng.integers(12, 20)), int(rng.integers(21, 30))), layers


def resnet(rng: Rng) -> tuple[Any, ...]:
    width = int(rng.integers(4, 9))
    layers = [
        ("conv", width, 7, 2, 3),
        ("pool", 3, 2),
        ("residual", width, 1),
        ("residual", 2 * width, 2),
        ("residual", 2 * width, 1),
        ("residual", 2 * width, 2),
        ("residual", 3 * width, 1),
        ("global_pool",),
        ("dense", 10),
    ]
    # An odd width, and a height that meets a stride of a block at an odd number: there roundings show.
    return (3, int(rng.choice([30, 32, 38, 40])), 2 * int(rng.integers(20, 30)) + 1), layers


def odd_walk(rng: Rng) -> tuple[Any, ...]:
    """Windows that leave something over, overlapping pooling, a block of stride 3 and one with fewer channels."""
    layers = [
        ("conv", 4, 5, 3, 1),
        ("pool", 3, 1),
        ("residual", 4, 3),
        ("residual", 3, 1),
        ("conv", 2, 2, 2, 0),
        ("pool", 2, 3),
        ("flatten",),
    ]
    return (int(rng.integers(1, 5)), int(rng.integers(90, 95)), int(rng.integers(120, 125))), layers


WALKS = (
    ("a network like VGG", "pairs of convolutions, pooling, flattening, dense layers", vgg),
    ("a network like ResNet", "a convolution, pooling, residual blocks, global pooling, a dense layer", resnet),
    (
        "windows that leave something over",
        "strides of all kinds, overlapping pooling, blocks of fewer channels",
        odd_walk,
    ),
)

ENDS = [
    Case(
        "a window that fits exactly once",
        lambda rng: ((3, 5, 4), [("conv", 2, 3, 1, 0), ("pool", 2, 1), ("flatten",), ("dense", 3)]),
    ),
    Case("an example (D,) and dense layers", lambda rng: ((int(rng.integers(3, 9)),), [("dense", 4), ("dense", 2)])),
    Case("no layer at all", lambda rng: ((3, 5, 4), [])),
]


def walk_checks(function: str, reference: Callable[..., Any], points: tuple[int, int, int]) -> list[Check]:
    return [
        numeric(name, worth, function, reference, [Case(reason, draw), *(ENDS if draw is odd_walk else [])])
        for (name, reason, draw), worth in zip(WALKS, points, strict=True)
    ]


NOT_TAKEN: dict[str, Draw] = {
    "a dense layer right after a convolution": lambda rng: ((3, 6, 6), [("conv", 4, 3, 1, 0), ("dense", 5)]),
    "a convolution after flattening": lambda rng: ((3, 6, 6), [("flatten",), ("conv", 4, 3, 1, 1)]),
    "global pooling after global pooling": lambda rng: ((3, 6, 6), [("global_pool",), ("global_pool",)]),
    "flattening after global pooling": lambda rng: ((3, 6, 6), [("global_pool",), ("flatten",)]),
    "a residual block after flattening": lambda rng: ((3, 6, 6), [("flatten",), ("residual", 3, 1)]),
    "pooling after a dense layer": lambda rng: ((7,), [("dense", 4), ("pool", 1, 1)]),
    "a pooling window larger than the image": lambda rng: ((3, 6, 4), [("pool", 2, 2), ("pool", 3, 1)]),
    "a kernel larger than the padded image, with a stride": lambda rng: ((3, 4, 9), [("conv", 2, 7, 2, 1)]),
}


def walk_with(size: Callable[..., int], block_size: Callable[[int, int], int] | None = None) -> Any:
    """A shape walk with other output sizes: `size(n, kernel, stride, padding)`, `block_size(n, stride)`."""

    def shape_walk(shape: Shape, layers: Layers) -> list[Shape]:
        walked(shape, layers)
        now, found = tuple(shape), []
        for layer in layers:
            kind, *sizes = layer
            if kind == "conv":
                now = (sizes[0], *(max(size(n, *sizes[1:]), 1) for n in now[1:]))
            elif kind == "pool":
                now = (now[0], *(max(size(n, *sizes, 0), 1) for n in now[1:]))
            elif kind == "residual":
                stride = sizes[1]
                now = (sizes[0], *((block_size(n, stride) if block_size else size(n, 3, stride, 1)) for n in now[1:]))
            else:
                now = cnn.shape_walk(now, as_reference([layer]))[0].shape
            found.append(now)
        return found

    return {"shape_walk": shape_walk}


def right_size(n: int, kernel: int, stride: int, padding: int) -> int:
    return (n + 2 * padding - kernel) // stride + 1


def channels_kept(shape: Shape, layers: Layers) -> list[Shape]:
    """Convolutions that keep the number of channels."""
    found = walked(shape, layers)
    kept = [(shape[0], *one[1:]) if len(one) == 3 else one for one in found]
    return [(shape[0],) if layer[0] == "global_pool" else one for layer, one in zip(layers, kept, strict=True)]


def global_pool_keeps_axes(shape: Shape, layers: Layers) -> list[Shape]:
    found = walked(shape, layers)
    return [(*one, 1, 1) if layer[0] == "global_pool" else one for layer, one in zip(layers, found, strict=True)]


def unrefused(shape: Shape, layers: Layers) -> list[Shape]:
    """A walk that takes anything: sizes go below 1, a dense layer flattens, and flat examples are images of 1 pixel."""
    try:
        return walked(shape, layers)
    except ValueError:
        return [(1, 1, 1)] * len(layers)


WALK = Exercise(
    name="shape_walk",
    title="Shapes on their way through a network",
    functions=("shape_walk",),
    hints=(
        "Carry one shape along and change it layer by layer. Which layers look at windows, and which do not?",
        "Convolution, pooling and residual block differ only in kernel, stride, padding and the number of channels "
        "that come out: one formula serves all three. Check before each layer that it can take the shape.",
        'Only "dense" takes (D,), all others (C, H, W). Per axis room = n + 2p - k; below 0 raise ValueError, '
        "otherwise room // s + 1. A residual block has k = 3, p = 1.",
    ),
    checks=(
        *walk_checks("shape_walk", shapes_wanted, (4, 4, 2)),
        refused("shapes that a layer cannot take: ValueError", 2, "shape_walk", NOT_TAKEN),
    ),
    mistakes=(
        Mistake(
            name="walk-rounded-up",
            advice="A window that sticks out does not count: round the division down.",
            replaces=walk_with(lambda n, k, s, p: -(-(n + 2 * p - k) // s) + 1),
        ),
        Mistake(
            name="walk-padding-counted-once",
            advice="Padding stands on both sides: it counts twice.",
            replaces=walk_with(lambda n, k, s, p: right_size(n + p, k, s, 0)),
        ),
        Mistake(
            name="walk-divided-by-stride-only",
            advice="Kernel and padding change the size too: (n + 2p - k) // s + 1, not n // s.",
            replaces=walk_with(lambda n, k, s, p: n // s),
        ),
        Mistake(
            name="walk-stride-ignored",
            advice="A stride makes the images smaller: divide the room of the window by it.",
            replaces=walk_with(lambda n, k, s, p: right_size(n, k, 1, p)),
        ),
        Mistake(
            name="residual-size-rounded-down",
            advice="A block has kernel 3 and padding 1: an odd side is halved rounding UP, (n - 1) // 2 + 1.",
            replaces=walk_with(right_size, lambda n, s: n // s),
        ),
        Mistake(
            name="residual-stride-counted-twice",
            advice="Only the first convolution of a block has the stride; yours makes the images smaller twice.",
            replaces=walk_with(right_size, lambda n, s: right_size(right_size(n, 3, s, 1), 3, s, 1)),
        ),
        Mistake(
            name="channels-not-changed",
            advice="A convolution has one output channel for each filter, whatever the number of channels before.",
            replaces={"shape_walk": channels_kept},
        ),
        Mistake(
            name="global-pool-keeps-axes",
            advice="Global pooling leaves one number for each channel, the shape (C,), without axes of length one.",
            replaces={"shape_walk": global_pool_keeps_axes},
        ),
        Mistake(
            name="walk-not-refused",
            advice="A window that does not fit, or a layer that meets the wrong kind of shape: raise a ValueError.",
            replaces={"shape_walk": unrefused},
        ),
    ),
)

# --- counting --------------------------------------------------------------------------------------------------------


def stack_with(cost: Callable[[int, int, int], float]) -> dict[str, Callable[..., Any]]:
    """Another price of a layer, by (channels before, channels after, side of the kernel)."""
    return {
        "conv_stack_parameters": lambda channels, kernels: sum(
            cost(channels[i], channels[i + 1], k) for i, k in enumerate(kernels)
        )
    }


def stack_case(*kernels: int) -> Draw:
    return lambda rng: ([int(c) for c in rng.integers(3, 30, size=len(kernels) + 1)], list(kernels))


STACK = Exercise(
    name="conv_stack_parameters",
    title="The price of a stack",
    functions=("conv_stack_parameters",),
    hints=(
        "How many weights does ONE filter of one layer have? How many filters are there?",
        "A layer from C to F channels with a kernel of side k has F filters of C * k * k weights. Add up the layers.",
        "Loop over the kernels with their index i: channels[i] * channels[i + 1] * kernels[i] ** 2.",
    ),
    checks=(
        numeric(
            "small kernels in a row, and one large kernel",
            3,
            "conv_stack_parameters",
            cnn.conv_stack_parameter_count,
            [
                Case("three of side 3", stack_case(3, 3, 3)),
                Case("one of side 7", stack_case(7)),
                Case("no layer at all", lambda rng: ([64], [])),
            ],
        ),
        numeric(
            "a bottleneck, and kernels of many sides",
            3,
            "conv_stack_parameters",
            cnn.conv_stack_parameter_count,
            [
                Case("the bottleneck of ResNet-50", lambda rng: ([256, 64, 64, 256], [1, 3, 1])),
                Case("sides 1, 5, 2 and 3", stack_case(1, 5, 2, 3)),
            ],
        ),
    ),
    mistakes=(
        Mistake(
            name="kernel-not-squared",
            advice="A kernel of side k has k * k weights for each pair of channels.",
            replaces=stack_with(lambda before, after, k: before * after * k),
        ),
        Mistake(
            name="input-channels-forgotten",
            advice="Every filter has weights for each channel that it looks at: multiply by the channels before, too.",
            replaces=stack_with(lambda before, after, k: after * k**2),
            variants=(stack_with(lambda before, after, k: before * k**2),),
        ),
        Mistake(
            name="stack-with-biases",
            advice="These convolutions have no biases: count the weights only.",
            replaces=stack_with(lambda before, after, k: before * after * k**2 + after),
        ),
        Mistake(
            name="channels-squared",
            advice="A layer leads from channels[i] to channels[i + 1]: multiply the two, do not square one.",
            replaces=stack_with(lambda before, after, k: after * after * k**2),
            variants=(stack_with(lambda before, after, k: before * before * k**2),),
        ),
    ),
)


def counts_with(price: Callable[..., float]) -> dict[str, Callable[..., Any]]:
    """Other counts: `price(kind, inputs, right count, *sizes)` for each layer, `inputs` being the channels before."""

    def parameter_walk(shape: Shape, layers: Layers) -> list[float]:
        right = counted(shape, layers).tolist()
        before = [tuple(shape), *walked(shape, layers)][:-1]
        rows = zip(layers, before, right, strict=True)
        return [price(layer[0], inputs[0], count, *layer[1:]) for layer, inputs, count in rows]

    return {"parameter_walk": parameter_walk}


def only(kind: str, price: Callable[..., float]) -> dict[str, Callable[..., Any]]:
    """Another price for one kind of layer."""
    return counts_with(lambda found, inputs, count, *sizes: price(inputs, count, *sizes) if found == kind else count)


def without_biases(kind: str, inputs: int, count: int, *sizes: int) -> float:
    return count - sizes[0] if kind in ("conv", "dense") else count


COUNTS = Exercise(
    name="parameter_walk",
    title="What each layer learns",
    functions=("parameter_walk",),
    hints=(
        "For each layer you need what goes into it. Who has worked that out already?",
        "Put the input's shape in front of what shape_walk returns: then each layer stands beside the shape it is "
        "given. Its first number is C, or D.",
        "conv: C * F * k * k + F. dense: (D + 1) * outputs. residual: 2C + 2F + 9CF + 9FF, and CF more when F != C or "
        "the stride is not 1. All others 0.",
    ),
    checks=(
        *walk_checks("parameter_walk", counted, (5, 5, 1)),
        refused("shapes that a layer cannot take: ValueError", 1, "parameter_walk", NOT_TAKEN),
    ),
    mistakes=(
        Mistake(
            name="layer-biases-forgotten",
            advice="Convolutions and dense layers of this list have biases, one for each filter or output.",
            replaces=counts_with(without_biases),
        ),
        Mistake(
            name="dense-bias-for-each-input",
            advice="A dense layer has a bias for each output, not for each input.",
            replaces=only("dense", lambda inputs, count, outputs: count - outputs + inputs),
        ),
        Mistake(
            name="projection-not-counted",
            advice="A block that changes channels or size has a projection of C * F weights as well.",
            replaces=only("residual", lambda c, count, f, stride: count - (c * f if c != f or stride != 1 else 0)),
        ),
        Mistake(
            name="projection-always-counted",
            advice="A block that changes neither channels nor size needs no projection.",
            replaces=only("residual", lambda c, count, f, stride: count + (0 if c != f or stride != 1 else c * f)),
        ),
        Mistake(
            name="projection-for-channels-only",
            advice="A stride needs a projection as well, even if the number of channels stays.",
            replaces=only("residual", lambda c, count, f, stride: count - (c * f if c == f and stride != 1 else 0)),
        ),
        Mistake(
            name="norms-not-counted",
            advice="Each normalisation learns a gamma and a beta for every channel: 2 C in front, 2 F in the middle.",
            replaces=only("residual", lambda c, count, f, stride: count - 2 * c - 2 * f),
        ),
        Mistake(
            name="norms-behind-the-convolutions",
            advice="The first normalisation of a pre-activated block works on the C channels that come in: 2 C + 2 F, "
            "not 4 F.",
            replaces=only("residual", lambda c, count, f, stride: count - 2 * c + 2 * f),
        ),
        Mistake(
            name="block-biases-counted",
            advice="The convolutions of a residual block have no biases.",
            replaces=only("residual", lambda c, count, f, stride: count + 2 * f),
            variants=(only("residual", lambda c, count, f, stride: count + (3 if c != f or stride != 1 else 2) * f),),
        ),
    ),
)

# --- gradients of deep stacks ----------------------------------------------------------------------------------------


def stack_walk(x: Any, blocks: Sequence[Params], dout: Any, skip: bool = True) -> tuple[list[Any], list[Array], Array]:
    """(caches, outputs of the blocks, dout); without shortcut each block gets a projection to zero."""
    signal, caches, outputs = floats(x), [], []
    for params in blocks:
        channels = signal.shape[1]
        plain = params if skip else {**params, "W_skip": np.zeros((channels, channels, 1, 1))}
        signal, cache = block(signal, plain)
        caches.append(cache)
        outputs.append(signal)
    return caches, outputs, floats(dout)


def went_down(caches: Sequence[Any], dout: Array, back: Callable[[Array, Any], Array] | None = None) -> list[Array]:
    """The gradients at all stations, from the input up."""
    gradients = [dout]
    for cache in reversed(caches):
        step = back(gradients[-1], cache) if back else cnn.residual_block_backward(gradients[-1], cache)[0]
        gradients.append(step)
    return gradients[::-1]


def norms_of(arrays: Sequence[Array]) -> list[float]:
    return [float(np.linalg.norm(a)) for a in arrays]


def right_norms(x: Any, blocks: Sequence[Params], dout: Any, skip: bool = True) -> Array:
    caches, _, dout = stack_walk(x, blocks, dout, skip)
    return np.array(norms_of(went_down(caches, dout)))


def norms_by(measure: Callable[[list[Array]], list[float]]) -> dict[str, Callable[..., Any]]:
    """The right gradients, from the input up, measured in another way."""

    def gradient_norms(x: Any, blocks: Sequence[Params], dout: Any, skip: bool = True) -> list[float]:
        caches, _, dout = stack_walk(x, blocks, dout, skip)
        return measure(went_down(caches, dout))

    return {"gradient_norms": gradient_norms}


def activations_measured(x: Any, blocks: Sequence[Params], dout: Any, skip: bool = True) -> list[float]:
    _, outputs, _ = stack_walk(x, blocks, dout, skip)
    return norms_of([floats(x), *outputs])


def blocks_in_forward_order(x: Any, blocks: Sequence[Params], dout: Any, skip: bool = True) -> list[float]:
    caches, _, dout = stack_walk(x, blocks, dout, skip)
    return norms_of(went_down(caches[::-1], dout))


def input_for_every_block(x: Any, blocks: Sequence[Params], dout: Any, skip: bool = True) -> list[float]:
    caches = [stack_walk(x, [params], dout, skip)[0][0] for params in blocks]
    return norms_of(went_down(caches, floats(dout)))


def first_block_only(x: Any, blocks: Sequence[Params], dout: Any, skip: bool = True) -> list[float]:
    return right_norms(x, blocks[:1], dout, skip).tolist()


def skip_lost_on_the_way_back(x: Any, blocks: Sequence[Params], dout: Any, skip: bool = True) -> list[float]:
    caches, _, dout = stack_walk(x, blocks, dout, skip)
    return norms_of(
        went_down(caches, dout, lambda g, cache: cnn.residual_block_backward(g, cache)[0] - through_shortcut(g, cache))
    )


def stack_arguments(count: int, shape: tuple[int, ...], *skip: bool, scale: float = 1 / 3) -> Draw:
    return lambda rng: (
        off_centre(rng, shape),
        [drawn_params(rng, shape[1], shape[1], scale=scale) for _ in range(count)],
        rng.normal(size=shape),
        *skip,
    )


def zero_stack(count: int, shape: tuple[int, ...], *skip: bool) -> Draw:
    """A stack in which all blocks but the last do nothing."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        x, blocks, dout, *more = stack_arguments(count, shape, *skip)(rng)
        zeroed = [{**params, "W2": np.zeros_like(params["W2"])} for params in blocks[:-1]]
        return x, [*zeroed, blocks[-1]], dout, *more

    return draw


NORMS = Exercise(
    name="gradient_norms",
    title="Gradients in a deep stack",
    functions=("gradient_norms",),
    hints=(
        "Forward goes through the blocks from first to last. In which order does the gradient meet them?",
        "Keep the cache of every block on the way up. On the way down take the caches from last to first, each "
        "backward getting what the one above it gave, and note a norm at every station, dout's included.",
        "Without shortcuts use preact_conv_forward twice for each block, and preact_conv_backward twice, second half "
        "first. Turn the list of norms around at the end.",
    ),
    checks=(
        numeric(
            "with shortcuts",
            4,
            "gradient_norms",
            right_norms,
            [
                Case("four blocks, skip left at its default", stack_arguments(4, (2, 2, 3, 4))),
                Case("two blocks, a batch of one", stack_arguments(2, (1, 3, 4, 3), True)),
            ],
        ),
        numeric(
            "without shortcuts",
            3,
            "gradient_norms",
            right_norms,
            [
                Case("four blocks", stack_arguments(4, (2, 2, 3, 4), False)),
                Case("six blocks of small weights", stack_arguments(6, (2, 2, 3, 3), False, scale=0.05)),
            ],
        ),
        numeric(
            "blocks of zeros, and no block",
            2,
            "gradient_norms",
            right_norms,
            [
                Case("blocks that all but the last have W2 = 0, with shortcuts", zero_stack(3, (2, 2, 3, 3))),
                Case("blocks that all but the last have W2 = 0, without shortcuts", zero_stack(3, (2, 2, 3, 3), False)),
                Case("no block: the norm of dout alone", stack_arguments(0, (2, 2, 3, 3))),
            ],
        ),
        unchanged(1, {"gradient_norms": stack_arguments(2, (1, 2, 3, 3))}),
    ),
    mistakes=(
        Mistake(
            name="skip-ignored",
            advice="With skip=False the shortcuts are left out; your answer is the same either way.",
            replaces={"gradient_norms": lambda x, blocks, dout, skip=True: right_norms(x, blocks, dout).tolist()},
            variants=(
                {"gradient_norms": lambda x, blocks, dout, skip=True: right_norms(x, blocks, dout, False).tolist()},
            ),
        ),
        Mistake(
            name="shortcut-lost-on-the-way-back",
            advice="The gradient comes back on the shortcut as well: add its share at every block.",
            replaces={"gradient_norms": skip_lost_on_the_way_back},
        ),
        Mistake(
            name="activations-measured",
            advice="The norms of the gradients are asked for, on the way down, not those of the signal on the way up.",
            replaces={"gradient_norms": activations_measured},
        ),
        Mistake(
            name="norms-from-the-top",
            advice="The list begins at the input of the first block and ends with dout: turn it around.",
            replaces=norms_by(lambda gradients: norms_of(gradients[::-1])),
        ),
        Mistake(
            name="norms-squared",
            advice="The norm is the root of the sum of squares; the root is missing.",
            replaces=norms_by(lambda gradients: [n**2 for n in norms_of(gradients)]),
        ),
        Mistake(
            name="dout-not-listed",
            advice="The list has one more entry than there are blocks: its last is the norm of dout.",
            replaces=norms_by(lambda gradients: norms_of(gradients[:-1])),
        ),
        Mistake(
            name="caches-in-forward-order",
            advice="The gradient meets the last block first: take the caches in reverse.",
            replaces={"gradient_norms": blocks_in_forward_order},
        ),
        Mistake(
            name="every-block-given-the-input",
            advice="Each block is given what the block before it returned; yours gives x to all of them.",
            replaces={"gradient_norms": input_for_every_block},
        ),
        Mistake(
            name="returned-inside-the-loop",
            advice="Only the first block was used: a return inside the loop ends it in its first turn.",
            replaces={"gradient_norms": first_block_only},
        ),
    ),
)

# --- picture ---------------------------------------------------------------------------------------------------------


def he_block(rng: Rng, channels: int, scale: float) -> Params:
    """A fresh block: gamma 1, beta 0, He initialisation times a scale."""
    spread = scale * np.sqrt(2 / (9 * channels))
    fresh: Params = {"gamma1": np.ones(channels), "beta1": np.zeros(channels)}
    fresh |= {"gamma2": np.ones(channels), "beta2": np.zeros(channels)}
    return fresh | {name: spread * rng.normal(size=(channels, channels, 3, 3)) for name in ("W1", "W2")}


def draw_picture(student: Any, figure: Any) -> None:
    """Gradients in deep stacks, and where the parameters of a network are, by the student's own functions."""
    left, right = figure.subplots(1, 2)
    rng = np.random.default_rng(16)
    depth, shape = 20, (4, 6, 6, 6)
    x, dout = rng.normal(size=shape), rng.normal(size=shape)
    for scale, start, colour in ((1.0, "He weights", "C0"), (1e-3, "tiny weights", "C1")):
        blocks = [he_block(rng, shape[1], scale) for _ in range(depth)]
        for skip, style, kind in ((True, "-", "with shortcuts"), (False, "--", "plain")):
            norms = floats(student.gradient_norms(x, blocks, dout, skip))
            left.semilogy(norms / norms[-1], style, color=colour, label=f"{start}, {kind}")
    left.set_xlabel("block (0 is the input)")
    left.set_ylabel("gradient norm, relative to the top")
    left.set_title("A gradient on its way down 20 blocks", fontsize=10)
    left.set_ylim(1e-12, 1e5)
    left.legend(frameon=False, fontsize=8, loc="center left")
    layers: Layers = [("conv", 16, 3, 1, 1), *[("residual", 16, 1)] * 2, ("residual", 32, 2), ("residual", 32, 1)]
    layers += [("residual", 64, 2), ("residual", 64, 1), ("global_pool",), ("dense", 10)]
    image = (3, 32, 32)
    shapes = [np.prod(found) for found in student.shape_walk(image, layers)]
    counts = [float(count) for count in student.parameter_walk(image, layers)]
    names = [f"{kind.replace('_', ' ')} {sizes[0] if sizes else ''}".strip() for kind, *sizes in layers]
    places = np.arange(len(layers))
    right.barh(places - 0.2, np.maximum(counts, 0.5), 0.4, label="learned parameters")
    right.barh(places + 0.2, shapes, 0.4, label="numbers that come out")
    right.set_xscale("log")
    right.set_xlim(1, 3e5)
    right.set_yticks(places, names, fontsize=8)
    right.invert_yaxis()
    right.set_xlabel("count")
    right.set_title("A small ResNet for images of 32 by 32 pixels", fontsize=10)
    right.legend(frameon=False, fontsize=8, loc="lower right")


CHAPTER = Chapter(
    id="ch316",
    slug="cnn_architectures",
    title="CNN Architectures",
    part="Architectures",
    summary="Residual blocks and their gradients, and the shapes and parameters of whole networks.",
    builds_on=("ch310", "ch314", "ch315"),
    exercises=(HALF, HALF_BACKWARD, BLOCK, BLOCK_BACKWARD, WALK, STACK, COUNTS, NORMS),
    picture=Picture(title="Why deep networks have shortcuts", draw=draw_picture),
)
