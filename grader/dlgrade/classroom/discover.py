"""From a folder of submissions to who handed in what: one entry for every student and chapter, none dropped.

Known layouts, also mixed: files named after students; folders or repositories or zips of students; what Canvas, Moodle
and Blackboard give to download; nbgrader's `submitted/STUDENT/ASSIGNMENT/`; a folder named after a chapter around any.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Literal

import msgspec

from dlgrade.classroom.names import Who, chapter_of, normal, plain, resubmission, who
from dlgrade.classroom.tree import Found, ReadError, contents, is_zip, walk
from dlgrade.course import registry
from dlgrade.grading.submissions import size_limit

Layout = Literal["auto", "files", "folders", "nbgrader"]
State = Literal["ready", "missing", "ambiguous", "unreadable"]

SUFFIXES = (".py", ".ipynb")
# Python files in a student's folder that are no answer.
_OTHER_FILES = re.compile(r"(test_.*|.*_test|conftest|setup|autograder|noxfile|__init__|__main__)\.py", re.I)
_SHOWN_FILES = 5


class Entry(msgspec.Struct, frozen=True):
    """One student's answer to one chapter, or why there is none to grade.

    `note` says in a sentence what is unusual about it; `who` is the student as the file's name tells.
    """

    student: str
    chapter: str
    state: State
    file: Found | None = None
    note: str = ""
    who: Who = Who("")

    @property
    def path(self) -> str:
        return self.file.path if self.file else ""


class Discovery(msgspec.Struct, frozen=True):
    """What was found: entries in the order of students, and the files that belong to nobody, each with the reason."""

    entries: tuple[Entry, ...]
    unmatched: tuple[tuple[str, str], ...]


class _File(msgspec.Struct, frozen=True):
    """A file with its owner; `inner` is its path within what they handed in, `named` the chapter around it."""

    found: Found
    who: Who
    inner: tuple[str, ...]
    named: str | None


def discover(
    root: Path,
    chapters: tuple[str, ...],
    *,
    layout: Layout = "auto",
    pattern: str = "",
    roster: Iterable[str] = (),
) -> Discovery:
    """Everybody's answers to `chapters` below `root`.

    `pattern` is a regular expression whose group `student` finds the student in a path; `roster` lists students who get
    an entry even if they handed in nothing. Raises `TreeError` for a root that cannot be read.
    """
    files = walk(root)
    top: tuple[str, ...] = ()
    if layout in ("auto", "nbgrader"):
        top = ("submitted",) if any(f.parts[0] == "submitted" and len(f.parts) > 2 for f in files) else ()
    if layout == "auto" and not top:
        top = _wrapper(files)
    owned: list[_File] = []
    unmatched: list[tuple[str, str]] = []
    expression = re.compile(pattern) if pattern else None
    for found in files:
        if found.parts[: len(top)] != top or len(found.parts) == len(top):
            unmatched.append((found.path, found.problem or "it lies beside the submissions"))
            continue
        file = _by_pattern(found, expression) if expression else _owned(found, found.parts[len(top) :], layout)
        if file is None:
            unmatched.append((found.path, found.problem or _no_owner(found, expression is not None)))
        else:
            owned.append(file)
    entries, loose = _entries(owned, chapters, roster)
    return Discovery(tuple(entries), tuple(unmatched + loose))


def choose(folder: Path, chapter: str) -> Entry:
    """The answer to a chapter in a folder that is one student's; raises `TreeError` if it cannot be read."""
    files = [_File(found, Who("student"), found.parts, _around(found.parts)) for found in walk(folder)]
    return _entry("student", chapter, files, True)


def _wrapper(files: list[Found]) -> tuple[str, ...]:
    """The one folder or zip around everything, unless it looks like a student's own."""
    tops = {f.parts[0] for f in files}
    if len(tops) != 1 or any(len(f.parts) == 1 for f in files):
        return ()
    [top] = tops
    units = {f.parts[1] for f in files if len(f.parts) > 2 or f.name.endswith(SUFFIXES)}
    near = [f for f in files if len(f.parts) == 2 or f.parts[1] == "exercises"]
    its_own = any(_is_chapter(resubmission(_stem(f.name))[0]) for f in near)
    return () if its_own or len(units) < 2 or who(top) or _is_chapter(top) else (top,)


def _is_chapter(name: str) -> bool:
    chapter = chapter_of(name)
    return chapter is not None and name.lower() in (chapter, registry.stems().get(chapter))


def _by_pattern(found: Found, expression: re.Pattern[str]) -> _File | None:
    match = expression.search(found.path)
    student = normal(match["student"] or "") if match and "student" in expression.groupindex else ""
    return _File(found, Who(student), found.parts, _around(found.parts)) if student else None


def _around(parts: tuple[str, ...]) -> str | None:
    """The chapter that the nearest folder around a file names."""
    return next((chapter for part in reversed(parts[:-1]) if (chapter := chapter_of(part))), None)


