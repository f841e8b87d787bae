"""The gradients of one run: averaged over all processes, by DistributedDataParallel."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


class DataParallel:
    """Averages the gradients of a run's model, and of whatever else its optimizers hold.

    The forward pass goes through DistributedDataParallel, which averages the gradients while the
    backward pass is still computing others. What it has not seen is averaged afterwards: parameters
    that are not the model's, and all of them where a callback calls the model itself, or cancels
    the batch that should have closed the window. ``run.model`` stays the bare model.

    Args:
        run: the run.
        options: for DistributedDataParallel.
        count: ``tensor -> its sum over all processes``.
    """

    def __init__(
        self, run: Any, options: dict[str, Any], count: Callable[[Tensor], Tensor]
    ) -> None:
        self.run, self.options, self.count = run, options, count
        self.world = dist.get_world_size()
        self.parallel: DistributedDataParallel | None = None
        self.past = False
        """Whether this batch goes past the parallel model, so that nothing in it asks the others"""
        self.synced = False
        """Whether the backward pass of this window averages the gradients of the model"""
        self._asked: list[nn.Parameter] = []
        self._others: list[nn.Parameter] = []

    def expect(self, *, closes: bool) -> bool:
        """A batch is about to be predicted, and its window closes with it, or does not.

        Returns:
            Whether its backward pass waits for the other processes.
        """
        run, self.past = self.run, False
        if not run.training:
            return False
        if self.parallel is None or run.batch_index == 0:
            self._look_at(run.model)
        if self.parallel is not None:
            self.parallel.require_backward_grad_sync = closes
        self.synced = False
        return closes and self.parallel is not None

    def _look_at(self, model: nn.Module) -> None:
        wanted = [p for p in model.parameters() if p.requires_grad]
        same = len(wanted) == len(self._asked) and all(map(_is, wanted, self._asked))
        if self.parallel is None or self.parallel.module is not model or not same:
            self._asked = wanted
            self.parallel = DistributedDataParallel(model, **self.options) if wanted else None
        covered = {id(p) for p in wanted}
        self._others = [p for p in self.run.trained_parameters() if id(p) not in covered]

    def predicting(self, predict: Callable[[], None]) -> Callable[[], None]:
        """What predicts, through the parallel model in training."""

        def through() -> None:
            run, parallel = self.run, self.parallel
            elsewhere = self.past or not run.training
            if parallel is None or elsewhere or run.model is not parallel.module:
                predict()
                return
            run.model, model = parallel, run.model
            try:
                predict()
            finally:
                run.model = model
            self.synced = parallel.require_backward_grad_sync

        return through

    def finish(self, *, expected: bool) -> None:
        """Average what has not been averaged.

        Args:
            expected: whether it is the batch that was to close the window that has closed it.
        """
        done = expected and self.synced
        average(self._others if done else self.run.trained_parameters(), self.count, self.world)
        self.synced = False


def _is(one: Any, other: Any) -> bool:
    return one is other


def average(
    parameters: Iterable[nn.Parameter], count: Callable[[Tensor], Tensor], world: int
) -> None:
    """Make the gradients the means over all processes; one that no process has stays None."""
    parameters = [p for p in parameters if p.requires_grad]
    if not parameters:
        return
    there = count(torch.tensor([float(p.grad is not None) for p in parameters]))
    for p, some in zip(parameters, there, strict=True):
        if some:
            grad = torch.zeros_like(p) if p.grad is None else p.grad
            dist.all_reduce(torch.view_as_real(grad) if grad.is_complex() else grad)
            p.grad = grad.div_(world)
