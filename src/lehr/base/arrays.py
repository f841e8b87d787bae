"""NumPy's arrays among the parts of a batch, without importing NumPy."""

from collections.abc import Iterator
from typing import Any

from lehr.types import is_mapping, is_sequence


def is_numpy(value: Any) -> bool:
    """Whether ``value`` is an array or a number of NumPy.

    Example:
        >>> import numpy as np
        >>> is_numpy(np.zeros(3)), is_numpy(np.float32(1)), is_numpy([1])
        (True, True, False)
    """
    return type(value).__module__ == "numpy" and hasattr(value, "dtype")


def arrays_in(value: Any) -> Iterator[Any]:
    """Every array in a nesting of mappings, lists and tuples, in its order.

    Example:
        >>> import numpy as np
        >>> [a.shape for a in arrays_in({"a": np.zeros(2), "b": ["text", np.zeros((1, 3))]})]
        [(2,), (1, 3)]
    """
    if is_numpy(value):
        yield value
    elif is_mapping(value) or is_sequence(value):
        for inner in value.values() if is_mapping(value) else value:
            yield from arrays_in(inner)
