"""What a student has done: one SQLite file in the workspace.

Every check is a row that is never changed; everything else is worked out from the rows. A change is one transaction
under SQLite's rollback journal with full synchronisation, so a process or a machine that stops at any moment leaves the
file as it was before or after, and there is nothing to keep together but this one file. (The write-ahead log would be
quicker to write, but needs shared memory, which network folders lack.)
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from dlgrade.course.outline import POINTS
from dlgrade.course.spec import Chapter
from dlgrade.grading.results import ChapterResult, ExerciseResult, ExerciseStatus
from dlgrade.grading.seeds import PRACTICE_SEED
from dlgrade.report.json import scrub

FILE = "progress.sqlite"
VERSION = 1
APPLICATION_ID = 0x646C6772  # "dlgr"
BUSY_S = 5.0

_SCHEMA = f"""
CREATE TABLE checks (
  id INTEGER PRIMARY KEY, at TEXT NOT NULL, via TEXT NOT NULL, chapter TEXT NOT NULL, whole INTEGER NOT NULL,
  score INTEGER NOT NULL, max_score INTEGER NOT NULL, duration_s REAL NOT NULL,
  seed INTEGER NOT NULL, sha256 TEXT NOT NULL, sandbox TEXT NOT NULL, dlgrade TEXT NOT NULL
);
CREATE TABLE exercises (
  check_id INTEGER NOT NULL REFERENCES checks(id), exercise TEXT NOT NULL, score INTEGER NOT NULL,
  max_score INTEGER NOT NULL, status TEXT NOT NULL, mistakes TEXT NOT NULL, PRIMARY KEY (check_id, exercise)
) WITHOUT ROWID;
CREATE TABLE events (
  id INTEGER PRIMARY KEY, after_check INTEGER NOT NULL, at TEXT NOT NULL, kind TEXT NOT NULL, chapter TEXT NOT NULL,
  exercise TEXT NOT NULL, detail TEXT NOT NULL
);
CREATE TABLE latest (chapter TEXT PRIMARY KEY, check_id INTEGER NOT NULL, result TEXT NOT NULL);
CREATE TABLE feedback (
  chapter TEXT NOT NULL, exercise TEXT NOT NULL, check_id INTEGER NOT NULL, fingerprint TEXT NOT NULL,
  result TEXT NOT NULL, PRIMARY KEY (chapter, exercise)
) WITHOUT ROWID;
CREATE TABLE pictures (chapter TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, png BLOB NOT NULL);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""

Via = Literal["check", "watch", "notebook", "report"]
EventKind = Literal["hint", "solution", "gave up", "reset"]


class ProgressError(Exception):
    """Progress that cannot be read or kept; the message is one sentence."""


class ExerciseState(msgspec.Struct, frozen=True):
    """How an exercise stood after a check; `mistakes` are the names of the recognised ones."""

    score: int
    max_score: int
    status: ExerciseStatus
    mistakes: tuple[str, ...] = ()


class CheckRow(msgspec.Struct, frozen=True):
    """One check as it was made: of a whole chapter, or of some exercises of it."""

    id: int
    at: str
    via: str
    chapter: str
    whole: int
    score: int
    max_score: int
    duration_s: float
    seed: int
    sha256: str
    sandbox: str
    dlgrade: str
    exercises: dict[str, ExerciseState]


class Event(msgspec.Struct, frozen=True):
    """Something other than a check: a hint that was read (`detail` says which), a solution opened, a reset.

    `after_check` is the id of the last check before it: clocks can go back, so they order nothing.
    """

    id: int
    after_check: int
    at: str
    kind: EventKind
    chapter: str
    exercise: str
    detail: str


class ChapterState(msgspec.Struct, frozen=True, kw_only=True):
    """A chapter as the rows tell it: `latest` adds up each exercise's last check, `best` is the most that ever was.

    `exercises` are those last checks. `solved_at` is when the chapter first had full marks, `gave_up_at` when the
    solution was opened before that; both are times as text, or empty.
    """

    latest: int = 0
    best: int = 0
    checks: int = 0
    first_at: str = ""
    last_at: str = ""
    solved_at: str = ""
    gave_up_at: str = ""
    exercises: dict[str, ExerciseState] = {}

    @property
    def solved(self) -> bool:
        return bool(self.solved_at)


