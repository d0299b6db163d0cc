"""The files of a course: what `dlgrade nbgrader init`, `add` and `export` write."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from dlgrade.course.spec import Chapter
from dlgrade.nbgrader.notebooks import source_notebook

CONFIG, SEED = "nbgrader_config.py", "dlgrade.seed"

_ISOLATE = """\
# dlgrade's chapters are graded in its sandbox; every other notebook is graded by nbgrader as always. Keep this below
# any change of yours to Autograde's preprocessors.
from dlgrade.nbgrader.config import isolate

isolate(c)

# What the hidden numbers are drawn from. It belongs to this course and to nobody else: never put it in source/ or
# release/, and keep it as long as the gradebook, for the same seed gives the same grades again.
c.IsolatedGrading.seed_file = "{seed}"

# The test cells of the projects train a network: `nbgrader validate` is to wait for them. Students who validate on a
# server of their own need the same line in its settings.
c.Execute.timeout = 600

# "strict" refuses to grade where the system cannot wall student code in (Linux with Landlock and seccomp can).
# c.IsolatedGrading.sandbox = "strict"

# Shows students the inputs and the expected values of what failed. They then know them for the next submission, too.
# c.IsolatedGrading.reveal = True
"""

_CONFIG = """\
# The settings of this course for nbgrader, written by `dlgrade nbgrader init`. They are yours to change:
# `nbgrader generate_config` lists what there is.
c = get_config()  # noqa: F821

c.CourseDirectory.course_id = {course!r}

"""


class CourseError(ValueError):
    """A course that cannot be written as asked; the message is one sentence."""


def init(course: Path, chapters: Iterable[Chapter]) -> Iterator[str]:
    """Write a course; yields a line for each thing that was done. Raises `CourseError` if there is one already."""
    if (course / CONFIG).exists():
        raise CourseError(f"{course} is a course already: `dlgrade nbgrader add {course}` adds chapters to it")
    notebooks = _notebooks(course, chapters)
    course.mkdir(parents=True, exist_ok=True)
    (course / CONFIG).write_text(_CONFIG.format(course=_course_id(course)), encoding="utf-8")
    yield from _write(course, notebooks)


def add(course: Path, chapters: Iterable[Chapter], *, assignment: str = "", force: bool = False) -> Iterator[str]:
    """Add chapters to a course, each an assignment of its own unless `assignment` names one for all of them."""
    config = course / CONFIG
    if not config.exists():
        raise CourseError(f"there is no {CONFIG} in {course}: `dlgrade nbgrader init {course}` makes a course")
    if assignment and not _is_assignment(assignment):
        raise CourseError(f"{assignment!r} cannot be the name of an assignment: it becomes that of a folder")
    notebooks = _notebooks(course, chapters, assignment)
    there = [str(path) for path in notebooks if path.exists()]
    if there and not force:
        raise CourseError(f"{', '.join(there)} exists and may hold changes of yours: --force writes it anew")
    yield from _write(course, notebooks)


def _is_assignment(name: str) -> bool:
    """Whether nbgrader takes the name, and it is that of one folder."""
    return name == Path(name).name == name.strip() and "+" not in name and not name.startswith(".")


def _notebooks(course: Path, chapters: Iterable[Chapter], assignment: str = "") -> dict[Path, str]:
    """The source notebooks, by where they go."""
    return {course / "source" / (assignment or c.id) / f"{c.stem}.ipynb": source_notebook(c) for c in chapters}


def _write(course: Path, notebooks: dict[Path, str]) -> Iterator[str]:
    yield from _isolated(course / CONFIG)
    for path, text in notebooks.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        yield f"wrote {path}"


def _isolated(config: Path) -> Iterator[str]:
    """Have the course's settings call `isolate`, and a seed where there is none."""
    text = config.read_text(encoding="utf-8")
    if "dlgrade.nbgrader" not in text:
        config.write_text(text + ("" if text.endswith("\n\n") else "\n") + _ISOLATE.format(seed=SEED), encoding="utf-8")
        yield f"{config} grades dlgrade's notebooks in the sandbox"
    seed = config.with_name(SEED)
    if not seed.exists():
        # Not even for a moment readable by others.
        with open(os.open(seed, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")
        yield f"wrote {seed}, the secret that the hidden numbers are drawn from: keep it, and keep it to yourself"


def _course_id(course: Path) -> str:
    return "-".join(course.resolve().name.split()) or "course"
