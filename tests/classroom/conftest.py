"""What the tests of a class share: answers to chapter 305, the command, and golden files."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

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
