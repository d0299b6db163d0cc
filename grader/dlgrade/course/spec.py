"""The words a chapter is written in: chapters, exercises, checks, mistakes.

A check has two halves. `draw(rng)` makes its cases, and may be cached, for it sees no student. `run(student, drawn)`
calls the student's functions, compares, and raises `Wrong` if an answer is not right; returning means passed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

Kind = Literal["numeric", "gradient", "property", "statistical", "training"]

PARTS = (
    "Foundations",
    "Training engineering",
    "Architectures",
    "Advanced models",
    "Systems",
    "Projects",
    "Capstone",
)


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is tested, all or nothing.

    `functions` are the student's functions that it calls; `cpu_s` limits each call; `needs` names checks of the same
    exercise without which this one says nothing; `false_alarm` is the rate at which a right answer would fail a
    statistical check. A check that is not `alone` says nothing where no other of its exercise is passed.
    """

    name: str
    kind: Kind
    points: int
    functions: tuple[str, ...]
    draw: Callable[[Any], Any]
    run: Callable[[Any, Any], None]
    cpu_s: float = 3.0
    needs: tuple[str, ...] = ()
    false_alarm: float = 0.0
    alone: bool = True


class Mistake(msgspec.Struct, frozen=True, kw_only=True):
    """A mistake students really make: wrong implementations of some functions, and a sentence that teaches.

    `variants` are other implementations of the same mistake, where it can be made in ways that give other answers.
    """

    name: str
    advice: str
    replaces: dict[str, Callable[..., Any]]
    variants: tuple[dict[str, Callable[..., Any]], ...] = ()


class Exercise(msgspec.Struct, frozen=True, kw_only=True):
    """One task: the functions it asks for, three hints from a nudge to almost the answer, checks, mistakes."""

    name: str
    title: str
    functions: tuple[str, ...]
    hints: tuple[str, str, str]
    checks: tuple[Check, ...]
    mistakes: tuple[Mistake, ...]

    @property
    def points(self) -> int:
        return sum(check.points for check in self.checks)


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """One picture drawn from the student's own functions: `draw(student, figure)` fills a matplotlib figure."""

    title: str
    draw: Callable[[Any, Any], None]


class Chapter(msgspec.Struct, frozen=True, kw_only=True):
    """A chapter of the course: 100 points over its exercises."""

    id: str
    slug: str
    title: str
    part: str
    summary: str
    exercises: tuple[Exercise, ...]
    picture: Picture
    builds_on: tuple[str, ...] = ()

    @property
    def stem(self) -> str:
        """The name its four faces share, e.g. `ch305_loss_functions`."""
        return f"{self.id}_{self.slug}"

    @property
    def points(self) -> int:
        return sum(exercise.points for exercise in self.exercises)

    def exercise(self, name: str) -> Exercise | None:
        return next((e for e in self.exercises if e.name == name), None)

    def without_training(self) -> Chapter:
        """The same chapter without the checks that train, and without those that need one of them."""
        long = {check.name for e in self.exercises for check in e.checks if check.kind == "training"}
        checks = [tuple(c for c in e.checks if not {c.name, *c.needs} & long) for e in self.exercises]
        kept = [replace(e, checks=some) for e, some in zip(self.exercises, checks, strict=True) if some]
        return replace(self, exercises=tuple(kept))
