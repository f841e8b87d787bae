"""Adds callbacks that share one state, the runner's, and speak only where they object."""

import re
from collections.abc import Callable, Iterable
from typing import Any


class CancelBatch(Exception):  # noqa: N818
    """Raised in an event: this batch ends; `after_batch` follows."""


class CancelEpoch(Exception):  # noqa: N818
    """Raised in an event: both passes of this epoch end; `after_epoch` follows."""


class CancelFit(Exception):  # noqa: N818
    """Raised in an event: the fit ends; `after_fit` follows."""


def listify(o: Any) -> list[Any]:
    """A list of what may be None, a list, a string, any other iterable, or a single thing."""
    o = [] if o is None else o
    return [*o] if isinstance(o, Iterable) and not isinstance(o, str) else [o]


def camel2snake(name: str) -> str:
    """``TrainEval`` becomes ``train_eval``, ``LRFinder`` becomes ``lr_finder``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


class Callback:
    """Called for the events it has methods for; a true answer skips what follows, None goes on.

    It reads the runner's fields as its own, and writes them as ``self.run.xb = …``.
    """

    _order = 0
    run: Any = None  # the `Runner`, once it is attached

    @property
    def name(self) -> str:
        """The class in snake case, without ``Callback``; the runner's name for it."""
        return camel2snake(type(self).__name__.removesuffix("Callback") or "Callback")

    def __getattr__(self, name: str) -> Any:  # only for what the callback itself does not have
        if not hasattr(self.run, name):
            raise AttributeError(f"{type(self).__name__} has no {name!r}, nor has its run.")
        return getattr(self.run, name)


class TrainEvalCallback(Callback):
    """Counts training batches, in ``n_iter`` and as ``n_epochs``, and sets the model's mode."""

    def begin_fit(self) -> None:
        """Count anew."""
        self.run.n_iter = 0

    def begin_epoch(self) -> None:
        """Train."""
        self.run.in_train, self.run.n_epochs = True, float(self.epoch)
        self.model.train()

    def after_batch(self) -> None:
        """After k of m batches ``n_epochs`` is epoch + k/m."""
        if self.in_train:
            self.run.n_iter += 1
            self.run.n_epochs = self.epoch + (self.batch + 1) / self.iters

    def begin_validate(self) -> None:
        """Evaluate."""
        self.run.in_train = False
        self.model.eval()


class AvgStats:
    """The means of the loss and of metrics over one pass; a batch counts by its size."""

    def __init__(self, metrics: Any = None, in_train: bool = True) -> None:
        self.metrics, self.in_train = listify(metrics), in_train
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self.totals, self.count = [0.0] * (1 + len(self.metrics)), 0

    def accumulate(self, run: Any) -> None:
        """Add the runner's batch."""
        values = [metric(run.pred.detach(), run.yb) for metric in self.metrics]
        for i, value in enumerate([run.loss.detach(), *values]):
            self.totals[i] += float(value) * len(run.xb)
        self.count += len(run.xb)

    @property
    def avg_stats(self) -> list[float]:
        """Loss and metrics; nan if there was no batch."""
        return [total / self.count if self.count else float("nan") for total in self.totals]

    def __repr__(self) -> str:
        return f"{'train' if self.in_train else 'valid'}: {self.avg_stats}"


class AvgStatsCallback(Callback):
    """Reports both passes' averages; those of training are gathered while the weights change."""

    def __init__(self, metrics: Any = None, report: Callable[[str], object] = print) -> None:
        self.train_stats, self.valid_stats = AvgStats(metrics, True), AvgStats(metrics, False)
        self.report = report

    def begin_epoch(self) -> None:
        """Forget the epoch before."""
        self.train_stats.reset()
        self.valid_stats.reset()

    def after_loss(self) -> None:
        """Add the batch."""
        (self.train_stats if self.in_train else self.valid_stats).accumulate(self.run)

    def after_epoch(self) -> None:
        """Report."""
        self.report(f"{self.train_stats}, {self.valid_stats}")
