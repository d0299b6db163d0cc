"""A student's own page: progress, the pictures of what they built, the mistakes they met; and a certificate.

One file each, nothing fetched and no script, so that it can be kept, mailed or printed.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from datetime import datetime

import msgspec

from dlgrade.grading.results import ChapterResult, ExerciseStatus
from dlgrade.report.cell import helpers
from dlgrade.report.pages import page

Fact = tuple[str, str]


class Tile(msgspec.Struct, frozen=True, kw_only=True):
    """A chapter on the map; it leads to the chapter's section where there is one."""

    id: str
    title: str
    score: int
    max_score: int
    status: ExerciseStatus
    here: bool
    anchor: bool


class Part(msgspec.Struct, frozen=True, kw_only=True):
    title: str
    numbers: str
    solved: int
    tiles: tuple[Tile, ...]


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """A picture; `png` is base64."""

    chapter: str
    title: str
    png: str
    width: int
    height: int


class Met(msgspec.Struct, frozen=True, kw_only=True):
    """A mistake that a check once recognised; `where` says in which exercise, and how often."""

    name: str
    advice: str
    where: str
    mended: bool


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A chapter in detail. `note` says why its file could not be checked as it is now."""

    id: str
    title: str
    score: int
    max_score: int
    facts: str
    note: str
    result: ChapterResult | None
    open: bool
    opened: tuple[str, ...]


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """Points over time as SVG paths in a box of 720 by 190."""

    path: str
    area: str
    rows: tuple[tuple[float, str], ...]
    first: str
    last: str


class CoursePage(msgspec.Struct, frozen=True, kw_only=True):
    course: str
    name: str
    period: str
    facts: tuple[Fact, ...]
    score: int
    max_score: int
    certificate: str
    parts: tuple[Part, ...]
    built: tuple[Built, ...]
    chart: Chart | None
    met: tuple[Met, ...]
    chapters: tuple[Section, ...]
    footer: str


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    course: str
    name: str
    text: str
    parts: tuple[str, ...]
    facts: tuple[Fact, ...]
    note: str


def render(content: CoursePage) -> str:
    """The page of a student's progress."""
    return page("progress.html.j2", page=content, **helpers())


def render_certificate(content: Certificate) -> str:
    """The page to print when everything is solved."""
    return page("certificate.html.j2", certificate={**msgspec.structs.asdict(content), "spirals": spirals()})


def built(chapter: str, title: str, png: bytes) -> Built:
    """A picture ready to be put into the page. Its size stands in the file's first chunk."""
    width, height = int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
    return Built(chapter=chapter, title=title, png=base64.b64encode(png).decode(), width=width, height=height)


def chart(moments: Sequence[tuple[datetime, int]]) -> Chart | None:
    """Points after each check, in order, as a line in steps; None for too little to draw."""
    if len(moments) < 2 or moments[-1][0] <= moments[0][0] or not any(points for _, points in moments):
        return None
    left, right, top, bottom = 46.0, 712.0, 12.0, 166.0
    start, end = moments[0][0], moments[-1][0]
    step = _round_step(max(points for _, points in moments))
    most = math.ceil(max(points for _, points in moments) / step) * step
    across = (right - left) / (end - start).total_seconds()

    def y(points: float) -> float:
        return round(bottom - (bottom - top) * points / most, 1)

    path = f"M{left:g} {y(moments[0][1]):g}"
    for moment, points in moments[1:]:
        path += f"H{left + across * (moment - start).total_seconds():.1f}V{y(points):g}"
    return Chart(
        path=path,
        area=f"{path}V{bottom:g}H{left:g}Z",
        rows=tuple((y(points), str(points)) for points in range(0, most + 1, step)),
        first=f"{start.day} {start:%B %Y}" if start.date() != end.date() else f"{start:%H:%M}",
        last=f"{end.day} {end:%B %Y}" if start.date() != end.date() else f"{end:%H:%M}",
    )


def _round_step(most: int) -> int:
    """A step of 1, 2 or 5 times a power of ten that makes about four lines."""
    for step in (10, 20, 50, 100, 200, 500, 1000):
        if most / step <= 4:
            return step
    return 2000


def spirals() -> tuple[str, str]:
    """The two spirals with which the course begins and ends, as SVG paths around the origin."""
    arms = []
    for turned in (0.0, math.pi):
        points = []
        for i in range(121):
            theta = 4 * math.pi * i / 120
            radius = 56 * (0.1 + 0.9 * i / 120)
            points.append(f"{radius * math.cos(theta + turned):.1f} {radius * math.sin(theta + turned):.1f}")
        arms.append("M" + "L".join(points))
    return arms[0], arms[1]
