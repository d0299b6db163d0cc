"""Answers with its own arguments."""


def softmax(x, axis=-1):
    return x


log_softmax = softmax


def mse(y_hat, y):
    return y_hat, y


cross_entropy = bce_with_logits = huber = mse


def gradient_error(loss, prediction, target, h=1e-5):
    return prediction
