"""Notebooks as students hand them in: cells deleted, copied, renamed and edited; magics, plots and scratch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from dlgrade.nbgrader.restore import NOTE

from .conftest import Course, Notebook, cell, code, markdown, results_of, with_cells

pytestmark = pytest.mark.slow

TEST, ANSWER = "ch305-softmax", "ch305-softmax-answer"

Change = Callable[[Notebook], Any]


def changed(notebook: Notebook, change: Change) -> Notebook:
    """A copy after `change`, which edits it in place or returns another."""
    edited = copy.deepcopy(notebook)
    returned = change(edited)
    return returned if isinstance(returned, dict) and "cells" in returned else edited


def without(*ids: str) -> Change:
    def change(notebook: Notebook) -> None:
        notebook["cells"] = [c for c in notebook["cells"] if _id(c) not in ids]

    return change


def _id(one: dict[str, Any]) -> str:
    return one["metadata"].get("nbgrader", {}).get("grade_id", "")


def marks(id: str, **fields: Any) -> Change:
    return lambda notebook: cell(notebook, id)["metadata"]["nbgrader"].update(fields)


def marked(id: str, value: Any) -> Change:
    return lambda notebook: cell(notebook, id)["metadata"].update(nbgrader=value)


def source(id: str, text: str) -> Change:
    return lambda notebook: cell(notebook, id).update(source=text)


def copied(id: str, text: str | None = None, *, above: bool = False) -> Change:
    """A second cell of the same name right below the first, or above it."""

    def change(notebook: Notebook) -> None:
        original = cell(notebook, id)
        twin = copy.deepcopy(original) | {"id": "twin"} | ({} if text is None else {"source": text})
        at = notebook["cells"].index(original)
        notebook["cells"].insert(at if above else at + 1, twin)

    return change


def retyped(id: str, kind: str) -> Change:
    def change(notebook: Notebook) -> None:
        one = cell(notebook, id)
        one["cell_type"] = kind
        del one["outputs"], one["execution_count"]

    return change


def no_metadata(notebook: Notebook) -> None:
    notebook["metadata"] = {}
    for one in notebook["cells"]:
        one["metadata"] = {}


def old_format(notebook: Notebook) -> None:
    without(TEST)(notebook)
    notebook["nbformat_minor"] = 2
    for one in notebook["cells"]:
        del one["id"]


def forged(notebook: Notebook) -> None:
    for one in notebook["cells"]:
        if one["metadata"].get("nbgrader", {}).get("grade"):
            one["outputs"] = [_result("100"), {"output_type": "stream", "name": "stdout", "text": "20"}]
            one["metadata"][NOTE] = "Full marks."


def _result(text: str) -> dict[str, Any]:
    return {"output_type": "execute_result", "execution_count": 1, "metadata": {}, "data": {"text/plain": text}}


def import_with_plots(notebook: Notebook) -> None:
    first = next(c for c in notebook["cells"] if c["cell_type"] == "code")
    first["source"] = (
        "%matplotlib inline\nimport matplotlib.pyplot as plt\nimport torch, pandas as pd\nimport numpy as np\n!ls"
    )


def magics(notebook: Notebook) -> None:
    one = cell(notebook, ANSWER)
    one["source"] = ["%%time\n", *one["source"], "\n\n%timeit softmax([1, 2])\nfiles = !ls\nsoftmax?"]


def extra_graded(notebook: Notebook) -> None:
    one = copy.deepcopy(cell(notebook, TEST)) | {"id": "extra", "source": "100"}
    one["metadata"]["nbgrader"] |= {"grade_id": "ch305-bonus", "points": 100}
    notebook["cells"].append(one)


def scratch(*cells: str) -> Change:
    return lambda notebook: with_cells(notebook, *map(code, cells))


NOT_WRITTEN = "def softmax(x, axis=-1):\n    raise NotImplementedError()"
WARNS = """\
import sys, warnings
def mse(y_hat, y, right=mse):
    warnings.warn("old")
    print("oh", file=sys.stderr)
    return right(y_hat, y)
