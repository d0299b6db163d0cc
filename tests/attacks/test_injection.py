"""What student code prints, names and raises is shown under a public seed, and steers no reader of any format."""

from __future__ import annotations

import json
import re
import sys
import unicodedata
import xml.etree.ElementTree as ET

import pytest
from arena import Arena, Attack, attacks
from dlgrade.grading.grader import Grader
from dlgrade.grading.results import ChapterResult
from dlgrade.grading.seeds import public_seed
from dlgrade.report import formats
from dlgrade.report.feedback import render as feedback
from dlgrade.report.rows import Grade, Row

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the arena needs a nursery")
NAMES = ("escape_codes", "markup_injection", "exceptions_that_lie", "carry_inputs_in_names")
ATTACKS = [attack for attack in attacks() if attack.name in NAMES]


@pytest.fixture(scope="module", params=ATTACKS, ids=[attack.name for attack in ATTACKS])
def shown(request: pytest.FixtureRequest, arena: Arena) -> ChapterResult:
    """The attack's result under the practice seed, where everything is shown."""
    attack: Attack = request.param
    from dlgrade.course import registry

    return Grader(registry.chapter("ch305"), public_seed(7), arena.launcher).grade(arena.source(attack))


def test_no_point_is_gained(shown: ChapterResult) -> None:
    assert shown.score == 0


@pytest.mark.parametrize("name", ["text", "json", "junit", "markdown", "gradescope", "github"])
def test_no_control_character_reaches_a_report(
    shown: ChapterResult, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    report = formats.render(name, shown)
    steering = {c for c in report if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert steering <= {"\u200c", "\u200d"}
    assert len(report) < 400_000


def test_markup_stays_text(shown: ChapterResult) -> None:
    for name in ("markdown", "text"):
        report = formats.render(name, shown)
        assert not any(line.startswith("::error file=x") for line in report.splitlines())
    fenced = re.compile(r"^ *(`{3,})[^\n]*\n.*?^ *\1 *$", re.M | re.S)
    assert "<script" not in fenced.sub("", formats.render("markdown", shown))
    row = Row(
        student="<script>x</script>",
        chapter="ch305",
        title=shown.title,
        status="graded",
        score=0,
        max_score=100,
        result=shown,
    )
    page = feedback(Grade(row=row, points=0.0, max_points=100.0), "values")
    assert "<script>x" not in page
    assert "<script>fetch" not in page
    assert "<img src=x" not in page


def test_no_test_case_is_forged(shown: ChapterResult) -> None:
    cases = ET.fromstring(formats.render("junit", shown)).iter("testcase")
    assert [case for case in cases if case.get("name") == "forged"] == []
    data = json.loads(formats.render("json", shown))
    assert [len(exercise["checks"]) for exercise in data["exercises"]] == [len(e.checks) for e in shown.exercises]
