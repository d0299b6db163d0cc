"""`dlgrade author`: for those who write chapters."""

from __future__ import annotations

import sys
from collections.abc import Callable
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
    from dlgrade.authoring.verify import table, verify

    count = seeds if training_seeds is None else training_seeds

    def one(chapter: Any, launcher: Any, tell: Any) -> Any:
        return verify(chapter, launcher, seeds=seeds, training_seeds=count, tell=tell)

    return _report(chapters, one, table, format_name)


@command.command("strength")
@click.argument("chapters", nargs=-1, metavar="[CHAPTER...]")
@click.option(
    "--every",
    type=click.IntRange(1),
    default=1,
    metavar="N",
    help="Try only every Nth mutant.",
)
@click.option("--format", "format_name", type=click.Choice(["text", "json"]), default="text", show_default=True)
def strength_command(chapters: tuple[str, ...], every: int, format_name: str) -> int:
    """Put small faults into solutions and see which lose points. A fault that does not is a hole in the checks, unless
    it is listed as equivalent."""
    from dlgrade.authoring.strength import strength, table

    def one(chapter: Any, launcher: Any, tell: Any) -> Any:
        return strength(chapter, launcher, every=every, tell=tell)

    return _report(chapters, one, table, format_name)


def _report(chapters: tuple[str, ...], one: Callable[..., Any], table: Callable[..., str], format_name: str) -> int:
    """Look at every chapter, print what was found, and say by the exit status whether all is well."""
    import msgspec

    from dlgrade.sandbox.launch import SandboxError, launcher

    def tell(text: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()

    started = launcher("auto")
    try:
        reports = [one(chapter, started, tell) for chapter in _chapters(chapters)]
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
