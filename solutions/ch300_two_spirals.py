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
    ### BEGIN SOLUTION
    X = np.asarray(X, dtype=np.float64)
    W = np.asarray(W, dtype=np.float64)
    # Rows of X meet rows of W, and a matrix product multiplies rows by columns: hence the transpose.
    # b has one entry a column of the product, so it is added to every row by broadcasting.
    return X @ W.T + np.asarray(b, dtype=np.float64)
    ### END SOLUTION


def chain_rule(x, y):
    """A function of two variables, and both its partial derivatives by the chain rule.

    f(x, y) = sin(x^2 y)

    x, y: arrays of one shape, for example (N,); work entry by entry.
    Returns (f, df_dx, df_dy): three arrays of that shape. Derive the formulas on paper: a difference quotient is not
    exact enough.

    Example: chain_rule([1.0, 2.0], [0.0, 0.0]) gives ([0.0, 0.0], [0.0, 0.0], [1.0, 4.0]).
    """
    ### BEGIN SOLUTION
    x = np.asarray(x, dtype=np.float64)
    y = np.asarray(y, dtype=np.float64)
    inner = x**2 * y
    # d sin(u) = cos(u) du, with u = x^2 y: du/dx = 2 x y where y is held fixed, du/dy = x^2 where x is.
    return np.sin(inner), np.cos(inner) * 2.0 * x * y, np.cos(inner) * x**2
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    w = np.array(start, dtype=np.float64)
    for _ in range(steps):
        # A new array each time, not w -= ...: whoever still holds the old point keeps it.
        w = w - lr * np.asarray(grad(w), dtype=np.float64)
    return w
    ### END SOLUTION


def sigmoid(z):
    """Squash any number to a probability between 0 and 1.

    sigmoid(z) = 1 / (1 + exp(-z)) = exp(z) / (1 + exp(z))

    Both forms are the same, but each overflows on one side: it must be right for z = 1000 and for z = -1000.

    z: numbers of any shape, for example (B,).
    Returns an array of the shape of z.

    Example: sigmoid([0.0, 1000.0, -1000.0]) gives [0.5, 1.0, 0.0].
    """
    ### BEGIN SOLUTION
    z = np.asarray(z, dtype=np.float64)
    # exp of a number that is never positive cannot overflow.
    small = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, small) / (1.0 + small)
    ### END SOLUTION


def mean_and_variance(values, probs):
    """Expectation and variance of a random variable that takes the value values[k] with probability probs[k].

    E[V] = sum_k probs[k] values[k]            Var[V] = E[(V - E[V])^2]

    Use this form of the variance. E[V^2] - E[V]^2 is the same on paper, but for values around a million it subtracts
    two huge numbers, and the digits that mattered are gone.

    values, probs: both (K,); the probabilities sum to 1.
    Returns (mean, variance): two numbers.

    Example: mean_and_variance([1.0, 2.0, 3.0], [0.5, 0.25, 0.25]) gives (1.75, 0.6875).
    """
    ### BEGIN SOLUTION
    values = np.asarray(values, dtype=np.float64)
    probs = np.asarray(probs, dtype=np.float64)
    mean = np.sum(probs * values)
    # An expectation weighs every outcome by its probability, the squared deviation like any other.
    return mean, np.sum(probs * (values - mean) ** 2)
    ### END SOLUTION


def entropy(p):
    """How uncertain a random outcome is, in nats (with the natural logarithm).

    H(p) = -sum_k p[k] log p[k]

    An outcome of probability 0 adds 0: that is the limit of p log p.

    p: probabilities (K,) that sum to 1.
    Returns a number.

    Example: entropy([0.5, 0.5]) gives log 2, about 0.6931, and entropy([0.0, 1.0]) gives 0.
    """
    ### BEGIN SOLUTION
    p = np.asarray(p, dtype=np.float64)
    # 0 * log 0 would be 0 * -inf, which is nan: leave impossible outcomes out of the sum.
    possible = p[p > 0]
    return -np.sum(possible * np.log(possible))
    ### END SOLUTION


