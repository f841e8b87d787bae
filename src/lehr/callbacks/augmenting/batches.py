"""What the callbacks of images have in common: a batch is images, and perhaps masks."""

from typing import TYPE_CHECKING, Any

from torch import Tensor

from lehr.base.nested import describe

if TYPE_CHECKING:
    from lehr.callback import Callback


def image_batch(value: Any, callback: "Callback", hint: str = "Leave it out.") -> Tensor:
    """``value``, if it is a batch of images.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, Tensor) and value.ndim == 4:
        return value
    raise ValueError(
        f"{type(callback).__name__} needs a batch of images as xb, of shape (batch, channels, "
        f"height, width); got {describe(value)}. {hint}"
    )


def mask_batch(value: Any, images: Tensor, callback: "Callback") -> Tensor:
    """``value``, if it is a batch of masks of these images, with a dimension of channels.

    Raises:
        ValueError: it is something else.
    """
    fits = isinstance(value, Tensor) and value.ndim in (3, 4)
    if fits and (len(value), value.shape[-2:]) == (len(images), images.shape[2:]):
        return value[:, None] if value.ndim == 3 else value
    raise ValueError(
        f'{type(callback).__name__}(target="mask") needs masks as yb, of shape (batch, height, '
        "width) or (batch, channels, height, width), each as large as its image; got "
        f"{describe(value)} for images {tuple(images.shape)}. Leave target out if yb does not move "
        "with the image."
    )


def check_target(target: Any) -> str | None:
    """``target``, if it says what the targets are.

    Raises:
        ValueError: it is neither None nor "mask".

    Example:
        >>> check_target("mask")
        'mask'
    """
    if target not in (None, "mask"):
        raise ValueError(
            f'target must be None or "mask"; got {target!r}. With "mask" yb moves with the image.'
        )
    return target
