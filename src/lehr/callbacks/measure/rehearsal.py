"""Tries the validation before anything is trained."""

import math
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any

from torch import nn

from lehr.base.interrupts import interrupts_wait_at_both_ends
from lehr.base.nested import tensors_in
from lehr.base.numbers import not_finite
from lehr.callback import Callback
from lehr.callbacks.measure.metrics import Metrics
from lehr.callbacks.measure.recorder import Recorder
from lehr.data.loading.feed import Feed
from lehr.data.loading.once import apart, read_once
from lehr.errors import RemoteRankError, add_note, one_line
from lehr.events import CancelEpoch, Phase
from lehr.loop.doubles import double
from lehr.loop.inventory import evaluates
from lehr.loop.loop import Loop
from lehr.loop.order import watching
from lehr.loop.plan import feeds
from lehr.loop.run import Run
from lehr.loop.undisturbed import undisturbed
from lehr.record.history import column
from lehr.record.monitor import refuse_unknown
from lehr.record.results import ColumnError
from lehr.state import streams
from lehr.state.looked_at import keep_for_a_look
from lehr.state.probe import put_back

_SURE = (TypeError, NameError, AttributeError, ImportError, ColumnError)
"""Errors of a metric that more data would not mend."""

_OFF = "Learner(…, rehearsal=False) leaves the try out."

_MAY_MATTER = (
    *("begin_epoch", "begin_train", "begin_validate", "begin_batch", "after_pred", "after_loss"),
    *("predict", "compute_loss", "one_batch"),
)
"""Where a callback may change what a validation gets; the model, also in `begin_fit`."""


class Rehearsal(Callback):
    """Validates on one batch, with its metrics, before a fit trains; a Learner makes it.

    So a broken metric or validation set is an error in the first second, and not after the first
    epoch. Nothing is left of it: the random generators, the model's buffers and the parameters that
    are trained, the metrics and the callbacks are as before, and nothing is recorded. Of the
    callbacks, those take part that take part in `Learner.validate`. It costs a validation batch,
    with the opening of the loader, and for a moment a copy of the trained parameters.

    A metric that cannot be computed from one batch alone, for want of a class, say, is computed
    from the whole set. A loader that can be read only once is left out, and a warning says so.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> learn = tiny_learner(metrics={"broken": lambda pred, target: pred.nonsense()})
        >>> learn.fit(1)
        Traceback (most recent call last):
        AttributeError: 'Tensor' object has no attribute 'nonsense'
        ...
        This was found before training began: ...
    """

    phase = Phase.MEASURE
    replays = False
    state = ()

    def begin_fit(self, run: Run) -> None:
        """Rehearse, unless there is nothing left to train."""
        entry = run.rests.entry
        if run.plan.is_over(0 if entry is None else entry.epoch, run.n_steps):
            return
        valid: dict[str, Feed] = {}
        for name, feed in run.plan.valid.items():
            if (once := read_once(feed.loader)) is None:
                valid[name] = Feed(apart(feed.loader), feed.name, engine=run.engine)
            else:
                _tell(
                    f"{feed.name} is not tried before training: it reads {once!r}, which can be "
                    f"read only once. {_OFF}"
                )
        if valid and (sentence := _rehearse(run, valid)):
            _tell(sentence)

    @staticmethod
    def is_due(learn: Any, callbacks: Sequence[Callback]) -> bool:
        """Whether the next fit has anything to rehearse that the last one has not validated.

        Args:
            learn: the Learner, which knows its last run.
            callbacks: those of the next fit.

        Example:
            >>> from lehr.testing import tiny_learner
            >>> learn = tiny_learner()
            >>> before = Rehearsal.is_due(learn, [])
            >>> _ = learn.fit(1)
            >>> before, Rehearsal.is_due(learn, [])
            (True, False)
        """
        _, valid = feeds(learn.data)
        last = learn.run
        if not valid or last is None or last.validated_at < 0:
            return bool(valid)
        if last.made_of is None or not last.made_of.is_still(learn.model, learn.loss_func):
            return True
        then = _parts(last.model, last.loss_func, last.plan, last.plan.valid, last.callbacks)
        now = _parts(learn.model, learn.loss_func, learn, valid, callbacks)
        return len(then) != len(now) or any(a is not b for a, b in zip(then, now, strict=True))


