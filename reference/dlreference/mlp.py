"""Multilayer perceptron of any depth: shapes, forward, backward, loss heads and full-batch gradient descent.

Parameters are a dict W1, b1, ..., WL, bL with W (out, in); the layer is a_l = f_l(a_(l-1) W_l^T + b_l) with a_0 = X.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from dlreference import init
from dlreference.activations import activation as find_activation
from dlreference.activations import sigmoid
from dlreference.arrays import Array, ArrayLike, Labels, Params, as_float
from dlreference.linear import compose_linear, linear_backward, linear_forward
from dlreference.losses import bce_with_logits, cross_entropy, mse, softmax

Head = Literal["bce", "ce", "mse"]


class LayerCache(NamedTuple):
    """What one layer's backward needs: input a_prev (..., in), pre-activation z and output a (..., out)."""

    a_prev: Array
    z: Array
    a: Array


class MLPCache(NamedTuple):
    """The caches of all layers, first layer first, and the name of each layer's activation."""

    layers: tuple[LayerCache, ...]
    activations: tuple[str, ...]


def parameter_shapes(widths: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Shapes of W1, b1, ... for the widths (n_0, ..., n_L): W_l (n_l, n_(l-1)), b_l (n_l,)."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(widths), start=1):
        shapes[f"W{layer}"] = (fan_out, fan_in)
        shapes[f"b{layer}"] = (fan_out,)
    return shapes


def parameter_count(widths: Sequence[int]) -> int:
    """Number of weights and biases: the sum over layers of n_l n_(l-1) + n_l."""
    return sum((fan_in + 1) * fan_out for fan_in, fan_out in itertools.pairwise(widths))


def activation_shapes(widths: Sequence[int], batch: int) -> list[tuple[int, int]]:
    """Shapes of a_0 = X, a_1, ..., a_L for a batch of `batch` samples; z_l has the shape of a_l."""
    return [(batch, width) for width in widths]


def cache_floats(widths: Sequence[int], batch: int) -> int:
    """Distinct floats held between forward and backward: X once, and z_l and a_l of every layer.

    batch (n_0 + 2 sum of n_l, l >= 1): a layer's a_prev is the array of the layer before, not a copy.
    """
    return batch * (widths[0] + 2 * sum(widths[1:]))


def depth(params: Mapping[str, ArrayLike]) -> int:
    """Number of layers L: how many of W1, W2, ... there are."""
    return sum(1 for name in params if name.startswith("W"))


def init_mlp(widths: Sequence[int], rng: np.random.Generator, scheme: str = "he_normal") -> Params:
    """Parameters for the widths (n_0, ..., n_L): W1, W2, ... drawn in this order by init.SCHEMES[scheme], b zero."""
    draw = init.scheme(scheme)
    params: Params = {}
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(widths), start=1):
        params[f"W{layer}"] = draw(fan_in, fan_out, rng)
        params[f"b{layer}"] = np.zeros(fan_out)
    return params


def _activation_names(activation: str | Sequence[str], layers: int) -> tuple[str, ...]:
    if isinstance(activation, str):
        return (activation,) * (layers - 1) + ("identity",)
    if len(activation) != layers:
        raise ValueError(f"{layers} layers need {layers} activations, got {len(activation)}")
    return tuple(activation)


def forward(
    X: ArrayLike, params: Mapping[str, ArrayLike], activation: str | Sequence[str] = "relu"
) -> tuple[Array, MLPCache]:
    """Output of the net and the cache of its backward.

    X (B, n_0), or one vector (n_0,) -> out (B, n_L) or (n_L,). `activation` is one name for the hidden layers, with a
    linear output (logits), or one name per layer. Raises ValueError for unknown names or a wrong number of them.
    """
    names = _activation_names(activation, depth(params))
    a = as_float(X)
    layers = []
    for layer, name in enumerate(names, start=1):
        z, _ = linear_forward(a, params[f"W{layer}"], params[f"b{layer}"])
        layers.append(LayerCache(a, z, find_activation(name).value(z)))
        a = layers[-1].a
    return a, MLPCache(tuple(layers), names)


def backward_signals(dout: ArrayLike, cache: MLPCache, params: Mapping[str, ArrayLike]) -> tuple[Params, list[Array]]:
    """Gradients of all parameters, and of every layer's value: [dX, da_1, ..., da_L = dout], in their shapes."""
    grads: Params = {}
    signals = [as_float(dout)]
    for layer in range(len(cache.layers), 0, -1):
        kept = cache.layers[layer - 1]
        dz = signals[-1] * find_activation(cache.activations[layer - 1]).derivative(kept.z)
        da, dW, db = linear_backward(dz, (kept.a_prev, as_float(params[f"W{layer}"])))
        grads = {f"W{layer}": dW, f"b{layer}": db, **grads}
        signals.append(da)
    return grads, signals[::-1]


