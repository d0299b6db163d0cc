"""HTML pages: one file each, with everything in it and nothing fetched. Whatever is put into a template is escaped."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from dlgrade.report.safe import head, one_line, visible

TEMPLATES = Path(__file__).parent / "templates"


@cache
def environment() -> jinja2.Environment:
    """The templates' surroundings: escaping for all, and no name that is silently empty."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters.update(line=one_line, visible=visible, shortened=head, prose=prose)
    return made


def page(template: str, **content: Any) -> str:
    """A whole page, fit for UTF-8 whatever a student's text holds."""
    return environment().get_template(template).render(**content)


def prose(text: str) -> Markup:
    """An author's sentence as HTML: what stands between backticks is code."""
    pieces = re.split(r"`([^`\n]+)`", one_line(text))
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if i % 2 else escape(piece) for i, piece in enumerate(pieces)
    )
