"""What is done to a raw item before a model sees it: worked out once, kept with the run."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch import Tensor


class Preparation(Protocol):
    """Turns raw items into model inputs, the same in training, evaluation and prediction.

    It is plain data: `to_dict` goes into a run folder and comes back without running code.
    """

    kind: ClassVar[str]
    """What its dict says under ``"kind"``."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, by label; empty where targets are numbers."""
        ...

    @property
    def item_shape(self) -> tuple[int, ...]:
        """The shape of one input, without the batch."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Strings, numbers and lists that say everything."""
        ...

    def batches(
        self, files: Sequence[Path], batch_size: int = 64
    ) -> Iterator[tuple[list[str], Tensor]]:
        """New items from files, prepared: their names, and ``xb`` of as many."""
        ...

    def answers(self, pred: Tensor) -> Tensor:
        """Predicted numbers in the units of the user's targets; those of classes as they are."""
        ...

    def picture(self, x: Tensor) -> Tensor | None:
        """One prepared input as uint8 ``(height, width, 3)`` for a reader's eyes; None if it is
        no image.
        """
        ...

    def in_words(self, x: Tensor) -> str:
        """One prepared input in a few words or numbers, where there is no picture."""
        ...
