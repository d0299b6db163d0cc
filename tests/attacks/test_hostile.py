"""Every hostile submission: no point beyond its honest work, nothing touched, nobody disturbed, and words for it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from arena import HARMLESS, HONEST, SECRET, Arena, Attack, Fight, attacks
from dlgrade.grading.results import CheckResult
from dlgrade.report import formats
from dlgrade.sandbox import landlock, seccomp

CORPUS = attacks()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the walls stand on Linux only"),
    pytest.mark.skipif(
        sys.platform == "linux" and (landlock.offered_abi() == 0 or seccomp.offered_machine() is None),
        reason="this kernel has not all walls",
    ),
]


def test_the_corpus_is_whole() -> None:
    names = {attack.name for attack in CORPUS}
    assert len(names) >= 60
    assert all(attack.tries.endswith(".") for attack in CORPUS)
    assert set(HONEST) | set(HARMLESS) <= names


@pytest.mark.parametrize("attack", CORPUS, ids=[attack.name for attack in CORPUS])
def test_attack(arena: Arena, attack: Attack) -> None:
    nursery, descriptors = arena.launcher.process.pid, len(os.listdir("/proc/self/fd"))  # type: ignore[attr-defined]
    fight = arena.fight(attack)
    assert fight.failure == ""
    assert fight.result is not None
    assert fight.result.sandbox == "landlock+seccomp"
    assert fight.points <= attack.honest
    assert fight.traces == ()
    assert "FOUND" not in fight.printed
    report_is_in_words(fight, arena.folder)
    # In the same nursery, the next student is served as if nothing had been.
    honest = arena.honest(attack.chapter)
    assert [check for exercise in honest.exercises for check in exercise.checks if check.status != "passed"] == []
    assert (honest.score, honest.problem, honest.stdout) == (100, "", "")
    assert arena.launcher.process.pid == nursery  # type: ignore[attr-defined]
    assert arena.launcher.process.poll() is None  # type: ignore[attr-defined]
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 1  # the bystander is made once
    assert os.listdir(arena.launcher._scratch) == []  # type: ignore[attr-defined]


def report_is_in_words(fight: Fight, folder: Path) -> None:
    """Every check that failed says why, and nothing says what it must not."""
    assert fight.result is not None
    checks: list[CheckResult] = [check for exercise in fight.result.exercises for check in exercise.checks]
    assert all(check.message.endswith((".", "?")) for check in checks if check.status != "passed")
    assert all(len(check.message) < 300 for check in checks)
    assert all(exercise.stdout == "" for exercise in fight.result.exercises)
    for name in ("json", "text", "junit", "markdown"):
        report = formats.render(name, fight.result)
        for banned in (SECRET, "INPUTS", "\x1b", "\x9b", "Traceback", "/dlgrade/", str(folder), "<script", "EARLIER"):
            assert banned not in report, (name, banned)
