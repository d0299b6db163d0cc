"""The ledger of a class: a SQLite file with one row for every graded chapter, written when it is done.

A row's key is everything that determines it: student, chapter, content, seed, checks. It is never changed but by
grading again on purpose, so a killed run goes on where it stopped and two graders can share a file: what one has
written the other finds, and the same row written twice is the same row. `standing` says which result counts for a
student now, and `move` remembers whose score a later result changed, and why.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from dlgrade.grading.results import ChapterResult
from dlgrade.report.rows import RowStatus

APPLICATION = 0x444C4752  # "DLGR"
SCHEMA = 1
BUSY_S = 60.0

_TABLES = """
CREATE TABLE result (
  id INTEGER PRIMARY KEY,
  student TEXT NOT NULL, chapter TEXT NOT NULL, content TEXT NOT NULL, seed TEXT NOT NULL, checks TEXT NOT NULL,
  status TEXT NOT NULL, score INTEGER NOT NULL, max_score INTEGER NOT NULL, note TEXT NOT NULL, file TEXT NOT NULL,
  result TEXT, seconds REAL NOT NULL, graded_at TEXT NOT NULL,
  UNIQUE (student, chapter, content, seed, checks)
);
CREATE TABLE standing (
  student TEXT NOT NULL, chapter TEXT NOT NULL, result INTEGER NOT NULL REFERENCES result,
  PRIMARY KEY (student, chapter)
) WITHOUT ROWID;
CREATE TABLE move (
  id INTEGER PRIMARY KEY,
  student TEXT NOT NULL, chapter TEXT NOT NULL, before INTEGER NOT NULL, after INTEGER NOT NULL,
  max_score INTEGER NOT NULL, reason TEXT NOT NULL, at TEXT NOT NULL
);
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


class LedgerError(Exception):
    """The ledger cannot be opened or written; the message is one sentence."""


class Key(msgspec.Struct, frozen=True):
    """What determines a result."""

    student: str
    chapter: str
    content: str
    seed: str
    checks: str

    def values(self) -> tuple[str, ...]:
        return (self.student, self.chapter, self.content, self.seed, self.checks)


class Record(msgspec.Struct, frozen=True):
    """A result with its key, as it is kept."""

    key: Key
    status: RowStatus
    score: int
    max_score: int
    note: str = ""
    file: str = ""
    result: ChapterResult | None = None
    seconds: float = 0.0


class Move(msgspec.Struct, frozen=True):
    """A score that changed, in the chapter's points, and why."""

    student: str
    chapter: str
    before: int
    after: int
    max_score: int
    reason: str


_WHERE = "student = ? AND chapter = ? AND content = ? AND seed = ? AND checks = ?"


