"""Iterators that never end, as far as that can be known beforehand."""

import itertools
import operator
from typing import Any, cast


def is_endless(iterator: Any) -> bool:
    """Whether an iterator of `itertools` goes on for ever; of any other that is not known.

    Example:
        >>> is_endless(itertools.cycle([1])), is_endless(itertools.repeat(1, 5)), is_endless([1])
        (True, False, False)
    """
    if isinstance(iterator, itertools.repeat):
        return operator.length_hint(cast(Any, iterator), -1) < 0
    return isinstance(iterator, (itertools.cycle, itertools.count))
