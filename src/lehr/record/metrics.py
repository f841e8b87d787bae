"""Metrics: functions averaged by items, objects that gather by themselves, and what is common."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, cast, runtime_checkable

from torch import Tensor

from lehr.base.names import name_of
from lehr.base.nested import describe
from lehr.base.signatures import signature_of
from lehr.engine import ALONE, Engine
from lehr.errors import add_note
from lehr.record.means import Mean
from lehr.record.merging import mean_of, merge_object, sums_of
from lehr.record.metric_state import metric_entry, synced, syncs_itself
from lehr.record.results import check_columns, columns_of
from lehr.record.selected import On
from lehr.record.sklearns import is_sklearns, no_mean, targets_first
from lehr.types import Stateful, is_mapping

_NO_TARGET = -100  # cross_entropy's ignore_index

Metric = Callable[[Any, Any], Any]
"""``(pred, target) -> value``, the mean over the batch's items."""


def accuracy(pred: Tensor, target: Tensor) -> Tensor:
    """The share of items whose largest prediction is at the target's index.

    Ties go to the first index. Targets of -100 are left out, as `torch.nn.functional.cross_entropy`
    leaves them out. A batch without any target gives nan, as of that loss. The mean over a pass is
    by the Learner's ``weight``, as that of the loss, so an empty batch weighs nothing.

    Args:
        pred: scores, shape ``(batch, classes)`` or ``(batch, classes, ...)``, of two
            classes or more.
        target: class indices, shape ``(batch,)`` or ``(batch, ...)``; -100 where there is none.

    Returns:
        float32 scalar in [0, 1].

    Raises:
        ValueError: the shapes do not fit: the comparison would be of everything with everything; or
            there is one number an item, of which none is the largest.

    Example:
        >>> import torch
        >>> scores = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.9, 0.1]])
        >>> accuracy(scores, torch.tensor([0, 1, 0, 1]))
        tensor(0.7500)
    """
    if pred.ndim < 2 or pred.shape[1] < 2:
        raise ValueError(
            "pred must have the scores of two classes or more, (batch, classes); got shape "
            f"{tuple(pred.shape)}. If it is one logit an item, write metrics="
            '{"accuracy": lambda pred, yb: ((pred > 0) == yb).float().mean()}, and let both have '
            "one shape."
        )
    chosen = pred.argmax(dim=1)
    if chosen.shape != target.shape:
        if pred.ndim > 2 and pred.shape[:-1] == target.shape:
            raise ValueError(
                "pred must have the classes second, (batch, classes, ...), as cross_entropy takes "
                f"them; got {tuple(pred.shape)}, with the classes last. Write "
                "on(accuracy, lambda out: out.movedim(-1, 1))."
            )
        several = (
            " If an item may have several classes, write metrics="
            '{"accuracy": lambda pred, yb: ((pred > 0) == yb).float().mean()}.'
        )
        raise ValueError(
            f"target must have one class index for each of {tuple(chosen.shape)} predictions; got "
            f"shape {tuple(target.shape)}. Use target.squeeze(1), or target.argmax(1) of one-hot "
            f"targets.{several if pred.shape == target.shape else ''}"
        )
    if not target.dtype.is_signed:  # no -100 fits in; compared with bytes, it would be 156
        return (chosen == target).float().mean()
    return (chosen == target).sum() / (target != _NO_TARGET).sum()


@runtime_checkable
class MetricObject(Protocol):
    """A metric that gathers state over a pass, such as any ``torchmetrics`` object."""

    def update(self, pred: Any, target: Any, /) -> Any:
        """Take in a batch."""
        ...

    def compute(self) -> Any:
        """The value over all batches taken in: a number, a vector, or several by name."""
        ...

    def reset(self) -> Any:
        """Forget them."""
        ...


