"""Checks of chapter 314: convolution as loops and as one matrix product, and the whole way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from dlreference import conv as ref

from dlgrade.course.compare import below, holds, items, numbers, same
from dlgrade.course.kinds import Case, GradientCase, Rng, case_of, gradient, numeric, prop, unchanged
from dlgrade.course.spec import Chapter, Check, Exercise, Mistake, Picture
from dlgrade.sandbox.protocol import Callback
from dlgrade.sandbox.session import Call

Array = np.ndarray[Any, Any]
Draw = Callable[[Rng], tuple[Any, ...]]


def floats(x: Any) -> Array:
    return np.asarray(x, dtype=np.float64)


def layer(shape: tuple[int, ...], filters: int, kernel: tuple[int, int], *sizes: int) -> Draw:
    """Draws images of this shape (one image, or a batch), weights and biases; `sizes` are stride, padding, dilation."""
    return lambda rng: (
        rng.normal(size=shape),
        rng.normal(size=(filters, shape[-3], *kernel)),
        rng.normal(size=filters),
        *sizes,
    )


# --- output size -----------------------------------------------------------------------------------------------------


def sized(formula: Callable[[int, int, int, int, int], int]) -> Callable[..., int]:
    """An output size by another formula of (size, kernel, stride, padding, dilation)."""

    def conv_output_size(size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
        return formula(size, kernel, stride, padding, dilation)

    return conv_output_size


def room(size: int, kernel: int, padding: int, dilation: int) -> int:
    """How far the first window can move; raises ValueError when it does not fit at all."""
    return ref.conv_output_size(size, kernel, 1, padding, dilation) - 1


def sizes_case(reason: str, *args: int) -> Case:
    return Case(reason, lambda rng: args)


def drawn_sizes(stride: int, padding: int, dilation: int, left_over: int) -> Draw:
    """Draws a size and a kernel with so many pixels left over behind the last window."""

    def draw(rng: Rng) -> tuple[int, ...]:
        kernel, steps = int(rng.integers(2, 6)), int(rng.integers(3, 9))
        return dilation * (kernel - 1) + 1 + stride * steps + left_over - 2 * padding, kernel, stride, padding, dilation

    return draw


@prop("no window fits: ValueError", 1, "conv_output_size")
def too_large(student: Any, rng: Rng) -> None:
    for reason, args in (
        ("a kernel larger than the image", (2, 3)),
        ("a dilated kernel that reaches too far", (5, 3, 1, 0, 3)),
        ("a kernel larger than the padded image, with a stride", (3, 6, 2, 1)),
    ):
        call = Call("conv_output_size", args)
        [reply] = student.batch([call])
        with case_of(reason, call):
            if reply.status == "error" and reply.detail.get("type") == "ValueError":
                continue
            holds(reply.status != "ok", "no window fits here, so a ValueError is asked for, but a number came back.")
            student.answer(call, reply)


OUTPUT_SIZE = Exercise(
    name="conv_output_size",
    title="How many windows fit",
    functions=("conv_output_size",),
    hints=(
        "Draw a row of eight pixels and lay a window of three on it. How far can it move, with a stride of two?",
        "First find the reach of the kernel, from its first to its last weight. What is left of the padded row is the "
        "room to move. Divide it by the stride, rounding down, and count the window at the start as well.",
        "reach is dilation * (kernel - 1) + 1, room is size + 2 * padding - reach; if room is negative raise "
        "ValueError, "
        "otherwise the answer is room // stride + 1.",
    ),
    checks=(
        numeric(
            "windows side by side",
            1,
            "conv_output_size",
            ref.conv_output_size,
            [
                sizes_case("seven pixels, three weights", 7, 3),
                sizes_case("a kernel as large as the image", 5, 5),
                sizes_case("a kernel of one weight", 6, 1),
            ],
        ),
        numeric(
            "a stride, with and without pixels left over",
            2,
            "conv_output_size",
            ref.conv_output_size,
            [
                sizes_case("one pixel left over", 8, 3, 2),
                sizes_case("nothing left over", 9, 3, 2),
                Case("two pixels left over", drawn_sizes(3, 0, 1, 2)),
            ],
        ),
        numeric(
            "padding on both sides",
            2,
            "conv_output_size",
            ref.conv_output_size,
            [
                sizes_case("five weights with a padding of 2, which keeps the size", 32, 5, 1, 2),
                Case("padding and stride", drawn_sizes(2, 2, 1, 1)),
            ],
        ),
        numeric(
            "dilation",
            2,
            "conv_output_size",
            ref.conv_output_size,
            [
                sizes_case("three weights that reach over five pixels", 11, 3, 1, 0, 2),
                sizes_case("a single weight, which dilation does not stretch", 6, 1, 1, 0, 3),
                Case("padding, stride and dilation", drawn_sizes(2, 1, 3, 1)),
            ],
        ),
        too_large,
    ),
    mistakes=(
        Mistake(
            name="rounded-up",
            advice="A window that sticks out does not count: round the division down.",
            replaces={"conv_output_size": sized(lambda n, k, s, p, d: -(-room(n, k, p, d) // s) + 1)},
        ),
        Mistake(
            name="padding-counted-once",
            advice="The padding stands on both sides, so it counts twice.",
            replaces={"conv_output_size": sized(lambda n, k, s, p, d: ref.conv_output_size(n + p, k, s, 0, d))},
        ),
        Mistake(
            name="first-window-not-counted",
            advice="The division counts the steps; the window at the start is one more.",
            replaces={"conv_output_size": sized(lambda n, k, s, p, d: ref.conv_output_size(n, k, s, p, d) - 1)},
        ),
        Mistake(
            name="one-added-before-dividing",
            advice="Divide the room by the stride first and add the one afterwards; the other order loses the last "
            "window.",
            replaces={"conv_output_size": sized(lambda n, k, s, p, d: (room(n, k, p, d) + 1) // s)},
        ),
        Mistake(
            name="dilation-ignored-in-size",
            advice="A dilated kernel reaches over dilation * (kernel - 1) + 1 pixels, not over kernel of them.",
            replaces={"conv_output_size": sized(lambda n, k, s, p, d: ref.conv_output_size(n, k, s, p))},
        ),
        Mistake(
            name="dilation-times-kernel",
            advice="Between k weights there are k - 1 gaps: the reach is dilation * (kernel - 1) + 1, not dilation * "
            "kernel.",
            replaces={"conv_output_size": sized(lambda n, k, s, p, d: ref.conv_output_size(n, d * k, s, p))},
        ),
        Mistake(
            name="no-window-not-refused",
            advice="When the kernel is larger than the padded image there is no window: raise a ValueError instead of "
            "returning a number.",
            replaces={
                "conv_output_size": sized(lambda n, k, s, p, d: (n + 2 * p - d * (k - 1) - 1) // s + 1),
            },
            variants=(
                {"conv_output_size": sized(lambda n, k, s, p, d: max((n + 2 * p - d * (k - 1) - 1) // s + 1, 0))},
            ),
        ),
    ),
)

# --- padding ---------------------------------------------------------------------------------------------------------


def pad(x: Any, padding: int) -> Array:
    return padded_by(x, (padding, padding), (padding, padding))


def padded_by(x: Any, rows: tuple[int, int], columns: tuple[int, int], **how: Any) -> Array:
    x = floats(x)
    return np.pad(x, [(0, 0)] * (x.ndim - 2) + [rows, columns], **how)


PADDED = [
    Case("a batch of images of 4 by 3 pixels", lambda rng: (rng.normal(size=(2, 3, 4, 3)), 2)),
    Case("a frame of one", lambda rng: (rng.normal(size=(1, 2, 2, 5)), 1)),
]

PAD = Exercise(
    name="pad_images",
    title="A frame of zeros",
    functions=("pad_images",),
    hints=(
        "Which axes of (B, C, H, W) get longer, and by how much?",
        "Make an array of zeros of the final size and lay the images in the middle, or tell np.pad how much to add "
        "before and after on each axis.",
        "For np.pad give one pair an axis: (0, 0) for every axis but the last two, (padding, padding) for those.",
    ),
    checks=(
        numeric("zeros on all four sides", 2, "pad_images", pad, PADDED),
        numeric(
            "single images, and no padding at all",
            2,
            "pad_images",
            pad,
            [
                Case("one image (C, H, W)", lambda rng: (rng.normal(size=(3, 2, 4)), 2)),
                Case("one channel (H, W), as a list", lambda rng: (rng.normal(size=(2, 3)).tolist(), 1)),
                Case("a padding of 0", lambda rng: (rng.normal(size=(2, 1, 3, 4)), 0)),
            ],
        ),
        unchanged(1, {"pad_images": lambda rng: (rng.normal(size=(1, 2, 3, 4)), 1)}),
    ),
    mistakes=(
        Mistake(
            name="padded-at-the-end-only",
            advice="The frame goes around the image: above and below, left and right.",
            replaces={"pad_images": lambda x, padding: padded_by(x, (0, padding), (0, padding))},
            variants=({"pad_images": lambda x, padding: padded_by(x, (padding, 0), (padding, 0))},),
        ),
        Mistake(
            name="channels-padded",
            advice="Only rows and columns get a frame; batch and channels keep their length.",
            replaces={"pad_images": lambda x, padding: np.pad(floats(x), padding)},
            variants=(
                {
                    "pad_images": lambda x, padding: np.pad(
                        floats(x), [(padding, padding) if axis else (0, 0) for axis in range(np.ndim(x))]
                    )
                },
            ),
        ),
        Mistake(
            name="rows-only-padded",
            advice="Rows and columns both get a frame; yours widens one direction only.",
            replaces={"pad_images": lambda x, padding: padded_by(x, (padding, padding), (0, 0))},
            variants=({"pad_images": lambda x, padding: padded_by(x, (0, 0), (padding, padding))},),
        ),
        Mistake(
            name="edge-repeated",
            advice="The frame is made of zeros; yours repeats pixels of the image.",
            replaces={"pad_images": lambda x, padding: padded_by(x, (padding,) * 2, (padding,) * 2, mode="edge")},
            variants=(
                {"pad_images": lambda x, padding: padded_by(x, (padding,) * 2, (padding,) * 2, mode="symmetric")},
            ),
        ),
    ),
)

# --- naive convolution -----------------------------------------------------------------------------------------------


def naive(image: Any, W: Any, b: Any, stride: int = 1, padding: int = 0, dilation: int = 1) -> Array:
    """The right convolution of one image."""
    return ref.conv2d_forward(floats(image)[None], W, b, stride, padding, dilation)[0][0]


def batched(x: Any, W: Any, b: Any, stride: int = 1, padding: int = 0, dilation: int = 1) -> Array:
    """The right convolution of a batch."""
    return ref.conv2d_forward(x, W, b, stride, padding, dilation)[0]


def close_windows(image: Any, W: Any, b: Any, stride: int = 1, padding: int = 0, dilation: int = 1) -> Array:
    right = naive(image, W, b, stride, padding, dilation)
    return naive(image, W, b, 1, padding, dilation)[:, : right.shape[1], : right.shape[2]]


def unspread_weights(image: Any, W: Any, b: Any, stride: int = 1, padding: int = 0, dilation: int = 1) -> Array:
    right = naive(image, W, b, stride, padding, dilation)
    return naive(image, W, b, stride, padding, 1)[:, : right.shape[1], : right.shape[2]]


def flipped(W: Any) -> Array:
    return floats(W)[:, :, ::-1, ::-1]


NAIVE = Exercise(
    name="conv2d_naive",
    title="Convolution as loops",
    functions=("conv2d_naive",),
    hints=(
        "Work out one number of the output by hand first: which pixels of which channels does it see?",
        "Pad, find Ho and Wo, loop over filters, rows and columns. At (i, j) the window begins at row i * stride, "
        "column "
        "j * stride, and holds all channels. Multiply it with the filter, entry by entry, and sum everything.",
        "A slice padded[:, i*s : i*s + d*(kH-1) + 1 : d, ...] takes every d-th pixel. The sum of W[f] * window over "
        "all three "
        "axes, plus b[f] once, is out[f, i, j].",
    ),
    checks=(
        numeric(
            "every filter sees all channels, and has one bias",
            4,
            "conv2d_naive",
            naive,
            [
                Case("kernel and image not square", layer((3, 5, 6), 4, (2, 3))),
                Case("square kernel and image", layer((2, 5, 5), 3, (3, 3))),
            ],
        ),
        numeric(
            "a stride",
            3,
            "conv2d_naive",
            naive,
            [
                Case("stride 2, with a column left over", layer((2, 5, 6), 3, (3, 3), 2)),
                Case("a stride longer than the kernel", layer((1, 7, 8), 2, (2, 1), 3)),
            ],
        ),
        numeric(
            "padding",
            2,
            "conv2d_naive",
            naive,
            [
                Case("padding that keeps the size", layer((2, 4, 3), 3, (3, 3), 1, 1)),
                Case("padding and stride", layer((2, 5, 4), 2, (3, 2), 2, 2)),
            ],
        ),
        numeric(
            "dilation",
            2,
            "conv2d_naive",
            naive,
            [
                Case("weights two pixels apart", layer((2, 7, 6), 3, (3, 2), 1, 0, 2)),
                Case("dilation together with stride and padding", layer((2, 7, 8), 3, (2, 3), 2, 1, 3)),
            ],
        ),
        numeric(
            "smallest and largest kernels, lists, float32",
            2,
            "conv2d_naive",
            naive,
            [
                Case("a kernel of one pixel", layer((4, 2, 3), 2, (1, 1))),
                Case("a kernel as large as the image", layer((2, 3, 4), 5, (3, 4))),
                Case(
                    "plain lists",
                    lambda rng: tuple(a.tolist() for a in layer((2, 3, 3), 2, (2, 2))(rng)),
                ),
                Case(
                    "float32 arrays",
                    lambda rng: tuple(a.astype(np.float32) for a in layer((2, 3, 4), 2, (2, 2))(rng)),
                ),
            ],
        ),
        unchanged(1, {"conv2d_naive": layer((2, 3, 4), 2, (2, 2), 1, 1)}),
    ),
    mistakes=(
        Mistake(
            name="kernel-flipped",
            advice="Lay the kernel on the image as it is: deep learning's convolution is a cross-correlation, "
            "and nothing is flipped.",
            replaces={"conv2d_naive": lambda image, W, b, *sizes: naive(image, flipped(W), b, *sizes)},
        ),
        Mistake(
            name="first-channel-only",
            advice="A filter has weights for every channel, and its output sums over all of them.",
            replaces={
                "conv2d_naive": lambda image, W, b, *sizes: naive(floats(image)[:1], floats(W)[:, :1], b, *sizes)
            },
        ),
        Mistake(
            name="bias-forgotten",
            advice="Every filter adds its bias to each of its outputs; yours leaves it out.",
            replaces={"conv2d_naive": lambda image, W, b, *sizes: naive(image, W, 0 * floats(b), *sizes)},
        ),
        Mistake(
            name="bias-for-each-channel",
            advice="A filter has one bias: add it once, after the sum over the channels, not once for each channel.",
            replaces={"conv2d_naive": lambda image, W, b, *sizes: naive(image, W, len(image) * floats(b), *sizes)},
        ),
        Mistake(
            name="window-average",
            advice="The products of a window are summed, not averaged: the weights decide how much each counts.",
            replaces={
                "conv2d_naive": lambda image, W, b, *sizes: naive(image, floats(W) / floats(W[0]).size, b, *sizes)
            },
        ),
        Mistake(
            name="stride-ignored",
            advice="Window (i, j) begins at row i * stride and column j * stride; yours moves on by one pixel only.",
            replaces={"conv2d_naive": close_windows},
            variants=(
                {
                    "conv2d_naive": lambda image, W, b, stride=1, padding=0, dilation=1: naive(
                        image, W, b, 1, padding, dilation
                    )
                },
            ),
        ),
        Mistake(
            name="padding-ignored",
            advice="The padding has no effect in yours: put the frame of zeros around the image first.",
            replaces={
                "conv2d_naive": lambda image, W, b, stride=1, padding=0, dilation=1: naive(
                    image, W, b, stride, 0, dilation
                )
            },
        ),
        Mistake(
            name="dilation-ignored",
            advice="With dilation d neighbouring weights look at pixels that are d apart; yours look at neighbours.",
            replaces={"conv2d_naive": unspread_weights},
            variants=(
                {
                    "conv2d_naive": lambda image, W, b, stride=1, padding=0, dilation=1: naive(
                        image, W, b, stride, padding
                    )
                },
            ),
        ),
    ),
)

# --- im2col ----------------------------------------------------------------------------------------------------------


def columns(x: Any, kernel_h: int, kernel_w: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Array:
    return ref.im2col(x, (kernel_h, kernel_w), stride, padding, dilation)


def six_axes(x: Any, kernel_h: int, kernel_w: int, *sizes: int) -> Array:
    """The rows of im2col as (B, Ho, Wo, C, kH, kW)."""
    view = ref.windows(x, ref.geometry((kernel_h, kernel_w), *sizes))
    return view.transpose(0, 2, 3, 1, 4, 5)


def reordered(*axes: int) -> Callable[..., Array]:
    """An im2col whose six axes (B, Ho, Wo, C, kH, kW) stand in another order; the first three are the rows."""

    def im2col(x: Any, kernel_h: int, kernel_w: int, *sizes: int) -> Array:
        ordered = six_axes(x, kernel_h, kernel_w, *sizes).transpose(axes)
        return ordered.reshape(int(np.prod(ordered.shape[:3])), -1)

    return im2col


def columns_close(x: Any, kernel_h: int, kernel_w: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Array:
    right = six_axes(x, kernel_h, kernel_w, stride, padding, dilation)
    close = six_axes(x, kernel_h, kernel_w, 1, padding, dilation)[:, : right.shape[1], : right.shape[2]]
    return close.reshape(-1, int(np.prod(right.shape[3:])))


def columns_unspread(
    x: Any, kernel_h: int, kernel_w: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Array:
    right = six_axes(x, kernel_h, kernel_w, stride, padding, dilation)
    dense = six_axes(x, kernel_h, kernel_w, stride, padding)[:, : right.shape[1], : right.shape[2]]
    return dense.reshape(-1, int(np.prod(right.shape[3:])))


def images(shape: tuple[int, ...], *sizes: int) -> Draw:
    """Draws images of this shape, followed by kernel sizes, stride, padding and dilation."""
    return lambda rng: (rng.normal(size=shape), *sizes)


IM2COL = Exercise(
    name="im2col",
    title="Every window a row",
    functions=("im2col",),
    hints=(
        "Write out the rows for one image of two channels and 2 by 3 pixels with a 2 by 2 kernel, by hand.",
        "Fill an array with the axes (B, Ho, Wo, C, kH, kW) first, which keeps everything apart, and reshape it to a "
        "matrix "
        "at the very end. The order of these axes is the order that is asked for.",
        "For kernel cell (u, v), all windows together see padded[:, :, u*d :: stride, v*d :: stride], cut to Ho rows "
        "and "
        "Wo columns: (B, C, Ho, Wo). With its channels moved to the end it fills [:, :, :, :, u, v].",
    ),
    checks=(
        numeric(
            "one image of one channel",
            3,
            "im2col",
            columns,
            [
                Case("kernel and image not square", images((1, 1, 4, 5), 2, 3)),
                Case("a kernel as large as the image", images((1, 1, 3, 2), 3, 2)),
            ],
        ),
        numeric(
            "image by image in the rows, channel by channel in the columns",
            5,
            "im2col",
            columns,
            [
                Case("three images of two channels", images((3, 2, 4, 3), 2, 2)),
                Case("as many images as channels, a kernel not square", images((2, 2, 3, 4), 3, 2)),
                Case("a kernel of one pixel", images((2, 3, 2, 3), 1, 1)),
            ],
        ),
        numeric(
            "stride and padding",
            4,
            "im2col",
            columns,
            [
                Case("stride 2, a row and a column left over", images((2, 3, 6, 4), 3, 3, 2)),
                Case("padding", images((2, 2, 3, 4), 2, 3, 1, 2)),
                Case("stride and padding", images((2, 3, 5, 6), 2, 3, 2, 1)),
            ],
        ),
        numeric(
            "dilation",
            2,
            "im2col",
            columns,
            [
                Case("weights two pixels apart", images((2, 3, 7, 6), 3, 2, 1, 0, 2)),
                Case("dilation together with stride and padding", images((1, 2, 7, 8), 2, 3, 2, 1, 3)),
            ],
        ),
        numeric(
            "lists are accepted",
            1,
            "im2col",
            columns,
            [Case("plain lists", lambda rng: (rng.normal(size=(1, 2, 3, 3)).tolist(), 2, 2))],
        ),
        unchanged(1, {"im2col": images((1, 2, 3, 4), 2, 2, 1, 1)}),
    ),
    mistakes=(
        Mistake(
            name="channels-last-in-a-row",
            advice="In a row come all pixels of channel 0, then all of channel 1, as W.reshape(F, -1) has them; yours "
            "takes the channels pixel by pixel.",
            replaces={"im2col": reordered(0, 1, 2, 4, 5, 3)},
        ),
        Mistake(
            name="window-read-by-columns",
            advice="A window is read row by row; yours is read column by column.",
            replaces={"im2col": reordered(0, 1, 2, 3, 5, 4)},
        ),
        Mistake(
            name="positions-before-images",
            advice="All windows of image 0 come first, then those of image 1; yours changes the image with every row.",
            replaces={"im2col": reordered(1, 2, 0, 3, 4, 5)},
        ),
        Mistake(
            name="windows-down-before-across",
            advice="The windows go from left to right first and then down; yours go down first.",
            replaces={"im2col": reordered(0, 2, 1, 3, 4, 5)},
        ),
        Mistake(
            name="im2col-transposed",
            advice="Every window is a row; in yours it is a column.",
            replaces={"im2col": lambda *args: columns(*args).T},
        ),
        Mistake(
            name="im2col-stride-ignored",
            advice="Neighbouring windows are `stride` pixels apart; yours are one pixel apart.",
            replaces={"im2col": columns_close},
            variants=({"im2col": lambda x, kh, kw, s=1, p=0, d=1: columns(x, kh, kw, 1, p, d)},),
        ),
        Mistake(
            name="im2col-padding-ignored",
            advice="The windows walk over the padded images; yours leave out the frame of zeros.",
            replaces={"im2col": lambda x, kh, kw, s=1, p=0, d=1: columns(x, kh, kw, s, 0, d)},
        ),
        Mistake(
            name="im2col-dilation-ignored",
            advice="With dilation d the pixels of a window are d apart; yours are neighbours.",
            replaces={"im2col": columns_unspread},
            variants=({"im2col": lambda x, kh, kw, s=1, p=0, d=1: columns(x, kh, kw, s, p)},),
        ),
    ),
)

# --- convolution of a batch ------------------------------------------------------------------------------------------


def forward_with(change: Callable[[Array, Array], Array]) -> Callable[..., Any]:
    """A forward pass whose products, (B Ho Wo, F), become the output by `change(products, right output)`."""

    def conv2d_forward(x: Any, W: Any, b: Any, *sizes: int) -> Any:
        right, cache = ref.conv2d_forward(x, W, b, *sizes)
        return change(right.transpose(0, 2, 3, 1).reshape(-1, right.shape[1]), right), cache

    return conv2d_forward


def weights_read(read: Callable[[Array], Array], bias: float = 1.0) -> Callable[..., Any]:
    """A forward pass with other weights; `read` keeps their shape."""
    return lambda x, W, b, *sizes: ref.conv2d_forward(x, read(floats(W)), bias * floats(b), *sizes)


def bias_on_columns(x: Any, W: Any, b: Any, *sizes: int) -> Any:
    out, cache = ref.conv2d_forward(x, W, None, *sizes)
    return out + floats(b), cache


def cells_before_channels(W: Array) -> Array:
    return W.transpose(0, 2, 3, 1).reshape(W.shape)


def filters_on_columns(W: Array) -> Array:
    return W.reshape(-1, len(W)).T.reshape(W.shape)


FORWARD = Exercise(
    name="conv2d_forward",
    title="A batch as one matrix product",
    functions=("conv2d_forward",),
    hints=(
        "How many rows and columns does im2col(x, ...) @ W.reshape(F, -1).T have, and what does each entry mean?",
        "Its rows are windows, image by image; its columns are filters. Give the rows back their axes (B, Ho, Wo), "
        "and only then move the filters to their place.",
        "products.reshape(B, Ho, Wo, F).transpose(0, 3, 1, 2). Keep in the cache the matrix from im2col, the weights, "
        "the shape of x, and stride, padding and dilation.",
    ),
    checks=(
        numeric(
            "several images, channels and filters",
            5,
            "conv2d_forward",
            ref.conv2d_forward,
            [
                Case("as many filters as columns in the answer", layer((2, 2, 4, 5), 3, (2, 3))),
                Case("square everything", layer((3, 2, 4, 4), 3, (2, 2))),
                Case("kernel and image not square", layer((2, 3, 5, 4), 5, (3, 2))),
            ],
            pick=0,
            result="out",
            keep=(1,),
        ),
        numeric(
            "stride, padding and dilation",
            4,
            "conv2d_forward",
            ref.conv2d_forward,
            [
                Case("stride 2 and a kernel not square", layer((2, 3, 6, 7), 4, (3, 2), 2)),
                Case("padding that keeps the size", layer((2, 2, 3, 4), 3, (3, 3), 1, 1)),
                Case("stride, padding and dilation", layer((2, 2, 7, 6), 3, (2, 3), 2, 2, 2)),
            ],
            pick=0,
            result="out",
            keep=(1,),
        ),
        numeric(
            "one image, one filter, one pixel",
            2,
            "conv2d_forward",
            ref.conv2d_forward,
            [
                Case("a batch of one, one filter", layer((1, 3, 4, 3), 1, (2, 2))),
                Case("a kernel of one pixel", layer((2, 3, 2, 3), 4, (1, 1))),
                Case("a kernel as large as the image", layer((3, 2, 3, 4), 4, (3, 4))),
            ],
            pick=0,
            result="out",
            keep=(1,),
        ),
        numeric(
            "lists and float32 are accepted",
            1,
            "conv2d_forward",
            ref.conv2d_forward,
            [
                Case("plain lists", lambda rng: tuple(a.tolist() for a in layer((1, 2, 3, 4), 2, (2, 2))(rng))),
                Case(
                    "float32 arrays",
                    lambda rng: tuple(a.astype(np.float32) for a in layer((1, 2, 3, 4), 2, (2, 2))(rng)),
                ),
            ],
            pick=0,
            result="out",
            keep=(1,),
        ),
        unchanged(1, {"conv2d_forward": layer((1, 2, 3, 4), 2, (2, 2), 1, 1)}, keep=(1,)),
    ),
    mistakes=(
        Mistake(
            name="reshaped-without-transpose",
            advice="The filters are the last axis of the product: reshape to (B, Ho, Wo, F), then transpose to (B, F, "
            "Ho, Wo). A direct reshape puts every number in the wrong place.",
            replaces={"conv2d_forward": forward_with(lambda products, right: products.reshape(right.shape))},
        ),
        Mistake(
            name="filters-before-batch",
            advice="The batch is the first axis of the answer, (B, F, Ho, Wo); in yours the filters are.",
            replaces={"conv2d_forward": forward_with(lambda products, right: right.swapaxes(0, 1))},
        ),
        Mistake(
            name="filters-left-last",
            advice="The answer is (B, F, Ho, Wo); yours still has the filters on the last axis.",
            replaces={"conv2d_forward": forward_with(lambda products, right: right.transpose(0, 2, 3, 1))},
        ),
        Mistake(
            name="bias-along-columns",
            advice="There is one bias for each filter, the same at every pixel; (B, F, Ho, Wo) + b adds it along the "
            "columns.",
            replaces={"conv2d_forward": bias_on_columns},
        ),
        Mistake(
            name="forward-bias-forgotten",
            advice="Every filter adds its bias to each of its outputs; yours leaves it out.",
            replaces={"conv2d_forward": weights_read(lambda W: W, bias=0.0)},
        ),
        Mistake(
            name="weights-in-another-order",
            advice="A row of im2col has channel after channel, and so has W.reshape(F, -1); yours takes the weights "
            "pixel by pixel.",
            replaces={"conv2d_forward": weights_read(cells_before_channels)},
        ),
        Mistake(
            name="weights-reshaped-to-columns",
            advice="W.reshape(-1, F) does not put one filter in each column, it mixes them: write W.reshape(F, -1).T.",
            replaces={"conv2d_forward": weights_read(filters_on_columns)},
        ),
        Mistake(
            name="forward-kernel-flipped",
            advice="Use the kernel as it is: deep learning's convolution is a cross-correlation, and nothing is "
            "flipped.",
            replaces={"conv2d_forward": weights_read(flipped)},
        ),
    ),
)

# --- col2im ----------------------------------------------------------------------------------------------------------


def back(
    cols: Any,
    image_shape: tuple[int, ...],
    kernel_h: int,
    kernel_w: int,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
) -> Array:
    batch, channels, height, width = image_shape
    return ref.col2im(cols, (batch, channels, height, width), (kernel_h, kernel_w), stride, padding, dilation)


def assigned(
    cols: Any, image_shape: tuple[int, ...], kh: int, kw: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Array:
    """The last weight to see a pixel wins, kernel cell by kernel cell."""
    return written(cols, image_shape, kh, kw, stride, padding, dilation, cells_first=True)


def assigned_by_window(
    cols: Any, image_shape: tuple[int, ...], kh: int, kw: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Array:
    """The last window to see a pixel wins."""
    return written(cols, image_shape, kh, kw, stride, padding, dilation, cells_first=False)


def written(
    cols: Any, image_shape: tuple[int, ...], kh: int, kw: int, s: int, p: int, d: int, *, cells_first: bool
) -> Array:
    batch, channels, height, width = image_shape
    out_h, out_w = ref.geometry((kh, kw), s, p, d).output_size(height, width)
    six = floats(cols).reshape(batch, out_h, out_w, channels, kh, kw)
    padded = np.zeros((batch, channels, height + 2 * p, width + 2 * p))
    places = [(u, v, i, j) for u in range(kh) for v in range(kw) for i in range(out_h) for j in range(out_w)]
    for u, v, i, j in places if cells_first else sorted(places, key=lambda place: place[2:] + place[:2]):
        padded[:, :, i * s + u * d, j * s + v * d] = six[:, i, j, :, u, v]
    return padded[:, :, p : p + height, p : p + width]


def averaged(cols: Any, image_shape: tuple[int, ...], *sizes: int) -> Array:
    return back(cols, image_shape, *sizes) / np.maximum(back(np.ones_like(floats(cols)), image_shape, *sizes), 1)


def uncropped(
    cols: Any, image_shape: tuple[int, ...], kh: int, kw: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Array:
    batch, channels, height, width = image_shape
    return back(cols, (batch, channels, height + 2 * padding, width + 2 * padding), kh, kw, stride, 0, dilation)


def cropped_at_the_end(
    cols: Any, image_shape: tuple[int, ...], kh: int, kw: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Array:
    whole = uncropped(cols, image_shape, kh, kw, stride, padding, dilation)
    return whole[:, :, : image_shape[2], : image_shape[3]]


def read_as(reshape: Callable[[Array, tuple[int, ...]], Array]) -> Callable[..., Array]:
    """A col2im that misreads its matrix: `reshape(cols, six axes)` gives (B, Ho, Wo, C, kH, kW)."""

    def col2im(cols: Any, image_shape: tuple[int, ...], kh: int, kw: int, *sizes: int) -> Array:
        batch, channels, height, width = image_shape
        out = ref.geometry((kh, kw), *sizes).output_size(height, width)
        six = reshape(floats(cols), (batch, *out, channels, kh, kw))
        return back(six.reshape(np.shape(cols)), image_shape, kh, kw, *sizes)

    return col2im


def read_pixels_first(cols: Array, six: tuple[int, ...]) -> Array:
    batch, out_h, out_w, channels, kh, kw = six
    return cols.reshape(batch, out_h, out_w, kh, kw, channels).transpose(0, 1, 2, 5, 3, 4)


def read_positions_first(cols: Array, six: tuple[int, ...]) -> Array:
    batch, out_h, out_w, channels, kh, kw = six
    return cols.reshape(out_h, out_w, batch, channels, kh, kw).transpose(2, 0, 1, 3, 4, 5)


def windows_of(shape: tuple[int, int, int, int], *sizes: int) -> Draw:
    """Draws numbers for all windows of images of this shape; `sizes` are kernel, stride, padding, dilation."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        rows, cells = columns(np.zeros(shape), *sizes).shape
        return rng.normal(size=(rows, cells)), shape, *sizes

    return draw


