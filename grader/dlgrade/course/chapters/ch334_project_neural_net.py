"""Checks of chapter 334: the two-spiral project, stage by stage, from the data to more than 97 % on fresh points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from dlreference import gradcheck, mlp_norm
from dlreference.activations import d_relu, relu, sigmoid
from dlreference.linear import linear_backward, linear_forward
from dlreference.losses import bce_with_logits
from dlreference.norm import BatchNormCache, batch_norm_backward, batch_norm_forward
from dlreference.optim import adam_step
from dlreference.spirals import THETA_MAX, make_spirals, sample_spirals, spiral_curve

from dlgrade.course.compare import below, entry, holds, items, numbers, same
from dlgrade.course.kinds import Case, GradientCase, Rng, case_of, gradient, numeric, prop, training, unchanged
from dlgrade.course.spec import Chapter, Exercise, Mistake, Picture
from dlgrade.sandbox.protocol import Callback

Array = np.ndarray[Any, Any]
Params = dict[str, Array]
Make = Callable[..., Any]
NOISE = 0.03
TARGET = 0.97
# Adam divides a gradient by its own size, so the rounding of a small gradient grows: trained numbers agree to fewer
# digits than gradients do.
TRAINED: dict[str, float] = {"rtol": 1e-6, "atol": 1e-7}


def floats(x: Any) -> Array:
    return np.asarray(x, dtype=np.float64)


def depth_of(params: Params) -> int:
    return sum(name.startswith("W") for name in params)


# --- the network, right and with things wrong ------------------------------------------------------------------------


def net_forward(X: Array, params: Params, state: Params, training: bool, rng: Any = None, p: float = 0.0) -> Any:
    """The reference's network, whose hidden layers have biases as well: zeros."""
    zeros = {f"b{layer}": np.zeros(len(params[f"W{layer}"])) for layer in range(1, depth_of(params))}
    old = {f"running_{name}": value for name, value in state.items()}
    logits, cache, new = mlp_norm.forward(X, {**zeros, **params}, old, training, rng, p)
    return logits, cache, {name.removeprefix("running_"): value for name, value in new.items()}


def net_backward(dout: Array, cache: Any) -> Params:
    grads, _ = mlp_norm.backward(dout, cache)
    last = len(cache.blocks) + 1
    hidden_biases = {f"b{layer}" for layer in range(1, last)}
    return {name: grad for name, grad in grads.items() if name not in hidden_biases}


def block(
    a: Array, W: Array, gamma: Array, beta: Array, mean: Array, var: Array, training: bool, mask: Any = None
) -> Any:
    z, linear = linear_forward(a, W)
    old = {"running_mean": floats(mean), "running_var": floats(var)}
    u, norm, new = batch_norm_forward(z, gamma, beta, old, training)
    out = relu(u) if mask is None else relu(u) * mask
    return out, (linear, norm, u, mask), new["running_mean"], new["running_var"]


def block_backward(dout: Array, cache: Any) -> Any:
    linear, norm, u, mask = cache
    du = floats(dout) * d_relu(u) * (1.0 if mask is None else mask)
    dz, dgamma, dbeta = batch_norm_backward(du, norm)
    da, dW, _ = linear_backward(dz, linear)
    return da, dW, dgamma, dbeta


def block_with(
    statistics: str = "right",
    ddof: int = 0,
    unbiased: bool = True,
    momentum: float = 0.1,
    axis: int = 0,
    order: str = "right",
    eps_outside: bool = False,
) -> Make:
    """A block with other statistics, divisors, weights of the new batch, or another order of its parts."""

    def wrong(
        a: Array, W: Array, gamma: Array, beta: Array, mean: Array, var: Array, training: bool, mask: Any = None
    ) -> Any:
        z, mean, var, factor = floats(a) @ floats(W).T, floats(mean), floats(var), 1.0 if mask is None else floats(mask)
        if order == "dropout-first":
            z = z * factor
        if order == "relu-first":
            z = relu(z)
        m, v = z.mean(axis=axis, keepdims=axis == 1), z.var(axis=axis, ddof=ddof, keepdims=axis == 1)
        old = mean, var
        if training:
            count = z.shape[axis]
            grown = v * count / (count - 1) if unbiased and not ddof else v
            mean, var = (1 - momentum) * mean + momentum * m, (1 - momentum) * var + momentum * grown
        if statistics == "always-running" or (statistics == "right" and not training):
            m, v = old
        u = gamma * ((z - m) / (np.sqrt(v) + 1e-5 if eps_outside else np.sqrt(v + 1e-5))) + beta
        out = u if order == "relu-first" else relu(u)
        return out if order == "dropout-first" else out * factor, None, mean, var

    return wrong


def forward_with(
    part: Make = block,
    last_relu: bool = False,
    drop_always: bool = False,
    never_drop: bool = False,
    keep_state: bool = False,
    move_in_evaluation: bool = False,
    one_block: bool = False,
    shared_state: bool = False,
    output_dropped: bool = False,
) -> Make:
    """A network with something wrong in how its blocks are put together."""

    def wrong(X: Array, params: Params, state: Params, training: bool, rng: Any = None, p: float = 0.0) -> Any:
        a, depth = floats(X), depth_of(params)
        new: Params = {}
        for layer in range(1, 2 if one_block and depth > 1 else depth):
            W, gamma, beta = (floats(params[f"{name}{layer}"]) for name in ("W", "gamma", "beta"))
            own = floats(state[f"mean{layer}"]), floats(state[f"var{layer}"])
            drops = p > 0 and rng is not None and (training or drop_always) and not never_drop
            mask = (rng.random((len(a), len(W))) >= p) / (1 - p) if drops else None
            fed = a
            a, _, mean, var = part(fed, W, gamma, beta, *own, training, mask)
            if move_in_evaluation and not training and len(X) > 1:
                _, _, mean, var = part(fed, W, gamma, beta, *own, True)
            if keep_state:
                mean, var = own
            new |= {f"mean{layer}": mean, f"var{layer}": var}
        W, b = floats(params[f"W{depth}"]), floats(params[f"b{depth}"])
        logits = a[:, : W.shape[1]] @ W.T + b if a.shape[1] >= W.shape[1] else np.zeros((len(a), len(W))) + b
        if output_dropped and training and p > 0 and rng is not None:
            logits = logits * (rng.random(logits.shape) >= p) / (1 - p)
        return relu(logits) if last_relu else logits, None, new

    return wrong


def draw_params(widths: tuple[int, ...], rng: Rng) -> tuple[Params, Params]:
    """Parameters and running statistics that are nobody's default."""
    params: Params = {}
    state: Params = {}
    for layer in range(1, len(widths)):
        fan_in, width = widths[layer - 1 : layer + 1]
        params[f"W{layer}"] = rng.normal(size=(width, fan_in)) / np.sqrt(fan_in)
        if layer < len(widths) - 1:
            params[f"gamma{layer}"] = rng.uniform(0.5, 1.5, size=width)
            params[f"beta{layer}"] = 0.5 * rng.normal(size=width) + 0.3
            state[f"mean{layer}"], state[f"var{layer}"] = rng.normal(size=width), rng.uniform(0.5, 3, size=width)
        else:
            params[f"b{layer}"] = rng.normal(size=width)
    return params, state


# --- stage 1: data ---------------------------------------------------------------------------------------------------


def spirals_with(
    r0: float = 0.1, turned_radius: bool = False, scale: float = 1.0, endpoint: bool = True, alternate: bool = False
) -> Make:
    def wrong(n: int, noise: float, rng: Any) -> Any:
        theta, y = np.tile(np.linspace(0.0, THETA_MAX, n, endpoint=endpoint), 2), np.repeat([0, 1], n)
        X = spiral_curve(theta, y, r0)
        if turned_radius:
            angle = theta + np.pi * y
            X = (r0 + (1 - r0) * angle / THETA_MAX)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        X = X + rng.normal(0.0, scale * noise, size=(2 * n, 2))
        order = np.arange(2 * n).reshape(2, n).T.ravel() if alternate else np.arange(2 * n)
        return X[order], y[order]

    return wrong


MAKE_SPIRALS = Exercise(
    name="make_spirals",
    title="Stage 1: two arms that are really two",
    functions=("make_spirals",),
    hints=(
        "Where does an arm begin, and how far from the centre is a point when the arm has gone round once?",
        "Make theta once. Both arms share it, and the radius that belongs to it; only the angle differs by pi.",
        "Radius first, from theta. Then for each arm the columns radius * cos(angle) and radius * sin(angle); put arm "
        "1 below arm 0, add one draw of noise of shape (2n, 2), and repeat the labels n times each.",
    ),
    checks=(
        numeric(
            "the two arms, without noise",
            3,
            "make_spirals",
            lambda n, noise, rng: make_spirals(n, noise, rng=rng),
            [Case("six points an arm", lambda rng: (6, 0.0, np.random.default_rng(1)))],
        ),
        numeric(
            "noise of the stated standard deviation, in one draw",
            3,
            "make_spirals",
            lambda n, noise, rng: make_spirals(n, noise, rng=rng),
            [
                Case("a noise of 0.03", lambda rng: (7, 0.03, np.random.default_rng(int(rng.integers(1000))))),
                Case("a noise of 0.5", lambda rng: (3, 0.5, np.random.default_rng(int(rng.integers(1000))))),
            ],
        ),
    ),
    mistakes=(
        Mistake(
            name="turn-in-the-radius",
            advice="The radius comes from theta before the turn; otherwise both arms lie on one curve, and nobody can "
            "tell them apart.",
            replaces={"make_spirals": spirals_with(turned_radius=True)},
            variants=({"make_spirals": spirals_with(r0=0.0, turned_radius=True)},),
        ),
        Mistake(
            name="radius-from-zero",
            advice="The arms begin at radius 0.1, not in the centre, where they would touch.",
            replaces={"make_spirals": spirals_with(r0=0.0)},
        ),
        Mistake(
            name="noise-scaled-down",
            advice="The argument noise is the standard deviation itself; do not scale it.",
            replaces={"make_spirals": spirals_with(scale=0.1)},
        ),
        Mistake(
            name="last-angle-left-out",
            advice="theta runs from 0 to 4 pi with both ends included.",
            replaces={"make_spirals": spirals_with(endpoint=False)},
        ),
        Mistake(
            name="arms-in-turn",
            advice="All points of arm 0 come first, then all of arm 1.",
            replaces={"make_spirals": spirals_with(alternate=True)},
        ),
    ),
)


