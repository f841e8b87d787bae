"""Trains on small images first."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from lehr.callback import Callback
from lehr.callbacks.augmenting.batches import check_target, image_batch, mask_batch
from lehr.data.images.resize import resized
from lehr.errors import positive_int, real_number
from lehr.events import Phase
from lehr.schedules.shapes import combine_scheds, sched_lin, sched_no

if TYPE_CHECKING:
    from lehr.loop.run import Run

GROWING = combine_scheds(
    [0.5, 0.3, 0.2], [sched_no(0.5, 0.5), sched_lin(0.5, 1.0), sched_no(1.0, 1.0)]
)
"""Half of each side in the first half of the fit, then larger and larger; all of it in the end."""


class ProgressiveResizing(Callback):
    """Trains on smaller images at first, which is faster, and on whole ones in the end.

    Height and width of a batch are their own times ``schedule(run.pos)``, rounded to a ``multiple``
    but never larger than they are. In the history, ``image_size`` is the height. Validation and
    predictions get the images as they are, so the model must take several sizes, as one that ends
    in an average over the image does.

    Args:
        schedule: a function from the position in the fit, in [0, 1], to a share of each side, above
            0 and at most 1; None for `GROWING`.
        multiple: sides are multiples of this, in pixels, as long as images are not whole.
        target: ``"mask"`` if ``yb`` are masks ``(batch, height, width)`` or ``(batch, channels,
            height, width)``, which are resized with their images; the nearest pixel is taken.

    Raises:
        TypeError, ValueError: an argument cannot be used; in training, if the schedule returns
            something else, the length of the fit is unknown, ``xb`` is no batch of images of shape
            ``(batch, channels, height, width)``, or ``yb`` are no such masks.

    Example:
        >>> from torch import nn, optim
        >>> from lehr import Learner, data, models
        >>> model = models.cnn(1, 10)
        >>> opt, loss_func = optim.SGD(model.parameters(), lr=0.1), nn.functional.cross_entropy
        >>> bunch, resizing = data.digits(batch_size=256), ProgressiveResizing(multiple=2)
        >>> learn = Learner(model, opt, loss_func, bunch, [resizing], progress=False)
        >>> [int(size) for size in learn.fit(2).history["image_size"]]
        [4, 4, 4, 4, 4, 4, 4, 6, 6, 8, 8, 8]

    Reference:
        Howard 2018, "Training ImageNet in 3 hours for $25"; Touvron et al. 2019, arXiv:1906.06423,
        on why the last steps should be made at full size.
    """

    phase = Phase.PREPARE
    moves = ("batches",)
    state = ()
    by_length = True

    def __init__(
        self,
        schedule: Callable[[float], float] | None = None,
        *,
        multiple: int = 4,
        target: str | None = None,
    ) -> None:
        if schedule is not None and not callable(schedule):
            raise TypeError(
                f"schedule must be a function of position; got {schedule!r}. Write e.g. "
                "ProgressiveResizing(sched_lin(0.5, 1.0))."
            )
        self.schedule = GROWING if schedule is None else schedule
        self.multiple = positive_int("multiple", multiple, example=8)
        self.target = check_target(target)

    @torch.no_grad()
    def begin_batch(self, run: "Run") -> None:
        """Resize the batch."""
        if not run.training:
            return
        images = image_batch(run.xb, self)
        scale = real_number("schedule(pos)", self.schedule(run.pos))
        if not 0 < scale <= 1:
            raise ValueError(
                f"schedule(pos) must be above 0 and at most 1; got {scale}, at {run.pos:g}. It is "
                "the share of each side."
            )
        masks = mask_batch(run.yb, images, self) if self.target else None
        height, width = (scaled(side, scale, self.multiple) for side in images.shape[2:])
        run.xb = resized(images, (height, width))
        if masks is not None:
            small = resized(masks, (height, width), nearest=True)
            run.yb = small.reshape(*run.yb.shape[:-2], height, width)
        run.log("image_size", height)

    def __repr__(self) -> str:
        target = "" if self.target is None else f", target={self.target!r}"
        return f"ProgressiveResizing({self.schedule!r}, multiple={self.multiple}{target})"


def scaled(side: int, scale: float, multiple: int) -> int:
    """The nearest multiple to a share of a side; at least one multiple, and at most the side.

    Args:
        side: in pixels.
        scale: the share, above 0 and at most 1; 1 is the side itself.
        multiple: in pixels.

    Example:
        >>> [scaled(30, scale, 8) for scale in (0.1, 0.5, 0.9, 1.0)]
        [8, 16, 24, 30]
    """
    nearest = multiple * max(round(side * scale / multiple), 1)
    return side if scale == 1 else min(nearest, side)
