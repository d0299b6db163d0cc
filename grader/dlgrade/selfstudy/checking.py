"""Checking again and again: a warm sandbox, and of every file only what an edit can have touched."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from dlgrade.course import registry
from dlgrade.course.spec import Chapter, Check, Exercise
from dlgrade.grading.grader import Grader
from dlgrade.grading.results import ChapterResult, ExerciseResult
from dlgrade.grading.seeds import PRACTICE_SEED, public_seed
from dlgrade.grading.submissions import Submission, SubmissionError, read
from dlgrade.sandbox.launch import Ended, Launcher, Mode, SandboxError, launcher
from dlgrade.selfstudy import progress
from dlgrade.selfstudy.changes import fingerprints

# An editor may write a file in two steps; this long a file that cannot be read may become one that can.
SETTLE_S = 0.15


class Busy(msgspec.Struct, frozen=True):
    """A check is running: what the terminal can say meanwhile."""

    chapter: str
    text: str


class Verdict(msgspec.Struct, frozen=True):
    """A chapter's result, put together from new and earlier checks; `checked` are the exercises that are new in it, and
    `more` are on their way."""

    chapter: str
    result: ChapterResult
    checked: tuple[str, ...]
    more: bool


class Broken(msgspec.Struct, frozen=True):
    """The file cannot be checked as it is, or the grader failed at it; the text says why."""

    chapter: str
    text: str


class Unrecorded(msgspec.Struct, frozen=True):
    """Progress cannot be kept; the text says why."""

    text: str


Tell = Callable[[Busy | Verdict | Broken | Unrecorded], None]


class _Superseded(Exception):
    """Something newer is to be checked, or nothing any more."""


class _Request(msgspec.Struct, frozen=True):
    chapter: str
    path: Path
    everything: bool
    asked: float


class _Known(msgspec.Struct):
    """The last result of each exercise of a chapter and of which code, and what was said of the file as a whole."""

    exercises: dict[str, ExerciseResult]
    fingerprints: dict[str, str]
    sha256: dict[str, str]
    problem: str = ""
    stdout: str = ""


class Interruptible:
    """A launcher whose student process another thread can cut off: the call it is in ends at once.

    `unwanted` says whether what is being started has been overtaken already.
    """

    def __init__(self, mode: Mode, unwanted: Callable[[], bool]) -> None:
        self.mode, self.unwanted = mode, unwanted
        self.inner: Launcher = launcher(mode)
        self.channel: socket.socket | None = None

    @property
    def walls(self) -> str:
        return self.inner.walls

    @property
    def pid(self) -> int:
        return self.inner.pid

    def spawn(self) -> socket.socket:
        self.channel = self.inner.spawn()
        if self.unwanted():
            self.interrupt()
        return self.channel

    def reap(self) -> Ended:
        return self.inner.reap()

    def close(self) -> None:
        self.inner.close()

    def interrupt(self) -> None:
        channel = self.channel
        if channel is not None:
            with contextlib.suppress(OSError):  # it ended by itself
                channel.shutdown(socket.SHUT_RDWR)

    def restart(self) -> None:
        """A new start after the process that starts student code was lost."""
        with contextlib.suppress(SandboxError, OSError):
            self.inner.close()
        self.inner = launcher(self.mode)


class Checker(threading.Thread):
    """Checks what `ask` asks for, one chapter at a time; a newer question cuts the older one off."""

    def __init__(self, root: Path | None, mode: Mode, tell: Tell) -> None:
        super().__init__(daemon=True, name="checker")
        self.root, self.tell = root, tell
        self.changed = threading.Condition()
        self.request: _Request | None = None
        self.stopping = False
        self.sandbox = Interruptible(mode, self._superseded)
        self.known: dict[str, _Known] = {}
        self.graders: dict[str, Grader] = {}

    def ask(self, chapter: str, path: Path, *, everything: bool = False) -> None:
        """Check a chapter's file as it is now: what changed in it, or `everything`."""
        with self.changed:
            everything = everything or (
                self.request is not None and self.request.chapter == chapter and self.request.everything
            )
            self.request = _Request(chapter, path, everything, time.monotonic())
            # While nobody can have taken the new request up: what is cut off is certainly the old one.
            self.sandbox.interrupt()
            self.changed.notify()

    def stop(self) -> None:
        with self.changed:
            self.stopping = True
            self.sandbox.interrupt()
            self.changed.notify()

    def run(self) -> None:
        try:
            while (request := self._next()) is not None:
                with contextlib.suppress(_Superseded):
                    self._serve(request)
        finally:
            self.sandbox.close()

    def _next(self) -> _Request | None:
        with self.changed:
            while self.request is None and not self.stopping:
                self.changed.wait()
            request, self.request = self.request, None
            return None if self.stopping else request

    def _superseded(self) -> bool:
        return self.stopping or self.request is not None

    def _serve(self, request: _Request) -> None:
        try:
            self._check(request)
        except SandboxError as error:
            self.tell(Broken(request.chapter, str(error)))
            self.sandbox.restart()
        except _Superseded:
            raise
        except Exception as error:  # a watch that ends over one file is no help with the next
            self.tell(Broken(request.chapter, f"The grader itself failed: {type(error).__name__}: {error}"))

    def _check(self, request: _Request) -> None:
        chapter = registry.chapter(request.chapter)
        submission, prints = self._settled(request, chapter)
        known = self._known(chapter)
        stale = [e for e in chapter.exercises if request.everything or _stale(e.name, known, prints, submission.sha256)]
        groups = _groups(stale)
        if not groups:
            self._tell_verdict(chapter, submission, request, (), more=False)
        for number, group in enumerate(groups):
            result = self._grade(chapter, submission, group)
            for exercise in result.exercises:
                known.exercises[exercise.name] = exercise
                known.fingerprints[exercise.name] = prints[exercise.name]
                known.sha256[exercise.name] = submission.sha256
            known.problem, known.stdout = result.problem, result.stdout
            names = tuple(e.name for e in group)
            self._tell_verdict(chapter, submission, request, names, more=number + 1 < len(groups))
            self._record(chapter, result, prints)

    def _settled(self, request: _Request, chapter: Chapter) -> tuple[Submission, dict[str, str]]:
        """The file and its fingerprints; one that cannot be read gets a moment to become whole."""
        problem = ""
        for attempt in range(2):
            try:
                submission = read(request.path, chapter.stem)
                return submission, fingerprints(chapter, submission.source)
            except SubmissionError as error:
                problem = str(error)[:1].upper() + str(error)[1:]
            except SyntaxError as error:
                problem = _syntax(error)
            except (ValueError, RecursionError, MemoryError) as error:
                problem = f"The file cannot be read as Python: {error}"
            if attempt == 0:
                with self.changed:
                    self.changed.wait_for(self._superseded, SETTLE_S)
            if self._superseded():
                raise _Superseded
        self.tell(Broken(chapter.id, problem))
        raise _Superseded

    def _known(self, chapter: Chapter) -> _Known:
        """What is known of a chapter, at first from the recorded progress."""
        if chapter.id not in self.known:
            self.known[chapter.id] = known = _Known({}, {}, {})
            found = None
            if self.root is not None:
                with contextlib.suppress(progress.ProgressError):
                    found = progress.feedback(self.root, chapter)
            if found is not None:
                known.exercises = {e.name: e for e in found.result.exercises}
                known.fingerprints = dict(found.fingerprints)
                known.sha256 = dict.fromkeys(found.fingerprints, found.result.sha256)
                known.problem, known.stdout = found.result.problem, found.result.stdout
        return self.known[chapter.id]

    def _grade(self, chapter: Chapter, submission: Submission, group: list[Exercise]) -> ChapterResult:
        if chapter.id not in self.graders:
            self.graders[chapter.id] = Grader(chapter, public_seed(PRACTICE_SEED), self.sandbox)

        def tell(exercise: Exercise, check: Check) -> None:
            if self._superseded():
                raise _Superseded
            limit = f" (may take {check.cpu_s:g} s)" if check.kind == "training" else ""
            self.tell(Busy(chapter.id, f"{exercise.name}: {check.name}{limit}"))

        only = frozenset(e.name for e in group)
        before = [e.name for e in chapter.exercises[: chapter.exercises.index(group[0])] if e.name not in only]
        earlier = self.known[chapter.id].exercises
        recognised = frozenset(
            c.mistake for name in before if name in earlier for c in earlier[name].checks if c.mistake
        )
        result = self.graders[chapter.id].grade(
            submission.source, sha256=submission.sha256, only=only, recognised=recognised, progress=tell
        )
        if self._superseded():  # perhaps cut off in the middle of its last check
            raise _Superseded
        return result

    def _tell_verdict(
        self, chapter: Chapter, submission: Submission, request: _Request, checked: tuple[str, ...], *, more: bool
    ) -> None:
        known = self.known[chapter.id]
        exercises = tuple(known.exercises[e.name] for e in chapter.exercises if e.name in known.exercises)
        seconds = time.monotonic() - request.asked
        result = ChapterResult(
            chapter=chapter.id,
            title=chapter.title,
            file=submission.source.filename,
            sha256=submission.sha256,
            seed=PRACTICE_SEED,
            sandbox=self.sandbox.walls,
            score=sum(e.score for e in exercises),
            max_score=chapter.points,
            duration_s=round(seconds, 3),
            problem=known.problem,
            stdout=known.stdout,
            exercises=exercises,
        )
        self.tell(Verdict(chapter.id, result, checked, more))

    def _record(self, chapter: Chapter, result: ChapterResult, prints: dict[str, str]) -> None:
        if self.root is None:
            return
        try:
            progress.record(self.root, chapter, result, prints, "watch")
        except progress.ProgressError as error:
            self.tell(Unrecorded(str(error)))


def _stale(name: str, known: _Known, prints: dict[str, str], sha256: str) -> bool:
    """Whether an exercise must be checked again. An error quotes line numbers, which move with any edit above."""
    result = known.exercises.get(name)
    if result is None or known.fingerprints.get(name) != prints[name]:
        return True
    return known.sha256[name] != sha256 and any(check.status == "error" for check in result.checks)


def _groups(exercises: list[Exercise]) -> list[list[Exercise]]:
    """The quick ones together, so that their verdict is there at once; then those that train, one by one."""
    slow = [e for e in exercises if any(check.kind == "training" for check in e.checks)]
    quick = [e for e in exercises if e not in slow]
    return [group for group in (quick, *([e] for e in slow)) if group]


def _syntax(error: SyntaxError) -> str:
    text = f"The file could not be read at line {error.lineno}: {type(error).__name__}: {error.msg}"
    if error.text and error.text.strip():
        text += f"\n  {error.text.strip()}"
    return text
