"""Where a student stands in the course, and what comes next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from dlgrade.course import outline, registry
from dlgrade.selfstudy.progress import ChapterState, History

NOTHING = ChapterState()


class Position(msgspec.Struct, frozen=True):
    """The states of the chapters, those that there are, and the one to go on with (None when nothing is left to do)."""

    states: Mapping[str, ChapterState]
    available: tuple[str, ...]
    current: str | None

    def state(self, id: str) -> ChapterState:
        return self.states.get(id, NOTHING)

    @property
    def points(self) -> int:
        return sum(self.state(id).best for id in self.available)

    @property
    def max_points(self) -> int:
        return outline.POINTS * len(self.available)

    @property
    def solved(self) -> tuple[str, ...]:
        return tuple(id for id in self.available if self.state(id).solved)

    @property
    def all_done(self) -> bool:
        return bool(self.available) and len(self.solved) == len(self.available)


def position(history: History, available: Sequence[str] | None = None) -> Position:
    """Where this history leads: the chapter checked last if it lacks marks, else the next open one."""
    known = tuple(registry.stems()) if available is None else tuple(available)
    states = history.chapters()
    last = history.last_chapter()
    if last in known and states[last].latest < outline.POINTS:
        current: str | None = last
    else:
        current = next_open(states, known, last)
    return Position(states, known, current)


def next_open(states: Mapping[str, ChapterState], available: Sequence[str], after: str | None) -> str | None:
    """The first chapter after this one without full marks, else the first of all; None when there is none."""
    unsolved = [id for id in available if not states.get(id, NOTHING).solved]
    return next((id for id in unsolved if after is None or id > after), next(iter(unsolved), None))
