"""Inputs and targets in arrays: which shapes and numbers they may have."""

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor

from lehr.data.array_sets.files import to_tensor


def check_finite(name: str, values: Tensor) -> None:
    """Refuse nan and infinity.

    Raises:
        ValueError: there is one; the first item with it is named.

    Example:
        >>> import torch
        >>> check_finite("x", torch.tensor([1.0, 2.0]))
    """
    bad = ~values.isfinite()
    if not bad.any():
        return
    first = int(bad.flatten(1).any(1).nonzero()[0]) if values.ndim > 1 else int(bad.nonzero()[0])
    raise ValueError(
        f"{name} must hold finite numbers in the range of float32; {int(bad.sum())} are not, the "
        f"first in item {first}. Replace them, or leave those items out."
    )


def as_inputs(name: str, x: Any) -> Tensor:
    """``x`` as a tensor if it holds rows of features, or images.

    Raises:
        TypeError: it holds something else than numbers.
        ValueError: its shape is another, it is empty, or a number is nan or infinite.

    Example:
        >>> as_inputs("x", [[1, 2]]).shape
        torch.Size([1, 2])
    """
    x = to_tensor(name, x)
    allowed = "(n, features), (n, height, width) or (n, channels, height, width)"
    if not 2 <= x.ndim <= 4 or not x.numel():
        todo = " Use x[:, None] for one feature." if x.ndim == 1 else " Reshape it."
        raise ValueError(f"{name} must have shape {allowed}; got {tuple(x.shape)}.{todo}")
    if x.ndim == 4 and x.shape[-1] in (1, 3, 4) and x.shape[1] not in (1, 3, 4):
        raise ValueError(
            f"{name} must have shape (n, channels, height, width); got {tuple(x.shape)}, which "
            "looks like channels last. Use torch.as_tensor(x).permute(0, 3, 1, 2)."
        )
    check_finite(name, x)
    return x


def as_targets(name: str, y: Any) -> Tensor:
    """``y`` as labels int64 ``(n,)``, or as numbers float32 ``(n, outputs)``.

    Raises:
        TypeError: it holds something else than numbers.
        ValueError: its shape is another, or a number is nan or infinite.

    Example:
        >>> as_targets("y", [2, 0]), as_targets("y", [0.5]).shape
        (tensor([2, 0]), torch.Size([1, 1]))
    """
    y = to_tensor(name, y)
    if y.is_floating_point():
        if y.ndim not in (1, 2):
            raise ValueError(
                f"{name} must have shape (n,) or (n, outputs); got {tuple(y.shape)}. Reshape it."
            )
        y = y.float()
        check_finite(name, y)
        if _is_one_hot(y):
            raise ValueError(
                f"{name} must be labels (n,) to predict classes; got one-hot rows "
                f"{tuple(y.shape)}. Give {name}.argmax(1)."
            )
        return y[:, None] if y.ndim == 1 else y
    if y.ndim != 1:
        squeeze = " Use y.squeeze(1)." if y.ndim == 2 and y.shape[1] == 1 else ""
        squeeze = f" Give {name}.argmax(1)." if _is_one_hot(y) else squeeze
        raise ValueError(
            f"{name} must have shape (n,), one label an item; got {tuple(y.shape)}.{squeeze} "
            "Numbers to predict are floats."
        )
    return y.long()


def _is_one_hot(y: Tensor) -> bool:
    if y.ndim != 2 or y.shape[1] < 2:
        return False
    return bool(((y == 0) | (y == 1)).all() and (y.sum(1) == 1).all())


def class_names(y: Tensor, classes: Sequence[str] | None) -> tuple[str, ...]:
    """The names of the classes that labels stand for: those given, or "0", "1" and so on.

    Args:
        y: all targets.
        classes: the names, by label; labels need not all occur then.

    Returns:
        As many names as there are classes; none where ``y`` holds numbers to predict.

    Raises:
        ValueError: labels are not 0 to c-1, or names are given twice or for numbers.
        TypeError: ``classes`` are no texts.

    Example:
        >>> import torch
        >>> class_names(torch.tensor([1, 0, 1]), None)
        ('0', '1')
    """
    if y.is_floating_point():
        if classes is not None:
            raise ValueError(
                f"classes are for whole numbers in y; got {y.dtype}, numbers to predict. Use "
                "y.long() for labels, or leave classes= out."
            )
        return ()
    if classes is None:
        labels = cast("list[int]", y.unique().tolist())
        if labels != list(range(len(labels))):
            listed = ", ".join(map(str, labels[:5])) + (" …" if len(labels) > 5 else "")
            raise ValueError(
                f"y must hold every label from 0 to c-1; got the labels {listed}. Use y = "
                "numpy.unique(y, return_inverse=True)[1], or y.float() to predict a number, or "
                "give classes= with a name for each label."
            )
        if len(labels) < 2:
            raise ValueError(
                "y must hold at least two different labels; got only 0. Give y.float() to predict "
                "a number, or classes= with a name for each label."
            )
        return tuple(map(str, labels))
    if isinstance(classes, str) or not all(isinstance(name, str) for name in classes):
        raise TypeError(
            f"classes must be a list of texts; got {classes!r}. Give e.g. ['cat', 'dog']."
        )
    names = tuple(map(str, classes))
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f"classes must be different names, at least one; got {names}. Name every label once."
        )
    lowest, highest = int(y.min()), int(y.max())
    if lowest < 0 or highest >= len(names):
        raise ValueError(
            f"y must hold labels from 0 to {len(names) - 1}, one for each of the {len(names)} "
            f"classes; got {lowest} to {highest}. Correct y, or name more classes."
        )
    return names
