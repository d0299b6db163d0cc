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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from dlgrade.course import outline, registry
from dlgrade.grading.results import ChapterResult, ExerciseResult
from dlgrade.report import text as report
from dlgrade.report.parts import next_exercise, nothing_ran
from dlgrade.report.safe import head
from dlgrade.report.terminal import Paint, cells, clip, color_wanted, painter, width_of, wrap
from dlgrade.sandbox.launch import Mode
from dlgrade.selfstudy import hints, progress, screens
from dlgrade.selfstudy.checking import Broken, Busy, Checker, Unrecorded, Verdict
from dlgrade.selfstudy.keys import Keys
from dlgrade.selfstudy.position import Position, next_open, position
from dlgrade.selfstudy.saves import Saves

ALTERNATE, NORMAL = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
HOME, CLEAR_RIGHT, CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
PICTURES = "pictures"

KEYS = (
    ("h", "hint", "a hint for the exercise you are at, a little more each time"),
    ("n", "next", "go to the next chapter that is not solved"),
    ("l", "list", "the map of the course; arrows choose a chapter, Enter goes there"),
    ("p", "picture", "draw the chapter's picture from your functions"),
    ("a", "all", "check the whole chapter again"),
    ("q", "quit", "leave; everything is kept"),
)

Pane = Literal["chapter", "list", "help"]


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
    """The terminal is another size, or is ours again."""


News = Saved | Key | Said | Redraw | Busy | Verdict | Broken | Unrecorded


class View(msgspec.Struct):
    """All that is on the screen."""

    chapter: str
    pane: Pane = "chapter"
    results: dict[str, ChapterResult] = {}
    checked: tuple[str, ...] = ()
    at: str = ""
    broken: str = ""
    busy: str = ""
    said: tuple[str, ...] = ()
    warning: str = ""
    scroll: int = 0
    chosen: int = 0


