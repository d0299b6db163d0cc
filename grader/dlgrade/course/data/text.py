"""A text to learn: Shakespeare's Hamlet."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def hamlet() -> str:
    """The whole play, 173,942 characters of 65 kinds: ASCII, lines ended by a line feed."""
    return Path(__file__).with_name("hamlet.txt").read_bytes().decode("ascii")
