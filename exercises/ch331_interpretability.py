"""Chapter 331: Model Interpretability

A network says 0.93. Which of its inputs made it say so? There is more than one honest answer, and several dishonest
ones. You write the attributions that are used most, and the properties that tell whether they can be trusted: do they
add up to the output, does an input that is never used get nothing, do they find the coefficients of a model whose
coefficients are known?

Conventions, here and in every chapter:
  - models come to you as functions of a batch: f takes points (M, D) and returns values (M,), its gradient takes points
    (M, D) and returns (M, D). A single point x is (D,): give it to them as x[None];
  - an attribution is a signed number for each input, (D,): positive where the input pushed the output up;
  - functions accept any arrays of numbers, work in float64, and never modify what they are given.

Run `dlgrade check ch331` as often as you like; `dlgrade hint ch331 shapley_values` helps you on.
"""

import math

import numpy as np


def model(X, params):
    """Given: a small network with one output:   f(x) = W2 . tanh(W1 x + b1) + b2

    X (M, D), params a dict with W1 (H, D), b1 (H,), W2 (H,), b2 a number. Returns (M,).
    """
    X = np.asarray(X, dtype=np.float64)
    hidden = np.tanh(X @ np.asarray(params["W1"], dtype=np.float64).T + np.asarray(params["b1"], dtype=np.float64))
    return hidden @ np.asarray(params["W2"], dtype=np.float64) + params["b2"]


def input_gradient(X, params):
    """How the output of `model` changes with each of its inputs: the gradient of the output itself, not of a loss.

        df/dx_d = sum over hidden units h of W2_h (1 - tanh^2(z_h)) W1_hd          z = W1 x + b1

    X:      points (M, D).
    params: as for `model`.
    Returns an array (M, D), a gradient for each point, signs and all.

    Example: with W1 = [[1.0, 2.0]], b1 = [0.0], W2 = [3.0] the gradient at [[0.0, 0.0]] is [[3.0, 6.0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("input_gradient is still to do")


def gradient_times_input(gradient, x, baseline):
    """The simplest attribution with units:   (x - baseline) * gradient at x

    A gradient says how sensitive the output is; times how far the input is from its baseline, it says how much that
    input contributed, if the model were a straight line. For linear models it is exact.

    gradient: a function from points (M, D) to gradients (M, D).
    x:        the point to explain, (D,).
    baseline: the point that stands for "nothing", (D,).
    Returns the attributions (D,).

    Example: for f(x) = 2 x_0 - x_1, at x = [3.0, 4.0] with the baseline [0.0, 0.0]: [6.0, -4.0].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("gradient_times_input is still to do")


def integrated_gradients(gradient, x, baseline, steps=50):
    """Integrated gradients (Sundararajan and others, 2017): the gradient averaged on the way from baseline to x.

        points:       baseline + s_k (x - baseline)          s_k = (k + 1/2) / steps, k = 0, ..., steps - 1
        attributions: (x - baseline) * mean of the gradients at these points

    A saturated unit has no gradient at x, though it was decisive on the way: the average remembers. The midpoints s_k
    make the sum right to 1 / steps^2. With enough steps the attributions add up to f(x) - f(baseline): completeness.

    gradient, x, baseline: as for `gradient_times_input`.
    steps: how many points, a whole number from 1 on.
    Returns the attributions (D,).

    Example: for f(x) = x_0^2, at x = [3.0] with the baseline [0.0] any number of steps gives [9.0].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("integrated_gradients is still to do")


def shapley_values(f, x, baseline):
    """Exact Shapley values (1953): what each input adds, averaged over all orders in which inputs could join.

    An input that is "absent" has its baseline's value. With f(S) the output when only the inputs in S are present:

        phi_i = sum over all S without i of  |S|! (D - |S| - 1)! / D!  *  ( f(S and i) - f(S) )

    They add up to f(x) - f(baseline) exactly, and an input that f never uses gets 0. The price: all 2^D subsets.

    f:           a function from points (M, D) to values (M,).
    x, baseline: (D,), with D at most 8.
    Returns the attributions (D,).

    Example: for f(x) = x_0 x_1, at x = [1.0, 1.0] with the baseline [0.0, 0.0]: [0.5, 0.5], for neither does it alone.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("shapley_values is still to do")


def local_linear(points, values, x, kernel_width, penalty):
    """The heart of LIME (Ribeiro and others, 2016): a straight line through what the model says near x.

    Every sample point counts with the weight w = exp(-|point - x|^2 / kernel_width^2). The line minimises

        sum over the points of w (value - point . c - b)^2  +  penalty * |c|^2

    The intercept b is not penalised.

    points: samples around x, (M, D).
    values: what the model says there, (M,).
    x:      the point to explain, (D,).
    kernel_width: how near is near, a positive number.
    penalty: 0 or a positive number.
    Returns (c, b): the coefficients (D,) and a number.

    Example: if the values are 2 x_0 - x_1 + 5 everywhere and the penalty is 0, then c is [2.0, -1.0] and b 5.0.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("local_linear is still to do")


def permutation_importance(score, X, rng, repeats):
    """Permutation importance (Breiman, 2001): how much worse does it get when one column is shuffled?

    For column 0, repeats times; then for column 1; and so on: draw order = rng.permutation(N), shuffle this column of a
    copy of X with it, copy[:, column] = X[order, column], and note the drop, score(X) - score(copy).

    score:   a function from data (N, D) to a number; larger is better. It knows the targets.
    X:       (N, D).
    rng:     a numpy random generator; draw from it as described, and nothing else.
    repeats: a whole number.
    Returns the mean drop for each column, (D,): negative where the score got better without the column.

    Example: a column that score does not look at has the importance 0.0.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("permutation_importance is still to do")
