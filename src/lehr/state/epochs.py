"""What goes by the number of the epoch: a loader, its samplers and its dataset with ``set_epoch``.

torch's ``DistributedSampler`` and the data sets of Hugging Face shuffle by that number alone: if
nobody tells it to them, every epoch has the order of the first.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from lehr.state import streams
from lehr.state.entries import parts
from lehr.state.generators import holders
from lehr.types import Stateful


def tell_epoch(loader: Any, epoch: int, key: int) -> None:
    """Call ``set_epoch(epoch)`` of all that has it, each object once.

    Args:
        loader: any, or a dict or list of them.
        epoch: lifetime number of the epoch, from 0.
        key: of the random numbers, if one draws any.

    Example:
        >>> from types import SimpleNamespace
        >>> tell_epoch(SimpleNamespace(sampler=SimpleNamespace(set_epoch=print)), 3, key=0)
        3
    """
    counting = list(_counting(loader))
    if counting:
        with streams.forked(key):
            for _, part in counting:
                part.set_epoch(epoch)


def epoch_entries(name: str, loader: Any) -> dict[str, Stateful]:
    """An entry for each that says in an attribute ``epoch`` what it was told.

    Example:
        >>> from torch.utils.data import DataLoader, DistributedSampler
        >>> sampler = DistributedSampler([1, 2], num_replicas=1, rank=0)
        >>> list(epoch_entries("train_dl", DataLoader([1, 2], sampler=sampler)))
        ['train_dl.sampler.epoch']
    """
    return {
        f"{name}.{path}.epoch".replace("..", "."): EpochState(part)
        for path, part in _counting(loader)
        if _epoch_of(part) is not None
    }


class EpochState:
    """The number of the epoch that something was told.

    Example:
        >>> from torch.utils.data import DistributedSampler
        >>> sampler = DistributedSampler([1, 2], num_replicas=1, rank=0)
        >>> EpochState(sampler).load_state_dict({"epoch": 3}); sampler.epoch
        3
    """

    def __init__(self, part: Any) -> None:
        self.part = part

    def state_dict(self) -> dict[str, int | None]:
        """The number."""
        return {"epoch": _epoch_of(self.part)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Tell it, unless it is known."""
        if _epoch_of(self.part) != state_dict["epoch"]:
            self.part.set_epoch(state_dict["epoch"])


def _counting(loader: Any, prefix: str = "", seen: set[int] | None = None) -> Iterator[Any]:
    seen = set[int]() if seen is None else seen
    for key, part in parts(loader):
        yield from _counting(part, f"{prefix}{key}.", seen)
    for path, part in holders(loader):
        if id(part) not in seen and callable(getattr(part, "set_epoch", None)):
            seen.add(id(part))
            yield f"{prefix}{path}", part


def _epoch_of(part: Any) -> int | None:
    epoch = getattr(part, "epoch", None)
    if isinstance(epoch, Tensor) and epoch.ndim == 0:
        return int(epoch)
    return epoch if isinstance(epoch, int) and not isinstance(epoch, bool) else None
