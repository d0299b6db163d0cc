"""results.json as Gradescope's specification asks for it."""

import json

import jsonschema
import pytest
from dlgrade.report import gradescope
from dlgrade.report.formats import render

FORMAT = {"enum": ["text", "html", "simple_format", "md", "ansi"]}
VISIBILITY = {"enum": ["hidden", "after_due_date", "after_published", "visible"]}
SPEC = {
    "type": "object",
    "additionalProperties": False,
    "required": ["score", "tests"],
    "properties": {
        "score": {"type": "number"},
        "execution_time": {"type": "number"},
        "output": {"type": "string"},
        "output_format": FORMAT,
        "test_output_format": FORMAT,
        "test_name_format": FORMAT,
        "visibility": VISIBILITY,
        "stdout_visibility": VISIBILITY,
        "extra_data": {"type": "object"},
        "tests": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["score", "max_score", "status", "name", "number", "visibility"],
                "properties": {
                    "score": {"type": "number"},
                    "max_score": {"type": "number"},
                    "status": {"enum": ["passed", "failed"]},
                    "name": {"type": "string", "pattern": "^[^\n]+$"},
                    "number": {"type": "string", "pattern": r"^\d+(\.\d+){1,2}$"},
                    "output": {"type": "string"},
                    "tags": {"type": "array", "items": {"type": "string"}},
                    "visibility": VISIBILITY,
                    "extra_data": {"type": "object"},
                },
            },
        },
    },
}


@pytest.mark.parametrize("name", ["mixed", "course"])
def test_golden(name, request, golden):
    golden(f"{name}.gradescope.json", render("gradescope", request.getfixturevalue(name)))


@pytest.mark.parametrize("name", ["good", "mixed", "empty", "broken", "halfway", "course"])
def test_valid_and_adding_up(name, request):
    result = request.getfixturevalue(name)
    written = json.loads(render("gradescope", result))
    jsonschema.validate(written, SPEC)
    assert written["score"] == sum(t["score"] for t in written["tests"]) == result.score
    assert sum(t["max_score"] for t in written["tests"]) == result.max_score
    numbers = [t["number"] for t in written["tests"]]
    assert len(set(numbers)) == len(numbers)


def test_numbers(mixed, course):
    assert json.loads(render("gradescope", mixed))["tests"][3]["number"] == "2.1"
    assert json.loads(render("gradescope", course))["tests"][-1]["number"] == "3.6.2"


def test_visibility_is_the_instructors(mixed):
    written = json.loads(gradescope.render(mixed, visibility="after_published"))
    assert {t["visibility"] for t in written["tests"]} == {"after_published"}


def test_everything_is_declared_as_text(mixed):
    written = json.loads(render("gradescope", mixed))
    assert {written[k] for k in ("output_format", "test_output_format", "test_name_format")} == {"text"}
    assert "\x1b" not in "".join(t.get("output", "") for t in written["tests"])
