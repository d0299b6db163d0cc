"""Seconds a submission: `nbgrader autograde` with dlgrade's sandbox, and with nbgrader's own kernel.

    python benchmarks/nbgrader_autograde.py [--chapter ch305] [--students 10]

One class of half solved and half mistaken notebooks is graded three times by the real command:

- sandbox: as `dlgrade nbgrader init` sets a course up;
- kernel: the same assignment, nbgrader's settings untouched, so that each test cell checks its exercise in the kernel;
- kernel, no checks: the same notebooks with test cells that test nothing, the least that nbgrader takes.

"each" is what one more submission costs: the time of the class less that of one submission, over the others.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from dlgrade.course import registry
from dlgrade.nbgrader import course as courses

ENV = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore",
}
PLAIN = "c = get_config()\nc.CourseDirectory.course_id = 'plain'\n"


def nbgrader(root: Path, *args: str) -> float:
    """Run a command in the course; its wall time in seconds."""
    started = time.perf_counter()
    run = subprocess.run(["nbgrader", *args, "--log-level=ERROR"], cwd=root, env=ENV, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(run.stderr)
    return time.perf_counter() - started


def make(root: Path, chapter_id: str, students: int, *, sandbox: bool, checks: bool) -> None:
    """A course with one generated assignment and its submissions."""
    for _ in courses.init(root, [registry.chapter(chapter_id)]):
        pass
    if not sandbox:
        (root / courses.CONFIG).write_text(PLAIN)
    path = next((root / "source" / chapter_id).glob("*.ipynb"))
    notebook = json.loads(path.read_text())
    if not checks:
        for cell in notebook["cells"]:
            if cell["metadata"].get("nbgrader", {}).get("grade"):
                cell["source"] = "assert True"
        path.write_text(json.dumps(notebook))
    nbgrader(root, "generate_assignment", chapter_id)
    for number in range(students):
        folder = root / "submitted" / f"student{number:03}" / chapter_id
        folder.mkdir(parents=True)
        (folder / path.name).write_text(json.dumps(mistaken(notebook) if number % 2 else notebook))


def mistaken(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook with an answer that is wrong by a factor."""
    exercise = next(e for e in registry.chapter(notebook_chapter(notebook)).exercises if e.functions)
    name = exercise.functions[0]
    source = f"_right = {name}\n\n\ndef {name}(*args, **kwargs):\n    return np.asarray(_right(*args, **kwargs)[0]) * 2"
    cell = {
        "cell_type": "code",
        "id": "mistake",
        "metadata": {},
        "source": source,
        "outputs": [],
        "execution_count": None,
    }
    answers = [i for i, c in enumerate(notebook["cells"]) if f"def {name}(" in "".join(c["source"])]
    cells = notebook["cells"]
    return notebook | {"cells": [*cells[: answers[0] + 1], cell, *cells[answers[0] + 1 :]]}


def notebook_chapter(notebook: dict[str, Any]) -> str:
    ids = [c["metadata"].get("nbgrader", {}).get("grade_id", "") for c in notebook["cells"]]
    return next(id for id in ids if id)[:5]


def measure(root: Path, chapter_id: str, students: int) -> tuple[float, float]:
    """Seconds for the whole class, and for each submission after the first."""
    one = nbgrader(root, "autograde", chapter_id, "--student", "student000")
    shutil.rmtree(root / "autograded")
    whole = nbgrader(root, "autograde", chapter_id)
    return whole, (whole - one) / (students - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chapter", default="ch305")
    parser.add_argument("--students", type=int, default=10)
    asked = parser.parse_args()
    ways = {
        "sandbox": {"sandbox": True, "checks": True},
        "kernel": {"sandbox": False, "checks": True},
        "kernel, no checks": {"sandbox": False, "checks": False},
    }
    print(f"nbgrader autograde, {asked.chapter}, {asked.students} submissions")
    print(f"{'':20}{'class':>10}{'each':>10}{'ratio':>10}")
    ours = 0.0
    for way, how in ways.items():
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "course"
            make(root, asked.chapter, asked.students, **how)
            whole, each = measure(root, asked.chapter, asked.students)
            ours = ours or each
            print(f"{way:20}{whole:>8.2f} s{each:>8.3f} s{each / ours:>9.1f}x", flush=True)


if __name__ == "__main__":
    main()
