"""Names of things, in one manner."""

import re
from functools import partial
from typing import Any


def snake_case(name: str) -> str:
    """A class's name as an attribute's.

    Example:
        >>> snake_case("MulticlassAUROC"), snake_case("MixUp")
        ('multiclass_auroc', 'mix_up')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def name_of(function: Any) -> str:
    """The name of a function, or that of an object's class in snake case.

    Example:
        >>> name_of(max), name_of(partial(max, default=0)), name_of(object())
        ('max', 'max', 'object')
    """
    while isinstance(function, partial):
        function = function.func
    return str(getattr(function, "__name__", None) or snake_case(type(function).__name__))
