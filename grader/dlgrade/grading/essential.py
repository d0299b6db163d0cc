"""What of a notebook is graded: the definitions that the exercises' functions need.

A notebook also holds plots, experiments, an hour of training and cells that no longer work. None of that is an answer,
so none of it is run: the statements that bind a wanted name are kept, then those that bind, or change, what these use,
and so on. Kept as well are a statement whose effect cannot be told from its text, and the bare functions, which cost
nothing and may be a wanted one under a misspelt name. The text is only parsed here, never run.
"""

from __future__ import annotations

import ast
import re
import symtable
import warnings
from collections.abc import Iterable, Iterator

import msgspec

# Parsing costs time and memory in the grader's own process; a notebook with more code than this runs as it stands.
MAX_CHARS = 1 << 20

# With these a statement can bind any name.
OPAQUE = frozenset({"exec", "globals", "locals", "setattr", "vars"})

_UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)


class Piece(msgspec.Struct):
    """One statement, or several that share a line.

    `binds` are the names it gives a value, `uses` those it reads, now or when a function it defines is called. `stores`
    are names whose items or attributes it sets, `handles` names that it passes on or calls a method of: whatever has
    them may change them. `data` are bound names that stand for neither a module, a function nor a class. A `bare` piece
    defines a function and reads no name to do so.
    """

    text: str
    binds: set[str] = msgspec.field(default_factory=set)
    uses: set[str] = msgspec.field(default_factory=set)
    stores: set[str] = msgspec.field(default_factory=set)
    handles: set[str] = msgspec.field(default_factory=set)
    data: set[str] = msgspec.field(default_factory=set)
    opaque: bool = False
    bare: bool = False


def parsed(text: str) -> ast.Module | None:
    """The text's syntax tree, or None if it is no Python, or none that can be read within reason."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text)
        except _UNREADABLE:
            return None


def essential(cells: Iterable[str], wanted: Iterable[str]) -> tuple[str, ...]:
    """The statements of `cells`, in order, that the functions named in `wanted` need; each is a cell of its own.

    A cell that cannot be parsed is kept whole if it mentions a wanted name, so that what is wrong with it is reported.
    """
    cells, needed = list(cells), set(wanted)
    if sum(map(len, cells)) > MAX_CHARS:
        return tuple(cells)
    pieces = [piece for cell in cells for piece in _pieces(cell, needed)]
    _follow_globals(pieces)
    data = set().union(*(piece.data for piece in pieces)) - needed
    kept: set[int] = set()
    before = -1
    while before != len(kept):
        before = len(kept)
        for number, piece in enumerate(pieces):
            changes = (piece.binds | piece.stores) & needed or piece.handles & needed & data
            if number not in kept and (piece.opaque or changes):
                kept.add(number)
                needed |= piece.uses
    return tuple(piece.text for number, piece in enumerate(pieces) if piece.bare or number in kept)


def _pieces(cell: str, wanted: set[str]) -> Iterator[Piece]:
    tree = parsed(cell)
    if tree is None:
        if any(re.search(rf"\b{re.escape(name)}\b", cell) for name in wanted):
            yield Piece(cell, opaque=True)
        return
    lines = re.split(r"\r\n|\r|\n", cell)
    group: list[ast.stmt] = []
    for statement in tree.body:
        if group and _first_line(statement) > (group[-1].end_lineno or 0):
            yield _piece(lines, group)
            group = []
        group.append(statement)
    if group:
        yield _piece(lines, group)


def _first_line(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(decorator.lineno for decorator in decorators)])


def _piece(lines: list[str], statements: list[ast.stmt]) -> Piece:
    piece = Piece("\n".join(lines[_first_line(statements[0]) - 1 : statements[-1].end_lineno]))
    try:
        table = symtable.symtable(piece.text, "cell", "exec")
        _names(piece, table)
    except _UNREADABLE:
        piece.opaque = True
        return piece
    reads = any(symbol.is_referenced() for symbol in table.get_symbols())
    piece.bare = not reads and all(isinstance(s, (ast.FunctionDef, ast.AsyncFunctionDef)) for s in statements)
    for statement in statements:
        _effects(piece, statement)
    piece.opaque = piece.opaque or bool(piece.uses & OPAQUE)
    return piece


def _names(piece: Piece, table: symtable.SymbolTable) -> None:
    """Every global name that a scope and those within it read or bind."""
    top = table.get_type() == "module"
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (top or symbol.is_global()):
            piece.uses.add(symbol.get_name())
        if (symbol.is_assigned() or symbol.is_imported()) and (top or symbol.is_declared_global()):
            piece.binds.add(symbol.get_name())
    for inner in table.get_children():
        _names(piece, inner)


def _effects(piece: Piece, statement: ast.stmt) -> None:
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        piece.opaque = piece.opaque or any(alias.name == "*" for alias in statement.names)
        return
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        piece.data |= piece.binds - {statement.name}
        return
    if not (isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Lambda)):
        piece.data |= piece.binds
    for node in ast.walk(statement):
        if isinstance(node, (ast.Attribute, ast.Subscript)) and not isinstance(node.ctx, ast.Load):
            piece.stores |= _base(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            piece.handles |= _base(node.func)
        elif isinstance(node, ast.Call):
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
            piece.handles |= {name.id for value in given for name in ast.walk(value) if isinstance(name, ast.Name)}


def _base(node: ast.expr) -> set[str]:
    """The name at the start of `name.a[0].b`, if it is one."""
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def _follow_globals(pieces: list[Piece]) -> None:
    """A statement that mentions a function which sets globals may set them."""
    for piece in pieces:
        defined = piece.binds - piece.data
        if len(defined) == 1 and piece.data:
            for other in pieces:
                if defined & other.uses:
                    other.binds |= piece.data
