"""Right answers on many seeds: whether any loses a mark by the luck of the draw.

    python benchmarks/fairness.py [ch305 ...] [--seeds 50]

Every whole-file answer in tests/answers/right is graded in the sandbox on every seed, by all checks but those that
train, whose seeds docs/projects.md has. Standard error gets a line for each answer, standard output a Markdown table.
"""

import argparse
import sys
from pathlib import Path

from dlgrade.course import registry
from dlgrade.course.spec import Chapter
from dlgrade.grading.grader import Grader
from dlgrade.grading.seeds import public_seed
from dlgrade.grading.submissions import read
from dlgrade.sandbox.launch import Launcher, launcher

RIGHT = Path(__file__).parents[1] / "tests" / "answers" / "right"


def marks_lost(chapter: Chapter, path: Path, started: Launcher, seeds: int) -> list[str]:
    """Every check that an answer fails, with the seed."""
    source, quick = read(path, chapter.stem).source, chapter.without_training()
    lost = []
    for number in range(seeds):
        result = Grader(quick, public_seed(number), started).grade(source)
        lost += [f"{c.name} on seed {number}" for e in result.exercises for c in e.checks if c.status != "passed"]
    return lost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chapters", nargs="*", help="chapter ids; all if none is given")
    parser.add_argument("--seeds", type=int, default=50)
    arguments = parser.parse_args()
    print("| chapter | right answers | seeds | marks lost |")
    print("|---|---|---|---|")
    started = launcher("auto")
    for id in arguments.chapters or registry.stems():
        paths = sorted(RIGHT.glob(f"{id}_*.py"))
        lost = []
        for path in paths:
            found = marks_lost(registry.chapter(id), path, started, arguments.seeds)
            print(f"{path.stem}: {len(found)} lost {found[:3]}", file=sys.stderr, flush=True)
            lost += found
        print(f"| {id} | {len(paths)} | {arguments.seeds} | {len(lost)} |", flush=True)
    started.close()


if __name__ == "__main__":
    main()
