"""A workspace to study in, and results to record."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dlgrade.course import registry
from dlgrade.course.spec import Chapter
from dlgrade.grading.results import ChapterResult, CheckResult, exercise_result
from dlgrade.selfstudy import progress, workspace

STEM = "ch305_loss_functions"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    workspace.create(folder, notebooks=False)
    return folder


@pytest.fixture
def chapter() -> Chapter:
    return registry.chapter("ch305")


@pytest.fixture
def answer(root: Path) -> Path:
    return root / "exercises" / f"{STEM}.py"


@pytest.fixture
def solved(chapter: Chapter) -> str:
    return registry.solution_file(chapter).read_text(encoding="utf-8")


@pytest.fixture
def dlgrade(root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in the workspace: exit status, standard output, standard error."""
    monkeypatch.chdir(root)

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        from dlgrade.cli.main import main

        monkeypatch.setattr(sys, "argv", ["dlgrade", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capfd.readouterr()
        return int(left.value.code or 0), out, err

    return run


class Record:
    """Makes results of chapter 305 from scores by exercise, and records them."""

    def __init__(self, root: Path, chapter: Chapter) -> None:
        self.root, self.chapter = root, chapter
        self.full = {e.name: e.points for e in chapter.exercises}

    def result(self, scores: dict[str, int], mistake: str = "", seed: int | str = 7) -> ChapterResult:
        """A result in which each named exercise has one check per point, the first ones passed."""
        exercises = []
        for name, score in scores.items():
            checks = tuple(
                CheckResult(
                    name=f"check {i}",
                    kind="numeric",
                    score=int(i < score),
                    max_score=1,
                    status="passed" if i < score else "failed",
                    mistake="" if i < score else mistake,
                    advice="Mend it." if mistake and i >= score else "",
                )
                for i in range(self.full[name])
            )
            exercises.append(exercise_result(name, checks))
        return ChapterResult(
            chapter=self.chapter.id,
            title=self.chapter.title,
            file=f"{self.chapter.stem}.py",
            sha256="0" * 64,
            seed=seed,
            sandbox="process",
            score=sum(e.score for e in exercises),
            max_score=sum(e.max_score for e in exercises),
            duration_s=0.1,
            exercises=tuple(exercises),
        )

    def __call__(self, scores: dict[str, int], mistake: str = "", root: Path | None = None) -> None:
        progress.record(root or self.root, self.chapter, self.result(scores, mistake), {}, "check")


@pytest.fixture
def record(root: Path, chapter: Chapter) -> Record:
    return Record(root, chapter)


class Terminal:
    """A shell on a pseudo-terminal, typed into as a student would; `until` waits for what it should show."""

    def __init__(self, folder: Path, columns: int = 90, rows: int = 40) -> None:
        import fcntl
        import pty
        import struct
        import termios

        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PS1": "$ ",
            "TERM": "xterm-256color",
            "ENV": "",
        }
        for name in ("NO_COLOR", "DISPLAY", "WAYLAND_DISPLAY", "PROMPT_COMMAND"):
            environment.pop(name, None)
        self.shell = subprocess.Popen(
            ["/bin/sh"],
            cwd=folder,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self.raw = ""
        self.until("$ ")

    def type(self, text: str) -> None:
        self.raw = ""
        os.write(self.master, text.encode())

    def run(self, command: str) -> str:
        """Type a command and return what it printed, up to the next prompt."""
        self.type(f"{command}\n")
        return self.until("\n$ ").partition("\n")[2].removesuffix("$ ")

    def until(self, *texts: str) -> str:
        """Everything shown since the last typing, as plain text, once all of these are in it."""
        deadline = time.monotonic() + 90
        while not all(text in self.shown for text in texts):
            if not select.select([self.master], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise AssertionError(f"{texts} never came; there was {self.shown[-3000:]}")
            self.raw += os.read(self.master, 1 << 16).decode("utf-8", "replace")
        return self.shown

    @property
    def shown(self) -> str:
        return plain(self.raw)

    @property
    def frame(self) -> str:
        """What a program that draws the whole screen drew last."""
        return plain(self.raw.rpartition("\x1b[H")[2])

    def close(self) -> None:
        os.close(self.master)
        self.shell.terminate()
        self.shell.wait(timeout=30)


def plain(raw: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", raw).replace("\r", "")


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    if os.name == "nt":
        pytest.skip("pseudo-terminals are POSIX's")
    made = Terminal(tmp_path)
    yield made
    made.close()
