"""Chapter 310: Batch Normalisation

A layer's outputs can lie anywhere: around 5 with a spread of 3 in one unit, around -200 with a spread of 0.01 in the
next, and elsewhere again after every step of training. Normalisation puts them where the next layer can use them: it
subtracts a mean, divides by a standard deviation, and lets the network choose a new scale gamma and a new shift beta.
You write batch normalisation with its gradients, for vectors and for images, in training and in evaluation, and layer
normalisation, which Transformers use instead.

Conventions, here and in every chapter:
  - the batch is the first axis: vectors x are (B, D), images (B, C, H, W); gamma and beta are (D,), or (C,) for images;
  - the variance that normalises is the biased one, the mean of squared deviations: divide by B, not by B - 1;
  - eps = 1e-5 stands INSIDE the square root: x_hat = (x - mean) / sqrt(var + eps);
  - running statistics are a dict {"running_mean": (D,), "running_var": (D,)}: passed in, and a new one returned;
  - momentum is the weight of the NEW batch, 0.1 unless told otherwise (some libraries call 0.9 what is 0.1 here);
  - functions accept any array of numbers, or plain lists, work in float64, and never modify what they are given.

Why it helps is still argued about. The paper that introduced it (Ioffe and Szegedy, 2015) said that it keeps the inputs
of each layer from drifting, "internal covariate shift"; later experiments (Santurkar and others, 2018) found nets that
train just as well while their inputs drift even more. Two things are certain, and you can compute them below: the
output does not change when all weights of the layer before are multiplied by ten (but for eps), nor when a bias is
added to it. That bias is superfluous: its gradient is zero.

Run `dlgrade check ch310` as often as you like; `dlgrade hint ch310 batch_norm_forward` helps you on.
"""

import numpy as np


def new_state(features):
    """Given: the running statistics before the first batch, mean 0 and variance 1 for each of the features."""
    return {"running_mean": np.zeros(features), "running_var": np.ones(features)}


def batch_statistics(x):
    """Mean and variance of every feature over the batch.

        mean_d = (1/B) sum_b x_bd          var_d = (1/B) sum_b (x_bd - mean_d)^2

    Take the deviations first and square them then. The shortcut "mean of the squares minus square of the mean" is the
    same on paper, but it subtracts two huge numbers: for values around 100 million not one digit of it is right.

    x: (B, D), B at least 1.
    Returns (mean, var), each of shape (D,).

    Example: batch_statistics([[1.0, 10.0], [3.0, 10.0]]) gives ([2.0, 10.0], [1.0, 0.0]).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("batch_statistics is still to do")


def update_running(state, mean, var, count, momentum=0.1):
    """The running statistics after one more batch.

        running_mean = (1 - momentum) running_mean + momentum mean
        running_var  = (1 - momentum) running_var  + momentum var count / (count - 1)

    They estimate the mean and the variance of ALL data, for the day when there is no batch. A variance around the
    batch's own mean comes out too small, by the factor (count - 1) / count on average; the second line undoes that.
    After k batches the start has the weight (1 - momentum)^k, the last batch momentum, the one before it
    momentum (1 - momentum), and so on.

    state:    dict with "running_mean" and "running_var", each (D,). It must come back unchanged.
    mean:     the batch's means, (D,).
    var:      the batch's biased variances, (D,), as batch_statistics returns them.
    count:    how many values each of these was computed from, a whole number: B for vectors.
    momentum: the weight of the new batch, from 0 to 1.
    Returns a new dict with the two keys of state. Raises ValueError for a count below 2: one value has no spread.

    Example: update_running({"running_mean": [0.0], "running_var": [1.0]}, [5.0], [3.0], 4) gives
             {"running_mean": [0.5], "running_var": [1.3]}, because 0.9 * 1 + 0.1 * 3 * 4 / 3 = 1.3.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("update_running is still to do")


