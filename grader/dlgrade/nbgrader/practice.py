"""The test cell of a released notebook, run by a student: one exercise is checked on practice numbers.

It is `dlgrade.check`, on the functions that the cells run so far have defined. Where nbgrader runs the notebook,
`validate` gets an error that says what is wrong, and a plain `autograde`, without dlgrade's settings, the score.
"""

from __future__ import annotations

import os
import sys
import textwrap
from typing import Any

from dlgrade.course import registry
from dlgrade.nbgrader.feedback import as_text
from dlgrade.selfstudy.jupyter import Problem, check, defines_any, executed_cells

# `nbgrader validate` cuts what is wider.
WIDTH = 80
_HANGING: dict[str, Any] = {"subsequent_indent": "    ", "replace_whitespace": False}


class NotThereYet(AssertionError):
    """Raised where nbgrader looks for an error; a notebook shows its report instead of a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [part for line in str(self).split("\n") for part in textwrap.wrap(line, WIDTH, **_HANGING) or [""]]


def practice(target: str) -> None:
    """Check one exercise, named like `ch305:softmax`, of the notebook that this runs in, and show the report."""
    chapter_id, _, name = target.partition(":")
    if not defines_any(executed_cells(), registry.chapter(chapter_id)):
        print(f"{name} was not checked: run the cells with your answers first.", file=sys.stderr)
        return
    shown = check(target)
    if isinstance(shown, Problem):
        print(f"{name} was not checked: {shown.sentence}.", file=sys.stderr)
        return
    [exercise] = shown.result.exercises
    if os.environ.get("NBGRADER_EXECUTION") == "validate" and exercise.status != "passed":
        raise NotThereYet(as_text(exercise, problem=shown.result.problem))
    sys.modules["IPython"].display.display(shown)
    if os.environ.get("NBGRADER_EXECUTION") == "autograde":
        sys.displayhook(exercise.score)
