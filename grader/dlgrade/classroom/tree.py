"""The files below a folder of submissions, zips opened in place: nothing is ever extracted, no link is followed.

A zip is read as if it were a folder. A member's name is only ever compared and shown, never opened, so no path can
leave the zip; what is read of it is bounded, whatever size it claims to have.
"""

from __future__ import annotations

import io
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import msgspec

from dlgrade.report.safe import encodable

MAX_DEPTH = 16
MAX_FILES = 2_000_000
MAX_MEMBERS = 500_000
MAX_INNER_MEMBERS = 20_000
MAX_INNER_ZIP_BYTES = 64 << 20
MAX_NESTED_ZIPS = 2

# Folders that hold no student's answer, whoever made them.
IGNORED = frozenset(
    ("__pycache__", "__MACOSX", "node_modules", "venv", "env", "site-packages", "build", "dist", "$RECYCLE.BIN")
)

# What reading a damaged or hostile zip has been seen to raise.
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, ValueError)


class TreeError(ValueError):
    """The folder to look through cannot be looked through; the message is one sentence."""


class Found(msgspec.Struct, frozen=True):
    """One file: where it lies below the root, and how to get at it.

    `parts` is its path, a zip standing for a folder; `disk` is the file on disk, and `members` the names to follow
    inside it when that is a zip. `problem` says why it will not be read.
    """

    parts: tuple[str, ...]
    disk: str
    members: tuple[str, ...] = ()
    problem: str = ""

    @property
    def name(self) -> str:
        return self.parts[-1]

    @property
    def path(self) -> str:
        """The path to show and to store; a name that is no text is written out."""
        return encodable("/".join(self.parts))


class ReadError(ValueError):
    """A file that was found and cannot be read; the message is one sentence."""


def walk(root: Path) -> list[Found]:
    """Every file below a folder, or in a zip, in the order of their paths; raises `TreeError` if there is none."""
    if not root.exists():
        raise TreeError(f"there is no folder {root}")
    try:
        if root.is_dir():
            found = list(_folder(os.fspath(root), ()))
        elif zipfile.is_zipfile(root):
            found = list(_zip(os.fspath(root), (), ()))
        else:
            raise TreeError(f"{root} is neither a folder nor a zip")
    except OSError as error:
        raise TreeError(f"{root} cannot be read: {error.strerror}") from None
    if len(found) > MAX_FILES:
        raise TreeError(f"{root} holds more than {MAX_FILES} files")
    return sorted(found, key=lambda file: file.parts)


def is_zip(name: str) -> bool:
    return name.lower().endswith(".zip")


def _ignored(name: str) -> bool:
    return name.startswith(".") or name in IGNORED


def _folder(folder: str, parts: tuple[str, ...]) -> Iterator[Found]:
    with os.scandir(folder) as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    for entry in entries:
        if _ignored(entry.name):
            continue
        here = (*parts, entry.name)
        if entry.is_symlink():
            yield Found(here, entry.path, problem="it is a symbolic link, and those are not followed")
        elif entry.is_dir(follow_symlinks=False):
            if len(here) >= MAX_DEPTH:
                yield Found(here, entry.path, problem="folders are nested too deeply")
            else:
                yield from _readable_folder(entry.path, here)
        elif not entry.is_file(follow_symlinks=False):
            yield Found(here, entry.path, problem="it is not an ordinary file")
        elif is_zip(entry.name):
            yield from _zip(entry.path, (), here)
        else:
            yield Found(here, entry.path)


def _readable_folder(path: str, parts: tuple[str, ...]) -> Iterator[Found]:
    try:
        yield from _folder(path, parts)
    except OSError as error:
        yield Found(parts, path, problem=f"the folder cannot be read: {error.strerror}")


def _zip(disk: str, members: tuple[str, ...], parts: tuple[str, ...]) -> Iterator[Found]:
    try:
        archive = opened(disk, members)
        infos = archive.infolist()
    except ReadError as error:
        yield Found(parts, disk, members, problem=str(error))
        return
    if len(infos) > (MAX_INNER_MEMBERS if members or parts else MAX_MEMBERS):
        yield Found(parts, disk, members, problem=f"the zip holds {len(infos)} files, which no submission needs")
        return
    for info in infos:
        yield from _member(info, disk, members, parts)


def _member(info: zipfile.ZipInfo, disk: str, members: tuple[str, ...], parts: tuple[str, ...]) -> Iterator[Found]:
    name = info.filename.replace("\\", "/")
    inside = tuple(part for part in name.split("/") if part not in ("", "."))
    if info.is_dir() or not inside or any(_ignored(part) for part in inside if part != ".."):
        return
    here = (*parts, *(part for part in inside if part != ".."))
    where = (*members, info.filename)
    if name.startswith("/") or ".." in inside or inside[0].endswith(":"):
        yield Found(here or (disk,), disk, where, problem="its path in the zip leads out of the zip")
    elif stat.S_ISLNK(info.external_attr >> 16):
        yield Found(here, disk, where, problem="it is a symbolic link, and those are not followed")
    elif len(here) > MAX_DEPTH:
        yield Found(here, disk, where, problem="folders are nested too deeply")
    elif not is_zip(name):
        yield Found(here, disk, where)
    elif len(where) >= MAX_NESTED_ZIPS:
        yield Found(here, disk, where, problem="it is a zip in a zip in a zip")
    else:
        yield from _zip(disk, where, here)


@lru_cache(maxsize=4)
def opened(disk: str, members: tuple[str, ...]) -> zipfile.ZipFile:
    """A zip on disk, or the one that `members` leads to inside it; a few stay open, for members are read in turn."""
    try:
        if not members:
            return zipfile.ZipFile(disk)
        return zipfile.ZipFile(io.BytesIO(_inside(disk, members, MAX_INNER_ZIP_BYTES)))
    except ZIP_ERRORS as error:
        raise ReadError(f"it is no zip that can be read ({_said(error)})") from None


def contents(file: Found, limit: int) -> bytes:
    """The bytes of a file; raises `ReadError` if it cannot be read or is larger than `limit`."""
    if file.problem:
        raise ReadError(file.problem)
    if file.members:
        return _inside(file.disk, file.members, limit)
    try:
        descriptor = os.open(file.disk, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as stream:
            return _bounded(stream.read(limit + 1), limit)
    except OSError as error:
        raise ReadError(f"it cannot be read: {error.strerror}") from None


def _inside(disk: str, members: tuple[str, ...], limit: int) -> bytes:
    archive = opened(disk, members[:-1])
    try:
        with archive.open(members[-1]) as stream:
            return _bounded(stream.read(limit + 1), limit)
    except (*ZIP_ERRORS, KeyError) as error:
        raise ReadError(f"it cannot be read from its zip ({_said(error)})") from None


def _bounded(data: bytes, limit: int) -> bytes:
    if len(data) > limit:
        raise ReadError(f"it is larger than {limit >> 20} MiB, which no exercise needs")
    return data


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).split("\n")[0][:100] or type(error).__name__
