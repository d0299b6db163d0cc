"""Ends itself by every signal that ends a process."""
import os
import signal
import time


def mse(y_hat, y):
    signal.raise_signal(signal.SIGKILL)


def softmax(x, axis=-1):
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    time.sleep(1)


def log_softmax(x, axis=-1):
    os.abort()
