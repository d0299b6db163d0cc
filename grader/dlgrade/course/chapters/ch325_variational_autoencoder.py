"""Checks of chapter 325: KL, reparameterisation, both decoders, the whole net there and back, bounds, training."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from dlreference import vae as ref

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
Draw = Callable[[Rng], tuple[Any, ...]]


def floats(*arrays: Any) -> tuple[Array, ...]:
    return tuple(np.asarray(a, dtype=np.float64) for a in arrays)


def normal(*shape: int, copies: int = 2, scale: float = 1.0, shift: float = 0.0) -> Draw:
    """That many arrays of one shape."""
    return lambda rng: tuple(shift + scale * rng.normal(size=shape) for _ in range(copies))


# --- KL --------------------------------------------------------------------------------------------------------------


def kl_with(
    log_scale: float = 1.0,
    value: Callable[[Array], float] = lambda shape: 1.0,
    slope: Callable[[Array], float] = lambda shape: 1.0,
    less_one: bool = True,
) -> dict[str, Callable[..., Any]]:
    """kl_divergence with another meaning of log_var, or with value and gradients multiplied by a number of mu's."""

    def kl(mu: Array, log_var: Array) -> Any:
        mu, log_var = floats(mu, log_var)
        loss, dmu, dlog_var = ref.kl_standard_normal(mu, log_scale * log_var)
        dlog_var = log_scale * dlog_var + (0 if less_one else 0.5 / len(mu))
        return value(mu) * loss, slope(mu) * dmu, slope(mu) * dlog_var

    return {"kl_divergence": kl}


def ad_any(mu: Array, log_var: Array, threshold: float = 0.01) -> Array:
    mu, log_var = floats(mu, log_var)
    return np.any(0.5 * (mu**2 + np.exp(log_var) - 1 - log_var) > threshold, axis=0)


def kl_value(student: Any, i: dict[str, Any]) -> Any:
    return items(student.kl_divergence(i["mu"], i["log_var"]), ("kl", "dmu", "dlog_var"))[0]


def kl_grads(student: Any, i: dict[str, Any]) -> dict[str, Any]:
    answer = items(student.kl_divergence(i["mu"], i["log_var"]), ("kl", "dmu", "dlog_var"))
    return {"mu": answer[1], "log_var": answer[2]}


def kl_inputs(batch: int, latent: int, far: float = 0.0) -> Callable[[Rng], dict[str, Any]]:
    return lambda rng: {
        "mu": rng.normal(size=(batch, latent)) + far,
        "log_var": rng.normal(size=(batch, latent)),
    }


def half_used(rng: Rng) -> tuple[Any, ...]:
    """Four dimensions: much used, hardly, not at all, and by one sample of six only."""
    mu = rng.normal(size=(6, 4)) * np.array([2.0, 0.01, 0.0, 0.0])
    mu[0] += np.array([1.0, 0.0, 0.0, 0.2])
    return mu, np.array([-1.0, 0.01, 0.0, 0.0]) * np.ones((6, 1))


KL = Exercise(
    name="kl_divergence",
    title="The price for leaving the cloud",
    functions=("kl_divergence", "active_dimensions"),
    hints=(
        "Which mu and log_var cost nothing? Try your formula there first.",
        "Everything happens entry by entry; then sum over the latent dimensions, and average over the samples. The "
        "slope of exp(log_var) is exp(log_var) itself.",
        "kl is half the sum of all entries of mu^2 + exp(log_var) - 1 - log_var, divided by B; dmu is mu / B, and "
        "dlog_var is (exp(log_var) - 1) / (2 B). For the active dimensions take the mean over axis 0 instead.",
    ),
    checks=(
        numeric(
            "the divergence",
            5,
            "kl_divergence",
            ref.kl_standard_normal,
            [
                Case("four samples, three latent dimensions", normal(4, 3)),
                Case("eight latent dimensions", normal(3, 8)),
                Case("a single sample", normal(1, 2)),
                Case("the standard normal itself", lambda rng: (np.zeros((2, 3)), np.zeros((2, 3)))),
                Case("hardly any variance left", lambda rng: (rng.normal(size=(2, 2)), np.full((2, 2), -60.0))),
                Case("a huge variance", lambda rng: (rng.normal(size=(2, 2)), rng.uniform(60, 80, size=(2, 2)))),
                Case("lists", lambda rng: ([[1.0, -2.0]], [[0.5, 1.5]])),
            ],
            pick=0,
            result="the KL",
        ),
        gradient(
            "gradients of mu and log_var",
            4,
            ("kl_divergence",),
            [
                GradientCase("four samples, three latent dimensions", kl_inputs(4, 3)),
                GradientCase("a single sample", kl_inputs(1, 5)),
                GradientCase("means far from zero", kl_inputs(3, 2, far=1e5)),
            ],
            value=kl_value,
            grads=kl_grads,
            reference=lambda i: dict(
                zip(("mu", "log_var"), ref.kl_standard_normal(i["mu"], i["log_var"])[1:], strict=True)
            ),
        ),
        numeric(
            "dimensions that are in use",
            3,
            "active_dimensions",
            ref.active_dimensions,
            [
                Case("one of four is much used", half_used),
                Case(
                    "hundredths of a nat, and another threshold",
                    lambda rng: (np.full((5, 3), [0.2, 0.3, 0.4]), np.zeros((5, 3)), 0.04),
                ),
                Case("all collapsed", lambda rng: (np.zeros((3, 2)), np.zeros((3, 2)))),
                Case("in use by its variance alone", lambda rng: (np.zeros((3, 2)), np.full((3, 2), [-2.0, 0.0]))),
            ],
        ),
        unchanged(1, {"kl_divergence": normal(3, 2), "active_dimensions": normal(3, 2)}),
    ),
    mistakes=(
        Mistake(
            name="kl-sign",
            advice="A divergence is never negative: it is mu^2 + exp(log_var) - 1 - log_var, and yours has the sign "
            "the other way round.",
            replaces=kl_with(value=lambda mu: -1.0, slope=lambda mu: -1.0),
            variants=(kl_with(value=lambda mu: -1.0), kl_with(slope=lambda mu: -1.0)),
        ),
        Mistake(
            name="log-var-as-log-sd-in-kl",
            advice="log_var is the log of the variance: exp(log_var) is the variance already, with nothing to square.",
            replaces=kl_with(log_scale=2.0),
            variants=(kl_with(log_scale=0.5),),
        ),
        Mistake(
            name="kl-averaged-over-dimensions",
            advice="Sum over the latent dimensions and average over the batch only; a mean over both makes the KL of "
            "many dimensions too cheap.",
            replaces=kl_with(value=lambda mu: 1 / mu.shape[1], slope=lambda mu: 1 / mu.shape[1]),
        ),
        Mistake(
            name="kl-half-missing",
            advice="The divergence has a factor 1/2 in front.",
            replaces=kl_with(value=lambda mu: 2.0, slope=lambda mu: 2.0),
        ),
        Mistake(
            name="kl-summed-over-batch",
            advice="Average over the batch: the loss should not grow with the number of samples.",
            replaces=kl_with(value=len, slope=len),
        ),
        Mistake(
            name="kl-gradient-of-the-sum",
            advice="The value is a mean over the batch, so the gradients carry 1/B as well.",
            replaces=kl_with(slope=len),
        ),
        Mistake(
            name="log-var-slope-incomplete",
            advice="Two terms depend on log_var: exp(log_var) and -log_var; the slope of the second is -1.",
            replaces=kl_with(less_one=False),
        ),
        Mistake(
            name="collapsed-dimensions-instead",
            advice="A large KL means in use; yours marks the dimensions that have collapsed.",
            replaces={"active_dimensions": lambda mu, log_var, t=0.01: ~ref.active_dimensions(mu, log_var, t)},
        ),
        Mistake(
            name="active-if-any-sample",
            advice="Average the KL over the batch first, then compare with the threshold; one sample is not enough.",
            replaces={"active_dimensions": ad_any},
        ),
        Mistake(
            name="active-by-means-only",
            advice="The variance carries information too: use the whole KL, not only mu^2.",
            replaces={
                "active_dimensions": lambda mu, log_var, t=0.01: ref.active_dimensions(mu, np.zeros_like(floats(mu)), t)
            },
        ),
    ),
)

# --- reparameterisation ----------------------------------------------------------------------------------------------


