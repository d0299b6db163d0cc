"""`dlgrade check` end to end, as a user runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOLUTION = ROOT / "solutions" / "ch305_loss_functions.py"


def dlgrade(*args: str | Path, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dlgrade", *map(str, args)],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=600,
    )


def fails(run: subprocess.CompletedProcess[str], words: str, status: int = 2) -> None:
    assert run.returncode == status, run.stderr
    assert words in run.stderr
    assert run.stdout == ""
    assert len(run.stderr.strip().splitlines()) == 1
    assert "Traceback" not in run.stderr


def test_the_solution_scores_100() -> None:
    run = dlgrade("check", "ch305", "--file", SOLUTION)
    assert run.returncode == 0, run.stderr
    assert "100 / 100" in run.stdout
    assert run.stderr == ""
    assert "\x1b" not in run.stdout


def test_the_stub_scores_0() -> None:
    run = dlgrade("check", "ch305")
    assert run.returncode == 1
    assert "0 / 100" in run.stdout


@pytest.mark.parametrize(
    "target", ["305", "ch305", "CH305", "ch305_loss_functions", "solutions/ch305_loss_functions.py"]
)
def test_targets(target: str) -> None:
    args = [] if target.endswith(".py") else ["--file", "solutions"]
    assert dlgrade("check", target, *args).returncode == 0


def test_one_exercise() -> None:
    run = dlgrade("check", "ch305:softmax", "--file", SOLUTION, "--format", "json")
    result = json.loads(run.stdout)
    assert [e["name"] for e in result["exercises"]] == ["softmax"]
    assert result["score"] == result["max_score"] < 100


def test_json_is_the_contract_and_reproducible() -> None:
    runs = [dlgrade("check", "ch305", "--file", SOLUTION, "--format", "json", "--seed", "3") for _ in range(2)]
    one, two = (json.loads(run.stdout) for run in runs)
    assert (one["schema"], one["chapter"], one["seed"], one["score"], one["max_score"]) == (1, "ch305", 3, 100, 100)
    assert one["sandbox"]
    assert {"name", "kind", "score", "max_score", "status", "message", "mistake", "advice"} <= set(
        one["exercises"][0]["checks"][0]
    )
    assert one.pop("duration_s") >= 0
    two.pop("duration_s")
    assert one == two


def test_all_gives_one_result_for_every_chapter() -> None:
    run = dlgrade("check", "all", "--file", "exercises", "--format", "json")
    result = json.loads(run.stdout)
    assert run.returncode == 1
    assert result["score"] == 0
    assert result["max_score"] == 100 * len(result["chapters"])


def test_output_goes_to_a_file(tmp_path: Path) -> None:
    run = dlgrade("check", "ch305", "--file", SOLUTION, "--format", "junit", "--output", tmp_path / "r.xml")
    assert (run.returncode, run.stdout) == (0, "")
    assert "<testsuite" in (tmp_path / "r.xml").read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["r.xml"]


def test_a_secret_seed_is_never_printed_and_carries_nothing_out(tmp_path: Path) -> None:
    seed = tmp_path / "seed"
    seed.write_text("correct horse battery staple")
    spy = tmp_path / "ch305_loss_functions.py"
    spy.write_text(
        "def softmax(x, axis=-1):\n    print('INPUT', x)\n    raise ValueError(f'INPUT {x}')\n"
        "def mse(a, b):\n    class Input1(Exception): pass\n    raise Input1(a)\n"
        "def log_softmax(x, axis=-1):\n    return x\n"
    )
    run = dlgrade("check", "ch305", "--file", spy, "--seed-file", seed, "--format", "json")
    result = json.loads(run.stdout)
    assert result["seed"] == "secret"
    assert len(result["seed_fingerprint"]) == 16
    assert "INPUT" not in run.stdout
    assert "Input1" not in run.stdout
    assert "Expected" not in run.stdout
    assert "horse" not in run.stdout


def test_an_unwritable_output_is_one_sentence(tmp_path: Path) -> None:
    fails(dlgrade("check", "ch305", "--file", SOLUTION, "--output", tmp_path / "no" / "r.txt"), "cannot be written")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["check", "ch999"], "there is no chapter 'ch999'"),
        (["check", "ch350"], "did you mean ch3"),
        (["check", "ch305:sofmax"], "did you mean softmax?"),
        (["check", "ch305", "--sandbx", "off"], "No such option"),
        (["check"], "Missing argument"),
        (["chekc", "ch305"], "did you mean check?"),
        (["check", "ch305", "--seed", "-1"], "-1"),
        (["check", "ch305", "--seed", "1", "--seed-file", "README.md"], "either --seed or --seed-file"),
        (["check", "ch305", "--seed-file", "nowhere"], "cannot be read"),
        (["check", "ch305", "--format", "yaml"], "yaml"),
        (["check", "nowhere/ch305_x.py"], "there is no file"),
        (["check", "README.md/"], "does not say which chapter"),
        (["check", "ch305", "--file", "nowhere.py"], "there is no file nowhere.py"),
        (["check", "ch305", "--file", "/dev/null"], "not an ordinary file"),
        (["check", "exercises"], "folder"),
        (["check", "all", "--file", "README.md"], "folder"),
    ],
)
def test_wrong_commands(args: list[str], words: str) -> None:
    fails(dlgrade(*args), words)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("ch305_a.py", b"", "is empty"),
        ("ch305_a.py", b"  \n\n", "is empty"),
        ("ch305_a.py", b"x = '\xff'", "not UTF-8"),
        ("ch305_a.py", b"x = 1\0", "NUL"),
        ("ch305_a.ipynb", b"{", "not valid JSON"),
        ("ch305_a.ipynb", b"[]", "list of cells"),
        ("ch305_a.ipynb", b'{"cells": [{"cell_type": "markdown", "source": "hi"}]}', "notebook without code"),
        ("homework.py", b"x = 1", "does not say which chapter"),
        ("ch305_a.ipynb", b"[" * 200_000, "not valid JSON"),
    ],
)
def test_files_that_hold_no_answer(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    fails(dlgrade("check", tmp_path / name), words)


def test_a_folder_without_the_chapters_file(tmp_path: Path) -> None:
    fails(dlgrade("check", "ch305", cwd=tmp_path), "dlgrade init")


def test_a_notebook_is_graded_like_a_file(tmp_path: Path) -> None:
    cells = SOLUTION.read_text().split("\n\n\n")
    notebook = {
        "nbformat": 4,
        "cells": [
            {"cell_type": "code", "source": ["%matplotlib inline\n", "!ls\n", "import matplotlib.pyplot as plt\n"]},
            *({"cell_type": "code", "source": cell} for cell in cells),
            {"cell_type": "code", "source": "plt.plot([1])\nundefined\n"},
        ],
    }
    path = tmp_path / "ch305.ipynb"
    path.write_text(json.dumps(notebook))
    run = dlgrade("check", path)
    assert run.returncode == 0, run.stdout
    assert "100 / 100" in run.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="walls are Linux's")
def test_strict_names_its_walls_and_grading_goes_on(tmp_path: Path) -> None:
    path = tmp_path / SOLUTION.name
    path.write_text(
        SOLUTION.read_text()
        + "\nmse_right = mse\n"
        + "def mse(a, b):\n    open('/etc/passwd')\n"
        + "def huber(a, b, delta=1.0):\n    import socket; socket.socket()\n"
        + "def log_softmax(x, axis=-1):\n    import os; os.fork()\n"
    )
    run = dlgrade("check", path, "--sandbox", "strict", "--format", "json")
    result = json.loads(run.stdout)
    assert result["sandbox"] == "landlock+seccomp"
    found = {e["name"]: e for e in result["exercises"]}
    for name in ("mse", "huber", "log_softmax"):
        assert "PermissionError" in found[name]["checks"][0]["message"]
    assert found["softmax"]["score"] == found["softmax"]["max_score"]


def test_a_read_only_folder_is_no_obstacle_to_checking(tmp_path: Path) -> None:
    shutil.copy(SOLUTION, tmp_path)
    tmp_path.chmod(0o555)
    try:
        assert dlgrade("check", "ch305", "--file", ".", cwd=tmp_path).returncode == 0
    finally:
        tmp_path.chmod(0o755)


def test_sandbox_off_says_so() -> None:
    run = dlgrade("check", "ch305", "--file", SOLUTION, "--sandbox", "off", "--format", "json")
    assert json.loads(run.stdout)["sandbox"] == "off"


def test_hints_come_in_tiers() -> None:
    one = dlgrade("hint", "ch305", "softmax")
    three = dlgrade("hint", "ch305", "softmax", "--tier", "3")
    assert one.stdout in three.stdout
    assert len(three.stdout.splitlines()) == 3
    fails(dlgrade("hint", "ch305", "sofmax"), "did you mean softmax?")


def test_a_picture_is_drawn_from_the_students_functions(tmp_path: Path) -> None:
    run = dlgrade("picture", "ch305", "--file", SOLUTION, "--output", tmp_path / "p.png")
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    fails(dlgrade("picture", "ch305", "--output", tmp_path / "q.png"), "still to do")
    fails(dlgrade("picture", "ch305", "--output", tmp_path / "q.gif"), "must end in")
