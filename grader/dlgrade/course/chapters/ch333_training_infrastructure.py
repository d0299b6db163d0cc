"""Checks of chapter 333: memory, data parallelism, the ring, loss scaling, checkpoints, and layers cut in two."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from dlreference import infrastructure as ref
from dlreference import mlp
from dlreference.optim import clip_global_norm

from dlgrade.course.compare import Wrong, holds, items, numbers, same
from dlgrade.course.kinds import Case, GradientCase, Rng, case_of, gradient, numeric, prop, unchanged
from dlgrade.course.spec import Chapter, Exercise, Mistake, Picture
from dlgrade.sandbox.session import Call, Callback

Array = np.ndarray[Any, Any]
Params = dict[str, Array]
Draw = Callable[[Rng], tuple[Any, ...]]
Replaces = dict[str, Callable[..., Any]]


def floats(value: Any) -> Array:
    return np.asarray(value, dtype=np.float64)


def draw_params(rng: Rng, widths: Sequence[int]) -> Params:
    """Weights of one size for every width, and biases that are not zero."""
    return {
        name: rng.normal(size=shape) / (math.sqrt(shape[-1]) if len(shape) == 2 else 1.0)
        for name, shape in mlp.parameter_shapes(widths).items()
    }


# --- memory ----------------------------------------------------------------------------------------------------------


def right_memory(n_params: float, devices: int = 1, stage: int = 0) -> dict[str, float]:
    budget = ref.memory_budget(n_params, devices, stage)
    return {**budget._asdict(), "total": budget.total}


def tm_with(
    each: tuple[float, float, float] = (2.0, 2.0, 12.0),
    order: tuple[str, ...] = ("optimizer", "gradients", "weights"),
    shared: Callable[[int], range] = range,
    total: Callable[[dict[str, float], int], float] = lambda memory, devices: sum(memory.values()),
) -> Replaces:
    """Memory with other bytes for weights, gradients and optimizer, or other things shared out."""

    def training_memory(n_params: float, devices: int = 1, stage: int = 0) -> dict[str, float]:
        if stage not in (0, 1, 2, 3):
            raise ValueError("no such stage")
        names = ("weights", "gradients", "optimizer")
        memory = {name: size * n_params for name, size in zip(names, each, strict=True)}
        for place in shared(stage):
            memory[order[place]] /= devices
        return {**memory, "total": total(memory, devices)}

    return {"training_memory": training_memory}


def am_with(formula: Callable[..., float]) -> Replaces:
    return {
        "activation_memory": lambda layers, batch, length, d_model, heads: float(
            formula(layers, batch, length, d_model, heads)
        )
    }


def drawn_model(stage: int, devices: int | None = None) -> Draw:
    def draw(rng: Rng) -> tuple[Any, ...]:
        return float(rng.integers(10**6, 10**9)), int(rng.integers(3, 40)) if devices is None else devices, stage

    return draw


def transformer(rng: Rng) -> tuple[Any, ...]:
    return tuple(int(rng.integers(*span)) for span in ((3, 9), (2, 6), (50, 90), (100, 200), (5, 9)))


@prop("stages that do not exist", 1, "training_memory")
def no_such_stage(student: Any, rng: Rng) -> None:
    for stage in (4, -1):
        with case_of(f"stage {stage}"):
            call = Call("training_memory", (1e6, 4, stage))
            [reply] = student.batch([call])
            if reply.status == "error" and reply.detail.get("type") == "ValueError":
                continue
            if reply.status == "ok":
                raise Wrong("there are the stages 0 to 3: `training_memory` should raise ValueError for any other.")
            student.answer(call, reply)


MEMORY = Exercise(
    name="training_memory",
    title="How much memory a training takes",
    functions=("training_memory", "activation_memory", "devices_needed"),
    hints=(
        "Write down the bytes of one parameter first: what is kept for it, and in which precision?",
        "2, 2 and 12 bytes a parameter. Stage 1 divides the 12 by the number of devices, stage 2 also the one 2, "
        "stage 3 also the other. A GB is 1e9 bytes.",
        "Start with the three full numbers; divide optimizer, gradients and weights, in this order, as far as the "
        "stage says; add up last. `devices_needed` is math.ceil of the bytes over 1e9 times the GB.",
    ),
    checks=(
        numeric(
            "one device, or nothing shared out",
            3,
            "training_memory",
            right_memory,
            [
                Case("175 billion parameters", lambda rng: (175e9,)),
                Case("stage 0 on many devices", drawn_model(0)),
                Case("stage 3 on a single device", drawn_model(3, 1)),
            ],
            result="the memory",
        ),
        numeric(
            "the stages of ZeRO",
            4,
            "training_memory",
            right_memory,
            [
                *[Case(f"stage {stage}", drawn_model(stage)) for stage in (1, 2, 3)],
                Case("7.5 billion parameters on 64 devices, stage 3", lambda rng: (7.5e9, 64, 3)),
            ],
            result="the memory",
        ),
        no_such_stage,
        numeric(
            "activations",
            3,
            "activation_memory",
            ref.activation_bytes,
            [
                Case("a small Transformer", transformer),
                Case("GPT-3, one sequence", lambda rng: (96, 1, 2048, 12288, 96)),
                Case("one layer, one token", lambda rng: (1, 1, 1, 8, 2)),
            ],
            result="the number of bytes",
        ),
        numeric(
            "whole devices",
            3,
            "devices_needed",
            lambda total, device_gb: ref.devices_needed(total, device_gb * ref.BYTES_PER_GB),
            [
                Case("175 billion parameters on devices of 80 GB", lambda rng: (2.8e12, 80)),
                Case("exactly full", lambda rng: (160e9, 80)),
                Case("a little too much for one", lambda rng: (80e9 + 1, 80)),
                Case("a drawn number", lambda rng: (float(rng.uniform(5e12, 6e12)), int(rng.integers(16, 41)))),
            ],
            result="the number of devices",
        ),
    ),
    mistakes=(
        Mistake(
            name="no-master-weights",
            advice="The optimizer also keeps a master copy of the weights in single precision: 4 + 4 + 4 bytes, not 8.",
            replaces=tm_with((2.0, 2.0, 8.0)),
        ),
        Mistake(
            name="all-in-single-precision",
            advice="Weights and gradients are in half precision here: 2 bytes each, not 4.",
            replaces=tm_with((4.0, 4.0, 12.0)),
            variants=(tm_with((4.0, 4.0, 8.0)),),
        ),
        Mistake(
            name="bits-counted",
            advice="The result is in bytes: half precision has 16 bits, and that is 2 bytes.",
            replaces=tm_with((16.0, 16.0, 96.0)),
        ),
        Mistake(
            name="weights-shared-out-first",
            advice="Stage 1 shares out the optimizer, the largest part; the gradients follow at stage 2 and the "
            "weights at stage 3.",
            replaces=tm_with(order=("weights", "gradients", "optimizer")),
            variants=(tm_with(order=("gradients", "optimizer", "weights")),),
        ),
        Mistake(
            name="only-the-newest-part-shared-out",
            advice="The stages add up: stage 2 shares out the gradients as well as the optimizer.",
            replaces=tm_with(shared=lambda stage: range(max(stage - 1, 0), stage)),
        ),
        Mistake(
            name="everything-always-shared-out",
            advice="Without ZeRO every device keeps all of it: data parallelism by itself saves no memory.",
            replaces=tm_with(shared=lambda stage: range(3)),
        ),
        Mistake(
            name="other-stages-accepted",
            advice="A stage that does not exist is an error in the call: raise ValueError.",
            replaces={"training_memory": lambda n, devices=1, stage=0: right_memory(n, devices, min(max(stage, 0), 3))},
        ),
        Mistake(
            name="memory-of-all-devices",
            advice="The bytes on ONE device are asked for, not those of all together.",
            replaces=tm_with(total=lambda memory, devices: devices * sum(memory.values())),
        ),
        Mistake(
            name="layers-forgotten",
            advice="Every layer keeps its activations: multiply by the number of layers.",
            replaces=am_with(lambda n, b, t, d, h: b * t * (34 * d + 5 * h * t)),
        ),
        Mistake(
            name="attention-weights-forgotten",
            advice="The attention weights are kept as well, length times length of them for every head.",
            replaces=am_with(lambda n, b, t, d, h: n * b * t * 34 * d),
            variants=(am_with(lambda n, b, t, d, h: n * b * t * (34 * d + 5 * h)),),
        ),
        Mistake(
            name="gib-instead-of-gb",
            advice="A GB is 1e9 bytes; 2**30 bytes are a GiB, 7 percent more.",
            replaces={"devices_needed": lambda total, gb: math.ceil(total / (gb * 2**30))},
        ),
        Mistake(
            name="devices-not-rounded-up",
            advice="Half a device cannot be had, and rounding down leaves no room for the rest: round up.",
            replaces={"devices_needed": lambda total, gb: math.floor(total / (gb * 1e9))},
            variants=(
                {"devices_needed": lambda total, gb: total / (gb * 1e9)},
                {"devices_needed": lambda total, gb: round(total / (gb * 1e9))},
            ),
        ),
        Mistake(
            name="always-one-device-more",
            advice="If the devices are exactly full, no further one is needed.",
            replaces={"devices_needed": lambda total, gb: math.floor(total / (gb * 1e9)) + 1},
        ),
    ),
)

# --- parts of a batch ------------------------------------------------------------------------------------------------

WIDTHS = (3, 4, 2)


def net_gradients(params: Any, X: Any, y: Any) -> Params:
    """What a check hands over as `gradients`: those of a small network and its mean squared error."""
    return mlp.loss_and_gradients(params, floats(X), floats(y), "tanh", "mse")[1]


GRADIENTS = Callback(net_gradients, "gradients")


def net_pairs(params: Any, X: Any, y: Any) -> tuple[float, Params]:
    return mlp.loss_and_gradients(params, X, y, "tanh", "mse")


def right_step(gradients: Any, params: Params, shards: Any, lr: float) -> Params:
    pairs = [(floats(X), floats(y)) for X, y in shards]
    _, grads = ref.data_parallel_gradients(net_pairs, params, pairs)
    return {name: value - lr * grads[name] for name, value in params.items()}


def right_accumulated(gradients: Any, params: Params, X: Array, y: Array, micro_batch: int) -> Params:
    return ref.accumulated_gradients(net_pairs, params, X, floats(y), micro_batch)[1]


def weigh(weights: Callable[[Array], Array]) -> Callable[..., Params]:
    """Gradients added up with other weights, a function of the sizes of their parts."""

    def combine_gradients(grads: Any, sizes: Any) -> Params:
        counts = weights(floats(sizes))
        return {k: sum(w * floats(g[k]) for w, g in zip(counts, grads, strict=True)) for k in grads[0]}

    return combine_gradients


right_combine = weigh(lambda sizes: sizes / sizes.sum())


def accumulate_with(
    weights: Callable[[Array], Array] = lambda sizes: sizes / sizes.sum(),
    keep_last: bool = True,
    whole: bool = False,
) -> Replaces:
    """Accumulation with other weights, without a short last piece, or in one piece."""

    def accumulated_gradients(gradients: Any, params: Any, X: Any, y: Any, micro_batch: int) -> Any:
        size = len(X) if whole else micro_batch
        starts = [s for s in range(0, len(X), size) if keep_last or s + size <= len(X)]
        pieces = [(X[s : s + size], y[s : s + size]) for s in starts]
        if not pieces:
            return {name: np.zeros(np.shape(value)) for name, value in params.items()}
        grads = [gradients(params, a, b) for a, b in pieces]
        return weigh(weights)(grads, [len(a) for a, _ in pieces])

    return {"accumulated_gradients": accumulated_gradients}


def step_with(rate: Callable[[float, int], float] = lambda lr, workers: lr) -> Replaces:
    def data_parallel_step(gradients: Any, params: Any, shards: Any, lr: float) -> Any:
        mean = right_combine([gradients(params, X, y) for X, y in shards], [len(X) for X, _ in shards])
        return {name: floats(value) - rate(lr, len(shards)) * mean[name] for name, value in params.items()}

    return {"data_parallel_step": data_parallel_step}


def steps_in_turn(gradients: Any, params: Any, shards: Any, lr: float) -> Any:
    total = sum(len(X) for X, _ in shards)
    params = {name: floats(value) for name, value in params.items()}
    for X, y in shards:
        grads = gradients(params, X, y)
        params = {name: value - lr * len(X) / total * floats(grads[name]) for name, value in params.items()}
    return params


def batch(rng: Rng, rows: int) -> tuple[Array, Array]:
    return rng.normal(size=(rows, WIDTHS[0])), rng.normal(size=(rows, WIDTHS[-1]))


def step_case(*sizes: int) -> Draw:
    return lambda rng: (GRADIENTS, draw_params(rng, WIDTHS), [batch(rng, size) for size in sizes], 0.3)


def accumulated_case(rows: int, micro_batch: int) -> Draw:
    return lambda rng: (GRADIENTS, draw_params(rng, WIDTHS), *batch(rng, rows), micro_batch)


def combine_case(*sizes: int) -> Draw:
    return lambda rng: ([draw_params(rng, (2, 3)) for _ in sizes], list(sizes))


@prop("never more rows at once than fit", 2, "accumulated_gradients")
def small_pieces(student: Any, rng: Rng) -> None:
    for rows, micro_batch in ((7, 3), (4, 1)):
        seen: list[int] = []

        def spy(params: Any, X: Any, y: Any, seen: list[int] = seen) -> Params:
            seen.append(len(X))
            return net_gradients(params, X, y)

        answer = student.accumulated_gradients(
            Callback(spy, "gradients"), draw_params(rng, WIDTHS), *batch(rng, rows), micro_batch
        )
        with case_of(f"{rows} rows, micro_batch = {micro_batch}", student.transcript[-1][0]):
            holds(answer is not None, "nothing was returned.")
            holds(
                max(seen, default=0) <= micro_batch,
                f"`gradients` was given {max(seen, default=0)} rows at once: the memory holds {micro_batch}.",
            )
            holds(
                sum(seen) == rows and len(seen) == math.ceil(rows / micro_batch),
                f"`gradients` should be called for {math.ceil(rows / micro_batch)} pieces with {rows} rows in all, and "
                f"was called {len(seen)} times, with {sum(seen)}.",
            )


@prop("one call for each shard", 1, "data_parallel_step")
def own_shards(student: Any, rng: Rng) -> None:
    seen: list[int] = []

    def spy(params: Any, X: Any, y: Any) -> Params:
        seen.append(len(X))
        return net_gradients(params, X, y)

    shards = [batch(rng, size) for size in (3, 1, 4)]
    answer = student.data_parallel_step(Callback(spy, "gradients"), draw_params(rng, WIDTHS), shards, 0.3)
    with case_of("shards of 3, 1 and 4 rows", student.transcript[-1][0]):
        holds(answer is not None, "nothing was returned.")
        holds(
            sorted(seen) == [1, 3, 4],
            "each worker computes the gradients of its own shard, once: `gradients` should be called for 3, 1 and 4 "
            f"rows, and was called for {listed(seen)}.",
        )


def listed(counts: list[int]) -> str:
    """1, 2 and 3."""
    words = [str(count) for count in counts] or ["no"]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


PARTS_OF_A_BATCH = Exercise(
    name="data_parallel",
    title="One batch, many workers or many turns",
    functions=("combine_gradients", "data_parallel_step", "accumulated_gradients"),
    hints=(
        "The mean over all rows, from means over some: with pencil and paper for 3 rows and 1 row?",
        "Each part counts by its share of the rows, its size over the sum of all sizes. All parts are computed at the "
        "same, old parameters.",
        "combine: the sum of size / total * gradient, for every key. The step: gradients of all shards, combined by "
        "len(X), then params - lr * gradient. Accumulation: slices start : start + micro_batch, combined alike.",
    ),
    checks=(
        numeric(
            "parts of different sizes",
            3,
            "combine_gradients",
            right_combine,
            [
                Case("parts of 5, 2 and 1 rows", combine_case(5, 2, 1)),
                Case("equal parts", combine_case(4, 4)),
                Case("a single part", combine_case(6)),
                Case("lists and plain numbers", lambda rng: ([{"w": [1, 2], "c": 3}, {"w": [4, 8], "c": 0}], [1, 2])),
            ],
            result="the combined gradients",
        ),
        numeric(
            "many workers, one step",
            3,
            "data_parallel_step",
            right_step,
            [
                Case("two equal shards", step_case(4, 4)),
                Case("shards of 6, 1 and 3 rows", step_case(6, 1, 3)),
                Case("one worker", step_case(5)),
            ],
            result="the new parameters",
        ),
        numeric(
            "many turns, one gradient",
            4,
            "accumulated_gradients",
            right_accumulated,
            [
                Case("8 rows, 4 at a time", accumulated_case(8, 4)),
                Case("7 rows, 3 at a time: the last piece has 1", accumulated_case(7, 3)),
                Case("one row at a time", accumulated_case(4, 1)),
                Case("everything fits at once", accumulated_case(3, 10)),
            ],
            result="the gradients",
        ),
        own_shards,
        small_pieces,
        unchanged(
            2,
            {
                "combine_gradients": combine_case(2, 1),
                "data_parallel_step": step_case(2, 1),
                "accumulated_gradients": accumulated_case(3, 2),
            },
        ),
    ),
    mistakes=(
        Mistake(
            name="parts-counted-alike",
            advice="A plain mean of means is wrong where the parts differ in size: weigh each by its number of rows.",
            replaces={"combine_gradients": weigh(lambda sizes: np.full(len(sizes), 1 / len(sizes)))},
            variants=(accumulate_with(lambda sizes: np.full(len(sizes), 1 / len(sizes))),),
        ),
        Mistake(
            name="gradients-summed",
            advice="Gradients of means are averaged, not summed: otherwise the step grows with the number of parts.",
            replaces={"combine_gradients": weigh(np.ones_like)},
            variants=(accumulate_with(np.ones_like),),
        ),
        Mistake(
            name="row-weights-not-divided",
            advice="Divide by the number of all rows in the end: the gradient is that of a mean.",
            replaces={"combine_gradients": weigh(lambda sizes: sizes)},
            variants=(accumulate_with(lambda sizes: sizes),),
        ),
        Mistake(
            name="divided-by-full-pieces-only",
            advice="The short last piece counts by its own rows, not by micro_batch: divide by the number of all rows.",
            replaces=accumulate_with(lambda sizes: sizes / (sizes.max() * len(sizes))),
        ),
        Mistake(
            name="workers-step-in-turn",
            advice="All workers compute at the same, old parameters; yours sees those that the others have changed.",
            replaces={"data_parallel_step": steps_in_turn},
        ),
        Mistake(
            name="rate-times-workers",
            advice="The combined step is that of one worker with the whole batch: the learning rate stays as it is.",
            replaces=step_with(lambda lr, workers: lr * workers),
            variants=(step_with(lambda lr, workers: lr / workers),),
        ),
        Mistake(
            name="uphill-together",
            advice="Descend: params - lr * gradient.",
            replaces=step_with(lambda lr, workers: -lr),
        ),
        Mistake(
            name="short-last-piece-dropped",
            advice="The rows that are left over at the end are a piece as well, a short one.",
            replaces=accumulate_with(keep_last=False),
        ),
        Mistake(
            name="whole-batch-at-once",
            advice="The batch does not fit into the memory: give `gradients` at most micro_batch rows at a time.",
            replaces=accumulate_with(whole=True),
        ),
    ),
)

# --- the ring --------------------------------------------------------------------------------------------------------


def ring_with(first: int, add: bool, rounds: int = 0, way: int = 1, mean: bool = False) -> Callable[[Any], Array]:
    """Rounds of a ring that begin with another chunk, add or replace, are more or fewer, or go the other way."""

    def half(values: Any) -> Array:
        held = np.array(values, dtype=np.float64)
        workers, n = held.shape
        cut = np.array_split(np.arange(n), workers)
        for r in range(max(workers - 1 + rounds, 0)):
            before = held.copy()
            for k in range(workers):
                span = cut[(k + way * (first - r)) % workers]
                to = (k + way) % workers
                held[to, span] = before[k, span] + (before[to, span] if add else 0.0)
        return held / workers if mean else held

    return half


def counted(count: Callable[[int, int], Any]) -> Replaces:
    """A ring_all_reduce with another count of what is sent, for K workers and n numbers."""

    def ring_all_reduce(values: Any) -> tuple[Array, Any]:
        return ref.ring_all_reduce(values).values, count(*np.shape(values))

    return {"ring_all_reduce": ring_all_reduce}


def right_ring(values: Array) -> tuple[Array, list[int]]:
    result = ref.ring_all_reduce(values)
    return result.values, result.sent.tolist()


def one_half(workers: int, n: int) -> list[int]:
    return ref.reduce_scatter(np.zeros((workers, n))).sent.tolist()


def su_with(traffic: Callable[[float, int], float], share: bool = True) -> Replaces:
    def speed_up(compute_s: float, gradient_bytes: float, workers: int, bytes_per_s: float) -> float:
        own = compute_s / workers if share else compute_s
        return compute_s / (own + traffic(gradient_bytes, workers) / bytes_per_s)

    return {"speed_up": speed_up}


def vectors(workers: int, n: int) -> Draw:
    return lambda rng: (rng.normal(size=(workers, n)),)


def half_done(workers: int, n: int) -> Draw:
    return lambda rng: (ref.reduce_scatter(rng.normal(size=(workers, n))).values,)


RING_SIZES = (
    ("3 workers, 6 numbers", 3, 6),
    ("4 workers, 7 numbers: chunks of 2, 2, 2 and 1", 4, 7),
    ("5 workers, 3 numbers: two chunks are empty", 5, 3),
    ("2 workers", 2, 4),
    ("one worker alone", 1, 3),
)


def speed_case(rng: Rng) -> tuple[Any, ...]:
    return float(rng.uniform(1, 3)), float(rng.uniform(1e9, 2e9)), int(rng.integers(4, 9)), float(rng.uniform(5e9, 9e9))


HALVES = ("first half: reduce-scatter", "second half: all-gather")


@prop("all workers agree to the last bit", 2, "ring_all_reduce", needs=HALVES)
def agree(student: Any, rng: Rng) -> None:
    values = rng.normal(size=(6, 13)) * 10 ** rng.uniform(-3, 3, size=(6, 13))
    sums, _ = items(student.ring_all_reduce(values), ("sums", "sent"))
    sums = numbers(sums, (6, 13), "the sums")
    same(sums[0], values.sum(axis=0), "the sums of worker 0", atol=1e-9)
    holds(
        bool((sums == sums[0]).all()),
        "the workers have slightly different sums: each chunk is summed once, by one worker, and then COPIED around. "
        "Otherwise their parameters drift apart.",
    )


# Either half done wrongly can give the same wrong sums: each is named by its own check.
both_halves = msgspec.structs.replace(
    numeric(
        "both halves, and what was sent",
        3,
        "ring_all_reduce",
        right_ring,
        [Case(reason, vectors(*size)) for reason, *size in RING_SIZES],
        result="the pair (sums, sent)",
    ),
    needs=HALVES,
)


RING = Exercise(
    name="ring_all_reduce",
    title="Sums around a ring",
    functions=("reduce_scatter", "all_gather", "ring_all_reduce", "ring_traffic", "speed_up"),
    hints=(
        "Take three workers and three numbers, and write down who has what after each round.",
        "Two loops: rounds, and in each of them all workers. Receiver and chunk are modulo K. The first half adds, the "
        "second replaces.",
        "In round r worker k sends chunks[(k - r) % K] to worker (k + 1) % K, which adds it; in the second half chunks["
        "(k + 1 - r) % K], which replaces. To count what is sent, add up the lengths of these chunks.",
    ),
    checks=(
        numeric(
            "first half: reduce-scatter",
            4,
            "reduce_scatter",
            lambda values: ref.reduce_scatter(values).values,
            [Case(reason, vectors(*size)) for reason, *size in RING_SIZES],
            result="what the workers hold",
        ),
        numeric(
            "second half: all-gather",
            3,
            "all_gather",
            lambda held: ref.all_gather(held).values,
            [Case(reason, half_done(*size)) for reason, *size in RING_SIZES],
            result="what the workers hold",
        ),
        both_halves,
        agree,
        numeric(
            "traffic",
            2,
            "ring_traffic",
            ref.ring_traffic,
            [
                Case("four workers", lambda rng: (float(rng.uniform(1e6, 1e9)), 4)),
                Case("a thousand workers", lambda rng: (350e9, 1000)),
                Case("one worker", lambda rng: (1e9, 1)),
            ],
            result="the traffic",
        ),
        numeric(
            "more workers, less than so many times faster",
            3,
            "speed_up",
            ref.data_parallel_speed_up,
            [
                Case("some workers", speed_case),
                Case("one worker", lambda rng: (2.0, 1e9, 1, 1e9)),
                Case("a slow network", lambda rng: (float(rng.uniform(1, 2)), 8e9, 16, 1e9)),
            ],
            result="the speed-up",
        ),
        unchanged(1, {"reduce_scatter": vectors(3, 4), "all_gather": vectors(3, 4), "ring_all_reduce": vectors(2, 3)}),
    ),
    mistakes=(
        Mistake(
            name="one-round-too-many",
            advice="K - 1 rounds are enough: with one more, sums that are finished get numbers added a second time.",
            replaces={"reduce_scatter": ring_with(0, True, rounds=1)},
        ),
        Mistake(
            name="one-round-too-few",
            advice="A chunk has K - 1 workers to visit after its own: there are K - 1 rounds.",
            replaces={"reduce_scatter": ring_with(0, True, rounds=-1)},
            variants=({"all_gather": ring_with(1, False, rounds=-1)},),
        ),
        Mistake(
            name="replaced-instead-of-added",
            advice="In the first half the receiver adds what arrives to its own numbers.",
            replaces={"reduce_scatter": ring_with(0, False)},
        ),
        Mistake(
            name="wrong-way-round",
            advice="Worker k sends to worker k + 1, and begins with its own chunk.",
            replaces={"reduce_scatter": ring_with(0, True, way=-1)},
            variants=({"all_gather": ring_with(1, False, way=-1)},),
        ),
        Mistake(
            name="everybody-sums-everything",
            advice="After the first half every worker has the full sum of ONE chunk; nobody has seen all the others' "
            "numbers yet.",
            replaces={"reduce_scatter": lambda values: np.tile(floats(values).sum(axis=0), (len(values), 1))},
        ),
        Mistake(
            name="mean-instead-of-sum",
            advice="The all-reduce sums; whoever wants a mean divides afterwards.",
            replaces={"reduce_scatter": ring_with(0, True, mean=True)},
        ),
        Mistake(
            name="gather-begins-with-own-chunk",
            advice="After the first half the finished chunk of worker k is chunk k + 1: that one is sent first.",
            # Without the last line both halves together would be those of `replaced-instead-of-added`.
            replaces={"all_gather": ring_with(0, False), "ring_all_reduce": right_ring},
        ),
        Mistake(
            name="added-instead-of-replaced",
            advice="In the second half the chunks that travel are finished: they replace what the receiver has.",
            replaces={"all_gather": ring_with(1, True)},
        ),
        Mistake(
            name="whole-vectors-sent",
            advice="Only one chunk is sent in a round, and not the whole vector.",
            replaces=counted(lambda workers, n: [2 * (workers - 1) * n] * workers),
            variants=(counted(lambda workers, n: [(workers - 1) * n] * workers),),
        ),
        Mistake(
            name="one-half-counted",
            advice="Count what is sent in both halves.",
            replaces=counted(one_half),
        ),
        Mistake(
            name="chunks-of-one-length",
            advice="The chunks differ in length where K does not divide n: add up the lengths of those that are sent.",
            replaces=counted(lambda workers, n: [2 * (workers - 1) * (n // workers)] * workers),
            variants=(
                counted(lambda workers, n: [2 * (workers - 1) * math.ceil(n / workers)] * workers),
                counted(lambda workers, n: [ref.ring_traffic(n, workers)] * workers),
            ),
        ),
        Mistake(
            name="traffic-of-one-half",
            advice="Every chunk goes around twice, once to be summed and once to be handed out: 2 (K - 1) / K.",
            replaces={"ring_traffic": lambda size, workers: (workers - 1) / workers * size},
        ),
        Mistake(
            name="traffic-grows-with-workers",
            advice="A round moves one chunk, a K-th of the numbers: divide by K.",
            replaces={"ring_traffic": lambda size, workers: 2.0 * (workers - 1) * size},
        ),
        Mistake(
            name="traffic-of-k-rounds",
            advice="There are K - 1 rounds in each half, not K; a single worker sends nothing.",
            replaces={"ring_traffic": lambda size, workers: 2.0 * size},
        ),
        Mistake(
            name="linear-speed-up",
            advice="Summing the gradients takes time as well: K workers are less than K times as fast.",
            replaces=su_with(lambda size, workers: 0.0),
        ),
        Mistake(
            name="computing-not-shared",
            advice="Each of the workers computes a K-th of the batch.",
            replaces=su_with(ref.ring_traffic, share=False),
        ),
        Mistake(
            name="time-upside-down",
            advice="The time with one worker, divided by the time with K: more than 1 where it pays.",
            replaces={"speed_up": lambda *args: 1 / ref.data_parallel_speed_up(*args)},
        ),
    ),
)

# --- loss scaling ----------------------------------------------------------------------------------------------------

State = dict[str, Any]


def typed(state: State) -> ref.LossScaler:
    return ref.LossScaler(state["scale"], int(state["good_steps"]))


def right_update(state: State, overflow: bool, growth_interval: int = 2000) -> State:
    return ref.update_scaler(typed(state), overflow, growth_interval=growth_interval)._asdict()


def right_scaled(
    params: Params,
    scaled_grads: Params,
    state: State,
    lr: float,
    max_norm: float | None = None,
    growth_interval: int = 2000,
) -> tuple[Params, State, bool]:
    new, scaler, skipped = ref.scaled_sgd_step(params, scaled_grads, typed(state), lr, max_norm, growth_interval)
    return new, scaler._asdict(), skipped


def update_with(
    reset_on_overflow: bool = True, reset_on_growth: bool = True, late: int = 0, down: float = 0.5, up: float = 2.0
) -> Replaces:
    """update_scale with a count that is not reset, a growth that comes too late, or other factors."""

    def update_scale(state: State, overflow: bool, growth_interval: int = 2000) -> State:
        scale, good = state["scale"], state["good_steps"]
        if overflow:
            return {"scale": scale * down, "good_steps": 0 if reset_on_overflow else good}
        good += 1
        if good >= growth_interval + late:
            return {"scale": scale * up, "good_steps": 0 if reset_on_growth else good}
        return {"scale": scale, "good_steps": good}

    return {"update_scale": update_scale}


def inf_only(grad: Array) -> bool:
    return not np.isinf(grad).any()


def all_finite(grad: Array) -> bool:
    return bool(np.isfinite(grad).all())


def clip_scaled(grads: Params, max_norm: float, scale: float) -> Params:
    """Clipped as if the gradients were still scaled."""
    clipped, _ = clip_global_norm({k: scale * g for k, g in grads.items()}, max_norm)
    return {k: g / scale for k, g in clipped.items()}


def clip_each(grads: Params, max_norm: float, scale: float) -> Params:
    return {k: clip_global_norm({k: g}, max_norm)[0][k] for k, g in grads.items()}


def clip_always(grads: Params, max_norm: float, scale: float) -> Params:
    norm = math.sqrt(sum(float(np.sum(g**2)) for g in grads.values()))
    return {k: g * (max_norm / norm) for k, g in grads.items()}


def clip_entries(grads: Params, max_norm: float, scale: float) -> Params:
    return {k: np.clip(g, -max_norm, max_norm) for k, g in grads.items()}


def scaled_with(
    good: Callable[[Array], bool] = all_finite,
    clip: Callable[[Params, float, float], Params] = lambda grads, max_norm, scale: clip_global_norm(grads, max_norm)[
        0
    ],
    divide: Callable[[State, State], float] = lambda state, updated: state["scale"],
    repaired: bool = False,
    report: Callable[[bool], bool] = lambda skipped: skipped,
    lasting: bool = True,
) -> Replaces:
    """scaled_step with another test for overflow, another clipping, another divisor, or overflows patched over."""

    def scaled_step(
        params: Any, scaled_grads: Any, state: State, lr: float, max_norm: Any = None, growth_interval: int = 2000
    ) -> Any:
        grads = {k: floats(g) for k, g in scaled_grads.items()}
        overflow = not all(good(g) for g in grads.values())
        updated = right_update(state, overflow, growth_interval)
        grads = {k: g / divide(state, updated) for k, g in grads.items()}
        params = {k: floats(v).copy() for k, v in params.items()}
        final = updated if lasting or not overflow else dict(state)
        if overflow and not repaired:
            return params, final, report(True)
        if repaired:
            grads = {k: np.where(np.isfinite(g), g, 0.0) for k, g in grads.items()}
        if max_norm is not None:
            grads = clip(grads, max_norm, state["scale"])
        return {k: v - lr * grads[k] for k, v in params.items()}, final, report(overflow)

    return {"scaled_step": scaled_step}


def scale_at(scale: float, good_steps: int, overflow: bool, interval: int) -> Draw:
    return lambda rng: ({"scale": scale, "good_steps": good_steps}, overflow, interval)


def grads_with(rng: Rng, size: float, spoiled: float | None = None, where: str = "b1") -> tuple[Params, Params, State]:
    """Parameters, and gradients of that norm, times a scale, one entry of which may be spoiled."""
    params = draw_params(rng, (3, 2))
    grads = draw_params(rng, (3, 2))
    norm = math.sqrt(sum(float(np.sum(g**2)) for g in grads.values()))
    scale = float(2 ** rng.integers(6, 12))
    scaled = {k: g * (size / norm * scale) for k, g in grads.items()}
    if spoiled is not None:
        scaled[where].flat[1] = spoiled
    return params, scaled, {"scale": scale, "good_steps": int(rng.integers(3, 9))}


def step_draw(size: float, spoiled: float | None = None, *more: Any) -> Draw:
    return lambda rng: (*grads_with(rng, size, spoiled), 0.3, *more)


def half_gradients(target: Params, peak: float) -> Callable[[Any, float], Params]:
    """Gradients of half the squared distance from `target` in half precision, in which about `peak` is too large."""

    def scaled_gradients(params: Any, scale: float) -> Params:
        return {k: ref.to_half(scale * (65504 / peak) * (floats(params[k]) - t)) for k, t in target.items()}

    return scaled_gradients


def training_case(scale: float, good_steps: int) -> Callable[[Rng], tuple[Params, Params, State]]:
    return lambda rng: (draw_params(rng, (2, 3)), draw_params(rng, (2, 3)), {"scale": scale, "good_steps": good_steps})


class Counted:
    """Gradients, and how often they were asked for."""

    def __init__(self, gradients: Callable[[Any, float], Params]) -> None:
        self.gradients, self.calls = gradients, 0

    def __call__(self, params: Any, scale: float) -> Params:
        self.calls += 1
        return self.gradients(params, scale)


def short_training(rng: Rng) -> tuple[Any, ...]:
    target, params, state = training_case(4.0, 1)(rng)
    return Callback(half_gradients(target, 100.0), "scaled_gradients"), params, state, 1e-3, 3, 2


def right_training(
    scaled_gradients: Callable[[Any, float], Params], params: Params, state: State, lr: float, steps: int, interval: int
) -> tuple[Params, Array]:
    scales = []
    for _ in range(steps):
        scales.append(state["scale"])
        params, state, _ = right_scaled(params, scaled_gradients(params, state["scale"]), state, lr, None, interval)
    return params, np.array(scales)


def step_by_default(
    params: Params, scaled_grads: Params, state: State, lr: float, max_norm: float | None = None, interval: int = 2000
) -> tuple[Params, State, bool]:
    return right_scaled(params, scaled_grads, state, lr, max_norm)


def train_by_default(gradients: Any, params: Any, state: State, lr: float, steps: int, interval: int = 2000) -> Any:
    return right_training(gradients, params, state, lr, steps, 2000)


def train_with(after: bool = False, kept: bool = False, count_skipped: bool = True, forget: bool = False) -> Replaces:
    """train_scaled that lists the scales after the steps, keeps the first, repeats skipped steps, or forgets counts."""

    def train_scaled(gradients: Any, params: Any, state: State, lr: float, steps: int, interval: int = 2000) -> Any:
        scales: list[float] = []
        for _ in range(20 * steps):
            if len(scales) >= steps:
                break
            used = state["scale"]
            params, updated, skipped = right_scaled(params, gradients(params, used), state, lr, None, interval)
            state = dict(state) if kept else updated
            if forget:
                state["good_steps"] = 0
            if count_skipped or not skipped:
                scales.append(state["scale"] if after else used)
        return params, np.array(scales)

    return {"train_scaled": train_scaled}


@prop("a training finds its scale", 4, "train_scaled")
def finds_scale(student: Any, rng: Rng) -> None:
    """Both trainings are run before they are looked at: by one alone some mistakes cannot be told apart."""
    runs = []
    for reason, scale, interval in (("a scale that is too small", 0.5, 2), ("one that is far too large", 2.0**12, 6)):
        # One good step short of growing, so that a count that is forgotten differs from a scale that never changes.
        target, params, state = training_case(scale, interval - 1)(rng)
        gradients = half_gradients(target, 100.0)
        lr = 0.2 / (65504 / 100.0)
        want = right_training(gradients, params, state, lr, 25, interval)
        spy = Counted(gradients)
        got = student.train_scaled(Callback(spy, "scaled_gradients"), params, state, lr, 25, interval)
        runs.append((reason, student.transcript[-1][0], got, want, spy))
    for reason, call, got, want, spy in runs:
        with case_of(reason, call):
            new, scales = items(got, ("params", "scales"))
            same(scales, want[1], "the list of scales")
            same(new, want[0], "the dict of parameters")
            holds(
                spy.calls == 25,
                f"`scaled_gradients` should be called once a step, 25 times in all, and was called {spy.calls} times.",
            )


@prop("and back to float64", 1, "to_half", alone=False)
def back_to_double(student: Any, rng: Rng) -> None:
    answer = student.to_half(rng.normal(size=3))
    with case_of("three numbers", student.transcript[-1][0]):
        numbers(answer, (3,))
        kind = np.asarray(answer).dtype
        holds(kind.itemsize >= 8, f"the result should be float64 again, but is {kind}.")


LOSS_SCALING = Exercise(
    name="loss_scaling",
    title="Training in half precision",
    functions=("to_half", "update_scale", "scaled_step", "train_scaled"),
    hints=(
        "What happens to a gradient of 1e-9 in float16, and what to one of 1e6? Which of the two can you notice?",
        "An overflow shows as inf or nan; np.isfinite finds both. Divide by the scale before you clip, and by the "
        "scale that the gradients were made with, not by the new one.",
        "scaled_step: divide; test all entries; update the state; return copies if there was an overflow; clip by the "
        "norm of all together; descend. train_scaled notes the scale before each step and does not touch it itself.",
    ),
    checks=(
        numeric(
            "rounded to half precision",
            2,
            "to_half",
            ref.to_half,
            [
                Case("numbers of size one", lambda rng: (rng.normal(size=(3, 4)),)),
                Case("too large", lambda rng: ([65504.0, 65519.0, 65520.0, -1e6, 1e300],)),
                Case("too small", lambda rng: (np.array([1e-8, 2.9e-8, 3.1e-8, -1e-7, 3.3e-6, 0.0]),)),
                Case("a single number", lambda rng: (0.1,)),
            ],
        ),
        back_to_double,
        numeric(
            "the scale after a step",
            3,
            "update_scale",
            right_update,
            [
                Case("a good step", scale_at(256.0, 2, False, 10)),
                Case("the last good step before it grows", scale_at(256.0, 8, False, 10)),
                Case("enough good steps", scale_at(256.0, 9, False, 10)),
                Case("an overflow", scale_at(256.0, 9, True, 10)),
                Case("an overflow at a small scale", scale_at(0.75, 0, True, 10)),
                Case("grown after every step", scale_at(1.0, 0, False, 1)),
                Case("a large scale grows as well", scale_at(2.0**24, 9, False, 10)),
                Case("growth_interval is left out", lambda rng: ({"scale": 8.0, "good_steps": 1999}, False)),
                Case("growth_interval is left out", lambda rng: ({"scale": 8.0, "good_steps": 1998}, False)),
            ],
            result="the state",
        ),
        numeric(
            "a step without overflow",
            2,
            "scaled_step",
            right_scaled,
            [
                Case("no clipping", step_draw(3.0)),
                Case("the scale grows after this step", lambda rng: (*_about_to_grow(rng, 10), 0.3, None, 10)),
                Case("it grows, with growth_interval left out", lambda rng: (*_about_to_grow(rng, 2000), 0.3)),
            ],
        ),
        numeric(
            "clipping the true gradients",
            2,
            "scaled_step",
            right_scaled,
            [
                Case("gradients that are too long", step_draw(8.0, None, 2.0)),
                Case("gradients short enough, though not when scaled", step_draw(0.5, None, 2.0)),
                Case("no clipping asked for", step_draw(5.0)),
            ],
        ),
        numeric(
            "a step that is skipped",
            3,
            "scaled_step",
            right_scaled,
            [
                Case("an entry of inf", step_draw(3.0, math.inf)),
                Case("an entry of minus inf, with clipping", step_draw(3.0, -math.inf, 2.0)),
                Case("an entry of nan", step_draw(3.0, math.nan)),
                Case("an entry of inf in W1", lambda rng: (*grads_with(rng, 3.0, math.inf, "W1"), 0.3)),
            ],
        ),
        finds_scale,
        unchanged(
            1,
            {
                "update_scale": scale_at(4.0, 1, True, 5),
                "scaled_step": step_draw(8.0, None, 2.0),
                "to_half": vectors(2, 2),
                "train_scaled": short_training,
            },
        ),
    ),
    mistakes=(
        Mistake(
            name="clipped-to-the-largest-half",
            advice="An overflow has to show: leave infinite what is too large, or no step is ever skipped.",
            replaces={"to_half": lambda x: ref.to_half(np.clip(floats(x), -65504, 65504))},
        ),
        Mistake(
            name="not-rounded-to-half",
            advice="Round the digits as well: a float16 keeps 11 binary digits, and nothing below about 3e-8.",
            replaces={"to_half": lambda x: floats(floats(x).clip(-3e38, 3e38).astype(np.float32))},
            variants=({"to_half": lambda x: floats(x).copy()},),
        ),
        Mistake(
            name="small-numbers-flushed",
            advice="Between 6e-8 and 6e-5 half precision still has numbers, with fewer digits.",
            replaces={"to_half": lambda x: np.where(np.abs(floats(x)) < 2**-14, 0.0, ref.to_half(x))},
        ),
        Mistake(
            name="count-survives-overflow",
            advice="Good steps are counted in a row: an overflow sets the count back to 0.",
            replaces=update_with(reset_on_overflow=False),
        ),
        Mistake(
            name="count-survives-growth",
            advice="When the scale has grown the count starts again at 0; otherwise it grows in every later step.",
            replaces=update_with(reset_on_growth=False),
        ),
        Mistake(
            name="growth-one-step-late",
            advice="The step that makes growth_interval good ones in a row already doubles the scale.",
            replaces=update_with(late=1),
        ),
        Mistake(
            name="scale-up-after-overflow",
            advice="An overflow means that the scale is too LARGE: halve it.",
            replaces=update_with(down=2.0, up=0.5),
            variants=(update_with(down=2.0),),
        ),
        Mistake(
            name="clipped-before-unscaling",
            advice="max_norm is meant for the true gradients: divide by the scale first, and clip then.",
            replaces=scaled_with(clip=clip_scaled),
        ),
        Mistake(
            name="clipped-one-by-one",
            advice="One norm for all gradients together: clipping each by itself changes the direction.",
            replaces=scaled_with(clip=clip_each),
            variants=(scaled_with(clip=clip_entries),),
        ),
        Mistake(
            name="short-gradients-stretched",
            advice="Gradients that are short enough stay as they are.",
            replaces=scaled_with(clip=clip_always),
        ),
        Mistake(
            name="scale-not-taken-off",
            advice="The gradients are those of scale * loss: divide them by the scale.",
            replaces=scaled_with(divide=lambda state, updated: 1.0),
        ),
        Mistake(
            name="divided-by-the-new-scale",
            advice="Divide by the scale that the gradients were made with, not by the updated one.",
            replaces=scaled_with(divide=lambda state, updated: updated["scale"]),
        ),
        Mistake(
            name="nan-not-noticed",
            advice="nan is an overflow too (infinity minus infinity): test with np.isfinite.",
            replaces=scaled_with(good=inf_only),
        ),
        Mistake(
            name="overflow-not-noticed",
            advice="Look for infinite entries before you step: one of them spoils the parameters for good.",
            replaces=scaled_with(good=lambda grad: True),
        ),
        Mistake(
            name="overflow-patched-over",
            advice="After an overflow the whole step is skipped; the other entries are not to be trusted either.",
            replaces=scaled_with(repaired=True),
        ),
        Mistake(
            name="skipped-upside-down",
            advice="The third item is True for a step that was skipped.",
            replaces=scaled_with(report=lambda skipped: not skipped),
        ),
        Mistake(
            name="scale-kept-after-skipping",
            advice="A skipped step halves the scale; if it stayed, the next step would overflow as well.",
            replaces=scaled_with(lasting=False),
        ),
        Mistake(
            name="growth-interval-not-handed-on",
            advice="Hand growth_interval on: from `train_scaled` to `scaled_step`, and from there to `update_scale`.",
            replaces={"scaled_step": step_by_default},
            variants=({"train_scaled": train_by_default},),
        ),
        Mistake(
            name="scales-after-the-steps",
            advice="Note the scale that a step USES, before the step changes it.",
            replaces=train_with(after=True),
        ),
        Mistake(
            name="scale-never-changes",
            advice="Go on with the state that `scaled_step` returned.",
            replaces=train_with(kept=True),
        ),
        Mistake(
            name="skipped-steps-repeated",
            advice="A skipped step is one of the steps: its scale is in the list.",
            replaces=train_with(count_skipped=False),
        ),
        Mistake(
            name="good-steps-forgotten",
            advice="The state is the scale AND the count of good steps: hand both on to the next step.",
            replaces=train_with(forget=True),
        ),
    ),
)


def _about_to_grow(rng: Rng, interval: int) -> tuple[Params, Params, State]:
    params, scaled, state = grads_with(rng, 3.0)
    return params, scaled, {**state, "good_steps": interval - 1}


# --- checkpoints -----------------------------------------------------------------------------------------------------


class Layers:
    """The two functions of one layer that a check hands over, for an activation, and a count of what they are asked."""

    def __init__(self, activation: str, params: Params) -> None:
        self.activation, self.params = activation, params
        depth = mlp.depth(params)
        self.forwards, self.backwards = [0] * depth, [0] * depth

    def forward(self, a: Any, W: Any, b: Any) -> Array:
        self._count(self.forwards, W)
        return mlp.forward(a, {"W1": floats(W), "b1": floats(b)}, (self.activation,))[0]

    def backward(self, da: Any, a_in: Any, a_out: Any, W: Any, b: Any) -> tuple[Array, Array, Array]:
        self._count(self.backwards, W)
        layer = {"W1": floats(W), "b1": floats(b)}
        _, cache = mlp.forward(a_in, layer, (self.activation,))
        # From a_out, so that a wrong output is not mended here; from z the slope would come out right all the same.
        slope = 1 - floats(a_out) ** 2 if self.activation == "tanh" else np.where(floats(a_out) > 0, 1.0, 0.01)
        grads, dx = mlp.backward(floats(da) * slope, cache._replace(activations=("identity",)), layer)
        return dx, grads["W1"], grads["b1"]

    def _count(self, counts: list[int], W: Any) -> None:
        for layer in range(len(counts)):
            counts[layer] += np.array_equal(floats(W), self.params[f"W{layer + 1}"])

    def callbacks(self) -> tuple[Callback, Callback]:
        return Callback(self.forward, "forward"), Callback(self.backward, "backward")


def deep_inputs(widths: Sequence[int], rows: int, segment: int, far: float = 0.0) -> Callable[[Rng], dict[str, Any]]:
    def draw(rng: Rng) -> dict[str, Any]:
        params = draw_params(rng, widths)
        params[f"b{len(widths) - 1}"] += far
        dout = rng.normal(size=(rows, widths[-1]))
        name = "leaky_relu" if far else "tanh"
        return {
            "params": params,
            "X": rng.normal(size=(rows, widths[0])),
            "dout": dout,
            "segment": segment,
            "name": name,
        }

    return draw


def deep_value(student: Any, i: dict[str, Any]) -> Array:
    return mlp.forward(i["X"], i["params"], (i["name"],) * mlp.depth(i["params"]))[0]


def deep_right(i: dict[str, Any]) -> dict[str, Any]:
    _, cache = mlp.forward(i["X"], i["params"], (i["name"],) * mlp.depth(i["params"]))
    grads, dX = mlp.backward(i["dout"], cache, i["params"])
    return {"X": dX, **{f"params.{name}": grad for name, grad in grads.items()}}


def deep_grads(student: Any, i: dict[str, Any]) -> dict[str, Any]:
    layers = Layers(i["name"], i["params"])
    answer = student.checkpointed_gradients(*layers.callbacks(), i["params"], i["X"], i["dout"], i["segment"])
    dX, grads = items(answer, ("dX", "grads"))
    holds(type(grads) is dict, "grads should be a dict with the keys of params.")
    return {"X": dX, **{f"params.{name}": grads.get(name) for name in i["params"]}}


DEEP = (3, 5, 4, 6, 5, 3, 4, 2)


@prop("each layer runs as often as it must", 3, "checkpointed_gradients")
def recomputed(student: Any, rng: Rng) -> None:
    for segment in (3, 1, 9):
        inputs = deep_inputs(DEEP, 2, segment)(rng)
        params, layers = inputs["params"], Layers("tanh", inputs["params"])
        answer = student.checkpointed_gradients(*layers.callbacks(), params, inputs["X"], inputs["dout"], segment)
        depth = len(layers.forwards)
        last = (depth - 1) // segment * segment
        with case_of(f"7 layers, segment = {segment}", student.transcript[-1][0]):
            holds(answer is not None, "nothing was returned.")
            for layer, count in enumerate(layers.forwards):
                times = 1 if layer >= last else 2
                why = (
                    "on the way forward, and again in the backward",
                    "in the backward, for it is in the last segment",
                )
                holds(
                    count == times,
                    f"layer {layer + 1} of {depth} should run forward {('once', 'twice')[times - 1]}: "
                    f"{why[times == 1]}. It ran {count} times.",
                )
            holds(max(layers.backwards) == min(layers.backwards) == 1, "`backward` is called once for each layer.")


def cg_with(recompute: bool = True, chain: bool = True, start_input: bool = True, renumber: bool = False) -> Replaces:
    """A checkpointed backward that keeps everything, breaks the chain at segments, or recomputes from a wrong input."""

    def checkpointed_gradients(forward: Any, backward: Any, params: Any, X: Any, dout: Any, segment: int) -> Any:
        depth = mlp.depth(params)
        outputs = [X]
        for n in range(1, depth + 1):
            outputs.append(forward(outputs[-1], params[f"W{n}"], params[f"b{n}"]))
        if recompute:
            last = (depth - 1) // segment * segment
            for n in range(1, last + 1):
                forward(outputs[n - 1], params[f"W{n}"], params[f"b{n}"])
        grads, signal = {}, floats(dout)
        for n in range(depth, 0, -1):
            a_out = (
                outputs[n] if start_input or n % segment else outputs[n - 1][:, :1] * 0 + floats(outputs[n])[:, ::-1]
            )
            if not chain and n % segment == 0 and n < depth:
                signal = np.ones_like(outputs[n])
            name = (n - 1) % segment + 1 if renumber else n
            signal, grads[f"W{name}"], grads[f"b{name}"] = backward(
                signal, outputs[n - 1], a_out, params[f"W{n}"], params[f"b{n}"]
            )
        return signal, grads

    return {"checkpointed_gradients": checkpointed_gradients}


def cg_last_segment_only(forward: Any, backward: Any, params: Any, X: Any, dout: Any, segment: int) -> Any:
    """Backward through whole segments only: what is left over after them is never run."""
    depth = max(mlp.depth(params) // segment, 1) * segment
    depth = min(depth, mlp.depth(params))
    part = {f"{kind}{n}": params[f"{kind}{n}"] for n in range(1, depth + 1) for kind in "Wb"}
    signal, grads = cg_with()["checkpointed_gradients"](
        forward, backward, part, X, np.ones((len(X), len(part[f"b{depth}"]))), segment
    )
    return signal, {name: grads.get(name, np.zeros(np.shape(value))) for name, value in params.items()}


def peak_with(
    held: Callable[[Array, Array, int], Array],
    rows: Callable[[int], int] = lambda batch: batch,
    choose: Callable[[Array], Any] = np.max,
) -> Replaces:
    """checkpoint_peak from inputs and outputs of the segments, counted otherwise; best_segment stays the right one."""

    def checkpoint_peak(widths: Any, batch: int, segment: int) -> int:
        sizes = np.asarray(widths)
        starts = np.arange(0, len(sizes) - 1, segment)
        return int(rows(batch) * choose(held(sizes[starts], np.add.reduceat(sizes[1:], starts), len(starts))))

    return {"checkpoint_peak": checkpoint_peak, "best_segment": ref.best_segment}


def best_by(key: Callable[[Sequence[int], int], float], first: int = 1) -> Replaces:
    return {"best_segment": lambda widths: min(range(first, len(widths)), key=lambda segment: key(widths, segment))}


def peak_case(layers: int, segment: int) -> Draw:
    return lambda rng: (rng.integers(3, 30, size=layers + 1).tolist(), int(rng.integers(2, 9)), segment)


CHECKPOINTS = Exercise(
    name="checkpointing",
    title="Forget, and compute again",
    functions=("checkpointed_gradients", "checkpoint_peak", "best_segment"),
    hints=(
        "What does the backward of one layer need, and from what could it be computed once more?",
        "Three loops: forward over all segments but the last, keeping inputs; then backwards over the segments; in "
        "each of these forward over its layers, and backward over them. The gradient dout walks through all of them.",
        "Keep [X, input of segment 2, ...]. For the last kept input first: outputs = [that input], append forward(...) "
        "for each layer of the segment; then for its layers backwards call backward with outputs[-2] and outputs[-1], "
        "and drop the last. The peak: for each segment, kept inputs so far + the outputs of its layers.",
    ),
    checks=(
        gradient(
            "the gradients of an ordinary backward",
            4,
            ("checkpointed_gradients",),
            [
                GradientCase("7 layers, 3 at a time: the last segment has 1", deep_inputs(DEEP, 3, 3)),
                GradientCase("7 layers, 2 at a time, one row", deep_inputs(DEEP, 1, 2)),
                GradientCase("4 layers, 2 at a time", deep_inputs(DEEP[:5], 2, 2)),
                GradientCase("a segment for each layer", deep_inputs(DEEP[:4], 2, 1)),
                GradientCase("one segment for all", deep_inputs(DEEP[:4], 2, 5)),
                GradientCase("outputs far from zero", deep_inputs(DEEP[:4], 2, 2, 1e6)),
            ],
            value=deep_value,
            grads=deep_grads,
            reference=deep_right,
        ),
        recomputed,
        numeric(
            "numbers held at the peak",
            4,
            "checkpoint_peak",
            ref.checkpoint_peak,
            [
                Case("10 layers, 3 at a time", peak_case(10, 3)),
                Case("9 layers, 2 at a time", peak_case(9, 2)),
                Case("the widest layers first", lambda rng: ([40, 30, 20, 10, 5, 2], 3, 2)),
                Case("nothing computed twice", peak_case(6, 6)),
                Case("a segment for each layer", peak_case(6, 1)),
                Case("a segment longer than the network", peak_case(4, 9)),
            ],
            result="the number",
        ),
        numeric(
            "the best length of a segment",
            3,
            "best_segment",
            ref.best_segment,
            [
                Case("100 equal layers", lambda rng: ([4] * 101,)),
                Case("24 layers of drawn widths", lambda rng: (rng.integers(3, 60, size=25).tolist(),)),
                Case("one layer", lambda rng: ([5, 2],)),
                Case("a network that narrows", lambda rng: ([200, 100, 50, 25, 12, 6, 3],)),
            ],
            result="the segment length",
        ),
        unchanged(1, {"checkpoint_peak": peak_case(4, 2), "best_segment": lambda rng: ([3, 4, 5, 6],)}),
    ),
    mistakes=(
        Mistake(
            name="segments-run-otherwise",
            advice="Keep only the inputs of the segments on the way forward. Every segment is run when it is its turn "
            "in the backward: the last one then for the first time, the others again.",
            replaces=cg_with(recompute=False),
        ),
        Mistake(
            name="chain-broken-between-segments",
            advice="The gradient at the input of one segment is the gradient at the output of the segment before.",
            replaces=cg_with(chain=False),
        ),
        Mistake(
            name="layers-renumbered",
            advice="The layers keep their numbers, whichever segment they are in: each has its own W and b, and its "
            "own gradients.",
            replaces=cg_with(renumber=True),
        ),
        Mistake(
            name="short-last-segment-left-out",
            advice="The last segment may be shorter; its layers belong to the network all the same.",
            replaces={"checkpointed_gradients": cg_last_segment_only},
        ),
        Mistake(
            name="later-inputs-still-held",
            advice="The kept inputs of later segments have been used and dropped when an earlier segment is worked on.",
            replaces=peak_with(lambda inputs, outputs, n: inputs.sum() + outputs),
        ),
        Mistake(
            name="kept-inputs-not-counted",
            advice="The kept inputs take memory as well: those of this segment and of all earlier ones.",
            replaces=peak_with(lambda inputs, outputs, n: outputs),
            variants=(peak_with(lambda inputs, outputs, n: inputs + outputs),),
        ),
        Mistake(
            name="only-kept-inputs-counted",
            advice="While a segment is worked on, the outputs of all its layers are held too.",
            replaces=peak_with(lambda inputs, outputs, n: np.cumsum(inputs)),
        ),
        Mistake(
            name="last-segment-taken-for-the-peak",
            advice="The peak can be at any segment: count for all of them, and take the largest.",
            replaces=peak_with(lambda inputs, outputs, n: np.cumsum(inputs) + outputs, choose=lambda held: held[-1]),
        ),
        Mistake(
            name="all-segments-added-up",
            advice="A segment's outputs are dropped before those of the next are computed: take the largest.",
            replaces=peak_with(lambda inputs, outputs, n: inputs.sum() + outputs.sum()),
        ),
        Mistake(
            name="batch-not-counted",
            advice="Every activation has a number for each row of the batch: multiply by it.",
            replaces=peak_with(lambda inputs, outputs, n: np.cumsum(inputs) + outputs, rows=lambda batch: 1),
        ),
        Mistake(
            name="root-of-the-depth",
            advice="The root of L is near the best for equal layers only: try all lengths, and compare their peaks.",
            replaces={"best_segment": lambda widths: max(1, round(math.sqrt(len(widths) - 1)))},
        ),
        Mistake(
            name="worst-segment",
            advice="The SMALLEST peak is the best.",
            replaces=best_by(lambda widths, segment: -ref.checkpoint_peak(widths, 1, segment)),
        ),
        Mistake(
            name="longest-of-equals",
            advice="Of equally good lengths the smallest is asked for.",
            replaces=best_by(lambda widths, segment: ref.checkpoint_peak(widths, 1, segment) - 1e-6 * segment),
        ),
    ),
)

# --- layers cut in two -----------------------------------------------------------------------------------------------

Parts = list[tuple[Array, Array]]


def whole_layer(rng: Rng, d_out: int, d_in: int) -> tuple[Array, Array]:
    return rng.normal(size=(d_out, d_in)), rng.normal(size=d_out)


def cut_case(d_out: int, d_in: int, workers: int) -> Draw:
    return lambda rng: (*whole_layer(rng, d_out, d_in), workers)


def rows_case(d_out: int, d_in: int, workers: int) -> Draw:
    return lambda rng: (rng.normal(size=(d_out, d_in)), workers)


def column_case(rows: int, d_out: int, d_in: int, workers: int) -> Draw:
    return lambda rng: (rng.normal(size=(rows, d_in)), ref.split_columns(*whole_layer(rng, d_out, d_in), workers))


def row_case(rows: int, d_out: int, d_in: int, workers: int) -> Draw:
    def draw(rng: Rng) -> tuple[Any, ...]:
        W, b = whole_layer(rng, d_out, d_in)
        return np.array_split(rng.normal(size=(rows, d_in)), workers, axis=1), ref.split_rows(W, workers), b

    return draw


LAYER_SIZES = (
    ("3 workers, 7 outputs, 5 inputs", 4, 7, 5, 3),
    ("2 workers, a batch of one", 1, 4, 6, 2),
    ("a worker alone", 2, 3, 2, 1),
)


def column_inputs(rows: int, d_out: int, d_in: int, workers: int, far: float = 0.0) -> Callable[[Rng], dict[str, Any]]:
    def draw(rng: Rng) -> dict[str, Any]:
        x, parts = column_case(rows, d_out, d_in, workers)(rng)
        parts = [(W, b + far) for W, b in parts]
        return {"x": x, "parts": parts, "dout": rng.normal(size=(rows, d_out))}

    return draw


def cut_outputs(i: dict[str, Any]) -> list[Array]:
    return np.split(i["dout"], np.cumsum([len(b) for _, b in i["parts"]])[:-1], axis=1)


def column_grads(student: Any, i: dict[str, Any]) -> dict[str, Any]:
    dx, grads = items(student.column_backward(cut_outputs(i), i["x"], i["parts"]), ("dx", "grads"))
    names = tuple(f"worker {k}" for k in range(len(i["parts"])))
    pairs = [items(pair, ("dW_k", "db_k"), "an item of grads") for pair in items(grads, names, "grads")]
    return {"x": dx, **{f"parts.{k}.{n}": pair[n] for k, pair in enumerate(pairs) for n in (0, 1)}}


def column_right(i: dict[str, Any]) -> dict[str, Any]:
    dx, grads = ref.column_parallel_backward(cut_outputs(i), i["x"], i["parts"])
    return {"x": dx, **{f"parts.{k}.{n}": pair[n] for k, pair in enumerate(grads) for n in (0, 1)}}


def column_value(student: Any, i: dict[str, Any]) -> Array:
    pieces = student.column_forward(i["x"], i["parts"])
    return np.concatenate([floats(piece) for piece in pieces], axis=1)


def row_inputs(rows: int, d_out: int, d_in: int, workers: int, far: float = 0.0) -> Callable[[Rng], dict[str, Any]]:
    def draw(rng: Rng) -> dict[str, Any]:
        xs, parts, b = row_case(rows, d_out, d_in, workers)(rng)
        # One input far from zero makes all outputs large, and the gradients of the others stay small.
        xs[0][:, 0] += far
        return {"xs": xs, "parts": parts, "b": b + far, "dout": rng.normal(size=(rows, d_out))}

    return draw


def row_grads(student: Any, i: dict[str, Any]) -> dict[str, Any]:
    answer = student.row_backward(i["dout"], i["xs"], i["parts"])
    dxs, dWs, db = items(answer, ("dxs", "dWs", "db"))
    names = tuple(f"worker {k}" for k in range(len(i["parts"])))
    return {
        **{f"xs.{k}": dx for k, dx in enumerate(items(dxs, names, "dxs"))},
        **{f"parts.{k}": dW for k, dW in enumerate(items(dWs, names, "dWs"))},
        "b": db,
    }


def row_right(i: dict[str, Any]) -> dict[str, Any]:
    dxs, dWs, db = ref.row_parallel_backward(i["dout"], i["xs"], i["parts"])
    return {**{f"xs.{k}": d for k, d in enumerate(dxs)}, **{f"parts.{k}": d for k, d in enumerate(dWs)}, "b": db}


COLUMN_NAMES = {f"parts.{k}.{n}": f"the gradient of {'Wb'[n]} of worker {k}" for k in range(3) for n in (0, 1)}
ROW_NAMES = {
    f"{name}.{k}": f"the gradient of {short} of worker {k}"
    for k in range(3)
    for name, short in (("xs", "x"), ("parts", "W"))
}


def rest_to_the_last(array: Any, workers: int, axis: int) -> list[Array]:
    array = floats(array)
    size = array.shape[axis] // workers
    return np.split(array, [size * k for k in range(1, workers)], axis=axis)


def column_dx(dx: Callable[[list[Array]], Any]) -> Replaces:
    """column_backward that puts the workers' gradients at x together in another way."""

    def column_backward(douts: Any, x: Any, parts: Any) -> Any:
        pieces = [floats(d) @ floats(W) for d, (W, _) in zip(douts, parts, strict=True)]
        return dx(pieces), ref.column_parallel_backward(douts, x, parts)[1]

    return {"column_backward": column_backward}


