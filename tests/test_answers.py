"""Answers as students write them: right ones in other styles score full marks, wrong ones never do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from dlgrade.course import registry
from dlgrade.grading.grader import Grader
from dlgrade.grading.results import ChapterResult
from dlgrade.grading.seeds import PRACTICE_SEED, public_seed
from dlgrade.grading.submissions import read
from dlgrade.sandbox.launch import Launcher

ANSWERS = Path(__file__).parent / "answers"
RIGHT = sorted((ANSWERS / "right").rglob("ch*.py"))
WRONG = sorted((ANSWERS / "wrong").rglob("ch*.py"))


def failures(result: ChapterResult) -> str:
    lines = [f"{e.name}: {c.name}: {c.message}" for e in result.exercises for c in e.checks if c.status != "passed"]
    return "\n".join([f"{result.score} of {result.max_score}", result.problem, *lines])


@pytest.mark.parametrize("path", RIGHT, ids=lambda p: p.stem)
def test_right_answer_scores_full_marks(path: Path, grade: Callable[[Path], ChapterResult]) -> None:
    result = grade(path)
    assert result.full_marks, failures(result)


@pytest.mark.parametrize("path", WRONG, ids=lambda p: p.stem)
def test_wrong_answer_loses_points(path: Path, nursery: Launcher) -> None:
    chapter, seed = registry.chapter(path.name[:5]), public_seed(PRACTICE_SEED)
    source = read(path, chapter.stem).source
    result = Grader(chapter.without_training(), seed, nursery).grade(source)
    if result.full_marks:  # then only training tells
        result = Grader(chapter, seed, nursery).grade(source)
    assert not result.problem, result.problem
    assert 0 < result.score < result.max_score, failures(result)


@pytest.mark.parametrize("id", registry.stems())
def test_every_chapter_has_answers(id: str) -> None:
    count = Counter(path.name[:5] for path in RIGHT), Counter(path.name[:5] for path in WRONG)
    assert count[0][id] >= 2
    assert count[1][id] >= 3
