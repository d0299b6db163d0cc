"""Checks of chapter 338: a variational autoencoder stage by stage, from the data to digits that nobody wrote."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from dlreference import vae as ref
from dlreference.activations import sigmoid
from dlreference.arrays import as_float as floats
from dlreference.optim import adam_step

from dlgrade.course.compare import below, entry, holds, items, numbers, same
from dlgrade.course.data.images import digits
from dlgrade.course.kinds import (
    Case,
    GradientCase,
    Rng,
    case_of,
    gradient,
    loss_gradient,
    numeric,
    prop,
    training,
    unchanged,
)
from dlgrade.course.spec import Chapter, Exercise, Mistake, Picture
from dlgrade.sandbox.protocol import Callback

Array = np.ndarray[Any, Any]
Params = dict[str, Array]
Make = Callable[..., Any]
Replaces = dict[str, Make]
Draw = Callable[[Rng], tuple[Any, ...]]

NAMES = ("W1", "b1", "W2", "b2", "W3", "b3", "W4", "b4", "W5", "b5")
CENTRES = np.array([[-2.0, -2.0], [-2.0, 2.0], [2.0, -2.0], [2.0, 2.0]])
VARIANCE = 0.3
# Four equally likely clusters that hardly overlap: log 4 nats for the cluster, log(2 pi e variance) for the place in
# it. The negative ELBO of new points is at least that in the mean, less the constant that `reconstruction` leaves out;
# of 2,000 points its mean strays by 0.022 (one standard deviation), so the slack is nearly seven of them.
ENTROPY = math.log(4) + math.log(2 * math.pi * math.e * VARIANCE)
FLOOR = ENTROPY - math.log(2 * math.pi * VARIANCE)
SLACK = 0.15
# Adam divides a gradient by its own size, so the rounding of a small gradient grows: trained numbers agree to fewer
# digits than gradients do.
TRAINED: dict[str, float] = {"rtol": 1e-6, "atol": 1e-7}


# --- the network, right and with things wrong ------------------------------------------------------------------------


def init_with(
    std: Callable[[int, int], float] = lambda rows, columns: 1 / math.sqrt(columns), turned: bool = False
) -> Make:
    def made(features: int, hidden: int, latent: int, rng: Any) -> Params:
        shapes = ((hidden, features), (latent, hidden), (latent, hidden), (hidden, latent), (features, hidden))
        params: Params = {}
        for layer, (rows, columns) in enumerate(shapes, start=1):
            weights = floats(rng.normal(0.0, std(rows, columns), size=(rows, columns)))
            params |= {f"W{layer}": weights.T if turned else weights, f"b{layer}": np.zeros(rows)}
        return params

    return made


init = init_with()


def draw_params(rng: Rng, features: int, latent: int, hidden: int) -> Params:
    """Parameters none of which is a default."""
    params = init(features, hidden, latent, rng)
    return {name: value if name[0] == "W" else floats(rng.normal(size=value.shape)) for name, value in params.items()}


def halves(params: Params) -> tuple[Params, Params]:
    """Encoder and decoder as the reference wants them: the two heads of the encoder stacked into one layer."""
    params = {name: floats(value) for name, value in params.items()}
    encoder = {"W1": params["W1"], "b1": params["b1"]}
    encoder |= {kind + "2": np.concatenate([params[kind + "2"], params[kind + "3"]]) for kind in "Wb"}
    return encoder, {kind + n: params[kind + m] for kind in "Wb" for n, m in (("1", "4"), ("2", "5"))}


def fresh(rng: Rng) -> Rng:
    """A generator of its own, for one call."""
    return np.random.default_rng(int(rng.integers(1 << 30)))


def relu(a: Array) -> Array:
    return np.maximum(a, 0)


def identity(a: Array) -> Array:
    return a


def encode(x: Array, params: Params) -> tuple[Array, Array]:
    mu, log_var, _ = ref.encode(x, halves(params)[0])
    return mu, log_var


def encode_with(bend: Make = np.tanh, head: Make = identity) -> Make:
    def wrong(x: Array, p: Params) -> Any:
        h = bend(floats(x) @ p["W1"].T + p["b1"])
        return head(h @ p["W2"].T + p["b2"]), head(h @ p["W3"].T + p["b3"])

    return wrong


def decode_with(bend: Make = np.tanh, end: Make = identity) -> Make:
    return lambda z, p: end(bend(floats(z) @ p["W4"].T + p["b4"]) @ p["W5"].T + p["b5"])


decode = decode_with()


def expected_x(out: Array, likelihood: str) -> Array:
    return floats(out).copy() if likelihood == "gaussian" else sigmoid(out)


def reconstruction(out: Array, x: Array, likelihood: Any, sigma2: float = 1.0) -> tuple[float, Array]:
    return ref.reconstruction(out, x, likelihood, sigma2)


def forward(x: Array, params: Params, eps: Array, likelihood: Any, sigma2: float = 1.0, beta: float = 1.0) -> Any:
    elbo, cache = ref.vae_forward(x, *halves(params), eps, likelihood, sigma2, beta)
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


def normal(*shape: int, copies: int = 2, scale: float = 1.0) -> Draw:
    """That many arrays of one shape."""
    return lambda rng: tuple(scale * rng.normal(size=shape) for _ in range(copies))


def samples(rng: Rng, batch: int, features: int, likelihood: str) -> Array:
    """Data of a likelihood: real numbers, or pixels of which some are black, white or grey."""
    if likelihood == "gaussian":
        return rng.normal(size=(batch, features))
    return np.clip(rng.uniform(-0.5, 1.5, size=(batch, features)), 0, 1)


def net_case(batch: int, features: int, latent: int, hidden: int, likelihood: str, *rest: float) -> Draw:
    return lambda rng: (
        samples(rng, batch, features, likelihood),
        draw_params(rng, features, latent, hidden),
        rng.normal(size=(batch, latent)),
        likelihood,
        *rest,
    )


def first_two(draw: Draw) -> Draw:
    return lambda rng: draw(rng)[:2]


# --- stage 1: data ---------------------------------------------------------------------------------------------------


def clusters_with(
    spread: Make = math.sqrt, which: Make | None = None, shared: bool = False, offsets_first: bool = False
) -> Make:
    def made(n: int, variance: float, rng: Any) -> Any:
        def cluster() -> Array:
            return floats(which(n)).astype(np.int64) if which else rng.integers(0, 4, size=n)

        def offsets() -> Array:
            return np.ones((n, 2)) * rng.normal(0.0, spread(variance), size=(n, 1 if shared else 2))

        if offsets_first:
            around, chosen = offsets(), cluster()
        else:
            chosen, around = cluster(), offsets()
        return CENTRES[chosen] + around, chosen

    return made


make_clusters = clusters_with()

CLUSTERS = Exercise(
    name="make_clusters",
    title="Stage 1: four clusters",
    functions=("make_clusters",),
    hints=(
        "Which two draws are stated, and in which order? What does rng.normal want as its second argument?",
        "Indexing CENTRES with an array of row numbers gives one centre for each point.",
        "Draw which, then add offsets with the square root of the variance to CENTRES[which]; return both.",
    ),
    checks=(
        numeric(
            "points from the two draws",
            4,
            "make_clusters",
            make_clusters,
            [
                Case("nine points, variance 0.3", lambda rng: (9, 0.3, fresh(rng))),
                Case("twelve points, variance 4", lambda rng: (12, 4.0, fresh(rng))),
                Case("a single point", lambda rng: (1, 0.5, fresh(rng))),
            ],
        ),
    ),
    mistakes=(
        Mistake(
            name="variance-for-standard-deviation",
            advice="rng.normal takes the standard deviation, which is the square root of the variance.",
            replaces={"make_clusters": clusters_with(spread=float)},
        ),
        Mistake(
            name="one-offset-for-both-coordinates",
            advice="Each coordinate has an offset of its own: draw (n, 2) numbers, not (n, 1).",
            replaces={"make_clusters": clusters_with(shared=True)},
        ),
        Mistake(
            name="clusters-in-turn",
            advice="The cluster of a point is drawn with rng.integers, not dealt out in turn.",
            replaces={"make_clusters": clusters_with(which=lambda n: np.arange(n) % 4)},
        ),
        Mistake(
            name="offsets-drawn-first",
            advice="The clusters are drawn first and the offsets second: the order is part of the task.",
            replaces={"make_clusters": clusters_with(offsets_first=True)},
        ),
    ),
)


def scale_with(divisor: Callable[[Array, float], Any], order: str = "C") -> Make:
    def scaled(images: Array, largest: float = 16) -> Array:
        images = floats(images)
        rows = images if order == "C" else images.transpose(0, 2, 1)
        return (rows / divisor(images, largest)).reshape(len(images), -1)

    return scaled


scale_images = scale_with(lambda images, largest: largest)


def split_with(train: Callable[[Array, int], Array], held: Callable[[Array, int], Array], draw: Any = None) -> Make:
    def split(x: Array, n: int, rng: Any) -> tuple[Array, Array]:
        x = floats(x)
        order = draw(len(x), rng) if draw else rng.permutation(len(x))
        return x[train(order, n)], x[held(order, n)]

    return split


def after(order: Array, n: int) -> Array:
    return order[n:]


def before(order: Array, n: int) -> Array:
    return order[:n]


split_rows = split_with(after, before)


def image_case(count: int, height: int, width: int, brightest: int) -> Draw:
    return lambda rng: (rng.integers(1, brightest + 1, size=(count, height, width)).astype(np.uint8),)


@prop("no row is in both sets, and none is lost", 1, "split_rows")
def partition(student: Any, rng: Rng) -> None:
    x = rng.permutation(17).astype(np.float64)[:, None]
    got = items(student.split_rows(x, 5, fresh(rng)), ("train", "held_out"))
    train, held_out = numbers(got[0], (12, 1), "train"), numbers(got[1], (5, 1), "held_out")
    shared = np.intersect1d(train, held_out)
    holds(
        not len(shared),
        "some rows are in both sets: a model is judged on what it has seen.",
        f"For example the row [{shared[0]:g}]." if len(shared) else "",
    )
    same(np.sort(np.concatenate([train, held_out])[:, 0]), np.arange(17.0), "both sets together, sorted,")


IMAGES = Exercise(
    name="split_rows",
    title="Stage 1: pixels to rows, and a split",
    functions=("scale_images", "split_rows"),
    hints=(
        "What is the brightest value that any image could have? And which rows may the training never see?",
        "Convert to float64, reshape to (N, height * width), divide by `largest`. For the split draw one permutation "
        "and cut it into two pieces.",
        "The first n_held_out numbers of the permutation index the held-out rows, all later ones the training rows.",
    ),
    checks=(
        numeric(
            "pixels from 0 to 1",
            2,
            "scale_images",
            scale_images,
            [
                Case("four images, none of them fully bright", image_case(4, 2, 3, 11)),
                Case("another largest value", lambda rng: (*image_case(2, 3, 2, 200)(rng), 255)),
                Case("a single image, as a list", lambda rng: ([[[0, 16], [4, 8]]],)),
            ],
        ),
        numeric(
            "one permutation, cut in two",
            2,
            "split_rows",
            split_rows,
            [
                Case("nine rows, three held out", lambda rng: (rng.normal(size=(9, 2)), 3, fresh(rng))),
                Case("none held out", lambda rng: (rng.normal(size=(5, 3)), 0, fresh(rng))),
                Case("all held out", lambda rng: (rng.normal(size=(4, 3)), 4, fresh(rng))),
            ],
        ),
        partition,
    ),
    mistakes=(
        Mistake(
            name="divided-by-the-brightest-pixel",
            advice="Divide by the largest value a pixel CAN have; the brightest one found changes with the images.",
            replaces={"scale_images": scale_with(lambda images, largest: images.max())},
            variants=({"scale_images": scale_with(lambda images, _: images.max(axis=(1, 2), keepdims=True))},),
        ),
        Mistake(
            name="pixels-by-columns",
            advice="The rows of an image follow each other, not its columns.",
            replaces={"scale_images": scale_with(lambda images, largest: largest, order="F")},
        ),
        Mistake(
            name="held-out-rows-trained-on",
            advice="The training set has all rows, the held-out ones as well: nothing is left to judge honestly.",
            replaces={"split_rows": split_with(lambda order, n: order, before)},
        ),
        Mistake(
            name="sets-exchanged",
            advice="Return the training set first; n_held_out rows belong to the second.",
            replaces={"split_rows": split_with(before, after)},
        ),
        Mistake(
            name="split-without-shuffling",
            advice="Shuffle with a permutation first: rows of a file are often sorted.",
            replaces={"split_rows": split_with(after, before, lambda n, rng: np.arange(n))},
        ),
        Mistake(
            name="held-out-from-the-end",
            advice="The held-out rows are the FIRST of the permutation; yours are its last.",
            replaces={"split_rows": split_with(lambda o, n: o[: len(o) - n], lambda o, n: o[len(o) - n :])},
        ),
    ),
)

# --- stage 2: forward ------------------------------------------------------------------------------------------------

INIT = Exercise(
    name="init_vae",
    title="Stage 2: a new network",
    functions=("init_vae",),
    hints=(
        "Which of the five weights has how many inputs? Look at the formulas at the top.",
        "Weights are (outputs, inputs): W1 (H, D), W2 and W3 (L, H), W4 (H, L), W5 (D, H).",
        "A loop over the five shapes: rng.normal with the standard deviation 1 over the root of the number of columns, "
        "and zeros for the bias, one for each row.",
    ),
    checks=(
        numeric(
            "all parameters",
            3,
            "init_vae",
            init,
            [
                Case("all sizes different", lambda rng: (4, 5, 3, fresh(rng))),
                Case("sizes of one", lambda rng: (1, 1, 1, fresh(rng))),
            ],
        ),
    ),
    mistakes=(
        Mistake(
            name="scaled-by-the-outputs",
            advice="Divide by the root of the number of INPUTS, the columns of the weight.",
            replaces={"init_vae": init_with(std=lambda rows, columns: 1 / math.sqrt(rows))},
        ),
        Mistake(
            name="he-for-tanh",
            advice="The factor 2 of He's initialisation makes up for what ReLU cuts away; tanh cuts nothing away.",
            replaces={"init_vae": init_with(std=lambda rows, columns: math.sqrt(2 / columns))},
        ),
        Mistake(
            name="variance-as-deviation-of-weights",
            advice="1 / inputs is the variance; rng.normal wants its square root.",
            replaces={"init_vae": init_with(std=lambda rows, columns: 1 / columns)},
        ),
        Mistake(
            name="weights-turned",
            advice="Weights are (outputs, inputs), so W1 is (H, D).",
            replaces={"init_vae": init_with(turned=True)},
        ),
    ),
)


def code_case(*shape: int) -> Draw:
    return lambda rng: (rng.normal(size=shape), draw_params(rng, 4, shape[-1], 5))


def far_heads(rng: Rng) -> tuple[Any, ...]:
    x, params = rng.normal(size=(3, 4)), draw_params(rng, 4, 2, 3)
    return x, {**params, "b2": np.array([-20.0, 20.0]), "b3": np.array([30.0, -30.0])}


ENCODE_DECODE = Exercise(
    name="encode_decode",
    title="Stage 2: encoder and decoder",
    functions=("encode", "decode", "expected_x"),
    hints=(
        "Both are two layers with one tanh between them. Where is there NO activation?",
        "h is made once and read by both heads. The decoder's output is left as it is; only expected_x knows what it "
        "means.",
        "encode: h from W1 and b1 through tanh, then h @ W2.T + b2 and h @ W3.T + b3. decode: the same with W4, b4, "
        "tanh, W5, b5. expected_x: out, or np.exp(-np.logaddexp(0, -out)).",
    ),
    checks=(
        numeric(
            "the encoder's two heads",
            3,
            "encode",
            encode,
            [
                Case("four samples, all widths different", first_two(net_case(4, 3, 2, 5, "gaussian"))),
                Case("a single sample", first_two(net_case(1, 2, 3, 4, "gaussian"))),
                Case("samples far from zero", lambda rng: (1e3 * rng.normal(size=(3, 4)), draw_params(rng, 4, 2, 3))),
                Case("log variances of 30 and of -30", far_heads),
            ],
        ),
        numeric(
            "the decoder",
            2,
            "decode",
            decode,
            [
                Case("three codes", code_case(3, 2)),
                Case("a single code", code_case(1, 3)),
                Case("a table of codes, (2, 5, 3)", code_case(2, 5, 3)),
                Case("one code without any axis in front, (3,)", code_case(3)),
            ],
        ),
        numeric(
            "what is expected of x",
            2,
            "expected_x",
            expected_x,
            [
                Case("means of real numbers", lambda rng: (3 * rng.normal(size=(3, 4)), "gaussian")),
                Case("logits of pixels", lambda rng: (3 * rng.normal(size=(3, 4)), "bernoulli")),
                Case("logits of 10,000", lambda rng: ([[1e4, -1e4, 0.0]], "bernoulli")),
            ],
        ),
        unchanged(
            1,
            {
                "encode": first_two(net_case(3, 3, 2, 4, "gaussian")),
                "decode": code_case(3, 2),
                "expected_x": lambda rng: (rng.normal(size=(3, 4)), "bernoulli"),
            },
        ),
    ),
    mistakes=(
        Mistake(
            name="encoder-not-bent",
            advice="The hidden layer of the encoder goes through tanh before the two heads read it.",
            replaces={"encode": encode_with(bend=identity)},
            variants=({"encode": encode_with(bend=relu)},),
        ),
        Mistake(
            name="heads-squashed",
            advice="mu and log_var may be any numbers: no activation after the heads.",
            replaces={"encode": encode_with(head=np.tanh)},
            variants=({"encode": encode_with(head=relu)},),
        ),
        Mistake(
            name="heads-swapped",
            advice="W2 and b2 make mu, W3 and b3 make log_var; return them in this order.",
            replaces={"encode": lambda x, params: encode(x, params)[::-1]},
        ),
        Mistake(
            name="variance-instead-of-its-log",
            advice="The third weight gives log_var itself; exp comes later, where a variance is needed.",
            replaces={"encode": lambda x, params: (encode(x, params)[0], np.exp(np.minimum(encode(x, params)[1], 99)))},
        ),
        Mistake(
            name="decoder-not-bent",
            advice="The hidden layer of the decoder goes through tanh.",
            replaces={"decode": decode_with(bend=identity)},
            variants=({"decode": decode_with(bend=relu)},),
        ),
        Mistake(
            name="decoder-squashed",
            advice="The decoder returns means or logits, which may be any numbers; expected_x makes them brightness.",
            replaces={"decode": decode_with(end=sigmoid)},
            variants=({"decode": decode_with(end=np.tanh)},),
        ),
        Mistake(
            name="logits-shown-as-pixels",
            advice="For pixels out holds logits: the expected brightness is their sigmoid.",
            replaces={"expected_x": lambda out, likelihood: floats(out)},
        ),
        Mistake(
            name="means-squashed",
            advice="For real numbers out is the mean already: a sigmoid would keep it between 0 and 1.",
            replaces={"expected_x": lambda out, likelihood: sigmoid(out)},
        ),
    ),
)


def code_with(deviation: Make) -> Replaces:
    return {"reparameterize": lambda mu, log_var, eps: floats(mu) + deviation(floats(log_var)) * floats(eps)}


REPARAMETERIZE = Exercise(
    name="reparameterize",
    title="Stage 2: a random code",
    functions=("reparameterize",),
    hints=(
        "log_var is the log of the variance. What do you multiply standard normal noise with?",
        "The standard deviation is the square root of exp(log_var), which is exp(log_var / 2).",
        "z is mu plus exp(log_var / 2) times eps, entry by entry; the noise is given, nothing is drawn here.",
    ),
    checks=(
        numeric(
            "codes from given noise",
            3,
            "reparameterize",
            ref.reparameterize,
            [
                Case("four samples, three dimensions", normal(4, 3, copies=3)),
                Case("log_var = 2 log 3, a deviation of 3", lambda rng: ([[1.0]], [[2 * math.log(3.0)]], [[2.0]])),
                Case("no variance left", lambda rng: (*normal(2, 2, copies=1)(rng), np.full((2, 2), -80.0), [[1, 1]])),
            ],
        ),
        unchanged(1, {"reparameterize": normal(3, 2, copies=3)}),
    ),
    mistakes=(
        Mistake(
            name="log-var-as-log-sd",
            advice="log_var is the log of the variance; the standard deviation is exp(log_var / 2), not exp(log_var).",
            replaces=code_with(np.exp),
        ),
        Mistake(
            name="log-var-as-sd",
            advice="log_var is a logarithm and may be negative: take exp(log_var / 2) before you multiply.",
            replaces=code_with(identity),
        ),
        Mistake(
            name="noise-left-out",
            advice="Without the noise z is mu, and this is an ordinary autoencoder.",
            replaces=code_with(np.zeros_like),
        ),
        Mistake(
            name="noise-not-scaled",
            advice="The noise is scaled by the standard deviation that the encoder chose.",
            replaces=code_with(np.ones_like),
        ),
    ),
)

# --- stage 3: the loss and its gradients -----------------------------------------------------------------------------


def kl_with(
    log_scale: float = 1.0, value: Make = lambda mu: 1.0, slope: Make = lambda mu: 1.0, less_one: bool = True
) -> Replaces:
    """kl_divergence with another meaning of log_var, or with value and gradients multiplied by a number of mu's."""

    def kl(mu: Array, log_var: Array) -> Any:
        mu, log_var = floats(mu), floats(log_var)
        loss, dmu, dlog_var = ref.kl_standard_normal(mu, log_scale * log_var)
        dlog_var = log_scale * dlog_var + (0 if less_one else 0.5 / len(mu))
        return value(mu) * loss, slope(mu) * dmu, slope(mu) * dlog_var

    return {"kl_divergence": kl}


