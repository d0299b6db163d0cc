"""Checks of chapter 313: seven schedules with their corners, and gradient descent that follows one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from dlreference import schedules as ref

from dlgrade.course.compare import below, holds, items, numbers, same
from dlgrade.course.kinds import Case, Rng, case_of, numeric, prop, unchanged
from dlgrade.course.spec import Chapter, Check, Exercise, Mistake, Picture
from dlgrade.sandbox.protocol import Callback

Array = np.ndarray[Any, Any]
Schedule = Callable[..., Any]
Draw = Callable[[Rng], tuple[Any, ...]]

RIGHT: dict[str, Schedule] = {
    "step_decay": ref.step_decay,
    "exponential_decay": ref.exponential_decay,
    "cosine_annealing": ref.cosine_annealing,
    "warmup_cosine": ref.warmup_cosine,
    "transformer_schedule": ref.transformer,
    "one_cycle": ref.one_cycle,
    "warm_restarts": ref.warm_restarts,
}

# --- checks and tools that all schedules share -----------------------------------------------------------------------


def floats(t: Any) -> Array:
    return np.asarray(t, dtype=np.float64)


def every(last: int, first: int = 0) -> Array:
    """All steps up to and including `last`."""
    return np.arange(first, last + 1)


def run(t: Any, *options: Any) -> Draw:
    """Draws a first rate between 0.2 and 1; `t` are the steps."""
    return lambda rng: (t, float(rng.uniform(0.2, 1.0)), *options)


def rates(name: str, points: int, function: str, cases: Sequence[Case]) -> Check:
    return numeric(name, points, function, RIGHT[function], cases, result="the rate")


def shapes(points: int, function: str, *options: Any, first: int = 0) -> Check:
    """A number for a number, and the shape of any array, whatever the order of its entries."""

    def table(rng: Rng) -> tuple[Any, ...]:
        return (rng.permutation(24).reshape(4, 6) + first, float(rng.uniform(0.2, 1.0)), *options)

    def listed(rng: Rng) -> tuple[Any, ...]:
        return ([9, 2 + first, 17], float(rng.uniform(0.2, 1.0)), *options)

    cases = [
        Case("a single step, as a number", run(5, *options)),
        Case("an early step, as a number", run(first, *options)),
        Case("a table of steps in any order", table),
        Case("a list of steps", listed),
    ]
    return rates("a number, a list, a table of steps", points, function, cases)


def left_alone(function: str, *options: Any) -> Check:
    return unchanged(1, {function: run(every(6, first=1), *options)})


def joined(early: Any, here: Any, late: Any) -> Any:
    """`early` where `here`, `late` elsewhere; a number for a number."""
    return np.where(here, early, late)[()]


def mistake(name: str, advice: str, function: str, wrong: Schedule, *variants: Schedule) -> Mistake:
    return Mistake(
        name=name, advice=advice, replaces={function: wrong}, variants=tuple({function: v} for v in variants)
    )


# --- stairs and slides -----------------------------------------------------------------------------------------------


def step_with(periods: Callable[[Array, int], Any]) -> Schedule:
    """Step decay with another count of periods."""
    return lambda t, lr0, drop, every: lr0 * drop ** periods(floats(t), every)


def step_compounded(t: Any, lr0: float, drop: float, every: int) -> Any:
    return lr0 * np.cumprod(drop ** np.floor(np.ravel(floats(t)) / every)).reshape(np.shape(t))


STEP = Exercise(
    name="step_decay",
    title="Step decay",
    functions=("step_decay",),
    hints=(
        "How often has the rate been multiplied by drop before step t?",
        "Count the whole periods that are over: t divided by every, without the remainder.",
        "// divides and drops the remainder, for arrays as well. The rate is lr0 times drop to that power.",
    ),
    checks=(
        rates(
            "stairs",
            5,
            "step_decay",
            [
                Case("half the rate every 7 steps", run(every(30), 0.5, 7)),
                Case("a tenth of the rate every 10 steps", run(every(45), 0.1, 10)),
            ],
        ),
        rates(
            "the drop comes with the first step of a new period",
            2,
            "step_decay",
            [
                Case("the steps around each drop", run([3, 4, 5, 7, 8, 9, 11, 12], 0.3, 4)),
                Case("a drop after every step", run(every(5), 0.8, 1)),
                Case("stairs of two and a half steps", run(every(11), 0.6, 2.5)),
            ],
        ),
        shapes(2, "step_decay", 0.5, 6),
        left_alone("step_decay", 0.5, 2),
    ),
    mistakes=(
        mistake(
            "decay-in-every-step",
            "Only whole periods count: t // every. A plain division lets the rate slide down instead of stepping.",
            "step_decay",
            step_with(lambda t, every: t / every),
        ),
        mistake(
            "periods-rounded",
            "Rounding makes the drop come half a period early; a period counts when it is over.",
            "step_decay",
            step_with(lambda t, every: np.round(t / every)),
        ),
        mistake(
            "drop-one-step-early",
            "Steps count from 0: the first drop is at t = every, not one step before.",
            "step_decay",
            step_with(lambda t, every: (t + 1) // every),
        ),
        mistake(
            "drop-one-step-late",
            "The step t = every is the first with the lower rate; yours still has the higher one there.",
            "step_decay",
            step_with(lambda t, every: np.maximum(np.ceil(t / every) - 1, 0)),
        ),
        mistake(
            "drop-as-share-lost",
            "`drop` is what the rate is multiplied by, not the share that it loses.",
            "step_decay",
            lambda t, lr0, drop, every: ref.step_decay(t, lr0, 1 - drop, every),
        ),
        mistake(
            "drops-compounded",
            "The rates of the array were multiplied up, so a drop applies again to a rate that was reduced already: "
            "each rate is lr0 times drop to the power of its own periods.",
            "step_decay",
            step_compounded,
        ),
        mistake(
            "drops-once-only",
            "The rate drops after each period, not only after the first.",
            "step_decay",
            step_with(lambda t, every: np.minimum(t // every, 1)),
        ),
    ),
)

EXPONENTIAL = Exercise(
    name="exponential_decay",
    title="Exponential decay",
    functions=("exponential_decay",),
    hints=(
        "Is k a rate of decay or a factor? Read the formula once more.",
        "np.exp works on arrays. Which sign makes the rate fall?",
        "The rate is lr0 times np.exp of minus k times t.",
    ),
    checks=(
        rates(
            "the slide",
            5,
            "exponential_decay",
            [
                Case("k = 0.05", run(every(30), 0.05)),
                Case("k = 0.7, where most of the rate is lost in a few steps", run(every(12), 0.7)),
                Case("k above 1", run(every(4), 1.5)),
                Case("far along, where next to nothing is left", run([150, 400, 4000], 0.05)),
            ],
        ),
        shapes(2, "exponential_decay", 0.1),
        left_alone("exponential_decay", 0.1),
    ),
    mistakes=(
        mistake(
            "decay-grows",
            "exp(k t) grows without end: the exponent is -k t.",
            "exponential_decay",
            lambda t, lr0, k: lr0 * np.exp(k * floats(t)),
        ),
        mistake(
            "k-as-factor",
            "k is no factor: in one step the rate is multiplied by exp(-k), not by k.",
            "exponential_decay",
            lambda t, lr0, k: lr0 * k ** floats(t),
        ),
        mistake(
            "one-minus-k",
            "1 - k is close to exp(-k) for small k only; the formula has the exponential.",
            "exponential_decay",
            lambda t, lr0, k: lr0 * np.sign(1 - k) ** floats(t) * np.abs(1 - k) ** floats(t),
        ),
        mistake(
            "k-divides",
            "The exponent is k times t; yours divides by k, as if k were a time.",
            "exponential_decay",
            lambda t, lr0, k: lr0 * np.exp(-floats(t) / k),
        ),
        mistake(
            "decay-by-power-of-two",
            "The base is e, np.exp, not 2.",
            "exponential_decay",
            lambda t, lr0, k: lr0 * 2.0 ** (-k * floats(t)),
        ),
        mistake(
            "decay-by-division",
            "lr0 / (1 + k t) is another schedule, which decays more and more slowly.",
            "exponential_decay",
            lambda t, lr0, k: lr0 / (1 + k * floats(t)),
        ),
    ),
)

# --- cosine annealing ------------------------------------------------------------------------------------------------


def cosine_with(
    angle: Callable[[Array, float], Any] = lambda t, T: np.pi * np.minimum(t / T, 1.0),
    rate: Callable[[Any, float, float], Any] = lambda c, lr0, low: low + (lr0 - low) * (1 + c) / 2,
) -> Schedule:
    """Cosine annealing with another angle, or another use of its cosine."""
    return lambda t, lr0, T_max, lr_min=0.0: rate(np.cos(angle(floats(t), T_max)), lr0, lr_min)


def cosine_drops_to_zero(t: Any, lr0: float, T_max: float, lr_min: float = 0.0) -> Any:
    return joined(ref.cosine_annealing(t, lr0, T_max, lr_min), floats(t) <= T_max, 0.0)


def cosine_straight(t: Any, lr0: float, T_max: float, lr_min: float = 0.0) -> Any:
    return lr0 + (lr_min - lr0) * np.minimum(floats(t) / T_max, 1.0)


cosine_not_clamped = cosine_with(lambda t, T: np.pi * t / T)
cosine_without_pi = cosine_with(lambda t, T: np.minimum(t / T, 1.0))
cosine_in_degrees = cosine_with(lambda t, T: 180 * np.minimum(t / T, 1.0))
cosine_whole_wave = cosine_with(lambda t, T: 2 * np.pi * np.minimum(t / T, 1.0))
cosine_ends_early = cosine_with(lambda t, T: np.pi * np.minimum(t / (T - 1), 1.0))
cosine_floor_added = cosine_with(rate=lambda c, lr0, low: low + lr0 * (1 + c) / 2)
cosine_floor_ignored = cosine_with(rate=lambda c, lr0, low: lr0 * (1 + c) / 2)
cosine_floor_as_maximum = cosine_with(rate=lambda c, lr0, low: np.maximum(low, lr0 * (1 + c) / 2))
cosine_not_halved = cosine_with(rate=lambda c, lr0, low: low + (lr0 - low) * (1 + c))
cosine_upside_down = cosine_with(rate=lambda c, lr0, low: low + (lr0 - low) * (1 - c) / 2)


@prop("it never climbs", 2, "cosine_annealing")
def never_climbs(student: Any, rng: Rng) -> None:
    lr0 = float(rng.uniform(0.5, 1.0))
    got = numbers(student.cosine_annealing(every(60), lr0, 20, 0.1), (61,), "the rates")
    with case_of("every step from 0 to 60, T_max = 20", student.transcript[-1][0]):
        climb = float(np.max(np.diff(got)))
        below(
            max(climb, 0.0),
            1e-12,
            "the rate should never rise, and stay at lr_min from T_max on; somewhere yours climbs.",
        )
        same(got[20:], np.full(41, 0.1), "the rate from T_max on")


COSINE = Exercise(
    name="cosine_annealing",
    title="Cosine annealing, and what comes after it",
    functions=("cosine_annealing",),
    hints=(
        "Write down what you want at t = 0, at T_max / 2, at T_max and at 2 T_max. Does the formula give that?",
        "t / T_max is the share of the way. Hold it at 1 with np.minimum, and the cosine stays at its lowest point.",
        "The cosine of np.pi times that share runs from 1 to -1; 1 plus it, halved, from 1 to 0. Stretch that to lr0 "
        "minus lr_min, and lift it by lr_min.",
    ),
    checks=(
        rates(
            "half a cosine from lr0 to lr_min",
            5,
            "cosine_annealing",
            [
                Case("down to zero in 12 steps", run(every(12), 12)),
                Case("down to lr_min = 0.1", run(every(9), 9, 0.1)),
                Case("a T_max that is not whole", run(every(7), 7.5, 0.05)),
            ],
        ),
        rates(
            "after T_max the rate stays",
            3,
            "cosine_annealing",
            [
                Case("up to twice T_max and beyond", run(every(35, first=8), 10, 0.02)),
                Case("far beyond the end", run([10, 1000, 12345], 10, 0.02)),
            ],
        ),
        never_climbs,
        rates(
            "from a low rate to a high one",
            1,
            "cosine_annealing",
            [Case("lr_min = 2, above lr0", run(every(14), 11, 2.0))],
        ),
        shapes(2, "cosine_annealing", 15, 0.1),
        left_alone("cosine_annealing", 5),
    ),
    mistakes=(
        mistake(
            "climbs-again",
            "A cosine is a wave: past T_max the rate climbs again, and at 2 T_max it is lr0. Hold t / T_max at 1.",
            "cosine_annealing",
            cosine_not_clamped,
        ),
        mistake(
            "angle-without-pi",
            "Half a cosine takes an angle of pi: yours ends at cos(1), less than a quarter of the way down.",
            "cosine_annealing",
            cosine_without_pi,
        ),
        mistake(
            "angle-in-degrees",
            "np.cos takes radians: half a turn is np.pi, not 180.",
            "cosine_annealing",
            cosine_in_degrees,
        ),
        mistake(
            "whole-wave",
            "With 2 pi the rate is down in the middle and up again at T_max; half a cosine takes pi.",
            "cosine_annealing",
            cosine_whole_wave,
        ),
        mistake(
            "lr-min-added-on-top",
            "lr_min lifts the curve, so only lr0 - lr_min is left for the cosine: yours starts above lr0.",
            "cosine_annealing",
            cosine_floor_added,
        ),
        mistake(
            "lr-min-ignored",
            "The curve ends at 0; it should end at lr_min.",
            "cosine_annealing",
            cosine_floor_ignored,
        ),
        mistake(
            "lr-min-as-floor",
            "A maximum cuts the curve off when it reaches lr_min; the cosine itself should end there.",
            "cosine_annealing",
            cosine_floor_as_maximum,
        ),
        mistake(
            "cosine-not-halved",
            "1 + cos runs from 2 to 0: halve it, or the rate starts at twice lr0.",
            "cosine_annealing",
            cosine_not_halved,
        ),
        mistake(
            "upside-down",
            "1 - cos goes up: this starts at lr_min and ends at lr0.",
            "cosine_annealing",
            cosine_upside_down,
        ),
        mistake(
            "ends-one-step-early",
            "lr_min is reached at t = T_max, not one step before.",
            "cosine_annealing",
            cosine_ends_early,
        ),
        mistake(
            "straight-line",
            "This is a straight line; a cosine is flat at both ends.",
            "cosine_annealing",
            cosine_straight,
        ),
        mistake(
            "zero-after-the-end",
            "After T_max the rate stays at lr_min; yours drops to 0.",
            "cosine_annealing",
            cosine_drops_to_zero,
        ),
    ),
)

# --- warm-up and cosine ----------------------------------------------------------------------------------------------


def warm_with(
    ramp: Callable[[Array, float, int], Any] = lambda t, lr0, Tw: lr0 * (t + 1) / (Tw + 1),
    share: Callable[[Array, int, int], Any] = lambda t, Tw, T: np.minimum((t - Tw) / max(T - Tw, 1), 1.0),
    settles: bool = True,
) -> Schedule:
    """Warm-up and cosine with another ramp, or another share of the cosine's way."""

    def wrong(t: Any, lr0: float, T_warmup: int, T_total: int, lr_min: float = 0.0) -> Any:
        t = floats(t)
        with np.errstate(all="ignore"):
            descent = lr_min + (lr0 - lr_min) * (1 + np.cos(np.pi * share(t, T_warmup, T_total))) / 2
            found = np.where(t < T_warmup, ramp(t, lr0, T_warmup), descent)
        return np.where((t >= T_total) & settles, lr_min, found)[()]

    return wrong


