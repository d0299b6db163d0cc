"""Checks of chapter 310: batch normalisation of vectors and images, its gradients and state; layer normalisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from dlreference import norm as ref

from dlgrade.course.compare import Wrong, entry, holds, items, numbers, same
from dlgrade.course.kinds import Case, GradientCase, Rng, case_of, gradient, numeric, prop, unchanged
from dlgrade.course.spec import Chapter, Check, Exercise, Mistake, Picture
from dlgrade.sandbox.session import Call

Array = np.ndarray[Any, Any]
State = dict[str, Array]
Forward = tuple[Array, Any, State]
Gradients = tuple[Array, Array, Array]


def floats(value: Any) -> Array:
    return np.asarray(value, dtype=np.float64)


# --- draws -----------------------------------------------------------------------------------------------------------


def drawn_state(rng: Rng, channels: int) -> State:
    """Running statistics that are nobody's default."""
    return {"running_mean": 4 + rng.normal(size=channels), "running_var": rng.uniform(4.0, 14.0, size=channels)}


def off_centre(rng: Rng, shape: Sequence[int]) -> Array:
    """Values around 5 with a spread of 3, each channel with a centre and a spread of its own."""
    per_channel = (1, shape[1], *[1] * (len(shape) - 2))
    x = 5 + 3 * rng.normal(size=per_channel) + rng.uniform(1.5, 4, size=per_channel) * rng.normal(size=shape)
    return floats(x)


def scale_and_shift(rng: Rng, features: int) -> tuple[Array, Array]:
    """Scales of both signs and well away from 0, and shifts."""
    gamma = rng.uniform(0.5, 2.0, size=features) * rng.choice([-1.0, 1.0], size=features)
    return gamma, rng.normal(size=features)