def reparam_with(
    sd: Callable[[Array], Array], slope: Callable[[Array], Array], both: bool = True
) -> dict[str, Callable[..., Any]]:
    """Codes with another standard deviation (and the slope that belongs to it)."""

    def forward(mu: Array, log_var: Array, eps: Array) -> Array:
        mu, log_var, eps = floats(mu, log_var, eps)
        return mu + sd(log_var) * eps

    def backward(dz: Array, log_var: Array, eps: Array) -> Any:
        dz, log_var, eps = floats(dz, log_var, eps)
        return dz, dz * eps * slope(log_var)

    return (
        {"reparameterize": forward, "reparameterize_backward": backward}
        if both
        else {"reparameterize_backward": backward}
    )


def sl_noise(draw: Callable[[Rng, tuple[int, ...]], Any]) -> dict[str, Callable[..., Any]]:
    """sample_latent with other noise."""

    def sample(mu: Array, log_var: Array, rng: Rng) -> Array:
        mu, log_var = floats(mu, log_var)
        return mu + np.exp(log_var / 2) * draw(rng, mu.shape)

    return {"sample_latent": sample}


def with_rng(draw: Draw) -> Draw:
    return lambda rng: (*draw(rng), np.random.default_rng(int(rng.integers(1 << 62))))


def noise_inputs(*shape: int, far: float = 0.0) -> Callable[[Rng], dict[str, Any]]:
    def draw(rng: Rng) -> dict[str, Any]:
        named = dict(zip(("mu", "log_var", "eps", "dout"), normal(*shape, copies=4)(rng), strict=True))
        return {**named, "mu": named["mu"] + far}

    return draw


def noise_grads(student: Any, i: dict[str, Any]) -> dict[str, Any]:
    answer = items(student.reparameterize_backward(i["dout"], i["log_var"], i["eps"]), ("dmu", "dlog_var"))
    return {"mu": answer[0], "log_var": answer[1]}


def noise_right(i: dict[str, Any]) -> dict[str, Any]:
    grads = ref.reparameterize_backward(i["dout"], i["log_var"], i["eps"])
    return dict(zip(("mu", "log_var"), grads, strict=True))


def extreme_noise(rng: Rng) -> dict[str, Any]:
    """Deviations of 1e125 or 1e-125 and upstream gradients of the opposite size, so that every product is ordinary."""
    i = noise_inputs(2, 3)(rng)
    log_var = rng.choice([-1.0, 1.0], size=(2, 3)) * rng.uniform(550, 590, size=(2, 3))
    return {**i, "log_var": log_var, "dout": i["dout"] * np.exp(-log_var / 2)}


SAMPLES = 4000
# A sum of S squared standard normal numbers leaves [S - 2 sqrt(S t), S + 2 sqrt(S t) + 2 t] to either side with
# probability at most exp(-t) (Laurent and Massart 2000, lemma 1); a mean of S of them leaves 0 by more than
# sqrt(2 t / S) to either side likewise. Two dimensions, two sides, two statistics, t = 26: 8 exp(-26) = 4.1e-11.
TAIL = 26.0


@statistical("codes have the mean and the variance asked for", 2, "sample_latent", false_alarm=8 * math.exp(-TAIL))
def mean_and_variance(student: Any, rng: Rng) -> None:
    mean, log_var = rng.normal(size=2), np.array([2 * math.log(3.0), -2.0])
    generator = np.random.default_rng(int(rng.integers(1 << 62)))
    shape = (SAMPLES, 2)
    z = numbers(student.sample_latent(np.full(shape, mean), np.full(shape, log_var), generator), shape, "z")
    off = (z - mean) / np.exp(log_var / 2)
    with case_of("4000 samples with the same mu, log_var = 2 log 3 and -2"):
        holds(
            bool(np.all(np.abs(off.mean(axis=0)) <= math.sqrt(2 * TAIL / SAMPLES))),
            "the mean of many codes should be close to mu.",
        )
        spread = (off**2).sum(axis=0)
        low = SAMPLES - 2 * math.sqrt(SAMPLES * TAIL)
        high = SAMPLES + 2 * math.sqrt(SAMPLES * TAIL) + 2 * TAIL
        holds(
            bool(np.all((spread >= low) & (spread <= high))),
            "the variance of many codes should be close to exp(log_var).",
            "It is " + " and ".join(f"{s / SAMPLES:.3g} times that" for s in spread) + ".",
        )


REPARAMETERIZE = Exercise(
    name="reparameterize",
    title="A gradient through chance",
    functions=("reparameterize", "reparameterize_backward", "sample_latent"),
    hints=(
        "If the noise is given, what is left is an ordinary formula in mu and log_var. Differentiate that.",
        "The standard deviation is the square root of exp(log_var), which is exp(log_var / 2); its slope is half of "
        "itself.",
        "z is mu plus exp(log_var / 2) times eps. Backward, mu gets dz and log_var gets dz times eps times "
        "exp(log_var / 2) times a half. For sample_latent draw noise of the full shape of mu.",
    ),
    checks=(
        numeric(
            "codes from given noise",
            4,
            "reparameterize",
            ref.reparameterize,
            [
                Case("four samples, three dimensions", normal(4, 3, copies=3)),
                Case("log_var = 2 log 3, a deviation of 3", lambda rng: ([[1.0]], [[2 * math.log(3.0)]], [[2.0]])),
                Case("several codes for each sample", normal(5, 2, 3, copies=3)),
                Case(
                    "no variance left", lambda rng: (rng.normal(size=(2, 2)), np.full((2, 2), -80.0), np.ones((2, 2)))
                ),
                Case(
                    "a huge variance",
                    lambda rng: (
                        rng.normal(size=(2, 2)),
                        rng.uniform(60, 80, size=(2, 2)),
                        rng.normal(size=(2, 2)),
                    ),
                ),
            ],
        ),
        gradient(
            "gradients of mu and log_var with the same noise",
            4,
            ("reparameterize", "reparameterize_backward"),
            [
                GradientCase("four samples, three dimensions", noise_inputs(4, 3)),
                GradientCase("a single sample", noise_inputs(1, 2)),
                GradientCase("means far from zero", noise_inputs(2, 3, far=1e7)),
            ],
            value=lambda student, i: student.reparameterize(i["mu"], i["log_var"], i["eps"]),
            grads=noise_grads,
            reference=noise_right,
        ),
        # Of numbers like these a step loses the digits, and the formula does not: it is right to 15 of them, of which
        # 12 are asked for.
        gradient(
            "gradients are computed, not approximated",
            1,
            ("reparameterize", "reparameterize_backward"),
            [GradientCase("variances from 1e-250 to 1e250", extreme_noise)],
            value=lambda student, i: student.reparameterize(i["mu"], i["log_var"], i["eps"]),
            grads=noise_grads,
            reference=noise_right,
            rtol=1e-12,
            atol=1e-300,
        ),
        numeric(
            "noise of its own for every entry",
            3,
            "sample_latent",
            ref.sample_latent,
            [
                Case("four samples, three dimensions", with_rng(normal(4, 3))),
                Case("a single sample", with_rng(normal(1, 2))),
            ],
        ),
        mean_and_variance,
        unchanged(1, {"reparameterize": normal(3, 2, copies=3), "reparameterize_backward": normal(3, 2, copies=3)}),
    ),
    mistakes=(
        Mistake(
            name="log-var-as-log-sd",
            advice="log_var is the log of the variance; the standard deviation is exp(log_var / 2), not exp(log_var).",
            replaces=reparam_with(np.exp, np.exp),
            variants=(reparam_with(np.exp, lambda lv: np.exp(lv / 2) / 2), reparam_with(np.exp, np.exp, both=False)),
        ),
        Mistake(
            name="log-var-as-sd",
            advice="log_var is a logarithm and may be negative: take exp(log_var / 2) before you multiply.",
            replaces=reparam_with(lambda lv: lv, np.ones_like),
        ),
        Mistake(
            name="noise-left-out",
            advice="Without the noise z is mu, and this is an ordinary autoencoder.",
            replaces={"reparameterize": lambda mu, log_var, eps: floats(mu)[0].copy()},
        ),
        Mistake(
            name="no-gradient-to-log-var",
            advice="log_var scales the noise, so the gradient at z reaches it too: dz * eps * exp(log_var / 2) / 2.",
            replaces=reparam_with(np.exp, np.zeros_like, both=False),
        ),
        Mistake(
            name="slope-half-missing",
            advice="The slope of exp(log_var / 2) is exp(log_var / 2) times 1/2.",
            replaces=reparam_with(np.exp, lambda lv: np.exp(lv / 2), both=False),
        ),
        Mistake(
            name="noise-missing-in-gradient",
            advice="log_var reaches z multiplied by eps, and so does its gradient: with the SAME eps.",
            replaces={
                "reparameterize_backward": lambda dz, lv, eps: ref.reparameterize_backward(
                    dz, lv, np.ones_like(floats(dz))
                )
            },
        ),
        Mistake(
            name="noise-shared",
            advice="Every entry of z has noise of its own: draw an array of the shape of mu.",
            replaces=sl_noise(lambda rng, shape: rng.standard_normal()),
            variants=(
                sl_noise(lambda rng, shape: rng.standard_normal((shape[0], 1))),
                sl_noise(lambda rng, shape: rng.standard_normal(shape[1])),
            ),
        ),
        Mistake(
            name="uniform-noise",
            advice="The noise is standard normal; rng.random draws between 0 and 1.",
            replaces=sl_noise(lambda rng, shape: rng.random(shape)),
        ),
        Mistake(
            name="own-generator",
            advice="Draw from the rng that is passed in; a generator made inside gives the same noise in every call.",
            replaces=sl_noise(lambda rng, shape: np.random.default_rng(0).standard_normal(shape)),
            variants=(sl_noise(lambda rng, shape: np.random.default_rng(42).standard_normal(shape)),),
        ),
    ),
)

