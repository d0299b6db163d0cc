"""The array types of the library and the two conversions at its doors."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
Params = dict[str, Array]

__all__ = ["Array", "ArrayLike", "Labels", "Params", "as_float", "as_labels", "as_params", "require_same_shape"]


def as_float(x: ArrayLike) -> Array:
    """`x` as a float64 array (the same object when it already is one)."""
    return np.asarray(x, dtype=np.float64)


def as_labels(y: ArrayLike) -> Labels:
    """`y` as an int64 array. Raises TypeError for values that are not integers (or booleans)."""
    labels = np.asarray(y)
    if labels.dtype.kind not in "iub":
        raise TypeError(f"labels must be integers, got dtype {labels.dtype}")
    return labels.astype(np.int64)


def as_params(params: Mapping[str, ArrayLike]) -> Params:
    """The same dict with every value as a float64 array; the values are not copied where they already are."""
    return {name: as_float(value) for name, value in params.items()}


def require_same_shape(a: Array, b: Array) -> None:
    """Raise ValueError unless the shapes are equal: (B, 1) against (B,) would broadcast silently to (B, B)."""
    if a.shape != b.shape:
        raise ValueError(f"shapes must be equal, got {a.shape} and {b.shape}")
