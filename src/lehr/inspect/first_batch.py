"""The batch that a look at a Learner begins with."""

from typing import Any

from lehr.data.loading.feed import Feed
from lehr.learner import Learner


def first_batch(learn: Learner) -> Any:
    """The training batch that the next fit would begin with, as the loader gives it.

    Nothing is left of reading it: loaders and random state are as before.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> xb, yb = first_batch(tiny_learner())
        >>> xb.shape
        torch.Size([8, 3])
    """
    with learn.probe():
        feed = Feed(learn.data.train_dl, "train_dl")
        return next(feed.epoch(seed=learn.seed, epoch=learn.epochs_done))[0]
