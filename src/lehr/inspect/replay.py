"""A past step, made again."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lehr.callback import Callback
from lehr.callbacks.decide.non_finite import origin
from lehr.engine import refuse_several
from lehr.errors import positive_int
from lehr.events import CancelFit, Layer, Phase
from lehr.inspect.twin import twin
from lehr.learner import Learner
from lehr.loop.loop import Loop
from lehr.loop.past import Failure, bring, failed_step, nearest, raised_at
from lehr.loop.plan import feeds
from lehr.loop.rests import Entry, Kept
from lehr.loop.run import Run
from lehr.loop.underway import refuse_open
from lehr.loop.undisturbed import same_attributes
from lehr.state.differences import first_difference


@dataclass
class Replay:
    """One optimizer step, with all that led to it; or what a run did instead when it failed.

    Attributes:
        step: its number.
        began_at: the step of the state that it was reached from.
        learn: a Learner with the weights after the step, or before it where it was not made; its
            ``run`` is the one that led there.
        epoch: number of the epoch.
        batches: the number of each batch of its update window, or of the validation that raised.
        xb, yb, pred: inputs, targets and predictions, one for each of these batches; of one that
            raised an error, as far as it came.
        losses: their losses, as plain numbers.
        grads: the gradient that the optimizer was given, by parameter name; copies.
        error: what was raised before the step was made, if anything.
        failed: where it was raised.
        origin: where a loss that is nan or infinite ceased to be finite, in a sentence: the first
            layer, and for which items; empty if the losses are finite, or if that is not known.
        exact: whether every loss from that state on is bit for bit what the history of the run
            says; None where there is no history to compare with.
    """

    step: int
    began_at: int
    learn: Learner
    epoch: int = 0
    batches: list[int] = field(default_factory=list[int])
    xb: list[Any] = field(default_factory=list[Any], repr=False)
    yb: list[Any] = field(default_factory=list[Any], repr=False)
    pred: list[Any] = field(default_factory=list[Any], repr=False)
    losses: list[float] = field(default_factory=list[float])
    grads: dict[str, Tensor] = field(default_factory=dict[str, Tensor], repr=False)
    error: Exception | None = None
    failed: Failure | None = None
    origin: str = ""
    exact: bool | None = None

    def __repr__(self) -> str:
        at = ", batch " * bool(self.batches) + ", ".join(map(str, self.batches))
        losses = ", loss " * bool(self.losses) + ", ".join(f"{loss:.6g}" for loss in self.losses)
        same = {True: "as in the history", False: "NOT as in the history", None: ""}[self.exact]
        raised = f", raised {self.error!r}" if self.error else ""
        text = f"step {self.step} from {self.began_at}{at}{losses}"
        return f"Replay({text}{f' ({same})' if same else ''}{raised})"


def replay_of(run: Run, step: int | None, callbacks: list[Callback]) -> Replay:
    """Make a past optimizer step again. See `lehr.Run.replay`."""
    refuse_several(run.engine, "replay")
    wanted = positive_int("step", failed_step(run) if step is None else step, least=0, example=100)
    kept = nearest(run, wanted)
    return replay_from(run.learn, run, kept, wanted, callbacks, failed=step is None)


def replay_from(
    learn: Learner,
    run: Run,
    kept: Kept,
    step: int,
    callbacks: list[Callback],
    *,
    failed: bool = False,
) -> Replay:
    """Make a step again with copies, from a state that was kept.

    Args:
        learn: stays as it is.
        run: how long, with what data, and with which callbacks; need not have been started.
        kept: the state.
        step: number of the step.
        callbacks: attached besides.
        failed: whether the run failed there, so that no such step may have come.
    """
    parts = [callback for callback in run.callbacks if callback.replays]
    train, valid = feeds(run.plan.data, tells=True)  # a run that is under way reads with its own
    refuse_open([train])
    with learn.probe(), same_attributes(learn):  # the data are shared
        other, own = twin(learn, parts)
        replay = Replay(step, kept.step, other)
        until = _Until(replay, _rewinds_before(run, step))
        plan = replace(run.plan, train=train, valid=valid, graphs=None)  # it is looked into
        again = Run(other, plan, [*own, *callbacks, until])
        left_out = [f"callbacks.{cb.name}" for cb in run.callbacks if not cb.replays]
        load = partial(bring, snapshot=kept.snapshot, onlookers=[*kept.onlookers, *left_out])
        again.enter(Entry(kept.stage, kept.epoch, load))
        try:
            Loop(again).fit()
        except Exception as error:
            if replay.failed is None:
                raise
            replay.error = error
    other.run = again
    if not (replay.batches or replay.failed or failed):
        raise ValueError(
            f"step must be below {again.n_steps}, the number of steps of the run; got {step}. The "
            "first is step 0."
        )
    replay.exact = same_losses(losses_of(again), losses_of(run))
    return replay


def _rewinds_before(run: Run, step: int) -> int:
    """How often the run had gone back when it made the step for the last time."""
    went = [number for number, (_, to) in enumerate(run.rewinds, 1) if to <= step]
    return max(went, default=0)


def losses_of(run: Run) -> dict[int, Any]:
    """The losses that the history of a run holds, by number of the batch."""
    steps = run.history.steps()
    return {step["batch"]: step["loss"] for step in steps if "loss" in step}


def same_losses(again: Mapping[int, Any], before: Mapping[int, Any]) -> bool | None:
    """Whether the losses of the batches that both have are bit for bit the same; None if none is.

    Example:
        >>> same_losses({3: 0.5, 4: 0.25}, {2: 0.75, 3: 0.5})
        True
    """
    both = [batch for batch in again if batch in before]  # a long series is thinned out
    if not both:
        return None
    return first_difference([again[b] for b in both], [before[b] for b in both]) is None


class _Until(Callback):
    """Keeps what belongs to the wanted step, and ends the run when it was made."""

    phase = Phase.REPORT
    replays = False
    layer = Layer.CLIP

    def __init__(self, replay: Replay, rewinds: int) -> None:
        self.replay, self.rewinds = replay, rewinds

    def _is_here(self, run: Run) -> bool:
        return run.n_steps == self.replay.step and len(run.rewinds) == self.rewinds

    @contextmanager
    def around_fit(self, run: Run) -> Generator[None]:
        """Note where an error was raised, if the run came to the wanted step."""
        try:
            yield
        except Exception as error:
            if self._is_here(run) and (found := raised_at(run, error)) is not None:
                self.replay.failed, self.replay.epoch = found, run.epoch
                if run.in_batch:
                    self.keep(run)
            raise

    def after_loss(self, run: Run) -> None:
        """Keep the batch and its loss."""
        if run.training and self._is_here(run):
            self.keep(run)
            if not self.replay.origin and run.weight and not torch.isfinite(run.loss).all():
                self.replay.origin = origin(run)

    def keep(self, run: Run) -> None:
        """Keep a batch of the wanted step, as far as it came, unless that is done."""
        if run.batch is None or self.replay.batches[-1:] == [run.batch_index]:
            return
        self.replay.epoch = run.epoch
        self.replay.batches.append(run.batch_index)
        self.replay.xb.append(run.xb)
        self.replay.yb.append(run.yb)
        self.replay.pred.append(run.pred)
        if run.loss is not None:
            self.replay.losses.append(run.loss.item())

    def step(self, run: Run, proceed: Callable[[], None]) -> None:
        """Keep the gradients."""
        if self._is_here(run):
            named = run.model.named_parameters()
            self.replay.grads = {
                name: p.grad.detach().clone() for name, p in named if p.grad is not None
            }
        proceed()

    def after_batch(self, run: Run) -> None:
        """End."""
        if run.training and run.n_steps > self.replay.step and len(run.rewinds) >= self.rewinds:
            raise CancelFit("replayed")
