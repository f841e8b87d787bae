"""Fused steps on a GPU as CUDA graphs: recorded once, and then started by one call each."""

from collections.abc import Callable
from typing import Any

import torch
from torch._dynamo.decorators import mark_static_address

from lehr.base.nested import map_tensors, tensors_in

OPTIONS = {"triton.cudagraphs": True}
"""What torch's compiler is told, so that it captures what it has compiled"""


def keep_in_place(given: Any) -> None:
    """Tell torch that these tensors stay where they are from step to step.

    Else it would copy weights and states before each step, and capture nothing that writes to them.
    Where one of them is moved, torch captures anew.

    Args:
        given: any nesting of what a step takes.

    Example:
        >>> keep_in_place({"weight": torch.ones(1), "states": [torch.zeros(1), None]})
    """
    for tensor in tensors_in(given):
        mark_static_address(tensor)


def captured(graph: Callable[..., Any]) -> Callable[..., Any]:
    """A compiled step whose results stay what they are in the next step, which overwrites its own.

    Example:
        >>> held = torch.zeros(1)
        >>> step = captured(lambda: held.add_(1))
        >>> step(), step()
        (tensor([1.]), tensor([2.]))
    """

    def step(*given: Any) -> Any:
        torch.compiler.cudagraph_mark_step_begin()
        return map_tensors(torch.clone, graph(*given))

    return step