class Meter:
    """One metric over one pass: a function averaged by items, or an object that gathers by itself.

    Args:
        metric: ``(pred, target) -> value``; or an object with ``update``, ``compute``, ``reset``;
            or one of these ``on`` a part of the output.
        name: of its column; by default that of the function, or of the object's class.

    Raises:
        TypeError: it is no metric, or cannot be called as one.

    Example:
        >>> import torch
        >>> meter = Meter(accuracy)
        >>> meter.add(torch.eye(2), torch.tensor([0, 0]), 2)
        >>> meter.values()
        {'accuracy': 0.5}
    """

    @property
    def gathers(self) -> bool:
        """Whether it is an object that gathers by itself."""
        return self._object is not None

    def __init__(self, metric: Any, name: str | None = None) -> None:
        self.given = metric
        """The metric as it was given, with what selects."""
        self._selectors: list[On] = []  # the outermost first
        while isinstance(metric, On):
            self._selectors.append(metric)
            metric = metric.metric
        self.metric = metric
        self._object = _checked(metric)
        self._given = name is not None
        self.name = name_of(metric) if name is None else name
        self.names = [self.name]
        """The columns, as far as they are known before there are values."""
        if several := getattr(metric, "keys", None):  # torchmetrics.MetricCollection has several
            self.names = [*columns_of(self.name, dict.fromkeys(several(), 0), prefixed=self._given)]
        self._means: dict[str, Mean] = {}
        self._added = False  # an object is not reset here: another Metric may be adding to it
        self._each: dict[int, Any] | None = None  # what it has gathered in each process
        self._engine = ALONE

    def reset(self) -> None:
        """Forget everything that was added."""
        self._means, self._added, self._each = {}, False, None
        if self._object is not None:
            self._object.reset()

    def add(self, pred: Any, target: Any, weight: float) -> None:
        """Count one batch."""
        try:
            for part in self._selectors:
                pred = pred if part.select is None else part.select(pred)
                target = target if part.target is None else part.target(target)
            if self._object is not None:
                self._object.update(pred, target)
            else:
                self._average(self.metric(pred, target), pred, target, weight)
        except Exception as error:
            add_note(
                error,
                f"The metric {self.name!r} was given pred: {describe(pred)}; "
                f"target: {describe(target)}.",
            )
            raise
        self._added, self._each = True, None

    def _average(self, result: Any, pred: Any, target: Any, weight: float) -> None:
        columns = columns_of(self.name, result, prefixed=self._given)
        if not self._means:
            _refuse_one_an_item(self.name, result, pred, target)
            self._means = {column: Mean() for column in columns}
        if columns.keys() != self._means.keys():
            raise ValueError(
                f"metric {self.name!r} returned {', '.join(columns)} for one batch, and "
                f"{', '.join(self._means)} for another. Let it return the same for all, or write "
                f"whole({name_of(self.metric)}) if it is a function of the whole set."
            )
        for column, value in columns.items():
            self._means[column].add(value, weight)

    @property
    def added(self) -> bool:
        """Whether a batch was added since the reset."""
        return self._added

    @property
    def means(self) -> dict[str, Mean]:
        """What was added to a function's mean, by column."""
        return self._means

    @property
    def merges(self) -> bool:
        """Whether what was added in several processes can be merged before there is a value.

        One of torchmetrics sees to that itself when it computes.
        """
        return self._object is None or not syncs_itself(self.metric)

    def count_others(self, engine: Engine, means: dict[str, Mean], *, added: bool) -> None:
        """Take over what was added in all processes.

        Raises:
            TypeError: the metric is an object that cannot be merged with others.
        """
        self._engine, self._added, self._means = engine, added, means
        if self._object is not None and added:
            merge_object(self.metric, self.name, engine)

    def keep_each(self, engine: Engine) -> None:
        """Before it is saved: keep what was added in each process, by process.

        Each has its own again when it is loaded.
        """
        if any(engine.gather(self._added)):
            own = dict(self._entry().state_dict()) if self._added else None
            self._each = dict(enumerate(engine.gather(own)))

    def values(self) -> dict[str, float | None]:
        """The metric's value over everything added, by column; None if there was nothing."""
        if not self._added:
            return dict.fromkeys(self.names, None)
        values: dict[str, float | None]
        if self._object is None:
            values = {column: mean.value for column, mean in self._means.items()}
        else:
            with synced(self.metric, self._engine):
                result = self._object.compute()
            columns = columns_of(self.name, result, prefixed=self._given)
            values = {column: float(value) for column, value in columns.items()}
        self.names = list(values)
        return values

    def state_dict(self) -> dict[str, Any]:
        """What was added since the reset.

        Raises:
            TypeError: the metric is an object that does not let itself be kept.
        """
        if self._object is None:
            return {"means": {name: mean.state_dict() for name, mean in self._means.items()}}
        if self._each is not None:
            return {"each": dict(self._each)}
        entry = self._entry()
        return {"object": dict(entry.state_dict()) if self._added else None}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], engine: Engine = ALONE, *, rank: int = 0
    ) -> None:
        """Go on as the meter that `state_dict` was taken of would.

        Args:
            state_dict: what it returned.
            engine: the processes that measure.
            rank: the one that it was taken in; others have nothing of what that one had gathered.

        Raises:
            TypeError: the metric is an object that does not let itself be kept.
            ValueError: it was gathered by more processes than there are.
        """
        entry = None if self._object is None else self._entry()
        self.reset()
        if rank != engine.rank and "each" not in state_dict:
            return
        if entry is not None:
            each = state_dict.get("each") or {engine.rank: state_dict["object"]}
            if len(each) > engine.world:
                raise ValueError(
                    f"what the metric {self.name!r} has gathered in the middle of a training pass "
                    f"is that of {len(each)} processes, and cannot be had by {engine.world}. Go on "
                    f"with at least {len(each)} processes."
                )
            own = dict(each).get(engine.rank)
            if own is not None:
                entry.load_state_dict(own)
            self._added = own is not None
            return
        self._means = {name: Mean() for name in state_dict["means"]}
        for name, mean in self._means.items():
            mean.load_state_dict(state_dict["means"][name])
        self._added = True

    def _entry(self) -> Stateful:
        entry = metric_entry(self._object)
        if entry is None:
            raise TypeError(
                f"what the metric {self.name!r} has gathered cannot be kept: "
                f"{type(self._object).__name__} has no state_dict and load_state_dict. Give it "
                "both, or measure it in validation only."
            )
        return entry


