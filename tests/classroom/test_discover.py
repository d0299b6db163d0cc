"""Who handed in what, in every layout that people have."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from dlgrade.classroom.discover import Discovery, Entry, choose, discover
from dlgrade.classroom.names import chapter_of, plain, resubmission, who

FILE = "ch305_loss_functions.py"


def lay_out(root: Path, *names: str) -> Path:
    """Files with their own path as their content; a name `a.zip!b.py` is a member."""
    for name in names:
        path = root / name.partition("!")[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        if "!" in name:
            with zipfile.ZipFile(path, "a") as archive:
                archive.writestr(name.partition("!")[2], name)
        else:
            path.write_text(name)
    return root


def by_student(found: Discovery) -> dict[str, tuple[str, str]]:
    return {entry.student: (entry.state, entry.path) for entry in found.entries}


def only(found: Discovery) -> Entry:
    [entry] = found.entries
    return entry


LAYOUTS = {
    "files named after students": {
        "ada.py": "ada",
        "bob.ipynb": "bob",
        "ch305_cyd.py": "cyd",
        "dan-ch305_loss_functions.py": "dan",
        "Éva Ó Dónaill.py": "Éva Ó Dónaill",
    },
    "folders of students": {
        f"ada/{FILE}": "ada",
        "bob/my answers.py": "bob",
        f"ch305-cyd/exercises/{FILE}": "cyd",
        "dan/work/305.ipynb": "dan",
    },
    "repositories": {
        f"dl-course-ada/exercises/{FILE}": "dl-course-ada",
        f"dl-course-bob/exercises/{FILE}": "dl-course-bob",
    },
    "nbgrader": {
        "submitted/ada/ps1/ch305.ipynb": "ada",
        "submitted/bob/ps1/ch305_loss_functions.ipynb": "bob",
        "submitted/cyd/ch305/problem.ipynb": "cyd",
    },
    "zips": {f"ada.zip!{FILE}": "ada", "bob.zip!project/answers.py": "bob"},
    "canvas": {
        f"doejane_4711_90210_{FILE}": "doejane_4711",
        "smithbob_LATE_4712_90211_answers.py": "smithbob_4712",
        f"roetim_4713_90212_work.zip!{FILE}": "roetim_4713",
    },
    "moodle": {
        f"Jane Doe_77_assignsubmission_file_/{FILE}": "Jane Doe_77",
        "Bob Smith_78_assignsubmission_file_answers.py": "Bob Smith_78",
        "Tim Roe_79_assignsubmission_file/sub/305.ipynb": "Tim Roe_79",
    },
    "blackboard": {"Homework 5_jdoe_attempt_2026-10-01-12-00-00_ch305.py": "jdoe"},
    "a folder for the chapter": {"ch305/ada.py": "ada", "ch305/bob.py": "bob"},
    "a folder around everything": {f"hw5/ada/{FILE}": "ada", "hw5/bob/answers.py": "bob"},
    "a zip around everything": {f"hw5.zip!ada/{FILE}": "ada", "hw5.zip!bob/answers.py": "bob"},
}


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_layouts(layout: str, tmp_path: Path) -> None:
    expected = LAYOUTS[layout]
    found = discover(lay_out(tmp_path, *expected), ("ch305",))
    states = by_student(found)
    assert set(states) == set(expected.values())
    assert {state for state, _ in states.values()} == {"ready"}
    assert {path for _, path in states.values()} == {name.replace("!", "/") for name in expected}
    assert found.unmatched == ()


def test_the_zip_itself_can_be_given(tmp_path: Path) -> None:
    lay_out(tmp_path, f"all.zip!ada/{FILE}", "all.zip!bob.py")
    assert set(by_student(discover(tmp_path / "all.zip", ("ch305",)))) == {"ada", "bob"}


def test_several_chapters(tmp_path: Path) -> None:
    lay_out(tmp_path, f"ada/{FILE}", "ada/ch306.py", f"bob/{FILE}", "cyd.py")
    found = discover(tmp_path, ("ch305", "ch306"))
    got = {(e.student, e.chapter): e.state for e in found.entries}
    assert got == {
        ("ada", "ch305"): "ready",
        ("ada", "ch306"): "ready",
        ("bob", "ch305"): "ready",
        ("bob", "ch306"): "missing",
        ("cyd", "ch305"): "missing",
        ("cyd", "ch306"): "missing",
    }
    assert [path for path, _ in found.unmatched] == ["cyd.py"]


def test_another_chapters_file_is_no_answer(tmp_path: Path) -> None:
    found = discover(lay_out(tmp_path, "ada/ch306.py", "ada/notes.txt"), ("ch305",))
    entry = only(found)
    assert entry.state == "missing"
    assert "ada/ch306.py" in entry.note
    assert [path for path, _ in found.unmatched] == ["ada/ch306.py"]


def test_the_chapters_own_name_wins(tmp_path: Path) -> None:
    files = [f"ada/{FILE}", "ada/ch305_old.py", "ada/helpers.py", "ada/test_ch305.py", f"ada/solutions/{FILE}"]
    entry = only(discover(lay_out(tmp_path, *files), ("ch305",)))
    assert entry.path == f"ada/{FILE}"
    assert "chosen before" in entry.note


def test_the_latest_download_wins(tmp_path: Path) -> None:
    lay_out(tmp_path, f"doejane_4711_90210_{FILE}", "doejane_4711_90999_ch305_loss_functions-1.py")
    found = discover(tmp_path, ("ch305",))
    assert only(found).path == "doejane_4711_90999_ch305_loss_functions-1.py"
    assert [path for path, _ in found.unmatched] == [f"doejane_4711_90210_{FILE}"]


def test_a_file_wins_over_a_notebook_and_says_so(tmp_path: Path) -> None:
    lay_out(tmp_path, f"ada/{FILE}", "ada/ch305_loss_functions.ipynb")
    entry = only(discover(tmp_path, ("ch305",), layout="folders"))
    assert (entry.path, entry.note) == (f"ada/{FILE}", "chosen before ada/ch305_loss_functions.ipynb")


def test_files_that_could_both_be_it_are_not_guessed_between(tmp_path: Path) -> None:
    lay_out(tmp_path, f"ada/one/{FILE}", f"ada/two/{FILE}", "bob.py")
    states = {e.student: e for e in discover(tmp_path, ("ch305",)).entries}
    assert states["ada"].state == "ambiguous"
    assert f"ada/one/{FILE}" in states["ada"].note
    (tmp_path / "ada" / "two" / FILE).write_text(f"ada/one/{FILE}")  # the same bytes: no question
    assert {e.student: e.state for e in discover(tmp_path, ("ch305",)).entries} == {"ada": "ready", "bob": "ready"}


def test_nothing_is_dropped(tmp_path: Path) -> None:
    lay_out(tmp_path, "README.txt", "ada/essay.docx", "bob.py", "dl_4711_90210_report.pdf")
    (tmp_path / "cyd.zip").write_bytes(b"broken")
    (tmp_path / "eve.py").symlink_to("/etc/passwd")
    found = discover(tmp_path, ("ch305",), roster=["bob", "fay"])
    got = {e.student: (e.state, e.note) for e in found.entries}
    assert got["ada"] == ("missing", "not on the roster; there is no file for ch305 among ada/essay.docx")
    assert got["bob"] == ("ready", "")
    assert got["cyd"][0] == "unreadable"
    assert got["dl_4711"][0] == "missing"
    assert got["eve"][0] == "unreadable"
    assert got["fay"] == ("missing", "nothing was handed in")
    assert [path for path, _ in found.unmatched] == ["README.txt"]


def test_a_zip_whose_members_point_anywhere_is_gone_through(tmp_path: Path) -> None:
    lay_out(tmp_path, "all.zip!submitted/..", "all.zip!..", "all.zip!/", f"all.zip!submitted/ada/hw/{FILE}")
    assert by_student(discover(tmp_path / "all.zip", ("ch305",))) == {"ada": ("ready", f"submitted/ada/hw/{FILE}")}


def test_a_pattern_finds_students_where_nothing_else_does(tmp_path: Path) -> None:
    lay_out(tmp_path, "2026/group-1/s123/a.py", "2026/group-2/s124/a.py", "2026/readme.py")
    found = discover(tmp_path, ("ch305",), pattern=r"/(?P<student>s\d+)/")
    assert set(by_student(found)) == {"s123", "s124"}
    assert found.unmatched == (("2026/readme.py", "--student-pattern finds no student in its path"),)


def test_one_students_folder(tmp_path: Path) -> None:
    assert choose(lay_out(tmp_path, FILE, "helper.py"), "ch305").path == FILE
    assert choose(tmp_path, "ch306").state == "ready"  # helper.py is all there is for another chapter


@pytest.mark.parametrize(
    ("name", "student", "rest"),
    [
        ("doejane_4711_90210_", "doejane_4711", "x_1_22222_y.py"),
        ("Jane Doe_77_assignsubmission_file_", "Jane Doe_77", "Bob_78_assignsubmission_file_x.py"),
        ("HW_jdoe_attempt_2026-10-01-12-00-00_", "jdoe", "HW_bob_attempt_2026-10-01-12-00-00_x.py"),
    ],
)
def test_a_file_name_cannot_make_it_somebody_elses(name: str, student: str, rest: str) -> None:
    read = who(name + rest)
    assert read is not None
    assert (read.student, read.rest) == (student, rest)


def test_names() -> None:
    assert who("ada.py") is None
    assert plain("dl-ch305-ada") == "dl-ch305-ada"  # either side may be the class's
    assert plain("ch305_loss_functions_ada") == "ada"
    assert plain("ada_ch305_loss_functions") == "ada"
    assert plain("e\u0301va") == "\u00e9va"
    assert [chapter_of(n) for n in ("ch305x", "Chapter 305", "305_x", "room 305", "arch305", "3055")] == [
        "ch305",
        "ch305",
        "ch305",
        None,
        None,
        None,
    ]
    assert resubmission("x-2") == ("x", 2)
    assert resubmission("x (3)") == ("x", 3)
    assert resubmission("x") == ("x", 0)
