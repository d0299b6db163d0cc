"""Mutants of the solutions: how they are made, and that the checks tell them from the solution."""

from __future__ import annotations

from collections import Counter

import pytest
from dlgrade.authoring import strength as module
from dlgrade.authoring.mutants import mutants
from dlgrade.authoring.strength import strength
from dlgrade.course import registry
from dlgrade.sandbox.launch import Launcher

# All mutants of all chapters take many minutes: here every nth is tried, another one of each chapter's first n.
EVERY = 16
HEAD = '''import numpy as np


def f(x, axis=0):
    """Sum."""
    ### BEGIN SOLUTION
'''
TAIL = "\n    ### END SOLUTION\n"


def changes(body: str) -> set[str]:
    found = list(mutants(HEAD + body + TAIL))
    assert all(m.function == "f" and m.before != m.after for m in found)
    return {m.after.removeprefix("return ") for m in found}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("    return x + 1", {"x - 1", "x", "1", "x + 2", "x + 0"}),
        ("    return x * 0.5", {"x / 0.5", "x", "0.5", "x * 1.0"}),
        ("    return np.sum(x, axis=-1)", {"np.mean(x, axis=-1)", "np.sum(x, axis=-2)", "np.sum(x, axis=-0)"}),
        ("    return x.max(keepdims=True)", {"x.min(keepdims=True)", "x.max(keepdims=False)"}),
        ("    return x.T @ x", {"x @ x", "x.T @ x"} - {"x.T @ x"}),
        ("    return -x", {"x"}),
        ("    return x >= axis", {"x > axis"}),
        ("    return x and axis", {"x or axis"}),
        ("    return np.exp(x)", {"x"}),
        ("    return [i for i in range(x)]", {"[i for i in range(x - 1)]"}),
        ("    return list(zip(x, x, strict=True))", set()),
    ],
)
def test_small_faults(body: str, expected: set[str]) -> None:
    assert changes(body) == expected


def test_a_forgotten_line_and_a_turned_condition() -> None:
    body = "    if x:\n        x += axis\n    return x"
    found = {(m.before, m.after) for m in mutants(HEAD + body + TAIL)}
    assert found == {("if x:", "if not x:"), ("x += axis", "x -= axis"), ("x += axis", "pass")}


def test_errors_docstrings_and_given_code_are_left_alone() -> None:
    text = HEAD + "    raise ValueError(1 + 2)" + TAIL + "\n\ndef given(x):\n    return x + 1\n"
    assert not list(mutants(text))


def test_a_mutant_that_survives_is_reported(nursery: Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "loses_points", lambda grader, mutant: mutant.function != "mse")
    monkeypatch.setattr(module, "equivalents", lambda chapter: Counter(["mse: gone  ->  changed"]))
    report = strength(registry.chapter("ch305"), nursery, tell=lambda _: None)
    assert report.survived
    assert all(name.startswith("mse: ") for name in report.survived)
    assert report.killed + len(report.survived) == report.mutants
    assert report.stale == ("mse: gone  ->  changed",)
    assert not report.ok


@pytest.mark.parametrize("id", registry.stems())
def test_faults_lose_points(id: str, nursery: Launcher) -> None:
    report = strength(registry.chapter(id), nursery, every=EVERY, first=int(id[2:]) % EVERY, tell=lambda _: None)
    assert report.mutants
    assert report.ok, "\n".join([*report.survived, *report.stale])
