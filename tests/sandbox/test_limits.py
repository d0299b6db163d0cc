"""The walls around a student's process: what is stopped, what must go on working, and what is said where they lack."""

import json
import os
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dlgrade
import dlreference
import pytest
from dlgrade.sandbox import landlock, limits, seccomp

ACTS = Path(__file__).with_name("limits_acts.py")
MEMORY, FILE = 1 << 30, 1 << 20  # as in limits_acts.py
EPERM, EACCES, EXDEV, EFBIG, EMFILE, ENOSYS = 1, 13, 18, 27, 24, 38

linux = pytest.mark.skipif(sys.platform != "linux", reason="the walls stand on Linux only")
needs_landlock = pytest.mark.skipif(
    sys.platform != "linux" or landlock.offered_abi() == 0, reason="this kernel offers no Landlock"
)
needs_seccomp = pytest.mark.skipif(
    sys.platform != "linux" or seccomp.offered_machine() is None, reason="no seccomp filters for this kernel or machine"
)

Outcomes = dict[str, dict[str, Any]]
Commit = Callable[..., Outcomes]


@pytest.fixture(scope="module")
def commit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commit]:
    """Commits acts in a clean process, each in a child behind the walls asked for; gives what came of them."""
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        sockets = tmp_path_factory.mktemp("s")
        unix.bind(str(sockets / "u"))
        unix.listen(1)

        def run(walls: str, acts: list[str] | None = None, abi: int | None = None) -> Outcomes:
            outside, scratch = tmp_path_factory.mktemp("outside"), tmp_path_factory.mktemp("scratch")
            (outside / "secret.txt").write_text("secret")
            (outside / "readable.txt").write_text("readable")
            config = {
                **{"walls": walls, "abi": abi, "acts": acts, "scratch": str(scratch), "outside": str(outside)},
                **{"port": tcp.getsockname()[1], "socket_path": str(sockets / "u"), "abstract": f"limits-{outside}"},
                "reference": dlreference.__file__,
            }
            command = [sys.executable, "-I", str(ACTS), json.dumps(config)]
            ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
            assert ended.returncode == 0, ended.stderr
            assert (outside / "secret.txt").read_text() == "secret"
            outcomes: Outcomes = json.loads(ended.stdout)
            return outcomes

        yield run


@pytest.fixture(scope="module")
def behind_all(commit: Commit) -> Outcomes:
    return commit("landlock+seccomp", [*STOPPED_BY_LANDLOCK, *STOPPED_BY_SECCOMP, *WORKING])


@pytest.fixture(scope="module")
def behind_landlock(commit: Commit) -> Outcomes:
    return commit("landlock", [*STOPPED_BY_LANDLOCK, *WORKING])


@pytest.fixture(scope="module")
def behind_seccomp(commit: Commit) -> Outcomes:
    others = ["every refused call", "a call of the future", "clone3", "system", "abort", "raise a limit"]
    return commit("seccomp", [*STOPPED_BY_SECCOMP, *others, *WORKING])


@pytest.fixture(scope="module")
def behind_limits(commit: Commit) -> Outcomes:
    return commit("", ["100 GB", "4 GB in bits", "big file", "many open files", "spin", "limits", "capabilities"])


def assert_still_works(outcomes: Outcomes, act: str) -> None:
    if act == "time zone" and not os.path.exists("/usr/share/zoneinfo/Europe/Paris"):
        pytest.skip("this system has no time zones")
    assert outcomes[act] == {"value": WORKING[act]}


STOPPED_BY_LANDLOCK = [
    "read passwd",
    "read a secret",
    "read the grader",
    "read the reference",
    "list the root",
    "list outside",
    "read own environment",
    "read own memory map",
    "read the nursery's environment",
    "open the nursery's memory",
    "write outside",
    "write a readable file",
    "remove outside",
    "rename outside",
    "hard link into scratch",
    "symbolic link in scratch",
    "named pipe in scratch",
    "execv",
]
STOPPED_BY_SECCOMP = [
    "truncate outside",
    "truncate while reading",
    "chmod outside",
    "chown outside",
    "utime outside",
    "setxattr outside",
    "mknod",
    "open by handle",
    "chroot",
    "mount",
    "tcp",
    "udp",
    "unix socket",
    "abstract socket",
    "socketpair",
    "fork",
    "subprocess",
    "execv",
    "vfork",
    "clone",
    "clone a thread in a namespace",
    "unshare",
    "kill the nursery",
    "signal 0 to the nursery",
    "kill the group",
    "tgkill the nursery",
    "pidfd_open",
    "ptrace",
    "process_vm_readv",
    "leave the group",
    "leave the session",
    "io_uring",
    "memfd",
    "shared memory",
    "setuid",
    "priority",
    "affinity",
    "outlive the nursery",
    "own pipe's signals",
    "asynchronous pipe",
    "terminal input",
]
WORKING = {
    "late imports": [
        *["csv", "decimal", "email.message", "fractions", "heapq", "hashlib"],
        *["sqlite3", "statistics", "unittest.mock", "zoneinfo"],
    ],
    "late imports with a cold cache": "colorsys",
    "linear algebra": 200.5,
    "random numbers": 18.0,
    "fourier": 8.0,
    "save and load": 6.0,
    "threads": 28,
    "temporary files": "kept",
    "write in scratch": "written",
    "read a readable file": "readable",
    "own source": True,
    "time zone": "2:00:00",
    "random bytes": 16,
    "null device": 4,
    "processors": True,
}