def row_sum(total: Callable[[list[Array], Array], Any]) -> Replaces:
    """row_forward that puts the workers' outputs and the bias together in another way."""

    def row_forward(xs: Any, parts: Any, b: Any) -> Any:
        return total([floats(x) @ floats(W).T for x, W in zip(xs, parts, strict=True)], floats(b))

    return {"row_forward": row_forward}


def rb_with(change: Callable[[Any, Any, Any], Any]) -> Replaces:
    return {"row_backward": lambda dout, xs, parts: change(*ref.row_parallel_backward(dout, xs, parts))}


def cb_per_row(douts: Any, x: Any, parts: Any) -> Any:
    dx, grads = ref.column_parallel_backward(douts, x, parts)
    return dx, [(dW / len(x), db / len(x)) for dW, db in grads]


TENSOR_PARALLEL = Exercise(
    name="tensor_parallel",
    title="Layers cut in two",
    functions=("split_columns", "split_rows", "column_forward", "column_backward", "row_forward", "row_backward"),
    hints=(
        "Draw W (out, in) as a table. Which lines of it make one output, and which of them touch one input?",
        "Column parallelism cuts outputs: rows of our W, entries of b. Row parallelism cuts inputs: columns of our W. "
        "What every worker has whole when going one way has to be summed over the workers when going back.",
        "np.array_split with axis 0 for columns (W and b), axis 1 for rows. column_backward: dx is the sum of dout_k @ "
        "W_k. row_forward: the sum of x_k @ W_k.T, then b once. row_backward sums nothing over workers.",
    ),
    checks=(
        numeric(
            "cut by outputs",
            2,
            "split_columns",
            ref.split_columns,
            [
                Case("7 outputs for 3 workers", cut_case(7, 5, 3)),
                Case("a square matrix", cut_case(4, 4, 2)),
                Case("one worker", cut_case(3, 2, 1)),
            ],
            result="the list of pairs",
        ),
        numeric(
            "cut by inputs",
            1,
            "split_rows",
            ref.split_rows,
            [Case("7 inputs for 3 workers", rows_case(5, 7, 3)), Case("a square matrix", rows_case(4, 4, 2))],
            result="the list of pieces",
        ),
        numeric(
            "outputs side by side",
            1,
            "column_forward",
            ref.column_parallel_forward,
            [Case(reason, column_case(*size)) for reason, *size in LAYER_SIZES],
            result="the list of outputs",
        ),
        gradient(
            "backward of the column layer",
            3,
            ("column_forward", "column_backward"),
            [
                *[GradientCase(reason, column_inputs(*size)) for reason, *size in LAYER_SIZES],
                GradientCase("outputs far from zero", column_inputs(2, 4, 3, 2, 1e6)),
            ],
            value=column_value,
            grads=column_grads,
            reference=column_right,
            names=COLUMN_NAMES,
        ),
        numeric(
            "outputs summed",
            2,
            "row_forward",
            ref.row_parallel_forward,
            [Case(reason, row_case(*size)) for reason, *size in LAYER_SIZES],
            result="the output",
        ),
        gradient(
            "backward of the row layer",
            2,
            ("row_forward", "row_backward"),
            [
                *[GradientCase(reason, row_inputs(*size)) for reason, *size in LAYER_SIZES],
                GradientCase("inputs far from zero", row_inputs(2, 3, 4, 2, 1e6)),
            ],
            value=lambda student, i: student.row_forward(i["xs"], i["parts"], i["b"]),
            grads=row_grads,
            reference=row_right,
            names=ROW_NAMES,
        ),
        unchanged(
            1,
            {
                "split_columns": cut_case(4, 3, 2),
                "column_forward": column_case(2, 4, 3, 2),
                "row_forward": row_case(2, 4, 3, 2),
                "column_backward": lambda rng: _backward_args(rng),
                "row_backward": lambda rng: (rng.normal(size=(2, 4)), *row_case(2, 4, 3, 2)(rng)[:2]),
            },
        ),
    ),
    mistakes=(
        Mistake(
            name="columns-and-rows-exchanged",
            advice="Our weights are (out, in): column parallelism cuts outputs, the first axis of W; row parallelism "
            "cuts inputs, the second.",
            replaces={
                "split_columns": lambda W, b, workers: list(
                    zip(ref.split_rows(W, workers), np.array_split(floats(b), workers), strict=True)
                )
            },
            variants=({"split_rows": lambda W, workers: np.array_split(floats(W), workers, axis=0)},),
        ),
        Mistake(
            name="rest-to-the-last-worker",
            advice="Where it cannot be equal the FIRST pieces have one more, as np.array_split cuts.",
            replaces={
                "split_columns": lambda W, b, workers: list(
                    zip(rest_to_the_last(W, workers, 0), rest_to_the_last(b, workers, 0), strict=True)
                )
            },
            variants=({"split_rows": lambda W, workers: rest_to_the_last(W, workers, 1)},),
        ),
        Mistake(
            name="bias-on-every-worker",
            advice="Each worker keeps the biases of its OWN outputs: b is cut like the rows of W.",
            replaces={
                "split_columns": lambda W, b, workers: [
                    (part, floats(b)) for part, _ in ref.split_columns(W, b, workers)
                ]
            },
        ),
        Mistake(
            name="column-bias-forgotten",
            advice="Each worker adds the biases of its outputs.",
            replaces={"column_forward": lambda x, parts: [floats(x) @ floats(W).T for W, _ in parts]},
        ),
        Mistake(
            name="gradient-of-one-worker",
            advice="Every worker used x, so all their gradients at x are summed: that is the all-reduce.",
            replaces=column_dx(lambda pieces: pieces[0]),
            variants=(column_dx(lambda pieces: pieces[-1]),),
        ),
        Mistake(
            name="gradient-averaged-over-workers",
            advice="The workers hold different outputs of one layer, not copies of it: their gradients at x are "
            "summed, not averaged.",
            replaces=column_dx(lambda pieces: sum(pieces) / len(pieces)),
        ),
        Mistake(
            name="divided-by-the-rows-again",
            advice="The division by the batch is already in dout: sum over the rows.",
            replaces={"column_backward": cb_per_row},
            variants=(rb_with(lambda dxs, dWs, db: (dxs, [dW / len(dxs[0]) for dW in dWs], db / len(dxs[0]))),),
        ),
        Mistake(
            name="bias-added-by-everyone",
            advice="The bias is added once, after the sum; added by each worker it counts K times.",
            replaces=row_sum(lambda pieces, b: sum(piece + b for piece in pieces)),
        ),
        Mistake(
            name="row-bias-forgotten",
            advice="After the sum comes the bias.",
            replaces=row_sum(lambda pieces, b: sum(pieces)),
        ),
        Mistake(
            name="outputs-averaged",
            advice="Every worker has a part of each output's sum: add the parts up, without dividing.",
            replaces=row_sum(lambda pieces, b: sum(pieces) / len(pieces) + b),
        ),
        Mistake(
            name="outputs-put-side-by-side",
            advice="In row parallelism every worker computes a part of ALL outputs: they are summed.",
            replaces=row_sum(lambda pieces, b: np.concatenate([piece + b for piece in pieces], axis=1)),
        ),
        Mistake(
            name="bias-gradient-times-workers",
            advice="The bias was added once: its gradient is the sum of dout over the rows, once.",
            replaces=rb_with(lambda dxs, dWs, db: (dxs, dWs, db * len(dxs))),
        ),
        Mistake(
            name="inputs-gradients-put-together",
            advice="Each worker keeps the gradient of its own piece of the input: a list of K arrays.",
            replaces=rb_with(lambda dxs, dWs, db: (np.concatenate(dxs, axis=1), np.concatenate(dWs, axis=1), db)),
        ),
    ),
)


