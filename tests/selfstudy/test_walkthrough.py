"""A student's first evening in a real terminal: init, fail, hint, fix, pass, next, picture, report."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from dlgrade.selfstudy import progress

pytestmark = pytest.mark.slow

RIGHT, WRONG = "2.0 * error / error.size", "2.0 * error"


def test_from_init_to_report(terminal: Any, tmp_path: Path, solved: str) -> None:
    assert "files to fill in, in study/exercises" in terminal.run("dlgrade init study")
    terminal.run("cd study")
    root = tmp_path / "study"
    answer = root / "exercises" / "ch305_loss_functions.py"

    # Watch: nothing is written yet.
    terminal.type("dlgrade watch ch305\n")
    terminal.until("watching", "Next: write mse, and save.")
    assert "0 / 100" in terminal.frame

    # Fail: the mistake is named, and what was right stays right.
    terminal.type("")
    answer.write_text(solved.replace(RIGHT, WRONG))
    terminal.until("checked 7 of 7", "Recognised mistake: mse-gradient-not-averaged")
    assert "92 / 100" in terminal.frame
    assert re.search(r"✓ softmax +━+ +16 / 16", terminal.frame)

    # Hints: first for the mistake, then one by one.
    terminal.type("h")
    terminal.until("Your last check looks like: mse-gradient-not-averaged", "press h again")
    assert "1. " not in terminal.frame
    terminal.type("h")
    terminal.until("1. ")
    assert "2. " not in terminal.frame

    # Half a save, then the whole.
    terminal.type("")
    answer.write_text(solved[: solved.index("def softmax") + 8])
    terminal.until("could not be read at line")
    assert "92 / 100" in terminal.frame
    terminal.type("")
    answer.write_text(solved)
    terminal.until("All 100 points.", "checked 1 of 7", "+8 points")

    # The picture, the list, another chapter, help, and out.
    terminal.type("p")
    terminal.until("Your picture is", "ch305.png")
    assert (root / "pictures" / "ch305.png").read_bytes().startswith(b"\x89PNG")
    terminal.type("l")
    terminal.until("FOUNDATIONS (300–309)", "▸ ✓ ch305")
    terminal.type("\x1b[B")
    terminal.until("▸ · ch306")
    terminal.type("\r")
    terminal.until("ch306  Backpropagation", "Next: write")
    terminal.type("?")
    terminal.until("a hint for the exercise you are at")
    terminal.type("q")
    terminal.type("q")
    terminal.until("$ ")

    # The commands.
    assert "1 of" in terminal.run("dlgrade")
    assert "It builds on" in terminal.run("dlgrade next")
    status = terminal.run("dlgrade status")
    assert "✓ ch305  Loss Functions" in status
    assert "← here" in status
    assert "ch305.svg" in terminal.run("dlgrade picture ch305 --output ch305.svg")
    assert (root / "ch305.svg").read_text().count("<svg") == 1
    assert "report.html" in terminal.run("dlgrade report --name Ada")
    assert "Ada" in (root / "report.html").read_text()
    assert "All 100 points." in terminal.run("dlgrade check ch305; echo status $?")
    state = progress.load(root).chapters()["ch305"]
    assert state.solved
    assert [e.detail for e in progress.load(root).events] == ["mse-gradient-not-averaged", "1"]


def test_the_terminal_is_left_as_it_was(terminal: Any, tmp_path: Path) -> None:
    terminal.run("dlgrade init study")
    before = terminal.run("stty -a")
    for leave in ("q", "\x03"):
        terminal.type("cd study 2>/dev/null; dlgrade watch ch305\n")
        terminal.until("watching")
        terminal.type(leave)
        terminal.until("$ ")
        assert terminal.raw.rstrip("$ \r\n").endswith("\x1b[?7h\x1b[?25h\x1b[?1049l")
        assert terminal.run("stty -a") == before


def test_suspended_and_back(terminal: Any, tmp_path: Path) -> None:
    terminal.run("dlgrade init study")
    terminal.run("cd study")
    terminal.run("set -m 2>/dev/null")
    terminal.type("dlgrade watch ch305\n")
    terminal.until("watching")
    terminal.type("\x1a")
    terminal.until("$ ")
    assert "\x1b[?25h" in terminal.raw  # the shell has its cursor
    terminal.type("fg\n")
    terminal.until("watching")
    terminal.type("?")
    terminal.until("a hint for the exercise you are at")
    terminal.type("qq")
    terminal.until("$ ")


def test_without_a_terminal_verdicts_are_printed(tmp_path: Path, root: Path, answer: Path, solved: str) -> None:
    import subprocess
    import sys

    command = [sys.executable, "-m", "dlgrade", "watch", "ch305"]
    with subprocess.Popen(
        command, cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env={**os.environ}
    ) as run:
        assert run.stdout is not None
        lines = iter(run.stdout.readline, "")
        assert any("0 / 100" in line for line in lines)
        assert any("Next:" in line for line in lines)
        answer.write_text(solved)
        assert any("All 100 points." in line for line in lines)
        run.terminate()
        assert run.wait(timeout=60) == 0
