"""Looking through folders and zips: nothing leaves them, nothing is followed, nothing grows without bound."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest
from dlgrade.classroom import tree
from dlgrade.classroom.tree import Found, ReadError, TreeError, contents, walk


def zipped(members: dict[str, bytes | str]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def found(root: Path) -> dict[str, Found]:
    return {file.path: file for file in walk(root)}


def test_files_in_order_and_what_is_nobodys_answer_left_out(tmp_path: Path) -> None:
    for name in ("b.py", "a/x.py", "a/.git/config", "a/__pycache__/x.pyc", ".hidden/y.py", "__MACOSX/._b.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    assert [f.path for f in walk(tmp_path)] == ["a/x.py", "b.py"]


def test_a_zip_is_a_folder(tmp_path: Path) -> None:
    inner = zipped({"deep/ch305.py": "inner"})
    (tmp_path / "class.zip").write_bytes(zipped({"ann/ch305.py": "ann", "ben.zip": inner}))
    files = found(tmp_path / "class.zip")
    assert list(files) == ["ann/ch305.py", "ben.zip/deep/ch305.py"]
    assert contents(files["ann/ch305.py"], 99) == b"ann"
    assert contents(files["ben.zip/deep/ch305.py"], 99) == b"inner"
    assert list(found(tmp_path)) == ["class.zip/ann/ch305.py", "class.zip/ben.zip/deep/ch305.py"]


@pytest.mark.parametrize("name", ["../../evil.py", "/etc/evil.py", "a/../../evil.py", "C:/evil.py", "..\\..\\evil.py"])
def test_a_path_that_leaves_the_zip_is_not_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.zip").write_bytes(zipped({name: "evil"}))
    [file] = walk(tmp_path)
    assert "leads out of the zip" in file.problem
    with pytest.raises(ReadError):
        contents(file, 99)
    assert sorted(os.listdir(tmp_path)) == ["x.zip"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target.py").write_text("secret")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link.py").symlink_to(tmp_path / "target.py")
    (tmp_path / "loop").symlink_to(tmp_path)
    info = zipfile.ZipInfo("link.py")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    files = found(tmp_path)
    for name in ("folder/link.py", "loop", "z.zip/link.py"):
        assert "symbolic link" in files[name].problem
    assert not any(path.startswith("loop/") for path in files)


def test_a_link_put_there_after_looking_is_not_followed_either(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x")
    [file] = walk(tmp_path)
    (tmp_path / "a.py").unlink()
    (tmp_path / "a.py").symlink_to("/etc/hostname")
    with pytest.raises(ReadError, match="cannot be read"):
        contents(file, 99)


def test_a_bomb_is_read_up_to_the_limit_only(tmp_path: Path) -> None:
    (tmp_path / "bomb.zip").write_bytes(zipped({"ch305.py": b"\0" * (40 << 20)}))
    [file] = walk(tmp_path)
    with pytest.raises(ReadError, match="larger than 8 MiB"):
        contents(file, 8 << 20)


def test_zips_are_bounded_in_number_and_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nested = zipped({"c.py": "x"})
    for name in ("b.zip", "a.zip"):
        nested = zipped({name: nested})
    (tmp_path / "deep.zip").write_bytes(nested)
    [file] = walk(tmp_path)
    assert "zip in a zip" in file.problem
    monkeypatch.setattr(tree, "MAX_INNER_MEMBERS", 3)
    (tmp_path / "deep.zip").write_bytes(zipped({f"{i}.py": "" for i in range(4)}))
    tree.opened.cache_clear()
    [file] = walk(tmp_path)
    assert "holds 4 files" in file.problem


BROKEN = {"empty": b"", "no zip": b"no zip at all", "cut short": zipped({"a.py": "x" * 999})[:-30]}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_broken_zip_says_so(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "broken.zip").write_bytes(data)
    [file] = walk(tmp_path)
    assert file.path == "broken.zip"
    assert "no zip" in file.problem


def test_a_member_whose_bytes_are_damaged(tmp_path: Path) -> None:
    data = bytearray(zipped({"a.py": os.urandom(500)}))
    data[60] ^= 0xFF
    (tmp_path / "a.zip").write_bytes(data)
    [file] = walk(tmp_path)
    with pytest.raises(ReadError, match="cannot be read from its zip"):
        contents(file, 9999)


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    [file] = walk(tmp_path)
    assert "not an ordinary file" in file.problem


def test_names_that_are_no_text(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.py"
    with open(path, "w") as stream:
        stream.write("x")
    [file] = walk(tmp_path)
    assert file.path == "caf\\udce9.py"
    assert contents(file, 9) == b"x"


def test_no_root(tmp_path: Path) -> None:
    with pytest.raises(TreeError, match="there is no folder"):
        walk(tmp_path / "nowhere")
    (tmp_path / "f.txt").write_text("x")
    with pytest.raises(TreeError, match="neither a folder nor a zip"):
        walk(tmp_path / "f.txt")
