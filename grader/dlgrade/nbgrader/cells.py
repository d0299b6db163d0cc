"""The cells of a chapter's notebook by name, and their nbgrader metadata (schema 3)."""

from __future__ import annotations

import re
from typing import Any

from dlgrade.course.spec import Chapter, Exercise

SCHEMA = 3
ANSWER = "-answer"


def test_id(chapter: Chapter, exercise: Exercise) -> str:
    """The `grade_id` of the cell that an exercise is graded by, e.g. `ch305-softmax`."""
    return f"{chapter.id}-{_id(exercise.name)}"


def answer_id(chapter: Chapter, name: str) -> str:
    """The `grade_id` of a cell that the student writes in."""
    return f"{chapter.id}-{_id(name)}{ANSWER}"


def given_id(chapter: Chapter, number: int) -> str:
    """The `grade_id` of a cell with code that is given."""
    return f"{chapter.id}-given-{number}"


def exercises_by_id(chapter: Chapter) -> dict[str, Exercise]:
    return {test_id(chapter, exercise): exercise for exercise in chapter.exercises}


def chapter_of(grade_id: str) -> str:
    """The id of the chapter that a cell's name speaks of: `ch305` of `ch305-softmax`; empty for other names."""
    match = re.match(r"(ch3\d\d)-", grade_id)
    return match[1] if match else ""


def answer(grade_id: str) -> dict[str, Any]:
    return _marks(grade_id, solution=True)


def given(grade_id: str) -> dict[str, Any]:
    return _marks(grade_id, locked=True)


def test(grade_id: str, points: int) -> dict[str, Any]:
    return {**_marks(grade_id, grade=True, locked=True), "points": points}


def _marks(grade_id: str, *, grade: bool = False, solution: bool = False, locked: bool = False) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA,
        "grade_id": grade_id,
        "grade": grade,
        "solution": solution,
        "locked": locked,
        "task": False,
    }


def _id(name: str) -> str:
    """nbgrader allows letters, digits, `_` and `-`."""
    return re.sub(r"[^a-zA-Z0-9_-]", "-", name)
