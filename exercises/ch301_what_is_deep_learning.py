"""Chapter 301: What is Deep Learning?

To learn is to choose, from a family of functions, the one with the smallest loss. That is all of it, and this chapter
does it with the oldest family there is, the polynomials: the mean loss, the fit, the question of how large the family
may be, and the honest answer by points that were held out. Then come the first facts about networks: what shapes their
weights have, how many numbers that is, and why a network needs something that is not linear between its layers.

One thing that is often said wrongly: depth does not make possible what a wide network with one hidden layer cannot do.
With enough units, one hidden layer approximates any continuous function (on a bounded region) as closely as you like.
Depth makes it cheaper: some functions need exponentially fewer units in a deep network. And nobody has proved that
training finds the best member of the family; in practice it finds good ones.

Conventions, here and in every chapter:
  - the batch is the first axis: N points with D numbers each are (N, D), a weight matrix is (out, in), used as
    x @ W.T + b;
  - functions accept any array of numbers, or plain lists, work in float64, and never modify what they are given;
  - random numbers come from the generator `rng` only.

Run `dlgrade check ch301` as often as you like; `dlgrade hint ch301 polynomial_fit` helps you on.
"""

import numpy as np


def wave(x):
    """Given: the function to be learned in this chapter, sin x + 0.3 cos 3x, for any array of numbers."""
    x = np.asarray(x, dtype=np.float64)
    return np.sin(x) + 0.3 * np.cos(3 * x)


def noisy_wave(n, rng):
    """Given: n points x (n,) between -3 and 3, and the wave there with noise of standard deviation 0.15, y (n,)."""
    x = rng.uniform(-3.0, 3.0, size=n)
    return x, wave(x) + rng.normal(0.0, 0.15, size=n)


