"""A drawn class: submissions of chapter 305 of every kind that an instructor meets, with the score each must get.

Right answers, stubs, half-done work, slips, crashes, endless loops, garbage; as Python files and notebooks. What a
submission must score is worked out here by running the checks on trusted text in this process: no sandbox, no pool and
no ledger has a part in it. Where a file would crash or hang, its harmless twin is run instead: the same function,
raising.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import msgspec
from dlgrade.course import registry
from dlgrade.grading.diagnose import CHECK_FAILURES
from dlgrade.grading.grader import solution
from dlgrade.grading.seeds import Seed
from dlgrade.grading.student import LocalStudent
from dlgrade.sandbox.session import Source

CHAPTER = "ch305"

# Slips of the pen in the solution: what to replace, by what.
SLIPS: dict[str, tuple[str, str]] = {
    "mse without the 2": ("grad = 2.0 * error / error.size", "grad = error / error.size"),
    "mse over rows": ("grad = 2.0 * error / error.size", "grad = 2.0 * error / len(error)"),
    "mse sign": ("error = y_hat - y\n", "error = y - y_hat\n"),
    "softmax unshifted": ("np.exp(x - np.max(x, axis=axis, keepdims=True))", "np.exp(x)"),
    "softmax first axis": (
        "weights / np.sum(weights, axis=axis, keepdims=True)",
        "weights / np.sum(weights, axis=0, keepdims=True)",
    ),
    "log softmax unshifted": ("shifted = x - np.max(x, axis=axis, keepdims=True)", "shifted = x"),
    "log of softmax": (
        "return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))",
        "return np.log(softmax(x, axis))",
    ),
    "gradient not averaged": ("grad = (np.exp(log_p) - one_hot) / batch", "grad = np.exp(log_p) - one_hot"),
    "cross-entropy summed": ("loss = -np.sum(one_hot * log_p) / batch", "loss = -np.sum(one_hot * log_p)"),
    "mean over classes": ("loss = -np.sum(one_hot * log_p) / batch", "loss = -np.mean(one_hot * log_p)"),
    "pairs broadcast": ("y = np.asarray(y, dtype=np.float64).reshape(z.shape)", "y = np.asarray(y, dtype=np.float64)"),
    "bce not averaged": ("return loss, (p - y) / z.size", "return loss, p - y"),
    "huber unclipped": ("grad = np.clip(r, -delta, delta) / r.size", "grad = r / r.size"),
    "huber without half": ("0.5 * r**2", "r**2"),
    "one-sided difference": (
        "(loss(up, target)[0] - loss(down, target)[0]) / (2 * h)",
        "(loss(up, target)[0] - loss(prediction, target)[0]) / h",
    ),
}

# Bodies that end or stall the process; the twin raises.
CRASHES = (
    "import os; os._exit(3)",
    "import ctypes; ctypes.string_at(0)",
    "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "import sys; sys.setrecursionlimit(10**9); f = lambda n: f(n + 1); f(0)",
    "x = np.ones((1 << 34,)); return x.sum()",
)
LOOP = "while True: pass"
TWIN = "raise RuntimeError('the twin of something worse')"

GARBAGE: tuple[tuple[str, bytes], ...] = (
    ("py", b""),
    ("py", b"\xff\xfe\x00\x01\x02" * 50),
    ("py", b"\x89PNG\r\n\x1a\n" + bytes(range(256))),
    ("py", "caf\xe9".encode("latin-1")),
    ("py", b"x = '\0'\n"),
    ("ipynb", b"{ this is no notebook"),
    ("ipynb", b'{"cells": []}'),
    ("ipynb", b"[]"),
)
BROKEN = (
    "def mse(y_hat, y):\n    return (\n",
    "<!doctype html><html><body>please log in</body></html>\n",
    "import torch\n",
    "raise SystemExit(0)\n",
    "1 / 0\n",
    "import os\nos._exit(0)\n",
)
WRONG_KINDS = (
    "return 'a string'",
    "return None",
    "return {1, 2}",
    "return (lambda: 0), 1",
    "return np.array([object()])",
)

STATUSES = ("graded", "problem", "unreadable")


class Drawn(msgspec.Struct, frozen=True):
    """One submission: its file, what kind it is, and what it must get."""

    name: str
    data: bytes
    kind: str
    score: int
    status: str

    @property
    def student(self) -> str:
        return self.name.rpartition(".")[0]


def _functions() -> list[str]:
    return [f for e in registry.chapter(CHAPTER).exercises for f in e.functions]


def with_body(text: str, function: str, body: str) -> str:
    """`text` with one function's solution replaced by a line."""
    pattern = rf"(def {function}\(.*?### BEGIN SOLUTION\n)(.*?)(    ### END SOLUTION)"
    changed, count = re.subn(pattern, lambda m: f"{m[1]}    {body}\n{m[3]}", text, flags=re.S)
    assert count == 1, function
    return changed


