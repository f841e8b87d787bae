"""The passes of a Learner that are no fit: validate, predict, rehearse."""

import warnings
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from lehr.base.nested import split_pair
from lehr.base.signals import interruptible, patient
from lehr.callback import Callback
from lehr.callbacks.averaging.optimizer_modes import OptimizerModes
from lehr.callbacks.measure.metrics import Metrics
from lehr.callbacks.measure.predictions import Predictions
from lehr.callbacks.measure.recorder import Recorder
from lehr.data.bunch import DataBunch
from lehr.data.loading.shuffles import shuffles
from lehr.errors import one_line
from lehr.events import Phase
from lehr.learner import Learner
from lehr.loop import arguments, underway
from lehr.loop.inventory import evaluates, of_callbacks, rehearses
from lehr.loop.loop import Loop
from lehr.loop.plan import OnePass
from lehr.loop.run import Run
from lehr.loop.undisturbed import same_attributes, undisturbed
from lehr.optim import optimizers
from lehr.record.history import column
from lehr.state.differences import first_difference
from lehr.state.looked_at import buffers_kept
from lehr.state.ownership import owned
from lehr.state.snapshot import capture, independent, restore
from lehr.types import Scores, Stateful, is_mapping, is_sequence


def validate(learn: Learner, data: Any, callbacks: Iterable[Callback]) -> Scores:
    """Compute loss and metrics over the validation set. See `lehr.Learner.validate`."""
    with patient(), owned():
        plan = learn.planned(learn.data if data is None else OnePass(data))
        if not plan.valid:
            raise ValueError(
                "there is no validation loader; data.valid_dl is None. Use validate(loader)."
            )
        evaluators = _evaluators(learn)
        given = _given(learn, callbacks, evaluators)
        underway.refuse_open(plan.valid.values())
        own = [*evaluators, *_modes(learn), _GoOn(learn, evaluators)]
        metrics = Metrics(underway.own_metrics(learn.metrics))
        run = Run(learn, plan, [*own, Recorder(), metrics, *given])
        with undisturbed(learn, evaluators), buffers_kept(*_holders(learn, evaluators)):
            Loop(run).validate()
    if not run.history.rows:
        raise ValueError(f"validate was cut short before its first batch: {run.stop_reason}.")
    row = {k: v for k, v in run.history.rows[-1].items() if k not in ("epoch", "step", "seconds")}
    losses = [column("valid_loss", name) for name in run.valid_names]
    return row | {name: None for name in losses if name not in row}


def predict(
    learn: Learner, data: Any, select: Callable[[Any], Any] | None = None, *, targets: bool = False
) -> Any:
    """Compute the predictions for a batch or a loader. See `lehr.Learner.predict`."""
    arguments.refuse_one_batch(data)
    one_batch = isinstance(data, Tensor) or is_mapping(data)
    if shuffles(data) and not targets:
        warnings.warn(
            "predict was given a loader that shuffles: nobody can tell which prediction is of "
            "which item. Give a loader without shuffle=True, or targets=True to have the targets "
            "in the same order.",
            stacklevel=3,
        )
    gather = Predictions(instead_of_loss=True, select=select, targets=targets)
    with patient(), owned():
        plan = learn.planned(OnePass([(data, None)] if one_batch else data))
        plan = replace(plan, weight=_one)  # there is no loss, and perhaps no target to count
        if one_batch:
            plan = replace(plan, split_batch=split_pair)
        underway.refuse_open(plan.valid.values())
        evaluators = _evaluators(learn)
        with undisturbed(learn, evaluators), buffers_kept(*_holders(learn, evaluators)):
            everybody = [*evaluators, *_modes(learn), _GoOn(learn, evaluators), gather]
            run = Run(learn, plan, everybody)
            Loop(run).validate()
    _refuse_gaps(run, gather)
    return (gather.joined(), gather.joined_targets()) if targets else gather.joined()


def _refuse_gaps(run: Run, gather: Predictions) -> None:
    """See that there are predictions of all items: else they could not be told whose each is."""
    if gather.missing:
        what = f"left out {gather.missing} of the batches, which a callback cancelled"
    elif run.stop_reason is not None and not run.last_batch:
        early = "" if gather.begun else " before its first batch"
        what = f"was cut short{early} by a callback: {run.stop_reason}"
    else:
        return
    raise ValueError(
        f"predict {what}, so there are no predictions of all items. Let it do so in training alone "
        "(if run.training: …), or take it out of learn.callbacks."
    )


def _one(run: Run) -> float:
    return 1


