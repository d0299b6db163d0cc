"""What a function needs of the file it stands in: found by names, without running anything.

`watch` asks which exercises an edit can have touched, a notebook which of its cells make up an answer.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Sequence

import msgspec

# Code that reaches other names than those it spells: everything counts as needed.
_REACHES_ANYWHERE = frozenset({"globals", "vars", "eval", "exec", "__import__", "importlib", "inspect", "sys"})
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)


class Statement(msgspec.Struct, frozen=True):
    """One top-level statement: the names it makes or changes, those it reads, and its text.

    `fresh` says that it makes its names anew, so that earlier statements about them no longer matter.
    """

    binds: frozenset[str]
    uses: frozenset[str]
    fresh: bool
    effect: bool
    text: str
    node: ast.stmt


def statements(source: str) -> list[Statement]:
    """The top-level statements of a source; raises SyntaxError for one that is no Python."""
    return [_statement(node, source) for node in ast.parse(source).body]


def _statement(node: ast.stmt, source: str) -> Statement:
    inner = [n for n in ast.walk(node)]
    uses = {n.id for n in inner if isinstance(n, ast.Name)}
    uses |= {name for n in inner if isinstance(n, (ast.Global, ast.Nonlocal)) for name in n.names}
    effect = isinstance(node, ast.Expr)
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        binds = {node.name}
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        binds = {(a.asname or a.name).split(".")[0] for a in node.names}
    elif effect:
        # A call may change whatever it is given: `np.seterr(...)`, `table.append(...)`.
        binds = set(uses)
    else:
        binds = {n.id for n in inner if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
        binds |= {n.name for n in inner if isinstance(n, ast.ExceptHandler | ast.FunctionDef | ast.ClassDef) and n.name}
        binds |= {(a.asname or a.name).split(".")[0] for n in inner if isinstance(n, ast.Import | ast.ImportFrom) for a in n.names}
        binds |= {root for n in inner if (root := _changed_root(n))}
    plain = isinstance(node, ast.Assign | ast.AnnAssign) and all(
        isinstance(t, ast.Name) for t in (node.targets if isinstance(node, ast.Assign) else [node.target])
    )
    return Statement(
        binds=frozenset(binds),
        uses=frozenset(uses),
        fresh=isinstance(node, _DEFINITIONS) or plain,
        effect=effect,
        text=ast.get_source_segment(source, node) or ast.unparse(node),
        node=node,
    )


def _changed_root(node: ast.AST) -> str:
    """The name behind a target such as `table["x"].row = ...`, whose value changes though the name does not."""
    if not isinstance(node, ast.Attribute | ast.Subscript) or isinstance(node.ctx, ast.Load):
        return ""
    inner: ast.expr = node
    while isinstance(inner, ast.Attribute | ast.Subscript):
        inner = inner.value
    return inner.id if isinstance(inner, ast.Name) else ""


def needed(found: Sequence[Statement], names: Iterable[str], *, effects: bool) -> list[Statement]:
    """The statements that make up `names`, in order: their last definitions, what those use, and so on.

    `effects` counts bare expressions too, which may change what they mention; a notebook's are demonstrations.
    """
    wanted, todo, taken = set[str](), [*names, "*"], set[int]()
    while todo:
        name = todo.pop()
        if name in wanted:
            continue
        wanted.add(name)
        if name in _REACHES_ANYWHERE:
            return [s for s in found if effects or not s.effect]
        for i in range(len(found) - 1, -1, -1):
            s = found[i]
            if name not in s.binds or (s.effect and not effects):
                continue
            taken.add(i)
            todo += s.uses
            if s.fresh and name not in s.uses:
                break
    return [found[i] for i in sorted(taken)]


def fingerprint(found: Sequence[Statement], names: Iterable[str], salt: str = "") -> str:
    """A hash of all that `names` depend on in a file. Comments, blank lines and other functions do not enter it."""
    digest = hashlib.blake2b(salt.encode(), digest_size=12)
    for s in needed(found, names, effects=True):
        digest.update(ast.dump(s.node).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
