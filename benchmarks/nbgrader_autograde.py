"""Seconds a submission: `nbgrader autograde` with dlgrade's sandbox, and with nbgrader's own kernel.

    python benchmarks/nbgrader_autograde.py [--chapter ch305] [--students 10] [--repeats 3]

One class of half solved and half mistaken notebooks is graded three times by the real command:

- sandbox: as `dlgrade nbgrader init` sets a course up;
- kernel: the same assignment, nbgrader's settings untouched, so that each test cell checks its exercise in the kernel;
- kernel, no checks: the same notebooks with test cells that test nothing, the least that nbgrader takes.

"each" is what one more submission costs: the time of the class less that of one submission, over the others. CPU time
is that of all processes. The ways take turns, and medians are printed, so that a slow moment of the machine meets all.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from dlgrade.course import registry
from dlgrade.nbgrader import course as courses

ENV = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore",
}
# way -> whether dlgrade's settings are there, and its test cells
WAYS = {"sandbox": (True, True), "kernel": (False, True), "kernel, no checks": (False, False)}
PLAIN = "c = get_config()\nc.CourseDirectory.course_id = 'plain'\n"


class Cost(NamedTuple):
    """Wall and CPU seconds."""

    wall: float
    cpu: float


def nbgrader(root: Path, *args: str) -> Cost:
    """Run a command in the course; what it cost."""
    used, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    run = subprocess.run(["nbgrader", *args, "--log-level=ERROR"], cwd=root, env=ENV, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(run.stderr)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(wall, after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime)


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
    cell: dict[str, Any] = {
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


def measure(root: Path, chapter_id: str, students: int) -> tuple[Cost, Cost]:
    """The cost of the whole class, and of each submission after the first."""
    shutil.rmtree(root / "autograded", ignore_errors=True)
    one = nbgrader(root, "autograde", chapter_id, "--student", "student000")
    shutil.rmtree(root / "autograded")
    whole = nbgrader(root, "autograde", chapter_id)
    return whole, Cost(*((all - first) / (students - 1) for all, first in zip(whole, one, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chapter", default="ch305")
    parser.add_argument("--students", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        roots = {way: Path(folder) / way for way in WAYS}
        for way, (sandbox, checks) in WAYS.items():
            make(roots[way], asked.chapter, asked.students, sandbox=sandbox, checks=checks)
        runs: dict[str, list[tuple[Cost, Cost]]] = {way: [] for way in WAYS}
        for _ in range(asked.repeats):
            for way in WAYS:
                runs[way].append(measure(roots[way], asked.chapter, asked.students))
    print(f"nbgrader autograde, {asked.chapter}, {asked.students} submissions, medians of {asked.repeats}")
    print(f"{'':20}{'class':>10}{'each':>10}{'ratio':>8}{'each, CPU':>12}{'ratio':>8}")
    ours = Cost(0, 0)
    for way, costs in runs.items():
        whole = statistics.median(whole.wall for whole, _ in costs)
        each = Cost(*(statistics.median(each[i] for _, each in costs) for i in (0, 1)))
        ours = ours if ours.wall else each
        ratios = f"{each.wall / ours.wall:>7.1f}x", f"{each.cpu / ours.cpu:>7.1f}x"
        print(f"{way:20}{whole:>8.2f} s{each.wall:>8.3f} s{ratios[0]}{each.cpu:>10.3f} s{ratios[1]}")


if __name__ == "__main__":
    main()