def arguments(*shape: int, training: bool = True) -> Any:
    """Draws the arguments of a batch normalisation of this shape."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        x = off_centre(rng, shape)
        return x, *scale_and_shift(rng, shape[1]), drawn_state(rng, shape[1]), training

    return draw


def far_off(rng: Rng, rows: int, columns: int) -> Array:
    """Values around a hundred million with a spread of about 3: eighths, so that sums of eight are exact."""
    steps = rng.integers(-40, 41, size=(rows, columns)) + np.arange(rows)[:, None]
    return 1e8 + steps / 8.0


def narrow(rng: Rng, *shape: int) -> Array:
    """Values whose variance is below the default eps."""
    return 2.0 + 1e-3 * rng.normal(size=shape)


# --- a call that must be refused -------------------------------------------------------------------------------------


def refused(
    name: str, points: int, function: str, cases: dict[str, Callable[[Rng], tuple[Any, ...]]], keep: tuple[int, ...]
) -> Check:
    """The function raises ValueError for each of these arguments."""

    @prop(name, points, function)
    def check(student: Any, rng: Rng) -> None:
        for reason, draw in cases.items():
            call = Call(function, draw(rng), keep=keep)
            [reply] = student.batch([call])
            with case_of(reason, call):
                if reply.status == "error" and reply.detail.get("type") == "ValueError":
                    continue
                if reply.status == "ok":
                    raise Wrong(f"a ValueError is asked for here, but `{function}` returned an answer.")
                student.answer(call, reply)

    return check


# --- statistics of a batch -------------------------------------------------------------------------------------------

Moments = tuple[Any, Any]


def statistics(x: Array) -> Moments:
    x = floats(x)
    return x.mean(axis=0), x.var(axis=0)


def statistics_of_rows(x: Array) -> Moments:
    x = floats(x)
    return x.mean(axis=1), x.var(axis=1)


def statistics_of_all(x: Array) -> Moments:
    x = floats(x)
    return x.mean(), x.var()


def statistics_unbiased(x: Array) -> Moments:
    x = floats(x)
    return x.mean(axis=0), x.var(axis=0, ddof=1)


def statistics_with_std(x: Array) -> Moments:
    mean, var = statistics(x)
    return mean, np.sqrt(var)


def statistics_shortcut(x: Array) -> Moments:
    x = floats(x)
    return x.mean(axis=0), (x**2).mean(axis=0) - x.mean(axis=0) ** 2


BATCHES = [
    Case("six examples of four features", lambda rng: (off_centre(rng, (6, 4)),)),
    Case("four examples of four features", lambda rng: (off_centre(rng, (4, 4)),)),
    Case("a batch of one", lambda rng: (off_centre(rng, (1, 3)),)),
    Case("a single feature", lambda rng: (off_centre(rng, (5, 1)),)),
]

STATISTICS = Exercise(
    name="batch_statistics",
    title="Mean and variance of each feature",
    functions=("batch_statistics",),
    hints=(
        "A batch of six examples with four features has four means. Along which axis do six numbers become one?",
        "Along the batch axis, 0. The variance is the mean, along the same axis, of the squared distance from that "
        "mean.",
        "Call np.mean with axis=0; subtract the result from x (it lines up with the columns by itself), square, and "
        "take the mean with axis=0 again. That divides by B, which is the biased variance.",
    ),
    checks=(
        numeric("mean of each feature", 2, "batch_statistics", statistics, BATCHES, pick=0, result="the mean"),
        numeric("biased variance of each feature", 3, "batch_statistics", statistics, BATCHES, pick=1, result="`var`"),
        numeric(
            "values around a hundred million",
            2,
            "batch_statistics",
            statistics,
            [Case("a spread of about 3 around a hundred million", lambda rng: (far_off(rng, 8, 3),))],
            pick=1,
            result="`var`",
        ),
        numeric(
            "lists and float32 are accepted, float64 comes back",
            1,
            "batch_statistics",
            statistics,
            [
                Case("nested lists", lambda rng: (off_centre(rng, (3, 2)).tolist(),)),
                Case("a float32 array", lambda rng: (off_centre(rng, (4, 3)).astype(np.float32),)),
            ],
        ),
    ),
    mistakes=(
        Mistake(
            name="statistics-of-the-rows",
            advice="The batch is axis 0, so the statistics run down the columns, one for each feature; yours run along "
            "each example.",
            replaces={"batch_statistics": statistics_of_rows},
        ),
        Mistake(
            name="one-statistic-for-everything",
            advice="Without axis= the mean runs over the whole array; each feature has its own mean and variance.",
            replaces={"batch_statistics": statistics_of_all},
        ),
        Mistake(
            name="unbiased-variance",
            advice="This variance divides by B - 1 (ddof=1); the one that normalises is the mean of the squared "
            "deviations, divided by B.",
            replaces={"batch_statistics": statistics_unbiased},
        ),
        Mistake(
            name="standard-deviation-for-variance",
            advice="The variance is asked for; the square root comes later, when eps has been added.",
            replaces={"batch_statistics": statistics_with_std},
        ),
        Mistake(
            name="variance-by-the-shortcut",
            advice="The mean of the squares minus the square of the mean subtracts two huge numbers and loses all "
            "digits: subtract the mean first, then square.",
            replaces={"batch_statistics": statistics_shortcut},
        ),
    ),
)

# --- running statistics ----------------------------------------------------------------------------------------------


def running(state: State, mean: Array, var: Array, count: int, momentum: float = 0.1) -> State:
    """The reference: its closed form for one batch, with the unbiased variance."""
    if count < 2:
        raise ValueError("one value has no variance")
    unbiased = floats(var) * count / (count - 1)
    return {
        "running_mean": ref.running_average(floats(mean)[None], state["running_mean"], momentum),
        "running_var": ref.running_average(unbiased[None], state["running_var"], momentum),
    }


def running_inverted(state: State, mean: Array, var: Array, count: int, momentum: float = 0.1) -> State:
    return running(state, mean, var, count, 1.0 - momentum)


def running_always_a_tenth(state: State, mean: Array, var: Array, count: int, momentum: float = 0.1) -> State:
    return running(state, mean, var, count)


def running_replaced(state: State, mean: Array, var: Array, count: int, momentum: float = 0.1) -> State:
    return running(state, mean, var, count, 1.0)


def running_biased(state: State, mean: Array, var: Array, count: int, momentum: float = 0.1) -> State:
    running(state, mean, var, count, momentum)
    return running(state, mean, floats(var) * (count - 1) / count, count, momentum)


def running_corrected_backwards(state: State, mean: Array, var: Array, count: int, momentum: float = 0.1) -> State:
    running(state, mean, var, count, momentum)
    return running(state, mean, floats(var) * ((count - 1) / count) ** 2, count, momentum)


def running_mean_corrected(state: State, mean: Array, var: Array, count: int, momentum: float = 0.1) -> State:
    running(state, mean, var, count, momentum)
    return running(state, floats(mean) * count / (count - 1), var, count, momentum)


def running_std(state: State, mean: Array, var: Array, count: int, momentum: float = 0.1) -> State:
    later = running(state, mean, np.zeros(np.shape(var)), count, momentum)
    later["running_var"] += momentum * np.sqrt(floats(var) * count / (count - 1))
    return later


def running_in_place(state: State, mean: Array, var: Array, count: int, momentum: float = 0.1) -> State:
    state.update(running(state, mean, var, count, momentum))
    return state


def running_of_one(state: State, mean: Array, var: Array, count: int, momentum: float = 0.1) -> State:
    return running(state, mean, floats(var) * (count < 2) if count < 2 else var, max(count, 2), momentum)


def running_of_none(state: State, mean: Array, var: Array, count: int, momentum: float = 0.1) -> State:
    with np.errstate(all="ignore"):
        unbiased = floats(var) * count / np.float64(count - 1)
    return running(state, mean, unbiased / 2, 2, momentum)


def one_batch(features: int, count: int, *momentum: float) -> Any:
    """Draws the arguments of update_running."""
    return lambda rng: (
        drawn_state(rng, features),
        5 + rng.normal(size=features),
        rng.uniform(2.0, 9.0, size=features),
        count,
        *momentum,
    )


@prop("after several batches, each handed on to the next", 3, "update_running")
def many_batches(student: Any, rng: Rng) -> None:
    count, momentum = 5, float(rng.uniform(0.2, 0.4))
    start = drawn_state(rng, 3)
    means, variances = 5 + rng.normal(size=(6, 3)), rng.uniform(2.0, 9.0, size=(6, 3))
    state: Any = start
    for mean, var in zip(means, variances, strict=True):
        state = student.update_running(state, mean, var, count, momentum)
        holds(type(state) is dict, "`update_running` should return a dict like state.")
    with case_of("six batches of five values, one after the other"):
        for key, values in (("running_mean", means), ("running_var", variances * count / (count - 1))):
            same(entry(state, key, "the state"), ref.running_average(values, start[key], momentum), f"`{key}`")


RUNNING = Exercise(
    name="update_running",
    title="Running statistics for evaluation",
    functions=("update_running",),
    hints=(
        "Each new number is a weighted mean of the old running number and the batch's. Which of the two gets the "
        "weight momentum?",
        "The batch gets momentum, the old number gets the rest. Before the variance enters, correct it, so that it is "
        "as if the squared deviations had been divided by count - 1.",
        "Multiply var by count / (count - 1). Then build a new dict with both keys: one minus momentum times the old "
        "entry, plus momentum times the batch's. If count is below 2, raise ValueError before all that.",
    ),
    checks=(
        numeric(
            "one batch, with the unbiased variance",
            4,
            "update_running",
            running,
            [
                Case("eight values of three features", one_batch(3, 8)),
                Case("two values only, whose variance is doubled", one_batch(4, 2)),
                Case(
                    "from the state before the first batch",
                    lambda rng: (ref.batch_norm_init(2), *one_batch(2, 4)(rng)[1:]),
                ),
            ],
            result="the new state",
        ),
        numeric(
            "another momentum",
            2,
            "update_running",
            running,
            [
                Case("momentum 0.3", one_batch(3, 8, 0.3)),
                Case("momentum 0, which keeps the old state", one_batch(2, 5, 0.0)),
                Case("momentum 1, which keeps nothing of it", one_batch(2, 5, 1.0)),
            ],
            result="the new state",
        ),
        many_batches,
        refused(
            "a single value has no variance",
            1,
            "update_running",
            {"a count of one": one_batch(2, 1), "a count of none": one_batch(2, 0)},
            (),
        ),
        unchanged(2, {"update_running": one_batch(3, 6)}),
    ),
    mistakes=(
        Mistake(
            name="momentum-inverted",
            advice="momentum is the weight of the new batch: after one batch with momentum 0.1, a tenth of its mean "
            "has come in, not nine tenths.",
            replaces={"update_running": running_inverted},
        ),
        Mistake(
            name="momentum-argument-ignored",
            advice="The `momentum` argument is not used: yours always gives the new batch the weight 0.1.",
            replaces={"update_running": running_always_a_tenth},
        ),
        Mistake(
            name="running-statistics-replaced",
            advice="The new batch replaces all that was known before; it should only get the weight momentum.",
            replaces={"update_running": running_replaced},
        ),
        Mistake(
            name="running-variance-biased",
            advice="The variance within a batch is too small by (count - 1) / count on average: multiply it by count / "
            "(count - 1) before it enters running_var.",
            replaces={"update_running": running_biased},
        ),
        Mistake(
            name="variance-corrected-backwards",
            advice="The correction makes the variance larger: multiply by count / (count - 1), not by its inverse.",
            replaces={"update_running": running_corrected_backwards},
        ),
        Mistake(
            name="running-mean-corrected-too",
            advice="Only the variance is too small within a batch; the mean is right on average and needs no "
            "correction.",
            replaces={"update_running": running_mean_corrected},
        ),
        Mistake(
            name="standard-deviation-in-running-var",
            advice="running_var is a mean of variances; a mean of their square roots is something else.",
            replaces={"update_running": running_std},
        ),
        Mistake(
            name="state-written-over",
            advice="The old state was changed by the call; build a new dict, for the caller may need the old one.",
            replaces={"update_running": running_in_place},
        ),
        Mistake(
            name="variance-of-one-value",
            advice="One value has no unbiased variance (it would be 0 / 0): raise ValueError when count is below 2.",
            replaces={"update_running": running_of_one},
            variants=({"update_running": running_of_none},),
        ),
    ),
)

# --- batch normalisation, forward ------------------------------------------------------------------------------------

# What a mistake may do another way: which statistics normalise, the inverse of the standard deviation, scale and shift,
# and the state that is returned.
Chosen = Callable[[Array, State, bool], Moments]
Inverse = Callable[[Any, float], Any]
Scaled = Callable[[Array, Array, Array], Array]
After = Callable[[State, State, State], State]


def right_statistics(x: Array, state: State, training: bool) -> Moments:
    return statistics(x) if training else (state["running_mean"], state["running_var"])


def always_of_the_batch(x: Array, state: State, training: bool) -> Moments:
    return statistics(x)


def always_running(x: Array, state: State, training: bool) -> Moments:
    return state["running_mean"], state["running_var"]


def unbiased_in_training(x: Array, state: State, training: bool) -> Moments:
    return statistics_unbiased(x) if training else right_statistics(x, state, training)


def of_each_row(x: Array, state: State, training: bool) -> Moments:
    if not training:
        return right_statistics(x, state, training)
    return x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)


def of_everything(x: Array, state: State, training: bool) -> Moments:
    return statistics_of_all(x) if training else right_statistics(x, state, training)


def by_the_shortcut(x: Array, state: State, training: bool) -> Moments:
    return statistics_shortcut(x) if training else right_statistics(x, state, training)


def root_inside(var: Any, eps: float) -> Any:
    return 1.0 / np.sqrt(var + eps)


def root_before_eps(var: Any, eps: float) -> Any:
    return 1.0 / (np.sqrt(var) + eps)


def no_root(var: Any, eps: float) -> Any:
    return 1.0 / (var + eps)


def own_eps(var: Any, eps: float) -> Any:
    return root_inside(var, 1e-5)


def no_eps(var: Any, eps: float) -> Any:
    with np.errstate(all="ignore"):
        return 1.0 / np.sqrt(var)


def right_scale(x_hat: Array, gamma: Array, beta: Array) -> Array:
    return gamma * x_hat + beta


def shift_scaled_too(x_hat: Array, gamma: Array, beta: Array) -> Array:
    return gamma * (x_hat + beta)


def roles_swapped(x_hat: Array, gamma: Array, beta: Array) -> Array:
    return beta * x_hat + gamma


def no_scale(x_hat: Array, gamma: Array, beta: Array) -> Array:
    return x_hat


def the_new_state(old: State, new: State, moved: State) -> State:
    return new


def the_old_state(old: State, new: State, moved: State) -> State:
    return {key: floats(value) for key, value in old.items()}


def the_moved_state(old: State, new: State, moved: State) -> State:
    return moved


def written_into_the_old(old: State, new: State, moved: State) -> State:
    old.update(new)
    return old


def forward_with(
    *,
    chosen: Chosen = right_statistics,
    inverse: Inverse = root_inside,
    scaled: Scaled = right_scale,
    after: After = the_new_state,
    keeps_momentum: bool = True,
    one_is_enough: bool = False,
) -> dict[str, Callable[..., Forward]]:
    """A forward pass that differs from the right one in what is named; its backward is not asked for."""

    def forward(
        x: Array, gamma: Array, beta: Array, state: State, training: bool, momentum: float = 0.1, eps: float = 1e-5
    ) -> Forward:
        x = floats(x)
        weight = momentum if keeps_momentum else 0.1
        if training and len(x) == 1 and not one_is_enough:
            raise ValueError("training needs more than one example")
        moved = running(state, *statistics(x), max(len(x), 2), weight)
        new = moved if training else the_old_state(state, moved, moved)
        mean, var = chosen(x, state, training)
        out = scaled((x - mean) * inverse(floats(var), eps), floats(gamma), floats(beta))
        return out, "cache", after(state, new, moved)

    return {"batch_norm_forward": forward}


def batch_of_one(rng: Rng) -> tuple[Any, ...]:
    return arguments(1, 3)(rng)


def with_options(draw: Any, **changes: Any) -> Any:
    """Draws the arguments and changes x: "narrow", "constant" or "far off"."""

    def changed(rng: Rng) -> tuple[Any, ...]:
        x, *rest = draw(rng)
        kind = changes["x"]
        if kind == "narrow":
            x = narrow(rng, *x.shape)
        elif kind == "constant":
            x[:, 1] = 0.1
        else:
            x = far_off(rng, *x.shape)
        return x, *rest

    return changed


def as_lists(draw: Any) -> Any:
    """The drawn arguments as nested lists, those of the state too."""

    def drawn(rng: Rng) -> tuple[Any, ...]:
        x, gamma, beta, state, training = draw(rng)
        return x.tolist(), gamma.tolist(), beta.tolist(), {k: v.tolist() for k, v in state.items()}, training

    return drawn


TRAINING = [
    Case("seven examples of four features", arguments(7, 4)),
    Case("as many examples as features, where a wrong axis fits too", arguments(4, 4)),
    Case("a batch of two", arguments(2, 3)),
    Case("a single feature", arguments(5, 1)),
]
EVALUATION = [
    Case("six examples of four features, in evaluation", arguments(6, 4, training=False)),
    Case("as many examples as features, in evaluation", arguments(3, 3, training=False)),
    Case("a batch of one, in evaluation", arguments(1, 3, training=False)),
]


@prop("in evaluation every row comes out as it would alone", 2, "batch_norm_forward")
def rows_alone(student: Any, rng: Rng) -> None:
    x, gamma, beta, state, _ = arguments(5, 3)(rng)

    def out_of(rows: Array) -> Array:
        answer = student.call("batch_norm_forward", rows, gamma, beta, state, False, keep=(1,))
        out = items(answer, ("out", "cache", "new_state"))[0]
        return numbers(out, rows.shape, "`out`")

    together = out_of(x)
    for i in range(len(x)):
        with case_of("a row on its own, in evaluation, and the same row in a batch of five"):
            same(out_of(x[i : i + 1])[0], together[i], "the row on its own")


FORWARD = Exercise(
    name="batch_norm_forward",
    title="Batch normalisation, forward",
    functions=("batch_norm_forward",),
    hints=(
        "Training and evaluation differ in two things only: where mean and variance come from, and whether the state "
        "moves. What comes after is the same.",
        "In training: batch_statistics for mean and var, update_running for the new state, with the number of rows as "
        "its count. In evaluation: the two entries of the state. Then normalise, scale, shift.",
        "Compute inv_std as one over the square root of (var + eps), x_hat as (x - mean) times inv_std, and out as "
        "gamma times x_hat plus beta. Put x_hat, inv_std, gamma and training in the cache, as a tuple, and return the "
        "three things in the order of the docstring.",
    ),
    checks=(
        numeric(
            "training: the output",
            4,
            "batch_norm_forward",
            ref.batch_norm_forward,
            TRAINING,
            pick=0,
            result="`out`",
            keep=(1,),
        ),
        numeric(
            "training: the state moves on",
            3,
            "batch_norm_forward",
            ref.batch_norm_forward,
            [
                *TRAINING[:3],
                Case("momentum 0.4", arguments(6, 3), {"momentum": 0.4}),
            ],
            pick=2,
            result="the new state",
            keep=(1,),
        ),
        numeric(
            "evaluation: the output",
            3,
            "batch_norm_forward",
            ref.batch_norm_forward,
            EVALUATION,
            pick=0,
            result="`out`",
            keep=(1,),
        ),
        numeric(
            "evaluation: the state stays as it is",
            2,
            "batch_norm_forward",
            ref.batch_norm_forward,
            EVALUATION,
            pick=2,
            result="the new state",
            keep=(1,),
        ),
        rows_alone,
        numeric(
            "eps is added to the variance, inside the root",
            2,
            "batch_norm_forward",
            ref.batch_norm_forward,
            [
                Case("a variance of one millionth, in training", with_options(arguments(6, 3), x="narrow")),
                Case("a feature that is constant over the batch", with_options(arguments(5, 3), x="constant")),
                Case("eps of 0.5, in training", arguments(6, 3), {"eps": 0.5}),
                Case("eps of 0.5, in evaluation", arguments(4, 3, training=False), {"eps": 0.5}),
                Case("eps of 0, in training", arguments(5, 2), {"eps": 0.0}),
            ],
            pick=0,
            result="`out`",
            keep=(1,),
        ),
        numeric(
            "values around a hundred million",
            1,
            "batch_norm_forward",
            ref.batch_norm_forward,
            [Case("a spread of about 3 around a hundred million", with_options(arguments(8, 3), x="far off"))],
            pick=0,
            result="`out`",
            keep=(1,),
        ),
        refused(
            "a batch of one cannot train",
            1,
            "batch_norm_forward",
            {"one example, in training": batch_of_one},
            (1,),
        ),
        numeric(
            "lists are accepted",
            1,
            "batch_norm_forward",
            ref.batch_norm_forward,
            [
                Case("nested lists, in training", as_lists(arguments(3, 2))),
                Case("nested lists, in evaluation", as_lists(arguments(3, 2, training=False))),
            ],
            pick=0,
            result="`out`",
            keep=(1,),
        ),
        unchanged(1, {"batch_norm_forward": arguments(4, 3)}, keep=(1,)),
    ),
    mistakes=(
        Mistake(
            name="batch-statistics-in-evaluation",
            advice="In evaluation the running statistics normalise; with the batch's own, an answer depends on which "
            "other examples happen to be in the batch.",
            replaces=forward_with(chosen=always_of_the_batch),
        ),
        Mistake(
            name="running-statistics-in-training",
            advice="In training the batch's own mean and variance normalise; the running ones are only for evaluation.",
            replaces=forward_with(chosen=always_running),
        ),
        Mistake(
            name="state-moves-in-evaluation",
            advice="The running statistics belong to the training data: in evaluation they must stay as they are.",
            replaces=forward_with(after=the_moved_state),
        ),
        Mistake(
            name="state-never-moves",
            advice="The running statistics never see a batch: in training, return what update_running gives.",
            replaces=forward_with(after=the_old_state),
        ),
        Mistake(
            name="old-state-written-over",
            advice="The caller's state was changed by the call: leave it alone, and return a new dict.",
            replaces=forward_with(after=written_into_the_old),
        ),
        Mistake(
            name="eps-added-to-the-root",
            advice="eps belongs inside the square root, sqrt(var + eps); added to the root, it matters a hundred times "
            "less where the variance is tiny.",
            replaces=forward_with(inverse=root_before_eps),
        ),
        Mistake(
            name="divided-by-the-variance",
            advice="x_hat divides by the standard deviation: the square root of var + eps is missing.",
            replaces=forward_with(inverse=no_root),
        ),
        Mistake(
            name="eps-argument-ignored",
            advice="The `eps` argument is not used: yours always takes 1e-5.",
            replaces=forward_with(inverse=own_eps),
        ),
        Mistake(
            name="eps-left-out",
            advice="Without eps a constant feature is divided by zero: add eps to the variance.",
            replaces=forward_with(inverse=no_eps),
        ),
        Mistake(
            name="momentum-not-passed-on",
            advice="The `momentum` argument must reach update_running; yours leaves it at 0.1.",
            replaces=forward_with(keeps_momentum=False),
        ),
        Mistake(
            name="shift-scaled-too",
            advice="beta is added after the scaling: gamma * x_hat + beta, not gamma * (x_hat + beta).",
            replaces=forward_with(scaled=shift_scaled_too),
        ),
        Mistake(
            name="gamma-and-beta-swapped",
            advice="gamma scales and beta shifts; in yours they have changed places.",
            replaces=forward_with(scaled=roles_swapped),
        ),
        Mistake(
            name="scale-and-shift-forgotten",
            advice="This is x_hat; the output is gamma * x_hat + beta.",
            replaces=forward_with(scaled=no_scale),
        ),
        Mistake(
            name="normalised-with-unbiased-variance",
            advice="The variance that normalises is the biased one, divided by B; the unbiased one is only for "
            "running_var.",
            replaces=forward_with(chosen=unbiased_in_training),
            variants=({"batch_statistics": statistics_unbiased},),
        ),
        Mistake(
            name="normalised-along-each-row",
            advice="This normalises every example by itself, as layer normalisation does; the statistics of batch "
            "normalisation run over the batch, axis 0.",
            replaces=forward_with(chosen=of_each_row),
        ),
        Mistake(
            name="normalised-with-one-statistic",
            advice="Every feature has its own mean and variance; yours are those of the whole array.",
            replaces=forward_with(chosen=of_everything),
            variants=({"batch_statistics": statistics_of_all},),
        ),
        Mistake(
            name="normalised-by-the-shortcut",
            advice="The mean of the squares minus the square of the mean loses all digits where the mean is large: "
            "subtract the mean first.",
            replaces=forward_with(chosen=by_the_shortcut),
            variants=({"batch_statistics": statistics_shortcut},),
        ),
        Mistake(
            name="trained-on-a-batch-of-one",
            advice="A batch of one equals its own mean, and its output is beta whatever x is: in training, raise "
            "ValueError.",
            replaces=forward_with(one_is_enough=True),
        ),
    ),
)

# --- gradients -------------------------------------------------------------------------------------------------------

NAMES = ("out", "cache", "new_state")
GRADIENTS = ("dx", "dgamma", "dbeta")


def passed_forward(student: Any, forward: str, inputs: dict[str, Any]) -> tuple[Any, Any]:
    """The student's output and cache handle."""
    x, gamma, beta, rest = (inputs[key] for key in ("x", "gamma", "beta", "rest"))
    answer = student.call(forward, x, gamma, beta, *rest, keep=(1,), **inputs["options"])
    with case_of("", student.transcript[-1][0]):
        return items(answer, NAMES if rest else NAMES[:2], f"the result of {forward}")[:2]


