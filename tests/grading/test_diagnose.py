"""Recognising mistakes: named where the answers show them, and nobody is accused by an error alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dlgrade.grading.results import ChapterResult

ANSWERS = Path(__file__).parents[1] / "answers"


def named(result: ChapterResult) -> set[str]:
    return {check.mistake for exercise in result.exercises for check in exercise.checks} - {""}


def test_errors_of_one_type_are_no_evidence(grade_text: Callable[..., ChapterResult]) -> None:
    # Shapes do not fit in most calls, as in several listed mistakes; only the square layers show which one it is.
    right = (ANSWERS / "right" / "ch306_closures.py").read_text(encoding="utf-8")
    wrong = right.replace('np.einsum("bo,oi->bi", dz, W)', "dz.dot(W.T)")
    assert wrong != right
    assert named(grade_text("ch306", wrong)) == {"backward-through-transposed-weights"}


def test_the_worst_entry_is_no_part_of_the_answers(grade_text: Callable[..., ChapterResult]) -> None:
    # The same mistake in other words: rounding differs, and with it which entry is worst.
    right = (ANSWERS / "right" / "ch306_closures.py").read_text(encoding="utf-8")
    wrong = right.replace('np.einsum("bo->o", dz)', "np.add.reduce(dz[::-1]) / len(dz)")
    assert wrong != right
    assert "bias-gradient-averaged" in named(grade_text("ch306", wrong))
