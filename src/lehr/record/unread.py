"""Losses that were kept and not read yet: reading waits for a device, so it is done for many."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Self, cast

from torch import Tensor

from lehr.engine import ALONE, Engine
from lehr.record.means import as_tensor, kept, packed, unpacked
from lehr.record.merging import over_all


class Place(NamedTuple):
    """A training batch of a run."""

    step: int
    """optimizer steps done before"""
    epoch: int
    """number of the epoch"""
    batch: int
    """number of the batch in its pass"""

    @classmethod
    def of(cls, run: Any) -> Self:
        """The batch that a run is at."""
        return cls(run.n_steps, run.epoch, run.batch_index)

    def __str__(self) -> str:
        return f"step {self.step} (epoch {self.epoch}, batch {self.batch})"


class UnreadLosses:
    """Training losses by batch, read many at a time.

    Args:
        engine: the processes that keep them.

    Example:
        >>> import torch
        >>> losses = UnreadLosses()
        >>> losses.add(torch.tensor(0.5), Place(3, 0, 3))
        >>> len(losses), losses.read(), len(losses)
        (1, [(Place(step=3, epoch=0, batch=3), 0.5)], 0)
    """

    def __init__(self, engine: Engine = ALONE) -> None:
        self._losses: list[float | Tensor] = []
        self._places: list[Place] = []
        self._weights: list[float] = []
        self._engine = engine

    def __len__(self) -> int:
        return len(self._losses)

    def add(self, loss: Tensor, place: Place, weight: float = 1.0) -> None:
        """Keep the loss of a batch; a copy, since its tensor may be used again."""
        self._losses.append(kept(loss))
        self._places.append(place)
        self._weights.append(weight)

    def add_of(self, run: Any, *, mean: bool = False) -> bool:
        """Keep the loss of the batch that a run is at, if that is a training batch with weight.

        A loss that is not one number is not kept: backward refuses it, in better words. Of several
        processes, each keeps that of its share; what is read is the mean over all.

        Args:
            run: between `after_loss` and the end of the batch.
            mean: keep the mean over the batch's items, whatever the loss function returns.

        Returns:
            Whether it was kept.
        """
        counts = run.training and run.loss.numel() == 1 and (run.weight or run.engine.world > 1)
        if counts and run.engine.world > 1:
            self.add(run.mean_loss if run.weight else run.loss, Place.of(run), run.weight)
        elif counts:
            self.add(run.mean_loss if mean else run.loss, Place.of(run))
        return bool(counts)

    def read(self) -> list[tuple[Place, float]]:
        """The losses with their places, in order, and forget them; the device is awaited once."""
        losses, places, weights, engine = self._losses, self._places, self._weights, self._engine
        self.__init__(engine)
        if not losses:
            return []
        read, weights = over_all(engine, as_tensor(losses), weights)
        values = zip(places, cast("list[float]", read.tolist()), weights, strict=True)
        return [(place, value) for place, value, weight in values if weight]

    def merge(self) -> None:
        """Let the first process have what all have kept, and the others nothing; all must ask."""
        if self._losses and self._engine.world > 1:
            read, weights = over_all(self._engine, as_tensor(self._losses), self._weights)
            self._losses = cast("list[float | Tensor]", read.tolist())
            self._weights = list(weights)
            self._leave_to_first()

    def _leave_to_first(self) -> None:
        if self._engine.rank:
            self._weights = [0.0] * len(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """What was kept, as plain containers of numbers and tensors."""
        return {
            "rank": self._engine.rank,
            "losses": packed(self._losses),
            "weights": list(self._weights),
            "where": [list(place) for place in self._places],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Keep what the one that `state_dict` was taken of did."""
        self._losses = unpacked(state_dict["losses"])
        self._places = [Place(*place) for place in state_dict["where"]]
        self._weights = list(state_dict["weights"])
        if state_dict.get("rank", 0) != self._engine.rank:
            self._leave_to_first()


def first_non_finite(losses: list[tuple[Place, float]]) -> int | None:
    """The number of the first loss that is nan or infinite; None if there is none.

    Example:
        >>> first_non_finite([(Place(0, 0, 0), 1.0), (Place(1, 0, 1), math.inf)])
        1
    """
    return next((i for i, (_, loss) in enumerate(losses) if not math.isfinite(loss)), None)
