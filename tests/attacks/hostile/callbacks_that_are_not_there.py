"""Calls functions that it was not given, by number."""
import gc

import numpy as np

worker = next(o for o in gc.get_objects() if type(o).__name__ == "Worker")


def mse(y_hat, y):
    for id in (0, 1, 7, 2**31):
        worker.callback(id, "secret")(np.ones(2))
    return 0.0, 0.0
