"""Grading a notebook that is given as its code cells."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dlgrade.course import registry
from dlgrade.grading.grader import Grader
from dlgrade.grading.results import ChapterResult
from dlgrade.grading.seeds import PRACTICE_SEED, public_seed
from dlgrade.sandbox.launch import Launcher
from dlgrade.sandbox.session import Source


@pytest.fixture
def grade_cells(nursery: Launcher) -> Callable[..., ChapterResult]:
    def graded(chapter_id: str, *cells: str) -> ChapterResult:
        chapter = registry.chapter(chapter_id)
        source = Source(cells, "notebook.ipynb", chapter.stem)
        return Grader(chapter, public_seed(PRACTICE_SEED), nursery).grade(source)

    return graded


@pytest.fixture
def solution_text() -> Callable[[str], str]:
    return lambda chapter_id: registry.solution_file(registry.chapter(chapter_id)).read_text(encoding="utf-8")
