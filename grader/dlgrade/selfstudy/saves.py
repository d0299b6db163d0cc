"""Noticing that a file was saved: at once where the system reports changes, within a second everywhere else.

Reports and clock alike only say that it is time to look; a file counts as saved when its size, time or inode changed.
So folders that report nothing (network folders, some containers) need no setting, and noise costs nothing.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

STEP_MS = 10
LOOK_MS = 1000
POLL_S = 0.25

Signature = tuple[int, int, int] | None


def signature(path: Path) -> Signature:
    """What changes when a file is saved; None for a file that is not there."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


class Saves(threading.Thread):
    """Tells which of some files were saved, until `stop`. `files` may give other paths each time it is asked."""

    def __init__(
        self, files: Callable[[], Mapping[str, Path]], tell: Callable[[str, Path], None], *, poll: bool = False
    ) -> None:
        super().__init__(daemon=True, name="saves")
        self.files, self.tell, self.poll = files, tell, poll
        self.stopping = threading.Event()
        self.seen = {path: signature(path) for path in files().values()}

    def run(self) -> None:
        for _ in self._moments():
            self.look()

    def look(self) -> None:
        """Compare every file with how it was, and tell of those that changed."""
        for name, path in self.files().items():
            now = signature(path)
            if now != self.seen.get(path):
                self.seen[path] = now
                self.tell(name, path)

    def stop(self) -> None:
        self.stopping.set()

    def _moments(self) -> Iterator[None]:
        """Yields when something may have changed, and now and then in any case."""
        if not self.poll:
            # Where there are no reports to be had, watchfiles raises one of these, and the clock goes on alone.
            with contextlib.suppress(ImportError, OSError, RuntimeError):
                yield from self._reports()
        while not self.stopping.wait(POLL_S):
            yield

    def _reports(self) -> Iterator[None]:
        from watchfiles import watch

        folders = {path.parent for path in self.files().values()}
        for _ in watch(
            *folders,
            watch_filter=None,
            step=STEP_MS,
            debounce=10 * STEP_MS,
            rust_timeout=LOOK_MS,
            yield_on_timeout=True,
            stop_event=self.stopping,
            raise_interrupt=False,
            recursive=False,
        ):
            yield
