"""What a model and callbacks' functions return, looked at before a graph is made of it."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from lehr.base.graph_part import Changes, GraphPart
from lehr.base.nested import describe, inside


def check_changes(who: str, part: GraphPart, values: Mapping[str, Tensor], *, skips: bool) -> None:
    """Refuse what a graph could not write, or would pass over without a word.

    The function is called once, on tensors that have no values. Where that fails, nothing is
    refused: torch's compiler then says what it cannot take.

    Args:
        who: whose function it is, for the message.
        part: the function, with all else that it takes.
        values: what it may give other tensors for, by name.
        skips: whether it may say that there is to be no step.

    Raises:
        TypeError: it returns something other than `lehr.Changes`, or ``skips`` is no truth value
            without dimensions.
        ValueError: a name is unknown, a tensor has another shape, or there is a ``skips`` after the
            step.

    Example:
        >>> part = GraphPart(lambda values, tensors, numbers: Changes({"bais": values["bias"]}))
        >>> check_changes("Mine", part, {"bias": torch.ones(1)}, skips=True)
        Traceback (most recent call last):
            ...
        ValueError: Mine returns 'bais' in values, which it was not given; it was given 'bias'.
    """
    try:
        changes = _called(part, values)
    except Exception:
        return
    if not isinstance(changes, Changes):
        raise TypeError(f"{who} must return lehr.Changes; got {describe(changes)}.")
    for kind, new, old in (
        ("values", changes.values, values),
        ("tensors", changes.tensors, part.tensors),
    ):
        for name, tensor in new.items():
            if name not in old:
                known = ", ".join(map(repr, old)) or "none"
                raise ValueError(
                    f"{who} returns {name!r} in {kind}, which it was not given; it was given "
                    f"{known}."
                )
            if tensor.shape != old[name].shape:
                raise ValueError(
                    f"{who} returns {name!r} in {kind} in the shape {tuple(tensor.shape)}; it must "
                    f"be {tuple(old[name].shape)}."
                )
    found = cast("Any", changes.skips)
    if found is None:
        return
    if not skips:
        raise ValueError(f"{who} returns skips once the step is made. Return it in finish_grad.")
    if not isinstance(found, Tensor) or found.dtype != torch.bool or found.dim():
        raise TypeError(
            f"{who} must return skips as a tensor of bool without dimensions, such as "
            f"~norm.isfinite(); got {describe(found)}."
        )


def is_plain(pred: Any) -> bool:
    """Whether a prediction is made of what a graph can return as it is.

    Example:
        >>> is_plain({"a": torch.ones(1), "b": [torch.ones(1)]}), is_plain((torch.ones(1), "b"))
        (True, False)
    """
    if pred is None or isinstance(pred, Tensor):  # None: there is none yet
        return True
    kind = cast("type[Any]", type(pred))
    if kind not in (tuple, list, dict):
        return False
    return all(inner is not None and is_plain(inner) for inner in inside(pred) or ())


def _called(part: GraphPart, values: Mapping[str, Tensor]) -> Any:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True) as mode:
        without_values = [
            {name: mode.from_tensor(tensor.detach()) for name, tensor in held.items()}
            for held in (values, part.tensors)
        ]
        numbers = {name: torch.zeros((), dtype=torch.float64) for name in part.numbers}
        return part.function(*without_values, numbers, **part.fixed)
