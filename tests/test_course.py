"""Laws over all chapters: what `dlgrade author verify` finds, on a few seeds."""

from __future__ import annotations

import pytest
from dlgrade.authoring.verify import verify
from dlgrade.course import registry
from dlgrade.sandbox.launch import Launcher

SEEDS = 3


@pytest.mark.parametrize("id", registry.stems())
def test_chapter_keeps_the_law(id: str, nursery: Launcher) -> None:
    report = verify(registry.chapter(id), nursery, seeds=SEEDS, training_seeds=1, tell=lambda _: None)
    assert report.ok, "\n".join(report.problems)


@pytest.mark.parametrize("id", registry.stems())
def test_chapter_builds_on_earlier_chapters(id: str) -> None:
    assert all(other < id for other in registry.chapter(id).builds_on)
