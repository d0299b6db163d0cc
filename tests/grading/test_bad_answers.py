"""What student code can do wrong, one clear sentence each, and the rest of the file is graded all the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dlgrade.grading.results import ChapterResult, CheckResult

REST = """
import numpy as np

def log_softmax(x, axis=-1):
    x = np.asarray(x, dtype=np.float64)
    x = x - x.max(axis=axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=axis, keepdims=True))
"""


def first(result: ChapterResult, exercise: str) -> CheckResult:
    return next(e for e in result.exercises if e.name == exercise).checks[0]


BODIES = [
    ("return None", "failed", "is a return statement missing?"),
    ("return np.full(np.shape(x), np.nan)", "failed", "nan at index [0, 0]"),
    ("return np.asarray(x, dtype=float).T", "failed", "looks transposed"),
    ("return np.zeros(7)", "failed", "should have shape (5, 3), but came back with shape (7,)"),
    ("return [[1, 2], [3]]", "failed", "cannot be read as one array"),
    ("return np.asarray(x) + 1j", "failed", "complex"),
    ("return np.array([object()])", "refused", "object array"),
    ("return np.matrix([[1.0]])", "refused", "a matrix, a subclass of numpy.ndarray"),
    ("return {1, 2}", "refused", "a set"),
    ("return softmax", "refused", "parentheses"),
    ("return np.ones((40000, 40000))", "error", "MemoryError"),
    ("return np.broadcast_to(0.0, (10**5, 10**5))", "refused", "larger than 64 MiB"),
    ("return 'text'", "failed", "is text"),
    ("return 1 / 0", "error", "ZeroDivisionError"),
    ("return unknown_name", "error", "name 'unknown_name' is not defined"),
    ("raise SystemExit", "error", "calls exit"),
    ("exit()", "error", "calls exit"),
    ("import os; os._exit(0)", "crashed", "ended its process"),
    ("import os; os.abort()", "crashed", "ended its process"),
    ("raise NotImplementedError", "missing", "still to do"),
    ("return softmax(x)", "error", "RecursionError"),
    ("while True: pass", "timeout", "loop that does not end"),
    ("return open('/etc/hostname').read()", "error", "PermissionError"),
    ("import socket; return socket.socket()", "error", "PermissionError"),
    ("import os; return os.fork()", "error", "PermissionError"),
    ("import os; return os.system('true')", "failed", ""),
    ("import subprocess; return subprocess.run(['true'])", "error", "PermissionError"),
    ("import dlreference; return 0", "error", "ModuleNotFoundError"),
    ("import dlgrade.course; return 0", "error", "ModuleNotFoundError"),
    ("open('notes.txt', 'w').write('x'); return 0", "failed", "single number"),
    ("import os; return os.kill(os.getppid(), 9)", "error", "PermissionError"),
    ("class E(Exception): pass\n    raise E('mine')", "error", "an error of its own kind"),
    ("return float('inf')", "failed", "should have shape (5, 3), but came back as a single number"),
    ("print('\\x1b[31m' * 10**6); return 0", "failed", "single number"),
]


@pytest.mark.parametrize(("body", "status", "words"), BODIES, ids=[b[0][:40] for b in BODIES])
def test_bad_function(grade_text: Callable[..., ChapterResult], body: str, status: str, words: str) -> None:

    result = grade_text("ch305", f"{REST}\ndef softmax(x, axis=-1):\n    {body}\n")
    check = first(result, "softmax")
    assert check.status == status, check.message
    assert words in check.message
    assert first(result, "log_softmax").status == "passed"


def test_wrong_parameters_are_compared_with_the_exercise(grade_text: Callable[..., ChapterResult]) -> None:
    result = grade_text("ch305", "def mse(a): return a\ndef softmax(x): return x")
    message = first(result, "mse").message
    assert "the exercise asks for `mse(y_hat, y)`" in message
    assert "Yours is `mse(a)`" in message


def test_a_misspelt_function_is_suggested(grade_text: Callable[..., ChapterResult]) -> None:
    result = grade_text("ch305", "def sotfmax(x, axis=-1): return x")
    assert "Did you mean it to be your `sotfmax`?" in first(result, "softmax").message


def test_arguments_changed_in_place_are_named(grade_text: Callable[..., ChapterResult]) -> None:
    body = """
