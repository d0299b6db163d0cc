"""Student text made harmless: what would steer a terminal, a page or a build log is shown instead of obeyed."""

from __future__ import annotations

import re

# C0 but for tab and newline, DEL, C1, what is invisible or turns the reading direction (Unicode TR 36 and TR 9), lone
# surrogates, and the two code points XML forbids besides. The zero-width joiners stay: scripts and emoji need them.
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)
# Build logs are read for commands: GitHub and Azure obey `##[...]` and `##vso[...]` anywhere in a line, and `::name::`
# where a line begins.
_HASH_COMMAND = re.compile(r"##(?=\w*\[)")
_COLON_COMMAND = re.compile(r"^(\s*)::", re.MULTILINE)


def visible(text: str) -> str:
    r"""`text` with every steering character written out, as in `\x1b` or `\u202e`; newlines stay, tabs become spaces.

    The answer holds only characters that UTF-8 and XML 1.0 allow.
    """
    shown = _STEERING.sub(_written_out, text.replace("\r\n", "\n")).expandtabs(4)
    return _COLON_COMMAND.sub(r"\1\\x3a:", _HASH_COMMAND.sub(r"#\\x23", shown))


def one_line(text: str) -> str:
    r"""`visible(text)` on one line: a newline is written out as `\n`."""
    return visible(text).replace("\n", "\\n")


def head(text: str, lines: int = 40, chars: int = 4000) -> str:
    """The beginning of `visible(text)` within both bounds, its last line saying so when something was cut."""
    whole = visible(text).rstrip()
    kept = "\n".join(whole[:chars].split("\n")[:lines])
    return kept if kept == whole else f"{kept}\n... (shortened)"


def tail(text: str, lines: int = 10, chars: int = 2000) -> tuple[str, bool]:
    """The end of `visible(text)` within both bounds, and whether something was cut before it."""
    whole = visible(text).strip("\n").rstrip()
    kept = "\n".join(whole.split("\n")[-lines:])[-chars:]
    return kept, kept != whole


def encodable(text: str) -> str:
    r"""`text` with lone surrogates, which a file name can hold and UTF-8 cannot, written out as in `\udce9`."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def json_harmless(encoded: str) -> str:
    """The same JSON document with steering characters inside its strings as `\\u` escapes: nothing is lost."""
    return _HASH_COMMAND.sub("#\\\\u0023", _STEERING.sub(_json_escape, encoded))


def _written_out(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _json_escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
