"""Chapter 327: Diffusion Models Intuition

Destroying a picture is easy: add a little noise, again and again. A diffusion model learns to undo one such step, and
then makes pictures out of pure noise by undoing all of them. You write both directions: the noising, what can be known
about it in closed form, the loss that trains a noise predictor, and two ways to sample. For data that are a mixture of
Gaussians the best possible noise predictor is a formula. You write it too, so that your samplers can be tried at their
best, with nothing to train.

Conventions, here and in every chapter:
  - there are T steps, and times count from 0: at time t, t + 1 steps of noising have been made, so that
    alpha_bar[0] = 1 - beta[0], and time T - 1 is the noisiest;
  - a schedule is a dict of four arrays (T,): "beta", "alpha", "alpha_bar", "alpha_bar_prev" (see `make_schedule`);
  - samples are (B, ...), batch first; eps and noise are standard normal numbers of the shape of the samples;
  - functions accept any arrays or lists of numbers, work in float64, and never modify what they are given.

Run `dlgrade check ch327` as often as you like; `dlgrade hint ch327 noising` helps you on.
"""

import numpy as np


def at_time(values, t, x):
    """Given: values[t], in a shape that multiplies x. t is one whole number, or one for each sample of x, (B,)."""
    picked = np.asarray(values, dtype=np.float64)[np.asarray(t, dtype=int)]
    return picked if picked.ndim == 0 else picked.reshape(picked.shape + (1,) * (np.ndim(x) - 1))


def linear_betas(n_steps, first=1e-4, last=0.02):
    """Variances of the noise of each step, evenly spaced from `first` to `last`, both included.

    n_steps: T, a whole number, at least 1. A single step has the variance `first`.
    Returns an array (T,).

    Example: linear_betas(3, 0.1, 0.3) gives [0.1, 0.2, 0.3].
    """
    ### BEGIN SOLUTION
    return np.linspace(first, last, n_steps)
    ### END SOLUTION


def cosine_betas(n_steps, offset=0.008, largest=0.999):
    """Variances of the noise of each step, such that the signal fades along a squared cosine.

        f(s) = cos(pi/2 * (s/T + offset) / (1 + offset))^2           for s = 0, 1, ..., T
        beta[t] = 1 - f(t + 1) / f(t), but at most `largest`         for t = 0, 1, ..., T - 1

    n_steps: T, a whole number, at least 1.
    Returns an array (T,).

    Example: cosine_betas(2, 0.0, 0.9) gives [0.5, 0.9]: f is 1, 0.5, 0, and the last step would be 1.
    """
    ### BEGIN SOLUTION
    share = np.arange(n_steps + 1) / n_steps
    f = np.cos(np.pi / 2 * (share + offset) / (1 + offset)) ** 2
    # f fades like alpha_bar, the product of all steps; one step is the ratio of two neighbours.
    return np.minimum(1 - f[1:] / f[:-1], largest)
    ### END SOLUTION


def make_schedule(betas):
    """The four arrays that everything else needs.

        "beta":           the variances, as they came
        "alpha":          1 - beta, what a step keeps of the signal's variance
        "alpha_bar":      alpha[0] * alpha[1] * ... * alpha[t], what is kept after all steps up to t
        "alpha_bar_prev": alpha_bar one time earlier, and 1 at t = 0, where nothing has been noised yet

    With linear_betas(1000), alpha_bar ends at 0.00004: pure noise. With linear_betas(200) it ends at 0.132, and the
    root of that, 0.364, is how much of the signal is still there: the same betas want enough steps.

    betas: (T,), each between 0 and 1.
    Returns a dict with those four keys; each value is an array (T,).

    Example: make_schedule([0.5, 0.2]) gives beta [0.5, 0.2], alpha [0.5, 0.8], alpha_bar [0.5, 0.4] and
    alpha_bar_prev [1, 0.5].
    """
    ### BEGIN SOLUTION
    beta = np.array(betas, dtype=np.float64)
    alpha = 1 - beta
    alpha_bar = np.cumprod(alpha)
    # Shifted by one, with the 1 of an empty product in front.
    alpha_bar_prev = np.concatenate([[1.0], alpha_bar[:-1]])
    return {"beta": beta, "alpha": alpha, "alpha_bar": alpha_bar, "alpha_bar_prev": alpha_bar_prev}
    ### END SOLUTION


