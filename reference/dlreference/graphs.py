"""Graph neural networks on dense adjacency matrices: GCN, neighbourhood aggregation, GAT and what layers do to a graph.

A graph has features x (N, D) and adjacency A (N, N); A[i, j] != 0 lets node i listen to node j. Directed graphs are
allowed, and A is never changed.
Sources: Kipf and Welling 2017 (GCN), Hamilton et al. 2017 (aggregation), Velickovic et al. 2018 (GAT),
Oono and Suzuki 2020 (over-smoothing).
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from dlreference.activations import activation as find_activation
from dlreference.activations import d_leaky_relu, leaky_relu
from dlreference.arrays import Array, ArrayLike, Params, as_float
from dlreference.attention import masked_softmax
from dlreference.linear import linear_backward, linear_forward
from dlreference.losses import softmax_backward

Aggregation = Literal["mean", "sum", "max"]


def add_self_loops(adjacency: ArrayLike) -> Array:
    """A + I, as a new array; a self-loop that is already there counts once more."""
    adjacency = as_float(adjacency)
    return adjacency + np.eye(len(adjacency))


def symmetric_normalize(adjacency: ArrayLike) -> Array:
    """D^-1/2 (A + I) D^-1/2 (N, N), D the diagonal of row sums of A + I.

    An isolated node has degree 1 and keeps its own features. For an undirected graph the result is symmetric, its
    eigenvalues in (-1, 1]. A directed graph is scaled by the in-degrees (row sums) on both sides.
    """
    looped = add_self_loops(adjacency)
    scale = 1.0 / np.sqrt(looped.sum(axis=1))
    return scale[:, None] * looped * scale


class GCNCache(NamedTuple):
    """What the backward of a GCN layer needs: input x (N, in), propagation matrix (N, N), W, pre-activation z, name."""

    x: Array
    propagation: Array
    W: Array
    z: Array
    activation: str


def gcn_layer_forward(
    x: ArrayLike, propagation: ArrayLike, W: ArrayLike, b: ArrayLike | None = None, activation: str = "relu"
) -> tuple[Array, GCNCache]:
    """One GCN layer: f(P x W^T + b).

    x (N, in), propagation P (N, N) from `symmetric_normalize`, W (out, in), b (out,) or None -> out (N, out).
    """
    propagation = as_float(propagation)
    x, W = as_float(x), as_float(W)
    z = propagation @ (x @ W.T)
    if b is not None:
        z = z + as_float(b)
    return find_activation(activation).value(z), GCNCache(x, propagation, W, z, activation)


def gcn_layer_backward(dout: ArrayLike, cache: GCNCache) -> tuple[Array, Array, Array]:
    """Gradients (dx, dW, db) for dout (N, out): the signal returns through P^T, which is P only when undirected."""
    dz = as_float(dout) * find_activation(cache.activation).derivative(cache.z)
    dx, dW, _ = linear_backward(cache.propagation.T @ dz, (cache.x, cache.W))
    return dx, dW, dz.sum(axis=0)


def gcn_forward(
    x: ArrayLike, adjacency: ArrayLike, params: Mapping[str, ArrayLike], activation: str = "relu"
) -> tuple[Array, tuple[GCNCache, ...]]:
    """A stack of GCN layers with parameters W1, b1, ..., WL, bL; the last layer is linear (logits).

    x (N, D), adjacency (N, N) without self-loops -> (N, K) and the caches of the layers.
    """
    propagation = symmetric_normalize(adjacency)
    layers = sum(name.startswith("W") for name in params)
    out = as_float(x)
    caches = []
    for layer in range(1, layers + 1):
        name = activation if layer < layers else "identity"
        out, cache = gcn_layer_forward(out, propagation, params[f"W{layer}"], params.get(f"b{layer}"), name)
        caches.append(cache)
    return out, tuple(caches)


def gcn_backward(dout: ArrayLike, caches: tuple[GCNCache, ...]) -> tuple[Params, Array]:
    """Gradients (grads, dx) of a stack for dout (N, K); grads has W1, b1, ..., whether or not a bias was given."""
    grads: Params = {}
    signal = as_float(dout)
    for layer in range(len(caches), 0, -1):
        signal, dW, db = gcn_layer_backward(signal, caches[layer - 1])
        grads = {f"W{layer}": dW, f"b{layer}": db, **grads}
    return grads, signal


def aggregate(x: ArrayLike, adjacency: ArrayLike, how: Aggregation) -> Array:
    """Mean, sum or elementwise maximum of the neighbours' features: x (N, D), adjacency (N, N) -> (N, D).

    Only whether an edge is there counts, not its weight; a node does not listen to itself unless A says so, and a node
    without neighbours gets zeros. Raises ValueError for another name.
    """
    x, linked = as_float(x), as_float(adjacency) != 0
    degree = linked.sum(axis=1, keepdims=True)
    if how == "sum":
        return linked @ x
    if how == "mean":
        return linked @ x / np.maximum(degree, 1)
    if how == "max":
        highest = np.where(linked[:, :, None], x[None], -np.inf).max(axis=1)
        return np.where(degree > 0, highest, 0.0)
    raise ValueError(f'how must be "mean", "sum" or "max", got {how!r}')


def aggregate_backward(dout: ArrayLike, x: ArrayLike, adjacency: ArrayLike, how: Aggregation) -> Array:
    """Gradient at x (N, D) for dout (N, D); neighbours that tie for a maximum share its gradient evenly."""
    dout, x, linked = as_float(dout), as_float(x), as_float(adjacency) != 0
    if how == "sum":
        return linked.T @ dout
    if how == "mean":
        return linked.T @ (dout / np.maximum(linked.sum(axis=1, keepdims=True), 1))
    highest = aggregate(x, adjacency, how)
    winner = linked[:, :, None] & (x[None] == highest[:, None, :])
    return (winner * (dout / np.maximum(winner.sum(axis=1), 1))[:, None, :]).sum(axis=0)


class GATCache(NamedTuple):
    """Inputs of a GAT layer, h = x W^T (N, out), scores before the leaky ReLU (N, N) and attention (N, N)."""

    x: Array
    W: Array
    a_self: Array
    a_neighbour: Array
    h: Array
    scores: Array
    attention: Array
    slope: float


def neighbourhood(adjacency: ArrayLike) -> np.ndarray:
    """Booleans (N, N): whom each node may attend to, its neighbours and always itself."""
    adjacency = as_float(adjacency)
    return (adjacency != 0) | np.eye(len(adjacency), dtype=bool)


def gat_layer_forward(
    x: ArrayLike,
    adjacency: ArrayLike,
    W: ArrayLike,
    a_self: ArrayLike,
    a_neighbour: ArrayLike,
    slope: float = 0.2,
) -> tuple[Array, GATCache]:
    """One head of graph attention, without a final activation; the cache holds the attention (N, N).

    x (N, in), W (out, in), a_self and a_neighbour (out,): with h = x W^T the score of j for i is
    leaky_relu(a_self . h_i + a_neighbour . h_j), the attention its softmax over the neighbours of i and i itself, and
    out_i = sum_j attention_ij h_j, (N, out).
    """
    x, W = as_float(x), as_float(W)
    a_self, a_neighbour = as_float(a_self), as_float(a_neighbour)
    h, _ = linear_forward(x, W)
    scores = (h @ a_self)[:, None] + (h @ a_neighbour)[None, :]
    attention = masked_softmax(leaky_relu(scores, slope), neighbourhood(adjacency))
    return attention @ h, GATCache(x, W, a_self, a_neighbour, h, scores, attention, slope)


def gat_layer_backward(dout: ArrayLike, cache: GATCache) -> tuple[Array, Params]:
    """Gradients (dx, {"W", "a_self", "a_neighbour"}) for dout (N, out).

    Outside the neighbourhood the attention is exactly 0, so the softmax lets no gradient through there.
    """
    dout = as_float(dout)
    dscores = softmax_backward(dout @ cache.h.T, cache.attention) * d_leaky_relu(cache.scores, cache.slope)
    by_self, by_neighbour = dscores.sum(axis=1), dscores.sum(axis=0)
    dh = cache.attention.T @ dout + np.outer(by_self, cache.a_self) + np.outer(by_neighbour, cache.a_neighbour)
    dx, dW, _ = linear_backward(dh, (cache.x, cache.W))
    return dx, {"W": dW, "a_self": cache.h.T @ by_self, "a_neighbour": cache.h.T @ by_neighbour}


def within_hops(adjacency: ArrayLike, hops: int) -> np.ndarray:
    """Booleans (N, N): True at [i, j] when i hears of j through `hops` layers; the identity for 0 hops."""
    step = neighbourhood(adjacency)
    reached = np.eye(len(step), dtype=bool)
    for _ in range(hops):
        reached = reached @ step
    return reached


def dirichlet_energy(x: ArrayLike, adjacency: ArrayLike) -> float:
    """tr(x^T (I - P) x) = 1/2 sum_ij A_ij |x_i / sqrt(d_i) - x_j / sqrt(d_j)|^2, with P and d as in the GCN.

    x (N, D) on an undirected graph; 0 when all neighbours agree up to sqrt(degree). Repeated propagation drives it
    to 0: over-smoothing.
    """
    x = as_float(x)
    return float((x * (x - symmetric_normalize(adjacency) @ x)).sum())


def mean_pairwise_distance(x: ArrayLike) -> float:
    """Mean Euclidean distance over all pairs of different nodes of x (N, D); 0 when all nodes look alike."""
    x = as_float(x)
    squared = ((x[:, None] - x[None]) ** 2).sum(axis=2)
    return float(np.sqrt(squared).sum() / (len(x) * (len(x) - 1)))


def propagate(x: ArrayLike, adjacency: ArrayLike, layers: int) -> Array:
    """P^layers x for x (N, D): what `layers` GCN layers without weights or activation make of the features."""
    propagation, out = symmetric_normalize(adjacency), as_float(x).copy()
    for _ in range(layers):
        out = propagation @ out
    return out


def smoothing_curve(x: ArrayLike, adjacency: ArrayLike, layers: int) -> Array:
    """Dirichlet energy after 0, 1, ..., `layers` propagations, relative to the squared size of the features.

    (layers + 1,) numbers e_l = energy(P^l x) / |P^l x|^2. The energy alone never rises; the ratio tends to 0 on a
    connected graph although the features themselves do not vanish.
    """
    propagation, out = symmetric_normalize(adjacency), as_float(x)
    ratios = np.empty(layers + 1)
    for layer in range(layers + 1):
        ratios[layer] = (out * (out - propagation @ out)).sum() / (out * out).sum()
        out = propagation @ out
    return ratios