# --- reconstruction --------------------------------------------------------------------------------------------------


def scaled(
    function: Callable[..., Any], value: Callable[..., float], slope: Callable[..., float]
) -> Callable[..., Any]:
    """A loss and its gradient, each multiplied by a number that depends on the arguments."""

    def changed(*args: Any) -> Any:
        loss, grad = function(*args)
        return value(*args) * loss, slope(*args) * grad

    return changed


def gauss(value: Callable[..., float], slope: Callable[..., float] | None = None) -> dict[str, Callable[..., Any]]:
    return {"gaussian_reconstruction": scaled(ref.gaussian_reconstruction, value, slope or value)}


def bern(value: Callable[..., float], slope: Callable[..., float] | None = None) -> dict[str, Callable[..., Any]]:
    return {"bernoulli_reconstruction": scaled(ref.bernoulli_reconstruction, value, slope or value)}


def gr_constant(x_hat: Array, x: Array, variance: float) -> Any:
    loss, grad = ref.gaussian_reconstruction(x_hat, x, variance)
    return loss + ref.gaussian_constant(np.shape(x)[1], variance), grad


def br_with(log: Callable[[Array], Array]) -> dict[str, Callable[..., Any]]:
    """Cross-entropy by the textbook's formula, with another logarithm."""

    def bernoulli(logits: Array, x: Array) -> Any:
        logits, x = floats(logits, x)
        p = 1 / (1 + np.exp(-logits))
        loss = -(x * log(p) + (1 - x) * log(1 - p))
        return loss.sum() / len(x), (p - x) / len(x)

    return {"bernoulli_reconstruction": bernoulli}


def br_slope_of_sigmoid(logits: Array, x: Array) -> Any:
    loss, grad = ref.bernoulli_reconstruction(logits, x)
    p = 1 / (1 + np.exp(-np.clip(floats(logits)[0], -700, 700)))
    return loss, grad * p * (1 - p)


def gauss_case(batch: int, features: int, variance: float, far: float = 0.0) -> Draw:
    return lambda rng: (
        (*normal(batch, features)(rng), variance)
        if not far
        else (
            rng.normal(size=(batch, features)) + np.arange(features) * far,
            rng.normal(size=(batch, features)),
            variance,
        )
    )


def bits_case(batch: int, features: int) -> Draw:
    return lambda rng: (
        2 * rng.normal(size=(batch, features)),
        rng.integers(0, 2, size=(batch, features)).astype(float),
    )


def hopeless_bit(rng: Rng) -> tuple[Array, Array]:
    """One bit is so improbable that its loss covers the digits of all others."""
    logits, x = bits_case(2, 3)(rng)
    logits[0, 0], x[0, 0] = 1e8, 0.0
    return logits, x


def huge_logits(rng: Rng) -> tuple[Array, Array]:
    logits = rng.choice([-1e4, 1e4], size=(3, 4)) * rng.uniform(0.5, 1.0, size=(3, 4))
    logits[0, :2] = 1e4, -1e4
    return logits, np.where(np.arange(12).reshape(3, 4) % 3 > 0, logits > 0, logits < 0).astype(float)


GAUSS_CASES = [
    Case("four samples, three features, variance 0.3", gauss_case(4, 3, 0.3)),
    Case("a single sample, variance 2", gauss_case(1, 5, 2.0)),
    Case("predictions far from the data", gauss_case(3, 2, 0.5, far=1e6)),
]
BITS_CASES = [
    # First, for a small number inside the logarithm shows here by far, and on other cases only just.
    Case("logits of 10000, right and wrong", huge_logits),
    Case("black and white", bits_case(4, 3)),
    Case("a single sample", bits_case(1, 5)),
    Case("grey", lambda rng: (rng.normal(size=(3, 2)), rng.random((3, 2)))),
]


def loss_grad(
    name: str, points: int, function: str, first: str, reference: Callable[..., Any], cases: list[Case]
) -> Any:
    """The gradient at the first argument of a function that returns (loss, gradient)."""
    answer = ("loss", f"d{first}")

    def inputs_of(case: Case) -> Callable[[Rng], dict[str, Any]]:
        def draw(rng: Rng) -> dict[str, Any]:
            at, *rest = case.draw(rng)
            return {first: at, "rest": rest}

        return draw

    return gradient(
        name,
        points,
        (function,),
        [GradientCase(case.reason, inputs_of(case)) for case in cases],
        value=lambda student, i: items(student.call(function, i[first], *i["rest"]), answer)[0],
        grads=lambda student, i: {first: items(student.call(function, i[first], *i["rest"]), answer)[1]},
        reference=lambda i: {first: reference(i[first], *i["rest"])[1]},
    )


