"""What the projects' solutions reach: the training checks on 20 seeds, beside their targets and CPU budgets.

    python benchmarks/project_targets.py [ch334 ...] [--seeds N]

A run is the check itself: its data are drawn from the seed, the solution trains, and the trained parameters are judged
on fresh points. The result is read off the comparison with the target that the check makes, so nothing is measured that
is not graded. CPU seconds are those of the whole check in one process with one BLAS thread, of which training is nearly
all. Standard error gets a line for each run, standard output a Markdown table: the one that docs/projects.md keeps.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

os.environ["OPENBLAS_NUM_THREADS"] = "1"

from dlgrade.course import registry
from dlgrade.course.compare import Wrong, measured
from dlgrade.grading.grader import solution
from dlgrade.grading.seeds import public_seed
from dlgrade.grading.student import LocalStudent


class Target(NamedTuple):
    """A training check; `result` turns its last comparison (or that at `comparison`), the ratio of value to limit, into
    what is reported."""

    chapter: str
    exercise: str
    check: str
    measures: str
    target: str
    result: Callable[[float], float]
    digits: int = 4
    comparison: int = -1


TARGETS = (
    Target(
        "ch334",
        "train",
        "more than 97 % on points it has never seen",
        "accuracy on 2,000 fresh points",
        "above 0.97",
        lambda ratio: 1 - ratio * 0.03,
    ),
    Target(
        "ch335",
        "train",
        "learns the small digits, 8 by 8",
        "accuracy on 400 small digits, 8 by 8",
        "at least 0.92",
        lambda ratio: 1 - ratio * 0.08,
    ),
    Target(
        "ch335",
        "train",
        "at least 94 % on digits it has never seen, and 4 points above softmax regression",
        "accuracy on 1,000 fresh digits of MNIST",
        "at least 0.94",
        lambda ratio: 1 - ratio * 0.06,
        4,
        -2,
    ),
    Target(
        "ch335",
        "train",
        "at least 94 % on digits it has never seen, and 4 points above softmax regression",
        "the same minus softmax regression's",
        "at least 0.04",
        lambda ratio: 0.04 / ratio,
    ),
    Target(
        "ch336",
        "train",
        "0.15 bits per character below the trigram",
        "bits per character below the trigram, on a held-out tenth",
        "at least 0.15",
        lambda ratio: 1 - ratio * 0.85,
        3,
    ),
    Target(
        "ch337",
        "train",
        "at least 97 % on sequences it has never seen",
        "accuracy on 2,000 fresh sequences",
        "at least 0.97",
        lambda ratio: 1 - ratio * 0.03,
    ),
    Target(
        "ch337",
        "train",
        "with attention off it stays near one half",
        "the same with attention off: distance from 0.5",
        "at most 0.1",
        lambda ratio: ratio * 0.1,
    ),
    Target(
        "ch338",
        "train",
        "four clusters: new points are rebuilt",
        "four clusters: rec on 2,000 fresh points",
        "at most 1.4",
        lambda ratio: ratio * 1.4,
        3,
    ),
    Target(
        "ch338",
        "train",
        "four clusters: new points are rebuilt",
        "four clusters: kl on 2,000 fresh points",
        "1.8 to 2.4",
        lambda ratio: ratio * 2.4,
        3,
        -2,
    ),
    Target(
        "ch338",
        "train",
        "digits: new images are rebuilt",
        "digits: rec on 360 fresh images",
        "at most 24",
        lambda ratio: ratio * 24,
        3,
    ),
    Target(
        "ch338",
        "train",
        "digits: new images are rebuilt",
        "digits: kl on 360 fresh images",
        "1.5 to 3",
        lambda ratio: ratio * 3,
        3,
        -2,
    ),
    Target(
        "ch339",
        "train",
        "at least 475 steps on average, from fresh starts",
        "mean length of 100 greedy episodes, of 500",
        "at least 475",
        lambda ratio: 500 - ratio * 25,
        1,
    ),
    Target(
        "ch340",
        "system",
        "at least 95 % on records it has never seen",
        "accuracy on 2,000 fresh records",
        "at least 0.95",
        lambda ratio: 1 - ratio * 0.05,
    ),
    Target(
        "ch340",
        "system",
        "its probabilities can be trusted",
        "calibration error (ECE) on 2,000 fresh records",
        "at most 0.025",
        lambda ratio: ratio * 0.025,
    ),
)


class Run(NamedTuple):
    """One seed: the result, the CPU seconds it took, and whether the check was passed."""

    result: float
    cpu_s: float
    passed: bool


def run(target: Target, number: int) -> Run:
    chapter = registry.chapter(target.chapter)
    exercise = next(e for e in chapter.exercises if e.name == target.exercise)
    check = next(c for c in exercise.checks if c.name == target.check)
    drawn = check.draw(public_seed(number).rng(chapter.id, exercise.name, check.name))
    solved = solution(chapter.id)
    student = LocalStudent(solved.source, solved.code)
    started, passed = time.process_time(), True
    with measured() as ratios:
        try:
            check.run(student, drawn)
            ratio = ratios[target.comparison]
        except Wrong as wrong:
            ratio, passed = wrong.ratio, False
    return Run(target.result(ratio), time.process_time() - started, passed)


def row(target: Target, runs: list[Run], budget: float) -> str:
    results, cpu = [r.result for r in runs], [r.cpu_s for r in runs]
    numbers = [f"{f(results):.{target.digits}f}" for f in (min, statistics.median, max)]
    passed = f"{sum(r.passed for r in runs)} of {len(runs)}"
    times = f"{statistics.median(cpu):.1f} / {max(cpu):.1f} | {budget:g}"
    return f"| {target.chapter} | {target.measures} | {target.target} | {' / '.join(numbers)} | {passed} | {times} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chapters", nargs="*", help="chapter ids; all projects if none is given")
    parser.add_argument("--seeds", type=int, default=20)
    arguments = parser.parse_args()
    print("| chapter | measured | target | min / median / max | seeds that pass | CPU s median / max | budget, CPU s |")
    print("|---|---|---|---|---|---|---|")
    for target in TARGETS:
        if arguments.chapters and target.chapter not in arguments.chapters:
            continue
        runs = []
        for number in range(arguments.seeds):
            runs.append(run(target, number))
            result, cpu_s, passed = runs[-1]
            verdict = "" if passed else "  FAILED"
            print(
                f"{target.chapter} seed {number:2}: {result:.4f}  {cpu_s:5.1f} s{verdict}", file=sys.stderr, flush=True
            )
        exercise = registry.chapter(target.chapter).exercise(target.exercise)
        budget = next(c.cpu_s for c in exercise.checks if c.name == target.check) if exercise else 0.0
        print(row(target, runs, budget), flush=True)


if __name__ == "__main__":
    main()
