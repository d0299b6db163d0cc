"""Reading a submission: a Python file or a notebook, as source cells and a content hash."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import msgspec

from dlgrade.sandbox.session import Source

MAX_FILE_BYTES = 8 << 20
MAX_NOTEBOOK_BYTES = 64 << 20


class SubmissionError(ValueError):
    """A file that holds no code that could be graded; the message is one sentence."""


class Submission(msgspec.Struct, frozen=True):
    """A submission's code, and the SHA-256 of the file it came from."""

    source: Source
    sha256: str


def read(path: Path, module: str) -> Submission:
    """The submission in a `.py` or `.ipynb` file; raises `SubmissionError` if there is no code to be had from it."""
    notebook = path.suffix == ".ipynb"
    data = _bytes(path, MAX_NOTEBOOK_BYTES if notebook else MAX_FILE_BYTES)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SubmissionError(f"{path} is not UTF-8 text (byte {error.start} is not): save it as UTF-8") from None
    if "\0" in text:
        raise SubmissionError(f"{path} holds NUL bytes and is no Python source")
    cells = notebook_cells(text, str(path)) if notebook else (text,)
    if not any(cell.strip() for cell in cells):
        raise SubmissionError(f"{path} is empty: there is no code in it to grade")
    return Submission(Source(cells, path.name, module), hashlib.sha256(data).hexdigest())


def _bytes(path: Path, limit: int) -> bytes:
    try:
        if path.is_dir():
            raise SubmissionError(f"{path} is a folder, not a file")
        if not path.exists():
            raise SubmissionError(f"there is no file {path}")
        if not path.is_file():
            raise SubmissionError(f"{path} is not an ordinary file")
        if path.stat().st_size > limit:
            raise SubmissionError(f"{path} is larger than {limit >> 20} MiB, which no exercise needs")
        return path.read_bytes()
    except OSError as error:
        raise SubmissionError(f"{path} cannot be read: {error.strerror}") from None


def notebook_cells(text: str, name: str) -> tuple[str, ...]:
    """The code cells of a notebook, magics and shell lines commented out; raises `SubmissionError` if it is none."""
    try:
        notebook = json.loads(text)
    except (ValueError, RecursionError):
        raise SubmissionError(f"{name} is no notebook: it is not valid JSON") from None
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise SubmissionError(f"{name} is no notebook of format 4: it has no list of cells")
    code = [_source(cell) for cell in cells if isinstance(cell, dict) and cell.get("cell_type") == "code"]
    if not any(cell.strip() for cell in code):
        raise SubmissionError(f"{name} is a notebook without code")
    return tuple(plain_python(cell) for cell in code)


def _source(cell: dict[str, Any]) -> str:
    source = cell.get("source", "")
    if isinstance(source, list):
        source = "".join(part for part in source if isinstance(part, str))
    return source if isinstance(source, str) else ""


def plain_python(cell: str) -> str:
    """A cell without IPython's own syntax: a `%%` cell is dropped, `%`, `!` and `?` lines become comments.

    Line numbers stay as they were.
    """
    if cell.lstrip().startswith("%%") and not re.match(r"\s*%%(time|timeit|capture)\b", cell):
        return ""
    lines = []
    for line in cell.splitlines():
        magic = re.match(r"(\s*)(%|!|\?)|(\s*)[\w.]+\?{1,2}\s*$", line)
        lines.append(f"{magic[1] or magic[3] or ''}pass  # {line.strip()}" if magic else line)
    return "\n".join(lines)
