"""BatchNorm's statistics for weights with which the model was never trained, such as an average."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lehr.base.running import averages_all, can_be_measured, statistics_of
from lehr.callback import Callback
from lehr.data.loading.feed import Feed
from lehr.data.loading.once import apart
from lehr.events import CancelBatch
from lehr.loop.doubles import double
from lehr.loop.inventory import evaluates
from lehr.loop.loop import Loop
from lehr.loop.run import Run
from lehr.loop.undisturbed import undisturbed
from lehr.optim.parts import modules


def moving(model: nn.Module) -> list[str]:
    """The paths of the layers whose running statistics move: those in training mode.

    Example:
        >>> moving(nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2).eval(), nn.LayerNorm(2)))
        ['0']
    """
    kept = {id(norm): (path, norm) for path, norm in modules(model) if can_be_measured(norm)}
    return [
        path
        for path, norm in kept.values()
        if norm.training and getattr(norm, "track_running_stats", True)
    ]


def statistics(model: nn.Module, paths: Iterable[str]) -> dict[str, Tensor]:
    """A copy of the statistics of the layers at these paths, by name.

    Example:
        >>> list(statistics(nn.Sequential(nn.BatchNorm1d(2)), ["0"]))
        ['0.running_mean', '0.running_var', '0.num_batches_tracked']
    """
    found = _at(model, paths)
    return {
        f"{path}.{name}": value.detach().clone()
        for path, norm in found.items()
        for name, value in statistics_of(norm).items()
    }


@torch.no_grad()
def set_statistics(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Give the layers statistics that `statistics` has copied."""
    found = _at(model, {name.rpartition(".")[0] for name in values})
    for name, value in values.items():
        path, _, leaf = name.rpartition(".")
        getattr(found[path], leaf).copy_(value)


def measure(run: Run, paths: Iterable[str], batches: int | None = None) -> None:
    """Compute the statistics of these layers anew, for the weights that the model has now.

    They become the means over the batches of the training data, as those of
    `torch.optim.swa_utils.update_bn`, without gradients. These layers alone are in training mode:
    the rest of the model is as in evaluation, so there is no dropout, and no other buffer moves.
    The callbacks of the run that take part in `Learner.validate` take part. The batches come as in
    the first epoch of the fit, and nothing else of the run is changed.

    Args:
        run: which is between two passes over the training data.
        paths: of the layers.
        batches: how many; None takes all of an epoch.
    """
    norms = _at(run.model, paths)
    momenta = {path: norm.momentum for path, norm in norms.items()}
    source = run.sources.at(run.epoch).train
    feed = Feed(apart(source.loader), source.name)
    have_begun = filter(evaluates, run.callbacks)
    everybody = [double(callback, begins=False) for callback in have_begun]
    plan = replace(run.plan, valid={"": feed}, weight=_one, valid_grad=False)
    inner = Run(run.learn, plan, [*everybody, _Measure(norms.values(), batches)])
    inner.model, inner.opt, inner.loss_func = run.model, run.opt, run.loss_func
    try:
        for norm in norms.values():
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
        with undisturbed(run.learn):
            Loop(inner).validate()
    finally:
        for path, norm in norms.items():
            norm.momentum = momenta[path]


class _Measure(Callback):
    """Lets the model predict with its norms in training mode, and do no more."""

    state = ()
    after = ("Callback",)

    def __init__(self, norms: Iterable[Any], batches: int | None) -> None:
        self.norms, self.batches = list(norms), batches

    def begin_validate(self, run: Run) -> None:
        for norm in self.norms:
            norm.training = True  # not train(), which a parametrization inside would follow

    def begin_batch(self, run: Run) -> None:
        for norm in self.norms:
            if not averages_all(norm):
                norm.momentum = 1 / (run.batch_index + 1)

    def after_pred(self, run: Run) -> None:
        raise CancelBatch  # nobody needs a loss

    def after_batch(self, run: Run) -> None:
        if run.batch_index + 1 == self.batches:
            run.stop("enough")


def _one(run: Run) -> float:
    return 1


def _at(model: nn.Module, paths: Iterable[str]) -> dict[str, Any]:
    by_path = dict(modules(model))
    return {path: by_path[path] for path in paths}
