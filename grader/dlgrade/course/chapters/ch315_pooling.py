"""Checks of chapter 315: pooling and its gradients, receptive fields, and what a shift changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from dlreference import conv
from dlreference import pooling as ref

from dlgrade.course.compare import below, holds, items, numbers, same
from dlgrade.course.kinds import Case, GradientCase, Rng, case_of, gradient, numeric, prop, unchanged
from dlgrade.course.spec import Chapter, Check, Exercise, Mistake, Picture
from dlgrade.sandbox.protocol import Callback

Array = np.ndarray[Any, Any]
Draw = Callable[[Rng], tuple[Any, ...]]
Shape = tuple[int, int, int, int]


def floats(x: Any) -> Array:
    return np.asarray(x, dtype=np.float64)


def images(shape: Shape, *sizes: int, offset: float = 0.0) -> Draw:
    """Draws images of this shape around `offset`; `sizes` are size and stride."""
    return lambda rng: (offset + rng.normal(size=shape), *sizes)


def glaring(draw: Draw, step: int) -> Draw:
    """The same with every `step`-th pixel, each way, so bright that it covers the digits of the others."""

    def drawn(rng: Rng) -> tuple[Any, ...]:
        x, *sizes = draw(rng)
        x[:, :, ::step, ::step] += 1e8
        return x, *sizes

    return drawn


def few_values(shape: Shape, *sizes: int) -> Draw:
    """Draws images of -1, 0 and 1, so that most windows have several equal maxima."""
    return lambda rng: (rng.integers(-1, 2, size=shape).astype(np.float64), *sizes)


def millions(shape: Shape, *sizes: int) -> Draw:
    """Draws images of different whole numbers around a hundred million, exact in float64."""
    return lambda rng: (1e8 + rng.permutation(int(np.prod(shape))).reshape(shape), *sizes)


# --- windows ---------------------------------------------------------------------------------------------------------


def six(x: Any, size: int, stride: int | None = None) -> Array:
    """All windows, (B, C, Ho, Wo, size, size)."""
    return conv.windows(x, conv.geometry(size, size if stride is None else stride))


def flat(view: Array) -> Array:
    return view.reshape(*view.shape[:4], -1)


def windows(x: Any, size: int, stride: int | None = None) -> Array:
    return flat(six(x, size, stride))


def filled_up(x: Any, size: int, stride: int | None = None, fill: float = 0.0) -> Array:
    """The images with as many more rows and columns of `fill` as complete the last windows."""
    x, step = floats(x), size if stride is None else stride
    more = [-(length - size) % step if length > size else 0 for length in x.shape[2:]]
    return np.pad(x, [(0, 0), (0, 0), (0, more[0]), (0, more[1])], constant_values=fill)


def windows_close(x: Any, size: int, stride: int | None = None) -> Array:
    """Windows that begin one pixel apart, as many as there should be."""
    right = windows(x, size, stride)
    return windows(x, size, 1)[:, :, : right.shape[2], : right.shape[3]]


def windows_cut(x: Any, size: int, stride: int | None = None) -> Array:
    """A plain reshape of the pixels that are in windows, without a transpose."""
    right = windows(x, size, stride)
    return np.resize(floats(x)[:, :, : right.shape[2] * size, : right.shape[3] * size], right.shape)


WINDOWS = Exercise(
    name="pool_windows",
    title="Cut the images into windows",
    functions=("pool_windows",),
    hints=(
        "On paper: an image of 2 by 5 pixels, windows of side 2. Where do they begin for a stride of 1, 2 and 3?",
        "Count the windows first, rounding down. Then either copy window by window, or ask for each entry (u, v) what "
        "all windows have there.",
        "Entry (u, v) of all windows is x[:, :, u : u + stride*Ho : stride, v : v + stride*Wo : stride]. Stack these, "
        "in the order of u * size + v, along a new last axis.",
    ),
    checks=(
        numeric(
            "windows side by side",
            3,
            "pool_windows",
            windows,
            [
                Case("several images and channels", images((2, 3, 4, 6), 2)),
                Case("windows of side 3", images((3, 2, 6, 3), 3)),
            ],
        ),
        numeric(
            "what does not fill a window is dropped",
            3,
            "pool_windows",
            windows,
            [
                Case("a column left over", images((2, 3, 4, 5), 2)),
                Case("two rows and a column left over", images((1, 2, 5, 4), 3)),
            ],
        ),
        numeric(
            "a stride of its own",
            3,
            "pool_windows",
            windows,
            [
                Case("overlapping windows", images((2, 3, 5, 4), 3, 1)),
                Case("windows of side 3, two pixels apart, a column left over", images((2, 2, 5, 6), 3, 2)),
                Case("gaps between the windows", images((2, 1, 5, 8), 2, 3)),
            ],
        ),
        numeric(
            "the smallest and the largest window, and lists",
            2,
            "pool_windows",
            windows,
            [
                Case("windows of one pixel", images((2, 3, 2, 3), 1)),
                Case("one window, the whole image", images((1, 4, 3, 3), 3)),
                Case("plain lists", lambda rng: (rng.normal(size=(1, 2, 4, 3)).tolist(), 2)),
            ],
        ),
        unchanged(1, {"pool_windows": images((1, 2, 3, 4), 2)}),
    ),
    mistakes=(
        Mistake(
            name="remainder-filled-up",
            advice="Rows and columns that do not fill a window are dropped; yours fills the last window up.",
            replaces={"pool_windows": lambda x, size, stride=None: windows(filled_up(x, size, stride), size, stride)},
        ),
        Mistake(
            name="stride-ignored",
            advice="The stride says how far apart the windows begin; yours puts them side by side whatever it is.",
            replaces={"pool_windows": lambda x, size, stride=None: windows(x, size)},
        ),
        Mistake(
            name="stride-one-by-default",
            advice="When stride is None it equals size, so that the windows lie side by side.",
            replaces={"pool_windows": lambda x, size, stride=None: windows(x, size, 1 if stride is None else stride)},
        ),
        Mistake(
            name="windows-one-pixel-apart",
            advice="Window (i, j) begins at row i * stride and column j * stride, not at row i and column j.",
            replaces={"pool_windows": windows_close},
        ),
        Mistake(
            name="windows-read-by-columns",
            advice="A window is read row by row: entry u * size + v is u rows down and v columns to the right.",
            replaces={"pool_windows": lambda x, size, stride=None: flat(six(x, size, stride).swapaxes(-1, -2))},
        ),
        Mistake(
            name="reshaped-into-windows",
            advice="The pixels of a window do not lie one after the other in memory: a reshape alone mixes the rows of "
            "different windows.",
            replaces={"pool_windows": windows_cut},
        ),
        Mistake(
            name="windows-kept-square",
            advice="Each window comes as one row of size * size numbers, not as a square.",
            replaces={"pool_windows": lambda x, size, stride=None: six(x, size, stride).copy()},
        ),
    ),
)

# --- max pooling -----------------------------------------------------------------------------------------------------


def pooled(reduce: Callable[[Array], Array]) -> Callable[..., Any]:
    """A pooling forward with another function of the windows (B, C, Ho, Wo, size * size)."""
    return lambda x, size, stride=None: (reduce(windows(x, size, stride)), None)


def max_over_channels(x: Any, size: int, stride: int | None = None) -> Any:
    return windows(x, size, stride).max(axis=(1, 4)), None


def max_over_channels_kept(x: Any, size: int, stride: int | None = None) -> Any:
    out, _ = ref.max_pool2d_forward(x, size, stride)
    return np.broadcast_to(out.max(axis=1, keepdims=True), out.shape).copy(), None


def max_of_filled(fill: float) -> Callable[..., Any]:
    return lambda x, size, stride=None: (
        windows(filled_up(x, size, stride, fill), size, stride).max(axis=-1),
        None,
    )


def forward_checks(function: str, reference: Callable[..., Any], first: int, strided: int) -> list[Check]:
    """What max and average pooling are both asked for."""
    plain = [
        Case("several images and channels", images((2, 3, 4, 6), 2)),
        Case("windows of side 3, a batch of one", images((1, 2, 6, 3), 3)),
        Case("plain lists", lambda rng: (rng.normal(size=(1, 2, 2, 4)).tolist(), 2)),
        Case("float32 images", lambda rng: (rng.normal(size=(1, 2, 4, 2)).astype(np.float32), 2)),
    ]
    walked = [
        Case("a row and a column left over", images((2, 3, 5, 7), 2)),
        Case("overlapping windows", images((2, 2, 5, 4), 3, 1)),
        Case("side 3, stride 2, a column left over", images((2, 3, 5, 6), 3, 2)),
        Case("gaps between the windows", images((1, 2, 5, 8), 2, 3)),
    ]
    return [
        numeric(name, points, function, reference, cases, pick=0, result="out", keep=(1,))
        for name, points, cases in (
            ("one number for each window of each channel", first, plain),
            ("strides and remainders", strided, walked),
        )
    ]


MAX_FORWARD = Exercise(
    name="max_pool_forward",
    title="Max pooling",
    functions=("max_pool_forward",),
    hints=(
        "pool_windows has laid out the windows. Which axis has to go?",
        "The maximum of the last axis is the answer. What will the way back want to know about each window?",
        "out is np.max of the windows over the last axis. Keep np.argmax of the same axis in the cache, with the shape "
        "of x, the size, and the stride after None has been replaced.",
    ),
    checks=(
        *forward_checks("max_pool_forward", ref.max_pool2d_forward, 4, 4),
        numeric(
            "images that are negative all over",
            3,
            "max_pool_forward",
            ref.max_pool2d_forward,
            [
                Case("around -10", images((2, 3, 4, 4), 2, offset=-10.0)),
                Case("around -10,000,000,000", images((1, 2, 2, 4), 2, offset=-1e10)),
                Case("around -10, with a row and a column left over", images((1, 2, 5, 7), 3, 2, offset=-10.0)),
            ],
            pick=0,
            result="out",
            keep=(1,),
        ),
        unchanged(1, {"max_pool_forward": images((1, 2, 3, 4), 2)}, keep=(1,)),
    ),
    mistakes=(
        Mistake(
            name="maximum-over-channels",
            advice="Every channel is pooled by itself; yours takes the maximum over the channels as well.",
            replaces={"max_pool_forward": max_over_channels},
            variants=({"max_pool_forward": max_over_channels_kept},),
        ),
        Mistake(
            name="maximum-started-at-zero",
            advice="A search for the maximum that starts at 0 never finds a negative one: start from the first number "
            "of the window.",
            replaces={"max_pool_forward": pooled(lambda w: np.maximum(w.max(axis=-1), 0))},
        ),
        Mistake(
            name="largest-absolute-value",
            advice="The maximum is asked for, with its sign: -5 is smaller than 1.",
            replaces={"max_pool_forward": pooled(lambda w: np.abs(w).max(axis=-1))},
        ),
        Mistake(
            name="position-returned",
            advice="The answer is the largest number itself (max), not where it stands in the window (argmax).",
            replaces={"max_pool_forward": pooled(lambda w: w.argmax(axis=-1))},
        ),
        Mistake(
            name="mean-instead-of-maximum",
            advice="Max pooling takes the largest number of a window, not the mean.",
            replaces={"max_pool_forward": pooled(lambda w: w.mean(axis=-1))},
        ),
        Mistake(
            name="max-remainder-kept",
            advice="Rows and columns that do not fill a window are dropped; yours makes a window of them.",
            replaces={"max_pool_forward": max_of_filled(-np.inf)},
            variants=({"max_pool_forward": max_of_filled(0.0)},),
        ),
        Mistake(
            name="max-stride-ignored",
            advice="The windows are `stride` pixels apart, and `size` only when stride is None.",
            replaces={"max_pool_forward": lambda x, size, stride=None: ref.max_pool2d_forward(x, size)},
        ),
    ),
)

# --- backward, for both ----------------------------------------------------------------------------------------------

Route = Callable[[Array, Array], Array]


def spread(values: Array, shape: tuple[int, ...], size: int, stride: int) -> Array:
    """Adds the shares (B, C, Ho, Wo, size * size) to the pixels they belong to."""
    square = values.reshape(*values.shape[:4], size, size)
    return conv.add_windows(square, (shape[2], shape[3]), conv.geometry(size, stride))


def pair(pooling: str, backward: Callable[..., Array]) -> dict[str, Callable[..., Any]]:
    """A right forward whose cache is (x, size, stride), and `backward(dout, x, size, stride)`; "max" or "avg"."""
    right = ref.max_pool2d_forward if pooling == "max" else ref.avg_pool2d_forward

    def pool_forward(x: Any, size: int, stride: int | None = None) -> Any:
        out, _ = right(x, size, stride)
        return out, (floats(x), size, size if stride is None else stride)

    def pool_backward(dout: Any, cache: Any) -> Array:
        return backward(floats(dout), *cache)

    return {f"{pooling}_pool_forward": pool_forward, f"{pooling}_pool_backward": pool_backward}


def routed(pooling: str, route: Route) -> dict[str, Callable[..., Any]]:
    """A pair whose windows share their gradient by `route(windows, dout with a new last axis)`."""

    def backward(dout: Array, x: Array, size: int, stride: int) -> Array:
        seen = windows(x, size, stride)
        return spread(np.broadcast_to(route(seen, dout[..., None]), seen.shape), x.shape, size, stride)

    return pair(pooling, backward)


def winners(seen: Array) -> Array:
    """1 for the first maximum of each window, 0 elsewhere."""
    return floats(seen.argmax(axis=-1)[..., None] == np.arange(seen.shape[-1]))


def last_winners(seen: Array) -> Array:
    return winners(seen[..., ::-1])[..., ::-1]


def winners_by_columns(seen: Array) -> Array:
    side = int(np.sqrt(seen.shape[-1]))
    turned = flat(seen.reshape(*seen.shape[:4], side, side).swapaxes(-1, -2))
    return flat(winners(turned).reshape(*seen.shape[:4], side, side).swapaxes(-1, -2))


def equal_to_max(seen: Array) -> Array:
    return floats(seen == seen.max(axis=-1, keepdims=True))


def first_only(seen: Array) -> Array:
    return floats(np.broadcast_to(np.arange(seen.shape[-1]) == 0, seen.shape))


def right_shares(pooling: str, seen: Array, dout: Array) -> Array:
    return (
        winners(seen) * dout[..., None] if pooling == "max" else np.ones_like(seen) * dout[..., None] / seen.shape[-1]
    )


def overwritten(pooling: str, whole: bool) -> dict[str, Callable[..., Any]]:
    """Window by window, the later one wins: the whole window is written, or only what is not 0 in it."""

    def backward(dout: Array, x: Array, size: int, stride: int) -> Array:
        shares = right_shares(pooling, windows(x, size, stride), dout)
        dx = np.zeros_like(x)
        for i, j in np.ndindex(dout.shape[2:]):
            here = dx[:, :, i * stride : i * stride + size, j * stride : j * stride + size]
            window = shares[:, :, i, j].reshape(here.shape)
            here[...] = window if whole else np.where(window != 0, window, here)
        return dx

    return pair(pooling, backward)


def overwritten_by_entry(pooling: str) -> dict[str, Callable[..., Any]]:
    """Entry by entry of the windows, the later one wins."""

    def backward(dout: Array, x: Array, size: int, stride: int) -> Array:
        shares = right_shares(pooling, windows(x, size, stride), dout)
        out_h, out_w = dout.shape[2:]
        dx = np.zeros_like(x)
        for cell in range(size * size):
            u, v = divmod(cell, size)
            dx[:, :, u : u + stride * out_h : stride, v : v + stride * out_w : stride] = shares[..., cell]
        return dx

    return pair(pooling, backward)


def cropped(pooling: str) -> dict[str, Callable[..., Any]]:
    """dx as large as the windows reach, without what was dropped."""

    def backward(dout: Array, x: Array, size: int, stride: int) -> Array:
        whole = spread(right_shares(pooling, windows(x, size, stride), dout), x.shape, size, stride)
        reach = [stride * (n - 1) + size for n in dout.shape[2:]]
        return whole[:, :, : reach[0], : reach[1]]

    return pair(pooling, backward)


def pool_inputs(draw: Draw, scale: float = 1.0) -> Callable[[Rng], dict[str, Any]]:
    def inputs(rng: Rng) -> dict[str, Any]:
        x, *sizes = draw(rng)
        return {"x": x, "sizes": sizes, "dout": scale * rng.normal(size=windows(x, *sizes).shape[:4])}

    return inputs


def passed(student: Any, pooling: str, inputs: dict[str, Any]) -> tuple[Any, ...]:
    """(out, cache) of the student's forward, the cache kept."""
    return items(student.call(f"{pooling}_pool_forward", inputs["x"], *inputs["sizes"], keep=(1,)), ("out", "cache"))