def split(n: int, n_val: int, n_test: int, rng: Any) -> Any:
    order = rng.permutation(n)
    return order[n_test + n_val :], order[n_test : n_test + n_val], order[:n_test]


def in_order(n: int, rng: Any) -> Array:
    return np.arange(n)


def split_with(cut: Callable[[Array, int, int], Any], draw: Callable[[int, Any], Array] | None = None) -> Make:
    return lambda n, n_val, n_test, rng: cut(rng.permutation(n) if draw is None else draw(n, rng), n_val, n_test)


@prop("every sample is in exactly one set", 2, "split_indices")
def partition(student: Any, rng: Rng) -> None:
    for n, n_val, n_test in ((20, 5, 4), (7, 0, 3), (9, 4, 0)):
        got = items(student.split_indices(n, n_val, n_test, rng), ("train", "val", "test"))
        sizes = (n - n_val - n_test, n_val, n_test)
        sets = [numbers(g, (size,), what) for g, size, what in zip(got, sizes, ("train", "val", "test"), strict=True)]
        together = np.sort(np.concatenate(sets))
        holds(np.array_equal(together, np.arange(n)), "a sample is in two of the sets, or in none of them.")


SPLIT = Exercise(
    name="split_indices",
    title="Stage 1: training, validation and test set",
    functions=("split_indices",),
    hints=(
        "One shuffled list of all indices, cut twice.",
        "Slices of the permutation cannot overlap: from the start to n_test, from there n_val further, and the rest.",
        "The test set is order[:n_test]; the validation set ends at n_test + n_val; training is what follows. Return "
        "them as (train, val, test).",
    ),
    checks=(
        numeric(
            "the three pieces of the permutation",
            3,
            "split_indices",
            split,
            [
                Case("twenty samples", lambda rng: (20, 5, 4, rng)),
                Case("as many validation as test samples", lambda rng: (12, 4, 4, rng)),
            ],
        ),
        partition,
    ),
    mistakes=(
        Mistake(
            name="not-shuffled",
            advice="The samples come sorted by arm; without the permutation the test set would be one end of one arm.",
            replaces={
                "split_indices": split_with(
                    lambda o, v, t: (o[t + v :], o[t : t + v], o[:t]), lambda n, _: np.arange(n)
                )
            },
        ),
        Mistake(
            name="training-keeps-the-validation-samples",
            advice="The validation samples are still in the training set: nothing that judges may also be learned.",
            replaces={"split_indices": split_with(lambda o, v, t: (o[t:], o[t : t + v], o[:t]))},
        ),
        Mistake(
            name="training-keeps-the-test-samples",
            advice="The test samples are still in the training set, so the test would measure memory.",
            replaces={"split_indices": split_with(lambda o, v, t: (o, o[t : t + v], o[:t]))},
        ),
        Mistake(
            name="validation-before-test",
            advice="The permutation begins with the test set; the validation set comes second.",
            replaces={"split_indices": split_with(lambda o, v, t: (o[t + v :], o[:v], o[v : t + v]))},
        ),
        Mistake(
            name="test-returned-second",
            advice="Return them as (train, val, test), in this order.",
            replaces={"split_indices": split_with(lambda o, v, t: (o[t + v :], o[:t], o[t : t + v]))},
        ),
    ),
)

# --- stage 2: forward ------------------------------------------------------------------------------------------------


def init_with(
    std: Callable[[int, int], float] = lambda fan_in, width: float(np.sqrt(2 / fan_in)),
    gamma: float = 1.0,
    var: float = 1.0,
    biases: bool = False,
    normalise_last: bool = False,
) -> Make:
    def made(widths: Any, rng: Any) -> Any:
        params: Params = {}
        state: Params = {}
        for layer in range(1, len(widths)):
            fan_in, width = widths[layer - 1], widths[layer]
            params[f"W{layer}"] = rng.normal(0.0, std(fan_in, width), size=(width, fan_in))
            last = layer == len(widths) - 1
            if last or biases:
                params[f"b{layer}"] = np.zeros(width)
            if not last or normalise_last:
                params |= {f"gamma{layer}": np.full(width, gamma), f"beta{layer}": np.zeros(width)}
                state |= {f"mean{layer}": np.zeros(width), f"var{layer}": np.full(width, var)}
        return params, state

    return made


NETS = [
    Case("widths 2, 3, 1", lambda rng: ((2, 3, 1), rng)),
    Case("two blocks and two outputs", lambda rng: ((4, 5, 3, 2), rng)),
    Case("no hidden block", lambda rng: ((3, 1), rng)),
]

INIT = Exercise(
    name="init_net",
    title="Stage 2: a new network",
    functions=("init_net",),
    hints=(
        "Which layers are blocks, and which one is only linear?",
        "Go through the layers from 1 to L. All draw their W; the blocks get gamma, beta, mean and var; the last gets "
        "b.",
        "rng.normal takes the standard deviation, the root of 2 over the number of INPUTS, and the size (out, in).",
    ),
    checks=(
        numeric("the parameters", 3, "init_net", init_with(), NETS, pick=0, result="`params`"),
        numeric("the running statistics", 2, "init_net", init_with(), NETS, pick=1, result="`state`"),
    ),
    mistakes=(
        Mistake(
            name="variance-as-standard-deviation",
            advice="He's variance is 2 / n_in; rng.normal asks for the standard deviation, its root.",
            replaces={"init_net": init_with(lambda fan_in, width: 2 / fan_in)},
        ),
        Mistake(
            name="fan-out-counted",
            advice="Count a unit's inputs, n(l-1), and not the layer's outputs.",
            replaces={"init_net": init_with(lambda fan_in, width: float(np.sqrt(2 / width)))},
        ),
        Mistake(
            name="factor-two-forgotten",
            advice="The ReLU throws half of the signal away; the 2 in sqrt(2 / n_in) makes up for it.",
            replaces={"init_net": init_with(lambda fan_in, width: float(np.sqrt(1 / fan_in)))},
        ),
        Mistake(
            name="gamma-zero",
            advice="gamma begins at ones: with zeros every block would be silent.",
            replaces={"init_net": init_with(gamma=0.0)},
        ),
        Mistake(
            name="running-variance-zero",
            advice="The running variance begins at ones.",
            replaces={"init_net": init_with(var=0.0)},
        ),
        Mistake(
            name="bias-before-the-normalisation",
            advice="Only the last layer has a bias: in a block the normalisation takes it out again, and beta replaces "
            "it.",
            replaces={"init_net": init_with(biases=True)},
        ),
        Mistake(
            name="output-layer-normalised",
            advice="The last layer is linear: no gamma, no beta, no running statistics.",
            replaces={"init_net": init_with(normalise_last=True)},
        ),
    ),
)


def mask_right(shape: Any, p: float, rng: Any) -> Array:
    return (rng.random(shape) >= p) / (1.0 - p)


DROPOUT = Exercise(
    name="dropout_mask",
    title="Stage 2: a dropout mask",
    functions=("dropout_mask",),
    hints=(
        "How large must the surviving units become, so that the mean stays the same?",
        "A comparison of random numbers with p says who is kept; a division makes the survivors larger.",
        "Kept where rng.random(shape) >= p, as numbers, divided by one minus p.",
    ),
    checks=(
        numeric(
            "dropped, and kept ones scaled",
            3,
            "dropout_mask",
            mask_right,
            [
                Case("a fifth is dropped", lambda rng: ((6, 5), 0.2, rng)),
                Case("most are dropped", lambda rng: ((4, 7), 0.8, rng)),
                Case("none is dropped", lambda rng: ((2, 3), 0.0, rng)),
            ],
        ),
    ),
    mistakes=(
        Mistake(
            name="p-keeps",
            advice="p is the probability of dropping, not of keeping.",
            replaces={"dropout_mask": lambda shape, p, rng: (rng.random(shape) < p) / max(p, 1e-12)},
        ),
        Mistake(
            name="kept-units-not-scaled",
            advice="Divide by 1 - p, or training and evaluation see signals of different size.",
            replaces={"dropout_mask": lambda shape, p, rng: (rng.random(shape) >= p) * 1.0},
        ),
        Mistake(
            name="divided-by-p",
            advice="The survivors are a share of 1 - p, so divide by 1 - p and not by p.",
            replaces={"dropout_mask": lambda shape, p, rng: (rng.random(shape) >= p) / max(p, 1e-12)},
        ),
        Mistake(
            name="one-mask-for-the-batch",
            advice="Every sample drops units of its own: draw a number for each entry of the shape.",
            replaces={
                "dropout_mask": lambda shape, p, rng: np.tile((rng.random(shape[1:]) >= p) / (1 - p), (shape[0], 1))
            },
        ),
    ),
)