def _backward_args(rng: Rng) -> tuple[Any, ...]:
    i = column_inputs(2, 4, 3, 2)(rng)
    return cut_outputs(i), i["x"], i["parts"]


# --- two layers, one all-reduce --------------------------------------------------------------------------------------


class AllReduce:
    """The sum over workers that a check hands over; it counts its calls and remembers what shapes it was given."""

    def __init__(self) -> None:
        self.shapes: list[list[tuple[int, ...]]] = []

    def __call__(self, arrays: Any) -> Array:
        pieces = [floats(a) for a in arrays]
        self.shapes.append([piece.shape for piece in pieces])
        return np.sum(pieces, axis=0)


def plain_sum(arrays: Any) -> Array:
    return np.sum([floats(a) for a in arrays], axis=0)


ALL_REDUCE = Callback(plain_sum, "all_reduce")


def net_case(rows: int, widths: tuple[int, int, int], workers: int, far: float = 0.0) -> Draw:
    def draw(rng: Rng) -> tuple[Any, ...]:
        params = draw_params(rng, widths)
        params["b2"] += far
        return rng.normal(size=(rows, widths[0])), params, workers, ALL_REDUCE

    return draw


NET_SIZES: tuple[tuple[Any, ...], ...] = (
    ("3 workers, 7 hidden numbers", 4, (3, 7, 2), 3),
    ("2 workers, a batch of one", 1, (5, 4, 3), 2),
    ("a worker alone", 3, (2, 3, 4), 1),
)


