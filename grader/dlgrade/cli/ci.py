"""`dlgrade ci`: workflows that grade a push."""

from __future__ import annotations

from pathlib import Path

import click

from dlgrade import __version__
from dlgrade.cli.errors import InputError


@click.group("ci")
def command() -> None:
    """Grade every push."""


@command.command("init")
@click.argument("forge", type=click.Choice(["github", "gitlab", "classroom50"]))
@click.option("--chapter", "chapters", multiple=True, required=True, metavar="CHAPTER", help="May be given again.")
@click.option(
    "--install", default=f"dlgrade=={__version__}", show_default=True, help="What pip installs as the grader."
)
@click.option("--output", type=click.Path(path_type=Path), help="Write to this file instead of the forge's usual one.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def init(forge: str, chapters: tuple[str, ...], install: str, output: Path | None, force: bool) -> int:
    """Write the file that makes FORGE grade every push."""
    from dlgrade.classroom.ci import FILES, workflow
    from dlgrade.cli.files import write_whole
    from dlgrade.cli.targets import named_chapter

    ids = [named_chapter(name).id for text in chapters for name in text.split(",") if name]
    path = output or Path(FILES[forge])
    if path.exists() and not force:
        raise InputError(f"{path} is there already; --force replaces it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path.parent} cannot be made: {error.strerror}") from None
    write_whole(path, workflow(forge, ids, install))
    click.echo(str(path))
    return 0
