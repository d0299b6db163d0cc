"""The data sets that ship with the course are the files that SOURCES.md describes, and say what they are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dlgrade.course import data
from dlgrade.course.data.images import digits, mnist_5k

FOLDER = Path(data.__file__).parent
FILES = sorted(p for p in FOLDER.iterdir() if p.is_file() and p.suffix not in (".py", ".md"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_source_licence_and_hash_are_stated(path: Path) -> None:
    sections = (FOLDER / "SOURCES.md").read_text(encoding="utf-8").split("\n## ")
    [section] = [s for s in sections if s.startswith(path.name)]
    assert "Licence:" in section
    assert hashlib.sha256(path.read_bytes()).hexdigest() in section


@pytest.mark.parametrize(
    ("read", "shape", "highest", "fewest"), [(mnist_5k, (5000, 28, 28), 255, 500), (digits, (1797, 8, 8), 16, 174)]
)
def test_images(read: Callable[[], Any], shape: tuple[int, ...], highest: int, fewest: int) -> None:
    images, labels = read()
    assert images.shape == shape
    assert images.dtype == np.uint8
    assert (images.min(), images.max()) == (0, highest)
    assert labels.dtype == np.int64
    counts = np.bincount(labels)
    assert len(counts) == 10
    assert counts.min() == fewest
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0