def block_case(batch: int, fan_in: int, width: int, training: bool, p: float = 0.0, scale: float = 1.0) -> Any:
    """Draws the arguments of a block."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        params, state = draw_params((fan_in, width, 1), rng)
        mask = (rng.random((batch, width)) >= p) / (1 - p) if p else None
        a = scale * (rng.normal(size=(batch, fan_in)) + 1)
        named = (params["W1"], params["gamma1"], params["beta1"], state["mean1"], state["var1"])
        return (a, *named, training) if mask is None else (a, *named, training, mask)

    return draw


def as_lists(draw: Any) -> Any:
    """The drawn arguments, every array among them as nested lists."""
    return lambda rng: tuple(x.tolist() if isinstance(x, np.ndarray) else x for x in draw(rng))


TRAINING_BLOCKS = [
    Case("six samples, three in, four out", block_case(6, 3, 4, True)),
    Case("as many samples as units", block_case(4, 4, 4, True)),
    Case("inputs of a thousandth, where eps shows", block_case(5, 2, 3, True, scale=1e-3)),
    Case("everything as nested lists", as_lists(block_case(3, 2, 2, True))),
]
EVALUATION_BLOCKS = [
    Case("five samples, in evaluation", block_case(5, 3, 4, False)),
    Case("a single sample, in evaluation", block_case(1, 3, 2, False)),
]

BLOCK_FORWARD = Exercise(
    name="block_forward",
    title="Stage 2: one hidden block",
    functions=("block_forward",),
    hints=(
        "Four things happen one after another. Which of them behave differently in training and in evaluation?",
        "Choose m and v first, the batch's or the running ones; what follows is the same in both modes. The running "
        "statistics are updated only in training.",
        "np.var divides by B: that one normalises. Times B / (B - 1) it goes into the running variance, with weight "
        "0.1. After gamma and beta comes the ReLU, and the mask comes last of all.",
    ),
    checks=(
        numeric(
            "training: the output", 4, "block_forward", block, TRAINING_BLOCKS, pick=0, result="the output", keep=(1,)
        ),
        numeric(
            "the running mean, which moves in training only",
            1,
            "block_forward",
            block,
            [*TRAINING_BLOCKS, *EVALUATION_BLOCKS],
            pick=2,
            result="the running mean",
            keep=(1,),
        ),
        numeric(
            "the running variance, which moves in training only",
            2,
            "block_forward",
            block,
            [*TRAINING_BLOCKS, *EVALUATION_BLOCKS],
            pick=3,
            result="the running variance",
            keep=(1,),
        ),
        numeric(
            "evaluation: the running statistics normalise",
            2,
            "block_forward",
            block,
            EVALUATION_BLOCKS,
            pick=0,
            result="the output",
            keep=(1,),
        ),
        numeric(
            "the mask comes last",
            1,
            "block_forward",
            block,
            [Case("half of the units dropped", block_case(6, 3, 5, True, p=0.5))],
            pick=0,
            result="the output",
            keep=(1,),
        ),
        unchanged(1, {"block_forward": block_case(4, 2, 3, True)}, keep=(1,)),
    ),
    mistakes=(
        Mistake(
            name="batch-statistics-in-evaluation",
            advice="In evaluation the running statistics normalise; with the batch's, a point's answer depends on its "
            "neighbours, and a single point has no variance.",
            replaces={"block_forward": block_with(statistics="always-batch")},
        ),
        Mistake(
            name="running-statistics-in-training",
            advice="In training the batch's own mean and variance normalise; the running ones are for evaluation.",
            replaces={"block_forward": block_with(statistics="always-running")},
        ),
        Mistake(
            name="running-variance-biased",
            advice="The variance that enters the running one is unbiased: times B / (B - 1).",
            replaces={"block_forward": block_with(unbiased=False)},
        ),
        Mistake(
            name="unbiased-variance-normalises",
            advice="The variance that normalises the batch is divided by B, not by B - 1.",
            replaces={"block_forward": block_with(ddof=1)},
        ),
        Mistake(
            name="momentum-reversed",
            advice="The new batch has the weight 0.1 and the old statistics 0.9; yours has them the other way round.",
            replaces={"block_forward": block_with(momentum=0.9)},
        ),
        Mistake(
            name="dropout-before-the-normalisation",
            advice="The mask comes last; before the normalisation the zeros would spoil mean and variance.",
            replaces={"block_forward": block_with(order="dropout-first")},
        ),
        Mistake(
            name="relu-before-the-normalisation",
            advice="First normalise, then cut: the ReLU comes after gamma and beta.",
            replaces={"block_forward": block_with(order="relu-first")},
        ),
        Mistake(
            name="eps-beside-the-root",
            advice="EPS is added to the variance, inside of the root.",
            replaces={"block_forward": block_with(eps_outside=True)},
        ),
    ),
)


def net_case(widths: tuple[int, ...], batch: int, training: bool, p: float = 0.0) -> Any:
    def draw(rng: Rng) -> tuple[Any, ...]:
        params, state = draw_params(widths, rng)
        return (rng.normal(size=(batch, widths[0])), params, state, training, rng, p)

    return draw


FORWARDS = [
    Case("two blocks", net_case((2, 4, 3, 1), 6, True)),
    Case("three blocks, two outputs", net_case((3, 4, 5, 3, 2), 5, True)),
    Case("no block at all", net_case((3, 2), 4, True)),
    Case("points as nested lists", as_lists(net_case((2, 3, 1), 3, True))),
]
EVALUATIONS = [
    Case("two blocks", net_case((2, 4, 3, 1), 6, False)),
    Case("a single point", net_case((3, 5, 2), 1, False)),
    Case("a probability of dropping, which evaluation ignores", net_case((2, 4, 3, 1), 6, False, 0.5)),
    Case("eleven layers", net_case((2, *[3] * 10, 1), 4, False)),
]

FORWARD = Exercise(
    name="forward",
    title="Stage 2: the whole network, forward",
    functions=("forward",),
    hints=(
        "What does one block hand on to the next, and what to the caller?",
        "A loop over the layers 1 to L - 1, with block_forward for each. Collect caches in a list and new statistics "
        "in a new dict. The last layer is one matrix product and a bias.",
        "The number of layers is the number of keys that begin with W. A mask is drawn only in training and only for p "
        "> 0, of shape (B, number of units), just before its block.",
    ),
    checks=(
        numeric(
            "training: the logits", 2, "forward", net_forward, FORWARDS, pick=0, result="the table of logits", keep=(1,)
        ),
        numeric("training: the new state", 1, "forward", net_forward, FORWARDS, pick=2, result="state", keep=(1,)),
        numeric(
            "dropout, one mask after another",
            2,
            "forward",
            net_forward,
            [Case("a third is dropped", net_case((2, 4, 6, 2), 7, True, 1 / 3))],
            pick=0,
            result="logits",
            keep=(1,),
        ),
        numeric(
            "evaluation: the logits",
            1,
            "forward",
            net_forward,
            EVALUATIONS,
            pick=0,
            result="the table of logits",
            keep=(1,),
        ),
        numeric(
            "evaluation leaves the state alone",
            1,
            "forward",
            net_forward,
            EVALUATIONS,
            pick=2,
            result="state",
            keep=(1,),
        ),
        unchanged(1, {"forward": net_case((2, 4, 3, 1), 6, True)}, keep=(1,)),
    ),
    mistakes=(
        Mistake(
            name="relu-on-the-logits",
            advice="The last layer is linear: logits may be negative.",
            replaces={"forward": forward_with(last_relu=True)},
        ),
        Mistake(
            name="dropout-in-evaluation",
            advice="Dropout is for training only; in evaluation every unit speaks.",
            replaces={"forward": forward_with(drop_always=True)},
        ),
        Mistake(
            name="dropout-forgotten",
            advice="In training with p > 0 each block gets a mask; yours drops nothing.",
            replaces={"forward": forward_with(never_drop=True)},
        ),
        Mistake(
            name="output-dropped",
            advice="Only hidden units are dropped, never the network's answer.",
            replaces={"forward": forward_with(output_dropped=True)},
        ),
        Mistake(
            name="state-not-moved",
            advice="Return the statistics that the blocks gave back, not the ones you were given.",
            replaces={"forward": forward_with(keep_state=True)},
        ),
        Mistake(
            name="statistics-learned-in-evaluation",
            advice="Evaluation must not move the running statistics, or the test data leak into the network.",
            replaces={"forward": forward_with(move_in_evaluation=True)},
        ),
        Mistake(
            name="only-the-first-block",
            advice="Every hidden layer is a block: count the W in params instead of assuming a number.",
            replaces={"forward": forward_with(one_block=True)},
        ),
    ),
)

# --- stage 3: backward -----------------------------------------------------------------------------------------------


def block_inputs(batch: int, fan_in: int, width: int, p: float = 0.0, scale: float = 1.0) -> Any:
    def draw(rng: Rng) -> dict[str, Any]:
        a, W, gamma, beta, mean, var, _, *mask = block_case(batch, fan_in, width, True, p)(rng)
        dout = scale * rng.normal(size=(batch, width))
        return {
            "a": a, "W": W, "gamma": gamma, "beta": beta, "mean": mean, "var": var, "mask": [*mask, None][0],
            "dout": dout,
        }  # fmt: skip

    return draw


def silent_unit(rng: Rng) -> dict[str, Any]:
    """A block whose first unit has u = 0 for every sample, to the last bit."""
    inputs = block_inputs(5, 3, 4)(rng)
    inputs["gamma"][0] = inputs["beta"][0] = 0.0
    return inputs


def block_of(inputs: dict[str, Any]) -> tuple[Any, ...]:
    return (*(inputs[name] for name in ("a", "W", "gamma", "beta", "mean", "var")), True, inputs["mask"])


BLOCK_GRADS = ("a", "W", "gamma", "beta")


def student_block_grads(student: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    answer = student.call("block_forward", *block_of(inputs), keep=(1,))
    cache = items(answer, ("out", "cache", "mean", "var"))[1]
    answer = student.block_backward(inputs["dout"], cache)
    return dict(zip(BLOCK_GRADS, items(answer, ("da", "dW", "dgamma", "dbeta")), strict=True))


def right_block_grads(inputs: dict[str, Any]) -> dict[str, Any]:
    return dict(zip(BLOCK_GRADS, block_backward(inputs["dout"], block(*block_of(inputs))[1]), strict=True))


def block_gradient(name: str, points: int, cases: list[GradientCase]) -> Any:
    return gradient(
        name,
        points,
        ("block_forward", "block_backward"),
        cases,
        value=lambda student, i: student.call("block_forward", *block_of(i), keep=(1,))[0],
        grads=student_block_grads,
        reference=right_block_grads,
    )


def dout_kept(student: Any, function: str) -> None:
    holds(0 not in student.changed, f"`{function}` modified its argument `dout` in place; work on a copy.")


@prop("the cache can be used twice", 1, "block_forward", "block_backward")
def block_cache(student: Any, rng: Rng) -> None:
    inputs = block_inputs(5, 3, 4, 0.4)(rng)
    answer = student.call("block_forward", *block_of(inputs), keep=(1,))
    cache = items(answer, ("out", "cache", "mean", "var"))[1]
    names = ("da", "dW", "dgamma", "dbeta")
    first = items(student.block_backward(inputs["dout"], cache), names)
    dout_kept(student, "block_backward")
    second = items(student.block_backward(2 * inputs["dout"], cache), names)
    for name, once, twice in zip(names, first, second, strict=True):
        same(numbers(twice), 2 * numbers(once), f"{name} for twice the dout, from the same cache,")


def block_grads_with(
    plain: bool = False, no_mask: bool = False, no_relu: bool = False, divided: tuple[int, ...] = (), raw: bool = False
) -> dict[str, Make]:
    """A right forward, and a backward with something left out."""

    def backward(dout: Array, cache: Any) -> Any:
        linear, norm, u, mask = cache
        factor = 1.0 if mask is None or no_mask else mask
        du = floats(dout) * (1.0 if no_relu else d_relu(u)) * factor
        kept = BatchNormCache(norm.x_hat, norm.inv_std, norm.gamma, not plain)
        dz, dgamma, dbeta = batch_norm_backward(du, kept)
        if raw:
            dgamma = (du * u).sum(axis=0)
        da, dW, _ = linear_backward(dz, linear)
        grads = [da, dW, dgamma, dbeta]
        return tuple(g / len(du) if i in divided else g for i, g in enumerate(grads))

    return {"block_forward": block, "block_backward": backward}


BLOCK_BACKWARD = Exercise(
    name="block_backward",
    title="Stage 3: backward through a block",
    functions=("block_backward",),
    hints=(
        "What was done last is undone first. Which numbers of the way in does each of the four parts need?",
        "dout times the mask, times one where u > 0: that is the gradient at u. dgamma and dbeta are sums of it; times "
        "gamma it is the gradient at z_hat.",
        "From g at z_hat take away its mean and z_hat times the mean of g * z_hat, both over axis 0, and divide by the "
        "root. Then dW is dz transposed times a, and da is dz times W.",
    ),
    checks=(
        block_gradient(
            "gradients of input and parameters",
            5,
            [
                GradientCase("six samples", block_inputs(6, 3, 4)),
                GradientCase("as many samples as units", block_inputs(4, 4, 4)),
                GradientCase("a unit with u = 0 for every sample, where the slope is 0", silent_unit),
            ],
        ),
        block_gradient("with units dropped", 2, [GradientCase("a third is dropped", block_inputs(7, 2, 5, 1 / 3))]),
        block_gradient("exact, not nearly", 2, [GradientCase("a large dout", block_inputs(6, 3, 4, scale=1e6))]),
        block_cache,
    ),
    mistakes=(
        Mistake(
            name="mean-and-variance-held-fixed",
            advice="The batch's mean and variance depend on every sample; in training the gradient passes through them "
            "too.",
            replaces=block_grads_with(plain=True),
        ),
        Mistake(
            name="mask-not-used-again",
            advice="A dropped unit gets no gradient, and a kept one the factor 1 / (1 - p): multiply by the same mask.",
            replaces=block_grads_with(no_mask=True),
        ),
        Mistake(
            name="relu-slope-forgotten",
            advice="Where u was not above zero the ReLU passes nothing back.",
            replaces=block_grads_with(no_relu=True),
        ),
        Mistake(
            name="norm-gradients-averaged",
            advice="dgamma and dbeta are sums over the batch, like every other gradient: the 1/B is in dout already.",
            replaces=block_grads_with(divided=(2, 3)),
        ),
        Mistake(
            name="weight-gradient-averaged",
            advice="dW is a sum over the batch: the 1/B is in dout already.",
            replaces=block_grads_with(divided=(1,)),
        ),
        Mistake(
            name="gamma-gradient-from-u",
            advice="gamma multiplied z_hat, so its gradient is the sum of the gradient at u times z_hat, not times u.",
            replaces=block_grads_with(raw=True),
        ),
    ),
)


def net_inputs(widths: tuple[int, ...], batch: int, p: float = 0.0) -> Any:
    def draw(rng: Rng) -> dict[str, Any]:
        params, state = draw_params(widths, rng)
        X, dout = rng.normal(size=(batch, widths[0])), rng.normal(size=(batch, widths[-1]))
        return {"X": X, "params": params, "state": state, "seed": int(rng.integers(1 << 30)), "p": p, "dout": dout}

    return draw


def forward_args(i: dict[str, Any]) -> tuple[Any, ...]:
    return (i["X"], i["params"], i["state"], True, np.random.default_rng(i["seed"]), i["p"])


def student_net_grads(student: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    answer = student.call("forward", *forward_args(inputs), keep=(1,))
    grads = student.backward(inputs["dout"], items(answer, ("logits", "cache", "state"))[1])
    holds(type(grads) is dict, "`backward` should return a dict of gradients.")
    expected = set(inputs["params"])
    holds(
        set(grads) == expected,
        "the gradients should have exactly the keys of params, which is where Adam looks for them.",
        f"Expected {sorted(expected)}, got {sorted(map(str, grads))}.",
    )
    return {f"params.{name}": grad for name, grad in grads.items()}


def right_net_grads(inputs: dict[str, Any]) -> dict[str, Any]:
    grads = net_backward(inputs["dout"], net_forward(*forward_args(inputs))[1])
    return {f"params.{name}": grads[name] for name in inputs["params"]}


def net_gradient(name: str, points: int, cases: list[GradientCase]) -> Any:
    return gradient(
        name,
        points,
        ("forward", "backward"),
        cases,
        value=lambda student, i: student.call("forward", *forward_args(i), keep=(1,))[0],
        grads=student_net_grads,
        reference=right_net_grads,
    )


@prop("the network's cache can be used twice", 1, "forward", "backward")
def net_cache(student: Any, rng: Rng) -> None:
    inputs = net_inputs((2, 4, 3, 1), 6, 0.3)(rng)
    answer = student.call("forward", *forward_args(inputs), keep=(1,))
    cache = items(answer, ("logits", "cache", "state"))[1]
    first = student.backward(inputs["dout"], cache)
    dout_kept(student, "backward")
    second = student.backward(2 * inputs["dout"], cache)
    for name in inputs["params"]:
        once, twice = numbers(entry(first, name, "the dict of gradients")), entry(second, name, "the second dict")
        same(twice, 2 * once, f"{name}'s gradient for twice the dout, from the same cache,")
        holds(bool(once.any()), f"{name}'s gradient should not be zero.")


def backward_with(change: Callable[[Params, Array, Any], Params]) -> dict[str, Make]:
    """A right forward, and gradients that are changed: `change(grads, dout, cache)`."""
    return {
        "forward": net_forward,
        "backward": lambda dout, cache: change(net_backward(dout, cache), floats(dout), cache),
    }


def input_of_last_block(grads: Params, dout: Array, cache: Any) -> Params:
    last = len(cache.blocks) + 1
    return grads if last == 1 else {**grads, f"W{last}": dout.T @ cache.blocks[-1].linear[0]}


def no_mask_in_output(grads: Params, dout: Array, cache: Any) -> Params:
    last = len(cache.blocks) + 1
    return grads if last == 1 else {**grads, f"W{last}": dout.T @ relu(cache.blocks[-1].normed)}


BACKWARD = Exercise(
    name="backward",
    title="Stage 3: all gradients of the network",
    functions=("backward",),
    hints=(
        "The output layer is the simplest: what were its input and its weights?",
        "Begin with the gradients of WL and bL and with dout times WL, which is the gradient at the last block's "
        "output. Each block hands da on to the one before it.",
        "The loop runs from layer L - 1 down to 1 over the caches that forward collected; name the gradients W, gamma "
        "and beta with the layer's number, exactly like the parameters.",
    ),
    checks=(
        net_gradient(
            "the whole network's gradients",
            4,
            [
                GradientCase("two blocks of equal widths", net_inputs((3, 4, 4, 1), 6)),
                GradientCase("three blocks, two outputs", net_inputs((2, 5, 4, 3, 2), 5)),
            ],
        ),
        net_gradient("with units dropped", 2, [GradientCase("a third is dropped", net_inputs((2, 5, 5, 1), 7, 1 / 3))]),
        net_gradient(
            "one block, or none",
            2,
            [
                GradientCase("one block", net_inputs((4, 4, 2), 5)),
                GradientCase("none", net_inputs((3, 2), 4)),
            ],
        ),
        net_cache,
    ),
    mistakes=(
        Mistake(
            name="keys-with-a-d",
            advice="Give the gradients the parameters' own names, W1 and not dW1: Adam pairs them by name.",
            replaces=backward_with(lambda grads, dout, cache: {f"d{name}": g for name, g in grads.items()}),
        ),
        Mistake(
            name="keys-from-zero",
            advice="Layers count from 1: the first gradient is that of W1.",
            replaces=backward_with(
                lambda grads, dout, cache: {f"{name[:-1]}{int(name[-1]) - 1}": g for name, g in grads.items()}
            ),
        ),
        Mistake(
            name="input-of-the-last-block",
            advice="The output layer's weight gradient needs that layer's own input, which is the OUTPUT of the last "
            "block.",
            replaces=backward_with(input_of_last_block),
        ),
        Mistake(
            name="output-bias-averaged",
            advice="The output bias's gradient is the sum of dout over the batch; the 1/B of the mean is in dout.",
            replaces=backward_with(
                lambda grads, dout, cache: {**grads, f"b{len(cache.blocks) + 1}": dout.mean(axis=0)}
            ),
        ),
        Mistake(
            name="gamma-and-beta-without-gradient",
            advice="gamma and beta are learned like the weights: their gradients belong into the dict.",
            replaces=backward_with(lambda grads, dout, cache: {n: g for n, g in grads.items() if n[0] == "W"}),
        ),
        Mistake(
            name="output-weights-see-undropped-units",
            advice="The output layer saw the units AFTER the mask; keep that array for its weight gradient.",
            replaces=backward_with(no_mask_in_output),
        ),
    ),
)


def bce(logits: Array, y: Array) -> tuple[float, Array]:
    return bce_with_logits(logits, floats(y)[:, None])


def bce_broadcast(logits: Array, y: Array) -> Any:
    z, y = floats(logits), floats(y)
    losses = y * np.logaddexp(0.0, -z) + (1 - y) * np.logaddexp(0.0, z)
    return losses.mean(), ((sigmoid(z) - y) / len(z)).sum(axis=1, keepdims=True)


def bce_broadcast_raw(logits: Array, y: Array) -> Any:
    return bce_broadcast(logits, y)[0], (sigmoid(logits) - floats(y)) / len(logits)


def bce_logs(logits: Array, y: Array) -> Any:
    p, y = sigmoid(logits)[:, 0], floats(y)
    return -np.mean(y * np.log(p + 1e-12) + (1 - y) * np.log(1 - p + 1e-12)), bce(logits, y)[1]


def bce_case(batch: int, scale: float = 2.0) -> Any:
    return lambda rng: (
        scale * rng.choice([-1, 1], size=(batch, 1)) * rng.uniform(0.5, 1, size=(batch, 1)),
        rng.permutation(np.arange(batch) % 2),
    )


BCES = [
    Case("six logits", bce_case(6)),
    Case("a batch of one", bce_case(1)),
    Case("plain lists", as_lists(bce_case(3))),
]
HUGE = [Case("logits of ten thousand", bce_case(4, 1e4)), Case("logits of forty", bce_case(5, 40.0))]

BCE = Exercise(
    name="bce",
    title="Stage 3: the loss",
    functions=("bce",),
    hints=(
        "Which shape has y, which have the logits, and what does NumPy make of their difference?",
        "Give y the shape of the logits first. Then everything is entry by entry.",
        "Reshape y to (B, 1); the loss is the mean of y * logaddexp(0, -z) + (1 - y) * logaddexp(0, z); the gradient "
        "is p minus y, divided by B.",
    ),
    checks=(
        numeric("the loss", 2, "bce", bce, BCES, pick=0, result="the loss"),
        numeric("the gradient", 2, "bce", bce, [*BCES, *HUGE], pick=1, result="the gradient"),
        numeric("huge logits", 1, "bce", bce, HUGE, pick=0, result="the loss"),
    ),
    mistakes=(
        Mistake(
            name="labels-broadcast",
            advice="(B, 1) and (B,) broadcast to (B, B): every logit is compared with every label. Reshape y first.",
            replaces={"bce": bce_broadcast},
            variants=({"bce": bce_broadcast_raw},),
        ),
        Mistake(
            name="gradient-not-divided",
            advice="The loss is a mean, so its gradient carries 1/B.",
            replaces={"bce": lambda logits, y: (bce(logits, y)[0], len(logits) * bce(logits, y)[1])},
        ),
        Mistake(
            name="loss-summed",
            advice="The loss is the mean over the batch, not the sum.",
            replaces={"bce": lambda logits, y: (len(logits) * bce(logits, y)[0], bce(logits, y)[1])},
        ),
        Mistake(
            name="eps-in-the-logarithm",
            advice="log(p + eps) is wrong for confident answers; np.logaddexp needs no eps.",
            replaces={"bce": bce_logs},
        ),
        Mistake(
            name="gradient-with-the-wrong-sign",
            advice="The gradient at the logit is p - y: a logit that is too large has a positive one.",
            replaces={"bce": lambda logits, y: (bce(logits, y)[0], -bce(logits, y)[1])},
        ),
    ),
)


def smooth(rng: Rng, planted: float) -> tuple[Make, Params]:
    """A smooth loss of two parameters with its gradients, one of them wrong by so much; and a point."""
    A, c = rng.normal(size=(2, 3)), rng.normal(size=4)
    params = {"W1": rng.normal(size=(2, 3)) + 2, "b1": rng.normal(size=4)}
    error = planted * rng.uniform(0.1, 0.5, size=4)

    def loss_and_grads(p: Params) -> tuple[float, Params]:
        W, b = floats(p["W1"]), floats(p["b1"])
        grads = {"W1": A * W**2 / 3, "b1": np.exp(b) * c + error}
        return float(np.sum(A * W**3) / 9 + np.sum(c * np.exp(b))), grads

    return loss_and_grads, params


def loss_of(loss_and_grads: Any, params: Params, name: str) -> Callable[[Array], float]:
    """The loss as a function of one parameter, the others held."""
    return lambda moved: float(loss_and_grads({**params, name: moved})[0])


def errors_with(
    one_sided: bool = False, how: str = "max", scale: str = "numerical", cumulative: bool = False
) -> Callable[..., dict[str, float]]:
    def wrong(loss_and_grads: Any, params: Any, h: float = 1e-5) -> dict[str, float]:
        params = {name: floats(value).copy() for name, value in params.items()}
        loss, grads = loss_and_grads(params)
        errors = {}
        for name, value in params.items():
            if one_sided:
                slope = np.zeros_like(value)
                for index in np.ndindex(value.shape):
                    moved = value.copy()
                    moved[index] += h
                    slope[index] = (loss_and_grads({**params, name: moved})[0] - loss) / h
            elif cumulative:
                slope, moved = np.zeros_like(value), value.copy()
                for index in np.ndindex(value.shape):
                    moved[index] += h
                    up = loss_and_grads({**params, name: moved})[0]
                    moved[index] -= 2 * h
                    slope[index] = (up - loss_and_grads({**params, name: moved})[0]) / (2 * h)
            else:
                slope = gradcheck.numerical_gradient(loss_of(loss_and_grads, params, name), value, h)
            gap = np.abs(floats(grads[name]) - slope)
            size = {"numerical": np.abs(slope).max(), "none": 1.0, "own": np.abs(floats(grads[name])).max()}[scale]
            errors[name] = float({"max": gap.max, "mean": gap.mean, "sum": gap.sum}[how]() / max(float(size), 1e-8))
        return errors

    return wrong


def coarse_slope(loss: Callable[[Array], float], value: Array, h: float) -> Array:
    """Central differences with just this step; the reference's own grows with the entry."""
    slope = np.zeros_like(value)
    for index in np.ndindex(value.shape):
        nudge = np.zeros_like(value)
        nudge[index] = h
        slope[index] = (loss(value + nudge) - loss(value - nudge)) / (2 * h)
    return slope