class Ledger:
    """An open ledger; a context manager. Every write is one transaction, and is kept once `record` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._errors():
            self.db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
        try:
            with self._errors():
                self._open()
        except BaseException:
            self.db.close()
            raise

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.db.close()

    def _open(self) -> None:
        # A reader never waits for the writer and a commit costs no flush; what a killed process committed is kept.
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = NORMAL")
        self.db.execute("PRAGMA foreign_keys = ON")
        self.db.execute("BEGIN IMMEDIATE")
        try:
            self._schema()
        finally:
            if self.db.in_transaction:
                self.db.execute("COMMIT")

    def _schema(self) -> None:
        [application] = self.db.execute("PRAGMA application_id").fetchone()
        [schema] = self.db.execute("PRAGMA user_version").fetchone()
        [tables] = self.db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if not tables:
            for statement in _TABLES.split(";\n"):
                self.db.execute(statement)
            self.db.execute(f"PRAGMA application_id = {APPLICATION}")
            self.db.execute(f"PRAGMA user_version = {SCHEMA}")
        elif application != APPLICATION:
            raise LedgerError(f"{self.path} is a database of something else, not a ledger")
        elif schema != SCHEMA:
            raise LedgerError(f"{self.path} is a ledger of form {schema}, and this dlgrade knows form {SCHEMA}")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """SQLite's errors as one sentence that says what to do."""
        try:
            yield
        except sqlite3.Error as error:
            raise LedgerError(f"the ledger {self.path} {_said(error)}") from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._errors():
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
                raise
            self.db.execute("COMMIT")

    def find(self, key: Key) -> int | None:
        """The number of the result with this key, if there is one."""
        with self._errors():
            row = self.db.execute(f"SELECT id FROM result WHERE {_WHERE}", key.values()).fetchone()
        return row[0] if row else None

    def record(self, record: Record, *, again: bool = False) -> None:
        """Keep a result and let it stand for its student. One that is there already is left alone, unless `again`."""
        text = None
        if record.result is not None:
            # How long it took is no part of what it is: two runs are to give the same row.
            text = msgspec.json.encode(msgspec.structs.replace(record.result, duration_s=0.0)).decode()
        values = (record.status, record.score, record.max_score, record.note, record.file, text, record.seconds, _now())
        with self._transaction():
            before = self._standing(record.key)
            found = self.db.execute(f"SELECT id FROM result WHERE {_WHERE}", record.key.values()).fetchone()
            if found is None:
                cursor = self.db.execute(
                    "INSERT INTO result (student, chapter, content, seed, checks, status, score, max_score, note, "
                    "file, result, seconds, graded_at) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
                    (*record.key.values(), *values),
                )
                number = cursor.lastrowid
            else:
                number = found[0]
                if again:
                    self.db.execute(
                        "UPDATE result SET status = ?, score = ?, max_score = ?, note = ?, file = ?, result = ?, "
                        "seconds = ?, graded_at = ? WHERE id = ?",
                        (*values, number),
                    )
            assert number is not None
            self._stand(record.key, number, before)

    def adopt(self, key: Key, number: int) -> None:
        """Let a result that is there already stand for its student: they handed in an earlier version again, say."""
        with self._errors():
            standing = self.db.execute(
                "SELECT result FROM standing WHERE student = ? AND chapter = ?", (key.student, key.chapter)
            ).fetchone()
        if standing is None or standing[0] != number:
            with self._transaction():
                self._stand(key, number, self._standing(key))

    def _standing(self, key: Key) -> tuple[Any, ...] | None:
        found: tuple[Any, ...] | None = self.db.execute(
            "SELECT content, seed, checks, status, score, max_score, result FROM result WHERE id = "
            "(SELECT result FROM standing WHERE student = ? AND chapter = ?)",
            (key.student, key.chapter),
        ).fetchone()
        return found

    def _stand(self, key: Key, number: int, before: tuple[Any, ...] | None) -> None:
        self.db.execute("INSERT OR REPLACE INTO standing VALUES (?, ?, ?)", (key.student, key.chapter, number))
        after = self._standing(key)
        assert after is not None
        if before is not None and before[4:6] != after[4:6]:
            self.db.execute(
                "INSERT INTO move (student, chapter, before, after, max_score, reason, at) VALUES (?,?,?,?,?,?,?)",
                (key.student, key.chapter, before[4], after[4], after[5], _reason(before, after), _now()),
            )

    def load(self, key: Key) -> Record | None:
        """A result, whole."""
        with self._errors():
            row = self.db.execute(
                f"SELECT status, score, max_score, note, file, result, seconds FROM result WHERE {_WHERE}", key.values()
            ).fetchone()
        if row is None:
            return None
        status, score, max_score, note, file, text, seconds = row
        result = None
        if text is not None:
            kept = msgspec.json.decode(text, type=ChapterResult)
            result = msgspec.structs.replace(kept, duration_s=round(seconds, 3))
        return Record(key, status, score, max_score, note, file, result, seconds)

    def students(self, chapter: str) -> list[str]:
        """Everybody who has a result in a chapter."""
        with self._errors():
            rows = self.db.execute("SELECT student FROM standing WHERE chapter = ? ORDER BY student", (chapter,))
            return [student for (student,) in rows]

    def moves(self, after: int = 0) -> list[Move]:
        """The scores that changed since move number `after`, in the order of their students."""
        with self._errors():
            rows = self.db.execute(
                "SELECT student, chapter, before, after, max_score, reason FROM move WHERE id > ? "
                "ORDER BY student, chapter, id",
                (after,),
            )
            return [Move(*row) for row in rows]

    def last_move(self) -> int:
        with self._errors():
            [number] = self.db.execute("SELECT coalesce(max(id), 0) FROM move").fetchone()
        return int(number)

    def setting(self, name: str) -> str:
        """What was noted under a name, or an empty string."""
        with self._errors():
            row = self.db.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        return row[0] if row else ""

    def note(self, **settings: str) -> None:
        with self._transaction():
            self.db.executemany("INSERT OR REPLACE INTO setting VALUES (?, ?)", settings.items())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _said(error: sqlite3.Error) -> str:
    text = str(error)
    if "disk is full" in text or "disk I/O" in text:
        return (
            "cannot be written: the disk is full or failing. What was graded so far is kept; make room and run the "
            "same command again"
        )
    if "readonly" in text:
        return "cannot be written: it, or the folder around it, is read-only"
    if "unable to open" in text:
        return "cannot be opened: is its folder there, and may you write to it?"
    if "locked" in text:
        return f"is held by another program for more than {BUSY_S:g} s"
    if "not a database" in text or "malformed" in text:
        return "is no ledger, or damaged"
    return f"cannot be used: {text}"


def _reason(before: tuple[Any, ...], after: tuple[Any, ...]) -> str:
    """Why a score changed: what of its key did, and in which exercises it shows."""
    causes = [
        cause
        for cause, old, new in zip(
            ("a new submission", "another seed", "other checks"), before[:3], after[:3], strict=True
        )
        if old != new
    ]
    if before[3] != after[3]:
        causes.append(f"{after[3]}, not {before[3]}")
    shown = _exercises(before[6], after[6])
    return (" and ".join(causes) or "graded again") + (f": {shown}" if shown else "")


def _exercises(before: str | None, after: str | None) -> str:
    """The exercises whose score is not what it was."""
    if before is None or after is None:
        return ""
    old, new = (
        {e.name: e.score for e in msgspec.json.decode(text, type=ChapterResult).exercises} for text in (before, after)
    )
    changed = [f"{name} {old.get(name, 0)} to {score}" for name, score in new.items() if score != old.get(name, 0)]
    return ", ".join(changed)
