"""Chapter 316: CNN Architectures

More layers should never hurt: the additional ones could simply do nothing. Yet plain networks of fifty layers train
worse than those of twenty, because "do nothing" is hard to learn for a stack of convolutions, and because gradients
that are multiplied by fifty matrices explode or die out. A residual block adds what it computes to what it was given:
doing nothing is now the easiest thing, and the gradient has a road past every block. You write such a block with its
gradients, for equal and for changing shapes, account for shapes and parameters of whole networks, and measure gradients
in deep stacks with and without the shortcut.

Conventions, here and in every chapter:
  - images are (B, C, H, W), weights of a convolution (F, C, kH, kW), and H and W may differ;
  - the block is pre-activated (He and others, 2016): normalisation and ReLU stand before each convolution, and nothing
    stands after the sum. Its convolutions have no biases: the shifts beta do their work;
  - normalisation is batch normalisation with the statistics of the batch at hand, over images, rows and columns, and
    eps = 1e-5. The running statistics of chapter 310 are left out here;
  - ReLU has the derivative 0 at 0; gradients are a dict with the keys of the parameters;
  - functions accept any arrays of numbers, work in float64, and never modify what they are given.

Run `dlgrade check ch316` as often as you like; `dlgrade hint ch316 residual_block_forward` helps you on.
"""

import numpy as np

# --- given: chapters 314 and 310 in short ---


