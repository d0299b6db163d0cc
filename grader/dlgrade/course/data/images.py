"""Images of handwritten digits."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def mnist_5k() -> tuple[Array, Array]:
    """5,000 images of MNIST, 500 of each digit: uint8 (5000, 28, 28), 0 (paper) to 255 (ink), and int64 labels (5000,).

    The rows are sorted by label: shuffle before splitting. Both arrays are shared and read-only.
    """
    return _images("mnist_5k.npz")


def digits() -> tuple[Array, Array]:
    """1,797 small digits of the UCI set: uint8 (1797, 8, 8), 0 (paper) to 16 (ink), and int64 labels (1797,).

    In the order of scikit-learn's `load_digits`. Both arrays are shared and read-only.
    """
    return _images("digits_8x8.npz")


@cache
def _images(file: str) -> tuple[Array, Array]:
    with np.load(Path(__file__).with_name(file), allow_pickle=False) as stored:
        images, labels = stored["images"], stored["labels"].astype(np.int64)
    images.setflags(write=False)
    labels.setflags(write=False)
    return images, labels