@prop("a right gradient passes", 2, "gradient_errors")
def right_passes(student: Any, rng: Rng) -> None:
    function, params = smooth(rng, planted=0.0)
    got = student.gradient_errors(Callback(function, "loss_and_grads"), params)
    # Central differences with h = 1e-5 are right to about 1e-10 here, one-sided ones to 1e-5.
    for name in params:
        error = float(numbers(entry(got, name, "the dict of errors"), (), f"the error of {name}"))
        below(error, 1e-7, f"the error of {name} should be tiny: its gradient is right.", f"It is {error:.3g}.")


@prop("a wrong gradient is found, and how wrong it is", 2, "gradient_errors")
def wrong_found(student: Any, rng: Rng) -> None:
    for planted, reason in ((1.0, "a gradient that is too large"), (-1.0, "a gradient that is too small")):
        function, params = smooth(rng, planted)
        with case_of(reason):
            got = student.gradient_errors(Callback(function, "loss_and_grads"), params)
            want = errors_with()(function, params)
            error = numbers(entry(got, "b1", "the dict of errors"), (), "the error of b1")
            # Both carry the rounding of a difference of losses.
            same(error, want["b1"], "the error of b1, whose gradient is wrong,", rtol=1e-6)
            holds(set(got) == set(params), "the errors should have exactly the keys of params.")
    with case_of("a step of h = 0.25"):
        function, params = smooth(rng, 1.0)
        got = student.gradient_errors(Callback(function, "loss_and_grads"), params, h=0.25)
        grad = floats(function(params)[1]["W1"])
        slope = coarse_slope(loss_of(function, params, "W1"), params["W1"], 0.25)
        error = numbers(entry(got, "W1", "the dict of errors"), (), "the error of W1")
        same(error, np.abs(grad - slope).max() / np.abs(slope).max(), "the error of W1", rtol=1e-6)
    with case_of("a parameter that does nothing, with a gradient of 1e-6"):
        idle = Callback(lambda p: (0.0, {"w": np.array([1e-6, 0.0])}), "loss_and_grads")
        error = entry(student.gradient_errors(idle, {"w": np.zeros(2)}), "w", "the dict of errors")
        same(error, 100.0, "the error, 1e-6 / 1e-8,")


