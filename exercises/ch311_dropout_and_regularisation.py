"""Chapter 311: Dropout and Regularisation

A network with enough weights can learn its training data by heart, noise included. Regularisation is whatever keeps it
from doing so: units that are dropped at random, a price on large weights, an end of training at the right moment. You
write four of these, and learn to ask a network how sure it is.

Conventions, here and in every chapter:
  - the batch is the first axis; parameters are a dict by name, W1, b1, W2, b2, ...; gradients have the same keys;
  - p is the probability of DROPPING a unit, as in PyTorch (some texts write p for the probability of keeping it);
  - the L2 penalty is (lam / 2) sum(w^2), so that its gradient is lam w (others leave the half out, and get 2 lam w);
  - penalties and decay concern weights only, the entries whose name begins with "W"; biases, and the scales and shifts
    of normalisation layers, go free;
  - randomness comes from the `rng` that is passed in, a np.random.Generator, and from nowhere else;
  - functions accept any array of numbers, or plain lists, work in float64, and never modify what they are given.

Does it help? Measure. Below are a net of 1-64-64-1 units and 100 points of a sine with noise, which you can train with
`train_net` as soon as your dropout and your weight decay work. Over 20 data sets, its mean squared error on the true
sine was, with lr = 0.01,

    steps     plain     dropout, p = 0.3     dropout, p = 0.5     weight_decay = 0.01     weight_decay = 0.1
      500     0.148                0.253                0.342                   0.153                  0.178
    5,000     0.046                0.156                0.232                   0.042                  0.104

Dropout does harm here, on every line. This net is far from learning the noise by heart: gradient descent is too slow
for that, and with units missing it is slower still. Only where a network does overfit is there something to prevent.
With Adam (chapter 312) in place of gradient descent, 2,000 steps of lr = 0.01 are more than enough, and the same net
does gain from dropout with p = 0.3: 0.062 becomes 0.043. A regulariser is a guess about your problem, and whether it
is a good one, only data that the training has not seen can tell.

Run `dlgrade check ch311` as often as you like; `dlgrade hint ch311 dropout_forward` helps you on.
"""

import numpy as np


def noisy_sine(count, rng):
    """Given: x (count, 1), uniform in [-pi, pi], and y = sin(x) plus normal noise of standard deviation 0.5."""
    x = rng.uniform(-np.pi, np.pi, size=(count, 1))
    return x, np.sin(x) + rng.normal(scale=0.5, size=(count, 1))


def predict(x, params, p=0.0, rng=None, training=False):
    """Given: a network of ReLU layers, with your dropout behind every hidden layer, from the first to the last.

    x (B, n0), params W1, b1, ..., WL, bL. Returns the outputs of the last layer, which is linear, (B, nL).
    """
    return _forward(x, params, p, rng, training)[0]