def batch_norm_forward(x, gamma, beta, state, training, momentum=0.1, eps=1e-5):
    """Batch normalisation of vectors, in training and in evaluation.

        x_hat = (x - mean) / sqrt(var + eps)          out = gamma x_hat + beta

    In training, mean and var are the batch's own (see batch_statistics), and the state moves on (see update_running).
    In evaluation, they are running_mean and running_var as they stand, the state stays as it is, and no example depends
    on its neighbours: a batch of one works, and every row comes out as it would alone.

    In training each column of x_hat has mean 0 and variance var / (var + eps), nearly 1. A batch of one equals its own
    mean, so that out would be beta whatever x is: with B = 1, training raises ValueError instead. A feature that is
    constant over the batch is no problem: its x_hat is 0.

    x:        (B, D). Subtract the mean before you do anything else, for x may lie far from 0.
    gamma:    the new scale of each feature, (D,).
    beta:     its new shift, (D,).
    state:    dict with "running_mean" and "running_var", each (D,). It must come back unchanged.
    training: True or False.
    momentum: the weight of this batch in the running statistics.
    eps:      keeps the square root away from zero. It is added to the variance, not to its root.
    Returns (out, cache, new_state): an array (B, D), whatever your batch_norm_backward wants to find again (the cache
    is your choice), and a dict like state.

    Example: batch_norm_forward([[1.0], [3.0]], [2.0], [5.0], new_state(1), True, eps=0.0) gives out [[3.0], [7.0]] and
             the new state {"running_mean": [0.2], "running_var": [1.1]}. With training=False it gives [[7.0], [11.0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("batch_norm_forward is still to do")


def batch_norm_backward(dout, cache):
    """Gradients of batch normalisation.

    gamma and beta meet every row of the batch, so their gradients are sums over it:

        dgamma = sum_b dout x_hat          dbeta = sum_b dout

    After a forward pass in evaluation, mean and variance are constants, and with g = dout gamma

        dx = g / sqrt(var + eps)

    In training every x_bd also moves the mean and the variance of its column, and through them all other rows. Carry
    the chain rule through both (this is worth a sheet of paper), and it collapses to

        dx = ( g - mean_b(g) - x_hat mean_b(g x_hat) ) / sqrt(var + eps)

    with means over the batch. So each column of dx sums to 0: no constant added to a feature changes the loss, and a
    bias in the layer before is wasted.

    dout:  gradient of the loss at out, (B, D).
    cache: what batch_norm_forward returned second. Leave it as it is: it can be used again, with another dout, and two
           forward passes have two caches that do not disturb each other.
    Returns (dx, dgamma, dbeta), in this order, with shapes (B, D), (D,) and (D,).

    Example: after batch_norm_forward([[0.0], [0.0], [3.0], [3.0]], [2.0], [0.0], new_state(1), True, eps=0.0), x_hat is
             [[-1.0], [-1.0], [1.0], [1.0]], and dout = [[3.0], [0.0], [0.0], [0.0]] gives dx = [[2.0], [-2.0], [0.0],
             [0.0]], dgamma = [-3.0] and dbeta = [3.0].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("batch_norm_backward is still to do")


def batch_norm_images_forward(x, gamma, beta, state, training, momentum=0.1, eps=1e-5):
    """Batch normalisation of images: one mean and one variance for each channel.

    A convolution applies the same weights at every pixel, so every pixel counts as one more example of its channel:
    the statistics are over batch, height and width together, and there are count = B * H * W values for each.
    So lay out the images as rows, one row a pixel and one column a channel, (B * H * W, C), normalise the rows, and put
    everything back in place. Mind the axes: the channels must be moved to the end BEFORE the reshape.

    x:     (B, C, H, W), H and W may differ. B = 1 is fine in training as long as B * H * W is at least 2; a single
           value a channel raises ValueError there.
    gamma, beta, state, training, momentum, eps: as for batch_norm_forward, with C in place of D.
    Returns (out, cache, new_state): an array (B, C, H, W), a cache of your choice, and a dict like state.

    Example: batch_norm_images_forward([[[[1.0, 3.0]]]], [2.0], [5.0], new_state(1), True, eps=0.0) gives out
             [[[[3.0, 7.0]]]] and the new state {"running_mean": [0.2], "running_var": [1.1]}: one image of one
             channel and two pixels is to batch normalisation what two examples of one feature are.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("batch_norm_images_forward is still to do")


def batch_norm_images_backward(dout, cache):
    """Gradients of batch normalisation of images.

    The rows of batch_norm_images_forward, the other way: lay out dout as rows, one a pixel, let batch_norm_backward
    do the work, and put dx back in place.

    dout:  gradient of the loss at out, (B, C, H, W).
    cache: what batch_norm_images_forward returned second. Leave it as it is.
    Returns (dx, dgamma, dbeta) with shapes (B, C, H, W), (C,) and (C,).

    Example: after batch_norm_images_forward([[[[0.0, 0.0], [3.0, 3.0]]]], [2.0], [0.0], new_state(1), True, eps=0.0),
             dout = [[[[3.0, 0.0], [0.0, 0.0]]]] gives dx = [[[[2.0, -2.0], [0.0, 0.0]]]], dgamma = [-3.0] and
             dbeta = [3.0].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("batch_norm_images_backward is still to do")