def went_back(student: Any, pooling: str, inputs: dict[str, Any]) -> Any:
    return student.call(f"{pooling}_pool_backward", inputs["dout"], passed(student, pooling, inputs)[1])


def right_dx(pooling: str, inputs: dict[str, Any]) -> Array:
    if pooling == "max":
        return ref.max_pool2d_backward(inputs["dout"], ref.max_pool2d_forward(inputs["x"], *inputs["sizes"])[1])
    return ref.avg_pool2d_backward(inputs["dout"], ref.avg_pool2d_forward(inputs["x"], *inputs["sizes"])[1])


def backward_check(pooling: str, name: str, points: int, cases: Sequence[tuple[str, Any]]) -> Check:
    return gradient(
        name,
        points,
        (f"{pooling}_pool_forward", f"{pooling}_pool_backward"),
        [GradientCase(reason, draw) for reason, draw in cases],
        value=lambda student, inputs: passed(student, pooling, inputs)[0],
        grads=lambda student, inputs: {"x": went_back(student, pooling, inputs)},
        reference=lambda inputs: {"x": right_dx(pooling, inputs)},
    )


CACHES = "two passes have two caches, dout stays as it is, a list will do"


def caches_last(backward: str, dout: Array, cache: Any, right: Array, student: Any) -> None:
    """Backward gives the right dx each time it is asked, and leaves dout alone."""
    for turn, upstream in (
        ("the first cache, after other forward passes", dout),
        ("a cache that was used before", dout),
        ("dout given as a list", dout.tolist()),
    ):
        with case_of(turn):
            dx = student.call(backward, upstream, cache)
            holds(0 not in student.changed, f"`{backward}` modified its argument `dout` in place; work on a copy.")
            same(dx, right, "dx")


