"""Checks of chapter 322: the pre-LN block with its whole backward, masks, counts and the training recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from dlreference import attention as ref_attention
from dlreference import norm as ref_norm
from dlreference import transformer as ref
from dlreference.activations import d_gelu, gelu, relu
from dlreference.optim import adamw_step

from dlgrade.course.compare import below, entry, holds, items, numbers, same
from dlgrade.course.kinds import Case, GradientCase, Rng, case_of, gradient, numeric, prop, unchanged
from dlgrade.course.spec import Chapter, Check, Exercise, Mistake, Picture

Array = np.ndarray[Any, Any]
Params = dict[str, Array]
EPS = 1e-5
NAMES = ("gamma1", "beta1", "W_q", "W_k", "W_v", "W_o", "gamma2", "beta2", "W1", "b1", "W2", "b2")


def floats(*arrays: Any) -> tuple[Array, ...]:
    return tuple(np.asarray(a, dtype=np.float64) for a in arrays)


def block_params(rng: Rng, d: int, d_ff: int) -> Params:
    shapes: dict[str, tuple[int, ...]] = {
        **dict.fromkeys(("gamma1", "beta1", "gamma2", "beta2", "b2"), (d,)),
        **dict.fromkeys(("W_q", "W_k", "W_v", "W_o"), (d, d)),
        "W1": (d_ff, d),
        "b1": (d_ff,),
        "W2": (d, d_ff),
    }
    params = {name: rng.normal(size=shapes[name]) / np.sqrt(shapes[name][-1]) for name in NAMES}
    return {**params, "gamma1": 1 + params["gamma1"], "gamma2": 1 + params["gamma2"]}


def with_dout(draw: Callable[[Rng], dict[str, Any]]) -> Callable[[Rng], dict[str, Any]]:
    def inputs(rng: Rng) -> dict[str, Any]:
        drawn = draw(rng)
        return {**drawn, "dout": rng.normal(size=drawn["x"].shape)}

    return inputs


def cache_serves(
    points: int,
    functions: tuple[str, str],
    draw: Callable[[Rng], dict[str, Any]],
    passed: Callable[[Any, dict[str, Any]], Any],
    back: Callable[[Any, dict[str, Any], Any], dict[str, Any]],
    reference: Callable[[dict[str, Any]], dict[str, Any]],
) -> Check:
    """A backward depends on its arguments alone and leaves them alone.

    `passed` gives the cache of a forward pass, `back` the gradients by name.
    """

    @prop("a cache serves its own pass, twice, and dout is left as it was", points, *functions)
    def check(student: Any, rng: Rng) -> None:
        first, other = draw(rng), draw(rng)
        cache = passed(student, first)
        passed(student, other)
        again = {**first, "dout": other["dout"]}
        for reason, inputs in (("after another forward pass", first), ("a second time, with another dout", again)):
            with case_of(f"a cache used {reason}"):
                got = back(student, inputs, cache)
                message = f"`{functions[1]}` modified its argument `dout` in place; work on a copy or a new array."
                holds(0 not in student.changed, message)
                for key, right in reference(inputs).items():
                    same(got[key], right, f"the gradient of {key.split('.')[-1]}", atol=1e-9)

    return check


# --- layer norm ------------------------------------------------------------------------------------------------------


def ln(x: Array, gamma: Array, beta: Array) -> Any:
    return ref_norm.layer_norm_forward(x, gamma, beta)


def ln_with(
    axis: Any = -1, ddof: int = 0, outside: bool = False, eps: float = EPS, centre: bool = True
) -> Callable[..., Any]:
    """A layer norm with another axis, divisor, place or size of eps."""

    def layer_norm(x: Array, gamma: Array, beta: Array) -> Any:
        x, gamma, beta = floats(x, gamma, beta)
        var = x.var(axis=axis, keepdims=True, ddof=ddof)
        std = np.sqrt(var) + eps if outside else np.sqrt(var + eps)
        x_hat = (x - x.mean(axis=axis, keepdims=True) if centre else x) / std
        return gamma * x_hat + beta, None

    return layer_norm


def ln_shortcut(x: Array, gamma: Array, beta: Array) -> Any:
    x, gamma, beta = floats(x, gamma, beta)
    mean = x.mean(axis=-1, keepdims=True)
    var = (x**2).mean(axis=-1, keepdims=True) - mean**2
    return gamma * (x - mean) / np.sqrt(np.maximum(var, 0.0) + EPS) + beta, None


def ln_plain(x: Array, gamma: Array, beta: Array) -> Any:
    return ln(x, np.ones_like(gamma), np.zeros_like(beta))


def ln_case(*shape: int, scale: float = 1.0, far: float = 0.0) -> Callable[[Rng], tuple[Array, ...]]:
    return lambda rng: (
        scale * (rng.normal(size=shape) + rng.normal()) + far,
        rng.normal(size=shape[-1]),
        rng.normal(size=shape[-1]),
    )


@prop("every position has mean 0 and variance 1", 2, "layer_norm")
def normalised(student: Any, rng: Rng) -> None:
    x = 5 + 3 * rng.normal(size=(2, 3, 16))
    answer = student.call("layer_norm", x, np.ones(16), np.zeros(16), keep=(1,))
    out = numbers(items(answer, ("out", "cache"))[0], (2, 3, 16), "out")
    same(out.mean(axis=-1), np.zeros((2, 3)), "the mean of each position")
    var = x.var(axis=-1)
    same(out.var(axis=-1), var / (var + EPS), "the variance of each position")


LAYER_NORM = Exercise(
    name="layer_norm",
    title="Layer normalisation",
    functions=("layer_norm",),
    hints=(
        "What is averaged over what? Every position of every sequence is treated by itself.",
        "Mean and variance over the last axis, with keepdims so that they line up; the variance divides by d.",
        "Subtract the mean, divide by the root of (variance + EPS), multiply by gamma, add beta. Keep the "
        "normalised x, the "
        "inverse root and gamma for the way back.",
    ),
    checks=(
        numeric(
            "normalised over the features",
            5,
            "layer_norm",
            ln,
            [
                Case("a batch of sequences", ln_case(2, 3, 4)),
                Case("as many positions as features", ln_case(2, 4, 4)),
                Case("one vector", ln_case(1, 5)),
            ],
            pick=0,
            result="out",
            keep=(1,),
        ),
        numeric(
            "tiny numbers: where the eps stands",
            2,
            "layer_norm",
            ln,
            [Case("features of a thousandth", ln_case(2, 3, 4, scale=1e-3))],
            pick=0,
            result="out",
            keep=(1,),
        ),
        numeric(
            "far from zero, whole numbers, float32",
            1,
            "layer_norm",
            ln,
            [
                Case("features around ten thousand, with a spread of one", ln_case(2, 3, 6, far=1e4)),
                Case("whole numbers", lambda rng: tuple(rng.integers(-9, 10, size=s) for s in ((3, 5), 5, 5))),
                Case("x in float32", lambda rng: (rng.normal(size=(2, 3, 4)).astype(np.float32), *ln_case(4)(rng)[1:])),
            ],
            pick=0,
            result="out",
            keep=(1,),
        ),
        normalised,
        unchanged(1, {"layer_norm": ln_case(2, 3, 4)}, keep=(1,)),
    ),
    mistakes=(
        Mistake(
            name="normalised-over-positions",
            advice="The features of one position are normalised, the last axis; yours mixes the positions of a "
            "sequence.",
            replaces={"layer_norm": ln_with(axis=-2)},
        ),
        Mistake(
            name="normalised-over-everything",
            advice="Every position has a mean of its own: take it over the last axis only.",
            replaces={"layer_norm": ln_with(axis=None)},
        ),
        Mistake(
            name="variance-divided-by-d-minus-one",
            advice="The variance that normalises divides by d, not by d - 1.",
            replaces={"layer_norm": ln_with(ddof=1)},
        ),
        Mistake(
            name="eps-outside-the-root",
            advice="The eps stands inside the root, sqrt(var + eps); outside it is far too large for small variances.",
            replaces={"layer_norm": ln_with(outside=True)},
        ),
        Mistake(
            name="eps-of-another-size",
            advice="The eps is 1e-5 here, PyTorch's; it shows where the variance is small.",
            replaces={"layer_norm": ln_with(eps=1e-6)},
            variants=({"layer_norm": ln_with(eps=1e-8)}, {"layer_norm": ln_with(eps=0.0)}),
        ),
        Mistake(
            name="variance-by-the-shortcut",
            advice="The mean of the squares minus the square of the mean loses its digits far from zero: subtract the "
            "mean first, then square.",
            replaces={"layer_norm": ln_shortcut},
        ),
        Mistake(
            name="gamma-and-beta-not-used",
            advice="After normalising, each feature is multiplied by its gamma and gets its beta.",
            replaces={"layer_norm": ln_plain},
        ),
        Mistake(
            name="mean-not-subtracted",
            advice="Subtract the mean of each position before dividing.",
            replaces={"layer_norm": ln_with(centre=False)},
        ),
    ),
)

# --- layer norm backward ---------------------------------------------------------------------------------------------


def ln_kept(x: Array, gamma: Array, beta: Array) -> Any:
    out, cache = ln(x, gamma, beta)
    return out, (cache.x_hat, cache.inv_std, cache.gamma)


def ln_backward_with(
    dx: Callable[[Array, Array, Array], Array] | None = None, sums: Callable[[Array, Array], Any] | None = None
) -> dict[str, Callable[..., Any]]:
    """layer_norm with a backward whose dx, a function of (g, x_hat, inv_std), or whose (dgamma, dbeta) are others."""

    def backward(dout: Array, cache: Any) -> Any:
        x_hat, inv_std, gamma = floats(*cache)
        (dout,) = floats(dout)
        full = ref_norm.LayerNormCache(x_hat, inv_std, gamma)
        right_dx, dgamma, dbeta = ref_norm.layer_norm_backward(dout, full)
        if sums is not None:
            dgamma, dbeta = sums(dout, x_hat)
        return (right_dx if dx is None else dx(dout * gamma, x_hat, inv_std)), dgamma, dbeta

    return {"layer_norm": ln_kept, "layer_norm_backward": backward}


def row_mean(a: Array) -> Array:
    return a.mean(axis=-1, keepdims=True)


def ln_inputs(*shape: int, far: float = 0.0) -> Callable[[Rng], dict[str, Any]]:
    def draw(rng: Rng) -> dict[str, Any]:
        x, gamma, beta = ln_case(*shape)(rng)
        return {"x": x, "gamma": gamma, "beta": beta + far}

    return with_dout(draw)


def ln_value(student: Any, i: dict[str, Any]) -> Any:
    return items(student.call("layer_norm", i["x"], i["gamma"], i["beta"], keep=(1,)), ("out", "cache"))[0]


def ln_passed(student: Any, i: dict[str, Any]) -> Any:
    return items(student.call("layer_norm", i["x"], i["gamma"], i["beta"], keep=(1,)), ("out", "cache"))[1]


def ln_back(student: Any, i: dict[str, Any], cache: Any) -> dict[str, Any]:
    answer = items(student.layer_norm_backward(i["dout"], cache), ("dx", "dgamma", "dbeta"))
    return dict(zip(("x", "gamma", "beta"), answer, strict=True))


def ln_grads(student: Any, i: dict[str, Any]) -> dict[str, Any]:
    return ln_back(student, i, ln_passed(student, i))


def ln_reference(*wanted: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def reference(i: dict[str, Any]) -> dict[str, Any]:
        grads = ref_norm.layer_norm_backward(i["dout"], ln(i["x"], i["gamma"], i["beta"])[1])
        return {name: grad for name, grad in zip(("x", "gamma", "beta"), grads, strict=True) if name in wanted}

    return reference


def ln_check(name: str, points: int, wanted: tuple[str, ...], cases: list[tuple[str, Any]]) -> Any:
    return gradient(
        name,
        points,
        ("layer_norm", "layer_norm_backward"),
        [GradientCase(reason, draw) for reason, draw in cases],
        value=ln_value,
        grads=ln_grads,
        reference=ln_reference(*wanted),
    )


LN_CASES = [
    ("a batch of sequences", ln_inputs(2, 3, 4)),
    ("as many positions as features", ln_inputs(2, 4, 4)),
    ("one vector", ln_inputs(1, 5)),
]

LAYER_NORM_BACKWARD = Exercise(
    name="layer_norm_backward",
    title="Backward through layer normalisation",
    functions=("layer_norm", "layer_norm_backward"),
    hints=(
        "If a constant is added to all features of a position, what happens to the output? What must the "
        "gradient then be?",
        "Three terms for dx: what came in, minus its mean, minus x_hat times the mean of its product with x_hat.",
        "g is dout times gamma. (g - mean of g - x_hat * mean of (g * x_hat)) times the inverse root, means "
        "over the last "
        "axis with keepdims. dgamma and dbeta sum over all axes but the last.",
    ),
    checks=(
        ln_check("gradient of x, through mean and variance", 7, ("x",), LN_CASES),
        ln_check("gradients of gamma and beta", 4, ("gamma", "beta"), LN_CASES),
        ln_check(
            "gradients are computed, not approximated",
            1,
            ("x", "gamma", "beta"),
            [("outputs far from zero, where differences lose digits", ln_inputs(2, 2, 3, far=1e6))],
        ),
        cache_serves(
            1,
            ("layer_norm", "layer_norm_backward"),
            ln_inputs(2, 3, 4),
            ln_passed,
            ln_back,
            ln_reference("x", "gamma", "beta"),
        ),
    ),
    mistakes=(
        Mistake(
            name="statistics-taken-for-constants",
            advice="Mean and variance depend on x: without their share, dx is only g divided by the deviation.",
            replaces=ln_backward_with(lambda g, x_hat, inv: g * inv),
        ),
        Mistake(
            name="variance-share-missing",
            advice="The variance depends on x as well as the mean: x_hat times the mean of g * x_hat is missing.",
            replaces=ln_backward_with(lambda g, x_hat, inv: (g - row_mean(g)) * inv),
        ),
        Mistake(
            name="mean-share-missing",
            advice="The mean depends on x too: subtract the mean of g.",
            replaces=ln_backward_with(lambda g, x_hat, inv: (g - x_hat * row_mean(g * x_hat)) * inv),
        ),
        Mistake(
            name="deviation-not-divided",
            advice="x was divided by its deviation, and so is the gradient: multiply by the inverse root at the end.",
            replaces=ln_backward_with(lambda g, x_hat, inv: g - row_mean(g) - x_hat * row_mean(g * x_hat)),
        ),
        Mistake(
            name="gamma-after-instead-of-before",
            advice="dout is multiplied by gamma first; the means are taken of that product.",
            replaces={
                "layer_norm": ln_kept,
                "layer_norm_backward": lambda dout, cache: _gamma_late(dout, cache),
            },
        ),
        Mistake(
            name="gamma-gradient-averaged",
            advice="One gamma serves all positions: its gradient is a sum over them, not a mean.",
            replaces=ln_backward_with(
                sums=lambda dout, x_hat: (
                    (dout * x_hat).mean(axis=tuple(range(dout.ndim - 1))),
                    dout.mean(axis=tuple(range(dout.ndim - 1))),
                )
            ),
        ),
        Mistake(
            name="gamma-gradient-without-x-hat",
            advice="gamma is multiplied with x_hat, so its gradient is the sum of dout * x_hat.",
            replaces=ln_backward_with(
                sums=lambda dout, x_hat: (
                    dout.sum(axis=tuple(range(dout.ndim - 1))),
                    dout.sum(axis=tuple(range(dout.ndim - 1))),
                )
            ),
        ),
    ),
)


def _gamma_late(dout: Array, cache: Any) -> Any:
    x_hat, inv, gamma = floats(*cache)
    (dout,) = floats(dout)
    _, dgamma, dbeta = ref_norm.layer_norm_backward(dout, ref_norm.LayerNormCache(x_hat, inv, gamma))
    return gamma * (dout - row_mean(dout) - x_hat * row_mean(dout * x_hat)) * inv, dgamma, dbeta


# --- feed-forward ----------------------------------------------------------------------------------------------------


def ff(x: Array, params: Params) -> Any:
    return ref.feed_forward_forward(x, params)


def ff_with(activation: Callable[[Array], Array], second_bias: bool = True) -> Callable[..., Any]:
    def feed_forward(x: Array, params: Params) -> Any:
        (x,) = floats(x)
        W1, b1, W2, b2 = floats(*(params[name] for name in ("W1", "b1", "W2", "b2")))
        return activation(x @ W1.T + b1) @ W2.T + b2 * second_bias, None

    return feed_forward


def ff_across_tokens(x: Array, params: Params) -> Any:
    (x,) = floats(x)
    if x.shape[1] != x.shape[2]:
        raise ValueError("shapes do not fit")
    out, cache = ff(np.swapaxes(x, 1, 2), params)
    return np.swapaxes(out, 1, 2), cache


def ff_kept(x: Array, params: Params) -> Any:
    out, _ = ff(x, params)
    return out, (np.array(x, dtype=np.float64), dict(params))


def ff_backward_with(
    slope: Callable[[Array], Array] = d_gelu, averaged: bool = False, hidden: Callable[[Array], Array] = gelu
) -> dict[str, Callable[..., Any]]:
    """feed_forward with a backward whose slope is another, or whose gradients are means, or which pairs W2 with z."""

    def backward(dout: Array, cache: Any) -> Any:
        x, params = cache
        x, dout = floats(x, dout)
        W1, b1, W2 = floats(*(params[name] for name in ("W1", "b1", "W2")))
        z = x @ W1.T + b1
        dz = (dout @ W2) * slope(z)
        share = 1 / len(x) if averaged else 1.0
        grads = {
            "W2": share * np.tensordot(dout, hidden(z), axes=((0, 1), (0, 1))),
            "b2": share * dout.sum(axis=(0, 1)),
            "W1": share * np.tensordot(dz, x, axes=((0, 1), (0, 1))),
            "b1": share * dz.sum(axis=(0, 1)),
        }
        return dz @ W1, grads

    return {"feed_forward": ff_kept, "feed_forward_backward": backward}


def ff_params(rng: Rng, d: int, d_ff: int) -> Params:
    return {name: value for name, value in block_params(rng, d, d_ff).items() if name in ("W1", "b1", "W2", "b2")}


def ff_case(batch: int, length: int, d: int, d_ff: int) -> Callable[[Rng], tuple[Any, ...]]:
    return lambda rng: (rng.normal(size=(batch, length, d)), ff_params(rng, d, d_ff))


def ff_inputs(batch: int, length: int, d: int, d_ff: int, far: float = 0.0) -> Callable[[Rng], dict[str, Any]]:
    def draw(rng: Rng) -> dict[str, Any]:
        x, params = ff_case(batch, length, d, d_ff)(rng)
        return {"x": x, "params": {**params, "b2": params["b2"] + far}}

    return with_dout(draw)


def ff_value(student: Any, i: dict[str, Any]) -> Any:
    return items(student.call("feed_forward", i["x"], i["params"], keep=(1,)), ("out", "cache"))[0]


def ff_passed(student: Any, i: dict[str, Any]) -> Any:
    return items(student.call("feed_forward", i["x"], i["params"], keep=(1,)), ("out", "cache"))[1]


def ff_back(student: Any, i: dict[str, Any], cache: Any) -> dict[str, Any]:
    dx, grads = items(student.feed_forward_backward(i["dout"], cache), ("dx", "grads"))
    return {"x": dx, **{f"params.{name}": entry(grads, name, "`grads`") for name in i["params"]}}


def ff_grads(student: Any, i: dict[str, Any]) -> dict[str, Any]:
    return ff_back(student, i, ff_passed(student, i))


def ff_reference(i: dict[str, Any]) -> dict[str, Any]:
    dx, grads = ref.feed_forward_backward(i["dout"], ff(i["x"], i["params"])[1])
    return {"x": dx, **{f"params.{name}": grad for name, grad in grads.items()}}


FEED_FORWARD = Exercise(
    name="feed_forward",
    title="The network at every position, there and back",
    functions=("feed_forward", "feed_forward_backward"),
    hints=(
        "It is a two-layer network, and the positions are only more samples for it.",
        "x @ W1.T + b1, gelu, @ W2.T + b2. On the way back: through W2, times the slope at z, through W1.",
        "dz is (dout @ W2) times gelu_slope(z). The gradient of W2 pairs dout with the activated hidden layer, "
        "that of W1 "
        "pairs dz with x, each summed over batch and positions and shaped (out, in).",
    ),
    checks=(
        numeric(
            "two layers with a GELU between them",
            4,
            "feed_forward",
            ff,
            [
                Case("all widths different", ff_case(2, 3, 4, 6)),
                Case("as many positions as features", ff_case(2, 4, 4, 4)),
                Case("a batch of one, one position", ff_case(1, 1, 3, 5)),
            ],
            pick=0,
            result="out",
            keep=(1,),
        ),
        gradient(
            "all gradients",
            9,
            ("feed_forward", "feed_forward_backward"),
            [
                GradientCase("all widths different", ff_inputs(2, 3, 4, 6)),
                GradientCase("as many positions as features", ff_inputs(2, 4, 4, 4)),
                GradientCase("outputs far from zero", ff_inputs(1, 2, 3, 2, 1e6)),
            ],
            value=ff_value,
            grads=ff_grads,
            reference=ff_reference,
        ),
        cache_serves(
            1, ("feed_forward", "feed_forward_backward"), ff_inputs(2, 3, 4, 5), ff_passed, ff_back, ff_reference
        ),
    ),
    mistakes=(
        Mistake(
            name="relu-instead-of-gelu",
            advice="The activation between the layers is the GELU that is given.",
            replaces={"feed_forward": ff_with(relu)},
        ),
        Mistake(
            name="activation-missing",
            advice="Without an activation the two layers are one; put the GELU between them.",
            replaces={"feed_forward": ff_with(lambda z: z)},
        ),
        Mistake(
            name="feed-forward-across-tokens",
            advice="The network sees the features of one position, not one feature of all positions.",
            replaces={"feed_forward": ff_across_tokens},
        ),
        Mistake(
            name="second-bias-missing",
            advice="b2 is added at the end, at every position.",
            replaces={"feed_forward": ff_with(gelu, second_bias=False)},
        ),
        Mistake(
            name="slope-of-the-activated",
            advice="The slope of the GELU is taken at z, which went into it, not at what came out.",
            replaces=ff_backward_with(slope=lambda z: d_gelu(gelu(z))),
        ),
        Mistake(
            name="slope-forgotten",
            advice="Between the two layers the gradient goes through the GELU: multiply by its slope at z.",
            replaces=ff_backward_with(slope=np.ones_like),
        ),
        Mistake(
            name="feed-forward-gradients-averaged",
            advice="Whoever computed dout has divided by the batch already; here the gradients are sums.",
            replaces=ff_backward_with(averaged=True),
        ),
        Mistake(
            name="second-layer-paired-with-z",
            advice="W2 was given the activated hidden layer, so its gradient pairs dout with that, not with z.",
            replaces=ff_backward_with(hidden=lambda z: z),
        ),
    ),
)

# --- the block -------------------------------------------------------------------------------------------------------


def right_block(x: Array, params: Params, n_heads: int, mask: Any = None) -> Any:
    return ref.transformer_block_forward(x, params, n_heads, mask)


def attend(x: Array, params: Params, n_heads: int, mask: Any) -> Array:
    weights = {name: params[name] for name in ("W_q", "W_k", "W_v", "W_o")}
    return ref_attention.self_attention_forward(x, weights, n_heads, mask)[0]


def norm1(x: Array, p: Params) -> Array:
    return ln(x, p["gamma1"], p["beta1"])[0]


def norm2(x: Array, p: Params) -> Array:
    return ln(x, p["gamma2"], p["beta2"])[0]


def blk_post_ln(x: Array, params: Params, n_heads: int, mask: Any = None) -> Any:
    (x,) = floats(x)
    y = norm1(x + attend(x, params, n_heads, mask), params)
    return norm2(y + ff(y, params)[0], params), None


def blk_residual_normed(x: Array, params: Params, n_heads: int, mask: Any = None) -> Any:
    n = norm1(x, params)
    y = n + attend(n, params, n_heads, mask)
    n = norm2(y, params)
    return n + ff(n, params)[0], None


def blk_shared_norm(x: Array, params: Params, n_heads: int, mask: Any = None) -> Any:
    return right_block(x, {**params, "gamma2": params["gamma1"], "beta2": params["beta1"]}, n_heads, mask)


def blk_no_residual(x: Array, params: Params, n_heads: int, mask: Any = None) -> Any:
    y = attend(norm1(x, params), params, n_heads, mask)
    return ff(norm2(y, params), params)[0], None


def blk_second_norm_missing(x: Array, params: Params, n_heads: int, mask: Any = None) -> Any:
    (x,) = floats(x)
    y = x + attend(norm1(x, params), params, n_heads, mask)
    return y + ff(y, params)[0], None


def blk_second_branch_from_x(x: Array, params: Params, n_heads: int, mask: Any = None) -> Any:
    (x,) = floats(x)
    y = x + attend(norm1(x, params), params, n_heads, mask)
    return y + ff(norm2(x, params), params)[0], None


def blk_one_residual(x: Array, params: Params, n_heads: int, mask: Any = None) -> Any:
    (x,) = floats(x)
    y = x + attend(norm1(x, params), params, n_heads, mask)
    return x + ff(norm2(y, params), params)[0], None


def blk_mask_dropped(x: Array, params: Params, n_heads: int, mask: Any = None) -> Any:
    return right_block(x, params, n_heads)


def block_case(batch: int, length: int, d: int, d_ff: int, n_heads: int, mask: Any = None) -> Callable[[Rng], Any]:
    def draw(rng: Rng) -> tuple[Any, ...]:
        args = (rng.normal(size=(batch, length, d)), block_params(rng, d, d_ff), n_heads)
        return args if mask is None else (*args, mask(length))

    return draw


def run_block(student: Any, *args: Any) -> tuple[Any, Any]:
    out, cache = items(student.call("block", *args, keep=(1,)), ("out", "cache"))
    return out, cache


@prop("silent branches leave x exactly as it is", 3, "block")
def identity(student: Any, rng: Rng) -> None:
    x, params, heads = block_case(2, 3, 4, 6, 2)(rng)
    silent = {**params, "W_o": np.zeros((4, 4)), "W2": np.zeros((4, 6)), "b2": np.zeros(4)}
    # Asked as well, so that mistakes which coincide when the branches are silent are told apart.
    run_block(student, x, params, heads)
    same(run_block(student, x, silent, heads)[0], x, "with W_o, W2 and b2 zero, out", atol=1e-14)


@prop("under a causal mask a prefix does not feel what comes later", 3, "block")
def causal(student: Any, rng: Rng) -> None:
    x, params, heads = block_case(1, 5, 4, 6, 2)(rng)
    mask = ref_attention.causal_mask(5)
    changed = x.copy()
    changed[:, 3:] = rng.normal(size=(1, 2, 4))
    before = numbers(run_block(student, x, params, heads, mask)[0], (1, 5, 4), "out")
    after = numbers(run_block(student, changed, params, heads, mask)[0], (1, 5, 4), "out")
    same(after[:, :3], before[:, :3], "out at the first three positions, when only later ones change,")
    same(before, right_block(x, params, heads, mask)[0], "out")


BLOCK = Exercise(
    name="block",
    title="The pre-LN block",
    functions=("block",),
    hints=(
        "Draw the path from x to out as a straight line, and the two branches as detours that come back with a plus.",
        "Each branch normalises what it takes off the line; what goes on along the line is never normalised.",
        "y is x plus multi_head of layer_norm of x; out is y plus feed_forward of layer_norm of y, with gamma2 "
        "and beta2 "
        "the second time. Keep the four caches.",
    ),
    checks=(
        numeric(
            "two branches around the residual path",
            7,
            "block",
            right_block,
            [
                Case("two heads, all widths different", block_case(2, 3, 4, 6, 2)),
                Case("as many positions as features", block_case(2, 4, 4, 4, 4)),
                Case("a batch of one, one position", block_case(1, 1, 4, 5, 1)),
            ],
            pick=0,
            result="out",
            keep=(1,),
        ),
        identity,
        causal,
        numeric(
            "a padding mask",
            2,
            "block",
            right_block,
            [
                Case(
                    "sequences of three, two and four real tokens",
                    block_case(3, 4, 4, 6, 2, lambda n: ref_attention.padding_mask([3, 2, 4], n)),
                )
            ],
            pick=0,
            result="out",
            keep=(1,),
        ),
        unchanged(1, {"block": block_case(1, 3, 4, 5, 2)}, keep=(1,)),
    ),
    mistakes=(
        Mistake(
            name="post-ln",
            advice="In a pre-LN block the normalisation stands inside the branch; yours normalises the "
            "residual path itself.",
            replaces={"block": blk_post_ln},
        ),
        Mistake(
            name="residual-from-normalised",
            advice="What is added to the branch is x itself, not the normalised x.",
            replaces={"block": blk_residual_normed},
        ),
        Mistake(
            name="one-layer-norm-for-both",
            advice="Each branch has its own LayerNorm: the second uses gamma2 and beta2.",
            replaces={"block": blk_shared_norm},
        ),
        Mistake(
            name="no-residual-path",
            advice="Both branches are added to what they branched off from; yours replaces it.",
            replaces={"block": blk_no_residual},
        ),
        Mistake(
            name="second-norm-missing",
            advice="The feed-forward network too is given what LayerNorm makes of y.",
            replaces={"block": blk_second_norm_missing},
        ),
        Mistake(
            name="second-branch-from-x",
            advice="The second branch starts from y, which has heard the attention; yours starts from x.",
            replaces={"block": blk_second_branch_from_x},
        ),
        Mistake(
            name="attention-lost",
            advice="The second branch is added to y; added to x, what the attention found is lost from the path.",
            replaces={"block": blk_one_residual},
        ),
        Mistake(
            name="block-mask-not-used",
            advice="Hand the mask on to multi_head.",
            replaces={"block": blk_mask_dropped},
        ),
    ),
)

# --- block backward --------------------------------------------------------------------------------------------------


def blk_kept(x: Array, params: Params, n_heads: int, mask: Any = None) -> Any:
    return right_block(x, params, n_heads, mask)[0], (x, params, n_heads, mask)


def block_backward_with(change: Callable[[Array, Any, Array, Params], Any]) -> dict[str, Callable[..., Any]]:
    """block with a backward whose right (dx, grads) are changed by `change(dout, reference cache, dx, grads)`."""

    def backward(dout: Array, cache: Any) -> Any:
        (dout,) = floats(dout)
        inner = right_block(*cache)[1]
        return change(dout, inner, *ref.transformer_block_backward(dout, inner))

    return {"block": blk_kept, "block_backward": backward}


def partial(first_skip: bool, second_skip: bool, dout: Array, cache: Any, grads: Params) -> Any:
    """The backward with one or both skip connections left out."""
    dnormed, part = ref.feed_forward_backward(dout, cache.feed_forward)
    through, dgamma2, dbeta2 = ref_norm.layer_norm_backward(dnormed, cache.norm2)
    dy = through + (dout if second_skip else 0.0)
    dnormed, attention = ref_attention.self_attention_backward(dy, cache.attention)
    through, dgamma1, dbeta1 = ref_norm.layer_norm_backward(dnormed, cache.norm1)
    norms = {"gamma1": dgamma1, "beta1": dbeta1, "gamma2": dgamma2, "beta2": dbeta2}
    return through + (dy if first_skip else 0.0), {**part, **attention, **norms}


def skip_first(dout: Array, cache: Any, dx: Array, grads: Params) -> Any:
    return partial(False, True, dout, cache, grads)


def skip_second(dout: Array, cache: Any, dx: Array, grads: Params) -> Any:
    return partial(True, False, dout, cache, grads)


def dout_into_attention(dout: Array, cache: Any, dx: Array, grads: Params) -> Any:
    dnormed, attention = ref_attention.self_attention_backward(dout, cache.attention)
    through, dgamma1, dbeta1 = ref_norm.layer_norm_backward(dnormed, cache.norm1)
    dfed, _ = ref.feed_forward_backward(dout, cache.feed_forward)
    second = ref_norm.layer_norm_backward(dfed, cache.norm2)[0]
    return dout + through + second, {**grads, **attention, "gamma1": dgamma1, "beta1": dbeta1}


def norm_skipped(dout: Array, cache: Any, dx: Array, grads: Params) -> Any:
    dnormed, part = ref.feed_forward_backward(dout, cache.feed_forward)
    dy = dout + dnormed
    dnormed, attention = ref_attention.self_attention_backward(dy, cache.attention)
    return dy + dnormed, {**grads, **part, **attention}


def norms_swapped(dout: Array, cache: Any, dx: Array, grads: Params) -> Any:
    swapped = {"gamma1": "gamma2", "gamma2": "gamma1", "beta1": "beta2", "beta2": "beta1"}
    return dx, {name: grads[swapped.get(name, name)] for name in grads}


# So small an input against so large weights is of ordinary size inside, but bends within any step of a difference.
STEEP = 3e3
STEEPER = ("W_q", "W_k", "W_v", "W1")
FLATTER = ("gamma1", "beta1", "gamma2", "beta2")


def block_inputs(
    batch: int, length: int, d: int, d_ff: int, heads: int, mask: Any = None, steep: float = 1.0
) -> Callable[[Rng], dict[str, Any]]:
    def draw(rng: Rng) -> dict[str, Any]:
        x, params, n_heads, *masks = block_case(batch, length, d, d_ff, heads, mask)(rng)
        params = {name: value * steep if name in STEEPER else value for name, value in params.items()}
        params = {name: value / steep if name in FLATTER else value for name, value in params.items()}
        return {"x": x, "params": params, "n_heads": n_heads, "mask": masks[0] if masks else None}

    return with_dout(draw)


def block_value(student: Any, i: dict[str, Any]) -> Any:
    return run_block(student, i["x"], i["params"], i["n_heads"], i["mask"])[0]


def block_passed(student: Any, i: dict[str, Any]) -> Any:
    return run_block(student, i["x"], i["params"], i["n_heads"], i["mask"])[1]


def block_back(student: Any, i: dict[str, Any], cache: Any) -> dict[str, Any]:
    dx, grads = items(student.block_backward(i["dout"], cache), ("dx", "grads"))
    return {"x": dx, **{f"params.{name}": entry(grads, name, "`grads`") for name in NAMES}}


def block_grads(student: Any, i: dict[str, Any]) -> dict[str, Any]:
    return block_back(student, i, block_passed(student, i))


def block_reference(*wanted: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def reference(i: dict[str, Any]) -> dict[str, Any]:
        cache = right_block(i["x"], i["params"], i["n_heads"], i["mask"])[1]
        dx, grads = ref.transformer_block_backward(i["dout"], cache)
        found = {"x": dx, **{f"params.{name}": grads[name] for name in NAMES}}
        return {key: grad for key, grad in found.items() if key.split(".")[-1] in wanted}

    return reference


def block_check(name: str, points: int, wanted: tuple[str, ...], cases: list[tuple[str, Any]]) -> Any:
    return gradient(
        name,
        points,
        ("block", "block_backward"),
        [GradientCase(reason, draw) for reason, draw in cases],
        value=block_value,
        grads=block_grads,
        reference=block_reference(*wanted),
        # Six matrix products and two normalisations deep, entries of a gradient cancel to a thousandth of their terms.
        atol=1e-9,
    )


BLOCK_CASES = [
    ("two heads, all widths different", block_inputs(2, 3, 4, 6, 2)),
    ("as many positions as features", block_inputs(2, 4, 4, 4, 4)),
    ("a batch of one", block_inputs(1, 2, 4, 5, 1)),
    ("a causal mask", block_inputs(2, 4, 4, 6, 2, mask=ref_attention.causal_mask)),
    ("tiny gamma and beta, huge weights behind them", block_inputs(1, 2, 4, 3, 2, steep=STEEP)),
]

BLOCK_BACKWARD = Exercise(
    name="block_backward",
    title="Backward through the block",
    functions=("block", "block_backward"),
    hints=(
        "At a plus sign the gradient goes both ways; where two ways meet again, it adds up.",
        "Go from out to y: dout plus what comes back through feed_forward and the second LayerNorm. Then from "
        "y to x the "
        "same, with the attention and the first.",
        "dy = dout + layer_norm_backward(feed_forward_backward(dout)...)[0], and dx is made from dy in the "
        "same way. Collect "
        "the gradients of all twelve parameters on the way.",
    ),
    checks=(
        block_check("gradient of the inputs", 6, ("x",), BLOCK_CASES),
        block_check("gradients of the feed-forward network", 3, ("W1", "b1", "W2", "b2"), BLOCK_CASES),
        block_check("gradients of the attention", 6, ("W_q", "W_k", "W_v", "W_o"), BLOCK_CASES),
        block_check("gradients of both LayerNorms", 4, ("gamma1", "beta1", "gamma2", "beta2"), BLOCK_CASES),
        cache_serves(
            1,
            ("block", "block_backward"),
            block_inputs(2, 3, 4, 5, 2),
            block_passed,
            block_back,
            block_reference("x", *NAMES),
        ),
    ),
    mistakes=(
        Mistake(
            name="first-skip-lost",
            advice="x goes on past the attention: dy is part of the gradient of x, besides what comes through "
            "the branch.",
            replaces=block_backward_with(skip_first),
        ),
        Mistake(
            name="second-skip-lost",
            advice="y goes on past the feed-forward network: dout itself is part of the gradient of y.",
            replaces=block_backward_with(skip_second),
        ),
        Mistake(
            name="attention-given-dout",
            advice="What flows back into the attention is the gradient of y: dout and what came through the "
            "second branch.",
            replaces=block_backward_with(dout_into_attention),
        ),
        Mistake(
            name="layer-norms-skipped",
            advice="Each branch begins with a LayerNorm, so its gradient ends with layer_norm_backward.",
            replaces=block_backward_with(norm_skipped),
        ),
        Mistake(
            name="layer-norms-swapped",
            advice="gamma1 and beta1 belong to the LayerNorm before the attention, gamma2 and beta2 to the other.",
            replaces=block_backward_with(norms_swapped),
        ),
    ),
)

# --- masks -----------------------------------------------------------------------------------------------------------


def right_mask(lengths: Array, n: int, causal: bool) -> Array:
    mask = np.broadcast_to(ref_attention.padding_mask(lengths, n), (len(np.asarray(lengths)), n, n))
    return mask & ref_attention.causal_mask(n) if causal else mask.copy()


def mask_on_queries(lengths: Array, n: int, causal: bool) -> Array:
    mask = np.swapaxes(right_mask(lengths, n, False), 1, 2)
    return mask & ref_attention.causal_mask(n) if causal else mask


def mask_off_by_one(lengths: Array, n: int, causal: bool) -> Array:
    return right_mask(np.asarray(lengths) + 1, n, causal)


def mask_either(lengths: Array, n: int, causal: bool) -> Array:
    mask = right_mask(lengths, n, False)
    return mask | ref_attention.causal_mask(n) if causal else mask


ATTENTION_MASK = Exercise(
    name="attention_mask",
    title="Padding and causality in one mask",
    functions=("attention_mask",),
    hints=(
        "Padding says which keys are real; causality says which keys are not in the future. Both must hold.",
        "Compare positions with lengths to get (B, T), and give it an axis for the queries. The triangle is (T, T).",
        "real[:, None, :] is (B, 1, T): broadcast it to (B, T, T), and combine with the triangle by &.",
    ),
    checks=(
        numeric(
            "padding hides keys",
            4,
            "attention_mask",
            right_mask,
            [
                Case("three sequences, padded to four", lambda rng: (np.array([3, 1, 4]), 4, False)),
                Case("one sequence without padding", lambda rng: (np.array([3]), 3, False)),
            ],
        ),
        numeric(
            "padding and causality together",
            4,
            "attention_mask",
            right_mask,
            [
                Case("three sequences, padded to four", lambda rng: (np.array([3, 1, 4]), 4, True)),
                Case("as many sequences as positions", lambda rng: (np.array([1, 2]), 2, True)),
            ],
        ),
    ),
    mistakes=(
        Mistake(
            name="padding-hides-queries",
            advice="Padding must not be looked at: it is the keys, the last axis, that are hidden.",
            replaces={"attention_mask": mask_on_queries},
        ),
        Mistake(
            name="one-padding-token-visible",
            advice="A sequence of length L has its tokens at 0 to L - 1: position L is padding already.",
            replaces={"attention_mask": mask_off_by_one},
        ),
        Mistake(
            name="masks-joined-by-or",
            advice="A key must be real and not in the future: combine with and, not with or.",
            replaces={"attention_mask": mask_either},
        ),
        Mistake(
            name="causality-ignored",
            advice="With causal=True the future is hidden too.",
            replaces={"attention_mask": lambda lengths, n, causal: right_mask(lengths, n, False)},
        ),
        Mistake(
            name="always-causal",
            advice="With causal=False a query may look at later tokens, as long as they are real.",
            replaces={"attention_mask": lambda lengths, n, causal: right_mask(lengths, n, True)},
        ),
        Mistake(
            name="mask-true-means-hidden",
            advice="True means that a query may look; yours marks what it may not see.",
            replaces={"attention_mask": lambda lengths, n, causal: ~right_mask(lengths, n, causal)},
        ),
    ),
)

# --- counting --------------------------------------------------------------------------------------------------------


def right_count(d_model: int, d_ff: int) -> int:
    return ref.transformer_block_parameter_count(d_model, d_ff, attention_bias=False)


COUNT = Exercise(
    name="parameter_count",
    title="How much a block learns",
    functions=("parameter_count", "estimated_parameters"),
    hints=(
        "Write the twelve arrays of a block with their shapes in a column, and add up their sizes.",
        "A matrix (a, b) has a * b entries. The biases of the network have d_ff and d, each LayerNorm two "
        "vectors of d.",
        "Four times d squared, twice d times d_ff, d_ff and d, and four times d. For the estimate put d_ff = 4 "
        "d and keep "
        "what grows with the square.",
    ),
    checks=(
        numeric(
            "exactly the entries of the twelve arrays",
            6,
            "parameter_count",
            right_count,
            [
                Case("d 4, d_ff 6", lambda rng: (4, 6)),
                Case("d 64, d_ff 256", lambda rng: (64, 256)),
                Case("d 1, d_ff 1", lambda rng: (1, 1)),
            ],
        ),
        numeric(
            "12 L d^2",
            2,
            "estimated_parameters",
            ref.approximate_parameter_count,
            [Case("GPT-3's blocks", lambda rng: (96, 12288)), Case("six layers of 512", lambda rng: (6, 512))],
        ),
    ),
    mistakes=(
        Mistake(
            name="biases-not-counted",
            advice="b1 has d_ff entries and b2 has d: they are learned too.",
            replaces={"parameter_count": lambda d, f: right_count(d, f) - f - d},
        ),
        Mistake(
            name="layer-norms-not-counted",
            advice="Each of the two LayerNorms learns a gamma and a beta of d entries.",
            replaces={"parameter_count": lambda d, f: right_count(d, f) - 4 * d},
            variants=({"parameter_count": lambda d, f: right_count(d, f) - 2 * d},),
        ),
        Mistake(
            name="attention-biases-counted",
            advice="The four attention matrices have no biases here.",
            replaces={"parameter_count": lambda d, f: right_count(d, f) + 4 * d},
        ),
        Mistake(
            name="three-attention-matrices",
            advice="There are four attention matrices: the output projection W_o is one of them.",
            replaces={"parameter_count": lambda d, f: right_count(d, f) - d * d},
        ),
        Mistake(
            name="b1-and-b2-swapped-in-count",
            advice="Counted are 2 d + 2 d_ff small ones; the arrays hold d_ff + 5 d: b1, b2 and four vectors "
            "of LayerNorm.",
            replaces={"parameter_count": lambda d, f: 4 * d * d + 2 * d * f + 2 * d + 2 * f},
        ),
        Mistake(
            name="estimate-without-layers",
            advice="Every layer has its own parameters: multiply by L.",
            replaces={"estimated_parameters": lambda n, d: 12 * d * d},
        ),
        Mistake(
            name="estimate-of-attention-only",
            advice="Attention is 4 d^2 of the 12 d^2; the feed-forward network with d_ff = 4 d brings the other 8.",
            replaces={"estimated_parameters": lambda n, d: 4 * n * d * d},
        ),
    ),
)

# --- training --------------------------------------------------------------------------------------------------------


def train_with(
    rate: Callable[[float, int, int], float] = lambda peak, warmup, t: peak * min(1.0, t / warmup),
    scale: Callable[[Array], float] = lambda error: 2.0 / error.size,
    after: bool = False,
    keeps_state: bool = True,
) -> Callable[..., Any]:
    """A training loop whose learning rate, gradient scale, recorded loss or state is another."""

    def train(
        params: Params, x: Array, target: Array, n_heads: int, mask: Any, peak: float, warmup: int, steps: int
    ) -> Any:
        x, target = floats(x, target)
        params = {name: np.array(value, dtype=np.float64) for name, value in params.items()}
        state: Any = {}
        losses = np.zeros(steps)
        for t in range(1, steps + 1):
            out, cache = right_block(x, params, n_heads, mask)
            error = out - target
            losses[t - 1] = np.mean(error**2)
            _, grads = ref.transformer_block_backward(scale(error) * error, cache)
            lr = rate(peak, warmup, t)
            params, new = adamw_step(params, grads, state, lr=lr, weight_decay=0.01)
            state = new if keeps_state else {}
            if after:
                losses[t - 1] = np.mean((right_block(x, params, n_heads, mask)[0] - target) ** 2)
        return params, losses

    return train


def training_case(steps: int, warmup: int) -> Callable[[Rng], tuple[Any, ...]]:
    def draw(rng: Rng) -> tuple[Any, ...]:
        x, params, heads, mask = block_case(2, 4, 4, 6, 2, mask=ref_attention.causal_mask)(rng)
        return params, x, rng.normal(size=x.shape), heads, mask, 0.01, warmup, steps

    return draw


def nearly_met(steps: int) -> Callable[[Rng], tuple[Any, ...]]:
    """A target so near that the gradients are not large beside AdamW's eps: then their size shows in the step."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        params, x, _, heads, mask, *rest = training_case(steps, 1)(rng)
        out = right_block(x, params, heads, mask)[0]
        return params, x, out + 1e-6 * rng.normal(size=x.shape), heads, mask, *rest

    return draw


