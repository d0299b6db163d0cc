"""Chapter 325: Generative Models: Variational Autoencoder

An autoencoder squeezes data through a narrow code and learns to undo it. A variational autoencoder makes the code
random, keeps it close to a standard normal cloud, and can therefore invent data: draw a code from the cloud, and decode
it. You write all of it: the price for straying from the cloud (KL), the trick that lets gradients pass through chance,
the loss, its exact gradients, training, and a tighter bound that says how good the model is.

What is minimised is the NEGATIVE of the ELBO, and the ELBO is a lower bound of log p(x), not log p(x) itself:

    negative ELBO = reconstruction + KL                    beta-VAE: reconstruction + beta * KL

Conventions, here and in every chapter:
  - x is (B, D), a latent code z is (B, L); both parts of the loss are SUMMED over features or latent dimensions and
    then averaged over the batch; gradients are gradients of that mean;
  - the encoder gives mu and log_var, both (B, L): log_var is the log of the variance, so the standard deviation is
    exp(log_var / 2);
  - the noise eps is an argument of everything that is differentiated. With new noise in every evaluation a finite
    difference measures the noise, and not a slope;
  - parameters are a dict, weights are (out, in):
        encoder: h = tanh(x @ W1.T + b1)          mu = h @ W2.T + b2          log_var = h @ W3.T + b3
        decoder: g = tanh(z @ W4.T + b4)          x_hat = g @ W5.T + b5
  - functions accept any arrays or lists of numbers, work in float64, and never modify what they are given.

Run `dlgrade check ch325` as often as you like; `dlgrade hint ch325 vae_backward` helps you on.
"""

import numpy as np


def kl_divergence(mu, log_var):
    """How far the codes are from the standard normal cloud: KL(N(mu, exp(log_var)) || N(0, 1)), and its gradients.

        kl = the mean over the batch of   1/2 * the sum over latent dimensions of (mu^2 + exp(log_var) - 1 - log_var)

    It is 0 for mu = 0 and log_var = 0, and positive everywhere else.

    mu, log_var: (B, L).
    Returns (kl, dmu, dlog_var): one number, and its gradients, arrays (B, L).

    Example: kl_divergence([[1.0, 0.0]], [[0.0, 0.0]]) gives kl = 0.5, dmu = [[1, 0]] and dlog_var = [[0, 0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("kl_divergence is still to do")


def active_dimensions(mu, log_var, threshold=0.01):
    """Which latent dimensions are in use?

    A dimension whose KL is 0 for every sample says nothing about x: its code is pure noise. If all are like that, the
    posterior has collapsed, and the decoder gives the mean of the data whatever the code. A dimension counts as active
    if its KL, averaged over the batch, is larger than the threshold.

    mu, log_var: (B, L).
    threshold:   in nats.
    Returns an array of truth values (L,).

    Example: active_dimensions([[1.0, 0.1]], [[0.0, 0.0]]) gives [True, False]: 0.5 nats and 0.005 nats.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("active_dimensions is still to do")


