"""A workspace: made, added to, reset; nothing in it is overwritten."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from dlgrade.course import registry
from dlgrade.selfstudy import files, workspace
from dlgrade.selfstudy.workspace import MARKER, WorkspaceError

STEM = "ch305_loss_functions"


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_workspace_holds_every_stub(root: Path) -> None:
    stubs = {path.stem for path in (root / "exercises").iterdir()}
    assert stubs == {
        stem for stem in registry.stems().values() if (registry.content_folder("exercises") / f"{stem}.py").exists()
    }
    assert {p.name for p in root.iterdir()} == {"exercises", "README.md", MARKER}
    assert all(workspace.untouched(path) for path in (root / "exercises").iterdir())


def test_making_it_again_changes_nothing_and_adds_what_is_missing(root: Path, answer: Path) -> None:
    answer.write_text("mine")
    (root / "README.md").write_text("my notes")
    (root / MARKER).write_text('name = "Ada"\n')
    (root / "exercises" / f"{registry.stems()['ch306']}.py").unlink()
    before = everything(root)
    created = workspace.create(root, notebooks=False)
    assert [p.stem for p in created.made] == [registry.stems()["ch306"]]
    assert "ch305" in created.kept
    after = everything(root)
    assert {name: after[name] for name in before} == before
    assert workspace.config(root).name == "Ada"


def test_notebooks_do_not_come_beside_files_with_answers(root: Path) -> None:
    workspace.create(root, notebooks=True)
    assert not list((root / "exercises").glob("*.ipynb"))


def test_notebooks(tmp_path: Path) -> None:
    workspace.create(tmp_path, notebooks=True)
    path = workspace.answer(tmp_path, STEM)
    assert path is not None
    assert path.suffix == ".ipynb"
    assert workspace.config(tmp_path).notebooks
    cells = json.loads(path.read_text())["cells"]
    assert cells[0]["cell_type"] == "markdown"
    assert sum("NotImplementedError" in "".join(c["source"]) for c in cells) == 7
    assert workspace.untouched(path)


def test_the_root_is_found_from_below(root: Path, tmp_path: Path) -> None:
    assert workspace.find_root(root / "exercises") == root
    assert workspace.find_root(tmp_path) is None


def test_reset_keeps_a_backup_each_time(root: Path, answer: Path) -> None:
    start = answer.read_bytes()
    assert workspace.reset(root, STEM).unchanged
    for text in ("one", "two", "three"):
        answer.write_text(text)
        backup = workspace.reset(root, STEM).backup
        assert backup is not None
        assert backup.read_text() == text
        assert answer.read_bytes() == start
    assert len(list((root / "backups").iterdir())) == 3


def test_reset_brings_a_lost_file_back(root: Path, answer: Path) -> None:
    start = answer.read_bytes()
    answer.unlink()
    done = workspace.reset(root, STEM)
    assert done == workspace.Reset()
    assert answer.read_bytes() == start


def test_the_solution_has_no_markers_and_keeps_notes(root: Path) -> None:
    path = workspace.write_solution(root, STEM)
    text = path.read_text()
    assert "SOLUTION" not in text
    assert "NotImplementedError" not in text
    compile(text, path.name, "exec")
    path.write_text("my notes on it")
    workspace.write_solution(root, STEM)
    assert path.read_text() == "my notes on it"


@pytest.mark.parametrize("text", ["name = ", "name = 3", "poll = 'perhaps'", "\x00"])
def test_settings_that_cannot_be_understood_are_one_sentence(root: Path, text: str) -> None:
    (root / MARKER).write_text(text)
    with pytest.raises(WorkspaceError, match="is not right"):
        workspace.config(root)


def test_unknown_settings_are_ignored(root: Path) -> None:
    (root / MARKER).write_text('future = true\nname = "Ada"')
    assert workspace.config(root) == workspace.Config(name="Ada")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs folders that cannot be written")
def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(WorkspaceError, match="cannot be written"):
        workspace.create(tmp_path / "study", notebooks=False)


def test_a_file_in_the_way_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "exercises").write_text("a file")
    with pytest.raises(WorkspaceError, match="cannot be written"):
        workspace.create(tmp_path, notebooks=False)
    assert everything(tmp_path) == {"exercises": b"a file"}


def test_create_never_replaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    assert files.create(path, "one")
    assert not files.create(path, "two")
    # On a file system without hard links, and when somebody else makes the file in between.
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    assert files.create(tmp_path / "b", "three")
    monkeypatch.setattr(os.path, "lexists", lambda _: False)
    with pytest.raises(FileExistsError):
        files.create(path, "four")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"a": "one", "b": "three"}
