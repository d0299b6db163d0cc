"""What determines a score besides the submission and the seed, as one hash: when it changes, a regrade is due.

It covers the source of the chapter, of its solution (from which mistakes are built) and of every module of the grader,
the sandbox, the course and the reference that these import, directly or not; writers and commands are not among them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from functools import cache
from pathlib import Path

from dlgrade import __version__
from dlgrade.course import registry

_ROOTS = ("dlgrade.grading.grader", "dlgrade.grading.submissions", "dlgrade.sandbox.nursery")
_OURS = ("dlgrade.course.", "dlgrade.grading.", "dlgrade.sandbox.", "dlreference.")
# Reading the sources takes a tenth of the time that parsing them does, and finds no fewer of our own imports.
_IMPORT = re.compile(r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n]+)|import[ \t]+([^\n]+))", re.M)


@cache
def checks_version(chapter_id: str) -> str:
    """Sixteen hexadecimal digits; the same on every machine that has the same sources."""
    chapter = registry.chapter(chapter_id)
    digest = hashlib.blake2b(__version__.encode(), digest_size=8)
    for name in sorted(_closure((*_ROOTS, f"dlgrade.course.chapters.{chapter.stem}"))):
        _add(digest, name, _source(name))
    _add(digest, "solution", registry.solution_file(chapter).read_text(encoding="utf-8"))
    return digest.hexdigest()


def _add(digest: hashlib.blake2b, name: str, text: str) -> None:
    data = text.encode()
    digest.update(f"{name} {len(data)}\n".encode())
    digest.update(data)


def _closure(names: tuple[str, ...]) -> set[str]:
    """The modules of ours that these import, with themselves."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _imports(name)
    return found


@cache
def _file(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec and spec.origin else None


@cache
def _source(name: str) -> str:
    path = _file(name)
    assert path is not None
    return path.read_text(encoding="utf-8")


@cache
def _imports(name: str) -> tuple[str, ...]:
    """Modules of ours that a module names in its imports, wherever they stand in it."""
    named: list[str] = []
    for package, names, plain in _IMPORT.findall(_source(name)):
        listed = re.findall(r"[\w.]+", names or plain)
        named += [package, *(f"{package}.{one}" for one in listed)] if package else listed
    return tuple(n for n in named if f"{n}.".startswith(_OURS) and _file(n) is not None)
