"""From a submission to a verdict: run every check, explain what failed, name the mistake, add up the points."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence, Set
from functools import cache
from types import CodeType
from typing import Any

import msgspec
import numpy as np

from dlgrade.course import registry
from dlgrade.course.compare import Failure, Wrong, describe
from dlgrade.course.spec import Chapter, Check, Exercise, Mistake
from dlgrade.grading.diagnose import CHECK_FAILURES, Catalogue
from dlgrade.grading.results import ChapterResult, CheckResult, ExerciseResult, Status, exercise_result
from dlgrade.grading.seeds import Seed
from dlgrade.grading.student import SandboxStudent, Student, StudentFailure, builtin_error, described, signatures_of
from dlgrade.sandbox.launch import Launcher
from dlgrade.sandbox.session import Session, Source

# After this many calls of one function ran out of time, its remaining checks are not tried.
MAX_TIMEOUTS = 2
MAX_MESSAGE = 4000

Progress = Callable[[Exercise, Check], None]


# Under a secret seed nothing is said that student code could have shaped: names, types and sizes carry inputs out as
# well as printed text does.
WITHHELD: dict[Status, str] = {
    "failed": "What came back is not what the exercise asks for.",
    "error": "The code raised an error.",
    "missing": "It is still to do.",
    "timeout": "It did not end in time.",
    "crashed": "Its process ended before it returned.",
    "refused": "What came back is no plain numbers.",
    "skipped": "It needs a value from a call that failed.",
}


class Solution:
    """A chapter's worked solution, compiled once: what mistakes are built from."""

    def __init__(self, chapter: Chapter) -> None:
        path = registry.solution_file(chapter)
        text = path.read_text(encoding="utf-8")
        self.source = Source((text,), path.name, f"solution_{chapter.id}")
        self.code: CodeType = compile(text, path.name, "exec")
        self.signatures = signatures_of(text)


@cache
def solution(chapter_id: str) -> Solution:
    return Solution(registry.chapter(chapter_id))


class Grader:
    """Grades submissions of one chapter under one seed; what is drawn and expected is computed once."""

    def __init__(self, chapter: Chapter, seed: Seed, launcher: Launcher, *, reveal: bool | None = None) -> None:
        self.chapter, self.seed, self.launcher = chapter, seed, launcher
        self.reveal = (not seed.secret) if reveal is None else reveal
        self.drawn: dict[tuple[str, str], Any] = {}
        solved = solution(chapter.id)
        self.signatures = solved.signatures
        self.catalogue = Catalogue(solved.source, solved.code)

    def prepare(self, exercise: Exercise, check: Check) -> Any:
        """The cases of a check and what is expected of them."""
        key = (exercise.name, check.name)
        if key not in self.drawn:
            self.drawn[key] = check.draw(self.seed.rng(self.chapter.id, *key))
        return self.drawn[key]

    def grade(
        self,
        source: Source,
        *,
        sha256: str = "",
        only: Set[str] | None = None,
        recognised: Set[str] = frozenset(),
        progress: Progress | None = None,
    ) -> ChapterResult:
        """The result for one submission. `only` names the exercises to grade, if not all, and `recognised` mistakes
        that were recognised in exercises before them.
        """
        started = time.monotonic()
        exercises = [e for e in self.chapter.exercises if only is None or e.name in only]
        sha256 = sha256 or hashlib.sha256(source.text.encode("utf-8", "surrogatepass")).hexdigest()
        if source.filename.endswith(".ipynb"):  # its plots and experiments are no answer
            source = msgspec.structs.replace(source, wanted=tuple(sorted(asked_for(exercises))))
        for _attempt in (1, 2):
            with Session(self.launcher, source) as session:
                session.start()
                stdout = session.take_stdout()
                run = _Run(self, session, progress)
                run.recognised = [m for e in self.chapter.exercises for m in e.mistakes if m.name in recognised]
                results = tuple(run.exercise(e) for e in exercises)
            if not session.killed:  # by somebody else: a system out of memory, say, which is no fault of the code
                break
        return ChapterResult(
            chapter=self.chapter.id,
            title=self.chapter.title,
            file=source.filename,
            sha256=sha256,
            seed="secret" if self.seed.number is None else self.seed.number,
            seed_fingerprint=self.seed.fingerprint,
            sandbox=self.launcher.walls,
            score=sum(r.score for r in results),
            max_score=sum(r.max_score for r in results),
            duration_s=round(time.monotonic() - started, 3),
            problem=file_problem(session, reveal=self.reveal),
            stdout=stdout if self.reveal else "",
            exercises=results,
        )


