"""What a class understood and what it did not: counts over rows, one chapter at a time. No score is computed here."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from statistics import fmean, median

import msgspec

from dlgrade.course import registry
from dlgrade.report.rows import Grade, Row, RowStatus

# More rows than this nobody reads: neighbouring scores are put together then, into so many bands.
MAX_ROWS = 500
BANDS = 120


class MistakeCount(msgspec.Struct, frozen=True, kw_only=True):
    """A mistake that students made: in which exercise, who, what it cost them in all, and what to say about it."""

    name: str
    exercise: str
    advice: str
    students: tuple[str, ...]
    points: int


class CheckCount(msgspec.Struct, frozen=True, kw_only=True):
    """A check that students failed without a mistake being recognised."""

    exercise: str
    check: str
    students: int
    statuses: tuple[tuple[str, int], ...]


class ExerciseCount(msgspec.Struct, frozen=True, kw_only=True):
    """An exercise: how many began it, had it all, and the mean of those who handed in, in its points."""

    name: str
    max_score: int
    mean: float
    begun: int
    full: int


class HeatRow(msgspec.Struct, frozen=True, kw_only=True):
    """A student's scores, or the means of several students next to each other in the order of scores."""

    label: str
    score: float
    exercises: tuple[float | None, ...]


class Attention(msgspec.Struct, frozen=True):
    """A submission that an instructor should look at."""

    student: str
    status: RowStatus
    note: str


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One chapter of a class. `scores` are those of the students whose file could be read, from high to low."""

    chapter: str
    title: str
    max_score: int
    rows: int
    statuses: dict[str, int]
    scores: tuple[int, ...]
    exercises: tuple[ExerciseCount, ...]
    mistakes: tuple[MistakeCount, ...]
    unnamed: tuple[CheckCount, ...]
    heat: tuple[HeatRow, ...]
    banded: int
    attention: tuple[Attention, ...]
    seed: str
    sandboxes: tuple[str, ...]

    @property
    def mean(self) -> float:
        return fmean(self.scores) if self.scores else 0.0

    @property
    def median(self) -> float:
        return float(median(self.scores)) if self.scores else 0.0

    @property
    def full(self) -> int:
        return sum(score == self.max_score for score in self.scores)

    def bins(self) -> list[tuple[str, int]]:
        """How many scored in each tenth of the points; full marks have a bin of their own."""
        counts = [0] * 11
        for score in self.scores:
            counts[10 * score // self.max_score] += 1
        edges = [(self.max_score * i + 9) // 10 for i in range(11)]
        labels = [f"{low}–{high - 1}" if high - 1 > low else str(low) for low, high in itertools.pairwise(edges)]
        return list(zip([*labels, str(self.max_score)], counts, strict=True))


class _Mistake:
    def __init__(self, exercise: str, advice: str) -> None:
        self.exercise, self.advice = exercise, advice
        self.points: Counter[str] = Counter()
        self.places: Counter[str] = Counter()


class Counting:
    """Takes the rows of one chapter one by one, and keeps of each only what is shown."""

    def __init__(self) -> None:
        self.count = 0
        self.statuses: Counter[str] = Counter()
        self.scored: list[tuple[int, str, tuple[int | None, ...]]] = []
        self.exercises: dict[str, int] = {}
        self.mistakes: dict[str, _Mistake] = {}
        self.unnamed: dict[tuple[str, str], Counter[str]] = {}
        self.attention: list[Attention] = []
        self.sandboxes: Counter[str] = Counter()
        self.first: Row | None = None

    def add(self, grade: Grade) -> None:
        row = grade.row
        self.first = self.first or row
        self.count += 1
        self.statuses[row.status] += 1
        if row.status != "graded":
            self.attention.append(Attention(row.student, row.status, row.note))
        if row.result is None:
            return
        self.sandboxes[row.result.sandbox] += 1
        scores: list[int | None] = []
        for exercise in row.result.exercises:
            self.exercises[exercise.name] = exercise.max_score
            scores.append(None if exercise.status == "missing" else exercise.score)
            for check in exercise.checks:
                if check.mistake:
                    made = self.mistakes.setdefault(check.mistake, _Mistake(exercise.name, check.advice))
                    made.points[row.student] += check.max_score
                    made.places[exercise.name] += 1
                elif check.status not in ("passed", "missing", "skipped"):
                    self.unnamed.setdefault((exercise.name, check.name), Counter())[check.status] += 1
        self.scored.append((row.score, row.student, tuple(scores)))

    def summary(self) -> Summary:
        """What the rows add up to; raises ValueError if there were none."""
        if self.first is None:
            raise ValueError("there is nothing to sum up")
        scored = sorted(self.scored, key=lambda item: (-item[0], item[1].casefold()))
        heat, banded = _heat(scored)
        return Summary(
            chapter=self.first.chapter,
            title=self.first.title,
            max_score=self.first.max_score,
            rows=self.count,
            statuses=dict(self.statuses),
            scores=tuple(score for score, _, _ in scored),
            exercises=tuple(self._exercises()),
            mistakes=self._mistakes(),
            unnamed=self._unnamed(),
            heat=heat,
            banded=banded,
            attention=tuple(self.attention),
            seed=self.first.seed,
            sandboxes=tuple(sorted(self.sandboxes)),
        )

    def _exercises(self) -> Iterable[ExerciseCount]:
        for index, (name, most) in enumerate(self.exercises.items()):
            column = [scores[index] for _, _, scores in self.scored]
            yield ExerciseCount(
                name=name,
                max_score=most,
                mean=fmean(score or 0 for score in column),
                begun=sum(score is not None for score in column),
                full=sum(score == most for score in column),
            )

    def _mistakes(self) -> tuple[MistakeCount, ...]:
        # A mistake shows wherever its function is used; what to speak about is the exercise that it belongs to.
        chapter = registry.chapter(self.first.chapter) if self.first else None
        home = {m.name: e.name for e in chapter.exercises for m in e.mistakes} if chapter else {}
        counted = [
            MistakeCount(
                name=name,
                exercise=home.get(name) or made.places.most_common(1)[0][0],
                advice=made.advice,
                students=tuple(sorted(made.points, key=str.casefold)),
                points=made.points.total(),
            )
            for name, made in self.mistakes.items()
        ]
        return tuple(sorted(counted, key=lambda m: (-len(m.students), -m.points, m.name)))

    def _unnamed(self) -> tuple[CheckCount, ...]:
        counted = [
            CheckCount(
                exercise=exercise, check=check, students=statuses.total(), statuses=tuple(statuses.most_common())
            )
            for (exercise, check), statuses in self.unnamed.items()
        ]
        return tuple(sorted(counted, key=lambda c: (-c.students, c.exercise, c.check)))


def _heat(scored: list[tuple[int, str, tuple[int | None, ...]]]) -> tuple[tuple[HeatRow, ...], int]:
    """A row for every student, or where they are too many to look at, for every so many; and how many that is."""
    size = -(-len(scored) // BANDS)
    if len(scored) <= MAX_ROWS:
        return tuple(HeatRow(label=s, score=total, exercises=scores) for total, s, scores in scored), 1
    rows = []
    for start in range(0, len(scored), size):
        band = scored[start : start + size]
        columns = zip(*(scores for _, _, scores in band), strict=True)
        rows.append(
            HeatRow(
                label=f"{start + 1} to {start + len(band)}",
                score=fmean(total for total, _, _ in band),
                exercises=tuple(None if all(s is None for s in c) else fmean(s or 0 for s in c) for c in columns),
            )
        )
    return tuple(rows), size


def summaries(grades: Iterable[Grade]) -> tuple[Summary, ...]:
    """A summary of every chapter among the rows, in the order in which they first appear."""
    counting: dict[str, Counting] = {}
    for grade in grades:
        counting.setdefault(grade.row.chapter, Counting()).add(grade)
    return tuple(c.summary() for c in counting.values())
