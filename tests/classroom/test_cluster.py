"""A cluster of separate processes, one of them killed in the middle: the same ledger as on one machine."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

distributed = pytest.importorskip("distributed")

COLUMNS = "student, chapter, content, seed, checks, status, score, max_score, note, file, result"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=60
    ) as made:
        yield made


def ledger(path: Path) -> list[tuple[object, ...]]:
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as db:
        try:
            return db.execute(f"SELECT {COLUMNS} FROM result ORDER BY student").fetchall()
        except sqlite3.OperationalError:
            return []


def start(folder: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dlgrade", "grade", str(folder), "--chapter", "ch305", "--seed", "3"]
    command += ["--output", str(out), "--write", "csv", *more]
    with (out.parent / f"{out.name}.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=out.parent)


def test_a_lost_worker_loses_nothing(cluster: Any, drawn_class: Any, tmp_path: Path) -> None:
    from dlgrade.grading.seeds import public_seed

    drawn_class.write(tmp_path / "class", drawn_class.draw(30, public_seed(3), random_seed=1, loops=False))
    grader = start(tmp_path / "class", tmp_path / "cluster", "--cluster", cluster.scheduler_address)
    end = time.monotonic() + 120
    while len(ledger(tmp_path / "cluster" / "ledger.sqlite")) < 8 and grader.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
    assert grader.wait(timeout=240) == 1, (tmp_path / "cluster.log").read_text()
    assert start(tmp_path / "class", tmp_path / "alone", "-j", "2").wait(timeout=240) == 1
    alone = ledger(tmp_path / "alone" / "ledger.sqlite")
    assert len(alone) == 30
    assert ledger(tmp_path / "cluster" / "ledger.sqlite") == alone


def test_a_worker_with_other_checks_is_refused(cluster: Any) -> None:
    from dlgrade.classroom.cluster import ClusterPool
    from dlgrade.classroom.work import Setup, SetupError, Task
    from dlgrade.grading.seeds import public_seed

    seed = public_seed(3)
    setup = Setup(seed.key, 3, "auto", False, {"ch305": "other"})
    with (
        ClusterPool(setup, cluster.scheduler_address) as pool,
        pytest.raises(SetupError, match="another version here"),
    ):
        list(pool.run(iter([Task(0, "ch305", (b"x = 1",), "a.py", "m", "")])))
