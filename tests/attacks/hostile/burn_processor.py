"""Computes for ever, in a loop that Python cannot interrupt for long."""


def mse(y_hat, y):
    return pow(7, 7**11)


def softmax(x, axis=-1):
    while True:
        pass
