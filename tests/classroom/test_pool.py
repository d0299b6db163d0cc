"""Processes that grade: they die, and nothing is lost; they end when the parent does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dlgrade.classroom import pool as pools
from dlgrade.classroom.pool import LocalPool
from dlgrade.classroom.work import Kit, Outcome, Setup, SetupError, Task
from dlgrade.grading.seeds import public_seed

ROOT = Path(__file__).parents[2]
SEED = public_seed(3)
SETUP = Setup(SEED.key, SEED.number, "auto", False, {})
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks")


def tasks(*names: str) -> Iterator[Task]:
    return (Task(i, "ch305", (b"x = 1\n",), name, "m", "") for i, name in enumerate(names))


class Pretend:
    """A kit that pretends to grade, and dies where a file's name says so."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self) -> None: ...

    def close(self) -> None: ...

    def grade(self, task: Task) -> Outcome:
        with (self.folder / "log").open("a") as log:
            log.write(f"{task.filename}\n")
        if task.filename == "deadly" or (task.filename == "once" and not (self.folder / "died").exists()):
            (self.folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if task.filename == "slow":
            time.sleep(0.3)
        if task.filename == "cannot":
            raise SetupError("this machine has no walls")
        return Outcome(task.number, None, 0.5, failure=task.filename)


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalPool]:
    monkeypatch.setattr(pools, "Kit", lambda setup: Pretend(tmp_path))
    monkeypatch.setattr(Pretend, "prepare", lambda *_, **__: None, raising=False)
    with LocalPool(SETUP, ("ch305",), 2) as made:
        yield made


def outcomes(pool: LocalPool, *names: str) -> dict[str, str]:
    given = list(names)
    return {given[o.number]: o.failure for o in pool.run(tasks(*names))}


def test_every_task_has_one_outcome(pool: LocalPool) -> None:
    names = [f"f{i}" for i in range(50)]
    assert outcomes(pool, *names) == {name: name for name in names}
    assert len(pool.processes) == 2


def test_a_process_that_dies_is_replaced_and_its_task_tried_again(pool: LocalPool, tmp_path: Path) -> None:
    names = ["a", "once", "b", "c", "d"]
    assert outcomes(pool, *names) == {name: name for name in names}
    assert (tmp_path / "log").read_text().split().count("once") == 2


def test_a_task_that_kills_its_process_each_time_is_given_up(pool: LocalPool, tmp_path: Path) -> None:
    got = outcomes(pool, "a", "deadly", "b")
    assert got == {"a": "a", "b": "b", "deadly": "the process that graded it died each time"}
    assert (tmp_path / "log").read_text().split().count("deadly") == 2


def test_a_slow_task_holds_up_nobody(pool: LocalPool) -> None:
    order = [o.failure for o in pool.run(tasks("slow", *"abcdef"))]
    assert order[-1] == "slow"


def test_a_machine_that_cannot_do_it_says_so(pool: LocalPool) -> None:
    with pytest.raises(SetupError, match="no walls"):
        list(pool.run(tasks("cannot")))


def test_tasks_are_taken_as_they_are_needed(pool: LocalPool) -> None:
    taken = []

    def watched() -> Iterator[Task]:
        for task in tasks(*(f"f{i}" for i in range(20))):
            taken.append(task.number)
            yield task

    for done, _ in enumerate(pool.run(watched()), 1):
        assert len(taken) <= done + 2


def test_another_version_of_the_checks_is_refused() -> None:
    kit = Kit(Setup(SEED.key, SEED.number, "auto", False, {"ch305": "something else"}))
    with pytest.raises(SetupError, match="another version"):
        kit.grade(next(tasks("a")))


def test_a_grader_that_fails_is_no_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    kit = Kit(SETUP)
    monkeypatch.setattr(kit, "_grade", lambda task: 1 / 0)
    outcome = kit.grade(next(tasks("a")))
    assert outcome.result is None
    assert outcome.failure == "the grader failed: ZeroDivisionError: division by zero"


def test_a_nursery_that_is_gone_is_started_again() -> None:
    kit = Kit(SETUP)
    try:
        kit.start()
        assert kit.launcher is not None
        kit.launcher.process.kill()  # type: ignore[attr-defined]
        outcome = kit.grade(next(tasks("a")))
        assert outcome.result is not None
        assert outcome.result.score == 0
    finally:
        kit.close()


def test_where_nothing_can_be_forked_processes_start_afresh() -> None:
    import multiprocessing

    with LocalPool(SETUP, ("ch305",), 1) as pool:
        pool.context, pool.kit = multiprocessing.get_context("spawn"), None
        [outcome] = pool.run(tasks("a"))
    assert outcome.result is not None
    assert outcome.result.max_score == 100


ORPHANS = """
import sys, time
from pathlib import Path
from dlgrade.classroom.pool import LocalPool
from dlgrade.classroom.work import Setup, Task
setup = Setup({key!r}, 3, "auto", False, {{}})
loop = "def mse(y_hat, y):\\n    while True: pass\\n"
with LocalPool(setup, ("ch305",), 2) as pool:
    list(pool.run(Task(i, "ch305", (loop.encode(),), "a.py", "m", "") for i in range(4)))
"""


def below(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *below(int(child))]
    return found


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def test_nothing_outlives_a_killed_parent() -> None:
    process = subprocess.Popen([sys.executable, "-c", ORPHANS.format(key=SEED.key)])
    try:
        end = time.monotonic() + 60
        # Two graders, each with a nursery, each with a student's loop.
        while len(left := below(process.pid)) < 6 and time.monotonic() < end:
            time.sleep(0.05)
        assert len(left) >= 6
    finally:
        process.kill()
        process.wait()
    end = time.monotonic() + 30
    while any(running(pid) for pid in left) and time.monotonic() < end:
        time.sleep(0.05)
    assert [pid for pid in left if running(pid)] == []