@prop("the loss falls", 3, "train", cpu_s=10.0)
def learns(student: Any, rng: Rng) -> None:
    x = rng.normal(size=(8, 4, 8))
    x[..., 6:] = np.eye(2)[np.arange(4) % 2]
    target = x.copy()
    target[:, 1:, :6] = x[:, :-1, :6]
    params = {name: 0.3 * value for name, value in block_params(rng, 8, 16).items()}
    params |= {"gamma1": np.ones(8), "gamma2": np.ones(8)}
    mask = ref_attention.causal_mask(4)
    answer = student.train(params, x, target, 2, mask, 0.01, 10, 150)
    losses = numbers(items(answer, ("params", "losses"))[1], (150,), "`losses`")
    below(
        float(losses[-10:].mean() / losses[0]),
        0.6,
        "after 150 steps of copying the token before, the loss should have fallen well below where it began.",
        f"It began at {losses[0]:.3g} and ended at {losses[-1]:.3g}.",
    )


@prop("the caller's parameters are left as they were", 1, "train", alone=False)
def train_unchanged(student: Any, rng: Rng) -> None:
    args = training_case(2, 2)(rng)
    items(student.train(*args), ("params", "losses"))
    holds(not student.changed, "`train` modified what it was given; work on new dicts and arrays.")


