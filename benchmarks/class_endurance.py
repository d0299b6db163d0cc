"""A class that is graded through kills: every score as it must be, nothing lost, nothing graded twice, memory flat.

Draws a class (see drawn_class.py), grades it undisturbed with `dlgrade grade -j 2`, then again with SIGKILL at random
moments and resumed, then through a dask cluster of separate processes one of which is killed; and compares the ledgers.

    python benchmarks/class_endurance.py [--count 1000] [--kills 10] [--jobs 2] [--no-cluster]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from dlgrade.grading.seeds import secret_seed
from drawn_class import CHAPTER, Drawn, draw, write

COLUMNS = "student, chapter, content, seed, checks, status, score, max_score, note, file, result"


def grade(folder: Path, seed: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dlgrade", "grade", str(folder), "--chapter", CHAPTER, "--seed-file", str(seed)]
    command += ["--output", str(out), "--write", "csv", *more]
    with (out.parent / f"{out.name}.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def ledger(out: Path) -> list[tuple[object, ...]]:
    """The ledger's rows without times and numbers, in the order of students."""
    with contextlib.closing(sqlite3.connect(out / "ledger.sqlite")) as db:
        return db.execute(f"SELECT {COLUMNS} FROM result ORDER BY student, chapter, content").fetchall()


def rows(out: Path) -> int:
    path = out / "ledger.sqlite"
    if not path.exists():
        return 0
    with contextlib.closing(sqlite3.connect(path)) as db:
        try:
            return int(db.execute("SELECT count(*) FROM result").fetchone()[0])
        except sqlite3.OperationalError:
            return 0


def children(pid: int) -> list[int]:
    """The processes that one started, from /proc."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def descendants(pid: int) -> list[int]:
    return [one for child in children(pid) for one in (child, *descendants(child))]


def rss(pid: int) -> float:
    """Resident MiB of a process."""
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return 0.0


class Memory:
    """Samples of a run: how far it was, its parent's memory, and its largest grading process's."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path) -> None:
        self.samples: list[tuple[int, float, float]] = []
        self.process, self.out = process, out
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self) -> None:
        while self.process.poll() is None:
            # The graders and their nurseries; below those are students, who may use what they are allowed.
            graders = children(self.process.pid)
            ours = [rss(pid) for grader in graders for pid in (grader, *children(grader))]
            self.samples.append((rows(self.out), rss(self.process.pid), max(ours, default=0.0)))
            time.sleep(0.5)

    def at(self, done: int) -> tuple[int, float, float]:
        return min(self.samples, key=lambda sample: abs(sample[0] - done))


def check_scores(drawn: list[Drawn], out: Path) -> None:
    want = {d.student: (d.score, d.status) for d in drawn}
    got = {str(row[0]): (row[6], row[5]) for row in ledger(out)}
    wrong = {student: (want[student], got.get(student)) for student in want if want[student] != got.get(student)}
    if wrong:
        raise SystemExit(f"WRONG: {len(wrong)} scores, first {sorted(wrong.items())[:5]}")


def compare(name: str, one: Path, other: Path) -> None:
    a, b = ledger(one), ledger(other)
    if a != b:
        first = next((x, y) for x, y in zip(a, b, strict=False) if x != y) if len(a) == len(b) else (len(a), len(b))
        raise SystemExit(f"DIFFERENT: {name}: {str(first)[:800]}")


def undisturbed(drawn: list[Drawn], folder: Path, seed: Path, out: Path, jobs: int) -> float:
    started = time.monotonic()
    process = grade(folder, seed, out, "-j", str(jobs))
    memory = Memory(process, out)
    status = process.wait()
    seconds = time.monotonic() - started
    memory.thread.join()
    if status not in (0, 1):
        raise SystemExit(f"FAILED with {status}: see {out}.log")
    check_scores(drawn, out)
    print(
        f"undisturbed: {len(drawn)} in {seconds:.1f} s, {len(drawn) / seconds:.1f} submissions a second; "
        "every score as expected"
    )
    for share in (0.1, 0.5, 0.97):
        done, parent, worker = memory.at(int(share * len(drawn)))
        print(f"  memory after {done:>6}: parent {parent:6.1f} MiB, largest grading process {worker:6.1f} MiB")
    return seconds


