"""Workflow commands: one line each, and no text that starts another."""

import re

import pytest
from dlgrade.grading.results import exercise_result
from dlgrade.report import github
from dlgrade.report.formats import FORMATS, render
from dlgrade.report.parts import chapters_of
from hypothesis import given, settings
from hypothesis import strategies as st

COMMAND = re.compile(r"::(error|notice) ((?:\w+=[^:,\r\n]*,?)+)::([^\r\n]*)")


def unescaped(text: str) -> str:
    for code, char in (("%0A", "\n"), ("%0D", "\r"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, char)
    return text


@pytest.mark.parametrize("name", ["mixed", "broken", "halfway", "course"])
def test_golden(name, request, golden):
    golden(f"{name}.github", github.render(request.getfixturevalue(name), {}))


def test_one_error_for_each_wrong_check_and_each_exercise_not_begun(mixed):
    lines = github.render(mixed, {}).splitlines()
    assert lines[0] == "::notice title=ch305 Loss Functions::21 of 90 points"
    assert [line.split(" ", 1)[0] for line in lines[1:]] == ["::error"] * 10
    assert "kl_divergence" in lines[-1]


def test_file_names_are_relative_to_the_checkout(chapter, check):
    result = chapter((exercise_result("mse", (check("value", 5, "failed"),)),), file="/home/runner/w/r/ch305.py")
    assert "file=ch305.py," in github.render(result, {"GITHUB_WORKSPACE": "/home/runner/w/r"})
    assert "file=/home/runner/w/r/ch305.py," in github.render(result, {"GITHUB_WORKSPACE": "/home/other"})
    assert "file=/home/runner/w/r/ch305.py," in github.render(result, {})


@given(st.text(st.characters(exclude_categories=()), max_size=200) | st.text(":,%\n\r#[]=ea", max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_text_stays_in_its_command(chapter, check, text):
    wrong = check("value", 5, "failed", "m" + text)
    lines = github.render(chapter((exercise_result("mse", (wrong,), stdout=text),), file=text), {}).split("\n")
    assert len(lines) == 3
    assert lines[2] == ""
    match = COMMAND.fullmatch(lines[1])
    assert match
    assert unescaped(match[3]).startswith("m")
    assert not re.search(r"##\w*\[", lines[1])


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"classroom50"}))
def test_every_format_is_registered(name, mixed, course):
    for result in (mixed, course):
        assert render(name, result).endswith("\n")


def test_chapters_of(good, course):
    assert chapters_of(good) == (good,)
    assert len(chapters_of(course)) == 3
