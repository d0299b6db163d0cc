"""How a difference is put into words, and how a call is quoted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from dlgrade.course.compare import Wrong, entry, numbers, same
from dlgrade.grading.student import Student, described
from dlgrade.sandbox.session import Call, Source

EYE = np.eye(2)


@pytest.mark.parametrize(
    ("got", "want", "what", "words"),
    [
        (
            np.array([[1.0, 0.0], [1.0, 1.0]]),
            EYE,
            "the weights",
            "the weights: 1 of 4 entries is wrong, first at index [1, 0].",
        ),
        (np.array([[2.0, 0.0], [1.0, 1.0]]), EYE, "the weights", "the weights: 2 of 4 entries are wrong"),
        (
            2 * EYE - 1,
            EYE - 0.5,
            "w, scaled,",
            "w, scaled: every entry is wrong, first at index [0, 0]. Each is 2 times",
        ),
        ([1.0, np.nan], [1.0, 2.0], "the loss", "the loss: nan at index [1], where a finite number is right (1 of 2"),
        (np.inf, 2.0, "the loss", "the loss is inf, where a finite number is right."),
        (EYE, np.ones(4), "dx", "`dx` should have shape (4,), but came back with shape (2, 2)."),
        (1.0, np.ones(4), "the rates", "the rates should have shape (4,), but came back as a single number."),
        ({"W1": 1.0}, {"W1": EYE}, "params", "`params['W1']` should have shape (2, 2)"),
        (
            1.000001 * EYE,
            EYE,
            "out",
            "`out`: 2 of 4 entries are wrong, first at index [0, 0]. It is close, but not exact",
        ),
        (1.00002, 1.0, "n", "`n` is not the right number."),
    ],
)
def test_a_difference_in_words(got: Any, want: Any, what: str, words: str) -> None:
    with pytest.raises(Wrong) as wrong:
        same(got, np.asarray(want) if isinstance(want, list) else want, what)
    assert words in wrong.value.text
    assert "1 times" not in wrong.value.text


def test_bare_names_are_quoted() -> None:
    with pytest.raises(Wrong, match=r"^`dx` should have shape"):
        numbers(EYE, (3,), "dx")
    with pytest.raises(Wrong, match=r"^`grads` has no key 'b'"):
        entry({"W": 1}, "b", "grads")


def test_a_call_can_be_copied_from_its_report() -> None:
    student = Student(Source(("",), "a.py", "a"))
    call = Call("walk", ((8,), [("pool",), ("dense", 3)]), {"options": dict.fromkeys("abcdefghij", 1)})
    assert described(call, student, values=True) == (
        "walk((8,), [('pool',), ('dense', 3)], "
        "options={'a': 1, 'b': 1, 'c': 1, 'd': 1, 'e': 1, 'f': 1, 'g': 1, 'h': 1, ...})"
    )
