"""`dlgrade nbgrader init`, `add` and `export`, and what the settings they write do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbgrader.preprocessors
import pytest
from dlgrade.nbgrader.config import AUTOGRADE, GRADE, RESTORE, SANITIZE, isolate
from nbgrader.converters import Autograde
from traitlets.config import Config


def dlgrade(*args: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dlgrade", "nbgrader", *map(str, args)]
    return subprocess.run(command, cwd=cwd, env=os.environ.copy(), capture_output=True, text=True, timeout=120)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_init_writes_a_course(tmp_path: Path) -> None:
    run = dlgrade("init", "my course", "--chapters", "305,ch306", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout == ""
    assert files(tmp_path / "my course") == {
        "nbgrader_config.py",
        "dlgrade.seed",
        "source/ch305/ch305_loss_functions.ipynb",
        "source/ch306/ch306_backpropagation.ipynb",
    }
    assert "course_id = 'my-course'" in (tmp_path / "my course" / "nbgrader_config.py").read_text()


def test_init_leaves_a_course_alone(tmp_path: Path) -> None:
    dlgrade("init", "c", "--chapters", "ch305", cwd=tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / "c").rglob("*") if path.is_file()}
    run = dlgrade("init", "c", "--chapters", "ch305", cwd=tmp_path)
    assert run.returncode == 2
    assert "is a course already" in run.stderr
    assert {path: path.read_bytes() for path in before} == before


def test_two_courses_have_two_seeds(tmp_path: Path) -> None:
    for name in "ab":
        dlgrade("init", name, "--chapters", "ch305", cwd=tmp_path)
    seeds = {(tmp_path / name / "dlgrade.seed").read_text() for name in "ab"}
    assert len(seeds) == 2


def test_add_keeps_what_an_instructor_has(tmp_path: Path) -> None:
    config = tmp_path / "nbgrader_config.py"
    own = "c = get_config()\nc.CourseDirectory.course_id = 'mine'"
    config.write_text(own)
    run = dlgrade("add", ".", "--chapters", "ch305,ch306", "--assignment", "week 3", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert config.read_text().startswith(own + "\n")
    assert files(tmp_path / "source") == {"week 3/ch305_loss_functions.ipynb", "week 3/ch306_backpropagation.ipynb"}
    seed, text = (tmp_path / "dlgrade.seed").read_text(), config.read_text()
    assert dlgrade("add", ".", "--chapters", "ch312", cwd=tmp_path).returncode == 0
    assert (seed, text) == ((tmp_path / "dlgrade.seed").read_text(), config.read_text())


def test_add_overwrites_only_when_told(tmp_path: Path) -> None:
    dlgrade("init", "c", "--chapters", "ch305", cwd=tmp_path)
    path = tmp_path / "c/source/ch305/ch305_loss_functions.ipynb"
    path.write_text("mine")
    run = dlgrade("add", "c", "--chapters", "ch305", cwd=tmp_path)
    assert (run.returncode, path.read_text()) == (2, "mine")
    assert "--force" in run.stderr
    assert dlgrade("add", "c", "--chapters", "ch305", "--force", cwd=tmp_path).returncode == 0
    assert json.loads(path.read_text())["nbformat"] == 4


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["init", "c", "--chapters", "ch999"], "there is no chapter 'ch999'"),
        (["init", "c", "--chapters", ","], "names no chapter"),
        (["add", "nowhere", "--chapters", "ch305"], "there is no nbgrader_config.py"),
        (["init", "file", "--chapters", "ch305"], "cannot be written"),
        (["export", "ch999"], "there is no chapter 'ch999'"),
        (["export", "ch305", "--output", "no/such/folder.ipynb"], "cannot be written"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(tmp_path: Path, args: list[str], words: str) -> None:
    (tmp_path / "file").write_text("")
    run = dlgrade(*args, cwd=tmp_path)
    assert run.returncode == 2
    assert words in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("name", ["a/b", "..", "a+b", " a", "/tmp/x"])
def test_an_assignment_is_one_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "nbgrader_config.py").write_text("c = get_config()\n")
    run = dlgrade("add", ".", "--chapters", "ch305", "--assignment", name, cwd=tmp_path)
    assert run.returncode == 2
    assert "cannot be the name of an assignment" in run.stderr


def test_export_writes_one_notebook(tmp_path: Path) -> None:
    run = dlgrade("export", "ch305", "--output", "nb.ipynb", cwd=tmp_path)
    assert (run.returncode, run.stdout) == (0, "")
    assert (tmp_path / "nb.ipynb").read_text() == dlgrade("export", "305", cwd=tmp_path).stdout


def names(steps: list[Any]) -> list[str]:
    return [step.rpartition(".")[2] if isinstance(step, str) else step.__name__ for step in steps]


def test_our_steps_stand_among_those_of_the_installed_nbgrader() -> None:
    # If a new nbgrader brings another step, it has to be named in dlgrade.nbgrader.config, too.
    assert names(SANITIZE) == names(Autograde.sanitize_preprocessors.default_args[0])
    assert names(AUTOGRADE) == names(Autograde.autograde_preprocessors.default_args[0])
    c = Config()
    isolate(c)
    assert c.Autograde.sanitize_preprocessors == [RESTORE, *SANITIZE]
    assert c.Autograde.autograde_preprocessors == [GRADE, *AUTOGRADE[1:]]


def test_an_instructors_own_steps_stay() -> None:
    c = Config()
    c.Autograde.autograde_preprocessors = [nbgrader.preprocessors.Execute, "my.Step"]
    c.Autograde.sanitize_preprocessors.append("my.Other")
    isolate(c)
    isolate(c)
    assert c.Autograde.autograde_preprocessors == [GRADE, "my.Step"]
    assert c.Autograde.sanitize_preprocessors == [RESTORE, *SANITIZE, "my.Other"]
