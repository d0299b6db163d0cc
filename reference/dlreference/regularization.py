"""Dropout, L1 and L2 penalties and their steps, early stopping, Monte Carlo dropout."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from dlreference.arrays import Array, ArrayLike, Params, as_float


def dropout_forward(
    x: ArrayLike, p: float, rng: np.random.Generator, training: bool = True
) -> tuple[Array, Array | None]:
    """Inverted dropout (Srivastava et al. 2014): out = x mask, and the mask for the backward.

    x any shape; p in [0, 1] is the probability of dropping; mask has the shape of x, 0 where dropped, 1 / (1 - p) where
    kept, so that the mean of out is x. One draw: kept where `rng.random(x.shape) >= p`. In evaluation out = x, the mask
    is None and nothing is drawn. Raises ValueError for p outside [0, 1].
    """
    x = as_float(x)
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"p must lie in [0, 1], got {p}")
    if not training:
        return x.copy(), None
    kept = rng.random(x.shape) >= p
    mask = kept / (1.0 - p) if p < 1.0 else np.zeros(x.shape)
    return x * mask, mask


def dropout_backward(dout: ArrayLike, mask: ArrayLike | None) -> Array:
    """dx = dout mask, with the mask of the forward; dout itself after an evaluation forward (mask None)."""
    dout = as_float(dout)
    return dout.copy() if mask is None else dout * as_float(mask)


def penalized_keys(params: Iterable[str]) -> list[str]:
    """The names a penalty applies to: weights, whose names begin with "W"; biases and norm parameters go free."""
    return [name for name in params if name.startswith("W")]


def l2_penalty(params: Mapping[str, ArrayLike], weight_decay: float) -> tuple[float, Params]:
    """weight_decay / 2 times the sum of squared weights, and its gradient weight_decay w.

    The gradient has the keys of params and is zero for what is not penalised (see penalized_keys).
    """
    weights = {name: as_float(params[name]) for name in penalized_keys(params)}
    value = 0.5 * weight_decay * sum(float(np.sum(w**2)) for w in weights.values())
    return value, _spread(params, {name: weight_decay * w for name, w in weights.items()})


def l1_penalty(params: Mapping[str, ArrayLike], strength: float) -> tuple[float, Params]:
    """strength times the sum of absolute weights, and its subgradient strength sign(w), 0 at 0.

    Keys as in l2_penalty.
    """
    weights = {name: as_float(params[name]) for name in penalized_keys(params)}
    value = strength * sum(float(np.sum(np.abs(w))) for w in weights.values())
    return value, _spread(params, {name: strength * np.sign(w) for name, w in weights.items()})


def _spread(params: Mapping[str, ArrayLike], grads: Params) -> Params:
    return {name: grads.get(name, np.zeros(np.shape(value))) for name, value in params.items()}


def soft_threshold(w: ArrayLike, threshold: float) -> Array:
    """sign(w) max(|w| - threshold, 0), elementwise: the minimiser u of (u - w)^2 / 2 + threshold |u|."""
    w = as_float(w)
    return np.sign(w) * np.maximum(np.abs(w) - threshold, 0.0)


def proximal_l1_step(w: ArrayLike, grad: ArrayLike, lr: float, strength: float) -> Array:
    """One step on loss + strength |w| that reaches exact zeros: soft_threshold(w - lr grad, lr strength)."""
    return soft_threshold(as_float(w) - lr * as_float(grad), lr * strength)


def l2_gradient_step(w: ArrayLike, grad: ArrayLike, lr: float, weight_decay: float) -> Array:
    """SGD with the L2 penalty's gradient added: w - lr (grad + weight_decay w)."""
    w = as_float(w)
    return w - lr * (as_float(grad) + weight_decay * w)


def weight_decay_step(w: ArrayLike, grad: ArrayLike, lr: float, weight_decay: float) -> Array:
    """SGD on shrunken weights: (1 - lr weight_decay) w - lr grad. Equal to l2_gradient_step, for plain SGD only."""
    return (1.0 - lr * weight_decay) * as_float(w) - lr * as_float(grad)


def early_stopping(losses: Sequence[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    """(best, last): the epoch whose weights are restored, and the last epoch run, both from 0.

    losses: one validation loss an epoch, as they would come. An epoch improves when its loss is below best - min_delta;
    training ends after the `patience`-th epoch in a row without improvement, or at the end. NaN never improves; if
    nothing does, the best is epoch 0. Raises ValueError for no losses or patience < 1.
    """
    if not losses or patience < 1:
        raise ValueError("early stopping needs at least one loss and a patience of at least 1")
    # The epoch that patience counts from: before the first improvement, the one before all others.
    best, lowest = -1, float("inf")
    for epoch, loss in enumerate(losses):
        if loss < lowest - min_delta:
            best, lowest = epoch, loss
        elif epoch - best >= patience:
            return max(best, 0), epoch
    return max(best, 0), len(losses) - 1


def train_with_early_stopping(
    params: Params,
    epoch: Callable[[Params], Params],
    validation_loss: Callable[[Params], float],
    max_epochs: int,
    patience: int,
) -> tuple[Params, list[float]]:
    """Repeat params = epoch(params) until early_stopping says so; return the best epoch's params and all losses.

    validation_loss is evaluated after each epoch; `epoch` must return new arrays, for the best are kept as they are.
    Raises ValueError for max_epochs or patience < 1.
    """
    if max_epochs < 1:
        raise ValueError(f"max_epochs must be at least 1, got {max_epochs}")
    losses: list[float] = []
    best_params = params
    for _ in range(max_epochs):
        params = epoch(params)
        losses.append(float(validation_loss(params)))
        # Would one more loss still be looked at?
        best, last = early_stopping([*losses, float("inf")], patience)
        if best == len(losses) - 1:
            best_params = params
        if last < len(losses):
            break
    return best_params, losses


def mc_dropout(
    predict: Callable[[np.random.Generator], ArrayLike], samples: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Mean and variance over `samples` stochastic predictions (Gal & Ghahramani 2016): two arrays shaped as one.

    predict(rng) runs the net with dropout active and draws its masks from rng, call after call. The variance is the
    biased one, mean of squares minus square of the mean.
    """
    draws = np.stack([as_float(predict(rng)) for _ in range(samples)])
    return draws.mean(axis=0), draws.var(axis=0)
