"""The hint that is due."""

from __future__ import annotations

from typing import Any

from dlgrade.course.spec import Chapter
from dlgrade.selfstudy.hints import Hint, choose, stuck_at
from dlgrade.selfstudy.progress import Event


def seen(*details: str) -> list[Event]:
    return [Event(i, 0, "", "hint", "ch305", "mse", detail) for i, detail in enumerate(details)]


def test_one_more_each_time_and_then_all(chapter: Chapter) -> None:
    exercise = chapter.exercises[0]
    read: list[str] = []
    for expected in (1, 2, 3, 3):
        hint = choose(exercise, None, seen(*read))
        assert hint == Hint(tiers=exercise.hints[:expected], detail=str(expected))
        read.append(hint.detail)


def test_a_tier_can_be_asked_for(chapter: Chapter) -> None:
    exercise = chapter.exercises[0]
    assert choose(exercise, None, seen("1"), tier=3).tiers == exercise.hints
    assert choose(exercise, None, seen("3"), tier=1).tiers == exercise.hints[:1]


def test_a_recognised_mistake_comes_first_and_uses_up_no_tier(chapter: Chapter, record: Any) -> None:
    exercise = chapter.exercises[0]
    result = record.result({"mse": 3}, "some-mistake").exercises[0]
    first = choose(exercise, result, seen("1"))
    assert (first.mistake, first.advice, first.detail) == ("some-mistake", "Mend it.", "some-mistake")
    assert first.tiers == exercise.hints[:1]
    second = choose(exercise, result, seen("1", "some-mistake"))
    assert (second.mistake, second.tiers, second.detail) == ("some-mistake", exercise.hints[:2], "2")


def test_another_mistake_is_news_again(chapter: Chapter, record: Any) -> None:
    result = record.result({"mse": 3}, "another-mistake").exercises[0]
    assert choose(chapter.exercises[0], result, seen("some-mistake", "2")).detail == "another-mistake"


def test_stuck_at_what_was_begun(chapter: Chapter, record: Any) -> None:
    assert stuck_at(chapter, None).name == "mse"
    assert stuck_at(chapter, record.result({"mse": 12, "softmax": 3})).name == "softmax"
    assert stuck_at(chapter, record.result(record.full)).name == "mse"
