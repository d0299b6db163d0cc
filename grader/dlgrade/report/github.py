"""A result as GitHub Actions annotations: one error for each wrong check, and a notice with the score.

Syntax and escapes: "Workflow commands for GitHub Actions" in GitHub's documentation. A step shows ten annotations of a
kind, so an exercise nobody has begun takes one, and those come last.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from dlgrade.grading.results import ChapterResult, ExerciseResult
from dlgrade.report.parts import STATUS_LABELS, Result, chapters_of, explanation, nothing_ran, printed, wrong
from dlgrade.report.safe import head, one_line


def render(result: Result, environ: Mapping[str, str] | None = None) -> str:
    """`environ` gives `GITHUB_WORKSPACE`, which annotated file names must be relative to (default: this process's)."""
    workspace = (os.environ if environ is None else environ).get("GITHUB_WORKSPACE", "")
    chapters = chapters_of(result)
    lines = [
        _command("notice", "", f"{chapter.chapter} {chapter.title}", f"{chapter.score} of {chapter.max_score} points")
        for chapter in chapters
    ]
    for chapter in chapters:
        lines += _annotations(chapter, _relative(chapter.file, workspace))
    return "\n".join(lines) + "\n"


def _annotations(chapter: ChapterResult, file: str) -> list[str]:
    lines = []
    if chapter.problem:
        lines.append(_command("error", file, f"{chapter.chapter}: a problem with the file", head(chapter.problem)))
    if nothing_ran(chapter):
        return lines
    begun = [e for e in chapter.exercises if e.status != "missing"]
    missing = [e for e in chapter.exercises if e.status == "missing"]
    lines += [line for e in begun for line in _errors(chapter, e, file)]
    return lines + [
        _command("error", file, f"{chapter.chapter} {e.name} (0/{e.max_score})", STATUS_LABELS["missing"].capitalize())
        for e in missing
    ]


def _errors(chapter: ChapterResult, exercise: ExerciseResult, file: str) -> list[str]:
    lines = []
    for i, check in enumerate(wrong(exercise)):
        title = f"{chapter.chapter} {exercise.name}: {check.name} (0/{check.max_score})"
        said = [explanation(check), printed(exercise.stdout) if i == 0 else ""]
        lines.append(_command("error", file, title, "\n\n".join(part for part in said if part)))
    return lines


def _command(kind: str, file: str, title: str, message: str) -> str:
    properties = ([f"file={_property(file)}"] if file else []) + [f"title={_property(title)}"]
    return f"::{kind} {','.join(properties)}::{_data(message)}"


def _relative(file: str, workspace: str) -> str:
    inside = workspace and file.startswith(workspace.rstrip("/") + "/")
    return file[len(workspace.rstrip("/")) + 1 :] if inside else file


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(one_line(text)).replace(":", "%3A").replace(",", "%2C")
