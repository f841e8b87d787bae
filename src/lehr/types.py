"""The few shapes that a user's objects must have; nothing has to inherit from anything here."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.optim import Optimizer

Batch = Any
"""Whatever a loader yields."""

LossFunc = Callable[..., Tensor]
"""``(pred, yb) -> scalar``, or ``(pred) -> scalar`` for batches without targets."""

OptFactory = Callable[[Iterable[torch.nn.Parameter]], Optimizer]
"""``parameters -> optimizer``, for example ``functools.partial(torch.optim.SGD, lr=0.1)``."""

SplitBatch = Callable[[Batch], tuple[Any, Any]]
"""``batch -> (xb, yb)``; ``yb`` is None where there are no targets."""


@runtime_checkable
class SeekableLoader(Protocol):
    """A loader whose batches are a function of (seed, epoch, position): ours are."""

    def __len__(self) -> int: ...

    def batches(self, seed: int, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from number ``start`` on, without touching those before."""
        ...


@runtime_checkable
class Stateful(Protocol):
    """Anything that can hand out its state and take it back."""

    def state_dict(self) -> Mapping[str, Any]: ...

    def load_state_dict(self, state_dict: Any, /) -> Any: ...
