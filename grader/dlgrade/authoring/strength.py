"""How strong a chapter's checks are: how many small faults in its solution lose points.

A mutant that no check can tell from the solution is either equivalent, and then listed with the reason in
`equivalent.toml`, or a hole in the checks.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Callable, Iterable
from importlib import resources

import msgspec

from dlgrade.authoring.mutants import Mutant, mutants
from dlgrade.course import registry
from dlgrade.course.compare import Wrong
from dlgrade.course.spec import Chapter, Check, Exercise
from dlgrade.grading.diagnose import CHECK_FAILURES
from dlgrade.grading.grader import Grader, solution
from dlgrade.grading.seeds import public_seed
from dlgrade.grading.student import SandboxStudent, StudentFailure
from dlgrade.sandbox.launch import Launcher
from dlgrade.sandbox.session import Session, Source

SEED = 0


class Equivalent(msgspec.Struct, frozen=True):
    """A change that leaves the function as right as it was, and why: the mutants whose names are in `mutants`."""

    why: str
    mutants: tuple[str, ...]


class Strength(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a chapter's mutants. `stale` are names in the list of equivalents that no surviving mutant
    has, or no mutant at all if only some were tried."""

    chapter: str
    mutants: int
    killed: int
    equivalent: int
    survived: tuple[str, ...]
    stale: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.survived and not self.stale


def equivalents(chapter_id: str) -> Counter[str]:
    """The names of a chapter's listed equivalent mutants; a name stands as often as it is listed."""
    text = resources.files("dlgrade.authoring").joinpath("equivalent.toml").read_text(encoding="utf-8")
    listed = msgspec.convert(tomllib.loads(text), dict[str, list[Equivalent]])
    return Counter(name for entry in listed.get(chapter_id, []) for name in entry.mutants)


def strength(
    chapter: Chapter, launcher: Launcher, *, every: int = 1, first: int = 0, tell: Callable[[str], None]
) -> Strength:
    """Grade every mutant of a chapter's solution, or from the `first` on `every` second, third ... of them."""
    grader = Grader(chapter, public_seed(SEED), launcher)
    possible = list(mutants(registry.solution_file(chapter).read_text(encoding="utf-8")))
    made, listed = possible[first::every], equivalents(chapter.id)
    survived: Counter[str] = Counter()
    for number, mutant in enumerate(made, 1):
        tell(f"{chapter.id}: mutant {number} of {len(made)}, {survived.total()} survive")
        # A survivor costs every check, training included: of a sample those that are explained are believed.
        if (every > 1 and mutant.name in listed) or not loses_points(grader, mutant):
            survived[mutant.name] += 1
    unlisted = survived - listed
    known = survived if every == 1 else Counter(mutant.name for mutant in possible)
    return Strength(
        chapter=chapter.id,
        mutants=len(made),
        killed=len(made) - survived.total(),
        equivalent=(survived & listed).total(),
        survived=tuple(sorted(unlisted.elements())),
        stale=tuple(sorted((listed - known).elements())),
    )


def loses_points(grader: Grader, mutant: Mutant) -> bool:
    """Whether some check fails. The likeliest come first, and those that train only if nothing else tells."""
    solved = solution(grader.chapter.id).source
    source = Source((mutant.source,), solved.filename, solved.module)
    with Session(grader.launcher, source) as session:
        session.start()
        return any(_fails(grader, session, e, c) for e, c in _likeliest_first(grader.chapter, mutant))


def _likeliest_first(chapter: Chapter, mutant: Mutant) -> Iterable[tuple[Exercise, Check]]:
    name = mutant.function.split(".")[0]
    pairs = [(e, c) for e in chapter.exercises for c in e.checks]
    return sorted(pairs, key=lambda p: (p[1].kind == "training", all(f.split(".")[0] != name for f in p[0].functions)))


def _fails(grader: Grader, session: Session, exercise: Exercise, check: Check) -> bool:
    student = SandboxStudent(session, grader.signatures)
    student.cpu_s = check.cpu_s
    try:
        check.run(student, grader.prepare(exercise, check))
    except (Wrong, StudentFailure, *CHECK_FAILURES):
        return True
    return False


def table(reports: list[Strength]) -> str:
    """The reports as a table, and below it every mutant that survives unexplained."""
    head = f"{'chapter':9}{'mutants':>9}{'killed':>9}{'equivalent':>12}{'survived':>10}\n"
    total = Strength(
        chapter="all",
        mutants=sum(r.mutants for r in reports),
        killed=sum(r.killed for r in reports),
        equivalent=sum(r.equivalent for r in reports),
        survived=tuple(name for r in reports for name in r.survived),
        stale=(),
    )
    rows = "".join(
        f"{r.chapter:9}{r.mutants:>9}{r.killed:>9}{r.equivalent:>12}{len(r.survived):>10}\n" for r in [*reports, total]
    )
    problems = [f"{r.chapter}: survives: {name}" for r in reports for name in r.survived]
    problems += [
        f"{r.chapter}: listed as equivalent, but is killed or gone: {name}" for r in reports for name in r.stale
    ]
    return head + rows + ("\n" + "\n".join(problems) + "\n" if problems else "")