def q_step(x_prev, t, eps, schedule):
    """One step of noising, from time t - 1 to time t (for t = 0, from the clean sample).

        x_t = sqrt(alpha[t]) x_prev + sqrt(beta[t]) eps

    The signal is shrunk as much as noise is added: data of variance 1 keep variance 1.

    x_prev:   samples (B, ...).
    t:        a time, a whole number.
    eps:      standard normal numbers, of the shape of x_prev.
    schedule: as `make_schedule` returns it.
    Returns an array of the shape of x_prev.

    Example: q_step([[2.0]], 0, [[1.0]], make_schedule([0.36])) gives [[0.8 * 2 + 0.6 * 1]] = [[2.2]].
    """
    ### BEGIN SOLUTION
    x_prev, eps = np.asarray(x_prev, dtype=np.float64), np.asarray(eps, dtype=np.float64)
    # beta is a variance; what multiplies a random number is a standard deviation.
    return np.sqrt(schedule["alpha"][t]) * x_prev + np.sqrt(schedule["beta"][t]) * eps
    ### END SOLUTION


def q_sample(x0, t, eps, schedule):
    """Straight from the clean sample to time t, in one go.

        x_t = sqrt(alpha_bar[t]) x0 + sqrt(1 - alpha_bar[t]) eps

    t + 1 small steps add up to a single large one, for a sum of independent normal numbers is normal again. That is
    what makes training cheap: any time can be visited at once.

    x0:       clean samples (B, ...).
    t:        a time for all samples, a whole number; or one for each sample, (B,).
    eps:      standard normal numbers, of the shape of x0.
    schedule: as `make_schedule` returns it.
    Returns an array of the shape of x0.

    Example: q_sample([[2.0]], 1, [[1.0]], make_schedule([0.2, 0.2])) gives [[0.8 * 2 + 0.6 * 1]] = [[2.2]].
    """
    ### BEGIN SOLUTION
    x0, eps = np.asarray(x0, dtype=np.float64), np.asarray(eps, dtype=np.float64)
    alpha_bar = at_time(schedule["alpha_bar"], t, x0)
    return np.sqrt(alpha_bar) * x0 + np.sqrt(1 - alpha_bar) * eps
    ### END SOLUTION


def merge_noise(eps, schedule):
    """The one noise that does in one go what n small steps do with n noises.

    It is the eps for which q_sample(x0, n - 1, eps, schedule) equals n steps `q_step` at the times 0, 1, ..., n - 1
    with eps[0], eps[1], ..., eps[n - 1], whatever x0 is:

        sqrt(1 - alpha_bar[n-1]) * merged = the sum over s of sqrt(beta[s]) sqrt(alpha_bar[n-1] / alpha_bar[s]) eps[s]

    The noise of step s was shrunk by every later step. The squares of the weights of the merged noise sum to one: it
    is standard normal again.

    eps:      (n, ...), the noise of each step, n from 1 to T.
    schedule: as `make_schedule` returns it.
    Returns an array of the shape of eps[0].

    Example: merge_noise([[1.0], [2.0]], make_schedule([0.2, 0.2])) gives [(0.4 * 1 + sqrt(0.2) * 2) / 0.6].
    """
    ### BEGIN SOLUTION
    eps = np.asarray(eps, dtype=np.float64)
    n = len(eps)
    beta, alpha_bar = schedule["beta"][:n], schedule["alpha_bar"][:n]
    # alpha_bar[n-1] / alpha_bar[s] is the product of alpha over the steps after s: what they leave of its noise.
    weights = np.sqrt(beta * alpha_bar[-1] / alpha_bar)
    merged = sum(weight * noise for weight, noise in zip(weights, eps, strict=True))
    return merged / np.sqrt(1 - alpha_bar[-1])
    ### END SOLUTION