def passed_backward(student: Any, backward: str, dout: Array, cache: Any) -> dict[str, Any]:
    answer = student.call(backward, dout, cache)
    with case_of("", student.transcript[-1][0]):
        return dict(zip(("x", "gamma", "beta"), items(answer, GRADIENTS, f"the result of {backward}"), strict=True))


def right_gradients(forward: str, inputs: dict[str, Any]) -> dict[str, Array]:
    x, gamma, beta, rest = (inputs[key] for key in ("x", "gamma", "beta", "rest"))
    if forward == "layer_norm_forward":
        grads = ref.layer_norm_backward(inputs["dout"], ref.layer_norm_forward(x, gamma, beta, **inputs["options"])[1])
    else:
        cache = ref.batch_norm_forward(x, gamma, beta, *rest, **inputs["options"])[1]
        grads = ref.batch_norm_backward(inputs["dout"], cache)
    return dict(zip(("x", "gamma", "beta"), grads, strict=True))


def named_inputs(draw: Any, **options: Any) -> Any:
    """Draws the named inputs of a gradient: the arguments of a forward pass, and a random cotangent."""

    def drawn(rng: Rng) -> dict[str, Any]:
        x, gamma, beta, *rest = draw(rng)
        dout = rng.normal(size=np.shape(x))
        return {"x": x, "gamma": gamma, "beta": beta, "rest": tuple(rest), "dout": dout, "options": options}

    return drawn


