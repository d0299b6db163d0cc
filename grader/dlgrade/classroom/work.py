"""What a process does that grades for a class, wherever it runs: one submission in, one result out.

It is handed a seed and sources, and hands back results; which submissions there are, and the ledger, are the parent's.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

import msgspec

from dlgrade.classroom.versions import checks_version
from dlgrade.course import registry
from dlgrade.grading.grader import Grader
from dlgrade.grading.results import ChapterResult
from dlgrade.grading.seeds import Seed
from dlgrade.grading.submissions import Submission
from dlgrade.report.json import scrub
from dlgrade.sandbox.launch import Launcher, Mode, SandboxError, launcher
from dlgrade.sandbox.session import Source


class Setup(msgspec.Struct, frozen=True):
    """What all submissions of a run share. `key` and `number` are the seed's; `checks` are the expected versions."""

    key: bytes
    number: int | None
    sandbox: Mode
    reveal: bool
    checks: dict[str, str]

    @property
    def seed(self) -> Seed:
        return Seed(self.key, self.number)


class Task(msgspec.Struct, frozen=True):
    """One submission to grade. Its cells are bytes, for a notebook can hold half a character, which is no UTF-8."""

    number: int
    chapter: str
    cells: tuple[bytes, ...]
    filename: str
    module: str
    sha256: str

    @property
    def source(self) -> Source:
        cells = tuple(cell.decode("utf-8", "surrogatepass") for cell in self.cells)
        return Source(cells, self.filename, self.module)


def task(number: int, chapter: str, submission: Submission) -> Task:
    """The task to grade a submission."""
    source = submission.source
    cells = tuple(cell.encode("utf-8", "surrogatepass") for cell in source.cells)
    return Task(number, chapter, cells, source.filename, source.module, submission.sha256)


class Outcome(msgspec.Struct, frozen=True):
    """What became of a task: a result and the seconds it took, or why the grader has none."""

    number: int
    result: ChapterResult | None
    seconds: float = 0.0
    failure: str = ""


class SetupError(RuntimeError):
    """This process cannot grade as it is asked to; the message is one sentence."""


class Kit:
    """Graders of a run's chapters under its seed, and the nursery they share once this process needs one."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.launcher: Launcher | None = None
        self.graders: dict[str, Grader] = {}

    def prepare(self, chapters: tuple[str, ...], *, mistakes: bool) -> None:
        """Draw every check's inputs and work out what is expected, and what `mistakes` answer, for later forks."""
        for id in chapters:
            grader = self._grader(id)
            exercises = grader.chapter.exercises
            known = [mistake for exercise in exercises for mistake in exercise.mistakes] if mistakes else []
            for exercise, check in ((e, c) for e in exercises for c in e.checks):
                drawn = grader.prepare(exercise, check)
                for mistake in known if check.kind != "training" else ():
                    grader.catalogue.answers(exercise.name, check, drawn, mistake)

    def _grader(self, id: str) -> Grader:
        if id not in self.graders:
            expected = self.setup.checks.get(id)
            if expected is not None and expected != checks_version(id):
                raise SetupError(f"the checks of {id} are of another version here: install the same dlgrade everywhere")
            nowhere: Any = None
            chapter = registry.chapter(id)
            self.graders[id] = Grader(chapter, self.setup.seed, nowhere, reveal=self.setup.reveal)
        return self.graders[id]

    def start(self) -> str:
        """Start the nursery; returns the walls that stand. Raises `SetupError` if those that are asked for cannot."""
        try:
            self.launcher = launcher(self.setup.sandbox)
            return self.launcher.walls
        except SandboxError as error:
            raise SetupError(str(error)) from None

    def close(self) -> None:
        if self.launcher is not None:
            with contextlib.suppress(OSError):
                self.launcher.close()
            self.launcher = None

    def grade(self, task: Task) -> Outcome:
        """The outcome of a task. A grader that fails has no result, which is no 0 for the student."""
        for _attempt in (1, 2):
            try:
                return self._grade(task)
            except SandboxError as error:
                # The nursery is gone, for want of memory say: a new one may do.
                self.close()
                failure = str(error)
            except SetupError:
                raise
            except Exception as error:
                self.close()
                failure = f"the grader failed: {type(error).__name__}: {error}"[:500]
                break
        return Outcome(task.number, None, failure=failure)

    def _grade(self, task: Task) -> Outcome:
        grader = self._grader(task.chapter)
        if self.launcher is None:
            self.start()
        assert self.launcher is not None
        grader.launcher = self.launcher
        result = storable(grader.grade(task.source, sha256=task.sha256))
        return Outcome(task.number, result, result.duration_s)


def storable(result: ChapterResult) -> ChapterResult:
    """The same result, what is no UTF-8 in a student's words written out."""
    try:
        msgspec.msgpack.encode(result)
        return result
    except UnicodeEncodeError:
        return msgspec.convert(scrub(msgspec.to_builtins(result)), ChapterResult)


def pin_threads() -> None:
    """One BLAS thread a process, before NumPy is loaded: the processes share the cores, and a fork owns its threads."""
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
