"""Sends messages of kinds that nobody speaks: verdicts, seeds asked for, orders to stop."""
import gc

worker = next(o for o in gc.get_objects() if type(o).__name__ == "Worker")


def softmax(x, axis=-1):
    worker.channel.send(("result", {"score": 100}))
    worker.channel.send(("seed?",))
    worker.channel.send(("do", "reap"))
    return 0.0
