"""Checks of chapter 326: adversarial losses, the perfect discriminator, one-sided steps, a critic, mode collapse."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from dlreference import gan as ref
from dlreference import mlp, optim

from dlgrade.course.compare import below, entry, holds, items, numbers, same
from dlgrade.course.kinds import (
    Case,
    GradientCase,
    Rng,
    case_of,
    gradient,
    numeric,
    prop,
    statistical,
    training,
    unchanged,
)
from dlgrade.course.spec import Chapter, Exercise, Mistake, Picture

Array = np.ndarray[Any, Any]
Params = dict[str, Array]
Model = dict[str, Any]
Draw = Callable[[Rng], tuple[Any, ...]]


def floats(value: Any) -> Array:
    return np.asarray(value, dtype=np.float64)


def fresh(rng: Rng) -> Rng:
    return np.random.default_rng(int(rng.integers(1 << 62)))


def soft(x: Array) -> Array:
    """The integral of the sigmoid, log(1 + exp(x))."""
    return np.logaddexp(0, x)


def sigmoid(x: Array) -> Array:
    return np.exp(-soft(-x))


# --- losses ----------------------------------------------------------------------------------------------------------


def d_loss_with(
    real: Callable[[Array], Any] = lambda x: soft(-x),
    fake: Callable[[Array], Any] = soft,
    dreal: Callable[[Array], Array] = lambda x: -sigmoid(-x),
    dfake: Callable[[Array], Array] = sigmoid,
    mean: Callable[[Array], Any] = np.mean,
    share: Callable[[Array, Array, Array], float] = lambda own, real, fake: own.size,
    factor: float = 1.0,
) -> dict[str, Callable[..., Any]]:
    """discriminator_loss with other terms, slopes, averages, or times a factor."""

    def loss(real_logits: Any, fake_logits: Any) -> Any:
        r, f = floats(real_logits), floats(fake_logits)
        with np.errstate(all="ignore"):
            value = factor * (mean(real(r)) + mean(fake(f)))
            return value, factor * dreal(r) / share(r, r, f), factor * dfake(f) / share(f, r, f)

    return {"discriminator_loss": loss}


def pooled(real_logits: Any, fake_logits: Any) -> Any:
    """One mean over all samples, real and generated together, times 2."""
    _, dreal, dfake = ref.discriminator_loss(real_logits, fake_logits)
    real, fake = floats(real_logits), floats(fake_logits)
    n = real.size + fake.size
    value = 2 * (soft(-real).sum() + soft(fake).sum()) / n
    return value, dreal * 2 * real.size / n, dfake * 2 * fake.size / n


def g_loss_with(
    value: Callable[[Array, bool], Any], slope: Callable[[Array, bool], Array]
) -> dict[str, Callable[..., Any]]:
    """generator_loss with another value or slope for each logit, both to be averaged."""

    def loss(fake_logits: Any, saturating: bool = False) -> Any:
        x = floats(fake_logits)
        with np.errstate(all="ignore"):
            return float(np.mean(value(x, saturating))), slope(x, saturating) / x.size

    return {"generator_loss": loss}


def g_value(x: Array, saturating: bool) -> Array:
    return -soft(x) if saturating else soft(-x)


def g_slope(x: Array, saturating: bool) -> Array:
    return -sigmoid(x) if saturating else -sigmoid(-x)


def right_generator_loss(fake_logits: Any, saturating: bool = False) -> Any:
    return ref.generator_loss(fake_logits, "saturating" if saturating else "non_saturating")


def two_logits(real: tuple[int, ...], fake: tuple[int, ...], scale: float = 1.0, shift: float = 0.0) -> Draw:
    return lambda rng: (shift + scale * rng.normal(size=real), shift + scale * rng.normal(size=fake))


def logits(*shape: int, kind: bool = False, scale: float = 1.0, shift: float = 0.0) -> Draw:
    return lambda rng: (shift + scale * rng.normal(size=shape), kind)


LOGIT_CASES = [
    Case("the usual one, six samples", logits(6, 1)),
    Case("the saturating one, six samples", logits(6, 1, kind=True)),
    Case("the usual one, D = 0.001", lambda rng: (np.full((4, 1), -math.log(999.0)), False)),
    Case("the saturating one, D = 0.001", lambda rng: (np.full((4, 1), -math.log(999.0)), True)),
    Case("the usual one, logits of ten thousand", logits(5, 1, scale=1e4)),
    Case("the saturating one, logits of ten thousand", logits(5, 1, kind=True, scale=1e4)),
    Case("the usual one, a table of six samples", logits(2, 3)),
    Case("the saturating one, a table of six samples", logits(2, 3, kind=True)),
    Case("the usual one, a single logit of -20000", lambda rng: (np.array([-2e4]), False)),
    Case("the saturating one, a single logit of 20000", lambda rng: (np.array([2e4]), True)),
]


def d_loss_inputs(draw: Draw) -> Callable[[Rng], dict[str, Any]]:
    return lambda rng: dict(zip(("real_logits", "fake_logits"), draw(rng), strict=True))


def d_loss_hopeless(rng: Rng) -> dict[str, Any]:
    """One real sample is called a fake so surely that its loss covers the digits of all others."""
    i = d_loss_inputs(two_logits((4, 1), (3, 1)))(rng)
    i["real_logits"][0] = -1e8
    return i


def d_loss_call(student: Any, i: dict[str, Any]) -> tuple[Any, ...]:
    return items(student.discriminator_loss(i["real_logits"], i["fake_logits"]), ("loss", "dreal", "dfake"))


KINDS = ("usual", "saturating")


def g_loss_inputs(
    scale: float = 1.0, shift: float = 0.0, shape: tuple[int, ...] = (6, 1)
) -> Callable[[Rng], dict[str, Any]]:
    """Logits for each kind; both are asked for before either is compared, so that mistakes can be told apart."""
    return lambda rng: {kind: logits(*shape, scale=scale, shift=shift)(rng)[0] for kind in KINDS}


def g_loss_hopeless(rng: Rng) -> dict[str, Any]:
    """One sample's part of the loss covers the digits of all others, in each kind of loss."""
    i = g_loss_inputs()(rng)
    i["usual"][0], i["saturating"][0] = -1e8, 1e8
    return i