def norm_gradient(
    name: str, points: int, functions: tuple[str, str], wanted: Sequence[str], cases: Sequence[GradientCase]
) -> Check:
    """A gradient check of those of x, gamma and beta that are `wanted`."""
    forward, backward = functions

    def grads(student: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        _, cache = passed_forward(student, forward, inputs)
        return passed_backward(student, backward, inputs["dout"], cache)

    def reference(inputs: dict[str, Any]) -> dict[str, Any]:
        return {key: grad for key, grad in right_gradients(forward, inputs).items() if key in wanted}

    return gradient(
        name,
        points,
        functions,
        cases,
        value=lambda student, inputs: passed_forward(student, forward, inputs)[0],
        grads=grads,
        reference=reference,
        names={"x": "`dx`", "gamma": "`dgamma`", "beta": "`dbeta`"},
    )


def cache_serves(points: int, functions: tuple[str, str], draw: Any) -> Check:
    """A cache can be used twice, and after other forward passes."""
    forward, backward = functions

    @prop("a cache can be used again, after other passes", points, *functions)
    def check(student: Any, rng: Rng) -> None:
        one, other = named_inputs(draw)(rng), named_inputs(draw)(rng)
        _, cache = passed_forward(student, forward, one)
        _, later = passed_forward(student, forward, other)
        rounds = (
            ("after another forward pass", one, cache, one["dout"]),
            ("on the later pass", other, later, other["dout"]),
            ("used a second time, with another dout", one, cache, other["dout"]),
        )
        for reason, inputs, kept, dout in rounds:
            with case_of(f"a cache {reason}"):
                right = right_gradients(forward, {**inputs, "dout": dout})
                for key, got in passed_backward(student, backward, dout, kept).items():
                    same(got, right[key], f"`d{key}`")

    return check


def dout_untouched(points: int, functions: tuple[str, str], draw: Any) -> Check:
    forward, backward = functions

    @prop("dout is left as it was", points, *functions, alone=False)
    def check(student: Any, rng: Rng) -> None:
        inputs = named_inputs(draw)(rng)
        _, cache = passed_forward(student, forward, inputs)
        passed_backward(student, backward, inputs["dout"], cache)
        holds(
            0 not in student.changed,
            f"`{backward}` modified its argument `dout` in place; work on a copy or a new array.",
        )

    return check


BACK = ("batch_norm_forward", "batch_norm_backward")


@prop("each column of dx sums to zero, in training", 2, *BACK)
def columns_sum_to_zero(student: Any, rng: Rng) -> None:
    inputs = named_inputs(arguments(6, 4))(rng)
    out, cache = passed_forward(student, BACK[0], inputs)
    dx = numbers(passed_backward(student, BACK[1], inputs["dout"], cache)["x"], (6, 4), "`dx`")
    with case_of("six examples of four features, in training"):
        same(dx.sum(axis=0), np.zeros(4), "the sum of each column of dx")
        holds(bool(np.abs(dx).max() > 1e-3), "dx should not be zero.")
    # Adding a constant changes x, and with it the rounding of x - mean: a few units in the last digit of 10.
    moved, _ = passed_forward(student, BACK[0], {**inputs, "x": inputs["x"] + 2.0})
    with case_of("2 added to every entry of x, in training"):
        same(moved, numbers(out, (6, 4), "`out`"), "`out`, which no constant added to a feature can change,")


def backward_changed(change: Callable[[Array, Any], Gradients], forward: Any = None) -> dict[str, Callable[..., Any]]:
    """The right forward pass, and a backward pass that goes wrong in `change`."""
    return {"batch_norm_forward": forward or ref.batch_norm_forward, "batch_norm_backward": change}


def constants(dout: Array, cache: Any) -> Gradients:
    _, dgamma, dbeta = ref.batch_norm_backward(dout, cache)
    return floats(dout) * cache.gamma * cache.inv_std, dgamma, dbeta


def axes_of(dout: Array) -> tuple[int, ...]:
    return (0, *range(2, np.ndim(dout)))


def only_the_mean(dout: Array, cache: Any) -> Gradients:
    dx, dgamma, dbeta = ref.batch_norm_backward(dout, cache)
    if cache.training:
        g = floats(dout) * cache.gamma
        dx = (g - g.mean(axis=axes_of(g), keepdims=True)) * cache.inv_std
    return dx, dgamma, dbeta


def only_the_variance(dout: Array, cache: Any) -> Gradients:
    dx, dgamma, dbeta = ref.batch_norm_backward(dout, cache)
    if cache.training:
        g = floats(dout) * cache.gamma
        dx = (g - cache.x_hat * (g * cache.x_hat).mean(axis=axes_of(g), keepdims=True)) * cache.inv_std
    return dx, dgamma, dbeta


def sums_for_means(dout: Array, cache: Any) -> Gradients:
    dx, dgamma, dbeta = ref.batch_norm_backward(dout, cache)
    if cache.training:
        g = floats(dout) * cache.gamma
        sums = (a.sum(axis=axes_of(g), keepdims=True) for a in (g, g * cache.x_hat))
        dx = (g - next(sums) - cache.x_hat * next(sums)) * cache.inv_std
    return dx, dgamma, dbeta


def means_of_rows(dout: Array, cache: Any) -> Gradients:
    dx, dgamma, dbeta = ref.batch_norm_backward(dout, cache)
    if cache.training:
        g = floats(dout) * cache.gamma
        means = [a.mean(axis=1, keepdims=True) for a in (g, g * cache.x_hat)]
        dx = (g - means[0] - cache.x_hat * means[1]) * cache.inv_std
    return dx, dgamma, dbeta


def gamma_forgotten(dout: Array, cache: Any) -> Gradients:
    dx, dgamma, dbeta = ref.batch_norm_backward(dout, cache)
    return dx / cache.gamma, dgamma, dbeta


def std_forgotten(dout: Array, cache: Any) -> Gradients:
    dx, dgamma, dbeta = ref.batch_norm_backward(dout, cache)
    return dx / cache.inv_std, dgamma, dbeta


def always_training(dout: Array, cache: Any) -> Gradients:
    return ref.batch_norm_backward(dout, cache._replace(training=True))


def averaged(dout: Array, cache: Any) -> Gradients:
    dx, dgamma, dbeta = ref.batch_norm_backward(dout, cache)
    count = np.size(dout) / len(dbeta)
    return dx, dgamma / count, dbeta / count


def without_x_hat(dout: Array, cache: Any) -> Gradients:
    dx, _, dbeta = ref.batch_norm_backward(dout, cache)
    return dx, dbeta, dbeta


def other_order(dout: Array, cache: Any) -> Gradients:
    dx, dgamma, dbeta = ref.batch_norm_backward(dout, cache)
    return dx, dbeta, dgamma


def forward_keeping_x(*args: Any, **kwargs: Any) -> Forward:
    out, cache, state = ref.batch_norm_forward(*args, **kwargs)
    return out, [floats(args[0]), cache], state


def gamma_with_x(dout: Array, cache: Any) -> Gradients:
    dx, _, dbeta = ref.batch_norm_backward(dout, cache[1])
    return dx, (floats(dout) * cache[0]).sum(axis=axes_of(dout)), dbeta


def forward_keeping_out(*args: Any, **kwargs: Any) -> Forward:
    out, cache, state = ref.batch_norm_forward(*args, **kwargs)
    return out, [out, cache], state


_LAST: list[Any] = []


def forward_noting(*args: Any, **kwargs: Any) -> Forward:
    out, cache, state = ref.batch_norm_forward(*args, **kwargs)
    _LAST[:] = [cache]
    return out, cache, state


def backward_of_last(dout: Array, cache: Any) -> Gradients:
    return ref.batch_norm_backward(dout, _LAST[0])


VECTORS = [
    GradientCase("seven examples of four features, in training", named_inputs(arguments(7, 4))),
    GradientCase("a single feature, in training", named_inputs(arguments(5, 1))),
    GradientCase("eps of 0.5, in training", named_inputs(arguments(6, 3), eps=0.5)),
]
FIXED = [
    GradientCase("six examples of four features, in evaluation", named_inputs(arguments(6, 4, training=False))),
    GradientCase("a batch of one, in evaluation", named_inputs(arguments(1, 3, training=False))),
]

BACKWARD = Exercise(
    name="batch_norm_backward",
    title="Batch normalisation, backward",
    functions=("batch_norm_backward",),
    hints=(
        "Begin with dbeta and dgamma: beta is added to every row, and gamma multiplies x_hat in every row. Then ask "
        "what else changes when one entry of x is nudged.",
        "In training the nudge moves the column's mean and variance, so it reaches all rows of the column. The "
        "docstring's formula has one mean over the batch for each of these two ways. In evaluation there is neither.",
        "Let g be dout times gamma. If the cache says training, subtract from g its mean over axis 0, and x_hat times "
        "the mean over axis 0 of g times x_hat. In both cases, multiply by inv_std at the end.",
    ),
    checks=(
        norm_gradient("gradients of gamma and beta", 4, BACK, ("gamma", "beta"), [*VECTORS, *FIXED]),
        norm_gradient("gradient of x, in training", 6, BACK, ("x",), VECTORS),
        norm_gradient("gradient of x, in evaluation", 3, BACK, ("x",), FIXED),
        norm_gradient(
            "shapes where the wrong axis fits too",
            2,
            BACK,
            ("x", "gamma", "beta"),
            [
                GradientCase("as many examples as features, in training", named_inputs(arguments(4, 4))),
                GradientCase("a batch of two, whose dx is all but zero", named_inputs(arguments(2, 2))),
            ],
        ),
        norm_gradient(
            "gradients are computed, not approximated",
            2,
            BACK,
            ("x", "gamma", "beta"),
            [
                GradientCase(
                    "features with a spread of a thousandth", named_inputs(with_options(arguments(6, 3), x="narrow"))
                )
            ],
        ),
        columns_sum_to_zero,
        cache_serves(2, BACK, arguments(5, 3)),
        dout_untouched(1, BACK, arguments(5, 3)),
    ),
    mistakes=(
        Mistake(
            name="mean-and-variance-taken-for-constants",
            advice="In training the batch's mean and variance depend on x, and the chain rule goes through both: two "
            "terms of dx are missing.",
            replaces=backward_changed(constants),
        ),
        Mistake(
            name="variance-taken-for-constant",
            advice="The way through the mean is there, the way through the variance is not: x_hat times the mean of g "
            "x_hat must be subtracted too.",
            replaces=backward_changed(only_the_mean),
        ),
        Mistake(
            name="mean-taken-for-constant",
            advice="The way through the variance is there, the way through the mean is not: subtract the mean of g.",
            replaces=backward_changed(only_the_variance),
        ),
        Mistake(
            name="sums-where-means-belong",
            advice="Both corrections of dx are means over the batch; yours are sums, B times too large.",
            replaces=backward_changed(sums_for_means),
        ),
        Mistake(
            name="means-along-each-row",
            advice="The means in dx run over the batch, axis 0, as the statistics did; yours run along each row.",
            replaces=backward_changed(means_of_rows),
        ),
        Mistake(
            name="gamma-forgotten-in-dx",
            advice="On the way from out to x_hat the gradient is multiplied by gamma: begin with g = dout * gamma.",
            replaces=backward_changed(gamma_forgotten),
        ),
        Mistake(
            name="standard-deviation-forgotten-in-dx",
            advice="x was divided by sqrt(var + eps), so the gradient is divided by it too.",
            replaces=backward_changed(std_forgotten),
        ),
        Mistake(
            name="training-formula-in-evaluation",
            advice="In evaluation the statistics do not depend on x: dx is dout * gamma / sqrt(var + eps) and no more. "
            "Put `training` in the cache.",
            replaces=backward_changed(always_training),
        ),
        Mistake(
            name="parameter-gradients-averaged",
            advice="dgamma and dbeta are sums over the batch; the 1/B of a mean loss is inside dout already.",
            replaces=backward_changed(averaged),
        ),
        Mistake(
            name="dgamma-without-x-hat",
            advice="gamma was multiplied by x_hat, so dgamma adds up dout * x_hat; dout alone gives dbeta.",
            replaces=backward_changed(without_x_hat),
        ),
        Mistake(
            name="dgamma-with-x-itself",
            advice="gamma multiplies the normalised x_hat, not x: dgamma is the sum of dout * x_hat.",
            replaces=backward_changed(gamma_with_x, forward_keeping_x),
        ),
        Mistake(
            name="dgamma-with-the-output",
            advice="gamma multiplies x_hat; out is what comes after it. dgamma is the sum of dout * x_hat.",
            replaces=backward_changed(gamma_with_x, forward_keeping_out),
        ),
        Mistake(
            name="dgamma-and-dbeta-swapped",
            advice="The gradients are right, but their order is not: dx comes first, then dgamma, then dbeta.",
            replaces=backward_changed(other_order),
        ),
        Mistake(
            name="cache-in-a-global",
            advice="Every forward pass has its own cache; a global remembers the last pass only.",
            replaces=backward_changed(backward_of_last, forward_noting),
        ),
    ),
)

# --- images ----------------------------------------------------------------------------------------------------------

IMAGE_BACK = ("batch_norm_images_forward", "batch_norm_images_backward")


def rows_of(x: Array) -> Array:
    """(B, C, H, W) as (B * H * W, C)."""
    return np.moveaxis(floats(x), 1, -1).reshape(-1, np.shape(x)[1])


def images_forward_with(
    moments: Callable[[Array], Moments], count_of: Callable[[Array], int] = lambda x: x.size // x.shape[1]
) -> Callable[..., Forward]:
    """A forward pass with statistics of its own in training; `moments` gives arrays that broadcast to x."""

    def forward(
        x: Array, gamma: Array, beta: Array, state: State, training: bool, momentum: float = 0.1, eps: float = 1e-5
    ) -> Forward:
        out, cache, later = ref.batch_norm_forward(x, gamma, beta, state, training, momentum, eps)
        if not training:
            return out, cache, later
        x = floats(x)
        mean, var = moments(x)
        inv_std = 1.0 / np.sqrt(var + eps)
        x_hat = (x - mean) * inv_std
        spread_out = (np.broadcast_to(a, x.shape).mean(axis=(0, 2, 3)) for a in (mean, var))
        later = running(state, next(spread_out), next(spread_out), count_of(x), momentum)
        out = cache.gamma * x_hat + floats(beta)[:, None, None]
        return out, ref.BatchNormCache(x_hat, inv_std, cache.gamma, True), later

    return forward


def over(*axes: int) -> Callable[[Array], Moments]:
    return lambda x: (x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True))


