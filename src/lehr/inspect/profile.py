"""Some training steps under a clock: the loop's own events and actions, each wrapped."""

import statistics
import warnings
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from lehr.base.signals import interruptible
from lehr.callback import Callback
from lehr.data.bunch import DataBunch
from lehr.data.loading.feed import Feed
from lehr.data.loading.once import read_once
from lehr.errors import positive_int
from lehr.events import ACTIONS, EVENTS, Phase
from lehr.inspect.clock import DATA, LOOP, Clock
from lehr.inspect.trace import Profile
from lehr.learner import Learner
from lehr.loop import underway
from lehr.loop.dispatch import Act, Listener, act
from lehr.loop.loop import Loop
from lehr.loop.run import Run
from lehr.loop.step.fused import FusedStep
from lehr.loop.undisturbed import same_attributes
from lehr.types import Batch

_WARM_UP = 3  # steps that are not counted: the first ones allocate, import and compile


def profile(learn: Learner, steps: int = 100, callbacks: Iterable[Callback] = ()) -> Profile:
    """Train for some steps and say where their time goes. See `lehr.Learner.profile`."""
    positive_int("steps", steps, example=100)
    everybody = learn.everybody(callbacks, rehearsal=False)
    apart = [callback for callback in everybody if _stays_out(callback)]
    taking_part = [callback for callback in everybody if callback not in apart]
    device = next((p.device.type for p in learn.model.parameters()), "cpu")
    run: Run | None = None
    if (once := read_once(learn.data.train_dl)) is not None:
        warnings.warn(
            f"what a profile reads is lost to a fit afterwards: train_dl holds {once}, which "
            "reading uses up. Pass a function that makes a fresh iterator every time.",
            stacklevel=3,
        )

    def measured() -> _Stopwatch:
        nonlocal run
        with learn.probe(), same_attributes(learn, everybody):
            stopwatch = _Stopwatch(Clock(device), steps)
            length = {"seed": learn.seed, "tells": False, "steps": steps + _WARM_UP}
            plan = learn.planned(DataBunch(learn.data.train_dl), taking_part, **length)
            underway.refuse_open([plan.train])
            plan = replace(plan, train=_Timed(plan.train, stopwatch.clock))
            run = Run(learn, plan, [*taking_part, stopwatch])
            Loop(run).fit()
        return stopwatch

    with interruptible(lambda reason: run.stop(reason) if run else None):
        stopwatch = measured()
        if not stopwatch.steps:
            raise ValueError(
                f"no step was measured: the first {_WARM_UP} are not counted, and the run ended "
                f"before the next ({run.stop_reason if run else None}). Let it train longer."
            )
        return Profile(
            shares=stopwatch.shares,
            steps=len(stopwatch.steps),
            device=device,
            lag=stopwatch.clock.lag,
            by_threads=_by_threads(measured, stopwatch) if device == "cpu" else (),
            compiled=learn.graphs is not None,
            left_out=tuple(type(callback).__name__ for callback in apart),
        )


def _stays_out(callback: Callback) -> bool:
    """Whether it leaves a trace, or waits for a validation, which a profile has not."""
    saves = callback.checkpoint_folder is not None
    return not callback.everywhere or saves or bool(callback.monitors)


def _by_threads(
    measured: Callable[[], "_Stopwatch"], first: "_Stopwatch"
) -> tuple[tuple[int, float], ...]:
    """The median step with as many threads as torch has, and with one; tried in turns."""
    threads = torch.get_num_threads()
    if threads == 1:
        return ((1, first.median),)
    medians = {threads: [first.median], 1: []}
    try:
        for number in (1, threads, 1):
            torch.set_num_threads(number)
            medians[number].append(measured().median)
    finally:
        torch.set_num_threads(threads)
    return tuple((number, min(times)) for number, times in medians.items())


class _Timed(Feed):
    """A feed whose batches are waited for under a clock."""

    def __init__(self, feed: Feed, clock: Clock) -> None:
        super().__init__(feed.loader, feed.name, tells=feed.tells, engine=feed.engine)
        self.clock = clock

    def epoch(self, seed: int, epoch: int, start: int = 0) -> Generator[tuple[Batch, bool]]:
        """As in `Feed`."""
        batches = self.clock.timed(DATA, super().epoch)(seed, epoch, start)
        following = self.clock.timed(DATA, partial(next, batches, None))
        while (item := following()) is not None:
            yield item


class _Stopwatch(Callback):
    """Puts every event and action of the loop under the clock, and counts the steps."""

    phase = Phase.REPORT
    after = ("Callback",)
    state = ()

    def __init__(self, clock: Clock, wanted: int) -> None:
        self.clock, self.wanted = clock, wanted
        self.steps: list[float] = []
        self.shares: Any = ()
        self._began = 0.0

    @property
    def median(self) -> float:
        """Seconds of a step."""
        return statistics.median(self.steps)

    @contextmanager
    def around_fit(self, run: Run) -> Generator[None]:
        """Wrap what the loop calls."""
        on, do = run.loop.on, run.loop.do
        for event in EVENTS:
            setattr(on, event, tuple(self._heard(one) for one in getattr(on, event)))
        for action in ACTIONS:
            setattr(do, action, self._acted(action, getattr(do, action)))
        yield

    def _heard(self, listener: Listener) -> Listener:
        owner = getattr(listener, "__self__", None)
        if owner is self:
            return listener
        return self.clock.timed(("callback", type(owner).__name__), listener)

    def _acted(self, action: str, do: Act) -> Act:
        """The same chain of wrappers, each under the clock; the innermost is the action itself."""
        if isinstance(do, partial):  # as `Actions` composes them
            _, wrapper, run, inner = do.args
            timed = self.clock.timed(("callback", type(wrapper.__self__).__name__), wrapper)
            return partial(act, action, timed, run, self._acted(action, inner))
        own = getattr(do, "__func__", None) is Loop.one_batch
        if action == "predict" and isinstance(getattr(do, "__self__", None), FusedStep):
            action = "the fused step"
        return self.clock.timed(LOOP if own else ("action", action), do)

    def after_batch(self, run: Run) -> None:
        """Count a step; the first ones are a warm-up."""
        if not run.stepped or self.shares:
            return
        now = self.clock.now()
        if run.n_steps > _WARM_UP:
            self.steps.append(now - self._began)
        elif run.n_steps == _WARM_UP:
            self.clock.restart()
        self._began = now
        if run.n_steps == self.wanted + _WARM_UP:
            self.shares = self.clock.shares()

    def after_fit(self, run: Run) -> None:
        """The run may have ended early."""
        self.shares = self.shares or self.clock.shares()
