"""Chapter 315: Pooling and Receptive Fields

A network that names what is in a picture must forget where exactly it is. Pooling replaces each little window of a
channel by one number, its maximum or its mean: the image gets smaller, a small shift changes little, and every unit of
the layers behind sees more of the picture. You write max, average and global average pooling with their gradients,
work out how far a unit sees, and measure how much a shift really matters.

Conventions, here and in every chapter:
  - images are (B, C, H, W): batch, channels, rows, columns; H and W may differ. Pooling treats every channel by itself;
  - size is the side of a square window, a whole number; stride is how far one window is from the next. When stride is
    None it equals size, so that the windows lie side by side. A smaller stride makes them overlap, a larger one leaves
    gaps;
  - there is no padding: rows and columns that do not fill a window at the end are dropped. H and W are at least size,
    and there are Ho = (H - size) // stride + 1 windows from top to bottom;
  - functions accept any arrays of numbers, or nested lists, work in float64, and never modify what they are given.

Max pooling is often called translation invariant. It is so only roughly: a shift by one pixel moves some maxima into
the next window, and the answer changes, less than the image does, but it changes. Your last function says how much.

Run `dlgrade check ch315` as often as you like; `dlgrade hint ch315 max_pool_forward` helps you on.
"""

import numpy as np


def shift_images(x, down, right):
    """Given: images (..., H, W) moved by whole pixels. Zeros come in, what goes out is lost; negative is up or left."""
    x = np.asarray(x, dtype=np.float64)
    height, width = x.shape[-2:]
    moved = np.zeros_like(x)
    for i in range(height):
        for j in range(width):
            if 0 <= i - down < height and 0 <= j - right < width:
                moved[..., i, j] = x[..., i - down, j - right]
    return moved