def warm_no_length(t: Array, Tw: int, T: int) -> Any:
    return np.minimum((t - Tw) / np.float64(T - Tw), 1.0)


def warm_product(t: Any, lr0: float, T_warmup: int, T_total: int, lr_min: float = 0.0) -> Any:
    t = floats(t)
    return np.minimum((t + 1) / (T_warmup + 1), 1.0) * ref.cosine_annealing(t, lr0, T_total, lr_min)


warm_from_zero = warm_with(ramp=lambda t, lr0, Tw: lr0 * t / max(Tw, 1))
warm_peak_early = warm_with(ramp=lambda t, lr0, Tw: lr0 * (t + 1) / max(Tw, 1))
warm_none = warm_with(ramp=lambda t, lr0, Tw: lr0 + 0 * t)
warm_cosine_over_total = warm_with(share=lambda t, Tw, T: np.minimum((t - Tw) / T, 1.0), settles=False)
warm_cosine_over_total_settled = warm_with(share=lambda t, Tw, T: np.minimum((t - Tw) / T, 1.0))
warm_cosine_not_moved = warm_with(share=lambda t, Tw, T: np.minimum(t / T, 1.0))
warm_cosine_too_short = warm_with(share=lambda t, Tw, T: np.minimum(t / max(T - Tw, 1), 1.0))
warm_not_clamped = warm_with(share=lambda t, Tw, T: (t - Tw) / max(T - Tw, 1), settles=False)
warm_zero_length = warm_with(share=warm_no_length, settles=False)


