"""Numbers by training batch: in bounded memory, or all of them until they are taken."""

import sys
from array import array
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any, cast

import torch
from torch import Tensor

from lehr.base.interrupts import call_uninterrupted
from lehr.errors import positive_int
from lehr.record.means import kept, stacked

Number = float | int | Tensor


class Series:
    """One number over the training batches, in bounded memory, read from the device only on demand.

    When ``capacity`` points are held, every second one goes, and from then on every second one is
    kept; so a series always spans the whole run, evenly.

    Args:
        capacity: the most points held; at least 2.

    Example:
        >>> series = Series(capacity=4)
        >>> for batch in range(9):
        ...     series.append(batch, batch / 10)
        >>> series.batches, series.values
        ([0, 4, 8], [0.0, 0.4, 0.8])
    """

    __slots__ = ("_batches", "_count", "_pending", "_values", "capacity", "stride")

    def __init__(self, capacity: int = 1 << 16) -> None:
        if positive_int("capacity", capacity) < 2:
            raise ValueError(f"capacity must be at least 2; got {capacity}. Leave it out.")
        self.capacity = capacity
        self.stride = 1
        self._count = 0
        self._batches = array("q")
        self._values: list[Tensor | array[float]] = []  # settled pieces, in order
        self._pending: list[Number] = []

    def append(self, batch: int, value: Number) -> None:
        """Add the value of training batch number ``batch``; of a tensor a copy."""
        self._count += 1
        if self.stride > 1 and (self._count - 1) % self.stride:
            return
        self._pending.append(kept(value) if isinstance(value, Tensor) else value)
        self._batches.append(batch)  # last: a value whose batch an interrupt kept away is not shown
        if len(self._pending) == 256:
            self._settle()
        if len(self._batches) >= self.capacity:
            call_uninterrupted(self._thin)

    def extend(self, batches: Sequence[int], values: Tensor | Sequence[Number]) -> None:
        """Add many at once: a tensor ``(n,)`` without a graph, or ``n`` numbers."""
        call_uninterrupted(partial(self._extend, batches, values))

    def _extend(self, batches: Sequence[int], values: Tensor | Sequence[Number]) -> None:
        self._settle()
        done, n = 0, len(batches)
        while done < n:
            first = done + -self._count % self.stride  # of those to come, the first that is held
            room = self.capacity - len(self._batches)
            end = min(n, first + (room - 1) * self.stride + 1)
            chosen = slice(first, end, self.stride)
            self._batches.extend(batches[chosen])
            part = values[chosen]
            self._hold([part.clone()] if isinstance(part, Tensor) else _pieces(part))
            self._count += end - done
            done = end
            if len(self._batches) >= self.capacity:
                self._thin()

    def _settle(self) -> None:
        call_uninterrupted(self._hold_pending)

    def _hold_pending(self) -> None:
        pending, self._pending = self._pending, []
        self._hold(_pieces(pending))

    def _hold(self, pieces: Sequence["Tensor | array[float]"]) -> None:
        for piece in pieces:
            last = self._values[-1] if self._values else None
            if isinstance(piece, array) and isinstance(last, array):
                last.extend(piece)
            else:
                self._values.append(piece)

    def _thin(self) -> None:
        self._values = [array("d", self.values[::2])]
        self._batches = self._batches[::2]
        self.stride *= 2

    @property
    def batches(self) -> list[int]:
        """The numbers of the training batches, counted from 0 at the start of the run."""
        return list(self._batches)

    @property
    def values(self) -> list[float]:
        """The values, one for each of `batches`."""
        self._settle()
        flat = array("d")
        for piece in self._values:
            flat.extend(cast("list[float]", piece.tolist()))
        self._values = [flat]
        return list(flat[: len(self._batches)])

    def state_dict(self) -> dict[str, Any]:
        """The points as two tensors on the CPU, and what decides which points come next.

        Nothing is settled by it: what is held afterwards is what was held before.
        """
        return {
            "capacity": self.capacity,
            "stride": self.stride,
            "count": self._count,
            "batches": _as_tensor([self._batches], torch.int64),
            "values": _as_tensor([*self._values, *_pieces(self._pending)], torch.float64),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Hold the same points, and go on as the series that `state_dict` was taken of would."""
        self.capacity, self.stride = state_dict["capacity"], state_dict["stride"]
        self._count = state_dict["count"]
        self._batches = array("q", state_dict["batches"].tolist())
        self._values = [array("d", state_dict["values"].tolist())]
        self._pending = []

    def since(self, batch: int) -> list[tuple[int, float]]:
        """The points from training batch number ``batch`` on.

        Example:
            >>> series = Series()
            >>> series.extend([0, 1, 2], [0.5, 0.25, 0.125])
            >>> series.since(1)
            [(1, 0.25), (2, 0.125)]
        """
        first = bisect_left(self._batches, batch)
        return list(zip(self._batches[first:], self.values[first:], strict=True))


def _pieces(values: Sequence[Number]) -> list["Tensor | array[float]"]:
    # Numbers on a device become one stacked tensor there, without waiting for the device.
    pieces: list[Tensor | array[float]] = []
    for kind, same in groupby(values, key=type):
        if not issubclass(kind, Tensor):
            pieces.append(array("d", map(float, same)))
            continue
        for _, alike in groupby(same, key=attrgetter("dtype")):
            pieces.append(stacked(list(cast("Any", alike))))
    return pieces


def _as_tensor(pieces: Sequence["Tensor | array[Any]"], dtype: torch.dtype) -> Tensor:
    kept = [
        piece if isinstance(piece, Tensor) else torch.frombuffer(piece, dtype=dtype)
        for piece in pieces
        if len(piece)
    ]
    alike = groupby(kept, key=lambda piece: (piece.device, piece.dtype))
    parts = [torch.cat(list(same)).cpu().to(dtype) for _, same in alike]
    return torch.cat(parts) if len(parts) > 1 else next(iter(parts), torch.empty(0, dtype=dtype))


class Tap:
    """Every number logged by batch since it was last taken, none left out, for a log on disk.

    Args:
        capacity: so many batches of each number are held, at least 2; of more, a `Series` leaves
            every second one out.

    Example:
        >>> tap = Tap()
        >>> tap.extend("loss", [0, 1], [0.5, 0.25])
        >>> tap.extend("norm", [1], [3.0])
        >>> tap.take(before=1), tap.take(), tap.take()
        ([{'batch': 0, 'loss': 0.5}], [{'batch': 1, 'loss': 0.25, 'norm': 3.0}], [])
    """

    def __init__(self, capacity: int = sys.maxsize) -> None:
        self.capacity = capacity
        self._series: dict[str, Series] = {}

    def append(self, name: str, batch: int, value: Number) -> None:
        """Hold one more point of the series ``name``."""
        self._of(name).append(batch, value)

    def extend(self, name: str, batches: Sequence[int], values: Tensor | Sequence[Number]) -> None:
        """Hold many more; a tensor of values must have no graph."""
        self._of(name).extend(batches, values)

    def _of(self, name: str) -> Series:
        if name not in self._series:
            self._series[name] = Series(self.capacity)
        return self._series[name]

    def take(self, before: int = sys.maxsize) -> list[dict[str, Any]]:
        """A dict for each training batch below number ``before``, in their order; they are let go.

        This waits for the device of what was logged.
        """
        taken: dict[str, list[tuple[int, float]]] = {}
        for name, series in self._series.items():
            points = series.since(0)
            end = bisect_left(points, before, key=lambda point: point[0])
            taken[name] = points[:end]
            self._series[name] = rest = Series(self.capacity)
            if points[end:]:
                rest.extend(*zip(*points[end:], strict=True))
        return by_batch(taken)

    def put_back(self, steps: Sequence[Mapping[str, Any]]) -> None:
        """Hold again what was taken last, before everything that came since.

        Example:
            >>> tap = Tap()
            >>> tap.append("loss", 0, 0.5)
            >>> tap.put_back(tap.take())
            >>> tap.take()
            [{'batch': 0, 'loss': 0.5}]
        """
        for step in [*steps, *self.take()]:
            for name, value in step.items():
                if name != "batch":
                    self.append(name, step["batch"], value)

    def state_dict(self) -> dict[str, Any]:
        """What is held, by name of the series."""
        return {name: series.state_dict() for name, series in self._series.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Hold what `state_dict` says, and nothing else."""
        self._series = {name: Series() for name in state_dict}
        for name, series in self._series.items():
            series.load_state_dict(state_dict[name])


def by_batch(points: Mapping[str, Sequence[tuple[int, float]]]) -> list[dict[str, Any]]:
    """A dict for each training batch, in their order, of the points of several series by name.

    The names are in alphabetical order: in which they came first hangs on when somebody read.

    Example:
        >>> by_batch({"norm": [(1, 3.0)], "loss": [(0, 0.5), (1, 0.25)]})
        [{'batch': 0, 'loss': 0.5}, {'batch': 1, 'loss': 0.25, 'norm': 3.0}]
    """
    steps: dict[int, dict[str, Any]] = {}
    for name in sorted(points):
        for batch, value in points[name]:
            steps.setdefault(batch, {"batch": batch})[name] = value
    return [steps[batch] for batch in sorted(steps)]
