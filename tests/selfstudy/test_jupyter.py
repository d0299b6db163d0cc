"""`from dlgrade import check`: the notebook's own functions, in the sandbox all the same."""

from __future__ import annotations

from pathlib import Path

import dlgrade
import pytest
from dlgrade.course.spec import Chapter
from dlgrade.selfstudy import jupyter, progress, workspace
from dlgrade.selfstudy.jupyter import Problem, Shown, current, defines_any


def test_the_last_definition_counts() -> None:
    cells = ["import numpy as np", "def f(x):\n    return 1", "f(2)", "def f(x):\n    return 2", "def g(:", "g = 3"]
    assert current(cells) == ["import numpy as np", "f(2)", "def f(x):\n    return 2", "g = 3"]


def test_a_definition_that_was_wrapped_stays() -> None:
    cells = ["@first\ndef f(x):\n    return 1", "f = wrap(f)"]
    assert current(cells) == cells


def test_defines_any(chapter: Chapter) -> None:
    assert defines_any(["x = 1", "def mse(a, b):\n    return 0"], chapter)
    assert defines_any(["mse = lambda a, b: 0"], chapter)
    assert not defines_any(["mse(1, 2)", "def other():\n    pass", "def mse(:"], chapter)


@pytest.mark.parametrize(
    ("target", "words"), [("ch399", "no chapter"), ("ch305:sofmax", "softmax"), ("", "no chapter")]
)
def test_what_cannot_be_checked_is_one_sentence(
    target: str, words: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    problem = dlgrade.check(target)
    assert isinstance(problem, Problem)
    assert words in repr(problem)


def test_without_functions_the_workspaces_file_is_checked(
    root: Path, answer: Path, solved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root / "exercises")
    (root / "exercises" / "random.py").write_text(
        "raise SystemExit('a file of the student that is called like a module')"
    )
    answer.write_text(solved)
    shown = dlgrade.check("ch305:mse")
    assert isinstance(shown, Shown)
    assert (shown.score, shown.max_score) == (12, 12)
    assert "as it was saved" in shown._repr_html_()
    assert "12 / 12" in repr(shown)
    assert progress.load(root).chapters()["ch305"].checks == 1


def test_the_functions_of_the_notebook_are_checked(
    tmp_path: Path, solved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.create(tmp_path, notebooks=True)
    monkeypatch.chdir(tmp_path / "exercises")
    cells = [
        "%matplotlib inline",
        "import matplotlib.pyplot as plt",
        solved,
        "def mse(y_hat, y):\n    return undefined",
        "mse(1, 2)",
        solved[solved.index("def mse") : solved.index("def softmax")],
        "raise SystemExit",
        "from dlgrade import check\ncheck('ch305')",
    ]
    monkeypatch.setattr(jupyter, "executed_cells", lambda: cells)
    shown = dlgrade.check("ch305")
    assert isinstance(shown, Shown)
    assert shown.score == 100, repr(shown)
    assert shown.result.problem == ""
    assert "this notebook" in shown._repr_html_()
    assert [row.via for row in progress.load(tmp_path).checks] == ["notebook"]
    assert progress.load(tmp_path).chapters()["ch305"].solved


def test_a_result_in_a_cell_is_harmless_html(root: Path, answer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    answer.write_text("def mse(a, b):\n    raise ValueError('<script>alert(1)</script>\\x1b[31m')\n")
    shown = dlgrade.check("ch305:mse")
    assert isinstance(shown, Shown)
    html = shown._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "\x1b" not in html


@pytest.mark.slow
def test_in_a_real_notebook(tmp_path: Path, solved: str) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    workspace.create(tmp_path, notebooks=True)
    path = workspace.answer(tmp_path, "ch305_loss_functions")
    assert path is not None
    notebook = nbformat.read(path, as_version=4)
    asking = notebook.cells[-1]
    notebook.cells.insert(-1, nbformat.v4.new_code_cell(solved))
    notebook.cells.append(nbformat.v4.new_code_cell("check('ch305').score"))
    where = {"metadata": {"path": str(path.parent)}}
    nbclient.NotebookClient(notebook, kernel_name="python3", resources=where, timeout=120).execute()
    [output] = asking.outputs
    assert "100 / 100" in output["data"]["text/html"]
    assert "100 / 100" in output["data"]["text/plain"]
    assert notebook.cells[-1].outputs[0]["data"]["text/plain"] == "100"
