"""Metrics: weighted means that are right for unequal batches, and the common functions."""

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from lehr.types import RECORDED

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

    Example:
        >>> scores = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.9, 0.1]])
        >>> accuracy(scores, torch.tensor([0, 1, 0, 1]))
        tensor(0.7500)
    """
    return (pred.argmax(dim=1) == target).float().mean()


class Mean:
    """A weighted mean of numbers that may live on a device; adding never waits for the device.

    Values are kept as they come and folded 256 at a time, in double precision where the device has
    it.

    Example:
        >>> mean = Mean()
        >>> mean.add(0.6, 32); mean.add(torch.tensor(0.9), 2)
        >>> round(mean.value, 6)      # the unweighted mean is 0.75
        0.617647
    """

    __slots__ = ("_each", "_pending", "total", "weight")

    def __init__(self) -> None:
        self.total: float | Tensor = 0.0
        self.weight = 0.0
        self._each = 0.0
        self._pending: list[float | Tensor] = []

    def add(self, value: float | Tensor, weight: float) -> None:
        """Count ``value`` ``weight`` times; a weight of 0 counts nothing, nan included."""
        if not weight:
            return
        if isinstance(value, Tensor) and value.numel() != 1:
            raise ValueError(
                f"a mean is over numbers; got a tensor of shape {tuple(value.shape)}. Reduce it "
                "first, e.g. with .mean()."
            )
        if weight != self._each or len(self._pending) == 256:
            self._fold()
            self._each = weight
        self._pending.append(value.detach().reshape(()) if isinstance(value, Tensor) else value)

    def add_all(self, values: Tensor, weights: Sequence[float]) -> None:
        """Count a tensor of values ``(n,)``, each with its weight."""
        end = 0
        for weight, same in groupby(weights):
            start, end = end, end + len(list(same))
            if weight:
                part = values[start:end]
                self.total = self.total + _exact(part).sum() * weight
                self.weight += weight * (end - start)

    def _fold(self) -> None:
        # What is pending has one weight: a Python number, so nothing is copied to the device.
        pending, self._pending = self._pending, []
        tensors = [value for value in pending if isinstance(value, Tensor)]
        total: float | Tensor = sum(value for value in pending if not isinstance(value, Tensor))
        if tensors:
            total = total + _exact(torch.stack(tensors)).sum()
        self.total = self.total + total * self._each
        self.weight += self._each * len(pending)

    @property
    def value(self) -> float | None:
        """The mean, read from the device now; None if nothing was counted."""
        self._fold()
        return float(self.total) / self.weight if self.weight else None


def _exact(values: Tensor) -> Tensor:
    return values if values.device.type == "mps" else values.double()  # mps has no doubles


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
        self.reset()

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


def snake_case(name: str) -> str:
    """A class's name as an attribute's.

    Example:
        >>> snake_case("MulticlassAUROC"), snake_case("MixUp")
        ('multiclass_auroc', 'mix_up')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
