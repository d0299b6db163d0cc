"""What is on the screen of a watch."""

from __future__ import annotations

from typing import Any

import pytest
from dlgrade.course import registry
from dlgrade.report.terminal import cells, painter
from dlgrade.selfstudy.position import position
from dlgrade.selfstudy.progress import History
from dlgrade.selfstudy.view import View, lines

PLAIN = painter(False)


@pytest.fixture
def view() -> View:
    return View("ch305", "exercises/ch305_loss_functions.py", position(History(), ("ch305", "ch306")))


def text(view: View, width: int = 80, height: int = 30) -> str:
    shown = lines(view, PLAIN, width, height)
    assert len(shown) <= height
    assert max(map(cells, shown)) <= width
    return "\n".join(shown)


def test_before_the_first_verdict(view: View) -> None:
    shown = text(view)
    assert "Loss Functions" in shown
    assert "watching" in shown


def test_a_verdict_speaks_of_what_was_just_checked(view: View, record: Any) -> None:
    scores = record.full | {"mse": 3, "huber": 2}
    view.result, view.checked, view.at, view.before = record.result(scores, "some-mistake"), ("huber",), "12:00:00", 70
    shown = text(view, height=60)
    assert "12:00:00 · checked 1 of 7" in shown
    assert "Recognised mistake: some-mistake" in shown
    assert "huber ─" in shown
    assert "mse ─" not in shown
    assert f"{view.result.score - 70:+d} points" in shown


def test_a_small_screen_scrolls(view: View, record: Any) -> None:
    view.result, view.checked, view.at = record.result(record.full | {"mse": 3}, "m"), ("mse",), "12:00:00"
    first = text(view, height=20)
    assert "more below" in first
    view.scroll = 10_000
    last = text(view, height=20)
    assert "more above" in last
    assert "more below" not in last
    assert view.scroll < 100
    assert text(view, height=5)
    assert text(view, height=1)


def test_full_marks_lead_on(view: View, record: Any) -> None:
    view.result, view.at = record.result(record.full), "12:00:00"
    shown = text(view)
    assert "All 100 points." in shown
    assert "on to ch306" in shown
    assert registry.chapter("ch305").picture.title[:20] in shown


def test_a_broken_file_keeps_the_last_verdict_and_says_why(view: View, record: Any) -> None:
    view.result, view.at, view.broken = record.result({"mse": 3}), "12:00:00", "The file \x1b[31m could not be read"
    shown = text(view)
    assert "not checked" in shown
    assert "could not be read" in shown
    assert "\x1b" not in shown


def test_list_and_help_and_notices(view: View) -> None:
    view.pane, view.chosen = "list", 1
    shown = text(view, height=24)
    assert "▸ · ch306" in shown
    view.pane = "help"
    assert "hint for the exercise" in text(view)
    view.pane, view.warning, view.busy = "chapter", "Progress is not kept: x", "mse: value"
    shown = text(view)
    assert "Progress is not kept" in shown
    assert "… mse: value" in shown
    assert "watching" not in shown
