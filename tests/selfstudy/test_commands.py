"""The commands for studying alone, as a student runs them."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dlgrade.selfstudy import progress, workspace

Run = Callable[..., tuple[int, str, str]]
RIGHT, WRONG = "2.0 * error / error.size", "2.0 * error"


def fails(run: tuple[int, str, str], words: str) -> None:
    status, out, err = run
    assert (status, out) == (2, "")
    assert words in err
    assert len(err.strip().splitlines()) == 1


def test_init(dlgrade: Run, tmp_path: Path) -> None:
    status, out, err = dlgrade("init", tmp_path / "new")
    assert status == 0
    assert "files to fill in" in out
    assert "cd " in err
    assert (tmp_path / "new" / "dlgrade.toml").is_file()
    status, out, _ = dlgrade("init", tmp_path / "new")
    assert (status, "nothing to add" in out) == (0, True)
    (tmp_path / "file").touch()
    fails(dlgrade("init", tmp_path / "file"), "is a file")


def test_init_in_the_current_folder_needs_it_empty(
    dlgrade: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    (here / "thesis.tex").touch()
    fails(dlgrade("init"), "not empty")
    (here / "thesis.tex").unlink()
    assert dlgrade("init", "--notebooks")[0] == 0
    assert list((here / "exercises").glob("*.ipynb"))
    assert dlgrade("init")[0] == 0


def test_alone_it_says_where_you_are(dlgrade: Run, answer: Path, solved: str) -> None:
    assert "Next: write" in dlgrade()[1]
    answer.write_text(solved.replace(RIGHT, WRONG))
    assert dlgrade("check", "ch305")[0] == 1
    status, out, err = dlgrade()
    assert (status, err) == (0, "")
    assert "ch305  Loss Functions" in out
    assert "92 / 100" in out
    assert "mse-gradient-not-averaged" in out
    assert "Next: fix mse in exercises/ch305_loss_functions.py." in out
    assert "dlgrade watch" in out.splitlines()[-1]


def test_alone_outside_of_a_workspace_it_says_how_to_begin(
    dlgrade: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, _ = dlgrade()
    assert status == 0
    assert "dlgrade init" in " ".join(out.split())


@pytest.mark.parametrize("command", ["status", "next", "watch", "report", "export", "hint"])
def test_commands_that_need_a_workspace_say_so(
    dlgrade: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    fails(dlgrade(command), "no workspace")


def test_check_records_the_workspaces_own_answers_only(
    dlgrade: Run, root: Path, answer: Path, solved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dlgrade("check", "ch305:mse")[0] == 1
    dlgrade("solution", "ch305", "--give-up")
    assert dlgrade("check", "solutions/ch305_loss_functions.py")[0] == 0
    seed = tmp_path / "seed"
    seed.write_text("correct horse battery staple")
    answer.write_text(solved)
    assert dlgrade("check", "ch305", "--seed-file", seed)[0] == 0
    state = progress.load(root).chapters()["ch305"]
    assert (state.checks, state.best) == (1, 0)
    monkeypatch.chdir(root / "exercises")
    assert dlgrade("check", "ch305", "--seed", "3")[0] == 0
    state = progress.load(root).chapters()["ch305"]
    assert (state.checks, state.best, state.solved) == (2, 100, True)


def test_a_progress_file_that_cannot_be_written_is_one_line_of_warning(dlgrade: Run, root: Path, answer: Path) -> None:
    (root / progress.FILE).write_bytes(b"no database at all")
    status, out, err = dlgrade("check", "ch305", "--format", "json")
    assert status == 1
    assert json.loads(out)["score"] == 0
    assert err.startswith("dlgrade: progress is not kept:")
    assert len(err.strip().splitlines()) == 1
    fails(dlgrade("status"), "cannot be read")
    status, out, err = dlgrade("hint", "ch305", "mse")
    assert status == 2


def obey_permissions() -> None:
    """In the child, where it is root: no longer above the permissions of files."""
    drop_from_bounding_set, override_permissions = 24, 1
    ctypes.CDLL(None).prctl(drop_from_bounding_set, override_permissions, 0, 0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="how root is made to obey is Linux's")
def test_a_read_only_workspace_is_no_obstacle(
    root: Path, answer: Path, solved: str, record: Any, tmp_path: Path
) -> None:
    record({"mse": 12})
    (root / progress.FILE).chmod(0o444)
    answer.write_text(solved.replace(RIGHT, WRONG))
    root.chmod(0o555)

    def run(*arguments: str) -> tuple[int, str, list[str]]:
        command = [sys.executable, "-m", "dlgrade", *arguments]
        done = subprocess.run(
            command, cwd=root, capture_output=True, text=True, timeout=120, preexec_fn=obey_permissions
        )
        return done.returncode, done.stdout, done.stderr.splitlines()

    try:
        status, out, err = run("check", "ch305")
        assert (status, "92 / 100" in out, len(err)) == (1, True, 1)
        assert "progress is not kept" in err[0]
        status, out, err = run("hint", "ch305", "mse")
        assert (status, len(out.splitlines())) == (0, 1)
        assert "not remembered" in err[0]
        assert " 12  ← here" in run("status")[1]
        status, out, err = run("report", "--output", str(tmp_path / "report.html"))
        assert (status, len(err)) == (0, 1)
        assert "mse-gradient-not-averaged" in (tmp_path / "report.html").read_text()
        assert run("solution", "ch305", "--give-up")[0] == 2
        assert run("reset", "ch305")[0] == 2
    finally:
        root.chmod(0o755)


def test_hints_are_remembered(dlgrade: Run) -> None:
    said = [dlgrade("hint", "ch305", "softmax") for _ in range(4)]
    assert [len(out.splitlines()) for _, out, _ in said] == [1, 2, 3, 3]
    assert "dlgrade hint ch305 softmax" in said[0][2]
    assert "--give-up" in said[3][2]
    assert len(dlgrade("hint", "ch305:huber")[1].splitlines()) == 1


def test_a_hint_fits_the_recognised_mistake(dlgrade: Run, answer: Path, solved: str) -> None:
    answer.write_text(solved.replace(RIGHT, WRONG))
    dlgrade("check", "ch305")
    status, out, err = dlgrade("hint")
    assert status == 0
    assert "ch305 mse" in err
    assert "mse-gradient-not-averaged" in out
    assert "1. " not in out
    assert "1. " in dlgrade("hint")[1]


def test_the_solution_opens_when_solved_or_given_up(dlgrade: Run, root: Path, answer: Path, solved: str) -> None:
    fails(dlgrade("solution", "ch305"), "--give-up")
    assert not (root / "solutions").exists()
    answer.write_text(solved)
    dlgrade("check", "ch305")
    status, out, _ = dlgrade("solution", "ch305")
    assert (status, out.strip()) == (0, "solutions/ch305_loss_functions.py")
    assert not progress.load(root).chapters()["ch305"].gave_up_at
    status, out, _ = dlgrade("solution", "ch306", "--give-up", "--print")
    assert "def backward" in out
    assert progress.load(root).chapters()["ch306"].gave_up_at
    assert dlgrade("solution", "ch306")[0] == 0


def test_a_solution_that_cannot_be_recorded_stays_closed(dlgrade: Run, root: Path) -> None:
    (root / progress.FILE).write_bytes(b"no database at all")
    fails(dlgrade("solution", "ch305", "--give-up", "--print"), "cannot be read")


def test_reset(dlgrade: Run, root: Path, answer: Path) -> None:
    start = answer.read_text()
    answer.write_text("mine")
    status, out, _ = dlgrade("reset", "ch305")
    assert status == 0
    assert "backups/ch305_loss_functions." in out
    assert answer.read_text() == start
    assert [e.kind for e in progress.load(root).events] == ["reset"]
    assert "as it was at the beginning" in dlgrade("reset", "ch305")[1]
    assert len(progress.load(root).events) == 1


def test_next_and_status(dlgrade: Run) -> None:
    status, out, _ = dlgrade("next")
    assert status == 0
    assert "Next: write" in out
    status, out, _ = dlgrade("status")
    assert status == 0
    assert "← here" in out


def test_a_chapter_that_came_after_the_workspace(dlgrade: Run, root: Path, answer: Path) -> None:
    assert dlgrade("check", "ch305:mse")[0] == 1
    answer.unlink()
    assert "`dlgrade init` puts it here" in dlgrade("next")[1]
    assert "1 file to fill in" in dlgrade("init", ".")[1]
    assert "puts it here" not in dlgrade()[1]
    assert answer.exists()


def test_export(dlgrade: Run, root: Path) -> None:
    dlgrade("check", "ch305:mse")
    status, out, _ = dlgrade("export", "progress.json")
    assert (status, out) == (0, "progress.json\n")
    assert json.loads((root / "progress.json").read_text())["chapters"]["ch305"]["checks"] == 1
    assert json.loads(dlgrade("export")[1])["schema"] == 1
    fails(dlgrade("export", "nowhere/progress.json"), "cannot be written")


def test_watch_refuses_what_it_cannot_watch(dlgrade: Run, root: Path, answer: Path) -> None:
    answer.unlink()
    fails(dlgrade("watch", "ch305"), "dlgrade init")
    fails(dlgrade("check", "ch305", "ch306", "--watch"), "one chapter")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_scripts(dlgrade: Run, shell: str) -> None:
    status, out, _ = dlgrade("completion", shell)
    assert status == 0
    assert "_DLGRADE_COMPLETE" in out


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["che"], "check"),
        (["check", "ch30"], "ch305"),
        (["check", "ch305:soft"], "ch305:softmax"),
        (["hint", "ch305", "log"], "log_softmax"),
        (["solution", "ch305"], "ch305"),
        (["nonsense", "ch3"], None),
    ],
)
def test_completion(dlgrade: Run, monkeypatch: pytest.MonkeyPatch, typed: list[str], offered: str | None) -> None:
    monkeypatch.setenv("_DLGRADE_COMPLETE", "fish_complete")
    monkeypatch.setenv("COMP_WORDS", " ".join(["dlgrade", *typed[:-1]]))
    monkeypatch.setenv("COMP_CWORD", typed[-1])
    _, out, err = dlgrade()
    assert "Traceback" not in err
    if offered:
        assert offered in out


def test_the_report(dlgrade: Run, root: Path, answer: Path, solved: str) -> None:
    answer.write_text(solved.replace(RIGHT, WRONG))
    dlgrade("check", "ch305")
    status, out, err = dlgrade("report", "--name", "Ada <Example>")
    assert (status, out, err) == (0, "report.html\n", "")
    page = (root / "report.html").read_text()
    assert "Ada &lt;Example&gt;" in page
    assert "mse-gradient-not-averaged" in page
    assert page.count("data:image/png") == 1
    # Nothing changed, so nothing is checked or drawn again.
    checks = len(progress.load(root).checks)
    dlgrade("report")
    assert len(progress.load(root).checks) == checks
    # What was changed meanwhile is checked; what cannot be read is said.
    answer.write_text(solved)
    dlgrade("report")
    assert progress.load(root).checks[-1].via == "report"
    assert "mended" in (root / "report.html").read_text()
    answer.write_text("def f(:")
    dlgrade("report")
    assert "Not checked as it is now" in (root / "report.html").read_text()
    assert dlgrade("report", "--no-check", "--output", "other.html")[1] == "other.html\n"


def test_the_certificate_comes_when_everything_is_solved(
    dlgrade: Run, root: Path, record: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dlgrade.course import registry

    monkeypatch.setattr(registry, "stems", lambda: {"ch305": "ch305_loss_functions"})
    assert dlgrade("report", "--no-check")[1] == "report.html\n"
    progress.note(root, "gave up", "ch305")
    record(record.full)
    (root / workspace.MARKER).write_text('name = "Ada Example"')
    assert dlgrade("report", "--no-check")[1] == "report.html\ncertificate.html\n"
    page = (root / "certificate.html").read_text()
    assert "Ada Example" in page
    assert "100 / 100" in page
    assert "The solution of ch305 was read before it was solved." in page
    assert "certificate.html" in (root / "report.html").read_text()
    assert "dlgrade report" in dlgrade()[1]
    assert "dlgrade report" in dlgrade("next")[1]


def test_settings_that_cannot_be_read_are_one_sentence(dlgrade: Run, root: Path) -> None:
    (root / workspace.MARKER).write_text("name = ")
    fails(dlgrade("report"), "is not right")
    fails(dlgrade("watch"), "is not right")
    assert dlgrade("check", "ch305:mse")[0] == 1
