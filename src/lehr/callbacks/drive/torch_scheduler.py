"""Drives hyper-parameters by a scheduler of PyTorch's, or by one of another package."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from lehr.callback import Callback
from lehr.errors import did_you_mean
from lehr.events import Phase
from lehr.optim import optimizers
from lehr.optim.schedulers import Scheduler, Schedulers
from lehr.optim.slots import Slots, refuse_rivals
from lehr.record.monitor import Monitor

if TYPE_CHECKING:
    from lehr.loop.run import Run


class TorchScheduler(Callback):
    """Steps a scheduler that was made elsewhere, such as any of ``torch.optim.lr_scheduler``.

    The scheduler is made when the fit begins, and sets the first rate then, as in a loop of your
    own. It steps after every optimizer step, or at the end of every epoch; where no step was made,
    it does not step. Its state is saved in checkpoints. When the fit ends, the old values are put
    back, as after a `ParamScheduler`; a new fit makes a new scheduler.

    Anything that has ``step``, ``state_dict`` and ``load_state_dict`` will do. If its ``step``
    needs an epoch (as that of timm's schedulers does), it gets the number of epochs that are over;
    ``step_update``, if there is one, gets the number of steps.

    Args:
        make: ``optimizer -> scheduler``; it makes a new one, for the optimizer that it is given.
        every: ``"step"`` or ``"epoch"``: when it steps. It must be what the numbers that you gave
            to the scheduler count.
        monitor: a column of the history whose value is handed to the scheduler at the end of each
            epoch, for ``ReduceLROnPlateau`` and the like, whatever their ``step`` calls it. An
            epoch without such a value is left out.
        opt: name of the only optimizer to drive, where there are several; by default ``make`` is
            called for each.

    Raises:
        TypeError, ValueError: an argument cannot be used; at the start of a fit, if the scheduler
            cannot be made or stepped, or if another callback drives what it drives.

    Example:
        >>> from torch.optim.lr_scheduler import ExponentialLR
        >>> from lehr.testing import tiny_learner
        >>> halve = TorchScheduler(lambda opt: ExponentialLR(opt, 0.5), "step")
        >>> tiny_learner().fit(1, callbacks=[halve]).history["lr"]
        [0.1, 0.05, 0.025, 0.0125]
    """

    phase = Phase.DECIDE  # it needs the finished row
    evaluates = True  # a rehearsal trains as the fit would
    state = ("schedulers", "judged")
    by_length = True

    def __init__(
        self,
        make: Callable[[Any], Any],
        every: Literal["step", "epoch"],
        *,
        monitor: str | None = None,
        opt: str | None = None,
    ) -> None:
        made_outside = hasattr(make, "load_state_dict") and not isinstance(make, type)
        if made_outside or not callable(make):
            raise TypeError(
                f"make must be a function from an optimizer to a scheduler; got {make!r}. Write "
                'e.g. TorchScheduler(lambda opt: StepLR(opt, 30), "epoch").'
            )
        if every not in ("step", "epoch"):
            raise ValueError(
                f'every must be "step" or "epoch"; got {every!r}. Say when the scheduler steps.'
            )
        if monitor is not None and every == "step":
            raise ValueError(
                f"monitor={monitor!r} has a value at the end of an epoch, not at every step. Write "
                'every="epoch".'
            )
        self.make = make
        self.every = every
        self.monitor = None if monitor is None else Monitor(monitor, "min")
        self.monitors = () if monitor is None else (monitor,)
        self.opt = opt
        self.plans = monitor is None
        self.drives = (Slots(self._path(opt or "", "lr")),)

    @staticmethod
    def _path(opt: str, param: str) -> str:
        return f"opt.{opt}.{param}" if opt else param

    def begin_fit(self, run: "Run") -> None:
        """Make the scheduler; check that no other callback drives what it drives."""
        self.judged = 0
        self._logged: list[Slots] = []
        if not run.plan.trains:
            return
        self.schedulers = Schedulers()
        run.defer(self.schedulers.close)
        for name, opt in self._chosen(run).items():
            self.schedulers.by_name[name] = Scheduler(
                self.make, opt, self.every, monitor=self.monitor is not None
            )
        paths = [
            self._path(name, param)
            for name, scheduler in self.schedulers.by_name.items()
            for param in scheduler.names
        ]
        self.drives = tuple(Slots(path) for path in paths)
        refuse_rivals(run, self)
        # the recorder has the series lr
        self._logged = [slots for slots in self.drives if slots.param.rpartition(".")[2] != "lr"]

    def _chosen(self, run: "Run") -> dict[str, Any]:
        opts = optimizers.by_name(run.opt)
        if self.opt is None:
            return opts
        if self.opt not in opts:
            named = [name for name in opts if name]
            raise ValueError(
                f"opt={self.opt!r} is no optimizer of this Learner. "
                f"{did_you_mean(self.opt, named) if named else 'It has one; leave opt out.'}"
            )
        return {self.opt: opts[self.opt]}

    def begin_batch(self, run: "Run") -> None:
        """Record what the step will use, besides lr."""
        if self._logged and run.training and not run.window.batches:
            for slots in self._logged:
                run.log(slots.param, float(list(slots.find(run))[-1].get()))

    def after_step(self, run: "Run") -> None:
        """Step, if it steps after every optimizer step."""
        if self.every == "step":
            self.schedulers.step(run.n_steps)

    def after_epoch(self, run: "Run") -> None:
        """Step, if it steps at the end of every epoch."""
        if self.every == "step":
            return
        value = None
        if self.monitor is not None:
            self.judged, values = self.monitor.judge(run, self.judged)
            if not values:
                return
            value = values[-1][1]
        if run.n_steps > run.epoch_steps:
            self.schedulers.step(run.epoch + 1, value)

    def __repr__(self) -> str:
        monitor = "" if self.monitor is None else f", monitor={self.monitor.name!r}"
        opt = "" if self.opt is None else f", opt={self.opt!r}"
        name = getattr(self.make, "__name__", repr(self.make))
        return f"TorchScheduler({name}, {self.every!r}{monitor}{opt})"
