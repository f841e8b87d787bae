"""Knows what is NumPy's, without importing NumPy."""

from typing import Any


def is_numpy(value: Any) -> bool:
    """Whether ``value`` is an array or a number of NumPy.

    Example:
        >>> import numpy as np
        >>> is_numpy(np.zeros(3)), is_numpy(np.float32(1)), is_numpy([1])
        (True, True, False)
    """
    return type(value).__module__ == "numpy" and hasattr(value, "dtype")
