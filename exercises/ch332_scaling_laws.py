"""Chapter 332: Scaling Laws

How good will a model be that is ten times as large? Over many orders of magnitude the loss of language models falls
along a power law, a straight line on paper with two logarithmic axes. You evaluate such laws and turn them round, fit
them to measured losses, with and without a part that no model can ever get below, and answer the question that they are
made for: with so much computing to spend, how large a model, and how much text?

Conventions, here and in every chapter:
  - N is the number of parameters (without embeddings), D the number of training tokens, C the number of floating-point
    operations of a training, and C = 6 N D;
  - a law of N and D is a dict with five positive numbers, {"E": ..., "A": ..., "B": ..., "alpha": ..., "beta": ...}:
    the loss is E + A / N^alpha + B / D^beta;
  - logarithms are natural; functions accept any arrays or lists of numbers, work in float64, and never modify what they
    are given.

Run `dlgrade check ch332` as often as you like; `dlgrade hint ch332 power_law` helps you on.
"""

import numpy as np


def power_law(x, alpha, x_c):
    """The loss of a power law: (x_c / x)^alpha.

    x may be the number of parameters, of tokens, or of operations; x_c is where the loss would be 1.

    x:          any shape, or a single number; positive.
    alpha, x_c: positive numbers.
    Returns an array of the shape of x, or a single number.

    Example: power_law([1.0, 4.0], 0.5, 16.0) gives [4.0, 2.0]. For the law of Kaplan and others for parameters,
    power_law(1e9, 0.076, 8.8e13) is about 2.376.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("power_law is still to do")


def invert_power_law(loss, alpha, x_c):
    """How large must x be for this loss? The power law, solved for x.

    loss:       any shape, or a single number; positive.
    alpha, x_c: as for `power_law`.
    Returns an array of the shape of loss, or a single number.

    Example: invert_power_law([4.0, 2.0], 0.5, 16.0) gives [1.0, 4.0].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("invert_power_law is still to do")


def relative_reduction(before, after):
    """By what share of its OLD value did the loss fall? Negative, if it rose.

    before, after: of one shape, or single numbers; before positive.
    Returns an array of that shape, or a single number.

    Example: relative_reduction(4.0, 3.0) is 0.25, a reduction by 25 percent (and not 33).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("relative_reduction is still to do")


def fit_power_law(x, loss):
    """Fit (x_c / x)^alpha to measured losses: a straight line through the logarithms, by least squares.

        log loss = alpha log x_c - alpha log x

    The slope of the line of log loss against log x is -alpha, and its intercept alpha log x_c. Least squares of the
    logarithms weighs relative errors alike, at both ends.

    x:    (n,), positive, at least two different values.
    loss: (n,), positive.
    Returns (alpha, x_c), two numbers. (A loss that falls has a positive alpha, and one that rises a negative one.)

    Example: fit_power_law([1.0, 4.0, 16.0], [4.0, 2.0, 1.0]) gives (0.5, 16.0).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("fit_power_law is still to do")


def fit_with_floor(x, loss, floors):
    """Fit floor + amplitude * x^(-alpha) to measured losses, where the floor is what no model gets below.

    Text has an entropy: even a perfect model has a loss. A fit without a floor finds too small an alpha, and promises
    large models a loss that no model can have. For a KNOWN floor the rest is a straight line again:

        log(loss - floor) = log amplitude - alpha log x          (least squares)

    Try each of the given floors, and keep the one whose line leaves the smallest sum of squared residuals (of the
    logarithms); of equal ones the first.

    x:      (n,), positive, at least three different values.
    loss:   (n,), positive.
    floors: (m,), the floors to try, at least one. All are below the smallest loss; raise ValueError if one is not, for
            there would be no logarithm.
    Returns a dict {"floor": ..., "amplitude": ..., "alpha": ...} of three numbers.

    Example: fit_with_floor([1.0, 4.0, 16.0], [5.0, 3.0, 2.0], [0.0, 0.5, 1.0]) gives floor 1.0, amplitude 4.0 and
    alpha 0.5.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("fit_with_floor is still to do")


def forecast(fit, x):
    """What a fitted law with a floor says about other sizes: floor + amplitude * x^(-alpha).

    fit: as `fit_with_floor` returns it.
    x:   any shape, or a single number; positive.
    Returns an array of the shape of x, or a single number.

    Example: forecast({"floor": 1.0, "amplitude": 4.0, "alpha": 0.5}, [64.0]) gives [1.5].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("forecast is still to do")