def warm_floor_ignored(t: Any, lr0: float, T_warmup: int, T_total: int, lr_min: float = 0.0) -> Any:
    return ref.warmup_cosine(t, lr0, T_warmup, T_total)


def warm_from_floor(t: Any, lr0: float, T_warmup: int, T_total: int, lr_min: float = 0.0) -> Any:
    ramp = lr_min + (lr0 - lr_min) * (floats(t) + 1) / (T_warmup + 1)
    return joined(ramp, floats(t) < T_warmup, ref.warmup_cosine(t, lr0, T_warmup, T_total, lr_min))


def warm_floored(t: Any, lr0: float, T_warmup: int, T_total: int, lr_min: float = 0.0) -> Any:
    return np.maximum(ref.warmup_cosine(t, lr0, T_warmup, T_total, lr_min), lr_min)


@prop("one straight line up to the peak, and no jump after it", 4, "warmup_cosine")
def continuous(student: Any, rng: Rng) -> None:
    lr0, warm, total = float(rng.uniform(0.5, 1.0)), int(rng.integers(6, 12)), 400
    got = numbers(student.warmup_cosine(every(total), lr0, warm, total, 0.01), (total + 1,), "the rates")
    with case_of(f"every step, T_warmup = {warm}, T_total = {total}", student.transcript[-1][0]):
        holds(float(got[0]) > 0, "the first step should have a rate above 0: a rate of 0 wastes it.")
        same(got[warm], lr0, f"the rate at T_warmup = {warm}")
        same(np.max(got), lr0, "the highest rate")
        same(
            np.diff(got[: warm + 1]),
            np.full(warm, lr0 / (warm + 1)),
            "what the rate grows by in each step of the warm-up",
        )
        jump = float(np.max(np.abs(np.diff(got[warm:]))))
        # A cosine's steepest step is pi / 2 of the mean step.
        steepest = np.pi / 2 * lr0 / (total - warm)
        holds(jump <= 1.01 * steepest, "after the peak the rate should go down smoothly; somewhere yours jumps.")
        same(got[total], 0.01, "the rate at T_total")


