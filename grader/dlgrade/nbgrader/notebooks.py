"""A chapter as an instructor's source notebook: what `nbgrader generate_assignment` makes the students' from."""

from __future__ import annotations

import ast

import msgspec

from dlgrade.authoring.notebooks import Cell, cells_of, dumps, notebook
from dlgrade.authoring.stubs import BEGIN
from dlgrade.course import registry
from dlgrade.course.spec import Chapter, Exercise
from dlgrade.grading.grader import asked_for
from dlgrade.nbgrader import cells

# Self-contained, for a student may run it alone. What goes to standard error counts as not passed with nbgrader: where
# dlgrade is missing nothing was checked, and neither `nbgrader validate` nor a plain `autograde` may call it passed.
TEST_CELL = """\
# {points} points. Run this cell to try your answer on practice numbers; it is graded on others.
try:
    from dlgrade.nbgrader.practice import practice
except ImportError:
    import sys

    print("{name} was not checked: dlgrade is not installed here.", file=sys.stderr)
    print("Hand in all the same.", file=sys.stderr)
else:
    practice("{chapter}:{name}")"""


class NotebookError(ValueError):
    """A solution file that makes no notebook; the message is one sentence."""


Written = list[tuple[Cell, dict[str, object]]]


def source_notebook(chapter: Chapter) -> str:
    """The chapter's source notebook as `.ipynb` text: explanation, one answer cell and one test cell an exercise.

    The points of the test cells are the exercises'. Functions that share an exercise share its cell; code that belongs
    to no exercise is given, and locked, but for imports, which a student may add to. A test cell stands below its
    answer, or further down if its checks, or the functions they call, need what comes later.
    """
    parts = cells_of(registry.solution_file(chapter).read_text(encoding="utf-8"))
    owners = _owners(chapter)
    to_come = {name for part in parts for name in part.names}
    _check(chapter, to_come)
    written: Written = []
    waiting: list[Exercise] = []
    begun: set[str] = set()
    for part in parts:
        owner = owners.get(part.names[0]) if part.names else None
        if owner is None:
            written.append((part, _metadata(chapter, part, len(written))))
            to_come.difference_update(part.names)
        elif owner.name not in begun:
            begun.add(owner.name)
            answer = _joined([p for p in parts if p.names and owners.get(p.names[0]) is owner])
            written += _answer(chapter, owner, answer)
            waiting.append(owner)
            to_come.difference_update(answer.names)
        for exercise in [e for e in waiting if not _needed(parts, e) & to_come]:
            written.append(_test(chapter, exercise))
            waiting.remove(exercise)
    # Those whose functions are all in another exercise's cell.
    written += [_test(chapter, exercise) for exercise in chapter.exercises if exercise.name not in begun]
    return dumps(notebook([cell for cell, _ in written], [metadata for _, metadata in written]))


def _needed(parts: list[Cell], exercise: Exercise) -> set[str]:
    """The top-level names that an exercise's checks call, and those that these use in turn."""
    needed, before = asked_for([exercise]), 0
    while before != len(needed):
        before = len(needed)
        for part in parts:
            if needed.intersection(part.names):
                needed |= {node.id for node in ast.walk(ast.parse(part.source)) if isinstance(node, ast.Name)}
    return needed


def _owners(chapter: Chapter) -> dict[str, Exercise]:
    """The exercise that each top-level function or class belongs to: the first that asks for it."""
    owners: dict[str, Exercise] = {}
    for exercise in chapter.exercises:
        for function in exercise.functions:
            owners.setdefault(function.partition(".")[0], exercise)
    return owners


def _metadata(chapter: Chapter, cell: Cell, number: int) -> dict[str, object]:
    """For a cell that belongs to no exercise."""
    if BEGIN in cell.source:
        return {"nbgrader": cells.answer(cells.answer_id(chapter, cell.names[0] if cell.names else f"part-{number}"))}
    if cell.kind == "markdown" or not cell.names:
        return {}
    return {"nbgrader": cells.given(cells.given_id(chapter, number))}


def _joined(parts: list[Cell]) -> Cell:
    return Cell("code", "\n\n\n".join(p.source for p in parts), tuple(name for p in parts for name in p.names))


def _answer(chapter: Chapter, exercise: Exercise, answer: Cell) -> Written:
    heading = f"## {exercise.title} ({exercise.points} points)\n\nStuck? `dlgrade hint {chapter.id} {exercise.name}`"
    metadata = cells.answer(cells.answer_id(chapter, exercise.name))
    return [
        (Cell("markdown", heading), {}),
        (msgspec.structs.replace(answer, names=(exercise.name,)), {"nbgrader": metadata}),
    ]


def _test(chapter: Chapter, exercise: Exercise) -> tuple[Cell, dict[str, object]]:
    id = cells.test_id(chapter, exercise)
    test = TEST_CELL.format(points=exercise.points, name=exercise.name, chapter=chapter.id)
    return Cell("code", test, (id,)), {"nbgrader": cells.test(id, exercise.points)}


def _check(chapter: Chapter, defined: set[str]) -> None:
    asked = {function.partition(".")[0] for exercise in chapter.exercises for function in exercise.functions}
    if missing := sorted(asked - defined):
        raise NotebookError(f"the solution of {chapter.id} does not define {', '.join(missing)}")