def two_caches(pooling: str) -> Check:
    @prop(CACHES, 1, f"{pooling}_pool_forward", f"{pooling}_pool_backward")
    def check(student: Any, rng: Rng) -> None:
        first, second = (pool_inputs(images((2, 2, 4, 3), 2, 1))(rng) for _ in range(2))
        _, cache = passed(student, pooling, first)
        passed(student, pooling, second)
        # As many windows, but of larger images: here a cache shows that holds nothing but a shape.
        passed(student, pooling, pool_inputs(images((2, 2, 8, 6), 3, 2))(rng))
        caches_last(f"{pooling}_pool_backward", first["dout"], cache, right_dx(pooling, first), student)

    return check


SIDE_BY_SIDE = [
    ("several images and channels", pool_inputs(images((2, 3, 4, 6), 2))),
    ("windows of side 3, a batch of one", pool_inputs(images((1, 2, 6, 3), 3))),
]
DROPPED = [
    ("a row and a column left over", pool_inputs(images((2, 3, 5, 7), 2))),
    ("gaps between the windows", pool_inputs(images((2, 2, 5, 8), 2, 3))),
]
OVERLAPPING = [
    ("windows of side 3, one pixel apart", pool_inputs(images((2, 2, 5, 4), 3, 1))),
    ("side 3, stride 2, a column left over", pool_inputs(images((2, 3, 5, 6), 3, 2))),
]
LARGE = [
    ("pixels of a hundred million", pool_inputs(millions((1, 2, 4, 4), 2))),
    ("an upstream gradient in the millions", pool_inputs(images((1, 2, 4, 4), 2), scale=1e7)),
    ("a pixel of a hundred million in each window", pool_inputs(glaring(images((1, 2, 4, 4), 2), 2))),
]


