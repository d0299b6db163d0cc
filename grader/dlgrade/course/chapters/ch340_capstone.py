"""Checks of chapter 340: a whole deep learning system, from raw records to calibrated and explained predictions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from dlreference import calibration, fusion
from dlreference.attention import masked_softmax
from dlreference.attention_pooling import PoolCache, attention_pool_backward, attention_pool_forward
from dlreference.losses import cross_entropy, softmax, softmax_backward
from dlreference.lstm import lstm_backward, lstm_forward
from dlreference.norm import BatchNormCache, batch_norm_backward
from dlreference.optim import adamw_step
from dlreference.schedules import cosine_annealing, warmup_cosine

from dlgrade.course.compare import below, entry, holds, items, numbers, same
from dlgrade.course.kinds import Case, GradientCase, Rng, case_of, gradient, numeric, prop, training, unchanged
from dlgrade.course.spec import Chapter, Exercise, Mistake, Picture

Array = np.ndarray[Any, Any]
Params = dict[str, Array]
Make = Callable[..., Any]
LENGTH, VOCAB = 14, 8
TARGET, ECE_LIMIT, LOSS_LIMIT = 0.95, 0.025, 0.15
# Adam divides a gradient by its own size, so the rounding of a small gradient grows: trained numbers agree to fewer
# digits than gradients do.
TRAINED: dict[str, float] = {"rtol": 1e-6, "atol": 1e-7}


def floats(x: Any) -> Array:
    return np.asarray(x, dtype=np.float64)


def generator(rng: Rng) -> Rng:
    """A generator of its own for a call, so that what is drawn for other cases does not move it."""
    return np.random.default_rng(int(rng.integers(1 << 30)))


# --- stage 1: data ---------------------------------------------------------------------------------------------------


def dominant_with(
    which: Callable[[Array], int] = lambda counts: int(counts.argmax()),
    recent: Callable[[Array], Array] | None = None,
    padding: bool = False,
) -> Make:
    def dominant(tokens: Any) -> Array:
        found = []
        for row in np.asarray(tokens):
            restarts = np.flatnonzero(row == 1)
            part = row[restarts[-1] + 1 :] if len(restarts) else row
            part = part if recent is None else recent(row)
            counts = np.bincount(part, minlength=VOCAB)
            counts[0] = counts[0] if padding else 0
            found.append(which(counts))
        return np.array(found)

    return dominant


def since_first(row: Array) -> Array:
    restarts = np.flatnonzero(row == 1)
    return row[restarts[0] + 1 :] if len(restarts) else row


def before_restart(row: Array) -> Array:
    restarts = np.flatnonzero(row == 1)
    return row[: restarts[-1]] if len(restarts) else row


def largest_number(counts: Array) -> int:
    return int(np.flatnonzero(counts).max(initial=0))


def plain_logs(rng: Rng) -> tuple[Any, ...]:
    """Three kinds; each is the most frequent once, and so at least twice not the largest number."""
    a, b, c = (2 + rng.permutation(6)[:3]).tolist()
    return ([[a, b, a, c, a, 0], [b, c, b, a, b, c], [c, a, b, c, c, a]],)


def restarted_logs(rng: Rng) -> tuple[Any, ...]:
    # Numbers above every count, so that a count cannot pass for an event.
    a, b, c = (4 + rng.permutation(4)[:3]).tolist()
    rows = [[a, a, a, a, 1, b, c, b, 0, 0, 0], [c, 1, a, a, a, 1, c, b, b, 0, 0], [a, a, a, b, b, 1, c, c, c, b, b]]
    return (np.array(rows),)


def tied_logs(rng: Rng) -> tuple[Any, ...]:
    a, b, c = np.sort(2 + rng.permutation(6)[:3]).tolist()
    return (np.array([[b, a, b, a, c, 0], [b, a, 0, 0, 0, 0], [a, b, b, 1, 0, 0], [a, 1, c, b, b, c]]),)


DOMINANT = Exercise(
    name="dominant_events",
    title="Stage 1: what a log is about",
    functions=("dominant_events",),
    hints=(
        "Which events of a row count, and how do you count them?",
        "Find the last 1 of a row and look only behind it. np.bincount counts every number; the count of padding has "
        "to go.",
        "np.argmax of the counts, not of the events, is the most frequent one; it takes the first of equal counts, and "
        "0 if all counts are 0.",
    ),
    checks=(
        numeric(
            "the most frequent event",
            2,
            "dominant_events",
            dominant_with(),
            [Case("logs without a restart", plain_logs), Case("one log", lambda rng: (plain_logs(rng)[0][:1],))],
        ),
        numeric(
            "only what came after the last restart",
            1,
            "dominant_events",
            dominant_with(),
            [Case("logs with one or two restarts", restarted_logs)],
        ),
        numeric(
            "equal counts, much padding, and nothing at all",
            1,
            "dominant_events",
            dominant_with(),
            [Case("two equally frequent events; nothing after the restart", tied_logs)],
        ),
    ),
    mistakes=(
        Mistake(
            name="largest-number-instead-of-most-frequent",
            advice="The numbers of the events are names: the largest number is not the most frequent event. Count.",
            replaces={"dominant_events": dominant_with(largest_number)},
        ),
        Mistake(
            name="whole-log-counted",
            advice="What happened before the last restart is over; count only the events behind it.",
            replaces={"dominant_events": dominant_with(lambda c: int(c[2:].argmax()) + 2, recent=lambda row: row)},
        ),
        Mistake(
            name="first-restart-taken",
            advice="A log may hold several restarts; the last one counts.",
            replaces={"dominant_events": dominant_with(recent=since_first)},
        ),
        Mistake(
            name="events-before-the-restart",
            advice="The events AFTER the restart count, not those before it.",
            replaces={"dominant_events": dominant_with(recent=before_restart)},
        ),
        Mistake(
            name="padding-counted",
            advice="Zeros are padding, not events: take their count out before you look for the largest.",
            replaces={"dominant_events": dominant_with(padding=True)},
        ),
        Mistake(
            name="highest-of-equals",
            advice="Of several equally frequent events the lowest number is asked for.",
            replaces={
                "dominant_events": dominant_with(
                    lambda counts: int(len(counts) - 1 - counts[::-1].argmax()) if counts.any() else 0
                )
            },
        ),
        Mistake(
            name="count-instead-of-event",
            advice="The event is asked for, argmax of the counts, not how often it occurred.",
            replaces={"dominant_events": dominant_with(lambda counts: int(counts.max()))},
        ),
    ),
)


def split(machines: Any, n_val: int, n_test: int, rng: Any) -> Any:
    order = rng.permutation(np.unique(machines))
    groups = order[n_test + n_val :], order[n_test : n_test + n_val], order[:n_test]
    return tuple(np.flatnonzero(np.isin(machines, group)) for group in groups)


def split_with(cut: Callable[[Array, int, int], Any], shuffled: bool = True) -> Make:
    def wrong(machines: Any, n_val: int, n_test: int, rng: Any) -> Any:
        order = np.unique(machines)
        order = rng.permutation(order) if shuffled else order
        return tuple(np.flatnonzero(np.isin(machines, group)) for group in cut(order, n_val, n_test))

    return wrong


def split_records(machines: Any, n_val: int, n_test: int, rng: Any) -> Any:
    """Records instead of machines, in about the same shares."""
    n, kinds = len(machines), len(np.unique(machines))
    order, test, val = rng.permutation(n), n * n_test // kinds, n * n_val // kinds
    return tuple(np.sort(part) for part in (order[test + val :], order[test : test + val], order[:test]))


def machine_case(n: int, n_machines: int, n_val: int, n_test: int) -> Any:
    """Records of machines with numbers of their own, in mixed order; every machine has at least two."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        names = 3 + 2 * rng.permutation(n_machines)
        return rng.permutation(names[np.arange(n) % n_machines]), n_val, n_test, generator(rng)

    return draw


@prop("no machine is in two sets, and no record is lost", 2, "split_machines")
def partition(student: Any, rng: Rng) -> None:
    for n, machines, n_val, n_test in ((24, 8, 2, 2), (15, 5, 1, 2), (10, 4, 0, 1)):
        names = machine_case(n, machines, n_val, n_test)(rng)[0]
        got = items(student.split_machines(names, n_val, n_test, rng), ("train", "val", "test"))
        sets = [numbers(part, None, what).ravel() for part, what in zip(got, ("train", "val", "test"), strict=True)]
        together = np.sort(np.concatenate(sets))
        holds(np.array_equal(together, np.arange(n)), "a record is in two of the sets, or in none of them.")
        owners = [{int(names[int(i)]) for i in part} for part in sets]
        shared = owners[0] & owners[1] | owners[0] & owners[2] | owners[1] & owners[2]
        holds(not shared, "records of one machine are in two of the sets: that is a leak.")
        holds(
            [len(o) for o in owners] == [machines - n_val - n_test, n_val, n_test],
            "the sets should hold n_val and n_test MACHINES, and the training set all others.",
        )


SPLIT = Exercise(
    name="split_machines",
    title="Stage 1: a split without a leak",
    functions=("split_machines",),
    hints=(
        "What is shuffled and cut here: the records, or something that owns several of them?",
        "Shuffle the distinct machine numbers and cut that list in three; then find the records of each group.",
        "np.isin(machines, group) is True for every record whose machine is in the group, and np.flatnonzero turns "
        "that into ascending indices.",
    ),
    checks=(
        numeric(
            "the records of the three groups of machines",
            3,
            "split_machines",
            split,
            [
                Case("eight machines, three records each", machine_case(24, 8, 3, 2)),
                Case("one machine each to validate and to test", machine_case(11, 5, 1, 1)),
            ],
        ),
        partition,
    ),
    mistakes=(
        Mistake(
            name="records-split-instead-of-machines",
            advice="Records of one machine resemble each other: in two sets they are a leak. Split the machines.",
            replaces={"split_machines": split_records},
        ),
        Mistake(
            name="machines-not-shuffled",
            advice="Draw the permutation: machines are numbered as they were built, and the old ones are special.",
            replaces={"split_machines": split_with(lambda o, v, t: (o[t + v :], o[t : t + v], o[:t]), shuffled=False)},
        ),
        Mistake(
            name="test-machines-stay-in-training",
            advice="The machines of the test set are still in the training set: it would measure memory.",
            replaces={"split_machines": split_with(lambda o, v, t: (o[v:], o[t : t + v], o[:t]))},
            variants=({"split_machines": split_with(lambda o, v, t: (o, o[t : t + v], o[:t]))},),
        ),
        Mistake(
            name="validation-machines-drawn-first",
            advice="The permutation begins with the test machines; those to validate with come second.",
            replaces={"split_machines": split_with(lambda o, v, t: (o[t + v :], o[:v], o[v : t + v]))},
        ),
        Mistake(
            name="sets-in-another-order",
            advice="Return them as (train, val, test), in this order.",
            replaces={"split_machines": split_with(lambda o, v, t: (o[t + v :], o[:t], o[t : t + v]))},
        ),
    ),
)


def pad(logs: Any, length: int) -> Array:
    return np.array([[*log[-length:], *[0] * (length - len(log))] for log in logs]).reshape(len(logs), length)


def pad_first(logs: Any, length: int) -> Array:
    return pad([log[:length] for log in logs], length)


def pad_left(logs: Any, length: int) -> Array:
    return np.array([[*[0] * (length - len(log)), *log[-length:]] for log in logs]).reshape(len(logs), length)


def ragged(*lengths: int) -> Callable[[Rng], list[list[int]]]:
    return lambda rng: [rng.integers(2, VOCAB, size=n).tolist() for n in lengths]


def distinct(rng: Rng) -> list[list[int]]:
    return [(2 + rng.permutation(6)).tolist(), (2 + rng.permutation(5)).tolist(), [3]]


PAD = Exercise(
    name="pad_logs",
    title="Stage 1: logs of one length",
    functions=("pad_logs",),
    hints=(
        "Which events of a log that is too long are the recent ones?",
        "Begin with an array of zeros and write every log into the beginning of its row.",
        "log[-length:] is the whole log if it is short, and its last events if it is long; write it into the first "
        "len(...) places of its row.",
    ),
    checks=(
        numeric(
            "short logs are filled up on the right",
            2,
            "pad_logs",
            pad,
            [
                Case("three logs, one of them empty", lambda rng: (ragged(3, 0, 5)(rng), 7)),
                Case("a log of exactly the length", lambda rng: (ragged(4, 1)(rng), 4)),
            ],
        ),
        numeric("long logs keep their end", 1, "pad_logs", pad, [Case("too long", lambda rng: (distinct(rng), 4))]),
    ),
    mistakes=(
        Mistake(
            name="beginning-kept",
            advice="A log that is too long keeps its LAST events; what happened recently counts.",
            replaces={"pad_logs": pad_first},
        ),
        Mistake(
            name="padded-on-the-left",
            advice="The events stand on the left and the zeros on the right.",
            replaces={"pad_logs": pad_left},
        ),
        Mistake(
            name="length-of-the-longest-log",
            advice="Every array has `length` columns, even if all logs are shorter.",
            replaces={"pad_logs": lambda logs, length: pad(logs, max(1, min(length, max(map(len, logs)))))},
        ),
        Mistake(
            name="padded-with-the-last-event",
            advice="Fill up with 0, the number of padding, not with events that never happened.",
            replaces={
                "pad_logs": lambda logs, length: np.array(
                    [[*log[-length:], *[log[-1] if log else 0] * (length - len(log))] for log in logs]
                )
            },
        ),
    ),
)


def fit(X: Any) -> tuple[Array, Array]:
    X = floats(X)
    std = X.std(axis=0)
    return X.mean(axis=0), np.where(std == 0, 1.0, std)


def scaled(X: Any, scaler: Any) -> Array:
    return (floats(X) - floats(scaler[0])) / floats(scaler[1])


def readings(n: int, d: int = 3) -> Callable[[Rng], Array]:
    """Readings in units of their own, far from zero."""
    return lambda rng: rng.normal(size=(n, d)) * rng.uniform(0.1, 20, size=d) + 50 * rng.normal(size=d)


def constant_column(rng: Rng) -> tuple[Any, ...]:
    X = readings(5)(rng)
    X[:, 1] = 4.0
    return (X,)


FITTED = [
    Case("six records", lambda rng: (readings(6)(rng),)),
    Case("a single reading", lambda rng: (readings(7, 1)(rng),)),
    Case("a reading that varies by a millionth", lambda rng: (rng.normal(size=(6, 2)) * [1e-6, 1.0],)),
]

