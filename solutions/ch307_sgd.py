"""Chapter 307: Stochastic Gradient Descent

The gradient of the loss over a million samples is exact, and too dear for a single step. A few samples, drawn at
random, give a gradient that is right on average and costs almost nothing: that is why all of deep learning walks on
mini-batches. You write the batches, prove that their gradients average to the whole one, measure their noise, and then
tame it: with momentum, with Nesterov's variant, and with clipping. At the end stands the training loop that every later
chapter uses.

Conventions, here and in every chapter:
  - the first axis of the data is the sample: X is (N, D), y is (N,); a mini-batch is a few rows of X and the same rows
    of y;
  - params, gradients and velocities are dicts of arrays with the same names, for example {"w": an array (D,), "b": a
    number}. The arrays can have any shape, even () for a single number. Pair them by name: the order may differ;
  - a loss is a mean over the samples it was given, and its gradient is the gradient of that mean;
  - functions accept any array of numbers, or plain lists, work in float64, and never modify what they are given: not
    the arrays, not the dicts;
  - randomness comes from the argument rng, a np.random.Generator, and from nowhere else.

Run `dlgrade check ch307` as often as you like; `dlgrade hint ch307 minibatches` helps you on.
"""

import numpy as np


def linear_gradient(params, X, y):
    """Given: a model to train, and the shape of every `gradient` below. The model predicts X @ w + b.

    params: {"w": (D,), "b": a number}. X: (B, D). y: (B,).
    Returns (loss, grads): the mean squared error over these B samples, and its gradients, a dict like params.
    """
    error = X @ params["w"] + params["b"] - y
    return np.mean(error**2), {"w": 2.0 * X.T @ error / len(y), "b": 2.0 * np.mean(error)}


def minibatches(X, y, batch_size, rng):
    """One epoch: all samples once, in random order, cut into batches.

    Draw one random order of the rows, rng.permutation(N), and use it for X and y alike, so that every sample keeps its
    own target. Then cut it from the front: the first batch_size rows of that order are the first batch, the next ones
    the second. If N is no multiple of batch_size, the last batch is shorter. It is kept: nobody pays for data to throw
    it away.

    X:          (N, ...), an array or a list, any number of axes.
    y:          (N, ...), as many targets.
    batch_size: a whole number from 1 on; it may be larger than N, then there is one batch with everything in it.
    rng:        a np.random.Generator; rng.permutation(N) is the only draw.
    Returns a list of tuples (X_batch, y_batch), ceil(N / batch_size) of them.

    Example: for X = [[1], [2], [3], [4], [5]], y = [10, 20, 30, 40, 50], batch_size 2 and an rng whose permutation is
             [2, 0, 4, 3, 1], the batches are ([[3], [1]], [30, 10]), ([[5], [4]], [50, 40]) and ([[2]], [20]).
    """
    ### BEGIN SOLUTION
    X, y = np.asarray(X), np.asarray(y)
    # One order for both. Two permutations would give every sample somebody else's target.
    order = rng.permutation(len(X))
    batches = []
    for start in range(0, len(X), batch_size):
        # A slice that reaches beyond the end simply stops there: that is the short last batch.
        rows = order[start : start + batch_size]
        batches.append((X[rows], y[rows]))
    return batches
    ### END SOLUTION


