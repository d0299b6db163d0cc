"""Chapter 313: Learning Rate Schedules

A large learning rate gets far, a small one settles: no single rate does both. A schedule is a function of the step that
begins with the one and ends with the other. You write the schedules that deep learning uses, with their corners: what
happens in the very first step, at the place where two pieces meet, and after the end.

Conventions in this chapter:
  - t counts the steps of a training, from 0: the first step uses the rate at t = 0. (One schedule counts from 1, and
    says so.) Whether a step is a mini-batch or an epoch is for the caller to decide;
  - t is a number or an array of any shape, in any order; the result has the shape of t, a number for a number. Every
    entry has its own rate, which does not depend on the others;
  - a schedule is defined for every t >= 0. After its last step the last rate stays: it does not climb again, and it
    never becomes negative;
  - rates are float64, and nothing that is passed in is modified.

Run `dlgrade check ch313` as often as you like; `dlgrade hint ch313 step_decay` helps you on.
"""

import numpy as np


def step_decay(t, lr0, drop, every):
    """Stairs: the rate is multiplied by `drop` after each `every` steps.

        rate = lr0 * drop^n          n = t // every, the number of whole periods that are over

    t:     steps from 0, a number or an array.
    lr0:   the first rate.
    drop:  the factor, a number between 0 and 1.
    every: how many steps a stair is long, a positive number.
    Returns the rates, in the shape of t.

    Example: step_decay([0, 9, 10, 25], 0.8, 0.5, 10) gives [0.8, 0.8, 0.4, 0.2].
    """
    ### BEGIN SOLUTION
    t = np.asarray(t, dtype=np.float64)
    # Whole periods only: a plain division would decay a little in every step.
    return lr0 * drop ** (t // every)
    ### END SOLUTION


def exponential_decay(t, lr0, k):
    """A slide: in every step the rate loses the same share of what it has.

        rate = lr0 * exp(-k t)

    After log(2) / k steps it is half of what it was. For small k the share lost in a step is nearly k.

    t:   steps from 0, a number or an array.
    lr0: the first rate.
    k:   how fast it decays, a positive number.
    Returns the rates, in the shape of t.

    Example: exponential_decay([0, 10], 0.8, 0.1 log 2) gives [0.8, 0.4].
    """
    ### BEGIN SOLUTION
    t = np.asarray(t, dtype=np.float64)
    return lr0 * np.exp(-k * t)
    ### END SOLUTION


def cosine_annealing(t, lr0, T_max, lr_min=0.0):
    """Half a cosine: flat at first, steep in the middle, flat again at the end.

        rate = lr_min + (lr0 - lr_min) (1 + cos(pi t / T_max)) / 2          for t from 0 to T_max
        rate = lr_min                                                       for t beyond T_max

    A cosine comes back up: without the second line the rate would be lr0 again at t = 2 T_max. The formula does not
    mind whether lr0 is above or below lr_min: it goes from the one to the other.

    t:      steps from 0, a number or an array.
    lr0:    the rate at t = 0.
    T_max:  where lr_min is reached, a positive number; it need not be whole.
    lr_min: the last rate.
    Returns the rates, in the shape of t.

    Example: cosine_annealing([0, 5, 10, 15], 1.0, 10, 0.2) gives [1.0, 0.6, 0.2, 0.2].
    """
    ### BEGIN SOLUTION
    t = np.asarray(t, dtype=np.float64)
    # The share of the way, held at 1 after the end.
    progress = np.minimum(t / T_max, 1.0)
    return lr_min + (lr0 - lr_min) * (1.0 + np.cos(np.pi * progress)) / 2.0
    ### END SOLUTION


def warmup_cosine(t, lr0, T_warmup, T_total, lr_min=0.0):
    """A linear warm-up, then half a cosine: what many Transformers are trained with.

        rate = lr0 (t + 1) / (T_warmup + 1)                                   for t < T_warmup
        rate = half a cosine from lr0 at T_warmup to lr_min at T_total         from T_warmup to T_total
        rate = lr_min                                                         from T_total on

    The warm-up is a straight line that starts above 0 (a rate of 0 would waste the first step) and meets the peak, lr0
    exactly, at t = T_warmup. The cosine takes T_total - T_warmup steps. There may be no warm-up, T_warmup = 0: then
    it is cosine_annealing. There may be nothing but warm-up, T_warmup = T_total: then lr_min follows it at once.

    Why warm up? In the first steps Adam knows the size of the gradients from a few samples only, and its steps are as
    random as that estimate. (That its averages start at zero is not the reason: the bias correction takes care of it.)
    And the first gradients of a fresh network are often large, and point in directions that soon change.

    t:                 steps from 0, a number or an array.
    lr0:               the highest rate.
    T_warmup, T_total: whole numbers, 0 <= T_warmup <= T_total, and T_total is at least 1.
    lr_min:            the last rate.
    Returns the rates, in the shape of t.

    Example: warmup_cosine([0, 1, 2, 3, 4, 5, 9], 0.8, 3, 5) gives [0.2, 0.4, 0.6, 0.8, 0.4, 0.0, 0.0].
    """
    ### BEGIN SOLUTION
    t = np.asarray(t, dtype=np.float64)
    ramp = lr0 * (t + 1.0) / (T_warmup + 1.0)
    # The cosine counts from the end of the warm-up. Its length is 0 if there is nothing else: then any length will do,
    # for the last line replaces all of it.
    descent = cosine_annealing(t - T_warmup, lr0, max(T_total - T_warmup, 1), lr_min)
    rates = np.where(t < T_warmup, ramp, descent)
    return np.where(t >= T_total, lr_min, rates)[()]
    ### END SOLUTION


def transformer_schedule(t, d_model, T_warmup):
    """The schedule of the first Transformer (Vaswani and others, 2017): a linear warm-up, then 1 / sqrt(t).

        rate = d_model^(-1/2) * min( t^(-1/2), t * T_warmup^(-3/2) )

    Here t counts from 1, for 0^(-1/2) is infinite. The two pieces meet at t = T_warmup, where the rate is highest:
    1 / sqrt(d_model * T_warmup). There is no lr0: the width of the model sets the scale.

    t:        steps from 1, a number or an array.
    d_model:  the width of the model, a positive number.
    T_warmup: the length of the warm-up, at least 1.
    Returns the rates, in the shape of t.

    Example: transformer_schedule([1, 4, 16], 25, 4) gives [0.025, 0.1, 0.05].
    """
    ### BEGIN SOLUTION
    t = np.asarray(t, dtype=np.float64)
    # np.minimum compares entry by entry. Before T_warmup the straight line is the lower of the two, after it the root.
    return d_model**-0.5 * np.minimum(t**-0.5, t * T_warmup**-1.5)
    ### END SOLUTION


def one_cycle(t, lr_max, T_total, pct_start=0.3, div_factor=25.0, final_div_factor=1e4):
    """One cycle (Smith and Topin, 2018): up to a rate that would be too high for long, and down to almost nothing.

    The T_total steps are t = 0, ..., T_total - 1. With

        start = lr_max / div_factor          end = start / final_div_factor          peak = pct_start * T_total - 1

    the rate goes up half a cosine from `start` at t = 0 to lr_max at t = peak, and down half a cosine from there to
    `end` at the last step, t = T_total - 1, where it stays. The peak need not be a whole number; then no step has
    exactly lr_max, and none has more. This is PyTorch's OneCycleLR.

    The end, far below the rate at the start, belongs to it: without it the cycle would be a hill that ends where it
    began, and nothing would settle. To find lr_max, let the rate grow in a trial run until the loss explodes, and take
    a good deal less: about a tenth of that rate is the usual advice.

    t:                steps from 0, a number or an array.
    lr_max:           the highest rate.
    T_total:          how many steps there are, a whole number.
    pct_start:        the share of the steps that go up, between 0 and 1; pct_start * T_total is greater than 1.
    div_factor:       how many times the first rate is below the highest.
    final_div_factor: how many times the last rate is below the first.
    Returns the rates, in the shape of t.

    Example: one_cycle([0, 1, 2, 6, 10, 99], 1.0, 11, 3 / 11, 25, 2) gives [0.04, 0.52, 1.0, 0.51, 0.02, 0.02]: the peak
             is at t = 2.
    """
    ### BEGIN SOLUTION
    t = np.asarray(t, dtype=np.float64)
    start = lr_max / div_factor
    end = start / final_div_factor
    peak = pct_start * T_total - 1.0
    # A cosine_annealing whose "lr_min" is the higher rate goes up.
    up = cosine_annealing(t, start, peak, lr_max)
    # From t = 0 to T_total - 1 are T_total - 1 steps, not T_total.
    down = cosine_annealing(t - peak, lr_max, T_total - 1.0 - peak, end)
    return np.where(t <= peak, up, down)[()]
    ### END SOLUTION


def warm_restarts(t, lr0, T_0, T_mult=1, lr_min=0.0):
    """Cosines, one after the other (SGDR: Loshchilov and Hutter, 2017): whenever the rate is almost down, start again.

    The first cycle has T_0 steps, the next T_0 * T_mult, the next T_0 * T_mult^2, and so on. In each of them, with s
    counting its steps from 0 and T its length, the rate is

        lr_min + (lr0 - lr_min) (1 + cos(pi s / T)) / 2

    The first step of each cycle has lr0 again. lr_min is never quite reached: its step is the first of the next cycle.

    t:      steps from 0, whole, a number or an array.
    lr0:    the rate at the start of each cycle.
    T_0:    the length of the first cycle, a whole number from 1 on.
    T_mult: how many times longer each cycle is than the one before, a whole number from 1 on.
    lr_min: what each cycle goes down to.
    Returns the rates, in the shape of t.

    Example: warm_restarts([0, 1, 2, 4, 6], 1.0, 2, 2) gives [1.0, 0.5, 1.0, 0.5, 1.0]: the cycles begin at 0, 2 and 6.
    """
    ### BEGIN SOLUTION

    def rate(step):
        length = T_0
        # Take off whole cycles until the rest lies in the current one.
        while step >= length:
            step -= length
            length *= T_mult
        return cosine_annealing(step, lr0, length, lr_min)

    return np.vectorize(rate, otypes=[np.float64])(t)[()]
    ### END SOLUTION


def follow(grad, start, schedule, n_steps):
    """Gradient descent with a schedule.

    In step t = 0, 1, ..., n_steps - 1, with x the current point:

        rate = schedule(t)          x = x - rate * grad(x)

    The schedule gives the rate itself, anew in every step: it is not a factor for the rate of the step before.

    grad:     a function from a point (D,) to the gradient (D,) there; ask it once a step.
    start:    the point (D,) to begin with. It comes back unchanged.
    schedule: a function from a step, a whole number, to a rate; ask it once a step, in the order of the steps.
    n_steps:  how many steps, a whole number; 0 is allowed.
    Returns (history, rates): the start and the point after each step, an array (n_steps + 1, D), and the rates that
    were used, an array (n_steps,).

    Example: follow(lambda x: 2 * x, [1.0], lambda t: 0.5 / (t + 2), 2) gives ([[1.0], [0.5], [1/3]], [0.25, 1/6]).

    What a schedule is good for shows when gradients are noisy: with a fixed rate the point never comes to rest, but
    dances around the minimum, the wider the larger the rate. A rate that fades lets it settle.
    """
    ### BEGIN SOLUTION
    x = np.array(start, dtype=np.float64)
    history = [x]
    rates = np.zeros(n_steps)
    for t in range(n_steps):
        rates[t] = schedule(t)
        x = x - rates[t] * np.asarray(grad(x), dtype=np.float64)
        history.append(x)
    return np.array(history), rates
    ### END SOLUTION
