"""The batch that a look at a Learner begins with."""

from typing import Any

from lehr.base.nested import map_tensors, tensors_in
from lehr.base.values import check_values
from lehr.data.loading.feed import Feed
from lehr.learner import Learner
from lehr.loop.underway import refuse_open


def first_batch(learn: Learner) -> Any:
    """The training batch that the next fit would begin with, as the loader gives it.

    Where each of several processes has batches of its own, it is that of the first.

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
        return of_all(learn, feed.first(seed=learn.seed, epoch=learn.epochs_done))


def of_all(learn: Learner, batch: Any) -> Any:
    """A batch that several processes look at together: the first one's, if each reads its own.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> of_all(tiny_learner(), [1, 2])
        [1, 2]
    """
    if not learn.engine.reads_own:
        return batch
    device = next((tensor.device for tensor in tensors_in(batch)), None)
    of_the_first = learn.engine.same(map_tensors(lambda tensor: tensor.cpu(), batch))
    return map_tensors(lambda tensor: tensor.to(device), of_the_first)
