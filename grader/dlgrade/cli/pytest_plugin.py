"""`pytest --dlgrade ch305 --dlgrade-file f.py`: every hidden check is a test item, for a CI that speaks pytest.

Installed with the package, and idle unless asked: nothing but pytest is imported before. A file is graded in the
sandbox, exercise by exercise, when the first of an exercise's items runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("dlgrade", "grading a chapter of the deep-learning course")
    group.addoption(
        "--dlgrade", action="append", default=[], metavar="CHAPTER", help="grade this chapter; may be repeated"
    )
    group.addoption("--dlgrade-file", metavar="PATH", help="the file to grade, or a folder that holds chapter files")
    group.addoption("--dlgrade-seed", type=int, metavar="N", help="draw the inputs from this number")
    group.addoption("--dlgrade-seed-file", metavar="PATH", help="draw the inputs from the secret in this file")
    group.addoption(
        "--dlgrade-sandbox", choices=["auto", "strict", "off"], default="auto", help="the walls around student code"
    )


def pytest_configure(config: pytest.Config) -> None:
    # Without paths of its own such a run is about the chapters alone: no other test is looked for.
    if config.getoption("--dlgrade") and config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.pluginmanager.register(_NothingElse(), "dlgrade-nothing-else")


class _NothingElse:
    def pytest_ignore_collect(self) -> bool:
        return True


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    for name in config.getoption("--dlgrade"):
        items += _items(session, config, name)


def _items(session: pytest.Session, config: pytest.Config, name: str) -> list[pytest.Item]:
    from dlgrade.cli.errors import InputError
    from dlgrade.cli.targets import find, named_chapter
    from dlgrade.grading.seeds import PRACTICE_SEED, SeedError, public_seed, secret_seed
    from dlgrade.grading.submissions import SubmissionError, read

    file, number, secret = (config.getoption(f"--dlgrade-{option}") for option in ("file", "seed", "seed-file"))
    try:
        if number is not None and secret:
            raise InputError("give either --dlgrade-seed or --dlgrade-seed-file, not both")
        chapter = named_chapter(name)
        submission = read(find(chapter, Path(file) if file else None), chapter.stem)
        seed = secret_seed(Path(secret)) if secret else public_seed(PRACTICE_SEED if number is None else number)
    except (InputError, SubmissionError, SeedError) as error:
        raise pytest.UsageError(f"dlgrade: {error}") from None
    grading = _Grading(chapter, submission, seed, config.getoption("--dlgrade-sandbox"))
    session.config.add_cleanup(grading.close)
    made: list[pytest.Item] = []
    root = _Chapter.from_parent(session, name=chapter.id, nodeid=chapter.id)
    for exercise in chapter.exercises:
        parent = _Chapter.from_parent(root, name=exercise.name, nodeid=f"{chapter.id}::{exercise.name}")
        for check in exercise.checks:
            made.append(_Check.from_parent(parent, name=check.name, grading=grading, exercise=exercise.name))
    return made


class _Grading:
    """One submission, its exercises graded when they are first asked for."""

    def __init__(self, chapter: Any, submission: Any, seed: Any, sandbox: str) -> None:
        self.chapter, self.submission, self.seed, self.sandbox = chapter, submission, seed, sandbox
        self.grader: Any = None
        self.results: dict[str, Any] = {}
        self.problem = ""

    def check(self, exercise: str, name: str) -> Any:
        """The result of one check."""
        from dlgrade.grading.grader import Grader
        from dlgrade.sandbox.launch import SandboxError, launcher

        if exercise not in self.results:
            try:
                if self.grader is None:
                    self.grader = Grader(self.chapter, self.seed, launcher(self.sandbox))  # type: ignore[arg-type]
                result = self.grader.grade(self.submission.source, sha256=self.submission.sha256, only={exercise})
            except SandboxError as error:
                raise pytest.UsageError(f"dlgrade: {error}") from None
            self.problem = result.problem
            [self.results[exercise]] = result.exercises
        return next(check for check in self.results[exercise].checks if check.name == name)

    def close(self) -> None:
        if self.grader is not None:
            self.grader.launcher.close()


class _Chapter(pytest.Collector):
    """A chapter or an exercise, as the parent of its checks."""

    def collect(self) -> list[pytest.Item]:
        return []


class CheckFailed(Exception):
    """A check that did not pass; says why as the other reports do."""


class _Check(pytest.Item):
    """One check of one exercise."""

    def __init__(self, *, grading: _Grading, exercise: str, **rest: Any) -> None:
        super().__init__(**rest)
        self.grading, self.exercise = grading, exercise

    def runtest(self) -> None:
        from dlgrade.report.parts import explanation
        from dlgrade.report.safe import head

        check = self.grading.check(self.exercise, self.name)
        self.user_properties += [("points", check.score), ("max_points", check.max_score)]
        if check.mistake:
            self.user_properties.append(("mistake", check.mistake))
        if check.status == "skipped":
            pytest.skip(explanation(check))
        if check.status != "passed":
            problem = f"{head(self.grading.problem)}\n" if self.grading.problem else ""
            raise CheckFailed(problem + explanation(check))

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        return str(excinfo.value) if isinstance(excinfo.value, CheckFailed) else super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, f"{self.grading.chapter.id} {self.exercise}: {self.name}"