def merge(meters: Sequence[Meter], engine: Engine) -> None:
    """Make what was added to meters that of all processes, all means in one go; all must ask.

    Raises:
        TypeError: a metric is an object that cannot be merged with others.

    Example:
        >>> merge([Meter(accuracy)], ALONE)
    """
    if engine.world == 1:
        return
    sums: dict[str, tuple[float, float]] = {}
    for i, meter in enumerate(meters):
        sums[str(i)] = float(meter.added), 0.0
        sums |= {f"{i} {column}": sums_of(mean) for column, mean in meter.means.items()}
    total = engine.sums(sums)
    for i, meter in enumerate(meters):
        own = f"{i} "
        means = {
            name.removeprefix(own): mean_of(*both)
            for name, both in total.items()
            if name.startswith(own)
        }
        meter.count_others(engine, means, added=total[str(i)][0] > 0)


def gather(meters: Sequence[Meter], engine: Engine) -> None:
    """Before they are saved: let the first process have what was added in all; all must ask.

    Raises:
        TypeError: a metric is an object that cannot be merged with others.

    Example:
        >>> gather([Meter(accuracy)], ALONE)
    """
    if engine.world == 1:
        return
    merging = [meter for meter in meters if meter.merges]
    merge(merging, engine)
    for meter in meters:
        if not meter.merges:
            meter.keep_each(engine)
        elif engine.rank:
            meter.reset()


