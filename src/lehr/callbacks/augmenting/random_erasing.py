"""Fills a rectangle of an image with noise, in training."""

from typing import TYPE_CHECKING, Literal

import torch
from torch import Generator, Tensor

from lehr.base.sending import sent
from lehr.callback import Callback
from lehr.callbacks.augmenting.batches import image_batch
from lehr.data.images.erase import Boxes, erased, rectangles
from lehr.errors import above_zero, real_number, share
from lehr.events import Phase

if TYPE_CHECKING:
    from lehr.loop.run import Run


class RandomErasing(Callback):
    """Trains on images of which a rectangle, of any area, aspect and place, is filled with noise.

    Each image is drawn for on its own. Validation and predictions get the images as they are.

    Args:
        p: the chance that an image is changed.
        min_area: the smallest area, as a share of the image, from 0 to 1.
        max_area: the largest area; all in between are as likely.
        aspect: the lowest height over width, above 0 and at most 1; the highest is its inverse.
        fill: ``"noise"`` draws each value anew: normally distributed, with a standard deviation of
            1, or, in images of whole numbers, uniform from 0 to 255. A number fills with that.

    All numbers can be scheduled, as ``"callbacks.random_erasing.p"``.

    Raises:
        TypeError, ValueError: an argument cannot be used; in training, if ``xb`` is no batch of
            images of shape ``(batch, channels, height, width)``.

    Example:
        >>> from torch import nn, optim
        >>> from lehr import Learner, data
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        >>> opt, loss_func = optim.SGD(model.parameters(), lr=0.1), nn.functional.cross_entropy
        >>> erasing = RandomErasing(0.25)
        >>> learn = Learner(model, opt, loss_func, data.digits(), [erasing], progress=False)
        >>> learn.fit(steps=3).n_steps
        3

    Reference:
        Zhong et al. 2017, arXiv:1708.04896, algorithm 1. There, a rectangle that does not fit is
        drawn anew, which makes large ones rarer; here, only aspects are drawn that fit, so areas
        are uniform, and the logarithm of the aspect is.
    """

    phase = Phase.PREPARE
    moves = ("batches",)
    state = ()
    by_length = False

    def __init__(
        self,
        p: float = 0.5,
        *,
        min_area: float = 0.02,
        max_area: float = 0.4,
        aspect: float = 0.3,
        fill: float | Literal["noise"] = "noise",
    ) -> None:
        self.p = share("p", p)
        self.min_area, self.max_area = share("min_area", min_area), share("max_area", max_area)
        if self.min_area > self.max_area:
            raise ValueError(
                f"min_area must be at most max_area; got {min_area} and {max_area}. Swap them."
            )
        if (aspect_given := above_zero("aspect", aspect)) > 1:
            raise ValueError(f"aspect must be at most 1; got {aspect}. Use e.g. aspect=0.3.")
        self.aspect = aspect_given
        self.fill = fill if fill == "noise" else real_number("fill", fill)

    @torch.no_grad()
    def begin_batch(self, run: "Run") -> None:
        """Erase from the batch."""
        if not run.training:
            return
        images = image_batch(run.xb, self)
        draws = torch.rand(5, len(images), generator=run.stream(self.name))
        hit = (draws[0] < self.p).nonzero()[:, 0]
        if len(hit):
            area = self.min_area + (self.max_area - self.min_area) * draws[1, hit]
            boxes = rectangles(draws[2:, hit], area, self.aspect, images.shape[2:])
            run.xb = self._erased(images, hit, boxes, run.stream(self.name, images.device))

    def _erased(self, images: Tensor, hit: Tensor, boxes: Boxes, stream: Generator) -> Tensor:
        places = sent(hit, images.device)
        few = images[places]
        fill = noise(few, stream) if isinstance(self.fill, str) else self.fill
        return images.index_copy(0, places, erased(few, boxes, fill))

    def __repr__(self) -> str:
        area = f"min_area={self.min_area}, max_area={self.max_area}"
        return f"RandomErasing({self.p}, {area}, aspect={self.aspect}, fill={self.fill!r})"


def noise(images: Tensor, generator: Generator) -> Tensor:
    """Noise in the shape, type and range of images, on their device.

    Args:
        images: of any shape; real numbers, or whole numbers from 0 to 255.
        generator: the source, on the same device.

    Example:
        >>> noise(torch.zeros(2, dtype=torch.uint8), Generator().manual_seed(0))
        tensor([172,  47], dtype=torch.uint8)
    """
    out = torch.empty_like(images)
    if images.is_floating_point():
        return out.normal_(generator=generator)
    return out.random_(0, 256, generator=generator)
