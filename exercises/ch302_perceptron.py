"""Chapter 302: The Perceptron

The first machine that learned, from 1958: one unit, a weighted sum, a threshold. It looks at one point after the other
and corrects itself when it is wrong. If a line separates the classes, it finds one, after a number of mistakes that can
be bounded beforehand. If none does, it never comes to rest, and you need one of the two repairs at the end.

Conventions of this chapter:
  - labels are 0 and 1, y (N,); points are X (N, D), weights w (D,) and a bias b, one number;
  - the unit says 1 where w.x + b > 0, strictly. At exactly 0 it says 0;
  - it starts from w = 0 and b = 0, and sees the points in the order in which they come;
  - functions accept any array of numbers, or plain lists, and never modify what they are given.

Run `dlgrade check ch302` as often as you like; `dlgrade hint ch302 perceptron_update` helps you on.
"""

import numpy as np


def perceptron_predict(X, w, b):
    """What the unit says: 1 where w.x + b > 0, else 0.

    X: points (N, D).
    w: weights (D,). b: the bias, a number.
    Returns whole numbers (N,), each 0 or 1.

    Example: perceptron_predict([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]], [1.0, -1.0], 0.0) gives [1, 0, 0]: the last point
             lies on the line, and that counts as 0.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("perceptron_predict is still to do")


def perceptron_update(w, b, x, y, lr=1.0):
    """One look at one point: correct the weights if the unit is wrong about it.

    With what the unit says, y_hat (0 or 1):

        w = w + lr * (y - y_hat) * x
        b = b + lr * (y - y_hat)

    y - y_hat is 0 where the unit is right: then nothing moves. Where it said 0 and should have said 1, it is 1 and the
    point's score rises; the other way round it is -1 and the score falls.

    w: (D,). b: a number. x: one point (D,). y: its label, 0 or 1.
    lr: the learning rate.
    Returns the new (w, b): (D,) and a number.

    Example: perceptron_update([1.0, 0.0], 0.0, [2.0, 1.0], 0) gives ([-1.0, -1.0], -1.0): it said 1, and was wrong.
             With the label 1 it gives ([1.0, 0.0], 0.0).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("perceptron_update is still to do")


def perceptron_fit(X, y, n_epochs, lr=1.0):
    """Learn: go through the points again and again, one update for each, until an epoch passes without a mistake.

    An epoch is one pass over all points, in their order. Every point is judged by the weights as they are at that
    moment, after all updates before it. Stop after the first epoch without a mistake, or after n_epochs.

    X, y:     points (N, D) and labels (N,), 0 or 1.
    n_epochs: how many epochs at most, 1 or more.
    lr:       the learning rate.
    Returns (w, b, mistakes): the weights (D,), the bias, and a list with the number of mistakes of each epoch that was
    run. Its last entry is 0 if the training came to rest.

    Example: perceptron_fit([[1.0], [-1.0]], [1, 0], 10) gives ([1.0], 1.0, [1, 0]). It is wrong about the first point,
             for zero weights say 0. After that update the second point has the score 0, which says 0: right.

    Two things to see for yourself. From zero weights lr changes nothing but the scale of w and b: the mistakes are the
    same with any rate. And on the four points of the exclusive or, which no line separates, it never stops: from the
    third epoch on it is wrong about all four points every time. At the end of every epoch its line is right about two
    of them, though a line can have three.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("perceptron_fit is still to do")


def margin(X, y, w, b):
    """How much room a line leaves between the classes: the smallest signed distance of a point.

    The bias is folded in: a point counts as (x, 1), and the weights as (w, b), in one dimension more. There the line is
    a plane through the origin, and with s = 1 for label 1 and s = -1 for label 0,

        margin = min over i of   s_i (w.x_i + b) / |(w, b)|          with |(w, b)| = sqrt(sum_j w_j^2 + b^2)

    It is positive where every point is on its side, and does not change when w and b are both doubled.

    X, y: points (N, D) and labels (N,), 0 or 1. w: (D,), b: a number; not all of them 0.
    Returns a number.

    Example: margin([[2.0, 0.0], [-1.0, 0.0]], [1, 0], [3.0, 0.0], 4.0) gives -0.2: the second point is on the wrong
             side, and |(3, 0, 4)| is 5.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("margin is still to do")


