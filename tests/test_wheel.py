"""A wheel built from the tree works with no repository around."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_wheel_grades_its_own_solution(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT], check=True
    )
    [wheel] = tmp_path.glob("dlgrade-*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    solutions = site / "dlgrade" / "content" / "solutions"
    code = f"import sys; sys.path.insert(0, {str(site)!r}); from dlgrade.cli.entry import main; main()"
    run = subprocess.run(
        [sys.executable, "-P", "-c", code, "check", "ch305", "--file", solutions, "--format", "json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["score"] == 100
    listing = [name for name in zipfile.ZipFile(wheel).namelist() if "tests/" in name or "__pycache__" in name]
    assert listing == []
