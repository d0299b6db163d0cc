"""Killed at any moment, whatever was acknowledged is there and the progress file is whole."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from dlgrade.selfstudy import progress
from dlgrade.selfstudy.progress import FILE

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="kills with SIGKILL")]

# Records one check after another and says so each time, without importing the chapter, so that it starts at once.
WRITER = """
import sys
from pathlib import Path
from types import SimpleNamespace
import msgspec
from dlgrade.grading.results import ChapterResult
from dlgrade.selfstudy import progress

result = msgspec.json.decode(sys.stdin.buffer.readline(), type=ChapterResult)
chapter = SimpleNamespace(id=result.chapter, exercises=result.exercises)
while True:
    progress.record(Path(sys.argv[1]), chapter, result, {}, "check")
    progress.note(Path(sys.argv[1]), "hint", "ch305", "mse", "1")
    print("kept", flush=True)
"""


def whole(root: Path, exercises: int) -> progress.History:
    """The history, after looking at the file from every side."""
    history = progress.load(root)
    with sqlite3.connect(root / FILE) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    assert all(len(row.exercises) == exercises for row in history.checks if row.whole)
    assert [row.id for row in history.checks] == list(range(1, len(history.checks) + 1))
    assert {p.name for p in root.iterdir() if p.name.startswith(FILE)} <= {FILE, f"{FILE}-journal"}
    return history


def test_killed_while_writing(root: Path, record: Any) -> None:
    import msgspec

    draw = random.Random(305)
    acknowledged = 0
    for kills in range(1, 13):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as run:
            assert run.stdin is not None
            assert run.stdout is not None
            run.stdin.write(msgspec.json.encode(record.result(record.full)) + b"\n")
            run.stdin.flush()
            assert run.stdout.readline() == b"kept\n"
            time.sleep(draw.uniform(0, 0.12))
            run.send_signal(signal.SIGKILL)
            acknowledged += 1 + run.stdout.read().count(b"kept\n")
        history = whole(root, len(record.full))
        assert acknowledged <= len(history.checks) <= acknowledged + kills
        assert acknowledged <= len(history.events)
        assert history.chapters()["ch305"].solved
    assert acknowledged >= 12


def test_checks_killed_at_any_moment(root: Path, answer: Path, solved: str, chapter: Any) -> None:
    answer.write_text(solved)
    draw = random.Random(306)
    command = [sys.executable, "-m", "dlgrade", "check", "ch305"]
    subprocess.run(command, cwd=root, check=True, stdout=subprocess.DEVNULL)
    for _ in range(8):
        with subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
            time.sleep(draw.uniform(0.05, 0.8))
            run.send_signal(signal.SIGKILL)
        history = whole(root, len(chapter.exercises))
        assert history.chapters()["ch305"].solved
    subprocess.run(command, cwd=root, check=True, stdout=subprocess.DEVNULL)
    assert len(whole(root, len(chapter.exercises)).checks) >= 2


def test_a_killed_watch(root: Path, answer: Path, solved: str, chapter: Any) -> None:
    command = [sys.executable, "-m", "dlgrade", "watch", "ch305"]
    draw = random.Random(307)
    for number in range(3):
        with subprocess.Popen(command, cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as run:
            assert run.stdout is not None
            assert any("/ 100" in line for line in iter(run.stdout.readline, ""))
            for edit in range(5):
                answer.write_text(solved.replace("import numpy as np", f"import numpy as np\nEDIT = {number, edit}"))
                time.sleep(draw.uniform(0, 0.15))
            run.send_signal(signal.SIGKILL)
        if (root / FILE).exists():
            whole(root, len(chapter.exercises))
