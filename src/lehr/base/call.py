"""How a model is called on the input of a batch."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch.nn.utils.rnn import PackedSequence

from lehr.types import is_mapping, is_sequence


def arguments_of(xb: Any) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """The arguments that ``xb`` stands for: the items of a tuple or list, the values of a dict by
    name, and anything else as it is; so is a packed sequence, though torch makes it a tuple.

    Example:
        >>> arguments_of((1, 2)), arguments_of({"ids": 3}), arguments_of("x")
        (((1, 2), {}), ((), {'ids': 3}), (('x',), {}))
    """
    if is_mapping(xb):
        return (), xb
    several = is_sequence(xb) and not isinstance(xb, PackedSequence)
    return (xb if several else (xb,)), {}


def call(model: Any, xb: Any) -> Any:
    """``model`` of ``xb``, whatever that is made of.

    Example:
        >>> call(max, (1, 2)), call(dict, {"a": 3}), call(abs, -4)
        (2, {'a': 3}, 4)
    """
    args, named = arguments_of(xb)
    return model(*args, **named)
