"""Chapter 314: Convolutional Neural Networks

A dense layer that looks at an image learns a separate weight for every pixel and knows nothing of "next to". A
convolution looks through a small window, with the same weights wherever the window stands: what it learns in one corner
it knows in all of them, and it needs thousands of times fewer numbers. You write it twice, once as four loops that
cannot be misread, once as a single matrix product that is fast, and then the whole way back.

Conventions, here and in every chapter:
  - images are (B, C, H, W): batch, channels, rows, columns. H and W may differ, and so may the kernel's kH and kW;
  - weights are (F, C, kH, kW), one little image of C channels for each of F filters; biases are (F,);
  - as in every deep learning library, "convolution" means cross-correlation: the kernel is laid on the image as it is,
    not flipped first, as mathematicians do;
  - stride, padding and dilation are whole numbers, each the same for both directions. Padding is zeros, on all four
    sides. Dilation d means that neighbouring weights look at pixels that are d apart;
  - functions accept any arrays of numbers, or nested lists, work in float64, and never modify what they are given.

Run `dlgrade check ch314` as often as you like; `dlgrade hint ch314 im2col` helps you on.
"""

import numpy as np

# Given: how much brighter it gets from left to right, and from top to bottom (Sobel's kernels).
SOBEL_X = np.array([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
SOBEL_Y = SOBEL_X.T


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


def conv_output_size(size, kernel, stride=1, padding=0, dilation=1):
    """How many windows fit along one axis.

    A kernel of k weights that are d apart reaches over d (k - 1) + 1 pixels. The image has size + 2 padding of them.
    The first window starts at the edge, each further one `stride` pixels on, as long as it fits; pixels left over at
    the end are not looked at:

        floor( (size + 2 padding - dilation (kernel - 1) - 1) / stride ) + 1

    size:     pixels along this axis, without the padding.
    kernel:   weights along this axis.
    Returns a whole number. Raises ValueError when not even one window fits.

    Example: conv_output_size(8, 3, stride=2) gives 3, with one column left over, and so does
             conv_output_size(7, 3, stride=2). conv_output_size(7, 3, padding=1) gives 7.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("conv_output_size is still to do")


def pad_images(x, padding):
    """A frame of zeros around every image.

    x:       (..., H, W), for example (B, C, H, W) or (C, H, W).
    padding: the width of the frame in pixels, 0 or more.
    Returns a new array (..., H + 2 padding, W + 2 padding).

    Example: pad_images([[5.0, 6.0]], 1) gives [[0, 0, 0, 0], [0, 5, 6, 0], [0, 0, 0, 0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("pad_images is still to do")


def conv2d_naive(image, W, b, stride=1, padding=0, dilation=1):
    """Convolution of one image, as the definition says it.

    With s the stride, d the dilation, and p the image padded with zeros:

        out[f, i, j] = b[f] + sum over c, u, v of W[f, c, u, v] p[c, i s + u d, j s + v d]

    Speed does not matter here. This is the version that you trust, to hold the fast one against.

    image: one image (C, H, W).
    W:     weights (F, C, kH, kW).
    b:     one bias for each filter, (F,).
    Returns an array (F, Ho, Wo), its size as conv_output_size says.

    Example: conv2d_naive([[[1.0, 2.0], [3.0, 4.0]]], [[[[10.0, 1.0], [0.0, -1.0]]]], [5.0]) gives [[[13.0]]]: the one
             window is the image, and 10 * 1 + 1 * 2 + 0 * 3 - 1 * 4 + 5 = 13.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("conv2d_naive is still to do")


def im2col(x, kernel_h, kernel_w, stride=1, padding=0, dilation=1):
    """Write out every window as a row of numbers, so that a convolution becomes a product of two matrices.

    Row by row come the windows: first all those of image 0, from left to right and from top to bottom, then those of
    image 1. In a row come the pixels of the window: first those of channel 0, row by row, then those of channel 1. It
    is the order in which W.reshape(F, -1) writes out a filter.

    x:                  images (B, C, H, W).
    kernel_h, kernel_w: rows and columns of the kernel.
    Returns an array (B * Ho * Wo, C * kernel_h * kernel_w).

    Example: im2col([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]], 2, 2) gives [[1, 2, 4, 5], [2, 3, 5, 6]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("im2col is still to do")


def conv2d_forward(x, W, b, stride=1, padding=0, dilation=1):
    """Convolution of a whole batch with one matrix product.

    Every window is a row of im2col, every filter a row of W.reshape(F, -1). All products of a window with a filter are

        im2col(x, ...) @ W.reshape(F, -1).T + b

    a matrix (B * Ho * Wo, F). The filters are its last axis; in the answer they stand behind the batch.

    x: images (B, C, H, W).
    W: weights (F, C, kH, kW).
    b: biases (F,).
    Returns (out, cache): an array (B, F, Ho, Wo), and whatever your `conv2d_backward` wants to find again.

    Example: conv2d_forward([[[[1.0, 2.0], [3.0, 4.0]]]], [[[[10.0, 1.0], [0.0, -1.0]]]], [5.0])[0] gives [[[[13.0]]]],
             as conv2d_naive did for this image.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("conv2d_forward is still to do")


def col2im(cols, image_shape, kernel_h, kernel_w, stride=1, padding=0, dilation=1):
    """The way back from windows to images: every number is ADDED to the pixel that im2col took it from.

    A pixel that was seen by four windows collects four numbers. A pixel that no window saw gets 0. What belongs to the
    frame of zeros is dropped. It does not undo im2col: it is what gradients need, because the pixel acted on the loss
    through every window that saw it.

    cols:        (B * Ho * Wo, C * kernel_h * kernel_w), in the order of im2col.
    image_shape: the shape of the images, a tuple (B, C, H, W), without the padding.
    kernel_h, kernel_w, stride, padding, dilation: as they were given to im2col.
    Returns an array (B, C, H, W).

    Example: col2im([[1.0, 2.0, 4.0, 5.0], [2.0, 3.0, 5.0, 6.0]], (1, 1, 2, 3), 2, 2) gives
             [[[[1, 4, 3], [4, 10, 6]]]]: the middle column was seen twice.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("col2im is still to do")


def conv2d_backward(dout, cache):
    """Backward through `conv2d_forward`.

    Forward was a matrix product, and so is the way back. With G the matrix (B * Ho * Wo, F) that holds dout with its
    filters moved to the last axis, and every gradient of the shape of what it belongs to:

        dW = G^T cols          dcols = G W.reshape(F, -1)          dx = col2im(dcols, ...)

    A bias was added at every position of every image, so db is the sum of dout over batch, rows and columns.

    dout:  gradient at out, (B, F, Ho, Wo).
    cache: what conv2d_forward returned second. Leave it as it is: two forward passes have two caches.
    Returns (dx, dW, db), with the shapes of x, W and b.

    Example: for the example of conv2d_forward with dout = [[[[2.0]]]], dx is [[[[20.0, 2.0], [0.0, -2.0]]]], dW is
             [[[[2.0, 4.0], [6.0, 8.0]]]] and db is [2.0].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("conv2d_backward is still to do")


def edge_strength(image):
    """How steep the brightness is at every pixel of a grey image, whichever way it rises.

    Let gx be the convolution of the image with SOBEL_X, and gy with SOBEL_Y, both given above, without padding, stride
    or bias. The strength is the length of the arrow (gx, gy):  sqrt(gx^2 + gy^2).

    image: (H, W), a single channel.
    Returns an array (H - 2, W - 2).

    Example: edge_strength([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]) gives [[4.0]], and so does the image
             turned by 90 degrees.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("edge_strength is still to do")


def equivariance_error(layer, x, down, right, margin):
    """Does it matter whether an image is moved before a layer or after it?

    For a convolution it does not: move the cat, and its outline moves with it. That is equivariance. (Invariance would
    be: move the cat, and nothing changes.) Compare

        layer(shift_images(x, down, right))          with          shift_images(layer(x), down, right)

    and return the largest absolute difference. Near the border zeros come in and things do differ, so leave out
    `margin` pixels on each of the four sides.

    layer:       a function from images (B, C, H, W) to images (B, F, H, W) of the same height and width.
    x:           images (B, C, H, W). They must come back unchanged.
    down, right: how far to move, in whole pixels.
    margin:      width of the border that is left out, 0 or more. Something is always left inside.
    Returns one number.

    Example: with layer = lambda x: 2 * x, equivariance_error(layer, x, 1, 0, 0) is 0.0 for any x.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("equivariance_error is still to do")


def parameter_counts(image_shape, filters, kernel_h, kernel_w, stride=1, padding=0):
    """What a convolution saves: the numbers it learns, and those of a dense layer between the same two images.

    A convolution learns kernel_h * kernel_w weights for each channel and one bias, for each filter, whatever the size
    of the image. A dense layer learns a weight from every number of the input (C * H * W of them) to every number of
    the output (F * Ho * Wo), and a bias for each of the latter.

    image_shape: the shape of one image, a tuple (C, H, W).
    filters:     the number of filters F.
    Returns (conv, dense), two whole numbers.

    Example: parameter_counts((3, 32, 32), 16, 3, 3, padding=1) gives (448, 50348032).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("parameter_counts is still to do")
