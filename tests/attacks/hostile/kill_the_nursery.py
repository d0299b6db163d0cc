"""Sends every signal it can to its parent, the nursery."""
import os
import signal

for number in (signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL, signal.SIGSEGV):
    try:
        os.kill(os.getppid(), number)
        print("FOUND a way")
    except OSError as error:
        print(error.strerror)