TRAIN = Exercise(
    name="train",
    title="The recipe: AdamW with a warm-up",
    functions=("train",),
    hints=(
        "Four things in each step: forward, loss and its gradient at out, backward, update.",
        "The gradient of the mean squared error at out is 2 (out - target) divided by the number of entries. The step "
        "counter starts at 1.",
        "peak * min(1, t / warmup) is the rate of step t. What adamw_step returns, params and state, goes into "
        "the next "
        "step; record the loss before the update.",
    ),
    checks=(
        numeric(
            "four steps, compared with the reference",
            6,
            "train",
            train_with(),
            [
                Case("a target that is nearly met, where the size of the gradient shows", nearly_met(1)),
                Case("a warm-up of three steps", training_case(4, 3)),
                Case("no warm-up to speak of", training_case(2, 1)),
            ],
            rtol=1e-7,
            # Adam divides by the root of squared gradients: where those are tiny, rounding is magnified.
            atol=1e-7,
        ),
        learns,
        train_unchanged,
    ),
    mistakes=(
        Mistake(
            name="first-step-wasted",
            advice="Steps count from 1: with t = 0 the first rate is zero and the step does nothing.",
            replaces={"train": train_with(rate=lambda peak, warmup, t: peak * min(1.0, (t - 1) / warmup))},
        ),
        Mistake(
            name="no-warm-up",
            advice="The rate rises to peak over the first `warmup` steps; yours is at peak at once.",
            replaces={"train": train_with(rate=lambda peak, warmup, t: peak)},
        ),
        Mistake(
            name="rate-rises-for-ever",
            advice="After the warm-up the rate stays at peak: take the minimum with 1.",
            replaces={"train": train_with(rate=lambda peak, warmup, t: peak * t / warmup)},
        ),
        Mistake(
            name="climbs-the-loss",
            advice="The gradient is 2 (out - target) / N; with the sign turned round the loss is climbed.",
            replaces={"train": train_with(scale=lambda error: -2.0 / error.size)},
        ),
        Mistake(
            name="output-gradient-of-another-size",
            advice="The gradient of the mean of (out - target)^2 is 2 (out - target) / N, with N the number of ALL its "
            "entries. AdamW hides a wrong factor well, but not where gradients are tiny.",
            replaces={"train": train_with(scale=lambda error: 1.0 / error.size)},
            variants=(
                {"train": train_with(scale=lambda error: 2.0)},
                {"train": train_with(scale=lambda error: 1.0)},
                {"train": train_with(scale=lambda error: 2.0 / len(error))},
            ),
        ),
        Mistake(
            name="loss-after-the-step",
            advice="Record the loss before each step, as it was computed for the gradient.",
            replaces={"train": train_with(after=True)},
        ),
        Mistake(
            name="optimiser-forgets",
            advice="Hand adamw_step the state that it returned; from an empty state every step is a first step.",
            replaces={"train": train_with(keeps_state=False)},
        ),
    ),
)


