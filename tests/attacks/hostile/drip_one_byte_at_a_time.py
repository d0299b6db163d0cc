"""Sends its answer one byte at a time, slowly, so that there is always progress."""
import gc
import time

worker = next(o for o in gc.get_objects() if type(o).__name__ == "Worker")
names = type(worker).serve.__globals__


def mse(y_hat, y):
    data = names["frame"](names["encode"](("stdout", "x" * 10_000), student=True))
    for byte in data:
        worker.channel.write(memoryview(bytes([byte])))
        time.sleep(0.02)
    return 0.0, 0.0
