"""A class as one JUnit XML file: a suite for every student and chapter. Written suite by suite, for a class is long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from xml.etree import ElementTree as ET

from dlgrade.report.junit import suite
from dlgrade.report.rows import Row
from dlgrade.report.safe import head, one_line


def pieces(rows: Callable[[], Iterable[Row]]) -> Iterator[str]:
    """The file, piece by piece. `rows` is asked twice, for the counts come first."""
    counts: Counter[str] = Counter()
    for row in rows():
        counts.update({name: int(_suite(row).attrib[name]) for name in ("tests", "failures", "errors")})
        counts["milliseconds"] += round(1000 * row.result.duration_s) if row.result else 0
    yield '<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="dlgrade"'
    yield "".join(f' {name}="{counts[name]}"' for name in ("tests", "failures", "errors"))
    yield f' time="{counts["milliseconds"] / 1000:.3f}">\n'
    for row in rows():
        element = _suite(row)
        ET.indent(element)
        yield ET.tostring(element, encoding="unicode") + "\n"
    yield "</testsuites>\n"


def _suite(row: Row) -> ET.Element:
    name = f"{row.student} {row.chapter} {row.title}"
    return suite(row.result, name) if row.result else _without_result(row, name)


def _without_result(row: Row, name: str) -> ET.Element:
    """A suite with one error: there was nothing to grade, or the grader could not."""
    element = ET.Element(
        "testsuite", name=one_line(name), tests="1", failures="0", errors="1", skipped="0", time="0.000"
    )
    properties = ET.SubElement(element, "properties")
    for fact, value in (("score", str(row.score)), ("max_score", str(row.max_score)), ("file", one_line(row.file))):
        if value and not (fact == "score" and row.status == "ungraded"):
            ET.SubElement(properties, "property", name=fact, value=value)
    case = ET.SubElement(element, "testcase", name="submission", classname=row.chapter)
    error = ET.SubElement(case, "error", type=row.status, message=one_line(row.note[:200]) or row.status)
    error.text = head(row.note)
    return element
