"""Student text that would steer a reader is shown, not obeyed."""

import json
import unicodedata

import pytest
from dlgrade.report.safe import encodable, head, json_harmless, one_line, tail, visible
from hypothesis import given
from hypothesis import strategies as st

ANY_TEXT = st.text(st.characters(exclude_categories=()))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\xa0\ue000", r"\xa0\ue000"),
        ("plain ümläut 日本 🙂", "plain ümläut 日本 🙂"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\x00b\x7f\x9b", r"a\x00b\x7f\x9b"),
        ("\u202eabc\u2066", r"\u202eabc\u2066"),
        ("\udce9", r"\udce9"),
        ("\U000e0041", r"\U000e0041"),
        ("one\r\ntwo\rthree", "one\ntwo\\x0dthree"),
        ("\ttab", "    tab"),
        ("x\n  ::error::y", "x\n  \\x3a:error::y"),
        ("a ##[error]b ##vso[c] ## heading", "a #\\x23[error]b #\\x23vso[c] ## heading"),
        ("x[::2] a::b", "x[::2] a::b"),
    ],
)
def test_visible(text, shown):
    assert visible(text) == shown


@given(ANY_TEXT)
def test_visible_text_steers_nothing_and_stays_so(text):
    shown = visible(text)
    shown.encode()
    assert all(c == "\n" or unicodedata.category(c) not in ("Cc", "Cs", "Zl", "Zp") for c in shown)
    assert {c for c in shown if unicodedata.category(c) == "Cf"} <= {"\u200c", "\u200d"}
    assert visible(shown) == shown


@given(ANY_TEXT)
def test_one_line(text):
    assert "\n" not in one_line(text)


def test_head_is_bounded_and_says_so():
    assert head("a\nb\n") == "a\nb"
    assert head("1\n2\n3", lines=2) == "1\n2\n... (shortened)"
    assert head("x" * 10, chars=4) == "xxxx\n... (shortened)"
    assert head("\r\n" * 6 + "x", chars=4).endswith("... (shortened)")
    assert head("\x1b" * 3, chars=4) == "\\x1b\n... (shortened)"


def test_tail_is_bounded_and_says_so():
    assert tail("a\nb\n\n") == ("a\nb", False)
    assert tail("1\n2\n3\n", lines=2) == ("2\n3", True)
    assert tail("abcdef", chars=3) == ("def", True)
    assert tail("\n\n") == ("", False)
    assert tail("\x1b" * 3, chars=4) == ("\\x1b", True)
    assert tail("x" * 5_000_000 + "\r\n" * 9, chars=3) == ("xxx", True)


@given(ANY_TEXT)
def test_harmless_json_is_the_same_json(text):
    text = encodable(text)
    harmless = json_harmless(json.dumps([text, {"k": text}], ensure_ascii=False))
    assert json.loads(harmless) == [text, {"k": text}]
    assert visible(harmless) == harmless
