"""What is written of a class, held against what reads it: golden files, schemas, and names that mean harm."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import jsonschema
import pytest
import xmlschema
from dlgrade.classroom.outputs import NAMES, OutputError, Request, write_all
from dlgrade.report import canvas, class_junit, class_page, class_text, feedback, jsonl, moodle, sheet
from dlgrade.report.canvas import SheetError
from dlgrade.report.class_summary import summaries
from dlgrade.report.rows import Grade
from hypothesis import given, settings
from hypothesis import strategies as st
from referencing import Registry, Resource

ROOT = Path(__file__).parents[2]
Golden = Callable[[str, str], None]

CANVAS_EXPORT = """\
Student,ID,SIS User ID,SIS Login ID,Section,Chapter 304 (88),Loss Functions ch305 (99),Total ch305 (read only)
    Points Possible,,,,,100,100,(read only)
"Doe, Jane",4711,s1,jdoe,A,5,,1
"Ada, A",1,s2,ada,A,6,,2
"Nobody, N",2,s3,nn,A,7,33,3
"""

MOODLE_WORKSHEET = """\
Identifier,Full name,Email address,Status,Grade,Maximum grade,Last modified (grade),Feedback comments
Participant 78,Bob Smith,b@x.org,Submitted for grading,,100.00,-,
Participant 79,"Ada, A",ada,Submitted for grading,,100.00,-,
Participant 80,N. N.,n@x.org,No submission,12,100.00,-,as it was
"""


def as_csv(table: Iterable[Iterable[object]]) -> str:
    stream = io.StringIO(newline="")
    sheet.write(stream, table)
    return stream.getvalue()


def parsed(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def test_grades_csv(class_grades: list[Grade], golden: Golden) -> None:
    golden("grades.csv", as_csv(sheet.grades(class_grades)))


def test_canvas_without_an_export(class_grades: list[Grade], golden: Golden) -> None:
    golden("canvas.csv", as_csv(canvas.fresh(class_grades)))


def test_canvas_with_an_export(class_grades: list[Grade], golden: Golden) -> None:
    table, lost = canvas.filled(parsed(CANVAS_EXPORT), class_grades)
    golden("canvas.filled.csv", as_csv(table))
    assert lost == [g.row.student for g in class_grades if g.row.student not in ("ada", "doejane_4711")]


def test_moodle_without_a_worksheet(class_grades: list[Grade], golden: Golden) -> None:
    golden("moodle.csv", as_csv(moodle.fresh(class_grades)))


def test_moodle_with_a_worksheet(class_grades: list[Grade], golden: Golden) -> None:
    table, lost = moodle.filled(parsed(MOODLE_WORKSHEET), class_grades)
    golden("moodle.filled.csv", as_csv(table))
    assert "Bob Smith_78" not in lost
    assert "ada" not in lost


@pytest.mark.parametrize(
    ("fill", "text", "said"),
    [
        (canvas.filled, "a,b\n1,2\n", "no export of a Canvas gradebook"),
        (canvas.filled, "Student,ID,ch304\nx,1,\n", "no column of it names ch305"),
        (canvas.filled, "Student,ID,ch305 (1),ch305 (2)\nx,1,,\n", "several columns could be ch305"),
        (moodle.filled, "Student,ID\n", "no grading worksheet"),
        (moodle.filled, MOODLE_WORKSHEET.replace("100.00", "10.00"), "set `points = 10`"),
    ],
)
def test_exports_that_cannot_be_filled_in(fill, text: str, said: str, class_grades: list[Grade]) -> None:
    with pytest.raises(SheetError, match=said):
        fill(parsed(text), class_grades)


def test_no_cell_is_a_formula(class_grades: list[Grade]) -> None:
    tables = [sheet.grades(class_grades), canvas.fresh(class_grades), moodle.fresh(class_grades)]
    cells = [cell for table in tables for row in parsed(as_csv(table)) for cell in row]
    assert not [cell for cell in cells if len(cell) > 1 and cell.lstrip()[:1] in ("=", "+", "-", "@", "\t", "\r")]
    assert not [cell for cell in cells if "\x1b" in cell or "\u202e" in cell or "\n" in cell]


@settings(deadline=None)
@given(st.text())
def test_any_text_is_one_harmless_cell(text: str) -> None:
    written = as_csv([[text, "after"]])
    written.encode()
    [[cell, after]] = parsed(written)
    assert after == "after"
    if cell.lstrip()[:1] in ("=", "+", "-", "@", "\t", "\r"):
        assert re.fullmatch(r"\s*[=+\-@]|[+-]?\d+(\.\d+)?%?", cell)


def test_numbers_stay_numbers() -> None:
    assert [sheet.cell(v) for v in (-1.5, "-1.5", 3, 0.1 + 0.2, None, "+7")] == ["-1.5", "-1.5", "3", "0.3", "", "+7"]


def schema() -> jsonschema.Draft202012Validator:
    row, result = (
        json.loads((ROOT / "docs" / name).read_text()) for name in ("class-row.schema.json", "result.schema.json")
    )
    registry = Registry().with_resource("https://dlgrade.invalid/result.schema.json", Resource.from_contents(result))
    jsonschema.Draft202012Validator.check_schema(row)
    return jsonschema.Draft202012Validator(row, registry=registry)


def test_json_lines(class_grades: list[Grade], golden: Golden) -> None:
    lines = [jsonl.line(grade) for grade in class_grades]
    golden("results.jsonl", "".join(lines))
    for line in lines:
        schema().validate(json.loads(line))
        assert line.count("\n") == 1
        assert line[:-1].isprintable()
    ungraded = json.loads(lines[6])
    assert (ungraded["status"], ungraded["score"], ungraded["points"]) == ("ungraded", None, None)


def test_junit(class_grades: list[Grade], golden: Golden) -> None:
    written = "".join(class_junit.pieces(lambda: [grade.row for grade in class_grades]))
    golden("class.junit.xml", written)
    xmlschema.XMLSchema(ROOT / "tests" / "report" / "junit.xsd").validate(written)


@pytest.mark.parametrize("reveal", ["none", "mistake", "values"])
def test_feedback(class_grades: list[Grade], golden: Golden, reveal) -> None:
    golden(f"feedback.{reveal}.html", feedback.render(class_grades[2], reveal))


def test_feedback_tells_as_much_as_it_may(class_grades: list[Grade]) -> None:
    none, mistake, values = (feedback.render(class_grades[1], reveal) for reveal in ("none", "mistake", "values"))
    for page in (none, mistake, values):
        assert "late by 1 day begun" in page
        assert "80 / 100" in page or "64 / 100" in page
    assert "mse-gradient-sign" not in none
    assert "expected 1" not in none
    assert "Recognised mistake: mse-gradient-sign" in mistake
    assert "divide by <code>B</code> once" in mistake
    assert "What your code printed" not in mistake
    assert "What your code printed" in values


def test_feedback_where_there_is_no_result(class_grades: list[Grade]) -> None:
    unreadable, ungraded = feedback.render(class_grades[4]), feedback.render(class_grades[6])
    assert "dan.py is not UTF-8 text" in unreadable
    assert "not graded yet" in ungraded
    assert "died each time" not in ungraded


def test_no_name_becomes_markup(class_grades: list[Grade]) -> None:
    page = class_page.render(summaries(class_grades))
    pages = [page, *(feedback.render(grade) for grade in class_grades)]
    for text in pages:
        assert "<script" not in text
        assert "<img" not in text
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "default-src 'none'" in text
        assert "http://" not in text.replace("http://evil", "")


def test_file_names_are_harmless_and_apart() -> None:
    names = ["ada", "Ada", "../../etc/passwd", "a/b", "a b", "", ".", "con\x00", "x" * 300, "y" * 300, "élan", "é" * 99]
    made = [feedback.file_name(name, "ch305") for name in names]
    assert len({name.lower() for name in made}) == len(names)
    assert all(name.isascii() and "/" not in name and not name.startswith(".") and len(name) < 100 for name in made)
    assert made[0] == "ada.ch305.html"
    crafted = made[4].removesuffix(".ch305.html")
    assert feedback.file_name(crafted, "ch305") != made[4]


def test_the_class_page_counts(class_grades: list[Grade], golden: Golden) -> None:
    [summary] = summaries(class_grades)
    assert (summary.rows, len(summary.scores), summary.full) == (11, 8, 0)
    assert summary.statuses == {"graded": 7, "problem": 1, "unreadable": 1, "missing": 1, "ungraded": 1}
    [mistake] = summary.mistakes
    assert (mistake.name, mistake.exercise, len(mistake.students), mistake.points) == (
        "mse-gradient-sign",
        "mse",
        6,
        60,
    )
    [unnamed] = summary.unnamed
    assert (unnamed.exercise, unnamed.students) == ("softmax", 1)
    assert sum(count for _, count in summary.bins()) == 8
    assert [a.student for a in summary.attention] == ["cyd", "dan", "eve", "fay"]
    golden("class.html", class_page.render([summary], "Deep Learning, autumn"))


def test_a_large_class_is_shown_in_bands(class_grades: list[Grade]) -> None:
    from msgspec.structs import replace

    many = [replace(class_grades[i % 3], row=replace(class_grades[i % 3].row, student=f"s{i}")) for i in range(1001)]
    [summary] = summaries(many)
    assert summary.banded == 9
    assert len(summary.heat) == 112
    assert summary.heat[0].label == "1 to 9"
    assert "mean of 9 students" in class_page.render([summary])


def test_text_and_json(class_grades: list[Grade], golden: Golden) -> None:
    reports = summaries(class_grades)
    golden("class.txt", class_text.summary(reports, 2))
    golden("class.json", class_text.as_json(reports, []))


def test_files_are_whole_or_not_there(class_grades: list[Grade], tmp_path: Path) -> None:
    def interrupted():  # type: ignore[no-untyped-def]
        yield from class_grades[:3]
        raise OSError(28, "No space left on device")

    (tmp_path / "grades.csv").write_text("as before")
    with pytest.raises(OutputError, match="No space left"):
        write_all(tmp_path, interrupted, Request(names=("csv",)))
    assert (tmp_path / "grades.csv").read_text() == "as before"
    assert [path.name for path in tmp_path.iterdir()] == ["grades.csv"]


def test_every_file_is_written(class_grades: list[Grade], tmp_path: Path) -> None:
    export = tmp_path / "export.csv"
    export.write_text("\ufeff" + CANVAS_EXPORT)
    remarks = write_all(tmp_path / "out", lambda: iter(class_grades), Request(names=NAMES, canvas_export=export))
    assert remarks
    assert "graded students are not in" in remarks[0]
    feedbacks = list((tmp_path / "out" / "feedback").glob("*.html"))
    assert len(feedbacks) == len(class_grades)
    index = parsed((tmp_path / "out" / "feedback" / "index.csv").read_text())
    assert {row[2] for row in index[1:]} == {path.name for path in feedbacks}
    assert len(list((tmp_path / "out" / "gradescope").iterdir())) == 8
