"""Answers every call right, but sleeps each time just less than a call may take: hours for the whole file."""
# with the solution
import time


def _slowly(function):
    def slow(*args, **kwargs):
        time.sleep(NAP_S)
        return function(*args, **kwargs)

    return slow


for _name in ("mse", "softmax", "log_softmax", "cross_entropy", "bce_with_logits", "huber", "gradient_error"):
    globals()[_name] = _slowly(globals()[_name])
