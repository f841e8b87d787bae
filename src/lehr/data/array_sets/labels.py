"""Labels that are texts, as the whole numbers that a model is trained with."""

from collections.abc import Sequence
from typing import Any, cast

from lehr.errors import did_you_mean
from lehr.types import is_sequence


def numbered(ys: Sequence[Any], known: Sequence[str] | None) -> tuple[list[Any], list[str] | None]:
    """Texts become labels, and their names are the classes; targets of another kind stay.

    Args:
        ys: the targets to train on, those to validate on …
        known: the names of the classes, by label; None: all texts there are, in order.

    Returns:
        The targets, and the names: None where there were no texts and no names.

    Raises:
        ValueError: a text is not among the names that are known.

    Example:
        >>> numbered([["b", "a"], ["b"]], None)
        ([[1, 0], [1]], ['a', 'b'])
        >>> numbered([[1, 0]], None)
        ([[1, 0]], None)
    """
    texts = [_texts(y) for y in ys]
    if not any(texts):
        return list(ys), None if known is None else list(known)
    names = sorted({text for y in texts for text in y or ()}) if known is None else list(known)
    label = {name: number for number, name in enumerate(names)}
    for text in (text for y in texts for text in y or ()):
        if text not in label:
            raise ValueError(
                f"y has the label {text!r}, which is no class. {did_you_mean(text, names)}"
            )
    return [
        y if words is None else [label[text] for text in words]
        for y, words in zip(ys, texts, strict=True)
    ], names


def _texts(y: Any) -> list[str] | None:
    """The values, if they are texts; None for anything else."""
    if getattr(getattr(y, "dtype", None), "kind", "") in ("U", "O") and getattr(y, "ndim", 1) == 1:
        y = y.tolist()
    if not is_sequence(y) or isinstance(y, str) or not len(y):
        return None
    values = list(cast("Sequence[Any]", y))
    return values if all(isinstance(value, str) for value in values) else None