def predict_x0(x_t, t, eps, schedule):
    """The clean sample, if this is the noise that is in x_t: `q_sample` solved for x0.

    x_t:      noised samples (B, ...).
    t:        a time for all samples, a whole number; or one for each sample, (B,).
    eps:      the noise, known or predicted, of the shape of x_t.
    schedule: as `make_schedule` returns it.
    Returns an array of the shape of x_t.

    Example: predict_x0([[2.2]], 1, [[1.0]], make_schedule([0.2, 0.2])) gives [[2.0]].
    """
    ### BEGIN SOLUTION
    x_t, eps = np.asarray(x_t, dtype=np.float64), np.asarray(eps, dtype=np.float64)
    alpha_bar = at_time(schedule["alpha_bar"], t, x_t)
    return (x_t - np.sqrt(1 - alpha_bar) * eps) / np.sqrt(alpha_bar)
    ### END SOLUTION


def predict_eps(x_t, t, x0, schedule):
    """The noise that is in x_t, if this is the clean sample: `q_sample` solved for eps.

    x_t:      noised samples (B, ...).
    t:        a time for all samples, a whole number; or one for each sample, (B,).
    x0:       the clean samples, known or predicted, of the shape of x_t.
    schedule: as `make_schedule` returns it.
    Returns an array of the shape of x_t.

    Example: predict_eps([[2.2]], 1, [[2.0]], make_schedule([0.2, 0.2])) gives [[1.0]].
    """
    ### BEGIN SOLUTION
    x_t, x0 = np.asarray(x_t, dtype=np.float64), np.asarray(x0, dtype=np.float64)
    alpha_bar = at_time(schedule["alpha_bar"], t, x_t)
    return (x_t - np.sqrt(alpha_bar) * x0) / np.sqrt(1 - alpha_bar)
    ### END SOLUTION


def denoising_loss(model, x0, t, eps, schedule):
    """The loss that trains a diffusion model: how well does it see the noise?

    Noise x0 to the times t with eps, let the model predict the noise from what came out, and take the mean squared
    error of its prediction over all entries.

    model:    a function; model(x_t, t) is its prediction of eps, of the shape of x_t. Call it once.
    x0:       clean samples (B, ...).
    t:        one time for each sample, (B,), whole numbers. The model gets the same t.
    eps:      standard normal numbers, of the shape of x0.
    schedule: as `make_schedule` returns it.
    Returns (loss, dprediction): one number, and the gradient of the loss at the prediction, of the shape of x0.

    Example: with a model that always says 0, x0 = [[5.0]], t = [0] and eps = [[3.0]], the loss is 9.0 and its gradient
    [[-6.0]].
    """
    ### BEGIN SOLUTION
    eps = np.asarray(eps, dtype=np.float64)
    prediction = np.asarray(model(q_sample(x0, t, eps, schedule), t), dtype=np.float64)
    error = prediction - eps
    # A mean over all entries: each of them has a share of 1 / size in the loss, and in its gradient.
    return np.mean(error**2), 2 * error / error.size
    ### END SOLUTION


def posterior(x_t, x0, t, schedule):
    """Where x_t came from, one time earlier, if the clean sample is known: a normal law, by Bayes' rule.

        mean     = (sqrt(alpha_bar_prev) beta x0 + sqrt(alpha) (1 - alpha_bar_prev) x_t) / (1 - alpha_bar)
        variance = beta (1 - alpha_bar_prev) / (1 - alpha_bar)               all of them at time t

    At t = 0 one time earlier is the clean sample itself: the mean is x0 and the variance 0.

    x_t:      noised samples (B, ...).
    x0:       the clean samples, of the shape of x_t.
    t:        a time, a whole number.
    schedule: as `make_schedule` returns it.
    Returns (mean, variance): an array of the shape of x_t, and one number, the same for all entries.

    Example: posterior([[1.0]], [[2.0]], 1, make_schedule([0.5, 0.5])) gives mean [[(0.5 sqrt(0.5) 2 + 0.5 sqrt(0.5) 1)
    / 0.75]] = [[1.41421356]] and variance 1/3.
    """
    ### BEGIN SOLUTION
    x_t, x0 = np.asarray(x_t, dtype=np.float64), np.asarray(x0, dtype=np.float64)
    beta, alpha = schedule["beta"][t], schedule["alpha"][t]
    alpha_bar, before = schedule["alpha_bar"][t], schedule["alpha_bar_prev"][t]
    of_x0 = np.sqrt(before) * beta / (1 - alpha_bar)
    of_x_t = np.sqrt(alpha) * (1 - before) / (1 - alpha_bar)
    return of_x0 * x0 + of_x_t * x_t, beta * (1 - before) / (1 - alpha_bar)
    ### END SOLUTION


