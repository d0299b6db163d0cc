"""Calls the function that it was given with everything but numbers: text, huge integers, ragged lists, dicts, bytes."""
import numpy as np

ODD = (
    (2**1000, 2**1000),
    ([2**200], [2**200]),
    ("text", b"bytes"),
    ([[1], [1, 2]], None),
    ({}, {1: 2}),
    (np.zeros((1000, 1, 100)), np.zeros((1, 1000, 100))),
    (np.array([np.nan]), np.array([np.inf])),
    (np.zeros(0), np.zeros((0, 5))),
    (),
    (1, 2, 3, 4, 5),
)


def gradient_error(loss, prediction, target, h=1e-5):
    for arguments in ODD:
        try:
            loss(*arguments)
        except (TypeError, ValueError):
            pass
    return "tried"