@prop("the parameters stay as they are", 1, "gradient_errors")
def point_kept(student: Any, rng: Rng) -> None:
    function, params = smooth(rng, planted=0.0)
    first = {name: value.copy() for name, value in params.items()}
    largest = 0.0

    def watched(p: Params) -> tuple[float, Params]:
        nonlocal largest
        moved = [np.abs(floats(p[name]) - first[name]).ravel() for name in first]
        largest = max(largest, float(np.sum(np.concatenate(moved) > 0)))
        return function(p)

    student.gradient_errors(Callback(watched, "loss_and_grads"), params)
    holds(not student.changed, "`gradient_errors` changed the parameters it was given.")
    holds(largest == 1, "exactly one entry is nudged at a time, and all others are as they were.")


GRADIENT_ERRORS = Exercise(
    name="gradient_errors",
    title="Stage 3: the proof",
    functions=("gradient_errors",),
    hints=(
        "Which two losses tell how the loss changes with ONE entry of one parameter?",
        "Work on copies: for each name and each index, a copy of that array with one entry nudged up, and one nudged "
        "down, in a dict that shares everything else.",
        "np.ndindex(value.shape) gives all indices. Fill an array of numerical slopes, then divide the largest "
        "absolute difference to the gradient by the largest absolute slope.",
    ),
    checks=(right_passes, wrong_found, point_kept),
    mistakes=(
        Mistake(
            name="one-sided-difference",
            advice="Nudge up AND down, and divide by 2h: a one-sided difference is too coarse to prove anything.",
            replaces={"gradient_errors": errors_with(one_sided=True)},
        ),
        Mistake(
            name="absolute-error",
            advice="Divide by the size of the gradient: an error of 0.001 is small beside 100 and large beside 0.001.",
            replaces={"gradient_errors": errors_with(scale="none")},
        ),
        Mistake(
            name="relative-to-the-gradient-in-question",
            advice="Divide by the numerical gradient, which can be trusted, not by the one that is on trial.",
            replaces={"gradient_errors": errors_with(scale="own")},
        ),
        Mistake(
            name="mean-error",
            advice="Take the maximum: one wrong entry among thousands disappears in a mean.",
            replaces={"gradient_errors": errors_with(how="mean")},
        ),
        Mistake(
            name="nudges-pile-up",
            advice="Nudge by h only, and put every entry back before you nudge the next one.",
            replaces={"gradient_errors": errors_with(cumulative=True)},
        ),
    ),
)

