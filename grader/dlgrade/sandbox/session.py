"""One submission's life in the sandbox, seen from the grader: batches of calls in, replies out, the clock kept here.

A call that crashes, hangs or is killed costs itself; a fresh process serves the calls after it. Nothing that a process
sends is believed beyond being an answer to the call that is due.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import msgspec

from dlgrade.sandbox.launch import TOTAL_CPU_S, Ended, Launcher
from dlgrade.sandbox.protocol import (
    HEAD,
    Callback,
    Handle,
    NotPlain,
    ProtocolError,
    counted,
    decode,
    encode,
    frame,
    frame_length,
)

LOAD_CPU_S = 10.0
POLL_MS = 20
MAX_STDOUT = 64 * 1024
MAX_CALLBACKS = 20_000
MAX_CALLBACK_BYTES = 1 << 20
MAX_RESTARTS = 24
# Answers to callbacks that a process has asked for and not read: one that waits for each has none.
MAX_UNREAD_BYTES = 8 << 20
# What a check keeps of the answers and of what was passed to its callbacks.
MAX_KEPT_BYTES = 128 << 20
# Separate values that are read from a submission in all: reading one takes as long as a thousand bytes of an array.
MAX_VALUES = 1_000_000
# A submission waits this long in all, and this many times what it computes: others may be at work beside it, but a
# function that sleeps just less than each call may take does not hold up a class.
MAX_IDLE_S = 120.0
IDLE_PER_CPU = 4.0
# Of what a process says about itself: words, steps of a traceback, names, arguments, warnings.
MAX_WORDS = 2000
MAX_STEPS = 8
MAX_NAMES = 500
MAX_NAME = 200
MAX_NOTES = 64
# Handles of the n-th process of a session begin at n times this, so that one of an earlier process is known.
HANDLES = 1_000_000
CPU_CLOCK_SCHED = 2
SIGKILL = 9

Status = Literal["ok", "error", "missing", "refused", "timeout", "crashed", "lost"]


class Source(msgspec.Struct, frozen=True):
    """A student's code: its cells (a plain file is one), and the names under which it runs and is spoken of.

    With `wanted` only that of a notebook is run which these functions need.
    """

    cells: tuple[str, ...]
    filename: str
    module: str
    wanted: tuple[str, ...] | None = None

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


class _Purse:
    """The time that a submission has in all, whatever process of it is at work."""

    def __init__(self) -> None:
        self.cpu_s = self.wall_s = 0.0

    def spend(self, cpu_s: float, wall_s: float) -> None:
        self.cpu_s += cpu_s
        self.wall_s += wall_s

    def check(self, cpu_s: float, wall_s: float) -> None:
        """Raises `_Dead`, for good, if with what the call that is due has taken nothing is left."""
        cpu_s, wall_s = self.cpu_s + cpu_s, self.wall_s + wall_s
        if cpu_s > TOTAL_CPU_S:
            raise _Dead("timeout", clock="total cpu", limit_s=float(TOTAL_CPU_S))
        if wall_s - cpu_s > MAX_IDLE_S + IDLE_PER_CPU * cpu_s:
            raise _Dead("timeout", clock="total wall", limit_s=round(wall_s))


class _Clock:
    """The limits of the call that is due."""

    def __init__(self, pid: int, cpu_s: float, purse: _Purse) -> None:
        self.pid, self.cpu_s, self.purse = pid, cpu_s, purse
        self.begin()

    def begin(self) -> None:
        self.wall_start = time.monotonic()
        self.cpu_start = _cpu_seconds(self.pid)

    def taken(self) -> tuple[float, float]:
        """CPU and wall seconds since the call became due; where the CPU cannot be told, the wall's for both."""
        wall = time.monotonic() - self.wall_start
        now = None if self.cpu_start is None else _cpu_seconds(self.pid)
        return (wall if now is None or self.cpu_start is None else now - self.cpu_start), wall

    def next_call(self) -> None:
        self.purse.spend(*self.taken())
        self.begin()

    def check(self) -> None:
        cpu, wall = self.taken()
        if wall > wall_limit(self.cpu_s):
            raise _Dead("timeout", clock="wall", limit_s=wall_limit(self.cpu_s))
        if self.cpu_start is not None and cpu > self.cpu_s:
            raise _Dead("timeout", clock="cpu", limit_s=self.cpu_s)
        self.purse.check(cpu, wall)


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
        self.killed = False  # a process of it was ended by SIGKILL, and not from here
        self.purse = _Purse()
        self.clock: _Clock | None = None
        self.keeps = self.values = 0

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
        source = self.source
        message = ("load", id, source.cells, source.wanted, source.filename, source.module, first_handle)
        received: list[tuple[Any, ...]] = []
        try:
            self._exchange([frame(encode(message))], [id], LOAD_CPU_S, {}, received)
        except _Dead as death:
            self.dead = self._bury(death)
            return
        _, content, *_ = received[0]
        self.loaded = _loaded(content) if type(content) is dict else {}

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

    def begin_check(self) -> None:
        """What was answered before is no longer kept."""
        self.keeps = 0

    def _keep(self, size: int) -> None:
        self.keeps += size
        if self.keeps > MAX_KEPT_BYTES:
            raise _Dead("crashed", flood=True)

    def _decoded(self, data: bytes) -> Any:
        """A value that a process sent; raises `ProtocolError` if it is none, `_Dead` if there were too many."""
        try:
            value, items = counted(data)
        except ProtocolError as error:
            self._count(error.items)
            raise
        self._count(items)
        return value

    def _count(self, values: int) -> None:
        self.values += values
        if self.values > MAX_VALUES:
            raise _Dead("crashed", flood=True)

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
        return [Reply("lost")] * lost + [self._read(*content) for content in received] + end

    def _read(self, status: str, content: Any, changed: list[Any], warned: list[Any]) -> Reply:
        try:
            return read_reply(status, content, changed, warned, self._decoded)
        except ProtocolError:
            return Reply("crashed", detail={"forged": True})
        except _Dead as death:
            return Reply(death.status, detail=death.detail)

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
        clock = self.clock = _Clock(self.launcher.pid, cpu_s, self.purse)
        calls_back = 0
        calls_left = len(outgoing)
        while len(received) < len(ids):
            calls_left = max(calls_left - self._move(outgoing, incoming), 0)
            for message, size in self._messages(incoming):
                match message:
                    case ("stdout", str(text)):
                        self._heard(text)
                    case ("callback", int(id), tuple(args), dict(kwargs)) if calls_back < MAX_CALLBACKS:
                        calls_back += 1
                        self._keep(size)
                        outgoing += frame(encoded_answer(callbacks.get(id), args, kwargs))
                        if len(outgoing) - calls_left > MAX_UNREAD_BYTES:
                            raise _Dead("crashed", flood=True)
                    case ("reply", int(id), str(status), content, list(changed), list(warned)) if [id] == ids[
                        len(received) : len(received) + 1
                    ]:
                        self._keep(size)
                        received.append((status, content, changed, warned))
                        clock.next_call()
                        calls_back = 0
                    case _:
                        raise _Dead("crashed", forged=True)
            clock.check()

    def _move(self, outgoing: bytearray, incoming: bytearray) -> int:
        """Wait a moment for the channel and move bytes both ways; returns how many went out."""
        assert self.channel is not None
        sent = 0
        events = _wait(self.channel, bool(outgoing))
        try:
            if "write" in events:
                sent = self.channel.send(memoryview(bytes(outgoing[: 1 << 20])))
                del outgoing[:sent]
            if "read" in events:
                data = self.channel.recv(1 << 16)
                if not data:
                    raise _Dead("crashed")
                incoming += data
        except BlockingIOError:
            pass
        except OSError as error:
            raise _Dead("crashed") from error
        return sent

    def _messages(self, incoming: bytearray) -> list[tuple[Any, int]]:
        """The whole messages at the start of `incoming`, taken off it, and how many bytes each had."""
        messages = []
        try:
            while len(incoming) >= HEAD:
                end = HEAD + frame_length(bytes(incoming[:HEAD]))
                if len(incoming) < end:
                    break
                messages.append((self._decoded(bytes(incoming[HEAD:end])), end))
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
        if self.clock is not None:
            self.purse.spend(*self.clock.taken())
        ended = self._end()
        reply = Reply(
            death.status,
            detail={"signal": ended.signal, "code": ended.code, "full": ended.full, **death.detail},
        )
        if death.status == "crashed" and not death.detail and ended.signal == SIGKILL and not ended.full:
            self.killed = True
        if str(death.detail.get("clock", "")).startswith("total") or self.values > MAX_VALUES:
            self.dead = reply
        return reply


