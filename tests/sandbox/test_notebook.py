"""What of a notebook is run: the definitions that the wanted functions need, whatever else stands there."""

from __future__ import annotations

import pytest
from dlgrade.sandbox.notebook import MAX_CHARS, essential, plain_python


def kept(*cells: str, wanted: str = "f") -> str:
    return "\n".join(text for _, text in essential(cells, [wanted]))


def test_a_function_and_what_it_needs_are_kept_in_order() -> None:
    cells = [
        "import numpy as np\nEPS = 1e-12\nunused = 3",
        "def helper(x):\n    return x + EPS",
        "def f(x):\n    return np.exp(helper(x))",
    ]
    assert kept(*cells) == "import numpy as np\nEPS = 1e-12\n" + cells[1] + "\n" + cells[2]


@pytest.mark.parametrize(
    "scratch",
    [
        "import matplotlib.pyplot as plt\nplt.plot(f(1))\nplt.show()",
        "while True:\n    pass",
        "losses = [f(i) for i in range(10**9)]",
        "import torch\nassert torch.allclose(f(1), 2)",
        "print(f(3))",
        "x = f(2)\nx += 1",
        "f(1)",
        "class Trainer:\n    def run(self):\n        return f(1)\n\n\nTrainer().run()",
        "raise SystemExit",
    ],
)
def test_scratch_is_not_run(scratch: str) -> None:
    answer = "def f(x):\n    losses = [x]\n    return losses"
    assert kept(answer, scratch) == answer
    assert kept(scratch, answer) == answer


@pytest.mark.parametrize(
    "needed",
    [
        "table = {}\ntable['a'] = 1",
        "table = {}\ntable.update(a=1)",
        "table = {}\nfor k in range(3):\n    table[k] = k",
        "def fill(t):\n    t['a'] = 1\n\n\ntable = {}\nfill(table)",
        "table = 1\ntable += 1",
        "def setup():\n    global table\n    table = 3\n\n\nsetup()",
        "if True:\n    table = 1\nelse:\n    table = 2",
        "try:\n    table = 1\nexcept ValueError:\n    pass",
        "with open('x') as table:\n    pass",
        "from numpy import *",
        "globals()['table'] = 3",
        "setattr(f, 'table', 3)",
        "f.table = 3",
        "a, (table, *b) = 1, (2, 3)",
        "print(table := 3)",
        "class table:\n    pass\n\n\ntable.x = 1",
        "import table",
        "from a import b as table",
        "del table",
    ],
)
def test_whatever_gives_a_needed_name_its_value_is_kept(needed: str) -> None:
    answer = "def f(x):\n    return table[x]"
    assert kept(answer, needed) == f"{answer}\n{needed}".replace("\n\n\n", "\n")


def test_later_definitions_come_later() -> None:
    assert kept("def f():\n    return 1", "def f():\n    return 2") == "def f():\n    return 1\ndef f():\n    return 2"


def test_a_local_name_is_not_a_global_one() -> None:
    assert kept("x = train_for_an_hour()", "def f():\n    x = 3\n    return [x for x in range(x)]").startswith("def f")


def test_a_method_is_found_by_its_class() -> None:
    assert (
        kept("scale = 2\nother = 3", "class f:\n    def m(self):\n        return scale")
        == "scale = 2\nclass f:\n    def m(self):\n        return scale"
    )


def test_a_decorator_and_defaults_are_needed_too() -> None:
    cells = ["def twice(g):\n    return g", "N = 3", "@twice\ndef f(n=N):\n    return n"]
    assert kept(*cells) == "\n".join(cells)


def test_statements_on_one_line_stay_together() -> None:
    assert kept("a = 1; b = 2; c = 3\nd = 4", "def f():\n    return b") == "a = 1; b = 2; c = 3\ndef f():\n    return b"


def test_a_misspelt_function_is_kept_so_that_it_can_be_named() -> None:
    assert kept("def ff(x):\n    return x", "@gone\ndef plot():\n    pass") == "def ff(x):\n    return x"


def test_a_cell_that_is_no_python_is_kept_only_if_it_is_about_a_wanted_name() -> None:
    broken = "def f(x)\n    return x"
    assert kept(broken, "def other(:\n    pass") == broken


@pytest.mark.parametrize(
    "text",
    [
        "f = a" + ".b" * 50_000,
        "f = " + "-" * 50_000 + "1",
        "f = 1" + "+1" * 50_000,
        "f = " + "lambda: " * 50_000 + "1",
        "f = 1\0",
    ],
    ids=["attributes", "signs", "sums", "lambdas", "nul"],
)
def test_hostile_text_only_stays_as_it_is(text: str) -> None:
    assert kept(text, "def f():\n    pass").endswith("def f():\n    pass")


def test_very_much_code_is_run_as_it_stands() -> None:
    cells = ("x = 1\n" * (MAX_CHARS // 6 + 1), "def f():\n    pass")
    assert essential(cells, ["f"]) == [(0, cells[0]), (cells[0].count("\n") + 1, cells[1])]


@pytest.mark.parametrize(
    ("cell", "plain"),
    [
        ("%matplotlib inline\nx = 1", "pass  # %matplotlib inline\nx = 1"),
        ("!pip install torch\nx = 1", "pass  # !pip install torch\nx = 1"),
        ("files = !ls\nx = 1", "pass  # files = !ls\nx = 1"),
        ("t = %timeit -o f(1)\nx = 1", "pass  # t = %timeit -o f(1)\nx = 1"),
        ("np.exp?\nx = 1", "pass  # np.exp?\nx = 1"),
        ("?np.exp\nx = 1", "pass  # ?np.exp\nx = 1"),
        ("if a:\n    %time f()\nx = 1", "if a:\n    pass  # %time f()\nx = 1"),
        ("%%time\nx = 1", "pass  # %%time\nx = 1"),
        ("%%bash\nrm -rf .", ""),
        ("x = (a\n%b)", "x = (a\n%b)"),
        ('"""\n%d of\n!\nwhat?\n"""', '"""\n%d of\n!\nwhat?\n"""'),
    ],
)
def test_ipython_is_taken_out_and_python_left_alone(cell: str, plain: str) -> None:
    assert plain_python(cell) == plain
