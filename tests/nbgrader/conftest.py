"""A real nbgrader course in a temporary folder, driven by the real `nbgrader` command."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from dlgrade.course import registry
from dlgrade.nbgrader import course as courses

pytest.importorskip("nbgrader")

# nbgrader starts `alembic` by its bare name, as an activated environment would find it.
ENV = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "OPENBLAS_NUM_THREADS": "1",
}

Notebook = dict[str, Any]


class Course:
    """A course folder, its submissions and its gradebook."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def nbgrader(self, *args: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        run = subprocess.run(["nbgrader", *args], cwd=self.root, env=ENV, capture_output=True, text=True, timeout=900)
        assert not ok or run.returncode == 0, run.stderr[-4000:]
        return run

    def dlgrade(self, *args: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "dlgrade", *map(str, args)]
        return subprocess.run(command, cwd=self.root, env=ENV, capture_output=True, text=True, timeout=900)

    def notebook(self, step: str, assignment: str, student: str = ".", name: str = "") -> Notebook:
        path = self.root / step / student / assignment / f"{name or registry.stems()[assignment]}.ipynb"
        return json.loads(path.read_text(encoding="utf-8"))

    def submit(self, student: str, assignment: str, notebook: Notebook, name: str = "", **files: str) -> Path:
        folder = self.root / "submitted" / student / assignment
        folder.mkdir(parents=True)
        for file, text in files.items():
            (folder / file.replace("_txt", ".txt")).write_text(text)
        path = folder / f"{name or registry.stems()[assignment]}.ipynb"
        path.write_text(json.dumps(notebook), encoding="utf-8")
        return path

    def gradebook(self) -> Any:
        from nbgrader.api import Gradebook

        return Gradebook(f"sqlite:///{self.root / 'gradebook.db'}")

    def scores(self, student: str, assignment: str) -> dict[str, float | None]:
        """What nbgrader recorded for each test cell."""
        with self.gradebook() as gradebook:
            notebooks = gradebook.find_submission(assignment, student).notebooks
            return {grade.name: grade.auto_score for notebook in notebooks for grade in notebook.grades}

    def total(self, student: str, assignment: str) -> float:
        with self.gradebook() as gradebook:
            return gradebook.find_submission(assignment, student).score

    def checked(self, path: Path) -> dict[str, Any]:
        """The result of `dlgrade check` on a submitted file, with the course's secret seed."""
        run = self.dlgrade("check", path, "--seed-file", self.root / courses.SEED, "--format", "json")
        assert run.returncode in (0, 1), run.stderr
        return json.loads(run.stdout)

    def feedback(self, student: str, assignment: str) -> str:
        path = self.root / "feedback" / student / assignment / f"{registry.stems()[assignment]}.html"
        return path.read_text(encoding="utf-8")


def cell(notebook: Notebook, grade_id: str) -> dict[str, Any]:
    """The cell of this name."""
    return next(c for c in notebook["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == grade_id)


def code(source: str) -> dict[str, Any]:
    """A scratch cell."""
    return {"cell_type": "code", "metadata": {}, "source": source, "outputs": [], "execution_count": None}


def markdown(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def with_cells(notebook: Notebook, *cells: dict[str, Any], first: bool = False) -> Notebook:
    """A copy with more cells, after the others or before them."""
    changed = copy.deepcopy(notebook)
    for added in cells:
        added["id"] = f"added-{len(changed['cells'])}"
        changed["cells"].insert(0 if first else len(changed["cells"]), added)
    return changed


def results_of(result: dict[str, Any]) -> dict[str, int]:
    """A `dlgrade check` result as the gradebook would have it."""
    return {f"{result['chapter']}-{e['name']}": e["score"] for e in result["exercises"]}


@pytest.fixture(scope="module")
def make_course(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Iterable[str]], Course]:
    """Makes a course of these chapters, its assignments generated."""

    def make(chapters: Iterable[str], settings: str = "", *, generate: bool = True) -> Course:
        course = Course(tmp_path_factory.mktemp("course") / "deep learning")
        run = course_init(course.root, chapters)
        assert run.returncode == 0, run.stderr
        if settings:
            with (course.root / courses.CONFIG).open("a") as file:
                file.write(settings)
        if generate:
            course.nbgrader("generate_assignment", "*")
        return course

    return make


def course_init(root: Path, chapters: Iterable[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dlgrade", "nbgrader", "init", str(root), "--chapters", ",".join(chapters)]
    return subprocess.run(command, env=ENV, capture_output=True, text=True, timeout=120)
