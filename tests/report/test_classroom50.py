"""result.json as Classroom 50's runner checks it: whole numbers that add up, no empty field."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from dlgrade.report import classroom50

ENVIRON = {
    "CLASSROOM": "dl-2026",
    "ASSIGNMENT": "ch305",
    "SUBMISSION_TAG": "submit/2026-09-01T10-00-00Z-abc1234",
    "COMMIT_URL": "https://github.com/dl-2026/ch305-ada/commit/abc1234",
    "RELEASE_URL": "https://github.com/dl-2026/ch305-ada/releases/tag/submit%2F1",
    "REVIEW_URL": "https://github.com/dl-2026/ch305-ada/compare/a...b",
}
NOW = datetime(2026, 9, 1, 12, 0, tzinfo=timezone(timedelta(hours=2)))


def written(result, environ=ENVIRON):
    return json.loads(classroom50.render(result, environ, NOW))


@pytest.mark.parametrize("name", ["mixed", "course"])
def test_golden(name, request, golden):
    golden(f"{name}.classroom50.json", classroom50.render(request.getfixturevalue(name), ENVIRON, NOW))


@pytest.mark.parametrize("name", ["good", "mixed", "empty", "broken", "halfway", "course"])
def test_what_the_runner_asks_for(name, request):
    result = request.getfixturevalue(name)
    data = written(result)
    assert data["schema"] == "classroom50/result/v1"
    for field in ("classroom", "assignment", "submission", "commit", "release", "review", "datetime"):
        assert isinstance(data[field], str)
        assert data[field]
    for entry in (data, *data["tests"]):
        assert type(entry["score"]) is int
        assert type(entry["max-score"]) is int
        assert 0 <= entry["score"] <= entry["max-score"]
    assert all(type(t["passed"]) is bool and t["test-name"] for t in data["tests"])
    assert data["score"] == sum(t["score"] for t in data["tests"]) == result.score
    assert data["max-score"] == sum(t["max-score"] for t in data["tests"]) == result.max_score


def test_the_time_is_utc(good):
    assert written(good)["datetime"] == "2026-09-01T10:00:00Z"
    before = datetime.now(UTC).replace(microsecond=0)
    data = json.loads(classroom50.render(good, ENVIRON))
    assert datetime.fromisoformat(data["datetime"]) >= before


def test_review_falls_back_to_the_commit(good):
    assert written(good, ENVIRON | {"REVIEW_URL": ""})["review"] == ENVIRON["COMMIT_URL"]


def test_outside_a_runner_it_says_what_is_missing(good):
    with pytest.raises(ValueError, match="CLASSROOM, RELEASE_URL"):
        written(good, ENVIRON | {"CLASSROOM": "", "RELEASE_URL": ""})
