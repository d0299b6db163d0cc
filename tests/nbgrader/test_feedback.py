"""A test cell's outputs: what nbgrader reads from them, and what people see."""

from __future__ import annotations

import html
import re

import pytest
from dlgrade.grading.results import CheckResult, ExerciseResult, exercise_result
from dlgrade.nbgrader import cells, feedback
from nbformat import from_dict
from nbgrader.utils import determine_grade


def check(name: str, score: int, of: int, status: str = "failed", **more: str) -> CheckResult:
    return CheckResult(name=name, kind="numeric", score=score, max_score=of, status=status, **more)  # type: ignore[arg-type]


def graded(result: ExerciseResult, points: float) -> float | None:
    """What nbgrader takes for the grade."""
    marks = cells.test("ch305-softmax", 1) | {"points": points}
    cell = {
        "cell_type": "code",
        "source": "",
        "metadata": {"nbgrader": marks},
        "outputs": feedback.outputs(result, points),
    }
    score: float | None = determine_grade(from_dict(cell))[0]
    return score


@pytest.mark.parametrize("score", range(17))
def test_every_score_arrives(score: int) -> None:
    result = exercise_result("softmax", (check("one", score, 16),))
    assert graded(result, 16) == score
    assert graded(result, 8) == score / 2


def test_full_marks_never_exceed_odd_points() -> None:
    for points in (0.1, 0.3, 1 / 3, 0.7, 1e-9, 123.456):
        for of in (3, 7, 11, 13):
            assert graded(exercise_result("f", (check("one", of, of, "passed"),)), points) == points


HOSTILE = "<script>alert('1')</script> `<b>` \x1b[31m & \u202e"


@pytest.mark.parametrize("status", ["failed", "error", "missing", "timeout", "crashed", "refused", "skipped"])
def test_nothing_that_is_said_becomes_markup(status: str) -> None:
    one = check(HOSTILE, 0, 2, status, message=HOSTILE, mistake=HOSTILE, advice=HOSTILE)
    result = exercise_result(HOSTILE, (one, check("b", 1, 1, "passed")), HOSTILE)
    page = feedback.outputs(result, 3, problem=HOSTILE, note=HOSTILE)[1]["data"]["text/html"]
    tags = set(re.findall(r"<(\w+)", page))
    assert tags <= {"div", "b", "pre", "code", "br"}
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert page.count("<div") == page.count("</div>")


def test_both_forms_say_the_same() -> None:
    checks = (
        check("huge logits", 0, 4, message="It is nan.", mistake="no-shift", advice="Subtract the `max`."),
        check("also huge", 0, 2, message="It is inf.", mistake="no-shift", advice="Subtract the `max`."),
        check("slow", 0, 1, "timeout", message="Stopped."),
        check("later", 0, 1, "skipped", message="Not tried."),
        check("easy", 3, 3, "passed"),
    )
    result = exercise_result("softmax", checks, "hello")
    data = feedback.outputs(result, 11, problem="The file stopped.", note="It was put back.")[1]["data"]
    for said in (
        "softmax: 3 of 11 points",
        "huge logits",
        "(0 of 4)",
        "It is nan.",
        "no-shift",
        "Subtract",
        "slow",
        "later",
    ):
        assert said in data["text/html"]
        assert said in data["text/plain"]
    for said in ("The file stopped.", "It was put back.", "easy", "hello"):
        assert said in data["text/html"]
        assert said in data["text/plain"]
    assert data["text/html"].count("Subtract") == 1
    assert "took too long" in data["text/html"].lower()


def test_what_is_not_written_is_said_once() -> None:
    checks = tuple(check(name, 0, 1, "missing", message="`f` is still to do.") for name in "abc")
    data = feedback.outputs(exercise_result("f", checks), 3)[1]["data"]
    assert data["text/plain"] == "f: 0 of 3 points\n`f` is still to do."
    assert html.unescape(re.sub("<[^>]*>", "", data["text/html"])) == "f: 0 of 3 pointsf is still to do."


def test_what_a_class_has_not_written_is_said_without_its_cases() -> None:
    said = (
        "On six rows: It is still to do.",
        "It is still to do.",
        "On logits around ten thousand: It is still to do.",
    )
    checks = tuple(check(name, 0, 1, "missing", message=message) for name, message in zip("abc", said, strict=True))
    data = feedback.outputs(exercise_result("f", checks), 3)[1]["data"]
    assert data["text/plain"] == "f: 0 of 3 points\nIt is still to do."


def test_full_marks_are_short() -> None:
    result = exercise_result("f", (check("a", 1, 1, "passed"), check("b", 2, 2, "passed")))
    data = feedback.outputs(result, 3, problem="A scratch cell stopped.")[1]["data"]
    assert data["text/plain"] == "f: 3 of 3 points\n\n✓ a, b"
    assert "stopped" not in data["text/html"]
