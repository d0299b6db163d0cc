"""The record of what was done: what it adds up to, and that nothing breaks it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest
from dlgrade.course.spec import Chapter
from dlgrade.selfstudy import progress
from dlgrade.selfstudy.progress import FILE, ProgressError


def state(root: Path, id: str = "ch305") -> progress.ChapterState:
    return progress.load(root).chapters()[id]


def test_nothing_recorded_is_an_empty_history(root: Path, chapter: Chapter) -> None:
    assert progress.load(root) == progress.History()
    assert progress.feedback(root, chapter) is None
    assert not (root / FILE).exists()


def test_best_and_latest(root: Path, record: Any) -> None:
    record(record.full | {"mse": 3})
    record(record.full | {"mse": 0, "huber": 0})
    now = state(root)
    assert (now.best, now.latest, now.checks, now.solved) == (91, 75, 2, False)
    record(record.full)
    record({"mse": 0})
    now = state(root)
    assert (now.best, now.latest, now.solved) == (100, 88, True)
    assert now.solved_at <= now.last_at


def test_single_exercises_add_up_to_a_chapter(root: Path, chapter: Chapter, record: Any) -> None:
    for exercise in chapter.exercises:
        assert not (root / FILE).exists() or not state(root).solved
        record({exercise.name: exercise.points})
    assert state(root).solved


def test_a_whole_check_forgets_exercises_that_are_gone(root: Path, record: Any) -> None:
    record(record.full)
    with sqlite3.connect(root / FILE) as db:
        db.execute("UPDATE exercises SET exercise = 'renamed' WHERE exercise = 'mse'")
    record(record.full)
    assert set(state(root).exercises) == set(record.full)


def test_a_reset_starts_again_but_keeps_the_best(root: Path, chapter: Chapter, record: Any) -> None:
    record(record.full)
    progress.note(root, "reset", "ch305")
    now = state(root)
    assert (now.best, now.latest, now.exercises, now.solved) == (100, 0, {}, True)
    assert progress.feedback(root, chapter) is None
    record({"mse": 5})
    assert state(root).latest == 5


def test_events_are_in_order_though_the_clock_goes_back(
    root: Path, record: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "now", lambda: "2030-01-01T00:00:00Z")
    record({"mse": 5})
    monkeypatch.setattr(progress, "now", lambda: "2020-01-01T00:00:00Z")
    progress.note(root, "reset", "ch305")
    assert state(root).latest == 0


def test_giving_up_is_remembered_once(root: Path) -> None:
    progress.note(root, "gave up", "ch305")
    first = state(root).gave_up_at
    progress.note(root, "gave up", "ch305")
    assert first
    assert state(root).gave_up_at == first


def test_feedback_is_the_last_result_of_each_exercise(root: Path, chapter: Chapter, record: Any) -> None:
    progress.record(root, chapter, record.result(record.full), dict.fromkeys(record.full, "one"), "check")
    progress.record(root, chapter, record.result({"mse": 2}, "some-mistake"), {"mse": "two"}, "watch")
    found = progress.feedback(root, chapter)
    assert found is not None
    assert [e.name for e in found.result.exercises] == [e.name for e in chapter.exercises]
    assert found.result.score == 90
    assert found.fingerprints["mse"] == "two"
    assert found.fingerprints["huber"] == "one"
    assert progress.load(root).checks[1].exercises["mse"].mistakes == ("some-mistake",)


def test_feedback_is_about_the_practice_inputs(root: Path, chapter: Chapter, record: Any) -> None:
    record(record.full)
    progress.record(root, chapter, record.result({"mse": 2}, seed=3), {}, "check")
    found = progress.feedback(root, chapter)
    assert found is not None
    assert found.result.full_marks
    assert state(root).latest == 90


def test_the_last_chapter_is_one_the_student_checked(root: Path, chapter: Chapter, record: Any) -> None:
    record({"mse": 1})
    other = msgspec.structs.replace(record.result({"mse": 1}), chapter="ch306")
    progress.record(root, chapter, other, {}, "report")
    assert progress.load(root).last_chapter() == "ch305"


def test_text_that_is_no_utf8_is_kept(root: Path, chapter: Chapter, record: Any) -> None:
    result = msgspec.structs.replace(record.result(record.full), stdout="\ud800", file="a\udce9.py")
    progress.record(root, chapter, result, {}, "check")
    found = progress.feedback(root, chapter)
    assert found is not None
    assert found.result.file == "a\\udce9.py"


def test_a_secret_seed_is_never_recorded(root: Path, chapter: Chapter, record: Any) -> None:
    with pytest.raises(ValueError, match="secret"):
        progress.record(root, chapter, record.result({"mse": 1}, seed="secret"), {}, "check")
    assert not (root / FILE).exists()


def test_a_picture_is_kept_for_the_code_it_shows(root: Path) -> None:
    assert progress.picture(root, "ch305", "a") is None
    progress.keep_picture(root, "ch305", "a", b"png")
    assert progress.picture(root, "ch305", "a") == b"png"
    assert progress.picture(root, "ch305", "b") is None


def test_hints_seen(root: Path) -> None:
    progress.note(root, "hint", "ch305", "mse", "1")
    progress.note(root, "hint", "ch305", "huber", "2")
    assert [e.detail for e in progress.hints_seen(root, "ch305", "mse")] == ["1"]


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be read as one" * 40, b"short"])
def test_a_file_that_is_no_database_is_one_sentence_and_stays(root: Path, record: Any, content: bytes) -> None:
    (root / FILE).write_bytes(content)
    with pytest.raises(ProgressError, match="cannot be read"):
        progress.load(root)
    with pytest.raises(ProgressError, match="cannot be written"):
        record({"mse": 1})
    assert (root / FILE).read_bytes() == content


def test_another_programs_database_is_left_alone(root: Path, record: Any) -> None:
    with sqlite3.connect(root / FILE) as db:
        db.execute("CREATE TABLE theirs (x)")
    with pytest.raises(ProgressError, match="not a progress file"):
        record({"mse": 1})
    with sqlite3.connect(root / FILE) as db:
        assert [name for (name,) in db.execute("SELECT name FROM sqlite_master")] == ["theirs"]


def test_a_newer_versions_file_is_left_alone(root: Path, record: Any) -> None:
    record({"mse": 1})
    with sqlite3.connect(root / FILE) as db:
        db.execute(f"PRAGMA user_version = {progress.VERSION + 1}")
    with pytest.raises(ProgressError, match="newer dlgrade"):
        progress.load(root)
    with pytest.raises(ProgressError, match="newer dlgrade"):
        record({"mse": 1})


def test_an_empty_file_is_filled(root: Path, record: Any) -> None:
    (root / FILE).touch()
    assert progress.load(root) == progress.History()
    record({"mse": 1})
    assert state(root).latest == 1


@pytest.mark.skipif(os.name == "nt", reason="open files cannot be copied there")
def test_what_a_crash_in_the_middle_of_a_change_leaves_is_the_state_before(
    root: Path, record: Any, tmp_path: Path
) -> None:
    record({"mse": 7})
    before = progress.load(root)
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    db = sqlite3.connect(root / FILE, isolation_level=None)
    db.execute("PRAGMA cache_size = 2")  # so that half of the change is in the file before it is complete
    db.execute("BEGIN IMMEDIATE")
    db.execute("DELETE FROM checks")
    for i in range(50):
        db.execute("INSERT INTO pictures VALUES (?, 'x', ?)", (f"ch{i}", b"x" * 20_000))
    for path in root.glob(f"{FILE}*"):
        shutil.copy(path, crashed)
    db.close()
    assert (crashed / FILE).stat().st_size > 200_000
    assert {p.name for p in crashed.iterdir()} == {FILE, f"{FILE}-journal"}
    assert progress.load(crashed) == before
    record({"mse": 8}, root=crashed)
    assert state(crashed).latest == 8
    assert [p.name for p in crashed.iterdir()] == [FILE]


def test_export_holds_everything(root: Path, record: Any) -> None:
    record({"mse": 7}, "some-mistake")
    progress.note(root, "hint", "ch305", "mse", "1")
    data = msgspec.json.decode(msgspec.json.encode(progress.export(progress.load(root))))
    assert data["schema"] == 1
    assert data["chapters"]["ch305"]["best"] == 7
    assert data["checks"][0]["exercises"]["mse"]["mistakes"] == ["some-mistake"]
    assert data["events"][0]["kind"] == "hint"
