"""A student's folder: the stubs to fill in, a marker with a few settings, and what the course writes beside them.

Nothing in it is ever overwritten, except by `reset`, which keeps a copy.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

import msgspec

from dlgrade.course import registry
from dlgrade.selfstudy import files

MARKER = "dlgrade.toml"
README = "README.md"
ANSWERS = "exercises"
SOLUTIONS = "solutions"
BACKUPS = "backups"
SUFFIXES = (".py", ".ipynb")

_MARKER_TEXT = """\
# This file makes the folder a dlgrade workspace: `dlgrade` works anywhere below it.

# Your name, for the certificate.
name = ""

# Whether chapters that are added later come as notebooks.
notebooks = {notebooks}

# `dlgrade watch` notices saved files by itself, within a second on folders that report no changes (some network folders
# and containers). Set this to true if it never should rely on such reports.
poll = false
"""

_README_TEXT = """\
# Deep learning, written by hand

One {what} a chapter, in `exercises/`.
Every function you write says in its docstring what it gets and what it returns.

    dlgrade              where you are and what is next
    dlgrade watch        checks whenever you save; press ? for its keys
    dlgrade check ch305  checks one chapter
    dlgrade hint         a hint for where you are stuck, a little more each time
    dlgrade status       the map of the course, with your points
    dlgrade report       a page with your progress and the pictures of what you built
{more}
Your progress is in `progress.sqlite`; keep it with the rest when you move the folder.
`dlgrade --help` lists everything.
"""

_NOTEBOOK_LINES = """\

The last cell of a notebook checks it. Install Jupyter where dlgrade is installed, and choose that Python as the kernel.
"""


class WorkspaceError(ValueError):
    """What a workspace cannot do, in one sentence."""


class Config(msgspec.Struct, frozen=True):
    """The settings in `dlgrade.toml`; unknown ones are ignored."""

    name: str = ""
    notebooks: bool = False
    poll: bool = False


class Created(msgspec.Struct, frozen=True):
    """What making a workspace wrote, and which chapters were there before."""

    made: tuple[Path, ...]
    kept: tuple[str, ...]


class Reset(msgspec.Struct, frozen=True, kw_only=True):
    """What a reset did; there is no backup where there was no file, or nothing in it."""

    backup: Path | None = None
    unchanged: bool = False


def find_root(start: Path) -> Path | None:
    """The workspace at or above a folder, if any."""
    return next((folder for folder in (start, *start.parents) if (folder / MARKER).is_file()), None)


def answer(root: Path, stem: str) -> Path | None:
    """The file in which a workspace answers a chapter, if it is there."""
    for folder in (root, root / ANSWERS):
        for suffix in SUFFIXES:
            path = folder / f"{stem}{suffix}"
            if path.exists():
                return path
    return None


def config(root: Path) -> Config:
    """The workspace's settings; raises `WorkspaceError` if the file cannot be understood."""
    path = root / MARKER
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Config)
    except OSError as error:
        raise WorkspaceError(f"{path} cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise WorkspaceError(f"{path} is not right: {error}") from None


def create(root: Path, *, notebooks: bool) -> Created:
    """Make a workspace, or add to one what it lacks. Raises `WorkspaceError`."""
    made: list[Path] = []
    kept: list[str] = []

    def write(path: Path, text: str) -> None:
        if files.create(path, text):
            made.append(path)

    try:
        (root / ANSWERS).mkdir(parents=True, exist_ok=True)
        what, more = ("notebook", _NOTEBOOK_LINES) if notebooks else ("Python file", "")
        write(root / README, _README_TEXT.format(what=what, more=more))
        for id, stem in registry.stems().items():
            if not _stub(stem).is_file():
                continue  # a chapter that is being written
            if answer(root, stem) is None:
                write(root / ANSWERS / f"{stem}{_suffix(notebooks)}", start_of(stem, notebook=notebooks))
            else:
                kept.append(id)
        # The marker comes last: a folder with it has everything.
        write(root / MARKER, _MARKER_TEXT.format(notebooks="true" if notebooks else "false"))
    except OSError as error:
        raise WorkspaceError(f"{error.filename or root} cannot be written: {error.strerror}") from None
    return Created(tuple(made), tuple(kept))


def start_of(stem: str, *, notebook: bool) -> str:
    """What a chapter's file holds before anything is written in it."""
    text = _stub(stem).read_text(encoding="utf-8")
    if not notebook:
        return text
    from dlgrade.authoring.notebooks import exercise_notebook

    return exercise_notebook(text, stem[:5])


def _stub(stem: str) -> Path:
    return registry.content_folder("exercises") / f"{stem}.py"


def untouched(path: Path) -> bool:
    """Whether nothing has been written in a chapter's file yet."""
    return path.read_bytes() == start_of(path.stem, notebook=path.suffix == ".ipynb").encode("utf-8")


def reset(root: Path, stem: str) -> Reset:
    """Put a chapter's file back to its beginning, after a copy of what was written. Raises `WorkspaceError`."""
    path = answer(root, stem)
    notebook = path.suffix == ".ipynb" if path else config(root).notebooks
    path = path or root / ANSWERS / f"{stem}{_suffix(notebook)}"
    fresh = start_of(stem, notebook=notebook).encode("utf-8")
    try:
        old = path.read_bytes() if path.exists() else None
        if old == fresh:
            return Reset(unchanged=True)
        path.parent.mkdir(exist_ok=True)
        backup = None if old is None else _back_up(root, path, old)
        files.replace(path, fresh)
    except OSError as error:
        raise WorkspaceError(f"{error.filename or path} cannot be written: {error.strerror}") from None
    return Reset(backup=backup)


def _back_up(root: Path, path: Path, content: bytes) -> Path:
    folder = root / BACKUPS
    folder.mkdir(exist_ok=True)
    moment = time.strftime("%Y%m%d-%H%M%S")
    for number in range(1, 1000):
        backup = folder / f"{path.stem}.{moment}{f'-{number}' if number > 1 else ''}{path.suffix}"
        if files.create(backup, content):
            return backup
    raise WorkspaceError(f"{folder} already holds a thousand backups of this second")


def solution_text(stem: str) -> str:
    """A chapter's worked solution as a student reads it: without the markers it is cut along."""
    text = (registry.content_folder("solutions") / f"{stem}.py").read_text(encoding="utf-8")
    return re.sub(r"(?m)^[ \t]*### (BEGIN|END) SOLUTION\n", "", text)


def write_solution(root: Path, stem: str) -> Path:
    """Put the worked solution beside the answers; a file that is there already stays. Raises `WorkspaceError`."""
    path = root / SOLUTIONS / f"{stem}.py"
    try:
        path.parent.mkdir(exist_ok=True)
        files.create(path, solution_text(stem))
    except OSError as error:
        raise WorkspaceError(f"{path} cannot be written: {error.strerror}") from None
    return path


def _suffix(notebook: bool) -> str:
    return ".ipynb" if notebook else ".py"