def asked_for(exercises: Sequence[Exercise]) -> set[str]:
    """The names that the checks of these exercises ask a file for."""
    named = {name for e in exercises for name in (*e.functions, *(f for check in e.checks for f in check.functions))}
    return {name.partition(".")[0] for name in named}


class _Run:
    """One submission being graded."""

    def __init__(self, grader: Grader, session: Session, progress: Progress | None) -> None:
        self.grader, self.session, self.progress = grader, session, progress
        self.timeouts: dict[str, int] = {}
        self.recognised: list[Mistake] = []

    def exercise(self, exercise: Exercise) -> ExerciseResult:
        results: list[CheckResult] = []
        for check in exercise.checks:
            if self.progress:
                self.progress(exercise, check)
            results.append(self.check(exercise, check, {r.name for r in results if r.status == "passed"}))
        stdout = self.session.take_stdout()
        return exercise_result(exercise.name, _beside(exercise, results), stdout if self.grader.reveal else "")

    def check(self, exercise: Exercise, check: Check, passed: set[str]) -> CheckResult:
        unmet = [name for name in check.needs if name not in passed]
        if unmet:
            return _result(check, "skipped", f"Not tried until this passes: {', '.join(unmet)}.")
        spent = [f for f in check.functions if self.timeouts.get(f, 0) >= MAX_TIMEOUTS]
        if spent:
            return _result(check, "timeout", f"Not tried: {spent[0]} ran out of time before.")
        drawn = self.grader.prepare(exercise, check)
        self.session.begin_check()
        student = SandboxStudent(self.session, self.grader.signatures)
        student.cpu_s = check.cpu_s
        try:
            # Answers may be anything: comparing them is no reason to warn whoever grades.
            with np.errstate(all="ignore"):
                check.run(student, drawn)
        except Wrong as wrong:
            return self.failed(exercise, check, drawn, student, wrong)
        except StudentFailure as failure:
            return self.no_answer(exercise, check, drawn, student, failure)
        except CHECK_FAILURES:
            return self.failed(exercise, check, drawn, student, unreadable(student))
        return _result(check, "passed")

    def failed(self, exercise: Exercise, check: Check, drawn: Any, student: Student, wrong: Wrong) -> CheckResult:
        mistake = self.recognise(exercise, check, drawn, student)
        return _result(check, "failed", self.message(wrong, student), mistake)

    def no_answer(
        self, exercise: Exercise, check: Check, drawn: Any, student: Student, failure: StudentFailure
    ) -> CheckResult:
        if failure.status == "timeout" and failure.call:
            name = failure.call.function
            self.timeouts[name] = self.timeouts.get(name, 0) + 1
        mistake = self.recognise(exercise, check, drawn, student) if failure.status in ("error", "refused") else None
        if failure.status == "missing" and (near := self.near_name(failure)):
            failure.text += near
        return _result(check, failure.status, self.message(failure, student), mistake)

    def recognise(self, exercise: Exercise, check: Check, drawn: Any, student: Student) -> Mistake | None:
        """The mistake whose answers these are: one of the exercise's, or one recognised in an earlier exercise, whose
        functions this one may call. A training run is too long to repeat for every mistake.
        """
        if check.kind == "training":
            return None
        mistakes = (*exercise.mistakes, *self.recognised)
        found = self.grader.catalogue.recognise(exercise.name, check, drawn, student.transcript, mistakes)
        if found and not any(found is known for known in self.recognised):
            self.recognised.append(found)
        return found

    def message(self, error: Failure, student: Student) -> str:
        """One failure in full: the case, the call, what is wrong with it, and the numbers where they may be shown."""
        where = f"On {error.reason}: " if error.reason else ""
        if not self.grader.reveal:
            return where + WITHHELD[error.status if isinstance(error, StudentFailure) else "failed"]
        if isinstance(error, StudentFailure) and error.status == "missing":
            return error.text
        call = f"{described(error.call, student, values=True)}\n" if error.call is not None else ""
        text = error.text if error.text.startswith("`") else error.text[:1].upper() + error.text[1:]
        return f"{where}{call}{text}\n{error.values}".strip()

    def near_name(self, failure: StudentFailure) -> str:
        """What may explain an absent function: the file stopped early, or the name is spelt differently."""
        if "There is no" not in failure.text or failure.call is None:
            return ""
        problem = file_problem(self.session, reveal=self.grader.reveal)
        if problem:
            return " The file stopped before: see above."
        import difflib

        names = self.session.loaded.get("names")
        known = [n for n in names if type(n) is str] if type(names) is list else []
        near = difflib.get_close_matches(failure.call.function, known, n=1)
        return f" Did you mean it to be your `{near[0][:60]}`?" if near else ""


