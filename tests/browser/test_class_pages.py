"""The class page and a student's feedback in a real browser: silent, offline, readable on phones, light and dark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dlgrade.course import registry
from dlgrade.grading.grader import Grader
from dlgrade.grading.seeds import public_seed
from dlgrade.report import class_page, feedback
from dlgrade.report.class_summary import summaries
from dlgrade.report.rows import Grade, Row
from dlgrade.sandbox.launch import Launcher
from dlgrade.sandbox.session import Source

NAMES = (
    "ada",
    "<script>document.title = 'stolen'</script>",
    "<img src=http://localhost:9/x onerror=alert(1)>",
    "W" * 300,
    "\u202egnp.exe \x1b[31m",
)
NASTY = """
def mse(y_hat, y):
    raise ValueError("<script>document.title = 'stolen'</script><img src=http://localhost:9/x>" + "W" * 400)
"""
SLIP = ("grad = 2.0 * error / error.size", "grad = error / error.size")

# Whatever reaches beyond the right edge, apart from tables that scroll in a frame of their own.
BEYOND = """
[...document.querySelectorAll("body *")].filter(e => e.checkVisibility() && !e.parentElement.closest(".scroll")
  && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, nursery: Launcher) -> dict[str, Path]:
    chapter = registry.chapter("ch305")
    solved = registry.solution_file(chapter).read_text(encoding="utf-8")
    grader = Grader(chapter, public_seed(3), nursery, reveal=True)
    texts = (solved, solved.replace(*SLIP), NASTY, "def (", solved.replace(*SLIP))
    grades = []
    for name, text in zip(NAMES, texts, strict=True):
        result = grader.grade(Source((text,), f"{name[:40]}.py", chapter.stem))
        row = Row(
            student=name,
            chapter=chapter.id,
            title=chapter.title,
            status="problem" if result.problem else "graded",
            score=result.score,
            max_score=result.max_score,
            note=result.problem,
            file=f"{name}.py",
            seed="3",
            result=result,
        )
        grades.append(Grade(row=row, points=float(row.score), max_points=100.0))
    folder = tmp_path_factory.mktemp("class")
    made = {"class": class_page.render(summaries(grades), "<b>Deep</b> Learning")}
    made |= {f"feedback{i}": feedback.render(grade, "values") for i, grade in enumerate(grades)}
    for name, text in made.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in made}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1100])
@pytest.mark.parametrize("name", ["class", "feedback1", "feedback2", "feedback3"])
def test_silent_offline_and_readable(browser: Any, pages: dict[str, Path], name: str, width: int, dark: bool) -> None:
    opened = browser.open(pages[name], width=width, dark=dark)
    opened.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith("data:")] == [pages[name].resolve().as_uri()]
    assert opened.evaluate("innerWidth") == width
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert opened.evaluate(BEYOND) == []
    assert opened.evaluate("document.title") != "stolen"
    assert opened.evaluate("document.querySelectorAll('script, img').length") == 0
    assert opened.evaluate("[...document.querySelectorAll('a')].every(a => document.querySelector(a.hash))")


def test_the_class_page_tells_what_to_say(browser: Any, pages: dict[str, Path]) -> None:
    opened = browser.open(pages["class"])
    text = opened.evaluate("document.body.innerText")
    for words in ("<b>Deep</b> Learning", "The mistakes of this class", "mse-gradient-without-2", "To look at"):
        assert words in text
    first = opened.evaluate("document.querySelector('.lesson').innerText")
    assert first.startswith("2\n40 %")
    assert "the factor 2 is missing" in first
    rows = opened.evaluate("[...document.querySelectorAll('.heat tbody tr')].map(r => r.cells.length)")
    assert rows == [9] * 5
    colours = opened.evaluate(
        "[...document.querySelectorAll('.heat tbody tr')].slice(0, 2)"
        ".map(r => getComputedStyle(r.cells[2]).backgroundColor)"
    )
    assert colours[0] != colours[1]
    bars = opened.evaluate("[...document.querySelectorAll('.hist i')].map(b => b.getBoundingClientRect().height)")
    assert len(bars) == 11
    assert max(bars) > 50


def test_feedback_leads_to_what_went_wrong(browser: Any, pages: dict[str, Path]) -> None:
    opened = browser.open(pages["feedback1"])
    link = "document.querySelector('a')"
    assert opened.evaluate(f"{link}.innerText") == "mse"
    assert opened.evaluate(f"document.querySelector({link}.hash).innerText") == "mse"
    assert "Recognised mistake: mse-gradient-without-2" in opened.evaluate("document.body.innerText")
