"""Every chapter through nbgrader: generated, its own solution graded at full points, and validated.

Validation leaves out the large projects, which would train once more, a CPU minute in all.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from dlgrade.course import registry
from dlgrade.nbgrader import course as courses

from .conftest import Course

pytestmark = pytest.mark.slow

CHAPTERS = list(registry.stems())
SEED = "the same numbers in every run of the tests"
# Validation runs each solution in a kernel, training and all. The larger projects are left out of it, for they would
# train a second time: their test cells are made from the same template.
LARGE = ("ch335", "ch336", "ch337", "ch339", "ch340")
VALIDATED = [id for id in CHAPTERS if id not in LARGE]


@pytest.fixture(scope="module")
def course(make_course: Callable[..., Course]) -> Course:
    made = make_course(CHAPTERS)
    (made.root / courses.SEED).write_text(SEED)
    for id in CHAPTERS:
        made.submit("solution", id, made.notebook("source", id))
        made.submit("stub", id, made.notebook("release", id))
    made.nbgrader("autograde", "*")
    return made


@pytest.mark.parametrize("id", CHAPTERS)
def test_the_solution_has_every_point_and_the_stub_none(course: Course, id: str) -> None:
    assert course.total("solution", id) == 100
    assert course.total("stub", id) == 0


@pytest.mark.parametrize("id", CHAPTERS)
def test_a_student_gets_no_solution(course: Course, id: str) -> None:
    released = course.notebook("release", id)
    for cell in released["cells"]:
        assert "BEGIN SOLUTION" not in "".join(cell["source"])
        marks = cell["metadata"].get("nbgrader", {})
        assert not marks.get("solution") or "NotImplementedError" in "".join(cell["source"])


def test_nbgrader_validates_them(course: Course) -> None:
    paths = [str(course.root / "source" / id / f"{registry.stems()[id]}.ipynb") for id in VALIDATED]
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda some: course.nbgrader("validate", *some), (paths[::2], paths[1::2])))
    said = "".join(run.stdout for run in runs)
    assert said.count("Success!") == len(VALIDATED), said
