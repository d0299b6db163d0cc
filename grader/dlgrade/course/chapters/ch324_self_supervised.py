"""Checks of chapter 324: contrastive losses of unit rows with their gradients, hidden words, and the next word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from dlreference import contrastive as ref

from dlgrade.course.compare import Wrong, below, items, numbers
from dlgrade.course.kinds import (
    Case,
    GradientCase,
    Rng,
    case_of,
    gradient,
    loss_gradient,
    numeric,
    picked,
    prop,
    unchanged,
)
from dlgrade.course.spec import Chapter, Check, Exercise, Mistake, Picture
from dlgrade.sandbox.session import Call

Array = np.ndarray[Any, Any]


def floats(value: Any) -> Array:
    return np.asarray(value, dtype=np.float64)


def unit(z: Any) -> Array:
    return ref.normalize_rows(z)[0]


def unit_backward(dout: Any, z: Any) -> Array:
    return ref.normalize_rows_backward(dout, *ref.normalize_rows(z))


def softmax_rows(s: Array) -> Array:
    shifted = np.exp(s - s.max(axis=1, keepdims=True))
    return floats(shifted / shifted.sum(axis=1, keepdims=True))


def log_sum(s: Array) -> Array:
    return floats(np.logaddexp.reduce(s, axis=1))


def refused(name: str, points: int, function: str, cases: dict[str, Callable[[Rng], tuple[Any, ...]]]) -> Check:
    """The function raises ValueError for each of these arguments."""

    @prop(name, points, function)
    def check(student: Any, rng: Rng) -> None:
        for reason, draw in cases.items():
            call = Call(function, draw(rng))
            [reply] = student.batch([call])
            with case_of(reason, call):
                if reply.status == "error" and reply.detail.get("type") == "ValueError":
                    continue
                if reply.status == "ok":
                    raise Wrong(f"a ValueError is asked for here, but `{function}` returned an answer.")
                student.answer(call, reply)

    return check


def all_gradients(
    name: str,
    points: int,
    function: str,
    reference: Callable[..., Any],
    arguments: tuple[str, ...],
    cases: dict[str, Callable[[Rng], tuple[Any, ...]]],
) -> Check:
    """The gradients that a loss returns after its value: one for each of its first arguments."""
    returned = ("loss", *(f"d{argument}" for argument in arguments))

    def inputs_of(draw: Callable[[Rng], tuple[Any, ...]]) -> Callable[[Rng], dict[str, Any]]:
        return lambda rng: {"args": list(draw(rng))}

    def grads(student: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        answer = items(student.call(function, *inputs["args"]), returned)
        return {f"args.{i}": answer[i + 1] for i in range(len(arguments))}

    return gradient(
        name,
        points,
        (function,),
        [GradientCase(reason, inputs_of(draw)) for reason, draw in cases.items()],
        value=lambda student, inputs: picked(student.call(function, *inputs["args"]), 0, "the loss"),
        grads=grads,
        reference=lambda inputs: {f"args.{i}": reference(*inputs["args"])[i + 1] for i in range(len(arguments))},
        names={f"args.{i}": f"the gradient of {argument}" for i, argument in enumerate(arguments)},
    )


# --- unit rows -------------------------------------------------------------------------------------------------------


def rows_case(n: int, d: int, scale: float = 1.0) -> Callable[[Rng], tuple[Any, ...]]:
    return lambda rng: (scale * rng.normal(size=(n, d)),)


# Rows so short that their direction turns within any step of a difference.
TINY = 1 / 3000


def shrunk(draw: Callable[[Rng], tuple[Any, ...]]) -> Callable[[Rng], tuple[Any, ...]]:
    """The same arguments, the arrays among them tiny."""
    return lambda rng: tuple(TINY * arg if isinstance(arg, np.ndarray) else arg for arg in draw(rng))


def normalize_inputs(n: int, d: int, scale: float = 1.0) -> Callable[[Rng], dict[str, Any]]:
    return lambda rng: {"z": scale * rng.normal(size=(n, d)), "dout": rng.normal(size=(n, d))}


def over(length: Callable[[Array], Any]) -> Callable[[Any], Array]:
    """Rows divided by another length."""
    return lambda z: floats(floats(z) / length(floats(z)))


def nb_with(part: Callable[[Array, Array, Array], Array]) -> Callable[..., Array]:
    """Another backward, from dout, the unit rows and their lengths."""
    return lambda dout, z: part(floats(dout), *ref.normalize_rows(z))


def along(dout: Array, u: Array) -> Array:
    return floats(u * (u * dout).sum(axis=1, keepdims=True))


UNIT_ROWS = Exercise(
    name="unit_rows",
    title="Only the direction counts",
    functions=("normalize", "normalize_backward"),
    hints=(
        "Over which axis do you sum the squares, so that every row has a length of its own?",
        "keepdims=True keeps the lengths as a column that divides the rows. For the gradient: what does not change the "
        "direction of z cannot change u.",
        "u is z / length with length = np.sqrt(np.sum(z**2, axis=1, keepdims=True)). Backward: take u times the "
        "row's sum "
        "of u * dout off dout, and divide by the length.",
    ),
    checks=(
        numeric(
            "rows of length one",
            4,
            "normalize",
            unit,
            [
                Case("four rows", rows_case(4, 3)),
                Case("as many rows as columns", rows_case(3, 3)),
                Case("one row", rows_case(1, 5)),
                Case("long rows", rows_case(2, 3, 1e6)),
                Case("very short rows", rows_case(2, 3, TINY)),
                Case("rows shorter than a billionth", rows_case(2, 3, 1e-10)),
                Case("lists of whole numbers", lambda rng: ([[3, -4], [0, 2]],)),
            ],
        ),
        gradient(
            "gradient of the direction",
            7,
            ("normalize_backward",),
            [
                GradientCase("four rows", normalize_inputs(4, 3)),
                GradientCase("as many rows as columns", normalize_inputs(3, 3)),
                GradientCase("long rows", normalize_inputs(2, 5, 30.0)),
                GradientCase("very short rows", normalize_inputs(2, 3, TINY)),
            ],
            value=lambda student, inputs: student.normalize(inputs["z"]),
            grads=lambda student, inputs: {"z": student.normalize_backward(inputs["dout"], inputs["z"])},
            reference=lambda inputs: {"z": unit_backward(inputs["dout"], inputs["z"])},
        ),
        unchanged(
            1, {"normalize": rows_case(3, 2), "normalize_backward": lambda rng: tuple(rng.normal(size=(2, 3, 2)))}
        ),
    ),
    mistakes=(
        Mistake(
            name="columns-normalized",
            advice="Every ROW is divided by its length: sum the squares along axis 1.",
            replaces={"normalize": over(lambda z: np.linalg.norm(z, axis=0))},
        ),
        Mistake(
            name="one-length-for-all",
            advice="Every row has a length of its own; yours divides all by one number.",
            replaces={"normalize": over(np.linalg.norm)},
        ),
        Mistake(
            name="length-without-root",
            advice="The length is the ROOT of the sum of squares.",
            replaces={"normalize": over(lambda z: (z**2).sum(axis=1, keepdims=True))},
        ),
        Mistake(
            name="sum-of-sizes",
            advice="The length is the root of the sum of squares, not the sum of absolute values.",
            replaces={"normalize": over(lambda z: np.abs(z).sum(axis=1, keepdims=True))},
        ),
        Mistake(
            name="part-along-not-removed",
            advice="A step along z changes its length only, which is divided out: take that part off dout.",
            replaces={"normalize_backward": nb_with(lambda dout, u, length: dout / length)},
        ),
        Mistake(
            name="not-divided-by-the-length",
            advice="A long row turns less by the same step: divide the gradient by the length.",
            replaces={"normalize_backward": nb_with(lambda dout, u, length: dout - along(dout, u))},
        ),
        Mistake(
            name="projection-of-z-itself",
            advice="The part along z is u (u . dout) with the UNIT row u, not z (z . dout).",
            replaces={
                "normalize_backward": nb_with(lambda dout, u, length: (dout - length**2 * along(dout, u)) / length)
            },
        ),
        Mistake(
            name="part-along-added",
            advice="The part of dout along the row is taken off, not added.",
            replaces={"normalize_backward": nb_with(lambda dout, u, length: (dout + along(dout, u)) / length)},
        ),
    ),
)

# --- InfoNCE and CLIP ------------------------------------------------------------------------------------------------


def pairs(n: int, d: int, temperature: float, scale: float = 1.0) -> Callable[[Rng], tuple[Any, ...]]:
    return lambda rng: (scale * rng.normal(size=(n, d)), rng.normal(size=(n, d)), temperature)


def in_with(
    heat: Callable[[float], float] = lambda t: 1 / t,
    raw: bool = False,
    columns: bool = False,
    without_own: bool = False,
    total: bool = False,
    slope_heat: bool = True,
    slope_raw: bool = False,
    transposed: bool = True,
    naive: bool = False,
) -> Callable[..., Any]:
    """InfoNCE with another factor on the cosines, other candidates, another mean, or parts of the gradient missing."""

    def info_nce(queries: Any, keys: Any, temperature: float) -> Any:
        q, k = (floats(queries), floats(keys)) if raw else (unit(queries), unit(keys))
        n, factor = len(q), heat(temperature)
        s = factor * (q @ k.T)
        s = s.T if columns else s
        candidates = np.where(np.eye(n, dtype=bool), -np.inf, s) if without_own else s
        if naive:
            p = np.exp(s) / np.exp(s).sum(axis=1, keepdims=True)
            loss = -np.log(np.diag(p))
        else:
            p, loss = softmax_rows(candidates), log_sum(candidates) - np.diag(s)
        ds = (p - np.eye(n)) / (1 if total else n)
        ds = ds.T if columns else ds
        ds = factor * ds if slope_heat else ds
        dq, dk = ds @ k, (ds.T if transposed else ds) @ q
        if not (raw or slope_raw):
            dq, dk = unit_backward(dq, queries), unit_backward(dk, keys)
        return float(loss.sum() if total else loss.mean()), dq, dk

    return info_nce


INFO_NCE_GRADIENTS = {
    "four pairs": pairs(4, 3, 0.5),
    "as many pairs as columns": pairs(3, 3, 0.2),
    "long queries": pairs(3, 2, 0.1, 20.0),
    "a temperature of 0.001": pairs(4, 5, 0.001),
    "very short rows": shrunk(pairs(3, 3, 0.5)),
}

INFO_NCE = Exercise(
    name="info_nce",
    title="Which key fits?",
    functions=("info_nce",),
    hints=(
        "Each query is a question with n possible answers. Which loss do you know for that, and what is the "
        "right class?",
        "The logits are the table of all cosines over the temperature, (n, n); the right answers are on its diagonal. "
        "`log_softmax` is given, and stays finite.",
        "dlogits is (softmax - identity) / n. Then dq = dlogits @ k / temperature and dk = dlogits.T @ q / "
        "temperature, "
        "and both go back through your normalize_backward.",
    ),
    checks=(
        numeric(
            "the loss",
            4,
            "info_nce",
            ref.info_nce,
            [
                Case("four pairs", pairs(4, 3, 0.5)),
                Case("long queries", pairs(3, 3, 0.2, 50.0)),
                Case("a single pair, which leaves no choice", pairs(1, 4, 0.5)),
            ],
            pick=0,
            result="the loss",
        ),
        numeric(
            "finite at a temperature of 0.001",
            2,
            "info_nce",
            ref.info_nce,
            [Case("five pairs", pairs(5, 4, 0.001)), Case("two pairs", pairs(2, 2, 0.001))],
            pick=0,
            result="the loss",
        ),
        all_gradients("both gradients", 8, "info_nce", ref.info_nce, ("queries", "keys"), INFO_NCE_GRADIENTS),
        unchanged(1, {"info_nce": pairs(3, 2, 0.5)}),
    ),
    mistakes=(
        Mistake(
            name="temperature-multiplied",
            advice="The cosines are DIVIDED by the temperature: a low temperature makes the differences larger.",
            replaces={"info_nce": in_with(heat=lambda t: t)},
        ),
        Mistake(
            name="rows-not-normalized",
            advice="The logits are cosines: divide every row by its length first, so that longer rows are not "
            "favoured.",
            replaces={"info_nce": in_with(raw=True)},
        ),
        Mistake(
            name="softmax-over-queries",
            advice="Each query chooses among the keys: the softmax runs along a row of the table.",
            replaces={"info_nce": in_with(columns=True)},
        ),
        Mistake(
            name="own-key-not-among-the-candidates",
            advice="The sum in the softmax is over ALL keys, the right one too.",
            replaces={"info_nce": in_with(without_own=True)},
        ),
        Mistake(
            name="info-nce-summed",
            advice="The loss is the mean over the queries, and its gradient too.",
            replaces={"info_nce": in_with(total=True)},
        ),
        Mistake(
            name="exponents-overflow",
            advice="At a low temperature np.exp of a logit is too large or too small for a float: use log_softmax.",
            replaces={"info_nce": in_with(naive=True)},
        ),
        Mistake(
            name="temperature-lost-in-the-gradient",
            advice="The logits are cosines divided by the temperature; so the gradient of the cosines is divided "
            "by it too.",
            replaces={"info_nce": in_with(slope_heat=False)},
        ),
        Mistake(
            name="gradient-stops-at-the-unit-rows",
            advice="The gradient is asked for at the rows as they came in: send it back through normalize_backward.",
            replaces={"info_nce": in_with(slope_raw=True)},
        ),
        Mistake(
            name="keys-gradient-not-transposed",
            advice="Key j meets every query in COLUMN j of the table: its gradient uses dlogits.T.",
            replaces={"info_nce": in_with(transposed=False)},
        ),
    ),
)


def cl_with(combine: Callable[..., Any]) -> Callable[..., Any]:
    """CLIP's loss put together in another way from its two directions, each (loss, dimages, dtexts)."""

    def clip_loss(images: Any, texts: Any, temperature: float) -> Any:
        forth = ref.info_nce(images, texts, temperature)
        loss, dtexts, dimages = ref.info_nce(texts, images, temperature)
        return combine(forth, (loss, dimages, dtexts))

    return clip_loss


