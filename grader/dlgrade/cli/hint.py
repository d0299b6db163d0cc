"""`dlgrade hint`: help with an exercise, a little more each time."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dlgrade.cli.complete import complete_chapter, complete_exercise


@click.command("hint")
@click.argument("chapter", required=False, shell_complete=complete_chapter, metavar="[CHAPTER]")
@click.argument("exercise", required=False, shell_complete=complete_exercise, metavar="[EXERCISE]")
@click.option("--tier", type=click.IntRange(1, 3), help="All hints up to this one: 1 is a nudge, 3 almost the answer.")
def command(chapter: str | None, exercise: str | None, tier: int | None) -> int:
    """Show a hint for an exercise: `dlgrade hint ch305 softmax`. Without names, for the one you are at.

    If your last check recognised a mistake, the hint speaks of it first. Then there are three, one more each time.
    """
    from dlgrade.cli.errors import InputError
    from dlgrade.cli.here import look, one_sentence, position_in, root_here, show, warn
    from dlgrade.cli.targets import check_exercise, named_chapter
    from dlgrade.selfstudy import hints, progress, screens
    from dlgrade.selfstudy.workspace import find_root

    root = find_root(Path.cwd())
    if chapter is None:
        current = position_in(root_here()).current
        if current is None:
            raise InputError("every chapter is solved; name one to read its hints")
        chapter = current
    elif ":" in chapter and exercise is None:
        chapter, _, exercise = chapter.partition(":")
    found = named_chapter(chapter)
    feedback = None
    if root is not None:
        with one_sentence():
            feedback = progress.feedback(root, found)
    result = feedback.result if feedback else None
    if exercise is None:
        asked = hints.stuck_at(found, result)
    else:
        check_exercise(found, exercise)
        asked = next(e for e in found.exercises if e.name == exercise)
    last = next((e for e in result.exercises if e.name == asked.name), None) if result else None
    with one_sentence():
        seen = progress.hints_seen(root, found.id, asked.name) if root else []
    # Where nothing is remembered, the first hint is always the first.
    hint = hints.choose(asked, last, seen, tier or (None if root else 1))
    paint, width = look()
    if exercise is None:
        click.echo(f"{found.id} {asked.name}", err=True)
    show(screens.hint(hint, paint, width if sys.stdout.isatty() else 10_000))
    if root is not None:
        try:
            progress.note(root, "hint", found.id, asked.name, hint.detail)
        except progress.ProgressError as error:
            warn(f"the hint is not remembered: {error}")
        click.echo(screens.after_hint(found.id, asked.name, hint, paint), err=True)
    elif len(hint.tiers) < hints.TIERS:
        more = f"dlgrade hint {found.id} {asked.name} --tier {len(hint.tiers) + 1}"
        click.echo(f"More: {paint('bold', more)}", err=True)
    return 0
