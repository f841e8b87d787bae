"""The learning-rate range test: one short sweep that leaves no trace."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

from lehr.base import drawing
from lehr.base.smoothing import smooth
from lehr.callback import Callback
from lehr.callbacks.drive.param_scheduler import ParamScheduler
from lehr.errors import positive_int, real_number
from lehr.events import CancelFit, Phase
from lehr.learner import Learner
from lehr.optim import optimizers
from lehr.record.unread import UnreadLosses
from lehr.schedules import sched_exp

if TYPE_CHECKING:
    from lehr.loop.run import Run

_BEGIN = 10  # steps whose mean loss is that of the beginning
_LATELY = 5  # steps whose median tells divergence: one bad batch does not
_DIVERGED = 4.0  # times the loss of the beginning
_WIDTH = 2.0  # of the smoothing, in steps
_SHARE = 0.95  # of the fall that makes the suggestion
_SURE = 4.0  # standard errors: the lowest place is the best of many, so two would prove nothing


@dataclass(frozen=True)
class LRCurve:
    """What a sweep saw.

    Attributes:
        lrs: the learning rate of each step, rising.
        losses: the training loss of each step, before that step.
        suggestion: what to train with, by the rule of `suggest`; None if the loss never fell.

    Example:
        >>> curve = LRCurve([0.1, 1.0, 10.0], [2.0, 1.0, 9.0], None)
        >>> curve
        LRCurve(3 steps from 0.1 to 10, suggestion None)
    """

    lrs: list[float]
    losses: list[float]
    suggestion: float | None

    @property
    def smoothed(self) -> list[float]:
        """The losses without most of their noise."""
        return smooth(self.losses, _WIDTH)

    @property
    def limits(self) -> tuple[float, float]:
        """The lowest and highest loss that a plot shows: the fall, and the beginning of the rise.

        Where the sweep diverges, the loss is often many times that of the beginning. An axis with
        room for that would show the fall as a flat line.

        Example:
            >>> low, high = LRCurve([0.1, 1.0, 10.0], [2.0, 1.0, 9e5], None).limits
            >>> low < 1.0 < 2.0 < high < 3.0
            True
        """
        low = min(self.losses)
        high = max(self.losses[: self.losses.index(low) + 1])
        room = max(high - low, abs(high) / 10) or 1.0
        return low - room / 10, high + room / 2

    def plot(self, ax: Any = None) -> Any:
        """Draw the loss over the learning rate, with the suggestion; returns the figure."""
        ax = drawing.axes(ax)
        ax.plot(self.lrs, self.losses, linewidth=0.8, alpha=0.4, color="C0")
        ax.plot(self.lrs, self.smoothed, linewidth=1.6, color="C0")
        if self.suggestion is not None:
            ax.axvline(self.suggestion, color="C1", linewidth=1)
            ax.set_title(f"suggestion: {self.suggestion:.2g}")
        ax.set(xscale="log", xlabel="lr", ylabel="loss", ylim=self.limits)
        return ax.figure

    def __repr__(self) -> str:
        suggestion = None if self.suggestion is None else float(f"{self.suggestion:.3g}")
        return (
            f"LRCurve({len(self.lrs)} steps from {self.lrs[0]:.3g} to {self.lrs[-1]:.3g}, "
            f"suggestion {suggestion})"
        )


def find_lr(
    learn: Learner, start: float, end: float, steps: int, callbacks: Iterable[Callback] = ()
) -> LRCurve:
    """Record the loss while the learning rate rises. See `lehr.Learner.find_lr`."""
    start, end, steps = _checked(start, end, steps)
    sweep = sched_exp(start, end)
    recorder = _SweepRecorder(sweep)
    drivers = [
        ParamScheduler(path, sched_exp(start * ratio, end * ratio), group=group)
        for path, group, ratio in _groups(learn.opt)
    ]
    others = [cb for cb in learn.callbacks if cb.drives]
    learn.rehearse(steps, [*drivers, recorder, *callbacks], without=others)
    if not recorder.losses:
        raise ValueError(
            "the loss must be a finite number before lr has moved anything; got "
            f"{recorder.bad} in the first batch. Look at the inputs, the targets and the model's "
            "weights."
        )
    return LRCurve(recorder.lrs, recorder.losses, suggest(recorder.lrs, recorder.losses))


def suggest(lrs: Sequence[float], losses: Sequence[float]) -> float | None:
    """The lowest learning rate at which the smoothed loss has made 95 % of its whole fall.

    Below it a step could still be longer; far above it the loss no longer falls and soon rises.
    The rule was chosen by the accuracies after whole trainings (LOG.md, ``bench/find_lr.py``).

    Args:
        lrs: rising.
        losses: as many; finite.

    Returns:
        One of ``lrs``; None if the mean around the lowest point is not below that of the first
        steps by more than four standard errors.

    Example:
        >>> rates = [10 ** (i / 10 - 5) for i in range(50)]
        >>> suggest(rates, [2.0 if lr < 1e-3 else 1.0 for lr in rates])
        0.00199...
        >>> suggest(rates, [1.0 for lr in rates]) is None
        True
    """
    if not losses:
        return None
    smoothed = smooth(losses, _WIDTH)
    lowest = min(range(len(smoothed)), key=smoothed.__getitem__)
    width = max(3, len(losses) // 8)
    first = losses[:width]
    low = losses[max(0, lowest - width // 2) :][:width]
    if statistics.fmean(first) - statistics.fmean(low) <= _SURE * _standard_error(first):
        return None
    level = smoothed[0] - _SHARE * (smoothed[0] - smoothed[lowest])
    return next(lr for lr, loss in zip(lrs, smoothed, strict=True) if loss <= level)


def _standard_error(losses: Sequence[float]) -> float:
    """Of the difference between two means of so many losses that scatter alike."""
    return statistics.pstdev(losses) * math.sqrt(2 / len(losses))


class _SweepRecorder(Callback):
    """Notes lr and loss of every step; ends the sweep when the loss has left for good."""

    phase = Phase.DECIDE

    def __init__(self, sweep: Any) -> None:
        self.sweep = sweep
        self.lrs: list[float] = []
        self.losses: list[float] = []
        self.bad: float | None = None

    def after_loss(self, run: "Run") -> None:
        """Read the loss; stop before a step that would be taken with one that is not finite.

        Of several processes it is the loss of all, so that they stop together.
        """
        losses = UnreadLosses(run.engine)
        losses.add_of(run, mean=True)
        for _, loss in losses.read():
            self._note(loss, run)

    def _note(self, loss: float, run: "Run") -> None:
        if not math.isfinite(loss):
            self.bad = loss
            raise CancelFit("the loss is not finite")
        self.lrs.append(self.sweep(run.pos))
        self.losses.append(loss)
        begin = statistics.fmean(self.losses[:_BEGIN])
        lately = statistics.median(self.losses[-_LATELY:])
        if len(self.losses) >= _BEGIN + _LATELY and lately > _DIVERGED * begin:
            raise CancelFit("the loss has diverged")


def _groups(opt: Any) -> list[tuple[str, int, float]]:
    """Path, number and share of the highest lr, of each parameter group."""
    groups = [
        (f"opt.{name}.lr" if name else "lr", number, _rate(one, number, group))
        for name, one in optimizers.by_name(opt).items()
        for number, group in enumerate(one.param_groups)
    ]
    highest = max(lr for _, _, lr in groups)
    return [
        (path, number, lr / highest if highest > 0 else 1.0)
        for path, number, lr in groups
        if lr > 0 or highest == 0
    ]


def _rate(opt: Any, number: int, group: Mapping[str, Any]) -> float:
    lr: Any = group.get("lr")
    if isinstance(lr, bool) or not (isinstance(lr, Real) or hasattr(lr, "item")):
        raise ValueError(
            f"find_lr raises the number lr of every parameter group; group {number} of "
            f"{type(opt).__name__} has {'no lr' if 'lr' not in group else f'lr={lr!r}'}. Give the "
            "optimizer a fixed lr; one that sets its own rate needs no search."
        )
    return float(lr)


def _checked(start: Any, end: Any, steps: Any) -> tuple[float, float, int]:
    start, end = real_number("start", start), real_number("end", end)
    if not 0 < start < end:
        raise ValueError(
            f"start and end must be learning rates with 0 < start < end; got {start} and {end}. "
            "Give e.g. start=1e-6, end=10."
        )
    return start, end, positive_int("steps", steps, least=10, example=100)