@needs_landlock
@needs_seccomp
class TestAllWalls:
    @pytest.mark.parametrize("act", sorted({*STOPPED_BY_LANDLOCK, *STOPPED_BY_SECCOMP}))
    def test_stopped(self, behind_all: Outcomes, act: str) -> None:
        outcome = behind_all[act]
        assert outcome["errno"] in (EPERM, EACCES, EXDEV), outcome

    @pytest.mark.parametrize("act", WORKING)
    def test_still_works(self, behind_all: Outcomes, act: str) -> None:
        assert_still_works(behind_all, act)


@needs_landlock
class TestLandlockAlone:
    @pytest.mark.parametrize("act", STOPPED_BY_LANDLOCK)
    def test_stopped(self, behind_landlock: Outcomes, act: str) -> None:
        outcome = behind_landlock[act]
        # Taking a file out of its folder is refused as if the scratch folder were another file system.
        assert outcome["errno"] in (EACCES, EXDEV), outcome

    @pytest.mark.parametrize("act", WORKING)
    def test_still_works(self, behind_landlock: Outcomes, act: str) -> None:
        assert_still_works(behind_landlock, act)

    @pytest.mark.parametrize("abi", [1, 2, 3, 4, 5, 6])
    def test_an_older_abi_still_closes_files(self, commit: Commit, abi: int) -> None:
        if abi > landlock.offered_abi():
            pytest.skip(f"this kernel's Landlock is older than ABI {abi}")
        outcomes = commit("landlock", ["read a secret", "write outside", "list the root", "write in scratch"], abi)
        assert [outcome.get("errno") for outcome in outcomes.values()] == [EACCES, EACCES, EACCES, None]

    def test_sockets_and_signals_where_the_kernel_knows_them(self, commit: Commit) -> None:
        outcomes = commit("landlock", ["tcp", "abstract socket", "signal 0 to the nursery"])
        abi = landlock.offered_abi()
        if abi < 4:
            pytest.skip("this kernel's Landlock does not know about TCP")
        assert outcomes["tcp"]["errno"] == EACCES
        if abi >= 6:
            assert outcomes["abstract socket"]["errno"] == EPERM
            assert outcomes["signal 0 to the nursery"]["errno"] == EPERM


@needs_seccomp
class TestSeccompAlone:
    @pytest.mark.parametrize("act", STOPPED_BY_SECCOMP)
    def test_stopped(self, behind_seccomp: Outcomes, act: str) -> None:
        outcome = behind_seccomp[act]
        assert (outcome["error"], outcome["errno"]) == ("PermissionError", EPERM), outcome

    @pytest.mark.parametrize("act", WORKING)
    def test_still_works(self, behind_seccomp: Outcomes, act: str) -> None:
        assert_still_works(behind_seccomp, act)

    def test_every_refused_call_is_refused(self, behind_seccomp: Outcomes) -> None:
        assert behind_seccomp["every refused call"] == {"value": []}

    @pytest.mark.parametrize("act", ["clone3", "a call of the future"])
    def test_what_cannot_be_judged_does_not_exist(self, behind_seccomp: Outcomes, act: str) -> None:
        assert behind_seccomp[act]["errno"] == ENOSYS

    def test_system_runs_nothing(self, behind_seccomp: Outcomes) -> None:
        assert behind_seccomp["system"]["value"] in (-1, 127 << 8)  # C libraries differ in how they say so

    def test_an_abort_is_still_an_abort(self, behind_seccomp: Outcomes) -> None:
        assert behind_seccomp["abort"] == {"signal": 6}

    def test_limits_cannot_be_raised(self, behind_seccomp: Outcomes) -> None:
        # Python words this one itself.
        outcome = behind_seccomp["raise a limit"]
        assert outcome["error"] in ("PermissionError", "ValueError"), outcome


