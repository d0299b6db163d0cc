"""The same assignment and submissions through `nbgrader autograde`, `otter run` and `dlgrade grade`, in one run.

The assignment is chapter 305 with every one of its checks; a submission is one notebook. nbgrader has a test cell for
each check, otter a test case; both run the check itself, in the student's kernel, which is where they run tests. The
peers are installed from the package index into a virtual environment that goes away afterwards.

    python benchmarks/class_throughput.py [--count 20] [--venv FOLDER]
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

from dlgrade.course import registry
from dlgrade.grading.grader import solution
from dlgrade.grading.seeds import PRACTICE_SEED, public_seed
from drawn_class import CHAPTER, draw, notebook

ROOT = Path(__file__).parents[1]
PEERS = ("nbgrader==0.9.6", "otter-grader==7.0.0", "ipykernel")
# Kinds that no peer dies of: their kernels have no answer to a crash or an endless loop but a timeout.
KINDS = ("right", "untouched", "halfway", "slips")

SUPPORT = f"""
from functools import cache
from dlgrade.course import registry
from dlgrade.grading.diagnose import CHECK_FAILURES
from dlgrade.grading.grader import solution
from dlgrade.grading.seeds import PRACTICE_SEED, public_seed
from dlgrade.grading.student import LocalStudent
from dlgrade.sandbox.session import Source

CHAPTER = registry.chapter("{CHAPTER}")
SEED = public_seed(PRACTICE_SEED)
EMPTY = Source(("",), "answer.py", "answer"), compile("", "answer.py", "exec")


def passes(namespace, exercise, name):
    checks = {{check.name: check for check in CHAPTER.exercise(exercise).checks}}
    check = checks[name]
    if not all(passes(namespace, exercise, need) for need in check.needs):
        return False
    student = LocalStudent(*EMPTY, dict(namespace))
    student.signatures = solution(CHAPTER.id).signatures
    try:
        check.run(student, check.draw(SEED.rng(CHAPTER.id, exercise, name)))
    except CHECK_FAILURES:
        return False
    return True
"""


def environment(program: str) -> dict[str, str]:
    # Bytecode is cached as on any machine; one BLAS thread for everybody; a peer sees its own environment alone.
    dropped = ("PYTHONDONTWRITEBYTECODE", *(() if program == sys.executable else ("PYTHONPATH",)))
    kept = {k: v for k, v in os.environ.items() if k not in dropped}
    path = f"{Path(program).parent}{os.pathsep}{kept['PATH']}"
    return {**kept, "PATH": path, "OPENBLAS_NUM_THREADS": "1", "JUPYTER_PLATFORM_DIRS": "1"}


def run(*command: object, cwd: Path) -> float:
    """Run a command to its end; the seconds it took."""
    words = list(map(str, command))
    started = time.perf_counter()
    done = subprocess.run(words, cwd=cwd, env=environment(words[0]), capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode not in (0, 1) or (done.returncode and "dlgrade" not in words):
        raise SystemExit(f"{' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}")
    return seconds


def install(folder: Path) -> Path:
    """A virtual environment with the peers and what their tests import."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        run(python, "-m", "pip", "install", "--quiet", *PEERS, ROOT, cwd=folder)
        [packages] = (folder / "lib").glob("python*/site-packages")
        (packages / "chapter_support.py").write_text(SUPPORT)
    return python


def cell(source: str, **nbgrader: object) -> dict[str, object]:
    facts = {"schema_version": 3, "cell_type": "code", "task": False, **nbgrader}
    made = {
        "cell_type": "code",
        "metadata": {"nbgrader": facts},
        "execution_count": None,
        "outputs": [],
        "source": source,
    }
    return made | {"id": str(nbgrader["grade_id"])}