def backward(dout: ArrayLike, cache: MLPCache, params: Mapping[str, ArrayLike]) -> tuple[Params, Array]:
    """Gradients (grads, dX) for dout shaped as the output; grads has the keys and shapes of params, dX that of X.

    From the last layer to the first: dz = da f'(z), dW = dz^T a_prev, db = sum of dz over the batch, da_prev = dz W.
    The 1/B of a mean loss is already in dout.
    """
    grads, signals = backward_signals(dout, cache, params)
    return grads, signals[0]


def head_loss(out: ArrayLike, y: ArrayLike, head: Head) -> tuple[float, Array]:
    """Loss of the net's output and its gradient there (shape of out).

    "bce": out (B, 1), y (B,) or (B, 1) in {0, 1}. "ce": out (B, K), y labels (B,) or weights (B, K). "mse": out (B, D),
    y (B, D), or (B,) when D = 1. Raises ValueError for an unknown head.
    """
    out = as_float(out)
    if head == "ce":
        return cross_entropy(out, y)
    if head not in ("bce", "mse"):
        raise ValueError(f'head must be "bce", "ce" or "mse", got {head!r}')
    target = as_float(y)
    if out.shape[-1] == 1 and target.shape == out.shape[:-1]:
        target = target[..., None]
    return bce_with_logits(out, target) if head == "bce" else mse(out, target)


def loss_and_gradients(
    params: Mapping[str, ArrayLike],
    X: ArrayLike,
    y: ArrayLike,
    activation: str | Sequence[str] = "relu",
    head: Head = "ce",
) -> tuple[float, Params]:
    """Mean loss on the batch and its gradients, a dict with the keys of params. Shapes as in forward and head_loss."""
    out, cache = forward(X, params, activation)
    loss, dout = head_loss(out, y, head)
    return loss, backward(dout, cache, params)[0]


def predict_proba(
    X: ArrayLike, params: Mapping[str, ArrayLike], activation: str | Sequence[str] = "relu", head: Head = "ce"
) -> Array:
    """Probabilities: (B,) of class 1 with head "bce", (B, K) with "ce". Raises ValueError for "mse"."""
    logits, _ = forward(X, params, activation)
    if head == "bce":
        return sigmoid(logits[..., 0])
    if head == "ce":
        return softmax(logits)
    raise ValueError(f"head {head!r} has no probabilities")


def predict(
    X: ArrayLike, params: Mapping[str, ArrayLike], activation: str | Sequence[str] = "relu", head: Head = "ce"
) -> Labels:
    """Most probable labels (B,); with "bce" label 1 where p > 1/2. Raises ValueError for "mse"."""
    probs = predict_proba(X, params, activation, head)
    labels = probs > 0.5 if head == "bce" else np.argmax(probs, axis=-1)
    return labels.astype(np.int64)


def gradient_descent(
    params: Mapping[str, ArrayLike],
    X: ArrayLike,
    y: ArrayLike,
    lr: float,
    steps: int,
    activation: str | Sequence[str] = "relu",
    head: Head = "ce",
) -> tuple[Params, Array]:
    """`steps` full-batch steps params - lr grads. Returns new params and losses (steps + 1,), entry i after i steps."""
    current: Params = {name: as_float(value).copy() for name, value in params.items()}
    losses = np.empty(steps + 1)
    for step in range(steps):
        losses[step], grads = loss_and_gradients(current, X, y, activation, head)
        current = {name: value - lr * grads[name] for name, value in current.items()}
    losses[steps] = head_loss(forward(X, current, activation)[0], y, head)[0]
    return current, losses


def layer_statistics(
    X: ArrayLike, params: Mapping[str, ArrayLike], activation: str | Sequence[str] = "relu"
) -> tuple[Array, Array]:
    """Mean and standard deviation (over batch and units) of each layer's output a_1, ..., a_L: two arrays (L,)."""
    _, cache = forward(X, params, activation)
    return np.array([layer.a.mean() for layer in cache.layers]), np.array([layer.a.std() for layer in cache.layers])


def collapse(params: Mapping[str, ArrayLike]) -> tuple[Array, Array]:
    """The one affine map (W (n_L, n_0), b (n_L,)) that the net is when every activation is the identity."""
    W, b = as_float(params["W1"]), as_float(params["b1"])
    for layer in range(2, depth(params) + 1):
        W, b = compose_linear(W, b, params[f"W{layer}"], params[f"b{layer}"])
    return W, b


def xor_network(margin: float = 5.0) -> Params:
    """A 2-2-1 ReLU net whose logit is +margin where exactly one of two {0, 1} inputs is 1, and -margin elsewhere.

    With s = x_1 + x_2 the hidden units are relu(s) and relu(s - 1), and s - 2 relu(s - 1) is 0, 1, 0 for s = 0, 1, 2.
    """
    return {
        "W1": np.ones((2, 2)),
        "b1": np.array([0.0, -1.0]),
        "W2": 2.0 * margin * np.array([[1.0, -2.0]]),
        "b2": np.array([-margin]),
    }
