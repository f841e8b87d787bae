"""Changes whole batches of images at random, in training."""

import math
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor

from lehr.callback import Callback
from lehr.callbacks.augmenting.batches import check_target, image_batch, mask_batch
from lehr.callbacks.augmenting.draws import Draw, coins, drawn, whole
from lehr.data.images.erase import erased, squares
from lehr.data.images.light import lit
from lehr.data.images.warp import Padding, mirrored, warped
from lehr.errors import real_number, share
from lehr.events import Phase

if TYPE_CHECKING:
    from lehr.loop.run import Run

CHANGES = ("flip", "crop", "shift", "rotate", "zoom", "brightness", "contrast", "cutout")


class BatchTransform(Callback):
    """Trains on images that are changed at random, each in its own way, a batch at a time.

    The changes are made where the batch is, after `Device` has moved it, in the order in which they
    stand here. Images that are turned or enlarged are read from the batch once, through one affine
    map; whatever moves by whole pixels keeps its very values. Validation and predictions get the
    images as they are.

    The random numbers are drawn on the CPU from ``run.stream``, some for each image and change. So
    they are the same on every device and after a resume, and to switch one change on alters no
    other, nor what dropout draws. (Kornia, which has more changes, can promise none of this: it
    takes no generator, but draws from torch's own, and it takes no whole numbers.)

    Args:
        flip: the chance that an image is mirrored left to right. ``"alternate"`` mirrors each image
            in every other epoch: half of the images in the even epochs, the others in the odd ones.
            Which half an image is in follows from the seed and its pixels, so the loader must give
            the same pixels in every epoch.
        rotate: turned about its centre by up to so many degrees either way.
        zoom: enlarged, or made smaller, about its centre by up to this factor; at least 1.
        shift: moved by up to this share of its height and width, by whole pixels.
        crop: moved by up to so many pixels: a crop of the same size from the image with so many
            pixels of padding on every side.
        brightness: made lighter, or darker, by up to this share of white, which is 255 in images of
            whole numbers and 1 in others.
        contrast: the distance of its pixels from their mean times a factor of up to one more, or
            less, than this, from 0 to 1.
        cutout: the side of a square in pixels, which is set to 0; its centre is anywhere in the
            image.
        p: the chance that an image is changed, drawn for each of these but ``flip``.
        padding: what is where nothing was: the nearest edge (``"border"``), the image mirrored at
            its edge (``"reflection"``) or ``"zeros"``.
        target: ``"mask"`` if ``yb`` are masks ``(batch, height, width)`` or ``(batch, channels,
            height, width)``, which move with their images; the nearest pixel is taken.

    All numbers can be scheduled, as ``"callbacks.batch_transform.rotate"``.

    Raises:
        TypeError, ValueError: an argument cannot be used; in training, if ``xb`` is no batch of
            images of shape ``(batch, channels, height, width)``, or ``yb`` are no such masks.

    Example:
        >>> from torch import nn, optim
        >>> from lehr import Learner, data
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        >>> changes = BatchTransform(rotate=10, zoom=1.1, shift=0.1)
        >>> opt, loss_func = optim.SGD(model.parameters(), lr=0.1), nn.functional.cross_entropy
        >>> learn = Learner(model, opt, loss_func, data.digits(), [changes], progress=False)
        >>> learn.fit(steps=3).n_steps
        3

    Reference:
        ``"alternate"``: Jordan 2024, arXiv:2404.00498, section 3.6; there, the half follows from
        the number of the image. ``cutout``: DeVries and Taylor 2017, arXiv:1708.04552.
    """

    phase = Phase.PREPARE
    moves = ("batches",)
    state = ()
    by_length = False

    def __init__(
        self,
        flip: float | Literal["alternate"] = 0.0,
        rotate: float = 0.0,
        *,
        zoom: float = 1.0,
        shift: float = 0.0,
        crop: float = 0,
        brightness: float = 0.0,
        contrast: float = 0.0,
        cutout: float = 0,
        p: float = 1.0,
        padding: Padding = "border",
        target: str | None = None,
    ) -> None:
        self.flip: float | str = flip if flip == "alternate" else share("flip", flip)
        self.rotate = _at_least(0, "rotate", rotate)
        self.zoom = _at_least(1, "zoom", zoom)
        self.shift = share("shift", shift)
        self.crop = _at_least(0, "crop", crop)
        self.brightness = _at_least(0, "brightness", brightness)
        self.contrast = share("contrast", contrast)
        self.cutout = _at_least(0, "cutout", cutout)
        self.p = share("p", p)
        if padding not in get_args(Padding):
            allowed = ", ".join(map(repr, get_args(Padding)))
            raise ValueError(f"padding must be one of {allowed}; got {padding!r}.")
        self.padding: Padding = padding
        self.target = check_target(target)

    @torch.no_grad()
    def begin_batch(self, run: "Run") -> None:
        """Change the batch."""
        if not run.training:
            return
        images = image_batch(run.xb, self)
        masks = mask_batch(run.yb, images, self) if self.target else None
        size, draws = images.shape[2:], drawn(CHANGES, len(images), self.p, run.stream(self.name))
        mirror, moves = self._mirror(run, images, draws), self._moves(draws, size)
        run.xb = self._repainted(self._moved(images, mirror, moves), draws)
        if masks is not None:
            run.yb = self._moved(masks, mirror, moves, nearest=True).reshape(run.yb.shape)

    def _mirror(self, run: "Run", images: Tensor, draws: dict[str, Draw]) -> Tensor | None:
        if isinstance(self.flip, str):
            odd = bool((run.plan.first_epoch + run.epoch) % 2)
            return coins(images, run.streams.key(f"{self.name}.flip")) ^ odd
        return draws["flip"].luck < self.flip if self.flip else None

    def _moves(self, draws: dict[str, Draw], size: torch.Size) -> dict[str, Tensor]:
        crop, shift = draws["crop"].ways, draws["shift"].ways
        down, right = (
            whole(crop[axis], round(self.crop)) + whole(shift[axis], int(self.shift * side + 1e-6))
            for axis, side in enumerate(size)
        )
        angle = draws["rotate"].ways[0] * math.radians(self.rotate)
        zoom = self.zoom ** draws["zoom"].ways[0]
        return {"angle": angle, "zoom": zoom, "down": down, "right": right}

    def _moved(
        self, images: Tensor, mirror: Tensor | None, moves: dict[str, Tensor], nearest: bool = False
    ) -> Tensor:
        images = images if mirror is None else mirrored(images, mirror)
        return warped(images, **moves, padding=self.padding, nearest=nearest)

    def _repainted(self, images: Tensor, draws: dict[str, Draw]) -> Tensor:
        if self.brightness or self.contrast:
            brightness = draws["brightness"].ways[0] * self.brightness
            contrast = 1 + draws["contrast"].ways[0] * self.contrast
            images = lit(images, brightness=brightness, contrast=contrast)
        if side := round(self.cutout):
            _, ways, happens = draws["cutout"]
            images = erased(images, squares((ways + 1) / 2, happens * side, images.shape[2:]))
        return images

    def __repr__(self) -> str:
        usual = {"zoom": 1.0, "p": 1.0, "padding": "border", "target": None}
        names = (*CHANGES, "p", "padding", "target")
        values = {name: getattr(self, name) for name in names}
        changed = [
            f"{name}={value!r}" for name, value in values.items() if value != usual.get(name, 0)
        ]
        return f"BatchTransform({', '.join(changed)})"


def _at_least(least: float, name: str, value: Any) -> float:
    if (number := real_number(name, value)) < least:
        raise ValueError(f"{name} must be at least {least}; got {value}. {least} switches it off.")
    return number
