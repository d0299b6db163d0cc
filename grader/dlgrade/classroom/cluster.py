"""Grading by the workers of a dask cluster: the same code, the same walls, on every machine.

The seed travels with the tasks, through the scheduler: secure the cluster with dask's own TLS settings where the
network is not yours. A worker that is lost is made up for by the others, and by new ones.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from dlgrade.classroom.work import Kit, Outcome, Setup, SetupError, Task

CONNECT_S = 8
TICK_S = 1.0
LOOK_S = 5.0
# Tasks under way for each thread of the cluster: enough that none waits, few enough that memory stays flat.
AT_HAND = 3

_kits = threading.local()


def grade_there(setup: bytes, task: bytes) -> bytes:
    """On a worker: grade one submission. Every thread keeps a kit of its own while the run's setup is the same."""
    digest = hashlib.sha256(setup).digest()
    if getattr(_kits, "digest", None) != digest:
        if (old := getattr(_kits, "kit", None)) is not None:
            old.close()
        _kits.kit, _kits.digest = Kit(msgspec.msgpack.decode(setup, type=Setup)), digest
    kit: Kit = _kits.kit
    return msgspec.msgpack.encode(kit.grade(msgspec.msgpack.decode(task, type=Task)))


class ClusterPool:
    """The cluster behind a scheduler's address; a context manager. Raises `SetupError` if nobody answers there."""

    def __init__(self, setup: Setup, address: str) -> None:
        try:
            from distributed import Client
        except ImportError:
            raise SetupError("--cluster needs dask: pip install 'dlgrade[cluster]'") from None
        self.setup = msgspec.msgpack.encode(setup)
        try:
            self.client: Any = Client(address, timeout=CONNECT_S)
        except (OSError, ValueError, TimeoutError) as error:
            raise SetupError(f"no dask scheduler answers at {address}: {error}") from None
        self.address = address

    def __enter__(self) -> ClusterPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def _threads(self) -> int:
        """The cluster's threads; waits a while for a first worker."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        if not workers:
            try:
                self.client.wait_for_workers(1, timeout=4 * CONNECT_S)
            except TimeoutError:
                raise SetupError(f"the scheduler at {self.address} has no workers") from None
            workers = self.client.scheduler_info(n_workers=-1)["workers"]
        return sum(worker["nthreads"] for worker in workers.values())

    def run(self, tasks: Iterator[Task], tick: Callable[[], None] = lambda: None) -> Iterator[Outcome]:
        """The outcomes of tasks as they come; dask gives a lost worker's tasks to others."""
        finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
        waiting: dict[str, tuple[Any, int]] = {}
        more, window, looked = True, 0, -LOOK_S
        while True:
            if time.monotonic() - looked > LOOK_S:
                # Workers come and go.
                window, looked = AT_HAND * self._threads(), time.monotonic()
            while more and len(waiting) < window:
                task = next(tasks, None)
                if task is None:
                    more = False
                else:
                    future = self.client.submit(grade_there, self.setup, msgspec.msgpack.encode(task), pure=False)
                    waiting[future.key] = future, task.number
                    future.add_done_callback(finished.put)
            if not waiting:
                return
            tick()
            try:
                future = finished.get(timeout=TICK_S)
            except queue.Empty:
                continue
            if future.key in waiting:
                yield self._outcome(*waiting.pop(future.key))

    def _outcome(self, future: Any, number: int) -> Outcome:
        from distributed import KilledWorker

        try:
            return msgspec.msgpack.decode(future.result(), type=Outcome)
        except SetupError as error:
            raise SetupError(f"a worker of {self.address}: {error}") from None
        except KilledWorker:
            return Outcome(number, None, failure="the workers that graded it died each time")
        except Exception as error:
            return Outcome(number, None, failure=f"a worker failed: {type(error).__name__}: {error}"[:500])
        finally:
            future.release()