def draw_picture(student: Any, figure: Any) -> None:
    """A block that learns to copy the token before, and what its residual path is for."""
    left, right = figure.subplots(1, 2)
    rng = np.random.default_rng(5)
    x = rng.normal(size=(16, 6, 8))
    x[..., 6:] = np.stack([np.sin(np.arange(6)), np.cos(np.arange(6))], axis=-1)
    target = x.copy()
    target[:, 1:, :6] = x[:, :-1, :6]
    params = {name: 0.3 * value for name, value in block_params(rng, 8, 16).items()}
    params |= {"gamma1": np.ones(8), "gamma2": np.ones(8)}
    mask = np.asarray(student.attention_mask(np.full(16, 6), 6, True))
    for warmup, style in ((1, ":"), (30, "-")):
        _, losses = items(student.train(params, x, target, 2, mask, 0.02, warmup, 200), ("params", "losses"))
        left.plot(np.asarray(losses), style, label=f"warm-up of {warmup} step{'s' * (warmup > 1)}")
    left.set_yscale("log")
    left.set_xlabel("step")
    left.set_ylabel("mean squared error")
    left.set_title("One block learns to copy the token before")
    left.legend(frameon=False)
    depths = range(1, 13)
    start = rng.normal(size=(2, 6, 8))
    out = start
    sizes, similar = [], []
    for _ in depths:
        out = np.asarray(run_block(student, out, block_params(rng, 8, 32), 2)[0], dtype=np.float64)
        sizes.append(float(np.sqrt(np.mean(out**2))))
        similar.append(float((out * start).sum() / np.sqrt((out**2).sum() * (start**2).sum())))
    right.plot(depths, sizes, "o-", label="size of the output (root mean square)")
    right.plot(depths, similar, "s--", label="cosine with the input")
    right.axhline(0, color="0.7", lw=0.8, zorder=0)
    right.set_xlabel("number of untrained blocks")
    right.set_ylabel("size, cosine")
    right.set_title("The residual path carries the input along")
    right.legend(frameon=False)


CHAPTER = Chapter(
    id="ch322",
    slug="transformers",
    title="Transformers",
    part="Architectures",
    summary="The pre-LN block and its whole backward, masks, counts, and AdamW with a warm-up.",
    builds_on=("ch309", "ch310", "ch312", "ch316", "ch321"),
    exercises=(LAYER_NORM, LAYER_NORM_BACKWARD, FEED_FORWARD, BLOCK, BLOCK_BACKWARD, ATTENTION_MASK, COUNT, TRAIN),
    picture=Picture(title="One Transformer block", draw=draw_picture),
)
