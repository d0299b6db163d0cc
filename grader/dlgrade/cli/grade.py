"""`dlgrade grade` and `dlgrade regrade`: a class, into a ledger and out of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dlgrade.cli.errors import FULL_MARKS, GRADER_FAILED, MARKS_MISSING, InputError

if TYPE_CHECKING:
    from dlgrade.classroom.ledger import Ledger
    from dlgrade.classroom.plan import Plan, Settings
    from dlgrade.classroom.run import Graded, Run
    from dlgrade.report.class_summary import Summary
    from dlgrade.report.rows import Grade

WRITERS = ("csv", "canvas", "moodle", "jsonl", "junit", "class", "feedback", "gradescope")
LISTED = 20

_FILE = click.Path(path_type=Path)

_SHARED = (
    click.option("--chapter", "chapters", multiple=True, metavar="CHAPTER", help="Which chapter; may be given again."),
    click.option("--seed", type=click.IntRange(0), help="Draw the inputs from this number."),
    click.option("--seed-file", type=_FILE, help="Draw the inputs from the secret in this file."),
    click.option("--ledger", type=_FILE, help="Where results are kept  [default: OUTPUT/ledger.sqlite]"),
    click.option("--output", type=_FILE, default=Path("grades"), show_default=True, help="The folder to write to."),
    click.option("-j", "--jobs", type=click.IntRange(1), help="Processes on this machine  [default: one a core]"),
    click.option("--cluster", metavar="ADDRESS", help="Grade on a dask cluster: its scheduler's address."),
    click.option("--sandbox", type=click.Choice(["auto", "strict", "off"]), help="Walls around student code [auto]."),
    click.option("--layout", type=click.Choice(["auto", "files", "folders", "nbgrader"]), help="How DIR is built."),
    click.option("--student-pattern", metavar="REGEX", help="Find students in paths: a pattern with (?P<student>...)."),
    click.option("--roster", type=_FILE, help="A CSV table of students; who handed in nothing gets a row too."),
    click.option("--policy", type=_FILE, help="Rules: a file with a [class] table  [default: ./dlgrade.toml]"),
    click.option("--times", type=_FILE, help="Trusted times: a CSV table with columns student, submitted."),
    click.option("--reveal", type=click.Choice(["none", "mistake", "values"]), help="What feedback tells [mistake]."),
    click.option("--canvas", type=_FILE, help="A Canvas gradebook export to fill in."),
    click.option("--moodle", type=_FILE, help="A Moodle grading worksheet to fill in."),
    click.option("--write", multiple=True, type=click.Choice(WRITERS), help="Write only this; may be given again."),
    click.option("--format", "format_name", type=click.Choice(["text", "json"]), default="text", show_default=True),
)  # fmt: skip


def _with_shared(command: Callable[..., int]) -> Callable[..., int]:
    for option in reversed(_SHARED):
        command = option(command)
    return command


@click.command("grade")
@click.argument("folder", metavar="DIR", type=_FILE)
@_with_shared
@click.option("--dry-run", is_flag=True, help="Say what would be graded, and what belongs to nobody; grade nothing.")
def command(folder: Path, dry_run: bool, **options: Any) -> int:
    """Grade the submissions in DIR, a folder or a zip.

    Every graded submission is in the ledger at once: a run that was stopped goes on where it was when the same command
    is given again. Exit status 0 means full marks for all, 1 marks missing, 3 that some could not be graded.
    """
    settings = _settings(folder, options, None)
    if dry_run:
        return _dry_run(settings)
    return _grade(settings, options, regrade=False, again=False)


@click.command("regrade")
@click.argument("folder", metavar="[DIR]", type=_FILE, required=False)
@_with_shared
@click.option("--force", is_flag=True, help="Grade everything again, changed or not.")
def regrade(folder: Path | None, force: bool, **options: Any) -> int:
    """Grade what changed since the last run, submissions, seed or checks, and say whose score moved and why.

    What is not given is as it was in the ledger's last run.
    """
    ledger = options["ledger"] or options["output"] / "ledger.sqlite"
    if not ledger.is_file():
        raise InputError(f"there is no ledger {ledger} to regrade")
    return _grade(_settings(folder, options, ledger), options, regrade=True, again=force)


def _settings(folder: Path | None, options: dict[str, Any], ledger: Path | None) -> Settings:
    """The settings of a run: what is given, over what the ledger remembers if it is to be asked."""
    import msgspec

    from dlgrade.classroom.plan import Settings
    from dlgrade.cli.targets import named_chapter

    def place(path: Path | None) -> str | None:
        return os.path.abspath(path) if path is not None else None

    names = [name for text in options["chapters"] for name in text.split(",") if name]
    given = {
        "folder": place(folder),
        "chapters": [named_chapter(name).id for name in names] or None,
        "seed": options["seed"],
        "seed_file": place(options["seed_file"]),
        "sandbox": options["sandbox"],
        "layout": options["layout"],
        "pattern": options["student_pattern"],
        "roster": place(options["roster"]),
        "policy": place(options["policy"]),
        "times": place(options["times"]),
        "reveal": options["reveal"],
        "canvas": place(options["canvas"]),
        "moodle": place(options["moodle"]),
    }
    remembered = _remembered(ledger) if ledger else {}
    if options["seed"] is not None or options["seed_file"] is not None:
        remembered = {name: value for name, value in remembered.items() if name not in ("seed", "seed_file")}
    told = {name: value for name, value in given.items() if value is not None}
    if not folder and "folder" not in remembered:
        raise InputError("the ledger remembers no run: name the folder of submissions")
    return msgspec.convert({**remembered, **told}, Settings)


def _remembered(path: Path) -> dict[str, Any]:
    import msgspec

    from dlgrade.classroom.ledger import Ledger, LedgerError

    try:
        with Ledger(path) as ledger:
            text = ledger.setting("settings")
    except LedgerError as error:
        raise InputError(str(error)) from None
    found: dict[str, Any] = msgspec.json.decode(text) if text else {}
    return found


def _plan(settings: Settings) -> Plan:
    from dlgrade.classroom.outputs import OutputError
    from dlgrade.classroom.plan import PlanError, plan
    from dlgrade.classroom.policy import PolicyError
    from dlgrade.classroom.tree import TreeError
    from dlgrade.grading.seeds import SeedError

    try:
        return plan(settings)
    except (PlanError, PolicyError, SeedError, TreeError, OutputError) as error:
        raise InputError(str(error)) from None


def _dry_run(settings: Settings) -> int:
    """What would be graded: the result of this command, so on standard output."""
    from dlgrade.classroom.work import pin_threads
    from dlgrade.report.safe import one_line

    pin_threads()
    made = _plan(settings)
    ready = 0
    for entry in made.discovery.entries:
        ready += entry.state == "ready"
        note = f"  ({entry.note})" if entry.note else ""
        click.echo(one_line(f"{entry.chapter}  {entry.state:10}  {entry.student}  {entry.path}{note}"))
    for path, why in made.discovery.unmatched:
        click.echo(one_line(f"{'':5}  unmatched   {path}  ({why})"))
    click.echo(
        f"{ready} of {len(made.discovery.entries)} can be graded; {len(made.discovery.unmatched)} files are unmatched"
    )
    return FULL_MARKS


def _grade(settings: Settings, options: dict[str, Any], *, regrade: bool, again: bool) -> int:
    from dlgrade.classroom.work import SetupError, pin_threads

    pin_threads()
    from dlgrade.classroom.ledger import Ledger, LedgerError
    from dlgrade.classroom.outputs import OutputError

    made = _plan(settings)
    _announce(made)
    path = options["ledger"] or options["output"] / "ledger.sqlite"
    _make_folder(path.parent if options["ledger"] is None else options["output"])
    try:
        with Ledger(path) as ledger:
            return _carry_out(made, settings, ledger, options, regrade=regrade, again=again)
    except (LedgerError, OutputError, SetupError) as error:
        raise InputError(str(error)) from None


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error.strerror}") from None


def _announce(made: Plan) -> None:
    """What was found, before it is graded."""
    from dlgrade.report.safe import one_line

    entries, unmatched = made.discovery.entries, made.discovery.unmatched
    ready = sum(entry.state == "ready" for entry in entries)
    names = ", ".join(made.chapters)
    click.echo(f"found {ready} submissions of {names}, {len(entries) - ready} entries without one", err=True)
    for path, why in unmatched[:LISTED]:
        click.echo(one_line(f"  unmatched: {path} ({why})"), err=True)
    if len(unmatched) > LISTED:
        click.echo(f"  and {len(unmatched) - LISTED} more unmatched files; --dry-run lists them all", err=True)


def _carry_out(
    made: Plan, settings: Settings, ledger: Ledger, options: dict[str, Any], *, regrade: bool, again: bool
) -> int:
    import msgspec

    from dlgrade.classroom.outputs import Request, write_all
    from dlgrade.classroom.policy import grade
    from dlgrade.classroom.run import Run, rows
    from dlgrade.report.class_summary import summaries

    run = Run(made.discovery.entries, made.seed_name, made.checks, made.setup.reveal, again)
    ledger.note(settings=msgspec.json.encode(settings).decode())
    _say_who_is_gone(made, ledger)
    done, rate = _through_pool(run, made, ledger, options)

    def grades() -> Iterator[Grade]:
        for row in rows(run, ledger, done):
            yield grade(row, made.policy, made.times)

    request = Request(
        names=options["write"] or WRITERS,
        reveal=settings.reveal,
        class_name=made.policy.name,
        canvas_export=Path(settings.canvas) if settings.canvas else None,
        moodle_worksheet=Path(settings.moodle) if settings.moodle else None,
    )
    for remark in write_all(options["output"], grades, request):
        click.echo(remark, err=True)
    reports = summaries(grades())
    _warn(made, reports, grades)
    click.echo(f"{rate}; written to {options['output']}", err=True)
    moves = ledger.moves(int(ledger.setting("reported") or 0))
    _show(options["format_name"], reports, moves, moved=regrade)
    if regrade:
        ledger.note(reported=str(ledger.last_move()))
    if done.failures:
        click.echo(f"{len(done.failures)} submissions could not be graded: run the command again", err=True)
        return GRADER_FAILED
    full = all(s.full == s.rows for s in reports)
    return FULL_MARKS if full else MARKS_MISSING


def _warn(made: Plan, reports: tuple[Summary, ...], grades: Callable[[], Iterator[Grade]]) -> None:
    """What an instructor should know of these grades before using them."""
    untimed = sum(g.remark.startswith("no trusted time") for g in grades()) if made.policy.due else 0
    if untimed:
        click.echo(f"{untimed} submissions have no trusted time: no lateness was counted (see --times)", err=True)
    weak = sorted({walls for s in reports for walls in s.sandboxes} - {"landlock+seccomp"})
    if weak:
        click.echo(f"walls around student code: {', '.join(weak)}; docs/threat-model.md says what that means", err=True)


def _say_who_is_gone(made: Plan, ledger: Ledger) -> None:
    """Name the students who have a result in the ledger and are not among the submissions any more."""
    from dlgrade.report.safe import one_line

    for chapter in made.chapters:
        here = {entry.student for entry in made.discovery.entries if entry.chapter == chapter}
        gone = [student for student in ledger.students(chapter) if student not in here]
        if gone:
            more = f" and {len(gone) - LISTED} more" if len(gone) > LISTED else ""
            names = one_line(", ".join(gone[:LISTED]))
            click.echo(f"in the ledger for {chapter}, but not handed in any more: {names}{more}", err=True)


def _through_pool(run: Run, made: Plan, ledger: Ledger, options: dict[str, Any]) -> tuple[Graded, str]:
    """Grade what is to be graded, and say how fast that went."""
    from dlgrade.classroom.run import grade_class
    from dlgrade.report.progress import Progress

    pool: Any
    if options["cluster"]:
        from dlgrade.classroom.cluster import ClusterPool

        pool = ClusterPool(made.setup, options["cluster"])
    else:
        from dlgrade.classroom.pool import LocalPool

        jobs = options["jobs"] or _cores()
        pool = LocalPool(made.setup, made.chapters, jobs, expected=len(run.entries))
    with Progress(len(run.entries), ", ".join(made.chapters)) as progress, pool:
        try:
            done = grade_class(run, ledger, pool, progress)
        except KeyboardInterrupt:
            progress.say("stopped; what was graded is kept, and the same command goes on from here")
            raise
    new = progress.done_count + progress.failed_count
    rate = f"{new} graded in {progress.seconds:.1f} s ({progress.rate:.1f} a second)" if new else "nothing new to grade"
    return done, f"{rate}, {progress.kept_count} were in the ledger" if progress.kept_count else rate


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _show(format_name: str, reports: tuple[Summary, ...], moves: Any, *, moved: bool) -> None:
    from dlgrade.report import class_text

    if format_name == "json":
        click.echo(class_text.as_json(reports, moves), nl=False)
    elif moved:
        click.echo(class_text.moves(moves, sum(s.rows for s in reports)), nl=False)
    else:
        click.echo(class_text.summary(reports, len(moves)), nl=False)
