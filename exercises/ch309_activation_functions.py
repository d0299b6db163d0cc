"""Chapter 309: Activation Functions Deep Dive

Between two layers stands one small function of one number. Without it a stack of layers would be a single affine map,
x @ W.T + b, however deep. Its value decides what a network can compute; its slope decides whether the network can
learn, for on the way back every gradient is multiplied by it, once a layer. You write the activations that matter, each
with its exact slope, at home from minus ten thousand to ten thousand; and then three tools that look at them as an
engineer does: where is the slope largest, which units are dead, and what is left of a gradient after twenty layers?

Conventions, here and in every chapter:
  - an activation takes the pre-activation z, an array of any shape, entry by entry, and returns a tuple (value, slope):
    two arrays of the shape of z. The slope is the derivative at z, at what goes INTO the function. A backward pass is
    then nothing but dz = dout * slope;
  - slopes are formulas, exact to the last digits, not differences;
  - for any z from -10,000 to 10,000 there is no overflow and no nan, and NumPy has no reason for a warning. (That a
    tiny number underflows to 0 is fine, and NumPy says nothing.);
  - functions accept any array of numbers, or plain lists, work in float64, and never modify what they are given.

Run `dlgrade check ch309` as often as you like; `dlgrade hint ch309 sigmoid` helps you on.
"""

import math

import numpy as np


def sigmoid(z):
    """The sigmoid squashes any number into 0..1.

        s = 1 / (1 + exp(-z))          slope = s (1 - s)

    exp(-z) overflows for z below -709. For negative z write it as exp(z) / (1 + exp(z)), which is the same number; one
    way to have both is exp(-|z|), whose exponent is never positive. The slope is at most 1/4, at z = 0, and fades on
    both sides: that is called saturation.

    z: any shape. Returns (value, slope), both of the shape of z.

    Example: sigmoid([0.0, log 3]) gives ([0.5, 0.75], [0.25, 0.1875]).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("sigmoid is still to do")


def tanh(z):
    """The hyperbolic tangent squashes any number into -1..1. It is a sigmoid, stretched: tanh(z) = 2 sigmoid(2z) - 1.

        t = np.tanh(z)          slope = 1 - t^2

    np.tanh never overflows. The slope is at most 1, at z = 0; it saturates like the sigmoid's.

    z: any shape. Returns (value, slope), both of the shape of z.

    Example: tanh([0.0, 0.5 log 3]) gives ([0.0, 0.5], [1.0, 0.75]).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("tanh is still to do")


def relu(z):
    """The rectified linear unit: what is positive passes, the rest is cut off.

        value = max(z, 0)          slope = 1 where z > 0, and 0 elsewhere

    At z = 0 the curve has a corner and no derivative. A number is needed all the same: here it is 0, as in PyTorch.

    z: any shape. Returns (value, slope), both of the shape of z.

    Example: relu([-2.0, 0.0, 3.0]) gives ([0.0, 0.0, 3.0], [0.0, 0.0, 1.0]).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("relu is still to do")


def leaky_relu(z, alpha=0.01):
    """A ReLU that leaks: on the negative side a slope of alpha instead of 0, so that no unit ever stops learning.

        value = z where z > 0,  alpha z elsewhere          slope = 1 where z > 0,  alpha elsewhere

    alpha may be any number, also above 1. (max(z, alpha z) is the same for alpha below 1 only.)

    z: any shape. Returns (value, slope), both of the shape of z.

    Example: leaky_relu([-2.0, 0.0, 3.0], 0.1) gives ([-0.2, 0.0, 3.0], [0.1, 0.1, 1.0]).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("leaky_relu is still to do")


def elu(z, alpha=1.0):
    """The exponential linear unit: a ReLU whose negative side bends smoothly down to -alpha.

        value = z where z > 0,  alpha (exp(z) - 1) elsewhere          slope = 1 where z > 0,  alpha exp(z) elsewhere

    Two traps. np.where computes both pieces for all entries, and exp of a large positive z overflows even where its
    result is thrown away: give exp nothing but min(z, 0). And for tiny z, exp(z) - 1 is the difference of two equal
    numbers: np.expm1(z) is exp(z) - 1 with all its digits. At z = 0 the slope is alpha. Far below zero it fades to 0:
    ELU saturates there, only later than a ReLU.

    z: any shape; alpha: a positive number. Returns (value, slope), both of the shape of z.

    Example: elu([-log 2, 3.0], 2.0) gives ([-1.0, 3.0], [1.0, 1.0]).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("elu is still to do")


def softplus(z):
    """Softplus, the ReLU with a rounded corner.

        value = log(1 + exp(z))          slope = sigmoid(z)

    exp(z) overflows, and for very negative z, 1 + exp(z) rounds to 1 and its logarithm to 0. Both are avoided by

        value = max(z, 0) + log(1 + exp(-|z|))          with np.log1p(u), which is log(1 + u) with all its digits

    z: any shape. Returns (value, slope), both of the shape of z.

    Example: softplus([0.0, 10000.0]) gives ([log 2, 10000.0], [0.5, 1.0]), and the value of
             softplus([-40.0]) is 4.25e-18.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("softplus is still to do")


