"""Sets a number along a schedule."""

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lehr.callback import Callback
from lehr.errors import real_number
from lehr.events import Phase
from lehr.optim import optimizers
from lehr.optim.driven import Driven
from lehr.optim.slots import Slot, Slots, refuse_rivals
from lehr.schedules.algebra import PerGroup, Schedule

if TYPE_CHECKING:
    from lehr.loop.run import Run


class ParamScheduler(Callback):
    """Sets a number, such as the learning rate, to ``schedule(run.pos)`` before every step.

    The position ``run.pos`` is the share of the run's steps that are done: the first step uses
    ``schedule(0)``, the last of N ``schedule((N-1)/N)``. Within an update window nothing changes.
    When the fit ends, the old values are put back. The values that were set are in the history.

    Args:
        name: a hyper-parameter of the optimizer's groups (``"lr"``, ``"weight_decay"``,
            ``"momentum"``, which is the first beta where there are betas), or the path of any
            number: ``"model.2.p"``, ``"callbacks.mix_up.alpha"``; with several optimizers
            ``"opt.generator.lr"``. Where a whole number is at the end of a path, such as
            ``"callbacks.accumulate.batches"``, whole values stay whole: see `Schedule.rounded`. A
            number of the data, such as ``"data.train_dl.batch_size"``, is set at the beginning of
            each epoch only.
        schedule: a function from position in [0, 1] to a value. A schedule of `lehr.schedules` is
            computed up to 256 steps ahead; any other function is called before each step. One that
            is made by ``per_group`` has a factor for each group.
        group: number of the only parameter group to set; None sets all. A group that is added
            during the fit is taken along.
        relative: with True, the schedule is a factor: each group gets its own value, the one that
            it had before the fit or when it was added, times ``schedule(run.pos)``. With False, all
            groups get the same value. By default they do as well, and a warning says so if their
            own values differ.

    Raises:
        TypeError: ``schedule`` cannot be called, or ``relative`` is neither True, False nor None.
        ValueError: ``schedule`` is only a phase of one, or has factors for groups that ``name`` or
            ``group`` leave out; at the start of a fit, if nothing has that name, it is no number,
            another callback drives it, under this or another name, or the groups are more or fewer
            than the factors; at the first batch, if the length of the fit is unknown.

    Example:
        >>> from lehr.schedules import sched_lin
        >>> from lehr.testing import tiny_learner
        >>> run = tiny_learner().fit(1, callbacks=[ParamScheduler("lr", sched_lin(0.4, 0.0))])
        >>> [round(lr, 2) for lr in run.history["lr"]]
        [0.4, 0.3, 0.2, 0.1]
        >>> halved = ParamScheduler("lr", sched_lin(1.0, 0.5), relative=True)
        >>> [round(lr, 4) for lr in tiny_learner().fit(1, callbacks=[halved]).history["lr"]]
        [0.1, 0.0875, 0.075, 0.0625]
    """

    phase = Phase.PREPARE
    evaluates = True  # a rehearsal trains as the fit would
    state = ("driven",)  # what is set is a function of the position
    by_length = True
    plans = True

    def __init__(
        self,
        name: str,
        schedule: Callable[[float], float],
        *,
        group: int | None = None,
        relative: bool | None = None,
    ) -> None:
        self.slots = Slots(name, group)
        self.slots.check("name")
        self.drives = (self.slots,)
        if not callable(schedule):
            raise TypeError(
                f"schedule must be a function of position; got {schedule!r}. "
                f'Write e.g. ParamScheduler("{name}", sched_cos(0.1, 0.001)).'
            )
        if relative not in (True, False, None):
            raise TypeError(
                f"relative must be True or False; got {relative!r}. With relative=True the "
                "schedule is a factor of each group's own value."
            )
        self._in_data = self.slots.in_data
        self._curve, self._factors = self._taken_apart(schedule)
        self.param = name
        self.schedule = schedule
        self.group = group
        self.relative = relative
        label = self.slots.label
        self._label = None if label == "lr" else label  # the recorder writes the column lr

    def _taken_apart(
        self, schedule: Callable[[float], float]
    ) -> tuple[Callable[[float], float], tuple[float, ...] | None]:
        """What all groups share, and the factor of each, if there are any."""
        parts = schedule.function if isinstance(schedule, Schedule) else None
        if not isinstance(parts, PerGroup):
            if isinstance(schedule, Schedule):
                schedule(0.0)  # an error if it is only a phase
            return schedule, None
        if self.slots.group is not None or not self.slots.in_groups:
            raise ValueError(
                f"the schedule has {len(parts.factors)} factors for parameter groups, but "
                f"{self.slots.label} is one number. Leave per_group out, or group=."
            )
        return parts.schedule, parts.factors

    def begin_fit(self, run: "Run") -> None:
        """Find what to drive, and see that it is a number and nobody else's."""
        slots = self.slots.numbers(run, "follow a schedule")
        refuse_rivals(run, self)
        self.driven = Driven(slots, kept=self.slots.in_groups)
        run.defer(self.driven.put_back)
        self._of_each(slots)
        if self.relative is None and self._factors is None and run.plan.trains:
            self._warn_of_levelling(slots)

    def _warn_of_levelling(self, slots: list[Slot]) -> None:
        own = dict.fromkeys(float(self.driven.before(slot)) for slot in slots)
        if len(own) > 1:
            warnings.warn(
                f"the parameter groups have {self.param} {', '.join(f'{v:g}' for v in own)}, and "
                f"the schedule sets all of them to one value. Give relative=True to multiply each "
                "group's own value by the schedule, group= to choose one group, or relative=False "
                "if one value is meant.",
                stacklevel=2,
            )

    def _of_each(self, slots: list[Slot]) -> list[float]:
        """The factor of each place."""
        own = [float(self.driven.before(slot)) if self.relative else 1.0 for slot in slots]
        if self._factors is None:
            return own
        if len(self._factors) != len(slots):
            raise ValueError(
                f"the schedule of {self.param} has factors for {len(self._factors)} parameter "
                f"groups, {list(self._factors)}, but there are {len(slots)}. Give one for each."
            )
        return [a * b for a, b in zip(own, self._factors, strict=True)]

    def begin_epoch(self, run: "Run") -> None:
        """Set a number of the data, which are read from here on."""
        self._setters: list[Callable[[float], Any]] = []
        self._sizes: list[int] | None = None
        self._values: list[float] = []
        self._first = run.n_steps
        self._opts = optimizers.each(run.opt) if self.slots.in_groups else []
        if self._in_data:
            self._look_up(run)
            self._set(run)

    def begin_train(self, run: "Run") -> None:
        """Take along what was added; a state may still be loaded before the first batch."""
        self.driven.follow(self.slots.find(run))
        run.defer(self._setters.clear)

    def _look_up(self, run: "Run") -> None:
        slots = list(self.slots.find(run))
        self.driven.follow(slots)
        factors = self._of_each(slots)
        scaled = self.relative or self._factors is not None
        self._setters[:] = [
            _times(slot.setter(), factor) if scaled else slot.setter()
            for slot, factor in zip(slots, factors, strict=True)
        ]
        self._own = factors[-1]
        self._sizes = [len(opt.param_groups) for opt in self._opts]

    def begin_batch(self, run: "Run") -> None:
        """Set the value, at the first batch of an update window."""
        if not run.training or run.window.batches:
            return
        if self._in_data:
            run.log(self.param, float(next(self.slots.find(run)).get()))
            return
        if [len(opt.param_groups) for opt in self._opts] != self._sizes:
            self._look_up(run)
        value = self._set(run)
        if self._label is not None:
            run.log(self._label, value * self._own)

    def _set(self, run: "Run") -> float:
        ahead = run.n_steps - self._first
        if not 0 <= ahead < len(self._values):  # a run may go back to an earlier step
            self._evaluate(run)
            ahead = 0
        value = self._values[ahead]
        for set_to in self._setters:
            set_to(value)
        return value

    def _evaluate(self, run: "Run") -> None:
        # A Schedule is pure, so many values can be had at once, where one by one would cost a step
        # four times as much. Any other function may look at the clock.
        many = 256 if isinstance(self._curve, Schedule) else 1
        self._first, now, planned = run.n_steps, run.pos, run.planned_steps or 1
        later = range(self._first + 1, min(self._first + many, planned))
        positions = [now, *(step / planned for step in later)]
        self._values = [real_number("schedule(pos)", self._curve(pos)) for pos in positions]

    def __repr__(self) -> str:
        group = "" if self.group is None else f", group={self.group}"
        relative = "" if self.relative is None else f", relative={self.relative}"
        return f"ParamScheduler({self.param!r}, {self.schedule!r}{group}{relative})"


def _times(set_to: Callable[[float], Any], own: float) -> Callable[[float], Any]:
    """A setter that takes a factor of a group's own value."""
    return lambda factor: set_to(factor * own)
