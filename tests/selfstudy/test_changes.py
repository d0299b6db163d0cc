"""Which exercises an edit can have touched."""

from __future__ import annotations

from dlgrade.course.spec import Chapter
from dlgrade.sandbox.session import Source
from dlgrade.selfstudy.changes import File, fingerprints

TEXT = """\
import numpy as np

SCALE = 2.0


def helper(x):
    return SCALE * x


def one(x):
    return helper(x)


def two(x):
    return x
"""


def changed(before: str, after: str) -> set[str]:
    """The functions whose fingerprints differ."""
    files = File(before), File(after)
    return {n for n in ("helper", "one", "two") if files[0].fingerprint([n], "") != files[1].fingerprint([n], "")}


def test_an_edit_touches_a_function_and_those_that_use_it() -> None:
    assert changed(TEXT, TEXT.replace("return x", "return -x")) == {"two"}
    assert changed(TEXT, TEXT.replace("SCALE * x", "SCALE + x")) == {"helper", "one"}


def test_comments_and_blank_lines_touch_nothing() -> None:
    assert changed(TEXT, "# said\n\n" + TEXT.replace("return x", "return x  # as it is\n\n")) == set()


def test_a_statement_that_is_no_definition_touches_everything() -> None:
    assert changed(TEXT, TEXT.replace("2.0", "3.0")) == {"helper", "one", "two"}
    assert changed(TEXT, TEXT + "\nnp.seterr(all='raise')\n") == {"helper", "one", "two"}


def test_a_second_definition_counts() -> None:
    assert changed(TEXT, TEXT + "\ndef two(x):\n    return 3\n") == {"two"}


def test_recursion_and_unknown_names_end() -> None:
    text = "def one(x):\n    return two(x)\n\ndef two(x):\n    return one(missing)\n"
    assert changed(text, text.replace("missing", "x")) == {"one", "two"}


def test_code_that_reaches_names_it_does_not_spell_depends_on_everything() -> None:
    text = TEXT.replace("return helper(x)", "return globals()['helper'](x)")
    assert changed(text, text.replace("SCALE * x", "SCALE + x")) == {"helper", "one", "two"}


def test_the_exercises_of_a_chapter(chapter: Chapter, solved: str) -> None:
    def prints(text: str) -> dict[str, str]:
        return fingerprints(chapter, Source((text,), "ch305.py", "ch305"))

    before = prints(solved)
    assert before == prints(solved)
    assert list(before) == [e.name for e in chapter.exercises]
    after = prints(solved.replace("shifted = x -", "shifted = x +"))
    assert {name for name in before if before[name] != after[name]} >= {"log_softmax", "cross_entropy"}
    assert before["mse"] == after["mse"]


def test_a_notebooks_experiments_touch_nothing(chapter: Chapter, solved: str) -> None:
    def prints(*cells: str) -> dict[str, str]:
        return fingerprints(chapter, Source(cells, "ch305.ipynb", "ch305"))

    assert prints(solved) == prints("import matplotlib.pyplot as plt", solved, "plt.plot(mse([1], [2]))")
