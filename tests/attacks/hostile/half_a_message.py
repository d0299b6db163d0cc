"""Sends half of an answer and then waits for ever."""
import gc
import time

worker = next(o for o in gc.get_objects() if type(o).__name__ == "Worker")
names = type(worker).serve.__globals__


def mse(y_hat, y):
    data = names["frame"](names["encode"](("stdout", "x" * 1000), student=True))
    worker.channel.write(memoryview(data[:500]))
    time.sleep(3600)
