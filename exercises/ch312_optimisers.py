"""Chapter 312: Optimisers: Adam, RMSProp, Momentum

A gradient says which way is downhill. It does not say how far to go, and one learning rate never suits all parameters:
some gradients are a million times larger than others, some are zero most of the time, all of them are noisy. An
optimiser decides the step from the gradients it has seen so far. You write the five that deep learning uses, run them
down a famous valley, and choose their learning rates as it is done in earnest: by trying.

Every optimiser here is one function that takes one step:

    params, state = adam_step(params, grads, state, lr=0.01)

  - params is a dict of arrays by name, for example {"W1": an array (3, 2), "b1": an array (3,)}. They can have any
    shape, even () for a single number, and any number type, or be lists; work in float64 and return float64;
  - grads has the same names, each gradient the shape of its parameter. Pair them by name: the order may differ;
  - state is the optimiser's memory. It is the empty dict {} before the first step, and afterwards whatever your last
    call returned. What you keep in it is your choice; nobody looks inside, it is only handed back to you;
  - both come back new, as a tuple (params, state). Nothing that you were given is modified: not the arrays, not the
    dicts, not the old state. Whoever called you may go back to them.

The small constant eps stands outside the square root everywhere in this chapter, sqrt(s) + eps, as in PyTorch. Some
texts write sqrt(s + eps). For gradients of 1e-6 and eps = 1e-8 the step would be a hundred times shorter.

Run `dlgrade check ch312` as often as you like; `dlgrade hint ch312 adam_step` helps you on.
"""

import numpy as np


def as_floats(arrays):
    """Given: a new dict with the same names, and every array as float64."""
    return {name: np.asarray(array, dtype=np.float64) for name, array in arrays.items()}


def rosenbrock(point):
    """Given: the valley. f(x, y) = (1 - x)^2 + 100 (y - x^2)^2 for a point (2,); its minimum 0 lies at (1, 1)."""
    x, y = np.asarray(point, dtype=np.float64)
    return (1.0 - x) ** 2 + 100.0 * (y - x**2) ** 2


def rosenbrock_grad(point):
    """Given: the gradient (2,) of `rosenbrock` at a point (2,)."""
    x, y = np.asarray(point, dtype=np.float64)
    return np.array([-2.0 * (1.0 - x) - 400.0 * x * (y - x**2), 200.0 * (y - x**2)])


def noisy(grad, scale, rng):
    """Given: `grad` with normal noise of standard deviation `scale` on every entry, much as a mini-batch's is noisy."""

    def noisy_grad(point):
        exact = np.asarray(grad(point), dtype=np.float64)
        return exact + rng.normal(scale=scale, size=exact.shape)

    return noisy_grad


def momentum_step(params, grads, state, lr, momentum=0.9):
    """One step of gradient descent with momentum.

    Every parameter w has a velocity v of its own shape, zero before the first step. With the gradient g:

        v = momentum * v + g
        w = w - lr * v              with the new v

    Gradients that agree add up to ten times one of them (for momentum = 0.9); gradients that contradict each other
    cancel. The learning rate stays out of the velocity, so a new lr acts at once on all of it.

    params, grads, state: as at the top of this file.
    Returns (params, state): a dict with the names and shapes of params, and the memory for the next step.

    Example: params, state = momentum_step({"w": [1.0, 2.0]}, {"w": [1.0, -1.0]}, {}, lr=0.1) gives params
             {"w": [0.9, 2.1]}. With the same gradient again, momentum_step(params, {"w": [1.0, -1.0]}, state, lr=0.1)
             gives {"w": [0.71, 2.29]}, because the velocity has become 0.9 * 1 + 1 = 1.9.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("momentum_step is still to do")


def adagrad_step(params, grads, state, lr, eps=1e-10):
    """One step of AdaGrad: every single weight has its own learning rate, which falls with what it has seen.

    Every entry of every parameter sums its own squared gradients in s, zero before the first step:

        s = s + g^2
        w = w - lr * g / (sqrt(s) + eps)              with the new s

    So the first step of every entry is lr long, whatever the size of its gradient. What counts is how often a gradient
    comes, not how large it is: a weight whose gradient is zero most of the time keeps a large rate for the rare
    occasions. A gradient of zero moves nothing (eps prevents 0 / 0). But s only grows, and in a long training the steps
    fade away.

    params, grads, state: as at the top of this file.
    Returns (params, state): a dict with the names and shapes of params, and the memory for the next step.

    Example: params, state = adagrad_step({"w": [1.0, 1.0]}, {"w": [3.0, 0.0]}, {}, lr=0.1) gives the params
             {"w": [0.9, 1.0]}. With the gradient [4.0, 2.0] next, the first entry's step is 0.1 * 4 / 5 = 0.08, and the
             second's is 0.1: {"w": [0.82, 0.9]}.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("adagrad_step is still to do")