CLIP = Exercise(
    name="clip_loss",
    title="Pictures and captions",
    functions=("clip_loss",),
    hints=(
        "You have a loss that asks pictures for their captions. Can it also ask captions for their pictures?",
        "Call your info_nce twice, the second time with the two arguments exchanged, and take the mean of the losses.",
        "The second call returns its gradients in the order (texts, images): exchange them before you take the means.",
    ),
    checks=(
        numeric(
            "the mean of two losses",
            3,
            "clip_loss",
            ref.clip_loss,
            [Case("four pairs", pairs(4, 3, 0.5)), Case("a temperature of 0.001", pairs(3, 3, 0.001))],
            pick=0,
            result="the loss",
        ),
        all_gradients(
            "gradients of images and texts",
            6,
            "clip_loss",
            ref.clip_loss,
            ("images", "texts"),
            {
                "four pairs": pairs(4, 3, 0.5),
                "as many pairs as columns": pairs(3, 3, 0.2),
                "very short rows": shrunk(pairs(3, 3, 0.5)),
            },
        ),
        unchanged(1, {"clip_loss": pairs(3, 2, 0.5)}),
    ),
    mistakes=(
        Mistake(
            name="one-direction-only",
            advice="Texts are asked for their images as well: the loss is the mean of both directions.",
            replaces={"clip_loss": cl_with(lambda forth, back: forth)},
        ),
        Mistake(
            name="other-direction-only",
            advice="Images are asked for their texts as well: the loss is the mean of both directions.",
            replaces={"clip_loss": cl_with(lambda forth, back: back)},
        ),
        Mistake(
            name="directions-summed",
            advice="The loss is the mean of the two directions, half their sum.",
            replaces={"clip_loss": cl_with(lambda forth, back: tuple(a + b for a, b in zip(forth, back, strict=True)))},
        ),
        Mistake(
            name="gradients-not-exchanged-back",
            advice="In the second call texts and images change places, and so do the gradients that come back.",
            replaces={
                "clip_loss": cl_with(
                    lambda f, b: ((f[0] + b[0]) / 2, (f[1] + b[2]) / 2, (f[2] + b[1]) / 2),
                )
            },
        ),
    ),
)

