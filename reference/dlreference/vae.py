"""Variational autoencoder: KL divergence, reparameterization, both decoders, the whole net and tighter bounds.

The encoder is an MLP whose output (B, 2L) holds mu (first L columns) and log_var (last L); the decoder is an MLP from
(B, L) to (B, D). Every loss sums over features or latent dimensions and averages over the batch:
negative ELBO = reconstruction + beta KL. Nothing here draws unless it takes an rng; the noise eps is an argument.
Sources: Kingma and Welling 2014, Higgins et al. 2017 (beta), Burda et al. 2016 (importance-weighted bound).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from dlreference import mlp
from dlreference.activations import softplus
from dlreference.arrays import Array, ArrayLike, Params, as_float, require_same_shape
from dlreference.losses import bce_with_logits, logsumexp

Decoder = Literal["gaussian", "bernoulli"]

LOG_TWO_PI = math.log(2.0 * math.pi)


class ELBO(NamedTuple):
    """The negative ELBO and its two parts, before beta multiplies the second: loss = reconstruction + beta kl."""

    loss: float
    reconstruction: float
    kl: float


def kl_per_dimension(mu: ArrayLike, log_var: ArrayLike) -> Array:
    """KL(N(mu, exp(log_var)) || N(0, 1)) of each latent dimension, averaged over the batch: (B, L) -> (L,)."""
    mu, log_var = as_float(mu), as_float(log_var)
    # expm1(lv) - lv keeps the digits of a nearly collapsed dimension, where exp(lv) - 1 - lv cancels.
    return 0.5 * (mu**2 + np.expm1(log_var) - log_var).mean(axis=0)


def kl_standard_normal(mu: ArrayLike, log_var: ArrayLike) -> tuple[float, Array, Array]:
    """KL to the standard normal, summed over latent dimensions and averaged over the batch; gradients (B, L) of both.

    1/2 sum(mu^2 + exp(lv) - 1 - lv) per sample; dmu = mu / B, dlog_var = (exp(lv) - 1) / (2 B).
    """
    mu, log_var = as_float(mu), as_float(log_var)
    require_same_shape(mu, log_var)
    return float(kl_per_dimension(mu, log_var).sum()), mu / len(mu), 0.5 * np.expm1(log_var) / len(mu)


def active_dimensions(mu: ArrayLike, log_var: ArrayLike, threshold: float = 0.01) -> np.ndarray:
    """Booleans (L,): latent dimensions whose mean KL exceeds `threshold` nats; none is a collapsed posterior."""
    return kl_per_dimension(mu, log_var) > threshold


def reparameterize(mu: ArrayLike, log_var: ArrayLike, eps: ArrayLike) -> Array:
    """z = mu + exp(log_var / 2) eps, all (..., L)."""
    return as_float(mu) + np.exp(0.5 * as_float(log_var)) * as_float(eps)


def reparameterize_backward(dz: ArrayLike, log_var: ArrayLike, eps: ArrayLike) -> tuple[Array, Array]:
    """Gradients (dmu, dlog_var) for dz with the *same* eps: dz and dz eps exp(log_var / 2) / 2."""
    dz = as_float(dz)
    return dz.copy(), 0.5 * dz * as_float(eps) * np.exp(0.5 * as_float(log_var))


def sample_latent(mu: ArrayLike, log_var: ArrayLike, rng: np.random.Generator) -> Array:
    """z (B, L) with one draw `rng.standard_normal((B, L))`."""
    mu = as_float(mu)
    return reparameterize(mu, log_var, rng.standard_normal(mu.shape))


def gaussian_reconstruction(x_hat: ArrayLike, x: ArrayLike, variance: float = 1.0) -> tuple[float, Array]:
    """|x - x_hat|^2 / (2 variance), summed over features, averaged over the batch, and the gradient at x_hat (B, D).

    This is -log N(x; x_hat, variance I) without its constant D/2 log(2 pi variance) (`gaussian_constant`).
    """
    x_hat, x = as_float(x_hat), as_float(x)
    require_same_shape(x_hat, x)
    residual = x_hat - x
    return float(0.5 * (residual**2).sum() / variance / len(x)), residual / variance / len(x)


def gaussian_constant(features: int, variance: float) -> float:
    """D/2 log(2 pi variance): what `gaussian_reconstruction` leaves out of -log N(x; x_hat, variance I)."""
    return 0.5 * features * (LOG_TWO_PI + math.log(variance))


def bernoulli_reconstruction(logits: ArrayLike, x: ArrayLike) -> tuple[float, Array]:
    """Binary cross-entropy of x (B, D) in [0, 1], summed over features, averaged over the batch; gradient at logits."""
    logits = as_float(logits)
    mean_loss, mean_gradient = bce_with_logits(logits, x)
    features = logits.size // len(logits)
    return features * mean_loss, features * mean_gradient


def reconstruction(out: ArrayLike, x: ArrayLike, decoder: Decoder, variance: float = 1.0) -> tuple[float, Array]:
    """The reconstruction part and its gradient at the decoder's output, means or logits (B, D).

    Raises ValueError for another decoder.
    """
    if decoder == "gaussian":
        return gaussian_reconstruction(out, x, variance)
    if decoder == "bernoulli":
        return bernoulli_reconstruction(out, x)
    raise ValueError(f'decoder must be "gaussian" or "bernoulli", got {decoder!r}')


def negative_elbo(
    x: ArrayLike,
    out: ArrayLike,
    mu: ArrayLike,
    log_var: ArrayLike,
    decoder: Decoder = "gaussian",
    variance: float = 1.0,
    beta: float = 1.0,
) -> ELBO:
    """Negative ELBO from the decoder's output: x and out (B, D), mu and log_var (B, L)."""
    recon, _ = reconstruction(out, x, decoder, variance)
    kl, _, _ = kl_standard_normal(mu, log_var)
    return ELBO(recon + beta * kl, recon, kl)


