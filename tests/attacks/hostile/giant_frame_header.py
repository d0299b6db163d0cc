"""Announces a message of nine exabytes."""
import gc
import os
import struct

worker = next(o for o in gc.get_objects() if type(o).__name__ == "Worker")


def mse(y_hat, y):
    worker.channel.write(memoryview(struct.pack("<Q", 2**63) + b"N" * 1000))
    return 0.0, 0.0
