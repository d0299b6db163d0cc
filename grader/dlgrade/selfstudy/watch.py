"""`dlgrade watch`: the verdict on the screen a blink after a file is saved, and the course at single keys."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from dlgrade.course import registry
from dlgrade.grading.results import ChapterResult
from dlgrade.report import text as report
from dlgrade.report.terminal import Paint, color_wanted, painter, width_of
from dlgrade.sandbox.launch import Mode
from dlgrade.selfstudy import hints, progress, screens, view
from dlgrade.selfstudy.checking import Broken, Busy, Checker, Unrecorded, Verdict
from dlgrade.selfstudy.keys import Keys
from dlgrade.selfstudy.position import Position, next_open, position
from dlgrade.selfstudy.saves import Saves
from dlgrade.selfstudy.view import View

# The other screen, no cursor, no wrapping of what is too long for a narrow terminal; and all that undone.
ALTERNATE, NORMAL = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
HOME, CLEAR_RIGHT, CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
PICTURES = "pictures"
SCROLL = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -10, "page down": 10}


class Saved(msgspec.Struct, frozen=True):
    chapter: str
    path: Path


class Key(msgspec.Struct, frozen=True):
    name: str


class Said(msgspec.Struct, frozen=True):
    """Something to show under the exercises until the next save."""

    chapter: str
    lines: tuple[str, ...]


class Redraw(msgspec.Struct, frozen=True):
    """The terminal has another size."""


class Suspend(msgspec.Struct, frozen=True):
    """Ctrl-Z: the terminal is the shell's until the program is continued."""


News = Saved | Key | Said | Redraw | Suspend | Busy | Verdict | Broken | Unrecorded