def ancestral_step(x_t, t, eps, noise, schedule):
    """One step backwards, from time t to time t - 1 (for t = 0, to the clean sample).

        x_prev = (x_t - beta[t] / sqrt(1 - alpha_bar[t]) eps) / sqrt(alpha[t])  +  sqrt(beta[t]) noise
        at t = 0, without the noise: nobody wants it in the finished sample.

    The first part is the mean of the posterior, with the predicted x0 put in. beta[t] is taken as the variance.

    x_t:      noised samples (B, ...).
    t:        a time, a whole number.
    eps:      the predicted noise in x_t, of the shape of x_t.
    noise:    fresh standard normal numbers, of the shape of x_t.
    schedule: as `make_schedule` returns it.
    Returns an array of the shape of x_t.

    Example: ancestral_step([[1.0]], 0, [[0.6]], [[9.0]], make_schedule([0.36])) gives
    [[(1 - 0.6 * 0.6) / 0.8]] = [[0.8]].
    """
    ### BEGIN SOLUTION
    x_t, eps, noise = (np.asarray(a, dtype=np.float64) for a in (x_t, eps, noise))
    beta, alpha, alpha_bar = schedule["beta"][t], schedule["alpha"][t], schedule["alpha_bar"][t]
    # The root of alpha, not of alpha_bar: one step is undone, not all of them.
    mean = (x_t - beta / np.sqrt(1 - alpha_bar) * eps) / np.sqrt(alpha)
    return mean + np.sqrt(beta) * noise if t > 0 else mean
    ### END SOLUTION


def sample_ancestral(model, shape, schedule, rng):
    """New samples out of nothing but noise: all steps backwards, from time T - 1 to time 0.

    model:    a function; model(x_t, t) predicts the noise in x_t, of the shape of x_t, at the time t (a whole number).
    shape:    (B, ...), the shape of what is returned.
    schedule: as `make_schedule` returns it.
    rng:      draws rng.standard_normal(shape), first for x at time T - 1, then once before each step at the times
              T - 1, T - 2, ..., 1 for its noise; the step at time 0 needs none.
    Returns an array of that shape, the samples one step after time 0.

    Example: with T = 1 and a model that always says 0, the samples are rng.standard_normal(shape) / sqrt(alpha[0]).
    """
    ### BEGIN SOLUTION
    x = rng.standard_normal(shape)
    for t in reversed(range(len(schedule["beta"]))):
        noise = rng.standard_normal(shape) if t > 0 else np.zeros(shape)
        x = ancestral_step(x, t, model(x, t), noise, schedule)
    return x
    ### END SOLUTION


