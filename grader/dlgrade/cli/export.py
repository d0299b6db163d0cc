"""`dlgrade export`: everything that was recorded, as JSON."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command("export")
@click.argument("file", required=False, type=click.Path(path_type=Path), metavar="[FILE]")
def command(file: Path | None) -> int:
    """Write your progress as JSON to FILE, or to standard output: every chapter's state, every check, every hint."""
    from dlgrade.cli.files import write_whole
    from dlgrade.cli.here import history_of, root_here
    from dlgrade.report.json import dump
    from dlgrade.selfstudy.progress import export

    text = dump(export(history_of(root_here())))
    if file is None or str(file) == "-":
        sys.stdout.write(text)
    else:
        write_whole(file, text)
        click.echo(str(file))
    return 0
