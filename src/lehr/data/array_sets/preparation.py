"""What is done to an item of an array before a model sees it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from lehr.data.array_sets.files import read_items
from lehr.data.array_sets.scale import mean_and_std, pieces, undone
from lehr.data.array_sets.values import check_finite
from lehr.errors import positive_int


@final
@dataclass(frozen=True)
class ArrayPreparation:
    """Turns arrays into model inputs; a `lehr.data.preparation.Preparation`.

    Args:
        classes: the names of the classes by label; empty where targets are numbers.
        shape: of a raw item: ``(features,)``, ``(height, width)`` or ``(channels, height, width)``.
        white: what raw numbers are divided by: 255 for uint8, 1 for all others.
        mean: of each feature or channel, after that.
        std: the same.
        low: the smallest number in training, after dividing by ``white``; black in a picture.
        high: the largest, white in a picture.
        target_mean: of each output where targets are numbers; 0 leaves them as they are.
        target_std: the same; 1 leaves them as they are.

    Raises:
        ValueError: a field is of another type, out of range, or does not fit another field.

    Example:
        >>> preparation = ArrayPreparation(("a", "b"), (2,), 1.0, (5.0, 0.0), (2.0, 1.0))
        >>> x = preparation.encode(torch.tensor([[8, 3]]))
        >>> x.tolist(), preparation.in_words(x[0])
        ([[1.5, 3.0]], '8 3')
    """

    kind: ClassVar[str] = "array"
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    white: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    low: float = 0.0
    high: float = 1.0
    target_mean: tuple[float, ...] = (0.0,)
    target_std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        from lehr.data.stored_fields import ArrayFields, settle

        settle(self, ArrayFields)

    @property
    def item_shape(self) -> tuple[int, ...]:
        """The shape of one input; a lone image has got a channel."""
        return (1, *self.shape) if len(self.shape) == 2 else self.shape

    def to_dict(self) -> dict[str, Any]:
        """Text, numbers and lists that say everything."""
        return {
            "kind": self.kind,
            "classes": list(self.classes),
            "shape": list(self.shape),
            "white": self.white,
            "mean": list(self.mean),
            "std": list(self.std),
            "low": self.low,
            "high": self.high,
            "target_mean": list(self.target_mean),
            "target_std": list(self.target_std),
        }

    @classmethod
    def from_dict(cls, stored: Any) -> "ArrayPreparation":
        """The preparation that `to_dict` was called on.

        Raises:
            ValueError: a field is missing, unknown, of another type or out of range.
        """
        from lehr.data.stored_fields import ArrayFields, stored_fields

        return cls(**stored_fields(ArrayFields, stored, "an array's preparation"))

    def encode(self, x: Tensor) -> Tensor:
        """Items prepared, float32 ``(n, *item_shape)``.

        Args:
            x: ``(n, *shape)``; uint8 if and only if the training's was.

        Raises:
            ValueError: the shape or the type is not that of the training, or a number is nan or
                infinite.
        """
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(
                f"x must have the shape {_batch(self.shape)} of the training; got "
                f"{tuple(x.shape)}. Give items of the same shape."
            )
        if (x.dtype == torch.uint8) != (self.white == 255):
            other = "uint8" if self.white == 255 else "numbers as they are, not uint8"
            raise ValueError(
                f"x must be {other}, as in training; got {x.dtype}. Convert it, so that equal "
                "numbers mean the same."
            )
        out = torch.empty(len(x), *self.item_shape)
        mean, std = (self._by_channel(values) for values in (self.mean, self.std))
        for where, piece in pieces(x.reshape(len(x), *self.item_shape)):
            out[where] = piece.div_(self.white).sub_(mean).div_(std)
        check_finite("x", out)
        return out

    def targets(self, y: Tensor) -> Tensor:
        """Targets on the scale of the model: labels as they are, numbers with mean and deviation
        taken out, float32 ``(n, outputs)``.

        Raises:
            ValueError: there are more or fewer outputs than in training.
        """
        if self.classes:
            return y
        mean, std = self._by_output("y", y, y.double())
        return ((y.double() - mean) / std).float()

    def answers(self, pred: Tensor) -> Tensor:
        """Predicted numbers in the units of the targets; predictions of classes as they are.

        Args:
            pred: ``(n, outputs)``, or ``(n,)`` for one.

        Raises:
            ValueError: there are more or fewer outputs than in training.

        Example:
            >>> one = ArrayPreparation((), (2,), 1.0, (0, 0), (1, 1), 0, 1, (200,), (50,))
            >>> one.answers(one.targets(torch.tensor([[300.0]])))
            tensor([[300.]])
        """
        if self.classes:
            return pred
        pred = pred.to(torch.promote_types(pred.dtype, torch.float32))
        mean, std = self._by_output("pred", pred, pred)
        return pred * std + mean

    def batches(
        self, files: Sequence[Path], batch_size: int = 64
    ) -> Iterator[tuple[list[str], Tensor]]:
        """New items from .npy files, or from the array x of .npz files, prepared.

        Names are like ``new/a.npy[3]``, or ``new/a.npy`` for a file of one bare item.

        Raises:
            FileNotFoundError: a file is not there.
            ValueError: a file is damaged, or its items are not of the training's shape and type.
        """
        batch_size = positive_int("batch_size", batch_size)
        for file in files:
            items = read_items(file)
            lone = tuple(items.shape) == self.shape
            items = items[None] if lone else items
            for start in range(0, len(items), batch_size):
                try:
                    xb = self.encode(items[start : start + batch_size])
                except ValueError as error:
                    raise ValueError(f"{file}, items from {start}: {error}") from error
                names = [f"{file}[{start + i}]" for i in range(len(xb))]
                yield [str(file)] if lone else names, xb

    def picture(self, x: Tensor) -> Tensor | None:
        """An image of one or three channels as uint8 ``(height, width, 3)``; else None."""
        if len(self.item_shape) != 3 or self.item_shape[0] not in (1, 3):
            return None
        shades = (self._raw(x) - self.low) / ((self.high - self.low) or 1)
        picture = (shades * 255).round().clamp(0, 255).byte().permute(1, 2, 0)
        return picture.expand(-1, -1, 3).contiguous()

    def in_words(self, x: Tensor) -> str:
        """The first eight numbers as they were, like ``5.1 3.5``."""
        mean, std = (self._by_channel(v).expand(x.shape).flatten() for v in (self.mean, self.std))
        numbers = " ".join(
            undone(float(value), float(mean[i]) * self.white, float(std[i]) * self.white)
            for i, value in enumerate(x.flatten()[:8])
        )
        return f"{numbers} …" if x.numel() > 8 else numbers

    def _raw(self, x: Tensor) -> Tensor:
        std, mean = self._by_channel(self.std), self._by_channel(self.mean)
        return x.detach().cpu().double() * std + mean

    def _by_output(self, name: str, y: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        n = len(self.target_mean)
        if (y.shape[1] if y.ndim > 1 else 1) != n:
            raise ValueError(
                f"{name} must have {n} outputs an item, as in training; got shape "
                f"{tuple(y.shape)}. Give targets, or a model, of as many."
            )
        return like.new_tensor(self.target_mean), like.new_tensor(self.target_std)

    def _by_channel(self, values: tuple[float, ...]) -> Tensor:
        ones = [1] * (len(self.item_shape) - 1)
        return torch.tensor(values, dtype=torch.float64).view(-1, *ones)


def _batch(shape: tuple[int, ...]) -> str:
    return f"(n, {', '.join(map(str, shape))})"


def work_out_arrays(
    x: Tensor, classes: tuple[str, ...], y: Tensor | None = None, *, normalize: bool
) -> ArrayPreparation:
    """The preparation of training items: mean and deviation of each feature or channel.

    Args:
        x: ``(n, features)``, ``(n, height, width)`` or ``(n, channels, height, width)``.
        classes: the names of the classes; none for numbers.
        y: the numbers to predict ``(n, outputs)``, whose mean and deviation are worked out too.
        normalize: else mean 0 and deviation 1 are kept, which change nothing.

    Example:
        >>> x = torch.tensor([[0], [255]], dtype=torch.uint8)
        >>> work_out_arrays(x, (), normalize=True).mean
        (0.5,)
    """
    white = 255.0 if x.dtype == torch.uint8 else 1.0
    shape = tuple(x.shape[1:])
    by_channel = x[:, None] if x.ndim == 3 else x
    n = by_channel.shape[1]
    mean, std = (0.0,) * n, (1.0,) * n
    if normalize:
        mean, std = mean_and_std(by_channel, white)
    low, high = (0.0, 1.0) if white == 255 else (float(x.min()), float(x.max()))
    outputs = 1 if classes or y is None else y.shape[1]
    target = (0.0,) * outputs, (1.0,) * outputs
    if normalize and y is not None and not classes:
        target = mean_and_std(y)
    return ArrayPreparation(classes, shape, white, mean, std, low, high, *target)
