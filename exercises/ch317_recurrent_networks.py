"""Chapter 317: Recurrent Neural Networks

A recurrent network reads a sequence step by step and carries what it remembers in a state. The same weights serve at
every step, so their gradients are sums over all steps, and the gradient of the state travels back through time. You
write the network and that journey, cut it short, measure why it fades, and teach the network to remember.

Conventions, here and in every chapter:
  - the batch is the first axis, time the second: inputs are (B, T, D), states (B, H), all states (B, T, H);
  - weights are (out, in), used as x @ W.T; the names and the two biases are those of torch.nn.RNN;
  - a network is a dict of six arrays, with an output layer at every step:
        W_ih (H, D), W_hh (H, H), b_ih (H,), b_hh (H,), W_hy (O, H), b_hy (O,);
  - gradients come back as a dict with the same six keys;
  - functions accept any arrays of numbers (and lists), return float64, and never modify what they are given.

Run `dlgrade check ch317` as often as you like; `dlgrade hint ch317 rnn_backward` helps you on.
"""

import numpy as np


def rnn_step(x, h, params):
    """One step: the new state is made of the input and of the old state.

        h' = tanh(x W_ih^T + b_ih + h W_hh^T + b_hh)

    x:      the input of this step, (B, D).
    h:      the state before it, (B, H).
    params: dict with at least W_ih (H, D), W_hh (H, H), b_ih (H,) and b_hh (H,).
    Returns h', an array (B, H).

    Example: with all four parameters of one unit equal to 0.5 (W_ih and W_hh as [[0.5]]), x = [[1.0]] and h = [[2.0]]
             give [[tanh(2.5)]], which is [[0.9866]] when rounded.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("rnn_step is still to do")


def rnn_forward(x, params, h0=None):
    """Run the network over whole sequences, with a linear output at every step.

        h_t = rnn_step(x_t, h_{t-1})        y_t = h_t W_hy^T + b_hy        for t = 1 ... T

    The output y_t uses the NEW state h_t, the one that has just seen x_t.

    x:      sequences, (B, T, D), with T at least 1.
    params: dict with all six parameters.
    h0:     the state before the first step, (B, H); None means zeros.
    Returns (y, hs, cache): the outputs (B, T, O), the states h_1 ... h_T (B, T, H), without h_0, and whatever your
    `rnn_backward` wants to find again.

    Example: with W_ih, W_hh and W_hy equal to [[1.0]], biases of zero and x = [[[0.5], [0.0]]], the states are
             [[[tanh(0.5)], [tanh(tanh(0.5))]]], and the outputs are the same numbers.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("rnn_forward is still to do")


def rnn_backward(dy, cache):
    """Back-propagation through time: all gradients of `rnn_forward`.

    A state h_t is used twice: for the output y_t, and for the next state h_{t+1}. With a_t the sum inside the tanh of
    step t, g_t the whole gradient at h_t, and everything as rows of (B, H), go from t = T down to 1:

        g_t = dy_t W_hy + a'_{t+1} W_hh             (the second term is missing at t = T)
        a'_t = g_t * (1 - h_t^2)                    the gradient at a_t: the tanh comes FIRST, then W_hh

    The gradients of W_ih, W_hh and the biases are sums over all samples and all steps of what each step contributes:
    a'_t with x_t, a'_t with h_{t-1}, and a'_t alone.

    dy:    the gradient at the outputs, (B, T, O).
    cache: what `rnn_forward` returned third; it may be used more than once.
    Returns (dx, dh0, grads): arrays (B, T, D) and (B, H), and a dict with the six keys of the parameters, each
    gradient of the shape of its parameter. Nothing is divided by B or T. dh0 is there also when no h0 was given.

    Example: with W_ih, W_hh and W_hy equal to [[1.0]], biases of zero, x = [[[0.0], [0.0]]] and dy = [[[0.0], [1.0]]],
             all states are 0 and all slopes 1: dx is [[[1.0], [1.0]]], dh0 is [[1.0]], the gradients of b_ih and
             b_hh are [2.0], that of b_hy is [1.0], and those of W_ih, W_hh and W_hy are [[0.0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("rnn_backward is still to do")


def truncated_gradients(x, dy, params, k, h0=None):
    """Truncated back-propagation through time: cut the sequence into pieces, and let no gradient cross a cut.

    The pieces hold k steps each, counted from the left; the last one may be shorter. The STATE is carried from piece to
    piece as if there were no cut: a piece starts from the last state of the piece before it, and the outputs are those
    of the whole sequence. Only the gradient stops: within a piece, the state it started from counts as a constant.

    x:      sequences, (B, T, D).
    dy:     the gradient at the outputs, (B, T, O).
    params: dict with all six parameters.
    k:      steps in a piece, at least 1; with k >= T nothing is cut.
    h0:     the state before the first step, (B, H); None means zeros.
    Returns (y, grads): the outputs (B, T, O), and the dict of gradients, summed over the pieces.

    Example: with the network of the example of `rnn_backward`, its x and its dy, k = 1 gives [1.0] for the gradients
             of b_ih and b_hh: only the last step can be reached. With k = 2 it is [2.0] again.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("truncated_gradients is still to do")


