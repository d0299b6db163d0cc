"""Answers with arrays that are none of numbers: masked, structured, text, dates, memory maps, endless views."""
import numpy as np


def softmax(x, axis=-1):
    return np.ma.masked_all(np.shape(x))


def log_softmax(x, axis=-1):
    return np.zeros(3, dtype=[("a", "f8"), ("b", "O")])


def mse(y_hat, y):
    return np.array("2026-01-01", dtype="M8[D]"), np.array(["0.0"])


def huber(y_hat, y, delta=1.0):
    return 0.0, np.memmap("map", mode="w+", shape=(100,))


def cross_entropy(logits, targets):
    return 0.0, np.broadcast_to(0.0, (10**6, 10**6))


def bce_with_logits(logits, y):
    return 0.0, np.lib.stride_tricks.as_strided(np.zeros(1), (10**9,), (0,))