RECONSTRUCTION = Exercise(
    name="reconstruction",
    title="What a decoder is measured by",
    functions=("gaussian_reconstruction", "bernoulli_reconstruction"),
    hints=(
        "Both are -log p(x | z), summed over the features of a sample and averaged over the samples.",
        "Gaussian: the slope of a square over 2 variance is the error over the variance. Bernoulli: the slope at a "
        "logit is sigmoid minus x, as in binary cross-entropy.",
        "Sum all entries and divide by B = len(x) only. For the logits, x * np.logaddexp(0, -logits) + (1 - x) * "
        "np.logaddexp(0, logits) is each entry's loss.",
    ),
    checks=(
        numeric(
            "Gaussian loss",
            3,
            "gaussian_reconstruction",
            ref.gaussian_reconstruction,
            GAUSS_CASES,
            pick=0,
            result="the loss",
        ),
        loss_grad("Gaussian gradient", 3, "gaussian_reconstruction", "x_hat", ref.gaussian_reconstruction, GAUSS_CASES),
        numeric(
            "Bernoulli loss",
            3,
            "bernoulli_reconstruction",
            ref.bernoulli_reconstruction,
            BITS_CASES,
            pick=0,
            result="the loss",
        ),
        loss_grad(
            "Bernoulli gradient",
            3,
            "bernoulli_reconstruction",
            "logits",
            ref.bernoulli_reconstruction,
            [*BITS_CASES, Case("a loss of millions, where differences lose digits", hopeless_bit)],
        ),
        unchanged(1, {"gaussian_reconstruction": gauss_case(3, 2, 0.5), "bernoulli_reconstruction": bits_case(3, 2)}),
    ),
    mistakes=(
        Mistake(
            name="gaussian-averaged-over-features",
            advice="Sum over the features: with a mean the KL, which is a sum, weighs D times too much.",
            replaces=gauss(lambda x_hat, x, v: 1 / np.shape(x)[1]),
        ),
        Mistake(
            name="variance-not-used",
            advice="The squared error is divided by 2 variance: a small variance makes errors expensive.",
            replaces=gauss(lambda x_hat, x, v: v),
            variants=(gauss(lambda x_hat, x, v: 2 * v),),
        ),
        Mistake(
            name="variance-taken-as-sd",
            advice="The argument is the variance already; do not square it.",
            replaces=gauss(lambda x_hat, x, v: 1 / v),
        ),
        Mistake(
            name="gaussian-half-missing",
            advice="The squared error is divided by TWICE the variance.",
            replaces=gauss(lambda x_hat, x, v: 2.0),
            variants=(gauss(lambda x_hat, x, v: 2.0, lambda x_hat, x, v: 1.0),),
        ),
        Mistake(
            name="gaussian-summed-over-batch",
            advice="Average over the samples: the loss should not grow with the batch.",
            replaces=gauss(lambda x_hat, x, v: len(x)),
            variants=(gauss(lambda x_hat, x, v: 1.0, lambda x_hat, x, v: len(x)),),
        ),
        Mistake(
            name="gaussian-gradient-sign",
            advice="The gradient at x_hat is (x_hat - x) / variance: where x_hat is too large the loss rises with it.",
            replaces=gauss(lambda x_hat, x, v: 1.0, lambda x_hat, x, v: -1.0),
        ),
        Mistake(
            name="constant-included",
            advice="This loss leaves the constant D/2 log(2 pi variance) out.",
            replaces={"gaussian_reconstruction": gr_constant},
        ),
        Mistake(
            name="bernoulli-averaged-over-features",
            advice="Sum the cross-entropies over the features, and average over the samples only.",
            replaces=bern(lambda logits, x: 1 / np.shape(x)[1]),
        ),
        Mistake(
            name="bernoulli-summed-over-batch",
            advice="Average over the samples: divide by B, in the loss and in the gradient.",
            replaces=bern(lambda logits, x: len(x)),
            variants=(bern(lambda logits, x: 1.0, lambda logits, x: len(x)),),
        ),
        Mistake(
            name="log-of-p-plus-epsilon",
            advice="A small number inside the logarithm caps the loss: use np.logaddexp(0, -logits) for -log p.",
            replaces=br_with(lambda p: np.log(p + 1e-8)),
            variants=(br_with(lambda p: np.log(p + 1e-12)), br_with(lambda p: np.log(p + 1e-10))),
        ),
        Mistake(
            name="log-of-a-probability-of-zero",
            advice="A sigmoid of -10000 is 0 in floating point and its log is -inf: compute -log p from the logits.",
            replaces=br_with(np.log),
        ),
        Mistake(
            name="sigmoid-slope-twice",
            advice="sigmoid - x is the gradient at the LOGIT already; the slope p (1 - p) is inside it.",
            replaces={"bernoulli_reconstruction": br_slope_of_sigmoid},
        ),
    ),
)

# --- the whole net ---------------------------------------------------------------------------------------------------

NAMES = ("W1", "b1", "W2", "b2", "W3", "b3", "W4", "b4", "W5", "b5")


def draw_params(rng: Rng, features: int, latent: int, hidden: int) -> Params:
    shapes = {"W1": (hidden, features), "W2": (latent, hidden), "W3": (latent, hidden)}
    shapes |= {"W4": (hidden, latent), "W5": (features, hidden)}
    params: Params = {}
    for name in NAMES:
        rows, columns = shapes["W" + name[1]]
        params[name] = (
            rng.normal(size=(rows, columns)) / math.sqrt(columns) if name[0] == "W" else rng.normal(size=rows)
        )
    return params


def halves(params: Params) -> tuple[Params, Params]:
    """Encoder and decoder as the reference wants them: the two heads of the encoder stacked into one layer."""
    encoder = {"W1": params["W1"], "b1": params["b1"]}
    encoder |= {kind + "2": np.concatenate([params[kind + "2"], params[kind + "3"]]) for kind in "Wb"}
    return encoder, {kind + n: params[kind + m] for kind in "Wb" for n, m in (("1", "4"), ("2", "5"))}


def encode(x: Array, params: Params) -> tuple[Array, Array]:
    mu, log_var, _ = ref.encode(x, halves(params)[0])
    return mu, log_var


def decode(z: Array, params: Params) -> Array:
    return floats(np.tanh(floats(z)[0] @ params["W4"].T + params["b4"]) @ params["W5"].T + params["b5"])[0]


def forward(x: Array, params: Params, eps: Array, variance: float, beta: float = 1.0) -> Any:
    elbo, cache = ref.vae_forward(x, *halves(params), eps, variance=variance, beta=beta)
    return elbo.loss, elbo.reconstruction, elbo.kl, (cache, params)


def backward(cache: Any) -> Params:
    """The gradients, under the chapter's names."""
    of_encoder, of_decoder, _ = ref.vae_backward(cache[0], *halves(cache[1]))
    latent = len(cache[1]["b2"])
    grads: Params = {}
    for kind in "Wb":
        grads |= {kind + "1": of_encoder[kind + "1"], kind + "2": of_encoder[kind + "2"][:latent]}
        grads |= {kind + "3": of_encoder[kind + "2"][latent:]}
        grads |= {kind + "4": of_decoder[kind + "1"], kind + "5": of_decoder[kind + "2"]}
    return grads


def net_case(batch: int, features: int, latent: int, hidden: int, variance: float, *beta: float) -> Draw:
    return lambda rng: (
        rng.normal(size=(batch, features)),
        draw_params(rng, features, latent, hidden),
        rng.normal(size=(batch, latent)),
        variance,
        *beta,
    )


def first_two(draw: Draw) -> Draw:
    return lambda rng: draw(rng)[:2]


def code_case(*shape: int) -> Draw:
    return lambda rng: (rng.normal(size=shape), draw_params(rng, 4, shape[-1], 5))


def net_with(change: Callable[[float, float, float], tuple[float, float, float]]) -> dict[str, Callable[..., Any]]:
    """vae_forward whose three numbers come from reconstruction, kl and beta in another way."""

    def other(x: Array, params: Params, eps: Array, variance: float, beta: float = 1.0) -> Any:
        _, recon, kl, cache = forward(x, params, eps, variance, beta)
        return (*change(recon, kl, beta), cache)

    return {"vae_forward": other}


def net_other_code(code: Callable[[Array, Array, Array], Array]) -> dict[str, Callable[..., Any]]:
    """vae_forward that decodes another code."""

    def other(x: Array, params: Params, eps: Array, variance: float, beta: float = 1.0) -> Any:
        mu, log_var = encode(x, params)
        recon, _ = ref.gaussian_reconstruction(decode(code(mu, log_var, floats(eps)[0]), params), x, variance)
        kl, _, _ = ref.kl_standard_normal(mu, log_var)
        return recon + beta * kl, recon, kl, None

    return {"vae_forward": other}


def net_layers(
    hidden: Callable[[Array], Array] = np.tanh, head: Callable[[Array], Array] = lambda a: a
) -> Callable[[Array, Params], Any]:
    def other(x: Array, params: Params) -> Any:
        h = hidden(floats(x)[0] @ params["W1"].T + params["b1"])
        return head(h @ params["W2"].T + params["b2"]), head(h @ params["W3"].T + params["b3"])

    return other


def out_layers(
    hidden: Callable[[Array], Array] = np.tanh, out: Callable[[Array], Array] = lambda a: a
) -> Callable[[Array, Params], Any]:
    return lambda z, p: out(hidden(floats(z)[0] @ p["W4"].T + p["b4"]) @ p["W5"].T + p["b5"])


def relu(a: Array) -> Array:
    return np.maximum(a, 0)


NET_CASES = [
    Case("four samples, all widths different", net_case(4, 3, 2, 5, 0.3)),
    Case("a single sample", net_case(1, 2, 3, 4, 1.0)),
    Case("a larger price for the KL", net_case(3, 4, 2, 3, 0.5, 4.0)),
    Case("the KL for free", net_case(3, 2, 1, 3, 0.1, 0.0)),
]

