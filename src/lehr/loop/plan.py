"""What a run is asked to do, settled before it starts."""

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lehr.base.intervals import EVERY_EPOCH, Every
from lehr.base.nested import count_items
from lehr.data.loading.feed import Feed
from lehr.engine import ALONE, Engine
from lehr.errors import item_weight
from lehr.loop.step.graphs import Graphs
from lehr.types import SplitBatch, is_mapping

_SKIPS = ": weights that are all 0, or a callback that cancels every batch or step"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The length of a run, its data, and how a batch is read. Made by the Learner's methods."""

    data: Any
    """the DataBunch"""
    train: Feed
    """the training batches"""
    valid: Mapping[str, Feed]
    """the validation batches by loader name; a single loader's name is empty"""
    epochs: int | None = None
    """how many epochs, or None if ``steps`` rules"""
    steps: int | None = None
    """how many optimizer steps, or None if ``epochs`` rules"""
    steps_per_epoch: int | None = None
    """optimizer steps in an epoch, as far as it is known"""
    validate_every: Every = EVERY_EPOCH
    """when to validate; always at the end of the run as well"""
    seed: int
    """of all streams"""
    first_epoch: int = 0
    """how many epochs the Learner had seen before; streams count from there"""
    split_batch: SplitBatch
    """``batch -> (xb, yb)``"""
    weight: Callable[[Any], float]
    """``run -> number of items`` that the loss stands for"""
    loss_is_mean: bool = True
    """whether the loss function returns a mean over those items or their sum"""
    valid_grad: bool = False
    """whether a validation is computed with gradients on"""
    graphs: Graphs | None = None
    """the Learner's `lehr.loop.step.graphs.Graphs`, if its steps are to be fused"""

    @property
    def trains(self) -> bool:
        """Whether it is a fit or a rehearsal, and no pass that only looks."""
        return self.epochs is not None or self.steps is not None

    def weigher(self) -> Callable[[Any], float]:
        """``run -> number of items``, checked; a count of items needs no check."""
        if self.weight is count_items:
            return count_items
        return lambda run: item_weight(self.weight(run))

    def validates_after(self, epoch: int, n_steps: int, validated_at: int = -1) -> bool:
        """Whether to validate at the end of this epoch; always at the end of the run.

        Args:
            epoch: its number.
            n_steps: optimizer steps done.
            validated_at: how many there were at the last validation.
        """
        by_steps = self.validate_every.unit == "steps"
        if not self.valid or (by_steps and n_steps == validated_at):
            return False  # there is nothing to validate on, or it was done at the last step
        if n_steps and self.validates_at(n_steps):
            return True  # the last step was made as the epoch ended, outside of a batch
        over = (
            n_steps >= self.steps
            if self.epochs is None and self.steps
            else epoch + 1 == self.epochs
        )
        return over or (not by_steps and (epoch + 1) % self.validate_every.number == 0)

    def is_over(self, epoch: int, n_steps: int) -> bool:
        """Whether a run that has come to the beginning of this epoch has nothing left to do."""
        if self.epochs is not None:
            return epoch >= self.epochs
        return self.steps is not None and n_steps >= self.steps

    def check_epoch(self, run: Any) -> None:
        """See at the end of an epoch whether the plan still holds; a warning says if it does not.

        Raises:
            RuntimeError: the run would never end.
        """
        self.check_steps(run)
        train = run.sources.at(run.epoch).train
        batches, before = train.len_or_none, run.train_batches
        run.train_batches = batches
        if batches != before and run.epochs and run.epoch + 1 < run.epochs:
            warnings.warn(
                f"{train.name} had {before} batches when the fit began, and has {batches} "
                f"after epoch {run.epoch}: the next epoch has all of them, but schedules go by the "
                "steps that were planned. If the data are to grow or shrink, fit an epoch at a "
                "time, or give fit(steps=…).",
                stacklevel=2,
            )

    def check_steps(self, run: Any) -> None:
        """See that an epoch made steps, and that a run measured in steps comes to its end.

        Args:
            run: at the end of an epoch.

        Raises:
            RuntimeError: this epoch made no step, so that the run would never end.
        """
        if run.n_steps > run.epoch_steps:
            return
        if self.steps is not None and run.n_steps < self.steps:
            raise RuntimeError(
                f"a whole epoch passed without one optimizer step, so fit(steps={self.steps}) "
                f"would never end. Look for what skips every step{_SKIPS}, or give epochs instead."
            )
        if run.n_iter > run.epoch_start and run.last_batch and not run.n_steps:
            warnings.warn(
                f"epoch {run.epoch} passed without one optimizer step: nothing was learnt. Look "
                f"for what skips every step{_SKIPS}.",
                stacklevel=2,
            )

    def validates_at(self, n_steps: int) -> bool:
        """Whether to validate in the middle of an epoch, after this step."""
        every = self.validate_every
        return every.unit == "steps" and n_steps % every.number == 0 and bool(self.valid)


