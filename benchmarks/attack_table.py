"""The hostile submissions of tests/attacks/hostile as a table: points gained, what got through, what the report says.

With all walls every attack is run, under a secret seed and with tight limits. Where walls lack, on purpose, only those
are run that go for targets planted for them: nothing of this machine is at stake. Run it as it is:

    python benchmarks/attack_table.py                        all attacks, all walls
    python benchmarks/attack_table.py --without landlock     as on a kernel without it; also seccomp, both
    python benchmarks/attack_table.py --sandbox off          as with the walls left out
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "attacks"))

from arena import HARMLESS, Arena, Attack, Fight, attacks, words


def got_through(fight: Fight) -> str:
    """What an attack reached that it should not have; empty if nothing."""
    reached = list(fight.traces)
    if "FOUND" in fight.printed:
        reached.append("read what it should not")
    if fight.failure:
        reached.append(f"no result: {fight.failure}")
    return "; ".join(reached)


def row(attack: Attack, fight: Fight) -> str:
    said = words(fight.result) if fight.result else fight.failure
    gained = max(fight.points - attack.honest, 0)
    return f"| {attack.name} | {attack.tries} | {gained} | {got_through(fight) or 'nothing'} | {said} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sandbox", choices=["auto", "off"], default="auto")
    parser.add_argument("--without", choices=["landlock", "seccomp", "both"], default="")
    options = parser.parse_args()
    weak = options.sandbox == "off" or bool(options.without)
    chosen = [attack for attack in attacks() if attack.name in HARMLESS or not weak]
    gained = through = 0
    with tempfile.TemporaryDirectory() as folder, Arena(Path(folder), options.sandbox, options.without) as arena:
        print(f"Walls: {arena.launcher.walls}\n")
        print("| attack | what it tries | points gained | what got through | what the report says |")
        print("|---|---|---|---|---|")
        for attack in chosen:
            fight = arena.fight(attack)
            print(row(attack, fight), flush=True)
            gained += max(fight.points - attack.honest, 0)
            through += bool(got_through(fight))
            if arena.honest(attack.chapter).score != 100:
                print(f"\nAfter {attack.name} the worked solution did not get its 100 points.")
                return 1
    print(f"\n{len(chosen)} attacks; points forged: {gained}; attacks that got something through: {through}.")
    return int(not weak and bool(gained or through))


if __name__ == "__main__":
    sys.exit(main())
