"""Runs a regular expression that backtracks for ever, holding the interpreter's lock."""
import re


def softmax(x, axis=-1):
    return re.match(r"(a+)+$", "a" * 40 + "b")
