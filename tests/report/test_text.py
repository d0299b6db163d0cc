"""The report at a terminal: golden pages, and what holds whatever a student wrote."""

import re
import subprocess
import sys

import pytest
from dlgrade.grading.results import course_result, exercise_result
from dlgrade.report.formats import render
from dlgrade.report.terminal import cells
from hypothesis import given, settings
from hypothesis import strategies as st

ANSI = re.compile(r"\x1b\[[0-9;]*m")
RESULTS = ("good", "mixed", "empty", "broken", "halfway", "course")


@pytest.mark.parametrize("name", RESULTS)
def test_golden(name, request, golden):
    golden(f"{name}.txt", render("text", request.getfixturevalue(name)))


def test_golden_in_colour(mixed, golden):
    golden("mixed.ansi", render("text", mixed, color=True))


@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.parametrize("width", [60, 80, 100])
def test_colour_adds_escape_codes_and_nothing_else(name, width, request):
    result = request.getfixturevalue(name)
    plain, coloured = render("text", result, width=width), render("text", result, color=True, width=width)
    assert "\x1b" not in plain
    assert ANSI.sub("", coloured) == plain


@given(st.text(st.characters(exclude_categories=()), max_size=300), st.integers(60, 100))
@settings(max_examples=60, deadline=None)
def test_any_text_stays_behind_the_gutter_and_within_the_width(chapter, check, text, width):
    wrong = check("value", 5, "failed", text, text and "a-mistake" * 9, "An advice.")
    page = render(
        "text", chapter((exercise_result("mse", (wrong,), stdout=text),), file=text, stdout=text), width=width
    )
    assert all(cells(line) <= width for line in page.split("\n"))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]", page)
    # The file's name on the third line is one line and clipped; nothing else of the student's begins a line.
    ours = re.compile(
        r"|ch305.*|[━─]*|.* landlock\+seccomp .*|  [✓◐✗·].*|    [▶].*|      An advice\.|mse ─.*|Next: .*|  Your code.*"
    )
    assert all(ours.fullmatch(line) or re.match(r" {2}(  )?│", line) for line in page.split("\n"))


def test_a_message_keeps_its_lines_and_hangs(chapter, check):
    message = "first line\n  indented\nexpected: " + "1.25 " * 20 + "\ngot:      2.5"
    page = render("text", chapter((exercise_result("mse", (check("value", 5, "failed", message),)),)))
    gutter = [line for line in page.split("\n") if line.startswith("    │")]
    assert gutter[:2] == ["    │ first line", "    │   indented"]
    assert gutter[3].startswith("    │           1.25")
    assert gutter[-1] == "    │ got:      2.5"


def test_the_comparing_sentence_becomes_two_lines(mixed):
    page = render("text", mixed)
    assert "    │ expected  0.5\n" in page
    assert "    │ expected  0.6652409558\n    │ got       nan\n    │ Look at the exponentials.\n" in page
    render("text", mixed, color=True).index("\x1b[31mgot       nan\x1b[0m")


def test_code_that_broke_at_one_place_is_explained_once(mixed):
    assert render("text", mixed).count("`cross_entropy` raised IndexError") == 1


def test_three_explanations_an_exercise_unless_it_was_asked_for(mixed, chapter):
    page = render("text", mixed)
    assert "axis 0" in page
    assert "should have the shape (4, 3)" not in page
    assert "explained by dlgrade check ch305:softmax" in page
    assert "should have the shape (4, 3)" in render("text", chapter(mixed.exercises[1:2]))


def test_a_mistake_is_named_even_past_the_limit(chapter, check):
    wrong = tuple(check(f"c{i}", 1, "failed", f"m{i}", f"mistake-{i}", f"advice {i}") for i in range(5))
    page = render("text", chapter((exercise_result("mse", wrong), exercise_result("huber", (check("value", 1),)))))
    assert "│ m3" not in page
    assert "▶ Recognised mistake: mistake-4\n      advice 4" in page


def test_an_absent_function_is_said_to_be_absent(chapter, check):
    todo = tuple(exercise_result(n, (check("v", 1, "missing", f"`{n}` is still to do."),)) for n in ("mse", "huber"))
    absent = exercise_result("bce", (check("v", 1, "missing", "There is no `bce` in the file."),))
    assert "still to do" not in render("text", chapter(todo))
    page = render("text", chapter((*todo, absent)))
    assert page.count("·") == 3 + 3 + 1
    assert "  · There is no `bce` in the file.\n" in page


def test_what_waits_for_an_unwritten_function_is_unwritten_too(chapter, check):
    waits = check("gradient", 1, "skipped", "Not tried until this passes: value.")
    given = check("twice", 1, "missing", "`same_twice` calls `mse`, which is still to do.")
    exercise = exercise_result("mse", (check("value", 1, "missing", "`mse` is still to do."), given, waits))
    assert exercise.status == "missing"
    page = render("text", chapter((exercise,)))
    assert "not written yet" in page
    assert "Not tried" not in page
    assert "same_twice" not in page


def test_a_file_that_stopped_halfway_is_reported_as_far_as_it_went(halfway):
    page = render("text", halfway)
    assert page.index("│ The file stopped at line 24") < page.index("✓ mse") < page.index("The result is nan")
    assert "not written yet" not in page
    assert page.splitlines()[-1] == "Next: make the file run, then dlgrade check ch305"


def test_long_output_is_shown_from_its_end(chapter, check):
    exercise = exercise_result("mse", (check("value", 5, "failed"),), stdout="\n".join(map(str, range(1000))))
    page = render("text", chapter((exercise,)))
    assert "│ 999" in page
    assert "│ 989" not in page
    assert "the end of it" in page


def test_next_is_what_was_begun_before_what_was_not(chapter, check):
    missing = exercise_result("mse", (check("value", 5, "missing"),))
    begun = exercise_result("huber", (check("value", 5, "failed"),))
    assert "dlgrade hint ch305 huber" in render("text", chapter((missing, begun))).splitlines()[-1]
    assert "dlgrade hint ch305 mse" in render("text", chapter((missing,))).splitlines()[-1]


def test_a_course_goes_on_with_the_chapter_that_was_begun(course):
    assert render("text", course).splitlines()[-1].endswith("dlgrade hint ch306 softmax")


def test_a_mistake_is_explained_once(mixed):
    page = render("text", mixed)
    assert page.count("exp of a large logit overflows") == 1
    assert page.count("no-max-shift") == 2


def test_nothing_to_grade(chapter):
    assert render("text", course_result(())).endswith("Nothing was checked.\n")
    assert render("text", chapter(())).endswith("Nothing was checked.\n")


def test_nothing_heavy_is_imported():
    heavy = "rich", "jinja2", "matplotlib", "numpy", "xml.etree.ElementTree"
    code = f"import sys, dlgrade.report.text; print(sorted(set({heavy}) & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
