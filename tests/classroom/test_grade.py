"""`dlgrade grade` and `regrade` end to end: every score as it must be, through kills, races and full disks."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOLUTION = (ROOT / "solutions" / "ch305_loss_functions.py").read_text(encoding="utf-8")
COLUMNS = "student, chapter, content, seed, checks, status, score, max_score, note, file, result"


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def scores(path: Path) -> dict[str, tuple[int, str]]:
    return {row["student"]: (int(row["score"]), row["status"]) for row in table(path)}


def ledger(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(f"SELECT {COLUMNS} FROM result ORDER BY student").fetchall()


def count(path: Path) -> int:
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path)) as db:
        try:
            return int(db.execute("SELECT count(*) FROM result").fetchone()[0])
        except sqlite3.OperationalError:
            return 0


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("a long enough secret for a test")
    return path


def test_a_small_class(handed_in: Path, secret: Path, tmp_path: Path, dlgrade) -> None:
    run = dlgrade("grade", handed_in, "--chapter", "ch305", "--seed-file", secret, "--output", "out", "-j", 2, status=1)
    assert "5 students (3 graded, 1 problem, 1 unreadable)" in run.stdout
    assert "mse-gradient-without-2" in run.stdout
    assert "found 5 submissions" in run.stderr
    out = tmp_path / "out"
    got = scores(out / "grades.csv")
    assert got["ada"] == (100, "graded")
    assert 80 < got["bob"][0] < 100
    assert (got["cyd"], got["dan"], got["eve"]) == ((0, "graded"), (0, "problem"), (0, "unreadable"))
    names = {path.name for path in out.iterdir()}
    assert names == {
        "grades.csv",
        "canvas.csv",
        "moodle.csv",
        "results.jsonl",
        "junit.xml",
        "class.html",
        "feedback",
        "gradescope",
        "ledger.sqlite",
    }
    assert len(list((out / "feedback").glob("*.html"))) == 5
    # The secret and what is drawn from it are nowhere.
    assert all(b"long enough secret" not in path.read_bytes() for path in out.rglob("*") if path.is_file())
    again = dlgrade("grade", handed_in, "--chapter", "305", "--seed-file", secret, "--output", "out", status=1)
    assert "nothing new to grade, 5 were in the ledger" in again.stderr
    assert again.stdout == run.stdout


def test_a_score_is_the_same_by_every_road(handed_in: Path, secret: Path, tmp_path: Path, dlgrade) -> None:
    dlgrade("grade", handed_in, "--chapter", "ch305", "--seed-file", secret, "--output", "out", "--write", "csv")
    for student in ("ada", "bob", "cyd"):
        check = dlgrade(
            "check", "ch305", "--file", handed_in / f"{student}.py", "--seed-file", secret, "--format", "json"
        )
        assert json.loads(check.stdout)["score"] == scores(tmp_path / "out" / "grades.csv")[student][0]


def test_every_kind_of_submission_scores_as_it_must(drawn_class, tmp_path: Path, dlgrade) -> None:
    from dlgrade.grading.seeds import public_seed

    drawn = drawn_class.draw(40, public_seed(11), random_seed=2, loops=False)
    assert {d.kind for d in drawn} >= {"right", "untouched", "halfway", "slips", "crash", "garbage"}
    drawn_class.write(tmp_path / "class", drawn)
    dlgrade(
        "grade", "class", "--chapter", "ch305", "--seed", 11, "--output", "out", "-j", 2, "--write", "csv", status=1
    )
    assert scores(tmp_path / "out" / "grades.csv") == {d.student: (d.score, d.status) for d in drawn}


def test_full_marks_for_all_is_status_0(handed_in: Path, dlgrade) -> None:
    for student in ("bob", "cyd", "dan", "eve"):
        (handed_in / f"{student}.py").unlink()
    (handed_in / "zoe.py").write_text(SOLUTION)
    dlgrade("grade", handed_in, "--chapter", "ch305", "-j", 1, "--write", "csv", status=0)


def test_what_the_grader_could_not_grade_is_no_zero(
    handed_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dlgrade.classroom import pool
    from dlgrade.classroom.work import Outcome
    from dlgrade.cli.grade import command

    class Failing:
        def __init__(self, *_: object, **__: object) -> None: ...

        def __enter__(self) -> Failing:
            return self

        def __exit__(self, *_: object) -> None: ...

        def run(self, tasks, tick):  # type: ignore[no-untyped-def]
            return (Outcome(task.number, None, failure="out of memory") for task in tasks)

    monkeypatch.setattr(pool, "LocalPool", Failing)
    monkeypatch.chdir(tmp_path)
    status = command.main([str(handed_in), "--chapter", "ch305", "--output", "out"], standalone_mode=False)
    assert status == 3
    assert "4 submissions could not be graded: run the command again" in capsys.readouterr().err
    ada = table(tmp_path / "out" / "grades.csv")[0]
    assert (ada["score"], ada["points"], ada["status"], ada["note"].split(";")[0]) == (
        "",
        "",
        "ungraded",
        "out of memory",
    )
    assert count(tmp_path / "out" / "ledger.sqlite") == 1  # eve's empty file needs no grader
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert (
        command.main([str(handed_in), "--chapter", "ch305", "--output", "out", "-j", "1"], standalone_mode=False) == 1
    )
    assert scores(tmp_path / "out" / "grades.csv")["ada"] == (100, "graded")


def test_words_that_are_no_text_are_graded_all_the_same(handed_in: Path, tmp_path: Path, dlgrade) -> None:
    for path in handed_in.iterdir():
        path.unlink()
    words = SOLUTION + "\nprint(chr(0xD800))\ndef mse(y_hat, y):\n    raise ValueError(chr(0xD800) + chr(0))\n"
    for student, source in (("ada", words), ("bob", "x = '\ud800'\n")):
        cell = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": source}
        book = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        (handed_in / f"{student}.ipynb").write_text(json.dumps(book))
    with open(os.fsencode(handed_in) + b"/caf\xe9.py", "w") as stream:
        stream.write(SOLUTION)
    dlgrade("grade", handed_in, "--chapter", "ch305", "-j", 1, "--reveal", "values", "--output", "out", status=1)
    got = scores(tmp_path / "out" / "grades.csv")
    assert got.pop("bob")[0] == 0
    assert got == {"ada": (88, "graded"), "caf\\udce9": (100, "graded")}


def test_dry_run_lists_everything_and_touches_nothing(handed_in: Path, tmp_path: Path, dlgrade) -> None:
    (handed_in / "readme.txt").write_text("hello")
    (handed_in / "\x1b[31mred.py").write_text("x")
    before = sorted(os.listdir(tmp_path))
    run = dlgrade("grade", handed_in, "--chapter", "ch305", "--dry-run", status=0)
    assert "ch305  ready       ada  ada.py" in run.stdout
    assert "unmatched   readme.txt" in run.stdout
    assert "6 of 6 can be graded; 1 files are unmatched" in run.stdout
    assert "\x1b" not in run.stdout
    assert sorted(os.listdir(tmp_path)) == before


def test_regrade_touches_what_changed_and_says_why(handed_in: Path, tmp_path: Path, dlgrade) -> None:
    options = ("--ledger", "run.sqlite", "--output", "out", "--write", "csv")
    dlgrade("grade", handed_in, "--chapter", "ch305", "-j", 1, *options, status=1)
    assert dlgrade("regrade", *options, status=1).stdout == "0 scores moved, of 5\n"
    (handed_in / "bob.py").write_text(SOLUTION)
    (handed_in / "eve.py").write_text("x = 1\n")
    run = dlgrade("regrade", *options, status=1)
    assert "2 graded in" in run.stderr
    [bob, total] = run.stdout.splitlines()
    assert bob.startswith("bob  ch305  ")
    assert "to 100 of 100  (a new submission: mse " in bob
    assert total == "1 score moved, of 5"
    assert dlgrade("regrade", *options, status=1).stdout == "0 scores moved, of 5\n"
    other = dlgrade("regrade", *options, "--seed", 99, "--format", "json", status=1)
    assert "5 graded in" in other.stderr
    assert json.loads(other.stdout)["moved"] == []
    assert "nothing new to grade" in dlgrade("regrade", *options, status=1).stderr  # the seed is remembered
    assert "graded in" in dlgrade("regrade", *options, "--force", status=1).stderr
    (handed_in / "ada.py").unlink()
    assert "not handed in any more: ada" in dlgrade("regrade", *options, status=1).stderr


def start(folder: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dlgrade", "grade", str(folder), "--chapter", "ch305", "--seed", "3"]
    command += ["--output", str(out), "--write", "csv", "-j", "2", *more]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=out.parent)


def wait_for(path: Path, rows: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while count(path) < rows and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)


@pytest.fixture
def many(drawn_class, tmp_path: Path) -> Path:
    from dlgrade.grading.seeds import public_seed

    drawn_class.write(tmp_path / "class", drawn_class.draw(36, public_seed(3), random_seed=1, loops=False))
    return tmp_path / "class"


def test_killed_and_resumed_is_as_if_undisturbed(many: Path, tmp_path: Path) -> None:
    assert start(many, tmp_path / "calm").wait(timeout=300) == 1
    for rows in (3, 15, 28):
        process = start(many, tmp_path / "killed")
        wait_for(tmp_path / "killed" / "ledger.sqlite", rows, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert count(tmp_path / "killed" / "ledger.sqlite") >= rows
    assert start(many, tmp_path / "killed").wait(timeout=300) == 1
    calm, killed = (ledger(tmp_path / name / "ledger.sqlite") for name in ("calm", "killed"))
    assert killed == calm
    assert (tmp_path / "killed" / "grades.csv").read_bytes() == (tmp_path / "calm" / "grades.csv").read_bytes()


def test_two_graders_on_one_ledger(many: Path, tmp_path: Path) -> None:
    shared = ("--ledger", str(tmp_path / "run.sqlite"))
    graders = [start(many, tmp_path / name, *shared) for name in ("one", "two")]
    assert [grader.wait(timeout=300) for grader in graders] == [1, 1]
    assert len(ledger(tmp_path / "run.sqlite")) == 36
    one, two = ((tmp_path / name / "grades.csv").read_bytes() for name in ("one", "two"))
    assert one == two
    assert start(many, tmp_path / "alone").wait(timeout=300) == 1
    assert ledger(tmp_path / "run.sqlite") == ledger(tmp_path / "alone" / "ledger.sqlite")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("nowhere", "--chapter", "ch305"), "there is no folder"),
        (("class",), "say which chapter to grade"),
        (("class", "--chapter", "ch999"), "there is no chapter 'ch999'"),
        (("class", "--chapter", "ch305", "--seed", "1", "--seed-file", "x"), "not both"),
        (("class", "--chapter", "ch305", "--seed-file", "short"), "too short"),
        (("class", "--chapter", "ch305", "--student-pattern", "("), "no regular expression"),
        (("class", "--chapter", "ch305", "--student-pattern", "x"), "needs a group"),
        (("class", "--chapter", "ch305", "--ledger", "nowhere/x.sqlite"), "is its folder there"),
        (("class", "--chapter", "ch305", "--ledger", "short"), "no ledger, or damaged"),
        (("class", "--chapter", "ch305", "--output", "short/out"), "cannot be made"),
        (("class", "--chapter", "ch305", "--cluster", "tcp://127.0.0.1:1"), "no dask scheduler answers"),
        (("class", "--chapter", "ch305", "--roster", "nowhere.csv"), "cannot be read"),
        (("empty", "--chapter", "ch305"), "no submission was found"),
    ],
)
def test_wrong_input_is_one_sentence(
    handed_in: Path, tmp_path: Path, dlgrade, options: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "short").write_text("short")
    (tmp_path / "empty").mkdir()
    run = dlgrade("grade", *options, status=2)
    assert run.stdout == ""
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("dlgrade: ")
    assert said in last


def test_regrade_without_a_ledger(dlgrade) -> None:
    assert "there is no ledger" in dlgrade("regrade", "--ledger", "x.sqlite", status=2).stderr


FULL = """
set -e
mkdir small
mount -t tmpfs -o size=420k none small
grade="{python} -m dlgrade grade class --chapter ch305 --seed 3 --ledger small/run.sqlite --output out --write csv -j 2"
$grade || echo "status $?"
mount -o remount,size=20m small
$grade || echo "status $?"
cp small/run.sqlite .
echo "x = 1" > class/late.py
mount -o remount,ro small
$grade || echo "status $?"
"""


@pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode != 0,
    reason="needs a mount namespace for a disk of its own",
)
def test_a_disk_that_really_is_full(many: Path, tmp_path: Path) -> None:
    script = FULL.format(python=sys.executable)
    run = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    assert [line for line in run.stdout.splitlines() if "status" in line] == ["status 2", "status 1", "status 2"]
    assert "the disk is full or failing. What was graded so far is kept" in run.stderr
    assert "Traceback" not in run.stderr
    assert "were in the ledger" in run.stderr  # the second run went on from there
    assert len(ledger(tmp_path / "run.sqlite")) == 36
    assert run.stderr.strip().endswith("cannot be opened: is its folder there, and may you write to it?")


def on_a_terminal(command: list[str], cwd: Path, interrupt_after: str = "") -> tuple[int, str]:
    """Run a command whose standard error is a terminal; its status and what appeared there."""
    import pty

    ours, theirs = pty.openpty()
    # Whoever runs these tests in the background has interrupts ignored, and their processes inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=theirs, env={**os.environ, "TERM": "xterm"}
        )
    finally:
        signal.signal(signal.SIGINT, before)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        shown += part
        if interrupt_after and interrupt_after in shown.decode(errors="replace"):
            process.send_signal(signal.SIGINT)
            interrupt_after = ""
    os.close(ours)
    return process.wait(timeout=60), shown.decode(errors="replace")


def test_on_a_terminal_there_is_a_bar(many: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dlgrade", "grade", str(many), "--chapter", "ch305", "--seed", "3", "-j", "1"]
    status, shown = on_a_terminal([*command, "--write", "csv"], tmp_path)
    assert status == 1
    assert "/36" in shown
    assert "/s" in shown
    assert "left" in shown


def test_an_interrupt_keeps_what_was_graded(many: Path, tmp_path: Path) -> None:
    # The last one keeps the grader at work until the interrupt comes, however late on a busy machine.
    (many / "zz.py").write_text("while True:\n    pass\n")
    command = [sys.executable, "-m", "dlgrade", "grade", str(many), "--chapter", "ch305", "--seed", "3", "-j", "1"]
    status, shown = on_a_terminal([*command, "--write", "csv"], tmp_path, interrupt_after=" left")
    assert status == 130
    assert "what was graded is kept" in shown
    assert "Traceback" not in shown
    assert 0 < count(tmp_path / "grades" / "ledger.sqlite") < 36
