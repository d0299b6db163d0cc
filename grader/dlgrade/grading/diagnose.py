"""Recognising a mistake: do the student's answers to a failed check equal those of a listed mistake?"""

from __future__ import annotations

from collections.abc import Sequence
from types import CodeType
from typing import Any

import numpy as np

from dlgrade.course.compare import Failure
from dlgrade.course.spec import Check, Mistake
from dlgrade.grading.student import LocalStudent
from dlgrade.sandbox.protocol import Handle
from dlgrade.sandbox.session import Call, Reply, Source

# Two ways to make one mistake differ by rounding only; a wider net would catch answers that are nearly right.
RTOL, ATOL = 1e-9, 1e-11

# A check ends with a `Failure`, or with an error of its own when an answer is of a kind that it cannot read.
CHECK_FAILURES = (Failure, TypeError, ValueError, LookupError, AttributeError, ArithmeticError)

Transcript = Sequence[tuple[Call, Reply]]


class Catalogue:
    """What a chapter's mistakes answer to its checks under one seed: run when first asked for, then kept."""

    def __init__(self, source: Source, code: CodeType) -> None:
        self.source, self.code = source, code
        self.kept: dict[tuple[str, str, str], list[Transcript]] = {}

    def answers(self, exercise: str, check: Check, drawn: Any, mistake: Mistake) -> list[Transcript]:
        """The transcripts of a mistake and its variants on a check, without those that pass it."""
        key = (exercise, check.name, mistake.name)
        if key not in self.kept:
            self.kept[key] = []
            for replaces in (mistake.replaces, *mistake.variants):
                made = LocalStudent(self.source, self.code, replaces)
                try:
                    check.run(made, drawn)
                except CHECK_FAILURES:
                    self.kept[key].append(made.transcript)
        return self.kept[key]

    def recognise(
        self, exercise: str, check: Check, drawn: Any, transcript: Transcript, mistakes: Sequence[Mistake]
    ) -> Mistake | None:
        """The first mistake that fails the check with the same answers, or None."""
        if not transcript or any(reply.status in ("timeout", "crashed", "lost") for _, reply in transcript):
            return None
        for mistake in mistakes:
            if any(same_answers(transcript, made) for made in self.answers(exercise, check, drawn, mistake)):
                return mistake
        return None


def same_answers(one: Transcript, other: Transcript) -> bool:
    """Whether two runs of a check got the same replies, call by call."""
    if len(one) != len(other):
        return False
    return all(_same_reply(a, b) for (_, a), (_, b) in zip(one, other, strict=True))


def _same_reply(one: Reply, other: Reply) -> bool:
    if one.status != other.status or (other.changed and one.changed != other.changed):
        return False
    if one.status == "error":
        return one.detail.get("type") == other.detail.get("type")
    return same_value(one.value, other.value)


def same_value(one: Any, other: Any) -> bool:
    """Whether two answers are equal to rounding, in value and structure."""
    if isinstance(one, (tuple, list)) and isinstance(other, (tuple, list)):
        return len(one) == len(other) and all(same_value(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict) or isinstance(other, dict):
        if not (isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys()):
            return False
        return all(same_value(value, other[key]) for key, value in one.items())
    if one is None or other is None or isinstance(one, (str, bytes, Handle)) or isinstance(other, (str, bytes, Handle)):
        return type(one) is type(other) and (isinstance(one, Handle) or one == other)
    try:
        a, b = np.asarray(one), np.asarray(other)
        return a.shape == b.shape and bool(np.allclose(a, b, rtol=RTOL, atol=ATOL, equal_nan=True))
    except (TypeError, ValueError, OverflowError):
        return False
