"""A terminal's few facts: colour, width in cells, wrapping, bars. Plain strings, for rich takes 35 ms to import."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import IO
from unicodedata import combining, east_asian_width

# The colours that are legible on dark and on light backgrounds: no yellow, no white, nothing "bright".
CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "blue": "34", "magenta": "35", "cyan": "36"}

Paint = Callable[[str, str], str]


def painter(color: bool) -> Paint:
    """A function `(style, text)` that wraps text in ANSI codes, or returns it as it is; a style is words of `CODES`."""
    if not color:
        return lambda style, text: text
    return lambda style, text: f"\x1b[{';'.join(CODES[s] for s in style.split())}m{text}\x1b[0m" if style else text


def color_wanted(stream: IO[str], environ: Mapping[str, str] | None = None) -> bool:
    """Colour is for terminals that can show it and people who have not set NO_COLOR (https://no-color.org)."""
    environ = os.environ if environ is None else environ
    return not environ.get("NO_COLOR") and environ.get("TERM") != "dumb" and stream.isatty()


def width_of(stream: IO[str]) -> int:
    """The columns of the terminal behind `stream`; 80 when it is none."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def cells(text: str) -> int:
    """How many columns `text` takes: wide East Asian characters two, combining marks and joiners none."""
    if text.isascii():
        return len(text)
    return sum(_cell(c) for c in text)


def clip(text: str, width: int) -> str:
    """`text` in at most `width` columns, an ellipsis for what is left out at the end."""
    return text if cells(text) <= width else _chop(text, width - 1)[0] + "…"


def clip_left(text: str, width: int) -> str:
    """As `clip`, but the end is kept, which is what matters in a path."""
    return text if cells(text) <= width else "…" + _chop(text[::-1], width - 1)[0][::-1]


def spread(left: str, right: str, width: int) -> str:
    """`left` and `right` at the two edges of a line of `width` columns."""
    return left + " " * max(1, width - cells(left) - cells(right)) + right


def bar(score: int, max_score: int, width: int) -> tuple[str, str]:
    """The done and the open part of a bar; full only for full marks, empty only for none."""
    done = score * width // max_score if max_score else 0
    done = max(done, 1) if score > 0 else 0
    return "━" * done, "─" * (width - done)


def wrap(text: str, width: int, hang: int = 0) -> list[str]:
    """One line of text in lines of at most `width` columns, each but the first indented by `hang`.

    Runs of spaces inside a line stay, so the columns of an array stay aligned; a word longer than a line is broken.
    """
    hang = min(hang, width // 2)
    lines, line = [], ""
    for piece in re.findall(r" +|[^ ]+", text):
        if cells(line) + cells(piece) <= width:
            line += piece
            continue
        if line.strip():
            lines.append(line.rstrip())
            line = " " * hang
        if piece.isspace():
            continue
        while cells(line) + cells(piece) > width:
            part, piece = _chop(piece, width - cells(line))
            lines.append(line + part)
            line = " " * hang
        line += piece
    return [*lines, line.rstrip()] if line.strip() or not lines else lines


def _cell(char: str) -> int:
    if combining(char) or char in "\u200c\u200d\ufe0f":
        return 0
    return 2 if east_asian_width(char) in "WF" else 1


def _chop(text: str, width: int) -> tuple[str, str]:
    """`text` cut after as many characters as fit, but at least one."""
    taken = used = 0
    for char in text:
        used += _cell(char)
        if used > width and taken:
            break
        taken += 1
    return text[:taken], text[taken:]