class Watch:
    """The loop: news come in from the threads that watch, check and listen, the screen goes out."""

    def __init__(
        self,
        root: Path | None,
        files: Callable[[], dict[str, Path]],
        chapter: str,
        *,
        sandbox: Mode,
        poll: bool,
    ) -> None:
        self.root, self.files = root, files
        self.news: queue.Queue[News] = queue.Queue()
        self.view = View(chapter)
        self.checker = Checker(root, sandbox, self.news.put)
        self.saves = Saves(files, lambda id, path: self.news.put(Saved(id, path)), poll=poll)
        self.keys = Keys(lambda name: self.news.put(Key(name)))
        self.screen = sys.stdout.isatty()
        self.paint: Paint = painter(color_wanted(sys.stdout))
        self.place = self._place()

    def run(self) -> None:
        """Until q, Ctrl-C, or the terminal goes."""
        self._on_signals()
        self.checker.start()
        self.saves.start()
        try:
            with self.keys:
                if self.screen:
                    sys.stdout.write(ALTERNATE)
                self.go_to(self.view.chapter)
                self._draw()
                while self._take(self.news.get()):
                    if self.news.empty():
                        self._draw()
        except KeyboardInterrupt:
            pass
        finally:
            if self.screen:
                sys.stdout.write(NORMAL)
                sys.stdout.flush()
            self.saves.stop()
            self.checker.stop()
            self.checker.join(timeout=5)

    def _on_signals(self) -> None:
        def leave(*_: object) -> None:
            self.news.put(Key("q"))

        def again(*_: object) -> None:
            self.keys.take_over()
            sys.stdout.write(ALTERNATE if self.screen else "")
            self.news.put(Redraw())

        for name, action in (("SIGTERM", leave), ("SIGHUP", leave), ("SIGCONT", again)):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), action)
        if hasattr(signal, "SIGWINCH"):
            signal.signal(signal.SIGWINCH, lambda *_: self.news.put(Redraw()))

    def _place(self) -> Position:
        history = progress.History()
        if self.root is not None:
            try:
                history = progress.load(self.root)
            except progress.ProgressError as error:
                self.view.warning = str(error)
        return position(history, tuple(self.files()))

    def go_to(self, chapter: str) -> None:
        """Make a chapter the one on the screen, and see how its file stands."""
        self.view = View(chapter, results=self.view.results, warning=self.view.warning)
        path = self.files().get(chapter)
        if path is not None:
            self.checker.ask(chapter, path)

    # ---- news

    def _take(self, news: News) -> bool:
        """Let news change the view; False to leave."""
        view = self.view
        match news:
            case Key(name):
                return self._press(name)
            case Saved(chapter, path):
                if chapter != view.chapter:
                    self.go_to(chapter)
                else:
                    view.pane = "chapter"
                    self.checker.ask(chapter, path)
            case Busy(chapter, text) if chapter == view.chapter:
                view.busy = text
            case Verdict():
                self._judged(news)
            case Broken(chapter, text) if chapter == view.chapter:
                view.broken, view.busy, view.said, view.scroll = text, "", (), 0
                self._plain(f"{chapter}: {text}\n")
            case Said(chapter, lines) if chapter == view.chapter:
                view.said, view.busy, view.scroll = lines, "", 0
                self._plain("\n".join(lines) + "\n")
            case Unrecorded(text):
                view.warning = text
        return True

    def _judged(self, verdict: Verdict) -> None:
        self.view.results[verdict.chapter] = verdict.result
        if verdict.chapter != self.view.chapter:
            return
        view = self.view
        if verdict.checked:
            view.checked, view.said, view.scroll = verdict.checked, (), 0
        view.broken, view.busy = "", "" if not verdict.more else "more exercises"
        view.at = time.strftime("%H:%M:%S")
        self._plain(report.render(verdict.result, color=False, width=80))

    def _plain(self, text: str) -> None:
        """Where there is no screen to draw on, news are printed as they come."""
        if not self.screen:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def _press(self, key: str) -> bool:
        view = self.view
        if key == "q" and view.pane == "chapter":
            return False
        if key in ("escape", "q"):
            view.pane = "chapter"
        elif view.pane == "list" and key in ("up", "down", "k", "j", "enter"):
            self._choose(key)
        elif key in ("up", "k", "down", "j", "page up", "page down"):
            view.scroll += {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -10, "page down": 10}[key]
        elif key == "l":
            self._list()
        elif key == "?":
            view.pane = "chapter" if view.pane == "help" else "help"
        elif key == "n":
            self._next()
        elif key == "h":
            self._hint()
        elif key == "p":
            self._picture()
        elif key == "a" and (path := self.files().get(view.chapter)) is not None:
            view.pane, view.busy = "chapter", "everything"
            self.checker.ask(view.chapter, path, everything=True)
        return True

    def _list(self) -> None:
        view = self.view
        self.place = self._place()
        view.pane = "chapter" if view.pane == "list" else "list"
        ids = self.place.available
        view.chosen = ids.index(view.chapter) if view.chapter in ids else 0

    def _choose(self, key: str) -> None:
        ids = self.place.available
        if key == "enter" and ids:
            self.go_to(ids[self.view.chosen])
        else:
            step = 1 if key in ("down", "j") else -1
            self.view.chosen = min(max(self.view.chosen + step, 0), len(ids) - 1)

    def _next(self) -> None:
        self.place = self._place()
        others = [id for id in self.place.available if id != self.view.chapter]
        following = next_open(self.place.states, others, self.view.chapter)
        if following is None:
            self.view.said = tuple(screens.finished(self.place, self.paint))
        else:
            self.go_to(following)

    def _hint(self) -> None:
        view, chapter = self.view, registry.chapter(self.view.chapter)
        view.pane = "chapter"
        result = view.results.get(chapter.id)
        exercise = hints.stuck_at(chapter, self._focused(result))
        known = next((e for e in result.exercises if e.name == exercise.name), None) if result else None
        found = hints.choose(exercise, known, self._hints_seen(chapter.id, exercise.name))
        if self.root is not None:
            try:
                progress.note(self.root, "hint", chapter.id, exercise.name, found.detail)
            except progress.ProgressError as error:
                view.warning = str(error)
        width = self._width()
        lines = [self.paint("bold", exercise.name), *screens.hint(found, self.paint, width)]
        self.news.put(
            Said(chapter.id, (*lines, "", screens.after_hint(chapter.id, exercise.name, found, self.paint, "h")))
        )

    def _hints_seen(self, chapter: str, exercise: str) -> list[progress.Event]:
        if self.root is None:
            return []
        try:
            return progress.hints_seen(self.root, chapter, exercise)
        except progress.ProgressError:
            return []

    def _focused(self, result: ChapterResult | None) -> ChapterResult | None:
        """The result with the exercise on the screen as its first open one."""
        focus = self._focus(result) if result else None
        return msgspec.structs.replace(result, exercises=(focus,)) if result and focus else result

    def _picture(self) -> None:
        view = self.view
        view.pane, view.busy = "chapter", "drawing the picture"
        threading.Thread(target=self._draw_picture, args=(view.chapter,), daemon=True).start()

    def _draw_picture(self, chapter: str) -> None:
        folder = (self.root or Path.cwd()) / PICTURES
        target = folder / f"{chapter}.png"
        path = self.files()[chapter]
        command = [sys.executable, "-m", "dlgrade", "picture", chapter, "--file", str(path), "--output", str(target)]
        try:
            folder.mkdir(exist_ok=True)
            run = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        except OSError as error:
            self.news.put(Said(chapter, (f"{target} cannot be written: {error.strerror}",)))
            return
        if run.returncode:
            self.news.put(Said(chapter, (run.stderr.strip().removeprefix("dlgrade: "),)))
        else:
            shown = open_file(target)
            self.news.put(Said(chapter, (f"Your picture: {target}{'' if shown else '  (open it in a viewer)'}",)))

    # ---- the screen

    def _width(self) -> int:
        return max(60, min(width_of(sys.stdout), 100))

    def _draw(self) -> None:
        if not self.screen:
            return
        width, height = self._width(), height_of()
        lines = self._lines(width, height)
        shown = "".join(f"{line}{CLEAR_RIGHT}\r\n" for line in lines[: height - 1]).removesuffix("\r\n")
        sys.stdout.write(HOME + shown + CLEAR_BELOW)
        sys.stdout.flush()

    def _lines(self, width: int, height: int) -> list[str]:
        top, body = self._panes(width)
        bottom = ["", *self._footer(width)]
        room = max(height - 1 - len(top) - len(bottom), 1)
        if self.view.pane == "list":
            chosen = next((i for i, line in enumerate(body) if "▸" in line), 0)
            self.view.scroll = min(max(chosen - room // 2, 0), max(len(body) - room, 0))
        self.view.scroll = min(max(self.view.scroll, 0), max(len(body) - room, 0))
        part = body[self.view.scroll : self.view.scroll + room]
        if len(body) > self.view.scroll + room:
            part[-1] = self.paint("dim", "  ↓ more below")
        return [*top, *part, *[""] * (room - len(part)), *bottom]

    def _panes(self, width: int) -> tuple[list[str], list[str]]:
        if self.view.pane == "list":
            return self._list_pane(width)
        if self.view.pane == "help":
            return ["", *(f"  {self.paint('bold', key)}  {text}" for key, _, text in KEYS)], []
        return self._chapter_pane(width)

    def _chapter_pane(self, width: int) -> tuple[list[str], list[str]]:
        view, paint = self.view, self.paint
        result = view.results.get(view.chapter)
        entry = outline.entry(view.chapter)
        name = f"{view.chapter}  {entry.title if entry else ''}"
        score = result.score if result else 0
        top = [*report.title(paint, width, name, score, outline.POINTS), paint("dim", self._meta(result, width)), ""]
        if result is not None and not nothing_ran(result):
            column = min(max((cells(e.name) for e in result.exercises), default=0), width - 42)
            for e in result.exercises:
                top.append(report.row(paint, column, e.status, e.name, e.score, e.max_score, self._row_note(e)))
            top.append("")
        return top, [*self._body(result, width)]

    def _meta(self, result: ChapterResult | None, width: int) -> str:
        view = self.view
        path = self.files().get(view.chapter)
        name = str(path.relative_to(self.root)) if path and self.root and path.is_relative_to(self.root) else str(path)
        if result is None or not view.at:
            return clip(name, width)
        of = f"checked {len(view.checked)} of {len(result.exercises)}" if view.checked else "nothing changed"
        return clip(f"{name} · {view.at} · {of} in {result.duration_s:.2f} s", width)

    def _row_note(self, exercise: ExerciseResult) -> str:
        note = (
            ""
            if exercise.status in ("passed", "missing")
            else f"{sum(c.status == 'passed' for c in exercise.checks)} of {len(exercise.checks)} checks"
        )
        return note

    def _body(self, result: ChapterResult | None, width: int) -> Iterator[str]:
        view, paint = self.view, self.paint
        if view.broken:
            for line in view.broken.split("\n"):
                yield from (paint("bold red", part) for part in wrap(line, width, hang=4))
            return
        if view.said:
            yield from view.said
            return
        if result is None:
            return
        if result.problem:
            for line in head(result.problem).split("\n"):
                yield from (paint("bold red", part) for part in wrap(line, width))
            yield ""
        focus = self._focus(result)
        if focus is not None and focus.status != "missing":
            yield from report.explained(paint, width, focus, report.GROUPS_EXPLAINED, f"{result.chapter}:{focus.name}")
        elif focus is not None:
            yield f"Next: write {paint('bold', focus.name)}, and save."
        else:
            yield from self._done(width)

    def _focus(self, result: ChapterResult) -> ExerciseResult | None:
        """The exercise to speak of: one just checked and not right, else the one to go on with."""
        checked = [e for e in result.exercises if e.name in self.view.checked]
        wrong = [e for e in checked if e.status in ("partial", "failed")]
        return next(iter(wrong), None) or next_exercise(result)

    def _done(self, width: int) -> Iterator[str]:
        paint, chapter = self.paint, registry.chapter(self.view.chapter)
        yield paint("bold green", f"All {outline.POINTS} points.")
        yield ""
        yield f"{paint('bold', 'p')}  {clip(chapter.picture.title, width - 36)}, drawn from your own functions"
        place = self._place()
        following = next_open(place.states, [id for id in place.available if id != chapter.id], chapter.id)
        entry = outline.entry(following) if following else None
        if entry is not None:
            yield f"{paint('bold', 'n')}  on to {entry.id} {entry.title}"
        else:
            yield from screens.finished(place, paint)

    def _list_pane(self, width: int) -> tuple[list[str], list[str]]:
        place, paint = self.place, self.paint
        top = [*report.title(paint, width, screens.COURSE, place.points, place.max_points), ""]
        body: list[str] = []
        chosen = place.available[self.view.chosen] if place.available else ""
        for part in outline.PARTS:
            entries = [e for e in outline.CHAPTERS if e.part == part]
            body.append(screens.part_heading(part, entries, place, paint, width))
            for entry in entries:
                line = screens.chapter_row(entry, place, paint, width)
                body.append(f"{paint('bold cyan', '▸')}{line[1:]}" if entry.id == chosen else line)
        return top, body

    def _footer(self, width: int) -> list[str]:
        view, paint = self.view, self.paint
        lines = [paint("magenta", clip(view.warning, width))] if view.warning else []
        if view.busy:
            lines.append(paint("cyan", clip(f"… {view.busy}", width)))
        keys = "  ".join(f"{paint('bold', key)} {name}" for key, name, _ in KEYS)
        plain = "  ".join(f"{key} {name}" for key, name, _ in KEYS)
        state = "" if view.busy else paint("dim", "watching")
        space = width - cells(plain) - len("watching")
        return [*lines, f"{keys}{' ' * space}{state}" if space > 1 else keys]


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
