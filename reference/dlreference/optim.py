"""Optimiser steps, gradient clipping, mini-batches, and the Rosenbrock valley to try them on.

A step is `(params, grads, state, ...) -> (params, state)`: dicts of arrays in, new dicts out, nothing changed in place.
`grads` has exactly the keys of `params` (ValueError otherwise). The first state is the empty dict; each docstring says
what later ones hold. The update rules and their default constants are those of torch.optim, except that the learning
rate has no default.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlreference.arrays import Array, ArrayLike, Params, as_float

State = dict[str, Any]
Arrays = Mapping[str, ArrayLike]
Step = Callable[..., tuple[Params, State]]


def _checked(params: Arrays, grads: Arrays) -> tuple[Params, Params]:
    if params.keys() != grads.keys():
        raise ValueError(f"grads must have the keys of params {sorted(params)}, got {sorted(grads)}")
    return {k: as_float(p) for k, p in params.items()}, {k: as_float(grads[k]) for k in params}


def _slot(state: State, name: str, params: Params) -> Params:
    return state[name] if name in state else {k: np.zeros_like(p) for k, p in params.items()}


def sgd_step(params: Arrays, grads: Arrays, state: State, lr: float, weight_decay: float = 0.0) -> tuple[Params, State]:
    """w - lr (g + weight_decay w). The state stays as it is."""
    p, g = _checked(params, grads)
    return {k: p[k] - lr * (g[k] + weight_decay * p[k]) for k in p}, dict(state)


def momentum_step(
    params: Arrays, grads: Arrays, state: State, lr: float, momentum: float = 0.9
) -> tuple[Params, State]:
    """v = momentum v + g; w - lr v (Polyak 1964, as in torch.optim.SGD). State: velocity, a dict like params.

    The velocity is a sum of gradients, not of steps: a change of lr acts on all of it at once. With a fixed lr this is
    the other common form, u = momentum u - lr g; w + u, with u = -lr v.
    """
    p, g = _checked(params, grads)
    v = _slot(state, "velocity", p)
    v = {k: momentum * v[k] + g[k] for k in p}
    return {k: p[k] - lr * v[k] for k in p}, {"velocity": v}


def nesterov_step(
    params: Arrays, grads: Arrays, state: State, lr: float, momentum: float = 0.9
) -> tuple[Params, State]:
    """v = momentum v + g; w - lr (g + momentum v), with the new v (Sutskever et al. 2013). State: velocity."""
    p, g = _checked(params, grads)
    v = _slot(state, "velocity", p)
    v = {k: momentum * v[k] + g[k] for k in p}
    return {k: p[k] - lr * (g[k] + momentum * v[k]) for k in p}, {"velocity": v}


def adagrad_step(params: Arrays, grads: Arrays, state: State, lr: float, eps: float = 1e-10) -> tuple[Params, State]:
    """s = s + g^2; w - lr g / (sqrt(s) + eps) (Duchi et al. 2011). State: sum_sq, a dict like params."""
    p, g = _checked(params, grads)
    s = _slot(state, "sum_sq", p)
    s = {k: s[k] + g[k] ** 2 for k in p}
    return {k: p[k] - lr * g[k] / (np.sqrt(s[k]) + eps) for k in p}, {"sum_sq": s}


def rmsprop_step(
    params: Arrays, grads: Arrays, state: State, lr: float, rho: float = 0.99, eps: float = 1e-8
) -> tuple[Params, State]:
    """s = rho s + (1 - rho) g^2; w - lr g / (sqrt(s) + eps) (Tieleman & Hinton 2012).

    State: mean_sq, a dict like params. rho is what torch.optim.RMSprop calls alpha.
    """
    p, g = _checked(params, grads)
    s = _slot(state, "mean_sq", p)
    s = {k: rho * s[k] + (1.0 - rho) * g[k] ** 2 for k in p}
    return {k: p[k] - lr * g[k] / (np.sqrt(s[k]) + eps) for k in p}, {"mean_sq": s}


def adam_step(
    params: Arrays,
    grads: Arrays,
    state: State,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> tuple[Params, State]:
    """Adam with bias correction (Kingma & Ba 2015, algorithm 1).

    t = t + 1; m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
    w - lr m_hat / (sqrt(v_hat) + eps) with m_hat = m / (1 - beta1^t), v_hat = v / (1 - beta2^t).
    weight_decay is the L2 penalty in the gradient, g = grad + weight_decay w, not AdamW's. State: t (int, the same for
    all parameters, 1 after the first step), m and v (dicts like params).
    """
    p, g = _checked(params, grads)
    g = {k: g[k] + weight_decay * p[k] for k in p}
    m, v = _slot(state, "m", p), _slot(state, "v", p)
    t = state.get("t", 0) + 1
    m = {k: beta1 * m[k] + (1.0 - beta1) * g[k] for k in p}
    v = {k: beta2 * v[k] + (1.0 - beta2) * g[k] ** 2 for k in p}
    first, second = 1.0 - beta1**t, 1.0 - beta2**t
    updated = {k: p[k] - lr * (m[k] / first) / (np.sqrt(v[k] / second) + eps) for k in p}
    return updated, {"t": t, "m": m, "v": v}


def adamw_step(
    params: Arrays,
    grads: Arrays,
    state: State,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.01,
) -> tuple[Params, State]:
    """Adam's step on w (1 - lr weight_decay): the decay bypasses m and v (Loshchilov & Hutter 2019).

    State as Adam's.
    """
    p, g = _checked(params, grads)
    decayed = {k: p[k] * (1.0 - lr * weight_decay) for k in p}
    return adam_step(decayed, g, state, lr, beta1, beta2, eps)


def global_norm(arrays: Iterable[ArrayLike]) -> float:
    """Euclidean norm of all entries of all arrays together."""
    return math.sqrt(sum(float(np.sum(as_float(array) ** 2)) for array in arrays))


def clip_global_norm(grads: Arrays, max_norm: float) -> tuple[Params, float]:
    """Gradients scaled by min(1, max_norm / norm) with the norm of all of them together, and that norm before clipping.

    The direction stays, and gradients shorter than max_norm are returned unchanged (Pascanu et al. 2013).
    """
    norm = global_norm(grads.values())
    scale = max_norm / norm if norm > max_norm else 1.0
    return {name: scale * as_float(grad) for name, grad in grads.items()}, norm


def minibatches(n: int, batch_size: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """One epoch: the indices 0..n-1, each once, in shuffled batches; the last one may be shorter.

    One draw, `rng.permutation(n)`, cut in order into pieces of batch_size. Raises ValueError for batch_size < 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    order = rng.permutation(n)
    return [order[start : start + batch_size] for start in range(0, n, batch_size)]


