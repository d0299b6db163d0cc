"""`dlgrade nbgrader`: for instructors who teach with nbgrader."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from dlgrade.cli.errors import InputError

COURSE = click.argument("course", type=click.Path(path_type=Path))
CHAPTERS = click.option(
    "--chapters", default="all", show_default=True, help="Chapters by name, with commas between them."
)


@click.group("nbgrader")
def command() -> None:
    """Courses and notebooks for nbgrader."""


@command.command("init")
@COURSE
@CHAPTERS
def init_command(course: Path, chapters: str) -> int:
    """Make a COURSE that nbgrader accepts: source notebooks, settings, and a secret seed."""
    from dlgrade.nbgrader.course import init

    _told(init(course, _chapters(chapters)))
    if find_spec("nbgrader") is None:
        click.echo("nbgrader itself is not installed here: pip install 'dlgrade[nbgrader]'", err=True)
    click.echo(f"Next, in {course}: nbgrader generate_assignment NAME, then hand out release/NAME", err=True)
    return 0


@command.command("add")
@COURSE
@CHAPTERS
@click.option("--assignment", default="", help="Put the chapters into this assignment instead of one for each.")
@click.option("--force", is_flag=True, help="Write notebooks anew that are there already.")
def add_command(course: Path, chapters: str, assignment: str, force: bool) -> int:
    """Add chapters to a COURSE, one that nbgrader made too; its other assignments are graded as before."""
    from dlgrade.nbgrader.course import add

    _told(add(course, _chapters(chapters), assignment=assignment, force=force))
    return 0


@command.command("export")
@click.argument("chapter")
@click.option(
    "--output", type=click.Path(path_type=Path), help="Write the notebook here instead of to standard output."
)
def export_command(chapter: str, output: Path | None) -> int:
    """Write one CHAPTER's source notebook, with its solutions, for a course of your own."""
    from dlgrade.cli.files import write_whole
    from dlgrade.cli.targets import named_chapter
    from dlgrade.nbgrader.notebooks import NotebookError, source_notebook

    try:
        text = source_notebook(named_chapter(chapter))
    except NotebookError as error:
        raise InputError(str(error)) from None
    if output is None:
        sys.stdout.write(text)
    else:
        write_whole(output, text)
    return 0


def _chapters(names: str) -> list[Any]:
    from dlgrade.cli.targets import named_chapter
    from dlgrade.course import registry

    if names.strip() == "all":
        return [registry.chapter(id) for id in registry.stems()]
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if not wanted:
        raise InputError("--chapters names no chapter")
    return list({chapter.id: chapter for chapter in map(named_chapter, wanted)}.values())


def _told(lines: Iterator[str]) -> None:
    """Say on standard error what is done, as it is done."""
    from dlgrade.nbgrader.course import CourseError
    from dlgrade.nbgrader.notebooks import NotebookError

    try:
        for line in lines:
            click.echo(line, err=True)
    except (CourseError, NotebookError) as error:
        raise InputError(str(error)) from None
    except OSError as error:
        raise InputError(f"{error.filename} cannot be written: {error.strerror}") from None
