"""A class, as writers see it: one row for every student and chapter, whatever became of it."""

from __future__ import annotations

from typing import Literal

import msgspec

from dlgrade.grading.results import ChapterResult

# graded: the file ran.  problem: it was graded, but did not run to its end.  unreadable, ambiguous, missing: there was
# no one file to grade, which scores 0.  ungraded: the grader could not do its work, which is no score and no 0.
RowStatus = Literal["graded", "problem", "unreadable", "ambiguous", "missing", "ungraded"]

Reveal = Literal["none", "mistake", "values"]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One student's answer to one chapter, graded. `score` is the chapter's own, before any policy.

    `user` is the learning platform's number or name for the student, and `system` which platform.
    """

    student: str
    chapter: str
    title: str
    status: RowStatus
    score: int
    max_score: int
    note: str = ""
    file: str = ""
    content: str = ""
    seed: str = ""
    checks: str = ""
    system: str = ""
    user: str = ""
    result: ChapterResult | None = None


class Grade(msgspec.Struct, frozen=True, kw_only=True):
    """A row with what the class's policy makes of it, in the class's points.

    `points` is None where there is no grade; `late_hours` is None without a trusted time; `penalty` is in percent.
    """

    row: Row
    points: float | None
    max_points: float
    submitted: str = ""
    late_hours: float | None = None
    penalty: float = 0.0
    remark: str = ""
