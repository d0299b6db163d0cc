"""Chapter 306: Backpropagation from Scratch

Which way should each of a million weights move? Backpropagation answers for all of them in one sweep: it starts with
the gradient of the loss at the output and hands it back, layer by layer, by the chain rule. You write every part of
it for a network of any depth, a gradient checker that proves you right, and the loop that trains with it.

Conventions, here and in every chapter:
  - the batch is the first axis: inputs X are (B, n0), the output of layer l is (B, nl);
  - parameters are a dict W1, b1, W2, b2, ..., counted from 1: Wl has shape (out, in), bl has shape (out,), and the
    layer computes z = a_prev @ Wl.T + bl; gradients are a dict with the same keys and shapes;
  - hidden layers apply an activation, a = f(z); the last layer does not: its z are the logits;
  - the loss is a mean over the batch, and the 1/B of that mean enters once, in the gradient of the loss at the logits.
    From there on everything is a sum over the batch: nobody divides by B again;
  - functions accept any array of numbers, or plain lists, work in float64, and never modify what they are given.

Run `dlgrade check ch306` as often as you like; `dlgrade hint ch306 backward` helps you on.
"""

import numpy as np


def activate(z, name):
    """Given: the activation "relu", "sigmoid" or "tanh" of every entry of z; same shape as z."""
    z = np.asarray(z, dtype=np.float64)
    if name == "relu":
        return np.maximum(z, 0.0)
    if name == "sigmoid":
        # log(1 + exp(-z)) never overflows in this form, and the sigmoid is exp of minus that.
        return np.exp(-np.logaddexp(0.0, -z))
    if name == "tanh":
        return np.tanh(z)
    raise ValueError(f"no activation is called {name!r}")


def activation_slope(z, name):
    """The derivative of an activation at every entry of z.

    "relu":     1 where z > 0, and 0 elsewhere; at z = 0, where the curve has a corner, the slope is 0 by convention
    "sigmoid":  s (1 - s)   with s = sigmoid(z)
    "tanh":     1 - t^2     with t = tanh(z)

    z is what goes INTO the activation. The values s and t come from `activate`, which is given and never overflows:
    your slopes must be free of nan for z of plus or minus 10,000 too. Use these formulas, and not a difference of two
    values: where a curve is almost flat, a difference has no digits left.

    z:    any shape, for example (B, n).
    name: "relu", "sigmoid" or "tanh".
    Returns an array of the shape of z.

    Example: activation_slope([-2.0, 0.0, 3.0], "relu") gives [0.0, 0.0, 1.0];
             activation_slope([0.0], "sigmoid") gives [0.25], and activation_slope([0.0], "tanh") gives [1.0].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("activation_slope is still to do")


def layer_backward(dz, a_prev, W):
    """Backward through one layer z = a_prev @ W.T + b.

    Given the gradient of the loss at z, the chain rule gives it at the three things that z was made of:

        dW = dz^T a_prev        db = sum of dz over the batch        da_prev = dz W

    One weight meets every sample of the batch, so its gradient is a sum over the batch, and so is a bias's. dz is the
    gradient of a mean loss and carries the 1/B already: do not divide by B here. (Two matrix products, where the
    forward has one: that is why a backward pass costs about twice a forward pass.)

    dz:     gradient of the loss at z, (B, out).
    a_prev: what came into the layer, (B, in).
    W:      its weights, (out, in).
    Returns (da_prev, dW, db), in this order, with shapes (B, in), (out, in) and (out,).

    Example: layer_backward([[1.0], [2.0]], [[3.0, 4.0], [5.0, 6.0]], [[10.0, 20.0]]) gives
             ([[10.0, 20.0], [20.0, 40.0]], [[13.0, 16.0]], [3.0]), because 1 * 3 + 2 * 5 = 13 and 1 * 4 + 2 * 6 = 16.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("layer_backward is still to do")


def forward(X, params, hidden="relu"):
    """The network's logits, and a cache of what its backward pass will need.

    With a0 = X, for each layer l = 1, ..., L:

        zl = a(l-1) @ Wl.T + bl          al = f(zl) in the hidden layers          logits = zL in the last one

    The number of layers L is any number from 1 on, and is read off params, whose keys may come in any order.

    X:      inputs, (B, n0).
    params: dict with W1 (n1, n0), b1 (n1,), ..., WL (nL, n(L-1)), bL (nL,).
    hidden: the activation of all hidden layers: "relu", "sigmoid" or "tanh".
    Returns (logits, cache): an array (B, nL), and whatever your `backward` wants to find again. What the cache is made
    of is your choice; `backward` gets nothing but the cache and the gradient at the logits.

    Example: with params = {"W1": [[1, 1], [1, -1]], "b1": [0, 0], "W2": [[2, 5]], "b2": [1]} and X = [[1.0, 2.0]]
             the first layer has z = [[3, -1]], so a = [[3, 0]], and the logits are [[7.0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("forward is still to do")


def backward(dout, cache):
    """Gradients of every parameter, and of the inputs, from the gradient at the logits.

    From the last layer to the first:

        dzL = dout                                        the last layer has no activation
        da(l-1), dWl, dbl = layer_backward(dzl, a(l-1), Wl)
        dz(l-1) = da(l-1) * f'(z(l-1))                    entry by entry, the slope at what went into the activation

    When layer 1 is done, da0 is the gradient of the inputs. All of it is exact: central differences come later, and
    only to check it.

    dout:  gradient of the loss at the logits, (B, nL); any numbers, for this function does not care about the loss.
    cache: what `forward` returned second. Leave it as it is: it can be used again, with another dout, and two forward
           passes have two caches that do not disturb each other.
    Returns (grads, dX): a dict with exactly the keys and the shapes of params, and an array (B, n0).

    Example: for the network and the input in `forward`, dout = [[1.0]] gives grads["W2"] = [[3.0, 0.0]],
             grads["b2"] = [1.0], grads["W1"] = [[2.0, 4.0], [0.0, 0.0]], grads["b1"] = [2.0, 0.0], and
             dX = [[2.0, 2.0]]: the second hidden unit is off, and nothing passes through it.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("backward is still to do")


