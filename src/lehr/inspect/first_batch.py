"""The batch that a look at a Learner begins with."""

from typing import Any

from lehr.base.values import check_values
from lehr.data.loading.feed import Feed
from lehr.learner import Learner
from lehr.loop.underway import refuse_open


def first_batch(learn: Learner) -> Any:
    """The training batch that the next fit would begin with, as the loader gives it.

    Nothing is left of reading it: loaders and random state are as before.

    Raises:
        ValueError: the model has no values, or nothing here has: the device is ``meta``.
        RuntimeError: a run is in the middle of a loader that only one can read at a time.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> xb, yb = first_batch(tiny_learner())
        >>> xb.shape
        torch.Size([8, 3])
    """
    check_values(learn.model)
    feed = Feed(learn.data.train_dl, "train_dl")
    refuse_open([feed])
    with learn.probe():
        return feed.first(seed=learn.seed, epoch=learn.epochs_done)
