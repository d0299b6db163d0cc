"""Files that are there whole or not at all, and never in place of somebody's work."""

from __future__ import annotations

import os
from pathlib import Path


def replace(path: Path, content: str | bytes) -> None:
    """Write beside the file, then rename over it. Raises OSError."""
    beside = _beside(path, content)
    try:
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def create(path: Path, content: str | bytes) -> bool:
    """Write a file that does not exist yet; False, and nothing is touched, if it does. Raises OSError."""
    if os.path.lexists(path):
        return False
    beside = _beside(path, content)
    try:
        os.link(beside, path)
    except FileExistsError:
        return False
    except (OSError, NotImplementedError, AttributeError):  # a file system without links
        with open(path, "xb") as file:
            file.write(_bytes(content))
    finally:
        beside.unlink(missing_ok=True)
    return True


def _beside(path: Path, content: str | bytes) -> Path:
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_bytes(_bytes(content))
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    return beside


def _bytes(content: str | bytes) -> bytes:
    return content.encode("utf-8") if isinstance(content, str) else content