def mixture_eps(x_t, t, weights, means, variances, schedule):
    """The best prediction of the noise there can be, for clean samples from a mixture of Gaussians.

    The clean samples come from component k with probability weights[k], normal around means[k] with the variance
    variances[k] in each of their D directions, independently. At time t the samples are a mixture as well:

        m_k = sqrt(alpha_bar[t]) means[k]         v_k = alpha_bar[t] variances[k] + 1 - alpha_bar[t]

    and with r_k(x), the probability that x came from component k (proportional to weights[k] times the density
    (2 pi v_k)^(-D/2) exp(-|x - m_k|^2 / (2 v_k))), the mean of the noise in x is

        sqrt(1 - alpha_bar[t]) * the sum over k of r_k(x) (x - m_k) / v_k

    Compute the r_k as a softmax of log weights and log densities: far away from all components every density is 0 in
    floating point.

    x_t:       noised samples (B, D).
    t:         a time, a whole number.
    weights:   (K,), positive, sum 1.
    means:     (K, D).
    variances: (K,), positive.
    schedule:  as `make_schedule` returns it.
    Returns an array (B, D).

    Example: with one component of mean 0 and variance 1 every x_t is standard normal, and the prediction is
    sqrt(1 - alpha_bar[t]) x_t: mixture_eps([[2.0]], 0, [1.0], [[0.0]], [1.0], make_schedule([0.36])) gives [[1.2]].
    """
    ### BEGIN SOLUTION
    x_t, weights, means, variances = (np.asarray(a, dtype=np.float64) for a in (x_t, weights, means, variances))
    alpha_bar = schedule["alpha_bar"][t]
    m = np.sqrt(alpha_bar) * means
    v = alpha_bar * variances + 1 - alpha_bar
    away = x_t[:, None, :] - m  # (B, K, D)
    dimensions = x_t.shape[1]
    log_parts = np.log(weights) - np.sum(away**2, axis=2) / (2 * v) - dimensions / 2 * np.log(2 * np.pi * v)
    # A softmax over the components; the largest becomes exp(0) = 1, so the sum cannot vanish.
    parts = np.exp(log_parts - np.max(log_parts, axis=1, keepdims=True))
    r = parts / np.sum(parts, axis=1, keepdims=True)
    return np.sqrt(1 - alpha_bar) * np.sum((r / v)[:, :, None] * away, axis=1)
    ### END SOLUTION


def ddim_step(x_t, t, t_prev, eps, schedule):
    """A step backwards without chance, from time t to any earlier time t_prev.

        x0_hat = the clean sample that x_t and eps imply (see `predict_x0`)
        x_prev = sqrt(a) x0_hat + sqrt(1 - a) eps           a = alpha_bar[t_prev];  for t_prev = -1, a = 1

    It noises the predicted clean sample again, less than before, with the very noise that was seen in it. That may jump
    over many times at once.

    x_t:      noised samples (B, ...).
    t:        the time of x_t, a whole number.
    t_prev:   the time to go to, below t; -1 means the clean sample.
    eps:      the predicted noise in x_t, of the shape of x_t.
    schedule: as `make_schedule` returns it.
    Returns an array of the shape of x_t.

    Example: ddim_step([[2.2]], 1, -1, [[1.0]], make_schedule([0.2, 0.2])) gives [[2.0]], the clean sample.
    """
    ### BEGIN SOLUTION
    # alpha_bar[-1] would be the LAST entry of the array, the noisiest time of all: the clean sample needs its own case.
    a = schedule["alpha_bar"][t_prev] if t_prev >= 0 else 1.0
    x0_hat = predict_x0(x_t, t, eps, schedule)
    return np.sqrt(a) * x0_hat + np.sqrt(1 - a) * np.asarray(eps, dtype=np.float64)
    ### END SOLUTION


def sample_ddim(model, x_last, times, schedule):
    """Samples in few steps: DDIM through some of the times, and from the last of them to the clean sample.

    model:    a function; model(x_t, t) predicts the noise in x_t, of the shape of x_t, at the time t (a whole number).
              It is called once for each of the times.
    x_last:   (B, ...), the noisy samples to begin with, at the time times[0].
    times:    a list of falling whole numbers, at least one, for example [99, 66, 33, 0] or just [99].
    schedule: as `make_schedule` returns it.
    Returns an array of the shape of x_last: clean samples.

    Example: with times = [1], a model that always says 1 and schedule = make_schedule([0.2, 0.2]),
    sample_ddim(model, [[2.2]], times, schedule) gives [[2.0]].
    """
    ### BEGIN SOLUTION
    x = np.asarray(x_last, dtype=np.float64)
    # Each time is paired with the next one to go to; the last one goes to the clean sample, -1.
    for t, t_prev in zip(times, [*times[1:], -1], strict=True):
        x = ddim_step(x, t, t_prev, model(x, t), schedule)
    return x
    ### END SOLUTION