def training_flops(n_params, n_tokens):
    """The operations of a training: C = 6 N D.

    A parameter costs two operations a token forwards, a multiplication and an addition, and four backwards.

    n_params, n_tokens: numbers, or arrays of one shape.
    Returns an array of that shape, or a single number.

    Example: training_flops(70e9, 1.4e12) is 5.88e23, the training of Chinchilla.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("training_flops is still to do")


def device_days(flops, peak_flops_per_s, utilization):
    """How many days one device computes for a training.

    flops:            C, the operations of the training.
    peak_flops_per_s: what the device can do at best, operations per second.
    utilization:      the share of that which is really reached, above 0 and at most 1.
    Returns one number, in days of 86,400 seconds.

    Example: for the 3.14e23 operations of GPT-3, on a device of 3.12e14 per second at full use,
    device_days(3.14e23, 3.12e14, 1.0) is about 11,648; at a use of 0.4 it is about 29,121.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("device_days is still to do")


def twenty_tokens_rule(flops, tokens_per_param=20.0):
    """The rule of thumb for a budget: D = 20 N, and 6 N D = C.

    flops:            C, one number.
    tokens_per_param: how many tokens a parameter gets.
    Returns (N, D), two numbers (not rounded).

    Example: twenty_tokens_rule(5.88e23) gives (7.0e10, 1.4e12), which is Chinchilla.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("twenty_tokens_rule is still to do")


def parametric_loss(n_params, n_tokens, law):
    """The loss of a model of N parameters after D tokens: E + A / N^alpha + B / D^beta.

    Three parts: what no model gets below, what is lost because the model is finite, and because its text is.

    n_params, n_tokens: numbers, or arrays of shapes that broadcast.
    law:                a dict with the numbers E, A, B, alpha and beta.
    Returns an array of the broadcast shape, or a single number.

    Example: with law = {"E": 1.0, "A": 8.0, "B": 9.0, "alpha": 0.5, "beta": 0.5}, parametric_loss(16.0, 9.0, law) is
    1 + 2 + 3 = 6.0.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("parametric_loss is still to do")


def best_of_sizes(flops, law, sizes):
    """Which of these models should a budget be spent on? By trying them.

    A model of N parameters gets D = C / (6 N) tokens, whatever the budget leaves for it.

    flops: C, one number.
    law:   as for `parametric_loss`.
    sizes: (m,), the numbers of parameters to try.
    Returns (N, D, loss): the size with the least loss, its tokens, and that loss; of equal ones the first.

    Example: with the law {"E": 1.0, "A": 8.0, "B": 8.0, "alpha": 0.5, "beta": 0.5},
    best_of_sizes(1536.0, law, [4.0, 16.0, 64.0]) gives (16.0, 16.0, 5.0).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("best_of_sizes is still to do")


def compute_optimal(flops, law):
    """The best of all sizes for a budget, by a formula.

    Put D = C / (6 N) into the loss, and set its slope along N to zero:

        alpha A / N^alpha = beta B / D^beta

    Neither part may be much larger than the other. Together with 6 N D = C that gives

        N = G (C/6)^(beta / (alpha + beta))         G = (alpha A / (beta B))^(1 / (alpha + beta))
        D = (C/6)^(alpha / (alpha + beta)) / G

    Mind which exponent goes where. E plays no part.

    flops: C, one number.
    law:   as for `parametric_loss`.
    Returns (N, D), two numbers (not rounded).

    Example: with the law {"E": 1.0, "A": 8.0, "B": 8.0, "alpha": 0.5, "beta": 0.5}, compute_optimal(1536.0, law) gives
    (16.0, 16.0).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("compute_optimal is still to do")


def wasted_compute(n_params, n_tokens, law):
    """How many times more was spent on a training than its loss would have needed?

    The best loss for a budget falls as the budget grows. Find the budget whose BEST loss (`compute_optimal`) is the
    loss of this training, and return 6 N D divided by it: 1 for a training that is compute-optimal itself, and above 1
    for any other.

    Along the best sizes A / N^alpha and B / D^beta are in a fixed ratio: B / D^beta is alpha / beta times A / N^alpha.
    So with R = the loss of this training minus E,

        A / N^alpha = R beta / (alpha + beta)        B / D^beta = R alpha / (alpha + beta)

    which gives the best N, the best D and with them the budget.

    n_params, n_tokens: the training, two numbers.
    law:                as for `parametric_loss`.
    Returns one number, at least 1 up to rounding.

    Example: with the law {"E": 1.0, "A": 8.0, "B": 8.0, "alpha": 0.5, "beta": 0.5}, wasted_compute(16.0, 16.0, law) is
    1.0, and wasted_compute(4.0, 64.0, law), of the same cost, is 1.5625^2 = 2.44140625.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("wasted_compute is still to do")
