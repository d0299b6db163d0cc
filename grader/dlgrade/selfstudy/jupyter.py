"""`from dlgrade import check`: checking from a notebook, with the result shown in the cell.

The code goes to the same `dlgrade check` in a process of its own, and from there into the sandbox: nothing that the
notebook did to NumPy or to itself changes a verdict.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from dlgrade.course import registry
from dlgrade.course.spec import Chapter
from dlgrade.grading.grader import asked_for
from dlgrade.grading.results import ChapterResult
from dlgrade.grading.submissions import read
from dlgrade.sandbox.notebook import plain_python
from dlgrade.selfstudy import progress
from dlgrade.selfstudy.recording import keep
from dlgrade.selfstudy.workspace import answer, find_root

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Shown:
    """A result that a notebook shows as a page and a terminal as text; `result` is the whole of it."""

    def __init__(self, result: ChapterResult, foot: str) -> None:
        self.result, self.foot = result, foot

    @property
    def score(self) -> int:
        return self.result.score

    @property
    def max_score(self) -> int:
        return self.result.max_score

    def _repr_html_(self) -> str:
        from dlgrade.report.cell import render

        return render(self.result, self.foot)

    def __repr__(self) -> str:
        from dlgrade.report.text import render

        return render(self.result, color=False)


class Problem:
    """Why nothing could be checked, in one sentence."""

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence

    def __repr__(self) -> str:
        return f"dlgrade: {self.sentence}"


def check(target: str, file: str | os.PathLike[str] | None = None) -> Shown | Problem:
    """Check a chapter (`"ch305"`), or one exercise of it (`"ch305:softmax"`), and show the result.

    In a notebook the functions that its cells defined are graded, as they are in the kernel now. Where none of the
    chapter's functions is defined, or outside of a notebook, it is the workspace's file for the chapter; or `file`.
    """
    name, _, exercise = target.partition(":")
    id = registry.chapter_id(name)
    if id is None or id not in registry.stems():
        return Problem(f"there is no chapter {name!r}; the first is {next(iter(registry.stems()))!r}")
    chapter = registry.chapter(id)
    cells = [] if file is not None else executed_cells()
    cells = current(cells) if defines_any(cells, chapter) else []
    with tempfile.TemporaryDirectory(prefix="dlgrade-") as folder:
        asked = f"{id}:{exercise}" if exercise else id
        if cells:
            path = Path(folder, f"{chapter.stem}.ipynb")
            path.write_text(_notebook(cells), encoding="utf-8")
            result = _graded([asked, "--file", str(path)])
            foot = "Graded: the functions that this notebook's cells defined."
            if isinstance(result, ChapterResult):
                foot += _keep(chapter, path, result)
        else:
            result = _graded([asked, *(["--file", os.fspath(file)] if file is not None else [])])
            foot = f"Graded: {result.file}, as it was saved." if isinstance(result, ChapterResult) else ""
    return Shown(result, foot) if isinstance(result, ChapterResult) else Problem(result)


def executed_cells() -> list[str]:
    """The cells that this notebook's kernel ran, in order; none outside of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    history = shell.user_ns.get("In", []) if shell is not None else []
    return [plain_python(cell) for cell in history if isinstance(cell, str)]


def defines_any(cells: list[str], chapter: Chapter) -> bool:
    """Whether any cell defines one of the chapter's functions."""
    asked = asked_for(chapter.exercises)
    return any(_bound(node) & asked for cell in cells for node in _parsed(cell))


def current(cells: list[str]) -> list[str]:
    """The cells' statements without what the kernel has replaced since: of each function or class the last definition.

    An earlier one stays if an assignment between the two uses it. Cells that are no Python never ran and are left out.
    """
    found = [(node, cell) for cell in cells for node in _parsed(cell)]
    defined: set[str] = set()
    used_since: set[str] = set()
    kept = []
    for node, cell in reversed(found):
        if isinstance(node, _DEFINITIONS):
            if node.name in defined and node.name not in used_since:
                continue
            defined.add(node.name)
            used_since.discard(node.name)
        elif not isinstance(node, ast.Expr):
            used_since |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        kept.append(_whole(node, cell))
    return kept[::-1]


def _whole(node: ast.stmt, cell: str) -> str:
    """A statement's lines, decorators included."""
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    return "\n".join(cell.splitlines()[first - 1 : node.end_lineno])


def _parsed(cell: str) -> list[ast.stmt]:
    try:
        return ast.parse(cell).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _bound(node: ast.stmt) -> set[str]:
    if isinstance(node, _DEFINITIONS):
        return {node.name}
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _notebook(cells: list[str]) -> str:
    code = [{"cell_type": "code", "source": cell, "metadata": {}, "outputs": []} for cell in cells]
    return json.dumps({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": code})


def _graded(arguments: list[str]) -> ChapterResult | str:
    """The result of `dlgrade check`, or its one sentence why there is none."""
    # -P: a file in the notebook's folder that is called like a module is not that module.
    command = [sys.executable, "-P", "-m", "dlgrade", "check", *arguments, "--format", "json"]
    run = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
    if run.returncode not in (0, 1):
        return run.stderr.decode("utf-8", "replace").strip().removeprefix("dlgrade: ") or "the check was stopped"
    return msgspec.json.decode(run.stdout, type=ChapterResult)


def _keep(chapter: Chapter, path: Path, result: ChapterResult) -> str:
    """Record the check in the workspace around the notebook, if it answers the chapter with one."""
    root = find_root(Path.cwd())
    own = answer(root, chapter.stem) if root is not None else None
    if root is None or own is None or own.suffix != ".ipynb":
        return ""
    with contextlib.suppress(OSError, ValueError):
        try:
            keep(root, chapter, read(path, chapter.stem).source, result, "notebook")
        except progress.ProgressError as error:
            return f" Progress is not kept: {error}"
    return ""