def accumulate(gradient, params, batches):
    """Loss and gradient over all the data, put together from its mini-batches at the same params.

    Each batch has a mean loss and the gradient of that mean. Together they are a mean again, if every batch counts with
    its size B:

        loss = sum over the batches of  B loss_batch / N           N = all samples together
        grad = sum over the batches of  B grad_batch / N

    Batches of one size may simply be averaged. With a short last batch the simple average is wrong: its samples would
    count more than others. In practice this is called gradient accumulation: a batch too large for the memory is
    computed in pieces, and the result is the same to the last digits. It also says in which sense a mini-batch is
    right: a single one is off, but on average over all its possible choices it is exact. It is unbiased.

    gradient: a function (params, X, y) -> (loss, grads), like `linear_gradient`. Ask it once for each batch.
    params:   a dict of arrays.
    batches:  a list of tuples (X_batch, y_batch), at least one.
    Returns (loss, grads): a number, and a dict of arrays like params.

    Example: with two batches of 3 and of 1 samples, whose losses are 2.0 and 6.0 and whose gradients are {"w": [1.0]}
             and {"w": [5.0]}, the result is (3.0, {"w": [2.0]}), because (3 * 2 + 1 * 6) / 4 = 3.
    """
    ### BEGIN SOLUTION
    total, loss = 0, 0.0
    grads = {name: np.zeros(np.shape(value)) for name, value in params.items()}
    for X, y in batches:
        batch_loss, batch_grads = gradient(params, X, y)
        size = len(y)
        total += size
        # Mean times size is a sum over samples. Sums can be added; means of different sizes cannot.
        loss = loss + size * batch_loss
        grads = {name: grads[name] + size * np.asarray(batch_grads[name], dtype=np.float64) for name in grads}
    return loss / total, {name: grad / total for name, grad in grads.items()}
    ### END SOLUTION


def gradient_noise(sample_grads, batch_size):
    """How far a mini-batch gradient is from the full one: its mean squared distance, over all possible batches.

    Let g_n be the gradient of sample n, and g their mean, the full gradient. A mini-batch gradient is the mean of B of
    the g_n, drawn without replacement. With the spread of the samples

        s2 = (1/N) sum over n of  |g_n - g|^2                  |.|^2 = sum of squares of all D entries

    the mean squared distance of the mini-batch gradient from g is exactly

        noise = s2 / B * (N - B) / (N - 1)

    The last factor is almost 1 for small batches, and 0 for B = N: the whole data set has no noise. Its root, the usual
    distance, falls with sqrt(B) only: four times the work for half the noise.

    What follows for the learning rate, when the batch becomes k times larger: lr times k makes an epoch go as far as
    before, with as much noise in all, for there are k times fewer steps (the linear rule, usual for SGD, with a warm-up
    for large k); lr times sqrt(k) keeps the noise of a single step (usual for Adam and its like). Both are rules of
    thumb, and end where lr is too large for the loss itself.

    sample_grads: (N, D), one gradient a sample, N at least 2.
    batch_size:   B, a whole number from 1 to N.
    Returns a number.

    Example: gradient_noise([[0.0], [2.0], [4.0]], 1) is 8/3. With batches of 2 the possible gradients are 1, 2 and 3,
             at squared distances 1, 0 and 1 from 2, and gradient_noise([[0.0], [2.0], [4.0]], 2) is 2/3.
    """
    ### BEGIN SOLUTION
    g = np.asarray(sample_grads, dtype=np.float64)
    samples = len(g)
    distances = g - np.mean(g, axis=0)
    # Sum over the entries of a gradient, mean over the samples.
    spread = np.sum(distances**2) / samples
    # No sample is drawn twice, so the batch knows a little more than B independent draws would.
    return spread / batch_size * (samples - batch_size) / (samples - 1)
    ### END SOLUTION


def momentum_step(params, grads, velocity, lr, momentum=0.9):
    """One step of gradient descent with momentum.

    Every parameter w has a velocity v of its own shape. With the gradient g:

        v = momentum * v + g
        w = w - lr * v              with the new v

    Gradients that agree from step to step add up, to ten times one of them for momentum = 0.9; noise and zigzags, which
    contradict themselves, cancel. momentum = 0 is plain gradient descent. (Some texts put lr and the sign into the
    velocity, v = momentum * v - lr * g and w = w + v. With a fixed lr that is the same walk. Here it is PyTorch's form:
    the velocity is a sum of gradients, and lr stays out of it.)

    params:   a dict of arrays.
    grads:    their gradients, a dict with the same names and shapes.
    velocity: what the last call returned second, a dict with the same names and shapes; or the empty dict {} before the
              first step, which stands for zeros.
    lr:       the learning rate, a positive number; momentum: a number from 0 to below 1.
    Returns (params, velocity): two new dicts with the names and shapes of params.

    Example: momentum_step({"w": [1.0, 2.0]}, {"w": [1.0, -1.0]}, {}, 0.1) gives
             ({"w": [0.9, 2.1]}, {"w": [1.0, -1.0]}); from there, with the same gradient,
             ({"w": [0.71, 2.29]}, {"w": [1.9, -1.9]}).
    """
    ### BEGIN SOLUTION
    new_params, new_velocity = {}, {}
    for name, value in params.items():
        w = np.asarray(value, dtype=np.float64)
        g = np.asarray(grads[name], dtype=np.float64)
        # Before the first step there is no velocity, and 0.0 stands for an array of zeros of any shape.
        v = momentum * np.asarray(velocity.get(name, 0.0), dtype=np.float64) + g
        new_velocity[name] = v
        new_params[name] = w - lr * v
    return new_params, new_velocity
    ### END SOLUTION


