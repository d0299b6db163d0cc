"""Archives that attack who opens them, graded as a class: nothing leaves a zip, and the neighbours get their marks.

How single zips are read is in tests/classroom/test_tree.py.
"""

from __future__ import annotations

import csv
import io
import os
import stat
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from dlgrade.course import registry

pytestmark = pytest.mark.slow
NAME = "ch305_loss_functions.py"
SOLUTION = registry.solution_file(registry.chapter("ch305")).read_bytes()


def zipped(members: dict[str, bytes], attributes: int = 0) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = attributes << 16
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def claiming(data: bytes, size: int) -> bytes:
    """A zip whose directory claims another size for its only member."""
    at = data.index(b"PK\x01\x02")
    return data[: at + 24] + struct.pack("<I", size) + data[at + 28 :]


LINK = stat.S_IFLNK | 0o777
ARCHIVES = {
    "slip": zipped({f"../../next/{NAME}": SOLUTION, f"..\\..\\next\\{NAME}": SOLUTION}),
    "absolute": zipped({"/tmp/dlgrade-slipped.py": SOLUTION, "C:/dlgrade-slipped.py": SOLUTION}),
    "link": zipped({NAME: b"../next/ch305_loss_functions.py"}, LINK),
    "linked_folder": zipped({"folder": b"/etc", f"folder/{NAME}": SOLUTION}, LINK),
    "bomb": zipped({NAME: b"#" * (200 << 20)}),
    "bombs": zipped({"a.zip": zipped({"b.zip": zipped({NAME: b"#" * (20 << 20)})})}),
    "liar": claiming(zipped({NAME: b"#" * (20 << 20)}), 10),
    "crowd": zipped({f"{n}/x.py": b"" for n in range(21_000)}),
    "long_name": zipped({"a" * 60_000 + ".py": b"x = 1"}),
    "twice": zipped({NAME: b"x = 1", f"./{NAME}": SOLUTION}),
    "cut": zipped({NAME: SOLUTION})[:-40],
    "not_a_zip": b"PK\x03\x04" + os.urandom(500),
}


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, str]]]:
    """A class in which everybody but `honest` and `next` hands in an archive that attacks; its table of grades."""
    folder = tmp_path_factory.mktemp("archives")
    handed_in = folder / "class"
    handed_in.mkdir()
    for student, data in ARCHIVES.items():
        (handed_in / f"{student}.zip").write_bytes(data)
    (handed_in / "honest.zip").write_bytes(zipped({f"work/{NAME}": SOLUTION}))
    (handed_in / "next").mkdir()
    (handed_in / "next" / NAME).write_bytes(b"x = 'unchanged'\n")
    for folder_name, target in (("outside", "/etc"), ("neighbour", str(handed_in / "next"))):
        (handed_in / folder_name).symlink_to(target)
    command = [sys.executable, "-m", "dlgrade", "grade", "class", "--chapter", "ch305", "--seed", "3", "-j", "1"]
    ended = subprocess.run([*command, "--write", "csv"], cwd=folder, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    with (folder / "grades" / "grades.csv").open(newline="", encoding="utf-8") as table:
        return folder, {row["student"]: row for row in csv.DictReader(table)}


def test_the_neighbours_get_their_marks(marks: tuple[Path, dict[str, dict[str, str]]]) -> None:
    folder, rows = marks
    assert (rows["honest"]["score"], rows["honest"]["status"]) == ("100", "graded")
    assert (rows["next"]["score"], rows["next"]["status"]) == ("0", "graded")
    assert (folder / "class" / "next" / NAME).read_bytes() == b"x = 'unchanged'\n"


def test_nothing_was_unpacked(marks: tuple[Path, dict[str, dict[str, str]]]) -> None:
    folder, _ = marks
    assert sorted(path.name for path in folder.iterdir()) == ["class", "grades"]
    assert not Path("/tmp/dlgrade-slipped.py").exists()
    names = {f"{student}.zip" for student in (*ARCHIVES, "honest")} | {"next", "outside", "neighbour"}
    assert {path.name for path in (folder / "class").iterdir()} == names


@pytest.mark.parametrize("student", [name for name in ARCHIVES if name not in ("twice", "long_name")])
def test_an_attack_is_no_submission(marks: tuple[Path, dict[str, dict[str, str]]], student: str) -> None:
    _, rows = marks
    assert rows[student]["score"] == "0"
    assert rows[student]["status"] in ("unreadable", "ambiguous")
    assert rows[student]["note"]


def test_odd_but_readable_archives_are_graded(marks: tuple[Path, dict[str, dict[str, str]]]) -> None:
    """One of two files for the same name is not chosen in silence; a long name is only a name."""
    _, rows = marks
    assert rows["twice"]["status"] in ("ambiguous", "graded")
    assert rows["long_name"]["status"] in ("graded", "unreadable")
    assert len(rows["long_name"]["note"]) < 70_000