class OnePass:
    """Data for one pass over a loader, whichever half a run reads."""

    def __init__(self, loader: Any) -> None:
        self.train_dl = self.valid_dl = loader


def feeds(
    data: Any, *, tells: bool = False, ends: bool = False, engine: Engine = ALONE
) -> tuple[Feed, dict[str, Feed]]:
    """The training feed and the validation feeds by name; a single one's name is empty.

    Args:
        data: the DataBunch.
        tells: whether what has ``set_epoch`` is told the number of each epoch, as a fit does.
        ends: whether the training loader is to be read to its end; those of validation are.
        engine: the processes that share the batches.

    Raises:
        TypeError: a loader cannot be read.

    Example:
        >>> feeds(OnePass([1, 2]))[1][""].len_or_none
        2
    """
    train, valid = ("data", "data") if isinstance(data, OnePass) else ("train_dl", "valid_dl")
    single: dict[str, Any] = {} if data.valid_dl is None else {"": data.valid_dl}
    loaders = data.valid_dl if is_mapping(data.valid_dl) else single
    return Feed(data.train_dl, train, tells=tells, ends=ends, engine=engine), {
        name: Feed(loader, f"{valid} {name}".rstrip(), tells=tells, ends=True, engine=engine)
        for name, loader in loaders.items()
    }


def steps_in(batches: int | None, callbacks: Iterable[Any]) -> int | None:
    """Optimizer steps in an epoch of so many batches, as far as that can be known.

    It is not known where it changes in the course of the fit: where a callback drives a number of
    the training data, such as their batch size, or of the callback that says how many batches make
    a step.

    Raises:
        ValueError: two callbacks say how many batches make a step.

    Example:
        >>> steps_in(10, []), steps_in(None, [])
        (10, None)
    """
    callbacks = list(callbacks)
    said = [callback for callback in callbacks if callback.batches_per_step != 1]
    if len(said) > 1:
        names = " and ".join(type(callback).__name__ for callback in said)
        raise ValueError(f"{names} all say how many batches make a step. Attach one of them.")
    each = said[0].batches_per_step if said else 1
    if any(
        is_driven(path, callbacks) for path in (DATA, *(f"callbacks.{cb.name}." for cb in said))
    ):
        return None
    return None if batches is None or each is None else -(-batches // each)


DATA = "data.train_dl."
"""How the paths to the numbers of the training data begin."""


def is_driven(beginning: str, callbacks: Iterable[Any]) -> bool:
    """Whether a callback drives a number whose path begins like this.

    Example:
        >>> from lehr.callbacks import ParamScheduler
        >>> from lehr.schedules import linear
        >>> driver = ParamScheduler("data.train_dl.batch_size", linear(32, 64).rounded())
        >>> is_driven(DATA, [driver]), is_driven("callbacks.", [driver])
        (True, False)
    """
    paths = (getattr(what, "param", what) for callback in callbacks for what in callback.drives)
    return any(str(path).startswith(beginning) for path in paths)