WARMUP = Exercise(
    name="warmup_cosine",
    title="Warm-up, then cosine",
    functions=("warmup_cosine",),
    hints=(
        "Three pieces: the ramp, the cosine, and what comes after. Say for each where it begins and what it is there.",
        "The cosine begins when the warm-up is over: it gets t - T_warmup, and has T_total - T_warmup steps. You have "
        "a function for that. np.where chooses between ramp and cosine.",
        "Compute both for all t: the ramp lr0 (t + 1) / (T_warmup + 1), and cosine_annealing(t - T_warmup, ...). "
        "Choose by t < T_warmup. If T_total equals T_warmup, the cosine's length is 0: guard the division, and put "
        "lr_min from T_total on.",
    ),
    checks=(
        rates(
            "ramp and cosine",
            5,
            "warmup_cosine",
            [
                Case("5 steps of warm-up, 20 in all", run(every(20), 5, 20)),
                Case("down to lr_min = 0.05", run(every(17), 4, 17, 0.05)),
                Case("one step of warm-up", run(every(6), 1, 6)),
                Case("an lr_min that is above the first rate", run(every(14), 6, 12, 0.15)),
            ],
        ),
        continuous,
        rates(
            "after T_total the rate stays",
            2,
            "warmup_cosine",
            [
                Case("up to twice T_total and beyond", run(every(45, first=16), 4, 16, 0.03)),
                Case("far beyond the end", run([16, 300, 4321], 4, 16, 0.03)),
            ],
        ),
        rates(
            "no warm-up at all, and nothing but warm-up",
            3,
            "warmup_cosine",
            [
                Case("T_warmup = 0", run(every(14), 0, 10, 0.1)),
                Case("T_warmup = T_total = 6", run(every(9), 6, 6, 0.1)),
                Case("one single step, no warm-up", run(every(3), 0, 1)),
            ],
        ),
        shapes(2, "warmup_cosine", 8, 20, 0.02),
        left_alone("warmup_cosine", 2, 5),
    ),
    mistakes=(
        mistake(
            "first-step-wasted",
            "The ramp starts at 0, so the first step does nothing: it is (t + 1) / (T_warmup + 1).",
            "warmup_cosine",
            warm_from_zero,
        ),
        mistake(
            "peak-one-step-early",
            "The ramp reaches lr0 one step before T_warmup, where the cosine starts with lr0 again: divide by "
            "T_warmup + 1.",
            "warmup_cosine",
            warm_peak_early,
        ),
        mistake(
            "no-warm-up",
            "The rate is lr0 from the start: it should grow to it, step by step.",
            "warmup_cosine",
            warm_none,
        ),
        mistake(
            "cosine-over-all-steps",
            "The cosine has T_total - T_warmup steps only: over T_total it is not down when the training ends.",
            "warmup_cosine",
            warm_cosine_over_total,
            warm_cosine_over_total_settled,
        ),
        mistake(
            "cosine-not-shifted",
            "The cosine starts at T_warmup: give it t - T_warmup. Yours is part of the way down when the warm-up "
            "ends, and the rate jumps.",
            "warmup_cosine",
            warm_cosine_not_moved,
            warm_cosine_too_short,
        ),
        mistake(
            "warm-up-climbs-again",
            "After T_total the cosine comes up again: the rate should stay at lr_min.",
            "warmup_cosine",
            warm_not_clamped,
        ),
        mistake(
            "no-room-for-the-cosine",
            "With T_warmup = T_total the cosine's length is 0, and 0 / 0 is nan: guard that division.",
            "warmup_cosine",
            warm_zero_length,
        ),
        mistake(
            "warm-up-times-cosine",
            "Ramp and cosine follow each other; yours are multiplied, so the rate never reaches lr0.",
            "warmup_cosine",
            warm_product,
        ),
        mistake(
            "warm-up-from-lr-min",
            "The ramp lies on a line through 0 (one step before the first); lr_min is for the end only.",
            "warmup_cosine",
            warm_from_floor,
            warm_floored,
        ),
        mistake(
            "warm-up-lr-min-ignored",
            "The cosine ends at 0; it should end at lr_min.",
            "warmup_cosine",
            warm_floor_ignored,
        ),
    ),
)

# --- the Transformer's schedule --------------------------------------------------------------------------------------


def transformer_with(
    rate: Callable[[Array, float], Any], scale: Callable[[float], float] = lambda d: d**-0.5
) -> Schedule:
    return lambda t, d_model, T_warmup: scale(d_model) * rate(floats(t), float(T_warmup))


def usual_rate(t: Array, warm: float) -> Any:
    return np.minimum(t**-0.5, t * warm**-1.5)


def model(t: Any, d_model: int, T_warmup: int) -> Draw:
    return lambda rng: (t, d_model, T_warmup)


@prop("the peak is at the end of the warm-up", 2, "transformer_schedule")
def peak_of_transformer(student: Any, rng: Rng) -> None:
    warm, width = int(rng.integers(20, 60)), int(rng.integers(16, 128))
    got = numbers(student.transformer_schedule(every(300, first=1), width, warm), (300,), "the rates")
    with case_of(f"d_model = {width}, T_warmup = {warm}", student.transcript[-1][0]):
        at = int(np.argmax(got)) + 1
        holds(at == warm, f"the rate should be highest at t = T_warmup = {warm}, but it is at t = {at}.")
        same(got[warm - 1], 1 / np.sqrt(width * warm), "the highest rate")
        same(got[4 * warm - 1], got[warm - 1] / 2, "the rate at 4 T_warmup, which is half of the highest,")


