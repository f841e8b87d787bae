"""Which classes a classifier takes for which."""

from dataclasses import dataclass
from typing import Any, cast, final

import torch
from torch import Tensor

from lehr.base import drawing
from lehr.base.html import fill
from lehr.base.rows import aligned, markup
from lehr.inspect.validation import class_names, validation
from lehr.learner import Learner
from lehr.record import confusion as counted

_MOST = 12  # classes that are printed as a matrix; of more, the commonest errors
_WORDS = ("true", "given")


@final
@dataclass(frozen=True)
class Confusion:
    """How many items of each class were given which class; it prints as a table.

    Attributes:
        counts: int64 ``(classes, classes)``; true classes in rows, given classes in columns.
        classes: their names.

    Example:
        >>> print(Confusion(torch.tensor([[6, 2], [0, 12]]), ("cat", "dog")))
        true  cat  dog
        cat     6    2
        dog     0   12
        accuracy 0.9; always dog: 0.6
    """

    counts: Tensor
    classes: tuple[str, ...]

    @property
    def accuracy(self) -> float:
        """The share of items in their right class."""
        return counted.accuracy(self.counts)

    @property
    def f1(self) -> dict[str, float | None]:
        """The F1 score of each class; None for one that was neither there nor given."""
        return dict(zip(self.classes, counted.f1(self.counts), strict=True))

    def most_confused(self, k: int = 12) -> list[tuple[str, str, int]]:
        """The ``k`` commonest errors: the true class, the given one, and how many items.

        Example:
            >>> Confusion(torch.tensor([[8, 2], [0, 10]]), ("cat", "dog")).most_confused()
            [('cat', 'dog', 2)]
        """
        names = self.classes
        return [(names[a], names[b], n) for a, b, n in counted.most_confused(self.counts, k)]

    def plot(self, ax: Any = None) -> Any:
        """Draw the matrix, each row by its shares.

        Args:
            ax: matplotlib axes to draw into; by default those of a new figure.

        Returns:
            The matplotlib figure.
        """
        c = len(self.classes)
        side = min(max(3.0, 0.45 * c + 1.5), 12.0)
        ax = drawing.axes(ax, size=(side, side))
        shares = self.counts / self.counts.sum(1, keepdim=True).clamp(min=1)
        ax.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
        ax.set(xlabel="given", ylabel="true")
        ax.set_xticks(range(c), self.classes, rotation=60, ha="right", parse_math=False)
        ax.set_yticks(range(c), self.classes, parse_math=False)
        cells = cast("list[tuple[int, int]]", self.counts.nonzero().tolist())
        for row, column in cells if c <= 2 * _MOST else ():
            color = "white" if shares[row, column] > 0.5 else "black"
            text = f"{int(self.counts[row, column]):,}"
            ax.text(column, row, text, ha="center", va="center", color=color, fontsize=8)
        return ax.figure

    def _table(self) -> tuple[list[str], list[list[str]]]:
        if len(self.classes) > _MOST:
            return ["true", "given", "items"], [
                [a, b, f"{n:,}"] for a, b, n in self.most_confused()
            ]
        counts = cast("list[list[int]]", self.counts.tolist())
        pairs = zip(self.classes, counts, strict=True)
        return ["true", *self.classes], [[name, *(f"{n:,}" for n in row)] for name, row in pairs]

    def _foot(self) -> str:
        label, share = counted.majority(self.counts)
        return f"accuracy {self.accuracy:.4g}; always {self.classes[label]}: {share:.4g}"

    def __str__(self) -> str:
        head, rows = self._table()
        return "\n".join(
            [
                *aligned(head, rows, right=[name for name in head if name not in _WORDS]),
                self._foot(),
            ]
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return fill(
            "{{ rows }}<small>{{ foot }}</small>", rows=markup(*self._table()), foot=self._foot()
        )


def confusion(learn: Learner, data: Any = None) -> Confusion:
    """Count which class was taken for which. See `lehr.Learner.confusion`."""
    loader = validation(learn, data)
    pred, yb = learn.predict(loader, select=_labels, targets=True)
    labels = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
    if not isinstance(yb, Tensor) or yb.ndim != 1 or yb.dtype not in labels:
        raise ValueError(
            "a confusion matrix needs labels, whole numbers of shape (items,), as targets. Look at "
            "numbers with learn.top_losses()."
        )
    c = int(pred[:, 1].max())
    return Confusion(counted.count(yb, pred[:, 0], c), class_names(learn, c))


def _labels(out: Any) -> Tensor:
    """The predicted label of each item, and of how many classes: ``(batch, 2)``."""
    if not isinstance(out, Tensor) or out.ndim != 2 or not out.is_floating_point():
        raise ValueError(
            "a confusion matrix needs a score for each class, (batch, classes), from the model; "
            f"got {type(out).__name__} {tuple(getattr(out, 'shape', ()))}. Look at other models "
            "with learn.predict()."
        )
    best = out.argmax(1)
    return torch.stack([best, torch.full_like(best, out.shape[1])], 1)