def kl_answer(student: Any, i: dict[str, Any]) -> tuple[Any, ...]:
    return items(student.kl_divergence(i["mu"], i["log_var"]), ("kl", "dmu", "dlog_var"))


def kl_inputs(batch: int, latent: int, far: float = 0.0) -> Callable[[Rng], dict[str, Any]]:
    return lambda rng: {"mu": rng.normal(size=(batch, latent)) + far, "log_var": rng.normal(size=(batch, latent))}


KL = Exercise(
    name="kl_divergence",
    title="Stage 3: the price of the code",
    functions=("kl_divergence",),
    hints=(
        "Which mu and log_var cost nothing? Try your formula there first.",
        "Sum over the latent dimensions, average over the samples. The slope of exp(log_var) is exp(log_var) itself.",
        "kl is half the sum of all entries of mu^2 + exp(log_var) - 1 - log_var, divided by B; dmu is mu / B, and "
        "dlog_var is (exp(log_var) - 1) / (2 B).",
    ),
    checks=(
        numeric(
            "the divergence",
            3,
            "kl_divergence",
            ref.kl_standard_normal,
            [
                Case("four samples, three latent dimensions", normal(4, 3)),
                Case("a single sample", normal(1, 2)),
                Case("the standard normal itself", lambda rng: (np.zeros((2, 3)), np.zeros((2, 3)))),
                Case("hardly any variance left", lambda rng: (rng.normal(size=(2, 2)), np.full((2, 2), -60.0))),
                Case("lists", lambda rng: ([[1.0, -2.0]], [[0.5, 1.5]])),
            ],
            pick=0,
            result="the KL",
        ),
        gradient(
            "gradients of mu and log_var",
            2,
            ("kl_divergence",),
            [
                GradientCase("four samples, three latent dimensions", kl_inputs(4, 3)),
                GradientCase("a single sample", kl_inputs(1, 5)),
                GradientCase("means far from zero", kl_inputs(3, 2, far=1e5)),
            ],
            value=lambda student, i: kl_answer(student, i)[0],
            grads=lambda student, i: dict(zip(("mu", "log_var"), kl_answer(student, i)[1:], strict=True)),
            reference=lambda i: dict(
                zip(("mu", "log_var"), ref.kl_standard_normal(i["mu"], i["log_var"])[1:], strict=True)
            ),
        ),
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
            name="log-var-doubled-in-kl",
            advice="log_var is the log of the variance: exp(log_var) is the variance already, with nothing to square.",
            replaces=kl_with(log_scale=2.0),
            variants=(kl_with(log_scale=0.5),),
        ),
        Mistake(
            name="kl-averaged-over-dimensions",
            advice="Sum over the latent dimensions and average over the batch only; a mean over both makes the code "
            "too cheap.",
            replaces=kl_with(value=lambda mu: 1 / mu.shape[1], slope=lambda mu: 1 / mu.shape[1]),
        ),
        Mistake(
            name="kl-half-missing",
            advice="The divergence has a factor 1/2 in front.",
            replaces=kl_with(value=lambda mu: 2.0, slope=lambda mu: 2.0),
            variants=(kl_with(value=lambda mu: 2.0),),
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
    ),
)


