"""The source notebooks, by nbgrader's own rules."""

from __future__ import annotations

import json
from typing import Any

import nbformat
import pytest
from dlgrade.authoring.notebooks import cells_of
from dlgrade.course import registry
from dlgrade.course.spec import Chapter, Exercise
from dlgrade.nbgrader import cells, notebooks
from dlgrade.nbgrader.notebooks import NotebookError, source_notebook


def graded(notebook: Any, **kinds: bool) -> list[Any]:
    marked = [c for c in notebook.cells if "nbgrader" in c.metadata]
    return [c for c in marked if all(c.metadata.nbgrader[kind] is value for kind, value in kinds.items())]


@pytest.fixture(params=list(registry.stems()))
def chapter(request: pytest.FixtureRequest) -> Chapter:
    return registry.chapter(request.param)


def test_nbgrader_accepts_it(chapter: Chapter) -> None:
    from nbgrader.nbgraderformat import MetadataValidator

    notebook = nbformat.reads(source_notebook(chapter), as_version=4)
    nbformat.validate(notebook)
    MetadataValidator().validate_nb(notebook)


def test_every_exercise_has_its_answer_its_test_and_its_points(chapter: Chapter) -> None:
    notebook = nbformat.reads(source_notebook(chapter), as_version=4)
    tests = graded(notebook, grade=True, locked=True, solution=False)
    points = {c.metadata.nbgrader.grade_id: c.metadata.nbgrader.points for c in tests}
    assert points == {cells.test_id(chapter, e): e.points for e in chapter.exercises}
    assert sum(points.values()) == 100
    for cell in graded(notebook, solution=True):
        assert cell.source.count(notebooks.BEGIN) == cell.source.count("### END SOLUTION") >= 1
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# Chapter")


def test_its_code_is_the_solution(chapter: Chapter) -> None:
    notebook = nbformat.reads(source_notebook(chapter), as_version=4)
    tests = graded(notebook, grade=True)
    code = [c.source for c in notebook.cells if c.cell_type == "code" and c not in tests]
    parts = [
        c.source for c in cells_of(registry.solution_file(chapter).read_text(encoding="utf-8")) if c.kind == "code"
    ]
    assert sorted("\n\n\n".join(code).split("\n\n\n")) == sorted("\n\n\n".join(parts).split("\n\n\n"))


def test_nothing_of_a_solution_stands_outside_of_a_solution_cell(chapter: Chapter) -> None:
    notebook = nbformat.reads(source_notebook(chapter), as_version=4)
    answers = graded(notebook, solution=True)
    assert not [c for c in notebook.cells if c not in answers and notebooks.BEGIN in c.source]


def test_it_is_the_same_every_time(chapter: Chapter) -> None:
    assert source_notebook(chapter) == source_notebook(chapter)


def solved_by(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, text: str, *exercises: tuple[str, ...]) -> dict[str, Any]:
    """The notebook of a made-up chapter with this solution and one exercise for each tuple of functions."""
    import msgspec

    real = registry.chapter("ch305")
    made = [
        msgspec.structs.replace(real.exercises[0], name=names[0].replace(".", "-"), functions=names)
        for names in exercises
    ]
    path = tmp_path / "solution.py"
    path.write_text(text)
    monkeypatch.setattr(notebooks.registry, "solution_file", lambda _: path)
    return json.loads(source_notebook(msgspec.structs.replace(real, exercises=tuple(made))))


WRITTEN = "def {0}(x):\n    ### BEGIN SOLUTION\n    return x\n    ### END SOLUTION\n"
HEAD = '"""Chapter 305"""\n\nimport numpy as np\n\nEPS = 1\n\n\ndef helper(x):\n    return x\n'
TWO = "\n\n".join([HEAD, WRITTEN.format("f"), WRITTEN.format("g")])


def test_functions_of_one_exercise_share_a_cell(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    notebook = solved_by(monkeypatch, tmp_path, TWO, ("f", "g"))
    [answer] = [c for c in notebook["cells"] if c["metadata"].get("nbgrader", {}).get("solution")]
    assert "def f" in "".join(answer["source"])
    assert "def g" in "".join(answer["source"])


def test_given_code_is_locked_and_imports_are_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    notebook = solved_by(monkeypatch, tmp_path, TWO, ("f",), ("g",))
    [helper] = [c for c in notebook["cells"] if "".join(c["source"]).startswith("def helper")]
    assert helper["metadata"]["nbgrader"]["locked"]
    assert not helper["metadata"]["nbgrader"]["solution"]
    [imports] = [c for c in notebook["cells"] if "".join(c["source"]).startswith("import numpy")]
    assert imports["metadata"] == {}


def test_a_helper_to_be_written_is_an_answer_without_points(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    notebook = solved_by(monkeypatch, tmp_path, TWO, ("f",))
    answers = [
        c["metadata"]["nbgrader"] for c in notebook["cells"] if c["metadata"].get("nbgrader", {}).get("solution")
    ]
    assert [marks["grade_id"] for marks in answers] == ["ch305-f-answer", "ch305-g-answer"]


def test_two_exercises_about_one_class_have_a_test_each(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    text = TWO + "\n\nclass V:\n    def a(self):\n        ### BEGIN SOLUTION\n        pass\n        ### END SOLUTION\n"
    notebook = solved_by(monkeypatch, tmp_path, text, ("f",), ("g",), ("V.a",), ("V.b",))
    ids = [c["metadata"].get("nbgrader", {}).get("grade_id") for c in notebook["cells"]]
    assert [id for id in ids if id and "V" in id] == ["ch305-V-a-answer", "ch305-V-a", "ch305-V-b"]


def test_a_function_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    with pytest.raises(NotebookError, match="ch305 does not define h, k"):
        solved_by(monkeypatch, tmp_path, TWO, ("f", "k", "h"))


def exercise(name: str) -> Exercise:
    import msgspec

    return msgspec.structs.replace(registry.chapter("ch305").exercises[0], name=name)


def test_names_are_what_nbgrader_allows() -> None:
    chapter = registry.chapter("ch305")
    assert cells.test_id(chapter, exercise("a b/c")) == "ch305-a-b-c"
    assert [cells.chapter_of(id) for id in ("ch305-softmax", "ch305", "other", "ch3055-x", "")] == [
        "ch305",
        "",
        "",
        "",
        "",
    ]


def test_a_test_cell_waits_for_what_its_answer_calls() -> None:
    """The players of chapter 326 take Adam's steps, and Adam is a later exercise."""
    found = json.loads(source_notebook(registry.chapter("ch326")))["cells"]
    ids = [c["metadata"].get("nbgrader", {}).get("grade_id") for c in found]
    [adam] = [i for i, c in enumerate(found) if "def adam_step(" in "".join(c["source"])]
    assert ids.index("ch326-players") > adam
