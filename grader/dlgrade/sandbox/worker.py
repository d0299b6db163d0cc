"""The student's process: runs the student's code and answers calls with plain data.

It knows no expected value, no seed and no check. Everything here can be subverted by the code it runs, so nothing that
it sends is believed: the grader treats each reply as a claim about an answer, and decides alone.

Messages are tuples. In: ("load", id, cells, wanted, filename, module, first handle), ("call", id, function, arguments,
keep, on), and ("answer", value, error) to a callback. Out: ("reply", id, status, content, changed, warned), one a
message; ("callback", id, args, kwargs) while a call runs; ("stdout", text) as the student's code prints. Arguments and
the content of a good reply are values encoded on their own, as bytes. Only the standard library, NumPy, the wire format
and the reading of notebooks are imported.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import inspect
import linecache
import os
import socket
import sys
import time
import types
import warnings
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from dlgrade.sandbox.notebook import essential, numbered
from dlgrade.sandbox.protocol import HEAD, Handle, NotPlain, decode, encode, frame, frame_length

MAX_TEXT = 64 * 1024
MAX_MESSAGE = 2000
MAX_TRACE = 8
FLUSH_CHARS = 2048
FLUSH_SECONDS = 0.1


class Channel:
    """Framed messages over a descriptor or socket, with a queue for those that arrive while a callback is awaited."""

    def __init__(self, end: int | socket.socket) -> None:
        # A descriptor is read and written as a file: behind the walls the socket calls are gone.
        self.read: Callable[[int], bytes]
        self.write: Callable[[memoryview], int]
        if isinstance(end, int):
            self.read, self.write = functools.partial(os.read, end), functools.partial(os.write, end)
        else:
            self.read, self.write = end.recv, end.send
        self.waiting: deque[bytes] = deque()

    def _read(self, count: int) -> bytes:
        parts = []
        while count:
            part = self.read(min(count, 1 << 20))
            if not part:
                os._exit(0)
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def receive(self) -> bytes:
        return self._read(frame_length(self._read(HEAD)))

    def send(self, message: tuple[Any, ...], where: str = "it") -> None:
        data = memoryview(frame(encode(message, where=where, student=True)))
        while data:
            data = data[self.write(data) :]


class Output:
    """What the student's code prints, sent on in small pieces and cut after `MAX_TEXT` characters a call."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.begin()

    def begin(self) -> None:
        self.pending: list[str] = []
        self.pending_chars = 0
        self.left = MAX_TEXT
        self.sent_at = time.monotonic()

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if self.left > 0:
            piece = text[: self.left]
            self.left -= len(piece)
            self.pending.append(piece if self.left else piece + "\n[more output was dropped]\n")
            self.pending_chars += len(piece)
            if self.pending_chars >= FLUSH_CHARS or time.monotonic() - self.sent_at > FLUSH_SECONDS:
                self.flush()
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if self.pending:
            text, self.pending, self.pending_chars = "".join(self.pending), [], 0
            self.sent_at = time.monotonic()
            self.channel.send(("stdout", text))

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        raise OSError("standard output is captured")


def _trace(error: BaseException, filename: str) -> list[tuple[int, str]]:
    """The student's own lines that an error came through, innermost last: `(line, function)`."""
    lines: list[tuple[int, str]] = []
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code.co_filename == filename:
            lines.append((traceback.tb_lineno, code.co_name))
        traceback = traceback.tb_next
    return lines[-MAX_TRACE:]


def _text_of(error: BaseException) -> str:
    try:
        return str(error)[:MAX_MESSAGE]
    except BaseException:
        return ""


def _error_detail(error: BaseException, filename: str) -> dict[str, Any]:
    kind = type(error)
    reply = {
        "type": kind.__name__[:200],
        "builtin": getattr(builtins, kind.__name__, None) is kind,
        "message": _text_of(error),
        "trace": _trace(error, filename),
    }
    if isinstance(error, SyntaxError) and error.filename == filename:
        reply["message"] = str(error.msg)[:MAX_MESSAGE]
        reply["trace"] = [(error.lineno or 0, "<module>")]
    return reply


def _encoded(value: Any) -> bytes | None:
    """The bytes of an argument; None for what does not travel, such as a random generator."""
    try:
        return encode(value, student=True)
    except (NotPlain, RecursionError):
        return None


# What became of a call: its status, the answer as bytes or what is to be said about it, arguments changed, warnings.
Outcome = tuple[str, bytes | dict[str, Any], list[int], list[str]]


class Absent(Exception):
    """A function that was to be passed to another is not in the student's file."""


