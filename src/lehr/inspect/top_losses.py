"""The items of the validation set that a model finds hardest."""

import heapq
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from torch import Tensor

from lehr.base.html import fill
from lehr.base.nested import item_count, map_tensors
from lehr.base.rows import aligned, markup
from lehr.callback import Callback
from lehr.data.loading.item_name import item_name
from lehr.data.show import draw_items, first_items, title
from lehr.engine import refuse_several
from lehr.errors import positive_int
from lehr.events import Phase
from lehr.inspect.validation import class_names, validation
from lehr.learner import Learner
from lehr.loop.loss_parts import summed
from lehr.loop.losses import wanted_by

if TYPE_CHECKING:
    from lehr.loop.run import Run


@final
@dataclass(frozen=True, eq=False)
class HardItem:
    """One item, and what was made of it."""

    index: int
    """its number in the validation pass, from 0"""
    name: str
    """the file or the row that it comes from, if that is known; else its number"""
    loss: float
    """its own loss"""
    target: str
    """what it is"""
    prediction: str
    """what it was taken for"""
    x: Any
    """its input"""


@final
@dataclass(frozen=True, eq=False)
class TopLosses:
    """The items with the highest losses, the highest first; prints as a table.

    Attributes:
        items: the items.
        preparation: what was done to their inputs, for pictures.
    """

    items: tuple[HardItem, ...]
    preparation: Any = None

    def plot(self, ax: Any = None) -> Any:
        """Draw the inputs, each under its prediction, target and loss.

        Args:
            ax: matplotlib axes to draw into; by default those of a new figure.

        Returns:
            The matplotlib figure.
        """
        titles = [f"{i.prediction}, is {i.target} ({i.loss:.3g})" for i in self.items]
        return draw_items([item.x for item in self.items], titles, self.preparation, ax=ax)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> HardItem:
        return self.items[i]

    def _rows(self) -> list[list[str]]:
        return [[i.name, f"{i.loss:.4g}", i.target, i.prediction] for i in self.items]

    def __str__(self) -> str:
        return "\n".join(aligned(_HEAD, self._rows(), right=("loss",)))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return fill("{{ rows }}", rows=markup(_HEAD, self._rows()))


_HEAD = ("item", "loss", "is", "taken for")


def top_losses(learn: Learner, k: int = 9, data: Any = None) -> TopLosses:
    """Find the items with the highest losses. See `lehr.Learner.top_losses`."""
    refuse_several(learn.engine, "top_losses")
    loader = validation(learn, data)
    worst = _Worst(positive_int("k", k, example=9))
    learn.validate(loader, callbacks=[worst])
    preparation = getattr(learn.data, "preparation", None)
    answers = None if preparation is None else preparation.answers
    items = [
        HardItem(
            index=index,
            name=item_name(loader, index),
            loss=loss,
            target=answer(learn, yb, answers=answers),
            prediction=answer(learn, pred, answers=answers, scores=not _is_float(yb)),
            x=x,
        )
        for loss, index, x, pred, yb in worst.in_order()
    ]
    return TopLosses(tuple(items), preparation)


def answer(learn: Learner, value: Any, *, answers: Any = None, scores: bool = False) -> str:
    """One target or one prediction in a word or numbers.

    Args:
        learn: whose data know the names of the classes.
        value: of one item.
        answers: brings numbers into the units of the user.
        scores: it has a score for each class, ``(classes,)``.

    Example:
        >>> import torch
        >>> from lehr.testing import tiny_learner
        >>> answer(tiny_learner(), torch.tensor([0.1, 0.7]), scores=True)
        '1'
    """
    if scores and isinstance(value, Tensor) and value.ndim == 1 and len(value) > 1:
        return class_names(learn, len(value))[int(value.argmax())]
    if answers is not None and _is_float(value):
        value = answers(value[None])[0]
    return title(value, getattr(learn.data, "classes", None))


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


class _Worst(Callback):
    """Keeps the items with the highest losses, and what was predicted for them."""

    phase = Phase.MEASURE

    def __init__(self, k: int) -> None:
        self.k = k
        self._seen = 0
        self._heap: list[tuple[float, int, Any, Any, Any]] = []

    def after_loss(self, run: "Run") -> None:
        """Compute the loss of each item by itself."""
        n = item_count(run.xb)
        for i in range(n):
            loss = self._loss(run, i, n)
            key = math.inf if math.isnan(loss) else loss, -(self._seen + i)
            if len(self._heap) < self.k:
                heapq.heappush(self._heap, (*key, *self._of(run, i, n)))
            elif key > self._heap[0][:2]:
                heapq.heapreplace(self._heap, (*key, *self._of(run, i, n)))
        self._seen += n

    def _loss(self, run: "Run", i: int, n: int) -> float:
        wanted = wanted_by(run.loss_func)
        pred, yb = (_item(value, i, n) for value in (run.pred, run.yb))
        try:
            with_target = wanted.target and yb is not None
            loss, _ = summed(run.loss_func(pred, yb) if with_target else run.loss_func(pred))
            return float(loss)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise ValueError(
                "the loss of one item alone is needed, and loss_func cannot be called on it: "
                f"{error} Find the worst items by hand, from learn.predict(…, targets=True)."
            ) from error

    def _of(self, run: "Run", i: int, n: int) -> tuple[Any, Any, Any]:
        parts = (_item(value, i, n) for value in (run.xb, run.pred, run.yb))
        x, pred, yb = (next(iter(first_items(part, 1)), None) for part in parts)
        return x, pred, yb

    def in_order(self) -> list[tuple[float, int, Any, Any, Any]]:
        """Loss, number, input, prediction and target of each, the highest loss first."""
        ordered = sorted(self._heap, key=lambda one: (-one[0], -one[1]))
        return [(loss, -minus, x, pred, yb) for loss, minus, x, pred, yb in ordered]


def _item(value: Any, i: int, n: int) -> Any:
    def one(tensor: Tensor) -> Tensor:
        whole = tensor.ndim and len(tensor) == n
        return tensor[i : i + 1] if whole else tensor

    return map_tensors(one, value)
