"""Exercise and solution files as notebooks: the same code, in cells."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from dlgrade.authoring.notebooks import Cell, cells_of, exercise_notebook, markdown, notebook
from dlgrade.course import registry
from dlgrade.grading.submissions import notebook_cells

SOURCE = '''"""Chapter 999: A Title

First paragraph, a * b and `c * d`.

    x_1 * y
"""

import numpy as np

LIMIT = 3


# what it is for
@np.vectorize
def one(x):
    """Doc."""
    return x
    # said at the end


def two():
    def inner():
        pass

    return inner

class Three:
    def method(self):
        pass
# after three
print(LIMIT)
'''


def test_cells_are_split_at_top_level_definitions() -> None:
    cells = cells_of(SOURCE)
    assert [(c.kind, c.names) for c in cells] == [
        ("markdown", ()),
        ("code", ()),
        ("code", ("one",)),
        ("code", ("two",)),
        ("code", ("Three",)),
        ("code", ()),
    ]
    assert cells[1].source == "import numpy as np\n\nLIMIT = 3"
    assert cells[2].source.startswith("# what it is for\n@np.vectorize\ndef one(x):")
    assert cells[2].source.endswith("# said at the end")
    assert cells[5].source == "# after three\nprint(LIMIT)"


@pytest.mark.parametrize("kind", ["exercises", "solutions"])
@pytest.mark.parametrize("stem", registry.stems().values())
def test_code_cells_are_the_file_without_its_docstring(kind: str, stem: str) -> None:
    source = (registry.content_folder(kind) / f"{stem}.py").read_text(encoding="utf-8")
    code = "\n".join(c.source for c in cells_of(source) if c.kind == "code")
    tree = ast.parse(source)
    assert ast.dump(ast.Module(tree.body[1:], [])) == ast.dump(ast.Module(ast.parse(code).body, []))


def test_nothing_is_lost_without_a_docstring_or_definitions() -> None:
    assert cells_of("x = 1\n") == [Cell("code", "x = 1")]
    assert cells_of("") == []
    with pytest.raises(SyntaxError):
        cells_of("def f(:")


def test_markdown_keeps_formulas_from_being_markup() -> None:
    text = markdown("Chapter 1: A * B\n\nuse `a * b` and __x__ < y\n\n    p_k * q")
    assert text == "# Chapter 1: A \\* B\n\nuse `a * b` and \\_\\_x\\_\\_ \\< y\n\n    p_k * q"


def test_a_notebook_is_valid_and_the_same_every_time(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    text = exercise_notebook(SOURCE, "ch999")
    assert text == exercise_notebook(SOURCE, "ch999")
    path = tmp_path / "n.ipynb"
    path.write_text(text, encoding="utf-8")
    nbformat.validate(nbformat.read(path, as_version=4))
    assert json.loads(text)["cells"][-1]["source"][-1] == 'check("ch999")'


def test_cell_ids_are_unique_and_metadata_lands_on_its_cell() -> None:
    made = notebook([Cell("code", "a = 1", ("same",)), Cell("code", "b = 2", ("same",))], [{"tags": ["x"]}])
    ids = [c["id"] for c in made["cells"]]
    assert len(set(ids)) == 2
    assert [c["metadata"] for c in made["cells"]] == [{"tags": ["x"]}, {}]


def test_the_grader_reads_the_same_code_back() -> None:
    text = exercise_notebook(SOURCE, "ch999")
    cells = notebook_cells(text, "n.ipynb")
    assert "def two():" in cells[2]
