"""What a student meets in a released notebook, by `nbgrader validate` and in a kernel: with dlgrade and without."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from dlgrade.course import registry
from dlgrade.nbgrader.notebooks import source_notebook
from nbclient import NotebookClient

from .conftest import ENV, Course, Notebook, cell, code, with_cells

pytestmark = pytest.mark.slow

WITHOUT = "import sys\nsys.modules['dlgrade'] = None"


@pytest.fixture(scope="module")
def course(make_course: Callable[..., Course]) -> Course:
    return make_course(["ch305"])


@pytest.fixture(scope="module")
def validated(course: Course) -> Callable[[Notebook], str]:
    def validate(notebook: Notebook) -> str:
        path = course.root / "mine.ipynb"
        path.write_text(json.dumps(notebook), encoding="utf-8")
        return course.nbgrader("validate", str(path)).stdout

    return validate


def test_a_right_notebook_validates(course: Course, validated: Callable[[Notebook], str]) -> None:
    assert "Success!" in validated(course.notebook("source", "ch305"))


def test_an_unwritten_notebook_is_told_what_to_do(course: Course, validated: Callable[[Notebook], str]) -> None:
    said = validated(course.notebook("release", "ch305"))
    assert "VALIDATION FAILED ON 7 CELL(S)" in said
    assert "`softmax` is still to do." in said


def test_a_mistake_is_named_and_fits_the_page(course: Course, validated: Callable[[Notebook], str]) -> None:
    wrong = "def softmax(x, axis=-1):\n    e = np.exp(np.asarray(x))\n    return e / e.sum(axis=axis, keepdims=True)"
    notebook = course.notebook("source", "ch305")
    cell(notebook, "ch305-softmax-answer")["source"] = wrong
    said = validated(notebook)
    assert "Recognised mistake: softmax-without-max-shift" in said or "Recognised mistake" in said
    error = said.partition("The error was:")[2].partition("=====")[0]
    assert "..." not in error.replace("... (shortened)", "")


def test_without_dlgrade_nothing_is_called_passed(course: Course, validated: Callable[[Notebook], str]) -> None:
    said = validated(with_cells(course.notebook("source", "ch305"), code(WITHOUT), first=True))
    assert "VALIDATION FAILED ON 7 CELL(S)" in said
    assert "softmax was not checked: dlgrade is not installed" in said
    assert "Traceback" not in said


def run(*sources: str, **env: str) -> list[list[dict[str, Any]]]:
    """The outputs of cells run in a fresh kernel."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    NotebookClient(notebook, timeout=120, kernel_name="python3", allow_errors=True).execute(env={**ENV, **env})
    return [one.outputs for one in notebook.cells]


@pytest.fixture(scope="module")
def parts() -> dict[str, str]:
    """The code of chapter 305's notebook by cell names, imports under an empty one."""
    cells = json.loads(source_notebook(registry.chapter("ch305")))["cells"]
    names = [c["metadata"].get("nbgrader", {}).get("grade_id", "") for c in cells]
    return {name: "".join(c["source"]) for name, c in zip(names, cells, strict=True) if c["cell_type"] == "code"}


def test_a_session_is_checked_as_it_is_now(parts: dict[str, str]) -> None:
    broken = "def softmax(x, axis=-1):\n    raise ValueError('not yet')"
    test = parts["ch305-softmax"]
    scratch = "import time\ntime.sleep(0)\nx = undefined_name"
    outputs = run(parts[""], broken, test, scratch, parts["ch305-softmax-answer"], "%time softmax([1, 2])", test)
    assert "not yet" in outputs[2][0]["data"]["text/plain"]
    assert "0 / 16" in outputs[2][0]["data"]["text/plain"]
    assert "16 / 16" in outputs[6][0]["data"]["text/plain"]
    assert "text/html" in outputs[6][0]["data"]
    assert [o["output_type"] for o in (*outputs[2], *outputs[6])] == ["display_data", "display_data"]


def test_a_plain_nbgrader_gives_partial_credit(parts: dict[str, str]) -> None:
    half = (
        "def softmax(x, axis=-1):\n    e = np.exp(np.asarray(x, float))\n    return e / e.sum(axis=axis, keepdims=True)"
    )
    outputs = run(parts[""], half, parts["ch305-softmax"], NBGRADER_EXECUTION="autograde")
    assert [o["output_type"] for o in outputs[2]] == ["display_data", "execute_result"]
    assert 0 < float(outputs[2][1]["data"]["text/plain"]) < 16


def test_without_dlgrade_there_is_a_plain_message(parts: dict[str, str]) -> None:
    program = f"{WITHOUT}\n{parts['ch305-softmax']}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("softmax was not checked: dlgrade is not installed here.")
    assert len(done.stderr.splitlines()) == 2


def test_outside_of_a_notebook_there_is_nothing_to_check(tmp_path: Path) -> None:
    program = "from dlgrade.nbgrader.practice import practice\npractice('ch305:softmax')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "run the cells with your answers first" in done.stderr
