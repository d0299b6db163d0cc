"""What the commands for studying alone share: the workspace they are in, its progress, the terminal they write to."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from dlgrade.cli.errors import InputError
from dlgrade.course.spec import Chapter
from dlgrade.report.terminal import Paint, color_wanted, painter, width_of
from dlgrade.selfstudy.position import Position, position
from dlgrade.selfstudy.progress import History, ProgressError, load
from dlgrade.selfstudy.workspace import Config, WorkspaceError, answer, config, find_root


@contextmanager
def one_sentence() -> Iterator[None]:
    """What a workspace or its progress cannot do becomes the command's one sentence."""
    try:
        yield
    except (WorkspaceError, ProgressError) as error:
        raise InputError(str(error)) from None


def root_here() -> Path:
    """The workspace around the current folder; raises `InputError` if there is none."""
    root = find_root(Path.cwd())
    if root is None:
        raise InputError("this folder is no workspace: make one with `dlgrade init`, or go into yours")
    return root


def history_of(root: Path) -> History:
    with one_sentence():
        return load(root)


def position_in(root: Path) -> Position:
    return position(history_of(root))


def settings(root: Path) -> Config:
    with one_sentence():
        return config(root)


def near(path: Path) -> str:
    """A path as somebody in the current folder would write it."""
    here = Path.cwd()
    whole = path.absolute()
    return str(whole.relative_to(here)) if whole.is_relative_to(here) else str(path)


def file_of(root: Path, chapter: Chapter) -> str:
    """The chapter's answer as somebody in the current folder would write it."""
    path = answer(root, chapter.stem)
    if path is None:  # a chapter that is newer than the workspace
        return f"exercises/{chapter.stem}.py (`dlgrade init` puts it here)"
    return near(path)


def warn(text: str) -> None:
    """One line on standard error; the command goes on."""
    click.echo(f"dlgrade: {text}", err=True)


def look() -> tuple[Paint, int]:
    """How to write to standard output: colours for terminals, and a width to read in."""
    return painter(color_wanted(sys.stdout)), max(60, min(width_of(sys.stdout), 100))


def show(lines: Iterable[str]) -> None:
    click.echo("\n".join(lines))
