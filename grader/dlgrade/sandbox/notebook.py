"""What of a notebook is run: the definitions that the wanted functions need, without IPython's own syntax.

A notebook also holds plots, experiments, an hour of training and cells that no longer work. None of that is an answer,
so none of it is run: the statements that bind a wanted name are kept, then those that bind, or change, what these use,
and so on. Kept as well are a statement whose effect cannot be told from its text, and the bare functions, which cost
nothing and may be a wanted one under a misspelt name. The text is only parsed here, never run; but parsing hostile
text can take any time and memory, so it is done in the student's process, within its limits.
"""

from __future__ import annotations

import ast
import re
import symtable
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

# Parsing costs time and memory; a notebook with more code than this runs as it stands.
MAX_CHARS = 1 << 20

# `%magic`, `!command` and `name = !command`; `?name` and `name?`
_COMMAND = re.compile(r"(\s*)([\w, ]+=\s*)?(%%?[A-Za-z]|!)")
_HELP = re.compile(r"(\s*)(\?{1,2}\s*[\w.]+|[\w.]+\?{1,2})\s*$")
_LINE_END = re.compile(r"\r\n|\r|\n")

# With these a statement can bind any name.
OPAQUE = frozenset({"exec", "globals", "locals", "setattr", "vars"})

_UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)


@dataclass(slots=True)
class Piece:
    """One statement, or several that share a line, below `above` other lines of all cells.

    `binds` are the names it gives a value, `uses` those it reads, now or when a function it defines is called. `stores`
    are names whose items or attributes it sets, `handles` names that it passes on or calls a method of: whatever has
    them may change them. `data` are bound names that stand for neither a module, a function nor a class. A `bare` piece
    defines a function and reads no name to do so.
    """

    text: str
    above: int
    binds: set[str] = field(default_factory=set)
    uses: set[str] = field(default_factory=set)
    stores: set[str] = field(default_factory=set)
    handles: set[str] = field(default_factory=set)
    data: set[str] = field(default_factory=set)
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


def essential(cells: Iterable[str], wanted: Iterable[str]) -> list[tuple[int, str]]:
    """The statements of `cells`, in order, that the functions named in `wanted` need, each below how many lines.

    A cell that cannot be parsed is kept whole if it mentions a wanted name, so that what is wrong with it is reported.
    """
    placed, needed = list(numbered(cells)), set(wanted)
    if sum(len(cell) for _, cell in placed) > MAX_CHARS:
        return placed
    pieces = [piece for above, cell in placed for piece in _pieces(plain_python(cell), above, needed)]
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
    return [(piece.above, piece.text) for number, piece in enumerate(pieces) if piece.bare or number in kept]


def numbered(cells: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Each cell below how many lines it stands when all are joined to one text."""
    above = 0
    for cell in cells:
        yield above, cell
        above += len(_LINE_END.split(cell))


def plain_python(cell: str) -> str:
    """A cell without IPython's own syntax: a `%%` cell is dropped, `%`, `!` and `?` lines become comments.

    Line numbers stay as they were. A cell that is Python already is left alone: there, such a line is part of a string
    or of a formula.
    """
    if parsed(cell) is not None:
        return cell
    if cell.lstrip().startswith("%%") and not re.match(r"\s*%%(time|timeit|capture|prun)\b", cell):
        return ""
    return "\n".join(_without_magic(line) for line in _LINE_END.split(cell))


def _without_magic(line: str) -> str:
    magic = _COMMAND.match(line) or _HELP.match(line)
    return f"{magic[1]}pass  # {line.strip()}" if magic else line


def _pieces(cell: str, above: int, wanted: set[str]) -> Iterator[Piece]:
    tree = parsed(cell)
    if tree is None:
        if any(re.search(rf"\b{re.escape(name)}\b", cell) for name in wanted):
            yield Piece(cell, above, opaque=True)
        return
    lines = _LINE_END.split(cell)
    group: list[ast.stmt] = []
    for statement in tree.body:
        if group and _first_line(statement) > (group[-1].end_lineno or 0):
            yield _piece(lines, group, above)
            group = []
        group.append(statement)
    if group:
        yield _piece(lines, group, above)


def _first_line(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(decorator.lineno for decorator in decorators)])


def _piece(lines: list[str], statements: list[ast.stmt], above: int) -> Piece:
    first = _first_line(statements[0]) - 1
    piece = Piece("\n".join(lines[first : statements[-1].end_lineno]), above + first)
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
