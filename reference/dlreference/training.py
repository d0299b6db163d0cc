"""The training loop shared by everything that learns from mini-batches."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dlreference.arrays import Array, Params
from dlreference.optim import State, Step, adam_step, clip_global_norm, minibatches

Gradient = Callable[[Params, Params, NDArray[np.int64]], tuple[float, Params, Params]]


def train(
    gradient: Gradient,
    params: Params,
    model_state: Params,
    n: int,
    epochs: int,
    batch_size: int,
    lr: Callable[[int], float],
    rng: np.random.Generator,
    step: Step = adam_step,
    max_norm: float | None = None,
) -> tuple[Params, Params, Array]:
    """`epochs` passes over n samples: (params, model_state, losses (epochs,)), each loss the mean over its epoch.

    gradient(params, model_state, indices) -> (loss, grads, model_state) looks at the samples `indices`; model_state
    holds running statistics, or nothing. The t-th step of all, from 0, uses the rate lr(t), and gradients clipped to
    max_norm when that is given. From rng come the batches, one `minibatches` an epoch, and what gradient draws itself.
    """
    state: State = {}
    losses = np.empty(epochs)
    t = 0
    for epoch in range(epochs):
        total = 0.0
        for batch in minibatches(n, batch_size, rng):
            loss, grads, model_state = gradient(params, model_state, batch)
            if max_norm is not None:
                grads, _ = clip_global_norm(grads, max_norm)
            params, state = step(params, grads, state, lr=lr(t))
            total += loss * len(batch)
            t += 1
        losses[epoch] = total / n
    return params, model_state, losses
