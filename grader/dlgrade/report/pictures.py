"""Pictures: drawn by matplotlib in this process, from the answers of the student's functions in theirs."""

from __future__ import annotations

import io
from typing import Any

import msgspec

from dlgrade.course.compare import Failure
from dlgrade.course.spec import Chapter
from dlgrade.grading.grader import asked_for, solution
from dlgrade.grading.student import SandboxStudent
from dlgrade.sandbox.launch import Launcher
from dlgrade.sandbox.session import Session, Source

SIZE_INCHES = (9.0, 4.5)
CPU_S = 60.0


class NoPicture(ValueError):
    """Why a picture cannot be drawn, in one sentence."""


def picture(chapter: Chapter, source: Source, launcher: Launcher, *, format_name: str, dpi: int = 150) -> bytes:
    """The chapter's picture from a student's code, as an image file's bytes. Raises `NoPicture`."""
    if source.filename.endswith(".ipynb"):
        source = msgspec.structs.replace(source, wanted=tuple(sorted(asked_for(chapter.exercises))))
    with Session(launcher, source) as session:
        student = SandboxStudent(session, solution(chapter.id).signatures)
        student.cpu_s = CPU_S
        try:
            return draw(chapter, student, format_name=format_name, dpi=dpi)
        except Failure as failure:
            raise NoPicture(f"the picture needs your functions to work first: {failure.text}") from None
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError):
            raise NoPicture(
                f"the picture needs right answers first; `dlgrade check {chapter.id}` says what is not"
            ) from None


def draw(chapter: Chapter, student: Any, *, format_name: str = "png", dpi: int = 150) -> bytes:
    """The picture of whatever `student` answers. What its functions fail at is raised as it comes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    figure.suptitle(chapter.picture.title)
    chapter.picture.draw(student, figure)
    image = io.BytesIO()
    metadata = {"Date": None} if format_name == "svg" else {}
    figure.savefig(image, format=format_name, dpi=dpi, metadata=metadata)
    return image.getvalue()
