"""What tests share: a nursery for a whole module, and one way to grade a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dlgrade.course import registry
from dlgrade.grading.grader import Grader
from dlgrade.grading.results import ChapterResult
from dlgrade.grading.seeds import PRACTICE_SEED, public_seed
from dlgrade.grading.submissions import read
from dlgrade.sandbox.launch import Launcher, launcher

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def nursery() -> Iterator[Launcher]:
    started = launcher("auto")
    yield started
    started.close()


@pytest.fixture
def grade(nursery: Launcher) -> Callable[[Path], ChapterResult]:
    """Grades a file whose name begins with its chapter."""

    def graded(path: Path, seed: int = PRACTICE_SEED) -> ChapterResult:
        chapter = registry.chapter(path.name[:5])
        return Grader(chapter, public_seed(seed), nursery).grade(read(path, chapter.stem).source)

    return graded


@pytest.fixture
def grade_text(grade: Callable[[Path], ChapterResult], tmp_path: Path) -> Callable[[str, str], ChapterResult]:
    """Grades source text as an answer to a chapter."""

    def graded(chapter: str, text: str) -> ChapterResult:
        path = tmp_path / f"{registry.stems()[chapter]}.py"
        path.write_text(text, encoding="utf-8")
        return grade(path)

    return graded