def meters(metrics: Iterable[Any] | Mapping[str, Any]) -> list[Meter]:
    """A meter for each metric.

    Args:
        metrics: in a list, or by the names that their columns are to have.

    Raises:
        TypeError: one of them is no metric, or its name no string.
        ValueError: two have one name, or one that the recorder uses; or one object is there twice.

    Example:
        >>> [meter.names for meter in meters([accuracy])], meters({"acc": accuracy})[0].names
        ([['accuracy']], ['acc'])
    """
    if is_mapping(metrics):
        for name in cast("Mapping[Any, Any]", metrics):
            if not isinstance(name, str) or not name:
                raise TypeError(
                    f"the names of metrics must be texts; got {name!r}. Write e.g. "
                    'metrics={"top5": …}.'
                )
        made = [Meter(metric, name) for name, metric in metrics.items()]
    elif callable(metrics) or not isinstance(metrics, Iterable):
        raise TypeError(
            f"metrics must be a list or a dict; got {metrics!r}. Write metrics=[...], or "
            'metrics={"name": ...}.'
        )
    else:
        made = [Meter(metric) for metric in metrics]
    check_columns([name for meter in made for name in meter.names])
    gathering = [meter for meter in made if meter.gathers]
    for i, meter in enumerate(gathering):
        for other in gathering[:i]:
            if meter.metric is other.metric:
                raise ValueError(
                    f"one metric object is there twice, as {other.name!r} and as {meter.name!r}: "
                    "it would gather what both see. Make an object for each."
                )
    return made


_METHODS = {"update": 2, "compute": 0, "reset": 0}  # and how many arguments each is called with


def _checked(metric: Any) -> MetricObject | None:
    """The metric if it gathers by itself, or None if it is a function.

    Raises:
        TypeError: it is neither, or cannot be called as such.
    """
    there = [name for name in _METHODS if callable(getattr(metric, name, None))]
    if isinstance(metric, type) or not (callable(metric) or len(there) > 1):
        raise TypeError(
            "a metric must be a function (pred, target) -> tensor or a torchmetrics object; "
            f"got {metric!r}. Pass e.g. metrics=[accuracy], or call the class to make an "
            "object."
        )
    kind = type(metric).__name__
    if len(there) < 2:
        _check_function(metric)
        return None
    if lacks := [name for name in _METHODS if name not in there]:
        raise TypeError(
            f"the metric {kind} has {' and '.join(there)}, but no {' and no '.join(lacks)}: one "
            "that gathers by itself needs update(pred, target), compute() and reset(), since it "
            "starts anew in every pass. Add what is missing."
        )
    for name, count in _METHODS.items():
        signature = signature_of(getattr(metric, name))
        if not signature.takes(count):
            raise TypeError(
                f"{kind}.{name} is called with {'(pred, target)' if count else 'no arguments'}; "
                f"it takes {signature.text}. Wrap it in a class with "
                "update(pred, target), compute() and reset()."
            )
    return cast("MetricObject", metric)


def _check_function(function: Any) -> None:
    name = name_of(function)
    if is_sklearns(function) or targets_first(function):
        raise TypeError(
            f"{name} takes the targets first, as scikit-learn's metrics do, and a metric is called "
            "with (pred, target) for each batch; the mean of that is rarely the value over the "
            f"set. Write whole({name}): it is called once, with all targets and predictions."
        )
    signature = signature_of(function)
    if not signature.takes(2):
        raise TypeError(
            f"the metric {name} is called with (pred, target); it takes {signature.text}. Give it "
            "these two parameters."
        )
    if (called := no_mean(function)) is not None:
        what = f"{name} is" if called == name else f"the metric {name} calls {called},"
        warnings.warn(
            f"{what} a function of a whole set; called for each batch, its values are averaged, "
            f"which is rarely the value over the set. Write whole({name}): it is called once, with "
            "all predictions and targets.",
            stacklevel=2,
        )


def _refuse_one_an_item(name: str, result: Any, pred: Any, target: Any) -> None:
    """See that a function that is averaged did not return a number for each item."""
    if isinstance(result, Tensor) and result.ndim == 1 and result.numel() > 1:
        batches = [part for part in (pred, target) if isinstance(part, Tensor) and part.ndim]
        if len(result) in map(len, batches):
            raise ValueError(
                f"metric {name!r} returned {len(result)} numbers for a batch of as many items. If "
                "they are one an item, take their .mean(); if they are one a class, or the like, "
                f"write whole({name}), which is called once for the whole set."
            )
