"""The kinds of checks a chapter declares.

    numeric       equals the reference on drawn cases, each with a reason
    gradient      the student's gradient against the reference's, and told apart from one that fits a wrong forward
    prop          a function of (student, rng) that says what must hold whatever the numbers
    statistical   the same for random functions, with a stated false-alarm rate
    training      the same for a student's training run, with a CPU budget
    unchanged     no call changes its arguments

A student is asked through `student.call(name, *args)` or `student.name(*args)`; a call that fails ends the check.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from dlgrade.course.compare import ATOL, RTOL, Failure, Wrong, describe, holds, number_text, same
from dlgrade.course.spec import Check, Kind
from dlgrade.sandbox.protocol import ordinal
from dlgrade.sandbox.session import Call

Rng = np.random.Generator
Test = Callable[[Any, Rng], None]


class Case(msgspec.Struct, frozen=True):
    """One drawn call: `draw(rng)` gives the positional arguments, `reason` is shown when it fails."""

    reason: str
    draw: Callable[[Rng], tuple[Any, ...]]
    kwargs: dict[str, Any] = {}


class GradientCase(msgspec.Struct, frozen=True):
    """One drawn gradient: `draw(rng)` gives named inputs; "dout" among them is the random cotangent."""

    reason: str
    draw: Callable[[Rng], dict[str, Any]]


class _Drawn(msgspec.Struct, frozen=True):
    reason: str
    call: Call
    want: Any


def numeric(
    name: str,
    points: int,
    function: str,
    reference: Callable[..., Any],
    cases: Sequence[Case],
    *,
    pick: int | None = None,
    result: str = "the result",
    rtol: float = RTOL,
    atol: float = ATOL,
    cpu_s: float = 3.0,
    keep: tuple[int, ...] = (),
    alone: bool = True,
) -> Check:
    """The function's answer equals `reference(*args, **kwargs)` on every case.

    `pick` compares one item of a returned tuple only, with the same item of the reference's; `result` is its name.
    `keep` leaves items of the tuple with the student's process: a cache may be made of anything. `alone` as in `prop`.
    """

    def draw(rng: Rng) -> list[_Drawn]:
        drawn = []
        for case in cases:
            args = case.draw(rng)
            # A copy, for a reference that draws from a generator among the arguments would leave it advanced.
            want = reference(*copy.deepcopy(args), **case.kwargs)
            call = Call(function, args, case.kwargs, keep)
            drawn.append(_Drawn(case.reason, call, want if pick is None else want[pick]))
        return drawn

    def run(student: Any, drawn: list[_Drawn]) -> None:
        replies = student.batch([d.call for d in drawn])
        for d, reply in zip(drawn, replies, strict=True):
            with case_of(d.reason, d.call):
                answer = student.answer(d.call, reply)
                same(picked(answer, pick, result), d.want, result, rtol=rtol, atol=atol)

    return Check(
        name=name,
        kind="numeric",
        points=points,
        functions=(function,),
        draw=draw,
        run=run,
        cpu_s=cpu_s,
        alone=alone,
    )


def picked(answer: Any, pick: int | None, result: str) -> Any:
    """An item of a returned tuple, or the answer itself."""
    if pick is None:
        return answer
    if type(answer) not in (tuple, list) or len(answer) <= pick:
        raise Wrong(
            f"a tuple is asked for, with {result} as its {ordinal(pick)} item; what came back is {describe(answer)}."
        )
    return answer[pick]


class case_of:
    """Marks what goes wrong inside with the case and the call it happened on."""

    def __init__(self, reason: str, call: Call | None = None) -> None:
        self.reason, self.call = reason, call

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, Failure):
            error.reason = error.reason or self.reason
            error.call = error.call or self.call


def gradient(
    name: str,
    points: int,
    functions: tuple[str, ...],
    cases: Sequence[GradientCase],
    *,
    value: Callable[[Any, dict[str, Any]], Any] | None,
    grads: Callable[[Any, dict[str, Any]], dict[str, Any]],
    reference: Callable[[dict[str, Any]], dict[str, Any]],
    names: dict[str, str] | None = None,
    rtol: float = RTOL,
    atol: float = ATOL,
    cpu_s: float = 3.0,
) -> Check:
    """The student's gradients equal the reference's.

    `value(student, inputs)` is the student's forward, `grads(student, inputs)` a dict of the student's gradients by
    input name ("x", or "params.W1" for an entry of a dict), `reference(inputs)` the same dict, computed. The scalar
    that is differentiated is `sum(value * inputs["dout"])`, or the value itself for a loss. When a gradient is wrong,
    central differences of the student's own forward tell whether the backward or the forward is to blame; without
    `value`, at a corner where they would find half a slope, the report does not ask. `names` says
    how a report calls a gradient, where "the gradient of" and the last part of its key will not do.
    """
    named = names or {}

    def draw(rng: Rng) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
        drawn = []
        for case in cases:
            inputs = case.draw(rng)
            drawn.append((case.reason, inputs, reference(inputs)))
        return drawn

    def run(student: Any, drawn: list[tuple[str, dict[str, Any], dict[str, Any]]]) -> None:
        for reason, inputs, want in drawn:
            with case_of(reason):
                got = grads(student, inputs)
                for key, right in want.items():
                    what = named.get(key, f"the gradient of {key.split('.')[-1]}")
                    try:
                        same(got.get(key), right, what, rtol=rtol, atol=atol)
                    except Wrong as wrong:
                        wrong.call = student.transcript[-1][0]
                        _blame(wrong, student, inputs, key, got.get(key), right, value, atol + rtol * np.abs(right))
                        raise

    return Check(name=name, kind="gradient", points=points, functions=functions, draw=draw, run=run, cpu_s=cpu_s)


def loss_gradient(
    name: str,
    points: int,
    function: str,
    reference: Callable[..., Any],
    cases: Sequence[Case],
    *,
    rtol: float = RTOL,
    atol: float = ATOL,
) -> Check:
    """For a loss that returns `(loss, gradient)`: the gradient with respect to the first argument."""

    def value(student: Any, inputs: dict[str, Any]) -> Any:
        answer = student.call(function, *inputs["args"], **inputs["kwargs"])
        return picked(answer, 0, "the loss")

    def grads(student: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        return {"args.0": picked(student.call(function, *inputs["args"], **inputs["kwargs"]), 1, "the gradient")}

    def right(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"args.0": reference(*inputs["args"], **inputs["kwargs"])[1]}

    def inputs_of(case: Case) -> Callable[[Rng], dict[str, Any]]:
        return lambda rng: {"args": list(case.draw(rng)), "kwargs": case.kwargs}

    return gradient(
        name,
        points,
        (function,),
        [GradientCase(case.reason, inputs_of(case)) for case in cases],
        value=value,
        grads=grads,
        reference=right,
        names={"args.0": "the gradient"},
        rtol=rtol,
        atol=atol,
    )


def _blame(
    wrong: Wrong,
    student: Any,
    inputs: dict[str, Any],
    key: str,
    got: Any,
    right: Any,
    value: Callable[[Any, dict[str, Any]], Any] | None,
    tolerance: Any,
) -> None:
    """Add to a wrong gradient what central differences of the student's own forward say at its worst entry."""
    want = np.asarray(right, dtype=np.float64)
    try:
        array = np.asarray(got, dtype=np.float64)
    except (TypeError, ValueError):
        return
    if array.shape != want.shape or not np.isfinite(array).all():
        return
    with np.errstate(all="ignore"):
        error = np.where(array == want, 0.0, np.abs(array - want) / tolerance)
    index = np.unravel_index(int(error.argmax()), want.shape)
    place = f" at [{', '.join(str(int(i)) for i in index)}], where it is worst" if index else ""
    right_text, got_text = number_text(want[index]), number_text(array[index])
    if right_text == got_text:
        right_text, got_text = f"{want[index]:.15g}", f"{array[index]:.15g}"
    wrong.values = f"Expected {right_text}, got {got_text}{place}."
    if value is None:
        return
    asked = len(student.transcript)
    try:
        slope, lost = central_difference(lambda changed: _scalar(value(student, changed), inputs), inputs, key, index)
    except Exception:  # the forward has its own checks; here it only helps to explain
        return
    finally:
        # The worst entry may differ by rounding between two ways to make one mistake: what is asked about it is no part
        # of the answers that recognise a mistake.
        del student.transcript[asked:]
    near = 1e-5 * max(1.0, float(np.abs(want).max()))
    if not lost < min(near, 0.01 * max(abs(want[index]), abs(array[index]))):
        return
    moves = "the sum of your own forward times dout changes" if "dout" in inputs else "your own forward changes"
    wrong.values += f"\nNudge that entry, and {moves} at a rate of {number_text(slope)}."
    fits_forward, forward_right = abs(slope - array[index]) < near, abs(slope - want[index]) < near
    if fits_forward and not forward_right:
        wrong.text += " It is the exact gradient of your own forward, so it is the forward that is wrong."
    elif forward_right and not fits_forward:
        wrong.text += " Your forward is right here, so the mistake is in the gradient."


