"""Validation items with what the model makes of them."""

from typing import Any

from torch import Tensor

from lehr.data.loading.feed import Feed
from lehr.data.show import draw_items, first_items
from lehr.errors import positive_int
from lehr.inspect.first_batch import of_all
from lehr.inspect.top_losses import answer
from lehr.inspect.validation import validation
from lehr.learner import Learner


def show_results(learn: Learner, items: int = 9, data: Any = None, ax: Any = None) -> Any:
    """Draw validation items with prediction and target. See `lehr.Learner.show_results`."""
    items = positive_int("items", items, example=9)
    with learn.probe():
        feed = Feed(validation(learn, data), "data")
        batch = of_all(learn, feed.first(seed=learn.seed, epoch=0))
        pred = learn.predict([batch])
    xb, yb = learn.split_batch(batch)
    preparation = getattr(learn.data, "preparation", None)
    answers = None if preparation is None else preparation.answers
    inputs, targets = first_items(xb, items), first_items(yb, items)
    labels = isinstance(yb, Tensor) and not yb.is_floating_point()
    given = [answer(learn, one, answers=answers, scores=labels) for one in first_items(pred, items)]
    true = [answer(learn, target, answers=answers) for target in targets]
    pairs = zip(given, true, strict=True) if true else ((one, "") for one in given)
    titles = [one if one == is_ or not is_ else f"{one}, is {is_}" for one, is_ in pairs]
    return draw_items(inputs, titles, preparation, ax=ax)
