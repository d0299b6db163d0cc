"""Chapter 308: Initialisation Strategies

A deep network multiplies by a weight matrix in every layer. If each one makes the signal a little smaller, or a little
larger, nothing or infinity arrives at the end; and the gradient suffers the same on its way back. Behind ten ReLU
layers of 512 units, measured, the standard deviation of the activations is 9e-9 with weights of size 0.01 and 0.025
with Xavier's; with He's it is 0.8. You write the distributions that keep the signal alive, and the two measurements
that show it.

Conventions, here and in every chapter:
  - W has shape (out, in), so fan_in is the number of its columns, what comes in, and fan_out the number of its rows;
  - the batch is the first axis, and a layer computes x @ W.T;
  - all randomness comes from the argument rng, a np.random.Generator: the same generator gives the same weights. How
    you draw from it is up to you; what is checked is the distribution;
  - functions accept any array of numbers, or plain lists, return float64, and never modify what they are given.

Run `dlgrade check ch308` as often as you like; `dlgrade hint ch308 he_normal` helps you on.
"""

import numpy as np


def xavier_uniform(fan_in, fan_out, rng):
    """Xavier's (Glorot's) weights, uniform: made for layers whose activation is nearly the identity, such as tanh.

    A sum of fan_in products keeps its variance when the weights have variance 1 / fan_in; on the way back the gradient
    asks for 1 / fan_out. Xavier takes the compromise 2 / (fan_in + fan_out). A uniform distribution on -a to a has the
    variance a^2 / 3, so

        W[i, j] uniform on -bound to bound,          bound = sqrt(6 / (fan_in + fan_out))

    fan_in, fan_out: the numbers of inputs and of units. rng: the generator to draw from.
    Returns W of shape (fan_out, fan_in), all entries independent.

    Example: xavier_uniform(5, 1, rng) has the shape (1, 5), and its entries lie between -1 and 1.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("xavier_uniform is still to do")


def he_normal(fan_in, fan_out, rng, mode="fan_in"):
    """He's weights, normal: made for ReLU layers.

    A ReLU sets half of a symmetric signal to zero and with it half of its mean square, which weights twice as variable
    make up for:

        W[i, j] normal with mean 0 and VARIANCE 2 / fan,   that is with standard deviation sqrt(2 / fan)

    With fan = fan_in the mean square of the signal stays the same from layer to layer on its way forward, with fan =
    fan_out that of the gradient on its way back. What stays is the mean square, E[a^2], and not the standard deviation:
    a ReLU's outputs have a mean above 0, and behind inputs of mean square 1 their standard deviation is
    sqrt(1 - 1/pi) = 0.83.

    fan_in, fan_out: the numbers of inputs and of units. rng: the generator to draw from.
    mode: "fan_in" or "fan_out": which of the two is the fan in the formula.
    Returns W of shape (fan_out, fan_in), all entries independent.

    Example: he_normal(8, 50, rng) has the shape (50, 8) and a standard deviation near sqrt(2 / 8) = 0.5; with
             mode="fan_out" it is near 0.2.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("he_normal is still to do")


