"""Keeps the newest states of a run in memory, and goes back to one when the loss explodes."""

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from lehr.base.intervals import every as interval
from lehr.callback import Callback
from lehr.errors import above_zero, positive_int
from lehr.events import CancelBatch, Layer, Phase
from lehr.loop.inventory import entry_name
from lehr.loop.past import entry_at
from lehr.loop.rests import Kept, Rest
from lehr.optim import optimizers
from lehr.record.unread import Place, UnreadLosses
from lehr.state.snapshot import capture

if TYPE_CHECKING:
    from lehr.loop.run import Run

_FEW = 10  # losses that are needed to say what is usual


class Rewind(Callback):
    """Goes back to an earlier state when the training loss spikes, and leaves out what led to it.

    A loss spikes if it is nan or infinite, or if it lies more than ``spike`` standard deviations
    above the mean of the last ``window`` losses. The run then goes back to a state that is at least
    ``back`` optimizer steps older, with everything: weights, optimizer, random generators, history.
    From there on the batches up to the one that spiked are skipped, and the learning rate of every
    optimizer is multiplied by ``lr_factor``, whatever drives it. A skipped batch makes no step, so
    a fit whose length is given in epochs makes fewer.

    `run.rewind(steps) <lehr.Run.rewind>` goes back to these states by hand, without skipping.

    States are copies in memory, each as large as a checkpoint; a `Checkpoint` saves them as well,
    so that a resumed run goes back as the one that was not stopped. Each time that the run went
    back is in `events`, and in ``run.history.meta["rewinds"]``.

    Args:
        every: how often a state is kept, in ``"steps"`` or ``"epochs"``.
        keep: how many of the newest are kept; at least 1.
        back: how many optimizer steps to go back at least; the oldest state is taken if none is so
            old. At least 1.
        spike: how many standard deviations are too much; None looks for nan and infinity alone.
        window: how many of the last losses tell what is usual; at least 10.
        lr_factor: what the learning rate is multiplied by each time; above 0.
        limit: how often the run may go back; the next spike is an error. At least 1.
        check_every: after how many batches the losses are read; reading waits for an accelerator.

    Attributes:
        events: each time that the run went back: its ``loss``, at which ``step``, ``epoch`` and
            ``batch``, and ``to`` which step.

    Raises:
        TypeError, ValueError: an argument cannot be used.
        FloatingPointError: in the fit, at the spike after the last allowed.

    Example:
        >>> import torch
        >>> from lehr.testing import tiny_learner
        >>> class Spoil(Callback):
        ...     def compute_loss(self, run, proceed):
        ...         proceed()
        ...         if run.training and (run.epoch, run.batch_index) == (1, 2):
        ...             run.loss = run.loss * torch.inf
        >>> rewind = Rewind(every="1 steps", keep=3, back=2)
        >>> run = tiny_learner().fit(3, callbacks=[rewind, Spoil()])
        >>> [(event["step"], event["to"]) for event in rewind.events], run.n_steps
        ([(6, 4)], 9)

    Reference:
        Chowdhery et al. 2022, arXiv:2204.02311, section 5.1: going back some 100 steps and skipping
        200 to 500 batches. What a spike is, and the lower rate, are not from there.
    """

    phase = Phase.DECIDE
    layer = Layer.TRANSFORM
    evaluates = False  # a rehearsal may diverge
    state = ("kept", "unread", "usual", "skipped", "lowered", "events")
    by_length = False

    def __init__(
        self,
        *,
        every: str = "10 steps",
        keep: int = 2,
        back: int = 10,
        spike: float | None = 6.0,
        window: int = 100,
        lr_factor: float = 1.0,
        limit: int = 5,
        check_every: int = 1,
    ) -> None:
        self.every = interval(every)
        self.keep = positive_int("keep", keep, example=2)
        self.back = positive_int("back", back, example=10)
        self.spike = None if spike is None else above_zero("spike", spike)
        self.window = positive_int("window", window, least=_FEW, example=100)
        self.lr_factor = above_zero("lr_factor", lr_factor)
        self.limit = positive_int("limit", limit, example=5)
        self.check_every = positive_int("check_every", check_every, example=1)
        self.events: list[dict[str, Any]] = []
        self.kept: list[dict[str, Any]] = []

    def begin_fit(self, run: "Run") -> None:
        """Know of nothing yet, and be there wherever the run rests."""
        self.kept = []
        self.unread = UnreadLosses(run.engine)
        self.usual: list[float] = []
        self.skipped: list[list[list[int]]] = []
        self.lowered: list[list[float]] = []
        self.events = []
        self._going_back = False
        run.at_rest(self._visit)
        run.defer(self._forget)
        run.history.before_kept.append(self.unread.merge)
        run.defer(partial(run.history.before_kept.remove, self.unread.merge))

    def _forget(self) -> None:
        self.kept, self.unread = [], UnreadLosses()

    def begin_batch(self, run: "Run") -> None:
        """Leave the batch out if it led to a spike."""
        here = [run.epoch, run.batch_index]
        if run.training and any(first <= here <= last for first, last in self.skipped):
            raise CancelBatch("it led to a spike")

    def after_loss(self, run: "Run") -> None:
        """Keep the loss, and read what was kept when it is time."""
        if self._going_back or not self.unread.add_of(run, mean=True):
            return
        if len(self.unread) >= self.check_every and self._spiked(run):
            raise CancelBatch("the loss spiked")

    def after_train(self, run: "Run") -> None:
        """Read the rest."""
        if not self._going_back:
            self._spiked(run)

    def step(self, run: "Run", proceed: Callable[[], None]) -> None:
        """Step with the lower rate."""
        factor = self._factor(run.n_steps)
        if factor == 1:
            return proceed()
        run.log("lr_factor", factor)
        groups = [group for opt in optimizers.each(run.opt) for group in opt.param_groups]
        rates = [(group, group["lr"]) for group in groups if "lr" in group]
        for group, lr in rates:
            group["lr"] = lr * factor
        try:
            proceed()
        finally:
            for group, lr in rates:
                group["lr"] = lr
        return None

    def nearest_state(self, run: "Run", step: int) -> Kept | None:
        """The last state that is kept with at most so many steps done."""
        states = [state for state in self.kept if state["step"] <= step]
        return self._as_kept(run, states[-1]) if states else None

    def _as_kept(self, run: "Run", state: dict[str, Any]) -> Kept:
        own = entry_name(self, run.callbacks)  # its own state stays as it is
        return Kept(state["step"], state["stage"], state["epoch"], state["snapshot"], [own])

    def _factor(self, step: int) -> float:
        """What the rate of this step is multiplied by."""
        factor = 1.0
        for since, lowered in self.lowered:
            if step >= since:
                factor *= lowered
        return factor

    def _visit(self, run: "Run", rest: Rest) -> None:
        if self._going_back:
            self._leave(run)
        # What is newer is of a past that the run went back from.
        self.kept = [state for state in self.kept if state["step"] <= run.n_steps]
        if self._due(run, rest) or not self.kept:
            if run.engine.world > 1:
                run.history.merge()
            older = [state for state in self.kept if state["step"] < run.n_steps]
            self.kept = [*older, self._taken(run, rest)][-self.keep :]

    def _due(self, run: "Run", rest: Rest) -> bool:
        number, unit = self.every
        if unit == "epochs":
            return rest.stage == "epoch" and rest.epoch % number == 0
        return rest.stage == "batch" and run.stepped and run.n_steps % number == 0

    def _taken(self, run: "Run", rest: Rest) -> dict[str, Any]:
        others = dict(run.state_entries())
        del others[entry_name(self, run.callbacks)]
        return {
            "step": run.n_steps,
            "stage": rest.stage,
            "epoch": rest.epoch,
            "batch": -1 if rest.stage == "epoch" else run.batch_index,
            "snapshot": capture(others),
        }

    def _spiked(self, run: "Run") -> bool:
        """Read what was kept; whether the run has to go back for it, which is then arranged."""
        for place, loss in self.unread.read():
            if self._is_spike(loss):
                self._arrange(run, place, loss)
                return True
            self.usual = [*self.usual, loss][-self.window :]
        return False

    def _is_spike(self, loss: float) -> bool:
        if not math.isfinite(loss):
            return True
        if self.spike is None or len(self.usual) < _FEW:
            return False
        mean = math.fsum(self.usual) / len(self.usual)
        square = math.fsum((known - mean) ** 2 for known in self.usual) / len(self.usual)
        return loss > mean + self.spike * math.sqrt(square)

    def _arrange(self, run: "Run", place: Place, loss: float) -> None:
        usable = [state for state in self.kept if state["step"] <= place.step]
        if len(self.events) == self.limit or not usable:
            why = f"went back {len(self.events)} times already (limit={self.limit})"
            raise FloatingPointError(
                f"loss spiked to {loss} at {place}, and Rewind "
                f"{why if usable else 'keeps no state from before it'}. Lower lr, clip the "
                "gradients, or give Rewind another every, keep or limit."
            )
        old = [state for state in usable if state["step"] <= place.step - self.back]
        state = (old or usable[:1])[-1]
        self._going_back = True
        self.kept = self.kept[: self.kept.index(state) + 1]
        first, last = [state["epoch"], state["batch"] + 1], [place.epoch, place.batch]
        self.skipped = [*self.skipped, [first, last]]
        since = [[min(step, state["step"]), factor] for step, factor in self.lowered]
        self.lowered = [*since, [state["step"], self.lr_factor]]
        event = {"loss": loss, **place._asdict(), "to": state["step"]}
        self.events = [*self.events, event]

    def _leave(self, run: "Run") -> None:
        self._going_back, state = False, self.kept[-1]
        run.go_back(entry_at(self._as_kept(run, state)))

    def __repr__(self) -> str:
        return (
            f"Rewind(every={str(self.every)!r}, keep={self.keep}, back={self.back}, "
            f"spike={self.spike}, lr_factor={self.lr_factor})"
        )