def read_reply(
    status: str, content: Any, changed: list[Any], warned: list[Any], decoded: Callable[[bytes], Any] = decode
) -> Reply:
    """A reply as it was received, believed only as far as its types go; raises `ProtocolError` for no valid answer."""
    match status, content:
        case "ok", bytes():
            value = decoded(content)
            numbers = tuple(n for n in changed[:MAX_NOTES] if type(n) is int and 0 <= n < MAX_NOTES)
            words = tuple(w[:MAX_NAME] for w in warned[:MAX_NOTES] if type(w) is str)
            return Reply("ok", value, numbers, words)
        case ("error" | "missing" | "refused") as known, dict():
            return Reply(known, detail=_claims(content))
    raise ProtocolError("a reply of no known kind")


def _claims(content: dict[Any, Any]) -> dict[str, Any]:
    """What a process says of a call that gave no answer: known keys, each of its type and cut to what is shown."""
    said: dict[str, Any] = {}
    for key in ("type", "message", "signature", "where", "what", "absent"):
        text = content.get(key)
        if type(text) is str:
            said[key] = text[:MAX_WORDS]
    if type(content.get("builtin")) is bool:
        said["builtin"] = content["builtin"]
    steps = content.get("trace")
    if type(steps) is list:
        said["trace"] = [
            (step[0], step[1][:MAX_NAME])
            for step in steps[-MAX_STEPS:]
            if type(step) is tuple and len(step) == 2 and type(step[0]) is int and type(step[1]) is str
        ]
    return said


def _loaded(content: dict[Any, Any]) -> dict[str, Any]:
    """What a process says of the file it ran: what stopped it, the functions it defines, whether `np` is NumPy."""
    said: dict[str, Any] = {}
    if type(content.get("failed")) is dict:
        said["failed"] = _claims(content["failed"])
    names = content.get("names")
    said["names"] = [
        name
        for name in (names[:MAX_NAMES] if type(names) is list else [])
        if type(name) is str and len(name) <= MAX_NAME
    ]
    said["np_is_numpy"] = content.get("np_is_numpy") is not False
    return said


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


def encoded_answer(callback: Callback | None, args: tuple[Any, ...], kwargs: dict[Any, Any]) -> bytes:
    """The message that answers a callback. What comes of odd arguments may be nothing that can travel."""
    try:
        return encode(answer_callback(callback, args, kwargs))
    except NotPlain as error:
        name = callback.name if callback else "f"
        return encode(("answer", None, f"{name} gives nothing there that can be passed on: {error.what}"[:500]))


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
