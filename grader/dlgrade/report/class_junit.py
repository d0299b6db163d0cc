"""A class as one JUnit XML file: a suite for every student and chapter. Written suite by suite, for a class is long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from xml.etree import ElementTree as ET

from dlgrade.report.junit import suite
from dlgrade.report.rows import Row
from dlgrade.report.safe import head, one_line


def pieces(rows: Iterable[Row]) -> Iterator[str]:
    """The file, piece by piece."""
    yield '<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="dlgrade">\n'
    for row in rows:
        name = f"{row.student} {row.chapter} {row.title}"
        element = suite(row.result, name) if row.result else _without_result(row, name)
        ET.indent(element)
        yield ET.tostring(element, encoding="unicode") + "\n"
    yield "</testsuites>\n"


def _without_result(row: Row, name: str) -> ET.Element:
    """A suite with one error: there was nothing to grade, or the grader could not."""
    element = ET.Element(
        "testsuite", name=one_line(name), tests="1", failures="0", errors="1", skipped="0", time="0.000"
    )
    case = ET.SubElement(element, "testcase", name="submission", classname=row.chapter)
    error = ET.SubElement(case, "error", type=row.status, message=one_line(row.note[:200]))
    error.text = head(row.note)
    return element
