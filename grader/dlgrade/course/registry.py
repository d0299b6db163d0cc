"""Which chapters there are, and where their files lie."""

from __future__ import annotations

import difflib
import importlib
import re
from functools import cache
from pathlib import Path

from dlgrade.course.spec import Chapter

_PACKAGE = Path(__file__).parent / "chapters"


class UnknownTarget(ValueError):
    """A name that is no chapter or exercise; the message suggests near ones."""


@cache
def stems() -> dict[str, str]:
    """The chapters' ids in course order, each with the name its files share: `{"ch305": "ch305_loss_functions"}`."""
    return {path.stem[:5]: path.stem for path in sorted(_PACKAGE.glob("ch[0-9][0-9][0-9]_*.py"))}


@cache
def chapter(id: str) -> Chapter:
    """The chapter with this id; raises `UnknownTarget` if there is none."""
    known = stems()
    if id not in known:
        near = difflib.get_close_matches(id, known, n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise UnknownTarget(f"there is no chapter {id!r}.{hint}")
    found: Chapter = importlib.import_module(f"dlgrade.course.chapters.{known[id]}").CHAPTER
    return found


def chapter_id(text: str) -> str | None:
    """The chapter id at the start of a name: `ch305`, `305` or `ch305_loss_functions.py` give `ch305`."""
    match = re.match(r"(?:ch)?(3\d\d)(?!\d)", text, re.IGNORECASE)
    return f"ch{match[1]}" if match else None


def content_folder(kind: str) -> Path:
    """The folder of `exercises` or `solutions`: inside an installed package, or beside it in the repository."""
    packaged = Path(__file__).parents[1] / "content" / kind
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / kind


def exercise_file(chapter: Chapter) -> Path:
    return content_folder("exercises") / f"{chapter.stem}.py"


def solution_file(chapter: Chapter) -> Path:
    return content_folder("solutions") / f"{chapter.stem}.py"