VAE_FORWARD = Exercise(
    name="vae_forward",
    title="The loss of the whole net",
    functions=("encode", "decode", "vae_forward"),
    hints=(
        "Everything is there already: encode, reparameterize, decode, and the two parts of the loss.",
        "The encoder's two heads share one hidden layer and differ in their weights. beta multiplies the KL in the "
        "loss only; the KL that is returned on its own is the plain one.",
        "vae_forward: mu, log_var from encode; z from reparameterize with the given eps; x_hat from decode; then the "
        "two loss functions. Keep whatever has a gradient on its way back, and eps above all.",
    ),
    checks=(
        numeric(
            "the encoder's two heads",
            3,
            "encode",
            encode,
            [
                Case("four samples, all widths different", first_two(net_case(4, 3, 2, 5, 1.0))),
                Case("a single sample", first_two(net_case(1, 2, 3, 4, 1.0))),
            ],
        ),
        numeric(
            "the decoder",
            3,
            "decode",
            decode,
            [
                Case("three codes", code_case(3, 2)),
                Case("a single code", code_case(1, 3)),
                Case("five codes for each of two samples", code_case(5, 2, 3)),
            ],
        ),
        numeric("the loss", 4, "vae_forward", forward, NET_CASES, pick=0, result="the loss", keep=(3,)),
        numeric(
            "its reconstruction part", 2, "vae_forward", forward, NET_CASES, pick=1, result="reconstruction", keep=(3,)
        ),
        numeric("its KL part, without beta", 2, "vae_forward", forward, NET_CASES, pick=2, result="the KL", keep=(3,)),
        unchanged(1, {"vae_forward": net_case(3, 2, 2, 4, 1.0)}, keep=(3,)),
    ),
    mistakes=(
        Mistake(
            name="encoder-not-bent",
            advice="The hidden layer of the encoder goes through tanh before the two heads read it.",
            replaces={"encode": net_layers(hidden=lambda a: a)},
            variants=({"encode": net_layers(hidden=relu)},),
        ),
        Mistake(
            name="heads-squashed",
            advice="mu and log_var may be any numbers: no activation after the heads.",
            replaces={"encode": net_layers(head=np.tanh)},
            variants=({"encode": net_layers(head=relu)},),
        ),
        Mistake(
            name="heads-swapped",
            advice="W2 and b2 make mu, W3 and b3 make log_var; return them in this order.",
            replaces={"encode": lambda x, params: encode(x, params)[::-1]},
        ),
        Mistake(
            name="decoder-not-bent",
            advice="The hidden layer of the decoder goes through tanh.",
            replaces={"decode": out_layers(hidden=lambda a: a)},
            variants=({"decode": out_layers(hidden=relu)},),
        ),
        Mistake(
            name="output-squashed",
            advice="x_hat is the mean of a Gaussian and may be any number: no activation at the end of the decoder.",
            replaces={"decode": out_layers(out=np.tanh)},
            variants=({"decode": out_layers(out=lambda a: 1 / (1 + np.exp(-a)))},),
        ),
        Mistake(
            name="kl-subtracted",
            advice="This loss is the NEGATIVE ELBO: the KL is a cost, so it is added to the reconstruction.",
            replaces=net_with(lambda recon, kl, beta: (recon - beta * kl, recon, kl)),
        ),
        Mistake(
            name="elbo-instead-of-its-negative",
            advice="What is minimised is the negative ELBO, reconstruction plus KL; yours has the sign of the ELBO.",
            replaces=net_with(lambda recon, kl, beta: (-recon - beta * kl, recon, kl)),
        ),
        Mistake(
            name="beta-ignored",
            advice="The KL counts beta times in the loss.",
            replaces=net_with(lambda recon, kl, beta: (recon + kl, recon, kl)),
        ),
        Mistake(
            name="beta-on-the-reconstruction",
            advice="beta is the weight of the KL, not of the reconstruction.",
            replaces=net_with(lambda recon, kl, beta: (beta * recon + kl, recon, kl)),
        ),
        Mistake(
            name="kl-returned-with-beta",
            advice="The kl that is returned on its own is the plain divergence; only the loss has beta times it.",
            replaces=net_with(lambda recon, kl, beta: (recon + beta * kl, recon, beta * kl)),
        ),
        Mistake(
            name="means-decoded-in-training",
            advice="Training decodes a random code, mu + exp(log_var / 2) * eps; the mean alone leaves eps unused.",
            replaces=net_other_code(lambda mu, log_var, eps: mu),
        ),
        Mistake(
            name="code-with-the-variance",
            advice="The noise is multiplied by the standard deviation, exp(log_var / 2), not by the variance.",
            replaces=net_other_code(lambda mu, log_var, eps: mu + np.exp(log_var) * eps),
        ),
    ),
)

# --- backward --------------------------------------------------------------------------------------------------------


def back_with(
    kl: tuple[bool, bool] = (True, True),
    weighted: bool = True,
    through_noise: float = 1.0,
    to_mu: bool = True,
    heads: str = "23",
    bent: str = "hg",
    share: bool = False,
    biases_averaged: bool = False,
) -> dict[str, Callable[..., Any]]:
    """The net with a backward that forgets one of its ways: `kl` into mu and log_var, the noise, a head, a tanh."""

    def run(x: Array, params: Params, eps: Array, variance: float, beta: float = 1.0) -> Any:
        return (*forward(x, params, eps, variance, beta)[:3], (x, params, eps, variance, beta))

    def back(cache: Any) -> Params:
        x, params, eps, variance, beta = cache
        x, eps = floats(x, eps)
        h = np.tanh(x @ params["W1"].T + params["b1"])
        mu, log_var = encode(x, params)
        z = ref.reparameterize(mu, log_var, eps)
        g = np.tanh(z @ params["W4"].T + params["b4"])
        _, dout = ref.gaussian_reconstruction(decode(z, params), x, variance)
        _, dmu_kl, dlv_kl = ref.kl_standard_normal(mu, log_var)
        price = beta if weighted else 1.0
        dg = dout @ params["W5"] * (1 - g**2 if "g" in bent else 1.0)
        dmu, dlv = ref.reparameterize_backward(dg @ params["W4"], log_var, eps)
        dmu = dmu * to_mu + kl[0] * price * dmu_kl
        dlv = dlv * through_noise + kl[1] * price * dlv_kl
        dh = (("2" in heads) * dmu @ params["W2"] + ("3" in heads) * dlv @ params["W3"]) * (
            1 - h**2 if "h" in bent else 1.0
        )
        grads: Params = {}
        for n, (delta, a) in {"1": (dh, x), "2": (dmu, h), "3": (dlv, h), "4": (dg, z), "5": (dout, g)}.items():
            scale = 1 / len(x) if share else 1.0
            grads["W" + n] = scale * delta.T @ a
            grads["b" + n] = scale * (delta.mean(axis=0) if biases_averaged else delta.sum(axis=0))
        return grads

    return {"vae_forward": run, "vae_backward": back}


def net_inputs(*sizes: int, variance: float, beta: float, far: float = 0.0) -> Callable[[Rng], dict[str, Any]]:
    def draw(rng: Rng) -> dict[str, Any]:
        x, params, eps, _ = net_case(*sizes, 1.0)(rng)
        # A feature that no weight touches and that nobody can reconstruct: the loss is huge, gradients as they were.
        if far:
            x[:, -1] += far
            params["W1"][:, -1] = params["W5"][-1] = 0.0
        return {"x": x, "params": params, "eps": eps, "variance": variance, "beta": beta}

    return draw


def net_call(student: Any, i: dict[str, Any]) -> tuple[Any, ...]:
    answer = student.call("vae_forward", i["x"], i["params"], i["eps"], i["variance"], i["beta"], keep=(3,))
    return items(answer, ("loss", "reconstruction", "kl", "cache"))


def net_grads(student: Any, i: dict[str, Any]) -> dict[str, Any]:
    grads = student.vae_backward(net_call(student, i)[3])
    return {f"params.{name}": entry(grads, name, "the gradients") for name in NAMES}


def net_check(name: str, points: int, layers: str) -> Any:
    def reference(i: dict[str, Any]) -> dict[str, Any]:
        grads = backward(forward(i["x"], i["params"], i["eps"], i["variance"], i["beta"])[3])
        return {f"params.{n}": grads[n] for n in NAMES if n[1] in layers}

    return gradient(
        name,
        points,
        ("vae_forward", "vae_backward"),
        [
            GradientCase("four samples, all widths different", net_inputs(4, 3, 2, 5, variance=0.3, beta=1.0)),
            GradientCase("a single sample, beta 4", net_inputs(1, 2, 3, 4, variance=1.0, beta=4.0)),
            GradientCase("the KL for free, beta 0", net_inputs(3, 4, 2, 3, variance=0.5, beta=0.0)),
            GradientCase("a feature far away", net_inputs(3, 3, 2, 4, variance=0.5, beta=0.5, far=1e5)),
        ],
        value=lambda student, i: net_call(student, i)[0],
        grads=net_grads,
        reference=reference,
    )


