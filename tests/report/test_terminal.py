"""Columns, wrapping, bars and colour."""

import io

import pytest
from dlgrade.report.terminal import bar, cells, clip, clip_left, color_wanted, painter, width_of, wrap
from hypothesis import given
from hypothesis import strategies as st

LINE = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=200)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_wrap_hangs_and_keeps_runs_of_spaces():
    assert wrap("got  [1.0  2.0 3.0]", 12, hang=5) == ["got  [1.0", "     2.0", "     3.0]"]
    assert wrap("a    b", 10) == ["a    b"]
    assert wrap("    indented words here", 14, hang=6) == ["    indented", "      words", "      here"]
    assert wrap("", 10) == [""]


@given(LINE, st.integers(8, 100), st.integers(0, 100))
def test_wrapped_lines_fit_and_lose_nothing(line, width, hang):
    wrapped = wrap(line, width, hang)
    assert all(cells(part) <= width for part in wrapped)
    assert "".join("".join(wrapped).split()) == "".join(line.split())


def test_wide_and_combining_characters():
    assert cells("日本") == 4
    assert cells("e\u0301") == 1
    assert wrap("日本日本", 5) == ["日本", "日本"]
    assert clip("日本日本", 5) == "日本…"
    assert clip_left("/a/long/path.py", 8) == "…path.py"
    assert clip("short", 5) == "short"


@given(st.integers(0, 100), st.integers(0, 100), st.integers(1, 100))
def test_bar_is_full_only_for_full_marks_and_empty_only_for_none(score, max_score, width):
    score = min(score, max_score)
    done, rest = bar(score, max_score, width)
    assert len(done) + len(rest) == width
    assert bool(done) == (score > 0)
    if width > 1:
        assert (rest == "") == (0 < score == max_score)


def test_painter():
    assert painter(True)("bold red", "x") == "\x1b[1;31mx\x1b[0m"
    assert painter(True)("", "x") == "x"
    assert painter(False)("bold", "x") == "x"


@pytest.mark.parametrize(
    ("stream", "environ", "wanted"),
    [
        (Terminal(), {"TERM": "xterm"}, True),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {"TERM": "xterm"}, False),
    ],
)
def test_color_wanted(stream, environ, wanted):
    assert color_wanted(stream, environ) is wanted


def test_width_of_what_is_no_terminal():
    assert width_of(io.StringIO()) == 80
