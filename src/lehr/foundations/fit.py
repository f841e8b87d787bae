"""Adds the loop to the parts: train on all batches, validate, tell, and again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lehr.foundations.losses import accuracy
from lehr.foundations.module import Linear, ReLU, Sequential
from lehr.foundations.optimizer import Optimizer


class DataBunch:
    """The loaders of one task and its number of classes, together."""

    def __init__(self, train_dl: Any, valid_dl: Any, c: int | None = None) -> None:
        self.train_dl, self.valid_dl, self.c = train_dl, valid_dl, c

    @property
    def train_ds(self) -> Any:
        """The dataset of the training loader."""
        return self.train_dl.dataset

    @property
    def valid_ds(self) -> Any:
        """The dataset of the validation loader."""
        return self.valid_dl.dataset


@dataclass
class Learner:
    """What a fit needs, together. It does nothing; whatever is changed counts from then on."""

    model: Any
    opt: Any
    loss_func: Callable[[Any, Any], Tensor]
    data: Any


def get_model(data: Any, lr: float = 0.5, nh: int = 50) -> tuple[Sequential, Optimizer]:
    """A network with one hidden layer of ``nh`` units, from the items' width to the classes.

    Raises:
        ValueError: the items are no vectors, or the data do not say how many classes there are.
    """
    x, _ = data.train_ds[0]
    if x.ndim != 1 or data.c is None:
        raise ValueError(
            f"data must have vectors as items and say c; got items of shape {tuple(x.shape)} and "
            f"c={data.c}. Flatten the items, and give c to DataBunch."
        )
    model = Sequential(Linear(len(x), nh), ReLU(), Linear(nh, data.c))
    return model, Optimizer(model.parameters(), lr)


def train_batch(
    xb: Any, yb: Any, model: Any, loss_func: Callable[[Any, Any], Tensor], opt: Any
) -> None:
    """The five steps: predict, measure the loss, get the gradients, update, reset."""
    pred = model(xb)
    loss = loss_func(pred, yb)
    loss.backward()
    opt.step()
    opt.zero_grad()


def validate(learn: Learner) -> tuple[float, float]:
    """Mean loss and accuracy over the validation items.

    A batch counts by its size: the mean over batches would weigh the items of a short one more.

    Raises:
        ValueError: there is no batch.
    """
    learn.model.eval()
    loss = correct = n = 0.0
    with torch.no_grad():
        for xb, yb in learn.data.valid_dl:
            pred = learn.model(xb)
            loss += learn.loss_func(pred, yb).item() * len(xb)
            correct += accuracy(pred, yb).item() * len(xb)
            n += len(xb)
    if not n:
        raise ValueError("valid_dl must give at least one batch; got none. Is its dataset empty?")
    return loss / n, correct / n


def fit(
    epochs: int, learn: Learner, report: Callable[[str], object] = print
) -> tuple[float, float] | None:
    """Train, and validate after every epoch.

    Args:
        epochs: passes over the training data.
        learn: what is trained, how and on what.
        report: is given a line an epoch.

    Returns:
        Validation loss and accuracy of the last epoch; None if there was none.
    """
    results = None
    for epoch in range(epochs):
        learn.model.train()
        for xb, yb in learn.data.train_dl:
            train_batch(xb, yb, learn.model, learn.loss_func, learn.opt)
        results = validate(learn)
        report(f"epoch {epoch}: valid loss {results[0]:.4f}, accuracy {results[1]:.4f}")
    return results