def rec_with(value: Make = lambda x, v: 1.0, slope: Make | None = None, only: str = "") -> Replaces:
    """reconstruction with value and gradient multiplied by a number; for one likelihood, or for both."""

    def wrong(out: Array, x: Array, likelihood: str, sigma2: float = 1.0) -> Any:
        rec, dout = reconstruction(out, x, likelihood, sigma2)
        if only and likelihood != only:
            return rec, dout
        return value(floats(x), sigma2) * rec, (slope or value)(floats(x), sigma2) * dout

    return {"reconstruction": wrong}


def rec_constant(out: Array, x: Array, likelihood: str, sigma2: float = 1.0) -> Any:
    rec, dout = reconstruction(out, x, likelihood, sigma2)
    return rec + (ref.gaussian_constant(np.shape(x)[1], sigma2) if likelihood == "gaussian" else 0), dout


def rec_of_logs(log: Make) -> Replaces:
    def wrong(out: Array, x: Array, likelihood: str, sigma2: float = 1.0) -> Any:
        rec, dout = reconstruction(out, x, likelihood, sigma2)
        if likelihood == "bernoulli":
            p, x = sigmoid(out), floats(x)
            with np.errstate(all="ignore"):
                rec = float(-np.sum(x * log(p) + (1 - x) * log(1 - p)) / len(x))
        return rec, dout

    return {"reconstruction": wrong}


def rec_slope_twice(out: Array, x: Array, likelihood: str, sigma2: float = 1.0) -> Any:
    rec, dout = reconstruction(out, x, likelihood, sigma2)
    return rec, dout * sigmoid(out) * sigmoid(-floats(out)) if likelihood == "bernoulli" else dout


def rec_squares_of_pixels(out: Array, x: Array, likelihood: str, sigma2: float = 1.0) -> Any:
    if likelihood == "gaussian":
        return reconstruction(out, x, likelihood, sigma2)
    p, x = sigmoid(out), floats(x)
    return float(0.5 * np.sum((p - x) ** 2) / len(x)), (p - x) * p * (1 - p) / len(x)


def out_case(batch: int, features: int, likelihood: str, *sigma2: float, far: float = 0.0) -> Draw:
    def draw(rng: Rng) -> tuple[Any, ...]:
        out, x = 2 * rng.normal(size=(batch, features)), samples(rng, batch, features, likelihood)
        return out + far, x, likelihood, *sigma2

    return draw


def huge_logits(rng: Rng) -> tuple[Any, ...]:
    """Logits of thousands, some on the wrong side, with pixels of 0 and 1."""
    out = rng.choice([-1e4, 1e4], size=(3, 4)) * rng.uniform(0.5, 1.0, size=(3, 4))
    out[0, :2] = 1e4, -1e4
    return out, np.where(np.arange(12).reshape(3, 4) % 3 > 0, out > 0, out < 0).astype(float), "bernoulli"


GAUSS = [
    Case("four samples, three features, sigma2 = 0.3", out_case(4, 3, "gaussian", 0.3)),
    Case("a single sample, sigma2 = 2", out_case(1, 5, "gaussian", 2.0)),
    Case("sigma2 left at 1", out_case(2, 4, "gaussian")),
    Case("predictions far from the data", out_case(3, 2, "gaussian", 0.5, far=1e6)),
]
PIXELS = [
    # First, for a small number inside the logarithm shows here by far, and on other cases only just.
    Case("logits of thousands, some of them wrong", huge_logits),
    Case("black, white and grey pixels", out_case(4, 3, "bernoulli")),
    Case("a single sample; sigma2 plays no part", out_case(1, 5, "bernoulli", 0.3)),
]

RECONSTRUCTION = Exercise(
    name="reconstruction",
    title="Stage 3: what the decoder is measured by",
    functions=("reconstruction",),
    hints=(
        "Both are -log p(x | z), summed over the features of a sample and averaged over the samples.",
        "Gaussian: the slope of a square over 2 sigma2 is the error over sigma2. Bernoulli: the slope at a logit is "
        "sigmoid minus x.",
        "Divide sums of all entries by B = len(x) only. For pixels x * np.logaddexp(0, -out) + (1 - x) * "
        "np.logaddexp(0, out) is each entry's loss.",
    ),
    checks=(
        numeric("Gaussian loss", 2, "reconstruction", reconstruction, GAUSS, pick=0, result="the loss"),
        loss_gradient("Gaussian gradient", 2, "reconstruction", reconstruction, GAUSS),
        numeric("Bernoulli loss", 2, "reconstruction", reconstruction, PIXELS, pick=0, result="the loss"),
        loss_gradient("Bernoulli gradient", 1, "reconstruction", reconstruction, PIXELS),
        unchanged(1, {"reconstruction": out_case(3, 4, "gaussian", 0.5)}),
    ),
    mistakes=(
        Mistake(
            name="averaged-over-features",
            advice="Sum over the features: with a mean the KL, which is a sum, weighs D times too much.",
            replaces=rec_with(lambda x, v: 1 / x.shape[1]),
        ),
        Mistake(
            name="summed-over-batch",
            advice="Average over the samples: the loss should not grow with the batch.",
            replaces=rec_with(lambda x, v: len(x)),
            variants=(rec_with(slope=lambda x, v: len(x)),),
        ),
        Mistake(
            name="sigma2-not-used",
            advice="The squared error is divided by 2 sigma2: a small variance makes errors expensive.",
            replaces=rec_with(lambda x, v: v, only="gaussian"),
        ),
        Mistake(
            name="sigma2-taken-for-sigma",
            advice="sigma2 is the variance already; do not square it.",
            replaces=rec_with(lambda x, v: 1 / v, only="gaussian"),
        ),
        Mistake(
            name="two-sigma2-without-the-two",
            advice="The squared error is divided by TWICE sigma2.",
            replaces=rec_with(lambda x, v: 2.0, only="gaussian"),
            variants=(rec_with(lambda x, v: 2.0, lambda x, v: 1.0, only="gaussian"),),
        ),
        Mistake(
            name="gradient-sign",
            advice="The gradient is prediction minus target: where out is too large the loss rises with it.",
            replaces=rec_with(slope=lambda x, v: -1.0),
        ),
        Mistake(
            name="constant-included",
            advice="This loss leaves the constant D/2 log(2 pi sigma2) out.",
            replaces={"reconstruction": rec_constant},
        ),
        Mistake(
            name="log-of-p-plus-epsilon",
            advice="A small number inside the logarithm caps the loss: use np.logaddexp(0, -out) for -log p.",
            replaces=rec_of_logs(lambda p: np.log(p + 1e-8)),
            variants=(rec_of_logs(lambda p: np.log(p + 1e-12)), rec_of_logs(lambda p: np.log(p + 1e-10))),
        ),
        Mistake(
            name="log-of-a-probability-of-zero",
            advice="A sigmoid of -10000 is 0 in floating point and its log is -inf: compute -log p from the logits.",
            replaces=rec_of_logs(np.log),
        ),
        Mistake(
            name="sigmoid-slope-twice",
            advice="sigmoid - x is the gradient at the LOGIT already; the slope p (1 - p) has cancelled.",
            replaces={"reconstruction": rec_slope_twice},
        ),
        Mistake(
            name="squares-for-pixels",
            advice="For pixels the loss is the cross-entropy, not a squared error.",
            replaces={"reconstruction": rec_squares_of_pixels},
        ),
    ),
)


def loss_with(change: Callable[[float, float, float], tuple[float, float, float]]) -> Replaces:
    """vae_forward whose three numbers come from rec, kl and beta in another way."""

    def other(x: Array, params: Params, eps: Array, likelihood: str, sigma2: float = 1.0, beta: float = 1.0) -> Any:
        _, rec, kl, cache = forward(x, params, eps, likelihood, sigma2, beta)
        return (*change(rec, kl, beta), cache)

    return {"vae_forward": other}


def other_code(code: Callable[[Array, Array, Array], Array], decoder: Make = decode) -> Replaces:
    """vae_forward that decodes another code, or decodes it in another way."""

    def other(x: Array, params: Params, eps: Array, likelihood: str, sigma2: float = 1.0, beta: float = 1.0) -> Any:
        mu, log_var = encode(x, params)
        out = decoder(code(mu, log_var, floats(eps)), params)
        rec, _ = reconstruction(out, x, likelihood, sigma2)
        kl, _, _ = ref.kl_standard_normal(mu, log_var)
        return rec + beta * kl, rec, kl, None

    return {"vae_forward": other}


def always_gaussian(
    x: Array, params: Params, eps: Array, likelihood: str, sigma2: float = 1.0, beta: float = 1.0
) -> Any:
    return forward(x, params, eps, "gaussian", sigma2, beta)


def sigma2_forgotten(
    x: Array, params: Params, eps: Array, likelihood: str, sigma2: float = 1.0, beta: float = 1.0
) -> Any:
    return forward(x, params, eps, likelihood, 1.0, beta)


def far_net(rng: Rng) -> tuple[Any, ...]:
    x, params, *rest = net_case(3, 2, 2, 4, "gaussian", 0.5)(rng)
    return x, {**params, "b3": np.array([12.0, -30.0])}, *rest


NETS = [
    Case("real numbers, sigma2 = 0.3", net_case(4, 3, 2, 5, "gaussian", 0.3)),
    Case("pixels, beta 4", net_case(3, 4, 2, 3, "bernoulli", 1.0, 4.0)),
    Case("a single sample", net_case(1, 2, 3, 4, "gaussian", 0.7, 2.5)),
    Case("the KL for free", net_case(3, 2, 1, 3, "bernoulli", 1.0, 0.0)),
]
FAR_NETS = [*NETS, Case("log variances of 12 and of -30", far_net)]