# --- NT-Xent ---------------------------------------------------------------------------------------------------------


def views(n: int, d: int, temperature: float, scale: float = 1.0) -> Callable[[Rng], tuple[Any, ...]]:
    """2n rows, of different lengths."""
    return lambda rng: (scale * rng.normal(size=(2 * n, d)) * rng.uniform(0.5, 3, size=(2 * n, 1)), temperature)


def apart(rng: Rng) -> Array:
    """One pair, nearly opposite: the only candidate has a cosine of almost -1."""
    z = rng.normal(size=3)
    return np.stack([z, -2 * z + 0.01 * rng.normal(size=3)])


def half_on(rows: Array) -> Array:
    return (rows + len(rows) // 2) % len(rows)


def nt_with(
    partner: Callable[[Array], Array] = half_on,
    itself: str = "out",
    heat: Callable[[float], float] = lambda t: 1 / t,
    raw: bool = False,
    without_partner: bool = False,
    weights: Callable[[int], Array] = lambda n: np.full(n, 1 / n),
    one_sided: bool = False,
    slope_raw: bool = False,
    naive: bool = False,
    odd_allowed: bool = False,
) -> Callable[..., Any]:
    """NT-Xent with other partners or candidates, another mean, or a gradient that lacks a part.

    A row itself is left "out" of its candidates, is "in" among them, or counts with a similarity of "zero".
    """

    def nt_xent(z: Any, temperature: float) -> Any:
        z = floats(z)
        if len(z) % 2 and not odd_allowed:
            raise ValueError("an odd number of rows")
        u = z if raw else unit(z)
        n, factor = len(u), heat(temperature)
        rows = np.arange(n)
        own = partner(rows)
        s = factor * (u @ u.T)
        if itself != "in":
            s[rows, rows] = -np.inf if itself == "out" else 0.0
        candidates = s.copy()
        if without_partner:
            candidates[rows, own] = -np.inf
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            if naive:
                p = np.exp(s) / np.exp(s).sum(axis=1, keepdims=True)
                loss = -np.log(p[rows, own])
            else:
                p, loss = softmax_rows(candidates), log_sum(candidates) - s[rows, own]
            p[rows, own] -= 1
            ds = factor * p * weights(n)[:, None]
            if itself == "zero":
                ds[rows, rows] = 0
            du = (ds if one_sided else ds + ds.T) @ u
            return float(loss @ weights(n)), du if raw or slope_raw else unit_backward(du, z)

    return nt_xent


@prop("following the gradient brings partners together", 4, "nt_xent")
def learns(student: Any, rng: Rng) -> None:
    z = rng.normal(size=(8, 4))
    for _ in range(60):
        answer = items(student.nt_xent(z, 0.5), ("loss", "dz"))
        z = z - 2.0 * numbers(answer[1], (8, 4), "the gradient")
        # A wrong gradient may run away; the rows are compared by direction alone.
        z = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    cosine = float((unit(z)[:4] * unit(z)[4:]).sum(axis=1).mean())
    below(
        1 - cosine,
        0.2,
        "after 60 steps down your gradient, the two views of each of four things should point the same way.",
        f"Their mean cosine is {cosine:.3f}.",
    )


NT_XENT = Exercise(
    name="nt_xent",
    title="Two views of one thing",
    functions=("nt_xent",),
    hints=(
        "For row i there are 2N - 1 candidates. Which row is missing, and which is the right one?",
        "Make the whole table of cosines over the temperature, and put -np.inf on its diagonal: then log_softmax "
        "leaves "
        "every row out of its own sum. The partners are (rows + N) % (2 * N).",
        "ds is (softmax with 1 taken off at the partner) / 2N. Row i of z is in row i AND in column i of the "
        "table, so du "
        "is (ds + ds.T) @ u / temperature, and then comes normalize_backward.",
    ),
    checks=(
        numeric(
            "the loss",
            5,
            "nt_xent",
            ref.nt_xent,
            [
                Case("four things", views(4, 3, 0.5)),
                Case("two things, long rows", views(2, 5, 0.1, 100.0)),
                Case("identical views", lambda rng: (np.tile(rng.normal(size=(3, 4)), (2, 1)), 0.5)),
                Case("a single pair", views(1, 3, 0.5)),
            ],
            pick=0,
            result="the loss",
        ),
        numeric(
            "finite at a temperature of 0.001",
            3,
            "nt_xent",
            ref.nt_xent,
            [
                Case("four things", views(4, 3, 0.001)),
                Case("two things", views(2, 2, 0.001)),
                Case("a single pair that points apart", lambda rng: (apart(rng), 0.001)),
            ],
            pick=0,
            result="the loss",
        ),
        loss_gradient(
            "its gradient",
            9,
            "nt_xent",
            ref.nt_xent,
            [
                Case("four things", views(4, 3, 0.5)),
                Case("two things in four columns", views(2, 4, 0.2)),
                Case("a temperature of 0.001", views(3, 3, 0.001)),
                Case("very short rows", shrunk(views(2, 3, 0.5))),
            ],
        ),
        refused(
            "an odd number of rows is refused", 1, "nt_xent", {"five rows": lambda rng: (rng.normal(size=(5, 2)), 0.5)}
        ),
        learns,
        unchanged(1, {"nt_xent": views(2, 3, 0.5)}),
    ),
    mistakes=(
        Mistake(
            name="itself-among-the-candidates",
            advice="A row is always most like itself: leave it out of its own sum.",
            replaces={"nt_xent": nt_with(itself="in")},
        ),
        Mistake(
            name="itself-counts-as-zero",
            advice="e^0 is 1, so a similarity of 0 still counts in the sum; minus infinity does not.",
            replaces={"nt_xent": nt_with(itself="zero")},
        ),
        Mistake(
            name="partner-next-door",
            advice="The views of thing i are rows i and i + N, not rows 2i and 2i + 1.",
            replaces={"nt_xent": nt_with(partner=lambda rows: rows ^ 1)},
        ),
        Mistake(
            name="partner-mirrored",
            advice="The partner of row i is row (i + N) mod 2N; yours counts from the other end.",
            replaces={"nt_xent": nt_with(partner=lambda rows: rows[::-1].copy())},
        ),
        Mistake(
            name="first-half-only",
            advice="All 2N rows ask for their partner, the second views too: the mean is over 2N.",
            replaces={"nt_xent": nt_with(weights=lambda n: np.where(np.arange(n) < n // 2, 2 / n, 0.0))},
        ),
        Mistake(
            name="mean-over-half",
            advice="The sum is over 2N rows, so it is divided by 2N, not by N.",
            replaces={"nt_xent": nt_with(weights=lambda n: np.full(n, 2 / n))},
        ),
        Mistake(
            name="nt-xent-summed",
            advice="The loss is the mean over the 2N rows, and its gradient too.",
            replaces={"nt_xent": nt_with(weights=np.ones)},
        ),
        Mistake(
            name="nt-xent-temperature-multiplied",
            advice="The cosines are DIVIDED by the temperature.",
            replaces={"nt_xent": nt_with(heat=lambda t: t)},
        ),
        Mistake(
            name="views-not-normalized",
            advice="The similarities are cosines: divide every row by its length first.",
            replaces={"nt_xent": nt_with(raw=True)},
        ),
        Mistake(
            name="partner-not-among-the-candidates",
            advice="The sum below the line has all rows but i itself: the partner is one of them.",
            replaces={"nt_xent": nt_with(without_partner=True)},
        ),
        Mistake(
            name="nt-xent-exponents-overflow",
            advice="At a low temperature np.exp of a logit is too large for a float: use log_softmax.",
            replaces={"nt_xent": nt_with(naive=True)},
        ),
        Mistake(
            name="gradient-of-the-asking-row-only",
            advice="A row is compared with by all others, too: its gradient has a part from its column of the table.",
            replaces={"nt_xent": nt_with(one_sided=True)},
        ),
        Mistake(
            name="nt-xent-gradient-at-the-unit-rows",
            advice="The gradient is asked for at the rows as they came in: send it back through normalize_backward.",
            replaces={"nt_xent": nt_with(slope_raw=True)},
        ),
        Mistake(
            name="odd-row-accepted",
            advice="With an odd number of rows one has no partner: raise ValueError.",
            replaces={"nt_xent": nt_with(odd_allowed=True)},
        ),
    ),
)

# --- triplets --------------------------------------------------------------------------------------------------------


def triplets(b: int, d: int, margin: float, scale: float = 1.0) -> Callable[[Rng], tuple[Any, ...]]:
    """Triplets of which the first has its anchor at the negative, the last at the positive, and others anything."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        a, p, n = scale * rng.normal(size=(3, b, d))
        n[0] = 2 * a[0] + 0.1 * scale * rng.normal(size=d)
        if b > 1:
            p[-1] = 3 * a[-1] + 0.1 * scale * rng.normal(size=d)
            n[-1] = -a[-1] + 0.1 * scale * rng.normal(size=d)
        return a, p, n, margin

    return draw


def tr_with(
    hinge: bool = True,
    slope_hinge: bool = True,
    sign: float = 1.0,
    margin_sign: float = 1.0,
    raw: bool = False,
    share: Callable[[Array], Any] = lambda active: 1 / len(active),
    keep: tuple[float, float, float] = (1.0, 1.0, 1.0),
    slope_raw: bool = False,
) -> Callable[..., Any]:
    """A triplet loss without its bend, with another sign or mean, or with some gradients left at zero."""

    def triplet_loss(anchor: Any, positive: Any, negative: Any, margin: float) -> Any:
        parts = floats(anchor), floats(positive), floats(negative)
        a, p, n = parts if raw else tuple(unit(part) for part in parts)
        inside = margin_sign * margin + sign * ((n - p) * a).sum(axis=1)
        active = inside > 0
        weight = share(active)
        loss = float((np.maximum(inside, 0) if hinge else inside).sum() * weight)
        slope = sign * weight * (active if hinge and slope_hinge else np.ones(len(a)))[:, None]
        grads = [slope * (n - p), -slope * a, slope * a]
        if not (raw or slope_raw):
            grads = [unit_backward(g, part) for g, part in zip(grads, parts, strict=True)]
        return loss, *(k * g for k, g in zip(keep, grads, strict=True))

    return triplet_loss


TRIPLET = Exercise(
    name="triplet_loss",
    title="Nearer to this than to that",
    functions=("triplet_loss",),
    hints=(
        "What is the loss of a triplet that is already good enough, and what is its gradient?",
        "Compute the number inside max(0, ...) for each triplet. Where it is above 0, the loss has the slopes n "
        "- p at a, "
        "-a at p and a at n (all of them unit rows); elsewhere zero.",
        "share = (inside > 0)[:, None] / B. Then normalize_backward(share * (n - p), anchor), "
        "normalize_backward(-share * a, positive) and normalize_backward(share * a, negative).",
    ),
    checks=(
        numeric(
            "the loss",
            4,
            "triplet_loss",
            ref.triplet_loss,
            [
                Case("five triplets", triplets(5, 3, 0.2)),
                Case("long rows", triplets(4, 4, 0.5, 30.0)),
                Case("one triplet", triplets(1, 3, 0.2)),
                Case("no margin", triplets(5, 2, 0.0)),
            ],
            pick=0,
            result="the loss",
        ),
        all_gradients(
            "three gradients",
            8,
            "triplet_loss",
            ref.triplet_loss,
            ("anchor", "positive", "negative"),
            {
                "five triplets": triplets(5, 3, 0.2),
                "as many triplets as columns": triplets(3, 3, 0.5),
                "long rows": triplets(3, 4, 0.5, 30.0),
                "very short rows": shrunk(triplets(3, 3, 0.5)),
            },
        ),
        unchanged(1, {"triplet_loss": triplets(3, 2, 0.2)}),
    ),
    mistakes=(
        Mistake(
            name="good-triplets-rewarded",
            advice="A triplet that is good enough has the loss 0, not a negative one: take max(0, ...).",
            replaces={"triplet_loss": tr_with(hinge=False)},
        ),
        Mistake(
            name="good-triplets-still-pushed",
            advice="Where the loss is 0, the gradient is 0 too.",
            replaces={"triplet_loss": tr_with(slope_hinge=False)},
        ),
        Mistake(
            name="positive-and-negative-exchanged",
            advice="The loss falls when the anchor gets more like the POSITIVE: cos(a, n) has a plus, cos(a, p) "
            "a minus.",
            replaces={"triplet_loss": tr_with(sign=-1.0)},
        ),
        Mistake(
            name="margin-taken-off",
            advice="The margin makes the task harder: it is added inside of max.",
            replaces={"triplet_loss": tr_with(margin_sign=-1.0)},
        ),
        Mistake(
            name="products-instead-of-cosines",
            advice="The similarities are cosines: divide every row by its length first.",
            replaces={"triplet_loss": tr_with(raw=True)},
        ),
        Mistake(
            name="triplets-summed",
            advice="The loss is the mean over the batch, and so are the gradients.",
            replaces={"triplet_loss": tr_with(share=lambda active: 1.0)},
        ),
        Mistake(
            name="mean-over-active-triplets",
            advice="The mean is over all triplets of the batch, those with a loss of 0 too.",
            replaces={"triplet_loss": tr_with(share=lambda active: 1 / max(int(active.sum()), 1))},
        ),
        Mistake(
            name="only-the-anchor-moves",
            advice="Positive and negative are embeddings that are learned, too: they have gradients.",
            replaces={"triplet_loss": tr_with(keep=(1.0, 0.0, 0.0))},
        ),
        Mistake(
            name="product-gradient-for-the-cosine",
            advice="The cosine does not change with the length of a row: send the gradients through "
            "normalize_backward.",
            replaces={"triplet_loss": tr_with(slope_raw=True)},
        ),
    ),
)

# --- masking ---------------------------------------------------------------------------------------------------------


def masking_case(b: int, t: int, vocab: int, mask_id: int) -> Callable[[Rng], tuple[Any, ...]]:
    """Any tokens, the mask among them if it is one of the vocabulary."""
    return lambda rng: (
        rng.integers(vocab, size=(b, t)),
        vocab,
        mask_id,
        np.random.default_rng(int(rng.integers(1 << 62))),
    )


# In the small vocabulary every third random token is the mask.
MASKINGS = [
    Case("thirty sequences of forty tokens", masking_case(30, 40, 50, 49)),
    Case("one long sequence, a mask outside the vocabulary", masking_case(1, 400, 12, 12)),
    Case("three tokens, of which the second is the mask", masking_case(20, 100, 3, 1)),
]


def right_masking(tokens: Any, vocab_size: int, mask_id: int, rng: Rng) -> tuple[Array, Array]:
    made = ref.mask_tokens(tokens, vocab_size, mask_id, rng)
    return made.inputs, made.targets


def mt_with(
    chosen: Callable[[Array], Array] = lambda draw: draw < 0.15,
    put: Callable[..., Array] = lambda kind, tokens, mask, other: np.where(
        kind < 0.8, mask, np.where(kind < 0.9, other, tokens)
    ),
    asked: Callable[..., Array] = lambda chosen, kind: chosen,
    unasked: int | None = -100,
) -> Callable[..., Any]:
    """Masking that chooses, hides or asks otherwise, or marks what is not asked otherwise (None: with the token)."""

    def mask_tokens(tokens: Any, vocab_size: int, mask_id: int, rng: Rng) -> Any:
        tokens = np.asarray(tokens, dtype=np.int64)
        at, kind = chosen(rng.random(tokens.shape)), rng.random(tokens.shape)
        other = rng.integers(vocab_size, size=tokens.shape)
        inputs = np.where(at, put(kind, tokens, mask_id, other), tokens)
        return inputs, np.where(asked(at, kind), tokens, tokens if unasked is None else unasked)

    return mask_tokens


def mt_drawn(tokens_second: bool) -> Callable[..., Any]:
    """Masking whose random tokens are drawn before the kinds, or only for the positions that get one."""

    def mask_tokens(tokens: Any, vocab_size: int, mask_id: int, rng: Rng) -> Any:
        tokens = np.asarray(tokens, dtype=np.int64)
        chosen = rng.random(tokens.shape) < 0.15
        other = rng.integers(vocab_size, size=tokens.shape) if tokens_second else np.zeros_like(tokens)
        kind = rng.random(tokens.shape)
        random = chosen & (kind >= 0.8) & (kind < 0.9)
        if not tokens_second:
            other[random] = rng.integers(vocab_size, size=int(random.sum()))
        inputs = np.where(chosen & (kind < 0.8), mask_id, np.where(random, other, tokens))
        return inputs, np.where(chosen, tokens, -100)

    return mask_tokens


MASKING = Exercise(
    name="mask_tokens",
    title="Hide and ask",
    functions=("mask_tokens",),
    hints=(
        "Two questions for each position: is it chosen, and if so, what is put there? Each has a draw of its own.",
        "Make all three draws for all positions, whether chosen or not. np.where builds the hidden tokens, and another "
        "np.where puts them at the chosen positions only.",
        "inputs is np.where(chosen, hidden, tokens) and targets np.where(chosen, tokens, -100), where hidden is "
        "the mask "
        "for kind < 0.8, the random token for kind < 0.9, and else the token.",
    ),
    checks=(
        numeric(
            "what the model sees",
            6,
            "mask_tokens",
            right_masking,
            MASKINGS,
            pick=0,
            result="the array of inputs",
        ),
        numeric(
            "what the model is asked",
            5,
            "mask_tokens",
            right_masking,
            MASKINGS,
            pick=1,
            result="the array of targets",
        ),
        unchanged(1, {"mask_tokens": masking_case(4, 50, 20, 19)}),
    ),
    mistakes=(
        Mistake(
            name="all-chosen-masked",
            advice="Only 80 of 100 chosen tokens become the mask; 10 become a random token and 10 stay.",
            replaces={"mask_tokens": mt_with(put=lambda kind, tokens, mask, other: np.full(tokens.shape, mask))},
        ),
        Mistake(
            name="random-and-kept-exchanged",
            advice="From 0.8 to below 0.9 comes the random token, from 0.9 on the token stays.",
            replaces={
                "mask_tokens": mt_with(
                    put=lambda kind, tokens, mask, other: np.where(
                        kind < 0.8, mask, np.where(kind < 0.9, tokens, other)
                    )
                )
            },
        ),
        Mistake(
            name="none-kept",
            advice="A tenth of the chosen tokens stays as it is; yours all change.",
            replaces={
                "mask_tokens": mt_with(
                    put=lambda kind, tokens, mask, other: np.array(np.where(kind < 0.8, mask, other))
                )
            },
        ),
        Mistake(
            name="most-are-chosen",
            advice="15 of 100 positions are chosen, those where the draw is BELOW 0.15.",
            replaces={"mask_tokens": mt_with(chosen=lambda draw: draw >= 0.15)},
        ),
        Mistake(
            name="mask-taken-from-the-vocabulary",
            advice="What hides a token is mask_id, whichever number that is; it need not be the last of the "
            "vocabulary.",
            replaces={
                "mask_tokens": lambda tokens, vocab_size, mask_id, rng: right_masking(
                    tokens, vocab_size, vocab_size - 1, rng
                )
            },
        ),
        Mistake(
            name="other-draws",
            advice="Three draws of the shape (B, T), for all positions: whether it is chosen, what is put there, and "
            "which random token, in this order.",
            replaces={"mask_tokens": mt_drawn(tokens_second=True)},
            variants=({"mask_tokens": mt_drawn(tokens_second=False)},),
        ),
        Mistake(
            name="kept-tokens-not-asked",
            advice="All chosen positions are asked, also those where the token stays or is a random one.",
            replaces={"mask_tokens": mt_with(asked=lambda chosen, kind: chosen & (kind < 0.8))},
            variants=({"mask_tokens": mt_with(asked=lambda chosen, kind: chosen & (kind < 0.9))},),
        ),
        Mistake(
            name="every-token-asked",
            advice="A token that the model sees is no question: its target is -100.",
            replaces={"mask_tokens": mt_with(unasked=None)},
        ),
        Mistake(
            name="unasked-is-zero",
            advice="0 is a token; a position that is not asked has the target -100.",
            replaces={"mask_tokens": mt_with(unasked=0)},
            variants=({"mask_tokens": mt_with(unasked=-1)},),
        ),
    ),
)

# --- language modelling ----------------------------------------------------------------------------------------------


def masked_case(b: int, t: int, v: int, scale: float = 1.0) -> Callable[[Rng], tuple[Any, ...]]:
    """Targets with a different number asked in each sequence."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        targets = np.full((b, t), -100)
        for i in range(b):
            asked = rng.permutation(t)[: 1 + (2 * i + 1) % (t - 1)]
            targets[i, asked] = rng.integers(v, size=len(asked))
        return scale * rng.normal(size=(b, t, v)), targets

    return draw


def one_unasked(rng: Rng) -> tuple[Any, ...]:
    """The second sequence has nothing asked."""
    logits, targets = masked_case(3, 4, 3)(rng)
    targets[1] = -100
    return logits, targets


def causal_case(b: int, t: int, v: int, scale: float = 1.0) -> Callable[[Rng], tuple[Any, ...]]:
    return lambda rng: (scale * rng.normal(size=(b, t, v)), rng.integers(v, size=(b, t)))


def hopeless_masked(rng: Rng) -> tuple[Any, ...]:
    """The first word asked is so improbable that its loss covers the digits of all others."""
    logits, targets = masked_case(2, 3, 4)(rng)
    targets[0, 0] = 1
    logits[0, 0, 1] -= 1e8
    return logits, targets


def hopeless_causal(rng: Rng) -> tuple[Any, ...]:
    logits, tokens = causal_case(2, 3, 4)(rng)
    logits[0, 0, tokens[0, 1]] -= 1e8
    return logits, tokens


def scaled(function: Callable[..., Any], factor: Callable[[Array], float]) -> Callable[..., Any]:
    """The loss and the gradient times a number that depends on the targets or tokens."""

    def loss(logits: Any, answers: Any) -> Any:
        value, slope = function(logits, answers)
        by = factor(np.asarray(answers))
        return by * value, by * slope

    return loss


def asked_count(targets: Array) -> int:
    return int((targets != -100).sum())


def ml_all(logits: Any, targets: Any) -> Any:
    if asked_count(np.asarray(targets)) == 0:
        raise ValueError("nothing asked")
    return ref.masked_lm_loss(logits, np.where(np.asarray(targets) == -100, 0, targets))


def ml_by_sequence(logits: Any, targets: Any) -> Any:
    logits, targets = floats(logits), np.asarray(targets)
    if asked_count(targets) == 0:
        raise ValueError("nothing asked")
    parts = [ref.masked_lm_loss(logits[i : i + 1], targets[i : i + 1]) for i in range(len(targets))]
    slopes = np.concatenate([slope for _, slope in parts])
    return float(np.mean([loss for loss, _ in parts])), slopes / len(parts)


def ml_naive(logits: Any, targets: Any) -> Any:
    logits, targets = floats(logits), np.asarray(targets)
    if asked_count(targets) == 0:
        raise ValueError("nothing asked")
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        b, t = np.nonzero(targets != -100)
        loss = float(-np.log(p[b, t, targets[b, t]]).mean())
    p[b, t, targets[b, t]] -= 1
    return loss, p * (targets != -100)[..., None] / len(b)


def ml_nothing_asked(logits: Any, targets: Any) -> Any:
    if asked_count(np.asarray(targets)) == 0:
        return 0.0, np.zeros(np.shape(logits))
    return ref.masked_lm_loss(logits, targets)


def ml_last_kept(logits: Any, targets: Any) -> Any:
    """Gradient not zeroed where nothing is asked."""
    loss, slope = ref.masked_lm_loss(logits, targets)
    shifted = np.exp(floats(logits) - floats(logits).max(axis=-1, keepdims=True))
    p = shifted / shifted.sum(axis=-1, keepdims=True)
    return loss, np.where((np.asarray(targets) == -100)[..., None], p / asked_count(np.asarray(targets)), slope)


def cm_with(targets: Callable[[Array], Array]) -> Callable[..., Any]:
    """The next-token loss with other targets."""
    return lambda logits, tokens: ref.masked_lm_loss(logits, targets(np.asarray(tokens)))


def moved(tokens: Array, by: int) -> Array:
    """The tokens moved along; what comes in from outside is not asked."""
    out = np.full(tokens.shape, -100)
    if by > 0:
        out[:, by:] = tokens[:, :-by]
    else:
        out[:, :by] = tokens[:, -by:]
    return out


LANGUAGE = Exercise(
    name="language_models",
    title="The hidden word and the next word",
    functions=("masked_lm_loss", "causal_lm_loss"),
    hints=(
        "Which positions have an answer? Only those count, in the sum and in the number that it is divided by.",
        "np.nonzero(targets != -100) gives the places; logits at these places are a table (M, V) for the cross-entropy "
        "you know. The gradient is zero everywhere else.",
        "For the next word, make targets of -100 and put tokens[:, 1:] into targets[:, :-1]; then your masked "
        "loss does "
        "the rest.",
    ),
    checks=(
        loss_gradient(
            "hidden words: the gradient",
            3,
            "masked_lm_loss",
            ref.masked_lm_loss,
            [
                Case("three sequences", masked_case(3, 5, 4)),
                Case("one sequence", masked_case(1, 4, 3)),
                Case("logits in the thousands", masked_case(2, 4, 5, 3000.0)),
                Case("a loss of millions, where differences lose digits", hopeless_masked),
                Case("nothing asked in one sequence of three", one_unasked),
            ],
        ),
        numeric(
            "hidden words: the loss",
            3,
            "masked_lm_loss",
            ref.masked_lm_loss,
            [
                Case("three sequences", masked_case(3, 5, 4)),
                Case("as many words as places", masked_case(4, 4, 4)),
                Case("logits in the thousands", masked_case(2, 4, 5, 3000.0)),
            ],
            pick=0,
            result="the loss",
        ),
        refused(
            "nothing asked is refused",
            1,
            "masked_lm_loss",
            {"all targets are -100": lambda rng: (rng.normal(size=(2, 3, 4)), np.full((2, 3), -100))},
        ),
        numeric(
            "next words: the loss",
            3,
            "causal_lm_loss",
            ref.causal_lm_loss,
            [Case("three sequences", causal_case(3, 5, 4)), Case("two tokens", causal_case(1, 2, 3))],
            pick=0,
            result="the loss",
        ),
        loss_gradient(
            "next words: the gradient",
            4,
            "causal_lm_loss",
            ref.causal_lm_loss,
            [
                Case("three sequences", causal_case(3, 5, 4)),
                Case("as many as long", causal_case(4, 4, 4)),
                Case("a loss of millions, where differences lose digits", hopeless_causal),
            ],
        ),
        unchanged(1, {"masked_lm_loss": masked_case(2, 4, 3), "causal_lm_loss": causal_case(2, 4, 3)}),
    ),
    mistakes=(
        Mistake(
            name="mean-over-all-tokens",
            advice="The mean is over the positions that are asked, not over all B T (B (T - 1) for next words).",
            replaces={
                "masked_lm_loss": scaled(ref.masked_lm_loss, lambda targets: asked_count(targets) / targets.size)
            },
            variants=(
                {"causal_lm_loss": scaled(ref.causal_lm_loss, lambda tokens: (tokens.shape[1] - 1) / tokens.shape[1])},
            ),
        ),
        Mistake(
            name="loss-over-all-tokens",
            advice="Positions with the target -100 are not asked, and neither is the last one of next words: they "
            "have no part in the loss.",
            replaces={"masked_lm_loss": ml_all},
        ),
        Mistake(
            name="words-summed",
            advice="The loss is the mean over the positions that are asked, not the sum.",
            replaces={"masked_lm_loss": scaled(ref.masked_lm_loss, lambda targets: float(asked_count(targets)))},
            variants=({"causal_lm_loss": scaled(ref.causal_lm_loss, lambda tokens: float(tokens.size - len(tokens)))},),
        ),
        Mistake(
            name="mean-of-sequence-means",
            advice="Every position that is asked counts alike, in whichever sequence: one mean over all of them.",
            replaces={"masked_lm_loss": ml_by_sequence},
        ),
        Mistake(
            name="words-exponents-overflow",
            advice="np.exp of a logit in the thousands is no number any more: use log_softmax.",
            replaces={"masked_lm_loss": ml_naive},
        ),
        Mistake(
            name="nothing-asked-is-zero",
            advice="A mean over nothing is no number: raise ValueError if no position is asked.",
            replaces={"masked_lm_loss": ml_nothing_asked},
        ),
        Mistake(
            name="gradient-where-nothing-is-asked",
            advice="What is not asked does not change the loss: its gradient is zero.",
            replaces={"masked_lm_loss": ml_last_kept},
        ),
        Mistake(
            name="not-shifted",
            advice="At position t the model sees token t; the question is token t + 1.",
            replaces={"causal_lm_loss": cm_with(lambda tokens: tokens)},
            variants=({"causal_lm_loss": cm_with(lambda tokens: np.where(np.eye(tokens.shape[1])[-1], -100, tokens))},),
        ),
        Mistake(
            name="asks-for-the-word-before",
            advice="The question is the NEXT token: targets[:, t] is tokens[:, t + 1].",
            replaces={"causal_lm_loss": cm_with(lambda tokens: moved(tokens, 1))},
        ),
        Mistake(
            name="last-asked-for-the-first",
            advice="After the last token comes nothing that is known; np.roll asks it for the first.",
            replaces={"causal_lm_loss": cm_with(lambda tokens: np.roll(tokens, -1, axis=1))},
        ),
    ),
)


def draw_picture(student: Any, figure: Any) -> None:
    """Pairs of views before and after learning, the loss on the way, and what masking does to tokens."""
    left, middle, right = figure.subplots(1, 3)
    rng = np.random.default_rng(324)
    z = rng.normal(size=(16, 2))
    curve = []
    for step in range(121):
        loss, dz = student.nt_xent(z, 0.2)
        curve.append(float(loss))
        if step in (0, 120):
            u = np.asarray(student.normalize(z)) * (1.0 if step else 0.7)
            for i in range(8):
                left.plot(*u[[i, i + 8]].T, "o-" if step else "x:", color=f"C{i}", ms=5, lw=0.8)
        z = z - 0.5 * np.asarray(dz)
    left.set_aspect("equal")
    left.set_xlabel("first coordinate")
    left.set_ylabel("second coordinate")
    left.set_title("Two views of eight things\ninside: before, outside: after", fontsize=10)
    middle.plot(curve)
    middle.set_xlabel("step")
    middle.set_ylabel("NT-Xent loss")
    middle.set_title("Following the gradient", fontsize=10)
    tokens = np.tile(np.arange(40), (12, 1))
    inputs, targets = (np.asarray(a) for a in student.mask_tokens(tokens, 40, 40, rng))
    kinds = np.where(targets == -100, 0, np.where(inputs == 40, 1, np.where(inputs != tokens, 2, 3)))
    right.plot(*np.nonzero(kinds.T == 0), ".", color="0.85", ms=3, label="not asked")
    for kind, (marker, name) in enumerate((("s", "mask"), ("^", "random"), ("o", "as it is")), start=1):
        rows, columns = np.nonzero(kinds == kind)
        right.plot(columns, rows, marker, color=f"C{kind - 1}", ms=4, label=f"asked: {name}")
    right.set_xlabel("position")
    right.set_ylabel("sequence")
    right.set_title("What is hidden and asked", fontsize=10)
    right.set_ylim(14.5, -0.7)
    right.set_yticks(np.arange(0, 12, 2))
    right.legend(fontsize=7, loc="lower center", ncols=2, frameon=False)


CHAPTER = Chapter(
    id="ch324",
    slug="self_supervised",
    title="Self-Supervised Learning",
    part="Advanced models",
    summary="Contrastive losses with exact gradients, and the tasks of the hidden and of the next word.",
    builds_on=("ch305", "ch320"),
    exercises=(UNIT_ROWS, INFO_NCE, CLIP, NT_XENT, TRIPLET, MASKING, LANGUAGE),
    picture=Picture(title="Learning without labels", draw=draw_picture),
)
