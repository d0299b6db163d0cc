"""Reading a submission: a Python file or a notebook, as source cells and a content hash."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePath
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
    return parse(_bytes(path, size_limit(path.name)), str(path), module)


def size_limit(name: str) -> int:
    """The bytes that a file of this name may have."""
    return MAX_NOTEBOOK_BYTES if name.endswith(".ipynb") else MAX_FILE_BYTES


def parse(data: bytes, name: str, module: str) -> Submission:
    """The submission in the bytes of a file called `name`; raises `SubmissionError` as `read` does."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SubmissionError(f"{name} is not UTF-8 text (byte {error.start} is not): save it as UTF-8") from None
    if "\0" in text:
        raise SubmissionError(f"{name} holds NUL bytes and is no Python source")
    cells = notebook_cells(text, name) if name.endswith(".ipynb") else (text,)
    if not any(cell.strip() for cell in cells):
        raise SubmissionError(f"{name} is empty: there is no code in it to grade")
    return Submission(Source(cells, PurePath(name).name, module), hashlib.sha256(data).hexdigest())


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
    """The code cells of a notebook; raises `SubmissionError` if it is none."""
    try:
        notebook = json.loads(text)
    except (ValueError, RecursionError):
        raise SubmissionError(f"{name} is no notebook: it is not valid JSON") from None
    cells = code_cells(notebook) if isinstance(notebook, dict) else None
    if cells is None:
        raise SubmissionError(f"{name} is no notebook of format 4: it has no list of cells")
    if not any(cell.strip() for cell in cells):
        raise SubmissionError(f"{name} is a notebook without code")
    return cells


def code_cells(notebook: dict[str, Any]) -> tuple[str, ...] | None:
    """The student's code cells, without a classroom's test cells; None if it has no list of cells."""
    cells = notebook.get("cells")
    if not isinstance(cells, list):
        return None
    code = [c for c in cells if isinstance(c, dict) and c.get("cell_type") == "code" and not _is_test(c)]
    return tuple(_source(cell) for cell in code)


def _is_test(cell: dict[str, Any]) -> bool:
    """Whether nbgrader locks this cell and grades by it: what is in it is not the student's."""
    metadata = cell.get("metadata")
    marks = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    return isinstance(marks, dict) and marks.get("grade") is True and marks.get("solution") is False


def _source(cell: dict[str, Any]) -> str:
    source = cell.get("source", "")
    if isinstance(source, list):
        source = "".join(part for part in source if isinstance(part, str))
    return source if isinstance(source, str) else ""