VAE_FORWARD = Exercise(
    name="vae_forward",
    title="Stage 3: the loss of the whole network",
    functions=("vae_forward",),
    hints=(
        "Everything is there already: encode, reparameterize, decode, and the two parts of the loss.",
        "beta multiplies the KL in the loss only; the kl that is returned on its own is the plain one. Hand likelihood "
        "and sigma2 on to `reconstruction`.",
        "mu and log_var, then z with the given eps, then out, then rec and kl with their gradients. Keep whatever has "
        "a gradient on its way back, and eps above all.",
    ),
    checks=(
        numeric("the loss", 2, "vae_forward", forward, NETS, pick=0, result="the loss", keep=(3,)),
        numeric("its reconstruction part", 2, "vae_forward", forward, NETS, pick=1, result="rec", keep=(3,)),
        numeric("its KL part, without beta", 2, "vae_forward", forward, FAR_NETS, pick=2, result="the KL", keep=(3,)),
        unchanged(1, {"vae_forward": net_case(3, 2, 2, 4, "gaussian", 0.5)}, keep=(3,)),
    ),
    mistakes=(
        Mistake(
            name="kl-subtracted",
            advice="This loss is the NEGATIVE ELBO: the KL is a cost, so it is added to the reconstruction.",
            replaces=loss_with(lambda rec, kl, beta: (rec - beta * kl, rec, kl)),
        ),
        Mistake(
            name="elbo-instead-of-its-negative",
            advice="What is minimised is the negative ELBO, rec + kl; yours has the sign of the ELBO.",
            replaces=loss_with(lambda rec, kl, beta: (-rec - beta * kl, rec, kl)),
        ),
        Mistake(
            name="beta-ignored",
            advice="The KL counts beta times in the loss.",
            replaces=loss_with(lambda rec, kl, beta: (rec + kl, rec, kl)),
        ),
        Mistake(
            name="beta-on-the-reconstruction",
            advice="beta is the weight of the KL, not of the reconstruction.",
            replaces=loss_with(lambda rec, kl, beta: (beta * rec + kl, rec, kl)),
        ),
        Mistake(
            name="kl-returned-with-beta",
            advice="The kl that is returned on its own is the plain divergence; only the loss has beta times it.",
            replaces=loss_with(lambda rec, kl, beta: (rec + beta * kl, rec, beta * kl)),
        ),
        Mistake(
            name="means-decoded-in-training",
            advice="Training decodes a random code, mu + exp(log_var / 2) * eps; the mean alone leaves eps unused.",
            replaces=other_code(lambda mu, log_var, eps: mu),
        ),
        Mistake(
            name="code-with-the-variance",
            advice="The noise is multiplied by the standard deviation, exp(log_var / 2), not by the variance.",
            replaces=other_code(lambda mu, log_var, eps: mu + np.exp(log_var) * eps),
        ),
        Mistake(
            name="noise-of-its-own",
            advice="Use the eps that is given. With noise of its own the loss does not belong to the gradients.",
            replaces=other_code(
                lambda mu, log_var, eps: ref.sample_latent(mu, log_var, np.random.default_rng(0)),
            ),
            variants=(other_code(lambda mu, log_var, eps: ref.sample_latent(mu, log_var, np.random.default_rng(42))),),
        ),
        Mistake(
            name="output-squashed-twice",
            advice="`reconstruction` wants the decoder's plain output; it knows itself what logits are.",
            replaces=other_code(ref.reparameterize, decode_with(end=sigmoid)),
        ),
        Mistake(
            name="pixels-as-real-numbers",
            advice="Hand the likelihood on: pixels are measured by cross-entropy.",
            replaces={"vae_forward": always_gaussian},
        ),
        Mistake(
            name="sigma2-not-handed-on",
            advice="Hand sigma2 on to `reconstruction`; yours counts errors as if it were 1.",
            replaces={"vae_forward": sigma2_forgotten},
        ),
    ),
)


def back_with(
    kl: tuple[bool, bool] = (True, True),
    weighted: bool = True,
    through_noise: float = 1.0,
    to_mu: bool = True,
    heads: str = "23",
    bent: str = "hg",
    share: bool = False,
    biases_averaged: bool = False,
) -> Replaces:
    """The network with a backward that forgets one of its ways: the KL at mu or log_var, the noise, a head, a tanh."""

    def run(x: Array, params: Params, eps: Array, likelihood: str, sigma2: float = 1.0, beta: float = 1.0) -> Any:
        return (*forward(x, params, eps, likelihood, sigma2, beta)[:3], (x, params, eps, likelihood, sigma2, beta))

    def back(cache: Any) -> Params:
        x, params, eps, likelihood, sigma2, beta = cache
        x, eps = floats(x), floats(eps)
        h = np.tanh(x @ params["W1"].T + params["b1"])
        mu, log_var = encode(x, params)
        z = ref.reparameterize(mu, log_var, eps)
        g = np.tanh(z @ params["W4"].T + params["b4"])
        _, dout = reconstruction(decode(z, params), x, likelihood, sigma2)
        _, dmu_kl, dlv_kl = ref.kl_standard_normal(mu, log_var)
        price = beta if weighted else 1.0
        dg = dout @ params["W5"] * (1 - g**2 if "g" in bent else 1.0)
        dmu, dlv = ref.reparameterize_backward(dg @ params["W4"], log_var, eps)
        dmu = dmu * to_mu + kl[0] * price * dmu_kl
        dlv = dlv * through_noise + kl[1] * price * dlv_kl
        back_to_h = ("2" in heads) * dmu @ params["W2"] + ("3" in heads) * dlv @ params["W3"]
        dh = back_to_h * (1 - h**2 if "h" in bent else 1.0)
        grads: Params = {}
        for n, (delta, a) in {"1": (dh, x), "2": (dmu, h), "3": (dlv, h), "4": (dg, z), "5": (dout, g)}.items():
            scale = 1 / len(x) if share else 1.0
            grads["W" + n] = scale * delta.T @ a
            grads["b" + n] = scale * (delta.mean(axis=0) if biases_averaged else delta.sum(axis=0))
        return grads

    return {"vae_forward": run, "vae_backward": back}


def net_inputs(
    likelihood: str, *sizes: int, sigma2: float = 1.0, beta: float = 1.0, far: float = 0.0
) -> Callable[[Rng], dict[str, Any]]:
    def draw(rng: Rng) -> dict[str, Any]:
        batch, features, latent, hidden = sizes
        x, params, eps, _ = net_case(batch, features, latent, hidden, likelihood)(rng)
        # A feature that no weight touches and that is always missed: the loss is huge, the gradients are as they were.
        if far:
            x[:, -1] = far if likelihood == "gaussian" else 0.0
            params["b5"][-1] = 0.0 if likelihood == "gaussian" else far
            params["W1"][:, -1] = params["W5"][-1] = 0.0
        return {"x": x, "params": params, "eps": eps, "likelihood": likelihood, "sigma2": sigma2, "beta": beta}

    return draw


def net_args(i: dict[str, Any]) -> tuple[Any, ...]:
    return i["x"], i["params"], i["eps"], i["likelihood"], i["sigma2"], i["beta"]


def net_call(student: Any, i: dict[str, Any]) -> tuple[Any, ...]:
    answer = student.call("vae_forward", *net_args(i), keep=(3,))
    return items(answer, ("loss", "rec", "kl", "cache"), "what `vae_forward` returns")


def net_grads(student: Any, i: dict[str, Any]) -> dict[str, Any]:
    grads = student.vae_backward(net_call(student, i)[3])
    return {f"params.{name}": entry(grads, name, "the gradients") for name in NAMES}


def net_check(name: str, points: int, layers: str) -> Any:
    def reference(i: dict[str, Any]) -> dict[str, Any]:
        grads = backward(forward(*net_args(i))[3])
        return {f"params.{n}": grads[n] for n in NAMES if n[1] in layers}

    cases = (
        ("real numbers, all widths different", net_inputs("gaussian", 4, 3, 2, 5, sigma2=0.3)),
        ("pixels, beta 4", net_inputs("bernoulli", 3, 5, 2, 4, beta=4.0)),
        ("a single sample", net_inputs("gaussian", 1, 2, 3, 4, sigma2=0.7, beta=2.5)),
        ("the KL for free, beta 0", net_inputs("gaussian", 3, 4, 2, 3, sigma2=0.5, beta=0.0)),
        ("a feature far away", net_inputs("gaussian", 3, 3, 2, 4, sigma2=0.5, far=1e5)),
        ("a pixel that is always wrong", net_inputs("bernoulli", 3, 3, 2, 4, beta=0.5, far=1e7)),
    )
    return gradient(
        name,
        points,
        ("vae_forward", "vae_backward"),
        [GradientCase(*case) for case in cases],
        value=lambda student, i: net_call(student, i)[0],
        grads=net_grads,
        reference=reference,
    )


@prop("a gradient for every parameter, also the second time", 1, "vae_forward", "vae_backward")
def gradient_keys(student: Any, rng: Rng) -> None:
    i = net_inputs("gaussian", 3, 4, 2, 5, sigma2=0.5)(rng)
    cache = net_call(student, i)[3]
    runs = [student.vae_backward(cache) for _ in range(2)]
    for name in NAMES:
        first, second = (
            numbers(entry(grads, name, "the gradients"), i["params"][name].shape, f"the gradient of {name}")
            for grads in runs
        )
        same(second, first, f"the gradient of {name}, asked for a second time with one cache,")
    holds(len(runs[0]) == len(NAMES), "the gradients have keys that are no parameters.")


VAE_BACKWARD = Exercise(
    name="vae_backward",
    title="Stage 3: exact gradients",
    functions=("vae_backward",),
    hints=(
        "Draw the network as boxes. Into which boxes do two arrows lead back?",
        "From out through W5, tanh and W4 to z; from z through the noise to mu and log_var, where beta times the "
        "gradient of the KL is added; from both heads to h, where the two are added; through tanh to W1.",
        "Each layer's weight gradient is (gradient at its output).T @ (its input), the bias's is the sum over the "
        "batch. dlog_var is dz * eps * exp(log_var / 2) / 2 plus beta times the KL's.",
    ),
    checks=(
        gradient_keys,
        net_check("gradients of the decoder", 3, "45"),
        net_check("gradients of the two heads", 4, "23"),
        net_check("gradients of the encoder's first layer", 4, "1"),
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
            advice="The gradient at out carries 1/B already; nothing after it divides again.",
            replaces=back_with(share=True),
        ),
        Mistake(
            name="bias-gradients-averaged",
            advice="A bias serves every sample: its gradient is the SUM over the batch (1/B is in the loss already).",
            replaces=back_with(biases_averaged=True),
        ),
    ),
)

NOISE_SHAPE = (3, 2)


def noisy(rng: Rng, planted: bool) -> tuple[Make, Params]:
    """A smooth loss of two parameters that depends on noise, with gradients that may be wrong; and a point.

    The third parameter does not enter the loss. Wrong gradients are too large in W1 and too small in b1, whose slopes
    are all negative.
    """
    A, c = rng.normal(size=(2, 3)), -np.abs(rng.normal(size=4)) - 0.1
    params = {"W1": rng.normal(size=(2, 3)) + 2, "b1": rng.normal(size=4), "idle": rng.normal(size=2)}
    wrong = {name: planted * rng.uniform(0.1, 0.5, size=value.shape) for name, value in params.items()}

    def loss_and_grads(p: Params, eps: Array) -> tuple[float, Params]:
        W, b, noise = floats(p["W1"]), floats(p["b1"]), 1.5 + float(np.tanh(floats(eps).sum()))
        grads = {"W1": noise * A * W**2 / 3 + wrong["W1"], "b1": noise * np.exp(b) * c - wrong["b1"]}
        return noise * float(np.sum(A * W**3) / 9 + np.sum(c * np.exp(b))), {**grads, "idle": 1e-8 * wrong["idle"]}

    return loss_and_grads, params


def errors_with(
    noise: str = "once", one_sided: bool = False, how: str = "max", scale: str = "numerical"
) -> Callable[..., dict[str, float]]:
    def check(loss_and_grads: Any, params: Any, shape: Any, rng: Any, h: float = 1e-5) -> dict[str, float]:
        params = {name: floats(value) for name, value in params.items()}
        shape = tuple(int(n) for n in shape)
        fixed = np.zeros(shape) if noise == "none" else rng.standard_normal(shape)
        loss, grads = loss_and_grads(params, fixed)

        def loss_at(name: str, moved: Array) -> float:
            eps = rng.standard_normal(shape) if noise == "anew" else fixed
            return float(loss_and_grads({**params, name: moved.copy()}, eps)[0])

        errors = {}
        for name, value in params.items():
            if noise == "each entry":
                fixed = rng.standard_normal(shape)
            if one_sided:
                slope = np.zeros_like(value)
                for index in np.ndindex(value.shape):
                    moved = value.copy()
                    moved[index] += h
                    slope[index] = (loss_at(name, moved) - loss) / h
            else:
                slope = differences(loss_at, name, value, h)
            gap = np.abs(floats(grads[name]) - slope)
            size = {"numerical": np.abs(slope).max(), "none": 1.0, "own": np.abs(floats(grads[name])).max()}[scale]
            errors[name] = float({"max": gap.max, "mean": gap.mean}[how]() / max(float(size), 1e-8))
        return errors

    return check


