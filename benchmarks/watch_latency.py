"""From saving a file to the verdict on the screen of `dlgrade watch`, walls up, in a real terminal (a pty).

Two kinds of edit to chapter 305: in one function, which is the usual one, and above all functions, after which all
seven exercises are checked. Saves alternate between a right and a wrong answer, so that naming the mistake is in the
figure. Run it as it is:

    python benchmarks/watch_latency.py [--saves 20]
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).parents[1]
SOLUTION = (ROOT / "solutions" / "ch305_loss_functions.py").read_text()
RIGHT, WRONG = "2.0 * error / error.size", "2.0 * error"
DLGRADE = str(Path(sys.executable).with_name("dlgrade"))


class Terminal:
    """`dlgrade watch` on a pty of 100 columns and 50 rows."""

    def __init__(self, folder: Path) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 100, 0, 0))
        command = [DLGRADE, "watch", "ch305", "--sandbox", "strict"]
        environment = {**os.environ, "NO_COLOR": "1"}
        self.process = subprocess.Popen(command, cwd=folder, stdin=slave, stdout=slave, stderr=slave, env=environment)
        os.close(slave)

    def until(self, *texts: str, limit_s: float = 20.0) -> None:
        """Read the screen until all of these were written to it since the last call."""
        seen = ""
        while not all(text in seen for text in texts):
            if not select.select([self.master], [], [], limit_s)[0]:
                raise TimeoutError(f"{texts} never came; the screen had {seen[-2000:]!r}")
            seen += os.read(self.master, 1 << 16).decode("utf-8", "replace")

    def close(self) -> None:
        os.write(self.master, b"q")
        while select.select([self.master], [], [], 1)[0]:
            try:
                os.read(self.master, 1 << 16)
            except OSError:
                break
        self.process.wait(timeout=10)
        os.close(self.master)


def measure(terminal: Terminal, file: Path, saves: int, *, everything: bool) -> list[float]:
    """Milliseconds from the moment the file is written to the moment its verdict can be read."""
    times = []
    for number in range(saves):
        right = number % 2 == 1
        text = SOLUTION if right else SOLUTION.replace(RIGHT, WRONG, 1)
        if everything:
            text = text.replace("import numpy as np\n", f"import numpy as np\n\nEDIT = {number}\n", 1)
        time.sleep(0.3 + 0.013 * (number % 7))  # so that saves fall anywhere between two looks
        file.write_text(text)
        saved = time.perf_counter()
        said = "All 100 points." if right else "mse-gradient-not-averaged"
        terminal.until("checked 7 of 7" if everything else "checked 1 of 7", said)
        times.append(1000 * (time.perf_counter() - saved))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--saves", type=int, default=20)
    saves = parser.parse_args().saves
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([DLGRADE, "init", folder], check=True, capture_output=True)
        file = Path(folder, "exercises", "ch305_loss_functions.py")
        file.write_text(SOLUTION)
        terminal = Terminal(Path(folder))
        terminal.until("All 100 points.")
        print(f"{'save to verdict':32}{'median':>9}{'quartiles':>18}{'slowest':>9}   ({saves} saves each, ms)")
        for name, everything in (("one function edited", False), ("all seven exercises affected", True)):
            times = measure(terminal, file, saves, everything=everything)
            low, _, high = quantiles(times, n=4)
            print(f"{name:32}{median(times):9.0f}{low:10.0f} to {high:<4.0f}{max(times):9.0f}")
        terminal.close()


if __name__ == "__main__":
    main()
