"""The formats a result can be written in, by name; a writer is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module

from dlgrade.report.parts import Result

FORMATS: dict[str, str] = {
    "text": "dlgrade.report.text",
    "json": "dlgrade.report.json",
    "junit": "dlgrade.report.junit",
    "markdown": "dlgrade.report.markdown",
    "gradescope": "dlgrade.report.gradescope",
    "classroom50": "dlgrade.report.classroom50",
    "github": "dlgrade.report.github",
}


def render(format_name: str, result: Result, color: bool = False, width: int = 80) -> str:
    """`result` in the named format; `color` and `width` (in columns) matter to `text` alone.

    Raises KeyError for an unknown name and ValueError when a format lacks what it needs from its surroundings.
    """
    writer = import_module(FORMATS[format_name])
    if format_name == "text":
        return writer.render(result, color=color, width=width)
    return writer.render(result)
