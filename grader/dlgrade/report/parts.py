"""What every writer reads from a result, so that they tell one story; nothing here computes a score."""

from __future__ import annotations

from collections.abc import Iterator

from dlgrade.grading.results import ChapterResult, CheckResult, CourseResult, ExerciseResult, Status
from dlgrade.report.safe import head, one_line, tail, visible

Result = ChapterResult | CourseResult

# What a check's status means to the student; a plain wrong answer needs no label.
STATUS_LABELS: dict[Status, str] = {
    "passed": "passed",
    "failed": "",
    "error": "your code raised an error",
    "missing": "not written yet",
    "timeout": "took too long",
    "crashed": "your code crashed",
    "refused": "answer refused",
    "skipped": "skipped, for what it builds on did not pass",
}


def chapters_of(result: Result) -> tuple[ChapterResult, ...]:
    """The chapters of a result, whether it is one or a course."""
    return result.chapters if isinstance(result, CourseResult) else (result,)


def passed(exercise: ExerciseResult) -> tuple[CheckResult, ...]:
    return tuple(c for c in exercise.checks if c.status == "passed")


def wrong(exercise: ExerciseResult) -> tuple[CheckResult, ...]:
    """The checks that need explaining: neither passed nor skipped."""
    return tuple(c for c in exercise.checks if c.status not in ("passed", "skipped"))


def skipped(exercise: ExerciseResult) -> tuple[CheckResult, ...]:
    return tuple(c for c in exercise.checks if c.status == "skipped")


def alike(checks: tuple[CheckResult, ...]) -> list[list[CheckResult]]:
    """Checks of which the same is to be said, so that it is said once; code that broke at one place broke alike."""
    groups: dict[tuple[str, ...], list[CheckResult]] = {}
    for c in checks:
        lines = c.message.rstrip().split("\n")
        broke = c.status in ("error", "timeout", "crashed")
        groups.setdefault((c.status, lines[-1] if broke else c.message, c.mistake, c.advice), []).append(c)
    return list(groups.values())


def next_exercise(chapter: ChapterResult) -> ExerciseResult | None:
    """Where the student should go on: the first one begun and not right, else the first not begun."""
    unfinished = [e for e in chapter.exercises if e.status != "passed"]
    begun = [e for e in unfinished if e.status != "missing"]
    return next(iter(begun or unfinished), None)


def untouched(chapter: ChapterResult) -> bool:
    """Nothing of this chapter has been written yet."""
    return not chapter.problem and all(e.status == "missing" for e in chapter.exercises)


def nothing_ran(chapter: ChapterResult) -> bool:
    """The file's problem is all there is to say: no function of it ever gave an answer."""
    gave = ("passed", "failed", "refused", "error")
    return bool(chapter.problem) and not any(c.status in gave for e in chapter.exercises for c in e.checks)


def explanation(check: CheckResult) -> str:
    """Everything there is to say about a check that did not pass, as plain harmless text of several lines."""
    said = [*_label_and(check, head(check.message))]
    if check.mistake:
        said.append(f"Recognised mistake: {visible(check.mistake)}")
    if check.advice:
        said.append(visible(check.advice))
    return "\n".join(said)


def summary(check: CheckResult) -> str:
    """The same in one line: what the message begins with, or for code that raised, the exception."""
    lines = head(check.message).split("\n")
    flush = [line for line in lines if not line.startswith(" ")] or lines
    said = ": ".join(_label_and(check, flush[-1] if check.status == "error" else flush[0]))
    return f"{said} (recognised mistake: {one_line(check.mistake)})" if check.mistake else said


def _label_and(check: CheckResult, message: str) -> Iterator[str]:
    label = STATUS_LABELS[check.status] or ("" if message else "wrong answer")
    if label and not (message and (check.status == "skipped" or message.lower().startswith(label))):
        yield label.capitalize()
    if message:
        yield message


def printed(stdout: str) -> str:
    """The end of what the student's code printed under a line that says what it is; empty when it printed nothing."""
    text, cut = tail(stdout)
    return f"{printed_title(cut)}\n{text}" if text else ""


def printed_title(cut: bool) -> str:
    return "Your code printed (the end of it):" if cut else "Your code printed:"
