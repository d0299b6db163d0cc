"""A result as Classroom 50's `result.json`: one test for each check, whole numbers that add up.

Contract: "Advanced Autograding" in the wiki of foundation50/classroom50. Its runner stamps the owner, the assignment
type and the time of grading, and rejects a file in which a text field of ours is empty.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from dlgrade.grading.results import CheckResult
from dlgrade.report.json import dump
from dlgrade.report.parts import Result, chapters_of, explanation
from dlgrade.report.safe import one_line, visible

SCHEMA = "classroom50/result/v1"
REQUIRED = ("CLASSROOM", "ASSIGNMENT", "SUBMISSION_TAG", "COMMIT_URL", "RELEASE_URL")


def render(result: Result, environ: Mapping[str, str] | None = None, now: datetime | None = None) -> str:
    """`environ` is the runner's environment (default: this process's), `now` an aware time (default: the present).

    Raises ValueError naming the variables that are absent, for outside a runner the file would mean nothing.
    """
    environ = os.environ if environ is None else environ
    if absent := [name for name in REQUIRED if not environ.get(name)]:
        raise ValueError(f"the classroom50 format needs its runner's environment; not set: {', '.join(absent)}")
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    chapters = chapters_of(result)
    return dump(
        {
            "schema": SCHEMA,
            "classroom": environ["CLASSROOM"],
            "assignment": environ["ASSIGNMENT"],
            "submission": environ["SUBMISSION_TAG"],
            "commit": environ["COMMIT_URL"],
            "release": environ["RELEASE_URL"],
            "review": environ.get("REVIEW_URL") or environ["COMMIT_URL"],
            "datetime": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "score": result.score,
            "max-score": result.max_score,
            "tests": [
                _test(f"{chapter.chapter} {exercise.name}" if len(chapters) > 1 else exercise.name, check)
                for chapter in chapters
                for exercise in chapter.exercises
                for check in exercise.checks
            ],
        }
    )


def _test(exercise: str, check: CheckResult) -> dict[str, Any]:
    test: dict[str, Any] = {
        "test-name": one_line(f"{exercise}: {check.name}"),
        "passed": check.status == "passed",
        "score": check.score,
        "max-score": check.max_score,
        "status": check.status,
    }
    if check.status != "passed":
        test["output"] = explanation(check)
    if check.mistake:
        test["mistake"] = visible(check.mistake)
    return test