def swish(z):
    """Swish, also called SiLU: z times its own sigmoid.

        value = z s          slope = s + z s (1 - s)          with s = sigmoid(z)

    z occurs twice in z s, so the product rule gives two terms. Swish dips below zero (to -0.278, at z = -1.278), and
    left of there its slope is negative.

    z: any shape. Returns (value, slope), both of the shape of z.

    Example: swish([0.0, log 3]) gives ([0.0, 0.8240], [0.5, 0.9560]), rounded to four digits.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("swish is still to do")


def mish(z):
    """Mish: z times the tanh of its softplus.

        value = z t          slope = t + z (1 - t^2) s          with p = softplus(z), t = tanh(p), s = sigmoid(z)

    The second term is the chain rule: the slope of tanh at p, times the slope of softplus at z.

    z: any shape. Returns (value, slope), both of the shape of z.

    Example: mish([0.0]) gives ([0.0], [0.6]), because tanh(log 2) = 0.6.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("mish is still to do")


def gelu(z, approximate="none"):
    """GELU: z times the probability that a standard normal number is below z.

    approximate="none", the exact form:

        P = (1 + erf(z / sqrt(2))) / 2                     probability below z
        q = exp(-z^2 / 2) / sqrt(2 pi)                     its density at z
        value = z P          slope = P + z q

    approximate="tanh", a formula from the days when erf was slow. It is another function, and has its own slope:

        u = sqrt(2 / pi) (z + 0.044715 z^3)                u' = sqrt(2 / pi) (1 + 3 * 0.044715 z^2)
        t = tanh(u)
        value = z (1 + t) / 2          slope = (1 + t) / 2 + z (1 - t^2) u' / 2

    The two differ by 0.00047 at most, at z = 2.70 and -2.70: too little to notice in a training, enough to notice when
    the weights of one are loaded into the other. NumPy has no erf: math.erf takes one number, np.vectorize(math.erf) an
    array.

    z:           any shape.
    approximate: "none" or "tanh".
    Returns (value, slope), both of the shape of z.

    Example: gelu([0.0, 1.0]) gives ([0.0, 0.84134], [0.5, 1.08332]), rounded;
             gelu([1.0], "tanh") gives ([0.84119], [1.08296]).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("gelu is still to do")


def steepest(activation, z):
    """Where an activation lets most of the gradient through.

    Of the points z, find the one where the activation's slope is largest: not the value, and not the slope's size
    without its sign. If several are equally good, the first one counts.

    activation: a function like those above, z -> (value, slope). Call it once, with all of z.
    z:          the points, an array (N,), N at least 1.
    Returns (where, slope): that point, and the slope there; two numbers.

    The largest slopes: sigmoid 0.25 and tanh 1, both at 0; mish 1.0885 at 1.49; swish 1.0998 at 2.40; gelu 1.1289 at
    1.414, which is sqrt(2). A slope above 1 is nothing to fear: weights multiply the gradient as well.

    Example: steepest(relu, [-1.0, 0.0, 2.0, 5.0]) gives (2.0, 1.0).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("steepest is still to do")


def dead_units(z):
    """Find the ReLU units that have died.

    A unit is dead on some data if its z is at most 0 for EVERY sample: then its output is always 0, its slope is always
    0, and no gradient ever reaches its weights. (z exactly 0 counts as off: the slope there is 0.) A unit that is off
    for half of the samples is not dead, it is doing its work. That a dead unit never wakes up is not certain: its
    inputs may change, as the layers below it learn.

    z: pre-activations of a layer, (B, D): B samples, D units.
    Returns (dead, share): an array (D,) of True or False, one for each unit, and the share of dead units, a number
    from 0 to 1.

    Example: dead_units([[-1.0, 2.0, 0.0], [-3.0, -4.0, 0.0]]) gives ([True, False, True], 2/3).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("dead_units is still to do")


def chain_gradient(activation, x, w, b):
    """What is left of a gradient after L layers: a chain of single units, as thin as a network can be.

    With a0 = x, for l = 1, ..., L:

        zl = wl a(l-1) + bl          al = f(zl)

    and, by the chain rule, one factor for each layer:

        d aL / dx = product over l of  wl f'(zl)

    With sigmoids and weights of 1 each factor is at most 1/4. Twenty layers leave at most 0.25^20, about 1e-12: the
    gradient has vanished, and the first layers learn nothing. A ReLU that is on has the slope 1, and only the weights
    count.

    activation: a function like those above, z -> (value, slope). Call it once for each layer.
    x:          inputs, any shape: each entry runs through a chain of its own, with the same w and b.
    w, b:       weights and biases, (L,) each, L at least 1.
    Returns (a, grad): the output aL and the derivative d aL / dx, both of the shape of x.

    Example: chain_gradient(relu, [1.0, -1.0], [2.0, 3.0], [0.0, 1.0]) gives ([7.0, 1.0], [6.0, 0.0]).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("chain_gradient is still to do")
