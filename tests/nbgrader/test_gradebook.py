"""What stays nbgrader's: manual grades, late penalties, other notebooks, switches and settings."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from dlgrade.course import registry
from dlgrade.nbgrader import course as courses

from .conftest import Course, cell, code, markdown, results_of, with_cells

pytestmark = pytest.mark.slow

LATE = """
from nbgrader.plugins import LateSubmissionPlugin
c.LateSubmissionPlugin.penalty_method = "zero"
"""

HALF = "def softmax(x, axis=-1):\n    e = np.exp(np.asarray(x, float))\n    return e / e.sum(axis=axis, keepdims=True)"


def own_assignment(course: Course) -> None:
    """An assignment of the instructor's own, with nbgrader's usual test cell and a question to be read."""
    answer, test, essay = (
        code("x = 1\n### BEGIN SOLUTION\nx = 2\n### END SOLUTION"),
        code("assert x == 2"),
        markdown("Why?"),
    )
    kinds = {"a": (answer, False, True), "b": (test, True, False), "c": (essay, True, True)}
    for name, (one, grade, solution) in kinds.items():
        marks = {
            "schema_version": 3,
            "grade_id": name,
            "grade": grade,
            "solution": solution,
            "locked": not solution,
            "task": False,
        }
        one["id"], one["metadata"] = name, {"nbgrader": marks | ({"points": 5} if grade else {})}
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    folder = course.root / "source" / "own"
    folder.mkdir(parents=True)
    notebook = {"cells": [answer, test, essay], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (folder / "own.ipynb").write_text(json.dumps(notebook))


def mixed(course: Course) -> None:
    """In dlgrade's notebook: an essay, a test cell of the instructor's own, and other points for an exercise."""
    path = course.root / "source" / "ch305" / "ch305_loss_functions.ipynb"
    notebook = json.loads(path.read_text())
    essay, test = markdown("Why is the mean taken?"), code("assert True")
    graded = {"schema_version": 3, "grade": True, "task": False}
    essay["metadata"]["nbgrader"] = graded | {"grade_id": "essay", "solution": True, "locked": False, "points": 10}
    test["metadata"]["nbgrader"] = graded | {"grade_id": "own", "solution": False, "locked": True, "points": 7}
    cell(notebook, "ch305-softmax")["metadata"]["nbgrader"]["points"] = 8
    path.write_text(json.dumps(with_cells(notebook, essay, test)))


@pytest.fixture(scope="module")
def course(make_course: Callable[..., Course]) -> Course:
    made = make_course(["ch305", "ch306"], LATE, generate=False)
    own_assignment(made)
    mixed(made)
    made.nbgrader("generate_assignment", "*")
    with made.gradebook() as gradebook:
        gradebook.update_or_create_assignment("ch306", duedate="2030-01-01 00:00:00 UTC")
    solved = made.notebook("source", "ch305")
    half = made.notebook("source", "ch305")
    cell(half, "ch305-softmax-answer")["source"] = HALF
    picture = {
        "output_type": "display_data",
        "metadata": {},
        "data": {"image/png": "AAAA", "text/html": "<script>1</script>"},
    }
    script = {"output_type": "display_data", "metadata": {}, "data": {"application/javascript": "alert(1)"}}
    drawn = code("draw()") | {"outputs": [picture, script]}
    made.submit("good", "ch305", with_cells(solved, drawn))
    made.submit("half", "ch305", half)
    made.submit("late", "ch306", made.notebook("source", "ch306"), timestamp_txt="2030-01-02 00:00:00 UTC")
    made.submit("soon", "ch306", made.notebook("source", "ch306"), timestamp_txt="2029-12-31 00:00:00 UTC")
    made.submit("good", "own", made.notebook("source", "own", name="own"), name="own")
    made.submit("stub", "own", made.notebook("release", "own", name="own"), name="own")
    made.nbgrader("autograde", "*")
    return made


def test_other_notebooks_are_run_by_a_kernel_as_before(course: Course) -> None:
    assert course.scores("good", "own") == {"b": 5.0, "c": None}
    assert course.scores("stub", "own")["b"] == 0.0
    graded = course.notebook("autograded", "own", "stub", name="own")
    assert cell(graded, "b")["outputs"][0]["ename"] in ("AssertionError", "NameError")


def test_a_question_to_be_read_waits_for_a_hand(course: Course) -> None:
    with course.gradebook() as gradebook:
        grade = gradebook.find_grade("essay", "ch305_loss_functions", "ch305", "half")
        assert (grade.auto_score, grade.needs_manual_grade) == (None, True)


def test_a_test_cell_that_is_not_ours_is_never_full_marks_by_silence(course: Course) -> None:
    assert course.scores("good", "ch305")["own"] == 0
    graded = course.notebook("autograded", "ch305", "good")
    assert "grade it by hand" in "".join(cell(graded, "own")["outputs"][0]["text"])


def test_an_instructors_points_scale_the_score(course: Course) -> None:
    path = course.root / "submitted" / "half" / "ch305" / "ch305_loss_functions.ipynb"
    exact = results_of(course.checked(path))
    scores = course.scores("half", "ch305")
    assert 0 < exact["ch305-softmax"] < 16
    assert scores["ch305-softmax"] == exact["ch305-softmax"] / 2
    assert {k: v for k, v in scores.items() if k in exact and "softmax" not in k} == {
        k: v for k, v in exact.items() if "softmax" not in k
    }
    assert course.scores("good", "ch305")["ch305-softmax"] == 8


def test_a_late_penalty_is_nbgraders(course: Course) -> None:
    with course.gradebook() as gradebook:
        late, soon = (gradebook.find_submission("ch306", student) for student in ("late", "soon"))
        assert (late.score, late.late_submission_penalty, late.total_seconds_late) == (100, 100, 86400)
        assert (soon.score, soon.late_submission_penalty) == (100, 0)


def test_a_grade_given_by_hand_survives_another_run(course: Course) -> None:
    with course.gradebook() as gradebook:
        grade = gradebook.find_grade("ch305-softmax", "ch305_loss_functions", "ch305", "half")
        grade.manual_score = 7.5
        gradebook.find_comment(
            "ch305-softmax-answer", "ch305_loss_functions", "ch305", "half"
        ).manual_comment = "Nearly."
        gradebook.db.commit()
    course.nbgrader("autograde", "ch305", "--student", "half", "--force")
    course.nbgrader("generate_feedback", "ch305", "--student", "half")
    with course.gradebook() as gradebook:
        grade = gradebook.find_grade("ch305-softmax", "ch305_loss_functions", "ch305", "half")
        assert (grade.score, grade.needs_manual_grade) == (7.5, True)
    page = course.feedback("half", "ch305")
    assert "Nearly." in page
    assert "Recognised mistake" in page


def test_no_execute_keeps_a_students_pictures_and_nothing_that_runs(course: Course) -> None:
    before = course.scores("good", "ch305")
    course.nbgrader("autograde", "ch305", "--student", "good", "--force", "--no-execute")
    graded = course.notebook("autograded", "ch305", "good")
    [drawn] = [one for one in graded["cells"] if "".join(one["source"]) == "draw()"]
    assert [set(output["data"]) for output in drawn["outputs"]] == [{"image/png"}]
    assert course.scores("good", "ch305") == before


def test_values_are_shown_when_the_instructor_says_so(course: Course) -> None:
    config = course.root / courses.CONFIG
    text = config.read_text()
    course.nbgrader("autograde", "ch305", "--student", "half", "--force")
    hidden = (course.root / "autograded/half/ch305/ch305_loss_functions.ipynb").read_text()
    config.write_text(text + "\nc.IsolatedGrading.reveal = True\n")
    course.nbgrader("autograde", "ch305", "--student", "half", "--force")
    shown = (course.root / "autograded/half/ch305/ch305_loss_functions.ipynb").read_text()
    config.write_text(text)
    assert "Expected" in shown
    assert "Expected" not in hidden


def test_no_seed_no_grades(course: Course) -> None:
    seed = course.root / courses.SEED
    kept = seed.read_bytes()
    seed.unlink()
    try:
        run = course.nbgrader("autograde", "ch305", "--student", "half", "--force", ok=False)
    finally:
        seed.write_bytes(kept)
    assert run.returncode == 1
    assert "dlgrade.seed cannot be read" in run.stderr


def test_an_assignment_of_another_version_is_refused(course: Course) -> None:
    path = course.root / "source" / "old" / "ch305_loss_functions.ipynb"
    path.parent.mkdir(parents=True)
    text = (course.root / "source/ch306/ch306_backpropagation.ipynb").read_text()
    name = registry.chapter("ch306").exercises[0].name
    path.write_text(text.replace(f'"ch306-{name}"', '"ch306-gone"'))
    course.nbgrader("generate_assignment", "old")
    course.submit("good", "old", json.loads(path.read_text()), name="ch305_loss_functions")
    run = course.nbgrader("autograde", "old", ok=False)
    assert run.returncode == 1
    assert "this dlgrade knows no ch306-gone" in run.stderr
