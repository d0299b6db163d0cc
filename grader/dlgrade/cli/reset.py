"""`dlgrade reset`: start a chapter again, keeping what was written."""

from __future__ import annotations

import click

from dlgrade.cli.complete import complete_chapter


@click.command("reset")
@click.argument("chapter", shell_complete=complete_chapter, metavar="CHAPTER")
def command(chapter: str) -> int:
    """Put CHAPTER's file back to how it was at the beginning. What you wrote is kept in `backups/`."""
    from dlgrade.cli.here import file_of, one_sentence, root_here, warn
    from dlgrade.cli.targets import named_chapter
    from dlgrade.selfstudy import progress
    from dlgrade.selfstudy.workspace import reset

    root, found = root_here(), named_chapter(chapter)
    with one_sentence():
        done = reset(root, found.stem)
    file = file_of(root, found)
    if done.backup is None:
        click.echo(f"{file} {'is as it was at the beginning' if done.unchanged else 'is there again'}")
    else:
        click.echo(f"{file} is as at the beginning; what you wrote is in {done.backup.relative_to(root)}")
    if not done.unchanged:
        try:
            progress.note(root, "reset", found.id)
        except progress.ProgressError as error:
            warn(f"the reset is not recorded: {error}")
    return 0
