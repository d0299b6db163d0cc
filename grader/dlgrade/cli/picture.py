"""`dlgrade picture`: a chapter's picture, drawn from the student's own functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dlgrade.cli.complete import complete_chapter
from dlgrade.cli.errors import InputError

FORMATS = ("png", "svg", "pdf")


@click.command("picture")
@click.argument("chapter", shell_complete=complete_chapter, metavar="CHAPTER")
@click.option(
    "--file", type=click.Path(path_type=Path), help="The file to draw from, or a folder that holds chapter files."
)
@click.option("--output", type=click.Path(path_type=Path), help="A .png, .svg or .pdf file  [default: CHAPTER.png]")
@click.option("--sandbox", type=click.Choice(["auto", "strict", "off"]), default="auto", show_default=True)
def command(chapter: str, file: Path | None, output: Path | None, sandbox: Any) -> int:
    """Draw CHAPTER's picture from your own functions."""
    from dlgrade.sandbox.launch import SandboxError, launcher

    try:
        started = launcher(sandbox)
    except SandboxError as error:
        raise InputError(str(error)) from None
    try:
        return _draw(chapter, file, output, started)
    except SandboxError as error:
        raise InputError(str(error)) from None
    finally:
        started.close()


def _draw(name: str, file: Path | None, output: Path | None, started: Any) -> int:
    from dlgrade.cli.files import write_whole
    from dlgrade.cli.targets import find, named_chapter
    from dlgrade.grading.submissions import SubmissionError, read
    from dlgrade.report.pictures import NoPicture, picture

    chapter = named_chapter(name)
    output = output or Path(f"{chapter.id}.png")
    format_name = output.suffix.removeprefix(".").lower()
    if format_name not in FORMATS:
        raise InputError(f"{output} must end in .png, .svg or .pdf")
    try:
        submission = read(find(chapter, file), chapter.stem)
        image = picture(chapter, submission.source, started, format_name=format_name)
    except (SubmissionError, NoPicture) as error:
        raise InputError(str(error)) from None
    write_whole(output, image)
    click.echo(str(output))
    return 0
