"""Metrics that are a function of a whole set, and not a mean over its batches."""

from collections.abc import Callable, Iterable, Mapping
from itertools import zip_longest
from typing import Any, final

import torch
from torch import Tensor

from lehr.base.joining import join
from lehr.base.names import name_of
from lehr.base.nested import map_tensors
from lehr.record.selected import On
from lehr.record.sklearns import targets_first


def whole(function: Callable[..., Any], *, sklearn: bool | None = None) -> "Whole":
    """A metric that is computed once, from all predictions and targets of a pass.

    Without it, a function is called for each batch, and its values are averaged by items. That is
    right for an accuracy, but not for what ranks or counts over the set, such as an AUC, an F1
    score or a correlation.

    What the pass predicts is kept until it ends: detached copies on the CPU. To keep less of an
    output, select: ``on(whole(f), lambda out: out["logits"])``.

    Args:
        function: ``(pred, target) -> value``, called with tensors of all items, ``(items, …)``, in
            the nesting of the batches; or one of scikit-learn's.
        sklearn: whether it is called as scikit-learn's functions are, ``(target, pred)``, with
            NumPy arrays; bfloat16 becomes float32. None: if its first parameter is called
            ``y_true`` or ``labels_true``, as theirs are.

    Returns:
        A metric with ``update``, ``compute`` and ``reset``, named after the function.

    Raises:
        TypeError: it is no function, or gathers by itself.

    Example:
        >>> def rank_correlation(pred, target):
        ...     return torch.corrcoef(torch.stack([pred, target]).argsort().argsort() * 1.0)[0, 1]
        >>> metric = whole(rank_correlation)
        >>> metric.update(torch.tensor([0.1, 0.5]), torch.tensor([10.0, 30.0]))
        >>> metric.update(torch.tensor([0.4]), torch.tensor([20.0]))
        >>> metric.compute()
        tensor(1.)
    """
    if isinstance(function, On):
        raise TypeError(
            f"whole takes a function; got on({name_of(function.metric)}, …). Write "
            f"on(whole({name_of(function.metric)}), …)."
        )
    if hasattr(function, "update") and hasattr(function, "compute"):
        raise TypeError(
            f"whole takes a function; got a {type(function).__name__}, which gathers by itself. "
            "Give it as a metric as it is."
        )
    if isinstance(function, type) or not callable(function):
        raise TypeError(
            f"whole takes a function (pred, target) -> value; got {function!r}. Write e.g. "
            "whole(roc_auc_score)."
        )
    return Whole(function, targets_first(function) if sklearn is None else sklearn)


@final
class Whole:
    """A function of a whole pass; made by `whole`, which see."""

    def __init__(self, function: Callable[..., Any], sklearn: bool) -> None:
        self.function, self.sklearn = function, sklearn
        self.__name__ = name_of(function)
        self._preds: list[Any] = []
        self._targets: list[Any] = []

    def update(self, pred: Any, target: Any) -> None:
        """Keep a batch: ``(batch, …)``, however nested."""
        self._preds.append(map_tensors(_copied, pred))
        self._targets.append(map_tensors(_copied, target))

    def compute(self) -> Any:
        """What the function says about all that was kept.

        Raises:
            ValueError: nothing was.
        """
        if not self._preds:
            raise ValueError(
                f"{self.__name__} of a whole set needs at least one batch; got none. Call update."
            )
        pred, target = join(self._preds), _joined(self._targets)
        if self.sklearn:
            return self.function(map_tensors(_as_array, target), map_tensors(_as_array, pred))
        return self.function(pred, target)

    def merge_state(self, others: Iterable["Whole"]) -> None:
        """Keep what others have kept as well, batch by batch in their order, this one's first."""
        all_of_them = [self, *others]
        self._preds = _in_turn([one._preds for one in all_of_them])
        self._targets = _in_turn([one._targets for one in all_of_them])

    def reset(self) -> None:
        """Forget what was kept."""
        self._preds, self._targets = [], []

    def state_dict(self) -> dict[str, Any]:
        """What was kept, batch after batch."""
        return {"pred": list(self._preds), "target": list(self._targets)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._preds, self._targets = list(state_dict["pred"]), list(state_dict["target"])

    def __repr__(self) -> str:
        return f"whole({self.__name__})"


def _in_turn(lists: list[list[Any]]) -> list[Any]:
    return [item for items in zip_longest(*lists) for item in items if item is not None]


def _joined(targets: list[Any]) -> Any:
    return None if all(target is None for target in targets) else join(targets)


def _copied(tensor: Tensor) -> Tensor:
    # Also on the CPU: it may be written to again, or be a part of much more.
    return tensor.detach().to("cpu", copy=True)


def _as_array(tensor: Tensor) -> Any:
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
