"""The test cell of a released notebook, run by a student: one exercise is checked on practice numbers.

The student's functions are taken from the cells run so far and graded in the sandbox like any submission, so the report
is that of `dlgrade check`. Where nbgrader runs the notebook, `validate` gets an error that says what is wrong, and a
plain `autograde`, without dlgrade's settings, the score.
"""

from __future__ import annotations

import os
import sys
import textwrap
from functools import cache
from typing import Any

from dlgrade.course import registry
from dlgrade.grading.results import ChapterResult, ExerciseResult
from dlgrade.grading.seeds import PRACTICE_SEED, public_seed
from dlgrade.grading.submissions import plain_python
from dlgrade.nbgrader.feedback import bundle
from dlgrade.nbgrader.warm import Warm
from dlgrade.sandbox.launch import SandboxError
from dlgrade.sandbox.session import Source

# `nbgrader validate` cuts what is wider.
WIDTH = 80
_HANGING: dict[str, Any] = {"subsequent_indent": "    ", "replace_whitespace": False}

warm = cache(Warm)


class NotThereYet(AssertionError):
    """Raised where nbgrader looks for an error; a notebook shows its report instead of a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [part for line in str(self).split("\n") for part in textwrap.wrap(line, WIDTH, **_HANGING) or [""]]


def practice(target: str) -> None:
    """Check one exercise, named like `ch305:softmax`, of the notebook that this runs in, and show the report."""
    cells = _cells_run()
    if cells is None:
        print("This checks what a notebook has run: it works only in a notebook.", file=sys.stderr)
        return
    chapter_id, _, name = target.partition(":")
    chapter = registry.chapter(chapter_id)
    source = Source(tuple(map(plain_python, cells)), "notebook.ipynb", chapter.stem)
    try:
        result = warm("auto").grade(chapter_id, source, public_seed(PRACTICE_SEED), reveal=True, only={name})
    except SandboxError as error:
        print(f"{name} was not checked: {error}.", file=sys.stderr)
        return
    _show(result, result.exercises[0])


def _cells_run() -> list[str] | None:
    """Every cell run in this session, in order: one that was run again stands twice, and its last version counts."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return list(shell.history_manager.input_hist_raw) if shell else None


def _show(result: ChapterResult, exercise: ExerciseResult) -> None:
    from IPython.display import display

    said = bundle(exercise, problem=result.problem)
    if os.environ.get("NBGRADER_EXECUTION") == "validate" and exercise.status != "passed":
        raise NotThereYet(said["text/plain"])
    display(said, raw=True)
    if os.environ.get("NBGRADER_EXECUTION") == "autograde":
        sys.displayhook(exercise.score)
