"""Student text made harmless: what would steer a terminal, a page or a build log is shown instead of obeyed."""

from __future__ import annotations

import re

# Not printable in Unicode's sense, yet harmless and needed: line ends, tabs, the joiners of scripts and emoji, and the
# wide space of East Asian text.
_KEPT = frozenset("\n\t\u200c\u200d\u3000")


def visible(text: str) -> str:
    r"""`text` with every character that is not printable written out, as in `\x1b` or `\u202e`.

    Not printable are control and format characters (escape codes, reading direction), lone surrogates and code points
    without a character, so the answer is good UTF-8 and XML 1.0. Newlines stay, tabs become spaces. Build logs are read
    for commands, GitHub's `::name::` at the start of a line and `##[name]` anywhere, Azure's `##vso[name]`: those are
    broken up in the same manner.
    """
    shown = text.replace("\r\n", "\n")
    if not shown.replace("\n", "").isprintable():
        shown = "".join(c if c.isprintable() or c in _KEPT else _written_out(c) for c in shown).expandtabs(4)
    if "::" in shown:
        shown = re.sub(r"(?m)^(\s*)::", r"\1\\x3a:", shown)
    return _break_hash_commands(shown, r"\x23")


def one_line(text: str) -> str:
    r"""`visible(text)` on one line: a newline is written out as `\n`."""
    return visible(text).replace("\n", "\\n")


def head(text: str, lines: int = 40, chars: int = 4000) -> str:
    """The beginning of `visible(text)` within both bounds, its last line saying so when something was cut."""
    text = text.rstrip()
    # A character is shown as at least half a character (a line end of two becomes one), so more need not be looked at.
    whole = visible(text[: 2 * chars])
    kept = "\n".join(whole[:chars].split("\n")[:lines])
    return kept if kept == whole and len(text) <= 2 * chars else f"{kept}\n... (shortened)"


def tail(text: str, lines: int = 10, chars: int = 2000) -> tuple[str, bool]:
    """The end of `visible(text)` within both bounds, and whether something was cut before it."""
    text = text.strip("\r\n").rstrip()
    whole = visible(text[-2 * chars :])
    kept = "\n".join(whole.split("\n")[-lines:])[-chars:]
    return kept, kept != whole or len(text) > 2 * chars


def encodable(text: str) -> str:
    r"""`text` with lone surrogates, which a file name can hold and UTF-8 cannot, written out as in `\udce9`."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def json_harmless(encoded: str) -> str:
    """The same JSON document with what is not printable in its strings as `\\u` escapes: nothing is lost."""
    if not encoded.replace("\n", "").isprintable():
        encoded = "".join(c if c.isprintable() or c in _KEPT else _json_escape(c) for c in encoded)
    return _break_hash_commands(encoded, r"\u0023")


def _break_hash_commands(text: str, second: str) -> str:
    return re.sub(r"##(?=\w*\[)", lambda _: f"#{second}", text) if "##" in text else text


def _written_out(char: str) -> str:
    code = ord(char)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