def mistake_bound(X, y, w, b):
    """How many mistakes the perceptron can make at most, in all epochs together, before it comes to rest.

    Novikoff's theorem (1962): if some (w, b) separates the points with a margin, then, starting from zero, the training
    makes no more than

        (R / margin)^2         with R the largest |(x, 1)| = sqrt(sum_j x_j^2 + 1) of all points

    mistakes, whatever their order and the learning rate. The bias is folded in here as well. The bound holds for every
    separating (w, b), so the one with the largest margin gives the best bound.

    X, y: points (N, D) and labels (N,). w: (D,), b: a number.
    Returns a number, or np.inf if (w, b) does not separate the points (a margin of 0 or less): then it says nothing.

    Example: mistake_bound([[2.0, 0.0], [-1.0, 0.0]], [1, 0], [1.0, 0.0], 0.0) gives 5.0: R^2 is 4 + 1, the margin 1.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("mistake_bound is still to do")


def best_linear_accuracy(X, y, n_angles=180):
    """The best that a line can do on points of the plane, found by trying: many directions, every threshold.

    For k = 0, ..., n_angles - 1 take the direction (cos a, sin a) with a = (k + 1/2) pi / n_angles, and project all
    points on it. A line at right angles to it cuts the projections in two: those above a threshold and the others. Try
    thresholds between any two neighbours, and beyond the first and the last. Either side may be called 1. Points at one
    place stay together, on whichever side.

    X, y: points (N, 2) and labels (N,), 0 or 1.
    Returns the largest share of points that any of these lines gets right, a number.

    Example: for the exclusive or, best_linear_accuracy([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]) gives 0.75.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("best_linear_accuracy is still to do")


def averaged_perceptron(X, y, n_epochs, lr=1.0):
    """A repair for classes that overlap: return the average of all weights on the way, not the last ones.

    Run the training as in perceptron_fit, from zero, but through all n_epochs, without stopping early. After every
    point, whether the weights moved or not, add the current w and b to a sum. In the end divide by how many were added,
    N * n_epochs. Weights that survive many points count accordingly.

    X, y: points (N, D) and labels (N,), 0 or 1.
    Returns (w, b): (D,) and a number.

    Example: averaged_perceptron([[1.0], [-1.0]], [1, 0], 1) gives ([1.0], 1.0), and with the two points in the other
             order, averaged_perceptron([[-1.0], [1.0]], [0, 1], 1) gives ([0.5], 0.5): zero after the first point, 1
             after the second.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("averaged_perceptron is still to do")


def pocket_perceptron(X, y, n_epochs, lr=1.0):
    """The other repair: keep the best weights seen so far in your pocket.

    Run the training through all n_epochs, from zero. After every update that changed the weights, count on how many of
    all points they are right. If that is strictly more than the weights in the pocket had, they go into the pocket. The
    pocket starts with the zero weights, which say 0 everywhere.

    X, y: points (N, D) and labels (N,), 0 or 1.
    Returns (w, b, accuracy): the weights in the pocket, and the share of points they get right.

    Example: pocket_perceptron([[1.0], [-1.0]], [1, 0], 1) gives ([1.0], 1.0, 1.0). With the labels [0, 0] nothing is
             ever updated, and it gives ([0.0], 0.0, 1.0).

    The training does not look for good accuracy, it only passes through; so the pocket is as good as the path was. On
    the exclusive or, with its points in the usual order, everything on the path is right about two points of four.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("pocket_perceptron is still to do")
