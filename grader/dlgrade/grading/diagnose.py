"""Recognising a mistake: do the student's answers to a failed check equal those of a listed mistake?"""

from __future__ import annotations

import contextlib
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
        self.right: dict[tuple[str, str], Transcript] = {}

    def solution(self, exercise: str, check: Check, drawn: Any) -> Transcript:
        """The solution's answers to a check."""
        key = (exercise, check.name)
        if key not in self.right:
            solved = LocalStudent(self.source, self.code)
            with contextlib.suppress(*CHECK_FAILURES):
                check.run(solved, drawn)
            self.right[key] = solved.transcript
        return self.right[key]

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
        # Many mistakes end in an error of one type: with no wrong answer beside it, its words must agree too.
        words = not _answers_wrongly(transcript, self.solution(exercise, check, drawn))
        for mistake in mistakes:
            made = self.answers(exercise, check, drawn, mistake)
            if any(same_answers(transcript, one, words=words) for one in made):
                return mistake
        return None


def same_answers(one: Transcript, other: Transcript, *, words: bool = False) -> bool:
    """Whether two runs of a check got the same replies, call by call; errors by type, and by their `words` if asked."""
    if len(one) != len(other):
        return False
    return all(_same_reply(a, b, words=words) for (_, a), (_, b) in zip(one, other, strict=True))


def _answers_wrongly(transcript: Transcript, right: Transcript) -> bool:
    """Whether a call got an answer, and not the right one."""
    pairs = zip(transcript, right, strict=False)
    return any(reply.status == "ok" and not _same_reply(good, reply) for (_, reply), (_, good) in pairs)


def _same_reply(one: Reply, other: Reply, *, words: bool = False) -> bool:
    if one.status != other.status or (other.changed and one.changed != other.changed):
        return False
    if one.status == "error":
        kinds = ("type", "message") if words else ("type",)
        return all(one.detail.get(kind) == other.detail.get(kind) for kind in kinds)
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