def unreadable(student: Student) -> Wrong:
    """For an answer of a kind that a check did not expect: say what came back instead of what it did to the check."""
    call, reply = student.transcript[-1]
    wrong = Wrong(f"`{call.function}` returned {describe(reply.value)}, which is not what the exercise asks for.")
    wrong.call = call
    return wrong


def _beside(exercise: Exercise, results: Sequence[CheckResult]) -> tuple[CheckResult, ...]:
    """The results without the points of checks that say nothing alone, where no other is passed."""
    pairs = list(zip(exercise.checks, results, strict=True))
    if any(check.alone and result.status == "passed" for check, result in pairs):
        return tuple(results)
    alone = "Not counted until another check of this exercise passes."
    return tuple(_result(check, "skipped", alone) if r.status == "passed" else r for check, r in pairs)


def _result(check: Check, status: Status, message: str = "", mistake: Mistake | None = None) -> CheckResult:
    return CheckResult(
        name=check.name,
        kind=check.kind,
        score=check.points if status == "passed" else 0,
        max_score=check.points,
        status=status,
        message=message[:MAX_MESSAGE],
        mistake=mistake.name if mistake else "",
        advice=mistake.advice if mistake else "",
    )


def file_problem(session: Session, *, reveal: bool) -> str:
    """Why a file did not run to its end, or an empty string."""
    if session.dead is not None:
        detail = session.dead.detail
        if str(detail.get("clock")).startswith("total"):
            return f"The file was given up after {detail['limit_s']:g} seconds in all: what was left was not tried."
        if session.dead.status == "timeout":
            seconds = f"{detail.get('limit_s', 0):g} seconds"
            return f"The file does not finish: it was stopped after {seconds}. Is there a loop at its top level?"
        if detail.get("restarts"):
            return "The file's process ended too often."
        if detail.get("full"):
            return "The file was stopped while it was being read: it wrote too many files, or too large ones."
        if detail.get("flood"):
            return "The file's process sent more than the grader takes: what was left was not tried."
        if detail.get("forged"):
            return "The file's process sent something that is no answer, so nothing of it could be graded."
        return "The file ended its process while it was being read, so nothing of it could be graded."
    failed = session.loaded.get("failed")
    if type(failed) is not dict:
        return _shadowed_numpy(session)
    return _stopped(failed, session, reveal)


def _stopped(failed: dict[str, Any], session: Session, reveal: bool) -> str:
    kind = builtin_error(failed) or "an error of its own kind"
    trace = failed.get("trace")
    line = trace[-1][0] if type(trace) is list and trace and type(trace[-1]) is tuple else None
    where = f" at line {line}" if type(line) is int and line and reveal else ""
    message = f": {str(failed.get('message', ''))[:300]}" if reveal and failed.get("message") else ""
    if kind == "SystemExit":
        return f"The file ends itself{where}: it calls exit. What comes after is not graded."
    if kind in ("ModuleNotFoundError", "ImportError"):
        return f"The file stopped{where}{message}. Only NumPy and the standard library are there while it is graded."
    stopped = "could not be read" if kind in ("SyntaxError", "IndentationError", "TabError") else "stopped"
    return f"The file {stopped}{where}: {kind}{message}"


def _shadowed_numpy(session: Session) -> str:
    if session.loaded.get("np_is_numpy") is False:
        return "The name `np` no longer means NumPy in this file: something else was assigned to it."
    return ""