def differences(loss_at: Callable[[str, Array], float], name: str, value: Array, h: float) -> Array:
    """Central differences with nudges of h, whatever the size of an entry."""
    slope = np.zeros_like(value)
    for index in np.ndindex(value.shape):
        ends = []
        for step in (h, -h):
            moved = value.copy()
            moved[index] += step
            ends.append(loss_at(name, moved))
        slope[index] = (ends[0] - ends[1]) / (2 * h)
    return slope


@prop("a right gradient passes", 1, "gradient_errors")
def right_passes(student: Any, rng: Rng) -> None:
    function, params = noisy(rng, planted=False)
    got = student.gradient_errors(Callback(function, "loss_and_grads"), params, NOISE_SHAPE, fresh(rng))
    # Central differences with h = 1e-5 are right to about 1e-10 here, one-sided ones to 1e-5.
    for name in params:
        error = float(numbers(entry(got, name, "the dict of errors"), (), f"the error of {name}"))
        below(error, 1e-7, f"the error of {name} should be tiny: its gradient is right.", f"It is {error:.3g}.")


@prop("a wrong gradient is found, and how wrong it is", 2, "gradient_errors")
def wrong_found(student: Any, rng: Rng) -> None:
    function, params = noisy(rng, planted=True)
    seed = int(rng.integers(1 << 30))
    args = params, NOISE_SHAPE
    # With nudges of 0.1 the differences are no slopes any more, and so tell whether h was used.
    for options, reason in (({}, "h as it is by default"), ({"h": 0.1}, "nudges as large as h = 0.1")):
        got = student.gradient_errors(
            Callback(function, "loss_and_grads"), *args, np.random.default_rng(seed), **options
        )
        want = errors_with()(function, *args, np.random.default_rng(seed), **options)
        with case_of(reason):
            for name in params:
                error = numbers(entry(got, name, "the dict of errors"), (), f"the error of {name}")
                # Both carry the rounding of a difference of losses.
                same(error, want[name], f"the error of {name}, whose gradient is wrong,", rtol=1e-6)
            holds(set(got) == set(params), "the errors should have exactly the keys of params.")


@prop("one noise for all calls, one entry nudged at a time", 3, "gradient_errors")
def one_noise(student: Any, rng: Rng) -> None:
    function, params = noisy(rng, planted=False)
    first = {name: value.copy() for name, value in params.items()}
    seed = int(rng.integers(1 << 30))
    seen: list[Array] = []
    largest = 0.0

    def watched(p: Params, eps: Array) -> tuple[float, Params]:
        nonlocal largest
        seen.append(floats(eps))
        moved = [np.abs(floats(p[name]) - first[name]).ravel() for name in first]
        largest = max(largest, float(np.sum(np.concatenate(moved) > 0)))
        return function(p, eps)

    student.gradient_errors(Callback(watched, "loss_and_grads"), params, NOISE_SHAPE, np.random.default_rng(seed))
    holds(not student.changed or 1 not in student.changed, "`gradient_errors` changed the parameters it was given.")
    holds(len(seen) > 1, "loss_and_grads should be called for the gradients, and twice for every entry.")
    holds(seen[0].shape == NOISE_SHAPE, f"the noise should have the shape {NOISE_SHAPE} that is asked for.")
    holds(
        all(eps.shape == NOISE_SHAPE and np.array_equal(eps, seen[0]) for eps in seen),
        "the calls of loss_and_grads got different noise: then a difference of two losses measures the noise, not a "
        "slope. Draw it once.",
    )
    same(seen[0], np.random.default_rng(seed).standard_normal(NOISE_SHAPE), "the noise, rng.standard_normal(shape),")
    holds(largest == 1, "exactly one entry is nudged at a time, and all others are as they were.")


GRADIENT_ERRORS = Exercise(
    name="gradient_errors",
    title="Stage 3: the proof, under fixed noise",
    functions=("gradient_errors",),
    hints=(
        "Which two losses tell how the loss changes with ONE entry of one parameter, and what must be equal in both?",
        "Draw eps once, before anything else, and hand that very array to every call.",
        "For each name and each index of np.ndindex: a copy nudged up and one nudged down, the two losses with the "
        "same eps, their difference over 2h. Then the largest difference to the gradient over the largest slope.",
    ),
    checks=(right_passes, wrong_found, one_noise),
    mistakes=(
        Mistake(
            name="new-noise-in-every-call",
            advice="With new noise in every call a difference of two losses measures the noise and not a slope: draw "
            "eps once, for all of them.",
            replaces={"gradient_errors": errors_with(noise="anew")},
            variants=({"gradient_errors": errors_with(noise="each entry")},),
        ),
        Mistake(
            name="proof-without-noise",
            advice="Noise of zeros hides the way through log_var: draw eps from the rng.",
            replaces={"gradient_errors": errors_with(noise="none")},
        ),
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
    ),
)

# --- stage 4: training -----------------------------------------------------------------------------------------------


def step_with(
    late: bool = False, forget: bool = False, twice: bool = False, free: bool = False, climb: bool = False
) -> Make:
    """One step; with an option, the same with something wrong."""

    def step(
        params: Params, optimizer: Any, x: Array, eps: Array, lr: float, likelihood: Any, sigma2: float = 1.0,
        beta: float = 1.0,
    ) -> Any:  # fmt: skip
        params = {name: floats(value) for name, value in params.items()}
        loss, rec, kl, cache = forward(x, params, eps, likelihood, sigma2, 1.0 if free else beta)
        grads = backward(cache)
        if climb:
            grads = {name: -grad for name, grad in grads.items()}
        new, memory = adam_step(params, grads, {} if forget else optimizer, lr)
        if twice:
            new, memory = adam_step(new, grads, memory, lr)
        if late:
            loss, rec, kl, _ = forward(x, new, eps, likelihood, sigma2, beta)
        return new, memory, (loss, rec, kl)

    return step


train_step = step_with()


def stepped(student: Any, rng: Rng, steps: int, likelihood: str, sigma2: float, beta: float) -> None:
    params = draw_params(rng, 3, 2, 4)
    ours = params
    memory: Any = {}
    our_memory: Any = {}
    for number in range(1, steps + 1):
        x, eps = samples(rng, 5, 3, likelihood), rng.normal(size=(5, 2))
        rest = x, eps, 0.05, likelihood, sigma2, beta
        ours, our_memory, parts = train_step(ours, our_memory, *rest)
        answer = student.call("train_step", params, memory, *rest, keep=(1,))
        with case_of(f"step {number}", student.transcript[-1][0]):
            params, memory, got = items(answer, ("params", "optimizer", "parts"))
            got = items(got, ("loss", "rec", "kl"), "parts")
            for value, want, name in zip(got, parts, ("loss", "rec", "kl"), strict=True):
                same(value, want, name, **TRAINED)
            same(params, ours, "params", **TRAINED)


@prop("one step", 2, "train_step")
def one_step(student: Any, rng: Rng) -> None:
    stepped(student, rng, 1, "gaussian", 0.3, 1.0)


@prop("several steps, with beta and Adam's memory", 2, "train_step")
def several_steps(student: Any, rng: Rng) -> None:
    stepped(student, rng, 4, "bernoulli", 1.0, 3.0)


TRAIN_STEP = Exercise(
    name="train_step",
    title="Stage 4: one step of training",
    functions=("train_step",),
    hints=(
        "Four things, in this order: forward, backward, Adam, return.",
        "adam_step gives new parameters and a new memory: both are returned, so that the next step can go on from "
        "there. The three numbers are those that forward gave.",
        "loss, rec, kl and cache from vae_forward with the given eps, sigma2 and beta; the gradients from "
        "vae_backward; both params and optimizer from one call of adam_step.",
    ),
    checks=(one_step, several_steps),
    mistakes=(
        Mistake(
            name="loss-after-the-step",
            advice="The numbers of this batch are those BEFORE the step; a second forward is not needed.",
            replaces={"train_step": step_with(late=True)},
        ),
        Mistake(
            name="adam-starts-anew",
            advice="Adam got an empty memory in every step; hand on the one that you were given.",
            replaces={"train_step": step_with(forget=True)},
        ),
        Mistake(
            name="adam-called-twice",
            advice="One batch, one step: Adam was applied twice to the same gradients.",
            replaces={"train_step": step_with(twice=True)},
        ),
        Mistake(
            name="beta-not-in-the-step",
            advice="Hand beta on to vae_forward: the KL counts beta times in what is minimised.",
            replaces={"train_step": step_with(free=True)},
        ),
        Mistake(
            name="climbs-the-loss",
            advice="The loss is the NEGATIVE ELBO and goes down: give Adam its gradients as they are.",
            replaces={"train_step": step_with(climb=True)},
        ),
    ),
)

Options = dict[str, Any]


def train_with(
    noise: str = "each step",
    constant_rate: bool = False,
    forget: bool = False,
    rows: str = "drawn",
    beta_used: bool = True,
    parts: tuple[int, int, int] = (0, 1, 2),
) -> Make:
    """The training run; with an option, the same with something wrong."""

    def train(
        x: Array, rng: Any, likelihood: Any, sigma2: float = 1.0, latent: int = 2, hidden: int = 64, steps: int = 2000,
        batch_size: int = 64, lr: float = 0.005, beta: float = 1.0,
    ) -> Any:  # fmt: skip
        x = floats(x)
        params = init(x.shape[1], hidden, latent, rng)
        memory: Any = {}
        history: dict[str, list[float]] = {"loss": [], "rec": [], "kl": []}
        order = np.arange(0)
        eps = rng.standard_normal((batch_size, latent)) if noise == "once" else np.zeros((batch_size, latent))
        for t in range(steps):
            if noise == "before the batch":
                eps = rng.standard_normal((batch_size, latent))
            if rows == "drawn":
                order = rng.integers(0, len(x), size=batch_size)
            elif rows == "permuted":
                order = rng.permutation(len(x))[:batch_size]
            else:
                order = np.arange(batch_size) % len(x)
            if noise == "each step":
                eps = rng.standard_normal((batch_size, latent))
            elif noise == "one for all":
                eps = np.ones((batch_size, 1)) * rng.standard_normal(latent)
            rate = lr if constant_rate else lr * (1 + math.cos(math.pi * t / steps)) / 2
            params, memory, got = train_step(
                params, {} if forget else memory, x[order], eps[: len(order)], rate, likelihood, sigma2,
                beta if beta_used else 1.0,
            )  # fmt: skip
            for name, part in zip(history, parts, strict=True):
                history[name].append(float(got[part]))
        return params, history

    return train


train = train_with()


def run_case(rng: Rng, likelihood: str, **options: Any) -> tuple[tuple[Any, ...], Options, int]:
    """Arguments of a short run, without its generator, the options, and the seed of the generator."""
    x = samples(rng, 9, 3, likelihood)
    options = {"latent": 2, "hidden": 4, "steps": 4, "batch_size": 6, "lr": 0.05, "beta": 1.0, **options}
    return (x, likelihood, 0.4), options, int(rng.integers(1 << 30))


def trained(answer: Any) -> tuple[Params, dict[str, Any]]:
    """What `train` returned, as far as it has the right form."""
    params, history = items(answer, ("params", "history"), "what `train` returns")
    for name in NAMES:
        numbers(entry(params, name, "params"), None, name)
    for key in ("loss", "rec", "kl"):
        values = numbers(entry(history, key, "history"), None, f"history[{key!r}]")
        holds(values.ndim == 1, f"history[{key!r}] should be a list of numbers, one for each step.")
    return params, history


def like_ours(student: Any, case: tuple[tuple[Any, ...], Options, int], reason: str) -> None:
    (x, *rest), options, seed = case
    want = train(x, np.random.default_rng(seed), *rest, **options)
    answer = student.call("train", x, np.random.default_rng(seed), *rest, **options)
    with case_of(reason, student.transcript[-1][0]):
        params, history = trained(answer)
        for key in ("loss", "rec", "kl"):
            same(history[key], np.array(want[1][key]), f"history[{key!r}]", **TRAINED)
        same(params, want[0], "params", **TRAINED)


