"""The gradients of one run: averaged over all processes, by DistributedDataParallel."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.nn.parallel import DistributedDataParallel

from lehr.errors import add_note

_UNUSED = (
    "In lehr: give Distributed(find_unused_parameters=True), or freeze the parameters that the "
    "loss does not depend on: parameter.requires_grad_(False)."
)
_ASKS = ("require_backward_grad_sync", "require_forward_param_sync")
"""Whether a forward pass prepares for averaging gradients, and whether it sends buffers around"""


def check_wrappers(model: nn.Module, world: int, own: str | None = None) -> None:
    """See that a wrapper of torch around the model is one that a run can go through.

    Args:
        model: which may be in a DistributedDataParallel, as accelerate prepares it.
        world: how many processes there are.
        own: an argument of the engine that such a wrapper has no use for, if one was given.

    Raises:
        ValueError: the wrapper is another one, in another place or of other processes.

    Example:
        >>> check_wrappers(nn.Linear(1, 1), 2)
    """
    if any(isinstance(part, FullyShardedDataParallel) for part in model.modules()):
        raise ValueError(
            "the model is in a FullyShardedDataParallel, torch's older way to shard, and "
            "Distributed knows fully_shard. Shard it with that (in accelerate: fsdp_version=2), "
            "or give the model itself and Distributed(shard=lambda model: model.layers)."
        )
    wrappers: list[Any] = [m for m in model.modules() if isinstance(m, DistributedDataParallel)]
    if not wrappers:
        return
    todo = (
        "Give the Learner the model without it (in accelerate: accelerator.unwrap_model(model)); "
        "Distributed() averages the gradients by itself."
    )
    if wrappers != [model]:
        raise ValueError(
            "a DistributedDataParallel is within the model, and not around all of it, so its "
            f"gradients would be averaged twice. {todo}"
        )
    if (size := dist.get_world_size(wrappers[0].process_group)) != world:
        raise ValueError(
            f"the model is in a DistributedDataParallel of {size} of the {world} processes, and "
            f"Distributed averages gradients over all of them. {todo}"
        )
    if own is not None:
        raise ValueError(
            f"Distributed({own}=…) cannot be had of a model that is in a DistributedDataParallel "
            f"already. {todo}"
        )


class DataParallel:
    """Averages the gradients of a run's model, and of whatever else its optimizers hold.

    The forward pass goes through a DistributedDataParallel, which averages the gradients while the
    backward pass is still computing others: the one that the model came in, or one of our own. What
    it has not seen is averaged afterwards: parameters that are not the model's, and all of them
    where a callback calls the model itself, or cancels the batch that should have closed the
    window. ``run.model`` stays what the user gave.

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
        self.model: nn.Module | None = None
        """The one that was looked at, as it was given"""
        self.parallel: DistributedDataParallel | None = None
        self.past = False
        """Whether this batch goes past the parallel model, so that nothing in it asks the others"""
        self.closes = False
        """Whether the window closes with this batch"""
        self.synced = False
        """Whether the backward pass of this window averages the gradients of the model"""
        self._given: nn.Module | None = None
        self._as_given: dict[str, bool] = {}
        self._asked: list[nn.Parameter] = []
        self._others: list[nn.Parameter] = []

    def open(self) -> None:
        """The run begins. A wrapper of the user's asks the others only when we let it."""
        model = self.run.model
        if isinstance(model, DistributedDataParallel):
            self._given = model
            self._as_given = {name: getattr(model, name) for name in _ASKS}
            _silence(model)

    def close(self) -> None:
        """The run is over."""
        self._forget()
        for name, value in self._as_given.items():
            setattr(self._given, name, value)

    def _forget(self) -> None:
        # After a cancel between forward and backward pass, its hooks still wait for gradients: in
        # the next run they would send those of a process that has not deleted it yet.
        parallel: Any = self.parallel
        if parallel is not None and parallel is not self._given:
            getattr(parallel, "_remove_autograd_hooks")()  # noqa: B009 - there is no public way
        self.parallel = None

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
        self.closes, self.synced = closes, False
        return closes and self.parallel is not None

    def _look_at(self, model: nn.Module) -> None:
        wanted = [p for p in model.parameters() if p.requires_grad]
        same = len(wanted) == len(self._asked) and all(map(_is, wanted, self._asked))
        if self.parallel is None or self.model is not model or not same:
            self._forget()
            self.model, self._asked = model, wanted
            self.parallel = self._around(model) if wanted else None
        covered = {id(p) for p in wanted}
        self._others = [p for p in self.run.trained_parameters() if id(p) not in covered]

    def _around(self, model: Any) -> DistributedDataParallel:
        if not isinstance(model, DistributedDataParallel):
            return DistributedDataParallel(model, **self.options)
        of_torch: dict[str, Any] = getattr(model, "_get_ddp_logging_data")()  # noqa: B009 - documented
        known = of_torch["num_parameter_tensors"]
        if known != len(self._asked):
            raise ValueError(
                f"the model is in a DistributedDataParallel that was made when {known} of its "
                f"parameters were trained; now {len(self._asked)} are, and it cannot follow. Give "
                "the Learner the model without it (in accelerate: "
                "accelerator.unwrap_model(model)), or freeze and unfreeze before it is made."
            )
        return model

    def predicting(self, predict: Callable[[], None]) -> Callable[[], None]:
        """What predicts, through the parallel model in training."""

        def through() -> None:
            run, parallel, model = self.run, self.parallel, self.run.model
            if self.past or not run.training or parallel is None or model is not self.model:
                predict()
                return
            parallel.require_backward_grad_sync = self.closes
            if parallel is model:
                parallel.require_forward_param_sync = self.closes
            run.model = parallel
            try:
                predict()
            except RuntimeError as error:
                if "find_unused_parameters" in str(error):
                    add_note(error, _UNUSED)
                raise
            finally:
                run.model = model
                if parallel is model:
                    _silence(model)
            self.synced = self.closes

        return through

    def finish(self, *, expected: bool) -> None:
        """Average what has not been averaged.

        Args:
            expected: whether it is the batch that was to close the window that has closed it.
        """
        done = expected and self.synced
        average(self._others if done else self.run.trained_parameters(), self.count, self.world)
        self.synced = False


def _silence(model: Any) -> None:
    """Let a model that came in a wrapper ask nothing of other processes."""
    for name in _ASKS:
        setattr(model, name, False)


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