def _tell(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=2)


def _parts(
    model: Any, loss_func: Any, reads: Any, valid: Mapping[str, Feed], callbacks: Iterable[Callback]
) -> list[Any]:
    """All that a validation is made of."""
    callbacks = list(callbacks)
    return [
        *(model, loss_func, reads.split_batch, reads.weight),
        *(feed.loader for feed in valid.values()),
        *(measured for callback in callbacks for measured in callback.measures),
        *(callback for callback in callbacks if evaluates(callback)),
    ]


def _rehearse(run: Run, valid: Mapping[str, Feed]) -> str:
    """Try it; returns what there is to say, if it is no error."""
    attempt: _Attempt | None = None
    try:
        with _without_a_trace(run) as attempt:
            said = [attempt.on(*loader) for loader in valid.items()]
        if valid.keys() == run.plan.valid.keys():
            _see_monitors(run.callbacks, attempt.columns)
        return "\n".join(filter(None, said))
    except RemoteRankError:
        raise  # it was another process that failed
    except Exception as error:
        if attempt is None:
            return f"the validation is not tried before training: {one_line(error)}. {_OFF}"
        if absent := _absent(run.callbacks, measured=attempt.has_loss):
            return (
                f"the validation was tried before training, and failed: {one_line(error)}. "
                f"{absent} took no part in it, as in Learner.validate. If that made the "
                f"difference, declare evaluates = True there; training goes on. {_OFF}"
            )
        add_note(
            error,
            "This was found before training began: a fit tries one validation batch, with its "
            f"metrics, first. Nothing was trained. {_OFF}",
        )
        raise


def _see_monitors(callbacks: Iterable[Callback], columns: set[str]) -> None:
    """Refuse a column that a callback waits for in vain; one of the user's own may log any."""
    callbacks = list(callbacks)
    if all(type(callback).__module__.startswith("lehr.") for callback in callbacks):
        for name in (name for callback in callbacks for name in callback.monitors):
            refuse_unknown(name, sorted(columns), "that this fit writes")


@interrupts_wait_at_both_ends
@contextmanager
def _without_a_trace(run: Run) -> "Generator[_Attempt]":
    evaluators = [callback for callback in run.callbacks if evaluates(callback)]
    with warnings.catch_warnings(), streams.forked():
        warnings.simplefilter("ignore")  # what is worth saying is said when it counts
        attempt, held = _Attempt(run, evaluators), _kept(run, evaluators)
        try:
            with undisturbed(run.learn):
                yield attempt
        finally:
            put_back(held)