def converted(draw: Draw, form: Callable[[Array], Any]) -> Draw:
    """The same with the first argument in another form."""

    def drawn(rng: Rng) -> tuple[Any, ...]:
        first, *more = draw(rng)
        return form(first), *more

    return drawn


@prop("it is the transpose of im2col", 2, "im2col", "col2im")
def adjoint(student: Any, rng: Rng) -> None:
    for reason, shape, sizes in (
        ("overlapping windows", (2, 3, 4, 5), (2, 3)),
        ("stride, padding and dilation", (2, 2, 6, 5), (3, 2, 2, 1, 2)),
    ):
        with case_of(reason):
            x, (cols, _, *_) = rng.normal(size=shape), windows_of(shape, *sizes)(rng)
            forth = numbers(student.im2col(x, *sizes), cols.shape, "im2col(x, ...)")
            there = numbers(student.col2im(cols, shape, *sizes), shape, "col2im(cols, ...)")
            one, other = float(np.sum(forth * cols)), float(np.sum(x * there))
            below(
                abs(one - other),
                1e-9 * max(1.0, float(np.abs(forth * cols).sum())),
                "summed entry by entry, im2col(x) * cols and x * col2im(cols) must be the same number, for every "
                "product of a pixel with an entry of cols occurs in both.",
                f"The sums are {one:.10g} and {other:.10g}.",
            )


