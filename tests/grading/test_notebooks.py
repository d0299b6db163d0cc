"""Notebooks through the grader: what is run of them, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dlgrade.grading.results import ChapterResult


def test_tracebacks_of_a_notebook_quote_the_right_line(grade_cells: Callable[..., ChapterResult]) -> None:
    cells = ["import numpy as np", "def softmax(x, axis=-1):\n    y = 1\n    return undefined_thing"]
    [exercise] = [e for e in grade_cells("ch305", *cells).exercises if e.name == "softmax"]
    assert "in softmax: return undefined_thing" in exercise.checks[0].message


def test_plots_before_the_import_cost_nothing(
    grade_cells: Callable[..., ChapterResult], solution_text: Callable[[str], str]
) -> None:
    first = "%matplotlib inline\nimport matplotlib.pyplot as plt\nimport numpy as np"
    result = grade_cells("ch305", first, solution_text("ch305"), "plt.plot(softmax([1, 2]))", "while True: pass")
    assert (result.score, result.problem) == (100, "")


@pytest.mark.parametrize("cell", ["import a" + ".b" * 300_000, "a;" * 400_000], ids=["dots", "statements"])
def test_text_that_costs_too_much_to_read_costs_its_own_process_only(
    grade_cells: Callable[..., ChapterResult], solution_text: Callable[[str], str], cell: str
) -> None:
    result = grade_cells("ch305", cell, solution_text("ch305"))
    assert (result.score, bool(result.problem)) in [(100, False), (0, True)]