@prop("batches, noise and rates of a short run", 2, "train")
def short_run(student: Any, rng: Rng) -> None:
    like_ours(student, run_case(rng, "gaussian"), "real numbers, four steps")


@prop("pixels, another beta, and no step at all", 2, "train")
def other_runs(student: Any, rng: Rng) -> None:
    like_ours(student, run_case(rng, "bernoulli", beta=2.5, latent=3, steps=3), "pixels with beta 2.5")
    like_ours(student, run_case(rng, "gaussian", steps=0), "no step")


@prop("the same generator gives the same network", 1, "train")
def reproducible(student: Any, rng: Rng) -> None:
    (x, *rest), options, seed = run_case(rng, "gaussian")
    first, second, other = (
        trained(student.call("train", x, np.random.default_rng(s), *rest, **options))[0] for s in (seed, seed, seed + 1)
    )
    with case_of("two runs with equal generators, and one with another", student.transcript[-1][0]):
        for name in NAMES:
            same(second[name], numbers(first[name]), f"the second run's {name}")
        holds(
            not np.array_equal(numbers(first["W1"]), numbers(other["W1"])),
            "another generator gave the same weights: use the rng you are given.",
        )


def turned_clusters(rng: Rng, *counts: int) -> list[Array]:
    """Point sets from one picture of four clusters, turned by an angle that only the data tell."""
    angle = rng.uniform(0, 2 * np.pi)
    c, s = np.cos(angle), np.sin(angle)
    return [make_clusters(n, VARIANCE, rng)[0] @ np.array([[c, s], [-s, c]]) for n in counts]


def shuffled_digits(rng: Rng, held_out: int = 360) -> tuple[Array, Array]:
    """Training and held-out digits, whose pixels are all in one new order: it is all the same to the network."""
    rows = scale_images(digits()[0])
    rows = rows[:, rng.permutation(rows.shape[1])]
    return split_rows(rows, held_out, rng)


def grey_entropy(x: Array) -> float:
    """The cross-entropy of pixels with themselves: no reconstruction costs less."""
    return ref.bernoulli_reconstruction(np.log(np.maximum(x, 1e-300)) - np.log(np.maximum(1 - x, 1e-300)), x)[0]


def not_collapsed(rec: float, kl: float, whose: str) -> None:
    """Say by name that the codes carry nothing."""
    holds(
        kl >= 0.1,
        f"the posterior has collapsed: {whose} show a KL of almost 0, so the codes say nothing about the data, and "
        "whatever is decoded looks like their mean. Does the KL count too much, or is sigma2 too large?",
        f"rec is {rec:.4g} and kl {kl:.3g}.",
    )


def not_too_good(rec: float, kl: float, floor: float, whose: str) -> None:
    """Say by name that a negative ELBO is one that cannot be."""
    found = f"rec is {rec:.4g} and kl {kl:.3g}, so the negative ELBO is {rec + kl:.4g}; the floor is {floor:.4g}."
    holds(bool(np.isfinite(rec) and np.isfinite(kl)), f"{whose} should be finite.", found)
    holds(
        rec + kl >= floor - SLACK,
        f"this is too good to be true: by {whose} the negative ELBO is below the entropy floor, which no model can "
        "pass. Are there means where sums belong, or does something know the samples it is judged on?",
        found,
    )


def judged(student: Any, rng: Rng, x: Array, x_new: Array, likelihood: Any, sigma2: float) -> tuple[float, float]:
    """Train the student's network, and measure rec and kl on new samples with codes that the grader draws."""
    params, _ = trained(student.train(x, fresh(rng), likelihood, sigma2))
    count = len(x_new)
    mu, log_var = items(student.encode(x_new, params), ("mu", "log_var"), "what `encode` returns")
    mu = numbers(mu, None, "mu")
    holds(mu.ndim == 2 and len(mu) == count, f"mu should have one row for each of {count} samples.")
    log_var = numbers(log_var, mu.shape, "log_var")
    with np.errstate(all="ignore"):
        kl = ref.kl_standard_normal(mu, log_var)[0]
        z = ref.reparameterize(mu, log_var, rng.standard_normal(mu.shape))
    holds(bool(np.isfinite(z).all()), "mu and log_var of the trained network should be finite and not huge.")
    # In another order, so that the decoder has nothing but the codes to go by.
    order = rng.permutation(count)
    out = numbers(student.decode(z[order], params), x_new.shape, "what `decode` returns")
    with np.errstate(all="ignore"):
        rec = reconstruction(out, x_new[order], likelihood, sigma2)[0]
    return rec, kl


def within(rec: float, kl: float, most_rec: float, least_kl: float, most_kl: float) -> None:
    """The targets; the comparison of rec is made last."""
    found = f"Measured on them: rec {rec:.3f}, kl {kl:.3f}."
    holds(
        kl >= least_kl,
        f"the KL on new samples should be at least {least_kl}: the codes say too little about the data.",
        found,
    )
    below(
        kl, most_kl, f"the KL on new samples should be at most {most_kl}: the codes say more than they need to.", found
    )
    below(rec, most_rec, f"the reconstruction part on new samples should be at most {most_rec}.", found)


@training("four clusters: new points are rebuilt", 4, "train", "encode", "decode", cpu_s=10.0)
def clusters_reached(student: Any, rng: Rng) -> None:
    # docs/projects.md has the 20 seeds of both targets.
    x, x_new = turned_clusters(rng, 600, 2000)
    rec, kl = judged(student, rng, x, x_new, "gaussian", VARIANCE)
    whose = "the numbers of your network on 2,000 new points"
    not_too_good(rec, kl, FLOOR, whose)
    not_collapsed(rec, kl, whose)
    within(rec, kl, 1.4, 1.8, 2.4)


@training("digits: new images are rebuilt", 4, "train", "encode", "decode", cpu_s=10.0)
def digits_reached(student: Any, rng: Rng) -> None:
    x, x_new = shuffled_digits(rng)
    rec, kl = judged(student, rng, x, x_new, "bernoulli", 1.0)
    whose = "the numbers of your network on 360 new images"
    not_too_good(rec, kl, grey_entropy(x_new), whose)
    not_collapsed(rec, kl, whose)
    within(rec, kl, 24.0, 1.5, 3.0)


TRAIN = Exercise(
    name="train",
    title="Stage 4: the training run",
    functions=("train",),
    hints=(
        "One step is: draw rows, draw noise, one train_step with the rate of this step.",
        "Parameters and Adam's memory come out of one step and go into the next; the learning rate falls along half a "
        "cosine, from lr to almost zero.",
        "init_vae first. In the loop rng.integers for the rows, then rng.standard_normal((batch_size, latent)), then "
        "train_step with sigma2 and beta; append its three numbers to the three lists.",
    ),
    checks=(short_run, other_runs, reproducible, clusters_reached, digits_reached),
    mistakes=(
        Mistake(
            name="noise-drawn-once",
            advice="Draw new noise in every step; with one draw for all the network learns that noise by heart.",
            replaces={"train": train_with(noise="once")},
        ),
        Mistake(
            name="trained-without-noise",
            advice="Without noise in training this is an ordinary autoencoder, with holes between its codes.",
            replaces={"train": train_with(noise="none")},
        ),
        Mistake(
            name="one-noise-for-the-batch",
            advice="Every sample has noise of its own: eps has the shape (batch_size, latent).",
            replaces={"train": train_with(noise="one for all")},
        ),
        Mistake(
            name="noise-before-the-batch",
            advice="In each step the rows are drawn first and the noise second.",
            replaces={"train": train_with(noise="before the batch")},
        ),
        Mistake(
            name="rate-stays-constant",
            advice="The learning rate falls along half a cosine, from lr to almost 0.",
            replaces={"train": train_with(constant_rate=True)},
        ),
        Mistake(
            name="adam-without-memory",
            advice="One memory of Adam serves the whole run: hand on what the last step returned.",
            replaces={"train": train_with(forget=True)},
        ),
        Mistake(
            name="always-the-first-rows",
            advice="Every step draws its rows anew; yours trains on the first ones only.",
            replaces={"train": train_with(rows="first")},
        ),
        Mistake(
            name="rows-permuted",
            advice="The rows of a batch are rng.integers(0, N, size=batch_size); a permutation is another draw.",
            replaces={"train": train_with(rows="permuted")},
        ),
        Mistake(
            name="beta-not-handed-on",
            advice="Hand beta on to train_step; yours always trains with beta = 1.",
            replaces={"train": train_with(beta_used=False)},
        ),
        Mistake(
            name="history-confused",
            advice="train_step's three numbers are loss, rec, kl in this order; each has a list of its own.",
            replaces={"train": train_with(parts=(0, 2, 1))},
            variants=({"train": train_with(parts=(0, 0, 2))},),
        ),
    ),
)

# --- stage 5: evaluation ---------------------------------------------------------------------------------------------


def evaluate_with(
    change: Callable[[float, float, int], tuple[float, float, float]] = lambda rec, kl, latent: (rec + kl, rec, kl),
    noise: Callable[[Any, int, int], Any] = lambda rng, batch, latent: rng.standard_normal((batch, latent)),
    given_sigma2: bool = True,
) -> Make:
    def evaluate(x: Array, params: Params, rng: Any, likelihood: Any, sigma2: float = 1.0) -> Any:
        latent = len(params["W2"])
        eps = np.ones((len(x), latent)) * noise(rng, len(x), latent)
        _, rec, kl, _ = forward(x, params, eps, likelihood, sigma2 if given_sigma2 else 1.0)
        return change(rec, kl, latent)

    return evaluate


evaluate = evaluate_with()


def collapse_with(
    kls: Make = ref.kl_per_dimension, verdict: Callable[[Array, float], Any] = lambda k, limit: not (k > limit).any()
) -> Make:
    def detect(x: Array, params: Params, threshold: float = 0.01) -> Any:
        found = kls(*encode(x, params))
        return found, bool(verdict(found, threshold))

    return detect


detect_collapse = collapse_with()


def evaluation_case(batch: int, features: int, latent: int, hidden: int, likelihood: str, *sigma2: float) -> Draw:
    def draw(rng: Rng) -> tuple[Any, ...]:
        x, params = net_case(batch, features, latent, hidden, likelihood)(rng)[:2]
        return x, params, fresh(rng), likelihood, *sigma2

    return draw