def count_is_the_batch(x: Array) -> int:
    return len(x)


def images_without_options(momentum_too: bool = True, eps_too: bool = True) -> Callable[..., Forward]:
    """The right forward pass, but deaf to what the caller says of momentum and eps."""

    def forward(
        x: Array, gamma: Array, beta: Array, state: State, training: bool, momentum: float = 0.1, eps: float = 1e-5
    ) -> Forward:
        heard = (0.1 if momentum_too else momentum, 1e-5 if eps_too else eps)
        return ref.batch_norm_forward(x, gamma, beta, state, training, *heard)

    return forward


def images_reshaped_only(
    x: Array, gamma: Array, beta: Array, state: State, training: bool, momentum: float = 0.1, eps: float = 1e-5
) -> Forward:
    x = floats(x)
    rows = x.reshape(-1, x.shape[1])
    out, cache, later = ref.batch_norm_forward(rows, gamma, beta, state, training, momentum, eps)
    return out.reshape(x.shape), cache, later


def images_not_moved_back(
    x: Array, gamma: Array, beta: Array, state: State, training: bool, momentum: float = 0.1, eps: float = 1e-5
) -> Forward:
    out, cache, later = ref.batch_norm_forward(rows_of(x), gamma, beta, state, training, momentum, eps)
    return out.reshape(np.shape(x)), cache, later


def images_backward_reshaped_only(dout: Array, cache: Any) -> Gradients:
    rows = floats(dout).reshape(-1, np.shape(dout)[1])
    kept = cache._replace(
        x_hat=rows_of(cache.x_hat), inv_std=cache.inv_std.reshape(1, -1), gamma=cache.gamma.reshape(1, -1)
    )
    dx, dgamma, dbeta = ref.batch_norm_backward(rows, kept)
    return dx.reshape(np.shape(dout)), dgamma, dbeta


def images_dx_not_moved_back(dout: Array, cache: Any) -> Gradients:
    dx, dgamma, dbeta = ref.batch_norm_backward(dout, cache)
    return rows_of(dx).reshape(dx.shape), dgamma, dbeta


def images_means_over_batch(dout: Array, cache: Any) -> Gradients:
    dx, dgamma, dbeta = ref.batch_norm_backward(dout, cache)
    if cache.training:
        g = floats(dout) * cache.gamma
        means = [a.mean(axis=0, keepdims=True) for a in (g, g * cache.x_hat)]
        dx = (g - means[0] - cache.x_hat * means[1]) * cache.inv_std
    return dx, dgamma, dbeta


def images_parameters_summed_over_batch(dout: Array, cache: Any) -> Gradients:
    dx, _, _ = ref.batch_norm_backward(dout, cache)
    return dx, (floats(dout) * cache.x_hat).sum(axis=0), floats(dout).sum(axis=0)


def images(forward: Any = None, backward: Any = None) -> dict[str, Any]:
    """Both functions, one of them wrong."""
    return dict(zip(IMAGE_BACK, (forward or ref.batch_norm_forward, backward or ref.batch_norm_backward), strict=True))


def far_off_images(rng: Rng) -> tuple[Any, ...]:
    """Two images of three channels, with eight values around a hundred million in each channel."""
    rows = far_off(rng, 8, 3).reshape(2, 2, 2, 3)
    return np.moveaxis(rows, -1, 1).copy(), *scale_and_shift(rng, 3), drawn_state(rng, 3), True


IMAGE_CASES = {
    "three images of two channels, four rows, five columns": (3, 2, 4, 5),
    "all four sizes equal, where wrong axes fit too": (3, 3, 3, 3),
    "a single image": (1, 2, 3, 4),
    "images of one pixel": (5, 3, 1, 1),
}

IMAGE_GRADIENTS = [
    *[GradientCase(f"{r}, in training", named_inputs(arguments(*s))) for r, s in IMAGE_CASES.items()],
    GradientCase("two images of three channels, in evaluation", named_inputs(arguments(2, 3, 2, 4, training=False))),
]


def image_check(name: str, points: int, cases: Sequence[Case], pick: int, result: str) -> Check:
    return numeric(name, points, IMAGE_BACK[0], ref.batch_norm_forward, cases, pick=pick, result=result, keep=(1,))