TRANSFORMER = Exercise(
    name="transformer_schedule",
    title="The first Transformer's schedule",
    functions=("transformer_schedule",),
    hints=(
        "Two curves: one goes up, one goes down. The schedule is always on the lower one.",
        "np.minimum takes two arrays and compares entry by entry; min would not.",
        "One curve is t to the power -0.5, the other t times T_warmup to the power -1.5. Multiply the lower of the "
        "two by d_model to the power -0.5.",
    ),
    checks=(
        rates(
            "up, and down again",
            5,
            "transformer_schedule",
            [
                Case("d_model = 64, T_warmup = 10", model(every(50, first=1), 64, 10)),
                Case("d_model = 10, T_warmup = 7", model(every(30, first=1), 10, 7)),
                Case("T_warmup = 1: no ramp", model(every(8, first=1), 16, 1)),
            ],
        ),
        peak_of_transformer,
        rates(
            "a number, a list, a table of steps",
            2,
            "transformer_schedule",
            [
                Case("a single step, as a number", model(5, 32, 8)),
                Case("the first step, as a number", model(1, 32, 8)),
                Case("a table of steps in any order", lambda rng: (rng.permutation(24).reshape(4, 6) + 1, 32, 8)),
                Case("a list of steps", model([9, 3, 17], 32, 8)),
            ],
        ),
        unchanged(1, {"transformer_schedule": model(every(6, first=1), 16, 4)}),
    ),
    mistakes=(
        mistake(
            "higher-of-the-two",
            "The schedule is the lower of the two curves, a minimum: the higher one starts near 1 and grows at the "
            "end.",
            "transformer_schedule",
            transformer_with(lambda t, warm: np.maximum(t**-0.5, t * warm**-1.5)),
        ),
        mistake(
            "width-forgotten",
            "The factor d_model to the power -0.5 is missing: wider models take smaller steps.",
            "transformer_schedule",
            transformer_with(usual_rate, lambda d: 1.0),
        ),
        mistake(
            "width-the-wrong-way-round",
            "d_model stands in the denominator, under a root: the power is -0.5.",
            "transformer_schedule",
            transformer_with(usual_rate, lambda d: d**0.5),
            transformer_with(usual_rate, lambda d: 1.0 / d),
        ),
        mistake(
            "counted-from-zero",
            "Here t counts from 1: do not add 1 to it again.",
            "transformer_schedule",
            transformer_with(lambda t, warm: usual_rate(t + 1, warm)),
        ),
        mistake(
            "warm-up-power",
            "The ramp is t times T_warmup to the power -1.5: only then do the two curves meet at T_warmup.",
            "transformer_schedule",
            transformer_with(lambda t, warm: np.minimum(t**-0.5, t * warm**-0.5)),
            transformer_with(lambda t, warm: np.minimum(t**-0.5, t / warm)),
        ),
        mistake(
            "transformer-without-ramp",
            "Only the falling curve is there; the minimum with the ramp is missing.",
            "transformer_schedule",
            transformer_with(lambda t, warm: t**-0.5),
        ),
        mistake(
            "transformer-stays-at-the-peak",
            "After the warm-up the rate falls with 1 / sqrt(t); yours stays at its peak.",
            "transformer_schedule",
            transformer_with(lambda t, warm: np.minimum(warm**-0.5, t * warm**-1.5)),
        ),
    ),
)

# --- one cycle -------------------------------------------------------------------------------------------------------