def collapse_case(used: tuple[float, ...], *threshold: float, by_variance: bool = False) -> Draw:
    """A network whose latent dimensions have about these KLs, by their means or by their variances."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        params = draw_params(rng, 3, len(used), 4)
        params |= {name: np.zeros_like(params[name]) for name in ("W2", "b2", "W3", "b3")}
        kls = floats(used)
        if by_variance:
            # expm1(v) - v is about v^2 / 2, so this is about the KL asked for.
            params["b3"] = -2 * np.sqrt(kls)
        else:
            params["b2"] = np.sqrt(2 * kls)
        return rng.normal(size=(5, 3)), params, *threshold

    return draw


COLLAPSES = [
    Case("one dimension of three is in use", collapse_case((0.0, 0.6, 0.001))),
    Case("none is in use", collapse_case((0.002, 0.0, 0.005))),
    Case("one is in use a little, and the mean is below the threshold", collapse_case((0.0, 0.02, 0.0))),
    Case("four that are nearly unused, and together above the threshold", collapse_case((0.004,) * 4)),
    Case("in use by their variances alone", collapse_case((0.3, 0.2), by_variance=True)),
    Case("another threshold", collapse_case((0.3, 0.4), 0.6)),
    Case("exactly at the threshold", collapse_case((0.5, 0.0), 0.5)),
    Case("drawn weights", first_two(net_case(6, 3, 2, 4, "gaussian"))),
]


@training("an honest report on points never seen", 2, "train", "encode", "decode", "evaluate", cpu_s=10.0)
def honest_report(student: Any, rng: Rng) -> None:
    x, x_new = turned_clusters(rng, 600, 2000)
    params, _ = trained(student.train(x, fresh(rng), "gaussian", VARIANCE))
    seed = int(rng.integers(1 << 30))
    answer = student.evaluate(x_new, params, np.random.default_rng(seed), "gaussian", VARIANCE)
    found = items(answer, ("negative_elbo", "rec", "kl"), "what `evaluate` returns")
    said = [float(numbers(v, (), n)) for v, n in zip(found, ("negative_elbo", "rec", "kl"), strict=True)]
    not_too_good(said[1], said[2], FLOOR, "the numbers that `evaluate` reports for 2,000 new points")
    mu, log_var = items(student.encode(x_new, params), ("mu", "log_var"), "what `encode` returns")
    mu = numbers(mu, None, "mu")
    holds(mu.ndim == 2 and len(mu) == len(x_new), "mu should have one row for each sample.")
    log_var = numbers(log_var, mu.shape, "log_var")
    z = ref.reparameterize(mu, log_var, np.random.default_rng(seed).standard_normal(mu.shape))
    out = numbers(student.decode(z, params), x_new.shape, "what `decode` returns")
    rec, kl = reconstruction(out, x_new, "gaussian", VARIANCE)[0], ref.kl_standard_normal(mu, log_var)[0]
    for value, want, name in zip(said, (rec + kl, rec, kl), ("negative ELBO", "rec", "kl"), strict=True):
        same(value, want, f"the {name} that `evaluate` reports for your trained network", rtol=1e-6)


EVALUATE = Exercise(
    name="evaluate",
    title="Stage 5: an honest evaluation",
    functions=("evaluate", "detect_collapse"),
    hints=(
        "What is the price of the code when you judge, whatever it was when you trained? And is the ELBO, or its "
        "negative, asked for?",
        "`vae_forward` with new noise and beta = 1 gives all three numbers. For the collapse keep the latent "
        "dimensions apart: average over the batch only.",
        "detect_collapse: half the mean over axis 0 of mu^2 + exp(log_var) - 1 - log_var; it has collapsed if not a "
        "single one is larger than the threshold.",
    ),
    checks=(
        numeric(
            "the negative ELBO and its parts",
            3,
            "evaluate",
            evaluate,
            [
                Case("real numbers, sigma2 = 0.3", evaluation_case(5, 3, 2, 4, "gaussian", 0.3)),
                Case("pixels", evaluation_case(4, 5, 3, 4, "bernoulli")),
                Case("a single sample", evaluation_case(1, 2, 2, 3, "gaussian", 0.7)),
            ],
        ),
        numeric("dimensions in use, and collapse", 2, "detect_collapse", detect_collapse, COLLAPSES),
        honest_report,
    ),
    mistakes=(
        Mistake(
            name="elbo-reported",
            advice="The NEGATIVE ELBO is reported, rec + kl, where lower is better.",
            replaces={"evaluate": evaluate_with(lambda rec, kl, latent: (-rec - kl, rec, kl))},
            variants=({"evaluate": evaluate_with(lambda rec, kl, latent: (rec - kl, rec, kl))},),
        ),
        Mistake(
            name="kl-left-out-of-the-report",
            advice="The KL counts in an evaluation too: without it a code may cost what it likes.",
            replaces={"evaluate": evaluate_with(lambda rec, kl, latent: (rec, rec, kl))},
            variants=({"evaluate": evaluate_with(lambda rec, kl, latent: (rec, rec, 0.0))},),
        ),
        Mistake(
            name="evaluated-without-noise",
            advice="The negative ELBO is an average over random codes: decoding the means makes it look better than "
            "it is.",
            replaces={"evaluate": evaluate_with(noise=lambda rng, batch, latent: 0.0)},
        ),
        Mistake(
            name="one-noise-for-all-samples",
            advice="Every sample has noise of its own: draw (B, L) numbers.",
            replaces={"evaluate": evaluate_with(noise=lambda rng, batch, latent: rng.standard_normal(latent))},
        ),
        Mistake(
            name="evaluated-with-sigma2-one",
            advice="Hand sigma2 on: numbers for different variances of the decoder cannot be compared.",
            replaces={"evaluate": evaluate_with(given_sigma2=False)},
        ),
        Mistake(
            name="kl-of-an-average-dimension",
            advice="The KL is the sum over the latent dimensions, not their mean.",
            replaces={"evaluate": evaluate_with(lambda rec, kl, latent: (rec + kl / latent, rec, kl / latent))},
        ),
        Mistake(
            name="collapsed-if-any-is-unused",
            advice="Unused dimensions are common and harmless; it has collapsed when NONE is in use.",
            replaces={"detect_collapse": collapse_with(verdict=lambda kls, limit: (kls <= limit).any())},
        ),
        Mistake(
            name="dimensions-added-up",
            advice="Compare each dimension with the threshold, not their sum.",
            replaces={"detect_collapse": collapse_with(verdict=lambda kls, limit: kls.sum() <= limit)},
        ),
        Mistake(
            name="in-use-and-collapsed-exchanged",
            advice="A large KL means that a dimension is in use, which is the opposite of collapse.",
            replaces={"detect_collapse": collapse_with(verdict=lambda kls, limit: (kls > limit).any())},
        ),
        Mistake(
            name="judged-by-means-only",
            advice="The variance carries information too: use the whole KL, not only mu^2.",
            replaces={
                "detect_collapse": collapse_with(
                    kls=lambda mu, log_var: ref.kl_per_dimension(mu, np.zeros_like(log_var))
                )
            },
        ),
    ),
)


def sweep_with(
    trained_with: Callable[[float], float] = lambda beta: beta,
    judge: str = "held out",
    weigh: bool = False,
    peek: bool = False,
    restart: bool = False,
) -> Make:
    def sweep(
        x: Array, x_new: Array, betas: Any, rng: Any, likelihood: Any, sigma2: float = 1.0, **options: Any
    ) -> Any:
        results, seed = [], 0
        for beta in np.asarray(betas, dtype=np.float64):
            generator = np.random.default_rng(seed) if restart else rng
            data = np.concatenate([x, x_new]) if peek else x
            params, _ = train(data, generator, likelihood, sigma2, beta=trained_with(beta), **options)
            judged_on = x if judge == "training" else x_new
            _, rec, kl = evaluate(judged_on, params, generator, likelihood, sigma2)
            results.append((rec, beta * kl if weigh else kl))
        recs, kls = np.array(results).T
        return recs, kls

    return sweep


@prop("trained with every beta, judged on held-out samples", 2, "beta_sweep")
def sweep_right(student: Any, rng: Rng) -> None:
    options = {"latent": 2, "hidden": 4, "steps": 5, "batch_size": 6, "lr": 0.1}
    x, x_new, betas, seed = rng.normal(size=(12, 3)), rng.normal(size=(7, 3)), [4.0, 0.5, 2.0], int(rng.integers(9999))
    want = sweep_with()(x, x_new, betas, np.random.default_rng(seed), "gaussian", 0.4, **options)
    answer = student.beta_sweep(x, x_new, betas, np.random.default_rng(seed), "gaussian", 0.4, **options)
    with case_of("three betas, five steps each", student.transcript[-1][0]):
        recs, kls = items(answer, ("recs", "kls"))
        same(recs, want[0], "recs", **TRAINED)
        same(kls, want[1], "kls", **TRAINED)


@training("a larger beta: cheaper codes, worse reconstructions", 2, "beta_sweep", cpu_s=10.0)
def trade_off(student: Any, rng: Rng) -> None:
    x, x_new = turned_clusters(rng, 400, 1000)
    options = {"latent": 2, "hidden": 32, "steps": 500, "batch_size": 64, "lr": 0.01}
    answer = student.beta_sweep(x, x_new, [0.25, 1.0, 4.0, 16.0], fresh(rng), "gaussian", VARIANCE, **options)
    recs, kls = (numbers(v, (4,), n) for v, n in zip(items(answer, ("recs", "kls")), ("recs", "kls"), strict=True))
    found = f"rec: {', '.join(f'{r:.3g}' for r in recs)}; kl: {', '.join(f'{k:.3g}' for k in kls)}."
    text = "with beta = 0.25, 1, 4 and 16"
    # The smallest step of a right sweep is the first one of rec, about 0.6.
    below(0.2, float(np.diff(recs).min()), f"{text} the reconstruction part should rise every time.", found)
    below(0.2, float(-np.diff(kls).max()), f"{text} the KL should fall every time.", found)


BETA_SWEEP = Exercise(
    name="beta_sweep",
    title="Stage 5: the trade-off",
    functions=("beta_sweep",),
    hints=(
        "What changes from one run to the next, and what must not?",
        "A loop over the betas: train with this beta and all options, evaluate on the held-out samples, remember rec "
        "and kl.",
        "Call train with beta=beta and **options, and evaluate with x_held_out and the same rng; collect the second "
        "and the third number that it returns.",
    ),
    checks=(sweep_right, trade_off),
    mistakes=(
        Mistake(
            name="sweep-without-beta",
            advice="Hand this beta on to train; otherwise all runs are alike.",
            replaces={"beta_sweep": sweep_with(lambda beta: 1.0)},
        ),
        Mistake(
            name="judged-on-the-training-set",
            advice="Evaluate on the held-out samples: on the training set a network looks better than it is.",
            replaces={"beta_sweep": sweep_with(judge="training")},
        ),
        Mistake(
            name="held-out-samples-learned",
            advice="The held-out samples went into the training set: then they judge nothing any more.",
            replaces={"beta_sweep": sweep_with(peek=True)},
        ),
        Mistake(
            name="kls-times-beta",
            advice="Report the plain KL; only the training loss has beta times it.",
            replaces={"beta_sweep": sweep_with(weigh=True)},
        ),
        Mistake(
            name="generator-of-its-own",
            advice="Use the rng that is handed in, one run after the other.",
            replaces={"beta_sweep": sweep_with(restart=True)},
        ),
    ),
)

# --- stage 6: generation ---------------------------------------------------------------------------------------------


def shown(z: Array, params: Params, likelihood: str) -> Array:
    return expected_x(decode(z, params), likelihood)


def generate_with(codes: Callable[[Any, int, Params], Any], show: Make = shown) -> Make:
    def generate(n: int, params: Params, rng: Any, likelihood: str) -> Array:
        z = np.ones((n, params["W4"].shape[1])) * codes(rng, n, params)
        return floats(show(z, params, likelihood))

    return generate


def cloud(rng: Any, n: int, params: Params) -> Array:
    return floats(rng.standard_normal((n, params["W4"].shape[1])))


generate = generate_with(cloud)


def reconstruct(x: Array, params: Params, likelihood: str) -> Array:
    return shown(encode(x, params)[0], params, likelihood)


def noisy_reconstruct(x: Array, params: Params, likelihood: str) -> Array:
    return shown(ref.sample_latent(*encode(x, params), np.random.default_rng(0)), params, likelihood)


def raw(z: Array, params: Params, likelihood: str) -> Array:
    return floats(decode(z, params))


def seen_case(batch: int, features: int, latent: int, hidden: int, likelihood: str) -> Draw:
    return lambda rng: (*net_case(batch, features, latent, hidden, likelihood)(rng)[:2], likelihood)


def cloud_case(n: int, features: int, latent: int, hidden: int, likelihood: str) -> Draw:
    return lambda rng: (n, draw_params(rng, features, latent, hidden), fresh(rng), likelihood)


GENERATE = Exercise(
    name="generate",
    title="Stage 6: rebuilt and invented",
    functions=("reconstruct", "generate"),
    hints=(
        "Which code stands for a sample best? And where do codes lie when nobody has encoded anything?",
        "reconstruct decodes mu and draws nothing. generate decodes standard normal codes. Both show what the decoder "
        "expects.",
        "expected_x(decode(mu, params), likelihood), and the same with rng.standard_normal((n, L)) in place of mu.",
    ),
    checks=(
        numeric(
            "rebuilding decodes the means",
            2,
            "reconstruct",
            reconstruct,
            [
                Case("real numbers", seen_case(4, 3, 2, 5, "gaussian")),
                Case("a single image", seen_case(1, 5, 2, 4, "bernoulli")),
            ],
        ),
        numeric(
            "inventing decodes the cloud",
            2,
            "generate",
            generate,
            [
                Case("five points", cloud_case(5, 3, 2, 4, "gaussian")),
                Case("two images", cloud_case(2, 5, 3, 4, "bernoulli")),
            ],
        ),
    ),
    mistakes=(
        Mistake(
            name="reconstruction-sampled",
            advice="Rebuilding is not random: decode mu itself.",
            replaces={"reconstruct": noisy_reconstruct},
        ),
        Mistake(
            name="rebuilt-logits",
            advice="For pixels show the brightness that is expected, not the decoder's logits.",
            replaces={"reconstruct": lambda x, params, likelihood: raw(encode(x, params)[0], params, likelihood)},
        ),
        Mistake(
            name="invented-logits",
            advice="For pixels an invention is the expected brightness, from 0 to 1, not a logit.",
            replaces={"generate": generate_with(cloud, raw)},
        ),
        Mistake(
            name="cloud-scaled-by-the-encoder",
            advice="A new code comes from the standard normal cloud as it is; the encoder's variance belongs to a "
            "sample, and here there is none.",
            replaces={"generate": generate_with(lambda rng, n, p: np.exp(p["b3"] / 2) * cloud(rng, n, p))},
            variants=(
                {"generate": generate_with(lambda rng, n, p: np.exp(p["b3"]) * cloud(rng, n, p))},
                {"generate": generate_with(lambda rng, n, p: p["b2"] + np.exp(p["b3"] / 2) * cloud(rng, n, p))},
            ),
        ),
        Mistake(
            name="codes-uniform",
            advice="New codes come from the standard normal cloud, which is where the KL has kept the old ones.",
            replaces={"generate": generate_with(lambda rng, n, p: rng.random((n, p["W4"].shape[1])))},
        ),
        Mistake(
            name="one-code-for-all",
            advice="Every invention has a code of its own: draw (n, L) numbers.",
            replaces={"generate": generate_with(lambda rng, n, p: rng.standard_normal(p["W4"].shape[1]))},
        ),
    ),
)


def interpolate_with(
    shares: Callable[[int], Array] = lambda steps: np.linspace(0, 1, steps), of_data: str = "", show: Make = shown
) -> Make:
    def interpolate(x_from: Array, x_to: Array, steps: int, params: Params, likelihood: str) -> Array:
        ends = np.stack([floats(x_from), floats(x_to)])
        share = shares(steps)[:, None]
        if of_data == "codes of mixed data":
            return reconstruct(ends[0] + share * (ends[1] - ends[0]), params, likelihood)
        if of_data:
            ends = reconstruct(ends, params, likelihood) if of_data == "rebuilt" else ends
            return floats(ends[0] + share * (ends[1] - ends[0]))
        mu = encode(ends, params)[0]
        return floats(show(mu[0] + share * (mu[1] - mu[0]), params, likelihood))

    return interpolate


interpolate = interpolate_with()


def way_case(features: int, latent: int, hidden: int, steps: int, likelihood: str) -> Draw:
    def draw(rng: Rng) -> tuple[Any, ...]:
        x, params = net_case(2, features, latent, hidden, likelihood)(rng)[:2]
        return x[0], x[1], steps, params, likelihood

    return draw


@prop("the ends are the two rebuilt samples", 1, "interpolate", "reconstruct")
def ends_exact(student: Any, rng: Rng) -> None:
    x_from, x_to, steps, params, likelihood = way_case(5, 2, 4, 6, "bernoulli")(rng)
    got = numbers(student.interpolate(x_from, x_to, steps, params, likelihood), (6, 5), "the way")
    rebuilt = student.reconstruct(np.stack([x_from, x_to]), params, likelihood)
    rebuilt = numbers(rebuilt, (2, 5), "what `reconstruct` returns")
    for row, place in ((0, "first"), (1, "last")):
        same(got[-row], rebuilt[row], f"the {place} step, which should be what `reconstruct` makes of that sample,")


def grid_with(change: Make = lambda axis, values: (axis, values), open_end: bool = False, show: Make = shown) -> Make:
    def grid(params: Params, low: float, high: float, resolution: int, likelihood: str) -> Any:
        axis = np.linspace(low, high, resolution, endpoint=not open_end)
        codes = np.array([[[first, second] for first in axis] for second in axis])
        return change(axis, floats(show(codes, params, likelihood)))

    return grid


latent_grid = grid_with()


def grid_case(low: float, high: float, resolution: int, likelihood: str) -> Draw:
    return lambda rng: (draw_params(rng, 4, 2, 3), low, high, resolution, likelihood)


GRIDS = [
    Case("five by five, pixels", grid_case(-2.0, 1.5, 5, "bernoulli")),
    Case("three by three, real numbers", grid_case(0.5, 2.0, 3, "gaussian")),
]

LATENT_SPACE = Exercise(
    name="latent_space",
    title="Stage 6: journeys and a map",
    functions=("interpolate", "latent_grid"),
    hints=(
        "Between what and what is the straight line drawn: between images, or between their codes?",
        "Encode both samples, mix the two means with shares from 0 to 1, decode the mixtures. The map is np.meshgrid "
        "of the axis with itself, stacked into codes (R, R, 2); decode takes such a table as it is.",
        "Codes (1 - s) * mu_from + s * mu_to for s in np.linspace(0, 1, steps), then decode and expected_x. In the map "
        "the first latent dimension grows along a row: it is the first array of np.meshgrid(axis, axis).",
    ),
    checks=(
        numeric(
            "a straight line of codes",
            2,
            "interpolate",
            interpolate,
            [
                Case("five steps, real numbers", way_case(3, 2, 4, 5, "gaussian")),
                Case("four steps, pixels", way_case(5, 3, 4, 4, "bernoulli")),
                Case("the two ends only", way_case(2, 2, 3, 2, "gaussian")),
            ],
        ),
        ends_exact,
        numeric("the map's axis", 1, "latent_grid", latent_grid, GRIDS, pick=0, result="the axis"),
        numeric("the map", 2, "latent_grid", latent_grid, GRIDS, pick=1, result="the table of values"),
    ),
    mistakes=(
        Mistake(
            name="data-mixed-instead-of-codes",
            advice="Mix the codes and decode the mixtures: mixing the samples only fades one image into the other.",
            replaces={"interpolate": interpolate_with(of_data="raw")},
            variants=(
                {"interpolate": interpolate_with(of_data="rebuilt")},
                {"interpolate": interpolate_with(of_data="codes of mixed data")},
            ),
        ),
        Mistake(
            name="last-step-missing",
            advice="Both ends belong to the way: the shares run from 0 to 1, with 1 included.",
            replaces={"interpolate": interpolate_with(lambda steps: np.arange(steps) / steps)},
        ),
        Mistake(
            name="walked-backwards",
            advice="The way begins at x_from and ends at x_to.",
            replaces={"interpolate": interpolate_with(lambda steps: np.linspace(1, 0, steps))},
        ),
        Mistake(
            name="logits-on-the-way",
            advice="On the way, too, pixels are shown as the brightness that is expected.",
            replaces={"interpolate": interpolate_with(show=raw)},
        ),
        Mistake(
            name="map-transposed",
            advice="values[i, j] belongs to the code (axis[j], axis[i]): the first dimension runs along a row.",
            replaces={"latent_grid": grid_with(lambda axis, values: (axis, values.transpose(1, 0, 2)))},
        ),
        Mistake(
            name="map-upside-down",
            advice="The first row of the map belongs to the lowest value of the second dimension.",
            replaces={"latent_grid": grid_with(lambda axis, values: (axis, values[::-1]))},
        ),
        Mistake(
            name="map-without-its-upper-end",
            advice="The axis includes both ends, low and high.",
            replaces={"latent_grid": grid_with(open_end=True)},
        ),
        Mistake(
            name="map-left-flat",
            advice="The values are a table (R, R, D): keep one row of codes for each row of the map.",
            replaces={
                "latent_grid": grid_with(lambda axis, values: (axis, values.reshape(-1, values.shape[-1]))),
            },
        ),
        Mistake(
            name="map-of-logits",
            advice="The map shows what the decoder expects: for pixels the sigmoid of its logits.",
            replaces={"latent_grid": grid_with(show=raw)},
        ),
    ),
)

# --- the picture -----------------------------------------------------------------------------------------------------


def tiles(images: Array) -> Array:
    """Images (rows, columns, 64) side by side, with a line of paper between them."""
    rows, columns = images.shape[:2]
    padded = np.pad(images.reshape(rows, columns, 8, 8), ((0, 0), (0, 0), (1, 0), (1, 0)))
    return padded.transpose(0, 2, 1, 3).reshape(rows * 9, columns * 9)


def draw_picture(student: Any, figure: Any) -> None:
    """The codes of digits never seen, the decoded plane of codes, and digits that nobody wrote."""
    left, middle, right = figure.subplots(1, 3)
    rng = np.random.default_rng(338)
    images, labels = digits()
    rows, order = scale_images(images), rng.permutation(len(images))
    student.cpu_s = 20.0
    params, _ = trained(student.train(rows[order[360:]], rng, "bernoulli"))
    mu, _ = items(student.encode(rows[order[:360]], params), ("mu", "log_var"))
    mu = numbers(mu, (360, 2), "mu")
    for digit in range(10):
        left.plot(*mu[labels[order[:360]] == digit].T, "o", ms=3, color=f"C{digit}", label=str(digit))
    left.set(xlabel="first latent dimension", ylabel="second latent dimension", xlim=(-3, 3), ylim=(-2.6, 3.4))
    left.set_title("Codes of 360 unseen digits")
    left.set_aspect("equal")
    left.legend(frameon=False, fontsize=7, ncols=5, loc="upper center", handletextpad=0.1, columnspacing=0.8)
    axis, values = items(student.latent_grid(params, -2.0, 2.0, 10, "bernoulli"), ("axis", "values"))
    axis, values = numbers(axis, (10,), "the axis"), numbers(values, (10, 10, 64), "the map")
    # The first row of the map is the lowest; an image's own rows run downwards.
    middle.imshow(tiles(values[::-1]), cmap="gray_r", vmin=0, vmax=1)
    ticks = 9 * np.arange(10) + 5
    chosen = [0, 3, 6, 9]
    middle.set_xticks(ticks[chosen], [f"{axis[i]:.1f}" for i in chosen])
    middle.set_yticks(ticks[chosen], [f"{axis[9 - i]:.1f}" for i in chosen])
    middle.set(xlabel="first latent dimension", ylabel="second latent dimension", title="The plane of codes, decoded")
    invented = numbers(student.generate(100, params, rng, "bernoulli"), (100, 64), "inventions")
    right.imshow(tiles(invented.reshape(10, 10, 64)), cmap="gray_r", vmin=0, vmax=1)
    right.set_title("A hundred that nobody wrote")
    right.set_xlabel("from random codes")
    right.set_xticks([])
    right.set_yticks([])


CHAPTER = Chapter(
    id="ch338",
    slug="project_vae",
    title="Project: Variational Autoencoder",
    part="Projects",
    summary="Four clusters and handwritten digits through a code of two numbers: exact gradients and their proof under "
    "fixed noise, training, an honest evaluation, and digits that nobody wrote.",
    builds_on=("ch312", "ch325"),
    exercises=(
        CLUSTERS,
        IMAGES,
        INIT,
        ENCODE_DECODE,
        REPARAMETERIZE,
        KL,
        RECONSTRUCTION,
        VAE_FORWARD,
        VAE_BACKWARD,
        GRADIENT_ERRORS,
        TRAIN_STEP,
        TRAIN,
        EVALUATE,
        BETA_SWEEP,
        GENERATE,
        LATENT_SPACE,
    ),
    picture=Picture(title="A plane of digits", draw=draw_picture),
)