def net_inputs(*size: Any) -> Callable[[Rng], dict[str, Any]]:
    def draw(rng: Rng) -> dict[str, Any]:
        x, params, workers, _ = net_case(*size)(rng)
        return {"x": x, "params": params, "workers": workers, "dout": rng.normal(size=(len(x), size[1][-1]))}

    return draw


def dead_inputs(rng: Rng) -> dict[str, Any]:
    """Hidden number 0 is exactly 0 in every row, where the ReLU has the derivative 0."""
    i = net_inputs(3, (3, 4, 2), 2)(rng)
    i["params"]["W1"][0], i["params"]["b1"][0] = 0.0, 0.0
    return i


def net_call(student: Any, i: dict[str, Any]) -> tuple[Any, ...]:
    answer = student.call("parallel_mlp", i["x"], i["params"], i["workers"], ALL_REDUCE, keep=(1,))
    return items(answer, ("out", "cache"))


def net_grads(student: Any, i: dict[str, Any]) -> dict[str, Any]:
    answer = student.parallel_mlp_backward(i["dout"], net_call(student, i)[1], ALL_REDUCE)
    dx, grads = items(answer, ("dx", "grads"))
    holds(type(grads) is dict, "grads should be a dict with the keys W1, b1, W2 and b2.")
    return {"x": dx, **{f"params.{name}": grads.get(name) for name in i["params"]}}


