"""Adds hyper-parameters that move: the callbacks that follow schedules and record what was used."""

from typing import Any

from lehr.foundations.runner import Callback
from lehr.foundations.schedules import (
    Curve,
    Schedule,
    annealer,
    combine_scheds,
    cos_1cycle_anneal,
    sched_cos,
    sched_exp,
    sched_lin,
    sched_no,
)

__all__ = ["Curve", "ParamScheduler", "Recorder", "Schedule", "annealer", "combine_scheds"]
__all__ += ["cos_1cycle_anneal", "sched_cos", "sched_exp", "sched_lin", "sched_no"]


class Recorder(Callback):
    """Keeps learning rate (of the last group) and loss of every training batch, to be plotted."""

    def begin_fit(self) -> None:
        """Start anew."""
        self.lrs, self.losses = list[float](), list[float]()

    def after_loss(self) -> None:
        """Record what this batch uses: numbers, without graph."""
        if self.in_train:
            self.lrs.append(float(self.opt.param_groups[-1]["lr"]))
            self.losses.append(self.loss.item())

    def plot_lr(self, ax: Any = None) -> Any:
        """Draw the learning rate of every training batch; gives matplotlib's axes."""
        return _plot(self.lrs, "learning rate", ax)

    def plot_loss(self, ax: Any = None) -> Any:
        """Draw the loss of every training batch; gives matplotlib's axes."""
        return _plot(self.losses, "training loss", ax)


def _plot(values: list[float], name: str, ax: Any) -> Any:
    import matplotlib.pyplot as plt  # where it is used: nothing else needs it

    ax = plt.subplots()[1] if ax is None else ax
    ax.plot(values)
    ax.set(xlabel="training batch", ylabel=name)
    return ax


class ParamScheduler(Callback):
    """Sets ``pname`` in every group, before every training batch, to ``sched_func(position)``."""

    _order = 1  # after the counter

    def __init__(self, pname: str, sched_func: Curve) -> None:
        self.pname, self.sched_func = pname, sched_func

    def begin_fit(self) -> None:
        """See that every group has it; a misspelt name would only be added."""
        if not all(self.pname in group for group in self.opt.param_groups):
            raise ValueError(f"pname must be in all groups; got {self.pname!r}. Check its name.")

    def begin_batch(self) -> None:
        """Set it for the share of the fit that is done, which stays below 1."""
        if self.in_train:
            for group in self.opt.param_groups:
                group[self.pname] = self.sched_func(self.n_epochs / self.epochs)