class History(msgspec.Struct, frozen=True):
    """Everything that was recorded, in order."""

    checks: tuple[CheckRow, ...] = ()
    events: tuple[Event, ...] = ()

    def chapters(self) -> dict[str, ChapterState]:
        """The state of every chapter that was ever checked, or otherwise touched."""
        states: dict[str, ChapterState] = {}
        rows: list[CheckRow | Event] = [*self.checks, *self.events]
        for row in sorted(rows, key=_moment):
            before = states.get(row.chapter, ChapterState())
            states[row.chapter] = _after_check(before, row) if isinstance(row, CheckRow) else _after_event(before, row)
        return states

    def last_chapter(self) -> str | None:
        """The chapter that was checked last; what a report brought up to date does not count."""
        return next((row.chapter for row in reversed(self.checks) if row.via != "report"), None)


def _moment(row: CheckRow | Event) -> tuple[int, int]:
    return (row.id, 0) if isinstance(row, CheckRow) else (row.after_check, row.id)


def _after_check(state: ChapterState, row: CheckRow) -> ChapterState:
    exercises = row.exercises if row.whole else {**state.exercises, **row.exercises}
    latest = sum(e.score for e in exercises.values())
    return msgspec.structs.replace(
        state,
        latest=latest,
        best=max(state.best, latest),
        checks=state.checks + 1,
        first_at=state.first_at or row.at,
        last_at=row.at,
        solved_at=state.solved_at or (row.at if latest == POINTS else ""),
        exercises=exercises,
    )


def _after_event(state: ChapterState, event: Event) -> ChapterState:
    if event.kind == "gave up":
        return msgspec.structs.replace(state, gave_up_at=state.gave_up_at or event.at)
    if event.kind == "reset":
        return msgspec.structs.replace(state, latest=0, exercises={})
    return state


class Feedback(msgspec.Struct, frozen=True):
    """The last result of every exercise of a chapter on the practice inputs, with the fingerprint of the code it is
    about.
    """

    result: ChapterResult
    fingerprints: dict[str, str]


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def _reading(root: Path) -> Iterator[sqlite3.Connection | None]:
    """A connection to read from, or None where nothing was recorded yet.

    It may write all the same: what a killed process left half-done is taken back before anything is read.
    """
    path = root / FILE
    if not path.exists():
        yield None
        return
    connection = None
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=BUSY_S)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            yield None  # made, but killed before its first row
        else:
            _require(version, path)
            yield connection
    except sqlite3.Error as error:
        raise ProgressError(f"{path} cannot be read ({error})") from None
    finally:
        if connection is not None:
            connection.close()


@contextmanager
def _writing(root: Path) -> Iterator[sqlite3.Connection]:
    """One transaction, there whole or not at all."""
    path = root / FILE
    connection = None
    try:
        connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
        else:
            _require(version, path)
        yield connection
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise ProgressError(f"{path} cannot be written ({error})") from None
    finally:
        if connection is not None:
            connection.close()


def _require(version: int, path: Path) -> None:
    if version > VERSION:
        raise ProgressError(f"{path} was written by a newer dlgrade: update dlgrade")
    if version != VERSION:
        raise ProgressError(f"{path} is not a progress file of dlgrade")


def record(root: Path, chapter: Chapter, result: ChapterResult, fingerprints: dict[str, str], via: Via) -> None:
    """Keep a check; `fingerprints` are those of the code behind each exercise.

    Raises `ProgressError` if it cannot be kept, and ValueError for a check under a secret seed.
    """
    if not isinstance(result.seed, int):
        raise ValueError("a check under a secret seed is not the student's own")
    with _writing(root) as db:
        whole = len(result.exercises) == len(chapter.exercises)
        of_result = ("chapter", "score", "max_score", "duration_s", "seed", "sha256", "sandbox", "dlgrade")
        row = {"at": now(), "via": via, "whole": int(whole)} | {name: getattr(result, name) for name in of_result}
        columns, places = ", ".join(row), ", ".join(f":{name}" for name in row)
        id = db.execute(f"INSERT INTO checks ({columns}) VALUES ({places})", row).lastrowid
        db.executemany(
            "INSERT INTO exercises VALUES (?, ?, ?, ?, ?, ?)",
            [(id, e.name, e.score, e.max_score, e.status, " ".join(_mistakes(e))) for e in result.exercises],
        )
        if result.seed == PRACTICE_SEED:
            _keep_feedback(db, chapter, result, fingerprints, id)


def _keep_feedback(
    db: sqlite3.Connection, chapter: Chapter, result: ChapterResult, fingerprints: dict[str, str], id: int | None
) -> None:
    """What the check said, in place of what the last one said of the same exercises."""
    bare = _json(msgspec.structs.replace(result, exercises=()))
    db.execute("INSERT OR REPLACE INTO latest VALUES (?, ?, ?)", (chapter.id, id, bare))
    if len(result.exercises) == len(chapter.exercises):
        db.execute("DELETE FROM feedback WHERE chapter = ?", (chapter.id,))
    db.executemany(
        "INSERT OR REPLACE INTO feedback VALUES (?, ?, ?, ?, ?)",
        [(chapter.id, e.name, id, fingerprints.get(e.name, ""), _json(e)) for e in result.exercises],
    )


