"""One submission's life in the sandbox, seen from the grader: batches of calls in, replies out, the clock kept here.

A call that crashes, hangs or is killed costs itself; a fresh process serves the calls after it. Nothing that a process
sends is believed beyond being an answer to the call that is due.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from dlgrade.sandbox.launch import Ended, Launcher
from dlgrade.sandbox.protocol import HEAD, Callback, Handle, ProtocolError, decode, encode, frame, frame_length

LOAD_CPU_S = 10.0
POLL_MS = 20
MAX_STDOUT = 64 * 1024
MAX_CALLBACKS = 20_000
MAX_CALLBACK_BYTES = 1 << 20
MAX_RESTARTS = 24
# Handles of the n-th process of a session begin at n times this, so that one of an earlier process is known.
HANDLES = 1_000_000
CPU_CLOCK_SCHED = 2

Status = Literal["ok", "error", "missing", "refused", "timeout", "crashed", "lost"]


class Source(msgspec.Struct, frozen=True):
    """A student's code: its cells (a plain file is one), and the names under which it runs and is spoken of."""

    cells: tuple[str, ...]
    filename: str
    module: str

    @property
    def text(self) -> str:
        return "\n".join(self.cells)


class Call(msgspec.Struct, frozen=True):
    """One call of a student's function, or of a method of a kept value.

    `keep` leaves the answer with the student's process (True), or the items of a returned tuple with these indices.
    """

    function: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    keep: bool | tuple[int, ...] = False
    on: Handle | None = None


class Reply(msgspec.Struct, frozen=True):
    """What became of a call. `changed` numbers the arguments that the call modified, `warned` quotes warnings.

    `detail` belongs to a status: type, message, trace of an error; where and what of a refusal; how a process ended.
    """

    status: Status
    value: Any = None
    changed: tuple[int, ...] = ()
    warned: tuple[str, ...] = ()
    detail: dict[str, Any] = {}


def wall_limit(cpu_s: float) -> float:
    """Wall seconds allowed for a call of `cpu_s`: generous, for a loaded machine is not the student's fault."""
    return 3 * cpu_s + 6


def _cpu_seconds(pid: int) -> float | None:
    """CPU seconds used by a process so far, if this system can tell."""
    if sys.platform != "linux":
        return None
    try:
        return time.clock_gettime((~pid << 3) | CPU_CLOCK_SCHED)
    except OSError:
        return None


class _Dead(Exception):
    """The process can serve no more calls: `status` and `detail` for the call that was due."""

    def __init__(self, status: Status, **detail: Any) -> None:
        self.status, self.detail = status, detail


class _Clock:
    """The limits of the call that is due."""

    def __init__(self, pid: int, cpu_s: float) -> None:
        self.pid, self.cpu_s = pid, cpu_s
        self.restart()

    def restart(self) -> None:
        self.wall_end = time.monotonic() + wall_limit(self.cpu_s)
        self.cpu_start = _cpu_seconds(self.pid)

    def check(self) -> None:
        if time.monotonic() > self.wall_end:
            raise _Dead("timeout", clock="wall", limit_s=wall_limit(self.cpu_s))
        if self.cpu_start is not None:
            now = _cpu_seconds(self.pid)
            if now is not None and now - self.cpu_start > self.cpu_s:
                raise _Dead("timeout", clock="cpu", limit_s=self.cpu_s)


