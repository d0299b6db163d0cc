"""`dlgrade watch`: check on every save."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dlgrade.cli.complete import complete_chapter
from dlgrade.cli.errors import InputError


@click.command("watch")
@click.argument("chapter", required=False, shell_complete=complete_chapter, metavar="[CHAPTER]")
@click.option(
    "--poll", is_flag=True, help="Look at the files now and then instead of waiting for the system's reports."
)
@click.option("--sandbox", type=click.Choice(["auto", "strict", "off"]), default="auto", show_default=True)
def command(chapter: str | None, poll: bool, sandbox: Any) -> int:
    """Check whenever you save, and show what changed. CHAPTER is the one you are at unless you name it.

    Keys: h hint, n next chapter, l list, p picture, a check everything, q quit. Save another chapter to go to it.
    """
    return run(chapter, None, poll, sandbox)


def run(name: str | None, file: Path | None, poll: bool, sandbox: Any) -> int:
    """Watch the workspace around the current folder; where there is none, the one file that `check` would grade."""
    from dlgrade.sandbox.launch import SandboxError
    from dlgrade.selfstudy.watch import Watch
    from dlgrade.selfstudy.workspace import find_root

    root = find_root(Path.cwd())
    try:
        if name is not None and (file is not None or root is None):
            id, path = _one_file(name, file)
            Watch(None, lambda: {id: path}, id, sandbox=sandbox, poll=poll).run()
        else:
            _workspace(name, poll, sandbox)
    except SandboxError as error:
        raise InputError(str(error)) from None
    return 0


def _one_file(name: str, file: Path | None) -> tuple[str, Path]:
    from dlgrade.cli.targets import resolve

    targets = resolve((name,), file)
    if len(targets) != 1:
        raise InputError("--watch takes one chapter")
    return targets[0].chapter.id, targets[0].path


def _workspace(name: str | None, poll: bool, sandbox: Any) -> None:
    from dlgrade.cli.here import position_in, root_here, settings
    from dlgrade.cli.targets import named_chapter
    from dlgrade.course import registry
    from dlgrade.selfstudy.watch import Watch
    from dlgrade.selfstudy.workspace import answer

    root = root_here()

    def files() -> dict[str, Path]:
        found = {id: answer(root, stem) for id, stem in registry.stems().items()}
        return {id: path for id, path in found.items() if path is not None}

    there = files()
    current = named_chapter(name).id if name else position_in(root).current or next(iter(there), None)
    if current not in there:
        raise InputError(f"there is no file for {current or 'any chapter'} here: `dlgrade init` puts it back")
    Watch(root, files, current, sandbox=sandbox, poll=poll or settings(root).poll).run()