@prop("of equal maxima the first gets the gradient", 4, "max_pool_forward", "max_pool_backward")
def ties(student: Any, rng: Rng) -> None:
    for reason, draw in (
        ("many equal pixels", few_values((2, 3, 4, 6), 2)),
        ("many equal pixels, overlapping windows of side 3", few_values((2, 2, 5, 6), 3, 2)),
        ("windows of equal pixels", lambda rng: (np.full((1, 2, 4, 6), 3.0), 2)),
    ):
        with case_of(reason):
            inputs = pool_inputs(draw)(rng)
            same(went_back(student, "max", inputs), right_dx("max", inputs), "dx")


MAX_BACKWARD = Exercise(
    name="max_pool_backward",
    title="The winner takes all",
    functions=("max_pool_forward", "max_pool_backward"),
    hints=(
        "Move a pixel that is not the maximum of its window a little. What happens to the output?",
        "Start with zeros of the shape of x. For every window add its dout at the one pixel that won. The cache should "
        "tell you which, so that you need not search again.",
        "With winner the argmax of each window: for every entry (u, v) add np.where(winner == u * size + v, dout, 0) "
        "with += to the slice of dx that pool_windows read for that entry.",
    ),
    checks=(
        backward_check("max", "windows side by side", 5, SIDE_BY_SIDE),
        backward_check("max", "dropped pixels get 0", 4, DROPPED),
        backward_check("max", "overlapping windows add up", 4, OVERLAPPING),
        ties,
        backward_check("max", "gradients are computed, not approximated", 2, LARGE),
        two_caches("max"),
    ),
    mistakes=(
        Mistake(
            name="all-maxima-rewarded",
            advice="When several pixels share the maximum, only the first of them gets the gradient; yours gives it to "
            "each of them, and hands on more than it was given.",
            replaces=routed("max", lambda seen, dout: equal_to_max(seen) * dout),
        ),
        Mistake(
            name="tie-shared",
            advice="When several pixels share the maximum, the first of them gets all of the gradient; yours divides "
            "it among them.",
            replaces=routed(
                "max", lambda seen, dout: equal_to_max(seen) * dout / equal_to_max(seen).sum(axis=-1, keepdims=True)
            ),
        ),
        Mistake(
            name="last-maximum-rewarded",
            advice="Of equal maxima the first gets the gradient, and yours gives it to the last: compare with >, not "
            "with >=.",
            replaces=routed("max", lambda seen, dout: last_winners(seen) * dout),
        ),
        Mistake(
            name="first-maximum-by-columns",
            advice="The first of equal maxima is found reading row by row; yours reads the window column by column.",
            replaces=routed("max", lambda seen, dout: winners_by_columns(seen) * dout),
        ),
        Mistake(
            name="whole-window-rewarded",
            advice="Only the maximum acted on the output; yours sends the gradient to every pixel of the window.",
            replaces=routed("max", lambda seen, dout: dout),
            variants=(routed("max", lambda seen, dout: dout / seen.shape[-1]),),
        ),
        Mistake(
            name="gradient-times-maximum",
            advice="The output IS the maximum, so its slope is 1: hand on dout itself, not times the pixel.",
            replaces=routed("max", lambda seen, dout: winners(seen) * dout * seen),
        ),
        Mistake(
            name="gradient-to-the-corner",
            advice="The gradient goes to the pixel that won, wherever it stands in its window, not to the first one.",
            replaces=routed("max", lambda seen, dout: first_only(seen) * dout),
        ),
        Mistake(
            name="overlap-overwritten",
            advice="A pixel that wins several windows gets the sum of their gradients: add with +=, where you assign.",
            replaces=overwritten("max", whole=False),
            variants=(overwritten("max", whole=True), overwritten_by_entry("max")),
        ),
        Mistake(
            name="dropped-pixels-missing",
            advice="dx has the shape of x, with 0 in the rows and columns that were dropped.",
            replaces=cropped("max"),
        ),
    ),
)

# --- average pooling -------------------------------------------------------------------------------------------------