def rmsprop_step(params, grads, state, lr, rho=0.99, eps=1e-8):
    """One step of RMSProp: AdaGrad with a memory that fades.

    Instead of a sum, s is a running mean of squared gradients, zero before the first step:

        s = rho * s + (1 - rho) * g^2
        w = w - lr * g / (sqrt(s) + eps)              with the new s

    rho says how much of the old mean is kept. Nothing corrects for the start at zero: the first s is (1 - rho) g^2,
    far too small, so the first step is lr / sqrt(1 - rho) long, ten times lr for rho = 0.99. Adam repairs that.

    params, grads, state: as at the top of this file.
    Returns (params, state): a dict with the names and shapes of params, and the memory for the next step.

    Example: rmsprop_step({"w": [1.0, 1.0]}, {"w": [3.0, 0.0]}, {}, lr=0.01) gives the params {"w": [0.9, 1.0]}, to
             eight digits: s is [0.09, 0.0], and 0.01 * 3 / (0.3 + eps) is almost 0.1.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("rmsprop_step is still to do")


def adam_step(params, grads, state, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """One step of Adam: momentum and RMSProp together, both corrected for their start at zero.

    m is a running mean of gradients, v one of squared gradients. Both have the shape of w and are zero before the first
    step. t counts the steps: 1 in the first one, and it is the same for all parameters.

        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g^2
        w = w - lr * m_hat / (sqrt(v_hat) + eps)      with m_hat = m / (1 - beta1^t) and v_hat = v / (1 - beta2^t)

    Keep m and v uncorrected for the next step: m_hat and v_hat are only for this one. In the first step m_hat is g and
    v_hat is g^2, so every entry with a gradient well above eps moves by lr, whatever the scale of its gradient.

    params, grads, state: as at the top of this file.
    Returns (params, state): a dict with the names and shapes of params, and the memory for the next step.

    Example: adam_step({"a": [1.0, 1.0], "b": [2.0]}, {"a": [3.0, -500.0], "b": [0.0]}, {}, lr=0.1) gives the params
             {"a": [0.9, 1.1], "b": [2.0]}, to eight digits.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("adam_step is still to do")


def adamw_step(params, grads, state, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01):
    """One step of AdamW: Adam, and besides it every weight shrinks by the same share.

        w = w - lr * weight_decay * w - lr * m_hat / (sqrt(v_hat) + eps)

    with the old w on the right, and m_hat and v_hat as in Adam, from the gradient alone. All parameters decay alike,
    biases too.

    This is not Adam with an L2 penalty. The penalty would add weight_decay * w to the gradient, Adam would divide it by
    sqrt(v_hat) like the rest, and weights with large gradients would hardly decay. Here the decay is decoupled: it
    never enters m or v.

    params, grads, state: as at the top of this file.
    Returns (params, state): a dict with the names and shapes of params, and the memory for the next step.

    Example: adamw_step({"w": [2.0, 2.0]}, {"w": [0.0, 5.0]}, {}, lr=0.1, weight_decay=0.5) gives the params
             {"w": [1.9, 1.8]}, to eight digits: both entries shrink by 0.1 * 0.5 * 2 = 0.1, and the second takes Adam's
             step of 0.1 as well.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("adamw_step is still to do")


def minimize(step, grad, start, n_steps, **options):
    """Follow an optimiser from a starting point, and keep every point it comes through.

    step:    one of the functions above, or anything that is called like them. It works on a dict of parameters, so wrap
             the point in a dict with one entry; the name is yours. It gets the options by keyword, in every step:
             step(params, grads, state, **options).
    grad:    a function from a point (D,) to the gradient (D,) there. Ask it once a step: n_steps times in all, for it
             is what costs.
    start:   the point (D,) to start from. It must come back unchanged.
    n_steps: how many steps to take; 0 is allowed.
    Returns the history: an array (n_steps + 1, D), first the start, then the point after each step.

    Example: minimize(momentum_step, lambda p: 2 * p, [1.0], 2, lr=0.1) gives [[1.0], [0.8], [0.46]].

    It is then run down the valley of `rosenbrock`, from near (-1.5, 2), with 2,000 gradients. On the way it must come
    below 1e-5 with momentum_step and lr=0.001, below 0.1 with rmsprop_step and lr=0.005, below 0.001 with adam_step
    and lr=0.05.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("minimize is still to do")


def sweep(step, loss, grad, start, n_steps, lrs):
    """Choose the learning rate by trying: run `minimize` once with each, and see whose last point has the lowest loss.

    A rate that is too large makes the run diverge: the loss at its last point is nan, which is no number at all, or
    infinite with either sign. Every such run is given the loss np.inf, so that it cannot win. (nan is a trap: it is
    neither smaller nor larger than anything, and np.argmin takes it for the minimum.)

    step, grad, start, n_steps: as for minimize; every run begins anew, at the same start.
    loss:    a function from a point (D,) to a number.
    lrs:     a list of learning rates. At least one of them does not diverge; if two are equally good, the first wins.
    Returns (best, losses): the best learning rate, and the list of the last losses, one for each rate.

    Example: sweep(momentum_step, lambda p: p[0] ** 2, lambda p: 2 * p, [1.0], 1, [0.1, 0.5, 1.0]) gives
             (0.5, [0.64, 0.0, 1.0]).

    Compare optimisers only like this, each at its own best rate. In the valley, with noise of 0.3 on every gradient
    and 2,000 steps from (-1.5, 2), the median of the last losses of 20 runs is 5.2 for Adam with its customary lr of
    0.001, and 0.0002 for momentum, also with 0.001. At its best rate, 0.02, Adam ends at 0.0002 as well; RMSProp at its
    best, 0.005, stays at 0.007. Adam is a good first choice. It is not the best everywhere, and not at any rate.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("sweep is still to do")