@linux
class TestLimits:
    def test_memory(self, behind_limits: Outcomes) -> None:
        assert behind_limits["100 GB"]["error"] in ("MemoryError", "_ArrayMemoryError")
        assert behind_limits["4 GB in bits"]["error"] == "MemoryError"

    def test_file_size(self, behind_limits: Outcomes) -> None:
        assert behind_limits["big file"]["errno"] == EFBIG

    def test_open_files(self, behind_limits: Outcomes) -> None:
        assert behind_limits["many open files"]["errno"] == EMFILE

    def test_cpu(self, behind_limits: Outcomes) -> None:
        assert behind_limits["spin"] == {"signal": 24}

    def test_all_in_force(self, behind_limits: Outcomes) -> None:
        import resource

        found = behind_limits["limits"]["value"]
        assert found["RLIMIT_AS"] == [MEMORY, MEMORY]
        assert found["RLIMIT_CPU"] == [1, 2]
        assert found["RLIMIT_FSIZE"] == [FILE, FILE]
        assert found["RLIMIT_NOFILE"] == [64, 64]
        assert found["RLIMIT_CORE"] == [0, 0]
        for name in ("RLIMIT_STACK", "RLIMIT_NPROC"):
            assert found[name] == list(resource.getrlimit(getattr(resource, name)))

    def test_never_above_the_limit_that_holds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import resource

        held = {resource.RLIMIT_AS: MEMORY // 2, resource.RLIMIT_CPU: 3}
        monkeypatch.setattr(resource, "getrlimit", lambda which: (-1, held.get(which, resource.RLIM_INFINITY)))
        found = {which: (soft, hard) for which, soft, hard in build().limits}
        assert found[resource.RLIMIT_AS] == (MEMORY // 2, MEMORY // 2)
        assert found[resource.RLIMIT_CPU] == (3, 3)
        assert found[resource.RLIMIT_FSIZE] == (FILE, FILE)

    def test_no_capability_but_to_read(self, behind_limits: Outcomes) -> None:
        assert behind_limits["capabilities"]["value"] & ~limits.CAP_DAC_READ_SEARCH == 0


def build(mode: limits.Mode = "auto") -> limits.Walls:
    walls = limits.build(mode=mode, readable=[], scratch=None, memory_bytes=MEMORY, file_bytes=FILE, cpu_s=5)
    if walls.ruleset is not None:
        os.close(walls.ruleset)
    return walls


class TestNames:
    @linux
    @pytest.mark.parametrize(
        ("abi", "machine", "names"),
        [(7, "x86_64", "landlock+seccomp"), (7, None, "landlock"), (0, "x86_64", "seccomp"), (0, None, "process")],
    )
    def test_name_what_stands(self, monkeypatch: pytest.MonkeyPatch, abi: int, machine: str | None, names: str) -> None:
        monkeypatch.setattr(landlock, "offered_abi", lambda: abi)
        monkeypatch.setattr(landlock, "landlock_ruleset", lambda *_: os.open(os.devnull, os.O_RDONLY))
        monkeypatch.setattr(seccomp, "offered_machine", lambda: machine)
        assert build().names == names
        if names != "landlock+seccomp":
            with pytest.raises(limits.WallError, match="needs Landlock and seccomp; this system has no"):
                build("strict")

    def test_a_kernel_that_refuses_the_rules_has_no_landlock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> int:
            raise limits.WallError("no")

        monkeypatch.setattr(landlock, "landlock_ruleset", refuse)
        assert "landlock" not in build().names

    def test_off(self) -> None:
        walls = build("off")
        assert (walls.names, walls.ruleset, walls.filter) == ("off", None, None)

    def test_elsewhere_only_the_process_remains(self) -> None:
        script = """
import sys
sys.platform = "win32"
sys.modules["resource"] = None
from dlgrade.sandbox import limits
walls = limits.build(mode="auto", readable=[], scratch=None, memory_bytes=1, file_bytes=1, cpu_s=1)
walls.enter()
print(walls.names)
"""
        assert run(script).stdout == "process\n"


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, timeout=30)


@linux
class TestEntering:
    def test_the_child_dies_with_the_nursery(self) -> None:
        # The child keeps standard output open: this returns when it is dead.
        script = """
import os, time
from dlgrade.sandbox import limits
walls = limits.build(mode="auto", readable=[], scratch=None, memory_bytes=1 << 30, file_bytes=1 << 20, cpu_s=5)
reading, writing = os.pipe()
if os.fork() == 0:
    walls.enter()
    os.write(writing, b"in")
    time.sleep(60)
print(os.read(reading, 2).decode(), flush=True)
os._exit(0)
"""
        assert run(script).stdout == "in\n"

    def test_not_by_the_nursery_itself(self) -> None:
        script = """
from dlgrade.sandbox import limits
walls = limits.build(mode="off", readable=[], scratch=None, memory_bytes=1 << 30, file_bytes=1 << 20, cpu_s=5)
try:
    walls.enter()
except limits.WallError as error:
    print(error)
"""
        assert run(script).stdout == "Walls are entered by children of the living process that built them.\n"

    @needs_landlock
    def test_a_wall_that_cannot_be_entered_is_said(self) -> None:
        script = """
import os
from dlgrade.sandbox import limits
walls = limits.build(mode="auto", readable=[], scratch=None, memory_bytes=1 << 30, file_bytes=1 << 20, cpu_s=5)
os.close(walls.ruleset)
if os.fork() == 0:
    try:
        walls.enter()
    except limits.WallError as error:
        os.write(1, str(error).encode())
    os._exit(0)
os.wait()
"""
        assert run(script).stdout == "Landlock could not be entered: Bad file descriptor."

    @needs_landlock
    def test_the_rules_are_closed_on_exec_and_by_the_child(self) -> None:
        script = """
import os
from dlgrade.sandbox import limits
walls = limits.build(mode="auto", readable=[], scratch=None, memory_bytes=1 << 30, file_bytes=1 << 20, cpu_s=5)
print(os.get_inheritable(walls.ruleset), flush=True)
if os.fork() == 0:
    walls.enter()
    try:
        os.fstat(walls.ruleset)
    except OSError:
        os.write(1, b"closed")
    os._exit(0)
os.wait()
"""
        assert run(script).stdout == "False\nclosed"


class TestPythonPaths:
    def test_no_installed_package_but_numpy(self) -> None:
        import numpy

        paths = [Path(path).resolve() for path in limits.python_paths()]
        assert Path(numpy.__file__).parent in paths
        hidden = [Path(module.__file__).resolve() for module in (dlgrade, dlreference, pytest) if module.__file__]
        installed = [Path(path).resolve() for path in sys.path if path.endswith(limits.PACKAGE_FOLDERS)]
        for path in paths:
            assert path.name not in limits.PACKAGE_FOLDERS
            assert not any(target.is_relative_to(path) for target in [*hidden, *installed])

    def test_no_package_folder_anywhere_below(self) -> None:
        found = [
            os.path.join(folder, name)
            for path in limits.python_paths()
            for folder, names, _ in os.walk(path)
            for name in names
            if name in limits.PACKAGE_FOLDERS
        ]
        assert found == []

    def test_the_standard_library_is_taken_apart(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("json", "site-packages", "dist-packages", "lib-dynload"):
            (tmp_path / name).mkdir()
        (tmp_path / "os.py").touch()
        monkeypatch.setattr(os, "__file__", str(tmp_path / "os.py"))
        paths = limits.python_paths()
        assert {str(tmp_path / name) for name in ("json", "lib-dynload", "os.py")} <= set(paths)
        assert not any(path.endswith(limits.PACKAGE_FOLDERS) for path in paths)

    def test_libraries_among_packages_are_picked_by_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("libz.so.1", "libopenblasp-r0.3.21.so", "libcups.so.2", "libz.a"):
            (tmp_path / name).touch()
        (tmp_path / "python3.13").mkdir()
        monkeypatch.setattr(limits, "LIBRARY_FOLDERS", (str(tmp_path),))
        found = {os.path.basename(path) for path in limits.python_paths() if path.startswith(str(tmp_path))}
        assert found == {"libz.so.1", "libopenblasp-r0.3.21.so"}


def verdict(
    machine: str, number: int, arguments: tuple[int, ...] = (), pid: int = 4321, audit: int | None = None
) -> int:
    """What the filter returns for a call: classic BPF, interpreted."""
    audit = seccomp.ARCHITECTURES[machine].audit if audit is None else audit
    data = struct.pack("<IIQ6Q", number, audit, 0, *(*arguments, 0, 0, 0, 0, 0, 0)[:6])
    program = list(struct.iter_unpack("<HBBI", seccomp.seccomp_program(machine, pid)))
    at = value = 0
    while True:
        code, if_true, if_false, operand = program[at]
        at += 1
        if code == seccomp.RETURN:
            return operand
        if code == seccomp.LOAD:
            (value,) = struct.unpack_from("<I", data, operand)
        elif code == seccomp.AND:
            value &= operand
        else:
            tests = {seccomp.IF_EQUAL: value == operand, seccomp.IF_GREATER: value > operand}
            at += if_true if tests.get(code, value >= operand) else if_false


ALLOWED, REFUSED, ABSENT = seccomp.ALLOW[3], seccomp.REFUSE[3], seccomp.ABSENT[3]


@pytest.mark.parametrize("machine", list(seccomp.ARCHITECTURES))
class TestProgram:
    def test_every_number(self, machine: str) -> None:
        refused = {n for table in seccomp.REFUSED_CALLS.values() for n in seccomp.call_numbers(table, machine).values()}
        absent = set(seccomp.call_numbers(seccomp.ABSENT_CALLS, machine).values())
        checked = set(seccomp.call_numbers(seccomp.CHECKED_CALLS, machine).values())
        for number in set(range(600)) - checked:
            expected = REFUSED if number in refused else ABSENT if number in absent or number > 462 else ALLOWED
            assert verdict(machine, number) == expected, number

    def test_another_architecture_is_killed(self, machine: str) -> None:
        assert verdict(machine, 0, audit=0x40000003) == seccomp.KILL[3]

    def test_the_second_set_of_numbers(self, machine: str) -> None:
        assert verdict(machine, 0x40000000) == REFUSED
        assert verdict(machine, 0xFFFFFFFF) == REFUSED

    @pytest.mark.parametrize(
        ("name", "arguments", "expected"),
        [
            ("clone", (0x3D0F00,), ALLOWED),  # a thread, as the C library starts it
            ("clone", (0xFFFFFFFF00000000 | 0x3D0F00,), ALLOWED),  # the kernel reads the low half alone
            ("clone", (17,), REFUSED),
            ("clone", (0x3D0F00 | 0x40000000,), REFUSED),
            ("openat", (0, 0, 0), ALLOWED),
            ("openat", (0, 0, 0o1101), ALLOWED),
            ("openat", (0, 0, 0o1102), ALLOWED),
            ("openat", (0, 0, 0o1000), REFUSED),
            ("openat", (0, 0, 0o1003), REFUSED),
            ("fcntl", (3, 1030), ALLOWED),
            ("fcntl", (3, 8), REFUSED),
            ("fcntl", (3, 10), REFUSED),
            ("ioctl", (1, 0x5401), ALLOWED),
            ("ioctl", (1, 0x40049409), ALLOWED),
            ("ioctl", (1, 0x5412), REFUSED),
            ("ioctl", (1, 0xFFFFFFFF00005412), REFUSED),
            ("prctl", (15,), ALLOWED),
            ("prctl", (1,), REFUSED),
            ("tgkill", (4321,), ALLOWED),
            ("tgkill", (4322,), REFUSED),
            ("tgkill", (0xFFFFFFFF,), REFUSED),
            ("prlimit64", (0, 7, 0, 1), ALLOWED),
            ("prlimit64", (0, 7, 0x7000), REFUSED),
            ("prlimit64", (0, 7, 0x700000000000), REFUSED),
            ("prlimit64", (5, 7, 0, 1), REFUSED),
        ],
    )
    def test_arguments(self, machine: str, name: str, arguments: tuple[int, ...], expected: int) -> None:
        assert verdict(machine, seccomp.call_numbers(seccomp.CHECKED_CALLS, machine)[name], arguments) == expected

    def test_the_prepared_filter_is_the_program(self, machine: str) -> None:
        prepared = seccomp.prepare(machine)
        struct.pack_into("=I", prepared.program, prepared.pid_at, 4321)
        assert prepared.program.raw == seccomp.seccomp_program(machine, 4321)


@pytest.mark.parametrize(
    ("machine", "header"),
    [
        ("x86_64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
        ("x86_64", "/usr/include/asm/unistd_64.h"),
        ("aarch64", "/usr/include/asm-generic/unistd.h"),
    ],
)
def test_numbers_are_the_kernels(machine: str, header: str) -> None:
    if not os.path.exists(header):
        pytest.skip(f"no {header} here")
    defined = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", Path(header).read_text()))
    tables = [*seccomp.REFUSED_CALLS.values(), seccomp.CHECKED_CALLS, seccomp.ABSENT_CALLS]
    ours = {name: number for table in tables for name, number in seccomp.call_numbers(table, machine).items()}
    assert {name: number for name, number in ours.items() if int(defined.get(name, number)) != number} == {}
