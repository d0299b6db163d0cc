"""A class's rules: points, lateness, extra time; and that no time is taken from a submission."""

from __future__ import annotations

from pathlib import Path

import pytest
from dlgrade.classroom.policy import Policy, PolicyError, grade, read_policy, read_times
from dlgrade.report.rows import Grade, Row

RULES = """
[workspace]
anything = "of other commands"

[class]
name = "Deep Learning"
chapters = ["ch305"]
points = 10
decimals = 1

[class.due]
ch305 = 2026-10-09T23:59:00+02:00

[class.late]
grace_minutes = 15
percent_per_day = 20
max_percent = 50
closed_after_days = 7

[class.extra_hours]
"Jane Doe_77" = 48
"4711" = { ch305 = 24 }
"""


def row(student: str = "ada", score: int = 83, status: str = "graded", user: str = "") -> Row:
    return Row(
        student=student,
        chapter="ch305",
        title="Loss Functions",
        status=status,  # type: ignore[arg-type]
        score=score,
        max_score=100,
        user=user,
    )


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    (tmp_path / "dlgrade.toml").write_text(RULES)
    return read_policy(tmp_path / "dlgrade.toml")


def graded(policy: Policy, tmp_path: Path, moment: str, one: Row) -> Grade:
    table = tmp_path / "times.csv"
    table.write_text(f"student,submitted\n{one.student},{moment}\n")
    return grade(one, policy, read_times(table))


@pytest.mark.parametrize(
    ("moment", "points", "penalty", "hours"),
    [
        ("2026-10-09T12:00:00+02:00", 8.3, 0, 0),
        ("2026-10-09 22:00:00Z", 8.3, 0, 0.02),  # one minute late, within the grace period
        ("2026-10-10T00:13:59+02:00", 8.3, 0, 0.25),
        ("2026-10-10T00:14:01+02:00", 6.6, 20, 0.25),  # 6.64
        ("2026-10-11T12:00:00+02:00", 5.0, 40, 36.02),  # 4.98
        ("2026-10-14T12:00:00+02:00", 4.2, 50, 108.02),  # 4.15, half up
        ("2026-10-20T12:00:00+02:00", 0.0, 100, 252.02),
    ],
)
def test_lateness(policy: Policy, tmp_path: Path, moment: str, points: float, penalty: float, hours: float) -> None:
    made = graded(policy, tmp_path, moment, row())
    assert (made.points, made.max_points, made.penalty, made.late_hours) == (points, 10, penalty, hours)


def test_extra_time_by_name_and_by_the_platforms_number(policy: Policy, tmp_path: Path) -> None:
    late = "2026-10-10T23:00:00+02:00"
    assert graded(policy, tmp_path, late, row()).penalty == 20
    assert graded(policy, tmp_path, late, row("Jane Doe_77")).penalty == 0
    assert graded(policy, tmp_path, late, row("doejane_4711", user="4711")).penalty == 0
    assert graded(policy, tmp_path, "2026-10-11T01:00:00+02:00", row("doejane_4711", user="4711")).penalty == 20


def test_without_a_trusted_time_nothing_is_taken_off_and_it_is_said(policy: Policy) -> None:
    made = grade(row(), policy, {})
    assert (made.points, made.penalty, made.late_hours) == (8.3, 0, None)
    assert "no trusted time" in made.remark


def test_what_was_not_graded_has_no_points_and_what_is_missing_has_none_to_lose(policy: Policy) -> None:
    assert grade(row(status="ungraded", score=0), policy, {}).points is None
    assert grade(row(status="missing", score=0), policy, {}).points == 0.0


def test_times_by_chapter_and_the_latest(tmp_path: Path) -> None:
    table = tmp_path / "times.csv"
    table.write_text(
        "\ufeffstudent,chapter,submitted\nada,ch305,2026-10-09T10:00:00Z\nada,ch305,2026-10-09T12:00:00Z\n"
        "ada,,2026-10-01T00:00:00Z\n"
    )
    times = read_times(table)
    assert times[("ada", "ch305")].hour == 12
    assert times[("ada", "")].day == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,when\n", "needs the columns student and submitted"),
        ("student,submitted\nada,yesterday\n", "line 2: 'yesterday' is no time"),
        ("student,submitted\nada,2026-10-09T10:00:00\n", "needs an offset"),
    ],
)
def test_times_that_cannot_be_read(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(PolicyError, match=said):
        read_times(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[class\n", "dlgrade.toml"),
        ("[class]\npenalty = 3\n", "unknown field `penalty`"),
        ("[class]\npoints = 0\n", "points must be above 0"),
        ("[class]\nchapters = ['305']\n", "there is no chapter '305'"),
        ("[class.due]\nch305 = 2026-10-09T23:59:00\n", "needs an offset"),
        ("[class.late]\nmax_percent = 120\n", "max_percent"),
    ],
)
def test_rules_that_cannot_be_meant(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "dlgrade.toml"
    path.write_text(text)
    with pytest.raises(PolicyError, match=said):
        read_policy(path)


def test_without_a_file_scores_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = grade(row(), read_policy(None), {})
    assert (made.points, made.max_points) == (83.0, 100.0)
    with pytest.raises(PolicyError, match="cannot be read"):
        read_policy(tmp_path / "rules.toml")
