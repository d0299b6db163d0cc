"""`dlgrade convert`: one result, other formats; nothing is graded again."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dlgrade.cli.errors import FULL_MARKS, MARKS_MISSING, InputError

FORMATS = ("text", "json", "junit", "markdown", "gradescope", "classroom50", "github")


@click.command("convert")
@click.argument("result", metavar="RESULT.json", type=click.Path(path_type=Path))
@click.option("--format", "format_name", type=click.Choice(FORMATS), default="text", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="Write to this file instead of standard output.")
@click.option("--append", is_flag=True, help="Add to the end of the file, as GitHub's step summary wants it.")
def command(result: Path, format_name: str, output: Path | None, append: bool) -> int:
    """Write RESULT.json, made by `dlgrade check --format json`, in another format. Exits as the check did."""
    import msgspec

    from dlgrade.grading.results import ChapterResult, CourseResult
    from dlgrade.report.formats import render

    try:
        data = msgspec.json.decode(result.read_bytes())
        several = isinstance(data, dict) and "chapters" in data
        found = msgspec.convert(data, CourseResult) if several else msgspec.convert(data, ChapterResult)
        text = render(format_name, found)
    except OSError as error:
        raise InputError(f"{result} cannot be read: {error.strerror}") from None
    except msgspec.MsgspecError as error:
        raise InputError(f"{result} is no result of `dlgrade check --format json`: {error}") from None
    except ValueError as error:
        raise InputError(str(error)) from None
    if output is None:
        sys.stdout.write(text)
    elif append:
        try:
            with output.open("a", encoding="utf-8") as stream:
                stream.write(text)
        except OSError as error:
            raise InputError(f"{output} cannot be written: {error.strerror}") from None
    else:
        from dlgrade.cli.files import write_whole

        write_whole(output, text)
    return FULL_MARKS if found.full_marks else MARKS_MISSING