def state_jacobians(hs, W_hh):
    """How every state depends on the first one: the Jacobians dh_t / dh_0.

    One step contributes J_t = diag(1 - h_t^2) W_hh: entry [i, j] says how h_t[i] moves when h_{t-1}[j] is nudged.
    By the chain rule, with the newest factor on the left,

        dh_t / dh_0 = J_t J_{t-1} ... J_1

    hs:   the states h_1 ... h_T, (B, T, H), as `rnn_forward` returns them.
    W_hh: (H, H).
    Returns an array (B, T, H, H): at [b, t - 1] the matrix dh_t / dh_0 of sample b.

    Example: state_jacobians([[[0.0], [0.5]]], [[2.0]]) gives [[[[2.0]], [[3.0]]]]: 2, then 0.75 * 2 * 2.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("state_jacobians is still to do")


def jacobian_norms(hs, W_hh):
    """The spectral norm of every dh_t / dh_0: by how much, at most, a nudge of the first state is stretched.

    The spectral norm of a matrix is its largest singular value. Where it falls towards 0 the gradient vanishes.

    A W_hh whose spectral norm is larger than 1 need not explode: every step also multiplies by the slopes 1 - h^2,
    which are at most 1, and a matrix stretches the direction of its largest singular value only.

    hs, W_hh: as in `state_jacobians`.
    Returns an array (B, T).

    Example: jacobian_norms([[[0.0, 0.0]]], [[3.0, 0.0], [0.0, -4.0]]) gives [[4.0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("jacobian_norms is still to do")


def clip_gradients(grads, max_norm):
    """Shorten a gradient that is too long, and keep its direction.

    The norm is that of ALL gradients together: the root of the sum of the squares of every entry of every array. If it
    is larger than max_norm, every gradient is multiplied by max_norm / norm; otherwise they come back as they are.

    grads:    dict of arrays of any shapes.
    max_norm: the longest that is allowed, a positive number.
    Returns (clipped, norm): a new dict with the same keys, and the norm BEFORE clipping.

    Example: clip_gradients({"W": [[3.0]], "b": [4.0]}, 1.0) gives ({"W": [[0.6]], "b": [0.8]}, 5.0).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("clip_gradients is still to do")


def delay_loss(y, target, delay):
    """GIVEN: the mean squared error over the steps from `delay` on, and its gradient.

    The first `delay` steps do not count, for nothing has been said yet that could be repeated.

    y, target: (B, T, O). Returns (loss, dy): a float, and an array (B, T, O).
    """
    difference = np.array(y, dtype=np.float64) - np.asarray(target, dtype=np.float64)
    difference[:, :delay] = 0.0
    count = difference[:, delay:].size
    return float(np.sum(difference**2) / count), 2.0 * difference / count


def train(params, x, target, delay, lr, n_steps, max_norm):
    """Teach the network to say now what it heard `delay` steps ago, with gradients clipped in every step.

    One step, n_steps times over: forward with all of x from a state of zeros, loss and dy by `delay_loss`, backward,
    `clip_gradients`, and then every parameter moves by -lr times its clipped gradient.

    params:    dict with all six parameters to start from; the caller keeps them as they are.
    x, target: sequences (B, T, D), and what should be said, (B, T, O).
    delay:     handed on to `delay_loss`.
    lr:        the learning rate.
    n_steps:   the number of steps.
    max_norm:  handed on to `clip_gradients`.
    Returns (params, losses): the new parameters, and a list of n_steps losses, each taken before its step.

    Example: with n_steps=0 it returns the parameters as they were and an empty list.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("train is still to do")