def nesterov_step(params, grads, velocity, lr, momentum=0.9):
    """One step with Nesterov's momentum: use the velocity that the next step will have.

    The velocity is that of momentum_step; the step looks one momentum further:

        v = momentum * v + g
        w = w - lr * (g + momentum * v)              with the new v, and today's g

    Where does it come from? Momentum is going to carry the weights by -lr * momentum * v anyway. So Nesterov asks for
    the gradient there, at the place ahead: theta - lr * momentum * v. Where that place is uphill already, the step is
    corrected before it is made, not after. Written for the place ahead, w, instead of theta, it is the rule above: the
    gradient is asked for at w, as always, and nothing but the last line changes.

    params, grads, velocity, lr, momentum: as in momentum_step.
    Returns (params, velocity): two new dicts with the names and shapes of params.

    Example: nesterov_step({"w": [1.0]}, {"w": [1.0]}, {}, 0.1) gives ({"w": [0.81]}, {"w": [1.0]}), because
             0.1 * (1 + 0.9 * 1) = 0.19; from there, with the same gradient, ({"w": [0.539]}, {"w": [1.9]}).
    """
    ### BEGIN SOLUTION
    new_params, new_velocity = {}, {}
    for name, value in params.items():
        w = np.asarray(value, dtype=np.float64)
        g = np.asarray(grads[name], dtype=np.float64)
        v = momentum * np.asarray(velocity.get(name, 0.0), dtype=np.float64) + g
        new_velocity[name] = v
        # g + momentum * v is the velocity that the next step would have if the same gradient came again.
        new_params[name] = w - lr * (g + momentum * v)
    return new_params, new_velocity
    ### END SOLUTION


def rosenbrock(p):
    """A valley that is hard to walk down, and its gradient.

        f(x, y) = (1 - x)^2 + 100 (y - x^2)^2

    Its minimum 0 lies at (1, 1), at the end of a curved valley with steep walls and an almost flat floor. Mind the
    chain rule: x occurs twice.

    p: the point (x, y), an array (2,) or a list.
    Returns (value, grad): a number, and an array (2,), the derivatives with respect to x and y.

    Example: rosenbrock([0.0, 1.0]) gives (101.0, [-2.0, 200.0]), and rosenbrock([1.0, 1.0]) gives (0.0, [0.0, 0.0]).
    """
    ### BEGIN SOLUTION
    x, y = np.asarray(p, dtype=np.float64)
    # The floor of the valley is the parabola y = x^2, and this is how far the point is above it.
    above = y - x**2
    value = (1.0 - x) ** 2 + 100.0 * above**2
    # d above / dx = -2x, hence -2x * 200 above = -400 x above.
    return value, np.array([-2.0 * (1.0 - x) - 400.0 * x * above, 200.0 * above])
    ### END SOLUTION


def descend(step, start, lr, n_steps, momentum=0.9):
    """Given: walk down your `rosenbrock` with your momentum_step or nesterov_step.

    From (-1.5, 2), with lr = 0.001 and 2,000 steps, momentum_step must come below 1e-5, and nesterov_step too. Without
    momentum the same walk only gets to 0.2.

    Returns the history, an array (n_steps + 1, 2): the start, and the point after each step.
    """
    params, velocity = {"p": np.array(start, dtype=np.float64)}, {}
    history = [params["p"]]
    for _ in range(n_steps):
        params, velocity = step(params, {"p": rosenbrock(params["p"])[1]}, velocity, lr, momentum)
        history.append(params["p"])
    return np.array(history)


