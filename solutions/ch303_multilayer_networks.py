"""Chapter 303: Multilayer Networks

One unit draws one straight line, and no straight line tells "exactly one of the two" from the rest. Put a layer of
units in front of it and the line is drawn somewhere else: in a space that the hidden layer has bent. You build a
network layer by layer for one input vector, set the weights of one by hand so that it computes XOR, look at XOR from
inside it, and find out why all of this is worth nothing without a bend between the layers.

Conventions, here and in every chapter:
  - parameters are a dict W1, b1, W2, b2, ..., counted from 1: Wl has shape (out, in), bl has shape (out,), and the
    layer computes z = Wl @ a_prev + bl from the vector a_prev that comes in (for a whole batch of vectors at once see
    chapter 304);
  - z is what a layer computes, a = f(z) is what its activation f makes of it, and a is what the next layer gets;
  - in this chapter the output layer's activation is always the sigmoid, so that the output is a probability;
  - functions accept any array of numbers, or plain lists, work in float64, and never modify what they are given.

Run `dlgrade check ch303` as often as you like; `dlgrade hint ch303 forward` helps you on.
"""

import numpy as np


def sigmoid(z):
    """The sigmoid of every entry: it turns any number into one between 0 and 1.

    sigmoid(z) = 1 / (1 + exp(-z)) = exp(z) / (1 + exp(z))

    The two forms are equal on paper only. exp overflows beyond 709: the first form breaks for very negative z, the
    second for very large z. Yours must be right, and must give no warning, for z of plus and minus 10,000 as well. And
    small results keep their digits: sigmoid(-40) is 4.248354255291589e-18, not 0.

    z: any shape, or a single number.
    Returns an array of the shape of z (a number for a number).

    Example: sigmoid([0.0, 10000.0, -10000.0]) gives [0.5, 1.0, 0.0], and nothing else is heard of it.
    """
    ### BEGIN SOLUTION
    z = np.asarray(z, dtype=np.float64)
    # exp of something that is never positive cannot overflow, and both forms can be written with it.
    e = np.exp(-np.abs(z))
    # z >= 0: e is exp(-z), the first form. z < 0: e is exp(z), the second.
    return np.where(z >= 0, 1.0, e) / (1.0 + e)
    ### END SOLUTION


def activate(z, name):
    """Given: the activation "relu", "tanh", "sigmoid" or "identity" of every entry of z; a new array, z's shape."""
    z = np.asarray(z, dtype=np.float64)
    if name == "relu":
        return np.maximum(z, 0.0)
    if name == "tanh":
        return np.tanh(z)
    if name == "sigmoid":
        return sigmoid(z)
    if name == "identity":
        return z.copy()
    raise ValueError(f"no activation is called {name!r}")


def parameter_count(widths):
    """How many numbers a fully connected network learns: all its weights and all its biases.

    With n0 inputs and layers of n1, ..., nL units:

        count = sum over l = 1, ..., L of  nl * n(l-1) + nl

    widths: the numbers (n0, n1, ..., nL), at least two of them. n0 is not a layer: it only says how many inputs come.
    Returns one whole number.

    Example: parameter_count([2, 10, 10, 1]) is 151: 10 * 2 + 10, and 10 * 10 + 10, and 1 * 10 + 1.
    """
    ### BEGIN SOLUTION
    count = 0
    for layer in range(1, len(widths)):
        units, inputs = int(widths[layer]), int(widths[layer - 1])
        # Each unit has one weight for every input, and one bias of its own.
        count += units * (inputs + 1)
    return count
    ### END SOLUTION


def forward(x, params, hidden="relu"):
    """One vector's way through the network: the output, and what every layer made of it.

    With a0 = x, for each layer l = 1, ..., L:

        zl = Wl @ a(l-1) + bl          al = hidden activation of zl          aL = sigmoid(zL) in the last layer

    The number of layers L is any number from 1 on, and is read off params, whose keys may come in any order.
    `activate` above is given.

    x:      one input vector (n0,).
    params: dict with W1 (n1, n0), b1 (n1,), ..., WL (nL, n(L-1)), bL (nL,).
    hidden: the activation of all layers but the last: "relu", "tanh", "sigmoid" or "identity".
    Returns (output, layers): the array aL of shape (nL,), also when nL is 1; and a list with one pair (zl, al) for
    each layer, the first layer first, both of shape (nl,). The input x is in no pair.

    Example: with params = {"W1": [[1, 1], [1, -1]], "b1": [0, 0], "W2": [[2, 5]], "b2": [-6]} and x = [1.0, 2.0]
             the first pair is ([3, -1], [3, 0]), the second ([0], [0.5]), and the output is [0.5].
    """
    ### BEGIN SOLUTION
    a = np.asarray(x, dtype=np.float64)
    depth = len(params) // 2
    layers = []
    for layer in range(1, depth + 1):
        W = np.asarray(params[f"W{layer}"], dtype=np.float64)
        b = np.asarray(params[f"b{layer}"], dtype=np.float64)
        # Row i of W holds the weights of unit i: the product takes its scalar product with what comes in.
        z = W @ a + b
        a = activate(z, hidden if layer < depth else "sigmoid")
        layers.append((z, a))
    return a, layers
    ### END SOLUTION


