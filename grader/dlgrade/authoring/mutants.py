"""Small faults put into a solution, one at a time: what a careless hand does to a formula.

Only what stands between the solution marks is changed, never signatures, docstrings or what raises an error.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import msgspec

from dlgrade.authoring.stubs import BEGIN, END

_OPERATORS: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
}
_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_FUNCTIONS = {
    "sum": "mean",
    "mean": "sum",
    "max": "min",
    "min": "max",
    "maximum": "minimum",
    "minimum": "maximum",
    "argmax": "argmin",
    "argmin": "argmax",
    "sin": "cos",
    "cos": "sin",
    "zeros": "ones",
    "ones": "zeros",
    "zeros_like": "ones_like",
    "ones_like": "zeros_like",
    "floor": "ceil",
    "ceil": "floor",
    "any": "all",
    "all": "any",
    "var": "std",
    "std": "var",
}
_DROPPED_CALLS = frozenset(
    {"sqrt", "exp", "log", "abs", "square", "tanh", "clip", "flip", "sort", "cumsum", "copy", "log1p", "expm1"}
)


class Mutant(msgspec.Struct, frozen=True):
    """A solution with one fault: the function it is in, the statement before and after, the whole file."""

    function: str
    before: str
    after: str
    source: str

    @property
    def name(self) -> str:
        return f"{self.function}: {self.before}  ->  {self.after}"


def mutants(text: str) -> Iterator[Mutant]:
    """Every mutant of a solution, in the order of its lines, each once."""
    body = ast.parse(text).body
    blocks = _blocks(text)
    parts = [ast.unparse(statement) for statement in body]
    seen = set(parts)
    for number, top in enumerate(body):
        for place in _places(top, "", top, top.lineno):
            if not any(first < place.line < last for first, last in blocks):
                continue
            for changed in _changes(place.value, place.field, place.parent):
                before = _first_line(place.statement)
                after, part = place.changed(changed, top)
                if part not in seen:
                    seen.add(part)
                    source = "\n\n".join([*parts[:number], part, *parts[number + 1 :]])
                    yield Mutant(place.function, before, after, source)


def _blocks(text: str) -> list[tuple[int, int]]:
    """The lines of every pair of solution marks."""
    lines = [line.strip() for line in text.splitlines()]
    begins, ends = ([i for i, line in enumerate(lines, 1) if line == mark] for mark in (BEGIN, END))
    return list(zip(begins, ends, strict=True))


class _Place(msgspec.Struct, frozen=True):
    """A part of the syntax tree: the function, statement and line it is in, and its parent's field that holds it."""

    function: str
    statement: Any
    line: int
    parent: Any
    field: str
    index: int | None
    value: Any

    def changed(self, other: Any, top: ast.stmt) -> tuple[str, str]:
        """The statement, and the whole top-level one, as text with something else in this place."""
        self._put(other)
        try:
            shown = other if self.value is self.statement else self.statement
            return _first_line(shown), ast.unparse(top)
        finally:
            self._put(self.value)

    def _put(self, value: Any) -> None:
        if self.index is None:
            setattr(self.parent, self.field, value)
        else:
            getattr(self.parent, self.field)[self.index] = value


def _places(node: Any, function: str, statement: Any, line: int) -> Iterator[_Place]:
    """Every part below a node, but for what raises an error and for what is not in a function."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        function = f"{function}.{node.name}".lstrip(".")
    for field, content in ast.iter_fields(node):
        for index, value in enumerate(content) if isinstance(content, list) else [(None, content)]:
            if not isinstance(value, ast.AST) or isinstance(value, ast.Raise):
                continue
            owner = value if isinstance(value, ast.stmt) else statement
            at = getattr(value, "lineno", line)
            if function:
                yield _Place(function, owner, at, node, field, index, value)
            yield from _places(value, function, owner, at)


def _changes(node: Any, field: str, parent: Any) -> Iterator[Any]:
    """What may stand in a node's place."""
    match node:
        case ast.operator():
            yield from (other() for other in _OPERATORS.get(type(node), ()))
        case ast.cmpop() if type(node) in _COMPARISONS:
            yield _COMPARISONS[type(node)]()
        case ast.And():
            yield ast.Or()
        case ast.Or():
            yield ast.And()
        case ast.Constant(value=bool(value)) if getattr(parent, "arg", "") != "strict":
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            yield ast.Constant(value + 1)
            yield ast.Constant(value - 1)
        case ast.Constant(value=float(value)):
            yield ast.Constant(2 * value if value else 1.0)
        case ast.UnaryOp(op=ast.USub() | ast.Not() | ast.Invert(), operand=operand):
            if not isinstance(operand, ast.Constant):
                yield operand
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div() | ast.Pow(), right=right):
            # a dropped term or factor
            yield left
            if isinstance(node.op, (ast.Add, ast.Mult)):
                yield right
        case ast.Attribute(value=value, attr="T"):
            yield value
        case ast.Call(func=function, args=arguments):
            yield from _other_calls(node, function, arguments)
        case ast.AugAssign() | ast.Expr(value=ast.Call()):
            # a forgotten line
            yield ast.Pass()
        case ast.Continue() | ast.Break():
            yield ast.Pass()
    if field == "test" and isinstance(parent, ast.If):
        yield ast.UnaryOp(ast.Not(), node)


def _other_calls(node: ast.Call, function: ast.expr, arguments: list[ast.expr]) -> Iterator[ast.expr]:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name in _FUNCTIONS and isinstance(function, ast.Attribute):
        other = ast.Attribute(function.value, _FUNCTIONS[name], ast.Load())
        yield ast.Call(other, arguments, node.keywords)
    if name in _DROPPED_CALLS and isinstance(function, ast.Attribute):
        of_numpy = isinstance(function.value, ast.Name) and function.value.id == "np"
        yield arguments[0] if of_numpy and arguments else function.value
    if name == "range" and arguments:
        stop = 0 if len(arguments) == 1 else 1
        fewer = ast.BinOp(arguments[stop], ast.Sub(), ast.Constant(1))
        yield ast.Call(function, [*arguments[:stop], fewer, *arguments[stop + 1 :]], node.keywords)
    if name == "transpose" and isinstance(function, ast.Attribute):
        yield (
            function.value if not (isinstance(function.value, ast.Name) and function.value.id == "np") else arguments[0]
        )


def _first_line(statement: ast.stmt) -> str:
    """A statement as text; of one that holds others, its head."""
    return ast.unparse(statement).splitlines()[0]
