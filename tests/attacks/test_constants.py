"""A file whose functions all give back the same thing earns nothing, in any chapter."""

from __future__ import annotations

import ast

import pytest
from dlgrade.course import registry
from dlgrade.grading.diagnose import Catalogue
from dlgrade.grading.grader import Grader, solution
from dlgrade.grading.seeds import public_seed
from dlgrade.sandbox.launch import Launcher
from dlgrade.sandbox.session import Source

pytestmark = pytest.mark.slow
ANSWERS = ("0.0", "True", "float('inf')", "a[0] if a else None", "(0.0, 0.0)")


def same_answer(source: str, answer: str) -> str:
    """The functions and classes of a file, all of which answer alike."""
    lines = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            lines.append(f"def {node.name}(*a, **k):\n    return {answer}")
        elif isinstance(node, ast.ClassDef):
            methods = {n.name for n in node.body if isinstance(n, ast.FunctionDef)} - {"__init__"}
            body = [f"    def {name}(self, *a, **k):\n        return {answer}" for name in sorted(methods)]
            lines += [f"class {node.name}:", "    def __init__(self, *a, **k): pass", *body]
    return "\n".join(lines)


@pytest.mark.parametrize("chapter_id", sorted(registry.stems()))
def test_constant_answers_earn_nothing(nursery: Launcher, chapter_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Which mistake an answer is costs most of the time, and no point hangs on it.
    monkeypatch.setattr(Catalogue, "recognise", lambda *_: None)
    chapter = registry.chapter(chapter_id)
    grader = Grader(chapter, public_seed(7), nursery)
    # Drawing the cases of a project takes long, and they pass on what earlier stages answered.
    for answer in ANSWERS if chapter_id < "ch334" else ANSWERS[:1]:
        text = same_answer(solution(chapter_id).source.text, answer)
        result = grader.grade(Source((text,), f"{chapter.stem}.py", chapter.stem))
        earned = [f"{e.name}: {c.name}" for e in result.exercises for c in e.checks if c.score]
        assert earned == [], answer