def clip_by_norm(grads, max_norm):
    """Shorten the gradient if it is too long, and keep its direction.

    All gradients together are one long vector. Its length is the global norm:

        norm = sqrt( sum of the squares of all entries of all arrays )

    If norm is greater than max_norm, every entry is multiplied by max_norm / norm; otherwise all of them stay as they
    are. So one bad batch, or one cliff of the loss, cannot throw the weights away, and small gradients are never made
    larger. Exactly: no small constant is added to the norm.

    grads:    a dict of arrays.
    max_norm: a positive number.
    Returns (clipped, norm): a new dict with the same names and shapes, and the norm BEFORE clipping, a number: worth
    watching during a training.

    Example: clip_by_norm({"a": [30.0], "b": [-40.0]}, 1.0) gives ({"a": [0.6], "b": [-0.8]}, 50.0),
             and clip_by_norm({"a": [0.3], "b": [-0.4]}, 1.0) gives ({"a": [0.3], "b": [-0.4]}, 0.5).
    """
    ### BEGIN SOLUTION
    arrays = {name: np.asarray(grad, dtype=np.float64) for name, grad in grads.items()}
    # One norm for everything: a norm for each array would turn the direction.
    norm = np.sqrt(sum(np.sum(array**2) for array in arrays.values()))
    scale = max_norm / norm if norm > max_norm else 1.0
    return {name: scale * array for name, array in arrays.items()}, norm
    ### END SOLUTION


def sgd(gradient, params, X, y, lr, batch_size, epochs, rng, momentum=0.9, max_norm=None):
    """Train: stochastic gradient descent with momentum, and clipping if it is asked for.

    Begin with the given params and a velocity of zeros. Every epoch draws its own mini-batches, with one call of
    minibatches(X, y, batch_size, rng), and takes them in their order. For each batch:

        1. ask `gradient` once, for the loss and the gradients of this batch at the params as they are now;
        2. if max_norm is not None, clip the gradients with clip_by_norm;
        3. step with momentum_step. The velocity lives from the first step to the last, through all epochs.

    The loss of an epoch is the mean over its samples: each batch's loss counts with the size of the batch. (The params
    moved meanwhile, so it is not the loss of any single params; but it costs nothing.)

    gradient:   a function (params, X, y) -> (loss, grads), like `linear_gradient`.
    params:     a dict of arrays to begin with. It comes back unchanged.
    X, y:       the data, (N, ...) each.
    lr, momentum, batch_size: as above.
    epochs:     how often to go through all the data, a whole number; 0 is allowed.
    rng:        a np.random.Generator, used by minibatches only, in the order of the epochs.
    max_norm:   the longest gradient that is let through, or None for no clipping.
    Returns (params, losses): a new dict with the trained params, and an array (epochs,) of the epochs' losses.

    Example: with one sample, X = [[1.0]] and y = [2.0], params {"w": [0.0], "b": 0.0}, lr 0.1, batch_size 1 and 2
             epochs, sgd(linear_gradient, ...) gives ({"w": [1.0], "b": 1.0}, [4.0, 1.44]): the gradients are -4 and
             -2.4, the velocities -4 and -6.
    """
    ### BEGIN SOLUTION
    X, y = np.asarray(X), np.asarray(y)
    params = {name: np.array(value, dtype=np.float64) for name, value in params.items()}
    # Made once, before all epochs: a velocity that begins anew would forget what the epochs before it learnt.
    velocity = {}
    losses = np.zeros(epochs)
    for epoch in range(epochs):
        for X_batch, y_batch in minibatches(X, y, batch_size, rng):
            loss, grads = gradient(params, X_batch, y_batch)
            if max_norm is not None:
                grads, _ = clip_by_norm(grads, max_norm)
            params, velocity = momentum_step(params, grads, velocity, lr, momentum)
            losses[epoch] += loss * len(y_batch) / len(y)
    return params, losses
    ### END SOLUTION
