"""Chapter 300: Deep Learning: The Two-Spiral Problem

Two spirals of points wind around each other, and the task is to tell which one a new point belongs to. No straight
line can: logistic regression, the usual linear model, is right on about half of the points, and so is a coin. Your
network of chapter 334 will get more than 97 % of new points right. (Networks are not the only way. Five nearest
neighbours get 99 %, and so will one feature that you find by hand below. But nobody finds such a feature for a
photograph or a sentence, and there a network learns it.)

The chapter has two halves. The first eight functions try out what the course takes for granted, one topic each. If one
of them gives you trouble, its report names the chapters to revise before you go on. The other eight make the data, find
out how well anybody could do on it, measure the linear model honestly, and find the feature that a person could find.

Conventions, here and in every chapter:
  - the batch is the first axis: a table X of B points with D numbers each is (B, D), their labels y are (B,);
  - a weight matrix W is (out, in), and is used as X @ W.T + b;
  - a function that needs random numbers takes a generator `rng` (from np.random.default_rng) and draws from that only:
    the same generator gives the same result, for you and for whoever checks it;
  - functions accept any array of numbers, or plain lists, work in float64, and never modify what they are given.

Run `dlgrade check ch300` as often as you like; `dlgrade hint ch300 affine` helps you on.
"""

import numpy as np

# Given: the arms wind twice around the centre, and end at a radius of 1.
THETA_MAX = 4 * np.pi
R0 = 0.1


# --- Given: three small helpers, to use and to read -------------------------------------------------------------------


def same_twice(n, noise, seed):
    """Given: whether make_spirals draws the same twice from two generators with one seed. It must."""
    X1, y1 = make_spirals(n, noise, np.random.default_rng(seed))
    X2, y2 = make_spirals(n, noise, np.random.default_rng(seed))
    return bool(np.array_equal(X1, X2) and np.array_equal(y1, y2))


def logistic_predict(X, w, b):
    """Given: labels (B,) of points X (B, D): 1 where the probability sigmoid(X w + b) is above one half, else 0."""
    return (np.asarray(X, dtype=np.float64) @ w + b > 0).astype(np.int64)


def logistic_fit_predict(X_train, y_train, X_test):
    """Given: logistic regression as cross_val_accuracy wants it: learn from one part, return labels of the other."""
    w, b = logistic_fit(X_train, y_train)
    return logistic_predict(X_test, w, b)


# --- What the course takes for granted --------------------------------------------------------------------------------


def affine(X, W, b):
    """One layer of a network without its activation: every output is a weighted sum of the inputs, plus its bias.

    out[i, j] = sum_k X[i, k] W[j, k] + b[j]

    X: B points with D numbers each, (B, D).
    W: the weights of H outputs, (H, D). b: their biases, (H,).
    Returns an array (B, H).

    Example: affine([[1.0, 2.0]], [[1.0, 0.0], [1.0, 1.0], [0.0, -1.0]], [0.0, 0.0, 10.0]) gives [[1.0, 3.0, 8.0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("affine is still to do")


def chain_rule(x, y):
    """A function of two variables, and both its partial derivatives by the chain rule.

    f(x, y) = sin(x^2 y)

    x, y: arrays of one shape, for example (N,); work entry by entry.
    Returns (f, df_dx, df_dy): three arrays of that shape. Derive the formulas on paper: a difference quotient is not
    exact enough.

    Example: chain_rule([1.0, 2.0], [0.0, 0.0]) gives ([0.0, 0.0], [0.0, 0.0], [1.0, 4.0]).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("chain_rule is still to do")


def gradient_descent(grad, start, lr, steps):
    """Walk downhill: at every step, move against the gradient at the point where you are.

    w = w - lr * grad(w),      `steps` times, from w = start

    grad:  a function from a point (D,) to the gradient (D,) there. Ask it once a step.
    start: the point (D,) to start from; it must come back unchanged.
    lr:    the learning rate, a positive number.
    steps: how many steps to take; 0 is allowed.
    Returns the last point, (D,).

    Example: gradient_descent(lambda w: 2 * w, [1.0, -2.0], 0.25, 2) gives [0.25, -0.5]: each step halves the point.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("gradient_descent is still to do")


def sigmoid(z):
    """Squash any number to a probability between 0 and 1.

    sigmoid(z) = 1 / (1 + exp(-z)) = exp(z) / (1 + exp(z))

    Both forms are the same, but each overflows on one side: it must be right for z = 1000 and for z = -1000.

    z: numbers of any shape, for example (B,).
    Returns an array of the shape of z.

    Example: sigmoid([0.0, 1000.0, -1000.0]) gives [0.5, 1.0, 0.0].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("sigmoid is still to do")


