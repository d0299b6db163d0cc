"""Puts the null device where the pipe was, so that answers vanish."""
import os

null = os.open(os.devnull, os.O_RDWR)
for fd in range(64):
    if fd != null:
        try:
            os.dup2(null, fd)
        except OSError:
            pass