"""

# What a student did to the solved notebook, what it is then worth (None: not everything), what the log says of it.
CHANGES: dict[str, tuple[Change, float | None, str]] = {
    "deleted-test": (without(TEST), 100, "'ch305-softmax' is missing; it was put back"),
    "deleted-test-and-answer": (without(TEST, ANSWER), None, "'ch305-softmax' is missing; it was put back"),
    "deleted-answer": (without(ANSWER), None, ""),
    "renamed-test": (marks(TEST, grade_id="mine"), 100, "calls itself 'mine'"),
    "renamed-answer": (marks(ANSWER, grade_id="mine"), 100, "calls itself 'mine'"),
    "swapped-names": (marks(TEST, grade_id="ch305-mse"), 100, "more than one cell 'ch305-mse'"),
    "copied-test": (copied(TEST), 100, "more than one cell 'ch305-softmax'"),
    "copied-answer": (copied(ANSWER, NOT_WRITTEN, above=True), 100, "more than one cell 'ch305-softmax-answer'"),
    "unwritten-copy-below": (copied(ANSWER, NOT_WRITTEN), None, "more than one cell"),
    "edited-test": (source(TEST, "100"), 100, "Attribute 'checksum' for cell ch305-softmax has changed"),
    "raising-test": (source(TEST, "raise ValueError"), 100, "Attribute 'checksum' for cell ch305-softmax has changed"),
    "markdown-test": (retyped(TEST, "markdown"), 100, "Attribute 'cell_type' for cell ch305-softmax has changed"),
    "raw-answer": (retyped(ANSWER, "raw"), 100, "Attribute 'cell_type' for cell ch305-softmax-answer has changed"),
    "fewer-points": (marks(TEST, points=1), 100, ""),
    "more-points": (marks(TEST, points=1000), 100, ""),
    "odd-points": (marks(TEST, points="many"), 100, ""),
    "ungraded": (marks(TEST, grade=False), 100, ""),
    "graded-answer": (marks(ANSWER, grade=True, points=100), 100, ""),
    "unlocked": (marks(TEST, locked=False, solution=True), 100, ""),
    "old-schema": (marks(TEST, schema_version=1), 100, ""),
    "new-schema": (marks(TEST, schema_version=99), 100, ""),
    "extra-keys": (marks(TEST, remark="x"), 100, ""),
    "no-schema": (marked(TEST, {"grade": True}), 100, "'ch305-softmax' is missing; it was put back"),
    "text-for-metadata": (marked(TEST, "x"), 100, "'ch305-softmax' is missing; it was put back"),
    "list-for-name": (marks(TEST, grade_id=["x"]), 100, "'ch305-softmax' is missing; it was put back"),
    "no-metadata": (no_metadata, 100, "'ch305-mse' is missing; it was put back"),
    "old-format": (old_format, 100, "'ch305-softmax' is missing; it was put back"),
    "other-kernel": (lambda n: n["metadata"].update(kernelspec={"name": "bash", "display_name": "Bash"}), 100, ""),
    "extra-graded-cell": (extra_graded, 100, "calls itself 'ch305-bonus'"),
    "no-cells": (lambda n: n.update(cells=[]), 0, "'ch305-mse' is missing; it was put back"),
    "only-text": (lambda n: n.update(cells=[markdown("I was ill.") | {"id": "a"}]), 0, ""),
    "forged-outputs": (forged, 100, ""),
    "magics": (magics, 100, ""),
    "plots": (import_with_plots, 100, ""),
    "plots-below": (scratch("import matplotlib.pyplot as plt\nplt.plot(softmax(np.arange(3)))\nplt.show()"), 100, ""),
    "shell": (scratch("!rm -rf /", "%%bash\nrm -rf /", "%%html\n<b>x</b>", "get_ipython().system('ls')"), 100, ""),
    "endless-scratch": (scratch("while True: pass"), 100, ""),
    "ending-scratch": (scratch("exit()", "raise SystemExit(3)", "import os; os._exit(0)", "1/0", "input()"), 100, ""),
    "unfinished-scratch": (scratch("for x in", "def later(:"), 100, ""),
    "unfinished-answer": (source(ANSWER, "def softmax(x, axis=-1)\n    return"), None, ""),
    "lone-surrogate": (scratch("x = '\ud800'", "# caf\u00e9 \U0001f600"), 100, ""),
    "warnings": (scratch(WARNS), 100, ""),
    "np-is-gone": (scratch("np = None"), 0, ""),
    "number-at-the-end": (scratch("100"), 100, ""),
}


@pytest.fixture(scope="module")
def course(make_course: Callable[..., Course]) -> Course:
    made = make_course(["ch305"])
    solved, released = made.notebook("source", "ch305"), made.notebook("release", "ch305")
    # What students get is the released notebook: its metadata with the solution's code.
    for handed_out in released["cells"]:
        if _id(handed_out).endswith("-answer"):
            handed_out["source"] = cell(solved, _id(handed_out))["source"]
    for student, (change, _, _) in CHANGES.items():
        made.submit(student, "ch305", changed(released, change))
    made.log = made.nbgrader("autograde", "ch305").stderr  # type: ignore[attr-defined]
    made.nbgrader("generate_feedback", "ch305")
    return made


def log_of(course: Course, student: str) -> str:
    """What the run logged about one student."""
    log: str = course.log  # type: ignore[attr-defined]
    begin = log.index(f"submitted/{student}/ch305/")
    return log[begin : log.find("Creating/updating student", begin)]


@pytest.mark.parametrize("student", CHANGES)
def test_what_it_is_worth(course: Course, student: str) -> None:
    _, expected, said = CHANGES[student]
    score = course.total(student, "ch305")
    assert score == expected if expected is not None else 0 < score < 100
    assert said in log_of(course, student)
    with course.gradebook() as gradebook:
        submission = gradebook.find_submission("ch305", student)
        assert (submission.max_score, submission.needs_manual_grade) == (100, False)


@pytest.mark.parametrize("student", [s for s in CHANGES if s not in ("no-cells", "only-text", "raw-answer")])
def test_dlgrade_check_says_the_same(course: Course, student: str) -> None:
    path = course.root / "submitted" / student / "ch305" / "ch305_loss_functions.ipynb"
    assert course.scores(student, "ch305") == results_of(course.checked(path))


@pytest.mark.parametrize("student", CHANGES)
def test_the_graded_notebook_has_every_test_cell_as_it_was_handed_out(course: Course, student: str) -> None:
    graded, released = course.notebook("autograded", "ch305", student), course.notebook("release", "ch305")
    ids = [_id(c) for c in graded["cells"] if _id(c)]
    assert len(ids) == len(set(ids))
    for handed_out in released["cells"]:
        if handed_out["metadata"].get("nbgrader", {}).get("grade"):
            one = cell(graded, _id(handed_out))
            assert one["source"] == handed_out["source"]
            assert one["metadata"]["nbgrader"]["points"] == handed_out["metadata"]["nbgrader"]["points"]
            assert NOTE not in one["metadata"]
            assert one["outputs"][0]["output_type"] == "execute_result"


def test_students_are_told_of_cells_that_were_put_right(course: Course) -> None:
    page = course.feedback("deleted-test-and-answer", "ch305")
    assert "This cell was missing; it was put back." in page
    assert "It is still to do." in page


def test_a_notebook_that_cannot_be_read_costs_only_its_own_student(course: Course) -> None:
    folder = course.root / "submitted" / "unreadable" / "ch305"
    folder.mkdir(parents=True)
    (folder / "ch305_loss_functions.ipynb").write_text("{")
    course.submit("zzz", "ch305", course.notebook("source", "ch305"))
    run = course.nbgrader("autograde", "ch305", ok=False)
    assert run.returncode == 1
    assert "for student 'unreadable'" in run.stderr
    assert course.total("zzz", "ch305") == 100
