"""`dlgrade gradescope`: an autograder to upload."""

from __future__ import annotations

from pathlib import Path

import click

from dlgrade.cli.errors import InputError


@click.group("gradescope")
def command() -> None:
    """Grade on Gradescope."""


@command.command("build")
@click.option("--chapter", required=True, metavar="CHAPTER")
@click.option("--seed-file", type=click.Path(path_type=Path), help="Draw the inputs from the secret in this file.")
@click.option("--seed", type=click.IntRange(0), help="Draw the inputs from this number, which is no secret.")
@click.option("--output", type=click.Path(path_type=Path), help="The zip  [default: autograder-CHAPTER.zip]")
@click.option(
    "--visibility",
    type=click.Choice(["visible", "after_due_date", "after_published", "hidden"]),
    default="visible",
    show_default=True,
    help="When students see their results.",
)
@click.option("--reveal", type=click.Choice(["mistake", "values"]), default="mistake", show_default=True)
def build(
    chapter: str, seed_file: Path | None, seed: int | None, output: Path | None, visibility: str, reveal: str
) -> int:
    """Write a zip to upload as the autograder of a programming assignment worth 100 points."""
    from dlgrade.classroom.gradescope_zip import build as build_zip
    from dlgrade.cli.files import write_whole
    from dlgrade.cli.targets import named_chapter
    from dlgrade.grading.seeds import PRACTICE_SEED, SeedError, secret_seed

    found = named_chapter(chapter)
    if seed is not None and seed_file is not None:
        raise InputError("give either --seed or --seed-file, not both")
    secret = None
    if seed_file is not None:
        try:
            secret_seed(seed_file)
            secret = seed_file.read_bytes()
        except (SeedError, OSError) as error:
            raise InputError(str(error)) from None
    else:
        click.echo("without --seed-file every student can work out the inputs", err=True)
    path = output or Path(f"autograder-{found.id}.zip")
    number = PRACTICE_SEED if seed is None else seed
    write_whole(path, build_zip(found.id, secret=secret, seed=number, visibility=visibility, reveal=reveal == "values"))
    click.echo(str(path))
    return 0
