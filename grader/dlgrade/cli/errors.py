"""How commands end: the exit statuses, and the error that becomes one clear sentence."""

from __future__ import annotations

FULL_MARKS, MARKS_MISSING, BAD_INPUT, GRADER_FAILED = 0, 1, 2, 3


class InputError(Exception):
    """The command or its input is wrong: one sentence on standard error, exit status 2."""
