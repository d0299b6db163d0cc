"""A result as the output of a notebook cell: a piece of HTML that takes the notebook's own colours, light or dark."""

from __future__ import annotations

from typing import Any

from dlgrade.grading.results import ChapterResult, ExerciseResult
from dlgrade.report.pages import environment
from dlgrade.report.parts import STATUS_LABELS, alike, next_exercise, nothing_ran, printed, skipped, wrong

SYMBOLS = {"passed": "✓", "partial": "◐", "failed": "✗", "missing": "·"}
SPOKEN = {"passed": "right", "partial": "partly right", "failed": "wrong", "missing": "not written yet"}


def render(result: ChapterResult, foot: str = "") -> str:
    """The fragment, with the exercise to go on with opened; `foot` is a line under it."""
    going_on = next_exercise(result)
    opened = (going_on.name,) if going_on is not None else ()
    return environment().get_template("cell.html.j2").render(**helpers(), result=result, opened=opened, foot=foot)


def helpers() -> dict[str, Any]:
    """What the macros of `result.html.j2` use, besides a result."""
    return {
        "alike": alike,
        "labels": STATUS_LABELS,
        "nothing_ran": nothing_ran,
        "printed": printed,
        "says_more": says_more,
        "skipped": skipped,
        "spoken": SPOKEN,
        "symbols": SYMBOLS,
        "wrong": wrong,
    }


def says_more(exercise: ExerciseResult) -> bool:
    """Whether there is anything to unfold under an exercise's line."""
    return exercise.status in ("partial", "failed") or bool(printed(exercise.stdout))
