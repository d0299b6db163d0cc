"""What grading produces: one frozen result that every writer reads and no writer recomputes."""

from __future__ import annotations

from typing import Literal

import msgspec

from dlgrade import __version__

SCHEMA = 1

Status = Literal["passed", "failed", "error", "missing", "timeout", "crashed", "refused", "skipped"]
ExerciseStatus = Literal["passed", "partial", "failed", "missing"]


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """One check: full points or none.

    `message` says what was expected and what came back; `mistake` is the name of the recognised mistake and
    `advice` its one sentence. All three are empty strings when there is nothing to say.
    """

    name: str
    kind: str
    score: int
    max_score: int
    status: Status
    message: str = ""
    mistake: str = ""
    advice: str = ""


class ExerciseResult(msgspec.Struct, frozen=True, kw_only=True):
    """One exercise: the sum of its checks, and what the student's code printed while they ran."""

    name: str
    score: int
    max_score: int
    status: ExerciseStatus
    stdout: str = ""
    checks: tuple[CheckResult, ...] = ()


class ChapterResult(msgspec.Struct, frozen=True, kw_only=True):
    """One graded file.

    `seed` is the number that reproduces the run, or "secret" with `seed_fingerprint` to tell secrets apart.
    `problem` says why a file did not run to its end (a syntax error, say); what it defined before is graded.
    """

    schema: int = SCHEMA
    dlgrade: str = __version__
    chapter: str
    title: str
    file: str
    sha256: str
    seed: int | str
    seed_fingerprint: str = ""
    sandbox: str
    score: int
    max_score: int
    duration_s: float
    problem: str = ""
    stdout: str = ""
    exercises: tuple[ExerciseResult, ...] = ()

    @property
    def full_marks(self) -> bool:
        return self.score == self.max_score


class CourseResult(msgspec.Struct, frozen=True, kw_only=True):
    """Several graded files, as `dlgrade check all` prints them."""

    schema: int = SCHEMA
    chapters: tuple[ChapterResult, ...]
    score: int
    max_score: int

    @property
    def full_marks(self) -> bool:
        return self.score == self.max_score


def exercise_result(name: str, checks: tuple[CheckResult, ...], stdout: str = "") -> ExerciseResult:
    """Sum checks into an exercise; it is `missing` when every one of its checks is, or waits for one that is."""
    score, max_score = sum(c.score for c in checks), sum(c.max_score for c in checks)
    found = {c.status for c in checks}
    status: ExerciseStatus
    if found <= {"passed"}:
        status = "passed"
    elif "missing" in found <= {"missing", "skipped"}:
        status = "missing"
    else:
        status = "partial" if score else "failed"
    return ExerciseResult(name=name, score=score, max_score=max_score, status=status, stdout=stdout, checks=checks)


def course_result(chapters: tuple[ChapterResult, ...]) -> CourseResult:
    return CourseResult(
        chapters=chapters, score=sum(c.score for c in chapters), max_score=sum(c.max_score for c in chapters)
    )