class _Attempt:
    """Validates with doubles of a run's callbacks, and computes its metrics.

    Args:
        run: which has not begun to train.
        evaluators: those of its callbacks that take part.
    """

    def __init__(self, run: Run, evaluators: Iterable[Callback]) -> None:
        self.run, self.inner = run, run
        self.metrics = _copies(run, self._note_parts)
        self.rows: list[dict[str, Any]] = []
        self.parts: list[str] = []  # of the loss
        late = _begin_later(run)
        doubles = [double(callback, begins=id(callback) in late) for callback in evaluators]
        self.callbacks = [*doubles, Recorder(), *self.metrics]

    @property
    def has_loss(self) -> bool:
        """Whether model and loss function have done their part."""
        return self.inner.loss is not None

    def on(self, name: str, feed: Feed) -> str:
        """Try the first batch of a loader, or all of it; returns what there is to say."""
        first = feed.first(self.run.seed, self.run.plan.first_epoch)
        self._validate(name, Feed([first], feed.name))
        spoilt = _of_targets(self.inner, first, feed.name)
        try:
            self._compute()
            return spoilt
        except _SURE:
            raise
        except Exception as error:
            why = one_line(error)
        self._validate(name, feed)
        self._compute()
        return f"{spoilt}\n".lstrip() + (
            f"a metric cannot be computed from one batch of {feed.name} alone ({why}), but from "
            f"all of them. So all were read before training. {_OFF}"
        )

    def _validate(self, name: str, feed: Feed) -> None:
        run = self.run
        self.inner = inner = Run(run.learn, replace(run.plan, valid={name: feed}), self.callbacks)
        inner.model, inner.opt, inner.loss_func = run.model, run.opt, run.loss_func
        try:
            Loop(inner).validate()
        except RuntimeError as error:
            if inner.training or not isinstance(error.__cause__, CancelEpoch):
                raise  # any other error; but in a validation of a fit there is an epoch

    @property
    def columns(self) -> set[str]:
        """The columns that the rows of the fit have, as far as recorder and metrics write them."""
        rows = {name for row in self.rows for name in row}
        bare = {name.rpartition("/")[2] for name in rows}  # without the name of the loader
        losses = {f"train_{n.removeprefix('valid_')}" for n in bare if n.startswith("valid_")}
        train = {name for callback in self.metrics for name in callback.train_columns}
        return {"epoch", "step", "seconds"} | rows | losses | train

    def _note_parts(self, run: Run) -> None:
        self.parts = list(run.loss_parts or ())

    def _compute(self) -> None:
        for callback in self.metrics:
            try:
                type(callback).after_validate(callback, self.inner)
                callback.check_columns(self.parts)
            except Exception as error:
                add_note(error, f"In {type(callback).__name__}.after_validate, after a validation.")
                raise
        self.rows += self.inner.history.rows


def _of_targets(run: Run, batch: Any, name: str) -> str:
    """What there is to say of targets that made the loss of a batch nan or infinite.

    Args:
        run: which has validated on that batch alone.
        batch: what the loader gave.
        name: of the loader.
    """
    losses = [
        row.get(column("valid_loss", one)) for row in run.history.rows for one in run.plan.valid
    ]
    bad = [loss for loss in losses if loss is not None and not math.isfinite(loss)]
    if not bad or not (counted := not_finite(tensors_in(run.plan.split_batch(batch)[1]))):
        return ""
    return (
        f"the loss of the first batch of {name} is {bad[0]}, and its targets hold {counted}. "
        "Leave those items out, or let the loss pass over them."
    )


def _begin_later(run: Run) -> set[int]:
    """The ids of the callbacks that begin after the rehearsal."""
    everybody = watching("begin_fit", run.callbacks)
    place = next(i for i, callback in enumerate(everybody) if isinstance(callback, Rehearsal))
    return set(map(id, everybody[place:]))


def _copies(run: Run, instead: Callable[[Run], None]) -> list[Metrics]:
    """The callbacks that hold metrics, with metrics of their own.

    They compute when asked to; ``instead`` is called after a validation.
    """
    own = [callback for callback in run.callbacks if isinstance(callback, Metrics)]
    loaders = (feed.loader for feed in (run.plan.train, *run.plan.valid.values()))
    shared = (run, run.learn, run.model, run.opt, run.loss_func, run.data, *loaders)
    copies = deepcopy(own, {id(thing): thing for thing in shared})
    for twin in copies:
        vars(twin)["after_validate"] = instead
    return copies


def _kept(run: Run, evaluators: Iterable[Callback]) -> dict[str, Callable[[], None]]:
    held = {"model": run.model}
    if isinstance(run.loss_func, nn.Module):
        held["loss_func"] = run.loss_func
    for callback in evaluators:
        modules = [module for module in callback.modules if isinstance(module, nn.Module)]
        for number, module in enumerate(modules):
            held[f"module {number} of {callback.name}"] = module
    return {name: keep_for_a_look(module) for name, module in held.items()}


def _absent(callbacks: Iterable[Callback], *, measured: bool) -> str:
    """The user's callbacks that take no part, but may change what a validation gets."""
    names = _MAY_MATTER if measured else (*_MAY_MATTER, "begin_fit")
    return ", ".join(
        type(callback).__name__
        for callback in callbacks
        if not type(callback).__module__.startswith("lehr.")
        and not evaluates(callback)
        and any(hasattr(callback, name) for name in names)
    )
