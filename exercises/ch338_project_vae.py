"""Chapter 338: Project: Variational Autoencoder

A network that invents. It squeezes points of four clusters, and then images of handwritten digits, through a code of
two numbers, and learns to undo it; because the codes are random and kept close to a standard normal cloud, you can draw
a new code from the cloud and decode it into something that was never in the data. You build all of it: data, encoder
and decoder, the random code and its gradient, the loss for both kinds of data, the proof of the gradients, training
with Adam, an honest evaluation, and the pictures.

The network, with tanh between its layers:

    encoder: h = tanh(x @ W1.T + b1)          mu = h @ W2.T + b2          log_var = h @ W3.T + b3
    code:    z = mu + exp(log_var / 2) * eps
    decoder: g = tanh(z @ W4.T + b4)          out = g @ W5.T + b5

What `out` means depends on the likelihood, a text:
  - "gaussian", for real numbers: out is the mean of x, around which it is normal with the variance sigma2;
  - "bernoulli", for pixels from 0 to 1: out holds logits, and sigmoid(out) is the brightness that is expected.

What is minimised is the NEGATIVE ELBO, rec + kl: the reconstruction part and the price of the code. In the sums of the
Gaussian one the constant D/2 * log(2 pi sigma2) is left out. So there is a floor: for the four clusters, whose entropy
is 3.02 nats, no model's negative ELBO on new points is below 3.02 - log(2 pi sigma2), which is 2.39 for sigma2 = 0.3.
If you measure less, you measure wrongly. If the KL is almost 0, the codes say nothing: the posterior has collapsed.

Conventions, here and in every chapter:
  - the batch is the first axis: x is (B, D), a code (B, L); weights are (out, in);
  - params is a dict W1 (H, D), b1 (H,), W2 (L, H), b2 (L,), W3 (L, H), b3 (L,), W4 (H, L), b4 (H,), W5 (D, H), b5 (D,).
    The gradients are a dict with THE SAME keys;
  - rec and kl are each SUMMED over features or latent dimensions and then averaged over the batch, and gradients are
    those of that mean: its 1/B enters once;
  - log_var is the log of the variance, so the standard deviation is exp(log_var / 2);
  - random numbers come from the rng that is handed in, in the order that is stated; functions work in float64, accept
    lists, and never modify what they are given.

Run `dlgrade check ch338` as often as you like; `dlgrade hint ch338 vae_backward` helps you on. Every stage has its own
points: an unfinished training loop does not cost the forward pass. `python ch338_project_vae.py` trains it.
"""

import numpy as np

CENTRES = np.array([[-2.0, -2.0], [-2.0, 2.0], [2.0, -2.0], [2.0, 2.0]])


def adam_step(params, grads, optimizer, lr):
    """Given: one step of Adam, chapter 312's. The optimizer is {} at first. Returns (params, optimizer), both new."""
    t = optimizer.get("t", 0) + 1
    new, m, v = {}, {}, {}
    for name, w in params.items():
        m[name] = 0.9 * optimizer.get("m", {}).get(name, 0.0) + 0.1 * grads[name]
        v[name] = 0.999 * optimizer.get("v", {}).get(name, 0.0) + 0.001 * grads[name] ** 2
        new[name] = w - lr * (m[name] / (1 - 0.9**t)) / (np.sqrt(v[name] / (1 - 0.999**t)) + 1e-8)
    return new, {"t": t, "m": m, "v": v}


# --- Stage 1: data ----------------------------------------------------------------------------------------------------


