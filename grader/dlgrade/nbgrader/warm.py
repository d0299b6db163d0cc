"""What grading keeps between submissions: the nursery, and each chapter's drawn inputs and expected values."""

from __future__ import annotations

import atexit
from typing import Any

from dlgrade.course import registry
from dlgrade.grading.grader import Grader
from dlgrade.grading.results import ChapterResult
from dlgrade.grading.seeds import Seed
from dlgrade.sandbox.launch import Launcher, SandboxError, launcher
from dlgrade.sandbox.session import Source


class Warm:
    """One nursery and its graders, for one process that grades one notebook after another."""

    def __init__(self, sandbox: Any) -> None:
        self.sandbox = sandbox
        self.launcher: Launcher | None = None
        self.graders: dict[tuple[str, bytes, bool], Grader] = {}
        atexit.register(self.close)

    def grade(self, chapter_id: str, source: Source, seed: Seed, *, reveal: bool) -> ChapterResult:
        """Grade one notebook's code; raises `SandboxError`, after which the next one starts afresh."""
        try:
            if self.launcher is None:
                self.launcher = launcher(self.sandbox)
            key = (chapter_id, seed.key, reveal)
            if key not in self.graders:
                self.graders[key] = Grader(registry.chapter(chapter_id), seed, self.launcher, reveal=reveal)
            return self.graders[key].grade(source)
        except SandboxError:
            self.close()
            raise

    def close(self) -> None:
        if self.launcher is not None:
            self.launcher.close()
        self.launcher = None
        self.graders.clear()
