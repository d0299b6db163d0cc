"""Markdown as GitHub would render it: a student's text is text."""

import re

import pytest
from dlgrade.grading.results import exercise_result
from dlgrade.report.formats import render
from dlgrade.report.markdown import DETAIL_BUDGET
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

TAGS = {"details", "summary", "b", "br"}


def to_html(text: str) -> str:
    return MarkdownIt("commonmark").enable("table").render(text)


@pytest.mark.parametrize("name", ["mixed", "broken", "halfway", "course"])
def test_golden(name, request, golden):
    golden(f"{name}.md", render("markdown", request.getfixturevalue(name)))


def test_hostile_text_stays_in_its_fence(mixed):
    html = to_html(render("markdown", mixed))
    assert "<script" not in html
    assert html.count("<details") == html.count("</details") == 3
    assert html.count("<pre><code") == 10
    assert "@everyone" not in re.sub(r"(?s)<code.*?</code>", "", html)


@given(st.text(st.characters(exclude_categories=()), max_size=100) | st.text("`\n </>&|\\*[]()!#-~:a", max_size=100))
@settings(max_examples=150, deadline=None)
def test_any_text_stays_text(chapter, check, text):
    wrong = check("value", 5, "failed", text, mistake=text, advice=text)
    result = chapter((exercise_result("mse", (wrong,), stdout=text),), title=text)
    written = render("markdown", result)
    written.encode()
    html = to_html(written)
    assert set(re.findall(r"</?([a-z0-9]+)", re.sub(r"(?s)<code.*?</code>", "", html))) <= TAGS | {
        *("h2", "p", "table", "thead", "tbody", "tr", "th", "td", "blockquote", "pre", "strong")
    }
    assert html.count("<tr>") == 2
    assert html.count("<td") == 5


def test_a_file_name_is_shown_as_code(chapter, check):
    result = chapter((exercise_result("mse", (check("value", 5, "missing"),)),), file="a`b``c.py", problem="no")
    assert "<code>a`b``c.py</code>" in to_html(render("markdown", result))


def test_authors_code_spans_stay(chapter, check):
    wrong = check("value", 5, "failed", "m", "m", "Use `a*b` not a*b|c")
    html = to_html(render("markdown", chapter((exercise_result("mse", (wrong,)),))))
    assert "Use <code>a*b</code> not a*b|c" in html


def test_a_comment_is_never_too_long(chapter, check):
    exercises = tuple(
        exercise_result(f"e{i}", tuple(check(f"c{j}", 1, "failed", f"{j}" * 9000) for j in range(9))) for i in range(9)
    )
    written = render("markdown", chapter(exercises))
    assert len(written) < DETAIL_BUDGET + 5000
    assert "Some details are too long" in written
    assert all(f"`e{i}`" in written for i in range(9))
