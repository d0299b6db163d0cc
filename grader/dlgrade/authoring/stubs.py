"""Stubs from solutions: the same file with every solution block cut out."""

from __future__ import annotations

import re

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"


class StubError(ValueError):
    """A solution whose blocks cannot be cut: the message names the line."""


def stub(solution: str) -> str:
    """The exercise file of a solution file; raises `StubError` for unbalanced or misplaced markers."""
    lines: list[str] = []
    inside, name = False, ""
    for number, line in enumerate(solution.splitlines(), 1):
        if match := re.match(r"\s*(?:def|class) (\w+)", line):
            name = match[1] if not inside else name
        mark = line.strip()
        if mark == BEGIN:
            if inside:
                raise StubError(f"line {number}: a solution begins inside a solution")
            inside = True
            indent = line[: len(line) - len(line.lstrip())]
            lines += [
                f"{indent}# TODO: write your answer here, and delete the line below.",
                f'{indent}raise NotImplementedError("{name} is still to do")',
            ]
        elif mark == END:
            if not inside:
                raise StubError(f"line {number}: a solution ends that never began")
            inside = False
        elif not inside:
            lines.append(line)
    if inside:
        raise StubError("the last solution never ends")
    return "\n".join(lines) + "\n"
