"""Chapter 326: Generative Adversarial Networks

Two networks play a game. The generator turns noise into samples; the discriminator says how likely it is that a sample
is real. Each learns from the other, and nobody ever writes down the density of the data. You write all of it: the two
losses, exact at any logit, the theory of the perfect discriminator, both nets with their gradients, two steps that each
move one player only, the Wasserstein variant with its gradient penalty, training that reaches its data, and a
measurement of what goes wrong most often, mode collapse.

Conventions, here and in every chapter:
  - samples are (B, D), noise z is (B, L), logits are (B, 1): the discriminator ends in a plain number, and
    D(x) = sigmoid(logit) is the probability that x is real;
  - losses are means over the batch, and gradients are gradients of these means. The discriminator's loss is the SUM of
    two means, one over real and one over generated samples: it is 2 log 2 when D is 1/2 everywhere, not log 2;
  - the generator ends in plain numbers too. With a sigmoid at its end it could never leave (0, 1), and would never meet
    data that do;
  - parameters are a dict "W1", "b1", "W2", "b2", ..., weights are (out, in), gradients have the same keys;
  - functions accept any arrays or lists of numbers, work in float64, and never modify what they are given.

Run `dlgrade check ch326` as often as you like; `dlgrade hint ch326 losses` helps you on.
"""

import numpy as np


def discriminator_loss(real_logits, fake_logits):
    """The discriminator's loss and its gradients: real samples should get D = 1, generated ones D = 0.

        loss = - mean over real of log D          - mean over fake of log(1 - D)          D = sigmoid(logit)

    It must be exact for logits of 10000: -log D is log(1 + exp(-logit)), and np.logaddexp(0, -logit) computes that. The
    slope of -log D is D - 1, and that of -log(1 - D) is D, each divided by the size of its own batch.

    real_logits: any shape, for example (B, 1).
    fake_logits: any shape; there may be another number of them.
    Returns (loss, dreal, dfake): one number, and its gradients, arrays of the two shapes.

    Example: discriminator_loss([[0.0]], [[0.0], [0.0]]) gives loss = 2 log 2, dreal = [[-0.5]] and
    dfake = [[0.25], [0.25]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("discriminator_loss is still to do")


def generator_loss(fake_logits, saturating=False):
    """The generator's loss and its gradient: generated samples should get D = 1.

        non-saturating (the usual one):   loss = - mean of log D          slope at a logit:  -(1 - D) / N
        saturating (the minimax game):    loss = mean of log(1 - D)       slope at a logit:  -D / N

    Both want the same, but the second one hardly moves where the discriminator is sure that a sample is fake: there D
    is nearly 0, and so is the slope. Both must be exact for logits of 10000.

    fake_logits: any shape, N numbers.
    saturating:  which of the two.
    Returns (loss, dlogits): one number, and its gradient, an array of that shape.

    Example: generator_loss([[0.0]]) gives loss = log 2 and dlogits = [[-0.5]]; generator_loss([[0.0]], True) gives
    loss = -log 2 and the same slope. With the logit log(1/999), where D = 0.001, the slopes are -0.999 and -0.001.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("generator_loss is still to do")


def optimal_discriminator(p, q):
    """The best possible discriminator, if the data have the probabilities p and the generator's samples q.

        D*(x) = p(x) / (p(x) + q(x))          1/2 where both are 0

    p, q: probabilities or densities at the same places, of one shape.
    Returns an array of that shape.

    Example: optimal_discriminator([0.5, 0.5, 0.0], [0.5, 0.0, 0.0]) gives [0.5, 1.0, 0.5].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("optimal_discriminator is still to do")


def game_value(p, q, d):
    """What the two players fight about, for a finite number of outcomes:

        V = sum over outcomes of   p log d + q log(1 - d)

    The discriminator wants it large, the generator small. 0 log 0 counts as 0: an outcome that never happens adds
    nothing, whatever d is there.

    p: probabilities of the data, (K,).
    q: probabilities of the generator's samples, (K,).
    d: the discriminator's probability of "real" at each outcome, (K,).
    Returns one number.

    Example: game_value([1.0, 0.0], [0.5, 0.5], [0.5, 0.0]) gives log(0.5) + 0.5 log(0.5) = 1.5 log(0.5).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("game_value is still to do")