def encode(
    x: ArrayLike, encoder: Mapping[str, ArrayLike], activation: str | Sequence[str] = "tanh"
) -> tuple[Array, Array, mlp.MLPCache]:
    """mu (B, L), log_var (B, L) and the encoder's cache for x (B, D). Raises ValueError for an odd output width."""
    out, cache = mlp.forward(x, encoder, activation)
    if out.shape[-1] % 2:
        raise ValueError(f"the encoder must give mu and log_var of one size, got {out.shape[-1]} outputs")
    mu, log_var = np.split(out, 2, axis=-1)
    return mu, log_var, cache


class VAECache(NamedTuple):
    """What the backward of a VAE needs: the nets' caches, the latent inputs and the gradients of the loss's parts."""

    encoder: mlp.MLPCache
    decoder: mlp.MLPCache
    log_var: Array
    eps: Array
    dout: Array
    dmu: Array
    dlog_var: Array


def vae_forward(
    x: ArrayLike,
    encoder: Mapping[str, ArrayLike],
    decoder: Mapping[str, ArrayLike],
    eps: ArrayLike,
    likelihood: Decoder = "gaussian",
    variance: float = 1.0,
    beta: float = 1.0,
    activation: str | Sequence[str] = "tanh",
) -> tuple[ELBO, VAECache]:
    """Negative ELBO of x (B, D) for fixed noise eps (B, L), and the cache of the backward."""
    mu, log_var, encoder_cache = encode(x, encoder, activation)
    out, decoder_cache = mlp.forward(reparameterize(mu, log_var, eps), decoder, activation)
    recon, dout = reconstruction(out, x, likelihood, variance)
    kl, dmu, dlog_var = kl_standard_normal(mu, log_var)
    cache = VAECache(encoder_cache, decoder_cache, log_var, as_float(eps), dout, beta * dmu, beta * dlog_var)
    return ELBO(recon + beta * kl, recon, kl), cache


