"""`dlgrade author`: for those who write chapters."""

from __future__ import annotations

import sys
from typing import Any

import click

from dlgrade.cli.errors import InputError


@click.group("author")
def command() -> None:
    """Tools for those who write chapters."""


def _chapters(names: tuple[str, ...]) -> list[Any]:
    from dlgrade.cli.targets import named_chapter
    from dlgrade.course import registry

    if not names or names == ("all",):
        return [registry.chapter(id) for id in registry.stems()]
    return [named_chapter(name) for name in names]


@command.command("verify")
@click.argument("chapters", nargs=-1, metavar="[CHAPTER...]")
@click.option(
    "--seeds",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="How many seeds the solution must be right on.",
)
@click.option("--training-seeds", type=click.IntRange(0), help="How many of them for training checks [default: all].")
@click.option("--format", "format_name", type=click.Choice(["text", "json"]), default="text", show_default=True)
def verify_command(chapters: tuple[str, ...], seeds: int, training_seeds: int | None, format_name: str) -> int:
    """Verify chapters: solution, stub, mistakes, margins, docstrings. All of them without an argument."""
    import msgspec

    from dlgrade.authoring.verify import table, verify
    from dlgrade.sandbox.launch import SandboxError, launcher

    def tell(text: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()

    started = launcher("auto")
    try:
        count = seeds if training_seeds is None else training_seeds
        reports = [verify(c, started, seeds=seeds, training_seeds=count, tell=tell) for c in _chapters(chapters)]
    except SandboxError as error:
        raise InputError(str(error)) from None
    finally:
        started.close()
        tell("")
    if format_name == "json":
        shown = {"chapters": msgspec.to_builtins(reports)}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(shown), indent=2).decode() + "\n")
    else:
        sys.stdout.write(table(reports))
    return 0 if all(report.ok for report in reports) else 1


@command.command("stubs")
@click.argument("chapters", nargs=-1, metavar="[CHAPTER...]")
def stubs_command(chapters: tuple[str, ...]) -> int:
    """Write the exercise files from the solutions."""
    from dlgrade.authoring.verify import write_stubs

    for path in write_stubs(_chapters(chapters)):
        click.echo(f"wrote {path}", err=True)
    return 0