def course(folder: Path, texts: dict[str, str]) -> None:
    """An nbgrader course with the assignment generated and everybody's notebook handed in."""
    cells = [
        cell(solution(CHAPTER).source.text, grade_id="answer", grade=False, solution=True, locked=False),
        cell("from chapter_support import passes", grade_id="support", grade=False, solution=False, locked=True),
    ]
    checks = [(e.name, c) for e in registry.chapter(CHAPTER).exercises for c in e.checks]
    cells += [
        cell(
            f"assert passes(globals(), {exercise!r}, {check.name!r})",
            grade_id=f"check{number}",
            grade=True,
            solution=False,
            locked=True,
            points=check.points,
        )
        for number, (exercise, check) in enumerate(checks)
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    book = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    source = folder / "source" / "ps1" / f"{CHAPTER}.ipynb"
    source.parent.mkdir(parents=True)
    source.write_text(json.dumps(book))
    (folder / "nbgrader_config.py").write_text("c = get_config()\nc.CourseDirectory.course_id = 'dl'\n")
    for student, text in texts.items():
        path = folder / "submitted" / student / "ps1" / f"{CHAPTER}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({**book, "cells": [{**cells[0], "source": text}, *cells[1:]]}))


def time_nbgrader(python: Path, folder: Path, texts: dict[str, str]) -> tuple[float, dict[str, float]]:
    course(folder, texts)
    run(python, "-m", "nbgrader", "generate_assignment", "ps1", cwd=folder)
    seconds = run(python, "-m", "nbgrader", "autograde", "ps1", cwd=folder)
    run(python, "-m", "nbgrader", "export", cwd=folder)
    with (folder / "grades.csv").open() as stream:
        return seconds, {row["student_id"]: float(row["score"] or 0) for row in csv.DictReader(stream)}


def otter_tests(folder: Path) -> None:
    for exercise in registry.chapter(CHAPTER).exercises:
        lines = ["from otter.test_files import test_case", "from chapter_support import passes"]
        lines += ["OK_FORMAT = False", f"name = {exercise.name!r}", "points = None"]
        for number, check in enumerate(exercise.checks):
            lines.append(f"@test_case(points={check.points})")
            lines.append(f"def test_{number}(env):\n    assert passes(env, {exercise.name!r}, {check.name!r})")
        (folder / f"{exercise.name}.py").write_text("\n".join(lines) + "\n")


def time_otter(python: Path, folder: Path, texts: dict[str, str]) -> tuple[float, dict[str, float]]:
    (folder / "tests").mkdir(parents=True)
    otter_tests(folder / "tests")
    (folder / "otter_config.json").write_text("{}")
    options = ("-t", "tests", "-c", "otter_config.json", "--no-environment", "--no-requirements")
    run(python, "-m", "otter", "generate", *options, cwd=folder)
    [archive] = folder.glob("*.zip")
    scores, seconds = {}, 0.0
    for student, text in texts.items():
        (folder / student).mkdir()
        (folder / student / "answer.ipynb").write_bytes(notebook(text))
        command = (python, "-m", "otter", "run", "answer.ipynb", "-a", archive, "-o", ".", "--no-logo")
        seconds += run(*command, cwd=folder / student)
        result = json.loads((folder / student / "results.json").read_text())
        scores[student] = sum(test.get("score", 0) for test in result["tests"])
    return seconds, scores


def time_dlgrade(folder: Path, texts: dict[str, str], *more: object) -> tuple[float, dict[str, float]]:
    (folder / "class").mkdir(parents=True)
    for student, text in texts.items():
        (folder / "class" / f"{student}.ipynb").write_bytes(notebook(text))
    command = [sys.executable, "-m", "dlgrade", "grade", "class", "--chapter", CHAPTER, "--seed", PRACTICE_SEED]
    seconds = run(*command, "--sandbox", "strict", "--output", "out", *more, cwd=folder)
    with (folder / "out" / "grades.csv").open() as stream:
        return seconds, {row["student"]: float(row["score"]) for row in csv.DictReader(stream)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--venv", type=Path, help="keep the peers' virtual environment here, for another run")
    parser.add_argument("--large", type=int, default=400, help="also grade a class this large, for the marginal cost")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="throughput-") as scratch:
        base = Path(scratch)
        python = install(options.venv or base / "venv")
        drawn = [d for d in draw(8 * options.large, public_seed(PRACTICE_SEED), loops=False) if d.kind in KINDS]
        drawn = [d for d in drawn if d.name.endswith(".py")]
        texts = {d.student: d.data.decode() for d in drawn[: options.count]}
        large = {d.student: d.data.decode() for d in drawn[: options.large]}
        expected = {d.student: float(d.score) for d in drawn}
        warm = dict(list(texts.items())[:1])
        time_dlgrade(base / "warm", warm)
        measured = {
            "nbgrader autograde": time_nbgrader(python, base / "nbgrader", texts),
            "otter run": time_otter(python, base / "otter", texts),
            "dlgrade grade -j 1": time_dlgrade(base / "one", texts, "-j", 1, "--write", "csv"),
            "dlgrade grade -j 2": time_dlgrade(base / "two", texts, "-j", 2, "--write", "csv"),
            "dlgrade grade -j 2, all files": time_dlgrade(base / "all", texts, "-j", 2),
        }
        print(f"{CHAPTER}, {options.count} submissions, {len(re.findall('def ', texts[drawn[0].student]))} functions")
        print(f"{'':32}{'total s':>9}{'s each':>9}{'nbgrader / it':>15}{'otter / it':>12}  scores as expected")
        each = {name: seconds / len(texts) for name, (seconds, _) in measured.items()}
        for name, (seconds, scores) in measured.items():
            right = sum(scores.get(student) == expected[student] for student in texts)
            ratios = [each[peer] / each[name] for peer in ("nbgrader autograde", "otter run")]
            print(
                f"{name:32}{seconds:9.2f}{each[name]:9.3f}{ratios[0]:14.1f}x{ratios[1]:11.1f}x  {right} of {len(texts)}"
            )
        seconds, _ = time_dlgrade(base / "large", large, "-j", 2, "--write", "csv")
        name = f"dlgrade grade -j 2, {len(large)} of them"
        per = seconds / len(large)
        ratios = [each[peer] / per for peer in ("nbgrader autograde", "otter run")]
        print(f"{name:32}{seconds:9.2f}{per:9.4f}{ratios[0]:14.1f}x{ratios[1]:11.1f}x")


if __name__ == "__main__":
    main()