COL2IM = Exercise(
    name="col2im",
    title="From windows back to images, by addition",
    functions=("col2im",),
    hints=(
        "A pixel in the middle of an image is seen by many windows. What should become of all their numbers?",
        "Start with zeros of the padded size. Go through the kernel cells as in im2col, and add what each cell saw to "
        "the very "
        "slice that im2col read. At the end cut off the frame.",
        "Reshape cols to (B, Ho, Wo, C, kH, kW). For cell (u, v) add cols[..., u, v], with its channels moved behind "
        "the batch, to padded[:, :, u*d : u*d + stride*Ho : stride, ...] with +=. Return the part inside the padding.",
    ),
    checks=(
        numeric(
            "windows side by side: every pixel gets its own number",
            2,
            "col2im",
            back,
            [
                Case("stride as long as the kernel", windows_of((2, 3, 4, 6), 2, 2, 2)),
                Case("a stride longer than the kernel: some pixels get 0", windows_of((2, 1, 5, 7), 2, 2, 3)),
            ],
        ),
        numeric(
            "overlapping windows add up",
            4,
            "col2im",
            back,
            [
                Case("a kernel not square", windows_of((2, 3, 4, 5), 2, 3)),
                Case("as many images as channels", windows_of((2, 2, 4, 4), 2, 2)),
                Case("a single image of one channel", windows_of((1, 1, 4, 3), 3, 2)),
            ],
        ),
        numeric(
            "what falls on the padding is dropped",
            2,
            "col2im",
            back,
            [
                Case("padding", windows_of((2, 2, 3, 4), 3, 3, 1, 1)),
                Case("padding and stride", windows_of((1, 3, 5, 4), 3, 2, 2, 2)),
            ],
        ),
        numeric(
            "stride with pixels left over, and dilation",
            2,
            "col2im",
            back,
            [
                Case("a row and a column that no window sees", windows_of((2, 2, 6, 4), 3, 3, 2)),
                Case("dilation", windows_of((2, 3, 6, 7), 2, 3, 1, 0, 2)),
            ],
        ),
        numeric(
            "lists and float32 are accepted",
            1,
            "col2im",
            back,
            [
                Case("a plain list", converted(windows_of((1, 2, 3, 4), 2, 2), lambda cols: cols.tolist())),
                Case(
                    "a float32 array", converted(windows_of((1, 2, 3, 4), 2, 2), lambda cols: cols.astype(np.float32))
                ),
            ],
        ),
        adjoint,
        unchanged(1, {"col2im": windows_of((1, 2, 3, 4), 2, 2)}),
    ),
    mistakes=(
        Mistake(
            name="overwritten-not-added",
            advice="A pixel that several windows saw collects all their numbers: add with +=, where you assign with =.",
            replaces={"col2im": assigned},
            variants=({"col2im": assigned_by_window},),
        ),
        Mistake(
            name="overlaps-averaged",
            advice="The numbers that meet at a pixel are added, not averaged: col2im does not undo im2col.",
            replaces={"col2im": averaged},
        ),
        Mistake(
            name="padding-left-on",
            advice="The gradient of the frame of zeros belongs to nobody: cut it off, so that (B, C, H, W) comes back.",
            replaces={"col2im": uncropped},
        ),
        Mistake(
            name="padding-cut-off-at-the-end",
            advice="The frame is cut off on all four sides; yours cuts twice as much at the end and nothing at the "
            "start.",
            replaces={"col2im": cropped_at_the_end},
        ),
        Mistake(
            name="col2im-channels-last",
            advice="A row has channel after channel: reshape its columns to (C, kH, kW), not to (kH, kW, C).",
            replaces={"col2im": read_as(read_pixels_first)},
        ),
        Mistake(
            name="col2im-positions-first",
            advice="The rows come image by image: reshape them to (B, Ho, Wo), not to (Ho, Wo, B).",
            replaces={"col2im": read_as(read_positions_first)},
        ),
    ),
)

