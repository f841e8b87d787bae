"""Records loss and learning rate of every batch, and losses and seconds of every epoch."""

import sys
from collections.abc import Mapping, Sequence
from math import nan
from time import perf_counter
from types import NoneType
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor
from torch.optim import Optimizer

from lehr.base import drawing
from lehr.callback import Callback
from lehr.engine import ALONE, Engine
from lehr.errors import did_you_mean
from lehr.events import Cancel, Phase
from lehr.optim import optimizers
from lehr.record.history import column
from lehr.record.means import Mean, as_tensor, kept, packed, unpacked
from lehr.record.merging import merged, over_all
from lehr.record.part_means import PartMeans

if TYPE_CHECKING:
    from lehr.loop.run import Run

_SECONDS = 5.0  # after which several processes tell each other their losses


class Recorder(Callback):
    """Records losses, learning rates and times in `run.history`, and plots them.

    Every fit has one, as `run.recorder`; you need not attach it. It records ``loss`` and ``lr`` (of
    the last parameter group) for each training batch. For each epoch or validation it records
    ``epoch``, ``step``, ``train_loss`` (the mean over the training items since the row before,
    while the weights were changing), ``valid_loss`` and ``seconds``. Losses are weighted by items.
    If the loss has named parts, each is recorded in the same way: ``kl`` for each training batch,
    ``train_kl`` and ``valid_kl`` in the rows.
    The loss of a pass that was cut short is None. Nothing here waits for a device. What is recorded
    by batch takes bounded memory; every epoch or validation adds a row.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> run = tiny_learner().fit(2)
        >>> run.history["epoch"], len(run.recorder.losses), len(run.recorder.lrs)
        ([0, 1], 8, 8)
    """

    phase = Phase.MEASURE
    looks_on = True
    state = ("unfinished",)
    by_length = False
    _engine: Engine = ALONE

    def begin_fit(self, run: "Run") -> None:
        """Take the run's history as the place to write to."""
        run.recorder = self
        self.history, self._engine = run.history, run.engine
        self.history.meta.update(seed=run.seed)
        self._train, self._valid, self._in_train = Mean(), Mean(), False
        self._train_parts, self._valid_parts = PartMeans(), PartMeans()
        self._lr: Any = None  # that of the batch under way, once it was read
        self._start = perf_counter()
        self._gathered: list[tuple[int, float | Tensor, float, Any]] = []
        self._written = 0  # how many of them are in the history, as means over all processes
        self._validated: list[tuple[int, float | None]] = []
        self.history.before_read.append(self._write_gathered)
        self.history.before_kept.append(self._merge)
        if run.engine.world > 1:
            self.history.complete, self._due = 0, run.engine.clock(run) + _SECONDS
        run.defer(self._end)

    def _end(self) -> None:
        self._fold(ALONE)  # of several processes, another may have failed
        self._start = nan  # between fits, no time is counted
        self.history.complete = sys.maxsize
        self.history.before_read.remove(self._write_gathered)
        self.history.before_kept.remove(self._merge)

    def _merge(self) -> None:
        """Let the first process have gathered everything, and the others nothing."""
        self._fold()
        self._train_parts.merge(self._engine)
        self._leave_to_first()

    def _leave_to_first(self) -> None:
        if self._engine.rank:
            self._train_parts.restart()
            for number in range(self._written, len(self._gathered)):
                batch, loss, _, lr = self._gathered[number]
                self._gathered[number] = batch, loss, 0.0, lr

    def begin_epoch(self, run: "Run") -> None:
        """Start a row."""
        if run.engine.world > 1:
            run.defer(self._keep_own)
        self._start = perf_counter()
        columns = ["train_loss", *(f"train_{part}" for part in self._train_parts.names)]
        for name in run.valid_names:
            columns += [
                column(f"valid_{what}", name) for what in ("loss", *self._valid_parts.names)
            ]
        none = dict.fromkeys(columns)  # stays None if the pass is cut short
        self.history.open_row(epoch=run.epoch, step=run.n_steps, **none)

    def _keep_own(self) -> None:
        """After an error, write the losses that the processes can tell each other no more.

        They are those of this process. An epoch ends before the fit, so logs that write to the last
        moment have them.
        """
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, Cancel):
            self._fold(ALONE)

    def begin_train(self, run: "Run") -> None:
        """Forget the losses of the epoch before."""
        self._fold()
        self._train, self._in_train, self._lr = Mean(), True, None
        self._train_parts.restart()

    def after_backward(self, run: "Run") -> None:
        """Read the rate that the step will use: a schedule may move on before the batch ends."""
        opt = run.opt if isinstance(run.opt, Optimizer) else optimizers.each(run.opt)[-1]
        lr = opt.param_groups[-1].get("lr")
        self._lr = kept(lr) if isinstance(lr, Tensor) else lr

    def after_batch(self, run: "Run") -> None:
        """Keep the loss of the batch, unless it was cancelled before there was one."""
        loss = run.loss
        if loss is None:
            return
        loss = loss if run.window.loss_is_mean else run.mean_loss
        if run.loss_parts is not None:
            self._add_parts(run)
        if not run.training:
            self._valid.add(loss, run.weight)
            return
        if self._lr is None:  # the batch was cancelled, or replaced, before it came to a gradient
            self.after_backward(run)
        self._gathered.append((run.n_iter - 1, kept(loss), run.weight, self._lr))
        self._lr = None
        if len(self._gathered) == 256:
            self._fold()
        elif self._engine.world > 1 and (now := self._engine.clock(run)) >= self._due:
            self._write_shared(self._engine)
            self._due = now + _SECONDS

    def _add_parts(self, run: "Run") -> None:
        """Count the parts of a loss; those of a training batch are written at once."""
        parts = run.loss_parts
        if run.weight and not run.window.loss_is_mean:
            parts = {name: part / run.weight for name, part in parts.items()}
        (self._train_parts if run.training else self._valid_parts).add(parts, run.weight)
        if run.training:
            for name, part in parts.items():
                self.history.log_step(name, part, batch=run.n_iter - 1)

    def _write_gathered(self) -> None:
        if self._engine.world > 1:
            return  # one process alone may be reading
        if self._written < len(self._gathered):
            batches, losses, _, lrs = zip(*self._gathered[self._written :], strict=True)
            self._write(batches, as_tensor(losses), lrs)
            self._written = len(self._gathered)

    def _write_shared(self, engine: Engine) -> None:
        """Make losses that are not written yet the means over all processes, and write them."""
        if self._written < len(self._gathered):
            batches, losses, weights, lrs = zip(*self._gathered[self._written :], strict=True)
            values, weights = over_all(engine, as_tensor(losses), weights)
            self._write(batches, values, lrs)
            shared = zip(batches, cast("list[float]", values.tolist()), weights, lrs, strict=True)
            self._gathered[self._written :] = shared
            self._written = len(self._gathered)
            self.history.complete = batches[-1] + 1

    def _write(self, batches: Sequence[int], losses: Tensor, lrs: Sequence[Any]) -> None:
        if batches:
            self.history.log_steps("loss", batches, losses)
        if NoneType in set(map(type, lrs)):
            known = [(batch, lr) for batch, lr in zip(batches, lrs, strict=True) if lr is not None]
            batches, lrs = zip(*known, strict=True) if known else ((), ())
        if lrs:
            self.history.log_steps("lr", batches, lrs)

    def _fold(self, engine: Engine | None = None) -> None:
        # Many at a time: the device is asked for less, and the step keeps its place in the cache.
        # The mean's bits hang on what is summed together, so no reader may choose the moment.
        if not self._gathered:
            return
        if self._engine.world > 1:
            self._write_shared(engine or self._engine)
        batches, losses, weights, lrs = zip(*self._gathered, strict=True)
        values, new = as_tensor(losses), self._written
        self._write(batches[new:], values[new:], lrs[new:])
        self._train.add_all(values, weights)
        self._gathered, self._written = [], 0

    @property
    def unfinished(self) -> dict[str, Any]:
        """What is in no row or series of the history yet, and the seconds that the row has taken.

        A run that goes on from it writes the same numbers; its clock goes on, too.
        """
        columns = list(zip(*self._gathered, strict=True)) or [(), (), (), ()]
        batches, losses, weights, lrs = columns
        return {
            "rank": self._engine.rank,
            "in_train": self._in_train,
            "seconds": perf_counter() - self._start,
            "train": self._train.state_dict(),
            "parts": self._train_parts.state_dict(),
            "valid_parts": self._valid_parts.names,
            "validated": list(self._validated),
            "batches": list(batches),
            "losses": packed(losses),
            "weights": packed(weights),
            "lrs": packed(lrs),
            "written": self._written,
        }

    @unfinished.setter
    def unfinished(self, unfinished: Mapping[str, Any]) -> None:
        self._in_train, self._written = unfinished["in_train"], unfinished["written"]
        self._start = perf_counter() - unfinished["seconds"]
        self._train = Mean()
        self._train.load_state_dict(unfinished["train"])
        self._train_parts, self._valid_parts = PartMeans(), PartMeans()
        self._train_parts.load_state_dict(unfinished["parts"])
        self._valid_parts.names = unfinished["valid_parts"]
        self._validated = [tuple(point) for point in unfinished["validated"]]
        columns = [unpacked(unfinished[name]) for name in ("losses", "weights", "lrs")]
        self._gathered = list(zip(unfinished["batches"], *columns, strict=True))
        if unfinished.get("rank", 0) != self._engine.rank:
            self._leave_to_first()

    def after_train(self, run: "Run") -> None:
        """Write the training loss."""
        self._in_train = False
        self._write_train(run)

    def _write_train(self, run: "Run") -> None:
        self._fold()
        if self._train.weight:
            self.history.log_row("epoch", run.epoch)
            self.history.log_row("step", run.n_steps)
            self.history.log_row("train_loss", self._train.value)
            self._train_parts.merge(self._engine)
            for name, value in self._train_parts.values().items():
                self.history.log_row(f"train_{name}", value)

    def begin_validate(self, run: "Run") -> None:
        """Count from nothing; in the middle of an epoch, write the training loss so far."""
        self._valid = Mean()
        self._valid_parts.restart()
        if self._in_train:
            self._write_train(run)
            self._train = Mean()
            self._train_parts.restart()

    def after_validate(self, run: "Run") -> None:
        """Write the validation loss; in the middle of an epoch, the row ends with it."""
        self._merge_validation()
        self.history.log_row(column("valid_loss", run.valid_name), self._valid.value)
        for name, value in self._valid_parts.values().items():
            self.history.log_row(column(f"valid_{name}", run.valid_name), value)
        if run.valid_name == run.valid_names[0]:
            self._validated.append((run.n_iter, self._valid.value))
        if self._in_train and run.valid_name == run.valid_names[-1]:
            self.history.log_row("seconds", perf_counter() - self._start)
            run.defer(self.history.close_row)

    def _merge_validation(self) -> None:
        """Make everything that was averaged in a validation that of all processes, in one go."""
        if self._engine.world == 1:
            return
        groups = {"loss": {"": self._valid}, "part": self._valid_parts.means}
        groups["row"] = self.history.row_means
        means = {f"{kind} {n}": mean for kind, group in groups.items() for n, mean in group.items()}
        for name, mean in merged(means, self._engine).items():
            kind, _, name = name.partition(" ")
            groups[kind][name] = mean
        self._valid = groups["loss"][""]
        self._valid_parts.means = groups["part"]
        self.history.row_means = groups["row"]

    def after_epoch(self, run: "Run") -> None:
        """Write how long it took, validation included."""
        self._in_train = False
        self._write_time(run)

    def after_fit(self, run: "Run") -> None:
        """Complete the row of an epoch that was cut short."""
        self._fold()
        self._write_time(run)

    def _write_time(self, run: "Run") -> None:
        if self.history.row_is_open:
            self.history.log_row("step", run.n_steps)
            self.history.log_row("seconds", perf_counter() - self._start)
            run.defer(self.history.close_row)

    @property
    def losses(self) -> list[float]:
        """The training loss of every batch."""
        return self._values("loss")

    @property
    def lrs(self) -> list[float]:
        """The learning rate that every training batch used."""
        return self._values("lr")

    def _values(self, name: str) -> list[float]:
        series = self.history.series.get(name)
        return [] if series is None else series.values

    def plot_loss(self, ax: Any = None) -> Any:
        """Draw the training loss by batch, and the validation loss where it was taken.

        Args:
            ax: matplotlib axes to draw on; None makes new ones.

        Returns:
            The matplotlib figure.
        """
        figure = self.plot("loss", ax=ax)
        known = [(batch, loss) for batch, loss in self._validated if loss is not None]
        if known:
            ax = figure.axes[0] if ax is None else ax
            batches, losses = zip(*known, strict=True)
            ax.plot(batches, drawing.drawable(losses), "o-", markersize=4)
            ax.legend(["training", "validation"])
        return figure

    def plot_lr(self, ax: Any = None) -> Any:
        """Draw the learning rate by batch; returns the matplotlib figure."""
        return self.plot("lr", ax=ax)

    def plot(self, name: str, ax: Any = None) -> Any:
        """Draw any recorded series by training batch.

        Args:
            name: of a series of the history, for example ``"momentum"`` if it was scheduled.
            ax: matplotlib axes to draw on; None makes new ones.

        Returns:
            The matplotlib figure.

        Raises:
            KeyError: nothing of that name was recorded by batch.
        """
        series = self.history.series
        if name not in series:
            hint = did_you_mean(name, series) if series else "Nothing was recorded yet."
            raise KeyError(f"the recorder has no series {name!r}. {hint}")
        ax = drawing.axes(ax)
        ax.plot(series[name].batches, drawing.drawable(series[name].values), linewidth=1)
        ax.set(xlabel="training batch", ylabel=name)
        return ax.figure