IMAGES = Exercise(
    name="batch_norm_images",
    title="Batch normalisation of images",
    functions=IMAGE_BACK,
    hints=(
        "How many numbers share one mean? All pixels of all images, of one channel. What would the table look like "
        "that has one column a channel?",
        "Move the channel axis to the end with transpose, and reshape to (B * H * W, C): your functions for vectors do "
        "the rest. Back again: reshape to (B, H, W, C) first, then transpose.",
        "The axes of (B, C, H, W) in the order 0, 2, 3, 1 are (B, H, W, C); the way back is 0, 3, 1, 2. The backward "
        "pass lays out dout exactly as forward laid out x. The shape can be read off dout.",
    ),
    checks=(
        image_check(
            "training: the output",
            2,
            [
                *[Case(r, arguments(*shape)) for r, shape in IMAGE_CASES.items()],
                Case("eps of 0.5", arguments(2, 3, 2, 2), {"eps": 0.5}),
                Case("nested lists", as_lists(arguments(2, 2, 1, 3))),
                Case("a spread of about 3 around a hundred million", far_off_images),
            ],
            0,
            "`out`",
        ),
        image_check(
            "the state, with B * H * W values a channel in training",
            2,
            [
                *[Case(r, arguments(*shape)) for r, shape in IMAGE_CASES.items()],
                Case("momentum 0.4", arguments(3, 2, 2, 3), {"momentum": 0.4}),
                Case("in evaluation, where it stays as it is", arguments(2, 3, 2, 2, training=False)),
            ],
            2,
            "the new state",
        ),
        image_check(
            "evaluation: the output",
            2,
            [
                Case("two images of three channels, in evaluation", arguments(2, 3, 4, 5, training=False)),
                Case("all four sizes equal, in evaluation", arguments(3, 3, 3, 3, training=False)),
                Case("a single pixel, in evaluation", arguments(1, 4, 1, 1, training=False)),
                Case("eps of 0.5, in evaluation", arguments(2, 2, 3, 1, training=False), {"eps": 0.5}),
            ],
            0,
            "`out`",
        ),
        norm_gradient("gradient of the images", 2, IMAGE_BACK, ("x",), IMAGE_GRADIENTS),
        norm_gradient("gradients of gamma and beta", 2, IMAGE_BACK, ("gamma", "beta"), IMAGE_GRADIENTS),
        refused(
            "a single value a channel cannot train",
            1,
            IMAGE_BACK[0],
            {"one image of one pixel, in training": arguments(1, 3, 1, 1)},
            (1,),
        ),
        cache_serves(1, IMAGE_BACK, arguments(2, 3, 2, 2)),
        dout_untouched(1, IMAGE_BACK, arguments(2, 3, 2, 2)),
        unchanged(1, {IMAGE_BACK[0]: arguments(2, 3, 2, 4)}, keep=(1,)),
    ),
    mistakes=(
        Mistake(
            name="channels-mixed-by-reshape",
            advice="reshape(-1, C) keeps the memory's order and fills a column with values of all channels: move the "
            "channel axis to the end first.",
            replaces=images(images_reshaped_only, images_backward_reshaped_only),
            variants=(images(images_reshaped_only), images(backward=images_backward_reshaped_only)),
        ),
        Mistake(
            name="pixels-not-moved-back",
            advice="The rows are (B, H, W, C) inside: reshape to that first and then move the channels back to axis 1.",
            replaces=images(images_not_moved_back, images_dx_not_moved_back),
            variants=(images(images_not_moved_back), images(backward=images_dx_not_moved_back)),
        ),
        Mistake(
            name="statistics-of-every-pixel",
            advice="A channel has one mean, over the batch and all pixels; yours has one for every pixel.",
            replaces=images(images_forward_with(over(0)), images_means_over_batch),
            variants=(images(images_forward_with(over(0))), images(backward=images_means_over_batch)),
        ),
        Mistake(
            name="statistics-of-every-image",
            advice="This normalises each image by itself (instance normalisation); the statistics of batch "
            "normalisation run over the batch as well.",
            replaces=images(images_forward_with(over(2, 3))),
        ),
        Mistake(
            name="statistics-over-the-channels-too",
            advice="One mean for all channels is too few: every channel has its own, so leave axis 1 out.",
            replaces=images(images_forward_with(over(0, 1, 2, 3))),
        ),
        Mistake(
            name="count-is-the-batch-only",
            advice="Every pixel is a value of its channel, so the unbiased variance counts B * H * W values, not B.",
            replaces=images(images_forward_with(over(0, 2, 3), lambda x: max(len(x), 2))),
            variants=(images(images_forward_with(over(0, 2, 3), count_is_the_batch)),),
        ),
        Mistake(
            name="options-not-passed-on",
            advice="momentum and eps must reach batch_norm_forward; yours leaves one of them, or both, at the default.",
            replaces=images(images_without_options()),
            variants=(
                images(images_without_options(eps_too=False)),
                images(images_without_options(momentum_too=False)),
            ),
        ),
        Mistake(
            name="parameter-gradients-of-every-pixel",
            advice="gamma and beta are one number a channel and meet every pixel: sum over batch, height and width.",
            replaces=images(backward=images_parameters_summed_over_batch),
        ),
    ),
)

# --- folding ---------------------------------------------------------------------------------------------------------

Layer = tuple[Array, Array]


def fold_columns(W: Array, b: Array, gamma: Array, beta: Array, state: State, eps: float = 1e-5) -> Layer:
    _, b_new = ref.fold_batch_norm(W, b, gamma, beta, state, eps)
    return floats(W) * fold_scale(gamma, state, eps), b_new


def fold_scale(gamma: Array, state: State, eps: float) -> Array:
    return floats(gamma) / np.sqrt(floats(state["running_var"]) + eps)


def fold_with(bias: Callable[[Array, Array, Array, Array], Array]) -> Any:
    """The right weights with another bias, made of s, b, running_mean and beta."""

    def fold(W: Array, b: Array, gamma: Array, beta: Array, state: State, eps: float = 1e-5) -> Layer:
        W_new, _ = ref.fold_batch_norm(W, b, gamma, beta, state, eps)
        return W_new, bias(fold_scale(gamma, state, eps), floats(b), floats(state["running_mean"]), floats(beta))

    return {"fold_batch_norm": fold}


def fold_no_root(W: Array, b: Array, gamma: Array, beta: Array, state: State, eps: float = 1e-5) -> Layer:
    var = floats(state["running_var"])
    squared = {**state, "running_var": (var + eps) ** 2}
    return ref.fold_batch_norm(W, b, gamma, beta, squared, 0.0)


def fold_no_eps(W: Array, b: Array, gamma: Array, beta: Array, state: State, eps: float = 1e-5) -> Layer:
    return ref.fold_batch_norm(W, b, gamma, beta, state, 0.0)


def fold_weights_only(W: Array, b: Array, gamma: Array, beta: Array, state: State, eps: float = 1e-5) -> Layer:
    return ref.fold_batch_norm(W, b, gamma, beta, state, eps)[0], floats(b)


def fold_in_place(W: Array, b: Array, gamma: Array, beta: Array, state: State, eps: float = 1e-5) -> Layer:
    W_new, b_new = ref.fold_batch_norm(W, b, gamma, beta, state, eps)
    W[:], b[:] = W_new, b_new
    return W, b


