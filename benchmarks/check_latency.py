"""Cold `dlgrade check ch305`, walls up, against cold pytest running the same checks in process. Prints the ratio.

Each run is a fresh process; the two alternate, so that a busy machine slows both. Run it as it is:

    python benchmarks/check_latency.py [--runs 21]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).parents[1]
SOLUTION = ROOT / "solutions" / "ch305_loss_functions.py"

# What a course without a grader of its own would run: the checks as tests, the student's module in the same process.
TESTS = f"""
import pytest
from dlgrade.course import registry
from dlgrade.grading.seeds import PRACTICE_SEED, public_seed
from dlgrade.grading.student import LocalStudent
from dlgrade.sandbox.session import Source

CHAPTER = registry.chapter("ch305")
TEXT = open({str(SOLUTION)!r}).read()
STUDENT = LocalStudent(Source((TEXT,), "ch305.py", "ch305"), compile(TEXT, "ch305.py", "exec"))
CHECKS = [(e, c) for e in CHAPTER.exercises for c in e.checks]

@pytest.mark.parametrize(("exercise", "check"), CHECKS, ids=lambda x: x.name)
def test_check(exercise, check):
    check.run(STUDENT, check.draw(public_seed(PRACTICE_SEED).rng("ch305", exercise.name, check.name)))
"""


def timed(command: list[str], cwd: str) -> float:
    # Bytecode is cached as on any learner's machine, and pytest loads none of the plugins that happen to be installed.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    started = time.perf_counter()
    subprocess.run(command, cwd=cwd, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=21)
    runs = parser.parse_args().runs
    dlgrade = [
        str(Path(sys.executable).with_name("dlgrade")),
        "check",
        "ch305",
        "--file",
        str(SOLUTION),
        "--sandbox",
        "strict",
    ]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_ch305.py").write_text(TESTS)
        pytest = [sys.executable, "-m", "pytest", "-q", "test_ch305.py"]
        plain = [sys.executable, "-c", "import numpy"]
        commands = {"dlgrade check": dlgrade, "pytest, same checks": pytest, "python, import numpy": plain}
        times: dict[str, list[float]] = {name: [] for name in commands}
        for command in commands.values():
            timed(command, folder)
        for _ in range(runs):
            for name, command in commands.items():
                times[name].append(timed(command, folder))
    print(f"{'cold process':24}{'median':>9}{'quartiles':>18}   ({runs} alternating runs, ms)")
    for name, seconds in times.items():
        low, _, high = quantiles(seconds, n=4)
        print(f"{name:24}{1000 * median(seconds):9.0f}{1000 * low:10.0f} to {1000 * high:.0f}")
    print(f"ratio dlgrade / pytest: {median(times['dlgrade check']) / median(times['pytest, same checks']):.2f}")


if __name__ == "__main__":
    main()