# --- stage 4: training -----------------------------------------------------------------------------------------------


def step_with(
    plain: tuple[str, ...] = (),
    late_loss: bool = False,
    fresh: bool = False,
    frozen_state: bool = False,
    evaluation: bool = False,
    twice: bool = False,
    no_dropout: bool = False,
) -> Make:
    def step(
        params: Params, state: Params, optimizer: Any, X: Array, y: Array, lr: float, rng: Any = None, p: float = 0.0
    ) -> Any:
        params = {name: floats(value) for name, value in params.items()}
        logits, cache, new_state = net_forward(X, params, state, not evaluation, rng, 0.0 if no_dropout else p)
        loss, dlogits = bce(logits, y)
        grads = net_backward(dlogits, cache)
        new, memory = adam_step(params, grads, {} if fresh else optimizer, lr)
        if twice:
            new, memory = adam_step(new, grads, memory, lr)
        new |= {name: params[name] - lr * grads[name] for name in params if name.startswith(plain)} if plain else {}
        if late_loss:
            loss = bce(net_forward(X, new, state, True, rng, p)[0], y)[0]
        return new, state if frozen_state else new_state, memory, loss

    return step


train_step = step_with()


def few_points(rng: Rng, n: int) -> tuple[Array, Array]:
    """Points in the plane, labelled by a circle: both labels occur."""
    X = rng.normal(size=(n, 2))
    distance = (X**2).sum(axis=1)
    return X, (distance > np.median(distance)).astype(np.int64)


def stepped(student: Any, rng: Rng, p: float, steps: int, lists: bool = False) -> None:
    params, state = draw_params((2, 5, 4, 1), rng)
    memory: Any = {}
    ours, our_state = params, state
    our_memory: Any = {}
    for number in range(1, steps + 1):
        X, y = few_points(rng, 8)
        seed = int(rng.integers(1 << 30))
        ours, our_state, our_memory, our_loss = train_step(
            ours, our_state, our_memory, X, y, 0.05, np.random.default_rng(seed), p
        )
        batch = (X.tolist(), y.tolist()) if lists else (X, y)
        answer = student.call(
            "train_step", params, state, memory, *batch, 0.05, np.random.default_rng(seed), p, keep=(2,)
        )
        with case_of(f"step {number}", student.transcript[-1][0]):
            params, state, memory, loss = items(answer, ("params", "state", "optimizer", "loss"))
            same(loss, our_loss, "the loss", **TRAINED)
            same(params, ours, "params", **TRAINED)
            same(state, our_state, "state", **TRAINED)


@prop("one step", 2, "train_step")
def one_step(student: Any, rng: Rng) -> None:
    stepped(student, rng, 0.0, 1)
    stepped(student, rng, 0.0, 1, lists=True)


@prop("several steps, with dropout and Adam's memory", 3, "train_step")
def several_steps(student: Any, rng: Rng) -> None:
    stepped(student, rng, 0.25, 4)


TRAIN_STEP = Exercise(
    name="train_step",
    title="Stage 4: one step of training",
    functions=("train_step",),
    hints=(
        "Five things, in this order: forward, loss, backward, Adam, return.",
        "forward gives a new state, adam_step new parameters and a new memory: all three are returned, so that the "
        "next step can go on from there.",
        "logits, cache and state from forward with training True and with rng and p; loss and dlogits from bce; the "
        "gradients from backward; all of it into adam_step once.",
    ),
    checks=(one_step, several_steps),
    mistakes=(
        Mistake(
            name="gamma-and-beta-by-plain-descent",
            advice="gamma and beta are parameters like all others: Adam moves them too.",
            replaces={"train_step": step_with(plain=("gamma", "beta"))},
        ),
        Mistake(
            name="loss-after-the-step",
            advice="The loss of this batch is the one BEFORE the step; a second forward is not needed.",
            replaces={"train_step": step_with(late_loss=True)},
        ),
        Mistake(
            name="adam-starts-anew",
            advice="Adam got an empty memory in every step; hand on the one that you were given.",
            replaces={"train_step": step_with(fresh=True)},
        ),
        Mistake(
            name="running-statistics-not-handed-on",
            advice="The state that forward returned has moved; return that one, or evaluation never learns it.",
            replaces={"train_step": step_with(frozen_state=True)},
        ),
        Mistake(
            name="adam-called-twice",
            advice="One batch, one step: Adam was applied twice to the same gradients.",
            replaces={"train_step": step_with(twice=True)},
        ),
        Mistake(
            name="step-without-dropout",
            advice="Hand rng and p on to forward; yours trains without dropout.",
            replaces={"train_step": step_with(no_dropout=True)},
        ),
    ),
)

Run = dict[str, Any]


def train_with(
    drop_last: bool = False,
    shuffled: bool = True,
    constant_rate: bool = False,
    rate_by_epoch: bool = False,
    fresh_adam: bool = False,
    keep_last: bool = False,
    never_stop: bool = False,
    slow: int = 0,
    judged_in_training: bool = False,
    leaking_state: bool = False,
    learn_validation: bool = False,
    by_train_loss: bool = False,
    unweighted: bool = False,
) -> Make:
    """The training run; with an option, the same with something wrong."""

    def train(
        X: Array, y: Array, X_val: Array, y_val: Array, rng: Any, widths: Any = (2, 64, 64, 1), epochs: int = 300,
        batch_size: int = 50, lr: float = 0.01, p: float = 0.0, patience: int = 100,
    ) -> Any:  # fmt: skip
        X, y = floats(X), np.asarray(y)
        if learn_validation:
            X, y = np.concatenate([X, X_val]), np.concatenate([y, y_val])
        params, state = init_with()(widths, rng)
        memory: Any = {}
        starts = range(0, len(X) - batch_size + 1 if drop_last else len(X), batch_size)
        total, t, best, best_value = epochs * len(starts), 0, (params, state), np.inf
        train_loss, val_loss, best_epoch = [], [], 0
        for epoch in range(epochs):
            order = rng.permutation(len(X)) if shuffled else np.arange(len(X))
            losses, sizes = [], []
            if fresh_adam:
                memory = {}
            for start in starts:
                batch = order[start : start + batch_size]
                progress = epoch / epochs if rate_by_epoch else t / total
                rate = lr if constant_rate else lr * (1 + np.cos(np.pi * progress)) / 2
                params, state, memory, loss = train_step(params, state, memory, X[batch], y[batch], rate, rng, p)
                losses.append(loss)
                sizes.append(len(batch))
                t += 1
            train_loss.append(float(np.average(losses, weights=None if unweighted else sizes)))
            logits, _, moved = net_forward(X_val, params, state, judged_in_training or leaking_state)
            if leaking_state:
                logits = net_forward(X_val, params, state, False)[0]
                state = moved
            val_loss.append(float(bce(logits, y_val)[0]))
            value = (train_loss if by_train_loss else val_loss)[-1]
            if value < best_value:
                best, best_value, best_epoch = (params, state), value, epoch
            elif epoch - best_epoch >= patience + slow and not never_stop:
                break
        if keep_last:
            best = params, state
        return (*best, {"train_loss": train_loss, "val_loss": val_loss, "best_epoch": best_epoch})

    return train


train = train_with()


