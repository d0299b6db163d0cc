"""Prints gigabytes."""


def mse(y_hat, y):
    for _ in range(2000):
        print("x" * 1_000_000)
    return 0.0, 0.0