@cache
def expected(text: str, seed: Seed) -> int:
    """The points of trusted text, from running every check on it in this process."""
    chapter = registry.chapter(CHAPTER)
    student = LocalStudent(Source((text,), "drawn.py", "drawn"), compile(text, "drawn.py", "exec"))
    student.signatures = solution(CHAPTER).signatures
    total = 0
    for exercise in chapter.exercises:
        passed: set[str] = set()
        for check in exercise.checks:
            if not set(check.needs) <= passed:
                continue
            student.transcript.clear()
            try:
                check.run(student, check.draw(seed.rng(CHAPTER, exercise.name, check.name)))
            except CHECK_FAILURES:
                continue
            passed.add(check.name)
        if any(check.alone and check.name in passed for check in exercise.checks):
            total += sum(check.points for check in exercise.checks if check.name in passed)
    return total


def notebook(text: str) -> bytes:
    """The text as the code cells of a notebook, one a function."""
    cells = [
        {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": [], "source": part}
        for part in re.split(r"(?m)^(?=def )", text)
    ]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


def draw(count: int, seed: Seed, *, random_seed: int = 0, loops: bool = True) -> list[Drawn]:
    """`count` submissions of all kinds, in shares like a class's; without `loops`, none that takes long."""
    rng = random.Random(random_seed)
    solved = solution(CHAPTER).source.text
    stub = registry.exercise_file(registry.chapter(CHAPTER)).read_text(encoding="utf-8")

    def right() -> tuple[str, str]:
        return solved, solved

    def untouched() -> tuple[str, str]:
        return stub, stub

    def halfway() -> tuple[str, str]:
        text = solved
        for function in rng.sample(_functions(), rng.randint(1, 5)):
            text = with_body(text, function, f"raise NotImplementedError('{function} is still to do')")
        return text, text

    def slips() -> tuple[str, str]:
        text = solved
        for name in rng.sample(sorted(SLIPS), rng.randint(1, 3)):
            text = text.replace(*SLIPS[name])
        return text, text

    def wrong_kind() -> tuple[str, str]:
        function, body = rng.choice(_functions()), rng.choice(WRONG_KINDS)
        return with_body(solved, function, body), with_body(solved, function, body)

    def crash() -> tuple[str, str]:
        function = rng.choice(_functions())
        return with_body(solved, function, rng.choice(CRASHES)), with_body(solved, function, TWIN)

    def loop() -> tuple[str, str]:
        function = rng.choice(("mse", "huber", "gradient_error"))
        return with_body(solved, function, LOOP), with_body(solved, function, TWIN)

    makers: list[tuple[str, float, Callable[[], tuple[str, str]] | None]] = [
        ("right", 0.24, right),
        ("untouched", 0.10, untouched),
        ("halfway", 0.16, halfway),
        ("slips", 0.33, slips),
        ("wrong kind", 0.04, wrong_kind),
        ("crash", 0.04, crash),
        ("loop", 0.01 if loops else 0.0, loop),
        ("broken", 0.04, None),
        ("garbage", 0.04, None),
    ]
    drawn = []
    for number in range(count):
        kind, _, make = rng.choices(makers, [share for _, share, _ in makers])[0]
        stem = f"student{number:05}"
        if kind == "garbage":
            suffix, data = rng.choice(GARBAGE)
            drawn.append(Drawn(f"{stem}.{suffix}", data, kind, 0, "unreadable"))
            continue
        if make is None:
            drawn.append(Drawn(f"{stem}.py", f"{rng.choice(BROKEN)}# {stem}\n".encode(), kind, 0, "problem"))
            continue
        text, twin = make()
        score = expected(twin, seed)
        text += f"\n# handed in by {stem}\n"
        if rng.random() < 0.15:
            drawn.append(Drawn(f"{stem}.ipynb", notebook(text), kind, score, "graded"))
        else:
            drawn.append(Drawn(f"{stem}.py", text.encode(), kind, score, "graded"))
    return drawn


def write(folder: Path, drawn: list[Drawn]) -> None:
    """Put the submissions into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for one in drawn:
        (folder / one.name).write_bytes(one.data)