def layer_and_norm(out: int, inputs: int, var: float = 1.0) -> Any:
    """Draws the arguments of a fold, the running variance times `var`."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        state = drawn_state(rng, out)
        state["running_var"] *= var
        return rng.normal(size=(out, inputs)), rng.normal(size=out), *scale_and_shift(rng, out), state

    return draw


def listed_layer(rng: Rng) -> tuple[Any, ...]:
    W, b, gamma, beta, state = layer_and_norm(2, 3)(rng)
    return W.tolist(), b.tolist(), gamma.tolist(), beta.tolist(), {key: v.tolist() for key, v in state.items()}


@prop("one layer does the work of two", 2, "fold_batch_norm")
def folded_is_equal(student: Any, rng: Rng) -> None:
    x = rng.normal(size=(6, 4))
    W, b, gamma, beta, state = layer_and_norm(3, 4)(rng)
    W_new, b_new = items(student.fold_batch_norm(W, b, gamma, beta, state), ("W_new", "b_new"))
    want, _, _ = ref.batch_norm_forward(x @ W.T + b, gamma, beta, state, False)
    with case_of("six inputs through the two layers, and through the folded one"):
        got = x @ numbers(W_new, (3, 4), "`W_new`").T + numbers(b_new, (3,), "`b_new`")
        same(got, want, "the output of the folded layer")


FOLD = Exercise(
    name="fold_batch_norm",
    title="Folding it into a linear layer",
    functions=("fold_batch_norm",),
    hints=(
        "Write the output of both layers for one unit as one formula, and collect what multiplies x and what does not.",
        "What multiplies x is s times that unit's row of W. The rest is s times (b minus running_mean), plus beta.",
        "s has shape (out,). To multiply the rows of W (out, in) by it, give it a second axis: s[:, None].",
    ),
    checks=(
        numeric(
            "the new weights",
            2,
            "fold_batch_norm",
            ref.fold_batch_norm,
            [
                Case("three outputs of five inputs", layer_and_norm(3, 5)),
                Case("a square layer, where columns fit as well as rows", layer_and_norm(4, 4)),
                Case("a single output", layer_and_norm(1, 3)),
                Case("nested lists", listed_layer),
            ],
            pick=0,
            result="`W_new`",
        ),
        numeric(
            "the new biases",
            2,
            "fold_batch_norm",
            ref.fold_batch_norm,
            [
                Case("three outputs of five inputs", layer_and_norm(3, 5)),
                Case("a square layer", layer_and_norm(4, 4)),
            ],
            pick=1,
            result="`b_new`",
        ),
        folded_is_equal,
        numeric(
            "eps counts",
            1,
            "fold_batch_norm",
            ref.fold_batch_norm,
            [
                Case("running variances of about a millionth", layer_and_norm(3, 2, 1e-7)),
                Case("eps of 0.5", layer_and_norm(2, 3), {"eps": 0.5}),
            ],
        ),
        unchanged(1, {"fold_batch_norm": layer_and_norm(3, 2)}),
    ),
    mistakes=(
        Mistake(
            name="columns-scaled-instead-of-rows",
            advice="An output is a row of W, and s has one number for each output: multiply the rows, s[:, None] * W.",
            replaces={"fold_batch_norm": fold_columns},
        ),
        Mistake(
            name="running-mean-not-subtracted",
            advice="The normalisation subtracts running_mean: it must be taken off b before s multiplies it.",
            replaces=fold_with(lambda s, b, mean, beta: s * b + beta),
        ),
        Mistake(
            name="bias-not-scaled",
            advice="The old bias goes through the normalisation too: s multiplies (b - running_mean), not the mean "
            "alone.",
            replaces=fold_with(lambda s, b, mean, beta: b - s * mean + beta),
        ),
        Mistake(
            name="old-bias-lost",
            advice="The layer in front has a bias b of its own, which must live on in the new one.",
            replaces=fold_with(lambda s, b, mean, beta: beta - s * mean),
        ),
        Mistake(
            name="mean-not-scaled",
            advice="running_mean is subtracted before the scaling, so s multiplies it as well: s * (b - running_mean).",
            replaces=fold_with(lambda s, b, mean, beta: s * b - mean + beta),
        ),
        Mistake(
            name="beta-not-added",
            advice="The shift beta is part of the normalisation: it is added at the end.",
            replaces=fold_with(lambda s, b, mean, beta: s * (b - mean)),
        ),
        Mistake(
            name="folded-with-the-variance",
            advice="s divides by the standard deviation: take the square root of running_var + eps.",
            replaces={"fold_batch_norm": fold_no_root},
        ),
        Mistake(
            name="folded-without-eps",
            advice="The normalisation divides by sqrt(running_var + eps), so the folded layer must too.",
            replaces={"fold_batch_norm": fold_no_eps},
        ),
        Mistake(
            name="only-the-weights-folded",
            advice="The new bias is missing: it is s * (b - running_mean) + beta.",
            replaces={"fold_batch_norm": fold_weights_only},
        ),
        Mistake(
            name="folded-in-place",
            advice="The given weights were changed by the call; return new arrays.",
            replaces={"fold_batch_norm": fold_in_place},
        ),
    ),
)

# --- layer normalisation ---------------------------------------------------------------------------------------------

LAYER_BACK = ("layer_norm_forward", "layer_norm_backward")


def layer_arguments(*shape: int) -> Any:
    """Draws x of this shape, gamma and beta."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        centre = 5 * rng.normal(size=(*shape[:-1], 1))
        x = centre + rng.uniform(0.5, 4, size=(*shape[:-1], 1)) * rng.normal(size=shape)
        return x, *scale_and_shift(rng, shape[-1])

    return draw


def layer_forward_with(
    *,
    axes: Callable[[int], Any] = lambda ndim: -1,
    ddof: int = 0,
    inverse: Inverse = root_inside,
    scaled: Scaled = right_scale,
    shortcut: bool = False,
) -> dict[str, Any]:
    """Layer normalisation that differs from the right one in what is named."""

    def forward(x: Array, gamma: Array, beta: Array, eps: float = 1e-5) -> tuple[Array, Any]:
        x = floats(x)
        axis = axes(x.ndim)
        mean, var = x.mean(axis=axis, keepdims=True), x.var(axis=axis, keepdims=True, ddof=ddof)
        if shortcut:
            var = (x**2).mean(axis=axis, keepdims=True) - mean**2
        return scaled((x - mean) * inverse(var, eps), floats(gamma), floats(beta)), "cache"

    return {"layer_norm_forward": forward}


def over_the_batch(ndim: int) -> Any:
    return 0


def over_all_but_the_batch(ndim: int) -> Any:
    return tuple(range(1, ndim)) if ndim > 1 else -1


@prop("every vector stands alone", 1, "layer_norm_forward")
def vectors_alone(student: Any, rng: Rng) -> None:
    x, gamma, beta = layer_arguments(3, 2, 4)(rng)

    def out_of(part: Array) -> Array:
        answer = student.call("layer_norm_forward", part, gamma, beta, keep=(1,))
        return numbers(items(answer, ("out", "cache"))[0], part.shape, "`out`")

    together = out_of(x)
    with case_of("one position of one sequence on its own, and the same one in a batch of three"):
        same(out_of(x[1:2, 1:2])[0, 0], together[1, 1], "the vector on its own")
    with case_of("another batch around the first sequence"):
        others = x + 10.0 * np.array([0.0, 1.0, -2.0])[:, None, None] * rng.normal(size=x.shape)
        same(out_of(others)[0], together[0], "the first sequence")


LAYER_FORWARD = Exercise(
    name="layer_norm_forward",
    title="Layer normalisation, forward",
    functions=("layer_norm_forward",),
    hints=(
        "It is your batch normalisation in training, with one axis changed, and without a state.",
        "Mean and variance run along the last axis, whatever the number of axes in front; keepdims=True makes them "
        "line up with x again.",
        "With axis=-1 and keepdims=True: the mean, the deviations, the mean of their squares. Then x_hat, and gamma "
        "and beta, which line up with the last axis by themselves.",
    ),
    checks=(
        numeric(
            "normalised over the last axis",
            3,
            "layer_norm_forward",
            ref.layer_norm_forward,
            [
                Case("three vectors of five features", layer_arguments(3, 5)),
                Case("as many vectors as features", layer_arguments(4, 4)),
                Case("sequences (B, T, D)", layer_arguments(2, 3, 4)),
                Case("a batch of one", layer_arguments(1, 6)),
                Case("one vector on its own, without a batch", layer_arguments(5)),
                Case("four axes", layer_arguments(2, 1, 3, 4)),
                Case("nested lists", lambda rng: tuple(a.tolist() for a in layer_arguments(2, 3)(rng))),
                Case("float32 arrays", lambda rng: tuple(a.astype(np.float32) for a in layer_arguments(3, 4)(rng))),
            ],
            pick=0,
            result="`out`",
            keep=(1,),
        ),
        vectors_alone,
        numeric(
            "eps is added to the variance, inside the root",
            1,
            "layer_norm_forward",
            ref.layer_norm_forward,
            [
                Case("a variance of one millionth", lambda rng: (narrow(rng, 3, 4), *scale_and_shift(rng, 4))),
                Case("eps of 0.5", layer_arguments(3, 4), {"eps": 0.5}),
                Case(
                    "a vector whose entries are all equal", lambda rng: (np.full((2, 4), 3.0), *scale_and_shift(rng, 4))
                ),
            ],
            pick=0,
            result="`out`",
            keep=(1,),
        ),
        numeric(
            "values around a hundred million",
            1,
            "layer_norm_forward",
            ref.layer_norm_forward,
            [
                Case(
                    "a spread of about 3 around a hundred million",
                    lambda rng: (far_off(rng, 8, 3).T, *scale_and_shift(rng, 8)),
                )
            ],
            pick=0,
            result="`out`",
            keep=(1,),
        ),
        unchanged(1, {"layer_norm_forward": layer_arguments(3, 4)}, keep=(1,)),
    ),
    mistakes=(
        Mistake(
            name="layer-norm-over-the-batch",
            advice="This takes the statistics over the batch, as batch normalisation does; here each vector has its "
            "own, over the last axis.",
            replaces=layer_forward_with(axes=over_the_batch),
        ),
        Mistake(
            name="layer-norm-over-the-positions-too",
            advice="Each position of a sequence is normalised by itself: the statistics run over the last axis only.",
            replaces=layer_forward_with(axes=over_all_but_the_batch),
        ),
        Mistake(
            name="layer-norm-unbiased",
            advice="The variance is the mean of the squared deviations, divided by D and not by D - 1.",
            replaces=layer_forward_with(ddof=1),
        ),
        Mistake(
            name="layer-norm-eps-outside",
            advice="eps belongs inside the square root, sqrt(var + eps); yours is added to the root.",
            replaces=layer_forward_with(inverse=root_before_eps),
        ),
        Mistake(
            name="layer-norm-divided-by-variance",
            advice="x_hat divides by the standard deviation: the square root of var + eps is missing.",
            replaces=layer_forward_with(inverse=no_root),
        ),
        Mistake(
            name="layer-norm-without-scale-and-shift",
            advice="This is x_hat; the output is gamma * x_hat + beta.",
            replaces=layer_forward_with(scaled=no_scale),
        ),
        Mistake(
            name="layer-norm-by-the-shortcut",
            advice="The mean of the squares minus the square of the mean loses all digits where the mean is large: "
            "subtract the mean first.",
            replaces=layer_forward_with(shortcut=True),
        ),
    ),
)


def layer_dx(dout: Array, cache: Any, *, axis: Any = -1, through_mean: bool = True, through_var: bool = True) -> Array:
    g = floats(dout) * cache.gamma
    mean_g, mean_gx = g.mean(axis=axis, keepdims=True), (g * cache.x_hat).mean(axis=axis, keepdims=True)
    return (g - through_mean * mean_g - through_var * cache.x_hat * mean_gx) * cache.inv_std


