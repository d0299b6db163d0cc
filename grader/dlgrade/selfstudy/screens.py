"""What a student sees of the course at a terminal: where they are, the part map, a hint."""

from __future__ import annotations

from collections.abc import Iterator

from dlgrade.course import outline
from dlgrade.course.outline import Entry
from dlgrade.course.spec import Chapter
from dlgrade.grading.results import ExerciseStatus
from dlgrade.report.parts import STATUS_LABELS
from dlgrade.report.safe import visible
from dlgrade.report.terminal import Paint, bar, cells, clip, spread, wrap
from dlgrade.report.text import STYLES, SYMBOLS, row, title
from dlgrade.selfstudy.hints import TIERS, Hint
from dlgrade.selfstudy.position import Position
from dlgrade.selfstudy.progress import ChapterState

COURSE = "Deep learning, written by hand"


def chapter_status(state: ChapterState) -> ExerciseStatus:
    """A chapter's status in the words of an exercise's."""
    if state.solved:
        return "passed"
    if all(e.status == "missing" for e in state.exercises.values()):
        return "partial" if state.best else "missing"
    return "partial" if state.best else "failed"


def status(place: Position, paint: Paint, width: int) -> Iterator[str]:
    """The part map: every chapter with its points, in the parts of the course, and what the next one builds on."""
    yield from title(paint, width, COURSE, place.points, place.max_points)
    for part in outline.PARTS:
        entries = [e for e in outline.CHAPTERS if e.part == part]
        yield paint("dim", "    ↓") if part != outline.PARTS[0] else ""
        yield part_heading(part, entries, place, paint, width)
        for entry in entries:
            yield chapter_row(entry, place, paint, width)
    yield ""
    yield from _next_lines(place, paint, width)


def part_heading(part: str, entries: list[Entry], place: Position, paint: Paint, width: int) -> str:
    there = [e for e in entries if e.id in place.available]
    solved = sum(place.state(e.id).solved for e in there)
    name = f"{part.upper()} ({numbers(entries)})"
    count = f"{solved} of {len(entries)} solved"
    rule = "─" * (width - cells(name) - cells(count) - 2)
    return f"{paint('bold', name)} {paint('dim', rule)} {count}"


def numbers(entries: list[Entry]) -> str:
    """The chapters of a part, as in 314–323."""
    first, last = entries[0].id[2:], entries[-1].id[2:]
    return first if first == last else f"{first}–{last}"


def chapter_row(entry: Entry, place: Position, paint: Paint, width: int) -> str:
    """One chapter of the part map: its status, its best score, and whether you are there."""
    state, column = place.state(entry.id), width - 29
    name = clip(f"{entry.id}  {entry.title.removeprefix('Project: ').removeprefix('Capstone II: ')}", column)
    if entry.id not in place.available:
        return paint("dim", f"  {SYMBOLS['missing']} {name}")
    known = chapter_status(state)
    done, rest = bar(state.best, outline.POINTS, 10)
    line = f"  {paint(STYLES[known], SYMBOLS[known])} {name}{' ' * (column - cells(name))}"
    line += f"  {paint(STYLES[known], done)}{paint('dim', rest)} {state.best:>3}"
    return f"{line}  {_chapter_note(entry.id, place, paint)}".rstrip()


def _chapter_note(id: str, place: Position, paint: Paint) -> str:
    state = place.state(id)
    if id == place.current:
        return paint("bold", "← here")
    if state.solved and state.gave_up_at:
        return paint("dim", "gave up")
    return paint("dim", f"now {state.latest}") if state.latest < state.best else ""


def _next_lines(place: Position, paint: Paint, width: int) -> Iterator[str]:
    if place.current is None:
        yield from finished(place, paint)
        return
    entry = outline.entry(place.current)
    name = f"{place.current} {entry.title}" if entry else place.current
    yield f"Next: {paint('bold', clip(name, width - 6))}"
    yield from builds_on(place.current, place, paint, width)
    yield f"Go on with {paint('bold', 'dlgrade watch')}, or read more with {paint('bold', 'dlgrade next')}."


def finished(place: Position, paint: Paint) -> Iterator[str]:
    yield paint("bold green", f"All {len(place.available)} chapters are solved.")
    yield f"{paint('bold', 'dlgrade report')} makes the page of what you built, and your certificate."