def net_right(i: dict[str, Any]) -> dict[str, Any]:
    dx, grads = ref.parallel_mlp_backward(i["dout"], i["x"], i["params"], i["workers"], "relu")
    return {"x": dx, **{f"params.{name}": grad for name, grad in grads.items()}}


@prop("one all-reduce each way", 2, "parallel_mlp", "parallel_mlp_backward")
def one_each_way(student: Any, rng: Rng) -> None:
    for workers in (3, 1):
        i = net_inputs(2, (4, 6, 5), workers)(rng)
        there, back = AllReduce(), AllReduce()
        answer = student.call("parallel_mlp", i["x"], i["params"], workers, Callback(there, "all_reduce"), keep=(1,))
        _, cache = items(answer, ("out", "cache"))
        with case_of(
            f"{workers} workers, forward" if workers > 1 else "a worker alone, forward", student.transcript[-1][0]
        ):
            _one_call(there, workers, (2, 5))
        back_answer = student.parallel_mlp_backward(i["dout"], cache, Callback(back, "all_reduce"))
        with case_of(
            f"{workers} workers, backward" if workers > 1 else "a worker alone, backward", student.transcript[-1][0]
        ):
            holds(back_answer is not None, "nothing was returned.")
            _one_call(back, workers, (2, 4))


