"""From what a user typed to what is graded: a chapter, perhaps one exercise, and the file that holds the answer."""

from __future__ import annotations

import difflib
from pathlib import Path

import msgspec

from dlgrade.cli.errors import InputError
from dlgrade.course import registry
from dlgrade.course.spec import Chapter
from dlgrade.selfstudy.workspace import SUFFIXES, answer, find_root


class Target(msgspec.Struct, frozen=True):
    """One file to grade as one chapter, or one exercise of it."""

    chapter: Chapter
    path: Path
    exercise: str | None = None


def resolve(texts: tuple[str, ...], file: Path | None) -> list[Target]:
    """The targets named on the command line; raises `InputError` for what names nothing."""
    targets: list[Target] = []
    for text in texts:
        targets += _all(file) if text == "all" else [_one(text, file)]
    return targets


def _all(file: Path | None) -> list[Target]:
    if file is not None and not file.is_dir():
        raise InputError("`all` needs --file to be a folder that holds the chapter files")
    return [Target(chapter := registry.chapter(id), find(chapter, file)) for id in registry.stems()]


def _one(text: str, file: Path | None) -> Target:
    path = Path(text)
    if path.suffix in SUFFIXES or path.is_dir() or "/" in text:
        return _file(path)
    name, _, exercise = text.partition(":")
    chapter = named_chapter(name)
    if exercise:
        check_exercise(chapter, exercise)
    return Target(chapter, find(chapter, file), exercise or None)


def _file(path: Path) -> Target:
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a chapter and give the folder with --file, or name a file in it")
    id = registry.chapter_id(path.name)
    if id is None or id not in registry.stems():
        raise InputError(f"{path} does not say which chapter it answers: call it `ch305_....py`, or use --file")
    return Target(registry.chapter(id), path)


def named_chapter(name: str) -> Chapter:
    """The chapter called `ch305`, `305` or `ch305_loss_functions`."""
    id = registry.chapter_id(name) or name
    try:
        return registry.chapter(id)
    except registry.UnknownTarget:
        near = difflib.get_close_matches(id, [*registry.stems(), *registry.stems().values()], n=3, cutoff=0.6)
        hint = f"; did you mean {' or '.join(n[:5] for n in near)}?" if near else ""
        raise InputError(f"there is no chapter {name!r}{hint}") from None


def check_exercise(chapter: Chapter, name: str) -> None:
    """Raise `InputError` unless the chapter has this exercise."""
    if chapter.exercise(name) is None:
        names = [e.name for e in chapter.exercises]
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(names)}"
        raise InputError(f"{chapter.id} has no exercise {name!r}; {hint}")


def find(chapter: Chapter, file: Path | None) -> Path:
    """The file that answers a chapter: `file` itself, or the chapter's file in a folder, workspace or ./exercises."""
    if file is not None and not file.is_dir():
        return file
    here = Path.cwd()
    folders = [file] if file is not None else [f for f in (find_root(here), here / "exercises") if f is not None]
    for folder in folders:
        path = answer(folder, chapter.stem)
        if path is not None:
            return path
    places = " or ".join(str(f) for f in folders)
    raise InputError(
        f"there is no {chapter.stem}.py in {places}; make a workspace with `dlgrade init`, or name the file with --file"
    )
