"""`dlgrade regrade`, which shares everything with `dlgrade grade`."""

from dlgrade.cli.grade import regrade as command

__all__ = ["command"]
