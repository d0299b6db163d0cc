"""Who handed a file in, from the names that learning platforms give to what is downloaded from them.

The platform's own part of a name comes first and is matched from the left, so that nothing a student calls a file can
make it somebody else's.

Canvas      doejane_LATE_41_9001_ch305-2.py                      name, user, submission, the student's file name
Moodle      Jane Doe_77_assignsubmission_file_[/]ch305.py        name, participant, the student's file name
Blackboard  Homework 5_jdoe_attempt_2026-10-01-12-00-00_ch305.py assignment, user, time, the student's file name
"""

from __future__ import annotations

import re
import unicodedata

import msgspec

from dlgrade.course import registry
from dlgrade.report.safe import encodable

_CANVAS = re.compile(r"(?P<name>[^_\d][^_]*)_(?:late_)?(?P<id>\d+)_(?P<number>\d+)_(?P<rest>.+)", re.I | re.S)
_MOODLE = re.compile(r"(?P<name>.+?)_(?P<id>\d+)_assignsubmission_(?:file|onlinetext)(?:_(?P<rest>.*))?", re.S)
_BLACKBOARD = re.compile(r".+?_(?P<name>[^_]+)_attempt_\d{4}(?:-\d\d){5}(?:_(?P<rest>.+)|\.(?P<kind>.+))", re.S)
# `ch305`, `chapter-305`, or a name that is nothing but the number or starts with it.
_CHAPTER = re.compile(r"(?<![a-z0-9])ch(?:apter)?[ _-]?(3\d\d)(?!\d)|^(3\d\d)(?=[ _.-]|$)", re.I)
_RESUBMITTED = re.compile(r"(?:-(\d{1,3})| \((\d{1,3})\))$")


class Who(msgspec.Struct, frozen=True):
    """A student as a name tells: the key they have in the ledger, and the platform's number for them.

    `rest` is what the student called the file, empty for a folder; `number` grows with each time they handed in.
    """

    student: str
    rest: str = ""
    system: str = ""
    id: str = ""
    number: int = 0


def normal(text: str) -> str:
    """A name in the one form it has in the ledger, whatever system wrote it."""
    return unicodedata.normalize("NFC", encodable(text)).strip()


def who(name: str) -> Who | None:
    """The student in the name of a downloaded file or folder; None if no platform made it."""
    if match := _MOODLE.fullmatch(name):
        return Who(normal(f"{match['name']}_{match['id']}"), match["rest"] or "", "moodle", match["id"])
    if match := _CANVAS.fullmatch(name):
        number = int(match["number"][:18])
        return Who(normal(f"{match['name']}_{match['id']}"), match["rest"], "canvas", match["id"], number)
    if match := _BLACKBOARD.fullmatch(name):
        return Who(normal(match["name"]), match["rest"] or f".{match['kind']}", "blackboard", match["name"])
    return None


def plain(name: str) -> str:
    """The student whom a file or folder is simply named after, without the chapter: `ch305-jane` is `jane`.

    A name with something on both sides of the chapter stays whole, for either side may be the class's.
    """
    match = _CHAPTER.search(name)
    if match is None:
        return normal(name)
    slug = registry.stems().get(f"ch{match[1] or match[2]}", "")[6:].replace("_", "[ _-]")
    before = name[: match.start()].strip(" _-.")
    after = re.sub(f"^[ _-]{slug}(?![a-z])", "", name[match.end() :], flags=re.I).strip(" _-.")
    return normal(name if before and after else before or after or name)


def chapter_of(name: str) -> str | None:
    """The chapter that a name speaks of, `ch305`, or None."""
    match = _CHAPTER.search(name)
    return f"ch{match[1] or match[2]}" if match else None


def resubmission(stem: str) -> tuple[str, int]:
    """A file name's stem without the number that platforms and browsers append, and that number (0 for none)."""
    match = _RESUBMITTED.search(stem)
    return (stem[: match.start()], int(match[1] or match[2])) if match else (stem, 0)
