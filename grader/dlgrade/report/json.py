"""A result as JSON: the structs of `dlgrade.grading.results` field by field (docs/result.schema.json)."""

from __future__ import annotations

from typing import Any

import msgspec

from dlgrade.report.parts import Result
from dlgrade.report.safe import encodable, json_harmless


def render(result: Result) -> str:
    return dump(msgspec.to_builtins(result))


def dump(data: Any) -> str:
    """Indented JSON with a final newline, safe to print on a terminal and to encode as UTF-8."""
    return json_harmless(msgspec.json.format(msgspec.json.encode(scrub(data)), indent=2).decode()) + "\n"


def scrub(data: Any) -> Any:
    """Plain data with every string in it fit for UTF-8."""
    if isinstance(data, str):
        return encodable(data)
    if isinstance(data, dict):
        return {key: scrub(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [scrub(value) for value in data]
    return data
