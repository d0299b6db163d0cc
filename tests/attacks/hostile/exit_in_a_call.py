"""Ends its process with status 0 in the middle of a call."""
import os


def mse(y_hat, y):
    os._exit(0)


softmax = log_softmax = cross_entropy = mse