def conv2d_forward(x, W, stride=1, padding=0):
    """Given: (out, cache) of a convolution without bias; x (B, C, H, W), W (F, C, kH, kW), out (B, F, Ho, Wo)."""
    x, W = np.asarray(x, dtype=np.float64), np.asarray(W, dtype=np.float64)
    padded = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, W.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
    out = np.tensordot(windows, W, axes=((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)
    return out, (windows, W, padded.shape, stride, padding)


def conv2d_backward(dout, cache):
    """Given: (dx, dW) of `conv2d_forward`, for dout (B, F, Ho, Wo) and the cache it returned."""
    windows, W, padded_shape, stride, padding = cache
    dout = np.asarray(dout, dtype=np.float64)
    dpadded, (out_h, out_w) = np.zeros(padded_shape), dout.shape[2:]
    for u, v in np.ndindex(W.shape[2:]):
        seen = (slice(None), slice(None), slice(u, u + stride * out_h, stride), slice(v, v + stride * out_w, stride))
        dpadded[seen] += np.tensordot(dout, W[:, :, u, v], axes=(1, 0)).transpose(0, 3, 1, 2)
    dW = np.tensordot(dout, windows, axes=((0, 2, 3), (0, 2, 3)))
    return dpadded[:, :, padding : dpadded.shape[2] - padding, padding : dpadded.shape[3] - padding], dW


def batch_norm_forward(x, gamma, beta, eps=1e-5):
    """Given: (out, cache) of batch normalisation of x (B, C, H, W), with the scale gamma and the shift beta, (C,)."""
    x, gamma, beta = (np.asarray(a, dtype=np.float64) for a in (x, gamma, beta))
    centred = x - np.mean(x, axis=(0, 2, 3), keepdims=True)
    inv_std = 1.0 / np.sqrt(np.mean(centred**2, axis=(0, 2, 3), keepdims=True) + eps)
    x_hat = centred * inv_std
    return gamma[:, None, None] * x_hat + beta[:, None, None], (x_hat, inv_std, gamma)


def batch_norm_backward(dout, cache):
    """Given: (dx, dgamma, dbeta) of `batch_norm_forward`, for dout (B, C, H, W) and the cache it returned."""
    x_hat, inv_std, gamma = cache
    dout = np.asarray(dout, dtype=np.float64)
    over = (0, 2, 3)
    g = dout * gamma[:, None, None]
    g = g - np.mean(g, axis=over, keepdims=True) - x_hat * np.mean(g * x_hat, axis=over, keepdims=True)
    return g * inv_std, np.sum(dout * x_hat, axis=over), np.sum(dout, axis=over)


# --- yours ---


def preact_conv_forward(x, gamma, beta, W, stride=1):
    """Half of a residual block's branch: normalisation, then ReLU, then a 3 by 3 convolution padded by 1.

        normed = batch_norm(x; gamma, beta)          out = conv(relu(normed); W, stride, padding 1)

    Padding by 1 keeps the size; with stride 2 it is halved, rounding up.

    x:           images (B, C, H, W).
    gamma, beta: scale and shift of the normalisation, (C,).
    W:           weights (F, C, 3, 3).
    stride:      of the convolution.
    Returns (out, cache): an array (B, F, Ho, Wo), and whatever your `preact_conv_backward` wants to find again.

    Example: with gamma = [0.0] and beta = [-1.0] the ReLU lets nothing pass: out is 0 whatever x and W are.
    """
    ### BEGIN SOLUTION
    normed, norm_cache = batch_norm_forward(x, gamma, beta)
    out, conv_cache = conv2d_forward(np.maximum(normed, 0.0), W, stride, padding=1)
    # The ReLU has no cache of its own: where it let pass can be read off what it was given.
    return out, (norm_cache, normed, conv_cache)
    ### END SOLUTION


def preact_conv_backward(dout, cache):
    """Backward through `preact_conv_forward`: the same three steps, last one first.

    dout:  gradient at out, (B, F, Ho, Wo).
    cache: what preact_conv_forward returned second. Leave it as it is.
    Returns (dx, dgamma, dbeta, dW), in this order, with the shapes of x, gamma, beta and W.

    Example: for the example of preact_conv_forward all four gradients are zeros.
    """
    ### BEGIN SOLUTION
    norm_cache, normed, conv_cache = cache
    dactive, dW = conv2d_backward(dout, conv_cache)
    dnormed = dactive * (normed > 0)
    dx, dgamma, dbeta = batch_norm_backward(dnormed, norm_cache)
    return dx, dgamma, dbeta, dW
    ### END SOLUTION


def residual_block_forward(x, params, stride=1):
    """A residual block: shortcut plus branch, and nothing after the sum.

        branch   = two halves as in preact_conv_forward: gamma1, beta1, W1 with the stride, then gamma2, beta2, W2
                   with stride 1
        shortcut = x itself, or its projection: a 1 by 1 convolution of x with W_skip and the stride, without padding
        out      = shortcut + branch

    The projection is used whenever params has the key W_skip. It is needed when the branch changes the number of
    channels (F is not C) or the size (stride is not 1), for then x and branch cannot be added. It is applied to x as it
    is, not to the normalised x.

    x:      images (B, C, H, W).
    params: dict with gamma1, beta1 (C,), W1 (F, C, 3, 3), gamma2, beta2 (F,), W2 (F, F, 3, 3), and perhaps W_skip
            (F, C, 1, 1).
    stride: of the first convolution and of the projection.
    Returns (out, cache): an array (B, F, Ho, Wo), and whatever your `residual_block_backward` wants to find again.
    Raises ValueError when shortcut and branch differ in shape. Mind that NumPy adds (B, C, 1, 1) to anything.

    Example: with W2 all zeros and no W_skip, out is x: the block does nothing.
    """
    ### BEGIN SOLUTION
    x = np.asarray(x, dtype=np.float64)
    middle, first = preact_conv_forward(x, params["gamma1"], params["beta1"], params["W1"], stride)
    branch, second = preact_conv_forward(middle, params["gamma2"], params["beta2"], params["W2"])
    shortcut, projection = x, None
    if "W_skip" in params:
        shortcut, projection = conv2d_forward(x, params["W_skip"], stride)
    if shortcut.shape != branch.shape:
        raise ValueError("shortcut and branch differ in shape: the block needs a projection W_skip")
    return shortcut + branch, (first, second, projection)
    ### END SOLUTION


def residual_block_backward(dout, cache):
    """Backward through `residual_block_forward`.

    A sum hands its gradient on to both terms. So dout goes into the branch and into the shortcut, and x gets the sum of
    what comes out at the other ends. Without a projection the shortcut's share is dout itself, however deep the network
    and however small its weights: d out / d x is the identity plus the branch's Jacobian.

    dout:  gradient at out, (B, F, Ho, Wo).
    cache: what residual_block_forward returned second. Leave it as it is: two forward passes have two caches.
    Returns (dx, grads): an array (B, C, H, W), and a dict with the keys of params, each gradient of the shape of its
    parameter. W_skip is among them if, and only if, it was among params.

    Example: with W2 all zeros and no W_skip, dx is dout.
    """
    ### BEGIN SOLUTION
    first, second, projection = cache
    dout = np.asarray(dout, dtype=np.float64)
    grads = {}
    dmiddle, grads["gamma2"], grads["beta2"], grads["W2"] = preact_conv_backward(dout, second)
    dbranch, grads["gamma1"], grads["beta1"], grads["W1"] = preact_conv_backward(dmiddle, first)
    dshortcut = dout
    if projection is not None:
        dshortcut, grads["W_skip"] = conv2d_backward(dout, projection)
    return dshortcut + dbranch, grads
    ### END SOLUTION


def shape_walk(shape, layers):
    """Follow one example through a network, without computing anything but its shape.

    layers: a list of tuples, first layer first:
        ("conv", filters, kernel, stride, padding)   a convolution: (C, H, W) to (filters, Ho, Wo)
        ("pool", size, stride)                       max or average pooling, no padding: (C, H, W) to (C, Ho, Wo)
        ("residual", filters, stride)                the block above, with a projection where it needs one
        ("global_pool",)                             (C, H, W) to (C,)
        ("flatten",)                                 (C, H, W) to (C * H * W,)
        ("dense", outputs)                           (D,) to (outputs,)
    Along each axis a window of k pixels with stride s and padding p fits (n + 2 p - k) // s + 1 times. A residual block
    has the size of its first convolution: kernel 3, its stride, padding 1.

    shape: of one example, without the batch: a tuple (C, H, W) or (D,).
    Returns a list with the shape after each layer, each a tuple.
    Raises ValueError when a window does not fit even once, and when a layer meets a shape that it cannot take: all but
    "dense" need (C, H, W), and "dense" needs (D,).

    Example: shape_walk((3, 9, 8), [("conv", 4, 3, 2, 1), ("pool", 2, 2), ("flatten",), ("dense", 10)]) gives
             [(4, 5, 4), (4, 2, 2), (16,), (10,)].
    """
    ### BEGIN SOLUTION
    shapes = []
    for kind, *sizes in layers:
        if len(shape) != (1 if kind == "dense" else 3):
            raise ValueError(f"a {kind} layer cannot take an example of shape {shape}")
        if kind == "dense":
            shape = (sizes[0],)
        elif kind == "global_pool":
            shape = (shape[0],)
        elif kind == "flatten":
            shape = (shape[0] * shape[1] * shape[2],)
        else:
            # What is left are layers with windows: how they walk, and how many channels come out.
            if kind == "conv":
                channels, kernel, stride, padding = sizes
            elif kind == "pool":
                channels, kernel, stride, padding = shape[0], sizes[0], sizes[1], 0
            else:
                channels, kernel, stride, padding = sizes[0], 3, sizes[1], 1
            rooms = [n + 2 * padding - kernel for n in shape[1:]]
            if min(rooms) < 0:
                raise ValueError(f"a window of {kernel} does not fit in an example of shape {shape}")
            shape = (channels, *(room // stride + 1 for room in rooms))
        shapes.append(shape)
    return shapes
    ### END SOLUTION


def conv_stack_parameters(channels, kernels):
    """How many weights a stack of convolutions learns, without biases: the price of an architecture.

    Layer i has square kernels of side kernels[i] and leads from channels[i] to channels[i + 1] channels: it has
    channels[i] * channels[i + 1] * kernels[i]^2 weights.

    Three 3 by 3 convolutions see as far as one of 7 by 7, with about half the weights and two more ReLUs between them.
    A bottleneck, 1 by 1 down to fewer channels, 3 by 3 there, 1 by 1 up again, costs a fraction of two full 3 by 3.

    channels: a list of n + 1 numbers of channels, the input's first.
    kernels:  a list of n sides.
    Returns a whole number.

    Example: conv_stack_parameters([64, 64, 64, 64], [3, 3, 3]) gives 110592, conv_stack_parameters([64, 64], [7]) gives
             200704, and the bottleneck conv_stack_parameters([256, 64, 64, 256], [1, 3, 1]) gives 69632.
    """
    ### BEGIN SOLUTION
    total = 0
    for i, kernel in enumerate(kernels):
        total += channels[i] * channels[i + 1] * kernel**2
    return total
    ### END SOLUTION


def parameter_walk(shape, layers):
    """How many numbers each layer of a network learns.

    The layers are those of shape_walk, and they learn
        "conv", "dense"                      weights, and one bias for each filter or output
        "residual", from C to F channels     two normalisations (2 C and 2 F numbers), two convolutions without biases
                                             (C to F and F to F), and a projection without biases (C F numbers) when F
                                             is not C or the stride is not 1
        "pool", "global_pool", "flatten"     nothing

    shape:  of one example, (C, H, W) or (D,).
    layers: as in shape_walk.
    Returns a list with a whole number for each layer. Raises ValueError where shape_walk does.

    Example: parameter_walk((3, 9, 8), [("conv", 4, 3, 2, 1), ("pool", 2, 2), ("flatten",), ("dense", 10)]) gives
             [112, 0, 0, 170], and parameter_walk((2, 6, 6), [("residual", 3, 1)]) gives [151].
    """
    ### BEGIN SOLUTION
    counts = []
    # What goes into a layer is what came out of the one before; the very last shape goes into none.
    before = [shape, *shape_walk(shape, layers)]
    for (inputs, *_), (kind, *sizes) in zip(before, layers, strict=False):
        count = 0
        if kind == "conv":
            filters, kernel = sizes[:2]
            count = conv_stack_parameters([inputs, filters], [kernel]) + filters
        elif kind == "dense":
            count = (inputs + 1) * sizes[0]
        elif kind == "residual":
            filters, stride = sizes
            count = 2 * inputs + 2 * filters + conv_stack_parameters([inputs, filters, filters], [3, 3])
            if filters != inputs or stride != 1:
                count += inputs * filters
        counts.append(count)
    return counts
    ### END SOLUTION


def gradient_norms(x, blocks, dout, skip=True):
    """How a gradient fares on its way down a stack of blocks, with shortcuts or without.

    Send x forward through all blocks, then dout back from the last block to the first, and note the norm of the
    gradient, the root of the sum of its squares, at every station.

    With skip=True each block is a residual block with stride 1. With skip=False only its branch is used, without the
    shortcut: a plain network with the same weights.

    x:      images (B, C, H, W).
    blocks: a list of dicts as for residual_block_forward, first block first; C channels throughout, no W_skip.
    dout:   gradient at the output of the last block, (B, C, H, W).
    Returns a list of len(blocks) + 1 numbers: the norm of the gradient at the input of the first block, of the second,
    and so on, and at last the norm of dout.

    Example: if W2 is zero in all blocks, all norms are equal with skip=True; with skip=False all but the last are 0.
    """
    ### BEGIN SOLUTION
    signal = np.asarray(x, dtype=np.float64)
    gradient = np.asarray(dout, dtype=np.float64)
    caches = []
    for params in blocks:
        if skip:
            signal, cache = residual_block_forward(signal, params)
        else:
            signal, first = preact_conv_forward(signal, params["gamma1"], params["beta1"], params["W1"])
            signal, second = preact_conv_forward(signal, params["gamma2"], params["beta2"], params["W2"])
            cache = (first, second)
        caches.append(cache)
    norms = [np.sqrt(np.sum(gradient**2))]
    for cache in reversed(caches):
        if skip:
            gradient = residual_block_backward(gradient, cache)[0]
        else:
            first, second = cache
            gradient = preact_conv_backward(preact_conv_backward(gradient, second)[0], first)[0]
        norms.append(np.sqrt(np.sum(gradient**2)))
    # They were noted from the top down, and are asked for from the input up.
    return norms[::-1]
    ### END SOLUTION
