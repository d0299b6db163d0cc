"""A graded class in a few lines for the terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from dlgrade.report.class_summary import Summary
from dlgrade.report.json import dump
from dlgrade.report.safe import one_line

MISTAKES = 8


class Moved(Protocol):
    """A score that changed: whose, from what to what, and why."""

    @property
    def student(self) -> str: ...
    @property
    def chapter(self) -> str: ...
    @property
    def before(self) -> int: ...
    @property
    def after(self) -> int: ...
    @property
    def max_score(self) -> int: ...
    @property
    def reason(self) -> str: ...


def summary(summaries: Sequence[Summary], moved: int) -> str:
    """What the class did, chapter by chapter."""
    lines = []
    for s in summaries:
        statuses = ", ".join(f"{count} {status}" for status, count in sorted(s.statuses.items()))
        lines.append(one_line(f"{s.chapter} {s.title}: {s.rows} students ({statuses})"))
        lines.append(f"  mean {s.mean:.1f} of {s.max_score}, median {s.median:g}, {s.full} with full marks")
        width = len(str(len(s.mistakes[0].students))) if s.mistakes else 0
        for m in s.mistakes[:MISTAKES]:
            lines.append(one_line(f"  {len(m.students):>{width}} x {m.name} ({m.exercise}): {m.advice}"))
        if len(s.mistakes) > MISTAKES:
            lines.append(f"  and {len(s.mistakes) - MISTAKES} other mistakes: see class.html")
    if moved:
        lines.append(f"{moved} scores moved since the last regrade; `dlgrade regrade` tells whose, and why")
    return "\n".join(lines) + "\n"


def moves(moved: Sequence[Moved], of: int) -> str:
    """Whose score moved, and why."""
    lines = [
        one_line(f"{m.student}  {m.chapter}  {m.before} to {m.after} of {m.max_score}  ({m.reason})") for m in moved
    ]
    scores = "1 score" if len(moved) == 1 else f"{len(moved)} scores"
    return "\n".join([*lines, f"{scores} moved, of {of}"]) + "\n"


def as_json(summaries: Sequence[Summary], moved: Sequence[Moved]) -> str:
    """The same for programs."""
    return dump({"schema": 1, "chapters": [_chapter(s) for s in summaries], "moved": [_move(m) for m in moved]})


def _chapter(s: Summary) -> dict[str, Any]:
    return {
        "chapter": s.chapter,
        "title": s.title,
        "students": s.rows,
        "statuses": s.statuses,
        "max_score": s.max_score,
        "mean": round(s.mean, 4),
        "median": s.median,
        "full_marks": s.full,
        "mistakes": [
            {"mistake": m.name, "exercise": m.exercise, "students": len(m.students), "points": m.points}
            for m in s.mistakes
        ],
    }


def _move(m: Moved) -> dict[str, Any]:
    return {name: getattr(m, name) for name in ("student", "chapter", "before", "after", "max_score", "reason")}