def kl_divergence(p, q):
    """How badly the probabilities q describe outcomes that follow p, in nats.

    KL(p, q) = sum_k p[k] log(p[k] / q[k])

    An outcome with p[k] = 0 adds 0, whatever q says. If p[k] > 0 where q[k] = 0, something happens that q held for
    impossible: the divergence is infinite, np.inf. It is not symmetric, so mind the order.

    p, q: probabilities (K,), each summing to 1.
    Returns a number, 0 only for equal p and q.

    Example: kl_divergence([1.0, 0.0], [0.5, 0.5]) gives log 2, and kl_divergence([0.5, 0.5], [1.0, 0.0]) gives np.inf.
    """
    ### BEGIN SOLUTION
    p = np.asarray(p, dtype=np.float64)
    q = np.asarray(q, dtype=np.float64)
    possible = p > 0
    if np.any(q[possible] == 0):
        return np.inf
    return np.sum(p[possible] * np.log(p[possible] / q[possible]))
    ### END SOLUTION


def squared_distances(A, B):
    """The squared distance of every point of A from every point of B.

    out[i, j] = sum_k (A[i, k] - B[j, k])^2

    Loops are right but slow; broadcasting needs none. Subtract first and square then: the expansion
    |a|^2 + |b|^2 - 2 a.b is the same on paper, and loses its digits where the points are far from the origin.

    A: (N, D). B: (M, D).
    Returns an array (N, M).

    Example: squared_distances([[0.0, 0.0], [3.0, 4.0]], [[0.0, 0.0]]) gives [[0.0], [25.0]].
    """
    ### BEGIN SOLUTION
    A = np.asarray(A, dtype=np.float64)
    B = np.asarray(B, dtype=np.float64)
    # (N, 1, D) minus (1, M, D) is (N, M, D): every row of A against every row of B.
    difference = A[:, None, :] - B[None, :, :]
    return np.sum(difference**2, axis=2)
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    theta = np.asarray(theta, dtype=np.float64)
    r = R0 + (1 - R0) * theta / THETA_MAX
    # The turn comes after the radius is known. Otherwise arm 1 would be the continuation of arm 0.
    angle = theta + np.pi * np.asarray(arm, dtype=np.float64)
    return np.stack([r * np.cos(angle), r * np.sin(angle)], axis=-1)
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    theta = np.linspace(0.0, THETA_MAX, n)
    X = np.concatenate([spiral_curve(theta, 0), spiral_curve(theta, 1)])
    y = np.concatenate([np.zeros(n, dtype=np.int64), np.ones(n, dtype=np.int64)])
    X = X + rng.normal(0.0, noise, size=(2 * n, 2))
    # One order for both: two permutations would tear points and labels apart.
    order = rng.permutation(2 * n)
    return X[order], y[order]
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    X = np.asarray(X, dtype=np.float64)
    r = np.hypot(X[:, 0], X[:, 1])
    # arctan2 knows the quadrant, which arctan(y / x) does not. Full turns do not matter to the cosine.
    angle = np.arctan2(X[:, 1], X[:, 0])
    theta = THETA_MAX * (r - R0) / (1 - R0)
    return np.cos(angle - theta)
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    theta = (np.arange(m) + 0.5) * THETA_MAX / m
    squared = squared_distances(X, spiral_curve(theta, arm))
    bell = np.exp(-squared / (2 * noise**2)) / (2 * np.pi * noise**2)
    return np.mean(bell, axis=1)
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    density_0 = arm_density(X, 0, noise)
    density_1 = arm_density(X, 1, noise)
    # The larger of the two shares of the whole is max(P1, 1 - P1).
    return np.mean(np.maximum(density_0, density_1) / (density_0 + density_1))
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    y = np.asarray(y)
    fold_of = np.zeros(len(y), dtype=np.int64)
    for label in np.unique(y):
        members = rng.permutation(np.flatnonzero(y == label))
        # 0, 1, ..., k - 1, 0, 1, ...: dealt out like cards.
        fold_of[members] = np.arange(len(members)) % k
    return [(np.flatnonzero(fold_of != j), np.flatnonzero(fold_of == j)) for j in range(k)]
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    X = np.asarray(X, dtype=np.float64)
    y = np.asarray(y)
    scores = []
    for train, test in folds:
        # The model sees the labels of the training part only; what it says about the rest is compared with the truth.
        predicted = np.asarray(fit_predict(X[train], y[train], X[test]))
        scores.append(np.mean(predicted == y[test]))
    return np.array(scores)
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    X = np.asarray(X, dtype=np.float64)
    y = np.asarray(y, dtype=np.float64)
    w, b = np.zeros(X.shape[1]), 0.0
    for _ in range(steps):
        error = sigmoid(X @ w + b) - y
        dw, db = X.T @ error / len(y), np.mean(error)
        # Both gradients were taken at the same point before either parameter moves.
        w, b = w - lr * dw, b - lr * db
    return w, b
    ### END SOLUTION