def output_loss(logits, y, head):
    """The mean loss of a batch, and its gradient at the logits: where backpropagation starts.

    "bce": one logit a sample, p = sigmoid(z), targets 0 or 1.
           loss = mean over the batch of  -(y log p + (1 - y) log(1 - p))        dout = (p - y) / B
    "ce":  K logits a sample, p = softmax(z), class labels c.
           loss = mean over the batch of  -log p_c                               dout = (p - one_hot(c)) / B

    Both gradients are already at the logits: the slope of the sigmoid or of the softmax is inside them, it has
    cancelled against the slope of the logarithm. Here is also the one place where B divides.
    Be exact for logits of 10,000: -log p = log(1 + exp(-z)), -log(1 - p) = log(1 + exp(z)), and np.logaddexp(0, z)
    is a log(1 + exp(z)) that never overflows; for the softmax subtract the maximum of each row first.

    logits: (B, 1) for "bce", (B, K) for "ce".
    y:      "bce": targets 0 or 1, (B,) or (B, 1): pair them up, do not let them broadcast; "ce": class labels
            (B,) in 0..K-1, whole numbers.
    head:   "bce" or "ce".
    Returns (loss, dout): a number, and an array of the shape of the logits.

    Example: output_loss([[0.0]], [1.0], "bce") gives (log 2, [[-0.5]]),
             and output_loss([[0.0, 0.0]], [1], "ce") gives (log 2, [[0.5, -0.5]]).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("output_loss is still to do")


def numerical_gradient(f, x, h=1e-5):
    """The gradient of any function, from its values alone: slow, but it cannot make the mistakes that a formula can.

    Nudge one entry of x up by h, then down by h, all others as they were. With e the nudged entry's direction:

        gradient at that entry = ( f(x + h e) - f(x - h e) ) / (2 h)

    This central difference is right to about h^2. The one-sided ( f(x + h e) - f(x) ) / h is right to h only, which
    is too little to prove a gradient right.

    f: a function of an array of the shape of x that returns one number.
    x: an array of any shape, or a list; whole numbers too (make them floats first, or the nudge is lost). It must
       come back exactly as it was, to the last digit.
    h: the size of the nudge.
    Returns an array of the shape of x.

    Example: numerical_gradient(lambda x: np.sum(x**2), [1.0, -3.0]) gives [2.0, -6.0] to about 10 digits.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("numerical_gradient is still to do")


def gradient_check(params, X, y, hidden, head):
    """Given: how far your `backward` is from central differences of your own loss, for each parameter and for X.

    Returns a dict: the largest difference between the two gradients, relative to the largest entry of the gradient.
    Below 1e-6 the gradient is right; above 1e-4 it is wrong; in between, suspect a ReLU very near its corner.
    """
    logits, cache = forward(X, params, hidden)
    grads, dX = backward(output_loss(logits, y, head)[1], cache)

    def loss_with(name):
        def loss(value):
            inputs, weights = (value, params) if name == "X" else (X, {**params, name: value})
            return output_loss(forward(inputs, weights, hidden)[0], y, head)[0]

        return loss

    errors = {}
    for name, value in {**params, "X": X}.items():
        ours = np.asarray(dX if name == "X" else grads[name])
        theirs = np.asarray(numerical_gradient(loss_with(name), value))
        errors[name] = float(np.max(np.abs(ours - theirs)) / max(np.max(np.abs(theirs)), 1e-12))
    return errors


def train(params, X, y, lr, steps, hidden="relu", head="ce"):
    """Gradient descent on the whole batch.

    Each step computes the loss and all gradients with the parameters as they stand, and only then moves all of them:

        Wl <- Wl - lr dWl          bl <- bl - lr dbl

    params: the parameters to start from, as in `forward`. The caller's dict and arrays stay as they are.
    X, y:   the batch, (B, n0), and its targets, as in `output_loss`.
    lr:     the learning rate, a positive number.
    steps:  how many steps, a whole number.
    hidden: the activation of the hidden layers; head: "bce" or "ce".
    Returns (params, losses): a new dict with the trained parameters, and the loss BEFORE each step, an array (steps,).

    Example: train({"W1": [[0.0]], "b1": [0.0]}, [[2.0]], [1.0], 1.0, 1, head="bce") gives
             ({"W1": [[1.0]], "b1": [0.5]}, [log 2]): the gradient at the logit is -0.5, at the weight -0.5 * 2.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("train is still to do")
