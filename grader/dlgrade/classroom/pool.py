"""Grading by processes on this machine.

On Linux they are forked from this one after what is expected has been worked out, once for all of them. Each owns a
nursery; each ends, and its students' code with it, when this process does, however that ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

import msgspec

from dlgrade.classroom.work import Kit, Outcome, Setup, SetupError, Task

# A task whose process died this often is not tried again: whatever it does, it is not the machine.
MAX_DEATHS = 2
TICK_S = 0.25
# From this many submissions on, what mistakes answer is worked out before forking rather than when first asked for.
MANY = 100
PR_SET_PDEATHSIG = 1


class _Process:
    """One grading process, seen from the parent, and the task that it has."""

    def __init__(self, process: Any, connection: Connection[Any, Any]) -> None:
        self.process, self.connection = process, connection
        self.task: Task | None = None

    def send(self, task: Task) -> None:
        self.task = task
        # If it has died, its end is heard where its outcome would be.
        with contextlib.suppress(OSError):
            self.connection.send_bytes(msgspec.msgpack.encode(task))


class LocalPool:
    """`jobs` processes that grade; a context manager. `run` takes tasks as it needs them and yields outcomes."""

    def __init__(self, setup: Setup, chapters: tuple[str, ...], jobs: int, *, expected: int = 0) -> None:
        self.setup, self.jobs = setup, jobs
        fork = sys.platform == "linux"
        self.context: Any = multiprocessing.get_context("fork" if fork else "spawn")
        self.kit: Kit | None = Kit(setup) if fork else None
        if self.kit:
            self.kit.prepare(chapters, mistakes=expected >= MANY)
        self.processes: list[_Process] = []

    def __enter__(self) -> LocalPool:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.connection.close()
        for process in self.processes:
            process.process.join(timeout=2)
            if process.process.is_alive():
                process.process.kill()
                process.process.join()
        self.processes = []

    def _start(self) -> _Process:
        ours, theirs = self.context.Pipe()
        inherited = [ours, *(p.connection for p in self.processes)] if self.kit else []
        process = self.context.Process(target=_work, args=(theirs, self.setup, self.kit, inherited), daemon=False)
        process.start()
        theirs.close()
        started = _Process(process, ours)
        self.processes.append(started)
        return started

    def run(self, tasks: Iterator[Task], tick: Callable[[], None] = lambda: None) -> Iterator[Outcome]:
        """The outcomes of tasks as they come. A process that dies is replaced and its task is tried once more."""
        again: deque[Task] = deque()
        deaths: Counter[int] = Counter()
        while busy := self._hand_out(again, tasks):
            ready = wait([p.connection for p in busy], timeout=TICK_S)
            tick()
            for process in busy:
                if process.connection not in ready:
                    continue
                task, outcome = process.task, self._heard(process)
                assert task is not None
                process.task = None
                if outcome is None:
                    self._bury(process)
                    deaths[task.number] += 1
                    if deaths[task.number] < MAX_DEATHS:
                        again.append(task)
                        continue
                    outcome = Outcome(task.number, None, failure="the process that graded it died each time")
                # The next task goes out before this outcome is written down, so that no process waits for a disk.
                self._hand_out(again, tasks)
                yield outcome

    def _hand_out(self, again: deque[Task], tasks: Iterator[Task]) -> list[_Process]:
        """Give a task to every process that has none, starting those that are wanted; returns the ones at work."""
        idle = [p for p in self.processes if p.task is None]
        while len(self.processes) < self.jobs or idle:
            task = again.popleft() if again else next(tasks, None)
            if task is None:
                break
            (idle.pop() if idle else self._start()).send(task)
        return [p for p in self.processes if p.task is not None]

    def _heard(self, process: _Process) -> Outcome | None:
        """The outcome that a process sent, None if it died instead. Raises `SetupError` if it cannot grade at all."""
        try:
            data = process.connection.recv_bytes()
        except (EOFError, OSError):
            return None
        if data[:1] == b"!":
            raise SetupError(data[1:].decode())
        return msgspec.msgpack.decode(data[1:], type=Outcome)

    def _bury(self, process: _Process) -> None:
        self.processes.remove(process)
        process.connection.close()
        process.process.kill()
        process.process.join()


def _work(
    connection: Connection[Any, Any], setup: Setup, kit: Kit | None, inherited: list[Connection[Any, Any]]
) -> None:
    """In the process: grade what comes until the parent closes the connection."""
    for other in inherited:
        other.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    kit = kit or Kit(setup)
    try:
        kit.start()
        while True:
            task = msgspec.msgpack.decode(connection.recv_bytes(), type=Task)
            connection.send_bytes(b"." + msgspec.msgpack.encode(kit.grade(task)))
    except SetupError as error:
        connection.send_bytes(b"!" + str(error).encode())
    except (EOFError, OSError):
        pass  # the parent is done, or gone
    finally:
        kit.close()
        # Nothing of the parent's that was forked along may be finished here: no ledger, no progress bar.
        sys.stderr.flush()
        os._exit(0)