class Session:
    """A submission in its process. `run` sends a batch of calls; `stdout` collects what the code prints meanwhile."""

    def __init__(self, launcher: Launcher, source: Source) -> None:
        self.launcher, self.source = launcher, source
        self.stdout: list[str] = []
        self.stdout_left = MAX_STDOUT
        self.channel: socket.socket | None = None
        self.generation = self.restarts = self.next_id = 0
        self.loaded: dict[str, Any] = {}
        self.dead: Reply | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        if self.channel is not None:
            self._end()

    def start(self) -> None:
        """Run the student's file in a fresh process; afterwards `loaded` says what it defines, or `dead` why not."""
        self.channel = self.launcher.spawn()
        self.channel.setblocking(False)
        self.generation += 1
        id, first_handle = self._new_id(), self.generation * HANDLES
        message = ("load", id, self.source.cells, self.source.filename, self.source.module, first_handle)
        received: list[tuple[Any, ...]] = []
        try:
            self._exchange([frame(encode(message))], [id], LOAD_CPU_S, {}, received)
        except _Dead as death:
            self.dead = self._bury(death)
            return
        _, content, *_ = received[0]
        self.loaded = content if type(content) is dict else {}

    def run(self, calls: Sequence[Call], *, cpu_s: float) -> list[Reply]:
        """A reply for every call, in order; `cpu_s` limits each call."""
        replies: list[Reply] = []
        while len(replies) < len(calls):
            if self.channel is None and self.dead is None:
                if self.restarts >= MAX_RESTARTS:
                    self.dead = Reply("crashed", detail={"restarts": self.restarts})
                else:
                    self.restarts += self.generation > 0
                    self.start()
            if self.dead is not None:
                return replies + [self.dead] * (len(calls) - len(replies))
            replies += self._batch(calls[len(replies) :], cpu_s)
        return replies

    def take_stdout(self) -> str:
        """What the code printed since this was last asked."""
        text, self.stdout, self.stdout_left = "".join(self.stdout), [], MAX_STDOUT
        return text

    def _new_id(self) -> int:
        """Never used twice, so that a late or forged reply is told from the one that is due."""
        self.next_id += 1
        return self.next_id

    def _batch(self, calls: Sequence[Call], cpu_s: float) -> list[Reply]:
        """Replies to the first calls of a batch: all of them, or up to one that ended the process."""
        frames: list[bytes] = []
        ids: list[int] = []
        callbacks: dict[int, Callback] = {}
        lost = 0
        for call in calls:
            if not self._prepare((call.on, call.args, call.kwargs), callbacks):
                if not frames:
                    lost += 1
                    continue
                break
            ids.append(self._new_id())
            arguments = encode((call.args, call.kwargs))
            frames.append(frame(encode(("call", ids[-1], call.function, arguments, call.keep, call.on))))
        received: list[tuple[Any, ...]] = []
        end = []
        try:
            self._exchange(frames, ids, cpu_s, callbacks, received)
        except _Dead as death:
            end = [self._bury(death)]
        replies = []
        for content in received:
            try:
                replies.append(read_reply(*content))
            except ProtocolError:
                replies.append(Reply("crashed", detail={"forged": True}))
        return [Reply("lost")] * lost + replies + end

    def _prepare(self, value: Any, callbacks: dict[int, Callback]) -> bool:
        """Number the callbacks in a call's arguments; False if it needs a kept value that ended with its process."""
        if type(value) is Handle:
            return value.id > self.generation * HANDLES
        if type(value) is Callback:
            value.id = len(callbacks)
            callbacks[value.id] = value
        elif type(value) in (tuple, list):
            return self._prepare_all(value, callbacks)
        elif type(value) is dict:
            return self._prepare_all(value.values(), callbacks)
        return True

    def _prepare_all(self, values: Iterable[Any], callbacks: dict[int, Callback]) -> bool:
        ready = True
        for value in values:
            ready = self._prepare(value, callbacks) and ready
        return ready

    def _exchange(
        self,
        frames: list[bytes],
        ids: list[int],
        cpu_s: float,
        callbacks: dict[int, Callback],
        received: list[tuple[Any, ...]],
    ) -> None:
        """Send frames and append the content of one reply for each id to `received`, in order, keeping the clock."""
        assert self.channel is not None
        outgoing, incoming = bytearray(b"".join(frames)), bytearray()
        clock = _Clock(self.launcher.pid, cpu_s)
        calls_back = 0
        while len(received) < len(ids):
            self._move(outgoing, incoming)
            for message in self._messages(incoming):
                match message:
                    case ("stdout", str(text)):
                        self._heard(text)
                    case ("callback", int(id), tuple(args), dict(kwargs)) if calls_back < MAX_CALLBACKS:
                        calls_back += 1
                        outgoing += frame(encode(answer_callback(callbacks.get(id), args, kwargs)))
                    case ("reply", int(id), str(status), content, list(changed), list(warned)) if [id] == ids[
                        len(received) : len(received) + 1
                    ]:
                        received.append((status, content, changed, warned))
                        clock.restart()
                        calls_back = 0
                    case _:
                        raise _Dead("crashed", forged=True)
            clock.check()

    def _move(self, outgoing: bytearray, incoming: bytearray) -> None:
        """Wait a moment for the channel and move bytes both ways."""
        assert self.channel is not None
        events = _wait(self.channel, bool(outgoing))
        try:
            if "write" in events:
                del outgoing[: self.channel.send(memoryview(bytes(outgoing[: 1 << 20])))]
            if "read" in events:
                data = self.channel.recv(1 << 16)
                if not data:
                    raise _Dead("crashed")
                incoming += data
        except BlockingIOError:
            pass
        except OSError as error:
            raise _Dead("crashed") from error

    def _messages(self, incoming: bytearray) -> list[Any]:
        """The whole messages at the start of `incoming`, taken off it."""
        messages = []
        try:
            while len(incoming) >= HEAD:
                end = HEAD + frame_length(bytes(incoming[:HEAD]))
                if len(incoming) < end:
                    break
                messages.append(decode(bytes(incoming[HEAD:end])))
                del incoming[:end]
        except ProtocolError as error:
            raise _Dead("crashed", forged=True) from error
        return messages

    def _heard(self, text: str) -> None:
        if self.stdout_left > 0:
            whole = len(text) <= self.stdout_left
            self.stdout.append(text if whole else text[: self.stdout_left] + "\n[more output was dropped]\n")
            self.stdout_left -= len(text)

    def _end(self) -> Ended:
        assert self.channel is not None
        self.channel.close()
        self.channel = None
        return self.launcher.reap()

    def _bury(self, death: _Dead) -> Reply:
        ended = self._end()
        return Reply(death.status, detail={"signal": ended.signal, "code": ended.code, **death.detail})


