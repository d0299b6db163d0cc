"""What a terminal sends, and noticing saved files."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from dlgrade.selfstudy import saves
from dlgrade.selfstudy.keys import names
from dlgrade.selfstudy.saves import Saves


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        ("hq", ["h", "q"]),
        ("\x1b[A\x1b[B", ["up", "down"]),
        ("\x1bOAj", ["up", "j"]),
        ("\x1b", ["escape"]),
        ("\r", ["enter"]),
        ("\x1b[1;5Cq", []),
        ("\x03", ["q"]),
        ("", []),
    ],
)
def test_keys(sent: str, keys: list[str]) -> None:
    assert list(names(sent)) == keys


class Heard:
    def __init__(self) -> None:
        self.names: list[str] = []
        self.any = threading.Semaphore(0)

    def __call__(self, name: str, path: Path) -> None:
        self.names.append(name)
        self.any.release()

    def wait(self) -> str:
        assert self.any.acquire(timeout=30), "the save was not noticed"
        return self.names[-1]


@pytest.mark.parametrize("how", ["reports", "poll", "no reports to be had", "no watchfiles"])
def test_saves_are_noticed_however_they_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    paths = {name: tmp_path / f"{name}.py" for name in ("one", "two")}
    for path in paths.values():
        path.write_text("x = 1")
    if how == "no reports to be had":
        import watchfiles

        def refuse(*_: object, **__: object) -> None:
            raise OSError("inotify watch limit reached")

        monkeypatch.setattr(watchfiles, "watch", refuse)
    elif how == "no watchfiles":
        monkeypatch.setitem(__import__("sys").modules, "watchfiles", None)
    heard = Heard()
    watcher = Saves(lambda: paths, heard, poll=how == "poll")
    watcher.start()
    try:
        paths["two"].write_text("x = 2")
        assert heard.wait() == "two"
        beside = tmp_path / "one.py.new"
        beside.write_text("x = 3")
        beside.replace(paths["one"])
        assert heard.wait() == "one"
        paths["two"].unlink()
        assert heard.wait() == "two"
        paths["two"].write_text("x = 2")
        assert heard.wait() == "two"
    finally:
        watcher.stop()
        watcher.join(timeout=30)
    assert not watcher.is_alive()


def test_noise_in_the_folder_is_no_save(tmp_path: Path) -> None:
    path = tmp_path / "one.py"
    path.write_text("x = 1")
    heard = Heard()
    watcher = Saves(lambda: {"one": path}, heard)
    (tmp_path / "other.py").write_text("y = 1")
    path.read_text()
    watcher.look()
    assert heard.names == []
    os.utime(path, ns=(1, 1))
    watcher.look()
    assert heard.names == ["one"]


def test_files_that_come_later_are_watched_too(tmp_path: Path) -> None:
    paths: dict[str, Path] = {}
    heard = Heard()
    watcher = Saves(lambda: paths, heard)
    paths["late"] = tmp_path / "late.py"
    paths["late"].write_text("x = 1")
    watcher.look()
    assert heard.names == ["late"]


def test_looks_often_enough() -> None:
    assert saves.LOOK_MS <= 1000
