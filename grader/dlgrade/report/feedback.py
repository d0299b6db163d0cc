"""A student's feedback as a page of their own. How much it tells is the instructor's choice.

none: the score of each exercise.  mistake: also which checks failed, what was asked for, and the mistake's name and
advice, without a number that was drawn.  values: also the numbers, and what the code printed.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from dlgrade.grading.results import ExerciseResult
from dlgrade.report.pages import page
from dlgrade.report.parts import STATUS_LABELS, alike, passed, skipped, wrong
from dlgrade.report.rows import Grade, Reveal
from dlgrade.report.safe import tail


def render(grade: Grade, reveal: Reveal = "mistake") -> str:
    """The page. A result that was graded without values cannot show any, whatever `reveal` says."""
    row, result = grade.row, grade.row.result
    most = grade.max_points
    tone = "" if grade.points is None else "good" if grade.points >= most else "part" if grade.points else "bad"
    return page(
        "feedback.html.j2",
        row=row,
        points=None if grade.points is None else f"{grade.points:g}",
        max_points=f"{most:g}",
        tone=tone,
        penalty=f"{grade.penalty:g}" if grade.penalty else "",
        remark=grade.remark,
        note=_note(grade, reveal),
        exercises=[{"number": i, **_exercise(e, reveal)} for i, e in enumerate(result.exercises)] if result else [],
        foot=f"Graded by dlgrade {result.dlgrade}; file {result.sha256[:12]}" if result else "",
    )


def _note(grade: Grade, reveal: Reveal) -> str:
    row = grade.row
    if row.status == "ungraded":
        return ""
    if row.result is None:
        return row.note
    return row.result.problem if reveal != "none" else "Your file did not run to its end." if row.result.problem else ""


def _exercise(exercise: ExerciseResult, reveal: Reveal) -> dict[str, Any]:
    groups = []
    advised: set[str] = set()
    if reveal != "none" and exercise.status != "missing":
        for checks in alike(wrong(exercise)):
            first = checks[0]
            groups.append(
                {
                    "checks": checks,
                    "label": STATUS_LABELS[first.status],
                    "message": first.message,
                    "mistake": first.mistake,
                    "advice": "" if first.advice in advised else first.advice,
                }
            )
            advised.add(first.advice)
    return {
        "name": exercise.name,
        "score": exercise.score,
        "max_score": exercise.max_score,
        "percent": round(100 * exercise.score / exercise.max_score) if exercise.max_score else 0,
        "status": exercise.status,
        "passed": len(passed(exercise)),
        "count": len(exercise.checks),
        "groups": groups,
        "skipped": [c.name for c in skipped(exercise)] if groups else [],
        "printed": tail(exercise.stdout)[0] if reveal == "values" else "",
    }


def file_name(student: str, chapter: str) -> str:
    """A file name for a student's page: their name where that is harmless, else with a digest to keep it apart."""
    plain = re.sub(r"[^A-Za-z0-9._@-]+", "-", student).strip(".-@")[:60]
    if not plain or plain != student or plain != plain.lower() or re.search("-[0-9a-f]{8}$", plain):
        # Lower case and upper case are one name on some systems; and nobody's own name may look like another's file.
        plain = f"{plain or 'student'}-{hashlib.blake2b(student.encode(), digest_size=4).hexdigest()}"
    return f"{plain}.{chapter}.html"