def run_case(rng: Rng, n: int, **options: Any) -> tuple[tuple[Any, ...], Run, int]:
    """Arguments of a short run, without its generator, the options, and the seed of the generator."""
    X, y = few_points(rng, n)
    X_val, y_val = few_points(rng, 9)
    options = {"widths": (2, 5, 4, 1), "epochs": 3, "batch_size": 6, "lr": 0.05, **options}
    return (X, y, X_val, y_val), options, int(rng.integers(1 << 30))


def trained(answer: Any) -> tuple[Any, Any, Run]:
    """What `train` returned, as far as it has the right form."""
    params, state, history = items(answer, ("params", "state", "history"))
    for key in ("train_loss", "val_loss"):
        values = numbers(entry(history, key, "history"), None, f"history[{key!r}]")
        holds(values.ndim == 1, f"history[{key!r}] should be a list of numbers, one for each epoch.")
    return params, state, history


def like_ours(student: Any, data: tuple[Any, ...], options: Run, seed: int, reason: str) -> None:
    want = train(*data, np.random.default_rng(seed), **options)
    answer = student.call("train", *data, np.random.default_rng(seed), **options)
    with case_of(reason, student.transcript[-1][0]):
        params, state, history = trained(answer)
        same(history["train_loss"], np.array(want[2]["train_loss"]), "history['train_loss']", **TRAINED)
        same(history["val_loss"], np.array(want[2]["val_loss"]), "history['val_loss']", **TRAINED)
        same(entry(history, "best_epoch", "history"), want[2]["best_epoch"], "history['best_epoch']")
        same(params, want[0], "params", **TRAINED)
        same(state, want[1], "state", **TRAINED)


@prop("batches, rates and losses of a short run", 3, "train")
def short_run(student: Any, rng: Rng) -> None:
    like_ours(student, *run_case(rng, 18), "three full batches an epoch")


@prop("the last short batch is used", 1, "train")
def last_batch(student: Any, rng: Rng) -> None:
    like_ours(student, *run_case(rng, 15, p=0.2), "two full batches and one of three")


def stopping_case(rng: Rng) -> tuple[tuple[Any, ...], Run, int]:
    """A run that stops early, with its best epoch neither the first nor the last, and lower training losses later."""
    while True:
        data, options, seed = run_case(rng, 18, epochs=20, patience=3, lr=0.1)
        history = train(*data, np.random.default_rng(seed), **options)[2]
        later = history["train_loss"][history["best_epoch"] + 1 :]
        if history["best_epoch"] > 0 and len(history["val_loss"]) < 16 and min(later) < min(history["train_loss"][:2]):
            return data, options, seed


@prop("early stopping: the best epoch, and no epoch too many", 3, "train")
def stops(student: Any, rng: Rng) -> None:
    like_ours(student, *stopping_case(rng), "a validation loss that rises, with a patience of 3")
    # Without blocks there are no statistics either, and a rate of 0 leaves every epoch's loss exactly the same.
    idle = run_case(rng, 12, widths=(2, 1), epochs=6, patience=2, lr=0.0)
    like_ours(student, *idle, "a rate of 0, so that no loss is lower than the first, with a patience of 2")


@prop("the validation set only judges", 2, "train")
def validation_judges(student: Any, rng: Rng) -> None:
    (X, y, X_val, y_val), options, seed = run_case(rng, 18, epochs=1)
    runs = []
    for other_X, other_y in ((X_val, y_val), (3 * X_val[:5] + 1, 1 - y_val[:5])):
        answer = student.call("train", X, y, other_X, other_y, np.random.default_rng(seed), **options)
        runs.append(trained(answer))
    with case_of("one epoch, with two different validation sets", student.transcript[-1][0]):
        what = "of a run with another validation set, which no gradient and no statistic may see,"
        same(runs[1][2]["train_loss"], numbers(runs[0][2]["train_loss"]), f"the training loss {what}")
        for part, name in ((0, "params"), (1, "state")):
            holds(type(runs[0][part]) is dict, f"{name} should be a dict.")
            for key, value in runs[0][part].items():
                same(entry(runs[1][part], key, name), numbers(value), f"{key} {what}")


@prop("the same generator gives the same network", 1, "train")
def reproducible(student: Any, rng: Rng) -> None:
    data, options, seed = run_case(rng, 12, p=0.3)
    first, second, other = (
        trained(student.call("train", *data, np.random.default_rng(s), **options))[0] for s in (seed, seed, seed + 1)
    )
    with case_of("two runs with equal generators, and one with another", student.transcript[-1][0]):
        for key, value in first.items():
            same(entry(second, key, "params"), numbers(value), f"the second run's {key}")
        weights = numbers(entry(first, "W1", "params")), numbers(entry(other, "W1", "params"))
        holds(not np.array_equal(*weights), "another generator gave the same weights: use the rng you are given.")