def pool_windows(x, size, stride=None):
    """Every window of every channel, read row by row.

    Window (i, j) begins at row i * stride and column j * stride. Entry u * size + v of it is the pixel u rows below
    and v columns to the right of there.

    x:      images (B, C, H, W).
    size:   the side of a window.
    stride: from one window to the next; None means size.
    Returns an array (B, C, Ho, Wo, size * size).

    Example: pool_windows([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]], 2, 1) gives [[[[[1, 2, 4, 5], [2, 3, 5, 6]]]]], and
             pool_windows([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]], 2) gives [[[[[1, 2, 4, 5]]]]]: column 2 is dropped.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("pool_windows is still to do")


def max_pool_forward(x, size, stride=None):
    """Max pooling: the largest number of each window, channel by channel.

    x:      images (B, C, H, W). They may be negative all over.
    size:   the side of a window.
    stride: from one window to the next; None means size.
    Returns (out, cache): an array (B, C, Ho, Wo), and whatever your `max_pool_backward` wants to find again.

    Example: max_pool_forward([[[[1.0, 2.0, 9.0], [4.0, 3.0, 9.0]]]], 2)[0] gives [[[[4.0]]]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("max_pool_forward is still to do")


def max_pool_backward(dout, cache):
    """Backward through `max_pool_forward`: the winner takes all.

    Only the maximum of a window acts on the output, so it gets all of the window's gradient and the others get 0. When
    several numbers of a window share the maximum, the FIRST of them gets it, reading row by row. A pixel that wins
    several overlapping windows gets the sum of their gradients.

    dout:  gradient at out, (B, C, Ho, Wo).
    cache: what max_pool_forward returned second. Leave it as it is: two forward passes have two caches.
    Returns dx, an array of the shape of x. The dropped rows and columns are part of it, with gradient 0.

    Example: for the example of max_pool_forward with dout = [[[[5.0]]]], dx is [[[[0, 0, 0], [5, 0, 0]]]]. With x =
             [[[[7.0, 7.0], [7.0, 7.0]]]] it is [[[[5, 0], [0, 0]]]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("max_pool_backward is still to do")


def avg_pool_forward(x, size, stride=None):
    """Average pooling: the mean of each window, channel by channel.

    x, size, stride: as in max_pool_forward.
    Returns (out, cache): an array (B, C, Ho, Wo), and whatever your `avg_pool_backward` wants to find again.

    Example: avg_pool_forward([[[[1.0, 2.0, 9.0], [4.0, 3.0, 9.0]]]], 2)[0] gives [[[[2.5]]]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("avg_pool_forward is still to do")


def avg_pool_backward(dout, cache):
    """Backward through `avg_pool_forward`: everybody gets the same share.

    A mean of size^2 numbers moves by 1 / size^2 when one of them moves by 1. So every pixel of a window gets that
    fraction of the window's gradient. Where windows overlap, the shares add up.

    dout:  gradient at out, (B, C, Ho, Wo).
    cache: what avg_pool_forward returned second. Leave it as it is.
    Returns dx, an array of the shape of x, with 0 for pixels that were dropped.

    Example: for the example of avg_pool_forward with dout = [[[[8.0]]]], dx is [[[[2, 2, 0], [2, 2, 0]]]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("avg_pool_backward is still to do")


def global_avg_pool_forward(x):
    """Global average pooling: one number for each channel, its mean over the whole image.

    At the end of a network it takes the place of flattening. With 512 channels of 7 by 7 pixels, flattening hands
    25,088 numbers to the classifier, global pooling 512: 98 % of its weights are saved, and images of any size will do.

    x: images (B, C, H, W).
    Returns (out, cache): an array (B, C), and whatever your `global_avg_pool_backward` wants to find again.

    Example: global_avg_pool_forward([[[[1.0, 2.0], [3.0, 6.0]], [[0.0, 0.0], [0.0, 8.0]]]])[0] gives [[3.0, 2.0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("global_avg_pool_forward is still to do")


def global_avg_pool_backward(dout, cache):
    """Backward through `global_avg_pool_forward`: every pixel gets 1 / (H W) of its channel's gradient.

    dout:  gradient at out, (B, C).
    cache: what global_avg_pool_forward returned second. Leave it as it is.
    Returns dx, an array (B, C, H, W).

    Example: for the example of global_avg_pool_forward with dout = [[4.0, -8.0]], dx is
             [[[[1, 1], [1, 1]], [[-2, -2], [-2, -2]]]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("global_avg_pool_backward is still to do")


def receptive_fields(layers):
    """How far a unit sees, after each layer of a network.

    Along one axis: a unit of the input sees 1 pixel, itself, and its neighbour is 1 pixel away. That distance between
    two neighbouring units, measured in pixels of the input, is the jump. A layer with kernel k, stride s and dilation d
    looks at units that are d jumps apart, so

        field = field + d (k - 1) jump          with the jump of the layer before
        jump  = jump s                          afterwards

    layers: a list of (kernel, stride) or (kernel, stride, dilation), first layer first. Pooling counts like a
            convolution, its window being the kernel. Without a third number the dilation is 1.
    Returns a list of (field, jump), two whole numbers for each layer. An empty list gives an empty list.

    Example: receptive_fields([(3, 1), (2, 2), (3, 1), (2, 2), (3, 1)]) gives
             [(3, 1), (4, 2), (8, 2), (10, 4), (18, 4)].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("receptive_fields is still to do")


def shift_change(features, x, down, right):
    """How much the features change when the images move: 0 for perfect invariance.

        || features(moved x) - features(x) ||  /  || features(x) ||

    with || a || the root of the sum of the squares of ALL entries of a. Move the images with shift_images, given above.

    features:    a function from images (B, C, H, W) to an array of any shape, the same for both calls.
    x:           images (B, C, H, W). They must come back unchanged.
    down, right: how far to move, in whole pixels.
    Returns one number.

    Example: with features = lambda x: x, shift_change(features, [[[[3.0, 0.0]]]], 0, 1) is sqrt(18) / 3 = sqrt(2).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("shift_change is still to do")