def _one_call(reduce: AllReduce, workers: int, shape: tuple[int, ...]) -> None:
    holds(
        len(reduce.shapes) == 1,
        f"`all_reduce` should be called exactly once, and was called {len(reduce.shapes)} times: between the two "
        "layers the workers need nothing from each other.",
    )
    given = reduce.shapes[0]
    holds(
        len(given) == workers and all(found == shape for found in given),
        f"`all_reduce` should be given one array of shape {shape} from each of the {workers} workers.",
    )


def pm_with(bias_inside: bool = False, relu: bool = True, gather: bool = False) -> Replaces:
    """parallel_mlp with the bias on every worker, without ReLU, or with the hidden numbers summed up in between."""

    def parallel_mlp(x: Any, params: Any, workers: int, all_reduce: Any) -> Any:
        hidden = ref.column_parallel_forward(x, ref.split_columns(params["W1"], params["b1"], workers))
        hidden = [np.maximum(h, 0.0) if relu else h for h in hidden]
        parts = ref.split_rows(params["W2"], workers)
        if gather:
            wide = [np.zeros((len(floats(x)), len(params["b1"]))) for _ in hidden]
            start = 0
            for full, h in zip(wide, hidden, strict=True):
                full[:, start : start + h.shape[1]] = h
                start += h.shape[1]
            whole = floats(all_reduce(wide))
            hidden = np.array_split(whole, workers, axis=1)
        b2 = floats(params["b2"])
        pieces = [h @ W.T + bias_inside * b2 for h, W in zip(hidden, parts, strict=True)]
        return floats(all_reduce(pieces)) + (not bias_inside) * b2, (x, params, workers)

    return {**pb_with(), "parallel_mlp": parallel_mlp}


