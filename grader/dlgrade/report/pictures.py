"""Pictures: drawn by matplotlib in this process, from the answers of the student's functions in theirs."""

from __future__ import annotations

import io
from typing import Any

from dlgrade.course.spec import Chapter

SIZE_INCHES = (9.0, 4.5)


def draw(chapter: Chapter, student: Any, *, format_name: str = "png", dpi: int = 150) -> bytes:
    """The chapter's picture as an image file's bytes. What the student's functions fail at is raised as it comes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    figure.suptitle(chapter.picture.title)
    chapter.picture.draw(student, figure)
    image = io.BytesIO()
    metadata = {"Date": None} if format_name == "svg" else {}
    figure.savefig(image, format=format_name, dpi=dpi, metadata=metadata)
    return image.getvalue()
