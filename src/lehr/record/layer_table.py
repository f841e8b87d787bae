"""Numbers of every layer, batch by batch, in the form in which they are kept and shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from torch import Tensor

MOST = 500
"""So many batches are kept, spread over the training."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTable:
    """What a callback recorded of layers; its method ``layer_tables()`` returns a list of these.

    A run folder keeps them, and the report draws them: a panel for each of the ``numbers`` with a
    line for each layer, and a picture of the ``counts`` of each layer.

    Example:
        >>> import torch
        >>> norms = torch.tensor([[1.0], [0.5], [0.2]])
        >>> numbers = {"norm": norms}
        >>> table = LayerTable(title="Weights", layers=["0"], batches=[0, 1, 2], numbers=numbers)
        >>> table.thinned(2).batches
        [0, 2]
    """

    title: str
    """what was recorded"""
    layers: Sequence[str]
    """names of layers or parameters"""
    batches: Sequence[int]
    """numbers of the training batches, or whatever else ``axis`` says, rising"""
    numbers: Mapping[str, Tensor]
    """by what they are: ``(batches, layers)``"""
    counts: Tensor | None = None
    """histograms: how many values were in each of equal bins, ``(batches, layers, bins)``"""
    span: tuple[float, float] = field(default=(0.0, 1.0))
    """where the bins begin and end"""
    axis: str = "training batch"
    """what was counted"""

    def thinned(self, most: int = MOST) -> "LayerTable":
        """The same with at most so many batches, the first and the last among them."""
        n = len(self.batches)
        if n <= most:
            return self
        kept = [round(i * (n - 1) / max(most - 1, 1)) for i in range(most)]
        return LayerTable(
            title=self.title,
            layers=self.layers,
            batches=[self.batches[i] for i in kept],
            numbers={name: values[kept] for name, values in self.numbers.items()},
            counts=None if self.counts is None else self.counts[kept],
            span=self.span,
            axis=self.axis,
        )
