"""Grades for Moodle: the assignment's own grading worksheet filled in, or a table for its gradebook import.

Formats: "Offline grading worksheet" (columns Identifier, "Participant 77"; Full name; Email address; Status; Grade;
Maximum grade; Last modified (grade); Feedback comments) and "Grade import" in Moodle's documentation, where any column
can be told to name the student. The worksheet's times stay as they are: by them Moodle sees what it has changed since.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from dlgrade.report.canvas import SheetError, title
from dlgrade.report.rows import Grade, Reveal
from dlgrade.report.sheet import mistakes


def fresh(grades: Iterable[Grade], reveal: Reveal = "mistake") -> list[list[object]]:
    """A table for the gradebook import: who by name and participant number, a column a chapter, feedback."""
    columns: dict[str, None] = {}
    students: dict[str, dict[str, float | None]] = {}
    said: dict[str, list[str]] = {}
    user: dict[str, str] = {}
    for grade in grades:
        student = grade.row.student
        columns[title(grade)] = None
        students.setdefault(student, {})[title(grade)] = grade.points
        said.setdefault(student, []).append(feedback(grade, reveal))
        user[student] = grade.row.user if grade.row.system == "moodle" else ""
    head: list[object] = ["Username", "Identifier", *columns, "Feedback comments"]
    return [head] + [
        [
            student,
            f"Participant {user[student]}" if user[student] else "",
            *(points.get(column) for column in columns),
            "<br>".join(said[student]),
        ]
        for student, points in students.items()
    ]


def filled(
    worksheet: Sequence[Sequence[str]], grades: Iterable[Grade], reveal: Reveal = "mistake"
) -> tuple[list[list[object]], list[str]]:
    """A worksheet with grades and feedback in it, and the graded students who are not in it.

    A student is found by participant number, ID number, user name or address. Raises `SheetError` if it is no
    worksheet, or its maximum is not the class's.
    """
    head = [name.strip() for name in worksheet[0]] if worksheet else []
    lower = [name.lower() for name in head]
    if "identifier" not in lower or "grade" not in lower:
        raise SheetError("it is no grading worksheet from Moodle: there are no columns Identifier and Grade")
    table: list[list[object]] = [[*row, *[""] * (len(head) - len(row))] for row in worksheet[1:]]
    keys = [lower.index(n) for n in ("identifier", "id number", "username", "email address") if n in lower]
    place = {str(row[i]).strip().lower(): index for i in reversed(keys) for index, row in enumerate(table)}
    grade_column = lower.index("grade")
    comments = next((i for i, name in enumerate(lower) if name.startswith("feedback comments")), None)
    most = lower.index("maximum grade") if "maximum grade" in lower else None
    lost, chapters = [], set()
    for grade in grades:
        row = grade.row
        chapters.add(row.chapter)
        if len(chapters) > 1:
            raise SheetError("a worksheet is one assignment's: grade one chapter at a time to fill it in")
        names = (f"participant {row.user}" if row.system == "moodle" else row.user.lower(), row.student.lower())
        index = next((place[name] for name in names if name and name in place), None)
        if index is None:
            lost.append(row.student)
            continue
        if most is not None:
            _same_maximum(str(table[index][most]), grade)
        if grade.points is not None:
            table[index][grade_column] = grade.points
            if comments is not None:
                table[index][comments] = feedback(grade, reveal)
    return [[*head], *table], lost


def _same_maximum(text: str, grade: Grade) -> None:
    try:
        maximum = float(text.replace(",", "."))
    except ValueError:
        return
    if abs(maximum - grade.max_points) > 1e-6:
        raise SheetError(
            f"its maximum grade is {maximum:g} and the class's points are {grade.max_points:g}: "
            f"set `points = {maximum:g}` in the [class] table of dlgrade.toml"
        )


def feedback(grade: Grade, reveal: Reveal) -> str:
    """One sentence or two for the student, as HTML, which Moodle reads these cells as."""
    row = grade.row
    if row.status == "ungraded":
        return "Not graded yet."
    said = [f"{row.chapter}: {row.score} of {row.max_score}."]
    if row.status in ("missing", "unreadable", "ambiguous"):
        said.append("There was no one file to grade.")
    if grade.penalty:
        said.append(f"{grade.remark.capitalize()}: {grade.penalty:g} % off.")
    if reveal != "none" and (found := mistakes(grade)):
        said.append(f"Recognised mistakes: {', '.join(found)}.")
    return html.escape(" ".join(said))
