"""Which exercises an edit can have touched, told from the names in a file; nothing is run.

An exercise's fingerprint covers the functions it asks for, those which they mention, and so on, and every top-level
statement that is no definition. Comments, blank lines and the functions of other exercises do not enter it.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from dlgrade import __version__
from dlgrade.course import registry
from dlgrade.course.spec import Chapter
from dlgrade.grading.grader import asked_for
from dlgrade.sandbox.notebook import OPAQUE, essential
from dlgrade.sandbox.session import Source

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)

# With these a function can reach any other by a computed name; so it can through the module's own entry in `sys`.
_REACHES_ANYWHERE = OPAQUE | {"eval", "importlib", "inspect", "sys"}


class File:
    """A file's top level: what every function stands among, and for each name the definitions it has."""

    def __init__(self, text: str) -> None:
        """Raises SyntaxError for a text that is no Python."""
        self.definitions: dict[str, list[tuple[str, set[str]]]] = {}
        rest = []
        for node in ast.parse(text).body:
            if isinstance(node, _DEFINITIONS):
                names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
                self.definitions.setdefault(node.name, []).append((ast.dump(node), names))
            else:
                rest.append(ast.dump(node))
        self.surroundings = "\n".join(rest)
        used = set().union(*(names for found in self.definitions.values() for _, names in found))
        if used & _REACHES_ANYWHERE:
            self.surroundings += ast.dump(ast.parse(text))

    def fingerprint(self, names: Iterable[str], salt: str) -> str:
        """A hash of all that these top-level names depend on."""
        todo, seen, dumps = list(names), set[str](), []
        while todo:
            name = todo.pop()
            if name not in seen:
                seen.add(name)
                for dump, used in self.definitions.get(name, ()):
                    dumps.append(dump)
                    todo += used
        whole = "\n".join([salt, self.surroundings, *sorted(dumps)])
        return hashlib.blake2b(whole.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def fingerprints(chapter: Chapter, source: Source) -> dict[str, str]:
    """The fingerprint of each exercise's code, by the exercise's name; raises SyntaxError if there is no reading it."""
    text = source.text
    if source.filename.endswith(".ipynb"):
        text = "\n".join(text for _, text in essential(source.cells, asked_for(chapter.exercises)))
    file, salt = File(text), _checks_version(chapter.stem)
    return {e.name: file.fingerprint(asked_for([e]), salt) for e in chapter.exercises}


@cache
def _checks_version(stem: str) -> str:
    """Other checks are another question: what was answered before then says nothing."""
    text = (Path(registry.__file__).parent / "chapters" / f"{stem}.py").read_bytes()
    return f"{__version__} {hashlib.blake2b(text, digest_size=12).hexdigest()}"
