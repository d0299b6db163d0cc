"""Commits every act of `ACTS` in a child of its own behind the walls and prints what came of each, as JSON.

Run clean (`python -I limits_acts.py CONFIG`) by test_limits.py. CONFIG is a JSON object: `walls` to leave standing,
`abi` of Landlock to pretend (null: the kernel's), `acts` to commit (null: all), `scratch`, `outside` (a folder out of
bounds, of whose files only `readable.txt` may be read), `reference` (a module of it), and where something listens: TCP
`port`, `socket_path`, `abstract` name. An act comes to {"value": ...}, {"error": class, "errno": n, "text": ...} or
{"signal": n}.
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"
import numpy as np
from dlgrade.sandbox import kernel, landlock, limits, seccomp

MEMORY = 1 << 30
FILE = 1 << 20
CONFIG: dict[str, Any] = json.loads(sys.argv[1])
SCRATCH, OUTSIDE = CONFIG["scratch"], CONFIG["outside"]
LIBC = ctypes.CDLL(None, use_errno=True)
MACHINE = os.uname().machine

Act = Callable[[], Any]


def read(path: str) -> Act:
    def act() -> str:
        with open(path, "rb") as file:
            return file.read(40).decode("latin-1")

    return act


def write(path: str) -> Act:
    def act() -> str:
        with open(path, "w") as file:
            file.write("written")
        return "written"

    return act


def call(name: str, *arguments: int) -> Act:
    """A raw system call."""

    def act() -> int:
        tables = [*seccomp.REFUSED_CALLS.values(), seccomp.ABSENT_CALLS, seccomp.CHECKED_CALLS]
        numbers = {n: number for table in tables for n, number in seccomp.call_numbers(table, MACHINE).items()}
        return raw(numbers[name], *arguments)

    return act


def raw(number: int, *arguments: int) -> int:
    words = [ctypes.c_long(word) for word in (*arguments, 0, 0, 0, 0, 0, 0)[:6]]
    result: int = LIBC.syscall(ctypes.c_long(number), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def every_refused_call() -> list[str]:
    """Those that answered anything but EPERM, from the arguments 0, 0, 0, 0, 0, 0."""
    wrong = []
    for table in seccomp.REFUSED_CALLS.values():
        for name, number in seccomp.call_numbers(table, MACHINE).items():
            try:
                raw(number)
            except PermissionError:
                continue
            except OSError as error:
                wrong.append(f"{name}: {error}")
            else:
                wrong.append(name)
    return wrong


def connect(family: int, kind: int, address: Any) -> Act:
    def act() -> str:
        with socket.socket(family, kind) as client:
            client.settimeout(2)
            client.connect(address)
            client.send(b"hello")
        return "connected"

    return act


def fork() -> str:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "forked"


def system() -> int:
    return os.system("exit 7")


def run_program() -> str:
    return subprocess.run(["/bin/echo", "ran"], capture_output=True, text=True).stdout


def thread_in_a_namespace() -> int:
    return raw(seccomp.call_numbers(seccomp.CHECKED_CALLS, MACHINE)["clone"], 0x10000 | 0x8000000 | 0x900)


def memory() -> int:
    return np.zeros(100 << 30, dtype=np.uint8).size


def much_memory_in_bits() -> int:
    return len([bytes(1 << 20) for _ in range(4096)])


def big_file() -> int:
    with open(os.path.join(SCRATCH, "big"), "wb") as file:
        file.write(b"0" * (2 * FILE))
    return os.path.getsize(os.path.join(SCRATCH, "big"))


def many_open_files() -> int:
    return len([os.open(os.devnull, os.O_RDONLY) for _ in range(100)])


def limits_in_force() -> dict[str, list[int]]:
    names = ("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_CORE", "RLIMIT_STACK", "RLIMIT_NPROC")
    return {name: list(resource.getrlimit(getattr(resource, name))) for name in names}


def raise_limit() -> str:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY * 2, MEMORY * 2))
    return "raised"


def spin() -> None:
    while True:
        pass


def abort() -> None:
    os.abort()


def read_only_truncation() -> int:
    path = os.path.join(OUTSIDE, "readable.txt")
    os.close(os.open(path, os.O_RDONLY | os.O_TRUNC))
    return os.path.getsize(path)


def fcntl_command(command: int, argument: int) -> Act:
    def act() -> int:
        import fcntl

        reading, _ = os.pipe()
        return fcntl.fcntl(reading, command, argument)

    return act


def ioctl_command(command: int) -> Act:
    def act() -> int:
        import fcntl

        reading, _ = os.pipe()
        fcntl.ioctl(reading, command, b"\0" * 8)
        return 0

    return act


# What must go on working


def late_imports() -> list[str]:
    import csv
    import decimal
    import email.message
    import fractions
    import hashlib
    import heapq
    import sqlite3
    import statistics
    import unittest.mock
    import zoneinfo

    modules = (csv, decimal, email.message, fractions, heapq, hashlib, sqlite3, statistics, unittest.mock, zoneinfo)
    return [module.__name__ for module in modules]


def late_imports_with_a_cold_cache() -> str:
    import importlib

    importlib.invalidate_caches()
    import colorsys

    return colorsys.__name__


def linear_algebra() -> float:
    values = np.linalg.svd(np.diag(np.arange(1.0, 201.0)) @ np.eye(200), compute_uv=False)
    return round(float(values[0] + np.linalg.solve(np.eye(3) * 2, np.ones(3))[0]), 6)


def random_numbers() -> float:
    np.random.default_rng().normal()
    return float(np.random.default_rng(3).integers(10, 20))


def fourier() -> float:
    return float(np.fft.fft(np.ones(8))[0].real)


def save_and_load() -> float:
    path = os.path.join(SCRATCH, "weights.npz")
    np.savez(path, w=np.arange(4.0))
    with np.load(path) as data:
        return float(data["w"].sum())


def threads() -> int:
    found: list[int] = []
    workers = [threading.Thread(target=found.append, args=(n,)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(found)


def temporary_files() -> str:
    import tempfile

    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder, tempfile.NamedTemporaryFile("w+", dir=folder) as file:
        file.write("kept")
        file.seek(0)
        os.mkdir(os.path.join(folder, "sub"))
        os.rename(file.name, os.path.join(folder, "sub", "moved"))
        os.rename(os.path.join(folder, "sub", "moved"), file.name)
        return file.read()


def own_source() -> bool:
    with open(threading.__file__) as file:
        return "class Thread" in file.read()


def time_zone() -> str:
    import datetime
    import zoneinfo

    return str(datetime.datetime(2024, 7, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Paris")).utcoffset())


def random_bytes() -> int:
    with open("/dev/urandom", "rb") as file:
        return len(file.read(8)) + len(os.urandom(8))


def null_device() -> int:
    with open(os.devnull, "w") as file:
        return file.write("gone")


ACTS: dict[str, Act] = {
    "read passwd": read("/etc/passwd"),
    "read a secret": read(os.path.join(OUTSIDE, "secret.txt")),
    "read the grader": read(limits.__file__),
    "read the reference": read(CONFIG["reference"]),
    "list the root": lambda: os.listdir("/"),
    "list outside": lambda: os.listdir(OUTSIDE),
    "read own environment": read("/proc/self/environ"),
    "read own memory map": read("/proc/self/maps"),
    "read the nursery's environment": read(f"/proc/{os.getpid()}/environ"),
    "open the nursery's memory": read(f"/proc/{os.getpid()}/mem"),
    "write outside": write(os.path.join(OUTSIDE, "new.txt")),
    "write a readable file": write(os.path.join(OUTSIDE, "readable.txt")),
    "remove outside": lambda: os.remove(os.path.join(OUTSIDE, "secret.txt")),
    "rename outside": lambda: os.rename(os.path.join(OUTSIDE, "secret.txt"), os.path.join(SCRATCH, "secret.txt")),
    "hard link into scratch": lambda: os.link(os.path.join(OUTSIDE, "secret.txt"), os.path.join(SCRATCH, "link")),
    "symbolic link in scratch": lambda: os.symlink("/etc/passwd", os.path.join(SCRATCH, "passwd")),
    "named pipe in scratch": lambda: os.mkfifo(os.path.join(SCRATCH, "fifo")),
    "truncate outside": lambda: os.truncate(os.path.join(OUTSIDE, "readable.txt"), 0),
    "truncate while reading": read_only_truncation,
    "chmod outside": lambda: os.chmod(os.path.join(OUTSIDE, "secret.txt"), 0o777),
    "chown outside": lambda: os.chown(os.path.join(OUTSIDE, "secret.txt"), 1, 1),
    "utime outside": lambda: os.utime(os.path.join(OUTSIDE, "secret.txt"), (0, 0)),
    "setxattr outside": lambda: os.setxattr(os.path.join(OUTSIDE, "secret.txt"), "user.a", b"b"),
    "mknod": lambda: os.mknod(os.path.join(SCRATCH, "disk"), stat.S_IFBLK | 0o600, os.makedev(8, 0)),
    "open by handle": call("open_by_handle_at", -100, 0, 0),
    "chroot": lambda: os.chroot(SCRATCH),
    "mount": call("mount", 0, 0, 0, 0, 0),
    "tcp": connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", CONFIG["port"])),
    "udp": connect(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", CONFIG["port"])),
    "unix socket": connect(socket.AF_UNIX, socket.SOCK_STREAM, CONFIG["socket_path"]),
    "abstract socket": connect(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + CONFIG["abstract"]),
    "socketpair": lambda: len(socket.socketpair()),
    "fork": fork,
    "system": system,
    "subprocess": run_program,
    "execv": lambda: os.execv("/bin/true", ["true"]),
    "vfork": call("vfork") if MACHINE == "x86_64" else fork,
    "clone": call("clone", signal.SIGCHLD),
    "clone a thread in a namespace": thread_in_a_namespace,
    "clone3": call("clone3"),
    "unshare": call("unshare", 0x10000000),
    "kill the nursery": lambda: os.kill(os.getppid(), signal.SIGTERM),
    "signal 0 to the nursery": lambda: os.kill(os.getppid(), 0),
    "kill the group": lambda: os.kill(0, signal.SIGTERM),
    "tgkill the nursery": call("tgkill", os.getpid(), os.getpid(), 0),
    "pidfd_open": call("pidfd_open", os.getpid(), 0),
    "ptrace": call("ptrace", 16, os.getpid(), 0, 0),
    "process_vm_readv": call("process_vm_readv", os.getpid(), 0, 0, 0, 0, 0),
    "leave the group": os.setpgrp,
    "leave the session": os.setsid,
    "io_uring": call("io_uring_setup", 8, 0),
    "memfd": lambda: os.memfd_create("hidden"),
    "shared memory": call("shmget", 0, 1 << 30, 0o1600),
    "raise a limit": raise_limit,
    "setuid": lambda: os.setuid(0),
    "priority": lambda: os.setpriority(os.PRIO_PROCESS, 0, 5),
    "affinity": lambda: os.sched_setaffinity(0, os.sched_getaffinity(0)),
    "outlive the nursery": call("prctl", 1, 0, 0, 0, 0),
    "own pipe's signals": fcntl_command(8, os.getpid()),
    "asynchronous pipe": fcntl_command(4, 0o20000),
    "terminal input": ioctl_command(0x5412),
    "every refused call": every_refused_call,
    "a call of the future": lambda: raw(463),
    "100 GB": memory,
    "4 GB in bits": much_memory_in_bits,
    "big file": big_file,
    "many open files": many_open_files,
    "limits": limits_in_force,
    "spin": spin,
    "abort": abort,
    "capabilities": kernel.capabilities,
    "late imports": late_imports,
    "late imports with a cold cache": late_imports_with_a_cold_cache,
    "linear algebra": linear_algebra,
    "random numbers": random_numbers,
    "fourier": fourier,
    "save and load": save_and_load,
    "threads": threads,
    "temporary files": temporary_files,
    "write in scratch": write(os.path.join(SCRATCH, "mine.txt")),
    "read a readable file": read(os.path.join(OUTSIDE, "readable.txt")),
    "own source": own_source,
    "time zone": time_zone,
    "random bytes": random_bytes,
    "null device": null_device,
    "processors": lambda: bool(os.cpu_count()),
}


def outcome(act: Act) -> dict[str, Any]:
    try:
        return {"value": act()}
    except BaseException as error:
        return {"error": type(error).__name__, "errno": getattr(error, "errno", None), "text": str(error)}


def commit(walls: limits.Walls, act: Act) -> dict[str, Any]:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        walls.enter()
        os.write(writing, json.dumps(outcome(act)).encode())
        os._exit(0)
    os.close(writing)
    if not select.select([reading], [], [], 20)[0]:
        os.kill(pid, signal.SIGKILL)
    answer = b"".join(iter(lambda: os.read(reading, 65536), b""))
    os.close(reading)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return {"signal": os.WTERMSIG(status)}
    return json.loads(answer)


def main() -> None:
    if CONFIG["abi"] is not None:
        landlock.offered_abi = lambda: CONFIG["abi"]
    readable = [*limits.python_paths(), os.path.join(OUTSIDE, "readable.txt"), "/no/such/path"]
    walls = limits.build(mode="auto", readable=readable, scratch=SCRATCH, memory_bytes=MEMORY, file_bytes=FILE, cpu_s=1)
    if "seccomp" not in CONFIG["walls"]:
        walls = walls._replace(filter=None)
    if "landlock" not in CONFIG["walls"]:
        walls = walls._replace(ruleset=None)
    wanted = CONFIG["acts"] or list(ACTS)
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as abstract:
        abstract.bind("\0" + CONFIG["abstract"])
        abstract.listen(1)
        outcomes = {name: commit(walls, ACTS[name]) for name in wanted}
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main()
