"""Notebooks from exercise and solution files: the same code, one cell a definition.

`cells_of` splits a source, `notebook` writes cells down in nbformat 4.5's JSON; nothing needs nbformat itself.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec


class Cell(msgspec.Struct, frozen=True):
    """One cell. `names` are the top-level functions and classes that a code cell defines (at most one)."""

    kind: Literal["markdown", "code"]
    source: str
    names: tuple[str, ...] = ()


def cells_of(source: str) -> list[Cell]:
    """A file's cells in order: the module docstring as Markdown, then code.

    Every top-level function or class, with its decorators and the comments right above it, is a cell of its own; what
    stands between two of them is one cell. The code cells joined by newlines are the file without its docstring.
    Raises SyntaxError for a file that is no Python.
    """
    tree = ast.parse(source)
    lines = source.splitlines()
    cells: list[Cell] = []
    start = 0
    if (text := ast.get_docstring(tree)) is not None:
        cells.append(Cell("markdown", markdown(text)))
        start = tree.body[0].end_lineno or 0
    for node in tree.body:
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        first = _first_line(node, lines, start)
        end = node.end_lineno or first
        while end < len(lines) and re.match(r"\s+#", lines[end]):  # an indented comment still belongs to the body
            end += 1
        cells += _code(lines[start:first])
        cells += _code(lines[first:end], (node.name,))
        start = end
    return cells + _code(lines[start:])


def _first_line(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, lines: list[str], start: int) -> int:
    """The index of a definition's first line, its decorators and the comments right above it included."""
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)]) - 1
    while first > start and lines[first - 1].startswith("#"):
        first -= 1
    return first


def _code(lines: list[str], names: tuple[str, ...] = ()) -> list[Cell]:
    text = "\n".join(lines).strip("\n").rstrip()
    return [Cell("code", text, names)] if text else []


def markdown(docstring: str) -> str:
    """A course file's docstring as Markdown: its first line a heading, its formulas kept from being read as markup."""
    first, _, rest = docstring.partition("\n")
    return f"# {_escaped(first)}\n{_body(rest)}".rstrip()


def _body(text: str) -> str:
    return "\n".join(line if line.startswith("    ") else _escaped(line) for line in text.split("\n"))


def _escaped(line: str) -> str:
    """Markup characters outside of code spans mean themselves in a docstring."""
    parts = re.split(r"(`[^`]*`)", line)
    return "".join(part if part.startswith("`") else re.sub(r"([*_$<\\])", r"\\\1", part) for part in parts)


def notebook(cells: Iterable[Cell], metadata: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The cells as a notebook without outputs; `metadata` belongs to the cells in order, and may stop early.

    Cell ids are the cell's name, or its number, so that one source always gives one notebook.
    """
    given = list(metadata)
    written: list[dict[str, Any]] = []
    ids: set[str] = set()
    for number, cell in enumerate(cells):
        ids.add(id := _id("-".join(cell.names) or f"cell-{number}", ids))
        written.append(
            {
                "cell_type": cell.kind,
                "id": id,
                "metadata": dict(given[number]) if number < len(given) else {},
                "source": cell.source.splitlines(keepends=True),
                **({"execution_count": None, "outputs": []} if cell.kind == "code" else {}),
            }
        )
    return {
        "cells": written,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _id(wanted: str, taken: set[str]) -> str:
    """A cell id as nbformat allows it: at most 64 of `a-zA-Z0-9-_`, no two alike."""
    base = re.sub(r"[^a-zA-Z0-9_-]", "-", wanted)[:60]
    return next(id for n in range(len(taken) + 1) if (id := f"{base}-{n}" if n else base) not in taken)


def dumps(notebook: Mapping[str, Any]) -> str:
    """A notebook as the text of an `.ipynb` file, in the layout Jupyter itself writes."""
    import json

    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def exercise_notebook(source: str, chapter_id: str) -> str:
    """The `.ipynb` text of an exercise file: its cells, and a last one that checks the chapter."""
    ask = Cell(
        "code",
        f'# Run this cell as often as you like. One exercise alone: check("{chapter_id}:name")\n'
        f'from dlgrade import check\n\ncheck("{chapter_id}")',
    )
    return dumps(notebook([*cells_of(source), ask]))