def mean_and_variance(values, probs):
    """Expectation and variance of a random variable that takes the value values[k] with probability probs[k].

    E[V] = sum_k probs[k] values[k]            Var[V] = E[(V - E[V])^2]

    Use this form of the variance. E[V^2] - E[V]^2 is the same on paper, but for values around a million it subtracts
    two huge numbers, and the digits that mattered are gone.

    values, probs: both (K,); the probabilities sum to 1.
    Returns (mean, variance): two numbers.

    Example: mean_and_variance([1.0, 2.0, 3.0], [0.5, 0.25, 0.25]) gives (1.75, 0.6875).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("mean_and_variance is still to do")


def entropy(p):
    """How uncertain a random outcome is, in nats (with the natural logarithm).

    H(p) = -sum_k p[k] log p[k]

    An outcome of probability 0 adds 0: that is the limit of p log p.

    p: probabilities (K,) that sum to 1.
    Returns a number.

    Example: entropy([0.5, 0.5]) gives log 2, about 0.6931, and entropy([0.0, 1.0]) gives 0.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("entropy is still to do")


def kl_divergence(p, q):
    """How badly the probabilities q describe outcomes that follow p, in nats.

    KL(p, q) = sum_k p[k] log(p[k] / q[k])

    An outcome with p[k] = 0 adds 0, whatever q says. If p[k] > 0 where q[k] = 0, something happens that q held for
    impossible: the divergence is infinite, np.inf. It is not symmetric, so mind the order.

    p, q: probabilities (K,), each summing to 1.
    Returns a number, 0 only for equal p and q.

    Example: kl_divergence([1.0, 0.0], [0.5, 0.5]) gives log 2, and kl_divergence([0.5, 0.5], [1.0, 0.0]) gives np.inf.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("kl_divergence is still to do")


def squared_distances(A, B):
    """The squared distance of every point of A from every point of B.

    out[i, j] = sum_k (A[i, k] - B[j, k])^2

    Loops are right but slow; broadcasting needs none. Subtract first and square then: the expansion
    |a|^2 + |b|^2 - 2 a.b is the same on paper, and loses its digits where the points are far from the origin.

    A: (N, D). B: (M, D).
    Returns an array (N, M).

    Example: squared_distances([[0.0, 0.0], [3.0, 4.0]], [[0.0, 0.0]]) gives [[0.0], [25.0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("squared_distances is still to do")


# --- The two spirals --------------------------------------------------------------------------------------------------


def spiral_curve(theta, arm):
    """Points on the curve in the middle of an arm, without noise.

    The radius grows with theta from R0 = 0.1 to 1 while theta runs from 0 to THETA_MAX = 4 pi, two turns:

        r     = R0 + (1 - R0) * theta / THETA_MAX
        point = (r cos(angle), r sin(angle))         with angle = theta + pi * arm

    Arm 1 is arm 0 turned by half a turn. Mind where the half turn enters: into the angle, not into the radius. (In many
    a textbook it enters both. Then both arms lie on one and the same curve, most points of one are among the other's,
    and no classifier whatever gets beyond 62.5 %.)

    theta: angles (N,).
    arm:   0 or 1, or an array (N,) of zeros and ones.
    Returns points (N, 2).

    Example: spiral_curve([0.0, 4 * np.pi], 0) gives [[0.1, 0.0], [1.0, 0.0]] up to rounding, and arm 1 the same with
             minus signs.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("spiral_curve is still to do")


def make_spirals(n, noise, rng):
    """The data set: n points of each arm, with noise, in random order.

    On each arm, theta takes n evenly spaced values from 0 to THETA_MAX, both included. Put the n points of arm 0 first,
    in the order of theta, then those of arm 1. Then make two draws, in this order:

        rng.normal(0.0, noise, size=(2 * n, 2))      added to the points; noise is the standard deviation itself
        rng.permutation(2 * n)                       the new order: row i is what was row order[i]

    Points and labels must be put into the new order together.

    n:     how many points an arm has.
    noise: the standard deviation of each coordinate, for example 0.03.
    rng:   a np.random.Generator, the only source of random numbers.
    Returns (X, y): points (2n, 2), and integer labels (2n,), 0 or 1, the arm of each.

    Example: X, y = make_spirals(1, 0.0, rng) gives the points [0.1, 0.0] with label 0 and [-0.1, 0.0] with label 1, in
             some order.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("make_spirals is still to do")


def polar_feature(X):
    """The one number that a person could find, looking at the picture: it tells the arms apart by its sign.

    A point at distance r from the centre: if it lay on arm 0, it would have been drawn at the theta that belongs to
    this r, so its angle would be that theta. Compare that with the angle that it has:

        feature = cos(angle - theta)      with theta = THETA_MAX * (r - R0) / (1 - R0)

    On arm 0 both agree and the feature is 1; on arm 1 they are half a turn apart and it is -1.

    X: points (B, 2), none of them at the centre itself.
    Returns an array (B,).

    Example: polar_feature([[0.1, 0.0], [-1.0, 0.0]]) gives [1.0, -1.0].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("polar_feature is still to do")


def arm_density(X, arm, noise, m=1000):
    """How dense the points of one arm lie around given places: the probability density of a noisy point of that arm.

    A point of the arm is a point of its curve plus normal noise. If its theta were known to be theta_i, its density
    would be that of the normal distribution in the plane around c_i = spiral_curve(theta_i, arm). As theta is not
    known, average over it, with m midpoints:

        theta_i    = (i + 1/2) * THETA_MAX / m                          for i = 0, ..., m - 1
        density(x) = (1/m) sum_i exp(-|x - c_i|^2 / (2 noise^2)) / (2 pi noise^2)

    X:     places (B, 2).
    arm:   0 or 1.
    noise: the standard deviation of each coordinate.
    m:     how many values of theta.
    Returns an array (B,). It is a density: it can be larger than 1, and over the whole plane it integrates to 1.

    Example: arm_density([[0.55, 0.0]], 0, 1.0, m=1) gives [1 / (2 pi)], about [0.1592]: the only theta is 2 pi, and the
             place lies on the curve there.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("arm_density is still to do")


def bayes_accuracy(X, noise):
    """The best accuracy that anybody can have on the two spirals, whatever model they use: estimated on drawn points.

    Where both arms are possible, even the best guess is wrong at times. Both arms have equally many points, so at a
    place x the probability of arm 1 is, by Bayes' rule,

        P1 = density_1(x) / (density_0(x) + density_1(x))

    The best guess is the more probable arm, and it is right with probability max(P1, 1 - P1). The average of that over
    many drawn points is the accuracy (a Monte Carlo estimate). Counting how often the guess is right has the same mean,
    but scatters more, and it is not what is asked for here.

    X:     points (B, 2), drawn from the two arms with this noise (by make_spirals). No labels are needed.
    noise: the standard deviation of each coordinate. Take the densities with 1000 values of theta.
    Returns a number.

    Example: bayes_accuracy([[0.0, 0.0]], 0.03) gives 0.5, as the centre is as far from one arm as from the other. With
             the points of make_spirals(2000, noise, rng) it gives about 0.9998 for noise 0.03, 0.995 for 0.04, and
             0.946 for 0.06: nobody keeps a promise of 97 % there.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("bayes_accuracy is still to do")


# --- An honest measurement --------------------------------------------------------------------------------------------


def stratified_folds(y, k, rng):
    """Split a data set into k folds, each of which is held out once. Every fold holds its fair share of every class.

    Take the classes one by one, in ascending order. Shuffle the indices of the class, with one rng.permutation, and
    deal them out to the folds like cards: the first to fold 0, the next to fold 1, ..., then to fold 0 again. So two
    folds differ by one at most in how many they have of a class.

    For fold j, the test indices are those dealt to it, and the training indices are all the others.

    y:   integer labels (N,); every class has at least k members.
    k:   how many folds, at least 2.
    rng: a np.random.Generator.
    Returns a list of k pairs (train, test) of integer index arrays. Their order inside an array does not matter.

    Example: stratified_folds([0, 0, 1, 1], 2, rng) gives two pairs; each test array holds one of the indices 0, 1 and
             one of 2, 3, and the training array beside it the other two.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("stratified_folds is still to do")


def cross_val_accuracy(fit_predict, X, y, folds):
    """Accuracy on points that the model has not learned from, once for each fold.

    fit_predict: a function of (X_train, y_train, X_test). It learns from the first two and returns labels for the
                 third. Call it once for each fold.
    X, y:        points (N, D) and integer labels (N,).
    folds:       a list of k pairs (train, test) of index arrays, as stratified_folds returns them.
    Returns an array (k,): for each fold, the share of its test points whose label is right.

    Example: with y = [0, 0, 1, 1], folds = [([1, 3], [0, 2]), ([0, 2], [1, 3])] and a fit_predict that calls every
             point 0, it gives [0.5, 0.5].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("cross_val_accuracy is still to do")


def logistic_fit(X, y, lr=0.5, steps=500):
    """Logistic regression, the linear model to beat, by gradient descent over the whole data set.

    p = sigmoid(X w + b) is the probability of label 1. The loss is the mean of -log(probability of the right label)
    over the points, and its gradients (chapter 305 derives them) are

        dw = (1/N) sum_i (p_i - y_i) X_i              db = (1/N) sum_i (p_i - y_i)

    Start with w = 0 and b = 0. In each step compute both gradients at the old w and b, then subtract lr times each.

    X, y:  points (N, D) and labels 0 or 1, (N,).
    lr:    the learning rate.
    steps: how many steps to take.
    Returns (w, b): weights (D,) and a number.

    Example: logistic_fit([[1.0], [-1.0]], [1, 0], lr=1.0, steps=1) gives ([0.5], 0.0).

    On the two spirals it is then right on about half of the held-out points: a guess. Given polar_feature(X) as its
    only input, it is right on almost all of them.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("logistic_fit is still to do")
