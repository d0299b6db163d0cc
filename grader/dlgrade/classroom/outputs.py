"""The files of a graded class in its output folder: each streamed from the ledger, each there whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import msgspec

from dlgrade.report.canvas import SheetError
from dlgrade.report.rows import Grade, Reveal

NAMES = ("csv", "canvas", "moodle", "jsonl", "junit", "class", "feedback", "gradescope")

Grades = Callable[[], Iterator[Grade]]


class OutputError(Exception):
    """A file that cannot be read or written; the message is one sentence."""


class Request(msgspec.Struct, frozen=True):
    """What to write, and the learning platforms' own exports to fill in, if any."""

    names: tuple[str, ...] = NAMES
    reveal: Reveal = "mistake"
    class_name: str = ""
    canvas_export: Path | None = None
    moodle_worksheet: Path | None = None


def write_all(folder: Path, grades: Grades, request: Request) -> list[str]:
    """Write the files that are asked for; returns sentences an instructor should read. Raises `OutputError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror}") from None
    remarks: list[str] = []
    for name in request.names:
        remarks += _WRITERS[name](folder, grades, request)
    return remarks


def _csv(folder: Path, grades: Grades, request: Request) -> list[str]:
    from dlgrade.report import sheet

    with whole(folder / "grades.csv") as stream:
        sheet.write(stream, sheet.grades(grades()))
    return []


def _canvas(folder: Path, grades: Grades, request: Request) -> list[str]:
    from dlgrade.report import canvas

    export = request.canvas_export
    if export is None:
        return _table(folder / "canvas.csv", canvas.fresh(grades()), [], "")
    with _naming(export):
        table, lost = canvas.filled(read_table(export), grades())
    return _table(folder / "canvas.csv", table, lost, str(export))


def _moodle(folder: Path, grades: Grades, request: Request) -> list[str]:
    from dlgrade.report import moodle

    worksheet = request.moodle_worksheet
    if worksheet is None:
        return _table(folder / "moodle.csv", moodle.fresh(grades(), request.reveal), [], "")
    with _naming(worksheet):
        table, lost = moodle.filled(read_table(worksheet), grades(), request.reveal)
    return _table(folder / "moodle.csv", table, lost, str(worksheet))


def _table(path: Path, table: Sequence[Sequence[object]], lost: list[str], source: str) -> list[str]:
    from dlgrade.report import sheet

    with whole(path) as stream:
        sheet.write(stream, table)
    if not lost:
        return []
    more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
    return [f"{len(lost)} graded students are not in {source}: {', '.join(lost[:5])}{more}"]


def _jsonl(folder: Path, grades: Grades, request: Request) -> list[str]:
    from dlgrade.report import jsonl

    with whole(folder / "results.jsonl") as stream:
        stream.writelines(map(jsonl.line, grades()))
    return []


def _junit(folder: Path, grades: Grades, request: Request) -> list[str]:
    from dlgrade.report import class_junit

    with whole(folder / "junit.xml") as stream:
        stream.writelines(class_junit.pieces(lambda: (grade.row for grade in grades())))
    return []


def _class(folder: Path, grades: Grades, request: Request) -> list[str]:
    from dlgrade.report import class_page, class_summary

    with whole(folder / "class.html") as stream:
        stream.write(class_page.render(class_summary.summaries(grades()), request.class_name))
    return []


def _feedback(folder: Path, grades: Grades, request: Request) -> list[str]:
    from dlgrade.report import feedback

    names = []
    for grade in grades():
        name = feedback.file_name(grade.row.student, grade.row.chapter)
        with whole(_inside(folder, "feedback") / name) as stream:
            stream.write(feedback.render(grade, request.reveal))
        names.append((grade.row.student, grade.row.chapter, name))
    return _table(_inside(folder, "feedback") / "index.csv", [("student", "chapter", "file"), *names], [], "")


def _gradescope(folder: Path, grades: Grades, request: Request) -> list[str]:
    from dlgrade.report import feedback, gradescope

    for grade in grades():
        if grade.row.result is not None:
            name = feedback.file_name(grade.row.student, grade.row.chapter).removesuffix(".html")
            with whole(_inside(folder, "gradescope") / f"{name}.json") as stream:
                stream.write(gradescope.render(grade.row.result))
    return []


_WRITERS: dict[str, Callable[[Path, Grades, Request], list[str]]] = {
    "csv": _csv,
    "canvas": _canvas,
    "moodle": _moodle,
    "jsonl": _jsonl,
    "junit": _junit,
    "class": _class,
    "feedback": _feedback,
    "gradescope": _gradescope,
}


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be made: {error.strerror}") from None
    return path


@contextlib.contextmanager
def whole(path: Path) -> Iterator[IO[str]]:
    """A text file to write that replaces `path` when it is complete, and not before; raises `OutputError`."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        beside.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except SheetError as error:
        raise OutputError(f"{path} cannot be filled in: {error}") from None


def read_table(path: Path) -> list[list[str]]:
    """A CSV table that a platform exported."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return [row for row in csv.reader(stream) if row]
    except OSError as error:
        raise OutputError(f"{path} cannot be read: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise OutputError(f"{path} is no CSV table in UTF-8: {error}") from None


def students(path: Path) -> Iterable[str]:
    """The students on a roster: the column `student` of a CSV table, or else its first."""
    table = read_table(path)
    head = [name.strip().lower() for name in table[0]] if table else []
    column = head.index("student") if "student" in head else 0
    rows = table[1:] if "student" in head else table
    return [row[column] for row in rows if column < len(row)]