def weighted_mean(grads: Sequence[Arrays], sizes: Sequence[int]) -> Params:
    """Mean of batch gradients weighted by batch sizes: over one epoch at fixed parameters, the full-batch gradient."""
    total = sum(sizes)
    return {
        name: np.sum([size * as_float(grad[name]) for grad, size in zip(grads, sizes, strict=True)], axis=0) / total
        for name in grads[0]
    }


def minibatch_noise(sample_grads: ArrayLike, batch_size: int) -> float:
    """Mean of |g_B - g|^2 over all batches of batch_size rows of sample_grads (N, D) without replacement, N >= 2.

    g_B and g are the means of the batch and of all rows. With the unbiased variance S^2 of the rows, summed over D, it
    is (1 - B / N) S^2 / B: the variance of a sample mean from a finite population (Cochran 1977, theorem 2.2).
    """
    rows = as_float(sample_grads)
    variance = np.var(rows, axis=0, ddof=1).sum()
    return float((1.0 - batch_size / len(rows)) * variance / batch_size)


def rosenbrock(p: ArrayLike) -> float:
    """(1 - x)^2 + 100 (y - x^2)^2 at p = (x, y); the minimum 0 lies at (1, 1), at the end of a curved valley."""
    x, y = as_float(p)
    return float((1.0 - x) ** 2 + 100.0 * (y - x**2) ** 2)


def rosenbrock_grad(p: ArrayLike) -> Array:
    """Gradient (2,) of `rosenbrock`: (-2 (1 - x) - 400 x (y - x^2), 200 (y - x^2))."""
    x, y = as_float(p)
    slack = y - x**2
    return np.array([-2.0 * (1.0 - x) - 400.0 * x * slack, 200.0 * slack])


def minimize(step: Step, grad: Callable[[Array], ArrayLike], start: ArrayLike, n_steps: int, **options: float) -> Array:
    """Trajectory (n_steps + 1, D) of `step` with its `options` from `start` (D,), start included.

    grad maps a point (D,) to its gradient (D,), noisy or not.
    """
    params: Params = {"p": as_float(start).copy()}
    state: State = {}
    history = [params["p"]]
    for _ in range(n_steps):
        params, state = step(params, {"p": grad(params["p"])}, state, **options)
        history.append(params["p"])
    return np.array(history)
