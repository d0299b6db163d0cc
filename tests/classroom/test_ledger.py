"""The ledger: one row a key, one transaction a row, whatever happens around it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from dlgrade.classroom.ledger import Key, Ledger, LedgerError, Record
from dlgrade.grading.results import ChapterResult, CheckResult, exercise_result

KEY = Key("ada", "ch305", "c0", "s0", "v0")


def result(softmax: int, huber: int = 10) -> ChapterResult:
    def exercise(name: str, score: int):  # type: ignore[no-untyped-def]
        check = CheckResult(name="value", kind="numeric", score=score, max_score=50, status="failed")
        return exercise_result(name, (check,))

    return ChapterResult(
        chapter="ch305",
        title="Loss Functions",
        file="a.py",
        sha256="c0",
        seed=7,
        sandbox="process",
        score=softmax + huber,
        max_score=100,
        duration_s=0.25,
        exercises=(exercise("softmax", softmax), exercise("huber", huber)),
    )


def record(key: Key, softmax: int, status: str = "graded") -> Record:
    made = result(softmax)
    return Record(key, status, made.score, 100, "", "a.py", made, 0.25)  # type: ignore[arg-type]


def changed(**facts: str) -> Key:
    return Key(**{**{name: getattr(KEY, name) for name in Key.__struct_fields__}, **facts})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.sqlite"


def test_what_is_recorded_comes_back_whole(path: Path) -> None:
    with Ledger(path) as ledger:
        assert ledger.find(KEY) is None
        ledger.record(record(KEY, 40))
    with Ledger(path) as ledger:
        assert ledger.find(KEY) is not None
        assert ledger.load(KEY) == record(KEY, 40)
        assert ledger.load(changed(student="bob")) is None
        assert ledger.students("ch305") == ["ada"]


def test_the_same_key_twice_is_one_row_and_the_first(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.record(record(KEY, 40))
        ledger.record(record(KEY, 10))
        assert ledger.db.execute("SELECT count(*) FROM result").fetchone() == (1,)
        loaded = ledger.load(KEY)
        assert loaded is not None
        assert loaded.score == 50
        assert ledger.moves() == []


def test_moves_say_why(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.record(record(KEY, 40))
        ledger.record(record(changed(checks="v1"), 45))
        ledger.record(record(changed(checks="v1", content="c1"), 10))
        ledger.record(record(changed(checks="v1", content="c1", seed="s1"), 30))
        ledger.record(record(changed(checks="v1", content="c1", seed="s1"), 31), again=True)
        first = ledger.find(KEY)
        assert first is not None
        ledger.adopt(KEY, first)
        ledger.adopt(KEY, first)
        ledger.record(Record(changed(content="gone"), "missing", 0, 100, "nothing was handed in"))
        moves = [(m.before, m.after, m.reason) for m in ledger.moves()]
        assert moves == [
            (50, 55, "other checks: softmax 40 to 45"),
            (55, 20, "a new submission: softmax 45 to 10"),
            (20, 40, "another seed: softmax 10 to 30"),
            (40, 41, "graded again: softmax 30 to 31"),
            (41, 50, "a new submission and another seed and other checks: softmax 31 to 40"),
            (50, 0, "a new submission and missing, not graded"),
        ]
        assert len(ledger.moves(ledger.last_move() - 1)) == 1


def test_settings(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.note(a="1", b="2")
        ledger.note(a="3")
        assert (ledger.setting("a"), ledger.setting("b"), ledger.setting("c")) == ("3", "2", "")


def test_hostile_names_are_only_data(path: Path) -> None:
    key = changed(student="x'); DROP TABLE result; --\x00\n\u202e=1+1")
    with Ledger(path) as ledger:
        ledger.record(record(key, 5))
        loaded = ledger.load(key)
        assert loaded is not None
        assert loaded.key == key


def test_other_files_are_refused(path: Path, tmp_path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE other (x)")
    with pytest.raises(LedgerError, match="database of something else"):
        Ledger(path)
    path.unlink()
    path.write_bytes(b"plain text, and more of it than a header needs" * 9)
    with pytest.raises(LedgerError, match="no ledger, or damaged"):
        Ledger(path)
    with pytest.raises(LedgerError, match="cannot be opened"):
        Ledger(tmp_path / "nowhere" / "run.sqlite")
    assert path.read_bytes().startswith(b"plain text")


def test_a_newer_form_is_refused(path: Path) -> None:
    Ledger(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(LedgerError, match="form 99"):
        Ledger(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    Ledger(folder / "run.sqlite").close()
    folder.chmod(0o500)
    (folder / "run.sqlite").chmod(0o400)
    try:
        with pytest.raises(LedgerError, match=r"read-only|opened"):
            Ledger(folder / "run.sqlite").record(record(KEY, 1))
    finally:
        folder.chmod(0o700)


def fill(ledger: Ledger) -> None:
    for number in range(200):
        ledger.record(record(changed(student=f"s{number}"), 1))


def test_a_full_disk_loses_nothing(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.record(record(KEY, 40))
        [pages] = ledger.db.execute("PRAGMA page_count").fetchone()
        ledger.db.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(LedgerError, match=r"disk is full.*is kept"):
            fill(ledger)
        [kept] = ledger.db.execute("SELECT count(*) FROM result").fetchone()
        assert kept >= 1
    with Ledger(path) as ledger:
        loaded = ledger.load(KEY)
        assert loaded is not None
        assert loaded.score == 50
        ledger.record(record(changed(student="later"), 2))
        assert ledger.db.execute("SELECT count(*) FROM result").fetchone() == (kept + 1,)


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from dlgrade.classroom.ledger import Ledger
from test_ledger import changed, record
with Ledger(Path({path!r})) as ledger:
    for number in range({first}, {last}):
        ledger.record(record(changed(student=f"s{{number}}"), number % 50))
        print(number, flush=True)
"""


def writer(path: Path, first: int, last: int) -> subprocess.Popen[str]:
    code = textwrap.dedent(WRITER).format(here=str(Path(__file__).parent), path=str(path), first=first, last=last)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def test_what_a_killed_writer_had_said_is_there(path: Path) -> None:
    said = -1
    for _ in range(3):
        process = writer(path, said + 1, 100_000)
        assert process.stdout is not None
        end = time.monotonic() + 60
        for line in process.stdout:
            said = int(line)
            if said % 37 == 36 or time.monotonic() > end:
                break
        process.send_signal(signal.SIGKILL)
        # What it wrote between that line and its end.
        said = max([said, *(int(line) for line in process.stdout.read().split())])
        process.wait()
    with Ledger(path) as ledger:
        [kept] = ledger.db.execute("SELECT count(*) FROM result").fetchone()
        assert kept in (said + 1, said + 2)  # a row may have been committed just before it could be said
        assert ledger.db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert all(ledger.find(changed(student=f"s{number}")) for number in range(said + 1))


def test_two_writers_at_once(path: Path) -> None:
    processes = [writer(path, 0, 120), writer(path, 40, 160)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    with Ledger(path) as ledger:
        assert ledger.db.execute("SELECT count(*), count(DISTINCT student) FROM result").fetchone() == (160, 160)
        assert ledger.db.execute("SELECT count(*) FROM standing").fetchone() == (160,)
        assert ledger.moves() == []
        assert ledger.db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