# --- backward --------------------------------------------------------------------------------------------------------

Gradients = tuple[Array, Array, Array]


def backward_with(change: Callable[[Array, ref.ConvCache, Gradients], Any]) -> dict[str, Callable[..., Any]]:
    """A pair of forward and backward whose right gradients are changed: `change(dout, cache, (dx, dW, db))`."""

    def conv2d_backward(dout: Any, cache: Any) -> Any:
        return change(floats(dout), cache, ref.conv2d_backward(dout, cache))

    def conv2d_forward(x: Any, W: Any, b: Any, *sizes: int) -> Any:
        return ref.conv2d_forward(x, W, b, *sizes)

    return {"conv2d_forward": conv2d_forward, "conv2d_backward": conv2d_backward}


def dx_by(col2im: Callable[..., Array]) -> dict[str, Callable[..., Any]]:
    """The right backward with another col2im."""

    def change(dout: Array, cache: ref.ConvCache, right: Gradients) -> Any:
        filters = len(cache.w)
        dcols = dout.transpose(0, 2, 3, 1).reshape(-1, filters) @ cache.w.reshape(filters, -1)
        walk = cache.walk
        return col2im(
            dcols, cache.image_shape, *walk.kernel, walk.stride[0], walk.padding[0], walk.dilation[0]
        ), *right[1:]

    return backward_with(change)