def killed(folder: Path, seed: Path, out: Path, jobs: int, kills: int, seconds: float, rng: random.Random) -> None:
    """Kill the grader `kills` times at random moments, resuming each time; then let it finish."""
    lost = []
    for number in range(kills):
        process = grade(folder, seed, out, "-j", str(jobs))
        time.sleep(rng.uniform(0.2, 2 * seconds / (kills + 1)))
        below = descendants(process.pid)
        ended = process.poll() is not None
        process.send_signal(signal.SIGKILL)
        process.wait()
        left = wait_for_end(below)
        lost.append(rows(out))
        print(
            f"  kill {number + 1:>2}: {lost[-1]:>5} rows safe; {len(below)} processes below it, {left} of them left"
            + (" (it had finished)" if ended else "")
        )
    status = grade(folder, seed, out, "-j", str(jobs)).wait()
    if status not in (0, 1):
        raise SystemExit(f"FAILED with {status}: see {out}.log")


def wait_for_end(pids: list[int], seconds: float = 15.0) -> int:
    """How many of these processes are still there after a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(alive(pid) for pid in pids):
        time.sleep(0.1)
    return sum(alive(pid) for pid in pids)


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    return False


@contextlib.contextmanager
def cluster(workers: int) -> Iterator[tuple[str, list[int]]]:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as made:
        yield made.scheduler_address, [worker.pid for worker in made.workers.values()]


def through_cluster(folder: Path, seed: Path, out: Path, workers: int, count: int) -> None:
    with cluster(workers) as (address, pids):
        started = time.monotonic()
        process = grade(folder, seed, out, "--cluster", address)
        while rows(out) < count // 3 and process.poll() is None:
            time.sleep(0.1)
        os.kill(pids[0], signal.SIGKILL)
        at = rows(out)
        status = process.wait()
        if status not in (0, 1):
            raise SystemExit(f"FAILED with {status}: see {out}.log")
        seconds = time.monotonic() - started
        print(f"cluster of {workers} processes, one killed after {at} rows: {count / seconds:.1f} submissions a second")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--random-seed", type=int, default=0)
    parser.add_argument("--no-loops", action="store_true", help="no endless loops among them")
    parser.add_argument("--no-cluster", action="store_true")
    options = parser.parse_args()
    rng = random.Random(options.random_seed)
    with tempfile.TemporaryDirectory(prefix="class-") as scratch:
        base = Path(scratch)
        seed = base / "secret"
        seed.write_text(f"{rng.getrandbits(256):064x}\n")
        drawn = draw(options.count, secret_seed(seed), random_seed=options.random_seed, loops=not options.no_loops)
        write(base / "class", drawn)
        kinds = Counter(d.kind for d in drawn)
        print(
            f"{len(drawn)} submissions of {CHAPTER}, -j {options.jobs}: "
            + ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())
        )
        seconds = undisturbed(drawn, base / "class", seed, base / "calm", options.jobs)
        if options.kills:
            killed(base / "class", seed, base / "killed", options.jobs, options.kills, seconds, rng)
            check_scores(drawn, base / "killed")
            compare("killed and resumed", base / "calm", base / "killed")
            print(f"killed {options.kills} times and resumed: the ledger equals the undisturbed one, row by row")
        if not options.no_cluster:
            through_cluster(base / "class", seed, base / "cluster", options.jobs, len(drawn))
            check_scores(drawn, base / "cluster")
            compare("through the cluster", base / "calm", base / "cluster")
            print("through the cluster: the ledger equals the undisturbed one, row by row")


if __name__ == "__main__":
    main()
