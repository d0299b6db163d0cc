"""Choosing a hint: first what a recognised mistake calls for, then the exercise's three, one more each time."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from dlgrade.course.spec import Chapter, Exercise
from dlgrade.grading.results import ChapterResult, ExerciseResult
from dlgrade.report.parts import next_exercise
from dlgrade.selfstudy.progress import Event

TIERS = 3


class Hint(msgspec.Struct, frozen=True, kw_only=True):
    """What to show. `mistake` and `advice` are of the last check of this exercise, empty if it recognised none.

    `tiers` are the exercise's hints up to the one that is due (none, when the mistake alone is news); `detail` is what
    to remember this by.
    """

    mistake: str = ""
    advice: str = ""
    tiers: tuple[str, ...] = ()
    detail: str


def choose(exercise: Exercise, result: ExerciseResult | None, seen: Sequence[Event], tier: int | None = None) -> Hint:
    """The hint that is due. `seen` are the hints of this exercise read before; `tier` asks for one by number."""
    mistake, advice = recognised(result)
    reached = max((int(e.detail) for e in seen if e.detail.isdigit()), default=0)
    if tier is None:
        if mistake and mistake not in {e.detail for e in seen}:
            return Hint(mistake=mistake, advice=advice, tiers=exercise.hints[:reached], detail=mistake)
        tier = min(reached + 1, TIERS)
    return Hint(mistake=mistake, advice=advice, tiers=exercise.hints[:tier], detail=str(tier))


def recognised(result: ExerciseResult | None) -> tuple[str, str]:
    """The first mistake that the last check recognised, and its advice."""
    checks = result.checks if result is not None else ()
    return next(((c.mistake, c.advice) for c in checks if c.mistake), ("", ""))


def stuck_at(chapter: Chapter, result: ChapterResult | None) -> Exercise:
    """The exercise somebody who names none wants a hint for: the first begun and not right, else the first not done."""
    found = next_exercise(result) if result is not None else None
    named = chapter.exercise(found.name) if found is not None else None
    return named or chapter.exercises[0]
