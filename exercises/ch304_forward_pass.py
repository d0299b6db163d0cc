"""Chapter 304: Forward Pass

One vector at a time is how a network is understood; a batch at a time is how it is run. You turn the forward pass of
chapter 303 into one matrix product a layer, keep what the backward pass will ask for, prove that the batch computes
what one vector at a time would, and take the measures of it all: every shape, the memory it holds, and how large the
signal is in every layer.

Conventions, here and in every chapter:
  - the batch is the first axis: inputs X are (B, n0), row i is sample i, and layer l gives (B, nl);
  - parameters are a dict W1, b1, W2, b2, ..., counted from 1: Wl has shape (out, in), bl has shape (out,);
  - functions accept any array of numbers, or plain lists, work in float64, and never modify what they are given.

Run `dlgrade check ch304` as often as you like; `dlgrade hint ch304 forward` helps you on.
"""

import numpy as np


def activate(z, name):
    """The activation of every entry, in a new array.

    "identity": z          "relu": max(z, 0)          "tanh": tanh(z)          "sigmoid": 1 / (1 + exp(-z))

    z itself must stay as it is: the backward pass will ask for it, and a ReLU that is computed in place has wiped it
    out. And the sigmoid must neither overflow nor warn for z of plus and minus 10,000: use exp(-|z|), which cannot
    overflow, with 1 / (1 + exp(-z)) where z >= 0 and exp(z) / (1 + exp(z)) where z < 0.

    z:    any shape, for example (B, n).
    name: "identity", "relu", "tanh" or "sigmoid".
    Returns a new array of the shape of z.

    Example: activate([-2.0, 0.0, 3.0], "relu") gives [0.0, 0.0, 3.0]; activate([0.0, -10000.0], "sigmoid") gives
             [0.5, 0.0].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("activate is still to do")


def layer_forward(a_prev, W, b):
    """One layer for a whole batch, before the activation.

    z = a_prev W^T + b          that is          z[i, j] = sum_k a_prev[i, k] W[j, k] + b[j]

    Row i of the result belongs to row i of the batch. The bias is the same for every sample: unit j adds b[j] in
    every row. Take care when the batch happens to be as large as the layer, for then NumPy accepts much that is wrong.

    a_prev: what comes in, (B, in).
    W, b:   weights (out, in) and biases (out,).
    Returns an array (B, out).

    Example: layer_forward([[1.0, 2.0], [3.0, 4.0]], [[1.0, 0.0], [1.0, 1.0]], [10.0, 20.0]) gives
             [[11.0, 23.0], [13.0, 27.0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("layer_forward is still to do")


def forward(X, params, activations):
    """The forward pass of a batch through any number of layers, and what the backward pass will need.

    With a0 = X, for each layer l = 1, ..., L:

        zl = layer_forward(a(l-1), Wl, bl)          al = activate(zl, activations[l - 1])

    X:           inputs, (B, n0).
    params:      dict with W1 (n1, n0), b1 (n1,), ..., WL (nL, n(L-1)), bL (nL,); the keys may come in any order.
    activations: a list of L names, one for each layer, the first layer's first.
    Returns (out, cache): the array aL, (B, nL); and a list with one tuple (a_prev, z, a) for each layer, the first
    layer first: what came into the layer (B, n(l-1)), its z and its a, both (B, nl). The a_prev of the first layer is
    X; the a_prev of any other is the a of the layer before.

    Example: with params = {"W1": [[1, 1], [1, -1]], "b1": [0, 0], "W2": [[2, 5]], "b2": [1]} and X = [[1.0, 2.0]],
             forward(X, params, ["relu", "identity"]) gives out = [[7.0]], and a cache of two tuples:
             ([[1, 2]], [[3, -1]], [[3, 0]]) and ([[3, 0]], [[7]], [[7]]).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("forward is still to do")


def batch_gap(batched, single, X):
    """How far a batched function is from the same function applied to one vector at a time.

    gap = the largest |batched(X)[i, j] - single(X[i])[j]| over all samples i and all outputs j

    A batch is nothing but a faster way to write a loop over samples. How much faster depends on the layers: for 256
    samples, measured, about 3 times in a 784-256-128-10 network, where the multiplications themselves take the time,
    and 100 times in a 2-16-16-1 network, where calling Python does. Wherever you have both, this number tells whether
    you got it right; it should be below 1e-12 or so. (It is not exactly 0, since sums are taken in another order.)

    batched: a function that takes all of X, (B, n), and returns (B, m).
    single:  a function that takes one vector (n,) and returns (m,).
    X:       (B, n), B at least 1.
    Returns one number.

    Example: batch_gap(lambda X: X + 1, lambda x: x + 1.5, np.zeros((3, 2))) gives 0.5.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("batch_gap is still to do")


def shapes(widths, batch):
    """The shape of every array in a forward pass: write them down before you write the code.

    widths: the numbers (n0, n1, ..., nL) of inputs and of units in each layer.
    batch:  the number of samples B.
    Returns a dict with the keys X, W1, b1, z1, a1, ..., WL, bL, zL, aL (in any order); each value is a tuple of whole
    numbers, as `array.shape` gives it.

    Example: shapes([3, 5], 4) gives {"X": (4, 3), "W1": (5, 3), "b1": (5,), "z1": (4, 5), "a1": (4, 5)}.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("shapes is still to do")


def cache_floats(widths, batch):
    """How many numbers the cache of `forward` holds until the backward pass is done with them.

    The cache names (a_prev, z, a) for every layer, but the a_prev of a layer IS the a of the layer before, the same
    array and not a copy. Count each array once: X, and the z and the a of every layer. Parameters are not in the cache.

    This is what limits the batch size: parameters cost the same for every batch, the cache grows with it. In 8-byte
    floats, 784-256-128-10 holds 1.9 MB of parameters, and 3.2 MB of cache with a batch of 256.

    widths: the numbers (n0, n1, ..., nL).
    batch:  the number of samples B.
    Returns one whole number.

    Example: cache_floats([784, 256, 128, 10], 256) gives 402432, which is 256 * (784 + 2 * 256 + 2 * 128 + 2 * 10).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("cache_floats is still to do")


def he_params(widths, rng):
    """Given: weights drawn with standard deviation sqrt(2 / fan_in), layer by layer, and biases 0 (chapter 308)."""
    params = {}
    for layer in range(1, len(widths)):
        n_in, n_out = widths[layer - 1], widths[layer]
        params[f"W{layer}"] = rng.normal(0.0, np.sqrt(2.0 / n_in), size=(n_out, n_in))
        params[f"b{layer}"] = np.zeros(n_out)
    return params


def layer_statistics(X, params, activations):
    """Mean and standard deviation of the activations of every layer: does the signal survive its way?

    Take all B * nl entries of al together. The standard deviation is the square root of the mean squared distance
    from the mean (divide by B * nl, not by one less).

    What to expect of ReLU layers with he_params and inputs of mean 0 and variance 1: on average over networks the mean
    of the SQUARES stays at 1, layer after layer. So the mean is near 1 / sqrt(pi) = 0.56 and the standard deviation
    near sqrt(1 - 1/pi) = 0.83, not 1; a single network of finite width wanders off a little in every layer. Under
    sigmoids the standard deviation shrinks to about 0.2 and the mean sits near 0.5.

    X, params, activations: as in `forward`.
    Returns (means, stds): two arrays (L,), the first layer first. The inputs are no layer.

    Example: with X, params and activations of the example in `forward`: ([1.5, 7.0], [1.5, 0.0]).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("layer_statistics is still to do")
