"""Maps more memory than the machine has, in anonymous and in file maps."""
import mmap

MAPS = []


def mse(y_hat, y):
    for _ in range(100):
        MAPS.append(mmap.mmap(-1, 1 << 30))
        MAPS[-1].write(b"x")
    return 0.0, 0.0
