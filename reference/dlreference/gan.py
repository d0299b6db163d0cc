"""Adversarial training: losses from logits, the optimal discriminator, one-sided steps, WGAN, and a linear generator.

Both nets are MLPs (`mlp`): the discriminator or critic ends in one linear unit (a logit or a score, (B, 1)), the
generator in linear units, so its samples are not confined to a range. Discriminator losses *add* the real and the fake
part, each a mean over its batch.
Sources: Goodfellow et al. 2014, Arjovsky et al. 2017 (WGAN), Gulrajani et al. 2017 (gradient penalty).
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from dlreference import mlp
from dlreference.activations import activation as find_activation
from dlreference.activations import d_sigmoid, sigmoid
from dlreference.arrays import Array, ArrayLike, Params, as_float, as_params, require_same_shape
from dlreference.losses import bce_with_logits

GeneratorLoss = Literal["non_saturating", "saturating"]
Weights = Mapping[str, ArrayLike]


def discriminator_loss(real_logits: ArrayLike, fake_logits: ArrayLike) -> tuple[float, Array, Array]:
    """-mean log D(real) - mean log(1 - D(fake)) with D = sigmoid(logit), and the gradients at both sets of logits.

    The sets may have any and different shapes. At D = 1/2 everywhere the loss is 2 log 2.
    """
    real_loss, dreal = bce_with_logits(real_logits, np.ones(np.shape(real_logits)))
    fake_loss, dfake = bce_with_logits(fake_logits, np.zeros(np.shape(fake_logits)))
    return real_loss + fake_loss, dreal, dfake


def generator_loss(fake_logits: ArrayLike, kind: GeneratorLoss = "non_saturating") -> tuple[float, Array]:
    """The generator's loss and its gradient at the logits of its samples, for N logits of any shape.

    "non_saturating": -mean log D(fake), gradient -(1 - D) / N, alive where D is near 0. "saturating", the minimax
    original: mean log(1 - D(fake)), gradient -D / N, which vanishes there. Raises ValueError for another kind.
    """
    if kind == "non_saturating":
        return bce_with_logits(fake_logits, np.ones(np.shape(fake_logits)))
    if kind == "saturating":
        loss, dlogits = bce_with_logits(fake_logits, np.zeros(np.shape(fake_logits)))
        return -loss, -dlogits
    raise ValueError(f'kind must be "non_saturating" or "saturating", got {kind!r}')


def optimal_discriminator(p_data: ArrayLike, p_model: ArrayLike) -> Array:
    """D*(x) = p_data / (p_data + p_model), elementwise; 1/2 where both densities are 0."""
    p, q = as_float(p_data), as_float(p_model)
    total = p + q
    return np.where(total > 0, p, 0.5) / np.where(total > 0, total, 1.0)


def game_value(p_data: ArrayLike, p_model: ArrayLike, discriminator: ArrayLike | None = None) -> float:
    """V = sum p_data log D + p_model log(1 - D) over K outcomes (K,); D is the optimal one unless given.

    With D* it equals -log 4 + 2 JS(p_data, p_model), so -log 4 when the distributions agree. 0 log 0 counts as 0.
    """
    p, q = as_float(p_data), as_float(p_model)
    d = optimal_discriminator(p, q) if discriminator is None else as_float(discriminator)
    return float(_weighted_log(p, d).sum() + _weighted_log(q, 1.0 - d).sum())


def _weighted_log(weight: Array, x: Array) -> Array:
    return weight * np.log(np.where(weight > 0, x, 1.0))


def jensen_shannon(p: ArrayLike, q: ArrayLike) -> float:
    """Jensen-Shannon divergence in nats of two distributions (K,): between 0 and log 2."""
    p, q = as_float(p), as_float(q)
    middle = 0.5 * (p + q)
    return float(0.5 * sum((_weighted_log(r, r) - _weighted_log(r, middle)).sum() for r in (p, q)))


def discriminator_gradients(
    discriminator: Weights, generator: Weights, real: ArrayLike, z: ArrayLike, activation: str = "relu"
) -> tuple[float, Params]:
    """Discriminator loss on real (B, D) and generated samples of z (B', L), and the *discriminator's* gradients.

    The samples are constants: nothing flows back into the generator.
    """
    fake, _ = mlp.forward(z, generator, activation)
    real_logits, real_cache = mlp.forward(real, discriminator, activation)
    fake_logits, fake_cache = mlp.forward(fake, discriminator, activation)
    loss, dreal, dfake = discriminator_loss(real_logits, fake_logits)
    of_real, _ = mlp.backward(dreal, real_cache, discriminator)
    of_fake, _ = mlp.backward(dfake, fake_cache, discriminator)
    return loss, {name: of_real[name] + of_fake[name] for name in of_real}


def generator_gradients(
    discriminator: Weights,
    generator: Weights,
    z: ArrayLike,
    kind: GeneratorLoss = "non_saturating",
    activation: str = "relu",
) -> tuple[float, Params]:
    """Generator loss on z (B, L) and the *generator's* gradients, which pass through the unchanged discriminator."""
    fake, generator_cache = mlp.forward(z, generator, activation)
    logits, discriminator_cache = mlp.forward(fake, discriminator, activation)
    loss, dlogits = generator_loss(logits, kind)
    _, dfake = mlp.backward(dlogits, discriminator_cache, discriminator)
    return loss, mlp.backward(dfake, generator_cache, generator)[0]


def descend(params: Weights, grads: Weights, lr: float) -> Params:
    """New parameters `params - lr grads`."""
    return {name: as_float(value) - lr * as_float(grads[name]) for name, value in params.items()}


def discriminator_step(
    discriminator: Weights, generator: Weights, real: ArrayLike, z: ArrayLike, lr: float, activation: str = "relu"
) -> tuple[Params, float]:
    """One gradient step of the discriminator alone: its new parameters and the loss before the step."""
    loss, grads = discriminator_gradients(discriminator, generator, real, z, activation)
    return descend(discriminator, grads, lr), loss


def generator_step(
    discriminator: Weights,
    generator: Weights,
    z: ArrayLike,
    lr: float,
    kind: GeneratorLoss = "non_saturating",
    activation: str = "relu",
) -> tuple[Params, float]:
    """One gradient step of the generator alone: its new parameters and the loss before the step."""
    loss, grads = generator_gradients(discriminator, generator, z, kind, activation)
    return descend(generator, grads, lr), loss


def train_step(
    discriminator: Weights,
    generator: Weights,
    real: ArrayLike,
    lr_d: float,
    lr_g: float,
    rng: np.random.Generator,
    kind: GeneratorLoss = "non_saturating",
    activation: str = "relu",
) -> tuple[Params, Params, float, float]:
    """A discriminator step, then a generator step against the *new* discriminator, on real (B, D).

    Draws: `rng.standard_normal((B, L))` for the first step and again, afresh, for the second. Returns the new
    discriminator, the new generator and the two losses, each before its own step.
    """
    shape = (len(as_float(real)), as_float(generator["W1"]).shape[1])
    new_d, d_loss = discriminator_step(discriminator, generator, real, rng.standard_normal(shape), lr_d, activation)
    new_g, g_loss = generator_step(new_d, generator, rng.standard_normal(shape), lr_g, kind, activation)
    return new_d, new_g, d_loss, g_loss


def critic_loss(real_scores: ArrayLike, fake_scores: ArrayLike) -> tuple[float, Array, Array]:
    """WGAN critic loss mean(fake) - mean(real), and the gradients 1 / N at the fake and -1 / N at the real scores.

    Returned in the order loss, dreal, dfake; minus the loss estimates the Wasserstein distance.
    """
    real, fake = as_float(real_scores), as_float(fake_scores)
    loss = float(fake.mean() - real.mean())
    return loss, np.full(real.shape, -1.0 / real.size), np.full(fake.shape, 1.0 / fake.size)


def wgan_generator_loss(fake_scores: ArrayLike) -> tuple[float, Array]:
    """WGAN generator loss -mean(fake) and its gradient -1 / N."""
    fake = as_float(fake_scores)
    return float(-fake.mean()), np.full(fake.shape, -1.0 / fake.size)


def clip_weights(params: Weights, limit: float) -> Params:
    """Every entry of every parameter forced into [-limit, limit], as new arrays."""
    return {name: np.clip(as_float(value), -limit, limit) for name, value in params.items()}


def mix_samples(real: ArrayLike, fake: ArrayLike, u: ArrayLike) -> Array:
    """Points u real + (1 - u) fake on the segments between pairs: real and fake (B, D), u (B, 1), one share a pair."""
    real, fake = as_float(real), as_float(fake)
    require_same_shape(real, fake)
    u = as_float(u)
    return u * real + (1.0 - u) * fake


def _second_derivative(name: str, z: Array) -> Array:
    """f''(z) of an activation, 0 on a kink. Raises ValueError for activations without one here."""
    if name in ("identity", "relu", "leaky_relu"):
        return np.zeros_like(z)
    if name == "sigmoid":
        return d_sigmoid(z) * (1.0 - 2.0 * sigmoid(z))
    if name == "softplus":
        return d_sigmoid(z)
    if name == "tanh":
        pair = find_activation("tanh")
        return -2.0 * pair.value(z) * pair.derivative(z)
    raise ValueError(f"no second derivative of activation {name!r}")


def gradient_penalty(
    critic: Weights, x: ArrayLike, strength: float = 10.0, activation: str = "tanh"
) -> tuple[float, Params]:
    """strength mean((|grad_x score(x)| - 1)^2) over x (B, D), and its gradient at the critic's parameters.

    The penalty is a function of a gradient, so its own gradient is a backward pass through the backward pass. With
    u_L = 1, v_(l-1) = u_l W_l and u_l = v_l f'(z_l), the input gradient is v_0; the adjoints dv_0 -> du_1 -> ... run
    upwards and collect dW_l = u_l^T dv_(l-1) and dz_l = du_l v_l f''(z_l); the dz_l then go down the ordinary way.
    """
    params = as_params(critic)
    _, cache = mlp.forward(x, params, activation)
    layers = cache.layers
    last = len(layers)
    slopes = [find_activation(name).derivative(layer.z) for name, layer in zip(cache.activations, layers, strict=True)]

    # Downwards: v[l] is the gradient of the score at a_l, u[l] at z_l; index 0 is the input.
    v: list[Array] = [np.empty(0)] * last + [np.ones_like(layers[-1].a)]
    u: list[Array] = [np.empty(0)] * (last + 1)
    for layer in range(last, 0, -1):
        u[layer] = v[layer] * slopes[layer - 1]
        v[layer - 1] = u[layer] @ params[f"W{layer}"]

    norm = np.sqrt((v[0] ** 2).sum(axis=-1, keepdims=True))
    penalty = float(strength * ((norm - 1.0) ** 2).mean())
    # At a vanishing gradient the norm has no derivative; 0 is the choice that moves nothing.
    dv = 2.0 * strength / norm.size * (norm - 1.0) * v[0] / np.where(norm > 0, norm, 1.0)

    # Upwards: adjoints of that computation.
    dz: list[Array] = [np.empty(0)] * (last + 1)
    grads: Params = {}
    for layer in range(1, last + 1):
        grads[f"W{layer}"] = u[layer].T @ dv
        du = dv @ params[f"W{layer}"].T
        dz[layer] = du * v[layer] * _second_derivative(cache.activations[layer - 1], layers[layer - 1].z)
        dv = du * slopes[layer - 1]

    # Downwards again: the pre-activations depend on the parameters of all layers below.
    for layer in range(last, 0, -1):
        grads[f"W{layer}"] += dz[layer].T @ layers[layer - 1].a_prev
        grads[f"b{layer}"] = dz[layer].sum(axis=0)
        if layer > 1:
            dz[layer - 1] = dz[layer - 1] + dz[layer] @ params[f"W{layer}"] * slopes[layer - 2]
    return penalty, {name: grads[name] for name in params}


def critic_gradients(
    critic: Weights,
    generator: Weights,
    real: ArrayLike,
    z: ArrayLike,
    u: ArrayLike,
    strength: float = 10.0,
    activation: str = "tanh",
) -> tuple[float, Params]:
    """WGAN-GP critic loss with the penalty at `mix_samples(real, G(z), u)`, and the critic's gradients.

    real (B, D), z (B, L), u (B, 1); strength 0 leaves the plain WGAN loss.
    """
    fake, _ = mlp.forward(z, generator, activation)
    real_scores, real_cache = mlp.forward(real, critic, activation)
    fake_scores, fake_cache = mlp.forward(fake, critic, activation)
    loss, dreal, dfake = critic_loss(real_scores, fake_scores)
    of_real, _ = mlp.backward(dreal, real_cache, critic)
    of_fake, _ = mlp.backward(dfake, fake_cache, critic)
    penalty, of_penalty = gradient_penalty(critic, mix_samples(real, fake, u), strength, activation)
    return loss + penalty, {name: of_real[name] + of_fake[name] + of_penalty[name] for name in of_real}


def quadratic_features(x: ArrayLike) -> Array:
    """(x, x^2), (B, 1) -> (B, 2): a discriminator linear in them sees mean and variance and nothing else.

    For two Gaussians the logit of the optimal discriminator is exactly of this kind (`optimal_gaussian_logit`).
    """
    x = as_float(x)
    return np.concatenate([x, x**2], axis=-1)


def quadratic_features_backward(dout: ArrayLike, x: ArrayLike) -> Array:
    """Gradient at x (B, 1) for dout (B, 2): dout_0 + 2 x dout_1."""
    dout = as_float(dout)
    return dout[:, :1] + 2.0 * as_float(x) * dout[:, 1:]


def optimal_gaussian_logit(
    mean_data: float, std_data: float, mean_model: float, std_model: float
) -> tuple[float, float, float]:
    """Coefficients (constant, of x, of x^2) of log p_data(x) - log p_model(x) for two Gaussians: the optimal logit."""
    p, q = std_data**-2, std_model**-2
    constant = float(np.log(std_model / std_data)) - 0.5 * (mean_data**2 * p - mean_model**2 * q)
    return constant, mean_data * p - mean_model * q, 0.5 * (q - p)


class LinearGAN(NamedTuple):
    """The generator `x = W1 z + b1` (one number each) and mean and standard deviation of its law after every step."""

    generator: Params
    means: Array
    stds: Array


def train_linear_gan(
    data: ArrayLike,
    steps: int,
    rng: np.random.Generator,
    batch: int = 256,
    lr_d: float = 0.1,
    lr_g: float = 0.05,
    d_steps: int = 5,
) -> LinearGAN:
    """Match mean and variance of data (N, 1) by a generator that starts at x = z, with the non-saturating loss.

    Both nets see the data standardized, which keeps the game well conditioned; the discriminator is linear in
    `quadratic_features` and starts at 0. Draws, for each step: d_steps times
    `rng.integers(N, size=batch)` (real rows) and `rng.standard_normal((batch, 1))`, then one more
    `rng.standard_normal((batch, 1))` for the generator.
    """
    data = as_float(data)
    centre, scale = float(data.mean()), float(data.std())
    standardized = (data - centre) / scale
    generator: Params = {"W1": np.array([[1.0 / scale]]), "b1": np.array([-centre / scale])}
    discriminator: Params = {"W1": np.zeros((1, 2)), "b1": np.zeros(1)}
    means, stds = np.empty(steps), np.empty(steps)
    for step in range(steps):
        for _ in range(d_steps):
            real = standardized[rng.integers(len(data), size=batch)]
            fake, _ = mlp.forward(rng.standard_normal((batch, 1)), generator)
            real_logits, real_cache = mlp.forward(quadratic_features(real), discriminator)
            fake_logits, fake_cache = mlp.forward(quadratic_features(fake), discriminator)
            _, dreal, dfake = discriminator_loss(real_logits, fake_logits)
            of_real, _ = mlp.backward(dreal, real_cache, discriminator)
            of_fake, _ = mlp.backward(dfake, fake_cache, discriminator)
            discriminator = descend(discriminator, {k: of_real[k] + of_fake[k] for k in of_real}, lr_d)
        fake, generator_cache = mlp.forward(rng.standard_normal((batch, 1)), generator)
        logits, cache = mlp.forward(quadratic_features(fake), discriminator)
        dfeatures = mlp.backward(generator_loss(logits)[1], cache, discriminator)[1]
        dfake = quadratic_features_backward(dfeatures, fake)
        generator = descend(generator, mlp.backward(dfake, generator_cache, generator)[0], lr_g)
        means[step] = centre + scale * generator["b1"][0]
        stds[step] = scale * abs(generator["W1"][0, 0])
    in_data_units = {"W1": scale * generator["W1"], "b1": centre + scale * generator["b1"]}
    return LinearGAN(in_data_units, means, stds)
