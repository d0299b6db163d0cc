"""Checking again and again: only what changed, whatever is saved, and whoever interrupts."""

from __future__ import annotations

import os
import queue
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dlgrade.course.spec import Chapter
from dlgrade.selfstudy import progress
from dlgrade.selfstudy.checking import Broken, Busy, Checker, Unrecorded, Verdict

RIGHT, WRONG = "2.0 * error / error.size", "2.0 * error"


class Watched:
    """A checker and what it told, without what it is busy with."""

    def __init__(self, root: Path | None) -> None:
        self.told: queue.Queue[Any] = queue.Queue()
        self.checker = Checker(root, "auto", self.told.put)
        self.checker.start()

    def ask(self, path: Path, everything: bool = False) -> Any:
        self.checker.ask("ch305", path, everything=everything)
        return self.next()

    def next(self) -> Any:
        while isinstance(news := self.told.get(timeout=60), Busy):
            pass
        return news


@pytest.fixture
def watched(root: Path) -> Iterator[Watched]:
    made = Watched(root)
    yield made
    made.checker.stop()
    made.checker.join(timeout=30)
    assert not made.checker.is_alive()


def test_only_what_an_edit_touched_is_checked_again(
    watched: Watched, answer: Path, solved: str, chapter: Chapter
) -> None:
    answer.write_text(solved)
    first = watched.ask(answer)
    assert isinstance(first, Verdict)
    assert len(first.checked) == len(chapter.exercises)
    assert first.result.full_marks
    answer.write_text(solved.replace(RIGHT, WRONG))
    second = watched.ask(answer)
    assert second.checked == ("mse",)
    assert second.result.score == 92
    assert [c.mistake for c in second.result.exercises[0].checks if c.mistake] != []
    answer.write_text(solved.replace(RIGHT, WRONG) + "\n# a comment\n")
    assert watched.ask(answer).checked == ()
    assert len(watched.ask(answer, everything=True).checked) == len(chapter.exercises)


def test_every_check_is_recorded(watched: Watched, root: Path, answer: Path, solved: str) -> None:
    answer.write_text(solved)
    watched.ask(answer)
    answer.write_text(solved.replace(RIGHT, WRONG))
    watched.ask(answer)
    watched.checker.stop()
    watched.checker.join(timeout=30)
    history = progress.load(root)
    assert [(row.via, len(row.exercises)) for row in history.checks] == [("watch", 7), ("watch", 1)]
    state = history.chapters()["ch305"]
    assert (state.best, state.latest, state.solved) == (100, 92, True)


def test_what_was_recorded_is_not_checked_again(root: Path, answer: Path, solved: str) -> None:
    answer.write_text(solved)
    for expected in (7, 0):
        made = Watched(root)
        verdict = made.ask(answer)
        made.checker.stop()
        made.checker.join(timeout=30)
        assert len(verdict.checked) == expected
        assert verdict.result.full_marks


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"def f(:\n", "at line 1: SyntaxError"),
        (b"x = 'half", "at line 1: SyntaxError"),
        (b"", "is empty"),
        (b"x = 1\0", "NUL"),
        (b"\xff\xfe", "not UTF-8"),
        (b"(" * 5000, "SyntaxError"),
        (None, "there is no file"),
    ],
)
def test_a_file_that_cannot_be_read_says_why_and_the_next_save_is_fine(
    watched: Watched, answer: Path, solved: str, content: bytes | None, words: str
) -> None:
    if content is None:
        answer.unlink()
    else:
        answer.write_bytes(content)
    broken = watched.ask(answer)
    assert isinstance(broken, Broken)
    assert words.lower() in broken.text.lower()
    answer.write_text(solved)
    assert watched.ask(answer).result.full_marks


def test_a_half_saved_file_is_given_a_moment(watched: Watched, answer: Path, solved: str) -> None:
    answer.write_text(solved[: len(solved) // 2])
    watched.checker.ask("ch305", answer)
    answer.write_text(solved)
    watched.checker.ask("ch305", answer)
    verdict = watched.next()
    assert isinstance(verdict, Verdict)
    assert verdict.result.full_marks


def test_a_newer_save_cuts_an_older_check_off(watched: Watched, answer: Path, solved: str) -> None:
    answer.write_text(solved + "\nwhile True: pass\n")
    watched.checker.ask("ch305", answer)
    while not watched.checker.sandbox.channel:
        time.sleep(0.01)
    answer.write_text(solved)
    verdict = watched.ask(answer)
    assert isinstance(verdict, Verdict)
    assert verdict.result.full_marks
    assert watched.told.empty()


def test_stopping_does_not_wait_for_code_that_hangs(root: Path, answer: Path) -> None:
    answer.write_text("while True: pass\n")
    made = Watched(root)
    made.checker.ask("ch305", answer)
    while not made.checker.sandbox.channel:
        time.sleep(0.01)
    made.checker.stop()
    made.checker.join(timeout=5)
    assert not made.checker.is_alive()


def test_errors_are_checked_again_when_their_lines_have_moved(watched: Watched, answer: Path, solved: str) -> None:
    broken = solved.replace(RIGHT, "error / undefined")
    answer.write_text(broken)
    first = watched.ask(answer)
    line = 1 + broken[: broken.index("undefined")].count("\n")
    assert f"line {line}" in first.result.exercises[0].checks[0].message
    answer.write_text(broken.replace("import numpy as np", "# a comment\nimport numpy as np"))
    second = watched.ask(answer)
    assert "mse" in second.checked
    assert "huber" not in second.checked
    assert f"line {line + 1}" in second.result.exercises[0].checks[0].message


@pytest.mark.skipif(sys.platform != "linux", reason="only there is there a nursery")
def test_the_nursery_may_die(watched: Watched, answer: Path, solved: str) -> None:
    answer.write_text(solved)
    assert watched.ask(answer).result.full_marks
    nursery: Any = watched.checker.sandbox.inner
    os.kill(nursery.process.pid, signal.SIGKILL)
    nursery.process.wait()
    assert isinstance(watched.ask(answer, everything=True), Broken)
    assert watched.ask(answer, everything=True).result.full_marks


def test_progress_that_cannot_be_kept_is_said_and_no_obstacle(
    watched: Watched, root: Path, answer: Path, solved: str
) -> None:
    (root / progress.FILE).write_bytes(b"no database at all")
    answer.write_text(solved)
    assert watched.ask(answer).result.full_marks
    assert isinstance(watched.next(), Unrecorded)


def test_without_a_workspace_nothing_is_recorded(tmp_path: Path, answer: Path, solved: str, root: Path) -> None:
    answer.write_text(solved)
    made = Watched(None)
    assert made.ask(answer).result.full_marks
    made.checker.stop()
    made.checker.join(timeout=30)
    assert not (root / progress.FILE).exists()