def layer_backward_with(**changes: Any) -> dict[str, Any]:
    def backward(dout: Array, cache: Any) -> Gradients:
        _, dgamma, dbeta = ref.layer_norm_backward(dout, cache)
        return layer_dx(dout, cache, **changes), dgamma, dbeta

    return layer_pair(backward)


def layer_pair(backward: Any) -> dict[str, Any]:
    return dict(zip(LAYER_BACK, (ref.layer_norm_forward, backward), strict=True))


def layer_gamma_outside(dout: Array, cache: Any) -> Gradients:
    _, dgamma, dbeta = ref.layer_norm_backward(dout, cache)
    plain = cache._replace(gamma=np.ones_like(cache.gamma))
    return cache.gamma * layer_dx(dout, plain), dgamma, dbeta


def layer_gamma_forgotten(dout: Array, cache: Any) -> Gradients:
    _, dgamma, dbeta = ref.layer_norm_backward(dout, cache)
    return layer_dx(dout, cache._replace(gamma=np.ones_like(cache.gamma))), dgamma, dbeta


def layer_summed_over_batch(dout: Array, cache: Any) -> Gradients:
    dx, _, _ = ref.layer_norm_backward(dout, cache)
    return dx, (floats(dout) * cache.x_hat).sum(axis=0), floats(dout).sum(axis=0)


def layer_averaged(dout: Array, cache: Any) -> Gradients:
    dx, dgamma, dbeta = ref.layer_norm_backward(dout, cache)
    vectors = np.size(dout) // len(dbeta)
    return dx, dgamma / vectors, dbeta / vectors


def layer_other_order(dout: Array, cache: Any) -> Gradients:
    dx, dgamma, dbeta = ref.layer_norm_backward(dout, cache)
    return dx, dbeta, dgamma


LAYERS = [
    GradientCase("three vectors of five features", named_inputs(layer_arguments(3, 5))),
    GradientCase("as many vectors as features", named_inputs(layer_arguments(4, 4))),
    GradientCase("sequences (B, T, D)", named_inputs(layer_arguments(2, 3, 4))),
    GradientCase("a batch of one", named_inputs(layer_arguments(1, 6))),
    GradientCase("one vector on its own, without a batch", named_inputs(layer_arguments(5))),
    GradientCase("four axes", named_inputs(layer_arguments(2, 1, 3, 4))),
    GradientCase("eps of 0.5", named_inputs(layer_arguments(2, 4), eps=0.5)),
]

LAYER_BACKWARD = Exercise(
    name="layer_norm_backward",
    title="Layer normalisation, backward",
    functions=("layer_norm_backward",),
    hints=(
        "Compare the two docstrings of the backward passes: the formula of dx is the same, the axis of the means is "
        "not.",
        "Multiply dout by gamma before you take any mean, for gamma differs along that axis. dgamma and dbeta add up "
        "whatever lies in front of the last axis, one axis or several.",
        "With g = dout * gamma, take the mean of g and the mean of g * x_hat with axis=-1 and keepdims=True. For "
        "dgamma and dbeta, np.sum takes a tuple of axes: all of dout's but the last.",
    ),
    checks=(
        norm_gradient("gradient of x", 4, LAYER_BACK, ("x",), LAYERS),
        norm_gradient("gradients of gamma and beta", 2, LAYER_BACK, ("gamma", "beta"), LAYERS),
        norm_gradient(
            "gradients are computed, not approximated",
            1,
            LAYER_BACK,
            ("x", "gamma", "beta"),
            [
                GradientCase(
                    "vectors with a spread of a thousandth",
                    named_inputs(lambda rng: (narrow(rng, 3, 5), *scale_and_shift(rng, 5))),
                )
            ],
        ),
        cache_serves(1, LAYER_BACK, layer_arguments(3, 4)),
        dout_untouched(1, LAYER_BACK, layer_arguments(3, 4)),
    ),
    mistakes=(
        Mistake(
            name="gamma-pulled-out-of-the-means",
            advice="gamma varies along the axis of the means: multiply dout by it first, not the finished result.",
            replaces=layer_pair(layer_gamma_outside),
        ),
        Mistake(
            name="layer-norm-gamma-forgotten",
            advice="On the way from out to x_hat the gradient is multiplied by gamma: begin with g = dout * gamma.",
            replaces=layer_pair(layer_gamma_forgotten),
        ),
        Mistake(
            name="layer-norm-statistics-constant",
            advice="Mean and variance of a vector depend on all of its entries: two terms of dx are missing.",
            replaces=layer_backward_with(through_mean=False, through_var=False),
        ),
        Mistake(
            name="layer-norm-variance-constant",
            advice="The way through the variance is missing: subtract x_hat times the mean of g x_hat as well.",
            replaces=layer_backward_with(through_var=False),
        ),
        Mistake(
            name="layer-norm-mean-constant",
            advice="The way through the mean is missing: subtract the mean of g as well.",
            replaces=layer_backward_with(through_mean=False),
        ),
        Mistake(
            name="layer-norm-means-over-the-batch",
            advice="The means in dx run along the axis that was normalised, the last one, not over the batch.",
            replaces=layer_backward_with(axis=0),
        ),
        Mistake(
            name="layer-norm-parameters-summed-over-axis-0-only",
            advice="gamma meets every position of every sequence: sum over all axes but the last, not only the first.",
            replaces=layer_pair(layer_summed_over_batch),
        ),
        Mistake(
            name="layer-norm-parameter-gradients-averaged",
            advice="dgamma and dbeta are sums; the 1/B of a mean loss is inside dout already.",
            replaces=layer_pair(layer_averaged),
        ),
        Mistake(
            name="layer-norm-gradients-in-another-order",
            advice="The gradients are right, but their order is not: dx comes first, then dgamma, then dbeta.",
            replaces=layer_pair(layer_other_order),
        ),
    ),
)


# --- picture ---------------------------------------------------------------------------------------------------------

SIZES = (8, 32, 128, 512)


def draw_picture(student: Any, figure: Any) -> None:
    """Features before and after, running statistics as they settle, and the noise that a batch brings in."""
    rng = np.random.default_rng(310)
    features, learning, noise = figure.subplots(1, 3, width_ratios=(1.15, 1, 1))

    x = np.array([5.0, -9.0, 13.0]) + np.array([3.0, 1.0, 0.6]) * rng.normal(size=(512, 3))
    start = ref.batch_norm_init(3)
    out = floats(student.call("batch_norm_forward", x, np.ones(3), np.zeros(3), start, True, keep=(1,))[0])
    for i in range(3):
        features.hist(x[:, i], bins=30, density=True, color=f"C{i}", alpha=0.45, label=f"feature {i + 1}")
        features.hist(out[:, i], bins=np.linspace(-4, 4, 28), density=True, histtype="step", color=f"C{i}", lw=1.6)
    features.set_xlabel("value (filled: before, outline: after)")
    features.set_ylabel("density")
    features.legend(frameon=False, fontsize=8)
    features.set_title("512 examples, before\nand after, in training", fontsize=10)

    one = {"running_mean": np.zeros(1), "running_var": np.ones(1)}
    history = [one]
    for _ in range(60):
        batch = 5.0 + 3.0 * rng.normal(size=(32, 1))
        answer = student.call("batch_norm_forward", batch, np.ones(1), np.zeros(1), history[-1], True, keep=(1,))
        history.append(answer[2])
    for i, (key, truth) in enumerate((("running_mean", 5.0), ("running_var", 9.0))):
        learning.plot([float(np.ravel(state[key])[0]) for state in history], color=f"C{i}", label=key)
        learning.axhline(truth, color=f"C{i}", ls="--", lw=1)
    learning.set_xlabel("batches of 32 seen")
    learning.set_ylabel("running statistic (dashed: of all data)")
    learning.legend(frameon=False, fontsize=8, loc="lower right")
    learning.set_title("Running statistics\nwith momentum 0.1", fontsize=10)

    for place, size in enumerate(SIZES):
        outs = []
        for _ in range(30):
            batch = np.concatenate([[[8.0]], 5.0 + 3.0 * rng.normal(size=(size - 1, 1))])
            answer = student.call("batch_norm_forward", batch, np.ones(1), np.zeros(1), one, True, keep=(1,))
            outs.append(float(floats(answer[0])[0, 0]))
        noise.plot(place + np.linspace(-0.25, 0.25, len(outs)), outs, "o", ms=3, color="C2", alpha=0.6)
    known = {"running_mean": np.full(1, 5.0), "running_var": np.full(1, 9.0)}
    answer = student.call("batch_norm_forward", [[8.0]], np.ones(1), np.zeros(1), known, False, keep=(1,))
    noise.axhline(float(floats(answer[0])[0, 0]), color="0.3", lw=1, label="in evaluation")
    noise.plot([], [], "o", ms=3, color="C2", label="in training, 30 batches")
    noise.set_xticks(range(len(SIZES)), [str(size) for size in SIZES])
    noise.set_xlabel("batch size")
    noise.set_ylabel("normalised value of x = 8")
    noise.legend(frameon=False, fontsize=8)
    noise.set_title("The same example\nin other company", fontsize=10)


CHAPTER = Chapter(
    id="ch310",
    slug="batch_normalisation",
    title="Batch Normalisation",
    part="Training engineering",
    summary="Batch and layer normalisation with all gradients, running statistics, images, and folding.",
    builds_on=("ch306", "ch308"),
    exercises=(STATISTICS, RUNNING, FORWARD, BACKWARD, IMAGES, FOLD, LAYER_FORWARD, LAYER_BACKWARD),
    picture=Picture(title="What your batch normalisation does to a batch", draw=draw_picture),
)