def vae_backward(
    cache: VAECache, encoder: Mapping[str, ArrayLike], decoder: Mapping[str, ArrayLike]
) -> tuple[Params, Params, Array]:
    """Gradients (encoder_grads, decoder_grads, dx through the encoder) of the negative ELBO with the forward's eps.

    mu and log_var get two signals each: from the KL, and from the reconstruction through z.
    """
    decoder_grads, dz = mlp.backward(cache.dout, cache.decoder, decoder)
    dmu, dlog_var = reparameterize_backward(dz, cache.log_var, cache.eps)
    dencoded = np.concatenate([cache.dmu + dmu, cache.dlog_var + dlog_var], axis=-1)
    encoder_grads, dx = mlp.backward(dencoded, cache.encoder, encoder)
    return encoder_grads, decoder_grads, dx


def reconstruct_mean(
    x: ArrayLike,
    encoder: Mapping[str, ArrayLike],
    decoder: Mapping[str, ArrayLike],
    activation: str | Sequence[str] = "tanh",
) -> Array:
    """The decoder's output (B, D) at z = mu: evaluation does not sample."""
    mu, _, _ = encode(x, encoder, activation)
    return mlp.forward(mu, decoder, activation)[0]


def sample_prior(
    decoder: Mapping[str, ArrayLike], n: int, rng: np.random.Generator, activation: str | Sequence[str] = "tanh"
) -> Array:
    """The decoder's output (n, D) at z from the prior, with one draw `rng.standard_normal((n, L))`."""
    latent = as_float(decoder["W1"]).shape[1]
    return mlp.forward(rng.standard_normal((n, latent)), decoder, activation)[0]


def interpolate(z_from: ArrayLike, z_to: ArrayLike, steps: int) -> Array:
    """`steps` points (steps, L) evenly from z_from (L,) to z_to (L,), both ends exact."""
    share = np.linspace(0.0, 1.0, steps)[:, None]
    return (1.0 - share) * as_float(z_from) + share * as_float(z_to)


def log_normal(x: ArrayLike, mean: ArrayLike, log_var: ArrayLike) -> Array:
    """log N(x; mean, diag exp(log_var)), summed over the last axis: (..., D) -> (...)."""
    x, mean, log_var = as_float(x), as_float(mean), as_float(log_var)
    return -0.5 * (LOG_TWO_PI + log_var + (x - mean) ** 2 * np.exp(-log_var)).sum(axis=-1)


def log_likelihood(x: ArrayLike, out: ArrayLike, likelihood: Decoder = "gaussian", variance: float = 1.0) -> Array:
    """log p(x | z) of each sample, with all constants: x (B, D), out (..., B, D) -> (..., B).

    Raises ValueError for another likelihood.
    """
    x, out = as_float(x), as_float(out)
    if likelihood == "gaussian":
        return log_normal(x, out, np.full(out.shape, math.log(variance)))
    if likelihood == "bernoulli":
        return -(x * softplus(-out) + (1.0 - x) * softplus(out)).sum(axis=-1)
    raise ValueError(f'likelihood must be "gaussian" or "bernoulli", got {likelihood!r}')


def log_importance_weights(
    x: ArrayLike,
    encoder: Mapping[str, ArrayLike],
    decoder: Mapping[str, ArrayLike],
    eps: ArrayLike,
    likelihood: Decoder = "gaussian",
    variance: float = 1.0,
    activation: str | Sequence[str] = "tanh",
) -> Array:
    """log p(x | z) + log p(z) - log q(z | x) for K samples of z: x (B, D), eps (K, B, L) -> (K, B)."""
    mu, log_var, _ = encode(x, encoder, activation)
    z = reparameterize(mu, log_var, eps)
    out, _ = mlp.forward(z, decoder, activation)
    prior = log_normal(z, np.zeros_like(z), np.zeros_like(z))
    return log_likelihood(x, out, likelihood, variance) + prior - log_normal(z, mu, log_var)


def importance_weighted_bound(log_weights: ArrayLike) -> float:
    """Mean over the batch of log(1/K sum_k w_k) for log_weights (K, B): a lower bound of the mean log p(x).

    K = 1 is the ELBO; for given weights the bound is never below the average of their logarithms.
    """
    log_weights = as_float(log_weights)
    return float((logsumexp(log_weights, axis=0) - math.log(len(log_weights))).mean())
