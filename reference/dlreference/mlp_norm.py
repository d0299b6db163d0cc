"""Multilayer perceptron with batch normalisation and dropout: hidden blocks of linear, norm, ReLU, dropout.

Parameters W1, b1, gamma1, beta1, ..., and WL, bL for the linear output; state running_mean1, running_var1, ... The
biases of the hidden layers are kept for uniformity: the norm takes them out again, their gradient is zero in training.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dlreference.activations import d_relu, relu
from dlreference.arrays import Array, ArrayLike, Params, as_float
from dlreference.linear import LinearCache, linear_backward, linear_forward
from dlreference.mlp import Head, depth, head_loss, init_mlp
from dlreference.norm import BatchNormCache, batch_norm_backward, batch_norm_forward, batch_norm_init
from dlreference.regularization import dropout_backward, dropout_forward


class BlockCache(NamedTuple):
    """One hidden block: the caches of the linear map and of the norm, the norm's output, the dropout mask or None."""

    linear: LinearCache
    norm: BatchNormCache
    normed: Array
    mask: Array | None


class NetCache(NamedTuple):
    """The hidden blocks, first one first, and the output layer."""

    blocks: tuple[BlockCache, ...]
    output: LinearCache


def init_net(widths: Sequence[int], rng: np.random.Generator, scheme: str = "he_normal") -> tuple[Params, Params]:
    """(params, state) for the widths (n_0, ..., n_L); W1, W2, ... drawn in this order, b and beta 0, gamma 1."""
    plain = init_mlp(widths, rng, scheme)
    params: Params = {}
    state: Params = {}
    for layer, width in enumerate(widths[1:], start=1):
        params |= {f"W{layer}": plain[f"W{layer}"], f"b{layer}": plain[f"b{layer}"]}
        if layer < len(widths) - 1:
            params |= {f"gamma{layer}": np.ones(width), f"beta{layer}": np.zeros(width)}
            state |= {f"{name}{layer}": value for name, value in batch_norm_init(width).items()}
    return params, state


def forward(
    X: ArrayLike,
    params: Mapping[str, ArrayLike],
    state: Mapping[str, ArrayLike],
    training: bool,
    rng: np.random.Generator | None = None,
    p: float = 0.0,
) -> tuple[Array, NetCache, Params]:
    """X (B, n_0) -> (logits (B, n_L), cache, new state).

    p is the probability of dropping a hidden unit; masks are drawn block by block from rng, which is needed only in
    training with p > 0 (ValueError otherwise). Evaluation uses the running statistics, drops nothing, keeps the state.
    """
    drops = training and p > 0
    if drops and rng is None:
        raise ValueError("dropout in training needs a generator")
    a = as_float(X)
    new_state: Params = {}
    blocks = []
    last = depth(params)
    for layer in range(1, last):
        z, linear = linear_forward(a, params[f"W{layer}"], params[f"b{layer}"])
        old = {name: as_float(state[f"{name}{layer}"]) for name in ("running_mean", "running_var")}
        normed, norm, new = batch_norm_forward(z, params[f"gamma{layer}"], params[f"beta{layer}"], old, training)
        new_state |= {f"{name}{layer}": value for name, value in new.items()}
        a, mask = relu(normed), None
        if drops and rng is not None:
            a, mask = dropout_forward(a, p, rng)
        blocks.append(BlockCache(linear, norm, normed, mask))
    logits, output = linear_forward(a, params[f"W{last}"], params[f"b{last}"])
    return logits, NetCache(tuple(blocks), output), new_state


def backward(dout: ArrayLike, cache: NetCache) -> tuple[Params, Array]:
    """Gradients (grads, dX) for dout (B, n_L); grads has the keys and shapes of params."""
    last = len(cache.blocks) + 1
    da, dW, db = linear_backward(dout, cache.output)
    grads: Params = {f"W{last}": dW, f"b{last}": db}
    for layer in range(last - 1, 0, -1):
        block = cache.blocks[layer - 1]
        dnormed = dropout_backward(da, block.mask) * d_relu(block.normed)
        dz, dgamma, dbeta = batch_norm_backward(dnormed, block.norm)
        da, dW, db = linear_backward(dz, block.linear)
        grads = {f"W{layer}": dW, f"b{layer}": db, f"gamma{layer}": dgamma, f"beta{layer}": dbeta, **grads}
    return grads, da


def loss_and_gradients(
    params: Mapping[str, ArrayLike],
    state: Mapping[str, ArrayLike],
    X: ArrayLike,
    y: ArrayLike,
    head: Head = "bce",
    rng: np.random.Generator | None = None,
    p: float = 0.0,
) -> tuple[float, Params, Params]:
    """(loss, grads, new state) of a training forward; heads and the shapes of y as in mlp.head_loss."""
    logits, cache, new_state = forward(X, params, state, True, rng, p)
    loss, dout = head_loss(logits, y, head)
    return loss, backward(dout, cache)[0], new_state


def scores(X: ArrayLike, params: Mapping[str, ArrayLike], state: Mapping[str, ArrayLike]) -> Array:
    """Logits (B, n_L) in evaluation: a row's result does not depend on the other rows."""
    return forward(X, params, state, False)[0]