SCALER = Exercise(
    name="scaler",
    title="Stage 1: readings in comparable units",
    functions=("fit_scaler", "apply_scaler"),
    hints=(
        "Which numbers have to be remembered from training, so that a single new record can be standardised?",
        "fit_scaler looks at data and returns two numbers for each column; apply_scaler only subtracts and divides.",
        "np.mean and np.std along axis 0; np.where(std == 0, 1.0, std) saves a constant column.",
    ),
    checks=(
        numeric("means and standard deviations", 1, "fit_scaler", fit, FITTED),
        numeric("a constant column", 1, "fit_scaler", fit, [Case("the second column is 4", constant_column)]),
        numeric(
            "other records, the same scaler",
            1,
            "apply_scaler",
            scaled,
            [
                Case("four new records", lambda rng: (readings(4)(rng), fit(readings(9)(rng)))),
                Case("a single record", lambda rng: (readings(1)(rng), fit(readings(9)(rng)))),
            ],
        ),
        unchanged(
            1,
            {
                "fit_scaler": lambda rng: (readings(4)(rng),),
                "apply_scaler": lambda rng: (readings(4)(rng), fit(readings(9)(rng))),
            },
        ),
    ),
    mistakes=(
        Mistake(
            name="scaler-fitted-again",
            advice="apply_scaler uses the numbers from training. Fitted anew on the test data, the same record means "
            "something else in other company, and test data leak in.",
            replaces={"apply_scaler": lambda X, scaler: scaled(X, fit(X))},
        ),
        Mistake(
            name="one-mean-for-all-columns",
            advice="Each reading has a unit of its own: mean and standard deviation of every COLUMN, along axis 0.",
            replaces={"fit_scaler": lambda X: (np.mean(X) + np.zeros(np.shape(X)[1]), np.std(X) + floats(X[0]) * 0)},
        ),
        Mistake(
            name="unbiased-standard-deviation",
            advice="np.std(X, axis=0) divides by n; yours divides by n - 1.",
            replaces={"fit_scaler": lambda X: (fit(X)[0], np.where(np.ptp(X, axis=0), np.std(X, axis=0, ddof=1), 1))},
        ),
        Mistake(
            name="variance-for-the-standard-deviation",
            advice="Divide by the standard deviation, the root of the variance.",
            replaces={"fit_scaler": lambda X: (fit(X)[0], np.where(np.ptp(X, axis=0), np.var(X, axis=0), 1))},
        ),
        Mistake(
            name="constant-column-divides-by-zero",
            advice="A constant column has a standard deviation of 0; put 1 in its place, or you divide by zero.",
            replaces={"fit_scaler": lambda X: (np.mean(X, axis=0), np.std(X, axis=0))},
        ),
        Mistake(
            name="mean-not-subtracted",
            advice="Subtract the mean before you divide.",
            replaces={"apply_scaler": lambda X, scaler: floats(X) / floats(scaler[1])},
        ),
    ),
)

# --- the network, right and with things wrong ------------------------------------------------------------------------


def draw_net(
    rng: Rng, d: int = 3, hidden: int = 4, table: int = 2, width: int = 5, classes: int = 3
) -> tuple[Params, Params]:
    """Parameters and running statistics that are nobody's default."""
    params = {"E": rng.normal(size=(VOCAB, d)), "w_att": rng.normal(size=hidden)}
    params |= {"W_ih": rng.normal(size=(4 * hidden, d)) / 2, "W_hh": rng.normal(size=(4 * hidden, hidden)) / 2}
    params |= {name: rng.normal(size=4 * hidden) for name in ("b_ih", "b_hh")}
    params |= {"W1": rng.normal(size=(width, hidden + table)), "W2": rng.normal(size=(classes, width))}
    params |= {"gamma": rng.uniform(0.5, 1.5, size=width), "beta": 0.5 * rng.normal(size=width) + 0.3}
    params["b2"] = rng.normal(size=classes)
    return params, {"mean": rng.normal(size=width), "var": rng.uniform(0.5, 3, size=width)}


def draw_tokens(rng: Rng, batch: int, steps: int) -> Array:
    """Tokens of different lengths, from one on; the first row is full, and tokens repeat."""
    lengths = rng.integers(1, steps + 1, size=batch)
    lengths[0] = steps
    return np.where(np.arange(steps) < lengths[:, None], rng.integers(1, 6, size=(batch, steps)), 0)


def renamed(state: Any) -> Params:
    return {"running_mean": floats(state["mean"]), "running_var": floats(state["var"])}


def short_named(state: Params) -> Params:
    return {"mean": state["running_mean"], "var": state["running_var"]}


def pool(h: Any, w: Any, mask: Any) -> Any:
    pooled, cache = attention_pool_forward(h, w, mask)
    return pooled, cache.weights, cache


def head(f: Any, params: Any, state: Any, training: bool, mask: Any = None) -> Any:
    logits, cache, new = fusion.head_forward(f, params, renamed(state), training, mask)
    return logits, cache, short_named(new)


def net(X: Any, tokens: Any, params: Any, state: Any, training: bool, rng: Any = None, p: float = 0.0) -> Any:
    logits, weights, cache, new = fusion.forward(X, tokens, params, renamed(state), training, rng, p)
    return logits, weights, cache, short_named(new)


def pool_with(weigh: Callable[[Array, Array, Array], Array], scale: Callable[[Array], float] = lambda h: 1.0) -> Make:
    """Pooling whose weights (B, T) are `weigh(scores, mask, h)`."""

    def wrong(h: Any, w: Any, mask: Any) -> Any:
        h, w, mask = floats(h), floats(w), np.asarray(mask, dtype=bool)
        weights = weigh(scale(h) * (h @ w), mask, h)
        return np.einsum("bt,bth->bh", weights, h), weights, None

    return wrong


def pool_over_units(h: Any, w: Any, mask: Any) -> Any:
    h, w = floats(h), floats(w)
    weights = softmax(h * w, axis=2) * np.asarray(mask)[..., None]
    return np.sum(weights * h, axis=1), weights, None


def uniform_where_empty(scores: Array, mask: Array, h: Array) -> Array:
    return softmax(np.where(mask, scores, -1e9))