AVERAGE = Exercise(
    name="avg_pool",
    title="Average pooling, there and back",
    functions=("avg_pool_forward", "avg_pool_backward"),
    hints=(
        "How much does the mean of four numbers move when one of them moves by 1?",
        "Forward is pool_windows and a mean. On the way back every pixel of a window gets the same share, whatever its "
        "value: x itself is not needed, only its shape.",
        "share = dout / size**2. For every entry (u, v) add the share with += to the slice of dx that pool_windows "
        "read for that entry, starting with zeros of the shape of x.",
    ),
    checks=(
        *forward_checks("avg_pool_forward", ref.avg_pool2d_forward, 3, 3),
        backward_check("avg", "backward, windows side by side", 3, SIDE_BY_SIDE),
        backward_check("avg", "backward, dropped pixels get 0", 3, DROPPED),
        backward_check("avg", "backward, overlapping windows add up", 3, OVERLAPPING),
        backward_check("avg", "gradients are computed, not approximated", 1, LARGE),
        two_caches("avg"),
        unchanged(1, {"avg_pool_forward": images((1, 2, 3, 4), 2)}, keep=(1,)),
    ),
    mistakes=(
        Mistake(
            name="window-summed",
            advice="The mean of a window is its sum divided by size * size; the division is missing.",
            replaces={"avg_pool_forward": pooled(lambda w: w.sum(axis=-1))},
        ),
        Mistake(
            name="divided-by-side",
            advice="A window holds size * size numbers: divide by all of them, not by its side.",
            replaces={"avg_pool_forward": pooled(lambda w: w.sum(axis=-1) / np.sqrt(w.shape[-1]))},
        ),
        Mistake(
            name="average-over-channels",
            advice="Every channel is pooled by itself; yours takes the mean over the channels as well.",
            replaces={
                "avg_pool_forward": lambda x, size, stride=None: (windows(x, size, stride).mean(axis=(1, 4)), None)
            },
        ),
        Mistake(
            name="average-remainder-kept",
            advice="Rows and columns that do not fill a window are dropped; yours makes a window of them.",
            replaces={
                "avg_pool_forward": lambda x, size, stride=None: (
                    windows(filled_up(x, size, stride), size, stride).mean(axis=-1),
                    None,
                )
            },
            variants=(
                {
                    "avg_pool_forward": lambda x, size, stride=None: (
                        np.nanmean(windows(filled_up(x, size, stride, np.nan), size, stride), axis=-1),
                        None,
                    )
                },
            ),
        ),
        Mistake(
            name="average-stride-ignored",
            advice="The windows are `stride` pixels apart, and `size` only when stride is None.",
            replaces={"avg_pool_forward": lambda x, size, stride=None: ref.avg_pool2d_forward(x, size)},
        ),
        Mistake(
            name="average-backward-not-divided",
            advice="Each pixel is only one of size * size that were averaged: divide its gradient by that number.",
            replaces=routed("avg", lambda seen, dout: dout),
        ),
        Mistake(
            name="average-backward-divided-by-side",
            advice="The share of a pixel is 1 / size^2 of the window's gradient, not 1 / size.",
            replaces=routed("avg", lambda seen, dout: dout / np.sqrt(seen.shape[-1])),
        ),
        Mistake(
            name="average-sent-to-maximum",
            advice="In a mean every pixel counts alike; yours sends the gradient to the largest one, as max pooling "
            "does.",
            replaces=routed("avg", lambda seen, dout: winners(seen) * dout),
        ),
        Mistake(
            name="average-overlap-overwritten",
            advice="Where windows overlap their shares add up: use +=, where you assign with =.",
            replaces=overwritten("avg", whole=True),
            variants=(overwritten_by_entry("avg"),),
        ),
        Mistake(
            name="average-dropped-pixels-missing",
            advice="dx has the shape of x, with 0 in the rows and columns that were dropped.",
            replaces=cropped("avg"),
        ),
    ),
)

# --- global average pooling ------------------------------------------------------------------------------------------


def global_forward(reduce: Callable[[Array], Array]) -> Callable[..., Any]:
    return lambda x: (reduce(floats(x)), np.shape(x))


def global_pair(share: Callable[[Array, tuple[int, ...]], Array]) -> dict[str, Callable[..., Any]]:
    """A right forward, and a backward that gives each pixel `share(dout, shape of x)`, an array (B, C)."""

    def backward(dout: Any, cache: tuple[int, ...]) -> Array:
        return share(floats(dout), cache)[:, :, None, None] * np.ones(cache)

    return {
        "global_avg_pool_forward": global_forward(lambda x: x.mean(axis=(2, 3))),
        "global_avg_pool_backward": backward,
    }


def one_pixel_rewarded(dout: Any, cache: tuple[int, ...]) -> Array:
    dx = np.zeros(cache)
    dx[:, :, 0, 0] = floats(dout)
    return dx


def global_inputs(shape: Shape, offset: float = 0.0, scale: float = 1.0) -> Callable[[Rng], dict[str, Any]]:
    return lambda rng: {"x": offset + rng.normal(size=shape), "dout": scale * rng.normal(size=shape[:2])}


def global_glaring(shape: Shape) -> Callable[[Rng], dict[str, Any]]:
    def inputs(rng: Rng) -> dict[str, Any]:
        [x] = glaring(images(shape), max(shape))(rng)
        return {"x": x, "dout": rng.normal(size=shape[:2])}

    return inputs


def global_passed(student: Any, inputs: dict[str, Any]) -> tuple[Any, ...]:
    return items(student.call("global_avg_pool_forward", inputs["x"], keep=(1,)), ("out", "cache"))


def global_check(name: str, points: int, cases: Sequence[tuple[str, Any]]) -> Check:
    return gradient(
        name,
        points,
        ("global_avg_pool_forward", "global_avg_pool_backward"),
        [GradientCase(reason, draw) for reason, draw in cases],
        value=lambda student, inputs: global_passed(student, inputs)[0],
        grads=lambda student, inputs: {
            "x": student.global_avg_pool_backward(inputs["dout"], global_passed(student, inputs)[1])
        },
        reference=lambda inputs: {"x": ref.global_avg_pool_backward(inputs["dout"], inputs["x"].shape[2:])},
    )


@prop(CACHES, 1, "global_avg_pool_forward", "global_avg_pool_backward")
def global_caches(student: Any, rng: Rng) -> None:
    first = global_inputs((2, 3, 4, 5))(rng)
    _, cache = global_passed(student, first)
    global_passed(student, global_inputs((2, 3, 2, 6))(rng))
    right = ref.global_avg_pool_backward(first["dout"], (4, 5))
    caches_last("global_avg_pool_backward", first["dout"], cache, right, student)


