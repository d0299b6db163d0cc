"""What the tests of a class share: answers to chapter 305, the command, and golden files."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from dlgrade.grading.results import ChapterResult, CheckResult, exercise_result
from dlgrade.report.rows import Grade, Row

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
SOLUTION = (ROOT / "solutions" / "ch305_loss_functions.py").read_text(encoding="utf-8")
STUB = (ROOT / "exercises" / "ch305_loss_functions.py").read_text(encoding="utf-8")
HALF = SOLUTION.replace("grad = 2.0 * error / error.size", "grad = error / error.size")


@pytest.fixture(scope="session")
def drawn_class() -> ModuleType:
    """benchmarks/drawn_class.py: classes with known scores."""
    path = ROOT / "benchmarks" / "drawn_class.py"
    spec = importlib.util.spec_from_file_location("drawn_class", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["drawn_class"] = module
    spec.loader.exec_module(module)
    return module


Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def dlgrade(tmp_path: Path) -> Command:
    """Runs the command in the test's folder."""

    def run(*args: object, status: int | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "dlgrade", *map(str, args)],
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "80", **env},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert "Traceback" not in done.stderr, done.stderr
        if status is not None:
            assert done.returncode == status, done.stderr
        return done

    return run


@pytest.fixture
def handed_in(tmp_path: Path) -> Path:
    """A small class: full marks, a slip, the stub, a file that does not parse, an empty one."""
    folder = tmp_path / "class"
    folder.mkdir()
    texts = {"ada": SOLUTION, "bob": HALF, "cyd": STUB, "dan": "def mse(:\n", "eve": ""}
    for student, text in texts.items():
        (folder / f"{student}.py").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compare with a golden file; `DLGRADE_UPDATE_GOLDEN=1` writes it instead, for the reader of the diff to judge."""

    def compare(name: str, written: str) -> None:
        path = GOLDEN / name
        if os.environ.get("DLGRADE_UPDATE_GOLDEN") == "1":
            path.write_text(written, encoding="utf-8", newline="")
        assert path.read_bytes().decode("utf-8") == written

    return compare


# Names that a spreadsheet, a page, a terminal or a build log could take for something else.
HOSTILE_NAMES = (
    '=HYPERLINK("http://evil","click")',
    "<script>document.title = 'stolen'</script>",
    "\x1b[31mred\x1b[0m \u202egnp.exe",
    "@SUM(1+1)*cmd|' /C calc'!A0",
)


def make_result(lost: dict[str, tuple[str, str]], *, problem: str = "") -> ChapterResult:
    """A result of chapter 305 in which each exercise of `lost` lost 10 points to (a mistake, a message)."""
    exercises = []
    for name in ("mse", "softmax", "cross_entropy"):
        mistake, message = lost.get(name, ("", ""))
        bad = name in lost
        checks = (
            CheckResult(name="value", kind="numeric", score=20, max_score=20, status="passed"),
            CheckResult(
                name="gradient `of that` mean",
                kind="gradient",
                score=0 if bad else 10,
                max_score=10,
                status="failed" if bad else "passed",
                message=message,
                mistake=mistake,
                advice=f"About {mistake}: divide by `B` once." if mistake else "",
            ),
        )
        exercises.append(exercise_result(name, checks, "printed\n" if bad else ""))
    missing = CheckResult(name="value", kind="numeric", score=0, max_score=10, status="missing", message="to do")
    exercises.append(exercise_result("huber", (missing,)))
    return ChapterResult(
        dlgrade="0.1.0",
        chapter="ch305",
        title="Loss Functions",
        file="ch305_loss_functions.py",
        sha256="5f" * 32,
        seed="secret",
        seed_fingerprint="29a23269152a1b60",
        sandbox="landlock+seccomp",
        score=sum(e.score for e in exercises),
        max_score=100,
        duration_s=0.05,
        problem=problem,
        exercises=tuple(exercises),
    )


def make_row(student: str, status: str, result: ChapterResult | None = None, **facts: Any) -> Row:
    return Row(
        student=student,
        chapter="ch305",
        title="Loss Functions",
        status=status,  # type: ignore[arg-type]
        score=result.score if result else 0,
        max_score=100,
        file=f"{student}.py",
        content="c" * 8,
        seed="29a23269152a1b60",
        checks="d88fd9a2181245f0",
        result=result,
        **facts,
    )


@pytest.fixture
def class_grades() -> list[Grade]:
    """A class with everything in it that a writer must cope with."""
    full = make_result({})
    slip = make_result({"mse": ("mse-gradient-sign", "On six: expected 1, got -1.")})
    slips = make_result(
        {"mse": ("mse-gradient-sign", "wrong\n<img src=x onerror=alert(1)>"), "softmax": ("", "\x1b[2J ::error::x")}
    )
    broken = make_result({}, problem="The file stopped: NameError")
    late = {
        "submitted": "2026-10-10 12:00:00+02:00",
        "late_hours": 12.02,
        "penalty": 20.0,
        "remark": "late by 1 day begun",
    }
    rows = [
        (make_row("ada", "graded", full), {}),
        (make_row("doejane_4711", "graded", slip, system="canvas", user="4711"), late),
        (make_row("Bob Smith_78", "graded", slips, system="moodle", user="78", note="chosen before x.py, y.py"), {}),
        (make_row("cyd", "problem", broken, note="The file stopped: NameError"), {}),
        (make_row("dan", "unreadable", note="dan.py is not UTF-8 text"), {}),
        (make_row("eve", "missing", note="nothing was handed in"), {}),
        (make_row("fay", "ungraded", note="the process that graded it died each time"), {"points": None}),
        *((make_row(name, "graded", slip), {}) for name in HOSTILE_NAMES),
    ]
    return [
        Grade(row=row, **{"points": row.score * (100 - facts.get("penalty", 0)) / 100, "max_points": 100.0, **facts})
        for row, facts in rows
    ]
