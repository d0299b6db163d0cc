"""The statistical checks on many seeds of their solutions: how often a right answer fails, beside the stated rate.

    python benchmarks/false_alarms.py [ch324 ...] [--seeds 2000]

Every seed draws its own cases, as an instructor's secret seed would. A stated rate is below 1e-9, so that one failure
in all of this is a defect. Standard error gets a line for each check, standard output a Markdown table.
"""

import argparse
import os
import sys
import time

os.environ["OPENBLAS_NUM_THREADS"] = "1"

from dlgrade.course import registry
from dlgrade.course.compare import Failure
from dlgrade.course.spec import Check, Exercise
from dlgrade.grading.grader import solution
from dlgrade.grading.seeds import public_seed
from dlgrade.grading.student import LocalStudent


def failures(chapter_id: str, exercise: Exercise, check: Check, seeds: int) -> list[int]:
    """The seeds on which the solution fails a check."""
    solved = solution(chapter_id)
    failed = []
    for number in range(seeds):
        drawn = check.draw(public_seed(number).rng(chapter_id, exercise.name, check.name))
        try:
            check.run(LocalStudent(solved.source, solved.code), drawn)
        except Failure:
            failed.append(number)
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chapters", nargs="*", help="chapter ids; all if none is given")
    parser.add_argument("--seeds", type=int, default=2000)
    arguments = parser.parse_args()
    print("| chapter | statistical check | stated false-alarm rate | failures |")
    print("|---|---|---|---|")
    for id in arguments.chapters or registry.stems():
        for exercise in registry.chapter(id).exercises:
            for check in exercise.checks:
                if check.kind == "statistical":
                    started = time.process_time()
                    failed = failures(id, exercise, check, arguments.seeds)
                    shown = f"{len(failed)} of {arguments.seeds}"
                    print(f"| {id} | {check.name} | {check.false_alarm:.1g} | {shown} |", flush=True)
                    seconds = time.process_time() - started
                    print(
                        f"{id} {check.name}: {shown} in {seconds:.0f} CPU s {failed[:5]}", file=sys.stderr, flush=True
                    )


if __name__ == "__main__":
    main()