GLOBAL = Exercise(
    name="global_avg_pool",
    title="Global average pooling, there and back",
    functions=("global_avg_pool_forward", "global_avg_pool_backward"),
    hints=(
        "Which two of the four axes should disappear?",
        "It is average pooling with one window, the whole image. Backward must turn (B, C) into (B, C, H, W) again, "
        "and must know H and W for that.",
        "np.mean over the axes 2 and 3. Backward: dout / (H * W) with two new axes at the end, times np.ones((H, W)).",
    ),
    checks=(
        numeric(
            "the mean of each channel",
            4,
            "global_avg_pool_forward",
            ref.global_avg_pool_forward,
            [
                Case("images not square", images((2, 3, 4, 5))),
                Case("as many images as channels and rows", images((3, 3, 3, 2))),
                Case("a batch of one, one pixel", images((1, 2, 1, 1))),
                Case("plain lists", lambda rng: (rng.normal(size=(1, 2, 2, 3)).tolist(),)),
                Case("float32 images", lambda rng: (rng.normal(size=(1, 2, 3, 3)).astype(np.float32),)),
            ],
            pick=0,
            result="out",
            keep=(1,),
        ),
        global_check(
            "every pixel gets its share",
            4,
            [
                ("images not square", global_inputs((2, 3, 4, 5))),
                ("a batch of one, one row", global_inputs((1, 2, 1, 4))),
            ],
        ),
        global_check(
            "gradients are computed, not approximated",
            2,
            [
                ("pixels of a hundred million", global_inputs((1, 2, 2, 3), offset=1e8)),
                ("an upstream gradient in the millions", global_inputs((1, 2, 2, 3), scale=1e7)),
                ("one pixel of a hundred million", global_glaring((1, 2, 2, 3))),
            ],
        ),
        global_caches,
        unchanged(1, {"global_avg_pool_forward": images((1, 2, 3, 4))}, keep=(1,)),
    ),
    mistakes=(
        Mistake(
            name="channel-summed",
            advice="A mean is asked for: divide the sum of a channel by its number of pixels.",
            replaces={"global_avg_pool_forward": global_forward(lambda x: x.sum(axis=(2, 3)))},
        ),
        Mistake(
            name="channels-averaged-too",
            advice="Each channel keeps its own mean, (B, C); yours averages over the channels as well.",
            replaces={"global_avg_pool_forward": global_forward(lambda x: x.mean(axis=(1, 2, 3)))},
        ),
        Mistake(
            name="one-axis-averaged",
            advice="Rows and columns both disappear: average over the axes 2 and 3, yours does one of them.",
            replaces={"global_avg_pool_forward": global_forward(lambda x: x.mean(axis=-1))},
            variants=({"global_avg_pool_forward": global_forward(lambda x: x.mean(axis=2))},),
        ),
        Mistake(
            name="empty-axes-kept",
            advice="The answer is (B, C), without the two axes of length one.",
            replaces={"global_avg_pool_forward": global_forward(lambda x: x.mean(axis=(2, 3), keepdims=True))},
        ),
        Mistake(
            name="maximum-of-channel",
            advice="The mean of each channel is asked for, not its maximum.",
            replaces={"global_avg_pool_forward": global_forward(lambda x: x.max(axis=(2, 3)))},
        ),
        Mistake(
            name="global-share-not-divided",
            advice="A pixel moves the mean by 1 / (H W) only: divide dout by the number of pixels.",
            replaces=global_pair(lambda dout, shape: dout),
        ),
        Mistake(
            name="global-share-of-one-side",
            advice="Divide by all pixels of the image, H times W; yours divides by one side.",
            replaces=global_pair(lambda dout, shape: dout / shape[2]),
            variants=(global_pair(lambda dout, shape: dout / shape[3]),),
        ),
        Mistake(
            name="global-share-over-channels",
            advice="The mean was taken over the pixels of one channel: divide by H * W, not by C * H * W.",
            replaces=global_pair(lambda dout, shape: dout / np.prod(shape[1:])),
            variants=(global_pair(lambda dout, shape: dout / np.prod(shape)),),
        ),
        Mistake(
            name="global-gradient-to-one-pixel",
            advice="Every pixel took part in the mean, and every pixel gets its share; yours gives all to one of them.",
            replaces={**global_pair(lambda dout, shape: dout), "global_avg_pool_backward": one_pixel_rewarded},
        ),
    ),
)

# --- receptive fields ------------------------------------------------------------------------------------------------

Layers = list[tuple[int, ...]]


def fields(layers: Layers) -> Array:
    """As an array, so that any list of pairs will do."""
    return np.array(ref.receptive_fields(layers), dtype=np.float64)


def fields_with(step: Callable[[int, int, int, int, int], tuple[int, int]]) -> Callable[[Layers], Any]:
    """Receptive fields by another `step(field, jump, kernel, stride, dilation)`."""

    def receptive_fields(layers: Layers) -> list[tuple[int, int]]:
        field, jump, seen = 1, 1, []
        for kernel, stride, *more in layers:
            field, jump = step(field, jump, kernel, stride, more[0] if more else 1)
            seen.append((field, jump))
        return seen

    return receptive_fields


def last_only(layers: Layers) -> Any:
    return ref.receptive_fields(layers)[-1] if layers else (1, 1)


def with_input(layers: Layers) -> Any:
    return [(1, 1), *ref.receptive_fields(layers)]