def reparameterize(mu, log_var, eps):
    """A random code, written as a function of mu and log_var and of noise that depends on neither.

        z = mu + exp(log_var / 2) * eps

    mu, log_var, eps: (..., L), of one shape; eps are standard normal numbers.
    Returns z, an array of that shape.

    Example: reparameterize([[1.0]], [[2 * log(3)]], [[2.0]]) gives [[7.0]]: the standard deviation is 3.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("reparameterize is still to do")


def reparameterize_backward(dz, log_var, eps):
    """Backward through `reparameterize`, with the same eps.

        dmu = dz          dlog_var = dz * eps * exp(log_var / 2) / 2

    dz:           gradient at z, (..., L).
    log_var, eps: as for `reparameterize`.
    Returns (dmu, dlog_var), arrays of the shape of dz.

    Example: reparameterize_backward([[1.0]], [[0.0]], [[3.0]]) gives dmu = [[1.0]] and dlog_var = [[1.5]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("reparameterize_backward is still to do")


def sample_latent(mu, log_var, rng):
    """One random code for each sample: every entry of z has noise of its own.

    mu, log_var: (B, L).
    rng:         draws rng.standard_normal((B, L)), once; that is eps.
    Returns z, an array (B, L).

    Example: sample_latent(zeros, zeros, rng), with zeros of shape (2, 3), is rng.standard_normal((2, 3)).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("sample_latent is still to do")


def gaussian_reconstruction(x_hat, x, variance):
    """The reconstruction part of the loss for real numbers: data are normal around x_hat, with a given variance.

        loss = the mean over the batch of   the sum over the features of (x - x_hat)^2 / (2 variance)

    That is -log N(x; x_hat, variance) without the constant D/2 * log(2 pi variance), which no parameter moves. The
    variance is a decision: with one as large as the data's own, it is cheapest to ignore the code altogether.

    x_hat, x: (B, D).
    variance: of the decoder, a positive number; not the standard deviation.
    Returns (loss, dx_hat): one number, and its gradient at x_hat, an array (B, D).

    Example: gaussian_reconstruction([[1.0, 2.0]], [[0.0, 2.0]], 0.25) gives loss = 2.0 and dx_hat = [[4.0, 0.0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("gaussian_reconstruction is still to do")


def bernoulli_reconstruction(logits, x):
    """The reconstruction part of the loss for black and white: each feature is 1 with probability sigmoid(logit).

        loss = the mean over the batch of   the sum over the features of -(x log p + (1 - x) log(1 - p)),  p = sigmoid

    It must be finite for logits of 10000: -log p is log(1 + exp(-logit)), and np.logaddexp(0, -logit) computes that.

    logits: (B, D).
    x:      (B, D), numbers from 0 to 1.
    Returns (loss, dlogits): one number, and its gradient at the logits, an array (B, D).

    Example: bernoulli_reconstruction([[0.0, 0.0]], [[1.0, 0.0]]) gives loss = 2 log 2 and dlogits = [[-0.5, 0.5]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("bernoulli_reconstruction is still to do")


def encode(x, params):
    """The encoder:   h = tanh(x @ W1.T + b1)          mu = h @ W2.T + b2          log_var = h @ W3.T + b3

    Both heads are linear: mu and log_var may be any numbers.

    x:      (B, D).
    params: "W1" (H, D), "b1" (H,), "W2" (L, H), "b2" (L,), "W3" (L, H), "b3" (L,), and the decoder's.
    Returns (mu, log_var), arrays (B, L).

    Example: with W1 and b1 zero every sample gets mu = b2 and log_var = b3.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("encode is still to do")


def decode(z, params):
    """The decoder:   g = tanh(z @ W4.T + b4)          x_hat = g @ W5.T + b5

    z:      codes (..., L), with any number of axes in front.
    params: "W4" (H, L), "b4" (H,), "W5" (D, H), "b5" (D,), and the encoder's.
    Returns x_hat, an array (..., D).

    Example: with W4 and b4 zero every code gives x_hat = b5.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("decode is still to do")


def vae_forward(x, params, eps, variance, beta=1.0):
    """The loss of the whole net, for given noise: encode, make a code with eps, decode, compare.

        loss = reconstruction + beta * kl

    reconstruction is the Gaussian one. With beta = 1 the loss is the negative ELBO (without the constant); a larger
    beta buys codes closer to the cloud with worse reconstructions.

    x:        (B, D).
    params:   all of "W1", "b1", ..., "W5", "b5", arrays.
    eps:      standard normal numbers (B, L).
    variance: of the decoder.
    beta:     the weight of the KL.
    Returns (loss, reconstruction, kl, cache): three numbers (kl is not multiplied by beta), and whatever your
    `vae_backward` wants to find again.

    Example: with all parameters zero, x = [[2.0]], any eps (1, L) and variance = 1, reconstruction is 2.0, kl 0.0 and
    the loss 2.0.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("vae_forward is still to do")


def vae_backward(cache):
    """The exact gradients of the loss of `vae_forward`, with the same noise.

    Back through the decoder to z, through the noise to mu and log_var, where the gradient of beta * kl joins, and
    through the encoder. mu and log_var get two signals each: from the KL, and from the reconstruction through z. h
    feeds two heads, and its gradient is the sum of what comes back from both. The slope of tanh is 1 - tanh^2.

    cache: what `vae_forward` returned last. It is left as it is: a second call gives the same gradients.
    Returns a dict of gradients with the keys of params, each of the shape of its parameter.

    Example: with all parameters zero, x = [[2.0]] and variance = 1, the gradient of b5 is [-2.0]; all others are zero.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("vae_backward is still to do")


def log_importance_weights(x, params, eps, variance):
    """How well each of K random codes explains x, compared with how often the encoder proposes it.

        log w = log p(x | z) + log p(z) - log q(z | x)          z = mu + exp(log_var / 2) * eps

    log p(x | z) is the log density of N(x_hat, variance) in every feature, log p(z) of N(0, 1) and log q(z | x) of
    N(mu, exp(log_var)) in every latent dimension; all are summed over the last axis, and with all constants:

        log N(a; m, v) = -1/2 * (log(2 pi v) + (a - m)^2 / v)

    The average of w over many codes is p(x), whatever the encoder. If the encoder is the true posterior, every single w
    is p(x).

    x:        (B, D).
    params:   as for `vae_forward`.
    eps:      standard normal numbers (K, B, L): K codes for each sample.
    variance: of the decoder.
    Returns an array (K, B).

    Example: with all parameters zero, q is the true posterior: x = [[1.0]] and variance = 1 give
    -1/2 * (log(2 pi) + 1) for every eps.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("log_importance_weights is still to do")


def importance_weighted_bound(log_weights):
    """The importance-weighted bound: average the weights first, take the logarithm afterwards.

        bound = the mean over the batch of   log(1/K * the sum over k of w_k)

    It is a lower bound of the mean log p(x), and never below the mean of the log w (which estimates the ELBO). Subtract
    the largest log weight of each sample before you take exp: weights such as exp(-10000) are 0 in floating point.

    log_weights: (K, B), as from `log_importance_weights`.
    Returns (bound, dlog_weights): one number, and its gradient, an array (K, B): the share of each weight in the sum of
    its sample, divided by B.

    Example: importance_weighted_bound([[0.0], [log(3)]]) gives bound = log(2) and dlog_weights = [[0.25], [0.75]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("importance_weighted_bound is still to do")


def reconstruct(x, params):
    """What is left of x after the narrow code: decode the MEAN of its codes. Nothing is random here.

    x:      (B, D).
    params: as for `vae_forward`.
    Returns an array (B, D).

    Example: with all parameters zero but b5 = [3.0], reconstruct([[1.0]], params) gives [[3.0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("reconstruct is still to do")


def sample_prior(params, n, rng):
    """Invent data: codes from the standard normal cloud, decoded. What is returned are the decoder's means x_hat.

    params: as for `vae_forward`; L is the number of columns of "W4".
    n:      how many, a whole number.
    rng:    draws rng.standard_normal((n, L)), once; these are the codes.
    Returns an array (n, D).

    Example: with all parameters zero but b5 = [3.0], sample_prior(params, 2, rng) gives [[3.0], [3.0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("sample_prior is still to do")


def train_vae(params, x, steps, lr, variance, beta, rng):
    """Train on all of x at once, with new noise in every step, by gradient descent with momentum 0.9.

    In every step: draw eps, compute the loss, note it down, compute the gradients with the SAME eps, and move every
    parameter, from a velocity v that is zero at the start:

        v = 0.9 v + grad          parameter = parameter - lr * v

    params: the parameters to begin with; they are not modified.
    x:      (B, D).
    steps:  how many, a whole number; 0 returns the parameters as they came.
    lr, variance, beta: numbers.
    rng:    draws rng.standard_normal((B, L)) once in every step; L is the number of columns of "W4".
    Returns (params, losses): a dict with the same keys, and an array (steps,) of the loss before each update.

    Example: one step from all parameters zero with x = [[2.0]], lr = 0.1, variance = 1.0 and beta = 1.0 gives b5 =
    [0.2], all others zero, and losses [2.0].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("train_vae is still to do")
