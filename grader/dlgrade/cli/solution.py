"""`dlgrade solution`: the worked solution of a chapter that is solved, or given up."""

from __future__ import annotations

import click

from dlgrade.cli.complete import complete_chapter
from dlgrade.cli.errors import InputError


@click.command("solution")
@click.argument("chapter", shell_complete=complete_chapter, metavar="CHAPTER")
@click.option("--give-up", is_flag=True, help="Open it though the chapter is not solved. This is recorded.")
@click.option("--print", "to_stdout", is_flag=True, help="Write it to standard output instead of to a file.")
def command(chapter: str, give_up: bool, to_stdout: bool) -> int:
    """Put CHAPTER's worked and explained solution into `solutions/`. It opens when the chapter is solved."""
    from dlgrade.cli.here import near, one_sentence, position_in, root_here
    from dlgrade.cli.targets import named_chapter
    from dlgrade.selfstudy import progress
    from dlgrade.selfstudy.workspace import solution_text, write_solution

    root, found = root_here(), named_chapter(chapter)
    state = position_in(root).state(found.id)
    if not state.solved and not state.gave_up_at and not give_up:
        raise InputError(
            f"the solution opens when {found.id} is solved (it stands at {state.best} of {found.points} points); "
            f"`dlgrade hint {found.id}` helps you on, `dlgrade solution {found.id} --give-up` opens it now"
        )
    with one_sentence():
        # Recorded first: a solution that cannot be recorded as given up does not open.
        progress.note(root, "solution" if state.solved or state.gave_up_at else "gave up", found.id)
        if to_stdout:
            click.echo(solution_text(found.stem), nl=False)
        else:
            click.echo(near(write_solution(root, found.stem)))
    return 0
