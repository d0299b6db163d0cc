"""The class page: what to say in the next lecture, the distribution of scores, a heat map of students by exercises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlgrade import __version__
from dlgrade.report.class_summary import Summary
from dlgrade.report.pages import page

MAX_MISTAKES = 40
MAX_UNNAMED = 15
MAX_ATTENTION = 200
MAX_NAMES = 60

KEY = (
    ("not begun", "ln"),
    ("0", "l0"),
    ("below 25 %", "l1"),
    ("below 50 %", "l2"),
    ("below 75 %", "l3"),
    ("below 100 %", "l4"),
    ("all", "l5"),
)


def render(summaries: Sequence[Summary], name: str = "") -> str:
    """One page for all chapters of a run."""
    title = name or "The class in " + ", ".join(s.chapter for s in summaries)
    return page("class.html.j2", name=title, chapters=[_chapter(s) for s in summaries], key=KEY, version=__version__)


def _chapter(s: Summary) -> dict[str, Any]:
    handed_in = max(len(s.scores), 1)
    bins = s.bins()
    highest = max((count for _, count in bins), default=0) or 1
    most = {e.name: e.max_score for e in s.exercises}
    return {
        "s": s,
        "mean": f"{s.mean:.1f}",
        "median": f"{s.median:g}",
        "other": [(status, count) for status, count in sorted(s.statuses.items()) if status != "graded"],
        "mistakes": [
            {
                "name": m.name,
                "exercise": m.exercise,
                "advice": m.advice,
                "points": m.points,
                "count": len(m.students),
                "share": round(100 * len(m.students) / handed_in),
                "who": _names(m.students),
            }
            for m in s.mistakes[:MAX_MISTAKES]
        ],
        "more_mistakes": max(len(s.mistakes) - MAX_MISTAKES, 0),
        "unnamed": s.unnamed[:MAX_UNNAMED],
        "bins": [(label, count, round(82 * count / highest)) for label, count in bins],
        "exercises": [
            {
                "name": e.name,
                "max_score": e.max_score,
                "mean": f"{e.mean:.1f}",
                "percent": round(100 * e.mean / e.max_score) if e.max_score else 0,
                "begun": e.begun,
                "full": e.full,
            }
            for e in s.exercises
        ],
        "heat": [
            {
                "label": h.label,
                "score": f"{h.score:.3g}",
                "cells": [
                    ("" if score is None else f"{score:.3g}", _level(score, most[e.name]))
                    for e, score in zip(s.exercises, h.exercises, strict=True)
                ],
            }
            for h in s.heat
        ],
        "attention": s.attention[:MAX_ATTENTION],
        "more_attention": max(len(s.attention) - MAX_ATTENTION, 0),
    }


def _level(score: float | None, most: int) -> str:
    """The colour of a cell: none at all, nothing, up to each quarter, everything."""
    if score is None:
        return "ln"
    if score >= most:
        return "l5"
    return "l0" if score <= 0 else f"l{1 + int(4 * score / most)}"


def _names(students: tuple[str, ...]) -> str:
    more = len(students) - MAX_NAMES
    return ", ".join(students[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")
