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
    ### BEGIN SOLUTION
    y_hat = np.asarray(y_hat, dtype=np.float64)
    y = np.asarray(y, dtype=np.float64)
    error = y_hat - y
    loss = np.mean(error**2)
    # The square brings the factor 2, the mean brings 1/N. N counts every entry, not only the rows.
    grad = 2.0 * error / error.size
    return loss, grad
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    x = np.asarray(x, dtype=np.float64)
    # keepdims leaves an axis of length one, so that each slice is shifted by its own maximum.
    weights = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return weights / np.sum(weights, axis=axis, keepdims=True)
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    x = np.asarray(x, dtype=np.float64)
    shifted = x - np.max(x, axis=axis, keepdims=True)
    # The largest shifted logit is 0, so the sum is at least 1 and its logarithm is harmless.
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    logits = np.asarray(logits, dtype=np.float64)
    targets = np.asarray(targets)
    batch, classes = logits.shape
    if targets.ndim == 1:
        one_hot = np.zeros((batch, classes))
        one_hot[np.arange(batch), targets.astype(int)] = 1.0
    else:
        one_hot = targets.astype(np.float64)
    log_p = log_softmax(logits)
    # One term per row survives the inner sum. The mean is over the rows: dividing by B * K would be K times too little.
    loss = -np.sum(one_hot * log_p) / batch
    # d(-log p_c)/dx_k = p_k - [k == c], and the mean contributes 1/B.
    grad = (np.exp(log_p) - one_hot) / batch
    return loss, grad
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    z = np.asarray(logits, dtype=np.float64)
    # (N, 1) minus (N,) would be an (N, N) table of all pairs; giving y the shape of z pairs each logit with its target.
    y = np.asarray(y, dtype=np.float64).reshape(z.shape)
    tail = np.log1p(np.exp(-np.abs(z)))
    minus_log_p = np.maximum(-z, 0.0) + tail
    minus_log_not_p = np.maximum(z, 0.0) + tail
    loss = np.mean(y * minus_log_p + (1.0 - y) * minus_log_not_p)
    # exp(-log(1 + e^-z)) is the sigmoid, and its exponent is never positive.
    p = np.exp(-minus_log_p)
    return loss, (p - y) / z.size
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    r = np.asarray(y_hat, dtype=np.float64) - np.asarray(y, dtype=np.float64)
    small = np.abs(r) <= delta
    # At |r| = delta both pieces are delta^2 / 2: the halves are what makes them meet.
    pieces = np.where(small, 0.5 * r**2, delta * (np.abs(r) - 0.5 * delta))
    grad = np.clip(r, -delta, delta) / r.size
    return np.mean(pieces), grad
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    prediction = np.asarray(prediction, dtype=np.float64)
    _, grad = loss(prediction, target)
    slopes = np.zeros_like(prediction)
    for index in np.ndindex(prediction.shape):
        up, down = prediction.copy(), prediction.copy()
        up[index] += h
        down[index] -= h
        slopes[index] = (loss(up, target)[0] - loss(down, target)[0]) / (2 * h)
    return np.max(np.abs(slopes - grad))
    ### END SOLUTION