def g_loss_calls(student: Any, i: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    return {kind: items(student.generator_loss(i[kind], kind == "saturating"), ("loss", "dlogits")) for kind in KINDS}


LOSSES = Exercise(
    name="losses",
    title="What each player wants",
    functions=("discriminator_loss", "generator_loss"),
    hints=(
        "What does each player pay for a sample that the discriminator is sure about, rightly or wrongly? Write that "
        "in terms of the logit, not of D.",
        "log D is minus logaddexp(0, -logit) and log(1 - D) minus logaddexp(0, logit): every term of both losses is "
        "one of these two. Average over real and over generated samples separately.",
        "The discriminator pays mean(logaddexp(0, -real)) + mean(logaddexp(0, fake)), with slopes D - 1 and D, each "
        "divided by its own number of samples. The generator pays mean(logaddexp(0, -fake)), or, if it saturates, "
        "minus mean(logaddexp(0, fake)).",
    ),
    checks=(
        numeric(
            "the discriminator's loss",
            4,
            "discriminator_loss",
            ref.discriminator_loss,
            [
                Case("five real and five generated samples", two_logits((5, 1), (5, 1))),
                Case("three real and eight generated ones", two_logits((3, 1), (8, 1))),
                Case("one of each, plain vectors", two_logits((1,), (1,))),
                Case("tables of six real and eight generated ones", two_logits((2, 3), (4, 2))),
                Case("logits of ten thousand", two_logits((4, 1), (4, 1), scale=1e4)),
                Case("undecided everywhere: 2 log 2", lambda rng: (np.zeros((3, 1)), np.zeros((2, 1)))),
                Case("lists of whole numbers", lambda rng: ([2, -1, 0], [-3, 1])),
            ],
            pick=0,
            result="the loss",
        ),
        gradient(
            "the discriminator's gradients",
            4,
            ("discriminator_loss",),
            [
                GradientCase("five real and five generated samples", d_loss_inputs(two_logits((5, 1), (5, 1)))),
                GradientCase("two real and seven generated ones", d_loss_inputs(two_logits((2, 1), (7, 1)))),
                GradientCase("logits of ten thousand", d_loss_inputs(two_logits((4, 1), (3, 1), scale=1e4))),
                GradientCase("tables of six real and eight generated ones", d_loss_inputs(two_logits((2, 3), (4, 2)))),
                GradientCase("a loss of millions, where differences lose digits", d_loss_hopeless),
            ],
            value=lambda student, i: d_loss_call(student, i)[0],
            grads=lambda student, i: dict(
                zip(("real_logits", "fake_logits"), d_loss_call(student, i)[1:], strict=True)
            ),
            reference=lambda i: dict(
                zip(
                    ("real_logits", "fake_logits"),
                    ref.discriminator_loss(i["real_logits"], i["fake_logits"])[1:],
                    strict=True,
                )
            ),
        ),
        numeric(
            "the generator's loss, both kinds",
            4,
            "generator_loss",
            right_generator_loss,
            [*LOGIT_CASES, Case("saturating is not the default", lambda rng: (rng.normal(size=(3, 1)),))],
            pick=0,
            result="the loss",
        ),
        gradient(
            "the generator's gradient, both kinds",
            5,
            ("generator_loss",),
            [
                GradientCase("six samples", g_loss_inputs()),
                GradientCase("D near 0.001", g_loss_inputs(scale=0.1, shift=-7.0)),
                GradientCase("logits of ten thousand", g_loss_inputs(scale=1e4)),
                GradientCase("a table of six samples", g_loss_inputs(shape=(2, 3))),
                GradientCase("a loss of millions, where differences lose digits", g_loss_hopeless),
            ],
            value=lambda student, i: sum(float(answer[0]) for answer in g_loss_calls(student, i).values()),
            grads=lambda student, i: {kind: answer[1] for kind, answer in g_loss_calls(student, i).items()},
            reference=lambda i: {kind: right_generator_loss(i[kind], kind == "saturating")[1] for kind in KINDS},
            names={"usual": "the gradient, not saturating,", "saturating": "the gradient, saturating,"},
        ),
        unchanged(1, {"discriminator_loss": two_logits((3, 1), (2, 1)), "generator_loss": logits(3, 1)}),
    ),
    mistakes=(
        Mistake(
            name="labels-swapped",
            advice="Real samples should get D = 1 and generated ones D = 0; your discriminator is taught the opposite.",
            replaces={"discriminator_loss": lambda real, fake: ref.discriminator_loss(-floats(real), -floats(fake))},
            variants=(d_loss_with(soft, lambda x: soft(-x), sigmoid, lambda x: -sigmoid(-x)),),
        ),
        Mistake(
            name="all-called-real",
            advice="Generated samples pay -log(1 - D), so the slope at their logits is D, not D - 1.",
            replaces=d_loss_with(fake=lambda x: soft(-x), dfake=lambda x: -sigmoid(-x)),
            variants=(d_loss_with(dfake=lambda x: -sigmoid(-x)), d_loss_with(fake=lambda x: soft(-x))),
        ),
        Mistake(
            name="two-means-averaged",
            advice="The discriminator's loss is the sum of the two means, not half of it: undecided it is 2 log 2.",
            replaces=d_loss_with(factor=0.5),
        ),
        Mistake(
            name="real-and-fake-in-one-mean",
            advice="Real and generated samples have a mean each, however many there are of either.",
            replaces={"discriminator_loss": pooled},
        ),
        Mistake(
            name="summed-over-the-batch",
            advice="Both parts are means over their batch, so that loss and slopes do not grow with its size.",
            replaces=d_loss_with(mean=np.sum, share=lambda own, real, fake: 1),
            variants=(d_loss_with(share=lambda own, real, fake: 1),),
        ),
        Mistake(
            name="divided-by-the-other-batch",
            advice="Each gradient is divided by the size of its own batch: the numbers of real and generated samples "
            "may differ.",
            replaces=d_loss_with(share=lambda own, real, fake: real.size),
            variants=(d_loss_with(share=lambda own, real, fake: fake.size),),
        ),
        Mistake(
            name="log-of-a-rounded-sigmoid",
            advice="D rounds to 0 or 1 at large logits, and its logarithm breaks: work with logaddexp on the logits.",
            replaces=d_loss_with(lambda x: -np.log(1 / (1 + np.exp(-x))), lambda x: -np.log(1 - 1 / (1 + np.exp(-x)))),
            variants=(
                d_loss_with(lambda x: -np.log(sigmoid(x) + 1e-8), lambda x: -np.log(1 - sigmoid(x) + 1e-8)),
                g_loss_with(lambda x, s: np.log(1 - sigmoid(x)) if s else -np.log(sigmoid(x)), g_slope),
                g_loss_with(lambda x, s: np.log(1 - sigmoid(x) + 1e-8) if s else -np.log(sigmoid(x) + 1e-8), g_slope),
            ),
        ),
        Mistake(
            name="always-saturating",
            advice="Unless `saturating` is asked for, the generator minimises -mean log D: its slope -(1 - D) stays "
            "alive where D is nearly 0, and that of mean log(1 - D) does not.",
            replaces=g_loss_with(lambda x, s: g_value(x, True), lambda x, s: g_slope(x, True)),
            variants=(g_loss_with(g_value, lambda x, s: g_slope(x, True)),),
        ),
        Mistake(
            name="never-saturating",
            advice="If `saturating` is true, the loss is the mean of log(1 - D), with the slope -D.",
            replaces=g_loss_with(lambda x, s: g_value(x, False), lambda x, s: g_slope(x, False)),
            variants=(g_loss_with(g_value, lambda x, s: g_slope(x, False)),),
        ),
        Mistake(
            name="kinds-interchanged",
            advice="-mean log D is the non-saturating loss, and mean log(1 - D) the saturating one; yours are "
            "interchanged.",
            replaces=g_loss_with(lambda x, s: g_value(x, not s), lambda x, s: g_slope(x, not s)),
        ),
        Mistake(
            name="generator-wants-to-be-caught",
            advice="The generator wants D = 1 on its samples; yours is rewarded for D = 0.",
            replaces=g_loss_with(
                lambda x, s: soft(-x) if s else soft(x), lambda x, s: -sigmoid(-x) if s else sigmoid(x)
            ),
            variants=(
                g_loss_with(lambda x, s: -g_value(x, s), lambda x, s: -g_slope(x, s)),
                g_loss_with(g_value, lambda x, s: -g_slope(x, s)),
            ),
        ),
        Mistake(
            name="generator-gradient-not-averaged",
            advice="The generator's loss is a mean, so its slopes are divided by the number of logits.",
            replaces=g_loss_with(g_value, lambda x, s: g_slope(x, s) * x.size),
        ),
    ),
)

# --- the best discriminator ------------------------------------------------------------------------------------------


def distribution(rng: Rng, outcomes: int, empty: tuple[int, ...] = ()) -> Array:
    p = rng.uniform(0.2, 1.0, size=outcomes)
    p[list(empty)] = 0.0
    return floats(p / p.sum())


def pair(outcomes: int, no_data: tuple[int, ...] = (), no_samples: tuple[int, ...] = ()) -> Draw:
    return lambda rng: (distribution(rng, outcomes, no_data), distribution(rng, outcomes, no_samples))


def pair_and_d(outcomes: int, no_data: tuple[int, ...] = (), no_samples: tuple[int, ...] = ()) -> Draw:
    """With a discriminator that is sure, and right, where one of the two never happens."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        d = rng.uniform(0.1, 0.9, size=outcomes)
        d[list(no_data)] = 0.0
        d[list(no_samples)] = 1.0
        return (*pair(outcomes, no_data, no_samples)(rng), d)

    return draw


def weighted(weight: Array, x: Array, safe: bool = True) -> Array:
    with np.errstate(all="ignore"):
        return weight * np.log(np.where(weight > 0, x, 1.0) if safe else x)


def best_with(formula: Callable[[Array, Array], Array], nowhere: float = 0.5) -> dict[str, Callable[..., Any]]:
    def best(p: Any, q: Any) -> Array:
        p, q = floats(p), floats(q)
        with np.errstate(all="ignore"):
            return np.where(p + q == 0, nowhere, formula(p, q))

    return {"optimal_discriminator": best}


def value_with(
    formula: Callable[[Array, Array, Array], Any],
) -> dict[str, Callable[..., Any]]:
    return {"game_value": lambda p, q, d: formula(floats(p), floats(q), floats(d))}


def js_with(formula: Callable[[Array, Array], Any]) -> dict[str, Callable[..., Any]]:
    def divergence(p: Any, q: Any) -> Any:
        with np.errstate(all="ignore"):
            return formula(floats(p), floats(q))

    return {"jensen_shannon": divergence}


def kl(p: Array, q: Array) -> float:
    return float((weighted(p, p) - weighted(p, q)).sum())


@prop(
    "the best discriminator's game is worth -log 4 + 2 JS",
    4,
    "optimal_discriminator",
    "game_value",
    "jensen_shannon",
)
def worth(student: Any, rng: Rng) -> None:
    for reason, draw in (
        ("six outcomes", pair(6)),
        ("outcomes that never happen", pair(5, (0,), (1, 3))),
        ("equal distributions", lambda rng: (distribution(rng, 4),) * 2),
    ):
        p, q = draw(rng)
        with case_of(reason):
            best = numbers(student.optimal_discriminator(p, q), p.shape, "D*")
            same(best, ref.optimal_discriminator(p, q), "D*")
            value = float(numbers(student.game_value(p, q, best), (), "the value"))
            divergence = float(numbers(student.jensen_shannon(p, q), (), "the divergence"))
            same(value, -math.log(4) + 2 * divergence, "the value of the game with D*")
            # Never by less than rounding can hide: half of the way to 1/2 costs much more.
            other = 0.5 * best + 0.25 + 0.1 * (np.abs(best - 0.5) < 1e-6)
            worse = float(numbers(student.game_value(p, q, other), (), "the value"))
            holds(worse < value - 1e-6, "any other discriminator should make the value of the game smaller.")


OPTIMAL = Exercise(
    name="optimal",
    title="The perfect opponent",
    functions=("optimal_discriminator", "game_value", "jensen_shannon"),
    hints=(
        "For one outcome alone, which d makes p log d + q log(1 - d) largest? Set its slope to zero.",
        "Zeros need care in all three: 0/0 in the first, 0 log 0 in the others. Decide what the answer is there BEFORE "
        "you divide or take the logarithm; np.where computes both of its sides.",
        "Divide by np.where(p + q == 0, 1, p + q). For a weighted logarithm take log of np.where(p > 0, d, 1). The "
        "divergence is half of each of two sums, both against the average of p and q.",
    ),
    checks=(
        numeric(
            "the best discriminator",
            3,
            "optimal_discriminator",
            ref.optimal_discriminator,
            [
                Case("six outcomes", pair(6)),
                Case("outcomes that only one of them knows", pair(5, (0,), (2, 3))),
                Case("outcomes that neither knows", lambda rng: ([0.0, 0.5, 0.0, 0.5], [0.0, 0.25, 0.75, 0.0])),
                Case("densities on a grid", lambda rng: tuple(rng.exponential(3.0, size=(3, 4)) for _ in "pq")),
                Case(
                    "densities far from everything, tiny and not 0",
                    lambda rng: tuple(rng.uniform(1e-13, 1e-12, size=5) for _ in "pq"),
                ),
            ],
        ),
        numeric(
            "the value of the game",
            3,
            "game_value",
            ref.game_value,
            [
                Case("six outcomes", pair_and_d(6)),
                Case("outcomes that only one of them knows, and D is sure", pair_and_d(6, (1, 2), (4,))),
                Case("outcomes that neither knows, and D is sure", lambda rng: ([0.5, 0, 0.5], [1, 0, 0], [0.4, 0, 1])),
                Case("undecided everywhere: -log 4", lambda rng: (*pair(5)(rng), np.full(5, 0.5))),
                Case("a single outcome", lambda rng: ([1.0], [1.0], [0.3])),
                Case(
                    "D is almost sure, and wrong",
                    lambda rng: (*pair(3)(rng), [1e-13, 0.5, 1 - 2.0**-40]),
                ),
            ],
        ),
        numeric(
            "the divergence",
            4,
            "jensen_shannon",
            ref.jensen_shannon,
            [
                Case("six outcomes", pair(6)),
                Case("outcomes that only one of them knows", pair(5, (0,), (2, 3))),
                Case("nothing in common: log 2", lambda rng: ([0.5, 0.5, 0.0], [0.0, 0.0, 1.0])),
                Case("equal", lambda rng: (np.full(4, 0.25), np.full(4, 0.25))),
                Case("an outcome that neither knows", lambda rng: ([0.2, 0.0, 0.8], [0.6, 0.0, 0.4])),
            ],
        ),
        worth,
        unchanged(
            1,
            {"optimal_discriminator": pair(4, (0,), (1,)), "game_value": pair_and_d(4), "jensen_shannon": pair(4)},
        ),
    ),
    mistakes=(
        Mistake(
            name="chance-of-being-generated",
            advice="D says how likely a sample is REAL: p / (p + q), with the data's probability on top.",
            replaces=best_with(lambda p, q: q / (p + q)),
        ),
        Mistake(
            name="ratio-instead-of-share",
            advice="D is a probability: divide by p + q, not by q alone.",
            replaces=best_with(lambda p, q: p / q),
        ),
        Mistake(
            name="certain-instead-of-probable",
            advice="The best discriminator says how likely, it does not decide: p / (p + q), between 0 and 1.",
            replaces=best_with(lambda p, q: np.where(p > q, 1.0, np.where(p < q, 0.0, 0.5))),
        ),
        Mistake(
            name="zero-by-zero",
            advice="Where both are 0 the answer is 1/2; p / (p + q) is 0/0 there.",
            replaces=best_with(lambda p, q: p / (p + q), float("nan")),
            variants=(best_with(lambda p, q: p / (p + q), 0.0), best_with(lambda p, q: p / (p + q), 1.0)),
        ),
        Mistake(
            name="value-with-the-wrong-sign",
            advice="The value is what the discriminator wants LARGE: p log d + q log(1 - d), without a minus.",
            replaces=value_with(lambda p, q, d: -ref.game_value(p, q, d)),
        ),
        Mistake(
            name="value-averaged",
            advice="p and q are weights that sum to one already: sum over the outcomes, and do not average.",
            replaces=value_with(lambda p, q, d: ref.game_value(p, q, d) / len(p)),
        ),
        Mistake(
            name="samples-called-real",
            advice="Generated samples count with log(1 - d), real ones with log d.",
            replaces=value_with(lambda p, q, d: (weighted(p, d) + weighted(q, d)).sum()),
            variants=(value_with(lambda p, q, d: (weighted(p, 1 - d) + weighted(q, d)).sum()),),
        ),
        Mistake(
            name="zero-times-infinity",
            advice="0 log 0 counts as 0, but 0 * log(0) is nan in floating point: replace the logarithm's argument "
            "where the weight is 0.",
            replaces=value_with(lambda p, q, d: (weighted(p, d, False) + weighted(q, 1 - d, False)).sum()),
            variants=(js_with(lambda p, q: 0.5 * sum((r * np.log(2 * r / (p + q))).sum() for r in (p, q))),),
        ),
        Mistake(
            name="divergence-not-halved",
            advice="Each of the two sums counts half, so that the divergence never exceeds log 2.",
            replaces=js_with(lambda p, q: 2 * ref.jensen_shannon(p, q)),
        ),
        Mistake(
            name="middle-not-halved",
            advice="The middle is the AVERAGE of p and q, (p + q) / 2: equal distributions have divergence 0.",
            replaces=js_with(lambda p, q: ref.jensen_shannon(p, q) - math.log(2)),
        ),
        Mistake(
            name="divergence-in-bits",
            advice="Natural logarithms: two distributions with nothing in common are log 2 apart, not 1.",
            replaces=js_with(lambda p, q: ref.jensen_shannon(p, q) / math.log(2)),
        ),
        Mistake(
            name="compared-without-the-middle",
            advice="p and q are each compared with their average m, not with each other.",
            replaces=js_with(lambda p, q: 0.5 * kl(p, q) + 0.5 * kl(q, p)),
            variants=(js_with(kl),),
        ),
        Mistake(
            name="divergence-of-the-middle",
            advice="The weights in the sums are p and q themselves: KL(p || m), not KL(m || p).",
            replaces=js_with(lambda p, q: 0.5 * kl((p + q) / 2, p) + 0.5 * kl((p + q) / 2, q)),
        ),
    ),
)

# --- nets ------------------------------------------------------------------------------------------------------------


def draw_net(rng: Rng, *widths: int) -> Params:
    params: Params = {}
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(widths), start=1):
        params[f"W{layer}"] = rng.normal(size=(fan_out, fan_in)) / math.sqrt(fan_in)
        params[f"b{layer}"] = 0.5 * rng.normal(size=fan_out)
    return params


def right_forward(x: Any, params: Params) -> tuple[Array, Any]:
    return mlp.forward(x, params, "tanh")


def forward_with(hidden: str = "tanh", last: Callable[[Array], Array] = lambda z: z) -> dict[str, Callable[..., Any]]:
    """net_forward with another activation; the way back keeps working on what the solution caches."""

    def forward(x: Any, params: Params) -> Any:
        out, cache = mlp.forward(x, params, hidden)
        weights = [floats(params[f"W{layer}"]) for layer in range(1, len(params) // 2 + 1)]
        out = last(out)
        return out, (weights, [floats(x), *(layer.a for layer in cache.layers[:-1]), out])

    return {"net_forward": forward}


def backward_with(
    slope: Callable[[Array, bool], Any] = lambda a, last: 1.0 if last else 1 - a**2,
    bias: Callable[[Array], Array] = lambda dz: dz.sum(axis=0),
    share: bool = False,
    through_first: bool = True,
) -> dict[str, Callable[..., Any]]:
    """net_backward on the solution's cache, wrong in one way."""

    def backward(dout: Any, cache: Any) -> Any:
        weights, values = cache
        da, grads = floats(dout), {}
        for layer in range(len(weights), 0, -1):
            dz = da * slope(values[layer], layer == len(weights))
            n = len(dz) if share else 1
            grads[f"W{layer}"], grads[f"b{layer}"] = dz.T @ values[layer - 1] / n, bias(dz) / n
            da = dz @ weights[layer - 1] if layer > 1 or through_first else np.zeros((len(dz), weights[0].shape[1]))
        return grads, da

    return {"net_backward": backward}


def net_case(batch: int, *widths: int, scale: float = 1.0) -> Draw:
    return lambda rng: (scale * rng.normal(size=(batch, widths[0])), draw_net(rng, *widths))


def net_inputs(batch: int, *widths: int, far: float = 0.0) -> Callable[[Rng], dict[str, Any]]:
    def draw(rng: Rng) -> dict[str, Any]:
        x, params = net_case(batch, *widths)(rng)
        params[f"b{len(widths) - 1}"] += far
        return {"x": x, "params": params, "dout": rng.normal(size=(batch, widths[-1]))}

    return draw


def net_call(student: Any, i: dict[str, Any]) -> tuple[Any, ...]:
    return items(student.call("net_forward", i["x"], i["params"], keep=(1,)), ("out", "cache"))


def net_back(student: Any, i: dict[str, Any]) -> tuple[Any, ...]:
    return items(student.net_backward(i["dout"], net_call(student, i)[1]), ("grads", "dx"))


def net_reference(i: dict[str, Any]) -> tuple[Params, Array]:
    return mlp.backward(i["dout"], right_forward(i["x"], i["params"])[1], i["params"])


def by_name(grads: Any, params: Params, where: str) -> dict[str, Any]:
    """Gradients under the names that `gradient` knows them by, all keys there and no others."""
    found = {f"{where}.{name}": entry(grads, name, "the dict of gradients") for name in params}
    holds(len(grads) == len(params), "the dict of gradients has keys that are no parameters.")
    return found


NET_CASES = [
    GradientCase("two layers, all widths different", net_inputs(4, 3, 5, 2)),
    GradientCase("three layers", net_inputs(3, 2, 4, 5, 1)),
    GradientCase("a single layer", net_inputs(5, 4, 3)),
    GradientCase("a batch of one", net_inputs(1, 3, 4, 2)),
    GradientCase("outputs near a million", net_inputs(3, 2, 4, 3, far=1e6)),
]

NETS = Exercise(
    name="nets",
    title="Two players of one kind",
    functions=("net_forward", "net_backward"),
    hints=(
        "One loop over the layers serves both players. What is different about the last layer?",
        "Keep every layer's output: the slope of tanh at z is 1 - a^2. On the way back each layer needs its own "
        "weights and the output of the layer before.",
        "Backward, for the layers L to 1: dz is da, times 1 - a_l^2 unless l = L; dW is dz.T @ a_(l-1), db the column "
        "sums of dz; then da = dz @ W_l. After the last round da is the gradient at the input.",
    ),
    checks=(
        numeric(
            "forward, any number of layers",
            4,
            "net_forward",
            right_forward,
            [
                Case("two layers, all widths different", net_case(4, 3, 5, 2)),
                Case("three layers", net_case(3, 2, 4, 5, 1)),
                Case("a single layer is linear", net_case(3, 4, 2, scale=10.0)),
                Case("a batch of one", net_case(1, 3, 4, 2)),
                Case("inputs of ten thousand", net_case(3, 2, 4, 3, scale=1e4)),
                Case("lists of whole numbers", lambda rng: ([[1, -2], [0, 3]], draw_net(rng, 2, 3, 1))),
            ],
            pick=0,
            result="out",
            keep=(1,),
        ),
        gradient(
            "gradients of the parameters",
            5,
            ("net_forward", "net_backward"),
            NET_CASES,
            value=lambda student, i: net_call(student, i)[0],
            grads=lambda student, i: by_name(net_back(student, i)[0], i["params"], "params"),
            reference=lambda i: {f"params.{name}": grad for name, grad in net_reference(i)[0].items()},
        ),
        gradient(
            "the gradient of the input",
            4,
            ("net_forward", "net_backward"),
            NET_CASES,
            value=lambda student, i: net_call(student, i)[0],
            grads=lambda student, i: {"x": net_back(student, i)[1]},
            reference=lambda i: {"x": net_reference(i)[1]},
        ),
        unchanged(1, {"net_forward": net_case(3, 2, 4, 1)}, keep=(1,)),
    ),
    mistakes=(
        Mistake(
            name="sigmoid-at-the-end",
            advice="Nothing follows the last layer: with a sigmoid there no generated sample leaves (0, 1), and the "
            "discriminator's loss takes logits, not probabilities.",
            replaces=forward_with(last=sigmoid),
        ),
        Mistake(
            name="tanh-at-the-end",
            advice="Nothing follows the last layer: with a tanh there no generated sample leaves (-1, 1).",
            replaces=forward_with(last=np.tanh),
        ),
        Mistake(
            name="relu-instead-of-tanh",
            advice="The hidden layers end in tanh, not in ReLU.",
            replaces=forward_with("relu"),
        ),
        Mistake(
            name="sigmoid-instead-of-tanh",
            advice="The hidden layers end in tanh, not in a sigmoid.",
            replaces=forward_with("sigmoid"),
        ),
        Mistake(
            name="no-activation",
            advice="Without the tanh between them all layers are one linear layer.",
            replaces=forward_with("identity"),
        ),
        Mistake(
            name="tanh-slope-missing",
            advice="Behind every tanh the gradient is multiplied by its slope, 1 - a^2.",
            replaces=backward_with(lambda a, last: 1.0),
        ),
        Mistake(
            name="slope-at-the-last-layer",
            advice="The last layer has no tanh, so its gradient has no slope to be multiplied by.",
            replaces=backward_with(lambda a, last: 1 - a**2),
        ),
        Mistake(
            name="sigmoid-slope",
            advice="a (1 - a) is the slope of the sigmoid; that of tanh is 1 - a^2.",
            replaces=backward_with(lambda a, last: 1.0 if last else a * (1 - a)),
        ),
        Mistake(
            name="bias-gradient-averaged",
            advice="The gradient of a bias is the sum over the batch; the 1/B of the loss is in dout already.",
            replaces=backward_with(bias=lambda dz: dz.mean(axis=0)),
        ),
        Mistake(
            name="divided-by-batch-twice",
            advice="The 1/B of the loss is in dout already: sums over the batch, not means.",
            replaces=backward_with(share=True),
        ),
        Mistake(
            name="nothing-comes-back-to-the-input",
            advice="dx is dz @ W1 of the first layer; without it the generator learns nothing from the discriminator.",
            replaces=backward_with(through_first=False),
        ),
    ),
)

# --- one player at a time --------------------------------------------------------------------------------------------


def adam(params: Params, grads: Params, state: Any, lr: float) -> tuple[Params, Any]:
    return optim.adam_step(params, grads, state, lr, beta1=0.5, beta2=0.9)


def right_d_gradients(D: Params, G: Params, real: Any, z: Any) -> tuple[float, Params]:
    return ref.discriminator_gradients(D, G, real, z, "tanh")


def right_g_gradients(D: Params, G: Params, z: Any, kind: Any = "non_saturating") -> tuple[float, Params]:
    return ref.generator_gradients(D, G, z, kind, "tanh")


def d_loss_at_generator(D: Params, G: Params, z: Any) -> Params:
    """The discriminator's loss, differentiated by the generator's parameters: what detaching the samples cuts off."""
    grads = right_g_gradients(D, G, z, "saturating")[1]
    return {name: -grad for name, grad in grads.items()}


def g_loss_at_discriminator(D: Params, G: Params, z: Any) -> Params:
    """The generator's loss, differentiated by the discriminator's parameters."""
    out, cache = right_forward(right_forward(z, G)[0], D)
    return mlp.backward(ref.generator_loss(out)[1], cache, D)[0]


def right_d_step(model: Model, real: Any, z: Any, lr: float) -> tuple[Model, float]:
    loss, grads = right_d_gradients(model["D"], model["G"], real, z)
    D, state = adam(model["D"], grads, model["D_state"], lr)
    return {**model, "D": D, "D_state": state}, loss


def right_g_step(model: Model, z: Any, lr: float) -> tuple[Model, float]:
    loss, grads = right_g_gradients(model["D"], model["G"], z)
    G, state = adam(model["G"], grads, model["G_state"], lr)
    return {**model, "G": G, "G_state": state}, loss


def d_grads_with(
    change: Callable[[Params, Params, Any, Any], Params], factor: float = 1.0
) -> dict[str, Callable[..., Any]]:
    """discriminator_gradients with other gradients, or a loss times a number."""
    return {
        "discriminator_gradients": lambda D, G, real, z: (
            factor * right_d_gradients(D, G, real, z)[0],
            change(D, G, real, z),
        )
    }


def one_part(real_part: bool) -> Callable[[Params, Params, Any, Any], Params]:
    def part(D: Params, G: Params, real: Any, z: Any) -> Params:
        x = real if real_part else right_forward(z, G)[0]
        out, cache = right_forward(x, D)
        _, dreal, dfake = ref.discriminator_loss(out, out)
        return mlp.backward(dreal if real_part else dfake, cache, D)[0]

    return part


def times(factor: float, grads: Params) -> Params:
    return {name: factor * grad for name, grad in grads.items()}


def stepped(
    own: str,
    other: str,
    gradients: Callable[..., tuple[float, Params]],
    *,
    state: Callable[[Model], Any] | None = None,
    sign: float = 1.0,
    also: Callable[[Model, Any], Params] | None = None,
    keep_state: bool = True,
    after: bool = False,
) -> Callable[..., Any]:
    """A step of one player that is wrong in one way: `also` gives gradients that move the other player too."""

    def step(model: Model, *rest: Any) -> Any:
        *data, lr = rest
        loss, grads = gradients(model["D"], model["G"], *data)
        params, new = adam(model[own], times(sign, grads), (state or (lambda m: m[f"{own}_state"]))(model), lr)
        changed = {**model, own: params}
        if keep_state:
            changed[f"{own}_state"] = new
        if also:
            changed[other], changed[f"{other}_state"] = adam(
                model[other], also(model, data[-1]), model[f"{other}_state"], lr
            )
        if after:
            loss = gradients(changed["D"], changed["G"], *data)[0]
        return changed, loss

    return step


def d_step_with(**changes: Any) -> dict[str, Callable[..., Any]]:
    return {"discriminator_step": stepped("D", "G", right_d_gradients, **changes)}


def g_step_with(**changes: Any) -> dict[str, Callable[..., Any]]:
    return {"generator_step": stepped("G", "D", right_g_gradients, **changes)}


def both_steps_with(d: dict[str, Any], g: dict[str, Any]) -> dict[str, Callable[..., Any]]:
    return d_step_with(**d) | g_step_with(**g)


def draw_state(rng: Rng, params: Params) -> dict[str, Any]:
    """An optimiser's state after four steps."""
    m = {name: 0.1 * rng.normal(size=value.shape) for name, value in params.items()}
    v = {name: rng.uniform(0.005, 0.05, size=value.shape) for name, value in params.items()}
    return {"t": 4, "m": m, "v": v}


def draw_model(rng: Rng, old: bool, data: int = 2, latent: int = 3) -> Model:
    """Both nets have the same shapes if the data have as many numbers as the noise; states of old or of new players."""
    D, G = draw_net(rng, data, 5, 1), draw_net(rng, latent, 4, data)
    states = (draw_state(rng, D), draw_state(rng, G)) if old else ({}, {})
    if old:
        states[1]["t"] = 9
    return {"D": D, "G": G, "D_state": states[0], "G_state": states[1]}


def player_inputs(batch: int, noise: int, data: int, latent: int, sure: float = 0.0) -> Callable[[Rng], dict[str, Any]]:
    def draw(rng: Rng) -> dict[str, Any]:
        D, G = draw_net(rng, data, 5, 1), draw_net(rng, latent, 4, data)
        D["b2"] += sure
        return {"D": D, "G": G, "real": rng.normal(size=(batch, data)) + 1, "z": rng.normal(size=(noise, latent))}

    return draw


def d_gradients_call(student: Any, i: dict[str, Any]) -> tuple[Any, ...]:
    return items(student.discriminator_gradients(i["D"], i["G"], i["real"], i["z"]), ("loss", "grads"))


def g_gradients_call(student: Any, i: dict[str, Any]) -> tuple[Any, ...]:
    return items(student.generator_gradients(i["D"], i["G"], i["z"]), ("loss", "grads"))


def with_loss(call: Callable[..., tuple[Any, ...]], right: Callable[..., float], own: str) -> Callable[..., Any]:
    """The student's gradients, once the loss that comes with them has been compared."""

    def grads(student: Any, i: dict[str, Any]) -> dict[str, Any]:
        loss, found = call(student, i)
        same(loss, right(i), "the loss")
        return by_name(found, i[own], own)

    return grads


PLAYER = {"D": "the discriminator", "G": "the generator"}


def same_player(model: Any, name: str, want: Params, why: str) -> None:
    params = entry(model, name, "the model")
    for key, value in want.items():
        same(entry(params, key, f'model["{name}"]'), value, f"`{key}` of {PLAYER[name]}{why}")
    holds(len(params) == len(want), f'model["{name}"] has keys that are no parameters.')


def moved_only(student: Any, answer: Any, want: tuple[Model, float], own: str, before: Model) -> Any:
    """One player has moved as it should, and the other, with its optimiser, is where it was."""
    other = "G" if own == "D" else "D"
    model, loss = items(answer, ("model", "loss"))
    same(loss, want[1], "the loss")
    same_player(model, other, before[other], ", which should not move,")
    state = entry(model, f"{other}_state", "the model")
    same(state, before[f"{other}_state"], f"the optimiser's state of {PLAYER[other]}, which should not change,")
    same_player(model, own, want[0][own], " after the step")
    holds(f"{own}_state" in model and len(model) == 4, "the model should have four entries, as before.")
    return model


@prop("a step of the discriminator moves it alone", 4, "discriminator_step")
def d_moves(student: Any, rng: Rng) -> None:
    for reason, old, batch in (("the first step", False, 4), ("optimisers with a past", True, 3), ("one row", True, 1)):
        model = draw_model(rng, old)
        args = (model, rng.normal(size=(batch, 2)), rng.normal(size=(batch, 3)), 0.05)
        answer = student.discriminator_step(*args)
        with case_of(reason, student.transcript[-1][0]):
            moved_only(student, answer, right_d_step(*args), "D", model)


@prop("a step of the generator moves it alone", 4, "generator_step")
def g_moves(student: Any, rng: Rng) -> None:
    for reason, old, batch in (("the first step", False, 4), ("optimisers with a past", True, 3), ("one row", True, 1)):
        model = draw_model(rng, old)
        args = (model, rng.normal(size=(batch, 3)), 0.05)
        answer = student.generator_step(*args)
        with case_of(reason, student.transcript[-1][0]):
            moved_only(student, answer, right_g_step(*args), "G", model)


@prop("five moves, each with a memory of its own", 2, "discriminator_step", "generator_step")
def in_turn(student: Any, rng: Rng) -> None:
    """The models that the student's steps return are handed back to them."""
    mine = theirs = draw_model(rng, False, 2, 2)
    for move, name in enumerate("DDGDG"):
        z = rng.normal(size=(3, 2))
        if name == "D":
            real = rng.normal(size=(3, 2)) + 1
            answer, want = student.discriminator_step(theirs, real, z, 0.05), right_d_step(mine, real, z, 0.05)
        else:
            answer, want = student.generator_step(theirs, z, 0.02), right_g_step(mine, z, 0.02)
        with case_of(f"move {move + 1} of D, D, G, D, G, made from what the move before returned"):
            theirs, mine = items(answer, ("model", "loss"))[0], want[0]
            for player in "DG":
                same_player(theirs, player, mine[player], f" after move {move + 1}")


PLAYERS = Exercise(
    name="players",
    title="One move at a time",
    functions=("discriminator_gradients", "generator_gradients", "discriminator_step", "generator_step"),
    hints=(
        "Draw the whole chain on paper, from z to the two losses. Which parameters may each loss move?",
        "The discriminator sees two batches, so there are two caches and two ways back through it. For the generator "
        "the signal crosses the discriminator, and only dx is kept of what net_backward returns there.",
        "Discriminator: three times net_forward, discriminator_loss, twice net_backward, add by name. Generator: "
        "net_forward twice, generator_loss, net_backward through D, and its dx into net_backward through G. A step "
        "replaces two entries of a copy of the model.",
    ),
    checks=(
        gradient(
            "the discriminator's loss and gradients",
            5,
            ("discriminator_gradients",),
            [
                GradientCase("four real and four generated samples", player_inputs(4, 4, 2, 3)),
                GradientCase("three real and six generated ones", player_inputs(3, 6, 3, 2)),
                GradientCase("one of each", player_inputs(1, 1, 2, 4)),
                GradientCase("a discriminator that calls all samples real", player_inputs(3, 3, 2, 3, sure=1e4)),
            ],
            value=lambda student, i: d_gradients_call(student, i)[0],
            grads=with_loss(d_gradients_call, lambda i: right_d_gradients(i["D"], i["G"], i["real"], i["z"])[0], "D"),
            reference=lambda i: {
                f"D.{name}": grad for name, grad in right_d_gradients(i["D"], i["G"], i["real"], i["z"])[1].items()
            },
        ),
        gradient(
            "the generator's loss and gradients",
            5,
            ("generator_gradients",),
            [
                GradientCase("four samples", player_inputs(1, 4, 2, 3)),
                GradientCase("six samples of three numbers", player_inputs(1, 6, 3, 2)),
                GradientCase("a single sample", player_inputs(1, 1, 2, 4)),
                GradientCase("a discriminator that is fairly sure", player_inputs(1, 4, 2, 3, sure=-7.0)),
                GradientCase("a discriminator that is never fooled", player_inputs(1, 3, 2, 3, sure=-1e4)),
            ],
            value=lambda student, i: g_gradients_call(student, i)[0],
            grads=with_loss(g_gradients_call, lambda i: right_g_gradients(i["D"], i["G"], i["z"])[0], "G"),
            reference=lambda i: {
                f"G.{name}": grad for name, grad in right_g_gradients(i["D"], i["G"], i["z"])[1].items()
            },
        ),
        d_moves,
        g_moves,
        in_turn,
        unchanged(
            1,
            {
                "discriminator_step": lambda rng: (
                    draw_model(rng, True),
                    rng.normal(size=(3, 2)),
                    rng.normal(size=(3, 3)),
                    0.1,
                ),
                "generator_step": lambda rng: (draw_model(rng, True), rng.normal(size=(3, 3)), 0.1),
            },
            "the old model is left as it was",
        ),
    ),
    mistakes=(
        Mistake(
            name="real-samples-only",
            advice="The discriminator learns from both batches: add the gradients of the generated one.",
            replaces=d_grads_with(one_part(True)),
        ),
        Mistake(
            name="generated-samples-only",
            advice="The discriminator learns from both batches: add the gradients of the real one.",
            replaces=d_grads_with(one_part(False)),
        ),
        Mistake(
            name="gradients-of-two-batches-averaged",
            advice="The loss is the SUM of two means, so the gradients of the two batches are added, not averaged.",
            replaces=d_grads_with(lambda D, G, real, z: times(0.5, right_d_gradients(D, G, real, z)[1])),
            variants=(d_grads_with(lambda D, G, real, z: times(0.5, right_d_gradients(D, G, real, z)[1]), 0.5),),
        ),
        Mistake(
            name="noise-taken-for-samples",
            advice="The discriminator judges G(z), not the noise z: send z through the generator first.",
            replaces={
                "discriminator_gradients": lambda D, G, real, z: right_d_gradients(
                    D,
                    {"W1": np.eye(len(floats(real)[0]), len(floats(z)[0])), "b1": np.zeros(len(floats(real)[0]))},
                    real,
                    z,
                )
            },
        ),
        Mistake(
            name="generator-saturates",
            advice="Use the non-saturating loss here: against a sure discriminator mean log(1 - D) teaches nothing.",
            replaces={"generator_gradients": lambda D, G, z: right_g_gradients(D, G, z, "saturating")},
            variants=(
                {
                    "generator_gradients": lambda D, G, z: (
                        right_g_gradients(D, G, z)[0],
                        right_g_gradients(D, G, z, "saturating")[1],
                    )
                },
            ),
        ),
        Mistake(
            name="generator-runs-away-from-the-data",
            advice="The generator goes down its loss, towards larger D; yours has the sign the other way round.",
            replaces={
                "generator_gradients": lambda D, G, z: (
                    right_g_gradients(D, G, z)[0],
                    times(-1.0, right_g_gradients(D, G, z)[1]),
                )
            },
            variants=(g_step_with(sign=-1.0),),
        ),
        Mistake(
            name="discriminator-climbs",
            advice="adam_step goes down already: hand it the gradients of the loss as they are.",
            replaces=d_step_with(sign=-1.0),
            variants=(d_grads_with(lambda D, G, real, z: times(-1.0, right_d_gradients(D, G, real, z)[1])),),
        ),
        Mistake(
            name="samples-not-detached",
            advice="In the discriminator's step the generated samples are constants: nothing may flow on into the "
            "generator, or it learns to be caught.",
            replaces=d_step_with(also=lambda m, z: d_loss_at_generator(m["D"], m["G"], z)),
        ),
        Mistake(
            name="both-players-move",
            advice="The generator's gradient only passes THROUGH the discriminator, whose parameters stay as they are.",
            replaces=g_step_with(also=lambda m, z: g_loss_at_discriminator(m["D"], m["G"], z)),
        ),
        Mistake(
            name="one-step-counter-for-both",
            advice="Each optimiser counts its own steps: the generator's Adam belongs to `G_state` alone.",
            replaces=g_step_with(
                state=lambda m: {**m["G_state"], "t": m["D_state"].get("t", 0)} if m["G_state"] else {}
            ),
            variants=(
                d_step_with(state=lambda m: {**m["D_state"], "t": m["G_state"].get("t", 0)} if m["D_state"] else {}),
            ),
        ),
        Mistake(
            name="optimiser-forgets",
            advice="Adam lives from its memory: hand it the player's state, and put the state that it returns into the "
            "new model.",
            replaces=both_steps_with({"state": lambda m: {}}, {"state": lambda m: {}}),
            variants=(
                d_step_with(state=lambda m: {}),
                g_step_with(state=lambda m: {}),
                both_steps_with({"keep_state": False}, {"keep_state": False}),
                d_step_with(keep_state=False),
                g_step_with(keep_state=False),
            ),
        ),
        Mistake(
            name="loss-after-the-move",
            advice="The loss that is returned is the one before the step.",
            replaces=both_steps_with({"after": True}, {"after": True}),
            variants=(d_step_with(after=True), g_step_with(after=True)),
        ),
    ),
)

# --- a critic --------------------------------------------------------------------------------------------------------


def critic_with(sign: float = 1.0, slope_sign: float = 1.0, total: bool = False) -> dict[str, Callable[..., Any]]:
    def loss(real_scores: Any, fake_scores: Any) -> Any:
        real, fake = floats(real_scores), floats(fake_scores)
        value, dreal, dfake = ref.critic_loss(real, fake)
        if total:
            value, dreal, dfake = fake.sum() - real.sum(), dreal * real.size, dfake * fake.size
        return sign * value, sign * slope_sign * dreal, sign * slope_sign * dfake

    return {"critic_loss": loss}


def clip_by_norm(params: Params, limit: float) -> Params:
    def clip(value: Any) -> Array:
        norm = float(np.linalg.norm(floats(value)))
        return floats(value) * min(1.0, limit / norm)

    return {name: clip(value) for name, value in params.items()}


def penalty_with(
    price: Callable[[Array], Any] = lambda n: (n - 1) ** 2,
    slope: Callable[[Array], Any] = lambda n: 2 * (n - 1),
    average: Callable[[Array], Any] = np.mean,
    bend: bool = True,
    second: bool = True,
    hidden_slope: bool = True,
    factor: float = -2.0,
    strong: bool = True,
) -> dict[str, Callable[..., Any]]:
    """gradient_penalty, forward and backward, wrong in one way."""

    def penalty(x: Any, params: Params, strength: float) -> Any:
        x = floats(x)
        W1, b1, W2 = (floats(params[name]) for name in ("W1", "b1", "W2"))
        strength = strength if strong else 1.0
        h = np.tanh(x @ W1.T + b1)
        s = 1 - h**2 if hidden_slope else np.ones_like(h)
        u = s * W2
        v = u @ W1
        n = np.sqrt((v**2).sum(axis=1, keepdims=True))
        share = 1 / len(x) if average is np.mean else 1.0
        dv = strength * share * slope(n) * np.where(n > 0, v / np.where(n > 0, n, 1.0), 0.0)
        du = dv @ W1.T
        da = du * W2 * factor * h * s if bend and hidden_slope else np.zeros_like(h)
        dW1 = (u.T @ dv if second else 0.0) + da.T @ x
        grads = {"W1": dW1, "b1": da.sum(axis=0), "W2": (du * s).sum(axis=0, keepdims=True), "b2": np.zeros(1)}
        return float(strength * average(price(n))), grads

    return {"gradient_penalty": penalty}


def penalty_inputs(
    batch: int, features: int, hidden: int, strength: float = 10.0, uneven: float = 1.0
) -> Callable[[Rng], dict[str, Any]]:
    """`uneven` makes the last hidden unit count that much more: a huge penalty, of which the others have little."""

    def draw(rng: Rng) -> dict[str, Any]:
        params = draw_net(rng, features, hidden, 1)
        params["W2"][0, -1] *= uneven
        return {"x": rng.normal(size=(batch, features)), "params": params, "strength": strength}

    return draw


def flat_inputs(rng: Rng) -> dict[str, Any]:
    """A critic whose hidden units cancel each other out: no slope anywhere, and so nothing to pull at."""
    params = draw_net(rng, 2, 4, 1)
    params["W2"] = np.zeros((1, 4))
    return {"x": rng.normal(size=(3, 2)), "params": params, "strength": 2.0}


def penalty_call(student: Any, i: dict[str, Any]) -> tuple[Any, ...]:
    return items(student.gradient_penalty(i["x"], i["params"], i["strength"]), ("penalty", "grads"))


def right_penalty(x: Any, params: Params, strength: float) -> tuple[float, Params]:
    return ref.gradient_penalty(params, x, strength, "tanh")


def as_arguments(draw: Callable[[Rng], dict[str, Any]]) -> Draw:
    return lambda rng: tuple(draw(rng).values())


def mix_case(batch: int, features: int) -> Draw:
    return lambda rng: (*rng.normal(size=(2, batch, features)), rng.random(batch))


CRITIC = Exercise(
    name="critic",
    title="Scores instead of probabilities",
    functions=("critic_loss", "clip_weights", "mix_samples", "gradient_penalty"),
    hints=(
        "The critic's loss needs no logarithm. For the penalty write down the four small steps from h to n, and go "
        "back through them one by one.",
        "Two things depend on W1: the product v = u @ W1, and s, through h. W2 enters once, in u = s * W2. dv has the "
        "direction of v itself, as a row of length 1.",
        "dv = 2 strength / B * (n - 1) * v / n; du = dv @ W1.T; dW2 sums du * s over the batch; da = du * W2 * "
        "(-2 h) * s. Then dW1 is u.T @ dv plus da.T @ x, and db1 sums da over the batch.",
    ),
    checks=(
        numeric(
            "the critic's loss and its gradients",
            3,
            "critic_loss",
            ref.critic_loss,
            [
                Case("four real and four generated scores", two_logits((4, 1), (4, 1))),
                Case("two real and five generated ones, far away", two_logits((2, 1), (5, 1), shift=1e6)),
                Case("one of each", two_logits((1,), (1,))),
                Case("tables of six real and eight generated scores", two_logits((2, 3), (4, 2))),
                Case("lists of whole numbers", lambda rng: ([3, 4], [1, 0, -2])),
            ],
        ),
        numeric(
            "clipped parameters",
            1,
            "clip_weights",
            ref.clip_weights,
            [
                Case("two layers, weights and biases", lambda rng: (draw_net(rng, 3, 4, 1), 0.2)),
                Case("nothing to clip", lambda rng: (draw_net(rng, 2, 1), 50.0)),
            ],
        ),
        numeric(
            "points between the pairs",
            2,
            "mix_samples",
            lambda real, fake, u: ref.mix_samples(real, fake, floats(u)[:, None]),
            [
                Case("four pairs of three numbers", mix_case(4, 3)),
                Case("as many pairs as numbers", mix_case(3, 3)),
                Case("a single pair", mix_case(1, 2)),
            ],
        ),
        numeric(
            "the penalty",
            3,
            "gradient_penalty",
            right_penalty,
            [
                Case("four points, all widths different", as_arguments(penalty_inputs(4, 3, 5))),
                Case("one number, one point", as_arguments(penalty_inputs(1, 1, 4, 3.0))),
                Case("a flat critic", as_arguments(flat_inputs)),
                Case("a steep critic", as_arguments(penalty_inputs(3, 2, 4, 10.0, 1e3))),
            ],
            pick=0,
            result="the penalty",
        ),
        gradient(
            "the gradients of the penalty",
            5,
            ("gradient_penalty",),
            [
                GradientCase("four points, all widths different", penalty_inputs(4, 3, 5)),
                GradientCase("one number, one point", penalty_inputs(1, 1, 4, 3.0)),
                GradientCase("a flat critic", flat_inputs),
                GradientCase("one hidden unit that outweighs the others", penalty_inputs(3, 2, 4, 10.0, 1e5)),
            ],
            value=lambda student, i: penalty_call(student, i)[0],
            grads=lambda student, i: by_name(penalty_call(student, i)[1], i["params"], "params"),
            reference=lambda i: {f"params.{k}": g for k, g in right_penalty(*i.values())[1].items()},
        ),
        unchanged(
            1,
            {
                "critic_loss": two_logits((3, 1), (2, 1)),
                "clip_weights": lambda rng: (draw_net(rng, 3, 4, 1), 0.2),
                "mix_samples": mix_case(3, 2),
                "gradient_penalty": as_arguments(penalty_inputs(3, 2, 4)),
            },
        ),
    ),
    mistakes=(
        Mistake(
            name="critic-sign",
            advice="The critic wants high scores for real samples: its loss is the fake mean MINUS the real one.",
            replaces=critic_with(sign=-1.0),
            variants=(critic_with(slope_sign=-1.0),),
        ),
        Mistake(
            name="critic-with-logarithms",
            advice="A critic gives scores, not logits: there is no sigmoid and no logarithm in its loss.",
            replaces={"critic_loss": ref.discriminator_loss},
        ),
        Mistake(
            name="scores-summed",
            advice="Both parts are means over their own batch.",
            replaces=critic_with(total=True),
        ),
        Mistake(
            name="biases-not-clipped",
            advice="Every parameter is clipped, the biases too.",
            replaces={
                "clip_weights": lambda params, limit: {
                    name: np.clip(floats(value), -limit, limit) if name[0] == "W" else floats(value)
                    for name, value in params.items()
                }
            },
        ),
        Mistake(
            name="clipped-on-one-side",
            advice="Clip from both sides, to [-limit, limit].",
            replaces={
                "clip_weights": lambda params, limit: {k: np.minimum(floats(v), limit) for k, v in params.items()}
            },
            variants=(
                {"clip_weights": lambda params, limit: {k: np.clip(floats(v), 0, limit) for k, v in params.items()}},
            ),
        ),
        Mistake(
            name="clipped-as-a-whole",
            advice="Each entry is clipped by itself; do not shrink a whole array to a length.",
            replaces={"clip_weights": clip_by_norm},
        ),
        Mistake(
            name="mixed-the-other-way-round",
            advice="u is the share of the REAL sample: u = 1 gives it back.",
            replaces={
                "mix_samples": lambda real, fake, u: ref.mix_samples(fake, real, floats(u)[:, None]),
            },
        ),
        Mistake(
            name="same-share-for-all-pairs",
            advice="Each pair has a number u of its own, one that serves all numbers of the pair.",
            replaces={"mix_samples": lambda real, fake, u: ref.mix_samples(real, fake, floats(u)[0])},
            variants=(
                {"mix_samples": lambda real, fake, u: ref.mix_samples(real, fake, np.mean(floats(u)))},
                {
                    "mix_samples": lambda real, fake, u: ref.mix_samples(
                        real, fake, np.resize(floats(u), floats(real).shape)
                    )
                },
            ),
        ),
        Mistake(
            name="squared-length",
            advice="The LENGTH of the slope should be 1: take the root of the sum of squares before you subtract 1.",
            replaces=penalty_with(lambda n: (n**2 - 1) ** 2, lambda n: 4 * n * (n**2 - 1)),
        ),
        Mistake(
            name="penalty-on-steepness-itself",
            advice="A slope of 1 costs nothing: the penalty is (n - 1)^2, not n^2.",
            replaces=penalty_with(lambda n: n**2, lambda n: 2 * n),
        ),
        Mistake(
            name="one-sided-penalty",
            advice="Slopes below 1 cost as well: (n - 1)^2 on both sides.",
            replaces=penalty_with(lambda n: np.maximum(n - 1, 0) ** 2, lambda n: 2 * np.maximum(n - 1, 0)),
        ),
        Mistake(
            name="penalty-summed",
            advice="The penalty is a mean over the batch.",
            replaces=penalty_with(average=np.sum),
        ),
        Mistake(
            name="strength-left-out",
            advice="The mean is multiplied by the strength, and so is its gradient.",
            replaces=penalty_with(strong=False),
        ),
        Mistake(
            name="tanh-taken-for-linear",
            advice="The slope of the score goes through the tanh: every hidden unit counts with s = 1 - h^2.",
            replaces=penalty_with(hidden_slope=False),
        ),
        Mistake(
            name="bend-of-tanh-left-out",
            advice="s = 1 - h^2 changes with W1 and b1 too: that part of the gradient comes back through h.",
            replaces=penalty_with(bend=False),
        ),
        Mistake(
            name="first-factor-only",
            advice="W1 appears twice, in h and in v = u @ W1: add u.T @ dv.",
            replaces=penalty_with(second=False),
        ),
        Mistake(
            name="slope-of-s-wrong",
            advice="s is 1 - h^2, so its slope is -2 h: mind the sign and the 2.",
            replaces=penalty_with(factor=2.0),
            variants=(penalty_with(factor=-1.0),),
        ),
    ),
)

# --- playing ---------------------------------------------------------------------------------------------------------


def generated(noise: Callable[[Rng, int, int], Array]) -> dict[str, Callable[..., Any]]:
    """generate with other noise."""
    return {"generate": lambda G, n, rng: right_forward(noise(rng, n, floats(G["W1"]).shape[1]), G)[0]}


def right_generate(G: Params, n: int, rng: Rng) -> Array:
    return right_forward(rng.standard_normal((n, G["W1"].shape[1])), G)[0]


def generate_case(n: int, *widths: int) -> Draw:
    return lambda rng: (draw_net(rng, *widths), n, fresh(rng))


SAMPLES = 4000
# A linear generator's samples are exactly normal. A sum of S squared standard normal numbers leaves
# [S - 2 sqrt(S t), S + 2 sqrt(S t) + 2 t] to either side with probability at most exp(-t) (Laurent and Massart 2000,
# lemma 1); a mean of S of them leaves 0 by more than sqrt(2 t / S) to either side likewise. The sum and the difference
# of two independent ones, divided by sqrt(2), are again independent and standard normal, and their product is half the
# difference of their squares: the mean of S products is that of (A - B) / (2 S), with A and B such sums of squares, so
# it stays within (4 sqrt(S t) + 2 t) / (2 S) unless A or B leaves its interval (two events to either side). Two numbers
# a sample: 4 events for the means, 4 for the squares and 4 for the product, t = 26: 12 exp(-26) = 6.1e-11.
TAIL = 26.0


@statistical("samples have the mean and the spread they should", 2, "generate", false_alarm=12 * math.exp(-TAIL))
def right_cloud(student: Any, rng: Rng) -> None:
    mix = np.array([[2.0, 0.0], [1.0, 0.5]])
    centre = 3 * rng.normal(size=2)
    x = numbers(student.generate({"W1": mix, "b1": centre}, SAMPLES, fresh(rng)), (SAMPLES, 2), "the samples")
    z = (x - centre) @ np.linalg.inv(mix).T
    with case_of("4000 samples of a linear generator"):
        holds(
            bool(np.all(np.abs(z.mean(axis=0)) <= math.sqrt(2 * TAIL / SAMPLES))),
            "the mean of many samples should be near b1: the noise has mean 0.",
        )
        squares = (z**2).sum(axis=0)
        room = 2 * math.sqrt(SAMPLES * TAIL)
        holds(
            bool(np.all((squares >= SAMPLES - room) & (squares <= SAMPLES + room + 2 * TAIL))),
            "the spread of many samples is not what standard normal noise gives.",
        )
        holds(
            abs(float((z[:, 0] * z[:, 1]).mean())) <= (2 * room + 2 * TAIL) / (2 * SAMPLES),
            "the numbers of one piece of noise should have nothing to do with each other.",
        )


def played(
    model: Model,
    data: Any,
    steps: int,
    batch: int,
    lr_d: float,
    lr_g: float,
    rng: Rng,
    *,
    rows: Callable[[Rng, int, int], Any] = lambda rng, n, batch: rng.integers(n, size=batch),
    noise: Callable[[Rng, tuple[int, int]], Array] = lambda rng, shape: rng.standard_normal(shape),
    same_noise: bool = False,
    stale: bool = False,
    g_first: bool = False,
    noise_first: bool = False,
    one_rate: bool = False,
    forget: bool = False,
    swapped: bool = False,
) -> tuple[Model, Array]:
    """The game on the reference's parts; the keywords are ways to get it wrong."""
    data, losses = floats(data), np.zeros((steps, 2))
    shape = (batch, floats(model["G"]["W1"]).shape[1])
    for step in range(steps):
        if forget:
            model = {**model, "D_state": {}, "G_state": {}}
        before = model
        early = noise(rng, shape) if noise_first else None
        real = data[rows(rng, len(data), batch)]
        z = noise(rng, shape) if early is None else early
        if g_first:
            model, losses[step, 1] = right_g_step(model, z, lr_g)
            model, losses[step, 0] = right_d_step(model, real, noise(rng, shape), lr_d)
            continue
        model, losses[step, 0] = right_d_step(model, real, z, lr_d)
        z = z if same_noise else noise(rng, shape)
        answering = {**model, "D": before["D"]} if stale else model
        moved, losses[step, 1] = right_g_step(answering, z, lr_d if one_rate else lr_g)
        model = {**model, "G": moved["G"], "G_state": moved["G_state"]}
    return model, losses[:, ::-1] if swapped else losses


def right_game(*args: Any) -> tuple[Model, Array]:
    return played(*args)


def play_with(**changes: Any) -> dict[str, Callable[..., Any]]:
    return {"train_gan": lambda *args: played(*args, **changes)}


def play_case(points: int, data: int, latent: int, steps: int, batch: int, lr_d: float = 0.03) -> Draw:
    return lambda rng: (
        draw_model(rng, False, data, latent),
        rng.normal(size=(points, data)) + 1,
        steps,
        batch,
        lr_d,
        0.02,
        fresh(rng),
    )


@prop("a few moves of each player", 4, "train_gan")
def few_moves(student: Any, rng: Rng) -> None:
    for reason, draw in (
        ("three steps", play_case(7, 2, 3, 3, 4)),
        ("as many numbers as noise, a batch larger than the data", play_case(3, 2, 2, 2, 5)),
        ("batches of one", play_case(5, 1, 2, 3, 1)),
        ("a discriminator that stands still, lr_d = 0", play_case(5, 2, 1, 3, 3, 0.0)),
        ("no step at all", play_case(4, 2, 3, 0, 2)),
    ):
        args = draw(rng)
        want, losses = right_game(*copy.deepcopy(args))
        answer = student.train_gan(*args)
        with case_of(reason, student.transcript[-1][0]):
            model, got = items(answer, ("model", "losses"))
            same(got, losses, "the array of losses")
            for player in "DG":
                same_player(model, player, want[player], " after the last step")


def two_clouds(rng: Rng, n: int) -> Array:
    """Half of n points around -2, half around 2, with sd 0.3: mean 0, sd 2.02."""
    return np.tile([-2.0, 2.0], n // 2)[:, None] + 0.3 * rng.normal(size=(n, 1))


def start(rng: Rng, d_widths: tuple[int, ...], g_widths: tuple[int, ...]) -> Model:
    """New players: biases zero, no optimiser has a past."""
    nets = {"D": draw_net(rng, *d_widths), "G": draw_net(rng, *g_widths)}
    for params in nets.values():
        for name in params:
            params[name] = params[name] * (name[0] == "W")
    return {**nets, "D_state": {}, "G_state": {}}


def drawn_samples(student: Any, answer: Any, rng: Rng, n: int) -> Array:
    """Fresh samples, from noise that no training has seen, of a trained model's generator."""
    model, _ = items(answer, ("model", "losses"))
    G = entry(model, "G", "the model")
    return numbers(student.generate(G, n, fresh(rng)), (n, 1), "the samples")


@training("a linear generator finds mean and spread", 2, "train_gan", "generate", cpu_s=60.0)
def finds_gaussian(student: Any, rng: Rng) -> None:
    """Of 300 runs of the solution the worst mean was off by 0.37, and the worst deviation by 0.30."""
    data = 3 + 2 * rng.normal(size=(500, 1))
    model = {**start(rng, (1, 16, 1), (1, 1)), "G": {"W1": np.ones((1, 1)), "b1": np.zeros(1)}}
    answer = student.train_gan(model, data, 600, 64, 0.01, 0.01, fresh(rng))
    with case_of("500 points with mean 3 and deviation 2; the generator starts at x = z", student.transcript[-1][0]):
        x = drawn_samples(student, answer, rng, 2000)
        mean, deviation = float(x.mean()), float(x.std())
        below(abs(mean - 3), 0.7, "fresh samples should have a mean near 3.", f"It is {mean:.3g}; 0.7 off is allowed.")
        below(
            abs(deviation - 2),
            0.7,
            "fresh samples should have a standard deviation near 2.",
            f"It is {deviation:.3g}; 0.7 off is allowed.",
        )


@training("both clouds are found, and filled alike", 3, "train_gan", "generate", cpu_s=60.0)
def finds_clouds(student: Any, rng: Rng) -> None:
    """Of 300 runs of the solution every one gave each cloud 40 % at least, and the largest distance was 0.33."""
    data = two_clouds(rng, 500)
    answer = student.train_gan(start(rng, (1, 24, 1), (1, 16, 1)), data, 400, 32, 0.01, 0.005, fresh(rng))
    with case_of("500 points, half around -2, half around 2, 400 steps", student.transcript[-1][0]):
        x = drawn_samples(student, answer, rng, 2000)
        shares = [float((np.abs(x - centre) <= 1).mean()) for centre in (-2.0, 2.0)]
        below(
            0.25 / max(min(shares), 1e-9),
            1.0,
            "each of the two clouds should get at least a quarter of fresh samples: is one of them forgotten?",
            f"They get {100 * shares[0]:.0f} % and {100 * shares[1]:.0f} %.",
        )
        # Between equally many sorted numbers this is the Wasserstein distance of the two samples.
        distance = float(np.abs(np.sort(x, axis=0) - np.sort(two_clouds(rng, 2000), axis=0)).mean())
        below(
            distance,
            0.6,
            "fresh samples should be spread as fresh data are.",
            f"On average they would have to move by {distance:.3g}; 0.6 is allowed. (All of them at 0: 2.0.)",
        )


def right_shares(samples: Any, centres: Any, radius: float) -> tuple[Array, int]:
    samples, centres = floats(samples), floats(centres)
    apart = np.linalg.norm(samples[:, None] - centres[None], axis=-1)
    mine = (apart.argmin(axis=1)[:, None] == np.arange(len(centres))) & (apart <= radius)
    shares = mine.mean(axis=0)
    return shares, int((shares >= 0.1 / len(centres)).sum())


def shares_with(
    apart: Callable[[Array], Array] = lambda gap: np.sqrt((gap**2).sum(axis=-1)),
    belongs: Callable[[Array, Array, float], Array] = lambda nearest, apart, radius: nearest & (apart <= radius),
    share: Callable[[Array], Array] = lambda mine: mine.mean(axis=0),
    covered: Callable[[Array], Any] = lambda shares: (shares >= 0.1 / len(shares)).sum(),
) -> dict[str, Callable[..., Any]]:
    def measure(samples: Any, centres: Any, radius: float) -> Any:
        distances = apart(floats(samples)[:, None] - floats(centres)[None])
        nearest = distances.argmin(axis=1)[:, None] == np.arange(distances.shape[1])
        with np.errstate(all="ignore"):
            shares = floats(share(belongs(nearest, distances, radius)))
        return shares, int(covered(shares))

    return {"mode_shares": measure}


def shares_case(served: tuple[int, ...], astray: int = 0, dims: int = 2, radius: float = 1.5) -> Draw:
    """So many samples around each centre, and some far from all. The centres are closer than two radii."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        centres = 2.0 * np.arange(len(served))[:, None] + np.array([0.0, 5.0, -3.0])[:dims]
        around = np.repeat(np.arange(len(served)), served)
        offsets = rng.uniform(-0.7, 0.7, size=(len(around), dims))
        far = np.full((astray, dims), 60.0) + rng.normal(size=(astray, dims))
        return rng.permutation(np.concatenate([centres[around] + offsets, far])), centres, radius

    return draw


SHARES_CASES = [
    Case("three centres, all served", shares_case((5, 3, 4))),
    Case("samples far from every centre", shares_case((5, 2, 4), 7)),
    Case("collapsed: everything at one of four centres", shares_case((0, 0, 9, 0))),
    Case("a few samples are not enough to cover a centre", shares_case((90, 60, 2, 5))),
    Case("a fair share is one in K: one in 50 covers one of eight", shares_case((30, 1, 10, 2, 3, 2, 2, 0), dims=3)),
    Case("three dimensions, near enough", lambda rng: (np.ones((4, 3)), [[0.0, 0, 0], [9, 9, 9]], 2.0)),
    Case("three dimensions, too far", lambda rng: (2 * np.ones((4, 3)), [[0.0, 0, 0], [9, 9, 9]], 3.0)),
    Case("centres so near that some samples lie within both radii", lambda rng: ([[0.9], [1.2], [3]], [[0], [2]], 1.5)),
    Case("one sample of fifty at one of eight centres, and six centres without any", shares_case((49, 1) + 6 * (0,))),
    Case("exactly a tenth of the fair share", shares_case((19, 1))),
    Case("equally near two centres: the first one", lambda rng: ([[1], [4], [5]], [[0], [2], [6]], 1.5)),
    Case("lists, and a distance of exactly the radius", lambda rng: ([[0], [3]], [[1], [8]], 2.0)),
]


PLAY = Exercise(
    name="play",
    title="The game, and how it fails",
    functions=("generate", "train_gan", "mode_shares"),
    hints=(
        "All pieces are there. What has to be drawn anew, and which version of the opponent does each player meet?",
        "The model that discriminator_step returns goes straight into generator_step, with noise of its own. For the "
        "shares: first the nearest centre of each sample, then whether it is near enough.",
        "In each step: rows with rng.integers, noise, discriminator_step; noise again, generator_step on the model "
        "that came back; both losses into one row. For the shares compare np.argmin's answer with each centre's "
        "number, count, and divide by the number of ALL samples.",
    ),
    checks=(
        numeric(
            "samples from noise",
            2,
            "generate",
            right_generate,
            [
                Case("five samples", generate_case(5, 3, 4, 2)),
                Case("a single sample, three layers", generate_case(1, 2, 3, 4, 1)),
                Case("a linear generator", generate_case(3, 2, 4)),
            ],
        ),
        right_cloud,
        few_moves,
        finds_gaussian,
        finds_clouds,
        numeric("shares of the centres", 2, "mode_shares", right_shares, SHARES_CASES, pick=0, result="shares"),
        numeric("centres that are covered", 1, "mode_shares", right_shares, SHARES_CASES, pick=1, result="covered"),
        unchanged(1, {"train_gan": play_case(5, 2, 3, 2, 3)}, "the first model is left as it was"),
    ),
    mistakes=(
        Mistake(
            name="uniform-noise",
            advice="The noise is standard normal; rng.random draws between 0 and 1.",
            replaces=generated(lambda rng, n, latent: rng.random((n, latent))),
            variants=(play_with(noise=lambda rng, shape: rng.random(shape)),),
        ),
        Mistake(
            name="same-noise-for-all-samples",
            advice="Every sample has noise of its own: draw (n, L) numbers.",
            replaces=generated(lambda rng, n, latent: np.tile(rng.standard_normal(latent), (n, 1))),
        ),
        Mistake(
            name="one-number-for-all-dimensions",
            advice="Every number of the noise is drawn by itself: draw (n, L) numbers.",
            replaces=generated(lambda rng, n, latent: np.tile(rng.standard_normal((n, 1)), (1, latent))),
        ),
        Mistake(
            name="noise-used-twice",
            advice="Draw fresh noise for the generator's step; the discriminator has just been trained on the old one.",
            replaces=play_with(same_noise=True),
        ),
        Mistake(
            name="stale-discriminator",
            advice="The generator answers the discriminator that has just moved, not the one of the step before.",
            replaces=play_with(stale=True),
        ),
        Mistake(
            name="generator-first",
            advice="In each step the discriminator moves first.",
            replaces=play_with(g_first=True),
        ),
        Mistake(
            name="noise-before-the-rows",
            advice="The rows of the data are drawn first, then the noise.",
            replaces=play_with(noise_first=True),
        ),
        Mistake(
            name="always-the-first-rows",
            advice="Each step draws its own rows of the data, with rng.integers(len(data), size=batch).",
            replaces=play_with(rows=lambda rng, n, batch: np.arange(batch) % n),
        ),
        Mistake(
            name="one-rate-for-both",
            advice="The discriminator moves with lr_d, and the generator with lr_g.",
            replaces=play_with(one_rate=True),
        ),
        Mistake(
            name="optimisers-start-anew-in-each-step",
            advice="The states travel with the model from step to step; do not reset them.",
            replaces=play_with(forget=True),
        ),
        Mistake(
            name="losses-in-the-wrong-columns",
            advice="The discriminator's loss stands in the first column, the generator's in the second.",
            replaces=play_with(swapped=True),
        ),
        Mistake(
            name="squared-distance",
            advice="Compare the distance with the radius, not its square.",
            replaces=shares_with(lambda gap: (gap**2).sum(axis=-1)),
        ),
        Mistake(
            name="distance-per-coordinate",
            advice="The distance is the root of the sum of squares over all coordinates.",
            replaces=shares_with(lambda gap: np.abs(gap).sum(axis=-1)),
            variants=(shares_with(lambda gap: np.abs(gap).max(axis=-1)),),
        ),
        Mistake(
            name="near-none-counted-all-the-same",
            advice="A sample that is farther than the radius from every centre belongs to none.",
            replaces=shares_with(belongs=lambda nearest, apart, radius: nearest),
        ),
        Mistake(
            name="counted-for-several-centres",
            advice="A sample belongs to its NEAREST centre only, even if others are within the radius.",
            replaces=shares_with(belongs=lambda nearest, apart, radius: apart <= radius),
        ),
        Mistake(
            name="shares-of-the-near-ones",
            advice="Divide by the number of all samples; those that went astray belong to the picture.",
            replaces=shares_with(share=lambda mine: mine.sum(axis=0) / max(mine.sum(), 1)),
        ),
        Mistake(
            name="counts-instead-of-shares",
            advice="A share is a part of one: divide the counts by the number of samples.",
            replaces=shares_with(share=lambda mine: mine.sum(axis=0), covered=lambda s: (s >= 0.1 / len(s)).sum()),
        ),
        Mistake(
            name="covered-by-a-single-sample",
            advice="A centre counts as covered from a share of 0.1 / K on, not from the first sample.",
            replaces=shares_with(covered=lambda shares: (shares > 0).sum()),
        ),
        Mistake(
            name="fair-share-not-divided",
            advice="The fair share is 1 / K, so the limit is 0.1 / K: it falls with the number of centres.",
            replaces=shares_with(covered=lambda shares: (shares >= 0.1).sum()),
        ),
        Mistake(
            name="fair-share-asked-for",
            advice="A tenth of the fair share is enough: 0.1 / K.",
            replaces=shares_with(covered=lambda shares: (shares >= 1 / len(shares)).sum()),
        ),
    ),
)


CORNERS = np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])


def four_clouds(rng: Rng, n: int) -> Array:
    """One cloud of sd 0.15 around each of the four corners of a square."""
    return CORNERS[np.arange(n) % 4] + 0.15 * rng.normal(size=(n, 2))


def arrays(params: Any) -> Params:
    return {name: np.asarray(value) for name, value in params.items()}


def judged(student: Any, x: Array, D: Params) -> Array:
    """The student's discriminator, as a probability."""
    out, _ = items(student.call("net_forward", x, D, keep=(1,)), ("out", "cache"))
    return sigmoid(floats(out))[:, 0]


def rounds(student: Any, lr_d: float, lr_g: float, seed: int) -> tuple[Model, list[int]]:
    """Ten rounds of 75 steps on four clouds: the model, and how many clouds its samples cover after each."""
    rng = np.random.default_rng(seed)
    data = four_clouds(rng, 800)
    model, covered = start(rng, (2, 32, 32, 1), (3, 24, 2)), []
    for _ in range(10):
        model, _ = items(student.train_gan(model, data, 75, 64, lr_d, lr_g, fresh(rng)), ("model", "losses"))
        x = student.generate(arrays(model["G"]), 600, fresh(rng))
        covered.append(int(items(student.mode_shares(x, CORNERS, 0.5), ("shares", "covered"))[1]))
    return model, covered


def draw_picture(student: Any, figure: Any) -> None:
    """A game that ends well, its losses, a discriminator's surface with a good and a bad generator, and a collapse."""
    (samples, losses), (surface, collapse) = figure.subplots(2, 2)
    rng = np.random.default_rng(8)
    data = two_clouds(rng, 1000)
    model = start(rng, (1, 24, 1), (1, 16, 1))
    model, history = items(student.train_gan(model, data, 800, 64, 0.01, 0.005, fresh(rng)), ("model", "losses"))
    x = np.asarray(student.generate(arrays(model["G"]), 1000, fresh(rng)))
    bins = np.linspace(-3.5, 3.5, 29)
    samples.hist(data[:, 0], bins, density=True, color="0.75", label="data")
    samples.hist(x[:, 0], bins, density=True, histtype="step", color="C1", lw=1.5, label="generated")
    grid = np.linspace(-3.5, 3.5, 200)
    samples.plot(grid, judged(student, grid[:, None], arrays(model["D"])), color="C0", lw=1.5, label="D(x)")
    samples.axhline(0.5, color="C0", ls=":", lw=1, label="D = 1/2")
    samples.set_title("Two clouds: data and samples")
    samples.set_xlabel("x")
    samples.set_ylabel("density; probability")
    samples.legend(frameon=False, fontsize=7, loc="upper center")

    window = np.ones(20) / 20
    for column, (name, level, text) in enumerate(
        (("discriminator", 2 * math.log(2), "2 log 2"), ("generator", math.log(2), "log 2"))
    ):
        curve = np.convolve(np.asarray(history)[:, column], window, "valid")
        losses.plot(np.arange(20, 20 + len(curve)), curve, color=f"C{column}", label=name)
        losses.axhline(level, color=f"C{column}", ls="--", lw=1, label=text)
    losses.set_title("Losses of that game, means of 20 steps")
    losses.set_xlabel("step")
    losses.set_ylabel("loss (nats)")
    losses.legend(frameon=False, fontsize=7, ncols=2)

    games = {
        "even game: rates 0.005 and 0.02": ("C1", 0.005, 0.02),
        "slow discriminator: rates 0.001 and 0.05": ("C3", 0.001, 0.05),
    }
    ends = []
    for name, (colour, lr_d, lr_g) in games.items():
        runs = [rounds(student, lr_d, lr_g, seed) for seed in range(3)]
        ends.append(runs[0][0])
        counts = np.array([covered for _, covered in runs])
        collapse.plot(75 * np.arange(1, 11), counts.mean(axis=0), "o-", ms=3, color=colour, label=name)
    across, up = np.meshgrid(np.linspace(-2.2, 5.4, 77), np.linspace(-2.2, 2.2, 45))
    chance = judged(student, np.stack([across, up], axis=-1).reshape(-1, 2), arrays(ends[0]["D"]))
    shown = surface.contourf(across, up, chance.reshape(across.shape), np.linspace(0, 1, 11), cmap="Blues")
    figure.colorbar(shown, ax=surface, label="D(x), even game")
    surface.scatter(*four_clouds(rng, 200).T, s=4, color="k", label="data")
    for model, colour, mark, name in zip(ends, ("C1", "C3"), "ox", ("even game", "slow discriminator"), strict=True):
        x = np.asarray(student.generate(arrays(model["G"]), 200, fresh(rng)))
        surface.scatter(*x.T, s=6, color=colour, marker=mark, lw=0.7, label=name)
    surface.set_title("Four clouds, and the surface D(x)")
    surface.set_xlabel("first number")
    surface.set_ylabel("second number")
    surface.set_xlim(-2.2, 5.4)
    surface.set_ylim(-2.2, 2.2)
    surface.legend(fontsize=7, loc="center right", framealpha=1.0)
    collapse.set_title("Collapse: clouds covered, mean of 3 runs")
    collapse.set_xlabel("step")
    collapse.set_ylabel("covered, of 4")
    collapse.set_ylim(0, 4.3)
    collapse.legend(frameon=False, fontsize=7, loc="lower right")


CHAPTER = Chapter(
    id="ch326",
    slug="gan",
    title="Generative Adversarial Networks",
    part="Advanced models",
    summary="Adversarial losses, the perfect discriminator, moves of one player at a time, a critic, mode collapse.",
    builds_on=("ch305", "ch306", "ch312"),
    exercises=(LOSSES, OPTIMAL, NETS, PLAYERS, CRITIC, PLAY),
    picture=Picture(title="A forger and a detective", draw=draw_picture),
)