def _forward(x, params, p, rng, training):
    a, caches = np.asarray(x, dtype=np.float64), []
    for layer in range(1, len(params) // 2 + 1):
        z = a @ np.asarray(params[f"W{layer}"]).T + np.asarray(params[f"b{layer}"])
        if layer == len(params) // 2:
            return z, [*caches, (a, None, None)]
        out, cache = dropout_forward(np.maximum(z, 0.0), p, rng, training)
        caches.append((a, z, cache))
        a = np.asarray(out)


def train_net(x, y, lr, steps, p, weight_decay, rng, widths=(1, 64, 64, 1)):
    """Given: gradient descent on the mean squared error, with your dropout and your decay_step; returns the params."""
    params = {}
    for layer in range(1, len(widths)):
        n_in, n_out = widths[layer - 1 : layer + 1]
        params[f"W{layer}"] = rng.normal(scale=np.sqrt(2.0 / n_in), size=(n_out, n_in))
        params[f"b{layer}"] = np.zeros(n_out)
    for _ in range(steps):
        out, caches = _forward(x, params, p, rng, True)
        d, grads = 2.0 * (out - y) / np.size(y), {}
        for layer in range(len(caches), 0, -1):
            a, z, cache = caches[layer - 1]
            if z is not None:
                d = np.asarray(dropout_backward(d, cache)) * (z > 0)
            grads[f"W{layer}"], grads[f"b{layer}"] = d.T @ a, d.sum(axis=0)
            d = d @ params[f"W{layer}"]
        params = decay_step(params, grads, lr, weight_decay)
    return params


def drift(params):
    """Given: stands in for an epoch of training that works IN PLACE, as many do. Takes 1 off every entry of the arrays
    that it is given, and returns the same dict."""
    for value in params.values():
        value -= 1.0
    return params


def dropout_forward(x, p, rng, training=True):
    """Inverted dropout: each entry is dropped with probability p, and the others make up for it.

    In training every entry of x gets a draw u of its own, uniform in [0, 1), and

        out = x / (1 - p)   where u >= p            out = 0   where u < p

    The factor 1 / (1 - p) keeps the expected value of every entry at x, so that nothing needs to be rescaled later: in
    evaluation out is simply x.

    Draw all u at once, in one call: rng.random(x.shape). Then the same rng gives the same mask for everyone.

    x:        any shape, for example (B, n).
    p:        probability of dropping, from 0 to 1, both included. With p = 1 nothing is left: out is 0, and not nan.
              Any other p raises ValueError, in training and in evaluation.
    rng:      a np.random.Generator. In evaluation it is not used, and may be None.
    training: True or False.
    Returns (out, cache): an array of the shape of x, and whatever your dropout_backward wants to find again.

    Example: the first draws of np.random.default_rng(0) are 0.637, 0.270, 0.041 and 0.017. So
             dropout_forward([1.0, 2.0, 3.0, 4.0], 0.2, np.random.default_rng(0)) gives out [1.25, 2.5, 0.0, 0.0].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("dropout_forward is still to do")


def dropout_backward(dout, cache):
    """The gradient of dropout.

    Every entry of out was x times a number: 0, or 1 / (1 - p), or 1 in evaluation. So

        dx = dout times that same number, entry by entry

    It must be the very mask of the forward pass. A new one would send gradients into units that had no part in the
    output.

    dout:  gradient of the loss at out, any shape.
    cache: what dropout_forward returned second, in training or in evaluation. Leave it as it is: it can be used again,
           and two forward passes have two caches that do not disturb each other.
    Returns dx, an array of the shape of dout.

    Example: after the forward pass of the example above, dout = [10.0, 10.0, 10.0, 10.0] gives [12.5, 12.5, 0.0, 0.0].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("dropout_backward is still to do")


def l2_penalty(params, lam):
    """The L2 penalty on the weights, and its gradient.

        value = (lam / 2) sum of w^2          gradient = lam w

    The sum runs over all entries of all parameters whose name begins with "W". It is a sum, not a mean.

    params: dict of arrays, for example {"W1": (n1, n0), "b1": (n1,), "gamma1": (n1,)}.
    lam:    the strength, a number.
    Returns (value, grads): a number, and a dict with ALL keys of params, each gradient the shape of its parameter; for
    what is not penalised it is an array of zeros.

    Example: l2_penalty({"W1": [[3.0, -4.0]], "b1": [100.0]}, 0.1) gives (1.25, {"W1": [[0.3, -0.4]], "b1": [0.0]}),
             because 0.05 * (9 + 16) = 1.25.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("l2_penalty is still to do")


def l1_penalty(params, lam):
    """The L1 penalty on the weights, and its subgradient.

        value = lam sum of |w|          gradient = lam sign(w),  and 0 where w is 0

    L2 pulls at a weight in proportion to its size: large ones give way, small ones hardly feel it. L1 pulls at all of
    them equally hard. At 0 the absolute value has a corner; any slope from -lam to lam would do, and 0 is the custom.

    params: dict of arrays, as for l2_penalty; names that begin with "W" pay.
    lam:    the strength, a number.
    Returns (value, grads), like l2_penalty.

    Example: l1_penalty({"W1": [[3.0, -4.0, 0.0]], "b1": [100.0]}, 0.1) gives
             (0.7, {"W1": [[0.1, -0.1, 0.0]], "b1": [0.0]}).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("l1_penalty is still to do")


def soft_threshold(w, threshold):
    """Move every entry towards 0 by the threshold, and stop there.

        w - threshold   where w > threshold
        0               where |w| <= threshold
        w + threshold   where w < -threshold

    This is the u that makes (u - w)^2 / 2 + threshold |u| smallest.

    w:         any shape.
    threshold: a number, 0 or larger.
    Returns an array of the shape of w.

    Example: soft_threshold([3.0, 0.5, -0.5, -2.0], 1.0) gives [2.0, 0.0, 0.0, -1.0].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("soft_threshold is still to do")


def l1_step(w, grad, lr, lam):
    """One step of gradient descent on loss + lam sum |w| that makes weights exactly zero.

    Following the subgradient of the penalty, a weight near 0 hops from one side to the other and is never quite 0.
    Better: take the step for the loss alone, then let the penalty act by itself, for as long as the step was:

        u = w - lr grad          new w = soft_threshold(u, lr lam)

    w:    weights, any shape.
    grad: gradient of the loss, without the penalty, at w; the same shape.
    lr:   the learning rate; lam: the strength of the penalty.
    Returns the new weights, an array of the shape of w.

    Example: l1_step([1.0, 0.1, -1.0], [2.0, 0.0, 0.0], 0.1, 3.0) gives [0.5, 0.0, -0.7]: the threshold is 0.3.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("l1_step is still to do")


def l2_step(params, grads, lr, lam):
    """One step of gradient descent on loss + L2 penalty: the penalty's gradient is added to the loss's.

        w <- w - lr (g + g of the penalty)

    params: dict of arrays.
    grads:  gradients of the loss, without the penalty: the same keys and shapes; the order may differ.
    lr:     the learning rate; lam: the strength of the penalty (see l2_penalty, which decides what pays).
    Returns a new dict with the keys and shapes of params.

    Example: l2_step({"W1": [2.0], "b1": [2.0]}, {"W1": [1.0], "b1": [1.0]}, 0.1, 0.5) gives
             {"W1": [1.8], "b1": [1.9]}.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("l2_step is still to do")


def decay_step(params, grads, lr, weight_decay):
    """One step of gradient descent with weight decay: every weight first loses a fixed share of itself.

        weights (names that begin with "W"):   w <- (1 - lr weight_decay) w - lr g
        everything else:                       b <- b - lr g

    Expand the bracket, and it is l2_step with lam = weight_decay, number for number. That is so for plain gradient
    descent only: Adam divides the gradient by its size, a penalty's part of it too, but leaves the decay alone
    (chapter 312). Every weight shrinks by the same SHARE here, large ones by more; l1_step takes the same AMOUNT off
    all of them, and only that makes zeros.

    params, grads, lr: as for l2_step; weight_decay: the strength.
    Returns a new dict with the keys and shapes of params.

    Example: decay_step({"W1": [2.0], "b1": [2.0]}, {"W1": [1.0], "b1": [1.0]}, 0.1, 0.5) gives
             {"W1": [1.8], "b1": [1.9]}, because 0.95 * 2 - 0.1 = 1.8.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("decay_step is still to do")


def stopping_epoch(losses, patience, min_delta=0.0):
    """When does early stopping end a training, and which epoch was the best?

    The best loss so far starts at infinity. An epoch improves if its loss is below (best loss so far) - min_delta; it
    then becomes the best. Training ends after the epoch that is the patience-th in a row without improvement, or with
    the last loss there is. A loss that equals the best is no improvement, and nan never is one. If no epoch ever
    improves (all are nan), the best is epoch 0.

    losses:    validation losses, one an epoch, (N,), at least one. Do not look at those after the end.
    patience:  a whole number, at least 1.
    min_delta: a number, 0 or larger.
    Returns (best, last): two whole numbers, counted from 0.

    Example: stopping_epoch([5.0, 3.0, 4.0, 3.0, 1.0], 2) gives (1, 3): epochs 2 and 3 bring nothing new, so the 1.0 is
             never seen. With a patience of 3 it gives (4, 4).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("stopping_epoch is still to do")


def train_with_early_stopping(params, epoch, validation_loss, max_epochs, patience):
    """Train until the validation loss stops improving, and give back the best weights, not the last.

    Each round: params = epoch(params), then loss = validation_loss(params), once. Stop by the rules of stopping_epoch,
    with min_delta 0, or after max_epochs rounds. The starting weights are no candidate; the first epoch's are.

    Beware: epoch may work IN PLACE and return the very arrays it was given (see drift, above). So make a copy of the
    best weights when they are the best, and hand epoch a copy of the caller's, which must stay as they are.

    params:          the weights to start from, a dict of float64 arrays.
    epoch:           a function from params to params.
    validation_loss: a function from params to a number.
    max_epochs:      a whole number, at least 1.
    patience:        a whole number, at least 1.
    Returns (best_params, losses): a dict of arrays, and the list of the validation losses, one for every epoch run.

    Example: train_with_early_stopping({"w": np.array([5.0])}, drift, lambda p: abs(p["w"][0] - 2.0), 50, 2) gives
             ({"w": [2.0]}, [2.0, 1.0, 0.0, 1.0, 2.0]).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("train_with_early_stopping is still to do")


def mc_dropout(x, params, p, n_samples, rng):
    """Ask a network n_samples times with dropout switched ON, and see how much its answers differ.

    Each time other units are missing, as if another network had answered (Monte Carlo dropout). Where the answers
    agree, the network is sure of itself. Take that for a hint, not for a probability: the spread depends on p, which
    you chose, and it says nothing of the noise in the data.

    Call predict(x, params, p, rng, True) n_samples times, one after the other; all draws come from rng, and each row
    of x gets its own mask. Then, for every output by itself,

        mean = (1/S) sum_s answer_s          variance = (1/S) sum_s (answer_s - mean)^2

    x:         inputs, (B, n0).
    params:    W1, b1, ..., as for predict, which is given.
    n_samples: S, a whole number, at least 1.
    Returns (mean, variance), two arrays of the shape of one answer, (B, nL).

    Example: a hidden unit that gives 6.0, dropped with p = 0.5, contributes 12.0 or 0.0. With
             params = {"W1": [[1.0]], "b1": [0.0], "W2": [[1.0]], "b2": [1.0]} and np.random.default_rng(0), whose first
             draws are 0.637, 0.270, 0.041 and 0.017, mc_dropout([[6.0]], params, 0.5, 4, rng) averages 13.0 and three
             times 1.0, and gives ([[4.0]], [[27.0]]).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("mc_dropout is still to do")
