"""Grades for Canvas's gradebook import.

Format: "How do I import grades in the Gradebook?" in Canvas's instructor guide. The columns that say who a student is
come first, exactly as Canvas exports them: Student, ID, SIS User ID, SIS Login ID, Section; then a column for each
assignment, "Title (id)", or a new title, which makes a new assignment. A row whose Student cell reads "Points Possible"
gives the maxima. With an export from Canvas its own rows and headings are kept, which is the safe way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dlgrade.report.rows import Grade

WHO = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
_POINTS_POSSIBLE = "points possible"


class SheetError(ValueError):
    """An export that cannot be filled in; the message is one sentence."""


def title(grade: Grade) -> str:
    """The title of a new column for a chapter."""
    return f"{grade.row.chapter} {grade.row.title}"


def fresh(grades: Iterable[Grade]) -> list[list[object]]:
    """A table to import without an export: students by Canvas's number where the download told it, else by login."""
    columns: dict[str, float] = {}
    students: dict[str, dict[str, float | None]] = {}
    who: dict[str, tuple[str, str]] = {}
    for grade in grades:
        row = grade.row
        columns[title(grade)] = grade.max_points
        students.setdefault(row.student, {})[title(grade)] = grade.points
        who[row.student] = (row.user, "") if row.system == "canvas" else ("", row.student)
    head: list[object] = [*WHO, *columns]
    possible: list[object] = ["    Points Possible", "", "", "", "", *columns.values()]
    return [head, possible] + [
        [student, who[student][0], "", who[student][1], "", *(points.get(column) for column in columns)]
        for student, points in students.items()
    ]


def filled(export: Sequence[Sequence[str]], grades: Iterable[Grade]) -> tuple[list[list[object]], list[str]]:
    """An export's own rows with our columns filled in, and the graded students who are not in it.

    A student is found by ID, SIS login or SIS user. Only the columns of graded chapters are kept, for Canvas reads
    every column it is given as a change. Raises `SheetError` if there is not exactly one column for a chapter.
    """
    if not export or not {"Student", "ID"} <= {name.strip() for name in export[0]}:
        raise SheetError("it is no export of a Canvas gradebook: there are no columns Student and ID")
    head = [name.strip() for name in export[0]]
    keys = [head.index(name) for name in ("ID", "SIS Login ID", "SIS User ID") if name in head]
    table: list[list[str]] = [[*row, *[""] * (len(head) - len(row))] for row in export[1:]]
    place = {
        row[column].strip(): index
        for column in reversed(keys)
        for index, row in enumerate(table)
        if row[column].strip()
    }
    columns: dict[str, int] = {}
    lost = []
    for grade in grades:
        chapter = grade.row.chapter
        if chapter not in columns:
            columns[chapter] = _column(head, grade)
        index = next((place[name] for name in (grade.row.user, grade.row.student) if name in place), None)
        if index is None:
            lost.append(grade.row.student)
        elif grade.points is not None:
            table[index][columns[chapter]] = f"{grade.points:.10g}"
    kept = [head.index(name) for name in WHO if name in head] + list(columns.values())
    return [[row[i] for i in kept] for row in (head, *table)], lost


def _column(head: list[str], grade: Grade) -> int:
    """The export's column for a chapter: the one that names it, or else bears its title."""
    for wanted in (grade.row.chapter.lower(), grade.row.title.lower()):
        found = [i for i, name in enumerate(head) if wanted in name.lower() and "(read only)" not in name.lower()]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(repr(head[i]) for i in found)
            raise SheetError(f"several columns could be {grade.row.chapter}: {names}")
    raise SheetError(f"no column of it names {grade.row.chapter} or {grade.row.title!r}")
