"""`dlgrade init`: a workspace to study in."""

from __future__ import annotations

from pathlib import Path

import click

from dlgrade.cli.errors import InputError


@click.command("init")
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--notebooks", is_flag=True, help="Jupyter notebooks instead of Python files, with the same cells.")
def command(folder: Path | None, notebooks: bool) -> int:
    """Make a workspace in DIR, or in the current folder if that is empty: a file to fill in for every chapter.

    In a workspace that exists it adds what is not there yet, new chapters for example. Nothing is ever overwritten.
    """
    from dlgrade.cli.here import one_sentence
    from dlgrade.selfstudy.workspace import MARKER, config, create

    root = folder or Path()
    if root.exists() and not root.is_dir():
        raise InputError(f"{root} is a file, not a folder")
    existing = (root / MARKER).is_file()
    if folder is None and not existing and any(not p.name.startswith(".") for p in root.iterdir()):
        raise InputError("this folder is not empty: name a new one, as in `dlgrade init deep-learning`")
    with one_sentence():
        as_notebooks = notebooks or (existing and config(root).notebooks)
        created = create(root, notebooks=as_notebooks)
    chapters = [path for path in created.made if path.parent.name == "exercises"]
    kind = "notebook" if as_notebooks else "file"
    said = f"{len(chapters)} {kind}{'' if len(chapters) == 1 else 's'} to fill in, in {root / 'exercises'}"
    if existing:
        said = f"added {said}" if chapters else "nothing to add"
    if created.kept:
        said += f"; {len(created.kept)} kept as they were"
    click.echo(said)
    go = "" if root.resolve() == Path.cwd() else f"cd {root} && "
    click.echo(f"Go on with: {go}dlgrade", err=True)
    return 0
