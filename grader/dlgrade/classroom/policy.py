"""A class's rules, from the `[class]` table of `dlgrade.toml`: which chapters count, points, due dates, lateness.

    [class]
    name = "Deep Learning, autumn 2026"
    chapters = ["ch305", "ch306"]
    points = 10                                # a chapter's full marks in your gradebook; default 100
    decimals = 1                               # digits after the point; default 2

    [class.due]
    ch305 = 2026-10-09T23:59:00+02:00          # always with an offset

    [class.late]
    grace_minutes = 15
    percent_per_day = 10                       # for every day begun
    max_percent = 50
    closed_after_days = 7                      # later than this scores 0

    [class.extra_hours]
    "Jane Doe_77" = 48                         # on every due date, or { ch305 = 48 }

Nothing here reads a time from a submission: files, archives and repositories are their students'. Times come from a
table that the instructor exports from the platform that received the work.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import msgspec

from dlgrade.classroom.names import normal
from dlgrade.course import registry
from dlgrade.report.rows import Grade, Row

FILE = "dlgrade.toml"


class PolicyError(ValueError):
    """Rules or times that cannot be read; the message is one sentence."""


class Late(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What being late costs. Without `closed_after_days` a chapter never closes."""

    grace_minutes: float = 0.0
    percent_per_day: float = 0.0
    max_percent: float = 100.0
    closed_after_days: float | None = None


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rules of one class; the default has no due dates and leaves scores as they are."""

    name: str = ""
    chapters: tuple[str, ...] = ()
    points: float | dict[str, float] = 100.0
    decimals: int = 2
    due: dict[str, datetime] = {}
    late: Late = Late()
    extra_hours: dict[str, float | dict[str, float]] = {}

    def max_points(self, chapter: str) -> float:
        return self.points.get(chapter, 100.0) if isinstance(self.points, dict) else self.points

    def due_for(self, row: Row) -> datetime | None:
        """When a student's answer is due, extra time included."""
        due = self.due.get(row.chapter)
        extra = self.extra_hours.get(row.student, self.extra_hours.get(row.user, 0.0) if row.user else 0.0)
        hours = extra.get(row.chapter, 0.0) if isinstance(extra, dict) else extra
        return due + timedelta(hours=hours) if due else None


class _File(msgspec.Struct, frozen=True):
    """`dlgrade.toml`, whose other tables are other commands'."""

    policy: Policy = msgspec.field(name="class", default=Policy())


def read_policy(path: Path | None) -> Policy:
    """The rules in a file, by default those in `./dlgrade.toml`; raises `PolicyError` for what they cannot say."""
    explicit = path is not None
    path = path or Path(FILE)
    if not explicit and not path.is_file():
        return Policy()
    try:
        policy = msgspec.toml.decode(path.read_bytes(), type=_File).policy
    except OSError as error:
        raise PolicyError(f"{path} cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PolicyError(f"{path}: {error}") from None
    return _checked(policy, path)


def _checked(policy: Policy, path: Path) -> Policy:
    points = policy.points.values() if isinstance(policy.points, dict) else (policy.points,)
    named = [*policy.chapters, *policy.due, *(policy.points if isinstance(policy.points, dict) else ())]
    for chapter in named:
        if chapter not in registry.stems():
            raise PolicyError(f"{path}: there is no chapter {chapter!r}; write it as ch305")
    for chapter, due in policy.due.items():
        if due.tzinfo is None:
            raise PolicyError(
                f"{path}: the due date of {chapter} needs an offset from UTC, as in {due.isoformat()}+00:00"
            )
    if not 0 <= policy.decimals <= 6 or not all(math.isfinite(p) and p > 0 for p in points):
        raise PolicyError(f"{path}: points must be above 0, decimals between 0 and 6")
    late = policy.late
    if min(late.grace_minutes, late.percent_per_day, late.max_percent) < 0 or late.max_percent > 100:
        raise PolicyError(
            f"{path}: grace, percent_per_day and max_percent cannot be negative, nor max_percent above 100"
        )
    return policy


Times = Mapping[tuple[str, str], datetime]


def read_times(path: Path) -> dict[tuple[str, str], datetime]:
    """Trusted times from a CSV table with columns `student`, `submitted` (ISO 8601 with an offset), perhaps `chapter`.

    `student` is a name as in the ledger, or the platform's number; without a chapter a time counts for all of them, and
    its key ends with an empty string. Of several times the latest counts.
    """
    times: dict[tuple[str, str], datetime] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            table = csv.DictReader(stream)
            if not {"student", "submitted"} <= set(table.fieldnames or ()):
                raise PolicyError(f"{path} needs the columns student and submitted")
            for line, row in enumerate(table, 2):
                key = (normal(row["student"] or ""), (row.get("chapter") or "").strip())
                times[key] = max(_moment(row["submitted"] or "", path, line), times.get(key, _LONG_AGO))
    except OSError as error:
        raise PolicyError(f"{path} cannot be read: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise PolicyError(f"{path} is no CSV table in UTF-8: {error}") from None
    return times


_LONG_AGO = datetime.fromisoformat("1900-01-01T00:00:00+00:00")


def _moment(text: str, path: Path, line: int) -> datetime:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise PolicyError(f"{path}, line {line}: {text!r} is no time like 2026-10-09T23:59:00+02:00") from None
    if moment.tzinfo is None:
        raise PolicyError(f"{path}, line {line}: {text} needs an offset from UTC, as in {text}+00:00")
    return moment


def submitted_at(row: Row, times: Times) -> datetime | None:
    for student in (row.student, row.user):
        for chapter in (row.chapter, ""):
            if student and (moment := times.get((student, chapter))):
                return moment
    return None


def grade(row: Row, policy: Policy, times: Times) -> Grade:
    """What a row is worth under the rules, rounded half up."""
    most = policy.max_points(row.chapter)
    if row.status == "ungraded":
        return Grade(row=row, points=None, max_points=most, remark="not graded yet")
    due, moment = policy.due_for(row), submitted_at(row, times)
    shown = moment.isoformat(sep=" ", timespec="seconds") if moment else ""
    points = Decimal(row.score) * Decimal(repr(most)) / row.max_score if row.max_score else Decimal(0)
    if due is None or row.status == "missing":
        return Grade(row=row, points=_rounded(points, policy), max_points=most, submitted=shown)
    if moment is None:
        remark = "no trusted time, so no lateness is counted"
        return Grade(row=row, points=_rounded(points, policy), max_points=most, remark=remark)
    late = max((moment - due).total_seconds(), 0.0)
    penalty, remark = _penalty(late, policy.late)
    return Grade(
        row=row,
        points=_rounded(points * (1 - Decimal(repr(penalty)) / 100), policy),
        max_points=most,
        submitted=shown,
        late_hours=round(late / 3600, 2),
        penalty=penalty,
        remark=remark,
    )


def _penalty(seconds: float, late: Late) -> tuple[float, str]:
    """The percentage that being late by `seconds` costs, and what to say of it."""
    if seconds <= 60 * late.grace_minutes:
        return 0.0, "within the grace period" if seconds else ""
    if late.closed_after_days is not None and seconds > 86400 * late.closed_after_days:
        return 100.0, "handed in after it was closed"
    days = math.ceil(seconds / 86400)
    percent = min(late.percent_per_day * days, late.max_percent)
    return percent, f"late by {days} day{'s' if days > 1 else ''} begun"


def _rounded(points: Decimal, policy: Policy) -> float:
    # In decimals throughout, so that 4.15 rounds to 4.2 as on paper.
    return float(points.quantize(Decimal(1).scaleb(-policy.decimals), ROUND_HALF_UP))