class Worker:
    """One submission: its namespace, the values kept for it, and the channel to the grader."""

    def __init__(self, end: int | socket.socket) -> None:
        self.channel = Channel(end)
        self.output = Output(self.channel)
        self.namespace: dict[str, Any] = {}
        self.filename = ""
        self.kept: dict[int, Any] = {}
        self.next_handle = self.handles = 0

    def serve(self) -> None:
        """Answer messages until the grader closes the channel."""
        sys.stdout = sys.stderr = self.output
        while True:
            data = self.channel.waiting.popleft() if self.channel.waiting else self.channel.receive()
            message = decode(data, specials=self.special)
            self.output.begin()
            do, id, *content = message
            outcome = self.load(*content) if do == "load" else self.call(*content)
            self.output.flush()
            self.channel.send(("reply", id, *outcome))

    def special(self, kind: str, content: Any) -> Any:
        if kind == "handle":
            self.handles += 1
            return self.kept[content]
        if kind == "function":
            try:
                return self.find(content)
            except (KeyError, AttributeError):
                raise Absent(content) from None
        return self.callback(*content)

    def find(self, name: str) -> Any:
        found: Any = self.namespace
        for part in name.split("."):
            found = found[part] if found is self.namespace else getattr(found, part)
        return found

    def callback(self, id: int, name: str) -> Any:
        def function(*args: Any, **kwargs: Any) -> Any:
            try:
                self.channel.send(("callback", id, args, kwargs), where=f"{name}'s argument")
            except NotPlain as error:
                raise TypeError(f"{name} was called with {error.what}") from None
            while True:
                message = decode(data := self.channel.receive(), specials=self.special)
                if message[0] == "answer":
                    break
                self.channel.waiting.append(data)
            _, value, error_text = message
            if error_text:
                raise ValueError(error_text)
            return value

        function.__name__ = function.__qualname__ = name
        return function

    def load(
        self,
        cells: tuple[str, ...],
        wanted: tuple[str, ...] | None,
        filename: str,
        module_name: str,
        first_handle: int,
    ) -> Outcome:
        """Run the source as a module. A notebook's cells run one by one, and a failing cell does not stop the next."""
        self.filename, self.next_handle = filename, first_handle
        module = types.ModuleType(module_name)
        module.__file__ = self.filename
        sys.modules[module.__name__] = module
        self.namespace = module.__dict__
        linecache.cache[self.filename] = (0, None, "\n".join(cells).splitlines(True), self.filename)
        failed: dict[str, Any] | None = None
        for above, cell in numbered(cells) if wanted is None else essential(cells, wanted):
            try:
                # lines are counted from the top of the text that they are quoted from
                exec(compile("\n" * above + cell, self.filename, "exec", dont_inherit=True), self.namespace)
            except BaseException as error:
                failed = failed or _error_detail(error, self.filename)
        names = [n for n, v in list(self.namespace.items())[:2000] if callable(v) and type(n) is str and n[:2] != "__"]
        np_is_numpy = self.namespace.get("np", np) is np
        return "ok", {"failed": failed, "names": names, "np_is_numpy": np_is_numpy}, [], []

    def call(self, name: str, arguments: bytes, keep: Any, on: Any) -> Outcome:
        """Call a function, or a method of the kept value `on`, with the encoded `(args, kwargs)`."""
        try:
            target = self.find(name) if on is None else getattr(on, name)
        except (KeyError, AttributeError):
            return "missing", {"absent": name}, [], []
        self.handles = 0
        try:
            args, kwargs = decode(arguments, specials=self.special)
        except Absent as error:
            return "missing", {"absent": str(error)}, [], []
        # A kept value is the same object each time it is handed over, so what it was must be noted before the call.
        before = [_encoded(value) for value in (*args, *kwargs.values())] if self.handles else None
        if not callable(target):
            return "missing", {"type": type(target).__name__}, [], []
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                value = target(*args, **kwargs)
            except BaseException as error:
                return self.failed(error, target, args, kwargs)
        changed = self.changed(arguments, before, args, kwargs)
        warned = [str(w.message)[:200] for w in caught[:8]]
        try:
            answer = encode(self.plain(value, keep), where="the result", student=True)
        except NotPlain as error:
            return "refused", {"where": error.where, "what": error.what}, [], []
        return "ok", answer, changed, warned

    def failed(self, error: BaseException, target: Any, args: Any, kwargs: Any) -> Outcome:
        detail = _error_detail(error, self.filename)
        if isinstance(error, NotImplementedError):
            return "missing", detail, [], []
        if isinstance(error, TypeError) and not detail["trace"]:
            with contextlib.suppress(TypeError, ValueError):
                signature = inspect.signature(target)
                try:
                    signature.bind(*args, **kwargs)
                except TypeError:
                    detail["signature"] = str(signature)[:300]
        return "error", detail, [], []

    def changed(self, arguments: bytes, before: list[bytes | None] | None, args: Any, kwargs: Any) -> list[int]:
        """The numbers of the arguments that a call modified."""
        if before is None:
            if _encoded((args, kwargs)) == arguments:
                return []
            old_args, old_kwargs = decode(arguments, specials=self.special)
            before = [_encoded(value) for value in (*old_args, *old_kwargs.values())]
        after = [_encoded(value) for value in (*args, *kwargs.values())]
        return [i for i, (was, now) in enumerate(zip(before, after, strict=True)) if was != now]

    def plain(self, value: Any, keep: Any) -> Any:
        """The answer with the parts to keep replaced by handles: True keeps all of it, a tuple its items."""
        if keep is True:
            return self.keep(value)
        if keep and type(value) in (tuple, list):
            return type(value)(self.keep(item) if i in keep else item for i, item in enumerate(value))
        return value

    def keep(self, value: Any) -> Handle:
        self.next_handle += 1
        self.kept[self.next_handle] = value
        return Handle(self.next_handle)


def serve(end: int | socket.socket) -> None:
    """Answer the grader over `end` until it closes the channel; the process ends there."""
    builtins.exit = builtins.quit = sys.exit  # type: ignore[assignment]
    # NumPy is imported already. Whatever else is installed is not there for a student, on any system, this package
    # included.
    for name in [name for name in sys.modules if name.partition(".")[0] == "dlgrade"]:
        del sys.modules[name]
    sys.path[:] = [path for path in sys.path if path.startswith(sys.base_prefix) and "-packages" not in path]
    Worker(end).serve()