def _owned(found: Found, parts: tuple[str, ...], layout: Layout) -> _File | None:
    """Whose file this is, by the first part of its path that can name a student; None if nothing does."""
    named = None
    if len(parts) > 1 and _is_chapter(parts[0]) and layout in ("auto", "files"):
        named, parts = chapter_of(parts[0]), parts[1:]
    first = parts[0]
    if len(parts) > 1 or layout in ("folders", "nbgrader"):
        if len(parts) == 1:
            return None
        owner = who(first) or who(_stem(first)) or Who(plain(_stem(first)))
        return _File(found, owner, parts[1:], _around(parts[1:]) or named or chapter_of(first))
    if downloaded := who(first):
        inner = downloaded.rest or first
        return _File(found, downloaded, (inner,), chapter_of(_stem(inner)) or named)
    if first.endswith(SUFFIXES) or is_zip(first):
        stem, number = resubmission(_stem(first))
        return _File(found, Who(plain(stem), number=number), (first,), chapter_of(stem) or named)
    return None


def _stem(name: str) -> str:
    """A name without the suffix of a submission."""
    return name[: -len(suffix)] if (suffix := PurePosixPath(name).suffix.lower()) in (*SUFFIXES, ".zip") else name


def _no_owner(found: Found, by_pattern: bool) -> str:
    if by_pattern:
        return "--student-pattern finds no student in its path"
    if found.name.endswith(SUFFIXES):
        return "it lies in no student's folder"
    return "it is no Python file, no notebook and no zip"


def _entries(
    owned: list[_File], chapters: tuple[str, ...], roster: Iterable[str]
) -> tuple[list[Entry], list[tuple[str, str]]]:
    """One entry for every student and chapter, and the files that answer none of the chapters."""
    listed = {student for student in map(normal, roster) if student}
    students: dict[str, list[_File]] = {student: [] for student in listed}
    for file in owned:
        students.setdefault(file.who.student, []).append(file)
    entries, used = [], set()
    for student, files in sorted(students.items(), key=lambda item: (item[0].casefold(), item[0])):
        for chapter in chapters:
            entry = _entry(student, chapter, files, len(chapters) == 1)
            if listed and student not in listed:
                note = f"not on the roster; {entry.note}" if entry.note else "not on the roster"
                entry = msgspec.structs.replace(entry, note=note)
            entries.append(entry)
            used.add(entry.path)
    loose = [
        (f.found.path, f.found.problem or "it is not the one that is graded, or answers another chapter")
        for f in owned
        if f.found.path not in used and f.found.name.endswith(SUFFIXES) and not _OTHER_FILES.fullmatch(f.inner[-1])
    ]
    return entries, loose


def _entry(student: str, chapter: str, files: list[_File], only: bool) -> Entry:
    """What a student handed in for one chapter; `only` says that no other chapter is asked for."""
    latest = max((f.who.number for f in files), default=0)
    owner = next((f.who for f in files if f.who.number == latest), Who(student))
    answers = [f for f in files if f.inner[-1].lower().endswith(SUFFIXES) and not _OTHER_FILES.fullmatch(f.inner[-1])]
    candidates = [f for f in answers if chapter_of(_stem(f.inner[-1])) == chapter]
    candidates = candidates or [f for f in answers if f.named == chapter and not chapter_of(_stem(f.inner[-1]))]
    if not candidates and only:
        candidates = [f for f in answers if f.named is None and not chapter_of(_stem(f.inner[-1]))]
    if not candidates:
        return _nothing(student, chapter, files, owner)
    ranked = sorted(candidates, key=lambda f: _rank(f, chapter))
    best = [f for f in ranked if _rank(f, chapter)[:-1] == _rank(ranked[0], chapter)[:-1]]
    others = [f.found.path for f in ranked[1:]]
    if len(best) > 1 and len({_digest(f.found) for f in best}) > 1:
        note = f"several files could be the answer: {_listed([f.found.path for f in best])}"
        return Entry(student, chapter, "ambiguous", None, note, owner)
    chosen = ranked[0]
    note = f"chosen before {_listed(others)}" if others else ""
    if chosen.found.problem:
        return Entry(student, chapter, "unreadable", chosen.found, chosen.found.problem, chosen.who)
    return Entry(student, chapter, "ready", chosen.found, note, chosen.who)


def _rank(file: _File, chapter: str) -> tuple[bool, bool, int, int, int, bool, str]:
    """Better answers first: the chapter's own file name, the latest, the least deep, Python before a notebook."""
    stem, again = resubmission(_stem(file.inner[-1]))
    folders = [part for part in file.inner[:-1] if part != "exercises"]
    return (
        bool(file.found.problem),
        stem != registry.stems().get(chapter),
        -file.who.number,
        len(folders),
        -again,
        file.inner[-1].lower().endswith(".ipynb"),
        file.found.path,
    )


def _nothing(student: str, chapter: str, files: list[_File], owner: Who) -> Entry:
    broken = next((f.found for f in files if f.found.problem), None)
    if broken is not None:
        return Entry(student, chapter, "unreadable", broken, broken.problem, owner)
    if not files:
        return Entry(student, chapter, "missing", note="nothing was handed in", who=owner)
    note = f"there is no file for {chapter} among {_listed([f.found.path for f in files])}"
    return Entry(student, chapter, "missing", note=note, who=owner)


def _listed(paths: list[str]) -> str:
    more = len(paths) - _SHOWN_FILES
    return ", ".join(paths[:_SHOWN_FILES]) + (f" and {more} more" if more > 0 else "")


def _digest(file: Found) -> str:
    try:
        return hashlib.sha256(contents(file, size_limit(file.name))).hexdigest()
    except ReadError:
        return file.path