def softmax(x, axis=-1):
    x -= x.max(axis, keepdims=True)
    return np.exp(x) / np.exp(x).sum(axis, keepdims=True)
"""
    result = grade_text("ch305", REST + body)
    messages = [
        c.message for e in result.exercises for c in e.checks if c.name == "the arguments are left as they were"
    ]
    assert any("modified its argument `x` in place" in m for m in messages)


def test_shadowing_numpy_is_named(grade_text: Callable[..., ChapterResult]) -> None:
    result = grade_text("ch305", REST + "np = 5")
    assert "`np` no longer means NumPy" in result.problem


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def softmax(x, axis=-1:\n    pass", "could not be read at line 1: SyntaxError"),
        ("\n\nimport torch", "stopped at line 3: No module named 'torch'. Only NumPy"),
        ("1 / 0", "stopped at line 1: ZeroDivisionError: division by zero"),
        ("exit()", "calls exit"),
        ("import os; os._exit(0)", "ended its process"),
        ("x = [0] * 10**12", "MemoryError"),
        ("def f(x):\nreturn x", "IndentationError"),
    ],
)
def test_a_file_that_does_not_run(grade_text: Callable[..., ChapterResult], text: str, words: str) -> None:
    result = grade_text("ch305", text)
    assert words in result.problem
    assert result.score == 0


def test_a_file_that_loops_at_import(grade_text: Callable[..., ChapterResult], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlgrade.sandbox.session.LOAD_CPU_S", 0.5)
    result = grade_text("ch305", "while True: pass")
    assert "does not finish" in result.problem
    assert result.score == 0


def test_what_is_defined_before_an_error_is_graded(grade_text: Callable[..., ChapterResult]) -> None:
    result = grade_text("ch305", REST + "\nraise ValueError('demo')")
    assert first(result, "log_softmax").status == "passed"
    assert "stopped at line 9" in result.problem


def test_a_function_out_of_time_is_not_tried_for_ever(grade_text: Callable[..., ChapterResult]) -> None:
    result = grade_text("ch305", "def softmax(x, axis=-1):\n    while True: pass")
    statuses = [c.status for e in result.exercises if e.name == "softmax" for c in e.checks]
    messages = [c.message for e in result.exercises if e.name == "softmax" for c in e.checks]
    assert statuses == ["timeout"] * len(statuses)
    assert sum("ran out of time before" in m for m in messages) == len(messages) - 2


def test_float32_results_are_told_apart(grade_text: Callable[..., ChapterResult]) -> None:
    body = (
        "def softmax(x, axis=-1):\n    e = np.exp(np.asarray(x, np.float32))\n    return e / e.sum(axis, keepdims=True)"
    )
    assert "computed in float32" in first(grade_text("ch305", REST + body), "softmax").message


def test_a_constant_answer_earns_nothing_for_what_it_leaves_alone(grade_text: Callable[..., ChapterResult]) -> None:
    names = ("mse", "softmax", "log_softmax", "cross_entropy", "bce_with_logits", "huber", "gradient_error")
    result = grade_text("ch305", "\n".join(f"def {name}(*a, **k): return 0.0" for name in names))
    assert result.score == 0
    kept = [c for e in result.exercises for c in e.checks if c.name == "the arguments are left as they were"]
    assert {c.status for c in kept} == {"skipped"}
    assert {c.message for c in kept} == {"Not counted until another check of this exercise passes."}
    right = grade_text("ch305", REST)
    assert {c.status for e in right.exercises for c in e.checks if e.name == "log_softmax"} == {"passed"}


@pytest.mark.parametrize("answer", ["[1 + 2j] * 3", "[np.array(1j)] * 3", '["1.0"] * 3', "[None] * 3"])
def test_a_list_is_read_as_numbers_only_if_it_is(grade_text: Callable[..., ChapterResult], answer: str) -> None:
    result = grade_text("ch305", f"{REST}\ndef softmax(x, axis=-1): return {answer}")
    assert first(result, "softmax").status == "failed"
    assert "nan at index" not in first(result, "softmax").message