def make_clusters(n, variance, rng):
    """The first data set: n points in the plane, each near one of the four CENTRES (-2, -2), (-2, 2), (2, -2), (2, 2).

    Two draws, in this order: which = rng.integers(0, 4, size=n), the row of CENTRES that each point belongs to; and the
    offsets, rng.normal(0.0, standard deviation, size=(n, 2)), which are added to the centres. rng.normal wants the
    standard deviation, and what is given is the variance of each coordinate.

    n, variance: a whole number, and a positive number.
    Returns (x, which): points (n, 2) and whole numbers (n,).

    Example: if which is drawn as [3, 0] and the offsets as [[0.1, 0.2], [0.0, 0.0]], x is [[2.1, 2.2], [-2.0, -2.0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("make_clusters is still to do")


def scale_images(images, largest=16):
    """The second data set, ready for the network: each image becomes a row of numbers from 0 to 1.

    Every pixel is divided by the largest value a pixel CAN have; that number is the same for every image, whatever its
    own brightest pixel. The rows of an image follow each other: pixel (i, j) of an image of width W goes to i * W + j.

    images:  whole numbers from 0 to `largest`, (N, height, width); small ones (uint8) are allowed.
    largest: a number.
    Returns an array (N, height * width), float64.

    Example: scale_images([[[0, 16], [4, 8]]]) gives [[0.0, 1.0, 0.25, 0.5]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("scale_images is still to do")


def split_rows(x, n_held_out, rng):
    """Which rows train, and which are held out to judge. No row is in both.

    One draw, order = rng.permutation(N): the rows order[:n_held_out], in this order, are held out, and the others, in
    the order that remains, are for training.

    x: (N, D). n_held_out: a whole number from 0 to N.
    Returns (train, held_out): arrays (N - n_held_out, D) and (n_held_out, D).

    Example: for x = [[0.0], [1.0], [2.0]] and the permutation [2, 0, 1], split_rows(x, 1, rng) gives [[0.0], [1.0]] and
             [[2.0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("split_rows is still to do")


# --- Stage 2: the network, forward ------------------------------------------------------------------------------------


def init_vae(features, hidden, latent, rng):
    """Parameters of a new network.

    W1, W2, W3, W4, W5 are drawn in this order, each rng.normal(0.0, sqrt(1 / inputs), size=(outputs, inputs)), where
    inputs is the number of columns of that very weight. All biases are zeros.

    features, hidden, latent: D, H and L, three whole numbers.
    Returns params: a dict with the keys and shapes stated at the top.

    Example: init_vae(3, 5, 2, rng) has W1 (5, 3), W2 and W3 (2, 5), W4 (5, 2) and W5 (3, 5).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("init_vae is still to do")


def encode(x, params):
    """The encoder: mean and log variance of the code of every sample. The two heads are linear.

    x: (B, D). params: as at the top.
    Returns (mu, log_var), arrays (B, L).

    Example: with W1 and b1 zero every sample gets mu = b2 and log_var = b3.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("encode is still to do")


def reparameterize(mu, log_var, eps):
    """A random code, as a function of mu and log_var and of noise that depends on neither:

        z = mu + exp(log_var / 2) * eps

    mu, log_var, eps: (B, L); eps are standard normal numbers.
    Returns z, an array (B, L).

    Example: reparameterize([[1.0]], [[2 * log(3)]], [[2.0]]) gives [[7.0]]: the standard deviation is 3.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("reparameterize is still to do")


def decode(z, params):
    """The decoder, without any activation at its end: means for Gaussian data, logits for pixels.

    z: codes (..., L), with any number of axes in front. params: as at the top.
    Returns out, an array (..., D).

    Example: with W4 and b4 zero every code gives out = b5.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("decode is still to do")


def expected_x(out, likelihood):
    """What the decoder expects x to be: out itself for "gaussian", sigmoid(out) for "bernoulli".

    No overflow: sigmoid(a) = np.exp(-np.logaddexp(0, -a)) is exact for logits of 10,000 as well.

    out: an array of any shape, (B, D) for example. likelihood: "gaussian" or "bernoulli".
    Returns an array of that shape.

    Example: expected_x([[0.0, -10000.0]], "bernoulli") gives [[0.5, 0.0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("expected_x is still to do")


# --- Stage 3: the loss, its gradients, and their proof ----------------------------------------------------------------


def kl_divergence(mu, log_var):
    """The price of the code: how far it is from the standard normal cloud, and the gradients of that.

        kl = mean over the batch of  1/2 * sum over latent dimensions of (mu^2 + exp(log_var) - 1 - log_var)

    mu, log_var: (B, L).
    Returns (kl, dmu, dlog_var): a number, and its gradients, arrays (B, L).

    Example: kl_divergence([[1.0, 0.0]], [[0.0, 0.0]]) gives kl = 0.5, dmu = [[1, 0]] and dlog_var = [[0, 0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("kl_divergence is still to do")


def reconstruction(out, x, likelihood, sigma2=1.0):
    """How badly the decoder's output explains x, and the gradient of that at the output.

        "gaussian":  rec = mean over the batch of  sum over the features of  (x - out)^2 / (2 sigma2)
        "bernoulli": rec = mean over the batch of  sum over the features of  -(x log p + (1 - x) log(1 - p))

    with p = sigmoid(out). Be exact for logits of 10,000: -log p = np.logaddexp(0, -out) and -log(1 - p) =
    np.logaddexp(0, out). A grey x, such as 0.5, is allowed; sigma2 plays no part in "bernoulli".

    out, x:     (B, D). likelihood: "gaussian" or "bernoulli".
    sigma2:     the variance of the Gaussian, a positive number; not the standard deviation.
    Returns (rec, dout): a number, and its gradient at out, an array (B, D).

    Example: reconstruction([[1.0, 2.0]], [[0.0, 2.0]], "gaussian", 0.25) gives rec = 2.0 and dout = [[4.0, 0.0]];
             reconstruction([[0.0, 0.0]], [[1.0, 0.0]], "bernoulli") gives rec = 2 log 2 and dout = [[-0.5, 0.5]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("reconstruction is still to do")


def vae_forward(x, params, eps, likelihood, sigma2=1.0, beta=1.0):
    """The loss of the whole network for given noise: encode, make the codes with eps, decode, compare.

        loss = rec + beta * kl

    With beta = 1 it is the negative ELBO.

    x: (B, D). params: as at the top. eps: standard normal numbers, (B, L).
    likelihood, sigma2: as for `reconstruction`. beta: the weight of the KL, a number.
    Returns (loss, rec, kl, cache): three numbers (kl is not multiplied by beta), and whatever your `vae_backward` wants
    to find again.

    Example: with all parameters zero, x = [[2.0]] and any eps (1, L), vae_forward(x, params, eps, "gaussian") has
             loss 2.0, rec 2.0 and kl 0.0.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("vae_forward is still to do")


def vae_backward(cache):
    """The exact gradients of the loss of `vae_forward`, with the same noise.

    Back through the decoder to z, and through the noise to mu and log_var:

        dmu = dz                dlog_var = dz * eps * exp(log_var / 2) / 2

    There the gradients of beta * kl join. Both heads read h, so its gradient is the sum of what comes back from both.
    The slope of tanh is 1 - tanh^2.

    cache: what `vae_forward` returned last; it stays as it is.
    Returns grads: a dict with exactly the keys of params, each of the shape of its parameter, (H, D) for W1.

    Example: with all parameters zero, x = [[2.0]], "gaussian" and sigma2 = 1, the gradient of b5 is [-2.0] and all
             others are zero.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("vae_backward is still to do")


def gradient_errors(loss_and_grads, params, shape, rng, h=1e-5):
    """Proof of gradients when the loss depends on chance: fix the chance, then compare with central differences.

    The noise is drawn ONCE, eps = rng.standard_normal(shape), and handed to every single call of loss_and_grads. (With
    new noise in each call the difference of two losses measures the noise.) For every entry of every parameter, nudged
    up and down by h with all others as they were, and for every parameter, with the maximum over all its entries:

        numerical = (loss up - loss down) / (2 h)
        error = max |grad - numerical| / max(max |numerical|, 1e-8)

    loss_and_grads: a function of a params dict and eps, returning (loss, grads): a number, and a dict with the same
                    keys.
    params: a dict of arrays, (4, 3) for example. It and its arrays are left exactly as they are.
    shape:  that of the noise, (B, L).
    Returns a dict with the keys of params: one error, a number, each.

    Example: for loss_and_grads = lambda p, eps: (3 * p["w"][0], {"w": np.array([4.0])}) and params {"w": [2.0]} the
             error is 1/3: {"w": 0.3333...}.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("gradient_errors is still to do")


# --- Stage 4: training ------------------------------------------------------------------------------------------------


def train_step(params, optimizer, x, eps, lr, likelihood, sigma2=1.0, beta=1.0):
    """One step on one batch: forward, backward with the same noise, Adam.

    params: as at the top. optimizer: Adam's memory, {} before the first step.
    x, eps: the batch (B, D) and its noise (B, L). lr: the learning rate, a number. Others: as for `vae_forward`.
    Returns (params, optimizer, parts): both new, and the three numbers (loss, rec, kl) of this batch BEFORE the step.

    Example: with all parameters zero, x = [[2.0]], lr = 0.1 and "gaussian", parts is (2.0, 2.0, 0.0), and to seven
             digits b5 becomes [0.1]: Adam's first step has the length lr.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("train_step is still to do")


def train(x, rng, likelihood, sigma2=1.0, latent=2, hidden=64, steps=2000, batch_size=64, lr=0.005, beta=1.0):
    """A whole training run.

    First init_vae(D, hidden, latent, rng). Then in each step t = 0, 1, ..., steps - 1, in this order:
      - the batch: the rows rng.integers(0, N, size=batch_size) of x;
      - new noise for it: rng.standard_normal((batch_size, latent));
      - one `train_step` with the learning rate lr * (1 + cos(pi * t / steps)) / 2. One Adam memory serves the whole
        run.

    x: training samples, (N, D). likelihood, sigma2, beta: as for `vae_forward`.
    other: the sizes of the code and of the two hidden layers, and the length and pace of the run.
    Returns (params, history): the trained parameters, and a dict with "loss", "rec" and "kl", a number for each step,
    those of its batch before the step.

    Example: with steps=0 the parameters are those of init_vae, and the three lists of history are empty.

    Two targets, each within 10 seconds of CPU time, judged on samples that `train` has never seen, with codes from your
    `encode` and your `decode`. The defaults reach both; you may choose others.
      - 600 points of `make_clusters` with variance 0.3, train(x, rng, "gaussian", 0.3): rec at most 1.4, kl from 1.8 to
        2.4, and their sum not below the floor that is stated at the top;
      - 1,437 digits of 64 pixels, train(x, rng, "bernoulli"): rec at most 24, and kl from 1.5 to 3.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("train is still to do")


# --- Stage 5: evaluation ----------------------------------------------------------------------------------------------


def evaluate(x, params, rng, likelihood, sigma2=1.0):
    """How good the model is on samples it was not trained on: the negative ELBO and its two parts.

    One random code for each sample, eps = rng.standard_normal((B, L)), drawn once; L is the number of rows of W2. The
    KL counts once here, whatever beta the training used. Lower is better.

    x: held-out samples, (B, D). params: as at the top. likelihood, sigma2: as for `reconstruction`.
    Returns (negative_elbo, rec, kl): three numbers.

    Example: with all parameters zero, evaluate([[2.0]], params, rng, "gaussian") gives (2.0, 2.0, 0.0).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("evaluate is still to do")


def detect_collapse(x, params, threshold=0.01):
    """Which part of the code is in use, and has the posterior collapsed?

    A latent dimension whose KL is almost 0 carries the same noise for every sample: it says nothing about x. If that
    holds for all of them, the posterior has collapsed, and whatever is decoded looks like the mean of the data.

    x: (B, D). params: as at the top. threshold: a number of nats.
    Returns (kls, collapsed): the KL of each latent dimension, averaged over the batch, an array (L,), and a truth
    value: True if NONE of them is above the threshold.

    Example: with W1 and b1 zero, b2 = [1.0, 0.0] and b3 = [0.0, 0.0], kls is [0.5, 0.0] and collapsed is False.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("detect_collapse is still to do")


def beta_sweep(x, x_held_out, betas, rng, likelihood, sigma2=1.0, **options):
    """What a larger price for the code does: train anew with every beta, and measure on held-out samples.

    For each beta, in the order given: `train` on x with this beta and with the options, then `evaluate` on x_held_out.
    The one rng serves all of them, one after the other.

    x, x_held_out: (N, D) and (M, D). betas: a list of numbers. likelihood, sigma2: as for `reconstruction`.
    options:       handed on to `train`, for example steps=500, hidden=32.
    Returns (recs, kls): two arrays (number of betas,), as `evaluate` gives them: kl is not multiplied by beta.

    Example: beta_sweep(x, x_new, [1.0], rng, "gaussian", steps=0) evaluates one network that was never trained.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("beta_sweep is still to do")


# --- Stage 6: generation ----------------------------------------------------------------------------------------------


def reconstruct(x, params, likelihood):
    """What is left of x after the narrow code: what the decoder expects at the MEAN of its code. Nothing is random.

    x: (B, D). params: as at the top. likelihood: for `expected_x`.
    Returns an array (B, D).

    Example: with all parameters zero but b5 = [3.0], reconstruct([[1.0]], params, "gaussian") gives [[3.0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("reconstruct is still to do")


def generate(n, params, rng, likelihood):
    """Invent: draw codes from the standard normal cloud, z = rng.standard_normal((n, L)), and decode them.

    What is returned is what the decoder expects at each code, without noise of its own.

    n: a whole number. params: as at the top; L is the number of columns of W4.
    Returns an array (n, D).

    Example: with all parameters zero but b5 = [3.0], generate(2, params, rng, "gaussian") gives [[3.0], [3.0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("generate is still to do")


def interpolate(x_from, x_to, steps, params, likelihood):
    """From one sample to another on a straight line between their CODES (the means), decoded on the way.

    The codes divide the line evenly: the first is that of x_from, the last that of x_to.

    x_from, x_to: two samples, (D,). steps: how many codes, both ends included, at least 2. likelihood: for
    `expected_x`.
    Returns an array (steps, D); its ends are what `reconstruct` makes of the two samples.

    Example: for codes 0 and 4 and steps = 3, the codes 0, 2 and 4 are decoded.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("interpolate is still to do")


def latent_grid(params, low, high, resolution, likelihood):
    """The whole plane of codes at a glance, for L = 2: what the decoder expects on a square grid.

    The axis has `resolution` evenly spaced values from low to high, both included.

    low, high, resolution: two numbers and a whole number R.
    Returns (axis, values): arrays (R,) and (R, R, D); values[i, j] belongs to the code (axis[j], axis[i]): the first
    latent dimension runs along a row, the second from row to row.

    Example: latent_grid(params, -1.0, 1.0, 3, "gaussian") has the axis [-1, 0, 1]; values[0, 2] is that of (1, -1).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("latent_grid is still to do")


def main():
    """Given: the whole project in one run: proof of the gradients, clusters, digits, and some inventions."""
    from dlgrade.course.data.images import digits

    rng = np.random.default_rng(338)
    x, _ = make_clusters(600, 0.3, rng)
    held_out, _ = make_clusters(2000, 0.3, rng)

    def loss_and_grads(params, eps):
        loss, _, _, cache = vae_forward(x[:5], params, eps, "gaussian", 0.3)
        return loss, vae_backward(cache)

    errors = gradient_errors(loss_and_grads, init_vae(2, 4, 2, rng), (5, 2), rng)
    print("gradient check, largest error:", max(errors.values()))

    pixels, unseen = split_rows(scale_images(digits()[0]), 360, rng)
    runs = (("four clusters", x, held_out, "gaussian", 0.3), ("digits", pixels, unseen, "bernoulli", 1.0))
    for name, data, new, likelihood, sigma2 in runs:
        print(f"\n{name}: {len(data)} training samples")
        params, history = train(data, rng, likelihood, sigma2)
        for step in range(0, len(history["loss"]), 500):
            mean = {part: np.mean(values[step : step + 100]) for part, values in history.items()}
            print(f"steps {step:4} to {step + 99:4}: rec {mean['rec']:6.3f}  kl {mean['kl']:.3f}")
        loss, rec, kl = evaluate(new, params, rng, likelihood, sigma2)
        print(f"held out: rec {rec:.3f}  kl {kl:.3f}  negative ELBO {loss:.3f}")
        kls, collapsed = detect_collapse(new, params)
        print(f"KL of each latent dimension: {np.round(kls, 3)}, collapsed: {collapsed}")

    print("\nfour digits that nobody wrote:")
    shades = np.array(list(" .:-=+*#%@"))
    images = generate(4, params, rng, "bernoulli").reshape(4, 8, 8)
    for row in range(8):
        print("   ".join("".join(shades[np.minimum((image[row] * 10).astype(int), 9)]) for image in images))


if __name__ == "__main__":
    main()
