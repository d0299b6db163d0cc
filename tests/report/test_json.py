"""The JSON of a result: the published schema, and nothing lost on the way."""

import json
from pathlib import Path

import jsonschema
import msgspec
import pytest
from dlgrade.grading.results import ChapterResult, CourseResult
from dlgrade.report.formats import render

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "result.schema.json").read_text(encoding="utf-8"))
RESULTS = ("good", "mixed", "empty", "broken", "halfway", "course")


@pytest.mark.parametrize("name", ["mixed", "course"])
def test_golden(name, request, golden):
    golden(f"{name}.json", render("json", request.getfixturevalue(name)))


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", RESULTS)
def test_valid(name, request):
    jsonschema.validate(json.loads(render("json", request.getfixturevalue(name))), SCHEMA)


def test_the_schema_knows_every_field():
    fields = {"chapter": ChapterResult, "course": CourseResult}
    for name, struct in fields.items():
        assert list(SCHEMA["$defs"][name]["properties"]) == [f.name for f in msgspec.structs.fields(struct)]


@pytest.mark.parametrize("name", ["good", "empty", "broken", "course"])
def test_round_trip(name, request):
    result = request.getfixturevalue(name)
    assert msgspec.json.decode(render("json", result), type=type(result)) == result


def test_hostile_text_round_trips_but_for_its_lone_surrogate(mixed, hostile):
    written = render("json", mixed)
    assert not set(written) & set("\x00\x1b\x9b\u202e\u2066\ufffe")
    assert "##[" not in written
    message = json.loads(written)["exercises"][3]["checks"][0]["message"]
    assert message == hostile.replace("\udce9", "\\udce9")


def test_the_contract_of_the_design(good):
    written = json.loads(render("json", good))
    assert list(written)[:4] == ["schema", "dlgrade", "chapter", "title"]
    assert list(written["exercises"][0]) == ["name", "score", "max_score", "status", "stdout", "checks"]
    assert render("json", good).startswith('{\n  "schema": 1,\n')
    assert render("json", good).endswith("}\n")
