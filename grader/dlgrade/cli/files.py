"""Writing files so that they are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from dlgrade.cli.errors import InputError


def write_whole(path: Path, content: str | bytes) -> None:
    """Write beside the file first, then rename; raises `InputError` with one sentence if it cannot be written."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
