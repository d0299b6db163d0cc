"""Checks of chapter 327: schedules, noising, the noise that is in a sample, posterior, and two ways to sample."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from dlreference import diffusion as ref

from dlgrade.course.compare import holds, numbers, same
from dlgrade.course.kinds import Case, Rng, case_of, numeric, prop, statistical, unchanged
from dlgrade.course.spec import Chapter, Exercise, Mistake, Picture
from dlgrade.sandbox.protocol import Callback

Array = np.ndarray[Any, Any]
Tables = dict[str, Array]


def floats(value: Any) -> Array:
    return np.asarray(value, dtype=np.float64)


def tables(betas: Any) -> Tables:
    """A schedule as students pass it around."""
    return {name: floats(values) for name, values in ref.make_schedule(betas)._asdict().items()}


def schedule(tables: Tables) -> ref.Schedule:
    return ref.make_schedule(tables["beta"])


def drawn(rng: Rng, steps: int) -> Tables:
    """A schedule whose betas rise and fall, so that no two times are alike."""
    return tables(rng.uniform(0.05, 0.5, size=steps))


def at(values: Array, t: Any, x: Array) -> Array:
    picked = floats(values)[np.asarray(t, dtype=int)]
    return picked.reshape(picked.shape + (1,) * (np.ndim(x) - 1)) if picked.ndim else picked


# --- schedule --------------------------------------------------------------------------------------------------------


def ms_with(alpha_bar: Callable[[Array], Array]) -> Callable[[Any], Tables]:
    """A schedule with another alpha_bar, from beta; what follows from it follows."""

    def make(betas: Any) -> Tables:
        beta = floats(betas)
        bar = floats(alpha_bar(beta))
        return {**tables(beta), "alpha_bar": bar, "alpha_bar_prev": np.concatenate([[1.0], bar[:-1]])}

    return make


def ms_prev(first: Callable[[Array], float]) -> Callable[[Any], Tables]:
    def make(betas: Any) -> Tables:
        right = tables(betas)
        bar = right["alpha_bar"]
        return {**right, "alpha_bar_prev": np.concatenate([[first(bar)], bar[:-1]])}

    return make


def lb_open(n_steps: int, first: float = 1e-4, last: float = 0.02) -> Array:
    return np.linspace(first, last, n_steps, endpoint=False)


def lb_geometric(n_steps: int, first: float = 1e-4, last: float = 0.02) -> Array:
    return np.geomspace(first, last, n_steps)


def fading(n_steps: int, offset: float, power: int) -> Array:
    return floats(np.cos(0.5 * np.pi * (np.arange(n_steps + 1) / n_steps + offset) / (1 + offset)) ** power)


def cb_not_squared(n_steps: int, offset: float = 0.008, largest: float = 0.999) -> Array:
    f = fading(n_steps, offset, 1)
    return np.minimum(1 - f[1:] / f[:-1], largest)


def cb_not_limited(n_steps: int, offset: float = 0.008, largest: float = 0.999) -> Array:
    return ref.cosine_betas(n_steps, offset, 1.0)


def cb_cumulative(n_steps: int, offset: float = 0.008, largest: float = 0.999) -> Array:
    f = fading(n_steps, offset, 2)
    return np.minimum(1 - f[1:] / f[0], largest)


def cb_offset_not_divided(n_steps: int, offset: float = 0.008, largest: float = 0.999) -> Array:
    f = np.cos(0.5 * np.pi * (np.arange(n_steps + 1) / n_steps + offset)) ** 2
    return np.minimum(1 - f[1:] / f[:-1], largest)


SCHEDULE = Exercise(
    name="schedule",
    title="How fast to forget",
    functions=("linear_betas", "cosine_betas", "make_schedule"),
    hints=(
        "What share of the signal's variance is left after one step? And after a second one?",
        "np.linspace includes both ends. The share that is left after all steps up to t is a running product, "
        "and NumPy has a function for it.",
        "alpha_bar is np.cumprod(1 - beta); alpha_bar_prev is a 1 followed by all of alpha_bar but its last entry. For "
        "the cosine, make the T + 1 values f first, divide each by the one before, and let np.minimum set the limit.",
    ),
    checks=(
        numeric(
            "evenly spaced variances",
            2,
            "linear_betas",
            ref.linear_betas,
            [
                Case("the usual ends", lambda rng: (10,)),
                Case("other ends", lambda rng: (5, 0.1, 0.3)),
                Case("a single step", lambda rng: (1,)),
            ],
        ),
        numeric(
            "variances along a squared cosine",
            4,
            "cosine_betas",
            ref.cosine_betas,
            [
                Case("twelve steps", lambda rng: (12,)),
                Case("another offset and limit", lambda rng: (4, 0.2, 0.6)),
                Case("a single step, which meets the limit", lambda rng: (1,)),
                Case("a thousand steps, small ones at first", lambda rng: (1000,)),
            ],
        ),
        numeric(
            "four arrays",
            5,
            "make_schedule",
            tables,
            [
                Case("six steps", lambda rng: (rng.uniform(0.05, 0.5, size=6),)),
                Case("two hundred steps of the usual variances", lambda rng: (ref.linear_betas(200),)),
                Case("a single step", lambda rng: ([0.3],)),
                Case(
                    "steps that leave hardly anything, or change hardly anything", lambda rng: ([0.9995, 1e-6, 0.99],)
                ),
            ],
            result="the schedule",
        ),
        unchanged(1, {"make_schedule": lambda rng: (rng.uniform(0.05, 0.5, size=4),)}),
    ),
    mistakes=(
        Mistake(
            name="product-of-betas",
            advice="alpha_bar is the running product of alpha = 1 - beta, what each step keeps; not of beta.",
            replaces={"make_schedule": ms_with(lambda beta: np.cumprod(beta))},
        ),
        Mistake(
            name="sum-instead-of-product",
            advice="What is left after two steps is a share of a share: alpha is multiplied up, not added.",
            replaces={"make_schedule": ms_with(lambda beta: np.cumsum(1 - beta))},
            variants=({"make_schedule": ms_with(lambda beta: 1 - np.cumsum(beta))},),
        ),
        Mistake(
            name="alpha-bar-one-step-late",
            advice="alpha_bar[0] is 1 - beta[0]: at time 0 one step of noising has been made. The 1 in front "
            "belongs to alpha_bar_prev only.",
            replaces={"make_schedule": ms_with(lambda beta: np.concatenate([[1.0], np.cumprod(1 - beta)[:-1]]))},
        ),
        Mistake(
            name="alpha-bar-of-roots",
            advice="alpha_bar is the product of alpha itself; the root is taken where a sample is multiplied.",
            replaces={"make_schedule": ms_with(lambda beta: np.cumprod(np.sqrt(1 - beta)))},
        ),
        Mistake(
            name="before-the-first-is-the-last",
            advice="One time before 0 there is the clean sample, so alpha_bar_prev[0] is 1; np.roll puts the "
            "last entry there.",
            replaces={"make_schedule": ms_prev(lambda bar: float(bar[-1]))},
            variants=({"make_schedule": ms_prev(lambda bar: float(bar[0]))}, {"make_schedule": ms_prev(lambda bar: 0)}),
        ),
        Mistake(
            name="last-beta-left-out",
            advice="Both ends are included: the last beta is `last` itself.",
            replaces={"linear_betas": lb_open},
        ),
        Mistake(
            name="betas-by-factors",
            advice="The betas rise by the same amount from step to step, not by the same factor.",
            replaces={"linear_betas": lb_geometric},
        ),
        Mistake(
            name="cosine-not-squared",
            advice="f is the square of the cosine.",
            replaces={"cosine_betas": cb_not_squared},
        ),
        Mistake(
            name="beta-not-limited",
            advice="The last step would take all of the signal away, and later divisions by alpha_bar would fail: no "
            "beta may be more than `largest`.",
            replaces={"cosine_betas": cb_not_limited},
        ),
        Mistake(
            name="cosine-from-the-start",
            advice="A beta is about one step: divide f(t + 1) by f(t), the time before, not by f(0).",
            replaces={"cosine_betas": cb_cumulative},
        ),
        Mistake(
            name="cosine-past-a-quarter-turn",
            advice="The share s/T + offset is divided by 1 + offset, so that the last f is cos(pi/2) squared, "
            "which is 0.",
            replaces={"cosine_betas": cb_offset_not_divided},
        ),
    ),
)

# --- noising ---------------------------------------------------------------------------------------------------------


def q_with(signal: Callable[[Array], Any], noise: Callable[[Array], Any]) -> Callable[..., Array]:
    """Noising with other weights, as functions of alpha_bar at the time."""

    def q_sample(x0: Any, t: Any, eps: Any, schedule: Tables) -> Array:
        bar = at(schedule["alpha_bar"], t, floats(x0))
        return floats(signal(bar) * floats(x0) + noise(bar) * floats(eps))

    return q_sample


def q_from(values: Callable[[Tables], Array]) -> Callable[..., Array]:
    """Noising with another array in the place of alpha_bar."""

    def q_sample(x0: Any, t: Any, eps: Any, schedule: Tables) -> Array:
        bar = at(values(schedule), t, floats(x0))
        return floats(np.sqrt(bar) * floats(x0) + np.sqrt(1 - bar) * floats(eps))

    return q_sample


def q_first_time(x0: Any, t: Any, eps: Any, schedule: Tables) -> Array:
    return right_q_sample(x0, int(np.ravel(t)[0]), eps, schedule)


def right_q_sample(x0: Any, t: Any, eps: Any, tables: Tables) -> Array:
    return ref.q_sample(x0, t, eps, schedule(tables))


def step_with(signal: Callable[[Any], Any], noise: Callable[[Any], Any]) -> Callable[..., Array]:
    """One step of noising with other weights, as functions of beta."""

    def q_step(x_prev: Any, t: int, eps: Any, schedule: Tables) -> Array:
        beta = schedule["beta"][t]
        return floats(signal(beta) * floats(x_prev) + noise(beta) * floats(eps))

    return q_step


def mn_with(weights: Callable[[Array, Array], Any]) -> Callable[..., Array]:
    """Merged noise with other weights, from beta and alpha_bar up to the last time."""

    def merge_noise(eps: Any, schedule: Tables) -> Array:
        n = len(eps)
        return floats(np.tensordot(weights(schedule["beta"][:n], schedule["alpha_bar"][:n]), floats(eps), axes=1))

    return merge_noise


def noising_case(t: Any, *shape: int, steps: int = 7, scale: float = 1.0) -> Callable[[Rng], tuple[Any, ...]]:
    return lambda rng: (scale * rng.normal(size=shape), t, rng.normal(size=shape), drawn(rng, steps))


@prop("many small steps are one large one", 3, "q_sample", "q_step", "merge_noise")
def one_go(student: Any, rng: Rng) -> None:
    table = drawn(rng, 6)
    x0 = rng.normal(size=(3, 2))
    for n in (1, 4, 6):
        eps = rng.normal(size=(n, 3, 2))
        x = x0
        for t in range(n):
            x = numbers(student.q_step(x, t, eps[t], table), (3, 2), "a noised sample")
        merged = numbers(student.merge_noise(eps, table), (3, 2), "the merged noise")
        straight = numbers(student.q_sample(x0, n - 1, merged, table), (3, 2), "a noised sample")
        same(straight, x, f"what q_sample makes with the merged noise, against q_step at the times below {n},")
        want = right_q_sample(x0, n - 1, ref.merged_noise(eps, schedule(table)), table)
        same(x, want, f"the sample after {n} times q_step")


NOISING = Exercise(
    name="noising",
    title="Into the noise",
    functions=("q_step", "q_sample", "merge_noise"),
    hints=(
        "beta and 1 - alpha_bar are variances. What does a number have to be multiplied by, so that its variance is "
        "multiplied by v?",
        "`at_time` is given: it looks up alpha_bar for each sample and shapes it so that it multiplies x0. For "
        "the merged noise, follow what n calls of q_step do to a clean sample of zeros.",
        "q_sample is sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps. Run q_step from zeros through the times 0 to n - 1: "
        "what comes out is sqrt(1 - alpha_bar[n - 1]) times the merged noise.",
    ),
    checks=(
        numeric(
            "one small step",
            3,
            "q_step",
            lambda x, t, eps, table: ref.q_step(x, t, eps, schedule(table)),
            [
                Case("three samples at time 2", noising_case(2, 3, 2)),
                Case("the first step", noising_case(0, 2, 4)),
                Case("large samples", noising_case(4, 2, 3, scale=1e6)),
            ],
        ),
        numeric(
            "straight to a time",
            5,
            "q_sample",
            right_q_sample,
            [
                Case("three samples at time 4", noising_case(4, 3, 2)),
                Case("time 0 is not clean", noising_case(0, 2, 3)),
                Case("the last time", noising_case(6, 1, 3)),
                Case("lists of whole numbers", lambda rng: ([[2, -1]], 1, [[1, 3]], tables([0.2, 0.4]))),
            ],
        ),
        numeric(
            "a time for each sample",
            4,
            "q_sample",
            right_q_sample,
            [
                Case("three samples, three times", noising_case(np.array([5, 0, 3]), 3, 2)),
                Case("as many samples as numbers in each", noising_case(np.array([1, 6, 2]), 3, 3)),
                Case("images", noising_case(np.array([4, 2]), 2, 1, 3, 2)),
            ],
        ),
        numeric(
            "many noises in one",
            4,
            "merge_noise",
            lambda eps, table: ref.merged_noise(eps, schedule(table)),
            [
                Case("five steps of seven", lambda rng: (rng.normal(size=(5, 2, 3)), drawn(rng, 7))),
                Case("all steps", lambda rng: (rng.normal(size=(4, 3)), drawn(rng, 4))),
                Case("a single step", lambda rng: (rng.normal(size=(1, 2)), drawn(rng, 3))),
            ],
        ),
        one_go,
        unchanged(
            1,
            {
                "q_sample": noising_case(3, 2, 2),
                "q_step": noising_case(3, 2, 2),
                "merge_noise": lambda rng: (rng.normal(size=(3, 2)), drawn(rng, 4)),
            },
        ),
    ),
    mistakes=(
        Mistake(
            name="noise-weight-without-root",
            advice="1 - alpha_bar is the variance of the noise: eps is multiplied by its root.",
            replaces={"q_sample": q_with(np.sqrt, lambda bar: 1 - bar)},
        ),
        Mistake(
            name="signal-weight-without-root",
            advice="The clean sample is multiplied by the root of alpha_bar.",
            replaces={"q_sample": q_with(lambda bar: bar, lambda bar: np.sqrt(1 - bar))},
        ),
        Mistake(
            name="weights-exchanged",
            advice="alpha_bar says how much of the signal is left, so its root multiplies x0, and that of 1 - "
            "alpha_bar the noise; yours are exchanged.",
            replaces={"q_sample": q_with(lambda bar: np.sqrt(1 - bar), np.sqrt)},
        ),
        Mistake(
            name="one-step-only",
            advice="alpha belongs to a single step; after all steps up to t it is alpha_bar, their product.",
            replaces={"q_sample": q_from(lambda table: table["alpha"])},
        ),
        Mistake(
            name="one-step-too-few",
            advice="At time t, t + 1 steps have been made: use alpha_bar[t], so that time 0 is not the clean sample.",
            replaces={"q_sample": q_from(lambda table: table["alpha_bar_prev"])},
        ),
        Mistake(
            name="one-time-for-all",
            advice="Each sample may have a time of its own; yours uses the first for all.",
            replaces={"q_sample": q_first_time},
        ),
        Mistake(
            name="step-without-shrinking",
            advice="A step shrinks the signal by sqrt(alpha) before it adds noise; without that the numbers grow "
            "and grow.",
            replaces={"q_step": step_with(lambda beta: 1.0, np.sqrt)},
        ),
        Mistake(
            name="beta-not-under-the-root",
            advice="beta is the variance of a step's noise: multiply eps by its root.",
            replaces={"q_step": step_with(lambda beta: np.sqrt(1 - beta), lambda beta: beta)},
        ),
        Mistake(
            name="alpha-not-under-the-root",
            advice="A step multiplies the sample by the root of alpha, so that variance is multiplied by alpha.",
            replaces={"q_step": step_with(lambda beta: 1 - beta, np.sqrt)},
        ),
        Mistake(
            name="noises-weighted-alike",
            advice="The noises have different weights: the root of each step's beta, and how much later steps "
            "shrank it.",
            replaces={"merge_noise": mn_with(lambda beta, bar: np.full(len(beta), len(beta) ** -0.5))},
            variants=({"merge_noise": mn_with(lambda beta, bar: np.full(len(beta), 1 / len(beta)))},),
        ),
        Mistake(
            name="early-noise-not-shrunk",
            advice="Every later step shrinks the noise of an earlier one along with the signal, by sqrt(alpha).",
            replaces={"merge_noise": mn_with(lambda beta, bar: np.sqrt(beta / (1 - bar[-1])))},
        ),
        Mistake(
            name="merged-noise-too-small",
            advice="Divide the sum by sqrt(1 - alpha_bar[n - 1]), so that the merged noise is standard normal again.",
            replaces={"merge_noise": mn_with(lambda beta, bar: np.sqrt(beta * bar[-1] / bar))},
        ),
    ),
)

# --- what is in it ---------------------------------------------------------------------------------------------------


def solve(combine: Callable[[Array, Array, Array], Array]) -> Callable[..., Array]:
    """`q_sample` solved for one of its parts in another way, from x_t, the known part and alpha_bar at the time."""
    return lambda x_t, t, known, table: combine(floats(x_t), floats(known), at(table["alpha_bar"], t, floats(x_t)))


def linear_model(x: Any, t: Any) -> Array:
    """Stands in for a trained network: its answer depends on every sample and on its time."""
    x = floats(x)
    times = np.asarray(t, dtype=np.float64)
    return 0.7 * x + 0.1 * times.reshape(times.shape + (1,) * (x.ndim - times.ndim if times.ndim else 0))


def loss_case(times: list[int], *shape: int) -> Callable[[Rng], tuple[Any, ...]]:
    return lambda rng: (
        Callback(linear_model, "model"),
        rng.normal(size=shape),
        np.array(times),
        rng.normal(size=shape),
        drawn(rng, 6),
    )


def right_loss(model: Callback, x0: Any, t: Any, eps: Any, table: Tables) -> tuple[float, Array]:
    return ref.noise_prediction_loss(linear_model(right_q_sample(x0, t, eps, table), t), eps)


def dl_with(
    target: Callable[..., Any] = lambda x0, x_t, eps: eps,
    seen: Callable[..., Any] = lambda x0, x_t, eps: x_t,
    times: Callable[[Array], Array] = lambda t: t,
    loss: Callable[[Array], Any] = lambda error: np.mean(error**2),
    slope: Callable[[Array], Array] = lambda error: 2 * error / error.size,
) -> Callable[..., Any]:
    """A loss that aims at another target, shows the model something else, or is another mean."""

    def denoising_loss(model: Any, x0: Any, t: Any, eps: Any, schedule: Tables) -> Any:
        parts = floats(x0), right_q_sample(x0, t, eps, schedule), floats(eps)
        error = floats(model(seen(*parts), times(np.asarray(t)))) - target(*parts)
        return loss(error), slope(error)

    return denoising_loss


def per_sample(error: Array) -> Any:
    return np.sum(error**2) / len(error)


WHAT_IS_IN_IT = Exercise(
    name="what_is_in_it",
    title="Sample or noise: know one, know the other",
    functions=("predict_x0", "predict_eps", "denoising_loss"),
    hints=(
        "x_t is a sum of two parts. If you know one, subtract it; what is left?",
        "What is left is still multiplied by its weight: divide by it. For the loss, noise first with your "
        "q_sample, then ask the model about the noised samples.",
        "predict_x0 is (x_t - sqrt(1 - alpha_bar) eps) / sqrt(alpha_bar), and predict_eps the same with the parts "
        "exchanged. With error = prediction - eps, the loss is its mean square and the gradient 2 error / error.size.",
    ),
    checks=(
        numeric(
            "the clean sample from the noise",
            4,
            "predict_x0",
            lambda x, t, eps, table: ref.predict_x0(x, t, eps, schedule(table)),
            [
                Case("three samples at time 3", noising_case(3, 3, 2)),
                Case("large samples", noising_case(2, 2, 3, scale=1e4)),
                Case("time 0", noising_case(0, 2, 3)),
                Case("a time for each sample", noising_case(np.array([6, 1, 4]), 3, 3)),
            ],
        ),
        numeric(
            "the noise from the clean sample",
            4,
            "predict_eps",
            lambda x, t, x0, table: ref.predict_eps(x, t, x0, schedule(table)),
            [
                Case("three samples at time 3", noising_case(3, 3, 2)),
                Case("time 0", noising_case(0, 2, 3)),
                Case("a time for each sample", noising_case(np.array([6, 1, 4]), 3, 3)),
            ],
        ),
        numeric(
            "the error of the predicted noise",
            3,
            "denoising_loss",
            right_loss,
            [
                Case("three samples, three times", loss_case([4, 0, 2], 3, 2)),
                Case("one sample", loss_case([5], 1, 4)),
            ],
            pick=0,
            result="the loss",
        ),
        numeric(
            "the gradient at the prediction",
            3,
            "denoising_loss",
            right_loss,
            [
                Case("three samples, three times", loss_case([4, 0, 2], 3, 2)),
                Case("images", loss_case([1, 3], 2, 1, 2, 3)),
            ],
            pick=1,
            result="the gradient",
        ),
        unchanged(
            1,
            {
                "predict_x0": noising_case(3, 2, 2),
                "predict_eps": noising_case(3, 2, 2),
                "denoising_loss": loss_case([4, 0], 2, 2),
            },
        ),
    ),
    mistakes=(
        Mistake(
            name="clean-sample-not-divided",
            advice="After the noise is taken off, sqrt(alpha_bar) x0 is left: divide by the root of alpha_bar.",
            replaces={"predict_x0": solve(lambda x, eps, bar: x - np.sqrt(1 - bar) * eps)},
        ),
        Mistake(
            name="divided-by-alpha-bar",
            advice="The weight of the clean sample is the ROOT of alpha_bar: that is what to divide by.",
            replaces={"predict_x0": solve(lambda x, eps, bar: (x - np.sqrt(1 - bar) * eps) / bar)},
        ),
        Mistake(
            name="noise-added-again",
            advice="To find the clean sample the noise is taken off; yours adds it once more.",
            replaces={"predict_x0": solve(lambda x, eps, bar: (x + np.sqrt(1 - bar) * eps) / np.sqrt(bar))},
        ),
        Mistake(
            name="noise-off-without-its-weight",
            advice="eps is in x_t with the weight sqrt(1 - alpha_bar): take off that much of it.",
            replaces={"predict_x0": solve(lambda x, eps, bar: (x - eps) / np.sqrt(bar))},
        ),
        Mistake(
            name="noise-not-divided",
            advice="After the signal is taken off, sqrt(1 - alpha_bar) eps is left: divide by that root.",
            replaces={"predict_eps": solve(lambda x, x0, bar: x - np.sqrt(bar) * x0)},
        ),
        Mistake(
            name="noise-divided-by-variance",
            advice="The weight of the noise is the ROOT of 1 - alpha_bar: that is what to divide by.",
            replaces={"predict_eps": solve(lambda x, x0, bar: (x - np.sqrt(bar) * x0) / (1 - bar))},
        ),
        Mistake(
            name="signal-off-without-its-weight",
            advice="x0 is in x_t with the weight sqrt(alpha_bar): take off that much of it.",
            replaces={"predict_eps": solve(lambda x, x0, bar: (x - x0) / np.sqrt(1 - bar))},
        ),
        Mistake(
            name="aims-at-the-clean-sample",
            advice="This model predicts the noise: compare its answer with eps, not with x0.",
            replaces={"denoising_loss": dl_with(target=lambda x0, x_t, eps: x0)},
        ),
        Mistake(
            name="model-sees-the-clean-sample",
            advice="The model gets the noised samples x_t; with x0 there is no noise to be seen.",
            replaces={"denoising_loss": dl_with(seen=lambda x0, x_t, eps: x0)},
        ),
        Mistake(
            name="model-gets-another-time",
            advice="The model gets the times t as they are, from 0 on.",
            replaces={"denoising_loss": dl_with(times=lambda t: t + 1)},
        ),
        Mistake(
            name="squared-errors-summed",
            advice="The loss is a mean over all entries, and so its gradient is divided by their number.",
            replaces={"denoising_loss": dl_with(loss=lambda e: np.sum(e**2), slope=lambda e: 2 * e)},
            variants=({"denoising_loss": dl_with(loss=per_sample, slope=lambda e: 2 * e / len(e))},),
        ),
        Mistake(
            name="two-lost-in-the-gradient",
            advice="The slope of a square brings a factor 2 down.",
            replaces={"denoising_loss": dl_with(slope=lambda e: e / e.size)},
        ),
    ),
)

# --- posterior -------------------------------------------------------------------------------------------------------


def posterior_case(t: int, *shape: int, steps: int = 7, scale: float = 1.0) -> Callable[[Rng], tuple[Any, ...]]:
    return lambda rng: (scale * rng.normal(size=shape), scale * rng.normal(size=shape), t, drawn(rng, steps))


def right_posterior(x_t: Any, x0: Any, t: int, table: Tables) -> tuple[Array, float]:
    mean, variance = ref.posterior(x_t, x0, t, schedule(table))
    return mean, float(variance.flat[0])


def po_with(
    of_x0: Callable[..., Any] = lambda b, a, bar, prev: np.sqrt(prev) * b,
    of_x_t: Callable[..., Any] = lambda b, a, bar, prev: np.sqrt(a) * (1 - prev),
    variance: Callable[..., Any] = lambda b, a, bar, prev: b * (1 - prev) / (1 - bar),
    before: Callable[[Tables, int], Any] = lambda table, t: table["alpha_bar_prev"][t],
) -> Callable[..., Any]:
    """A posterior with other weights, as functions of beta, alpha, alpha_bar and alpha_bar_prev."""

    def posterior(x_t: Any, x0: Any, t: int, schedule: Tables) -> Any:
        parts = schedule["beta"][t], schedule["alpha"][t], schedule["alpha_bar"][t], before(schedule, t)
        mean = (of_x0(*parts) * floats(x0) + of_x_t(*parts) * floats(x_t)) / (1 - parts[2])
        return mean, float(variance(*parts))

    return posterior


@prop("fits to the noising: one step back is one step less", 2, "posterior")
def consistent(student: Any, rng: Rng) -> None:
    """If x_t has the law of time t given x0, a draw from the posterior has the law of time t - 1."""
    table = drawn(rng, 6)
    for t in (1, 3, 5):
        bar, prev = table["alpha_bar"][t], table["alpha_bar_prev"][t]
        x0 = np.array([[1.0], [0.0]])
        answer = student.posterior(np.array([[np.sqrt(bar)], [1.0]]), x0, t, table)
        holds(type(answer) in (tuple, list) and len(answer) == 2, "posterior should return a tuple (mean, variance).")
        mean = numbers(answer[0], (2, 1), "the mean")
        variance = float(numbers(answer[1], (), "the variance"))
        same(mean[0, 0], np.sqrt(prev), f"the mean at time {t - 1} if x0 is 1 and x_t just where noising takes it")
        spread = mean[1, 0] ** 2 * (1 - bar) + variance
        same(spread, 1 - prev, f"the variance at time {t - 1} of what noising to time {t} and one step back gives")


POSTERIOR = Exercise(
    name="posterior",
    title="Where it came from",
    functions=("posterior",),
    hints=(
        "Every letter of the formula is a number of the schedule at the same time t.",
        "Look the four numbers up first. At t = 0, alpha_bar_prev is 1: the formula gives x0 and 0 by itself, with no "
        "special case.",
        "Write one line for the weight of x0, one for the weight of x_t and one for the variance, with the common "
        "divisor 1 - alpha_bar in each.",
    ),
    checks=(
        numeric(
            "the mean",
            4,
            "posterior",
            right_posterior,
            [
                Case("three samples at time 3", posterior_case(3, 3, 2)),
                Case("time 1", posterior_case(1, 2, 3)),
                Case("the last time", posterior_case(6, 1, 4)),
                Case("images", posterior_case(2, 2, 1, 2, 3)),
            ],
            pick=0,
            result="the mean",
        ),
        numeric(
            "the variance",
            3,
            "posterior",
            right_posterior,
            [
                Case("time 3", posterior_case(3, 3, 2)),
                Case("time 1", posterior_case(1, 2, 3)),
                Case("the last time", posterior_case(6, 1, 4)),
            ],
            pick=1,
            result="the variance",
        ),
        numeric(
            "before time 0 there is the clean sample",
            2,
            "posterior",
            right_posterior,
            [Case("time 0", posterior_case(0, 2, 3)), Case("a schedule of one step", posterior_case(0, 2, 2, steps=1))],
        ),
        consistent,
        unchanged(1, {"posterior": posterior_case(3, 2, 2)}),
    ),
    mistakes=(
        Mistake(
            name="posterior-weights-exchanged",
            advice="sqrt(alpha_bar_prev) beta goes with x0, and sqrt(alpha) (1 - alpha_bar_prev) with x_t; yours are "
            "exchanged.",
            replaces={
                "posterior": po_with(
                    of_x0=lambda b, a, bar, prev: np.sqrt(a) * (1 - prev),
                    of_x_t=lambda b, a, bar, prev: np.sqrt(prev) * b,
                )
            },
        ),
        Mistake(
            name="variance-is-beta",
            advice="beta is the variance of a step forwards. Backwards, with x0 known, it is smaller: times "
            "(1 - alpha_bar_prev) / (1 - alpha_bar).",
            replaces={"posterior": po_with(variance=lambda b, a, bar, prev: b)},
        ),
        Mistake(
            name="deviation-instead-of-variance",
            advice="The variance is asked for, not its root.",
            replaces={"posterior": po_with(variance=lambda b, a, bar, prev: np.sqrt(b * (1 - prev) / (1 - bar)))},
        ),
        Mistake(
            name="variance-upside-down",
            advice="The variance has 1 - alpha_bar_prev above the line and 1 - alpha_bar below it.",
            replaces={
                "posterior": po_with(variance=lambda b, a, bar, prev: b * (1 - bar) / (1 - prev) if prev < 1 else 0.0)
            },
        ),
        Mistake(
            name="before-zero-is-the-end",
            advice="alpha_bar[t - 1] at t = 0 is alpha_bar[-1], which in Python is the LAST entry; "
            "alpha_bar_prev has the right one.",
            replaces={"posterior": po_with(before=lambda table, t: table["alpha_bar"][t - 1])},
        ),
        Mistake(
            name="alpha-bar-of-now",
            advice="sqrt(alpha_bar_prev) and 1 - alpha_bar_prev are of one time earlier; yours are of time t.",
            replaces={"posterior": po_with(before=lambda table, t: table["alpha_bar"][t])},
        ),
        Mistake(
            name="posterior-without-roots",
            advice="The weights of x0 and x_t have a root: sqrt(alpha_bar_prev), and sqrt(alpha).",
            replaces={
                "posterior": po_with(
                    of_x0=lambda b, a, bar, prev: prev * b,
                    of_x_t=lambda b, a, bar, prev: a * (1 - prev),
                )
            },
        ),
    ),
)

# --- ancestral sampling ----------------------------------------------------------------------------------------------


def as_with(
    weight: Callable[..., Any] = lambda b, a, bar: b / np.sqrt(1 - bar),
    divisor: Callable[..., Any] = lambda b, a, bar: np.sqrt(a),
    sigma: Callable[..., Any] = lambda b, post: np.sqrt(b),
    last: int = 1,
) -> Callable[..., Array]:
    """A reverse step with other weights; noise is added at times from `last` on."""

    def ancestral_step(x_t: Any, t: int, eps: Any, noise: Any, schedule: Tables) -> Array:
        b, a, bar = schedule["beta"][t], schedule["alpha"][t], schedule["alpha_bar"][t]
        mean = (floats(x_t) - weight(b, a, bar) * floats(eps)) / divisor(b, a, bar)
        post = b * (1 - schedule["alpha_bar_prev"][t]) / (1 - bar)
        return floats(mean + (sigma(b, post) * floats(noise) if t >= last else 0.0))

    return ancestral_step


def right_ancestral(model: Any, shape: Any, table: Tables, rng: Rng) -> Array:
    return ref.sample_ancestral(linear_model, tuple(shape), schedule(table), rng)


def sa_with(
    times: Callable[[int], Any] = lambda n: range(n - 1, -1, -1),
    told: Callable[[int], int] = lambda t: t,
    start: Callable[..., Any] = lambda rng, shape: rng.standard_normal(shape),
    fresh: bool = True,
) -> Callable[..., Array]:
    """A sampler that visits other times, tells the model another one, or draws in another way."""

    def sample_ancestral(model: Any, shape: Any, schedule_: Tables, rng: Rng) -> Array:
        shape = tuple(shape)
        x = floats(start(rng, shape))
        once = None if fresh else rng.standard_normal(shape)
        for t in times(len(schedule_["beta"])):
            noise = np.zeros(shape) if t == 0 else rng.standard_normal(shape) if once is None else once
            x = ref.ancestral_step(x, t, floats(model(x, told(t))), noise, schedule(schedule_))
        return x

    return sample_ancestral


def sampler_case(steps: int, *shape: int) -> Callable[[Rng], tuple[Any, ...]]:
    return lambda rng: (
        Callback(linear_model, "model"),
        shape,
        drawn(rng, steps),
        np.random.default_rng(int(rng.integers(1 << 62))),
    )


def reverse_case(t: int, *shape: int, steps: int = 7) -> Callable[[Rng], tuple[Any, ...]]:
    return lambda rng: (rng.normal(size=shape), t, rng.normal(size=shape), rng.normal(size=shape), drawn(rng, steps))


def two_modes(weight: float) -> ref.GaussianMixture:
    return ref.gaussian_mixture([weight, 1 - weight], [[-2.0], [2.0]], [0.09, 0.09])


def oracle(mixture: ref.GaussianMixture, table: Tables) -> Callback:
    """The exact noise of the mixture; an answer that is no column of numbers is refused in words."""

    def model(x: Any, t: Any) -> Array:
        x = floats(x)
        if x.ndim != 2 or x.shape[1] != 1:
            raise ValueError(f"the model takes samples of shape (B, 1), not {x.shape}")
        if np.ndim(t):
            raise ValueError(f"the model takes one whole number as t, not an array of shape {np.shape(t)}")
        return ref.exact_eps(x, int(t), mixture, schedule(table))

    return Callback(model, "model")


MODE_SAMPLES = 400
# Of 300,000 samples of the reference with weights (0.3, 0.7) a share of 0.7025 is above 0, and 0.998 are within 1 of -2
# or 2 (both +- 0.003). By Hoeffding each of the two shares among 400 strays by 0.18 or more, to either side, with
# probability at most 2 exp(-2 * 400 * 0.18^2) = 1.1e-11, and the limits below (0.5, 0.9, and 0.8) lie farther away.
MODES_MISS = 2 * 2 * float(np.exp(-2 * MODE_SAMPLES * 0.18**2))


@statistical("finds both modes of the data, and how often each comes", 3, "sample_ancestral", false_alarm=MODES_MISS)
def modes(student: Any, rng: Rng) -> None:
    table = tables(ref.linear_betas(60, 1e-3, 0.25))
    generator = np.random.default_rng(int(rng.integers(1 << 62)))
    model = oracle(two_modes(0.3), table)
    with case_of("data around -2 (30 of 100) and 2 (70 of 100), with the best possible model"):
        x = numbers(student.sample_ancestral(model, (MODE_SAMPLES, 1), table, generator), (MODE_SAMPLES, 1))[:, 0]
        near = float(np.mean(np.abs(np.abs(x) - 2) < 1))
        share = float(np.mean(x > 0))
        holds(near > 0.8, "nearly all samples should be near -2 or 2.", f"Of yours, {100 * near:.0f} of 100 are.")
        holds(
            0.5 < share < 0.9,
            "about 70 of 100 samples should be positive, as the data are.",
            f"Of yours, {100 * share:.0f} of 100 are.",
        )


ANCESTRAL = Exercise(
    name="ancestral_sampling",
    title="Back, step by step",
    functions=("ancestral_step", "sample_ancestral"),
    hints=(
        "Which number of the schedule belongs to one step, and which to all of them? The formula has both.",
        "The last step of sampling is the one at time 0, and it adds no noise. The sampler walks the times "
        "downwards and asks the model anew at each.",
        "In the sampler: x from rng.standard_normal(shape); for t from T - 1 down to 0, draw noise if t > 0, and put "
        "ancestral_step(x, t, model(x, t), noise, schedule) in the place of x.",
    ),
    checks=(
        numeric(
            "one step back",
            5,
            "ancestral_step",
            lambda x, t, eps, noise, table: ref.ancestral_step(x, t, eps, noise, schedule(table)),
            [
                Case("three samples at time 4", reverse_case(4, 3, 2)),
                Case("time 1 still has noise", reverse_case(1, 2, 3)),
                Case("the noisiest time", reverse_case(6, 1, 4)),
            ],
        ),
        numeric(
            "no noise in the last step",
            3,
            "ancestral_step",
            lambda x, t, eps, noise, table: ref.ancestral_step(x, t, eps, noise, schedule(table)),
            [Case("time 0", reverse_case(0, 3, 2)), Case("a schedule of one step", reverse_case(0, 2, 2, steps=1))],
        ),
        numeric(
            "all steps, drawn as the docstring says",
            5,
            "sample_ancestral",
            right_ancestral,
            [
                Case("five steps", sampler_case(5, 3, 2)),
                Case("two steps", sampler_case(2, 1, 3)),
                Case("one step", sampler_case(1, 2, 2)),
            ],
            result="the batch of samples",
        ),
        modes,
        unchanged(1, {"ancestral_step": reverse_case(3, 2, 2), "sample_ancestral": sampler_case(3, 2, 2)}),
    ),
    mistakes=(
        Mistake(
            name="noise-in-the-last-step",
            advice="The step at time 0 adds no noise: it would stay in the finished sample.",
            replaces={"ancestral_step": as_with(last=0)},
        ),
        Mistake(
            name="noise-missing-at-time-one",
            advice="Only the step at time 0 goes without noise; the one at time 1 has it.",
            replaces={"ancestral_step": as_with(last=2)},
        ),
        Mistake(
            name="undoes-all-steps-at-once",
            advice="One step is undone: divide by the root of alpha, not of alpha_bar.",
            replaces={"ancestral_step": as_with(divisor=lambda b, a, bar: np.sqrt(bar))},
        ),
        Mistake(
            name="beta-as-deviation",
            advice="beta is the variance of the noise that is added: multiply by its root.",
            replaces={"ancestral_step": as_with(sigma=lambda b, post: b)},
        ),
        Mistake(
            name="posterior-variance-added",
            advice="Here the variance of the added noise is beta itself, not that of the posterior.",
            replaces={"ancestral_step": as_with(sigma=lambda b, post: np.sqrt(post))},
        ),
        Mistake(
            name="predicted-noise-added",
            advice="The predicted noise is taken off, so it has a minus sign.",
            replaces={"ancestral_step": as_with(weight=lambda b, a, bar: -b / np.sqrt(1 - bar))},
        ),
        Mistake(
            name="all-the-noise-off-at-once",
            advice="Only one step's share of the noise comes off: beta / sqrt(1 - alpha_bar) times eps.",
            replaces={"ancestral_step": as_with(weight=lambda b, a, bar: np.sqrt(1 - bar))},
        ),
        Mistake(
            name="variance-under-the-line",
            advice="beta is divided by the ROOT of 1 - alpha_bar.",
            replaces={"ancestral_step": as_with(weight=lambda b, a, bar: b / (1 - bar))},
        ),
        Mistake(
            name="sampling-forwards-in-time",
            advice="Sampling starts at the noisiest time, T - 1, and goes down to 0.",
            replaces={"sample_ancestral": sa_with(times=range)},
        ),
        Mistake(
            name="stops-before-time-zero",
            advice="The step at time 0 is missing: your samples are still a little noisy.",
            replaces={"sample_ancestral": sa_with(times=lambda n: range(n - 1, 0, -1))},
        ),
        Mistake(
            name="times-told-from-one",
            advice="The model is told the time t as it is, from T - 1 down to 0.",
            replaces={"sample_ancestral": sa_with(told=lambda t: t + 1)},
        ),
        Mistake(
            name="same-noise-in-every-step",
            advice="Every step needs fresh noise; yours adds the same again and again.",
            replaces={"sample_ancestral": sa_with(fresh=False)},
        ),
        Mistake(
            name="starts-from-zeros",
            advice="Sampling begins with rng.standard_normal(shape), pure noise, not with zeros.",
            replaces={"sample_ancestral": sa_with(start=lambda rng, shape: np.zeros(shape))},
        ),
    ),
)

# --- the best prediction ---------------------------------------------------------------------------------------------


def right_mixture_eps(x: Any, t: int, weights: Any, means: Any, variances: Any, table: Tables) -> Array:
    return ref.exact_eps(x, t, ref.gaussian_mixture(weights, means, variances), schedule(table))


def mixture_case(t: int, n: int, k: int, d: int, scale: float = 1.0) -> Callable[[Rng], tuple[Any, ...]]:
    return lambda rng: (
        scale * rng.normal(size=(n, d)),
        t,
        rng.dirichlet(np.full(k, 3.0)),
        2 * rng.normal(size=(k, d)),
        rng.uniform(0.1, 2.0, size=k),
        drawn(rng, 6),
    )


def rare_case(rng: Rng) -> tuple[Any, ...]:
    """Two components far apart, one of them nearly without weight, and points from one to the other."""
    line = np.linspace(-2.0, 0.0, 30)[:, None] + 0.01 * rng.normal(size=(30, 1))
    return line, 0, [1e-13, 1 - 1e-13], [[-2.0], [2.0]], [0.2, 0.2], tables([0.1, 0.3])


def me_with(
    mean_weight: Callable[[Any], Any] = np.sqrt,
    variance: Callable[..., Any] = lambda bar, v: bar * v + 1 - bar,
    share: Callable[..., Any] = lambda w, log_density: w * np.exp(log_density),
    factor: Callable[[Any], Any] = lambda bar: np.sqrt(1 - bar),
    dimensions: Callable[[int], int] = lambda d: d,
) -> Callable[..., Array]:
    """A prediction from another mixture at time t, other shares of the components, or another factor."""

    def mixture_eps(x_t: Any, t: int, weights: Any, means: Any, variances: Any, schedule: Tables) -> Array:
        x, bar = floats(x_t), schedule["alpha_bar"][t]
        away = x[:, None, :] - mean_weight(bar) * floats(means)
        v = variance(bar, floats(variances))
        log_density = -0.5 * (away**2).sum(axis=2) / v - 0.5 * dimensions(x.shape[1]) * np.log(2 * np.pi * v)
        parts = share(floats(weights), log_density)
        r = parts / parts.sum(axis=1, keepdims=True)
        return floats(factor(bar) * ((r / v)[:, :, None] * away).sum(axis=1))

    return mixture_eps


def stable(w: Array, log_density: Array) -> Array:
    return floats(w * np.exp(log_density - log_density.max(axis=1, keepdims=True)))


BEST_PREDICTION = Exercise(
    name="best_prediction",
    title="The best noise predictor there can be",
    functions=("mixture_eps",),
    hints=(
        "Which component does a sample come from? You cannot know, but you can say how likely each one is.",
        "Make an array (B, K, D) of all x - m_k by putting a new axis into x_t. From its squares come the log "
        "densities (B, K), and a softmax of log weights + log densities gives the r_k.",
        "Subtract each row's largest log value before np.exp. Then r / v has the shape (B, K); give it a last axis, "
        "multiply by x - m_k, sum over the components, and multiply by sqrt(1 - alpha_bar).",
    ),
    checks=(
        numeric(
            "several components",
            6,
            "mixture_eps",
            right_mixture_eps,
            [
                Case("five points, three components, two directions", mixture_case(3, 5, 3, 2)),
                Case("two components on a line", mixture_case(1, 4, 2, 1)),
                Case("as many components as directions and points", mixture_case(2, 3, 3, 3)),
                Case("time 0", mixture_case(0, 2, 2, 3)),
                Case("a component that is hardly ever met", rare_case),
            ],
        ),
        numeric(
            "a single Gaussian",
            2,
            "mixture_eps",
            right_mixture_eps,
            [Case("one component", mixture_case(4, 3, 1, 2)), Case("one point", mixture_case(2, 1, 1, 1))],
        ),
        numeric(
            "far away from all components",
            2,
            "mixture_eps",
            right_mixture_eps,
            [Case("points a thousand away", mixture_case(1, 4, 3, 2, scale=1000.0))],
        ),
        unchanged(1, {"mixture_eps": mixture_case(1, 3, 2, 2)}),
    ),
    mistakes=(
        Mistake(
            name="densities-vanish",
            advice="Far away every density is 0 in floating point, and 0 / 0 is no number: work with logarithms and "
            "subtract the largest before np.exp.",
            replaces={"mixture_eps": me_with()},
        ),
        Mistake(
            name="means-not-noised",
            advice="At time t the means have shrunk by sqrt(alpha_bar), like the samples.",
            replaces={"mixture_eps": me_with(mean_weight=lambda bar: 1.0, share=stable)},
            variants=({"mixture_eps": me_with(mean_weight=lambda bar: bar, share=stable)},),
        ),
        Mistake(
            name="variances-not-noised",
            advice="At time t the variance of a component is alpha_bar times its own plus that of the noise, "
            "1 - alpha_bar.",
            replaces={"mixture_eps": me_with(variance=lambda bar, v: v, share=stable)},
            variants=({"mixture_eps": me_with(variance=lambda bar, v: bar * v, share=stable)},),
        ),
        Mistake(
            name="only-the-weights",
            advice="How likely a component is depends on where the sample lies: weight times density.",
            replaces={"mixture_eps": me_with(share=lambda w, log_density: w * np.ones_like(log_density))},
        ),
        Mistake(
            name="weights-forgotten",
            advice="A frequent component is more likely from the start: multiply its density by its weight.",
            replaces={"mixture_eps": me_with(share=lambda w, log_density: stable(np.ones_like(w), log_density))},
        ),
        Mistake(
            name="density-of-one-direction",
            advice="In D directions the density is divided by (2 pi v)^(D/2); yours is divided by the root of 2 "
            "pi v only.",
            replaces={"mixture_eps": me_with(share=stable, dimensions=lambda d: 1)},
        ),
        Mistake(
            name="density-without-its-height",
            advice="A narrow component is higher: the factor (2 pi v)^(-D/2) does not cancel when the variances "
            "differ.",
            replaces={"mixture_eps": me_with(share=stable, dimensions=lambda d: 0)},
        ),
        Mistake(
            name="slope-towards-the-data",
            advice="This is the way back to the data; the noise points the other way: x - m_k, not m_k - x.",
            replaces={"mixture_eps": me_with(share=stable, factor=lambda bar: -np.sqrt(1 - bar))},
        ),
        Mistake(
            name="not-scaled-to-noise",
            advice="The sum over the components is multiplied by sqrt(1 - alpha_bar).",
            replaces={"mixture_eps": me_with(share=stable, factor=lambda bar: 1.0)},
            variants=({"mixture_eps": me_with(share=stable, factor=lambda bar: 1 - bar)},),
        ),
    ),
)

# --- DDIM ------------------------------------------------------------------------------------------------------------


def right_ddim(x_t: Any, t: int, t_prev: int, eps: Any, table: Tables) -> Array:
    return ref.ddim_step(x_t, t, t_prev, eps, schedule(table))


def dd_with(
    before: Callable[..., Any] = lambda bar, t, t_prev: bar[t_prev] if t_prev >= 0 else 1.0,
    signal: Callable[[Any], Any] = np.sqrt,
    noise: Callable[..., Any] = lambda a, now: np.sqrt(1 - a),
) -> Callable[..., Array]:
    """A DDIM step to another time, or with other weights."""

    def ddim_step(x_t: Any, t: int, t_prev: int, eps: Any, schedule_: Tables) -> Array:
        bar = schedule_["alpha_bar"]
        a = before(bar, t, t_prev)
        x0 = ref.predict_x0(x_t, t, eps, schedule(schedule_))
        return floats(signal(a) * x0 + noise(a, bar[t]) * floats(eps))

    return ddim_step


def sd_with(
    visited: Callable[[list[int]], list[int]] = lambda times: [*times, -1], fresh: bool = True
) -> Callable[..., Array]:
    """A DDIM sampler through other times, or that asks its model only once."""

    def sample_ddim(model: Any, x_last: Any, times: Any, schedule: Tables) -> Array:
        x, path = floats(x_last), visited([int(t) for t in times])
        eps = None
        for t, t_prev in itertools.pairwise(path):
            eps = floats(model(x, t)) if fresh or eps is None else eps
            x = right_ddim(x, t, t_prev, eps, schedule)
        return x

    return sample_ddim


def jump_case(t: int, t_prev: int, *shape: int) -> Callable[[Rng], tuple[Any, ...]]:
    return lambda rng: (rng.normal(size=shape), t, t_prev, rng.normal(size=shape), drawn(rng, 8))


def path_case(times: list[int], *shape: int) -> Callable[[Rng], tuple[Any, ...]]:
    return lambda rng: (Callback(linear_model, "model"), rng.normal(size=shape), times, drawn(rng, 8))


def right_path(model: Any, x_last: Any, times: list[int], table: Tables) -> Array:
    return ref.sample_ddim(linear_model, x_last, schedule(table), times)


@prop("who knows the noise needs no small steps", 2, "sample_ddim")
def straight(student: Any, rng: Rng) -> None:
    table, x0 = drawn(rng, 8), rng.normal(size=(3, 2))
    asked: list[int] = []

    def model(x: Any, t: Any) -> Array:
        if np.ndim(t):
            raise ValueError(f"the model takes one whole number as t, not an array of shape {np.shape(t)}")
        asked.append(int(t))
        return ref.predict_eps(x, int(t), x0, schedule(table))

    for times in ([7, 6, 5, 4, 3, 2, 1, 0], [7, 3], [5]):
        x = right_q_sample(x0, times[0], rng.normal(size=(3, 2)), table)
        asked.clear()
        answer = student.sample_ddim(Callback(model, "model"), x, times, table)
        same(answer, x0, f"with a model that knows the noise, the clean sample reached through {times}")
        holds(asked == times, f"the model should be asked once at each of the times {times}.", f"Yours: {asked}.")


DDIM = Exercise(
    name="ddim",
    title="Back in a few leaps",
    functions=("ddim_step", "sample_ddim"),
    hints=(
        "If you knew the clean sample and the noise, how would you make the sample at any other time?",
        "That is q_sample, with the predicted clean sample and the predicted noise, at t_prev. For the clean sample, "
        "t_prev = -1, alpha_bar is 1; Python's index -1 would look up the last entry.",
        "The sampler pairs each of the times with the next one, and the last with -1: zip(times, [*times[1:], "
        "-1]). The model is asked at each of them with the current x.",
    ),
    checks=(
        numeric(
            "a leap to an earlier time",
            4,
            "ddim_step",
            right_ddim,
            [
                Case("a leap from 5 to 4", jump_case(5, 4, 3, 2)),
                Case("a leap from 7 to 2", jump_case(7, 2, 2, 3)),
                Case("a leap from 1 to 0", jump_case(1, 0, 1, 2)),
            ],
        ),
        numeric(
            "to the clean sample",
            3,
            "ddim_step",
            right_ddim,
            [Case("a leap from 0", jump_case(0, -1, 3, 2)), Case("a leap all the way from 7", jump_case(7, -1, 2, 2))],
        ),
        numeric(
            "through a list of times",
            3,
            "sample_ddim",
            right_path,
            [
                Case("every time", path_case([7, 6, 5, 4, 3, 2, 1, 0], 3, 2)),
                Case("a few of them", path_case([6, 4, 1], 2, 3)),
                Case("a single one", path_case([5], 2, 2)),
            ],
            result="the batch of samples",
        ),
        straight,
        unchanged(1, {"ddim_step": jump_case(5, 2, 2, 2), "sample_ddim": path_case([6, 4, 1], 2, 2)}),
    ),
    mistakes=(
        Mistake(
            name="clean-is-the-noisiest",
            advice="alpha_bar[-1] is the last entry, the noisiest time; for t_prev = -1, alpha_bar is 1.",
            replaces={"ddim_step": dd_with(before=lambda bar, t, t_prev: bar[t_prev])},
        ),
        Mistake(
            name="always-one-step-back",
            advice="The leap goes to t_prev, which may be far below t - 1.",
            replaces={"ddim_step": dd_with(before=lambda bar, t, t_prev: bar[t - 1] if t else 1.0)},
        ),
        Mistake(
            name="noise-not-put-back",
            advice="At t_prev the sample is still noisy: the predicted noise goes back in, with sqrt(1 - "
            "alpha_bar) there.",
            replaces={"ddim_step": dd_with(noise=lambda a, now: 0.0)},
        ),
        Mistake(
            name="as-much-noise-as-before",
            advice="The noise that goes back in is that of t_prev, less than at t.",
            replaces={"ddim_step": dd_with(noise=lambda a, now: np.sqrt(1 - now))},
        ),
        Mistake(
            name="returns-the-clean-sample",
            advice="The predicted clean sample is only the middle of the step: shrink it and noise it for t_prev.",
            replaces={"ddim_step": dd_with(signal=lambda a: 1.0, noise=lambda a, now: 0.0)},
        ),
        Mistake(
            name="leap-without-roots",
            advice="Both weights are roots: sqrt(alpha_bar) and sqrt(1 - alpha_bar), at t_prev.",
            replaces={"ddim_step": dd_with(signal=lambda a: a, noise=lambda a, now: 1 - a)},
        ),
        Mistake(
            name="ends-at-the-last-time",
            advice="From the last of the times one more step leads to the clean sample, t_prev = -1.",
            replaces={"sample_ddim": sd_with(visited=lambda times: times)},
        ),
        Mistake(
            name="visits-every-time",
            advice="Visit the times that are listed, and no others: the point of DDIM is to skip most.",
            replaces={"sample_ddim": sd_with(visited=lambda times: list(range(times[0], -2, -1)))},
        ),
        Mistake(
            name="model-asked-once",
            advice="Ask the model again at every time: its view of the noise gets better as the sample gets clearer.",
            replaces={"sample_ddim": sd_with(fresh=False)},
        ),
    ),
)


def draw_picture(student: Any, figure: Any) -> None:
    """What the schedules leave of the signal, paths of samples backwards, and the samples against the data."""
    left, middle, right = figure.subplots(1, 3)
    for steps in (100, 200, 1000):
        table = student.make_schedule(student.linear_betas(steps))
        left.plot(np.linspace(0, 1, steps), np.sqrt(table["alpha_bar"]), label=f"linear, T = {steps}")
    table = student.make_schedule(student.cosine_betas(200))
    left.plot(np.linspace(0, 1, 200), np.sqrt(table["alpha_bar"]), "k--", label="cosine, T = 200")
    left.set_xlabel("share of the steps")
    left.set_ylabel("sqrt(alpha_bar): signal that is left")
    left.set_title("Too few steps leave signal")
    left.legend(frameon=False, fontsize=8)
    table = student.make_schedule(student.linear_betas(100, 1e-3, 0.15))
    weights, means, variances = [0.3, 0.7], [[-2.0], [2.0]], [0.09, 0.09]
    seen: list[Array] = []

    def model(x: Any, t: Any) -> Any:
        seen.append(np.array(x, dtype=np.float64)[:40, 0])
        return student.mixture_eps(x, int(t), weights, means, variances, table)

    # The paths come from single steps; the samplers themselves run in the student's process.
    rng = np.random.default_rng(327)
    x = rng.standard_normal((1500, 1))
    for t in range(99, -1, -1):
        x = np.asarray(student.ancestral_step(x, t, model(x, t), rng.standard_normal(x.shape), table))
    seen.append(x[:40, 0])
    middle.plot(np.arange(99, -2, -1), np.array(seen), lw=0.6, alpha=0.7)
    middle.invert_xaxis()
    middle.set_xlabel("time t (-1: finished)")
    middle.set_ylabel("x")
    middle.set_title("From noise to data: 40 samples")
    bins = np.linspace(-3.5, 3.5, 50)
    right.hist(x[:, 0], bins=bins, density=True, alpha=0.5, label="ancestral, 100 steps")
    leaps = list(range(99, -1, -9))
    z = rng.standard_normal((1500, 1))
    for t, t_prev in zip(leaps, [*leaps[1:], -1], strict=True):
        z = np.asarray(student.ddim_step(z, t, t_prev, model(z, t), table))
    right.hist(z[:, 0], bins=bins, density=True, histtype="step", color="C3", label=f"DDIM, {len(leaps)} steps")
    grid = np.linspace(-3.5, 3.5, 300)
    density = np.exp(ref.mixture_log_density(grid[:, None], two_modes(0.3)))
    right.plot(grid, density, "k", lw=1, label="the data")
    right.set_xlabel("x")
    right.set_ylabel("density")
    right.set_title("Samples against the data")
    right.legend(frameon=False, fontsize=8, loc="upper left")


CHAPTER = Chapter(
    id="ch327",
    slug="diffusion",
    title="Diffusion Models Intuition",
    part="Advanced models",
    summary="Noise the data step by step, and sample by undoing it: DDPM and DDIM with an exact noise predictor.",
    builds_on=("ch305", "ch325"),
    exercises=(SCHEDULE, NOISING, WHAT_IS_IN_IT, POSTERIOR, ANCESTRAL, BEST_PREDICTION, DDIM),
    picture=Picture(title="Out of the noise", draw=draw_picture),
)
