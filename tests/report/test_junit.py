"""JUnit XML against a schema narrower than Jenkins' junit-10.xsd."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import xmlschema
from dlgrade.grading.results import exercise_result
from dlgrade.report.formats import render
from hypothesis import given, settings
from hypothesis import strategies as st

RESULTS = ("good", "mixed", "empty", "broken", "halfway", "course")


@pytest.fixture(scope="module")
def schema():
    return xmlschema.XMLSchema(Path(__file__).with_name("junit.xsd"))


@pytest.mark.parametrize("name", ["mixed", "course"])
def test_golden(name, request, golden):
    golden(f"{name}.junit.xml", render("junit", request.getfixturevalue(name)))


@pytest.mark.parametrize("name", RESULTS)
def test_valid(name, request, schema):
    schema.validate(render("junit", request.getfixturevalue(name)))


def test_counts_are_those_of_the_cases(mixed):
    root = ET.fromstring(render("junit", mixed))
    suite = root.find("testsuite")
    assert suite is not None
    assert suite.attrib["tests"] == str(len(suite.findall("testcase"))) == "17"
    for attribute, tag, count in (("failures", "failure", 6), ("errors", "error", 4), ("skipped", "skipped", 2)):
        assert suite.attrib[attribute] == str(len(suite.findall(f"testcase/{tag}"))) == str(count)
    assert root.attrib["failures"] == "6"


def test_score_and_output_are_there(mixed):
    suite = ET.fromstring(render("junit", mixed)).find("testsuite")
    assert suite is not None
    properties = {p.attrib["name"]: p.attrib["value"] for p in suite.iter("property")}
    assert (properties["score"], properties["max_score"]) == ("21", "90")
    assert [c.attrib["name"] for c in suite.findall("testcase[system-out]")] == ["huge logits", "value"]


def test_an_error_is_summarised_by_its_exception(mixed):
    error = ET.fromstring(render("junit", mixed)).find(".//error")
    assert error is not None
    assert error.attrib["message"] == (
        "Your code raised an error: IndexError: index 4 is out of bounds for axis 0 with size 3"
    )


@pytest.mark.parametrize(
    ("status", "message", "said"),
    [
        ("failed", "", "Wrong answer"),
        ("missing", "not written yet", "not written yet"),
        ("timeout", "", "Took too long"),
        ("skipped", "", "Skipped, for what it builds on did not pass"),
    ],
)
def test_there_is_always_something_said_and_nothing_twice(chapter, check, schema, status, message, said):
    written = render("junit", chapter((exercise_result("mse", (check("value", 5, status, message),)),)))
    schema.validate(written)
    (outcome,) = ET.fromstring(written).findall("testsuite/testcase/*")
    assert outcome.attrib["message"] == outcome.text == said


@given(st.text(st.characters(exclude_categories=()), max_size=200))
@settings(max_examples=50, deadline=None)
def test_any_text_gives_valid_xml(chapter, check, schema, text):
    wrong = check("value", 5, "error", text)
    result = chapter((exercise_result("mse", (wrong,), stdout=text),), file=text, problem=text, stdout=text)
    written = render("junit", result)
    written.encode()
    schema.validate(written)