def _json(result: ChapterResult | ExerciseResult) -> str:
    return msgspec.json.encode(scrub(msgspec.to_builtins(result))).decode()


def _mistakes(exercise: ExerciseResult) -> list[str]:
    return list(dict.fromkeys(c.mistake for c in exercise.checks if c.mistake))


def note(root: Path, kind: EventKind, chapter: str, exercise: str = "", detail: str = "") -> None:
    """Keep something other than a check. Raises `ProgressError` if it cannot be kept."""
    with _writing(root) as db:
        db.execute(
            "INSERT INTO events (after_check, at, kind, chapter, exercise, detail)"
            " VALUES ((SELECT coalesce(max(id), 0) FROM checks), ?, ?, ?, ?, ?)",
            (now(), kind, chapter, exercise, detail),
        )
        if kind == "reset":
            db.execute("DELETE FROM feedback WHERE chapter = ?", (chapter,))
            db.execute("DELETE FROM latest WHERE chapter = ?", (chapter,))


def load(root: Path) -> History:
    """Everything recorded so far; an empty history if nothing was. Raises `ProgressError`."""
    with _reading(root) as db:
        if db is None:
            return History()
        exercises: dict[int, dict[str, ExerciseState]] = {}
        for id, name, score, max_score, status, mistakes in db.execute("SELECT * FROM exercises"):
            exercises.setdefault(id, {})[name] = ExerciseState(score, max_score, status, tuple(mistakes.split()))
        db.row_factory = sqlite3.Row
        rows = db.execute("SELECT * FROM checks ORDER BY id")
        checks = tuple(CheckRow(**dict(row), exercises=exercises.get(row["id"], {})) for row in rows)
        return History(checks, tuple(Event(*row) for row in db.execute("SELECT * FROM events ORDER BY id")))


def hints_seen(root: Path, chapter: str, exercise: str) -> list[Event]:
    """The hints of an exercise that were read so far. Raises `ProgressError`."""
    with _reading(root) as db:
        if db is None:
            return []
        query = "SELECT * FROM events WHERE kind = 'hint' AND chapter = ? AND exercise = ? ORDER BY id"
        return [Event(*row) for row in db.execute(query, (chapter, exercise))]


def feedback(root: Path, chapter: Chapter) -> Feedback | None:
    """The last results of a chapter's exercises, put together; None if there are none. Raises `ProgressError`."""
    with _reading(root) as db:
        if db is None:
            return None
        bare = db.execute("SELECT result FROM latest WHERE chapter = ?", (chapter.id,)).fetchone()
        query = "SELECT exercise, fingerprint, result FROM feedback WHERE chapter = ?"
        rows = {name: (fingerprint, text) for name, fingerprint, text in db.execute(query, (chapter.id,))}
    names = [e.name for e in chapter.exercises if e.name in rows]
    if bare is None or not names:
        return None
    try:
        exercises = tuple(msgspec.json.decode(rows[name][1], type=ExerciseResult) for name in names)
        result = msgspec.json.decode(bare[0], type=ChapterResult)
    except msgspec.DecodeError:
        return None  # from a version whose results were written differently: as good as not checked
    whole = msgspec.structs.replace(
        result,
        exercises=exercises,
        score=sum(e.score for e in exercises),
        max_score=sum(e.max_score for e in exercises),
    )
    return Feedback(whole, {name: rows[name][0] for name in names})


def picture(root: Path, chapter: str, fingerprint: str) -> bytes | None:
    """The picture kept for this very code, if any. Raises `ProgressError`."""
    with _reading(root) as db:
        query = "SELECT png FROM pictures WHERE chapter = ? AND fingerprint = ?"
        found = db and db.execute(query, (chapter, fingerprint)).fetchone()
    return found[0] if found else None


def keep_picture(root: Path, chapter: str, fingerprint: str, png: bytes) -> None:
    """Keep a picture for the code it was drawn from. Raises `ProgressError`."""
    with _writing(root) as db:
        db.execute("INSERT OR REPLACE INTO pictures VALUES (?, ?, ?)", (chapter, fingerprint, png))


def export(history: History) -> dict[str, object]:
    """All that was recorded as plain data: a state for each chapter, then every check and event."""
    return {
        "schema": 1,
        "exported_at": now(),
        "chapters": {id: msgspec.to_builtins(state) for id, state in sorted(history.chapters().items())},
        "checks": msgspec.to_builtins(history.checks),
        "events": msgspec.to_builtins(history.events),
    }
