"""Where somebody stands, and the map of the course."""

from __future__ import annotations

import pytest
from dlgrade.course import outline, registry
from dlgrade.report.terminal import painter
from dlgrade.selfstudy import screens
from dlgrade.selfstudy.position import position
from dlgrade.selfstudy.progress import CheckRow, Event, ExerciseState, History

PLAIN = painter(False)
CHAPTERS = ("ch305", "ch306", "ch312")


def history(*checks: tuple[str, int]) -> History:
    rows = []
    for i, (id, score) in enumerate(checks, 1):
        status = "passed" if score == 100 else "partial" if score else "missing"
        states = {"all": ExerciseState(score, 100, status)}  # type: ignore[arg-type]
        rows.append(CheckRow(i, f"2026-01-0{i}T00:00:00Z", "check", id, 1, score, 100, 0.1, 7, "", "", "", states))
    return History(tuple(rows))


@pytest.mark.parametrize(
    ("checks", "current"),
    [
        ([], "ch305"),
        ([("ch305", 50)], "ch305"),
        ([("ch305", 100)], "ch306"),
        ([("ch306", 40)], "ch306"),
        ([("ch306", 100)], "ch312"),
        ([("ch312", 100)], "ch305"),
        ([("ch305", 100), ("ch306", 100), ("ch312", 100)], None),
        ([("ch305", 100), ("ch305", 60)], "ch305"),
        ([("ch305", 100), ("ch306", 100), ("ch312", 100), ("ch305", 60)], "ch305"),
        ([("ch399", 50)], "ch305"),
    ],
)
def test_the_chapter_to_go_on_with(checks: list[tuple[str, int]], current: str | None) -> None:
    place = position(history(*checks), CHAPTERS)
    assert place.current == current


def test_all_is_done_when_every_chapter_once_had_full_marks() -> None:
    checks = [(id, 100) for id in CHAPTERS]
    assert position(history(*checks), CHAPTERS).all_done
    assert position(history(*checks, ("ch305", 60)), CHAPTERS).all_done
    assert not position(history(*checks[:2]), CHAPTERS).all_done
    assert not position(History(), ()).all_done


def test_points_are_the_best() -> None:
    place = position(history(("ch305", 70), ("ch305", 40), ("ch306", 100)), CHAPTERS)
    assert (place.points, place.max_points, place.solved) == (170, 300, ("ch306",))


def test_the_outline_is_the_course() -> None:
    assert len(outline.CHAPTERS) == 41
    assert [e.id for e in outline.CHAPTERS] == [f"ch{n}" for n in range(300, 341)]
    for id in registry.stems():
        entry, chapter = outline.entry(id), registry.chapter(id)
        assert entry is not None
        assert (entry.part, chapter.points) == (chapter.part, outline.POINTS)
        assert entry.title == chapter.title
        assert all(outline.entry(base) for base in chapter.builds_on)


@pytest.mark.parametrize("width", [60, 80, 100])
def test_the_map(width: int) -> None:
    place = position(history(("ch305", 100), ("ch306", 98), ("ch306", 40)), CHAPTERS)
    lines = list(screens.status(place, PLAIN, width))
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for part in outline.PARTS:
        assert part.upper() in text
    assert text.count("↓") == len(outline.PARTS) - 1
    [here] = [line for line in lines if line.endswith("← here")]
    assert "ch306" in here
    assert "98" in here
    assert "It builds on" in text
    assert "✓ ch305" in text


def test_the_map_says_who_gave_up() -> None:
    rows = history(("ch305", 100), ("ch306", 5)).checks
    event = Event(1, 0, "2026-01-01T00:00:00Z", "gave up", "ch305", "", "")
    place = position(History(rows, (event,)), CHAPTERS)
    assert any("ch305" in line and "gave up" in line for line in screens.status(place, PLAIN, 80))


def test_where_and_the_end() -> None:
    chapter = registry.chapter("ch305")
    text = "\n".join(screens.where(chapter, position(History(), ("ch305",)), "a.py", PLAIN, 80))
    assert chapter.summary.split()[0] in text
    assert "Next: write mse in a.py." in text
    assert "dlgrade watch" in text.splitlines()[-1]
    done = "\n".join(screens.where(None, position(history(("ch305", 100)), ("ch305",)), "", PLAIN, 80))
    assert "dlgrade report" in done
