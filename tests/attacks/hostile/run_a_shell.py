"""Starts programs by every way there is."""
import ctypes
import os
import subprocess

command = f"touch {TARGET['folder']}/ran"
for act in (
    lambda: os.system(command),
    lambda: subprocess.run(["sh", "-c", command]),
    lambda: os.popen(command).read(),
    lambda: os.posix_spawn("/bin/sh", ["sh", "-c", command], {}),
    lambda: ctypes.CDLL(None).system(command.encode()),
    lambda: os.execv("/bin/sh", ["sh", "-c", command]),
):
    try:
        act()
    except OSError as error:
        print(error.strerror)
