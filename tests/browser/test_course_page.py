"""The student's page, the certificate and a notebook cell in a real browser: silent, offline, readable everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dlgrade.course import registry
from dlgrade.grading.grader import Grader
from dlgrade.grading.results import ChapterResult
from dlgrade.grading.seeds import PRACTICE_SEED, public_seed
from dlgrade.report import cell
from dlgrade.sandbox.launch import Launcher
from dlgrade.sandbox.session import Source
from dlgrade.selfstudy import page, progress, workspace

NASTY = """
import numpy as np

def mse(y_hat, y):
    script = "<script>document.title = 'stolen'</script>"
    raise ValueError(script + "<img src=http://localhost:9/x onerror=alert(1)>" + "W" * 400)

def softmax(x, axis=-1):
    return np.asarray(x) * 2
"""

# For every piece of text: how well it stands out from what is behind it (WCAG 2, 1 to 21), and its size.
READABLE = """
(() => {
  const parse = c => c.match(/[\\d.]+/g).map(Number);
  const linear = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const color = parse(getComputedStyle(e).backgroundColor);
      if (color.length < 4 || color[3] > 0.5) return color;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), e = walker.currentNode.parentElement;
    const style = getComputedStyle(e);
    if (!text || ["STYLE", "SCRIPT"].includes(e.tagName) || !e.checkVisibility() || e.closest(".hidden")) continue;
    const color = e.closest("svg") ? style.fill : style.color;
    const [a, b] = [luminance(parse(color)), luminance(behind(e))].sort((x, y) => y - x);
    found.push([text.slice(0, 40), (a + 0.05) / (b + 0.05), parseFloat(style.fontSize)]);
  }
  return found;
})()
"""

# Everything that reaches beyond the right edge without a frame of its own to scroll in.
BEYOND = """
[...document.querySelectorAll("body *")].filter(e => e.checkVisibility() && !e.closest(".hidden, svg")
  && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, nursery: Launcher) -> dict[str, Path]:
    """The pages of a student who has solved a chapter, drawn its picture, and made trouble in another."""
    root = tmp_path_factory.mktemp("study")
    workspace.create(root, notebooks=False)
    solved, open_ = registry.chapter("ch305"), registry.chapter("ch306")
    answer = workspace.answer(root, solved.stem)
    other = workspace.answer(root, open_.stem)
    assert answer is not None
    assert other is not None
    for text in (NASTY, registry.solution_file(solved).read_text(encoding="utf-8")):
        answer.write_text(text)
        source = Source((text,), answer.name, solved.stem)
        result = Grader(solved, public_seed(PRACTICE_SEED), nursery).grade(source)
        progress.record(root, solved, result, {}, "check")
    other.write_text("def backward(:\n")
    warnings: list[str] = []
    found = page.Renewal(root, nursery, lambda text: None, warnings.append).run()
    assert not warnings
    assert set(found.pictures) == {"ch305"}
    nasty = Grader(solved, public_seed(PRACTICE_SEED), nursery).grade(Source((NASTY,), "a.py", solved.stem))
    made = {
        "report": page.course_page(root, found, "Ada <b>Example</b>", "certificate.html"),
        "certificate": page.certificate_page(root, "Ada <b>Example</b>"),
        "cell": in_a_notebook(nasty),
    }
    paths = {}
    for name, text in made.items():
        paths[name] = root / f"{name}.html"
        paths[name].write_text(text, encoding="utf-8")
    return paths


PHONE = "<meta name=viewport content='width=device-width'>"


def in_a_notebook(result: ChapterResult) -> str:
    colors = "--jp-content-font-color1: {}; --jp-content-font-color2: {}; background: {}"
    light, dark = colors.format("#000", "#444", "#fff"), colors.format("#fff", "#bbb", "#111")
    style = f"body {{ margin: 8px; {light} }} @media (prefers-color-scheme: dark) {{ body {{ {dark} }} }}"
    shown = cell.render(result, "Graded: the functions that this notebook's cells defined.")
    return f"<!doctype html><meta charset=utf-8>{PHONE}<link rel=icon href='data:,'><style>{style}</style>{shown}"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1100])
@pytest.mark.parametrize("name", ["report", "certificate", "cell"])
def test_silent_offline_and_readable(browser: Any, pages: dict[str, Path], name: str, width: int, dark: bool) -> None:
    opened = browser.open(pages[name], width=width, dark=dark)
    opened.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith("data:")] == [pages[name].resolve().as_uri()]
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert opened.evaluate("innerWidth") == width
    assert opened.evaluate(BEYOND) == []
    texts = opened.evaluate(READABLE)
    assert len(texts) > 8
    wanted = 3.0 if name == "cell" else 4.5  # a cell's accents must serve light and dark at once
    assert [t for t in texts if t[1] < wanted] == []
    assert [t for t in texts if t[2] < 11.5] == []
    assert opened.evaluate("document.title") != "stolen"
    assert opened.evaluate("document.querySelectorAll('script').length") == 0


def test_the_report_tells_it_all(browser: Any, pages: dict[str, Path]) -> None:
    opened = browser.open(pages["report"])
    text = opened.evaluate("document.body.innerText")
    for words in ("Ada <b>Example</b>", "ch305", "Loss Functions", "What you built", "Chapter by chapter"):
        assert words in text
    assert "Not checked as it is now." in text
    assert opened.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 600)")
    assert opened.evaluate(
        "[...document.querySelectorAll('a[href^=\"#\"]')].every(a => document.querySelector(a.hash))"
    )
    assert opened.evaluate("new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size") == opened.evaluate(
        "document.querySelectorAll('[id]').length"
    )


def test_a_picture_grows_when_it_is_pressed(browser: Any, pages: dict[str, Path]) -> None:
    opened = browser.open(pages["report"])
    width = "document.querySelector('figure').getBoundingClientRect().width"
    before = opened.evaluate(width)
    opened.evaluate("document.querySelector('figure input').click()")
    assert opened.evaluate(width) > 1.5 * before
