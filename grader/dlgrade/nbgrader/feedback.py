"""One exercise's result as the outputs of a notebook cell: a fragment of HTML, the same as text, and the score."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

from dlgrade.grading.grader import WITHHELD
from dlgrade.grading.results import CheckResult, ExerciseResult
from dlgrade.report.parts import STATUS_LABELS, alike, explanation, passed, printed_title, skipped, wrong
from dlgrade.report.safe import head, one_line, tail, visible

_TONES = {"passed": "#1a7f37", "partial": "#9a6700", "failed": "#b42318", "missing": "#57606a"}
_PRE = "margin:4px 0;padding:6px 8px;background:#f6f8fa;color:#1f2328;border:0;white-space:pre-wrap;font-size:12px"
_ADVICE = "margin:4px 0;padding:4px 8px;border-left:3px solid #bf8700;background:#fff8c5;color:#1f2328"


def outputs(result: ExerciseResult, points: float, *, problem: str = "", note: str = "") -> list[dict[str, Any]]:
    """The outputs of the exercise's test cell. nbgrader reads the score from the first, the others are for people.

    `points` is what the cell is worth, the exercise's own points unless an instructor changed them; `problem` is what
    is wrong with the whole file and `note` what happened to the cell.
    """
    value = {
        "output_type": "execute_result",
        "execution_count": None,
        "metadata": {},
        "data": {"text/plain": score(result, points)},
    }
    said = {
        "text/html": "".join(_html(result, problem, note)),
        "text/plain": as_text(result, problem=problem, note=note),
    }
    return [value, {"output_type": "display_data", "metadata": {}, "data": said}]


def score(result: ExerciseResult, points: float) -> str:
    """The number that nbgrader takes for the grade: the exercise's own score, or its share of other points."""
    if points == result.max_score or not result.max_score:
        return str(result.score)
    return repr(points * (result.score / result.max_score))  # in this order never more than `points`


def as_text(result: ExerciseResult, *, problem: str = "", note: str = "") -> str:
    """The feedback as plain text."""
    return "\n".join(_text(result, problem, note))


def _text(result: ExerciseResult, problem: str, note: str) -> Iterator[str]:
    yield f"{one_line(result.name)}: {result.score} of {result.max_score} points"
    for sentence in (note, problem if result.status != "passed" else ""):
        if sentence:
            yield visible(sentence)
    if result.status == "missing":
        yield _still_to_do(result)
        return
    for checks in alike(wrong(result)):
        yield ""
        yield from (f"✗ {one_line(c.name)} ({c.score} of {c.max_score})" for c in checks)
        yield from (f"  {line}".rstrip() for line in explanation(checks[0]).split("\n"))
    if left := skipped(result):
        yield f"\nNot tried until what they build on passes: {', '.join(one_line(c.name) for c in left)}"
    if right := passed(result):
        yield f"\n✓ {', '.join(one_line(c.name) for c in right)}"
    text, cut = tail(result.stdout)
    if text:
        yield f"\n{printed_title(cut)}\n{text}"


def _html(result: ExerciseResult, problem: str, note: str) -> Iterator[str]:
    tone = _TONES[result.status]
    yield f'<div style="border-left:4px solid {tone};padding:2px 12px;margin:4px 0;max-width:60em">'
    yield f'<b style="color:{tone}">{_escaped(result.name)}: {result.score} of {result.max_score} points</b>'
    for sentence in (note, problem if result.status != "passed" else ""):
        if sentence:
            yield f'<div style="margin:4px 0">{_escaped(sentence)}</div>'
    if result.status == "missing":
        yield f'<div style="margin:4px 0">{_prose(_still_to_do(result))}</div></div>'
        return
    advised: set[str] = set()
    for checks in alike(wrong(result)):
        yield '<div style="margin:10px 0">'
        label = f": {STATUS_LABELS[checks[0].status]}" if STATUS_LABELS[checks[0].status] else ""
        yield from (f"<div>✗ <b>{_prose(c.name)}</b> ({c.score} of {c.max_score}){label}</div>" for c in checks)
        yield from _explained(checks[0], again=checks[0].advice in advised)
        yield "</div>"
        advised.add(checks[0].advice)
    if left := skipped(result):
        yield f"<div>Not tried until what they build on passes: {', '.join(_prose(c.name) for c in left)}</div>"
    if right := passed(result):
        yield f'<div style="color:#57606a">✓ {", ".join(_prose(c.name) for c in right)}</div>'
    text, cut = tail(result.stdout)
    if text:
        yield f'<div style="margin-top:8px">{printed_title(cut)}</div><pre style="{_PRE}">{html.escape(text)}</pre>'
    yield "</div>"


def _explained(check: CheckResult, *, again: bool) -> Iterator[str]:
    """What is wrong, and the advice unless it has been given before."""
    if check.message:
        yield f'<pre style="{_PRE}">{html.escape(head(check.message))}</pre>'
    named = f"<b>Recognised mistake: <code>{_escaped(check.mistake)}</code></b>" if check.mistake else ""
    advice = "" if again else _prose(check.advice)
    if said := "<br>".join(part for part in (named, advice) if part):
        yield f'<div style="{_ADVICE}">{said}</div>'


def _still_to_do(result: ExerciseResult) -> str:
    """What the checks of an exercise that is not there say, once and without the cases they would have tried."""
    plain = WITHHELD["missing"]
    said = dict.fromkeys(plain if c.message.endswith(plain) else c.message for c in result.checks if c.message)
    return " ".join(visible(sentence) for sentence in said) or "Still to do."


def _escaped(text: str) -> str:
    return html.escape(one_line(text))


def _prose(text: str) -> str:
    """An author's sentence, its code spans kept."""
    parts = re.split(r"`([^`]*)`", one_line(text))
    return "".join(f"<code>{html.escape(p)}</code>" if i % 2 else html.escape(p) for i, p in enumerate(parts))
