"""A result as Gradescope's `results.json`: one test for each check.

Format: https://gradescope-autograders.readthedocs.io/en/latest/specs/. Every text is declared as `text`, so Gradescope
renders no HTML and no Markdown that a student's code produced.
"""

from __future__ import annotations

from typing import Any, Literal

from dlgrade.grading.results import ChapterResult, CheckResult, ExerciseResult
from dlgrade.report.json import dump
from dlgrade.report.parts import Result, chapters_of, explanation, printed, wrong
from dlgrade.report.safe import head, one_line

Visibility = Literal["hidden", "after_due_date", "after_published", "visible"]


def render(result: Result, *, visibility: Visibility = "visible") -> str:
    """`visibility` is that of every test. A hidden test hides the student's total too, says Gradescope."""
    chapters = chapters_of(result)
    several = len(chapters) > 1
    tests = [
        _test(exercise, check, f"{chapter_number}.{number}" if several else number, chapter, visibility)
        for chapter_number, chapter in enumerate(chapters, 1)
        for number, exercise, check in _numbered(chapter)
    ]
    return dump(
        {
            "score": result.score,
            "execution_time": round(sum(chapter.duration_s for chapter in chapters), 3),
            "output": "\n\n".join(_headline(chapter) for chapter in chapters),
            "output_format": "text",
            "test_output_format": "text",
            "test_name_format": "text",
            "visibility": visibility,
            "stdout_visibility": "hidden",
            "extra_data": {
                "dlgrade": chapters[0].dlgrade if chapters else "",
                "chapters": [
                    {name: getattr(chapter, name) for name in ("chapter", "sha256", "seed", "sandbox")}
                    for chapter in chapters
                ],
            },
            "tests": tests,
        }
    )


def _numbered(chapter: ChapterResult) -> list[tuple[str, ExerciseResult, CheckResult]]:
    return [
        (f"{i}.{j}", exercise, check)
        for i, exercise in enumerate(chapter.exercises, 1)
        for j, check in enumerate(exercise.checks, 1)
    ]


def _headline(chapter: ChapterResult) -> str:
    said = [f"{chapter.chapter} {chapter.title}: {chapter.score} of {chapter.max_score} points"]
    if chapter.problem:
        said.append(head(chapter.problem))
    return "\n".join(said)


def _test(
    exercise: ExerciseResult, check: CheckResult, number: str, chapter: ChapterResult, visibility: Visibility
) -> dict[str, Any]:
    test: dict[str, Any] = {
        "score": check.score,
        "max_score": check.max_score,
        "status": "passed" if check.status == "passed" else "failed",
        "name": one_line(f"{exercise.name}: {check.name}"),
        "number": number,
        "tags": [chapter.chapter, exercise.name, check.kind],
        "visibility": visibility,
        "extra_data": {"status": check.status, "mistake": check.mistake},
    }
    if check.status != "passed":
        blamed = check is next(iter(wrong(exercise)), None)
        output = printed(exercise.stdout) if blamed else ""
        test["output"] = "\n\n".join(part for part in (explanation(check), output) if part)
    return test
