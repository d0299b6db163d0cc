"""Where `dlgrade` begins: for `check`, the process that will run student code starts before anything else loads."""

from __future__ import annotations

import sys

from dlgrade.sandbox.launch import start_ahead


def main() -> None:
    """The console script."""
    if sys.argv[1:2] == ["check"]:
        start_ahead()
    from dlgrade.cli.main import main as command

    command()