def pb_with(
    mask: bool = True,
    reduced: Callable[[Any, list[Array]], Any] = lambda all_reduce, pieces: all_reduce(pieces),
    change: Callable[[Params, int], Params] = lambda grads, workers: grads,
) -> Replaces:
    """parallel_mlp and a backward without the ReLU's slope, with another dx, or with other gradients."""

    def parallel_mlp(x: Any, params: Any, workers: int, all_reduce: Any) -> Any:
        hidden = ref.column_parallel_forward(x, ref.split_columns(params["W1"], params["b1"], workers))
        parts = ref.split_rows(params["W2"], workers)
        total = all_reduce([np.maximum(h, 0.0) @ W.T for h, W in zip(hidden, parts, strict=True)])
        return floats(total) + floats(params["b2"]), (x, params, workers)

    def parallel_mlp_backward(dout: Any, cache: Any, all_reduce: Any) -> Any:
        x, params, workers = cache
        firsts = ref.split_columns(params["W1"], params["b1"], workers)
        zs = ref.column_parallel_forward(x, firsts)
        parts = ref.split_rows(params["W2"], workers)
        dhs, dW2, db2 = ref.row_parallel_backward(dout, [np.maximum(z, 0.0) for z in zs], parts)
        dzs = [dh * (z > 0) if mask else dh for dh, z in zip(dhs, zs, strict=True)]
        dx = reduced(all_reduce, [dz @ W for dz, (W, _) in zip(dzs, firsts, strict=True)])
        grads = {
            "W1": np.concatenate([dz.T @ floats(x) for dz in dzs]),
            "b1": np.concatenate([dz.sum(axis=0) for dz in dzs]),
            "W2": np.concatenate(dW2, axis=1),
            "b2": db2,
        }
        return dx, change(grads, workers)

    return {"parallel_mlp": parallel_mlp, "parallel_mlp_backward": parallel_mlp_backward}


