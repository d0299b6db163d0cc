"""A result for somebody at a terminal: the score, where it comes from, what went wrong and how to go on."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dlgrade.grading.results import ChapterResult, CheckResult, CourseResult, ExerciseResult
from dlgrade.report.parts import (
    STATUS_LABELS,
    Result,
    alike,
    next_exercise,
    nothing_ran,
    passed,
    printed_title,
    skipped,
    untouched,
    wrong,
)
from dlgrade.report.safe import head, one_line, tail, visible
from dlgrade.report.terminal import Paint, bar, cells, clip, clip_left, painter, wrap

SYMBOLS = {"passed": "✓", "partial": "◐", "failed": "✗", "missing": "·"}
STYLES = {"passed": "green", "partial": "blue", "failed": "red", "missing": "dim"}

# A line of a message that begins with one of these, then a colon or two spaces, is half of a comparison.
LABELS = {"expected": "green", "should be": "green", "got": "red", "yours": "red", "your answer": "red"}

# More of them in one exercise is a wall of text; the first ones mended, the others often go.
GROUPS_EXPLAINED = 3

_BAR = 10


def render(result: Result, *, color: bool, width: int = 80) -> str:
    """The report in at most `width` columns (held between 60 and 100), without any escape code unless `color`.

    What a student's code said stands behind a gutter, its control characters written out, so that it can neither steer
    the terminal nor pass for the grader's own words.
    """
    paint, width = painter(color), max(60, min(width, 100))
    if isinstance(result, CourseResult):
        lines = [*_course(paint, width, result)]
    else:
        lines = [*_chapter(paint, width, result)]
    return "\n".join([*lines, "", _last_line(paint, result)]) + "\n"


def _course(paint: Paint, width: int, course: CourseResult) -> Iterator[str]:
    chapters = course.chapters
    yield from title(paint, width, f"{len(chapters)} chapters", course.score, course.max_score)
    yield ""
    titles = [one_line(f"{c.chapter}  {c.title}") for c in chapters]
    column = min(max(map(cells, titles), default=0), width - 42)
    for chapter, name in zip(chapters, titles, strict=True):
        status = _chapter_status(chapter)
        note = "could not be run" if chapter.problem else "not begun" if untouched(chapter) else ""
        yield row(paint, column, status, name, chapter.score, chapter.max_score, note)
    for chapter in chapters:
        if not chapter.full_marks and not untouched(chapter):
            yield from ["", "", *_chapter(paint, width, chapter)]


def _chapter(paint: Paint, width: int, chapter: ChapterResult) -> Iterator[str]:
    yield from title(paint, width, f"{chapter.chapter}  {chapter.title}", chapter.score, chapter.max_score)
    yield paint("dim", _meta(chapter, width))
    yield ""
    if chapter.problem:
        yield from _behind_gutter(paint, width, "", head(chapter.problem), "bold red")
    if nothing_ran(chapter):
        yield from _printed(paint, width, "", chapter.stdout)
        return
    if chapter.problem:
        yield ""
    column = min(max((cells(e.name) for e in chapter.exercises), default=0), width - 42)
    for e in chapter.exercises:
        yield row(paint, column, e.status, e.name, e.score, e.max_score, _note(chapter, e))
    if not chapter.full_marks:
        if missing := [*_missing(width, chapter)]:
            yield from ["", *missing]
        yield from _printed(paint, width, "  ", chapter.stdout)
    for e in chapter.exercises:
        if e.status in ("partial", "failed"):
            limit = GROUPS_EXPLAINED if len(chapter.exercises) > 1 else len(e.checks)
            yield from ["", *explained(paint, width, e, limit, f"{chapter.chapter}:{e.name}")]


def title(paint: Paint, width: int, text: str, score: int, max_score: int) -> Iterator[str]:
    """A heading with its points at the right, over a bar of the whole width."""
    points = f"{score} / {max_score}"
    left = clip(one_line(text), width - cells(points) - 2)
    yield paint("bold", left) + " " * (width - cells(left) - cells(points)) + paint("bold", points)
    done, rest = bar(score, max_score, width)
    yield paint("green" if score == max_score else "blue", done) + paint("dim", rest)


def _meta(chapter: ChapterResult, width: int) -> str:
    seed = f"seed {chapter.seed}" + (f" ({chapter.seed_fingerprint})" if chapter.seed_fingerprint else "")
    facts = f" · {seed} · {chapter.sandbox} · {chapter.duration_s:.2f} s"
    return clip_left(one_line(chapter.file), width - cells(facts)) + facts


def row(paint: Paint, column: int, status: str, name: str, score: int, max_score: int, note: str) -> str:
    """One exercise or chapter in a list: its status, a name in `column` columns, a short bar, points, a note."""
    style = STYLES[status]
    done, rest = bar(score, max_score, _BAR)
    label = clip(one_line(name), column)
    line = f"  {paint(style, SYMBOLS[status])} {label}{' ' * (column - cells(label))}  "
    line += f"{paint(style, done)}{paint('dim', rest)}  {score:>3} / {max_score:<3}"
    return (f"{line}  {paint('dim', note)}" if note else line).rstrip()


def _chapter_status(chapter: ChapterResult) -> str:
    if chapter.full_marks:
        return "passed"
    return "missing" if untouched(chapter) else "partial" if chapter.score else "failed"


def _note(chapter: ChapterResult, exercise: ExerciseResult) -> str:
    if exercise.status == "missing":
        # In a file that stopped half-way it may well be written.
        return "missing" if chapter.problem else STATUS_LABELS["missing"]
    return f"{len(passed(exercise))} of {len(exercise.checks)} checks"


def _missing(width: int, chapter: ChapterResult) -> Iterator[str]:
    """What the grader says of exercises not begun beyond their being so, which their rows say; of several, once."""
    said = set()
    for exercise in (e for e in chapter.exercises if e.status == "missing"):
        for message in dict.fromkeys(one_line(c.message) for c in exercise.checks if c.status == "missing"):
            gist = message.replace(exercise.name, "")
            itself = f"calls `{exercise.name}`" in message or message.count("`") == 2
            plain_todo = message.endswith(" is still to do.") and itself
            if message and not plain_todo and gist not in said:
                said.add(gist)
                line = message if exercise.name in message else f"{exercise.name}: {message}"
                yield from (f"  {part}" for part in wrap(f"· {line}", width - 2, hang=2))


def explained(paint: Paint, width: int, exercise: ExerciseResult, limit: int, target: str) -> Iterator[str]:
    """What went wrong in one exercise; beyond `limit` groups of failures, only their names and where to read more."""
    points = f"{exercise.score} / {exercise.max_score}"
    rule = "─" * (width - cells(exercise.name) - cells(points) - 2)
    yield f"{paint('bold', exercise.name)} {paint('dim', rule)} {paint('bold', points)}"
    advised: set[str] = set()
    groups = alike(wrong(exercise))
    for checks in groups[:limit]:
        yield ""
        yield from _headings(paint, width, checks)
        if checks[0].message:
            yield from _behind_gutter(paint, width, "    ", _compared(head(checks[0].message)))
        yield from _mistake(paint, width, checks[0], advised)
    if groups[limit:]:
        yield ""
        for checks in groups[limit:]:
            yield from _headings(paint, width, checks)
            yield from _mistake(paint, width, checks[0], advised)
        yield f"    explained by {paint('bold', f'dlgrade check {target}')}"
    if rest := skipped(exercise):
        names = ", ".join(one_line(c.name) for c in rest)
        yield ""
        yield from (f"  {line}" for line in wrap(f"· skipped until these pass: {names}", width - 2, hang=2))
    if good := passed(exercise):
        yield ""
        yield f"  {paint('green', '✓')} {len(good)} other check{'s' if len(good) > 1 else ''} passed"
    yield from _printed(paint, width, "  ", exercise.stdout)


def _headings(paint: Paint, width: int, checks: list[CheckResult]) -> Iterator[str]:
    for check in checks:
        points = f"{check.score} / {check.max_score}"
        room = width - cells(points) - 6
        label = STATUS_LABELS[check.status]
        # The message says it too, so a long name comes first.
        suffix = f": {label}" if label and cells(one_line(check.name)) + cells(label) + 2 <= room else ""
        name = clip(one_line(check.name), room - cells(suffix))
        gap = " " * (room - cells(name) - cells(suffix) + 2)
        yield f"  {paint('red', '✗')} {paint('bold', name)}{suffix}{gap}{points}"


def _mistake(paint: Paint, width: int, check: CheckResult, advised: set[str]) -> Iterator[str]:
    """The recognised mistake by name, and its advice unless that was given already."""
    repeated = check.mistake in advised
    if check.mistake:
        advised.add(check.mistake)
        lead = "The same mistake" if repeated else "Recognised mistake"
        yield paint("bold magenta", clip(f"    ▶ {lead}: {one_line(check.mistake)}", width))
    if not repeated:
        for paragraph in visible(check.advice).split("\n") if check.advice else ():
            yield from (f"      {line}" for line in wrap(paragraph, width - 6))


def _compared(message: str) -> str:
    """The sentence that compares, "Expected A, got B (off by C).", as two lines one below the other."""
    pair = re.sub(
        r"(?m)^Expected (.+?), got (.+?)( \(off by .*?\))?\.(?:$| )", r"expected  \1\ngot       \2\3\n", message
    )
    return re.sub(r"(?m)^Expected (.+)\.$", r"expected  \1", pair).replace("\n\n", "\n").rstrip("\n")


def _printed(paint: Paint, width: int, indent: str, stdout: str) -> Iterator[str]:
    text, cut = tail(stdout)
    if text:
        yield ""
        yield f"{indent}{printed_title(cut)}"
        yield from _behind_gutter(paint, width, indent, text)


def _behind_gutter(paint: Paint, width: int, indent: str, text: str, style: str = "") -> Iterator[str]:
    """Harmless text wrapped behind a bar, continued lines hanging, the two halves of a comparison coloured."""
    for line in text.split("\n"):
        half, label = _half(line)
        hang = label or len(line) - len(line.lstrip()) + 2
        for part in wrap(line, width - len(indent) - 2, hang):
            yield f"{indent}{paint('dim', '│')} {paint(half or style, part)}".rstrip()


def _half(line: str) -> tuple[str, int]:
    """The style of a line of a comparison and the width of its label; of any other line, no style and 0."""
    said = line.lstrip()
    for label, style in LABELS.items():
        rest = said[len(label) :]
        if said.lower().startswith(label) and rest.startswith((":", "  ")):
            return style, len(line) - len(rest.lstrip(": "))
    return "", 0


def _last_line(paint: Paint, result: Result) -> str:
    if result.full_marks:
        return paint("bold green", f"All {result.max_score} points." if result.max_score else "Nothing was checked.")
    if isinstance(result, CourseResult):
        open_chapters = [c for c in result.chapters if not c.full_marks]
        chapter = next((c for c in open_chapters if not untouched(c)), open_chapters[0])
    else:
        chapter = result
    exercise = next_exercise(chapter)
    if chapter.problem or exercise is None:
        return f"Next: make the file run, then {paint('bold', f'dlgrade check {chapter.chapter}')}"
    verb = "write" if exercise.status == "missing" else "fix"
    hint = paint("bold", f"dlgrade hint {chapter.chapter} {exercise.name}")
    return f"Next: {verb} {exercise.name}. Stuck? {hint}"
