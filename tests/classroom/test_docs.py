"""docs/instructors.md: every command on the page is run, and prints what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "instructors.md").read_text(encoding="utf-8")
SOLUTION = (ROOT / "solutions" / "ch305_loss_functions.py").read_text(encoding="utf-8")

TIMES = """\
student,submitted
bob,2026-10-09T20:00:00+02:00
Jane Doe_77,2026-10-11T12:00:00+02:00
4711,2026-10-10T12:00:00+02:00
"""
GRADEBOOK = """\
Student,ID,SIS User ID,SIS Login ID,Section,ch305 Loss Functions (99)
    Points Possible,,,,,10
"Doe, Jane",4711,,jdoe,A,
"Bobson, Bob",4712,,bob,A,
"""
WORKSHEET = """\
Identifier,Full name,ID number,Grade,Maximum grade,Last modified (grade),Feedback comments
Participant 77,Jane Doe,,,10.00,-,
Participant 78,Bob Bobson,bob,,10.00,-,
"""


def blocks() -> list[tuple[str, list[str]]]:
    """The commands of the page, each with the lines that it is said to print."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.S):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def test_the_page(tmp_path: Path) -> None:
    slip = SOLUTION.replace("grad = 2.0 * error / error.size", "grad = error / error.size")
    files = {
        "handed-in/bob.py": slip,
        "handed-in/cyd.zip": "broken",
        "handed-in/notes.txt": "x",
        "handed-in/doejane_4711_90210_ch305_loss_functions.py": SOLUTION,
        "handed-in/Jane Doe_77_assignsubmission_file_/ch305_loss_functions.py": SOLUTION,
        "late/bob.py": SOLUTION,
        "times.csv": TIMES,
        "gradebook.csv": GRADEBOOK,
        "worksheet.csv": WORKSHEET,
        "bin/dlgrade": f'#!/bin/sh\nexec {sys.executable} -m dlgrade "$@"\n',
        "bin/pytest": f'#!/bin/sh\nexec {sys.executable} -m pytest -p no:cacheprovider "$@"\n',
    }
    [rules] = re.findall(r"```toml\n(.*?)```", PAGE, re.S)
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
    commands = blocks()
    assert len(commands) > 12
    for command, said in commands:
        if "times.csv" in command:
            (tmp_path / "dlgrade.toml").write_text(rules)
        run = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env={**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert run.returncode in (0, 1), (command, run.stdout, run.stderr)
        assert [line for line in said if line not in run.stdout.splitlines()] == [], (command, run.stdout)
    canvas = (tmp_path / "out" / "canvas.csv").read_text()
    assert '"Doe, Jane",4711,,jdoe,A,9' in canvas  # a day late
    assert "Participant 77,Jane Doe,,10,10.00" in (tmp_path / "out" / "moodle.csv").read_text()  # within extra time
    assert (tmp_path / "autograder-ch305.zip").is_file()
