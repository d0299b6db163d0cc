"""The nursery: a clean process with NumPy imported once, which forks a fresh child for each submission.

It is started before the grader loads anything secret and never runs student code itself. Over its control socket it
takes `spawn` (with the child's end of a channel) and `reap` (kill the child and whatever it left, collect it, empty
the scratch folder). It ends, and takes its child with it, when the control socket closes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.random

from dlgrade.sandbox import limits, worker
from dlgrade.sandbox.kernel import PR_SET_DUMPABLE, prctl
from dlgrade.sandbox.launch import MODE_BYTES
from dlgrade.sandbox.protocol import HEAD, decode, encode, frame, frame_length

PR_SET_CHILD_SUBREAPER = 36
# The scratch folder is looked at this often while a child runs; one that has put more into it than this is killed.
LOOK_S = 0.1
MAX_SCRATCH_FILES = 4096
MAX_SCRATCH_BYTES = 256 << 20
MAX_SCRATCH_DEPTH = 32
OPEN_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)


class _Child:
    """The process that serves a submission, if there is one."""

    def __init__(self, scratch: str) -> None:
        self.scratch, self.pid, self.full = scratch, 0, False

    def watch(self, control: socket.socket) -> None:
        """Wait until the grader says something, and kill a child that fills its scratch folder meanwhile."""
        while self.pid and not self.full and not select.select([control], [], [], LOOK_S)[0]:
            if _overfull(self.scratch):
                self.full = True
                _kill(os.killpg, self.pid)

    def reap(self) -> dict[str, Any]:
        pid, full, self.pid, self.full = self.pid, self.full, 0, False
        return {**_reap(pid), "full": full}


def _receive(control: socket.socket, child: _Child) -> tuple[dict[str, Any], list[int]] | None:
    child.watch(control)
    head, fds, _, _ = socket.recv_fds(control, HEAD, 1)
    while head and len(head) < HEAD:
        head += control.recv(HEAD - len(head))
    if not head:
        return None
    length = frame_length(head)
    data = b""
    while len(data) < length:
        part = control.recv(length - len(data))
        if not part:
            return None
        data += part
    return decode(data), list(fds)


def _warm_up() -> None:
    """Touch what a first call would otherwise pay for in every child."""
    np.ones((2, 2)) @ np.ones((2, 2))
    np.random.default_rng(0).normal(size=2)


def _adopt_orphans() -> None:
    """Processes that a child leaves behind become this process's own, so that `reap` finds them."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _children() -> list[int]:
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    except (OSError, ValueError):
        return []


def _kill(kill: Any, pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        kill(pid, signal.SIGKILL)


def _reap(pid: int) -> dict[str, Any]:
    _kill(os.killpg, pid)
    _kill(os.kill, pid)
    _, status = os.waitpid(pid, 0)
    while left := _children():
        for orphan in left:
            _kill(os.kill, orphan)
            os.waitpid(orphan, 0)
    return {
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
        "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0,
    }


def _overfull(folder: str) -> bool:
    """Whether a folder holds too much, in files or in bytes, or in folders within folders."""
    files = size = 0
    folders = [(folder, 0)]
    while folders:
        path, depth = folders.pop()
        if depth > MAX_SCRATCH_DEPTH:
            return True
        # What is removed meanwhile, or locked, is not looked into.
        with contextlib.suppress(OSError), os.scandir(path) as listing:
            for entry in listing:
                files += 1
                if entry.is_dir(follow_symlinks=False):
                    folders.append((entry.path, depth + 1))
                else:
                    size += entry.stat(follow_symlinks=False).st_size
                if files > MAX_SCRATCH_FILES or size > MAX_SCRATCH_BYTES:
                    return True
    return False


def _empty(folder: str) -> None:
    """Remove all that is in a folder, however deep and however locked; nobody may be at work in it."""
    here = os.open(folder, OPEN_FOLDER)
    path: list[str] = []  # from the folder to `here`
    left = [_folders(here)]  # which folders are still in each of those
    try:
        while True:
            if left[-1]:
                path.append(left[-1].pop())
                here = _step(here, path[-1])
                left.append(_folders(here))
            elif path:
                here = _step(here, "..")
                left.pop()
                os.rmdir(path.pop(), dir_fd=here)
            else:
                return
    finally:
        os.close(here)


def _step(here: int, name: str) -> int:
    there = os.open(name, OPEN_FOLDER, dir_fd=here)
    os.close(here)
    return there


def _folders(here: int) -> list[str]:
    """Remove what is no folder from a folder; the names of those that are, unlocked."""
    folders = []
    for name in os.listdir(here):
        if stat.S_ISDIR(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
            os.chmod(name, stat.S_IRWXU, dir_fd=here)
            folders.append(name)
        else:
            os.unlink(name, dir_fd=here)
    return folders


def _child(fd: int, control: socket.socket, walls: limits.Walls, scratch: str) -> None:
    try:
        control.close()
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        os.close(null)
        os.chdir(scratch)
        os.environ["TMPDIR"] = scratch
        walls.enter()
        worker.serve(fd)
    finally:
        os._exit(70)


def serve(control: socket.socket, memory_bytes: int, file_bytes: int, cpu_s: int) -> None:
    """Serve the grader on `control`, where it first says which walls it wants, until it closes it."""
    _adopt_orphans()
    _warm_up()
    mode: Any = control.recv(MODE_BYTES, socket.MSG_WAITALL).decode().strip()
    if not mode:
        return
    scratch = tempfile.mkdtemp(prefix="dlgrade-")
    child = _Child(scratch)
    try:
        try:
            walls = limits.build(
                mode=mode,
                readable=limits.python_paths(),
                scratch=scratch,
                memory_bytes=memory_bytes,
                file_bytes=file_bytes,
                cpu_s=cpu_s,
            )
        except limits.WallError as error:
            control.sendall(frame(encode({"error": str(error)})))
            return
        control.sendall(frame(encode({"walls": walls.names, "scratch": scratch})))
        while (received := _receive(control, child)) is not None:
            message, fds = received
            if message["do"] == "spawn":
                control.sendall(frame(encode(_spawned(child, fds[0], control, walls))))
            else:
                reply = child.reap()
                _empty(scratch)
                control.sendall(frame(encode(reply)))
    finally:
        if child.pid:
            child.reap()
        with contextlib.suppress(OSError):
            _empty(scratch)
            os.rmdir(scratch)


def _spawned(child: _Child, channel: int, control: socket.socket, walls: limits.Walls) -> dict[str, Any]:
    """Fork a child that serves on `channel`; what the grader is told of it."""
    try:
        child.pid = os.fork()
    except OSError as error:
        os.close(channel)
        return {"error": f"a student process could not be started: {error.strerror}"}
    if child.pid == 0:
        _child(channel, control, walls, child.scratch)
    os.close(channel)
    return {"pid": child.pid}


def main(fd: int, memory_bytes: int, file_bytes: int, cpu_s: int) -> None:
    """The process that `launch` starts; `fd` is its end of the control socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        # Where no other wall stands, no process of the same user may look into this one or steer it.
        prctl(PR_SET_DUMPABLE, 0)
    with contextlib.suppress(ConnectionError):  # the grader ended, perhaps before it asked for anything
        serve(socket.socket(fileno=fd), memory_bytes, file_bytes, cpu_s)
    # Nothing is left to do, and taking the interpreter down would keep the grader waiting.
    os._exit(0)
