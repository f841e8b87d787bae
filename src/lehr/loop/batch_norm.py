"""BatchNorm's statistics for weights with which the model was never trained, such as an average."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lehr.callback import Callback
from lehr.data.loading.feed import Feed
from lehr.data.loading.once import apart
from lehr.loop.doubles import double
from lehr.loop.inventory import evaluates
from lehr.loop.loop import Loop
from lehr.loop.run import Run
from lehr.loop.undisturbed import undisturbed
from lehr.optim.parts import modules

_KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_NAMES = ("running_mean", "running_var", "num_batches_tracked")


def moving(model: nn.Module) -> list[str]:
    """The paths of the BatchNorm layers whose statistics move: those in training mode.

    Example:
        >>> moving(nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2).eval(), nn.LayerNorm(2)))
        ['0']
    """
    kept = {id(norm): (path, norm) for path, norm in modules(model) if isinstance(norm, _KINDS)}
    return [path for path, norm in kept.values() if norm.training and norm.track_running_stats]


def statistics(model: nn.Module, paths: Iterable[str]) -> dict[str, Tensor]:
    """A copy of the statistics of the layers at these paths, by name.

    Example:
        >>> list(statistics(nn.Sequential(nn.BatchNorm1d(2)), ["0"]))
        ['0.running_mean', '0.running_var', '0.num_batches_tracked']
    """
    found = _at(model, paths)
    return {
        f"{path}.{name}": getattr(norm, name).detach().clone()
        for path, norm in found.items()
        for name in _NAMES
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
    `torch.optim.swa_utils.update_bn`: the model is in training mode, without gradients. The
    callbacks of the run that take part in `Learner.validate` take part. The batches come as in the
    first epoch of the fit, and nothing else of the run is changed.

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
    """Lets the model predict in training mode, and do no more."""

    state = ()
    after = ("Callback",)

    def __init__(self, norms: Iterable[nn.Module], batches: int | None) -> None:
        self.norms, self.batches = list(norms), batches

    def begin_validate(self, run: Run) -> None:
        others = [m for m in run.model.modules() if isinstance(m, _KINDS) and m not in self.norms]
        run.model.train()
        for norm in others:  # fixed ones
            norm.eval()

    def compute_loss(self, run: Run, proceed: Callable[[], None]) -> None:
        pass

    def after_batch(self, run: Run) -> None:
        if run.batch_index + 1 == self.batches:
            run.stop("enough")


def _one(run: Run) -> float:
    return 1


def _at(model: nn.Module, paths: Iterable[str]) -> dict[str, Any]:
    found = dict(modules(model))
    return {path: found[path] for path in paths}
