"""What `dlgrade watch` has on the screen, as lines: the chapter, the map of the course, or the keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from dlgrade.course import outline, registry
from dlgrade.grading.results import ChapterResult, ExerciseResult
from dlgrade.report import text as report
from dlgrade.report.parts import next_exercise, nothing_ran
from dlgrade.report.safe import head
from dlgrade.report.terminal import Paint, cells, clip, clip_left, wrap
from dlgrade.selfstudy import screens
from dlgrade.selfstudy.position import Position, next_open

KEYS = (
    ("h", "hint", "a hint for the exercise you are at, a little more each time"),
    ("n", "next", "go to the next chapter that is not solved"),
    ("l", "list", "the map of the course; arrows choose a chapter, Enter goes there"),
    ("p", "picture", "draw the chapter's picture from your own functions"),
    ("a", "all", "check the whole chapter again"),
    ("q", "quit", "leave; everything is kept"),
)
MORE_KEYS = (("↑ ↓", "scroll what does not fit"), ("Esc", "back to the chapter"))

Pane = Literal["chapter", "list", "help"]


class View(msgspec.Struct):
    """All that is on the screen. `result` is the chapter's last verdict and `before` its score until then.

    `checked` are the exercises that were new in the verdict, `at` the time of it. What is `said` (a hint, where a
    picture is) or `broken` (why the file cannot be checked) stands in place of what is wrong with an exercise.
    """

    chapter: str
    file: str
    place: Position
    pane: Pane = "chapter"
    result: ChapterResult | None = None
    before: int | None = None
    checked: tuple[str, ...] = ()
    at: str = ""
    broken: str = ""
    busy: str = ""
    said: tuple[str, ...] = ()
    warning: str = ""
    scroll: int = 0
    chosen: int = 0

    def focus(self) -> ExerciseResult | None:
        """The exercise to speak of: one just checked and not right, else the one to go on with."""
        if self.result is None:
            return None
        wrong = (e for e in self.result.exercises if e.name in self.checked and e.status in ("partial", "failed"))
        return next(wrong, None) or next_exercise(self.result)


def lines(view: View, paint: Paint, width: int, height: int) -> list[str]:
    """The screen, `height` lines of at most `width` columns; the scroll position is brought into what there is."""
    top, body = _panes(view, paint, width)
    bottom = ["", *_footer(view, paint, width)]
    room = max(height - len(top) - len(bottom), 1)
    if view.pane == "list":
        chosen = next((i for i, line in enumerate(body) if "▸" in line), 0)
        view.scroll = chosen - room // 2
    view.scroll = min(max(view.scroll, 0), max(len(body) - room, 0))
    part = body[view.scroll : view.scroll + room]
    if view.scroll and view.pane == "chapter":
        part[0] = paint("dim", "  ↑ more above")
    if len(body) > view.scroll + room:
        part[-1] = paint("dim", "  ↓ more below")
    return [*top, *part, *[""] * (room - len(part)), *bottom][-height:]


def _panes(view: View, paint: Paint, width: int) -> tuple[list[str], list[str]]:
    """The lines that stay and those that scroll."""
    if view.pane == "list":
        return _list(view, paint, width)
    if view.pane == "help":
        keys = [(key, text) for key, _, text in KEYS] + list(MORE_KEYS)
        return ["", *(f"  {paint('bold', f'{key:<3}')}  {text}" for key, text in keys)], []
    return _chapter(view, paint, width), [*_body(view, paint, width)]


def _list(view: View, paint: Paint, width: int) -> tuple[list[str], list[str]]:
    place = view.place
    chosen = place.available[view.chosen] if place.available else ""
    body: list[str] = []
    for part in outline.PARTS:
        entries = [e for e in outline.CHAPTERS if e.part == part]
        body.append(screens.part_heading(part, entries, place, paint, width))
        for entry in entries:
            line = screens.chapter_row(entry, place, paint, width)
            body.append(f"{paint('bold cyan', '▸')}{line[1:]}" if entry.id == chosen else line)
    return [*report.title(paint, width, screens.COURSE, place.points, place.max_points), ""], body


def _chapter(view: View, paint: Paint, width: int) -> list[str]:
    result, entry = view.result, outline.entry(view.chapter)
    name = f"{view.chapter}  {entry.title if entry else ''}"
    top = [*report.title(paint, width, name, result.score if result else 0, outline.POINTS)]
    top += [paint("dim", _meta(view, width)), ""]
    if result is None or nothing_ran(result):
        return top
    exercises = registry.chapter(view.chapter).exercises
    known = {e.name: e for e in result.exercises}
    column = min(max((cells(e.name) for e in exercises), default=0), width - 42)
    for e in exercises:
        if e.name in known:
            top.append(_row(known[e.name], paint, column))
        else:
            top.append(report.row(paint, column, "missing", e.name, 0, e.points, "not checked yet"))
    return [*top, ""]


def _row(e: ExerciseResult, paint: Paint, column: int) -> str:
    passed = sum(check.status == "passed" for check in e.checks)
    note = "" if e.status in ("passed", "missing") else f"{passed} of {len(e.checks)} checks"
    return report.row(paint, column, e.status, e.name, e.score, e.max_score, note)


def _meta(view: View, width: int) -> str:
    """The file, and when how much of it was checked; of a long name the end is kept."""
    facts = ""
    if view.at and view.broken:
        facts = f" · {view.at} · not checked"
    elif view.at and view.result is not None:
        of = (
            f"checked {len(view.checked)} of {len(view.result.exercises)}" if view.checked else "nothing to check again"
        )
        gained = view.result.score - (view.result.score if view.before is None else view.before)
        more = f" · {gained:+d} points" if gained else ""
        facts = f" · {view.at} · {of} in {view.result.duration_s:.2f} s{more}"
    return clip_left(view.file, width - cells(facts)) + facts


def _body(view: View, paint: Paint, width: int) -> Iterator[str]:
    if view.broken:
        for line in head(view.broken).split("\n"):
            yield from (paint("bold red", part) for part in wrap(line, width, hang=4))
        return
    if view.said:
        yield from view.said
        return
    result, focus = view.result, view.focus()
    if result is None:
        return
    if result.problem:
        for line in head(result.problem).split("\n"):
            yield from (paint("bold red", part) for part in wrap(line, width))
        yield ""
    if focus is None:
        yield from _done(view, paint, width)
    elif focus.status == "missing":
        yield f"Next: write {paint('bold', focus.name)}, and save."
    else:
        yield from report.explained(paint, width, focus, report.GROUPS_EXPLAINED, f"{result.chapter}:{focus.name}")


def _done(view: View, paint: Paint, width: int) -> Iterator[str]:
    chapter, place = registry.chapter(view.chapter), view.place
    yield paint("bold green", f"All {outline.POINTS} points.")
    yield ""
    yield f"{paint('bold', 'p')}  {clip(chapter.picture.title, width - 36)}, drawn from your own functions"
    following = next_open(place.states, [id for id in place.available if id != view.chapter], view.chapter)
    entry = outline.entry(following) if following else None
    if entry is not None:
        yield f"{paint('bold', 'n')}  on to {entry.id} {entry.title}"
    else:
        yield from screens.finished(place, paint)


def _footer(view: View, paint: Paint, width: int) -> list[str]:
    above = [paint("magenta", clip(view.warning, width))] if view.warning else []
    if view.busy:
        above.append(paint("cyan", clip(f"… {view.busy}", width)))
    keys = "  ".join(f"{paint('bold', key)} {name}" for key, name, _ in KEYS)
    plain = "  ".join(f"{key} {name}" for key, name, _ in KEYS)
    space = width - cells(plain) - len("watching")
    return [*above, keys if view.busy or space < 2 else f"{keys}{' ' * space}{paint('dim', 'watching')}"]