def jensen_shannon(p, q):
    """The Jensen-Shannon divergence: how different two distributions are, from 0 (equal) to log 2 (nothing in common).

        JS = 1/2 KL(p || m) + 1/2 KL(q || m)          m = (p + q) / 2          KL(p || m) = sum of p log(p / m)

    Natural logarithms; 0 log 0 counts as 0. Against the best discriminator the generator minimises exactly this:
    game_value(p, q, D*) = -log 4 + 2 JS. At p = q it is -log 4.

    p, q: probabilities, (K,).
    Returns one number.

    Example: jensen_shannon([1.0, 0.0], [0.0, 1.0]) gives log 2.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("jensen_shannon is still to do")


def net_forward(x, params):
    """A net with any number of layers: tanh after every layer but the last, and nothing after the last.

        a_0 = x          z_l = a_(l-1) @ W_l.T + b_l          a_l = tanh(z_l), at the last layer a_l = z_l

    Both players are such nets: logits and samples may be any numbers. A net of one layer is linear.

    x:      (B, D_in).
    params: "W1" (H, D_in), "b1" (H,), "W2", "b2", ...: half as many layers as there are keys.
    Returns (out, cache): an array (B, D_out), and whatever your `net_backward` wants to find again.

    Example: net_forward([[2.0]], {"W1": [[3.0]], "b1": [1.0]}) gives out = [[7.0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("net_forward is still to do")


def net_backward(dout, cache):
    """Backward through `net_forward`, to the parameters and to the input.

    From the last layer to the first: dz = da * (1 - a^2) behind a tanh (dz = da at the last layer), dW = dz.T @ a_prev,
    db = the sum of dz over the batch, and da_prev = dz @ W. The gradient at the input matters here: it is how the
    discriminator tells the generator where to move its samples.

    dout:  gradient at out, (B, D_out).
    cache: what `net_forward` returned second.
    Returns (grads, dx): a dict with the keys of params, and an array (B, D_in).

    Example: for the example of net_forward with dout = [[1.0]], grads is {"W1": [[2.0]], "b1": [1.0]} and dx [[3.0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("net_backward is still to do")


def discriminator_gradients(D, G, real, z):
    """The discriminator's loss on a batch, and the gradients of ITS parameters.

    The generator turns z into samples. Their logits and those of the real ones give the loss; each has its own way back
    through the discriminator, and the gradients of the two add up. The samples count as given: no gradient goes on into
    the generator.

    D, G: the parameters of the discriminator and the generator.
    real: (B, data dimensions).
    z:    noise, (B', L); there may be another number of rows.
    Returns (loss, grads): one number, and a dict with the keys of D.

    Example: with D = {"W1": [[0.0]], "b1": [0.0]}, G = {"W1": [[1.0]], "b1": [2.0]}, real = [[4.0]] and z = [[1.0]] the
    sample is 3.0, loss = 2 log 2, and grads is {"W1": [[-0.5]], "b1": [0.0]}: -0.5 * 4 + 0.5 * 3.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("discriminator_gradients is still to do")


def generator_gradients(D, G, z):
    """The generator's (non-saturating) loss on a batch, and the gradients of ITS parameters.

    The gradient starts at the logits, goes back through the discriminator to the samples, and from there through the
    generator. The discriminator's own gradients, found on the way, are thrown away.

    D, G: the parameters of the discriminator and the generator.
    z:    noise, (B, L).
    Returns (loss, grads): one number, and a dict with the keys of G.

    Example: with D = {"W1": [[2.0]], "b1": [0.0]}, G = {"W1": [[0.0]], "b1": [0.0]} and z = [[1.0]] the logit is 0, the
    loss is log 2 and grads is {"W1": [[-1.0]], "b1": [-1.0]}: -0.5, times 2 on the way through D.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("generator_gradients is still to do")


def adam_step(params, grads, state, lr, beta1=0.5, beta2=0.9, eps=1e-8):
    """Given: one step of Adam (chapter 312). The state is {} at the start; new params and a new state are returned.

    beta1 is smaller than usual: what the opponent wanted ten steps ago is of no use any more.
    """
    t = state.get("t", 0) + 1
    m, v, moved = {}, {}, {}
    for name in grads:
        grad = np.asarray(grads[name], dtype=np.float64)
        m[name] = beta1 * (state["m"][name] if t > 1 else 0.0) + (1 - beta1) * grad
        v[name] = beta2 * (state["v"][name] if t > 1 else 0.0) + (1 - beta2) * grad**2
        change = (m[name] / (1 - beta1**t)) / (np.sqrt(v[name] / (1 - beta2**t)) + eps)
        moved[name] = np.asarray(params[name], dtype=np.float64) - lr * change
    return moved, {"t": t, "m": m, "v": v}


def discriminator_step(model, real, z, lr):
    """One step of the discriminator: `discriminator_gradients`, then `adam_step` with the discriminator's own state.

    The generator and its state come back exactly as they were.

    model: a dict of four dicts: the parameters "D" and "G", and the states of their optimisers, "D_state" and
           "G_state", which are {} before the first step.
    real:  (B, data dimensions).
    z:     noise, (B', L).
    lr:    the rate.
    Returns (model, loss): a new dict with the same four keys, and the loss before the step.

    Example: with the D and G of the example of `discriminator_gradients`, both states {} and lr = 0.1, the new "D" has
    "W1" = [[0.1]] (to eight digits) and "b1" = [0.0], and "G" is what it was.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("discriminator_step is still to do")


def generator_step(model, z, lr):
    """One step of the generator: `generator_gradients`, then `adam_step` with the generator's own state.

    The discriminator and its state come back exactly as they were.

    model: as for `discriminator_step`.
    z:     noise, (B, L).
    lr:    the rate.
    Returns (model, loss): a new dict with the same four keys, and the loss before the step.

    Example: with the D and G of the example of `generator_gradients`, both states {} and lr = 0.1, the new "G" has
    "W1" = [[0.1]] and "b1" = [0.1] (to eight digits), and "D" is what it was.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("generator_step is still to do")


def critic_loss(real_scores, fake_scores):
    """The loss of a Wasserstein critic, which gives scores instead of probabilities.

        loss = mean of the fake scores - mean of the real scores

    If the critic is not steeper than 1 anywhere, minus this loss is at most the distance that probability has to be
    moved to make one distribution of the other. (The generator's loss is minus the mean of the fake scores.)

    real_scores, fake_scores: any shapes, for example (B, 1); there may be different numbers of them.
    Returns (loss, dreal, dfake): one number, and its gradients, arrays of the two shapes.

    Example: critic_loss([[3.0]], [[1.0], [2.0]]) gives loss = -1.5, dreal = [[-1.0]] and dfake = [[0.5], [0.5]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("critic_loss is still to do")


def clip_weights(params, limit):
    """The first way to keep a critic from being steep: force every entry of every parameter into [-limit, limit].

    params: a dict of arrays; weights and biases are treated alike.
    limit:  a positive number.
    Returns a new dict with the same keys.

    Example: clip_weights({"W1": [[3.0, -0.5]], "b1": [-2.0]}, 1.0) gives {"W1": [[1.0, -0.5]], "b1": [-1.0]}.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("clip_weights is still to do")


def mix_samples(real, fake, u):
    """Where the gradient penalty looks: at points between a real sample and a generated one.

        mixed = u * real + (1 - u) * fake          one number u for each pair

    real, fake: (B, D).
    u:          (B,), numbers from 0 to 1.
    Returns an array (B, D).

    Example: mix_samples([[4.0, 8.0]], [[0.0, 0.0]], [0.25]) gives [[1.0, 2.0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("mix_samples is still to do")


def gradient_penalty(x, params, strength):
    """The second, better way: a penalty on slopes that are not 1, for a critic with one hidden layer of tanh.

    The critic is score = tanh(x @ W1.T + b1) @ W2.T + b2. Its slope at x is itself a small computation:

        h = tanh(x @ W1.T + b1)      s = 1 - h^2      u = s * W2      v = u @ W1, the slope of the score, (B, D)
        n = the length of each row of v               penalty = strength * mean over the batch of (n - 1)^2

    The gradient of the penalty goes back through that computation, in which s, W2 and W1 all take part; s depends on
    W1 and b1 once more, through h. The slope of s is ds/dh = -2 h. Where n = 0 the length has no slope: let nothing
    come back from there.

    x:        (B, D).
    params:   "W1" (H, D), "b1" (H,), "W2" (1, H), "b2" (1,).
    strength: a number, usually 10.
    Returns (penalty, grads): one number, and a dict with all four keys; that of "b2" is zero.

    Example: with W1 = [[2.0]], b1 = [0.0], W2 = [[3.0]], b2 = [0.0], x = [[0.0]] and strength = 1, the slope is 6 and
    the penalty 25; grads is {"W1": [[30.0]], "b1": [0.0], "W2": [[20.0]], "b2": [0.0]}.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("gradient_penalty is still to do")


def generate(G, n, rng):
    """Invent data: noise, through the generator.

    G:   the generator's parameters; L is the number of columns of "W1".
    n:   how many, a whole number.
    rng: draws rng.standard_normal((n, L)), once.
    Returns an array (n, data dimensions).

    Example: with G = {"W1": [[0.0]], "b1": [5.0]}, generate(G, 2, rng) gives [[5.0], [5.0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("generate is still to do")


def train_gan(model, data, steps, batch, lr_d, lr_g, rng):
    """Let them play. Every step is one move of each player, the discriminator first:

      - rows = rng.integers(len(data), size=batch), and real = those rows of the data;
      - z = rng.standard_normal((batch, L)), and a `discriminator_step` with real and z;
      - z again, drawn afresh in the same way, and a `generator_step` against the discriminator that has just moved.

    model:      as for `discriminator_step`; it is not modified.
    data:       (N, data dimensions).
    steps:      how many, a whole number; 0 returns the model as it came.
    batch:      how many real and how many generated samples each time.
    lr_d, lr_g: the rates of the discriminator and of the generator. With lr_d = 0 the discriminator stands still.
    rng:        draws the rows, the noise of the discriminator's step and the noise of the generator's step, in this
                order, in every step.
    Returns (model, losses): the trained model, and an array (steps, 2): both losses of each step, the discriminator's
    first, each as its own step function returned it.

    Example: with steps = 0, losses is an empty array of shape (0, 2).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("train_gan is still to do")


def mode_shares(samples, centres, radius):
    """Mode collapse, measured: which share of the samples lies near each centre of the data, and how many are served?

    A sample belongs to its nearest centre (the first one of several that are equally near), if the distance is at most
    the radius; otherwise to none. A centre is covered if its share is at least a tenth of the fair one: 0.1 / K.

    samples: (n, D).
    centres: (K, D).
    radius:  a positive number.
    Returns (shares, covered): an array (K,) that sums to 1 or less, and a whole number.

    Example: mode_shares([[0.0], [1.0], [5.0], [9.0]], [[0.0], [9.0], [20.0]], 2.0) gives [0.5, 0.25, 0.0] and 2.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("mode_shares is still to do")
