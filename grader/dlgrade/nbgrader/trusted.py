"""What nbgrader's gradebook knows of a notebook: its cells as they were released, which no student can change."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import msgspec
from nbgrader.api import Gradebook, MissingEntry

from dlgrade.course import registry
from dlgrade.nbgrader import cells


class Released(msgspec.Struct, frozen=True):
    """One cell as it was released. `points` is None for cells that bring none."""

    grade_id: str
    cell_type: str
    source: str
    checksum: str
    locked: bool
    grade: bool
    solution: bool
    task: bool
    points: float | None

    @property
    def test(self) -> bool:
        """Whether the cell is locked and graded by what stands in its outputs."""
        return self.grade and not self.solution and self.cell_type == "code"

    def metadata(self) -> dict[str, Any]:
        marks: dict[str, Any] = {
            "schema_version": cells.SCHEMA,
            "grade_id": self.grade_id,
            "grade": self.grade,
            "solution": self.solution,
            "locked": self.locked,
            "task": self.task,
            "cell_type": self.cell_type,
        }
        if self.points is not None:
            marks["points"] = int(self.points) if self.points.is_integer() else self.points
        return {**marks, "checksum": self.checksum} if self.checksum else marks


class Notebook(msgspec.Struct, frozen=True):
    """A released notebook by its cells; `ours` are the test cells that dlgrade grades, by their names."""

    cells: dict[str, Released]
    ours: dict[str, Released]


# What was read in one run of nbgrader, by the converter that runs: a class asks for the same notebook again and again.
_READ: WeakKeyDictionary[Any, dict[tuple[str, str, str], Notebook]] = WeakKeyDictionary()


def released(step: Any, resources: Any) -> Notebook:
    """The notebook that a preprocessor is given; without cells if the gradebook does not know it."""
    asked = resources["nbgrader"]
    key = (asked["db_url"], asked["assignment"], asked["notebook"])
    read = _READ.setdefault(step.parent.parent, {})
    if key not in read:
        read[key] = _read(*key)
    return read[key]


def _read(db_url: str, assignment: str, name: str) -> Notebook:
    with Gradebook(db_url) as gradebook:
        try:
            notebook = gradebook.find_notebook(name, assignment)
        except MissingEntry:
            return Notebook({}, {})
        grades = {cell.name: float(cell.max_score) for cell in notebook.grade_cells}
        tasks = {cell.name: float(cell.max_score) for cell in notebook.task_cells}
        solutions = {cell.name for cell in notebook.solution_cells}
        found = {
            cell.name: Released(
                grade_id=cell.name,
                cell_type=cell.cell_type,
                source=cell.source or "",
                checksum=cell.checksum or "",
                locked=bool(cell.locked),
                grade=cell.name in grades,
                solution=cell.name in solutions,
                task=cell.name in tasks,
                points=grades.get(cell.name, tasks.get(cell.name)),
            )
            for cell in notebook.source_cells
        }
    return Notebook(found, {id: cell for id, cell in found.items() if cell.test and _asked_of_us(cell)})


def _asked_of_us(cell: Released) -> bool:
    """Whether a test cell is one of dlgrade's: its name is a chapter's, and its text asks for the practice check."""
    return cells.chapter_of(cell.grade_id) in registry.stems() and "dlgrade.nbgrader" in cell.source
