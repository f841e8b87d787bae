"""The passes of a Learner that are no fit: validate, predict, rehearse."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from torch import Tensor

from lehr.base.nested import split_pair
from lehr.base.signals import interruptible
from lehr.callback import Callback
from lehr.callbacks.measure.metrics import Metrics
from lehr.callbacks.measure.predictions import Predictions
from lehr.callbacks.measure.recorder import Recorder
from lehr.data.bunch import DataBunch
from lehr.learner import Learner
from lehr.loop import arguments
from lehr.loop.inventory import evaluates
from lehr.loop.loop import Loop
from lehr.loop.plan import OnePass
from lehr.loop.run import Run
from lehr.types import Scores, is_mapping


def validate(learn: Learner, data: Any, callbacks: Iterable[Callback]) -> Scores:
    """See `lehr.Learner.validate`."""
    plan = learn.planned(learn.data if data is None else OnePass(data))
    if not plan.valid:
        raise ValueError(
            "there is no validation loader; data.valid_dl is None. Use validate(loader)."
        )
    defaults = [Recorder(), Metrics(learn.metrics)]
    run = Run(learn, plan, [*_evaluators(learn), *defaults, *learn.checked(callbacks)])
    Loop(run).validate()
    row = run.history.rows[-1]
    return {k: v for k, v in row.items() if k not in ("epoch", "step", "seconds")}


def predict(learn: Learner, data: Any) -> Any:
    """See `lehr.Learner.predict`."""
    arguments.refuse_one_batch(data)
    one_batch = isinstance(data, Tensor) or is_mapping(data)
    plan = learn.planned(OnePass([(data, None)] if one_batch else data))
    if one_batch:
        plan = replace(plan, split_batch=split_pair)
    gather = Predictions(instead_of_loss=True)
    Loop(Run(learn, plan, [*_evaluators(learn), gather])).validate()
    return gather.joined()


def rehearse(
    learn: Learner, steps: int, callbacks: Iterable[Callback], without: Iterable[Callback]
) -> Run:
    """See `lehr.Learner.rehearse`."""
    length = arguments.check_length(None, steps, None)
    apart = {id(callback) for callback in without}
    everybody = [callback for callback in _evaluators(learn) if id(callback) not in apart]
    everybody += [Recorder(), *learn.checked(callbacks)]
    run: Run | None = None
    with interruptible(lambda reason: run.stop(reason) if run else None), learn.probe():
        data = DataBunch(learn.data.train_dl)
        run = Run(learn, learn.planned(data, everybody, seed=learn.seed, **length), everybody)
        Loop(run).fit()
    return run


def _evaluators(learn: Learner) -> list[Callback]:
    """Those attached without whom the model would not see or say what it does in training."""
    return [callback for callback in learn.checked(learn.callbacks) if evaluates(callback)]