def read_reply(status: str, content: Any, changed: list[Any], warned: list[Any]) -> Reply:
    """A reply as it was received, believed only as far as its types go; raises `ProtocolError` for no valid answer."""
    match status, content:
        case "ok", bytes():
            value = decode(content)
            return Reply(
                "ok", value, tuple(n for n in changed if type(n) is int), tuple(w for w in warned if type(w) is str)
            )
        case ("error" | "missing" | "refused") as known, dict():
            return Reply(known, detail=content)
    raise ProtocolError("a reply of no known kind")


def _wait(channel: socket.socket, writing: bool) -> set[str]:
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(channel, select.POLLIN | (select.POLLOUT if writing else 0))
        flags = poll.poll(POLL_MS)
        if not flags:
            return set()
        wanted = (("read", select.POLLIN | select.POLLHUP | select.POLLERR), ("write", select.POLLOUT))
        return {name for name, bits in wanted if flags[0][1] & bits}
    readable, writable, _ = select.select([channel], [channel] if writing else [], [], POLL_MS / 1000)
    return {name for name, ready in (("read", readable), ("write", writable)) if ready}


def answer_callback(callback: Callback | None, args: tuple[Any, ...], kwargs: dict[Any, Any]) -> tuple[str, Any, str]:
    """Run a callback on the student's arguments. Whatever they were, the answer is data or one sentence."""
    if callback is None or callback.function is None:
        return "answer", None, "there is no such function to call"
    if len(encode((args, kwargs))) > MAX_CALLBACK_BYTES:
        return "answer", None, f"{callback.name} was called with too large an argument"
    try:
        return "answer", callback.function(*args, **kwargs), ""
    except Exception as error:
        return "answer", None, f"{callback.name} cannot be evaluated there: {error}"[:500]
