"""Starting student processes: from the nursery where processes can fork cleanly, one by one elsewhere.

Both kinds offer the same four things: `walls` (which stand), `spawn()` (a fresh process and the channel to it),
`reap()` (kill it with all it left, and say how it ended) and `close()`.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import Any, Literal, NamedTuple, Protocol

Mode = Literal["auto", "strict", "off"]

MEMORY_BYTES = 2 << 30
FILE_BYTES = 16 << 20
TOTAL_CPU_S = 600
START_TIMEOUT_S = 60.0
MODE_BYTES = 8

# One BLAS thread and one hash seed: the same submission gives the same result, and a fork owns all its threads.
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "LANG": "C.UTF-8",
    "MPLBACKEND": "Agg",
}


class SandboxError(RuntimeError):
    """The sandbox cannot be set up as asked, or the grader's own helper process failed."""


class Ended(NamedTuple):
    """How a student process ended: by a signal, or with an exit code; `full` if it had filled its scratch folder."""

    signal: int = 0
    code: int = 0
    full: bool = False


class Launcher(Protocol):
    @property
    def walls(self) -> str: ...
    @property
    def pid(self) -> int: ...
    def spawn(self) -> socket.socket: ...
    def reap(self) -> Ended: ...
    def close(self) -> None: ...


def _python(code: str, **options: Any) -> subprocess.Popen[bytes]:
    """A clean interpreter that finds the same packages as this one, with an environment of its own."""
    paths = [os.path.abspath(path) for path in sys.path if path]
    boot = f"import sys; sys.path[:] = {paths!r}\n{code}"
    kept = {key: os.environ[key] for key in ("SYSTEMROOT", "PATH") if key in os.environ and sys.platform == "win32"}
    return subprocess.Popen(
        [sys.executable, "-S", "-P", "-c", boot],
        env={**ENVIRONMENT, **kept},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        **options,
    )


class _Nursery(NamedTuple):
    """A nursery process on its way, which has not been told yet what walls to build."""

    process: subprocess.Popen[bytes]
    control: socket.socket


def _start_nursery() -> _Nursery:
    ours, theirs = socket.socketpair()
    fd = theirs.fileno()
    code = f"from dlgrade.sandbox.nursery import main; main({fd}, {MEMORY_BYTES}, {FILE_BYTES}, {TOTAL_CPU_S})"
    process = _python(code, pass_fds=(fd,), start_new_session=True)
    theirs.close()
    return _Nursery(process, ours)


_ahead: list[_Nursery] = []


def start_ahead() -> None:
    """Start a nursery for the next `launcher` to use, so that it loads NumPy while this process loads the rest."""
    if sys.platform == "linux":
        _ahead.append(_start_nursery())


class NurseryLauncher:
    """Forks from a nursery; making one returns at once, and what it cannot do is raised when it is first used."""

    def __init__(self, mode: Mode) -> None:
        from dlgrade.sandbox.kernel import PR_SET_DUMPABLE, prctl

        self.process, self.control = _ahead.pop() if _ahead else _start_nursery()
        # What is expected lies in this process's memory: no other process of the same user may look into it.
        prctl(PR_SET_DUMPABLE, 0)
        self.control.settimeout(START_TIMEOUT_S)
        self.control.sendall(mode.encode().ljust(MODE_BYTES))
        self.pid = 0
        self._walls = self._scratch = ""

    def _hear(self) -> dict[str, Any]:
        from dlgrade.sandbox.protocol import HEAD, decode, frame_length

        try:
            head = self._exactly(HEAD)
            message: dict[str, Any] = decode(self._exactly(frame_length(head)))
        except OSError as error:
            raise SandboxError("the process that starts student code does not answer") from error
        if "error" in message:
            raise SandboxError(message["error"])
        return message

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.control.recv(count - len(data))
            if not part:
                raise ConnectionError
            data += part
        return data

    def _say(self, message: dict[str, Any], fds: list[int] | None = None) -> None:
        from dlgrade.sandbox.protocol import encode, frame

        try:
            socket.send_fds(self.control, [frame(encode(message))], fds or [])
        except OSError as error:
            raise SandboxError("the process that starts student code has ended") from error

    @property
    def walls(self) -> str:
        if not self._walls:
            begun = self._hear()
            self._walls, self._scratch = begun["walls"], begun["scratch"]
        return self._walls

    def spawn(self) -> socket.socket:
        assert self.walls
        ours, theirs = socket.socketpair()
        with theirs:
            self._say({"do": "spawn"}, [theirs.fileno()])
        self.pid = self._hear()["pid"]
        return ours

    def reap(self) -> Ended:
        self._say({"do": "reap"})
        self.pid = 0
        return Ended(**self._hear())

    def close(self) -> None:
        self.control.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self._scratch and os.path.lexists(self._scratch):  # it was killed before it could clean up
            import shutil

            shutil.rmtree(self._scratch, ignore_errors=True)


class ProcessLauncher:
    """One new interpreter a student process, for systems without a clean fork. Its boundary is the only wall."""

    def __init__(self, mode: Mode) -> None:
        if mode == "strict":
            raise SandboxError("--sandbox strict needs Linux with Landlock and seccomp; this system has neither")
        self.walls = "off" if mode == "off" else "process"
        self.process: subprocess.Popen[bytes] | None = None
        self.scratch = ""
        self.pid = 0

    def spawn(self) -> socket.socket:
        import secrets
        import tempfile

        self.scratch = tempfile.mkdtemp(prefix="dlgrade-")
        token = secrets.token_hex(16)
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(START_TIMEOUT_S)
            code = f"from dlgrade.sandbox.launch import answer; answer({server.getsockname()[1]}, {token!r})"
            self.process = _python(code, stderr=subprocess.DEVNULL, cwd=self.scratch, start_new_session=True)
            self.pid = self.process.pid
            while True:
                try:
                    channel, _ = server.accept()
                except OSError as error:
                    raise SandboxError("a student process could not be started") from error
                channel.settimeout(START_TIMEOUT_S)
                if channel.recv(len(token), socket.MSG_WAITALL) == token.encode():
                    channel.settimeout(None)
                    return channel
                channel.close()

    def reap(self) -> Ended:
        import shutil

        assert self.process is not None
        ended = self.process.poll()
        if ended is None:
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()
            ended = self.process.wait()
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.process, self.pid = None, 0
        return Ended(signal=-ended) if ended < 0 else Ended(code=ended)

    def close(self) -> None:
        if self.process is not None:
            self.reap()


def answer(port: int, token: str) -> None:
    """In the student's process: connect back to the grader and serve it."""
    from dlgrade.sandbox.worker import serve

    channel = socket.create_connection(("127.0.0.1", port))
    channel.sendall(token.encode())
    serve(channel)


def launcher(mode: Mode) -> Launcher:
    """The best way to start student processes on this system; raises `SandboxError` if `mode` cannot be kept."""
    return NurseryLauncher(mode) if sys.platform == "linux" else ProcessLauncher(mode)