def turned(X: Array, angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return X @ np.array([[c, s], [-s, c]])


@training("more than 97 % on points it has never seen", 10, "train", "predict_proba", cpu_s=15.0)
def reaches_target(student: Any, rng: Rng) -> None:
    # docs/projects.md has the 20 seeds. The spirals are turned by an angle that only the data tell, so that nothing but
    # learning helps.
    angle, flip = rng.uniform(0, 2 * np.pi), int(rng.integers(2))
    X, y = make_spirals(250, NOISE, rng=rng)
    (X_val, y_val), (X_new, y_new) = sample_spirals(200, NOISE, rng), sample_spirals(2000, NOISE, rng)
    X, X_val, X_new = (turned(points, angle) for points in (X, X_val, X_new))
    y, y_val, y_new = (labels ^ flip for labels in (y, y_val, y_new))
    params, state, _ = trained(student.train(X, y, X_val, y_val, rng))
    said = numbers(student.predict_proba(X_new, params, state), (2000,), "the probabilities") > 0.5
    right = float(np.mean(said == (y_new > 0.5)))
    below(
        1 - right,
        1 - TARGET - 1e-9,
        "on 2,000 fresh points of the spirals the trained network should be right more than 97 times in 100.",
        f"It is right {100 * right:.2f} times in 100.",
    )


TRAIN = Exercise(
    name="train",
    title="Stage 4: the training run",
    functions=("train",),
    hints=(
        "Two loops: epochs outside, batches inside. What happens once a run, once an epoch, once a batch?",
        "Once a run: the network, Adam's empty memory, the counter t. Once an epoch: a permutation, the two losses, "
        "the question whether this is the best so far. Once a batch: the rate and one train_step.",
        "Remember (params, state) whenever the validation loss is strictly lower than the best so far. If it is not, "
        "and epoch minus best epoch has reached the patience, break. Return what was remembered.",
    ),
    checks=(short_run, last_batch, stops, validation_judges, reproducible, reaches_target),
    mistakes=(
        Mistake(
            name="short-batch-dropped",
            advice="The last, shorter batch is used too; without it some samples are left out of each epoch.",
            replaces={"train": train_with(drop_last=True)},
        ),
        Mistake(
            name="epochs-not-shuffled",
            advice="Draw a new permutation in every epoch; otherwise the batches are always the same.",
            replaces={"train": train_with(shuffled=False)},
        ),
        Mistake(
            name="rate-stays-constant",
            advice="The learning rate falls along half a cosine, from lr to almost 0.",
            replaces={"train": train_with(constant_rate=True)},
        ),
        Mistake(
            name="rate-falls-by-epochs",
            advice="t counts the steps, batch by batch, not the epochs.",
            replaces={"train": train_with(rate_by_epoch=True)},
        ),
        Mistake(
            name="adam-forgets-each-epoch",
            advice="One memory of Adam serves the whole run; yours begins anew with every epoch.",
            replaces={"train": train_with(fresh_adam=True)},
        ),
        Mistake(
            name="last-network-returned",
            advice="Return the parameters AND the state of the best epoch, not those of the last.",
            replaces={"train": train_with(keep_last=True)},
        ),
        Mistake(
            name="never-stops-early",
            advice="When the best epoch lies `patience` epochs back, the run ends.",
            replaces={"train": train_with(never_stop=True)},
        ),
        Mistake(
            name="stops-one-epoch-late",
            advice="Stop in the very epoch that lies `patience` epochs after the best one.",
            replaces={"train": train_with(slow=1)},
        ),
        Mistake(
            name="validated-in-training-mode",
            advice="The validation loss is measured in evaluation, with the running statistics.",
            replaces={"train": train_with(judged_in_training=True)},
        ),
        Mistake(
            name="validation-moves-the-statistics",
            advice="The validation points moved the running statistics: what judges must not teach.",
            replaces={"train": train_with(leaking_state=True)},
        ),
        Mistake(
            name="validation-set-learned",
            advice="The validation samples are among the training samples, so their loss says nothing any more.",
            replaces={"train": train_with(learn_validation=True)},
        ),
        Mistake(
            name="best-by-training-loss",
            advice="The training loss falls as a network learns by heart; the validation loss chooses the epoch.",
            replaces={"train": train_with(by_train_loss=True)},
        ),
        Mistake(
            name="batches-weighted-alike",
            advice="The epoch's loss is the mean over samples: a short batch counts for less.",
            replaces={"train": train_with(unweighted=True)},
        ),
    ),
)

# --- stage 5: evaluation ---------------------------------------------------------------------------------------------


def probabilities(X: Array, params: Params, state: Params) -> Array:
    return sigmoid(net_forward(X, params, state, False)[0][:, 0])


def eval_case(batch: int, scale: float = 1.0) -> Any:
    def draw(rng: Rng) -> tuple[Any, ...]:
        params, state = draw_params((2, 5, 4, 1), rng)
        X = rng.normal(size=(batch, 2))
        # Half of an even number of points are on either side.
        middle = np.median(net_forward(X, params, state, False)[0]) if batch > 1 else 0.0
        params = {**params, "W3": scale * params["W3"], "b3": scale * (params["b3"] - middle)}
        return X, params, state

    return draw


PREDICT = Exercise(
    name="predict_proba",
    title="Stage 5: probabilities",
    functions=("predict_proba",),
    hints=(
        "Which of the network's two modes answers questions?",
        "The logits are (B, 1) and the answer is (B,): take the column.",
        "exp(-logaddexp(0, -z)) is a sigmoid that never overflows; z is the first column of the logits in evaluation.",
    ),
    checks=(
        numeric(
            "in evaluation",
            2,
            "predict_proba",
            probabilities,
            [
                Case("eight points", eval_case(8)),
                Case("a single point", eval_case(1)),
                Case("points as nested lists", as_lists(eval_case(3))),
            ],
        ),
        numeric("huge logits", 1, "predict_proba", probabilities, [Case("logits of thousands", eval_case(12, 5000.0))]),
    ),
    mistakes=(
        Mistake(
            name="predicts-in-training-mode",
            advice="Predict in evaluation: with the batch's statistics an answer depends on the other points.",
            replaces={
                "predict_proba": lambda X, params, state: sigmoid(
                    forward_with(block_with(statistics="always-batch"))(X, params, state, False)[0][:, 0]
                )
            },
        ),
        Mistake(
            name="logits-for-probabilities",
            advice="A probability is the sigmoid of the logit.",
            replaces={"predict_proba": lambda X, params, state: net_forward(X, params, state, False)[0][:, 0]},
        ),
        Mistake(
            name="labels-for-probabilities",
            advice="Probabilities are asked for, from 0 to 1, not labels.",
            replaces={"predict_proba": lambda X, params, state: (probabilities(X, params, state) > 0.5) * 1.0},
        ),
        Mistake(
            name="probability-of-the-other-arm",
            advice="It is the probability of arm 1, not of arm 0.",
            replaces={"predict_proba": lambda X, params, state: 1 - probabilities(X, params, state)},
        ),
    ),
)


def share_right(X: Array, y: Array, params: Params, state: Params) -> float:
    return float(np.mean((probabilities(X, params, state) > 0.5) == (np.asarray(y) > 0.5)))


def judged_case(batch: int) -> Any:
    """Points with labels of which some are wrong."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        X, params, state = eval_case(batch)(rng)
        right = probabilities(X, params, state) > 0.5
        return X, (right ^ (np.arange(batch) % 4 == 0)).astype(np.int64), params, state

    return draw


def half_case(rng: Rng) -> tuple[Any, ...]:
    """A network that says one half everywhere, and three labels of 1 among four."""
    X, params, state = eval_case(4)(rng)
    silent = {**params, "W3": np.zeros_like(params["W3"]), "b3": np.zeros(1)}
    return X, np.array([1, 1, 0, 1]), silent, state


def accuracy_with(judge: Callable[[Array, Array], float]) -> Make:
    return lambda X, y, params, state: judge(probabilities(X, params, state), np.asarray(y))


ACCURACY = Exercise(
    name="accuracy",
    title="Stage 5: how often it is right",
    functions=("accuracy",),
    hints=(
        "When does the network say 1?",
        "Compare the probabilities with one half, and the outcome with the labels.",
        "The mean of the comparison of (probability > 0.5) with the labels is the share of right answers.",
    ),
    checks=(
        numeric(
            "the share of right answers",
            2,
            "accuracy",
            share_right,
            [
                Case("eight points, two labels wrong", judged_case(8)),
                Case("points and labels as lists", as_lists(judged_case(6))),
                Case("a probability of exactly one half is no 1", half_case),
            ],
        ),
    ),
    mistakes=(
        Mistake(
            name="half-counts-as-one",
            advice="The network says 1 only above one half, not at it.",
            replaces={"accuracy": accuracy_with(lambda p, y: float(np.mean((p >= 0.5) == (y > 0.5))))},
        ),
        Mistake(
            name="errors-counted",
            advice="The share of right answers is asked for, not that of errors.",
            replaces={"accuracy": accuracy_with(lambda p, y: float(np.mean((p > 0.5) != (y > 0.5))))},
        ),
        Mistake(
            name="right-answers-not-divided",
            advice="Divide the count of right answers by the number of points.",
            replaces={"accuracy": accuracy_with(lambda p, y: float(np.sum((p > 0.5) == (y > 0.5))))},
        ),
        Mistake(
            name="answers-compared-with-broadcasting",
            advice="Compare (B,) with (B,): a (B, 1) against (B,) compares every answer with every label.",
            replaces={"accuracy": accuracy_with(lambda p, y: float(np.mean((p[:, None] > 0.5) == (y > 0.5))))},
        ),
    ),
)


def grid(params: Params, state: Params, low: float, high: float, resolution: int) -> Any:
    axis = np.linspace(low, high, resolution)
    points = np.array([[x, y] for y in axis for x in axis])
    return axis, probabilities(points, params, state).reshape(resolution, resolution)


def grid_transposed(params: Params, state: Params, low: float, high: float, resolution: int) -> Any:
    axis, values = grid(params, state, low, high, resolution)
    return axis, values.T


def grid_flipped(params: Params, state: Params, low: float, high: float, resolution: int) -> Any:
    axis, values = grid(params, state, low, high, resolution)
    return axis, values[::-1]


def grid_open(params: Params, state: Params, low: float, high: float, resolution: int) -> Any:
    step = (high - low) / resolution
    return grid(params, state, low, high - step, resolution)


def grid_flat(params: Params, state: Params, low: float, high: float, resolution: int) -> Any:
    axis, values = grid(params, state, low, high, resolution)
    return axis, values.ravel()


GRIDS = [
    Case("five by five", lambda rng: (*eval_case(1)(rng)[1:], -1.5, 1.0, 5)),
    Case("two by two", lambda rng: (*eval_case(1)(rng)[1:], 0.0, 2.0, 2)),
]

GRID = Exercise(
    name="decision_grid",
    title="Stage 5: the boundary, on a grid",
    functions=("decision_grid",),
    hints=(
        "How many points has the grid, and in which order do they belong into the rows of a picture?",
        "np.meshgrid gives the x of every place and the y of every place, both (R, R); the network wants (R * R, 2).",
        "Flatten both, put them side by side, ask predict_proba once, and reshape the answer to (R, R).",
    ),
    checks=(
        numeric("the axis", 1, "decision_grid", grid, GRIDS, pick=0, result="the axis"),
        numeric("the values", 2, "decision_grid", grid, GRIDS, pick=1, result="the table of values"),
    ),
    mistakes=(
        Mistake(
            name="grid-transposed",
            advice="A row of values belongs to one y: values[i, j] is at (axis[j], axis[i]).",
            replaces={"decision_grid": grid_transposed},
        ),
        Mistake(
            name="grid-upside-down",
            advice="The first row of values belongs to the lowest y.",
            replaces={"decision_grid": grid_flipped},
        ),
        Mistake(
            name="upper-end-left-out",
            advice="The axis includes both ends, low and high.",
            replaces={"decision_grid": grid_open},
        ),
        Mistake(
            name="grid-left-flat",
            advice="The values are a table (R, R): reshape what the network returned.",
            replaces={"decision_grid": grid_flat},
        ),
    ),
)

# --- the picture -----------------------------------------------------------------------------------------------------


def draw_picture(student: Any, figure: Any) -> None:
    """The losses of the student's run, and the boundary the network learned with fresh points on it."""
    left, right = figure.subplots(1, 2)
    rng = np.random.default_rng(334)
    X, y = items(student.make_spirals(250, NOISE, rng), ("X", "y"))
    (X_val, y_val), (X_new, y_new) = sample_spirals(200, NOISE, rng), sample_spirals(400, NOISE, rng)
    student.cpu_s = 15.0
    params, state, history = trained(student.train(X, y, X_val, y_val, rng))
    left.semilogy(history["train_loss"], color="C7", lw=0.8, label="training batches")
    left.semilogy(history["val_loss"], color="C0", lw=1.5, label="validation")
    left.axvline(history["best_epoch"], color="k", lw=0.8, ls=":", label="best epoch")
    left.set(xlabel="epoch", ylabel="cross-entropy (nats)", title="The losses of your run")
    left.legend(frameon=False, fontsize=8)
    axis, values = items(student.decision_grid(params, state, -1.3, 1.3, 121), ("axis", "values"))
    right.contourf(axis, axis, values, levels=np.linspace(0, 1, 11), cmap="RdBu_r", alpha=0.6)
    right.contour(axis, axis, values, levels=[0.5], colors="k", linewidths=0.8)
    share = float(student.accuracy(X_new, y_new, params, state))
    for arm, marker, color in ((0, "o", "C0"), (1, "^", "C3")):
        points = X_new[y_new == arm]
        right.plot(*points.T, marker, color=color, ms=3.5, mec="w", mew=0.3, label=f"arm {arm}")
    right.set(xlabel="x", ylabel="y", title=f"400 fresh points: {100 * share:.1f} % right", aspect="equal")
    right.legend(fontsize=8, loc="upper right")


CHAPTER = Chapter(
    id="ch334",
    slug="project_neural_net",
    title="Project: Neural Net from Scratch (NumPy only)",
    part="Projects",
    summary="The two spirals from data to evaluation: a network with batch normalisation and dropout, exact gradients "
    "and their proof, Adam, early stopping, and more than 97 % on fresh points.",
    builds_on=("ch306", "ch310", "ch311", "ch312"),
    exercises=(
        MAKE_SPIRALS,
        SPLIT,
        INIT,
        DROPOUT,
        BLOCK_FORWARD,
        FORWARD,
        BLOCK_BACKWARD,
        BACKWARD,
        BCE,
        GRADIENT_ERRORS,
        TRAIN_STEP,
        TRAIN,
        PREDICT,
        ACCURACY,
        GRID,
    ),
    picture=Picture(title="The boundary your network learned", draw=draw_picture),
)