def _scalar(output: Any, inputs: dict[str, Any]) -> float:
    return float(np.sum(np.asarray(output, dtype=np.float64) * inputs.get("dout", 1.0)))


def central_difference(
    scalar: Callable[[dict[str, Any]], float], inputs: dict[str, Any], key: str, index: tuple[Any, ...]
) -> tuple[float, float]:
    """d scalar(inputs) / d inputs[key][index], and how far rounding may have put it off.

    `key` may lead into dicts and lists by dots.
    """
    here: Any = inputs
    for part in key.split("."):
        here = here[int(part) if isinstance(here, (list, tuple)) else part]
    step = 6e-6 * max(1.0, abs(float(np.asarray(here)[index])))

    def moved(by: float) -> float:
        array = np.array(here, dtype=np.float64)
        array[index] += by
        return scalar(_replaced(inputs, key.split("."), array))

    up, down = moved(step), moved(-step)
    return (up - down) / (2 * step), float(np.finfo(np.float64).eps) * max(abs(up), abs(down)) / step


def _replaced(container: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    if isinstance(container, dict):
        return {**container, path[0]: _replaced(container[path[0]], path[1:], value)}
    at = int(path[0])
    return type(container)([*container[:at], _replaced(container[at], path[1:], value), *container[at + 1 :]])


def _tested(
    kind: Kind,
    name: str,
    points: int,
    functions: tuple[str, ...],
    cpu_s: float,
    false_alarm: float,
    needs: tuple[str, ...],
    alone: bool = True,
) -> Callable[[Test], Check]:
    def check(test: Test) -> Check:
        def draw(rng: Rng) -> int:
            return int(rng.integers(1 << 62))

        def run(student: Any, seed: int) -> None:
            test(student, np.random.default_rng(seed))

        return Check(
            name=name,
            kind=kind,
            points=points,
            functions=functions,
            draw=draw,
            run=run,
            cpu_s=cpu_s,
            needs=needs,
            false_alarm=false_alarm,
            alone=alone,
        )

    return check


def prop(
    name: str, points: int, *functions: str, cpu_s: float = 3.0, needs: tuple[str, ...] = (), alone: bool = True
) -> Callable[[Test], Check]:
    """Makes a check of a function of (student, rng) that raises `Wrong` (see `compare`) where a property fails.

    With `alone=False` it counts beside another passed check only: for what a constant answer would pass.
    """
    return _tested("property", name, points, functions, cpu_s, 0.0, needs, alone)


def statistical(
    name: str, points: int, *functions: str, false_alarm: float, cpu_s: float = 3.0, needs: tuple[str, ...] = ()
) -> Callable[[Test], Check]:
    """Like `prop`, for random functions; `false_alarm` is the computed chance that a right answer fails, below 1e-9."""
    if not 0 < false_alarm < 1e-9:
        raise ValueError("a statistical check states a false-alarm rate below 1e-9")
    return _tested("statistical", name, points, functions, cpu_s, false_alarm, needs)


def training(
    name: str, points: int, *functions: str, cpu_s: float, needs: tuple[str, ...] = ()
) -> Callable[[Test], Check]:
    """Like `prop`, for a whole training run of at most `cpu_s` CPU seconds a call."""
    return _tested("training", name, points, functions, cpu_s, 0.0, needs)


def unchanged(
    points: int,
    calls: dict[str, Callable[[Rng], tuple[Any, ...]]],
    name: str = "the arguments are left as they were",
    *,
    keep: tuple[int, ...] = (),
) -> Check:
    """No function of `calls` (name to drawn arguments) modifies what it is given; `keep` as in `numeric`.

    It counts beside another passed check only: a function that returns 0 whatever it is given leaves it alone, too.
    """

    def draw(rng: Rng) -> list[Call]:
        return [Call(function, arguments(rng), keep=keep) for function, arguments in calls.items()]

    def run(student: Any, drawn: list[Call]) -> None:
        for call, reply in zip(drawn, student.batch(drawn), strict=True):
            with case_of("", call):
                holds(student.answer(call, reply) is not None, f"`{call.function}` returned nothing.")
                if reply.changed:
                    place = student.argument_name(call, reply.changed[0])
                    raise Wrong(
                        f"`{call.function}` modified its argument {place} in place; work on a copy or a new array."
                    )

    return Check(name=name, kind="property", points=points, functions=tuple(calls), draw=draw, run=run, alone=False)