def builds_on(id: str, place: Position, paint: Paint, width: int) -> Iterator[str]:
    """The chapters that one builds on, each with how far it is."""
    from dlgrade.course import registry

    bases = registry.chapter(id).builds_on
    if not bases:
        return
    yield "It builds on"
    for base in bases:
        entry, state = outline.entry(base), place.state(base)
        known = f"{base}  {entry.title}" if entry else base
        points = f"{state.best} / {outline.POINTS}" if state.checks else "not begun"
        done = chapter_status(state)
        yield f"  {paint(STYLES[done], SYMBOLS[done])} {clip(known, width - 20)}  {paint('dim', points)}"


def card(chapter: Chapter, place: Position, file: str, paint: Paint, width: int, *, full: bool) -> Iterator[str]:
    """One chapter: its points, its exercises and the file to write in. `full` adds what it is about and builds on."""
    state = place.state(chapter.id)
    yield from title(paint, width, f"{chapter.id}  {chapter.title}", state.latest, chapter.points)
    best = f" · best so far {state.best}" if state.best > state.latest else ""
    yield paint("dim", f"{chapter.part} · {file}{best}")
    if full:
        yield ""
        yield from wrap(chapter.summary, width)
        if chapter.builds_on:
            yield ""
            yield from builds_on(chapter.id, place, paint, width)
    yield ""
    column = min(max((cells(e.name) for e in chapter.exercises), default=0), width - 42)
    for exercise in chapter.exercises:
        known = state.exercises.get(exercise.name)
        done = known.status if known else "missing"
        score, points = (known.score, known.max_score) if known else (0, exercise.points)
        note = (
            ", ".join(known.mistakes)
            if known and known.mistakes
            else STATUS_LABELS["missing"]
            if done == "missing"
            else ""
        )
        yield row(paint, column, done, exercise.name, score, points, clip(note, width - column - 31))


def where(chapter: Chapter | None, place: Position, file: str, paint: Paint, width: int) -> Iterator[str]:
    """`dlgrade` alone: the chapter you are at, what is next in it, and one line how to go on."""
    solved = f"{len(place.solved)} of {len(place.available)} chapters solved"
    course = spread(COURSE, f"{solved} · {place.points} / {place.max_points} points", width)
    yield paint("dim", course)
    yield ""
    if chapter is None:
        yield from finished(place, paint)
        return
    yield from card(chapter, place, file, paint, width, full=not place.state(chapter.id).checks)
    yield ""
    yield next_step(chapter, place.state(chapter.id), file, paint)
    yield f"Go on with {paint('bold', 'dlgrade watch')}; stuck? {paint('bold', 'dlgrade hint')}"


def next_step(chapter: Chapter, state: ChapterState, file: str, paint: Paint) -> str:
    """The exercise that is next, in a sentence."""
    order = [e.name for e in chapter.exercises]
    known = state.exercises
    begun = [n for n in order if n in known and known[n].status in ("partial", "failed")]
    rest = [n for n in order if n not in known or known[n].status == "missing"]
    if not begun and not rest:
        return "Every exercise of this chapter is solved."
    verb, name = ("fix", begun[0]) if begun else ("write", rest[0])
    return f"Next: {verb} {paint('bold', name)} in {file}."


def hint(found: Hint, paint: Paint, width: int) -> Iterator[str]:
    """A hint: what the recognised mistake calls for, and the exercise's hints so far, the new one last."""
    if found.mistake:
        yield paint("bold magenta", f"▶ Your last check looks like: {visible(found.mistake)}")
        yield from (f"  {line}" for line in wrap(visible(found.advice), width - 2))
        if found.tiers:
            yield ""
    for number, text in enumerate(found.tiers, 1):
        new = found.detail == str(number)
        lines = wrap(f"{number}. {text}", width, hang=3)
        yield from (lines if new else (paint("dim", line) for line in lines))


def after_hint(chapter: str, exercise: str, found: Hint, paint: Paint, key: str = "") -> str:
    """Where more help is: by `key` in a watch, by a command otherwise."""
    if len(found.tiers) < TIERS:
        again = f"press {paint('bold', key)} again" if key else paint("bold", f"dlgrade hint {chapter} {exercise}")
        return f"More: {again}"
    return f"That was the last. The worked solution: {paint('bold', f'dlgrade solution {chapter} --give-up')}"
