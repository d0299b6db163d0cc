"""A result as GitHub-flavoured Markdown, for a pull-request comment or a step summary.

Whatever a student wrote stands in a fenced block whose fence is longer than any run of backticks in it, where neither
Markdown nor HTML nor a mention is read.
"""

from __future__ import annotations

import re

from dlgrade.grading.results import ChapterResult, CheckResult, ExerciseResult
from dlgrade.report.parts import (
    STATUS_LABELS,
    Result,
    alike,
    chapters_of,
    next_exercise,
    nothing_ran,
    passed,
    printed_title,
    skipped,
    untouched,
    wrong,
)
from dlgrade.report.safe import head, one_line, tail

SYMBOLS = {"passed": "✅", "partial": "🟡", "failed": "❌", "missing": "⬜"}
# A comment holds 65536 characters; the table must fit whatever the details are.
DETAIL_BUDGET = 50_000

_SPECIAL = re.compile(r"([\\*_\[\]#|~$`])")
_CODE_SPAN = re.compile(r"(`[^`\n]+`)")


def render(result: Result) -> str:
    chapters = chapters_of(result)
    shown = chapters
    blocks = []
    if len(chapters) != 1:
        blocks += [
            f"## {len(chapters)} chapters: {result.score} of {result.max_score} points",
            _chapter_table(chapters),
        ]
        shown = tuple(c for c in chapters if not c.full_marks and not untouched(c))
    budget = DETAIL_BUDGET
    for chapter in shown:
        blocks += [f"## {_heading(chapter)}", *_body(chapter)]
        for exercise in () if nothing_ran(chapter) else chapter.exercises:
            section = _section(exercise) if exercise.status in ("partial", "failed") else ""
            budget -= len(section)
            if section and budget > 0:
                blocks.append(section)
        blocks.append(_next(chapter))
    if budget <= 0:
        blocks.append("Some details are too long for this page; `dlgrade check` shows them all.")
    return "\n\n".join(blocks) + "\n"


def _heading(chapter: ChapterResult) -> str:
    return f"{_prose(f'{chapter.chapter} {chapter.title}')}: {chapter.score} of {chapter.max_score} points"


def _body(chapter: ChapterResult) -> list[str]:
    problem = (
        [f"There is a problem with {_code(chapter.file)}:", _fence(head(chapter.problem))] if chapter.problem else []
    )
    if nothing_ran(chapter):
        return problem
    rows = ["| | exercise | score | checks passed | recognised mistakes |", "|---|---|---:|---:|---|"]
    for e in chapter.exercises:
        mistakes = ", ".join(_cell(m) for m in dict.fromkeys(c.mistake for c in e.checks if c.mistake))
        count = f"{len(passed(e))} of {len(e.checks)}" if e.status != "missing" else STATUS_LABELS["missing"]
        rows.append(f"| {SYMBOLS[e.status]} | {_cell(e.name)} | {e.score} / {e.max_score} | {count} | {mistakes} |")
    return [*problem, "\n".join(rows)]


def _chapter_table(chapters: tuple[ChapterResult, ...]) -> str:
    rows = ["| | chapter | score |", "|---|---|---:|"]
    for c in chapters:
        symbol = "passed" if c.full_marks else "missing" if untouched(c) else "partial" if c.score else "failed"
        rows.append(f"| {SYMBOLS[symbol]} | {_plain(one_line(f'{c.chapter} {c.title}'))} | {c.score} / {c.max_score} |")
    return "\n".join(rows)


def _section(exercise: ExerciseResult) -> str:
    name = _html(one_line(exercise.name))
    parts = [f"<details open>\n<summary><b>{name}</b>: {exercise.score} of {exercise.max_score}</summary>"]
    parts += [_checks(checks) for checks in alike(wrong(exercise))]
    if left := skipped(exercise):
        parts.append(f"Skipped until these pass: {', '.join(_prose(c.name) for c in left)}.")
    text, cut = tail(exercise.stdout)
    if text:
        parts.append(f"{printed_title(cut)}\n\n{_fence(text)}")
    return "\n\n".join([*parts, "</details>"])


def _checks(checks: list[CheckResult]) -> str:
    first = checks[0]
    label = f": {STATUS_LABELS[first.status]}" if STATUS_LABELS[first.status] else ""
    parts = ["\\\n".join(f"❌ **{_prose(c.name)}** ({c.score} / {c.max_score}){label}" for c in checks)]
    if first.message:
        parts.append(_fence(head(first.message)))
    mistake = f"**Recognised mistake: {_code(first.mistake)}**" if first.mistake else ""
    if said := "<br>".join(part for part in (mistake, _prose(first.advice)) if part):
        parts.append(f"> {said}")
    return "\n\n".join(parts)


def _next(chapter: ChapterResult) -> str:
    if chapter.full_marks:
        return f"All {chapter.max_score} points."
    exercise = next_exercise(chapter)
    if chapter.problem or exercise is None:
        return f"Next: fix the file, then `dlgrade check {chapter.chapter}`."
    return f"Next: `dlgrade hint {chapter.chapter} {exercise.name}`"


def _prose(text: str) -> str:
    """An author's sentence on one line, its code spans kept, everything else that Markdown or HTML reads escaped."""
    pieces = _CODE_SPAN.split(one_line(text))
    return "".join(piece if i % 2 else _plain(piece) for i, piece in enumerate(pieces))


def _plain(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", _html(text))


def _html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _code(text: str) -> str:
    """A code span that `text` cannot end."""
    line = one_line(text)
    ticks = "`" * (_longest_run(line) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{ticks}{pad}{line}{pad}{ticks}"


def _cell(text: str) -> str:
    """A code span in a table, whose cells are told apart before code is read."""
    return _code(text).replace("|", "\\|")


def _fence(text: str) -> str:
    ticks = "`" * max(3, _longest_run(text) + 1)
    return f"{ticks}text\n{text}\n{ticks}"


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall(r"`+", text)), default=0)
