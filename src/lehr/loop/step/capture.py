"""Fused steps on a GPU as CUDA graphs: recorded once, and then started by one call each."""

from collections.abc import Callable, Sequence
from typing import Any, cast, final

import torch
from torch._dynamo.decorators import mark_static_address

from lehr.base.nested import map_tensors, tensors_in
from lehr.loop.step.compiled import Compiled

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


@final
class Captured:
    """A compiled step whose results stay what they are in the next step, which overwrites its own.

    Args:
        graph: the step.

    Example:
        >>> held = torch.zeros(1)
        >>> step = Captured(lambda: held.add_(1))
        >>> step(), step()
        (tensor([1.]), tensor([2.]))
    """

    def __init__(self, graph: Compiled | Callable[..., Any]) -> None:
        self._graph = graph

    def __call__(self, *given: Any) -> Any:
        """What the step returns, in tensors of its own."""
        torch.compiler.cudagraph_mark_step_begin()
        return map_tensors(torch.clone, self._graph(*given))

    def made_for(self, given: Sequence[Any]) -> Callable[..., Any] | None:
        """The same, if it is compiled for what is given; see `lehr.loop.step.direct.Direct`."""
        return None if cast("Compiled", self._graph).made_for(given) is None else self
