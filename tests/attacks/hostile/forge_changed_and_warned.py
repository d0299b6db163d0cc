"""Replies with absurd numbers of changed arguments and megabytes of warnings."""
import gc

worker = next(o for o in gc.get_objects() if type(o).__name__ == "Worker")
names = type(worker).serve.__globals__
content = names["encode"](0.0, student=True)
type(worker).call = lambda self, *a: ("ok", content, [-5, 10**18, 2**900], ["w" * 1_000_000] * 8)
