"""Numbers of every layer for many batches, gathered on the device and seldom fetched."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Self, final

import torch
from torch import Tensor

from lehr.base.interrupts import call_uninterrupted
from lehr.errors import positive_int

_GATHERED = 64  # batches that are gathered on the device before they are fetched


@final
class LayerLog:
    """The numbers of every layer, batch by batch.

    What is added stays on its device, and 64 batches are fetched at once, or all when somebody
    reads them. Memory is bounded: when ``capacity`` batches are held, every second one goes, and
    from then on every second one is kept; so they always span the whole run, evenly.

    Args:
        layers: their names.
        columns: how many numbers each layer has.
        capacity: the most batches held; at least 2.

    Example:
        >>> log = LayerLog(["first", "last"], 3)
        >>> log.add(0, torch.ones(2, 3))
        >>> log.add(10, torch.zeros(2, 3))
        >>> log.batches, log.values().shape
        ([0, 10], torch.Size([2, 2, 3]))
    """

    def __init__(self, layers: Sequence[str], columns: int, *, capacity: int = 2048) -> None:
        self.layers = list(layers)
        self.columns = columns
        self.capacity = positive_int("capacity", capacity, least=2, example=2048)
        self._count, self._stride = 0, 1
        self.batches: list[int] = []
        """numbers of the batches"""
        self._fetched: list[Tensor] = []
        self._gathered: list[Tensor] = []

    def add(self, batch: int, numbers: Tensor) -> None:
        """Add the numbers of a batch, of shape ``(layers, columns)``."""
        self._count += 1
        if (self._count - 1) % self._stride:
            return
        self.batches.append(batch)
        self._gathered.append(numbers.detach())
        if len(self._gathered) == _GATHERED:
            self._fetch()
        if len(self.batches) >= self.capacity:
            call_uninterrupted(self._thin)

    def _thin(self) -> None:
        self._fetched = [self.values()[::2].clone()]
        self.batches = self.batches[::2]
        self._stride *= 2

    def values(self) -> Tensor:
        """Everything: on the CPU, of shape ``(batches, layers, columns)``."""
        self._fetch()
        if not self._fetched:
            return torch.empty(0, len(self.layers), self.columns)
        self._fetched = [torch.cat(self._fetched)]
        return self._fetched[0]

    def means(self) -> "LayerLog":
        """The same with each batch once: the mean of what was added for it.

        Example:
            >>> log = LayerLog(["only"], 1)
            >>> for value in (1.0, 3.0):
            ...     log.add(7, torch.full((1, 1), value))
            >>> log.means().batches, log.means().values()
            ([7], tensor([[[2.]]]))
        """
        means, values, start = LayerLog(self.layers, self.columns), self.values(), 0
        for batch, same in groupby(self.batches):
            end = start + len(list(same))
            means.add(batch, values[start:end].mean(0))
            start = end
        return means

    def _fetch(self) -> None:
        if self._gathered:
            self._fetched.append(torch.stack(self._gathered).cpu())
            self._gathered = []

    def state_dict(self) -> dict[str, Any]:
        """All that is held, and what decides which batches come next."""
        return {
            "layers": self.layers,
            "batches": list(self.batches),
            "values": self.values(),
            "count": self._count,
            "stride": self._stride,
        }

    @classmethod
    def of_state(cls, state_dict: Mapping[str, Any]) -> Self:
        """A log that holds what the one did that the state is of.

        Example:
            >>> log = LayerLog(["only"], 1)
            >>> log.add(7, torch.ones(1, 1))
            >>> LayerLog.of_state(log.state_dict()).batches
            [7]
        """
        log = cls(state_dict["layers"], state_dict["values"].shape[-1])
        log.load_state_dict(state_dict)
        return log

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take the place of another log.

        Raises:
            KeyError: it is of other layers; nothing is changed then.
        """
        if list(state_dict["layers"]) != self.layers:
            raise KeyError(
                f"the records are of the layers {', '.join(state_dict['layers'])}; here are "
                f"{', '.join(self.layers)}."
            )
        self.batches = list(state_dict["batches"])
        self._fetched, self._gathered = [state_dict["values"].clone()], []
        self._count, self._stride = state_dict["count"], state_dict["stride"]
