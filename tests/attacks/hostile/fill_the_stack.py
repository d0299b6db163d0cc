"""Recurses without end in Python, with the limit raised first."""
import sys

sys.setrecursionlimit(10**9)


def softmax(x, axis=-1):
    return softmax(softmax(x))


def mse(y_hat, y):
    deep = []
    for _ in range(10**6):
        deep = [deep]
    return repr(deep)
