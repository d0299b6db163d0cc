"""`dlgrade hint`: the three hints of an exercise, one after the other."""

from __future__ import annotations

import click


@click.command("hint")
@click.argument("chapter", metavar="CHAPTER")
@click.argument("exercise", metavar="EXERCISE")
@click.option(
    "--tier", type=click.IntRange(1, 3), default=1, show_default=True, help="1 is a nudge, 3 almost the answer."
)
def command(chapter: str, exercise: str, tier: int) -> int:
    """Show a hint for an exercise: `dlgrade hint ch305 softmax --tier 2`."""
    from dlgrade.cli.targets import check_exercise, named_chapter

    found = named_chapter(chapter)
    check_exercise(found, exercise)
    hints = next(e for e in found.exercises if e.name == exercise).hints
    for number, hint in enumerate(hints[:tier], 1):
        click.echo(f"{number}. {hint}")
    if tier < 3:
        click.echo(f"(for more: dlgrade hint {found.id} {exercise} --tier {tier + 1})", err=True)
    return 0