@prop("a gradient for every parameter", 2, "vae_forward", "vae_backward")
def gradient_keys(student: Any, rng: Rng) -> None:
    i = net_inputs(3, 4, 2, 5, variance=0.5, beta=1.0)(rng)
    cache = net_call(student, i)[3]
    grads = student.vae_backward(cache)
    for name in NAMES:
        numbers(entry(grads, name, "the gradients"), i["params"][name].shape, f"the gradient of {name}")
    holds(len(grads) == len(NAMES), "the gradients have keys that are no parameters.")
    with case_of("the same cache for the second time"):
        again = student.vae_backward(cache)
        for name in NAMES:
            first = numbers(grads[name])
            same(entry(again, name, "the gradients"), first, f"the gradient of {name}, which should not change,")


VAE_BACKWARD = Exercise(
    name="vae_backward",
    title="Exact gradients of the negative ELBO",
    functions=("vae_forward", "vae_backward"),
    hints=(
        "Draw the net as boxes. Into which boxes do two arrows lead back?",
        "From x_hat through W5, tanh and W4 to z; from z through the noise to mu and log_var, where beta times the "
        "gradient of the KL is added; from both heads to h, where the two are added; through tanh to W1.",
        "dg = (dx_hat @ W5) * (1 - g^2) and dz = dg @ W4. Then dmu = dz + beta * dmu of the KL, and dlog_var = dz * "
        "eps * exp(log_var / 2) / 2 + beta * dlog_var of the KL. dh = (dmu @ W2 + dlog_var @ W3) * (1 - h^2).",
    ),
    checks=(
        gradient_keys,
        net_check("gradients of the decoder", 5, "45"),
        net_check("gradients of the two heads", 6, "23"),
        net_check("gradients of the encoder's first layer", 5, "1"),
    ),
    mistakes=(
        Mistake(
            name="kl-gradient-missing",
            advice="The loss has two parts: add the gradients of beta * kl at mu and at log_var.",
            replaces=back_with(kl=(False, False)),
            variants=(back_with(kl=(True, False)), back_with(kl=(False, True))),
        ),
        Mistake(
            name="kl-gradient-without-beta",
            advice="The KL counts beta times in the loss, so its gradients do as well.",
            replaces=back_with(weighted=False),
        ),
        Mistake(
            name="log-var-from-kl-only",
            advice="log_var also scales the noise in z: the reconstruction sends it dz * eps * exp(log_var / 2) / 2.",
            replaces=back_with(through_noise=0.0),
        ),
        Mistake(
            name="noise-slope-without-half",
            advice="The slope of exp(log_var / 2) has a factor 1/2.",
            replaces=back_with(through_noise=2.0),
        ),
        Mistake(
            name="mu-from-kl-only",
            advice="mu is part of z: the reconstruction's gradient dz passes on to it unchanged.",
            replaces=back_with(to_mu=False),
        ),
        Mistake(
            name="one-head-forgotten",
            advice="h is read by both heads: its gradient is dmu @ W2 plus dlog_var @ W3.",
            replaces=back_with(heads="2"),
            variants=(back_with(heads="3"),),
        ),
        Mistake(
            name="encoder-tanh-slope-missing",
            advice="Back through tanh a gradient is multiplied by 1 - h^2.",
            replaces=back_with(bent="g"),
        ),
        Mistake(
            name="decoder-tanh-slope-missing",
            advice="In the decoder, too, the way back through tanh multiplies by 1 - g^2.",
            replaces=back_with(bent="h"),
            variants=(back_with(bent=""),),
        ),
        Mistake(
            name="batch-divided-twice",
            advice="The gradient at x_hat carries 1/B already; nothing after it divides again.",
            replaces=back_with(share=True),
        ),
        Mistake(
            name="bias-gradients-averaged",
            advice="A bias serves every sample: its gradient is the SUM over the batch (1/B is in the loss already).",
            replaces=back_with(biases_averaged=True),
        ),
    ),
)

# --- importance weights ----------------------------------------------------------------------------------------------


def weights(x: Array, params: Params, eps: Array, variance: float) -> Array:
    return ref.log_importance_weights(x, *halves(params), eps, variance=variance)


def weights_with(
    prior: float = 1.0, proposal: float = 1.0, constant: bool = True, log_scale: float = 1.0
) -> dict[str, Callable[..., Any]]:
    """Log weights with a term left out or turned round."""

    def other(x: Array, params: Params, eps: Array, variance: float) -> Array:
        x, eps = floats(x, eps)
        mu, log_var = encode(x, params)
        log_var = log_scale * log_var
        z = ref.reparameterize(mu, log_var, eps)
        likelihood = ref.log_likelihood(x, decode(z, params), variance=variance)
        if not constant:
            likelihood = likelihood + ref.gaussian_constant(x.shape[1], variance)
        zero = np.zeros_like(z)
        return likelihood + prior * ref.log_normal(z, zero, zero) - proposal * ref.log_normal(z, mu, log_var)

    return {"log_importance_weights": other}


def bound(log_weights: Array) -> tuple[float, Array]:
    (log_weights,) = floats(log_weights)
    share = np.exp(log_weights - log_weights.max(axis=0))
    return ref.importance_weighted_bound(log_weights), share / share.sum(axis=0) / log_weights.shape[1]


def bound_with(change: Callable[[Array], float] | None = None, grad: Callable[[Array], Any] | None = None) -> Any:
    def other(log_weights: Array) -> Any:
        (log_weights,) = floats(log_weights)
        value, slope = bound(log_weights)
        return (change(log_weights) if change else value), (grad(log_weights) if grad else slope)

    return {"importance_weighted_bound": other}


def unshifted(log_weights: Array) -> tuple[float, Array]:
    w = np.exp(floats(log_weights)[0])
    return float(np.log(w.mean(axis=0)).mean()), w / w.sum(axis=0) / w.shape[1]


def weights_case(codes: int, batch: int, features: int, latent: int, hidden: int, variance: float) -> Draw:
    return lambda rng: (
        rng.normal(size=(batch, features)),
        draw_params(rng, features, latent, hidden),
        rng.normal(size=(codes, batch, latent)),
        variance,
    )


@prop("with the true posterior every weight is p(x)", 2, "log_importance_weights")
def true_posterior(student: Any, rng: Rng) -> None:
    params = draw_params(rng, 3, 2, 4)
    for name in ("W2", "b2", "W3", "b3", "W5"):
        params[name] = np.zeros_like(params[name])
    x, eps, variance = rng.normal(size=(4, 3)), rng.normal(size=(5, 4, 2)), 0.4
    answer = student.log_importance_weights(x, params, eps, variance)
    want = -0.5 * (np.log(2 * np.pi * variance) + (x - params["b5"]) ** 2 / variance).sum(axis=1)
    with case_of("a decoder that ignores z, and an encoder that gives the prior"):
        same(answer, np.tile(want, (5, 1)), "log w, which should be log p(x) for each of the five codes,")


BOUND_CASES = [
    Case("five codes, three samples", lambda rng: (2 * rng.normal(size=(5, 3)),)),
    Case("a single code", lambda rng: (rng.normal(size=(1, 4)),)),
    Case("a single sample", lambda rng: (rng.normal(size=(6, 1)),)),
    Case("weights too small for floating point", lambda rng: (rng.normal(size=(4, 2)) - 1e4,)),
    Case(
        "weights too large, and samples far apart",
        lambda rng: (rng.normal(size=(4, 3)) + np.array([1e4, -1e4, 0.0]),),
    ),
    Case(
        "codes that are right and codes that are far off",
        lambda rng: (rng.normal(size=(3, 2)) + np.array([[0.0, -9000.0], [-8000.0, 0.0], [0.0, 1.0]]),),
    ),
]

