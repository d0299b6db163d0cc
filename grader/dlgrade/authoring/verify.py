"""The law for chapters: the solution is right on every seed, the stub scores nothing, every mistake is
caught and named, and no check is loose.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from dlgrade.authoring.stubs import StubError, stub
from dlgrade.course import registry
from dlgrade.course.compare import Wrong, measured
from dlgrade.course.spec import Chapter, Exercise, Mistake
from dlgrade.grading.grader import Grader, solution
from dlgrade.grading.results import ChapterResult
from dlgrade.grading.seeds import public_seed
from dlgrade.grading.student import LocalStudent, SandboxStudent, StudentFailure
from dlgrade.grading.submissions import read
from dlgrade.sandbox.launch import Launcher
from dlgrade.sandbox.session import Session

SOLUTION_MARGIN = 0.1
MISTAKE_MARGIN = 10.0
FALSE_ALARM = 1e-9
MISTAKE_SEEDS = 10


class ChapterReport(msgspec.Struct, frozen=True, kw_only=True):
    """What verification found. `tightest` is the solution's largest error in tolerances, `weakest` the smallest that a
    mistake makes in the check that shows it best."""

    chapter: str
    ok: bool
    exercises: int
    checks: int
    mistakes: int
    seeds: int
    tightest: float
    weakest: float
    problems: tuple[str, ...]


def verify(
    chapter: Chapter, launcher: Launcher, *, seeds: int, training_seeds: int, tell: Callable[[str], None]
) -> ChapterReport:
    """Verify one chapter on `seeds` seeds, training checks on the first `training_seeds` of them."""
    problems = list(_declarations(chapter))
    problems += _files(chapter)
    tightest, weakest = 0.0, math.inf
    if not problems:
        for number in range(seeds):
            tell(f"{chapter.id}: solution, seed {number}")
            ratio, found = _solution(chapter, launcher, number, training=number < training_seeds)
            tightest = max(tightest, ratio)
            problems += found
            if found:
                break
        tell(f"{chapter.id}: stub")
        problems += _stub(chapter, launcher)
        for number in range(min(seeds, MISTAKE_SEEDS)):
            tell(f"{chapter.id}: mistakes, seed {number}")
            ratio, found = _mistakes(chapter, launcher, number)
            weakest = min(weakest, ratio)
            problems += found
    return ChapterReport(
        chapter=chapter.id,
        ok=not problems,
        exercises=len(chapter.exercises),
        checks=sum(len(e.checks) for e in chapter.exercises),
        mistakes=sum(len(e.mistakes) for e in chapter.exercises),
        seeds=seeds,
        tightest=tightest,
        weakest=weakest,
        problems=tuple(dict.fromkeys(problems)),
    )


def _declarations(chapter: Chapter) -> Iterator[str]:
    """What can be read off a chapter without running it."""
    if chapter.points != 100:
        yield f"the exercises add up to {chapter.points} points, not 100"
    names = [e.name for e in chapter.exercises]
    mistakes = [m.name for e in chapter.exercises for m in e.mistakes]
    for kind, found in (("exercise", names), ("mistake", mistakes)):
        for name in {n for n in found if found.count(n) > 1}:
            yield f"two {kind}s are called {name}"
    for exercise in chapter.exercises:
        checks = [c.name for c in exercise.checks]
        for name in {n for n in checks if checks.count(n) > 1}:
            yield f"{exercise.name}: two checks are called {name!r}"
        for check in exercise.checks:
            if check.points < 1:
                yield f"{exercise.name}: {check.name!r} is worth no points"
            if check.kind == "statistical" and not 0 < check.false_alarm < FALSE_ALARM:
                yield f"{exercise.name}: {check.name!r} states no false-alarm rate below {FALSE_ALARM:g}"
            for need in set(check.needs) - set(checks):
                yield f"{exercise.name}: {check.name!r} needs {need!r}, which is no check of this exercise"
        for hint in exercise.hints:
            if re.search(r"\blines? \d", hint):
                yield f"{exercise.name}: a hint names a line number"
        if not exercise.mistakes:
            yield f"{exercise.name}: no mistake is listed"
        for mistake in exercise.mistakes:
            if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", mistake.name):
                yield f"the mistake {mistake.name!r} is not named in lower-case words joined by hyphens"


def _files(chapter: Chapter) -> Iterator[str]:
    """Solution and stub: there, current, documented."""
    solved, exercise = registry.solution_file(chapter), registry.exercise_file(chapter)
    for path in (solved, exercise):
        if not path.is_file():
            yield f"there is no {path.parent.name}/{path.name}"
            return
    text = solved.read_text(encoding="utf-8")
    try:
        if stub(text) != exercise.read_text(encoding="utf-8"):
            yield "the stub is stale: run `dlgrade author stubs`"
    except StubError as error:
        yield f"the stub cannot be made: {error}"
    yield from _docstrings(chapter, text)


def _docstrings(chapter: Chapter, text: str) -> Iterator[str]:
    tree = ast.parse(text)
    documented = {
        n.name: ast.get_docstring(n) or "" for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.ClassDef))
    }
    for exercise in chapter.exercises:
        for function in exercise.functions:
            name = function.split(".")[-1]
            if name not in documented:
                yield f"the solution has no {function}"
            elif not re.search(r"\(\w*,|\([A-Z]\w*\)|shape|number", documented[name]):
                yield f"the docstring of {function} states no shapes"
            elif "xample" not in documented[name]:
                yield f"the docstring of {function} has no example"


def _solution(chapter: Chapter, launcher: Launcher, seed: int, *, training: bool) -> tuple[float, list[str]]:
    """The solution in the sandbox: its largest error in tolerances, and every check that it fails."""
    grader = Grader(chapter, public_seed(seed), launcher)
    worst, problems = 0.0, []
    with Session(launcher, solution(chapter.id).source) as session:
        session.start()
        for exercise in chapter.exercises:
            for check in exercise.checks:
                if check.kind == "training" and not training:
                    continue
                student = SandboxStudent(session, {})
                student.cpu_s = check.cpu_s
                with measured() as ratios:
                    try:
                        check.run(student, grader.prepare(exercise, check))
                    except (Wrong, StudentFailure) as error:
                        problems.append(
                            f"{exercise.name}: the solution fails {check.name!r} on seed {seed}: {error.text} "
                            f"{error.values}"
                        )
                ratio = max(ratios, default=0.0)
                if ratio > SOLUTION_MARGIN and check.kind not in ("training", "statistical"):
                    problems.append(
                        f"{exercise.name}: {check.name!r} leaves the solution too little room ({ratio:.2g} of "
                        f"the tolerance)"
                    )
                if check.kind not in ("training", "statistical"):
                    worst = max(worst, ratio)
    return worst, problems


def _stub(chapter: Chapter, launcher: Launcher) -> list[str]:
    grader = Grader(chapter, public_seed(0), launcher)
    result: ChapterResult = grader.grade(read(registry.exercise_file(chapter), chapter.stem).source)
    problems = [f"the stub scores {result.score}"] if result.score else []
    if result.problem:
        problems.append(f"the stub does not run: {result.problem}")
    begun = [e.name for e in result.exercises if e.status != "missing"]
    return problems + ([f"the stub's {', '.join(begun)} does not end as missing"] if begun else [])


def _mistakes(chapter: Chapter, launcher: Launcher, seed: int) -> tuple[float, list[str]]:
    """Every mistake loses points by a wide margin and is called by its name."""
    grader = Grader(chapter, public_seed(seed), launcher)
    weakest, problems = math.inf, []
    for exercise in chapter.exercises:
        for mistake in exercise.mistakes:
            for replaces in (mistake.replaces, *mistake.variants):
                margin, named = _caught(grader, exercise, mistake, replaces)
                if margin == 0:
                    problems.append(f"{exercise.name}: the mistake {mistake.name} loses no points on seed {seed}")
                elif margin < MISTAKE_MARGIN:
                    problems.append(
                        f"{exercise.name}: {mistake.name} fails by {margin:.2g} tolerances only on seed {seed}"
                    )
                if margin and named != {mistake.name}:
                    wrong = ", ".join(sorted(named - {mistake.name})) or "nothing"
                    problems.append(f"{exercise.name}: {mistake.name} is reported as {wrong} on seed {seed}")
                weakest = min(weakest, margin or math.inf)
    return weakest, problems


def _caught(
    grader: Grader, exercise: Exercise, mistake: Mistake, replaces: dict[str, Callable[..., object]]
) -> tuple[float, set[str]]:
    """The largest error, in tolerances, that a mistake shows in its own exercise, and the names it is given there."""
    solved = solution(grader.chapter.id)
    margin, named = 0.0, set()
    for check in exercise.checks:
        if check.kind == "training":
            continue
        drawn = grader.prepare(exercise, check)
        student = LocalStudent(solved.source, solved.code, replaces)
        try:
            check.run(student, drawn)
        except (Wrong, StudentFailure) as error:
            margin = max(margin, error.ratio if isinstance(error, Wrong) else math.inf)
            transcript = student.transcript
            found = grader.catalogue.recognise(exercise.name, check, drawn, transcript, exercise.mistakes)
            named |= {found.name} if found else set()
    return margin, named


def table(reports: list[ChapterReport]) -> str:
    """The reports as a table, and every problem below it."""
    head = f"{'chapter':9}{'exercises':>10}{'checks':>8}{'mistakes':>10}{'seeds':>7}{'solution':>11}{'mistakes':>11}\n"
    head += f"{'':9}{'':>10}{'':>8}{'':>10}{'':>7}{'at most':>11}{'at least':>11}\n"
    rows = "".join(
        f"{r.chapter:9}{r.exercises:>10}{r.checks:>8}{r.mistakes:>10}{r.seeds:>7}{r.tightest:>11.1g}{r.weakest:>11.1g}"
        f"  {'ok' if r.ok else 'NOT OK'}\n"
        for r in reports
    )
    problems = "".join(f"\n{r.chapter}: {problem}" for r in reports for problem in r.problems)
    return head + rows + "(errors in multiples of a check's tolerance)\n" + (problems + "\n" if problems else "")


def write_stubs(chapters: list[Chapter]) -> list[Path]:
    """Make every stub current; returns the files that changed."""
    changed = []
    for chapter in chapters:
        text = stub(registry.solution_file(chapter).read_text(encoding="utf-8"))
        path = registry.exercise_file(chapter)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed
