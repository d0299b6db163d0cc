"""Faults at awkward moments: no wrong score, no lost score, and a sentence where the work cannot be done.

What befalls a class's ledger, its pool and a cluster is in tests/classroom; a learner's progress file, in
tests/selfstudy/test_kill.py.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from arena import Arena, missing
from dlgrade.classroom.work import Kit, Outcome, Setup, Task
from dlgrade.course import registry
from dlgrade.grading.grader import Grader
from dlgrade.grading.results import ChapterResult
from dlgrade.grading.seeds import public_seed
from dlgrade.sandbox.launch import Launcher, NurseryLauncher, SandboxError, launcher
from dlgrade.sandbox.session import Source

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="signals and /proc")]

CHAPTER = registry.chapter("ch305")
SEED = public_seed(3)
SOLUTION = registry.solution_file(CHAPTER)
TEXT = SOLUTION.read_text(encoding="utf-8")
# Slow enough to be caught in the middle, right all the same; half of it has a slip, so that the score says something.
SLOW = TEXT.replace("grad = 2.0 * error / error.size", "grad = error / error.size") + (
    "\nimport time as _time\n_mse = mse\ndef mse(y_hat, y):\n    _time.sleep(0.01)\n    return _mse(y_hat, y)\n"
)


def graded(started: Launcher, text: str = SLOW) -> ChapterResult:
    result = Grader(CHAPTER, SEED, started).grade(Source((text,), "ch305.py", "ch305"))
    return msgspec.structs.replace(result, duration_s=0.0)


@pytest.fixture(scope="module")
def calm() -> ChapterResult:
    """What an undisturbed run gives."""
    started = launcher("auto")
    try:
        return graded(started)
    finally:
        started.close()


@pytest.fixture
def started() -> Iterator[NurseryLauncher]:
    made = NurseryLauncher("auto")
    assert made.walls
    yield made
    made.close()


@contextlib.contextmanager
def meanwhile(act: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def wait_until(true: Callable[[], object], seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.002)
    return bool(true())


@pytest.mark.parametrize("draw", range(5))
def test_a_killed_child(started: NurseryLauncher, calm: ChapterResult, draw: int) -> None:
    """Its submission is graded once more."""
    delay = random.Random(draw).uniform(0, 0.15)

    def kill() -> None:
        wait_until(lambda: started.pid)
        time.sleep(delay)
        if pid := started.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    with meanwhile(kill):
        assert graded(started) == calm
    assert graded(started) == calm


def test_a_child_that_is_killed_each_time_ends(started: NurseryLauncher) -> None:
    killing = "import signal\ndef mse(y_hat, y):\n    signal.raise_signal(signal.SIGKILL)\n"
    result = graded(started, TEXT + killing)
    assert result.score == 100 - sum(e.points for e in CHAPTER.exercises if e.name == "mse")
    assert {c.status for e in result.exercises if e.name == "mse" for c in e.checks} == {"crashed"}


@pytest.mark.parametrize("draw", range(4))
def test_a_killed_nursery(calm: ChapterResult, draw: int) -> None:
    """A class's grader starts another and grades the submission again; the scratch folder of the dead one goes."""
    kit = Kit(Setup(SEED.key, SEED.number, "auto", True, {}))
    task = Task(0, "ch305", (SLOW.encode(),), "ch305.py", "ch305", calm.sha256)
    delay = random.Random(draw).uniform(0, 0.2)
    try:
        kit.start()
        first = kit.launcher
        assert isinstance(first, NurseryLauncher)

        def kill() -> None:
            time.sleep(delay)
            first.process.kill()

        with meanwhile(kill):
            outcome = kit.grade(task)
        assert same(outcome, calm)
        assert same(kit.grade(task), calm)
        assert first.process.wait(timeout=10) == -signal.SIGKILL
    finally:
        kit.close()
    if kit.launcher is not first:
        first.close()
    assert not os.path.exists(first._scratch)


def same(outcome: Outcome, calm: ChapterResult) -> bool:
    return outcome.result is not None and msgspec.structs.replace(outcome.result, duration_s=0.0) == calm


def test_without_a_nursery_a_check_says_so(started: NurseryLauncher) -> None:
    started.process.kill()
    with pytest.raises(SandboxError, match="the process that starts student code"):
        graded(started)


def descendants(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def check(path: Path, *options: str, **more: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dlgrade", "check", "ch305", "--file", str(path), *options]
    return subprocess.Popen(command, cwd=path.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


@pytest.mark.parametrize("draw", range(3))
def test_a_killed_grader_leaves_nothing_running(tmp_path: Path, draw: int) -> None:
    (tmp_path / "ch305.py").write_text("while True: pass\n")
    process = check(tmp_path / "ch305.py")
    try:
        # The nursery, and in it the student's loop.
        assert wait_until(lambda: len(descendants(process.pid)) >= 2)
        time.sleep(random.Random(draw).uniform(0, 0.2))
        left = descendants(process.pid)
    finally:
        process.kill()
        process.communicate()
    assert wait_until(lambda: not any(alive(pid) for pid in left), 30)


def test_two_seconds_without_the_child(started: NurseryLauncher, calm: ChapterResult) -> None:
    def stall() -> None:
        wait_until(lambda: started.pid)
        time.sleep(0.05)
        pid = started.pid
        os.kill(pid, signal.SIGSTOP)
        time.sleep(2.0)
        os.kill(pid, signal.SIGCONT)

    with meanwhile(stall):
        assert graded(started) == calm


def test_two_seconds_without_the_grader(tmp_path: Path) -> None:
    (tmp_path / "ch305.py").write_text(TEXT)
    process = check(tmp_path / "ch305.py", "--format", "json")
    assert wait_until(lambda: descendants(process.pid))
    process.send_signal(signal.SIGSTOP)
    time.sleep(2.0)
    process.send_signal(signal.SIGCONT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, msgspec.json.decode(out)["score"]) == (0, 100), err


def test_one_core(tmp_path: Path) -> None:
    (tmp_path / "ch305.py").write_text(TEXT)
    one = {min(os.sched_getaffinity(0))}
    process = check(tmp_path / "ch305.py", "--format", "json", preexec_fn=lambda: os.sched_setaffinity(0, one))
    out, err = process.communicate(timeout=120)
    assert (process.returncode, msgspec.json.decode(out)["score"]) == (0, 100), err


@pytest.mark.parametrize("jump", [-1e9, 86400.0])
def test_a_clock_that_jumps(
    started: NurseryLauncher, calm: ChapterResult, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """Only clocks that cannot be set are asked how long something took."""
    real, calls = time.time, []

    def jumping() -> float:
        calls.append(1)
        return real() + (jump if len(calls) % 2 else 0.0)

    monkeypatch.setattr(time, "time", jumping)
    assert graded(started) == calm


@pytest.mark.parametrize(("wall", "left"), [("landlock", "seccomp"), ("seccomp", "landlock"), ("both", "process")])
def test_a_missing_wall(tmp_path: Path, calm: ChapterResult, wall: str, left: str) -> None:
    """The score is the same, the result names what stood, and strict refuses."""
    with Arena(tmp_path, without=wall) as arena:
        result = graded(arena.launcher)
        assert result.sandbox in (left, "process")
        assert msgspec.structs.replace(result, sandbox=calm.sandbox) == calm
    with missing(wall):
        refused = NurseryLauncher("strict")
        with pytest.raises(SandboxError, match=r"^The strict sandbox needs Landlock and seccomp; this system has no "):
            assert refused.walls
        refused.close()


FULL = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
sys.argv = ["dlgrade", *sys.argv[1:]]
runpy.run_module("dlgrade", run_name="__main__")
"""


@pytest.mark.parametrize("name", ["json", "text", "junit"])
def test_a_report_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    """A file that may have 200 bytes stands for a disk that is full."""
    (tmp_path / "ch305.py").write_text(TEXT)
    command = [sys.executable, "-c", FULL, "check", "ch305", "--file", "ch305.py", "--format", name]
    ended = subprocess.run(
        [*command, "--output", "report.txt"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 2, ended.stderr
    assert "report.txt cannot be written" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_class_on_a_full_disk_goes_on_when_there_is_room(tmp_path: Path) -> None:
    (tmp_path / "class").mkdir()
    for student in ("ada", "bob"):
        (tmp_path / "class" / f"{student}.py").write_text(TEXT)
    grade = ["grade", "class", "--chapter", "ch305", "--seed", "3", "-j", "1", "--output", "out"]
    full = subprocess.run(
        [sys.executable, "-c", FULL, *grade], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert full.returncode == 2, full.stderr
    assert "Traceback" not in full.stderr
    ended = subprocess.run(
        [sys.executable, "-m", "dlgrade", *grade], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    rows = (tmp_path / "out" / "grades.csv").read_text().splitlines()[1:]
    assert [row.split(",")[:4] for row in rows] == [[name, "ch305", "100", "100"] for name in ("ada", "bob")]