class Cycle(msgspec.Struct, frozen=True):
    """One cycle, with places where it can go wrong. The fields say how far off they are."""

    peak_shift: float = -1.0
    last_shift: float = -1.0
    straight: bool = False
    stops: bool = True
    from_zero: bool = False
    triangle: bool = False
    end_of_maximum: bool = False
    cosine_up: bool = True

    def __call__(
        self,
        t: Any,
        lr_max: float,
        T_total: int,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> Any:
        t = floats(t)
        start = 0.0 if self.from_zero else lr_max / div_factor
        end = start if self.triangle else (lr_max if self.end_of_maximum else lr_max / div_factor) / final_div_factor
        peak, last = pct_start * T_total + self.peak_shift, T_total + self.last_shift
        up, down = t / peak, (t - peak) / (last - peak)
        if self.stops:
            up, down = np.clip(up, 0.0, 1.0), np.clip(down, 0.0, 1.0)
        rise = self.curve(start, lr_max, up, self.straight or not self.cosine_up)
        return np.where(t <= peak, rise, self.curve(lr_max, end, down, self.straight))[()]

    def curve(self, low: float, high: float, share: Any, straight: bool) -> Any:
        return high + (low - high) * (1 - share if straight else (1 + np.cos(np.pi * share)) / 2)


def cycle_halfway(t: Any, lr_max: float, T_total: int, *options: Any, **more: Any) -> Any:
    return ref.one_cycle(t, lr_max, T_total, 0.5, *options[1:], **{k: v for k, v in more.items() if k != "pct_start"})


def cycle_defaults(t: Any, lr_max: float, T_total: int, *options: Any, **more: Any) -> Any:
    pct = more.get("pct_start", options[0] if options else 0.3)
    return ref.one_cycle(t, lr_max, T_total, pct)


@prop("never above lr_max, and highest at the peak", 3, "one_cycle")
def never_above(student: Any, rng: Rng) -> None:
    lr_max = float(rng.uniform(0.2, 1.0))
    for total, pct, fits in ((5, 0.4, True), (33, 0.3, False), (21, 3 / 7, True), (7, 0.45, False)):
        got = numbers(student.one_cycle(every(total - 1), lr_max, total, pct), (total,), "the rates")
        with case_of(f"{total} steps, pct_start = {pct:.4g}", student.transcript[-1][0]):
            highest, at = float(np.max(got)), int(np.argmax(got))
            holds(
                highest <= lr_max * (1 + 1e-12),
                "no rate may be above lr_max.",
                f"At step {at} it is {highest:.6g}, and lr_max is {lr_max:.6g}.",
            )
            where = pct * total - 1
            holds(abs(at - where) < 1, f"the rate should be highest next to t = {where:.4g}, but it is at t = {at}.")
            if fits:
                same(got[at], lr_max, "the highest rate, at a peak that is a whole step,")


ONE_CYCLE = Exercise(
    name="one_cycle",
    title="One cycle",
    functions=("one_cycle",),
    hints=(
        "Draw it: three rates (start, highest, end) and three times (0, peak, last step). Two curves join them.",
        "Both curves are half cosines, and your cosine_annealing draws one between any two rates, also upwards. Which "
        "t, and which length, does each of them get?",
        "Up: cosine_annealing with t, from start to lr_max in `peak` steps. Down: with t - peak, from lr_max to end in "
        "T_total - 1 - peak steps. np.where(t <= peak, up, down).",
    ),
    checks=(
        rates(
            "up and down",
            6,
            "one_cycle",
            [
                Case("20 steps", run(every(19), 20)),
                Case("33 steps, an odd number, with a peak between two steps", run(every(32), 33)),
                Case("half of the steps up", run(every(23), 24, 0.5)),
                Case("a peak between the first step and the second", run(every(9), 10, 0.15)),
            ],
        ),
        rates(
            "other factors for start and end",
            3,
            "one_cycle",
            [
                Case("div_factor 10, final_div_factor 4", run(every(15), 16, 0.25, 10.0, 4.0)),
                Case("a start at half the highest rate", run(every(14), 15, 0.4, 2.0, 100.0)),
            ],
        ),
        never_above,
        rates(
            "after the last step the rate stays",
            2,
            "one_cycle",
            [
                Case("up to three times as many steps", run(every(60, first=17), 20, 0.3, 5.0, 3.0)),
                Case("far beyond the end", run([19, 20, 500], 20, 0.3, 5.0, 3.0)),
            ],
        ),
        shapes(2, "one_cycle", 25, 0.3, 4.0, 5.0),
        left_alone("one_cycle", 10),
    ),
    mistakes=(
        mistake(
            "peak-one-step-late",
            "Steps count from 0: after pct_start * T_total steps the last one has the number pct_start * T_total - 1, "
            "and that is the peak.",
            "one_cycle",
            Cycle(peak_shift=0.0),
        ),
        mistake(
            "last-step-not-reached",
            "The last step has the number T_total - 1: there the rate should have arrived at its end.",
            "one_cycle",
            Cycle(last_shift=0.0),
        ),
        mistake(
            "cycle-straight",
            "Both parts are half cosines; yours are straight lines.",
            "one_cycle",
            Cycle(straight=True),
            Cycle(cosine_up=False),
        ),
        mistake(
            "ends-where-it-began",
            "The rate should end far below its start: at the start divided by final_div_factor.",
            "one_cycle",
            Cycle(triangle=True),
            Cycle(triangle=True, straight=True),
        ),
        mistake(
            "cycle-from-zero",
            "The first rate is lr_max / div_factor; with 0 the first step does nothing.",
            "one_cycle",
            Cycle(from_zero=True),
        ),
        mistake(
            "end-from-the-maximum",
            "final_div_factor divides the rate at the start, not lr_max.",
            "one_cycle",
            Cycle(end_of_maximum=True),
        ),
        mistake(
            "cycle-again",
            "After the last step the cosine comes up again; the rate should stay where it ended.",
            "one_cycle",
            Cycle(stops=False),
        ),
        mistake(
            "always-half-way-up",
            "The `pct_start` argument is not used: the peak is not always in the middle.",
            "one_cycle",
            cycle_halfway,
        ),
        mistake(
            "factors-ignored",
            "`div_factor` and `final_div_factor` are not used: 25 and 10,000 are only their defaults.",
            "one_cycle",
            cycle_defaults,
        ),
    ),
)

# --- warm restarts ---------------------------------------------------------------------------------------------------


def restarts_with(
    longer: Callable[[float, int, int, int], float] = lambda length, n, T_0, T_mult: length * T_mult,
    over: Callable[[float, float], bool] = lambda step, length: step >= length,
    rate: Callable[..., Any] = lambda step, length, n, lr0, low, T_0: ref.cosine_annealing(step, lr0, length, low),
) -> Schedule:
    """Warm restarts with another next length, another end of a cycle, or another rate in it."""

    def wrong(t: Any, lr0: float, T_0: int, T_mult: int = 1, lr_min: float = 0.0) -> Any:
        found = []
        for step in np.ravel(floats(t)):
            n, length = 0, float(T_0)
            while over(step, length):
                step, n = step - length, n + 1
                length = longer(length, n, T_0, T_mult)
            found.append(rate(step, length, n, lr0, lr_min, T_0))
        return np.reshape(found, np.shape(t))[()]

    return wrong


restarts_equal = restarts_with(lambda length, n, T_0, T_mult: T_0)
restarts_added = restarts_with(lambda length, n, T_0, T_mult: T_0 * (1 + n * (T_mult - 1)))
restarts_late = restarts_with(over=lambda step, length: step > length)
restarts_by_first = restarts_with(rate=lambda step, length, n, lr0, low, T_0: ref.cosine_annealing(step, lr0, T_0, low))
restarts_lower = restarts_with(
    rate=lambda s, length, n, lr0, low, T_0: ref.cosine_annealing(s, lr0 / 2**n, length, low)
)
restarts_no_floor = restarts_with(rate=lambda s, length, n, lr0, low, T_0: ref.cosine_annealing(s, lr0, length))
restarts_reach_floor = restarts_with(
    rate=lambda s, length, n, lr0, low, T_0: ref.cosine_annealing(s, lr0, max(length - 1, 1), low)
)


def restarts_back_and_forth(t: Any, lr0: float, T_0: int, T_mult: int = 1, lr_min: float = 0.0) -> Any:
    return lr_min + (lr0 - lr_min) * (1 + np.cos(np.pi * floats(t) / T_0)) / 2


def restarts_never(t: Any, lr0: float, T_0: int, T_mult: int = 1, lr_min: float = 0.0) -> Any:
    return ref.cosine_annealing(t, lr0, T_0, lr_min)


RESTARTS = Exercise(
    name="warm_restarts",
    title="Warm restarts",
    functions=("warm_restarts",),
    hints=(
        "In which cycle is step t, and how many steps of that cycle have passed? With these two answers it is an "
        "ordinary cosine.",
        "Take the length of the first cycle off t, then that of the second, and so on, until what is left is smaller "
        "than the next length. What is left is the step within the cycle.",
        "A while loop for a single step: as long as step >= length, subtract length from step and multiply length by "
        "T_mult. Then cosine_annealing(step, lr0, length, lr_min). Do that for every entry of t, for example with "
        "np.vectorize.",
    ),
    checks=(
        rates(
            "cycles of one length",
            4,
            "warm_restarts",
            [
                Case("cycles of 6 steps", run(every(29), 6)),
                Case("cycles of 5 steps down to 0.1", run(every(23), 5, 1, 0.1)),
                Case("cycles of a single step", run(every(4), 1, 1, 0.05)),
            ],
        ),
        rates(
            "cycles that grow",
            5,
            "warm_restarts",
            [
                Case("each cycle twice as long", run(every(50), 4, 2)),
                Case("each cycle three times as long, down to 0.05", run(every(60), 3, 3, 0.05)),
            ],
        ),
        rates(
            "each cycle begins with lr0",
            2,
            "warm_restarts",
            [
                Case("the steps around each restart", run([0, 1, 2, 3, 4, 8, 9, 10, 20, 21, 22], 3, 2, 0.1)),
                Case("the first steps of many cycles", run([0, 7, 14, 21, 70], 7, 1, 0.1)),
            ],
        ),
        shapes(2, "warm_restarts", 4, 2, 0.02),
        left_alone("warm_restarts", 2),
    ),
    mistakes=(
        mistake(
            "cycles-all-alike",
            "The `T_mult` argument is not used: each cycle is T_mult times longer than the one before.",
            "warm_restarts",
            restarts_equal,
        ),
        mistake(
            "cycles-grow-by-adding",
            "Each cycle is T_mult times as long as the one before: T_0, T_0 T_mult, T_0 T_mult**2. Yours grow by the "
            "same number of steps.",
            "warm_restarts",
            restarts_added,
        ),
        mistake(
            "restart-one-step-late",
            "A cycle of T steps has the steps 0 to T - 1; the next one begins a new cycle, with lr0.",
            "warm_restarts",
            restarts_late,
        ),
        mistake(
            "length-of-the-first-cycle",
            "In a longer cycle the cosine is longer, too: divide by the length of the current cycle, not by T_0.",
            "warm_restarts",
            restarts_by_first,
        ),
        mistake(
            "restarts-lower",
            "Every cycle starts at lr0 again; yours start lower each time.",
            "warm_restarts",
            restarts_lower,
        ),
        mistake(
            "restarts-without-lr-min",
            "The `lr_min` argument is not used: the cosines go down to lr_min, not to 0.",
            "warm_restarts",
            restarts_no_floor,
        ),
        mistake(
            "lr-min-within-the-cycle",
            "lr_min would be reached at step T of a cycle, which is the first of the next one; yours reaches it a step "
            "before.",
            "warm_restarts",
            restarts_reach_floor,
        ),
        mistake(
            "back-and-forth",
            "A plain cosine swings slowly down and slowly up again; a restart jumps up to lr0.",
            "warm_restarts",
            restarts_back_and_forth,
        ),
        mistake(
            "no-restart",
            "After the first cycle the rate stays down: it should start again at lr0.",
            "warm_restarts",
            restarts_never,
        ),
    ),
)

# --- following a schedule --------------------------------------------------------------------------------------------


class Walk(msgspec.Struct, frozen=True):
    """A bowl and a schedule that are asked across the wire, and note when."""

    slope: Array
    rates: Array
    asked: list[Any] = []
    points: list[Any] = []

    def grad(self, point: Any) -> Array:
        self.points.append(np.array(point, dtype=np.float64))
        return self.slope * (floats(point) - 1.0)

    def schedule(self, t: Any) -> float:
        self.asked.append(t)
        return float(self.rates[int(t)])


def follow_with(
    at: Callable[[int, int], int] = lambda t, n: t,
    change: Callable[[Any, float, Any], Any] = lambda x, rate, slope: x - rate * slope,
    compounded: bool = False,
    stale: bool = False,
) -> Schedule:
    """Gradient descent that asks for other steps, moves otherwise, or multiplies rates up."""

    def wrong(grad: Any, start: Any, schedule: Any, n_steps: int) -> Any:
        x = floats(start)
        first = x
        history, used, rate = [x], [], 1.0
        for t in range(n_steps):
            rate = rate * float(schedule(at(t, n_steps))) if compounded else float(schedule(at(t, n_steps)))
            x = change(x, rate, floats(grad(first if stale else x)))
            history.append(x)
            used.append(rate)
        return np.array(history), np.array(used)

    return wrong


right_follow = follow_with()


def follow_leaves_start(grad: Any, start: Any, schedule: Any, n_steps: int) -> Any:
    history, used = right_follow(grad, start, schedule, n_steps)
    return history[1:], used


def follow_last_only(grad: Any, start: Any, schedule: Any, n_steps: int) -> Any:
    history, used = right_follow(grad, start, schedule, n_steps)
    return history[-1], used


def draw_walk(rng: Rng, size: int, steps: int) -> tuple[Walk, Array]:
    return Walk(rng.uniform(0.5, 2.0, size=size), rng.uniform(0.05, 0.4, size=steps + 2), [], []), rng.normal(size=size)


def walked(student: Any, reason: str, walk: Walk, start: Any, steps: int) -> None:
    same_walk = Walk(walk.slope, walk.rates, [], [])
    want = right_follow(same_walk.grad, start, same_walk.schedule, steps)
    got = student.follow(Callback(walk.grad, "grad"), start, Callback(walk.schedule, "schedule"), steps)
    with case_of(reason, student.transcript[-1][0]):
        history, used = items(got, ("history", "rates"))
        same(used, want[1], "the array of rates")
        same(history, want[0], "the history")


@prop("every step with its own rate", 6, "follow")
def own_rates(student: Any, rng: Rng) -> None:
    walk, start = draw_walk(rng, 3, 7)
    walked(student, "7 steps in three dimensions", walk, start, 7)
    walk, _ = draw_walk(rng, 1, 4)
    walked(student, "one dimension, the start as a list", walk, [3], 4)


@prop("a single step, and none", 1, "follow")
def few_steps(student: Any, rng: Rng) -> None:
    for steps in (1, 0):
        walk, start = draw_walk(rng, 2, steps)
        walked(student, f"n_steps = {steps}", walk, start, steps)


@prop("schedule and gradient are asked once a step", 3, "follow")
def asked_once(student: Any, rng: Rng) -> None:
    walk, start = draw_walk(rng, 2, 4)
    got = student.follow(Callback(walk.grad, "grad"), start, Callback(walk.schedule, "schedule"), 4)
    items(got, ("history", "rates"))
    steps = [float(numbers(t, (), "the step that schedule was asked for")) for t in walk.asked]
    shown = ", ".join(f"{t:g}" for t in steps[:8]) or "none"
    holds(
        steps == [0, 1, 2, 3],
        f"in 4 steps the schedule is to be asked for the steps 0, 1, 2, 3; it was asked for {shown}.",
    )
    holds(
        len(walk.points) == 4,
        f"in 4 steps the gradient is to be asked for 4 times; it was asked for {len(walk.points)} times.",
    )
    holds(1 not in student.changed, "`follow` modified the start that it was given; make every point a new array.")


FOLLOW = Exercise(
    name="follow",
    title="Gradient descent with a schedule",
    functions=("follow",),
    hints=(
        "One loop over t. What is asked in each step, and what is kept?",
        "Ask the schedule with the number of the step, the gradient at the current point. Keep the rate and the new "
        "point.",
        "Begin with a list that holds a copy of the start. In each step: rate, gradient, x minus rate times gradient "
        "as a new array, append it. At the end make arrays of both lists.",
    ),
    checks=(own_rates, few_steps, asked_once),
    mistakes=(
        mistake(
            "rates-compounded",
            "The schedule gives the rate itself; yours multiplies it to the rate of the step before, which decays "
            "twice.",
            "follow",
            follow_with(compounded=True),
        ),
        mistake(
            "steps-from-one",
            "Steps count from 0: the first one uses schedule(0).",
            "follow",
            follow_with(at=lambda t, n: t + 1),
        ),
        mistake(
            "first-rate-for-all",
            "The schedule was asked for step 0 only; ask it for every step.",
            "follow",
            follow_with(at=lambda t, n: 0),
        ),
        mistake(
            "schedule-backwards",
            "The rates come in reverse order.",
            "follow",
            follow_with(at=lambda t, n: n - 1 - t),
        ),
        mistake(
            "follow-uphill",
            "The gradient points uphill: the step is subtracted.",
            "follow",
            follow_with(change=lambda x, rate, slope: x + rate * slope),
        ),
        mistake(
            "gradient-at-the-start",
            "The gradient is that of the start in every step; ask for it at the current point.",
            "follow",
            follow_with(stale=True),
        ),
        mistake(
            "start-not-in-history",
            "The history begins with the start: n_steps + 1 points.",
            "follow",
            follow_leaves_start,
        ),
        mistake(
            "only-the-last-point",
            "The whole history is asked for, not only the last point.",
            "follow",
            follow_last_only,
        ),
    ),
)

# --- the picture -----------------------------------------------------------------------------------------------------

TOTAL = 200


def draw_picture(student: Any, figure: Any) -> None:
    """The schedules over one training, and how runs with noisy gradients end that follow them."""
    left, right = figure.subplots(1, 2)
    t = np.arange(TOTAL)
    curves = {
        "step decay": ("step_decay", (1.0, 0.4, 50)),
        "exponential": ("exponential_decay", (1.0, 0.02)),
        "cosine": ("cosine_annealing", (1.0, TOTAL)),
        "warm-up and cosine": ("warmup_cosine", (1.0, 20, TOTAL)),
        "one cycle": ("one_cycle", (1.0, TOTAL)),
        "warm restarts": ("warm_restarts", (1.0, 29, 2)),
    }
    drawn: dict[str, Array] = {"constant": np.ones(TOTAL)}
    for i, (label, (function, options)) in enumerate(curves.items()):
        drawn[label] = numbers(student.call(function, t, *options), t.shape, label)
        left.plot(t, drawn[label], color=f"C{i}", lw=1.5, label=label)
    width, warm = 256, 20
    rate = numbers(student.transformer_schedule(t + 1, width, warm), t.shape, "transformer_schedule")
    left.plot(t, rate * np.sqrt(width * warm), color="C6", lw=1.5, label="Transformer (scaled to 1)")
    left.set(
        xlabel="step",
        ylabel="learning rate, share of the highest",
        title="The schedules",
        ylim=(-0.03, 1.38),
    )
    left.legend(frameon=False, fontsize=8, ncol=2, loc="upper right")

    # One run is 200 copies of the same problem side by side, a mean of 200 runs in one call.
    for label in ("constant", "exponential", "cosine", "one cycle"):
        rng = np.random.default_rng(313)
        shares = drawn[label]

        def grad(x: Any, rng: Rng = rng) -> Array:
            return floats(x) + rng.normal(size=np.shape(x))

        def schedule(step: Any, shares: Array = shares) -> float:
            return 0.5 * float(shares[int(step)])

        answer = student.follow(Callback(grad, "grad"), np.full(200, 5.0), Callback(schedule, "schedule"), TOTAL)
        history = numbers(items(answer, ("history", "rates"))[0], (TOTAL + 1, 200), "the history")
        color = "0.4" if label == "constant" else f"C{list(drawn).index(label) - 1}"
        right.semilogy(np.mean(history**2, axis=1), color=color, lw=1.3, label=label)
    right.set(
        xlabel="step, with a highest rate of 0.5",
        ylabel="squared distance from the minimum",
        title="Noisy gradients, mean of 200 runs",
    )
    right.legend(frameon=False, fontsize=8)


CHAPTER = Chapter(
    id="ch313",
    slug="learning_rate_schedules",
    title="Learning Rate Schedules",
    part="Training engineering",
    summary="Seven schedules, right in their first step, at their joints and after their end, and a descent that "
    "follows one.",
    builds_on=("ch312",),
    exercises=(STEP, EXPONENTIAL, COSINE, WARMUP, TRANSFORMER, ONE_CYCLE, RESTARTS, FOLLOW),
    picture=Picture(title="Your schedules, and what they are good for", draw=draw_picture),
)
