"""Overwrites, removes, renames and cuts the next student's file."""
import os

path = TARGET["next student"]
for act in (
    lambda: open(path, "w").close(),
    lambda: os.truncate(path, 0),
    lambda: os.rename(path, path + ".bak"),
    lambda: os.unlink(path),
    lambda: os.chmod(path, 0),
    lambda: os.utime(path, (0, 0)),
    lambda: os.rename(path, "mine"),
    lambda: os.open(path, os.O_RDONLY | os.O_TRUNC),
):
    try:
        act()
    except OSError as error:
        print(error.strerror)
