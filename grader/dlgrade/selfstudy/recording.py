"""Keeping a check in the workspace's progress, if it is the student's own answer that was checked."""

from __future__ import annotations

from pathlib import Path

from dlgrade.course.spec import Chapter
from dlgrade.grading.results import ChapterResult
from dlgrade.sandbox.session import Source
from dlgrade.selfstudy import progress
from dlgrade.selfstudy.changes import fingerprints
from dlgrade.selfstudy.workspace import answer


def is_own(root: Path, path: Path, stem: str) -> bool:
    """Whether a file is the one in which this workspace answers the chapter: no solution, no backup, nobody else's."""
    own = answer(root, stem)
    return own is not None and own.resolve() == path.resolve()


def keep(root: Path, chapter: Chapter, source: Source, result: ChapterResult, via: progress.Via) -> None:
    """Record a check of the workspace's own answer. Raises `ProgressError` if it cannot be kept."""
    try:
        found = fingerprints(chapter, source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        found = {}
    progress.record(root, chapter, result, found, via)