def dx_with_other_weights(read: Callable[[Array], Array]) -> dict[str, Callable[..., Any]]:
    def change(dout: Array, cache: ref.ConvCache, right: Gradients) -> Any:
        return ref.conv2d_backward(dout, cache._replace(w=read(cache.w)))[0], *right[1:]

    return backward_with(change)


def dout_not_transposed(dout: Array, cache: ref.ConvCache, right: Gradients) -> Any:
    batch, filters, out_h, out_w = dout.shape
    misread = dout.reshape(batch, out_h, out_w, filters).transpose(0, 3, 1, 2)
    dx, dW, _ = ref.conv2d_backward(misread, cache)
    return dx, dW, right[2]


def dout_filters_first(dout: Array, cache: ref.ConvCache, right: Gradients) -> Any:
    """dout reshaped to (F, B Ho Wo) at once, which mixes filters and images."""
    batch, filters, out_h, out_w = dout.shape
    dx, dW, _ = ref.conv2d_backward(dout.reshape(filters, batch, out_h, out_w).transpose(1, 0, 2, 3), cache)
    return dx, dW, right[2]


def drawn_layer(draw: Draw, scale: float = 1.0, bias: float = 0.0) -> Callable[[Rng], dict[str, Any]]:
    def inputs(rng: Rng) -> dict[str, Any]:
        x, W, b, *sizes = draw(rng)
        b = b + bias
        dout = scale * rng.normal(size=batched(x, W, b, *sizes).shape)
        return {"x": x, "W": W, "b": b, "sizes": sizes, "dout": dout}

    return inputs


