"""A result as JUnit XML: a suite for each chapter, a test case for each check.

The vocabulary is that of Jenkins' `junit-10.xsd`, the strictest in use; GitLab and pytest's readers take it too.
A wrong, missing or refused answer is a failure; code that raised, crashed or ran out of time is an error.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from dlgrade.grading.results import ChapterResult, CheckResult, ExerciseResult, Status
from dlgrade.report.parts import Result, chapters_of, explanation, printed, summary, wrong
from dlgrade.report.safe import head, one_line

ELEMENTS: dict[Status, str] = {
    "failed": "failure",
    "missing": "failure",
    "refused": "failure",
    "error": "error",
    "timeout": "error",
    "crashed": "error",
    "skipped": "skipped",
}


def render(result: Result) -> str:
    chapters = chapters_of(result)
    checks = [c for chapter in chapters for c in _checks(chapter)]
    root = ET.Element(
        "testsuites",
        name="dlgrade",
        tests=str(len(checks)),
        failures=_count(checks, "failure"),
        errors=_count(checks, "error"),
        time=f"{sum(chapter.duration_s for chapter in chapters):.3f}",
    )
    for chapter in chapters:
        root.append(suite(chapter, f"{chapter.chapter} {chapter.title}"))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def suite(chapter: ChapterResult, name: str) -> ET.Element:
    """A chapter's element, under a name of the caller's."""
    checks = _checks(chapter)
    suite = ET.Element(
        "testsuite",
        name=one_line(name),
        tests=str(len(checks)),
        failures=_count(checks, "failure"),
        errors=_count(checks, "error"),
        skipped=_count(checks, "skipped"),
        time=f"{chapter.duration_s:.3f}",
    )
    properties = ET.SubElement(suite, "properties")
    for name in ("score", "max_score", "file", "sha256", "seed", "seed_fingerprint", "sandbox", "dlgrade"):
        if value := str(getattr(chapter, name)):
            ET.SubElement(properties, "property", name=name, value=one_line(value))
    for exercise in chapter.exercises:
        suite.extend(_cases(chapter, exercise))
    if chapter_output := printed(chapter.stdout):
        ET.SubElement(suite, "system-out").text = chapter_output
    if chapter.problem:
        ET.SubElement(suite, "system-err").text = head(chapter.problem)
    return suite


def _cases(chapter: ChapterResult, exercise: ExerciseResult) -> list[ET.Element]:
    cases = []
    # The output belongs to the exercise; the first check that went wrong is where somebody will look for it.
    blamed = next(iter(wrong(exercise)), None)
    for check in exercise.checks:
        case = ET.Element(
            "testcase", name=one_line(check.name), classname=one_line(f"{chapter.chapter}.{exercise.name}")
        )
        if check.status != "passed":
            element = ET.SubElement(case, ELEMENTS[check.status], type=check.status, message=summary(check))
            element.text = explanation(check)
        if check is blamed and (output := printed(exercise.stdout)):
            ET.SubElement(case, "system-out").text = output
        cases.append(case)
    return cases


def _checks(chapter: ChapterResult) -> list[CheckResult]:
    return [check for exercise in chapter.exercises for check in exercise.checks]


def _count(checks: list[CheckResult], element: str) -> str:
    return str(sum(ELEMENTS.get(check.status) == element for check in checks))
