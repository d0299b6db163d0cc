"""Headless Chromium, spoken to over a pipe: no driver, no port, no package."""

from __future__ import annotations

import itertools
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
TIMEOUT_S = 60.0


class Opened:
    """A page as it was opened: what it asked for, what it complained of, and a way to ask it things."""

    def __init__(self, browser: Browser, session: str) -> None:
        self.browser, self.session = browser, session
        self.requests: list[str] = []
        self.complaints: list[str] = []

    def evaluate(self, expression: str) -> Any:
        reply = self.browser.ask(
            "Runtime.evaluate", {"expression": expression, "returnByValue": True, "awaitPromise": True}, self
        )
        assert "exceptionDetails" not in reply, reply
        return reply["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """The whole page as a PNG, to be looked at."""
        import base64

        data = self.browser.ask("Page.captureScreenshot", {"captureBeyondViewport": True}, self)["data"]
        path.write_bytes(base64.b64decode(data))

    def hear(self, message: dict[str, Any]) -> None:
        method, params = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(f"console.{params['type']}: {params['args']}")
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.complaints.append(f"{params['entry']['level']}: {params['entry']['text']}")


class Browser:
    """One Chromium with a profile of its own."""

    def __init__(self, program: str, profile: Path) -> None:
        to_browser, self.output = os.pipe()
        self.input, from_browser = os.pipe()

        def place() -> None:
            # Chromium listens on descriptor 3 and speaks on 4; the pipes may have those numbers already.
            reading, writing = os.dup(to_browser), os.dup(from_browser)
            os.dup2(reading, 3)
            os.dup2(writing, 4)

        self.process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(3, 4),
            preexec_fn=place,
        )
        os.close(to_browser)
        os.close(from_browser)
        self.numbers = itertools.count(1)
        self.waiting = b""

    def ask(self, method: str, params: dict[str, Any] | None = None, page: Opened | None = None) -> dict[str, Any]:
        """The answer to a command; what a page says meanwhile, it hears."""
        number = next(self.numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params or {}}
        if page is not None:
            message["sessionId"] = page.session
        os.write(self.output, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._next()
            if reply.get("id") == number:
                assert "error" not in reply, reply
                result: dict[str, Any] = reply["result"]
                return result
            if page is not None:
                page.hear(reply)

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + TIMEOUT_S
        while b"\0" not in self.waiting:
            ready, _, _ = select.select([self.input], [], [], max(deadline - time.monotonic(), 0))
            part = os.read(self.input, 1 << 20) if ready else b""
            assert part, "Chromium does not answer"
            self.waiting += part
        message, _, self.waiting = self.waiting.partition(b"\0")
        decoded: dict[str, Any] = json.loads(message)
        return decoded

    def open(self, path: Path, *, width: int = 1100, dark: bool = False) -> Opened:
        """A file in a new page of a width in CSS pixels, once it has loaded."""
        target = self.ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.ask("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = Opened(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable", {}, page)
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
        self.ask("Emulation.setDeviceMetricsOverride", size, page)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", {"features": [scheme]}, page)
        self.ask("Page.navigate", {"url": path.resolve().as_uri()}, page)
        loaded = "document.readyState == 'complete' && location.protocol == 'file:'"
        deadline = time.monotonic() + TIMEOUT_S
        while not page.evaluate(loaded):
            assert time.monotonic() < deadline, "the page does not load"
            time.sleep(0.02)
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")
        return page

    def close(self) -> None:
        os.close(self.output)
        os.close(self.input)
        self.process.terminate()
        self.process.wait(timeout=30)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("there is no Chromium here: install Debian's package chromium")
    started = Browser(program, tmp_path_factory.mktemp("profile"))
    yield started
    started.close()
