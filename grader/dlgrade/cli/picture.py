"""`dlgrade picture`: a chapter's picture, drawn from the student's own functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dlgrade.cli.errors import InputError

FORMATS = ("png", "svg", "pdf")
CPU_S = 60.0


@click.command("picture")
@click.argument("chapter", metavar="CHAPTER")
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
    finally:
        started.close()


def _draw(name: str, file: Path | None, output: Path | None, started: Any) -> int:
    from dlgrade.cli.files import write_whole
    from dlgrade.cli.targets import find, named_chapter
    from dlgrade.course.compare import Wrong
    from dlgrade.grading.grader import solution
    from dlgrade.grading.student import SandboxStudent, StudentFailure
    from dlgrade.grading.submissions import SubmissionError, read
    from dlgrade.report.pictures import draw
    from dlgrade.sandbox.session import Session

    chapter = named_chapter(name)
    output = output or Path(f"{chapter.id}.png")
    format_name = output.suffix.removeprefix(".").lower()
    if format_name not in FORMATS:
        raise InputError(f"{output} must end in .png, .svg or .pdf")
    try:
        submission = read(find(chapter, file), chapter.stem)
    except SubmissionError as error:
        raise InputError(str(error)) from None
    with Session(started, submission.source) as session:
        student = SandboxStudent(session, solution(chapter.id).signatures)
        student.cpu_s = CPU_S
        try:
            image = draw(chapter, student, format_name=format_name)
        except (StudentFailure, Wrong) as failure:
            raise InputError(f"the picture needs your functions to work first: {failure.text}") from None
        except (TypeError, ValueError, IndexError, KeyError, AttributeError):
            raise InputError(
                f"the picture needs right answers first; `dlgrade check {chapter.id}` says what is not"
            ) from None
    write_whole(output, image)
    click.echo(str(output))
    return 0
