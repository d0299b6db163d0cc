"""Tables for spreadsheets, in which a student's name or note must not become a formula."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from typing import IO

from dlgrade.report.rows import Grade
from dlgrade.report.safe import one_line

# What a spreadsheet takes for the start of a formula, in ASCII and in the full-width forms that some read alike.
_FORMULA = re.compile(r"\s*[=+\-@＝＋－＠](?!$)")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?%?")
MAX_CELL = 1000

COLUMNS = (
    "student",
    "chapter",
    "score",
    "max_score",
    "status",
    "points",
    "max_points",
    "submitted",
    "late_hours",
    "penalty_percent",
    "mistakes",
    "note",
    "file",
    "sha256",
    "seed",
    "checks",
    "sandbox",
    "dlgrade",
)


def cell(value: object) -> str:
    """A value as a cell that no spreadsheet runs: what looks like a formula gets an apostrophe in front of it."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.10g}"
    text = one_line(str(value))
    if len(text) > MAX_CELL:
        text = f"{text[:MAX_CELL]}..."
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def write(stream: IO[str], rows: Iterable[Iterable[object]]) -> None:
    """Rows as CSV (RFC 4180), every cell made harmless."""
    csv.writer(stream).writerows([cell(value) for value in row] for row in rows)


def grades(all_grades: Iterable[Grade]) -> Iterator[tuple[object, ...]]:
    """The rows of grades.csv, its head first. An ungraded submission has empty cells where its score would be."""
    yield COLUMNS
    for grade in all_grades:
        row, result = grade.row, grade.row.result
        there = row.status != "ungraded"
        yield (
            row.student,
            row.chapter,
            row.score if there else None,
            row.max_score,
            row.status,
            grade.points,
            grade.max_points,
            grade.submitted,
            grade.late_hours,
            grade.penalty,
            " ".join(mistakes(grade)),
            "; ".join(text for text in (row.note, grade.remark) if text),
            row.file,
            result.sha256 if result else "",
            row.seed,
            row.checks,
            result.sandbox if result else "",
            result.dlgrade if result else "",
        )


def mistakes(grade: Grade) -> list[str]:
    """The mistakes that were recognised in a submission, each once."""
    result = grade.row.result
    checks = [check for exercise in result.exercises for check in exercise.checks] if result else []
    return list(dict.fromkeys(check.mistake for check in checks if check.mistake))
