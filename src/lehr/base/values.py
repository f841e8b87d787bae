"""Sees that there are numbers to compute with: on the device ``meta`` tensors have shapes alone."""

from typing import Any

import torch

from lehr.base.nested import tensors_in


def check_values(model: Any, *, done: str = "trained or predicted") -> None:
    """See that numbers can be computed here.

    Args:
        model: anything with ``named_parameters`` and ``named_buffers``.
        done: what could not be done without, for the message.

    Raises:
        ValueError: a tensor of the model, or any new tensor, would be on the device ``meta``.

    Example:
        >>> check_values(torch.nn.Linear(2, 2))
    """
    tensors = (*model.named_parameters(), *model.named_buffers())
    if empty := [name for name, tensor in tensors if tensor.is_meta]:
        raise ValueError(
            f"{empty[0]!r} of the model is on the device meta, where tensors have no values. "
            'Call model.to_empty(device="cpu") and initialise it, before the optimizer is made. '
            "Or let the Learner do it: engine=lehr.distributed.Distributed()."
        )
    check_default_device(done)


def check_default_device(done: str) -> None:
    """See that new tensors have values.

    Raises:
        ValueError: torch's default device is ``meta``.

    Example:
        >>> with torch.device("meta"):
        ...     check_default_device("drawn")
        Traceback (most recent call last):
        ...
        ValueError: torch's default device is meta, where tensors have no values: nothing could ...
    """
    if torch.empty(0).is_meta:
        raise ValueError(
            f"torch's default device is meta, where tensors have no values: nothing could be {done}"
            '. Leave the with torch.device("meta") block, or call torch.set_default_device(None).'
        )


def check_batch(batch: Any) -> None:
    """See that a batch has values.

    Raises:
        ValueError: a tensor in it is on the device ``meta``.

    Example:
        >>> check_batch((torch.zeros(2), {"y": torch.zeros(2)}))
    """
    if any(tensor.is_meta for tensor in tensors_in(batch)):
        raise ValueError(
            "batch must hold values; its tensors are on the device meta, where they have none. "
            "Make it on the device of the model."
        )
