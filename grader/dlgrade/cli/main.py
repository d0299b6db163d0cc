"""The `dlgrade` command: finds the command group that is asked for, and turns errors into one sentence."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from dlgrade import __version__
from dlgrade.cli.errors import BAD_INPUT, GRADER_FAILED, InputError

# command -> (module, one-line help); a module is imported when its command runs, so that `check` stays quick
COMMANDS = {
    "init": ("dlgrade.cli.init", "Make a workspace: a folder with a file to fill in for every chapter."),
    "watch": ("dlgrade.cli.watch", "Check whenever you save."),
    "check": ("dlgrade.cli.check", "Grade your answers to one or more chapters."),
    "hint": ("dlgrade.cli.hint", "Show a hint for an exercise, a little more each time."),
    "next": ("dlgrade.cli.next", "Show the chapter to go on with, and what it builds on."),
    "status": ("dlgrade.cli.status", "Show the map of the course with your points."),
    "picture": ("dlgrade.cli.picture", "Draw a chapter's picture from your own functions."),
    "report": ("dlgrade.cli.report", "Make the page of your progress and of what you built."),
    "solution": ("dlgrade.cli.solution", "Open the worked solution of a chapter you solved, or give up on."),
    "reset": ("dlgrade.cli.reset", "Start a chapter again, keeping what you wrote."),
    "export": ("dlgrade.cli.export", "Write your progress as JSON."),
    "grade": ("dlgrade.cli.grade", "Grade the submissions of a class."),
    "regrade": ("dlgrade.cli.regrade", "Grade what changed in a class, and say whose score moved and why."),
    "gradescope": ("dlgrade.cli.gradescope", "Make an autograder for Gradescope."),
    "ci": ("dlgrade.cli.ci", "Make a workflow that grades every push."),
    "convert": ("dlgrade.cli.convert", "Write a result that was saved as JSON in another format."),
    "nbgrader": ("dlgrade.cli.nbgrader", "Courses and notebooks for nbgrader."),
    "author": ("dlgrade.cli.author", "Tools for those who write chapters."),
    "completion": ("dlgrade.cli.completion", "Print what makes a shell complete commands and chapters."),
}


class Lazy(click.Group):
    """A group whose commands are imported only when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            raise InputError(f"there is no command {args[0]!r}" + (f"; did you mean {near[0]}?" if near else ""))
        return super().resolve_command(ctx, args)


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(__version__, prog_name="dlgrade")
@click.pass_context
def cli(ctx: click.Context) -> int:
    """A graded deep-learning course in NumPy. Start with `dlgrade init deep-learning`.

    Without a command: where you are in the course, and what is next.

    Exit status: 0 full marks (or done), 1 marks missing, 2 wrong command or input, 3 the grader itself failed.
    """
    if ctx.invoked_subcommand is None:
        from dlgrade.cli.where import where

        where(ctx)
    return 0


def main() -> None:
    """The console script."""
    try:
        status = cli.main(prog_name="dlgrade", standalone_mode=False)
    except InputError as error:
        _fail(str(error), BAD_INPUT)
    except click.exceptions.Abort:
        _fail("stopped", 130)
    except click.ClickException as error:
        _fail(error.format_message().rstrip("."), BAD_INPUT)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(GRADER_FAILED)
    except Exception as error:
        _fail(f"the grader itself failed: {type(error).__name__}: {error}", GRADER_FAILED)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(sentence: str, status: int) -> None:
    print(f"dlgrade: {sentence}", file=sys.stderr)
    sys.exit(status)