IMPORTANCE = Exercise(
    name="importance_weights",
    title="A tighter bound",
    functions=("log_importance_weights", "importance_weighted_bound"),
    hints=(
        "A code that the encoder proposes often should count less each time: that is what log q is subtracted for.",
        "eps has one axis more than x, in front; NumPy lines (B, L) up with (K, B, L) by itself. Sum the last axis of "
        "each log density. For the bound, the mean over codes comes before the logarithm.",
        "For the bound take m, the largest log weight of each sample, then m + log(mean over axis 0 of "
        "exp(log_weights - m)), and average over the samples. The gradient is exp(log_weights - m) over its sum along "
        "axis 0, divided by B.",
    ),
    checks=(
        numeric(
            "log weights with all constants",
            4,
            "log_importance_weights",
            weights,
            [
                Case("four codes, three samples, all widths different", weights_case(4, 3, 5, 2, 6, 0.3)),
                Case("a single code", weights_case(1, 2, 2, 3, 4, 2.0)),
                Case("a single sample", weights_case(3, 1, 3, 1, 2, 0.5)),
            ],
        ),
        true_posterior,
        numeric(
            "the bound",
            3,
            "importance_weighted_bound",
            bound,
            BOUND_CASES,
            pick=0,
            result="the bound",
        ),
        loss_grad(
            "its gradient",
            3,
            "importance_weighted_bound",
            "log_weights",
            bound,
            [
                *BOUND_CASES,
                Case(
                    "a large bound, where differences lose digits",
                    lambda rng: (rng.normal(size=(4, 3)) + np.array([2e5, 0.0, 0.0]),),
                ),
            ],
        ),
        unchanged(
            1,
            {
                "log_importance_weights": weights_case(2, 3, 2, 2, 3, 0.5),
                "importance_weighted_bound": normal(4, 3, copies=1),
            },
        ),
    ),
    mistakes=(
        Mistake(
            name="prior-left-out",
            advice="Add log p(z): a code far from the cloud is unlikely to begin with.",
            replaces=weights_with(prior=0.0),
        ),
        Mistake(
            name="proposal-left-out",
            advice="Subtract log q(z | x): it corrects for how often the encoder proposes this code.",
            replaces=weights_with(proposal=0.0),
        ),
        Mistake(
            name="proposal-added",
            advice="log q(z | x) is subtracted: the weight divides by how often a code is proposed.",
            replaces=weights_with(proposal=-1.0),
        ),
        Mistake(
            name="likelihood-constant-missing",
            advice="This is a log density with all constants: log(2 pi variance) / 2 for each feature belongs to it.",
            replaces=weights_with(constant=False),
        ),
        Mistake(
            name="log-var-as-log-sd-in-weights",
            advice="exp(log_var) is the variance of q, and exp(log_var / 2) the standard deviation.",
            replaces=weights_with(log_scale=2.0),
        ),
        Mistake(
            name="mean-of-logarithms",
            advice="Average the weights and then take the logarithm; the mean of the logarithms is only the ELBO.",
            replaces=bound_with(lambda w: float(w.mean()), lambda w: np.full(w.shape, 1 / w.size)),
            variants=(bound_with(lambda w: float(w.mean())),),
        ),
        Mistake(
            name="sum-instead-of-mean-of-weights",
            advice="The weights are averaged: subtract log K from the logarithm of their sum.",
            replaces=bound_with(lambda w: ref.importance_weighted_bound(w) + math.log(len(w))),
        ),
        Mistake(
            name="best-code-only",
            advice="The bound averages over all codes, not only over the one with the largest weight.",
            replaces=bound_with(lambda w: float(w.max(axis=0).mean())),
        ),
        Mistake(
            name="all-samples-in-one-average",
            advice="Each sample has a logarithm of its own; average over codes inside it and over samples outside.",
            replaces=bound_with(
                lambda w: ref.importance_weighted_bound(w.reshape(-1, 1)),
                lambda w: bound(w.reshape(-1, 1))[1].reshape(w.shape),
            ),
        ),
        Mistake(
            name="weights-not-shifted",
            advice="exp(-10000) is 0 and exp(10000) is inf: subtract each sample's largest log weight first.",
            replaces={"importance_weighted_bound": unshifted},
        ),
        Mistake(
            name="shares-not-averaged",
            advice="The bound is a mean over the samples, so each share is divided by B.",
            replaces=bound_with(grad=lambda w: bound(w)[1] * w.shape[1]),
        ),
    ),
)

# --- using and training ----------------------------------------------------------------------------------------------


def trained(
    params: Params,
    x: Array,
    steps: int,
    lr: float,
    variance: float,
    beta: float,
    rng: Rng,
    *,
    momentum: float = 0.9,
    sign: float = 1.0,
    noise: str = "each step",
    width: Callable[[int], int] = lambda latent: latent,
    after: bool = False,
    damped: bool = False,
) -> tuple[Params, Array]:
    """Gradient descent with momentum on the reference's gradients; the keywords are ways to get it wrong."""
    params = {name: floats(value)[0].copy() for name, value in params.items()}
    velocity = {name: np.zeros_like(value) for name, value in params.items()}
    losses, shape = np.zeros(steps), (len(x), params["W4"].shape[1])
    full = np.zeros(shape)
    eps = full
    for step in range(steps):
        if noise != "once" or step == 0:
            eps = full + rng.standard_normal((len(x), width(shape[1])))
        losses[step], _, _, cache = forward(x, params, eps, variance, beta)
        if noise == "anew":
            cache = forward(x, params, full + rng.standard_normal(shape), variance, beta)[3]
        grads = backward(cache)
        for name in params:
            velocity[name] = momentum * velocity[name] + (1 - momentum if damped else 1.0) * grads[name]
            params[name] = params[name] - sign * lr * velocity[name]
        if after:
            losses[step] = forward(x, params, eps, variance, beta)[0]
    return params, losses


def train_with(**changes: Any) -> dict[str, Callable[..., Any]]:
    return {
        "train_vae": lambda params, x, steps, lr, variance, beta, rng: trained(
            params, x, steps, lr, variance, beta, rng, **changes
        )
    }


def train_case(batch: int, features: int, latent: int, hidden: int, steps: int, beta: float = 1.0) -> Draw:
    return lambda rng: (
        draw_params(rng, features, latent, hidden),
        rng.normal(size=(batch, features)),
        steps,
        0.02,
        0.5,
        beta,
        np.random.default_rng(int(rng.integers(1 << 62))),
    )


def prior_case(n: int, features: int, latent: int, hidden: int) -> Draw:
    return with_rng(lambda rng: (draw_params(rng, features, latent, hidden), n))


def prior_with(code: Callable[[Rng, int, int], Array]) -> dict[str, Callable[..., Any]]:
    return {"sample_prior": lambda params, n, rng: decode(code(rng, n, params["W4"].shape[1]), params)}


def noisy_reconstruction(seed: int) -> Callable[[Array, Params], Array]:
    def other(x: Array, params: Params) -> Array:
        mu, log_var = encode(x, params)
        return decode(ref.sample_latent(mu, log_var, np.random.default_rng(seed)), params)

    return other


def four_clouds(rng: Rng, n: int) -> tuple[Array, Array]:
    """Four clouds of sd 0.1 on the unit circle: total variance 1.02, which is also the error of the mean."""
    cloud = np.arange(n) % 4
    angle = np.pi / 2 * cloud + np.pi / 4
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.1 * rng.normal(size=(n, 2)), cloud


def start_params(rng: Rng, hidden: int) -> Params:
    params = draw_params(rng, 2, 2, hidden)
    return {name: np.zeros_like(value) if name[0] == "b" else value for name, value in params.items()}


@training("learns four clouds, and the codes stay in use", 3, "train_vae", "reconstruct", "encode", cpu_s=30.0)
def learns(student: Any, rng: Rng) -> None:
    """Of 300 runs of the solution the worst error was 0.10, the median 0.025, and both dimensions were in use."""
    x, _ = four_clouds(rng, 40)
    own = np.random.default_rng(int(rng.integers(1 << 62)))
    answer = student.train_vae(start_params(rng, 12), x, 120, 0.01, 0.05, 1.0, own)
    params, _ = items(answer, ("params", "losses"))
    with case_of("40 points in four clouds, 120 steps with lr = 0.01 and variance = 0.05", student.transcript[-1][0]):
        params = {name: numbers(entry(params, name, "`params`"), None, f"`params[{name!r}]`") for name in NAMES}
        x_hat = numbers(student.reconstruct(x, params), x.shape, "the reconstruction")
        error = float(((x_hat - x) ** 2).sum(axis=1).mean())
        below(
            error,
            0.3,
            "reconstructions should be much nearer to the points than their mean is (a squared distance of 1.02).",
            f"Their mean squared distance is {error:.3g}; below 0.3 is asked for.",
        )
        mu, log_var = items(student.encode(x, params), ("mu", "log_var"))
        active = ref.active_dimensions(numbers(mu, (40, 2), "mu"), numbers(log_var, (40, 2), "log_var"))
        holds(bool(active.any()), "the posterior has collapsed: no latent dimension is in use.")


