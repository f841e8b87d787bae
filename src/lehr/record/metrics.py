"""Metrics: functions averaged by items, objects that gather by themselves, and what is common."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, cast, runtime_checkable

from torch import Tensor

from lehr.base.names import snake_case
from lehr.record.means import Mean
from lehr.record.metric_state import metric_entry
from lehr.types import RECORDED, Stateful

Metric = Callable[[Any, Any], Tensor]
"""``(pred, target) -> scalar``, the mean over the batch's items."""


def accuracy(pred: Tensor, target: Tensor) -> Tensor:
    """The share of items whose largest prediction is at the target's index.

    Ties go to the first index; an empty batch gives nan, which weighs nothing in a mean.

    Args:
        pred: scores, shape ``(batch, classes)`` or ``(batch, classes, ...)``.
        target: class indices, shape ``(batch,)`` or ``(batch, ...)``.

    Returns:
        float32 scalar in [0, 1].

    Raises:
        ValueError: the shapes do not fit: the comparison would be of everything with everything.

    Example:
        >>> import torch
        >>> scores = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.9, 0.1]])
        >>> accuracy(scores, torch.tensor([0, 1, 0, 1]))
        tensor(0.7500)
    """
    chosen = pred.argmax(dim=1)
    if chosen.shape != target.shape:
        raise ValueError(
            f"target must have one class index for each of {tuple(chosen.shape)} predictions; got "
            f"shape {tuple(target.shape)}. Use target.squeeze(1), or target.argmax(1) of one-hot "
            "targets."
        )
    return (chosen == target).float().mean()


@runtime_checkable
class MetricObject(Protocol):
    """A metric that gathers state over a pass, such as any ``torchmetrics`` object."""

    def update(self, pred: Any, target: Any, /) -> Any:
        """Take in a batch."""
        ...

    def compute(self) -> Any:
        """The value over all batches taken in, a number or several by name."""
        ...

    def reset(self) -> Any:
        """Forget them."""
        ...


class Meter:
    """One metric over one pass: a function averaged by items, or an object that gathers by itself.

    Args:
        metric: ``(pred, target) -> scalar``, or an object with ``update``, ``compute``, ``reset``.

    Raises:
        TypeError: it is neither.

    Example:
        >>> import torch
        >>> meter = Meter(accuracy)
        >>> meter.add(torch.eye(2), torch.tensor([0, 0]), 2)
        >>> meter.values()
        {'accuracy': 0.5}
    """

    def __init__(self, metric: Metric | MetricObject) -> None:
        self.metric = metric
        self._object = metric if isinstance(metric, MetricObject) else None
        if isinstance(metric, type) or not (self._object or callable(metric)):
            raise TypeError(
                "a metric must be a function (pred, target) -> tensor or a torchmetrics object; "
                f"got {metric!r}. Pass e.g. metrics=[accuracy], or call the class to make an "
                "object."
            )
        name = str(getattr(metric, "__name__", None) or snake_case(type(metric).__name__))
        several = getattr(metric, "keys", None)  # torchmetrics.MetricCollection has several
        self.names = [snake_case(key) for key in several()] if several else [name]
        self._mean = Mean()  # an object is not reset here: another Metric may be adding to it

    def reset(self) -> None:
        """Forget everything that was added."""
        self._mean = Mean()
        if self._object is not None:
            self._object.reset()

    def add(self, pred: Any, target: Any, weight: float) -> None:
        """Count one batch."""
        if self._object is not None:
            self._object.update(pred, target)
        else:
            self._mean.add(cast("Metric", self.metric)(pred, target), weight)

    def values(self) -> dict[str, float | None]:
        """The metric's value over everything added, by name."""
        if self._object is None:
            return {self.names[0]: self._mean.value}
        result = self._object.compute()
        if isinstance(result, dict):
            named = cast("dict[str, Any]", result)
            return {snake_case(key): _number(key, value) for key, value in named.items()}
        return {self.names[0]: _number(self.names[0], result)}

    def state_dict(self) -> dict[str, Any]:
        """What was added since the reset.

        Raises:
            TypeError: the metric is an object that does not let itself be kept.
        """
        if self._object is None:
            return self._mean.state_dict()
        return {"object": dict(self._entry().state_dict())}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on as the meter that `state_dict` was taken of would.

        Raises:
            TypeError: the metric is an object that does not let itself be kept.
        """
        if self._object is None:
            self._mean.load_state_dict(state_dict)
        else:
            self._entry().load_state_dict(state_dict["object"])

    def _entry(self) -> Stateful:
        entry = metric_entry(self._object)
        if entry is None:
            raise TypeError(
                f"what the metric {self.names[0]!r} has gathered cannot be kept: "
                f"{type(self._object).__name__} has no state_dict and load_state_dict. Give it "
                "both, or measure it in validation only."
            )
        return entry


def meters(metrics: Iterable[Metric | MetricObject]) -> list[Meter]:
    """A meter for each metric.

    Raises:
        TypeError: one of them is no metric.
        ValueError: two have one name.

    Example:
        >>> [meter.names for meter in meters([accuracy])]
        [['accuracy']]
    """
    if callable(metrics) or not isinstance(metrics, Iterable):
        raise TypeError(f"metrics must be a list; got {metrics!r}. Write metrics=[...].")
    made = [Meter(metric) for metric in metrics]
    names = [name for meter in made for name in meter.names]
    if len(set(names)) < len(names):
        raise ValueError(
            f"metrics must have different names; got {names}. Set __name__ of those that are alike."
        )
    for name in names:
        if name in RECORDED:
            raise ValueError(
                f"a metric cannot be named {name!r}: the recorder has that column. "
                "Set its __name__."
            )
    return made


def _number(name: str, value: Any) -> float:
    if isinstance(value, Tensor) and value.numel() != 1:
        raise ValueError(
            f"metric {name!r} gave a tensor of shape {tuple(value.shape)}; a metric is one number. "
            "Average it, or compute it from learn.predict(...)."
        )
    return float(value)