def empirical_risk(model, loss, X, y):
    """How wrong a model is on the data: the mean of the losses of all points.

    risk = (1/N) sum_i loss(model(X_i), y_i)

    Because it is a mean, not a sum, it does not change when every point is there twice, and risks of data sets of
    different sizes can be compared.

    model: a function from points (N, D) to predictions (N,).
    loss:  a function of (predictions (N,), targets (N,)), in this order, that returns one number a point, (N,).
    X, y:  points (N, D) and targets (N,).
    Returns a number.

    Example: with a model that predicts X[:, 0] and the loss |prediction - target|,
             empirical_risk(model, loss, [[1.0], [2.0]], [1.0, 5.0]) gives 1.5.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("empirical_risk is still to do")


def design_matrix(x, degree):
    """The powers of x, side by side: with them a polynomial is a linear model.

    out[i, j] = x[i]^j      for j = 0, ..., degree

    x:      numbers (N,). 0^0 counts as 1, as it does in NumPy.
    degree: 0 or more.
    Returns an array (N, degree + 1); its first column is all ones.

    Example: design_matrix([2.0, -1.0], 3) gives [[1.0, 2.0, 4.0, 8.0], [1.0, -1.0, 1.0, -1.0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("design_matrix is still to do")


def polynomial_fit(x, y, degree):
    """The polynomial of this degree with the least squared error on the points: training, in one step.

    Among all coefficients c (degree + 1,), find those that make  sum_i (y_i - sum_j c_j x_i^j)^2  the smallest. That is
    a least-squares problem with the design matrix. Let np.linalg.lstsq solve it. The textbook formula
    c = (A^T A)^-1 A^T y is the same on paper, but A^T A is far closer to singular than A, and inverting it loses the
    digits as soon as the powers of x look alike (try x between 5 and 7 and degree 5).

    x, y:   points (N,) and (N,), at least degree + 1 of them, with different x.
    degree: 0 or more.
    Returns the coefficients (degree + 1,), the constant first.

    Example: polynomial_fit([0.0, 1.0, 2.0], [1.0, 2.0, 5.0], 2) gives [1.0, 0.0, 1.0] up to rounding: 1 + x^2
             meets all three.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("polynomial_fit is still to do")


def polynomial_predict(coefficients, x):
    """The values of a polynomial: p(x) = sum_j coefficients[j] x^j.

    coefficients: (degree + 1,), the constant first, as polynomial_fit returns them.
    x:            numbers (N,).
    Returns an array (N,).

    Example: polynomial_predict([1.0, 0.0, 2.0], [0.0, 3.0]) gives [1.0, 19.0].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("polynomial_predict is still to do")


def train_and_true_error(x, y, truth, degree):
    """Fit a polynomial, and measure it twice: on the points it has seen, and against the function behind them.

    Both are root mean squared errors,  RMSE(a, b) = sqrt(mean((a - b)^2)):

        train error:  the polynomial at x, against the noisy y
        true error:   the polynomial at 200 evenly spaced points from min(x) to max(x), both included, against the truth

    The grid ends where the points end. Beyond them a polynomial shoots off to infinity; to count that as an error of
    the fit is to ask it about a place of which it was told nothing.

    x, y:   noisy points (N,) and (N,).
    truth:  a function from numbers (M,) to the true values (M,).
    degree: of the polynomial.
    Returns (train_error, true_error): two numbers.

    Example: with a truth that gives zeros, train_and_true_error([0.0, 1.0], [1.0, -1.0], truth, 0) gives (1.0, 0.0):
             the best constant is 0.

    The train error can only fall as the degree grows. The true error tells another story: with 30 points of noisy_wave
    its median over 200 draws is 0.45, 0.22, 0.10 and 0.13 for the degrees 1, 4, 8 and 12, and with 15 points 0.45,
    0.24, 0.23 and 6.4: the more a model can do, the more points it needs. Those are medians. A single draw proves
    nothing: with 30 points degree 12 is better than degree 4 in 155 of the 200, though textbooks show it as the one
    that overfits. (On all of -3 to 3, beyond the outermost points, its median is 0.44: that is extrapolation.)
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("train_and_true_error is still to do")


def select_degree(x, y, degrees, val_fraction, rng):
    """Choose the degree by points that the fit has not seen: a validation split.

    Make one draw, order = rng.permutation(N). The first round(N * val_fraction) indices of it are the validation
    points, the others the training points. (round is Python's; the fraction leaves enough points for training.) For
    each degree, fit on the training points and take the RMSE of the fit on the validation points. The degree with the
    smallest one wins; of equally good ones the first in the list.

    The training error cannot choose: it would always take the largest degree.

    x, y:         points (N,) and (N,).
    degrees:      a list of degrees, in any order.
    val_fraction: the share of the points that is held out.
    rng:          a np.random.Generator.
    Returns (best, errors): the winning degree, and the validation errors (len(degrees),) in the order of the list.

    Example: on points of a parabola without noise, select_degree(x, y, [1, 2], 0.25, rng) gives 2 and two errors, the
             second of them 0 up to rounding.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("select_degree is still to do")


def layer_shapes(sizes):
    """What shapes the weights and biases of a network have.

    A layer with n inputs and m outputs has a weight matrix (m, n), one row for each output, and a bias (m,). Each
    layer's outputs are the next one's inputs.

    sizes: the widths, from the number of inputs to the number of outputs: [2, 3, 1] has two inputs, three hidden units
           and one output, so two layers.
    Returns a list with one pair (shape of W, shape of b) for each layer; a shape is a tuple of whole numbers.

    Example: layer_shapes([2, 3, 1]) gives [((3, 2), (3,)), ((1, 3), (1,))].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("layer_shapes is still to do")


def count_parameters(sizes):
    """How many numbers a network has to learn: all weights and all biases of all layers.

    sizes: the widths, as for layer_shapes.
    Returns a whole number.

    Example: count_parameters([2, 3, 1]) gives 13: 6 weights and 3 biases, then 3 weights and 1 bias.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("count_parameters is still to do")


def compose_linear(W1, b1, W2, b2):
    """Two linear layers with nothing between them are one linear layer: find it.

    For every input x:  (x @ W1.T + b1) @ W2.T + b2  =  x @ W.T + b

    So depth alone gains nothing. It is the activation between the layers that makes a network more than a matrix.

    W1, b1: the layer that comes first, (M, D) and (M,).
    W2, b2: the layer after it, (K, M) and (K,).
    Returns (W, b): the layer that does both at once, (K, D) and (K,).

    Example: compose_linear([[2.0]], [1.0], [[3.0]], [5.0]) gives ([[6.0]], [8.0]), because 3 (2x + 1) + 5 = 6x + 8.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("compose_linear is still to do")