def xor_network():
    """A network of two inputs, two hidden units and one output that computes XOR, with weights set by hand.

    XOR is 1 where exactly one of the two inputs is 1:

        (0, 0) -> 0          (0, 1) -> 1          (1, 0) -> 1          (1, 1) -> 0

    Any weights will do, as long as the output of `forward` is at least 0.95 where XOR is 1 and at most 0.05 where it
    is 0, and stays on its side of 0.5 when each input is off by up to 0.1. The output passes through a sigmoid: it
    gets close to 0 or 1 only if the output layer's z is well below -3 or well above 3.

    Returns (params, hidden): a dict with exactly W1 (2, 2), b1 (2,), W2 (1, 2), b2 (1,), and the hidden activation
    that you built it for, "relu", "tanh" or "sigmoid".

    Example: params, hidden = xor_network(), and forward([0, 1], params, hidden)[0] is 0.95 or more.
    """
    ### BEGIN SOLUTION
    # With s = x1 + x2 both units see nothing but s, which is 0, 1 or 2. The first counts from 0 on, the second from 1
    # on, so h1 - 2 h2 climbs to 1 at s = 1 and is back at 0 at s = 2: a tent with its top over the two XOR points.
    params = {"W1": np.array([[1.0, 1.0], [1.0, 1.0]]), "b1": np.array([0.0, -1.0])}
    # Twelve times the tent, minus 6, is z = -6, 6, 6, -6: far enough out on the sigmoid.
    params |= {"W2": np.array([[12.0, -24.0]]), "b2": np.array([-6.0])}
    return params, "relu"
    ### END SOLUTION


def hidden_points(X, params, hidden="relu"):
    """Where the inputs are when the output layer gets to see them: the activations of the LAST hidden layer.

    The output layer of a network is a single layer like any other: all it can do is to draw a line (or a plane). But
    it draws it among these points, not among the inputs.

    X:      inputs, one vector a row, (N, n0).
    params: as in `forward`, with at least two layers, that is at least one hidden layer.
    hidden: the hidden activation.
    Returns an array (N, n(L-1)): row i is the a of the last hidden layer for input i.

    Example: with the params of the example in `forward`, hidden_points([[1.0, 2.0], [2.0, 1.0]], params) gives
             [[3.0, 0.0], [3.0, 1.0]].
    """
    ### BEGIN SOLUTION
    rows = []
    for x in np.asarray(X, dtype=np.float64):
        _, layers = forward(x, params, hidden)
        # layers[-1] is the output layer; the one before it is the last hidden one, and item 1 of its pair is a.
        rows.append(layers[-2][1])
    return np.array(rows)
    ### END SOLUTION


def separating_line(points, labels, epochs=1000):
    """A line between two classes of points, or None if there is none: the perceptron of chapter 302 as a test.

    Start with w = 0 and b = 0. Go through the points in their order, again and again. The unit says 1 where
    p @ w + b > 0, and 0 elsewhere; where it says y_hat and the label y is another:

        w <- w + (y - y_hat) p          b <- b + (y - y_hat)

    A pass over all points without a mistake proves that (w, b) separates them. If a line exists, the perceptron finds
    one; if none exists, it would go on for ever. (A network with one hidden layer more has not found a better line: it
    has moved the points.)

    points: (N, D); labels: (N,), each 0 or 1, both present.
    epochs: give up after this many passes.
    Returns (w, b), an array (D,) and a number, with points @ w + b > 0 exactly where the label is 1: any such line is
    accepted, not only the perceptron's. Returns None if no pass was without a mistake.

    Example: separating_line([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 0, 0, 1]) gives a line, for instance ([2, 1], -2);
             with the labels [0, 1, 1, 0] of XOR it gives None.
    """
    ### BEGIN SOLUTION
    points = np.asarray(points, dtype=np.float64)
    w, b = np.zeros(points.shape[1]), 0.0
    for _ in range(epochs):
        mistakes = 0
        for point, label in zip(points, labels, strict=True):
            error = int(label) - int(point @ w + b > 0)
            if error:
                w, b, mistakes = w + error * point, b + error, mistakes + 1
        # Only a clean pass is a proof: the weights did not change during it, so they are right for every point.
        if mistakes == 0:
            return w, b
    return None
    ### END SOLUTION


def collapse(params):
    """The single layer that equals the whole network when its hidden activation is the identity.

    Two layers without a bend between them are one:

        W2 (W1 x + b1) + b2  =  (W2 W1) x + (W2 b1 + b2)

    so a hundred of them are one, too, and depth buys nothing. Return that one layer for any number of layers. (The
    sigmoid at the very end does not count: your W and b give the z of the last layer.)

    params: as in `forward`, with any number of layers from 1 on.
    Returns (W, b): arrays of shape (nL, n0) and (nL,), with W x + b = zL for every x.

    Example: collapse({"W1": [[1, 2], [0, 1]], "b1": [1, 1], "W2": [[3, 4]], "b2": [5]}) gives ([[3, 10]], [12]).
    """
    ### BEGIN SOLUTION
    W = np.array(params["W1"], dtype=np.float64)
    b = np.array(params["b1"], dtype=np.float64)
    for layer in range(2, len(params) // 2 + 1):
        W_next = np.asarray(params[f"W{layer}"], dtype=np.float64)
        # Everything so far passes through the next layer's weights, the biases too. What acts later stands further
        # left.
        W, b = W_next @ W, W_next @ b + np.asarray(params[f"b{layer}"], dtype=np.float64)
    return W, b
    ### END SOLUTION
