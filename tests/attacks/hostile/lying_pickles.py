"""Answers with objects whose unpickling would run code in the grader, alone and inside arrays."""
import os
import pickle

import numpy as np


class Bomb:
    def __reduce__(self):
        return (os.system, (f"touch {TARGET['folder']}/unpickled",))


def softmax(x, axis=-1):
    return pickle.dumps(Bomb())


def log_softmax(x, axis=-1):
    return np.array([Bomb()], dtype=object)


def mse(y_hat, y):
    return Bomb()
