"""What an autograder that `dlgrade gradescope build` made does in Gradescope's container."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from dlgrade.classroom.discover import choose
from dlgrade.classroom.tree import ReadError, TreeError
from dlgrade.course import registry
from dlgrade.grading.grader import Grader
from dlgrade.grading.results import ChapterResult
from dlgrade.grading.seeds import Seed, public_seed, secret_seed
from dlgrade.grading.submissions import SubmissionError
from dlgrade.report import gradescope
from dlgrade.report.json import dump
from dlgrade.report.safe import head
from dlgrade.sandbox.launch import launcher

STOPPED = (
    "The autograder was stopped before it was done, most likely because the code takes too long. "
    "Is there a loop that does not end?"
)


def main(root: Path, *, chapter: str, seed: int | None, visibility: Any, reveal: bool) -> None:
    """Grade the container's submission. If the grader itself fails it leaves no result, and Gradescope says so."""
    results = root / "results" / "results.json"
    drawn_from = _seed(root, seed)
    # If the container is stopped, this is what stands.
    _write(results, _nothing(chapter, STOPPED, visibility))
    try:
        _write(results, _graded(root / "submission", chapter, drawn_from, visibility, reveal))
    except BaseException as error:
        results.unlink(missing_ok=True)
        print(f"the grader itself failed: {type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(3)


def _seed(root: Path, seed: int | None) -> Seed:
    """The seed. A secret is deleted before student code runs, for not every container has walls."""
    if seed is not None:
        return public_seed(seed)
    path = root / "source" / "seed"
    secret = secret_seed(path)
    path.unlink()
    return secret


def _graded(folder: Path, chapter: str, seed: Seed, visibility: Any, reveal: bool) -> str:
    from dlgrade.classroom.run import read

    try:
        entry = choose(folder, chapter)
        if entry.state != "ready":
            return _nothing(chapter, entry.note, visibility)
        submission = read(entry)
    except (TreeError, ReadError, SubmissionError) as error:
        return _nothing(chapter, str(error), visibility)
    started = launcher("auto")
    try:
        grader = Grader(registry.chapter(chapter), seed, started, reveal=reveal)
        result: ChapterResult = grader.grade(submission.source, sha256=submission.sha256)
    finally:
        started.close()
    return gradescope.render(result, visibility=visibility)


def _nothing(chapter: str, why: str, visibility: Any) -> str:
    """A result without tests: nothing could be graded."""
    said = head(f"{chapter}: nothing could be graded: {why}" if why is not STOPPED else why)
    return dump({"score": 0, "output": said, "output_format": "text", "visibility": visibility, "tests": []})


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