def drawn_layers(count: int, *, dilated: bool) -> Draw:
    """Draws layers of kernels 2 to 5 and strides 1 to 3, the first with stride 2, and if asked dilations 2 to 4."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        layers = []
        for i in range(count):
            layer = (int(rng.integers(2, 6)), 2 if i == 0 else int(rng.integers(1, 4)))
            layers.append((*layer, int(rng.integers(2, 5))) if dilated else layer)
        return (layers,)

    return draw


FIELDS = Exercise(
    name="receptive_fields",
    title="How far a unit sees",
    functions=("receptive_fields",),
    hints=(
        "Two convolutions of kernel 3, stride 1: draw the pixels that one unit of the second layer depends on. Now "
        "give the first a stride of 2.",
        "Carry two numbers along: the field, and the distance of neighbouring units in pixels of the input. A layer "
        "adds (kernel - 1) such distances to the field, more when it is dilated.",
        "Begin with field = jump = 1. For each layer: first field += dilation * (kernel - 1) * jump, then jump *= "
        "stride, then note both.",
    ),
    checks=(
        numeric(
            "convolutions and pooling in turn",
            4,
            "receptive_fields",
            fields,
            [
                Case(
                    "three convolutions of kernel 3 with two poolings of size 2 between them",
                    lambda rng: ([(3, 1), (2, 2), (3, 1), (2, 2), (3, 1)],),
                ),
                Case("convolutions of stride 1 only", lambda rng: ([(3, 1), (5, 1), (2, 1)],)),
            ],
        ),
        numeric(
            "strides of all kinds",
            5,
            "receptive_fields",
            fields,
            [
                Case("four layers", drawn_layers(4, dilated=False)),
                Case(
                    "a kernel of 1, which adds nothing but its stride", lambda rng: ([(1, 2), (3, 1), (1, 3), (2, 1)],)
                ),
            ],
        ),
        numeric(
            "dilation, where it is given",
            3,
            "receptive_fields",
            fields,
            [
                Case("dilations 1, 2 and 4", lambda rng: ([(3, 1, 1), (3, 1, 2), (3, 1, 4)],)),
                Case("three dilated layers with strides", drawn_layers(3, dilated=True)),
                Case("some layers with a third number and some without", lambda rng: ([(3, 2), (2, 2, 3), (4, 1)],)),
            ],
        ),
        numeric(
            "one layer, and none",
            2,
            "receptive_fields",
            fields,
            [
                Case("a single layer", lambda rng: ([(int(rng.integers(3, 8)), 2)],)),
                Case("no layer: an empty list", lambda rng: ([],)),
            ],
            alone=False,
        ),
    ),
    mistakes=(
        Mistake(
            name="kernels-multiplied",
            advice="Fields do not multiply: each layer ADDS (kernel - 1) jumps to what a unit saw already.",
            replaces={"receptive_fields": fields_with(lambda f, j, k, s, d: (f * (d * (k - 1) + 1), j * s))},
        ),
        Mistake(
            name="jump-updated-too-early",
            advice="A layer looks at units that are the OLD jump apart: widen the field first, and multiply the jump "
            "by the stride afterwards.",
            replaces={"receptive_fields": fields_with(lambda f, j, k, s, d: (f + d * (k - 1) * j * s, j * s))},
        ),
        Mistake(
            name="strides-ignored-in-field",
            advice="Behind a stride neighbouring units are further apart in the image: multiply (kernel - 1) by the "
            "jump.",
            replaces={"receptive_fields": fields_with(lambda f, j, k, s, d: (f + d * (k - 1), j * s))},
        ),
        Mistake(
            name="own-stride-only",
            advice="The jump is the product of all strides so far, not the stride of the last layer alone.",
            replaces={"receptive_fields": fields_with(lambda f, j, k, s, d: (f + d * (k - 1) * j, s))},
        ),
        Mistake(
            name="strides-added",
            advice="Strides multiply: after two strides of 2 neighbouring units are 4 pixels apart.",
            replaces={"receptive_fields": fields_with(lambda f, j, k, s, d: (f + d * (k - 1) * j, j + s - 1))},
        ),
        Mistake(
            name="kernel-added-whole",
            advice="A kernel of 3 reaches 2 units beyond one unit: add kernel - 1, not kernel.",
            replaces={"receptive_fields": fields_with(lambda f, j, k, s, d: (f + d * k * j, j * s))},
        ),
        Mistake(
            name="dilation-left-out",
            advice="A dilated kernel spreads over dilation * (kernel - 1) jumps; yours ignores the third number.",
            replaces={"receptive_fields": fields_with(lambda f, j, k, s, d: (f + (k - 1) * j, j * s))},
        ),
        Mistake(
            name="dilation-widens-the-jump",
            advice="Dilation spreads the weights of a layer, not its units: only the stride changes the jump.",
            replaces={"receptive_fields": fields_with(lambda f, j, k, s, d: (f + d * (k - 1) * j, j * s * d))},
        ),
        Mistake(
            name="last-layer-only",
            advice="A pair for every layer is asked for, in a list; yours is the last one only.",
            replaces={"receptive_fields": last_only},
        ),
        Mistake(
            name="input-listed",
            advice="The list starts with the first layer; yours has the input, (1, 1), in front.",
            replaces={"receptive_fields": with_input},
        ),
    ),
)

# --- what a shift changes --------------------------------------------------------------------------------------------

Features = Callable[[Array], Array]


def both(features: Features, x: Any, down: int, right: int) -> tuple[Array, Array]:
    return floats(features(floats(x))), floats(features(conv.translate(x, down, right)))


def changed_by(measure: Callable[[Array, Array], Any]) -> Callable[..., float]:
    """Another measure of (before, after)."""
    return lambda features, x, down, right: float(measure(*both(features, x, down, right)))


def norm(a: Array) -> float:
    return float(np.linalg.norm(a))


def against_moved(features: Features, x: Any, down: int, right: int) -> float:
    before, after = both(features, x, down, right)
    return norm(after - conv.translate(before, down, right)) / norm(before)


def around_the_edge(features: Features, x: Any, down: int, right: int) -> float:
    before, after = floats(features(floats(x))), floats(features(np.roll(floats(x), (down, right), axis=(-2, -1))))
    return norm(after - before) / norm(before)


def framed(rng: Rng) -> Array:
    """Images with two empty pixels on each side."""
    return np.pad(rng.normal(size=(2, 3, 4, 5)), [(0, 0), (0, 0), (2, 2), (2, 2)])


def weighted(rng: Rng, channels: int, height: int, width: int) -> Features:
    """Features (B, C, H, W) of different sizes, all of them sensitive to where things are."""
    gain = rng.normal(size=(channels, height, width))
    return lambda x: 2.0 + floats(x) * gain


@prop("features that do not care: no change", 3, "shift_change", alone=False)
def invariant(student: Any, rng: Rng) -> None:
    x = framed(rng)
    means = Callback(lambda images: floats(images).mean(axis=(2, 3)), "features")
    for down, right in ((1, -2), (-2, 1)):
        change = numbers(student.shift_change(means, x, down, right), (), "the change")
        below(
            abs(float(change)),
            1e-9,
            "the means of the channels stay what they are as long as nothing leaves the image, so the change should be "
            "0.",
            f"Got {float(change):.3g} for a move by ({down}, {right}).",
        )
        holds(not student.changed, "`shift_change` modified the images that it was given.")


@prop("the change is relative to the features", 6, "shift_change")
def relative(student: Any, rng: Rng) -> None:
    x = rng.normal(size=(2, 3, 5, 4))
    sensitive = weighted(rng, 3, 5, 4)
    for reason, features in (
        ("the images themselves as features", lambda images: floats(images)),
        ("features that depend on the place", sensitive),
        ("features a hundred times as large", lambda images: 100 * sensitive(images)),
        ("features a thousand times as small", lambda images: 1e-3 * sensitive(images)),
        ("features of another shape", lambda images: sensitive(images).sum(axis=3)),
    ):
        with case_of(reason):
            change = student.shift_change(Callback(features, "features"), x, 1, 1)
            same(change, ref.shift_change(features, x, 1, 1), "the change")


@prop("down, right, up and left", 3, "shift_change")
def directions(student: Any, rng: Rng) -> None:
    x = rng.normal(size=(1, 2, 5, 6))
    features = weighted(rng, 2, 5, 6)
    for reason, down, right in (
        ("down", 2, 0),
        ("to the right", 0, 2),
        ("up and to the left", -1, -3),
        ("nowhere", 0, 0),
        ("down, the images being a list", 1, 0),
    ):
        with case_of(f"a move {reason}"):
            given = x.tolist() if "list" in reason else x
            change = student.shift_change(Callback(features, "features"), given, down, right)
            same(change, ref.shift_change(features, x, down, right), "the change")


SHIFT = Exercise(
    name="shift_change",
    title="How much a shift changes",
    functions=("shift_change",),
    hints=(
        "How often do you have to ask for features, and for which images?",
        "Once for the images as they are and once for the moved ones. Compare the two answers as they come: nothing is "
        "moved back.",
        "The root of the sum of the squared differences, over the root of the sum of the squared features of the "
        "unmoved images. np.sum without an axis takes all entries.",
    ),
    checks=(invariant, relative, directions),
    mistakes=(
        Mistake(
            name="change-not-relative",
            advice="Divide by the norm of the unmoved features: otherwise larger features seem to change more.",
            replaces={"shift_change": changed_by(lambda before, after: norm(after - before))},
        ),
        Mistake(
            name="relative-to-the-moved",
            advice="The norm below the line is that of the features of the unmoved images.",
            replaces={"shift_change": changed_by(lambda before, after: norm(after - before) / norm(after))},
        ),
        Mistake(
            name="squares-not-rooted",
            advice="A norm is the root of the sum of squares; yours divides the sums themselves.",
            replaces={"shift_change": changed_by(lambda before, after: (norm(after - before) / norm(before)) ** 2)},
        ),
        Mistake(
            name="largest-change",
            advice="All entries count, by the root of the sum of their squares; yours looks at the largest ones only.",
            replaces={
                "shift_change": changed_by(lambda before, after: np.abs(after - before).max() / np.abs(before).max())
            },
        ),
        Mistake(
            name="absolute-values-summed",
            advice="The norm is the root of the sum of squares, not the sum of absolute values.",
            replaces={
                "shift_change": changed_by(lambda before, after: np.abs(after - before).sum() / np.abs(before).sum())
            },
        ),
        Mistake(
            name="norms-subtracted",
            advice="Subtract the features first and take the norm of the difference; two norms can be equal for quite "
            "different features.",
            replaces={"shift_change": changed_by(lambda before, after: abs(norm(after) - norm(before)) / norm(before))},
        ),
        Mistake(
            name="equivariance-measured",
            advice="Invariance means that the features stay as they were: do not move the features themselves.",
            replaces={"shift_change": against_moved},
        ),
        Mistake(
            name="moved-around-the-edge",
            advice="What leaves the image on one side does not come in on the other: use shift_images, not np.roll.",
            replaces={"shift_change": around_the_edge},
        ),
        Mistake(
            name="down-and-right-swapped",
            advice="`down` moves along the rows and `right` along the columns; yours swaps them.",
            replaces={"shift_change": lambda features, x, down, right: ref.shift_change(features, x, right, down)},
        ),
    ),
)

# --- picture ---------------------------------------------------------------------------------------------------------


def scene(size: int = 32) -> Array:
    """A ring and a bar on black, (1, 1, size, size), with room to move in."""
    y, x = np.mgrid[:size, :size]
    ring = np.exp(-((np.hypot(x - 0.36 * size, y - 0.45 * size) - 0.15 * size) ** 2) / 2)
    bar = np.exp(-((x - 0.3 * y - 0.5 * size) ** 2) / 2) * (np.abs(y - 0.5 * size) < 0.3 * size)
    return floats(np.maximum(ring, bar))[None, None]


def shift_curve(student: Any, pool: Callable[[Array], Any], x: Array, shifts: list[int]) -> list[float]:
    """The student's `shift_change` of the student's pooling, which is computed before, for every image it may ask."""
    table = {moved.tobytes(): floats(pool(moved)) for moved in (conv.translate(x, 0, n) for n in shifts)}
    features = Callback(lambda seen: table.get(floats(seen).tobytes(), floats(seen)), "features")
    return [float(student.shift_change(features, x, 0, n)) for n in shifts]


def draw_picture(student: Any, figure: Any) -> None:
    """Who gets the gradient, what a shift changes, and how far units see, by the student's own functions."""
    left, middle, right = figure.subplots(1, 3)
    x = scene()
    out, cache = student.call("max_pool_forward", x, 4, keep=(1,))
    winners_of_four = floats(student.max_pool_backward(np.ones_like(floats(out)), cache))[0, 0]
    left.imshow(x[0, 0], cmap="gray")
    rows, columns = np.nonzero((winners_of_four > 0) & (x[0, 0] > 0.05))
    left.plot(columns, rows, ".", color="C1", ms=4)
    for line in np.arange(3.5, 31, 4):
        left.axhline(line, color="0.5", lw=0.4)
        left.axvline(line, color="0.5", lw=0.4)
    left.set_title("Pixels that win their 4 by 4 window", fontsize=10)
    left.set_xticks([])
    left.set_yticks([])
    shifts = list(range(7))
    curves: dict[str, Callable[[Array], Any]] = {
        "the pixels": lambda seen: seen,
        "max pooling, size 2": lambda seen: student.call("max_pool_forward", seen, 2, keep=(1,))[0],
        "max pooling, size 8": lambda seen: student.call("max_pool_forward", seen, 8, keep=(1,))[0],
        "average pooling, size 8": lambda seen: student.call("avg_pool_forward", seen, 8, keep=(1,))[0],
        "global average": lambda seen: student.call("global_avg_pool_forward", seen, keep=(1,))[0],
    }
    for name, pool in curves.items():
        middle.plot(shifts, shift_curve(student, pool, x, shifts), "o-", ms=3, label=name)
    middle.set_title("A shift changes less, not nothing", fontsize=10)
    middle.set_ylim(-0.05, 1.75)
    middle.set_xlabel("shift (pixels)")
    middle.set_ylabel("relative change of the features")
    middle.legend(frameon=False, fontsize=7)
    networks = {
        "kernel 3": [(3, 1)] * 10,
        "kernel 3, dilation 1, 2, 4 ...": [(3, 1, 2**i) for i in range(5)],
        "kernel 3, then pool 2": [(3, 1), (2, 2)] * 5,
    }
    for name, layers in networks.items():
        seen = [1, *(int(pair[0]) for pair in student.receptive_fields(layers))]
        right.plot(range(len(seen)), seen, "o-", ms=3, label=name)
    right.set_title("How far a unit sees", fontsize=10)
    right.set_xlabel("layers")
    right.set_ylabel("receptive field (pixels)")
    right.legend(frameon=False, fontsize=7)


CHAPTER = Chapter(
    id="ch315",
    slug="pooling",
    title="Pooling and Receptive Fields",
    part="Architectures",
    summary="Max, average and global pooling with their gradients, and how far a unit sees.",
    builds_on=("ch314",),
    exercises=(WINDOWS, MAX_FORWARD, MAX_BACKWARD, AVERAGE, GLOBAL, FIELDS, SHIFT),
    picture=Picture(title="What pooling keeps and what it forgets", draw=draw_picture),
)
