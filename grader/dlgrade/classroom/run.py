"""Grading a class: what was found goes through a pool into the ledger, and comes out of it as rows."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, Protocol

import msgspec

from dlgrade.classroom.discover import Entry
from dlgrade.classroom.ledger import Key, Ledger, Record
from dlgrade.classroom.tree import ReadError, contents
from dlgrade.classroom.work import Outcome, Task, task
from dlgrade.course import registry
from dlgrade.grading.submissions import Submission, SubmissionError, parse, size_limit
from dlgrade.report.rows import Row, RowStatus
from dlgrade.report.safe import encodable


class Pool(Protocol):
    def run(self, tasks: Iterator[Task], tick: Callable[[], None] = ...) -> Iterator[Outcome]: ...


class Watcher(Protocol):
    """Told of every entry once: `kept` was in the ledger already, `done` is new, `failed` could not be graded."""

    def kept(self) -> None: ...
    def done(self) -> None: ...
    def failed(self, entry: Entry, why: str) -> None: ...
    def tick(self) -> None: ...


class Run(msgspec.Struct, frozen=True):
    """What a run is about: entries, the seed's public name, the versions of the checks, how much results reveal."""

    entries: Sequence[Entry]
    seed: str
    checks: dict[str, str]
    reveal_values: bool = False
    again: bool = False

    def key(self, entry: Entry, content: str) -> Key:
        # A result that quotes values is another text for the same answer, and kept apart.
        checks = self.checks[entry.chapter] + ("+values" if self.reveal_values else "")
        return Key(entry.student, entry.chapter, content, self.seed, checks)


def unread(run: Run, entry: Entry, why: str) -> Record:
    """The record of an entry that has no file to grade."""
    content = hashlib.sha256(f"{entry.state}\0{why}".encode()).hexdigest()
    state = "unreadable" if entry.state == "ready" else entry.state
    most = registry.chapter(entry.chapter).points
    return Record(run.key(entry, content), state, 0, most, why, entry.path)


def read(entry: Entry) -> Submission:
    """An entry's submission; raises `ReadError` or `SubmissionError` if it has none."""
    assert entry.file is not None
    path = PurePosixPath(encodable(entry.file.name))
    name = f"{path.stem[:100]}{path.suffix.lower()}"
    return parse(contents(entry.file, size_limit(name)), name, registry.stems()[entry.chapter])


def graded(run: Run, entry: Entry, outcome: Outcome) -> Record:
    """The record of an entry that was graded."""
    result = outcome.result
    assert result is not None
    status: RowStatus = "problem" if result.problem else "graded"
    key = run.key(entry, result.sha256)
    return Record(key, status, result.score, result.max_score, entry.note, entry.path, result, outcome.seconds)


class Graded(msgspec.Struct, frozen=True):
    """What a run left behind, by the number of the entry: the content that the ledger holds, or why it holds none."""

    contents: dict[int, str]
    failures: dict[int, str]


def grade_class(run: Run, ledger: Ledger, pool: Pool, watcher: Watcher) -> Graded:
    """Grade every entry that the ledger does not hold, and let what it holds of the others stand."""
    done = Graded({}, {})
    for outcome in pool.run(_tasks(run, ledger, watcher, done), watcher.tick):
        entry = run.entries[outcome.number]
        if outcome.result is None:
            done.failures[outcome.number] = outcome.failure
            watcher.failed(entry, outcome.failure)
        else:
            ledger.record(graded(run, entry, outcome), again=run.again)
            watcher.done()
    return done


def _tasks(run: Run, ledger: Ledger, watcher: Watcher, done: Graded) -> Iterator[Task]:
    """The tasks that are left to do, read one by one; what needs no grading is seen to on the way."""
    # Two graders on one ledger begin at different places, and find what the other has done when they come to it.
    start = os.getpid() * 7919 % max(len(run.entries), 1)
    for number in (*range(start, len(run.entries)), *range(start)):
        entry = run.entries[number]
        why, submission = entry.note, None
        if entry.state == "ready":
            try:
                submission = read(entry)
            except (ReadError, SubmissionError) as error:
                why = str(error)
        record = None if submission else unread(run, entry, why)
        key = record.key if record else run.key(entry, submission.sha256 if submission else "")
        done.contents[number] = key.content
        known = None if run.again and submission else ledger.find(key)
        if known is not None:
            ledger.adopt(key, known)
            watcher.kept()
        elif submission:
            yield task(number, entry.chapter, submission)
        elif record:
            ledger.record(record)
            watcher.done()


def rows(run: Run, ledger: Ledger, done: Graded) -> Iterator[Row]:
    """The class from the ledger, one row at a time, in the order of the entries."""
    for number, entry in enumerate(run.entries):
        failure = done.failures.get(number, "")
        record = None if failure else ledger.load(run.key(entry, done.contents[number]))
        yield _row(entry, record, failure)


def _row(entry: Entry, record: Record | None, failure: str) -> Row:
    chapter = registry.chapter(entry.chapter)
    facts: dict[str, Any] = {
        "student": entry.student,
        "chapter": entry.chapter,
        "title": chapter.title,
        "file": entry.path,
        "system": entry.who.system,
        "user": entry.who.id,
    }
    if record is None:
        return Row(**facts, status="ungraded", score=0, max_score=chapter.points, note=failure)
    problem = record.result.problem if record.result else record.note
    return Row(
        **facts,
        status=record.status,
        score=record.score,
        max_score=record.max_score,
        note="; ".join(text for text in (problem, entry.note if record.result else "") if text),
        content=record.key.content,
        seed=record.key.seed,
        checks=record.key.checks,
        result=record.result,
    )