def passed(student: Any, inputs: dict[str, Any]) -> Any:
    """(out, cache) of the student's forward, the cache kept."""
    arguments = (inputs["x"], inputs["W"], inputs["b"], *inputs["sizes"])
    return items(student.call("conv2d_forward", *arguments, keep=(1,)), ("out", "cache"))


def student_gradients(student: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    _, cache = passed(student, inputs)
    answer = items(student.conv2d_backward(inputs["dout"], cache), ("dx", "dW", "db"))
    return dict(zip(("x", "W", "b"), answer, strict=True))


def right_gradients(inputs: dict[str, Any]) -> dict[str, Any]:
    _, cache = ref.conv2d_forward(inputs["x"], inputs["W"], inputs["b"], *inputs["sizes"])
    return dict(zip(("x", "W", "b"), ref.conv2d_backward(inputs["dout"], cache), strict=True))


def backward_check(name: str, points: int, wanted: str, cases: list[tuple[str, Any]]) -> Check:
    return gradient(
        name,
        points,
        ("conv2d_forward", "conv2d_backward"),
        [GradientCase(reason, draw) for reason, draw in cases],
        value=lambda student, inputs: passed(student, inputs)[0],
        grads=student_gradients,
        reference=lambda inputs: {key: grad for key, grad in right_gradients(inputs).items() if key in wanted},
    )


BACKWARD_CASES = [
    ("as many filters as images, channels and columns", drawn_layer(layer((3, 3, 4, 5), 3, (2, 3)))),
    ("kernel and image not square", drawn_layer(layer((2, 3, 4, 5), 4, (3, 2)))),
    ("a batch of one, one filter", drawn_layer(layer((1, 2, 3, 4), 1, (2, 2)))),
]
WALKED_CASES = [
    ("stride 2, a row and a column left over", drawn_layer(layer((2, 2, 6, 6), 3, (3, 3), 2))),
    ("padding", drawn_layer(layer((2, 2, 3, 4), 3, (3, 2), 1, 1))),
    ("stride, padding and dilation", drawn_layer(layer((2, 3, 6, 5), 2, (3, 2), 2, 2, 2))),
]


@prop("two passes have two caches, dout stays as it is, a list will do", 1, "conv2d_forward", "conv2d_backward")
def two_caches(student: Any, rng: Rng) -> None:
    first, second = (drawn_layer(layer((2, 2, 3, 4), 3, (2, 2)))(rng) for _ in range(2))
    _, cache = passed(student, first)
    passed(student, second)
    for turn, dout in (
        ("the first cache, after another forward pass", first["dout"]),
        ("a cache that was used before", first["dout"]),
        ("dout given as a list", first["dout"].tolist()),
    ):
        with case_of(turn):
            answer = items(student.conv2d_backward(dout, cache), ("dx", "dW", "db"))
            holds(0 not in student.changed, "`conv2d_backward` modified its argument `dout` in place; work on a copy.")
            for key, got in zip(("x", "W", "b"), answer, strict=True):
                same(got, right_gradients(first)[key], f"the gradient of {key}")


BACKWARD = Exercise(
    name="conv2d_backward",
    title="Backward through a convolution",
    functions=("conv2d_forward", "conv2d_backward"),
    hints=(
        "Forward was a matrix product with a bias. What are the gradients of A @ B.T + b with respect to A, B and b?",
        "Lay out dout like the product it came from: windows as rows, filters as columns. Then dW is a product with "
        "the "
        "matrix from im2col, and the gradient of that matrix is a product with the weights. col2im brings it to x.",
        "With G = dout.transpose(0, 2, 3, 1).reshape(-1, F): dW is G.T @ cols in the shape of W, dx is col2im of "
        "G @ W.reshape(F, -1), and db sums dout over the axes 0, 2 and 3.",
    ),
    checks=(
        backward_check("gradient of the biases", 2, "b", BACKWARD_CASES),
        backward_check("gradient of the weights", 4, "W", BACKWARD_CASES),
        backward_check("gradient of the images", 4, "x", BACKWARD_CASES),
        backward_check("all three with stride, padding and dilation", 4, "xWb", WALKED_CASES),
        backward_check(
            "gradients are computed, not approximated",
            1,
            "xWb",
            [
                ("biases of a hundred million", drawn_layer(layer((1, 2, 3, 3), 2, (2, 2)), bias=1e8)),
                ("an upstream gradient in the millions", drawn_layer(layer((1, 2, 3, 3), 2, (2, 2)), scale=1e7)),
            ],
        ),
        two_caches,
    ),
    mistakes=(
        Mistake(
            name="db-over-batch-only",
            advice="A bias was added at every position: sum dout over rows and columns too, not over the batch only.",
            replaces=backward_with(lambda dout, cache, right: (*right[:2], dout.sum(axis=0))),
        ),
        Mistake(
            name="db-averaged-over-positions",
            advice="The gradient of a bias is the sum of dout over batch, rows and columns; yours takes a mean.",
            replaces=backward_with(lambda dout, cache, right: (*right[:2], dout.mean(axis=(0, 2, 3)))),
            variants=(backward_with(lambda dout, cache, right: (*right[:2], dout.mean(axis=(2, 3)).sum(axis=0))),),
        ),
        Mistake(
            name="dw-averaged-over-batch",
            advice="Whoever computed dout has divided by the batch already: the gradient of the weights is a sum over "
            "the images.",
            replaces=backward_with(lambda dout, cache, right: (right[0], right[1] / len(dout), right[2])),
            variants=(
                backward_with(lambda dout, cache, right: (right[0], right[1] / len(dout), right[2] / len(dout))),
            ),
        ),
        Mistake(
            name="dout-reshaped-without-transpose",
            advice="Move the filters of dout to the last axis before you make a matrix of it: a reshape alone mixes "
            "filters with positions.",
            replaces=backward_with(dout_not_transposed),
            variants=(backward_with(dout_filters_first),),
        ),
        Mistake(
            name="dx-overwritten-not-added",
            advice="A pixel acted through every window that saw it: their gradients add up, they do not replace one "
            "another.",
            replaces=dx_by(assigned),
            variants=(dx_by(assigned_by_window),),
        ),
        Mistake(
            name="dx-padding-left-on",
            advice="dx has the shape of x: cut off the gradient of the frame of zeros.",
            replaces=dx_by(uncropped),
        ),
        Mistake(
            name="dx-with-flipped-kernel",
            advice="Going back, each weight sends its share to the pixel that it saw. Col2im does all the turning "
            "there is: do not flip the kernel as well.",
            replaces=dx_with_other_weights(flipped),
        ),
        Mistake(
            name="dw-flipped",
            advice="dW[f, c, u, v] belongs to the weight (u, v) itself; yours is turned upside down.",
            replaces=backward_with(lambda dout, cache, right: (right[0], flipped(right[1]), right[2])),
        ),
        Mistake(
            name="dw-in-another-order",
            advice="The columns of the im2col matrix are (C, kH, kW): reshape the product to the shape of W, in this "
            "order.",
            replaces=backward_with(
                lambda dout, cache, right: (
                    right[0],
                    right[1].reshape(len(right[1]), *right[1].shape[2:], -1).transpose(0, 3, 1, 2),
                    right[2],
                )
            ),
        ),
    ),
)

# --- edges -----------------------------------------------------------------------------------------------------------

SOBEL = np.array([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])


def slopes(image: Any) -> Array:
    """(2, H - 2, W - 2): across and down."""
    return naive(floats(image)[None], np.stack([SOBEL, SOBEL.T])[:, None], np.zeros(2))


def strength(image: Any) -> Array:
    return np.sqrt(np.sum(slopes(image) ** 2, axis=0))


def step_image(rng: Rng) -> tuple[Array]:
    image = np.zeros((5, 7))
    image[:, 4:] = rng.uniform(1, 3)
    image[3:] -= rng.uniform(1, 3)
    return (image,)


EDGES = Exercise(
    name="edge_strength",
    title="Filters that see edges",
    functions=("edge_strength",),
    hints=(
        "What does SOBEL_X give where the image is flat, and what where it is dark on the left and bright on the "
        "right?",
        "Add the axis of channels to the image and to both kernels, and use one of your convolutions. Then combine the "
        "two answers, pixel by pixel.",
        "Stack both kernels to weights of shape (2, 1, 3, 3) with biases of zero. The answer is the root of the sum of "
        "the "
        "two squared channels.",
    ),
    checks=(
        numeric(
            "both directions together",
            2,
            "edge_strength",
            strength,
            [
                Case("an upright and a level edge", step_image),
                Case("any image", lambda rng: (rng.normal(size=(5, 4)),)),
                Case("a flat image, which has no edges", lambda rng: (np.full((4, 5), float(rng.integers(1, 9))),)),
            ],
        ),
        numeric(
            "lists are accepted",
            1,
            "edge_strength",
            strength,
            [Case("a plain list", lambda rng: (rng.normal(size=(6, 7)).tolist(),))],
        ),
        unchanged(1, {"edge_strength": lambda rng: (rng.normal(size=(4, 5)),)}),
    ),
    mistakes=(
        Mistake(
            name="one-direction-only",
            advice="An edge can run either way: combine the answers of both kernels.",
            replaces={"edge_strength": lambda image: np.abs(slopes(image)[0])},
            variants=({"edge_strength": lambda image: np.abs(slopes(image)[1])},),
        ),
        Mistake(
            name="slopes-added",
            advice="A rise to the right and a fall downwards must not cancel: square both before you add them.",
            replaces={"edge_strength": lambda image: slopes(image).sum(axis=0)},
            variants=({"edge_strength": lambda image: np.abs(slopes(image).sum(axis=0))},),
        ),
        Mistake(
            name="absolute-slopes-added",
            advice="The length of the arrow (gx, gy) is the root of the sum of squares, not the sum of the absolute "
            "values.",
            replaces={"edge_strength": lambda image: np.abs(slopes(image)).sum(axis=0)},
        ),
        Mistake(
            name="root-forgotten",
            advice="The strength is the length of the arrow: take the root of the sum of squares.",
            replaces={"edge_strength": lambda image: np.sum(slopes(image) ** 2, axis=0)},
        ),
        Mistake(
            name="edges-of-the-frame",
            advice="No padding here: with zeros around it the image seems to have edges all along its border.",
            replaces={"edge_strength": lambda image: strength(pad(image, 1))},
        ),
    ),
)

# --- equivariance ----------------------------------------------------------------------------------------------------

Layer = Callable[[Array], Array]


def inside(x: Array, margin: int) -> Array:
    return x[..., margin : x.shape[-2] - margin, margin : x.shape[-1] - margin]


def both_orders(layer: Layer, x: Any, down: int, right: int) -> tuple[Array, Array]:
    x = floats(x)
    return floats(layer(ref.translate(x, down, right))), ref.translate(layer(x), down, right)


def equivariance(layer: Layer, x: Any, down: int, right: int, margin: int) -> float:
    before, after = both_orders(layer, x, down, right)
    return float(np.abs(inside(before - after, margin)).max())


def measured_by(measure: Callable[[Array], Any]) -> Callable[..., float]:
    def equivariance_error(layer: Layer, x: Any, down: int, right: int, margin: int) -> float:
        before, after = both_orders(layer, x, down, right)
        return float(measure(inside(before - after, margin)))

    return equivariance_error


def against_unmoved(layer: Layer, x: Any, down: int, right: int, margin: int) -> float:
    before, _ = both_orders(layer, x, down, right)
    return float(np.abs(inside(before - floats(layer(floats(x))), margin)).max())


def moved_back(layer: Layer, x: Any, down: int, right: int, margin: int) -> float:
    before, _ = both_orders(layer, x, down, right)
    return float(np.abs(inside(before - ref.translate(layer(floats(x)), -down, -right), margin)).max())


def axes_swapped(layer: Layer, x: Any, down: int, right: int, margin: int) -> float:
    return equivariance(layer, x, right, down, margin)


def spotlight(rng: Rng, height: int, width: int) -> Layer:
    """A layer that treats every pixel differently, and so is not equivariant."""
    gain = rng.normal(size=(height, width))
    return lambda x: floats(x) * gain


@prop("a convolution moves along with its input", 2, "equivariance_error", alone=False)
def convolution_moves(student: Any, rng: Rng) -> None:
    W, b = rng.normal(size=(3, 2, 3, 3)), rng.normal(size=3)
    x = rng.normal(size=(2, 2, 8, 9))
    convolution = Callback(lambda images: batched(images, W, b, 1, 1), "layer")
    for down, right in ((1, 2), (-2, 1)):
        error = numbers(student.equivariance_error(convolution, x, down, right, 3), (), "the error")
        below(
            abs(float(error)),
            1e-9,
            "away from the border it makes no difference whether a convolution comes before or after the move, "
            "so the error should be 0.",
            f"Got {float(error):.3g} for a move by ({down}, {right}).",
        )
        holds(not student.changed, "`equivariance_error` modified the images that it was given.")


@prop("a layer that knows where it is does not", 4, "equivariance_error")
def spotlight_stays(student: Any, rng: Rng) -> None:
    x = rng.normal(size=(2, 3, 5, 6))
    gain = spotlight(rng, 5, 6)
    for reason, layer, down, right, margin in (
        ("a layer with a gain for each pixel, moved down", gain, 1, 0, 1),
        ("the same layer with the other sign", lambda images: -gain(images), 1, 0, 1),
        ("a move up and to the right, no margin", gain, -1, 2, 0),
        ("a move to the left, a margin of 2", gain, 0, -1, 2),
    ):
        with case_of(reason):
            error = student.equivariance_error(Callback(layer, "layer"), x, down, right, margin)
            same(error, equivariance(layer, x, down, right, margin), "the error")


EQUIVARIANCE = Exercise(
    name="equivariance_error",
    title="Move before the layer, or after it",
    functions=("equivariance_error",),
    hints=(
        "Two roads lead from the image to a moved answer. Which two calls of the layer do they need?",
        "On one road the image is moved and the layer sees the moved image; on the other the layer sees the original "
        "and its answer is moved. Subtract, cut off the border, and look for the worst pixel.",
        "The difference d of the two roads is (B, F, H, W); keep d[..., margin : H - margin, margin : W - margin] and "
        "return the maximum of its absolute values.",
    ),
    checks=(convolution_moves, spotlight_stays),
    mistakes=(
        Mistake(
            name="invariance-measured",
            advice="Equivariant means that the answer moves along: compare with the moved answer, not with the unmoved "
            "one. That would be invariance.",
            replaces={"equivariance_error": against_unmoved},
        ),
        Mistake(
            name="moved-the-other-way",
            advice="On both roads the move is the same, down and right; yours moves the answer back.",
            replaces={"equivariance_error": moved_back},
        ),
        Mistake(
            name="margin-ignored",
            advice="Near the border zeros come in, and any layer differs there: leave out the margin on all four "
            "sides.",
            replaces={
                "equivariance_error": lambda layer, x, down, right, margin: equivariance(layer, x, down, right, 0)
            },
        ),
        Mistake(
            name="difference-without-absolute-value",
            advice="The two roads can differ in either direction: take absolute values before the maximum.",
            replaces={"equivariance_error": measured_by(np.max)},
        ),
        Mistake(
            name="difference-averaged",
            advice="Report the worst pixel: a mean hides it among many good ones.",
            replaces={"equivariance_error": measured_by(lambda d: np.abs(d).mean())},
        ),
        Mistake(
            name="down-and-right-swapped",
            advice="`down` moves along the rows, the second axis from the end, and `right` along the columns; yours "
            "swaps them.",
            replaces={"equivariance_error": axes_swapped},
        ),
    ),
)

# --- parameter counts ------------------------------------------------------------------------------------------------


def counts_with(
    conv: Callable[..., int] | None = None, dense: Callable[..., int] | None = None
) -> Callable[..., tuple[int, int]]:
    """Counts with another formula; both get (C, H, W, F, kH, kW, Ho, Wo)."""

    def parameter_counts(
        image_shape: tuple[int, int, int], filters: int, kernel_h: int, kernel_w: int, stride: int = 1, padding: int = 0
    ) -> tuple[int, int]:
        channels, height, width = image_shape
        out = ref.geometry((kernel_h, kernel_w), stride, padding).output_size(height, width)
        all_sizes = (channels, height, width, filters, kernel_h, kernel_w, *out)
        right_conv = ref.conv_parameter_count(channels, filters, (kernel_h, kernel_w))
        right_dense = ref.dense_parameter_count(channels * height * width, filters * out[0] * out[1])
        return conv(*all_sizes) if conv else right_conv, dense(*all_sizes) if dense else right_dense

    return parameter_counts


def count_case(*sizes: int) -> Draw:
    """Draws an image's shape and filters; `sizes` are the kernel's, stride and padding."""
    return lambda rng: (
        (int(rng.integers(2, 6)), int(rng.integers(8, 20)), int(rng.integers(21, 30))),
        int(rng.integers(6, 20)),
        *sizes,
    )


COUNT_CASES = [
    Case("a kernel not square", count_case(3, 5)),
    Case("padding", count_case(3, 3, 1, 1)),
    Case("stride and padding", count_case(5, 4, 2, 2)),
]

COUNTS = Exercise(
    name="parameter_counts",
    title="What sharing weights saves",
    functions=("parameter_counts",),
    hints=(
        "Does a convolution learn more when the image is larger? Does a dense layer?",
        "A filter has a weight for each channel and kernel cell, and one bias. The dense layer has a weight for every "
        "pair "
        "of an input number and an output number, and a bias for each output number.",
        "conv = F * (C * kH * kW + 1). With conv_output_size for both directions the dense layer has F * Ho * Wo "
        "outputs, and each of them learns C * H * W + 1 numbers.",
    ),
    checks=(
        numeric(
            "the convolution's",
            2,
            "parameter_counts",
            counts_with(),
            COUNT_CASES,
            pick=0,
            result="the convolution's count",
        ),
        numeric(
            "the dense layer's", 2, "parameter_counts", counts_with(), COUNT_CASES, pick=1, result="the dense count"
        ),
    ),
    mistakes=(
        Mistake(
            name="biases-not-counted",
            advice="Every filter has a bias, and so has every output of a dense layer: they are learned too.",
            replaces={
                "parameter_counts": counts_with(
                    lambda c, h, w, f, kh, kw, oh, ow: f * c * kh * kw,
                    lambda c, h, w, f, kh, kw, oh, ow: c * h * w * f * oh * ow,
                )
            },
        ),
        Mistake(
            name="channels-not-counted",
            advice="A filter has weights for each channel of its input: multiply by the channels.",
            replaces={"parameter_counts": counts_with(lambda c, h, w, f, kh, kw, oh, ow: f * (kh * kw + 1))},
        ),
        Mistake(
            name="weights-counted-at-every-position",
            advice="The window uses the same weights wherever it stands: they are learned once, not once a position.",
            replaces={
                "parameter_counts": counts_with(lambda c, h, w, f, kh, kw, oh, ow: f * (c * kh * kw + 1) * oh * ow)
            },
        ),
        Mistake(
            name="bias-in-every-channel",
            advice="A filter has one bias, not one for each channel.",
            replaces={"parameter_counts": counts_with(lambda c, h, w, f, kh, kw, oh, ow: f * c * (kh * kw + 1))},
        ),
        Mistake(
            name="dense-with-filters-as-outputs",
            advice="The dense layer gives the same image as the convolution, F * Ho * Wo numbers, not F of them.",
            replaces={"parameter_counts": counts_with(dense=lambda c, h, w, f, kh, kw, oh, ow: f * (c * h * w + 1))},
        ),
        Mistake(
            name="dense-output-as-large-as-input",
            advice="Kernel, stride and padding change the size of the output: use Ho and Wo, not H and W.",
            replaces={
                "parameter_counts": counts_with(dense=lambda c, h, w, f, kh, kw, oh, ow: f * h * w * (c * h * w + 1))
            },
        ),
    ),
)

# --- picture ---------------------------------------------------------------------------------------------------------


def scene(size: int = 32) -> Array:
    """A ring, a bar and a soft shadow."""
    y, x = np.mgrid[:size, :size]
    ring = np.abs(np.hypot(x - 0.36 * size, y - 0.4 * size) - 0.22 * size) < 0.06 * size
    bar = (np.abs(x - y * 0.35 - 0.52 * size) < 0.07 * size) & (y > 0.2 * size)
    return floats(np.where(ring, 1.0, np.where(bar, 0.75, 0.3 * y / size)))


def target_filter(size: int = 7) -> Array:
    """A slanted stripe detector."""
    y, x = np.mgrid[:size, :size] - size // 2
    return floats(np.cos(1.1 * (x + 0.6 * y)) * np.exp(-(x**2 + y**2) / 8))


def draw_picture(student: Any, figure: Any) -> None:
    """What two fixed filters see, and a filter that is learned with the student's own gradients."""
    (first, second, third, fourth), (fifth, sixth, seventh, last) = figure.subplots(2, 4)
    rng = np.random.default_rng(14)
    image = scene()
    across, down = np.asarray(
        student.call("conv2d_forward", image[None, None], np.stack([SOBEL, SOBEL.T])[:, None], np.zeros(2), keep=(1,))[
            0
        ]
    )[0]
    strongest = 3.0
    panels: list[tuple[Any, Array, str, str, float]] = [
        (first, image, "An image", "gray", 0.0),
        (second, across, "Rises to the right (blue)", "RdBu", strongest),
        (third, down, "Rises downwards (blue)", "RdBu", strongest),
        (fourth, np.asarray(student.edge_strength(image)), "Edge strength", "gray_r", 0.0),
    ]
    target = target_filter()
    x = rng.normal(size=(4, 1, 16, 16))
    answers = np.stack([naive(one, target[None, None], np.zeros(1)) for one in x])
    W, b = 0.3 * rng.normal(size=(1, 1, 7, 7)), np.zeros(1)
    losses, kept = [], {}
    for step in range(41):
        if step in (0, 40):
            kept[step] = W[0, 0].copy()
        out, cache = student.call("conv2d_forward", x, W, b, keep=(1,))
        error = np.asarray(out) - answers
        losses.append(float(np.mean(error**2)))
        _, dW, db = student.conv2d_backward(2 * error / error.size, cache)
        W, b = W - 0.25 * np.asarray(dW), b - 0.25 * np.asarray(db)
    panels += [
        (fifth, target, "The filter to find", "RdBu", 1.0),
        (sixth, kept[0], "Yours before learning", "RdBu", 1.0),
        (seventh, kept[40], "Yours after 40 steps", "RdBu", 1.0),
    ]
    for axes, picture, title, colours, limit in panels:
        axes.imshow(picture, cmap=colours, vmin=-limit if limit else None, vmax=limit or None)
        axes.set_title(title, fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
    last.semilogy(losses)
    last.set_title("Learning it by gradients", fontsize=10)
    last.set_xlabel("step")
    last.set_ylabel("mean squared error")


CHAPTER = Chapter(
    id="ch314",
    slug="convolution",
    title="Convolutional Neural Networks",
    part="Architectures",
    summary="Convolution as four loops, as one matrix product, and all the way back.",
    builds_on=("ch304", "ch306"),
    exercises=(
        OUTPUT_SIZE,
        PAD,
        NAIVE,
        IM2COL,
        FORWARD,
        COL2IM,
        BACKWARD,
        EDGES,
        EQUIVARIANCE,
        COUNTS,
    ),
    picture=Picture(title="What filters see, and how one is learned", draw=draw_picture),
)
