"""Sends replies whose parts have the wrong types: numbers that are truth values, lists of lists, text for a number."""
import gc

worker = next(o for o in gc.get_objects() if type(o).__name__ == "Worker")
TRIED = iter([
    ("reply", True, "ok", b"N", [], []),
    ("reply", "2", "ok", b"N", [], []),
    ("reply", 2, ["ok"], b"N", [[]], [{}]),
    ("stdout", 5),
    ("callback", 0, [1], []),
    ("callback", -1, (), {1: 2}),
    [],
    None,
])


def softmax(x, axis=-1):
    worker.channel.send(next(TRIED))
    return 0.0


mse = log_softmax = cross_entropy = huber = bce_with_logits = softmax
