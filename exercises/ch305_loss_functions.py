"""Chapter 305: Loss Functions

A loss turns "how wrong is the network?" into one number, and its gradient tells every output which way to move.
You write the four losses that most of deep learning uses, each with its gradient, and make them exact where the
textbook formulas break: at logits of ten thousand.

Conventions, here and in every chapter:
  - the batch is the first axis: predictions (B,) or (B, D), logits (B, K) with the classes on the last axis;
  - a loss is a mean, and the gradient is the gradient of that mean: nobody divides by the batch size again later;
  - functions accept any array of numbers, or plain lists, work in float64, and never modify what they are given.

Run `dlgrade check ch305` as often as you like; `dlgrade hint ch305 softmax` helps you on.
"""

import numpy as np


def mse(y_hat, y):
    """Mean squared error, and its gradient with respect to the predictions.

    With N entries in all:   loss = sum((y_hat - y)^2) / N      grad = 2 (y_hat - y) / N

    y_hat: predictions, any shape, for example (B,) or (B, D).
    y:     targets, the same shape.
    Returns (loss, grad): a number, and an array of the shape of y_hat.

    Example: mse([1.0, 2.0], [0.0, 4.0]) gives (2.5, [1.0, -2.0]), because (1 + 4) / 2 = 2.5.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("mse is still to do")


def softmax(x, axis=-1):
    """Turn logits into probabilities along one axis.

    p_k = exp(x_k) / sum_j exp(x_j)

    Adding a constant to all logits changes nothing, so you are free to subtract their maximum first. Do: then the
    largest exponent is 0 and nothing overflows, even for logits of 10,000.

    x:    logits, any shape, for example (B, K).
    axis: the axis along which the probabilities sum to one; the last one unless told otherwise.
    Returns an array of the shape of x.

    Example: softmax([0.0, log 3]) gives [0.25, 0.75], and softmax([10000.0, 10000.0]) gives [0.5, 0.5].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("softmax is still to do")


def log_softmax(x, axis=-1):
    """The logarithm of the softmax, without taking the logarithm of a probability.

    log p_k = x_k - log(sum_j exp(x_j))

    A probability can round to 0, and log 0 is minus infinity. The sum of exponentials can overflow. With m the
    maximum of the logits, both are avoided by   log p_k = (x_k - m) - log(sum_j exp(x_j - m)).

    x:    logits, any shape, for example (B, K).
    axis: the axis of the classes; the last one unless told otherwise.
    Returns an array of the shape of x.

    Example: log_softmax([10000.0, 0.0]) gives [0.0, -10000.0].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("log_softmax is still to do")


def cross_entropy(logits, targets):
    """Softmax cross-entropy from logits, and its gradient with respect to the logits.

    With the one-hot targets t and p = softmax(logits):

        loss = -(1/B) sum_b sum_k t_bk log p_bk          grad = (p - t) / B

    logits:  (B, K).
    targets: integer class labels (B,) in 0..K-1, or one-hot rows (B, K): both must give the same answer.
    Returns (loss, grad): a number, and an array of shape (B, K).

    It must be exact for any logits: use log_softmax, never log(p + a small number).

    Example: cross_entropy([[0.0, 0.0]], [1]) gives (log 2, [[0.5, -0.5]]),
             and cross_entropy([[10000.0, 0.0]], [1]) has the loss 10000.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("cross_entropy is still to do")


def bce_with_logits(logits, y):
    """Binary cross-entropy from logits, and its gradient with respect to the logits.

    With p = sigmoid(z) = 1 / (1 + exp(-z)) and N entries in all:

        loss = -(1/N) sum( y log p + (1 - y) log(1 - p) )          grad = (p - y) / N

    Both logarithms are softplus functions in disguise: -log p = softplus(-z) and -log(1 - p) = softplus(z), where
    softplus(z) = log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|)). The last form never overflows.

    logits: (N,) or (N, 1).
    y:      as many targets, 0 or 1. They may come as (N,) for logits (N, 1): pair them up, do not let them broadcast.
    Returns (loss, grad): a number, and an array of the shape of the logits.

    Example: bce_with_logits([0.0], [1.0]) gives (log 2, [-0.5]), and bce_with_logits([-10000.0], [1.0]) the loss 10000.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("bce_with_logits is still to do")


def huber(y_hat, y, delta=1.0):
    """Huber loss: a parabola for small errors, straight lines for large ones; and its gradient.

    With the error r = y_hat - y and N entries in all, the mean over the entries of

        r^2 / 2                        where |r| <= delta
        delta (|r| - delta / 2)        elsewhere

    The two pieces meet with the same value and the same slope. The gradient is r, held within -delta and delta, over N.

    y_hat, y: any shape, both the same.
    delta:    where the parabola ends, a positive number.
    Returns (loss, grad): a number, and an array of the shape of y_hat.

    Example: huber([0.5, 3.0], [0.0, 0.0]) gives (1.3125, [0.25, 0.5]), because (0.125 + 2.5) / 2 = 1.3125.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("huber is still to do")


def gradient_error(loss, prediction, target, h=1e-5):
    """How far a loss's gradient is from what its values say: the check that found most bugs in this chapter.

    Nudge one entry of the prediction up by h, then down by h, everything else as it was. The slope

        ( loss(prediction + h) - loss(prediction - h) ) / (2 h)

    is a central difference. It should equal that entry of the gradient, to about h^2.

    loss:       a function of (prediction, target) that returns (value, gradient), like the ones above.
    prediction: an array of any shape. It must come back unchanged.
    target:     handed to the loss as it is.
    h:          the size of the nudge.
    Returns one number: the largest absolute difference between slope and gradient over all entries.

    Example: gradient_error(mse, [1.0, 2.0], [0.0, 4.0]) is below 1e-9; with a gradient that forgets the factor 2
             it is 1.0.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("gradient_error is still to do")
