"""A validation with gradients on keeps no graph longer than the loss needs it."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from lehr.base.nested import map_tensors


def releasing(run: Any, compute_loss: Callable[[], None]) -> Callable[[], None]:
    """``compute_loss``, after which prediction and loss have no graph where the run validates.

    Else a metric that gathers predictions would gather their graphs as well.

    Args:
        run: whose ``pred`` and ``loss`` are let go of.
        compute_loss: the action.
    """

    def compute_and_release() -> None:
        compute_loss()
        if not run.training:
            run.pred = map_tensors(Tensor.detach, run.pred)
            run.loss = map_tensors(Tensor.detach, run.loss)
            run.loss_parts = map_tensors(Tensor.detach, run.loss_parts)

    return compute_and_release
