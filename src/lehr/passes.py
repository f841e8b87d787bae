"""The passes of a Learner that are no fit: validate, predict, rehearse."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import Tensor

from lehr.base.nested import split_pair
from lehr.base.signals import interruptible
from lehr.base.whole import whole
from lehr.callback import Callback
from lehr.callbacks.measure.metrics import Metrics
from lehr.callbacks.measure.predictions import Predictions
from lehr.callbacks.measure.recorder import Recorder
from lehr.data.bunch import DataBunch
from lehr.learner import Learner
from lehr.loop import arguments
from lehr.loop.inventory import evaluates, of_callbacks
from lehr.loop.loop import Loop
from lehr.loop.plan import OnePass
from lehr.loop.run import Run
from lehr.state.snapshot import capture, restore
from lehr.types import Scores, is_mapping


def validate(learn: Learner, data: Any, callbacks: Iterable[Callback]) -> Scores:
    """See `lehr.Learner.validate`."""
    plan = learn.planned(learn.data if data is None else OnePass(data))
    if not plan.valid:
        raise ValueError(
            "there is no validation loader; data.valid_dl is None. Use validate(loader)."
        )
    evaluators, defaults = _evaluators(learn), [Recorder(), Metrics(learn.metrics)]
    run = Run(learn, plan, [*evaluators, *defaults, *learn.checked(callbacks)])
    with _undisturbed(evaluators):
        Loop(run).validate()
    if not run.history.rows:
        raise ValueError(f"validate was cut short before its first batch: {run.stop_reason}.")
    row = run.history.rows[-1]
    return {k: v for k, v in row.items() if k not in ("epoch", "step", "seconds")}


def predict(learn: Learner, data: Any) -> Any:
    """See `lehr.Learner.predict`."""
    arguments.refuse_one_batch(data)
    one_batch = isinstance(data, Tensor) or is_mapping(data)
    plan = learn.planned(OnePass([(data, None)] if one_batch else data))
    if one_batch:
        plan = replace(plan, split_batch=split_pair)
    evaluators, gather = _evaluators(learn), Predictions(instead_of_loss=True)
    with _undisturbed(evaluators):
        Loop(Run(learn, plan, [*evaluators, gather])).validate()
    return gather.joined()


def rehearse(
    learn: Learner, steps: int, callbacks: Iterable[Callback], without: Iterable[Callback]
) -> Run:
    """See `lehr.Learner.rehearse`."""
    length = arguments.check_length(None, steps, None)
    apart = {id(callback) for callback in without}
    evaluators = [callback for callback in _evaluators(learn) if id(callback) not in apart]
    everybody = [*evaluators, Recorder(), *learn.checked(callbacks)]
    run: Run | None = None
    asked = interruptible(lambda reason: run.stop(reason) if run else None)
    with asked, learn.probe(), _undisturbed(evaluators):
        data = DataBunch(learn.data.train_dl)
        run = Run(learn, learn.planned(data, everybody, seed=learn.seed, **length), everybody)
        Loop(run).fit()
    return run


def _evaluators(learn: Learner) -> list[Callback]:
    """Those attached without whom the model would not see or say what it does in training."""
    return [callback for callback in learn.checked(learn.callbacks) if evaluates(callback)]


@whole
@contextmanager
def _undisturbed(callbacks: Iterable[Callback]) -> Generator[None]:
    """A scope after which these callbacks are as they were: a pass makes them begin, and they may
    be in the middle of a fit.

    All attributes are the same objects again, and what is declared as state has the same values.
    """
    entries = of_callbacks(callbacks)
    held = [(callback, dict(vars(callback))) for callback in callbacks]
    before = capture(entries)
    try:
        yield
    finally:
        for callback, attributes in held:
            vars(callback).clear()
            vars(callback).update(attributes)
        restore(entries, before)
