"""What a metric that gathers by itself has gathered, as plain containers."""

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

from torch import Tensor, nn

from lehr.base.interrupts import interrupts_wait_at_both_ends
from lehr.base.nested import map_tensors
from lehr.engine import Engine
from lehr.types import Stateful


def metric_entry(metric: Any) -> Stateful | None:
    """What hands out and takes back the state of a metric object; None if there is no way.

    Args:
        metric: a ``torchmetrics`` object, or several in a collection or a wrapper; or an object
            with ``state_dict`` and ``load_state_dict``.

    Example:
        >>> from torchmetrics import MeanMetric
        >>> metric = MeanMetric()
        >>> metric.update(3.0)
        >>> metric.state_dict(), metric_entry(metric).state_dict()[""]["mean_value"]
        (OrderedDict(), tensor(3.))
    """
    if isinstance(metric, nn.Module) and any(_parts(metric)):
        return TorchMetricState(metric)
    return metric if isinstance(metric, Stateful) else None


def syncs_itself(metric: Any) -> bool:
    """Whether a metric object asks the other processes by itself when it computes.

    Example:
        >>> from torchmetrics import MeanMetric, MetricCollection
        >>> syncs_itself(MetricCollection([MeanMetric()])), syncs_itself(max)
        (True, False)
    """
    parts = metric.modules() if isinstance(metric, nn.Module) else [metric]
    return any(hasattr(part, "_to_sync") for part in parts)


@interrupts_wait_at_both_ends
@contextmanager
def synced(metric: Any, engine: Engine) -> Generator[None]:
    """A scope in which a metric object that asks the other processes by itself asks the engine.

    So a process that was given nothing takes part, which torchmetrics by itself does not allow for.
    """
    parts = metric.modules() if isinstance(metric, nn.Module) else ()
    asking = [part for part in parts if getattr(part, "dist_sync_fn", ...) is None]
    if engine.world == 1:
        asking = []
    for part in cast("list[Any]", asking):
        part.dist_sync_fn = partial(_gathered, engine)
        part._update_count = max(1, part._update_count)  # else it warns that there is nothing
    try:
        yield
    finally:
        for part in cast("list[Any]", asking):
            part.dist_sync_fn = None


def _gathered(engine: Engine, tensor: Tensor, group: Any = None) -> list[Tensor]:
    all_of_them = [other.to(tensor.device) for other in engine.gather(tensor.cpu())]
    return [other for other in all_of_them if other.numel()] or all_of_them


class TorchMetricState:
    """The numbers and tensors in a ``torchmetrics`` object, and in those inside it.

    Its own ``state_dict`` leaves out what is not to outlive training, which is nearly everything.

    Args:
        metric: a metric, a collection, or a wrapper of them.
    """

    def __init__(self, metric: nn.Module) -> None:
        self.metric = metric

    def state_dict(self) -> dict[str, Any]:
        """By the path of each metric inside, the attributes that can change."""
        return {path: _held(part) for path, part in _parts(self.metric)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Set them, on the device where the metric is now.

        Raises:
            ValueError: these are not the attributes of this metric.
        """
        parts = dict(_parts(self.metric))
        for path, part in parts.items():
            if parts.keys() != state_dict.keys() or _held(part).keys() != state_dict[path].keys():
                raise ValueError(
                    f"the state is not one of this {type(self.metric).__name__}. Make the metric "
                    "as it was made before."
                )
        for path, part in parts.items():
            for name, value in state_dict[path].items():
                setattr(part, name, _there(value, getattr(part, name), part))
            if hasattr(part, "_computed"):
                part._computed = part._forward_cache = None  # type: ignore[reportAttributeAccessIssue]


def _parts(metric: nn.Module) -> Iterator[tuple[str, Any]]:
    for path, part in cast("Iterator[tuple[str, nn.Module]]", metric.named_modules()):
        if hasattr(part, "_update_count") or hasattr(part, "_groups_checked"):
            yield path, part


def _held(part: Any) -> dict[str, Any]:
    states: dict[str, Any] = {name: getattr(part, name) for name in getattr(part, "_defaults", ())}
    buffers: dict[str, Any] = dict(part.named_buffers(recurse=False))
    others: dict[str, Any] = {**vars(part), **buffers}
    states |= {name: others[name] for name in ("_groups",) if name in others}  # of a collection
    for name, value in others.items():
        if name not in _OWN and (isinstance(value, Tensor) or type(value) in (int, float, bool)):
            states[name] = value
    return states


_OWN = frozenset({"training", "_computed", "_forward_cache"})


def _there(value: Any, now: Any, part: Any) -> Any:
    place = now if isinstance(now, Tensor) else part
    return map_tensors(lambda tensor: tensor.to(place.device), value)
