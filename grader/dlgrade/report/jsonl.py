"""A class as JSON lines: an object for every student and chapter, result and all (docs/class-row.schema.json)."""

from __future__ import annotations

from typing import Any

import msgspec

from dlgrade.report.json import scrub
from dlgrade.report.rows import Grade
from dlgrade.report.safe import json_harmless


def line(grade: Grade) -> str:
    """One row as one line, safe to print on a terminal."""
    row: dict[str, Any] = msgspec.to_builtins(grade.row)
    result = row.pop("result")
    shown = {"schema": 1, **row}
    if row["status"] == "ungraded":
        shown["score"] = None
    facts = msgspec.to_builtins(grade)
    facts.pop("row")
    return json_harmless(msgspec.json.encode(scrub({**shown, **facts, "result": result})).decode()) + "\n"