TENSOR_NET = Exercise(
    name="parallel_mlp",
    title="Two layers, one all-reduce",
    functions=("parallel_mlp", "parallel_mlp_backward"),
    hints=(
        "After a column layer each worker has some of the hidden numbers. Which cut of the second layer wants just "
        "those?",
        "Column first, row second. In between each worker applies the ReLU to its own numbers. Hand the workers' parts "
        "of the output to all_reduce, and add b2 to what comes back.",
        "Backward: row_backward, then the ReLU's slope piece by piece, then for each worker dz @ W1_k (hand these to "
        "all_reduce), dz.T @ x and the sum of dz. Put the pieces of W1 and b1 together along axis 0, of W2 along 1.",
    ),
    checks=(
        numeric(
            "forward",
            2,
            "parallel_mlp",
            lambda x, params, workers, _: (ref.parallel_mlp(x, params, workers, "relu"), None),
            [Case(reason, net_case(*size)) for reason, *size in NET_SIZES],
            pick=0,
            result="out",
            keep=(1,),
        ),
        gradient(
            "backward",
            3,
            ("parallel_mlp", "parallel_mlp_backward"),
            [
                *[GradientCase(reason, net_inputs(*size)) for reason, *size in NET_SIZES],
                GradientCase("outputs far from zero", net_inputs(2, (3, 4, 2), 2, 1e6)),
                GradientCase("a hidden number of exactly zero", dead_inputs),
            ],
            value=lambda student, i: net_call(student, i)[0],
            grads=net_grads,
            reference=net_right,
        ),
        one_each_way,
        unchanged(1, {"parallel_mlp": net_case(2, (3, 4, 2), 2)}, keep=(1,)),
    ),
    mistakes=(
        Mistake(
            name="second-bias-times-workers",
            advice="Add b2 after the all-reduce; what every worker adds before it counts K times.",
            replaces=pm_with(bias_inside=True),
        ),
        Mistake(
            name="relu-left-out",
            advice="Each worker applies the ReLU to its own hidden numbers.",
            replaces=pm_with(relu=False),
        ),
        Mistake(
            name="hidden-numbers-gathered",
            advice="The row layer wants just the hidden numbers that its worker has: nothing is exchanged in between.",
            replaces=pm_with(gather=True),
        ),
        Mistake(
            name="relu-slope-left-out",
            advice="Going back, the ReLU lets pass only where its number was above zero.",
            replaces=pb_with(mask=False),
        ),
        Mistake(
            name="input-gradient-not-reduced",
            advice="Every worker's first layer used x: the gradient at x is the sum over the workers.",
            replaces=pb_with(reduced=lambda all_reduce, pieces: pieces[0]),
        ),
        Mistake(
            name="input-gradient-averaged",
            advice="The gradient at x is the sum over the workers, not their mean.",
            replaces=pb_with(reduced=lambda all_reduce, pieces: floats(all_reduce(pieces)) / len(pieces)),
        ),
        Mistake(
            name="second-bias-gradient-times-workers",
            advice="b2 was added once, so its gradient is counted once.",
            replaces=pb_with(change=lambda grads, workers: {**grads, "b2": workers * grads["b2"]}),
        ),
        Mistake(
            name="own-piece-of-the-gradient",
            advice="The gradients of the WHOLE layers are asked for: put the pieces of all workers together.",
            replaces=pb_with(
                change=lambda grads, workers: {
                    "W1": np.array_split(grads["W1"], workers)[0],
                    "b1": np.array_split(grads["b1"], workers)[0],
                    "W2": np.array_split(grads["W2"], workers, axis=1)[0],
                    "b2": grads["b2"],
                }
            ),
        ),
    ),
)


def draw_picture(student: Any, figure: Any) -> None:
    """Memory by ZeRO stage, the loss scale over a training, the speed-up of more workers, and checkpointed memory."""
    (memory, scaling), (speed, held) = figure.subplots(2, 2)
    n_params, devices = 7.5e9, 64
    bottom = np.zeros(4)
    budgets = [student.training_memory(n_params, devices, stage) for stage in range(4)]
    for name in ("weights", "gradients", "optimizer"):
        sizes = np.array([float(budget[name]) for budget in budgets]) / 1e9
        memory.bar(range(4), sizes, bottom=bottom, label=name)
        bottom += sizes
    for stage, total in enumerate(bottom):
        memory.text(stage, total + 2, f"{total:.1f}", ha="center", fontsize=8)
    memory.axhline(80, color="0.4", lw=1, ls="--", label="a device of 80 GB")
    memory.set_xticks(range(4), [f"stage {stage}" for stage in range(4)])
    memory.set_ylim(0, 190)
    memory.set_ylabel("GB on each device")
    memory.set_title("7.5 billion parameters on 64 devices", fontsize=10)
    memory.legend(frameon=False, fontsize=8)

    rng = np.random.default_rng(333)
    target = {"w": rng.normal(size=20) * 10 ** rng.uniform(-6, 0, size=20)}
    start = {"w": np.zeros(20)}

    def scaled_gradients(params: Any, scale: float) -> Params:
        return {"w": ref.to_half(scale * (floats(params["w"]) - target["w"]))}

    state = {"scale": 2.0**24, "good_steps": 0}
    _, scales = student.train_scaled(Callback(scaled_gradients, "scaled_gradients"), start, state, 0.02, 240, 20)
    scales = np.asarray(scales, dtype=np.float64)
    steps = np.arange(len(scales))
    skipped = steps[:-1][scales[1:] < scales[:-1]]
    scaling.semilogy(steps, scales, drawstyle="steps-post", base=2, label="loss scale")
    scaling.plot(skipped, scales[skipped], "C3x", ms=6, label="overflow, step skipped")
    scaling.set_xlabel("step")
    scaling.set_ylabel("scale")
    scaling.set_title("Halve after an overflow, double after 20 good steps", fontsize=10)
    scaling.legend(frameon=False, fontsize=8)

    workers = [1, 2, 4, 8, 16, 32, 64, 128]
    for bandwidth, name in ((400e9, "400 GB/s"), (50e9, "50 GB/s"), (10e9, "10 GB/s")):
        gain = [float(student.speed_up(10.0, 2 * n_params, k, bandwidth)) for k in workers]
        speed.loglog(workers, gain, "o-", ms=3, base=2, label=name)
    speed.loglog(workers, workers, color="0.6", ls=":", base=2, label="as many times faster")
    speed.set_xticks(workers, [str(k) for k in workers])
    speed.set_yticks(workers, [str(k) for k in workers])
    speed.set_xlabel("workers")
    speed.set_ylabel("times faster")
    speed.set_title("Summing 15 GB of gradients takes time", fontsize=10)
    speed.legend(frameon=False, fontsize=8)

    for layers in (16, 64, 100):
        widths = [1] * (layers + 1)
        segments = range(1, layers + 1)
        peaks = [float(student.checkpoint_peak(widths, 1, segment)) for segment in segments]
        [line] = held.plot(segments, peaks, label=f"{layers} layers")
        best = int(student.best_segment(widths))
        held.plot(best, peaks[best - 1], "o", color=line.get_color(), ms=5)
    held.set_xscale("log")
    held.set_xticks([1, 4, 8, 16, 64], ["1", "4", "8", "16", "64"])
    held.set_xticks([], minor=True)
    held.set_xlabel("layers in a segment")
    held.set_ylabel("layers held at the peak")
    held.set_title("Checkpoints: least near the root of the depth", fontsize=10)
    held.legend(frameon=False, fontsize=8)


CHAPTER = Chapter(
    id="ch333",
    slug="training_infrastructure",
    title="Training Infrastructure",
    part="Systems",
    summary="What makes large trainings possible: memory, many workers, half precision, checkpoints, split layers.",
    builds_on=("ch306", "ch312"),
    exercises=(MEMORY, PARTS_OF_A_BATCH, RING, LOSS_SCALING, CHECKPOINTS, TENSOR_PARALLEL, TENSOR_NET),
    picture=Picture(title="A large training, on paper", draw=draw_picture),
)
