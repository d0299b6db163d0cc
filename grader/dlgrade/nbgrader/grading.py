"""In the place of nbgrader's kernel: a notebook's code is graded in the sandbox, and its test cells get the outputs.

What follows, `SaveAutoGrades` first, is nbgrader's own and reads the outputs as if a kernel had left them. Which cells
are tests, and how many points they bring, is the gradebook's word and not the submission's.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from nbformat import from_dict
from nbgrader.preprocessors import Execute, NbGraderPreprocessor
from traitlets import Bool, Enum, Unicode

from dlgrade.course import registry
from dlgrade.grading.results import ChapterResult
from dlgrade.grading.seeds import Seed, secret_seed
from dlgrade.grading.submissions import code_cells
from dlgrade.nbgrader import cells, feedback
from dlgrade.nbgrader.restore import NOTE
from dlgrade.nbgrader.trusted import Notebook, released
from dlgrade.nbgrader.warm import Warm
from dlgrade.sandbox.session import Source

# What a student's own outputs may hold, for an instructor's browser shows them after `nbgrader autograde --no-execute`.
HARMLESS = frozenset({"text/plain", "image/png", "image/jpeg"})

FULL_WALLS = "landlock+seccomp"

_NOT_RUN = "This test cell is not one of dlgrade's, and dlgrade runs no others in its notebooks: grade it by hand."

warm = cache(Warm)


class GradingError(RuntimeError):
    """A notebook that cannot be graded as the course stands; the message says what to do."""


class IsolatedGrading(NbGraderPreprocessor):
    """Grades dlgrade's notebooks in the sandbox and leaves every other notebook to nbgrader's `Execute`."""

    seed_file = Unicode("dlgrade.seed", help="The secret seed; a relative path begins at the course's folder.")
    seed_file.tag(config=True)
    reveal = Bool(False, help="Show students inputs, expected values and what their code printed or raised.")
    reveal.tag(config=True)
    sandbox = Enum(["auto", "strict"], "auto", help="`strict` refuses to grade where the walls cannot stand.")
    sandbox.tag(config=True)

    def preprocess(self, nb: Any, resources: Any) -> tuple[Any, Any]:
        notebook = released(self, resources)
        if not notebook.ours:
            # Called, not `preprocess`: that is how nbgrader's own switch for it is heeded.
            done: tuple[Any, Any] = Execute(parent=self.parent)(nb, resources)
            return done
        results = self._grade(nb, notebook, resources)
        for cell in nb.cells:
            self._write(cell, notebook, results)
        return nb, resources

    def _grade(self, nb: Any, notebook: Notebook, resources: Any) -> dict[str, ChapterResult]:
        """The results of the chapters that the notebook asks for, by their ids."""
        code = code_cells(nb) or ()
        results = {}
        for id in dict.fromkeys(cells.chapter_of(grade_id) for grade_id in notebook.ours):
            chapter = registry.chapter(id)
            unknown = [name for name in notebook.ours if cells.chapter_of(name) == id]
            unknown = [name for name in unknown if name not in cells.exercises_by_id(chapter)]
            if unknown:
                raise GradingError(
                    f"this dlgrade knows no {', '.join(unknown)}: the assignment was made by another version of it, "
                    "and that is the one to grade with"
                )
            source = Source(code, f"{resources['nbgrader']['notebook']}.ipynb", chapter.stem)
            result = warm(self.sandbox).grade(id, source, self._seed(), reveal=self.reveal)
            tell = self.log.info if result.sandbox == FULL_WALLS else self.log.warning
            tell("%s: %s of %s points (sandbox: %s)", id, result.score, result.max_score, result.sandbox)
            results[id] = result
        return results

    def _seed(self) -> Seed:
        # parent and grandparent of a preprocessor: the exporter, and the converter, which knows the course
        return secret_seed(Path(self.parent.parent.coursedir.root) / self.seed_file)

    def _write(self, cell: Any, notebook: Notebook, results: dict[str, ChapterResult]) -> None:
        note = cell.metadata.pop(NOTE, "")
        if cell.cell_type != "code":
            return
        name = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        cell.execution_count = None
        if name not in notebook.ours:
            cell.outputs = [output for output in map(_harmless, cell.outputs) if output]
            if name in notebook.cells and notebook.cells[name].test:
                self.log.warning("%s: %s", name, _NOT_RUN)
                cell.outputs = [from_dict({"output_type": "stream", "name": "stderr", "text": _NOT_RUN})]
            return
        result = results[cells.chapter_of(name)]
        exercise = cells.exercises_by_id(registry.chapter(result.chapter))[name]
        graded = next(e for e in result.exercises if e.name == exercise.name)
        points = notebook.ours[name].points or 0.0
        written = feedback.outputs(graded, points, problem=result.problem, note=note)
        cell.outputs = [from_dict(output) for output in written]


def _harmless(output: Any) -> Any:
    """An output that a student handed in, without what a browser would run; None if nothing is left of it."""
    if "data" in output:
        output.data = {kind: value for kind, value in output.data.items() if kind in HARMLESS}
        return output if output.data else None
    return output