TRAIN = Exercise(
    name="train_vae",
    title="Training, rebuilding, inventing",
    functions=("train_vae", "reconstruct", "sample_prior"),
    hints=(
        "Where does chance belong? In training, yes; in rebuilding, no; in inventing, only in the codes.",
        "A step of training has one draw of eps. The loss that is noted down and the gradients belong to the same eps, "
        "so one call of vae_forward serves both.",
        "Copy the parameters, make a dict of zeros for the velocities, and in each step: eps of shape (B, L), "
        "vae_forward, note the loss, vae_backward, then for every name v = 0.9 v + grad and parameter minus lr * v.",
    ),
    checks=(
        numeric(
            "rebuilding decodes the means",
            2,
            "reconstruct",
            lambda x, params: decode(encode(x, params)[0], params),
            [
                Case("four samples, all widths different", first_two(net_case(4, 3, 2, 5, 1.0))),
                Case("a single sample", first_two(net_case(1, 2, 3, 4, 1.0))),
            ],
        ),
        numeric(
            "inventing decodes the cloud",
            2,
            "sample_prior",
            lambda params, n, rng: ref.sample_prior(halves(params)[1], n, rng),
            [
                Case("five samples, all widths different", prior_case(5, 3, 2, 4)),
                Case("a single sample", prior_case(1, 2, 3, 4)),
            ],
        ),
        numeric(
            "a few steps of training",
            5,
            "train_vae",
            trained,
            [
                Case("three steps", train_case(4, 3, 2, 5, 3)),
                Case("two steps, one sample, beta 4", train_case(1, 2, 3, 4, 2, 4.0)),
                Case("no step at all", train_case(2, 2, 2, 3, 0)),
            ],
        ),
        learns,
        unchanged(1, {"train_vae": train_case(3, 2, 2, 3, 2)}, name="the first parameters are left as they were"),
    ),
    mistakes=(
        Mistake(
            name="reconstruction-sampled",
            advice="Rebuilding is not random: decode mu itself.",
            replaces={"reconstruct": noisy_reconstruction(0)},
            variants=({"reconstruct": noisy_reconstruction(42)},),
        ),
        Mistake(
            name="codes-uniform",
            advice="New codes come from the standard normal cloud, which is where the KL has kept the old ones.",
            replaces=prior_with(lambda rng, n, latent: rng.random((n, latent))),
        ),
        Mistake(
            name="one-code-for-all",
            advice="Every sample has a code of its own: draw (n, L) numbers.",
            replaces=prior_with(lambda rng, n, latent: np.tile(rng.standard_normal(latent), (n, 1))),
        ),
        Mistake(
            name="new-noise-for-the-gradient",
            advice="Loss and gradients belong to the same eps: draw once a step, and let the cache carry it.",
            replaces=train_with(noise="anew"),
        ),
        Mistake(
            name="noise-drawn-once",
            advice="Draw new noise in every step; with one draw for all the net learns that noise by heart.",
            replaces=train_with(noise="once"),
        ),
        Mistake(
            name="one-noise-for-all-dimensions",
            advice="Every latent dimension has noise of its own: eps has the shape (B, L).",
            replaces=train_with(width=lambda latent: 1),
        ),
        Mistake(
            name="no-momentum",
            advice="The velocity keeps 0.9 of itself in each step; yours forgets it.",
            replaces=train_with(momentum=0.0),
        ),
        Mistake(
            name="beta-not-passed-on",
            advice="`vae_forward` takes beta = 1 unless it is told otherwise: pass the beta of `train_vae` on to it.",
            replaces={
                "train_vae": lambda params, x, steps, lr, variance, beta, rng: trained(
                    params, x, steps, lr, variance, 1.0, rng
                )
            },
        ),
        Mistake(
            name="gradient-damped",
            advice="The gradient enters the velocity whole, not times 0.1: v = 0.9 v + grad.",
            replaces=train_with(damped=True),
        ),
        Mistake(
            name="climbs-the-loss",
            advice="The loss is the NEGATIVE ELBO and goes down: subtract lr * v.",
            replaces=train_with(sign=-1.0),
        ),
        Mistake(
            name="loss-after-the-update",
            advice="Note down the loss of the parameters before they move.",
            replaces=train_with(after=True),
        ),
    ),
)


def draw_picture(student: Any, figure: Any) -> None:
    """What a trained net makes of four clouds: codes, the decoded grid, and what the decoder's variance decides."""
    left, middle, right = figure.subplots(1, 3)
    rng = np.random.default_rng(3)
    x, cloud = four_clouds(rng, 160)
    start = start_params(rng, 16)

    def train(variance: float) -> tuple[Params, Array]:
        # The size of a gradient goes with 1 / variance, and so does the largest rate that is stable.
        rate = min(0.2 * variance, 0.05)
        params, losses = student.train_vae(start, x, 500, rate, variance, 1.0, np.random.default_rng(4))
        return {name: np.asarray(value) for name, value in params.items()}, np.asarray(losses)

    params, _ = train(0.05)
    mu, log_var = (np.asarray(a) for a in student.encode(x, params))
    grid = np.linspace(-2, 2, 9)
    fine = np.linspace(-2, 2, 60)
    lines = [np.stack([np.full(60, g), fine], axis=1) for g in grid] + [
        np.stack([fine, np.full(60, g)], 1) for g in grid
    ]
    for line in lines:
        left.plot(*line.T, color="0.85", lw=0.7, zorder=0)
        middle.plot(*np.asarray(student.decode(line, params)).T, color="0.8", lw=0.7, zorder=0)
    for k in range(4):
        left.errorbar(
            *mu[cloud == k].T,
            *np.exp(log_var[cloud == k] / 2).T[::-1],
            fmt="o",
            ms=3,
            lw=0.3,
            color=f"C{k}",
            label=f"cloud {k + 1}",
        )
    left.set_title("Codes: mean and deviation")
    left.set_xlabel("first latent dimension")
    left.set_ylabel("second latent dimension")
    left.set_ylim(-2.2, 3.0)
    left.legend(frameon=False, fontsize=7, ncols=2, loc="upper center")
    samples = np.asarray(student.sample_prior(params, 200, np.random.default_rng(5)))
    middle.scatter(*x.T, s=10, color="k", label="data", zorder=2)
    middle.scatter(*samples.T, s=8, color="C1", alpha=0.7, label="invented", zorder=3)
    middle.set_title("The grid, decoded")
    middle.set_xlabel("first feature")
    middle.set_ylabel("second feature")
    middle.set_aspect("equal")
    middle.legend(frameon=False, fontsize=7)
    variances = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
    prices, errors = [], []
    for variance in variances:
        params, _ = train(variance)
        mu, log_var = (np.asarray(a) for a in student.encode(x, params))
        prices.append(float(items(student.kl_divergence(mu, log_var), ("kl", "dmu", "dlog_var"))[0]))
        errors.append(float(((np.asarray(student.reconstruct(x, params)) - x) ** 2).sum(axis=1).mean()))
    right.semilogx(variances, prices, "o-", label="KL (nats)")
    right.semilogx(variances, errors, "s--", label="squared error of the rebuilt points")
    right.set_title("Posterior collapse")
    right.set_xlabel("variance of the decoder")
    right.set_ylabel("KL, squared error")
    right.legend(frameon=False, fontsize=7)


CHAPTER = Chapter(
    id="ch325",
    slug="variational_autoencoder",
    title="Generative Models: Variational Autoencoder",
    part="Advanced models",
    summary="Random codes with exact gradients: KL, reparameterisation, the negative ELBO, training, a tighter bound.",
    builds_on=("ch305", "ch306", "ch307"),
    exercises=(KL, REPARAMETERIZE, RECONSTRUCTION, VAE_FORWARD, VAE_BACKWARD, IMPORTANCE, TRAIN),
    picture=Picture(title="A cloud of codes", draw=draw_picture),
)
