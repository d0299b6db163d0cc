"""The nursery: a clean process with NumPy imported once, which forks a fresh child for each submission.

It is started before the grader loads anything secret and never runs student code itself. Over its control socket it
takes `spawn` (with the child's end of a channel) and `reap` (kill the child and whatever it left, collect it, empty
the scratch folder). It ends, and takes its child with it, when the control socket closes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
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
from dlgrade.sandbox.launch import MODE_BYTES
from dlgrade.sandbox.protocol import HEAD, decode, encode, frame, frame_length

PR_SET_CHILD_SUBREAPER = 36


def _receive(control: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
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


def _empty(folder: str) -> None:
    def unlock(function: Any, path: str, _: Any) -> None:
        os.chmod(os.path.dirname(path), stat.S_IRWXU)
        os.chmod(path, stat.S_IRWXU, follow_symlinks=False) if not os.path.islink(path) else None
        function(path)

    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, onerror=unlock)
        else:
            os.unlink(entry.path)


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
    pid = 0
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
        control.sendall(frame(encode({"walls": walls.names})))
        while (received := _receive(control)) is not None:
            message, fds = received
            if message["do"] == "spawn":
                pid = os.fork()
                if pid == 0:
                    _child(fds[0], control, walls, scratch)
                os.close(fds[0])
                control.sendall(frame(encode({"pid": pid})))
            else:
                reply = _reap(pid)
                pid = 0
                _empty(scratch)
                control.sendall(frame(encode(reply)))
    finally:
        if pid:
            _reap(pid)
        shutil.rmtree(scratch, ignore_errors=True)


def main(fd: int, memory_bytes: int, file_bytes: int, cpu_s: int) -> None:
    """The process that `launch` starts; `fd` is its end of the control socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ConnectionError):  # the grader ended, perhaps before it asked for anything
        serve(socket.socket(fileno=fd), memory_bytes, file_bytes, cpu_s)
    # Nothing is left to do, and taking the interpreter down would keep the grader waiting.
    os._exit(0)
