"""Before nbgrader looks at a submission: its cells are made what the gradebook says they are.

A student can delete, copy, rename and relabel cells, and edit a notebook's metadata by hand. nbgrader's own steps then
stop with an error or leave points unread; here each such cell is put right, and what was done is logged and noted in
the feedback. Only notebooks that dlgrade grades are touched.
"""

from __future__ import annotations

from typing import Any

from nbformat.v4 import new_code_cell
from nbgrader.preprocessors import NbGraderPreprocessor

from dlgrade.nbgrader import cells
from dlgrade.nbgrader.trusted import Released, released

# Where a note about a cell waits for the grading, in the cell's metadata.
NOTE = "dlgrade_note"


class RestoreCells(NbGraderPreprocessor):
    """Puts back what a student deleted, and takes away what only looks like a graded cell."""

    def preprocess(self, nb: Any, resources: Any) -> tuple[Any, Any]:
        notebook = released(self, resources)
        if not notebook.ours:
            return nb, resources
        seen: set[str] = set()
        # From the end, for of two copies nbgrader takes the last one, and running both leaves that one's functions.
        for cell in reversed(nb.cells):
            cell.source = cell.source.encode("utf-8", "replace").decode()  # what is no Unicode cannot be written
            self._restore(cell, notebook.cells, seen)
        for grade_id, test in notebook.ours.items():
            if grade_id not in seen:
                self._put_back(nb, test)
        return nb, resources

    def _restore(self, cell: Any, known: dict[str, Released], seen: set[str]) -> None:
        cell.metadata.pop(NOTE, None)
        marks = cell.metadata.pop("nbgrader", None)
        name = marks.get("grade_id") if isinstance(marks, dict) else None
        if not isinstance(name, str) or name not in known:
            if isinstance(marks, dict) and any(marks.get(kind) for kind in ("grade", "solution", "locked")):
                self.log.warning("A cell calls itself %r, which the assignment does not have: not graded", name)
            return
        if name in seen:
            self.log.warning("There is more than one cell %r: the last one counts", name)
            return
        seen.add(name)
        trusted = known[name]
        cell.metadata["nbgrader"] = trusted.metadata()
        if trusted.locked and (cell.cell_type != trusted.cell_type or cell.source != trusted.source):
            # nbgrader's OverwriteCells puts the text back, and logs it.
            cell.metadata[NOTE] = "This cell had been changed; it was put back as it was handed out."

    def _put_back(self, nb: Any, test: Released) -> None:
        """A test cell where it belongs: below its answer, or at the end if that is gone, too."""
        self.log.warning("The cell %r is missing; it was put back", test.grade_id)
        cell = new_code_cell(source=test.source)
        if (nb.nbformat, nb.nbformat_minor) < (4, 5):
            cell.pop("id", None)
        cell.metadata["nbgrader"] = test.metadata()
        cell.metadata[NOTE] = "This cell was missing; it was put back."
        answers = [i for i, c in enumerate(nb.cells) if _name(c) == f"{test.grade_id}{cells.ANSWER}"]
        nb.cells.insert(answers[0] + 1 if answers else len(nb.cells), cell)


def _name(cell: Any) -> str:
    return cell.metadata.get("nbgrader", {}).get("grade_id", "")
