"""Stops itself in the middle of a call, and its parent with it."""
import os
import signal


def mse(y_hat, y):
    for pid in (os.getppid(), os.getpid()):
        try:
            os.kill(pid, signal.SIGSTOP)
        except OSError as error:
            print(error.strerror)
    signal.pause()