def orthogonal(fan_in, fan_out, rng, gain=1.0):
    """Orthogonal weights: random directions, and no length changed.

    For a square W:                 W^T W = gain^2 I: every vector is turned, and made `gain` times as long.
    With fewer units than inputs:   W W^T = gain^2 I: the rows are orthogonal, of length gain.
    With more units than inputs:    W^T W = gain^2 I: the columns are orthogonal, of length gain.

    So rectangular matrices do very well; whichever are fewer, rows or columns, are orthonormal. To get there, draw a
    matrix of standard normal numbers that has at least as many rows as columns. Its QR factorisation, np.linalg.qr,
    gives Q with orthonormal columns. Multiply each column of Q by the sign of R's diagonal entry: without that some
    directions would never come (NumPy's Q[0, 0] always comes out negative); with it all are equally likely. At last
    transpose if need be, and multiply by gain. (Between linear layers nothing grows or fades then, however many they
    are; behind a ReLU a gain of sqrt(2) makes up for the lost half.)

    fan_in, fan_out: the numbers of inputs and of units. rng: the generator to draw from. gain: a positive number.
    Returns W of shape (fan_out, fan_in).

    Example: orthogonal(2, 2, rng) is a rotation [[c, -s], [s, c]] or a reflection [[c, s], [s, -c]], with
             c^2 + s^2 = 1; orthogonal(1, 3, rng) is a column of length 1.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("orthogonal is still to do")


def forward_moments(x, weights):
    """The mean square of the signal in front of a stack of ReLU layers and behind each of them.

    With a0 = x:      al = relu(a(l-1) @ Wl.T)      and      moment l = mean of al^2, over all entries

    There are no biases. Try it: with he_normal the moments stay near the first one (a network of finite width wanders
    off by chance, a narrow one more), with xavier_uniform in layers of equal width each is half of the one before, and
    with weights of size 0.01 the signal is gone after a few layers.

    x:       inputs, (B, n0).
    weights: a list of L matrices, the first layer's first, Wl of shape (nl, n(l-1)).
    Returns an array (L + 1,): the moments of x, a1, ..., aL. An empty list of weights gives one entry.

    Example: forward_moments([[3.0, 1.0]], [[[1.0, 1.0], [-1.0, 0.0]], [[0.5, 1.0]]]) gives [5.0, 8.0, 4.0], because
             a1 = [[4, 0]] and a2 = [[2]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("forward_moments is still to do")


def backward_moments(x, weights, dout):
    """The mean square of the gradient behind each layer of the same stack, and in front of it.

    Run forward first. Then, with the gradient daL = dout at the output of the last layer, from the last layer to the
    first:

        dzl = dal where zl > 0, and 0 elsewhere          da(l-1) = dzl @ Wl

    Read the line backwards and it is a forward pass through the transposed matrices: what comes in is now fan_out
    numbers wide. That is why weights of variance 2 / fan_out keep the gradient, as 2 / fan_in keeps the signal. In
    layers of equal width both hold at once.

    x, weights: as in `forward_moments`.
    dout:       the gradient at the output of the last layer, (B, nL).
    Returns an array (L + 1,): the mean squares of da0 (the gradient at x), da1, ..., daL = dout, in this order.

    Example: with the x and weights of the example above and dout = [[2.0]] it gives [1.0, 2.5, 4.0]: the gradient is
             [[1, 2]] at a1, and [[1, 1]] at x, because the second unit passes nothing on.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("backward_moments is still to do")


def output_bias(p):
    """The bias with which a sigmoid output starts at p.

    sigmoid(b) = p          for          b = log(p / (1 - p))

    If one sample in a hundred is positive, a network that starts at 0.5 spends its first steps on learning just that.
    With this bias (and small or no weights in the output layer) it starts there, and with the loss
    -p log p - (1 - p) log(1 - p) = 0.056 instead of log 2 = 0.69.

    p: a number strictly between 0 and 1, or an array of such.
    Returns the bias, a number for a number, or an array of the shape of p.

    Example: output_bias(0.5) is 0, output_bias(0.01) is -4.59511985013459, and output_bias([0.2, 0.8]) is
             [-1.3862943611198906, 1.3862943611198906].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("output_bias is still to do")


def init_network(widths, rng, p=0.5):
    """All parameters of a ReLU network with a sigmoid output, ready to be trained.

    Hidden layers:  Wl by he_normal (mode "fan_in"), bl = 0.
    Output layer:   WL = 0 and every entry of bL = output_bias(p), so that the network says p to every input.

    Which zeros are harmless? Zero biases are: the random weights tell the units apart. Zero weights in the output layer
    are: its gradient is made of the hidden activations, which differ. Zero weights in a HIDDEN layer are fatal. All its
    units compute the same, get the same gradient, and stay equal for ever; and so it is with any other number in the
    place of 0.

    widths: (n0, n1, ..., nL), at least three numbers, so that there is a hidden layer.
    rng:    the generator to draw from, used for all layers one after the other.
    p:      what the network says at the start, between 0 and 1.
    Returns a dict with W1 (n1, n0), b1 (n1,), ..., WL (nL, n(L-1)), bL (nL,).

    Example: init_network([3, 4, 1], rng, p=0.2) has W1 (4, 3) random, b1 = [0, 0, 0, 0], W2 = [[0, 0, 0, 0]] and
             b2 = [-1.3862943611198906].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("init_network is still to do")
