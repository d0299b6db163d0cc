"""`dlgrade check`: grade one file or many, and write the result."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from dlgrade.cli.complete import complete_target
from dlgrade.cli.errors import FULL_MARKS, MARKS_MISSING, InputError

FORMATS = ("text", "json", "junit", "markdown", "gradescope", "classroom50", "github")


@click.command("check")
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...", shell_complete=complete_target)
@click.option(
    "--file", type=click.Path(path_type=Path), help="The file to grade, or a folder that holds chapter files."
)
@click.option("--seed", type=click.IntRange(0), help="Draw the inputs from this number instead of the practice seed.")
@click.option("--seed-file", type=click.Path(path_type=Path), help="Draw the inputs from a secret in this file.")
@click.option("--format", "format_name", type=click.Choice(FORMATS), default="text", show_default=True)
@click.option(
    "--output", type=click.Path(path_type=Path), help="Write the result to this file instead of standard output."
)
@click.option("--sandbox", type=click.Choice(["auto", "strict", "off"]), default="auto", show_default=True)
@click.option(
    "--watch", is_flag=True, help="Check again whenever the chapter's file is saved, as `dlgrade watch` does."
)
def command(
    targets: tuple[str, ...],
    file: Path | None,
    seed: int | None,
    seed_file: Path | None,
    format_name: str,
    output: Path | None,
    sandbox: Any,
    watch: bool,
) -> int:
    """Grade TARGETs: `ch305`, `305`, `ch305:softmax`, a .py or .ipynb file, or `all`.

    Files are looked up in the workspace, then in ./exercises. Exit status 0 means full marks, 1 marks missing.
    """
    from dlgrade.grading.results import course_result
    from dlgrade.sandbox.launch import SandboxError, launcher

    if watch:
        return _watch(targets, file, sandbox)
    try:
        # First of all, so that it starts clean and while the rest is still being imported.
        started = launcher(sandbox)
    except SandboxError as error:
        raise InputError(str(error)) from None
    try:
        graded = _grade(targets, file, seed, seed_file, started)
    except SandboxError as error:
        raise InputError(str(error)) from None
    finally:
        started.close()
    results = tuple(result for _, _, result in graded)
    result = results[0] if len(results) == 1 and targets != ("all",) else course_result(results)
    _write(result, format_name, output)
    _record(graded)
    return FULL_MARKS if result.full_marks else MARKS_MISSING


def _watch(targets: tuple[str, ...], file: Path | None, sandbox: Any) -> int:
    from dlgrade.cli.watch import run

    if len(targets) != 1:
        raise InputError("--watch takes one chapter")
    return run(targets[0], file, False, sandbox)


def _grade(
    targets: tuple[str, ...], file: Path | None, seed: int | None, seed_file: Path | None, started: Any
) -> list[tuple[Any, Any, Any]]:
    """Every target with its submission and its result."""
    from dlgrade.cli.targets import resolve
    from dlgrade.grading.grader import Grader
    from dlgrade.grading.seeds import PRACTICE_SEED, SeedError, public_seed, secret_seed
    from dlgrade.grading.submissions import SubmissionError, read

    if seed is not None and seed_file is not None:
        raise InputError("give either --seed or --seed-file, not both")
    try:
        chosen = secret_seed(seed_file) if seed_file else public_seed(PRACTICE_SEED if seed is None else seed)
        found = [(target, read(target.path, target.chapter.stem)) for target in resolve(targets, file)]
    except (SeedError, SubmissionError) as error:
        raise InputError(str(error)) from None
    graded = []
    with progress() as tell:
        for target, submission in found:
            grader = Grader(target.chapter, chosen, started)
            only = {target.exercise} if target.exercise else None
            result = grader.grade(submission.source, sha256=submission.sha256, only=only, progress=tell)
            graded.append((target, submission, result))
    return graded


def _record(graded: list[tuple[Any, Any, Any]]) -> None:
    """Keep the checks of a workspace's own answers. What cannot be kept is one line of warning, not a failure."""
    from dlgrade.selfstudy.workspace import find_root

    root = find_root(Path.cwd())
    if root is None:
        return
    from dlgrade.selfstudy.progress import ProgressError
    from dlgrade.selfstudy.recording import is_own, keep

    try:
        for target, submission, result in graded:
            if result.seed != "secret" and is_own(root, target.path, target.chapter.stem):
                keep(root, target.chapter, submission.source, result, "check")
    except ProgressError as error:
        print(f"dlgrade: progress is not kept: {error}", file=sys.stderr)


class progress:
    """Says on a terminal's standard error what is being checked, once a check takes long enough to be worth a line."""

    def __enter__(self) -> Callable[..., None] | None:
        self.shown = sys.stderr.isatty()
        return self.tell if self.shown else None

    def tell(self, exercise: Any, check: Any) -> None:
        limit = f" (may take {check.cpu_s:g} s)" if check.kind == "training" else ""
        sys.stderr.write(f"\r\x1b[K  {exercise.name}: {check.name}{limit} "[:110])
        sys.stderr.flush()

    def __exit__(self, *_: object) -> None:
        if self.shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _write(result: Any, format_name: str, output: Path | None) -> None:
    from dlgrade.report.formats import render

    color, width = False, 80
    if output is None and format_name == "text":
        from dlgrade.report.terminal import color_wanted, width_of

        color, width = color_wanted(sys.stdout), min(width_of(sys.stdout), 100)
    try:
        text = render(format_name, result, color=color, width=width)
    except ValueError as error:
        raise InputError(str(error)) from None
    if output is None:
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        from dlgrade.cli.files import write_whole

        write_whole(output, text)
