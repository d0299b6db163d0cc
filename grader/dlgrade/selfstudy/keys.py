"""Single keys from a terminal, and the terminal as it was afterwards."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

ARROWS = {"[A": "up", "[B": "down", "OA": "up", "OB": "down", "[5~": "page up", "[6~": "page down"}
NAMES = {"\r": "enter", "\n": "enter", "\x1b": "escape", " ": "page down", "\x03": "q", "\x04": "q"}


def names(text: str) -> Iterator[str]:
    """The keys in what a terminal sent: characters, and `up`, `down`, `enter`, `escape`."""
    while text:
        sequence = next((s for s in ARROWS if text.startswith("\x1b" + s)), None)
        if sequence is not None:
            yield ARROWS[sequence]
            text = text[1 + len(sequence) :]
        elif text.startswith(("\x1b[", "\x1bO")):
            return  # a key nobody asked for, of unknown length
        else:
            yield NAMES.get(text[0], text[0])
            text = text[1:]


class Keys:
    """While entered, every key pressed is told, from a thread. Where standard input is no terminal, nothing is."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell = tell
        self.saved: list[Any] | None = None
        self.stopping = threading.Event()

    def __enter__(self) -> Keys:
        if sys.stdin.isatty():
            self.take_over()
            target = self._windows if sys.platform == "win32" else self._posix
            threading.Thread(target=target, daemon=True, name="keys").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self.give_back()

    def give_back(self) -> None:
        """The terminal as it was."""
        if sys.platform != "win32" and self.saved is not None:
            import termios

            with contextlib.suppress(termios.error):  # it is gone
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self.saved)

    def take_over(self) -> None:
        """Keys one by one and unechoed; signals stay. Needed again after the program was suspended."""
        if sys.platform != "win32" and sys.stdin.isatty():
            import termios
            import tty

            if self.saved is None:
                self.saved = termios.tcgetattr(sys.stdin.fileno())
            with contextlib.suppress(termios.error):
                tty.setcbreak(sys.stdin.fileno(), termios.TCSADRAIN)

    def _posix(self) -> None:
        fd = sys.stdin.fileno()
        while not self.stopping.is_set():
            ready, _, _ = select.select([fd], [], [], 0.2)
            if not ready:
                continue
            try:
                data = os.read(fd, 64)
            except OSError:
                data = b""
            if not data:
                self.tell("q")  # the terminal is gone
                return
            for name in names(data.decode("utf-8", "replace")):
                self.tell(name)

    def _windows(self) -> None:
        if sys.platform == "win32":
            import msvcrt

            while not self.stopping.wait(0.05):
                while msvcrt.kbhit():
                    key = msvcrt.getwch()
                    if key in "\x00\xe0":
                        named = {"H": "up", "P": "down", "I": "page up", "Q": "page down"}.get(msvcrt.getwch(), "")
                    else:
                        named = NAMES.get(key, key)
                    if named:
                        self.tell(named)
