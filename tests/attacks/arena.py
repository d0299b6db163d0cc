"""Where hostile submissions are let loose: what is planted for them, how they are graded, what one left behind.

Each file of `hostile/` says in its first line what it tries. `# chapter chNNN` below it names a chapter other than 305,
`# with the solution` puts the worked solution before it. A file finds the paths, ports and processes to go for in
`TARGET`, and prints FOUND when it has read what it should not. Used by the tests here and benchmarks/attack_table.py.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlgrade
import dlreference
import msgspec
from dlgrade.course import registry
from dlgrade.course.spec import Chapter
from dlgrade.grading.grader import Grader
from dlgrade.grading.results import ChapterResult
from dlgrade.grading.seeds import Seed, secret_seed
from dlgrade.sandbox import launch, session
from dlgrade.sandbox.launch import Launcher, Mode, NurseryLauncher
from dlgrade.sandbox.session import Session, Source

HOSTILE = Path(__file__).parent / "hostile"
SECRET_HALVES = ("seed-of-the-class-", "7f3a91c04be2")
SECRET = "".join(SECRET_HALVES)
EARLIER = "EARLIER" + "-SUBMISSION"

# What an attack's file earns by the honest work in it, of 100 points; the others hold none.
HONEST = {
    "claim_nothing_changed": 12,  # the mean squared error is right; a copy of the arguments would earn the last point
    "nearly_too_slow_every_time": 100,  # all of it is right, and each call alone quick enough
    # All but the checks of a gradient: each has cases in which differences of the forward have too few digits left.
    "finite_differences_as_backprop": 77,
    "finite_differences_of_higher_order": 75,
    "told_apart_by_its_grader": 91,  # all but `mse`, of which the first calls are right
}

# Attacks that cannot hurt whoever runs them without walls, for they go for planted targets only.
HARMLESS = (
    *("patch_numpy_comparisons", "patch_builtins", "patch_worker_encoder", "walk_frames", "walk_gc"),
    *("forge_replies_ahead", "forge_result_text", "read_the_pipe_ahead", "lying_ndarray_subclass", "lying_pickles"),
    *("read_checks", "read_reference", "read_solutions", "read_seed_file", "read_environment", "read_command_lines"),
    *("read_memory_of_the_grader", "read_memory_by_call", "read_other_submissions", "read_memory_of_earlier"),
    *("list_the_machine", "open_by_handle", "write_results", "write_ledger", "write_next_students_file"),
    *("write_where_python_looks", "leave_links_and_pipes", "fork_and_survive", "run_a_shell", "kill_a_bystander"),
    *("trace_the_nursery", "connect_by_tcp", "connect_by_udp", "connect_to_a_unix_socket", "exit_at_once"),
)


class Attack(msgspec.Struct, frozen=True):
    """A hostile file: its name, what it tries, its chapter, and whether the worked solution stands before it."""

    name: str
    tries: str
    chapter: str
    text: str
    solved: bool

    @property
    def honest(self) -> int:
        return HONEST.get(self.name, 0)


class Fight(msgspec.Struct, frozen=True):
    """What came of an attack: the result, what the code printed, and the traces that it left outside."""

    result: ChapterResult | None
    failure: str
    printed: str
    traces: tuple[str, ...]

    @property
    def points(self) -> int:
        return self.result.score if self.result else 0


def attacks() -> list[Attack]:
    """All hostile files, in the order of their names."""
    return [_attack(path) for path in sorted(HOSTILE.glob("*.py"))]


def _attack(path: Path) -> Attack:
    text = path.read_text(encoding="utf-8")
    first, *lines = text.splitlines()
    notes = [line[2:] for line in lines[:3] if line.startswith("# ")]
    chapter = next((note.removeprefix("chapter ") for note in notes if note.startswith("chapter ")), "ch305")
    return Attack(path.stem, first.strip('" '), chapter, text, "with the solution" in notes)


class Arena:
    """Targets in a folder and around it, and a nursery in which attacks are graded; a context manager."""

    def __init__(self, folder: Path, mode: Mode = "auto", without: str = "") -> None:
        self.folder = folder
        self.stack = contextlib.ExitStack()
        self.mode, self.without = mode, without
        self._plant()
        self.seed: Seed = secret_seed(self.folder / "seed.txt")
        self.launcher: Launcher = self._launch()
        self.graders: dict[str, Grader] = {}

    def __enter__(self) -> Arena:
        return self

    def __exit__(self, *_: object) -> None:
        self.launcher.close()
        self.stack.close()

    def _launch(self) -> Launcher:
        with small_limits(), missing(self.without):
            started = NurseryLauncher(self.mode)
            assert started.walls
        return started

    def _plant(self) -> None:
        target = self.folder
        (target / "seed.txt").write_text(SECRET)
        (target / "results.json").write_text("{}")
        (target / "next.py").write_text("def softmax(x): return x  # the next student's own work\n")
        with contextlib.closing(sqlite3.connect(target / "ledger.sqlite")) as db, db:
            db.execute("CREATE TABLE result (student TEXT, score INTEGER)")
            db.execute("INSERT INTO result VALUES ('hostile', 0)")
        self.tcp = self.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.udp = self.stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.udp.bind(("127.0.0.1", 0))
        self.unix, self.abstract = (self.stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(2))
        self.unix.bind(str(target / "socket"))
        name = f"dlgrade-arena-{os.getpid()}"
        self.abstract.bind("\0" + name)
        for server in (self.unix, self.abstract):
            server.listen(8)
        for end in (self.tcp, self.udp, self.unix, self.abstract):
            end.setblocking(False)
        self.victim: subprocess.Popen[bytes] | None = None
        self.targets: dict[str, Any] = {
            "folder": str(target),
            "seed file": str(target / "seed.txt"),
            "results": str(target / "results.json"),
            "next student": str(target / "next.py"),
            "ledger": str(target / "ledger.sqlite"),
            "socket": str(target / "socket"),
            "abstract": name,
            "port": self.tcp.getsockname()[1],
            "udp port": self.udp.getsockname()[1],
            "grader": os.getpid(),
            "secret halves": SECRET_HALVES,
            "package": str(Path(dlgrade.__file__).parent),
            "reference": str(Path(dlreference.__file__).parents[1]),
            "solution": str(registry.solution_file(registry.chapter("ch305"))),
        }

    def _bystander(self) -> int:
        """A process of the same user that attacks may go for; a new one if the last was hurt."""
        if self.victim is None or self.victim.poll() is not None:
            command = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
            self.victim = subprocess.Popen(command, start_new_session=True)
            self.stack.callback(_end, self.victim)
        return self.victim.pid

    def source(self, attack: Attack) -> Source:
        """The submission: the targets' addresses, the solution if it is wanted, and the attack."""
        targets = {**self.targets, "victim": self._bystander()}
        chapter = registry.chapter(attack.chapter)
        solution = registry.solution_file(chapter).read_text(encoding="utf-8") if attack.solved else ""
        text = f"TARGET, NAP_S = {targets!r}, {NAP_S}\n{solution}\n{attack.text}"
        return Source((text,), f"{chapter.stem}.py", chapter.stem)

    def fight(self, attack: Attack, *, reveal: bool | None = None) -> Fight:
        """Grade an attack under the secret seed and look for what it has left."""
        source = self.source(attack)
        before = self._state()
        printed: list[str] = []
        failure, result = "", None
        with small_limits(), listening(printed):
            grader = Grader(quick(registry.chapter(attack.chapter)), self.seed, self.launcher, reveal=reveal)
            try:
                result = grader.grade(source)
            except launch.SandboxError as error:
                failure = str(error)
        traces = self._traces(before)
        if failure:
            self.launcher.close()
            self.launcher = self._launch()
        return Fight(result, failure, "".join(printed), tuple(traces))

    def honest(self, chapter: str = "ch305") -> ChapterResult:
        """The worked solution, graded in the same nursery with the usual limits."""
        if chapter not in self.graders:
            self.graders[chapter] = Grader(registry.chapter(chapter), self.seed, self.launcher)
        grader = self.graders[chapter]
        grader.launcher = self.launcher
        taught = registry.chapter(chapter)
        text = registry.solution_file(taught).read_text(encoding="utf-8")
        return grader.grade(Source((f"# {EARLIER}\n{text}",), f"{taught.stem}.py", taught.stem))

    def _state(self) -> dict[str, str]:
        """Every file that an attack must leave alone, and what is in it."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def _traces(self, before: dict[str, str]) -> list[str]:
        after = self._state()
        traces = [f"changed {Path(name).name}" for name in before if after.get(name) != before[name]]
        traces += [f"left {Path(name).name}" for name in after if name not in before]
        for name in ("next.py", "results.json", "seed.txt", "ledger.sqlite"):
            if before.get(str(self.folder / name)) != after.get(str(self.folder / name)):
                self._restore()
        for left in ("survived", "ran", "unpickled"):
            with contextlib.suppress(OSError):
                (self.folder / left).unlink()
        for end, what in ((self.tcp, "TCP"), (self.unix, "a Unix socket"), (self.abstract, "an abstract socket")):
            with contextlib.suppress(BlockingIOError):
                end.accept()[0].close()
                traces.append(f"connected by {what}")
        with contextlib.suppress(BlockingIOError):
            self.udp.recv(100)
            traces.append("sent a datagram")
        if self.victim is not None and self.victim.poll() is not None:
            traces.append("killed a bystander")
        traces += [f"left process {pid}" for pid in self.strays()]
        return traces

    def _restore(self) -> None:
        for name in ("seed.txt", "results.json", "next.py", "ledger.sqlite"):
            with contextlib.suppress(OSError):
                (self.folder / name).unlink()
        (self.folder / "seed.txt").write_text(SECRET)
        (self.folder / "results.json").write_text("{}")
        (self.folder / "next.py").write_text("def softmax(x): return x  # the next student's own work\n")
        with contextlib.closing(sqlite3.connect(self.folder / "ledger.sqlite")) as db, db:
            db.execute("CREATE TABLE result (student TEXT, score INTEGER)")
            db.execute("INSERT INTO result VALUES ('hostile', 0)")

    def strays(self) -> list[int]:
        """Children of the nursery, which adopts all that its own leave behind."""
        nursery = self.launcher.process.pid  # type: ignore[attr-defined]
        try:
            return [int(pid) for pid in Path(f"/proc/{nursery}/task/{nursery}/children").read_text().split()]
        except OSError:
            return []


NAP_S = 0.15  # what `nearly_too_slow_every_time` sleeps in each call
CPU_S, WALL_S, IDLE_S, LOAD_S = 0.25, 0.7, 1.5, 0.5


@contextlib.contextmanager
def small_limits() -> Iterator[None]:
    """The same limits, only tighter: an attack is to take seconds, not minutes."""
    tighter: dict[Any, dict[str, Any]] = {
        launch: {"MEMORY_BYTES": 768 << 20, "FILE_BYTES": 2 << 20},
        session: {"LOAD_CPU_S": LOAD_S, "wall_limit": lambda cpu_s: WALL_S, "MAX_IDLE_S": IDLE_S, "IDLE_PER_CPU": 1.0},
    }
    with contextlib.ExitStack() as stack:
        for module, values in tighter.items():
            for name, value in values.items():
                stack.callback(setattr, module, name, getattr(module, name))
                setattr(module, name, value)
        yield


@contextlib.contextmanager
def missing(wall: str) -> Iterator[None]:
    """Nurseries started inside believe that their kernel has no Landlock, or no seccomp."""
    lines = {
        "": "",
        "landlock": "from dlgrade.sandbox import landlock; landlock.offered_abi = lambda: 0\n",
        "seccomp": "from dlgrade.sandbox import seccomp; seccomp.offered_machine = lambda: None\n",
        "both": "from dlgrade.sandbox import landlock, seccomp\n"
        "landlock.offered_abi, seccomp.offered_machine = lambda: 0, lambda: None\n",
    }
    started = launch._python
    launch._python = lambda code, **options: started(lines[wall] + code, **options)
    try:
        yield
    finally:
        launch._python = started


@contextlib.contextmanager
def listening(printed: list[str]) -> Iterator[None]:
    """Keeps what submissions print, which a report under a secret seed leaves out."""
    taken = Session.take_stdout

    def take(self: Session) -> str:
        text = taken(self)
        printed.append(text)
        return text

    Session.take_stdout = take  # type: ignore[method-assign]
    try:
        yield
    finally:
        Session.take_stdout = taken  # type: ignore[method-assign]


def quick(chapter: Chapter) -> Chapter:
    """The same chapter, with little time for each call and without training runs, which have their own budget."""
    exercises = tuple(
        msgspec.structs.replace(
            exercise,
            checks=tuple(
                msgspec.structs.replace(check, cpu_s=CPU_S) if check.kind != "training" else check
                for check in exercise.checks
            ),
        )
        for exercise in chapter.exercises
    )
    return msgspec.structs.replace(chapter, exercises=exercises)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)
    process.wait()


def words(result: ChapterResult) -> str:
    """One line that says what a report says: the problem with the file, or how its checks ended."""
    if result.problem:
        return result.problem
    messages = [check.message for exercise in result.exercises for check in exercise.checks if check.message]
    told = [m for m in messages if "still to do" not in m and "There is no" not in m] or messages
    return told[0].splitlines()[0] if told else ""
