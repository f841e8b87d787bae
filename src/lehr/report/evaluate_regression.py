"""One pass over the validation set that sees how far predicted numbers are off."""

from typing import Any

import torch
from torch import Tensor

from lehr.base.nested import inside
from lehr.data.loading.item_name import item_name
from lehr.learner import Learner
from lehr.report.evaluate import everything_kept, first_loader
from lehr.report.pictures import in_words
from lehr.report.regression import Regression


def evaluate_regression(learn: Learner, *, k: int = 12) -> Regression | None:
    """What the model of a Learner does on its (first) validation loader, if it predicts a number.

    The numbers are in the units of the target, as ``data.preparation`` tells. Afterwards everything
    is as before.

    Args:
        learn: its data must not say how many classes there are.
        k: how many of the largest errors to keep.

    Returns:
        None if there is nothing to validate on, the data have classes, or predictions and targets
        are not one finite number for each item.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> evaluate_regression(tiny_learner()) is None
        True
    """
    data: Any = learn.data
    loader = first_loader(data.valid_dl)
    if loader is None or getattr(data, "c", None) is not None:
        return None
    with everything_kept(learn):
        try:
            pred, yb = learn.predict(loader, select=_one_number, targets=True)
        except _NoRegressionError:
            return None
        except (TypeError, ValueError):  # no targets, or such as cannot be joined
            return None
    if not isinstance(yb, Tensor) or not yb.is_floating_point() or yb.numel() != len(pred):
        return None
    preparation = getattr(data, "preparation", None)
    pairs = (pred.reshape(-1, 1), yb.reshape(-1, 1))
    if preparation is not None:
        pairs = tuple(preparation.answers(side) for side in pairs)
    predicted, truth = (side.flatten() for side in pairs)
    if not len(truth) or not bool(torch.isfinite(truth).all() & torch.isfinite(predicted).all()):
        return None

    def item_text(i: int) -> tuple[str, str]:
        name = item_name(loader, i)
        if name == f"item {i}":
            return "", ""
        x = loader.dataset[i][0]
        known = isinstance(x, Tensor) or inside(x) is not None
        return name, in_words(x, preparation) if known else ""

    return Regression.of(truth, predicted, k, item_text)


class _NoRegressionError(Exception):
    """Ends the pass: what the model returns is not one number for each item."""


def _one_number(out: Any) -> Tensor:
    if not isinstance(out, Tensor) or not out.is_floating_point() or not out.ndim:
        raise _NoRegressionError
    if out.numel() != len(out):
        raise _NoRegressionError
    return out.flatten()
