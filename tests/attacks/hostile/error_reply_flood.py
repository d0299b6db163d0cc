"""Forges errors with megabytes of words, a traceback of a hundred thousand steps and a type that is no name."""
import gc

worker = next(o for o in gc.get_objects() if type(o).__name__ == "Worker")
detail = {
    "type": "\x1b[31m" * 100_000,
    "builtin": "yes",
    "message": ["m" * 1000] * 2000,
    "signature": "s" * 3_000_000,
    "trace": [(1, "t" * 200)] * 50_000,
    "extra": {"score": 100},
}
type(worker).call = lambda self, *a: ("error", detail, [], [])
