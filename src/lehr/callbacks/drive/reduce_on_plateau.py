"""Makes a hyper-parameter smaller when the fit no longer gets better."""

from typing import TYPE_CHECKING

from lehr.callback import Callback
from lehr.errors import positive_int, real_number
from lehr.events import Phase
from lehr.optim.driven import Driven
from lehr.optim.slots import Slots, refuse_rivals
from lehr.record.monitor import Mode, Monitor

if TYPE_CHECKING:
    from lehr.loop.run import Run


class ReduceOnPlateau(Callback):
    """Multiplies a parameter by ``factor`` when a column of the history stopped getting better.

    Every row is judged once, when it is finished, as by `EarlyStopping`. After more than
    ``patience`` values in a row that were not better, each place of the parameter becomes
    ``max(value * factor, lowest)``, so parameter groups keep their ratio; one that is at ``lowest``
    or below stays. When the fit ends the old values are put back, as those of a schedule are. A new
    fit starts anew.

    The learning rate of every batch is in the history anyway. Any other parameter gets a column in
    the rows, under its name: the value that the row's batches were trained with (of the last
    parameter group).

    Args:
        monitor: the column: ``"valid_loss"``, ``"train_loss"``, a metric, or whatever a callback
            logs outside of batches.
        factor: what to multiply by; above 0 and below 1.
        patience: how many values in a row may fail to be better before that; at least 0.
        min_delta: a value counts as better if it is by more than this; at least 0.
        mode: whether ``"min"`` or ``"max"`` is better; None takes what the
            name tells: min for a loss or an error, max for an accuracy or an f1.
        cooldown: how many values after a reduction are not counted against it; at least 0.
        lowest: the parameter is made no smaller than this.
        param: a hyper-parameter of the optimizer's groups, or the path of any number, as in
            `ParamScheduler`.
        group: number of the one parameter group; None takes all.

    Attributes:
        best: the last value that was better than those before; None if there was none.
        waited: how many values in a row were not better.
        reductions: how often the parameter was made smaller.

    Raises:
        TypeError, ValueError: an argument cannot be used; at the start of a fit, if nothing of that
            name is there, it is no number, or another callback drives it; before training or after
            the first validation, if the history has no column ``monitor``.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> reduce = ReduceOnPlateau(patience=0, min_delta=0.05)
        >>> run = tiny_learner().fit(4, callbacks=[reduce])
        >>> [round(lr, 4) for lr in run.recorder.lrs[::4]], reduce.reductions
        ([0.1, 0.1, 0.01, 0.001], 3)
    """

    phase = Phase.DECIDE
    state = ("best", "waited", "judged", "cooling", "reductions", "driven")
    by_length = False
    best: float | None

    def __init__(
        self,
        monitor: str = "valid_loss",
        *,
        factor: float = 0.1,
        patience: int = 2,
        min_delta: float = 0.0,
        mode: Mode | None = None,
        cooldown: int = 0,
        lowest: float = 0.0,
        param: str = "lr",
        group: int | None = None,
    ) -> None:
        self.monitor = Monitor(monitor, mode, min_delta)
        self.monitors = (self.monitor.name,)
        self.factor = real_number("factor", factor)
        if not 0 < self.factor < 1:
            raise ValueError(
                f"factor must be above 0 and below 1; got {factor}. Give e.g. factor=0.1."
            )
        self.patience = positive_int("patience", patience, least=0, example=2)
        self.cooldown = positive_int("cooldown", cooldown, least=0, example=0)
        self.lowest = real_number("lowest", lowest)
        self.slots = Slots(param, group)
        self.slots.check("param")
        self.drives = (self.slots,)
        self._logs = self.slots.label != "lr"  # the recorder has the series lr

    def begin_fit(self, run: "Run") -> None:
        """Find the parameter; check that it is a number, and that no other callback drives it."""
        self.best = None
        self.waited = self.judged = self.cooling = self.reductions = 0
        slots = self.slots.numbers(run, "be reduced")
        refuse_rivals(run, self)
        self.driven = Driven(slots, kept=self.slots.in_groups)
        run.defer(self.driven.put_back)

    def after_validate(self, run: "Run") -> None:
        """Judge a row that ends in the middle of an epoch."""
        self._judge(run)

    def after_epoch(self, run: "Run") -> None:
        """Judge the epoch's row."""
        self._judge(run)

    def _judge(self, run: "Run") -> None:
        before = self.judged
        self.judged, values = self.monitor.judge(run, self.judged)
        if self._logs and self.judged > before:
            run.log(self.slots.label, float(list(self.slots.find(run))[-1].get()))
        for _, value in values:
            if self.monitor.better(value, self.best):
                self.best, self.waited = value, 0
            else:
                self.waited += 1
            if self.cooling:
                self.cooling, self.waited = self.cooling - 1, 0
            if self.waited > self.patience:
                self._reduce(run)
                self.waited, self.cooling = 0, self.cooldown

    def _reduce(self, run: "Run") -> None:
        reduced = False
        slots = list(self.slots.find(run))  # anew: a group may have been added
        self.driven.follow(slots)
        for slot in slots:
            value = float(slot.get())
            if (smaller := max(value * self.factor, self.lowest)) < value:
                slot.setter()(smaller)
                reduced = True
        self.reductions += reduced

    def __repr__(self) -> str:
        return (
            f"ReduceOnPlateau({self.monitor.name!r}, factor={self.factor:g}, "
            f"patience={self.patience}, param={self.slots.label!r})"
        )
