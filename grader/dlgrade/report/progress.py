"""How far a long run is, on standard error: a bar with rate and time left on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from typing import Any

from dlgrade.report.safe import one_line

REFRESH_S = 0.1
LINE_EVERY_S = 30.0


class Progress:
    """Counts what is done; a context manager. No thread draws it, so that processes may be forked meanwhile."""

    def __init__(self, total: int, what: str) -> None:
        self.total, self.what = total, what
        self.kept_count = self.done_count = self.failed_count = 0
        self.started = self.drawn = time.monotonic()
        self.bar: Any = None
        self.task: Any = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty() and self.total:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(),
                TextColumn("{task.fields[left]}"),
            )
            self.bar = Bar(*columns, console=Console(stderr=True), auto_refresh=False, transient=True)
            self.bar.start()
            self.task = self.bar.add_task(self.what, total=self.total, rate="", left="")
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def rate(self) -> float:
        """Submissions graded a second, those that were kept not counted."""
        return (self.done_count + self.failed_count) / max(self.seconds, 1e-9)

    def kept(self) -> None:
        self.kept_count += 1
        self.tick()

    def done(self) -> None:
        self.done_count += 1
        self.tick()

    def failed(self, entry: Any, why: str) -> None:
        self.failed_count += 1
        self.say(f"not graded: {entry.path or entry.student}: {why}")

    def say(self, text: str) -> None:
        """A line of its own, above the bar."""
        if self.bar is not None:
            self.bar.console.print(one_line(text), markup=False, highlight=False)
        else:
            sys.stderr.write(f"{one_line(text)}\n")

    def tick(self) -> None:
        """Draw, if it is time to."""
        now = time.monotonic()
        if now - self.drawn < (REFRESH_S if self.bar is not None else LINE_EVERY_S):
            return
        self.drawn = now
        finished = self.kept_count + self.done_count + self.failed_count
        rate = f"{self.rate:.1f}/s"
        left = f"{_span((self.total - finished) / self.rate)} left" if self.rate > 0 and finished < self.total else ""
        if self.bar is not None:
            self.bar.update(self.task, completed=finished, rate=rate, left=left)
            self.bar.refresh()
        else:
            sys.stderr.write(f"{self.what}: {finished} of {self.total}, {rate}{', ' + left if left else ''}\n")
            sys.stderr.flush()


def _span(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