def fold_batch_norm(W, b, gamma, beta, state, eps=1e-5):
    """One linear layer that does the work of two: a linear layer and the batch normalisation behind it.

    In evaluation the normalisation is a fixed scale and shift of every output, so a finished network need not pay for
    it. With s = gamma / sqrt(running_var + eps), one number for each output,

        gamma ((x W^T + b) - running_mean) / sqrt(running_var + eps) + beta   =   x W_new^T + b_new

    W:           weights, (out, in).
    b:           biases, (out,).
    gamma, beta: of the batch normalisation, (out,).
    state:       its running statistics, each (out,).
    Returns (W_new, b_new) with the shapes of W and b.

    Example: fold_batch_norm([[1.0, 2.0]], [3.0], [6.0], [1.0], {"running_mean": [5.0], "running_var": [4.0]}, eps=0.0)
             gives ([[3.0, 6.0]], [-5.0]), because s = 3 and 3 * (3 - 5) + 1 = -5.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("fold_batch_norm is still to do")


def layer_norm_forward(x, gamma, beta, eps=1e-5):
    """Layer normalisation: every vector is normalised with its own mean and variance, over its features.

        x_hat = (x - mean) / sqrt(var + eps)          out = gamma x_hat + beta

    The formula is that of batch normalisation, but mean and (biased) variance are taken over the LAST axis, so that
    each example, and each position of a sequence, stands alone. There is no batch to estimate anything from: no running
    statistics, no difference between training and evaluation, and a batch of one is as good as any.

    x:     (..., D): for example (B, D), or sequences (B, T, D). As before, subtract the mean first.
    gamma: scale of each feature, (D,).
    beta:  shift of each feature, (D,).
    Returns (out, cache): an array of the shape of x, and a cache of your choice for layer_norm_backward.

    Example: layer_norm_forward([[1.0, 3.0], [10.0, 50.0]], [2.0, 1.0], [0.0, 5.0], eps=0.0) gives out
             [[-2.0, 6.0], [-2.0, 6.0]]: in both rows x_hat is [-1.0, 1.0].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("layer_norm_forward is still to do")


def layer_norm_backward(dout, cache):
    """Gradients of layer normalisation.

    With g = dout gamma, and means over the last axis,

        dx = ( g - mean_d(g) - x_hat mean_d(g x_hat) ) / sqrt(var + eps)

    Here gamma varies along the axis of the means, so it cannot be pulled out of them: multiply first. gamma and beta
    meet every vector, so their gradients add up over all axes but the last:

        dgamma = sum dout x_hat          dbeta = sum dout

    dout:  gradient of the loss at out, (..., D).
    cache: what layer_norm_forward returned second. Leave it as it is.
    Returns (dx, dgamma, dbeta), in this order, with the shapes of x, (D,) and (D,).

    Example: after layer_norm_forward([[0.0, 0.0, 3.0, 3.0]], [2.0, 2.0, 2.0, 2.0], [0.0, 0.0, 0.0, 0.0], eps=0.0),
             dout = [[3.0, 0.0, 0.0, 0.0]] gives dx = [[2.0, -2.0, 0.0, 0.0]], dgamma = [-3.0, 0.0, 0.0, 0.0] and
             dbeta = [3.0, 0.0, 0.0, 0.0].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("layer_norm_backward is still to do")