class Watch:
    """The loop: news come in from the threads that watch, check and listen; the screen goes out."""

    def __init__(
        self, root: Path | None, files: Callable[[], dict[str, Path]], chapter: str, *, sandbox: Mode, poll: bool
    ) -> None:
        self.root, self.files = root, files
        self.news: queue.SimpleQueue[News] = queue.SimpleQueue()  # signal handlers may put into this kind
        self.results: dict[str, ChapterResult] = {}
        self.warning = ""
        self.screen = sys.stdout.isatty()
        self.paint: Paint = painter(color_wanted(sys.stdout))
        self.view = self._fresh(chapter)
        self.checker = Checker(root, sandbox, self.news.put)
        self.saves = Saves(files, lambda id, path: self.news.put(Saved(id, path)), poll=poll)
        self.keys = Keys(lambda name: self.news.put(Key(name)))

    def run(self) -> None:
        """Until q, Ctrl-C, or the terminal goes."""
        self._on_signals()
        self.checker.start()
        self.saves.start()
        try:
            with self.keys:
                self._write(ALTERNATE)
                self.go_to(self.view.chapter)
                self._draw()
                while self._take(self.news.get()):
                    if self.news.empty():
                        self._draw()
        except KeyboardInterrupt:
            pass
        finally:
            self._write(NORMAL)
            self.saves.stop()
            self.checker.stop()
            self.checker.join(timeout=5)

    def go_to(self, chapter: str) -> None:
        """Make a chapter the one on the screen, and see how its file stands."""
        self.view = self._fresh(chapter)
        path = self.files().get(chapter)
        if path is not None:
            self.checker.ask(chapter, path)

    def _fresh(self, chapter: str) -> View:
        path = self.files().get(chapter)
        name = path.relative_to(self.root) if path and self.root and path.is_relative_to(self.root) else path
        return View(chapter, str(name), self._place(), result=self.results.get(chapter), warning=self.warning)

    def _place(self) -> Position:
        history = progress.History()
        if self.root is not None:
            try:
                history = progress.load(self.root)
            except progress.ProgressError as error:
                self.warning = str(error)
        return position(history, tuple(self.files()))

    def _on_signals(self) -> None:
        news: dict[str, News] = {"SIGTERM": Key("leave"), "SIGHUP": Key("leave"), "SIGWINCH": Redraw()}
        if self.screen:
            news["SIGTSTP"] = Suspend()
        for name, what in news.items():
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), lambda *_, what=what: self.news.put(what))

    def _suspend(self) -> None:
        self._write(NORMAL)
        self.keys.give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self.keys.take_over()
        self._write(ALTERNATE)

    # What the threads tell.

    def _take(self, news: News) -> bool:
        """Let news change the view; False to leave."""
        match news:
            case Key(name):
                return self._press(name)
            case Suspend():
                self._suspend()
            case Unrecorded(text):
                self.warning = self.view.warning = f"Progress is not kept: {text}"
            case Saved(chapter, path) if chapter == self.view.chapter:
                self.view.pane = "chapter"
                self.checker.ask(chapter, path)
            case Saved(chapter):
                self.go_to(chapter)
            case Verdict():
                self._judged(news)
            case Busy() | Broken() | Said() if news.chapter == self.view.chapter:
                self._told(news)
        return True

    def _told(self, news: Busy | Broken | Said) -> None:
        view = self.view
        match news:
            case Busy(_, text):
                view.busy = text
                return
            case Broken(_, text):
                view.broken, view.said, view.at = text, (), time.strftime("%H:%M:%S")
                self._print(text)
            case Said(_, lines):
                view.said, view.broken = lines, ""
                self._print("\n".join(lines))
        view.busy, view.scroll = "", 0

    def _judged(self, verdict: Verdict) -> None:
        view = self.view
        before = self.results.get(verdict.chapter)
        self.results[verdict.chapter] = verdict.result
        if verdict.chapter != view.chapter:
            return
        if verdict.checked:
            view.said, view.scroll = (), 0
        if verdict.result.full_marks:
            view.place = self._place()
        view.result, view.checked, view.at = verdict.result, verdict.checked, time.strftime("%H:%M:%S")
        view.before = before.score if before else None
        view.broken, view.busy = "", "more exercises" if verdict.more else ""
        if not verdict.more:
            self._print(report.render(verdict.result, color=False, width=80))

    # What keys do.

    def _press(self, key: str) -> bool:
        view = self.view
        if key == "leave" or (key == "q" and view.pane == "chapter"):
            return False
        if key in ("escape", "q"):
            view.pane = "chapter"
        elif view.pane == "list" and (key in SCROLL or key == "enter"):
            self._choose(key)
        elif key in SCROLL:
            view.scroll += SCROLL[key]
        elif key == "l":
            self._list()
        elif key == "?":
            view.pane = "chapter" if view.pane == "help" else "help"
        elif key in ("n", "h", "p", "a"):
            view.pane = "chapter"
            {"n": self._next, "h": self._hint, "p": self._picture, "a": self._again}[key]()
        return True

    def _list(self) -> None:
        view = self.view
        view.pane = "chapter" if view.pane == "list" else "list"
        view.place = self._place()
        ids = view.place.available
        view.chosen = ids.index(view.chapter) if view.chapter in ids else 0

    def _choose(self, key: str) -> None:
        ids = self.view.place.available
        if key == "enter" and ids:
            self.go_to(ids[self.view.chosen])
        elif key != "enter":
            self.view.chosen = min(max(self.view.chosen + SCROLL[key], 0), len(ids) - 1)

    def _next(self) -> None:
        place = self._place()
        others = [id for id in place.available if id != self.view.chapter]
        following = next_open(place.states, others, self.view.chapter)
        if following is None:
            self.view.said = tuple(screens.finished(place, self.paint))
        else:
            self.go_to(following)

    def _again(self) -> None:
        path = self.files().get(self.view.chapter)
        if path is not None:
            self.view.busy = "everything"
            self.checker.ask(self.view.chapter, path, everything=True)

    def _hint(self) -> None:
        chapter, focus = registry.chapter(self.view.chapter), self.view.focus()
        exercise = (focus and chapter.exercise(focus.name)) or chapter.exercises[0]
        seen: list[progress.Event] = []
        try:
            seen = progress.hints_seen(self.root, chapter.id, exercise.name) if self.root else []
            found = hints.choose(exercise, focus, seen)
            if self.root:
                progress.note(self.root, "hint", chapter.id, exercise.name, found.detail)
        except progress.ProgressError as error:
            self.warning = self.view.warning = f"The hint is not remembered: {error}"
            found = hints.choose(exercise, focus, seen)
        shown = [self.paint("bold", exercise.name), "", *screens.hint(found, self.paint, self._width())]
        more = screens.after_hint(chapter.id, exercise.name, found, self.paint, "h")
        self.news.put(Said(chapter.id, (*shown, "", more)))

    def _picture(self) -> None:
        self.view.busy = "drawing the picture"
        threading.Thread(target=self._draw_picture, args=(self.view.chapter,), daemon=True).start()

    def _draw_picture(self, chapter: str) -> None:
        """By a process of its own, for matplotlib takes a while to load and a picture may take a while to train."""
        folder = (self.root or Path.cwd()) / PICTURES
        target = folder / f"{chapter}.png"
        source = str(self.files()[chapter])
        command = [sys.executable, "-P", "-m", "dlgrade", "picture", chapter]
        command += ["--file", source, "--output", str(target)]
        try:
            folder.mkdir(exist_ok=True)
            run = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
            said = run.stderr.strip().removeprefix("dlgrade: ") if run.returncode else ""
        except OSError as error:
            said = f"{target} cannot be written: {error.strerror}"
        if not said:
            said = f"your picture is {'on your screen: ' if open_file(target) else ''}{target}"
        self.news.put(Said(chapter, (said[:1].upper() + said[1:],)))

    # What is written.

    def _width(self) -> int:
        return max(60, min(width_of(sys.stdout), 100))

    def _draw(self) -> None:
        if self.screen:
            lines = view.lines(self.view, self.paint, self._width(), height_of())
            self._write(HOME + "\r\n".join(line + CLEAR_RIGHT for line in lines) + CLEAR_BELOW)

    def _write(self, codes: str) -> None:
        if self.screen:
            sys.stdout.write(codes)
            sys.stdout.flush()

    def _print(self, text: str) -> None:
        """Where there is no screen to draw on, news are printed as they come."""
        if not self.screen:
            sys.stdout.write(f"{text.rstrip()}\n\n")
            sys.stdout.flush()


def height_of() -> int:
    """The rows of the terminal behind standard output."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).lines or 24
    except (OSError, ValueError):
        return 24


def open_file(path: Path) -> bool:
    """Show a file in the desktop's own viewer, if there is a desktop."""
    if sys.platform == "win32":
        os.startfile(path)
        return True
    opener = "open" if sys.platform == "darwin" else "xdg-open"
    if sys.platform != "darwin" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    with contextlib.suppress(OSError):
        nowhere = subprocess.DEVNULL
        subprocess.Popen([opener, str(path)], stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True)
        return True
    return False