def rehearse(
    learn: Learner, steps: int, callbacks: Iterable[Callback], without: Iterable[Callback]
) -> Run:
    """Train for some steps, then put everything back. See `lehr.Learner.rehearse`."""
    length = arguments.check_length(None, steps, None)
    apart = {id(callback) for callback in without}
    attached = [callback for callback in arguments.checked(learn.callbacks) if rehearses(callback)]
    evaluators = [callback for callback in attached if id(callback) not in apart]
    given = _given(learn, callbacks, evaluators)
    everybody = [*evaluators, *_modes(learn), Recorder(), *given]
    run: Run | None = None
    asked = interruptible(lambda reason: run.stop(reason) if run else None)
    with asked, learn.probe(), same_attributes(learn, evaluators):
        data = DataBunch(learn.data.train_dl)
        plan = learn.planned(data, everybody, seed=learn.seed, tells=False, **length)
        underway.refuse_open([plan.train])
        run = Run(learn, replace(plan, graphs=None), everybody)  # too short to compile for
        Loop(run).fit()
    return run


def _evaluators(learn: Learner) -> list[Callback]:
    """The attached callbacks without which input or output would not be as in training."""
    return [callback for callback in arguments.checked(learn.callbacks) if evaluates(callback)]


def _holders(learn: Learner, callbacks: Iterable[Callback]) -> list[Any]:
    """What may have buffers that a pass changes."""
    return [learn.model, learn.loss_func, *(part for cb in callbacks for part in cb.modules)]


class _GoOn(Callback):
    """Gives callbacks what their `begin_fit` has made anew.

    That is what they have declared as state and, declared or not, the values of the modules,
    optimizers and tensors in their attributes. A module that has weights of the model's is left as
    it is.

    Those are the callbacks of the Learner's last fit, or of the one under way; to any other nothing
    has happened yet that could be lost. Those that drive a number find it where it is now, and put
    it back there: what their state says of it belongs to the fit.
    """

    phase = Phase.REPORT  # when every other has begun
    after = ("Callback",)

    def __init__(self, learn: Learner, callbacks: Iterable[Callback]) -> None:
        begun = {id(callback) for callback in (learn.run.callbacks if learn.run else ())}
        named = of_callbacks(callbacks)
        self.entries = {name: cb for name, cb in named.items() if id(cb) in begun and not cb.drives}
        self.kept = {name: state for name, state in capture(self.entries).items() if state}
        self.held = [(callback, dict(vars(callback))) for callback in self.entries.values()]

    def begin_fit(self, run: Run) -> None:
        """Load what was there before."""
        now = capture(self.entries)
        lost = {name: state for name, state in self.kept.items() if _differ(state, now[name])}
        restore({name: self.entries[name] for name in lost}, lost)
        of_run = {id(tensor) for part in (run.model, run.loss_func) for tensor in _tensors(part)}
        for callback, before in self.held:
            for name in before.keys() & vars(callback).keys() - set(callback.state):
                try:
                    vars(callback)[name] = _gone_on(before[name], vars(callback)[name], of_run)
                except Exception as error:
                    warnings.warn(
                        f"{type(callback).__name__}.begin_fit has made {name!r} anew for this "
                        f"pass, and what it was cannot be loaded into it: {one_line(error)}. So the"
                        " pass is made with the new one. Make it once, in __init__, or of the same "
                        "form each time.",
                        stacklevel=2,
                    )


def _gone_on(old: Any, new: Any, of_run: set[int]) -> Any:
    """What was made anew, with the values of what was there, as far as it has such."""
    if old is new or type(old) is not type(new):
        return new
    if isinstance(old, Tensor):
        return deepcopy(old) if old.is_leaf else independent(old)
    if is_mapping(old):
        for key in old.keys() & new.keys():
            _gone_on(old[key], new[key], of_run)
    elif is_sequence(old):
        for inner, other in zip(old, new, strict=False):
            _gone_on(inner, other, of_run)
    elif isinstance(old, Stateful) and of_run.isdisjoint(map(id, _tensors(new))):
        saved = capture({"": old})
        if _differ(saved, capture({"": new})):
            restore({"": new}, saved)
    return new


def _tensors(part: Any) -> list[Tensor]:
    return [*part.parameters(), *part.buffers()] if isinstance(part, nn.Module) else []


def _differ(a: Any, b: Any) -> bool:
    return first_difference(a, b) is not None


def _modes(learn: Learner) -> list[Callback]:
    """What switches the optimizers for a pass, and leaves them as they were."""
    return [OptimizerModes(put_back=True)] if optimizers.with_modes(learn.opt) else []


def _given(
    learn: Learner, callbacks: Iterable[Callback], evaluators: list[Callback]
) -> list[Callback]:
    """The callbacks that a pass was given for itself, after a look at each."""
    given = arguments.listed(callbacks)
    arguments.checked([*evaluators, *given])
    underway.refuse_busy(given)
    return given