def nan_where_empty(scores: Array, mask: Array, h: Array) -> Array:
    s = np.where(mask, scores, -np.inf)
    e = np.exp(s - s.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def not_shifted(scores: Array, mask: Array, h: Array) -> Array:
    e = np.where(mask, np.exp(scores), 0.0)
    total = e.sum(axis=1, keepdims=True)
    return e / np.where(total == 0, 1.0, total)


def padding_compared(scores: Array, mask: Array, h: Array) -> Array:
    """The largest score of all is subtracted, also where it is that of padding."""
    e = np.where(mask, np.exp(scores - scores.max(axis=1, keepdims=True)), 0.0)
    total = e.sum(axis=1, keepdims=True)
    return e / np.where(total == 0, 1.0, total)


def pool_case(
    batch: int, steps: int, hidden: int, lengths: tuple[int, ...] = (), scale: float = 1.0, far: float = 0.0
) -> Any:
    def draw(rng: Rng) -> tuple[Any, ...]:
        known = np.array(lengths or (steps,) * batch)
        mask = np.arange(steps) < known[:, None]
        return rng.normal(size=(batch, steps, hidden)) + far, scale * rng.normal(size=hidden), mask

    return draw


def loud_padding(rng: Rng) -> tuple[Any, ...]:
    h, w, mask = pool_case(3, 4, 3, (4, 2, 2))(rng)
    h[1, 2:] = 5000.0 * w / (w @ w)
    return h, w, mask


FULL_POOLS = [
    Case("three sequences of five states", pool_case(3, 5, 4)),
    Case("as many steps as units", pool_case(4, 4, 4)),
    Case("a single state", pool_case(2, 1, 3)),
]
PADDED_POOLS = [
    Case("lengths 5, 2 and 1", pool_case(3, 5, 4, (5, 2, 1))),
    Case("one sequence with padding", pool_case(1, 4, 3, (2,))),
]


def pool_check(name: str, points: int, cases: list[Case], pick: int) -> Any:
    what = ("the pooled vector", "the table of weights")[pick]
    return numeric(name, points, "attention_pool", pool, cases, pick=pick, result=what, keep=(2,))


ATTENTION_POOL = Exercise(
    name="attention_pool",
    title="Stage 2: attention pooling",
    functions=("attention_pool",),
    hints=(
        "How many scores has a sequence of T states, and over which axis must their weights sum to one?",
        "Scores are (B, T). Put minus infinity where the mask is False, then a stable softmax along axis 1. What "
        "happens in a row where everything is minus infinity?",
        "Replace an infinite maximum by 0 and a sum of 0 by 1: then a row of padding gives zeros. The pooled vector is "
        "the sum over axis 1 of weights[:, :, None] * h.",
    ),
    checks=(
        pool_check("the pooled vector", 1, FULL_POOLS, 0),
        pool_check("the weights", 1, FULL_POOLS, 1),
        pool_check("padding gets no weight", 2, PADDED_POOLS, 0),
        pool_check("nothing that counts", 1, [Case("one of three is all padding", pool_case(3, 4, 2, (3, 0, 4)))], 0),
        pool_check(
            "huge scores",
            1,
            [
                Case("scores of thousands", pool_case(2, 4, 3, (4, 3), 3000.0)),
                Case("padding with the largest score of all, by thousands", loud_padding),
            ],
            0,
        ),
        unchanged(1, {"attention_pool": pool_case(2, 4, 3, (4, 2))}, keep=(2,)),
    ),
    mistakes=(
        Mistake(
            name="softmax-over-the-units",
            advice="A state has one score and one weight. The softmax runs over the T positions, not over the units.",
            replaces={"attention_pool": pool_over_units},
        ),
        Mistake(
            name="softmax-over-the-batch",
            advice="The weights of one sequence sum to one, over its positions (axis 1), not over the batch.",
            replaces={
                "attention_pool": pool_with(lambda s, mask, h: masked_softmax(s.T, mask.T).T),
            },
        ),
        Mistake(
            name="padding-has-weight",
            advice="The mask has no effect: padding must get the weight 0, or it speaks with the events.",
            replaces={"attention_pool": pool_with(lambda s, mask, h: softmax(s))},
        ),
        Mistake(
            name="masked-after-the-softmax",
            advice="Zeros put in after the softmax leave weights that no longer sum to one: mask the scores before it.",
            replaces={"attention_pool": pool_with(lambda s, mask, h: softmax(s) * mask)},
        ),
        Mistake(
            name="minus-a-billion-for-padding",
            advice="With -1e9 instead of minus infinity a row of padding gets equal weights; it should get zeros.",
            replaces={"attention_pool": pool_with(uniform_where_empty)},
        ),
        Mistake(
            name="nothing-counts-gives-nan",
            advice="In a row of padding the maximum is minus infinity and the sum 0: handle both, or it becomes nan.",
            replaces={"attention_pool": pool_with(nan_where_empty)},
        ),
        Mistake(
            name="largest-score-not-subtracted",
            advice="exp of a large score overflows: subtract the largest score of each row first.",
            replaces={"attention_pool": pool_with(not_shifted)},
        ),
        Mistake(
            name="score-of-padding-subtracted",
            advice="Subtract the largest score that COUNTS: if padding has one that is far larger, exp makes zeros of "
            "all the others.",
            replaces={"attention_pool": pool_with(padding_compared)},
        ),
        Mistake(
            name="plain-mean",
            advice="All weights are equal in yours: they come from the scores h . w.",
            replaces={
                "attention_pool": pool_with(lambda s, mask, h: mask / np.maximum(mask.sum(axis=1, keepdims=True), 1))
            },
        ),
        Mistake(
            name="scores-divided-by-a-root",
            advice="These scores are plain, h . w: no division by the root of H.",
            replaces={
                "attention_pool": pool_with(
                    lambda s, mask, h: masked_softmax(s, mask), scale=lambda h: 1 / np.sqrt(h.shape[2])
                )
            },
        ),
    ),
)


def head_with(
    statistics: str = "right",
    unbiased: bool = True,
    momentum: float = 0.1,
    order: str = "right",
    ddof: int = 0,
    keep_state: bool = False,
    relu_last: bool = False,
) -> Make:
    """A head with other statistics, weights of the new batch, or another order of its parts."""

    def wrong(f: Any, params: Any, state: Any, training: bool, mask: Any = None) -> Any:
        W1, gamma, beta, W2, b2 = (floats(params[name]) for name in ("W1", "gamma", "beta", "W2", "b2"))
        old = floats(state["mean"]), floats(state["var"])
        factor = 1.0 if mask is None else floats(mask)
        z = floats(f) @ W1.T
        z = z * factor if order == "dropout-first" else np.maximum(z, 0) if order == "relu-first" else z
        m, v, (mean, var) = z.mean(axis=0), z.var(axis=0, ddof=ddof), old
        if training:
            grown = v * len(z) / (len(z) - 1) if unbiased and not ddof else v
            mean, var = (1 - momentum) * mean + momentum * m, (1 - momentum) * var + momentum * grown
        if statistics == "always-running" or (statistics == "right" and not training):
            m, v = old
        u = gamma * (z - m) / np.sqrt(v + 1e-5) + beta
        out = u if order == "relu-first" else np.maximum(u, 0)
        logits = (out if order == "dropout-first" else out * factor) @ W2.T + b2
        new = old if keep_state else (mean, var)
        return np.maximum(logits, 0) if relu_last else logits, None, {"mean": new[0], "var": new[1]}

    return wrong


def head_case(batch: int, inputs: int, width: int, classes: int, training: bool, p: float = 0.0) -> Any:
    def draw(rng: Rng) -> tuple[Any, ...]:
        params, state = draw_net(rng, hidden=inputs - 1, table=1, width=width, classes=classes)
        mask = (rng.random((batch, width)) >= p) / (1 - p) if p else None
        args = (rng.normal(size=(batch, inputs)) + 1, params, state, training)
        return args if mask is None else (*args, mask)

    return draw


HEADS = [
    Case("six records", head_case(6, 4, 5, 3, True)),
    Case("as many records as units and classes", head_case(4, 4, 4, 4, True)),
    Case("a batch of two", head_case(2, 3, 4, 2, True)),
]


def head_check(name: str, points: int, cases: list[Case], pick: int) -> Any:
    what = {0: "the table of logits", 2: "state"}[pick]
    return numeric(name, points, "head_forward", head, cases, pick=pick, result=what, keep=(1,))


HEAD = Exercise(
    name="head_forward",
    title="Stage 2: the head",
    functions=("head_forward",),
    hints=(
        "What is the same in training and in evaluation, and what differs?",
        "Choose m and v first: the batch's in training, the running ones in evaluation. The rest is the same. Only "
        "training makes new running statistics.",
        "np.var divides by B: that one normalises; times B / (B - 1) it enters the running variance with weight 0.1. "
        "The mask comes after the ReLU and before W2.",
    ),
    checks=(
        head_check("training: the logits", 2, HEADS, 0),
        head_check("training: the running statistics", 2, HEADS, 2),
        head_check(
            "evaluation: the running statistics normalise",
            1,
            [Case("five records", head_case(5, 4, 3, 2, False)), Case("one record", head_case(1, 4, 3, 2, False))],
            0,
        ),
        head_check("the mask comes after the ReLU", 1, [Case("half is dropped", head_case(6, 3, 7, 2, True, 0.5))], 0),
        unchanged(1, {"head_forward": head_case(4, 3, 5, 2, True)}, keep=(1,)),
    ),
    mistakes=(
        Mistake(
            name="batch-statistics-in-evaluation",
            advice="In evaluation the running statistics normalise: an answer must not depend on the other records.",
            replaces={"head_forward": head_with(statistics="always-batch")},
        ),
        Mistake(
            name="running-statistics-in-training",
            advice="In training the batch's own mean and variance normalise; the running ones are for evaluation.",
            replaces={"head_forward": head_with(statistics="always-running")},
        ),
        Mistake(
            name="running-variance-biased",
            advice="The variance that enters the running one is unbiased: times B / (B - 1).",
            replaces={"head_forward": head_with(unbiased=False)},
        ),
        Mistake(
            name="unbiased-variance-normalises",
            advice="The variance that normalises the batch is divided by B, not by B - 1.",
            replaces={"head_forward": head_with(ddof=1)},
        ),
        Mistake(
            name="momentum-reversed",
            advice="The new batch has the weight 0.1 and the old statistics 0.9; yours has them the other way round.",
            replaces={"head_forward": head_with(momentum=0.9)},
        ),
        Mistake(
            name="running-statistics-stay",
            advice="After a training pass the running statistics have moved; yours come back as they were.",
            replaces={"head_forward": head_with(keep_state=True)},
        ),
        Mistake(
            name="dropout-before-the-normalisation",
            advice="The mask comes after the ReLU; before the normalisation its zeros spoil mean and variance.",
            replaces={"head_forward": head_with(order="dropout-first")},
        ),
        Mistake(
            name="relu-before-the-normalisation",
            advice="First normalise, then cut: the ReLU comes after gamma and beta.",
            replaces={"head_forward": head_with(order="relu-first")},
        ),
        Mistake(
            name="relu-on-the-logits",
            advice="The output layer is linear: logits may be negative.",
            replaces={"head_forward": head_with(relu_last=True)},
        ),
    ),
)


def net_with(
    pooling: Make = pool,
    readings_first: bool = False,
    counts: Callable[[Array], Array] = lambda tokens: tokens != 0,
    drop_always: bool = False,
    never_drop: bool = False,
    frozen_state: bool = False,
    no_readings: bool = False,
    moving_state: bool = False,
) -> Make:
    """The network with something wrong in how its parts are put together."""

    def wrong(X: Any, tokens: Any, params: Any, state: Any, training: bool, rng: Any = None, p: float = 0.0) -> Any:
        params = {name: floats(value) for name, value in params.items()}
        X, tokens = floats(X), np.asarray(tokens)
        recurrent = {name: params[name] for name in ("W_ih", "W_hh", "b_ih", "b_hh")}
        h, _, _ = lstm_forward(params["E"][tokens], recurrent)
        pooled, weights, _ = pooling(h, params["w_att"], counts(tokens))
        X = 0 * X if no_readings else X
        f = np.concatenate([X, pooled] if readings_first else [pooled, X], axis=1)
        drops = p > 0 and rng is not None and (training or drop_always) and not never_drop
        mask = (rng.random((len(X), len(params["W1"]))) >= p) / (1 - p) if drops else None
        logits, _, new = head(f, params, state, training, mask)
        if moving_state and not training and len(X) > 1:
            new = head(f, params, state, True)[2]
        return logits, weights, None, dict(state) if frozen_state else new

    return wrong


def last_state(h: Array, w: Array, mask: Array) -> Any:
    weights = np.zeros(mask.shape)
    weights[:, -1] = 1.0
    return h[:, -1], weights, None


def net_case(batch: int, steps: int, training: bool, p: float = 0.0, classes: int = 3, table: int = 2) -> Any:
    def draw(rng: Rng) -> tuple[Any, ...]:
        params, state = draw_net(rng, table=table, classes=classes)
        return (
            rng.normal(size=(batch, table)),
            draw_tokens(rng, batch, steps),
            params,
            state,
            training,
            generator(rng),
            p,
        )

    return draw


TRAINING_NETS = [
    Case("six records", net_case(6, 5, True)),
    Case("as many readings as units", net_case(5, 4, True, table=4)),
]
EVALUATED_NETS = [
    Case("six records", net_case(6, 5, False)),
    Case("a single record", net_case(1, 6, False)),
    Case("a share to drop, which evaluation ignores", net_case(4, 5, False, 0.5)),
]


def net_check(name: str, points: int, cases: list[Case], pick: int) -> Any:
    what = {0: "the table of logits", 1: "the table of weights", 3: "state"}[pick]
    return numeric(name, points, "forward", net, cases, pick=pick, result=what, keep=(2,))


FORWARD = Exercise(
    name="forward",
    title="Stage 2: the network that reads both",
    functions=("forward",),
    hints=(
        "Which five things happen one after another, from a token to a logit?",
        "E[tokens] gives (B, T, d); the LSTM (B, T, H); attention pooling, with tokens != PAD as its mask, (B, H). Put "
        "the readings behind it and hand everything to the head.",
        "np.concatenate([pooled, X], axis=1). Only in training and for p > 0 draw rng.random((B, N)), compare it with "
        "p, divide by 1 - p, and give that to head_forward as its mask.",
    ),
    checks=(
        net_check("training: the logits", 1, TRAINING_NETS, 0),
        net_check("the weights of attention", 1, TRAINING_NETS, 1),
        net_check("dropout of the hidden units", 1, [Case("a third is dropped", net_case(6, 4, True, 1 / 3))], 0),
        net_check("evaluation: the logits", 1, EVALUATED_NETS, 0),
        net_check("the state moves in training, and in training only", 1, [*TRAINING_NETS, *EVALUATED_NETS], 3),
    ),
    mistakes=(
        Mistake(
            name="padding-attended",
            advice="Attention must not look at padding: its mask is tokens != 0.",
            replaces={"forward": net_with(counts=lambda tokens: tokens >= 0)},
        ),
        Mistake(
            name="restart-taken-for-padding",
            advice="Token 1 is a restart, which the network has to see; only 0 is padding.",
            replaces={"forward": net_with(counts=lambda tokens: tokens > 1)},
        ),
        Mistake(
            name="readings-in-front",
            advice="The readings stand behind the pooled vector: the first H columns of W1 belong to the log.",
            replaces={"forward": net_with(readings_first=True)},
        ),
        Mistake(
            name="readings-left-out",
            advice="The readings have no effect on the logits: put them behind the pooled vector.",
            replaces={"forward": net_with(no_readings=True)},
        ),
        Mistake(
            name="last-state-instead-of-pooling",
            advice="The last state has read the padding, too; pool all states that count by their weights.",
            replaces={"forward": net_with(pooling=last_state)},
        ),
        Mistake(
            name="dropout-in-evaluation",
            advice="Dropout is for training only; in evaluation every unit speaks.",
            replaces={"forward": net_with(drop_always=True)},
        ),
        Mistake(
            name="dropout-forgotten",
            advice="In training with p > 0 the hidden units get a mask; yours drops nothing.",
            replaces={"forward": net_with(never_drop=True)},
        ),
        Mistake(
            name="state-not-handed-on",
            advice="Return the state that head_forward gave back, not the one you were given.",
            replaces={"forward": net_with(frozen_state=True)},
        ),
        Mistake(
            name="statistics-learned-in-evaluation",
            advice="Evaluation must not move the running statistics, or the data that judge leak into the network.",
            replaces={"forward": net_with(moving_state=True)},
        ),
    ),
)

# --- stage 3: backward -----------------------------------------------------------------------------------------------


def pool_inputs(*args: Any, **options: Any) -> Any:
    def draw(rng: Rng) -> dict[str, Any]:
        h, w, mask = pool_case(*args, **options)(rng)
        return {"h": h, "w": w, "mask": mask, "dout": rng.normal(size=(h.shape[0], h.shape[2]))}

    return draw


def student_pool_grads(student: Any, i: dict[str, Any]) -> dict[str, Any]:
    answer = student.call("attention_pool", i["h"], i["w"], i["mask"], keep=(2,))
    cache = items(answer, ("pooled", "weights", "cache"))[2]
    return dict(zip("hw", items(student.attention_pool_backward(i["dout"], cache), ("dh", "dw")), strict=True))


def right_pool_grads(wanted: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def right(i: dict[str, Any]) -> dict[str, Any]:
        grads = attention_pool_backward(i["dout"], pool(i["h"], i["w"], i["mask"])[2])
        return {name: grad for name, grad in zip("hw", grads, strict=True) if name in wanted}

    return right


def pool_gradient(name: str, points: int, wanted: str, cases: list[tuple[str, Any]]) -> Any:
    return gradient(
        name,
        points,
        ("attention_pool", "attention_pool_backward"),
        [GradientCase(reason, draw) for reason, draw in cases],
        value=lambda student, i: student.call("attention_pool", i["h"], i["w"], i["mask"], keep=(2,))[0],
        grads=student_pool_grads,
        reference=right_pool_grads(wanted),
        names={"h": "the gradient of h", "w": "the gradient of w"},
    )


def pool_backward_with(
    jacobian: Callable[[Array, Array], Array] = softmax_backward,
    content: bool = True,
    score: bool = True,
    mean_w: bool = False,
) -> dict[str, Make]:
    def backward(dpooled: Any, cache: PoolCache) -> Any:
        dpooled = floats(dpooled)
        h, w, weights = cache
        ds = jacobian(np.einsum("bth,bh->bt", h, dpooled), weights)
        dh = content * weights[..., None] * dpooled[:, None] + score * ds[..., None] * w
        return dh, np.einsum("bt,bth->h", ds, h) / (len(h) if mean_w else 1)

    return {"attention_pool": pool, "attention_pool_backward": backward}


POOLED = [("three sequences", pool_inputs(3, 5, 4)), ("as many steps as units", pool_inputs(4, 4, 4))]


def untouched(student: Any, function: str, name: str) -> None:
    """The last call, a backward function's, left the gradient that came in as it was."""
    holds(0 not in student.changed, f"`{function}` modified {name} in place; work on a copy or a new array.")


@prop(
    "the pooling's cache can be used twice, and dpooled stays as it is",
    1,
    "attention_pool",
    "attention_pool_backward",
)
def pool_cache(student: Any, rng: Rng) -> None:
    h, w, mask = pool_case(3, 4, 3, (4, 2, 1))(rng)
    dpooled = rng.normal(size=(3, 3))
    cache = items(student.call("attention_pool", h, w, mask, keep=(2,)), ("pooled", "weights", "cache"))[2]
    want = attention_pool_backward(dpooled, pool(h, w, mask)[2])
    for turn in ("first", "second"):
        answer = student.attention_pool_backward(dpooled, cache)
        with case_of(f"the {turn} use of one cache", student.transcript[-1][0]):
            untouched(student, "attention_pool_backward", "dpooled")
            for got, right, name in zip(items(answer, ("dh", "dw")), want, ("dh", "dw"), strict=True):
                same(got, right, name)


POOL_BACKWARD = Exercise(
    name="attention_pool_backward",
    title="Stage 3: backward through the pooling",
    functions=("attention_pool_backward",),
    hints=(
        "In how many ways does a state change the pooled vector?",
        "First da, (B, T): the product of each state with dpooled. Then the softmax's gradient, for which each row "
        "loses its weighted mean. Then both ways into h, and one into w.",
        "ds = weights * (da - sum of weights * da along axis 1, kept as a column). dh is weights times dpooled plus ds "
        "times w, both spread out to (B, T, H); dw is the sum of ds times h over batch and time.",
    ),
    checks=(
        pool_gradient("the gradient of the states", 2, "h", POOLED),
        pool_gradient("the gradient of the query", 2, "w", POOLED),
        pool_gradient(
            "padding, and a sequence that is nothing else",
            1,
            "hw",
            [("lengths 5, 2, 0 and 1", pool_inputs(4, 5, 3, (5, 2, 0, 1))), ("one", pool_inputs(1, 3, 2, (2,)))],
        ),
        pool_gradient(
            "computed, not approximated",
            1,
            "h",
            [("states far from zero, where differences lose digits", pool_inputs(2, 4, 3, (4, 3), far=1e4))],
        ),
        pool_cache,
    ),
    mistakes=(
        Mistake(
            name="weights-held-fixed",
            advice="The weights depend on the states, too: the second share of dh, ds times w, is missing.",
            replaces=pool_backward_with(score=False),
        ),
        Mistake(
            name="content-forgotten",
            advice="A state also speaks for itself: the first share of dh, weights times dpooled, is missing.",
            replaces=pool_backward_with(content=False),
        ),
        Mistake(
            name="row-mean-not-subtracted",
            advice="The weights of a row sum to one: subtract the row's sum of weights * da before multiplying.",
            replaces=pool_backward_with(lambda da, a: da * a),
        ),
        Mistake(
            name="diagonal-of-the-softmax-only",
            advice="Every weight depends on every score of its row: a * (1 - a) is only the diagonal.",
            replaces=pool_backward_with(lambda da, a: da * a * (1 - a)),
        ),
        Mistake(
            name="mean-not-weighted",
            advice="The mean of da that is taken out is weighted with the weights.",
            replaces=pool_backward_with(lambda da, a: a * (da - da.mean(axis=1, keepdims=True))),
        ),
        Mistake(
            name="softmax-over-the-batch-in-backward",
            advice="The softmax ran over the positions, so the sum that is taken out runs over axis 1.",
            replaces=pool_backward_with(lambda da, a: a * (da - (da * a).sum(axis=0))),
        ),
        Mistake(
            name="query-gradient-averaged",
            advice="dw is a sum over the batch: the 1/B of the loss is in dpooled already.",
            replaces=pool_backward_with(mean_w=True),
        ),
    ),
)


def head_inputs(
    batch: int, inputs: int, width: int, classes: int, training: bool, p: float = 0.0, far: float = 0.0
) -> Any:
    def draw(rng: Rng) -> dict[str, Any]:
        f, params, state, _, *mask = head_case(batch, inputs, width, classes, training, p)(rng)
        # A large bias drowns the digits of a difference of logits, and no gradient depends on it.
        params = {**params, "b2": params["b2"] + far}
        dout = rng.normal(size=(batch, classes))
        return {"f": f, "params": params, "state": state, "training": training, "mask": [*mask, None][0], "dout": dout}

    return draw


def silent_unit(rng: Rng) -> dict[str, Any]:
    i = head_inputs(5, 3, 4, 2, False)(rng)
    i["params"]["gamma"][0] = i["params"]["beta"][0] = 0.0
    return i


def head_args(i: dict[str, Any]) -> tuple[Any, ...]:
    return i["f"], i["params"], i["state"], i["training"], i["mask"]


HEAD_KEYS = ("W1", "gamma", "beta", "W2", "b2")


def with_keys(grads: Any, keys: Any, of: str) -> dict[str, Any]:
    """The gradients under the names that a gradient check wants, if they have the keys that they should have."""
    holds(type(grads) is dict, f"the gradients of {of} should be a dict.")
    holds(
        set(grads) == set(keys),
        f"the gradients should have exactly the keys of {of}'s parameters, which is where AdamW looks for them.",
        f"Expected {sorted(keys)}, got {sorted(map(str, grads))}.",
    )
    return {f"params.{name}": grad for name, grad in grads.items()}


def student_head_grads(student: Any, i: dict[str, Any]) -> dict[str, Any]:
    cache = items(student.call("head_forward", *head_args(i), keep=(1,)), ("logits", "cache", "state"))[1]
    df, grads = items(student.head_backward(i["dout"], cache), ("df", "grads"))
    return {"f": df, **with_keys(grads, HEAD_KEYS, "the head")}


def right_head_grads(i: dict[str, Any]) -> dict[str, Any]:
    df, grads = fusion.head_backward(i["dout"], head(*head_args(i))[1])
    return {"f": df, **{f"params.{name}": grads[name] for name in HEAD_KEYS}}


def head_gradient(name: str, points: int, cases: list[tuple[str, Any]]) -> Any:
    return gradient(
        name,
        points,
        ("head_forward", "head_backward"),
        [GradientCase(reason, draw) for reason, draw in cases],
        value=lambda student, i: student.call("head_forward", *head_args(i), keep=(1,))[0],
        grads=student_head_grads,
        reference=right_head_grads,
    )


def head_backward_with(
    mode: str = "right",
    no_mask: bool = False,
    no_relu: bool = False,
    gamma_from_u: bool = False,
    averaged: bool = False,
    before_relu: bool = False,
) -> dict[str, Make]:
    def backward(dlogits: Any, cache: fusion.HeadCache) -> Any:
        hidden, norm, normed, mask, (out, W2) = cache
        dlogits = floats(dlogits)
        du = dlogits @ W2 * (1.0 if mask is None or no_mask else mask) * (1.0 if no_relu else normed > 0)
        training = {"right": norm.training, "always-training": True, "always-constant": False}[mode]
        dz, dgamma, dbeta = batch_norm_backward(du, BatchNormCache(norm.x_hat, norm.inv_std, norm.gamma, training))
        grads = {"W1": dz.T @ hidden[0], "gamma": (du * normed).sum(axis=0) if gamma_from_u else dgamma, "beta": dbeta}
        grads |= {"W2": dlogits.T @ (normed if before_relu else out), "b2": dlogits.sum(axis=0)}
        return dz @ hidden[1], {name: g / len(du) if averaged else g for name, g in grads.items()}

    return {"head_forward": head, "head_backward": backward}


@prop("the head's cache can be used twice, and dlogits stays as it is", 1, "head_forward", "head_backward")
def head_cache(student: Any, rng: Rng) -> None:
    i = head_inputs(5, 4, 3, 2, True, 0.4)(rng)
    cache = items(student.call("head_forward", *head_args(i), keep=(1,)), ("logits", "cache", "state"))[1]
    first, second = (
        items(student.head_backward(factor * i["dout"], cache), ("df", "grads"))[0] for factor in (1.0, 2.0)
    )
    untouched(student, "head_backward", "dlogits")
    same(numbers(second), 2 * numbers(first), "df for twice the dlogits, from the same cache,")


HEAD_BACKWARD = Exercise(
    name="head_backward",
    title="Stage 3: backward through the head",
    functions=("head_backward",),
    hints=(
        "What was done last is undone first. In which of the two modes does the mean depend on the records?",
        "dlogits times W2, times the mask, times one where u > 0, is the gradient at u; times gamma it is g, the one "
        "at z_hat. In training, g loses two means before it is divided by the root.",
        "dz = (g - mean(g) - z_hat * mean(g * z_hat)) / root in training, g / root in evaluation. W1 gets dz "
        "transposed times f, gamma the sum of du * z_hat, beta that of du, W2 dlogits transposed times what W2 saw.",
    ),
    checks=(
        head_gradient(
            "after a training pass",
            2,
            [("six records", head_inputs(6, 4, 5, 3, True)), ("four of all", head_inputs(4, 4, 4, 4, True))],
        ),
        head_gradient(
            "after a pass in evaluation",
            2,
            [
                ("five records", head_inputs(5, 3, 4, 2, False)),
                ("one record", head_inputs(1, 3, 4, 2, False)),
                ("a unit whose u is exactly 0, where the ReLU's slope is 0", silent_unit),
            ],
        ),
        head_gradient("with units dropped", 1, [("a third is dropped", head_inputs(7, 3, 6, 2, True, 1 / 3))]),
        head_gradient(
            "exact, not nearly",
            1,
            [("a large bias, where differences lose digits", head_inputs(5, 3, 4, 2, True, far=1e5))],
        ),
        head_cache,
    ),
    mistakes=(
        Mistake(
            name="evaluation-treated-as-training",
            advice="In evaluation mean and variance are constants: nothing is taken out of the gradient.",
            replaces=head_backward_with(mode="always-training"),
        ),
        Mistake(
            name="statistics-held-fixed-in-training",
            advice="In training the batch's mean and variance depend on every record; the gradient passes them, too.",
            replaces=head_backward_with(mode="always-constant"),
        ),
        Mistake(
            name="mask-not-used-again",
            advice="A dropped unit gets no gradient, and a kept one the factor 1 / (1 - p): multiply by the same mask.",
            replaces=head_backward_with(no_mask=True),
        ),
        Mistake(
            name="relu-slope-forgotten",
            advice="Where u was not above zero the ReLU passes nothing back.",
            replaces=head_backward_with(no_relu=True),
        ),
        Mistake(
            name="gamma-gradient-from-u",
            advice="gamma multiplied z_hat, so its gradient is a sum over du * z_hat, not over du * u.",
            replaces=head_backward_with(gamma_from_u=True),
        ),
        Mistake(
            name="output-weights-see-u",
            advice="W2 saw the units AFTER ReLU and mask; its gradient is made with those.",
            replaces=head_backward_with(before_relu=True),
        ),
        Mistake(
            name="gradients-averaged-again",
            advice="Parameter gradients are sums over the batch: the 1/B of the mean loss is in dlogits already.",
            replaces=head_backward_with(averaged=True),
        ),
    ),
)


def net_inputs(batch: int, steps: int, training: bool, p: float = 0.0, far: float = 0.0, table: int = 2) -> Any:
    def draw(rng: Rng) -> dict[str, Any]:
        X, tokens, params, state, *_ = net_case(batch, steps, training, table=table)(rng)
        params = {**params, "b2": params["b2"] + far}
        seed, dout = int(rng.integers(1 << 30)), rng.normal(size=(batch, 3))
        return {
            "X": X, "tokens": tokens, "params": params, "state": state, "training": training, "seed": seed, "p": p,
            "dout": dout,
        }  # fmt: skip

    return draw


def net_args(i: dict[str, Any]) -> tuple[Any, ...]:
    return (*(i[n] for n in ("X", "tokens", "params", "state", "training")), np.random.default_rng(i["seed"]), i["p"])


FORWARD_ITEMS = ("logits", "weights", "cache", "state")


def student_net_grads(student: Any, i: dict[str, Any]) -> dict[str, Any]:
    cache = items(student.call("forward", *net_args(i), keep=(2,)), FORWARD_ITEMS)[2]
    grads, dX = items(student.backward(i["dout"], cache), ("grads", "dX"))
    return {"X": dX, **with_keys(grads, i["params"], "the network")}


def right_net_grads(i: dict[str, Any]) -> dict[str, Any]:
    grads, dX = fusion.backward(i["dout"], net(*net_args(i))[2])
    return {"X": dX, **{f"params.{name}": grads[name] for name in i["params"]}}


def net_gradient(name: str, points: int, cases: list[tuple[str, Any]]) -> Any:
    return gradient(
        name,
        points,
        ("forward", "backward"),
        [GradientCase(reason, draw) for reason, draw in cases],
        value=lambda student, i: student.call("forward", *net_args(i), keep=(2,))[0],
        grads=student_net_grads,
        reference=right_net_grads,
        names={"X": "the gradient of X"},
    )


def net_backward_with(
    change: Callable[[Params, Array, fusion.FusionCache], tuple[Params, Array]] | None = None,
    split_front: bool = False,
    last_only: bool = False,
    embed: Callable[[Array, Array, int], Array] | None = None,
) -> dict[str, Make]:
    def backward(dlogits: Any, cache: fusion.FusionCache) -> Any:
        df, grads = fusion.head_backward(floats(dlogits), cache.head)
        hidden = cache.pool.h.shape[2]
        table = df.shape[1] - hidden
        dpooled, dX = (df[:, table:], df[:, :table]) if split_front else (df[:, :hidden], df[:, hidden:])
        dh, grads["w_att"] = attention_pool_backward(dpooled, cache.pool)
        if last_only:
            dh = dh * (np.arange(dh.shape[1]) == dh.shape[1] - 1)[:, None]
        demb, _, recurrent = lstm_backward(dh, cache.lstm)
        grads |= recurrent
        add = fusion.embedding_backward if embed is None else embed
        grads["E"] = add(demb, cache.tokens, cache.vocab)
        return (grads, dX) if change is None else change(grads, dX, cache)

    return {"forward": net, "backward": backward}


def overwritten(demb: Array, tokens: Array, vocab: int) -> Array:
    dE = np.zeros((vocab, demb.shape[2]))
    dE[tokens.ravel()] += demb.reshape(-1, demb.shape[2])
    return dE


def averaged_rows(demb: Array, tokens: Array, vocab: int) -> Array:
    counts = np.bincount(tokens.ravel(), minlength=vocab)
    return fusion.embedding_backward(demb, tokens, vocab) / np.maximum(counts, 1)[:, None]


@prop("the cache of the network can be used twice", 1, "forward", "backward")
def net_cache(student: Any, rng: Rng) -> None:
    i = net_inputs(5, 4, True, 0.3)(rng)
    cache = items(student.call("forward", *net_args(i), keep=(2,)), FORWARD_ITEMS)[2]
    both = [items(student.backward(k * i["dout"], cache), ("grads", "dX")) for k in (1.0, 2.0)]
    same(numbers(both[1][1]), 2 * numbers(both[0][1]), "dX for twice the dlogits, from the same cache,")
    first, second = (numbers(entry(grads, "E", "grads"), None, "the gradient of E") for grads, _ in both)
    same(second, 2 * first, "the gradient of E for twice the dlogits, from the same cache,")


BACKWARD = Exercise(
    name="backward",
    title="Stage 3: all gradients of the network",
    functions=("backward",),
    hints=(
        "Follow the way of the forward pass back. Where does it fork?",
        "df from the head comes apart: the first H columns go into attention_pool_backward, the others are dX. What "
        "comes out of the pooling goes into lstm_backward, and what comes out of that belongs to rows of E.",
        "Collect the dicts of the head and the LSTM, w_att from the pooling, and for E an array of zeros into which "
        "np.add.at adds dx at the rows given by the tokens.",
    ),
    checks=(
        net_gradient(
            "the whole network, after a training pass",
            3,
            [("six records", net_inputs(6, 5, True)), ("as many readings as units", net_inputs(5, 4, True, table=4))],
        ),
        net_gradient("with units dropped", 1, [("a third is dropped", net_inputs(6, 4, True, 1 / 3))]),
        net_gradient(
            "after a pass in evaluation",
            1,
            [("five records", net_inputs(5, 4, False)), ("one record", net_inputs(1, 6, False))],
        ),
        net_gradient(
            "the whole network, computed and not approximated",
            1,
            [("a large bias, where differences lose digits", net_inputs(4, 3, True, far=1e5))],
        ),
        net_cache,
    ),
    mistakes=(
        Mistake(
            name="repeated-tokens-overwrite",
            advice="dE[tokens] += dx keeps one contribution of a token that occurs twice; np.add.at adds them all.",
            replaces=net_backward_with(embed=overwritten),
        ),
        Mistake(
            name="rows-averaged",
            advice="A row of E collects the SUM of the gradients at its places, not their mean.",
            replaces=net_backward_with(embed=averaged_rows),
        ),
        Mistake(
            name="readings-cut-off-in-front",
            advice="The readings stood behind the pooled vector: dX is the LAST D columns of the head's df.",
            replaces=net_backward_with(split_front=True),
        ),
        Mistake(
            name="only-the-last-state-learns",
            advice="Attention pooled all states: hand dh of every step to lstm_backward, not only that of the last.",
            replaces=net_backward_with(last_only=True),
        ),
        Mistake(
            name="query-without-gradient",
            advice="w_att is learned, too: attention_pool_backward returns its gradient.",
            replaces=net_backward_with(lambda g, dX, cache: ({n: v for n, v in g.items() if n != "w_att"}, dX)),
        ),
        Mistake(
            name="keys-with-a-d",
            advice="Give the gradients the parameters' own names, W1 and not dW1: AdamW pairs them by name.",
            replaces=net_backward_with(lambda g, dX, cache: ({f"d{name}": value for name, value in g.items()}, dX)),
        ),
        Mistake(
            name="embedding-by-position",
            advice="The gradient of E has a row for each TOKEN; add the gradient of a place to the row of its token.",
            replaces=net_backward_with(
                embed=lambda demb, tokens, vocab: np.concatenate(
                    [demb.sum(axis=0), np.zeros((max(0, vocab - demb.shape[1]), demb.shape[2]))]
                )[:vocab]
            ),
        ),
    ),
)


def ce_logs(logits: Any, labels: Any) -> Any:
    probs = softmax(logits)
    return -np.mean(np.log(probs[np.arange(len(probs)), labels] + 1e-12)), cross_entropy(logits, labels)[1]


def ce_case(batch: int, classes: int, scale: float = 2.0) -> Any:
    def draw(rng: Rng) -> tuple[Any, ...]:
        labels = np.arange(batch) % classes
        logits = scale * rng.uniform(0.2, 1, size=(batch, classes))
        # Every label but the first is an unlikely one, so that a wrong logarithm shows.
        logits[np.arange(batch), labels] -= scale * (labels > 0)
        return logits, labels

    return draw


CES = [
    Case("six records, four classes", ce_case(6, 4)),
    Case("as many classes as records", ce_case(3, 3)),
    Case("a batch of one", ce_case(1, 3)),
]

CROSS_ENTROPY = Exercise(
    name="cross_entropy",
    title="Stage 3: the loss",
    functions=("cross_entropy",),
    hints=(
        "What is the logarithm of a softmax, if the softmax itself is never formed?",
        "Subtract each row's largest logit; the log-probabilities are what is left minus the log of the sum of its "
        "exponentials.",
        "The loss is minus the mean of the log-probabilities at (row, label). The gradient is their exponential, minus "
        "1 at (row, label), divided by B.",
    ),
    checks=(
        numeric("the loss", 1, "cross_entropy", cross_entropy, CES, pick=0, result="the loss"),
        numeric("the gradient", 1, "cross_entropy", cross_entropy, CES, pick=1, result="the gradient"),
        numeric(
            "huge logits",
            1,
            "cross_entropy",
            cross_entropy,
            [Case("logits of ten thousand", ce_case(4, 3, 1e4)), Case("logits of fifty", ce_case(4, 3, 50.0))],
        ),
        unchanged(1, {"cross_entropy": ce_case(3, 4)}),
    ),
    mistakes=(
        Mistake(
            name="loss-summed",
            advice="The loss is the mean over the batch, not the sum.",
            replaces={"cross_entropy": lambda z, y: (len(z) * cross_entropy(z, y)[0], cross_entropy(z, y)[1])},
        ),
        Mistake(
            name="gradient-not-divided",
            advice="The loss is a mean, so its gradient carries 1/B.",
            replaces={"cross_entropy": lambda z, y: (cross_entropy(z, y)[0], len(z) * cross_entropy(z, y)[1])},
        ),
        Mistake(
            name="eps-in-the-logarithm",
            advice="log(p + eps) is wrong where p is tiny; take log-sum-exp of the logits instead.",
            replaces={"cross_entropy": ce_logs},
        ),
        Mistake(
            name="sign-of-the-gradient",
            advice="The gradient is softmax minus one-hot: the label's logit has a negative one.",
            replaces={"cross_entropy": lambda z, y: (cross_entropy(z, y)[0], -cross_entropy(z, y)[1])},
        ),
        Mistake(
            name="softmax-over-records",
            advice="The softmax runs over the classes, the last axis; yours runs over the records.",
            replaces={
                "cross_entropy": lambda z, y: (
                    -np.mean(np.log(softmax(z, axis=0)[np.arange(len(z)), y])),
                    (softmax(z, axis=0) - np.eye(np.shape(z)[1])[y]) / len(z),
                )
            },
        ),
    ),
)

# --- stage 4: training -----------------------------------------------------------------------------------------------


def rate(t: int, lr: float, warmup: int, total: int) -> float:
    return float(warmup_cosine(t, lr, warmup, total))


def rate_with(ramp: Callable[..., Any] | None = None, fall: Callable[..., Any] | None = None) -> Make:
    def wrong(t: int, lr: float, warmup: int, total: int) -> float:
        part = ramp if t < warmup else fall
        return rate(t, lr, warmup, total) if part is None else float(part(t, lr, warmup, total))

    return wrong


def rates(t: int, warmup: int, total: int) -> Any:
    return lambda rng: (t, float(rng.uniform(0.1, 1)), warmup, total)


RATE = Exercise(
    name="learning_rate",
    title="Stage 4: warm-up and cosine",
    functions=("learning_rate",),
    hints=(
        "Draw the rate over the steps: where does it begin, where is it highest, where does it end?",
        "Two formulas and one question: is t still below warmup? The cosine counts from the end of the warm-up.",
        "In the warm-up lr * (t + 1) / (warmup + 1). Then the progress is (t - warmup) / (total - warmup), and the "
        "rate lr * (1 + cos(pi * progress)) / 2.",
    ),
    checks=(
        numeric(
            "the warm-up",
            1,
            "learning_rate",
            rate,
            [Case("the first step", rates(0, 4, 20)), Case("the last of the warm-up", rates(6, 7, 30))],
        ),
        numeric(
            "the cosine",
            1,
            "learning_rate",
            rate,
            [
                Case("the highest rate", rates(4, 4, 20)),
                Case("half-way", rates(13, 3, 25)),
                Case("the last step", rates(19, 4, 20)),
            ],
        ),
        numeric("without a warm-up", 1, "learning_rate", rate, [Case(f"step {t}", rates(t, 0, 9)) for t in (0, 1, 8)]),
    ),
    mistakes=(
        Mistake(
            name="warm-up-from-zero",
            advice="The first rate is lr / (warmup + 1), not 0: a step with the rate 0 is wasted.",
            replaces={"learning_rate": rate_with(ramp=lambda t, lr, warmup, total: lr * t / warmup)},
        ),
        Mistake(
            name="full-rate-one-step-early",
            advice="The ramp divides by warmup + 1; step number `warmup` is the first with the full rate.",
            replaces={"learning_rate": rate_with(ramp=lambda t, lr, warmup, total: lr * (t + 1) / warmup)},
        ),
        Mistake(
            name="no-warm-up",
            advice="Before step `warmup` the rate climbs in a straight line; yours starts with the cosine.",
            replaces={
                "learning_rate": lambda t, lr, warmup, total: (
                    float(cosine_annealing(max(t - warmup, 0), lr, total)) if t < warmup else rate(t, lr, warmup, total)
                )
            },
        ),
        Mistake(
            name="cosine-counts-from-the-first-step",
            advice="The cosine begins at the end of the warm-up: count t - warmup of total - warmup steps.",
            replaces={"learning_rate": rate_with(fall=lambda t, lr, w, total: cosine_annealing(t, lr, total))},
        ),
        Mistake(
            name="straight-line-down",
            advice="After the warm-up the rate falls along half a cosine, not along a straight line.",
            replaces={"learning_rate": rate_with(fall=lambda t, lr, w, total: lr * (1 - (t - w) / (total - w)))},
        ),
        Mistake(
            name="cosine-of-total-steps",
            advice="The cosine has total - warmup steps; yours takes total, and ends too high.",
            replaces={"learning_rate": rate_with(fall=lambda t, lr, w, total: cosine_annealing(t - w, lr, total))},
        ),
    ),
)


def stopping(val_losses: Any, patience: int) -> tuple[int, bool]:
    best = int(np.argmin(val_losses))
    return best, len(val_losses) - 1 - best >= patience


def stopping_with(
    best: Callable[[Array], int] = lambda v: int(v.argmin()),
    stop: Callable[[Array, int, int], bool] = lambda v, best, patience: len(v) - 1 - best >= patience,
    loss: bool = False,
) -> Make:
    def wrong(val_losses: Any, patience: int) -> Any:
        v = floats(val_losses)
        found = best(v)
        return (float(v[found]) if loss else found), bool(stop(v, int(v.argmin()), patience))

    return wrong


def losses(n: int, best: int, again: bool = False) -> Callable[[Rng], list[float]]:
    """n losses with their lowest at `best`, wavy behind it, and perhaps the same loss once more at the end."""

    def draw(rng: Rng) -> list[float]:
        values = 1.0 + rng.uniform(0.1, 1.0, size=n)
        values[best] = 0.5
        if n > best + 2:
            values[-1] = values[-2] - 0.05
        if again:
            values[-1] = 0.5
        return [float(v) for v in values]

    return draw


STOPS = [
    Case("the best epoch lies exactly the patience back", lambda rng: (losses(6, 2)(rng), 3)),
    Case("one epoch less than the patience", lambda rng: (losses(6, 2)(rng), 4)),
    Case("long ago", lambda rng: (losses(9, 1)(rng), 3)),
    Case("the first epoch", lambda rng: ([1.5], 1)),
    Case("the last epoch is the best", lambda rng: (losses(5, 4)(rng), 1)),
    Case("the loss rose just now", lambda rng: (losses(5, 3)(rng), 2)),
]
TIES = [Case("the lowest loss twice", lambda rng: (losses(7, 3, again=True)(rng), 3))]

STOPPING = Exercise(
    name="early_stopping",
    title="Stage 4: when to stop",
    functions=("early_stopping",),
    hints=(
        "Which epoch has the lowest loss, and how many epochs have passed since?",
        "np.argmin finds the first of the lowest. The last epoch has the number len(val_losses) - 1.",
        "Stop when the number of the last epoch minus the number of the best is at least the patience.",
    ),
    checks=(
        numeric("the best epoch", 1, "early_stopping", stopping, [*STOPS, *TIES], pick=0, result="the best epoch"),
        numeric("when to stop", 2, "early_stopping", stopping, [*STOPS, *TIES], pick=1, result="stop"),
    ),
    mistakes=(
        Mistake(
            name="stops-one-epoch-late",
            advice="Stop in the very epoch that lies `patience` epochs behind the best one.",
            replaces={"early_stopping": stopping_with(stop=lambda v, best, patience: len(v) - 1 - best > patience)},
        ),
        Mistake(
            name="stops-one-epoch-early",
            advice="The best epoch itself does not count: the last epoch's number is len(val_losses) - 1.",
            replaces={"early_stopping": stopping_with(stop=lambda v, best, patience: len(v) - best >= patience)},
        ),
        Mistake(
            name="counts-rises-in-a-row",
            advice="Patience counts the epochs since the BEST loss, whether the loss rose in all of them or not.",
            replaces={
                "early_stopping": stopping_with(
                    stop=lambda v, best, patience: len(v) > patience and bool((np.diff(v)[-patience:] > 0).all())
                )
            },
        ),
        Mistake(
            name="last-of-the-best",
            advice="Of several lowest losses the first is the best epoch: an equal loss is no progress.",
            replaces={"early_stopping": stopping_with(best=lambda v: int(len(v) - 1 - v[::-1].argmin()))},
        ),
        Mistake(
            name="loss-instead-of-epoch",
            advice="The NUMBER of the best epoch is asked for, counted from 0, not its loss.",
            replaces={"early_stopping": stopping_with(loss=True)},
        ),
        Mistake(
            name="epochs-from-one",
            advice="Epochs are counted from 0.",
            replaces={"early_stopping": stopping_with(best=lambda v: int(v.argmin()) + 1)},
        ),
    ),
)


def decoupled(params: Params, grads: Params, memory: Any, lr: float, weight_decay: float) -> tuple[Params, Any]:
    """AdamW in which only matrices decay: two groups of parameters, each with its own memory."""
    new: Params = {}
    kept = {}
    for group, decay in ((2, weight_decay), (1, 0.0)):
        own = {name: value for name, value in params.items() if np.ndim(value) == group}
        part, kept[group] = adamw_step(
            own, {n: grads[n] for n in own}, memory.get(group, {}), lr=lr, weight_decay=decay
        )
        new |= part
    return {name: new[name] for name in params}, kept


def step_with(
    late_loss: bool = False, fresh: bool = False, frozen_state: bool = False, twice: bool = False,
    no_dropout: bool = False, no_decay: bool = False, evaluation: bool = False,
) -> Make:  # fmt: skip
    def step(
        params: Params, state: Params, optimizer: Any, X: Any, tokens: Any, labels: Any, lr: float, rng: Any = None,
        p: float = 0.0, weight_decay: float = 0.01,
    ) -> Any:  # fmt: skip
        params = {name: floats(value) for name, value in params.items()}
        logits, _, cache, new_state = net(X, tokens, params, state, not evaluation, rng, 0.0 if no_dropout else p)
        loss, dlogits = cross_entropy(logits, labels)
        grads, _ = fusion.backward(dlogits, cache)
        decay = 0.01 if no_decay else weight_decay
        new, memory = decoupled(params, grads, {} if fresh else optimizer, lr, decay)
        if twice:
            new, memory = decoupled(new, grads, memory, lr, decay)
        if late_loss:
            loss = cross_entropy(net(X, tokens, new, state, True)[0], labels)[0]
        return new, state if frozen_state else new_state, memory, loss

    return step


train_step = step_with()


def few_records(rng: Rng, n: int, table: int = 2, steps: int = 4, classes: int = 3) -> tuple[Array, Array, Array]:
    """Readings, tokens and labels that have something to do with each other."""
    X, tokens = rng.normal(size=(n, table)), draw_tokens(rng, n, steps)
    labels = (X[:, 0] + 0.5 * (tokens[:, 0] > 3) + 0.3 * rng.normal(size=n) > 0).astype(np.int64)
    labels[:classes] = np.arange(classes)
    return X, tokens, labels


def stepped(student: Any, rng: Rng, p: float, steps: int, decay: float) -> None:
    params, state = draw_net(rng)
    ours, our_state = params, state
    memory: Any = {}
    our_memory: Any = {}
    for number in range(1, steps + 1):
        batch, seed = few_records(rng, 8), int(rng.integers(1 << 30))
        ours, our_state, our_memory, our_loss = train_step(
            ours, our_state, our_memory, *batch, 0.05, np.random.default_rng(seed), p, decay
        )
        answer = student.call(
            "train_step", params, state, memory, *batch, 0.05, np.random.default_rng(seed), p, decay, keep=(2,)
        )
        with case_of(f"step {number}", student.transcript[-1][0]):
            params, state, memory, loss = items(answer, ("params", "state", "optimizer", "loss"))
            same(loss, our_loss, "the loss", **TRAINED)
            same(params, ours, "params", **TRAINED)
            same(state, our_state, "state", **TRAINED)


@prop("one step", 1, "train_step")
def one_step(student: Any, rng: Rng) -> None:
    stepped(student, rng, 0.0, 1, 0.01)


@prop("several steps, with dropout, decay and AdamW's memory", 2, "train_step")
def several_steps(student: Any, rng: Rng) -> None:
    stepped(student, rng, 0.25, 3, 0.5)


TRAIN_STEP = Exercise(
    name="train_step",
    title="Stage 4: one step of training",
    functions=("train_step",),
    hints=(
        "Five things, in this order: forward, loss, backward, AdamW, return.",
        "forward gives a new state, adamw_step new parameters and a new memory: all three are returned, so that the "
        "next step can go on from there.",
        "forward with training True and with rng and p; cross_entropy gives loss and dlogits; backward's first item "
        "are the gradients; all of it goes into adamw_step once, with lr and weight_decay.",
    ),
    checks=(one_step, several_steps),
    mistakes=(
        Mistake(
            name="loss-after-the-step",
            advice="The loss of this batch is the one BEFORE the step; a second forward is not needed.",
            replaces={"train_step": step_with(late_loss=True)},
        ),
        Mistake(
            name="adam-starts-anew",
            advice="AdamW got an empty memory; hand on the one that you were given.",
            replaces={"train_step": step_with(fresh=True)},
        ),
        Mistake(
            name="running-statistics-not-handed-on",
            advice="The state that forward returned has moved; return that one, or evaluation never learns it.",
            replaces={"train_step": step_with(frozen_state=True)},
        ),
        Mistake(
            name="adam-called-twice",
            advice="One batch, one step: AdamW was applied twice to the same gradients.",
            replaces={"train_step": step_with(twice=True)},
        ),
        Mistake(
            name="step-without-dropout",
            advice="Hand rng and p on to forward; yours trains without dropout.",
            replaces={"train_step": step_with(no_dropout=True)},
        ),
        Mistake(
            name="decay-not-handed-on",
            advice="Hand weight_decay on to adamw_step; yours always uses its default.",
            replaces={"train_step": step_with(no_decay=True)},
        ),
        Mistake(
            name="step-in-evaluation-mode",
            advice="A training step uses the batch's own statistics: call forward with training True.",
            replaces={"train_step": step_with(evaluation=True)},
        ),
    ),
)


def first_params(sizes: Any, n_table: int, n_classes: int, rng: Any) -> tuple[Params, Params]:
    """The parameters that the chapter's own `init_params` draws."""
    d, hidden, width = sizes
    joined, bound = hidden + n_table, 1 / np.sqrt(hidden)
    params = {"E": rng.normal(0.0, 0.5, size=(VOCAB, d))}
    params["W_ih"] = rng.uniform(-bound, bound, size=(4 * hidden, d))
    params["W_hh"] = rng.uniform(-bound, bound, size=(4 * hidden, hidden))
    params["b_ih"], params["b_hh"] = np.repeat([0.0, 1.0, 0.0, 0.0], hidden), np.zeros(4 * hidden)
    params["w_att"] = rng.normal(0.0, bound, size=hidden)
    params["W1"] = rng.normal(0.0, np.sqrt(2 / joined), size=(width, joined))
    params["gamma"], params["beta"] = np.ones(width), np.zeros(width)
    params["W2"], params["b2"] = rng.normal(0.0, np.sqrt(1 / width), size=(n_classes, width)), np.zeros(n_classes)
    return params, {"mean": np.zeros(width), "var": np.ones(width)}


Run = dict[str, Any]


def train_with(
    drop_last: bool = False, shuffled: bool = True, by_epoch: bool = False, constant: bool = False,
    restarted: bool = False, fresh: bool = False, keep_last: bool = False, never_stop: bool = False,
    judged_in_training: bool = False, leaking_state: bool = False, learn_validation: bool = False,
    by_train_loss: bool = False, unweighted: bool = False, no_dropout: bool = False, no_decay: bool = False,
) -> Make:  # fmt: skip
    """The training run; with an option, the same with something wrong."""

    def train(
        X: Any, tokens: Any, y: Any, X_val: Any, tokens_val: Any, y_val: Any, n_classes: int, rng: Any,
        epochs: int = 20, batch_size: int = 64, lr: float = 0.005, warmup: int = 50, p: float = 0.1,
        weight_decay: float = 0.01, patience: int = 5, sizes: Any = (8, 24, 48),
    ) -> Any:  # fmt: skip
        X, tokens, y = floats(X), np.asarray(tokens), np.asarray(y)
        if learn_validation:
            X, tokens, y = (np.concatenate(pair) for pair in ((X, X_val), (tokens, tokens_val), (y, y_val)))
        params, state = first_params(sizes, X.shape[1], n_classes, rng)
        memory: Any = {}
        starts = range(0, len(X) - batch_size + 1 if drop_last else len(X), batch_size)
        total, t, best = epochs * len(starts), 0, (params, state)
        history: Run = {"train_loss": [], "val_loss": [], "best_epoch": 0}
        for epoch in range(epochs):
            order = rng.permutation(len(X)) if shuffled else np.arange(len(X))
            batch_losses, counts = [], []
            memory = {} if fresh else memory
            for start in starts:
                rows = order[start : start + batch_size]
                # Counted by epochs the warm-up is over when `warmup` EPOCHS are.
                step = epoch if by_epoch else start // batch_size if restarted else t
                now = lr if constant else rate(step, lr, warmup, epochs if by_epoch and epochs > warmup else total)
                params, state, memory, loss = train_step(
                    params, state, memory, X[rows], tokens[rows], y[rows], now, rng, 0.0 if no_dropout else p,
                    0.01 if no_decay else weight_decay,
                )  # fmt: skip
                batch_losses.append(loss)
                counts.append(len(rows))
                t += 1
            history["train_loss"].append(float(np.average(batch_losses, weights=None if unweighted else counts)))
            logits, _, _, moved = net(X_val, tokens_val, params, state, judged_in_training or leaking_state)
            if leaking_state:
                logits, state = net(X_val, tokens_val, params, state, False)[0], moved
            history["val_loss"].append(float(cross_entropy(logits, y_val)[0]))
            found, stop = stopping(history["train_loss" if by_train_loss else "val_loss"], patience)
            history["best_epoch"] = found
            best = (params, state) if found == epoch else best
            if stop and not never_stop:
                break
        return (*((params, state) if keep_last else best), history)

    return train


train = train_with()


def run_case(rng: Rng, n: int, **options: Any) -> tuple[tuple[Any, ...], Run, int]:
    """Arguments of a short run, without its generator, the options, and the seed of the generator."""
    data = (*few_records(rng, n), *few_records(rng, 9), 3)
    options = {"epochs": 3, "batch_size": 6, "lr": 0.05, "warmup": 2, "sizes": (3, 4, 5), **options}
    return data, options, int(rng.integers(1 << 30))


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


@prop("batches, rates and losses of a short run", 2, "train")
def short_run(student: Any, rng: Rng) -> None:
    like_ours(student, *run_case(rng, 18, p=0.0), "three full batches an epoch")


@prop("the last short batch, dropout and decay", 1, "train")
def last_batch(student: Any, rng: Rng) -> None:
    data, options, seed = run_case(rng, 15, p=0.25, weight_decay=0.5)
    # One class more than there are in the data.
    like_ours(student, (*data[:-1], 4), options, seed, "two full batches and one of three, and four classes")


def stopping_case(rng: Rng) -> tuple[tuple[Any, ...], Run, int]:
    """A run that stops early, with its best epoch neither the first nor the last, and lower training losses later."""
    while True:
        data, options, seed = run_case(rng, 18, epochs=16, patience=3, lr=0.1, p=0.0)
        history = train(*data, np.random.default_rng(seed), **options)[2]
        later = history["train_loss"][history["best_epoch"] + 1 :]
        if history["best_epoch"] > 0 and len(history["val_loss"]) < 13 and min(later) < min(history["train_loss"][:2]):
            return data, options, seed


@prop("early stopping: the best epoch, and no epoch too many", 2, "train")
def stops(student: Any, rng: Rng) -> None:
    like_ours(student, *stopping_case(rng), "a validation loss that rises, with a patience of 3")


@prop("the validation set only judges", 1, "train")
def validation_judges(student: Any, rng: Rng) -> None:
    data, options, seed = run_case(rng, 18, epochs=1)
    X_val, tokens_val, y_val = data[3:6]
    runs = []
    for other in ((X_val, tokens_val, y_val), (3 * X_val[:5] + 1, tokens_val[:5], (y_val[:5] + 1) % 3)):
        answer = student.call("train", *data[:3], *other, 3, np.random.default_rng(seed), **options)
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
    data, options, seed = run_case(rng, 12)
    first, second, other = (
        trained(student.call("train", *data, np.random.default_rng(s), **options))[0] for s in (seed, seed, seed + 1)
    )
    with case_of("two runs with equal generators, and one with another", student.transcript[-1][0]):
        holds(type(first) is dict, "params should be a dict.")
        for key, value in first.items():
            same(entry(second, key, "params"), numbers(value), f"the second run's {key}")
        weights = numbers(entry(first, "W1", "params")), numbers(entry(other, "W1", "params"))
        holds(not np.array_equal(*weights), "another generator gave the same weights: use the rng you are given.")


TRAIN = Exercise(
    name="train",
    title="Stage 4: the training run",
    functions=("train",),
    hints=(
        "Two loops: epochs outside, batches inside. What happens once a run, once an epoch, once a batch?",
        "Once a run: first parameters, an empty memory, the counter t. Once an epoch: a permutation, the two losses, "
        "early_stopping. Once a batch: the rate of step t, and one train_step.",
        "total is epochs times the batches of an epoch, the short one included. If early_stopping names this very "
        "epoch, remember (params, state); if it says stop, break; return what was remembered.",
    ),
    checks=(short_run, last_batch, stops, validation_judges, reproducible),
    mistakes=(
        Mistake(
            name="schedule-stepped-by-epochs",
            advice="The schedule counts steps, batch by batch: stepped once an epoch, the warm-up takes far too long.",
            replaces={"train": train_with(by_epoch=True)},
        ),
        Mistake(
            name="schedule-restarted-each-epoch",
            advice="t counts the steps of the WHOLE run; yours begins anew in every epoch, warm-up included.",
            replaces={"train": train_with(restarted=True)},
        ),
        Mistake(
            name="rate-stays-constant",
            advice="Ask learning_rate for the rate of each step; yours is always lr.",
            replaces={"train": train_with(constant=True)},
        ),
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
            name="adam-forgets-each-epoch",
            advice="One memory of AdamW serves the whole run; yours begins anew with every epoch.",
            replaces={"train": train_with(fresh=True)},
        ),
        Mistake(
            name="last-network-returned",
            advice="Return the parameters AND the state of the best epoch, not those of the last.",
            replaces={"train": train_with(keep_last=True)},
        ),
        Mistake(
            name="never-stops-early",
            advice="When early_stopping says so, the run ends.",
            replaces={"train": train_with(never_stop=True)},
        ),
        Mistake(
            name="validated-in-training-mode",
            advice="The validation loss is measured in evaluation, with the running statistics.",
            replaces={"train": train_with(judged_in_training=True)},
        ),
        Mistake(
            name="validation-moves-the-statistics",
            advice="The validation records moved the running statistics: what judges must not teach.",
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
        Mistake(
            name="run-without-dropout",
            advice="Hand rng and p on to train_step; yours trains without dropout.",
            replaces={"train": train_with(no_dropout=True)},
        ),
        Mistake(
            name="run-without-its-decay",
            advice="Hand weight_decay on to train_step.",
            replaces={"train": train_with(no_decay=True)},
        ),
    ),
)

# --- stage 5: evaluation, calibration, attribution -------------------------------------------------------------------


def evaluated(logits: Any, labels: Any, train_labels: Any) -> Run:
    said, labels = floats(logits).argmax(axis=1), np.asarray(labels)
    confusion = np.zeros((np.shape(logits)[1],) * 2)
    np.add.at(confusion, (labels, said), 1)
    frequent = np.bincount(train_labels).argmax()
    return {"accuracy": np.mean(said == labels), "majority": np.mean(labels == frequent), "confusion": confusion}


def evaluated_with(change: Callable[[Run, Array, Array, Array], dict[str, Any]]) -> Make:
    """A right evaluation of which entries are replaced: change(right, logits, labels, train_labels)."""

    def wrong(logits: Any, labels: Any, train_labels: Any) -> Run:
        right = evaluated(logits, labels, train_labels)
        return right | change(right, floats(logits), np.asarray(labels), np.asarray(train_labels))

    return wrong


def judged_case(batch: int, classes: int) -> Any:
    """Logits with some wrong answers, and training labels whose most frequent one is not that of the test labels."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        labels = rng.permutation(np.concatenate([np.arange(classes), rng.integers(0, 2, size=batch - classes)]))
        logits = rng.normal(size=(batch, classes))
        logits[np.arange(batch), labels] += 2.0
        moved = np.arange(3)
        logits[moved, (labels[moved] + 1) % classes] += 5.0
        train_labels = np.concatenate([np.full(6, classes - 1), np.arange(classes), [0, 0]])
        return logits, labels, rng.permutation(train_labels)

    return draw


def picked_entry(name: str, points: int, key: str, cases: list[Case]) -> Any:
    """One entry of what `evaluate` returns."""

    @prop(name, points, "evaluate")
    def check(student: Any, rng: Rng) -> None:
        for case in cases:
            args = case.draw(rng)
            answer = student.evaluate(*args)
            with case_of(case.reason, student.transcript[-1][0]):
                same(entry(answer, key, "the result"), evaluated(*args)[key], f"the entry {key!r}")

    return check


JUDGED = [
    Case("twelve records of four classes", judged_case(12, 4)),
    Case("equal logits", lambda rng: ([[1.0, 1.0], [0.0, 2.0], [3.0, 3.0]], [0, 0, 1], [1, 0, 1])),
    Case(
        "a class that is neither there nor said",
        lambda rng: (rng.normal(size=(5, 4)) - [0, 0, 0, 50], [2, 1, 1, 0, 1], [2, 0]),
    ),
    Case("two labels equally frequent in training", lambda rng: (rng.normal(size=(5, 3)), [2, 1, 1, 0, 1], [2, 1])),
]

EVALUATE = Exercise(
    name="evaluate",
    title="Stage 5: better than what?",
    functions=("evaluate",),
    hints=(
        "What would someone answer who has never seen a record, but knows the training labels?",
        "np.argmax of the logits is what the network says; np.argmax(np.bincount(train_labels)) is what the lazy one "
        "says, for every record. Compare both with the labels.",
        "The confusion matrix starts as zeros (K, K); np.add.at(confusion, (labels, said), 1) counts every pair.",
    ),
    checks=(
        picked_entry("the accuracy", 1, "accuracy", JUDGED),
        picked_entry("what the most frequent class would reach", 1, "majority", JUDGED),
        picked_entry("the confusion matrix", 1, "confusion", JUDGED),
    ),
    mistakes=(
        Mistake(
            name="majority-of-the-test-labels",
            advice="The most frequent class is known from TRAINING; taken from the test labels, the baseline peeks.",
            replaces={
                "evaluate": evaluated_with(lambda right, z, y, old: {"majority": np.mean(y == np.bincount(y).argmax())})
            },
        ),
        Mistake(
            name="majority-share-in-training",
            advice="The baseline answers the same records as the network: its share of the TEST labels is asked for.",
            replaces={
                "evaluate": evaluated_with(lambda right, z, y, old: {"majority": np.bincount(old).max() / len(old)})
            },
        ),
        Mistake(
            name="one-over-the-number-of-classes",
            advice="1/K is what blind guessing reaches; always answering the most frequent class is often far better.",
            replaces={"evaluate": evaluated_with(lambda right, z, y, old: {"majority": 1 / z.shape[1]})},
        ),
        Mistake(
            name="confusion-transposed",
            advice="Rows are the true classes, columns what the network said.",
            replaces={"evaluate": evaluated_with(lambda right, z, y, old: {"confusion": right["confusion"].T})},
        ),
        Mistake(
            name="confusion-as-shares",
            advice="The confusion matrix holds counts of records, not shares.",
            replaces={"evaluate": evaluated_with(lambda right, z, y, old: {"confusion": right["confusion"] / len(y)})},
        ),
        Mistake(
            name="right-answers-not-divided",
            advice="Divide the count of right answers by the number of records.",
            replaces={"evaluate": evaluated_with(lambda right, z, y, old: {"accuracy": right["accuracy"] * len(y)})},
        ),
    ),
)


def bins(probs: Any, labels: Any, n_bins: int = 10) -> tuple[Array, Array, Array]:
    return tuple(calibration.reliability(probs, labels, n_bins))  # type: ignore[return-value]


def bins_with(
    confident: Callable[[Array, Array], Array] = lambda p, y: p.max(axis=1),
    place: Callable[[Array, int], Array] = lambda c, n: np.minimum((c * n).astype(int), n - 1),
    empty: float = 0.0,
) -> Make:
    """Bins by another confidence `confident(probs, labels)` or with other edges `place(confidence, n_bins)`."""

    def wrong(probs: Any, labels: Any, n_bins: int = 10) -> Any:
        probs, labels = floats(probs), np.asarray(labels)
        c, right = confident(probs, labels), probs.argmax(axis=1) == labels
        where = place(c, n_bins)
        counts, confidence, accuracy = np.zeros(n_bins), np.full(n_bins, empty), np.full(n_bins, empty)
        for k in range(n_bins):
            if (where == k).any():
                counts[k] = (where == k).sum()
                confidence[k], accuracy[k] = c[where == k].mean(), right[where == k].mean()
        return counts, confidence, accuracy

    return wrong


def ece_with(gap: Callable[[Array, Array, Array], float]) -> Make:
    """Another mean of the gaps: gap(counts, confidence, accuracy)."""
    return lambda probs, labels, n_bins=10: float(gap(*bins(probs, labels, n_bins)))


def filled_mean(counts: Array, confidence: Array, accuracy: Array) -> float:
    return float(np.abs(accuracy - confidence)[counts > 0].mean())


def sure_case(n: int, classes: int, n_bins: int) -> Any:
    """Probabilities away from the edges of the bins; the most probable class is right about three times in four."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        k = rng.integers(min(-(-n_bins // classes), n_bins - 1), n_bins, size=n)
        k[0], k[1] = n_bins - 1, n_bins - 1
        top = (k + rng.uniform(0.55 if n_bins == 1 else 0.2, 0.8, size=n)) / n_bins
        probs = np.tile(((1 - top) / (classes - 1))[:, None], classes)
        best = rng.integers(0, classes, size=n)
        best[:2] = 0, 1
        probs[np.arange(n), best] = top
        # From class 0 on some are wrong, from one bin on most: the gaps have both signs.
        labels = np.where(rng.random(n) < 0.75, best, (best + 1) % classes)
        labels[:2] = best[0], (best[1] + 1) % classes
        return probs, labels, n_bins

    return draw


# Quarters are exact in binary, so that everybody agrees on which side of an edge they lie.
EDGES = [
    Case(
        "a confidence of exactly 1",
        lambda rng: (np.array([[1.0, 0.0], [0.0, 1.0], [0.4, 0.6], [1.0, 0.0]]), np.array([0, 0, 1, 0]), 4),
    ),
    Case(
        "confidences on the edges of bins",
        lambda rng: (np.array([[0.5, 0.5], [0.25, 0.75], [0.75, 0.25], [0.0, 1.0]]), np.array([1, 1, 1, 1]), 4),
    ),
]
BINNED = [
    Case("forty records, ten bins", sure_case(40, 4, 10)),
    Case("two classes, five bins", sure_case(25, 2, 5)),
    Case("a single bin", sure_case(9, 3, 1)),
]


def under_and_over(rng: Rng) -> tuple[Any, ...]:
    """One bin whose confidence is too high, and one where it is too low by about as much."""
    top = np.concatenate([rng.uniform(0.91, 0.94, size=6), rng.uniform(0.66, 0.69, size=6)])
    labels = np.array([0, 1, 0, 1, 0, 0] + [0] * 6)
    return np.column_stack([top, 1 - top]), labels, 10


CALIBRATION = Exercise(
    name="calibration",
    title="Stage 5: does 0.9 mean nine times out of ten?",
    functions=("reliability", "calibration_error"),
    hints=(
        "How sure is a record, when is it right, and into which drawer does it belong?",
        "The number of the bin is the whole part of confidence times n_bins. For which confidence is that n_bins, one "
        "too many?",
        "np.minimum of that number and n_bins - 1 saves the certain ones. Means only where a bin is not empty; the ECE "
        "weights each gap with count / N.",
    ),
    checks=(
        numeric("counts, confidences and accuracies", 2, "reliability", bins, BINNED),
        numeric("edges, and a confidence of 1", 1, "reliability", bins, EDGES),
        numeric(
            "the expected calibration error",
            2,
            "calibration_error",
            calibration.expected_calibration_error,
            [*BINNED, *EDGES, Case("too sure in one bin, too modest in another", under_and_over)],
        ),
    ),
    mistakes=(
        Mistake(
            name="certain-answers-dropped",
            advice="A confidence of exactly 1 falls out of the last bin, and the surest answers are not judged at all.",
            replaces={"reliability": bins_with(place=lambda c, n: (c * n).astype(int))},
        ),
        Mistake(
            name="upper-edges-included",
            advice="A bin holds its lower edge, not its upper one: a confidence of 0.5 lies in the bin from 0.5 on.",
            replaces={"reliability": bins_with(place=lambda c, n: np.maximum(np.ceil(c * n).astype(int) - 1, 0))},
        ),
        Mistake(
            name="probability-of-the-label",
            advice="The confidence is the network's largest probability, not the one that it gives the right class.",
            replaces={"reliability": bins_with(confident=lambda p, y: p[np.arange(len(p)), y])},
        ),
        Mistake(
            name="probability-of-class-one",
            advice="The confidence is the largest probability of each record, whichever class it belongs to.",
            replaces={"reliability": bins_with(confident=lambda p, y: p[:, 1])},
        ),
        Mistake(
            name="empty-bins-are-nan",
            advice="An empty bin has no mean: put 0, or nan spreads into the calibration error.",
            replaces={"reliability": bins_with(empty=np.nan)},
        ),
        Mistake(
            name="bins-weighted-alike",
            advice="A bin with one record must not weigh as much as one with a thousand: weight with count / N.",
            replaces={"calibration_error": ece_with(filled_mean)},
        ),
        Mistake(
            name="gaps-with-their-sign",
            advice="Too sure in one bin does not make up for too modest in another: take absolute values.",
            replaces={"calibration_error": ece_with(lambda n, c, a: float(n @ (a - c) / n.sum()))},
            variants=({"calibration_error": ece_with(lambda n, c, a: abs(float(n @ (a - c) / n.sum())))},),
        ),
        Mistake(
            name="largest-gap",
            advice="The mean gap is asked for, not the largest.",
            replaces={"calibration_error": ece_with(lambda n, c, a: float(np.abs(a - c).max()))},
        ),
        Mistake(
            name="gaps-squared",
            advice="The gaps enter as they are, in absolute value, not squared.",
            replaces={"calibration_error": ece_with(lambda n, c, a: float(n @ (a - c) ** 2 / n.sum()))},
        ),
    ),
)


def temperature_case(n: int, classes: int, truth: float, scale: float = 1.0) -> Any:
    """Logits whose labels were drawn at the temperature `truth`, all of it times `scale`."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        logits = 3 * rng.normal(size=(n, classes))
        labels = np.array([rng.choice(classes, p=row) for row in softmax(logits / truth)])
        # One wrong record at least, or no temperature is low enough.
        labels[0], labels[1] = logits[0].argmin(), logits[1].argmax()
        return scale * logits, labels

    return draw


def all_right(rng: Rng) -> tuple[Any, ...]:
    logits = rng.normal(size=(6, 3))
    return logits, logits.argmax(axis=1)


def all_wrong(rng: Rng) -> tuple[Any, ...]:
    logits = rng.normal(size=(6, 3))
    return logits, logits.argmin(axis=1)


def match_confidence(logits: Any, labels: Any) -> float:
    """The temperature at which the mean confidence is the accuracy, by bisection."""
    logits = floats(logits)
    target, low, high = np.mean(logits.argmax(axis=1) == labels), 0.05, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if softmax(logits / middle).max(axis=1).mean() > target else (low, middle)
    return (low + high) / 2


def from_a_grid(logits: Any, labels: Any) -> float:
    grid = np.linspace(0.05, 20, 400)
    return float(grid[np.argmin([calibration.scaled_loss(logits, labels, t) for t in grid])])


def unbounded(logits: Any, labels: Any) -> float:
    return calibration.fit_temperature(logits, labels, 1e-6, 1e6)


# A minimum found through the loss itself is known to the root of its rounding, about 1e-8: six digits are asked for.
SIX_DIGITS = 1e-6


def temperature_check(name: str, points: int, cases: list[Case]) -> Any:
    return numeric(name, points, "fit_temperature", calibration.fit_temperature, cases, result="T", rtol=SIX_DIGITS)


TEMPERATURE = Exercise(
    name="fit_temperature",
    title="Stage 5: temperature scaling",
    functions=("fit_temperature",),
    hints=(
        "Which single number is to be found, and what must be zero there?",
        "Write the slope as a function of s = 1 / T. It rises with s: where it is negative, the zero lies further up.",
        "Begin with s from 1/20 to 20. If the slope has one sign at both ends, return the end. Otherwise halve the "
        "interval some sixty times. Subtract a row's largest value before you exponentiate.",
    ),
    checks=(
        temperature_check(
            "too sure, and too modest",
            2,
            [
                Case("logits that are twice too large", temperature_case(30, 3, 2.0)),
                Case("logits that are too small", temperature_case(30, 4, 0.4)),
            ],
        ),
        temperature_check(
            "huge logits, and the bounds",
            1,
            [
                Case("logits of thousands: the upper bound", temperature_case(12, 3, 1.0, 2000.0)),
                Case("everything right: the lower bound", all_right),
                Case("everything wrong: the upper bound", all_wrong),
            ],
        ),
    ),
    mistakes=(
        Mistake(
            name="inverse-of-the-temperature",
            advice="The logits are divided by T; yours is 1 / T, the factor.",
            replaces={"fit_temperature": lambda z, y: 1 / calibration.fit_temperature(z, y)},
        ),
        Mistake(
            name="mean-confidence-matched",
            advice="The lowest cross-entropy is asked for; that mean confidence and accuracy agree is something else.",
            replaces={"fit_temperature": match_confidence},
        ),
        Mistake(
            name="taken-from-a-coarse-grid",
            advice="Six digits are asked for, and a grid has only its own values: halve an interval instead.",
            replaces={"fit_temperature": from_a_grid},
        ),
        Mistake(
            name="no-bounds",
            advice="Where the lowest loss lies outside of 0.05 to 20, the nearer bound is the answer.",
            replaces={"fit_temperature": unbounded},
        ),
        Mistake(
            name="root-of-the-temperature",
            advice="Divide the logits by T itself, not by its square.",
            replaces={"fit_temperature": lambda z, y: calibration.fit_temperature(z, y) ** 0.5},
        ),
    ),
)


def slope_of(
    X: Array, tokens: Array, params: Params, state: Params, cotangent: Callable[[Array], Array], training: bool = False
) -> Array:
    logits, _, cache, _ = net(X, tokens, params, state, training)
    return fusion.backward(cotangent(logits), cache)[1]


def one_logit(classes: Any) -> Callable[[Array], Array]:
    return lambda logits: np.eye(logits.shape[1])[np.asarray(classes)]


def of_probability(classes: Any) -> Callable[[Array], Array]:
    return lambda logits: softmax_backward(np.eye(logits.shape[1])[np.asarray(classes)], softmax(logits))


def of_loss(classes: Any) -> Callable[[Array], Array]:
    return lambda logits: softmax(logits) - np.eye(logits.shape[1])[np.asarray(classes)]


def attribution_with(
    cotangent: Callable[[Any], Callable[[Array], Array]] = one_logit,
    shares: Callable[[int], Array] = lambda steps: (np.arange(steps) + 0.5) / steps,
    times_input: bool = True,
    mean: bool = True,
    training: bool = False,
) -> Make:
    def attributions(X: Any, tokens: Any, classes: Any, params: Any, state: Any, steps: int = 32) -> Array:
        X = floats(X)
        total = np.zeros_like(X)
        for share in shares(steps):
            total += slope_of(share * X, tokens, params, state, cotangent(classes), training)
        return (X if times_input else 1.0) * total / (steps if mean else 1)

    return attributions


attributions = attribution_with()


def predicted_class(classes: Any) -> Callable[[Array], Array]:
    return lambda logits: np.eye(logits.shape[1])[logits.argmax(axis=1)]


def explained(batch: int, steps: int, length: int = 5) -> Any:
    """Records, each with a class to explain that is not the one the network names, where there are several."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        params, state = draw_net(rng, table=3)
        X, tokens = rng.normal(size=(batch, 3)), draw_tokens(rng, batch, length)
        said = net(X, tokens, params, state, False)[0].argmax(axis=1)
        classes = (said + 1 + np.arange(batch) % 2) % 3
        return X, tokens, classes, params, state, steps

    return draw


@prop("attributions add up to the change of the logit", 1, "integrated_gradients")
def complete(student: Any, rng: Rng) -> None:
    X, tokens, classes, params, state, _ = explained(3, 1)(rng)
    got = numbers(student.integrated_gradients(X, tokens, classes, params, state, 400), (3, 3), "the attributions")
    there, base = (net(x, tokens, params, state, False)[0][np.arange(3), classes] for x in (X, 0 * X))
    # Along the way the ReLUs have kinks: with 400 points the sum is right to about one part in 400.
    gap = float(np.abs(got.sum(axis=1) - (there - base)).max() / np.abs(X).sum())
    below(
        gap,
        0.05,
        "with 400 steps the attributions of a record should add up to its logit minus that of the baseline.",
        f"The gap is {gap:.3g} of the size of the readings.",
    )


ATTRIBUTION = Exercise(
    name="integrated_gradients",
    title="Stage 5: why does it say so?",
    functions=("integrated_gradients",),
    hints=(
        "Of which number is the gradient taken: the loss, a probability, or a logit? And of which class?",
        "A dlogits with a single 1 in each row gives the gradient of that logit for every record at once, since in "
        "evaluation records do not mix. backward's second item is what you need.",
        "Loop over k, run forward in evaluation at (k + 0.5) / steps * X, send the ones back, add up dX; at the end "
        "divide by steps and multiply by X.",
    ),
    checks=(
        numeric(
            "the attributions",
            2,
            "integrated_gradients",
            attributions,
            [
                Case("four records, a class that is not the most probable", explained(4, 8)),
                Case("one record", explained(1, 5)),
                Case("one step only: the midpoint", explained(3, 1)),
            ],
        ),
        numeric(
            "with the default number of steps",
            1,
            "integrated_gradients",
            lambda *args: attributions(*args, 32),
            [Case("two records, 32 steps", lambda rng: explained(2, 1, 3)(rng)[:5])],
        ),
        complete,
    ),
    mistakes=(
        Mistake(
            name="probability-instead-of-logit",
            advice="The gradient of the LOGIT is asked for; that of a probability vanishes where the network is sure.",
            replaces={"integrated_gradients": attribution_with(of_probability)},
        ),
        Mistake(
            name="most-probable-class-explained",
            advice="Explain the class that is given for each record, not the one the network names.",
            replaces={"integrated_gradients": attribution_with(predicted_class)},
        ),
        Mistake(
            name="loss-instead-of-logit",
            advice="Send back a 1 at the logit; the gradient of the loss explains how to learn, not why.",
            replaces={"integrated_gradients": attribution_with(of_loss)},
        ),
        Mistake(
            name="all-logits-explained",
            advice="Only the logit of the given class gets a 1; the others get 0.",
            replaces={"integrated_gradients": attribution_with(lambda classes: np.ones_like)},
        ),
        Mistake(
            name="gradient-at-the-end-only",
            advice="Average the gradient along the way from the baseline; at the record alone it forgets the way.",
            replaces={"integrated_gradients": attribution_with(shares=np.ones)},
        ),
        Mistake(
            name="left-ends-instead-of-midpoints",
            advice="The shares are (k + 1/2) / steps, the middles of the pieces.",
            replaces={"integrated_gradients": attribution_with(shares=lambda n: np.arange(n) / n)},
            variants=({"integrated_gradients": attribution_with(shares=lambda n: np.linspace(0, 1, n))},),
        ),
        Mistake(
            name="not-times-the-reading",
            advice="A gradient says how sensitive the logit is; times the reading it says what it contributed.",
            replaces={"integrated_gradients": attribution_with(times_input=False)},
        ),
        Mistake(
            name="gradients-summed",
            advice="Take the mean over the steps, not the sum.",
            replaces={"integrated_gradients": attribution_with(mean=False)},
        ),
    ),
)

# --- stage 6: the system ---------------------------------------------------------------------------------------------


def system_with(
    scaler_of: Callable[[Array, Array], Array] = lambda X, X_val: X,
    val_scaler: bool = False,
    temperature_from: str = "validation",
    options_used: bool = True,
) -> Make:
    """The whole fit; with an option, something is learned in the wrong place."""

    def fitted(
        X: Any, logs: Any, y: Any, X_val: Any, logs_val: Any, y_val: Any, n_classes: int, rng: Any, **options: Any
    ) -> Run:
        scaler = fit(scaler_of(floats(X), floats(X_val)))
        X, X_val = scaled(X, scaler), scaled(X_val, fit(X_val) if val_scaler else scaler)
        tokens, tokens_val = pad(logs, LENGTH), pad(logs_val, LENGTH)
        if not options_used:
            options = {"sizes": options["sizes"], "batch_size": options["batch_size"], "warmup": 1, "epochs": 1}
        params, state, history = train(X, tokens, y, X_val, tokens_val, y_val, n_classes, rng, **options)
        judged = (X, tokens, y) if temperature_from == "training" else (X_val, tokens_val, y_val)
        logits = net(*judged[:2], params, state, temperature_from == "training mode")[0]
        t = 1.0 if temperature_from == "nothing" else calibration.fit_temperature(logits, judged[2])
        return {"scaler": scaler, "params": params, "state": state, "temperature": t, "history": history}

    return fitted


fit_system = system_with()


def answered(system: Any, X: Any, logs: Any) -> Array:
    logits = net(scaled(X, system["scaler"]), pad(logs, LENGTH), system["params"], system["state"], False)[0]
    return softmax(logits / system["temperature"])


def answered_with(
    refit: bool = False, temperature: Callable[[float], float] = lambda t: t, training: bool = False, raw: bool = False
) -> Make:
    def wrong(system: Any, X: Any, logs: Any) -> Array:
        scaler = fit(X) if refit else system["scaler"]
        tokens = pad(logs, LENGTH)
        logits = net(scaled(X, scaler), tokens, system["params"], system["state"], training)[0]
        return logits if raw else softmax(logits / temperature(float(system["temperature"])))

    return wrong


def raw_records(rng: Rng, n: int, table: int = 3) -> tuple[Any, ...]:
    """Readings in units, logs of different lengths, one of them longer than LENGTH, and labels."""
    lengths = rng.integers(1, 9, size=n)
    lengths[-1] = LENGTH + 3
    logs = [rng.integers(1, VOCAB, size=k).tolist() for k in lengths]
    X = rng.normal(size=(n, table)) * [20.0, 0.1, 3.0] + [70.0, 5.0, -1.0]
    labels = ((X[:, 0] > 70) + 2 * (X[:, 1] > 5)) % 3
    return X, logs, np.where(rng.random(n) < 0.3, rng.integers(0, 3, size=n), labels)


def fitted_case(rng: Rng) -> tuple[tuple[Any, ...], Run, int, Run]:
    """A short fit whose temperature lies inside of its bounds: arguments, options, seed, and what is right."""
    options = {"epochs": 2, "batch_size": 5, "lr": 0.02, "warmup": 2, "sizes": (3, 4, 5), "p": 0.0}
    while True:
        data, seed = (*raw_records(rng, 15), *raw_records(rng, 11), 3), int(rng.integers(1 << 30))
        right = fit_system(*data, np.random.default_rng(seed), **options)
        if 0.2 < right["temperature"] < 5:
            return data, options, seed, right


def fitted_like_ours(student: Any, rng: Rng, *keys: str) -> None:
    data, options, seed, right = fitted_case(rng)
    got = student.call("fit_system", *data, np.random.default_rng(seed), **options)
    with case_of("a short fit on 15 raw records", student.transcript[-1][0]):
        for key in keys:
            # Wide enough for a temperature found through the loss, from parameters that agree to seven digits.
            wide = {"rtol": 1e-4, "atol": 1e-5} if key == "temperature" else TRAINED
            same(entry(got, key, "the system"), right[key], f"the system's {key!r}", **wide)


@prop("the scaler is fitted on the training readings", 1, "fit_system")
def scaler_of_system(student: Any, rng: Rng) -> None:
    fitted_like_ours(student, rng, "scaler")


@prop("the network, and a temperature from the validation set", 1, "fit_system")
def rest_of_system(student: Any, rng: Rng) -> None:
    fitted_like_ours(student, rng, "params", "state", "temperature", "history")


def asked_case(n: int, loud: float = 0.0) -> Any:
    def draw(rng: Rng) -> tuple[Any, ...]:
        params, state = draw_net(rng, table=3)
        params = {**params, "b2": params["b2"] + loud * np.arange(len(params["b2"]))}
        X, logs, _ = raw_records(rng, n)
        system = {"scaler": fit(raw_records(rng, 9)[0]), "params": params, "state": state, "temperature": 1.7}
        return {**system, "history": {"best_epoch": 0}}, X, logs

    return draw


class World(NamedTuple):
    """What is shuffled in the data of one check: event numbers, columns, units, directions, classes."""

    kinds: Array
    columns: Array
    units: Array
    offsets: Array
    signs: Array
    classes: Array


def draw_world(rng: Rng) -> World:
    units = 10.0 ** rng.uniform(-1, 3, size=4)
    kinds = np.concatenate([[0], 1 + rng.permutation(7)])
    return World(
        kinds, rng.permutation(4), units, units * rng.uniform(-5, 5, size=4), rng.choice([-1, 1], 3), rng.permutation(4)
    )


class Records(NamedTuple):
    """Raw records, and beside them what no student is given: each part's reading before its unit, and the part."""

    X: Array
    logs: list[list[int]]
    y: Array
    standard: Array
    part: Array


def draw_records(world: World, n_machines: int, rng: Rng) -> Records:
    """Records as the chapter describes them, in a shuffled world."""
    n = 5 * n_machines
    part = rng.integers(0, 3, size=n)
    kind = 2 + 2 * part + rng.integers(0, 2, size=n)
    standard = rng.choice([-1.0, 1.0], size=(n, 3)) + rng.normal(0.0, 0.4, size=(n, 3))
    fails = rng.random(n) < 1 / (1 + np.exp(-6 * standard[np.arange(n), part]))
    age = np.repeat(rng.uniform(-1.5, 1.5, size=n_machines), 5)
    logs = []
    for own in kind:
        count = int(rng.integers(3, 7))
        often = count // 2 + 1
        others = 2 + (own - 2 + rng.integers(1, 6, size=count - often)) % 6
        after = rng.permutation(np.concatenate([np.full(often, own), others]))
        log = np.concatenate([rng.integers(2, VOCAB, size=rng.integers(0, 8)), [1], after])
        logs.append(world.kinds[log].tolist())
    X = np.column_stack([world.signs * standard, age])[:, world.columns] * world.units + world.offsets
    return Records(X, logs, world.classes[np.where(fails, part + 1, 0)], standard, part)


def readings_alone(world: World, records: Records) -> float:
    """How often the best rule is right that knows everything about the readings, and nothing of the log."""
    chance = 1 / (1 + np.exp(-6 * records.standard))
    best = np.column_stack([1 - chance.mean(axis=1), chance / 3]).argmax(axis=1)
    return float(np.mean(world.classes[best] == records.y))


def system_on_fresh(student: Any, rng: Rng) -> tuple[World, Array, Records, Array]:
    """The student's own system, fitted on 2,500 records, and its probabilities for 2,000 fresh ones."""
    world = draw_world(rng)
    known, val, fresh = (draw_records(world, machines, rng) for machines in (500, 200, 400))
    system = student.call("fit_system", *known[:3], *val[:3], 4, rng, keep=True)
    probs = numbers(student.predict(system, fresh.X, fresh.logs), (2000, 4), "the probabilities")
    return world, known.y, fresh, probs


@training("at least 95 % on records it has never seen", 4, "fit_system", "predict", cpu_s=30.0)
def reaches_target(student: Any, rng: Rng) -> None:
    # docs/projects.md has the 20 seeds.
    world, known, fresh, probs = system_on_fresh(student, rng)
    right = float(np.mean(probs.argmax(axis=1) == fresh.y))
    majority = float(np.mean(fresh.y == np.bincount(known).argmax()))
    alone = readings_alone(world, fresh)
    beside = (
        f"It is right {100 * right:.2f} times in 100. The most frequent class is right {100 * majority:.1f} times, and "
        f"the rule that is best in the long run without the log {100 * alone:.1f} times."
    )
    holds(right > max(majority, alone), "the system is no better than without a log, or without any data.", beside)
    text = "on 2,000 fresh records the system should be right at least 95 times in 100."
    below(1 - right, 1 - TARGET + 1e-9, text, beside)


@training("its probabilities can be trusted", 2, "fit_system", "predict", cpu_s=30.0)
def calibrated(student: Any, rng: Rng) -> None:
    _, _, fresh, probs = system_on_fresh(student, rng)
    good = probs.min() >= 0 and np.abs(probs.sum(axis=1) - 1).max() < 1e-6
    holds(bool(good), "each row of the probabilities should sum to one, with nothing below 0.")
    chosen = np.maximum(probs[np.arange(2000), fresh.y], 1e-300)
    loss = float(-np.log(chosen).mean())
    text = "on 2,000 fresh records the cross-entropy of the probabilities should be at most 0.15 nats."
    below(loss, LOSS_LIMIT, text, f"It is {loss:.4f} nats.")
    ece = calibration.expected_calibration_error(probs, fresh.y)
    text = "on 2,000 fresh records the expected calibration error (10 bins) should be at most 0.025."
    below(ece, ECE_LIMIT, text, f"It is {ece:.4f}.")


SYSTEM = Exercise(
    name="system",
    title="Stage 6: from raw records to trusted answers",
    functions=("fit_system", "predict"),
    hints=(
        "Which of the numbers that the system keeps may come from which set?",
        "Scaler: training readings. Network: training set, with the validation set to stop. Temperature: validation "
        "logits. predict uses all of them and computes none.",
        "fit_scaler(X), apply it to both sets, pad both, train with the options, forward the validation set in "
        "evaluation into fit_temperature. predict: scaler, padding, forward, divide by the temperature, softmax.",
    ),
    checks=(
        scaler_of_system,
        rest_of_system,
        numeric(
            "answers to raw records",
            1,
            "predict",
            answered,
            [
                Case("seven records, one with a long log", asked_case(7)),
                Case("a single record", asked_case(1)),
                Case("logits of thousands", asked_case(3, loud=4000.0)),
            ],
        ),
        reaches_target,
        calibrated,
    ),
    mistakes=(
        Mistake(
            name="scaler-sees-the-validation-set",
            advice="The scaler belongs to what is learned: fit it on the training readings alone.",
            replaces={"fit_system": system_with(lambda X, X_val: np.concatenate([X, X_val]))},
            variants=({"fit_system": system_with(lambda X, X_val: X_val)},),
        ),
        Mistake(
            name="validation-set-scaled-by-itself",
            advice="Validation readings are scaled with the TRAINING scaler, as every later record will be.",
            replaces={"fit_system": system_with(val_scaler=True)},
        ),
        Mistake(
            name="temperature-from-the-training-set",
            advice="On what it learned a network is right too often; fit the temperature on the validation set.",
            replaces={"fit_system": system_with(temperature_from="training")},
        ),
        Mistake(
            name="temperature-in-training-mode",
            advice="The logits for the temperature come from a pass in evaluation, as those of predict do.",
            replaces={"fit_system": system_with(temperature_from="training mode")},
        ),
        Mistake(
            name="temperature-left-at-one",
            advice="The temperature is always 1 in yours: fit it.",
            replaces={"fit_system": system_with(temperature_from="nothing")},
        ),
        Mistake(
            name="new-records-scaled-by-themselves",
            advice="predict uses the system's scaler. Fitted on the records in question, answers depend on company.",
            replaces={"predict": answered_with(refit=True)},
        ),
        Mistake(
            name="temperature-not-used",
            advice="Divide the logits by the system's temperature before the softmax.",
            replaces={"predict": answered_with(temperature=lambda t: 1.0)},
        ),
        Mistake(
            name="multiplied-by-the-temperature",
            advice="The logits are DIVIDED by the temperature.",
            replaces={"predict": answered_with(temperature=lambda t: 1 / t)},
        ),
        Mistake(
            name="predicts-in-training-mode",
            advice="Predict in evaluation: with the batch's statistics an answer depends on the other records.",
            replaces={"predict": answered_with(training=True)},
        ),
        Mistake(
            name="logits-returned",
            advice="Probabilities are asked for: a softmax of the scaled logits.",
            replaces={"predict": answered_with(raw=True)},
        ),
    ),
)

# --- the picture -----------------------------------------------------------------------------------------------------

PLAIN = World(np.arange(8), np.arange(4), np.ones(4), np.zeros(4), np.ones(3), np.arange(4))


def draw_picture(student: Any, figure: Any) -> None:
    """The student's system: losses of its run, reliability, what it attends to, and which readings decided."""
    (upper_left, upper_right), (lower_left, lower_right) = figure.subplots(2, 2)
    rng = np.random.default_rng(340)
    known, val, fresh = (draw_records(PLAIN, machines, rng) for machines in (500, 200, 400))
    student.cpu_s = 30.0
    system = student.call("fit_system", *known[:3], *val[:3], 4, rng)
    history = entry(system, "history", "the system")
    upper_left.semilogy(history["train_loss"], color="C7", marker=".", lw=1, label="training")
    upper_left.semilogy(history["val_loss"], color="C0", marker=".", lw=1.5, label="validation")
    upper_left.axvline(history["best_epoch"], color="k", lw=0.8, ls=":", label="best epoch")
    upper_left.set(xlabel="epoch", ylabel="cross-entropy (nats)", title="The losses of your run")
    upper_left.legend(frameon=False, fontsize=8)

    probs = numbers(student.predict(system, fresh.X, fresh.logs), (2000, 4), "the probabilities")
    right = float(np.mean(probs.argmax(axis=1) == fresh.y))
    counts, confidence, accuracy = (numbers(part, (10,)) for part in student.reliability(probs, fresh.y, 10))
    ece = float(student.calibration_error(probs, fresh.y, 10))
    filled = counts > 0
    upper_right.plot([0.25, 1], [0.25, 1], color="k", lw=0.8, ls=":", label="perfect calibration")
    upper_right.plot(confidence[filled], accuracy[filled], color="C0", lw=0.8)
    sizes = 12 + 60 * np.sqrt(counts[filled] / counts.max())
    upper_right.scatter(
        confidence[filled], accuracy[filled], s=sizes, color="C0", label="your system (larger: more records)"
    )
    upper_right.set(
        xlabel="confidence", ylabel="share that is right", xlim=(0.25, 1.04), ylim=(0, 1.06),
        title=f"Fresh records: {100 * right:.1f} % right, ECE {ece:.3f}",
    )  # fmt: skip
    upper_right.legend(frameon=False, fontsize=8, loc="lower right")

    scaler, params, state = (entry(system, key, "the system") for key in ("scaler", "params", "state"))
    X = numbers(student.apply_scaler(fresh.X, scaler), (2000, 4), "the standardised readings")
    tokens = pad(fresh.logs, LENGTH)
    rows = [int(np.flatnonzero(fresh.part == part)[5 + k]) for k in range(2) for part in range(3)]
    shown = items(student.call("forward", X[rows], tokens[rows], params, state, False, keep=(2,)), FORWARD_ITEMS)
    weights = numbers(shown[1], (6, LENGTH), "the weights")
    image = lower_left.imshow(np.where(tokens[rows] > 0, weights, np.nan), cmap="Blues", vmin=0, aspect="auto")
    for row, log in enumerate(tokens[rows]):
        for place in np.flatnonzero(log):
            dark = weights[row, place] > 0.6 * weights.max()
            label = "R" if log[place] == 1 else str(log[place])
            lower_left.text(place, row, label, ha="center", va="center", fontsize=8, color="w" if dark else "k")
    lower_left.set_yticks(range(6), [f"part {fresh.part[row]}" for row in rows], fontsize=8)
    lower_left.set(xlabel="place in the log (R: restart)", title="What attention weighs in six logs")
    figure.colorbar(image, ax=lower_left, label="weight", shrink=0.9)

    few = np.arange(300)
    given = student.integrated_gradients(X[few], tokens[few], fresh.part[few] + 1, params, state)
    size = np.abs(numbers(given, (300, 4), "the attributions"))
    table = np.array([size[fresh.part[few] == part].mean(axis=0) for part in range(3)])
    image = lower_right.imshow(table, cmap="Oranges", vmin=0, aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        dark = value > 0.6 * table.max()
        lower_right.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color="w" if dark else "k")
    lower_right.set_xticks(range(4), ["temperature", "pressure", "vibration", "age"], fontsize=8)
    lower_right.set_yticks(range(3), [f"part {part}" for part in range(3)], fontsize=8)
    lower_right.set(xlabel="reading", ylabel="part in question", title="Mean |attribution| to that part's logit")
    figure.colorbar(image, ax=lower_right, label="logit", shrink=0.9)


CHAPTER = Chapter(
    id="ch340",
    slug="capstone",
    title="Capstone II: End-to-End Deep Learning System",
    part="Capstone",
    summary="A whole system on readings and event logs: a split without a leak, an LSTM with attention pooling beside "
    "a table, every gradient, warm-up and early stopping, 95 % on fresh records, calibration and attribution.",
    builds_on=("ch310", "ch311", "ch312", "ch313", "ch318", "ch320", "ch321", "ch331", "ch334"),
    exercises=(
        DOMINANT,
        SPLIT,
        PAD,
        SCALER,
        ATTENTION_POOL,
        HEAD,
        FORWARD,
        POOL_BACKWARD,
        HEAD_BACKWARD,
        BACKWARD,
        CROSS_ENTROPY,
        RATE,
        STOPPING,
        TRAIN_STEP,
        TRAIN,
        EVALUATE,
        CALIBRATION,
        TEMPERATURE,
        ATTRIBUTION,
        SYSTEM,
    ),
    picture=Picture(title="Your whole system", draw=draw_picture),
)
